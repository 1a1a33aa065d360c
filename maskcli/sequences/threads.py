"""Work that two threads share, whose results come in order.

NumPy lets other threads run while it works on an array; what it does not let go of is small beside that. But each time
that two threads want the interpreter at once, one of them falls asleep, and waking takes as long as much of the work.
So there are no more threads than processors: the one that asks works too, on what no other has begun.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

T = TypeVar("T")
R = TypeVar("R")
ALONE = 2
"""Items at the start that are worked on before threads are started: most files are no more blocks than that."""
THREADS = 2
AHEAD = 2 * THREADS
"""Items that are begun or wait at once."""
SHARES = 8
"""Parts that many small items are shared in: as few as leave neither thread to wait long for the other."""


def map_in_order(work: Callable[[T], R], items: Iterable[T], alone: int = ALONE) -> Iterator[tuple[T, R]]:
    """Yield each item with what ``work`` makes of it, by two threads where there are many items and processors.

    Args:
        work: is called in this thread or another one.
        items: are taken in this thread, few of them before they are needed.
        alone: items at the start that are worked on in this thread.
    """
    rest = iter(items)
    yield from ((item, work(item)) for item in islice(rest, alone if has_several_processors() else None))
    first = list(islice(rest, 1))
    if not first:
        return
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(THREADS - 1)
    try:
        yield from _shared(pool, work, chain(first, rest))
    finally:
        pool.shutdown(cancel_futures=True)


def prefetch(items: Iterable[T]) -> Iterator[T]:
    """Yield items that another thread takes, few of them before they are needed, where there are many and processors.

    For what takes long and lets other threads run, such as reading by a library.
    """
    rest = iter(items)
    yield from islice(rest, ALONE if has_several_processors() else None)
    first = list(islice(rest, 1))
    if not first:
        return
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(1)
    try:
        waiting = deque(pool.submit(list, islice(rest, 1)) for _ in range(AHEAD))
        while first:
            yield first[0]
            waiting.append(pool.submit(list, islice(rest, 1)))
            first = waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def map_items(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Return what ``work`` makes of each item, by threads that take many small ones at a time."""
    step = max(1, -(-len(items) // SHARES))
    shares = (items[start : start + step] for start in range(0, len(items), step))
    done = map_in_order(lambda share: [work(item) for item in share], shares, alone=0)
    return [made for _, all_made in done for made in all_made]


def _shared(pool: Executor, work: Callable[[T], R], items: Iterator[T]) -> Iterator[tuple[T, R]]:
    waiting: deque[tuple[T, Future[R]]] = deque()
    while True:
        waiting.extend((item, pool.submit(work, item)) for item in islice(items, AHEAD - len(waiting)))
        if not waiting:
            return
        item, made = waiting[0]
        if made.done() or not _take_one(waiting, work):
            waiting.popleft()
            yield item, made.result()


def _take_one(waiting: deque[tuple[T, Future[R]]], work: Callable[[T], R]) -> bool:
    """Work on the first item that no thread has begun; return whether there was one."""
    for place, (item, made) in enumerate(waiting):
        if made.cancel():
            waiting[place] = item, _done(work, item)
            return True
    return False


def _done(work: Callable[[T], R], item: T) -> Future[R]:
    from concurrent.futures import Future

    made: Future[R] = Future()
    try:
        made.set_result(work(item))
    except Exception as error:  # It is raised in its turn.
        made.set_exception(error)
    return made


def has_several_processors() -> bool:
    """Return whether there are processors for more than one thread."""
    return count_processors() >= THREADS


def count_processors() -> int:
    """Return how many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
