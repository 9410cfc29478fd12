from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import requests
import worlds
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Generator


@pytest.fixture(scope="session")
def postgres_url() -> Generator[str]:
    """Give a PostgreSQL server: the one in POSTGRES_URL, or a fresh one of our own."""
    if url := os.environ.get("POSTGRES_URL"):
        yield url
        return
    from demo.postgres import postgres  # noqa: PLC0415 - for Unix only, as few tests are

    with postgres() as url:
        yield url


@pytest.fixture
def web() -> Generator[requests.Session]:
    """Give a session that goes by nothing but what it is told."""
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.fixture(params=[1, 8], ids=["serial", "parallel"])
def parallel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Read the worlds with one request after the other, and with eight in flight."""
    monkeypatch.setattr(worlds, "PARALLEL", request.param)
    return int(request.param)


@pytest.fixture
def naps() -> list[float]:
    """Hold the seconds that clients would have waited."""
    return []


# Machines are slow at times; and what one run in CI finds, the next one must find again.
settings.register_profile("tests", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("tests")
