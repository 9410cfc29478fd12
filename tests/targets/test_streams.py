"""What audit data is streamed to, or searched in."""

from __future__ import annotations

import table
from matrix import Matrix


class TestStreams(Matrix):
    targets = table.STREAMS
