"""Trying out a target with what a tap says, kept; with its documented settings, or without one."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import documented
import matrix
import pytest
from outputs import run_tap

from bench.processes import RunError
from bench.processes import run as run_pipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from matrix import Line, Target
    from places import Place

    Trials = Callable[..., "Trial"]

AUDIT = "audit_logs"
STATE = {"type": "STATE", "value": {"bookmarks": {}}}


@cache
def said(tap: str = matrix.TAP) -> tuple[Line, ...]:
    """Give all that a tap says of the team."""
    return tuple(say(documented.settings_of_tap(tap)))


def say(config: Mapping[str, Any]) -> list[Line]:
    """Let the tap tell of the team."""
    with matrix.team() as sandbox:
        matrix.begin(sandbox)
        config = {**config, **matrix.settings(sandbox)}
        return run_tap(config, state=None, streams=matrix.NAMES).lines


def audit_logs(tap: str = matrix.TAP) -> list[Line]:
    """Give what a tap says of the audit log."""
    return [line for line in said(tap) if line.get("stream") == AUDIT]


def with_long_text(line: Line, length: int) -> Line:
    """Give a record with something long in it."""
    diff: object = {"x": "y" * length}
    if isinstance(line["record"]["message"], str):
        diff = json.dumps(diff)
    return line | {"record": line["record"] | {"diff_payload": diff}}


class Trial:
    """A target, and a place to write to."""

    def __init__(self, target: Target, place: Place, folder: Path) -> None:
        self.target = target
        self.place = place
        self.folder = folder
        self.settings = matrix.plugin_settings(target, place)

    def load(
        self,
        lines: Iterable[Line],
        *,
        without: str = "",
        command: Callable[[Sequence[str]], Sequence[str]] = lambda words: words,
        **settings: object,
    ) -> None:
        """Load what a tap said, with what is documented.

        Args:
            lines: What the tap said.
            without: A setting that is left out.
            command: Changes the words of the command.
            settings: What is set otherwise.
        """
        config = documented.merged(self.settings, settings)
        *parents, last = without.split(".")
        part = config
        for parent in parents:
            part[parent] = dict(part[parent])
            part = part[parent]
        part.pop(last, None)
        source = self.folder / "said"
        source.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        documented_one = matrix.loading(self.target, config, self.folder)
        run_pipe(
            replace(documented_one, words=command(documented_one.words)),
            source=source,
            output=self.folder / "states",
            log=self.folder / "log",
        )

    def refuses(self, lines: Iterable[Line], reason: str, **options: Any) -> None:
        """See a run fail for a reason, and hand on no state."""
        with pytest.raises(RunError):
            self.load([*lines, STATE], **options)
        said = (self.folder / "log").read_text("utf-8")
        assert re.search(reason, said), said[-3000:]
        assert not (self.folder / "states").read_bytes()

    def owed(self, lines: Iterable[Line]) -> Counter[str]:
        """Tell which rows should be there."""
        sent = matrix.understood(lines)
        return sum(self.target.expected(sent.rows, sent.kinds).values(), Counter[str]())

    def difference(self, lines: Sequence[Line]) -> tuple[Counter[str], Counter[str]]:
        """Tell which rows are missing, and which ones are there but were not sent."""
        kinds = matrix.understood(lines).kinds
        got = self.target.received(self.place.read(), kinds)
        owed, found = self.owed(lines), sum(got.values(), Counter[str]())
        return owed - found, found - owed
