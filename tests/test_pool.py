"""Requests in flight: how many at once, what is taken when, and what is dropped."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tap_celonis_audit.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Generator

    from tap_celonis_audit.pool import Ticket


@pytest.fixture(params=[1, 3])
def pool(request: pytest.FixtureRequest) -> Generator[Pool]:
    pool = Pool(request.param)
    yield pool
    pool.close()


def test_answers_belong_to_their_tickets(pool: Pool) -> None:
    tickets = [pool.submit(partial(pow, number, 2)) for number in range(50)]
    assert [pool.take(ticket) for ticket in reversed(tickets)] == [n * n for n in range(49, -1, -1)]
    assert pool.begun == 50


def test_a_failure_is_raised_where_the_answer_is_taken(pool: Pool) -> None:
    bad = pool.submit(lambda: 1 // 0)
    good = pool.submit(lambda: 1)
    assert pool.take(good) == 1
    with pytest.raises(ZeroDivisionError):
        pool.take(bad)
    assert bad.failed


def occupy(pool: Pool) -> tuple[threading.Event, list[Ticket[Any]]]:
    """Keep both threads of a pool busy until a gate opens."""
    gate, begun = threading.Event(), threading.Barrier(3)

    def block() -> bool:
        begun.wait(5)
        return gate.wait(5)

    blocked = [pool.submit(block) for _ in range(2)]
    begun.wait(5)
    return gate, blocked


def test_what_was_cancelled_is_not_asked_for() -> None:
    pool = Pool(2)
    gate, blocked = occupy(pool)
    asked: list[int] = []
    dropped, kept = (pool.submit(partial(asked.append, number)) for number in range(2))
    dropped.cancel()
    gate.set()
    for ticket in [*blocked, kept]:
        pool.take(ticket)
    assert asked == [1]
    assert pool.begun == 3
    pool.close()


def test_no_more_calls_at_once_than_allowed() -> None:
    pool = Pool(3)
    lock, now, most = threading.Lock(), 0, 0
    together = threading.Barrier(3)

    def call() -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        together.wait(5)  # Fewer than three at once would break it.
        with lock:
            now -= 1

    for ticket in [pool.submit(call) for _ in range(12)]:
        pool.take(ticket)
    assert most == 3
    pool.close()


def test_urgent_calls_go_first() -> None:
    pool = Pool(2)
    gate, blocked = occupy(pool)
    order: list[str] = []
    last = pool.submit(lambda: order.append("last"))
    pool.submit(lambda: order.append("first"), urgent=True)
    gate.set()
    for ticket in [*blocked, last]:
        pool.take(ticket)
    assert order[0] == "first"
    pool.close()


def test_other_answers_are_told_of_while_one_is_waited_for() -> None:
    pool = Pool(2)
    gate = threading.Event()
    slow = pool.submit(lambda: gate.wait(5))
    quick = pool.submit(lambda: "quick")
    seen: list[bool] = []

    def meanwhile() -> None:
        seen.append(quick.done)
        if quick.done:
            gate.set()

    assert pool.take(slow, meanwhile)
    assert seen[-1]
    pool.close()
