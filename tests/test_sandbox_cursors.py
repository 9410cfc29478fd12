"""The sandbox's audit log v2 and Studio adoption over HTTP, against the documented contract."""

from __future__ import annotations

from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest

from tap_celonis_audit.sandbox import Request, Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    import requests

V1 = "/log/api/external/audit"
V2 = "/log/api/external/v2/audit"
ADOPTION_V1 = "/platform-adoption/api/external/adoption-tracking-events/STUDIO_ASSET"
ADOPTION = "/platform-adoption/api/external/v2/adoption-tracking-events/STUDIO_ASSET"
NOW = "2026-03-01T12:00:00Z"


@pytest.fixture(scope="module")
def busy() -> Iterator[Sandbox]:
    """A team that no test changes."""
    with Sandbox(days=30, now=NOW) as sandbox:
        yield sandbox


def ask(web: requests.Session, sandbox: Sandbox, path: str = V2, **query: Any) -> requests.Response:
    parameters = {name.rstrip("_"): str(value) for name, value in query.items()}
    headers = {"Authorization": f"AppKey {sandbox.app_key}"}
    return web.get(sandbox.url + path, params=parameters, headers=headers, timeout=10)


def walk(
    web: requests.Session, sandbox: Sandbox, path: str = V2, *, at_most: int = 40, **query: Any
) -> list[list[Any]]:
    """Follow the cursor to its end, or for so many pages, and give the pages."""
    pages: list[list[Any]] = []
    token = None
    while len(pages) < at_most:
        answer = ask(web, sandbox, path, **query, **({"pageToken": token} if token else {}))
        if answer.status_code == HTTPStatus.NO_CONTENT:
            break
        assert answer.status_code == HTTPStatus.OK, answer.text
        page = answer.json()
        pages.append(page["content"])
        token = page.get("nextPageToken")
        if not token:
            break
    return pages


def joined(pages: list[list[Any]]) -> list[Any]:
    return [record for page in pages for record in page]


def small(count: int = 7, **knobs: Any) -> Sandbox:
    """Make a team whose audit log has so many events: E0 first, and E1 to E3 in one millisecond."""
    sandbox = Sandbox(days=0, now=NOW, **knobs)
    sandbox.audit.extend(event(number) for number in range(count))
    return sandbox


def event(number: int) -> dict[str, Any]:
    second = 1 if number in {1, 2, 3} else number
    return {"event": f"E{number}", "timestamp": f"2026-02-01T10:00:{second:02}.000Z"}


def names(pages: list[list[Any]]) -> list[str]:
    return [" ".join(record["event"] for record in page) for page in pages]


class TestContract:
    def test_the_first_page(self, web: requests.Session, busy: Sandbox) -> None:
        page = ask(web, busy).json()
        assert list(page) == ["content", "nextPageToken"]
        assert page["content"] == busy.audit.visible[:200]

    @pytest.mark.parametrize("order", ["ascending", "descending", "unstable", "shuffled"])
    def test_the_walk_gives_what_v1_gives(self, web: requests.Session, order: Any) -> None:
        with Sandbox(days=8, now=NOW, order=order) as sandbox:
            pages = walk(web, sandbox, limit=90)
            assert [len(page) for page in pages[:-1]] == [90] * (len(pages) - 1)
            received, expected = joined(pages), sandbox.audit.visible
            assert len(pages) > 5
            assert Counter(map(repr, received)) == Counter(map(repr, expected))
            assert (received == expected) == (order in {"ascending", "unstable"})
            assert (received == expected[::-1]) == (order == "descending")

    @pytest.mark.parametrize(("limit", "size"), [(1, 1), (500, 500), (None, 200)])
    def test_limit(
        self, web: requests.Session, busy: Sandbox, limit: int | None, size: int
    ) -> None:
        query: dict[str, Any] = {} if limit is None else {"limit": limit}
        assert len(ask(web, busy, **query).json()["content"]) == size

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("limit", "0"),
            ("limit", "501"),
            ("limit", "many"),
            ("pageToken", "nonsense"),
            ("pageToken", "ä"),
            ("pageToken", "bnVsbA"),
            ("pageToken", "W10"),
            ("from", "2026-02-10"),
        ],
    )
    def test_bad_parameters(
        self, web: requests.Session, busy: Sandbox, name: str, value: str
    ) -> None:
        answer = ask(web, busy, **{name: value})
        assert answer.status_code == HTTPStatus.BAD_REQUEST
        assert answer.json()["errorCode"] == "GENERAL_PARAMETER_MISSMATCH"
        assert name in answer.json()["detail"]

    def test_a_range(self, web: requests.Session, busy: Sandbox) -> None:
        start, stop = "2026-02-02T00:00:00", "2026-02-08T23:59:59.999Z"
        expected = [r for r in busy.audit.visible if start <= r["timestamp"] <= stop]
        assert joined(walk(web, busy, from_=start, to=stop)) == expected
        # The token knows the range.
        token = ask(web, busy, from_=start, to=stop, limit=500).json()["nextPageToken"]
        assert ask(web, busy, limit=500, pageToken=token).json()["content"] == expected[500:1_000]

    def test_nothing_there(self, web: requests.Session) -> None:
        with small(0) as sandbox:
            assert ask(web, sandbox).status_code == HTTPStatus.NO_CONTENT
            sandbox.play(empty="list")
            assert ask(web, sandbox).json() == {"content": []}

    def test_scope(self, web: requests.Session) -> None:
        with small(permissions=["logins"]) as sandbox:
            assert ask(web, sandbox).status_code == HTTPStatus.FORBIDDEN

    def test_versions_can_be_gone(self, web: requests.Session) -> None:
        with small(gone=["audit-v1", "adoption-v2"], gone_status="410") as sandbox:
            statuses = [ask(web, sandbox, path).status_code for path in (V1, V2, ADOPTION)]
            assert statuses == [HTTPStatus.GONE, HTTPStatus.OK, HTTPStatus.GONE]


class TestStability:
    """Pages do not move while events arrive: that is what version 2 is for."""

    @pytest.mark.parametrize("order", ["ascending", "descending", "shuffled"])
    def test_arrivals_move_nothing(self, web: requests.Session, order: Any) -> None:
        def hook(sandbox: Sandbox, _: Request) -> None:
            late = {"event": "LATE", "timestamp": "2026-02-01T10:00:01.000Z"}
            sandbox.audit.extend([late, {**late, "timestamp": "2026-02-01T10:00:03.500Z"}])

        with small(40, order=order) as sandbox:
            expected = {f"E{number}" for number in range(40)}
            sandbox.hook = hook
            seen = Counter(record["event"] for record in joined(walk(web, sandbox, limit=3)))
            assert {name: seen[name] for name in expected} == dict.fromkeys(expected, 1)

    @pytest.mark.parametrize(
        ("order", "expected"),
        [("ascending", ["E0 E1", "E2 E3", "E4"]), ("descending", ["E4 E3", "E2 E1", "E0"])],
    )
    def test_ties_are_cut_cleanly(
        self, web: requests.Session, order: Any, expected: list[str]
    ) -> None:
        with small(5, order=order) as sandbox:
            assert names(walk(web, sandbox, limit=2)) == expected

    @pytest.mark.parametrize(
        ("order", "limit", "gone", "expected"),
        [
            ("ascending", 4, [3], "E4 E5"),
            ("ascending", 4, [1, 2, 3], "E4 E5"),
            ("descending", 3, [3], "E2 E1"),
            ("descending", 3, [3, 2], "E1 E0"),
        ],
    )
    def test_the_last_records_may_vanish(
        self, web: requests.Session, order: Any, limit: int, gone: list[int], expected: str
    ) -> None:
        with small(6, order=order) as sandbox:
            token = ask(web, sandbox, limit=limit).json()["nextPageToken"]
            for number in gone:
                sandbox.audit.remove(event(number))
            page = ask(web, sandbox, limit=2, pageToken=token).json()["content"]
            assert names([page]) == [expected]


class TestKnobs:
    @pytest.mark.parametrize(
        ("span", "expected"), [("honoured", "E4 E5"), ("ignored", "E0 E1 E2 E3 E4 E5 E6")]
    )
    def test_span(self, web: requests.Session, span: Any, expected: str) -> None:
        with small(v2_span=span) as sandbox:
            query: dict[str, Any] = {"from_": "2026-02-01T10:00:04", "to": "2026-02-01T10:00:05"}
            assert names(walk(web, sandbox, **query)) == [expected]
            assert joined(walk(web, sandbox, **query)) == joined(
                walk(web, sandbox, limit=1, **query)
            )

    def test_span_refused(self, web: requests.Session) -> None:
        with small(v2_span="refused") as sandbox:
            for name in ("from_", "to"):
                answer = ask(web, sandbox, **{name: "2026-02-01T10:00:04"})
                assert answer.status_code == HTTPStatus.BAD_REQUEST
            assert len(joined(walk(web, sandbox))) == 7

    def test_bounds_are_as_for_v1(self, web: requests.Session) -> None:
        with small(bounds="exclusive") as sandbox:
            query: dict[str, Any] = {"from_": "2026-02-01T10:00:04", "to": "2026-02-01T10:00:06"}
            assert names(walk(web, sandbox, **query)) == ["E5"]

    def test_list_key(self, web: requests.Session) -> None:
        with small(v2_list_key="auditLogs") as sandbox:
            assert list(ask(web, sandbox).json()) == ["auditLogs"]

    def test_count(self, web: requests.Session) -> None:
        with small(v2_count="exact") as sandbox:
            assert ask(web, sandbox, limit=2).json()["totalCount"] == 7
            sandbox.play(v2_count="capped:3")
            assert ask(web, sandbox, limit=2).json()["totalCount"] == 3

    @pytest.mark.parametrize(
        ("end", "expected"),
        [("absent", {}), ("empty", {"nextPageToken": ""}), ("null", {"nextPageToken": None})],
    )
    def test_end(self, web: requests.Session, end: Any, expected: dict[str, object]) -> None:
        with small(v2_end=end) as sandbox:
            page = ask(web, sandbox).json()
            assert len(page.pop("content")) == 7
            assert page == expected

    def test_tokens_expire_by_the_clock(self, web: requests.Session) -> None:
        with small(v2_token_ttl_seconds=60) as sandbox:
            token = ask(web, sandbox, limit=1).json()["nextPageToken"]
            sandbox.clock.advance(seconds=59)
            assert ask(web, sandbox, pageToken=token).status_code == HTTPStatus.OK
            sandbox.clock.advance(seconds=1)
            answer = ask(web, sandbox, pageToken=token)
            assert answer.status_code == HTTPStatus.BAD_REQUEST
            assert "expired" in answer.json()["detail"]

    def test_smaller_pages_than_asked_for(self, web: requests.Session) -> None:
        with small(v2_max_limit=3) as sandbox:
            assert names(walk(web, sandbox, limit=5)) == ["E0 E1 E2", "E3 E4 E5", "E6"]

    @pytest.mark.parametrize(
        ("quirk", "expected"),
        [
            ("none", ["E0 E1 E2", "E3 E4 E5", "E6"]),
            ("repeat", ["E0 E1 E2", "E3 E4 E5", "E3 E4 E5", "E6"]),
            ("hole", ["E0 E1 E2", "", "E3 E4 E5", "E6"]),
            ("stuck", ["E0 E1 E2", *["E3 E4 E5"] * 5]),
            ("loop", ["E0 E1 E2", "E3 E4 E5", "E6"] * 2),
            ("endless", ["E0 E1 E2", "E3 E4 E5", "E6", "", "", ""]),
        ],
    )
    def test_quirks(self, web: requests.Session, quirk: Any, expected: list[str]) -> None:
        with small(v2_quirk=quirk) as sandbox:
            assert names(walk(web, sandbox, limit=3, at_most=6)) == expected

    def test_stuck_repeats_the_token(self, web: requests.Session) -> None:
        with small(v2_quirk="stuck") as sandbox:
            token = ask(web, sandbox, limit=3).json()["nextPageToken"]
            assert ask(web, sandbox, limit=3, pageToken=token).json()["nextPageToken"] == token

    def test_an_ignored_token(self, web: requests.Session) -> None:
        with small(ignore=["pageToken"]) as sandbox:
            assert names(walk(web, sandbox, limit=3, at_most=3)) == ["E0 E1 E2"] * 3


class TestAdoption:
    def test_records(self, busy: Sandbox) -> None:
        records = busy.adoption.visible
        users = {user.id: user.email for user in busy.team.users}
        assert len(records) > 1_000
        for record in records:
            assert {"timestamp", "user", "asset"} <= record.keys()
            assert (
                users.get(record["user"]["id"], record["user"]["email"])
                == (record["user"]["email"])
            )
            assert record["asset"]["name"]
        times = [record["timestamp"] for record in records]
        assert times == sorted(times)
        assert len(set(times)) < len(times)

    def test_v2(self, web: requests.Session, busy: Sandbox) -> None:
        pages = walk(web, busy, ADOPTION, limit=500)
        assert joined(pages) == busy.adoption.visible
        assert {len(page) for page in pages[:-1]} == {500}

    def test_v1(self, web: requests.Session, busy: Sandbox) -> None:
        page = ask(web, busy, ADOPTION_V1, pageNumber=1, pageSize=100).json()
        assert list(page) == ["content", "pageNumber", "pageSize", "totalCount"]
        assert page["content"] == busy.adoption.visible[100:200]
        assert page["totalCount"] == len(busy.adoption)

    def test_on_demand(self, web: requests.Session) -> None:
        with Sandbox(days=0, now=NOW) as sandbox:
            wish = {"adoption": 4}
            state = web.post(f"{sandbox.url}/sandbox/happen", json=wish, timeout=10).json()
            assert state["adoption"] == len(joined(walk(web, sandbox, ADOPTION))) == 4

    def test_undocumented_fields(self, busy: Sandbox) -> None:
        with Sandbox(days=1, now=NOW, extra_fields=True) as sandbox:
            assert sandbox.adoption.visible[0].keys() > busy.adoption.visible[0].keys()

    def test_a_day_is_always_the_same(self, busy: Sandbox) -> None:
        with Sandbox(days=2, now=NOW) as later:
            assert later.adoption.visible == busy.adoption.visible[-len(later.adoption) :]

    def test_it_can_be_replaced(self, busy: Sandbox) -> None:
        with Sandbox(days=0, now=NOW, adoption=busy.audit) as sandbox:
            assert len(sandbox.adoption) == len(busy.audit)


@pytest.mark.parametrize(
    ("knobs", "complaint"),
    [
        ({"v2_span": "wide"}, "v2_span must be one of"),
        ({"v2_end": "none"}, "v2_end must be one of"),
        ({"v2_quirk": "odd"}, "v2_quirk must be one of"),
        ({"v2_count": "many"}, "v2_count must be"),
        ({"v2_token_ttl_seconds": -1}, "v2_token_ttl_seconds must be at least 0"),
        ({"v2_max_limit": 0}, "v2_max_limit must be at least 1"),
        ({"gone": ["audit"]}, "gone must be one of audit-v1"),
        ({"gone_status": "301"}, "gone_status must be one of"),
        ({"oauth_only": ["all"]}, "oauth_only must be one of"),
        ({"page_base": -1}, "page_base must be at least 0"),
        ({"permission_items": -1}, "permission_items must be at least 0"),
        ({"last_login": "noon"}, "last_login must be one of"),
    ],
)
def test_senseless_arguments(knobs: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Sandbox(days=0, now=NOW, **knobs)
    changeable = [name for name in knobs if name not in {"permission_items", "last_login"}]
    with Sandbox(days=0, now=NOW) as sandbox:
        for name in changeable:
            with pytest.raises(ValueError, match=complaint):
                sandbox.play(**{name: knobs[name]})
