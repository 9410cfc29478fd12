"""The pipeline itself; it runs in an environment of its own."""

from __future__ import annotations

import argparse
import hashlib
import json
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dlt  # type: ignore[import-not-found] # ty: ignore[import-not-found] # only in its own environment
from dlt.sources.rest_api import rest_api_source  # type: ignore[import-not-found] # ty: ignore[import-not-found] # likewise

if TYPE_CHECKING:
    from collections.abc import Iterator

LAG_SECONDS = 6 * 3_600
TEXT_COLUMNS = {
    "userId": "user_id",
    "userRole": "user_role",
    "event": "event",
    "ipAddress": "ip_address",
    "port": "port",
}
OPEN_COLUMNS = {"message": "message", "diffPayload": "diff_payload"}


def main() -> None:
    """Load what is new."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--url", "--app-key", "--start", "--disposition"):
        parser.add_argument(name, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rows", type=Path, help="then write all rows to this file")
    parser.add_argument("--extract-only", action="store_true", help="load nothing")
    parser.add_argument("--end", help="cut the time until then into windows")
    parser.add_argument("--windows", type=int, default=1, help="read in parallel")
    options = parser.parse_args()
    pipeline = dlt.pipeline(
        pipeline_name="audit",
        pipelines_dir=str(options.folder / "pipelines"),
        destination=dlt.destinations.duckdb(str(options.folder / "audit.duckdb")),
        dataset_name="celonis",
    )
    if options.extract_only:
        pipeline.extract(source(options))
        return
    pipeline.run(source(options))
    if options.rows:
        with options.rows.open("w") as file:
            file.writelines(f"{json.dumps(record)}\n" for record in table(pipeline))


def source(options: argparse.Namespace) -> Any:  # noqa: ANN401 - dlt has no types here
    """Declare the audit log as dlt's documentation does for such an API."""
    authorization = {"Authorization": f"AppKey {options.app_key}"}
    resources = [
        resource(options, number, bounds) for number, bounds in enumerate(windows(options))
    ]
    declared = rest_api_source(
        {"client": {"base_url": options.url, "headers": authorization}, "resources": resources}
    )
    if options.windows > 1:
        # The declaration has a word for it, which does nothing here.
        for each in declared.resources.values():
            each.parallelize()
    return declared


def windows(options: argparse.Namespace) -> Iterator[dict[str, str]]:
    """Give one window without an end, or equal ones."""
    if options.windows == 1:
        yield {"initial_value": options.start}
        return
    start, end = (datetime.fromisoformat(each) for each in (options.start, options.end))
    borders = [start + (end - start) * n / options.windows for n in range(options.windows + 1)]
    texts = [f"{each:%Y-%m-%dT%H:%M:%S.000Z}" for each in borders]
    for first, last in pairwise(texts):
        yield {"initial_value": first, "end_value": last, "end_param": "to"}


def resource(options: argparse.Namespace, number: int, bounds: dict[str, str]) -> dict[str, Any]:
    """Declare one window of the log, all of them for the same table."""
    merges = options.disposition == "merge"
    incremental = {
        "start_param": "from",
        "cursor_path": "timestamp",
        **bounds,
        **({"lag": LAG_SECONDS} if merges else {}),
    }
    declared = {
        "name": f"audit_logs_{number}" if number else "audit_logs",
        "table_name": "audit_logs",
        "write_disposition": options.disposition,
        # What has free keys stays one column of JSON instead of many columns and tables.
        "columns": {name: {"data_type": "json"} for name in OPEN_COLUMNS.values()},
        "endpoint": {
            "path": "log/api/external/audit",
            "params": {"pageSize": 200},
            "data_selector": "content",
            "incremental": incremental,
            "response_actions": [{"status_code": 204, "action": "ignore"}],
            "paginator": {
                "type": "page_number",
                "base_page": 0,
                "page_param": "pageNumber",
                "total_path": None,
            },
        },
    }
    if merges:
        declared |= {"primary_key": "record_id", "processing_steps": [{"map": with_id}]}
    return declared


def with_id(record: dict[str, Any]) -> dict[str, Any]:
    """Name a record by its content."""
    text = json.dumps(record, sort_keys=True)
    return {**record, "record_id": hashlib.sha256(text.encode()).hexdigest()}


def table(pipeline: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - dlt has no types here
    """Give the rows as the API's records."""
    with pipeline.sql_client() as client, client.execute_query("SELECT * FROM audit_logs") as found:
        names = [column[0] for column in found.description]
        for values in found.fetchall():
            row = dict(zip(names, values, strict=True))
            moment = row["timestamp"].astimezone(UTC)
            record = {field: row.get(column) for field, column in TEXT_COLUMNS.items()}
            milliseconds = f"{moment.microsecond // 1_000:03d}"
            record["timestamp"] = f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds}Z"
            for field, column in OPEN_COLUMNS.items():
                value = row.get(column)
                # dlt puts a mere text, which is no JSON, into a column beside it.
                record[field] = json.loads(value) if value else row.get(f"{column}__v_text")
            yield record


if __name__ == "__main__":
    main()
