"""A clock that is behind means that little is read: that is said, and nothing is lost by it."""

from __future__ import annotations

import contextlib
from email.utils import formatdate
from typing import TYPE_CHECKING

import pytest
from outputs import run_tap

from tap_celonis_audit.client import Client
from tap_celonis_audit.sandbox import Sandbox
from tap_celonis_audit.settings import Settings
from tap_celonis_audit.streams import AuditLogsStream
from tap_celonis_audit.tap import TapCelonisAudit
from tap_celonis_audit.windows import format_second

if TYPE_CHECKING:
    from collections.abc import Generator

NOW = "2026-03-01T12:00:00Z"
DATE = "tap_celonis_audit.sandbox.server.formatdate"


@pytest.fixture
def sandbox() -> Generator[Sandbox]:
    with Sandbox(days=1, now=NOW) as sandbox:
        yield sandbox


@pytest.mark.parametrize(
    ("ahead_s", "tells"),
    [(-3_601, True), (-3_599, False), (0, False), (3_599, False), (3_601, True)],
)
def test_clocks_that_are_far_apart_are_told_of_once(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, ahead_s: int, *, tells: bool
) -> None:
    server = sandbox.clock.now_ms // 1000
    config = {"api_url": sandbox.url, "app_key": sandbox.app_key}
    client = Client(Settings.from_config(config), clock=lambda: server + ahead_s + 0.5 * tells)
    with contextlib.closing(client):
        client.get(AuditLogsStream.api, {"pageNumber": 0, "pageSize": 1})
        client.get(AuditLogsStream.api, {"pageNumber": 0, "pageSize": 1})
    host = sandbox.url.removeprefix("http://")
    line = (
        f"This machine's clock says {format_second(server + ahead_s)}, that of {host} "
        f"{format_second(server)} (the Date of its first answer): what happened after the earlier "
        "one is left for a later run. Check this machine's clock, and whether a proxy answers "
        "with old pages."
    )
    assert caplog.messages == ([line] if tells else [])


@pytest.mark.parametrize("behind", ["server", "machine"])
@pytest.mark.parametrize("seconds", [3_600 * 12, 86_400 * 365 * 40])
def test_what_a_clock_that_is_behind_leaves_comes_later(
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    behind: str,
    seconds: int,
) -> None:
    now = sandbox.clock.now_ms // 1000
    machine, server = (now - seconds, now) if behind == "machine" else (now, now - seconds)
    config = {"api_url": sandbox.url, "app_key": sandbox.app_key}
    with monkeypatch.context() as wrong:
        wrong.setattr(TapCelonisAudit, "clock", lambda _: machine)
        wrong.setattr(DATE, lambda *_, **__: formatdate(server, usegmt=True))
        first = run_tap(config, state=None)
    (warning,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert warning.startswith(f"This machine's clock says {format_second(machine)}, that of ")
    caplog.clear()

    monkeypatch.setattr(TapCelonisAudit, "clock", lambda _: now)
    second = run_tap(config, state=first.states[-1])
    assert not [r for r in caplog.records if r.levelname == "WARNING"]
    settled = format_second(now - seconds - 120)
    assert all(row["timestamp"] < settled for row in first.rows)
    assert second.rows
    whole = run_tap(config, state=None)
    assert sorted(first.ids + second.ids) == sorted(whole.ids)
