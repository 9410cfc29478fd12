"""How fast, at what price: every reader reads the same logs at the same latencies, side by side.

Usage: python -m bench.speed [--quick] [--resume]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

from bench import pipelines
from bench.environments import BENCH, CACHE, Environment
from bench.logs import even, uneven
from bench.losses import count
from bench.peers import RACERS, airbyte_cdk, dlt_rest_api, plain_sdk, this_tap
from bench.peers.peer import PAGE_SIZE
from bench.processes import quiet_environment
from bench.report import BEGIN, END, OURS, report
from bench.runs import MAX_WAIT_SECONDS, USUAL_MS, Notebook, Plan, Results, race
from bench.service import serve

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from bench.logs import HeldLog
    from bench.peers.peer import Racer
    from bench.runs import Run

COMMAND = "python -m bench.speed"
RESULTS = BENCH / "results" / "speed.md"
DOCS = BENCH.parent / "docs" / "speed.md"
PLOT = DOCS.with_suffix(".svg")
DRAW = BENCH / "plot" / "draw.py"
PLOTTER = Environment(DRAW.with_name("requirements.txt"))

UNEVEN_RACERS: tuple[Racer, ...] = (
    *this_tap.AT_ONCE,
    plain_sdk.PEER,
    dlt_rest_api.EXTRACTION_IN_PARALLEL,
    airbyte_cdk.CONCURRENT,
)
ONE_CORE_RACERS: tuple[Racer, ...] = (*this_tap.AT_ONCE, plain_sdk.PEER)
FULL = Plan(
    sizes=(20_000, 200_000),
    latencies=(0, USUAL_MS, 150),
    repetitions=3,
    growth=(10_000, 100_000, 1_000_000),
)
QUICK = Plan(sizes=(20_000,), latencies=(0, USUAL_MS), repetitions=1, growth=(10_000, 100_000))


def main() -> int:
    """Compare, write the results, and give the exit status: 1 if this tap is not faultless."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a fraction, printed only")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    options = parser.parse_args()
    plan = QUICK if options.quick else FULL
    environments = [racer.environment for racer in RACERS]
    environments += [target.environment for target in pipelines.TARGETS]
    for environment in [*environments, PLOTTER]:
        environment.install()
    name = "speed-quick.jsonl" if options.quick else "speed.jsonl"
    results = Results(Notebook(CACHE / name, resume=options.resume))
    measure_all(plan, results)
    text = report(plan, results, command=f"{COMMAND} --quick" if options.quick else COMMAND)
    print(text)
    if not options.quick:
        RESULTS.write_text(text)
        write_docs(text)
        draw(plan, results)
    own = [run for (_, _, name), runs in results.races.items() if name in OURS for run in runs]
    own += [run for name, run in results.uneven.items() if name in OURS]
    own += [*results.growth.values(), *results.pipelines.values()]
    failed = [key for key in results.failures if "this tap" in key or "pipeline" in key]
    return int(bool(failed) or not all(run.is_faultless for run in own))


def measure_all(plan: Plan, results: Results) -> None:
    """Make every run of the plan that is not yet made."""
    for number in plan.sizes:
        measure_races(plan, results, number)
    first, last = plan.sizes[0], plan.sizes[-1]
    results.uneven = one_each(uneven(first), results, "uneven", UNEVEN_RACERS, USUAL_MS)
    with on_one_core():
        results.one_core = one_each(even(last), results, "on one core", ONE_CORE_RACERS, 0)
    for number in plan.growth:
        for run in one_each(even(number), results, "growth", [this_tap.DEFAULT], 0).values():
            results.growth[number] = run
    log = even(last)
    with serve(log) as service:
        results.pipelines = pipelines.play(
            service, log, count(log.records), latency_ms=USUAL_MS, note=results.note
        )


@contextlib.contextmanager
def on_one_core() -> Generator[None]:
    """Let what is started meanwhile take turns on one core, where the system knows how.

    What a process takes on one core depends on what the other ones do: a reader that goes on while
    the sandbox prepares the next answers takes more than one that waits for it.
    """
    if sys.platform != "linux":
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def measure_races(plan: Plan, results: Results, number: int) -> None:
    """Let everybody read a log of this length at each latency, in turns."""
    log = even(number)
    owed = count(log.records)
    with serve(log) as service:
        for latency_ms in plan.latencies:
            is_noisy = latency_ms == 0 or (number == plan.sizes[0] and latency_ms == USUAL_MS)
            turns = range(plan.repetitions if is_noisy else 1)
            for turn, racer in product(turns, RACERS):
                if waits_too_long(plan, results, number, latency_ms, racer):
                    continue
                runs = results.note(
                    f"{number} records, {latency_ms} ms, turn {turn + 1}, {racer.name}",
                    partial(race, racer, service, log, owed, latency_ms=latency_ms),
                )
                results.races.setdefault((number, latency_ms, racer.name), []).extend(runs)


def waits_too_long(
    plan: Plan, results: Results, number: int, latency_ms: int, racer: Racer
) -> bool:
    """Tell whether mere waiting would take too long, going by the first log.

    The plain SDK tap is measured nevertheless: all others are compared with it.
    """
    if racer is plain_sdk.PEER or number == plan.sizes[0]:
        return False
    seen = results.typical(plan.sizes[0], latency_ms, racer)
    at_once = max(1, seen.in_flight) if seen else 1
    return number / PAGE_SIZE * latency_ms / 1_000 > MAX_WAIT_SECONDS * at_once


def one_each(
    log: HeldLog, results: Results, what: str, racers: Iterable[Racer], latency_ms: int
) -> dict[str, Run]:
    """Let some readers read a log once."""
    runs: dict[str, Run] = {}
    owed = count(log.records)
    with serve(log) as service:
        for racer in racers:
            make = partial(race, racer, service, log, owed, latency_ms=latency_ms)
            for run in results.note(f"{what}, {len(log)} records, {racer.name}", make):
                runs[racer.name] = run
    return runs


def write_docs(text: str) -> None:
    """Put what was measured into the documentation."""
    before, _, rest = DOCS.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    measured = text.partition(BEGIN)[2].partition(END)[0]
    DOCS.write_text(f"{before}{BEGIN}{measured}{END}{after}")


def draw(plan: Plan, results: Results) -> None:
    """Plot the longest log at the usual latency, and the CPU that it takes."""
    number = plan.sizes[-1]
    bars = [
        {
            "name": racer.name,
            "is_ours": racer in this_tap.AT_ONCE,
            "rate": usual.rate,
            "cpu_us": fastest.cpu_us,
        }
        for racer in RACERS
        if (usual := results.typical(number, USUAL_MS, racer))
        and (fastest := results.typical(number, 0, racer))
    ]
    subprocess.run(
        [str(PLOTTER.python), str(DRAW), str(PLOT)],
        input=json.dumps({"records": number, "latency_ms": USUAL_MS, "bars": bars}),
        text=True,
        check=True,
        env=quiet_environment({"MPLCONFIGDIR": str(CACHE / "matplotlib")}),
        timeout=120,
    )


if __name__ == "__main__":
    sys.exit(main())
