"""The versions of Celonis' APIs for logs: how each is asked, and what its answers look like.

https://developer.celonis.com/celonis-apis/audit-log-api/overview/
"""

from __future__ import annotations

import abc
import logging
import sys
from typing import TYPE_CHECKING, Any

from tap_celonis_audit.answers import Look, NotProvenError, Page
from tap_celonis_audit.cursor import CursorReader, Link
from tap_celonis_audit.errors import ParametersError, TapError, TooLargeError
from tap_celonis_audit.reader import Reader
from tap_celonis_audit.windows import format_bound, format_zoned_bound

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tap_celonis_audit.answers import Event
    from tap_celonis_audit.client import Answer
    from tap_celonis_audit.errors import Api
    from tap_celonis_audit.pool import Pool

logger = logging.getLogger(__name__)

#: Records that a page of numbered pages may have, and one of a chain.
MAX_PAGE_SIZE = 200
MAX_LIMIT = 500
#: Where an answer is too large, the next ones have this fraction of its records; where so many
#: times its records would not be, after a while they have those.
_FEWER, _MORE = 4, 2
#: No log has so many records, and no count so many digits.
_ABSURD = 10**18
_DIGITS = 19
#: Longer page tokens are none: they go into a URL.
_MAX_TOKEN = 4_096
#: So many answers after which more records are tried again.
_CALM = 24


class Source(abc.ABC):
    """One version of the API of one log.

    Args:
        ask: Asks an API, with parameters.
        api: What is asked.
        page_size: Records a request.
        spellings: How to write `from` and `to`, the likeliest first.
    """

    def __init__(
        self,
        ask: Callable[[Api, Mapping[str, str | int]], Answer],
        api: Api,
        *,
        page_size: int,
        spellings: Sequence[Callable[[int], str]] = (format_bound, format_zoned_bound),
    ) -> None:
        self.api = api
        self.answered = False
        """Whether it has ever answered."""
        self._get = ask
        self._page_size = page_size
        self._fraction = 1
        self._calm = 0
        self._spellings = list(spellings)

    @abc.abstractmethod
    def peek(self, first: int, last: int) -> int | None:
        """Ask for a single record; give how many there are, if Celonis says.

        Raises:
            TapError: The log cannot be read; the text says what to do.
        """

    def look(self, first: int, last: int) -> int | None:
        """Do the same before all that is read; the reader may learn from what comes."""
        return self.peek(first, last)

    @abc.abstractmethod
    def reader(
        self, parse: Callable[[dict[str, Any]], Event], *, name: str, pool: Pool
    ) -> Reader | CursorReader:
        """Make what reads the log."""

    def _ask(self, params: Mapping[str, str | int], span: tuple[int, int] | None) -> Answer:
        """Ask, at first contact in another spelling of time if one is not understood."""
        while True:
            spell, *others = self._spellings
            bounds = {"from": spell(span[0]), "to": spell(span[1])} if span else {}
            try:
                answer = self._get(self.api, {**params, **bounds})
            except ParametersError:
                if not others or not span:
                    raise
                self._spellings = others
                continue
            if span:
                self._spellings = [spell]
            self.answered = True
            return answer

    def _ask_for_less(self, ask: Callable[[int], Answer], wished: int) -> tuple[Answer, int]:
        """Ask for so many records, or for fewer if an answer is too large.

        Returns:
            The answer, and how many were asked for.

        Raises:
            TooLargeError: One alone is too large.
        """
        while True:
            fraction = self._fraction
            size = max(1, wished // fraction)
            try:
                answer = ask(size)
            except TooLargeError:
                if size == 1:
                    raise
                self._shrink(fraction, size)
            else:
                self._calm += answer.size * _MORE <= answer.room
                if self._calm >= _CALM and self._fraction > 1:
                    self._fraction, self._calm = self._fraction // _MORE, 0
                return answer, size

    def _shrink(self, fraction: int, size: int) -> None:
        fewer(self.api, size)
        self._fraction, self._calm = max(self._fraction, _FEWER * fraction), 0


class NumberedPages(Source):
    """Version 1: pages by number, and a count."""

    _look: Look | None = None

    @override
    def peek(self, first: int, last: int) -> int | None:
        return self._fetch(first, last, 0, 1).total

    @override
    def look(self, first: int, last: int) -> int | None:
        page = self._fetch(first, last, 0, self._page_size)
        self._look = Look(first, last, page)
        return page.total

    @override
    def reader(self, parse: Callable[[dict[str, Any]], Event], *, name: str, pool: Pool) -> Reader:
        return Reader(
            self._fetch, parse, name=name, page_size=self._page_size, pool=pool, look=self._look
        )

    def _fetch(self, first: int, last: int, number: int, size: int) -> Page:
        def ask(size: int) -> Answer:
            return self._ask({"pageNumber": number, "pageSize": size}, (first, last))

        if number == 0:
            answer, size = self._ask_for_less(ask, size)
        else:
            fraction = self._fraction
            try:
                answer = ask(size)
            except TooLargeError:
                if size == 1:
                    raise
                self._shrink(fraction, size)  # Smaller pages have other numbers.
                raise NotProvenError("a page is too large") from None
        return make_page(answer.body, size=size, path=self.api.path, weight=answer.size)


class ChainedPages(Source):
    """Version 2: each page says how to ask for the next; no count."""

    @override
    def peek(self, first: int, last: int) -> int | None:
        return self._fetch(None, None, 1).total

    @override
    def reader(
        self, parse: Callable[[dict[str, Any]], Event], *, name: str, pool: Pool
    ) -> CursorReader:
        # Who has not asked for small pages gets large ones.
        limit = MAX_LIMIT if self._page_size == MAX_PAGE_SIZE else self._page_size
        return CursorReader(self._fetch, parse, name=name, limit=limit, pool=pool)

    def _fetch(self, span: tuple[int, int] | None, token: str | None, limit: int) -> Link:
        params: dict[str, str | int] = {} if token is None else {"pageToken": token}
        answer, _ = self._ask_for_less(
            lambda size: self._ask({**params, "limit": size}, span), limit
        )
        return make_link(answer.body, path=self.api.path, weight=answer.size)


def fewer(api: Api, size: int) -> int:
    """Say that so many records at once are too large; give how many to ask for instead."""
    logger.info("%s: %d records at once are too large; asking for fewer", api.path, size)
    return max(1, size // _FEWER)


def make_page(body: Mapping[str, Any] | None, *, size: int, path: str, weight: int = 0) -> Page:
    """Read the envelope of an answer.

    Args:
        body: The answer's JSON object, or None for "no content".
        size: Records that were asked for.
        path: What was asked, for messages.
        weight: Bytes of the answer.

    Raises:
        TapError: There is no list of records.
    """
    if body is None:
        return Page([], 0, size)
    records = _records(body, path)
    served = _natural(body.get("pageSize"))
    limit = min(size, served) if served else size
    return Page(records, _natural(body.get("totalCount")), limit, weight, asked=size)


def make_link(body: Mapping[str, Any] | None, *, path: str, weight: int = 0) -> Link:
    """Read the envelope of an answer with a cursor; see `make_page`."""
    if body is None:
        return Link([], None)
    token = body.get("nextPageToken")
    if token is not None and not (
        isinstance(token, str) and token.isprintable() and len(token) <= _MAX_TOKEN
    ):
        raise TapError(f"Celonis answers {path} with a page token that cannot be used.")
    return Link(_records(body, path), token or None, _natural(body.get("totalCount")), weight)


def _records(body: Mapping[str, Any], path: str) -> list[dict[str, Any]]:
    """Find the list of records; only for numbered pages is its name documented."""
    lists = [value for value in body.values() if isinstance(value, list)]
    records = body.get("content", lists[0] if len(lists) == 1 else None)
    records = [] if records is None else records
    if not isinstance(records, list) or not all(isinstance(each, dict) for each in records):
        raise TapError(f"Celonis answers {path} without a list of records.")
    return records


def _natural(value: object) -> int | None:
    """Read a count, as a number or as text; None if it is none. Absurd ones are all the same."""
    if isinstance(value, str) and value.isdecimal():
        value = int(value[:_DIGITS])
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and value >= 0 and value is not True:
        return min(value, _ABSURD)
    return None
