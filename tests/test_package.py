"""Wheel and source distribution hold what they should, and nothing else."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import BytesParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = "tap_celonis_audit"
BESIDES = {
    ".gitignore",
    "CHANGELOG.md",
    "LICENSE",
    "PKG-INFO",
    "README.md",
    "pyproject.toml",
    "release/readme.py",
}


def build(source: Path, folder: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, check=True, cwd=source, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def wheel(dist: Path) -> zipfile.ZipFile:
    (path,) = dist.glob("*.whl")
    return zipfile.ZipFile(path)


def source() -> set[str]:
    files = (path for path in (ROOT / PACKAGE).rglob("*") if path.is_file())
    return {str(f.relative_to(ROOT).as_posix()) for f in files if f.suffix != ".pyc"}


def test_the_wheel_holds_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == source()
    assert f"{PACKAGE}/py.typed" in names


def test_the_source_distribution_holds_what_the_wheel_is_built_from(dist: Path) -> None:
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names == source() | BESIDES


def test_elsewhere_and_later_the_same_bytes_are_built(dist: Path, tmp_path: Path) -> None:
    """From the source distribution, with other times and rights of the files."""
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    for file in source.rglob("*.py"):
        file.chmod(0o600)
        os.utime(file, (1_900_000_000, 1_900_000_000))
    again = build(source, tmp_path / "again")
    assert {file.name: file.read_bytes() for file in again.iterdir()} == {
        file.name: file.read_bytes() for file in dist.iterdir()
    }


def test_the_metadata_tells_licence_versions_and_command(wheel: zipfile.ZipFile) -> None:
    names = {name.partition("/")[2]: name for name in wheel.namelist() if ".dist-info/" in name}
    assert "licenses/LICENSE" in names
    metadata = BytesParser().parsebytes(wheel.read(names["METADATA"]))
    assert metadata["Metadata-Version"] == "2.4"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    classifiers = metadata.get_all("Classifier", [])
    assert "Typing :: Typed" in classifiers
    assert not [classifier for classifier in classifiers if classifier.startswith("License ::")]
    commands = wheel.read(names["entry_points.txt"]).decode()
    assert f"tap-celonis-audit = {PACKAGE}.__main__:main" in commands


def imported(path: Path) -> set[str]:
    """Name the packages that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def test_what_is_run_on_the_wheel_needs_the_wheel_only() -> None:
    """`make check` runs all files that do not name the repository."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    needed = project["project"]["dependencies"] + project["dependency-groups"]["test"]
    names = {re.split(r"[^\w-]", each, maxsplit=1)[0].replace("-", "_") for each in needed}
    ours = {path.stem for path in (ROOT / "tests").glob("*.py")} | {PACKAGE}
    known = names | ours | sys.stdlib_module_names
    pattern = re.compile(
        r"^(ROOT|(from|import) (bench|demo|examples|hub|meltano|psycopg))\b", re.MULTILINE
    )
    assert pattern.pattern in (ROOT / "Makefile").read_text(encoding="utf-8")
    for path in (ROOT / "tests").glob("test_*.py"):
        if not pattern.search(path.read_text(encoding="utf-8")):
            assert imported(path) - known == set(), path.name


@pytest.mark.parametrize(
    ("changed", "plugins"),
    [("uv.lock", "extractors"), ("report/pyproject.toml", "utilities"), (None, None)],
)
def test_editable_plugins_are_installed_anew_when_their_dependencies_change(
    changed: str | None, plugins: str | None, tmp_path: Path
) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    uv = tmp_path / ".tools" / "bin" / "uv"
    for file in (uv, tmp_path / "uv.lock", tmp_path / "report" / "pyproject.toml"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("#!/bin/sh\n")
        os.utime(file, (1, 2 if file == tmp_path / (changed or "") else 0))
    uv.chmod(0o755)
    installed = tmp_path / ".meltano"
    for kind in ("extractors", "utilities"):
        (installed / kind).mkdir(parents=True)
        os.utime(installed / kind, (1, 1))

    command = ["make", "--silent", "install", f"PYTHON={sys.executable}"]
    subprocess.run(command, cwd=tmp_path, check=True)

    assert {path.name for path in installed.iterdir()} == {"extractors", "utilities"} - {plugins}
