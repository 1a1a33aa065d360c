"""Files cut into blocks of whole rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

from maskcli.sequences.sources import BOM, Stream

BLOCK = 2**20
"""Bytes of a block, unless a row is longer."""
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


def split_lines(stream: Stream, blank: bool = True) -> Iterator[Block]:
    """Yield a file in blocks of whole lines; only the last may lack its line end.

    Args:
        stream: of the file, from its start.
        blank: whether empty lines are rows; otherwise those at the end of a block are left to the next one.
    """
    return cut_blocks(stream, lambda data: find_line_end(data, blank), skip_bom(stream))


def skip_bom(stream: Stream) -> int:
    """Read past a byte order mark; return its length."""
    return len(stream.read(len(BOM))) if stream.peek(len(BOM)) == BOM else 0


def find_line_end(data: bytes, blank: bool = True) -> int:
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


def cut_blocks(stream: Stream, end: Callable[[bytes], int], start: int = 0) -> Iterator[Block]:
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
