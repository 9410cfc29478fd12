"""How fast Celonis may be asked: one pace for all threads, set by what it answers.

https://developer.celonis.com/celonis-apis/rate-limiting/
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from tap_celonis_audit.errors import RateLimitError, TapError, rate_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

logger = logging.getLogger(__name__)

#: Waits that Celonis does not name: doubled with each refusal, up to the longest.
BACKOFF_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 60.0
#: Requests are never spread further apart than this: they wait for a 429 rather than in vain.
MAX_SPACING_SECONDS = 10.0
#: Rate limits are taken to be for so long, if Celonis does not say.
WINDOW_SECONDS = 1.0
#: Waiting threads do not all wake in the same instant.
_SPREAD_SECONDS = 0.5
_WORTH_TELLING_SECONDS = 5.0
#: From here on, a number of seconds is a date: seconds, or milliseconds, since 1970.
_EPOCH, _EPOCH_MS = 1e9, 1e12


class Pace:
    """Lets requests of many threads through: not too many at once, and not too soon.

    After a 429 everybody waits as long as Celonis asks, and half as many go at once; each success
    makes it a little more again. When the rate limit is nearly used up, the rest of it is spread
    over the time that is left. Once a wait is too long, no request is let through any more.

    Args:
        parallel: How many requests may be in flight at most.
        max_wait_seconds: How long a request may wait for the rate limit, all its waits together.
        clock: Gives seconds that only grow.
        sleep: Waits that many seconds. Without it, ``close`` ends waits.
    """

    def __init__(
        self,
        *,
        parallel: int,
        max_wait_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self._closed = threading.Event()
        self._parallel = parallel
        self._max_wait_seconds = max_wait_seconds
        self._clock = clock
        self._sleep = sleep or self._closed.wait
        self._turns = threading.Condition()
        self._allowed = float(parallel)
        self._in_flight = 0
        self._spacing_seconds = 0.0
        self._last_start = -math.inf
        self._remaining = 0
        self._window_start = clock()
        self._open_at = -math.inf
        self._refused_at = -math.inf
        self._refusals = 0
        """429s, one a burst, since the last success."""
        self._pauses = 0
        """How often a wait was set."""
        self._exhausted: TapError | None = None

    @property
    def allowed(self) -> int:
        """How many requests may be in flight now."""
        return int(self._allowed)

    def close(self) -> None:
        """End all waits; nothing is let through any more."""
        self._closed.set()
        with self._turns:
            self._turns.notify_all()

    def enter(self, waited: float = 0.0) -> tuple[float, float]:
        """Wait for a turn, which ``leave`` gives back.

        Args:
            waited: Seconds that this request has waited for the rate limit before.

        Returns:
            The time of the start, and the seconds waited for the rate limit in all.

        Raises:
            RateLimitError: It would have to wait for too long.
            TapError: The run is over.
        """
        with self._turns:
            self._turns.wait_for(
                lambda: self._in_flight < self.allowed or self._exhausted or self._closed.is_set()
            )
            self._in_flight += 1
        try:
            waited = self._wait_until_open(waited)
            return self._start(), waited
        except BaseException:
            self.leave()
            raise

    def leave(self) -> None:
        """Let the next one go."""
        with self._turns:
            self._in_flight -= 1
            self._turns.notify()

    def pause(self, seconds: float) -> None:
        """Wait, outside of a turn, before a request is repeated.

        Raises:
            TapError: The run is over.
        """
        self._sleep(seconds)
        if self._closed.is_set():
            raise TapError("Ended before Celonis answered.")

    def answered(self, started: float, headers: Mapping[str, str]) -> None:
        """Take note of an answer that is not a 429."""
        limit, remaining = _count(headers, "x-ratelimit-limit"), _count(headers, _REMAINING)
        reset = wait_seconds(headers)
        with self._turns:
            if started > self._refused_at:
                self._refusals = 0
                self._allowed = min(self._parallel, self._allowed + 1 / self._allowed)
                self._turns.notify()
            if remaining is None:
                return
            if remaining > self._remaining + self._parallel:
                self._window_start = self._clock()  # or a little earlier
            self._remaining = remaining
            if remaining > max(2 * self._parallel, (limit or 0) // 4):
                self._spacing_seconds = 0.0
                return
            if reset is None:
                reset = WINDOW_SECONDS - (self._clock() - self._window_start) % WINDOW_SECONDS
            self._spacing_seconds = min(reset / max(1, remaining), MAX_SPACING_SECONDS)

    def refused(self, started: float, asked: float | None) -> None:
        """Take note of a 429, and of the seconds that it asks to wait."""
        with self._turns:
            if started > self._refused_at:
                # The first of a burst; the others were on their way already.
                self._allowed = max(1.0, self._allowed / 2)
                self._refusals += 1
                self._refused_at = self._clock()
            backoff = min(MAX_BACKOFF_SECONDS, BACKOFF_SECONDS * 2 ** min(self._refusals - 1, 16))
            seconds = max(asked or 0.0, backoff * random.uniform(0.5, 1))  # noqa: S311 -- jitter
            until = self._clock() + seconds
            if until > max(self._open_at, self._clock()) + _WORTH_TELLING_SECONDS:
                logger.info("Celonis refuses requests (429); waiting for %.0f seconds", seconds)
            self._open_at = max(self._open_at, until)
            self._pauses += 1

    def _wait_until_open(self, waited: float) -> float:
        # Waits once for each pause that was set, whatever the clock says then: it need not be the
        # one by which ``sleep`` goes.
        seen = None
        while True:
            with self._turns:
                if self._closed.is_set():
                    raise TapError("Ended before Celonis answered.")
                if self._exhausted is None and seen == self._pauses:
                    return waited
                seen = self._pauses
                seconds = self._open_at - self._clock()
                if self._exhausted is None and seconds > 0:
                    waited += seconds
                    if waited > self._max_wait_seconds:
                        self._exhausted = rate_limit(seconds)
                        self._turns.notify_all()
                if self._exhausted is not None:
                    raise RateLimitError(str(self._exhausted), verdict=self._exhausted.verdict)
            if seconds > 0:
                self._sleep(seconds + random.uniform(0, _SPREAD_SECONDS))  # noqa: S311 -- jitter

    def _start(self) -> float:
        with self._turns:
            now = self._clock()
            start = max(now, self._last_start + self._spacing_seconds)
            self._last_start = start
        if start > now:
            self._sleep(start - now)
        return start


_REMAINING = "x-ratelimit-remaining"


def wait_seconds(headers: Mapping[str, str]) -> float | None:
    """Read how long Celonis asks to wait; None if it does not say, or nothing sensible.

    ``x-ratelimit-reset`` is documented, as seconds. ``Retry-After`` is what a gateway before
    Celonis may send, as seconds or as a date.
    """
    for name in ("x-ratelimit-reset", "Retry-After"):
        if name not in headers:
            continue
        seconds = _seconds(headers[name], headers.get("Date", ""))
        if seconds is not None:
            return seconds
    return None


def _seconds(text: str, date: str) -> float | None:
    moment = instant(text)
    if moment is None:
        try:
            value = float(text)
        except ValueError:
            return None
        if not (math.isfinite(value) and value >= 0):
            return None
        if value < _EPOCH:
            return value
        moment = value / 1000 if value >= _EPOCH_MS else value
    now = instant(date)
    return min(_EPOCH, max(0.0, moment - (time.time() if now is None else now)))


def instant(text: str) -> float | None:
    """Read an HTTP date, as seconds since 1970; None if it is none."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()


def _count(headers: Mapping[str, str], name: str) -> int | None:
    text = headers.get(name, "")
    return int(text[:18]) if text.isascii() and text.isdigit() else None
