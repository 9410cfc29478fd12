"""The process of the command: what it is set up for before the tap begins."""

from __future__ import annotations

import subprocess
import sys

from command import COMMAND, TIMEOUT_SECONDS

from tap_celonis_audit.__main__ import SWITCH_SECONDS, YOUNG_OBJECTS

_TELL = """
import atexit, gc, sys
from tap_celonis_audit.__main__ import main

def collections():
    return sum(generation["collections"] for generation in gc.get_stats())

def tell():
    print(collections() - before, gc.isenabled(), gc.get_freeze_count() > 50_000)
    print(gc.get_threshold()[0], round(sys.getswitchinterval(), 6))

before = collections()
atexit.register(tell)
sys.argv[1:] = ["--version"]
main()
"""


def output(*words: str) -> str:
    run = subprocess.run(words, check=True, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    assert run.stderr == ""
    return run.stdout


def test_what_is_imported_is_not_looked_through_for_garbage() -> None:
    version, garbage, knobs = output(sys.executable, "-c", _TELL).splitlines()
    assert version.startswith("tap-celonis-audit v")
    assert garbage == "0 True True"
    assert knobs == f"{YOUNG_OBJECTS} {SWITCH_SECONDS}"


def test_the_module_is_the_command() -> None:
    assert output(sys.executable, "-m", "tap_celonis_audit", "--version") == output(
        str(COMMAND), "--version"
    )
