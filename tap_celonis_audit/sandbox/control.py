"""The sandbox's own endpoints, no part of the Celonis API: look, and let something happen."""

from __future__ import annotations

import inspect
import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from tap_celonis_audit.sandbox.exchange import Answer, method_not_allowed

if TYPE_CHECKING:
    from collections.abc import Callable

    from tap_celonis_audit.sandbox.exchange import Request

CONTROL_PATH = "/sandbox"
HAPPEN_PATH = "/sandbox/happen"


def answer(
    request: Request, body: bytes, *, happen: Callable[..., None], state: Callable[[], object]
) -> Answer:
    """Answer a request to one of the two paths."""
    if request.path == HAPPEN_PATH:
        if request.method != "POST":
            return method_not_allowed("POST")
        try:
            happen(**_wishes(body, inspect.signature(happen)))
        except (TypeError, ValueError) as error:
            return Answer.problem(
                HTTPStatus.BAD_REQUEST, code="SANDBOX_BAD_REQUEST", detail=str(error)
            )
    elif request.method != "GET":
        return method_not_allowed("GET")
    return Answer.json(HTTPStatus.OK, state())


def _wishes(body: bytes, known: inspect.Signature) -> dict[str, Any]:
    """Read what shall happen."""
    wishes = json.loads(body or b"{}")
    if not isinstance(wishes, dict):
        raise TypeError("the body must be a JSON object")
    if unknown := sorted(wishes.keys() - known.parameters.keys()):
        raise ValueError(f"unknown: {', '.join(unknown)}")
    for name, value in wishes.items():
        if name != "advance_seconds" and type(value) is not int:
            raise TypeError(f"{name} must be a whole number")
    return wishes
