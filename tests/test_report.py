"""The report on the models: true, complete, harmless, and good to read in a real browser."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from outputs import run_tap
from projects import Project, quiet_variables
from warehouses import DBT, REPORT, Files, Row, Tables, Warehouse, install_report

from bench.environments import Environment
from tap_celonis_audit.sandbox import Sandbox
from tap_celonis_audit.sandbox.stories import DAYS_NEEDED
from tap_celonis_audit.streams import STREAMS

if TYPE_CHECKING:
    from collections.abc import Generator

ROOT = Path(__file__).resolve().parent.parent
QUERIES = ROOT / "report" / "celonis_audit_report" / "queries"
BROWSER = Path(__file__).parent / "browser"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
TIMEOUT_SECONDS = 300

NOW = "2026-03-01T12:00:00Z"
AS_OF = datetime.fromisoformat("2026-03-01T12:00:00")
SINCE = AS_OF - timedelta(days=30)
WITHOUT_TESTS = ("--exclude-resource-type", "test", "--exclude-resource-type", "unit_test")

# What the story is called among the findings.
FINDING_OF = {
    "failed_login_burst": "failed_login_burst_then_login",
    "admin_granted_at_night": "admin_granted_off_hours",
    "log_deleted": "log_deleted",
    "dormant_admin": "dormant_admin",
    "gone_with_access": "gone_with_access",
}

SCRIPT = "<script>alert(document.domain)</script>"
HOSTILE = (
    SCRIPT,
    f"</script>{SCRIPT}",
    "\"><img src=x onerror=alert(1)>'",
    f"</text></svg>{SCRIPT}",
    "{{ 7 * 7 }} {% raw %} &lt;b&gt;",
    "javascript:alert(1)",
    "a bell\x07, an escape\x1b[31m, and no character\uffff",
)
#: Permissions that lack something, or have it in a strange form.
ODD: tuple[tuple[str, Row], ...] = (
    (SCRIPT, {"object_type": None}),
    (SCRIPT, {"subject_type": None}),
    (SCRIPT, {"subject_type": HOSTILE[-1]}),
    (SCRIPT, {"object_type": None, "subject_type": None}),
)
VOID = {"meta", "link", "input", "br", "img", "hr"}

# Lays the rows of all tables in another order: a different one for each number.
_SHUFFLE = """
import duckdb, sys
path, schema, number = sys.argv[1:]
database = duckdb.connect(path)
database.execute(f'use "{schema}"')
for (name,) in database.execute(
    "select table_name from duckdb_tables() where schema_name = current_schema()"
).fetchall():
    database.execute(
        f'create or replace table "{name}" as'
        f' select * from "{name}" as given order by hash(given, {number})'
    )
"""


def make_report(
    warehouse: Warehouse, *arguments: str | Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Make the report, good or bad."""
    install_report()
    mine = ("DBT_", "CELONIS_", "TARGET_", "PYTHONDONTWRITEBYTECODE")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(mine)}
    return subprocess.run(
        [REPORT, *arguments],
        cwd=warehouse.folder,
        env=inherited | warehouse.environment | {"DBT_TARGET": warehouse.kind} | variables,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=TIMEOUT_SECONDS,
    )


@dataclass
class Page(HTMLParser):
    """What a page says, read without a browser."""

    text: str
    tags: Counter[str] = field(default_factory=Counter)
    attributes: list[tuple[str, str, str]] = field(default_factory=list)
    findings: list[dict[str, str]] = field(default_factory=list)
    figures: dict[str, str] = field(default_factory=dict)
    tables: dict[str, list[list[str]]] = field(default_factory=dict)
    contents: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[str] = []
        self._term = self._table = ""
        self.feed(self.text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        given = {name: value or "" for name, value in attrs}
        self.attributes += [(tag, name, value) for name, value in given.items()]
        if "data-finding" in given:
            self.findings.append({"kind": given["data-kind"], "text": ""})
        match tag:
            case "table":
                self._table = given["id"].removeprefix("table-")
                self.tables[self._table] = []
            case "tr":
                self.tables[self._table].append([])
            case "td" | "th":
                self.tables[self._table][-1].append("")
            case "dt":
                self._term = ""
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        inside = self._open
        if {"script", "style", "h1", "title"} & {*inside[-1:]}:
            self.contents.setdefault(inside[-1], []).append(data)
        if "article" in inside and "li" in inside:
            self.findings[-1]["text"] += data
        if inside[-1:] == ["dt"]:
            self._term += data
        elif "dd" in inside and data.strip():
            self.figures.setdefault(self._term, data.strip())
        if {"td", "th"} & {*inside}:
            self.tables[self._table][-1][-1] += data.strip()

    def number(self, figure: str) -> int:
        return int(self.figures[figure].replace(",", ""))

    def rows(self, table: str) -> list[dict[str, str]]:
        head, *rows = self.tables[table]
        return [dict(zip(head, row, strict=True)) for row in rows]


@dataclass
class World:
    """A team with stories, hostile people in it, and all that the tap copied of it."""

    sandbox: Sandbox
    lines: list[Row]
    state: Row


@pytest.fixture(scope="module")
def world() -> Generator[World]:
    with Sandbox(days=DAYS_NEEDED, now=NOW, stories=True) as sandbox:
        at = "2026-02-20T10:{:02}:00.000Z".format
        sandbox.audit.extend(
            {
                "userId": f"00000000-0000-4000-8000-00000000000{number} ({text})",
                "userRole": text,
                "event": "PERMISSIONS_UPDATE",
                "timestamp": at(number),
                "message": {
                    "subject_description": text,
                    "subject_type": "GROUP",
                    "object_description": text,
                    "old_permissions": [],
                    "new_permissions": [text],
                },
                "ipAddress": text,
                "diffPayload": {"oldValue": text, "newValue": text},
            }
            for number, text in enumerate(HOSTILE)
        )
        sandbox.logins.extend(
            {
                "authenticationEventType": ("BAD_CREDENTIALS", HOSTILE[3], HOSTILE[-1])[number % 3],
                "email": HOSTILE[2],
                "success": False,
                "timestamp": at(number),
            }
            for number in range(12)
        )
        config = {"api_url": sandbox.url, "app_key": sandbox.app_key}
        output = run_tap(config, state=None, streams=[stream.name for stream in STREAMS])
        given = [
            place
            for place, line in enumerate(output.lines)
            if line["type"] == "RECORD" and line["stream"] == "permissions"
        ]
        ordinary = output.lines[given[0]]
        hostile = [
            ordinary
            | {
                "record": {
                    **ordinary["record"],
                    **dict.fromkeys(("subject_name", "object_name", "object_type"), text),
                    "permission_id": f"hostile-{number}",
                    "actions": ["DELETE", text],
                    **odd,
                }
            }
            for number, (text, odd) in enumerate([*((text, {}) for text in HOSTILE), *ODD])
        ]
        stop = given[-1] + 1
        lines = [*output.lines[:stop], *hostile, *output.lines[stop:]]
        yield World(sandbox, lines, output.states[-1])


@pytest.fixture(scope="module")
def files(world: World, tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    folder = tmp_path_factory.mktemp("files")
    (folder / "files").mkdir()
    warehouse = Files(folder, {"as_of": f"{AS_OF}"})
    warehouse.load(world.lines)
    warehouse.build(*WITHOUT_TESTS)
    return warehouse


@pytest.fixture(scope="module")
def tables(
    world: World, postgres_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Warehouse]:
    warehouse = Tables(tmp_path_factory.mktemp("tables"), {"as_of": f"{AS_OF}"}, url=postgres_url)
    warehouse.load(world.lines)
    warehouse.build(*WITHOUT_TESTS)
    yield warehouse
    warehouse.drop()


@pytest.fixture(scope="module")
def path(files: Warehouse, world: World) -> Path:
    (files.folder / "state.json").write_text(json.dumps({"singer_state": world.state}))
    done = make_report(files, "--state", "state.json")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "output/report.html\n"
    return files.folder / "output" / "report.html"


@pytest.fixture(scope="module")
def page(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


class TestWhatItSays:
    def test_each_story_is_found(self, page: Page, world: World) -> None:
        stories = world.sandbox.state()["stories"]
        assert {story["kind"] for story in stories} == FINDING_OF.keys()
        for story in stories:
            moment = f"{story['at'][:10]} {story['at'][11:16]}"
            (text,) = (
                finding["text"]
                for finding in page.findings
                if finding["kind"] == FINDING_OF[story["kind"]] and moment in finding["text"]
            )
            assert story["email"] in text
            # Who left is named by the finding, and not who let them go.
            if story["by"] and story["kind"] != "gone_with_access":
                assert story["by"] in text
        burst = next(story for story in stories if story["kind"] == "failed_login_burst")
        (found,) = (one for one in page.findings if one["kind"] == FINDING_OF[burst["kind"]])
        assert f"{burst['failures']} failed logins" in found["text"]

    def test_with_pseudonyms_it_finds_the_same_and_names_nobody(self, tmp_path: Path) -> None:
        with Sandbox(days=DAYS_NEEDED, now=NOW, stories=True) as sandbox:
            secret = {"pseudonymization": "hmac-sha256", "pseudonymization_key": "k" * 32}
            config = {"api_url": sandbox.url, "app_key": sandbox.app_key, **secret}
            output = run_tap(config, state=None, streams=[stream.name for stream in STREAMS])
            stories = sandbox.state()["stories"]
            addresses = {record["email"].lower() for record in sandbox.logins.visible}
        (tmp_path / "files").mkdir()
        warehouse = Files(tmp_path, {"as_of": f"{AS_OF}"})
        warehouse.load(output.lines)
        warehouse.build(*WITHOUT_TESTS)
        assert make_report(warehouse).returncode == 0
        text = (tmp_path / "output" / "report.html").read_text(encoding="utf-8")
        found = Page(text).findings
        for story in stories:
            moment = f"{story['at'][:10]} {story['at'][11:16]}"
            kind = FINDING_OF[story["kind"]]
            (finding,) = (one for one in found if one["kind"] == kind and moment in one["text"])
            assert "@pseudonym.invalid" in finding["text"]
        assert not [address for address in addresses if address in text.lower()]

    def test_the_verdict_counts_the_findings(self, page: Page) -> None:
        assert page.contents["h1"] == [f"{len(page.findings)} things to look at"]
        assert len(page.findings) < 20

    def test_the_deleted_day_is_seen_in_the_log(self, page: Page, world: World) -> None:
        (deleted,) = (s for s in world.sandbox.state()["stories"] if s["kind"] == "log_deleted")
        (day,) = (
            row
            for row in page.rows("log_days-data")
            if (row["Log"], row["Day"]) == ("audit_logs", deleted["day"])
        )
        assert (day["Events"], day["Is silent"]) == ("0", "yes")

    def test_figures_are_those_of_the_sandbox(self, page: Page, world: World) -> None:
        sandbox = world.sandbox
        state = sandbox.state()
        recent = [
            record
            for record in sandbox.logins.visible
            if SINCE <= datetime.fromisoformat(record["timestamp"][:-1]) < AS_OF
        ]
        logins = [
            record
            for record in recent
            if record["success"] and record["authenticationEventType"] != "LOGOUT"
        ]
        settled = sum(
            1
            for log in (sandbox.audit, sandbox.logins, sandbox.adoption)
            for record in log.visible
            if datetime.fromisoformat(record["timestamp"][:-1]) < AS_OF - timedelta(minutes=2)
        )
        assert page.number("Members") == state["members"]
        assert page.number("Events") == settled
        assert page.number("Events without an id of their own") == 0
        assert page.number("Logins") == len(logins)
        assert page.number("People") == len({record["email"].lower() for record in logins})
        assert page.number("Failed attempts") == sum(not record["success"] for record in recent)
        assert page.number("Administrators") == len(page.rows("admins"))
        assert page.number("Dormant members") == len(page.rows("dormant"))

    def test_the_bookmarks_of_the_tap_are_told(self, page: Page, world: World) -> None:
        until = world.state["bookmarks"]["audit_logs"]["replication_key_value"]
        assert page.figures["Audit logs, copied until"] == until[:16].replace("T", " ")

    def test_each_number_has_its_definition_and_its_query(self, page: Page) -> None:
        said = html.unescape(page.text)
        for file in QUERIES.glob("*.sql"):
            if file.stem in {"window", "teams", "findings_earlier"}:
                continue
            head, query = re.split(r"^(?!--)", file.read_text(), maxsplit=1, flags=re.MULTILINE)
            assert query.replace("{days}", "30").strip() in said, file.stem
            for line in head.splitlines()[1:]:
                assert line.partition(": ")[2] in said, line

    def test_both_databases_say_the_same(self, tables: Warehouse, world: World, page: Page) -> None:
        (tables.folder / "state.json").write_text(json.dumps({"singer_state": world.state}))
        done = make_report(tables, "--state", "state.json")
        assert (done.returncode, done.stderr) == (0, "")
        other = Page((tables.folder / "output" / "report.html").read_text(encoding="utf-8"))
        assert other.figures == page.figures
        assert other.findings == page.findings
        assert other.tables.keys() == page.tables.keys()
        for name in page.tables:
            mine, theirs = (sorted(map(comparable, one.rows(name))) for one in (page, other))
            assert mine == theirs, name


class TestThatItIsHarmless:
    def test_nothing_of_the_log_is_markup(self, page: Page) -> None:
        assert page.tags["script"] == page.tags["style"] == 1
        assert page.tags["img"] == page.tags["b"] == 0
        assert not [one for one in page.attributes if one[1].startswith("on")]
        for text in HOSTILE:
            assert any(text in cell for row in page.tables["changes"] for cell in row), text

    def test_it_points_nowhere(self, page: Page) -> None:
        links = {
            value for _, name, value in page.attributes if name in {"src", "href", "xlink:href"}
        }
        assert links
        assert all(re.fullmatch(r"#[\w-]+", link) for link in links)
        targets = {value for _, name, value in page.attributes if name == "id"}
        assert {link[1:] for link in links} <= targets

    def test_ids_are_unique(self, page: Page) -> None:
        ids = [value for _, name, value in page.attributes if name == "id"]
        assert len(ids) == len(set(ids))

    def test_the_policy_allows_its_own_script_and_style_only(self, page: Page) -> None:
        (policy,) = (
            value
            for tag, name, value in page.attributes
            if tag == "meta" and name == "content" and "default-src" in value
        )
        hashes = {
            tag: base64.b64encode(
                hashlib.sha256("".join(page.contents[tag]).encode()).digest()
            ).decode()
            for tag in ("script", "style")
        }
        assert policy.split("; ") == [
            "default-src 'none'",
            f"style-src 'sha256-{hashes['style']}'",
            f"script-src 'sha256-{hashes['script']}'",
            "base-uri 'none'",
            "form-action 'none'",
        ]
        assert not [one for one in page.attributes if one[1] == "style"]

    def test_it_is_for_its_owner_only(self, path: Path) -> None:
        assert path.stat().st_mode & 0o777 == 0o600
        assert [*path.parent.iterdir()] == [path]


def comparable(row: dict[str, str]) -> str:
    """Write a row without what each database has in its own way."""
    # Files do not tell when they were loaded, and PostgreSQL puts the keys of objects in order.
    details = json.loads(row["Details"]) if "Details" in row else None
    return json.dumps({**row, "Details": details, "Last loaded": None}, sort_keys=True)


def browser() -> str:
    """Give the browser of the system, or skip, but in CI."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        what_to_do = "Chromium is missing: make browser installs it, or says how to"
        if os.environ.get("CI") == "true":
            pytest.fail(what_to_do)
        pytest.skip(what_to_do)
    return found


@pytest.fixture(scope="module")
def seen(path: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Give what was seen on each screen, light and dark."""
    executable = browser()
    driver = Environment(BROWSER / "requirements.txt")
    driver.install()
    shots = tmp_path_factory.mktemp("shots")
    done = subprocess.run(
        [driver.python, BROWSER / "look.py", path, executable, shots],
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=TIMEOUT_SECONDS,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    screens: list[dict[str, Any]] = json.loads(done.stdout)
    assert {(one["screen"], one["scheme"]) for one in screens} == {
        (screen, scheme) for screen in ("desktop", "phone") for scheme in ("light", "dark")
    }
    return screens


class TestInABrowser:
    def test_it_says_nothing_on_the_console(self, seen: list[dict[str, Any]]) -> None:
        assert [one["said"] for one in seen] == [[]] * 4

    def test_it_asks_the_network_for_nothing(self, seen: list[dict[str, Any]], path: Path) -> None:
        assert [one["asked"] for one in seen] == [[path.as_uri()]] * 4

    def test_every_chart_is_drawn(self, seen: list[dict[str, Any]], page: Page) -> None:
        planned = page.tags["figure"]
        assert planned >= 7
        for one in seen:
            assert len(one["charts"]) == planned
            for chart in one["charts"]:
                assert chart["shown"] == 1
                assert min(chart["width"], chart["height"]) > 100
                assert chart["drawn"] == chart["marks"] > 0
                assert len(chart["label"]) > 40

    def test_nothing_is_wider_than_the_screen(self, seen: list[dict[str, Any]]) -> None:
        assert [(one["overflow"], one["overflow_unfolded"]) for one in seen] == [(0, 0)] * 4

    def test_it_is_light_and_dark(self, seen: list[dict[str, Any]]) -> None:
        brightness = {
            one["scheme"]: sum(map(int, re.findall(r"\d+", one["background"]))) for one in seen
        }
        assert brightness["light"] > 600
        assert brightness["dark"] < 100

    def test_there_are_no_barriers(self, seen: list[dict[str, Any]]) -> None:
        assert [one["axe"] for one in seen] == [[]] * 4

    def test_the_keyboard_gets_to_the_questions(self, seen: list[dict[str, Any]]) -> None:
        steps = ["To the findings", "Who has power?", "What changed?"]
        assert [one["keyboard"] for one in seen] == [steps] * 4

    def test_tables_can_be_filtered(self, seen: list[dict[str, Any]]) -> None:
        for one in seen:
            table = one["table"]
            found = table["found"]
            assert 0 < len(found["rows"]) < table["before"]
            assert all(found["word"] in row for row in found["rows"])
            assert found["says"] == f"{len(found['rows'])} of {table['before']} rows"
            assert table["nothing"] == 0

    def test_tables_can_be_sorted(self, seen: list[dict[str, Any]]) -> None:
        for one in seen:
            rising, falling = one["table"]["orders"]
            assert (rising["says"], falling["says"]) == ("ascending", "descending")
            assert len(set(rising["values"])) > 2
            names = [value for value in rising["values"] if value.isascii()]
            assert names == sorted(names, key=str.casefold)
            assert falling["values"] == rising["values"][::-1]

    def test_filters_are_not_printed(self, seen: list[dict[str, Any]]) -> None:
        assert [one["printed_filters"] for one in seen] == [0] * 4


@pytest.fixture(scope="module")
def two_teams(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """Give a few logins to two teams, and build their models."""
    folder = tmp_path_factory.mktemp("two_teams")
    (folder / "files").mkdir()
    attempts = [
        (team, f"2026-02-{day}T10:00:00Z", email, success)
        for day, team, email, success in (
            *((day, "a", "jane@example.com", True) for day in range(25, 29)),
            (28, "a", "joe@example.com", True),
            *((26, team, "joe@example.com", False) for team in "aab"),
        )
    ]
    (folder / "files" / "login_history.jsonl").write_text(
        "".join(
            json.dumps(
                {
                    "event_id": str(number),
                    "team": team,
                    "timestamp": timestamp,
                    "authentication_event_type": "LOGIN" if success else "BAD_CREDENTIALS",
                    "email": email,
                    "success": success,
                }
            )
            + "\n"
            for number, (team, timestamp, email, success) in enumerate(attempts)
        )
    )
    # Where the team is, the day is over.
    variables = {"as_of": "2026-02-28 23:30:00", "time_zone": "Europe/Berlin"}
    warehouse = Files(folder, variables)
    warehouse.build(*WITHOUT_TESTS)
    return warehouse


class TestTwoTeams:
    def page(self, warehouse: Warehouse) -> Page:
        done = make_report(warehouse)
        assert (done.returncode, done.stderr) == (0, "")
        return Page((warehouse.folder / "output" / "report.html").read_text(encoding="utf-8"))

    def test_they_are_told_apart(self, two_teams: Warehouse) -> None:
        rows = self.page(two_teams).rows("failing_accounts")
        assert [(row["Team"], row["Account"], row["Failures"]) for row in rows] == [
            ("a", "joe@example.com", "2"),
            ("b", "joe@example.com", "1"),
        ]

    def test_use_is_counted_by_the_days_that_are_loaded(self, two_teams: Warehouse) -> None:
        page = self.page(two_teams)
        assert page.number("Monthly active users") == 2
        assert page.number("Daily active users") == 1
        assert page.number("Stickiness percent") == 100

    def test_use_of_long_ago_is_no_use(self, two_teams: Warehouse) -> None:
        two_teams.variables["as_of"] = "2026-06-01 12:00:00"
        two_teams.build("--select", "report_window", *WITHOUT_TESTS)
        page = self.page(two_teams)
        assert page.number("Monthly active users") == 0


class TestWhatDoesNotMatter:
    @pytest.mark.parametrize("number", [1, 2])
    def test_the_order_of_rows_in_the_warehouse(
        self, number: int, files: Warehouse, page: Page, tmp_path: Path
    ) -> None:
        shuffled = tmp_path / "models.duckdb"
        shutil.copy(files.environment["DBT_DUCKDB_PATH"], shuffled)
        shuffle = [str(DBT.with_name("python")), "-c", _SHUFFLE, str(shuffled)]
        subprocess.run([*shuffle, files.schema, f"{number}"], check=True, timeout=TIMEOUT_SECONDS)
        output = tmp_path / "report.html"
        state = files.folder / "state.json"
        done = make_report(
            files, "--state", state, "--output", output, DBT_DUCKDB_PATH=str(shuffled)
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert output.read_text(encoding="utf-8") == page.text


class TestWhatCanGoWrong:
    def test_a_team_without_any_event(self, tmp_path: Path) -> None:
        (tmp_path / "files").mkdir()
        warehouse = Files(tmp_path, {"as_of": f"{AS_OF}"})
        warehouse.build(*WITHOUT_TESTS)
        done = make_report(warehouse)
        assert (done.returncode, done.stderr) == (0, "")
        page = Page((tmp_path / "output" / "report.html").read_text(encoding="utf-8"))
        assert page.contents["h1"] == ["Nothing to look at"]

    @pytest.mark.parametrize(
        ("arguments", "complaint"),
        [
            (("--target=duckdb",), "error: DuckDB cannot read the models in "),
            (("--target=postgres",), "error: PostgreSQL cannot be reached: "),
            (("--state=missing.json",), "error: [Errno 2] No such file or directory: "),
            (("--days=0",), "argument --days: must be from 1 to 3660"),
        ],
    )
    def test_it_says_what_is_wrong_in_one_line(
        self, arguments: tuple[str, ...], complaint: str, tmp_path: Path
    ) -> None:
        nowhere = {"DBT_DUCKDB_PATH": "none.duckdb", "TARGET_POSTGRES_PORT": "1"}
        done = make_report(Files(tmp_path), *arguments, **nowhere)
        assert done.returncode != 0
        assert complaint in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
        assert [*tmp_path.iterdir()] == []

    def test_meltano_makes_it(self, files: Warehouse, page: Page) -> None:
        project = Project(ROOT, quiet_variables(files.folder / "meltano.db") | files.environment)
        output = files.folder / "by_meltano.html"
        variables = {"REPORT_OUTPUT": output, "REPORT_STATE": files.folder / "state.json"}
        project.run(
            "report-duckdb:build",
            REPORT_DUCKDB_SCHEMA=files.schema,
            **{name: str(value) for name, value in variables.items()},
        )
        assert output.read_text(encoding="utf-8") == page.text

    def test_models_that_are_not_built(self, files: Warehouse) -> None:
        done = make_report(files, "--output", "other.html", DBT_SCHEMA="main")
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert "Build the models first" in line
        assert not (files.folder / "other.html").exists()
