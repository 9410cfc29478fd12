"""The streams: one module each, with its schema, its API and how a record becomes a row."""

from __future__ import annotations

from tap_celonis_audit.streams.audit_logs import AuditLogsStream
from tap_celonis_audit.streams.login_history import LoginHistoryStream
from tap_celonis_audit.streams.members import MembersStream
from tap_celonis_audit.streams.permissions import PermissionsStream
from tap_celonis_audit.streams.studio_adoption import StudioAdoptionStream

STREAMS = (
    AuditLogsStream,
    LoginHistoryStream,
    MembersStream,
    PermissionsStream,
    StudioAdoptionStream,
)

__all__ = [
    "STREAMS",
    "AuditLogsStream",
    "LoginHistoryStream",
    "MembersStream",
    "PermissionsStream",
    "StudioAdoptionStream",
]
