"""Reading a range completely: every way in which a server may answer, and what must come of it."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from worlds import BOUNDS, NOON_S, ORDERS, PRECISIONS, SETTLE, Copy, Rounds, World, parse, record

from tap_celonis_audit.answers import Look, NotProvenError, Page
from tap_celonis_audit.errors import TapError
from tap_celonis_audit.keys import canonical
from tap_celonis_audit.reader import MAX_PAGES, Reader
from tap_celonis_audit.streams import AuditLogsStream
from tap_celonis_audit.streams.events import event_maker
from tap_celonis_audit.windows import format_second

if TYPE_CHECKING:
    from collections.abc import Callable

    from tap_celonis_audit.sandbox.api import Bounds, Empty, Order, Precision

pytestmark = pytest.mark.usefixtures("parallel")

HOUR, DAY = 3_600, 86_400
KNOBS = list(itertools.product(ORDERS, BOUNDS, PRECISIONS))
#: A longer soak: make soak
SEEDS = range(max(8, int(os.environ.get("SOAK", "0")) // 200))


def busy_world(order: Order, bounds: Bounds, precision: Precision, seed: int) -> World:
    """Ordinary days, and groups in one millisecond around the size of a page."""
    world = World(order=order, bounds=bounds, precision=precision, seed=seed)
    world.fill(900, NOON_S - 20 * DAY, NOON_S)
    groups(world)
    return world


def groups(world: World) -> None:
    world.tie(199, (NOON_S - 2 * DAY) * 1000, name="a")
    world.tie(200, (NOON_S - 3 * DAY) * 1000 + 999, name="b")
    world.tie(201, (NOON_S - 4 * DAY) * 1000 + 5, name="c")
    world.tie(400, (NOON_S - 5 * DAY) * 1000 + 500, name="d")
    world.tie(1000, (NOON_S - 6 * DAY) * 1000, name="e")
    world.tie(2, (NOON_S - 7 * DAY) * 1000 + 1, name="twins", twins=True)
    world.tie(3, (NOON_S - 8 * DAY) * 1000 + 999, name="triplets", twins=True)


@pytest.mark.parametrize("limit", [3, 20, 50])
@pytest.mark.parametrize(("order", "bounds", "precision"), KNOBS)
def test_no_seed_makes_a_difference(
    order: Order, bounds: Bounds, precision: Precision, limit: int
) -> None:
    """Many small worlds: events crowd in a few seconds, many of them twins; then late ones come."""
    for seed in SEEDS:
        world = World(order=order, bounds=bounds, precision=precision, seed=seed)
        chance = world.random
        for number in range(chance.randint(1, 12)):
            at_s = NOON_S - chance.choice([3_600, 2 * DAY]) - chance.randrange(20)
            at_ms = at_s * 1000 + chance.choice([0, 1, 500, 999])
            # More identical ones than fit on a page are beyond proof where their order moves.
            twins = order != "shuffled" and chance.random() < 0.3
            size = chance.randint(1, max(1, limit // 3) if twins else 2 * limit)
            world.tie(size, at_ms, name=number, twins=twins)
        copy = Copy(world, page_size=limit)
        copy.run()
        copy.check()
        for number in range(chance.randint(1, 4)):
            world.log.add(record((NOON_S - 3_600 - chance.randrange(20)) * 1000, f"late-{number}"))
        world.clock.advance(seconds=chance.choice([1, 300, 3_600]))
        copy.run()
        copy.check()
        assert copy.run() == []


@pytest.mark.parametrize(("order", "bounds", "precision"), KNOBS)
def test_nothing_depends_on_order_bounds_or_precision(
    order: Order, bounds: Bounds, precision: Precision
) -> None:
    ids = set()
    for seed in range(2):
        copy = Copy(busy_world(order, bounds, precision, seed))
        copy.run()
        copy.check()
        assert [(row.event.timestamp, row.event.key) for row in copy.rows] == sorted(
            (row.event.timestamp, row.event.key) for row in copy.rows
        )
        ids.add((seed, frozenset(copy.ids)))
    reference = Copy(busy_world("ascending", "inclusive", "millisecond", 0))
    reference.run()
    assert (0, frozenset(reference.ids)) in ids


@pytest.mark.parametrize("page_size", [1, 2, 7, 100, 199, 200])
def test_ids_do_not_depend_on_the_page_size(page_size: int) -> None:
    world = World(order="unstable")
    world.fill(60, NOON_S - DAY, NOON_S - 600)
    world.tie(9, (NOON_S - 700) * 1000)
    world.tie(3, (NOON_S - 800) * 1000, twins=True)
    copies = [Copy(world), Copy(world, page_size=page_size)]
    for copy in copies:
        copy.run()
        copy.check()
    assert copies[0].ids == copies[1].ids


@pytest.mark.parametrize("order", ["ascending", "descending", "unstable"])
@pytest.mark.parametrize("millisecond", [0, 1, 999])
@pytest.mark.parametrize("number", [199, 200, 201, 400, 1000])
def test_groups_at_the_border_of_a_window(order: Order, millisecond: int, number: int) -> None:
    border = NOON_S - 7_200
    world = World(order=order)
    offsets = (-1, 0, 1) if number < 1000 else (-1,)
    for offset in offsets:
        world.tie(number, (border + offset) * 1000 + millisecond, name=f"g{offset}")
    below, above = Copy(world, end=border), Copy(world, start=border)
    for copy in (below, above):
        copy.run()
    below.check(end=border)
    above.check()
    assert len(below.rows) + len(above.rows) == len(offsets) * number


@pytest.mark.parametrize("order", ["ascending", "descending", "unstable"])
def test_more_identical_events_than_a_page_holds(order: Order) -> None:
    world = World(order=order)
    world.tie(201, (NOON_S - DAY) * 1000, twins=True)
    world.fill(50, NOON_S - 2 * DAY, NOON_S)
    copy = Copy(world)
    copy.run()
    copy.check()


@pytest.mark.parametrize("order", ["ascending", "unstable"])
@pytest.mark.parametrize("seed", range(8))
def test_a_bulk_change_with_twins_takes_few_requests(order: Order, seed: int) -> None:
    """Its records come in another order each time, so that twins are seldom shown on one page."""
    world = World(order=order, seed=seed)
    at_ms = (NOON_S - DAY) * 1000
    for millisecond in range(at_ms, at_ms + 3):
        world.tie(150, millisecond)
        for copies, groups in ((2, 14), (3, 7), (4, 10)):
            for group in range(groups):
                world.tie(copies, millisecond, name=f"{copies}-{group}", twins=True)
    world.fill(3_000, NOON_S - 30 * DAY, NOON_S)
    copy = Copy(world)
    copy.run()
    copy.check()
    assert world.requests <= 40 + 60 * (order == "unstable")


@pytest.mark.parametrize("refused", range(1, 40))
def test_pages_of_a_crowded_second_that_are_too_large(refused: int) -> None:
    """Whichever it is, smaller ones are asked for afterwards."""
    world = World(order="unstable", seed=refused)
    world.tie(25, NOON_S * 1000)
    for group in range(3):
        world.tie(3, NOON_S * 1000, name=f"triplets-{group}", twins=True)

    def fetch(first: int, last: int, number: int, size: int) -> Page:
        is_refused = world.requests >= refused
        if is_refused and number and size > 15:
            raise NotProvenError("a page is too large")
        return world.fetch(first, last, number, min(size, 15 if is_refused else size))

    reader = Reader(fetch, parse, name="audit_logs", page_size=20)
    (window,) = reader.read(NOON_S, NOON_S + 1)
    shown = Counter(canonical(event.record) for event in window.events)
    assert shown == world.truth(NOON_S, NOON_S + 1)


def test_five_thousand_events_in_one_second() -> None:
    world = World(order="unstable")
    for index in range(5000):
        world.log.add(record((NOON_S - DAY) * 1000 + index % 1000, f"burst-{index}"))
    copy = Copy(world)
    copy.run()
    copy.check()


@pytest.mark.parametrize("limit", [150, 50, 7])
def test_a_server_that_sends_smaller_pages_than_asked_for(limit: int) -> None:
    world = World(max_page_size=limit)
    world.fill(700, NOON_S - 3 * DAY, NOON_S)
    copy = Copy(world)
    copy.run()
    copy.check()


def test_a_server_that_sends_smaller_pages_and_does_not_say_so() -> None:
    """A page that is not full is the last one only if nothing comes behind it."""
    for count in ("exact", "missing"):
        world = World(max_page_size=50, count=count)
        world.fill(700, NOON_S - 3 * DAY, NOON_S)

        def fetch(first: int, last: int, number: int, size: int, world: World = world) -> Page:
            return replace(world.fetch(first, last, number, size), limit=size)

        reader = Reader(fetch, parse, name="x", page_size=200)
        events = [event for each in reader.read(NOON_S - 4 * DAY, NOON_S) for event in each.events]
        assert len(events) == 700


# What counts may be.


@pytest.mark.parametrize("count", ["exact", "text"])
@pytest.mark.parametrize("empty", ["204", "list"])
def test_usual_counts(count: str, empty: Empty) -> None:
    world = World(count=count, empty=empty)
    world.fill(500, NOON_S - 3 * DAY, NOON_S)
    copy = Copy(world)
    copy.run()
    copy.check()


@pytest.mark.parametrize("count", ["missing", "negative"])
@pytest.mark.parametrize("empty", ["204", "list"])
def test_without_a_usable_count_short_pages_prove_it(count: str, empty: Empty) -> None:
    world = World(count=count, empty=empty)
    world.fill(1500, NOON_S - 3 * DAY, NOON_S)
    copy = Copy(world)
    copy.run()
    copy.check()


def test_without_a_count_a_full_second_fails() -> None:
    world = World(count="missing")
    world.tie(200, (NOON_S - DAY) * 1000)
    copy = Copy(world)
    with pytest.raises(TapError, match="cannot be read completely"):
        copy.run()
    assert copy.rows == []


@pytest.mark.parametrize("cap", [200, 250, 400, 1000, 2000])
def test_a_count_that_is_capped_loses_nothing(cap: int, caplog: pytest.LogCaptureFixture) -> None:
    world = World(count=f"capped:{cap}")
    world.fill(12_000, NOON_S - 30 * DAY, NOON_S)
    copy = Copy(world)
    copy.run()
    copy.check()
    assert "are not believed" in caplog.text


def test_an_overlap_in_the_padding_is_not_taken_for_settled() -> None:
    """Of the second behind a window the count holds the first millisecond, and a page the rest."""
    start, end = NOON_S, NOON_S + 10
    a, b, c, lost = (record((start + offset) * 1000, name) for offset, name in enumerate("ABCY"))
    behind, far = record((end + 1) * 1000, "X"), record((end + 1) * 1000 + 500, "Z")
    events = [a, b, c, lost, behind, far]

    def fetch(first: int, last: int, number: int, size: int) -> Page:
        if (first, last) == (start - 1, end + 1):  # The order changed between the two requests.
            return Page([[a, b, behind], [behind, c]][number], 5, size)
        low, high = f"{format_second(first)[:19]}.000Z", f"{format_second(last)[:19]}.000Z"
        shown = [event for event in events if low <= event["timestamp"] <= high]
        return Page(shown[number * size : (number + 1) * size], len(shown), size)

    reader = Reader(fetch, parse, name="audit_logs", page_size=3)
    reader._counts.trust(100)
    found = [event.record for window in reader.read(start, end) for event in window.events]
    assert found == [a, b, c, lost]


@pytest.mark.parametrize("order", ORDERS)
def test_what_fails_far_ahead_does_not_stop_what_lies_before_it(order: Order) -> None:
    world = World(order=order)
    world.fill(2_000, NOON_S - 10 * DAY, NOON_S)

    def fetch(first: int, last: int, number: int, size: int) -> Page:
        if last > NOON_S - DAY and last - first < 3 * DAY:
            raise TapError("Celonis fails here.")
        return world.fetch(first, last, number, size)

    reader = Reader(fetch, parse, name="audit_logs", page_size=50)
    read = NOON_S - 10 * DAY
    with pytest.raises(TapError, match="fails here"):  # noqa: PT012 -- windows come one by one
        for window in reader.read(read, NOON_S):
            read = window.end
    assert read > NOON_S - 4 * DAY


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("seconds", [4, 7, 12, 30])
def test_a_crowd_where_parts_overlap_is_no_wrong_count(
    seconds: int, order: Order, caplog: pytest.LogCaptureFixture
) -> None:
    for at_s in range(NOON_S - DAY, NOON_S - DAY + seconds):
        world = World(order=order)
        world.tie(30, at_s * 1000)
        reader = Reader(world.fetch, parse, name="audit_logs", page_size=10)
        windows = list(reader.read(NOON_S - DAY, NOON_S - DAY + seconds))
        assert sum(len(window.events) for window in windows) == 30
    assert "believed" not in caplog.text


@pytest.mark.parametrize(("order", "bounds", "precision"), KNOBS)
def test_a_busy_hour_costs_hardly_more_than_its_pages(
    order: Order, bounds: Bounds, precision: Precision
) -> None:
    """Something happens in each second, so that parts of the hour always overlap."""
    world = World(order=order, bounds=bounds, precision=precision)
    world.fill(8_000, NOON_S - 1_600, NOON_S)
    copy = Copy(world)
    copy.run()
    copy.check()
    moving = order in {"unstable", "shuffled"}
    assert moving or world.requests <= 1.3 * 8_000 / 200 + 10


@pytest.mark.parametrize("cap", [250, 1000, 3000])
def test_a_capped_count_of_a_busy_hour_loses_nothing(
    cap: int, caplog: pytest.LogCaptureFixture
) -> None:
    for reach in (None, cap):
        world = World(count=f"capped:{cap}", reach=reach)
        world.fill(12_000, NOON_S - 2_400, NOON_S)
        copy = Copy(world)
        copy.run()
        copy.check()
        assert "are not believed" in caplog.text
        caplog.clear()


@pytest.mark.parametrize("cap", [250, 1000, 3000])
def test_pages_that_end_where_a_capped_count_does_lose_nothing(cap: int) -> None:
    world = World(count=f"capped:{cap}", reach=cap)
    world.fill(12_000, NOON_S - 30 * DAY, NOON_S)
    copy = Copy(world)
    copy.run()
    copy.check()


def test_a_second_with_more_events_than_the_cap_fails() -> None:
    world = World(count="capped:300")
    world.tie(500, (NOON_S - DAY) * 1000)
    with pytest.raises(TapError, match="cannot be read completely"):
        Copy(world).run()


CAPS = [10, 50, 120, 199]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("cap", CAPS)
@pytest.mark.parametrize("seconds", [HOUR, 30 * DAY])
def test_a_cap_below_the_size_of_a_page_loses_nothing(
    seconds: int, cap: int, order: Order, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor is it taken for a small log: pages end there, too, and the count agrees with them."""
    world = World(order=order, count=f"capped:{cap}", reach=cap)
    world.fill(1_000, NOON_S - seconds, NOON_S)
    copy = Copy(world)
    copy.run()
    copy.check()
    assert f"Celonis counts {cap} records where there are" in caplog.text
    assert f"counts above {cap - 1} are not believed" in caplog.text


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("cap", CAPS)
def test_a_small_log_that_grows_beyond_a_cap(
    cap: int, order: Order, caplog: pytest.LogCaptureFixture
) -> None:
    """The first run sees as many as it takes for nothing to look odd afterwards."""
    world = World(order=order, count=f"capped:{cap}", reach=cap)
    world.fill(cap, NOON_S - HOUR, NOON_S - SETTLE)
    copy = Copy(world)
    copy.run()
    copy.check()
    assert caplog.text == ""
    for late in (0, 0, 0, 4 * HOUR, 4 * HOUR):
        world.clock.advance(seconds=HOUR)
        begin = world.now_s - HOUR - late
        world.fill(max(1, cap // 5), begin, begin + HOUR, name=world.now_s)
        copy.run()
        copy.check()
    assert "are not believed" in caplog.text


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("cap", CAPS)
def test_a_cap_that_begins_later(cap: int, order: Order, caplog: pytest.LogCaptureFixture) -> None:
    world = World(order=order)
    world.fill(1_000, NOON_S - 30 * DAY, NOON_S)
    copy = Copy(world)
    copy.run()
    world.count, world.reach = f"capped:{cap}", cap
    for _ in range(3):
        world.clock.advance(seconds=HOUR)
        world.fill(2 * cap, world.now_s - HOUR, world.now_s, name=world.now_s)
        copy.run()
        copy.check()
    assert "are not believed" in caplog.text


@pytest.mark.parametrize(("order", "bounds", "precision"), KNOBS)
@pytest.mark.parametrize("number", [1, 9, 10, 25, 199, 200])
def test_a_small_log_costs_a_handful(
    number: int,
    order: Order,
    bounds: Bounds,
    precision: Precision,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its first page, two halves of it, and one request to see what bounds mean."""
    world = World(order=order, bounds=bounds, precision=precision)
    world.fill(number, NOON_S - 30 * DAY, NOON_S - HOUR)
    copy = Copy(world)
    copy.run()
    copy.check()
    assert world.requests <= 4 + (number == 200)
    assert caplog.text == ""


@pytest.mark.parametrize("around", [0, 50, 1_500])
def test_a_second_that_may_be_capped_is_told(around: int, caplog: pytest.LogCaptureFixture) -> None:
    """Pages end where the count does, and nothing larger is counted anywhere: beyond proof."""
    world = World(count="capped:300", reach=300)
    world.tie(500, (NOON_S - DAY) * 1000)
    world.tie(400, (NOON_S - DAY + 60) * 1000, name="other")
    world.fill(around, NOON_S - 9 * DAY, NOON_S)
    copy = Copy(world)
    copy.run()
    told = [line for line in caplog.messages if "in all of its history" in line]
    assert len(told) == 2
    # What is asked for beside a second is in its count.
    for line, offset in zip(told, (0, 60), strict=True):
        span = [format_second(NOON_S - DAY + offset + each) for each in (-3, 0)]
        assert f"counts 300 records from {span[0]} to {span[1]}" in line
    assert (world.truth(0, NOON_S) - copy.records).total() == 300


@pytest.mark.parametrize(
    ("order", "number"), [("ascending", 200), ("descending", 500), ("unstable", 300)]
)
@pytest.mark.parametrize("before", [1, 3_000])
def test_a_crowded_second_among_others_is_not_doubted(
    order: Order, number: int, before: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor is one that is all there is since the last run."""
    world = World(order=order)
    world.fill(before, NOON_S - 9 * DAY, NOON_S - 8 * DAY)
    copy = Copy(world)
    for run in range(3):
        world.clock.advance(seconds=8 * DAY)
        world.tie(number, world.clock.now_ms - 3_600_000, name=run)
        copy.run()
        copy.check()
    assert caplog.text == ""


@pytest.mark.parametrize("is_counted_again", [True, False])
def test_parts_that_count_less_than_the_whole_are_told(
    is_counted_again: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Here time is cut to the minute, so that what happens around a border is in no part."""
    world = World()
    world.fill(9_000, NOON_S - DAY, NOON_S)

    def fetch(first: int, last: int, number: int, size: int) -> Page:
        page = world.fetch(-(-first // 60) * 60, last // 60 * 60, number, size)
        is_part = size == 1 and last - first < DAY / 2
        return page if is_counted_again or not is_part else replace(page, total=None)

    reader = Reader(fetch, parse, name="audit_logs", page_size=200)
    windows = list(reader.read(NOON_S - DAY + 30, NOON_S - 30))
    assert sum(len(window.events) for window in windows) < world.truth(0, NOON_S - 60).total()
    told = caplog.text.count("in the parts of that time: others may be missing")
    assert told == is_counted_again


@pytest.mark.parametrize("adding", [0, 1])
@pytest.mark.parametrize("at", [1, 3])
def test_what_changes_between_two_counts_is_no_wrong_count(
    at: int, adding: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A part may be counted before something is deleted or appears, and the whole after it."""
    world = World()
    world.fill(9_000, NOON_S - DAY, NOON_S)

    def hook(_: World) -> None:
        if world.requests == at:
            world.log.remove(lambda each: each["event"] in {f"E-{n}" for n in range(99)})
        if adding:
            at_ms = world.random.randrange(NOON_S - DAY, NOON_S) * 1000
            world.log.add(record(at_ms, f"new-{world.requests}"))

    world.hook = hook
    copy = Copy(world)
    copy.run()
    assert len(copy.rows) > 8_800
    assert "others may be missing" not in caplog.text


@pytest.mark.parametrize("seed", range(6))
def test_what_appears_after_its_part_was_counted_is_no_wrong_count(
    seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """On a first run, the parts are counted beside the whole: some of them before it."""
    world = World(seed=seed)
    world.fill(9_000, NOON_S - DAY, NOON_S)
    world.hook = lambda _: world.log.add(record((NOON_S - 1_000) * 1000, f"{world.requests}"))
    copy = Copy(world, start=NOON_S - DAY)
    copy.run()
    assert "others may be missing" not in caplog.text
    world.hook = None
    copy.run()
    copy.check()


@pytest.mark.parametrize("number", [0, 7, 1000, 10**9, 10**18])
def test_a_frozen_count_fails(number: int) -> None:
    world = World(count=f"frozen:{number}")
    world.fill(300, NOON_S - DAY, NOON_S)
    copy = Copy(world)
    with pytest.raises(TapError, match="cannot be read completely"):
        copy.run()
    assert world.requests < 400


def test_a_page_that_ignores_its_number_fails_or_is_read_in_single_pages() -> None:
    world = World(ignore=frozenset({"pageNumber"}))
    world.fill(900, NOON_S - DAY, NOON_S)
    copy = Copy(world)
    copy.run()
    copy.check()
    world.tie(201, (NOON_S - 2 * DAY) * 1000)
    with pytest.raises(TapError, match="cannot be read completely"):
        Copy(world).run()


def test_a_page_size_that_is_ignored_loses_nothing() -> None:
    world = World(ignore=frozenset({"pageSize"}))
    world.fill(900, NOON_S - DAY, NOON_S)
    copy = Copy(world, page_size=50)
    copy.run()
    copy.check()


# What bounds may be.


@pytest.mark.parametrize("name", ["from", "to"])
def test_an_ignored_bound_fails(name: str) -> None:
    world = World(ignore=frozenset({name}))
    world.fill(900, NOON_S - DAY, NOON_S)
    start = NOON_S - 7_200 if name == "from" else NOON_S - 2 * DAY
    end = None if name == "from" else NOON_S - 7_200
    copy = Copy(world, start=start, end=end)
    with pytest.raises(TapError, match="ignores or misreads the time range"):
        copy.run()
    assert copy.rows == []


@pytest.mark.parametrize("hours", [-12, -1, 1, 2, 5.5])
@pytest.mark.parametrize("number", [20, 900])
def test_shifted_bounds_fail(hours: float, number: int) -> None:
    world = World(shift_hours=hours)
    world.fill(number, NOON_S - 90 * DAY, NOON_S)
    copy = Copy(world)
    with pytest.raises(TapError, match="misreads the time range"):
        copy.run()
    assert copy.rows == []
    assert copy.state == {}


# What may happen between two requests.


def inserting(world: World, every: int, late_s: int) -> Callable[[World], None]:
    def hook(_: World) -> None:
        if world.requests % every == 0:
            at_ms = world.clock.now_ms - world.random.randrange(late_s * 1000)
            world.log.add(record(at_ms, f"inserted-{world.requests}"))

    return hook


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("every", [1, 3])
def test_events_that_appear_between_two_requests(order: Order, every: int) -> None:
    world = World(order=order)
    world.fill(1200, NOON_S - DAY, NOON_S)
    world.hook = inserting(world, every, 21_000)
    copy = Copy(world)
    copy.run()
    world.hook = None
    copy.run()
    copy.check()


@pytest.mark.parametrize("order", ORDERS[:3])
@pytest.mark.parametrize("adding", [0, 8])
def test_events_that_disappear_between_any_two_requests(order: Order, adding: int) -> None:
    """As many as appear in the same window could hide each other; here, fewer disappear."""
    for at in range(25):
        world = World(order=order, seed=at)
        world.fill(300, NOON_S - DAY, NOON_S - 600)
        gone = {f"E-{number}" for number in world.random.sample(range(300), 7)}
        burst = NOON_S - world.random.randrange(1_000, DAY)
        truth = world.truth(0, NOON_S)

        def hook(
            _: World, world: World = world, gone: set[str] = gone, at: int = at, burst: int = burst
        ) -> None:
            if world.requests == at:
                world.log.remove(lambda each: each["event"] in gone)
                world.fill(adding, burst, burst + 9, name="new")

        world.hook = hook
        copy = Copy(world, page_size=20)
        copy.run()
        read = {row.event.record["event"] for row in copy.rows}
        assert (truth - copy.records).total() == len(gone - read), at
        assert len(copy.ids) == len(set(copy.ids))


@pytest.mark.parametrize("order", ["ascending", "descending"])
def test_the_oldest_events_expire_between_two_requests(
    order: Order, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(order=order, now="2026-03-01T23:59:00Z", retention_days=30)
    world.fill(3000, world.now_s - 35 * DAY, world.now_s - 600)
    survivors_from = (world.now_s + 60 - 30 * DAY) // DAY * DAY

    def midnight(_: World) -> None:
        if world.requests == 9:
            world.clock.advance(seconds=120)

    world.hook = midnight
    copy = Copy(world)
    copy.run()
    # Whatever was deleted before it could be read is nobody's loss; all others must be there.
    missing = world.truth(survivors_from, world.now_s - 720) - copy.records
    assert not missing
    assert "may be missing" not in caplog.text
    assert not copy.records - world.truth(0, world.now_s)


def test_unreadable_records_are_counted_and_the_rest_is_read() -> None:
    world = World()
    world.fill(500, NOON_S - 3 * DAY, NOON_S - 600)
    for index, odd in enumerate([None, "soon", "2025-02-30T00:00:00Z", 5]):
        world.log.add({"event": f"odd-{index}", "timestamp": odd}, at_ms=(NOON_S - DAY) * 1000)
    copy = Copy(world)
    copy.run()
    assert len(copy.rows) == 500
    assert len(copy.reader.unreadable) == 4


# What it costs.


@pytest.mark.parametrize(("number", "days"), [(40_000, 730), (40_000, 10)])
def test_requests_stay_near_the_least_possible(number: int, days: int) -> None:
    world = World()
    start = NOON_S - days * DAY
    while len(world.log) < number:
        # Nights and weekends have a tenth of the activity.
        moments = (world.random.randrange(start * 1000, NOON_S * 1000) for _ in range(number))
        busy = (
            at
            for at in moments
            if world.random.random() < 0.1
            or (at // 3_600_000 % 24 in range(7, 18) and at // 86_400_000 % 7 not in {2, 3})
        )
        world.log.extend(record(at, f"{at}-{index}") for index, at in enumerate(busy))
    copy = Copy(world)
    copy.run()
    assert copy.requests <= 1.3 * len(world.log) / 200 + 30
    copy.check()


@pytest.mark.parametrize("order", ["ascending", "descending", "unstable"])
@pytest.mark.parametrize(
    ("number", "most"), [(300, 8), (1_000, 14), (2_000, 20), (10_000, 66), (20_000, 130)]
)
def test_the_beginning_of_a_short_log_is_found_with_few_requests(
    order: Order, number: int, most: int
) -> None:
    world = World(order=order)
    world.fill(number, NOON_S - 20 * DAY, NOON_S)
    copy = Copy(world)
    copy.run()
    copy.check()
    assert copy.requests <= most


def test_half_of_a_log_within_four_hours_costs_little_more() -> None:
    world = World()
    world.fill(10_000, NOON_S - 90 * DAY, NOON_S)
    world.fill(10_000, NOON_S - 50 * DAY, NOON_S - 50 * DAY + 4 * 3600, name="incident")
    copy = Copy(world, start=NOON_S - 90 * DAY)
    copy.run()
    copy.check()
    assert copy.requests <= 1.3 * 100


def test_an_empty_decade_costs_a_handful() -> None:
    world = World()
    world.fill(5, NOON_S - 10 * 365 * DAY, NOON_S - 10 * 365 * DAY + 60)
    world.fill(5, NOON_S - 3600, NOON_S - 600)
    copy = Copy(world)
    copy.run()
    copy.check()
    assert copy.requests <= 4


def test_no_request_waits_for_another_after_the_first_look() -> None:
    world = World()
    world.fill(20_000, NOON_S - 90 * DAY, NOON_S)
    start, pool = NOON_S - 90 * DAY, Rounds(8, world.random)
    look = Look(start, NOON_S, world.fetch(start, NOON_S, 0, 200))
    reader = Reader(world.fetch, parse, name="x", page_size=200, pool=pool, look=look)
    assert sum(len(window.events) for window in reader.read(start, NOON_S)) == 20_000
    assert pool.rounds <= world.requests / 8 + 1


@pytest.mark.parametrize("total", [None, 0, 1, 4_000, 30_000, 10**9])
@pytest.mark.parametrize("number", [0, 150, 3_000, 9_000])
def test_a_first_look_that_misleads_costs_requests_and_nothing_else(
    number: int, total: int | None
) -> None:
    world = World(order="unstable")
    start = NOON_S - 9 * DAY
    world.fill(number, start, NOON_S)
    world.tie(min(number, 250), (NOON_S - 3 * DAY) * 1000)
    fetched = world.fetch(start, NOON_S, 0, 200)
    copy = Copy(world, start=start)
    copy.look = lambda: Look(start, NOON_S, replace(fetched, total=total))  # type: ignore[method-assign]  # as the API may answer
    copy.run()
    copy.check()
    assert copy.requests <= 1.3 * len(world.log) / 200 + 40


def test_a_window_is_bounded_in_records_and_bytes() -> None:
    world = World()
    world.fill(20_000, NOON_S - DAY, NOON_S)
    reader = Reader(world.fetch, parse, name="x", page_size=200)
    sizes = [len(window.events) for window in reader.read(NOON_S - DAY, NOON_S)]
    assert sum(sizes) == 20_000
    assert 2000 < max(sizes) <= MAX_PAGES * 200

    def heavy(first: int, last: int, number: int, size: int) -> Page:
        page = world.fetch(first, last, number, size)
        return Page(page.records, page.total, page.limit, len(page.records) * 20_000)

    reader = Reader(heavy, parse, name="x", page_size=200)
    assert max(len(window.events) for window in reader.read(NOON_S - DAY, NOON_S)) <= 450


def test_windows_are_adjacent_and_ascending() -> None:
    world = World(order="descending")
    world.fill(5_000, NOON_S - 40 * DAY, NOON_S)
    reader = Reader(world.fetch, parse, name="x", page_size=100)
    at = NOON_S - 50 * DAY
    seen: Counter[bytes] = Counter()
    for window in reader.read(at, NOON_S):
        assert window.start == at
        assert all(window.start <= (event.second or 0) < window.end for event in window.events)
        seen.update(event.key for event in window.events)
        at = window.end
    assert at == NOON_S
    assert seen.total() == 5_000


def test_twins_that_differ_in_unknown_fields_are_both_kept() -> None:
    world = World()
    for trace in ("B", "A"):
        world.log.add(record((NOON_S - DAY) * 1000, "traced twin") | {"traceId": trace})

    make_event = event_maker(team="t", stream="s", identity_fields=AuditLogsStream.identity_fields)
    reader = Reader(world.fetch, make_event, name="x", page_size=200)
    (window,) = reader.read(NOON_S - 2 * DAY, NOON_S)
    assert [event.record["traceId"] for event in window.events] == ["A", "B"]
