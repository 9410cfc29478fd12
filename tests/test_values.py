"""What becomes of the API's records: the table of values.py, actors, and whole rows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tap_celonis_audit.streams import AuditLogsStream, LoginHistoryStream
from tap_celonis_audit.streams.audit_logs import parse_actor
from tap_celonis_audit.tap import TapCelonisAudit
from tap_celonis_audit.values import as_boolean, as_object, as_text

if TYPE_CHECKING:
    from tap_celonis_audit.streams.events import EventStream

STAMP = "2025-02-25T14:52:10.903Z"
ODD_VALUES: list[Any] = [None, "", "a text", 0, 8888, 1.5, True, False, [], [1, "a"], {}, {"a": 1}]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)

TAP = TapCelonisAudit(config={"api_url": "https://acme.eu-1.celonis.cloud", "app_key": "k"})
STREAMS: dict[str, EventStream] = {
    "audit_logs": AuditLogsStream(TAP),
    "login_history": LoginHistoryStream(TAP),
}
VALIDATORS = {
    name: Draft202012Validator(stream.schema | {"additionalProperties": False})
    for name, stream in STREAMS.items()
}


def row(stream: str, record: dict[str, Any]) -> dict[str, Any]:
    """Make a row of a record and check it against the schema."""
    event = STREAMS[stream]._parse({"timestamp": STAMP} | record)
    made = msgspec.structs.asdict(STREAMS[stream]._row("an-id", event))
    VALIDATORS[stream].validate(made)
    assert list(made) == list(STREAMS[stream].schema["properties"])
    return made


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        ("", ""),
        ("売上", "売上"),
        ("8888", "8888"),
        (8888, "8888"),
        (1.5, "1.5"),
        (True, "true"),
        (False, "false"),
        ([], "[]"),
        ([1, "ä", None], '[1,"ä",null]'),
        ({"b": 1, "a": [2]}, '{"b":1,"a":[2]}'),
    ],
)
def test_a_text_column_takes_everything(value: object, text: str | None) -> None:
    assert as_text(value) == text


@pytest.mark.parametrize(
    ("value", "made"),
    [
        (None, None),
        ({}, {}),
        ({"Analysis Id": "7", "old_permissions": []}, {"Analysis Id": "7", "old_permissions": []}),
        ("a text", {"text": "a text"}),
        ("", {"text": ""}),
        ([1, {"a": 2}], {"items": [1, {"a": 2}]}),
        ([], {"items": []}),
        (7, {"value": 7}),
        (0, {"value": 0}),
        (1.5, {"value": 1.5}),
        (False, {"value": False}),
    ],
)
def test_an_open_object_takes_everything(value: object, made: dict[str, Any] | None) -> None:
    assert as_object(value) == made


@pytest.mark.parametrize(
    ("value", "made"),
    [(True, True), (False, False), (None, None), ("true", None), (1, None), (0, None), ([], None)],
)
def test_a_boolean_column_takes_true_and_false_only(value: object, made: bool | None) -> None:
    assert as_boolean(value) is made


@given(JSON)
def test_no_value_is_lost(value: Any) -> None:
    text, made = as_text(value), as_object(value)
    if value is None:
        assert text is None
        assert made is None
    else:
        assert isinstance(text, str)
        assert text == value if isinstance(value, str) else json.loads(text) == value
        assert made is value or (made is not None and list(made.values()) == [value])


@pytest.mark.parametrize(
    ("user_id", "actor_id", "email", "kind"),
    [
        ("8161c24e-2b32 (jane.doe@example.com)", "8161c24e-2b32", "jane.doe@example.com", "USER"),
        ("8161c24e-2b32 (zoë@exämple.com)", "8161c24e-2b32", "zoë@exämple.com", "USER"),
        ("celonis-service (SYSTEM)", "celonis-service", None, "SYSTEM"),
        ("8161c24e-2b32", None, None, "UNKNOWN"),
        ("jane.doe@example.com", None, None, "UNKNOWN"),
        ("8161c24e-2b32 ()", None, None, "UNKNOWN"),
        ("8161c24e-2b32 (Jane Doe)", None, None, "UNKNOWN"),
        ("8161c24e-2b32 (a@example.com) (b@example.com)", None, None, "UNKNOWN"),
        ("8161c24e-2b32 (a@example.com) and more", None, None, "UNKNOWN"),
        ("a b (a@example.com)", None, None, "UNKNOWN"),
        (" (a@example.com)", None, None, "UNKNOWN"),
        ("8161c24e-2b32 (a@example.com)\n", None, None, "UNKNOWN"),
        ("", None, None, "UNKNOWN"),
        (None, None, None, "UNKNOWN"),
    ],
)
def test_actors_are_taken_apart(
    user_id: str | None, actor_id: str | None, email: str | None, kind: str
) -> None:
    assert parse_actor(user_id) == (actor_id, email, kind)


@pytest.mark.parametrize(
    ("column", "field"),
    [
        ("event", "event"),
        ("user_id", "userId"),
        ("user_role", "userRole"),
        ("ip_address", "ipAddress"),
        ("port", "port"),
        ("message", "message"),
        ("diff_payload", "diffPayload"),
    ],
)
@pytest.mark.parametrize("value", ODD_VALUES, ids=repr)
def test_any_value_fits_its_column_of_the_audit_log(column: str, field: str, value: object) -> None:
    made = row("audit_logs", {field: value})
    convert = as_object if column in {"message", "diff_payload"} else as_text
    assert made[column] == convert(value)
    assert made["additional_fields"] is None


@pytest.mark.parametrize("value", ODD_VALUES, ids=repr)
def test_any_value_fits_its_column_of_the_login_history(value: object) -> None:
    record = {"authenticationEventType": value, "email": value, "success": value}
    made = row("login_history", record)
    assert made["authentication_event_type"] == made["email"] == as_text(value)
    if value is None or isinstance(value, bool):
        assert made["success"] is value
        assert made["additional_fields"] is None
    else:
        assert made["success"] is None
        assert made["additional_fields"] == {"success": value}


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("value", ODD_VALUES, ids=repr)
def test_unknown_fields_are_kept_as_they_are(stream: str, value: object) -> None:
    made = row(stream, {"traceId": value, "event_id": "theirs", "team": "theirs"})
    assert made["additional_fields"] == {"traceId": value, "event_id": "theirs", "team": "theirs"}
    assert (made["event_id"], made["team"]) == ("an-id", "acme.eu-1.celonis.cloud")


@pytest.mark.parametrize("stream", STREAMS)
def test_a_record_with_nothing_but_a_time_is_a_row(stream: str) -> None:
    made = row(stream, {})
    assert made.pop("timestamp") == "2025-02-25T14:52:10.903000Z"
    assert {name for name, value in made.items() if value is not None} <= {
        "event_id",
        "team",
        "actor_type",
    }


@pytest.mark.parametrize("stream", STREAMS)
def test_unknown_fields_do_not_change_the_identity(stream: str) -> None:
    parse = STREAMS[stream]._parse
    plain = {"timestamp": STAMP, "event": "E", "email": "a@example.com"}
    known = {name: plain[name] for name in plain if name in STREAMS[stream]._known_fields}
    assert parse(known).key == parse(known | {"traceId": "t-1"}).key
    assert parse(known).key != parse(known | {"timestamp": "2025-02-25T14:52:10.904Z"}).key
    assert parse(known).key == parse(known | {"timestamp": "2025-02-25T15:52:10.903+01:00"}).key


@settings(max_examples=50)
@given(record=st.dictionaries(st.sampled_from(AuditLogsStream.fields), JSON))
def test_whatever_the_audit_log_holds_makes_a_valid_row(record: dict[str, Any]) -> None:
    row("audit_logs", record)


@settings(max_examples=50)
@given(record=st.dictionaries(st.sampled_from([*LoginHistoryStream.fields, "x"]), JSON))
def test_whatever_the_login_history_holds_makes_a_valid_row(record: dict[str, Any]) -> None:
    row("login_history", record)
