"""What a reader hands over, and what a format is."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO, Generic, Protocol, TypeVar

import numpy as np

from maskcli.errors import InputError, MaskcliError
from maskcli.records.sequences import Layout, PaddedBatch, RaggedSequences
from maskcli.sequences.ragged import as_ragged
from maskcli.sequences.sources import Source

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class ParsedRows:
    """The rows of one file, framed but with no value judged yet.

    Attributes:
        rows: a list with one entry for each sequence, an array with one row for each, or ragged sequences.
        where: names the place of row ``i`` in the file, for messages.
        layout: how the file says that its rows are padded; None when it says nothing.
    """

    rows: list[Any] | np.ndarray[Any, np.dtype[Any]] | RaggedSequences
    where: Callable[[int], str]
    layout: Layout | None = None


@dataclasses.dataclass(frozen=True)
class Field:
    """Which field of a record, or array of an archive, is wanted.

    Attributes:
        name: None leaves the choice to what is there, when only one will do.
        option: that names it, for messages.
        numbers: whether floats and vectors will do, as they do for targets.
    """

    name: str | None = None
    option: str = "--field"
    numbers: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Chunk(Generic[T]):
    """Some rows of a file that follow each other.

    Attributes:
        rows: how many they are.
        made: what was made of them.
        where: names the place of row ``i`` of them, for messages.
        layout: how the file says that its rows are padded; None when it says nothing.
    """

    rows: int
    made: T
    where: Callable[[int], str]
    layout: Layout | None = None


class ReadChunks(Protocol):
    """Reads a file some rows at a time, each of which ``made`` then makes something of, in any thread.

    Raises InputError for what is no sequence of integers.
    """

    def __call__(self, source: Source, field: Field, made: Callable[[RaggedSequences], T], /) -> Iterator[Chunk[T]]:
        """Yield what ``made`` makes of the rows, in order."""


Add = Callable[[PaddedBatch], None]
Writer = Callable[[BinaryIO, Layout, int | None], contextlib.AbstractContextManager[Add]]


@dataclasses.dataclass(frozen=True)
class Format:
    """One file format.

    Attributes:
        name: as ``--input-format`` spells it.
        suffixes: that tell it, lower case.
        read: ``(data, name, field)`` to the rows; raises InputError.
        looks_like: whether content without a suffix is of this format; the first one in the table that says so wins.
        writer: ``(out, layout, rows)`` to a context, in which parts of a padded batch are written to ``out`` one after
            the other; None for a format that maskcli only reads. ``rows`` are those of all parts, where that is known.
        needs_rows: whether ``writer`` has to be told how many rows there are.
        in_parts: whether parts are written as they come, or held in memory till the last.
        chunks: reads it some rows at a time; None for a format that is read whole.
        in_chunks: whether content that begins so can be.
    """

    name: str
    suffixes: tuple[str, ...]
    read: Callable[[bytes, str, Field], ParsedRows]
    looks_like: Callable[[bytes], bool]
    writer: Writer | None = None
    chunks: ReadChunks | None = None
    in_chunks: Callable[[bytes], bool] = lambda _: True
    in_parts: bool = True
    needs_rows: bool = False


def check_rows(parsed: ParsedRows, name: str) -> RaggedSequences:
    """Return the rows as sequences; raise InputError with the place of a value that is no integer."""
    try:
        return as_ragged(parsed.rows)
    except MaskcliError as error:
        raise error.at(parsed.where(error.row) if error.row is not None else name) from None


def make_chunk(ragged: RaggedSequences, parsed: ParsedRows, made: Callable[[RaggedSequences], T]) -> Chunk[T]:
    """Return what ``made`` makes of sequences, whose errors are given the place of their row."""
    try:
        return Chunk(len(ragged), made(ragged), parsed.where, parsed.layout)
    except MaskcliError as error:
        raise error if error.row is None else error.at(parsed.where(error.row)) from None


def raise_or_return(result: T | MaskcliError, where: Callable[[int], str]) -> T:
    """Return a result, or raise the error that it is, with the place of its row."""
    if not isinstance(result, MaskcliError):
        return result
    raise result if result.row is None else result.at(where(result.row))


def decode_text(data: bytes, name: str, line: int = 1, offset: int = 0) -> str:
    """Return UTF-8 text; raise InputError with the line of the first bad byte.

    ``line`` and ``offset`` are those of the first byte in the file.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line += data.count(b"\n", 0, error.start)
        raise InputError(
            where=f"{name}:{line}",
            expected="UTF-8 text",
            received=f"byte 0x{data[error.start]:02x} at offset {offset + error.start}",
            fix="Save it as UTF-8, or name its format with --input-format.",
        ) from None


def write_text(out: BinaryIO, lines: Iterable[str]) -> None:
    """Write lines, each with its end."""
    out.write("".join(f"{line}\n" for line in lines).encode())


def quote_names(names: Sequence[object]) -> str:
    """Return names for a message, quoted; a long list is cut."""
    shown = ", ".join(repr(name) for name in names[:8])
    return f"{shown} and {len(names) - 8} more" if len(names) > 8 else shown or "none"
