"""HTTP: one GET after the other, retried where that may help, never followed elsewhere."""

from __future__ import annotations

import email.utils
import json
import logging
import random
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
import requests

from tap_celonis_audit.auth import credentials_for
from tap_celonis_audit.errors import (
    TapError,
    TeamError,
    TransientError,
    judge_failure,
    judge_status,
)
from tap_celonis_audit.values import ODD_ESCAPE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tap_celonis_audit.errors import Api
    from tap_celonis_audit.settings import Settings

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_SECONDS = 10
#: An answer larger than this (200 records with whole blueprints in them are far below) is refused.
MAX_BODY_BYTES = 256 * 1024 * 1024
#: The longest wait that Celonis may ask for with a 429.
MAX_WAIT_SECONDS = 900.0
_BACKOFF_SECONDS = 0.5
_MAX_BACKOFF_SECONDS = 60.0
#: Before Celonis has answered once, a wrong URL is likelier than a passing fault.
_RETRIES_BEFORE_FIRST_ANSWER = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A usable answer."""

    body: dict[str, Any] | None
    """The JSON object, or None for "no content"."""
    size: int
    """Bytes of the body."""
    is_odd: bool = False
    """Whether texts may hold characters that databases refuse."""
    server_time: float | None
    """The server's clock, in seconds since 1970, if it tells."""


class Client:
    """Asks the APIs of one team.

    Args:
        settings: Where, as whom, how patiently.
        sleep: Waits that many seconds; tests do not wait.
    """

    def __init__(self, settings: Settings, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._settings = settings
        self._sleep = sleep
        self._session = requests.Session()
        self._session.headers.update(
            {"User-Agent": settings.user_agent, "Accept": "application/json"}
        )
        self._credentials = credentials_for(settings, session=self._session)
        self.server_time: float | None = None
        """The server's clock at its first answer, in seconds since 1970, once that is known."""
        self._answered = False

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def get(self, api: Api, params: Mapping[str, str | int]) -> Answer:
        """Ask for one page.

        Raises:
            TapError: It cannot be had; the text says why and what to do.
        """
        failures = 0
        renewed = False
        while True:
            try:
                response = self._send(api, params)
                with response:
                    if response.status_code == HTTPStatus.UNAUTHORIZED and not renewed:
                        renewed = True
                        if self._credentials.renew(api):
                            continue
                    answer = self._read(api, response)
            except TransientError as failure:
                failures += 1
                limit = self._settings.max_retries
                if not self._answered:
                    limit = min(limit, _RETRIES_BEFORE_FIRST_ANSWER)
                if failures > limit:
                    raise failure.final() from failure
                self._wait(failure, failures)
            else:
                self._answered = True
                if self.server_time is None:
                    self.server_time = answer.server_time
                return answer

    def _wait(self, failure: TransientError, failures: int) -> None:
        longest = min(_MAX_BACKOFF_SECONDS, _BACKOFF_SECONDS * 2**failures)
        seconds = random.uniform(0, longest)  # noqa: S311 -- jitter, not secrecy
        if failure.wait_seconds is not None:
            seconds += failure.wait_seconds
        if seconds > MAX_WAIT_SECONDS + _MAX_BACKOFF_SECONDS:
            raise TapError(
                f"Celonis asks to wait {failure.wait_seconds:.0f} seconds before the next request "
                "(429). What was read is kept; run again later."
            ) from failure
        logger.debug("Trying again in %.1f s (failure %d)", seconds, failures)
        self._sleep(seconds)

    def _send(self, api: Api, params: Mapping[str, str | int]) -> requests.Response:
        auth = self._credentials.authorize(api)
        try:
            return self._session.get(
                f"{self._settings.base_url}{api.path}",
                params=params,
                auth=auth,
                timeout=(CONNECT_TIMEOUT_SECONDS, self._settings.request_timeout_seconds),
                allow_redirects=False,
                stream=True,
            )
        except OSError as error:  # requests' own errors are some, a missing file is another
            raise judge_failure(error, host=self._settings.netloc) from error

    def _read(self, api: Api, response: requests.Response) -> Answer:
        host = self._settings.netloc
        try:
            data = _read_body(response)
        except OSError as error:  # requests' own errors are some, a missing file is another
            raise judge_failure(error, host=host) from error
        status = response.status_code
        clock = _server_time(response)
        if status == HTTPStatus.NO_CONTENT:
            return Answer(body=None, size=0, server_time=clock)
        if status != HTTPStatus.OK:
            raise judge_status(
                api,
                status=status,
                host=host,
                body=data.decode("utf-8", "replace"),
                oauth=self._credentials.oauth,
                wait_seconds=_wait_seconds(response),
            )
        if "html" in response.headers.get("Content-Type", "").lower():
            raise TeamError(
                f"{host} answers with a web page instead of data. Check that api_url is the URL "
                "of the team, such as https://acme.eu-1.celonis.cloud"
            )
        try:
            body = _decode(data)
        except (ValueError, RecursionError) as error:
            raise TransientError(
                f"Celonis keeps sending unreadable answers to {api.path}."
            ) from error
        if not isinstance(body, dict):
            raise TransientError(f"Celonis keeps sending answers to {api.path} without a list.")
        is_odd = b"\\u" in data and ODD_ESCAPE.search(data) is not None
        return Answer(body=body, size=len(data), is_odd=is_odd, server_time=clock)


def _decode(data: bytes) -> Any:  # noqa: ANN401 -- any JSON value
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # The standard library reads some things more: NaN, halves of surrogate pairs.
        return json.loads(data)


def _read_body(response: requests.Response) -> bytes:
    chunks, size = [], 0
    for chunk in response.iter_content(1 << 18):
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise TapError(
                f"An answer is larger than {MAX_BODY_BYTES // 1024**2} MiB. Lower page_size."
            )
        chunks.append(chunk)
    return b"".join(chunks)


def _server_time(response: requests.Response) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(response.headers["Date"]).timestamp()
    except (KeyError, ValueError):
        return None


def _wait_seconds(response: requests.Response) -> float | None:
    try:
        return max(0.0, float(response.headers["x-ratelimit-reset"]))
    except (KeyError, ValueError):
        return None
