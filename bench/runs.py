"""One reader reads one whole log once: what it took, and whether everything came."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.losses import count
from bench.peers.peer import PAGE_SIZE, Job
from bench.processes import RunError, measure

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from bench.logs import HeldLog
    from bench.peers.peer import Racer
    from bench.service import Service

TIMEOUT_SECONDS = 900
#: The latency that stands for an ordinary network.
USUAL_MS = 50
#: A reader that would spend longer than this in nothing but waiting is left out.
MAX_WAIT_SECONDS = 45


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one run took.

    Attributes:
        lost: Records that never came.
        doubled: Rows beyond the number of times that a record exists.
        in_flight: The most requests at the same time.
        service_cpu_seconds: What the sandbox took to serve it.
        tap_cpu_seconds: In a pipeline, what the tap took; the rest is the target's.
    """

    records: int
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    memory_mb: float = 0.0
    requests: int = 0
    in_flight: int = 0
    service_cpu_seconds: float = 0.0
    tap_cpu_seconds: float = 0.0
    lost: int = 0
    doubled: int = 0

    @property
    def rate(self) -> float:
        """Records a second, from the start of the process to its end."""
        return self.records / self.wall_seconds

    @property
    def cpu_us(self) -> float:
        """Microseconds of CPU a record."""
        return self.cpu_seconds * 1e6 / self.records

    @property
    def request_ratio(self) -> float:
        """Requests for each page that the records fill."""
        return self.requests * PAGE_SIZE / self.records

    @property
    def is_faultless(self) -> bool:
        """Whether every record came once."""
        return not (self.lost or self.doubled)


class Notebook:
    """The runs of one comparison, written down as they are made: an interrupted one can go on.

    Args:
        file: Where they are written, one JSON object a line.
        resume: Whether to begin with what is written there.
    """

    def __init__(self, file: Path, *, resume: bool) -> None:
        self._file = file
        self._runs: dict[str, Run] = {}
        file.parent.mkdir(exist_ok=True)
        if resume and file.exists():
            for line in file.read_text().splitlines():
                entry = json.loads(line)
                self._runs[entry["key"]] = Run(**entry["run"])
        else:
            file.write_text("")

    def get(self, key: str, make: Callable[[], Run]) -> Run:
        """Give the run of that name; make it now if there is none.

        Raises:
            RunError: It failed. That is not written down: whoever resumes tries it again.
        """
        if key not in self._runs:
            self._runs[key] = run = make()
            with self._file.open("a") as file:
                file.write(json.dumps({"key": key, "run": asdict(run)}) + "\n")
        return self._runs[key]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured.

    Attributes:
        sizes: Records, the fewest first.
        repetitions: How often logs are read where noise matters: without latency, and the shortest
            one at the usual latency. Everything else is read once.
    """

    sizes: tuple[int, ...]
    latencies: tuple[int, ...]
    repetitions: int
    growth: tuple[int, ...]


class Results:
    """All runs of a comparison, by what was read and by whom.

    Attributes:
        failures: What was said by those who failed, by the name of the run.
    """

    def __init__(self, notebook: Notebook) -> None:
        self._notebook = notebook
        self._began = time.monotonic()
        self.runs: list[Run] = []
        self.races: dict[tuple[int, int, str], list[Run]] = {}
        self.uneven: dict[str, Run] = {}
        self.one_core: dict[str, Run] = {}
        self.growth: dict[int, Run] = {}
        self.pipelines: dict[str, Run] = {}
        self.failures: dict[str, str] = {}

    def note(self, key: str, make: Callable[[], Run]) -> list[Run]:
        """Give a run, from the notebook or made now, and tell of it; none if it fails."""
        try:
            runs = [self._notebook.get(key, make)]
        except RunError as error:
            runs, fate = [], f"FAILED: {error}"
            self.failures[key] = str(error)
        for run in runs:
            fate = f"{run.wall_seconds:.1f} s, {run.lost} lost, {run.doubled} doubled"
        self.runs += runs
        passed = time.monotonic() - self._began
        print(f"{passed:5.0f} s  {key}: {fate}", file=sys.stderr, flush=True)
        return runs

    def typical(self, number: int, latency_ms: int, racer: Racer) -> Run | None:
        """Give the run of median duration; None if there is none."""
        runs = self.races.get((number, latency_ms, racer.name), [])
        in_order = sorted(runs, key=lambda run: run.wall_seconds)
        return in_order[len(in_order) // 2] if in_order else None


def race(
    racer: Racer, service: Service, log: HeldLog, owed: Counter[bytes], *, latency_ms: float
) -> Run:
    """Let a reader read a log, and compare what it wrote with what is there.

    Raises:
        RunError: It failed.
    """
    start, end = log.bounds
    with tempfile.TemporaryDirectory() as folder:
        job = Job(
            url=service.url, app_key=service.app_key, start=start, end=end, folder=Path(folder)
        )
        command = racer.prepare(job)
        service.begin(latency_ms=latency_ms)
        (usage,) = measure(command, output=job.output, log=job.log, timeout_seconds=TIMEOUT_SECONDS)
        load = service.end()
        got = count(racer.records(job))
    return Run(
        records=len(log),
        **asdict(usage),
        requests=load.requests,
        in_flight=load.in_flight,
        service_cpu_seconds=load.cpu_seconds,
        lost=(owed - got).total(),
        doubled=(got - owed).total(),
    )
