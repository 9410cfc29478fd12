"""What docs/scheduling.md shows for schedulers passes the checks that there are of such files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.environments import Environment

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "scheduling.md").read_text(encoding="utf-8")
CHECKS = Environment(ROOT / "tests" / "schedulers" / "requirements.txt")
TIMEOUT_SECONDS = 120


def shown(heading: str) -> str:
    """Give the YAML below a heading."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return section.partition("```yaml\n")[2].partition("```")[0]


def status(*command: str | Path) -> tuple[int, str]:
    finished = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
    )
    return finished.returncode, finished.stdout


def check(folder: Path, heading: str, *, written: str = "", instead: str = "") -> tuple[int, str]:
    """Check what is shown below a heading, as it stands or with a mistake put into it."""
    text = shown(heading)
    assert written in text
    text = text.replace(written, instead) if written else text
    CHECKS.install()
    if heading == "GitHub Actions":
        file = folder / ".github" / "workflows" / "celonis.yml"
        file.parent.mkdir(parents=True)
        file.write_text(text, encoding="utf-8")
        zizmor = Path(sys.executable).with_name("zizmor")
        found = status(zizmor, "--offline", "--quiet", "--persona", "pedantic", file)
        return found if found[0] else by_schema(file, "github-workflows")
    file = folder / "shown.yml"
    file.write_text(text, encoding="utf-8")
    if heading == "Kubernetes":
        return status(CHECKS.bin / "kubernetes-validate", "--strict", file)
    return by_schema(file, "gitlab-ci", "--data-transform", "gitlab-ci")


def by_schema(file: Path, schema: str, *options: str) -> tuple[int, str]:
    checker = CHECKS.bin / "check-jsonschema"
    return status(checker, "--builtin-schema", f"vendor.{schema}", *options, file)


@pytest.mark.parametrize("heading", ["GitHub Actions", "GitLab CI", "Kubernetes"])
def test_what_is_shown_for_a_scheduler_passes_its_checks(heading: str, tmp_path: Path) -> None:
    found, said = check(tmp_path, heading)
    assert found == 0, said


@pytest.mark.parametrize(
    ("heading", "written", "instead"),
    [
        ("GitHub Actions", "permissions: {}\n", ""),
        ("GitHub Actions", "runs-on:", "runs_on:"),
        ("GitLab CI", "script:", "scripts:"),
        ("Kubernetes", "restartPolicy:", "restart:"),
        ("Kubernetes", "runAsUser: 1000", "runAsUser: celonis"),
    ],
)
def test_these_checks_find_a_mistake(
    heading: str, written: str, instead: str, tmp_path: Path
) -> None:
    found, _ = check(tmp_path, heading, written=written, instead=instead)
    assert found != 0
