"""A table as the API sees it: what a team has now, and what was put in or taken out by hand."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tap_celonis_audit.sandbox.log import Record, render

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from tap_celonis_audit.sandbox.clock import Clock


@dataclass(frozen=True, slots=True)
class Row:
    """A record of a table.

    Attributes:
        key: Identifies what the record is about, whatever else changes in it.
        at_ms: Since when it is in the table: the order of its rows.
        body: The record, rendered as the JSON that the API sends.
        is_internal: It is about staff of Celonis or the platform itself.
    """

    key: str
    at_ms: int
    body: bytes
    is_internal: bool = False

    @property
    def record(self) -> Record:
        """The record."""
        record: Record = json.loads(self.body)
        return record


class Listing:
    """The rows of one answer, to be read like a log: all of it, whatever the time."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows

    def select(self, _: int, __: int, /) -> range:
        """Return the positions of all rows."""
        return range(len(self._rows))

    def time_at(self, position: int, /) -> int:
        """Return since when a row is in the table."""
        return self._rows[position].at_ms

    def bodies(self, positions: Sequence[int], /) -> Sequence[bytes]:
        """Return the rows at these positions, each as rendered JSON."""
        return [self._rows[position].body for position in positions]


class Table:
    """Rows that depend on the clock and on what happened, with changes by hand on top.

    Args:
        clock: Guards the table by its lock.
        version: Changes whenever the rows may have changed.
        rows: Makes the team's rows as of now.
    """

    def __init__(
        self, clock: Clock, *, version: Callable[[], Hashable], rows: Callable[[], Iterable[Row]]
    ) -> None:
        self._clock = clock
        self._version_now = version
        self._team_rows = rows
        self._version: Hashable = None
        self._added: dict[str, Row] = {}
        self._removed: set[str] = set()
        self._is_replaced = False
        self._serial = 0
        self._rows: list[Row] = []
        # Key -> the latest form in which a row was visible.
        self._seen: dict[str, Row] = {}

    @property
    def rows(self) -> Sequence[Row]:
        """The rows that the API shows now, the oldest first."""
        with self._clock.lock:
            version = (self._version_now(), self._serial, len(self._removed))
            if version != self._version:
                self._version = version
                made = [] if self._is_replaced else self._team_rows()
                rows = [row for row in made if row.key not in self._removed]
                rows += self._added.values()
                rows.sort(key=lambda row: row.at_ms)
                self._rows = rows
                self._seen.update((row.key, row) for row in rows)
            return self._rows

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def visible(self) -> list[Record]:
        """The records that the API shows now, the oldest first."""
        return [row.record for row in self.rows]

    @property
    def ever_visible(self) -> list[Record]:
        """Every record that the API could have shown at any time, in the last form it had."""
        with self._clock.lock:
            _ = self.rows
            return [row.record for row in self._seen.values()]

    def add(self, record: Record, *, is_internal: bool = False) -> None:
        """Put in one record, of whatever form, as the newest."""
        with self._clock.lock:
            self._put_in(record, is_internal=is_internal)
            _ = self.rows

    def remove(self, which: Record | Callable[[Record], bool]) -> int:
        """Take out records for good, and return how many.

        Args:
            which: A predicate removes every record it is true for, a record one that equals it.
        """
        with self._clock.lock:
            if isinstance(which, dict):
                gone = [row.key for row in self.rows if row.record == which][:1]
            else:
                gone = [row.key for row in self.rows if which(row.record)]
            self._take_out(gone)
            return len(gone)

    def replace(self, records: Iterable[Record]) -> None:
        """Let the table hold exactly these records, and nothing of the team any more."""
        with self._clock.lock:
            _ = self.rows
            self._is_replaced = True
            self._serial += 1
            self._added.clear()
            for record in records:
                self._put_in(record)
            _ = self.rows

    def _put_in(self, record: Record, *, is_internal: bool = False) -> None:
        self._serial += 1
        key = f"added/{self._serial}"
        self._added[key] = Row(key, self._clock.now_ms, render(record), is_internal)

    def _take_out(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._added.pop(key, None)
            self._removed.add(key)
        _ = self.rows
