"""The members API: who is in the team, in which groups, and since when unseen.

https://developer.celonis.com/celonis-apis/user-group-info-api/overview/
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args
from zlib import crc32

from tap_celonis_audit.sandbox.api import bad_parameter, check_choice
from tap_celonis_audit.sandbox.clock import DAY_MS, SECOND_MS, to_iso
from tap_celonis_audit.sandbox.log import Record, render
from tap_celonis_audit.sandbox.table import Listing, Row, Table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

    from tap_celonis_audit.sandbox.api import Reading
    from tap_celonis_audit.sandbox.clock import Clock
    from tap_celonis_audit.sandbox.directory import Directory, Member
    from tap_celonis_audit.sandbox.exchange import Answer
    from tap_celonis_audit.sandbox.history import LoginHistory

DateStyle: TypeAlias = Literal["month-first", "day-first", "iso", "mixed"]

_BOOLEANS = {"true": True, "false": False}
_MINUTE_MS = 60_000
_HALF_DAY_HOURS = 12


class Members(Table):
    """The members of a team.

    Args:
        clock: Tells for which time.
        directory: Knows who is in the team.
        logins: Knows when they signed in.
        date_style: How ``lastLogin`` is written. The documentation has one example,
            ``12/10/2023, 6:49:07 AM UTC``, which may be a tenth of December or a twelfth of
            October; ``mixed`` spells it differently from member to member.
        has_extra_fields: Records have fields that nobody documented.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        directory: Directory,
        logins: LoginHistory,
        date_style: DateStyle = "month-first",
        has_extra_fields: bool = False,
    ) -> None:
        check_choice("last_login", date_style, get_args(DateStyle))
        super().__init__(clock, version=self._state, rows=self._make)
        self._directory = directory
        self._logins = logins
        self._date_style = date_style
        self._has_extra_fields = has_extra_fields
        # Where the clock stands still, people do not sign in when it is moved.
        self._first_now_ms = clock.now_ms

    def answer(self, reading: Reading, query: Mapping[str, str], rng: Random) -> Answer:
        """Answer a request."""
        text = reading.honoured(query).get("includeInternal")
        is_ignored = "includeInternal" in reading.ignore
        wanted = True if is_ignored else _BOOLEANS.get((text or "").lower())
        if wanted is None:
            what = "is required" if text is None else "must be true or false"
            return bad_parameter(ValueError(f"Parameter 'includeInternal' {what}."))
        rows = [row for row in self.rows if wanted or not row.is_internal]
        pages = {name: text for name, text in query.items() if name.startswith("page")}
        return reading.answer(Listing(rows), pages, rng)

    def _state(self) -> tuple[object, ...]:
        minute = self._clock.now_ms // _MINUTE_MS if self._clock.running else None
        return (*self._directory.version, minute, self._logins.improvisations)

    def _make(self) -> list[Row]:
        now_ms = self._clock.now_ms
        members = self._directory.members
        last = self._logins.last_logins(
            (member.user.email for member in members if member.is_logged),
            now_ms if self._clock.running else min(now_ms, self._first_now_ms),
        )
        rows = []
        for member in members:
            user = member.user
            last_login_ms = last.get(user.email) if member.is_logged else member.last_login_ms
            record = self._record(member, last_login_ms, now_ms)
            rows.append(Row(user.id, member.since_ms, render(record), member.is_internal))
        return rows

    def _record(self, member: Member, last_login_ms: int | None, now_ms: int) -> Record:
        user = member.user
        spelling = days = None
        if last_login_ms is not None:
            spelling = self._spell(last_login_ms, user.id)
            days = (now_ms - last_login_ms) // DAY_MS
        record: Record = {
            "userId": user.id,
            "nameAndEmail": _name_and_email(member),
            "userRole": user.role,
            "status": member.status,
            "lastLogin": spelling,
            "inactivityPeriod": days,
            "group": [
                {"name": group.asset.name, "teamRole": group.team_role} for group in member.groups
            ],
        }
        if self._has_extra_fields:
            record |= {"authenticationType": user.login_type, "site": {"city": user.site.city}}
        return record

    def _spell(self, ms: int, user_id: str) -> str:
        style: str = self._date_style
        if style == "mixed":
            # Java and browsers of late years put a narrow space (U+202F) before AM and PM.
            styles = ("month-first", "day-first", "iso", "month-first, narrow")
            style = styles[crc32(user_id.encode()) % len(styles)]
        if style == "iso":
            return to_iso(ms)
        at = datetime.fromtimestamp(ms // SECOND_MS, UTC)
        date = f"{at.day}/{at.month}" if style == "day-first" else f"{at.month}/{at.day}"
        space = "\N{NARROW NO-BREAK SPACE}" if style.endswith("narrow") else " "
        hour, half = at.hour % _HALF_DAY_HOURS or _HALF_DAY_HOURS, "AP"[at.hour // _HALF_DAY_HOURS]
        return f"{date}/{at.year}, {hour}:{at:%M:%S}{space}{half}M UTC"


def _name_and_email(member: Member) -> str:
    user = member.user
    # Whoever was invited has not told a name yet; companies mark the people of other companies.
    name = user.email if member.status == "Pending" else user.name
    return f"{name}{' (External)' if user.site.is_partner else ''} ({user.email})"
