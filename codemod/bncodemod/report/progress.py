"""A progress bar on a terminal, for runs that are long enough to wonder."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class ProgressBar:
    """Takes ``on_progress(done, total)``, keeps ``total``, and draws a bar where one helps.

    ``patience`` and ``refresh`` are seconds: before the bar is shown, and between two drawings.
    ``what`` is counted.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        shown: bool,
        patience: float = 1.0,
        refresh: float = 0.1,
        what: str = "files",
    ) -> None:
        self._what = what
        self.total = 0
        self._stream = stream
        self._shown = shown and stream.isatty()
        self._next = time.monotonic() + patience
        self._refresh = refresh
        self._bar: tuple[Progress, TaskID] | None = None

    def __call__(self, done: int, total: int) -> None:
        """Note how far the run is."""
        self.total = total
        if not self._shown or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._refresh
        bar, task = self._bar = self._bar or self._make(total)
        bar.start()
        bar.update(task, completed=done, total=total, refresh=True)

    def pause(self) -> None:
        """Take the bar off the terminal, for other output; the next call draws it again."""
        if self._bar:
            self._bar[0].stop()

    def _make(self, total: int) -> tuple[Progress, TaskID]:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        # No thread of its own: worker processes may still be forked.
        bar = Progress(
            self._what,
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(file=self._stream),
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        return bar, bar.add_task(self._what, total=total)
