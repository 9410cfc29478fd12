"""Reading a range of a log completely, with proof.

The API has pages by number, over a log that moves: entries arrive late, expire, and ties may be
re-ordered between two requests. So nothing is believed because it looks finished; a window counts
as read only when one of these holds:

* one answer shows all that it counts, on a page that is not full;
* the answers of several pages agree on the count, and the copies of each record, as many as one
  single answer showed at once, add up to it. (The lengths of the pages prove nothing: when ties
  move between requests, a pager loses some records, gets others twice, and the sum still fits.)

A count itself may be lower than the truth. If pages go on behind it, that shows: there must be
nothing behind the last page of several. If they end there too, it is a cap; so a count is believed
only below one that was seen to be the sum of its parts. (No cap is lower than a count that was
seen, so what lies below that is no cap. The sum is what bears out that counts are counts at all;
parts overlap by the padding, so it is never too low.) What one answer shows that is not full is
believed below any other count; where there is none, all of history is counted, and where that is
no more, two halves are read. A single second has none: if all of history is no more, it is told.
What cannot be proven is read again in smaller windows, down to one second, or fails.

How long windows are is planned by counts, from the top: a range that holds too much is divided,
and all its parts are asked for at once. Their first pages are not in vain: those that hold little
enough are windows already.

Times are whole UTC seconds, windows half-open. Requests ask for one second more on both sides and
the client cuts, so it does not matter whether Celonis' bounds are inclusive, exclusive, precise to
the millisecond or cut to the second.
"""

from __future__ import annotations

import itertools
import logging
import math
from bisect import bisect_left
from collections import Counter, deque
from contextlib import closing
from dataclasses import dataclass, field
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any

import msgspec

from tap_celonis_audit.errors import TapError
from tap_celonis_audit.keys import canonical
from tap_celonis_audit.pool import Pool
from tap_celonis_audit.windows import BEGINNING, format_second

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping, Sequence

    from tap_celonis_audit.pool import Ticket

logger = logging.getLogger(__name__)

#: Requests ask for this much more than is kept.
PADDING_SECONDS = 1
#: A window holds at most this many pages, and about this many bytes: that bounds the memory.
MAX_PAGES = 16
MAX_BYTES = 8 * 1024 * 1024
#: Parts are planned to hold this part of what a window may hold, since activity varies.
_FILL = 0.7
#: A range is divided into so many parts at least, where its count is in doubt, and at most.
_LEAST_PARTS, _MOST_PARTS = 3, 16
#: So many proven windows in a row, and larger ones are tried again.
_CALM = 24
#: How often a single second is read with pages of different sizes before giving up.
_DENSE_PASSES = 20
#: After each whole pass, so many requests a page for what lacks copies.
_CLOSER_LOOKS = 4
#: A page is as good as another that shows so much of what that one does.
_AS_GOOD = 0.95
#: So many whole passes must agree where copies cannot be counted within one answer. Two would do
#: for a group that is a page and one; for small pages, chance needs more to be ruled out.
_AGREEING_PASSES = 5
_FEW = 100
#: Nobody counts to so few only.
_LEAST_CAP = 10
#: More records than this in one second are taken for a wrong count.
MAX_PER_SECOND = 1_000_000
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


@dataclass(slots=True)
class _Whole:
    """A range that was divided: its count, and what its parts count."""

    borders: Sequence[int]
    """Of the parts."""
    total: int
    unasked: int
    """Parts that have not answered yet."""
    overlap: int
    """How many parts may show the same record."""
    added: int = 0


@dataclass(slots=True, eq=False)
class _Part:
    """A part of a range that is to be read."""

    start: int
    end: int
    whole: _Whole | None = None
    first: Ticket[Page] | None = None
    """Its first page, if it was asked for."""
    is_window: bool = False
    """Whether its first page says that it holds little enough."""
    others: list[Ticket[Page]] = field(default_factory=list)
    """Its other pages, if they were asked for."""
    foreseen: list[_Part] = field(default_factory=list)
    """What it is divided into if it holds too much, as it seemed at a first look."""

    @property
    def pages(self) -> int:
        """How many pages were asked for."""
        return (self.first is not None) + len(self.others)

    def cancel(self) -> None:
        """Drop what was asked for."""
        for ticket in (*self.others, *([self.first] if self.first else [])):
            ticket.cancel()
        self.drop_foreseen()

    def drop_foreseen(self) -> None:
        """Drop what was asked for in case it is divided."""
        for part in self.foreseen:
            part.cancel()
        self.foreseen = []


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
        look: What is known already: how to divide the range that it is of. That is all it decides.
    """

    def __init__(
        self,
        fetch: Callable[[int, int, int, int], Page],
        parse: Callable[[dict[str, Any]], Event],
        *,
        name: str,
        page_size: int,
        pool: Pool | None = None,
        look: Look | None = None,
    ) -> None:
        self._fetch = fetch
        self._pool = pool or Pool()
        self._look = look
        self._plan: list[_Part] = []
        self._parse = parse
        self._name = name
        self._page_size = page_size
        self._trusted = self._largest = self._believed = 0
        self._pages = MAX_PAGES
        self._calm = 0
        self._record_bytes = 1.0
        self._count_is_capped = self._told_of_cap = self._told_of_short = False
        self._known_middle: int | None = None
        self._is_halved = False
        """Whether what is read was divided because no larger count is known."""
        self._all_until = look.end if look is not None and look.start <= BEGINNING else BEGINNING
        """Until when all of history was counted."""
        self._short: list[_Whole] = []
        self._doubted: set[int] = set()
        self._begun_before = self._pool.begun
        self.few = min(_FEW, page_size // 2)
        """So many events are read at once rather than asked for by count."""
        self.unreadable: set[bytes] = set()
        """Keys of records without a usable timestamp."""

    def count(self, first: int, last: int) -> int | None:
        """Ask how many records Celonis counts from one second to another, as its bounds go."""
        return self._take(self._ask(first, last, 0, 1)).total

    def count_all(self, until: int) -> int | None:
        """Ask how many records Celonis counts in all of its history up to a second.

        A count that is lower than another one is true, whatever the cap.
        """
        self._all_until = max(self._all_until, until)
        return self._take(self._submit(min(BEGINNING, until), until, 0, 1)).total

    def expect(self, known: Mapping[int, int]) -> None:
        """Prepare for reading again what an earlier run saw.

        Args:
            known: Second → number of events.
        """
        if not known:
            return
        first, last = min(known), max(known)
        total = self.count_all(last + 1)
        if total is None or not _LEAST_CAP <= total <= self._page_size:
            return
        # One page may show the whole log: then no count is larger than its own.
        middle = self._middle(first, last, sorted(Counter(known).elements()))
        if first < middle - PADDING_SECONDS < middle + PADDING_SECONDS < last:
            self._known_middle = middle
        else:
            self._believed = sum(known.values())  # One burst: that was told when it was new.

    def read(self, start: int, end: int) -> Generator[Window]:
        """Read ``[start, end)`` as adjacent proven windows, in ascending order.

        Raises:
            TapError: A window cannot be proven complete, or the answers contradict the question.
        """
        plan = self._plan = [_Part(start, end)] if start < end else []
        if plan:
            self._foresee(plan)
        given = 0
        try:
            while plan:
                part = self._next_window(plan)
                try:
                    window = self._prove(
                        part.start, part.end, self._first(part).answer, part.others
                    )
                finally:
                    part.cancel()
                yield window
                given += len(window.events)
                if self._is_halved and given > self._largest:
                    self._compare(start, window.end, given)
        finally:
            for part in plan:
                part.cancel()
            self._plan = []

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

    def _next_window(self, plan: list[_Part]) -> _Part:
        """Take the next window out of a plan."""
        while True:
            part = plan[0]
            self._arrange(plan, part)
            if plan[0] is part and self._is_fit(plan, part):
                self._count_again()
                return plan.pop(0)

    def _foresee(self, plan: list[_Part]) -> None:
        """Divide a range, or ask for its parts beside its count, where that is seen to be due."""
        (part,), look, middle = plan, self._look, self._known_middle
        if middle is not None and part.start < middle < part.end:
            plan[:] = self._halves(part, middle)
            return
        if look is None or look.start != part.start or look.end < part.end:
            return
        page = look.page
        self._weigh(page)
        is_whole = page.total == len(page.records)
        if is_whole and self._is_new_maximum(page) and part.end - part.start > 1:
            plan[:] = self._halve(part, page)
            return
        weight, room = self._weight(page), self._room()
        if weight > room and part.end - part.start > 1:
            self._first(part)
            part.foreseen = self._cut(part, page, weight / (_FILL * room))
            for each in part.foreseen:
                self._first(each)

    def _look_ahead(self) -> None:
        """Plan as far as answers are there, and ask for more as far as memory allows.

        What is asked for in vain is a request, no more: all that is decided here is how long
        windows are.
        """
        plan, ahead, position = self._plan, 0, 0
        room = min(4 * self._pool.parallel, self._affordable()) if self._pool.parallel > 1 else 0
        while position < len(plan) and ahead < room:
            part = plan[position]
            first = self._first(part)
            # A failure waits until what lies before it was read, a division until that is a window.
            is_due = first.done and not first.failed and not part.is_window
            if is_due and (position == 0 or plan[0].is_window):
                self._plan_part(plan, position, first.answer)
                continue
            if part.is_window and not part.others:
                part.others = self._ask_for_rest(part)
            ahead += part.pages
            position += 1

    def _affordable(self) -> int:
        """Give how many pages may be held in memory, by their size."""
        return int(MAX_BYTES / self._page_size / self._record_bytes)

    def _first(self, part: _Part) -> Ticket[Page]:
        if part.first is None:
            part.first = self._submit(part.start, part.end, 0)
        return part.first

    def _arrange(self, plan: list[_Part], part: _Part) -> None:
        """Wait for the first page of a part, and make a window of it, or several parts."""
        if not part.is_window:
            first = self._pool.take(self._first(part), self._look_ahead)
            if part in plan and not part.is_window:
                self._plan_part(plan, plan.index(part), first)

    def _plan_part(self, plan: list[_Part], position: int, first: Page) -> None:
        """Make a window of a part whose first page is there; if that is too much, several parts."""
        part = plan[position]
        self._weigh(first)
        self._add_up(part, first)
        weight, room = self._weight(first), self._room()
        if weight > room and part.end - part.start > 1:
            parts = part.foreseen or self._cut(part, first, weight / (_FILL * room))
            plan[position : position + 1] = self._divide(part, first, parts)
            return
        part.is_window = True
        part.drop_foreseen()

    def _ask_for_rest(self, part: _Part) -> list[Ticket[Page]]:
        """Ask for the other pages of a window."""
        first = self._first(part).answer
        if not _is_full(first) or self._weight(first) > self._room():
            return []
        return [
            self._submit(part.start, part.end, number, first.asked, urgent=False)
            for number in range(1, _pages(first))
        ]

    def _add_up(self, part: _Part, first: Page) -> None:
        """Compare a count with those of its parts, once they are all there."""
        whole = part.whole
        if whole is None or first.total is None:
            return
        whole.unasked -= 1
        whole.added += first.total
        if whole.unasked:
            return
        if whole.added == whole.total:
            self._trusted = max(self._trusted, whole.total)
        elif whole.added > whole.overlap * whole.total:
            # Not even if everything lay where parts overlap.
            self._tell_of_cap(whole.total, whole.added)
        elif whole.added < whole.total:
            self._short.append(whole)

    def _count_again(self) -> None:
        """Count again, first the whole, where parts counted less.

        That may have been due to what appeared or disappeared between the answers.
        """
        while self._short and not self._told_of_short:
            borders = self._short.pop().borders
            total = self._page(borders[0], borders[-1], 0, 1).total
            parts = [self._submit(*pair, 0, 1) for pair in itertools.pairwise(borders)]
            counts = [self._take(part).total for part in parts]
            added = sum(count or 0 for count in counts)
            if total is not None and None not in counts and added < total:
                self._told_of_short = True
                logger.warning(
                    "%s: Celonis counts %d records from %s to %s, but %d in the parts of that "
                    "time: others may be missing",
                    self._name,
                    total,
                    format_second(borders[0]),
                    format_second(borders[-1]),
                    added,
                )

    def _is_fit(self, plan: list[_Part], part: _Part) -> bool:
        """Tell whether a window can be read now; divide it if its count cannot be believed."""
        first = self._first(part).answer
        if not self._is_new_maximum(first):
            return True
        for other in [each for each in plan[1:] if each.whole is part.whole is not None]:
            try:
                self._arrange(plan, other)
            except TapError:
                break  # It fails in its turn, when what lies before it was read.
        if self._is_new_maximum(first):
            self._look_for_more(plan, first)
        if not self._is_new_maximum(first) or part.end - part.start == 1:
            return True
        if _is_short(first):
            part.cancel()
            plan[:1] = self._divide(part, first, self._halve(part, first))
            return False
        weight, known = self._weight(first), max(self._trusted, self._page_size)
        if part.whole is not None and weight <= (1 if self._count_is_capped else 2) * known:
            return True  # Its records can be held while they are compared with its count.
        part.cancel()
        number = max(_LEAST_PARTS, weight / (_FILL * self._room()))
        plan[:1] = self._divide(part, first, part.foreseen or self._cut(part, first, number))
        return False

    def _look_for_more(self, plan: list[_Part], first: Page) -> None:
        """Look for a count that shows that another one can be believed."""
        if not _is_short(first):
            self._ask_for_two(plan, first)
        elif self._all_until < plan[-1].end:
            self.count_all(plan[-1].end)

    def _ask_for_two(self, plan: list[_Part], first: Page) -> None:
        """See whether the counts of two windows add up to one that is asked for both.

        What both of them show is what lies around their border, whatever the bounds mean: that is
        asked for, too, since in a busy log there is always something.
        """
        part, *others = plan[:2]
        if not others or not others[0].is_window:
            return
        total, other = first.total, self._first(others[0]).answer.total
        if not total or not other:
            return
        spans = (part.start, others[0].end), (part.end, part.end)
        tickets = [self._ask(a - PADDING_SECONDS, b + PADDING_SECONDS, 0, 1) for a, b in spans]
        both, twice = (self._take(ticket).total for ticket in tickets)
        # Under a cap, a count that is lower than another one is true.
        if twice is not None and max(total, other) < (both or 0) == total + other - twice:
            self._trusted = max(self._trusted, both or 0)

    @staticmethod
    def _divide(part: _Part, first: Page, divided: list[_Part]) -> list[_Part]:
        """Note that a part is divided: the counts of these will be compared with its own."""
        if first.total is not None:
            # Parts that are longer than what is asked for beside them overlap in pairs only.
            shortest = min(each.end - each.start for each in divided)
            overlap = 2 if shortest >= 2 * (PADDING_SECONDS + 1) else len(divided)
            borders = [part.start, *(each.end for each in divided)]
            whole = _Whole(borders, first.total, len(divided), overlap)
            for each in divided:
                each.whole = whole
        return divided

    def _cut(self, part: _Part, first: Page, parts: float) -> list[_Part]:
        """Cut a part into about so many, none of them before its events seem to begin."""
        start, end = part.start, part.end
        number = min(max(2, math.ceil(parts)), _MOST_PARTS, max(2, self._affordable()), end - start)
        begin = self._beginning(part, first)
        if (begin - start) * number < 1.5 * (end - start):
            begin = start  # Not worth a request.
        cuts = {start, *(begin + (end - begin) * each // number for each in range(number)), end}
        return [_Part(*pair) for pair in itertools.pairwise(sorted(cuts))]

    def _beginning(self, part: _Part, first: Page) -> int:
        """Guess when the events of a part begin, by those on its first page."""
        seconds = [each for each in self._seconds(first) if part.start <= each < part.end]
        if not seconds:
            return part.start
        low, high = min(seconds), max(seconds)
        if seconds[0] <= seconds[-1]:
            return low
        # The last ones come first: the others lie before them, perhaps half as dense.
        span = 2 * (high - low + 1) * self._weight(first) // len(seconds)
        return max(part.start, high - span)

    def _seconds(self, page: Page) -> list[int]:
        """Give when the events of a page happened, in its order."""
        try:
            seconds = [event.second for event in map(self._parse, page.records)]
        except RecursionError:
            return []  # It fails in its turn, when what lies before it was read.
        return [second for second in seconds if second is not None]

    def _halve(self, part: _Part, page: Page) -> list[_Part]:
        """Cut a part in two where half of what it shows lies before."""
        return self._halves(part, self._middle(part.start, part.end, sorted(self._seconds(page))))

    def _halves(self, part: _Part, middle: int) -> list[_Part]:
        """Cut a part in two, since no count is known that is larger."""
        self._is_halved = True
        return [_Part(part.start, middle), _Part(middle, part.end)]

    def _room(self) -> int:
        """Give how many records a window may hold now."""
        room = min(self._pages * self._page_size, int(MAX_BYTES / self._record_bytes))
        if self._count_is_capped:
            room = min(room, self._trusted)
        # At least a page of records as large as these.
        return max(min(self._page_size, int(MAX_BYTES / self._record_bytes)), room, 1)

    def _weight(self, page: Page) -> int:
        """Give how many records a window holds, by its first page."""
        if page.total is not None:
            return page.total
        return len(page.records) if _is_short(page) else 4 * self._room()

    def _submit(
        self, start: int, end: int, number: int, size: int | None = None, *, urgent: bool = True
    ) -> Ticket[Page]:
        """Ask for a page of a window, padded; its records must lie where they were asked for."""
        first, last = start - PADDING_SECONDS, end + PADDING_SECONDS
        return self._ask(first, last, number, size, urgent=urgent)

    def _page(self, start: int, end: int, number: int, size: int | None = None) -> Page:
        """Ask for a page of a window and wait for it."""
        return self._take(self._submit(start, end, number, size))

    def _ask(
        self, first: int, last: int, number: int, size: int | None = None, *, urgent: bool = True
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
        """Learn how large records are, and how far Celonis counts; a few small ones tell little."""
        self._largest = max(self._largest, page.total or 0)
        number = len(page.records)
        if number:
            known = self._record_bytes * 0.9 ** min(1.0, number / _FEW)
            self._record_bytes = max(page.size / number, known, 1.0)

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
        if page.total is None:
            return False
        if _is_short(page):
            return page.total >= max(self._largest, _LEAST_CAP, self._believed + 1)
        return page.total >= self._trusted

    def _tell_of_cap(self, counted: int, seen: int) -> None:
        if not self._told_of_cap:
            self._told_of_cap = True
            logger.warning(
                "%s: Celonis counts %d records where there are %d; counts above %d are not "
                "believed in this run",
                self._name,
                counted,
                seen,
                min(counted - 1, max(self._trusted, self._page_size)),
            )

    def _compare(self, start: int, end: int, seen: int) -> None:
        """Tell if Celonis counts less in a range than was seen there."""
        counted = self._page(start, end, 0, 1).total
        if counted is not None and counted < seen:
            self._tell_of_cap(counted, seen)
        self._is_halved = False

    def _read_parts(self, start: int, end: int, first: Page, *, check: bool = True) -> Window:
        """Read a window as two; see whether their counts add up to its own."""
        is_whole = first.total is not None and first.total <= len(first.records)
        middle = self._middle(start, end, sorted(self._seconds(first)) if is_whole else [])
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
            else:
                self._count_is_capped = True
                self._tell_of_cap(first.total, seen)
        return window

    @staticmethod
    def _middle(start: int, end: int, seconds: Sequence[int]) -> int:
        """Give where to cut a range in two that hold about as many of the events of these."""
        if not seconds:
            return (start + end) // 2
        middle, beside = seconds[len(seconds) // 2], PADDING_SECONDS + 1
        if middle <= start:
            middle = start + beside
        elif middle >= end:
            middle = end - beside
        return min(max(middle, start + 1), end - 1)

    def _attempt(
        self, start: int, end: int, first: Page, others: Sequence[Ticket[Page]] = ()
    ) -> Window:
        """Read the other pages of a window and prove it.

        Raises:
            NotProvenError: The answers do not prove it.
        """
        pages = self._collect(start, end, first, self._page_size, others)
        # One after the other as they come: the next ones are on their way meanwhile.
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
        # Of a second of the padding, the count may hold a part only.
        inner = [each for each in seconds if each is not None and start <= each < end]
        if len(inner) < len(seconds):
            return
        for second in inner:
            for key in [key for key in copies if second_of.get(key) == second]:
                del copies[key]
            again = self._prove(second, second + 1, self._page(second, second + 1, 0)).events
            copies.update(event.key for event in again)
            answers.append(again)

    def _collect(
        self, start: int, end: int, first: Page, size: int, others: Sequence[Ticket[Page]] = ()
    ) -> Generator[Page]:
        """Give all pages of a window; in the end they agree on a count and add up to it."""
        total, length, size = first.total, len(first.records), first.asked or size
        if total is None:
            if not _is_short(first) or self._page(start, end, 1, size).records:
                raise NotProvenError("Celonis does not say how many records there are")
            yield first
            return
        if length > total or total > MAX_PER_SECOND or (total and not length):
            raise NotProvenError(f"{total} records announced, {length} received")
        yield first
        received = length
        with closing(self._others(start, end, first, size, others)) as rest:
            for page in rest:
                if page.total != total and not (page.total == 0 and not page.records):
                    raise NotProvenError("the count changed while it was read")
                yield page
                received += len(page.records)
                if not page.records:
                    break
        if received != total:
            raise NotProvenError(f"{total} records announced, {received} received")
        self._see_the_end(start, end, first, size)

    def _see_the_end(self, start: int, end: int, first: Page, size: int) -> None:
        """See that nothing follows the last page, as far as the count cannot be believed."""
        total, is_too_much = first.total, self._is_new_maximum(first)
        if not (is_too_much or _ends_full(first)) or total is None:
            return
        if not _is_short(first) and self._page(start, end, _pages(first), size).records:
            raise NotProvenError(f"{total} records announced, but there are more")
        if is_too_much and end - start > 1:
            raise NotProvenError(f"{total} records are more than is believed", again=False)
        if is_too_much:
            self._doubt(start, total)

    def _doubt(self, second: int, total: int) -> None:
        """Tell if what a single second counts may be all that Celonis ever counts and shows.

        A count that is lower than another one is true, whatever the cap; that of all history is.
        """
        if total >= self._largest and self._all_until <= second:
            self.count_all(second + 1)
        if total < self._largest:
            return
        if self._doubted.isdisjoint((second - 1, second)):  # Its neighbours are asked for with it.
            logger.warning(
                "%s: Celonis counts %d records from %s to %s, and no more in all of its history: "
                "if that is the most that it ever counts and shows, others from there are missing",
                self._name,
                total,
                format_second(second - PADDING_SECONDS),
                format_second(second + 1 + PADDING_SECONDS),
            )
        self._doubted.add(second)

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
        seen: list[Event] = []
        passes: list[Counter[bytes]] = []
        total: int | None = None
        for attempt in range(_DENSE_PASSES):
            # Large pages show many copies at once; each size puts the borders elsewhere.
            size = self._page_size - attempt * 7 % max(1, self._page_size // 4)
            try:
                first = self._page(second, second + 1, 0, size)
                pages = self._collect(second, second + 1, first, size)
                now = [self._events(page, second, second + 1) for page in pages]
            except NotProvenError as again:
                doubt = again
                continue
            if first.total is None:
                break
            if first.total != total:
                seen, passes, total = [], [], first.total
            # What was shown before takes no more memory, however many passes there are.
            seen = _fullest([seen, *now])
            whole = Counter(event.key for answer in now for event in answer)
            passes.append(whole)
            if len(seen) < total and whole != passes[0]:
                seen = self._look_closer(second, now, seen, total)
            if len(seen) == total:
                return self._window(second, second + 1, [seen], Counter(map(_KEY, seen)))
            # More identical events than fit on a page are never shown at once. Then the order is
            # believed to stand still if no two passes differ, each with other borders.
            if len(passes) >= _AGREEING_PASSES and all(each == whole for each in passes):
                return self._window(second, second + 1, now, whole)
        raise TapError(
            f"{self._name}: the second at {format_second(second)} cannot be read completely "
            f"({doubt}). Nothing from there on was taken as read; the next run tries again."
        )

    def _look_closer(
        self, second: int, shown: list[list[Event]], seen: list[Event], total: int
    ) -> list[Event]:
        """Ask for those pages of a second that show much of what lacks copies.

        Args:
            second: The second.
            shown: What all of its pages showed, in their order.
            seen: The copies of each record from the one answer that showed most of them.
            total: How many there are.

        Returns:
            The same as `seen`, with what these pages showed.
        """
        most = max(map(len, shown))
        for turn in range(_CLOSER_LOOKS * len(shown)):
            size, number = _best_page(_lacking(shown, seen), most, turn)
            page = self._page(second, second + 1, number, size)
            if page.total != total:
                break
            seen = _fullest([seen, self._events(page, second, second + 1)])
            if len(seen) == total:
                break
        return seen

    @staticmethod
    def _window(start: int, end: int, answers: list[list[Event]], copies: Counter[bytes]) -> Window:
        several = {key: number for key, number in copies.items() if number > 1}
        once = {
            event.key: event for answer in answers for event in answer if event.key not in several
        }
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


def _pages(first: Page) -> int:
    """Give how many pages a window has, by its first."""
    length = len(first.records)
    return -(-first.total // length) if first.total and length else 1


def _is_full(page: Page) -> bool:
    return len(page.records) == page.limit


def _ends_full(first: Page) -> bool:
    """Tell whether another page might follow the last one of a window, whatever is counted."""
    if not first.total or not first.records or _is_short(first):
        return False
    return first.total % len(first.records) == 0


def _is_short(page: Page) -> bool:
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


def _lacking(shown: Sequence[list[Event]], seen: Iterable[Event]) -> range:
    """Give where those events are shown that lack most copies: of one time, if times are in order.

    Ties have the same places among themselves, however they move.
    """
    times = [event.timestamp for answer in shown for event in answer]
    missing = Counter(times)
    missing.subtract(event.timestamp for event in seen)
    time, _ = max(missing.items(), key=itemgetter(1))
    first, last = times.index(time), len(times) - times[::-1].index(time)
    return range(first, last) if last - first == times.count(time) else range(len(times))


def _best_page(places: range, most: int, turn: int) -> tuple[int, int]:
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


def _most_copies(answers: Sequence[list[Event]]) -> Counter[bytes]:
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
