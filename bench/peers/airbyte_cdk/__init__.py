"""Airbyte's CDK with a declarative manifest, as its connector builder makes one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.environments import Environment
from bench.peers.peer import AUDIT_PATH, FIELDS, PAGE_SIZE
from bench.processes import Command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from bench.peers.peer import Job, Record

_ENVIRONMENT = Environment(Path(__file__).with_name("requirements.txt"))
_STREAM = "audit_logs"
#: So many windows for each worker: none has to wait long for the last one.
_WINDOWS_PER_WORKER = 4
_OPEN_FIELDS = ("message", "diffPayload")
_SCHEMA = {
    "type": "object",
    "properties": {
        name: {"type": ["object" if name in _OPEN_FIELDS else "string", "null"]} for name in FIELDS
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AirbyteCdk:
    """The command `source-declarative-manifest` of Airbyte's CDK.

    Attributes:
        concurrency: How many windows are read at the same time.
    """

    name: str
    manner: str
    concurrency: int
    package: str = "airbyte-cdk"
    environment: Environment = _ENVIRONMENT

    def prepare(self, job: Job) -> Command:
        """Write manifest, configuration and catalog."""
        paths = {}
        for name, content in (
            ("manifest-path", _manifest(job, self.concurrency)),
            ("config", {"app_key": job.app_key}),
            ("catalog", _CATALOG),
        ):
            path = job.folder / f"{name}.json"
            path.write_text(json.dumps(content))
            paths[name] = str(path)
        words = [str(self.environment.bin / "source-declarative-manifest"), "read"]
        return Command([*words, *(f"--{name}={path}" for name, path in paths.items())])

    def records(self, job: Job) -> Iterator[Record]:
        """Give the records among the messages."""
        with job.output.open("rb") as lines:
            for message in map(json.loads, lines):
                if message["type"] == "RECORD":
                    yield message["record"]["data"]


_CATALOG = {
    "streams": [
        {
            "stream": {
                "name": _STREAM,
                "json_schema": _SCHEMA,
                "supported_sync_modes": ["full_refresh", "incremental"],
            },
            "sync_mode": "incremental",
            "destination_sync_mode": "append",
            "cursor_field": ["timestamp"],
        }
    ]
}


def _manifest(job: Job, concurrency: int) -> dict[str, Any]:
    assert job.end  # noqa: S101 - without one, it would read until today, and time stands still
    windows = concurrency * _WINDOWS_PER_WORKER if concurrency > 1 else 1
    step = -(-(job.end - job.start) // (windows * timedelta(seconds=1)))
    return {
        "version": "7.39.1",
        "type": "DeclarativeSource",
        "check": {"type": "CheckStream", "stream_names": [_STREAM]},
        "concurrency_level": {"type": "ConcurrencyLevel", "default_concurrency": concurrency},
        "streams": [
            {
                "type": "DeclarativeStream",
                "name": _STREAM,
                "schema_loader": {"type": "InlineSchemaLoader", "schema": _SCHEMA},
                "retriever": {
                    "type": "SimpleRetriever",
                    "requester": {
                        "type": "HttpRequester",
                        "url_base": job.url,
                        "path": AUDIT_PATH,
                        "http_method": "GET",
                        "authenticator": {
                            "type": "ApiKeyAuthenticator",
                            "api_token": "AppKey {{ config['app_key'] }}",
                            "inject_into": _option("Authorization", "header"),
                        },
                    },
                    "record_selector": {
                        "type": "RecordSelector",
                        "extractor": {"type": "DpathExtractor", "field_path": ["content"]},
                    },
                    "paginator": {
                        "type": "DefaultPaginator",
                        "page_token_option": _option("pageNumber"),
                        "page_size_option": _option("pageSize"),
                        "pagination_strategy": {
                            "type": "PageIncrement",
                            "page_size": PAGE_SIZE,
                            "start_from_page": 0,
                            "inject_on_first_request": True,
                        },
                    },
                },
                "incremental_sync": {
                    "type": "DatetimeBasedCursor",
                    "cursor_field": "timestamp",
                    "datetime_format": "%Y-%m-%dT%H:%M:%S.%_msZ",
                    "cursor_granularity": "PT0.001S",
                    "step": f"PT{step}S",
                    "start_datetime": _moment(job.start),
                    "end_datetime": _moment(job.end),
                    "start_time_option": _option("from"),
                    "end_time_option": _option("to"),
                },
            }
        ],
        "spec": {
            "type": "Spec",
            "connection_specification": {"type": "object", "properties": {}},
        },
    }


def _option(name: str, where: str = "request_parameter") -> dict[str, str]:
    return {"type": "RequestOption", "inject_into": where, "field_name": name}


def _moment(moment: datetime) -> dict[str, str]:
    return {
        "type": "MinMaxDatetime",
        "datetime": f"{moment:%Y-%m-%dT%H:%M:%S.000Z}",
        "datetime_format": "%Y-%m-%dT%H:%M:%S.%_msZ",
    }


SERIAL = AirbyteCdk(
    name="Airbyte CDK",
    manner=(
        "`source-declarative-manifest` with `PageIncrement` and a `DatetimeBasedCursor` in one "
        "window, the fastest way to read one page after the other."
    ),
    concurrency=1,
)
CONCURRENT = AirbyteCdk(
    name="Airbyte CDK, 8 at once",
    manner=(
        "The same with 32 windows of equal length (`step`) and a `concurrency_level` of eight."
    ),
    concurrency=8,
)
