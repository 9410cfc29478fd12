"""Permissions: who may do what with which object, and what keeps a row the same row."""

from __future__ import annotations

import json
import subprocess
import sys
from http import HTTPStatus
from itertools import chain
from typing import TYPE_CHECKING, Any

import pytest
from tables import NOW, copy

from tap_celonis_audit.sandbox import Answer, Sandbox
from tap_celonis_audit.streams.permissions import PermissionsStream

if TYPE_CHECKING:
    from collections.abc import Iterator

PATH = PermissionsStream.api.path
JSON = {"content-type": "application/json"}


def permission(**fields: object) -> dict[str, Any]:
    return {
        "subjectName": "Lorem Ipsum",
        "subjectType": "USER",
        "subjectId": "8161c24e-2b32-44eb-bedb-ede2267be989",
        "groups": "Finance",
        "role": "ANALYST",
        "service": "studio",
        "objectName": "Procure to Pay",
        "objectType": "PACKAGE",
        "objectId": "d4d2a04f-9b2f-400a-a7a4-dd0900294515",
        "actions": ["VIEW", "EDIT"],
        **fields,
    }


def keys(rows: list[dict[str, Any]]) -> list[str]:
    found = [row["permission_id"] for row in rows]
    assert len(set(found)) == len(found), "a key stands for two permissions"
    return found


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Give a team of which a test says who may do what."""
    with Sandbox(days=0, now=NOW) as sandbox:
        yield sandbox


def rows_of(sandbox: Sandbox, *records: dict[str, Any]) -> list[dict[str, Any]]:
    sandbox.grants.replace(records)
    return copy(sandbox, "permissions").of("permissions")


class TestColumns:
    def test_a_row_is_what_celonis_says(self, sandbox: Sandbox) -> None:
        (row,) = rows_of(sandbox, permission(inherited=True))
        assert row == {
            # A contract with every warehouse that holds it.
            "permission_id": "f17fa2bea277f46203fa29b934b009fe",
            "subject_name": "Lorem Ipsum",
            "subject_type": "USER",
            "subject_id": "8161c24e-2b32-44eb-bedb-ede2267be989",
            "groups": "Finance",
            "role": "ANALYST",
            "service": "studio",
            "object_name": "Procure to Pay",
            "object_type": "PACKAGE",
            "object_id": "d4d2a04f-9b2f-400a-a7a4-dd0900294515",
            "actions": ["VIEW", "EDIT"],
            "team": "127.0.0.1",
            "additional_fields": {"inherited": True},
        }

    @pytest.mark.parametrize(
        ("field", "value", "column", "wanted"),
        [
            ("actions", None, "actions", None),
            ("actions", [], "actions", []),
            ("actions", "VIEW", "actions", ["VIEW"]),
            ("actions", ["VIEW", None, 7, {"a": 1}], "actions", ["VIEW", "7", '{"a":1}']),
            ("actions", {"VIEW": True}, "actions", ['{"VIEW":true}']),
            ("groups", ["Finance"], "groups", '["Finance"]'),
            ("role", None, "role", None),
            ("objectName", "nul \x00 half \ud83d", "object_name", "nul \ufffd half \ufffd"),
            (
                "objectName",
                "whole \U0001f600 nul \x00",
                "object_name",
                "whole \U0001f600 nul \ufffd",
            ),
        ],
    )
    def test_a_value_of_another_type_is_kept(
        self, sandbox: Sandbox, field: str, value: object, column: str, wanted: object
    ) -> None:
        (row,) = rows_of(sandbox, permission(**{field: value}))
        assert row[column] == wanted
        assert row["additional_fields"] is None

    def test_a_whole_team_is_copied(self) -> None:
        with Sandbox(days=0, now=NOW, extra_fields=True) as sandbox:
            rows = copy(sandbox, "permissions").of("permissions")
            truth = sandbox.grants.visible
        assert len(keys(rows)) == len(truth) > 300
        assert sorted(
            (row["subject_id"], row["object_id"], row["actions"]) for row in rows
        ) == sorted((each["subjectId"], each["objectId"], each["actions"]) for each in truth)
        assert {"inherited", "grantedBy"} == {*rows[0]["additional_fields"]}


class TestKey:
    @pytest.mark.parametrize(
        "changed",
        [
            {"actions": ["VIEW"]},
            {"subjectName": "Married Name"},
            {"objectName": "Order to Cash"},
            {"groups": "Finance, Sales"},
            {"role": "ADMIN"},
            {"inherited": True},
        ],
        ids=lambda changed: next(iter(changed)),
    )
    def test_what_changes_does_not_make_another_permission(
        self, sandbox: Sandbox, changed: dict[str, Any]
    ) -> None:
        before = keys(rows_of(sandbox, permission()))
        assert keys(rows_of(sandbox, permission(**changed))) == before

    @pytest.mark.parametrize(
        "other",
        [
            {"subjectType": "GROUP"},
            {"subjectId": "another"},
            {"service": "team"},
            {"objectType": "TEAM"},
            {"objectId": "another"},
        ],
        ids=lambda other: next(iter(other)),
    )
    def test_another_subject_or_object_does(self, sandbox: Sandbox, other: dict[str, Any]) -> None:
        before = keys(rows_of(sandbox, permission()))
        assert keys(rows_of(sandbox, permission(**other))) != before

    @pytest.mark.parametrize("nothing", [None, ""])
    def test_without_ids_names_count(self, sandbox: Sandbox, nothing: str | None) -> None:
        nameless = {"subjectId": nothing, "objectId": nothing}
        one, other, third = (
            permission(**nameless, **names)
            for names in ({}, {"subjectName": "Dolor"}, {"objectName": "Order to Cash"})
        )
        alone = [keys(rows_of(sandbox, each)) for each in (one, other, third)]
        assert sorted(keys(rows_of(sandbox, one, other, third))) == sorted(chain(*alone))

    def test_another_team_does(self, sandbox: Sandbox) -> None:
        sandbox.grants.replace([permission()])
        here = copy(sandbox, "permissions").of("permissions")
        url = sandbox.url.replace("127.0.0.1", "localhost")
        there = copy(sandbox, "permissions", api_url=url).of("permissions")
        assert len(keys(here + there)) == 2

    def test_several_permissions_on_one_object_are_kept_apart(self, sandbox: Sandbox) -> None:
        alike = [permission(actions=["VIEW"]), permission(actions=["EDIT"]), permission(role="X")]
        rows = rows_of(sandbox, *alike)
        assert len(keys(rows)) == 3
        again = rows_of(sandbox, *reversed(alike))
        assert {row["permission_id"]: row for row in rows} == {
            row["permission_id"]: row for row in again
        }

    def test_identical_twins_are_kept_as_two(self, sandbox: Sandbox) -> None:
        alone = keys(rows_of(sandbox, permission()))
        twins = keys(rows_of(sandbox, permission(), permission()))
        assert len(twins) == 2
        assert twins[0] == alone[0]


class TestAnswers:
    def test_it_is_read_with_one_request(self, sandbox: Sandbox) -> None:
        copy(sandbox, "permissions")
        # The first was to see whether anything can be read at all.
        assert [(request.path, request.query) for request in sandbox.requests] == [(PATH, {})] * 2

    @pytest.mark.parametrize(
        "body",
        [b"{}", b'{"permissions":null}', b'{"permissions":{"a":1}}', b'{"content":[]}'],
    )
    def test_an_answer_without_a_list_is_refused(self, sandbox: Sandbox, body: bytes) -> None:
        sandbox.hook = lambda _, __: Answer(HTTPStatus.OK, JSON, body)
        run = copy(sandbox, "permissions", fails=True)
        assert "without a list of records" in run.failures["permissions"]

    @pytest.mark.parametrize("item", [b"7", b"null", b'"a"', b"[]", b'[NaN, "\\ud800"]'])
    def test_an_item_that_is_no_object_is_refused(self, sandbox: Sandbox, item: bytes) -> None:
        body = b'{"permissions":[%b]}' % item
        sandbox.hook = lambda _, __: Answer(HTTPStatus.OK, JSON, body)
        run = copy(sandbox, "permissions", fails=True)
        assert "not an object" in run.failures["permissions"]
        assert run.of("permissions") == []

    @pytest.mark.parametrize("body", [b'{"permissions":[{"a":]}', b'{"permissions":[{}', b"[]"])
    def test_a_cut_answer_is_refused(self, sandbox: Sandbox, body: bytes) -> None:
        sandbox.hook = lambda _, __: Answer(HTTPStatus.OK, JSON, body)
        run = copy(sandbox, "permissions", fails=True)
        assert "unreadable" in run.failures["permissions"]

    def test_a_nested_abyss_is_refused_by_name(self, sandbox: Sandbox) -> None:
        # Since 3.12, Python limits the depth of its own functions and that of C apart.
        depth = 900 if sys.version_info < (3, 12) else 1_500
        body = b'{"permissions":[{"a":%b}]}' % (b"[" * depth + rb'"\u0000"' + b"]" * depth)
        sandbox.hook = lambda _, __: Answer(HTTPStatus.OK, JSON, body)
        run = copy(sandbox, "permissions", fails=True)
        assert "nested too deeply" in run.failures["permissions"]


class TestAccess:
    @pytest.mark.parametrize("way", ["app_key", "api_key", "oauth"])
    def test_every_way_in_works_where_celonis_lets_it(self, sandbox: Sandbox, way: str) -> None:
        assert len(copy(sandbox, "permissions", way=way).of("permissions")) > 300

    @pytest.mark.parametrize("way", ["app_key", "api_key"])
    @pytest.mark.parametrize("status", [HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN])
    def test_a_key_that_is_refused_is_told_that_it_takes_an_oauth_client(
        self, sandbox: Sandbox, way: str, status: HTTPStatus
    ) -> None:
        sandbox.hook = lambda _, request: Answer(status) if request.path == PATH else None
        run = copy(sandbox, "permissions", "members", way=way, fails=True)
        told = run.failures["permissions"]
        assert f"({status})" in told
        assert "for OAuth clients only. Give client_id and client_secret of one with" in told
        assert PermissionsStream.api.scope in told
        assert "deselect the stream" in told
        assert run.failures.keys() == {"permissions"}
        assert len(run.of("members")) == len(sandbox.members)

    def test_an_oauth_client_without_permission_is_told_so(self) -> None:
        with Sandbox(days=0, now=NOW, permissions=["members"]) as sandbox:
            run = copy(sandbox, "permissions", way="oauth", fails=True)
        told = run.failures["permissions"]
        assert "OAuth clients only" not in told
        assert f'grant its OAuth client the scope "{PermissionsStream.api.scope}"' in told


MEASURE = """
import json, resource, sys
from tap_celonis_audit.tap import TapCelonisAudit
tap = TapCelonisAudit(config=json.loads(sys.argv[1]))
for stream in tap.streams.values():
    stream.selected = stream.name == "permissions"
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
tap.sync_all()
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after - before) // 1024, file=sys.stderr)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="measures in kilobytes")
def test_a_large_export_takes_little_more_than_its_size() -> None:
    with Sandbox(days=0, now=NOW, permission_items=30_000) as sandbox:
        config = {"api_url": sandbox.url, "app_key": sandbox.app_key}
        run = subprocess.run(
            [sys.executable, "-c", MEASURE, json.dumps(config)],
            capture_output=True,
            text=True,
            check=True,
        )
        number = len(sandbox.grants)
        size = sum(len(row.body) for row in sandbox.grants.rows) / 2**20
    records = [line for line in run.stdout.splitlines() if '"RECORD"' in line]
    assert len(records) == number > 30_000
    # Read as a whole, the items would take four times as much again.
    assert int(run.stderr.splitlines()[-1]) < 3.5 * size + 10
