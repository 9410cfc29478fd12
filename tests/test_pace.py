"""How fast Celonis is asked, with a clock that moves only when somebody waits."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

import pytest
from outputs import Output

from tap_celonis_audit.client import Client
from tap_celonis_audit.errors import RateLimitError, TapError
from tap_celonis_audit.pace import MAX_SPACING_SECONDS, Pace, wait_seconds
from tap_celonis_audit.sandbox import Answer, Request, Sandbox
from tap_celonis_audit.settings import Settings
from tap_celonis_audit.streams import AuditLogsStream
from tap_celonis_audit.tap import TapCelonisAudit

API = AuditLogsStream.api
ONE = {"pageNumber": 0, "pageSize": 1}
NOW_S = 1_772_366_400
DATE = {"Date": formatdate(NOW_S, usegmt=True)}
REMAINING, LIMIT, RESET = "x-ratelimit-remaining", "x-ratelimit-limit", "x-ratelimit-reset"


class Clock:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.naps: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pace(clock: Clock) -> Pace:
    return Pace(parallel=8, max_wait_seconds=100, clock=clock, sleep=clock.sleep)


def succeed(pace: Pace, times: int = 1, headers: dict[str, str] | None = None) -> None:
    for _ in range(times):
        started, _ = pace.enter()
        pace.answered(started, headers or {})
        pace.leave()


def refuse(pace: Pace, seconds: float | None = None, *, burst: int = 1) -> None:
    """Let a burst of requests be refused together."""
    starts = [pace.enter()[0] for _ in range(burst)]
    for started in starts:
        pace.refused(started, seconds)
        pace.leave()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({RESET: "7"}, 7),
        ({RESET: "0.5"}, 0.5),
        ({RESET: "0"}, 0),
        ({RESET: "999999999"}, 999_999_999),
        ({RESET: "-1"}, None),
        ({RESET: "nan"}, None),
        ({RESET: "inf"}, None),
        ({RESET: "1e999"}, None),
        ({RESET: ""}, None),
        ({RESET: "soon"}, None),
        # A point in time is none of the documented forms, but what else would it mean?
        ({RESET: str(NOW_S + 30)} | DATE, 30),
        ({RESET: f"{NOW_S + 30}000"} | DATE, 30),
        ({RESET: str(NOW_S - 30)} | DATE, 0),
        ({RESET: formatdate(NOW_S + 30, usegmt=True)} | DATE, 30),
        ({"Retry-After": "12"}, 12),
        ({"Retry-After": formatdate(NOW_S + 12, usegmt=True)} | DATE, 12),
        ({"Retry-After": "Sun, 01 Mar 2026 12:00:12"} | DATE, 12),
        ({RESET: "7", "Retry-After": "12"}, 7),
        ({RESET: "soon", "Retry-After": "12"}, 12),
        ({"Retry-After": "Mon, 1 Jan 99999 00:00:00 GMT"} | DATE, None),
        # However absurd, it can be added to a date.
        ({RESET: "1e308"} | DATE, 1e9),
        ({RESET: "9" * 300} | DATE, 1e9),
        ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 -2300"} | DATE, 1e9),
    ],
)
def test_how_long_to_wait_is_read(headers: dict[str, str], seconds: float | None) -> None:
    assert wait_seconds(headers) == seconds


def test_a_date_counts_from_this_machines_clock_if_the_server_has_none() -> None:
    assert wait_seconds({"Retry-After": "Sun, 01 Mar 2020 12:00:00 GMT"}) == 0
    assert wait_seconds({"Retry-After": formatdate(usegmt=True)}) == pytest.approx(0, abs=2)


def test_without_limits_nobody_waits(pace: Pace, clock: Clock) -> None:
    succeed(pace, 50)
    assert clock.naps == []
    assert pace.allowed == 8


def test_everybody_waits_after_a_refusal(pace: Pace, clock: Clock) -> None:
    refuse(pace, 30)
    _, waited = pace.enter()
    assert waited == 30
    (nap,) = clock.naps
    assert 30 <= nap <= 31
    assert pace.enter()[1] == 0, "the wait is over"


def test_a_refusal_during_a_wait_prolongs_it(clock: Clock) -> None:
    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        if len(clock.naps) == 1:
            own.refused(clock.now, 20)  # another thread's

    own = Pace(parallel=8, max_wait_seconds=100, clock=clock, sleep=sleep)
    refuse(own, 30)
    _, waited = own.enter()
    assert waited == pytest.approx(50)
    assert len(clock.naps) == 2


def test_a_burst_of_refusals_halves_once(pace: Pace) -> None:
    refuse(pace, 1, burst=8)
    assert pace.allowed == 4
    refuse(pace, 1, burst=4)
    assert pace.allowed == 2
    for _ in range(5):
        refuse(pace, 1)
    assert pace.allowed == 1, "one goes always"


def test_what_was_on_its_way_at_the_refusal_does_not_end_it(pace: Pace) -> None:
    early, _ = pace.enter()
    refuse(pace, 1)
    pace.answered(early, {})
    pace.leave()
    assert pace.allowed == 4
    succeed(pace, 4)
    assert pace.allowed == 4, "a success each makes it one more"
    succeed(pace)
    assert pace.allowed == 5
    succeed(pace, 50)
    assert pace.allowed == 8, "never more than asked for"


def test_waits_that_are_not_named_grow(pace: Pace, clock: Clock) -> None:
    for _ in range(6):
        refuse(pace)
    waits = clock.naps[1:]
    assert len(waits) == 4
    assert all(0.25 * 2**n <= wait <= 0.5 * 2**n + 0.5 for n, wait in enumerate(waits, start=1))
    succeed(pace)
    clock.naps.clear()
    refuse(pace)
    succeed(pace)
    assert clock.naps[0] <= 1, "a success starts them anew"


def test_a_wait_that_is_too_long_ends_everything(pace: Pace, clock: Clock) -> None:
    refuse(pace, 101)
    for _ in range(3):
        with pytest.raises(RateLimitError, match=r"wait 101 seconds.*Run again after 20\d\d-"):
            pace.enter()
    clock.sleep(200)
    with pytest.raises(RateLimitError):
        pace.enter()
    assert len(clock.naps) == 1


def test_the_waits_of_one_request_have_a_budget_together(pace: Pace, clock: Clock) -> None:
    waited = 0.0
    for _ in range(3):
        started, waited = pace.enter(waited)
        pace.refused(started, 40)
        pace.leave()
    assert waited == 80
    with pytest.raises(RateLimitError):
        pace.enter(waited)
    assert len(clock.naps) == 2


def test_waits_without_end_end(clock: Clock) -> None:
    pace = Pace(parallel=1, max_wait_seconds=100, clock=clock, sleep=clock.sleep)
    waited, tries = 0.0, 0
    with contextlib.suppress(RateLimitError):
        while True:
            started, waited = pace.enter(waited)
            pace.refused(started, 0)
            pace.leave()
            tries += 1
    assert 5 <= tries <= 20
    assert sum(clock.naps) <= 100 + tries


@pytest.mark.parametrize(
    ("headers", "spacing"),
    [
        ({REMAINING: "100", LIMIT: "100", RESET: "60"}, 0),
        ({REMAINING: "17", LIMIT: "60", RESET: "60"}, 0),
        ({REMAINING: "16", LIMIT: "60", RESET: "60"}, 60 / 16),
        ({REMAINING: "16", RESET: "8"}, 0.5),
        ({REMAINING: "250", LIMIT: "1000", RESET: "100"}, 0.4),
        ({REMAINING: "251", LIMIT: "1000", RESET: "100"}, 0),
        ({REMAINING: "10", LIMIT: "20"}, 0.1),
        ({REMAINING: "0", LIMIT: "20"}, 1),
        ({REMAINING: "0", LIMIT: "20", RESET: "4"}, 4),
        ({REMAINING: "3", LIMIT: "6000", RESET: "40000"}, MAX_SPACING_SECONDS),
        ({REMAINING: "-1", LIMIT: "20", RESET: "60"}, 0),
        ({REMAINING: "many", LIMIT: "20", RESET: "60"}, 0),
    ],
)
def test_what_is_left_is_spread(
    pace: Pace, clock: Clock, headers: dict[str, str], spacing: float
) -> None:
    started, _ = pace.enter()
    pace.answered(started, headers)
    pace.leave()
    for _ in range(3):
        pace.enter()
        pace.leave()
    assert clock.naps == pytest.approx([spacing] * 3 if spacing else [])


def test_a_window_is_seen_to_begin(pace: Pace, clock: Clock) -> None:
    succeed(pace, headers={REMAINING: "5"})
    clock.now += 0.7
    succeed(pace, headers={REMAINING: "20"})
    clock.now += 0.6
    clock.naps.clear()
    succeed(pace, headers={REMAINING: "1"})
    succeed(pace)
    assert clock.naps == pytest.approx([0.4]), "six tenths of the second are over"


def test_no_more_are_in_flight_than_allowed() -> None:
    pace = Pace(parallel=3, max_wait_seconds=1)
    for _ in range(3):
        pace.enter()
    entered = threading.Event()

    def enter() -> None:
        pace.enter()
        entered.set()

    waiting = threading.Thread(target=enter)
    waiting.start()
    assert not entered.wait(0.05)
    pace.leave()
    assert entered.wait(10)
    waiting.join()


@pytest.mark.parametrize("obstacle", ["the rate limit", "the others", "a failure"])
def test_closing_ends_waits(obstacle: str) -> None:
    pace = Pace(parallel=1, max_wait_seconds=1_000)
    if obstacle == "the rate limit":
        refuse(pace, 500)
    elif obstacle == "the others":
        pace.enter()

    def wait() -> None:
        if obstacle == "a failure":
            pace.pause(500)
        else:
            pace.enter()

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait)
        threading.Event().wait(0.05)
        pace.close()
        with pytest.raises(TapError, match="Ended before"):
            waiting.result(10)


class World:
    """A sandbox that is asked by many threads."""

    def __init__(self, sandbox: Sandbox, *, parallel: int) -> None:
        self.sandbox = sandbox
        settings = Settings.from_config(
            {"api_url": sandbox.url, "app_key": sandbox.app_key, "max_parallel_requests": parallel}
        )
        self.client = Client(settings)
        self._parallel = parallel

    def ask(self, times: int) -> int:
        """Ask so often, and give how many answers came."""
        with ThreadPoolExecutor(self._parallel) as pool:
            answers = pool.map(lambda _: self.client.get(API, ONE).body, range(times))
            return sum(body is not None for body in answers)


def test_many_threads_keep_to_the_rate_limit() -> None:
    with Sandbox(days=1, rate_limit=20, latency_ms=5) as sandbox:
        world = World(sandbox, parallel=8)
        assert world.ask(60) == 60
        world.client.close()
        refused = len(sandbox.requests) - 60
    assert refused <= 8, "the end of the limit is seen before it comes"


def test_a_refusal_holds_back_all_threads() -> None:
    refusals = [
        Answer.problem(
            HTTPStatus.TOO_MANY_REQUESTS, code="LIMIT", detail="", headers={RESET: "0.3"}
        )
    ]
    times: list[tuple[float, bool]] = []

    def hook(_: Sandbox, __: Request) -> Answer | None:
        refuse = len(times) >= 20 and bool(refusals)
        times.append((time.monotonic(), refuse))
        return refusals.pop() if refuse else None

    with Sandbox(days=1, latency_ms=5, hook=hook) as sandbox:
        world = World(sandbox, parallel=4)
        assert world.ask(60) == 60
        world.client.close()
    (at,) = (moment for moment, refused in times if refused)
    # What was in flight then comes to its end.
    assert sum(at + 0.1 < moment < at + 0.29 for moment, _ in times) == 0
    assert sum(at < moment < at + 0.1 for moment, _ in times) <= 4


def test_each_thread_has_a_connection_of_its_own_and_keeps_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Sandbox(days=1, latency_ms=20) as sandbox:
        accepted = []
        process = sandbox._server.process_request

        def count(request: object, address: object) -> None:
            accepted.append(address)
            process(request, address)

        monkeypatch.setattr(sandbox._server, "process_request", count)
        world = World(sandbox, parallel=4)
        world.ask(40)
        world.client.close()
        assert max(request.in_flight for request in sandbox.requests) == 4
        assert len(accepted) <= 4
        assert len(world.client._sessions) > 2, "not those of the token and of the main thread"


def run(
    sandbox: Sandbox, *, refuse_at: int, caplog: pytest.LogCaptureFixture
) -> tuple[Output, str | None]:
    """Run the tap until Celonis refuses; give what it wrote, and the failure if it is one."""
    sandbox.requests.clear()
    refusal = Answer.problem(
        HTTPStatus.TOO_MANY_REQUESTS, code="LIMIT", detail="", headers={RESET: "7200"}
    )
    sandbox.hook = lambda _, __: refusal if len(sandbox.requests) >= refuse_at else None
    output = Output()
    config: dict[str, Any] = {"api_url": sandbox.url, "app_key": sandbox.app_key, "page_size": 50}
    config["max_parallel_requests"] = 1
    tap = TapCelonisAudit(config=config, message_writer=output)
    for name, stream in tap.streams.items():
        stream.selected = name in {"audit_logs", "login_history"}
    caplog.clear()
    with contextlib.closing(tap.client):
        try:
            tap.sync_all()
        except TapError as error:
            return output, str(error)
    return output, None


def test_a_rate_limit_ends_a_run_that_got_further_and_keeps_its_state(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Sandbox(days=3, now="2026-03-01T12:00:00Z") as sandbox:
        run(sandbox, refuse_at=99_999, caplog=caplog)
        last = sum(request.path == API.path for request in sandbox.requests) - 2
        output, failed = run(sandbox, refuse_at=last, caplog=caplog)
        asked = [request.path for request in sandbox.requests]
    assert len(asked) == last, "one refusal, and nobody asks in vain"
    assert set(asked) == {API.path}
    told = [r.getMessage() for r in caplog.records if r.name.startswith("tap-") and r.levelno > 20]
    assert "audit_logs: Celonis refuses requests" in told[0]
    assert "Run again after 20" in told[0]
    assert "login_history: Celonis refuses requests" in told[1]
    # A stream that never has its turn is no quiet success.
    assert failed == "Failed: login_history. See above."
    audit = [line for line in output.lines if line.get("stream") == "audit_logs"]
    state = output.states[-1]["bookmarks"]["audit_logs"]
    assert len(audit) > 10
    assert state["replication_key_value"] > audit[-1]["record"]["timestamp"]


def test_a_rate_limit_in_the_last_stream_is_a_success(caplog: pytest.LogCaptureFixture) -> None:
    with Sandbox(days=3, now="2026-03-01T12:00:00Z") as sandbox:
        whole, failed = run(sandbox, refuse_at=99_999, caplog=caplog)
        assert failed is None
        needed = len(sandbox.requests)
        output, failed = run(sandbox, refuse_at=needed - 2, caplog=caplog)
    assert failed is None
    assert 0 < len(output.ids) < len(whole.ids)
    assert output.ids == whole.ids[: len(output.ids)]


def test_a_rate_limit_at_the_very_beginning_is_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    with Sandbox(days=3, now="2026-03-01T12:00:00Z") as sandbox:
        output, failed = run(sandbox, refuse_at=1, caplog=caplog)
        assert len(sandbox.requests) == 1
    assert failed is not None
    assert "Run again after" in failed
    assert output.lines == []
