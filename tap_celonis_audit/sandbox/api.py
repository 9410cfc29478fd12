"""The usage APIs: their names, scopes and addresses, and how their numbered pages are read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from tap_celonis_audit.sandbox.clock import SECOND_MS, to_ms
from tap_celonis_audit.sandbox.exchange import Answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from random import Random

    from tap_celonis_audit.sandbox.log import EventSource

SCOPES = {
    "audit": "audit.log:read",
    "logins": "team.login-history:read",
    "members": "team.user-group-info:read",
    "permissions": "authorization.permissions:read",
    "adoption": "platform-adoption.tracking-events:read",
}
"""The scope of each API."""

APIS = tuple(SCOPES)

PATHS = {
    # https://developer.celonis.com/celonis-apis/audit-log-api/overview/
    "audit-v1": "/log/api/external/audit",
    "audit-v2": "/log/api/external/v2/audit",
    # https://developer.celonis.com/celonis-apis/login-history-api/overview/
    "logins": "/api/external/authentication-events",
    # https://developer.celonis.com/celonis-apis/user-group-info-api/overview/
    "members": "/api/external/members",
    # https://developer.celonis.com/celonis-apis/permissions-api/overview/
    "permissions": "/api/authorization/external/permissions",
    # https://developer.celonis.com/celonis-apis/platform-api/overview/
    "adoption-v1": "/platform-adoption/api/external/adoption-tracking-events/STUDIO_ASSET",
    "adoption-v2": "/platform-adoption/api/external/v2/adoption-tracking-events/STUDIO_ASSET",
}
"""The path of each endpoint: an API, or a version of one."""

TOKEN_PATH = "/oauth2/token"  # noqa: S105 - a path

PAGE_SIZE = 200
PARAMETERS = ("from", "to", "pageNumber", "pageSize", "includeInternal", "pageToken", "limit")

Order: TypeAlias = Literal["ascending", "descending", "unstable", "shuffled"]
Bounds: TypeAlias = Literal["inclusive", "exclusive", "half-open"]
Precision: TypeAlias = Literal["millisecond", "second"]
Empty: TypeAlias = Literal["204", "list"]

END_OF_TIME_MS = 1 << 62
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


def check_count(name: str, count: str) -> None:
    """Refuse a rule for ``totalCount`` that is none."""
    if not _COUNT.fullmatch(count):
        raise ValueError(
            f"{name} must be exact, missing, negative, text, frozen:N or capped:N, not {count!r}"
        )


def check_names(name: str, values: Iterable[str], choices: tuple[str, ...]) -> frozenset[str]:
    """Refuse an argument that lists something unknown, and return it as a set."""
    found = frozenset(values)
    for value in sorted(found):
        check_choice(name, value, choices)
    return found


def bare_scope(scope: str) -> str:
    """Reduce ``audit.log:read`` and ``audit.log``, two spellings of one scope, to the second."""
    return scope.removesuffix(":read")


@dataclass(frozen=True, slots=True)
class Reading:
    """How the server reads a list: everything the documentation leaves open, decided one way.

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
    page_base: int = 0

    def __post_init__(self) -> None:
        check_choice("order", self.order, get_args(Order))
        check_choice("bounds", self.bounds, get_args(Bounds))
        check_choice("precision", self.precision, get_args(Precision))
        check_choice("empty", self.empty, get_args(Empty))
        check_names("ignore", self.ignore, PARAMETERS)
        check_least("max_page_size", self.max_page_size, 1)
        check_count("count", self.count)
        check_least("page_base", self.page_base, 0)

    def honoured(self, query: Mapping[str, str]) -> dict[str, str]:
        """Return the parameters of a query that the server does not ignore."""
        return {name: value for name, value in query.items() if name not in self.ignore}

    def answer(self, source: EventSource, query: Mapping[str, str], rng: Random) -> Answer:
        """Answer a query of one list, whose records are addressed by page numbers."""
        asked = self.honoured(query)
        try:
            page_number = integer(asked, "pageNumber", default=self.page_base, at_least=0)
            page_size = integer(asked, "pageSize", default=PAGE_SIZE, at_least=1, at_most=PAGE_SIZE)
            start_ms, stop_ms = self.span(asked)
        except ValueError as error:
            return bad_parameter(error)
        page_size = min(page_size, self.max_page_size)
        found = source.select(start_ms, stop_ms)
        # A server that counts from one takes zero for one, too.
        offset = max(0, page_number - self.page_base) * page_size
        bodies = self._page(source, found, offset, page_size, rng)
        if not bodies and self.empty == "204":
            return Answer(HTTPStatus.NO_CONTENT)
        body = b'{"content":[%b],"pageNumber":%d,"pageSize":%d%b}' % (
            b",".join(bodies),
            page_number,
            page_size,
            total_count(self.count, len(found)),
        )
        return Answer(HTTPStatus.OK, {"content-type": "application/json"}, body)

    def span(self, asked: Mapping[str, str]) -> tuple[int, int]:
        """Translate from and to into a half-open range of milliseconds."""
        unit = SECOND_MS if self.precision == "second" else 1
        shift_ms = round(self.shift_hours * _HOUR_MS)
        start_ms, stop_ms = -END_OF_TIME_MS, END_OF_TIME_MS
        if "from" in asked:
            start_ms = moment(asked, "from") + shift_ms
            start_ms -= start_ms % unit
            start_ms += unit if self.bounds == "exclusive" else 0
        if "to" in asked:
            stop_ms = moment(asked, "to") + shift_ms
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


def total_count(rule: str, found: int) -> bytes:
    """Write the envelope's ``totalCount`` by a rule, as its last member."""
    kind, _, number = rule.partition(":")
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


def bad_parameter(error: ValueError) -> Answer:
    """Answer that a parameter is missing or wrong."""
    return Answer.problem(
        HTTPStatus.BAD_REQUEST, code="GENERAL_PARAMETER_MISSMATCH", detail=str(error)
    )


def integer(
    asked: Mapping[str, str], name: str, *, default: int, at_least: int, at_most: int | None = None
) -> int:
    """Read a whole number out of a query.

    Raises:
        ValueError: It is none, or out of range.
    """
    text = asked.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"Parameter '{name}' must be a whole number.")
    number = int(text)
    if number < at_least or (at_most is not None and number > at_most):
        raise ValueError(f"Parameter '{name}' is out of range.")
    return number


def moment(asked: Mapping[str, str], name: str) -> int:
    """Read a date-time out of a query, in milliseconds since 1970.

    Raises:
        ValueError: It is none.
    """
    try:
        return to_ms(asked[name])
    except (ValueError, OverflowError):
        raise ValueError(f"Parameter '{name}' must be an ISO 8601 date-time.") from None
