"""Rows are written straight where nothing is done to them, byte for byte as the SDK writes them.

Every configuration runs twice: as it is, and with the SDK's own way of writing a record.
"""

from __future__ import annotations

import gzip
import json
import re
import signal
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest
import singer_sdk
from hypothesis import given, settings
from hypothesis import strategies as st
from singer_sdk.contrib.msgspec import MsgSpecWriter
from singer_sdk.singerlib import RecordMessage

from tap_celonis_audit import sdk
from tap_celonis_audit.sandbox import Sandbox
from tap_celonis_audit.streams import events
from tap_celonis_audit.tap import TapCelonisAudit

if TYPE_CHECKING:
    from collections.abc import Generator

NOW = "2026-03-01T12:00:00Z"
EXTRACTED = re.compile(rb'"time_extracted":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z"}\n')
ODD = {
    "userId": "8161c24e-2b32-44eb-bedb-ede2267be989 (zoë@example.com)",
    "timestamp": "2026-02-28T14:52:10.903Z",
    "message": {"nodeName": '売上 "</" \u2028', "list": [{"a": None}], "ratio": 1e300, "id": 2**70},
    "diffPayload": [1, 2.5, None],
    "ipAddress": "",
    "port": 8888,
    "traceId": {"deep": {"er": [True]}},
}

Breadcrumb = tuple[str, ...]


@pytest.fixture(scope="module")
def team() -> Generator[Sandbox]:
    with Sandbox(days=1, now=NOW) as sandbox:
        sandbox.audit.extend([ODD, ODD])
        yield sandbox


@pytest.fixture(autouse=True)
def _like_a_command(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Write every state, not what is due by the clock; give pytest its signals back."""
    monkeypatch.setattr(events, "STATE_INTERVAL_SECONDS", 0.0)
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


class Bytes(sdk.LineWriter):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def flush(self) -> None:
        self.written += self._waiting
        self._waiting.clear()


#: The streams whose rows are looked at; all are compared.
LOGS = {"audit_logs", "login_history"}


def run(
    team: Sandbox, config: dict[str, Any], catalog: dict[str, Any] | None
) -> tuple[bytes, dict[str, bool]]:
    """Give what the tap writes, but for times and names of files; and which streams go straight."""
    writer = Bytes()
    tap = TapCelonisAudit(
        config={"api_url": team.url, "app_key": team.app_key, "page_size": 50} | deepcopy(config),
        catalog=deepcopy(catalog),
        message_writer=writer,
    )
    try:
        tap.sync_all()
    finally:
        tap.client.close()
    straight = {
        name: stream._writes_rows_as_they_are
        for name, stream in tap.streams.items()
        if isinstance(stream, events.EventStream) and name in LOGS
    }
    return EXTRACTED.sub(b'"time_extracted":0}\n', writer.written), straight


def assert_same(
    team: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    *,
    straight: set[str],
    config: dict[str, Any] | None = None,
    catalog: dict[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Compare both ways, and see that the straight one is taken where it should; give the lines."""
    ours, went = run(team, config or {}, catalog)
    with monkeypatch.context() as plain:
        for name in ("_sync_records", "_process_record"):
            plain.setattr(sdk.Stream, name, getattr(singer_sdk.Stream, name))
        theirs, _ = run(team, config or {}, catalog)
    assert ours == theirs
    assert {name for name, is_straight in went.items() if is_straight} == straight
    assert b'"time_extracted":"' not in ours
    return [json.loads(line) for line in ours.splitlines()]


def discovered(*deselected: tuple[str, Breadcrumb], method: str | None = None) -> dict[str, Any]:
    """Give the catalog as Meltano passes it: everything but this is selected."""
    config = {"api_url": "https://acme.eu-1.celonis.cloud", "app_key": "k"}
    catalog: dict[str, Any] = TapCelonisAudit(config=config, setup_mapper=False).catalog_dict
    for entry in catalog["streams"]:
        stream = entry["stream"]
        if method is not None:
            entry["replication_method"] = method
        for each in entry["metadata"]:
            each["metadata"]["selected"] = (stream, tuple(each["breadcrumb"])) not in deselected
            if method is not None:
                each["metadata"]["forced-replication-method"] = method
        known = [tuple(each["breadcrumb"]) for each in entry["metadata"]]
        entry["metadata"] += [
            {"breadcrumb": list(breadcrumb), "metadata": {"selected": False}}
            for name, breadcrumb in deselected
            if name == stream and breadcrumb not in known
        ]
    return catalog


def rows(lines: list[dict[str, Any]], stream: str = "audit_logs") -> list[dict[str, Any]]:
    return [
        line["record"] for line in lines if line["type"] == "RECORD" and line["stream"] == stream
    ]


BOTH = {"audit_logs", "login_history"}


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"stream_maps": {}},
        {"stream_maps": {"members": {"who": "email"}}},
        {"stream_map_config": {"salt": "s"}, "faker_config": {"seed": 1}},
        {"flattening_enabled": False, "flattening_max_depth": 2},
        {"flattening_enabled": True, "flattening_max_depth": 0},
    ],
    ids=repr,
)
def test_nothing_is_mapped(
    team: Sandbox, monkeypatch: pytest.MonkeyPatch, config: dict[str, Any]
) -> None:
    lines = assert_same(team, monkeypatch, config=config, straight=BOTH)
    assert len(rows(lines)) == len(team.audit.select(0, 1 << 50)) > 20
    assert rows(lines, "login_history")
    (twin, other) = (row for row in rows(lines) if row["additional_fields"])
    assert twin["additional_fields"] == {"traceId": ODD["traceId"]}
    assert twin | {"event_id": ""} == other | {"event_id": ""}


def test_a_catalog_from_discovery(team: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = assert_same(team, monkeypatch, catalog=discovered(), straight=BOTH)
    assert rows(lines) == rows(assert_same(team, monkeypatch, straight=BOTH))


def test_a_catalog_without_metadata(team: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = discovered()
    for entry in catalog["streams"]:
        entry["metadata"] = [{"breadcrumb": [], "metadata": {"selected": True}}]
    assert rows(assert_same(team, monkeypatch, catalog=catalog, straight=BOTH))


def test_the_version_of_a_full_table(team: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TapCelonisAudit, "initialized_at", 1_772_366_400_000)
    monkeypatch.setattr(sdk.Stream, "emit_activate_version_messages", True)
    catalog = discovered(method="FULL_TABLE")
    lines = assert_same(team, monkeypatch, catalog=catalog, straight=BOTH)
    assert {line["version"] for line in lines if line["type"] == "RECORD"} == {1_772_366_400}


def test_columns_that_are_not_selected(team: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = discovered(("audit_logs", ("properties", "message")))
    lines = assert_same(team, monkeypatch, catalog=catalog, straight={"login_history"})
    assert not any("message" in row for row in rows(lines))


def test_parts_of_columns_that_are_not_selected(
    team: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = discovered(("audit_logs", ("properties", "message", "properties", "nodeName")))
    lines = assert_same(team, monkeypatch, catalog=catalog, straight={"login_history"})
    messages = [row["message"] or {} for row in rows(lines)]
    assert any(messages)
    assert not any("nodeName" in message for message in messages)


def test_a_stream_that_is_not_selected(team: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = discovered(("login_history", ()))
    lines = assert_same(team, monkeypatch, catalog=catalog, straight={"audit_logs"})
    assert rows(lines)
    assert not rows(lines, "login_history")


@pytest.mark.parametrize(
    ("maps", "straight"),
    [
        ({"audit_logs": {"user_id": "sha256(user_id or '')"}}, {"login_history"}),
        ({"audit_logs": {"who": "user_id", "user_id": None}}, {"login_history"}),
        ({"audit_logs": {"__alias__": "log"}}, {"login_history"}),
        ({"audit_logs": {"__filter__": "actor_type == 'USER'"}}, {"login_history"}),
        ({"audit_logs": {"ip_address": None, "port": "__NULL__"}}, {"login_history"}),
        (
            {"audit_logs": {"event_id": "event_id", "event": "event", "__else__": None}},
            {"login_history"},
        ),
        ({"audit_logs": {"__key_properties__": [], "event_id": None}}, {"login_history"}),
        ({"copy": {"__source__": "audit_logs", "event": "event"}}, {"login_history"}),
        ({"audit_logs": None}, {"login_history"}),
        ({"audit_logs": {}, "__else__": None}, set()),
        ({"*": {"source": "'celonis'"}}, set()),
    ],
    ids=repr,
)
def test_stream_maps(
    team: Sandbox, monkeypatch: pytest.MonkeyPatch, maps: dict[str, Any], straight: set[str]
) -> None:
    config = {"stream_maps": maps, "stream_map_config": {"salt": "s"}}
    lines = assert_same(team, monkeypatch, config=config, straight=straight)
    plain, _ = run(team, {}, None)
    assert lines != [json.loads(line) for line in plain.splitlines()]


@pytest.mark.parametrize("depth", [1, 3])
def test_flattening(team: Sandbox, monkeypatch: pytest.MonkeyPatch, depth: int) -> None:
    config = {
        "flattening_enabled": True,
        "flattening_max_depth": depth,
        "stream_maps": {"audit_logs": {"message": "{'a': {'b': 1}}"}},
    }
    assert rows(assert_same(team, monkeypatch, config=config, straight=set()))


def test_batches(team: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kept: list[list[bytes]] = []
    for name in ("ours", "theirs"):
        folder = tmp_path / name
        folder.mkdir()
        config = {
            "batch_config": {
                "encoding": {"format": "jsonl", "compression": "gzip"},
                "storage": {"root": folder.as_uri()},
                "batch_size": 30,
            }
        }
        with monkeypatch.context() as plain:
            if name == "theirs":
                for method in ("_sync_records", "_process_record"):
                    plain.setattr(sdk.Stream, method, getattr(singer_sdk.Stream, method))
            written, _ = run(team, config, None)
        lines = [json.loads(line) for line in written.splitlines()]
        kept.append(
            [
                gzip.decompress(Path(url2pathname(urlsplit(path).path)).read_bytes())
                for line in lines
                if line["type"] == "BATCH"
                for path in line["manifest"]
            ]
        )
        assert not rows(lines)
    ours, theirs = kept
    assert ours == theirs
    assert len(ours) > 2


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@settings(max_examples=50)
@given(
    record=st.dictionaries(st.text(), JSON),
    stream=st.text(),
    version=st.sampled_from([None, 0, 1_772_366_400]),
    moment=st.datetimes(timezones=st.just(UTC)),
)
def test_a_line_is_the_one_that_the_sdk_writes(
    record: dict[str, Any], stream: str, version: int | None, moment: datetime
) -> None:
    writer = Bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sdk, "datetime", SimpleNamespace(now={UTC: moment}.__getitem__))
        writer.write_records(stream, [record], version)
    writer.flush()
    message = RecordMessage(stream, record, version, moment)
    assert writer.written == MsgSpecWriter().format_message(message)
