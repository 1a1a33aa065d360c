"""A spinner or a progress bar on a terminal's standard error; silent everywhere else."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from maskcli.render.colors import make_console_options

if TYPE_CHECKING:
    from rich.console import Console


@contextlib.contextmanager
def show_spinner(message: str) -> Iterator[None]:
    """Show a spinner on standard error, if that is a terminal, while the context is open."""
    with _open_terminal() as console:
        if console is None:
            yield
            return
        with console.status(message, spinner=_choose_spinner(console)):
            yield


@contextlib.contextmanager
def show_progress(message: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """Show a spinner, and a bar after the first call of the function that it yields.

    That function takes the number of finished units and the total.
    """
    with show_steps(message, unit) as show:
        yield lambda done, total: show("", done, total)


@contextlib.contextmanager
def show_bytes(message: str) -> Iterator[Callable[[int, int], None]]:
    """Show a spinner, and after the first call of the function that it yields a bar with the rate and the time left.

    That function takes the number of finished bytes and the total.
    """
    with show_steps(message) as show:
        yield lambda done, total: show("", done, total)


@contextlib.contextmanager
def show_steps(message: str, unit: str | None = None) -> Iterator[Callable[[str, int, int], None]]:
    """Show a spinner, and a bar after the first call of the function that it yields.

    That function takes the name of the running step, which follows the message, the number of its finished units and
    the total. Without a unit, these are bytes, and the bar has their rate, too.
    """
    with _open_terminal() as console:
        if console is None:
            yield lambda _step, _done, _total: None
            return
        from rich import progress

        counts: list[progress.ProgressColumn] = [progress.MofNCompleteColumn(), progress.TextColumn(str(unit))]
        if unit is None:
            counts = [progress.DownloadColumn(binary_units=True), progress.TransferSpeedColumn()]
        columns = (
            progress.SpinnerColumn(_choose_spinner(console)),
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            *counts,
            progress.TimeRemainingColumn(),
        )
        # The rate of bytes is that of the last minutes: a block takes a second.
        period = 30 if unit is not None else 120
        with progress.Progress(*columns, console=console, transient=True, speed_estimate_period=period) as bar:
            task = bar.add_task(message, total=None)

            def show(step: str, done: int, total: int) -> None:
                description = f"{message}: {step}" if step else message
                bar.update(task, description=description, completed=done, total=total)

            yield show


@contextlib.contextmanager
def _open_terminal() -> Iterator[Console | None]:
    """Yield a console on standard error, or None if that is not a terminal."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console

    # A descriptor of its own: descriptor 2 is silenced while TensorFlow loads.
    stream = os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding=sys.stderr.encoding)
    with stream:
        _terminals.append(stream.fileno())
        try:
            yield Console(file=stream, **make_console_options())
        finally:
            _terminals.remove(stream.fileno())


_terminals: list[int] = []
"""The descriptors of terminals on which a display is running."""


def restore_terminals() -> None:
    """Clear the line of a running display and show the cursor, because the process is about to end."""
    for descriptor in _terminals:
        with contextlib.suppress(OSError):
            os.write(descriptor, b"\r\x1b[2K\x1b[?25h")


def _choose_spinner(console: Console) -> str:
    return "dots" if console.encoding.lower().startswith("utf") else "line"
