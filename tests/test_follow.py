"""Following a log over many runs: late events, twins, crashes, deletions, and what it costs."""

from __future__ import annotations

import itertools
import json
import random
from typing import TYPE_CHECKING

import pytest
from worlds import BOUNDS, LATE, NOON_S, ORDERS, PRECISIONS, SETTLE, Copy, World, record

from tap_celonis_audit import state as state_module
from tap_celonis_audit.errors import RateLimitError, TapError
from tap_celonis_audit.state import MARGIN_SECONDS
from tap_celonis_audit.windows import BEGINNING, format_second

if TYPE_CHECKING:
    from tap_celonis_audit.sandbox.api import Bounds, Order, Precision

pytestmark = pytest.mark.usefixtures("parallel")

MINUTE, HOUR, DAY = 60, 3_600, 86_400


def settle(world: World, copy: Copy) -> None:
    """Let everything become due, and read it."""
    world.clock.advance(seconds=copy.late + copy.settle + 5)
    copy.run()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("number", [0, 40, 3000])
def test_a_second_run_emits_nothing_and_costs_almost_nothing(order: Order, number: int) -> None:
    world = World(order=order)
    world.fill(number, NOON_S - 5 * HOUR, NOON_S)
    copy = Copy(world)
    copy.run()
    copy.check()
    assert copy.run() == []
    assert copy.requests <= 3


@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("every", [MINUTE, 5 * MINUTE, HOUR, DAY])
def test_late_events_on_any_schedule(every: int, precision: Precision, bounds: Bounds) -> None:
    """Those that are later than the limit may be missing, and spoil nothing else."""
    for order in ORDERS:
        world = World(precision=precision, bounds=bounds, order=order)
        chance = random.Random(every)
        world.fill(300, NOON_S - DAY, NOON_S)
        copy = Copy(world)
        late = 0
        for run in range(12):
            pause = 3 * DAY if run == 8 else every
            for number in range(21):
                ahead_s = chance.randrange(pause)
                late_s = chance.choice([0, 1, chance.randrange(LATE), LATE - 1])
                name = f"{run}-{number}"
                if number == 20:
                    late_s, name = LATE + chance.randrange(DAY), f"beyond-{run}"
                at_ms = world.clock.now_ms + ahead_s * 1000
                world.log.add(record(at_ms, name), visible_in=ahead_s + late_s)
            world.clock.advance(seconds=pause)
            copy.run()
            late += copy.follower.late
        settle(world, copy)
        truth = world.truth(copy.start, world.now_s - SETTLE)
        assert all(b'"event":"beyond-' in missing for missing in truth - copy.records)
        assert not copy.records - truth
        assert len(copy.ids) == len(set(copy.ids))
        assert late > 0


def test_an_event_that_is_later_than_the_limit_is_not_promised() -> None:
    world = World()
    world.fill(300, NOON_S - DAY, NOON_S)
    copy = Copy(world)
    copy.run()
    world.clock.advance(seconds=LATE + HOUR)
    copy.run()
    world.log.add(record((NOON_S - 2 * HOUR) * 1000, "much too late"))
    assert copy.run() == []


@pytest.mark.parametrize("part", [0.5, 0.9, 1.1])
@pytest.mark.parametrize("every", [5 * MINUTE, HOUR])
def test_events_that_come_nearly_too_late_are_told(
    part: float, every: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Later ones are not looked for, so that is how a run notices that there may be some."""
    world = World()
    world.fill(300, NOON_S - DAY, NOON_S - HOUR)
    copy = Copy(world)
    copy.run()
    world.log.add(record(NOON_S * 1000, "late"), visible_in=part * LATE)
    for _ in range(7 * HOUR // every):
        world.clock.advance(seconds=every)
        copy.run()
    told = f"what appears later than late_arrival_seconds ({LATE}) is not looked for"
    assert (told in caplog.text) == (part > 0.5)


def test_late_events_in_the_seconds_at_which_spans_end() -> None:
    # Every second of the watched time, in turn: no second may fall between two spans.
    for offset in range(0, 400, 7):
        world = World(bounds="exclusive", precision="second")
        world.fill(400, NOON_S - 400, NOON_S - SETTLE)
        copy = Copy(world, start=NOON_S - HOUR)
        copy.run()
        for millisecond in (0, 999):
            world.log.add(record((NOON_S - SETTLE - 1 - offset) * 1000 + millisecond, "late"))
        assert len(copy.run()) == 2
        copy.check()


def test_a_late_twin_is_one_more_event() -> None:
    world = World()
    at_ms = (NOON_S - HOUR) * 1000
    world.tie(2, at_ms, twins=True)
    copy = Copy(world)
    first = copy.run()
    world.tie(1, at_ms, twins=True)
    (late,) = copy.run()
    assert late.event_id not in {row.event_id for row in first}
    assert len({row.event.key for row in copy.rows}) == 1
    copy.check()


@pytest.mark.parametrize("is_moving", [False, True])
@pytest.mark.parametrize("late", [1, 10, 100, 1_000])
def test_late_events_cost_no_more_than_reading_all_that_is_recent(
    late: int, *, is_moving: bool
) -> None:
    """Where others appear while they are looked for, windows that change are read twice."""
    world = World()
    world.fill(6_000, NOON_S - 5 * HOUR, NOON_S - SETTLE)
    copy = Copy(world)
    copy.run()
    world.clock.advance(seconds=60)
    world.fill(late, NOON_S - 5 * HOUR, NOON_S - SETTLE, name="late")

    def appear(_: World) -> None:
        if world.requests % 50 == 0:
            world.fill(1, NOON_S - 5 * HOUR, NOON_S - SETTLE, name=world.requests)

    world.hook = appear if is_moving else None
    copy.run()
    pages = len(world.log) / 200
    assert copy.requests <= 10 + min(20 * late, 1.3 * pages) * (1 + is_moving)
    world.hook = None
    copy.run()
    copy.check()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_busy_log_with_late_events_is_searched_by_count(precision: Precision) -> None:
    world = World(precision=precision)
    world.fill(9_000, NOON_S - 6 * HOUR, NOON_S)
    copy = Copy(world)
    copy.run()
    world.log.add(record((NOON_S - 3 * HOUR) * 1000 + 5, "late"))
    (row,) = copy.run()
    assert row.event.record["event"] == "late"
    copy.check()
    # Far fewer than the 45 pages of the watched time.
    assert copy.requests <= 20


@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("millisecond", [0, 500])
def test_a_log_without_a_quiet_second_is_searched_by_count(
    bounds: Bounds, precision: Precision, millisecond: int
) -> None:
    world = World(bounds=bounds, precision=precision)
    begin, end = NOON_S - 2 * HOUR, NOON_S - SETTLE
    world.log.extend(
        record(second * 1000 + at, f"steady-{second}-{at}")
        for second in range(begin, end + 9)
        for at in (millisecond, millisecond + 1)
    )
    copy = Copy(world, start=begin - HOUR)
    copy.run()
    copy.check()
    assert copy.run() == []
    assert copy.requests <= 3
    late_s = (begin, begin + 1, NOON_S - HOUR, end - 2, end - 1)
    for number, second in enumerate(late_s):
        world.log.add(record(second * 1000 + 7, f"late-{number}"))
        assert [row.event.record["event"] for row in copy.run()] == [f"late-{number}"]
        assert copy.requests <= 40  # The watched time has 72 pages.
    assert copy.run() == []
    copy.check()


def test_what_is_searched_is_not_forgotten_before_the_search_ends() -> None:
    world = World()
    world.fill(300, NOON_S - HOUR, NOON_S - 10 * MINUTE)
    # Without a quiet second before the watermark, the search goes up to the watermark.
    for second in range(NOON_S - SETTLE - 150, NOON_S - SETTLE):
        world.log.add(record(second * 1000, f"burst-{second}"))
    copy = Copy(world, late=HOUR)
    copy.run()
    world.clock.advance(seconds=30 * MINUTE)
    world.log.add(record((NOON_S - SETTLE - 10) * 1000, "late"))
    assert [row.event.record["event"] for row in copy.run()] == ["late"]
    copy.check()


def test_where_more_than_a_page_happens_in_every_second_the_watched_time_is_read_again() -> None:
    world = World(bounds="exclusive")
    start = NOON_S - 140
    for second in range(start, NOON_S - SETTLE):
        world.tie(60, second * 1000 + 1, name=second)
    copy = Copy(world, start=start, page_size=50)
    copy.run()
    copy.check()
    world.log.add(record((start + 10) * 1000 + 2, "late"))
    assert [row.event.record["event"] for row in copy.run()] == ["late"]


def test_more_recent_events_than_can_be_known_are_repeated_rather_than_lost(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(state_module, "MAX_FINGERPRINTS", 100)
    world = World()
    world.fill(2_000, NOON_S - 6 * HOUR, NOON_S)
    copy = Copy(world)
    copy.run()
    assert copy.run() == []
    late = record((NOON_S - 5 * HOUR) * 1000, "late")
    world.log.add(late)
    rows = copy.run()
    assert "late" in {row.event.record["event"] for row in rows}
    assert "are emitted again with the same event_id" in caplog.text or len(rows) == 1
    copy.rows = list({row.event_id: row for row in copy.rows}.values())
    copy.check()


# What Celonis deletes.


@pytest.mark.parametrize("number", [50, 3000])
def test_deleted_events_are_news(number: int, caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.fill(number, NOON_S - 5 * HOUR, NOON_S - HOUR)
    copy = Copy(world)
    copy.run()
    world.log.remove(lambda each: each["event"] in {"E-1", "E-2"})
    assert copy.run() == []
    assert "events were deleted in Celonis" in caplog.text
    caplog.clear()
    assert copy.run() == []
    assert "deleted" not in caplog.text


def test_a_deletion_does_not_hide_a_late_event() -> None:
    world = World()
    world.fill(50, NOON_S - 5 * HOUR, NOON_S - HOUR)
    copy = Copy(world)
    copy.run()
    world.log.remove(lambda each: each["event"] == "E-1")
    world.log.add(record((NOON_S - 2 * HOUR) * 1000, "late"))
    assert [row.event.record["event"] for row in copy.run()] == ["late"]


# Where a run ends.


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_killed_at_any_row_and_resumed_from_an_acknowledged_state(kept: int) -> None:
    """Nothing is lost, also if the target acknowledges states with a delay."""
    for after in range(0, 260, 9):
        world = World(seed=after, order="unstable")
        world.fill(250, NOON_S - 3 * HOUR, NOON_S)
        copy = Copy(world, page_size=20)
        states = [copy.state]
        for _ in range(2):
            steps, written = copy.steps(), 0
            for rows in steps:
                states.append(copy.state)
                for row in rows:
                    if written >= after:
                        break
                    copy.rows.append(row)
                    written += 1
                if written >= after:
                    break
            steps.close()
            copy.state = states[max(0, len(states) - 1 - kept)]
        copy.run()
        copy.rows = list({row.event_id: row for row in copy.rows}.values())
        copy.check()


def test_state_never_runs_ahead_of_the_rows() -> None:
    world = World(order="descending")
    world.fill(3_000, NOON_S - DAY, NOON_S)
    copy = Copy(world, page_size=50)
    for rows in copy.steps():
        if copy.state:
            emitted = {row.event_id for row in copy.rows}
            resumed = Copy(world, state=copy.state)
            resumed.run()
            assert emitted | {row.event_id for row in resumed.rows} >= {*copy.ids}
            assert len(emitted) + len(resumed.rows) == world.truth(0, NOON_S - SETTLE).total()
            break
        copy.rows += rows


def test_bookmarks_never_move_backwards() -> None:
    world = World()
    world.fill(2_000, NOON_S - DAY, NOON_S)
    copy = Copy(world, page_size=50)
    marks = [""]
    for _ in range(3):
        marks += [copy.state.get("replication_key_value", "") for _ in copy.steps()]
        marks.append(copy.state["replication_key_value"])
        world.clock.advance(seconds=HOUR)
    assert marks == sorted(marks)
    assert marks[-1] == format_second(NOON_S + 2 * HOUR - SETTLE)


def test_two_runs_side_by_side_from_one_state() -> None:
    world = World(order="unstable")
    world.fill(800, NOON_S - 5 * HOUR, NOON_S)
    copy = Copy(world, page_size=20)
    copy.run()
    world.clock.advance(seconds=HOUR)
    world.fill(300, NOON_S - 2 * HOUR, NOON_S + HOUR, name="new")
    other = Copy(world, page_size=20, state=copy.state)
    runs = [iter(copy.steps()), iter(other.steps())]
    rows = copy.rows
    while runs:
        run = runs[world.random.randrange(len(runs))]
        try:
            rows += next(run)
        except StopIteration:
            runs.remove(run)
    # The later one of the two states survives; both are true.
    copy.rows = list({row.event_id: row for row in rows}.values())
    copy.check()
    assert copy.run() == []


def test_states_survive_being_merged_as_meltano_merges_them() -> None:
    world = World()
    world.fill(300, NOON_S - 5 * HOUR, NOON_S)
    copy = Copy(world)
    merged: dict[str, str] = {}
    for _ in range(4):
        copy.run()
        merged |= copy.state
        assert merged == copy.state
        assert all(isinstance(value, str) for value in merged.values())
        world.clock.advance(seconds=2 * HOUR)
        world.fill(50, world.now_s - 2 * HOUR, world.now_s, name=world.now_s)
    assert len(json.dumps(merged)) < 10_000


def test_the_size_of_the_state_does_not_grow() -> None:
    world = World()
    copy = Copy(world, late=HOUR)
    sizes = []
    for _ in range(30):
        world.clock.advance(seconds=HOUR)
        world.fill(100, world.now_s - HOUR, world.now_s, name=world.now_s)
        copy.run()
        sizes.append(len(json.dumps(copy.state)))
    assert max(sizes[15:]) < 1.3 * max(sizes[:15])
    settle(world, copy)
    copy.check()


# What the settings mean.


def test_events_in_the_future_wait_for_their_time() -> None:
    world = World()
    world.fill(20, NOON_S - HOUR, NOON_S)
    world.log.add(record((NOON_S + 5 * HOUR) * 1000, "future"))
    copy = Copy(world)
    copy.run()
    copy.check()
    assert copy.state["replication_key_value"] == format_second(NOON_S - SETTLE)
    world.clock.advance(seconds=6 * HOUR)
    assert [row.event.record["event"] for row in copy.run()][-1] == "future"


def test_backfills_in_pieces_add_up() -> None:
    world = World(order="unstable")
    world.fill(2_000, NOON_S - 10 * DAY, NOON_S)
    whole = Copy(world)
    whole.run()
    borders = [BEGINNING, NOON_S - 7 * DAY, NOON_S - 3 * DAY, None]
    ids: list[str] = []
    for start, end in itertools.pairwise(borders):
        piece = Copy(world, start=start or 0, end=end)
        piece.run()
        ids += piece.ids
    assert ids == whole.ids


@pytest.mark.parametrize("number", [40, 3_000])
@pytest.mark.parametrize("ago", [3 * HOUR, HOUR, SETTLE + 1])
def test_an_end_before_the_bookmark_bounds_late_events_too(number: int, ago: int) -> None:
    for order, bounds in itertools.product(ORDERS[:3], BOUNDS):
        world = World(order=order, bounds=bounds)
        world.fill(number, NOON_S - 5 * HOUR, NOON_S)
        copy = Copy(world)
        copy.run()
        end = NOON_S - ago
        for name, second in (("in time", end - 1), ("at the end", end), ("behind", end + HOUR)):
            world.log.add(record(second * 1000 + 7, name))
        mark, copy.end = copy.state["replication_key_value"], end
        assert [row.event.record["event"] for row in copy.run()] == ["in time"]
        assert copy.state["replication_key_value"] == mark
        assert copy.run() == []
        copy.end = None
        world.clock.advance(seconds=2 * HOUR)
        names = {row.event.record["event"] for row in copy.run()}
        assert {"at the end", "behind"} <= names
        copy.check()


@pytest.mark.parametrize("ago", [7 * DAY, 3 * DAY, 4 * HOUR])
def test_an_end_bounds_older_history_too(ago: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    world = World()
    world.fill(3_000, NOON_S - 10 * DAY, NOON_S)
    copy = Copy(world, start=NOON_S - 2 * HOUR)
    copy.run()
    recent = len(copy.rows)
    copy.start, copy.end = NOON_S - 8 * DAY, NOON_S - ago
    for _ in range(2):
        copy.run()
        assert all((row.event.second or 0) < NOON_S - ago for row in copy.rows[recent:])
        assert "the rest waits for a run with a later end_date" in caplog.text
    final = min(NOON_S - ago, NOON_S - LATE - MARGIN_SECONDS)
    expected = world.truth(copy.start, final).total()
    assert len(copy.rows) - recent == expected > 200
    copy.end = None
    copy.run()
    copy.check()
    assert copy.run() == []


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("ago", [3 * HOUR, SETTLE + 30, 10])
def test_an_event_that_appears_between_the_requests_of_a_quiet_run(at: int, ago: int) -> None:
    world = World()
    world.fill(3_000, NOON_S - 5 * HOUR, NOON_S)
    copy = Copy(world)
    copy.run()
    world.clock.advance(seconds=60)
    begun = world.requests

    def hook(_: World) -> None:
        if world.requests == begun + at - 1:
            world.log.add(record((world.now_s - ago) * 1000 + 3, "appears"))

    world.hook = hook
    copy.run()
    world.hook = None
    world.clock.advance(seconds=HOUR)
    copy.run()
    copy.check()
    assert copy.records.total() == 3_001


@pytest.mark.parametrize("at", range(1, 16))
@pytest.mark.parametrize("news", [0, 5, 150, 2_000])
def test_an_event_that_appears_in_a_run_does_not_stand_in_for_a_late_one(
    news: int, at: int
) -> None:
    """It lies in what is read; the other one is asked for by count, for the last time."""
    world = World()
    world.fill(600, NOON_S - 5 * HOUR, NOON_S - SETTLE)
    copy = Copy(world)
    copy.run()
    world.log.add(record((NOON_S - 3 * HOUR) * 1000, "late"))
    world.clock.advance(seconds=DAY)
    world.fill(news, NOON_S, world.now_s - HOUR, name="news")
    begun = world.requests

    def hook(_: World) -> None:
        if world.requests == begun + at:
            world.log.add(record((world.now_s - 2 * HOUR) * 1000, "during the run"))

    world.hook = hook
    copy.run()
    assert "late" in {row.event.record["event"] for row in copy.rows}
    copy.run()
    copy.check()


def test_a_start_date_that_is_moved_back_adds_the_older_history() -> None:
    world = World()
    world.fill(3_000, NOON_S - 10 * DAY, NOON_S)
    copy = Copy(world, start=NOON_S - 2 * DAY)
    copy.run()
    copy.check()
    copy.start = NOON_S - 5 * DAY
    copy.crash(500)
    assert copy.state["gap"]
    copy.start = NOON_S - 8 * DAY
    copy.crash(700)
    copy.run()
    assert copy.state["gap"] == ""
    copy.rows = list({row.event_id: row for row in copy.rows}.values())
    copy.check()
    assert copy.run() == []


@pytest.mark.parametrize("crashed", [False, True])
def test_older_history_that_is_recent_is_watched_too(*, crashed: bool) -> None:
    for offset in range(-3, 3):
        world = World(bounds="exclusive")
        world.fill(300, NOON_S - 10 * HOUR, NOON_S)
        copy = Copy(world, start=NOON_S - HOUR, page_size=20)
        copy.run()
        copy.start = NOON_S - 9 * HOUR
        if crashed:
            copy.crash(150)
        copy.run()
        copy.rows = list({row.event_id: row for row in copy.rows}.values())
        copy.check()
        world.log.add(record((NOON_S - HOUR + offset) * 1000, "late at the border"))
        world.log.add(record((NOON_S - 3 * HOUR) * 1000, "late in older history"))
        assert len(copy.run()) == 2
        copy.check()


def test_a_start_date_that_is_moved_forward_skips_nothing() -> None:
    world = World()
    world.fill(500, NOON_S - DAY, NOON_S)
    copy = Copy(world, start=NOON_S - DAY)
    copy.run()
    world.clock.advance(seconds=DAY)
    world.fill(500, NOON_S, NOON_S + DAY, name="new")
    copy.start = NOON_S + 12 * HOUR
    copy.run()
    copy.start = NOON_S - DAY
    copy.check()


def test_a_bare_bookmark_is_taken_over_without_loss() -> None:
    world = World()
    world.fill(500, NOON_S - DAY, NOON_S)
    copy = Copy(world)
    copy.state = {
        "replication_key": "timestamp",
        "replication_key_value": format_second(NOON_S - HOUR),
    }
    copy.run()
    expected = world.truth(NOON_S - HOUR - LATE, NOON_S - SETTLE)
    assert copy.records == expected
    assert copy.run() == []


def test_bounds_are_checked_again_as_long_as_nothing_was_seen() -> None:
    world = World(shift_hours=2)
    copy = Copy(world)
    copy.run()
    assert copy.state["bounds"] == ""
    world.clock.advance(seconds=HOUR)
    world.fill(20, NOON_S, NOON_S + HOUR)
    for _ in range(2):
        world.clock.advance(seconds=4 * HOUR)
        with pytest.raises(TapError, match="misreads the time range"):
            copy.run()
        assert copy.rows == []


def test_bounds_that_hide_everything_move_no_bookmark() -> None:
    """Whatever was asked for so far, nothing came: nothing of it is taken as read."""
    world = World(shift_hours=-12)
    world.fill(300, NOON_S - 11 * HOUR, NOON_S - 7 * HOUR)
    copy = Copy(world)
    assert copy.run() == []
    world.shift_hours = 0
    world.clock.advance(seconds=3 * DAY)
    copy.run()
    copy.check()


@pytest.mark.parametrize("hours", [-12, -1, 2, 12])
@pytest.mark.parametrize("number", [1, 3_000])
@pytest.mark.parametrize("silence", [0, 24])
@pytest.mark.parametrize("late", [HOUR, LATE])
def test_bounds_that_change_their_meaning_later_lose_nothing(
    hours: float, number: int, silence: int, late: int
) -> None:
    """The last event stays known, so that even a log in which nothing happens is seen to answer."""
    world = World()
    world.fill(number, NOON_S - 5 * HOUR, NOON_S - HOUR)
    copy = Copy(world, late=late)
    copy.run()
    for _ in range(silence):
        world.clock.advance(seconds=HOUR)
        copy.run()
    world.shift_hours = hours
    failures = 0
    for hour in range(16):
        world.clock.advance(seconds=HOUR)
        if hour > 2:
            world.fill(3, world.now_s - HOUR, world.now_s, name=f"new-{hour}")
        try:
            copy.run()
        except TapError:
            failures += 1
    assert failures or hours < 0  # What is shown later is taken for late.
    world.shift_hours = 0
    settle(world, copy)
    copy.rows = list({row.event_id: row for row in copy.rows}.values())
    copy.check()
    assert copy.run() == []


@pytest.mark.parametrize("days", [1, 20, 40])
def test_silence_costs_little_and_deletions_in_it_stop_nothing(days: int) -> None:
    world = World(retention_days=30)
    for second in range(300):
        world.log.add(record((NOON_S - 10 * MINUTE + second) * 1000, f"{second}"))
    copy = Copy(world)
    copy.run()
    world.clock.advance(seconds=days * DAY)
    for _ in range(2):
        assert copy.run() == []
        assert copy.requests <= 3
        assert copy.state["replication_key_value"] == format_second(world.now_s - SETTLE)
        world.clock.advance(seconds=60)
    world.log.remove(lambda _: True)
    mark = copy.state["replication_key_value"]
    copy.run()
    # Whether all was deleted or is hidden will show; until then, nothing is taken as read.
    assert (copy.state["replication_key_value"] == mark) == (days < 30)
    world.log.add(record(world.clock.now_ms, "new"))
    world.clock.advance(seconds=SETTLE + 1)
    assert [row.event.record["event"] for row in copy.run()] == ["new"]
    assert copy.state["replication_key_value"] == format_second(world.now_s - SETTLE)


def test_a_run_that_may_not_take_longer_ends_at_a_window_and_the_next_goes_on() -> None:
    world = World(order="unstable")
    world.fill(3_000, NOON_S - 10 * DAY, NOON_S)
    copy = Copy(world, page_size=50, windows=1)
    runs = 0
    while copy.state.get("replication_key_value", "") < format_second(NOON_S - SETTLE):
        copy.run()
        runs += 1
    assert runs > 3
    copy.check()
    assert copy.run() == []


@pytest.mark.parametrize("windows", [1, 4, 9])
def test_older_history_in_pieces_comes_once_and_stays_watched(windows: int) -> None:
    world = World()
    world.fill(2_000, NOON_S - 10 * HOUR, NOON_S)
    copy = Copy(world, start=NOON_S - HOUR, page_size=20)
    copy.run()
    copy.start, copy.windows = NOON_S - 9 * HOUR, windows
    for _ in range(3):
        copy.run()
    world.clock.advance(seconds=HOUR)
    world.log.add(record((NOON_S - 4 * HOUR) * 1000, "five hours late"))
    world.clock.advance(seconds=23 * HOUR)
    copy.windows = None
    copy.run()
    copy.check()


@pytest.mark.parametrize("then", [8, 2])
def test_a_start_date_that_changes_while_older_history_is_read(then: int) -> None:
    world = World()
    world.fill(3_000, NOON_S - 10 * DAY, NOON_S)
    copy = Copy(world, start=NOON_S - 2 * DAY, page_size=50)
    copy.run()
    copy.start, copy.windows = NOON_S - 5 * DAY, 1
    copy.run()
    assert copy.state["gap"]
    copy.start, copy.windows = NOON_S - then * DAY, None
    copy.run()
    copy.start = NOON_S - max(then, 5) * DAY
    copy.run()
    copy.check()


def test_a_limit_that_is_raised_while_older_history_is_read_repeats_nothing() -> None:
    world = World()
    world.fill(3_000, NOON_S - 20 * HOUR, NOON_S)
    for windows in range(30, 0, -1):
        copy = Copy(world, start=NOON_S - HOUR // 2, late=HOUR, page_size=20)
        copy.run()
        copy.start, copy.windows = NOON_S - 20 * HOUR, windows
        copy.run()
        if copy.state["gap"]:
            break
    assert copy.state["gap"].split()[1] > format_second(NOON_S - 4 * HOUR)
    copy.late, copy.windows = 6 * HOUR, None
    copy.run()
    copy.check()


def test_a_watch_that_was_pruned_is_not_stretched_over_what_is_unknown() -> None:
    world = World()
    world.fill(2_000, NOON_S - 10 * HOUR, NOON_S)
    copy = Copy(world, start=NOON_S - LATE - 450)
    copy.run()
    world.clock.advance(seconds=60)
    copy.start = NOON_S - 9 * HOUR
    copy.run()
    copy.check()
    assert copy.follower.late == 0


def test_a_run_that_may_not_take_long_gets_further_than_what_it_reads_again() -> None:
    world = World()
    start = NOON_S - 2_000
    world.log.extend(record((start + n) * 1000 + 1, f"steady-{n}") for n in range(1_800))
    copy = Copy(world, start=start, page_size=20)
    copy.run()
    copy.windows = 1
    for hour in range(3):
        world.clock.advance(seconds=HOUR)
        world.log.add(record(world.clock.now_ms - 600_000, f"new-{hour}"))
        assert copy.run()
    copy.check()


def test_retention_does_not_hide_late_events_after_a_long_pause() -> None:
    """As many events as appeared late are deleted, at the midnight in the middle of what is known.

    So the counts are what they were.
    """
    world = World(now="2026-03-01T03:00:00Z", retention_days=30)
    midnight = world.now_s - 3 * HOUR
    world.fill(150, midnight - 2 * HOUR, midnight)
    world.fill(150, midnight, midnight + 2 * HOUR)
    copy = Copy(world)
    copy.run()
    for number in range(150):
        world.log.add(record((midnight + HOUR) * 1000 + number, f"late-{number}"))
    world.clock.advance(seconds=30 * DAY)
    assert len(copy.run()) == 150


def test_a_raised_limit_for_late_events_is_told(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.fill(300, NOON_S - 5 * HOUR, NOON_S)
    copy = Copy(world, late=HOUR)
    copy.run()
    copy.late = LATE
    copy.run()
    assert "late_arrival_seconds was raised from 3600 to 21600" in caplog.text
    caplog.clear()
    copy.run()
    assert "raised" not in caplog.text


def test_recent_history_cut_short_by_a_rate_limit_is_no_success() -> None:
    """What was written of it comes again, so that run must not count as one that succeeded."""
    world = World()
    world.fill(6_000, NOON_S - 40 * DAY, NOON_S - 3 * HOUR)
    world.fill(3_000, NOON_S - 3 * HOUR, NOON_S)
    copy = Copy(world, start=NOON_S - HOUR, page_size=10)
    copy.run()
    copy.start = NOON_S - 40 * DAY
    before = len(copy.rows)

    def hook(_: World) -> None:
        if any((row.event.second or 0) >= NOON_S - LATE for row in copy.rows[before:]):
            raise RateLimitError("wait for hours")

    world.hook = hook
    with pytest.raises(TapError) as told:
        copy.rows.extend(itertools.chain.from_iterable(copy.steps()))
    assert not isinstance(told.value, RateLimitError)
    world.hook = None
    copy.run()
    assert not world.truth(copy.start, world.now_s - SETTLE) - copy.records
