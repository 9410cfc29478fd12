"""The sandbox: a team, its logs, a clock, and a server that plays the Celonis usage APIs."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from http import HTTPStatus
from random import Random
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, get_args

from tap_celonis_audit.sandbox.api import (
    AUDIT_PATH,
    LOGINS_PATH,
    PAGE_SIZE,
    SCOPES,
    TOKEN_PATH,
    Bounds,
    ClientAuth,
    Credentials,
    Empty,
    Order,
    Precision,
    Reading,
    TokenDesk,
    bare_scope,
    check_choice,
    check_least,
)
from tap_celonis_audit.sandbox.clock import DAY_MS, Clock, to_iso, to_ms
from tap_celonis_audit.sandbox.exchange import Answer, Fault, Request
from tap_celonis_audit.sandbox.history import AuditHistory, LoginHistory, company
from tap_celonis_audit.sandbox.log import EventSource, Log, Producer
from tap_celonis_audit.sandbox.server import Server
from tap_celonis_audit.sandbox.team import new_uuid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from tap_celonis_audit.sandbox.team import Team

    Hook: TypeAlias = Callable[["Sandbox", Request], Answer | Fault | None]

Refusal: TypeAlias = Literal["403", "401"]
Unauthorized: TypeAlias = Literal["problem", "short", "empty"]

APIS = tuple(SCOPES)

CONTROL_PATH = "/sandbox"
HAPPEN_PATH = "/sandbox/happen"

# Events that the control endpoint makes are at least so old that a reader with a settling time of
# a few minutes sees them at once.
_SETTLED_MS = 300_000
_LONGEST_SECONDS = 10 * 366 * 86_400

_HOUR_MS = 3_600_000


class Sandbox:
    """A Celonis team on loopback, to be used as a context manager.

    Nothing random is left to chance: one seed always gives the same people, credentials and events,
    and what happens on a calendar day does not depend on when the sandbox is started.

    Args:
        seed: Chooses the company.
        days: Whole calendar days (UTC) of history before today; 0 starts with empty logs.
        now: The clock's first time, ISO 8601; by default the start of the current hour.
        running: The clock runs and the team goes on working; otherwise time stands still until
            ``clock.advance()``, and nothing happens on its own.
        port: The port on 127.0.0.1; 0 takes a free one.
        order: In what order records come: by time ``ascending`` or ``descending``; ``unstable``
            shuffles events of one millisecond anew on every request, ``shuffled`` everything.
        bounds: Whether ``from`` and ``to`` belong to the range: ``inclusive`` both do,
            ``exclusive`` neither, ``half-open`` only ``from``.
        precision: ``second`` cuts bounds and records to the second before it compares them.
        empty: How a page without records comes: ``204`` without a body, or a ``list`` of none.
        max_page_size: Larger pages are silently cut to this size.
        count: What ``totalCount`` says: ``exact``, ``missing``, ``negative``, ``text`` (a string
            of digits), ``frozen:N`` (always N), ``capped:N`` (N at most).
        ignore: Query parameters that the server ignores.
        shift_hours: The server misreads ``from`` and ``to`` by so many hours.
        latency_ms: How long every answer takes, on top of the work.
        rate_limit: Requests to the APIs per second of real time; 0 is no limit.
        retention_days: Events older than this vanish as the clock passes midnight; 0 keeps all.
        permissions: The APIs, ``audit`` and ``logins``, that the credentials may use.
        refusal: The status that tells of a missing permission or scope.
        unauthorized: How a 401 looks: a ``problem`` document, the ``short`` form, or ``empty``.
        scopes: What the OAuth client holds.
        oauth_client_auth: How the OAuth client may authenticate: ``basic``, ``post``, ``either``.
        token_ttl_seconds: Life of an access token by the sandbox's clock.
        max_minutes: The server ends by itself after this much real time.
        verbose: Logs one line a request to standard error.
        hook: Called before each API request is answered, in order of arrival, while it alone may
            touch the world: it may change the sandbox, and return an answer or a fault instead.
            What it raises is answered with status 500 and raised again by ``close()``.
        audit: Replaces the audit log, for example by a computed one.
        logins: Replaces the login history.

    Attributes:
        clock: The virtual clock; its time is also the ``Date`` of every answer.
        requests: The API requests seen, in order of arrival.
        reading: How logs are read now; see ``play()``.

    Raises:
        ValueError: An argument makes no sense.
    """

    def __init__(
        self,
        *,
        seed: int = 1,
        days: int = 730,
        now: str | None = None,
        running: bool = False,
        port: int = 0,
        order: Order = "ascending",
        bounds: Bounds = "inclusive",
        precision: Precision = "millisecond",
        empty: Empty = "204",
        max_page_size: int = PAGE_SIZE,
        count: str = "exact",
        ignore: Iterable[str] = (),
        shift_hours: float = 0.0,
        latency_ms: float = 0.0,
        rate_limit: int = 0,
        retention_days: int = 0,
        permissions: Iterable[str] = APIS,
        refusal: Refusal = "403",
        unauthorized: Unauthorized = "problem",
        scopes: Iterable[str] = tuple(SCOPES.values()),
        oauth_client_auth: ClientAuth = "either",
        token_ttl_seconds: float = 899,
        max_minutes: float | None = None,
        verbose: bool = False,
        hook: Hook | None = None,
        audit: EventSource | None = None,
        logins: EventSource | None = None,
    ) -> None:
        check_choice("refusal", refusal, get_args(Refusal))
        check_choice("unauthorized", unauthorized, get_args(Unauthorized))
        permissions = frozenset(permissions)
        for name in sorted(permissions):
            check_choice("permissions", name, APIS)
        check_least("days", days, 0)
        check_least("latency_ms", latency_ms, 0)
        check_least("rate_limit", rate_limit, 0)
        check_least("retention_days", retention_days, 0)
        self.seed = seed
        self.clock = Clock(_first_now_ms(now), running=running)
        self.requests: list[Request] = []
        self.hook = hook
        self.latency_ms = latency_ms
        self.rate_limit = rate_limit
        self.permissions = permissions
        self.refusal = refusal
        self.unauthorized = unauthorized
        self.verbose = verbose
        self.reading = Reading(
            order=order,
            bounds=bounds,
            precision=precision,
            empty=empty,
            max_page_size=max_page_size,
            count=count,
            ignore=frozenset(ignore),
            shift_hours=shift_hours,
        )
        self._credentials = Credentials.of(seed)
        self._token_desk = TokenDesk(
            self._credentials,
            scopes=scopes,
            client_auth=oauth_client_auth,
            ttl_seconds=token_ttl_seconds,
        )

        def history(producer: Producer) -> Log:
            return Log(self.clock, producer=producer, days=days, retention_days=retention_days)

        self._sources: dict[str, EventSource] = {
            "audit": history(AuditHistory(seed)) if audit is None else audit,
            "logins": history(LoginHistory(seed)) if logins is None else logins,
        }
        self._rng = Random(f"{seed}/order")
        self._window = (0, 0)
        self._failure: Exception | None = None
        self._ended = threading.Event()
        self._max_minutes = max_minutes
        self._timer: threading.Timer | None = None
        self._server = Server(self, port=port)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except RuntimeError:
            if error is None:  # Never hide the failure that ended the block.
                raise

    def start(self) -> None:
        """Start to serve."""
        self._server.start()
        if self._max_minutes is not None:
            self._timer = threading.Timer(self._max_minutes * 60, self._time_is_over)
            self._timer.daemon = True
            self._timer.start()

    def close(self) -> None:
        """Stop serving and give back the port.

        Raises:
            RuntimeError: The hook had raised something, which is its cause.
        """
        self.end()
        if self._timer:
            self._timer.cancel()
        self._server.stop()
        failure, self._failure = self._failure, None
        if failure is not None:
            raise RuntimeError("the sandbox failed while it answered a request") from failure

    def end(self) -> None:
        """Tell whoever waits that it is over; safe in a signal handler."""
        self._ended.set()

    def wait(self) -> None:
        """Wait until the sandbox is over: by itself, by ``end()`` or by ``close()``."""
        self._ended.wait()

    @property
    def url(self) -> str:
        """The base URL, without a trailing slash."""
        return self._server.url

    @property
    def app_key(self) -> str:
        """An application key."""
        return self._credentials.app_key

    @property
    def api_key(self) -> str:
        """A user's API key."""
        return self._credentials.api_key

    @property
    def client_id(self) -> str:
        """The id of the OAuth client."""
        return self._credentials.client_id

    @property
    def client_secret(self) -> str:
        """The secret of the OAuth client."""
        return self._credentials.client_secret

    @property
    def team(self) -> Team:
        """The team as of now."""
        return company(self.seed).team(self.clock.now_ms // DAY_MS)

    @property
    def audit(self) -> Log:
        """The audit log.

        Raises:
            TypeError: It was replaced by a source of another kind.
        """
        return self._log("audit")

    @property
    def logins(self) -> Log:
        """The login history.

        Raises:
            TypeError: It was replaced by a source of another kind.
        """
        return self._log("logins")

    def play(self, **changes: Any) -> None:  # noqa: ANN401 - whatever the attributes of Reading are
        """Change how the logs are read while the server runs: ``play(order="descending")``.

        Raises:
            ValueError: A value makes no sense.
        """
        with self.clock.lock:
            self.reading = replace(self.reading, **changes)

    def revoke_tokens(self) -> None:
        """Make every access token invalid."""
        with self.clock.lock:
            self._token_desk.revoke()

    def happen(self, *, audit: int = 0, logins: int = 0, advance_seconds: float = 600.0) -> None:
        """Move the clock and let exactly so many events happen on the way.

        They are at distinct times after the old now and more than five minutes before the new one.

        Raises:
            ValueError: The way is too short for the events.
        """
        if not 0 <= advance_seconds <= _LONGEST_SECONDS:
            raise ValueError(f"advance_seconds must be from 0 to {_LONGEST_SECONDS}")
        if min(audit, logins) < 0:
            raise ValueError("the number of events cannot be negative")
        with self.clock.lock:
            start_ms = self.clock.now_ms + 1
            stop_ms = start_ms + round(advance_seconds * 1_000) - _SETTLED_MS - 1
            if max(audit, logins) > max(0, stop_ms - start_ms):
                raise ValueError(
                    "advance_seconds is too small: events happen more than 300 seconds before"
                    " the new now, each at its own millisecond"
                )
            self.clock.advance(seconds=advance_seconds)
            if audit:
                self.audit.happen_between(start_ms, stop_ms, count=audit)
            if logins:
                self.logins.happen_between(start_ms, stop_ms, count=logins)

    def state(self) -> dict[str, str | int]:
        """Return the clock and the sizes of the logs, as ``GET /sandbox`` shows them."""
        end = 1 << 62
        with self.clock.lock:
            return {
                "now": to_iso(self.clock.now_ms),
                **{name: len(log.select(-end, end)) for name, log in self._sources.items()},
            }

    def respond(
        self, request: Request, *, authorization: str, body: bytes, form: dict[str, str]
    ) -> tuple[Answer, Fault | None]:
        """Answer one request; called by the server."""
        with self.clock.lock:
            try:
                if request.path in {CONTROL_PATH, HAPPEN_PATH}:
                    return self._control(request, body), None
                self.requests.append(request)
                instead = self.hook(self, request) if self.hook else None
                if isinstance(instead, Answer):
                    return instead, None
                return self._answer(request, authorization=authorization, form=form), instead
            except Exception as failure:  # noqa: BLE001 - raised again by close()
                self._failure = self._failure or failure
                return _internal_error(self._rng), None

    def _answer(self, request: Request, *, authorization: str, form: dict[str, str]) -> Answer:
        if request.path == TOKEN_PATH:
            if request.method != "POST":
                return _method_not_allowed("POST")
            return self._token_desk.answer(form, authorization, self.clock.now_ms)
        allowed, headers = self._spend()
        answer = self._api_answer(request, authorization) if allowed else _too_many_requests()
        return Answer(answer.status, {**answer.headers, **headers}, answer.body)

    def _spend(self) -> tuple[bool, dict[str, str]]:
        """Count a request against the limit of the current second."""
        if not self.rate_limit:
            # Every answer carries these two; without a limit they never run out.
            return True, {"x-ratelimit-limit": "6000", "x-ratelimit-remaining": "6000"}
        second = int(time.monotonic())
        begun, spent = self._window
        spent = spent + 1 if begun == second else 1
        self._window = second, spent
        headers = {
            "x-ratelimit-limit": str(self.rate_limit),
            "x-ratelimit-remaining": str(max(0, self.rate_limit - spent)),
        }
        if spent > self.rate_limit:
            return False, {**headers, "x-ratelimit-reset": "1"}
        return True, headers

    def _api_answer(self, request: Request, authorization: str) -> Answer:
        api = {AUDIT_PATH: "audit", LOGINS_PATH: "logins"}.get(request.path)
        if api is None:
            return Answer.problem(
                HTTPStatus.NOT_FOUND, code="GENERAL_NOTFOUND_PATH", detail="Path not found."
            )
        if request.method != "GET":
            return _method_not_allowed("GET")
        scopes = self._scopes(authorization)
        if scopes is None:
            return self._unauthorized()
        if api not in self.permissions or bare_scope(SCOPES[api]) not in scopes:
            return self._refused()
        return self.reading.answer(self._sources[api], request.query, self._rng)

    def _scopes(self, authorization: str) -> frozenset[str] | None:
        """Return what a credential is good for; None if it is not valid."""
        scheme, _, credential = authorization.partition(" ")
        known = {"appkey": self.app_key, "bearer": self.api_key}.get(scheme.lower())
        if known is not None and credential == known:
            return frozenset(bare_scope(scope) for scope in SCOPES.values())
        if scheme.lower() == "bearer":
            return self._token_desk.scopes_of(credential, self.clock.now_ms)
        return None

    def _unauthorized(self) -> Answer:
        match self.unauthorized:
            case "short":
                return Answer.json(HTTPStatus.UNAUTHORIZED, {"error": "Unauthorized"})
            case "empty":
                return Answer(HTTPStatus.UNAUTHORIZED)
            case _:
                return Answer.problem(
                    HTTPStatus.UNAUTHORIZED,
                    code="GENERAL_UNAUTHORIZED",
                    detail="Full authentication is required to access this resource.",
                )

    def _refused(self) -> Answer:
        if self.refusal == "401":
            return self._unauthorized()
        return Answer.problem(
            HTTPStatus.FORBIDDEN, code="ADMIN_ACCESS_ERROR", detail="Access Denied."
        )

    def _control(self, request: Request, body: bytes) -> Answer:
        """Answer the sandbox's own endpoint, which is no part of the Celonis API."""
        if request.path == HAPPEN_PATH:
            if request.method != "POST":
                return _method_not_allowed("POST")
            try:
                self.happen(**_wishes(body))
            except (TypeError, ValueError) as error:
                return Answer.problem(
                    HTTPStatus.BAD_REQUEST, code="SANDBOX_BAD_REQUEST", detail=str(error)
                )
        elif request.method != "GET":
            return _method_not_allowed("GET")
        return Answer.json(HTTPStatus.OK, self.state())

    def _log(self, name: str) -> Log:
        source = self._sources[name]
        if not isinstance(source, Log):
            raise TypeError(f"the {name} log was replaced by a {type(source).__name__}")
        return source

    def _time_is_over(self) -> None:
        self.end()
        self._server.stop()


def _first_now_ms(now: str | None) -> int:
    if now is not None:
        return to_ms(now)
    now_ms = round(time.time() * 1_000)
    return now_ms - now_ms % _HOUR_MS


def _wishes(body: bytes) -> dict[str, Any]:
    """Read what shall happen."""
    wishes = json.loads(body or b"{}")
    if not isinstance(wishes, dict):
        raise TypeError("the body must be a JSON object")
    for name in ("audit", "logins"):
        if type(wishes.get(name, 0)) is not int:
            raise TypeError(f"{name} must be a whole number")
    if unknown := sorted(wishes.keys() - {"audit", "logins", "advance_seconds"}):
        raise ValueError(f"unknown: {', '.join(unknown)}")
    return wishes


def _method_not_allowed(allowed: str) -> Answer:
    return Answer.problem(
        HTTPStatus.METHOD_NOT_ALLOWED,
        code="GENERAL_METHOD_NOT_ALLOWED",
        detail=f"Only {allowed} is supported.",
        headers={"allow": allowed},
    )


def _too_many_requests() -> Answer:
    return Answer.problem(
        HTTPStatus.TOO_MANY_REQUESTS, code="LIMIT_RATE_EXCEEDED", detail="Rate limit exceeded."
    )


def _internal_error(rng: Random) -> Answer:
    return Answer.problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        code="GENERAL_INTERNAL_ERROR",
        detail=f"Something went wrong. Celonis Support ID: {new_uuid(rng)}",
    )
