"""What is written beside the code says what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tap_celonis_audit.errors import PERMISSIONS_PAGE
from tap_celonis_audit.settings import SCHEMA, problems
from tap_celonis_audit.streams import STREAMS
from tap_celonis_audit.tap import TapCelonisAudit

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")}
PREFIX = "TAP_CELONIS_AUDIT_"
SETTINGS: dict[str, dict[str, Any]] = SCHEMA["properties"]


def own_settings() -> dict[str, dict[str, Any]]:
    """Give the settings without the SDK's, which a tap adds to the schema when it is made."""
    theirs: dict[str, Any] = {"properties": {}}
    TapCelonisAudit.append_builtin_config(theirs)
    return {name: spec for name, spec in SETTINGS.items() if spec != theirs["properties"].get(name)}


def written(value: object) -> str:
    """Write a default as an environment holds it."""
    return json.dumps(value) if isinstance(value, bool) else str(value)


def plugin() -> dict[str, Any]:
    """Give the tap's definition in meltano.yml."""
    project = YAML(typ="safe").load((ROOT / "meltano.yml").read_text(encoding="utf-8"))
    (tap,) = (
        each for each in project["plugins"]["extractors"] if each["name"] == TapCelonisAudit.name
    )
    found: dict[str, Any] = tap
    return found


def meltano_settings() -> dict[str, dict[str, Any]]:
    return {setting["name"]: setting for setting in plugin()["settings"]}


def tables(text: str, *header: str) -> list[tuple[str, list[list[str]]]]:
    """Find the tables with this header; give each one's nearest heading and its rows."""
    found: list[tuple[str, list[list[str]]]] = []
    heading, is_inside = "", False
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("#"):
            heading = line.lstrip("#").strip()
        if not line.startswith("|"):
            is_inside = False
        elif cells == list(header):
            is_inside = True
            found.append((heading, []))
        elif is_inside and not set(line) <= set("|-: "):
            found[-1][1].append(cells)
    return found


def example_variables() -> dict[str, str]:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    found = re.findall(rf"^#?{PREFIX}([A-Z_]+)=(.*)$", text, re.MULTILINE)
    assert len(found) == len(dict(found)), "each once"
    return {name.lower(): value for name, value in found}


def documented_settings() -> dict[str, tuple[str, str, str]]:
    ((_, rows),) = tables(DOCS["settings"], "setting", "default", "meaning")
    named = {}
    for first, default, meaning in rows:
        cell = re.fullmatch(r"`(\w+)`(?: \((required|secret)\))?", first)
        assert cell, first
        named[cell[1]] = (cell[2] or "", default, meaning)
    assert len(named) == len(rows), "each once"
    return named


def test_the_settings_are_listed_everywhere_in_the_same_order() -> None:
    names = list(own_settings())
    assert len(names) > 10
    assert list(meltano_settings()) == names
    assert list(example_variables()) == names
    assert list(documented_settings()) == names


@pytest.mark.parametrize("name", own_settings())
def test_meltano_knows_a_setting_as_the_tap_does(name: str) -> None:
    ours, theirs = SETTINGS[name], meltano_settings()[name]
    assert theirs["kind"] == "string", "the tap says better than Meltano what is wrong"
    assert theirs.get("value") == ours.get("default")
    assert theirs.get("sensitive", False) == ours.get("secret", False)
    assert theirs["label"] == ours["title"]
    assert theirs["description"] == ours["description"]
    if "enum" in ours:
        assert [option["value"] for option in theirs["options"]] == ours["enum"]


@pytest.mark.parametrize("name", own_settings())
def test_the_example_environment_shows_the_defaults(name: str) -> None:
    value, default = example_variables()[name], SETTINGS[name].get("default")
    if default is not None:
        assert value == written(default)
    if SETTINGS[name].get("secret"):
        assert value == "", "a secret has no example"


def test_the_example_environment_is_a_configuration_once_a_key_is_given() -> None:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    active = dict(re.findall(rf"^{PREFIX}([A-Z_]+)=(.*)$", text, re.MULTILINE))
    config = {name.lower(): value for name, value in active.items()}
    assert problems(config, SCHEMA) != []
    assert problems(config | {"app_key": "k"}, SCHEMA) == []


@pytest.mark.parametrize("name", own_settings())
def test_the_documentation_describes_a_setting(name: str) -> None:
    spec = SETTINGS[name]
    mark, default, meaning = documented_settings()[name]
    assert (mark == "secret") == spec.get("secret", False)
    assert (mark == "required") == (name in SCHEMA["required"])
    if "default" in spec:
        assert default == f"`{written(spec['default'])}`"
    else:
        assert not re.fullmatch(r"`?\d+`?", default), "there is no such default"
    assert meaning
    for choice in spec.get("enum", []):
        assert f"`{choice}`" in meaning


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.name)
def test_the_documentation_describes_every_column(stream: Any) -> None:
    columns = dict(tables(DOCS["streams"], "column", "type", "meaning"))[stream.name]
    kinds = {
        "string": "text",
        "boolean": "boolean",
        "integer": "integer",
        "object": "object",
        "array": "array",
    }
    expected = {}
    for name, spec in stream.schema["properties"].items():
        (kind,) = set(spec["type"]) - {"null"}
        expected[f"`{name}`"] = "timestamp" if spec.get("format") else kinds[kind]
    assert {name: kind for name, kind, _ in columns} == expected
    assert [name for name, _, _ in columns] == list(expected)
    assert all(meaning for _, _, meaning in columns)


def test_the_documentation_describes_every_stream_and_no_other() -> None:
    described = [heading for heading, _ in tables(DOCS["streams"], "column", "type", "meaning")]
    assert described == [stream.name for stream in STREAMS]
    ((_, rows),) = tables(README, "stream", "what", "each run adds")
    assert [name.strip("`") for name, *_ in rows] == described


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.name)
def test_the_documentation_names_what_has_to_be_granted(stream: Any) -> None:
    text = " ".join(DOCS["celonis"].replace("*", "").replace("`", "").split())
    for needed in (stream.api.scope, stream.api.permission, PERMISSIONS_PAGE):
        assert needed in text
    short = stream.api.newer_permission.removeprefix("Admin & Settings – ")
    assert short in text


#: Every page but those of installed packages, which live in folders with a dot, and what is made.
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in (ROOT, ROOT / ".github", *({*ROOT.glob("[!.]*/")} - {ROOT / "output"}))
    for path in folder.glob("*.md" if folder == ROOT else "**/*.md")
    if not any(part.startswith(".") for part in path.relative_to(folder).parts)
)


@pytest.mark.parametrize("path", PAGES)
def test_variables_in_the_documentation_are_settings(path: str) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    # B_ is the second team's plugin; what begins with an underscore is Meltano's.
    named = {name.lower() for name in re.findall(rf"{PREFIX}(?:B_)?([A-Z][A-Z_]+)", text)}
    assert named <= own_settings().keys() | {"loglevel"}


def anchors(page: Path) -> set[str]:
    """Give the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES)
def test_links_within_the_repository_lead_somewhere(path: str) -> None:
    file = ROOT / path
    links = re.findall(r"\]\((?!https?:|mailto:)([^)]+)\)", file.read_text(encoding="utf-8"))
    for link in links:
        target, _, anchor = link.partition("#")
        page = file.parent / target if target else file
        assert page.exists(), link
        assert not anchor or anchor in anchors(page), link


def test_the_index_names_every_page() -> None:
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages == set(re.findall(r"\]\(([a-z-]+\.md)\)", DOCS["README"]))


def test_the_readme_is_one_page() -> None:
    assert len(README.splitlines()) <= 180


def test_meltano_lists_the_capabilities() -> None:
    assert plugin()["capabilities"] == sorted(str(each) for each in TapCelonisAudit.capabilities)


def test_each_group_of_settings_is_enough_and_nothing_in_it_is_too_much() -> None:
    groups = plugin()["settings_group_validation"]
    assert len(groups) == 3
    for group in groups:
        config = dict.fromkeys(group, "k") | {"api_url": "https://acme.eu-1.celonis.cloud"}
        assert problems(config, SCHEMA) == []
        for name in group:
            assert problems({n: v for n, v in config.items() if n != name}, SCHEMA) != []


def measured_speed(path: str) -> str:
    text = (ROOT / path).read_text(encoding="utf-8")
    return text.partition("<!-- measured -->")[2].partition("<!-- end of measured -->")[0]


def test_the_documentation_shows_the_speed_that_was_measured() -> None:
    measured = measured_speed("bench/results/speed.md")
    assert measured_speed("docs/speed.md") == measured
    ((_, rows),) = tables(measured, "what was wanted", "measured", "reached")
    assert len(rows) > 4


def test_the_documentation_shows_the_losses_that_were_measured() -> None:
    measured = (ROOT / "bench" / "results" / "losses.md").read_text(encoding="utf-8")
    table = measured.split("|  | world | events")[1].split("\n\n")[0]
    assert f"|  | world | events{table}" in DOCS["completeness"]
    assert len(table.splitlines()) > 10
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()]
    head, total = cells[0], cells[-1]
    assert total[1] == "all"
    ((_, rows),) = tables(README, "records lost / doubled", "events", *head)
    assert rows == [["all worlds", *total[2:]]]
