"""How much memory and state it takes, whatever the log looks like: G7, measured.

Usage: python -m bench.bounded [--events 10000 100000 ...]

A log that is computed instead of held is read by the tap as a command, over HTTP, and its output is
counted as it comes: the number of rows, the order, and the size of the largest STATE message.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, Popen
from typing import TYPE_CHECKING

from bench.environments import BENCH
from bench.processes import quiet_environment
from tap_celonis_audit.sandbox import Sandbox
from tap_celonis_audit.sandbox.clock import to_iso, to_ms

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

RESULTS = BENCH / "results" / "bounded.md"
COMMAND = "python -m bench.bounded"
NOW = "2026-03-01T12:00:00Z"
DAY_MS = 86_400_000
YEAR_MS = 365 * DAY_MS
#: What the design promises.
MAX_MEMORY_MB = 150
MAX_STATE_BYTES = 1_000_000
#: Longer logs are not filled with records of up to a megabyte: a hundredth of this is half a GB.
_MOST_LARGE = 100_000

_BODY = (
    '{{"userId":"8161c24e-2b32-44eb-bedb-{0:012d} (user{0}@example.com)","userRole":"ANALYST",'
    '"event":"STUDIO_NODE_UPDATED","timestamp":"{1}","message":{{"nodeName":"Orders {0}",'
    '"packageKey":"order-to-cash","nodeKey":"orders","id":"{0}","nodeType":"ASSET"}},'
    '"ipAddress":null,"port":"8888","diffPayload":null}}'
)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Events at even distances."""

    start_ms: int
    stop_ms: int
    number: int


class ComputedLog:
    """A log of any length that takes no memory; see `EventSource` of the sandbox."""

    def __init__(self, *stretches: Stretch) -> None:
        self._stretches = stretches
        self._firsts = [0]
        for stretch in stretches:
            self._firsts.append(self._firsts[-1] + stretch.number)

    def __len__(self) -> int:
        """Count the events."""
        return self._firsts[-1]

    def time_at(self, position: int, /) -> int:
        """Return the time of one event in milliseconds since 1970."""
        index = bisect_right(self._firsts, position) - 1
        stretch = self._stretches[index]
        length = stretch.stop_ms - stretch.start_ms
        return stretch.start_ms + (position - self._firsts[index]) * length // stretch.number

    def select(self, start_ms: int, stop_ms: int, /) -> range:
        """Return the positions of the events with ``start_ms <= time < stop_ms``."""
        return range(self._position(start_ms), self._position(stop_ms))

    def bodies(self, positions: Sequence[int], /) -> list[bytes]:
        """Return the events at these positions, each as rendered JSON."""
        return [_BODY.format(each, to_iso(self.time_at(each))).encode() for each in positions]

    def _position(self, at_ms: int) -> int:
        """Give the first position at or after a time."""
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self.time_at(middle) < at_ms:
                low = middle + 1
            else:
                high = middle
        return low


class LargeLog(ComputedLog):
    """Records of 100 kB to 1 MB, as those are that hold whole blueprints."""

    def bodies(self, positions: Sequence[int], /) -> list[bytes]:
        """Return the events at these positions, each as rendered JSON."""
        return [
            body.replace(b'"diffPayload":null', b'"diffPayload":{"newValue":"%b"}' % _blueprint(at))
            for at, body in zip(positions, super().bodies(positions), strict=True)
        ]


def _blueprint(position: int) -> bytes:
    """Make a text of some length; with letters that are not ASCII, which take more memory."""
    length = 100_000 + position * 7_919 * 113 % 900_000
    return ("é" + "x" * (length - 2)).encode()


def shapes(number: int) -> Iterator[tuple[str, ComputedLog]]:
    """Give logs with so many events, spread in ways that could be expensive."""
    now = to_ms(NOW)
    yield "evenly over ten years", ComputedLog(Stretch(now - 10 * YEAR_MS, now, number))
    yield (
        "a year in one day",
        ComputedLog(
            Stretch(now - YEAR_MS, now - 200 * DAY_MS, number // 100),
            Stretch(now - 200 * DAY_MS, now - 199 * DAY_MS, number - 2 * (number // 100)),
            Stretch(now - 199 * DAY_MS, now, number // 100),
        ),
    )
    yield (
        "all in the last six hours",
        ComputedLog(Stretch(now - DAY_MS // 4, now, min(number, 300_000))),
    )
    if number <= _MOST_LARGE:
        large = Stretch(now - YEAR_MS, now - DAY_MS, number // 100)
        yield "evenly over a year, 100 kB to 1 MB each", LargeLog(large)
    second = now - 30 * DAY_MS
    yield (
        "5,000 in each of some seconds",
        ComputedLog(
            *(
                Stretch(second + each * 3_600_000, second + each * 3_600_000 + 1_000, 5_000)
                for each in range(min(700, max(1, number // 5_000)))
            )
        ),
    )


#: The command; it tells in the end how many kilobytes it held at most. (What waiting for it tells
#: counts what the process held that started it.)
MEASURED = r"""
import re, sys
from pathlib import Path
from tap_celonis_audit.__main__ import main
try:
    main()
finally:
    status = Path("/proc/self/status").read_text()
    print("VmHWM", re.search(r"VmHWM:\s*(\d+) kB", status)[1], file=sys.stderr)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a run took."""

    events: int
    rows: int
    memory_mb: float
    state_bytes: int
    requests: int
    seconds: float


def measure(log: ComputedLog) -> Figures:
    """Read a log from its beginning; count what comes."""
    with Sandbox(days=0, now=NOW, audit=log) as sandbox, tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.json"
        config.write_text(json.dumps({"api_url": sandbox.url, "app_key": sandbox.app_key}))
        command = [sys.executable, "-c", MEASURED, "--config", str(config)]
        began = time.monotonic()
        rows = state_bytes = 0
        last = b""
        with (
            tempfile.TemporaryFile() as said,
            Popen(command, stdout=PIPE, stderr=said, env=quiet_environment()) as tap,
        ):
            for line in tap.stdout or ():
                if line.startswith(b'{"type":"RECORD","stream":"audit_logs"'):
                    at = line.index(b'"timestamp":"')
                    stamp = line[at : at + 40]
                    if stamp < last:
                        raise SystemExit("The rows are not in order.")
                    last = stamp
                    rows += 1
                elif line.startswith(b'{"type":"STATE"'):
                    state_bytes = max(state_bytes, len(line))
            if tap.wait():
                raise SystemExit(f"The tap ended with status {tap.returncode}.")
            said.seek(0)
            kilobytes = int(said.read().rpartition(b"VmHWM ")[2])
        return Figures(
            events=len(log.select(0, to_ms(NOW) - 120_000)),
            rows=rows,
            memory_mb=kilobytes / 1024,
            state_bytes=state_bytes,
            requests=len(sandbox.requests),
            seconds=time.monotonic() - began,
        )


def main() -> int:
    """Measure, write the table, and tell whether the promises hold."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--events", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    wanted = parser.parse_args().events
    lines = [
        "# Memory and state",
        "",
        f"Generated by `{COMMAND} --events {' '.join(map(str, wanted))}`; do not edit.",
        "",
        "| log | events | rows | peak memory | largest state | requests | events a page |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    kept = True
    for number in wanted:
        for title, log in shapes(number):
            figures = measure(log)
            lines.append(
                f"| {title} | {figures.events:,} | {figures.rows:,} | {figures.memory_mb:.0f} MB "
                f"| {figures.state_bytes / 1000:,.0f} kB | {figures.requests:,} "
                f"| {figures.events / figures.requests:.0f} |"
            )
            print(lines[-1], f"{figures.seconds:.0f} s", flush=True)
            kept &= figures.rows == figures.events
            kept &= figures.memory_mb < MAX_MEMORY_MB and figures.state_bytes < MAX_STATE_BYTES
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("\n".join(lines) + "\n")
    print("The promises hold." if kept else "The promises do NOT hold.")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
