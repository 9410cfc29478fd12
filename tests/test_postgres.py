from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from demo.postgres import PostgresError, postgres

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent
OWNER = """
import sys, time
from demo.postgres import postgres
with postgres() as url:
    print(url, flush=True)
    time.sleep(60)
"""


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def home_of(url: str) -> Path:
    """Give the folder that the server behind a URL lives in."""
    with psycopg.connect(url) as connection:
        (folder,) = connection.execute("SHOW data_directory").fetchone() or ("",)
    return Path(folder).parent


def is_gone(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return True
    return False


def test_it_is_empty_and_asks_for_its_password() -> None:
    with postgres() as url:
        home = home_of(url)
        with psycopg.connect(url) as connection:
            settings = connection.execute(
                "SELECT current_setting('listen_addresses'),"
                " current_setting('unix_socket_directories'), current_setting('server_encoding')"
            ).fetchone()
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(url.replace("postgres:", "postgres:not-"))

    assert settings == ("127.0.0.1", "", "UTF8")
    assert is_gone(url)
    assert not home.exists()


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_it_goes_with_its_owner(end: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout
        url = owner.stdout.readline().strip()
        home = home_of(url)
        owner.send_signal(end)

    wait_until(lambda: is_gone(url) and not home.exists())


def test_a_failed_start_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    bare_interpreter = Path(sys.executable).resolve()  # beyond the environment and its packages
    monkeypatch.setattr(sys, "executable", str(bare_interpreter))
    monkeypatch.delenv("PYTHONPATH", raising=False)

    with pytest.raises(PostgresError, match="is not installed: run `make install`"), postgres():
        pytest.fail("it must not start")
