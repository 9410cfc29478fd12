"""What the marts should say, by the records of the sandbox: no SQL, no code of the tap."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tap_celonis_audit.sandbox import Sandbox

SEEDS = Path(__file__).resolve().parent.parent / "transform" / "seeds"
METHODS = {
    "LOGIN": "password",
    "LOGIN_SSO": "sso",
    "LOGIN_CELONIS_ID": "celonis_id",
    "LOGIN_OIDC": "oidc",
}

Record = dict[str, Any]


def seed(name: str) -> dict[str, dict[str, str]]:
    """Give a seed by its first column."""
    with (SEEDS / f"{name}.csv").open(encoding="utf-8") as file:
        return {next(iter(row.values())): row for row in csv.DictReader(file)}


def at(timestamp: str) -> datetime:
    return datetime.fromisoformat(timestamp).astimezone(UTC).replace(tzinfo=None)


@dataclass(frozen=True)
class Attempt:
    """A record of the login history."""

    at: datetime
    kind: str
    event_type: str
    email: str


@dataclass(frozen=True)
class Truth:
    """A team as its sandbox knows it.

    Attributes:
        team: What the tap calls it.
        until: Events before this were read.
        as_of: What counts as now.
        time_zone: Of the team.
    """

    team: str
    sandbox: Sandbox
    until: datetime
    as_of: datetime
    time_zone: str

    @cached_property
    def audit(self) -> list[Record]:
        return self._settled(self.sandbox.audit.visible)

    @cached_property
    def uses(self) -> list[Record]:
        return self._settled(self.sandbox.adoption.visible)

    @cached_property
    def attempts(self) -> list[Attempt]:
        return [
            Attempt(
                at(each["timestamp"]), _kind(each), each["authenticationEventType"], each["email"]
            )
            for each in self._settled(self.sandbox.logins.visible)
        ]

    @cached_property
    def members(self) -> dict[str, Record]:
        return {each["userId"]: each for each in self.sandbox.members.visible}

    def local(self, moment: datetime) -> datetime:
        there = moment.replace(tzinfo=UTC).astimezone(ZoneInfo(self.time_zone))
        return there.replace(tzinfo=None)

    def is_off(self, moment: datetime) -> bool:
        there = self.local(moment)
        return there.isoweekday() > 5 or not 7 <= there.hour < 19

    def _settled(self, records: list[Record]) -> list[Record]:
        return [each for each in records if at(each["timestamp"]) < self.until]

    def audit_events(self) -> Counter[tuple[Any, ...]]:
        """Count when what happened by whom, how risky it is, and whether nobody was at work."""
        catalog = seed("event_catalog")
        return Counter(
            (
                str(at(each["timestamp"])),
                each["event"],
                actor(each),
                catalog[each["event"]]["risk"] if each["event"] in catalog else None,
                not is_platform(each) and self.is_off(at(each["timestamp"])),
            )
            for each in self.audit
        )

    def logins(self) -> Counter[tuple[Any, ...]]:
        return Counter(
            (
                str(each.at),
                each.kind,
                each.email,
                METHODS[each.event_type] if each.kind == "login" else None,
                self.is_off(each.at),
            )
            for each in self.attempts
        )

    def sessions(self, hours: int = 12) -> Counter[tuple[Any, ...]]:
        found: Counter[tuple[Any, ...]] = Counter()
        for email, attempts in self._by_account("login", "logout"):
            for each, following in pairwise([*attempts, None]):
                assert each
                limit = each.at + timedelta(hours=hours)
                if each.kind == "logout":
                    continue
                if following and (following.kind == "logout" or following.at <= limit):
                    end, by = following.at, following.kind
                else:
                    end, by = limit, "timeout"
                if by == "timeout" and limit > self.as_of:
                    found[email, str(each.at), None, "open"] += 1
                else:
                    found[email, str(each.at), str(end), by] += 1
        return found

    def bursts(self, least: int = 5) -> Counter[tuple[Any, ...]]:
        found: Counter[tuple[Any, ...]] = Counter()
        logins = dict(self._by_account("login"))
        for email, attempts in self._by_account("failure"):
            series = [[attempts[0]]]
            for before, each in pairwise(attempts):
                if each.at - before.at > timedelta(minutes=10):
                    series.append([])
                series[-1].append(each)
            for burst in series:
                if len(burst) < least:
                    continue
                first, last = burst[0].at, burst[-1].at
                success = next(
                    (
                        login.at
                        for login in logins.get(email, ())
                        if first <= login.at <= last + timedelta(hours=1)
                    ),
                    None,
                )
                locked = any(each.event_type == "ACCOUNT_TEMPORARILY_LOCKED" for each in burst)
                found[email, str(first), str(last), len(burst), locked, str(success)] += 1
        return found

    def _by_account(self, *kinds: str) -> Iterator[tuple[str, list[Attempt]]]:
        accounts: dict[str, list[Attempt]] = defaultdict(list)
        for each in sorted(self.attempts, key=lambda each: (each.at, each.kind)):
            if each.kind in kinds:
                accounts[each.email].append(each)
        return iter(accounts.items())

    def permission_changes(self) -> Counter[tuple[Any, ...]]:
        """Count who changed what to what in lists of permissions, roles and groups."""
        found: Counter[tuple[Any, ...]] = Counter()
        for each in self.audit:
            moment, who, event = str(at(each["timestamp"])), actor(each), each["event"]
            message, difference = each.get("message") or {}, each.get("diffPayload") or {}
            if event == "PERMISSIONS_UPDATE":
                old, new = set(message["old_permissions"]), set(message["new_permissions"])
                direction = {
                    (False, False): "none",
                    (True, False): "granted",
                    (False, True): "revoked",
                    (True, True): "changed",
                }[bool(new - old), bool(old - new)]
                found[
                    moment, who, "permission", direction, message["subject_description"],
                    _listed(old), _listed(new), _listed(new - old), _listed(old - new), False,
                ] += 1  # fmt: skip
            elif event == "TEAM_MEMBERSHIP_UPDATED":
                old_role, new_role = difference["oldValue"], difference["newValue"]
                is_grant = new_role == "ADMIN" != old_role
                direction = (
                    "granted" if is_grant else "revoked" if old_role == "ADMIN" else "changed"
                )
                found[
                    moment, who, "role", direction, message["memberEmail"],
                    old_role, new_role, None, None, is_grant,
                ] += 1  # fmt: skip
            elif event in ("USER_JOIN_GROUP", "USER_LEFT_GROUP"):
                is_joining = event == "USER_JOIN_GROUP"
                is_grant = is_joining and message["group_name"] in self._admin_groups
                direction = "granted" if is_joining else "revoked"
                found[
                    moment, who, "group", direction, message["user_email"],
                    None, None, None, None, is_grant,
                ] += 1  # fmt: skip
        return found

    @cached_property
    def _admin_groups(self) -> set[str]:
        return {
            group["name"]
            for member in self.members.values()
            for group in member["group"]
            if group["teamRole"] == "ADMIN"
        }

    def users(self) -> dict[str, tuple[Any, ...]]:
        """Give, for each member, role, groups, signs of life, and whether there are none."""
        signs: dict[str, list[datetime]] = defaultdict(list)
        actions, logins, failures = Counter[str](), Counter[str](), Counter[str]()
        for each in self.audit:
            if not is_platform(each):
                signs[actor(each) or ""].append(at(each["timestamp"]))
                actions[actor(each) or ""] += 1
        for attempt in self.attempts:
            if attempt.kind == "login":
                signs[attempt.email].append(attempt.at)
                logins[attempt.email] += 1
            failures[attempt.email] += attempt.kind == "failure"
        for use in self.uses:
            signs[use["user"]["email"]].append(at(use["timestamp"]))
        users = {}
        for user_id, member in self.members.items():
            email = member["nameAndEmail"].rpartition("(")[2].rstrip(")")
            seen = list(signs[email])
            if member["lastLogin"]:
                seen.append(
                    datetime.strptime(member["lastLogin"], "%m/%d/%Y, %I:%M:%S %p UTC")  # noqa: DTZ007 - UTC, as all times here
                )
            last = max(seen, default=None)
            is_active = member["status"] == "Active"
            users[user_id] = (
                email,
                member["userRole"],
                member["userRole"] == "ADMIN",
                _listed({group["name"] for group in member["group"]}),
                str(last),
                actions[email],
                logins[email],
                failures[email],
                is_active and (last is None or last < self.as_of - timedelta(days=90)),
            )
        return users

    def permissions(self) -> Counter[tuple[Any, ...]]:
        return Counter(
            (each["subjectId"], each["objectId"], _listed(set(each["actions"])))
            for each in self.sandbox.grants.visible
        )

    def activity(self) -> dict[str, tuple[int, ...]]:
        """Count, for each local day, events, privileged actions, logins and failures."""
        catalog = seed("event_catalog")
        days: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
        for each in self.audit:
            counts = days[str(self.local(at(each["timestamp"])).date())]
            counts[0] += 1
            known = catalog.get(each["event"])
            is_privileged = known["is_privileged"] == "true" if known else "KEY" in each["event"]
            counts[1] += is_privileged and not is_platform(each)
        for attempt in self.attempts:
            counts = days[str(self.local(attempt.at).date())]
            counts[2] += attempt.kind == "login"
            counts[3] += attempt.kind == "failure"
        return {day: tuple(counts) for day, counts in days.items()}

    def _active(self) -> dict[date, set[str]]:
        days: dict[date, set[str]] = defaultdict(set)
        for each in self.attempts:
            if each.kind == "login":
                days[self.local(each.at).date()].add(each.email)
        return days

    def daily_adoption(self) -> dict[str, tuple[int, ...]]:
        """Give the active users of each day that has some: of the day, seven days and thirty."""
        active = self._active()
        return {
            str(day): tuple(
                len(set().union(*(active.get(day - timedelta(n), set()) for n in range(span))))
                for span in (1, 7, 30)
            )
            for day in active
        }

    def monthly_adoption(self) -> dict[str, tuple[Any, ...]]:
        """Give active users and stickiness of each month."""
        active = self._active()
        today = self.local(self.as_of).date()
        months: dict[str, tuple[Any, ...]] = {}
        for first in sorted({day.replace(day=1) for day in active}):
            following = (first + timedelta(days=32)).replace(day=1)
            users = [active[day] for day in active if first <= day < following]
            length = (min(following, today + timedelta(days=1)) - first).days
            everybody = len(set().union(*users))
            daily = sum(map(len, users)) / length
            months[str(first)] = (following <= today, everybody, round(daily / everybody, 9))
        return months

    def log_days(self) -> dict[tuple[str, str], tuple[Any, ...]]:
        """Give the events of each day of each log, and how many were to be expected."""
        logs = {
            "audit_logs": [at(each["timestamp"]) for each in self.audit],
            "login_history": [each.at for each in self.attempts],
            "studio_adoption": [at(each["timestamp"]) for each in self.uses],
        }
        found: dict[tuple[str, str], tuple[Any, ...]] = {}
        newest = max(max(moments) for moments in logs.values()).date()
        for log, moments in logs.items():
            counts = Counter(moment.date() for moment in moments)
            first, last = min(counts), max(*counts, newest - timedelta(days=1))
            for day in (first + timedelta(n) for n in range((last - first).days + 1)):
                before = [day - timedelta(weeks=n) for n in range(1, 9)]
                known = [counts[each] for each in before if each >= first]
                usual = median(known) if len(known) >= 4 else None
                found[log, str(day)] = (counts[day], usual, not counts[day] and (usual or 0) >= 1)
        return found


def _kind(record: Record) -> str:
    if not record["success"]:
        return "failure"
    return "logout" if record["authenticationEventType"] == "LOGOUT" else "login"


def _listed(items: set[str]) -> str | None:
    return ", ".join(sorted(items)) or None


def is_platform(record: Record) -> bool:
    return str(record["userId"]).endswith("(SYSTEM)")


def actor(record: Record) -> str | None:
    """Give the address of who did it, in lower case; nothing for the platform."""
    if is_platform(record):
        return None
    user = str(record["userId"])
    return (user.rpartition("(")[2].rstrip(")") if user.endswith(")") else user).lower()
