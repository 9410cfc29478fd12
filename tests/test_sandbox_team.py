"""The sandbox's team: always the same, and plausible."""

from __future__ import annotations

import json
from collections import Counter
from datetime import date, datetime, timedelta
from hashlib import sha256
from itertools import groupby
from random import Random
from typing import Any

import pytest

from tap_celonis_audit.sandbox import Record, Sandbox
from tap_celonis_audit.sandbox.messages import ORIGINS, UNDOCUMENTED, WITHOUT_MESSAGE, message_of
from tap_celonis_audit.sandbox.team import SITES, Company

DAYS = 150
NOW = "2026-03-01T12:00:00Z"
# The week of 2025-10-13: events, and the start of the SHA-256 of their bytes.
GOLDEN_WEEK = [(715, "b51c6c2567a9380e"), (1047, "e8ab3140ce9b8953")]
FAILURES = {
    "ACCOUNT_NOT_ACTIVE",
    "ACCOUNT_NOT_CONFIRMED",
    "ACCOUNT_TEMPORARILY_LOCKED",
    "BAD_CREDENTIALS",
    "INVALID_2FA_TOKEN",
    "INVALID_PROVIDER",
    "NOT_MEMBER_OF_TEAM",
    "TEAM_MEMBERSHIP_NOT_ACTIVE",
    "TEAM_MEMBERSHIP_NOT_CONFIRMED",
}
SUCCESSES = {"LOGIN", "LOGIN_CELONIS_ID", "LOGIN_OIDC", "LOGIN_SSO", "LOGOUT"}


@pytest.fixture(scope="module")
def sandbox() -> Any:
    with Sandbox(days=DAYS, now=NOW) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def audit(sandbox: Sandbox) -> list[Record]:
    return sandbox.audit.visible


@pytest.fixture(scope="module")
def logins(sandbox: Sandbox) -> list[Record]:
    return sandbox.logins.visible


def day_of(record: Record) -> str:
    return str(record["timestamp"][:10])


def is_weekend(record: Record) -> bool:
    return datetime.fromisoformat(record["timestamp"]).weekday() >= 5


def by_people(records: list[Record]) -> list[Record]:
    return [record for record in records if "SYSTEM" not in record["userId"]]


def keys_of(value: object) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*(keys_of(inner) for inner in value.values()))
    return set()


class TestDeterminism:
    def test_a_seed_gives_the_same_bytes(self, audit: list[Record], logins: list[Record]) -> None:
        # A company of its own, so that nothing comes from a cache.
        company = Company(1)
        assert company.team(20_000).users == Company(1).team(20_000).users
        with Sandbox(days=3, now=NOW) as again:
            assert again.audit.visible == audit[-len(again.audit) :]
            assert again.logins.visible == logins[-len(again.logins) :]

    def test_the_bytes_of_a_seed_are_pinned(self, sandbox: Sandbox) -> None:
        """Whoever wrote down a figure can repeat it, on another machine and next year."""
        sums = []
        for log in (sandbox.audit, sandbox.logins):
            week = log.select(1_760_313_600_000, 1_760_313_600_000 + 7 * 86_400_000)
            sums.append((len(week), sha256(b"\n".join(log.bodies(week))).hexdigest()[:16]))
        assert sums == GOLDEN_WEEK

    def test_seeds_differ(self, audit: list[Record]) -> None:
        with Sandbox(seed=2, days=3, now=NOW) as other:
            theirs = {json.dumps(record) for record in other.audit.visible}
            assert theirs.isdisjoint(json.dumps(record) for record in audit)

    def test_a_past_day_does_not_depend_on_now(self, audit: list[Record]) -> None:
        expected = [record for record in audit if "2026-02-10" <= day_of(record) < "2026-02-13"]
        with Sandbox(days=2, now="2026-02-12T23:59:59.999Z") as earlier:
            assert earlier.audit.visible == expected[: len(earlier.audit)]
            assert len(expected) - len(earlier.audit) <= 1

    def test_today_ends_now(self, audit: list[Record]) -> None:
        assert day_of(audit[-1]) == "2026-03-01"
        assert audit[-1]["timestamp"] < "2026-03-01T12:00:00.000Z"
        with Sandbox(days=1, now="2026-03-01T02:00:00Z") as earlier:
            ours = [record for record in audit if day_of(record) >= "2026-02-28"]
            assert earlier.audit.visible == ours[: len(earlier.audit)]
            assert len(earlier.audit) < len(ours)

    def test_days_are_whole_days(self, audit: list[Record]) -> None:
        assert len({day_of(record) for record in audit}) == DAYS + 1
        assert audit[0]["timestamp"].startswith("2025-10-02T00:")

    def test_no_days_no_events(self) -> None:
        with Sandbox(days=0, now=NOW) as empty:
            assert (len(empty.audit), len(empty.logins), len(empty.adoption)) == (0, 0, 0)
            assert len(empty.team.users) == 300

    def test_now_is_the_start_of_the_hour_by_default(self) -> None:
        with Sandbox(days=0) as sandbox:
            now = datetime.fromisoformat(str(sandbox.state()["now"]))
            assert (now.minute, now.second, now.microsecond) == (0, 0, 0)
            age = datetime.now(tz=now.tzinfo) - now
            assert timedelta(0) <= age < timedelta(hours=1, minutes=1)


class TestPeople:
    def test_roster(self, sandbox: Sandbox) -> None:
        users = sandbox.team.users
        assert len(users) == 300
        assert len({user.id for user in users}) == len({user.email for user in users}) == 300
        roles = Counter(user.role for user in users)
        assert set(roles) == {"ADMIN", "ANALYST", "MEMBER"}
        assert roles["ADMIN"] < roles["ANALYST"] < roles["MEMBER"]
        assert {user.email.partition("@")[2] for user in users} == {site.domain for site in SITES}
        assert any(not user.name.isascii() for user in users)

    def test_people_come_and_go(self) -> None:
        company = Company(1)
        before, after = company.team(20_000), company.team(20_365)
        assert 10 <= len(set(before.users) - set(after.users)) <= 60
        changes = [pair for day in range(20_001, 20_366) for pair in company.team(day).changes]
        assert {left for left, _ in changes} >= set(before.users) - set(after.users)
        assert {joined for _, joined in changes} >= set(after.users) - set(before.users)

    def test_days_can_be_visited_in_any_order(self) -> None:
        forth, back = Company(1), Company(1)
        days = range(20_000, 20_060)
        there = {day: forth.team(day) for day in days}
        assert {day: back.team(day) for day in reversed(days)} == there
        assert any(team.changes for team in there.values())

    def test_only_members_of_the_team_act(self, audit: list[Record]) -> None:
        company = Company(1)
        first = (date(2025, 10, 2) - date(1970, 1, 1)).days
        labels = {
            u.label for day in range(first - 1, first + DAYS + 1) for u in company.team(day).users
        }
        assert {record["userId"] for record in by_people(audit)} <= labels


class TestAudit:
    def test_records_have_the_documented_shape(self, audit: list[Record]) -> None:
        full = [
            "userId",
            "userRole",
            "event",
            "timestamp",
            "message",
            "ipAddress",
            "port",
            "diffPayload",
        ]
        for record in audit:
            assert list(record) == [key for key in full if key in record]
            assert set(full[:4]) <= set(record)
            assert isinstance(record.get("message"), dict | str | None)
            assert isinstance(record.get("port"), str | None)
            assert isinstance(record.get("ipAddress"), str | None)
            moment = datetime.fromisoformat(record["timestamp"])
            text = moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
            assert record["timestamp"] == text
            if record.get("diffPayload"):
                assert set(record["diffPayload"]) == {"oldValue", "newValue"}
        for key in full[4:]:
            values = [record.get(key, "absent") for record in audit]
            assert "absent" in values
            assert None in values
            assert any(value not in {"absent", None} for value in map(_hashable, values))

    def test_volume(self, audit: list[Record]) -> None:
        assert 60_000 <= len(audit) / DAYS * 730 <= 100_000

    def test_names_are_documented_or_known_to_be_not(self, audit: list[Record]) -> None:
        documented = {event for events in ORIGINS.values() for event in events}
        assert len(documented) == 313
        seen = Counter(record["event"] for record in audit)
        assert set(seen) <= documented | set(UNDOCUMENTED)
        assert len(set(seen) - set(UNDOCUMENTED)) > 200
        assert seen.most_common(1)[0][0] == "STUDIO_NODE_UPDATED"
        assert sum(count for _, count in seen.most_common(20)) > 0.6 * len(audit)

    def test_weekdays_and_nights(self, audit: list[Record]) -> None:
        people = by_people(audit)
        assert sum(map(is_weekend, people)) < 0.05 * len(people)
        night = [r for r in people if r["timestamp"][11:13] in {"19", "20", "21", "22"}]
        noon = [r for r in people if r["timestamp"][11:13] in {"09", "10", "11", "12"}]
        assert len(night) < 0.3 * len(noon)
        jobs = [record for record in audit if record["event"].startswith("JOB_EXECUTION")]
        assert {record["userId"] for record in jobs} == {"celonis-service (SYSTEM)"}
        assert len({day_of(record) for record in jobs}) == DAYS + 1
        assert {record["timestamp"][11:13] for record in jobs} <= {"00", "01", "02", "03", "04"}

    def test_holidays(self, audit: list[Record]) -> None:
        per_day = Counter(day_of(record) for record in by_people(audit))
        assert per_day["2025-12-25"] < 10 < per_day["2025-12-11"]

    def test_several_in_one_millisecond(self, audit: list[Record]) -> None:
        sizes = [len(list(tie)) for _, tie in groupby(audit, key=lambda r: r["timestamp"])]
        assert max(sizes) >= 8
        assert sum(size > 1 for size in sizes) > 50

    def test_twins(self, audit: list[Record], logins: list[Record]) -> None:
        for records in (audit, logins):
            copies = Counter(json.dumps(record, sort_keys=True) for record in records)
            assert 3 <= sum(count > 1 for count in copies.values()) <= 0.01 * len(records)

    def test_spellings_of_keys(self, audit: list[Record]) -> None:
        keys: set[str] = set().union(*(keys_of(record.get("message")) for record in audit))
        assert {"nodeName", "object_description", "data-pool-id", "Analysis Id"} <= keys

    def test_messages(self, audit: list[Record]) -> None:
        nodes = [record for record in audit if record["event"] == "STUDIO_NODE_UPDATED"]
        node_keys = ["nodeName", "packageKey", "nodeKey", "id", "nodeType", "nodeId", "assetType"]
        assert all(list(record["message"]) == node_keys for record in nodes)
        permissions = [r["message"] for r in audit if r["event"] == "PERMISSIONS_UPDATE"]
        assert all(isinstance(message["new_permissions"], list) for message in permissions)
        assert all(isinstance(message["old_permissions"], list) for message in permissions)
        assert any(isinstance(record.get("message"), str) for record in audit)
        assert any("日本" in json.dumps(r, ensure_ascii=False) or "購買" in str(r) for r in audit)
        silent = {r["event"] for r in audit if r.get("message") is None}
        assert silent
        assert silent <= WITHOUT_MESSAGE

    def test_differences(self, audit: list[Record]) -> None:
        sizes = [len(json.dumps(r["diffPayload"])) for r in audit if r.get("diffPayload")]
        assert max(sizes) > 3_000
        created = [r["diffPayload"] for r in audit if r["event"] == "ACTIONFLOW_CREATED"]
        assert all(d["oldValue"] is None and d["newValue"] for d in created)
        modified = [r for r in audit if r["event"] == "ACTIONFLOW_DRAFT_BLUEPRINT_MODIFIED"]
        assert modified
        assert all(r["diffPayload"]["oldValue"] != r["diffPayload"]["newValue"] for r in modified)

    def test_every_documented_event_has_a_message(self) -> None:
        team = Company(1).team(20_000)
        for events in ORIGINS.values():
            for event in events:
                message = message_of(event, Random(event), team)
                assert (message is None) == (event in WITHOUT_MESSAGE)


class TestLogins:
    def test_records(self, logins: list[Record]) -> None:
        for record in logins:
            kind = record["authenticationEventType"]
            assert record["success"] == (kind in SUCCESSES)
            assert "@" in record["email"]
        assert {r["authenticationEventType"] for r in logins} >= SUCCESSES | FAILURES - {
            "TEAM_MEMBERSHIP_NOT_ACTIVE",
            "TEAM_MEMBERSHIP_NOT_CONFIRMED",
        }

    def test_volume(self, logins: list[Record]) -> None:
        assert 85_000 <= len(logins) / DAYS * 730 <= 125_000

    def test_brute_force_and_lockout(self, logins: list[Record]) -> None:
        failures = Counter(
            (day_of(record), record["email"])
            for record in logins
            if record["authenticationEventType"] == "BAD_CREDENTIALS"
        )
        (day, email), attempts = failures.most_common(1)[0]
        assert attempts > 100
        assert any(
            record["authenticationEventType"] == "ACCOUNT_TEMPORARILY_LOCKED"
            for record in logins
            if (day_of(record), record["email"]) == (day, email)
        )

    def test_weekdays(self, logins: list[Record]) -> None:
        signed_in = [r for r in logins if r["authenticationEventType"] == "LOGIN_SSO"]
        assert sum(map(is_weekend, signed_in)) < 0.05 * len(signed_in)


def _hashable(value: Any) -> Any:
    return str(value) if isinstance(value, dict) else value
