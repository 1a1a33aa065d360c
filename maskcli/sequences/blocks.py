"""Cut files into blocks of whole rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

from maskcli.sequences.bounds import check_memory
from maskcli.sequences.sources import BOM, Stream

BLOCK = 2**20
"""Bytes of a block, unless a row is longer."""
WHITE = b" \t\r\n"
_SEARCH_STEP = 1024
"""Bytes that are searched at once for the last one that is not white space."""


@dataclasses.dataclass(frozen=True)
class Block:
    """Whole rows of a file.

    Attributes:
        data: their bytes.
        start: the offset of the first byte in the unpacked file.
    """

    data: bytes
    start: int


def split_lines(stream: Stream, blank: bool = True) -> Iterator[Block]:
    """Yield a file in blocks of whole lines; only the last line may lack its line end.

    Args:
        stream: the file, from its start.
        blank: whether empty lines are rows. If not, empty lines at the end of a block move to the next block, so
            that those at the end of the file can be recognized.
    """
    # A last line without a line end belongs to the block before it. As a block of its own it would be judged by itself,
    # and its last byte would decide which field of its record is read.
    start, held = stream.start, Block(b"", 0)
    if not start:
        start = skip_bom(stream)
    for block in cut_blocks(stream, lambda data: find_line_end(data, blank), start):
        if not held.data or block.data.endswith(b"\n"):
            if held.data:
                yield held
            held = block
        else:
            held = Block(held.data + block.data, held.start)
    if held.data:
        yield held


def skip_bom(stream: Stream) -> int:
    """Skip a byte order mark and return its length."""
    return len(stream.read(len(BOM))) if stream.peek(len(BOM)) == BOM else 0


def find_line_end(data: bytes, blank: bool = True) -> int:
    """Return the end of the last whole line, or of the last whole line that is not blank; 0 if there is none."""
    end = data.rfind(b"\n") + 1
    if blank:
        return end
    content_end = _find_content_end(data, end)
    return data.index(b"\n", content_end) + 1 if content_end else 0


def _find_content_end(data: bytes, end: int) -> int:
    """Return the end of ``data[:end]`` without trailing white space."""
    # ``rstrip`` copies its bytes, so it only gets a short piece of a large block at a time.
    while end:
        start = max(0, end - _SEARCH_STEP)
        if size := len(data[start:end].rstrip(WHITE)):
            return start + size
        end = start
    return 0


def cut_blocks(stream: Stream, find_end: Callable[[bytes], int], start: int = 0) -> Iterator[Block]:
    """Yield the content of ``stream`` in blocks of whole rows, then the remaining bytes.

    Args:
        stream: the content.
        find_end: returns the end of the last whole row of a piece, 0 if no row ends in it.
        start: the offset of the first byte in the file.
    """
    carried = b""
    # A row may be longer than a block. Then each piece is as long as the row so far, to copy it only a few times.
    while piece := stream.read(max(BLOCK, len(carried))):
        if end := find_end(piece):
            data = b"".join((carried, memoryview(piece)[:end]))
            yield Block(data, start)
            carried, start = piece[end:], start + len(data)
        else:
            check_memory(2 * len(carried) + len(piece), "a single row", stream.name)
            carried += piece
    if carried:
        yield Block(carried, start)
