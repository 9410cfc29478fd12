"""Each target with a great many events: `make targets`.

What is measured goes into docs/targets.md, between its two marks.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import documented
import matrix
import pytest
import table

from bench.logs import even
from bench.processes import measure
from bench.report import machine
from bench.service import serve

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from matrix import Sent, Target

    from bench.processes import Usage

NUMBER = int(os.environ.get("TARGET_RECORDS", "100000"))
TIMEOUT_SECONDS = 1_800
Figures = dict[str, "Usage"]


@pytest.fixture(scope="module")
def team() -> Generator[tuple[dict[str, Any], Sent]]:
    """Tell where the team is, and what the tap sends for it."""
    with serve(even(NUMBER)) as service:
        where = matrix.settings(service)
        whole, _ = matrix.sent_by(where, None)
        assert len(whole.rows["audit_logs"]) == NUMBER
        yield where, whole


@pytest.fixture(scope="module")
def figures() -> Generator[Figures]:
    """Write down what was measured, if that was all."""
    figures: Figures = {}
    yield figures
    if figures.keys() == {target.name for target in table.ALL}:
        documented.write_measured(f"{NUMBER:,} events, {machine()}.", figures, NUMBER)


@pytest.mark.parametrize("target", table.ALL, ids=matrix.name_of)
def test_nothing_is_lost_of_a_great_many_events(
    target: Target,
    team: tuple[dict[str, Any], Sent],
    figures: Figures,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    where, whole = team
    matrix.installed(target)
    with target.place(request, target, tmp_path) as place:
        pipe = matrix.commands(target, place, tmp_path, where)
        usages = measure(
            *pipe,
            output=tmp_path / "states",
            log=tmp_path / "log",
            timeout_seconds=TIMEOUT_SECONDS,
        )
        landed = place.read()
    owed = target.expected(whole.rows, whole.kinds)
    got = target.received(landed, whole.kinds)
    matrix.assert_equal(*({s: rows for s, rows in each.items() if rows} for each in (got, owed)))
    figures[target.name] = usages[-1]
