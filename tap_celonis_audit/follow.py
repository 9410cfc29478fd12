"""Following a log: what has not been emitted yet, late arrivals included.

A run looks at three spans. The recent past, where events may still appear: asked for by count
alone, and read again only where the count differs from what is known. The time since the
watermark: read. And history before the first event wanted so far, if `start_date` was moved back:
read first, so that nothing else waits for it twice.

A count says how many events lie between two seconds, and how many of those two seconds it includes
depends on Celonis' bounds: inclusive, exclusive, cut to the second. So spans begin at a second that
is known to have no events, or of which Celonis is asked how many it shows there. And they end where
the window that is read anyway ends: its answer has the same bound.
"""

from __future__ import annotations

import logging
import math
from bisect import bisect_left
from collections import Counter
from copy import deepcopy
from itertools import chain, groupby
from operator import attrgetter
from typing import TYPE_CHECKING

import msgspec

from tap_celonis_audit.answers import PADDING_SECONDS
from tap_celonis_audit.errors import RateLimitError, TapError
from tap_celonis_audit.keys import event_id
from tap_celonis_audit.state import FINGERPRINT_BYTES, MARGIN_SECONDS
from tap_celonis_audit.windows import format_second

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tap_celonis_audit.answers import Event, Window
    from tap_celonis_audit.cursor import CursorReader
    from tap_celonis_audit.reader import Reader
    from tap_celonis_audit.state import Bookmark, Watch

logger = logging.getLogger(__name__)

#: An event that appears so late, as a part of what is allowed, is a reason to allow more.
_NEARLY = 0.75
#: The last event stays known for so long: each run must be shown it again. After 30 days, it may
#: have been deleted: https://docs.celonis.com/en/audit-logs.html
_REMEMBERED_SECONDS = 21 * 86_400
#: The second of a row; windows hold events that have one.
_second = attrgetter("event.second")


class _TimeIsUpError(Exception):
    """The run has taken as long as it may."""


class Row(msgspec.Struct, frozen=True, gc=False):
    """An event and its name."""

    event_id: str
    event: Event


class Follower:
    """Brings a bookmark up to date.

    Args:
        reader: Reads the log.
        bookmark: Where the last run ended; moved forward behind the rows that were taken.
        commit: Called when the bookmark is true again, after rows were taken.
        now: Gives the time at which this run began, in seconds since 1970.
        settle_seconds: The newest events are left for the next run.
        late_seconds: How late an event may appear.
        time_is_up: Tells whether the run should end at the next border of a window.
        is_stale: Whether retention may have deleted what the last run knew.
        name: Stream, for messages.
    """

    def __init__(
        self,
        reader: Reader | CursorReader,
        bookmark: Bookmark,
        *,
        commit: Callable[[], None],
        now: Callable[[], float],
        settle_seconds: int,
        late_seconds: int,
        name: str,
        time_is_up: Callable[[], bool] = lambda: False,
        is_stale: bool = False,
    ) -> None:
        self._reader = reader
        self._bookmark = bookmark
        self._commit = commit
        self._now = now
        self._settle_seconds = settle_seconds
        self._late_seconds = late_seconds
        self._time_is_up = time_is_up
        self._is_stale = is_stale
        self._name = name
        self._known_until = bookmark.watermark
        # When the last run looked, nothing could appear before this any more.
        late = late_seconds if bookmark.late_seconds is None else bookmark.late_seconds
        self._final_until = bookmark.watermark - late
        self._borders: dict[tuple[int, bool], int | None] = {}
        self._doubted: Watch | None = None
        self._told_of_lateness = False
        self.late = 0
        """Events that were found after their time had been read."""

    def rows(self, *, start: int, end: int | None) -> Iterator[Sequence[Row]]:
        """Give what was not emitted yet, window by window, each in ascending order.

        Args:
            start: Second from which events are wanted.
            end: Second before which events are wanted; None for all that have settled.

        Raises:
            TapError: A window cannot be proven complete.
        """
        try:
            self._tell_changes()
            yield from self._older_history(start, end)
            yield from self._recent_past(end)
        except _TimeIsUpError:
            logger.info(
                "%s: max_run_minutes are over; the next run goes on from %s",
                self._name,
                format_second(self._bookmark.watermark),
            )
        finally:
            if self._doubted is not None and not self._bookmark.checked:
                # Whether what is gone was deleted, will show when something comes.
                self._bookmark.watch = self._doubted

    def _tell_changes(self) -> None:
        """Warn if later events are wanted than the last run prepared for."""
        bookmark = self._bookmark
        if bookmark.late_seconds is not None and bookmark.late_seconds < self._late_seconds:
            logger.warning(
                "%s: late_arrival_seconds was raised from %d to %d: events that appeared later "
                "than %d seconds before this run are not looked for",
                self._name,
                bookmark.late_seconds,
                self._late_seconds,
                bookmark.late_seconds,
            )
        bookmark.late_seconds = self._late_seconds

    def _older_history(self, start: int, end: int | None) -> Iterator[Sequence[Row]]:
        """Read what lies before everything read so far, if it is wanted now.

        What was begun is finished first, whatever `start_date` says by then.
        """
        bookmark = self._bookmark
        while bookmark.gap is not None or start < bookmark.start:
            if bookmark.gap is None:
                logger.info("%s: start_date was moved back; older history is read", self._name)
                bookmark.gap = start, start
            begin, at = bookmark.gap
            recent = bookmark.start
            if bookmark.watch.start <= bookmark.start:
                recent = min(recent, max(at, self._horizon() - MARGIN_SECONDS))
            stop = recent if end is None else min(recent, max(at, end))
            for window in self._reader.read(min(at, stop), stop):
                self._calibrate(window)
                yield list(_name_events(window.events))
                bookmark.gap = begin, window.end
                if bookmark.checked:
                    self._commit()
                self._mind_the_time()
            if end is not None and end < bookmark.start:
                logger.info(
                    "%s: older history was read to %s; the rest waits for a run with a later "
                    "end_date",
                    self._name,
                    format_second(stop),
                )
                return
            yield from self._recent_history(recent)
            bookmark.start, bookmark.gap = begin, None
            self._commit()

    def _recent_history(self, start: int) -> Iterator[Sequence[Row]]:
        """Read the part of older history that has to be watched from now on, in one go."""
        bookmark = self._bookmark
        if start >= bookmark.start:
            return
        known: dict[int, tuple[bytes, ...]] = {}
        try:
            for window in self._reader.read(start, bookmark.start):
                self._calibrate(window)
                rows = list(_name_events(window.events))
                yield rows
                known |= _by_second(rows, since=start)
        except RateLimitError as error:
            if known:  # The next run gives these rows again, so this one did not succeed.
                raise TapError(str(error)) from None
            raise
        bookmark.watch.start = start
        bookmark.watch.replace(start, bookmark.start, known)

    def _horizon(self) -> int:
        """Give the second before which no event appears any more."""
        return int(self._now()) - self._late_seconds

    def _recent_past(self, end: int | None) -> Iterator[Sequence[Row]]:
        """Read on from the watermark; before that, look for late arrivals by count."""
        bookmark, watch = self._bookmark, self._bookmark.watch
        low = self._low_border()
        self._reader.expect(watch.counts, low)
        settled = int(self._now() - self._settle_seconds)
        end = settled if end is None else min(end, settled)
        # At least a second is read: it shows how much of the last one a range includes.
        start = min(bookmark.watermark, end - 1)
        if low is None:
            yield from self._read(watch.start, end)
            return
        if start <= low:
            return  # Nothing that is wanted can still appear.
        windows = self._reader.read(start, end)
        # Counted behind it, so that what appears meanwhile makes the count too large, if anything.
        first = next(windows)
        counted = self._reader.count(low, first.end + PADDING_SECONDS)
        if counted is not None:
            counted -= (self._shown(low, is_first=True) or 0) + len(first.events) + first.after
        if counted != watch.expected(low + 1, start):
            windows.close()
            if counted is None:
                yield from self._read(watch.start, start)
            else:
                yield from self._verify(low + 1, start, counted)
            windows = self._reader.read(first.end, end)
        yield from self._take(chain([first], windows))

    def _low_border(self) -> int | None:
        """Choose the second behind which late arrivals are asked for by count.

        Returns:
            None if what is known should be read again instead.
        """
        watch, watermark = self._bookmark.watch, self._bookmark.watermark
        # After a very long pause, retention may have deleted as many events as appeared late.
        if self._is_stale or watch.expected(watch.start, watermark) <= self._reader.few:
            return None
        low = watch.start - 1
        # What is final, but before the last event: that has to be shown again, too.
        final = range(watch.start, min(self._final_until, max(watch.counts)))
        if watch.start > self._bookmark.start and final:
            # One that is asked about has to fit a page, with its neighbours.
            low = min(
                final,
                key=lambda second: (not watch.is_quiet(second), watch.expected(second, second + 3)),
            )
        return None if self._shown(low, is_first=True) is None else low

    def _verify(self, start: int, end: int, counted: int) -> Iterator[Sequence[Row]]:
        """Compare the count of ``[start, end)`` with what is known; read again where it differs.

        What is known of a span changes only after it was counted, so that nothing that appears
        meanwhile can stand in for what appeared before.
        """
        watch, few = self._bookmark.watch, max(self._reader.few, 1)
        known = watch.expected(start, end)
        if known == counted:
            return
        # To find each that differs takes about two requests a halving.
        search = 2 * abs(counted - known) * math.log2(max(1, known / few))
        if known <= few * max(1, 2 * search) or end - start < 3:  # noqa: PLR2004 -- halves
            yield from self._read(start, end)
            return
        middle = self._middle(start, end)
        for part in ((start, middle), (middle, end)):
            number = self._count(*part)
            yield from self._read(*part) if number is None else self._verify(*part, number)

    def _count(self, start: int, end: int) -> int | None:
        """Ask how many events ``[start, end)`` has; None if that cannot be told exactly."""
        below = self._shown(start - 1, is_first=True)
        above = self._shown(end, is_first=False)
        if below is None or above is None:
            return None
        counted = self._reader.count(start - 1, end)
        return None if counted is None else counted - below - above

    def _shown(self, second: int, *, is_first: bool) -> int | None:
        """Give how many events Celonis shows of the first or last second that it is asked for."""
        watch, watermark = self._bookmark.watch, self._bookmark.watermark
        if second < watermark and watch.is_quiet(second):
            return 0
        border = second, is_first
        if border not in self._borders:
            self._borders[border] = self._reader.shown(second, is_first=is_first)
        return self._borders[border]

    def _middle(self, start: int, end: int) -> int:
        """Give a second in the middle of a span, behind and before none if there is one nearby."""
        watch, middle, nearby = self._bookmark.watch, (start + end) // 2, range((end - start) // 6)
        seconds = (middle + sign * offset for offset in nearby for sign in (1, -1))
        quiet = (each for each in seconds if watch.is_quiet(each - 1) and watch.is_quiet(each))
        return next(quiet, middle)

    def _read(self, start: int, end: int) -> Iterator[Sequence[Row]]:
        """Read a span and give what is new in it."""
        return self._take(self._reader.read(start, max(start, end)))

    def _take(self, windows: Iterable[Window]) -> Iterator[Sequence[Row]]:
        """Give what is new in windows, and know it from then on."""
        for window in windows:
            rows = list(_name_events(window.events))
            self._tell_deletions(window, rows)
            self._calibrate(window)
            yield self._new(rows)
            self._take_over(window, rows)
            if self._bookmark.checked:
                self._commit()
            # What is read again does not end a run, or no run might ever get further.
            if window.end > self._known_until:
                self._mind_the_time()

    def _mind_the_time(self) -> None:
        if self._time_is_up():
            raise _TimeIsUpError

    def _calibrate(self, window: Window) -> None:
        """See once, on the first contact, that a second asked for is the second answered."""
        if self._bookmark.checked or not window.events:
            return
        if not self._reader.contains(window.events[-1]):
            raise TapError(
                f"{self._name}: asked for the second of an event that Celonis had just shown, it "
                "shows nothing: it misreads the time range, so a complete copy cannot be made. "
                "Please report this."
            )
        self._bookmark.checked = True

    def _new(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Leave out what earlier runs emitted."""
        if not rows or _second(rows[0]) >= self._known_until:
            return rows
        watch, new, repeated = self._bookmark.watch, [], 0
        for second, group in groupby(rows, _second):
            members = list(group)
            if second >= self._known_until or second not in watch.counts:
                fresh = members
            elif second in watch.fingerprints:
                known = set(watch.fingerprints[second])
                fresh = [row for row in members if _fingerprint(row) not in known]
            else:
                # Too many events to know each by heart: by count only.
                fresh = [] if len(members) == watch.counts[second] else members
                repeated += min(len(fresh), watch.counts[second])
            if fresh and second < self._known_until:
                self._tell_of_lateness(second)
                self.late += len(fresh)
            new += fresh
        if repeated:
            logger.warning(
                "%s: about %d events are emitted again with the same event_id, since too many are "
                "recent to know each of them; lower late_arrival_seconds to avoid this",
                self._name,
                repeated,
            )
        return new

    def _tell_of_lateness(self, second: int) -> None:
        """Warn if events appear nearly as late as they may: others may well be later."""
        lateness = self._known_until + self._settle_seconds - second
        if lateness >= _NEARLY * self._late_seconds and not self._told_of_lateness:
            self._told_of_lateness = True
            logger.warning(
                "%s: an event appeared %d seconds after it happened, or more; what appears later "
                "than late_arrival_seconds (%d) is not looked for: raise it",
                self._name,
                lateness,
                self._late_seconds,
            )

    def _take_over(self, window: Window, rows: Sequence[Row]) -> None:
        bookmark, watch = self._bookmark, self._bookmark.watch
        start = max(window.start, watch.start)
        last = _second(rows[-1]) if rows else window.end
        if window.start >= self._known_until:
            # Of what is new, only the recent part is worth knowing, and the last event.
            start = max(start, min(self._horizon(), last) - MARGIN_SECONDS)
        watch.replace(start, window.end, _by_second(rows, since=start))
        if not bookmark.checked:
            return  # Nothing was seen yet: that is no proof that there is nothing.
        bookmark.watermark = max(bookmark.watermark, window.end)
        # Not sooner: the search for late arrivals compares with all that was known.
        if window.end > self._known_until:
            last = max(watch.counts, default=bookmark.watermark)
            last = max(last, int(self._now()) - _REMEMBERED_SECONDS)
            watch.forget(before=min(self._horizon(), bookmark.watermark, last))
        if watch.limit():
            logger.info("%s: too many recent events to know each; watched by count", self._name)

    def _tell_deletions(self, window: Window, rows: Sequence[Row]) -> None:
        """Warn if events that were read before are gone: on an audit log, that is news.

        Or bounds do not mean what they did; that is tried out again with the next event.
        """
        watch, start = self._bookmark.watch, max(window.start, self._bookmark.watch.start)
        if start >= self._known_until:
            return
        shown = Counter(map(_second, rows))
        known = [
            (number, shown[second])
            for second, number in watch.counts.items()
            if start <= second < window.end
        ]
        if any(now < before for before, now in known):
            logger.warning(
                "%s: events were deleted in Celonis: of %d that were read between %s and %s, "
                "%d are left",
                self._name,
                sum(before for before, _ in known),
                format_second(start),
                format_second(window.end),
                sum(min(before, now) for before, now in known),
            )
            if self._bookmark.checked and not self._is_stale:
                self._doubted, self._bookmark.checked = deepcopy(watch), False


def _fingerprint(row: Row) -> bytes:
    return bytes.fromhex(row.event_id[: 2 * FINGERPRINT_BYTES])


def _by_second(rows: Sequence[Row], *, since: int) -> dict[int, tuple[bytes, ...]]:
    """Give the fingerprints of rows, by second; rows ascend."""
    begin = bisect_left(rows, since, key=_second)
    return {
        second: tuple(map(_fingerprint, group)) for second, group in groupby(rows[begin:], _second)
    }


def _name_events(events: Sequence[Event]) -> Iterator[Row]:
    """Give each event its id; identical twins, which lie side by side, get one each."""
    last, ordinal = b"", 0
    for event in events:
        key = event.key
        ordinal = ordinal + 1 if key == last else 0
        last = key
        yield Row(event_id(key, ordinal=ordinal), event)
