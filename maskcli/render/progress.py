"""A sign of life on a terminal's standard error while something takes seconds; nothing anywhere else."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def working(message: str) -> Iterator[None]:
    """Show a spinner on standard error, if that is a terminal, for as long as this is open.

    It writes to a descriptor of its own, since descriptor 2 is silenced while TensorFlow loads.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    own = os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding=sys.stderr.encoding)
    spinner = "dots" if (own.encoding or "").lower().startswith("utf") else "line"
    with own, Console(file=own).status(message, spinner=spinner):
        yield
