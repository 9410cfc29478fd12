"""Reading a range of a log completely, with proof.

The API has pages by number, over a log that moves: entries arrive late, expire, and ties may be
re-ordered between two requests. So nothing is believed because it looks finished; a window counts
as read only when one of these holds:

* one answer shows all that it counts, on a page that is not full;
* the answers of several pages agree on the count, and the copies of each record, as many as one
  single answer showed at once, add up to it. (The lengths of the pages prove nothing: when ties
  move between requests, a pager loses some records, gets others twice, and the sum still fits.)

A count itself is believed only up to a size at which the counts of two parts were seen to add up.
What cannot be proven is read again in smaller windows, down to one second, or fails.

Times are whole UTC seconds, windows half-open. Requests ask for one second more on both sides and
the client cuts, so it does not matter whether Celonis' bounds are inclusive, exclusive, precise to
the millisecond or cut to the second.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from tap_celonis_audit.errors import TapError
from tap_celonis_audit.keys import canonical
from tap_celonis_audit.pool import Pool
from tap_celonis_audit.windows import format_second

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from tap_celonis_audit.pool import Ticket

logger = logging.getLogger(__name__)

#: Requests ask for this much more than is kept.
PADDING_SECONDS = 1
#: A window holds at most this many pages, and about this many bytes: that bounds the memory.
MAX_PAGES = 16
MAX_BYTES = 8 * 1024 * 1024
#: Windows are planned to hold this part of what they may hold, since activity varies.
_FILL = 0.8
#: How much longer a window may be than the one before it, or shorter than one that held too much.
_GROWTH = 6
_SHRINK = 8
#: So many proven windows in a row, and larger ones are tried again.
_CALM = 24
#: How often a single second is read with pages of different sizes before giving up.
_DENSE_PASSES = 60
#: So many whole passes must agree where copies cannot be counted within one answer. Two would do
#: for a group that is a page and one; for small pages, chance needs more to be ruled out.
_AGREEING_PASSES = 5
#: More records than this in one second are taken for a wrong count.
MAX_PER_SECOND = 1_000_000


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
class Window:
    """All events of ``[start, end)``, ascending by time and key."""

    start: int
    end: int
    events: list[Event]
    before: int
    """Records received from the padding before the window."""
    after: int
    """Records received from the padding after the window."""


class _Planned(NamedTuple):
    """A window whose first page is there."""

    start: int
    end: int
    first: Page
    others: Sequence[Ticket[Page]]
    """Its other pages, if they were asked for."""


@dataclass(slots=True)
class _Plan:
    """How a range is divided into windows, as far as that is known."""

    at: int
    """Where the next window begins."""
    end: int
    length: int
    """How long it shall be."""
    first: Ticket[Page] | None = None
    """Its first page, if it was asked for."""
    last: Page | None = None
    """First page of the window before it."""
    crowds: list[tuple[int, int]] = field(default_factory=list)
    """Windows from there on that held too much: where they end, and what is still left of them."""
    windows: deque[_Planned] = field(default_factory=deque)
    """The windows before it that wait to be read."""

    @property
    def stop(self) -> int:
        """Where the next window ends."""
        return min(self.end, self.at + self.length)

    @property
    def pages(self) -> int:
        """How many pages were asked for ahead."""
        return (self.first is not None) + sum(1 + len(each.others) for each in self.windows)

    def pass_on(self, at: int, weight: int) -> None:
        """Go on behind a window."""
        self.at = at
        self.crowds = [(end, left - weight) for end, left in self.crowds if end > at]

    def cancel(self) -> None:
        """Drop what was asked for and not read."""
        if self.first is not None:
            self.first.cancel()
        for window in self.windows:
            for ticket in window.others:
                ticket.cancel()


class NotProvenError(Exception):
    """These answers do not prove that the window is complete."""

    def __init__(self, reason: str, *, again: bool = True) -> None:
        super().__init__(reason)
        self.again = again


class Reader:
    """Reads one log.

    Args:
        fetch: Gets a page: from second, to second, page number, page size.
        parse: Makes an event of a record.
        name: Stream, for messages.
        page_size: Records a request.
        pool: Runs requests side by side; nothing depends on how many, or on who is first.
    """

    def __init__(
        self,
        fetch: Callable[[int, int, int, int], Page],
        parse: Callable[[dict[str, Any]], Event],
        *,
        name: str,
        page_size: int,
        pool: Pool | None = None,
    ) -> None:
        self._fetch = fetch
        self._pool = pool or Pool()
        self._plan: _Plan | None = None
        self._parse = parse
        self._name = name
        self._page_size = page_size
        self._trusted = 0
        self._pages = MAX_PAGES
        self._calm = 0
        self._record_bytes = 1.0
        self._count_is_capped = False
        self._begun_before = self._pool.begun
        self.unreadable: set[bytes] = set()
        """Keys of records without a usable timestamp."""

    def count(self, first: int, last: int) -> int | None:
        """Ask how many records Celonis counts from one second to another, as its bounds go."""
        return self._take(self._ask(first, last, 0)).total

    def read(self, start: int, end: int) -> Iterator[Window]:
        """Read ``[start, end)`` as adjacent proven windows, in ascending order.

        Raises:
            TapError: A window cannot be proven complete, or the answers contradict the question.
        """
        self._plan = _Plan(start, end, end - start)
        try:
            while (window := self._next_window(self._plan)) is not None:
                yield self._prove(*window)
        finally:
            self._plan.cancel()
            self._plan = None

    def contains(self, event: Event) -> bool:
        """Tell whether a window of the one second of this event shows it."""
        if event.second is None:
            return False
        page = self._page(event.second, event.second + 1, 0)
        shown = self._events(page, event.second, event.second + 1)
        if page.total is not None and page.total > len(shown):
            return True  # Too much for one page; what was shown lay within the bounds.
        return any(other.key == event.key for other in shown)

    def shown(self, second: int, *, is_first: bool) -> int | None:
        """Ask how many records a range shows of the one second at which it begins, or ends.

        That is all of them, none, or those of its first millisecond, as Celonis' bounds go.

        Returns:
            None if the answer does not show all that it counts.
        """
        page = self._take(self._ask(second - 2 * (not is_first), second + 2 * is_first, 0))
        if page.total != len(page.records):
            return None
        return sum(event.second == second for event in self._events(page, second - 1, second + 2))

    @property
    def requests(self) -> int:
        """How many requests were begun so far."""
        return self._pool.begun - self._begun_before

    def _next_window(self, plan: _Plan) -> _Planned | None:
        """Give the next window of a range; None at its end."""
        self._look_ahead()
        while not plan.windows and plan.at < plan.end:
            self._accept(plan, self._pool.take(self._first(plan)))
        return plan.windows.popleft() if plan.windows else None

    def _look_ahead(self) -> None:
        """Plan as far as answers are there, and ask for more as far as memory allows.

        The length of a window follows from what the first page of the one before says. So first
        pages come one after the other, but well ahead of the rest. What is asked for in vain is a
        request, no more: all that is decided here is how long windows are.
        """
        plan = self._plan
        while plan is not None and plan.at < plan.end and plan.pages < self._pages_ahead():
            if plan.last is not None and self._is_new_maximum(plan.last):
                return  # Once that is read, the next window may hold more.
            first = self._first(plan)
            if not first.done or first.failed:
                return  # A failure waits until what lies before it was read.
            self._accept(plan, first.answer)

    def _pages_ahead(self) -> int:
        if self._pool.parallel == 1:
            return 0
        return min(2 * self._pool.parallel, int(MAX_BYTES / self._page_size / self._record_bytes))

    def _first(self, plan: _Plan) -> Ticket[Page]:
        if plan.first is None:
            plan.first = self._submit(plan.at, plan.stop, 0, urgent=True)
        return plan.first

    def _accept(self, plan: _Plan, first: Page) -> None:
        """Make a window of what its first page says; if that is too much, make it shorter."""
        plan.first = None
        self._weigh(first)
        start, stop, room, weight = plan.at, plan.stop, self._room(), self._weight(first)
        if weight > room and stop - start > 1:
            # A share by count, but not too small at once: events may all lie at the end.
            shrink = max(_FILL * room / weight, 1 / _SHRINK)
            plan.length = max(1, int((stop - start) * shrink))
            plan.crowds.append((stop, weight))
            return
        plan.pass_on(stop, weight)
        plan.last = first
        plan.length = max(1, int(self._next_length(plan, stop - start, weight)))
        others: list[Ticket[Page]] = []
        if self._pool.parallel > 1 and _is_full(first) and not self._is_new_maximum(first):
            others = [
                self._submit(start, stop, page, first.asked) for page in range(1, _pages(first))
            ]
        plan.windows.append(_Planned(start, stop, first, others))

    def _next_length(self, plan: _Plan, length: int, weight: int) -> float:
        """Choose the length of the next window, after one of that length and weight."""
        room = _FILL * self._room()
        by_density = length * min(_GROWTH, room / weight) if weight else length * _GROWTH
        if not plan.crowds:
            return by_density
        end, left = plan.crowds[-1]
        if left <= room:
            return end - plan.at
        # Where nothing was, the rest is halved: somewhere in it, much begins at once.
        return by_density if weight else (end - plan.at) / 2

    def _room(self) -> int:
        """Give how many records a window may hold now."""
        room = min(self._pages * self._page_size, int(MAX_BYTES / self._record_bytes))
        known = max(self._trusted, self._page_size)
        return max(self._page_size, min(room, known if self._count_is_capped else 2 * known))

    def _weight(self, page: Page) -> int:
        """Give how many records a window holds, by its first page."""
        if page.total is not None:
            return page.total
        return len(page.records) if _is_short(page) else 4 * self._room()

    def _submit(
        self, start: int, end: int, number: int, size: int | None = None, *, urgent: bool = False
    ) -> Ticket[Page]:
        """Ask for a page of a window, padded; its records must lie where they were asked for."""
        first, last = start - PADDING_SECONDS, end + PADDING_SECONDS
        return self._ask(first, last, number, size, urgent=urgent)

    def _page(self, start: int, end: int, number: int, size: int | None = None) -> Page:
        """Ask for a page of a window and wait for it."""
        return self._take(self._submit(start, end, number, size))

    def _ask(
        self, first: int, last: int, number: int, size: int | None = None, *, urgent: bool = False
    ) -> Ticket[Page]:
        def call() -> Page:
            return self._fetch(first, last, number, size or self._page_size)

        return self._pool.submit(call, urgent=urgent)

    def _take(self, ticket: Ticket[Page]) -> Page:
        """Wait for an answer; meanwhile, the windows ahead are asked for."""
        page = self._pool.take(ticket, self._look_ahead)
        self._weigh(page)
        return page

    def _weigh(self, page: Page) -> None:
        """Learn how large records are."""
        if page.records:
            self._record_bytes = max(page.size / len(page.records), 0.9 * self._record_bytes, 1.0)

    def _events(self, page: Page, start: int, end: int) -> list[Event]:
        return place(
            page.records, self._parse, self.unreadable, start=start, end=end, name=self._name
        )

    def _prove(
        self, start: int, end: int, first: Page, others: Sequence[Ticket[Page]] = ()
    ) -> Window:
        """Read one window whose first page is there, and whose other pages may be on their way."""
        if self._is_new_maximum(first) and end - start > 1:
            return self._read_parts(start, end, first)
        try:
            return self._settle(self._attempt(start, end, first, others))
        except NotProvenError as doubt:
            logger.debug("%s: window at %s: %s", self._name, format_second(start), doubt)
            if doubt.again:
                try:
                    return self._settle(self._attempt(start, end, self._page(start, end, 0)))
                except NotProvenError as repeated:
                    doubt = repeated
            if end - start == 1:
                return self._read_dense(start, doubt)
            self._pages, self._calm = max(1, self._pages // 2), 0
            return self._read_parts(start, end, first, check=False)

    def _settle(self, window: Window) -> Window:
        self._calm += 1
        if self._calm >= _CALM and self._pages < MAX_PAGES:
            self._pages, self._calm = self._pages * 2, 0
        return window

    def _is_new_maximum(self, page: Page) -> bool:
        """Tell whether believing the count would need more trust than it has earned."""
        if page.total is None or _is_short(page):
            return False
        return page.total > self._trusted

    def _read_parts(self, start: int, end: int, first: Page, *, check: bool = True) -> Window:
        """Read a window as two; see whether their counts add up to its own."""
        middle = self._middle(start, end, first)
        parts = self._submit(start, middle, 0), self._submit(middle, end, 0)
        left = self._prove(start, middle, self._take(parts[0]))
        right = self._prove(middle, end, self._take(parts[1]))
        window = Window(
            start, end, [*left.events, *right.events], before=left.before, after=right.after
        )
        if check and first.total is not None and not self.unreadable:
            seen = window.before + len(window.events) + window.after
            if seen == first.total or seen == self._page(start, end, 0).total:
                self._trusted = max(self._trusted, seen)
            elif not self._count_is_capped:
                self._count_is_capped = True
                logger.warning(
                    "%s: Celonis counts %d records where there are %d; counts above %d are not "
                    "believed in this run",
                    self._name,
                    first.total,
                    seen,
                    max(self._trusted, self._page_size),
                )
        return window

    def _middle(self, start: int, end: int, page: Page) -> int:
        seconds = sorted(
            event.second
            for event in self._events(page, start, end)
            if event.second is not None and start < event.second < end
        )
        whole = page.total is not None and page.total <= len(page.records)
        return seconds[len(seconds) // 2] if seconds and whole else (start + end) // 2

    def _attempt(
        self, start: int, end: int, first: Page, others: Sequence[Ticket[Page]] = ()
    ) -> Window:
        """Read the other pages of a window and prove it.

        Raises:
            NotProvenError: The answers do not prove it.
        """
        pages = self._collect(start, end, first, self._page_size, others)
        answers = [self._events(page, start, end) for page in pages]
        copies = _most_copies(answers)
        if first.total is not None and copies.total() != first.total:
            self._mend(start, end, answers, copies)
            if copies.total() != first.total:
                raise NotProvenError("pages overlap", again=False)
        return self._window(start, end, answers, copies)

    def _mend(
        self, start: int, end: int, answers: list[list[Event]], copies: Counter[bytes]
    ) -> None:
        """Read again the seconds in which pages overlap.

        That settles the usual reasons for an overlap, twins and ties across the border of two
        pages, at the price of a request each.
        """
        shown = Counter(key for answer in answers for key in {event.key for event in answer})
        second_of = {event.key: event.second for answer in answers for event in answer}
        seconds = {second_of[key] for key, number in shown.items() if number > 1}
        if end - start == 1 or len(seconds) > len(answers):
            return
        for second in seconds:
            if second is None:
                continue
            for key in [key for key in copies if second_of.get(key) == second]:
                del copies[key]
            again = self._prove(second, second + 1, self._page(second, second + 1, 0)).events
            copies.update(event.key for event in again)
            answers.append(again)

    def _collect(
        self, start: int, end: int, first: Page, size: int, others: Sequence[Ticket[Page]] = ()
    ) -> list[Page]:
        """Get all pages of a window; they agree on a count and add up to it."""
        total, length, size = first.total, len(first.records), first.asked or size
        if total is None:
            if not _is_short(first) or self._page(start, end, 1, size).records:
                raise NotProvenError("Celonis does not say how many records there are")
            return [first]
        if length > total or total > MAX_PER_SECOND or (total and not length):
            raise NotProvenError(f"{total} records announced, {length} received")
        pages = [first]
        with closing(self._others(start, end, first, size, others)) as rest:
            for page in rest:
                pages.append(page)
                if page.total != total and not (page.total == 0 and not page.records):
                    raise NotProvenError("the count changed while it was read")
                if not page.records:
                    break
        received = sum(len(page.records) for page in pages)
        if received != total:
            raise NotProvenError(f"{total} records announced, {received} received")
        if self._is_new_maximum(first):
            beyond = self._page(start, end, _pages(first), size)
            if beyond.records:
                raise NotProvenError(f"{total} records announced, but there are more")
        return pages

    def _others(
        self, start: int, end: int, first: Page, size: int, asked: Sequence[Ticket[Page]]
    ) -> Generator[Page]:
        """Give the pages that follow the first; those that nobody wants any more are dropped."""
        tickets = deque(asked)
        numbers = range(1 + len(tickets), _pages(first))
        ahead = self._pool.parallel if _is_full(first) else 1
        try:
            for number in numbers:
                tickets.append(self._submit(start, end, number, size))
                if len(tickets) >= ahead:
                    yield self._take(tickets.popleft())
            while tickets:
                yield self._take(tickets.popleft())
        finally:
            for ticket in tickets:
                ticket.cancel()

    def _read_dense(self, second: int, doubt: NotProvenError) -> Window:
        """Read a single second with pages of different sizes until the answers prove it.

        It holds more than a page, and its records move between requests or are identical.
        """
        answers: list[list[Event]] = []
        passes: list[Counter[bytes]] = []
        total: int | None = None
        for attempt in range(_DENSE_PASSES):
            # Large pages show many copies at once; each size puts the borders elsewhere.
            size = self._page_size - attempt * 7 % max(1, self._page_size // 4)
            try:
                first = self._page(second, second + 1, 0, size)
                pages = self._collect(second, second + 1, first, size)
            except NotProvenError as again:
                doubt = again
                continue
            if first.total is None:
                break
            if first.total != total:
                answers, passes, total = [], [], first.total
            now = [self._events(page, second, second + 1) for page in pages]
            # What was shown before takes no more memory, however many passes there are.
            answers = [_fullest([*answers, *now])]
            copies = Counter(event.key for event in answers[0])
            whole = Counter(event.key for answer in now for event in answer)
            if copies.total() == total:
                return self._window(second, second + 1, answers, copies)
            passes.append(whole)
            # More identical events than fit on a page are never shown at once. Then the order is
            # believed to stand still if no two passes differ, each with other borders.
            if len(passes) >= _AGREEING_PASSES and all(each == whole for each in passes):
                return self._window(second, second + 1, now, whole)
        raise TapError(
            f"{self._name}: the second at {format_second(second)} cannot be read completely "
            f"({doubt}). Nothing from there on was taken as read; the next run tries again."
        )

    @staticmethod
    def _window(start: int, end: int, answers: list[list[Event]], copies: Counter[bytes]) -> Window:
        events: list[Event] = []
        before = after = 0
        for event in {event.key: event for answer in answers for event in answer}.values():
            number = copies[event.key]
            if event.second is None:
                continue
            if event.second < start:
                before += number
            elif event.second >= end:
                after += number
            elif number == 1:
                events.append(event)
            else:
                events += _twins(event.key, number, answers)
        events.sort(key=lambda event: (event.timestamp, event.key))
        return Window(start, end, events, before, after)


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


def _pages(first: Page) -> int:
    """Give how many pages a window has, by its first."""
    length = len(first.records)
    return -(-first.total // length) if first.total and length else 1


def _is_full(page: Page) -> bool:
    return len(page.records) == page.limit


def _is_short(page: Page) -> bool:
    """Tell whether a page shows that nothing follows it, whatever is counted."""
    return len(page.records) < page.limit and page.total in {None, len(page.records)}


def _twins(key: bytes, number: int, answers: Iterable[list[Event]]) -> list[Event]:
    """Give the events with one key; they may differ in fields that are not part of it."""
    shown = [[event for event in answer if event.key == key] for answer in answers]
    most = max(shown, key=len)
    twins = most if len(most) >= number else [event for events in shown for event in events]
    return sorted(twins[:number], key=lambda event: canonical(event.record))


def _fullest(answers: Iterable[list[Event]]) -> list[Event]:
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


def _most_copies(answers: Sequence[list[Event]]) -> Counter[bytes]:
    """Count the copies of each record, as many as one single answer showed at once."""
    most = Counter(event.key for answer in answers for event in answer)
    if len(most) < most.total():
        most.clear()
        for answer in answers:
            most |= Counter(event.key for event in answer)
    return most
