"""Running a peer's command: a clean environment, a time limit, and what it said if it failed."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

RUN_TIMEOUT_SECONDS = 120
_KEPT = ("HOME", "LANG", "PATH", "TMPDIR")


class RunError(Exception):
    """A peer's run failed."""


def quiet_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give the variables of a peer's process: none of those that could change what it does."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ} | dict(extra or {})


def run(
    command: Sequence[str],
    *,
    output: Path,
    log: Path,
    cwd: Path | None = None,
    extra: Mapping[str, str] | None = None,
) -> None:
    """Run a command; its standard output and error are appended to files.

    Raises:
        RunError: It failed, or took too long; the text is what it said of that.
    """
    with output.open("ab") as out, log.open("ab") as err:
        size = err.tell()
        try:
            status = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=cwd,
                env=quiet_environment(extra),
                timeout=RUN_TIMEOUT_SECONDS,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            raise RunError(f"still running after {RUN_TIMEOUT_SECONDS} seconds") from None
    if status:
        said = log.read_bytes()[size:].decode(errors="replace")
        raise RunError(_complaint(said) or f"status {status}")


def _complaint(said: str) -> str:
    """Give the first line that names an error, or the last of all, without its log prefix."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    named = (line for line in lines if "ERROR" in line or "Error:" in line)
    return next(named, lines[-1] if lines else "").rpartition(" | ")[2]
