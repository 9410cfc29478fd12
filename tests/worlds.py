"""Worlds to read in: a log, the way its server answers, and runs of the reader with their state.

In one process and without HTTP, so that thousands of worlds fit into a test run; the same server
code answers over real HTTP in the tests of the whole tap.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from tap_celonis_audit.answers import Look
from tap_celonis_audit.cursor import CursorReader
from tap_celonis_audit.errors import ParametersError
from tap_celonis_audit.follow import Follower
from tap_celonis_audit.keys import canonical
from tap_celonis_audit.pool import Pool, Ticket
from tap_celonis_audit.reader import Reader
from tap_celonis_audit.sandbox.api import Bounds, Empty, Order, Precision, Reading
from tap_celonis_audit.sandbox.clock import Clock, to_iso, to_ms
from tap_celonis_audit.sandbox.cursors import Cursors
from tap_celonis_audit.sandbox.log import Log
from tap_celonis_audit.sources import make_link, make_page
from tap_celonis_audit.state import Bookmark
from tap_celonis_audit.streams import AuditLogsStream
from tap_celonis_audit.streams.events import STALE_SECONDS, event_maker
from tap_celonis_audit.windows import BEGINNING, format_bound

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from tap_celonis_audit.answers import Event, Page
    from tap_celonis_audit.cursor import Link
    from tap_celonis_audit.follow import Row

T = TypeVar("T")

#: Requests in flight; the fixture `parallel` sets it.
PARALLEL = 1

TEAM = "acme.eu-1.celonis.cloud"
SETTLE = 120
LATE = 21_600
NOON = "2026-03-01T12:00:00Z"
NOON_S = to_ms(NOON) // 1000

ORDERS: tuple[Order, ...] = get_args(Order)
BOUNDS: tuple[Bounds, ...] = get_args(Bounds)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


def record(at_ms: int, name: object = "E") -> dict[str, Any]:
    return {
        "userId": "u (u@example.com)",
        "event": f"{name}",
        "timestamp": to_iso(at_ms),
        "message": {"id": f"{name}"},
        "ipAddress": None,
    }


@dataclass
class World:
    """A log and the server before it."""

    now: str = NOON
    order: Order = "ascending"
    bounds: Bounds = "inclusive"
    precision: Precision = "millisecond"
    count: str = "exact"
    empty: Empty = "204"
    max_page_size: int = 200
    reach: int | None = None
    """Records of a range that pages can show, however many there are."""
    ignore: frozenset[str] = frozenset()
    shift_hours: float = 0.0
    retention_days: int = 0
    seed: int = 0
    cursors: Cursors = field(default_factory=Cursors)
    """How pages with a cursor are answered."""
    hook: Callable[[World], None] | None = None
    """Called before each request: may change the world."""
    requests: int = 0
    clock: Clock = field(init=False)
    log: Log = field(init=False)

    def __post_init__(self) -> None:
        self.clock = Clock(to_ms(self.now))
        self.log = Log(self.clock, retention_days=self.retention_days)
        self.random = random.Random(self.seed)

    @classmethod
    def by_chance(cls, chance: random.Random, *, seed: int) -> World:
        """Make one whose server answers in some way."""
        return cls(
            order=chance.choice(ORDERS[:3]),
            bounds=chance.choice(BOUNDS),
            precision=chance.choice(PRECISIONS),
            empty=chance.choice(["204", "list"]),
            seed=seed,
        )

    @property
    def now_s(self) -> int:
        return self.clock.now_ms // 1000

    def fetch(self, first: int, last: int, number: int, size: int) -> Page:
        if self.hook:
            self.hook(self)
        self.requests += 1
        reading = self.reading()
        query = {
            "from": format_bound(first),
            "to": format_bound(last),
            "pageNumber": str(number),
            "pageSize": str(size),
        }
        answer = reading.answer(self.log, query, self.random)
        assert answer.status in {200, 204}, answer.body
        body = json.loads(answer.body) if answer.body else None
        page = make_page(body, size=size, path="/audit", weight=len(answer.body))
        if self.reach is not None:
            del page.records[max(0, self.reach - number * size) :]
        return page

    def reading(self) -> Reading:
        return Reading(
            order=self.order,
            bounds=self.bounds,
            precision=self.precision,
            empty=self.empty,
            max_page_size=self.max_page_size,
            count=self.count,
            ignore=self.ignore,
            shift_hours=self.shift_hours,
        )

    def fetch_link(self, span: tuple[int, int] | None, token: str | None, limit: int) -> Link:
        if self.hook:
            self.hook(self)
        self.requests += 1
        query = {"limit": str(limit)}
        if token is not None:
            query["pageToken"] = token
        elif span is not None:
            query |= {"from": format_bound(span[0]), "to": format_bound(span[1])}
        answer = self.cursors.answer(self.log, query, self.reading(), self.clock.now_ms)
        if answer.status == HTTPStatus.BAD_REQUEST:
            raise ParametersError(answer.body.decode())
        assert answer.status in {200, 204}, answer.body
        body = json.loads(answer.body) if answer.body else None
        return make_link(body, path="/v2/audit", weight=len(answer.body))

    def fill(self, number: int, start_s: int, end_s: int, *, name: object = "E") -> None:
        """Let events happen at random milliseconds."""
        self.log.extend(
            record(self.random.randrange(start_s * 1000, end_s * 1000), f"{name}-{index}")
            for index in range(number)
        )

    def tie(self, number: int, at_ms: int, *, name: object = "T", twins: bool = False) -> None:
        """Let events happen in one millisecond."""
        self.log.extend(
            record(at_ms, name if twins else f"{name}-{index}") for index in range(number)
        )

    def truth(self, start_s: int, end_s: int) -> Counter[bytes]:
        """Count everything that was ever visible in a range."""
        return Counter(
            canonical(each)
            for each in self.log.ever_visible
            if start_s <= to_ms(each["timestamp"]) // 1000 < end_s
        )


class Disorder(Pool):
    """Answers in random order what a real pool would have in flight, the same in every test run."""

    def __init__(self, parallel: int, chance: random.Random) -> None:
        super().__init__(parallel)
        self._chance = chance
        self._waiting: list[Ticket[Any]] = []

    @override
    def submit(self, call: Callable[[], T], *, urgent: bool = False) -> Ticket[T]:
        ticket = Ticket(call)
        self._waiting.insert(0 if urgent else len(self._waiting), ticket)
        return ticket

    @override
    def take(self, ticket: Ticket[T], meanwhile: Callable[[], object] = lambda: None) -> T:
        while True:
            meanwhile()
            if ticket.done:
                return ticket.answer
            for each in self.next_ones(self._waiting[: self.parallel]):
                self._waiting.remove(each)
                self.begun += not each.cancelled
                each.run()

    def next_ones(self, in_flight: list[Ticket[Any]]) -> list[Ticket[Any]]:
        """Choose which are answered next."""
        return [self._chance.choice(in_flight)]


class Rounds(Disorder):
    """Answers all that is in flight at once, and counts how often."""

    rounds = 0

    @override
    def submit(self, call: Callable[[], T], *, urgent: bool = False) -> Ticket[T]:
        return super().submit(call)  # In the order in which they are asked for.

    @override
    def next_ones(self, in_flight: list[Ticket[Any]]) -> list[Ticket[Any]]:
        self.rounds += 1
        return in_flight


#: Hashing is most of the work of reading; what was hashed once in a test run is remembered.
_events: dict[tuple[str, str], Event] = {}
_make_event = event_maker(
    team=TEAM, stream="audit_logs", identity_fields=AuditLogsStream.identity_fields
)


def parse(each: dict[str, Any]) -> Event:
    known = str(each["timestamp"]), str(each["event"])
    if known not in _events:
        _events[known] = _make_event(each)
    return _events[known]


@dataclass
class Copy:
    """What the reader's runs made of a world: every row emitted, and the last state."""

    world: World
    start: int = BEGINNING
    end: int | None = None
    settle: int = SETTLE
    late: int = LATE
    page_size: int = 200
    by_cursor: bool = False
    parallel: int = field(default_factory=lambda: PARALLEL)
    windows: int | None = None
    """The run may take as long as this many windows."""
    rows: list[Row] = field(default_factory=list)
    state: dict[str, str] = field(default_factory=dict)
    reader: Reader | CursorReader = field(init=False)
    follower: Follower = field(init=False)
    peeked: bool = False
    requests: int = 0

    def look(self) -> Look:
        """Make contact, as the tap does that knows no log yet."""
        now = self.world.now_s
        end = now if self.end is None else min(now, self.end)
        return Look(self.start, end, self.world.fetch(self.start, end, 0, self.page_size))

    def steps(self) -> Generator[Sequence[Row]]:
        """Run, handing out the rows as they come; the state follows behind them."""
        now, asked, self.peeked = float(self.world.now_s), self.world.requests, False
        look = None if self.state or self.by_cursor else self.look()

        def clock() -> float:
            # Celonis' clock is read from its first answer, and asked for if there was none.
            self.peeked |= self.world.requests == asked
            return now

        bookmark = Bookmark.from_state(
            self.state, team=TEAM, start=self.start, late_seconds=self.late, now=now
        ) or Bookmark.fresh(TEAM, self.start)

        committed = 0

        def commit() -> None:
            nonlocal committed
            committed += 1
            self.state = json.loads(json.dumps(bookmark.to_state()))

        pool = Disorder(self.parallel, self.world.random) if self.parallel > 1 else None
        self.reader = (
            CursorReader(
                self.world.fetch_link, parse, name="audit_logs", limit=self.page_size, pool=pool
            )
            if self.by_cursor
            else Reader(
                self.world.fetch,
                parse,
                name="audit_logs",
                page_size=self.page_size,
                pool=pool,
                look=look,
            )
        )
        self.follower = Follower(
            self.reader,
            bookmark,
            commit=commit,
            now=clock,
            settle_seconds=self.settle,
            late_seconds=self.late,
            is_stale=now - bookmark.watch.start > STALE_SECONDS,
            time_is_up=lambda: self.windows is not None and committed >= self.windows,
            name="audit_logs",
        )
        yield from self.follower.rows(start=self.start, end=self.end)
        commit()

    def run(self) -> list[Row]:
        """Run to the end; give the new rows."""
        before, requests = len(self.rows), self.world.requests
        for rows in self.steps():
            self.rows += rows
        self.requests = self.world.requests - requests + self.peeked
        return self.rows[before:]

    def crash(self, after: int) -> None:
        """Run until so many rows were written, and no further."""
        steps = self.steps()
        for rows in steps:
            for row in rows:
                if after == 0:
                    return
                self.rows.append(row)
                after -= 1

    @property
    def records(self) -> Counter[bytes]:
        return Counter(canonical(row.event.record) for row in self.rows)

    @property
    def ids(self) -> list[str]:
        return [row.event_id for row in self.rows]

    def check(self, *, end: int | None = None) -> None:
        """Compare with the oracle: nothing lost, nothing invented, nothing twice."""
        settled = (self.world.now_s - self.settle) if end is None else end
        truth = self.world.truth(self.start, settled)
        lost, extra = truth - self.records, self.records - truth
        assert not lost, f"{lost.total()} of {truth.total()} lost"
        assert not extra, f"{extra.total()} doubled or invented"
        assert len(self.ids) == len(set(self.ids)), "an event_id stands for two events"
