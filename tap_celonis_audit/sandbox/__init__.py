"""The Celonis usage APIs on loopback, played from a seeded team: no account needed."""

from __future__ import annotations

from tap_celonis_audit.sandbox.clock import Clock
from tap_celonis_audit.sandbox.exchange import Answer, Fault, Request
from tap_celonis_audit.sandbox.log import EventSource, Log, Record
from tap_celonis_audit.sandbox.members import Members
from tap_celonis_audit.sandbox.permissions import Permissions
from tap_celonis_audit.sandbox.sandbox import Sandbox
from tap_celonis_audit.sandbox.team import Team, User

__all__ = [
    "Answer",
    "Clock",
    "EventSource",
    "Fault",
    "Log",
    "Members",
    "Permissions",
    "Record",
    "Request",
    "Sandbox",
    "Team",
    "User",
]
