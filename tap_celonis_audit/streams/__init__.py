"""The streams: one module each, with its schema, its API and how a record becomes a row."""

from __future__ import annotations

from tap_celonis_audit.streams.audit_logs import AuditLogsStream
from tap_celonis_audit.streams.login_history import LoginHistoryStream

STREAMS = (AuditLogsStream, LoginHistoryStream)

__all__ = ["STREAMS", "AuditLogsStream", "LoginHistoryStream"]
