"""Two runs at the same time, and states that were merged: true for each stream, whichever wins."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from meltano.core.state_store.base import MeltanoState
from taps import Row, Tap, assert_each_once, logs_of, run

from tap_celonis_audit.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pipes of packets")

NOW = "2026-03-02T12:00:00Z"


@pytest.fixture
def sandbox() -> Generator[Sandbox]:
    with Sandbox(days=0, now=NOW, order="unstable") as sandbox:
        happen(sandbox, 9)
        yield sandbox


def happen(sandbox: Sandbox, number: int) -> None:
    """Let events happen in the last two hours, most of them late, and an identical twin."""
    for log in logs_of(sandbox).values():
        twin, *_ = log.happen(number, within_seconds=7_000)
        log.add(twin)


def merge(state: dict[str, Any], *, onto: dict[str, Any]) -> dict[str, Any]:
    """Merge one state onto another, as Meltano does."""
    # Meltano changes what it is given.
    older, newer = json.loads(json.dumps([onto, state]))
    merged = MeltanoState("id", partial_state=newer, completed_state=older).json_merged()
    value: dict[str, Any] = json.loads(merged)
    return value


def rows_behind(
    state: dict[str, Any], candidates: list[tuple[dict[str, Any], list[Row]]]
) -> list[Row]:
    """Give what was written before each stream's bookmark, which is that of a candidate."""
    rows: list[Row] = []
    for stream, bookmark in state["bookmarks"].items():
        origin = next(
            before for other, before in candidates if other["bookmarks"].get(stream) == bookmark
        )
        rows += [row for row in origin if row.stream == stream]
    return rows


@pytest.mark.parametrize("is_first", [True, False], ids=["first run", "later run"])
def test_two_runs_at_the_same_time(sandbox: Sandbox, tmp_path: Path, is_first: bool) -> None:
    state, known = None, []
    if not is_first:
        before = run(sandbox, tmp_path)
        state, known = before.state, before.rows
        happen(sandbox, 5)
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    with (
        # Neither of them plans further ahead than it must.
        Tap(sandbox, folders[0], state=state, parallel=1) as one,
        Tap(sandbox, folders[1], state=state, parallel=1) as other,
    ):
        # The other one is behind by a stream, and sees what appears meanwhile.
        one.read(30)
        happen(sandbox, 2)
        other.read(4)
        sandbox.happen(audit=4, logins=4)
        one.read(4)
        other.read(3)
        both = one.read(), other.read()
        assert one.end() == other.end() == (0, "")
    assert both[0].rows != both[1].rows

    ends = [(each.state, each.rows) for each in both]
    merged = [merge(ends[1][0], onto=ends[0][0]), merge(ends[0][0], onto=ends[1][0])]
    for end in (ends[0][0], ends[1][0], *merged):
        rest = run(sandbox, tmp_path, state=end).rows
        assert_each_once([*known, *rows_behind(end, ends), *rest], sandbox)
        # By key, a target that got all three runs holds each event once.
        assert_each_once({*known, *both[0].rows, *both[1].rows, *rest}, sandbox)


def test_a_state_merged_onto_another_is_one_of_them(sandbox: Sandbox, tmp_path: Path) -> None:
    before = run(sandbox, tmp_path)
    happen(sandbox, 5)
    after = run(sandbox, tmp_path, state=before.state)
    sandbox.happen(audit=4, logins=4)
    states = [
        *before.states,
        *((state, [*before.rows, *rows]) for state, rows in after.states),
    ]
    distinct = {
        json.dumps(merged, sort_keys=True): merged
        for newer, _ in states
        for older, _ in states
        for merged in [merge(newer, onto=older)]
    }
    assert len(distinct) > len(states)
    for merged in [*distinct.values()][::7]:
        rest = run(sandbox, tmp_path, state=merged).rows
        assert_each_once([*rows_behind(merged, states), *rest], sandbox)


@pytest.mark.parametrize("hours", ["10:30", "11:30", "12:30"])
def test_a_bookmark_by_hand_merged_onto_a_state_loses_nothing(
    sandbox: Sandbox, tmp_path: Path, hours: str
) -> None:
    """It comes without what is known of the recent past, which stays what it was."""
    before = run(sandbox, tmp_path)
    happen(sandbox, 5)
    sandbox.happen(audit=4, logins=4, advance_seconds=3_600)
    bookmark = {"replication_key_value": f"2026-03-02T{hours}:00.000000Z"}
    by_hand = {"bookmarks": dict.fromkeys(logs_of(sandbox), bookmark)}
    rest = run(sandbox, tmp_path, state=merge(by_hand, onto=before.state)).rows
    assert_each_once({*before.rows, *rest}, sandbox)
