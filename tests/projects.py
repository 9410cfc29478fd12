"""Meltano projects: how `meltano` is run in a test."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

BIN = Path(sys.executable).parent
# The first run may install the plugins.
TIMEOUT_SECONDS = 300


def quiet_variables(database: Path) -> dict[str, str]:
    """Set Meltano up to talk to nobody, without what a developer has set up."""
    # Without bytecode, every start takes twice as long.
    mine = ("TAP_CELONIS_AUDIT_", "TARGET_", "MELTANO_", "PYTHONDONTWRITEBYTECODE")
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(mine)},
        "MELTANO_CLI_DISABLE_VERSION_CHECK": "true",
        "MELTANO_CLI_LOG_FORMAT": "plain",
        "MELTANO_DATABASE_URI": f"sqlite:///{database}",
    }


@dataclass(frozen=True, slots=True)
class Project:
    """A folder with a meltano.yml, and the variables that Meltano gets."""

    folder: Path
    variables: dict[str, str]

    def meltano(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command of Meltano's."""
        command = [str(BIN / "meltano"), "--env-file", os.devnull, "--environment", "sandbox"]
        return subprocess.run(
            [*command, *arguments],
            cwd=self.folder,
            env=self.variables | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
        )

    def run(self, *arguments: str, **variables: str) -> None:
        """Run a pipeline to its good end."""
        result = self.meltano("run", *arguments, **variables)
        assert result.returncode == 0, result.stderr[-5000:]
