"""The Studio adoption API: who used what in Studio, and when.

https://developer.celonis.com/celonis-apis/platform-api/overview/

The fields of a record are not published. Celonis' own SQL on the extracted table reads
``timestamp``, ``user$email`` and ``asset$name``; the others are what one would expect beside them.
"""

from __future__ import annotations

from functools import lru_cache
from operator import itemgetter
from random import Random
from typing import TYPE_CHECKING

from tap_celonis_audit.sandbox.clock import DAY_MS, to_iso
from tap_celonis_audit.sandbox.history import Day, company
from tap_celonis_audit.sandbox.log import Record, render
from tap_celonis_audit.sandbox.team import at_work, chance, working_ms

if TYPE_CHECKING:
    from tap_celonis_audit.sandbox.team import Portfolio, User

_EVENTS = ("VIEWED", "EDITED", "PUBLISHED")
# How many assets somebody opens on a day, and how likely each use is.
_USES_A_DAY = {"ADMIN": 1.0, "ANALYST": 2.0, "MEMBER": 1.0}
_ODDS = {"ADMIN": (80, 18, 2), "ANALYST": (60, 37, 3), "MEMBER": (100, 0, 0)}
_ASSET_TYPES = ("BOARD_V2", "ANALYSIS", "KNOWLEDGE_MODEL", "SKILL", "VIEW")
_PAUSE_MS = 14 * 60_000


class AdoptionHistory:
    """The use of Studio by a company's team.

    Args:
        seed: Chooses the company.
        has_extra_fields: Records have fields that nobody has seen yet.
    """

    def __init__(self, seed: int, *, has_extra_fields: bool = False) -> None:
        self._seed = seed
        self._has_extra_fields = has_extra_fields

    def day(self, day: int, /) -> Day:
        """Return the events of a calendar day."""
        return _adoption_day(self._seed, day, has_extra_fields=self._has_extra_fields)

    def improvise(self, rng: Random, at_ms: int, /) -> bytes:
        """Return one plausible event at a time."""
        team = company(self._seed).team(at_ms // DAY_MS)
        user = rng.choice(team.users)
        record = _record(rng, team.portfolio, at_ms, user, extra=self._has_extra_fields)
        return render(record)

    def deletion(self, _: int, /) -> bytes | None:
        """Return nothing: only the audit log tells that retention deleted something."""
        return None


@lru_cache(maxsize=1_000)
def _adoption_day(seed: int, day: int, *, has_extra_fields: bool) -> Day:
    team = company(seed).team(day)
    rng = Random(f"{seed}/adoption/{day}")
    plan: list[tuple[int, User]] = []
    for user in at_work(team, rng):
        at = working_ms(user, rng)
        for _ in range(int(rng.expovariate(1.0 / _USES_A_DAY[user.role]) + rng.random())):
            plan.append((at % DAY_MS, user))
            # A click on a board opens several of its assets at once.
            at += 0 if chance(rng, 0.04) else int(rng.expovariate(1.0 / _PAUSE_MS))
    plan.sort(key=itemgetter(0))

    def write() -> list[bytes]:
        details = Random(f"{seed}/adoption/{day}/details")
        return [
            render(
                _record(details, team.portfolio, day * DAY_MS + at, user, extra=has_extra_fields)
            )
            for at, user in plan
        ]

    return Day([day * DAY_MS + at for at, _ in plan], write)


def _record(rng: Random, portfolio: Portfolio, at_ms: int, user: User, *, extra: bool) -> Record:
    node = portfolio.nodes[int(rng.random() * len(portfolio.nodes))]
    package = portfolio.packages[int(rng.random() * len(portfolio.packages))]
    record: Record = {
        "timestamp": to_iso(at_ms),
        "eventType": rng.choices(_EVENTS, _ODDS[user.role])[0],
        "user": {"id": user.id, "email": user.email, "type": "NON_CELONIS_USER"},
        "asset": {
            "id": node.id,
            "key": node.key,
            "name": node.name,
            "type": _ASSET_TYPES[len(node.name) % len(_ASSET_TYPES)],
        },
        "package": {"id": package.id, "key": package.key, "name": package.name},
        "application": "APPS" if user.role == "MEMBER" else "STUDIO",
    }
    if extra:
        record |= {"session": {"device": "desktop", "durationMs": rng.randrange(900_000)}}
    return record
