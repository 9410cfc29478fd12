"""The sandbox's logs: visibility, the oracle, retention, and what happens."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tap_celonis_audit.sandbox import Clock, Log, Record, Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = "2026-03-01T12:00:00Z"
NOW_MS = 1_772_366_400_000
DAY_MS = 86_400_000
EVER = 1 << 62


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW_MS)


@pytest.fixture
def log(clock: Clock) -> Log:
    return Log(clock)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(days=0, now=NOW) as sandbox:
        yield sandbox


def record(name: str, second: int = 0) -> Record:
    return {"event": name, "timestamp": f"2026-03-01T11:00:{second:02d}.000Z"}


def shown(log: Log) -> list[str]:
    return [record["event"] for record in log.visible]


def test_events_are_kept_in_time_order(log: Log) -> None:
    for name, second in (("b", 2), ("a", 1), ("c", 2), ("d", 0)):
        log.add(record(name, second))
    assert shown(log) == ["d", "a", "b", "c"]
    log.extend(record(f"x{number}", number % 60) for number in range(300))
    seconds = [entry["timestamp"] for entry in log.visible]
    assert seconds == sorted(seconds)
    assert len(log) == 304


def test_select_is_half_open(log: Log) -> None:
    log.extend([record("a", 1), record("b", 2), record("c", 2), record("d", 3)])
    second_ms = NOW_MS - 3_600_000
    assert log.select(second_ms + 1_000, second_ms + 3_000) == range(3)
    assert log.select(second_ms + 1_001, EVER) == range(1, 4)
    assert log.select(second_ms + 4_000, EVER) == range(4, 4)
    assert [log.time_at(position) - second_ms for position in range(4)] == [1000, 2000, 2000, 3000]


def test_a_late_event_appears_when_it_is_due(clock: Clock, log: Log) -> None:
    log.add(record("early"))
    log.add(record("late", 1), visible_in=60)
    log.extend([record("later", 2), record("later too", 3)], visible_in=120)
    assert shown(log) == ["early"]
    assert len(log.ever_visible) == 1
    clock.advance(seconds=59.999)
    assert shown(log) == ["early"]
    clock.advance(seconds=0.001)
    assert shown(log) == ["early", "late"]
    clock.advance(seconds=60)
    assert shown(log) == ["early", "late", "later", "later too"]


def test_twins_are_two(log: Log) -> None:
    log.extend([record("twin"), record("twin")])
    assert shown(log) == ["twin", "twin"]
    assert log.remove(record("twin")) == 1
    assert shown(log) == ["twin"]
    assert Counter(entry["event"] for entry in log.ever_visible) == {"twin": 2}


def test_remove_by_predicate(log: Log) -> None:
    log.extend(record(name) for name in "abcab")
    log.add(record("a"), visible_in=60)
    assert log.remove(lambda entry: entry["event"] == "a") == 3
    assert shown(log) == ["b", "c", "b"]
    # What was never shown is no loss that anybody could have noticed.
    assert Counter(entry["event"] for entry in log.ever_visible) == {"a": 2, "b": 2, "c": 1}
    assert log.remove(record("z")) == 0


def test_remove_what_is_not_visible_yet(clock: Clock, log: Log) -> None:
    log.extend([record("a"), record("b")], visible_in=60)
    assert log.remove(record("a")) == 1
    clock.advance(seconds=60)
    assert shown(log) == ["b"]


@pytest.mark.parametrize("timestamp", [None, 12, "soon", "2026-03-01", ""])
def test_odd_timestamps_need_a_time(log: Log, timestamp: object) -> None:
    odd: dict[str, Any] = {"event": "odd", "timestamp": timestamp}
    with pytest.raises(ValueError, match="not a date-time"):
        log.add(odd)
    log.add(odd, at_ms=NOW_MS - 5)
    log.add({"event": "none"}, at_ms=NOW_MS - 4)
    assert log.select(NOW_MS - 5, NOW_MS) == range(2)
    assert log.visible == [odd, {"event": "none"}]
    assert log.remove(odd) == 1


def test_records_travel_as_they_are(log: Log) -> None:
    message = {"name": "Łódź 日本", "lone": "\ud800", "nul": "\x00", "deep": [[1.0, 10**30, None]]}
    entry = {**record("odd"), "message": message}
    log.add(entry)
    body = log.bodies(range(1))[0]
    assert json.loads(body) == entry
    log.add({**record("plain", 1), "message": "Łódź"})
    assert "Łódź".encode() in log.bodies(range(1, 2))[0]


def test_records_given_out_are_copies(log: Log) -> None:
    log.add(record("a"))
    log.visible[0]["event"] = "changed"
    assert shown(log) == ["a"]


def test_happen(sandbox: Sandbox) -> None:
    new = sandbox.audit.happen(50, within_seconds=10)
    assert new == sandbox.audit.visible
    times = [entry["timestamp"] for entry in new]
    assert len(set(times)) == 50
    assert min(times) >= "2026-03-01T11:59:50.000Z"
    assert max(times) < "2026-03-01T12:00:00.000Z"
    people = {user.label for user in sandbox.team.users}
    assert {entry["userId"] for entry in new} <= people


def test_happen_later(sandbox: Sandbox) -> None:
    sandbox.logins.happen(3, visible_in=30)
    assert len(sandbox.logins) == 0
    sandbox.clock.advance(seconds=30)
    assert len(sandbox.logins) == 3


def test_happen_again_is_something_else_but_repeatable(sandbox: Sandbox) -> None:
    first, second = sandbox.audit.happen(5), sandbox.audit.happen(5)
    assert first != second
    with Sandbox(days=0, now=NOW) as other:
        assert [other.audit.happen(5), other.audit.happen(5)] == [first, second]


def test_happen_needs_room_and_a_team(sandbox: Sandbox, log: Log) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        sandbox.audit.happen(11, within_seconds=0.01)
    assert len(sandbox.audit.happen(10, within_seconds=0.01)) == 10
    with pytest.raises(RuntimeError, match="no team"):
        log.happen(1)


def test_nothing_happens_on_its_own_while_time_stands_still(sandbox: Sandbox) -> None:
    sandbox.clock.advance(seconds=5 * 86_400)
    assert (len(sandbox.audit), len(sandbox.logins), len(sandbox.adoption)) == (0, 0, 0)


def test_a_running_team_works_on() -> None:
    with (
        Sandbox(days=1, now="2026-03-04T12:00:00Z") as frozen,
        Sandbox(days=1, now="2026-03-04T12:00:00Z", running=True) as running,
        Sandbox(days=6, now="2026-03-09T12:00:00Z") as later,
    ):
        for sandbox in (frozen, running):
            sandbox.clock.set(later.clock.now_ms)
        before, after = len(frozen.audit), len(later.audit)
        assert len(running.audit) >= after > before
        assert running.audit.visible[:after] == later.audit.visible
        begun = running.clock.now_ms
        while running.clock.now_ms == begun:
            pass
        assert running.clock.now_ms > begun


def test_retention() -> None:
    with Sandbox(days=40, retention_days=30, now="2026-03-04T12:00:00Z") as sandbox:
        traces = [r for r in sandbox.audit.visible if r["event"] == "AUDIT_LOGS_DELETED"]
        assert sandbox.audit.visible[0]["timestamp"] >= "2026-02-02T00:00:00.000Z"
        assert "2026-03-04T00:00:00.000Z" in {trace["timestamp"] for trace in traces}
        everything = Counter(map(str, sandbox.audit.visible))
        logins = len(sandbox.logins)
        sandbox.clock.advance(seconds=11 * 3600)
        assert Counter(map(str, sandbox.audit.visible)) == everything
        sandbox.clock.advance(seconds=25 * 3600)
        shown_now = sandbox.audit.visible
        assert shown_now[0]["timestamp"] >= "2026-02-04T00:00:00.000Z"
        assert [r["timestamp"] for r in shown_now if r["timestamp"] >= "2026-03-05"] == [
            "2026-03-05T00:00:00.000Z",
            "2026-03-06T00:00:00.000Z",
        ]
        assert shown_now[-1]["userId"] == "celonis-service (SYSTEM)"
        # The oracle forgets nothing.
        assert not everything - Counter(map(str, sandbox.audit.ever_visible))
        assert 0 < len(sandbox.logins) < logins
        assert all("AUDIT" not in r["authenticationEventType"] for r in sandbox.logins.visible)


def test_clock(clock: Clock) -> None:
    assert clock.now_ms == NOW_MS
    assert clock.advance(seconds=1.5) == NOW_MS + 1_500
    assert clock.set(NOW_MS - DAY_MS) == clock.now_ms == NOW_MS - DAY_MS
