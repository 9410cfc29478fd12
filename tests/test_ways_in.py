"""Each stream with each kind of key; and what is not wanted is not asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tables import NOW, copy

from tap_celonis_audit.sandbox import Sandbox
from tap_celonis_audit.streams import STREAMS

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "/oauth2/token"
SCHEMES = {"app_key": {"AppKey"}, "api_key": {"Bearer"}, "oauth": {"Basic", "Bearer"}}
ALL = {stream.name: stream for stream in STREAMS}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(days=3, now=NOW) as sandbox:
        sandbox.clock.advance(seconds=600)  # All of it has settled.
        yield sandbox


def there(sandbox: Sandbox) -> dict[str, int]:
    """Count what there is to copy."""
    return {
        "audit_logs": len(sandbox.audit.visible),
        "login_history": len(sandbox.logins.visible),
        "members": len(sandbox.members.visible),
        "permissions": len(sandbox.grants.visible),
        "studio_adoption": len(sandbox.adoption.visible),
    }


@pytest.mark.parametrize("way", SCHEMES)
@pytest.mark.parametrize("name", ALL)
def test_a_stream_is_copied_with_any_kind_of_key(sandbox: Sandbox, name: str, way: str) -> None:
    rows = copy(sandbox, name, way=way).of(name)
    assert len(rows) == there(sandbox)[name] > 50
    assert {request.scheme for request in sandbox.requests} == SCHEMES[way]


@pytest.mark.parametrize("way", SCHEMES)
@pytest.mark.parametrize(
    ("name", "gone"), [("audit_logs", "audit-v1"), ("studio_adoption", "adoption-v2")]
)
def test_so_is_the_other_version(sandbox: Sandbox, name: str, gone: str, way: str) -> None:
    sandbox.play(gone=[gone])
    rows = copy(sandbox, name, way=way).of(name)
    assert len(rows) == there(sandbox)[name] > 50


@pytest.mark.parametrize("name", ALL)
def test_what_is_not_selected_costs_no_request_and_no_token(sandbox: Sandbox, name: str) -> None:
    run = copy(sandbox, *ALL.keys() - {name}, way="oauth")
    assert {line["stream"] for line in run.lines if line["type"] == "RECORD"} == {*ALL} - {name}
    asked = {request.path for request in sandbox.requests}
    assert asked == {TOKEN, *(stream.api.path for stream in STREAMS if stream.name != name)}
    scopes = [request.form["scope"] for request in sandbox.requests if request.path == TOKEN]
    assert sorted(scopes) == sorted(stream.api.scope for stream in STREAMS if stream.name != name)


def test_nothing_selected_costs_nothing(sandbox: Sandbox) -> None:
    assert copy(sandbox, way="oauth").lines == []
    assert sandbox.requests == []
