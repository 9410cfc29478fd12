"""How far Celonis' counts are believed.

A count may be lower than the truth. If pages go on behind it, that shows: there must be nothing
behind the last page of several. If they end there too, it is a cap; so a count is believed only
below one that was seen to be the sum of its parts. (No cap is lower than a count that was seen, so
what lies below that is no cap. The sum is what bears out that counts are counts at all; parts
overlap by the padding, so it is never too low.)

What one answer shows that is not full is believed below any other count. Where there is none, all
of history is counted, and where that is no more, two halves are read. A single second has none: if
all of history is no more, it is told.
"""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tap_celonis_audit.answers import PADDING_SECONDS, is_short
from tap_celonis_audit.windows import BEGINNING, format_second

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tap_celonis_audit.answers import Page

logger = logging.getLogger(__name__)

#: Nobody counts to so few only.
LEAST_CAP = 10


@dataclass(slots=True)
class Whole:
    """A range that was divided: its count, and what its parts count."""

    borders: Sequence[int]
    """Of the parts."""
    total: int
    unasked: int
    """Parts that have not answered yet."""
    added: int = 0

    @property
    def overlap(self) -> int:
        """How many parts may show the same record.

        Parts that are longer than what is asked for beside them overlap in pairs only.
        """
        shortest = min(end - start for start, end in itertools.pairwise(self.borders))
        return 2 if shortest >= 2 * (PADDING_SECONDS + 1) else len(self.borders) - 1


class Counts:
    """What was counted in a run, and what that proves.

    Args:
        ask: Asks how many records Celonis counts from one second to another, side by side.
        name: Stream, for messages.
        page_size: Records a request.
        all_until: Until when all of history was counted already.
    """

    def __init__(
        self,
        ask: Callable[[Sequence[tuple[int, int]]], list[int | None]],
        *,
        name: str,
        page_size: int,
        all_until: int,
    ) -> None:
        self._ask = ask
        self._name = name
        self._page_size = page_size
        self._all_until = all_until
        self._largest = self._known = 0
        self._told_of_cap = self._told_of_short = False
        self._short: list[Whole] = []
        self._doubted: set[int] = set()
        self.trusted = 0
        """The largest count that was seen to be the sum of its parts."""
        self.is_capped = False
        """Whether a count was seen to be lower than the truth."""

    def see(self, total: int | None) -> None:
        """Take note of a count."""
        self._largest = max(self._largest, total or 0)

    def know(self, number: int) -> None:
        """Believe that an answer shows all, if it shows so many: an earlier run made sure."""
        self._known = number

    def trust(self, total: int) -> None:
        """Take note of a count that was seen to be the sum of its parts."""
        self.trusted = max(self.trusted, total)

    def doubts(self, page: Page) -> bool:
        """Tell whether believing the count of a page would need more trust than it has earned."""
        if page.total is None:
            return False
        if is_short(page):
            return page.total >= max(self._largest, LEAST_CAP, self._known + 1)
        return page.total >= self.trusted

    def count_all(self, until: int) -> int | None:
        """Ask how many records Celonis counts in all of its history up to a second.

        A count that is lower than another one is true, whatever the cap.
        """
        self._all_until = max(self._all_until, until)
        (total,) = self._ask([_padded(min(BEGINNING, until), until)])
        return total

    def count_all_once(self, until: int) -> None:
        """Do so, unless that was done."""
        if self._all_until < until:
            self.count_all(until)

    def add_up(self, whole: Whole, total: int) -> None:
        """Take note of the count of one more part; compare once they are all there."""
        whole.unasked -= 1
        whole.added += total
        if whole.unasked:
            return
        if whole.added == whole.total:
            self.trust(whole.total)
        elif whole.added > whole.overlap * whole.total:
            # Not even if everything lay where parts overlap.
            self._tell_of_cap(whole.total, whole.added)
        elif whole.added < whole.total:
            self._short.append(whole)

    def count_again(self) -> None:
        """Count again, first the whole, where parts counted less.

        That may have been due to what appeared or disappeared between the answers.
        """
        while self._short and not self._told_of_short:
            borders = self._short.pop().borders
            (total,) = self._ask([_padded(borders[0], borders[-1])])
            counts = self._ask([_padded(*pair) for pair in itertools.pairwise(borders)])
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

    def add_two(self, borders: tuple[int, int, int], totals: tuple[int, int]) -> None:
        """See whether the counts of two windows add up to one that is asked for both.

        What both of them show is what lies around their border, whatever the bounds mean: that is
        asked for, too, since in a busy log there is always something.
        """
        start, middle, end = borders
        both, twice = self._ask([_padded(start, end), _padded(middle, middle)])
        # Under a cap, a count that is lower than another one is true.
        if twice is not None and max(totals) < (both or 0) == sum(totals) - twice:
            self.trust(both or 0)

    def compare(self, start: int, end: int, seen: int) -> bool:
        """Tell if Celonis counts less in a range than was seen there, as far as that can be.

        Returns:
            Whether it was asked.
        """
        if seen <= self._largest:
            return False
        (counted,) = self._ask([_padded(start, end)])
        if counted is not None and counted < seen:
            self._tell_of_cap(counted, seen)
        return True

    def cap(self, counted: int, seen: int) -> None:
        """Take note of a count that is not what its parts hold."""
        self.is_capped = True
        self._tell_of_cap(counted, seen)

    def doubt(self, second: int, total: int) -> None:
        """Tell if what a single second counts may be all that Celonis ever counts and shows."""
        if total >= self._largest:
            self.count_all_once(second + 1)
        if total < self._largest:
            return
        if self._doubted.isdisjoint((second - 1, second)):  # Its neighbours are asked for with it.
            logger.warning(
                "%s: Celonis counts %d records from %s to %s, and no more in all of its history: "
                "if that is the most that it ever counts and shows, others from there are missing",
                self._name,
                total,
                *map(format_second, _padded(second, second + 1)),
            )
        self._doubted.add(second)

    def _tell_of_cap(self, counted: int, seen: int) -> None:
        if not self._told_of_cap:
            self._told_of_cap = True
            logger.warning(
                "%s: Celonis counts %d records where there are %d; counts above %d are not "
                "believed in this run",
                self._name,
                counted,
                seen,
                min(counted - 1, max(self.trusted, self._page_size)),
            )


def _padded(start: int, end: int) -> tuple[int, int]:
    return start - PADDING_SECONDS, end + PADDING_SECONDS
