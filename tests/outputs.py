"""What the tap writes, kept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tap_celonis_audit.sdk import LineWriter
from tap_celonis_audit.tap import TapCelonisAudit

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from singer_sdk.singerlib.encoding.simple import Message


class Output(LineWriter):
    """Keeps lines."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict[str, Any]] = []

    def write_message(self, message: Message) -> None:
        self.lines.append(json.loads(self.format_message(message)))

    def flush(self) -> None:
        lines, self._waiting = self._waiting, bytearray()
        self.lines += map(json.loads, lines.splitlines())

    def write_records(self, stream: str, records: Iterable[Any], version: int | None) -> None:
        super().write_records(stream, records, version)
        self.flush()

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
    streams: Collection[str] = ("audit_logs", "login_history"),
) -> Output:
    """Copy some streams in this process."""
    output = Output()
    tap = TapCelonisAudit(config=config, state=state, message_writer=output)
    for name, stream in tap.streams.items():
        stream.selected = name in streams
    tap.sync_all()
    return output
