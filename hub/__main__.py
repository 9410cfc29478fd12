"""Writes the plugin's entry for Meltano Hub from what the tap says about itself."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

HUB = Path(__file__).parent
ROOT = HUB.parent
NAME = "tap-celonis-audit"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
#: Where the source is to be found, once there is such a place: `Repository` in `[project.urls]`.
REPOSITORY: str = PROJECT.get("urls", {}).get("Repository", "")


def variant(repository: str) -> str:
    """Name the variant, as the hub does, after the account that the repository belongs to."""
    return repository.split("/")[-2].lower() if repository else NAME


VARIANT = variant(REPOSITORY)
LOGO = f"assets/logos/extractors/{NAME.removeprefix('tap-')}.png"
ENTRY = HUB / f"_data/meltano/extractors/{NAME}/{VARIANT}.yml"
MAINTAINERS = HUB / "_data/maintainers.yml"
DEFAULT_VARIANTS = HUB / "_data/default_variants.yml"
#: What the hub's own tools make of settings by these names.
DATES = {"start_date": "date_iso8601", "end_date": "date_iso8601"}


def main() -> None:
    """Write the three files, and remove the entry of another name."""
    for path in ENTRY.parent.glob("*.yml"):
        path.unlink()
    for path, content in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


def files() -> dict[Path, str]:
    """Return what has to stand in which file."""
    plugin = YAML(typ="safe").load(ROOT / "meltano.yml")["plugins"]["extractors"][0]
    maintainer = {"label": PROJECT["authors"][0]["name"], "name": VARIANT}
    if REPOSITORY:
        maintainer["url"] = REPOSITORY.rpartition("/")[0]
    return {
        ENTRY: _yaml(entry(about(), plugin, repository=REPOSITORY)),
        MAINTAINERS: _yaml({VARIANT: maintainer}),
        DEFAULT_VARIANTS: _yaml({"extractors": {NAME: VARIANT}}),
    }


def about() -> dict[str, Any]:
    """Ask the installed tap about itself."""
    command = [str(Path(sys.executable).with_name(NAME)), "--about", "--format=json"]
    answer = subprocess.run(command, check=True, capture_output=True, timeout=60)
    said: dict[str, Any] = json.loads(answer.stdout)
    return said


def entry(about: dict[str, Any], plugin: dict[str, Any], *, repository: str) -> dict[str, Any]:
    """Put the entry together.

    Args:
        about: What the tap says about itself.
        plugin: Its definition in `meltano.yml`, for what the tap does not know.
        repository: Address of the public repository; empty while there is none.
    """
    own = {setting["name"]: setting for setting in plugin["settings"]}
    settings = (
        _setting(name, schema, own.get(name, {}))
        for name, schema in _leaves(about["settings"]["properties"])
    )
    return {
        "capabilities": sorted(about["capabilities"]),
        "commands": plugin["commands"],
        "description": plugin["description"],
        "domain_url": "https://www.celonis.com/",
        "executable": plugin["executable"],
        "keywords": ["api", "audit log", "meltano_sdk", "process mining", "security"],
        "label": "Celonis Audit Log",
        "log_parser": "singer-sdk",
        "logo_url": f"/{LOGO}",
        "maintenance_status": "active",
        "name": NAME,
        "namespace": plugin["namespace"],
        "pip_url": NAME,
        "quality": "unknown",  # the hub's maintainers rate it
        **({"repo": repository} if repository else {}),
        "settings": sorted(settings, key=lambda setting: str(setting["name"])),
        "settings_group_validation": [sorted(g) for g in plugin["settings_group_validation"]],
        "supported_python_versions": about["supported_python_versions"],
        "variant": variant(repository),
    }


def _leaves(properties: dict[str, Any], prefix: str = "") -> list[tuple[str, dict[str, Any]]]:
    """List the settings by the dotted names that the hub gives to nested ones."""
    found = []
    for name, schema in properties.items():
        # Stream maps are an object of the user's own keys, which cannot be listed.
        if schema.get("properties") and not isinstance(schema["additionalProperties"], dict):
            found += _leaves(schema["properties"], f"{prefix}{name}.")
        else:
            found.append((prefix + name, schema))
    return found


def _setting(name: str, schema: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    setting = {
        "description": schema["description"],
        "kind": DATES.get(name) or _kind(schema),
        "label": schema["title"],
        "name": name,
    }
    if "enum" in schema:
        labels = {option["value"]: option["label"] for option in own.get("options", ())}
        setting["options"] = [
            {"label": labels.get(value, value.capitalize()), "value": value}
            for value in schema["enum"]
        ]
    if "placeholder" in own:
        setting["placeholder"] = own["placeholder"]
    if schema.get("secret"):
        setting["sensitive"] = True
    if "default" in schema:
        setting["value"] = schema["default"]
    return setting


def _kind(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return "options"
    if schema.get("secret"):
        return "password"  # what Meltano knew before it knew `sensitive`
    types = {kind for one in schema.get("oneOf", [schema]) for kind in _types(one)} - {"null"}
    if len(types) == 1:
        return str(types.pop())
    return "array" if "array" in types else "string"


def _types(schema: dict[str, Any]) -> list[str]:
    types = schema["type"]
    return [types] if isinstance(types, str) else types


def _yaml(content: dict[str, Any]) -> str:
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.allow_unicode = True
    yaml.width = 10_000  # broken lines would end in a space
    text = io.StringIO()
    yaml.dump(content, text)
    return text.getvalue()


if __name__ == "__main__":
    main()
