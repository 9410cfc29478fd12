"""What a comparison needs of a reader."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from bench.environments import Environment
    from bench.processes import Command

Record: TypeAlias = dict[str, Any]

AUDIT_PATH = "/log/api/external/audit"
PAGE_SIZE = 200
#: The fields that Celonis documents for a record of the audit log.
FIELDS = (
    "userId",
    "userRole",
    "event",
    "timestamp",
    "message",
    "ipAddress",
    "port",
    "diffPayload",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A log to be read, run after run.

    Attributes:
        start: A time before the first event.
        folder: Where the reader keeps what it wrote and what it remembers.
        end: A time after the last event, for readers that cut the time into windows.
    """

    url: str
    app_key: str
    start: datetime
    folder: Path
    end: datetime | None = None

    @property
    def output(self) -> Path:
        """What the reader writes to standard output."""
        return self.folder / "output.jsonl"

    @property
    def log(self) -> Path:
        """What it writes to standard error."""
        return self.folder / "log.txt"


class Reader(Protocol):
    """A way to read the audit log."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def manner(self) -> str:
        """How it is configured and run, for those who read the results."""

    @property
    def package(self) -> str:
        """The package that does the work."""

    @property
    def environment(self) -> Environment:
        """Where it is installed."""

    def records(self, job: Job) -> Iterator[Record]:
        """Give what all runs delivered, in the API's own fields."""


class Peer(Reader, Protocol):
    """A reader that can be run again and again, going on from where it was."""

    def run(self, job: Job, now: datetime) -> None:
        """Do one scheduled run, going on from the last one.

        Raises:
            RunError: It failed.
        """


class Racer(Reader, Protocol):
    """A reader that is a command: what it takes to read a whole log can be measured."""

    def prepare(self, job: Job) -> Command:
        """Write what the command needs, and tell how to run it."""
