"""The targets that are tried, where they write to on this machine, and what they cannot keep."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import places
from matrix import AS_JSON, BATCH_TAP, FLAT_TAP, Target, as_sent
from places import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from contextlib import AbstractContextManager
    from pathlib import Path

    import pytest

    Making = Callable[[pytest.FixtureRequest, Target, Path], AbstractContextManager[Place]]


def in_postgres(**words: str) -> Making:
    """Write into PostgreSQL; these targets have other words for where that is."""

    def make(
        request: pytest.FixtureRequest, _target: Target, _folder: Path
    ) -> AbstractContextManager[Place]:
        return places.postgres_schema(request.getfixturevalue("postgres_url"), words)

    return make


@contextmanager
def in_duckdb(_request: pytest.FixtureRequest, target: Target, folder: Path) -> Generator[Place]:
    file = str(folder / "audit.duckdb")
    reading = (target.environment, "read_duckdb.py", file, places.SCHEMA)
    yield Place({"path": file}, lambda: places.ask(*reading))


@contextmanager
def as_json_lines(
    _request: pytest.FixtureRequest, _target: Target, folder: Path
) -> Generator[Place]:
    yield Place({"destination_path": str(folder)}, lambda: places.json_lines(folder))


@contextmanager
def as_csv(_request: pytest.FixtureRequest, _target: Target, folder: Path) -> Generator[Place]:
    yield Place({"output_path": str(folder)}, lambda: places.comma_separated(folder))


def in_s3(
    _request: pytest.FixtureRequest, target: Target, _folder: Path
) -> AbstractContextManager[Place]:
    return places.bucket(target.environment)


def in_kafka(
    _request: pytest.FixtureRequest, target: Target, _folder: Path
) -> AbstractContextManager[Place]:
    return places.broker(target.environment)


def in_elasticsearch(
    _request: pytest.FixtureRequest, _target: Target, _folder: Path
) -> AbstractContextManager[Place]:
    return places.index()


def or_none(text: str) -> str | None:
    """Make no difference between an empty text and none."""
    return text or None


def unless_empty(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """Read a field of a CSV file, where an empty one is null."""
    return lambda text: read(text) if text else None


def escaped(text: str) -> str | None:
    """Write control characters as JSON does; all others stay, and an empty text is none."""
    return re.sub(r'\\(["\\])', r"\1", json.dumps(text, ensure_ascii=False)[1:-1]) or None


def fractions_as_text(value: Any) -> Any:
    """Write numbers with a fraction as text."""
    if isinstance(value, dict):
        return {name: fractions_as_text(each) for name, each in value.items()}
    if isinstance(value, list):
        return [fractions_as_text(each) for each in value]
    return str(value) if isinstance(value, float) else value


DATABASES = (
    Target(name="target-postgres", folder="target_postgres", place=in_postgres(), is_keyed=True),
    Target(
        name="target-postgres-pipelinewise",
        folder="target_postgres_pipelinewise",
        place=in_postgres(database="dbname"),
        is_keyed=True,
        decode={"integer": int},
        land={"text": escaped},
        newest_python=(3, 11),
    ),
    Target(
        name="target-duckdb",
        folder="target_duckdb",
        place=in_duckdb,
        is_keyed=True,
        decode=AS_JSON,
        land={"text": or_none},
        newest_python=(3, 13),
    ),
)
FILES = (
    Target(name="target-jsonl", folder="target_jsonl", place=as_json_lines),
    Target(
        name="target-csv",
        folder="target_csv",
        place=as_csv,
        tap=FLAT_TAP,
        decode={
            "text": or_none,
            "timestamp": unless_empty(as_sent),
            "boolean": unless_empty({"True": True, "False": False}.__getitem__),
            "integer": unless_empty(int),
            **dict.fromkeys(AS_JSON, unless_empty(json.loads)),
        },
        land={"text": or_none},
    ),
    Target(name="target-s3", folder="target_s3", place=in_s3, newest_python=(3, 12)),
    Target(
        name="target-s3-parquet",
        folder="target_s3",
        place=in_s3,
        tap=FLAT_TAP,
        decode=AS_JSON,
        newest_python=(3, 12),
    ),
)
STREAMS = (
    Target(
        name="target-kafka",
        folder="target_kafka",
        place=in_kafka,
        land={"object": fractions_as_text},
    ),
    Target(
        name="target-elasticsearch",
        folder="target_elasticsearch",
        place=in_elasticsearch,
        is_keyed=True,
    ),
)
IN_BATCHES = replace(DATABASES[0], tap=BATCH_TAP)
ALL = (*DATABASES, *FILES, *STREAMS)
