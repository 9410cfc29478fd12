"""This tap, with its defaults."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bench.environments import HERE
from bench.peers.singer import SingerTap
from tap_celonis_audit.tap import TapCelonisAudit

if TYPE_CHECKING:
    from bench.peers.peer import Job, Record

_COLUMNS = {
    "userId": "user_id",
    "userRole": "user_role",
    "event": "event",
    "message": "message",
    "ipAddress": "ip_address",
    "port": "port",
    "diffPayload": "diff_payload",
}


def _config(job: Job) -> dict[str, Any]:
    return {"api_url": job.url, "app_key": job.app_key, "start_date": job.start.isoformat()}


def _catalog(job: Job) -> dict[str, Any]:
    """Select the audit log alone, which is all that the others read."""
    catalog: dict[str, Any] = TapCelonisAudit(config=_config(job)).catalog_dict
    for entry in catalog["streams"]:
        for each in entry["metadata"]:
            each["metadata"]["selected"] = entry["stream"] == "audit_logs"
    return catalog


def _to_api(row: Record) -> Record:
    record = {field: row[column] for field, column in _COLUMNS.items()}
    # The tap writes microseconds, the API milliseconds.
    record["timestamp"] = row["timestamp"].removesuffix("000Z") + "Z"
    # A message that is a mere text comes as an object, since the column holds objects.
    if isinstance(record["message"], dict) and record["message"].keys() == {"text"}:
        record["message"] = record["message"]["text"]
    return record | (row["additional_fields"] or {})


PEER = SingerTap(
    name="this tap",
    manner="Default settings; only `audit_logs` selected.",
    package="tap-celonis-audit",
    environment=HERE,
    command=("tap-celonis-audit",),
    config=_config,
    catalog=_catalog,
    to_api=_to_api,
)


def _at_once(number: int) -> SingerTap:
    return replace(
        PEER,
        name=f"this tap, {number} at once",
        manner=f"`max_parallel_requests: {number}`, the other settings as they come.",
        config=lambda job: _config(job) | {"max_parallel_requests": number},
    )


AT_ONCE = tuple(map(_at_once, (1, 4, 8)))
#: With as many as it has by default.
DEFAULT = AT_ONCE[1]
