"""A run without news takes three requests a stream at most, whatever the log and the last run."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest
from outputs import run_tap
from worlds import LATE, NOON, NOON_S, SETTLE, Copy, World, record

from tap_celonis_audit.sandbox import Sandbox
from tap_celonis_audit.tap import TapCelonisAudit
from tap_celonis_audit.windows import BEGINNING

if TYPE_CHECKING:
    from collections.abc import Callable

MINUTE, HOUR, DAY = 60, 3_600, 86_400
END = NOON_S - SETTLE
MOST_REQUESTS = 3
#: A longer soak: make soak
SEEDS = range(max(24, int(os.environ.get("SOAK", "0")) // 20))


def steady(world: World, start: int, end: int, *, most: int) -> None:
    """Let something happen in every second."""
    per_second = world.random.randint(1, most)
    world.log.extend(
        record(second * 1000 + world.random.choice([0, 1, 500, 999]), f"{second}-{each}")
        for second in range(start, end)
        for each in range(per_second)
    )


def nothing(_: World, *, most: int) -> None:
    assert most


def few(world: World, *, most: int) -> None:
    world.fill(world.random.randint(most, 4 * most), NOON_S - 5 * HOUR, NOON_S)


def many(world: World, *, most: int) -> None:
    ago = world.random.choice([1, 6, 8, 30]) * HOUR
    world.fill(world.random.randint(100, 100 * most), NOON_S - ago, NOON_S)


def busy(world: World, *, most: int) -> None:
    steady(world, END - world.random.choice([100, 700]), END + 3, most=most)


def always_busy(world: World, *, most: int) -> None:
    steady(world, END - LATE - 2_000, END + 3, most=min(most, 2))


def bursts(world: World, *, most: int) -> None:
    """Let bursts begin and end around both ends of what is watched."""
    chance = world.random
    for _ in range(chance.randint(1, 8)):
        ago = chance.choice([1, 2, chance.randint(1, 150), LATE + chance.randrange(1_200)])
        steady(world, END - ago, END - ago + chance.randint(1, 150), most=most // 2)


def bursts_among_many(world: World, *, most: int) -> None:
    many(world, most=most)
    bursts(world, most=most)


SHAPES: list[Callable[..., None]] = [
    nothing,
    few,
    many,
    busy,
    always_busy,
    bursts,
    bursts_among_many,
]


def any_run(copy: Copy, chance: random.Random) -> None:
    """Run, the way a run may end: well, in time, at an end date, or not at all."""
    how = chance.choice(["well", "well", "killed", "in time", "at an end"])
    if how == "killed":
        copy.crash(chance.randrange(200))
    elif how == "in time":
        copy.windows = 1
        copy.run()
        copy.windows = None
    elif how == "at an end":
        copy.end = NOON_S - chance.choice([HOUR, HOUR // 2, 200])
        copy.run()
        copy.end = None
    copy.run()


def is_excused(copy: Copy) -> bool:
    """Tell whether the seconds around the end of the last run hold a page of events, or all.

    Or whether retention may have deleted what was watched.
    """
    if copy.follower._is_stale:
        return True
    end, world = copy.follower._bookmark.watermark, copy.world
    most = min(copy.page_size, world.truth(BEGINNING, end + 3).total())
    return world.truth(end - 6, end + 3).total() >= most


@pytest.mark.parametrize("shape", SHAPES)
def test_in_any_world(shape: Callable[..., None]) -> None:
    for seed in SEEDS[:: 8 if shape is always_busy else 1]:
        chance = random.Random(seed)
        world = World.by_chance(chance, seed=seed)
        page_size = chance.choice([20, 50, 100, 199, 200, 200])
        shape(world, most=page_size // 7)
        copy = Copy(
            world,
            start=chance.choice([BEGINNING, NOON_S - LATE - 300, NOON_S - 2 * HOUR]),
            late=chance.choice([LATE, LATE, HOUR, 0]),
            page_size=page_size,
            parallel=chance.choice([1, 8]),
        )
        any_run(copy, chance)
        assert copy.run() == []
        assert copy.requests <= MOST_REQUESTS or is_excused(copy), seed
        for _ in range(3):
            world.clock.advance(seconds=chance.choice([1, 2, MINUTE, HOUR, DAY, 3 * DAY, 20 * DAY]))
            copy.end = chance.choice([None, None, None, NOON_S - HOUR])
            copy.run()  # What had not settled is news.
            assert copy.run() == []
            assert copy.requests <= MOST_REQUESTS or is_excused(copy), seed
        copy.end = None
        copy.run()
        copy.rows = list({row.event_id: row for row in copy.rows}.values())
        copy.check()


@pytest.mark.parametrize("number", [0, 5, 2_000])
@pytest.mark.parametrize("per_second", [0, 2])
def test_over_http(monkeypatch: pytest.MonkeyPatch, number: int, per_second: int) -> None:
    """The clock of Celonis is read from an answer that is needed anyway, or asked for once."""
    with Sandbox(days=0, now=NOON) as sandbox:
        monkeypatch.setattr(TapCelonisAudit, "clock", lambda _: sandbox.clock.now_ms / 1000)
        for log in (sandbox.audit, sandbox.logins):
            log.happen(number, within_seconds=5 * HOUR)
        sandbox.audit.extend(
            record((END - 500 + second) * 1000 + each, f"{second}-{each}")
            for second in range(500)
            for each in range(per_second)
        )
        config = {"api_url": sandbox.url, "app_key": sandbox.app_key}
        state = run_tap(config, state=None).states[-1]
        for seconds in (0, 1, HOUR, 3 * DAY):
            sandbox.clock.advance(seconds=seconds)
            state = run_tap(config, state=state).states[-1]
            sandbox.requests.clear()
            assert run_tap(config, state=state).rows == []
            asked = [request.path for request in sandbox.requests]
            assert len(asked) >= 2
            assert all(asked.count(path) <= MOST_REQUESTS for path in asked)
