"""A sign of life on a terminal's standard error while something takes seconds; nothing anywhere else."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


@contextlib.contextmanager
def show_spinner(message: str) -> Iterator[None]:
    """Show a spinner on standard error, if that is a terminal, for as long as this is open."""
    with _terminal() as console:
        if console is None:
            yield
            return
        with console.status(message, spinner=_spinner(console)):
            yield


@contextlib.contextmanager
def show_progress(message: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """Show a spinner, and a bar once the function that it yields is called with how many are done, of how many."""
    with _terminal() as console:
        if console is None:
            yield lambda _done, _total: None
            return
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        bar = Progress(
            SpinnerColumn(_spinner(console)),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        with bar:
            task = bar.add_task(message, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)


@contextlib.contextmanager
def _terminal() -> Iterator[Console | None]:
    """Yield a console on standard error where that is a terminal, by a descriptor of its own, else None.

    Descriptor 2 is silenced while TensorFlow loads.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console

    own = os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding=sys.stderr.encoding)
    with own:
        yield Console(file=own)


def _spinner(console: Console) -> str:
    return "dots" if console.encoding.lower().startswith("utf") else "line"
