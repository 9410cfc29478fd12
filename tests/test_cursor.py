"""Reading by cursor: whatever Celonis leaves open, and what must come of it."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

import pytest
from worlds import BOUNDS, LATE, NOON_S, ORDERS, PRECISIONS, SETTLE, Copy, World, parse, record

from tap_celonis_audit import cursor
from tap_celonis_audit.cursor import CursorReader, Link
from tap_celonis_audit.errors import TapError
from tap_celonis_audit.sandbox.cursors import Cursors, End

if TYPE_CHECKING:
    from tap_celonis_audit.sandbox.api import Bounds, Order, Precision
    from tap_celonis_audit.sandbox.cursors import Span

pytestmark = pytest.mark.usefixtures("parallel")

HOUR, DAY = 3_600, 86_400


def busy_world(**knobs: Any) -> World:
    world = World(**knobs)
    world.fill(900, NOON_S - 20 * DAY, NOON_S)
    world.fill(400, NOON_S - 5 * HOUR, NOON_S)
    world.tie(199, (NOON_S - 2 * DAY) * 1000, name="a")
    world.tie(501, (NOON_S - 4 * DAY) * 1000 + 999, name="b")
    world.tie(2, (NOON_S - 7 * DAY) * 1000 + 1, name="twins", twins=True)
    world.tie(3, (NOON_S - 8 * DAY) * 1000 + 999, name="triplets", twins=True)
    return world


def by_cursor(world: World, **settings: Any) -> Copy:
    return Copy(world, by_cursor=True, page_size=settings.pop("page_size", 100), **settings)


@pytest.mark.parametrize("span", ["honoured", "ignored", "refused"])
@pytest.mark.parametrize(
    ("order", "bounds", "precision"), list(itertools.product(ORDERS, BOUNDS, PRECISIONS))
)
def test_nothing_depends_on_order_bounds_precision_or_ranges(
    order: Order, bounds: Bounds, precision: Precision, span: Span
) -> None:
    world = busy_world(order=order, bounds=bounds, precision=precision, cursors=Cursors(span=span))
    copy = by_cursor(world)
    copy.run()
    copy.check()
    world.log.add(record((NOON_S - 3 * HOUR) * 1000, "late"))
    assert [row.event.record["event"] for row in copy.run()] == ["late"]
    assert copy.run() == []
    world.clock.advance(seconds=LATE + SETTLE + 5)
    copy.run()
    copy.check()


@pytest.mark.parametrize("span", ["honoured", "ignored"])
def test_the_same_ids_as_by_number(span: Span) -> None:
    world = busy_world(cursors=Cursors(span=span))
    copies = by_cursor(world), Copy(world)
    for copy in copies:
        copy.run()
    assert copies[0].ids == copies[1].ids


@pytest.mark.parametrize("way", [True, False])
def test_another_way_of_paging_goes_on_where_the_last_one_ended(*, way: bool) -> None:
    world = busy_world()
    copy = Copy(world, by_cursor=way, page_size=100)
    copy.run()
    for hour in range(3):
        copy.by_cursor = not copy.by_cursor
        world.log.add(record((NOON_S - 2 * HOUR) * 1000 + hour, "late"))
        world.fill(30, world.now_s, world.now_s + HOUR, name=hour)
        world.clock.advance(seconds=HOUR)
        copy.run()
        copy.check()


@pytest.mark.parametrize("limit", [1, 2, 7])
@pytest.mark.parametrize("span", ["honoured", "ignored"])
def test_small_pages_and_twins(limit: int, span: Span) -> None:
    world = World(cursors=Cursors(span=span, max_limit=limit))
    world.fill(60, NOON_S - DAY, NOON_S - 600)
    world.tie(9, (NOON_S - 700) * 1000)
    world.tie(5, (NOON_S - 800) * 1000, twins=True)
    copy = by_cursor(world)
    copy.run()
    copy.check()


@pytest.mark.parametrize("end", get_args(End))
@pytest.mark.parametrize("empty", ["204", "list"])
@pytest.mark.parametrize("list_key", ["content", "events"])
def test_the_last_page_in_every_form(end: End, empty: Any, list_key: str) -> None:
    world = World(empty=empty, cursors=Cursors(end=end, list_key=list_key))
    copy = by_cursor(world)
    assert copy.run() == []
    world.clock.advance(seconds=HOUR)
    world.fill(300, NOON_S, NOON_S + HOUR)
    copy.run()
    copy.check()


@pytest.mark.parametrize("span", ["honoured", "ignored"])
@pytest.mark.parametrize("quirk", ["repeat", "hole"])
def test_a_page_that_comes_twice_or_late_is_taken_once(
    quirk: Any, span: Span, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(cursors=Cursors(quirk=quirk, span=span))
    world.fill(900, NOON_S - DAY, NOON_S)
    copy = by_cursor(world)
    copy.run()
    copy.check()
    assert ("sent a page twice" in caplog.text) == (quirk == "repeat")


@pytest.mark.parametrize("span", ["honoured", "ignored"])
@pytest.mark.parametrize(
    ("quirk", "number"),
    [("stuck", 350), ("loop", 350), ("loop", 1), ("endless", 350), ("endless", 1)],
)
def test_a_chain_without_an_end_fails(quirk: Any, span: Span, number: int) -> None:
    world = World(cursors=Cursors(quirk=quirk, span=span))
    world.fill(number, NOON_S - DAY, NOON_S - HOUR)
    copy = by_cursor(world)
    with pytest.raises(TapError, match="go round in circles"):
        copy.run()
    assert world.requests < 500
    assert copy.rows == []
    world.cursors = Cursors(span=span)
    copy.run()
    copy.check()


def test_a_token_that_expires_begins_the_chain_again() -> None:
    world = World(cursors=Cursors(token_ttl_seconds=60))
    world.fill(900, NOON_S - DAY, NOON_S)

    def hook(_: World) -> None:
        if world.requests in {7, 23}:
            world.clock.advance(seconds=61)

    world.hook = hook
    copy = by_cursor(world)
    copy.run()
    copy.check(end=NOON_S - SETTLE)


@pytest.mark.parametrize("count", ["exact", "missing", "negative", "text"])
def test_counts_are_compared_if_there_are_some(
    count: str, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(cursors=Cursors(count=count))
    world.fill(900, NOON_S - DAY, NOON_S)
    copy = by_cursor(world)
    copy.run()
    copy.check()
    assert "not believed" not in caplog.text


def test_a_count_that_never_fits_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    world = World(cursors=Cursors(count="frozen:7"))
    world.fill(900, NOON_S - DAY, NOON_S)
    copy = by_cursor(world)
    copy.run()
    copy.check()
    assert caplog.text.count("are not believed in this run") == 1


def test_events_that_appear_while_it_is_read() -> None:
    world = World(order="descending")
    world.fill(900, NOON_S - DAY, NOON_S)

    def hook(_: World) -> None:
        world.log.add(record((NOON_S - world.requests * 60) * 1000 + 7, f"new-{world.requests}"))

    world.hook = hook
    copy = by_cursor(world)
    copy.run()
    world.hook = None
    copy.run()
    copy.check()


@pytest.mark.parametrize("order", ["ascending", "descending", "shuffled"])
def test_memory_is_bounded_where_ranges_are_ignored(
    order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cursor, "MAX_BYTES", 20_000)
    world = World(order=order, cursors=Cursors(span="ignored"))
    world.fill(900, NOON_S - DAY, NOON_S)
    world.tie(300, (NOON_S - HOUR) * 1000)
    copy = by_cursor(world, start=NOON_S - 2 * DAY)
    largest = max(map(len, copy.steps()))
    assert 300 <= largest <= 300 + 20_000 / 150
    copy = by_cursor(world)
    copy.run()
    copy.check()


def small_pages(seed: int, order: Order, limit: int) -> Copy:
    """Copy a log that is read whole, page by page of a few records, and again with a late event."""
    world = World(order=order, seed=seed, cursors=Cursors(span="ignored", max_limit=limit))
    world.fill(60, NOON_S - 20 * HOUR, NOON_S - SETTLE)
    copy = by_cursor(world, start=NOON_S - 18 * HOUR)
    copy.run()
    world.log.add(record((NOON_S - 2 * HOUR) * 1000, "late"))
    world.fill(1, NOON_S - SETTLE, NOON_S, name="new")
    world.clock.advance(seconds=600)
    copy.run()
    return copy


@pytest.mark.parametrize("order", ["ascending", "descending", "shuffled"])
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_pages_of_a_few_records_do_not_look_like_an_order(order: Order, limit: int) -> None:
    for seed in range(40):
        small_pages(seed, order, limit).check()


def test_an_order_is_believed_after_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ablation: where a step back in time is enough, events are lost."""
    monkeypatch.setattr(cursor, "_SURE", 1)
    copies = [small_pages(seed, "shuffled", 1) for seed in range(20)]
    lost = [copy.world.truth(copy.start, NOON_S) - copy.records for copy in copies]
    assert any(lost)


def test_newest_first_without_ranges_only_the_newest_pages_are_read_again() -> None:
    world = World(order="descending", cursors=Cursors(span="ignored"))
    world.fill(5_000, NOON_S - 50 * DAY, NOON_S)
    copy = by_cursor(world)
    copy.run()
    assert copy.run() == []
    assert copy.requests <= 4


def test_requests_stay_near_the_least_possible() -> None:
    world = World()
    world.fill(40_000, NOON_S - 300 * DAY, NOON_S)
    copy = by_cursor(world, page_size=500)
    copy.run()
    copy.check()
    assert copy.requests <= 1.3 * 40_000 / 500 + 40


@pytest.mark.parametrize("counted", [200, 250, 1_000])
def test_a_crowded_second_with_a_wrong_count_is_read_to_its_end(counted: int) -> None:
    world = World()
    world.tie(1_500, (NOON_S - DAY) * 1000)

    def fetch(span: tuple[int, int] | None, token: str | None, limit: int) -> Link:
        link = world.fetch_link(span, token, limit)
        return replace(link, total=counted if link.records else 0)

    reader = CursorReader(fetch, parse, name="audit_logs", limit=100)
    found = [event for window in reader.read(NOON_S - 2 * DAY, NOON_S) for event in window.events]
    assert len(found) == 1_500


def test_a_second_that_holds_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cursor, "MAX_PER_SECOND", 1_000)
    world = World()
    world.tie(1_500, (NOON_S - DAY) * 1000)
    reader = CursorReader(world.fetch_link, parse, name="audit_logs", limit=100)
    with pytest.raises(TapError, match="holds more than can be read at once"):
        list(reader.read(NOON_S - 2 * DAY, NOON_S))
