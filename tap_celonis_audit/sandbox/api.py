"""The usage APIs: who may ask, what was asked, and which records to send."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args
from urllib.parse import unquote_plus

from tap_celonis_audit.sandbox.clock import SECOND_MS, to_ms
from tap_celonis_audit.sandbox.exchange import Answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from random import Random

    from tap_celonis_audit.sandbox.log import EventSource

AUDIT_PATH = "/log/api/external/audit"
LOGINS_PATH = "/api/external/authentication-events"
TOKEN_PATH = "/oauth2/token"  # noqa: S105 - a path

PAGE_SIZE = 200
PARAMETERS = ("from", "to", "pageNumber", "pageSize")

Order: TypeAlias = Literal["ascending", "descending", "unstable", "shuffled"]
Bounds: TypeAlias = Literal["inclusive", "exclusive", "half-open"]
Precision: TypeAlias = Literal["millisecond", "second"]
Empty: TypeAlias = Literal["204", "list"]
ClientAuth: TypeAlias = Literal["either", "basic", "post"]

SCOPES = {"audit": "audit.log:read", "logins": "team.login-history:read"}
"""The scope of each API."""

_END_OF_TIME_MS = 1 << 62
_HOUR_MS = 3_600_000
_COUNT = re.compile(r"exact|missing|negative|text|(frozen|capped):\d+", re.ASCII)


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse an argument that is none of its choices."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")


def check_least(name: str, number: float, least: float) -> None:
    """Refuse an argument that is too small."""
    if not number >= least:
        raise ValueError(f"{name} must be at least {least}, not {number}")


def bare_scope(scope: str) -> str:
    """Reduce ``audit.log:read`` and ``audit.log``, two spellings of one scope, to the second."""
    return scope.removesuffix(":read")


@dataclass(frozen=True, slots=True)
class Reading:
    """How the server reads a log: everything the documentation leaves open, decided one way.

    See the sandbox for what each attribute means.

    Raises:
        ValueError: An attribute makes no sense.
    """

    order: Order
    bounds: Bounds
    precision: Precision
    empty: Empty
    max_page_size: int
    count: str
    ignore: frozenset[str]
    shift_hours: float

    def __post_init__(self) -> None:
        check_choice("order", self.order, get_args(Order))
        check_choice("bounds", self.bounds, get_args(Bounds))
        check_choice("precision", self.precision, get_args(Precision))
        check_choice("empty", self.empty, get_args(Empty))
        for name in sorted(self.ignore):
            check_choice("ignore", name, PARAMETERS)
        check_least("max_page_size", self.max_page_size, 1)
        if not _COUNT.fullmatch(self.count):
            raise ValueError(
                "count must be exact, missing, negative, text, frozen:N or capped:N,"
                f" not {self.count!r}"
            )

    def answer(self, source: EventSource, query: Mapping[str, str], rng: Random) -> Answer:
        """Answer a query of one log."""
        asked = {name: value for name, value in query.items() if name not in self.ignore}
        try:
            page_number = _integer(asked, "pageNumber", default=0, at_least=0)
            page_size = _integer(
                asked, "pageSize", default=PAGE_SIZE, at_least=1, at_most=PAGE_SIZE
            )
            start_ms, stop_ms = self._range(asked)
        except ValueError as error:
            return Answer.problem(
                HTTPStatus.BAD_REQUEST, code="GENERAL_PARAMETER_MISSMATCH", detail=str(error)
            )
        page_size = min(page_size, self.max_page_size)
        found = source.select(start_ms, stop_ms)
        bodies = self._page(source, found, page_number * page_size, page_size, rng)
        if not bodies and self.empty == "204":
            return Answer(HTTPStatus.NO_CONTENT)
        body = b'{"content":[%b],"pageNumber":%d,"pageSize":%d%b}' % (
            b",".join(bodies),
            page_number,
            page_size,
            self._total(len(found)),
        )
        return Answer(HTTPStatus.OK, {"content-type": "application/json"}, body)

    def _range(self, asked: Mapping[str, str]) -> tuple[int, int]:
        """Translate from and to into a half-open range of milliseconds."""
        unit = SECOND_MS if self.precision == "second" else 1
        shift_ms = round(self.shift_hours * _HOUR_MS)
        start_ms, stop_ms = -_END_OF_TIME_MS, _END_OF_TIME_MS
        if "from" in asked:
            start_ms = _moment(asked, "from") + shift_ms
            start_ms -= start_ms % unit
            start_ms += unit if self.bounds == "exclusive" else 0
        if "to" in asked:
            stop_ms = _moment(asked, "to") + shift_ms
            stop_ms -= stop_ms % unit
            stop_ms += unit if self.bounds == "inclusive" else 0
        return start_ms, stop_ms

    def _page(
        self, source: EventSource, found: range, offset: int, size: int, rng: Random
    ) -> Sequence[bytes]:
        """Cut one page out of what was found, in the order that the server plays."""
        match self.order:
            case "descending":
                return source.bodies(found[::-1][offset : offset + size])
            case "shuffled":
                # A page of a random order is a random sample of its length.
                return source.bodies(rng.sample(found, len(found[offset : offset + size])))
            case "unstable":
                return source.bodies(
                    _with_ties_shuffled(source, found, found[offset : offset + size], rng)
                )
            case _:
                return source.bodies(found[offset : offset + size])

    def _total(self, found: int) -> bytes:
        """Write the envelope's last member."""
        kind, _, number = self.count.partition(":")
        match kind:
            case "missing":
                return b""
            case "negative":
                return b',"totalCount":-1'
            case "text":
                return b',"totalCount":"%d"' % found
            case "frozen":
                found = int(number)
            case "capped":
                found = min(found, int(number))
        return b',"totalCount":%d' % found


def _with_ties_shuffled(
    source: EventSource, found: range, page: range, rng: Random
) -> Sequence[int]:
    """Return the positions of a page when events of one millisecond come in any order."""
    if not page:
        return page
    # A tie can begin before the page and end after it: it is shuffled as a whole, then cut.
    first, last = page[0], page[-1]
    while first > found[0] and source.time_at(first - 1) == source.time_at(page[0]):
        first -= 1
    while last < found[-1] and source.time_at(last + 1) == source.time_at(page[-1]):
        last += 1
    positions: list[int] = []
    tie: list[int] = []
    for position in range(first, last + 1):
        if tie and source.time_at(position) != source.time_at(tie[0]):
            rng.shuffle(tie)
            positions += tie
            tie = []
        tie.append(position)
    rng.shuffle(tie)
    positions += tie
    return positions[page[0] - first : page[-1] - first + 1]


def _integer(
    asked: Mapping[str, str], name: str, *, default: int, at_least: int, at_most: int | None = None
) -> int:
    text = asked.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"Parameter '{name}' must be a whole number.")
    number = int(text)
    if number < at_least or (at_most is not None and number > at_most):
        raise ValueError(f"Parameter '{name}' is out of range.")
    return number


def _moment(asked: Mapping[str, str], name: str) -> int:
    try:
        return to_ms(asked[name])
    except (ValueError, OverflowError):
        raise ValueError(f"Parameter '{name}' must be an ISO 8601 date-time.") from None


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client can show; fixed by the seed, so that a configuration survives a restart."""

    app_key: str
    api_key: str
    client_id: str
    client_secret: str

    @classmethod
    def of(cls, seed: int) -> Credentials:
        """Return the credentials of a seed: they look like what they are."""
        return cls(
            app_key=f"sandbox-app-key-{seed}",
            api_key=f"sandbox-api-key-{seed}",
            client_id=f"sandbox-client-{seed}",
            # Characters that must be encoded in a form and in a Basic header (RFC 6749, 2.3.1).
            client_secret=f"not+a/secret={seed}",
        )


class TokenDesk:
    """The token endpoint: client credentials in, short-lived access tokens out."""

    def __init__(
        self,
        credentials: Credentials,
        *,
        scopes: Iterable[str],
        client_auth: ClientAuth,
        ttl_seconds: float,
    ) -> None:
        check_choice("oauth_client_auth", client_auth, get_args(ClientAuth))
        check_least("token_ttl_seconds", ttl_seconds, 0)
        self._credentials = credentials
        self._held = frozenset(bare_scope(scope) for scope in scopes)
        self._client_auth = client_auth
        self._ttl_seconds = ttl_seconds
        self._issued = 0
        # Access token -> (expiry in milliseconds, scopes)
        self._tokens: dict[str, tuple[int, frozenset[str]]] = {}

    def answer(self, form: Mapping[str, str], authorization: str, now_ms: int) -> Answer:
        """Answer a token request (RFC 6749, 4.4)."""
        in_header = authorization.lower().startswith("basic ")
        in_form = "client_secret" in form
        if in_header and in_form:
            return _token_error(HTTPStatus.BAD_REQUEST, "invalid_request")
        if not self._knows(form, authorization, in_header=in_header, in_form=in_form):
            return _token_error(HTTPStatus.UNAUTHORIZED, "invalid_client")
        match form.get("grant_type"):
            case "client_credentials":
                pass
            case None:
                return _token_error(HTTPStatus.BAD_REQUEST, "invalid_request")
            case _:
                return _token_error(HTTPStatus.BAD_REQUEST, "unsupported_grant_type")
        wanted = form.get("scope", "").split() or sorted(self._held)
        scopes = frozenset(bare_scope(scope) for scope in wanted)
        if not scopes <= self._held:
            return _token_error(HTTPStatus.BAD_REQUEST, "invalid_scope")
        self._issued += 1
        token = f"sandbox-token-{self._issued}"
        self._tokens[token] = (now_ms + round(self._ttl_seconds * SECOND_MS), scopes)
        payload = {
            "access_token": token,
            "token_type": "Bearer",
            "scope": " ".join(wanted),
            "expires_in": int(self._ttl_seconds),
        }
        return Answer.json(HTTPStatus.OK, payload, headers={"cache-control": "no-store"})

    def scopes_of(self, token: str, now_ms: int) -> frozenset[str] | None:
        """Return what a token is good for; None if it is unknown, revoked or expired."""
        expires_ms, scopes = self._tokens.get(token, (now_ms, frozenset[str]()))
        return scopes if now_ms < expires_ms else None

    def revoke(self) -> None:
        """Forget every token."""
        self._tokens.clear()

    def _knows(
        self, form: Mapping[str, str], authorization: str, *, in_header: bool, in_form: bool
    ) -> bool:
        shown = None
        if in_header and self._client_auth != "post":
            shown = _basic(authorization)
        elif in_form and self._client_auth != "basic":
            shown = form.get("client_id", ""), form["client_secret"]
        return shown == (self._credentials.client_id, self._credentials.client_secret)


def _basic(authorization: str) -> tuple[str, str] | None:
    """Read client credentials, form-encoded as RFC 6749 asks, from a Basic header."""
    try:
        text = base64.b64decode(authorization[len("basic ") :], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    name, _, secret = text.partition(":")
    return unquote_plus(name), unquote_plus(secret)


def _token_error(status: HTTPStatus, error: str) -> Answer:
    headers = {"www-authenticate": "Basic"} if status == HTTPStatus.UNAUTHORIZED else None
    return Answer.json(status, {"error": error}, headers=headers)
