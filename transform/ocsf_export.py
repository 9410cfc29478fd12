"""Write the events as OCSF into files: one JSON object a line, or Parquet, by class and day.

Each event is written once, whenever it was loaded and however late: which ones were written is kept
in the database, by their ids. Runs in dbt's environment, after dbt, and reads the same variables.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import re
import sys
from collections import Counter
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

HERE = Path(__file__).resolve().parent
SLICE = 10_000

TABLES = (
    # A batch is written from its list of events: again, with the same names, if that was cut short.
    """
    create table if not exists ocsf_batches (
        export text not null, batch integer not null, is_written boolean not null
    )
    """,
    """
    create table if not exists ocsf_exported (
        export text not null, event_id text not null, batch integer not null,
        primary key (export, event_id)
    )
    """,
    "create index if not exists ocsf_exported_batch on ocsf_exported (export, batch)",
)
COLLECT = """
    insert into ocsf_exported (export, event_id, batch)
    select %s, events.event_id, %s
    from ocsf_events as events
    where not exists (
        select 1 from ocsf_exported as known
        where known.export = %s and known.event_id = events.event_id
    )
"""
CLASSES = (
    "account_change",
    "api_activity",
    "application_lifecycle",
    "authentication",
    "entity_management",
    "event_log_activity",
    "file_hosting_activity",
    "group_management",
    "user_access_management",
)
# Class by class, not from all of them in one: what is not to be written is not worked out then.
WRITE = """
    select cast(events.occurred_at as date) as event_day, events.ocsf
    from {} as events
    inner join ocsf_exported as listed on events.event_id = listed.event_id
    where listed.export = %s and listed.batch = %s
    order by event_day, events.occurred_at, events.event_id
"""

# The types of Parquet: fixed, so that all files of a class have the same columns.
_USER = "STRUCT(name VARCHAR, uid VARCHAR, type_id INTEGER, full_name VARCHAR, email_addr VARCHAR)"
_NAMED = "STRUCT(name VARCHAR, uid VARCHAR, type VARCHAR)"
TYPES = {
    "class_uid": "INTEGER",
    "class_name": "VARCHAR",
    "category_uid": "INTEGER",
    "category_name": "VARCHAR",
    "activity_id": "INTEGER",
    "activity_name": "VARCHAR",
    "type_uid": "BIGINT",
    "type_name": "VARCHAR",
    "severity_id": "INTEGER",
    "severity": "VARCHAR",
    "status_id": "INTEGER",
    "status": "VARCHAR",
    "time": "BIGINT",
    "message": "VARCHAR",
    "metadata": (
        "STRUCT(version VARCHAR, profiles VARCHAR[], product STRUCT(name VARCHAR,"
        " vendor_name VARCHAR, feature STRUCT(name VARCHAR)), uid VARCHAR, event_code VARCHAR,"
        " log_name VARCHAR, log_provider VARCHAR, original_time VARCHAR, tenant_uid VARCHAR)"
    ),
    "status_code": "VARCHAR",
    "status_detail": "VARCHAR",
    "service": "STRUCT(name VARCHAR, uid VARCHAR)",
    "auth_protocol_id": "INTEGER",
    "auth_protocol": "VARCHAR",
    "is_mfa": "BOOLEAN",
    "actor": f"STRUCT(user {_USER})",
    "user": _USER,
    "group": "STRUCT(name VARCHAR, uid VARCHAR)",
    "privileges": "VARCHAR[]",
    "resource": "STRUCT(name VARCHAR)",
    "entity": "STRUCT(name VARCHAR, uid VARCHAR, type VARCHAR, type_id INTEGER)",
    "log_name": "VARCHAR",
    "log_provider": "VARCHAR",
    "log_type": "VARCHAR",
    "log_type_id": "INTEGER",
    "file": "STRUCT(name VARCHAR, uid VARCHAR, type_id INTEGER)",
    "app": "STRUCT(name VARCHAR, uid VARCHAR, vendor_name VARCHAR)",
    "api": "STRUCT(operation VARCHAR, service STRUCT(name VARCHAR))",
    "resources": f"{_NAMED}[]",
    "src_endpoint": "STRUCT(ip VARCHAR, port INTEGER, name VARCHAR)",
    "observables": "STRUCT(name VARCHAR, type_id INTEGER, type VARCHAR, value VARCHAR)[]",
    "unmapped": "MAP(VARCHAR, VARCHAR)",
}


class ExportError(Exception):
    """What somebody has to do something about, in a line."""


class Database:
    """A connection to the models, by one of two drivers.

    Args:
        driver: The module, ``psycopg2`` or ``duckdb``.
        connection: What it connected.
    """

    def __init__(self, driver: Any, connection: Any) -> None:  # noqa: ANN401 - drivers without types
        self._connection = connection
        self.is_postgres = driver.__name__ == "psycopg2"

    def run(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Run a query, and return all of its rows, if it has any."""
        # A cursor of DuckDB is a connection of its own, with its own transaction.
        cursor = self._connection.cursor() if self.is_postgres else self._connection
        cursor.execute(query if self.is_postgres else query.replace("%s", "?"), values)
        return cursor.fetchall() if cursor.description else []

    def stream(self, query: str, *values: object) -> Iterator[tuple[Any, ...]]:
        """Run a query, and yield its rows as they come, within a transaction."""
        if self.is_postgres:
            with self._connection.cursor(name="events") as cursor:
                cursor.itersize = SLICE
                cursor.execute(query, values)
                yield from cursor
        else:
            cursor = self._connection
            cursor.execute(query.replace("%s", "?"), values)
            while rows := cursor.fetchmany(SLICE):
                yield from rows

    def columns(self, table: str) -> list[str]:
        """Return the names of a table's columns, in order."""
        return [
            name
            for (name,) in self.run(
                "select column_name from information_schema.columns"
                " where table_schema = %s and table_name = %s order by ordinal_position",
                schema(),
                table,
            )
        ]

    @contextmanager
    def transaction(self) -> Generator[None]:
        """Keep what is done within, or nothing of it."""
        if self.is_postgres:
            # It knows little of a new batch, and would look for each event by itself.
            self.run("set local enable_nestloop = off")
        else:
            self._connection.begin()
        try:
            yield
        except BaseException:
            self._connection.rollback()
            raise
        self._connection.commit()


def schema() -> str:
    """Return where the models are."""
    return os.environ.get("DBT_SCHEMA") or "celonis_models"


@contextmanager
def connect() -> Generator[Database]:
    """Connect as dbt does, see profiles.yml.

    Raises:
        ExportError: The database cannot be used.
    """
    target = os.environ.get("DBT_TARGET") or "postgres"
    if target not in {"postgres", "duckdb"}:
        raise ExportError(f"DBT_TARGET is {target}; it has to be postgres or duckdb.")
    driver = importlib.import_module("psycopg2" if target == "postgres" else "duckdb")
    try:
        connection = _postgres(driver) if target == "postgres" else _duckdb(driver)
        try:
            yield Database(driver, connection)
        finally:
            connection.close()
    except driver.Error as error:
        raise ExportError(str(error).strip().partition("\n")[0]) from error


def _postgres(driver: Any) -> Any:  # noqa: ANN401 - a driver without types
    names = {name: name.upper() for name in ("host", "port", "user", "password")}
    names["dbname"] = "DATABASE"
    names["sslrootcert"] = "SSL_CERTIFICATE_AUTHORITY"
    given = {name: os.environ.get(f"TARGET_POSTGRES_{end}") for name, end in names.items()}
    otherwise = {"host": "localhost", "sslmode": _tls_mode()}
    connection = driver.connect(**otherwise | {k: v for k, v in given.items() if v})
    # dbt may build meanwhile: all of a batch is read as it is at one time.
    connection.set_session(isolation_level="REPEATABLE READ")
    connection.cursor().execute(
        "select set_config('search_path', quote_ident(%s), false)", (schema(),)
    )
    connection.commit()
    return connection


def _tls_mode() -> str:
    """Return the mode that the target has, and dbt as well."""
    if os.environ.get("TARGET_POSTGRES_SSL_ENABLE", "").lower() != "true":
        return "prefer"
    return os.environ.get("TARGET_POSTGRES_SSL_MODE") or "verify-full"


def _duckdb(driver: Any) -> Any:  # noqa: ANN401 - a driver without types
    path = HERE / (os.environ.get("DBT_DUCKDB_PATH") or "../output/celonis.duckdb")
    if not path.is_file():
        raise ExportError(f"{path} is not there. Build the models first.")
    connection = driver.connect(str(path))
    if connection.execute(
        "select 1 from information_schema.schemata where schema_name = ?", [schema()]
    ).fetchone():
        connection.execute(f'use "{schema()}"')
    return connection


class Options(NamedTuple):
    """What is written, and where.

    Attributes:
        folder: Has a folder for each class.
        export: Tells apart who is served: each gets every event once.
        is_parquet: Whether files are Parquet instead of JSON lines.
        partition: Folders between those of class and day.
    """

    folder: Path
    export: str
    is_parquet: bool
    partition: Path


def export(database: Database, options: Options, *, again: bool = False) -> None:
    """Write what was not written before, and before that what was cut short.

    Raises:
        ExportError: It cannot be told what was written before, or is not there any more.
    """
    _prepare(database, options)
    last, is_written = _last_batch(database, options)
    marker = options.folder / f".{options.export}"
    in_folder = int(marker.read_text(encoding="utf-8")) if marker.exists() else 0
    if again:
        with database.transaction():
            database.run("delete from ocsf_exported where export = %s", options.export)
    elif in_folder > last:
        raise ExportError(
            f"{options.folder} holds batch {in_folder}, but the database knows of {last} only: it"
            " was made anew. Take another folder, or write all events --again."
        )
    elif in_folder < (needed := _last_needed(database, options)):
        raise ExportError(
            f"{marker} is missing or old: this folder lacks batches of the export {options.export},"
            f" up to batch {needed}. Give each folder an --export name of its own, or write all"
            " events --again."
        )
    elif not is_written:
        _write(database, options, last)
    batch = max(last, in_folder) + 1
    with database.transaction():
        database.run(COLLECT, options.export, batch, options.export)
        if count := _count(database, options, batch):
            database.run("insert into ocsf_batches values (%s, %s, false)", options.export, batch)
    if count:
        _write(database, options, batch)
    else:
        print("Nothing is new.")


def _count(database: Database, options: Options, batch: int) -> int:
    [(count,)] = database.run(
        "select count(*) from ocsf_exported where export = %s and batch = %s",
        options.export,
        batch,
    )
    return int(count)


def _prepare(database: Database, options: Options) -> None:
    if options.is_parquet and importlib.util.find_spec("duckdb") is None:
        raise ExportError("Parquet is written by DuckDB: install duckdb beside dbt.")
    if not database.columns("ocsf_events"):
        raise ExportError(f"The schema {schema()} has no models of OCSF. Build the models first.")
    if database.is_postgres:
        [(is_alone,)] = database.run(
            "select pg_try_advisory_lock(hashtext(%s))", f"ocsf/{schema()}/{options.export}"
        )
        if not is_alone:
            raise ExportError(f"The export {options.export} is running already.")
    with database.transaction():
        for table in TABLES:
            database.run(table)


def _last_batch(database: Database, options: Options) -> tuple[int, bool]:
    batches = database.run(
        "select batch, is_written from ocsf_batches where export = %s order by batch desc limit 1",
        options.export,
    )
    return batches[0] if batches else (0, True)


def _last_needed(database: Database, options: Options) -> int:
    """Return the last batch whose events are in its files only: --again forgets those before."""
    [(last,)] = database.run(
        "select coalesce(max(batch), 0) from ocsf_batches as batches"
        " where export = %s and is_written and exists ("
        "select 1 from ocsf_exported as listed"
        " where listed.export = batches.export and listed.batch = batches.batch)",
        options.export,
    )
    return int(last)


def _write(database: Database, options: Options, batch: int) -> None:
    """Write a batch: all of its files, or none that somebody would take for one."""
    name = f"{options.export}-{batch:06}"
    for left_over in options.folder.rglob(f"{name}.*"):
        left_over.unlink()
    written: list[tuple[Path, str]] = []
    counts: Counter[str] = Counter()
    with database.transaction():
        for class_name in CLASSES:
            columns = [each for each in database.columns(f"ocsf_{class_name}") if each in TYPES]
            rows = database.stream(WRITE.format(f"ocsf_{class_name}"), options.export, batch)
            for day, events in groupby(rows, key=itemgetter(0)):
                folder = options.folder / class_name / options.partition / f"eventDay={day:%Y%m%d}"
                folder.mkdir(parents=True, exist_ok=True)
                part = folder / f"{name}.part"
                with part.open("w", encoding="utf-8", newline="\n") as file:
                    for _, event in events:
                        file.write(event + "\n")
                        counts[class_name] += 1
                written.append(
                    _as_parquet(part, columns) if options.is_parquet else (part, ".jsonl")
                )
        missing = _count(database, options, batch) - counts.total()
    if missing:
        raise ExportError(
            f"{missing:,} events of batch {batch} are not in the models any more. Build the models,"
            " and run again; if they are gone for good, write all events --again."
        )
    os.sync()
    for part, suffix in written:
        part.rename(part.with_suffix(suffix))
    marker = options.folder / f".{options.export}"
    new_marker = marker.with_name(f"{marker.name}.part")
    new_marker.write_text(f"{batch}\n", encoding="utf-8")
    os.sync()  # what it holds, before it is the marker; and the names of the files
    new_marker.replace(marker)
    os.sync()
    with database.transaction():
        database.run(
            "update ocsf_batches set is_written = true where export = %s and batch = %s",
            options.export,
            batch,
        )
    print(f"Batch {batch}: {counts.total():,} events in {len(written):,} files")
    for class_name, count in counts.items():
        print(f"  {class_name:<26}{count:>12,}")


def _as_parquet(lines: Path, columns: Sequence[str]) -> tuple[Path, str]:
    events = importlib.import_module("duckdb").read_json(
        str(lines),
        format="newline_delimited",
        columns={name: TYPES[name] for name in columns},
        hive_partitioning=False,  # what the folders are called is no part of an event
    )
    part = lines.with_suffix(".part_parquet")
    events.write_parquet(str(part), compression="zstd")
    lines.unlink()
    return part, ".parquet"


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=HERE.parent / "output" / "ocsf")
    parser.add_argument("--format", choices=["jsonl", "parquet"], default="jsonl")
    parser.add_argument(
        "--export", default="events", help="a name for who is served: each gets every event once"
    )
    parser.add_argument("--region", help="AWS region, for the partitions of Amazon Security Lake")
    parser.add_argument("--account-id", help="AWS account, likewise")
    parser.add_argument("--again", action="store_true", help="write all events once more")
    given = parser.parse_args()
    if not re.fullmatch(r"[A-Za-z0-9_]+", given.export):
        parser.error("--export: letters, digits and underscores only")
    if bool(given.region) != bool(given.account_id):
        parser.error("--region and --account-id go together")
    partition = Path(f"region={given.region}", f"accountId={given.account_id}")
    options = Options(
        folder=given.folder,
        export=given.export,
        is_parquet=given.format == "parquet",
        partition=partition if given.region else Path(),
    )
    os.umask(0o077)  # events name people
    try:
        with connect() as database:
            export(database, options, again=given.again)
    except ExportError as failure:
        sys.exit(f"ocsf_export: {failure}")


if __name__ == "__main__":
    main()
