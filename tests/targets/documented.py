"""What meltano.yml, and docs/targets.md and its neighbour, tell to write: the tests run that."""

from __future__ import annotations

import re
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.processes import Usage

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "targets.md"
_YAML = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)

BEGIN, END = "<!-- measured -->", "<!-- end of measured -->"

Plugin = dict[str, Any]


def project() -> dict[str, Any]:
    """Give the shipped meltano.yml with every plugin that the page adds to it."""
    whole: dict[str, Any] = YAML(typ="safe").load((ROOT / "meltano.yml").read_text("utf-8"))
    pages = PAGE.read_text("utf-8") + PAGE.with_name("stream-maps.md").read_text("utf-8")
    for text in _YAML.findall(pages):
        for kind, plugins in YAML(typ="safe").load(text)["plugins"].items():
            whole["plugins"][kind] += plugins
    return whole


def installed(whole: dict[str, Any]) -> dict[str, Any]:
    """Let a project take its plugins from the PATH instead of installing them."""
    whole = deepcopy(whole)
    for plugins in whole["plugins"].values():
        for plugin in plugins:
            plugin.pop("pip_url", None)
    return whole


def loader(name: str) -> Plugin:
    """Give a documented target."""
    return _plugin("loaders", name)


def settings_of_tap(name: str) -> dict[str, Any]:
    """Give what is set for a documented extractor, beside team and key."""
    return dict(_plugin("extractors", name).get("config", {}))


def types(name: str) -> dict[str, str]:
    """Give the types of columns that a target is documented to have, by kind of column."""
    table = PAGE.read_text("utf-8").partition("## What lands how")[2].partition("\n## ")[0]
    header, _, *rows = (
        [cell.strip(" `") for cell in line.strip("|").split("|")]
        for line in table.splitlines()
        if line.startswith("|")
    )
    (found,) = (row for row in rows if row[0] == name)
    return dict(zip(header[1:], found[1:], strict=True))


def write_measured(introduction: str, figures: Mapping[str, Usage], number: int) -> None:
    """Put what was measured between the two marks."""
    rows = [
        f"| `{name}` | {usage.cpu_seconds / number * 1e6:,.0f} | {usage.memory_mb:,.0f} |"
        for name, usage in figures.items()
    ]
    head = [
        "| target | CPU µs a record | peak MB |",
        "| --- | --- | --- |",
    ]
    page = PAGE.read_text("utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    measured = "\n".join([BEGIN, "", introduction, "", *head, *rows, "", END])
    PAGE.write_text(before + measured + after, "utf-8")


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Turn settings with dotted names into the objects that they are parts of, as Meltano does."""
    whole: dict[str, Any] = {}
    for name, value in settings.items():
        *parents, last = name.split(".")
        part = whole
        for parent in parents:
            part = part.setdefault(parent, {})
        part[last] = value
    return whole


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two configurations, objects within them too."""
    whole = dict(one)
    for name, value in other.items():
        before = whole.get(name)
        whole[name] = (
            merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
        )
    return whole


def variable(plugin: str, setting: str) -> str:
    """Give the environment variable that sets a plugin's setting."""
    return re.sub(r"[.-]", "_", f"{plugin}_{setting}").upper()


def _plugin(kind: str, name: str) -> Plugin:
    (plugin,) = (each for each in project()["plugins"][kind] if each["name"] == name)
    found: Plugin = plugin
    return found
