"""The sandbox's own time, and the spellings of time that its APIs read and write."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

SECOND_MS = 1_000
DAY_MS = 86_400_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def to_ms(text: str) -> int:
    """Read an ISO 8601 date-time as milliseconds since 1970; without a zone it means UTC.

    Raises:
        ValueError: It is no date-time. A date alone is refused as well.
    """
    if "T" not in text.upper():
        raise ValueError(f"not a date-time: {text!r}")
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MILLISECOND


def to_iso(ms: int) -> str:
    """Write milliseconds since 1970 as the API does: ``2025-02-25T14:52:10.903Z``."""
    return f"{(_EPOCH + timedelta(milliseconds=ms)).isoformat(timespec='milliseconds')[:-6]}Z"


class Clock:
    """A virtual UTC clock in milliseconds: frozen, unless it is told to run.

    Its lock is the lock of the whole sandbox: whoever holds it sees one consistent world.
    """

    def __init__(self, now_ms: int, *, running: bool = False) -> None:
        self.lock = threading.RLock()
        self.running = running
        self._base_ms = now_ms
        self._started = time.monotonic()

    @property
    def now_ms(self) -> int:
        """The current virtual time."""
        if not self.running:
            return self._base_ms
        return self._base_ms + int((time.monotonic() - self._started) * SECOND_MS)

    def advance(self, *, seconds: float) -> int:
        """Move the clock forward and return the new time in milliseconds."""
        with self.lock:
            return self.set(self.now_ms + round(seconds * SECOND_MS))

    def set(self, ms: int) -> int:
        """Set the clock to a time in milliseconds since 1970 and return it."""
        with self.lock:
            self._base_ms = ms
            self._started = time.monotonic()
            return ms
