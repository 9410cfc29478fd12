"""What becomes of a value that has another type than its column: never lost, never in the way.

| column | text | number, true, false | array | object |
|---|---|---|---|---|
| text | as it is | its JSON text | its JSON text | its JSON text |
| open object | `{"text": …}` | `{"value": …}` | `{"items": …}` | as it is |
| boolean | null, and kept in `additional_fields`, unless it is true or false | | | |
"""

from __future__ import annotations

import json
from typing import Any


def as_text(value: object) -> str | None:
    """Make a text column's value of whatever came."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def as_object(value: object) -> dict[str, Any] | None:
    """Make an open object's value of whatever came."""
    if value is None or isinstance(value, dict):
        return value
    if isinstance(value, str):
        return {"text": value}
    return {"items" if isinstance(value, list) else "value": value}


def as_boolean(value: object) -> bool | None:
    """Make a boolean column's value of whatever came; None also if it is not one."""
    return value if isinstance(value, bool) else None
