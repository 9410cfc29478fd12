"""What goes over the wire: a request as it was seen, an answer, and what can go wrong with it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Request:
    """A request as the sandbox saw it, without credentials.

    Attributes:
        query: The query parameters, decoded; of a repeated one the last.
        form: The fields of a form body, without ``client_id`` and ``client_secret``.
        headers: Names in lower case, without ``authorization`` and ``cookie``.
        scheme: The scheme of the authorization header, such as ``Bearer``; empty without one.
        in_flight: How many requests, this one included, were being served when it arrived.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    scheme: str = ""
    in_flight: int = 1


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete HTTP answer; date, length and connection headers are the server's business."""

    status: HTTPStatus
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @classmethod
    def json(
        cls, status: HTTPStatus, payload: object, *, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Make an answer with a JSON body."""
        body = json.dumps(payload, ensure_ascii=False).encode()
        return cls(status, {"content-type": "application/json", **(headers or {})}, body)

    @classmethod
    def problem(
        cls,
        status: HTTPStatus,
        *,
        code: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Make an error in the documented shape."""
        payload: dict[str, Any] = {
            "title": status.phrase,
            "status": int(status),
            "detail": detail,
            "errorCode": code,
        }
        return cls.json(status, payload, headers=headers)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong on the way instead of an answer."""

    kind: Literal["drop", "truncate", "garbage", "hang"]
    seconds: float = 0.0

    drop: ClassVar[Fault]
    """The connection is closed without an answer."""
    truncate: ClassVar[Fault]
    """The answer announces its full length, half of it is sent, the connection is closed."""
    garbage: ClassVar[Fault]
    """A web page comes, with status 200."""

    @classmethod
    def hang(cls, seconds: float) -> Fault:
        """Nothing comes for so long, then the connection is closed."""
        return cls("hang", seconds)


Fault.drop = Fault("drop")
Fault.truncate = Fault("truncate")
Fault.garbage = Fault("garbage")

GARBAGE = Answer(
    HTTPStatus.OK,
    {"content-type": "text/html; charset=utf-8"},
    b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Sign in</body></html>",
)


def not_found() -> Answer:
    """Answer that there is nothing at a path."""
    return Answer.problem(
        HTTPStatus.NOT_FOUND, code="GENERAL_NOTFOUND_PATH", detail="Path not found."
    )


def method_not_allowed(allowed: str) -> Answer:
    """Answer that only one method is allowed."""
    return Answer.problem(
        HTTPStatus.METHOD_NOT_ALLOWED,
        code="GENERAL_METHOD_NOT_ALLOWED",
        detail=f"Only {allowed} is supported.",
        headers={"allow": allowed},
    )


def too_many_requests() -> Answer:
    """Answer that the rate limit is exceeded."""
    return Answer.problem(
        HTTPStatus.TOO_MANY_REQUESTS, code="LIMIT_RATE_EXCEEDED", detail="Rate limit exceeded."
    )


def internal_error(support_id: str) -> Answer:
    """Answer that the server failed."""
    return Answer.problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        code="GENERAL_INTERNAL_ERROR",
        detail=f"Something went wrong. Celonis Support ID: {support_id}",
    )


def gone() -> Answer:
    """Answer that there is nothing at a path any more."""
    return Answer.problem(
        HTTPStatus.GONE, code="GENERAL_GONE", detail="This version is no longer available."
    )
