"""Share work between two threads, with the results in order.

NumPy releases the interpreter lock while it works on an array, so two threads really run at the same time. Only when
both need the interpreter does one of them sleep. Waking it up takes as long as a good part of the work itself.
Therefore there are never more threads than processors: the calling thread does not wait, but works on items that the
other thread has not begun.
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
BEFORE_THREADS = 2
"""Items that are worked on before a thread is started: most files have no more blocks."""
THREADS = 2
AHEAD = 2 * THREADS
"""Items that are in work or waiting at the same time."""
SHARES = 8
"""Groups into which many small items are divided: few, but enough that no thread waits long for the other."""


def map_in_order(work: Callable[[T], R], items: Iterable[T], before: int = BEFORE_THREADS) -> Iterator[tuple[T, R]]:
    """Yield each item with the result of ``work``, by two threads if there are enough items and processors.

    Args:
        work: called in this thread or in the other one.
        items: iterated in this thread, only a few items ahead.
        before: items that are worked on before a thread is started.
    """
    iterator = iter(items)
    yield from ((item, work(item)) for item in islice(iterator, before if has_several_processors() else None))
    first = list(islice(iterator, 1))
    if not first:
        return
    # Imported late: it takes milliseconds, and small files never need it.
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(THREADS - 1)
    try:
        yield from _share_work(pool, work, chain(first, iterator))
    finally:
        pool.shutdown(cancel_futures=True)


def prefetch(items: Iterable[T]) -> Iterator[T]:
    """Yield items that another thread iterates a few items ahead, if there are enough items and processors.

    Useful for slow iterators that release the interpreter lock, such as a library that reads a file.
    """
    iterator = iter(items)
    yield from islice(iterator, BEFORE_THREADS if has_several_processors() else None)
    first = list(islice(iterator, 1))
    if not first:
        return
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(1)
    try:
        # Each future is a list of the next item, or an empty list at the end. With a single thread in the pool they
        # run one after the other, so the iterator is never used by two threads at once.
        waiting = deque(pool.submit(list, islice(iterator, 1)) for _ in range(AHEAD))
        while first:
            yield first[0]
            waiting.append(pool.submit(list, islice(iterator, 1)))
            first = waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def map_items(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Return the results of ``work``, by threads that take many small items at once."""
    step = max(1, -(-len(items) // SHARES))
    shares = (items[start : start + step] for start in range(0, len(items), step))
    results = map_in_order(lambda share: [work(item) for item in share], shares, before=0)
    return [result for _, share_results in results for result in share_results]


def _share_work(pool: Executor, work: Callable[[T], R], items: Iterator[T]) -> Iterator[tuple[T, R]]:
    waiting: deque[tuple[T, Future[R]]] = deque()
    while True:
        waiting.extend((item, pool.submit(work, item)) for item in islice(items, AHEAD - len(waiting)))
        if not waiting:
            return
        # While the next result is not there yet, this thread works on items that have not begun, instead of waiting.
        # When all of them have begun, ``result`` below waits.
        item, future = waiting[0]
        if future.done() or not _work_on_waiting(waiting, work):
            waiting.popleft()
            yield item, future.result()


def _work_on_waiting(waiting: deque[tuple[T, Future[R]]], work: Callable[[T], R]) -> bool:
    """Work on the first item that no thread has begun; return False if there is none."""
    for index, (item, future) in enumerate(waiting):
        if future.cancel():  # Succeeds only before the work begins.
            waiting[index] = item, _complete_future(work, item)
            return True
    return False


def _complete_future(work: Callable[[T], R], item: T) -> Future[R]:
    """Work on an item in this thread and return the result, or the error, as a future."""
    from concurrent.futures import Future

    future: Future[R] = Future()
    try:
        future.set_result(work(item))
    except Exception as error:  # Raised when the results before it were yielded.
        future.set_exception(error)
    return future


def has_several_processors() -> bool:
    """Return whether two threads can run at the same time."""
    return count_processors() >= THREADS


def use_single_thread() -> None:
    """Work in the calling thread only, from now on: another process uses each further processor."""
    _single[:] = [True]


_single: list[bool] = []
"""Not empty if this process has no further processor."""


def count_processors() -> int:
    """Return the number of processors that this process may use."""
    if _single:
        return 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
