"""The permissions export: who may do what with which object, all in one answer.

https://developer.celonis.com/celonis-apis/permissions-api/overview/
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from random import Random
from typing import TYPE_CHECKING

from tap_celonis_audit.sandbox.api import check_least
from tap_celonis_audit.sandbox.clock import DAY_MS
from tap_celonis_audit.sandbox.exchange import Answer
from tap_celonis_audit.sandbox.history import company
from tap_celonis_audit.sandbox.log import Record, render
from tap_celonis_audit.sandbox.table import Row, Table
from tap_celonis_audit.sandbox.team import Asset, new_uuid

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    from tap_celonis_audit.sandbox.api import Reading
    from tap_celonis_audit.sandbox.clock import Clock
    from tap_celonis_audit.sandbox.directory import Directory, Member

_ACTIONS: Mapping[str, tuple[str, ...]] = {
    "PACKAGE": ("VIEW", "EDIT", "DELETE", "SHARE", "EXPORT", "MANAGE_PERMISSIONS"),
    "DATA_POOL": ("VIEW", "EDIT", "EXECUTE", "MANAGE_CONNECTIONS"),
    "ACTION_FLOW": ("VIEW", "EDIT", "EXECUTE"),
    "TEAM": ("USE_AUDIT_LOGS_API", "USE_LOGIN_HISTORY_API", "USE_STUDIO_ADOPTION_API", "INVITE"),
}
_SERVICES = {
    "PACKAGE": "studio",
    "DATA_POOL": "event-collection",
    "ACTION_FLOW": "action-engine",
    "TEAM": "team",
}
_APPLICATIONS = ("siem", "power-bi", "etl-nightly")
# What somebody was granted in person stays for some months.
_GRANT_DAYS = (120, 900)
_GRANTS = {"ADMIN": 6, "ANALYST": 4, "MEMBER": 1}
_GROUP_REACH = 0.35


@dataclass(frozen=True, slots=True)
class _Object:
    kind: str
    asset: Asset


@dataclass(frozen=True, slots=True)
class _Subject:
    kind: str
    id: str
    name: str
    role: str = ""
    groups: str = ""
    is_internal: bool = False


class Permissions(Table):
    """The permissions of a team's people, groups and applications.

    Args:
        clock: Tells for which time.
        directory: Knows who is in the team and in which groups.
        seed: Chooses who was granted what.
        at_least: Pad the export to so many items; a large company has up to 100,000.
        has_extra_fields: Records have fields that nobody documented.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        directory: Directory,
        seed: int,
        at_least: int = 0,
        has_extra_fields: bool = False,
    ) -> None:
        check_least("permission_items", at_least, 0)
        super().__init__(clock, version=self._state, rows=self._make)
        self._directory = directory
        self._seed = seed
        self._at_least = at_least
        self._has_extra_fields = has_extra_fields
        portfolio = company(seed).team(0).portfolio
        rng = Random(f"{seed}/permissions")
        self._team = _Object("TEAM", Asset(new_uuid(rng), "Aurelia Foods", "team"))
        self._objects = (
            *(_Object("PACKAGE", asset) for asset in portfolio.packages),
            *(_Object("DATA_POOL", asset) for asset in portfolio.pools),
            *(_Object("ACTION_FLOW", asset) for asset in portfolio.flows),
        )
        self._applications = [
            _Subject("APPLICATION", new_uuid(rng), name) for name in _APPLICATIONS
        ]
        self._granted: list[Row] = []
        self._archives: list[_Object] | None = None

    def answer(self, reading: Reading, rng: Random) -> Answer:
        """Answer a request: there are neither parameters nor pages."""
        bodies = [row.body for row in self.rows]
        if reading.order == "descending":
            bodies.reverse()
        elif reading.order != "ascending":
            rng.shuffle(bodies)
        body = b'{"permissions":[%b]}' % b",".join(bodies)
        return Answer(HTTPStatus.OK, {"content-type": "application/json"}, body)

    def grant(self, count: int) -> None:
        """Grant so many new permissions on new packages now."""
        with self._clock.lock:
            first = len(self._granted)
            rng = Random(f"{self._seed}/granted/{first}")
            members = self._directory.members
            for number in range(first, first + count):
                package = Asset(new_uuid(rng), f"Pilot {number + 1}", f"pilot-{number + 1}")
                subject = _person(members[rng.randrange(len(members))])
                self._granted.append(self._row(rng, subject, _Object("PACKAGE", package)))

    def revoke(self, count: int) -> None:
        """Revoke so many permissions now.

        Raises:
            ValueError: There are not so many.
        """
        with self._clock.lock:
            keys = [row.key for row in self.rows]
            if count > len(keys):
                raise ValueError(f"{count} permissions cannot be revoked: there are {len(keys)}")
            self._take_out(Random(f"{self._seed}/revoked/{self._state()}").sample(keys, count))

    def _state(self) -> Hashable:
        return (*self._directory.version, len(self._granted))

    def _make(self) -> list[Row]:
        rows = [*self._of_groups(), *self._of_applications()]
        day = self._clock.now_ms // DAY_MS
        members = self._directory.members
        for member in members:
            rows += self._of_member(member, day)
        for member in self._directory.departed:
            rows += self._of_member(member, day, at_least=1)
        there = {member.user.id for member in members}
        rows += [row for row in self._granted if row.key.partition("/")[0] in there]
        return rows + self._padding(members, self._at_least - len(rows))

    def _of_groups(self) -> Iterable[Row]:
        for group in self._directory.groups:
            subject = _Subject("GROUP", group.asset.id, group.asset.name, group.team_role)
            rng = Random(f"{self._seed}/group-grants/{subject.id}")
            for thing in self._objects:
                if rng.random() < _GROUP_REACH:
                    yield self._row(rng, subject, thing)

    def _of_applications(self) -> Iterable[Row]:
        for subject in self._applications:
            yield self._row(Random(f"{self._seed}/{subject.id}"), subject, self._team)

    def _of_member(self, member: Member, day: int, *, at_least: int = 0) -> Iterable[Row]:
        """Return what a member may do in person."""
        user = member.user
        rng = Random(f"{self._seed}/grants/{user.id}")
        turn = (day + rng.randrange(1_000)) // rng.randint(*_GRANT_DAYS)
        rng.seed(f"{self._seed}/grants/{user.id}/{turn}")
        things: Sequence[_Object] = rng.sample(
            self._objects, max(at_least, rng.randint(0, _GRANTS[user.role]))
        )
        if user.role == "ADMIN":
            things = [self._team, *things]
        subject = _person(member)
        return [self._row(rng, subject, thing) for thing in things]

    def _padding(self, members: Sequence[Member], missing: int) -> list[Row]:
        """Return more permissions, as many for each member, on as many objects as it takes."""
        if self._archives is None:
            rng = Random(f"{self._seed}/archives")
            # Settled once, so that one member who leaves does not move everybody's permissions.
            self._archives = [
                _Object("PACKAGE", Asset(new_uuid(rng), f"Archive {number}", f"archive-{number}"))
                for number in range(1, 1 + max(0, -(-missing // len(members))))
            ]
        rows: list[Row] = []
        for member in members if self._archives else ():
            rng, subject = Random(f"{self._seed}/archived/{member.user.id}"), _person(member)
            rows += [self._row(rng, subject, archive) for archive in self._archives]
        return rows

    def _row(self, rng: Random, subject: _Subject, thing: _Object) -> Row:
        actions = _ACTIONS[thing.kind]
        # The first is the least that one can hold; what comes after it are more.
        held = actions[: 1 + int(rng.random() * len(actions))]
        record: Record = {
            "subjectName": subject.name,
            "subjectType": subject.kind,
            "subjectId": subject.id,
            "groups": subject.groups,
            "role": subject.role,
            "service": _SERVICES[thing.kind],
            "objectName": thing.asset.name,
            "objectType": thing.kind,
            "objectId": thing.asset.id,
            "actions": held,
        }
        if self._has_extra_fields:
            record |= {"inherited": subject.kind == "GROUP", "grantedBy": None}
        return Row(f"{subject.id}/{thing.asset.id}", 0, render(record), subject.is_internal)


def _person(member: Member) -> _Subject:
    user = member.user
    return _Subject(
        kind="USER",
        id=user.id,
        name=user.email,
        role=user.role,
        groups=", ".join(group.asset.name for group in member.groups),
        is_internal=member.is_internal,
    )


def in_the_words_of_the_export(refusal: Answer) -> Answer:
    """Turn an error into the shape that this API has for its own."""
    if not refusal.body:
        return refusal
    words = {
        HTTPStatus.UNAUTHORIZED: ("UNAUTHORIZED", "Full authentication is required."),
        HTTPStatus.FORBIDDEN: ("FORBIDDEN", "Access Denied."),
    }[refusal.status]
    payload = dict(zip(("frontendErrorKey", "errorInformation"), words, strict=True))
    return Answer.json(refusal.status, payload)
