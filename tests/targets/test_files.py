"""Files and objects: every run adds."""

from __future__ import annotations

import table
from matrix import Matrix


class TestFiles(Matrix):
    targets = table.FILES
