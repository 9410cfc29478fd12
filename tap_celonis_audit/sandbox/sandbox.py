"""The sandbox: a team, its logs, a clock, and a server that plays the Celonis usage APIs."""

from __future__ import annotations

import threading
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, get_args

from tap_celonis_audit.sandbox import access, control
from tap_celonis_audit.sandbox.access import (
    ClientAuth,
    Credentials,
    RateLimit,
    Refusal,
    TokenDesk,
    Unauthorized,
)
from tap_celonis_audit.sandbox.api import (
    APIS,
    PAGE_SIZE,
    PATHS,
    SCOPES,
    TOKEN_PATH,
    Bounds,
    Empty,
    Order,
    Precision,
    Reading,
    bare_scope,
    check_choice,
    check_least,
    check_names,
)
from tap_celonis_audit.sandbox.exchange import (
    Answer,
    Fault,
    Request,
    gone,
    internal_error,
    method_not_allowed,
    not_found,
    too_many_requests,
)
from tap_celonis_audit.sandbox.permissions import in_the_words_of_the_export
from tap_celonis_audit.sandbox.server import Server
from tap_celonis_audit.sandbox.team import new_uuid
from tap_celonis_audit.sandbox.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from tap_celonis_audit.sandbox.log import EventSource, Log
    from tap_celonis_audit.sandbox.members import DateStyle
    from tap_celonis_audit.sandbox.team import Team

    Hook: TypeAlias = Callable[["Sandbox", Request], Answer | Fault | None]

GoneStatus: TypeAlias = Literal["404", "410"]

_ENDPOINTS = {path: name for name, path in PATHS.items()}


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
        page_base: The number of the first page.
        ignore: Query parameters that the server ignores.
        shift_hours: The server misreads ``from`` and ``to`` by so many hours.
        latency_ms: How long every answer takes, on top of the work.
        rate_limit: Requests to the APIs per second of real time; 0 is no limit.
        retention_days: Events older than this vanish as the clock passes midnight; 0 keeps all.
        permission_items: At least so many items in the permissions export.
        last_login: How members' ``lastLogin`` is written: ``month-first``, ``day-first``, ``iso``,
            or ``mixed``, differently from member to member.
        extra_fields: Members and permissions have fields that nobody documented.
        gone: Endpoints that the team does not have, such as ``audit-v1``.
        gone_status: The status that tells so.
        permissions: The APIs that the credentials may use.
        oauth_only: The APIs that take access tokens only, and no keys.
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
        members: Who is in the team: what the members API shows.
        grants: Who may do what: what the permissions export shows.
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
        page_base: int = 0,
        ignore: Iterable[str] = (),
        shift_hours: float = 0.0,
        latency_ms: float = 0.0,
        rate_limit: int = 0,
        retention_days: int = 0,
        permission_items: int = 0,
        last_login: DateStyle = "month-first",
        extra_fields: bool = False,
        gone: Iterable[str] = (),
        gone_status: GoneStatus = "404",
        permissions: Iterable[str] = APIS,
        oauth_only: Iterable[str] = (),
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
        check_choice("gone_status", gone_status, get_args(GoneStatus))
        check_least("latency_ms", latency_ms, 0)
        check_least("rate_limit", rate_limit, 0)
        self._world = World(
            seed=seed,
            days=days,
            now=now,
            running=running,
            retention_days=retention_days,
            permission_items=permission_items,
            last_login=last_login,
            extra_fields=extra_fields,
            replaced={"audit": audit, "logins": logins},
        )
        self.clock = self._world.clock
        self.members = self._world.members
        self.grants = self._world.grants
        self.requests: list[Request] = []
        self.hook = hook
        self.latency_ms = latency_ms
        self.rate_limit = rate_limit
        self.permissions = check_names("permissions", permissions, APIS)
        self.oauth_only = check_names("oauth_only", oauth_only, APIS)
        self.gone = check_names("gone", gone, tuple(PATHS))
        self.gone_status = gone_status
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
            page_base=page_base,
        )
        self._credentials = Credentials.of(seed)
        self._token_desk = TokenDesk(
            self._credentials,
            scopes=scopes,
            client_auth=oauth_client_auth,
            ttl_seconds=token_ttl_seconds,
        )
        self._rng = Random(f"{seed}/order")
        self._rate = RateLimit()
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
        return self._world.team

    @property
    def audit(self) -> Log:
        """The audit log.

        Raises:
            TypeError: It was replaced by a source of another kind.
        """
        return self._world.log("audit")

    @property
    def logins(self) -> Log:
        """The login history.

        Raises:
            TypeError: It was replaced by a source of another kind.
        """
        return self._world.log("logins")

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

    def happen(
        self,
        *,
        audit: int = 0,
        logins: int = 0,
        joins: int = 0,
        leaves: int = 0,
        moves: int = 0,
        grants: int = 0,
        revocations: int = 0,
        advance_seconds: float = 600.0,
    ) -> None:
        """Change the team now, then move the clock and let exactly so many events happen meanwhile.

        They are at distinct times after the old now and more than five minutes before the new one.
        No change leaves an event behind.

        Args:
            audit: Events of the audit log.
            logins: Events of the login history.
            joins: People who join the team.
            leaves: People who leave it, and their permissions with them.
            moves: People who change their groups.
            grants: New permissions of members.
            revocations: Permissions that end.
            advance_seconds: How far the clock moves.

        Raises:
            ValueError: The way is too short for the events, or the team too small for the changes.
        """
        self._world.happen(
            {"audit": audit, "logins": logins},
            {
                "joins": joins,
                "leaves": leaves,
                "moves": moves,
                "grants": grants,
                "revocations": revocations,
            },
            advance_seconds=advance_seconds,
        )

    def state(self) -> dict[str, str | int]:
        """Return the clock and the sizes of logs and tables, as ``GET /sandbox`` shows them."""
        return self._world.state()

    def respond(
        self, request: Request, *, authorization: str, body: bytes, form: dict[str, str]
    ) -> tuple[Answer, Fault | None]:
        """Answer one request; called by the server."""
        with self.clock.lock:
            try:
                if request.path in {control.CONTROL_PATH, control.HAPPEN_PATH}:
                    ours = control.answer(request, body, happen=self.happen, state=self.state)
                    return ours, None
                self.requests.append(request)
                instead = self.hook(self, request) if self.hook else None
                if isinstance(instead, Answer):
                    return instead, None
                return self._answer(request, authorization=authorization, form=form), instead
            except Exception as failure:  # noqa: BLE001 - raised again by close()
                self._failure = self._failure or failure
                return internal_error(new_uuid(self._rng)), None

    def _answer(self, request: Request, *, authorization: str, form: dict[str, str]) -> Answer:
        if request.path == TOKEN_PATH:
            if request.method != "POST":
                return method_not_allowed("POST")
            return self._token_desk.answer(form, authorization, self.clock.now_ms)
        allowed, headers = self._rate.spend(self.rate_limit)
        answer = self._api_answer(request, authorization) if allowed else too_many_requests()
        return Answer(answer.status, {**answer.headers, **headers}, answer.body)

    def _api_answer(self, request: Request, authorization: str) -> Answer:
        endpoint = _ENDPOINTS.get(request.path)
        if endpoint is None or (endpoint in self.gone and self.gone_status == "404"):
            return not_found()
        if endpoint in self.gone:
            return gone()
        if request.method != "GET":
            return method_not_allowed("GET")
        api = endpoint.partition("-")[0]
        if (refusal := self._refusal(api, authorization)) is not None:
            return in_the_words_of_the_export(refusal) if api == "permissions" else refusal
        return self._content(endpoint, api, request)

    def _content(self, endpoint: str, api: str, request: Request) -> Answer:
        match endpoint:
            case "members":
                return self.members.answer(self.reading, request.query, self._rng)
            case "permissions":
                return self.grants.answer(self.reading, self._rng)
            case _:
                source = self._world.sources[api]
                return self.reading.answer(source, request.query, self._rng)

    def _refusal(self, api: str, authorization: str) -> Answer | None:
        """Say no, if a credential is not good for an API."""
        now_ms = self.clock.now_ms
        scopes = access.scopes_of(authorization, self._credentials, self._token_desk, now_ms)
        is_oauth = access.is_oauth(authorization, self._credentials)
        if scopes is None or (api in self.oauth_only and not is_oauth):
            return access.unauthorized(self.unauthorized)
        if api in self.permissions and bare_scope(SCOPES[api]) in scopes:
            return None
        return access.unauthorized(self.unauthorized) if self.refusal == "401" else access.denied()

    def _time_is_over(self) -> None:
        self.end()
        self._server.stop()
