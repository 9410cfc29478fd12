"""Reading a range of a log completely, with proof.

The API has pages by number, over a log that moves: entries arrive late, expire, and ties may be
re-ordered between two requests. So nothing is believed because it looks finished; a window counts
as read only when one of these holds:

* one answer shows all that it counts, on a page that is not full;
* the answers of several pages agree on the count, and the copies of each record, as many as one
  single answer showed at once, add up to it. (The lengths of the pages prove nothing: when ties
  move between requests, a pager loses some records, gets others twice, and the sum still fits.)

How far counts are believed is told in `counts`. What cannot be proven is read again in smaller
windows, down to one second, or fails.

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
from collections import Counter, deque
from contextlib import closing
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from tap_celonis_audit.answers import (
    PADDING_SECONDS,
    NotProvenError,
    Window,
    best_page,
    ends_full,
    fullest,
    is_full,
    is_short,
    lacking,
    make_window,
    most_copies,
    number_of_pages,
    place,
)
from tap_celonis_audit.counts import LEAST_CAP, Counts, Whole
from tap_celonis_audit.errors import TapError
from tap_celonis_audit.pool import Pool
from tap_celonis_audit.windows import BEGINNING, format_second

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from tap_celonis_audit.answers import Event, Look, Page
    from tap_celonis_audit.pool import Ticket

logger = logging.getLogger(__name__)

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
#: So many whole passes must agree where copies cannot be counted within one answer. Two would do
#: for a group that is a page and one; for small pages, chance needs more to be ruled out.
_AGREEING_PASSES = 5
_FEW = 100
#: What lies so far behind a border, or before it, is not shown on its other side.
_BESIDE = PADDING_SECONDS + 1
#: More records than this in one second are taken for a wrong count.
MAX_PER_SECOND = 1_000_000
_KEY = attrgetter("key")


@dataclass(slots=True, eq=False)
class _Part:
    """A part of a range that is to be read."""

    start: int
    end: int
    whole: Whole | None = None
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
        self._pages = MAX_PAGES
        self._calm = 0
        self._record_bytes = 1.0
        self._known_middle: int | None = None
        self._low: int | None = None
        self._counted: dict[tuple[int, int], int | None] = {}
        """What was counted before it was asked."""
        self._is_halved = False
        """Whether what is read was divided because no larger count is known."""
        self._counts = Counts(
            self._count,
            name=name,
            page_size=page_size,
            all_until=look.end if look is not None and look.start <= BEGINNING else BEGINNING,
        )
        self._begun_before = self._pool.begun
        self.few = min(_FEW, page_size // 2)
        """So many events are read at once rather than asked for by count."""
        self.unreadable: set[bytes] = set()
        """Keys of records without a usable timestamp."""

    def count(self, first: int, last: int) -> int | None:
        """Ask how many records Celonis counts from one second to another, as its bounds go."""
        span = first, last
        if span in self._counted:
            return self._counted.pop(span)
        (total,) = self._count([span])
        return total

    def expect(self, known: Mapping[int, int], low: int | None) -> None:
        """Prepare for reading behind what an earlier run saw, or that again.

        Args:
            known: Second → number of events.
            low: Where a count will begin that is asked for behind the first window, and holds it.
        """
        self._low = low
        if low is not None or not known:
            return
        first, last = min(known), max(known)
        total = self._counts.count_all(last + 1)
        if total is None or not LEAST_CAP <= total <= self._page_size:
            return
        # One page may show the whole log: then no count is larger than its own, but each of two is
        # smaller that leave something out.
        seconds = sorted(Counter(known).elements())
        if last - first >= 2 * _BESIDE:
            middle = seconds[len(seconds) // 2]
            self._known_middle = min(max(middle, first + _BESIDE), last - _BESIDE)
        else:
            self._counts.know(len(seconds))  # One burst: that was told when it was new.

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
                if self._is_halved and self._counts.compare(start, window.end, given):
                    self._is_halved = False
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
                self._counts.count_again()
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
        if is_whole and self._counts.doubts(page) and part.end - part.start > 1:
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
        if part.whole is not None and first.total is not None:
            self._counts.add_up(part.whole, first.total)
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
        if not is_full(first) or self._weight(first) > self._room():
            return []
        return [
            self._submit(part.start, part.end, number, first.asked, urgent=False)
            for number in range(1, number_of_pages(first))
        ]

    def _is_fit(self, plan: list[_Part], part: _Part) -> bool:
        """Tell whether a window can be read now; divide it if its count cannot be believed."""
        first = self._first(part).answer
        if not self._counts.doubts(first):
            return True
        for other in [each for each in plan[1:] if each.whole is part.whole is not None]:
            try:
                self._arrange(plan, other)
            except TapError:
                break  # It fails in its turn, when what lies before it was read.
        if self._counts.doubts(first):
            self._look_for_more(plan, first)
        if not self._counts.doubts(first) or part.end - part.start == 1:
            return True
        if is_short(first):
            part.cancel()
            plan[:1] = self._divide(part, first, self._halve(part, first))
            return False
        weight, known = self._weight(first), max(self._counts.trusted, self._page_size)
        if part.whole is not None and weight <= (1 if self._counts.is_capped else 2) * known:
            return True  # Its records can be held while they are compared with its count.
        part.cancel()
        number = max(_LEAST_PARTS, weight / (_FILL * self._room()))
        plan[:1] = self._divide(part, first, self._cut(part, first, number))
        return False

    def _look_for_more(self, plan: list[_Part], first: Page) -> None:
        """Look for a count that shows that another one can be believed."""
        part, *others = plan[:2]
        if is_short(first):
            if self._low is not None:
                span = self._low, part.end + PADDING_SECONDS
                (self._counted[span],) = self._count([span])
                self._low = None
            if self._counts.doubts(first):
                self._counts.count_all_once(plan[-1].end)
            return
        if not others or not others[0].is_window:
            return
        total, other = first.total, self._first(others[0]).answer.total
        if total and other:
            self._counts.add_two((part.start, part.end, others[0].end), (total, other))

    @staticmethod
    def _divide(part: _Part, first: Page, divided: list[_Part]) -> list[_Part]:
        """Note that a part is divided: the counts of these will be compared with its own."""
        if first.total is not None:
            borders = [part.start, *(each.end for each in divided)]
            whole = Whole(borders, first.total, len(divided))
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
        if self._counts.is_capped:
            room = min(room, self._counts.trusted)
        # At least a page of records as large as these.
        return max(min(self._page_size, int(MAX_BYTES / self._record_bytes)), room, 1)

    def _weight(self, page: Page) -> int:
        """Give how many records a window holds, by its first page."""
        if page.total is not None:
            return page.total
        return len(page.records) if is_short(page) else 4 * self._room()

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

    def _count(self, spans: Sequence[tuple[int, int]]) -> list[int | None]:
        """Ask how many records there are from one second to another, as Celonis' bounds go."""
        tickets = [self._ask(*span, 0, 1) for span in spans]
        return [self._take(ticket).total for ticket in tickets]

    def _take(self, ticket: Ticket[Page]) -> Page:
        """Wait for an answer; meanwhile, the windows ahead are asked for."""
        page = self._pool.take(ticket, self._look_ahead)
        self._weigh(page)
        return page

    def _weigh(self, page: Page) -> None:
        """Learn how large records are, and how far Celonis counts; a few small ones tell little."""
        self._counts.see(page.total)
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
        if self._counts.doubts(first) and end - start > 1:
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
                self._counts.trust(seen)
            else:
                self._counts.cap(first.total, seen)
        return window

    @staticmethod
    def _middle(start: int, end: int, seconds: Sequence[int]) -> int:
        """Give where to cut a range in two that hold about as many of the events of these."""
        if not seconds:
            return (start + end) // 2
        middle = seconds[len(seconds) // 2]
        if middle <= start:
            middle = start + _BESIDE
        elif middle >= end:
            middle = end - _BESIDE
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
        copies = most_copies(answers)
        if first.total is not None and copies.total() != first.total:
            self._mend(start, end, answers, copies)
            if copies.total() != first.total:
                raise NotProvenError("pages overlap", again=False)
        return make_window(start, end, answers, copies)

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
            if not is_short(first) or self._page(start, end, 1, size).records:
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
        total, is_too_much = first.total, self._counts.doubts(first)
        if not (is_too_much or ends_full(first)) or total is None:
            return
        if not is_short(first) and self._page(start, end, number_of_pages(first), size).records:
            raise NotProvenError(f"{total} records announced, but there are more")
        if is_too_much and end - start > 1:
            raise NotProvenError(f"{total} records are more than is believed", again=False)
        if is_too_much:
            self._counts.doubt(start, total)

    def _others(
        self, start: int, end: int, first: Page, size: int, asked: Sequence[Ticket[Page]]
    ) -> Generator[Page]:
        """Give the pages that follow the first; those that nobody wants any more are dropped."""
        tickets = deque(asked)
        numbers = range(1 + len(tickets), number_of_pages(first))
        ahead = self._pool.parallel if is_full(first) else 1
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
            seen = fullest([seen, *now])
            whole = Counter(event.key for answer in now for event in answer)
            passes.append(whole)
            if len(seen) < total and whole != passes[0]:
                seen = self._look_closer(second, now, seen, total)
            if len(seen) == total:
                return make_window(second, second + 1, [seen], Counter(map(_KEY, seen)))
            # More identical events than fit on a page are never shown at once. Then the order is
            # believed to stand still if no two passes differ, each with other borders.
            if len(passes) >= _AGREEING_PASSES and all(each == whole for each in passes):
                return make_window(second, second + 1, now, whole)
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
            size, number = best_page(lacking(shown, seen), most, turn)
            try:
                page = self._page(second, second + 1, number, size)
            except NotProvenError:
                break
            if page.total != total:
                break
            seen = fullest([seen, self._events(page, second, second + 1)])
            if len(seen) == total:
                break
        return seen
