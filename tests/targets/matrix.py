"""Each target with real Meltano and by pipe, and what has to be true of all of them.

A target copies the same made-up team three times: all of it, what is new, and all of it again with
one more column. What the tap sends for that team is known; what lands has to be the same.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import documented
import pytest
from outputs import run_tap
from projects import BIN, Project, quiet_variables
from ruamel.yaml import YAML

from bench.environments import BENCH, Environment, NoPythonError
from bench.processes import Command
from bench.processes import run as run_pipe
from tap_celonis_audit.sandbox import Sandbox
from tap_celonis_audit.streams import STREAMS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from places import Landed, Place, Row

    from bench.service import Service

TAP = "tap-celonis-audit"
BATCH_TAP = "tap-celonis-audit-batches"
FLAT_TAP = "tap-celonis-audit-flat"
NOW = "2026-03-01T12:00:00Z"
DAYS = 7
NAMES = tuple(stream.name for stream in STREAMS)
LOGS = ("audit_logs", "login_history", "studio_adoption")
#: One more column in every stream, as a stream map or a later version of the tap would bring it.
COLUMN = {"stream_maps": {"*": {"site": "'Łódź'"}}}
#: What people type into the product, and what shows up in the log; the tap itself replaces NUL and
#: halves of surrogate pairs.
TEXTS = (
    "'); DROP TABLE audit_logs; --",
    'a "quoted", comma\\separated; tab\tand \\N or \\. ',
    "a\r\nb\nc\rd",
    "control \x01\x08\x0b\x1f\x7f\x85\u2028\u2029",
    "\u202euser\u202c 売上 Łódź 👩‍👩‍👧‍👦 \U0010ffff \ufffe",
    "a\x00b\ud800c",
    "%s {} ${HOME} $(id) null NaN",
    "",
    "y" * 100_000,
)

Kinds = dict[str, dict[str, str]]
Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sent:
    """What the tap sends in a run.

    Attributes:
        kinds: What kind of column each is.
    """

    rows: dict[str, list[Row]]
    kinds: Kinds


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A Singer target, and what is known about it.

    Attributes:
        name: The plugin's name in the documentation.
        folder: Where its requirements are.
        place: Makes a place to write to, empty.
        tap: The extractor in the documentation that suits it.
        is_keyed: It updates the row whose key it has already; otherwise it appends.
        decode: How to get the tap's value back from what lands, by kind of column.
        land: What becomes of a value that cannot be got back whole, by kind of column.
        newest_python: It installs up to this version.
    """

    name: str
    folder: str
    place: Callable[[pytest.FixtureRequest, Target, Path], AbstractContextManager[Place]]
    tap: str = TAP
    is_keyed: bool = False
    decode: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    land: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    newest_python: tuple[int, int] | None = None

    @property
    def environment(self) -> Environment:
        requirements = BENCH / "targets" / self.folder / "requirements.txt"
        return Environment(requirements, self.newest_python)

    def received(self, landed: Landed, kinds: Kinds) -> dict[str, Counter[str]]:
        """Give what landed, in the tap's terms."""
        return {
            stream: Counter(
                _text({c: self._decoded(kind, row.get(c)) for c, kind in kinds[stream].items()})
                for row in rows
            )
            for stream, rows in landed.rows.items()
        }

    def expected(self, rows: Mapping[str, list[Row]], kinds: Kinds) -> dict[str, Counter[str]]:
        """Give what should have landed."""
        return {
            stream: Counter(
                _text({c: self._landing(kind, row.get(c)) for c, kind in kinds[stream].items()})
                for row in rows[stream]
            )
            for stream in kinds
        }

    def _landing(self, kind: str, value: Any) -> Any:
        return value if value is None or kind not in self.land else self.land[kind](value)

    def _decoded(self, kind: str, value: Any) -> Any:
        decode = self.decode.get(kind, as_sent if kind == "timestamp" else None)
        return value if value is None or decode is None else decode(value)


def as_sent(moment: str | datetime) -> str:
    """Write a time as the tap does."""
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    return f"{moment.astimezone(UTC) if moment.tzinfo else moment:%Y-%m-%dT%H:%M:%S.%fZ}"


#: Where objects and arrays land as their JSON.
AS_JSON = dict.fromkeys(("object", "texts", "objects"), json.loads)


def _text(row: Row) -> str:
    return json.dumps(row, sort_keys=True)


def kind_of(spec: Mapping[str, Any]) -> str:
    """Tell what kind a column is, by its schema."""
    (kind,) = set(spec["type"]) - {"null"}
    if kind == "array":
        return "objects" if "object" in spec["items"]["type"] else "texts"
    if kind == "string":
        return "timestamp" if "format" in spec else "text"
    return str(kind)


# The team.


def team() -> Sandbox:
    """Give the team that everybody copies."""
    return Sandbox(seed=1, days=DAYS, now=NOW)


def settings(sandbox: Sandbox | Service) -> dict[str, Any]:
    """Tell a tap where the team is."""
    return {"api_url": sandbox.url, "app_key": sandbox.app_key}


def begin(sandbox: Sandbox) -> None:
    """Let people have typed what people type."""
    sandbox.audit.extend(
        [
            {
                "userId": f"8161c24e-2b32-44eb-bedb-ede2267be989 ({text})",
                "userRole": text,
                "event": f"ODD_{number}",
                "timestamp": f"2026-02-25T14:52:{number:02}.903Z",
                "message": {text: text, "nodeName": [text, {"deep": [text, None, 2**53 + 1, 0.1]}]},
                "diffPayload": {"oldValue": text, "newValue": None},
                "undocumented": {"x": text},
            }
            for number, text in enumerate(TEXTS)
        ]
    )
    sandbox.happen(advance_seconds=600)


def go_on(sandbox: Sandbox) -> None:
    """Let something happen in the team, and Celonis have a new field."""
    sandbox.happen(audit=10, logins=12, adoption=7, joins=2, grants=3, advance_seconds=1200)
    at = "2026-03-01T12:20:00.001Z"
    sandbox.audit.extend([{"timestamp": at, "event": "NEW", "traceId": {"of": ["Celonis"]}}])
    sandbox.happen(advance_seconds=600)


def sent_by(config: dict[str, Any], state: dict[str, Any] | None) -> tuple[Sent, dict[str, Any]]:
    """Run the tap; give what it sends, and its last state."""
    output = run_tap(config, state=state, streams=NAMES)
    return understood(output.lines), output.states[-1]


def understood(lines: Iterable[Line]) -> Sent:
    """Sort out what a tap says."""
    sent = Sent({}, {})
    for line in lines:
        if line["type"] == "RECORD":
            sent.rows[line["stream"]].append(line["record"])
        elif line["type"] == "SCHEMA":
            columns = line["schema"]["properties"]
            sent.rows.setdefault(line["stream"], [])
            sent.kinds[line["stream"]] = {name: kind_of(spec) for name, spec in columns.items()}
    return sent


@cache
def sent() -> tuple[Sent, Sent, Sent]:
    """Tell what the tap sends in the three runs."""
    with team() as sandbox:
        begin(sandbox)
        first, state = sent_by(settings(sandbox), None)
        go_on(sandbox)
        second, _ = sent_by(settings(sandbox), state)
        third, _ = sent_by(settings(sandbox) | COLUMN, None)
    return first, second, third


# The runs.


@dataclass(frozen=True, slots=True)
class Story:
    """A target, and what was found after each of the three runs."""

    target: Target
    first: Landed
    second: Landed
    third: Landed
    state: dict[str, Any]


def plugin_settings(target: Target, place: Place) -> dict[str, Any]:
    """Give what a target gets without Meltano: what is documented, and the place."""
    plugin = documented.loader(target.name)
    defaults = {each["name"]: each["value"] for each in plugin["settings"] if "value" in each}
    written = documented.merged(documented.nested(defaults), plugin.get("config", {}))
    return documented.merged(written, documented.nested(place.settings))


def commands(target: Target, place: Place, folder: Path, tap: Mapping[str, Any]) -> list[Command]:
    """Give tap and target, to be joined by a pipe."""
    config = {**documented.settings_of_tap(target.tap), **tap}
    return [
        _command(BIN / TAP, config, folder),
        loading(target, plugin_settings(target, place), folder),
    ]


def loading(target: Target, config: Mapping[str, Any], folder: Path) -> Command:
    """Give a target that goes by its settings alone."""
    executable = documented.loader(target.name)["executable"]
    return _command(target.environment.bin / executable, config, folder)


def _command(executable: Path, config: Mapping[str, Any], folder: Path) -> Command:
    file = folder / f"{executable.name}.json"
    file.write_text(json.dumps(config))
    return Command([str(executable), "--config", str(file)], cwd=folder)


def installed(target: Target) -> Target:
    """Install a target, and skip the test if there is no Python for it."""
    try:
        target.environment.install()
    except NoPythonError as error:
        pytest.skip(f"{target.name}: {error}")
    return target


def documented_project(folder: Path) -> Project:
    """Give the shipped project with the documented targets in it."""
    with (folder / "meltano.yml").open("w", encoding="utf-8") as file:
        YAML(typ="safe").dump(documented.installed(documented.project()), file)
    return Project(folder, quiet_variables(folder / "meltano.db"))


def variables_for(target: Target, place: Place, sandbox: Sandbox) -> dict[str, str]:
    """Tell Meltano where tap and target are, and what they need to know."""
    path = os.pathsep.join(map(str, (target.environment.bin, BIN, os.environ["PATH"])))
    return {"PATH": path} | {
        documented.variable(plugin, name): str(value)
        for plugin, values in ((TAP, settings(sandbox)), (target.name, place.settings))
        for name, value in values.items()
    }


def tell(target: Target, request: pytest.FixtureRequest, project: Project, folder: Path) -> Story:
    """Let a target copy the team three times."""
    with team() as sandbox, target.place(request, target, folder) as place:
        begin(sandbox)
        variables = variables_for(target, place, sandbox)
        project.run(target.tap, target.name, **variables)
        first = place.read()
        go_on(sandbox)
        project.run(target.tap, target.name, **variables)
        second = place.read()
        states = folder / "states"
        pipe = commands(target, place, folder, settings(sandbox) | COLUMN)
        run_pipe(*pipe, output=states, log=folder / "log")
        state = json.loads(states.read_text().splitlines()[-1])
        return Story(target, first, second, place.read(), state)


class Matrix:
    """What has to be true of each target; each subclass runs some of them.

    Attributes:
        targets: Which ones.
    """

    targets: ClassVar[tuple[Target, ...]]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        metafunc.parametrize("story", self.targets, ids=name_of, indirect=True, scope="class")

    @pytest.fixture(scope="class")
    @classmethod
    def project(cls, tmp_path_factory: pytest.TempPathFactory) -> Project:
        return documented_project(tmp_path_factory.mktemp("project"))

    @pytest.fixture(scope="class")
    @classmethod
    def story(
        cls,
        request: pytest.FixtureRequest,
        project: Project,
        tmp_path_factory: pytest.TempPathFactory,
    ) -> Story:
        """Let a target copy the team three times."""
        target: Target = request.param
        installed(target)
        return tell(target, request, project, tmp_path_factory.mktemp(target.name))

    def test_every_record_lands_as_it_was_sent(self, story: Story) -> None:
        first, _, _ = sent()
        assert first.rows.keys() == set(NAMES)
        assert all(len(rows) > 300 for rows in first.rows.values())
        assert_equal(
            story.target.received(story.first, first.kinds),
            story.target.expected(first.rows, first.kinds),
        )

    def test_a_second_run_brings_what_is_new(self, story: Story) -> None:
        first, second, _ = sent()
        assert [len(second.rows[name]) for name in LOGS] == [11, 12, 7]
        rows = {
            name: second.rows[name]
            if story.target.is_keyed and name not in LOGS
            else first.rows[name] + second.rows[name]
            for name in NAMES
        }
        assert_equal(
            story.target.received(story.second, first.kinds),
            story.target.expected(rows, first.kinds),
        )

    def test_a_schema_may_gain_a_column(self, story: Story) -> None:
        first, second, third = sent()
        rows = {
            name: third.rows[name]
            if story.target.is_keyed
            else first.rows[name] + second.rows[name] + third.rows[name]
            for name in NAMES
        }
        assert_equal(
            story.target.received(story.third, third.kinds),
            story.target.expected(rows, third.kinds),
        )

    def test_the_target_hands_the_bookmarks_on(self, story: Story) -> None:
        assert set(story.state["bookmarks"]) == set(NAMES)

    def test_columns_land_as_documented(self, story: Story) -> None:
        first, _, _ = sent()
        found = landed_types(story.first, first.kinds)
        assert found == documented.types(story.target.name), found


def name_of(target: Target) -> str:
    """Name a test."""
    return target.name


def landed_types(landed: Landed, kinds: Kinds) -> dict[str, str]:
    """Tell what type each kind of column has there; a column without any value may have none."""
    found: dict[str, set[str]] = {}
    for stream, columns in kinds.items():
        for column, kind in columns.items():
            if column in landed.types[stream]:
                found.setdefault(kind, set()).add(landed.types[stream][column])
    return {kind: " or ".join(sorted(names)) for kind, names in found.items()}


def assert_equal(got: Mapping[str, Counter[str]], owed: Mapping[str, Counter[str]]) -> None:
    """Compare, and show what matters of a difference."""
    assert got.keys() == owed.keys()
    for stream, rows in owed.items():
        missing, strange = rows - got[stream], got[stream] - rows
        examples = [next(iter(each), "")[:2000] for each in (missing, strange)]
        assert (missing.total(), strange.total()) == (0, 0), (stream, *examples)
