"""A bound for the memory that one input may take, checked before anything is allocated.

A small file can claim, or unpack to, any amount: a header of 128 bytes, or an archive of zeros. Without a bound it
would take the memory of the whole machine.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re

from maskcli.errors import InputError, UsageError

OPTION = "--max-memory"
SMALLEST = 2**20
UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
CONTAINER = "/sys/fs/cgroup/memory.max"


def set_memory_bound(size: int | None) -> None:
    """Bound the memory of inputs from now on, in all threads; None is half of the machine's memory."""
    _bounds[:] = [] if size is None else [size]


def get_memory_bound() -> int:
    """Return the bytes that one input may take."""
    return _bounds[0] if _bounds else _measure_half()


_bounds: list[int] = []
"""The bound, if it is set. Threads read parts of one input, so that it belongs to the process."""


@functools.cache
def _measure_half() -> int:
    """Return half of the memory of this machine, or of its container."""
    sizes = []
    with contextlib.suppress(ValueError, OSError, AttributeError):
        sizes.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    # pathlib takes longer to import than this file to read.
    with contextlib.suppress(ValueError, OSError), open(CONTAINER) as file:  # noqa: PTH123
        sizes.append(int(file.read()))
    return max(SMALLEST, min(sizes, default=2**33) // 2)


def parse_size(text: str) -> int:
    """Return the bytes of a size such as ``500M`` or ``4G``.

    Raises:
        UsageError: for any other text, and for less than 1 MiB.
    """
    match = re.fullmatch(r"\s*(\d{1,12})\s*([kmgt]?)(?:i?b)?\s*", text.lower())
    size = int(match[1]) * UNITS[match[2]] if match else 0
    if size < SMALLEST:
        raise UsageError(
            where=OPTION,
            expected="a size of at least 1M, such as 500M or 4G",
            received=repr(text),
            fix="Leave it out for half of the machine's memory.",
        )
    return size


def format_size(size: int) -> str:
    """Return bytes in the unit that people read: ``2.1 GiB``."""
    if size < 1024:
        return f"{size} bytes"
    number, unit = float(size), 0
    while number >= 1024 and unit < len(UNITS):
        number, unit = number / 1024, unit + 1
    return f"{number:.3g} {'KMGTP'[unit - 1]}iB"


def check_memory(size: int, content: str, where: str = "", row: int | None = None) -> None:
    """Raise InputError for more bytes than one input may take.

    Args:
        size: the bytes that would be allocated.
        content: the subject of the message, such as ``a batch of 5 rows``.
        where: the file.
        row: the row at fault, if it is only one.
    """
    bound = get_memory_bound()
    if size > bound:
        raise InputError(
            where=where,
            row=row,
            expected=f"at most {format_size(bound)} of memory for one input",
            received=f"{format_size(size)} for {content}",
            fix=f"Raise the bound with {OPTION} if the input is right, or use fewer rows or timesteps.",
        )
