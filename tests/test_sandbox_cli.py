"""The sandbox from the command line."""

from __future__ import annotations

import inspect
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import requests

from tap_celonis_audit.sandbox import Sandbox
from tap_celonis_audit.sandbox import __main__ as cli

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

COMMAND = [sys.executable, "-m", "tap_celonis_audit.sandbox"]


@contextmanager
def started(*arguments: str) -> Generator[tuple[subprocess.Popen[str], str]]:
    """Start a sandbox and give its process and its greeting."""
    with subprocess.Popen(
        [*COMMAND, "--max-minutes=1", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as process:
        try:
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line)
                if line.startswith("Ctrl-C"):
                    break
            yield process, "".join(lines)
        finally:
            process.kill()


def settings_in(text: str) -> dict[str, str]:
    return dict(re.findall(r"^(?:  export )?(TAP_CELONIS_AUDIT_\w+)=(\S+)$", text, re.MULTILINE))


def test_start_use_and_end(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("OTHER=kept\nTAP_CELONIS_AUDIT_APP_KEY=old\n", encoding="utf-8")
    arguments = ["--days=2", "--seed=5", "--now=2026-03-01T12:00:00Z", f"--write-env={env_file}"]
    with started(*arguments, "--verbose", "--order=descending") as (process, greeting):
        settings = settings_in(greeting)
        assert set(settings) == {"TAP_CELONIS_AUDIT_API_URL", "TAP_CELONIS_AUDIT_APP_KEY"}
        assert settings_in(env_file.read_text(encoding="utf-8")) == settings
        assert env_file.read_text(encoding="utf-8").startswith("OTHER=kept\n")
        url = settings["TAP_CELONIS_AUDIT_API_URL"]
        with requests.Session() as web:
            web.trust_env = False
            headers = {"Authorization": f"AppKey {settings['TAP_CELONIS_AUDIT_APP_KEY']}"}
            page = web.get(f"{url}/log/api/external/audit", headers=headers, timeout=10).json()
        with Sandbox(days=2, seed=5, now="2026-03-01T12:00:00Z") as same:
            assert page["content"][0] == same.audit.visible[-1]
            assert f"{len(same.audit)} audit events" in greeting
            assert settings["TAP_CELONIS_AUDIT_APP_KEY"] == same.app_key
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0
        assert errors == "GET /log/api/external/audit -> 200\n"


def test_ctrl_c_ends_it_cleanly() -> None:
    with started("--days=0") as (process, _):
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")


def test_it_ends_by_itself() -> None:
    done = subprocess.run(
        [*COMMAND, "--days=0", "--max-minutes=0.001"],
        capture_output=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--order=sideways"], "argument --order: invalid choice"),
        (["--count=many"], "count must be exact"),
        (["--days=-1"], "days must be at least 0"),
        (["--days=99999999"], "out of range"),
        (["--now=noon"], "not a date-time"),
        (["--port=70000"], "0-65535"),
        (["--permissions=audit,events"], "permissions must be one of"),
        (["--ignore=form"], "ignore must be one of"),
        (["--nonsense"], "unrecognized arguments"),
        (["--write-env=/nowhere/at/all"], "cannot write /nowhere/at/all"),
    ],
)
def test_bad_arguments_give_one_clear_line(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--days=0", *arguments])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert complaint in line


def test_every_knob_is_an_option_with_the_same_default() -> None:
    options = vars(cli._parser().parse_args([]))
    knobs = {
        name: parameter.default
        for name, parameter in inspect.signature(Sandbox).parameters.items()
        if name not in {"hook", "audit", "logins", "adoption"}
    }
    assert options.keys() - {"write_env"} == knobs.keys()
    assert {**options, "max_minutes": None} == {**knobs, "write_env": None}


def test_lists(capsys: pytest.CaptureFixture[str]) -> None:
    options = cli._parser().parse_args(["--ignore=from, to", "--permissions="])
    assert options.ignore == ("from", "to")
    assert options.permissions == ()
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for option in vars(cli._parser().parse_args([])):
        assert f"--{option.replace('_', '-')}" in text
