"""The shipped `meltano.yml` with the real Meltano, target and PostgreSQL, against the sandbox."""

from __future__ import annotations

import json
import socket
import subprocess
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, LiteralString
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from projects import BIN, TIMEOUT_SECONDS, Project, quiet_variables
from psycopg import sql

from tap_celonis_audit.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Generator

ROOT = Path(__file__).resolve().parent.parent
JSONL = ROOT / ".meltano" / "loaders" / "target-jsonl" / "venv" / "bin" / "target-jsonl"

NOW = "2026-03-01T12:00:00Z"
SETTLE = timedelta(seconds=120)
TWIN = {
    "userId": "8161c24e-2b32-44eb-bedb-ede2267be989 (zoë.łuczak@example.com)",
    "userRole": "ADMIN",
    "event": "STUDIO_NODE_UPDATED",
    "timestamp": "2026-02-25T14:52:10.903Z",
    "message": {"nodeName": "売上", "Analysis Id": "7", "old_permissions": ["READ", "WRITE"]},
    "ipAddress": None,
    "port": "8888",
    "diffPayload": None,
}
LOGIN_TWIN = {
    "authenticationEventType": "LOGIN_SSO",
    "email": "zoë.łuczak@example.com",
    "success": True,
    "timestamp": "2026-02-25T14:52:09.003Z",
}


@dataclass(frozen=True, slots=True)
class Pipeline(Project):
    """One pipeline: its project, and the schema that it fills."""

    url: str
    schema: str

    def copy(
        self, *options: str, taps: tuple[str, ...] = ("tap-celonis-audit",), **variables: str
    ) -> None:
        self.run(
            *options, *(name for tap in taps for name in (tap, "target-postgres")), **variables
        )

    def ask(self, query: LiteralString, *parameters: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, options=f"-c search_path={self.schema}") as connection:
            return connection.execute(query, parameters).fetchall()

    def audit_logs(self) -> Counter[tuple[Any, ...]]:
        rows = self.ask("SELECT timestamp, event, user_id, ip_address, port FROM audit_logs")
        return Counter(rows)

    def login_history(self) -> Counter[tuple[Any, ...]]:
        query: LiteralString = (
            "SELECT timestamp, authentication_event_type, email, success FROM login_history"
        )
        return Counter(self.ask(query))

    def members(self) -> set[tuple[Any, ...]]:
        query: LiteralString = (
            "SELECT user_id, email, array_length(groups, 1) FROM members"
            " WHERE _sdc_deleted_at IS NULL"
        )
        return set(self.ask(query))

    def permissions(self) -> Counter[tuple[Any, ...]]:
        query: LiteralString = (
            "SELECT subject_id, object_id, actions FROM permissions WHERE _sdc_deleted_at IS NULL"
        )
        return Counter((*ids, tuple(actions)) for *ids, actions in self.ask(query))

    def written(self) -> dict[str, tuple[Any, ...]]:
        """Tell when each row was written last, to see which ones a run wrote again."""
        return {
            event_id: tuple(written)
            for event_id, *written in self.ask(
                "SELECT event_id, _sdc_batched_at, _sdc_sequence FROM audit_logs"
                " UNION ALL SELECT event_id, _sdc_batched_at, _sdc_sequence FROM login_history"
            )
        }


def audit_truth(sandbox: Sandbox) -> Counter[tuple[Any, ...]]:
    """Give the events that a run should have copied by now, as the rows they should be."""
    return Counter(
        (at(e["timestamp"]), e["event"], e.get("userId"), e.get("ipAddress"), e.get("port"))
        for e in sandbox.audit.visible
        if at(e["timestamp"]) < settled(sandbox)
    )


def login_truth(sandbox: Sandbox) -> Counter[tuple[Any, ...]]:
    return Counter(
        (at(e["timestamp"]), e["authenticationEventType"], e["email"], e["success"])
        for e in sandbox.logins.visible
        if at(e["timestamp"]) < settled(sandbox)
    )


def members_truth(sandbox: Sandbox) -> set[tuple[Any, ...]]:
    return {
        (
            member["userId"],
            member["nameAndEmail"].rpartition("(")[2].rstrip(")"),
            len(member["group"]) or None,
        )
        for member in sandbox.members.visible
    }


def permissions_truth(sandbox: Sandbox) -> Counter[tuple[Any, ...]]:
    return Counter(
        (each["subjectId"], each["objectId"], tuple(each["actions"]))
        for each in sandbox.grants.visible
    )


def settled(sandbox: Sandbox) -> datetime:
    now = datetime.fromtimestamp(sandbox.clock.now_ms / 1000, tz=UTC)
    return now.replace(tzinfo=None) - SETTLE


def at(timestamp: str) -> datetime:
    return datetime.fromisoformat(timestamp).replace(tzinfo=None)


def drop_schema(url: str, schema: str) -> None:
    with psycopg.connect(url) as connection:
        drop = sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema))
        connection.execute(drop)


@pytest.fixture(scope="module")
def sandbox() -> Generator[Sandbox]:
    with Sandbox(seed=1, days=20, now=NOW) as sandbox:
        sandbox.audit.extend([TWIN, TWIN, TWIN])
        sandbox.logins.extend([LOGIN_TWIN, LOGIN_TWIN])
        # Nothing of the past is then too young to be read.
        sandbox.happen(audit=0, logins=0, advance_seconds=600)
        yield sandbox


@pytest.fixture(scope="module")
def strangers() -> Generator[socket.socket]:
    """Stand where Meltano would look for its hub and send its statistics to."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        yield listener


@pytest.fixture(scope="module")
def pipeline(
    sandbox: Sandbox,
    strangers: socket.socket,
    postgres_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Generator[Pipeline]:
    """Give a pipeline that nothing has run in yet, in a schema of its own."""
    schema = f"celonis_{uuid4().hex}"
    database = tmp_path_factory.mktemp("meltano") / "meltano.db"
    stranger = f"http://127.0.0.1:{strangers.getsockname()[1]}"
    variables = {
        "MELTANO_HUB_URL": stranger,
        "MELTANO_SNOWPLOW_COLLECTOR_ENDPOINTS": json.dumps([stranger]),
        "TAP_CELONIS_AUDIT_API_URL": sandbox.url,
        "TAP_CELONIS_AUDIT_APP_KEY": sandbox.app_key,
        "TARGET_POSTGRES_DEFAULT_TARGET_SCHEMA": schema,
        "TARGET_POSTGRES_SQLALCHEMY_URL": postgres_url.replace(
            "postgresql://", "postgresql+psycopg://", 1
        ),
    }
    quiet = quiet_variables(database)
    yield Pipeline(ROOT, quiet | variables, postgres_url, schema)
    drop_schema(postgres_url, schema)


@pytest.fixture(scope="module")
def loaded(pipeline: Pipeline) -> Pipeline:
    """Give the pipeline after its first run."""
    pipeline.copy()
    return pipeline


def test_every_settled_event_arrives_once(loaded: Pipeline, sandbox: Sandbox) -> None:
    truth = audit_truth(sandbox)

    assert truth.total() > 1000
    assert max(truth.values()) >= 3, "the sandbox holds identical twins"
    assert loaded.audit_logs() == truth
    assert loaded.login_history() == login_truth(sandbox)
    assert loaded.ask("SELECT count(DISTINCT event_id) FROM audit_logs") == [(truth.total(),)]


def test_members_and_permissions_arrive_whole(loaded: Pipeline, sandbox: Sandbox) -> None:
    assert loaded.members() == members_truth(sandbox)
    assert loaded.permissions() == permissions_truth(sandbox)
    assert len(loaded.members()) > 300
    group = "SELECT count(*) FROM members, unnest(groups) AS g WHERE g ->> 'team_role' = 'ANALYST'"
    assert loaded.ask(group) == [
        (
            sum(
                group["teamRole"] == "ANALYST"
                for member in sandbox.members.visible
                for group in member["group"]
            ),
        )
    ]


def test_the_columns_have_the_types_of_their_values(loaded: Pipeline) -> None:
    columns = loaded.ask(
        "SELECT table_name, column_name, data_type FROM information_schema.columns"
        r" WHERE table_schema = %s AND column_name NOT LIKE '\_sdc\_%%'",
        loaded.schema,
    )

    text, moment = "character varying", "timestamp without time zone"
    types: dict[str, dict[str, str]] = {}
    for table, column, kind in columns:
        types.setdefault(table, {})[column] = text if kind == "text" else kind
    assert types == {
        "audit_logs": {
            "event_id": text,
            "timestamp": moment,
            "event": text,
            "user_id": text,
            "actor_id": text,
            "actor_email": text,
            "actor_type": text,
            "user_role": text,
            "ip_address": text,
            "port": text,
            "message": "jsonb",
            "diff_payload": "jsonb",
            "team": text,
            "additional_fields": "jsonb",
        },
        "login_history": {
            "event_id": text,
            "timestamp": moment,
            "authentication_event_type": text,
            "email": text,
            "success": "boolean",
            "team": text,
            "additional_fields": "jsonb",
        },
        "members": {
            "user_id": text,
            "name_and_email": text,
            "name": text,
            "email": text,
            "user_role": text,
            "status": text,
            "last_login": text,
            "last_login_at": moment,
            "inactivity_days": "bigint",
            "groups": "ARRAY",
            "team": text,
            "additional_fields": "jsonb",
        },
        "permissions": {
            "permission_id": text,
            "subject_name": text,
            "subject_type": text,
            "subject_id": text,
            "groups": text,
            "role": text,
            "service": text,
            "object_name": text,
            "object_type": text,
            "object_id": text,
            "actions": "ARRAY",
            "team": text,
            "additional_fields": "jsonb",
        },
        "studio_adoption": {
            "event_id": text,
            "timestamp": moment,
            "user": "jsonb",
            "asset": "jsonb",
            "team": text,
            "additional_fields": "jsonb",
        },
    }


def test_the_primary_keys_are_those_of_the_streams(loaded: Pipeline) -> None:
    keys = loaded.ask(
        "SELECT constraints.table_name, usage.column_name"
        " FROM information_schema.table_constraints AS constraints"
        " JOIN information_schema.key_column_usage AS usage USING (constraint_schema,"
        " constraint_name) WHERE constraint_type = 'PRIMARY KEY' AND constraint_schema = %s"
        " ORDER BY 1, 2",
        loaded.schema,
    )

    assert keys == [
        ("audit_logs", "event_id"),
        ("login_history", "event_id"),
        ("members", "team"),
        ("members", "user_id"),
        ("permissions", "permission_id"),
        ("studio_adoption", "event_id"),
    ]


def test_messages_can_be_queried_as_json(loaded: Pipeline) -> None:
    rows = loaded.ask(
        "SELECT message ->> 'nodeName', message ->> 'Analysis Id',"
        " message -> 'old_permissions' ->> 1, actor_email, actor_type FROM audit_logs"
        ' WHERE message @> \'{"nodeName": "売上"}\''
    )

    assert rows == [("売上", "7", "WRITE", "zoë.łuczak@example.com", "USER")] * 3


def test_a_second_run_writes_nothing(loaded: Pipeline) -> None:
    before = loaded.written()

    result = loaded.meltano("run", "celonis-to-postgres")  # the same two, as the scheduled job

    assert result.returncode == 0, result.stderr[-5000:]
    assert loaded.written() == before


def test_new_events_arrive_and_nothing_else(loaded: Pipeline, sandbox: Sandbox) -> None:
    before, known = loaded.written(), audit_truth(sandbox)

    sandbox.happen(audit=10, logins=0, advance_seconds=600)
    loaded.copy()

    happened = audit_truth(sandbox) - known
    assert happened.total() == 10
    assert loaded.audit_logs() - known == happened
    after = loaded.written()
    assert {key: after[key] for key in before} == before, "no old row is written again"


def test_a_full_refresh_updates_the_rows_that_are_there(loaded: Pipeline) -> None:
    before, audit, logins = loaded.written(), loaded.audit_logs(), loaded.login_history()

    loaded.copy("--full-refresh")

    after = loaded.written()
    assert loaded.audit_logs() == audit
    assert loaded.login_history() == logins
    assert after.keys() == before.keys(), "the keys of events do not depend on the run"
    assert all(after[key] != before[key] for key in before), "each row was written again"


def test_settings_reach_the_tap_through_meltano(loaded: Pipeline, sandbox: Sandbox) -> None:
    schema = f"{loaded.schema}_settings"
    bounded = replace(loaded, schema=schema)
    sandbox.requests.clear()

    try:
        bounded.copy(
            "--state-id-suffix=settings",
            TAP_CELONIS_AUDIT_START_DATE="2026-02-25",
            TAP_CELONIS_AUDIT_END_DATE="2026-02-26T00:00:00Z",
            TAP_CELONIS_AUDIT_PAGE_SIZE="50",
            TARGET_POSTGRES_DEFAULT_TARGET_SCHEMA=schema,
        )
        rows = bounded.audit_logs()
    finally:
        drop_schema(loaded.url, schema)

    day = datetime(2026, 2, 25)  # noqa: DTZ001 - as PostgreSQL gives it
    truth = audit_truth(sandbox)
    assert rows == Counter(
        {row: n for row, n in truth.items() if day <= row[0] < day + timedelta(days=1)}
    )
    sizes = {r.query["pageSize"] for r in sandbox.requests if "pageSize" in r.query}
    assert max(map(int, sizes)) == 50


def test_the_other_ways_in(loaded: Pipeline, sandbox: Sandbox) -> None:
    nothing = {"TAP_CELONIS_AUDIT_APP_KEY": ""}
    api_key = {"TAP_CELONIS_AUDIT_API_KEY": sandbox.api_key}
    oauth = {
        "TAP_CELONIS_AUDIT_CLIENT_ID": sandbox.client_id,
        "TAP_CELONIS_AUDIT_CLIENT_SECRET": sandbox.client_secret,
    }

    for way in (api_key, oauth):
        result = loaded.meltano("invoke", "tap-celonis-audit:test-connection", **nothing, **way)
        assert result.returncode == 0, result.stderr[-5000:]


def test_a_wrong_key_fails_and_is_not_shown(loaded: Pipeline) -> None:
    wrong = {"TAP_CELONIS_AUDIT_APP_KEY": "not-the-key-of-this-team"}

    for arguments in (
        ("invoke", "tap-celonis-audit:test-connection"),
        ("run", "--state-id-suffix=wrong-key", "tap-celonis-audit", "target-postgres"),
    ):
        result = loaded.meltano(*arguments, **wrong)
        assert result.returncode != 0
        assert "401" in result.stdout + result.stderr
        assert "not-the-key-of-this-team" not in result.stdout + result.stderr


def test_wrong_settings_are_told_wherever_meltano_has_them_from(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    """Meltano itself would end with a traceback about a file, or take a typing error for false."""
    project = (ROOT / "meltano.yml").read_text(encoding="utf-8")
    before, key, after = project.partition("          app_key: sandbox-app-key-1\n")
    assert key
    wrong = "          settle_seconds: soon\n          max_retries: 1.5\n"
    (tmp_path / "meltano.yml").write_text(before + key + wrong + after, encoding="utf-8")
    (tmp_path / ".meltano").mkdir()
    (tmp_path / ".meltano" / "extractors").symlink_to(ROOT / ".meltano" / "extractors")
    dotenv = tmp_path / ".env"
    dotenv.write_text(
        "TAP_CELONIS_AUDIT_INCLUDE_INTERNAL_MEMBERS=maybe\nTAP_CELONIS_AUDIT_MAX_RUN_MINUTES=\n"
    )
    variables = {
        "TAP_CELONIS_AUDIT_PAGE_SIZE": "abc",
        "TAP_CELONIS_AUDIT_OAUTH_CLIENT_AUTH": "Basic",
        "TAP_CELONIS_AUDIT_PAGESIZE": "50",
    }
    told = [
        "settle_seconds must be a whole number.",
        "max_retries must be a whole number.",
        "include_internal_members must be true or false.",
        "page_size must be a whole number.",
        "oauth_client_auth must be one of auto, basic, post.",
        '"pagesize" is not a setting of this tap: did you mean "page_size"?',
    ]
    for command in ("tap-celonis-audit", "tap-celonis-audit:test-connection"):
        result = replace(pipeline, folder=tmp_path).meltano(
            "--env-file", str(dotenv), "invoke", command, **variables
        )
        assert result.returncode != 0
        _, _, said = result.stderr.rpartition("Skipping parse of env var settings...\n")
        assert sorted(said.splitlines()) == sorted(told)


def test_meltano_hides_the_secrets(loaded: Pipeline) -> None:
    secrets = {
        f"TAP_CELONIS_AUDIT_{name}": f"hidden-{name}"
        for name in ("APP_KEY", "API_KEY", "CLIENT_ID", "CLIENT_SECRET")
    } | {"TARGET_POSTGRES_PASSWORD": "hidden-password"}

    for plugin in ("tap-celonis-audit", "target-postgres"):
        result = loaded.meltano("config", "list", plugin, **secrets)
        assert result.returncode == 0, result.stderr[-5000:]
        assert "(redacted)" in result.stdout
        assert "hidden-" not in result.stdout


def test_without_meltano_a_pipe_is_enough(
    pipeline: Pipeline, sandbox: Sandbox, tmp_path: Path
) -> None:
    if not JSONL.exists():  # it lives apart, since it excludes Meltano's own dependencies
        installed = pipeline.meltano("install", "loader", "target-jsonl")
        assert installed.returncode == 0, installed.stderr[-5000:]
    config = tmp_path / "target.json"
    config.write_text(json.dumps({"destination_path": str(tmp_path), "do_timestamp_file": False}))
    with subprocess.Popen(
        [BIN / "tap-celonis-audit", "--config=ENV"],
        env=pipeline.variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as tap:
        state = subprocess.run(
            [JSONL, "--config", config],
            stdin=tap.stdout,
            capture_output=True,
            check=True,
            timeout=TIMEOUT_SECONDS,
        ).stdout

    assert tap.returncode == 0
    assert set(json.loads(state.splitlines()[-1])["bookmarks"]) == {
        "audit_logs",
        "login_history",
        "members",
        "permissions",
        "studio_adoption",
    }
    lines = (tmp_path / "audit_logs.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert Counter((at(r["timestamp"]), r["event"]) for r in records) == Counter(
        row[:2] for row in audit_truth(sandbox).elements()
    )


def test_models_are_built_in_postgres(loaded: Pipeline, sandbox: Sandbox) -> None:
    schema, address = f"{loaded.schema}_models", urlsplit(loaded.url)
    variables = {
        "DBT_POSTGRES_SCHEMA": schema,
        "TARGET_POSTGRES_HOST": str(address.hostname),
        "TARGET_POSTGRES_PORT": str(address.port or 5432),
        "TARGET_POSTGRES_USER": str(address.username),
        "TARGET_POSTGRES_PASSWORD": str(address.password),
        "TARGET_POSTGRES_DATABASE": address.path.strip("/"),
    }
    try:
        result = loaded.meltano("run", "celonis-to-postgres-models", **variables)
        assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-5000:]
        count: LiteralString = "SELECT count(*) FROM audit_events"
        assert replace(loaded, schema=schema).ask(count) == [(audit_truth(sandbox).total(),)]
    finally:
        drop_schema(loaded.url, schema)


def test_models_are_built_over_files(pipeline: Pipeline, tmp_path: Path) -> None:
    variables = {
        "DBT_DUCKDB_FILES": str(tmp_path),
        "DBT_DUCKDB_PATH": str(tmp_path / "models.duckdb"),
        "TARGET_JSONL_DESTINATION_PATH": str(tmp_path),
    }
    result = pipeline.meltano(
        "run", "--state-id-suffix=files", "celonis-to-duckdb-models", **variables
    )

    assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-5000:]
    assert (tmp_path / "models.duckdb").stat().st_size > (
        tmp_path / "audit_logs.jsonl"
    ).stat().st_size

    written = pipeline.meltano("invoke", "dbt-duckdb:ocsf", str(tmp_path / "ocsf"), **variables)
    assert written.returncode == 0, written.stderr[-5000:]
    loaded = sum(
        len((tmp_path / f"{log}.jsonl").read_text(encoding="utf-8").splitlines())
        for log in ("audit_logs", "login_history")
    )
    assert f"Batch 1: {loaded:,} events in " in written.stdout


def test_people_and_permissions_that_are_gone(loaded: Pipeline) -> None:
    """What vanishes between two runs is marked, and with `hard_delete` deleted."""
    schema = f"{loaded.schema}_gone"
    wishes = {
        "TAP_CELONIS_AUDIT_EMIT_ACTIVATE_VERSION_MESSAGES": "true",
        "TARGET_POSTGRES_DEFAULT_TARGET_SCHEMA": schema,
    }
    try:
        with Sandbox(seed=3, days=1, now=NOW) as sandbox:
            url, key = sandbox.url, sandbox.app_key
            wishes |= {"TAP_CELONIS_AUDIT_API_URL": url, "TAP_CELONIS_AUDIT_APP_KEY": key}
            gone = replace(loaded, schema=schema, variables=loaded.variables | wishes)
            gone.copy("--state-id-suffix=gone")
            people, logs = members_truth(sandbox), gone.audit_logs()
            assert gone.members() == people

            sandbox.happen(joins=2, leaves=3, grants=2, revocations=4)
            gone.copy("--state-id-suffix=gone")
            assert gone.members() == members_truth(sandbox) != people
            assert gone.permissions() == permissions_truth(sandbox)
            assert gone.ask("SELECT count(*) FROM members WHERE _sdc_deleted_at IS NOT NULL") == [
                (3,)
            ]
            latest: LiteralString = (
                "SELECT user_id FROM members WHERE (team, _sdc_sync_started_at) IN"
                " (SELECT team, max(_sdc_sync_started_at) FROM members GROUP BY team)"
            )
            assert {user for (user,) in gone.ask(latest)} == {
                user for user, *_ in members_truth(sandbox)
            }

            gone.copy("--state-id-suffix=gone", TARGET_POSTGRES_HARD_DELETE="true")
            assert gone.ask("SELECT count(*) FROM members") == [(len(sandbox.members),)]
            assert gone.ask("SELECT count(*) FROM permissions") == [(len(sandbox.grants),)]
            assert gone.audit_logs() == logs
    finally:
        drop_schema(loaded.url, schema)


SECOND_TEAM = """
  - name: tap-celonis-audit-b
    inherit_from: tap-celonis-audit
"""


def test_two_teams_share_the_tables(loaded: Pipeline, tmp_path: Path) -> None:
    """One plugin inherits from the other; rows and states do not mix."""
    project = (ROOT / "meltano.yml").read_text(encoding="utf-8")
    before, loaders, after = project.partition("\n  loaders:\n")
    assert loaders
    (tmp_path / "meltano.yml").write_text(before + SECOND_TEAM + loaders + after, encoding="utf-8")
    (tmp_path / ".meltano").mkdir()
    for plugins in ("extractors", "loaders"):  # installed already
        (tmp_path / ".meltano" / plugins).symlink_to(ROOT / ".meltano" / plugins)
    schema = f"{loaded.schema}_teams"
    try:
        with (
            Sandbox(seed=1, days=1, now=NOW) as one,
            Sandbox(seed=2, days=1, now=NOW) as other,
        ):
            settings = {
                "TAP_CELONIS_AUDIT_API_URL": one.url,
                "TAP_CELONIS_AUDIT_APP_KEY": one.app_key,
                "TAP_CELONIS_AUDIT_B_API_URL": other.url.replace("127.0.0.1", "localhost"),
                "TAP_CELONIS_AUDIT_B_APP_KEY": other.app_key,
                "TARGET_POSTGRES_DEFAULT_TARGET_SCHEMA": schema,
            }
            both = replace(
                loaded, schema=schema, variables=loaded.variables | settings, folder=tmp_path
            )
            teams = (one, other)
            for _ in range(2):
                for team in teams:
                    team.happen(audit=5, logins=5, joins=1)
                both.copy(
                    "--state-id-suffix=teams", taps=("tap-celonis-audit", "tap-celonis-audit-b")
                )
                assert both.audit_logs() == audit_truth(one) + audit_truth(other)
                assert both.login_history() == login_truth(one) + login_truth(other)
                assert both.members() == members_truth(one) | members_truth(other)
                assert both.permissions() == permissions_truth(one) + permissions_truth(other)
            rows: LiteralString = "SELECT team, count(*) FROM members GROUP BY team ORDER BY team"
            assert both.ask(rows) == [
                ("127.0.0.1", len(one.members)),
                ("localhost", len(other.members)),
            ]
    finally:
        drop_schema(loaded.url, schema)


@pytest.mark.usefixtures("loaded")
def test_meltano_asked_nobody_else(strangers: socket.socket) -> None:
    with pytest.raises(BlockingIOError):
        strangers.accept()
