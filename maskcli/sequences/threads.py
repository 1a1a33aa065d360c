"""Work that two threads share, whose results come in order.

NumPy lets other threads run while it works on an array; what it does not let go of is small beside that.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")
R = TypeVar("R")
ALONE = 2
"""Items at the start that are worked on before threads are started: most files are no more blocks than that."""
THREADS = 2
AHEAD = 2 * THREADS


def in_order(work: Callable[[T], R], items: Iterable[T], alone: int = ALONE) -> Iterator[tuple[T, R]]:
    """Yield each item with what ``work`` makes of it, by two threads where there are many items and processors."""
    rest = iter(items)
    for _ in range(alone):
        for item in rest:
            yield item, work(item)
            break
        else:
            return
    if processors() < THREADS:
        yield from ((item, work(item)) for item in rest)
        return
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(THREADS)
    try:
        waiting: deque[tuple[T, Future[R]]] = deque()
        for item in rest:
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) > AHEAD:
                first, made = waiting.popleft()
                yield first, made.result()
        yield from ((first, made.result()) for first, made in waiting)
    finally:
        pool.shutdown(cancel_futures=True)


def processors() -> int:
    """Return how many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
