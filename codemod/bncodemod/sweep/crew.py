"""Batches of work, done in worker processes or here, in order and a bounded number at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

    from bncodemod.sweep.pool import Pool

Item = TypeVar("Item")
Result = TypeVar("Result")

BATCHES_PER_WORKER = 4


class Crew:
    """Up to ``jobs`` worker processes, started with the first batch that is worth it."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self._pool: Pool | None = None

    def map(
        self,
        function: Callable[[list[Item]], list[Result]],
        batches: Iterable[list[Item]],
    ) -> Iterator[tuple[list[Item], list[Result] | None]]:
        """Each batch and what ``function`` makes of it; None where a worker died over it.

        If a worker dies, so does the pool: all batches under way at that time come without a
        result. What comes after gets a new pool.
        """
        from concurrent.futures import CancelledError

        from bncodemod.sweep.pool import BrokenProcessPool, Pool

        pending: deque[tuple[list[Item], Future[list[Result]] | None]] = deque()
        waiting = iter(batches)
        try:
            while True:
                while len(pending) < BATCHES_PER_WORKER * self.jobs:
                    batch = next(waiting, None)
                    if batch is None:
                        break
                    self._pool = self._pool or Pool(self.jobs)
                    try:
                        pending.append((batch, self._pool.submit(function, batch)))
                    except BrokenProcessPool:
                        pending.append((batch, None))
                        break
                if not pending:
                    return
                batch, future = pending.popleft()
                results: list[Result] | None = None
                try:
                    results = None if future is None else future.result()
                except (BrokenProcessPool, CancelledError):
                    # The pool's threads must be gone before other processes are forked.
                    self.kill()
                yield batch, results
        except BaseException:  # Ctrl-C, or nobody wants the rest
            self.kill()
            raise

    def close(self) -> None:
        """End the workers when they are done."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def kill(self) -> None:
        """End the workers now."""
        if self._pool is not None:
            self._pool.kill()
            self._pool = None
