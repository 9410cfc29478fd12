"""Copy a made-up Celonis team into PostgreSQL, prove what arrived, and report: `make demo`."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from html.parser import HTMLParser
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, LiteralString
from urllib.parse import urlsplit

import psycopg
import requests
from dotenv import dotenv_values

from demo.postgres import PostgresError, postgres

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

ROOT = Path(__file__).resolve().parent.parent
WORK = Path(".demo")
ENV_FILE = WORK / "demo.env"
LOG = WORK / "meltano.log"
BIN = Path(os.path.relpath(Path(sys.executable).parent, ROOT))

MELTANO = [str(BIN / "meltano"), "--env-file", str(ENV_FILE), "--environment", "sandbox"]
PIPELINE = ["run", "tap-celonis-audit", "target-postgres"]
MODELS = ["run", "dbt-postgres:build", "report:build"]
STATE = ["state", "get", "sandbox:tap-celonis-audit-to-target-postgres"]
PAGE = WORK / "report.html"
STREAMS = {
    "audit_logs": "/log/api/external/audit",
    "login_history": "/api/external/authentication-events",
}
# What the sandbox calls the tables of which nothing but their size is asked.
TABLES = {"members": "members", "permissions": "permissions", "studio_adoption": "adoption"}
# What is found of each story that the sandbox tells.
FINDINGS = {
    "failed_login_burst": "failed_login_burst_then_login",
    "admin_granted_at_night": "admin_granted_off_hours",
    "log_deleted": "log_deleted",
    "dormant_admin": "dormant_admin",
    "gone_with_access": "gone_with_access",
}
NEW_EVENTS = 10
SETTLE = timedelta(seconds=120)
START_TIMEOUT_SECONDS = 60
STOP_TIMEOUT_SECONDS = 10
REQUEST_TIMEOUT_SECONDS = 30
LOG_LINES = 30


class DemoError(Exception):
    """Something is not as the demo promises; the message says what."""


@dataclass(frozen=True, slots=True)
class Team:
    """The sandbox's team, asked without the tap: what the tables are compared with."""

    url: str
    app_key: str

    def settled(self) -> datetime:
        """Until when the tap reads: it leaves the newest events for the next run."""
        answer = self._ask(STREAMS["audit_logs"], pageSize=1)
        return parsedate_to_datetime(answer.headers["Date"]) - SETTLE

    def count(self, stream: str) -> int:
        """Count the settled records of a stream."""
        return self._total(self._ask(STREAMS[stream], to=_before(self.settled()), pageSize=1))

    def events_since(self, start: datetime) -> Counter[tuple[str, str]]:
        """Give the settled audit events since a time as pairs of timestamp and name."""
        until = _before(self.settled())
        answer = self._ask(STREAMS["audit_logs"], **{"from": start.isoformat(), "to": until})
        records = answer.json()["content"] if answer.status_code == HTTPStatus.OK else []
        if len(records) != self._total(answer):
            raise DemoError("the team holds more new events than fit on one page.")
        return Counter((record["timestamp"], record["event"]) for record in records)

    def tables(self) -> dict[str, int]:
        """Count the members, permissions and uses of Studio that the team has now."""
        state = self._state()
        return {table: state[name] for table, name in TABLES.items()}

    def stories(self) -> list[dict[str, Any]]:
        """Give what is planted in the team for an auditor to find."""
        stories: list[dict[str, Any]] = self._state()["stories"]
        return stories

    def happen(self, *, audit: int) -> None:
        """Let ten minutes pass in which so many audit events happen, and no logins."""
        wanted = {"audit": audit, "logins": 0, "advance_seconds": 600}
        with _timed(["curl", "--json", json.dumps(wanted), f"{self.url}/sandbox/happen"]):
            requests.post(
                f"{self.url}/sandbox/happen", json=wanted, timeout=REQUEST_TIMEOUT_SECONDS
            ).raise_for_status()

    def _state(self) -> dict[str, Any]:
        answer = requests.get(f"{self.url}/sandbox", timeout=REQUEST_TIMEOUT_SECONDS)
        answer.raise_for_status()
        state: dict[str, Any] = answer.json()
        return state

    def _ask(self, path: str, **query: str | int) -> requests.Response:
        answer = requests.get(
            f"{self.url}{path}",
            params=query,
            headers={"Authorization": f"AppKey {self.app_key}"},
            timeout=REQUEST_TIMEOUT_SECONDS,
        )
        answer.raise_for_status()
        return answer

    @staticmethod
    def _total(answer: requests.Response) -> int:
        if answer.status_code == HTTPStatus.NO_CONTENT:
            return 0
        total: int = answer.json()["totalCount"]
        return total


@dataclass(frozen=True, slots=True)
class Warehouse:
    """The tables that the target filled."""

    connection: psycopg.Connection[tuple[Any, ...]]

    def ask(self, query: LiteralString, *parameters: object) -> list[tuple[Any, ...]]:
        """Answer a query."""
        return self.connection.execute(query, parameters).fetchall()

    def count(self) -> dict[str, int]:
        """Count the rows of each table."""
        return {
            "audit_logs": self.ask("SELECT count(*) FROM audit_logs")[0][0],
            "login_history": self.ask("SELECT count(*) FROM login_history")[0][0],
        }

    def tables(self) -> dict[str, int]:
        """Count the rows of the other tables."""
        return {
            "members": self.ask("SELECT count(*) FROM members")[0][0],
            "permissions": self.ask("SELECT count(*) FROM permissions")[0][0],
            "studio_adoption": self.ask("SELECT count(*) FROM studio_adoption")[0][0],
        }

    def written_since(self, moment: datetime) -> int:
        """Count the rows that were written, for the first time or again, since a moment."""
        (total,) = self.ask(
            "SELECT (SELECT count(*) FROM audit_logs WHERE _sdc_batched_at > %s)"
            " + (SELECT count(*) FROM login_history WHERE _sdc_batched_at > %s)"
            " + (SELECT count(*) FROM studio_adoption WHERE _sdc_batched_at > %s)",
            *(moment, moment, moment),
        )[0]
        return int(total)


def main() -> int:
    """Run the demo and give its exit status."""
    os.chdir(ROOT)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    started = time.monotonic()
    try:
        with contextlib.ExitStack() as resources:
            team, warehouse = _start(resources)
            _load_everything(team, warehouse)
            _load_again(warehouse)
            _load_what_is_new(team, warehouse)
            _report(team)
            _title("Stop everything")
    except (DemoError, PostgresError, requests.RequestException, psycopg.Error) as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted; everything is stopped.", file=sys.stderr)
        return 128 + signal.SIGINT
    print(f"  All of it took {time.monotonic() - started:.0f} s.\n")
    print(f"The report, one page that needs neither server nor network: {PAGE}\n")
    print("Your own team: copy .env.example to .env, put in the team's URL and one key, then")
    print(f"  {BIN}/meltano invoke tap-celonis-audit:test-connection   # is the key good?")
    print(f"  {BIN}/meltano run tap-celonis-audit target-postgres      # or target-jsonl, or yours")
    return 0


def _start(resources: contextlib.ExitStack) -> tuple[Team, Warehouse]:
    _title("Start a made-up Celonis team and an empty PostgreSQL on this machine")
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(mode=0o700)  # A password is in there.
    # An hour ago, so that the team's clock can be moved on without overtaking this machine's.
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    sandbox = [
        *(str(BIN / "python"), "-m", "tap_celonis_audit.sandbox"),
        *("--seed", "1", "--days", "730", "--now", f"{now:%Y-%m-%dT%H:%M:%SZ}"),
        *("--stories", "--max-minutes", "15", "--write-env", str(ENV_FILE)),
    ]
    with _timed(sandbox):
        process = resources.enter_context(_running(sandbox, WORK / "sandbox.log"))
        team = _wait_for_team(process)
    # Ten quiet minutes: nothing of the past is then too young to be read.
    team.happen(audit=0)
    with _timed([str(BIN / "python"), str(Path("demo", "postgres.py"))]):
        url = resources.enter_context(postgres())
    _write_target_settings(url)
    connection = resources.enter_context(
        psycopg.connect(url, autocommit=True, options="-c search_path=celonis_sandbox")
    )
    return team, Warehouse(connection)


def _wait_for_team(process: subprocess.Popen[bytes]) -> Team:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        settings = dotenv_values(ENV_FILE) if ENV_FILE.exists() else {}
        url, key = (settings.get(f"TAP_CELONIS_AUDIT_{name}") for name in ("API_URL", "APP_KEY"))
        if url and key:
            with contextlib.suppress(requests.ConnectionError):
                requests.get(f"{url}/sandbox", timeout=REQUEST_TIMEOUT_SECONDS).raise_for_status()
                return Team(url, key)
        time.sleep(0.05)
    raise DemoError(f"the sandbox did not start, see {WORK / 'sandbox.log'}")


def _write_target_settings(url: str) -> None:
    parts = urlsplit(url)
    settings = {
        "TARGET_POSTGRES_HOST": parts.hostname,
        "TARGET_POSTGRES_PORT": parts.port,
        "TARGET_POSTGRES_USER": parts.username,
        "TARGET_POSTGRES_PASSWORD": parts.password,
        "TARGET_POSTGRES_DATABASE": parts.path.strip("/"),
        # Meltano's own memory of what was read: not the one of your pipelines.
        "MELTANO_DATABASE_URI": f"sqlite:///{ROOT / WORK / 'meltano.db'}",
        "MELTANO_CLI_LOG_FORMAT": "plain",
        "REPORT_OUTPUT": ROOT / PAGE,
        "REPORT_STATE": ROOT / WORK / "state.json",
    }
    with ENV_FILE.open("a") as file:
        file.writelines(f"{name}={value}\n" for name, value in settings.items())


def _load_everything(team: Team, warehouse: Warehouse) -> None:
    _title("Copy the whole history (the first time, Meltano installs tap and target for it)")
    _meltano(PIPELINE)
    _table(
        ("table", "rows", "first", "last"),
        warehouse.ask(
            "SELECT 'audit_logs', count(*), min(timestamp), max(timestamp) FROM audit_logs"
            " UNION ALL SELECT 'login_history', count(*), min(timestamp), max(timestamp)"
            " FROM login_history"
            " UNION ALL SELECT 'studio_adoption', count(*), min(timestamp), max(timestamp)"
            " FROM studio_adoption"
            " UNION ALL SELECT 'members', count(*), NULL, NULL FROM members"
            " UNION ALL SELECT 'permissions', count(*), NULL, NULL FROM permissions ORDER BY 1"
        ),
    )
    rows = warehouse.count()
    for stream in STREAMS:
        _check(f"rows in {stream}", rows[stream], team.count(stream))
    there = team.tables()
    for table, number in warehouse.tables().items():
        _check(f"rows in {table}", number, there[table])
    print("\n  The ten most frequent events")
    _table(
        ("event", "events", "users", "last"),
        warehouse.ask(
            "SELECT event, count(*), count(DISTINCT user_id), max(timestamp) FROM audit_logs"
            " GROUP BY event ORDER BY count(*) DESC, event LIMIT 10"
        ),
    )
    print("\n  Members who have not logged in for longest, and what they may still do")
    _table(
        ("member", "days", "last login", "groups", "permissions"),
        warehouse.ask(
            "SELECT email, inactivity_days, last_login_at, coalesce(array_length(groups, 1), 0),"
            " (SELECT count(*) FROM permissions WHERE subject_id = user_id)"
            " FROM members WHERE inactivity_days IS NOT NULL"
            " ORDER BY inactivity_days DESC, email LIMIT 10"
        ),
    )
    print("\n  Failed logins, the ten users with the most")
    _table(
        ("user", "failed", "succeeded", "locked out", "last failure"),
        warehouse.ask(
            "SELECT email, count(*) FILTER (WHERE NOT success) AS failed,"
            " count(*) FILTER (WHERE success),"
            " count(*) FILTER (WHERE authentication_event_type = 'ACCOUNT_TEMPORARILY_LOCKED'),"
            " max(timestamp) FILTER (WHERE NOT success)"
            " FROM login_history GROUP BY email ORDER BY failed DESC, email LIMIT 10"
        ),
    )


def _load_again(warehouse: Warehouse) -> None:
    _title("Run it again: nothing is new, so no event is written")
    before, moment = warehouse.count(), datetime.now(UTC).replace(tzinfo=None)
    _meltano(PIPELINE)
    for stream, rows in warehouse.count().items():
        _check(f"rows in {stream}", rows, before[stream])
    _check("events written", warehouse.written_since(moment), 0)


def _load_what_is_new(team: Team, warehouse: Warehouse) -> None:
    _title(f"{NEW_EVENTS} new events happen in the team: exactly these arrive")
    before, moment = warehouse.count(), datetime.now(UTC).replace(tzinfo=None)
    read_until = team.settled()
    team.happen(audit=NEW_EVENTS)
    _meltano(PIPELINE)
    arrived = warehouse.ask(
        "SELECT timestamp, event, coalesce(actor_email, user_id) FROM audit_logs"
        " WHERE _sdc_batched_at > %s ORDER BY timestamp, event",
        moment,
    )
    _table(("timestamp", "event", "by"), arrived)
    _check("events added", sum(warehouse.count().values()) - sum(before.values()), NEW_EVENTS)
    _check("events written", warehouse.written_since(moment), NEW_EVENTS)
    written = Counter((_as_celonis(at), event) for at, event, _ in arrived)
    if written != team.events_since(read_until):
        raise DemoError("the new rows are not the events that happened.")


def _report(team: Team) -> None:
    _title("Build the models, and make a report that answers an auditor's questions")
    _meltano(STATE, output=WORK / "state.json")
    _meltano(MODELS)
    page = _Page(PAGE.read_text(encoding="utf-8"))
    print(f"\n  What is planted in the team, and what the report says of it ({page.verdict})")
    found = []
    for story in team.stories():
        told = [text for kind, text in page.findings if kind == FINDINGS[story["kind"]]]
        text = next((text for text in told if story["email"] in text), None)
        if text is None:
            raise DemoError(f"the report does not tell of {story['kind']} ({story['email']}).")
        found.append((story["kind"], text))
    _table(("planted", "reported"), found)
    _check("stories found", len(found), len(FINDINGS))


class _Page(HTMLParser):
    """The verdict and the findings of a report: pairs of kind and sentence."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.verdict = ""
        self.findings: list[tuple[str, str]] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note where text begins that counts."""
        given = dict(attrs)
        if kind := given.get("data-kind"):
            self.findings.append((kind, ""))
        if tag == "h1" or given.get("class") == "summary":
            self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        """Note where it ends."""
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        """Keep it."""
        if self._inside == "h1":
            self.verdict += data
        elif self._inside:
            kind, text = self.findings[-1]
            self.findings[-1] = kind, text + data


def _meltano(arguments: list[str], *, output: Path = LOG) -> None:
    command = [*MELTANO, *arguments]
    with _timed(command), _running(command, LOG, output=output) as process:
        status = process.wait()
    if status:
        print(f"\n  The end of {LOG}:", *_tail(LOG), sep="\n  ")
        raise DemoError(f"{shlex.join(command)} ended with status {status}.")


@contextlib.contextmanager
def _running(
    command: list[str], log: Path, *, output: Path | None = None
) -> Generator[subprocess.Popen[bytes]]:
    """Run a command with all its children in a group of their own, and end them all."""
    with (
        log.open("ab") as complaints,
        (output or log).open("ab") as said,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=complaints,
            env=_environment(),
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_TIMEOUT_SECONDS)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _environment() -> dict[str, str]:
    """Give the environment without what is set for a real pipeline."""
    mine = ("CELONIS_", "DBT_", "MELTANO_", "REPORT_", "TAP_CELONIS_AUDIT_", "TARGET_POSTGRES_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(mine)}
    return environment | {"MELTANO_CLI_DISABLE_VERSION_CHECK": "true"}


@contextlib.contextmanager
def _timed(command: list[str]) -> Generator[None]:
    print(f"  $ {shlex.join(command)}", flush=True)
    started = time.monotonic()
    yield
    print(f"    {time.monotonic() - started:.1f} s", flush=True)


def _check(what: str, found: int, wanted: int) -> None:
    if found != wanted:
        raise DemoError(f"{what}: {found:,} instead of {wanted:,}.")
    print(f"  {what}: {found:,}, as it should be", flush=True)


def _title(text: str) -> None:
    bold = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    print(f"\n\033[1m{text}\033[0m" if bold else f"\n{text}", flush=True)


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under a head, numbers to the right."""
    rows = list(rows)
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    numeric = [all(isinstance(row[i], int) for row in rows) for i in range(len(head))]
    for line in ([*head], ["-" * width for width in widths], *cells):
        columns = zip(line, widths, numeric, strict=True)
        text = "  ".join(f"{cell:{'>' if right else '<'}{width}}" for cell, width, right in columns)
        print(f"    {text.rstrip()}")


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return "" if value is None else str(value)


def _tail(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines()[-LOG_LINES:]


def _before(moment: datetime) -> str:
    """Give the last millisecond before a moment, so that an inclusive bound excludes it."""
    last = moment.astimezone(UTC) - timedelta(milliseconds=1)
    return f"{last:%Y-%m-%dT%H:%M:%S}.{last.microsecond // 1000:03d}Z"


def _as_celonis(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


if __name__ == "__main__":
    sys.exit(main())
