"""What Celonis answers, as plain values: pages, their events, and what several pages show together.

Pure functions, since what is wrong here is wrong in silence.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any

import msgspec

from tap_celonis_audit.errors import TapError
from tap_celonis_audit.keys import canonical
from tap_celonis_audit.windows import format_second

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping, Sequence

#: Requests ask for this much more than is kept.
PADDING_SECONDS = 1
#: A page is as good as another that shows so much of what that one does.
_AS_GOOD = 0.95
_IN_ORDER = attrgetter("timestamp", "key")
_KEY, _SECOND = attrgetter("key"), attrgetter("second")


@dataclass(frozen=True, slots=True)
class Page:
    """One answer."""

    records: list[dict[str, Any]]
    total: int | None
    """Records in the requested range, as Celonis counts them; None if it does not say."""
    limit: int
    """Records that fit on a page: what was asked for, or what the answer says if that is less."""
    size: int = 0
    """Bytes."""
    asked: int = 0
    """Records that were asked for, if those were fewer than wished: so are pages counted then."""


class Event(msgspec.Struct, frozen=True, gc=False):
    """One record, and what is needed to place it.

    (A Struct takes a fraction of the time that a dataclass takes to make.)
    """

    key: bytes
    """Equal for records with equal identity only."""
    second: int | None
    """None if the record has no usable timestamp."""
    timestamp: str
    record: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Look:
    """A first look at a range, or at one that is a little longer: its first page."""

    start: int
    end: int
    page: Page


@dataclass(frozen=True, slots=True)
class Window:
    """All events of ``[start, end)``, ascending by time and key."""

    start: int
    end: int
    events: list[Event]
    before: int
    """Records received from the padding before the window."""
    after: int
    """Records received from the padding after the window."""


class NotProvenError(Exception):
    """These answers do not prove that the window is complete."""

    def __init__(self, reason: str, *, again: bool = True) -> None:
        super().__init__(reason)
        self.again = again


def make_window(
    start: int, end: int, answers: Iterable[list[Event]], copies: Mapping[bytes, int]
) -> Window:
    """Make a window of so many copies of each record as answers show."""
    several = {key: number for key, number in copies.items() if number > 1}
    once = {event.key: event for answer in answers for event in answer if event.key not in several}
    events = [each for each in once.values() if each.second is not None]
    events += [each for each in _twins(several, answers) if each.second is not None]
    events.sort(key=_IN_ORDER)
    first, last = (bisect_left(events, second, key=_SECOND) for second in (start, end))
    return Window(start, end, events[first:last], before=first, after=len(events) - last)


def place(
    records: Iterable[dict[str, Any]],
    parse: Callable[[dict[str, Any]], Event],
    unreadable: set[bytes],
    *,
    start: int,
    end: int,
    name: str,
) -> list[Event]:
    """Make events of the records that a padded window shows, and note those without a time.

    Raises:
        TapError: One lies elsewhere.
    """
    # One second more than was asked for, since Celonis may round.
    low, high = start - PADDING_SECONDS - 1, end + PADDING_SECONDS + 1
    events = [parse(record) for record in records]
    for event in events:
        if event.second is None:
            unreadable.add(event.key)
        elif not low <= event.second <= high:
            raise TapError(
                f"{name}: asked for {format_second(low + 1)} to {format_second(high - 1)}, Celonis "
                f"answered with an event of {event.timestamp}: it ignores or misreads the time "
                "range, so a complete copy cannot be made. Please report this."
            )
    return events


def number_of_pages(first: Page) -> int:
    """Give how many pages a window has, by its first."""
    length = len(first.records)
    return -(-first.total // length) if first.total and length else 1


def is_full(page: Page) -> bool:
    """Tell whether a page holds as many records as it can."""
    return len(page.records) == page.limit


def ends_full(first: Page) -> bool:
    """Tell whether another page might follow the last one of a window, whatever is counted."""
    if not first.total or not first.records or is_short(first):
        return False
    return first.total % len(first.records) == 0


def is_short(page: Page) -> bool:
    """Tell whether a page shows that nothing follows it, whatever is counted."""
    return len(page.records) < page.limit and page.total in {None, len(page.records)}


def _twins(several: Mapping[bytes, int], answers: Iterable[list[Event]]) -> Generator[Event]:
    """Give so many events with each key; they may differ in fields that are not part of it."""
    shown: dict[bytes, list[list[Event]]] = {key: [] for key in several}
    for answer in answers if several else ():
        here: dict[bytes, list[Event]] = {}
        for event in answer:
            if event.key in several:
                here.setdefault(event.key, []).append(event)
        for key, events in here.items():
            shown[key].append(events)
    for key, number in several.items():
        most = max(shown[key], key=len)
        twins = most if len(most) >= number else list(itertools.chain(*shown[key]))
        yield from sorted(twins[:number], key=lambda event: canonical(event.record))


def fullest(answers: Iterable[list[Event]]) -> list[Event]:
    """Give the copies of each record from the one answer that showed most of them."""
    most: dict[bytes, list[Event]] = {}
    for answer in answers:
        shown: dict[bytes, list[Event]] = {}
        for event in answer:
            shown.setdefault(event.key, []).append(event)
        for key, events in shown.items():
            if len(events) > len(most.get(key, ())):
                most[key] = events
    return [event for events in most.values() for event in events]


def lacking(shown: Sequence[list[Event]], seen: Iterable[Event]) -> range:
    """Give where those events are shown that lack most copies: of one time, if times are in order.

    Ties have the same places among themselves, however they move.
    """
    times = [event.timestamp for answer in shown for event in answer]
    missing = Counter(times)
    missing.subtract(event.timestamp for event in seen)
    time, _ = max(missing.items(), key=itemgetter(1))
    first, last = times.index(time), len(times) - times[::-1].index(time)
    return range(first, last) if last - first == times.count(time) else range(len(times))


def best_page(places: range, most: int, turn: int) -> tuple[int, int]:
    """Choose the size and the number of a page that shows much of some places.

    Args:
        places: Of records, in the order of the pages.
        most: Records that fit on a page.
        turn: How often this was asked: the answer is another page, if others are as good.
    """
    pages = [
        (min(places.stop, (number + 1) * size) - max(places.start, number * size), size, number)
        for size in range(most, most // 2, -1)
        for number in range(places.start // size, (places.stop - 1) // size + 1)
    ]
    best, *_ = max(pages)
    good = [(size, number) for shown, size, number in pages if shown > _AS_GOOD * best]
    return good[turn % len(good)]


def most_copies(answers: Sequence[list[Event]]) -> Counter[bytes]:
    """Count the copies of each record, as many as one single answer showed at once."""
    most = Counter(map(_KEY, itertools.chain.from_iterable(answers)))
    repeated = {key for key, number in most.items() if number > 1}
    for key in repeated:
        del most[key]
    for answer in answers if repeated else ():
        shown = Counter(key for key in map(_KEY, answer) if key in repeated)
        for key, number in shown.items():
            most[key] = max(most[key], number)
    return most
