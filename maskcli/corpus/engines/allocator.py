"""Let the C library keep freed memory while a block is read, whatever the environment of the process sets.

Each block allocates arrays of the same sizes again and again. By default glibc learns to keep such memory. But if
``MALLOC_TRIM_THRESHOLD_`` is set, as Dask sets it for its workers, glibc learns nothing: every array is mapped and
unmapped, and reading a MiB costs 1,900 page faults instead of 20, and up to twice the time.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import threading
from collections.abc import Callable, Iterator

TRIM, MAP = "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""The parameters of ``mallopt``, by their numbers in ``malloc.h``."""
MOST_MAP = 2**25
"""Bytes from which allocations are mapped: the largest number that glibc takes."""
KEPT = 2**28
"""Bytes of freed memory that are kept while a block is read; a block of lines needs 20 MiB."""
DEFAULT_MAP = 2**17


@contextlib.contextmanager
def keep_freed_memory() -> Iterator[None]:
    """Let glibc keep freed memory; afterwards, it behaves as the environment asks for again."""
    settings = _read_settings()
    mallopt = None if settings is None else _find_mallopt()
    if settings is None or mallopt is None:
        yield
        return
    trim, map_ = settings
    with _lock:
        _users.append(threading.get_ident())
        _set(mallopt, KEPT, MOST_MAP)
    try:
        yield
    finally:
        with _lock:  # A worker may read several blocks at the same time.
            _users.remove(threading.get_ident())
            if not _users:
                _set(mallopt, trim, map_)


_lock = threading.Lock()
_users: list[int] = []
"""The threads that read a block."""


def _read_settings() -> tuple[int, int] | None:
    """Return the thresholds that the environment sets; None if it leaves them to glibc."""
    try:
        return int(os.environ[TRIM]), int(os.environ.get(MAP, DEFAULT_MAP))
    except (KeyError, ValueError):
        return None


@functools.cache
def _find_mallopt() -> Callable[[int, int], int] | None:
    """Return the function of the C library; None if it has none, as on macOS."""
    try:
        return ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return None


def _set(mallopt: Callable[[int, int], int], trim: int, map_: int) -> None:
    mallopt(M_TRIM_THRESHOLD, trim)
    mallopt(M_MMAP_THRESHOLD, map_)
