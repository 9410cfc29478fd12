"""The sandbox: a team, its logs, a clock, and a server that plays the Celonis usage APIs."""

from __future__ import annotations

import threading
from random import Random
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from tap_celonis_audit.sandbox import control
from tap_celonis_audit.sandbox.access import (
    ClientAuth,
    Credentials,
    Refusal,
    TokenDesk,
    Unauthorized,
)
from tap_celonis_audit.sandbox.api import (
    APIS,
    PAGE_SIZE,
    SCOPES,
    Bounds,
    Empty,
    Order,
    Precision,
    Reading,
    check_least,
)
from tap_celonis_audit.sandbox.cursors import Cursors, End, Quirk, Span
from tap_celonis_audit.sandbox.exchange import Answer, Fault, Request, internal_error
from tap_celonis_audit.sandbox.front import Front, GoneStatus, Rules
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
        v2_span: Whether version 2 has ``from`` and ``to``: they are ``honoured``, ``ignored``, or
            ``refused`` with status 400.
        v2_list_key: What version 2 calls the list of records.
        v2_count: What ``totalCount`` says in version 2; as ``count``.
        v2_end: How the last page's ``nextPageToken`` comes: ``absent``, ``empty`` or ``null``.
        v2_token_ttl_seconds: Life of a page token by the sandbox's clock; 0 is for ever.
        v2_max_limit: Larger pages of version 2 are silently cut to this size.
        v2_quirk: What is odd about version 2: ``repeat`` sends the second page twice, ``hole`` an
            empty page before it, ``stuck`` always the second page, ``loop`` begins again after the
            last page, ``endless`` goes on with empty ones.
        permission_items: At least so many items in the permissions export.
        last_login: How members' ``lastLogin`` is written: ``month-first``, ``day-first``, ``iso``,
            or ``mixed``, differently from member to member.
        extra_fields: Members, permissions and adoption events have fields that nobody documented.
        stories: Something happens that an auditor should find: see ``state()["stories"]``.
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
        adoption: Replaces the adoption events.

    Attributes:
        clock: The virtual clock; its time is also the ``Date`` of every answer.
        members: Who is in the team: what the members API shows.
        grants: Who may do what: what the permissions export shows.
        requests: The API requests seen, in order of arrival.

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
        v2_span: Span = "honoured",
        v2_list_key: str = "content",
        v2_count: str = "missing",
        v2_end: End = "absent",
        v2_token_ttl_seconds: float = 0,
        v2_max_limit: int = 500,
        v2_quirk: Quirk = "none",
        permission_items: int = 0,
        last_login: DateStyle = "month-first",
        extra_fields: bool = False,
        stories: bool = False,
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
        adoption: EventSource | None = None,
    ) -> None:
        check_least("latency_ms", latency_ms, 0)
        self._world = World(
            seed=seed,
            days=days,
            now=now,
            running=running,
            retention_days=retention_days,
            permission_items=permission_items,
            last_login=last_login,
            extra_fields=extra_fields,
            stories=stories,
            replaced={"audit": audit, "logins": logins, "adoption": adoption},
        )
        self.clock = self._world.clock
        self.members = self._world.members
        self.grants = self._world.grants
        self.requests: list[Request] = []
        self.hook = hook
        self.latency_ms = latency_ms
        self.verbose = verbose
        rules = Rules(
            reading=Reading(
                order=order,
                bounds=bounds,
                precision=precision,
                empty=empty,
                max_page_size=max_page_size,
                count=count,
                ignore=frozenset(ignore),
                shift_hours=shift_hours,
                page_base=page_base,
            ),
            cursors=Cursors(
                span=v2_span,
                list_key=v2_list_key,
                count=v2_count,
                end=v2_end,
                token_ttl_seconds=v2_token_ttl_seconds,
                max_limit=v2_max_limit,
                quirk=v2_quirk,
            ),
            permissions=frozenset(permissions),
            oauth_only=frozenset(oauth_only),
            gone=frozenset(gone),
            gone_status=gone_status,
            refusal=refusal,
            unauthorized=unauthorized,
            rate_limit=rate_limit,
        )
        self._credentials = Credentials.of(seed)
        self._token_desk = TokenDesk(
            self._credentials,
            scopes=scopes,
            client_auth=oauth_client_auth,
            ttl_seconds=token_ttl_seconds,
        )
        self._rng = Random(f"{seed}/order")
        self._front = Front(
            self._world,
            rules,
            credentials=self._credentials,
            token_desk=self._token_desk,
            rng=self._rng,
        )
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

    @property
    def adoption(self) -> Log:
        """The adoption events.

        Raises:
            TypeError: They were replaced by a source of another kind.
        """
        return self._world.log("adoption")

    def play(self, **changes: Any) -> None:  # noqa: ANN401 - whatever the arguments take
        """Change how the server behaves while it runs: ``play(order="descending", gone=())``.

        Everything can be changed but who the team is, how tokens are issued and how time goes.

        Raises:
            TypeError: It cannot be changed.
            ValueError: A value makes no sense.
        """
        with self.clock.lock:
            self._front.rules = self._front.rules.changed(changes)

    def revoke_tokens(self) -> None:
        """Make every access token invalid."""
        with self.clock.lock:
            self._token_desk.revoke()

    def happen(
        self,
        *,
        audit: int = 0,
        logins: int = 0,
        adoption: int = 0,
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
            adoption: Uses of Studio.
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
            {"audit": audit, "logins": logins, "adoption": adoption},
            {
                "joins": joins,
                "leaves": leaves,
                "moves": moves,
                "grants": grants,
                "revocations": revocations,
            },
            advance_seconds=advance_seconds,
        )

    def state(self) -> dict[str, Any]:
        """Return the clock, sizes of logs and tables, and stories, as ``GET /sandbox`` shows."""
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
                return self._front.answer(request, authorization=authorization, form=form), instead
            except Exception as failure:  # noqa: BLE001 - raised again by close()
                self._failure = self._failure or failure
                return internal_error(new_uuid(self._rng)), None

    def _time_is_over(self) -> None:
        self.end()
        self._server.stop()
