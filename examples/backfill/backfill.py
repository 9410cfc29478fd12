"""Copies years of history month by month, with several workers, and goes on from there.

Each month becomes one file, written by one worker and put in its place when it is complete. So a
month exists whole or not at all: a worker that is killed loses its month, the next try reads that
month again, and what is complete is never read twice, whoever starts the job. One target then
loads all files, since most targets cannot write one table from several processes.

`follow` copies what is new since then, and is what the schedule runs.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator  # noqa: TC003 -- Dagster evaluates annotations
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import dagster as dg  # type: ignore[import-not-found] # ty: ignore[import-not-found] # only in its own environment

from tap_celonis_audit.tap import TapCelonisAudit

#: The first month to copy, and the first one that is left to `follow`.
FIRST_MONTH = date.fromisoformat(os.environ.get("BACKFILL_FROM", "2016-01-01"))
END = date.fromisoformat(os.environ.get("BACKFILL_TO", "2026-01-01"))
FOLDER = Path(os.environ.get("BACKFILL_FOLDER", "backfill"))
#: The target, with its configuration.
TARGET = shlex.split(os.environ.get("BACKFILL_TARGET", "target-postgres --config target.json"))
WORKERS = int(os.environ.get("BACKFILL_WORKERS", "4"))

#: Copied whole by `follow`; they have no history.
TABLES = ("members", "permissions")
STATE = FOLDER / "state.json"

#: Workers are forked from a process that has imported everything: they start in no time.
PROCESSES = {
    "max_concurrent": WORKERS,
    "start_method": {
        "forkserver": {
            "preload_modules": ["dagster._core.storage.sqlite_storage", "tap_celonis_audit.tap"]
        }
    },
}


@dg.op(out=dg.DynamicOut(str))
def months() -> Iterator[dg.DynamicOutput[str]]:
    """List the months to copy."""
    late = timedelta(seconds=int(os.environ.get("TAP_CELONIS_AUDIT_LATE_ARRIVAL_SECONDS", "21600")))
    if datetime.now(UTC) - late < datetime(END.year, END.month, END.day, tzinfo=UTC):
        raise dg.Failure(f"Events before {END} may still appear. Choose an earlier BACKFILL_TO.")
    month = FIRST_MONTH
    while month < END:
        yield dg.DynamicOutput(month.isoformat(), mapping_key=f"{month:%Y_%m}")
        month = following(month)


@dg.op(retry_policy=dg.RetryPolicy(max_retries=3, delay=5))
def extract(month: str) -> str:
    """Copy one month into a file, unless that was done before."""
    end = min(following(date.fromisoformat(month)), END).isoformat()
    # With both bounds in its name: half a month is not taken for the whole one later.
    done = FOLDER / f"{month}_{end}.jsonl.gz"
    if done.exists():
        dg.get_dagster_logger().info("%s is here already", month)
        return str(done)
    FOLDER.mkdir(parents=True, exist_ok=True)
    span = {"start_date": month, "end_date": end}
    # Nobody else writes to this file, nor reads it: events name people.
    with (
        NamedTemporaryFile(
            prefix=f"{done.name}.", suffix=".part", dir=FOLDER, delete=False
        ) as begun,
        gzip.open(begun, "wt", encoding="utf-8") as file,
        contextlib.redirect_stdout(file),
    ):
        TapCelonisAudit(config=span, catalog=logs_only(), parse_env_config=True).sync_all()
    Path(begun.name).rename(done)
    for left_over in FOLDER.glob(f"{done.name}.*.part"):
        left_over.unlink(missing_ok=True)
    return str(done)


@dg.op(retry_policy=dg.RetryPolicy(max_retries=3, delay=5))
def load(files: list[str]) -> None:
    """Give all months to the target. Its tables have keys: a second time changes nothing."""
    with subprocess.Popen(TARGET, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as target:
        assert target.stdin
        with contextlib.suppress(BrokenPipeError), target.stdin:
            for file in sorted(files):
                with gzip.open(file) as messages:
                    shutil.copyfileobj(messages, target.stdin)
    if target.returncode:
        raise dg.Failure(f"The target ended with status {target.returncode}.")


@dg.job(executor_def=dg.multiprocess_executor.configured(PROCESSES))
def backfill() -> None:
    """Copy the history before `END`."""
    load(months().map(extract).collect())


@dg.op
def copy_new() -> None:
    """Copy what has happened since `END`, or since the last time."""
    tap = [str(Path(sys.executable).with_name("tap-celonis-audit")), "--config=ENV"]
    if STATE.exists():
        tap += ["--state", str(STATE)]
    environment = os.environ | {"TAP_CELONIS_AUDIT_START_DATE": END.isoformat()}
    with subprocess.Popen(tap, stdout=subprocess.PIPE, env=environment) as source:
        target = subprocess.run(TARGET, stdin=source.stdout, stdout=subprocess.PIPE, check=False)
    states = target.stdout.splitlines()
    if states:
        # What the target says it has written is written, whatever went wrong after that.
        new = STATE.with_suffix(".new")
        new.write_bytes(states[-1])
        new.rename(STATE)
    if source.returncode or target.returncode:
        raise dg.Failure(
            f"The tap ended with status {source.returncode}, the target with {target.returncode}."
        )


@dg.job(executor_def=dg.in_process_executor)
def follow() -> None:
    """Copy what is new."""
    copy_new()


def following(month: date) -> date:
    """Give the first day of the next month."""
    return (month.replace(day=1) + timedelta(days=32)).replace(day=1)


@cache
def logs_only() -> dict[str, Any]:
    """Select the streams that have a history."""
    catalog: dict[str, Any] = TapCelonisAudit(parse_env_config=True).catalog_dict
    for entry in catalog["streams"]:
        for each in entry["metadata"]:
            if not each["breadcrumb"]:
                each["metadata"]["selected"] = entry["stream"] not in TABLES
    return catalog


hourly = dg.ScheduleDefinition(job=follow, cron_schedule="@hourly")
definitions = dg.Definitions(jobs=[backfill, follow], schedules=[hourly])
