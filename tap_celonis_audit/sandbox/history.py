"""What a team did, day by day: the same seed and the same day always give the same events."""

from __future__ import annotations

from datetime import date
from functools import cached_property, lru_cache
from operator import itemgetter
from random import Random
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from tap_celonis_audit.sandbox.clock import DAY_MS, SECOND_MS, to_iso
from tap_celonis_audit.sandbox.log import Record, render
from tap_celonis_audit.sandbox.messages import (
    ORIGINS,
    REPERTOIRES,
    UNDOCUMENTED,
    difference_of,
    message_of,
)
from tap_celonis_audit.sandbox.team import Company, User, at_work, chance, working_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tap_celonis_audit.sandbox.team import Team

SYSTEM = "celonis-service (SYSTEM)"

_EPOCH = date(1970, 1, 1)
_HOUR_MS = 3_600_000
_REMEMBERED_DAYS = 400
_MINUTE_MS = 60_000

# On this day an administrator switched IP tracking on; older records carry no address.
_IP_TRACKING_SINCE = (date(2025, 2, 3) - _EPOCH).days

# Services differ: some send null for what they do not know, others leave the key out.
_OMITTING = frozenset(
    (
        *ORIGINS["Data Integration"],
        *ORIGINS["Task Mining"],
        *UNDOCUMENTED,
        "GROUP_PERMISSIONS_CSV_DOWNLOADED",
    )
)

_GUESTS_MEET = (
    "NOT_MEMBER_OF_TEAM",
    "ACCOUNT_NOT_CONFIRMED",
    "ACCOUNT_NOT_ACTIVE",
    "INVALID_PROVIDER",
)

# Milliseconds of the UTC day, who (None is the platform itself), what.
_Deed: TypeAlias = "tuple[int, User | None, str]"
# Milliseconds of the UTC day, what, the e-mail address tried.
_Attempt: TypeAlias = tuple[int, str, str]
_Plan = TypeVar("_Plan", _Deed, _Attempt)

_EVENTS_A_DAY = {"ADMIN": 4.0, "ANALYST": 1.6, "MEMBER": 0.12}


class Day:
    """A calendar day of a log: planned at once, put into words when it is first read."""

    def __init__(self, times: list[int], write: Callable[[], list[bytes]]) -> None:
        self.times = times
        self._write = write

    @cached_property
    def bodies(self) -> list[bytes]:
        """The events, each as rendered JSON."""
        return self._write()


class AuditHistory:
    """The audit log of a company's team.

    Args:
        seed: Chooses the company.
        without: Events that nobody causes.
    """

    def __init__(self, seed: int, *, without: frozenset[str] = frozenset()) -> None:
        self._seed = seed
        self._without = without

    def day(self, day: int, /) -> Day:
        """Return the events of a calendar day."""
        return _audit_day(self._seed, day, self._without)

    def improvise(self, rng: Random, at_ms: int, /) -> bytes:
        """Return one plausible event at a time."""
        team = company(self._seed).team(at_ms // DAY_MS)
        user = rng.choice(team.users)
        event = REPERTOIRES[user.role].pick(rng)
        while event in self._without:
            event = REPERTOIRES[user.role].pick(rng)
        return render(_record(rng, team, at_ms, user, event))

    def deletion(self, at_ms: int, /) -> bytes | None:
        """Return the ``AUDIT_LOGS_DELETED`` that retention leaves behind at midnight."""
        rng = Random(f"{self._seed}/retention/{at_ms}")
        team = company(self._seed).team(at_ms // DAY_MS)
        return render(_record(rng, team, at_ms, None, "AUDIT_LOGS_DELETED"))


class LoginHistory:
    """The login history of a company's team.

    Args:
        seed: Chooses the company.
        told: Logins that happened outside the plan, by e-mail address.
    """

    def __init__(self, seed: int, *, told: Mapping[str, int] | None = None) -> None:
        self._seed = seed
        # What happened outside the plan: e-mail address -> latest login.
        self._improvised: dict[str, int] = dict(told or {})
        self.improvisations = 0

    def day(self, day: int, /) -> Day:
        """Return the events of a calendar day."""
        return _login_day(self._seed, day)

    def improvise(self, rng: Random, at_ms: int, /) -> bytes:
        """Return one plausible event at a time."""
        user = rng.choice(company(self._seed).team(at_ms // DAY_MS).users)
        kind = rng.choices((user.login_type, "LOGOUT", "BAD_CREDENTIALS"), (70, 25, 5))[0]
        self.improvisations += 1
        if kind == user.login_type:
            latest = self._improvised.get(user.email, at_ms)
            self._improvised[user.email] = max(latest, at_ms)
        return render_login(at_ms, kind, user.email)

    def last_logins(self, emails: Iterable[str], before_ms: int) -> dict[str, int]:
        """Return when each of these people last signed in before a time, as far as known.

        Whoever did not for more than a year is not in the answer.
        """
        missing = set(emails)
        found: dict[str, int] = {}
        today = before_ms // DAY_MS
        for day in range(today, today - _REMEMBERED_DAYS, -1):
            for email, at_ms in _last_logins(self._seed, day, before_ms if day == today else None):
                if email in missing:
                    missing.remove(email)
                    found[email] = at_ms
            if not missing:
                break
        return found | {
            email: at_ms
            for email, at_ms in self._improvised.items()
            if email in found and at_ms > found[email]
        }

    def deletion(self, _: int, /) -> bytes | None:
        """Return nothing: only the audit log tells that retention deleted something."""
        return None


@lru_cache(maxsize=8)
def company(seed: int) -> Company:
    """Return the company of a seed."""
    return Company(seed)


# A process that starts many sandboxes of one seed, as a test suite does, generates each day once.
@lru_cache(maxsize=1_000)
def _audit_day(seed: int, day: int, without: frozenset[str]) -> Day:
    team = company(seed).team(day)
    rng = Random(f"{seed}/audit/{day}")
    plan: list[_Deed] = []
    present = at_work(team, rng)
    for user in present:
        repertoire = REPERTOIRES[user.role]
        at = working_ms(user, rng)
        for _ in range(int(rng.expovariate(1.0 / _EVENTS_A_DAY[user.role]) + rng.random())):
            plan.append((at % DAY_MS, user, repertoire.pick(rng)))
            at += int(rng.expovariate(1.0 / (12 * _MINUTE_MS)))
    plan += _night(rng)
    for left, joined in team.changes:
        at = 8 * _HOUR_MS + rng.randrange(_HOUR_MS)
        admin = rng.choice(team.users[:5])
        plan += [
            (at - _MINUTE_MS, left, "USER_DELETE_API_KEY"),
            (at, admin, "TEAM_MEMBERSHIP_DELETED"),
            (at + 5 * _MINUTE_MS, admin, "TEAM_MEMBERSHIP_CREATED"),
            (at + 50 * _MINUTE_MS, joined, "USER_TEAM_MEMBERSHIP_ACTIVATED"),
            (at + 51 * _MINUTE_MS, admin, "USER_JOIN_GROUP"),
        ]
    if day == _IP_TRACKING_SINCE:
        plan.append((6 * _HOUR_MS, team.users[0], "AUDIT_LOG_PREFERENCES_UPDATED"))
    if present:
        plan += _bursts(rng, present)
    plan = _in_order(rng, [deed for deed in plan if deed[2] not in without], twins=0.002)

    def write() -> list[bytes]:
        details = Random(f"{seed}/audit/{day}/details")
        bodies: list[bytes] = []
        before = None
        for deed in plan:
            if deed is before:
                bodies.append(bodies[-1])
                continue
            before = deed
            at, who, event = deed
            bodies.append(render(_record(details, team, day * DAY_MS + at, who, event)))
        return bodies

    return Day([day * DAY_MS + at for at, _, _ in plan], write)


def _night(rng: Random) -> list[_Deed]:
    """Scheduled jobs of the platform, every night of the week."""
    plan: list[_Deed] = []
    for job in range(9):
        at = job * 30 * _MINUTE_MS + rng.randrange(3 * SECOND_MS)
        plan.append((at, None, "JOB_EXECUTION_STARTED"))
        outcome = "JOB_EXECUTION_FAILED" if chance(rng, 0.04) else "JOB_EXECUTION_FINISHED"
        plan.append((at + rng.randrange(_MINUTE_MS, 25 * _MINUTE_MS), None, outcome))
    for _ in range(rng.randint(3, 8)):
        failed = chance(rng, 0.06)
        outcome = "FAILED" if failed else "SUCCEEDED"
        at = 5 * _HOUR_MS + rng.randrange(10 * _MINUTE_MS)
        plan.append((at, None, f"VIEW_REPORT_DELIVERY_TRIGGER_{outcome}"))
    plan.append((2 * _HOUR_MS, None, "TASK_MINING_DATA_PROCESSING_TRIGGER_SCHEDULED"))
    if chance(rng, 0.1):
        plan.append((3 * _HOUR_MS, None, "TRASH_AUTO_DELETE_JOB"))
    if chance(rng, 0.05):
        plan.append((rng.randrange(DAY_MS), None, "ACTIONFLOW_DEACTIVATED"))
    return plan


def _bursts(rng: Random, present: Sequence[User]) -> list[_Deed]:
    """Mass changes: many events in a second, several in one millisecond."""
    plan: list[_Deed] = []
    user = rng.choice(present)
    if chance(rng, 0.06):
        at = working_ms(user, rng)
        for _ in range(rng.randint(8, 60)):
            plan.append((at % DAY_MS, user, "STUDIO_PACKAGE_IMPORTED"))
            at += rng.choice((0, 0, 0, 1, 3))
    admins = [user for user in present if user.role == "ADMIN"]
    if admins and chance(rng, 0.03):
        admin = rng.choice(admins)
        at = working_ms(admin, rng)
        for _ in range(rng.randint(30, 260)):
            plan.append((at % DAY_MS, admin, "PERMISSIONS_UPDATE"))
            at += rng.choice((0, 0, 2, 5, 9))
    return plan


def _record(rng: Random, team: Team, at_ms: int, who: User | None, event: str) -> Record:
    record: Record = {
        "userId": who.label if who else SYSTEM,
        "userRole": who.role if who else "SYSTEM",
        "event": event,
        "timestamp": to_iso(at_ms),
        "message": message_of(event, rng, team),
        "ipAddress": who.address if who and at_ms >= _IP_TRACKING_SINCE * DAY_MS else None,
        "port": str(rng.randint(1_024, 65_535)) if who and chance(rng, 0.4) else None,
        "diffPayload": difference_of(event, rng),
    }
    if event in _OMITTING:
        return {key: value for key, value in record.items() if value is not None}
    return record


@lru_cache(maxsize=1_000)
def _login_day(seed: int, day: int) -> Day:
    plan = _login_plan(seed, day)

    def write() -> list[bytes]:
        return [render_login(day * DAY_MS + at, kind, email) for at, kind, email in plan]

    return Day([day * DAY_MS + at for at, _, _ in plan], write)


@lru_cache(maxsize=1_000)
def _last_logins(seed: int, day: int, before_ms: int | None) -> list[tuple[str, int]]:
    """Return each person's last login of a day, or of its part before a time."""
    return list(
        {
            email: day * DAY_MS + at
            for at, kind, email in _login_plan(seed, day)
            if kind.startswith("LOGIN") and (before_ms is None or day * DAY_MS + at < before_ms)
        }.items()
    )


@lru_cache(maxsize=1_000)
def _login_plan(seed: int, day: int) -> list[_Attempt]:
    team = company(seed).team(day)
    rng = Random(f"{seed}/logins/{day}")
    plan: list[_Attempt] = []
    for user in at_work(team, rng):
        _sign_in(rng, user, plan)
    for left, joined in team.changes:
        plan.append((8 * _HOUR_MS, "TEAM_MEMBERSHIP_NOT_CONFIRMED", joined.email))
        plan.append((17 * _HOUR_MS, "TEAM_MEMBERSHIP_NOT_ACTIVE", left.email))
    for _ in range(int(rng.expovariate(0.5))):
        guest = f"guest{rng.randint(1, 60)}@example.com"
        plan.append((rng.randrange(DAY_MS), rng.choice(_GUESTS_MEET), guest))
    if chance(rng, 0.012):
        _brute_force(rng, rng.choice(team.users), plan)
    return _in_order(rng, plan, twins=0.001)


def _sign_in(rng: Random, user: User, plan: list[_Attempt]) -> None:
    """One person's day: in, sometimes after a slip, in again, sometimes out."""
    at = working_ms(user, rng)
    if user.login_type != "LOGIN_SSO" and chance(rng, 0.08):
        slip = "INVALID_2FA_TOKEN" if chance(rng, 0.3) else "BAD_CREDENTIALS"
        plan.append(((at - 20 * SECOND_MS) % DAY_MS, slip, user.email))
    plan.append((at % DAY_MS, user.login_type, user.email))
    if chance(rng, 0.3):
        again = at + rng.randrange(_HOUR_MS, 4 * _HOUR_MS)
        plan.append((again % DAY_MS, user.login_type, user.email))
    if chance(rng, 0.35):
        out = at + rng.randrange(_HOUR_MS // 2, 8 * _HOUR_MS)
        plan.append((out % DAY_MS, "LOGOUT", user.email))


def _brute_force(rng: Random, user: User, plan: list[_Attempt]) -> None:
    """Somebody tries passwords at night, fast, until the account is locked, and goes on."""
    at = rng.randrange(6 * _HOUR_MS)
    for attempt in range(rng.randint(150, 600)):
        kind = "BAD_CREDENTIALS" if attempt % 50 else "ACCOUNT_TEMPORARILY_LOCKED"
        plan.append((at, kind if attempt else "BAD_CREDENTIALS", user.email))
        at += rng.choice((0, 40, 90, 400, 1_500))


def render_login(at_ms: int, kind: str, email: str) -> bytes:
    """Render an event of the login history."""
    # Neither contains anything that JSON escapes, and the encoder costs most of the time.
    success = "true" if kind.startswith("LOG") else "false"
    return (
        f'{{"authenticationEventType":"{kind}","email":"{email}","success":{success},'
        f'"timestamp":"{to_iso(at_ms)}"}}'
    ).encode()


def _in_order(rng: Random, plan: list[_Plan], *, twins: float) -> list[_Plan]:
    """Sort by time, and double a few: now and then a service reports one event twice."""
    plan.sort(key=itemgetter(0))
    return [event for event in plan for _ in range(2 if rng.random() < twins else 1)]
