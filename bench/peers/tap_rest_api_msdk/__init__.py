"""tap-rest-api-msdk, the generic REST tap of the Singer world."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.environments import Environment
from bench.peers.peer import AUDIT_PATH, FIELDS, PAGE_SIZE
from bench.peers.singer import SingerTap

if TYPE_CHECKING:
    from bench.peers.peer import Job, Record

# What has free keys is kept as JSON text: otherwise each key becomes a column, of which those
# that the schema does not know are dropped.
_OPEN_FIELDS = ("message", "diffPayload")
_TEXT = {"type": ["string", "null"]}
_SCHEMA = {
    "type": "object",
    "properties": dict.fromkeys(FIELDS, _TEXT)
    | {"timestamp": {"type": "string", "format": "date-time"}},
}


def _config(job: Job) -> dict[str, Any]:
    return {
        "api_url": job.url,
        "headers": {"Authorization": f"AppKey {job.app_key}"},
        "start_date": job.start.isoformat(),
        "pagination_request_style": "page_number_paginator",
        "pagination_response_style": "page",
        "pagination_initial_offset": 0,
        "pagination_next_page_param": "pageNumber",
        # There is a next page as long as this one is full.
        "next_page_token_path": f"$.content[{PAGE_SIZE - 1}]",
        "streams": [
            {
                "name": "audit_logs",
                "path": AUDIT_PATH,
                "records_path": "$.content[*]",
                "params": {"pageSize": PAGE_SIZE},
                "replication_key": "timestamp",
                "source_search_field": "from",
                "source_search_query": "$last_run_date",
                "except_keys": list(_OPEN_FIELDS),
                "schema": _SCHEMA,
            }
        ],
    }


def _to_api(row: Record) -> Record:
    opened = {field: json.loads(row[field]) for field in _OPEN_FIELDS if row.get(field)}
    return row | opened


PEER = SingerTap(
    name="tap-rest-api-msdk",
    manner=(
        "`page_number_paginator` while pages are full, `from` is the bookmark by "
        "`source_search_query` (it writes whole seconds), `timestamp` is the replication key. "
        "It takes the answer without content (204) for a failure."
    ),
    package="tap-rest-api-msdk",
    environment=Environment(Path(__file__).with_name("requirements.txt")),
    command=("tap-rest-api-msdk",),
    config=_config,
    to_api=_to_api,
)
