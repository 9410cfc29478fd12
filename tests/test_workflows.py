"""What the workflows and Dependabot name is there; nothing but GitHub itself can run them whole."""

from __future__ import annotations

import fnmatch
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
WORKFLOWS = {
    path.stem: YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    for path in (ROOT / ".github" / "workflows").glob("*.yml")
}
JOBS = {
    f"{workflow}/{name}": job
    for workflow, content in WORKFLOWS.items()
    for name, job in content["jobs"].items()
}
PINNED = re.compile(r"uses: ([\w-]+/[\w/-]+)@([0-9a-f]{40} # v\d+\.\d+\.\d+)$", re.MULTILINE)


def blocks() -> dict[str, str]:
    """Give what is run, by where it stands."""
    return {
        f"{job}: {step['run'].splitlines()[0]}": step["run"]
        for job, content in JOBS.items()
        for step in content["steps"]
        if "run" in step
    }


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", *patterns], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return [Path(line) for line in listed.stdout.splitlines()]


def before(workflow: str, name: str) -> set[str]:
    """Name the jobs that have ended when this one begins."""
    needs = WORKFLOWS[workflow]["jobs"][name].get("needs", [])
    direct = {needs} if isinstance(needs, str) else set(needs)
    return direct.union(*(before(workflow, each) for each in direct))


def artifacts(workflow: str, names: set[str], action: str) -> set[str]:
    return {
        step["with"]["name"]
        for name in names
        for step in WORKFLOWS[workflow]["jobs"][name]["steps"]
        if step.get("uses", "").startswith(f"actions/{action}-artifact@")
    }


def test_an_action_is_pinned_by_its_digest_and_to_the_same_everywhere() -> None:
    pins: dict[str, set[str]] = {}
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        text = path.read_text(encoding="utf-8")
        found = PINNED.findall(text)
        assert len(found) == text.count("uses: ")
        for action, version in found:
            pins.setdefault(action, set()).add(version)
    assert {action: versions for action, versions in pins.items() if len(versions) > 1} == {}


@pytest.mark.parametrize("job", JOBS)
def test_a_job_ends_and_has_no_rights_that_it_does_not_name(job: str) -> None:
    assert WORKFLOWS[job.partition("/")[0]]["permissions"] == {}
    assert JOBS[job]["permissions"]
    assert JOBS[job]["timeout-minutes"] <= 120
    assert not JOBS[job]["runs-on"].endswith("-latest")


@pytest.mark.parametrize("where", blocks())
def test_what_is_run_can_be_run(where: str) -> None:
    block = blocks()[where]
    subprocess.run(["bash", "-n", "-c", block], check=True)
    for command in re.findall(r"^make .+$", block, re.MULTILINE):
        subprocess.run(
            [*command.split(), "--dry-run"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
        )


@pytest.mark.parametrize("job", JOBS)
def test_an_artifact_was_made_before_it_is_fetched(job: str) -> None:
    workflow, _, name = job.partition("/")
    there = artifacts(workflow, before(workflow, name), "upload")
    assert artifacts(workflow, {name}, "download") <= there


def test_every_python_that_is_promised_is_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    promised = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    assert JOBS["test/wheel"]["strategy"]["matrix"]["python"] == promised


def test_a_release_is_refused_before_anything_else_is_done() -> None:
    steps = [step for step in JOBS["release/build"]["steps"] if "run" in step]
    assert steps[0]["run"] == "make release-check"
    assert steps[0]["env"] == {"TAG": "${{ github.ref_name }}"}
    assert all("build" in before("release", job) for job in ("attest", "publish", "release"))


def test_what_is_released_is_there(tmp_path: Path) -> None:
    """Run the step that creates the release; GitHub's command line is played."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for name in {*re.findall(r"output/release/([\w.]+)", makefile)}:
        (tmp_path / "release").mkdir(exist_ok=True)
        (tmp_path / "release" / name).touch()
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "tap.whl").touch()
    gh = tmp_path / "bin" / "gh"
    gh.parent.mkdir()
    gh.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    gh.chmod(0o755)
    (step,) = (step for step in JOBS["release/release"]["steps"] if "run" in step)
    said = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", step["run"]],
        cwd=tmp_path,
        env={
            "PATH": f"{gh.parent}:{os.environ['PATH']}",
            "GITHUB_REF_NAME": "v1.2.3",
            "GITHUB_REPOSITORY": "acme/tap-celonis-audit",
        },
        check=True,
        capture_output=True,
        text=True,
    )
    arguments = said.stdout.splitlines()
    assert arguments[:3] == ["release", "create", "v1.2.3"]
    assert "--verify-tag" in arguments
    files = {argument for argument in arguments if "/" in argument} - {"acme/tap-celonis-audit"}
    there = {str(path.relative_to(tmp_path)) for path in tmp_path.glob("[dr]*/*")}
    assert files == there
    assert arguments[arguments.index("--notes-file") + 1] == "release/notes.md"
    attested = [step["with"] for step in JOBS["release/attest"]["steps"] if "with" in step]
    assert {"subject-path": "dist/*", "sbom-path": "release/sbom.cdx.json"} in attested
    assert "release/sbom.cdx.json" in files


def test_dependabot_looks_after_every_pin() -> None:
    dependabot = YAML(typ="safe").load(ROOT / ".github" / "dependabot.yml")
    watched: dict[str, list[str]] = {"uv": [], "pip": [], "github-actions": []}
    for update in dependabot["updates"]:
        assert update["cooldown"] == {"default-days": 7}
        folders = update["directories"] if "directories" in update else [update["directory"]]
        watched[update["package-ecosystem"]] += folders
    assert watched["github-actions"] == ["/"]
    pinned = {
        "uv": {f"/{path.parent}".rstrip(".") for path in tracked("*uv.lock")},
        "pip": {f"/{path.parent}" for path in tracked("*requirements.txt", "*/pyproject.toml")},
    }
    assert len(pinned["pip"]) > 15
    for ecosystem, folders in pinned.items():
        for folder in folders:
            assert any(matches(folder, pattern) for pattern in watched[ecosystem]), folder
        for pattern in watched[ecosystem]:
            assert any(matches(folder, pattern) for folder in folders), pattern


def matches(folder: str, pattern: str) -> bool:
    """Compare as Dependabot does: a star stands for one folder."""
    parts, wanted = folder.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))


def test_who_reads_the_same_file_has_the_same_duckdb() -> None:
    """A file of a newer DuckDB cannot be read by an older one."""
    report = tomllib.loads((ROOT / "report" / "pyproject.toml").read_text(encoding="utf-8"))
    (theirs,) = (d for d in report["project"]["dependencies"] if d.startswith("duckdb=="))
    transform = (ROOT / "transform" / "requirements.txt").read_text(encoding="utf-8")
    assert theirs in transform.splitlines()
