"""One virtual environment a peer, target or server, from its pinned requirements; made once."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.processes import quiet_environment

BENCH = Path(__file__).resolve().parent
CACHE = BENCH / ".cache"
INSTALL_TIMEOUT_SECONDS = 300

_VERSION = "import sys; from importlib.metadata import version; print(version(sys.argv[1]))"


class NoPythonError(Exception):
    """There is no Python here that is old enough."""


@dataclass(frozen=True, slots=True)
class Environment:
    """An environment with a peer in it.

    Attributes:
        requirements: Its pinned requirements; None for the environment that runs the comparison.
        newest_python: They install up to this version; where a newer one runs the comparison,
            another one of this machine is taken.
    """

    requirements: Path | None
    newest_python: tuple[int, int] | None = None

    @property
    def bin(self) -> Path:
        """Where its executables are."""
        if self.requirements is None:
            return Path(sys.executable).parent
        # Other requirements are another environment: nothing stale is ever measured.
        pins = self.requirements.read_bytes() + f"{sys.version}{self._too_new or ''}".encode()
        name = f"{self.requirements.parent.name}-{hashlib.sha256(pins).hexdigest()[:12]}"
        return CACHE / name / "bin"

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.bin / "python"

    def install(self) -> None:
        """Make it, unless that was done before.

        Raises:
            NoPythonError: It needs an older Python than there is.
            RuntimeError: There is no uv.
            subprocess.CalledProcessError: Something cannot be installed.
        """
        if self.requirements is None:
            return
        folder = self.bin.parent
        folder.parent.mkdir(exist_ok=True)
        with folder.with_name(f"{folder.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # Tests run side by side.
            if not (folder / "complete").exists():
                self._make(folder)

    def _make(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        python, pins = str(self.python), str(self.requirements)
        install = [uv(), "pip", "install", "--quiet", "--compile-bytecode"]
        for command in (
            [uv(), "venv", "--quiet", "--python", self._interpreter(), str(folder)],
            [*install, "--python", python, "-r", pins],
        ):
            subprocess.run(command, check=True, timeout=INSTALL_TIMEOUT_SECONDS)
        (folder / "complete").touch()

    @property
    def _too_new(self) -> str | None:
        """The first version that it does not install on, if that or a newer one is running."""
        if self.newest_python is None or sys.version_info[:2] <= self.newest_python:
            return None
        major, minor = self.newest_python
        return f"{major}.{minor + 1}"

    def _interpreter(self) -> str:
        if self._too_new is None:
            return sys.executable
        wanted = f">=3.11,<{self._too_new}"
        find = [uv(), "python", "find", "--no-python-downloads", "--no-project", "--system", wanted]
        found = subprocess.run(
            find, check=False, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_SECONDS
        )
        if found.returncode:
            raise NoPythonError(f"needs a Python before {self._too_new}, and there is none here")
        return found.stdout.strip()

    def version(self, package: str) -> str:
        """Tell which version of a package it holds."""
        return subprocess.run(
            [str(self.python), "-c", _VERSION, package],
            check=True,
            capture_output=True,
            text=True,
            env=quiet_environment(),
            timeout=60,
        ).stdout.strip()


HERE = Environment(None)


def uv() -> str:
    """Find uv, which installs.

    Raises:
        RuntimeError: There is none.
    """
    own = BENCH.parent / ".tools" / "bin" / "uv"
    found = str(own) if own.exists() else shutil.which("uv")
    if found is None:
        raise RuntimeError("uv is needed to install what is compared: run make install")
    return found
