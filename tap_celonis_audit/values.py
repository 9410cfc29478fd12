"""What becomes of a value that has another type than its column: never lost, never in the way.

| column | text | number, true, false | array | object |
|---|---|---|---|---|
| text | as it is | its JSON text | its JSON text | its JSON text |
| texts | one text | one JSON text | a text for each item but null | one JSON text |
| open object | `{"text": …}` | `{"value": …}` | `{"items": …}` | as it is |
| boolean | null, and kept in `additional_fields`, unless it is true or false | | | |
| integer | null, and kept in `additional_fields`, unless it is whole, as digits too | | | |

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
_DIGITS = re.compile(r"-?\d{1,19}", re.ASCII)
#: Databases have integers of 64 bits.
_BEYOND = 2**63


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


def as_integer(value: object) -> int | None:
    """Make an integer column's value of whatever came; None also if it is not one."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if -_BEYOND <= value < _BEYOND else None


def as_texts(value: object) -> list[str] | None:
    """Make the value of a list of texts of whatever came; nulls in it tell nothing."""
    if value is None:
        return None
    items = value if isinstance(value, list) else [value]
    return [text for item in items if (text := as_text(item)) is not None]


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
