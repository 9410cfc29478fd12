"""Time as the reader sees it: whole UTC seconds inside, one fixed-width text outside.

Pure arithmetic: no clock, no network, nothing of the tap.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import msgspec

#: "All history" starts here. Celonis was founded in 2011 and keeps a log for ten years at most:
#: https://docs.celonis.com/en/audit-logs.html
BEGINNING = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp())

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECONDS_OF_1973 = 100_000_000_000
_MILLISECONDS_OF_5138 = 100_000_000_000_000
_DAY_SECONDS = 86_400
_RELATIVE = re.compile(r"(\d{1,5}) (minute|hour|day|week|month|year)s? ago", re.ASCII)
_UNITS = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
    "month": timedelta(days=30),
    "year": timedelta(days=365),
}


class Instant(msgspec.Struct, frozen=True, order=True, gc=False):
    """A point in time."""

    second: int
    """Whole seconds since 1970, rounded down."""
    text: str
    """Fixed width, microseconds, UTC: ``2025-02-25T14:52:10.903000Z``. Sorts like time."""


def parse_instant(value: object) -> Instant | None:
    """Read a timestamp as Celonis may write it; None if it is none.

    Accepts ISO 8601 with any offset or none (UTC), any number of decimals (cut to microseconds),
    and epoch milliseconds as an integer.
    """
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=UTC)
            elif moment.tzinfo is not UTC:
                moment = moment.astimezone(UTC)
        elif type(value) is int and _MILLISECONDS_OF_1973 <= value < _MILLISECONDS_OF_5138:
            moment = _EPOCH + timedelta(milliseconds=value)
        else:
            return None
    except (ValueError, OverflowError):
        return None
    since = moment - _EPOCH
    second = since.days * _DAY_SECONDS + since.seconds
    if isinstance(value, str) and _is_usual(value):
        return Instant(second, f"{value[:23]}000Z")
    return Instant(second, _format(moment))


def _is_usual(timestamp: str) -> bool:
    """Tell whether a timestamp is of the form ``2025-02-25T14:52:10.903Z``, as most are."""
    # What else begins and ends so and can be read? A day's hour 24, which is the next day's 0.
    is_alike = timestamp[4:20:3] == "--T::." and timestamp[23:] == "Z"
    return is_alike and timestamp[11:13] != "24"


def _format(moment: datetime) -> str:
    return f"{moment.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def format_second(second: int) -> str:
    """Write a whole second in the form in which timestamps are emitted."""
    return _format(_EPOCH + timedelta(seconds=second))


def format_bound(second: int) -> str:
    """Write a whole second as Celonis documents bounds: no zone, meaning UTC.

    https://developer.celonis.com/platform-usage-apis/login-history-api/
    """
    return (_EPOCH + timedelta(seconds=second)).replace(tzinfo=None).isoformat()


def format_zoned_bound(second: int) -> str:
    """Write a whole second as collectors in production send bounds to the audit log."""
    return f"{format_bound(second)}.000Z"


def parse_setting(text: str, *, now: float) -> int | None:
    """Read ``2025-01-31``, a date-time with any zone, or ``30 days ago``, as a whole second.

    Args:
        text: What the user wrote.
        now: Seconds since 1970, for relative dates. A month is 30 days, a year 365.

    Returns:
        Seconds since 1970, rounded down, or None if it is none of these.
    """
    if relative := _RELATIVE.fullmatch(text.strip().lower()):
        ago = int(relative[1]) * _UNITS[relative[2]]
        return max(BEGINNING, int(now - ago.total_seconds()))
    instant = parse_instant(text.strip())
    return instant.second if instant else None
