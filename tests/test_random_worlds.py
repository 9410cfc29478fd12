"""Worlds and schedules by chance, with events that appear between any two requests of a run.

They hold more than those of the state machine: bursts, bulk changes with twins, outages of a day.
"""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest
from worlds import LATE, NOON_S, SETTLE, Copy, World, record

if TYPE_CHECKING:
    from collections.abc import Callable

MINUTE, HOUR, DAY = 60, 3_600, 86_400
#: A longer soak: make soak
SEEDS = range(int(os.environ.get("SOAK", "120")))


def found(chance: random.Random, seed: int) -> Copy:
    """Make a team's log with some history, and a tap that reads it."""
    world = World.by_chance(chance, seed=seed)
    copy = Copy(
        world,
        page_size=chance.choice([20, 50, 100, 200, 200]),
        parallel=chance.choice([1, 8]),
        late=chance.choice([LATE, HOUR]),
    )
    span = chance.choice([HOUR, 5 * HOUR, 3 * DAY])
    world.fill(chance.choice([0, 5, 30, 80, 150, 600, 2_500]), NOON_S - span, NOON_S)
    for bulk in range(chance.randrange(3)):
        at_ms = (NOON_S - chance.randrange(1, span)) * 1000
        world.tie(chance.randint(2, copy.page_size * 5 // 4), at_ms, name=f"bulk-{bulk}")
        world.tie(chance.choice([2, 3]), at_ms, name=f"twins-{bulk}", twins=True)
    return copy


def appearing(chance: random.Random, share: float, late: int) -> Callable[[World], None]:
    """Let an event appear before so many of the requests."""

    def hook(world: World) -> None:
        if chance.random() < share:
            at_s = world.now_s - chance.randrange(1, late)
            world.log.add(record(at_s * 1000 + chance.choice([0, 500, 999]), f"m{world.requests}"))

    return hook


@pytest.mark.parametrize("part", range(4))
def test_nothing_is_lost_or_invented(part: int) -> None:
    for seed in SEEDS[part::4]:
        chance = random.Random(seed)
        copy = found(chance, seed)
        world, latest = copy.world, copy.late - SETTLE - 200
        world.hook = appearing(chance, chance.choice([0, 0, 0.02, 0.2]), latest)
        for turn in range(chance.randint(2, 7)):
            if chance.random() < 0.15:
                copy.crash(chance.randrange(100))
            else:
                copy.run()
            world.clock.advance(seconds=chance.choice([1, MINUTE, 5 * MINUTE, HOUR, 5 * HOUR, DAY]))
            now = world.now_s
            world.fill(chance.choice([0, 3, 30, 200]), now - HOUR // 2, now, name=f"new-{turn}")
            world.fill(chance.choice([0, 1, 10, 100]), now - latest, now, name=f"late-{turn}")
        world.hook = None
        world.clock.advance(seconds=chance.choice([200, HOUR]))
        copy.run()
        # What was written before a crash comes again.
        copy.rows = list({row.event_id: row for row in copy.rows}.values())
        copy.check()
