"""Read a file block by block: each by the fast reader, or else by the strict reader of the format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

from maskcli.errors import InputError, MaskcliError
from maskcli.records.sequences import RaggedSequences
from maskcli.sequences.blocks import Block
from maskcli.sequences.fast import FastRows
from maskcli.sequences.formats.base import Chunk, ParsedRows, check_rows, decode_text, make_chunk, raise_or_return
from maskcli.sequences.sources import Source, Stream
from maskcli.sequences.threads import map_in_order

T = TypeVar("T")
SMALL = 2**12
"""Bytes of a block up to which the strict reader is as quick, and needs no further imports."""
Where = Callable[[int], str]


class BlockReader(Protocol):
    """Reads one file in blocks. All methods but ``parse_fast`` are called for one block after the other."""

    def blocks(self, stream: Stream) -> Iterator[Block]:
        """Yield the file in blocks of whole rows."""

    def parse_fast(self, block: Block) -> FastRows | None:
        """Return the rows of a block, None if the fast reader cannot verify them; called in any thread."""

    def continues(self, fast: FastRows, /) -> bool:
        """Return whether these rows are of the same kind as those of the blocks before."""

    def parse_strict(self, block: Block, where: Where, row: int, /) -> RaggedSequences | None:
        """Return the rows of any block, None for no rows; raise InputError for rows that are not integers."""

    def where(self, block: Block, row: int, /) -> Where:
        """Return a function for the place of row ``i`` of a block; ``row`` is the first. Called once for a block."""


def read_blocks(source: Source, reader: BlockReader, convert: Callable[[RaggedSequences], T]) -> Iterator[Chunk[T]]:
    """Yield the results of ``convert`` for each block, in order.

    Raises:
        InputError: with its place, for rows that are not integers; and the errors of ``convert``, with their place.
    """

    def work(block: Block) -> tuple[FastRows, T | MaskcliError] | None:
        fast = reader.parse_fast(block) if len(block.data) >= SMALL else None
        if fast is None:
            return None
        # An error is not raised here: its place needs the number of rows before, which this thread does not know.
        try:
            return fast, convert(fast.rows)
        except MaskcliError as error:
            return fast, error

    row = 0
    with source.open() as stream:
        for block, result in map_in_order(work, reader.blocks(stream)):
            where = reader.where(block, row)
            chunk: Chunk[T] | None
            if result is not None and reader.continues(result[0]):
                chunk = Chunk(len(result[0].rows), raise_or_return(result[1], where), where)
            else:
                rows = reader.parse_strict(block, where, row)
                chunk = None if rows is None else make_chunk(rows, ParsedRows(rows, where), convert)
            if chunk is not None:
                yield chunk
                row += chunk.rows


class LineReader:
    """Base of the readers of files in which each row is a line."""

    def __init__(self, name: str) -> None:
        """Read the file with this name."""
        self.name = name

    def where(self, _block: Block, row: int, /) -> Where:
        """Return a function for the line of each row."""
        return lambda index: f"{self.name}:{row + index + 1}"

    def parse_lines(
        self, block: Block, row: int, split: Callable[[str], list[str]], parse: Callable[[str, str], Any]
    ) -> tuple[list[Any], InputError | None]:
        """Return the results of ``parse(line, where)`` up to the first error, and that error, if any."""
        where, results = self.where(block, row), []
        try:
            for index, line in enumerate(split(decode_text(block.data, self.name, row + 1, block.start))):
                results.append(parse(line, where(index)))
        except InputError as error:
            return results, error
        return results, None

    def check_lines(
        self, rows: list[Any], error: InputError | None, where: Where, marked_by: str | None = None
    ) -> RaggedSequences | None:
        """Return rows as sequences, None for no rows; raise the error of the first bad row, or else ``error``."""
        # ``error`` is of the line after these rows, so an error within them comes first.
        ragged = check_rows(ParsedRows(rows, where, marked_by=marked_by), self.name) if rows else None
        if error is not None:
            raise error
        return ragged


def complete_lines(block: Block) -> bytes:
    """Return the lines of a block, with a line end after the last."""
    return block.data if block.data.endswith(b"\n") else block.data + b"\n"
