"""A log as the API sees it: events in time order, some not visible yet, some not any more."""

from __future__ import annotations

import heapq
import json
from array import array
from bisect import bisect_left, bisect_right
from itertools import compress
from operator import itemgetter
from random import Random
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from tap_celonis_audit.sandbox.clock import DAY_MS, SECOND_MS, Clock, to_iso, to_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Record: TypeAlias = dict[str, Any]

# An event is its JSON, or the day and the place in it where the JSON is found.
_Event: TypeAlias = "bytes | tuple[Day, int]"

# One insertion moves the tail of an array; from about this many on, sorting once is cheaper.
_INSERT_AT_MOST = 64

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def render(record: Record) -> bytes:
    """Render a record as the JSON that the API sends."""
    text = _encode(record)
    try:
        return text.encode()
    except UnicodeEncodeError:  # A lone surrogate can travel in JSON as an escape only.
        return json.dumps(record, separators=(",", ":")).encode()


class EventSource(Protocol):
    """What the server needs of a log: events in ascending time order, addressed by position."""

    def select(self, start_ms: int, stop_ms: int, /) -> range:
        """Return the positions of the visible events with ``start_ms <= time < stop_ms``."""

    def time_at(self, position: int, /) -> int:
        """Return the time of one event in milliseconds since 1970."""

    def bodies(self, positions: Sequence[int], /) -> Sequence[bytes]:
        """Return the events at these positions, each as rendered JSON."""


class Day(Protocol):
    """A calendar day of a log, in time order."""

    @property
    def times(self) -> Sequence[int]:
        """The times of the events in milliseconds since 1970."""

    @property
    def bodies(self) -> Sequence[bytes]:
        """The events, each as rendered JSON; not asked for before somebody reads them."""


class Producer(Protocol):
    """Where a log's events come from: the history of a team."""

    def day(self, day: int, /) -> Day:
        """Return the events of a calendar day; days count from 1970."""

    def improvise(self, rng: Random, at_ms: int, /) -> bytes:
        """Return one plausible event at a time."""

    def deletion(self, at_ms: int, /) -> bytes | None:
        """Return the event that retention leaves behind in this log, if it leaves one."""


class Log:
    """An event log in memory.

    Args:
        clock: Decides what is visible, and guards the log by its lock.
        producer: Fills the past, invents new events, and goes on working if the clock runs.
        days: Whole calendar days of history before today; 0 is an empty log.
        retention_days: What is older vanishes as the clock passes midnight; 0 keeps everything.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        producer: Producer | None = None,
        days: int = 0,
        retention_days: int = 0,
    ) -> None:
        self._clock = clock
        self._producer = producer
        self._retention_days = retention_days
        self._times: array[int] = array("q")
        self._events: list[_Event] = []
        # (visible at, tie breaker, time, event): events that the API does not show yet.
        self._pending: list[tuple[int, int, int, _Event]] = []
        self._gone: list[_Event] = []
        self._serial = 0
        self._caught_up_ms = clock.now_ms
        today = clock.now_ms // DAY_MS
        self._swept_day = today
        # The past is made up when somebody asks for it: most readers do not ask for every log.
        self._is_without_past = days > 0
        self._first_day = today - (min(days, retention_days) if retention_days else days)
        if days:
            to_iso(self._first_day * DAY_MS)  # Too long ago is better said now than then.

    # What the server asks.

    def select(self, start_ms: int, stop_ms: int, /) -> range:
        """Return the positions of the visible events with ``start_ms <= time < stop_ms``."""
        with self._clock.lock:
            self._settle()
            return range(bisect_left(self._times, start_ms), bisect_left(self._times, stop_ms))

    def time_at(self, position: int, /) -> int:
        """Return the time of one event in milliseconds since 1970."""
        return self._times[position]

    def bodies(self, positions: Sequence[int], /) -> Sequence[bytes]:
        """Return the events at these positions, each as rendered JSON."""
        return [_body(self._events[position]) for position in positions]

    # What a test or a demo does.

    def __len__(self) -> int:
        with self._clock.lock:
            self._settle()
            return len(self._times)

    @property
    def visible(self) -> list[Record]:
        """The records that the API shows now, in time order."""
        with self._clock.lock:
            self._settle()
            return [_record(event) for event in self._events]

    @property
    def ever_visible(self) -> list[Record]:
        """Every record that the API has shown at any time, as a multiset: the oracle of a test."""
        with self._clock.lock:
            self._settle()
            return [_record(event) for event in self._gone + self._events]

    def warm_up(self) -> None:
        """Render what is rendered when first read, so that a benchmark measures only its reader."""
        with self._clock.lock:
            self._settle()
            self.bodies(range(len(self._events)))

    def add(self, record: Record, *, visible_in: float = 0.0, at_ms: int | None = None) -> None:
        """Add one event.

        Args:
            record: The record as the API sends it.
            visible_in: Seconds from now until the API shows it.
            at_ms: The server's idea of its time, when its own "timestamp" is missing or odd.

        Raises:
            ValueError: The time is neither given nor readable from the record.
        """
        self._insert([(_time_of(record, at_ms), render(record))], visible_in=visible_in)

    def extend(self, records: Iterable[Record], *, visible_in: float = 0.0) -> None:
        """Add many events at once."""
        self._insert(
            [(_time_of(record, None), render(record)) for record in records],
            visible_in=visible_in,
        )

    def remove(self, which: Record | Callable[[Record], bool]) -> int:
        """Remove events, shown or not yet, and return how many.

        Args:
            which: A predicate removes every record it is true for; a record removes one that is
                spelt like it, so that one of two identical twins can go.
        """
        with self._clock.lock:
            self._settle()
            if isinstance(which, dict):
                return self._remove_one(which)
            return self._remove_where(which)

    def happen(
        self, count: int, *, within_seconds: float = 60.0, visible_in: float = 0.0
    ) -> list[Record]:
        """Let plausible events happen at distinct times in the seconds before now.

        Returns:
            The new records, in time order.
        """
        now_ms = self._clock.now_ms
        return self.happen_between(
            now_ms - round(within_seconds * SECOND_MS), now_ms, count=count, visible_in=visible_in
        )

    def happen_between(
        self, start_ms: int, stop_ms: int, *, count: int, visible_in: float = 0.0
    ) -> list[Record]:
        """Let plausible events happen at distinct milliseconds of ``[start_ms, stop_ms)``.

        Raises:
            ValueError: The interval has fewer milliseconds than events are wanted.
            RuntimeError: The log belongs to no team.
        """
        if self._producer is None:
            raise RuntimeError("this log has no team that could do something")
        if not 0 <= count <= stop_ms - start_ms:
            raise ValueError(f"{count} events do not fit into {stop_ms - start_ms} milliseconds")
        with self._clock.lock:
            self._serial += 1
            rng = Random(f"happen/{start_ms}/{stop_ms}/{self._serial}")
            events: list[tuple[int, _Event]] = [
                (at_ms, self._producer.improvise(rng, at_ms))
                for at_ms in sorted(rng.sample(range(start_ms, stop_ms), count))
            ]
            self._insert(events, visible_in=visible_in)
        return [_record(event) for _, event in events]

    # Keeping house; the caller holds the lock.

    def _settle(self) -> None:
        """Bring the log up to the clock: work done, events due, retention."""
        if self._is_without_past:
            self._is_without_past = False
            self._make_past()
        now_ms = self._clock.now_ms
        if self._clock.running and now_ms > self._caught_up_ms:
            self._produce(self._caught_up_ms, now_ms)
        self._caught_up_ms = max(self._caught_up_ms, now_ms)
        due: list[tuple[int, _Event]] = []
        while self._pending and self._pending[0][0] <= now_ms:
            due.append(heapq.heappop(self._pending)[2:])
        if due:
            self._show(due)
        today = now_ms // DAY_MS
        if today > self._swept_day:
            swept_day, self._swept_day = self._swept_day, today
            if self._retention_days:
                self._expire((today - self._retention_days) * DAY_MS)
                for day in range(max(swept_day, today - self._retention_days) + 1, today + 1):
                    self._leave_trace(day)

    def _make_past(self) -> None:
        """Take over what the team did before the log's first now."""
        self._produce(self._first_day * DAY_MS, self._caught_up_ms)
        if self._retention_days:
            for day in range(self._first_day + 1, self._swept_day + 1):
                self._leave_trace(day)

    def _produce(self, start_ms: int, stop_ms: int) -> None:
        """Take over what the team did in ``[start_ms, stop_ms)``."""
        if self._producer is None:
            return
        events: list[tuple[int, _Event]] = []
        for number in range(start_ms // DAY_MS, (stop_ms - 1) // DAY_MS + 1):
            day = self._producer.day(number)
            first, stop = bisect_left(day.times, start_ms), bisect_left(day.times, stop_ms)
            events += [(day.times[place], (day, place)) for place in range(first, stop)]
        self._show(events)

    def _leave_trace(self, day: int) -> None:
        """Note that retention deleted events at the midnight that begins a day."""
        at_ms = day * DAY_MS
        body = self._producer.deletion(at_ms) if self._producer else None
        if body is not None:
            self._show([(at_ms, body)])

    def _expire(self, before_ms: int) -> None:
        """Delete every event before a time."""
        end = bisect_left(self._times, before_ms)
        self._gone += self._events[:end]
        del self._times[:end], self._events[:end]

    def _insert(self, events: Sequence[tuple[int, _Event]], *, visible_in: float) -> None:
        with self._clock.lock:
            self._settle()
            if visible_in <= 0:
                self._show(events)
                return
            visible_at = self._clock.now_ms + round(visible_in * SECOND_MS)
            for at_ms, event in events:
                self._serial += 1
                heapq.heappush(self._pending, (visible_at, self._serial, at_ms, event))

    def _show(self, events: Sequence[tuple[int, _Event]]) -> None:
        """Insert events into the visible part; equal times keep the order of arrival."""
        events = sorted(events, key=itemgetter(0))
        if not self._times or (events and events[0][0] >= self._times[-1]):
            self._times.extend(at_ms for at_ms, _ in events)
            self._events.extend(event for _, event in events)
        elif len(events) <= _INSERT_AT_MOST:
            for at_ms, event in events:
                position = bisect_right(self._times, at_ms)
                self._times.insert(position, at_ms)
                self._events.insert(position, event)
        else:
            merged = [*zip(self._times, self._events, strict=True), *events]
            merged.sort(key=itemgetter(0))
            self._times = array("q", [at_ms for at_ms, _ in merged])
            self._events = [event for _, event in merged]

    def _remove_where(self, predicate: Callable[[Record], bool]) -> int:
        gone = [predicate(_record(event)) for event in self._events]
        self._gone += compress(self._events, gone)
        kept = [not removed for removed in gone]
        self._times = array("q", compress(self._times, kept))
        self._events = list(compress(self._events, kept))
        waiting = [entry for entry in self._pending if not predicate(_record(entry[3]))]
        removed = sum(gone) + len(self._pending) - len(waiting)
        self._pending = waiting
        heapq.heapify(self._pending)
        return removed

    def _remove_one(self, record: Record) -> int:
        body = render(record)
        for position, event in enumerate(self._events):
            if _body(event) == body:
                self._gone.append(self._events.pop(position))
                del self._times[position]
                return 1
        for index, entry in enumerate(self._pending):
            if _body(entry[3]) == body:
                del self._pending[index]
                heapq.heapify(self._pending)
                return 1
        return 0


def _body(event: _Event) -> bytes:
    if isinstance(event, bytes):
        return event
    day, place = event
    return day.bodies[place]


def _record(event: _Event) -> Record:
    record: Record = json.loads(_body(event))
    return record


def _time_of(record: Record, at_ms: int | None) -> int:
    """Return the server's idea of a record's time."""
    if at_ms is not None:
        return at_ms
    return to_ms(str(record.get("timestamp")))
