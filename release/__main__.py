"""Says whether this can be published, and writes what is said of it."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

from release.readme import absolute

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Run `python -m release check TAG` or `python -m release notes`."""
    match sys.argv[1:]:
        case ["check", *tag]:
            found = problems(tag[0] if tag and tag[0] else "", *_read())
            for problem in found:
                print(f"Not to be published: {problem}", file=sys.stderr)
            # Without a tag, nobody is about to publish: what is missing may still be missing.
            sys.exit(bool(found) and any(tag))
        case ["notes"]:
            project, changelog = _read()
            sys.stdout.write(notes(project, changelog))
        case _:
            sys.exit(f"usage: python -m release {{check [TAG] | notes}}, not {sys.argv[1:]}")


def _read() -> tuple[dict[str, str], str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    repository = project.get("urls", {}).get("Repository", "")
    return (
        {"version": project["version"], "repository": repository},
        (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
    )


def problems(tag: str, project: dict[str, str], changelog: str) -> list[str]:
    """List what has to be done before this can be published, a line each.

    Args:
        tag: The tag that is about to be released; empty if there is none yet.
        project: Its `version`, and the address of its public `repository`, which may be empty.
        changelog: The whole of it.
    """
    version = project["version"]
    found = []
    if tag and tag != f"v{version}":
        found.append(f"the tag is {tag}, but the version in pyproject.toml is {version}.")
    if not re.search(rf"^## {re.escape(version)} – \d{{4}}-\d\d-\d\d$", changelog, re.MULTILINE):
        found.append(f'CHANGELOG.md needs the line "## {version} – YYYY-MM-DD", the day of release.')
    elif not notes(project, changelog).strip():
        found.append(f"CHANGELOG.md says nothing about {version}.")
    if not re.fullmatch(r"https://[\w.-]+(/[\w.-]+){2}", project["repository"]):
        found.append(
            "nobody could find the source: say Repository = "
            '"https://github.com/ACCOUNT/tap-celonis-audit" under [project.urls] in pyproject.toml, '
            "and run `make hub`."
        )
    return found


def notes(project: dict[str, str], changelog: str) -> str:
    """Take what the changelog says about this version; its links lead to the repository."""
    version = re.escape(project["version"])
    section = re.search(rf"^## {version}\b[^\n]*\n+(.*?)(?=^## |\Z)", changelog, re.DOTALL | re.M)
    text = section.group(1).rstrip() + "\n" if section else ""
    return absolute(text, **project)


if __name__ == "__main__":
    main()
