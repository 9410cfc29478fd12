"""Reading a log page by page with a cursor, as version 2 of the audit and adoption APIs does.

https://developer.celonis.com/celonis-apis/audit-log-api/overview/
https://developer.celonis.com/celonis-apis/platform-api/overview/
"""

from __future__ import annotations

import base64
import binascii
import json
from bisect import bisect_left, bisect_right
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args
from zlib import crc32

from tap_celonis_audit.sandbox.api import (
    bad_parameter,
    check_choice,
    check_count,
    check_least,
    integer,
    total_count,
)
from tap_celonis_audit.sandbox.clock import SECOND_MS
from tap_celonis_audit.sandbox.exchange import Answer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tap_celonis_audit.sandbox.api import Order, Reading
    from tap_celonis_audit.sandbox.log import EventSource

Span: TypeAlias = Literal["honoured", "ignored", "refused"]
End: TypeAlias = Literal["absent", "empty", "null"]
Quirk: TypeAlias = Literal["none", "repeat", "hole", "stuck", "loop", "endless"]

_LIMIT = 200
_LARGEST_LIMIT = 500


@dataclass(frozen=True, slots=True)
class _Cursor:
    """Where a walk is: what a page token says.

    Attributes:
        page: How many pages came before.
        at_ms: The time of the last record that was sent; None before the first.
        nth: Which of the records of that time it was, the oldest being 0.
        since_ms: When the token was given.
        is_encore: The page was sent before.
    """

    start_ms: int
    stop_ms: int
    page: int = 0
    at_ms: int | None = None
    nth: int = 0
    since_ms: int = 0
    is_encore: bool = False

    def token(self) -> str:
        """Return the token: it means nothing to a client."""
        text = json.dumps(list(asdict(self).values()), separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def of(cls, token: str) -> _Cursor:
        """Read a token.

        Raises:
            ValueError: It is none.
        """
        try:
            return cls(*json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))))
        except (binascii.Error, TypeError, ValueError):
            raise ValueError("Parameter 'pageToken' is invalid.") from None


@dataclass(frozen=True, slots=True)
class Cursors:
    """How the server reads a log with a cursor: what the documentation leaves open.

    Pages are stable: an event that appears meanwhile is on a page to come or on none, and moves no
    other. So ``unstable`` order is plain ascending here, and ``shuffled`` an order without sense
    that does not change. What does not belong to cursors is decided as for numbered pages.

    See the sandbox for what each attribute means.

    Raises:
        ValueError: An attribute makes no sense.
    """

    span: Span = "honoured"
    list_key: str = "content"
    count: str = "missing"
    end: End = "absent"
    token_ttl_seconds: float = 0.0
    max_limit: int = _LARGEST_LIMIT
    quirk: Quirk = "none"

    def __post_init__(self) -> None:
        check_choice("v2_span", self.span, get_args(Span))
        check_choice("v2_end", self.end, get_args(End))
        check_choice("v2_quirk", self.quirk, get_args(Quirk))
        check_count("v2_count", self.count)
        check_least("v2_token_ttl_seconds", self.token_ttl_seconds, 0)
        check_least("v2_max_limit", self.max_limit, 1)

    def answer(
        self, source: EventSource, query: Mapping[str, str], reading: Reading, now_ms: int
    ) -> Answer:
        """Answer a query of one log."""
        asked = reading.honoured(query)
        try:
            limit = integer(asked, "limit", default=_LIMIT, at_least=1, at_most=_LARGEST_LIMIT)
            cursor = self._cursor(asked, reading, now_ms)
        except ValueError as error:
            return bad_parameter(error)
        found = source.select(cursor.start_ms, cursor.stop_ms)
        walk, first = _resume(source, found, cursor, reading.order)
        page = walk[first : first + min(limit, self.max_limit)]
        has_more = first + len(page) < len(walk)
        if self.quirk == "hole" and cursor.page == 1 and not cursor.is_encore:
            page, has_more = page[:0], True
        token = self._next_token(source, cursor, page, now_ms, has_more=has_more)
        if self.quirk == "stuck" and cursor.page:
            token = asked["pageToken"]
        if not page and token is None and reading.empty == "204":
            return Answer(HTTPStatus.NO_CONTENT)
        body = b"{%b:[%b]%b%b}" % (
            json.dumps(self.list_key).encode(),
            b",".join(source.bodies(page)),
            self._last_member(token),
            total_count(self.count, len(found)),
        )
        return Answer(HTTPStatus.OK, {"content-type": "application/json"}, body)

    def _cursor(self, asked: Mapping[str, str], reading: Reading, now_ms: int) -> _Cursor:
        """Begin a walk, or go on with one; its range stays as it began."""
        if self.span == "refused" and not asked.keys().isdisjoint({"from", "to"}):
            raise ValueError("Parameters 'from' and 'to' are unknown.")
        if not asked.get("pageToken"):
            return _Cursor(*reading.span(asked if self.span == "honoured" else {}))
        cursor = _Cursor.of(asked["pageToken"])
        age_ms = now_ms - cursor.since_ms
        if self.token_ttl_seconds and age_ms >= self.token_ttl_seconds * SECOND_MS:
            raise ValueError("Parameter 'pageToken' has expired.")
        return cursor

    def _next_token(
        self,
        source: EventSource,
        cursor: _Cursor,
        page: Sequence[int],
        now_ms: int,
        *,
        has_more: bool,
    ) -> str | None:
        """Return the token of the next page; None after the last."""
        at_ms, nth = cursor.at_ms, cursor.nth
        if page:
            at_ms = source.time_at(page[-1])
            nth = page[-1] - source.select(at_ms, at_ms + 1).start
        is_encore = self.quirk in {"repeat", "hole"} and cursor.page == 1 and not cursor.is_encore
        if is_encore:
            # The same place once more; after a hole that is only the page that was held back.
            at_ms, nth, has_more = cursor.at_ms, cursor.nth, True
        if not has_more:
            if self.quirk == "loop":
                at_ms, nth = None, 0
            elif self.quirk != "endless":
                return None
        return _Cursor(
            cursor.start_ms,
            cursor.stop_ms,
            cursor.page if is_encore else cursor.page + 1,
            at_ms,
            nth,
            now_ms,
            is_encore,
        ).token()

    def _last_member(self, token: str | None) -> bytes:
        if token is not None:
            return b',"nextPageToken":"%b"' % token.encode()
        return {"absent": b"", "empty": b',"nextPageToken":""', "null": b',"nextPageToken":null'}[
            self.end
        ]


def _resume(
    source: EventSource, found: range, cursor: _Cursor, order: Order
) -> tuple[Sequence[int], int]:
    """Return the positions of a walk in their order, and the place where it goes on."""
    if order == "shuffled":
        return _resume_shuffled(source, found, cursor)
    is_descending = order == "descending"
    walk = found[::-1] if is_descending else found
    if cursor.at_ms is None:
        return walk, 0
    # The last record may be gone by now: then its neighbour is the next one.
    tie = source.select(cursor.at_ms, cursor.at_ms + 1)
    if is_descending:
        place = found.stop - min(tie.start + cursor.nth, tie.stop)
    else:
        place = min(tie.start + cursor.nth + 1, tie.stop) - found.start
    return walk, max(0, place)


def _resume_shuffled(
    source: EventSource, found: range, cursor: _Cursor
) -> tuple[Sequence[int], int]:
    """Order by a hash of the time: without sense, but the same whatever else appears."""
    hashed = sorted((_hash(source.time_at(position)), position) for position in found)
    walk = [position for _, position in hashed]
    if cursor.at_ms is None:
        return walk, 0
    key = _hash(cursor.at_ms)
    start = bisect_left(hashed, (key, -1))
    stop = bisect_right(hashed, (key, 1 << 62))
    return walk, min(start + cursor.nth + 1, stop)


def _hash(at_ms: int) -> tuple[int, int]:
    return crc32(at_ms.to_bytes(8, "big", signed=True)), at_ms
