"""Reading a range of a log that has a cursor: pages in a chain, and no count.

Celonis promises that such pages stand still while the log grows. So a window counts as read when
its chain was followed to the end, every record lay where it was asked for, and no page came twice.
A count, if there is one, is compared; what does not fit is read again, and then told or refused.
That is less than `reader` proves, and the most that can be had without counts.

Whether `from` and `to` mean anything here is tried out first. If they do, windows are read side by
side. If they do not, the whole log is read, as often as it takes to hold what is wanted of it.
"""

from __future__ import annotations

import logging
import sys
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tap_celonis_audit.answers import PADDING_SECONDS, Window, place
from tap_celonis_audit.errors import ParametersError, TapError
from tap_celonis_audit.pool import Pool
from tap_celonis_audit.reader import MAX_BYTES, MAX_PAGES, MAX_PER_SECOND
from tap_celonis_audit.windows import format_second

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping

    from tap_celonis_audit.answers import Event
    from tap_celonis_audit.pool import Ticket

logger = logging.getLogger(__name__)

#: Before anything that Celonis can have recorded: a range that must be empty.
_LONG_AGO = 631_152_000, 631_238_400
#: Windows are planned to hold this part of what they may hold, since activity varies.
_FILL = 0.5
#: How much longer a window may be than the one before it, or shorter than one that held too much.
_GROWTH = 6
_SHRINK = 4
#: So many empty or repeated pages in a row, and a chain is taken to have no end.
_MAX_FRUITLESS = 100
#: A log is taken to come newest first after so many steps back in time, and none forward.
#: By chance, that happens once in 10 ** 18 logs without order.
_SURE = 20
#: A single second cannot be divided; it may hold so much.
_MAX_SECOND_BYTES = 1 << 30
#: So often is a chain begun again whose token expired, or that does not fit its count.
_MAX_WALKS = 3


@dataclass(frozen=True, slots=True)
class Link:
    """One answer."""

    records: list[dict[str, Any]]
    token: str | None
    """What the next page is asked for with; None after the last."""
    total: int | None = None
    """How many records the range has, if Celonis says."""
    size: int = 0
    """Bytes."""


@dataclass(slots=True)
class _Walk:
    """A chain of pages, or the beginning of one that is too long."""

    records: list[dict[str, Any]] = field(default_factory=list)
    requests: int = 0
    size: int = 0
    total: int | None = None
    is_whole: bool = False


@dataclass(slots=True)
class _Part:
    """A part of a range that is still to be read."""

    start: int
    end: int
    ticket: Ticket[_Walk] | None = None


class CursorReader:
    """Reads one log by cursor; `reader.Reader` for logs with numbered pages is alike.

    Args:
        fetch: Gets a page: from and to second (None for everything), token, records.
        parse: Makes an event of a record.
        name: Stream, for messages.
        limit: Records a request.
        pool: Runs requests side by side.
    """

    def __init__(
        self,
        fetch: Callable[[tuple[int, int] | None, str | None, int], Link],
        parse: Callable[[dict[str, Any]], Event],
        *,
        name: str,
        limit: int,
        pool: Pool | None = None,
    ) -> None:
        self._fetch = fetch
        self._parse = parse
        self._name = name
        self._limit = limit
        self._pool = pool or Pool()
        self._ranges_work: bool | None = None
        self._pages = 2
        self._room = 2 * MAX_BYTES // (1 + self._pool.parallel)
        """Bytes that a chain may hold, when it is not that of a single second."""
        self._told_of_counts = self._told_of_repeats = False
        self.requests = 0
        self.few = sys.maxsize
        """So many events are read at once rather than asked for by count: there are no counts."""
        self.unreadable: set[bytes] = set()
        """Keys of records without a usable timestamp."""

    def count(self, first: int, last: int) -> None:
        """Tell nothing: there are no counts to compare, as there are with `reader.Reader`."""

    def shown(self, second: int, *, is_first: bool) -> None:
        """Tell nothing either."""

    def expect(self, known: Mapping[int, int], low: int | None) -> None:
        """Prepare for nothing, since nothing is counted."""

    def contains(self, event: Event) -> bool:
        """Tell whether a window of the one second of this event shows it."""
        if event.second is None or not self._has_ranges():
            return True
        window = self._make(_Part(event.second, event.second + 1), self._walk_second(event.second))
        return any(other.key == event.key for other in window.events)

    def read(self, start: int, end: int) -> Generator[Window]:
        """Read ``[start, end)`` as adjacent windows, in ascending order.

        Raises:
            TapError: A chain does not end, or the answers contradict the question.
        """
        return self._read_ranges(start, end) if self._has_ranges() else self._read_all(start, end)

    def _has_ranges(self) -> bool:
        """Try out whether `from` and `to` are honoured: long ago, there can be nothing."""
        if self._ranges_work is None:
            self.requests += 1
            try:
                self._ranges_work = not self._fetch(_LONG_AGO, None, 1).records
            except ParametersError:
                self._ranges_work = False
            if not self._ranges_work:
                logger.info(
                    "%s: Celonis ignores time ranges here; the log is read whole", self._name
                )
        return self._ranges_work

    def _read_ranges(self, start: int, end: int) -> Generator[Window]:
        at, length, breadth, crowded_until = start, end - start, 1, start
        parts: deque[_Part] = deque()
        try:
            while parts or at < end:
                while at < end and len(parts) < breadth:
                    stop = min(end, at + length)
                    parts.append(_Part(at, stop, self._submit(at, stop)))
                    at = stop
                part = parts.popleft()
                walk = self._take(part)
                if not walk.is_whole and part.end - part.start > 1:
                    _cancel(parts)
                    parts.clear()
                    at, breadth, crowded_until = part.start, 1, part.end
                    length = max(1, (part.end - part.start) // _SHRINK)
                    continue
                if not walk.is_whole:
                    walk = self._walk_second(part.start)
                yield self._make(part, self._check(part, walk))
                if not walk.records and part.end >= crowded_until:
                    length *= _GROWTH
                if walk.records:
                    full = len(walk.records) / (self._pages * self._limit), walk.size / self._room
                    length = max(1, int((part.end - part.start) * min(_GROWTH, _FILL / max(full))))
                    breadth = self._pool.parallel
                    self._pages = min(2 * self._pages, MAX_PAGES)
        finally:
            _cancel(parts)

    def _submit(self, start: int, end: int) -> Ticket[_Walk]:
        span, pages = (start - PADDING_SECONDS, end + PADDING_SECONDS), self._pages
        return self._pool.submit(lambda: self._walk(span, pages * self._limit, self._room))

    def _take(self, part: _Part) -> _Walk:
        walk = self._pool.take(part.ticket or self._submit(part.start, part.end))
        self.requests += walk.requests
        return walk

    def _walk_second(self, second: int) -> _Walk:
        """Follow the chain of one second, however long."""
        walk = self._walk(
            (second - PADDING_SECONDS, second + 1 + PADDING_SECONDS),
            MAX_PER_SECOND,
            _MAX_SECOND_BYTES,
        )
        self.requests += walk.requests
        if not walk.is_whole:
            raise TapError(
                f"{self._name}: the second at {format_second(second)} holds more than can be read "
                "at once. Nothing from there on was taken as read. Please report this."
            )
        return walk

    def _check(self, part: _Part, walk: _Walk) -> _Walk:
        """Compare a chain with its count, if it has one."""
        for _ in range(_MAX_WALKS):
            if walk.is_whole and walk.total in {None, len(walk.records)}:
                return walk
            again = self._take(_Part(part.start, part.end))
            if not again.is_whole and part.end - part.start == 1:
                again = self._walk_second(part.start)
            if again.records == walk.records and again.is_whole == walk.is_whole:
                if not self._told_of_counts:
                    self._told_of_counts = True
                    logger.warning(
                        "%s: Celonis counts %d records where it shows %d, twice the same; counts "
                        "are not believed in this run",
                        self._name,
                        walk.total,
                        len(walk.records),
                    )
                return walk
            walk = again
        raise TapError(
            f"{self._name}: Celonis counts {walk.total} records, shows {len(walk.records)}, and "
            "others each time. Nothing from there on was taken as read; the next run tries again."
        )

    def _make(self, part: _Part, walk: _Walk) -> Window:
        events = self._place(walk.records, part.start, part.end)
        return Window(
            part.start,
            part.end,
            _sorted(each for each in events if _lies(each, part.start, part.end)),
            before=sum(each.second is not None and each.second < part.start for each in events),
            after=sum(each.second is not None and each.second >= part.end for each in events),
        )

    def _place(self, records: Iterable[dict[str, Any]], start: int, end: int) -> list[Event]:
        return place(records, self._parse, self.unreadable, start=start, end=end, name=self._name)

    def _walk(self, span: tuple[int, int], records: int, size: int) -> _Walk:
        """Follow a chain to its end, or until it holds too much."""
        requests = 0
        for attempt in range(_MAX_WALKS):
            walk = _Walk()
            try:
                for link in self._chain(span):
                    requests += 1
                    walk.records += link.records
                    walk.size += link.size
                    walk.total = link.total if walk.total is None else walk.total
                    walk.is_whole = link.token is None
                    if not walk.is_whole and (len(walk.records) >= records or walk.size >= size):
                        break
            except ParametersError:
                if not walk.records or attempt == _MAX_WALKS - 1:
                    raise
                continue  # The token expired.
            break
        walk.requests = requests
        return walk

    def _chain(self, span: tuple[int, int] | None) -> Iterator[Link]:
        """Give the pages of a chain.

        Raises:
            TapError: It goes round in circles.
        """
        token: str | None = None
        tokens: set[str] = set()
        first: list[dict[str, Any]] = []
        last: list[dict[str, Any]] = []
        fruitless = 0
        while True:
            link = self._fetch(span, token, self._limit)
            is_like_last = bool(link.records) and link.records == last
            fruitless = fruitless + 1 if is_like_last or not link.records else 0
            is_like_first = bool(link.records) and link.records == first
            if (
                link.token in tokens
                or fruitless > _MAX_FRUITLESS
                or (is_like_first and not is_like_last)
            ):
                raise TapError(
                    f"{self._name}: the pages of Celonis go round in circles. Nothing from there "
                    "on was taken as read; the next run tries again."
                )
            # A page of nothing but identical records may well be followed by another one.
            if is_like_last and any(record != last[0] for record in last):
                self._tell_of_repeat()
                yield Link([], link.token, link.total)
            else:
                yield link
            if link.token is None:
                return
            token = link.token
            tokens.add(token)
            first, last = first or link.records, link.records or last

    def _tell_of_repeat(self) -> None:
        if not self._told_of_repeats:
            self._told_of_repeats = True
            logger.warning("%s: Celonis sent a page twice; it was taken once", self._name)

    def _read_all(self, start: int, end: int) -> Generator[Window]:
        """Read a range from the whole log, which is gone through once for each window."""
        at = start
        while at < end:
            stop, events = self._gather(at, end)
            yield Window(at, stop, _sorted(events), before=0, after=0)
            at = stop

    def _gather(self, start: int, end: int) -> tuple[int, list[Event]]:
        """Go through the log for as many of the first events of a range as memory allows."""
        events: list[Event] = []
        received = size = steps_back = 0
        is_descending = True
        oldest = None
        for link in self._chain(None):
            self.requests += 1
            received, size = received + len(link.records), size + link.size
            for event in map(self._parse, link.records):
                if event.second is None:
                    self.unreadable.add(event.key)
                    continue
                if oldest is not None:
                    is_descending &= event.second <= oldest
                    steps_back += event.second < oldest
                oldest = event.second
                if start <= event.second < end:
                    events.append(event)
            if received and len(events) * size / received > MAX_BYTES:
                seconds = sorted({event.second for event in events if event.second is not None})
                if len(seconds) > 1:
                    end = seconds[(len(seconds) + 1) // 2]
                    events = [event for event in events if _lies(event, start, end)]
            if is_descending and steps_back >= _SURE and oldest is not None and oldest < start:
                break  # Older events follow, in order.
        return end, events


def _cancel(parts: Iterable[_Part]) -> None:
    for part in parts:
        if part.ticket is not None:
            part.ticket.cancel()


def _lies(event: Event, start: int, end: int) -> bool:
    return event.second is not None and start <= event.second < end


def _sorted(events: Iterable[Event]) -> list[Event]:
    return sorted(events, key=lambda event: (event.timestamp, event.key))
