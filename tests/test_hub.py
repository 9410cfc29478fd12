"""The entry for Meltano Hub tells what the tap tells, by the hub's rules."""

from __future__ import annotations

import re
import struct
from typing import Any

import pytest
from meltano.core.utils import parse_date
from ruamel.yaml import YAML

from hub import __main__ as hub
from tap_celonis_audit.settings import SCHEMA, problems

# https://github.com/meltano/hub/tree/main/schemas, and how its files are to be written:
# https://github.com/meltano/hub/blob/main/.yamllint.yaml
REQUIRED = {"name", "namespace", "variant", "quality"}
ALLOWED = REQUIRED | {
    "capabilities",
    "commands",
    "definition",
    "description",
    "docs",
    "domain_url",
    "executable",
    "hidden",
    "keywords",
    "label",
    "log_parser",
    "logo_url",
    "maintenance_status",
    "metadata",
    "next_steps",
    "pip_url",
    "prereq",
    "python",
    "repo",
    "requires",
    "schema",
    "select",
    "settings",
    "settings_group_validation",
    "settings_preamble",
    "supported_python_versions",
    "usage",
}
CAPABILITIES = {
    "about",
    "activate-version",
    "batch",
    "catalog",
    "discover",
    "log-based",
    "properties",
    "schema-flattening",
    "state",
    "stream-maps",
    "structured-logging",
    "test",
}
KINDS = {
    "array",
    "boolean",
    "date_iso8601",
    "integer",
    "object",
    "options",
    "password",
    "string",
}
SETTING = {"description", "kind", "label", "name", "options", "placeholder", "sensitive", "value"}


@pytest.fixture(scope="module")
def about() -> dict[str, Any]:
    return hub.about()


@pytest.fixture(scope="module")
def entry() -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load(hub.ENTRY)
    return loaded


def test_the_files_are_what_the_generator_writes() -> None:
    for path, content in hub.files().items():
        assert path.read_text(encoding="utf-8") == content, "run `make hub`"
    assert list(hub.ENTRY.parent.iterdir()) == [hub.ENTRY], "run `make hub`"


def test_the_keys_are_those_of_the_hub(entry: dict[str, Any]) -> None:
    assert entry.keys() >= REQUIRED
    assert entry.keys() <= ALLOWED
    assert hub.ENTRY.stem == entry["variant"]
    assert hub.ENTRY.parent.name == entry["name"]


def test_the_entry_names_the_repository_once_there_is_one(about: dict[str, Any]) -> None:
    """The hub takes no entry without `repo`; it is said in pyproject.toml."""
    plugin = YAML(typ="safe").load(hub.ROOT / "meltano.yml")["plugins"]["extractors"][0]
    address = "https://github.com/Acme-Data/tap-celonis-audit"
    named = hub.entry(about, plugin, repository=address)
    assert list(named) == sorted(named)
    assert (named["repo"], named["variant"]) == (address, "acme-data")
    without = hub.entry(about, plugin, repository="")
    assert named.keys() - without.keys() == {"repo"}


def test_everything_is_in_alphabetical_order(entry: dict[str, Any]) -> None:
    names = [setting["name"] for setting in entry["settings"]]
    lists = [names, entry["capabilities"], entry["keywords"], *entry["settings_group_validation"]]
    for listed in [list(entry), *map(list, entry["settings"]), *lists]:
        assert listed == sorted(listed)
    assert len(names) == len(set(names))


def test_the_entry_says_what_the_tap_says(entry: dict[str, Any], about: dict[str, Any]) -> None:
    assert set(entry["capabilities"]) == set(about["capabilities"])
    assert set(entry["capabilities"]) <= CAPABILITIES
    assert entry["supported_python_versions"] == about["supported_python_versions"]
    assert {setting["name"].split(".")[0] for setting in entry["settings"]} == set(
        about["settings"]["properties"]
    )


def test_every_setting_is_described(entry: dict[str, Any], about: dict[str, Any]) -> None:
    properties = about["settings"]["properties"]
    for setting in entry["settings"]:
        assert setting.keys() <= SETTING
        assert setting["kind"] in KINDS
        assert setting["label"]
        assert setting["description"]
        assert ("options" in setting) == (setting["kind"] == "options")
        schema = properties.get(setting["name"], {})
        assert setting.get("sensitive", False) is schema.get("secret", False)
        assert (setting["kind"] == "password") is schema.get("secret", False)
        assert setting.get("value") == schema.get("default")
        for option in setting.get("options", ()):
            assert option["label"]
            assert isinstance(option["value"], str)


@pytest.mark.parametrize("date", ["2025-01-31", "2025-01-31T09:00:00+02:00", "30 days ago"])
def test_a_date_is_one_after_meltano_has_read_it(date: str, entry: dict[str, Any]) -> None:
    kinds = {setting["name"]: setting["kind"] for setting in entry["settings"]}
    assert kinds["start_date"] == kinds["end_date"] == "date_iso8601"
    config = {"api_url": "https://acme.eu-1.celonis.cloud", "app_key": "key"}
    assert problems(config | {"start_date": "tomorrow or so"}, SCHEMA)
    assert problems(config | {"start_date": parse_date(date)}, SCHEMA) == []


def test_a_group_names_settings_that_there_are(entry: dict[str, Any]) -> None:
    names = {setting["name"] for setting in entry["settings"]}
    assert entry["settings_group_validation"]
    for group in entry["settings_group_validation"]:
        assert set(group) <= names


def test_versions_and_parser_have_the_form_that_meltano_reads(entry: dict[str, Any]) -> None:
    assert all(re.fullmatch(r"3\.\d+", version) for version in entry["supported_python_versions"])
    assert entry["log_parser"] == "singer-sdk"
    assert "structured-logging" in entry["capabilities"]


def test_the_logo_is_where_the_entry_says_and_square(entry: dict[str, Any]) -> None:
    logo = (hub.HUB / "static" / entry["logo_url"].lstrip("/")).read_bytes()
    assert logo.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", logo[16:24])
    assert width == height >= 200
