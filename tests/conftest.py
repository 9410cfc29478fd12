from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

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
