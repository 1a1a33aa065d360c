"""Write to standard output: all of a result, or an error."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from maskcli.errors import InputError

STDOUT = "-"
"""As an output path: standard output."""


def emit(parts: Iterable[bytes]) -> None:
    """Write a result to standard output, part by part; a reader that closes early is not an error.

    Raises:
        InputError: when standard output is closed or full.
    """
    if sys.stdout is None:
        raise _make_stdout_error("a closed stream")
    try:
        sys.stdout.flush()
        for part in parts:
            left = memoryview(part)
            while left:  # An unbuffered stream may take only a part.
                left = left[sys.stdout.buffer.write(left) :]
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # The rest of the buffer must not be flushed into the closed pipe when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise _make_stdout_error(error.strerror or str(error)) from None


def _make_stdout_error(received: str) -> InputError:
    return InputError(
        where="standard output",
        expected="a path that can be written to",
        received=received,
        fix="Redirect it elsewhere, or name a file with --output.",
    )
