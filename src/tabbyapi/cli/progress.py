"""Progress on standard error: a bar at a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from .output import printable, warn

if TYPE_CHECKING:
    from rich.progress import Progress, Task

    from ..batch import BatchTotals
    from ..types.models import LoadProgress

__all__ = [
    "BatchProgress",
    "batch_progress",
    "download_progress",
    "load_progress",
    "progress_bar",
    "working",
]

_LINE_EVERY = 10.0  # seconds, where there is no terminal


class BatchProgress(Protocol):
    """Shows how far a batch is. `totals` are the latest, None before the first."""

    totals: BatchTotals | None

    def update(self, totals: BatchTotals) -> None: ...

    def say(self, message: str) -> None: ...


@contextmanager
def batch_progress(total: int | None, *, quiet: bool) -> Iterator[BatchProgress]:
    """Show the progress of a batch of `total` lines (None: unknown) during the block."""
    if quiet or not sys.stderr.isatty():
        yield _Lines(total, quiet)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn

    with progress_bar(
        BarColumn(), MofNCompleteColumn(), _rate_column(), TimeRemainingColumn(compact=True)
    ) as bar:
        yield _Bar(bar, total)


@contextmanager
def load_progress(name: str) -> Iterator[Callable[[LoadProgress], None]]:
    """Show the steps of a load during the block, a bar for each part; at a terminal only."""
    if not sys.stderr.isatty():
        yield lambda step: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

    text = TextColumn("{task.description}", markup=False)
    with progress_bar(text, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()) as bar:
        parts: dict[str, Any] = {}

        def tell(step: LoadProgress) -> None:
            part = step.model_type
            if part not in parts:
                what = name if part == "model" else f"{name} ({part})"
                parts[part] = bar.add_task(printable(what), total=step.modules)
            bar.update(parts[part], completed=step.module, total=step.modules)

        yield tell


@contextmanager
def download_progress() -> Iterator[Callable[[int, int | None], None] | None]:
    """Shows how far a download is, its rate and the time left; at a terminal only."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    bar = progress_bar(
        BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(compact=True)
    )
    task = bar.add_task("", total=None)

    def show(done: int, total: int | None) -> None:
        bar.start()  # not before: most often the model is here, and nothing is fetched
        bar.update(task, completed=done, total=total)

    try:
        yield show
    finally:
        bar.stop()


@contextmanager
def working(text: str) -> Iterator[None]:
    """Show a spinner during work of unknown length; at a terminal only."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    shown = TextColumn("{task.description}", markup=False)
    with progress_bar(SpinnerColumn(), shown, TimeElapsedColumn()) as bar:
        bar.add_task(printable(text), total=None)
        yield


def progress_bar(*columns: Any) -> Progress:
    """A bar on standard error, which is gone when it is done."""
    from rich.console import Console
    from rich.progress import Progress

    return Progress(*columns, console=Console(stderr=True), transient=True)


class _Lines:
    def __init__(self, total: int | None, quiet: bool) -> None:
        self.totals: BatchTotals | None = None
        self._of = "" if total is None else f" of {total}"
        self._quiet = quiet
        self._next = time.monotonic() + _LINE_EVERY

    def update(self, totals: BatchTotals) -> None:
        self.totals = totals
        if not self._quiet and time.monotonic() >= self._next:
            self._next = time.monotonic() + _LINE_EVERY
            warn(f"{totals.done}{self._of} lines done, {totals.failed} failed")

    def say(self, message: str) -> None:
        if not self._quiet:
            warn(message)


class _Bar:
    def __init__(self, bar: Progress, total: int | None) -> None:
        self.totals: BatchTotals | None = None
        self._bar = bar
        self._began = time.monotonic()
        self._total = total
        self._task: Any = None

    def update(self, totals: BatchTotals) -> None:
        self.totals = totals
        if self._task is None:
            # Lines that earlier runs have done must not count into the speed of this one.
            self._task = self._bar.add_task("", total=self._total, completed=totals.done - 1)
        rate = totals.tokens_now / max(time.monotonic() - self._began, 0.001)
        self._bar.update(self._task, completed=totals.done, failed=totals.failed, tokens=rate)

    def say(self, message: str) -> None:
        self._bar.console.print(printable(message), markup=False, highlight=False)


def _rate_column() -> Any:
    from rich.progress import ProgressColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        """Lines and tokens a second, and what has failed."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            text = Text(f"{speed:.1f} lines/s" if speed else "")
            if task.fields.get("tokens"):
                text.append(f"  {task.fields['tokens']:.0f} tokens/s", "dim")
            if task.fields.get("failed"):
                text.append(f"  {task.fields['failed']} failed", "red")
            return text

    return Rate()
