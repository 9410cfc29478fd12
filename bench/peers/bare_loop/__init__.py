"""The floor: fetch a page, parse it, print its records, and so on, without a doubt or a schema."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.environments import HERE, Environment
from bench.processes import Command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.peers.peer import Job, Record


@dataclass(frozen=True, slots=True, kw_only=True)
class BareLoop:
    """A script of one loop."""

    name: str = "bare loop"
    manner: str = (
        "A `requests.Session`, one page after the other until `totalCount` is reached, parsed and "
        "printed with `msgspec`: no schema, no id, no state, no retry, no proof. The floor."
    )
    package: str = "requests"
    environment: Environment = HERE

    def prepare(self, job: Job) -> Command:
        """Tell how to run it."""
        script = str(Path(__file__).with_name("loop.py"))
        start = f"{job.start:%Y-%m-%dT%H:%M:%S.000Z}"
        return Command([str(self.environment.python), script, job.url, job.app_key, start])

    def records(self, job: Job) -> Iterator[Record]:
        """Give what was printed."""
        with job.output.open("rb") as lines:
            yield from map(json.loads, lines)


PEER = BareLoop()
