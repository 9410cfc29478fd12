"""Every guard is needed: take one away, and something is lost, doubled or invented.

Each test reads the same world with the guard, where nothing may go wrong, and without it.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
import textwrap
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import worlds
from worlds import NOON_S, SETTLE, Copy, World, parse, record

from tap_celonis_audit import cursor, follow, reader
from tap_celonis_audit.counts import Counts
from tap_celonis_audit.cursor import CursorReader
from tap_celonis_audit.errors import TapError
from tap_celonis_audit.follow import Follower
from tap_celonis_audit.keys import event_id
from tap_celonis_audit.reader import Reader
from tap_celonis_audit.sandbox.cursors import Cursors
from tap_celonis_audit.state import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tap_celonis_audit.answers import Event, Page
    from tap_celonis_audit.cursor import Link

pytestmark = pytest.mark.usefixtures("parallel")

HOUR, DAY = 3_600, 86_400


def misses(make: Callable[[], Copy]) -> tuple[int, int, int]:
    """Give how many events are lost, how many are doubled or invented, how many ids collide."""
    copy = make()
    truth = copy.world.truth(copy.start, copy.world.now_s - copy.settle)
    lost = (truth - copy.records).total()
    return lost, (copy.records - truth).total(), len(copy.ids) - len(set(copy.ids))


def check(make: Callable[[], Copy], disable: Callable[[], None]) -> tuple[int, int, int]:
    assert misses(make) == (0, 0, 0)
    disable()
    return misses(make)


def take_away(
    monkeypatch: pytest.MonkeyPatch, method: Any, guard: str, *, instead: str = "False"
) -> None:
    """Disable a guard that stands in the middle of a method, by its text."""
    source = textwrap.dedent(inspect.getsource(method))
    assert source.count(guard) == 1
    module, scope = sys.modules[method.__module__], dict[str, Any]()
    source = f"from __future__ import annotations\n{source.replace(guard, instead)}"
    exec(source, vars(module), scope)  # noqa: S102 -- our own source
    owner = getattr(module, method.__qualname__.partition(".")[0])
    monkeypatch.setattr(owner, method.__name__, scope[method.__name__])


def test_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    def make() -> Copy:
        world = World(bounds="exclusive", precision="second")
        world.fill(2_000, NOON_S - HOUR, NOON_S)
        copy = Copy(world)
        copy.run()
        return copy

    def unpadded() -> None:
        monkeypatch.setattr(reader, "PADDING_SECONDS", 0)
        # Trying out the bounds would notice.
        monkeypatch.setattr(Reader, "contains", lambda *_: True)

    lost, *_ = check(make, unpadded)
    assert lost > 0


def test_copies_within_one_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checking that the lengths of the pages add up proves nothing when ties move."""

    def make() -> Copy:
        world = World(order="unstable")
        for group in range(40):
            world.tie(120, (NOON_S - DAY) * 1000 + group * 999_999, name=group)
        copy = Copy(world)
        copy.run()
        return copy

    def lengths(answers: Iterable[list[Event]]) -> Counter[bytes]:
        return Counter(event.key for answer in answers for event in answer)

    lost, extra, _ = check(make, lambda: monkeypatch.setattr(reader, "most_copies", lengths))
    assert lost > 0
    assert lost == extra


def test_counts_are_believed_only_as_far_as_they_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages end where the count does, as if there were no more."""

    def make() -> Copy:
        world = World(count="capped:1000", reach=1000)
        world.fill(9_000, NOON_S - 3 * DAY, NOON_S)
        copy = Copy(world)
        copy.run()
        return copy

    def trusting() -> None:
        monkeypatch.setattr(Counts, "doubts", lambda *_: False)
        monkeypatch.setattr(Reader, "_room", lambda _: 3_200)

    lost, *_ = check(make, trusting)
    assert lost > 0


def test_a_count_is_believed_only_below_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Celonis counts and shows no more than a part of a page."""

    def make() -> Copy:
        world = World(count="capped:50", reach=50)
        world.fill(1_000, NOON_S - 3 * DAY, NOON_S)
        copy = Copy(world)
        copy.run()
        return copy

    lost, *_ = check(make, lambda: monkeypatch.setattr(Counts, "doubts", lambda *_: False))
    assert lost > 0


def test_a_small_log_is_read_in_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    """It grows beyond the cap while all of it is recent: what it shows then looks well known."""

    def make() -> Copy:
        world = World(count="capped:50", reach=50)
        world.fill(50, NOON_S - HOUR, NOON_S - SETTLE)
        copy = Copy(world)
        copy.run()
        world.clock.advance(seconds=HOUR)
        world.fill(5, NOON_S, NOON_S + HOUR - SETTLE)
        copy.run()
        return copy

    def believing() -> None:
        def expect(self: Reader, known: dict[int, int], _: int | None) -> None:
            self._counts.know(sum(known.values()))

        monkeypatch.setattr(Reader, "expect", expect)

    lost, *_ = check(make, believing)
    assert lost == 5


def test_nothing_lies_behind_the_last_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts are too low by the records of the last page, and are believed nevertheless."""
    monkeypatch.setattr(Counts, "doubts", lambda *_: False)

    def make() -> Copy:
        world = World()
        world.fill(1_500, NOON_S - DAY, NOON_S)

        def fetch(*asked: int) -> Page:
            page = World.fetch(world, *asked)
            total = page.total or 0
            return replace(page, total=total if total <= 200 else total // 200 * 200)

        monkeypatch.setattr(world, "fetch", fetch)
        copy = Copy(world)
        copy.run()
        return copy

    lost, *_ = check(make, lambda: monkeypatch.setattr(reader, "ends_full", lambda _: False))
    assert lost > 0


def test_agreement_of_several_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    def make() -> Copy:
        world = World(order="unstable")
        for group in range(60):
            world.tie(9, (NOON_S - DAY + group * 60) * 1000, name=group)
        copy = Copy(world, page_size=7)
        copy.run()
        return copy

    lost, extra, _ = check(make, lambda: monkeypatch.setattr(reader, "_AGREEING_PASSES", 1))
    assert lost > 0
    assert extra > 0


def lost_of_a_second(order: Any, *, deleting: int, adding: int, at_ms: int = 9) -> int:
    """Read a second in which an event disappears and another one appears meanwhile.

    Returns:
        How many of those that were there all the time are lost.
    """
    world = World(order=order, seed=deleting)
    world.tie(40, NOON_S * 1000)

    def hook(_: World) -> None:
        if world.requests == deleting:
            world.log.remove(lambda each: each["event"] == "T-3")
        if world.requests == adding:
            world.log.add(record(NOON_S * 1000 + at_ms, "new"))

    world.hook = hook
    window, *_ = Reader(world.fetch, parse, name="x", page_size=10).read(NOON_S, NOON_S + 1)
    events = {event.record["event"] for event in window.events}
    return len({f"T-{each}" for each in range(40)} - events - {"T-3"})


def test_pages_agree_on_one_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """What moves to the page before, when something there disappears, must not be missed."""

    def lost() -> int:
        return sum(lost_of_a_second("ascending", deleting=n, adding=n + 1) for n in range(9))

    assert lost() == 0
    take_away(monkeypatch, Reader._collect, "page.total != total")
    assert lost() > 0


def test_what_a_crowded_second_showed_before_its_count_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An event that was shown and has disappeared stands in for one that was not shown yet."""

    def lost(seed: int) -> int:
        return lost_of_a_second("unstable", deleting=seed, adding=-1)

    assert not any(map(lost, range(60)))
    forget = "seen, passes, total = [], [], first.total"
    take_away(monkeypatch, Reader._read_dense, forget, instead="total = first.total")
    losses = failures = 0
    for seed in range(60):
        try:
            losses += lost(seed)
        except TapError:  # By then it knows more events than there are.
            failures += 1
    assert losses > 0
    assert failures > 0


def test_pages_beside_a_whole_pass_agree_on_its_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that has appeared stands in for one that was not shown yet."""

    def lost() -> int:
        seeds = range(5, 65)  # The first whole pass is over.
        return sum(lost_of_a_second("unstable", deleting=-1, adding=n, at_ms=0) for n in seeds)

    assert lost() == 0
    take_away(monkeypatch, Reader._look_closer, "page.total != total")
    assert lost() > 0


def test_asking_what_the_ends_of_a_counted_span_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Known events in the first and last second may be counted or not, as the bounds go."""

    def make() -> Copy:
        world = World(bounds="exclusive", precision="second")
        world.log.extend(
            record(second * 1000, f"steady-{second}")
            for second in range(NOON_S - HOUR, NOON_S - 100)
        )
        copy = Copy(world, start=NOON_S - HOUR // 2)
        copy.run()
        world.log.add(record((NOON_S - HOUR // 4) * 1000 + 1, "late"))
        copy.run()
        return copy

    def inclusive(*_: object, is_first: bool) -> int:
        return 1 if is_first else 0

    lost, *_ = check(make, lambda: monkeypatch.setattr(Follower, "_shown", inclusive))
    assert lost == 1


@pytest.mark.parametrize("hours", [2, -2])
def test_records_lie_where_they_were_asked_for(monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    def make() -> Copy:
        world = World()
        world.fill(3_000, NOON_S - DAY, NOON_S)
        copy = Copy(world, start=NOON_S - DAY // 2)
        world.shift_hours = hours
        copy.run()
        return copy

    with pytest.raises(TapError, match="misreads the time range"):
        make()

    def unchecked(self: Reader, page: Page, _start: int, _end: int) -> list[Event]:
        return [self._parse(each) for each in page.records]

    monkeypatch.setattr(Reader, "_events", unchecked)
    monkeypatch.setattr(Reader, "contains", lambda *_: True)
    lost, *_ = misses(make)
    assert lost > 0


def test_bounds_are_tried_out_on_first_contact(monkeypatch: pytest.MonkeyPatch) -> None:
    """All history fits one answer, and no record is out of place: only the try shows the shift."""

    def make() -> Copy:
        world = World(shift_hours=-5)
        world.fill(9, NOON_S - DAY, NOON_S)
        copy = Copy(world)
        copy.run()
        return copy

    with pytest.raises(TapError, match="misreads the time range"):
        make()
    monkeypatch.setattr(Reader, "contains", lambda *_: True)
    lost, *_ = misses(make)
    assert lost > 0


def test_a_name_for_each_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    def make() -> Copy:
        world = World()
        world.tie(3, (NOON_S - HOUR) * 1000, twins=True)
        copy = Copy(world)
        copy.run()
        return copy

    *_, collisions = check(
        make,
        lambda: monkeypatch.setattr(
            follow, "event_id", lambda base, **_: event_id(base, ordinal=0)
        ),
    )
    assert collisions == 2


def late_world() -> Copy:
    """Three hourly runs; each hour, events of the last hours appear late."""
    world = World()
    world.fill(400, NOON_S - 5 * HOUR, NOON_S)
    copy = Copy(world)
    for run in range(3):
        copy.run()
        world.clock.advance(seconds=HOUR)
        world.fill(30, world.now_s - 4 * HOUR, world.now_s, name=f"late-{run}")
    copy.run()
    return copy


def test_watching_the_recent_past(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Watch.forget

    def forget_all(self: Watch, *, before: int) -> None:
        original(self, before=before + DAY)

    lost, *_ = check(late_world, lambda: monkeypatch.setattr(Watch, "forget", forget_all))
    assert lost > 0


def test_comparing_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    lost, *_ = check(late_world, lambda: monkeypatch.setattr(Follower, "_verify", lambda *_: ()))
    assert lost > 0


def test_knowing_what_was_emitted(monkeypatch: pytest.MonkeyPatch) -> None:
    lost, extra, collisions = check(
        late_world, lambda: monkeypatch.setattr(Follower, "_new", lambda _, rows: rows)
    )
    assert lost == 0
    assert extra > 0
    assert collisions > 0


def test_leaving_the_newest_events_for_later() -> None:
    def make(settle: int) -> Copy:
        world = World()
        copy = Copy(world, settle=settle, late=0)
        for run in range(5):
            # Every other event shows up half a minute after it happened, and after the next one.
            for number in range(10):
                at_ms, delay = world.clock.now_ms + number * 6_000, number % 2 * 30
                world.log.add(record(at_ms, f"{run}-{number}"), visible_in=number * 6 + delay)
            world.clock.advance(seconds=60)
            copy.run()
        world.clock.advance(seconds=300)
        copy.run()
        return copy

    assert misses(lambda: make(120)) == (0, 0, 0)
    lost, *_ = misses(lambda: make(2))
    assert lost > 0


def test_the_state_follows_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    def make() -> Copy:
        world = World()
        world.fill(500, NOON_S - DAY, NOON_S)
        copy = Copy(world)
        copy.crash(130)
        copy.run()
        copy.rows = list({row.event_id: row for row in copy.rows}.values())
        return copy

    def hasty(self: Any, start: int, end: int) -> Any:
        for window in self._reader.read(start, end):
            self._calibrate(window)
            rows = list(follow._name_events(window.events))
            new = self._new(rows)
            self._take_over(window, rows)
            self._commit()
            yield new

    lost, *_ = check(make, lambda: monkeypatch.setattr(Follower, "_read", hasty))
    assert lost > 0


def test_reading_again_what_retention_may_have_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts are what they were, where as much was deleted as appeared late."""

    def make() -> Copy:
        world = World(now="2026-03-01T03:00:00Z", retention_days=30)
        midnight = world.now_s - 3 * HOUR
        for begin in (midnight - HOUR, midnight):
            world.fill(150, begin, begin + HOUR)
        copy = Copy(world)
        copy.run()
        world.fill(150, midnight, midnight + HOUR, name="late")
        world.clock.advance(seconds=30 * DAY)
        copy.run()
        return copy

    lost, *_ = check(make, lambda: monkeypatch.setattr(worlds, "STALE_SECONDS", 99 * DAY))
    assert lost == 150


def test_counting_from_before_the_first_second_that_is_watched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = Follower._low_border

    def too_high(self: Follower) -> int | None:
        low = original(self)
        return None if low is None else low + 1

    def make() -> Copy:
        world = World()
        start = NOON_S - HOUR
        world.log.extend(record(second * 1000, f"{second}") for second in range(start, NOON_S))
        copy = Copy(world, start=start)
        copy.run()
        world.log.add(record(start * 1000 + 7, "late"))
        copy.run()
        return copy

    lost, *_ = check(make, lambda: monkeypatch.setattr(Follower, "_low_border", too_high))
    assert lost == 1


def test_counting_from_a_second_that_is_final(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = NOON_S - SETTLE - 2
    original = Follower.__init__

    def final_too_soon(self: Follower, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        self._final_until = self._bookmark.watermark

    def make() -> Copy:
        world = World()
        world.fill(2_000, NOON_S - 8 * HOUR, quiet)
        world.tie(1, (quiet + 1) * 1000)
        copy = Copy(world)
        copy.run()
        world.log.add(record((NOON_S - 5 * HOUR) * 1000, "late"))
        copy.run()
        return copy

    def hasty() -> None:
        monkeypatch.setattr(Follower, "__init__", final_too_soon)
        # Of the quiet ones the first is taken; let it be the last.
        monkeypatch.setattr(Watch, "is_quiet", lambda _, second: second == quiet)

    lost, *_ = check(make, hasty)
    assert lost == 1


@pytest.mark.parametrize(
    ("method", "guard", "instead"),
    [
        # The last event stays known.
        (Follower._take_over, "bookmark.watermark, last)", "bookmark.watermark)"),
        # What it means that known events are gone, is tried out before anything is taken as read.
        (Follower._tell_deletions, "self._bookmark.checked and not self._is_stale", "False"),
    ],
)
def test_bounds_are_tried_out_again(
    monkeypatch: pytest.MonkeyPatch, method: Any, guard: str, instead: str
) -> None:
    """After a quiet day, bounds come to mean something else; then work begins again."""

    def make() -> Copy:
        world = World()
        world.fill(300, NOON_S - 5 * HOUR, NOON_S)
        copy = Copy(world, late=HOUR)
        copy.run()
        world.clock.advance(seconds=DAY)
        copy.run()
        world.shift_hours = 2
        for hour in range(12):
            world.clock.advance(seconds=HOUR)
            world.fill(4 * (hour > 2), world.now_s - HOUR // 2, world.now_s, name=hour)
            with contextlib.suppress(TapError):
                copy.run()
        world.shift_hours = 0
        copy.run()
        copy.rows = list({row.event_id: row for row in copy.rows}.values())
        return copy

    lost, *_ = check(make, lambda: take_away(monkeypatch, method, guard, instead=instead))
    assert lost > 0


def test_watching_older_history_that_is_recent(monkeypatch: pytest.MonkeyPatch) -> None:
    def make() -> Copy:
        world = World()
        world.fill(300, NOON_S - 10 * HOUR, NOON_S)
        copy = Copy(world, start=NOON_S - HOUR)
        copy.run()
        copy.start = NOON_S - 9 * HOUR
        copy.run()
        world.log.add(record((NOON_S - 3 * HOUR) * 1000, "late"))
        copy.run()
        return copy

    def unwatched(self: Follower, start: int) -> Any:
        for window in self._reader.read(start, self._bookmark.start):
            yield list(follow._name_events(window.events))

    lost, *_ = check(make, lambda: monkeypatch.setattr(Follower, "_recent_history", unwatched))
    assert lost == 1


def test_no_bookmark_moves_before_anything_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def make() -> Copy:
        world = World(shift_hours=-12)
        world.fill(300, NOON_S - 11 * HOUR, NOON_S - 7 * HOUR)
        copy = Copy(world)
        copy.run()
        world.shift_hours = 0
        world.clock.advance(seconds=3 * DAY)
        copy.run()
        return copy

    def trusting(self: Follower, _: Any) -> None:
        self._bookmark.checked = True

    lost, *_ = check(make, lambda: monkeypatch.setattr(Follower, "_calibrate", trusting))
    assert lost == 300


def test_what_lies_behind_the_end_of_a_counted_span(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in both answers, that of the window and the count; else late events are looked for."""
    world = World()
    world.fill(2_000, NOON_S - 3 * HOUR, NOON_S)
    world.tie(5, (NOON_S - SETTLE) * 1000)
    copy = Copy(world)
    copy.run()
    copy.run()
    assert copy.requests <= 3
    original = Reader.read

    def blind(self: Reader, start: int, end: int) -> Any:
        for window in original(self, start, end):
            yield replace(window, after=0)

    monkeypatch.setattr(Reader, "read", blind)
    copy.run()
    assert copy.requests > 3


def test_padding_of_chains(monkeypatch: pytest.MonkeyPatch) -> None:
    def make() -> Copy:
        world = World(bounds="exclusive", precision="second")
        world.fill(2_000, NOON_S - HOUR, NOON_S)
        copy = Copy(world, by_cursor=True, page_size=50)
        copy.run()
        return copy

    def unpadded() -> None:
        monkeypatch.setattr(cursor, "PADDING_SECONDS", 0)
        monkeypatch.setattr(CursorReader, "contains", lambda *_: True)

    lost, *_ = check(make, unpadded)
    assert lost > 0


class EndlessError(Exception):
    """Nobody can wait for this."""


def back_to_the_middle(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its last page, a chain goes on with its third one, ever again."""
    original, tokens = world.fetch_link, list[str | None]()

    def fetch(span: tuple[int, int] | None, token: str | None, limit: int) -> Link:
        link = original(span, token, limit)
        tokens.append(link.token)
        return link if link.token or len(tokens) == 1 else replace(link, token=tokens[1])

    monkeypatch.setattr(world, "fetch_link", fetch)


@pytest.mark.parametrize(
    ("quirk", "guard"),
    [
        ("none", "link.token in tokens"),
        ("endless", "fruitless > _MAX_FRUITLESS"),
        ("loop", "(is_like_first and not is_like_last)"),
    ],
)
def test_chains_in_circles(monkeypatch: pytest.MonkeyPatch, quirk: Any, guard: str) -> None:
    def make() -> Copy:
        world = World(cursors=Cursors(quirk=quirk, span="ignored"))
        world.fill(350, NOON_S - DAY, NOON_S - HOUR)
        if quirk == "none":
            back_to_the_middle(world, monkeypatch)

        def hook(_: World) -> None:
            if world.requests > 500:
                raise EndlessError

        world.hook = hook
        return Copy(world, by_cursor=True, page_size=50)

    with pytest.raises(TapError, match="go round in circles"):
        make().run()
    take_away(monkeypatch, CursorReader._chain, guard)
    with pytest.raises(EndlessError):
        make().run()
