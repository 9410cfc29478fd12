"""Members: who is there, all of them, and what their fields mean."""

from __future__ import annotations

import itertools
import sys
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest
from tables import NOW, copy

from tap_celonis_audit.errors import TapError
from tap_celonis_audit.pool import Pool
from tap_celonis_audit.sandbox import Answer, Request, Sandbox
from tap_celonis_audit.snapshot import MAX_READINGS, Part, _Seen, read_snapshot
from tap_celonis_audit.streams.members import MembersStream, parse_last_login, split_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tap_celonis_audit.sandbox.api import Order
    from tap_celonis_audit.sandbox.members import DateStyle

PATH = MembersStream.api.path
NOW_S = datetime.fromisoformat(NOW).timestamp()


def member(number: int, **fields: object) -> dict[str, Any]:
    return {
        "userId": f"user-{number}",
        "nameAndEmail": f"User {number} (user{number}@example.com)",
        "userRole": "MEMBER",
        "status": "Active",
        "lastLogin": "2/25/2026, 6:49:07 AM UTC",
        "inactivityPeriod": 4,
        "group": [{"name": "Sample Group", "teamRole": "ANALYST"}],
        **fields,
    }


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(row["user_id"] for row in rows)


def truth(sandbox: Sandbox) -> list[str]:
    return sorted(record["userId"] for record in sandbox.members.visible)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Give a team of which a test says who is in it."""
    with Sandbox(days=0, now=NOW) as sandbox:
        yield sandbox


class TestColumns:
    def test_a_row_is_what_celonis_says(self, sandbox: Sandbox) -> None:
        sandbox.members.replace([member(1, site={"city": "Łódź"})])
        (row,) = copy(sandbox, "members").of("members")
        assert row == {
            "user_id": "user-1",
            "name_and_email": "User 1 (user1@example.com)",
            "name": "User 1",
            "email": "user1@example.com",
            "user_role": "MEMBER",
            "status": "Active",
            "last_login": "2/25/2026, 6:49:07 AM UTC",
            "last_login_at": "2026-02-25T06:49:07.000000Z",
            "inactivity_days": 4,
            "groups": [{"name": "Sample Group", "team_role": "ANALYST"}],
            "team": "127.0.0.1",
            "additional_fields": {"site": {"city": "Łódź"}},
        }

    def test_nothing_is_known_of_some(self, sandbox: Sandbox) -> None:
        sandbox.members.replace([{"userId": "user-1"}])
        (row,) = copy(sandbox, "members").of("members")
        assert {name for name, value in row.items() if value is not None} == {"user_id", "team"}

    @pytest.mark.parametrize(
        "case",
        [
            ("userRole", 7, "user_role", "7", None),
            ("inactivityPeriod", "14", "inactivity_days", 14, None),
            ("inactivityPeriod", 14.0, "inactivity_days", 14, None),
            ("inactivityPeriod", "never", "inactivity_days", None, "never"),
            ("inactivityPeriod", True, "inactivity_days", None, True),
            ("inactivityPeriod", 2**63, "inactivity_days", None, 2**63),
            ("inactivityPeriod", 1.5, "inactivity_days", None, 1.5),
            ("group", [], "groups", [], None),
            ("group", "A", "groups", [{"name": "A", "team_role": None}], "A"),
            ("group", ["A"], "groups", [{"name": "A", "team_role": None}], ["A"]),
            (
                "group",
                [{"name": "A", "id": 1}],
                "groups",
                [{"name": "A", "team_role": None}],
                [{"name": "A", "id": 1}],
            ),
            ("lastLogin", 1740466147000, "last_login", "1740466147000", None),
            (
                "nameAndEmail",
                "nul \x00 half \ud83d",
                "name_and_email",
                "nul \ufffd half \ufffd",
                None,
            ),
        ],
    )
    def test_a_value_of_another_type_is_kept(
        self,
        sandbox: Sandbox,
        case: tuple[str, object, str, object, object],
    ) -> None:
        field, value, column, wanted, additional = case
        sandbox.members.replace([member(1, **{field: value})])
        (row,) = copy(sandbox, "members").of("members")
        assert row[column] == wanted
        assert row["additional_fields"] == ({field: additional} if additional else None)

    def test_who_has_no_id_is_left_out_and_the_run_fails(self, sandbox: Sandbox) -> None:
        nameless = [member(2, userId=None), member(3, userId="")]
        sandbox.members.replace([member(1), *nameless])
        run = copy(sandbox, "members", fails=True, emit_activate_version_messages=True)
        assert ids(run.of("members")) == ["user-1"]
        assert run.failures["members"].startswith("2 members have no userId")
        assert ("ACTIVATE_VERSION", "members") not in run.kinds


@pytest.mark.parametrize(
    ("text", "name", "email"),
    [
        ("Lorem Ipsum (email@example.com)", "Lorem Ipsum", "email@example.com"),
        ("Zoë (External) (zoe@example.com)", "Zoë (External)", "zoe@example.com"),
        ("a@example.com (a@example.com)", "a@example.com", "a@example.com"),
        ("Two\nLines (a@example.com) ", "Two\nLines", "a@example.com"),
        ("(a@example.com)", None, "a@example.com"),
        ("No Address", None, None),
        ("Lorem (Ipsum)", None, None),
        ("", None, None),
        (None, None, None),
    ],
)
def test_name_and_email_are_told_apart(
    text: str | None, name: str | None, email: str | None
) -> None:
    assert split_name(text) == (name, email)


class TestLastLogin:
    @pytest.mark.parametrize(
        ("text", "wanted"),
        [
            ("12/25/2023, 6:49:07 AM UTC", "2023-12-25T06:49:07.000000Z"),
            ("25/12/2023, 6:49:07 PM UTC", "2023-12-25T18:49:07.000000Z"),
            ("25/12/2023, 12:00:00 AM UTC", "2023-12-25T00:00:00.000000Z"),
            ("25/12/2023, 12:00:00 PM UTC", "2023-12-25T12:00:00.000000Z"),
            ("25/12/2023, 18:49:07 UTC", "2023-12-25T18:49:07.000000Z"),
            ("25/12/2023, 6:49:07\N{NARROW NO-BREAK SPACE}am utc", "2023-12-25T06:49:07.000000Z"),
            ("5/5/2023, 6:49:07 AM UTC", "2023-05-05T06:49:07.000000Z"),
            ("2023-12-10T06:49:07.123Z", "2023-12-10T06:49:07.123000Z"),
            ("2023-12-10T08:49:07+02:00", "2023-12-10T06:49:07.000000Z"),
        ],
    )
    def test_the_value_decides(self, text: str, wanted: str) -> None:
        assert parse_last_login(text, inactivity_days=None, now=NOW_S) == wanted

    @pytest.mark.parametrize(
        "text",
        [
            None,
            "",
            "never",
            "13/13/2023, 6:49:07 AM UTC",
            "12/25/2023, 13:49:07 AM UTC",
            "12/25/2023, 0:49:07 AM UTC",
            "12/25/2023, 6:60:07 AM UTC",
            "12/25/2023, 6:49:07 AM CET",
            "12/25/2023, 6:49:07 AM",
            "30/2/2023, 6:49:07 AM UTC",
        ],
    )
    def test_what_is_no_time_is_none(self, text: str | None) -> None:
        assert parse_last_login(text, inactivity_days=None, now=NOW_S) is None

    @pytest.mark.parametrize(
        ("days", "wanted"),
        [
            (82, "2025-12-10T06:49:07.000000Z"),
            (80, "2025-12-10T06:49:07.000000Z"),
            (141, "2025-10-12T06:49:07.000000Z"),
            (90, None),
            (0, None),
            (None, None),
        ],
    )
    def test_inactivity_decides_between_two_days(self, days: int | None, wanted: str) -> None:
        text = "12/10/2025, 6:49:07 AM UTC"
        assert parse_last_login(text, inactivity_days=days, now=NOW_S) == wanted

    @pytest.mark.parametrize("text", ["2/11/2026, 6:49:07 AM UTC", "11/2/2026, 6:49:07 AM UTC"])
    def test_nobody_logged_in_in_the_future(self, text: str) -> None:
        wanted = "2026-02-11T06:49:07.000000Z"
        assert parse_last_login(text, inactivity_days=None, now=NOW_S) == wanted

    @pytest.mark.parametrize("style", ["month-first", "day-first", "iso", "mixed"])
    def test_every_login_of_a_team_is_read_whatever_the_style(self, style: DateStyle) -> None:
        with Sandbox(days=0, now=NOW, last_login="iso") as sandbox:
            moments = {m["userId"]: m["lastLogin"] for m in sandbox.members.visible}
        with Sandbox(days=0, now=NOW, last_login=style) as sandbox:
            rows = copy(sandbox, "members").of("members")
        wanted = {
            user: moment and datetime.fromisoformat(moment).replace(microsecond=0)
            for user, moment in moments.items()
        }
        assert sum(map(bool, wanted.values())) > 100
        assert {
            row["user_id"]: row["last_login_at"]
            and datetime.fromisoformat(row["last_login_at"]).replace(microsecond=0, tzinfo=UTC)
            for row in rows
        } == wanted


class TestPages:
    @pytest.mark.parametrize("page_size", [7, 100, 200])
    @pytest.mark.parametrize("parallel", [1, 4])
    def test_everybody_is_there_once(self, sandbox: Sandbox, page_size: int, parallel: int) -> None:
        run = copy(sandbox, "members", page_size=page_size, max_parallel_requests=parallel)
        assert len(truth(sandbox)) > 300
        assert ids(run.of("members")) == truth(sandbox)

    @pytest.mark.parametrize("order", ["ascending", "descending", "unstable", "shuffled"])
    @pytest.mark.parametrize("count", ["exact", "text", "missing"])
    def test_neither_order_nor_count_matters(self, order: Order, count: str) -> None:
        with Sandbox(days=0, now=NOW, order=order, count=count) as sandbox:
            rows = copy(sandbox, "members", page_size=100).of("members")
            assert ids(rows) == truth(sandbox)

    @pytest.mark.parametrize("number", [1, 99, 100, 101, 300, 333])
    def test_shuffled_pages_without_a_count_complete_each_other(self, number: int) -> None:
        for seed in range(3):
            with Sandbox(days=0, now=NOW, seed=seed, order="shuffled", count="missing") as sandbox:
                sandbox.members.replace(member(each) for each in range(number))
                rows = copy(sandbox, "members", page_size=100).of("members")
                assert ids(rows) == truth(sandbox)

    def test_pages_may_be_smaller_than_asked_for(self) -> None:
        with Sandbox(days=0, now=NOW, max_page_size=30) as sandbox:
            assert ids(copy(sandbox, "members").of("members")) == truth(sandbox)

    def test_internal_members_are_left_out_if_they_should_be(self, sandbox: Sandbox) -> None:
        everybody = ids(copy(sandbox, "members").of("members"))
        own = copy(sandbox, "members", include_internal_members=False).of("members")
        internal = [email for row in own if (email := row["email"]).endswith("@celonis.example")]
        assert 0 < len(own) < len(everybody)
        assert internal == []
        assert set(ids(own)) < set(everybody)

    @pytest.mark.parametrize("number", [1, 199, 200, 201, 400])
    def test_a_table_ends_where_it_ends(self, sandbox: Sandbox, number: int) -> None:
        sandbox.members.replace(member(each) for each in range(number))
        assert ids(copy(sandbox, "members").of("members")) == truth(sandbox)

    def test_a_single_page_is_asked_for_once(self, sandbox: Sandbox) -> None:
        sandbox.members.replace(member(each) for each in range(199))
        copy(sandbox, "members")
        # The first was to see whether anything can be read at all.
        assert [request.query["pageSize"] for request in sandbox.requests] == ["1", "200"]

    def test_who_is_listed_twice_comes_once(self, sandbox: Sandbox) -> None:
        sandbox.members.replace([member(1), member(2), member(1), *map(member, range(3, 20))])
        rows = copy(sandbox, "members", page_size=15).of("members")
        assert ids(rows) == sorted(f"user-{number}" for number in range(1, 20))


class TestChanges:
    """People join and leave while the pages are read."""

    @pytest.mark.parametrize("at", range(1, 8))
    @pytest.mark.parametrize("parallel", [1, 4])
    def test_who_leaves_while_another_joins_hides_nobody(
        self, sandbox: Sandbox, at: int, parallel: int
    ) -> None:
        sandbox.members.replace(member(each) for each in range(350))
        requests = 0

        def hook(sandbox: Sandbox, _: Request) -> None:
            nonlocal requests
            requests += 1
            if requests == at + 1:
                sandbox.members.remove(lambda record: record["userId"] == "user-5")
                sandbox.members.add(member(1000))

        sandbox.hook = hook
        run = copy(sandbox, "members", page_size=100, max_parallel_requests=parallel)
        stayed = {f"user-{number}" for number in range(350) if number != 5}
        assert stayed <= set(ids(run.of("members")))
        assert len(run.of("members")) == 350

    @pytest.mark.parametrize("number", [200, 201, 350, 400])
    def test_a_change_of_the_count_is_seen(self, sandbox: Sandbox, number: int) -> None:
        sandbox.members.replace(member(each) for each in range(number))
        changes = iter(["leaves", "joins", "leaves"])

        def hook(sandbox: Sandbox, request: Request) -> None:
            if request.query.get("pageNumber") == "1":
                change = next(changes, None)
                if change == "leaves":
                    sandbox.members.remove(lambda record: record == sandbox.members.visible[0])
                elif change == "joins":
                    sandbox.members.add(member(1000 + len(sandbox.members)))

        sandbox.hook = hook
        run = copy(sandbox, "members", page_size=100)
        assert ids(run.of("members")) == truth(sandbox)

    def test_a_team_that_never_rests_fails_and_writes_nothing(self, sandbox: Sandbox) -> None:
        numbers = itertools.count(1000)

        def hook(sandbox: Sandbox, _: Request) -> None:
            sandbox.members.remove(lambda record: record == sandbox.members.visible[0])
            sandbox.members.add(member(next(numbers)))

        sandbox.hook = hook
        run = copy(
            sandbox, "members", page_size=100, fails=True, emit_activate_version_messages=True
        )
        assert run.of("members") == []
        assert ("ACTIVATE_VERSION", "members") not in run.kinds
        assert "changes faster than it can be read" in run.failures["members"]

    @pytest.mark.parametrize(
        "count", ["frozen:200", "frozen:301", "frozen:1000000000", "capped:200"]
    )
    def test_a_wrong_count_is_not_believed(self, count: str) -> None:
        with Sandbox(days=0, now=NOW, count=count) as sandbox:
            run = copy(sandbox, "members", page_size=100, fails=True)
            assert len(sandbox.requests) < 200
        assert run.of("members") == []

    def test_pages_that_are_always_the_first_are_not_believed(self) -> None:
        for count in ("exact", "missing"):
            with Sandbox(days=0, now=NOW, ignore=["pageNumber"], count=count) as sandbox:
                run = copy(sandbox, "members", page_size=100, fails=True)
            assert run.of("members") == []

    def test_a_page_that_fails_leaves_the_table_as_it_is(self, sandbox: Sandbox) -> None:
        def hook(_: Sandbox, request: Request) -> Answer | None:
            return (
                Answer(HTTPStatus.INTERNAL_SERVER_ERROR)
                if request.query["pageNumber"] == "2"
                else None
            )

        sandbox.hook = hook
        run = copy(sandbox, "members", page_size=100, fails=True)
        assert run.of("members") == []

    def test_nobody_at_all_is_a_warning(
        self, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        sandbox.members.replace([])
        run = copy(sandbox, "members", emit_activate_version_messages=True)
        assert run.kinds == [("SCHEMA", "members")]
        assert "members: Celonis says that there are none" in caplog.text


class TestProof:
    """The proof alone, against pages that nobody would serve."""

    @staticmethod
    def part(keys: str, total: int | None, limit: int = 2) -> Part:
        return Part([(key, key.encode()) for key in keys], total, limit)

    def read(self, *readings: list[Part]) -> str:
        """Read pages that change from reading to reading; the last stay."""
        left = [readings[0], *readings]

        def fetch(number: int) -> Part:
            if number == 0 and len(left) > 1:
                left.pop(0)
            pages = left[0]
            return pages[number] if number < len(pages) else self.part("", pages[0].total)

        return b"".join(sorted(read_snapshot(fetch, pool=Pool(1)))).decode()

    def test_one_reading_of_several_pages_is_no_proof(self) -> None:
        # a left and e joined after the first page: the second does not show c.
        hidden = [self.part("ab", 4), self.part("de", 4)]
        settled = [self.part("bc", 4), self.part("de", 4)]
        assert self.read(hidden, settled) == "bcde"

    def test_ablation_of_the_second_reading(self, monkeypatch: pytest.MonkeyPatch) -> None:
        hidden = [self.part("ab", 4), self.part("de", 4)]
        monkeypatch.setattr(
            _Seen, "is_proven", property(lambda seen: seen.copies.total() == seen.total)
        )
        assert self.read(hidden, hidden) == "abde"

    def test_ablation_of_dropping_who_is_gone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        hidden = [self.part("ab", 4), self.part("de", 4)]
        settled = [self.part("bc", 4), self.part("de", 4)]

        def merge(seen: _Seen, other: _Seen) -> _Seen:
            records, copies = seen.records | other.records, seen.copies | other.copies
            return _Seen(copies.total(), seen.readings + 1, records, copies)

        monkeypatch.setattr(_Seen, "merge", merge)
        assert self.read(hidden, settled) == "abcde"

    def test_readings_complete_each_other(self) -> None:
        one = [self.part("ab", 4), self.part("bc", 4)]
        other = [self.part("cd", 4), self.part("da", 4)]
        assert self.read(one, other) == "abcd"

    def test_readings_of_different_counts_do_not(self) -> None:
        one = [self.part("ab", 4), self.part("bc", 4)]
        other = [self.part("cd", 5), self.part("de", 5), self.part("f", 5)]
        with pytest.raises(TapError):
            self.read(one, other, other)

    def test_what_is_announced_has_to_come(self) -> None:
        with pytest.raises(TapError, match=r"4 records announced, 3 received"):
            self.read([self.part("ab", 4), self.part("c", 4)])

    def test_a_full_last_page_is_looked_behind(self) -> None:
        with pytest.raises(TapError, match=r"2 records announced, 3 received"):
            self.read([self.part("ab", 2), self.part("c", 2)])

    @pytest.mark.parametrize("total", [None, 4])
    def test_readings_without_a_count_complete_each_other_too(self, total: int | None) -> None:
        one = [self.part("ab", total), self.part("bc", total)]
        other = [self.part("cd", total), self.part("da", total)]
        assert self.read(one, other) == "abcd"

    def test_one_reading_without_a_count_is_no_proof(self) -> None:
        # a left and e joined after the first page: the second does not show c.
        hidden = [self.part("ab", None), self.part("de", None)]
        settled = [self.part("bc", None), self.part("de", None)]
        assert self.read(hidden, settled) == "bcde"

    def test_the_number_of_readings_has_a_bound(self) -> None:
        calls = 0

        def fetch(_: int) -> Part:
            nonlocal calls
            calls += 1
            return self.part("ab", 4)

        with pytest.raises(TapError):
            read_snapshot(fetch, pool=Pool(1))
        assert calls <= 4 * MAX_READINGS


@pytest.mark.parametrize("way", ["app_key", "api_key", "oauth"])
def test_every_way_in_works(sandbox: Sandbox, way: str) -> None:
    assert ids(copy(sandbox, "members", way=way).of("members")) == truth(sandbox)


def test_a_nested_abyss_is_refused_by_name(sandbox: Sandbox) -> None:
    # Since 3.12, Python limits the depth of its own functions and that of C apart.
    depth = 900 if sys.version_info < (3, 12) else 1_500
    nested = b"[" * depth + rb'"\u0000"' + b"]" * depth
    page = b'{"content":[{"userId":"a","new":%b}],"totalCount":1}' % nested
    sandbox.hook = lambda _, __: Answer(HTTPStatus.OK, {"content-type": "application/json"}, page)
    run = copy(sandbox, "members", fails=True)
    assert "nested too deeply" in run.failures["members"]
