"""dlt's declarative REST source, loading into DuckDB."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.environments import Environment
from bench.processes import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from bench.peers.peer import Job, Record

_HERE = Path(__file__).parent
_ENVIRONMENT = Environment(_HERE / "requirements.txt")
_NO_CALLS_HOME = {"RUNTIME__DLTHUB_TELEMETRY": "false"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DltRestApi:
    """A dlt pipeline with one of its write dispositions."""

    name: str
    manner: str
    disposition: Literal["append", "merge"]
    package: str = "dlt"
    environment: Environment = _ENVIRONMENT

    def run(self, job: Job, now: datetime) -> None:  # noqa: ARG002 - it reads without an end
        """Run the pipeline from its own state."""
        command = [str(self.environment.python), str(_HERE / "pipeline.py"), "--url", job.url]
        command += ["--app-key", job.app_key, "--start", f"{job.start:%Y-%m-%dT%H:%M:%S.000Z}"]
        command += ["--disposition", self.disposition]
        command += ["--folder", str(job.folder), "--rows", str(job.folder / "rows.jsonl")]
        run(
            command,
            output=job.folder / "output.txt",
            log=job.folder / "log.txt",
            cwd=job.folder,
            extra={"DLT_DATA_DIR": str(job.folder / "dlt"), **_NO_CALLS_HOME},
        )

    def records(self, job: Job) -> Iterator[Record]:
        """Give the rows of the table, as the last run that succeeded left it."""
        rows = job.folder / "rows.jsonl"
        if rows.exists():
            with rows.open() as lines:
                yield from map(json.loads, lines)


APPEND = DltRestApi(
    name="dlt append",
    manner=(
        "`rest_api` source: page-number paginator until an empty page, incremental on `timestamp` "
        "through `from`, disposition `append`. dlt leaves out rows that it knows from the last run "
        "where they have exactly the time of the bookmark."
    ),
    disposition="append",
)
MERGE = DltRestApi(
    name="dlt merge",
    manner=(
        "The same with disposition `merge` on a hash of the record, since there is no id, and "
        "`lag` of six hours, so that each run reads that much again."
    ),
    disposition="merge",
)
