"""dlt's declarative REST source, loading into DuckDB."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.environments import Environment
from bench.processes import Command, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from bench.peers.peer import Job, Record

_HERE = Path(__file__).parent
_ENVIRONMENT = Environment(_HERE / "requirements.txt")
PARALLEL = 8


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
        command = _pipeline(job, "--disposition", self.disposition, "--rows", str(_rows(job)))
        run(command, output=job.folder / "output.txt", log=job.log)

    def records(self, job: Job) -> Iterator[Record]:
        """Give the rows of the table, as the last run that succeeded left it."""
        if _rows(job).exists():
            with _rows(job).open() as lines:
                yield from map(json.loads, lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class DltExtraction:
    """The first of a dlt pipeline's three steps: what a tap does."""

    name: str
    manner: str
    windows: int
    package: str = "dlt"
    environment: Environment = _ENVIRONMENT

    def prepare(self, job: Job) -> Command:
        """Tell how to extract."""
        arguments = ["--disposition", "append", "--extract-only", "--windows", str(self.windows)]
        if job.end:
            arguments += ["--end", _zulu(job.end)]
        return _pipeline(job, *arguments)

    def records(self, job: Job) -> Iterator[Record]:
        """Give what the extracted files hold, under the API's names as they came."""
        for file in sorted(
            job.folder.glob("pipelines/audit/normalize/extracted/*/new_jobs/audit*")
        ):
            with file.open() as lines:
                for line in lines:
                    yield from json.loads(line)


def _pipeline(job: Job, *arguments: str) -> Command:
    words = [str(_ENVIRONMENT.python), str(_HERE / "pipeline.py"), "--url", job.url]
    words += ["--app-key", job.app_key, "--start", _zulu(job.start), "--folder", str(job.folder)]
    variables = {
        "DLT_DATA_DIR": str(job.folder / "dlt"),
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        # Faster, as plain text: what is extracted is read once, and from here.
        "DATA_WRITER__DISABLE_COMPRESSION": "true",
        "EXTRACT__WORKERS": str(PARALLEL),
    }
    return Command([*words, *arguments], cwd=job.folder, extra=variables)


def _rows(job: Job) -> Path:
    return job.folder / "rows.jsonl"


def _zulu(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S.000Z}"


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
EXTRACTION = DltExtraction(
    name="dlt",
    manner=(
        "As for the losses, but only the step `extract`, without compression: what a tap does. "
        "Everything after it is left out."
    ),
    windows=1,
)
EXTRACTION_IN_PARALLEL = DltExtraction(
    name="dlt, 8 at once",
    manner=(
        "The same as 32 resources for one table, each a window of equal length that is cut by "
        "hand, made parallel by code with eight workers. With an end, dlt keeps no bookmark: it "
        "reads history once, and could not go on from there."
    ),
    windows=32,
)
