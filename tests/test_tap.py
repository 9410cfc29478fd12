"""The whole tap against the sandbox: in this process where that is enough, else as a command."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import gzip
import io
import json
import logging
import os
import signal
import socket
import sys
import termios
import threading
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from types import SimpleNamespace
from typing import IO, TYPE_CHECKING, Any, Self, cast
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest
from command import TIMEOUT_SECONDS, Command, Finished, finish, spellings
from jsonschema import Draft202012Validator, FormatChecker, ValidationError
from singer_sdk.configuration import _dict_config
from singer_sdk.logging import ConsoleFormatter
from singer_sdk.testing import get_tap_test_class

from tap_celonis_audit.client import Client
from tap_celonis_audit.errors import TapError
from tap_celonis_audit.sandbox import Answer, Fault, Request, Sandbox
from tap_celonis_audit.streams import (
    STREAMS,
    MembersStream,
    PermissionsStream,
    StudioAdoptionStream,
)
from tap_celonis_audit.streams import events as events_module
from tap_celonis_audit.tap import TapCelonisAudit

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from tap_celonis_audit.sdk import Stream

NOW = "2026-03-01T12:00:00Z"
NOW_S = int(datetime.fromisoformat(NOW).timestamp())
SETTLED = "2026-03-01T11:58:00.000000Z"
AUDIT_PATH, LOGINS_PATH = (stream.api.path for stream in STREAMS[:2])
TOKEN_PATH = "/oauth2/token"
TWIN = {
    "userId": "8161c24e-2b32-44eb-bedb-ede2267be989 (zoë@example.com)",
    "userRole": "ADMIN",
    "event": "STUDIO_NODE_UPDATED",
    "timestamp": "2026-02-28T14:52:10.903Z",
    "message": {"nodeName": "売上", "Analysis Id": "7", "old_permissions": ["READ"]},
    "ipAddress": None,
    "port": "8888",
    "diffPayload": None,
}
LOGIN_TWIN = {
    "authenticationEventType": "LOGIN_SSO",
    "email": "zoë@example.com",
    "success": True,
    "timestamp": "2026-02-28T14:52:09.003Z",
}

FORMATS = FormatChecker(formats=())


@FORMATS.checks("date-time", raises=ValueError)
def is_date_time(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


# The SDK's own suite. Its configuration is completed when the sandbox is there.

SUITE_CONFIG = {"api_url": "http://127.0.0.1:1", "app_key": "set-below"}
TestSdkSuite = get_tap_test_class(TapCelonisAudit, config=SUITE_CONFIG, parse_env_config=False)


@pytest.fixture(scope="module")
def team() -> Generator[Sandbox]:
    """Give a team with two days of history and twins that no test changes."""
    with Sandbox(days=2, now=NOW) as sandbox:
        sandbox.audit.extend([TWIN, TWIN, TWIN])
        sandbox.logins.extend([LOGIN_TWIN, LOGIN_TWIN])
        yield sandbox


@pytest.fixture(scope="module", autouse=True)
def _suite_config(team: Sandbox) -> None:
    SUITE_CONFIG.update(api_url=team.url, app_key=team.app_key)


@pytest.fixture(autouse=True)
def _signal_handlers() -> Generator[None]:
    """Give pytest its signals back, which every tap in this process takes."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def sandbox() -> Generator[Sandbox]:
    """Give a team without history, to be filled."""
    with Sandbox(days=0, now=NOW) as sandbox:
        yield sandbox


class Output:
    """What a tap wrote to standard output."""

    def __init__(self, text: str) -> None:
        self.lines = text.splitlines()
        self.messages: list[dict[str, Any]] = [json.loads(line) for line in self.lines]

    @property
    def schemas(self) -> dict[str, dict[str, Any]]:
        return {
            message["stream"]: message["schema"]
            for message in self.messages
            if message["type"] == "SCHEMA"
        }

    def records(self, stream: str | None = None) -> list[dict[str, Any]]:
        return [
            message["record"]
            for message in self.messages
            if message["type"] == "RECORD" and stream in {None, message["stream"]}
        ]

    def ids(self, stream: str | None = None) -> list[str]:
        return [record["event_id"] for record in self.records(stream)]

    @property
    def state(self) -> dict[str, Any]:
        states = [m["value"] for m in self.messages if m["type"] == "STATE"]
        state: dict[str, Any] = states[-1]
        return state

    def bookmark(self, stream: str) -> str:
        value: str = self.state["bookmarks"][stream]["replication_key_value"]
        return value

    def check(self) -> Self:
        """Check what holds for every run: schemas, keys, order, state behind the records."""
        validators: dict[str, Draft202012Validator] = {}
        newest: dict[str, str] = {}
        ids: list[str] = []
        for message in self.messages:
            stream = message.get("stream", "")
            if message["type"] == "SCHEMA":
                strict = message["schema"] | {"additionalProperties": False}
                validators[stream] = Draft202012Validator(strict, format_checker=FORMATS)
            elif message["type"] == "RECORD":
                record = message["record"]
                validators[stream].validate(record)
                if "event_id" not in record:
                    continue
                ids.append(record["event_id"])
                assert record["timestamp"] >= newest.get(stream, ""), "ascending in each stream"
                assert len(record["timestamp"]) == len("2025-02-25T14:52:10.903000Z")
                assert record["timestamp"].endswith("Z")
                newest[stream] = record["timestamp"]
        assert None not in ids
        assert len(set(ids)) == len(ids), "an event_id stands for two events"
        return self


def sync(
    sandbox: Sandbox,
    *,
    state: dict[str, Any] | None = None,
    catalog: dict[str, Any] | None = None,
    fails: str | None = None,
    naps: list[float] | None = None,
    **config: Any,
) -> Output:
    """Run a tap in this process, for the logs alone; `fails` is what it must fail with."""
    way = {} if config.keys() & {"api_key", "client_id"} else {"app_key": sandbox.app_key}
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        tap = TapCelonisAudit(
            config={"api_url": sandbox.url, **way, **config},
            state=deepcopy(state),
            catalog=deepcopy(catalog),
        )
        if catalog is None:
            for stream in tap.streams.values():
                stream.selected = stream.name in {"audit_logs", "login_history"}
        pauses: list[float] = [] if naps is None else naps
        tap.client = Client(tap.settings, sleep=pauses.append)
        with contextlib.closing(tap.client):
            if fails is None:
                tap.sync_all()
            else:
                with pytest.raises(TapError, match=fails):
                    tap.sync_all()
    return Output(out.getvalue())


def catalog_of(sandbox: Sandbox) -> dict[str, Any]:
    config = {"api_url": sandbox.url, "app_key": sandbox.app_key}
    tap = TapCelonisAudit(config=config)
    for stream in tap.streams.values():
        stream.selected = stream.name in {"audit_logs", "login_history"}
    return deepcopy(tap.catalog_dict)


def select(catalog: dict[str, Any], stream: str, *path: str, selected: bool) -> dict[str, Any]:
    """Select or deselect a stream or one of its columns."""
    breadcrumb = ["properties", *path] if path else []
    (entry,) = (each for each in catalog["streams"] if each["tap_stream_id"] == stream)
    (metadata,) = (each for each in entry["metadata"] if each["breadcrumb"] == breadcrumb)
    metadata["metadata"]["selected"] = selected
    return catalog


def audit_record(second: float, event: str = "E", **fields: object) -> dict[str, Any]:
    """Make an entry of the audit log, so many seconds after NOW."""
    moment = datetime.fromtimestamp(NOW_S + second, tz=UTC)
    stamp = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"userId": "a (a@example.com)", "event": event, "timestamp": stamp} | fields


def event_names(output: Output) -> list[str]:
    return [record["event"] for record in output.records("audit_logs")]


def truth(records: Iterable[dict[str, Any]], *, before: str = SETTLED) -> Counter[str]:
    """Count the timestamps of what a run should have read."""
    stamps = (f"{record['timestamp'][:-1]}000Z" for record in records)
    return Counter(stamp for stamp in stamps if stamp < before)


def stamps(output: Output, stream: str) -> Counter[str]:
    return Counter(record["timestamp"] for record in output.records(stream))


@pytest.fixture(scope="module")
def whole(team: Sandbox) -> Output:
    """Give what one run reads of the team."""
    return sync(team).check()


class TestRecords:
    def test_everything_that_settled_arrives_once(self, team: Sandbox, whole: Output) -> None:
        assert stamps(whole, "audit_logs") == truth(team.audit.visible)
        assert stamps(whole, "login_history") == truth(team.logins.visible)
        assert min(len(whole.records("audit_logs")), len(whole.records("login_history"))) > 150

    @pytest.mark.parametrize("fault", ["order", "additional", "null key", "date-time"])
    def test_the_check_of_every_run_can_fail(self, whole: Output, fault: str) -> None:
        lines = whole.lines.copy()
        records = [number for number, line in enumerate(lines) if '"RECORD"' in line]
        message = json.loads(lines[records[0]])
        if fault == "order":
            lines[records[0]], lines[records[99]] = lines[records[99]], lines[records[0]]
        elif fault == "additional":
            message["record"]["undeclared"] = 1
        elif fault == "null key":
            message["record"]["event_id"] = None
        else:
            message["record"]["timestamp"] = "2026-02-30T00:00:00.000000Z"
        if fault != "order":
            lines[records[0]] = json.dumps(message)
        with pytest.raises((AssertionError, ValidationError)):
            Output("\n".join(lines)).check()

    def test_twins_are_kept_with_an_id_each(self, whole: Output) -> None:
        twins = [r for r in whole.records("audit_logs") if r["message"] == TWIN["message"]]
        assert len(twins) == len({twin["event_id"] for twin in twins}) == 3
        assert len({json.dumps(twin | {"event_id": ""}) for twin in twins}) == 1
        logins = [r for r in whole.records("login_history") if r["email"] == LOGIN_TWIN["email"]]
        assert len(logins) == len({login["event_id"] for login in logins}) == 2

    @pytest.mark.parametrize("order", ["descending", "shuffled", "unstable"])
    def test_the_order_of_the_api_makes_no_difference(
        self, team: Sandbox, whole: Output, order: str
    ) -> None:
        team.play(order=order)
        try:
            other = sync(team).check()
        finally:
            team.play(order="ascending")
        assert other.records() == whole.records()

    @pytest.mark.parametrize("page_size", [1, 7, 200])
    def test_the_page_size_makes_no_difference(self, sandbox: Sandbox, page_size: int) -> None:
        sandbox.audit.extend(audit_record(-600 + n // 4, f"E{n % 3}") for n in range(16))
        output = sync(sandbox, page_size=page_size).check()
        assert output.records() == sync(sandbox).records()
        assert len(output.records()) == 16
        assert {r.query["pageSize"] for r in sandbox.requests} >= {str(page_size)}

    def test_a_row_holds_what_the_api_says(self, sandbox: Sandbox) -> None:
        sandbox.audit.add(TWIN)
        sandbox.logins.add(LOGIN_TWIN)
        output = sync(sandbox).check()
        (row,) = output.records("audit_logs")
        assert row.pop("event_id")
        assert row == {
            "timestamp": "2026-02-28T14:52:10.903000Z",
            "event": "STUDIO_NODE_UPDATED",
            "user_id": "8161c24e-2b32-44eb-bedb-ede2267be989 (zoë@example.com)",
            "actor_id": "8161c24e-2b32-44eb-bedb-ede2267be989",
            "actor_email": "zoë@example.com",
            "actor_type": "USER",
            "user_role": "ADMIN",
            "ip_address": None,
            "port": "8888",
            "message": {"nodeName": "売上", "Analysis Id": "7", "old_permissions": ["READ"]},
            "diff_payload": None,
            "team": "127.0.0.1",
            "additional_fields": None,
        }
        (login,) = output.records("login_history")
        assert login.pop("event_id")
        assert login == {
            "timestamp": "2026-02-28T14:52:09.003000Z",
            "authentication_event_type": "LOGIN_SSO",
            "email": "zoë@example.com",
            "success": True,
            "team": "127.0.0.1",
            "additional_fields": None,
        }

    def test_unknown_fields_and_odd_values_are_kept(self, sandbox: Sandbox) -> None:
        odd: dict[str, Any] = {
            "traceId": "t-1",
            "tags": [{"a": [1, 2.5, None]}],
            "message": "a text",
            "diffPayload": [1, 2],
            "port": 8888,
            "userRole": ["ADMIN"],
        }
        sandbox.audit.add(audit_record(-600, **odd))
        sandbox.logins.add(LOGIN_TWIN | {"success": "yes", "ip": "10.0.0.1"})
        output = sync(sandbox).check()
        (row,) = output.records("audit_logs")
        assert row["message"] == {"text": "a text"}
        assert row["diff_payload"] == {"items": [1, 2]}
        assert row["port"] == "8888"
        assert row["user_role"] == '["ADMIN"]'
        assert row["additional_fields"] == {"traceId": "t-1", "tags": [{"a": [1, 2.5, None]}]}
        (login,) = output.records("login_history")
        assert login["success"] is None
        assert login["additional_fields"] == {"success": "yes", "ip": "10.0.0.1"}

    @pytest.mark.parametrize("understands", ["zoned", "plain"])
    def test_another_spelling_of_time_is_tried_once(
        self, sandbox: Sandbox, understands: str
    ) -> None:
        def picky(_: Sandbox, request: Request) -> Answer | None:
            asked = request.query.get("from", "")
            if not asked or asked.endswith("Z") == (understands == "zoned"):
                return None
            return Answer.problem(
                HTTPStatus.BAD_REQUEST, code="GENERAL_PARAMETER_MISSMATCH", detail="from"
            )

        sandbox.audit.add(audit_record(-600))
        sandbox.logins.add(LOGIN_TWIN)
        sandbox.hook = picky
        output = sync(sandbox).check()
        assert len(output.records("audit_logs")) == 1
        assert len(output.records("login_history")) == 1
        refused = [
            request.path
            for request in sandbox.requests
            if "from" in request.query
            and request.query["from"].endswith("Z") != (understands == "zoned")
        ]
        assert len(refused) == len(set(refused)) == 1

    def test_a_full_table_replication_reads_everything_again(self, sandbox: Sandbox) -> None:
        sandbox.audit.extend(audit_record(-600 - each, f"E{each}") for each in range(5))
        first = sync(sandbox).check()
        catalog = catalog_of(sandbox)
        for entry in catalog["streams"]:
            entry["replication_method"] = "FULL_TABLE"
            entry["metadata"][0]["metadata"]["forced-replication-method"] = "FULL_TABLE"
        again = sync(sandbox, state=first.state, catalog=catalog).check()
        assert again.records("audit_logs") == first.records("audit_logs")

    def test_characters_that_databases_refuse_are_replaced(self, sandbox: Sandbox) -> None:
        texts = ["nul \x00", "half \ud83d", "half \ude00", "whole \U0001f600", "\\u0000 as text"]
        message = {"nested \x00": [{"texts": texts}]}
        sandbox.audit.add(audit_record(-600, message=message, **{"new \x00": "x \x00"}))
        (row,) = sync(sandbox).check().records("audit_logs")
        assert row["message"] == {
            "nested \ufffd": [
                {
                    "texts": [
                        "nul \ufffd",
                        "half \ufffd",
                        "half \ufffd",
                        "whole \U0001f600",
                        "\\u0000 as text",
                    ]
                }
            ]
        }
        assert row["additional_fields"] == {"new \ufffd": "x \ufffd"}

    @pytest.mark.parametrize(
        "spelling",
        [
            "2026-03-01T11:00:00Z",
            "2026-03-01T11:00:00",
            "2026-03-01T12:00:00.000000+01:00",
            1_772_362_800_000,
        ],
    )
    def test_timestamps_have_one_form(self, sandbox: Sandbox, spelling: object) -> None:
        record = audit_record(0) | {"timestamp": spelling}
        sandbox.audit.add(record, at_ms=1_772_362_800_000)
        (row,) = sync(sandbox).check().records()
        assert row["timestamp"] == "2026-03-01T11:00:00.000000Z"

    @pytest.mark.parametrize("timestamp", [None, "soon", 12, {"at": 1}])
    def test_a_record_without_a_time_is_told_and_holds_up_nothing(
        self, sandbox: Sandbox, timestamp: object, caplog: pytest.LogCaptureFixture
    ) -> None:
        sandbox.audit.extend([audit_record(-900, "before"), audit_record(-700, "after")])
        broken = audit_record(0, "broken", traceId="secret-content") | {"timestamp": timestamp}
        sandbox.audit.add(broken, at_ms=(NOW_S - 800) * 1000)
        output = sync(sandbox, fails="Failed: audit_logs").check()
        assert event_names(output) == ["before", "after"]
        (error,) = (r.getMessage() for r in caplog.records if r.levelname == "ERROR")
        assert error.startswith("audit_logs: 1 records have no usable timestamp")
        assert "secret-content" not in caplog.text
        # Told once, not at every run for as long as it is looked at.
        again = sync(sandbox, state=output.state).check()
        assert again.records() == []
        sandbox.audit.add(broken | {"event": "another"}, at_ms=(NOW_S - 790) * 1000)
        sync(sandbox, state=again.state, fails="Failed: audit_logs")

    def test_schemas_can_be_loaded_by_any_target(self, whole: Output) -> None:
        schemas = whole.schemas
        assert list(schemas) == ["audit_logs", "login_history"]
        opened = []
        for stream, schema in schemas.items():
            assert schema["required"] == ["event_id", "timestamp"]
            for name, column in schema["properties"].items():
                assert name == name.lower()
                shape = {k: v for k, v in column.items() if k != "description"}
                if "object" in column["type"]:
                    opened.append(f"{stream}.{name}")
                    assert shape == {"type": ["object", "null"], "additionalProperties": True}
                elif name in {"event_id", "timestamp"}:
                    assert shape.pop("format", None) == {"timestamp": "date-time"}.get(name)
                    assert shape == {"type": ["string"]}
                else:
                    assert shape in ({"type": ["string", "null"]}, {"type": ["boolean", "null"]})
        assert opened == [
            "audit_logs.message",
            "audit_logs.diff_payload",
            "audit_logs.additional_fields",
            "login_history.additional_fields",
        ]


class TestBounds:
    def test_the_newest_events_are_left_for_the_next_run(self, sandbox: Sandbox) -> None:
        ages = (121, 120.001, 120, 119, 0, -60)
        sandbox.audit.extend(audit_record(-age, f"E{age}") for age in ages)
        first = sync(sandbox).check()
        assert event_names(first) == ["E121", "E120.001"]
        assert first.bookmark("audit_logs") == SETTLED
        sandbox.clock.advance(seconds=300)
        second = sync(sandbox, state=first.state).check()
        assert event_names(second) == ["E120", "E119", "E0", "E-60"]

    def test_the_settling_time_can_be_chosen(self, sandbox: Sandbox) -> None:
        sandbox.audit.extend(audit_record(-age, f"E{age}") for age in (10, 3, 2, 1))
        assert event_names(sync(sandbox, settle_seconds=2)) == ["E10", "E3"]

    def test_a_local_clock_that_is_behind_bounds_the_run(
        self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sandbox.audit.extend(audit_record(-age, f"E{age}") for age in (3_800, 3_700, 600))
        monkeypatch.setattr(TapCelonisAudit, "clock", staticmethod(lambda: NOW_S - 3_600.0))
        output = sync(sandbox).check()
        assert event_names(output) == ["E3800"]
        assert output.bookmark("audit_logs") == "2026-03-01T10:58:00.000000Z"

    def test_a_server_clock_that_is_behind_bounds_the_run(
        self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sandbox.audit.extend(audit_record(-age, f"E{age}") for age in (300, 60))
        monkeypatch.setattr(TapCelonisAudit, "clock", staticmethod(lambda: NOW_S + 3_600.0))
        output = sync(sandbox).check()
        assert event_names(output) == ["E300"]
        assert output.bookmark("audit_logs") == SETTLED

    def test_all_streams_have_the_same_bound(self, sandbox: Sandbox) -> None:
        def age(sandbox: Sandbox, _: Request) -> None:
            sandbox.clock.advance(seconds=60)

        for log in (sandbox.audit, sandbox.logins):
            log.happen(1, within_seconds=3_000)
        sandbox.hook = age
        output = sync(sandbox)
        bounds = {output.bookmark("audit_logs"), output.bookmark("login_history")}
        assert bounds == {"2026-03-01T11:59:00.000000Z"}, "that of the first answer"

    def test_start_and_end_are_half_open(self, sandbox: Sandbox) -> None:
        sandbox.audit.extend(
            audit_record(second, f"E{second}")
            for second in (-7_200.001, -7_200, -5_000, -3_600.001, -3_600)
        )
        output = sync(
            sandbox, start_date="2026-03-01T10:00:00Z", end_date="2026-03-01T12:00:00+01:00"
        ).check()
        assert event_names(output) == ["E-7200", "E-5000", "E-3600.001"]
        assert output.bookmark("audit_logs") == "2026-03-01T11:00:00.000000Z"

    def test_an_end_in_the_future_does_not_unsettle(self, sandbox: Sandbox) -> None:
        sandbox.audit.extend(audit_record(-age, f"E{age}") for age in (600, 60))
        output = sync(sandbox, end_date="2026-03-02").check()
        assert event_names(output) == ["E600"]
        assert output.bookmark("audit_logs") == SETTLED

    def test_a_relative_start_counts_from_this_machines_clock(
        self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(TapCelonisAudit, "clock", staticmethod(lambda: float(NOW_S)))
        sandbox.audit.extend(audit_record(-hours * 3_600, f"E{hours}") for hours in (49, 47, 1))
        assert event_names(sync(sandbox, start_date="2 days ago")) == ["E47", "E1"]

    def test_a_start_that_moves_forward_drops_nothing_of_the_state(self, sandbox: Sandbox) -> None:
        sandbox.audit.add(audit_record(-86_400))
        first = sync(sandbox)
        sandbox.happen(audit=2)
        second = sync(sandbox, state=first.state, start_date="2026-03-01T12:00:00Z").check()
        assert stamps(second, "audit_logs") == truth(
            sandbox.audit.visible[1:], before="2026-03-01T12:08:00.000000Z"
        )

    def test_a_start_that_moves_back_brings_older_history(self, sandbox: Sandbox) -> None:
        sandbox.audit.extend(audit_record(-days * 86_400, f"E{days}") for days in (3, 1))
        first = sync(sandbox, start_date="2026-02-27T12:00:00Z")
        assert event_names(first) == ["E1"]
        second = sync(sandbox, state=first.state)
        assert event_names(second) == ["E3"]
        assert sync(sandbox, state=second.state).records() == []


class TestState:
    def test_a_second_run_without_new_events_emits_no_record(
        self, team: Sandbox, whole: Output
    ) -> None:
        second = sync(team, state=whole.state)
        assert second.records() == []
        assert second.state == whole.state
        assert sync(team, state=second.state).records() == []

    def test_a_first_run_looks_at_a_page_and_others_at_one_record(self, sandbox: Sandbox) -> None:
        sandbox.audit.extend(audit_record(-3_600 - n, f"E{n}") for n in range(5))
        first = sync(sandbox)
        sandbox.happen(audit=1)
        again = len(sandbox.requests)
        sync(sandbox, state=first.state)
        assert [sandbox.requests[n].query["pageSize"] for n in (0, again)] == ["200", "1"]

    def test_new_events_are_emitted_and_nothing_else(self, sandbox: Sandbox) -> None:
        sandbox.audit.extend(audit_record(-3_600 - n, f"E{n}") for n in range(5))
        first = sync(sandbox)
        sandbox.happen(audit=7, logins=3)
        second = sync(sandbox, state=first.state).check()
        assert len(second.records("audit_logs")) == 7
        assert len(second.records("login_history")) == 3
        assert not set(second.ids()) & set(first.ids())

    def test_a_late_event_is_found(self, sandbox: Sandbox) -> None:
        sandbox.audit.extend(audit_record(-3_600 - n, f"E{n}") for n in range(5))
        first = sync(sandbox)
        sandbox.audit.add(audit_record(-3_602.5, "late"))
        second = sync(sandbox, state=first.state).check()
        assert event_names(second) == ["late"]

    def test_states_of_streams_that_this_tap_does_not_know_are_kept(self, team: Sandbox) -> None:
        foreign = {"bookmarks": {"members": {"replication_key_value": "2020"}}}
        output = sync(team, state=foreign)
        assert output.state["bookmarks"]["members"] == {"replication_key_value": "2020"}
        assert stamps(output, "audit_logs") == truth(team.audit.visible)

    def test_state_is_flat(self, whole: Output) -> None:
        for bookmark in whole.state["bookmarks"].values():
            assert all(isinstance(value, str) for value in bookmark.values())

    def test_the_state_of_another_team_is_refused_and_kept(
        self, team: Sandbox, whole: Output, caplog: pytest.LogCaptureFixture
    ) -> None:
        state = deepcopy(whole.state)
        for bookmark in state["bookmarks"].values():
            bookmark["team"] = "other.eu-1.celonis.cloud"
        output = sync(team, state=state, fails="Failed: audit_logs, login_history")
        assert output.records() == []
        assert all(m["value"] == state for m in output.messages if m["type"] == "STATE")
        assert "another team than 127.0.0.1" in caplog.text

    @pytest.mark.parametrize(
        "state",
        [
            [],
            [1],
            {"bookmarks": []},
            {"bookmarks": {"audit_logs": "2026-01-01"}},
            {"bookmarks": None},
            {"bookmarks": {"audit_logs": {"partitions": [1]}}},
            {"bookmarks": {"audit_logs": {"partitions": {}}}},
            {"type": "STATE", "value": {"bookmarks": {}}},
            {"completed": {"singer_state": {"bookmarks": {}}}},
        ],
    )
    def test_what_is_no_state_is_refused(self, team: Sandbox, state: Any) -> None:
        config = {"api_url": team.url, "app_key": team.app_key}
        tap = TapCelonisAudit(config=config)
        with pytest.raises(TapError, match="not a Singer state"):
            tap.load_state(state)

    def test_state_follows_the_records_and_is_never_ahead(
        self, team: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(events_module, "STATE_INTERVAL_SECONDS", 0.0)
        output = sync(team, page_size=5).check()
        states = [message for message in output.messages if message["type"] == "STATE"]
        assert len(states) > 10
        assert_state_behind(output.messages, team)

    def test_a_run_that_fails_in_the_middle_can_be_resumed(self, team: Sandbox) -> None:
        team.requests.clear()
        # One after the other, so that the last request is the same in both runs.
        all_of_it = sync(team, page_size=10, max_parallel_requests=1)
        team.hook = forbid_last_audit_requests(team)
        try:
            first = sync(
                team, page_size=10, max_parallel_requests=1, fails="Failed: audit_logs"
            ).check()
        finally:
            team.hook = None
        second = sync(team, page_size=10, state=first.state).check()
        assert 0 < len(first.ids("audit_logs")) < len(all_of_it.ids("audit_logs"))
        assert first.ids("audit_logs") + second.ids("audit_logs") == all_of_it.ids("audit_logs")
        assert first.ids("login_history") == all_of_it.ids("login_history")
        assert second.ids("login_history") == []


def forbid_last_audit_requests(sandbox: Sandbox) -> Callable[[Sandbox, Request], Answer | None]:
    """Make a hook under which a run gets as far as the last one did, but for its last requests."""
    left = sum(request.path == AUDIT_PATH for request in sandbox.requests)

    def hook(_: Sandbox, request: Request) -> Answer | None:
        nonlocal left
        left -= request.path == AUDIT_PATH
        is_last = request.path == AUDIT_PATH and left < 4
        return Answer(HTTPStatus.FORBIDDEN) if is_last else None

    return hook


def assert_state_behind(messages: Iterable[dict[str, Any]], sandbox: Sandbox) -> None:
    """Check at every STATE that all events before its bookmarks were written before it."""
    sources = {"audit_logs": sandbox.audit.visible, "login_history": sandbox.logins.visible}
    events = {
        stream: [f"{record['timestamp'][:-1]}000Z" for record in records]
        for stream, records in sources.items()
    }
    written: Counter[str] = Counter()
    for message in messages:
        if message["type"] == "RECORD":
            written[message["stream"]] += 1
        elif message["type"] == "BATCH":
            written[message["stream"]] += len(read_batch(message))
        elif message["type"] == "STATE":
            for stream, bookmark in message["value"].get("bookmarks", {}).items():
                until = bookmark.get("replication_key_value", "")
                due = sum(stamp < until for stamp in events[stream])
                assert written[stream] >= due, f"{stream}: {written[stream]} of {due} written"


def batched(output: Output, stream: str) -> list[dict[str, Any]]:
    """Give what the batches of a stream hold."""
    return [
        record
        for message in output.messages
        if message["type"] == "BATCH" and message["stream"] == stream
        for record in read_batch(message)
    ]


def read_batch(message: dict[str, Any]) -> list[dict[str, Any]]:
    files = [Path(url2pathname(urlsplit(path).path)) for path in message["manifest"]]
    lines = [line for file in files for line in gzip.decompress(file.read_bytes()).splitlines()]
    return [json.loads(line) for line in lines]


class TestSelection:
    def test_a_deselected_stream_is_left_alone(self, team: Sandbox) -> None:
        team.requests.clear()
        catalog = select(catalog_of(team), "login_history", selected=False)
        oauth = credentials(team, "oauth")
        output = sync(team, catalog=catalog, **oauth).check()
        assert list(output.schemas) == ["audit_logs"]
        assert stamps(output, "audit_logs") == truth(team.audit.visible)
        assert output.records("login_history") == []
        tokens = [r.form["scope"] for r in team.requests if r.path == TOKEN_PATH]
        assert tokens == ["audit.log:read"]
        assert LOGINS_PATH not in {request.path for request in team.requests}

    def test_deselected_columns_are_left_out_but_never_the_key(
        self, team: Sandbox, whole: Output
    ) -> None:
        catalog = catalog_of(team)
        gone = {"message", "user_id", "actor_email", "event_id"}
        for column in gone:
            select(catalog, "audit_logs", column, selected=False)
        output = sync(team, catalog=catalog).check()
        columns = set(output.schemas["audit_logs"]["properties"])
        assert columns == {"event_id"} | (set(whole.schemas["audit_logs"]["properties"]) - gone)
        assert all(set(record) == columns for record in output.records("audit_logs"))

    def test_streams_not_in_the_catalog_are_not_read(self, team: Sandbox) -> None:
        catalog = catalog_of(team)
        catalog["streams"] = [
            entry for entry in catalog["streams"] if entry["tap_stream_id"] == "login_history"
        ]
        output = sync(team, catalog=select(catalog, "login_history", selected=True)).check()
        assert list(output.schemas) == ["login_history"]
        assert stamps(output, "login_history") == truth(team.logins.visible)


class TestSdkFeatures:
    def test_stream_maps_rename_hash_and_drop(self, team: Sandbox) -> None:
        maps = {
            "audit_logs": {
                "__alias__": "celonis_audit",
                "actor_hash": "md5(actor_email or '')",
                "user_id": None,
                "actor_email": None,
            },
            "login_history": "__NULL__",
        }
        output = sync(team, stream_maps=maps).check()
        assert list(output.schemas) == ["celonis_audit"]
        columns = set(output.schemas["celonis_audit"]["properties"])
        assert "actor_hash" in columns
        assert not columns & {"user_id", "actor_email"}
        assert stamps(output, "celonis_audit") == truth(team.audit.visible)
        assert all(len(record["actor_hash"]) == 32 for record in output.records())

    def test_a_second_run_with_stream_maps_emits_no_record(self, team: Sandbox) -> None:
        maps = {"audit_logs": {"user_id": None}}
        first = sync(team, stream_maps=maps)
        assert sync(team, stream_maps=maps, state=first.state).records() == []

    @pytest.mark.parametrize("depth", [0, 1, 3])
    def test_flattened_records_fit_their_schemas(self, sandbox: Sandbox, depth: int) -> None:
        sandbox.audit.add(TWIN)
        sandbox.audit.add(audit_record(-600, traceId={"a": {"b": 1}}))
        output = sync(sandbox, flattening_enabled=True, flattening_max_depth=depth).check()
        twin, other = output.records("audit_logs")
        message, fields = twin["message"], other["additional_fields"]
        assert (message if depth == 0 else json.loads(message)) == TWIN["message"]
        assert (fields if depth == 0 else json.loads(fields)) == {"traceId": {"a": {"b": 1}}}

    @pytest.mark.parametrize("batch_size", [90, 10_000])
    def test_batches_hold_every_record_and_state_stays_behind(
        self, team: Sandbox, whole: Output, tmp_path: Path, batch_size: int
    ) -> None:
        output = sync(team, batch_config=batch_config(tmp_path, batch_size))
        validators = {
            stream: Draft202012Validator(
                schema | {"additionalProperties": False}, format_checker=FORMATS
            )
            for stream, schema in output.schemas.items()
        }
        assert output.records() == []
        for stream, validator in validators.items():
            records = batched(output, stream)
            assert records == whole.records(stream)
            for record in records:
                validator.validate(record)
        assert output.state == whole.state
        assert_state_behind(output.messages, team)

    @pytest.mark.parametrize(
        "config",
        [
            {"stream_maps": {"audit_logs": {"user_id": "sha256(user_id or '')"}}},
            {"stream_maps": {"audit_logs": {"__filter__": "actor_type == 'USER'"}}},
            {"stream_maps": {"audit_logs": {"__alias__": "log", "port": "__NULL__"}}},
            {"stream_maps": {"login_history": None}},
            {"flattening_enabled": True, "flattening_max_depth": 1},
            {},
        ],
        ids=repr,
    )
    def test_batches_hold_what_records_would(
        self, team: Sandbox, whole: Output, tmp_path: Path, config: dict[str, Any]
    ) -> None:
        """What is deselected, mapped, filtered out or flattened is so in files, too."""
        catalog = select(catalog_of(team), "audit_logs", "message", selected=False)
        plain = sync(team, catalog=catalog, **config)
        output = sync(team, catalog=catalog, batch_config=batch_config(tmp_path, 90), **config)
        assert output.schemas == plain.schemas
        written = {stream: batched(output, stream) for stream in plain.schemas}
        assert written == {stream: plain.records(stream) for stream in plain.schemas}
        assert written != {stream: whole.records(stream) for stream in plain.schemas}
        assert output.state == plain.state

    def test_a_map_that_fails_in_a_batch_quotes_no_record(
        self, team: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        maps = {"audit_logs": {"x": "int(user_id)"}}
        output = sync(
            team,
            stream_maps=maps,
            batch_config=batch_config(tmp_path, 90),
            fails="^Failed: audit_logs",
        )
        assert {m["stream"] for m in output.messages if m["type"] == "BATCH"} == {"login_history"}
        assert "stream_maps fails for a record (ValueError). Let its" in caplog.text
        assert not any(record["userId"] in caplog.text for record in team.audit.visible)

    @pytest.mark.parametrize("batch_size", [20, 10_000])
    def test_a_map_that_fails_in_a_batch_fails_its_stream_only(
        self, team: Sandbox, whole: Output, tmp_path: Path, batch_size: int
    ) -> None:
        late = whole.records("audit_logs")[-5]["event_id"]
        maps = {"audit_logs": {"x": f"1 // (0 if event_id == '{late}' else 1)"}}
        settings: dict[str, Any] = {
            "page_size": 10,
            "batch_config": batch_config(tmp_path, batch_size),
        }
        first = sync(team, fails="^Failed: audit_logs", stream_maps=maps, **settings)
        assert first.bookmark("login_history") == SETTLED
        assert_state_behind(first.messages, team)
        second = sync(team, state=first.state, **settings)
        assert_state_behind([*first.messages, *second.messages], team)
        for stream in ("audit_logs", "login_history"):
            batches = [batched(output, stream) for output in (first, second)]
            assert batches[0] or stream == "audit_logs"
            ids = {record["event_id"] for batch in batches for record in batch}
            assert ids == {record["event_id"] for record in whole.records(stream)}

    def test_a_batch_run_that_fails_writes_what_it_read(
        self, team: Sandbox, tmp_path: Path
    ) -> None:
        team.requests.clear()
        sync(team, page_size=10, max_parallel_requests=1)
        team.hook = forbid_last_audit_requests(team)
        try:
            output = sync(
                team,
                page_size=10,
                max_parallel_requests=1,
                batch_config=batch_config(tmp_path, 10_000),
                fails="Failed: audit_logs",
            )
        finally:
            team.hook = None
        assert_state_behind(output.messages, team)
        assert output.bookmark("audit_logs") < SETTLED
        assert output.bookmark("login_history") == SETTLED


def batch_config(folder: Path, batch_size: int) -> dict[str, Any]:
    return {
        "encoding": {"format": "jsonl", "compression": "gzip"},
        "storage": {"root": folder.as_uri(), "prefix": "test-"},
        "batch_size": batch_size,
    }


class TestFailures:
    @pytest.mark.parametrize(
        ("granted", "refused", "works"),
        [("logins", "audit_logs", "login_history"), ("audit", "login_history", "audit_logs")],
    )
    @pytest.mark.parametrize("refusal", ["403", "401"])
    def test_a_forbidden_stream_does_not_stop_the_other(
        self,
        caplog: pytest.LogCaptureFixture,
        granted: str,
        refused: str,
        works: str,
        refusal: Any,
    ) -> None:
        with Sandbox(days=2, now=NOW, permissions=[granted], refusal=refusal) as sandbox:
            output = sync(sandbox, fails=rf"^Failed: {refused}\. See above\.$").check()
            source = sandbox.audit if works == "audit_logs" else sandbox.logins
            assert stamps(output, works) == truth(source.visible)
        assert len(output.records(works)) > 50
        assert output.records(refused) == []
        assert output.bookmark(works) == SETTLED
        assert "replication_key_value" not in output.state["bookmarks"].get(refused, {})
        (error,) = (r.getMessage() for r in caplog.records if r.levelname == "ERROR")
        assert error.startswith(f"{refused}: Celonis refused")
        assert f"({refusal})" in error
        assert {"audit_logs": "Use Audit Logs API", "login_history": "Use Login History API"}[
            refused
        ] in error

    def test_nothing_is_written_when_every_stream_is_forbidden(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        with Sandbox(days=1, now=NOW, permissions=[]) as sandbox:
            output = sync(sandbox, fails="^Failed: audit_logs, login_history")
        assert output.lines == []
        errors = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
        assert [error.partition(":")[0] for error in errors] == ["audit_logs", "login_history"]

    def test_a_scope_that_is_missing_does_not_stop_the_other_stream(self) -> None:
        with Sandbox(days=1, now=NOW, scopes=["audit.log:read"]) as sandbox:
            oauth = credentials(sandbox, "oauth")
            output = sync(sandbox, fails="^Failed: login_history", **oauth).check()
            assert stamps(output, "audit_logs") == truth(sandbox.audit.visible)

    def test_a_stream_map_that_fails_does_not_stop_the_other_stream(self, team: Sandbox) -> None:
        maps = {"audit_logs": {"number": "int(user_id)"}}
        output = sync(team, fails="^Failed: audit_logs", stream_maps=maps).check()
        assert stamps(output, "login_history") == truth(team.logins.visible)
        assert "replication_key_value" not in output.state["bookmarks"]["audit_logs"]

    def test_a_server_without_a_clock_is_asked_for_it_once(self, team: Sandbox) -> None:
        config = {"api_url": team.url, "app_key": team.app_key}
        tap = TapCelonisAudit(config=config)
        peeked: list[str] = []
        stream = cast("Stream", SimpleNamespace(peek=lambda: peeked.append("once")))
        with contextlib.closing(tap):
            assert tap.client.server_time is None
            assert tap.run_time(stream) == tap.run_time(stream)
        assert peeked == ["once"]

    def test_tokens_that_are_revoked_in_mid_run_are_renewed(self, team: Sandbox) -> None:
        calls = 0

        def revoke(sandbox: Sandbox, request: Request) -> None:
            nonlocal calls
            calls += request.path == AUDIT_PATH
            if request.path == AUDIT_PATH and calls in {5, 30}:
                sandbox.revoke_tokens()

        oauth = credentials(team, "oauth")
        team.requests.clear()
        team.hook = revoke
        try:
            # One after the other: a retry must not be what the next revocation meets.
            output = sync(team, page_size=5, max_parallel_requests=1, **oauth).check()
        finally:
            team.hook = None
        assert stamps(output, "audit_logs") == truth(team.audit.visible)
        tokens = Counter(r.form["scope"] for r in team.requests if r.path == TOKEN_PATH)
        assert tokens["audit.log:read"] == 3

    def test_passing_faults_leave_no_trace_in_the_records(
        self, team: Sandbox, whole: Output
    ) -> None:
        faults: list[Answer | Fault] = [
            Fault.drop,
            Fault.truncate,
            Answer(HTTPStatus.OK, {"content-type": "application/json"}, b"{"),
            Answer(HTTPStatus.INTERNAL_SERVER_ERROR),
            Answer(HTTPStatus.TOO_MANY_REQUESTS, {"x-ratelimit-reset": "1"}),
        ]
        calls = 0

        def trouble(_: Sandbox, __: Request) -> Answer | Fault | None:
            nonlocal calls
            calls += 1
            return faults[calls // 3 % len(faults)] if calls % 3 == 2 else None

        naps: list[float] = []
        team.hook = trouble
        try:
            rough = sync(team, naps=naps, page_size=10).check()
        finally:
            team.hook = None
        assert len(naps) > 2 * len(faults)
        assert rough.records() == whole.records()
        assert rough.state == whole.state

    def test_a_host_that_fails_every_stream_is_told_before_the_first_message(
        self, team: Sandbox
    ) -> None:
        team.hook = lambda _, __: Answer(HTTPStatus.FOUND, {"location": "https://login"})
        try:
            output = sync(team, fails="redirects instead of answering")
        finally:
            team.hook = None
        assert output.lines == []

    def test_an_empty_team_is_no_failure(self, sandbox: Sandbox) -> None:
        output = sync(sandbox).check()
        assert output.records() == []
        # What was never seen cannot be told from what is hidden.
        assert output.bookmark("audit_logs") == "2000-01-01T00:00:00.000000Z"


WAYS = ("app_key", "api_key", "oauth")


def credentials(sandbox: Sandbox, way: str) -> dict[str, Any]:
    if way == "oauth":
        return {"client_id": sandbox.client_id, "client_secret": sandbox.client_secret}
    return {way: getattr(sandbox, way)}


def assert_hidden(text: str, secrets: Iterable[str]) -> None:
    for secret in secrets:
        for spelling in spellings(secret):
            assert spelling not in text
    assert "sandbox-token-" not in text
    assert base64.b64encode(b"sandbox-token-").decode()[:16] not in text


TROUBLE: dict[str, Answer | Fault | None] = {
    "none": None,
    "400": Answer(HTTPStatus.BAD_REQUEST),
    "401": Answer(HTTPStatus.UNAUTHORIZED),
    "403": Answer(HTTPStatus.FORBIDDEN),
    "404": Answer(HTTPStatus.NOT_FOUND),
    "429": Answer(HTTPStatus.TOO_MANY_REQUESTS),
    "500": Answer(HTTPStatus.INTERNAL_SERVER_ERROR),
    "302": Answer(HTTPStatus.FOUND, {"location": "/login"}),
    "drop": Fault.drop,
    "truncate": Fault.truncate,
    "garbage": Fault.garbage,
}


class TestDiscretion:
    @pytest.mark.parametrize("at", ["api", "token"])
    @pytest.mark.parametrize("trouble", TROUBLE)
    @pytest.mark.parametrize("way", WAYS)
    def test_no_credential_is_logged_or_written(
        self,
        sandbox: Sandbox,
        caplog: pytest.LogCaptureFixture,
        way: str,
        trouble: str,
        at: str,
    ) -> None:
        caplog.set_level(logging.DEBUG)
        sandbox.happen(audit=3, logins=3)
        answer = TROUBLE[trouble]
        sandbox.hook = lambda _, request: (
            answer if (request.path == TOKEN_PATH) == (at == "token") else None
        )
        given = credentials(sandbox, way)
        fails = None if answer is None or (at == "token" and way != "oauth") else "."
        output = sync(sandbox, fails=fails, **given)
        assert "urllib3" in {record.name.partition(".")[0] for record in caplog.records}
        assert_hidden("\n".join(output.lines) + caplog.text, given.values())
        for record in caplog.records:
            assert_hidden(f"{record.args}{record.exc_info}{record.__dict__}", given.values())

    @pytest.mark.parametrize("way", WAYS)
    def test_no_credential_is_written_at_debug_level(
        self, team: Sandbox, tmp_path: Path, way: str
    ) -> None:
        given = credentials(team, way)
        run = Command.of(tmp_path, team, **given).run(debug=True)
        assert run.status == 0
        assert f"GET {AUDIT_PATH}" in run.err, "urllib3 tells of its requests"
        assert_hidden(run.out + run.err, given.values())

    @pytest.mark.parametrize("way", WAYS)
    def test_a_wrong_credential_is_not_shown_at_debug_level(
        self, team: Sandbox, tmp_path: Path, way: str
    ) -> None:
        right = credentials(team, way)
        wrong = {name: f"wr0ng+/{name}=&%" for name in right if name != "client_id"}
        run = Command.of(tmp_path, team, **right | wrong).run(debug=True)
        assert run.status == 1
        assert "| DEBUG " in run.err
        assert len([line for line in run.errors if "| ERROR " in line]) == 1
        assert_hidden(run.out + run.err, {*right.values(), *wrong.values()})


class TestCommand:
    def test_version(self, tmp_path: Path) -> None:
        with Command.of(tmp_path).start("--version") as process:
            run = finish(process)
        assert (run.status, run.err) == (0, "")
        assert run.out.startswith("tap-celonis-audit v")

    def test_config_catalog_and_state_are_files(self, sandbox: Sandbox, tmp_path: Path) -> None:
        sandbox.happen(audit=5, logins=4)
        command = Command.of(tmp_path, sandbox, app_key=sandbox.app_key)
        catalog, state = tmp_path / "catalog.json", tmp_path / "state.json"
        discovery = command.run("--discover")
        assert (discovery.status, discovery.errors) == (0, [])
        found = json.loads(discovery.out)
        for stream in STREAMS:
            select(found, stream.name, selected=False)
        catalog.write_text(json.dumps(select(found, "audit_logs", selected=True)))

        first = command.run("--catalog", catalog)
        assert (first.status, first.errors) == (0, [])
        output = Output(first.out).check()
        assert len(output.records("audit_logs")) == len(output.records()) == 5
        state.write_text(json.dumps(output.state))

        second = command.run("--catalog", catalog, "--state", state)
        assert (second.status, second.errors) == (0, [])
        assert Output(second.out).records() == []
        assert Output(second.out).state == output.state

        sandbox.happen(audit=2)
        third = command.run("--catalog", catalog, "--state", state)
        assert len(Output(third.out).check().records()) == 2

    def test_a_missing_setting_is_one_line(self, tmp_path: Path) -> None:
        run = Command.of(tmp_path, app_key="s3cret").run()
        assert_one_line(run, "api_url is missing")

    def test_a_refused_connection_is_one_line(self, tmp_path: Path, closed_port: int) -> None:
        url = f"http://127.0.0.1:{closed_port}"
        run = Command.of(tmp_path, api_url=url, app_key="s3cret", max_retries=0).run()
        assert_one_line(run, "refuses connections")


Invoke = Callable[..., Finished]


@pytest.fixture
def invoke(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> Generator[Invoke]:
    """Give the command line, run in this process; settings come from the environment."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(_dict_config, "find_dotenv", str)  # a developer's own .env stays out
    for name in os.environ:
        if name.startswith("TAP_CELONIS_AUDIT_"):
            monkeypatch.delenv(name)
    caplog.set_level(logging.INFO)

    def invoke(*arguments: str | Path, **settings: str) -> Finished:
        for name, value in settings.items():
            monkeypatch.setenv(f"TAP_CELONIS_AUDIT_{name.upper()}", value)
        with pytest.raises(SystemExit) as end:
            TapCelonisAudit.get_singer_command().main([str(each) for each in arguments])
        code = end.value.code
        shown = capsys.readouterr()
        lines = [f"| {r.levelname} {ConsoleFormatter().format(r)}" for r in caplog.records]
        status = code if isinstance(code, int) else None
        return Finished(status, shown.out, "\n".join([*lines, *shown.err.splitlines()]))

    yield invoke
    logging.captureWarnings(capture=False)


class TestCommandLine:
    @pytest.mark.parametrize("style", ["text", "json", "markdown"])
    def test_about(self, invoke: Invoke, style: str) -> None:
        run = invoke("--about", *([] if style == "text" else [f"--format={style}"]))
        assert (run.status, run.errors) == (0, [])
        for name in ("tap-celonis-audit", "api_url", "settle_seconds", "stream_maps"):
            assert name in run.out
        if style == "json":
            settings = json.loads(run.out)["settings"]["properties"]
            assert {name for name, spec in settings.items() if spec.get("secret")} == {
                "app_key",
                "api_key",
                "client_id",
                "client_secret",
                "pseudonymization_key",
            }

    def test_discover_needs_neither_settings_nor_network(self, invoke: Invoke) -> None:
        run = invoke("--discover")
        assert run.status == 0
        streams = json.loads(run.out)["streams"]
        assert {s["tap_stream_id"]: s["key_properties"] for s in streams} == {
            "audit_logs": ["event_id"],
            "login_history": ["event_id"],
            "members": ["team", "user_id"],
            "permissions": ["permission_id"],
            "studio_adoption": ["event_id"],
        }
        logs = [s for s in streams if s["key_properties"] == ["event_id"]]
        assert {(s["replication_key"], s["replication_method"]) for s in logs} == {
            ("timestamp", "INCREMENTAL")
        }
        tables = [s for s in streams if s["key_properties"] != ["event_id"]]
        assert {s["replication_method"] for s in tables} == {"FULL_TABLE"}

    def test_the_connection_test_asks_for_as_little_as_it_can_of_each_stream(
        self, team: Sandbox, invoke: Invoke
    ) -> None:
        team.requests.clear()
        run = invoke("--config=ENV", "--test", api_url=team.url, app_key=team.app_key)
        assert (run.status, run.out, run.errors) == (0, "", [])
        assert f"audit_logs: works, {len(team.audit)} records" in run.err
        assert f"login_history: works, {len(team.logins)} records" in run.err
        assert f"members: works, {len(team.members)} records" in run.err
        assert f"permissions: works, {len(team.grants)} records" in run.err
        assert [(r.path, r.query.get("pageSize")) for r in team.requests] == [
            (AUDIT_PATH, "1"),
            (LOGINS_PATH, "1"),
            (MembersStream.api.path, "1"),
            (PermissionsStream.api.path, None),
            (StudioAdoptionStream.api.path, None),
        ]
        assert team.requests[-1].query["limit"] == "1"

    def test_the_connection_test_names_the_stream_that_is_forbidden(self, invoke: Invoke) -> None:
        others = ["audit", "members", "permissions", "adoption"]
        with Sandbox(days=1, now=NOW, permissions=others) as sandbox:
            run = invoke("--config=ENV", "--test", api_url=sandbox.url, app_key=sandbox.app_key)
        assert (run.status, run.out) == (1, "")
        assert "audit_logs: works" in run.err
        told, summary = run.errors
        assert "login_history: not permitted. Celonis refused access (403)" in told
        assert "Failed: login_history" in summary

    def test_the_connection_test_tells_a_dead_host_once(
        self, invoke: Invoke, closed_port: int
    ) -> None:
        url = f"http://127.0.0.1:{closed_port}"
        run = invoke("--config=ENV", "--test", api_url=url, app_key="s3cret", max_retries="0")
        assert_one_line(run, "refuses connections")

    def test_schemas_can_be_shown_without_a_request(self, team: Sandbox, invoke: Invoke) -> None:
        team.requests.clear()
        run = invoke("--config=ENV", "--test=schema", api_url=team.url, app_key=team.app_key)
        assert (run.status, run.errors) == (0, [])
        assert {m["type"] for m in Output(run.out).messages} == {"SCHEMA"}
        assert team.requests == []

    def test_settings_come_from_the_environment(self, sandbox: Sandbox, invoke: Invoke) -> None:
        sandbox.happen(audit=3)
        settings = {"page_size": "2", "user_agent": "from-the-environment"}
        run = invoke("--config=ENV", api_url=sandbox.url, app_key=sandbox.app_key, **settings)
        assert (run.status, run.errors) == (0, [])
        assert len(Output(run.out).check().records("audit_logs")) == 3
        assert {r.headers["user-agent"] for r in sandbox.requests} == {"from-the-environment"}
        assert {r.query.get("pageSize") for r in sandbox.requests} == {"2", None}

    def test_a_url_with_a_path_is_reduced(self, sandbox: Sandbox, invoke: Invoke) -> None:
        url = f"{sandbox.url}/ui/team/permissions?tab=users#top"
        run = invoke("--config=ENV", api_url=url, app_key=sandbox.app_key)
        assert (run.status, run.errors) == (0, [])
        assert {request.path for request in sandbox.requests} == {s.api.path for s in STREAMS}


@pytest.fixture(scope="module")
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


GOOD = {"api_url": "https://acme.eu-1.celonis.cloud", "app_key": "s3cret"}
#: What is given in the environment, and what the one line of the error says.
WRONG_SETTINGS: dict[str, tuple[dict[str, str], str]] = {
    "no URL": ({"app_key": "s3cret"}, "api_url is missing"),
    "no way in": ({"api_url": GOOD["api_url"]}, "No way to authenticate"),
    "two ways in": (GOOD | {"api_key": "s3cret"}, "configured at once"),
    "a wrong URL": (GOOD | {"api_url": "s3cret"}, "api_url is not a URL"),
    "http": (GOOD | {"api_url": "http://acme.eu-1.celonis.cloud"}, "https://"),
    "a password in the URL": (GOOD | {"api_url": "https://u:s3cret@acme"}, "user name"),
    "no date": (GOOD | {"start_date": "soon"}, "start_date is not a date"),
    "no number": (GOOD | {"page_size": "s3cret"}, "page_size must be a whole number"),
    "a switch that is none": (GOOD | {"include_internal_members": "s3cret"}, "true or false"),
    "a number out of range": (GOOD | {"page_size": "0"}, "page_size must be at least 1"),
    "maps that are no JSON": (GOOD | {"stream_maps": "{s3cret"}, "stream_maps"),
    "a map of no stream": (
        GOOD | {"stream_maps": '{"audit_log": {"user_id": null}}'},
        '"audit_log" in stream_maps is not a stream of this tap: did you mean "audit_logs"?',
    ),
    "a map that is none": (
        GOOD | {"stream_maps": '{"audit_logs": 7654321}'},
        "stream_maps holds something that is no map",
    ),
    "no expression": (
        GOOD | {"stream_maps": '{"audit_logs": {"user_id": "s3cret("}}'},
        "stream_maps holds something that is no map",
    ),
    "an unknown host": (
        GOOD | {"api_url": "https://acme.celonis.invalid", "max_retries": "0"},
        "There is no host acme.celonis.invalid",
    ),
}
#: What a file holds, the option that names it, and what the one line of the error says.
WRONG_FILES: dict[str, tuple[bytes | None, str, str]] = {
    "a config that is missing": (None, "--config", "given.json"),
    "a config that is no JSON": (b'{"app_key": "s3cret', "--config", "given.json"),
    "an empty config": (b"", "--config", "given.json"),
    "a config that is no object": (b'["s3cret"]', "--config", "given.json"),
    "a config that is no text": (b'{"app_key": "\xff"}', "--config", "given.json"),
    "a misspelt setting": (
        b'{"api_url": "https://acme", "app_key": "s3cret", "pagesize": 7654321}',
        "--config",
        'did you mean "page_size"?',
    ),
    "a value of the wrong type": (
        b'{"api_url": "https://acme", "app_key": 7654321}',
        "--config",
        "app_key must be a text",
    ),
    "a state that is no JSON": (b"{nope", "--state", "given.json"),
    "an empty state": (b"", "--state", "given.json"),
    "a state that is no object": (b"[1]", "--state", "state"),
    "a catalog that is no JSON": (b"{nope", "--catalog", "given.json"),
    "a catalog that is no object": (b"[1]", "--catalog", "catalog"),
    "a catalog without streams": (b"{}", "--catalog", "given.json is not a Singer catalog"),
    "a catalog of nothing": (b'{"streams": null}', "--catalog", "not a Singer catalog"),
    "a catalog of numbers": (b'{"streams": [7]}', "--catalog", "not a Singer catalog"),
    "a catalog of nameless streams": (b'{"streams": [{}]}', "--catalog", "not a Singer catalog"),
    "a catalog with a broken schema": (
        b'{"streams": [{"tap_stream_id": "audit_logs", "schema": "s3cret"}]}',
        "--catalog",
        "not a Singer catalog",
    ),
    "a catalog with broken metadata": (
        b'{"streams": [{"tap_stream_id": "audit_logs", "metadata": [{"breadcrumb": []}]}]}',
        "--catalog",
        "not a Singer catalog",
    ),
    "a catalog of many brackets": (b"[" * 100_000, "--catalog", "not a JSON object"),
    "a message for a state": (
        b'{"type": "STATE", "value": {"bookmarks": {}}}',
        "--state",
        "Give the value of the last STATE message",
    ),
}


def assert_one_line(run: Finished, text: str) -> None:
    """Check that a failure is told as it should be."""
    assert run.status not in {0, None}
    assert run.out == ""
    assert "Traceback" not in run.err
    (error,) = run.errors
    assert "| ERROR " in error
    assert text in error
    for secret in ("s3cret", "7654321"):
        assert secret not in run.err


class TestFailureLines:
    @pytest.mark.parametrize("case", WRONG_SETTINGS)
    def test_a_wrong_setting_is_one_line(self, invoke: Invoke, case: str) -> None:
        settings, text = WRONG_SETTINGS[case]
        assert_one_line(invoke("--config=ENV", **settings), text)

    @pytest.mark.parametrize("case", WRONG_FILES)
    def test_a_wrong_file_is_one_line(
        self, team: Sandbox, invoke: Invoke, tmp_path: Path, case: str
    ) -> None:
        content, option, text = WRONG_FILES[case]
        path = tmp_path / "given.json"
        if content is not None:
            path.write_bytes(content)
        if option == "--config":
            run = invoke(option, path)
        else:
            run = invoke("--config=ENV", option, path, api_url=team.url, app_key=team.app_key)
        assert_one_line(run, text)

    def test_a_folder_is_no_config(self, invoke: Invoke, tmp_path: Path) -> None:
        assert_one_line(invoke("--config", tmp_path), tmp_path.name)

    @pytest.mark.parametrize("way", ["app_key", "api_key"])
    def test_a_bad_key_is_one_line(self, team: Sandbox, invoke: Invoke, way: str) -> None:
        run = invoke("--config=ENV", api_url=team.url, **{way: "s3cret"})
        assert_one_line(run, "Celonis refused the credentials (401)")

    def test_a_bad_oauth_client_is_one_line(self, team: Sandbox, invoke: Invoke) -> None:
        run = invoke("--config=ENV", api_url=team.url, client_id="c", client_secret="s3cret")
        assert_one_line(run, "Celonis refused the OAuth client (401)")

    def test_a_web_page_is_one_line(self, sandbox: Sandbox, invoke: Invoke) -> None:
        sandbox.hook = lambda _, __: Fault.garbage
        run = invoke("--config=ENV", api_url=sandbox.url, app_key="s3cret")
        assert_one_line(run, "web page instead of data")


class Stall:
    """A hook that lets a sandbox fall silent at one request to the audit log."""

    def __init__(self, at: int) -> None:
        self.reached = threading.Event()
        self._left = at

    def __call__(self, _: Sandbox, request: Request) -> Fault | None:
        if request.path != AUDIT_PATH:
            return None
        self._left -= 1
        if self._left:
            return None
        self.reached.set()
        return Fault.hang(TIMEOUT_SECONDS)


SIGNALS = [(signal.SIGTERM, 143), (signal.SIGINT, 130)]


class TestEnd:
    @pytest.fixture
    def busy(self) -> Generator[Sandbox]:
        with Sandbox(days=3, now=NOW) as sandbox:
            yield sandbox

    def stop(
        self, sandbox: Sandbox, folder: Path, number: signal.Signals, status: int, **settings: Any
    ) -> Output:
        """Send a signal to a tap that waits for the answer to its last request but a few."""
        # One request after the other: all that came before the last was written by then.
        settings |= {"page_size": 10, "max_parallel_requests": 1}
        sync(sandbox, page_size=10, max_parallel_requests=1)
        stall = Stall(at=sum(request.path == AUDIT_PATH for request in sandbox.requests) - 2)
        sandbox.hook = stall
        command = Command.of(folder, sandbox, app_key=sandbox.app_key, **settings)
        read: list[bytes] = []
        with command.sync() as process:
            assert process.stdout is not None
            assert process.stderr is not None
            reader = threading.Thread(target=drain, args=(process.stdout, read))
            reader.start()
            try:
                assert stall.reached.wait(TIMEOUT_SECONDS)
                process.send_signal(number)
                assert process.wait(TIMEOUT_SECONDS) == status
            finally:
                process.kill()
                reader.join(TIMEOUT_SECONDS)
                sandbox.hook = None
            err = process.stderr.read().decode()
        assert "Traceback" not in err
        assert number.name in err
        out = b"".join(read).decode()
        assert out.endswith("\n")
        return Output(out)

    @pytest.mark.parametrize(("number", "status"), SIGNALS)
    def test_a_signal_while_waiting_leaves_a_true_state(
        self, busy: Sandbox, tmp_path: Path, number: signal.Signals, status: int
    ) -> None:
        first = self.stop(busy, tmp_path, number, status).check()
        assert first.messages[-1]["type"] == "STATE"
        assert_state_behind(first.messages, busy)
        assert first.bookmark("audit_logs") > first.records("audit_logs")[0]["timestamp"]

        second = sync(busy, state=first.state).check()
        both = stamps(first, "audit_logs") + stamps(second, "audit_logs")
        assert both == truth(busy.audit.visible)
        assert not set(first.ids()) & set(second.ids()), "it ended at a window's border"

    def test_a_signal_in_batch_mode_does_not_lose_what_waits(
        self, busy: Sandbox, tmp_path: Path
    ) -> None:
        config = batch_config(tmp_path, 10_000)
        output = self.stop(busy, tmp_path, signal.SIGTERM, 143, batch_config=config)
        assert_state_behind(output.messages, busy)

    @pytest.mark.parametrize(("number", "status"), SIGNALS)
    def test_a_signal_while_writing_leaves_whole_lines(
        self, busy: Sandbox, tmp_path: Path, number: signal.Signals, status: int
    ) -> None:
        with Command.of(tmp_path, busy, app_key=busy.app_key).sync() as process:
            assert process.stdout is not None
            read = b"".join(process.stdout.readline() for _ in range(9))
            # Nobody reads now, so the tap fills the pipe and waits in the middle of a line.
            wait_until_full(process.stdout.fileno())
            process.send_signal(number)
            run = finish(process, read=read)
        assert run.status == status
        assert run.out.endswith("\n")
        assert "Traceback" not in run.err
        output = Output(run.out).check()
        assert_state_behind(output.messages, busy)
        assert 0 < len(output.ids("audit_logs")) < truth(busy.audit.visible).total()

    def test_a_signal_before_the_first_answer_writes_no_record(
        self, busy: Sandbox, tmp_path: Path
    ) -> None:
        stall = Stall(at=1)
        busy.hook = stall
        with Command.of(tmp_path, busy, app_key=busy.app_key).sync() as process:
            assert stall.reached.wait(TIMEOUT_SECONDS)
            process.send_signal(signal.SIGTERM)
            run = finish(process)
        assert run.status == 143
        assert "Traceback" not in run.err
        assert Output(run.out).records() == []

    def test_a_target_that_stops_reading_is_one_line(self, busy: Sandbox, tmp_path: Path) -> None:
        with Command.of(tmp_path, busy, app_key=busy.app_key).sync() as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline().startswith(b'{"type":"SCHEMA"')
            process.stdout.close()
            err = process.stderr.read().decode()
            status = process.wait(TIMEOUT_SECONDS)
        assert_one_line(Finished(status, "", err), "The target stopped reading")


def drain(stream: IO[bytes], into: list[bytes]) -> None:
    into.extend(iter(lambda: stream.read(65_536), b""))


def wait_until_full(pipe: int) -> None:
    """Wait until nothing more comes into a pipe that holds something: who writes to it waits."""
    waiting, still = 0, 0
    for _ in range(TIMEOUT_SECONDS * 20):
        before = waiting
        waiting = int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4), sys.byteorder)
        still = still + 1 if waiting == before > 0 else 0
        if still == 8:
            return
        threading.Event().wait(0.05)
    raise TimeoutError
