"""Events in OCSF: valid by the published schema, the same from both databases, exported once."""

from __future__ import annotations

import csv
import json
import os
import subprocess
from collections import Counter
from dataclasses import dataclass
from itertools import chain, product
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from outputs import run_tap
from ruamel.yaml import YAML
from warehouses import (
    DBT,
    REPORT,
    TRANSFORM,
    Files,
    Row,
    Tables,
    Warehouse,
    install_dbt,
    install_report,
)

from bench.environments import Environment
from tap_celonis_audit.sandbox import Sandbox
from tap_celonis_audit.sandbox.clock import to_iso, to_ms
from tap_celonis_audit.sandbox.history import company
from tap_celonis_audit.sandbox.messages import ORIGINS, UNDOCUMENTED, difference_of, message_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

OCSF = Path(__file__).parent / "ocsf"
NOW = "2026-03-01T12:00:00Z"
TIMEOUT_SECONDS = 120
VERSIONS = ("1.3.0", "1.4.0", "1.5.0", "1.6.0", "1.7.0", "1.8.0")
DOCUMENTED = sorted({event for events in ORIGINS.values() for event in events})
LOGINS = (
    *("LOGIN", "LOGIN_SSO", "LOGIN_CELONIS_ID", "LOGIN_OIDC", "LOGOUT", "BAD_CREDENTIALS"),
    *("ACCOUNT_TEMPORARILY_LOCKED", "ACCOUNT_NOT_CONFIRMED", "ACCOUNT_NOT_ACTIVE"),
    *("NOT_MEMBER_OF_TEAM", "TEAM_MEMBERSHIP_NOT_ACTIVE", "TEAM_MEMBERSHIP_NOT_CONFIRMED"),
    *("INVALID_2FA_TOKEN", "INVALID_PROVIDER"),
    *("LOGIN_BY_CARRIER_PIGEON", "LOGOUT_OF_BOREDOM", "SOMETHING_ELSE"),
)
ADDRESSES = (
    *("10.1.2.3", "2001:db8::1", "::", "1:2:3:4:5:6:7:8", "::ffff:1.2.3.4", "fe80::1%eth0"),
    *("1.2.3", "1.2.3.4.5", "999.1.1.1", "01.2.3.4", " 1.2.3.4", "1::2::3", ":::", "1:2", "x", ""),
)
ADMIN = "0b54a3c0-4a3e-4d8e-9c55-0d3a5b1f7a10 (night.admin@example.com)"
KEY = "0123456789abcdef" * 4


class Scribe:
    """Writes audit events, one a second."""

    def __init__(self) -> None:
        self.at_ms = to_ms("2026-02-27T22:00:00Z")
        self.records: list[Row] = []

    def write(self, event: str | None, **fields: Any) -> None:
        self.at_ms += 1_000
        record = {"userId": ADMIN, "userRole": "ADMIN", "event": event, "message": None}
        self.records.append(record | fields | {"timestamp": to_iso(self.at_ms)})


PERMISSIONS: tuple[tuple[Any, Any], ...] = (
    ([], ["EDIT", "VIEW"]),
    (["EDIT", "VIEW"], ["VIEW"]),
    (["EDIT"], ["VIEW"]),
    (["EDIT"], ["EDIT"]),
    ("EDIT", {"VIEW": True}),
    (None, None),
)
PORTS = ("0", "65535", "65536", "-1", "1.5", "x", "99999999999999999999", "")
PEOPLE = (None, "", "celonis-service (SYSTEM)", "x", "a@b", "7 (zoë@exämple.de)", "(a@b.cd)")
MESSAGES: tuple[Any, ...] = (None, "a text", {}, {"memberEmail": 7, "group_name": ["a"]})


def audit_events() -> list[Row]:
    """Write every event there is, and some that should not be."""
    rng, team = Random(1), company(1).team(20_512)
    scribe = Scribe()
    for event in (*DOCUMENTED, *UNDOCUMENTED):
        message, difference = message_of(event, rng, team), difference_of(event, rng)
        scribe.write(event, message=message, diffPayload=difference)
    exports = ("AUDIT_LOG_CSV_DOWNLOADED", "PERMISSIONS_CSV_DOWNLOADED")
    for event, address in product(("SKILL_CREATED", *exports), ADDRESSES):
        scribe.write(event, ipAddress=address, port="8888")
    for event, port in product(("SKILL_INSTALLED", "SKILL_CREATED"), PORTS):
        scribe.write(event, ipAddress="10.1.2.3", port=port)
    for event, who in product((exports[1], "USER_NAME_UPDATED", "SOMETHING_NEW"), PEOPLE):
        scribe.write(event, userId=who, userRole=None)
    for kind, (old, new) in product(("USER", "GROUP", "Group", "APPLICATION", None), PERMISSIONS):
        subject = {"subject_description": "a@b.cd", "subject_type": kind}
        lists = {"old_permissions": old, "new_permissions": new}
        message = {**subject, "object_description": "Order", **lists}
        scribe.write("PERMISSIONS_UPDATE", message=message)
    changes = ("PERMISSIONS_UPDATE", "GROUP_DELETED", "TEAM_MEMBERSHIP_UPDATED")
    for event, message in product(changes, MESSAGES):
        scribe.write(event, message=message)
    for name in (None, "", "GROUP_ARCHIVED", "ROBOT_CREATED"):
        scribe.write(name)
    for old, new in (("ANALYST", "ADMIN"), ("ADMIN", "ANALYST"), ("ADMIN", "ADMIN")):
        change = {"oldValue": old, "newValue": new}
        scribe.write(
            "TEAM_MEMBERSHIP_UPDATED", message={"memberEmail": "a@b.cd"}, diffPayload=change
        )
    node = {"nodeName": "n" * 9_000, "nodeId": "i" * 9_000, "null": None, "in": {"null": None}}
    difference = {"oldValue": None, "newValue": '"\\\n\u2028\u0007'}
    new_field = {"somethingNew": [None, {"a": None}]}
    scribe.write("STUDIO_NODE_UPDATED", message=node, diffPayload=difference, **new_field)
    scribe.write("ROBOT_MOVED", message={"id": "i" * 65, "name": "n"})
    return scribe.records


def login_events() -> list[Row]:
    at_ms = to_ms("2026-02-28T12:00:00Z")
    records: list[Row] = []
    for event in (*LOGINS, None):
        for success in (True, False, None):
            at_ms += 1_000
            email = {True: "a@example.com", False: "zoë.o'neill@example.com", None: None}[success]
            record = {"authenticationEventType": event, "email": email, "success": success}
            records.append(record | {"timestamp": to_iso(at_ms)})
    return records


@dataclass
class Team:
    """A team in a warehouse of its own kind: copied as it is, or with pseudonyms."""

    name: str
    sandbox: Sandbox
    state: Row
    settings: Row

    def copy(self) -> list[Row]:
        url = self.sandbox.url.replace("127.0.0.1", self.name)
        config = {"api_url": url, "app_key": self.sandbox.app_key, **self.settings}
        output = run_tap(config, state=self.state or None)
        self.state.update(output.states[-1])
        return output.lines


@dataclass
class World:
    """One team copied in two ways into two warehouses."""

    teams: tuple[Team, ...]
    warehouses: tuple[Warehouse, ...]

    def copy(self) -> None:
        """Copy what is new, and work it out."""
        lines = [line for team in self.teams for line in team.copy()]
        for warehouse in self.warehouses:
            warehouse.load(lines)
            tested = ("every_event_has_a_class", "--indirect-selection", "empty")
            warehouse.build("--select", "+ocsf_events", *tested)


@pytest.fixture(scope="module")
def world(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Generator[World]:
    variables = {"ocsf_version": "1.5.0"}
    files = Files(tmp_path_factory.mktemp("files"), variables)
    tables = Tables(tmp_path_factory.mktemp("tables"), variables, url=postgres_url)
    with Sandbox(days=0, now=NOW) as sandbox:
        sandbox.audit.extend(audit_events())
        sandbox.logins.extend(login_events())
        secret = {"pseudonymization": "hmac-sha256", "pseudonymization_key": KEY}
        teams = (
            Team("127.0.0.1", sandbox, {}, {}),
            Team("localhost", sandbox, {}, secret | {"pseudonymization_ip_addresses": "hash"}),
        )
        world = World(teams, (files, tables))
        world.copy()
        yield world
    tables.drop()


@pytest.fixture(params=[0, 1], ids=["duckdb", "postgres"])
def warehouse(world: World, request: pytest.FixtureRequest) -> Warehouse:
    index: int = request.param
    return world.warehouses[index]


def lines_of(warehouse: Warehouse) -> list[str]:
    rows = warehouse.ask("select ocsf from ocsf_events order by occurred_at, team, event_id")
    return [row["ocsf"] for row in rows]


@pytest.fixture(scope="module")
def lines(world: World) -> list[str]:
    return lines_of(world.warehouses[0])


@pytest.fixture(scope="module")
def events(lines: list[str], world: World) -> list[Row]:
    """Give the events of the team that is copied as it is."""
    read = [json.loads(line) for line in lines]
    return [each for each in read if each["metadata"]["tenant_uid"] == world.teams[0].name]


def problems_of(lines: Iterable[str]) -> list[Any]:
    """Say what the published schema finds, in every version."""
    environment = Environment(OCSF / "requirements.txt")
    environment.install()
    lines = list(lines)
    checked = subprocess.run(
        [environment.python, OCSF / "check.py"],
        input="\n".join(lines),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=TIMEOUT_SECONDS,
    )
    *problems, count = [json.loads(line) for line in checked.stdout.splitlines()]
    assert count == [len(lines)]
    return problems


def test_every_event_is_valid(lines: list[str]) -> None:
    assert not problems_of(lines)


def test_the_version(events: list[Row]) -> None:
    project = YAML(typ="safe").load((TRANSFORM / "dbt_project.yml").read_text(encoding="utf-8"))

    assert project["vars"]["ocsf_version"] in VERSIONS
    assert {each["metadata"]["version"] for each in events} == {"1.5.0"}


def test_both_databases_say_the_same(world: World) -> None:
    mine, other = ([json.loads(line) for line in lines_of(each)] for each in world.warehouses)

    assert len(mine) == 2 * (len(audit_events()) + len(login_events()))
    assert mine == other


BROKEN: dict[str, Row] = {
    "another class": {"class_uid": 3001, "type_uid": 300103},
    "an activity that is none": {"activity_id": 42, "type_uid": 300442},
    "a type that does not fit": {"type_uid": 300404},
    "a name that does not fit": {"activity_name": "Delete"},
    "an attribute that is none": {"colour": "red"},
    "an attribute of another class": {"privileges": []},
    "a null": {"src_endpoint": None},
    "a number as text": {"time": "1772064000973"},
    "a status that is none": {"status_id": 3},
    "an address that is none": {"src_endpoint": {"ip": "1.2.3.4.5"}},
    "an actor that is nobody": {"actor": {"user": {"type_id": 1}}},
    "no entity": {"entity": {}},
}


def test_the_check_finds_what_is_broken(events: list[Row]) -> None:
    event = next(each for each in events if each["type_uid"] == 300403)
    marked = [
        event | change | {"metadata": event["metadata"] | {"event_code": name}}
        for name, change in BROKEN.items()
    ]

    found = {(version, name) for version, name, _ in problems_of(map(json.dumps, marked))}
    # The models, which compare names with numbers, do not know the newest version yet.
    unseen = {(VERSIONS[-1], name) for name in BROKEN if name.endswith("does not fit")}
    assert found == {(version, name) for version in VERSIONS for name in BROKEN} - unseen


def test_every_documented_event_has_a_class() -> None:
    def read(name: str) -> list[dict[str, str]]:
        with (TRANSFORM / "seeds" / name).open(encoding="utf-8") as file:
            return list(csv.DictReader(file))

    classes = read("ocsf_audit_events.csv")
    activities = {(row["class_uid"], row["activity_id"]) for row in read("ocsf_activities.csv")}

    assert [row["event"] for row in classes] == DOCUMENTED
    assert {(row["class_uid"], row["activity_id"]) for row in classes} <= activities
    assert all((row["activity_id"] == "99") == bool(row["activity_name"]) for row in classes)


def test_what_ocsf_has_no_place_for_is_kept(world: World, warehouse: Warehouse) -> None:
    written = {each["metadata"]["uid"]: each for each in map(json.loads, lines_of(warehouse))}
    fields = ("message", "diff_payload", "additional_fields")
    rows = warehouse.ask(
        "select event_id, cast(message as text) as message,"
        " cast(diff_payload as text) as diff_payload,"
        " cast(additional_fields as text) as additional_fields from stg_celonis__audit_logs"
    )
    assert len(rows) == len(world.teams) * len(audit_events())
    for row in rows:
        unmapped = written[row["event_id"]].get("unmapped", {})
        assert {name: json.loads(row[name]) for name in fields if row[name] is not None} == {
            name: unmapped[name] for name in fields if name in unmapped
        }


def named(events: list[Row], event: str) -> list[Row]:
    return [each for each in events if each["metadata"].get("event_code") == event]


EXPECTED: dict[str, tuple[int, Row]] = {
    "APPLICATION_KEY_CREATED": (300401, {"severity": "Medium", "status": "Success"}),
    "AUDIT_LOGS_DELETED": (100802, {"severity": "High", "log_name": "audit log"}),
    "AUDIT_LOG_PREFERENCES_UPDATED": (100899, {"activity_name": "Configure"}),
    "DATA_JOB_MANUALLY_EXECUTED": (600399, {"activity_name": "Execute"}),
    "JOB_EXECUTION_FAILED": (600399, {"activity_name": "JOB_EXECUTION_FAILED"}),
    "GROUP_ARCHIVED": (600399, {"activity_name": "GROUP_ARCHIVED"}),
    "ROBOT_CREATED": (600301, {"activity_name": "Create"}),
    "": (600399, {"message": ""}),
    "LOGIN_HISTORY_CSV_DOWNLOADED": (100803, {"activity_name": "Export"}),
    "PROCESS_INSTALLED": (600201, {"type_name": "Application Lifecycle: Install"}),
    "STUDIO_PACKAGE_PUBLISHED": (300499, {"activity_name": "Publish"}),
    "TEAM_MEMBERSHIP_DELETED": (300106, {"activity_name": "Delete"}),
    "USER_CHANGE_PASSWORD": (300103, {"class_name": "Account Change"}),
    "USER_JOIN_GROUP": (300603, {"privileges": []}),
    "USER_LEFT_GROUP": (300604, {"privileges": []}),
    "VIEW_REPORT_DELIVERY_TRIGGER_FAILED": (600399, {"status": "Failure"}),
}


@pytest.mark.parametrize("event", EXPECTED)
def test_what_an_event_becomes(event: str, events: list[Row]) -> None:
    type_uid, attributes = EXPECTED[event]

    found = named(events, event)[0]
    assert found["type_uid"] == type_uid
    assert attributes == {name: found[name] for name in attributes}
    assert found["actor"]["user"] == {
        "name": "night.admin@example.com",
        "uid": "0b54a3c0-4a3e-4d8e-9c55-0d3a5b1f7a10",
        "type_id": 2,
        "email_addr": "night.admin@example.com",
    }
    assert found["metadata"]["original_time"] == to_iso(found["time"])


@pytest.mark.parametrize(
    ("event", "success", "expected"),
    [
        ("LOGIN_OIDC", True, (300201, "Success", "Informational", "OpenID", None)),
        ("LOGIN_SSO", True, (300201, "Success", "Informational", "SSO", None)),
        ("LOGIN_SSO", None, (300201, "Success", "Informational", "SSO", None)),
        ("LOGIN_SSO", False, (300201, "Failure", "Low", "SSO", None)),
        ("LOGOUT", True, (300202, "Success", "Informational", None, None)),
        ("BAD_CREDENTIALS", False, (300201, "Failure", "Low", None, "bad credentials")),
        ("BAD_CREDENTIALS", None, (300201, "Failure", "Low", None, "bad credentials")),
        (
            "ACCOUNT_TEMPORARILY_LOCKED",
            False,
            (300201, "Failure", "Medium", None, "account locked"),
        ),
        ("LOGIN_BY_CARRIER_PIGEON", True, (300201, "Success", "Informational", None, None)),
        ("LOGIN_BY_CARRIER_PIGEON", None, (300201, "Unknown", "Unknown", None, None)),
        ("LOGOUT_OF_BOREDOM", True, (300202, "Success", "Informational", None, None)),
        ("SOMETHING_ELSE", True, (300299, "Success", "Informational", None, None)),
        ("SOMETHING_ELSE", False, (300201, "Failure", "Low", None, None)),
        (None, None, (300299, "Unknown", "Unknown", None, None)),
    ],
)
def test_what_a_login_becomes(
    event: str | None, success: bool | None, expected: tuple[Any, ...], events: list[Row]
) -> None:
    at = next(
        each["timestamp"]
        for each in login_events()
        if (each["authenticationEventType"], each["success"]) == (event, success)
    )
    (found,) = (each for each in events if each["metadata"]["original_time"] == at)

    names = ("type_uid", "status", "severity", "auth_protocol", "status_detail")
    assert expected == tuple(found.get(name) for name in names)
    assert found.get("status_code") == event
    assert found.get("is_mfa") == (True if event == "INVALID_2FA_TOKEN" else None)


def test_a_second_factor(events: list[Row]) -> None:
    assert all(each["is_mfa"] for each in named(events, "INVALID_2FA_TOKEN"))


def test_who_gets_what(events: list[Row]) -> None:
    given = [
        (each["type_uid"], (each.get("group") or each["user"])["name"], each["privileges"])
        for each in named(events, "PERMISSIONS_UPDATE")
        if each.get("resource") == {"name": "Order"}
    ]
    of_users = [
        (300501, "a@b.cd", ["EDIT", "VIEW"]),
        (300502, "a@b.cd", ["EDIT"]),
        (300501, "a@b.cd", ["VIEW"]),
        *[(300599, "a@b.cd", [])] * 3,
    ]
    of_groups = [(each + 100, name, rights) for each, name, rights in of_users]
    assert given == [*of_users, *of_groups, *of_groups, *of_users, *of_users]


def test_an_administrator_is_made(events: list[Row]) -> None:
    (changed, *_) = named(events, "TEAM_MEMBERSHIP_UPDATED")

    assert changed["type_uid"] == 300501
    assert changed["privileges"] == [changed["unmapped"]["diff_payload"]["newValue"]]
    assert changed["user"]["email_addr"] == changed["unmapped"]["message"]["memberEmail"]


def test_making_an_administrator_is_as_severe_as_it_gets(
    world: World, warehouse: Warehouse
) -> None:
    written = {each["metadata"]["uid"]: each for each in map(json.loads, lines_of(warehouse))}
    changes = warehouse.ask("select event_id, event, is_admin_grant from permission_changes")

    granted = [each for each in changes if each["is_admin_grant"]]
    assert {"ADMIN USER INVITED", "TEAM_MEMBERSHIP_UPDATED"} <= {each["event"] for each in granted}
    assert {written[each["event_id"]]["severity"] for each in granted} == {"High"}
    ordinary = {each["event_id"] for each in changes if not each["is_admin_grant"]}
    roles = [written[each] for each in ordinary if written[each]["class_uid"] == 3005]
    assert {each["severity"] for each in roles} <= {"Low", "Medium", "Informational"}
    assert len(written) == len(world.teams) * (len(audit_events()) + len(login_events()))


@pytest.mark.parametrize("event", ["SKILL_CREATED", "PERMISSIONS_CSV_DOWNLOADED"])
def test_where_from(event: str, events: list[Row]) -> None:
    sources = [each.get("src_endpoint") for each in named(events, event)]
    valid = ("10.1.2.3", "2001:db8::1", "::", "1:2:3:4:5:6:7:8")

    assert {"name": "Unknown"} in sources or None in sources
    for address in ADDRESSES:
        kind = "ip" if address in valid else "name"
        assert {kind: address, "port": 8888} in sources


def test_ports(events: list[Row]) -> None:
    at_home = [
        each
        for each in named(events, "SKILL_CREATED")
        if each.get("src_endpoint", {}).get("ip") == "10.1.2.3"
    ]
    ports = [each["src_endpoint"].get("port") for each in at_home]
    assert ports == [8888, 0, 65535, None, None, None, None, None, None]
    assert [each["unmapped"].get("port") for each in at_home[3:]] == [
        *("65536", "-1", "1.5", "x", "99999999999999999999", "")
    ]
    # The class of installations knows no source.
    (first, *_) = named(events, "SKILL_INSTALLED")[1:]
    assert first["unmapped"]["ip_address"] == "10.1.2.3"
    assert first["unmapped"]["port"] == "0"


def test_pseudonyms_stay_pseudonyms(lines: list[str], world: World) -> None:
    hidden = [line for line in lines if f'"tenant_uid":"{world.teams[1].name}"' in line]

    assert len(hidden) == len(audit_events()) + len(login_events())
    assert not [line for line in hidden if "example.com" in line or "10.1.2.3" in line]
    known_as = Counter(
        json.loads(line)["actor"]["user"]["name"] for line in hidden if '"actor"' in line
    )
    assert known_as.most_common(1)[0][0].endswith("@pseudonym.invalid")


# The export.


def export(
    warehouse: Warehouse, *arguments: str | Path, before: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the export; ``before`` is code that comes first."""
    run = "import runpy, sys; del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"
    mine = ("DBT_", "TARGET_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(mine)}
    return subprocess.run(
        [
            DBT.with_name("python"),
            "-c",
            f"{before}\n{run}",
            TRANSFORM / "ocsf_export.py",
            *arguments,
        ],
        env=inherited | warehouse.environment | {"DBT_TARGET": warehouse.kind} | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
    )


def files_of(folder: Path) -> dict[Path, list[Row]]:
    return {
        path.relative_to(folder): [json.loads(line) for line in path.read_text().split("\n")[:-1]]
        for path in sorted(folder.rglob("*.jsonl"))
    }


def ids_of(folder: Path) -> Counter[str]:
    return Counter(
        each["metadata"]["uid"] for each in chain.from_iterable(files_of(folder).values())
    )


def all_ids(warehouse: Warehouse) -> Counter[str]:
    return Counter(row["event_id"] for row in warehouse.ask("select event_id from ocsf_events"))


def test_each_event_is_exported_once(world: World, tmp_path: Path) -> None:
    """Whatever its time: a late one comes with the next export, into the folder of its day."""
    known = [all_ids(warehouse) for warehouse in world.warehouses]
    for warehouse in world.warehouses:
        for said in ("Batch 1: ", "Nothing is new."):
            finished = export(warehouse, tmp_path / warehouse.kind, "--export", "once")
            assert finished.stdout.startswith(said), finished.stderr
    sandbox = world.teams[0].sandbox
    sandbox.clock.advance(seconds=3_600)
    scribe = Scribe()
    scribe.at_ms = to_ms("2026-03-01T09:00:00Z")  # late
    scribe.write("GROUP_CREATED")
    scribe.at_ms = to_ms("2026-03-01T12:30:00Z")
    scribe.write("GROUP_DELETED")
    sandbox.audit.extend(scribe.records)
    world.copy()

    for warehouse, before in zip(world.warehouses, known, strict=True):
        folder = tmp_path / warehouse.kind
        assert ids_of(folder) == before
        assert export(warehouse, folder, "--export", "once").returncode == 0
        assert ids_of(folder) == all_ids(warehouse)
        new = {
            path: [each["activity_name"] for each in events]
            for path, events in files_of(folder).items()
            if "once-000002" in path.name
        }
        assert new == {
            Path("group_management/eventDay=20260301/once-000002.jsonl"): [
                *["Create", "Create", "Delete", "Delete"]
            ]
        }
        for path, events in files_of(folder).items():
            times = [each["time"] for each in events]
            assert times == sorted(times)
            (class_name,) = {each["class_name"] for each in events}
            assert path.parts[0] == class_name.lower().replace(" ", "_")
            (day,) = {each["metadata"]["original_time"][:10].replace("-", "") for each in events}
            assert path.parts[1] == f"eventDay={day}"


DEATHS = {
    "before its files have their names": "import os; os.sync = lambda: os._exit(9)",
    "between two files": """
import os, pathlib
rename, done = pathlib.Path.rename, []
pathlib.Path.rename = lambda *paths: os._exit(9) if len(done) == 3 else done.append(rename(*paths))
""",
    "before it says so": """
import os, pathlib
pathlib.Path.write_text = lambda *given, **others: os._exit(9)
""",
    "while it says so": """
import os, pathlib
pathlib.Path.replace = lambda *paths: os._exit(9)
""",
    "before the database knows": """
import os
done = []
os.sync = lambda: os._exit(9) if len(done) == 2 else done.append(None)
""",
}


@pytest.mark.parametrize("death", DEATHS.values(), ids=DEATHS)
def test_an_export_that_dies_is_finished(death: str, warehouse: Warehouse, tmp_path: Path) -> None:
    served = ("--export", f"dies{abs(hash(death))}")
    assert export(warehouse, tmp_path, *served, before=death).returncode == 9

    assert export(warehouse, tmp_path, *served).stdout.startswith("Batch 1: ")

    assert ids_of(tmp_path) == all_ids(warehouse)
    assert not list(tmp_path.rglob("*part*"))
    assert "Nothing is new." in export(warehouse, tmp_path, *served).stdout


def test_everything_once_more(warehouse: Warehouse, tmp_path: Path) -> None:
    served = ("--export", "again")
    for _ in range(2):
        assert export(warehouse, tmp_path, *served, "--again").returncode == 0

    assert {path.name for path in files_of(tmp_path)} == {
        "again-000001.jsonl",
        "again-000002.jsonl",
    }
    assert set(ids_of(tmp_path).values()) == {2}


def test_a_database_made_anew(warehouse: Warehouse, tmp_path: Path) -> None:
    (tmp_path / ".anew").write_text("7\n")

    refused = export(warehouse, tmp_path, "--export", "anew")
    assert refused.returncode == 1
    assert "holds batch 7, but the database knows of 0 only" in refused.stderr
    assert not files_of(tmp_path)

    assert export(warehouse, tmp_path, "--export", "anew", "--again").returncode == 0
    assert {path.name for path in files_of(tmp_path)} == {"anew-000008.jsonl"}


def test_files_may_be_taken_away(warehouse: Warehouse, tmp_path: Path) -> None:
    served = ("--export", "sent")
    assert export(warehouse, tmp_path, *served).returncode == 0
    for path in tmp_path.rglob("*.jsonl"):
        path.unlink()

    assert export(warehouse, tmp_path, *served).stdout == "Nothing is new.\n"


def test_files_are_for_their_owner_only(warehouse: Warehouse, tmp_path: Path) -> None:
    folder = tmp_path / "ocsf"
    for kind in ("jsonl", "parquet"):
        served = ("--export", f"mine_{kind}", "--format", kind)
        assert export(warehouse, folder, *served).returncode == 0

    modes = {path.suffix or path.name: path.stat().st_mode & 0o777 for path in folder.rglob("*")}
    assert {modes.pop(name) for name in (".jsonl", ".parquet")} == {0o600}
    assert {modes.pop(name) for name in (".mine_jsonl", ".mine_parquet")} == {0o600}
    assert {*modes.values(), folder.stat().st_mode & 0o777} == {0o700}


def test_another_folder_is_another_export(warehouse: Warehouse, tmp_path: Path) -> None:
    first, other = tmp_path / "first", tmp_path / "other"
    served = ("--export", "folders")
    (death, *_) = DEATHS.values()
    assert export(warehouse, first, *served).returncode == 0

    refused = export(warehouse, other, *served)
    assert refused.returncode == 1
    assert "this folder lacks batches of the export folders, up to batch 1." in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert not other.exists()

    # All of it once more is all that there is, even if it takes two attempts.
    assert export(warehouse, other, *served, "--again", before=death).returncode == 9
    assert export(warehouse, other, *served).stdout.startswith("Batch 2: ")
    assert ids_of(other) == all_ids(warehouse)
    assert "up to batch 2." in export(warehouse, first, *served).stderr


_LIST_ONE_MORE = """
import os
more = "insert into {}.ocsf_exported values ('vanish', 'gone', 1)"
if os.environ["DBT_TARGET"] == "duckdb":
    import duckdb
    with duckdb.connect(os.environ["DBT_DUCKDB_PATH"]) as connection:
        connection.execute(more.format("celonis_models"))
else:
    import psycopg2
    names = {each: each.upper() for each in ("host", "port", "user", "password")}
    names["dbname"] = "DATABASE"
    given = {name: os.environ["TARGET_POSTGRES_" + end] for name, end in names.items()}
    connection = psycopg2.connect(**given)
    connection.cursor().execute(more.format(os.environ["DBT_SCHEMA"]))
    connection.commit()
"""


def test_events_that_vanish_are_missed(warehouse: Warehouse, tmp_path: Path) -> None:
    served = ("--export", "vanish")
    (death, *_) = DEATHS.values()
    assert export(warehouse, tmp_path, *served, before=death).returncode == 9

    refused = export(warehouse, tmp_path, *served, before=_LIST_ONE_MORE)
    assert refused.returncode == 1
    assert "1 events of batch 1 are not in the models any more." in refused.stderr
    assert not files_of(tmp_path)
    assert export(warehouse, tmp_path, *served, "--again").returncode == 0
    assert ids_of(tmp_path) == all_ids(warehouse)


_READ_PARQUET = """
import duckdb, json, sys
for path in sys.argv[1:]:
    rows = duckdb.read_parquet(path, hive_partitioning=False)
    for row in rows.fetchall():
        print(json.dumps(dict(zip(rows.columns, row))))
"""


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_nulls(each) for name, each in value.items() if each is not None}
    return [without_nulls(each) for each in value] if isinstance(value, list) else value


def test_parquet(warehouse: Warehouse, tmp_path: Path) -> None:
    lake = ("--format", "parquet", "--region", "eu-central-1", "--account-id", "123456789012")
    assert export(warehouse, tmp_path, "--export", "lake", *lake).returncode == 0

    paths = sorted(tmp_path.rglob("*.parquet"))
    folders = {path.relative_to(tmp_path).parts[1:3] for path in paths}
    assert folders == {("region=eu-central-1", "accountId=123456789012")}
    printed = subprocess.run(
        [DBT.with_name("python"), "-c", _READ_PARQUET, *paths],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=TIMEOUT_SECONDS,
    )
    read = {}
    for line in printed.stdout.splitlines():
        event = without_nulls(json.loads(line))
        for name, value in event.get("unmapped", {}).items():
            if name not in {"user_role", "ip_address", "port"}:
                event["unmapped"][name] = json.loads(value)
        read[event["metadata"]["uid"]] = event
    assert read == {each["metadata"]["uid"]: each for each in map(json.loads, lines_of(warehouse))}


_TELL_CONNECTION = """
import json, os
import {driver}
def tell(**given):
    print(json.dumps(given), flush=True)
    os._exit(0)
{driver}.connect = tell
"""
_ASK_REPORT = """
from celonis_audit_report.warehouse import postgres_database
postgres_database(os.environ, "models")
"""
_TELL_PROFILE = """
import json, os, sys
from pathlib import Path
import jinja2, yaml
environment = jinja2.Environment()
environment.filters["as_number"] = int
environment.globals["env_var"] = os.environ.get
profile = environment.from_string(Path(sys.argv[1]).read_text()).render()
print(json.dumps(yaml.safe_load(profile)["celonis_audit"]["outputs"]["postgres"]))
"""
WHERE = ("host", "port", "user", "password", "dbname", "sslmode", "sslrootcert")
AUTHORITY = {"TARGET_POSTGRES_SSL_CERTIFICATE_AUTHORITY": "ca.pem"}


@pytest.mark.parametrize("reader", ["dbt", "export", "report"])
@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, {"sslmode": "prefer"}),
        (
            {"TARGET_POSTGRES_HOST": "", "TARGET_POSTGRES_PORT": ""},
            {"sslmode": "prefer", "host": "localhost", "port": "5432"},
        ),
        ({"TARGET_POSTGRES_SSL_MODE": "require"}, {"sslmode": "prefer"}),
        ({"TARGET_POSTGRES_SSL_ENABLE": "true"}, {"sslmode": "verify-full"}),
        (
            {"TARGET_POSTGRES_SSL_ENABLE": "True", "TARGET_POSTGRES_SSL_MODE": "verify-ca"}
            | AUTHORITY,
            {"sslmode": "verify-ca", "sslrootcert": "ca.pem"},
        ),
    ],
)
def test_all_connect_as_the_target_does(
    reader: str, variables: dict[str, str], expected: Row, tmp_path: Path
) -> None:
    """Where PostgreSQL is, and its TLS, is read in three places."""
    install_dbt()
    somewhere = Tables(tmp_path, url="postgresql://u:p@db.example:5433/d")
    if reader == "export":
        driver = _TELL_CONNECTION.format(driver="psycopg2")
        told = export(somewhere, tmp_path, before=driver, **variables)
    else:
        install_report()
        code = _TELL_CONNECTION.format(driver="psycopg") + _ASK_REPORT
        told = subprocess.run(
            [REPORT.with_name("python"), "-c", code]
            if reader == "report"
            else [DBT.with_name("python"), "-c", _TELL_PROFILE, TRANSFORM / "profiles.yml"],
            env=somewhere.environment | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
        )
    assert told.returncode == 0, told.stderr
    # Nothing said is the port that it mostly is.
    given = {"port": "5432"} | {
        name: str(value)
        for name, value in json.loads(told.stdout).items()
        if name in WHERE and value
    }
    where = {"host": "db.example", "port": "5433", "user": "u", "password": "p", "dbname": "d"}
    assert given == where | expected


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        (("--region", "eu-central-1"), {}, "--region and --account-id go together"),
        (("--export", "a/b"), {}, "letters, digits and underscores only"),
        ((), {"DBT_TARGET": "snowflake"}, "has to be postgres or duckdb"),
        ((), {"DBT_SCHEMA": "nowhere"}, "has no models of OCSF. Build the models first."),
        (
            (),
            {"DBT_DUCKDB_PATH": "/nowhere/x", "TARGET_POSTGRES_PORT": "1"},
            "models first|connection to server",
        ),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    arguments: tuple[str, ...],
    variables: dict[str, str],
    said: str,
    warehouse: Warehouse,
    tmp_path: Path,
) -> None:
    refused = export(warehouse, tmp_path, *arguments, **variables)

    assert refused.returncode == (2 if arguments else 1)
    last = refused.stderr.splitlines()[-1]
    assert any(each in last for each in said.split("|")), refused.stderr
    assert "Traceback" not in refused.stderr
    assert not files_of(tmp_path)
