"""Commands in the documentation work as they stand there, and say what it says they say.

Each page is a session of its own: a shell in a copy of the repository, with a made-up team and a
database, in which its blocks run one after the other. A block that begins with `# needs …` takes
something that a test does not have; of those, the syntax is checked.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from ruamel.yaml import YAML
from taps import Row, assert_each_once, logs_of

from bench.environments import uv
from tap_celonis_audit.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT_SECONDS = 900

#: What blocks need that is not here: nothing else in the pages is left out.
LEFT_OUT = [
    ("docs/ocsf.md", "an AWS account"),
    ("docs/scheduling.md", "systemd"),
    ("docs/without-meltano.md", "Docker or Podman"),
    ("docs/without-meltano.md", "a second terminal"),
]
#: Pages after which the database has to hold all that the team's logs hold.
COMPLETE = {"README.md", "docs/backfill.md"}
NOW = "2026-03-01T12:00:00Z"


@dataclass(frozen=True, slots=True)
class Command:
    """A command of a page, and what it says according to the page."""

    text: str
    says: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """A block of commands."""

    commands: tuple[Command, ...]
    needs: str

    @classmethod
    def of(cls, text: str) -> Block:
        """Read a block: a command begins with a dollar sign, what follows is its output."""
        lines = text.splitlines()
        needs = ""
        if lines[0].startswith("# needs "):
            needs = lines.pop(0).removeprefix("# needs ")
        commands: list[tuple[str, list[str]]] = []
        for line in lines:
            if line.startswith("$ "):
                commands.append((line.removeprefix("$ "), []))
            else:
                commands[-1][1].append(line)
        return cls(tuple(Command(line, tuple(said)) for line, said in commands), needs)


def fenced(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    return [re.sub(f"^{indent}", "", body, flags=re.MULTILINE) for indent, body in found]


ALL_PAGES = [
    "README.md",
    *sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/*.md")),
    *sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("examples/*/*.md")),
]
PAGES = [page for page in ALL_PAGES if fenced(page, "console")]


@dataclass(frozen=True, slots=True)
class Session:
    """A copy of the repository, and what its commands find around them."""

    folder: Path
    environment: dict[str, str]
    placeholders: dict[str, str]

    def run(self, blocks: list[Block]) -> Iterator[tuple[Command, int, str]]:
        """Run the commands in one shell; give the status and the words of each."""
        mark = uuid4().hex
        commands = [command for block in blocks if not block.needs for command in block.commands]
        script = ["exec < /dev/null 2>&1"]
        for command in commands:
            text = command.text
            for written, meant in self.placeholders.items():
                text = text.replace(written, meant)
            script += [text, f"echo {mark} $?"]
        ended = subprocess.run(
            ["bash", "-c", "\n".join(script)],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
        )
        said = re.split(rf"{mark} (\d+)\n", ended.stdout)
        assert len(said) == 2 * len(commands) + 1, ended.stdout[-3000:]
        yield from zip(commands, map(int, said[1::2]), said[::2], strict=False)

    def add_plugins(self, text: str) -> None:
        """Put plugins that a page shows into the project; those without a kind are extractors."""
        file = self.folder / "meltano.yml"
        yaml = YAML(typ="safe")
        project: dict[str, Any] = yaml.load(file)
        shown = yaml.load(text)
        kinds = {"extractors": shown} if isinstance(shown, list) else shown["plugins"]
        for kind, plugins in kinds.items():
            known = {each["name"]: each for each in project["plugins"][kind]}
            for plugin in plugins:
                known.setdefault(plugin["name"], {}).update(plugin)
            project["plugins"][kind] = list(known.values())
        yaml.dump(project, file)


def assert_says(said: str, expected: tuple[str, ...]) -> None:
    """Check that lines come in this order; numbers may differ, and so may what `...` stands for."""
    lines = (" ".join(line.split()) for line in said.splitlines())
    for line in expected:
        # People and what they do differ from day to day; rules are as long as what is below.
        if line == "..." or "@" in line or set(line) <= {" ", "-"}:
            continue
        parts = (" ".join(part.split()) for part in line.split("..."))
        pattern = " ?.*".join(re.sub(r"\d[\d,]*", r"[\\d,]+", re.escape(part)) for part in parts)
        assert any(re.fullmatch(pattern, each) for each in lines), f"{line}\n\n{said[-3000:]}"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a copy of the repository in which nothing was run yet but `make install`."""
    folder = tmp_path_factory.mktemp("clone") / "project"
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    (folder / ".tools" / "bin").mkdir(parents=True)
    (folder / ".tools" / "bin" / "uv").symlink_to(uv())
    subprocess.run(
        ["make", "install"], cwd=folder, check=True, capture_output=True, timeout=TIMEOUT_SECONDS
    )
    # What makes models and reports is there already, made by the same targets of make.
    made = (".dbt", ".report")
    subprocess.run(
        ["make", "--silent", "dbt", ".report/bin/celonis-audit-report"],
        cwd=ROOT,
        check=True,
        timeout=TIMEOUT_SECONDS,
    )
    for name in made:
        (folder / name).symlink_to(ROOT / name)
    return folder


@pytest.fixture(scope="module")
def team() -> Generator[Sandbox]:
    with Sandbox(seed=1, days=40, now=NOW) as sandbox:
        # Nothing of the past is then too young to be read.
        sandbox.happen(audit=0, logins=0, advance_seconds=600)
        yield sandbox


@pytest.fixture(scope="module")
def other_team() -> Generator[Sandbox]:
    with Sandbox(seed=2, days=1, now=NOW) as sandbox:
        yield sandbox


@pytest.fixture
def session(
    project: Path, team: Sandbox, other_team: Sandbox, postgres_url: str, tmp_path: Path
) -> Generator[Session]:
    """Give a shell's surroundings: those of a user who has filled in `.env`."""
    schema = f"documented_{uuid4().hex}"
    mine = ("TAP_CELONIS_AUDIT_", "TARGET_", "MELTANO_", "DBT_", "CELONIS_", "REPORT_")
    hindering = ("PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV")
    server = urlsplit(postgres_url)
    pipx = tmp_path / "bin" / "pipx"
    pipx.parent.mkdir()
    pipx.write_text(f'#!/bin/sh\nexec {uv()} tool run --quiet pipx "$@"\n')
    pipx.chmod(0o755)
    for left in ("meltano.yml", ".env"):
        (project / left).unlink(missing_ok=True)
    shutil.rmtree(project / "output", ignore_errors=True)
    shutil.copy(ROOT / "meltano.yml", project)
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(mine) and name not in hindering
    }
    environment = inherited | {
        "PATH": f"{tmp_path / 'pipx' / 'bin'}:{pipx.parent}:{os.environ['PATH']}",
        "PIPX_HOME": str(tmp_path / "pipx"),
        "PIPX_BIN_DIR": str(tmp_path / "pipx" / "bin"),
        "MELTANO_CLI_DISABLE_VERSION_CHECK": "true",
        "MELTANO_CLI_LOG_FORMAT": "plain",
        "MELTANO_DATABASE_URI": f"sqlite:///{tmp_path / 'meltano.db'}",
        "TAP_CELONIS_AUDIT_API_URL": team.url,
        "TAP_CELONIS_AUDIT_APP_KEY": team.app_key,
        "TAP_CELONIS_AUDIT_B_API_URL": other_team.url.replace("127.0.0.1", "localhost"),
        "TAP_CELONIS_AUDIT_B_APP_KEY": other_team.app_key,
        "TARGET_POSTGRES_HOST": server.hostname or "",
        "TARGET_POSTGRES_PORT": str(server.port or 5432),
        "TARGET_POSTGRES_USER": server.username or "",
        "TARGET_POSTGRES_PASSWORD": server.password or "",
        "TARGET_POSTGRES_DATABASE": server.path.strip("/"),
        "TARGET_POSTGRES_DEFAULT_TARGET_SCHEMA": schema,
        "DBT_POSTGRES_SCHEMA": f"{schema}_models",
        "DBT_DUCKDB_SCHEMA": f"{schema}_models",
        "DBT_SCHEMA": f"{schema}_models",
    }
    placeholders = {
        "https://acme.eu-1.celonis.cloud": team.url,
        "APP_KEY=...": f"APP_KEY={team.app_key}",
    }
    yield Session(project, environment, placeholders)
    drop = sql.SQL("DROP SCHEMA IF EXISTS {}, {} CASCADE").format(
        sql.Identifier(schema), sql.Identifier(f"{schema}_models")
    )
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(drop)


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_work_as_printed(
    page: str, session: Session, team: Sandbox, postgres_url: str
) -> None:
    blocks = [Block.of(text) for text in fenced(page, "console")]
    for text in fenced(page, "yaml"):
        if text.startswith(("  - name: ", "plugins:\n")):
            session.add_plugins(text)
    shown = fenced(page, "text")
    for command, status, said in session.run(blocks):
        assert status == 0, f"{command.text}\n{said[-5000:]}"
        assert_says(said, command.says)
        if command.text == "make demo":
            assert_says(said, tuple(shown[0].splitlines()))
    if page in COMPLETE:
        schema = session.environment["TARGET_POSTGRES_DEFAULT_TARGET_SCHEMA"]
        assert_each_once(rows(team, postgres_url, schema), team)


def test_the_line_for_cron_runs_one_at_a_time(
    session: Session, team: Sandbox, postgres_url: str
) -> None:
    (line,) = fenced("docs/scheduling.md", "text")
    *when, command = line.split(maxsplit=5)
    assert when == ["7", "*", "*", "*", "*"]
    folder = session.folder
    settings = ("TAP_CELONIS_AUDIT_", "TARGET_POSTGRES_", "MELTANO_")
    (folder / ".env").write_text(
        "".join(
            f"{name}={value}\n"
            for name, value in session.environment.items()
            if name.startswith(settings)
        )
    )

    # By hand, as the page says: cron has nothing that a registry of packages may take.
    for plugin in (["extractor", "tap-celonis-audit"], ["loader", "target-postgres"]):
        subprocess.run(
            [".venv/bin/meltano", "install", *plugin],
            cwd=folder,
            env=session.environment,
            check=True,
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
        )

    def cron() -> int:
        """Run the line with nothing but what cron gives."""
        return subprocess.run(
            ["/bin/sh", "-c", command.replace("/srv/celonis", str(folder))],
            env={"HOME": os.environ["HOME"], "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh"},
            check=False,
            timeout=TIMEOUT_SECONDS,
        ).returncode

    log = folder / "celonis.log"
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert (cron(), log.read_text()) == (1, "")
    assert cron() == 0, log.read_text()[-5000:]
    schema = session.environment["TARGET_POSTGRES_DEFAULT_TARGET_SCHEMA"]
    assert_each_once(rows(team, postgres_url, schema), team)


def rows(team: Sandbox, url: str, schema: str) -> list[Row]:
    queries = [
        f"SELECT '{name}', event_id, to_char(timestamp, 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"  # noqa: S608 -- our own names
        f' FROM "{schema}".{name}'
        for name in logs_of(team)
    ]
    with psycopg.connect(url) as connection:
        found = connection.execute(" UNION ALL ".join(queries).encode()).fetchall()
    return [Row(*row) for row in found]


def test_what_cannot_be_run_here_says_so_and_is_a_command() -> None:
    left_out = []
    for page in PAGES:
        for block in map(Block.of, fenced(page, "console")):
            assert block.commands
            if block.needs:
                left_out.append((page, block.needs))
            for command in block.commands:
                subprocess.run(["bash", "-n", "-c", command.text], check=True)
    assert left_out == LEFT_OUT


@pytest.mark.parametrize("page", ALL_PAGES)
def test_no_command_stands_in_a_block_that_is_not_run(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    languages = re.findall(r"^ *```(\w*)$", text, re.MULTILINE)
    assert {*languages} - {""} <= {"console", "text", "yaml", "json", "ini", "sql"}
    assert languages[1::2] == [""] * (len(languages) // 2)
    assert "" not in languages[::2]


def test_a_job_that_is_documented_does_what_its_page_shows() -> None:
    project = YAML(typ="safe").load((ROOT / "meltano.yml").read_text(encoding="utf-8"))
    jobs = {job["name"]: job["tasks"] for job in project["jobs"]}
    named = set()
    for path in (ROOT / page for page in PAGES):
        text = path.read_text(encoding="utf-8")
        for name in re.findall(r"celonis-to-[a-z]+(?:-[a-z]+)?", text):
            (task,) = jobs[name]
            named.add(name)
            if path.name in {"models.md", "report.md"}:
                assert f"meltano run {task}\n" in text
    assert named == set(jobs)


def test_every_target_of_make_that_is_documented_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    there = set(re.findall(r"^\.PHONY: ([a-z-]+)$", makefile, re.MULTILINE))
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob(".github/*.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    named = set(re.findall(r"(?:`|\$ )(?:\w+=\S+ )?make ([a-z-]+)", text))
    assert len(named) > 4
    assert named <= there


@pytest.mark.parametrize("page", ["docs/scheduling.md", "docs/siem.md", "docs/teams.md"])
def test_what_is_shown_in_yaml_is_yaml(page: str) -> None:
    shown = fenced(page, "yaml")
    assert shown
    for text in shown:
        assert YAML(typ="safe").load(text)
