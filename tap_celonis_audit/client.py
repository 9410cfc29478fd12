"""HTTP: GETs of many threads, retried where that may help, never followed elsewhere."""

from __future__ import annotations

import json
import logging
import math
import random
import threading
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec
import requests

from tap_celonis_audit.auth import credentials_for
from tap_celonis_audit.errors import Action, TapError, failure, judge_failure, judge_status
from tap_celonis_audit.pace import Pace, instant, wait_seconds
from tap_celonis_audit.session import (
    CONNECT_TIMEOUT_SECONDS,
    TRANSPORT_ERRORS,
    make_context,
    make_session,
    read_body,
)
from tap_celonis_audit.values import ODD_ESCAPE
from tap_celonis_audit.windows import format_second

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from requests.auth import AuthBase

    from tap_celonis_audit.errors import Api
    from tap_celonis_audit.settings import Settings

logger = logging.getLogger(__name__)

_MIB = 1024 * 1024
#: A page of several records holds no more, and those under way at once no more together: each its
#: share. (200 records have some hundreds of kilobytes; with whole blueprints, some megabytes.)
MAX_PAGE_BYTES, _MAX_PAGES_BYTES = 4 * _MIB, 16 * _MIB
#: So for pages of a single record, which can be had whole only.
MAX_BYTES_UNDER_WAY = 128 * _MIB
#: An answer that cannot be had in pages, of which there is one at a time, holds no more.
MAX_EXPORT_BYTES = 256 * _MIB
_BACKOFF_SECONDS = 0.5
_MAX_BACKOFF_SECONDS = 60.0
#: Clocks that are further apart than this are told of: so much later is what is new copied. (That
#: of the sandbox stands still at the full hour.)
CLOCKS_APART_SECONDS = 3_600
#: Before Celonis has answered once, a wrong URL is likelier than a passing fault.
_RETRIES_BEFORE_FIRST_ANSWER = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A usable answer."""

    body: dict[str, Any] | None
    """The JSON object, or None for "no content"."""
    size: int
    """Bytes of the body."""
    room: int = 0
    """Bytes that it might have had, if it is one of several pages of several records."""
    is_odd: bool = False
    """Whether texts may hold characters that databases refuse."""
    server_time: float | None
    """The server's clock, in seconds since 1970, if it tells."""


class Client:
    """Asks the APIs of one team, for any number of threads at once.

    Args:
        settings: Where, as whom, how patiently.
        clock: Gives this machine's time, in seconds since 1970.
        sleep: Waits that many seconds; tests do not wait.

    Raises:
        TeamError: The certificates to trust are not there.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._context = make_context(settings)
        self._pace = Pace(
            parallel=settings.max_parallel_requests,
            max_wait_seconds=settings.max_rate_limit_wait_seconds,
            sleep=sleep,
        )
        parallel = settings.max_parallel_requests
        self._page_bytes = min(
            MAX_PAGE_BYTES, _MAX_PAGES_BYTES // parallel, MAX_BYTES_UNDER_WAY // parallel
        )
        self._sessions: list[requests.Session] = []
        self._credentials = credentials_for(settings, session=self._open())
        self._own = _Own(self._open)
        self._lock = threading.Lock()
        self.server_time: float | None = None
        """The server's clock at its first answer, in seconds since 1970, once that is known."""
        self._answered = False

    def _open(self) -> requests.Session:
        session = make_session(self._settings, self._context)
        self._sessions.append(session)
        return session

    def close(self) -> None:
        """Close the connections, and end the waits of other threads."""
        self._pace.close()
        for session in tuple(self._sessions):
            session.close()

    def get(self, api: Api, params: Mapping[str, str | int]) -> Answer:
        """Ask for one page.

        Raises:
            RateLimitError: Celonis asks to wait for longer than this run may.
            TapError: It cannot be had; the text says why and what to do.
        """
        attempts, failures, waited = 0, 0, 0.0
        while True:
            attempts += 1
            started, waited = self._pace.enter(waited)
            try:
                answer = self._ask(api, params, started)
            except TapError as error:
                logger.debug("GET %s: attempt %d: %s", api.path, attempts, error)
                if error.action is Action.WAIT:
                    self._pace.refused(started, error.wait_seconds)
                    continue
                failures += 1
                limit = self._settings.max_retries
                if not self._answered:
                    limit = min(limit, _RETRIES_BEFORE_FIRST_ANSWER)
                if error.action is not Action.RETRY or failures > limit:
                    raise
            else:
                self._take_note(answer)
                return answer
            finally:
                self._pace.leave()
            longest = min(_MAX_BACKOFF_SECONDS, _BACKOFF_SECONDS * 2**failures)
            self._pace.pause(random.uniform(0, longest))  # noqa: S311 -- jitter, not secrecy

    def _take_note(self, answer: Answer) -> None:
        self._answered = True
        with self._lock:
            if self.server_time is not None or answer.server_time is None:
                return
            self.server_time = answer.server_time
        self._compare_clocks(answer.server_time)

    def _compare_clocks(self, server_time: float) -> None:
        now = self._clock()
        if abs(now - server_time) > CLOCKS_APART_SECONDS:
            logger.warning(
                "This machine's clock says %s, that of %s %s (the Date of its first answer): what "
                "happened after the earlier one is left for a later run. Check this machine's "
                "clock, and whether a proxy answers with old pages.",
                format_second(int(now)),
                self._settings.netloc,
                format_second(int(server_time)),
            )

    def _ask(self, api: Api, params: Mapping[str, str | int], started: float) -> Answer:
        auth = self._credentials.authorize(api)
        try:
            return self._request(api, params, auth, started)
        except TapError as error:
            if error.action is not Action.RENEW or not self._credentials.renew(api, auth):
                raise
        return self._request(api, params, self._credentials.authorize(api), started)

    def _request(
        self, api: Api, params: Mapping[str, str | int], auth: AuthBase, started: float
    ) -> Answer:
        begun = time.monotonic()
        limit = self._max_bytes(api, params)
        session = self._own.session
        try:
            request = self._own.prepare(f"{self._settings.base_url}{api.path}")
            request.url = f"{request.url}?{urlencode(params)}"
            response = session.send(
                auth(request),
                proxies=session.proxies,
                timeout=(CONNECT_TIMEOUT_SECONDS, self._settings.request_timeout_seconds),
                allow_redirects=False,
                stream=True,
            )
            with response:
                data = read_body(response, limit)
        except TRANSPORT_ERRORS as error:
            raise judge_failure(error, host=self._settings.netloc, path=api.path) from error
        if data is None:
            case = "export too large" if api.long_list else "too large"
            raise failure(case, path=api.path, limit=f"{limit / _MIB:.0f} MiB")
        status = response.status_code
        logger.debug("GET %s: %d in %.3f s", api.path, status, time.monotonic() - begun)
        if status != HTTPStatus.TOO_MANY_REQUESTS:
            self._pace.answered(started, response.headers)
        return self._judge(api, response, data)

    def _max_bytes(self, api: Api, params: Mapping[str, str | int]) -> int:
        """Give how large an answer may be."""
        if api.long_list:
            return MAX_EXPORT_BYTES
        if params.get("pageSize", params.get("limit")) == 1:
            return MAX_BYTES_UNDER_WAY // self._settings.max_parallel_requests
        return self._page_bytes

    def _judge(self, api: Api, response: requests.Response, data: bytes) -> Answer:
        host, status = self._settings.netloc, response.status_code
        clock = instant(response.headers.get("Date", ""))
        if status == HTTPStatus.NO_CONTENT:
            return Answer(body=None, size=0, server_time=clock)
        if status != HTTPStatus.OK:
            raise judge_status(
                api,
                status=status,
                host=host,
                body=data.decode("utf-8", "replace"),
                oauth=self._credentials.oauth,
                wait_seconds=wait_seconds(response.headers),
            )
        kind = response.headers.get("Content-Type", "").lower()
        if "html" in kind or data[:64].lstrip().startswith(b"<"):
            raise failure("web page", host=host)
        try:
            body, is_odd = _decode(data, api.long_list)
        except RecursionError:
            raise failure("too deep", path=api.path) from None
        except ValueError as error:
            raise failure("unreadable", path=api.path) from error
        if not isinstance(body, dict):
            raise failure("unreadable", path=api.path)
        return Answer(
            body=body, size=len(data), room=self._page_bytes, is_odd=is_odd, server_time=clock
        )


class _Own(threading.local):
    """What each thread has of its own."""

    def __init__(self, make: Callable[[], requests.Session]) -> None:
        self.session = make()
        self._prepared: dict[str, requests.PreparedRequest] = {}

    def prepare(self, url: str) -> requests.PreparedRequest:
        """Make a GET of an address, without parameters yet.

        What is the same for all requests is most of the work that requests has with each.
        """
        if url not in self._prepared:
            self._prepared[url] = self.session.prepare_request(requests.Request("GET", url))
        return self._prepared[url].copy()


def _decode(data: bytes, long_list: str | None = None) -> tuple[Any, bool]:
    """Read JSON; tell whether its texts may hold characters that databases refuse.

    Of a key that stands twice, the last one counts.
    """
    try:
        value = _decode_around(data, long_list) if long_list else msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # The standard library reads some things more: other encodings, NaN, halves of surrogate
        # pairs. What is no number that others could read is kept as text.
        return json.loads(data, parse_constant=str, parse_float=_float, parse_int=_int), True
    return value, ODD_ESCAPE.search(data) is not None


def _decode_around(data: bytes, long_list: str) -> object:
    """Read a JSON object, but leave the items of a list in it as they are."""
    try:
        members = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        items = msgspec.json.decode(members.pop(long_list), type=list[msgspec.Raw])
    except (KeyError, msgspec.ValidationError):
        return msgspec.json.decode(data)
    return {name: msgspec.json.decode(raw) for name, raw in members.items()} | {long_list: items}


def _float(text: str) -> float | str:
    value = float(text)
    return value if math.isfinite(value) else text


def _int(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:  # Python reads 4,300 digits, and msgspec as many.
        return text
