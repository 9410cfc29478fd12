"""Real processes of the tap, many and fast: forked from one that has imported it already.

Each writes line by line into a pipe that holds one write: it is never more than a line ahead of who
reads. And windows are small, with a STATE message behind each.
"""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import select
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from command import OTHER_TIME

from tap_celonis_audit import reader, sdk, tap
from tap_celonis_audit.streams import STREAMS, events

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType

    from tap_celonis_audit.sandbox import Sandbox
    from tap_celonis_audit.sandbox.log import Log
    from tap_celonis_audit.sdk import Stream

TIMEOUT_SECONDS = 180  # a machine may be busy; nothing here takes a tenth of it

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tap_celonis_audit.tap"])


class Row(NamedTuple):
    """What tells an event from all others, and when it happened."""

    stream: str
    event_id: str
    timestamp: str


@dataclass(frozen=True)
class Received:
    """What a target got."""

    text: str

    @cached_property
    def messages(self) -> list[dict[str, Any]]:
        assert not self.text or self.text.endswith("\n"), "lines are whole"
        return [json.loads(line) for line in self.text.splitlines()]

    @cached_property
    def rows(self) -> list[Row]:
        return _rows(self.messages)

    @cached_property
    def states(self) -> list[tuple[dict[str, Any], list[Row]]]:
        """Each state, with the rows before it."""
        return [
            (message["value"], _rows(self.messages[:index]))
            for index, message in enumerate(self.messages)
            if message["type"] == "STATE"
        ]

    @property
    def state(self) -> dict[str, Any]:
        return self.states[-1][0]

    @cached_property
    def tables(self) -> dict[str, list[str]]:
        """The rows of each table, in one order."""
        found: dict[str, list[str]] = {}
        for each in self.messages:
            if each["type"] == "RECORD" and each["stream"] not in _LOGS:
                row = json.dumps(each["record"], sort_keys=True)
                found.setdefault(each["stream"], []).append(row)
        return {stream: sorted(rows) for stream, rows in found.items()}

    @property
    def activated(self) -> list[str]:
        """The tables of which all that is older may go."""
        return [each["stream"] for each in self.messages if each["type"] == "ACTIVATE_VERSION"]


def _rows(messages: list[dict[str, Any]]) -> list[Row]:
    return [
        Row(each["stream"], each["record"]["event_id"], each["record"]["timestamp"])
        for each in messages
        if each["type"] == "RECORD" and each["stream"] in _LOGS
    ]


#: What is read from a bookmark, and the sandbox's log behind it.
_LOGS = {"audit_logs": "audit", "login_history": "logins", "studio_adoption": "adoption"}
_STREAMS = tuple(each for each in STREAMS if issubclass(each, events.EventStream))


def logs_of(sandbox: Sandbox) -> dict[str, Log]:
    """Give the log behind each stream that is read from a bookmark."""
    return {each.name: getattr(sandbox, _LOGS[each.name]) for each in _STREAMS}


def assert_each_once(rows: Iterable[Row], sandbox: Sandbox) -> None:
    """Check that nothing is lost, doubled or invented, and that each event has an id of its own."""
    rows = list(rows)
    assert Counter((row.stream, row.timestamp) for row in rows) == Counter(
        (stream, record["timestamp"].replace("Z", "000Z"))
        for stream, log in logs_of(sandbox).items()
        for record in log.visible
    )
    assert len({(row.stream, row.event_id) for row in rows}) == len(rows)


class Tap:
    """A process of the tap, from the start to the end of the block."""

    def __init__(
        self,
        sandbox: Sandbox,
        folder: Path,
        *,
        state: dict[str, Any] | None = None,
        parallel: int = 4,
        tables: bool = False,
    ) -> None:
        config = {
            "api_url": sandbox.url,
            "app_key": sandbox.app_key,
            "page_size": 3,
            "max_parallel_requests": parallel,
            "emit_activate_version_messages": tables,
            "start_date": sandbox.audit.visible[0]["timestamp"][:10],
        }
        self._folder = folder
        self._streams = STREAMS if tables else _STREAMS
        self._arguments: list[str] = []
        for name, content in {"config": config, "state": state}.items():
            if content is not None:
                file = folder / f"{name}.json"
                file.write_text(json.dumps(content))
                self._arguments += [f"--{name}", str(file)]
        self._read = bytearray()

    def __enter__(self) -> Self:
        # Each write is a packet, and the pipe has room for one.
        out, end = os.pipe2(os.O_DIRECT | os.O_CLOEXEC)
        self._pipe = os.fdopen(out, "rb", buffering=0)
        fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, 4096)
        with Connection(end, readable=False) as pipe:
            self._process = _processes.Process(
                target=_run,
                args=(self._arguments, pipe, str(self._folder / "errors.txt"), self._streams),
            )
            self._process.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.join(TIMEOUT_SECONDS)
        self._process.close()
        self.stop_reading()

    def read(self, lines: int | None = None) -> Received:
        """Read so many lines, or all that are left; give everything that was read."""
        left = -1 if lines is None else lines
        while left:
            self.wait()
            packet = self._pipe.read(65_536)
            if not packet:
                assert lines is None, "the tap ended too early"
                break
            self._read += packet
            left -= packet.count(b"\n")
        return Received(self._read.decode())

    def wait(self) -> None:
        """Wait until there is something to read."""
        assert select.select([self._pipe], [], [], TIMEOUT_SECONDS)[0], "the tap hangs"

    def send(self, number: signal.Signals) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def stop_reading(self) -> None:
        self._pipe.close()

    def end(self) -> tuple[int | None, str]:
        """Wait for the end; give the exit status and what was said besides what informs."""
        self._process.join(TIMEOUT_SECONDS)
        errors = (self._folder / "errors.txt").read_text()
        return self._process.exitcode, "".join(
            line
            for line in errors.splitlines(keepends=True)
            if "| INFO " not in line and OTHER_TIME not in line
        )


def run(
    sandbox: Sandbox, folder: Path, *, state: dict[str, Any] | None = None, tables: bool = False
) -> Received:
    """Run a tap to its good end."""
    with Tap(sandbox, folder, state=state, tables=tables) as process:
        received = process.read()
        assert process.end() == (0, "")
    return received


def _run(
    arguments: list[str], out: Connection, errors: str, streams: tuple[type[Stream], ...]
) -> None:
    """Run the command in a process of its own."""
    os.dup2(out.fileno(), 1)
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    for module, name, value in (
        (sdk, "WRITE_BYTES", 1),
        (events, "ROWS_AT_ONCE", 1),
        (reader, "MAX_PAGES", 1),
        (events, "STATE_INTERVAL_SECONDS", 0.0),
        (tap, "STREAMS", streams),
    ):
        setattr(module, name, value)
    tap.TapCelonisAudit.cli(arguments)
