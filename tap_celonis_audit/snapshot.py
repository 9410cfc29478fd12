"""Reading a table completely, with proof, while it changes.

The API has pages by number, and no instant at which they are all true: who leaves the team moves
everybody behind them to an earlier page, and somebody is shown on none. If somebody joins at the
same time, even the count stays. So a table counts as read only when one of these holds:

* a single page shows all that it counts, and is not full;
* two or more readings in a row agree on the count (or, if Celonis does not say one, on how many
  records came until a page was empty), and the records that they showed, taken together, number
  exactly that. (Readings that miss somebody show somebody else who is gone, or
  less than the count. In an order that changes, they complete each other.)

What cannot be proven is read again, some times, and then fails.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

from tap_celonis_audit.errors import TapError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterable

    from tap_celonis_audit.pool import Pool, Ticket

logger = logging.getLogger(__name__)

#: An order that changes with each request takes about ten for thousands of records.
MAX_READINGS = 16
#: Where records come so often on average, pages are taken to have no end. (In an order that changes
#: with each request, two of three that come are new.)
_MAX_REPEATED = 3


@dataclass(frozen=True, slots=True)
class Part:
    """A page of a table."""

    records: list[tuple[str, bytes]]
    """Key and content of each record."""
    total: int | None
    """How many records the table holds, if Celonis says."""
    limit: int
    """How many records a full page holds."""


@dataclass(slots=True)
class _Seen:
    """What one or more readings showed."""

    total: int | None = None
    readings: int = 0
    records: dict[str, bytes] = field(default_factory=dict)
    copies: Counter[str] = field(default_factory=Counter)
    """How often each key is there: as often as one single answer showed it."""
    is_atomic: bool = False

    def add(self, part: Part) -> None:
        self.records.update(part.records)
        self.copies |= Counter(key for key, _ in part.records)

    def merge(self, other: _Seen) -> _Seen:
        if other.is_atomic or self.total != other.total:
            return other
        copies = self.copies | other.copies
        if copies.total() > (self.total or 0):
            return other  # Somebody left and somebody came: what is older is not true any more.
        readings = self.readings + other.readings
        return _Seen(self.total, readings, self.records | other.records, copies)

    @property
    def is_proven(self) -> bool:
        agrees = self.copies.total() == self.total
        return agrees and (self.is_atomic or self.readings > 1)


class _NotProvenError(Exception):
    """A reading cannot be true."""


def read_snapshot(fetch: Callable[[int], Part], *, pool: Pool) -> Collection[bytes]:
    """Read a table.

    Args:
        fetch: Gets a page by its number, from 0; called in the pool's threads.
        pool: Runs requests side by side.

    Returns:
        The content of each record, one for each key.

    Raises:
        TapError: It cannot be proven that nothing is missing.
    """
    seen, doubt = _Seen(), ""
    for _ in range(MAX_READINGS):
        try:
            seen = seen.merge(_read(fetch, pool))
        except _NotProvenError as error:
            seen, doubt = _Seen(), str(error)
        else:
            if seen.is_proven:
                return seen.records.values()
            doubt = f"{seen.total} records announced, {seen.copies.total()} different ones received"
        logger.debug("reading again: %s", doubt)
    raise TapError(
        f"The table changes faster than it can be read, or Celonis contradicts itself ({doubt}). "
        "Nothing of it was written; the next run tries again."
    )


def _read(fetch: Callable[[int], Part], pool: Pool) -> _Seen:
    """Read all pages once.

    Raises:
        _NotProvenError: They contradict each other.
    """
    first = pool.take(pool.submit(partial(fetch, 0)))
    total, length = first.total, len(first.records)
    seen = _Seen(total, readings=1)
    seen.add(first)
    if total is None:
        _read_uncounted(fetch, pool, seen)
        return seen
    if length > total or (total and not length):
        raise _NotProvenError(f"{total} records announced, {length} received")
    seen.is_atomic = length == total and length < first.limit
    # The last page is one that is not full: a count may be too low.
    numbers = range(1, 1 if seen.is_atomic else total // length + 1)
    received = length
    for part in _in_order(fetch, pool, numbers):
        seen.add(part)
        received += len(part.records)
        if part.total != total and not (part.total == 0 and received == total):
            raise _NotProvenError("the count changed while it was read")
        if not part.records:
            break
    if received != total:
        raise _NotProvenError(f"{total} records announced, {received} received")
    return seen


def _in_order(fetch: Callable[[int], Part], pool: Pool, numbers: Iterable[int]) -> Generator[Part]:
    """Give pages, some of them asked for ahead; those that nobody wants any more are dropped."""
    tickets: deque[Ticket[Part]] = deque()
    try:
        for number in numbers:
            tickets.append(pool.submit(partial(fetch, number)))
            if len(tickets) >= pool.parallel:
                yield pool.take(tickets.popleft())
        while tickets:
            yield pool.take(tickets.popleft())
    finally:
        for ticket in tickets:
            ticket.cancel()


def _read_uncounted(fetch: Callable[[int], Part], pool: Pool, seen: _Seen) -> None:
    """Read on until a page is empty, since Celonis does not say how many there are.

    However records are ordered, and if the order changes: as many as came in all, there are.

    Raises:
        _NotProvenError: The pages have no end.
    """
    received = seen.copies.total()
    for number in count(1):
        part = pool.take(pool.submit(partial(fetch, number)))
        if not part.records:
            break
        seen.add(part)
        received += len(part.records)
        if received > _MAX_REPEATED * len(seen.records):
            raise _NotProvenError("pages repeat themselves")
    seen.total = received
