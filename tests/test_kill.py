"""Stopped at any line of its output, the tap goes on from what the target had acknowledged."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from outputs import Output
from singer_sdk.contrib.msgspec import encoder
from singer_sdk.singerlib.messages import StateMessage
from taps import Received, Row, Tap, assert_each_once, logs_of, run

from tap_celonis_audit import reader, sdk
from tap_celonis_audit.sandbox import Sandbox
from tap_celonis_audit.sdk import LineWriter
from tap_celonis_audit.tap import TapCelonisAudit

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pipes of packets")

NOW = "2026-03-02T12:00:00Z"
#: How many rows the tables have.
TABLES = {"members": 3, "permissions": 3}
#: Events of each log; more of them: make soak
EVENTS = 9 if "SOAK" in os.environ else 4


class Copy:
    """A copy of a team, about to be brought up to date by a run that is stopped."""

    def __init__(self, sandbox: Sandbox, folder: Path, *, is_first: bool) -> None:
        self.sandbox, self.folder = sandbox, folder
        self.state: dict[str, Any] | None = None
        self.rows: list[Row] = []
        self._resumed: dict[str, Received] = {}
        for table in (sandbox.members, sandbox.grants):
            table.replace(table.visible[:3])
        for log in logs_of(sandbox).values():
            twin, *_ = log.happen(EVENTS, within_seconds=7_000)
            log.add(twin)
        if not is_first:
            before = run(sandbox, folder, tables=True)
            self.rows, self.state = before.rows, before.state
            for log in logs_of(sandbox).values():
                log.add(log.visible[3])  # a late twin
                log.happen(EVENTS // 4, within_seconds=7_000)
            sandbox.happen(audit=EVENTS, logins=EVENTS)
        self.whole = run(sandbox, folder, state=self.state, tables=True)
        assert_each_once([*self.rows, *self.whole.rows], sandbox)
        assert {stream: len(rows) for stream, rows in self.whole.tables.items()} == TABLES
        assert self.whole.activated == [*TABLES]

    def check(self, received: Received, *, lag: int) -> None:
        """Check what comes of it if all states but the last `lag` were acknowledged."""
        states = [(self.state, []), *received.states]
        state, kept = states[max(0, len(states) - 1 - lag)]
        resumed = self.resume(state)
        rest = resumed.rows
        # A target that keeps what it acknowledged holds each event once; one that keeps all that it
        # received, by key.
        assert_each_once([*self.rows, *kept, *rest], self.sandbox)
        assert {*received.rows, *rest} == {*self.whole.rows}
        assert len(received.rows) == len({*received.rows})
        # Nothing of a table may go before the whole of it is there.
        for table in received.activated:
            assert received.tables[table] == self.whole.tables[table]
        assert resumed.tables == self.whole.tables
        assert resumed.activated == self.whole.activated

    def resume(self, state: dict[str, Any] | None) -> Received:
        key = json.dumps(state)
        if key not in self._resumed:
            self._resumed[key] = run(self.sandbox, self.folder, state=state, tables=True)
        return self._resumed[key]


@pytest.fixture(scope="module", params=[True, False], ids=["first run", "later run"])
def copy(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Copy]:
    with Sandbox(days=0, now=NOW, order="unstable") as sandbox:
        yield Copy(sandbox, tmp_path_factory.mktemp("copy"), is_first=request.param)


WAYS = {
    "SIGKILL": (signal.SIGKILL, -9, ""),
    "SIGTERM": (signal.SIGTERM, 143, "Ended by SIGTERM"),
    "broken pipe": (None, 1, "The target stopped reading"),
}


@pytest.mark.parametrize("way", WAYS)
def test_stopped_at_each_line(copy: Copy, way: str) -> None:
    number, expected, says = WAYS[way]
    assert len(copy.whole.states) >= 6
    kinds = {message["type"] for message in copy.whole.messages}
    assert kinds == {"SCHEMA", "RECORD", "STATE", "ACTIVATE_VERSION"}
    # The line after those is on its way when the tap is stopped, and one more waits behind it.
    for lines in range(len(copy.whole.messages) - 1):
        with Tap(copy.sandbox, copy.folder, state=copy.state, tables=True) as tap:
            received = tap.read(lines)
            tap.wait()
            if number is None:
                tap.stop_reading()
            else:
                tap.send(number)
                received = tap.read()
            status, errors = tap.end()
        assert status == expected
        assert says in errors
        assert errors.count("\n") == bool(says), "one line"
        assert lines <= len(received.messages) <= lines + 3
        for lag in (0, 1, 3):
            copy.check(received, lag=lag)


def test_a_signal_does_not_split_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    writer = LineWriter()

    class Encoder:
        """A signal comes as soon as it has encoded something."""

        def __getattr__(self, name: str) -> Callable[..., NoReturn]:
            def encode(*args: object) -> NoReturn:
                getattr(encoder, name)(*args)
                writer.write_message(StateMessage(value={}))
                sys.exit(143)

            return encode

    monkeypatch.setattr(sdk, "encoder", Encoder())
    with pytest.raises(SystemExit):
        writer.write_records("audit_logs", [{"event_id": "1"}], None)
    writer.flush()
    assert [json.loads(line)["type"] for line in capsys.readouterr().out.splitlines()] == ["STATE"]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_no_state_stands_behind_records_that_it_does_not_tell_of(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A target that keeps what lies before a state would hold those records twice."""
    monkeypatch.setattr(reader, "MAX_PAGES", 1)

    class Writer(Output):
        """A signal comes when it has written so many windows."""

        left = number

        def write_records(self, stream: str, records: Iterable[Any], version: int | None) -> None:
            written = len(self.rows)
            super().write_records(stream, records, version)
            self.left -= len(self.rows) > written
            if not self.left:
                tap._handle_termination(signal.SIGTERM, None)

    with Sandbox(days=0, now=NOW) as sandbox:
        sandbox.audit.happen(20, within_seconds=7_000)
        config = {"api_url": sandbox.url, "app_key": sandbox.app_key, "page_size": 3}
        tap = TapCelonisAudit(config=config, message_writer=(writer := Writer()))
        with contextlib.closing(tap), pytest.raises(SystemExit):
            tap.sync_all()
    assert writer.lines[-1]["type"] == "RECORD"
    assert 0 < len(writer.rows) < 20
