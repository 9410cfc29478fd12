"""What is the case in a sandbox: its time, its team, what they did, and who may do what."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tap_celonis_audit.sandbox.adoption import AdoptionHistory
from tap_celonis_audit.sandbox.api import END_OF_TIME_MS, check_least
from tap_celonis_audit.sandbox.clock import DAY_MS, Clock, to_iso, to_ms
from tap_celonis_audit.sandbox.directory import Directory
from tap_celonis_audit.sandbox.history import AuditHistory, LoginHistory, company
from tap_celonis_audit.sandbox.log import EventSource, Log, Producer
from tap_celonis_audit.sandbox.members import DateStyle, Members
from tap_celonis_audit.sandbox.permissions import Permissions
from tap_celonis_audit.sandbox.stories import DAYS_NEEDED, REPLACED, Stories

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tap_celonis_audit.sandbox.stories import Guest, Story
    from tap_celonis_audit.sandbox.team import Team

# Events that are made on demand are at least so old that a reader with a settling time of a few
# minutes sees them at once.
_SETTLED_MS = 300_000
_LONGEST_SECONDS = 10 * 366 * 86_400

_HOUR_MS = 3_600_000


class World:
    """A clock, a team, its logs and its tables; see the sandbox for the arguments."""

    def __init__(
        self,
        *,
        seed: int,
        days: int,
        now: str | None,
        running: bool,
        retention_days: int,
        permission_items: int,
        last_login: DateStyle,
        extra_fields: bool,
        stories: bool,
        replaced: Mapping[str, EventSource | None],
    ) -> None:
        check_least("days", days, 0)
        check_least("retention_days", retention_days, 0)
        self._seed = seed
        self.clock = Clock(_first_now_ms(now), running=running)
        self.stories: tuple[Story, ...] = ()
        guests: list[Guest] = []
        login_history = LoginHistory(seed)
        audit: Producer = AuditHistory(seed)
        logins: Producer = login_history
        if stories:
            kept = min(days, retention_days or days)
            check_least("days of history, where stories are told,", kept, DAYS_NEEDED)
            telling = Stories(seed, self.clock.now_ms // DAY_MS)
            self.stories, guests = telling.told, telling.guests
            login_history = LoginHistory(seed, told=telling.last_logins)
            audit = telling.in_audit_log(AuditHistory(seed, without=REPLACED))
            logins = telling.in_login_history(login_history)
        self.directory = Directory(self.clock, seed=seed, guests=guests)
        producers: dict[str, Producer] = {
            "audit": audit,
            "logins": logins,
            "adoption": AdoptionHistory(seed, has_extra_fields=extra_fields),
        }
        self.sources: dict[str, EventSource] = {
            name: replaced.get(name)
            or Log(self.clock, producer=producer, days=days, retention_days=retention_days)
            for name, producer in producers.items()
        }
        self.members = Members(
            self.clock,
            directory=self.directory,
            logins=login_history,
            date_style=last_login,
            has_extra_fields=extra_fields,
        )
        self.grants = Permissions(
            self.clock,
            directory=self.directory,
            seed=seed,
            at_least=permission_items,
            has_extra_fields=extra_fields,
        )

    @property
    def team(self) -> Team:
        """The team as of now."""
        return company(self._seed).team(self.clock.now_ms // DAY_MS)

    def log(self, name: str) -> Log:
        """Return one of the logs.

        Raises:
            TypeError: It was replaced by a source of another kind.
        """
        source = self.sources[name]
        if not isinstance(source, Log):
            raise TypeError(f"the {name} log was replaced by a {type(source).__name__}")
        return source

    def happen(
        self, events: Mapping[str, int], changes: Mapping[str, int], *, advance_seconds: float
    ) -> None:
        """Change the team now, then move the clock and let so many events happen on the way.

        Args:
            events: How many events in which log.
            changes: How many ``joins``, ``leaves``, ``moves``, ``grants`` and ``revocations``.
            advance_seconds: How far the clock moves.

        Raises:
            ValueError: The way is too short for the events, or the team too small for the changes.
        """
        if not 0 <= advance_seconds <= _LONGEST_SECONDS:
            raise ValueError(f"advance_seconds must be from 0 to {_LONGEST_SECONDS}")
        if min(*events.values(), *changes.values()) < 0:
            raise ValueError("the number of events or changes cannot be negative")
        with self.clock.lock:
            start_ms = self.clock.now_ms + 1
            stop_ms = start_ms + round(advance_seconds * 1_000) - _SETTLED_MS - 1
            if max(events.values()) > max(0, stop_ms - start_ms):
                raise ValueError(
                    "advance_seconds is too small: events happen more than 300 seconds before"
                    " the new now, each at its own millisecond"
                )
            self._change(changes)
            self.clock.advance(seconds=advance_seconds)
            for name, count in events.items():
                if count:
                    self.log(name).happen_between(start_ms, stop_ms, count=count)

    def state(self) -> dict[str, Any]:
        """Return the clock, the sizes of the logs and tables, and the stories that are told."""
        with self.clock.lock:
            return {
                "now": to_iso(self.clock.now_ms),
                **{
                    name: len(source.select(-END_OF_TIME_MS, END_OF_TIME_MS))
                    for name, source in self.sources.items()
                },
                "members": len(self.members),
                "permissions": len(self.grants),
                "stories": [story.as_json() for story in self.stories],
            }

    def _change(self, changes: Mapping[str, int]) -> None:
        if changes["revocations"]:
            self.grants.revoke(changes["revocations"])
        if changes["leaves"] or changes["moves"]:
            self.directory.rearrange(leaves=changes["leaves"], moves=changes["moves"])
        if changes["joins"]:
            self.directory.join(changes["joins"])
        if changes["grants"]:
            self.grants.grant(changes["grants"])


def _first_now_ms(now: str | None) -> int:
    if now is not None:
        return to_ms(now)
    now_ms = round(time.time() * 1_000)
    return now_ms - now_ms % _HOUR_MS
