"""Records that go through files instead of the pipe."""

from __future__ import annotations

import table
from matrix import Matrix


class TestBatches(Matrix):
    targets = (table.IN_BATCHES,)
