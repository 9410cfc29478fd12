"""The members: who is in the team, in which groups, and since when unseen.

https://developer.celonis.com/celonis-apis/user-group-info-api/overview/
"""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from singer_sdk import typing as th

from tap_celonis_audit.errors import Api, TapError, TooLargeError
from tap_celonis_audit.snapshot import Part, read_snapshot
from tap_celonis_audit.sources import fewer, make_page
from tap_celonis_audit.streams.events import ORIGIN
from tap_celonis_audit.streams.tables import TableStream
from tap_celonis_audit.values import as_integer, as_text, replace_odd
from tap_celonis_audit.windows import format_second, parse_instant

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tap_celonis_audit.answers import Page
    from tap_celonis_audit.client import Answer

_NAME_AND_EMAIL = re.compile(r"(.*\S)?\s*\(([^()\s]+@[^()\s]+)\)", re.DOTALL)
# Not ASCII alone: Java and browsers of late years put a narrow space before AM and PM.
_LAST_LOGIN = re.compile(
    r"([0-9]{1,2})/([0-9]{1,2})/([0-9]{4}),?\s+"
    r"([0-9]{1,2}):([0-9]{2}):([0-9]{2})(?:\s*([AP])M)?\s+(?:UTC|GMT|Z)",
    re.IGNORECASE,
)
_HALF_DAY_HOURS = 12
#: Celonis may count begun days, or local ones, and may have counted some time ago.
_INACTIVITY_TOLERANCE = timedelta(days=2)
_GROUP_FIELDS = {"name", "teamRole"}


class MembersStream(TableStream):
    """Members of the team."""

    name = "members"
    primary_keys = ("team", "user_id")
    api = Api(
        path="/api/external/members",
        scope="team.user-group-info:read",
        permission="Use User Group Info API",
        newer_permission="Admin & Settings – Users – Use API",
    )
    known_fields = frozenset(
        {
            "userId",
            "nameAndEmail",
            "userRole",
            "status",
            "lastLogin",
            "inactivityPeriod",
            "group",
        }
    )
    schema: ClassVar[dict[str, Any]] = th.PropertiesList(
        th.Property(
            "user_id",
            th.StringType,
            required=True,
            nullable=False,
            description="Identifies the member",
        ),
        th.Property("name_and_email", th.StringType, description="Who it is, as Celonis writes it"),
        th.Property("name", th.StringType, description="The name in name_and_email"),
        th.Property("email", th.StringType, description="The e-mail address in name_and_email"),
        th.Property("user_role", th.StringType, description="Role in the team, such as ANALYST"),
        th.Property("status", th.StringType, description="Such as Active"),
        th.Property("last_login", th.StringType, description="As Celonis writes it"),
        th.Property(
            "last_login_at",
            th.DateTimeType,
            description="The same in UTC; null if it could be two different days",
        ),
        th.Property("inactivity_days", th.IntegerType, description="Days without activity"),
        th.Property(
            "groups",
            th.ArrayType(
                th.ObjectType(
                    th.Property("name", th.StringType),
                    th.Property("team_role", th.StringType),
                )
            ),
            description="Groups of the member, each with its role in the team",
        ),
        th.Property(
            "team",
            th.StringType,
            required=True,
            nullable=False,
            description="Host of the Celonis team",
        ),
        ORIGIN[-1],
    ).to_dict()

    @override
    def peek(self) -> int | None:
        return self._page(self._ask(0, 1), 1).total

    @override
    def snapshot(self) -> Iterable[dict[str, Any]]:
        nameless = 0
        for content in self._read():
            row = self.row(msgspec.json.decode(content))
            if row["user_id"]:
                yield row
            else:
                nameless += 1
        if nameless:
            raise TapError(
                f"{nameless} members have no userId and were left out. Everything else was "
                "written. Please report this."
            )

    def _read(self) -> Iterable[bytes]:
        """Read all members; with fewer a page if an answer is too large."""
        size = self.tap.settings.page_size
        while True:
            try:
                return read_snapshot(partial(self._fetch, size=size), pool=self.tap.pool)
            except TooLargeError:
                if size == 1:
                    raise
                size = fewer(self.api, size)

    @override
    def columns(self, record: Mapping[str, Any]) -> dict[str, Any]:
        name_and_email = as_text(record.get("nameAndEmail"))
        name, email = split_name(name_and_email)
        last_login = as_text(record.get("lastLogin"))
        inactivity_days = as_integer(record.get("inactivityPeriod"))
        return {
            "user_id": as_text(record.get("userId")),
            "name_and_email": name_and_email,
            "name": name,
            "email": email,
            "user_role": as_text(record.get("userRole")),
            "status": as_text(record.get("status")),
            "last_login": last_login,
            "last_login_at": parse_last_login(
                last_login, inactivity_days=inactivity_days, now=self.tap.run_time(self)
            ),
            "inactivity_days": inactivity_days,
            "groups": _groups(record.get("group")),
        }

    @override
    def misfits(self, record: Mapping[str, Any]) -> dict[str, Any]:
        days, groups = record.get("inactivityPeriod"), record.get("group")
        found: dict[str, Any] = {}
        if days is not None and as_integer(days) is None:
            found["inactivityPeriod"] = days
        if groups is not None and not (
            isinstance(groups, list)
            and all(isinstance(group, dict) and group.keys() <= _GROUP_FIELDS for group in groups)
        ):
            found["group"] = groups
        return found

    def _fetch(self, number: int, *, size: int) -> Part:
        answer = self._ask(number, size)
        page = self._page(answer, size)
        parts = []
        for record in replace_odd(page.records) if answer.is_odd else page.records:
            # Kept as JSON: that takes a fifth of the memory.
            content = msgspec.json.encode(record)
            parts.append((as_text(record.get("userId")) or content.decode(), content))
        return Part(parts, page.total, page.limit)

    def _ask(self, number: int, size: int) -> Answer:
        internal = "true" if self.tap.settings.include_internal_members else "false"
        return self.tap.client.get(
            self.api, {"includeInternal": internal, "pageNumber": number, "pageSize": size}
        )

    def _page(self, answer: Answer, size: int) -> Page:
        return make_page(answer.body, size=size, path=self.api.path)


def split_name(text: str | None) -> tuple[str | None, str | None]:
    """Take apart ``<name> (<e-mail>)``."""
    match = _NAME_AND_EMAIL.fullmatch((text or "").strip())
    return (match[1], match[2]) if match else (None, None)


def parse_last_login(text: str | None, *, inactivity_days: int | None, now: float) -> str | None:
    """Read ``12/10/2023, 6:49:07 AM UTC``, of which Celonis does not say what is the month.

    Where both numbers could be, the record itself decides: nobody logs in in the future, and the
    login should be as long ago as its days of inactivity.

    Args:
        text: What Celonis wrote: this, or ISO 8601.
        inactivity_days: Days without activity, if known.
        now: Seconds since 1970.

    Returns:
        The time in the form in which timestamps are emitted; None if it is none, or not certain.
    """
    match = _LAST_LOGIN.fullmatch((text or "").strip())
    if not match:
        instant = parse_instant(text)
        return instant.text if instant else None
    first, second, year, hour, minute, seconds = map(int, match.groups()[:6])
    if match[7]:
        if not 1 <= hour <= _HALF_DAY_HOURS:
            return None
        hour = hour % _HALF_DAY_HOURS + _HALF_DAY_HOURS * (match[7].upper() == "P")
    moments = set()
    for month, day in ((first, second), (second, first)):
        try:
            moments.add(datetime(year, month, day, hour, minute, seconds, tzinfo=UTC))
        except ValueError:
            continue
    if len(moments) > 1:
        today = datetime.fromtimestamp(now, tz=UTC)
        moments = {each for each in moments if each <= today + _INACTIVITY_TOLERANCE}
    if len(moments) > 1 and inactivity_days is not None:
        wanted = timedelta(days=inactivity_days)
        moments = {each for each in moments if abs(today - each - wanted) <= _INACTIVITY_TOLERANCE}
    return format_second(int(moments.pop().timestamp())) if len(moments) == 1 else None


def _groups(value: object) -> list[dict[str, str | None]] | None:
    if value is None:
        return None
    groups = []
    for item in value if isinstance(value, list) else [value]:
        group = item if isinstance(item, dict) else {"name": item}
        groups.append(
            {"name": as_text(group.get("name")), "team_role": as_text(group.get("teamRole"))}
        )
    return groups
