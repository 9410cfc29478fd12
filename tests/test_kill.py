"""Stopped at any line of its output, the tap goes on from what the target had acknowledged."""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from singer_sdk.contrib.msgspec import encoder
from singer_sdk.singerlib.messages import StateMessage
from taps import Received, Row, Tap, assert_each_once, logs_of, run

from tap_celonis_audit import sdk
from tap_celonis_audit.sandbox import Sandbox
from tap_celonis_audit.sdk import LineWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pipes of packets")

NOW = "2026-03-02T12:00:00Z"
#: Every line, each way: make soak
STEP = 1 if "SOAK" in os.environ else 5


class Copy:
    """A copy of a team, about to be brought up to date by a run that is stopped."""

    def __init__(self, sandbox: Sandbox, folder: Path, *, is_first: bool) -> None:
        self.sandbox, self.folder = sandbox, folder
        self.state: dict[str, Any] | None = None
        self.rows: list[Row] = []
        self._resumed: dict[str, list[Row]] = {}
        for log in logs_of(sandbox).values():
            twin, *_ = log.happen(9, within_seconds=7_000)
            log.add(twin)
        if not is_first:
            before = run(sandbox, folder)
            self.rows, self.state = before.rows, before.state
            for log in logs_of(sandbox).values():
                log.add(log.visible[5])  # a late twin
                log.happen(2, within_seconds=7_000)
            sandbox.happen(audit=7, logins=7)
        self.whole = run(sandbox, folder, state=self.state)
        assert_each_once([*self.rows, *self.whole.rows], sandbox)

    def check(self, received: Received, *, lag: int) -> None:
        """Check what comes of it if all states but the last `lag` were acknowledged."""
        states = [(self.state, []), *received.states]
        state, kept = states[max(0, len(states) - 1 - lag)]
        rest = self.resume(state)
        # A target that keeps what it acknowledged holds each event once; one that keeps all that it
        # received, by key.
        assert_each_once([*self.rows, *kept, *rest], self.sandbox)
        assert {*received.rows, *rest} == {*self.whole.rows}
        assert len(received.rows) == len({*received.rows})

    def resume(self, state: dict[str, Any] | None) -> list[Row]:
        key = json.dumps(state)
        if key not in self._resumed:
            self._resumed[key] = run(self.sandbox, self.folder, state=state).rows
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
def test_stopped_at_a_line(copy: Copy, way: str) -> None:
    number, expected, says = WAYS[way]
    assert len(copy.whole.states) >= 8
    # The line after those is on its way when the tap is stopped, and one more waits behind it.
    for lines in range(list(WAYS).index(way), len(copy.whole.messages) - 1, STEP):
        with Tap(copy.sandbox, copy.folder, state=copy.state) as tap:
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
