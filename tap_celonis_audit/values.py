"""What becomes of a value that has another type than its column: never lost, never in the way.

| column | text | number, true, false | array | object |
|---|---|---|---|---|
| text | as it is | its JSON text | its JSON text | its JSON text |
| open object | `{"text": …}` | `{"value": …}` | `{"items": …}` | as it is |
| boolean | null, and kept in `additional_fields`, unless it is true or false | | | |

Texts keep every character but two kinds that databases refuse: NUL and halves of surrogate pairs
become U+FFFD, the replacement character.
"""

from __future__ import annotations

import json
import re
from itertools import count
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Container

#: How a character that databases refuse looks in JSON; a whole surrogate pair looks so, too.
ODD_ESCAPE = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_ODD = re.compile("[\x00\ud800-\udfff]")


def as_text(value: object) -> str | None:
    """Make a text column's value of whatever came."""
    if isinstance(value, str) or value is None:
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


def replace_odd(value: Any) -> Any:  # noqa: ANN401 -- any JSON value
    """Replace, in all texts of a JSON value, the characters that databases refuse."""
    if isinstance(value, str):
        return _ODD.sub("\ufffd", value)
    if isinstance(value, dict):
        found: dict[str, Any] = {}
        for key, member in value.items():
            found[unused(_ODD.sub("\ufffd", key), found)] = replace_odd(member)
        return found
    if isinstance(value, list):
        return [replace_odd(item) for item in value]
    return value


def unused(key: str, taken: Container[str]) -> str:
    """Give a key that an object does not have yet, if need be by a number."""
    if key not in taken:
        return key
    return next(other for number in count(2) if (other := f"{key} ({number})") not in taken)
