"""The dbt project in `transform`, built where the tap's real output was loaded by real targets."""

from __future__ import annotations

import json
import os
import subprocess
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
from psycopg import sql

from bench.environments import BENCH, Environment

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).resolve().parent.parent
TRANSFORM = ROOT / "transform"
DBT = ROOT / ".dbt" / "bin" / "dbt"
REPORT = ROOT / ".report" / "bin" / "celonis-audit-report"
TIMEOUT_SECONDS = 300

Row = dict[str, Any]

# Prints each row of a query as JSON.
_ASK_DUCKDB = """
import duckdb, json, sys
path, query = sys.argv[1:]
cursor = duckdb.connect(path, read_only=True).execute(query)
names = [column[0] for column in cursor.description]
for row in cursor.fetchall():
    print(json.dumps(dict(zip(names, row)), default=str))
"""


@cache
def install_dbt() -> None:
    """Install dbt as a user does, unless that was done before."""
    subprocess.run(["make", "--silent", "dbt"], cwd=ROOT, check=True, timeout=TIMEOUT_SECONDS)


@cache
def install_report() -> None:
    """Install what makes the report as a user does, unless that was done before."""
    subprocess.run(
        ["make", "--silent", REPORT.relative_to(ROOT)],
        cwd=ROOT,
        check=True,
        timeout=TIMEOUT_SECONDS,
    )


@cache
def target(name: str) -> Path:
    """Give the executable of a target, in an environment of its own."""
    environment = Environment(BENCH / "targets" / name / "requirements.txt")
    environment.install()
    return environment.bin / name.replace("_", "-")


@dataclass
class Warehouse(ABC):
    """Where rows are loaded and models are built.

    Attributes:
        folder: For files of its own.
        variables: Variables of the dbt project.
    """

    folder: Path
    variables: Row = field(default_factory=dict)

    kind: ClassVar[str]
    target: ClassVar[str]

    @property
    @abstractmethod
    def environment(self) -> dict[str, str]:
        """What dbt needs to know."""

    @property
    @abstractmethod
    def target_config(self) -> Row:
        """What the target needs to know."""

    @abstractmethod
    def ask(self, query: str) -> list[Row]:
        """Answer a query with the schema of the models, values as JSON has them."""

    def load(self, lines: Iterable[Row]) -> None:
        """Let the target load what the tap wrote."""
        config = self.folder / "target.json"
        config.write_text(json.dumps(self.target_config))
        subprocess.run(
            [target(self.target), "--config", config],
            input="".join(f"{json.dumps(line)}\n" for line in lines),
            text=True,
            encoding="utf-8",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=True,
            timeout=TIMEOUT_SECONDS,
        )

    def dbt(self, task: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run dbt, good or bad."""
        install_dbt()
        mine = ("DBT_", "CELONIS_", "TARGET_", "PYTHONDONTWRITEBYTECODE")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(mine)}
        options = {
            "--project-dir": TRANSFORM,
            "--profiles-dir": TRANSFORM,
            "--target-path": self.folder / "target",
            "--log-path": self.folder / "logs",
            "--vars": json.dumps(self.variables),
        }
        flags = [str(part) for option in options.items() for part in option]
        command = [str(DBT), *task.split(), "--no-use-colors", *flags, *arguments]
        return subprocess.run(
            command,
            env=inherited | self.environment | {"DBT_TARGET": self.kind},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
        )

    def build(self, *arguments: str) -> str:
        """Build all models and run all tests; give what dbt said."""
        finished = self.dbt("build", *arguments)
        assert finished.returncode == 0, finished.stdout[-5000:]
        return finished.stdout

    def rows(self, model: str) -> list[Row]:
        """Give all rows of a model."""
        return self.ask(f'select * from "{model}"')  # noqa: S608 - names of our own

    def columns(self) -> dict[str, dict[str, str]]:
        """Give name and type of each column of each model."""
        models: dict[str, dict[str, str]] = {}
        for row in self.ask(
            "select table_name, column_name, data_type, table_schema"
            " from information_schema.columns order by ordinal_position"
        ):
            if row["table_schema"] == self.schema:
                models.setdefault(row["table_name"], {})[row["column_name"]] = row["data_type"]
        return models

    @property
    def schema(self) -> str:
        """Where the models are."""
        return "celonis_models"


@dataclass
class Files(Warehouse):
    """Files of target-jsonl, and a DuckDB database over them."""

    kind = "duckdb"
    target = "target_jsonl"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "CELONIS_FILES": str(self.folder / "files"),
            "DBT_DUCKDB_PATH": str(self.folder / "models.duckdb"),
        }

    @property
    def target_config(self) -> Row:
        return {"destination_path": str(self.folder / "files"), "do_timestamp_file": True}

    def ask(self, query: str) -> list[Row]:
        answer = subprocess.run(
            [
                DBT.with_name("python"),
                "-c",
                _ASK_DUCKDB,
                self.environment["DBT_DUCKDB_PATH"],
                f"use {self.schema}; {query}",
            ],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=TIMEOUT_SECONDS,
        )
        return [json.loads(line) for line in answer.stdout.splitlines()]


@dataclass
class Tables(Warehouse):
    """Tables of target-postgres, in schemas of their own that are dropped at the end."""

    url: str = ""
    name: str = field(default_factory=lambda: uuid4().hex)

    kind = "postgres"
    target = "target_postgres"

    @property
    def schema(self) -> str:
        return f"models_{self.name}"

    @property
    def environment(self) -> dict[str, str]:
        return {
            **{
                f"TARGET_POSTGRES_{name.upper()}": str(value)
                for name, value in self._server.items()
            },
            "CELONIS_SCHEMA": f"celonis_{self.name}",
            "DBT_SCHEMA": self.schema,
        }

    @property
    def target_config(self) -> Row:
        fast = {"use_copy": True, "validate_records": False}
        return {**self._server, "default_target_schema": f"celonis_{self.name}", **fast}

    @property
    def _server(self) -> Row:
        parts = urlsplit(self.url)
        return {
            "host": parts.hostname,
            "port": parts.port or 5432,
            "user": parts.username,
            "password": parts.password,
            "database": parts.path.strip("/"),
        }

    def ask(self, query: str) -> list[Row]:
        with psycopg.connect(self.url, options=f"-c search_path={self.schema}") as connection:
            cursor = connection.execute(query.encode())
            names = [column.name for column in cursor.description or ()]
            return [
                json.loads(json.dumps(dict(zip(names, row, strict=True)), default=str))
                for row in cursor
            ]

    def drop(self) -> None:
        with psycopg.connect(self.url) as connection:
            for schema in (self.schema, f"celonis_{self.name}"):
                connection.execute(
                    sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema))
                )
