"""The models, where they are: in PostgreSQL, or in a file of DuckDB."""

from __future__ import annotations

from decimal import Decimal
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

import duckdb  # type: ignore[import-not-found] # ty: ignore[import-not-found] # only in its own environment
import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType


class WarehouseError(Exception):
    """The models cannot be read; the message says what to do."""


class Answer(NamedTuple):
    """What a query found, and how it asked.

    Attributes:
        name: Name of the query.
        title: Its title, for a heading or a caption.
        definitions: What is counted: of the whole under an empty name, or of each column.
        query: The query as it was sent.
    """

    name: str
    title: str
    definitions: Mapping[str, str]
    query: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def without(self, column: str) -> Answer:
        """Leave out a column, if there is one of that name."""
        if column not in self.columns:
            return self
        place = self.columns.index(column)
        return self._replace(
            columns=self.columns[:place] + self.columns[place + 1 :],
            rows=tuple(row[:place] + row[place + 1 :] for row in self.rows),
        )

    @property
    def records(self) -> list[dict[str, Any]]:
        """The rows by the names of their columns."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    @property
    def only(self) -> dict[str, Any]:
        """The only row."""
        (record,) = self.records
        return record


class Connection(Protocol):
    """What both databases have in common."""

    def execute(self, query: Any, /) -> Any:  # noqa: ANN401 - each has its own types
        """Send a query."""

    def close(self) -> None:
        """End the connection."""


class Warehouse:
    """Answers the queries of this package, and changes nothing.

    Args:
        connection: Where to ask; names of models are found there without their schema.
        days: How many days the period has.
    """

    def __init__(self, connection: Connection, *, days: int) -> None:
        self._connection = connection
        self._days = days

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._connection.close()

    def ask(self, name: str) -> Answer:
        """Answer one of the queries.

        Raises:
            WarehouseError: A model is missing, or not as it should be.
        """
        text = (
            files("celonis_audit_report")
            .joinpath(f"queries/{name}.sql")
            .read_text(encoding="utf-8")
        )
        head: dict[str, str] = {}
        lines = text.splitlines()
        while lines[0].startswith("-- "):
            key, _, value = lines.pop(0)[3:].partition(": ")
            head[key] = value
        title = head.pop("title")
        query = "\n".join(lines).replace("{days}", str(self._days))
        try:
            cursor = self._connection.execute(query)
            columns = tuple(column[0] for column in cursor.description)
            rows = tuple(tuple(map(_plain, row)) for row in cursor.fetchall())
        except (duckdb.Error, psycopg.Error) as error:
            raise WarehouseError(
                f"The query {name} failed: {_reason(error)}. Build the models first, with dbt build"
                " in transform, and say where they are (--target, --schema)."
            ) from error
        definitions = {"" if key == "definition" else key: value for key, value in head.items()}
        return Answer(name, title, definitions, query, columns, rows)


def duckdb_file(path: str, schema: str) -> Connection:
    """Open a file of DuckDB, for reading only.

    Raises:
        WarehouseError: There is none.
    """
    try:
        connection: Connection = duckdb.connect(path, read_only=True)
        connection.execute(f"SET schema = '{schema.replace(chr(39), 2 * chr(39))}'")
    except duckdb.Error as error:
        raise WarehouseError(
            f"DuckDB cannot read the models in {path}: {_reason(error)}."
            " DBT_DUCKDB_PATH and DBT_SCHEMA say where they are."
        ) from error
    return connection


def postgres_database(settings: Mapping[str, str], schema: str) -> Connection:
    """Connect with PostgreSQL, for reading only.

    Raises:
        WarehouseError: It cannot be reached.
    """
    try:
        connection = psycopg.connect(
            host=settings.get("TARGET_POSTGRES_HOST") or "localhost",
            port=settings.get("TARGET_POSTGRES_PORT") or "5432",
            user=settings.get("TARGET_POSTGRES_USER"),
            password=settings.get("TARGET_POSTGRES_PASSWORD"),
            dbname=settings.get("TARGET_POSTGRES_DATABASE"),
            autocommit=True,
            sslmode=_tls_mode(settings),
            sslrootcert=settings.get("TARGET_POSTGRES_SSL_CERTIFICATE_AUTHORITY") or None,
            options="-c default_transaction_read_only=on -c timezone=UTC",
        )
        connection.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(schema)))
    except psycopg.Error as error:
        raise WarehouseError(
            f"PostgreSQL cannot be reached: {_reason(error)}. The"
            " variables TARGET_POSTGRES_HOST, _PORT, _USER, _PASSWORD and _DATABASE say where it"
            " is."
        ) from error
    return connection


def _reason(error: Exception) -> str:
    """Give what a database says first."""
    return str(error).strip().partition("\n")[0].removesuffix(".")


def _tls_mode(settings: Mapping[str, str]) -> str:
    """Give the mode that the target has, and dbt as well."""
    if settings.get("TARGET_POSTGRES_SSL_ENABLE", "").lower() != "true":
        return "prefer"
    return settings.get("TARGET_POSTGRES_SSL_MODE") or "verify-full"


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever a database gives
    """Give a number of either database as the same number."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value
