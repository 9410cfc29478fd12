"""The installed command, run as a user runs it; and how a secret could show up in what it says."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from tap_celonis_audit.sandbox import Sandbox

COMMAND = Path(sys.executable).with_name("tap-celonis-audit")
TIMEOUT_SECONDS = 180  # a machine may be busy; nothing here takes a tenth of it
#: A sandbox of a test plays another time than that of a process of the tap, which says so.
OTHER_TIME = "This machine's clock says"


def spellings(secret: str) -> set[str]:
    """Give every form in which a secret could show up."""
    raw = secret.encode()
    return {
        secret,
        repr(secret)[1:-1],
        json.dumps(secret)[1:-1],
        json.dumps(json.dumps(secret))[3:-3],
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        raw.hex(),
        # Base64 of a text with the secret in it, wherever it begins there.
        *(
            encode(b"x" * shift + raw)[(shift * 4 + 2) // 3 :].rstrip(b"=")[:-1].decode()
            for shift in range(3)
            for encode in (base64.b64encode, base64.urlsafe_b64encode)
        ),
    }


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that ended."""

    status: int | None
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """What it says, besides what informs."""
        lines = self.err.splitlines()
        return [each for each in lines if "| INFO " not in each and OTHER_TIME not in each]


@dataclass(frozen=True, slots=True)
class Command:
    """The installed command, in an environment of its own."""

    config: Path

    @classmethod
    def of(cls, folder: Path, sandbox: Sandbox | None = None, **settings: object) -> Self:
        """Set the command up with a configuration file."""
        # Not in the environment: there, a developer's own .env would win.
        config = folder / "settings.json"
        config.write_text(json.dumps(({"api_url": sandbox.url} if sandbox else {}) | settings))
        return cls(config)

    def start(
        self, *arguments: str | Path, debug: bool = False, **variables: str
    ) -> subprocess.Popen[bytes]:
        # Without bytecode, every start takes twice as long.
        kept = ("PATH", "HOME", "SYSTEMROOT", "COVERAGE_PROCESS_START")
        environment = {name: os.environ[name] for name in kept if name in os.environ}
        environment |= variables
        if debug:
            environment["TAP_CELONIS_AUDIT_LOGLEVEL"] = "DEBUG"
        return subprocess.Popen(
            [COMMAND, *arguments],
            env=environment,
            bufsize=0,  # what is read here and there must not hide in a buffer
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def sync(self) -> subprocess.Popen[bytes]:
        return self.start("--config", self.config)

    def run(self, *arguments: str | Path, debug: bool = False, **variables: str) -> Finished:
        with self.start("--config", self.config, *arguments, debug=debug, **variables) as process:
            return finish(process)


def finish(process: subprocess.Popen[bytes], *, read: bytes = b"") -> Finished:
    try:
        out, err = process.communicate(timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return Finished(process.returncode, (read + out).decode(), err.decode())
