"""A file block by block: most blocks at once, each of the others by the plain reader of its format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

from maskcli.errors import InputError, MaskcliError
from maskcli.records.sequences import RaggedSequences
from maskcli.sequences.blocks import Block
from maskcli.sequences.fast.rows import FastRows
from maskcli.sequences.formats.base import Chunk, ParsedRows, check_rows, decode_text, make_chunk, raise_or_return
from maskcli.sequences.sources import Source, Stream
from maskcli.sequences.threads import map_in_order

T = TypeVar("T")
SMALL = 2**12
"""Bytes of a block up to which the plain reader is as quick, and nothing more has to be imported."""
Where = Callable[[int], str]


class BlockReader(Protocol):
    """How one file is read; all but ``parse_fast`` is asked for one block after the other."""

    def blocks(self, stream: Stream) -> Iterator[Block]:
        """Yield the file in blocks of whole rows."""

    def parse_fast(self, block: Block) -> FastRows | None:
        """Return the rows of a block, or None in doubt; in any thread."""

    def continues(self, quick: FastRows, /) -> bool:
        """Return whether these rows are of the kind of those before."""

    def parse_strict(self, block: Block, where: Where, row: int, /) -> RaggedSequences | None:
        """Return the rows of any block, None for no rows; raise InputError for what is no sequence of integers."""

    def where(self, block: Block, row: int, /) -> Where:
        """Return what names the place of row ``i`` of a block; ``row`` is its first. It is asked once."""


def read_blocks(source: Source, reader: BlockReader, made: Callable[[RaggedSequences], T]) -> Iterator[Chunk[T]]:
    """Yield what ``made`` makes of the rows of each block, in order.

    Raises:
        InputError: for what is no sequence of integers, and whatever ``made`` raises, with its place.
    """

    def work(block: Block) -> tuple[FastRows, T | MaskcliError] | None:
        quick = reader.parse_fast(block) if len(block.data) >= SMALL else None
        if quick is None:
            return None
        try:
            return quick, made(quick.rows)
        except MaskcliError as error:
            return quick, error

    row = 0
    with source.open() as stream:
        for block, done in map_in_order(work, reader.blocks(stream)):
            where = reader.where(block, row)
            chunk: Chunk[T] | None
            if done is not None and reader.continues(done[0]):
                chunk = Chunk(len(done[0].rows), raise_or_return(done[1], where), where)
            else:
                rows = reader.parse_strict(block, where, row)
                chunk = None if rows is None else make_chunk(rows, ParsedRows(rows, where), made)
            if chunk is not None:
                yield chunk
                row += chunk.rows


class LineReader:
    """What readers of files share in which each row is a line."""

    def __init__(self, name: str) -> None:
        """Read the file of this name."""
        self.name = name

    def where(self, _block: Block, row: int, /) -> Where:
        """Return the line of each row."""
        return lambda index: f"{self.name}:{row + index + 1}"

    def parse_lines(
        self, block: Block, row: int, split: Callable[[str], list[str]], parse: Callable[[str, str], Any]
    ) -> tuple[list[Any], InputError | None]:
        """Return what ``parse`` makes of each line, given with its place, and the first error, which ends them."""
        where, parsed = self.where(block, row), []
        try:
            for index, line in enumerate(split(decode_text(block.data, self.name, row + 1, block.start))):
                parsed.append(parse(line, where(index)))
        except InputError as error:
            return parsed, error
        return parsed, None

    def sound(self, rows: list[Any], error: InputError | None, where: Where) -> RaggedSequences | None:
        """Return rows as sequences, None for no rows; raise what is wrong with one of them, or else ``error``."""
        ragged = check_rows(ParsedRows(rows, where), self.name) if rows else None
        if error is not None:
            raise error
        return ragged


def complete_lines(block: Block) -> bytes:
    """Return the lines of a block, the last with its end."""
    return block.data if block.data.endswith(b"\n") else block.data + b"\n"
