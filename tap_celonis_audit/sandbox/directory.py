"""Who is in the team now, and in which groups: people come, go and move, by themselves or by hand.

The people who work are the same as in the logs. Beside them there are some of whom no log tells:
invited but never seen, deactivated, and the staff and services of Celonis.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING

from tap_celonis_audit.sandbox.clock import DAY_MS
from tap_celonis_audit.sandbox.history import company
from tap_celonis_audit.sandbox.team import SLOTS, new_uuid

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tap_celonis_audit.sandbox.clock import Clock
    from tap_celonis_audit.sandbox.stories import Guest
    from tap_celonis_audit.sandbox.team import Asset, User

# Status, how many of them there are, and how many days each of them stays at most.
_BYSTANDERS = (("Pending", 6, 60), ("Inactive", 9, 180))
_STAFF = 5
_STAFF_DOMAIN = "celonis.example"
_TEAM_ROLES = ("ANALYST", "MEMBER", "ANALYST", "ADMIN")

# Slots of people who join by hand.
_FIRST_NEWCOMER = 10_000

_GROUP_DAYS = (150, 900)


@dataclass(frozen=True, slots=True)
class Group:
    """A group, and the role that its members have in the team."""

    asset: Asset
    team_role: str


@dataclass(frozen=True, slots=True)
class Member:
    """A member of the team at some moment.

    Attributes:
        status: ``Active``, ``Pending`` (invited) or ``Inactive`` (deactivated).
        since_ms: Since when, in milliseconds since 1970.
        is_internal: Staff or a service of Celonis.
        is_logged: The logins are in the login history; otherwise nothing but ``last_login_ms``
            is known of them.
    """

    user: User
    status: str
    groups: tuple[Group, ...]
    since_ms: int
    is_internal: bool = False
    is_logged: bool = False
    last_login_ms: int | None = None


class Directory:
    """The members of a team as of the clock, and the hand that changes them."""

    def __init__(self, clock: Clock, *, seed: int, guests: Iterable[Guest] = ()) -> None:
        self._clock = clock
        self._seed = seed
        self._company = company(seed)
        self.groups = tuple(
            Group(asset, _TEAM_ROLES[index % len(_TEAM_ROLES)])
            for index, asset in enumerate(self._company.team(0).portfolio.groups)
        )
        self._guests = tuple(guests)
        self._newcomers: list[tuple[User, int]] = []
        self._left: set[str] = set()
        # User id -> how often somebody was moved to other groups by hand.
        self._moves: dict[str, int] = {}
        self._changes = 0
        self._version: tuple[int, int] | None = None
        self._members: tuple[Member, ...] = ()

    @property
    def version(self) -> tuple[int, int]:
        """Changes whenever a member may have changed."""
        return self._clock.now_ms // DAY_MS, self._changes

    @property
    def departed(self) -> tuple[Member, ...]:
        """Those who are gone, but still have their permissions."""
        day = self._clock.now_ms // DAY_MS
        return tuple(self._guest(guest, day) for guest in self._guests if guest.is_gone)

    @property
    def members(self) -> tuple[Member, ...]:
        """Everybody who is in the team now."""
        if self._version != self.version:
            self._version = self.version
            self._members = tuple(
                member for member in self._everybody() if member.user.id not in self._left
            )
        return self._members

    def join(self, count: int) -> None:
        """Let so many people join the team now."""
        with self._clock.lock:
            first = _FIRST_NEWCOMER + len(self._newcomers)
            newcomers = [self._company.person(slot, 0) for slot in range(first, first + count)]
            self._newcomers += [(user, self._clock.now_ms) for user in newcomers]
            self._changes += 1

    def rearrange(self, *, leaves: int = 0, moves: int = 0) -> None:
        """Let so many people leave the team now, and so many others change their groups.

        Raises:
            ValueError: There are not so many.
        """
        with self._clock.lock:
            people = [
                member.user
                for member in self.members
                if member.status == "Active" and not member.is_internal
            ]
            if leaves + moves > len(people):
                raise ValueError(
                    f"{leaves + moves} people cannot leave or move: there are {len(people)}"
                )
            chosen = Random(f"{self._seed}/{self.version}").sample(people, leaves + moves)
            self._left.update(user.id for user in chosen[:leaves])
            day = self._clock.now_ms // DAY_MS
            for user in chosen[leaves:]:
                before = self._groups_of(user, day)
                while self._groups_of(user, day) == before:
                    self._moves[user.id] = self._moves.get(user.id, 0) + 1
            self._changes += 1

    def _everybody(self) -> list[Member]:
        day = self._clock.now_ms // DAY_MS
        members = [
            Member(
                user, "Active", self._groups_of(user, day), since * DAY_MS + slot, is_logged=True
            )
            for slot, (user, since) in enumerate(self._company.tenures(day))
        ]
        members += [
            Member(user, "Active", self._groups_of(user, day), since_ms)
            for user, since_ms in self._newcomers
        ]
        members += [self._guest(guest, day) for guest in self._guests if not guest.is_gone]
        slot = SLOTS
        for status, count, days in _BYSTANDERS:
            for _ in range(count):
                members.append(self._bystander(slot, status, days, day))
                slot += 1
        return members + [self._colleague(number, day) for number in range(_STAFF)]

    def _guest(self, guest: Guest, day: int) -> Member:
        user = guest.user
        return Member(
            user,
            "Active",
            self._groups_of(user, day),
            guest.since_ms,
            last_login_ms=guest.last_login_ms,
        )

    def _bystander(self, slot: int, status: str, days: int, day: int) -> Member:
        """Return somebody who is in the team for some time, but does not work."""
        rng = Random(f"{self._seed}/bystander/{slot}")
        tenure = rng.randint(days // 2, days)
        turn, age = divmod(day + rng.randrange(100_000), tenure)
        user = self._company.person(slot, turn)
        since_ms = (day - age) * DAY_MS + slot
        last_login_ms = None if status == "Pending" else since_ms - rng.randrange(90 * DAY_MS)
        return Member(
            user, status, self._groups_of(user, day), since_ms, last_login_ms=last_login_ms
        )

    def _colleague(self, number: int, day: int) -> Member:
        """Return somebody of Celonis: a consultant who looks in now and then, or a service."""
        rng = Random(f"{self._seed}/staff/{number}")
        is_service = number == 0
        name = "Celonis Service" if is_service else self._company.person(SLOTS + 100, number).name
        local = f"{'celonis-service' if is_service else 'consultant'}{number or ''}"
        user = replace(
            self._company.person(SLOTS + 100, number),
            id=new_uuid(rng),
            name=name,
            email=f"{local}@{_STAFF_DOMAIN}",
            role="ADMIN" if number < 2 else "ANALYST",  # noqa: PLR2004 - one of each is enough
        )
        visit = day - 1 - (day + rng.randrange(100)) % 9
        last_login_ms = None if is_service else visit * DAY_MS + rng.randrange(DAY_MS)
        return Member(user, "Active", (), number, is_internal=True, last_login_ms=last_login_ms)

    def _groups_of(self, user: User, day: int) -> tuple[Group, ...]:
        """Return the groups of a person, who changes them after some months."""
        rng = Random(f"{self._seed}/groups/{user.id}")
        turn = (day + rng.randrange(1_000)) // rng.randint(*_GROUP_DAYS)
        rng.seed(f"{self._seed}/groups/{user.id}/{turn}/{self._moves.get(user.id, 0)}")
        count = rng.choices((0, 1, 2, 3), (4, 56, 30, 10))[0]
        return tuple(rng.sample(self.groups, count))
