"""The recipes in docs/stream-maps.md do what they say."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import documented
import matrix
import pytest
import table
from outputs import run_tap

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from outputs import Output

    from tap_celonis_audit.sandbox import Sandbox

Row = dict[str, Any]


@pytest.fixture(scope="module")
def team() -> Generator[Sandbox]:
    with matrix.team() as sandbox:
        matrix.begin(sandbox)
        yield sandbox


@pytest.fixture(scope="module")
def plain(team: Sandbox) -> Output:
    return run(team, matrix.TAP)


def run(team: Sandbox, name: str) -> Output:
    config = documented.settings_of_tap(name) | matrix.settings(team)
    return run_tap(config, state=None, streams=matrix.NAMES)


def rows(output: Output, stream: str) -> list[Row]:
    return [
        line["record"]
        for line in output.lines
        if line["type"] == "RECORD" and line["stream"] == stream
    ]


def bookmarks(output: Output) -> dict[str, str]:
    return {
        stream: bookmark["replication_key_value"]
        for stream, bookmark in output.states[-1]["bookmarks"].items()
        if "replication_key_value" in bookmark
    }


def hashed(row: Row) -> Row:
    return row | {"email": row["email"] and sha256(row["email"].encode()).hexdigest()}


def without_address(row: Row) -> Row:
    return {name: value for name, value in row.items() if name not in {"ip_address", "port"}}


def shaped(row: Row) -> Row:
    diff = row["diff_payload"] and json.dumps(row["diff_payload"])[:1000]
    return row | {
        "realm": "0",
        "who": row["actor_email"] or row["actor_id"],
        "message": row["message"] and json.dumps(row["message"]),
        "diff_payload": diff,
    }


@pytest.mark.parametrize(
    ("recipe", "stream", "change"),
    [
        ("hashed", "login_history", hashed),
        ("without", "audit_logs", without_address),
        ("shaped", "audit_logs", shaped),
    ],
)
def test_every_row_is_changed(
    team: Sandbox, plain: Output, recipe: str, stream: str, change: Callable[[Row], Row]
) -> None:
    before = rows(plain, stream)
    assert len(before) > 500
    changed = run(team, f"{matrix.TAP}-{recipe}")
    got = rows(changed, "celonis_audit" if recipe == "shaped" else stream)
    assert got == [change(row) for row in before] != before


@pytest.mark.parametrize(
    ("stream", "is_kept"),
    [
        ("audit_logs", lambda row: "PERMISSION" in (row["event"] or "")),
        ("login_history", lambda row: not row["success"]),
    ],
)
def test_some_rows_stay(
    team: Sandbox, plain: Output, stream: str, is_kept: Callable[[Row], bool]
) -> None:
    before = rows(plain, stream)
    kept = [row for row in before if is_kept(row)]
    assert 0 < len(kept) < len(before) / 2
    filtered = run(team, f"{matrix.TAP}-filtered")
    assert rows(filtered, stream) == kept
    assert bookmarks(filtered) == bookmarks(plain)
    assert rows(filtered, "members") == rows(plain, "members")


def test_streams_and_columns_are_left_out(
    team: Sandbox, plain: Output, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Selection is Meltano's."""
    (target,) = (each for each in table.ALL if each.name == "target-jsonl")
    matrix.installed(target)
    with target.place(request, target, tmp_path) as place:
        matrix.documented_project(tmp_path).run(
            f"{matrix.TAP}-selected",
            target.name,
            **matrix.variables_for(target, place, team),
        )
        landed = place.read().rows
    assert landed == {
        stream: [
            {n: v for n, v in row.items() if (stream, n) != ("audit_logs", "diff_payload")}
            for row in rows(plain, stream)
        ]
        for stream in matrix.NAMES
        if stream != "studio_adoption"
    }
