"""Read all tables of a DuckDB file: ``read_duckdb.py FILE SCHEMA``."""

from __future__ import annotations

import json
import sys

import duckdb  # type: ignore[import-not-found] # ty: ignore[import-not-found] # only in its own environment


def main(file: str, schema: str) -> None:
    """Write rows and types as JSON."""
    rows: dict[str, list[dict[str, object]]] = {}
    types: dict[str, dict[str, str]] = {}
    with duckdb.connect(file, read_only=True) as connection:
        for table, column, kind in connection.execute(
            "SELECT table_name, column_name, data_type FROM information_schema.columns"
            " WHERE table_schema = ?",
            [schema],
        ).fetchall():
            types.setdefault(table, {})[column] = kind
        connection.execute(f"SET schema = '{schema}'")
        for table, columns in types.items():
            names = ", ".join(f'"{name}"' for name in columns)
            found = connection.execute(f'SELECT {names} FROM "{table}"').fetchall()  # noqa: S608 - our own table
            rows[table] = [dict(zip(columns, row, strict=True)) for row in found]
    json.dump({"rows": rows, "types": types}, sys.stdout, default=str)


if __name__ == "__main__":
    main(*sys.argv[1:])
