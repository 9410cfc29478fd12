"""Anything may happen in any order: a state machine that tries to make the reader lose an event."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from worlds import BOUNDS, NOON_S, ORDERS, PRECISIONS, Copy, World, record

from tap_celonis_audit.sandbox.clock import to_ms

if TYPE_CHECKING:
    from tap_celonis_audit.sandbox.api import Bounds, Empty, Order, Precision

LATE = 7_200
#: A longer soak: SOAK=2000 make soak
EXAMPLES = int(os.environ.get("SOAK", "300"))


class Team(RuleBasedStateMachine):
    """A team that works, a server that answers in its own way, and a tap that is run and killed."""

    def __init__(self) -> None:
        super().__init__()
        self.serial = 0
        self.crashed = False

    @initialize(
        order=st.sampled_from(ORDERS[:3]),
        bounds=st.sampled_from(BOUNDS),
        precision=st.sampled_from(PRECISIONS),
        empty=st.sampled_from(["204", "list"]),
        page_size=st.sampled_from([20, 200]),
        parallel=st.sampled_from([1, 8]),
        history=st.one_of(st.integers(0, 120), st.integers(400, 800)),
        seed=st.integers(0, 2**16),
    )
    def found(
        self,
        *,
        order: Order,
        bounds: Bounds,
        precision: Precision,
        empty: Empty,
        page_size: int,
        parallel: int,
        history: int,
        seed: int,
    ) -> None:
        self.world = World(order=order, bounds=bounds, precision=precision, empty=empty, seed=seed)
        self.world.fill(history, NOON_S - 5 * LATE, NOON_S, name="history")
        self.copy = Copy(self.world, page_size=page_size, parallel=parallel, late=LATE)

    def name(self) -> str:
        self.serial += 1
        return f"event-{self.serial}"

    @rule(
        number=st.integers(1, 10),
        ago=st.floats(0, 1),
        together=st.booleans(),
        twins=st.booleans(),
    )
    def emit_late(self, number: int, ago: float, *, together: bool, twins: bool) -> None:
        """Events of the recent past appear now."""
        name = self.name()
        # Identical events among more than a page of others in one millisecond, all in an order that
        # changes with every request, cannot be told apart by anyone; the tap fails, and says so.
        twins = twins and self.copy.page_size == 200
        for index in range(number):
            share = ago if together else ago * index / number
            at_ms = self.world.clock.now_ms - int(share * LATE * 1000)
            self.world.log.add(record(at_ms, name if twins else f"{name}-{index}"))

    @rule(number=st.integers(1, 5), delay=st.integers(0, LATE))
    def emit_delayed(self, number: int, delay: int) -> None:
        """Events happen now and appear later."""
        name = self.name()
        for index in range(number):
            self.world.log.add(record(self.world.clock.now_ms, f"{name}-{index}"), visible_in=delay)

    @rule(seconds=st.sampled_from([1, 2, 60, 119, 120, 121, 3_600, LATE, 86_400, 3 * 86_400]))
    def advance(self, seconds: int) -> None:
        self.world.clock.advance(seconds=seconds)

    @rule(order=st.sampled_from(ORDERS[:3]))
    def reorder(self, order: Order) -> None:
        self.world.order = order

    @rule(every=st.integers(1, 6))
    def run_while_events_appear(self, every: int) -> None:
        def hook(world: World) -> None:
            if world.requests % every == 0:
                share = world.random.random()
                at_ms = world.clock.now_ms - int(share * LATE * 1000)
                world.log.add(record(at_ms, self.name()))

        self.world.hook = hook
        self.copy.run()
        self.world.hook = None

    @rule()
    def run(self) -> None:
        self.copy.run()

    @rule()
    def run_twice(self) -> None:
        self.copy.run()
        assert self.copy.run() == []
        assert self.copy.requests <= 3 or self.copy.page_size < 200

    @rule()
    def run_and_expire(self) -> None:
        """What was read and is old is deleted."""
        self.copy.run()
        old_ms = self.world.clock.now_ms - 3 * LATE * 1000
        self.world.log.remove(lambda each: to_ms(each["timestamp"]) < old_ms)

    @rule(after=st.integers(0, 200))
    def crash(self, after: int) -> None:
        self.copy.crash(after)
        self.crashed = True

    @invariant()
    def every_id_once(self) -> None:
        if not self.crashed:
            assert len(self.copy.ids) == len(set(self.copy.ids))

    def teardown(self) -> None:
        if not hasattr(self, "copy"):
            return
        self.world.clock.advance(seconds=LATE + 200)
        self.copy.run()
        if self.crashed:
            self.copy.rows = list({row.event_id: row for row in self.copy.rows}.values())
        self.copy.check()


Team.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestTeam = Team.TestCase
