"""The worlds that every reader is put into: what happens in a team, and how its API behaves.

A world is a fixed story. What happens, and when the API begins to show it, is settled before the
first request; so all readers face the same events, however many requests they need. Each request
takes `REQUEST_SECONDS` on the world's clock, and so the log moves while it is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import groupby
from operator import itemgetter
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from tap_celonis_audit.sandbox import Record, Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

SEED = 1
REQUEST_SECONDS = 0.7
HISTORY_DAYS = 10
#: Runs that a schedule starts, an hour apart.
HOURLY_RUNS = 3
#: The last run comes so long after the last hourly one that every event is due and settled.
FINAL_RUN_AFTER = timedelta(hours=7)
#: In real time; a world is over long before.
MAX_MINUTES = 15
#: No event is shown later than this after it happened.
LATEST = timedelta(hours=5)

_FIRST_RUN = datetime(2026, 3, 3, 9, tzinfo=UTC)
_BEFORE_MIDNIGHT = datetime(2026, 3, 3, 23, 59, 55, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Happening(NamedTuple):
    """An event, and when the API begins to show it."""

    at_ms: int
    shown_ms: int
    record: Record


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A story, and the API that tells it.

    Attributes:
        title: What is special, in a few words.
        api: How the API behaves: arguments of the sandbox.
        twists: What happens on top of the team's ordinary work, applied in this order.
        first_run: When the first scheduled run starts.
    """

    title: str
    api: Mapping[str, Any]
    twists: tuple[Twist, ...] = ()
    first_run: datetime = _FIRST_RUN

    @property
    def runs(self) -> list[datetime]:
        """When the reader is started."""
        hourly = [self.first_run + timedelta(hours=hour) for hour in range(HOURLY_RUNS)]
        return [*hourly, hourly[-1] + FINAL_RUN_AFTER]

    @property
    def start(self) -> datetime:
        """A time before the first event."""
        midnight = self.first_run.replace(hour=0, minute=0, second=0)
        return midnight - timedelta(days=HISTORY_DAYS + 1)

    def sandbox(self) -> Sandbox:
        """Set the world up, at the time of the first run."""
        sandbox = Sandbox(
            seed=SEED,
            days=0,
            now=_iso(to_ms(self.first_run)),
            max_minutes=MAX_MINUTES,
            hook=_take_time,
            **self.api,
        )
        now_ms = sandbox.clock.now_ms
        for shown_ms, group in groupby(self.story(), key=lambda each: max(now_ms, each.shown_ms)):
            records = [each.record for each in group]
            sandbox.audit.extend(records, visible_in=(shown_ms - now_ms) / 1_000)
        return sandbox

    def story(self) -> list[Happening]:
        """Tell what happens, in the order in which it is shown."""
        rng = Random(f"{SEED}/{self.title}")  # noqa: S311 - seeded randomness, not secrecy
        happenings = [Happening(ms, ms, record) for ms, record in _ordinary_work(self.first_run)]
        for twist in (busy_day, *self.twists):
            happenings = list(twist(happenings, self.runs[:-1], rng))
        return sorted(happenings, key=itemgetter(1, 0))


if TYPE_CHECKING:
    Twist = Callable[[list[Happening], list[datetime], Random], Iterable[Happening]]


def to_ms(moment: datetime) -> int:
    """Give a time in milliseconds since 1970."""
    return (moment - _EPOCH) // _MILLISECOND


def _iso(ms: int) -> str:
    moment = _EPOCH + ms * _MILLISECOND
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ms % 1_000:03d}Z"


def _take_time(sandbox: Sandbox, _: object) -> None:
    sandbox.clock.advance(seconds=REQUEST_SECONDS)


@cache
def _ordinary_work(first_run: datetime) -> list[tuple[int, Record]]:
    """Take the audit log of the sandbox's team until shortly after the last hourly run."""
    end = first_run + timedelta(hours=HOURLY_RUNS - 1, minutes=5)
    with Sandbox(seed=SEED, days=HISTORY_DAYS, now=_iso(to_ms(end))) as team:
        return [(_at_ms(record), record) for record in team.audit.visible]


def _at_ms(record: Record) -> int:
    return to_ms(datetime.fromisoformat(record["timestamp"]))


def _some_work(happenings: list[Happening], moments: Iterable[int], rng: Random) -> list[Happening]:
    """Repeat events of the past, each at most once, at the given milliseconds."""
    moments = list(moments)
    models = rng.sample(happenings, len(moments))
    return [
        Happening(ms, ms, {**model.record, "timestamp": _iso(ms)})
        for ms, model in zip(moments, models, strict=True)
    ]


def busy_day(happenings: list[Happening], runs: list[datetime], rng: Random) -> Iterator[Happening]:
    """On the day of the runs, 100 more events happen every hour."""
    yield from happenings
    start, end = to_ms(runs[0] - LATEST), to_ms(runs[-1])
    number = (end - start) // 36_000
    yield from _some_work(happenings, sorted(rng.sample(range(start, end), number)), rng)


def bulk_changes(
    happenings: list[Happening], runs: list[datetime], rng: Random
) -> Iterator[Happening]:
    """Half an hour before each run, 500 permissions change within three milliseconds."""
    yield from happenings
    for run in runs:
        start = to_ms(run) - 1_800_000
        yield from _some_work(happenings, (start + rng.randrange(3) for _ in range(500)), rng)


def busy_while_read(
    happenings: list[Happening], runs: list[datetime], rng: Random
) -> Iterator[Happening]:
    """From the start of each run, five events happen every second for two minutes."""
    yield from happenings
    for run in runs:
        start = to_ms(run)
        yield from _some_work(
            happenings, sorted(rng.sample(range(start, start + 120_000), 600)), rng
        )


def jobs_on_the_hour(
    happenings: list[Happening], runs: list[datetime], rng: Random
) -> Iterator[Happening]:
    """Scheduled jobs start when the readers do: 100 events in the four seconds around each run."""
    yield from happenings
    for run in runs:
        start = to_ms(run) - 2_000
        yield from _some_work(happenings, sorted(rng.sample(range(start, start + 4_000), 100)), rng)


def late_arrivals(
    happenings: list[Happening], runs: list[datetime], rng: Random
) -> Iterator[Happening]:
    """Every seventh event is shown only minutes or hours after it happened."""
    first, latest_s = to_ms(runs[0] - LATEST), int(LATEST.total_seconds())
    for each in happenings:
        if each.at_ms > first and rng.random() < 1 / 7:
            # As many between one minute and ten as between half an hour and five hours.
            delay_s = 60 * (latest_s / 60) ** rng.random()
            yield each._replace(shown_ms=each.at_ms + round(delay_s * 1_000))
        else:
            yield each


def twins(happenings: list[Happening], _: list[datetime], rng: Random) -> Iterator[Happening]:
    """Every tenth event happens two to four times in the same millisecond, alike in all fields."""
    for each in happenings:
        yield from [each] * (rng.randint(2, 4) if rng.random() < 1 / 10 else 1)


#: What is older is deleted at midnight: in these worlds, two days at once.
_RETENTION = {"retention_days": HISTORY_DAYS - 1}

WORLDS = (
    World(title="Ordinary team, oldest first", api={}),
    World(title="Ordinary team, newest first", api={"order": "descending"}),
    World(
        title="Bulk changes: ties come in another order each time",
        api={"order": "unstable"},
        twists=(bulk_changes,),
    ),
    World(
        title="The log grows while it is read, newest first",
        api={"order": "descending"},
        twists=(busy_while_read,),
    ),
    World(title="Late arrivals: shown up to five hours late", api={}, twists=(late_arrivals,)),
    World(title="Identical twins", api={}, twists=(twins,)),
    World(
        title="Bounds cut to the second, inclusive",
        api={"precision": "second"},
        twists=(jobs_on_the_hour,),
    ),
    World(
        title="Bounds cut to the second, exclusive",
        api={"precision": "second", "bounds": "exclusive"},
        twists=(jobs_on_the_hour,),
    ),
    World(
        title="Retention deletes the oldest days while they are read",
        api=_RETENTION,
        first_run=_BEFORE_MIDNIGHT,
    ),
    World(
        title="All of it together, oldest first",
        api={"order": "unstable", "precision": "second", "bounds": "exclusive", **_RETENTION},
        twists=(bulk_changes, busy_while_read, jobs_on_the_hour, twins, late_arrivals),
        first_run=_BEFORE_MIDNIGHT,
    ),
    World(
        title="All of it together, newest first",
        api={"order": "descending", "precision": "second", **_RETENTION},
        twists=(bulk_changes, busy_while_read, jobs_on_the_hour, twins, late_arrivals),
        first_run=_BEFORE_MIDNIGHT,
    ),
)
