"""Read events of OCSF, one a line; say what is wrong with them by the published schema and models.

Runs in an environment of its own, with packages that hold the schema of OCSF: JSON Schema by
ocsf-json-schema, which knows every attribute, and the classes of pydantic-ocsf.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

jsonschema = importlib.import_module("jsonschema")
ocsf_json_schema = importlib.import_module("ocsf_json_schema")

# The newest version is not among those of pydantic-ocsf.
VERSIONS = ("1.3.0", "1.4.0", "1.5.0", "1.6.0", "1.7.0", "1.8.0")
MODELLED = VERSIONS[:-1]


class Validators:
    """The schema of each class in a version of OCSF."""

    def __init__(self, version: str) -> None:
        schema = ocsf_json_schema.get_ocsf_schema(version=version)
        self._schemas = ocsf_json_schema.OcsfJsonSchemaEmbedded(schema)
        self._names = {each["uid"]: name for name, each in schema["classes"].items()}
        self._known: dict[tuple[int, str], Any] = {}

    def name(self, event: dict[str, Any]) -> str:
        """Return the name of an event's class."""
        name: str = self._names[event["class_uid"]]
        return name

    def problems(self, event: dict[str, Any]) -> list[str]:
        """Say what is wrong with an event."""
        profiles = event["metadata"].get("profiles", [])
        key = event["class_uid"], ",".join(profiles)
        if key not in self._known:
            self._known[key] = jsonschema.Draft202012Validator(
                self._schemas.get_class_schema(class_name=self.name(event), profiles=profiles)
            )
        return [f"{each.json_path}: {each.message}" for each in self._known[key].iter_errors(event)]


def model_problems(name: str, version: str, event: dict[str, Any]) -> list[str]:
    """Say why an event is not one of its class in the models of a version."""
    events = importlib.import_module(f"ocsf.v{version.replace('.', '_')}.events")
    model = getattr(events, "".join(word.capitalize() for word in name.split("_")))
    try:
        model.model_validate_json(json.dumps(event))
    except ValueError as error:
        return [str(error)]
    return []


def main() -> None:
    """Print a line for each problem, and at the end how many events were checked."""
    events = [json.loads(line) for line in sys.stdin]
    for version in VERSIONS:
        validators = Validators(version)
        for event in events:
            event["metadata"]["version"] = version
            problems = validators.problems(event)
            if version in MODELLED:
                problems += model_problems(validators.name(event), version, event)
            for problem in problems:
                print(json.dumps([version, event["metadata"].get("event_code"), problem]))
    print(json.dumps([len(events)]))


if __name__ == "__main__":
    main()
