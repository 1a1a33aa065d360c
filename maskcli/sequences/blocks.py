"""Files cut into blocks of whole rows, and work on these by two threads, whose results come in order.

NumPy lets other threads run while it works on an array; what it does not let go of is small beside that.
"""

from __future__ import annotations

import dataclasses
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from maskcli.sequences.sources import BOM, Stream

if TYPE_CHECKING:
    from concurrent.futures import Future

    from maskcli.sequences.tokenizer import Workspace

T = TypeVar("T")
R = TypeVar("R")
BLOCK = 2**20
"""Bytes of a block, unless a row is longer."""
ALONE = 2
"""Blocks at the start that are worked on before threads are started: most files have no more."""
THREADS = 2
AHEAD = 2 * THREADS
WHITE = b" \t\r\n"


@dataclasses.dataclass(frozen=True)
class Block:
    """Whole rows of a file.

    Attributes:
        data: their bytes.
        start: where they begin in the file, unpacked.
    """

    data: bytes
    start: int


def lines(stream: Stream, blank: bool = True) -> Iterator[Block]:
    """Yield a file in blocks of whole lines; only the last may lack its line end.

    Args:
        stream: of the file, from its start.
        blank: whether empty lines are rows; otherwise those at the end of a block are left to the next one.
    """
    return cut(stream, lambda data: end_of_lines(data, blank), skip_bom(stream))


def skip_bom(stream: Stream) -> int:
    """Read past a byte order mark; return its length."""
    return len(stream.read(len(BOM))) if stream.peek(len(BOM)) == BOM else 0


def end_of_lines(data: bytes, blank: bool = True) -> int:
    """Return where the last whole line ends, or where the last does that is not blank."""
    end = data.rfind(b"\n") + 1
    if blank:
        return end
    filled = _filled(data, end)
    return data.index(b"\n", filled) + 1 if filled else 0


def _filled(data: bytes, end: int) -> int:
    """Return where the last byte before ``end`` stands that is not white, plus 1."""
    while end:
        start = max(0, end - 1024)
        if some := len(data[start:end].rstrip(WHITE)):
            return start + some
        end = start
    return 0


def cut(stream: Stream, end: Callable[[bytes], int], start: int = 0) -> Iterator[Block]:
    """Yield what ``stream`` has in blocks, each up to where ``end`` says that whole rows end, and what is left.

    ``end`` is asked of each piece that is read, and says 0 where no row ends in it.
    """
    left = b""
    while more := stream.read(max(BLOCK, len(left))):
        if stop := end(more):
            block = b"".join((left, memoryview(more)[:stop]))
            yield Block(block, start)
            left, start = more[stop:], start + len(block)
        else:
            left += more
    if left:
        yield Block(left, start)


def in_order(work: Callable[[T], R], items: Iterable[T]) -> Iterator[tuple[T, R]]:
    """Yield each item with what ``work`` makes of it, by two threads where there are many items and processors."""
    rest = iter(items)
    for _ in range(ALONE):
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


_LOCAL = threading.local()


def workspace() -> Workspace:
    """Return what this thread tokenizes in."""
    held: Workspace | None = getattr(_LOCAL, "workspace", None)
    if held is None:
        from maskcli.sequences.tokenizer import Workspace

        held = _LOCAL.workspace = Workspace()
    return held
