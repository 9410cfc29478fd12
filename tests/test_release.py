"""What is not ready is not published, and what is published leads back to the source."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
REPOSITORY = "https://github.com/acme/tap-celonis-audit"
CHANGELOG = """\
# Changelog

## 1.10.0 – 2027-02-03

- Reads [more](docs/streams.md#members), as [the SDK](https://sdk.meltano.com) does.

## 1.1.0 – 2027-01-01

- Older.
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Give what is looked at before a release, ready for it."""
    for name in ("release", "tap_celonis_audit"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG, encoding="utf-8")
    pyproject = tmp_path / "pyproject.toml"
    text = pyproject.read_text(encoding="utf-8")
    text = re.sub(r"^version = .+$", 'version = "1.10.0"', text, flags=re.MULTILINE)
    text = re.sub(r"^\[project\.urls\]\n(.+\n)*", "", text, flags=re.MULTILINE)
    text += f'\n[project.urls]\nRepository = "{REPOSITORY}"\n'
    pyproject.write_text(text, encoding="utf-8")
    return tmp_path


def edit(project: Path, old: str, new: str, name: str = "pyproject.toml") -> None:
    text = (project / name).read_text(encoding="utf-8")
    assert text.count(old) == 1
    (project / name).write_text(text.replace(old, new), encoding="utf-8")


def release(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "release", *arguments]
    return subprocess.run(command, cwd=project, check=False, capture_output=True, text=True)


def test_what_is_ready_is_not_refused(project: Path) -> None:
    ran = release(project, "check", "v1.10.0")
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("pyproject.toml", '"1.10.0"', '"1.10.1"', "the tag is v1.10.0, but the version in py"),
        ("pyproject.toml", f'Repository = "{REPOSITORY}"', "", "nobody could find the source"),
        ("pyproject.toml", REPOSITORY, "https://github.com/ACCOUNT", "nobody could find the so"),
        ("CHANGELOG.md", "2027-02-03", "unreleased", 'needs the line "## 1.10.0 – YYYY-MM-DD"'),
        ("CHANGELOG.md", "## 1.10.0", "## 1.10.1", 'needs the line "## 1.10.0 – YYYY-MM-DD"'),
        ("CHANGELOG.md", CHANGELOG.splitlines()[4], "", "says nothing about 1.10.0"),
    ],
)
def test_what_is_not_ready_is_refused_in_a_line(
    name: str, old: str, new: str, said: str, project: Path
) -> None:
    edit(project, old, new, name)
    ran = release(project, "check", "v1.10.0")
    assert ran.returncode == 1
    first, *more = ran.stderr.splitlines()
    assert first.startswith("Not to be published: ")
    assert said in first
    assert len(more) == (1 if '"1.10.1"' in new else 0)  # the changelog does not know that one
    rehearsal = release(project, "check", "")
    assert rehearsal.returncode == 0
    assert rehearsal.stderr.splitlines() == ([first, *more] if "tag" not in said else more)


def test_the_notes_are_the_part_of_the_changelog_about_this_version(project: Path) -> None:
    ran = release(project, "notes")
    assert ran.stdout == (
        f"- Reads [more]({REPOSITORY}/blob/v1.10.0/docs/streams.md#members),"
        " as [the SDK](https://sdk.meltano.com) does.\n"
    )


def test_anything_else_is_refused(project: Path) -> None:
    ran = release(project, "publish")
    assert ran.returncode == 1
    assert ran.stderr.startswith("usage: ")


def test_the_readme_of_the_package_leads_to_the_repository(project: Path) -> None:
    def readme() -> str:
        command = [sys.executable, "-m", "hatchling", "metadata"]
        said = subprocess.run(command, cwd=project, check=True, capture_output=True)
        metadata = json.loads(said.stdout)
        assert metadata["readme"]["content-type"] == "text/markdown"
        return str(metadata["readme"]["text"])

    text = readme()
    assert f"]({REPOSITORY}/blob/v1.10.0/docs/celonis.md)" in text
    assert f"]({REPOSITORY}/raw/v1.10.0/docs/report.png)" in text
    assert "](docs/" not in text
    assert "](https://meltano.com)" in text
    edit(project, f'Repository = "{REPOSITORY}"', "")
    assert readme() == (ROOT / "README.md").read_text(encoding="utf-8")


def test_a_release_is_rehearsed() -> None:
    """Build, build again elsewhere, install with uv and pipx, and list what it consists of."""
    subprocess.run(["make", "release-dry-run"], cwd=ROOT, check=True, capture_output=True)
    made = ROOT / "output" / "release"
    sums = (made / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    assert [line.rpartition(".")[2] for line in sums] == ["whl", "gz"]
    for line in sums:
        digest, name = line.split()
        assert hashlib.sha256((ROOT / "dist" / name).read_bytes()).hexdigest() == digest
    bill = json.loads((made / "sbom.cdx.json").read_text(encoding="utf-8"))
    assert bill["metadata"]["component"]["name"] == "tap-celonis-audit"
    names = {component["name"] for component in bill["components"]}
    assert {"msgspec", "requests", "singer-sdk", "urllib3"} <= names
    assert not {"meltano", "pytest", "ruff"} & names
    assert (made / "notes.md").read_text(encoding="utf-8").startswith("- ")
