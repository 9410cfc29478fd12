"""Killed at every line of its output, the tap goes on from what the target had acknowledged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from outputs import Output, run_tap

from tap_celonis_audit.sandbox import Sandbox
from tap_celonis_audit.streams import events

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = "2026-03-02T12:00:00Z"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(days=0, now=NOW, order="unstable") as sandbox:
        for log in (sandbox.audit, sandbox.logins):
            log.happen(25, within_seconds=7_000)
        yield sandbox


def run(sandbox: Sandbox, *, state: dict[str, Any] | None, lines: int | None = None) -> Output:
    config = {
        "api_url": sandbox.url,
        "app_key": sandbox.app_key,
        "page_size": 3,
        "start_date": "2026-03-02",
    }
    return run_tap(config, state=state, lines=lines)


@pytest.mark.parametrize("lag", [0, 1, 3])
def test_killed_at_every_line(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, lag: int) -> None:
    monkeypatch.setattr(events, "STATE_INTERVAL_SECONDS", 0.0)
    whole = run(sandbox, state=None)
    assert len(whole.ids) == len(set(whole.ids)) == 50
    assert len(whole.states) >= 6
    for lines in range(0, len(whole.lines), 1 + 2 * lag):
        cut = run(sandbox, state=None, lines=lines)
        assert len(cut.lines) == lines
        assert cut.ids == whole.ids[: len(cut.ids)]
        acknowledged = cut.states[: len(cut.states) - lag]
        rest = run(sandbox, state=acknowledged[-1] if acknowledged else None)
        assert {*cut.ids, *rest.ids} == {*whole.ids}
        # What a target holds by key is whole; what it holds by line repeats a window at most.
        assert len(rest.ids) == len(set(rest.ids))
        assert rest.states[-1]["bookmarks"] == whole.states[-1]["bookmarks"]


def test_states_are_true_at_every_line(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes before a state and what a run from that state brings are everything, once."""
    monkeypatch.setattr(events, "STATE_INTERVAL_SECONDS", 0.0)
    whole = run(sandbox, state=None)
    for index, line in enumerate(whole.lines):
        if line["type"] != "STATE":
            continue
        before = [
            (each["stream"], each["record"]["event_id"])
            for each in whole.lines[:index]
            if each["type"] == "RECORD"
        ]
        after = run(sandbox, state=line["value"]).ids
        assert sorted(before + after) == sorted(whole.ids)
