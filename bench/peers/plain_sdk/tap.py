"""The audit log by the Meltano SDK's means alone."""

from __future__ import annotations

import sys
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar

from singer_sdk import RESTStream, Tap
from singer_sdk import typing as th
from singer_sdk.authenticators import APIKeyAuthenticator
from singer_sdk.pagination import PageNumberPaginator

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterable

    import requests
    from singer_sdk.helpers.types import Context

_OPEN_OBJECT = th.CustomType({"type": ["object", "null"], "additionalProperties": True})


class Paginator(PageNumberPaginator):
    """Asks for pages until they hold what the envelope counts."""

    @override
    def has_more(self, response: requests.Response) -> bool:
        if response.status_code == HTTPStatus.NO_CONTENT:
            return False
        envelope = response.json()
        read = (envelope["pageNumber"] + 1) * envelope["pageSize"]
        return bool(read < envelope["totalCount"])


class AuditLogs(RESTStream[int]):
    """Entries of the audit log."""

    name = "audit_logs"
    path = "/log/api/external/audit"
    records_jsonpath = "$.content[*]"
    replication_key = "timestamp"
    schema: ClassVar[dict[str, Any]] = th.PropertiesList(
        th.Property("userId", th.StringType),
        th.Property("userRole", th.StringType),
        th.Property("event", th.StringType),
        th.Property("timestamp", th.DateTimeType),
        th.Property("message", _OPEN_OBJECT),
        th.Property("ipAddress", th.StringType),
        th.Property("port", th.StringType),
        th.Property("diffPayload", _OPEN_OBJECT),
    ).to_dict()

    @property
    @override
    def url_base(self) -> str:
        return str(self.config["api_url"])

    @property
    @override
    def authenticator(self) -> APIKeyAuthenticator:
        return APIKeyAuthenticator(key="Authorization", value=f"AppKey {self.config['app_key']}")

    @override
    def get_new_paginator(self) -> Paginator:
        return Paginator(start_value=0)

    @override
    def get_url_params(
        self, context: Context | None, next_page_token: int | None
    ) -> dict[str, Any]:
        return {
            "pageNumber": next_page_token or 0,
            "pageSize": 200,
            "from": self.get_starting_replication_key_value(context),
        }

    @override
    def parse_response(self, response: requests.Response) -> Iterable[dict[str, Any]]:
        if response.status_code != HTTPStatus.NO_CONTENT:
            yield from super().parse_response(response)


class PlainTap(Tap):
    """The smallest tap that reads the audit log incrementally."""

    name = "tap-plain"
    config_jsonschema: ClassVar[dict[str, Any]] = th.PropertiesList(
        th.Property("api_url", th.StringType, required=True),
        th.Property("app_key", th.StringType, required=True, secret=True),
        th.Property("start_date", th.DateTimeType),
    ).to_dict()

    @override
    def discover_streams(self) -> list[AuditLogs]:
        return [AuditLogs(self)]


if __name__ == "__main__":
    PlainTap.cli()
