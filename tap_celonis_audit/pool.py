"""Several requests in flight: answered in any order, taken in the order that suits the asker."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Ticket(Generic[T]):
    """Stands for an answer that is on its way."""

    __slots__ = ("_answer", "_call", "_error", "cancelled", "done")

    def __init__(self, call: Callable[[], T]) -> None:
        self._call: Callable[[], T] | None = call
        self._answer: T | None = None
        self._error: Exception | None = None
        self.done = False
        self.cancelled = False

    def run(self) -> None:
        """Get the answer."""
        call, self._call = self._call, None
        if call is not None and not self.cancelled:
            try:
                self._answer = call()
            except Exception as error:  # noqa: BLE001 -- raised where the answer is taken
                self._error = error
        self.done = True

    def cancel(self) -> None:
        """Drop the answer, and the request if it has not begun."""
        self.cancelled = True
        self._call = self._answer = None

    @property
    def failed(self) -> bool:
        """Whether the call raised."""
        return self._error is not None

    @property
    def answer(self) -> T:
        """What came, once it is there.

        Raises:
            Exception: What the call raised.
        """
        if self._error is not None:
            raise self._error
        return cast("T", self._answer)


class Pool:
    """Runs calls in a few threads.

    The threads are daemons: a run that ends does not wait for answers that nobody will take.

    Args:
        parallel: Calls at once. With 1 there are no threads: each runs when it is taken.
    """

    def __init__(self, parallel: int = 1) -> None:
        self.parallel = parallel
        self.begun = 0
        """Calls that were begun so far."""
        self._urgent: deque[Ticket[Any]] = deque()
        self._queue: deque[Ticket[Any]] = deque()
        self._threads = self._idle = self._finished = 0
        self._closed = False
        # A signal may end the process while its thread holds it; closing must not wait for that.
        lock = threading.RLock()
        self._asked = threading.Condition(lock)
        self._answered = threading.Condition(lock)

    def submit(self, call: Callable[[], T], *, urgent: bool = False) -> Ticket[T]:
        """Ask for something; urgent calls go before those that wait already."""
        ticket = Ticket(call)
        if self.parallel > 1:
            with self._asked:
                (self._urgent if urgent else self._queue).append(ticket)
                if (
                    self._idle < len(self._urgent) + len(self._queue)
                    and self._threads < self.parallel
                ):
                    self._threads += 1
                    name = f"request-{self._threads}"
                    threading.Thread(target=self._work, name=name, daemon=True).start()
                self._asked.notify()
        return ticket

    def take(self, ticket: Ticket[T], meanwhile: Callable[[], object] = lambda: None) -> T:
        """Wait for an answer.

        Args:
            ticket: What `submit` gave.
            meanwhile: Called whenever another answer has come.

        Raises:
            Exception: What the call raised.
        """
        if self.parallel == 1 and not ticket.done:
            self.begun += 1
            ticket.run()
        while True:
            seen = self._finished
            meanwhile()
            if ticket.done:
                return ticket.answer
            with self._answered:
                while self._finished == seen:
                    self._answered.wait()

    def close(self) -> None:
        """Let the threads end, each after the call that it is in."""
        with self._asked:
            self._closed = True
            self._urgent.clear()
            self._queue.clear()
            self._asked.notify_all()

    def _work(self) -> None:
        while True:
            with self._asked:
                self._idle += 1
                while not (self._urgent or self._queue or self._closed):
                    self._asked.wait()
                self._idle -= 1
                if self._closed:
                    return
                ticket = (self._urgent or self._queue).popleft()
                self.begun += not ticket.cancelled
            ticket.run()
            with self._answered:
                self._finished += 1
                self._answered.notify_all()
