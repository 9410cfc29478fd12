"""The command: what a process of its own is set up for, and the tap in it."""

from __future__ import annotations

import gc
import sys

#: The garbage collector looks through so many new objects at once; Python's default is 700.
YOUNG_OBJECTS = 100_000
#: Threads that wait for answers get their turn so often while records are worked on; Python's
#: default, five times as long, is a tenth of the time that an answer takes, and is lost many times.
SWITCH_SECONDS = 0.001


def main() -> None:
    """Run the tap from the command line."""
    # Most of the start is importing. What is imported stays, and to look for garbage in it, again
    # and again while there is more of it and once more at the end, takes half as long.
    gc.disable()
    from tap_celonis_audit.tap import TapCelonisAudit  # noqa: PLC0415 -- after that

    gc.freeze()
    # Records hold no cycles: looking for some can wait.
    gc.set_threshold(YOUNG_OBJECTS)
    gc.enable()
    sys.setswitchinterval(SWITCH_SECONDS)
    TapCelonisAudit.cli()


if __name__ == "__main__":
    main()
