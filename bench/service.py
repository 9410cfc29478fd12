"""The sandbox in a process of its own, so that a reader's figures are the reader's alone."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.logs import NOW
from bench.peers.peer import AUDIT_PATH
from tap_celonis_audit.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Generator
    from multiprocessing.connection import Connection

    from tap_celonis_audit.sandbox import EventSource

_MAX_MINUTES = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a reader made the sandbox do.

    Attributes:
        in_flight: The most requests at the same time.
    """

    requests: int
    in_flight: int
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Service:
    """A running sandbox."""

    url: str
    app_key: str
    _orders: Connection

    def begin(self, *, latency_ms: float) -> None:
        """Count from now on, and answer each request so late, however many there are at once."""
        self._orders.send(latency_ms)
        self._orders.recv()

    def end(self) -> Load:
        """Tell what happened since the beginning."""
        self._orders.send(None)
        load: Load = self._orders.recv()
        return load


@contextlib.contextmanager
def serve(log: EventSource) -> Generator[Service]:
    """Run a sandbox with this audit log in another process."""
    # A fork shares the log's memory. Nothing runs in threads here that could be cut in two.
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(log, theirs, ours), daemon=True)
    process.start()
    theirs.close()
    try:
        url, app_key = ours.recv()
        yield Service(url, app_key, ours)
    finally:
        ours.close()
        process.join()


def _serve(log: EventSource, orders: Connection, ours: Connection) -> None:
    ours.close()  # Or the end of the parent would go unnoticed.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Sandbox(days=0, now=NOW, audit=log, empty="list", max_minutes=_MAX_MINUTES) as sandbox:
        orders.send((sandbox.url, sandbox.app_key))
        began = 0.0
        with contextlib.suppress(EOFError):
            while True:
                latency_ms = orders.recv()
                if latency_ms is not None:
                    sandbox.latency_ms = latency_ms
                    sandbox.requests.clear()
                    began = time.process_time()
                    orders.send(None)
                    continue
                asked = [each for each in sandbox.requests if each.path == AUDIT_PATH]
                orders.send(
                    Load(
                        requests=len(asked),
                        in_flight=max((each.in_flight for each in asked), default=0),
                        cpu_seconds=time.process_time() - began,
                    )
                )
