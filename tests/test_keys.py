from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tap_celonis_audit.keys import _encode, canonical, digest, event_id, record_digester

#: The example of Celonis' documentation.
EXAMPLE = {
    "userId": "8161c24e-2b32-44eb-bedb-ede2267be989 (jane.doe@example.com)",
    "userRole": "ADMIN",
    "event": "STUDIO_NODE_UPDATED",
    "timestamp": "2025-02-25T14:52:10.903000Z",
    "message": {"nodeName": "Übersicht", "nodeType": "ASSET", "count": 1, "ratio": 0.5},
    "ipAddress": None,
    "port": "8888",
    "diffPayload": None,
}
CASES: list[tuple[str, dict[str, Any], int, str]] = [
    ("audit_logs", EXAMPLE, 0, "e7e21530afa90fbc1e7b3c86028e1c87"),
    ("audit_logs", EXAMPLE, 1, "dd7e0c755af1e390756004acf3cae398"),
    ("audit_logs", EXAMPLE, 200, "785593d4d5b59a2f9f1ad408ce58f8db"),
    (
        "login_history",
        {
            "authenticationEventType": "LOGIN_SSO",
            "email": "email@example.com",
            "success": True,
            "timestamp": "2021-01-08T16:36:29.003000Z",
        },
        0,
        "1ed4d83c0205f1601af0fcdc7ef772b4",
    ),
    (
        "audit_logs",
        {"event": "日本 \ud800 \x00", "timestamp": "x", "message": []},
        0,
        "740079056abb095fefc77acc2f9b1f8b",
    ),
]


def name(stream: str, identity: dict[str, Any], ordinal: int = 0) -> str:
    base = digest(team="acme.eu-1.celonis.cloud", stream=stream, identity=identity)
    return event_id(base, ordinal=ordinal)


@pytest.mark.parametrize(("stream", "identity", "ordinal", "expected"), CASES)
def test_golden_vectors(stream: str, identity: dict[str, Any], ordinal: int, expected: str) -> None:
    # These ids are in warehouses. If this test fails, mend the code, not the vectors.
    assert name(stream, identity, ordinal) == expected


def test_what_makes_no_difference() -> None:
    spelled = json.loads(
        '{"port":"8888","event":"STUDIO_NODE_UPDATED",  "userRole":"ADMIN",'
        '"message":{"ratio":5e-1,"count":1.0,"nodeType":"ASSET","gone":null,'
        '"nodeName":"\\u00dcbersicht"},"timestamp":"2025-02-25T14:52:10.903000Z",'
        '"userId":"8161c24e-2b32-44eb-bedb-ede2267be989 (jane.doe@example.com)"}'
    )
    assert name("audit_logs", spelled) == name("audit_logs", EXAMPLE)


@pytest.mark.parametrize(
    "change",
    [
        {"event": "STUDIO_NODE_DELETED"},
        {"timestamp": "2025-02-25T14:52:10.904000Z"},
        {"port": 8888},
        {"message": {}},
        {"message": None},
        {"message": {**EXAMPLE["message"], "count": 2}},  # type: ignore[dict-item]  # an object
        {"message": {**EXAMPLE["message"], "list": [None]}},  # type: ignore[dict-item]  # an object
        {"ipAddress": ""},
    ],
)
def test_what_makes_a_difference(change: dict[str, Any]) -> None:
    assert name("audit_logs", EXAMPLE | change) != name("audit_logs", EXAMPLE)


def test_streams_teams_and_twins_are_told_apart() -> None:
    other_team = digest(team="acme.eu-2.celonis.cloud", stream="audit_logs", identity=EXAMPLE)
    ids = {
        name("audit_logs", EXAMPLE),
        name("login_history", EXAMPLE),
        event_id(other_team, ordinal=0),
        *(name("audit_logs", EXAMPLE, ordinal) for ordinal in range(1, 300)),
    }
    assert len(ids) == 302
    assert all(len(each) == 32 for each in ids)


def test_independent_of_the_process() -> None:
    code = (
        "from tap_celonis_audit.keys import *;"
        "print(event_id(digest(team='t', stream='s', identity={'b': {'y': 1, 'x': 2}, 'a': 1}),"
        "ordinal=0))"
    )
    ids = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert len(ids) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


ODD_TEXT = st.text(st.characters(codec=None, categories=["Cs", "L"]))


@given(JSON)
def test_writing_and_reading_a_value_keeps_its_canonical_form(value: object) -> None:
    assert canonical(json.loads(json.dumps(value))) == canonical(value)


@given(JSON)
def test_the_canonical_form_is_its_own(value: object) -> None:
    form = canonical(value)
    again = json.loads(form.decode("utf-8", "surrogatepass"))
    assert canonical(again) == form


def normal(value: Any) -> Any:
    """Take the rules one by one, for every value."""
    if isinstance(value, dict):
        return {name: normal(member) for name, member in value.items() if member is not None}
    if isinstance(value, list):
        return [normal(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        return int(value)
    if isinstance(value, float) and ("e" in repr(value) or "inf" in repr(value)):
        return f"\x00{value!r}"
    return value


@given(JSON)
def test_what_is_in_normal_form_already_is_no_exception(value: object) -> None:
    assert canonical(value) == _encode(normal(value))


@pytest.mark.parametrize(("stream", "identity", "ordinal", "expected"), CASES)
def test_golden_vectors_from_records(
    stream: str, identity: dict[str, Any], ordinal: int, expected: str
) -> None:
    timestamp = identity["timestamp"]
    digest_record = record_digester(
        team="acme.eu-1.celonis.cloud",
        stream=stream,
        fields=tuple(sorted(identity.keys() - {"timestamp"}, reverse=True)),
    )
    record = identity | {"timestamp": 1740495130903, "traceId": "no part of it"}
    base = digest_record(record, timestamp)
    assert event_id(base, ordinal=ordinal) == expected


FIELDS = ("event", "userId", "message", "ipAddress")
digest_record = record_digester(team="t", stream="s", fields=FIELDS)


@given(st.dictionaries(st.sampled_from([*FIELDS, "timestamp", "traceId"]), JSON | ODD_TEXT))
def test_a_record_has_the_digest_of_its_identity(record: dict[str, Any]) -> None:
    identity = {name: record.get(name) for name in FIELDS} | {"timestamp": "then"}
    assert digest_record(record, "then") == digest(team="t", stream="s", identity=identity)


@pytest.mark.parametrize(
    "odd", [None, 1.0, 1e300, 0.5, 2**70, "\ud800", [None], {"x": None}, {"x": 1.0}, {"x": {}}]
)
def test_what_is_not_usual_is_found_at_any_depth(odd: object) -> None:
    for value in (odd, {"a": odd}, [odd], {"a": {"b": odd}}, {"a": [odd]}, [{"a": odd}]):
        identity = dict.fromkeys(FIELDS, value) | {"timestamp": "then"}
        assert digest_record(identity, "then") == digest(team="t", stream="s", identity=identity)
