"""Running the tap for some streams only, in this process."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from outputs import Output

from tap_celonis_audit.errors import TapError
from tap_celonis_audit.tap import TapCelonisAudit

if TYPE_CHECKING:
    from tap_celonis_audit.sandbox import Sandbox

NOW = "2026-03-01T12:00:00Z"


class Run(Output):
    """What a run wrote, and why it failed."""

    failures: dict[str, str]

    def of(self, stream: str) -> list[dict[str, Any]]:
        return [
            line["record"]
            for line in self.lines
            if line["type"] == "RECORD" and line["stream"] == stream
        ]

    @property
    def kinds(self) -> list[tuple[str, str]]:
        """Type and stream of each message, but for the states, each once in a row."""
        kinds = [(line["type"], line["stream"]) for line in self.lines if line["type"] != "STATE"]
        return [kind for kind, before in zip(kinds, [None, *kinds], strict=False) if kind != before]


def copy(
    sandbox: Sandbox,
    *streams: str,
    way: str = "app_key",
    fails: bool = False,
    catalog: dict[str, Any] | None = None,
    **config: Any,
) -> Run:
    """Copy these streams."""
    credentials = {
        "app_key": {"app_key": sandbox.app_key},
        "api_key": {"api_key": sandbox.api_key},
        "oauth": {"client_id": sandbox.client_id, "client_secret": sandbox.client_secret},
    }[way]
    run = Run()
    tap = TapCelonisAudit(
        config={"api_url": sandbox.url, "max_retries": 0, **credentials, **config},
        catalog=catalog,
        message_writer=run,
    )
    for stream in tap.streams.values():
        stream.selected = stream.name in streams
    with contextlib.closing(tap):
        try:
            tap.sync_all()
        except TapError:
            assert fails
        else:
            assert not fails
    run.failures = tap.failures
    return run
