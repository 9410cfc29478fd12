"""docs/targets.md and what the tests install are about the same targets."""

from __future__ import annotations

import re

import documented
import matrix
import pytest
import table

PAGE = documented.PAGE.read_text("utf-8")
#: In docs/targets.md, the newest Python that a target installs on.
NEWEST = {
    None: "3.11 and newer",
    (3, 11): "3.11 at most",
    (3, 12): "3.12 at most",
    (3, 13): "3.13 at most",
}


@pytest.mark.parametrize("target", table.ALL, ids=matrix.name_of)
def test_what_is_installed_is_what_is_documented(target: matrix.Target) -> None:
    requirements = target.environment.requirements
    assert requirements is not None
    wanted = requirements.with_suffix(".in").read_text("utf-8").split()
    assert wanted == documented.loader(target.name)["pip_url"].split()
    (version,) = re.findall(r"==([\d.]+)", wanted[0])
    section = PAGE.partition(f"\n## {target.name}\n")[2].partition("\n## ")[0]
    assert version in section


@pytest.mark.parametrize("target", table.ALL, ids=matrix.name_of)
def test_the_list_tells_of_keys_and_python(target: matrix.Target) -> None:
    (row,) = (line for line in PAGE.splitlines() if f"| [`{target.name}`](#{target.name})" in line)
    assert row.endswith(f"| {NEWEST[target.newest_python]} |")
    assert ("is updated" if target.is_keyed else "is added again") in row


def test_what_was_measured_is_about_all_of_them() -> None:
    measured = PAGE.partition(documented.BEGIN)[2].partition(documented.END)[0]
    assert re.findall(r"^\| `([\w-]+)` \|", measured, re.MULTILINE) == [
        target.name for target in table.ALL
    ]
