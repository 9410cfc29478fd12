"""Databases: rows with a key are updated."""

from __future__ import annotations

import table
from matrix import Matrix


class TestDatabases(Matrix):
    targets = table.DATABASES
