"""Make the report: ``celonis-audit-report``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from celonis_audit_report.page import bookmarks_of, render
from celonis_audit_report.warehouse import (
    Warehouse,
    WarehouseError,
    duckdb_file,
    postgres_database,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

_LONGEST_DAYS = 3_660


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the page, say where it is, and give the exit status."""
    options = _parser().parse_args(arguments)
    environment = os.environ
    schema = options.schema or environment.get("DBT_SCHEMA") or "celonis_models"
    try:
        bookmarks = bookmarks_of(options.state.read_text(encoding="utf-8")) if options.state else {}
        connection = (
            duckdb_file(
                environment.get("DBT_DUCKDB_PATH") or str(Path("output", "celonis.duckdb")), schema
            )
            if options.target == "duckdb"
            else postgres_database(environment, schema)
        )
        with Warehouse(connection, days=options.days) as warehouse:
            page = render(warehouse, days=options.days, bookmarks=bookmarks)
        options.output.parent.mkdir(parents=True, exist_ok=True)
        # Whoever looks while it is written sees the page of before. It names people: it is for its
        # owner only.
        draft = options.output.with_name(f".{options.output.name}.part")
        draft.touch(mode=0o600)
        draft.write_text(page, encoding="utf-8")
        draft.replace(options.output)
    except (WarehouseError, OSError, TypeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(options.output)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="celonis-audit-report",
        description="Make one HTML page that answers an auditor's questions, from the models.",
        epilog="Where the models are comes from the variables that dbt has in transform:"
        " DBT_TARGET, DBT_SCHEMA, TARGET_POSTGRES_*, DBT_DUCKDB_PATH.",
    )
    parser.add_argument(
        "--target",
        choices=("postgres", "duckdb"),
        default=os.environ.get("DBT_TARGET") or "postgres",
        help="which database has the models (default: DBT_TARGET, or postgres)",
    )
    parser.add_argument(
        "--schema", help="the schema of the models (default: DBT_SCHEMA, or celonis_models)"
    )
    parser.add_argument(
        "--days",
        type=_days,
        default=os.environ.get("REPORT_DAYS") or "30",
        metavar="N",
        help="how many days the report looks back (default: REPORT_DAYS, or 30)",
    )
    parser.add_argument(
        "--state",
        type=Path,
        default=os.environ.get("REPORT_STATE") or None,
        metavar="FILE",
        help="the state of the tap, as `meltano state get` prints it, to show until when it has"
        " proven that everything was copied (default: REPORT_STATE)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=os.environ.get("REPORT_OUTPUT") or "output/report.html",
        metavar="FILE",
        help="the page (default: REPORT_OUTPUT, or output/report.html)",
    )
    return parser


def _days(text: str) -> int:
    days = int(text)
    if not 1 <= days <= _LONGEST_DAYS:
        raise argparse.ArgumentTypeError(f"must be from 1 to {_LONGEST_DAYS}")
    return days


if __name__ == "__main__":
    sys.exit(main())
