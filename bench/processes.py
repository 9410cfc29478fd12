"""Running a peer's command: a clean environment, a time limit, and what it said if it failed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RUN_TIMEOUT_SECONDS = 120
_KEPT = ("HOME", "LANG", "PATH", "TMPDIR")
_USAGE = Path(__file__).with_name("usage.py")


class RunError(Exception):
    """A peer's run failed."""


@dataclass(frozen=True, slots=True)
class Command:
    """What to run, and where.

    Attributes:
        extra: Variables on top of the quiet environment.
    """

    words: Sequence[str]
    cwd: Path | None = None
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a command took, with all its children."""

    wall_seconds: float
    cpu_seconds: float
    memory_mb: float


def quiet_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give the variables of a peer's process: none of those that could change what it does."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ} | dict(extra or {})


def run(
    *pipeline: Command,
    output: Path,
    log: Path,
    source: Path | None = None,
    timeout_seconds: float = RUN_TIMEOUT_SECONDS,
) -> None:
    """Run a command, or several with pipes between them.

    Args:
        pipeline: What to run.
        output: The standard output of the last one is appended to this file.
        log: What they write to standard error is appended to this file.
        source: The standard input of the first one; nothing by default.
        timeout_seconds: How long they may take.

    Raises:
        RunError: One failed, or took too long; the text is what it said of that.
    """
    processes: list[subprocess.Popen[bytes]] = []
    with contextlib.ExitStack() as resources:
        out, err = (resources.enter_context(file.open("ab")) for file in (output, log))
        size = err.tell()
        before: IO[bytes] | None = (
            resources.enter_context(source.open("rb")) if source is not None else None
        )
        for command in pipeline:
            is_last = command is pipeline[-1]
            process = subprocess.Popen(
                command.words,
                stdin=before or subprocess.DEVNULL,
                stdout=out if is_last else subprocess.PIPE,
                stderr=err,
                cwd=command.cwd,
                env=quiet_environment(command.extra),
                start_new_session=True,
            )
            resources.callback(_end, process)
            processes.append(process)
            if before:
                before.close()  # It is the child's now; a reader that ends must be noticed.
            before = process.stdout
        deadline = time.monotonic() + timeout_seconds
        try:
            statuses = [each.wait(max(0, deadline - time.monotonic())) for each in processes]
        except subprocess.TimeoutExpired:
            raise RunError(f"still running after {timeout_seconds:g} seconds") from None
    if any(statuses):
        said = log.read_bytes()[size:].decode(errors="replace")
        raise RunError(_complaint(said) or f"status {statuses}")


def measure(
    *pipeline: Command,
    output: Path,
    log: Path,
    source: Path | None = None,
    timeout_seconds: float = RUN_TIMEOUT_SECONDS,
) -> list[Usage]:
    """Run commands as `run` does, and give what each of them used.

    Raises:
        RunError: One failed, or took too long; the text is what it said of that.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = [str(Path(folder) / f"{number}.json") for number, _ in enumerate(pipeline)]
        wrapped = [
            Command(
                [sys.executable, "-I", "-S", str(_USAGE), file, *command.words],
                command.cwd,
                command.extra,
            )
            for file, command in zip(files, pipeline, strict=True)
        ]
        run(*wrapped, output=output, log=log, source=source, timeout_seconds=timeout_seconds)
        return [Usage(**json.loads(Path(file).read_text())) for file in files]


def _end(process: subprocess.Popen[bytes]) -> None:
    """Leave nothing running: neither the process nor its children."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _complaint(said: str) -> str:
    """Give the first line that names an error, or the last of all, without its log prefix."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    named = (line for line in lines if "ERROR" in line or "Error:" in line)
    return next(named, lines[-1] if lines else "").rpartition(" | ")[2]
