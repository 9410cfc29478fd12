"""The audit log: who did what in the team.

https://developer.celonis.com/platform-usage-apis/audit-log-api/, version 1;
https://developer.celonis.com/celonis-apis/audit-log-api/overview/, version 2.
"""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from singer_sdk import typing as th

from tap_celonis_audit.errors import Api
from tap_celonis_audit.sources import ChainedPages, NumberedPages
from tap_celonis_audit.streams.events import EVENT_ID, OPEN_OBJECT, ORIGIN, TIMESTAMP, EventStream
from tap_celonis_audit.values import as_object, as_text
from tap_celonis_audit.windows import format_bound, format_zoned_bound

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tap_celonis_audit.sources import Source

_ACTOR = re.compile(r"(\S+) \(([^()]*)\)")


class AuditLogsStream(EventStream):
    """Entries of the audit log."""

    name = "audit_logs"
    api = Api(
        path="/log/api/external/audit",
        scope="audit.log:read",
        permission="Use Audit Logs API",
        newer_permission="Admin & Settings – Audit logs – Use API",
    )
    api_v2 = replace(api, path="/log/api/external/v2/audit")
    fields = identity_fields = (
        "userId",
        "userRole",
        "event",
        "message",
        "ipAddress",
        "port",
        "diffPayload",
    )
    schema: ClassVar[dict[str, Any]] = th.PropertiesList(
        EVENT_ID,
        TIMESTAMP,
        th.Property("event", th.StringType, description="What happened, such as GROUP_CREATED"),
        th.Property("user_id", th.StringType, description="Who did it, as Celonis writes it"),
        th.Property("actor_id", th.StringType, description="The id in user_id"),
        th.Property("actor_email", th.StringType, description="The e-mail address in user_id"),
        th.Property(
            "actor_type",
            th.StringType,
            description="USER, SYSTEM for the platform itself, or UNKNOWN",
        ),
        th.Property("user_role", th.StringType, description="Role of the user"),
        th.Property(
            "ip_address", th.StringType, description="Set if the team records IP addresses"
        ),
        th.Property("port", th.StringType),
        th.Property("message", OPEN_OBJECT, description="Details; the keys depend on the event"),
        th.Property("diff_payload", OPEN_OBJECT, description="Old and new value of what changed"),
        *ORIGIN,
    ).to_dict()

    @override
    def sources(self) -> list[Source]:
        settings = self.tap.settings
        versions = {
            "v1": NumberedPages(
                self.ask,
                self.api,
                page_size=settings.page_size,
                # What is documented for the login history alone comes second.
                spellings=(format_zoned_bound, format_bound),
            ),
            "v2": ChainedPages(self.ask, self.api_v2, page_size=settings.page_size),
        }
        chosen = versions.get(settings.audit_api_version)
        return [chosen] if chosen else [*versions.values()]

    @override
    def columns(self, record: Mapping[str, Any]) -> tuple[object, ...]:
        get = record.get
        user_id, event, role = get("userId"), get("event"), get("userRole")
        address, port = get("ipAddress"), get("port")
        message, payload = get("message"), get("diffPayload")
        # Most values are what they should be, and to be asked is most of what they cost.
        user_id = user_id if type(user_id) is str else as_text(user_id)
        return (
            event if type(event) is str else as_text(event),
            user_id,
            *parse_actor(user_id),
            role if type(role) is str else as_text(role),
            None if address is None else as_text(address),
            None if port is None else as_text(port),
            message if type(message) is dict else as_object(message),
            None if payload is None else as_object(payload),
        )


@lru_cache(4096)  # Few people make most of the entries.
def parse_actor(user_id: str | None) -> tuple[str | None, str | None, str]:
    """Take apart ``<uuid> (<e-mail>)``, or ``celonis-service (SYSTEM)`` for the platform itself.

    Returns:
        The actor's id, e-mail address and type.
    """
    match = _ACTOR.fullmatch(user_id or "")
    if match and match[2] == "SYSTEM":
        return match[1], None, "SYSTEM"
    if match and "@" in match[2]:
        return match[1], match[2], "USER"
    return None, None, "UNKNOWN"
