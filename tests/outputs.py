"""What the tap writes, kept; and what happens when it is killed while it does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tap_celonis_audit.sdk import LineWriter
from tap_celonis_audit.tap import TapCelonisAudit

if TYPE_CHECKING:
    from collections.abc import Collection

    from singer_sdk.singerlib.encoding.simple import Message


class KilledError(BaseException):
    """Nothing catches a SIGKILL."""


class Output(LineWriter):
    """Keeps lines, up to the one at which the process is killed."""

    def __init__(self, lines: int | None = None) -> None:
        super().__init__()
        self.lines: list[dict[str, Any]] = []
        self._left = lines

    def write_message(self, message: Message) -> None:
        self._keep(self.format_message(message))

    def write_record(self, stream: str, record: dict[str, Any], version: int | None) -> None:
        super().write_record(stream, record, version)
        line, self._waiting = self._waiting, bytearray()
        self._keep(line)

    def _keep(self, line: bytearray) -> None:
        if self._left is not None:
            if self._left == 0:
                raise KilledError
            self._left -= 1
        self.lines.append(json.loads(line))

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [line["record"] for line in self.lines if line["type"] == "RECORD"]

    @property
    def ids(self) -> list[tuple[str, str]]:
        return [
            (line["stream"], line["record"]["event_id"])
            for line in self.lines
            if line["type"] == "RECORD"
        ]

    @property
    def states(self) -> list[dict[str, Any]]:
        return [line["value"] for line in self.lines if line["type"] == "STATE"]


def run_tap(
    config: dict[str, Any],
    *,
    state: dict[str, Any] | None,
    lines: int | None = None,
    streams: Collection[str] = ("audit_logs", "login_history"),
) -> Output:
    """Copy the logs in this process, up to a line if one is given."""
    output = Output(lines)
    tap = TapCelonisAudit(config=config, state=state, message_writer=output)
    for name, stream in tap.streams.items():
        stream.selected = name in streams
    try:
        tap.sync_all()
    except KilledError:
        # A dead process does nothing more; here the SDK's generators might.
        assert lines is not None
    finally:
        tap.client.close()
    return output
