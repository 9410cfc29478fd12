"""The login history: who came in, who left, who failed.

https://developer.celonis.com/platform-usage-apis/login-history-api/
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, ClassVar

from singer_sdk import typing as th

from tap_celonis_audit.errors import Api
from tap_celonis_audit.streams.events import EVENT_ID, ORIGIN, TIMESTAMP, EventStream
from tap_celonis_audit.values import as_boolean, as_text

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Mapping


class LoginHistoryStream(EventStream):
    """Entries of the login history."""

    name = "login_history"
    api = Api(
        path="/api/external/authentication-events",
        scope="team.login-history:read",
        permission="Use Login History API",
        newer_permission="Admin & Settings – Login history – Use API",
    )
    fields = identity_fields = ("authenticationEventType", "email", "success")
    schema: ClassVar[dict[str, Any]] = th.PropertiesList(
        EVENT_ID,
        TIMESTAMP,
        th.Property(
            "authentication_event_type",
            th.StringType,
            description="What was tried, and why it failed, such as LOGIN_SSO or BAD_CREDENTIALS",
        ),
        th.Property("email", th.StringType, description="Who tried"),
        th.Property("success", th.BooleanType, description="Whether it worked"),
        *ORIGIN,
    ).to_dict()

    @override
    def columns(self, record: Mapping[str, Any]) -> tuple[object, ...]:
        return (
            as_text(record.get("authenticationEventType")),
            as_text(record.get("email")),
            as_boolean(record.get("success")),
        )

    @override
    def misfits(self, record: Mapping[str, Any]) -> dict[str, Any] | None:
        success = record.get("success")
        return None if success is None or isinstance(success, bool) else {"success": success}
