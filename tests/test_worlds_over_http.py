"""The whole tap over real HTTP, in every kind of world: what it writes is what there is, once."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import worlds
from outputs import run_tap
from worlds import BOUNDS, ORDERS, PRECISIONS, record

from tap_celonis_audit.keys import canonical
from tap_celonis_audit.sandbox import Sandbox

if TYPE_CHECKING:
    from outputs import Output

    from tap_celonis_audit.sandbox.api import Bounds, Order, Precision

NOW = "2026-03-02T12:00:00Z"
NOW_MS = 1_772_452_800_000
HOUR_MS = 3_600_000


def run(sandbox: Sandbox, *, state: dict[str, Any] | None, host: str = "127.0.0.1") -> Output:
    config = {
        "api_url": sandbox.url.replace("127.0.0.1", host),
        "app_key": sandbox.app_key,
        "late_arrival_seconds": 7_200,
        "max_parallel_requests": worlds.PARALLEL,
    }
    return run_tap(config, state=state)


def as_record(row: dict[str, Any]) -> bytes:
    """Turn a row of `worlds.record` back into what the API said."""
    return canonical(
        {
            "userId": row["user_id"],
            "event": row["event"],
            "timestamp": row["timestamp"].replace("000Z", "Z"),
            "message": row["message"],
        }
    )


@pytest.mark.usefixtures("parallel")
@pytest.mark.parametrize(
    ("order", "bounds", "precision"), list(itertools.product(ORDERS, BOUNDS, PRECISIONS))
)
def test_three_runs(order: Order, bounds: Bounds, precision: Precision) -> None:
    with Sandbox(days=0, now=NOW, order=order, bounds=bounds, precision=precision) as sandbox:
        log = sandbox.audit
        log.extend(record(NOW_MS - each * 997_331, f"history-{each}") for each in range(900))
        log.extend(record(NOW_MS - 5 * HOUR_MS, f"tie-{each}") for each in range(250))
        log.extend(record(NOW_MS - 6 * HOUR_MS + 999, "twin") for _ in range(3))
        rows: list[dict[str, Any]] = []
        state: dict[str, Any] | None = None
        for hour in range(1, 4):
            output = run(sandbox, state=state)
            rows, state = rows + output.rows, output.states[-1]
            for each in range(20):
                at_ms = sandbox.clock.now_ms - each * 300_000
                log.add(record(at_ms, f"late-{hour}-{each}"))
            sandbox.clock.advance(seconds=3_600)
        output = run(sandbox, state=state)
        rows += output.rows
        assert Counter(map(as_record, rows)) == Counter(map(canonical, log.ever_visible))
        assert len({row["event_id"] for row in rows}) == len(rows)
        assert run(sandbox, state=output.states[-1]).rows == []


def test_two_teams_share_a_table() -> None:
    with Sandbox(days=0, now=NOW) as sandbox:
        sandbox.audit.happen(20, within_seconds=3_000)
        one = run(sandbox, state=None)
        other = run(sandbox, state=None, host="localhost")
    assert {row["team"] for row in one.rows} == {"127.0.0.1"}
    assert {row["team"] for row in other.rows} == {"localhost"}
    ids = {row["event_id"] for row in one.rows + other.rows}
    assert len(ids) == len(one.rows) + len(other.rows) > 0
