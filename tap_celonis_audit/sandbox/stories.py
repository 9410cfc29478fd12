"""Things that an auditor should find, told on request within an ordinary history.

One night, somebody guesses an administrator's password. That account makes an external member an
administrator, who deletes the log of the day before. Besides, one administrator has not been seen
for months, and somebody who left may still do what they could.

In an ordinary history, administrators change roles and delete logs at random. Where stories are
told they do not, so that what is planted is all there is of its kind.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import itemgetter
from random import Random
from typing import TYPE_CHECKING, Literal, TypeAlias

from tap_celonis_audit.sandbox.clock import DAY_MS, SECOND_MS, to_iso
from tap_celonis_audit.sandbox.history import Day, company, render_login
from tap_celonis_audit.sandbox.log import render
from tap_celonis_audit.sandbox.messages import message_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tap_celonis_audit.sandbox.log import Day as AnyDay
    from tap_celonis_audit.sandbox.log import Producer
    from tap_celonis_audit.sandbox.messages import Message
    from tap_celonis_audit.sandbox.team import User

Kind: TypeAlias = Literal[
    "failed_login_burst",
    "admin_granted_at_night",
    "log_deleted",
    "dormant_admin",
    "gone_with_access",
]

DAYS_NEEDED = 250
"""So many days of history it takes to tell all of them."""

REPLACED = frozenset({"AUDIT_LOGS_DELETED", "TEAM_MEMBERSHIP_DELETED", "TEAM_MEMBERSHIP_UPDATED"})
"""The events that nobody causes at random where stories are told."""

_DORMANT_DAYS = 241
_MEMBER_DAYS = 32
_GONE_DAYS = 15

_MINUTE_MS = 60_000
_WEEK = 7
# 1970-01-01 was a Thursday, so that this is a Wednesday. The day before it people are at work.
_SOME_WEDNESDAY = 6

# Slots of people of whom the plan of the team knows nothing.
_FIRST_SLOT = 20_000
_INTRUDER_ADDRESS = "203.0.113.66"


@dataclass(frozen=True, slots=True)
class Story:
    """Something that happened, and who is concerned by it.

    Attributes:
        at_ms: When, in milliseconds since 1970; for somebody dormant, when they were last seen.
        email: Whom it is about.
        by: Who did it, by e-mail address, where somebody did.
        details: What one can count in it.
    """

    kind: Kind
    at_ms: int
    email: str
    by: str | None
    details: Mapping[str, int | str]

    def as_json(self) -> dict[str, object]:
        """Return the story as ``GET /sandbox`` shows it."""
        return {
            "kind": self.kind,
            "at": to_iso(self.at_ms),
            "email": self.email,
            "by": self.by,
            **self.details,
        }


@dataclass(frozen=True, slots=True)
class Guest:
    """Somebody of whom only stories tell.

    Attributes:
        since_ms: When they joined the team.
        last_login_ms: When they were last seen.
        is_gone: They left the team, but not the list of permissions.
    """

    user: User
    since_ms: int
    last_login_ms: int
    is_gone: bool = False


class Stories:
    """The stories of a company, as of a day.

    Args:
        seed: Chooses the company, and who is concerned.
        today: The day, counted from 1970, before which everything is told.

    Attributes:
        told: What is told.
        guests: Who is in it beside the team.
        last_logins: The last login of members of the team within the stories, by e-mail address.
    """

    def __init__(self, seed: int, today: int) -> None:
        self._rng = Random(f"{seed}/stories")
        self._audit: dict[int, list[tuple[int, bytes]]] = {}
        self._logins: dict[int, list[tuple[int, bytes]]] = {}
        self._night = today - _WEEK - (today - _WEEK - _SOME_WEDNESDAY) % _WEEK
        self._deleted_day = self._night - 1
        self._team = company(seed).team(self._night)
        admins = [user for user in self._team.users if user.role == "ADMIN"]
        self._victim, self._clerk = self._rng.sample(admins, 2)
        people = [company(seed).person(_FIRST_SLOT + number, 0) for number in range(3)]
        contractor, sleeper, leaver = (replace(user, login_type="LOGIN") for user in people)
        self.guests: list[Guest] = []
        self.last_logins: dict[str, int] = {}
        self.told = (
            self._burst(),
            *self._takeover(replace(contractor, role="MEMBER")),
            self._dormancy(replace(sleeper, role="ADMIN"), _at(today - _DORMANT_DAYS, 9, 23)),
            self._departure(replace(leaver, role="ANALYST"), self._night - _GONE_DAYS),
        )

    def in_audit_log(self, ordinary: Producer) -> Producer:
        """Tell the stories within an audit log."""
        return _Telling(ordinary, self._audit, deleted_day=self._deleted_day)

    def in_login_history(self, ordinary: Producer) -> Producer:
        """Tell the stories within a login history."""
        return _Telling(ordinary, self._logins)

    def _burst(self) -> Story:
        """Somebody tries passwords for some minutes, and gets in."""
        start_ms = at_ms = _at(self._night, 1, 14)
        attempts = self._rng.randint(40, 60)
        for _ in range(attempts):
            self._sign_in(self._victim, at_ms, "BAD_CREDENTIALS")
            at_ms += self._rng.randrange(2 * SECOND_MS, 9 * SECOND_MS)
        at_ms += 20 * SECOND_MS
        self._sign_in(self._victim, at_ms, "LOGIN")
        self.last_logins[self._victim.email] = at_ms
        details: dict[str, int | str] = {"failures": attempts, "success_at": to_iso(at_ms)}
        return Story("failed_login_burst", start_ms, self._victim.email, None, details)

    def _takeover(self, member: User) -> tuple[Story, Story]:
        """An external member becomes an administrator at night, and deletes a log."""
        joined_ms = _at(self._night - _MEMBER_DAYS, 10, 2)
        self._act(self._clerk, joined_ms, "TEAM_MEMBERSHIP_CREATED", _about(member))
        activated_ms = joined_ms + 47 * _MINUTE_MS
        self._act(member, activated_ms, "USER_TEAM_MEMBERSHIP_ACTIVATED", _about(member))
        self._sign_in(member, activated_ms + _MINUTE_MS, member.login_type)

        granted_ms = _at(self._night, 1, 47)
        difference = {"oldValue": member.role, "newValue": "ADMIN"}
        self._act(self._victim, granted_ms, "TEAM_MEMBERSHIP_UPDATED", _about(member), difference)
        admin = replace(member, role="ADMIN")
        login_ms = _at(self._night, 1, 51)
        self._sign_in(admin, login_ms, admin.login_type)
        self._act(admin, _at(self._night, 1, 59), "USER_PERMISSIONS_CSV_DOWNLOADED")
        self._act(admin, _at(self._night, 2, 6), "APPLICATION_KEY_CREATED")
        deleted_ms = _at(self._night, 2, 31)
        day = to_iso(self._deleted_day * DAY_MS)[:10]
        deletion: Message = {"deletedBy": admin.email, "reason": "manual", "day": day}
        self._act(admin, deleted_ms, "AUDIT_LOGS_DELETED", deletion)

        self.guests.append(Guest(admin, joined_ms, login_ms))
        return (
            Story("admin_granted_at_night", granted_ms, admin.email, self._victim.email, {}),
            Story("log_deleted", deleted_ms, admin.email, admin.email, {"day": day}),
        )

    def _dormancy(self, admin: User, seen_ms: int) -> Story:
        """An administrator whom nobody has seen for months."""
        self._sign_in(admin, seen_ms, admin.login_type)
        self.guests.append(Guest(admin, seen_ms - 400 * DAY_MS, seen_ms))
        return Story("dormant_admin", seen_ms, admin.email, None, {})

    def _departure(self, analyst: User, day: int) -> Story:
        """Somebody leaves, and their permissions stay."""
        for before in (9, 6, 2, 1):
            seen_ms = _at(day - before, 14, 20)
            self._sign_in(analyst, seen_ms, analyst.login_type)
            self._act(analyst, seen_ms + 9 * _MINUTE_MS, "ANALYSIS_EXPORT_AUDIT_LOG_EVENT")
        left_ms = _at(day, 10, 5)
        self._act(self._clerk, left_ms, "TEAM_MEMBERSHIP_DELETED", _about(analyst))
        self.guests.append(Guest(analyst, seen_ms - 300 * DAY_MS, seen_ms, is_gone=True))
        return Story("gone_with_access", left_ms, analyst.email, self._clerk.email, {})

    def _sign_in(self, user: User, at_ms: int, kind: str) -> None:
        body = render_login(at_ms, kind, user.email)
        self._logins.setdefault(at_ms // DAY_MS, []).append((at_ms, body))

    def _act(
        self,
        user: User,
        at_ms: int,
        event: str,
        message: Message = None,
        difference: Mapping[str, str] | None = None,
    ) -> None:
        record = {
            "userId": user.label,
            "userRole": user.role,
            "event": event,
            "timestamp": to_iso(at_ms),
            "message": message or message_of(event, self._rng, self._team),
            "ipAddress": user.address if user is self._clerk else _INTRUDER_ADDRESS,
            "port": None,
            "diffPayload": difference,
        }
        self._audit.setdefault(at_ms // DAY_MS, []).append((at_ms, render(record)))


class _Telling:
    """A log's ordinary events, with others among them, and those of one day deleted."""

    def __init__(
        self,
        ordinary: Producer,
        told: Mapping[int, list[tuple[int, bytes]]],
        *,
        deleted_day: int | None = None,
    ) -> None:
        self._ordinary = ordinary
        self._told = told
        self._deleted_day = deleted_day

    def day(self, day: int, /) -> AnyDay:
        if day == self._deleted_day:
            return Day([], list)
        ordinary, told = self._ordinary.day(day), self._told.get(day)
        if told is None:
            return ordinary

        def write() -> list[bytes]:
            events = [*zip(ordinary.times, ordinary.bodies, strict=True), *told]
            return [body for _, body in sorted(events, key=itemgetter(0))]

        return Day(sorted([*ordinary.times, *(at_ms for at_ms, _ in told)]), write)

    def improvise(self, rng: Random, at_ms: int, /) -> bytes:
        return self._ordinary.improvise(rng, at_ms)

    def deletion(self, at_ms: int, /) -> bytes | None:
        return self._ordinary.deletion(at_ms)


def _at(day: int, hour: int, minute: int) -> int:
    return day * DAY_MS + (hour * 60 + minute) * _MINUTE_MS


def _about(user: User) -> Message:
    return {"memberEmail": user.email, "memberId": user.id, "memberName": user.name}
