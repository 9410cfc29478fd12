"""Singer taps, run as a pipeline does: what they write is appended, their last STATE is kept."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from bench.processes import Command, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from bench.environments import Environment
    from bench.peers.peer import Job, Record


@dataclass(frozen=True, slots=True, kw_only=True)
class SingerTap:
    """A peer that is a Singer tap.

    Attributes:
        command: How it is called; the first word is found in its environment.
        config: Its configuration.
        catalog: Its catalog, if it needs one.
        to_api: Turns a row back into the API's record.
    """

    name: str
    manner: str
    package: str
    environment: Environment
    command: tuple[str, ...]
    config: Callable[[Job], dict[str, Any]]
    to_api: Callable[[Record], Record]
    catalog: Callable[[Job], dict[str, Any]] | None = None

    def prepare(self, job: Job) -> Command:
        """Write the configuration, and tell how to run the tap from its last state."""
        state, config = job.folder / "state.json", job.folder / "config.json"
        config.write_text(json.dumps(self.config(job)))
        executable, *arguments = self.command
        words = [str(self.environment.bin / executable), *arguments, "--config", str(config)]
        if self.catalog:
            catalog = job.folder / "catalog.json"
            catalog.write_text(json.dumps(self.catalog(job)))
            words += ["--catalog", str(catalog)]
        if state.exists():
            words += ["--state", str(state)]
        return Command(words)

    def run(self, job: Job, now: datetime) -> None:  # noqa: ARG002 - a tap asks the clock itself
        """Run the tap from its last state."""
        size = job.output.stat().st_size if job.output.exists() else 0
        try:
            run(self.prepare(job), output=job.output, log=job.log)
        finally:
            # A target acknowledges what it read, also when the tap failed in the end.
            for message in _messages(job, offset=size):
                if message["type"] == "STATE":
                    (job.folder / "state.json").write_text(json.dumps(message["value"]))

    def records(self, job: Job) -> Iterator[Record]:
        """Give the rows of all runs, as an append-only target holds them."""
        for message in _messages(job):
            if message["type"] == "RECORD":
                yield self.to_api(message["record"])


def _messages(job: Job, *, offset: int = 0) -> Iterator[dict[str, Any]]:
    if not job.output.exists():
        return
    with job.output.open("rb") as lines:
        lines.seek(offset)
        yield from map(msgspec.json.decode, lines)
