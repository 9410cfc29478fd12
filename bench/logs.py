"""Logs of any length for measurements: what the sandbox's teams do, held ready to be sent."""

from __future__ import annotations

import json
from array import array
from bisect import bisect_left
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from operator import itemgetter
from typing import TYPE_CHECKING

from tap_celonis_audit.sandbox.clock import DAY_MS, to_iso, to_ms
from tap_celonis_audit.sandbox.history import AuditHistory
from tap_celonis_audit.sandbox.log import render

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.peers.peer import Record

NOW = "2026-03-01T12:00:00Z"
#: A company with more events than this in two years has several of the sandbox's teams.
EVENTS_A_TEAM = 75_000
_SQUEEZED_MS = 4 * 3_600_000


@dataclass(frozen=True, slots=True)
class HeldLog:
    """A log in memory; see `EventSource` of the sandbox.

    Attributes:
        times: Milliseconds since 1970, ascending.
        events: The records as JSON.
    """

    times: array[int]
    events: list[bytes]

    def __len__(self) -> int:
        """Count the events."""
        return len(self.events)

    def select(self, start_ms: int, stop_ms: int, /) -> range:
        """Return the positions of the events with ``start_ms <= time < stop_ms``."""
        return range(bisect_left(self.times, start_ms), bisect_left(self.times, stop_ms))

    def time_at(self, position: int, /) -> int:
        """Return the time of one event in milliseconds since 1970."""
        return self.times[position]

    def bodies(self, positions: Sequence[int], /) -> list[bytes]:
        """Return the events at these positions, each as rendered JSON."""
        return [self.events[position] for position in positions]

    @property
    def records(self) -> Iterator[Record]:
        """The records, parsed."""
        return map(json.loads, self.events)

    @property
    def bounds(self) -> tuple[datetime, datetime]:
        """The midnights before the first event and after the last one."""
        days = self.times[0] // DAY_MS, self.times[-1] // DAY_MS + 1
        start, end = (datetime.fromtimestamp(day * DAY_MS / 1_000, UTC) for day in days)
        return start, end


def even(number: int) -> HeldLog:
    """Give the last events of a company: nights, weekends, holidays, nightly jobs, mass changes."""
    teams = -(-number // EVENTS_A_TEAM)
    shares = [number // teams + (team < number % teams) for team in range(teams)]
    with ProcessPoolExecutor() as pool:
        parts = pool.map(_last_events, range(1, teams + 1), shares)
        return _held([event for part in parts for event in part])


def uneven(number: int) -> HeldLog:
    """Give the same, but half of it happens in four hours: a migration, an incident, a script."""
    log = even(number)
    first, stop = number // 4, number // 4 + number // 2
    start = log.times[first]
    squeezed = []
    for position in range(first, stop):
        at_ms = start + (position - first) * _SQUEEZED_MS // (stop - first)
        record = json.loads(log.events[position])
        squeezed.append((at_ms, render({**record, "timestamp": to_iso(at_ms)})))
    pairs = list(zip(log.times, log.events, strict=True))
    return _held([*pairs[:first], *squeezed, *pairs[stop:]])


def _last_events(team: int, number: int) -> list[tuple[int, bytes]]:
    """Give the last events of a team before today."""
    history, today = AuditHistory(team), to_ms(NOW) // DAY_MS
    events: list[tuple[int, bytes]] = []
    for day in map(history.day, count(today - 1, -1)):
        events += reversed(list(zip(day.times, day.bodies, strict=True)))
        if len(events) >= number:
            break
    return events[:number]


def _held(events: list[tuple[int, bytes]]) -> HeldLog:
    events.sort(key=itemgetter(0))
    return HeldLog(array("q", (at for at, _ in events)), [body for _, body in events])
