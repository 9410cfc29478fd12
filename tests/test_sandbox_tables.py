"""The sandbox's members and permissions over HTTP, against the documented contract."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest

from tap_celonis_audit.sandbox import Request, Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    import requests

MEMBERS = "/api/external/members"
PERMISSIONS = "/api/authorization/external/permissions"
NOW = "2026-03-01T12:00:00Z"
MEMBER_FIELDS = [
    "userId",
    "nameAndEmail",
    "userRole",
    "status",
    "lastLogin",
    "inactivityPeriod",
    "group",
]
PERMISSION_FIELDS = [
    "subjectName",
    "subjectType",
    "subjectId",
    "groups",
    "role",
    "service",
    "objectName",
    "objectType",
    "objectId",
    "actions",
]


@pytest.fixture(scope="module")
def team() -> Iterator[Sandbox]:
    """A team that no test changes."""
    with Sandbox(days=60, now=NOW) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(days=0, now=NOW) as sandbox:
        yield sandbox


def ask(
    web: requests.Session, sandbox: Sandbox, path: str, *, authorization: str = "", **query: Any
) -> requests.Response:
    headers = {"Authorization": authorization or f"AppKey {sandbox.app_key}"}
    parameters = {name: str(value) for name, value in query.items()}
    return web.get(sandbox.url + path, params=parameters, headers=headers, timeout=10)


def members_page(web: requests.Session, sandbox: Sandbox, **query: Any) -> dict[str, Any]:
    answer = ask(web, sandbox, MEMBERS, **({"includeInternal": "true"} | query))
    assert answer.status_code == HTTPStatus.OK, answer.text
    page: dict[str, Any] = answer.json()
    return page


def all_members(web: requests.Session, sandbox: Sandbox, **query: Any) -> list[dict[str, Any]]:
    first = members_page(web, sandbox, **query)
    pages = range(1, -(-first["totalCount"] // first["pageSize"]))
    others = [members_page(web, sandbox, pageNumber=number, **query) for number in pages]
    return [record for page in [first, *others] for record in page["content"]]


def permissions(web: requests.Session, sandbox: Sandbox) -> list[dict[str, Any]]:
    answer = ask(web, sandbox, PERMISSIONS)
    assert answer.status_code == HTTPStatus.OK, answer.text
    export = answer.json()
    assert list(export) == ["permissions"]
    found: list[dict[str, Any]] = export["permissions"]
    return found


def ids(records: list[dict[str, Any]]) -> set[str]:
    return {record["userId"] for record in records}


class TestMembers:
    def test_pages(self, web: requests.Session, team: Sandbox) -> None:
        page = members_page(web, team, pageSize=30, pageNumber=2)
        assert list(page) == ["content", "pageNumber", "pageSize", "totalCount"]
        assert (page["pageNumber"], page["pageSize"]) == (2, 30)
        assert page["totalCount"] == len(team.members) > 300
        assert page["content"] == team.members.visible[60:90]
        assert all_members(web, team) == team.members.visible

    def test_internal_members(self, web: requests.Session, team: Sandbox) -> None:
        everybody = all_members(web, team)
        others = all_members(web, team, includeInternal="false")
        internal = [member for member in everybody if member not in others]
        assert len(internal) == len(everybody) - len(others) > 0
        assert all("@celonis.example)" in member["nameAndEmail"] for member in internal)

    @pytest.mark.parametrize(
        "query",
        [{}, {"includeInternal": "perhaps"}, {"includeInternal": ""}],
    )
    def test_include_internal_is_required(
        self, web: requests.Session, team: Sandbox, query: dict[str, str]
    ) -> None:
        answer = ask(web, team, MEMBERS, **query)
        assert answer.status_code == HTTPStatus.BAD_REQUEST
        assert answer.json()["errorCode"] == "GENERAL_PARAMETER_MISSMATCH"
        assert "includeInternal" in answer.json()["detail"]

    def test_include_internal_can_be_ignored(self, web: requests.Session, team: Sandbox) -> None:
        with Sandbox(days=0, now=NOW, ignore=["includeInternal"]) as sandbox:
            assert len(all_members(web, sandbox, includeInternal="false")) == len(team.members)

    @pytest.mark.parametrize("size", ["0", "201", "all"])
    def test_page_size(self, web: requests.Session, team: Sandbox, size: str) -> None:
        answer = ask(web, team, MEMBERS, includeInternal="true", pageSize=size)
        assert answer.status_code == HTTPStatus.BAD_REQUEST

    def test_dates_mean_nothing_to_it(self, web: requests.Session, team: Sandbox) -> None:
        page = members_page(web, team, **{"from": "2030-01-01T00:00:00", "to": "never"})
        assert page["totalCount"] == len(team.members)

    def test_records(self, team: Sandbox) -> None:
        records = team.members.visible
        assert {tuple(record) for record in records} == {tuple(MEMBER_FIELDS)}
        assert len(ids(records)) == len(records)
        assert {record["userRole"] for record in records} == {"ADMIN", "ANALYST", "MEMBER"}
        assert Counter(record["status"] for record in records).keys() == {
            "Active",
            "Inactive",
            "Pending",
        }
        groups = [group for record in records for group in record["group"]]
        assert {tuple(group) for group in groups} == {("name", "teamRole")}
        assert {len(record["group"]) for record in records} == {0, 1, 2, 3}
        assert any("(External) (" in record["nameAndEmail"] for record in records)

    def test_they_are_the_people_of_the_logs(self, team: Sandbox) -> None:
        known = {record["userId"]: record["nameAndEmail"] for record in team.members.visible}
        for user in team.team.users:
            assert known[user.id].endswith(f"({user.email})")

    def test_last_login_is_the_one_of_the_login_history(self, team: Sandbox) -> None:
        last = {
            record["email"]: record["timestamp"]
            for record in team.logins.visible
            if record["success"] and record["authenticationEventType"] != "LOGOUT"
        }
        compared = 0
        for record in team.members.visible:
            email = record["nameAndEmail"].rpartition("(")[2].removesuffix(")")
            if email in last:
                text = record["lastLogin"].replace("UTC", "+0000")
                at = datetime.strptime(text, "%m/%d/%Y, %I:%M:%S %p %z")
                assert f"{at:%Y-%m-%dT%H:%M:%S}" == last[email][:19]
                age = datetime(2026, 3, 1, 12, tzinfo=UTC) - at
                assert record["inactivityPeriod"] == age.days
                compared += 1
        assert compared > 200

    def test_a_login_on_demand_moves_the_last_login(self, sandbox: Sandbox) -> None:
        before = {record["userId"]: record for record in sandbox.members.visible}
        sandbox.happen(logins=10)
        moved = {
            record["lastLogin"]
            for record in sandbox.members.visible
            if record["lastLogin"] != before[record["userId"]]["lastLogin"]
        }
        assert moved
        assert all(text.startswith("3/1/2026, 12:0") for text in moved)

    def test_some_never_signed_in(self, team: Sandbox) -> None:
        never = [record for record in team.members.visible if record["lastLogin"] is None]
        assert {record["inactivityPeriod"] for record in never} == {None}
        assert "Pending" in {record["status"] for record in never}

    @pytest.mark.parametrize(
        ("style", "pattern"),
        [
            ("month-first", r"([1-9]|1[0-2])/\d{1,2}/\d{4}, 1?\d:\d\d:\d\d [AP]M UTC"),
            ("day-first", r"\d{1,2}/([1-9]|1[0-2])/\d{4}, 1?\d:\d\d:\d\d [AP]M UTC"),
            ("iso", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"),
        ],
    )
    def test_styles_of_last_login(self, style: Any, pattern: str) -> None:
        sandbox = Sandbox(days=0, now="2026-03-28T12:00:00Z", last_login=style)
        with sandbox:
            texts = [r["lastLogin"] for r in sandbox.members.visible if r["lastLogin"]]
        assert all(re.fullmatch(pattern, text) for text in texts)
        assert len({text[:9] for text in texts}) > 3

    def test_mixed_styles(self) -> None:
        with Sandbox(days=0, now="2026-03-28T12:00:00Z", last_login="mixed") as sandbox:
            texts = [r["lastLogin"] for r in sandbox.members.visible if r["lastLogin"]]
        assert any("\N{NARROW NO-BREAK SPACE}AM" in text for text in texts)
        assert any(text.endswith("Z") for text in texts)
        assert any(re.match(r"3/(1[3-9]|2\d)/", text) for text in texts)
        assert any(re.match(r"(1[3-9]|2\d)/3/", text) for text in texts)

    def test_page_base(self, web: requests.Session) -> None:
        with Sandbox(days=0, now=NOW, page_base=1) as sandbox:
            expected = sandbox.members.visible
            assert members_page(web, sandbox)["content"] == expected[:200]
            assert members_page(web, sandbox, pageNumber=0)["content"] == expected[:200]
            assert members_page(web, sandbox, pageNumber=1)["content"] == expected[:200]
            assert members_page(web, sandbox, pageNumber=2)["content"] == expected[200:]

    def test_a_list_by_hand(self, web: requests.Session, sandbox: Sandbox) -> None:
        team = sandbox.members.visible
        sandbox.members.replace([{"userId": "a"}, {"userId": "b", "odd": 1}])
        sandbox.members.add({"userId": "c"}, is_internal=True)
        assert members_page(web, sandbox)["content"] == [
            {"userId": "a"},
            {"userId": "b", "odd": 1},
            {"userId": "c"},
        ]
        assert ids(members_page(web, sandbox, includeInternal="false")["content"]) == {"a", "b"}
        assert sandbox.members.remove({"userId": "a"}) == 1
        assert sandbox.members.remove(lambda record: record["userId"] == "b") == 1
        assert sandbox.members.remove({"userId": "a"}) == 0
        assert ids(sandbox.members.visible) == {"c"}
        assert ids(sandbox.members.ever_visible) == ids(team) | {"a", "b", "c"}

    def test_a_team_without_anybody(self, web: requests.Session, sandbox: Sandbox) -> None:
        sandbox.members.replace([])
        answer = ask(web, sandbox, MEMBERS, includeInternal="true")
        assert answer.status_code == HTTPStatus.NO_CONTENT


class TestPermissions:
    def test_one_answer(self, web: requests.Session, team: Sandbox) -> None:
        found = permissions(web, team)
        assert found == team.grants.visible
        assert len(found) > 300
        assert {tuple(record) for record in found} == {tuple(PERMISSION_FIELDS)}
        for record in found:
            *texts, actions = record.values()
            assert all(isinstance(text, str) for text in texts)
            assert actions
            assert all(isinstance(action, str) for action in actions)
        keys = Counter((record["subjectId"], record["objectId"]) for record in found)
        assert set(keys.values()) == {1}

    def test_they_follow_from_people_and_groups(self, team: Sandbox) -> None:
        found = team.grants.visible
        assert {record["subjectType"] for record in found} == {"USER", "GROUP", "APPLICATION"}
        members = {record["userId"]: record for record in team.members.visible}
        for record in found:
            if record["subjectType"] == "USER":
                member = members[record["subjectId"]]
                assert record["role"] == member["userRole"]
                assert f"({record['subjectName']})" in member["nameAndEmail"]
                groups = ", ".join(group["name"] for group in member["group"])
                assert record["groups"] == groups

    def test_a_large_export(self, web: requests.Session) -> None:
        with Sandbox(days=0, now=NOW, permission_items=5_000) as sandbox:
            found = permissions(web, sandbox)
            before = {(record["subjectId"], record["objectId"]) for record in found}
            assert 5_000 <= len(before) == len(found) < 5_500
            sandbox.happen(leaves=1)
            after = {(r["subjectId"], r["objectId"]) for r in permissions(web, sandbox)}
            assert after < before
            assert len({subject for subject, _ in before - after}) == 1

    def test_order(self, web: requests.Session, sandbox: Sandbox) -> None:
        expected = sandbox.grants.visible
        sandbox.play(order="descending")
        assert permissions(web, sandbox) == expected[::-1]
        sandbox.play(order="shuffled")
        one, two = permissions(web, sandbox), permissions(web, sandbox)
        assert one != two
        assert sorted(map(repr, one)) == sorted(map(repr, two)) == sorted(map(repr, expected))

    def test_none(self, web: requests.Session, sandbox: Sandbox) -> None:
        sandbox.grants.replace([])
        assert permissions(web, sandbox) == []

    def test_errors_have_a_shape_of_their_own(
        self, web: requests.Session, sandbox: Sandbox
    ) -> None:
        wrong = ask(web, sandbox, PERMISSIONS, authorization="AppKey wrong")
        assert wrong.status_code == HTTPStatus.UNAUTHORIZED
        assert list(wrong.json()) == ["frontendErrorKey", "errorInformation"]
        sandbox.play(permissions=["members"])
        denied = ask(web, sandbox, PERMISSIONS)
        assert denied.status_code == HTTPStatus.FORBIDDEN
        assert list(denied.json()) == ["frontendErrorKey", "errorInformation"]
        sandbox.play(unauthorized="empty", refusal="401")
        assert ask(web, sandbox, PERMISSIONS).content == b""

    def test_access_tokens_only(self, web: requests.Session) -> None:
        with Sandbox(days=0, now=NOW, oauth_only=["permissions"]) as sandbox:
            for key in (f"AppKey {sandbox.app_key}", f"Bearer {sandbox.api_key}"):
                refused = ask(web, sandbox, PERMISSIONS, authorization=key)
                assert refused.status_code == HTTPStatus.UNAUTHORIZED
                allowed = ask(web, sandbox, MEMBERS, authorization=key, includeInternal="true")
                assert allowed.status_code == HTTPStatus.OK
            token = access_token(web, sandbox, "authorization.permissions:read")
            answer = ask(web, sandbox, PERMISSIONS, authorization=f"Bearer {token}")
            assert answer.status_code == HTTPStatus.OK


def access_token(web: requests.Session, sandbox: Sandbox, scope: str) -> str:
    form = {
        "grant_type": "client_credentials",
        "client_id": sandbox.client_id,
        "client_secret": sandbox.client_secret,
        "scope": scope,
    }
    return str(
        web.post(f"{sandbox.url}/oauth2/token", data=form, timeout=10).json()["access_token"]
    )


@pytest.mark.parametrize(
    ("path", "scope", "other"),
    [
        (MEMBERS, "team.user-group-info:read", "team.login-history:read"),
        (PERMISSIONS, "authorization.permissions:read", "team.user-group-info:read"),
    ],
)
def test_scopes(web: requests.Session, sandbox: Sandbox, path: str, scope: str, other: str) -> None:
    for asked, status in ((scope, HTTPStatus.OK), (other, HTTPStatus.FORBIDDEN)):
        token = access_token(web, sandbox, asked)
        answer = ask(web, sandbox, path, authorization=f"Bearer {token}", includeInternal="true")
        assert answer.status_code == status


def test_a_permission_for_each_api(web: requests.Session) -> None:
    with Sandbox(days=0, now=NOW, permissions=["members"]) as sandbox:
        assert ask(web, sandbox, MEMBERS, includeInternal="true").status_code == HTTPStatus.OK
        assert ask(web, sandbox, PERMISSIONS).status_code == HTTPStatus.FORBIDDEN


@pytest.mark.parametrize(("status", "expected"), [("404", 404), ("410", 410)])
def test_endpoints_can_be_gone(web: requests.Session, status: Any, expected: int) -> None:
    with Sandbox(days=0, now=NOW, gone=["members", "audit-v1"], gone_status=status) as sandbox:
        for path in (MEMBERS, "/log/api/external/audit"):
            assert ask(web, sandbox, path, includeInternal="true").status_code == expected
        assert ask(web, sandbox, PERMISSIONS).status_code == HTTPStatus.OK
        sandbox.play(gone=())
        assert ask(web, sandbox, MEMBERS, includeInternal="true").status_code == HTTPStatus.OK


def test_undocumented_fields() -> None:
    with Sandbox(days=0, now=NOW, extra_fields=True) as sandbox:
        assert list(sandbox.members.visible[0])[len(MEMBER_FIELDS) :]
        assert list(sandbox.grants.visible[0])[len(PERMISSION_FIELDS) :]


class TestChange:
    def test_on_demand(self, web: requests.Session, sandbox: Sandbox) -> None:
        before = {record["userId"]: record for record in sandbox.members.visible}
        wish = {"joins": 3, "leaves": 2, "moves": 4, "advance_seconds": 0}
        state = web.post(f"{sandbox.url}/sandbox/happen", json=wish, timeout=10).json()
        assert state["members"] == len(before) + 1
        after = {record["userId"]: record for record in all_members(web, sandbox)}
        assert (len(after.keys() - before.keys()), len(before.keys() - after.keys())) == (3, 2)
        kept = after.keys() & before.keys()
        assert sum(after[each]["group"] != before[each]["group"] for each in kept) == 4
        assert before.keys() | after.keys() == ids(sandbox.members.ever_visible)

    def test_permissions_on_demand(self, web: requests.Session, sandbox: Sandbox) -> None:
        before = {repr(record) for record in permissions(web, sandbox)}
        sandbox.happen(grants=5, revocations=3)
        after = {repr(record) for record in permissions(web, sandbox)}
        assert (len(after - before), len(before - after)) == (5, 3)
        assert len(sandbox.grants.ever_visible) == len(before) + 5

    def test_who_leaves_takes_the_permissions_along(
        self, web: requests.Session, sandbox: Sandbox
    ) -> None:
        sandbox.happen(leaves=60)
        there = ids(sandbox.members.visible)
        people = {r["subjectId"] for r in permissions(web, sandbox) if r["subjectType"] == "USER"}
        assert people
        assert people <= there

    def test_by_the_clock(self, sandbox: Sandbox) -> None:
        members, grants = ids(sandbox.members.visible), sandbox.grants.visible
        groups = {record["userId"]: record["group"] for record in sandbox.members.visible}
        sandbox.clock.advance(seconds=90 * 86_400)
        later = sandbox.members.visible
        assert ids(later) - members
        assert members - ids(later)
        assert any(
            record["group"] != groups.get(record["userId"], record["group"]) for record in later
        )
        assert ids(sandbox.members.ever_visible) == members | ids(later)
        later_grants = sandbox.grants.visible
        assert [grant for grant in grants if grant not in later_grants]
        assert [grant for grant in later_grants if grant not in grants]
        with Sandbox(days=0, now="2026-05-30T12:00:00Z") as same:
            assert ids(same.members.visible) == ids(later)

    def test_between_two_pages(self, web: requests.Session) -> None:
        def hook(sandbox: Sandbox, request: Request) -> None:
            if request.query.get("pageNumber") == "1":
                sandbox.happen(joins=2, leaves=20)

        with Sandbox(days=0, now=NOW, hook=hook) as sandbox:
            before = sandbox.members.visible
            first = members_page(web, sandbox, pageSize=100)
            second = members_page(web, sandbox, pageSize=100, pageNumber=1)
            assert second["totalCount"] == first["totalCount"] - 18
            assert second["content"] == sandbox.members.visible[100:200] != before[100:200]

    @pytest.mark.parametrize(
        "wish",
        [{"leaves": 301}, {"leaves": 200, "moves": 200}, {"revocations": 9_999}, {"joins": -1}],
    )
    def test_impossible_wishes_change_nothing(self, sandbox: Sandbox, wish: dict[str, int]) -> None:
        before = sandbox.state()
        with pytest.raises(ValueError, match=r"cannot|there are"):
            sandbox.happen(**wish)
        assert sandbox.state() == before
