"""Run a command and write down what it used: ``python usage.py FILE COMMAND...``.

A small program of its own, since Linux hands the peak memory of a parent down to its child.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time


def main() -> int:
    """Run the command and give its exit status."""
    file, *command = sys.argv[1:]
    began = time.perf_counter()
    with subprocess.Popen(command) as process:
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
    with open(file, "w", encoding="utf-8") as output:  # noqa: PTH123 - pathlib would double the memory
        json.dump(
            {
                "wall_seconds": seconds,
                "cpu_seconds": used.ru_utime + used.ru_stime,
                "memory_mb": used.ru_maxrss / 1024,
            },
            output,
        )
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


if __name__ == "__main__":
    sys.exit(main())
