"""Studio adoption: who used which asset in Studio and Apps.

https://developer.celonis.com/celonis-apis/platform-api/overview/

Celonis does not publish the fields of a record. Its own SQL on the extracted table reads the time,
the e-mail address of the user and the name of the asset.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from singer_sdk import typing as th

from tap_celonis_audit.errors import Api
from tap_celonis_audit.sources import ChainedPages, NumberedPages
from tap_celonis_audit.streams.events import EVENT_ID, OPEN_OBJECT, ORIGIN, TIMESTAMP, EventStream
from tap_celonis_audit.values import as_object

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tap_celonis_audit.sources import Source


class StudioAdoptionStream(EventStream):
    """Uses of Studio assets."""

    name = "studio_adoption"
    api = Api(
        path="/platform-adoption/api/external/v2/adoption-tracking-events/STUDIO_ASSET",
        scope="platform-adoption.tracking-events:read",
        permission="Use Studio Adoption API",
        newer_permission="Admin & Settings – Platform Adoption – Use API",
    )
    api_v1 = replace(
        api, path="/platform-adoption/api/external/adoption-tracking-events/STUDIO_ASSET"
    )
    fields = ("user", "asset")
    # Which fields tell two uses apart is not known.
    identity_fields = None
    schema: ClassVar[dict[str, Any]] = th.PropertiesList(
        EVENT_ID,
        TIMESTAMP,
        th.Property("user", OPEN_OBJECT, description="Who; it has at least an email"),
        th.Property("asset", OPEN_OBJECT, description="What was used; it has at least a name"),
        *ORIGIN,
    ).to_dict()

    @override
    def sources(self) -> list[Source]:
        page_size = self.tap.settings.page_size
        return [
            ChainedPages(self.ask, self.api, page_size=page_size),
            NumberedPages(self.ask, self.api_v1, page_size=page_size),
        ]

    @override
    def columns(self, record: Mapping[str, Any]) -> tuple[object, ...]:
        return as_object(record.get("user")), as_object(record.get("asset"))
