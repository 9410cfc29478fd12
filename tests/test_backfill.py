"""The example on Dagster: ten years by month, one of the workers killed, and on from there."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from taps import Row, assert_each_once, logs_of

from bench.environments import Environment, uv
from bench.processes import quiet_environment
from tap_celonis_audit.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Generator

    from tap_celonis_audit.sandbox import Request

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "backfill"
DAGSTER = Environment(EXAMPLE / "requirements.txt")
TARGET = Environment(ROOT / "bench" / "targets" / "target_postgres" / "requirements.txt")
TIMEOUT_SECONDS = 300

NOW = "2026-03-01T12:00:00Z"
FIRST, END = "2016-01-01", "2026-01-01"
#: The worker that reads this month is killed while it does.
FATAL = "2019-07-01"


class Killer:
    """Kills the worker that reads the fatal month, once, in the middle of it."""

    def __init__(self, folder: Path) -> None:
        self._begun = str(folder / f"{FATAL}_")
        self._requests = 0
        self.killed: list[int] = []

    def __call__(self, _: Sandbox, request: Request) -> None:
        if not request.query.get("from", "").startswith(FATAL[:7]) or self.killed:
            return
        self._requests += 1
        if self._requests > 3:
            self.killed = [
                pid
                for pid in _processes()
                if any(path.startswith(self._begun) for path in _open_files(pid))
            ]
            for pid in self.killed:
                os.kill(pid, signal.SIGKILL)


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _open_files(pid: int) -> set[str]:
    try:
        return {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}
    except OSError:  # it has ended, or is somebody else's
        return set()


class Example:
    """The example, with its sandbox and its tables."""

    def __init__(self, sandbox: Sandbox, folder: Path, postgres_url: str) -> None:
        self.sandbox = sandbox
        self.url = postgres_url
        self.schema = f"backfill_{uuid4().hex}"
        self.files = folder / "backfill"
        self._folder = folder
        shutil.copy(EXAMPLE / "dagster.yaml", folder)
        parts = urlsplit(postgres_url)
        target = {
            "host": parts.hostname,
            "port": parts.port or 5432,
            "user": parts.username,
            "password": parts.password,
            "database": parts.path.strip("/"),
            "default_target_schema": self.schema,
            "use_copy": True,
        }
        (folder / "target.json").write_text(json.dumps(target))

    def run(self, job: str, **variables: str) -> None:
        settings = {
            "BACKFILL_FROM": FIRST,
            "BACKFILL_TO": END,
            "BACKFILL_TARGET": f"{TARGET.bin / 'target-postgres'} --config target.json",
            "DAGSTER_HOME": str(self._folder),
            "TAP_CELONIS_AUDIT_API_URL": self.sandbox.url,
            "TAP_CELONIS_AUDIT_APP_KEY": self.sandbox.app_key,
        }
        ended = subprocess.run(
            [DAGSTER.bin / "dagster", "job", "execute", "-f", EXAMPLE / "backfill.py", "-j", job],
            cwd=self._folder,
            env=quiet_environment(settings | variables),
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
        )
        (self._folder / f"{job}.log").write_text(ended.stderr)
        assert ended.returncode == 0, ended.stderr[-5000:]

    def months(self) -> list[str]:
        return sorted(path.name.partition(".")[0] for path in self.files.glob("*.jsonl.gz"))

    def in_files(self) -> list[Row]:
        rows = []
        for path in self.files.glob("*.jsonl.gz"):
            with gzip.open(path, "rt") as file:
                messages = [json.loads(line) for line in file]
            records = [(m["stream"], m["record"]) for m in messages if m["type"] == "RECORD"]
            rows += [Row(name, r["event_id"], r["timestamp"]) for name, r in records]
        return rows

    def in_tables(self) -> list[Row]:
        queries = [
            f"SELECT '{name}', event_id, to_char(timestamp, 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"  # noqa: S608 -- our own names
            f' FROM "{self.schema}".{name}'
            for name in logs_of(self.sandbox)
        ]
        with psycopg.connect(self.url) as connection:
            rows = connection.execute(" UNION ALL ".join(queries).encode()).fetchall()
        return [Row(*row) for row in rows]

    def drop(self) -> None:
        with psycopg.connect(self.url) as connection:
            connection.execute(f'DROP SCHEMA IF EXISTS "{self.schema}" CASCADE'.encode())


def milliseconds(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1000


@pytest.fixture
def sandbox() -> Generator[Sandbox]:
    """Give ten years of a quiet team, with events on the borders of months."""
    with Sandbox(seed=7, days=0, now=NOW) as sandbox:
        for log in logs_of(sandbox).values():
            log.happen_between(milliseconds(FIRST), milliseconds("2026-02-28"), count=2000)
            log.happen_between(milliseconds("2019-07-01"), milliseconds("2019-08-01"), count=500)
        first = sandbox.audit.visible[0]
        borders = (
            "2019-06-30T23:59:59.999Z",
            "2019-07-01T00:00:00.000Z",
            "2025-12-31T23:59:59.999Z",
        )
        sandbox.audit.extend(first | {"timestamp": border} for border in (*borders, *borders))
        yield sandbox


@pytest.fixture
def example(sandbox: Sandbox, postgres_url: str, tmp_path: Path) -> Generator[Example]:
    for environment in (DAGSTER, TARGET):
        environment.install()
    install = [uv(), "pip", "install", "--quiet", "--no-deps", "--reinstall"]
    command = [*install, "--python", str(DAGSTER.python), str(ROOT)]
    subprocess.run(command, check=True, timeout=TIMEOUT_SECONDS)
    made = Example(sandbox, tmp_path, postgres_url)
    yield made
    made.drop()


def test_a_backfill_survives_its_workers_and_goes_on(example: Example, sandbox: Sandbox) -> None:
    killer = Killer(example.files)
    sandbox.hook = killer

    example.run("backfill", BACKFILL_WORKERS="3")

    assert len(killer.killed) == 1
    assert len(example.months()) == 120
    assert list(example.files.glob("*.part")) == []
    history = Counter(
        (name, record["timestamp"].replace("Z", "000Z"))
        for name, log in logs_of(sandbox).items()
        for record in log.visible
        if record["timestamp"] < END
    )
    assert history.total() > 7000
    in_files, in_tables = example.in_files(), example.in_tables()
    for rows in (in_files, in_tables):
        assert Counter((row.stream, row.timestamp) for row in rows) == history
    assert set(in_files) == set(in_tables)

    # What is complete is not read again.
    sandbox.hook = None
    sandbox.requests.clear()
    example.run("backfill", BACKFILL_FROM="2025-11-01")
    assert sandbox.requests == []

    assert {path.stat().st_mode & 0o777 for path in example.files.glob("*.gz")} == {0o600}

    # And on from there, once and again.
    for _ in range(2):
        sandbox.happen(audit=5, logins=5, advance_seconds=600)
        sandbox.clock.advance(seconds=300)
        example.run("follow")
        assert_each_once(example.in_tables(), sandbox)
    assert len(example.months()) == 120


def test_half_a_month_is_not_taken_for_the_whole(example: Example, sandbox: Sandbox) -> None:
    first = {"BACKFILL_FROM": "2025-11-01"}

    example.run("backfill", **first, BACKFILL_TO="2025-11-15")
    example.run("backfill", **first)

    assert example.months() == [
        "2025-11-01_2025-11-15",
        "2025-11-01_2025-12-01",
        "2025-12-01_2026-01-01",
    ]
    assert Counter((row.stream, row.timestamp) for row in example.in_tables()) == Counter(
        (name, record["timestamp"].replace("Z", "000Z"))
        for name, log in logs_of(sandbox).items()
        for record in log.visible
        if first["BACKFILL_FROM"] <= record["timestamp"] < END
    )
