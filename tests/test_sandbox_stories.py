"""What the sandbox plants for an auditor to find: it is there, and nothing else changes."""

from __future__ import annotations

from datetime import datetime, timedelta
from http import HTTPStatus
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import requests

from tap_celonis_audit.sandbox import Record, Sandbox
from tap_celonis_audit.sandbox.clock import DAY_MS, to_ms
from tap_celonis_audit.sandbox.stories import DAYS_NEEDED, REPLACED

if TYPE_CHECKING:
    from collections.abc import Generator

NOW = "2026-03-01T12:00:00Z"
AUDIT_FIELDS = {
    *("userId", "userRole", "event", "timestamp", "message", "ipAddress", "port", "diffPayload"),
}
LOGIN_FIELDS = {"authenticationEventType", "email", "success", "timestamp"}


@pytest.fixture(scope="module", params=[1, 2])
def sandbox(request: pytest.FixtureRequest) -> Generator[Sandbox]:
    with Sandbox(seed=request.param, days=DAYS_NEEDED, now=NOW, stories=True) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def stories(sandbox: Sandbox) -> dict[str, dict[str, Any]]:
    """Give what ``GET /sandbox`` tells, by its kind."""
    told = requests.get(f"{sandbox.url}/sandbox", timeout=10).json()["stories"]
    assert len({story["kind"] for story in told}) == len(told)
    return {story["kind"]: story for story in told}


@pytest.fixture(scope="module")
def audit(sandbox: Sandbox) -> list[Record]:
    return sandbox.audit.visible


@pytest.fixture(scope="module")
def logins(sandbox: Sandbox) -> list[Record]:
    return sandbox.logins.visible


def ask(sandbox: Sandbox, path: str, **query: str | int) -> Any:
    answer = requests.get(
        f"{sandbox.url}{path}",
        params=query,
        headers={"Authorization": f"AppKey {sandbox.app_key}"},
        timeout=10,
    )
    assert answer.status_code == HTTPStatus.OK
    return answer.json()


def members(sandbox: Sandbox) -> dict[str, Record]:
    """Give the members by e-mail address."""
    pages = [
        ask(sandbox, "/api/external/members", includeInternal="true", pageNumber=page)["content"]
        for page in range(2)
    ]
    return {
        record["nameAndEmail"].rpartition("(")[2][:-1]: record for page in pages for record in page
    }


def permissions_of(sandbox: Sandbox, email: str) -> list[Record]:
    everything = ask(sandbox, "/api/authorization/external/permissions")["permissions"]
    return [record for record in everything if record["subjectName"] == email]


def the_event(audit: list[Record], story: dict[str, Any]) -> Record:
    (record,) = (
        record
        for record in audit
        if record["timestamp"] == story["at"] and f"({story['by']})" in record["userId"]
    )
    return record


def test_without_being_asked_nothing_is_told() -> None:
    with Sandbox(days=0) as sandbox:
        assert sandbox.state()["stories"] == []


def test_failed_logins_end_with_a_success(
    logins: list[Record], stories: dict[str, dict[str, Any]]
) -> None:
    story = stories["failed_login_burst"]
    tries = [
        record
        for record in logins
        if record["email"] == story["email"] and story["at"] <= record["timestamp"]
    ][: story["failures"] + 1]
    kinds = [record["authenticationEventType"] for record in tries]
    assert kinds == ["BAD_CREDENTIALS"] * story["failures"] + ["LOGIN"]
    assert [record["success"] for record in tries] == [False] * story["failures"] + [True]
    assert tries[-1]["timestamp"] == story["success_at"]
    times = [datetime.fromisoformat(record["timestamp"]) for record in tries]
    assert max(later - earlier for earlier, later in pairwise(times)) < timedelta(minutes=1)


def test_an_administrator_is_made_at_night_by_the_account_that_was_guessed(
    sandbox: Sandbox, audit: list[Record], stories: dict[str, dict[str, Any]]
) -> None:
    story = stories["admin_granted_at_night"]
    grant = the_event(audit, story)
    assert grant["event"] == "TEAM_MEMBERSHIP_UPDATED"
    assert grant["diffPayload"] == {"oldValue": "MEMBER", "newValue": "ADMIN"}
    assert grant["message"]["memberEmail"] == story["email"]
    assert datetime.fromisoformat(story["at"]).hour in {0, 1, 2, 3}
    assert story["by"] == stories["failed_login_burst"]["email"]
    assert story["at"] > stories["failed_login_burst"]["success_at"]
    assert members(sandbox)[story["email"]]["userRole"] == "ADMIN"
    assert {record["subjectId"] for record in permissions_of(sandbox, story["email"])} == {
        grant["message"]["memberId"]
    }


def test_somebody_deletes_the_log_of_a_working_day(
    sandbox: Sandbox, audit: list[Record], stories: dict[str, dict[str, Any]]
) -> None:
    story = stories["log_deleted"]
    deletion = the_event(audit, story)
    assert deletion["event"] == "AUDIT_LOGS_DELETED"
    assert story["by"] == stories["admin_granted_at_night"]["email"]
    start_ms = to_ms(f"{story['day']}T00:00:00Z")
    deleted, before, after = (
        len(sandbox.audit.select(at_ms, at_ms + DAY_MS))
        for at_ms in (start_ms, start_ms - DAY_MS, start_ms + DAY_MS)
    )
    assert deleted == 0
    assert min(before, after) > 50
    assert sandbox.logins.select(start_ms, start_ms + DAY_MS)


def test_an_administrator_is_not_seen_any_more(
    sandbox: Sandbox,
    audit: list[Record],
    logins: list[Record],
    stories: dict[str, dict[str, Any]],
) -> None:
    story = stories["dormant_admin"]
    (last,) = (record for record in logins if record["email"] == story["email"])
    assert (last["timestamp"], last["success"]) == (story["at"], True)
    assert not any(f"({story['email']})" in record["userId"] for record in audit)
    member = members(sandbox)[story["email"]]
    assert (member["userRole"], member["status"]) == ("ADMIN", "Active")
    assert member["inactivityPeriod"] == 241
    assert "TEAM" in {record["objectType"] for record in permissions_of(sandbox, story["email"])}


def test_somebody_left_whose_permissions_stayed(
    sandbox: Sandbox, audit: list[Record], stories: dict[str, dict[str, Any]]
) -> None:
    story = stories["gone_with_access"]
    removal = the_event(audit, story)
    assert removal["event"] == "TEAM_MEMBERSHIP_DELETED"
    assert removal["message"]["memberEmail"] == story["email"]
    assert story["email"] not in members(sandbox)
    kept = permissions_of(sandbox, story["email"])
    assert {record["subjectId"] for record in kept} == {removal["message"]["memberId"]}
    assert not any(
        f"({story['email']})" in record["userId"] and record["timestamp"] > story["at"]
        for record in audit
    )


def test_nothing_of_the_kind_happens_besides(
    audit: list[Record], stories: dict[str, dict[str, Any]]
) -> None:
    planted = sorted(
        stories[kind]["at"]
        for kind in ("admin_granted_at_night", "log_deleted", "gone_with_access")
    )
    assert [record["timestamp"] for record in audit if record["event"] in REPLACED] == planted


def test_records_look_as_documented(
    sandbox: Sandbox, audit: list[Record], logins: list[Record]
) -> None:
    assert all(record.keys() <= AUDIT_FIELDS for record in audit)
    assert all(record.keys() == LOGIN_FIELDS for record in logins)
    for log, records in ((sandbox.audit, audit), (sandbox.logins, logins)):
        times = [to_ms(record["timestamp"]) for record in records]
        assert times == sorted(times) == [log.time_at(position) for position in range(len(times))]


def test_members_were_last_seen_when_the_logs_say(sandbox: Sandbox, logins: list[Record]) -> None:
    last = {
        record["email"]: record["timestamp"]
        for record in logins
        if record["authenticationEventType"].startswith("LOGIN")
    }
    shown = members(sandbox)
    for story in sandbox.state()["stories"]:
        if story["email"] in shown:
            seen = last[story["email"]]
            days = (datetime.fromisoformat(NOW) - datetime.fromisoformat(seen)).days
            assert shown[story["email"]]["inactivityPeriod"] == days


def test_a_seed_and_a_day_tell_the_same(sandbox: Sandbox) -> None:
    seed = 1 if sandbox.app_key.endswith("-1") else 2
    with Sandbox(seed=seed, days=DAYS_NEEDED, now=NOW, stories=True) as again:
        assert again.state() == sandbox.state()
        assert again.audit.visible == sandbox.audit.visible
        assert again.logins.visible == sandbox.logins.visible


@pytest.mark.parametrize(("days", "retention_days"), [(30, 0), (400, 90)])
def test_a_history_that_is_too_short_is_refused(days: int, retention_days: int) -> None:
    with pytest.raises(ValueError, match=f"stories are told, must be at least {DAYS_NEEDED}"):
        Sandbox(stories=True, days=days, retention_days=retention_days)
