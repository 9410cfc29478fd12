"""What a run says of rows that are gone, and what it never says."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest
from tables import NOW, copy

from tap_celonis_audit.sandbox import Answer, Request, Sandbox
from tap_celonis_audit.settings import SCHEMA, problems
from tap_celonis_audit.streams import STREAMS, MembersStream, PermissionsStream
from tap_celonis_audit.tap import TapCelonisAudit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TABLES = ("members", "permissions")
PATHS = {stream.name: stream.api.path for stream in (MembersStream, PermissionsStream)}
TOKEN = "/oauth2/token"
ALL = tuple(stream.name for stream in STREAMS)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(days=1, now=NOW) as sandbox:
        yield sandbox


def activated(run: Any) -> list[str]:
    return [name for kind, name in run.kinds if kind == "ACTIVATE_VERSION"]


def when(path: str) -> Callable[[Sandbox, Request], Answer | None]:
    """Make a hook that refuses a path from the second request on."""
    seen = 0

    def hook(_: Sandbox, request: Request) -> Answer | None:
        nonlocal seen
        seen += request.path == path
        refuse = request.path == path and seen > 1
        return Answer(HTTPStatus.FORBIDDEN) if refuse else None

    return hook


class TestVersions:
    def test_nothing_is_said_unless_it_is_wished(self, sandbox: Sandbox) -> None:
        run = copy(sandbox, *TABLES)
        assert run.kinds == [(kind, name) for name in TABLES for kind in ("SCHEMA", "RECORD")]
        assert all("version" not in line for line in run.lines)

    def test_a_version_is_there_after_its_last_record(self, sandbox: Sandbox) -> None:
        run = copy(sandbox, *TABLES, emit_activate_version_messages=True)
        assert run.kinds == [
            (kind, name) for name in TABLES for kind in ("SCHEMA", "RECORD", "ACTIVATE_VERSION")
        ]
        for name in TABLES:
            versions = {
                line["version"]
                for line in run.lines
                if line["type"] in {"RECORD", "ACTIVATE_VERSION"} and line["stream"] == name
            }
            assert len(versions) == 1

    def test_logs_have_none(self, sandbox: Sandbox) -> None:
        sandbox.happen(audit=3)
        run = copy(sandbox, "audit_logs", emit_activate_version_messages=True)
        assert len(run.rows) > 3
        assert activated(run) == []

    def test_logs_have_none_even_if_they_are_read_whole(self, sandbox: Sandbox) -> None:
        config = {"api_url": sandbox.url, "app_key": sandbox.app_key}
        catalog = TapCelonisAudit(config=config).catalog_dict
        for entry in catalog["streams"]:
            entry["replication_method"] = "FULL_TABLE"
        run = copy(sandbox, *ALL, catalog=catalog, emit_activate_version_messages=True)
        assert activated(run) == list(TABLES)

    @pytest.mark.parametrize("name", TABLES)
    def test_a_copy_that_failed_says_nothing(self, sandbox: Sandbox, name: str) -> None:
        sandbox.hook = when(PATHS[name])
        run = copy(sandbox, name, page_size=100, fails=True, emit_activate_version_messages=True)
        assert run.kinds == [("SCHEMA", name)]

    def test_a_copy_that_fails_among_its_rows_says_nothing(
        self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        columns = MembersStream.columns
        left = 5

        def few(stream: MembersStream, record: dict[str, Any]) -> dict[str, Any]:
            nonlocal left
            left -= 1
            if left < 0:
                raise RecursionError
            return columns(stream, record)

        monkeypatch.setattr(MembersStream, "columns", few)
        run = copy(sandbox, "members", fails=True, emit_activate_version_messages=True)
        assert run.kinds == [("SCHEMA", "members"), ("RECORD", "members")]

    def test_one_table_that_fails_does_not_keep_the_other(self, sandbox: Sandbox) -> None:
        sandbox.hook = when(PATHS["members"])
        run = copy(sandbox, *TABLES, page_size=100, fails=True, emit_activate_version_messages=True)
        assert activated(run) == ["permissions"]
        assert run.failures.keys() == {"members"}

    def test_batches_cannot_have_versions(self) -> None:
        config = {
            "api_url": "https://acme.eu-1.celonis.cloud",
            "app_key": "k",
            "emit_activate_version_messages": True,
        }
        schema = {"properties": SCHEMA["properties"] | {"batch_config": {"type": ["object"]}}}
        assert problems(config, schema) == []
        (problem,) = problems(config | {"batch_config": {"a": 1}}, schema)
        assert problem.startswith("emit_activate_version_messages does not work with batch_config")

    def test_batches_cannot_be_shared_by_copies(self) -> None:
        config = {
            "api_url": "https://acme.eu-1.celonis.cloud",
            "app_key": "k",
            "batch_config": {"a": 1},
            "stream_maps": {"audit_logs": {"port": "__NULL__"}},
        }
        more = {"batch_config": {"type": ["object"]}, "stream_maps": {"type": ["object"]}}
        schema = {"properties": SCHEMA["properties"] | more}
        assert problems(config, schema) == []
        (problem,) = problems(
            config | {"stream_maps": {"copy": {"__source__": "audit_logs"}}}, schema
        )
        assert problem.startswith("stream_maps that copy a stream do not work with batch_config")


class TestSelection:
    @pytest.mark.parametrize("name", ALL)
    def test_what_is_not_selected_costs_no_request_and_no_token(
        self, sandbox: Sandbox, name: str
    ) -> None:
        copy(sandbox, name, way="oauth")
        (stream,) = (each for each in STREAMS if each.name == name)
        paths = [request.path for request in sandbox.requests]
        assert {*paths} == {TOKEN, stream.api.path}
        assert paths.count(TOKEN) == 1

    @pytest.mark.parametrize(
        ("name", "permission"),
        [
            ("audit_logs", "audit"),
            ("login_history", "logins"),
            ("studio_adoption", "adoption"),
            *zip(TABLES, TABLES, strict=True),
        ],
    )
    @pytest.mark.parametrize("refusal", ["401", "403"])
    def test_a_team_that_lacks_one_permission_gets_the_other_streams(
        self, name: str, permission: str, refusal: Any
    ) -> None:
        others = {"audit", "logins", "members", "permissions", "adoption"} - {permission}
        with Sandbox(days=1, now=NOW, permissions=others, refusal=refusal) as sandbox:
            sandbox.happen(audit=1, logins=1, adoption=1)
            run = copy(sandbox, *ALL, fails=True)
        assert run.failures.keys() == {name}
        written = {line["stream"] for line in run.lines if line["type"] == "RECORD"}
        assert written == {*ALL} - {name}


def test_people_have_the_same_pseudonym_in_both_tables(sandbox: Sandbox) -> None:
    plain = copy(sandbox, *TABLES)
    run = copy(sandbox, *TABLES, pseudonymization="hmac-sha256", pseudonymization_key="k" * 32)
    members, permissions = run.of("members"), run.of("permissions")
    assert len(members) == len(plain.of("members"))
    assert len(permissions) == len(plain.of("permissions"))
    hidden = {row[field] for row in plain.of("members") for field in ("user_id", "email", "name")}
    shown = {row[field] for row in members for field in ("user_id", "email", "name")}
    assert not hidden & shown
    users = {row["subject_id"] for row in permissions if row["subject_type"] == "USER"}
    assert len(users) > 100
    assert users <= {row["user_id"] for row in members}
    assert not {row["permission_id"] for row in permissions} & {
        row["permission_id"] for row in plain.of("permissions")
    }
