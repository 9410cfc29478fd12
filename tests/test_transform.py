"""The models in `transform` against the truth of the sandbox, on PostgreSQL and DuckDB."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from outputs import run_tap
from ruamel.yaml import YAML
from truths import Truth, seed
from warehouses import TRANSFORM, Files, Row, Tables, Warehouse

from tap_celonis_audit.sandbox import Sandbox
from tap_celonis_audit.streams import STREAMS

if TYPE_CHECKING:
    from collections.abc import Generator

ROOT = Path(__file__).resolve().parent.parent
NOW = "2026-03-01T12:00:00Z"
AS_OF = "2026-03-01 14:00:00"
TIME_ZONE = "Europe/Berlin"
VARIABLES = {"as_of": AS_OF, "time_zone": TIME_ZONE}
WITHOUT_TESTS = ("--exclude-resource-type", "test", "--exclude-resource-type", "unit_test")
SETTLE = timedelta(seconds=120)

MARTS = sorted(path.stem for path in (TRANSFORM / "models" / "marts").glob("*.sql"))
RISKS = ("low", "medium", "high", "critical")
# Files do not tell when they were loaded.
UNCOMPARED = {"last_loaded_at", "loaded_at"}

ADMIN = "0b54a3c0-4a3e-4d8e-9c55-0d3a5b1f7a10 (Night.Admin@example.com)"


@dataclass(frozen=True)
class Team:
    """A team, the name that the tap gives it, and what the tap knows of it."""

    name: str
    sandbox: Sandbox
    state: dict[str, Any]

    def copy(self, **settings: Any) -> list[Row]:
        """Copy what is new, as the tap writes it."""
        url = self.sandbox.url.replace("127.0.0.1", self.name)
        config = {"api_url": url, "app_key": self.sandbox.app_key, **settings}
        streams = [stream.name for stream in STREAMS]
        output = run_tap(config, state=self.state or None, streams=streams)
        self.state.update(output.states[-1])
        return output.lines

    @property
    def truth(self) -> Truth:
        now = datetime.fromtimestamp(self.sandbox.clock.now_ms / 1000, tz=UTC).replace(tzinfo=None)
        as_of = datetime.fromisoformat(AS_OF)
        return Truth(self.name, self.sandbox, now - SETTLE, as_of, TIME_ZONE)


def audit(event: str, timestamp: str, user: str, **fields: Any) -> Row:
    return {"userId": user, "userRole": "ADMIN", "event": event, "timestamp": timestamp, **fields}


def login(kind: str, timestamp: str, email: str, *, success: bool = False) -> Row:
    return {
        "authenticationEventType": kind,
        "email": email,
        "success": success,
        "timestamp": timestamp,
    }


def plant(sandbox: Sandbox) -> None:
    """Let something happen that the team alone would not do."""
    sandbox.audit.extend(
        [
            audit(
                "TEAM_MEMBERSHIP_UPDATED",
                "2026-02-20T23:30:00.000Z",
                ADMIN,
                message={"memberEmail": "new.admin@example.com", "memberName": "New Admin"},
                diffPayload={"oldValue": "MEMBER", "newValue": "ADMIN"},
            ),
            audit("LOGIN_HISTORY_DELETED", "2026-02-21T02:00:00.000Z", ADMIN, message=None),
            audit("AUDIT_LOGS_DELETED", "2026-02-22T00:00:00.000Z", "celonis-service (SYSTEM)"),
            audit("ROBOT_API_KEY_STOLEN", "2026-02-23T10:00:00.000Z", ADMIN),
            audit("ROBOT_API_KEY_STOLEN", "2026-02-23T10:00:00.000Z", "Somebody.Else@example.com"),
            audit("ROBOT_CALL_FAILED", "2026-02-23T10:00:01.000Z", ADMIN, message="it's broken"),
            audit(
                "PERMISSIONS_UPDATE",
                "2026-02-24T10:00:00.000Z",
                ADMIN,
                message={
                    "subject_description": "Night.Admin@example.com",
                    "subject_type": "USER",
                    "object_description": "Order to Cash",
                    "old_permissions": [],
                    "new_permissions": ["EDIT", "VIEW"],
                },
            ),
        ]
    )
    attempts = [
        login("BAD_CREDENTIALS", f"2026-02-25T03:0{minute}:00.000Z", "target@example.com")
        for minute in range(7)
    ]
    sandbox.logins.extend(
        [*attempts, login("LOGIN", "2026-02-25T03:30:00.000Z", "target@example.com", success=True)]
    )


def later(sandbox: Sandbox) -> None:
    """Let the team go on, with events that appear late, and somebody who leaves."""
    sandbox.happen(audit=40, logins=40, adoption=20, leaves=2, revocations=3, advance_seconds=3600)
    sandbox.audit.extend(
        [audit("GROUP_CREATED", f"2026-03-01T10:00:0{n}.000Z", ADMIN) for n in range(3)]
    )
    sandbox.logins.extend(
        [login("LOGOUT", "2026-03-01T09:00:00.000Z", "l@example.com", success=True)]
    )


@dataclass(frozen=True)
class World:
    """Two teams, copied twice into two warehouses."""

    teams: tuple[Team, ...]
    warehouses: tuple[Warehouse, ...]


@pytest.fixture(scope="module")
def world(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Generator[World]:
    files = Files(tmp_path_factory.mktemp("files"), VARIABLES)
    tables = Tables(tmp_path_factory.mktemp("tables"), VARIABLES, url=postgres_url)
    with (
        Sandbox(seed=1, days=45, now=NOW) as first,
        Sandbox(seed=2, days=10, now=NOW) as second,
    ):
        teams = (Team("127.0.0.1", first, {}), Team("localhost", second, {}))
        plant(first)
        for step in range(2):
            lines = [team.copy() for team in teams]
            for warehouse in (files, tables):
                for team_lines in lines:
                    warehouse.load(team_lines)
                if step:
                    warehouse.build()
                else:
                    warehouse.build(*WITHOUT_TESTS)
            if not step:
                later(first)
                later(second)
        yield World(teams, (files, tables))
    tables.drop()


@pytest.fixture(params=[0, 1], ids=["duckdb", "postgres"])
def warehouse(world: World, request: pytest.FixtureRequest) -> Warehouse:
    return world.warehouses[int(request.param)]


@pytest.fixture(params=[0, 1], ids=["team", "other-team"])
def truth(world: World, request: pytest.FixtureRequest) -> Truth:
    return world.teams[int(request.param)].truth


def of(warehouse: Warehouse, mart: str, truth: Truth) -> list[Row]:
    rows = [row for row in warehouse.rows(mart) if row["team"] == truth.team]
    assert rows, f"{mart} says nothing of {truth.team}"
    return rows


def picked(rows: list[Row], *names: str) -> Counter[tuple[Any, ...]]:
    return Counter(tuple(row[name] for name in names) for row in rows)


def test_audit_events(warehouse: Warehouse, truth: Truth) -> None:
    rows = of(warehouse, "audit_events", truth)

    for row in rows:
        row["risk"] = row["risk"] if row["is_documented"] else None
    assert truth.audit_events() == picked(
        rows, "occurred_at", "event", "actor_email", "risk", "is_outside_working_hours"
    )
    assert Counter(bool(row["user_key"]) for row in rows) == Counter(
        bool(who) for _, _, who, _, _ in truth.audit_events().elements()
    )


def test_logins(warehouse: Warehouse, truth: Truth) -> None:
    rows = of(warehouse, "logins", truth)

    assert truth.logins() == picked(
        rows, "occurred_at", "kind", "email", "method", "is_outside_working_hours"
    )
    assert all((row["failure_reason"] is not None) == (row["kind"] == "failure") for row in rows)
    assert all(row["user_key"] for row in rows if row["kind"] == "login")


def test_sessions(warehouse: Warehouse, truth: Truth) -> None:
    rows = of(warehouse, "sessions", truth)

    assert truth.sessions() == picked(rows, "email", "started_at", "ended_at", "ended_by")
    assert {"logout", "login", "timeout", "open"} == {row["ended_by"] for row in rows}


def test_failed_login_bursts(warehouse: Warehouse, world: World) -> None:
    (truth, _) = (team.truth for team in world.teams)
    rows = of(warehouse, "failed_login_bursts", truth)

    for row in rows:
        row["success_at"] = str(row["success_at"])
    assert truth.bursts() == picked(
        rows, "email", "started_at", "ended_at", "failures", "is_locked_out", "success_at"
    )
    (planted,) = (row for row in rows if row["email"] == "target@example.com")
    assert planted["is_followed_by_success"]
    assert planted["is_outside_working_hours"]


def test_permission_changes(warehouse: Warehouse, truth: Truth) -> None:
    rows = of(warehouse, "permission_changes", truth)

    assert truth.permission_changes() == picked(
        [row for row in rows if row["kind"] in ("role", "group") or row["subject_type"] == "GROUP"
         or row["event"] == "PERMISSIONS_UPDATE"],
        *("occurred_at", "actor_email", "kind", "direction", "subject_name"),
        *("old_value", "new_value", "added", "removed", "is_admin_grant"),
    )  # fmt: skip


def test_users(warehouse: Warehouse, truth: Truth) -> None:
    rows = {row["user_id"]: row for row in of(warehouse, "users", truth) if row["is_member"]}

    assert truth.users() == {
        user_id: (
            *(row[name] for name in ("email", "role", "is_admin", "group_names")),
            str(row["last_seen_at"]),
            *(row[name] for name in ("action_count", "login_count", "failed_login_count")),
            row["is_dormant"],
        )
        for user_id, row in rows.items()
    }
    assert any(row["is_dormant"] for row in rows.values())


def test_who_left_is_gone(warehouse: Warehouse, world: World) -> None:
    for team in world.teams:
        truth = team.truth
        gone = {
            row["user_id"]
            for row in of(warehouse, "users", truth)
            if row["is_gone"] and row["status"]
        }
        listed = {row["user_id"] for row in of(warehouse, "stg_celonis__members", truth)}
        assert gone == listed - truth.members.keys()
        assert len(gone) == 2


def test_permissions(warehouse: Warehouse, truth: Truth) -> None:
    rows = of(warehouse, "permissions", truth)

    assert truth.permissions() == picked(rows, "subject_id", "object_id", "actions")
    assert not any(row["is_held_by_somebody_gone"] for row in rows)


def test_activity(warehouse: Warehouse, truth: Truth) -> None:
    assert truth.activity() == {
        row["day"]: (
            row["audit_events"], row["privileged_actions"], row["logins"], row["failed_logins"]
        )
        for row in of(warehouse, "activity_daily", truth)
    }  # fmt: skip


def test_adoption(warehouse: Warehouse, truth: Truth) -> None:
    days = of(warehouse, "adoption_daily", truth)
    months = of(warehouse, "adoption_monthly", truth)
    weeks = of(warehouse, "adoption_weekly", truth)

    assert truth.daily_adoption() == {
        row["day"]: (
            row["daily_active_users"], row["weekly_active_users"], row["monthly_active_users"]
        )
        for row in days
        if row["daily_active_users"]
    }  # fmt: skip
    assert truth.monthly_adoption() == {
        row["month"]: (row["is_complete"], row["monthly_active_users"], round(row["stickiness"], 9))
        for row in months
        if row["monthly_active_users"]
    }
    for rows in (days, weeks, months):
        assert sum(row["studio_uses"] for row in rows) == len(truth.uses)
    assert sum(row["uses"] for row in of(warehouse, "adoption_assets", truth)) == len(truth.uses)


def test_days_of_the_logs(warehouse: Warehouse, truth: Truth) -> None:
    days = truth.log_days()
    rows = of(warehouse, "log_days", truth)
    health = {row["log"]: row for row in of(warehouse, "log_health", truth)}

    assert days == {
        (row["log"], row["day"]): (row["events"], row["usual_events"], row["is_silent"])
        for row in rows
    }
    assert {log: row["events"] for log, row in health.items()} == {
        "audit_logs": len(truth.audit),
        "login_history": len(truth.attempts),
        "studio_adoption": len(truth.uses),
    }
    assert {log: row["silent_days"] for log, row in health.items()} == {
        each: sum(is_silent for (log, _), (_, _, is_silent) in days.items() if log == each)
        for each in health
    }
    longest = max(
        later - earlier
        for moments in [sorted(attempt.at for attempt in truth.attempts)]
        for earlier, later in pairwise(moments)
    )
    assert health["login_history"]["longest_silence_hours"] == pytest.approx(
        longest.total_seconds() / 3600
    )


def test_what_was_planted_is_found(warehouse: Warehouse, world: World) -> None:
    truth = world.teams[0].truth
    found = {
        (row["kind"], row["email"], row["subject"]) for row in of(warehouse, "findings", truth)
    }

    night = "night.admin@example.com"
    assert {
        ("failed_login_burst_then_login", "target@example.com", None),
        ("admin_granted_off_hours", night, "new.admin@example.com"),
        ("granted_to_oneself", night, "Order to Cash"),
        ("log_deleted", night, "login_history"),
    } <= found
    # What is too old is deleted by the platform, as it was told to.
    assert ("log_deleted", None, "audit_logs") not in found
    deletions = {
        row["log"]: (row["deletions"], row["retention_deletions"])
        for row in of(warehouse, "log_health", truth)
    }
    expected = Counter(
        (each["event"], str(each["userId"]).endswith("(SYSTEM)")) for each in truth.audit
    )
    assert deletions == {
        "audit_logs": (
            expected["AUDIT_LOGS_DELETED", False], expected["AUDIT_LOGS_DELETED", True]
        ),
        "login_history": (expected["LOGIN_HISTORY_DELETED", False], 0),
        "studio_adoption": (expected["TRACKING_EVENT_DELETED", False], 0),
    }  # fmt: skip


def test_events_that_nobody_documented_are_classified_by_their_names(
    warehouse: Warehouse,
) -> None:
    types = {row["event"]: row for row in warehouse.rows("event_types")}

    stolen, failed = types["ROBOT_API_KEY_STOLEN"], types["ROBOT_CALL_FAILED"]
    assert not stolen["is_documented"]
    assert (stolen["risk"], stolen["is_privileged"]) == ("high", True)
    assert (failed["outcome"], failed["risk"]) == ("failure", "low")
    assert types["JOB_EXECUTION_FAILED"]["area"] == "Data Integration"


def test_both_databases_say_the_same(world: World) -> None:
    files, tables = world.warehouses

    for mart in MARTS:
        ours, theirs = (
            sorted(
                json.dumps(
                    {k: _plain(v) for k, v in row.items() if k not in UNCOMPARED}, sort_keys=True
                )
                for row in warehouse.rows(mart)
            )
            for warehouse in (files, tables)
        )
        assert ours == theirs, mart


def _plain(value: Any) -> Any:
    """Take away what databases write differently: kinds of numbers, and spaces in JSON."""
    if isinstance(value, str) and value.startswith("{"):
        return json.loads(value)
    return round(float(value), 6) if isinstance(value, int | float) else value


def test_columns_have_the_same_types_everywhere(world: World) -> None:
    files, tables = (warehouse.columns() for warehouse in world.warehouses)

    same = {
        "VARCHAR": "text",
        "TIMESTAMP": "timestamp without time zone",
        "DOUBLE": "double precision",
    }
    assert {
        model: {name: same.get(kind, kind.lower()) for name, kind in columns.items()}
        for model, columns in files.items()
    } == {
        model: {name: _standard(kind) for name, kind in columns.items()}
        for model, columns in tables.items()
    }


def _standard(kind: str) -> str:
    return {"character varying": "text", "jsonb": "json"}.get(kind, kind)


def test_every_column_is_described(world: World) -> None:
    described: dict[str, set[str]] = {}
    for path in (*TRANSFORM.glob("models/**/_*.yml"), *TRANSFORM.glob("seeds/_*.yml")):
        properties = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
        for model in [*properties.get("models", ()), *properties.get("seeds", ())]:
            assert model["description"].strip()
            described[model["name"]] = {
                column["name"] for column in model["columns"] if column["description"].strip()
            }
    # What is ephemeral is described, too, and in no database.
    columns = {model: set(names) for model, names in world.warehouses[0].columns().items()}
    assert {model: described.get(model) for model in columns} == columns


def test_the_sources_are_what_the_tap_writes() -> None:
    path = TRANSFORM / "models" / "staging" / "_sources.yml"
    (source,) = YAML(typ="safe").load(path.read_text(encoding="utf-8"))["sources"]
    assert {
        table["name"]: [column["name"] for column in table["columns"]] for table in source["tables"]
    } == {stream.name: list(stream.schema["properties"]) for stream in STREAMS}


def test_the_page_names_every_mart_and_variable() -> None:
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    project = YAML(typ="safe").load((TRANSFORM / "dbt_project.yml").read_text(encoding="utf-8"))
    first_cells = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))

    assert first_cells == {*MARTS, *RISKS, *project["vars"]} - {"ocsf_version"}  # see ocsf.md


def test_freshness_can_be_asked_for(world: World) -> None:
    _, tables = world.warehouses
    finished = tables.dbt("source freshness")
    assert finished.returncode == 0, finished.stdout
    assert finished.stdout.count("PASS freshness of celonis.") == len(STREAMS)


def test_every_event_of_the_sandbox_is_in_the_catalog() -> None:
    text = (ROOT / "tap_celonis_audit" / "sandbox" / "audit_events.json").read_text(
        encoding="utf-8"
    )
    events = {event for names in json.loads(text).values() for event in names}

    assert len(events) > 300
    assert events == seed("event_catalog").keys()


def test_pseudonyms_change_names_and_nothing_else(world: World, tmp_path: Path) -> None:
    plain, _ = world.warehouses
    hidden = Files(tmp_path, VARIABLES)
    for team in world.teams:
        fresh = Team(team.name, team.sandbox, {})
        hidden.load(fresh.copy(pseudonymization="hmac-sha256", pseudonymization_key="k" * 32))

    hidden.build("--exclude-resource-type", "unit_test")

    for mart, names in {
        "audit_events": ("team", "occurred_at", "event", "risk", "is_outside_working_hours"),
        "logins": ("team", "occurred_at", "kind", "method"),
        "sessions": ("team", "started_at", "ended_at", "ended_by"),
        "failed_login_bursts": ("team", "started_at", "failures", "success_at"),
        "permission_changes": ("team", "occurred_at", "kind", "direction", "is_own"),
        "adoption_daily": ("team", "day", "daily_active_users", "monthly_active_users"),
        "activity_daily": ("team", "day", "acting_users", "logins"),
    }.items():
        assert picked(hidden.rows(mart), *names) == picked(plain.rows(mart), *names), mart
    text = json.dumps([hidden.rows(mart) for mart in MARTS])
    assert "@pseudonym.invalid" in text
    assert not re.search(r"\w@(?!pseudonym\.invalid)", text)


def test_files_that_were_appended_to_hold_each_row_once(tmp_path: Path) -> None:
    def member(name: str, role: str, team: str = "a") -> str:
        return json.dumps({"team": team, "user_id": name, "user_role": role}) + "\n"

    files = tmp_path / "files"
    files.mkdir()
    (files / "members.jsonl").write_text(
        # Three runs of one team, with one of another in between.
        "".join(member(name, "OLD") for name in "abcd")
        + "".join(member(name, "OLD", "b") for name in "ab")
        + "".join(member(name, "NEW") for name in "abd")
        + "".join(member(name, "NEWEST") for name in "ab")
    )
    (files / "members-20260101T000000.jsonl").write_text(member("a", "NEW", "b"))
    (files / "members_of_somebody_else.jsonl").write_text(member("x", "NEW"))
    warehouse = Files(tmp_path)

    warehouse.build("--select", "stg_celonis__members")

    assert picked(
        warehouse.rows("stg_celonis__members"), "team", "user_id", "user_role", "is_current"
    ) == Counter(
        [
            ("a", "a", "NEWEST", True),
            ("a", "b", "NEWEST", True),
            ("a", "c", "OLD", False),
            # Who was last in the list may be noticed one run later.
            ("a", "d", "NEW", True),
            ("b", "a", "NEW", True),
            ("b", "b", "OLD", False),
        ]
    )


@pytest.mark.parametrize("kind", ["duckdb", "postgres"])
def test_what_was_not_loaded_counts_as_empty(kind: str, postgres_url: str, tmp_path: Path) -> None:
    warehouse: Warehouse = (
        Files(tmp_path) if kind == "duckdb" else Tables(tmp_path, url=postgres_url)
    )
    try:
        if kind == "postgres":
            with Sandbox(seed=1, days=2, now=NOW) as sandbox:
                config = {"api_url": sandbox.url, "app_key": sandbox.app_key}
                warehouse.load(run_tap(config, state=None, streams=["audit_logs"]).lines)

        warehouse.build(*WITHOUT_TESTS)

        assert warehouse.rows("log_health") == [] or kind == "postgres"
        assert bool(warehouse.rows("audit_events")) == (kind == "postgres")
        assert warehouse.rows("logins") == []
        assert not any(row["is_gone"] for row in warehouse.rows("users"))
    finally:
        if isinstance(warehouse, Tables):
            warehouse.drop()


def test_working_hours_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    finished = Files(tmp_path, {"working_hours_start": "19:00", "working_hours_end": "7:00"}).dbt(
        "compile", "--select", "audit_events"
    )
    assert finished.returncode
    assert (
        "working_hours_start must be a time of the day before working_hours_end" in finished.stdout
    )


def load_files(warehouse: Warehouse, names: str) -> None:
    event = {"team": "t", "timestamp": NOW, "event": "E"}
    file = warehouse.folder / "files" / "audit_logs.jsonl"
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(f"{json.dumps(event | {'event_id': name})}\n" for name in names))


def load_tables(warehouse: Warehouse, names: str) -> None:
    assert isinstance(warehouse, Tables)
    schema = warehouse.environment["CELONIS_SCHEMA"]
    with psycopg.connect(warehouse.url, options=f"-c search_path={schema}") as connection:
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}".encode())
        connection.execute(
            "CREATE TABLE IF NOT EXISTS audit_logs"
            " (team text, event_id text, timestamp timestamp, event text)"
        )
        connection.execute("DELETE FROM audit_logs")
        connection.execute(
            "INSERT INTO audit_logs SELECT 't', unnest(%s::text[]), %s::timestamp, 'E'",
            [[*names], NOW],
        )


@pytest.mark.parametrize("kind", ["duckdb", "postgres"])
def test_events_that_are_not_loaded_any_more_go(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    warehouse: Warehouse = Files(tmp_path)
    load = load_files
    if kind == "postgres":
        warehouse = Tables(tmp_path, url=request.getfixturevalue("postgres_url"))
        request.addfinalizer(warehouse.drop)
        load = load_tables
    for names in ("ab", "bc"):
        load(warehouse, names)
        warehouse.build("--select", "+int_audit_events", *WITHOUT_TESTS)

        rows = warehouse.rows("int_audit_events")
        assert sorted(row["event_id"] for row in rows) == [*names]
