"""This tap with a target: what the pipeline takes, whose time it is, and what arrives."""

from __future__ import annotations

import contextlib
import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg
from psycopg.rows import dict_row
from ruamel.yaml import YAML

from bench.environments import BENCH, Environment
from bench.losses import count
from bench.peers import this_tap
from bench.peers.peer import Job
from bench.processes import Command, measure
from bench.runs import TIMEOUT_SECONDS, Run
from demo.postgres import postgres

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator, Mapping

    from bench.logs import HeldLog
    from bench.peers.peer import Record
    from bench.processes import Usage
    from bench.service import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A Singer target with its settings.

    Attributes:
        executable: The command, and the name of the folder with its requirements.
        settings: How it is set, besides the place to write to.
    """

    name: str
    package: str
    executable: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def environment(self) -> Environment:
        """Where it is installed."""
        folder = self.executable.replace("-", "_")
        return Environment(BENCH / "targets" / folder / "requirements.txt")

    def prepare(self, config: Path, place: Mapping[str, Any]) -> Command:
        """Write its configuration, and tell how to run it."""
        config.write_text(json.dumps({**self.settings, **place}))
        words = [str(self.environment.bin / self.executable), "--config", str(config)]
        return Command(words, cwd=config.parent)


def shipped(executable: str) -> dict[str, Any]:
    """Give what meltano.yml sets for a target."""
    project = YAML(typ="safe").load((BENCH.parent / "meltano.yml").read_text(encoding="utf-8"))
    (settings,) = (
        each["config"] for each in project["plugins"]["loaders"] if each["name"] == executable
    )
    return dict(settings)


TARGETS = (
    Target(
        name="target-jsonl",
        package="target-jsonl",
        executable="target-jsonl",
        settings={"do_timestamp_file": False},
    ),
    Target(
        name="target-postgres, its defaults",
        package="meltanolabs-target-postgres",
        executable="target-postgres",
    ),
    Target(
        name="target-postgres as in `meltano.yml`",
        package="meltanolabs-target-postgres",
        executable="target-postgres",
        settings=shipped("target-postgres"),
    ),
)


def play(
    service: Service,
    log: HeldLog,
    owed: Counter[bytes],
    *,
    latency_ms: float,
    note: Callable[[str, Callable[[], Run]], list[Run]],
) -> dict[str, Run]:
    """Run tap, targets and pipelines; give the figures of each part by its name."""
    runs = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as resources:
        start, _ = log.bounds
        job = Job(url=service.url, app_key=service.app_key, start=start, folder=Path(folder))
        tap = this_tap.PEER.prepare(job)
        server: list[str] = []

        def tap_alone() -> Run:
            service.begin(latency_ms=latency_ms)
            (usage,) = _measure(tap, job=job, output=job.output)
            requests = service.end().requests
            return _run(owed, count(this_tap.PEER.records(job)), usage, requests=requests)

        for run in note("pipeline, tap alone", tap_alone):
            runs["tap alone"] = run
        for number, target in enumerate(TARGETS):
            for manner in ("alone", "piped"):

                def one(target: Target = target, manner: str = manner, number: int = number) -> Run:
                    if not job.output.exists():
                        tap_alone()
                    if not server:
                        server.append(resources.enter_context(postgres()))
                    name = f"{manner}_{number}"
                    place, rows = _place(target, job.folder / name, server[0])
                    command = target.prepare(job.folder / f"{name}.json", place)
                    if manner == "alone":
                        usages = _measure(command, job=job, source=job.output)
                    else:
                        service.begin(latency_ms=latency_ms)
                        usages = _measure(tap, command, job=job)
                        service.end()
                    return _run(owed, count(rows()), *usages)

                key = f"{target.name}, {manner}"
                for run in note(f"pipeline, {key}", one):
                    runs[key] = run
    return runs


def _measure(
    *pipeline: Command, job: Job, output: Path | None = None, source: Path | None = None
) -> list[Usage]:
    return measure(
        *pipeline,
        output=output or job.folder / "state.jsonl",
        log=job.log,
        source=source,
        timeout_seconds=TIMEOUT_SECONDS,
    )


def _run(owed: Counter[bytes], got: Counter[bytes], *usages: Usage, requests: int = 0) -> Run:
    """Sum up; of a pipeline, CPU and memory are the target's, which comes last."""
    return Run(
        records=owed.total(),
        wall_seconds=max(each.wall_seconds for each in usages),
        cpu_seconds=usages[-1].cpu_seconds,
        tap_cpu_seconds=sum(each.cpu_seconds for each in usages[:-1]),
        memory_mb=usages[-1].memory_mb,
        requests=requests,
        lost=(owed - got).total(),
        doubled=(got - owed).total(),
    )


def _place(
    target: Target, folder: Path, url: str
) -> tuple[dict[str, Any], Callable[[], Iterator[Record]]]:
    """Tell where to write, and how to read what was written."""
    if target.executable == "target-jsonl":
        folder.mkdir()
        return {"destination_path": str(folder)}, lambda: _lines(folder / "audit_logs.jsonl")
    parts, schema = urlsplit(url), folder.name
    place = {
        "host": parts.hostname,
        "port": parts.port,
        "user": parts.username,
        "password": parts.password,
        "database": parts.path.strip("/"),
        "default_target_schema": schema,
    }
    return place, lambda: _rows(url, schema)


def _lines(file: Path) -> Iterator[Record]:
    with file.open("rb") as lines:
        yield from map(this_tap.PEER.to_api, map(json.loads, lines))


def _rows(url: str, schema: str) -> Iterator[Record]:
    with (
        psycopg.connect(url, options=f"-c search_path={schema}") as connection,
        connection.cursor(row_factory=dict_row) as rows,
    ):
        for row in rows.execute("SELECT * FROM audit_logs"):
            text = f"{row['timestamp']:%Y-%m-%dT%H:%M:%S.%fZ}"
            yield this_tap.PEER.to_api({**row, "timestamp": text})
