"""What the tables have in common: each run copies the whole, or fails and writes nothing of it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, ClassVar

from tap_celonis_audit import sdk
from tap_celonis_audit.errors import failure

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tap_celonis_audit.tap import TapCelonisAudit


class TableStream(sdk.Stream):
    """A table that each run reads as it is now."""

    known_fields: ClassVar[frozenset[str]]
    """Fields of the API's record that have columns."""

    def __init__(self, tap: TapCelonisAudit) -> None:
        super().__init__(tap)
        self.tap = tap

    def snapshot(self) -> Iterable[dict[str, Any]]:
        """Read the table, and give its rows once it is known that none is missing.

        Raises:
            TapError: It cannot be read completely.
        """
        raise NotImplementedError

    def columns(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Make the stream's own columns of an API record."""
        raise NotImplementedError

    def misfits(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Give the values that their columns cannot hold, for `additional_fields`."""
        raise NotImplementedError

    @override
    def batches(self) -> Iterable[Sequence[dict[str, Any]]]:
        with self.tap.failing(self.name):
            number = 0
            try:
                for row in self.snapshot():
                    yield (row,)
                    number += 1
            except RecursionError:
                raise failure("too deep", path=self.api.path) from None
            if number:
                # Only now: what is missing in a part of a table is not gone.
                self.activate_version()
            else:
                self.logger.warning(
                    "%s: Celonis says that there are none. Rows of earlier runs stay.", self.name
                )
            self.logger.info("%s: %d rows", self.name, number)

    def row(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Make a row of an API record, all but a key that is computed."""
        if self.tap.pseudonymizer:
            record = self.tap.pseudonymizer.record(record)
        known = self.known_fields
        additional = {name: value for name, value in record.items() if name not in known}
        additional |= self.misfits(record)
        return {
            **self.columns(record),
            "team": self.tap.settings.team,
            "additional_fields": additional or None,
        }
