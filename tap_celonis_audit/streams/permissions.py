"""The permissions: who may do what with which object.

https://developer.celonis.com/celonis-apis/permissions-api/overview/
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from singer_sdk import typing as th

from tap_celonis_audit.errors import Api, TapError
from tap_celonis_audit.keys import canonical, digest, event_id
from tap_celonis_audit.streams.events import ORIGIN
from tap_celonis_audit.streams.tables import TableStream
from tap_celonis_audit.values import as_text, as_texts, replace_odd

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Fields of the API's record with a text, and their columns.
_TEXTS = {
    "subjectName": "subject_name",
    "subjectType": "subject_type",
    "subjectId": "subject_id",
    "groups": "groups",
    "role": "role",
    "service": "service",
    "objectName": "object_name",
    "objectType": "object_type",
    "objectId": "object_id",
}
_MEANINGS = {
    "subject_name": "Who may: name of the user, group or application",
    "subject_type": "What that is, such as USER or GROUP",
    "subject_id": "Its id",
    "groups": "Groups of the subject",
    "role": "Role of the subject",
    "service": "Part of Celonis that the object belongs to",
    "object_name": "With what: name of the object",
    "object_type": "What that is, such as PACKAGE",
    "object_id": "Its id",
}


class PermissionsStream(TableStream):
    """Permissions of users, groups and applications."""

    name = "permissions"
    primary_keys = ("permission_id",)
    api = Api(
        path="/api/authorization/external/permissions",
        scope="authorization.permissions:read",
        oauth_only=True,
        long_list="permissions",
    )
    known_fields = frozenset({*_TEXTS, "actions"})
    schema: ClassVar[dict[str, Any]] = th.PropertiesList(
        th.Property(
            "permission_id",
            th.StringType,
            required=True,
            nullable=False,
            description="Identifies subject and object; computed, since Celonis gives no id",
        ),
        *(
            th.Property(column, th.StringType, description=_MEANINGS[column])
            for column in _TEXTS.values()
        ),
        th.Property(
            "actions",
            th.ArrayType(th.StringType),
            description="What the subject may do with the object",
        ),
        *ORIGIN,
    ).to_dict()

    @override
    def peek(self) -> int | None:
        return len(self._export()[0])

    @override
    def snapshot(self) -> Iterable[dict[str, Any]]:
        items, is_odd = self._export()
        unpack = _unpack_odd if is_odd else _unpack
        # Twice over the export, so that no more than one item is unpacked at a time.
        shown = Counter(self._base(unpack(item)) for item in items)
        alike: dict[bytes, list[dict[str, Any]]] = {}
        for record in map(unpack, items):
            base = self._base(record)
            if shown[base] == 1:
                yield self._row(record, event_id(base, ordinal=0))
            else:
                alike.setdefault(base, []).append(record)
        for base, records in alike.items():
            records.sort(key=canonical)
            for ordinal, record in enumerate(records):
                yield self._row(record, event_id(base, ordinal=ordinal))

    @override
    def columns(self, record: Mapping[str, Any]) -> dict[str, Any]:
        return {
            **{column: as_text(record.get(name)) for name, column in _TEXTS.items()},
            "actions": as_texts(record.get("actions")),
        }

    @override
    def misfits(self, record: Mapping[str, Any]) -> dict[str, Any]:
        return {}

    def _row(self, record: dict[str, Any], permission_id: str) -> dict[str, Any]:
        return {"permission_id": permission_id, **self.row(record)}

    def _export(self) -> tuple[list[Any], bool]:
        """Give the items, mostly still as JSON, and whether there may be odd texts in them."""
        answer = self.tap.client.get(self.api, {})
        items = (answer.body or {}).get("permissions")
        if not isinstance(items, list):
            raise TapError(f"Celonis answers {self.api.path} without a list of records.")
        return items, answer.is_odd

    def _base(self, record: dict[str, Any]) -> bytes:
        pseudonymizer = self.tap.pseudonymizer
        return digest(
            team=self.tap.settings.team,
            stream=self.name,
            identity=identity_of(record),
            key=pseudonymizer.event_key if pseudonymizer else None,
        )


def identity_of(record: Mapping[str, Any]) -> dict[str, object]:
    """Give what a permission is about: a subject and an object, by their ids where they have some.

    What may be done, names, groups and roles change, and then the row of the same permission has to
    change. Where one subject has several permissions on one object, an ordinal tells them apart.
    """
    return {
        "subjectType": record.get("subjectType"),
        "subject": record.get("subjectId") or record.get("subjectName"),
        "service": record.get("service"),
        "objectType": record.get("objectType"),
        "object": record.get("objectId") or record.get("objectName"),
    }


def _unpack(item: Any) -> dict[str, Any]:  # noqa: ANN401 -- any JSON value, read or not
    record = msgspec.json.decode(item) if isinstance(item, msgspec.Raw) else item
    if not isinstance(record, dict):
        raise TapError("Celonis answers with a permission that is not an object.")
    return record


def _unpack_odd(item: Any) -> dict[str, Any]:  # noqa: ANN401 -- any JSON value, read or not
    record: dict[str, Any] = replace_odd(_unpack(item))
    return record
