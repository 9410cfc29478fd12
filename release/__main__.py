"""Says whether this can be published, and writes what is said of it."""

from __future__ import annotations

import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from release.readme import absolute

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What is about to be released."""

    version: str
    repository: str  # address of the public source; empty while there is none
    changelog: str  # the whole of it


def main() -> None:
    """Run `python -m release check TAG` or `python -m release notes`."""
    match sys.argv[1:]:
        case ["check", tag]:
            found = problems(read(), tag=tag)
            for problem in found:
                print(f"Not to be published: {problem}", file=sys.stderr)
            # Without a tag, nobody is about to publish: what is missing may still be missing.
            sys.exit(bool(found and tag))
        case ["notes"]:
            sys.stdout.write(notes(read()))
        case _:
            sys.exit("usage: python -m release check TAG, or notes")


def read() -> Release:
    """Read what the project says of itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return Release(
        version=project["version"],
        repository=project.get("urls", {}).get("Repository", ""),
        changelog=(ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
    )


def problems(release: Release, *, tag: str) -> list[str]:
    """List what has to be done before this can be published, a line each.

    Args:
        release: What is about to be released.
        tag: What it is tagged with; empty if it is not yet.
    """
    version = release.version
    found = []
    if tag and tag != f"v{version}":
        found.append(f"the tag is {tag}, but the version in pyproject.toml is {version}.")
    heading = rf"^## {re.escape(version)} – \d{{4}}-\d\d-\d\d$"
    if not re.search(heading, release.changelog, re.MULTILINE):
        found.append(f'CHANGELOG.md needs the line "## {version} – YYYY-MM-DD".')
    elif not notes(release):
        found.append(f"CHANGELOG.md says nothing about {version}.")
    if not re.fullmatch(r"https://[\w.-]+(/[\w.-]+){2}(?<!\.git)", release.repository):
        found.append(
            "nobody could find the source. Under [project.urls] in pyproject.toml, say "
            'Repository = "https://github.com/ACCOUNT/tap-celonis-audit", and run `make hub`.'
        )
    return found


def notes(release: Release) -> str:
    """Take what the changelog says about this version; its links lead to the repository."""
    section = re.compile(
        rf"^## {re.escape(release.version)} [^\n]*\n+(.*?)(?=^## |\Z)", re.DOTALL | re.MULTILINE
    )
    found = section.search(release.changelog)
    text = found[1].rstrip() + "\n" if found and found[1].strip() else ""
    return absolute(text, version=release.version, repository=release.repository)


if __name__ == "__main__":
    main()
