"""Identity: the same event has the same ``event_id``, whenever and however it is read.

Celonis gives its log entries no id, so one is computed from their content. What is hashed, byte by
byte, is a contract with every warehouse that holds these ids: it may only change together with
`VERSION`, and the golden vectors in ``tests/test_keys.py`` hold it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Inside the hashed bytes. A change of any rule here is a new version, and new ids for everyone.
VERSION = "1"

#: Floats up to here that hold a whole number are spelled as that number.
_EXACT = 2.0**63

#: Values that are their own normal form.
_NORMAL_TYPES = frozenset({str, int, bool})

#: What most events are made of: values that are their own normal form.
_Scalar: TypeAlias = str | int | bool
_Item: TypeAlias = _Scalar | dict[str, _Scalar] | None
_Member: TypeAlias = _Scalar | list[_Item] | dict[str, _Scalar]
_Value: TypeAlias = _Scalar | list[_Member | None] | dict[str, _Member] | None

_encode = msgspec.json.Encoder(order="sorted").encode
#: The same for a Struct whose fields are sorted, in less time.
_encode_sorted = msgspec.json.Encoder(order="deterministic").encode
_encode_odd = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":"), check_circular=False
).encode


def canonical(value: object) -> bytes:
    """Write a JSON value so that equal values give equal bytes.

    Key order, white space, the spelling of numbers (``1``, ``1.0``, ``1e0``) and whether a null
    member is written or left out make no difference. Nulls inside arrays count.
    """
    normal = _normal(value)
    try:
        return _encode(normal)
    except UnicodeEncodeError:  # Half a surrogate pair: the other encoder writes it, in its way.
        return _encode_odd(normal).encode("utf-8", "surrogatepass")


def _normal(value: Any) -> Any:  # noqa: ANN401 -- any JSON value
    kind = type(value)
    if kind is dict:
        if _NORMAL_TYPES.issuperset(map(type, value.values())):
            return value
        return {
            key: member if type(member) in _NORMAL_TYPES else _normal(member)
            for key, member in value.items()
            if member is not None
        }
    if kind is list:
        return [_normal(item) for item in value]
    if kind is float:
        if value.is_integer() and abs(value) < _EXACT:
            return int(value)
        text = repr(value)
        # Encoders differ in how they write exponents, so those go in as text.
        return f"\x00{text}" if "e" in text or "n" in text else value
    return value


def digest(
    *, team: str, stream: str, identity: Mapping[str, object], key: bytes | None = None
) -> bytes:
    """Hash what an event is: 32 bytes, equal only for identical twins.

    Args:
        team: Host of the Celonis team.
        stream: Name of the stream.
        identity: The fields that make the event, as Celonis wrote them, the timestamp in the
            fixed-width form. Fields that the stream does not know stay outside, so that one which
            Celonis adds later does not give every old event a second id.
        key: Without it, nobody can confirm a guess of who did what; None for a plain digest.
    """
    form = _head(team, stream) + canonical(identity)
    return hashlib.sha256(form).digest() if key is None else hmac.digest(key, form, "sha256")


def record_digester(
    *, team: str, stream: str, fields: tuple[str, ...], key: bytes | None = None
) -> Callable[[Mapping[str, Any], str], bytes]:
    """Make what hashes API records: as `digest` does, in half the time for most of them.

    Args:
        team: Host of the Celonis team.
        stream: Name of the stream.
        fields: Those that make the event, besides its timestamp.
        key: As for `digest`.

    Returns:
        A function of what Celonis sent, and of its timestamp in the fixed-width form.
    """
    head, usual = _head(team, stream), _usual(fields)
    convert, encode = msgspec.convert, _encode_sorted

    def digest_record(record: Mapping[str, Any], timestamp: str) -> bytes:
        try:
            identity = convert(record, usual)
            identity.timestamp = timestamp
            form = head + encode(identity)
        except (msgspec.ValidationError, UnicodeEncodeError):
            odd = {name: record.get(name) for name in fields} | {"timestamp": timestamp}
            return digest(team=team, stream=stream, identity=odd, key=key)
        return hashlib.sha256(form).digest() if key is None else hmac.digest(key, form, "sha256")

    return digest_record


def _usual(fields: tuple[str, ...]) -> Any:  # noqa: ANN401 -- a class made here has no name
    """Make a class for events that are in normal form, but for nulls, which it leaves out."""
    members = [(name, _Value, None) for name in sorted((*fields, "timestamp"))]
    return msgspec.defstruct("Identity", members, omit_defaults=True, gc=False)


@lru_cache
def _head(team: str, stream: str) -> bytes:
    return f"tap-celonis-audit/{VERSION}\n{team}\n{stream}\n".encode()


def event_id(base: bytes, *, ordinal: int) -> str:
    """Name one of several identical twins: 32 hexadecimal digits.

    Args:
        base: The event's digest.
        ordinal: 0 for the first (mostly the only) event with this digest, 1 for the second, …
    """
    if ordinal:
        base = hashlib.sha256(base + str(ordinal).encode()).digest()
    return base[:16].hex()
