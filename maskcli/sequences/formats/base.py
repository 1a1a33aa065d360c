"""The interface of a file format, and helpers that all formats share."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO, Generic, Protocol, TypeVar

import numpy as np

from maskcli.errors import InputError, MaskcliError
from maskcli.records.layout import Layout
from maskcli.records.sequences import PaddedBatch, RaggedSequences
from maskcli.sequences.ragged import as_ragged
from maskcli.sequences.sources import Source

T = TypeVar("T")
MASK = ".mask"
"""The suffix of a column that marks the valid timesteps of another."""
PADDING_MASKS = ("attention_mask", "padding_mask")
"""Columns that mark valid timesteps by their name, as tokenizers write them."""
TARGETS = frozenset(
    ["y", "y_true", "target", "targets", "label", "labels", "sample_weight", "sample_weights", "weight", "weights"]
)
"""Columns that feed no input by their name, unless a model takes an input of that name."""
DESCRIPTIONS = re.compile(r"(^|_)(segments?|token_type|types?|positions?|pos)(_|$)|^special_tokens_mask$|^word_ids$")
"""Names of columns that describe the timesteps of others, such as ``token_type_ids``."""
_MOST_NAMES = 8
_LONGEST = 160
"""Characters of a text in a message."""
"""Names that a message lists."""


@dataclasses.dataclass(frozen=True)
class ParsedRows:
    """The rows of one file, separated from each other; their values are not checked yet.

    Attributes:
        rows: a list with one entry for each sequence, an array with one row for each, or ragged sequences.
        where: returns the place of row ``i`` in the file, for messages.
        layout: how the rows are padded according to the file; None if it does not record that.
        marked_by: the field by which the padding of all rows was removed; None without one, and for ragged sequences,
            which have it themselves.
    """

    rows: list[Any] | np.ndarray[Any, np.dtype[Any]] | RaggedSequences
    where: Callable[[int], str]
    layout: Layout | None = None
    marked_by: str | None = None


@dataclasses.dataclass(frozen=True)
class Field:
    """Which field of a record, or array of an archive, holds the sequences.

    Attributes:
        name: None selects the only suitable field; several are an error.
        option: the command line option that names the field, for messages.
        numbers: whether floats and vectors are suitable, too, as they are for targets.
        bare: whether rows are lists outside of records, as those at the start of the file are.
    """

    name: str | None = None
    option: str = "--field"
    numbers: bool = False
    bare: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Chunk(Generic[T]):
    """Consecutive rows of a file.

    Attributes:
        rows: their number.
        result: the result of the caller's function for them.
        where: returns the place of row ``i`` of the chunk, for messages.
        layout: how the rows are padded according to the file; None if it does not record that.
    """

    rows: int
    result: T
    where: Callable[[int], str]
    layout: Layout | None = None


class ReadChunks(Protocol):
    """Reads a file in chunks and applies a function to each of them.

    ``convert`` receives the sequences of a chunk, in any thread. Rows that are not sequences of integers raise
    InputError.
    """

    def __call__(self, source: Source, field: Field, convert: Callable[[RaggedSequences], T], /) -> Iterator[Chunk[T]]:
        """Yield the results of ``convert``, in the order of the rows."""


Add = Callable[[PaddedBatch], None]
Writer = Callable[[BinaryIO, Layout, int | None], contextlib.AbstractContextManager[Add]]


@dataclasses.dataclass(frozen=True)
class Format:
    """One file format.

    Attributes:
        name: as ``--input-format`` spells it.
        suffixes: of its files, lower case.
        read: ``(data, name, field)`` to the rows; raises InputError.
        looks_like: whether content without a suffix is of this format. The first such format in the table is used.
        writer: ``(out, layout, rows)`` to a context, in which parts of a padded batch are written to ``out``, in order;
            None for a format that maskcli only reads. ``rows`` is the number of rows of all parts, None if unknown.
        packing_writer: the same for ``--compress``; None for a format that compresses nothing by itself.
        needs_rows: whether ``writer`` must know the number of rows.
        is_text: whether the format is text, which a terminal shows and general compression suits.
        needs_pyarrow: whether pyarrow reads and writes it.
        write_features: ``(out, batch, packs)``, writes a batch of features as a whole; None for a format that holds
            only ids. ``packs`` is that of ``--compress``.
        expansion: the memory that a byte of the file takes when the file is read as a whole.
        chunks: reads a file in chunks; None for a format that is read as a whole.
        read_layout: returns how the rows of a file are padded according to the file, before any of them is read; None
            for a format that does not record that, or is read as a whole.
        in_chunks: whether content with this beginning can be read in chunks.
    """

    name: str
    suffixes: tuple[str, ...]
    read: Callable[[bytes, str, Field], ParsedRows]
    looks_like: Callable[[bytes], bool]
    writer: Writer | None = None
    chunks: ReadChunks | None = None
    read_layout: Callable[[Source], Layout | None] | None = None
    in_chunks: Callable[[bytes], bool] = lambda _: True
    packing_writer: Writer | None = None
    needs_rows: bool = False
    is_text: bool = False
    needs_pyarrow: bool = False
    write_features: Callable[[BinaryIO, PaddedBatch, bool], None] | None = None
    expansion: int = 1


def locate_error(error: MaskcliError, where: Callable[[int], str], name: str = "") -> MaskcliError:
    """Return an error with the place of its row; if it has no row, with ``name`` as its place, if any."""
    if error.row is not None:
        return error.at(where(error.row))
    return error.at(name) if name else error


def name_rows(name: str, first: int = 0) -> Callable[[int], str]:
    """Return a function that names the place of row ``i`` by its number, counted from row ``first`` of the file."""
    return lambda row: f"{name}, row {first + row + 1}"


def check_rows(parsed: ParsedRows, name: str) -> RaggedSequences:
    """Return the rows as sequences; raise InputError with the place of a value that is not an integer."""
    try:
        ragged = as_ragged(parsed.rows)
    except MaskcliError as error:
        raise locate_error(error, parsed.where, name) from None
    return ragged if parsed.marked_by is None else dataclasses.replace(ragged, marked_by=parsed.marked_by)


def make_chunk(ragged: RaggedSequences, parsed: ParsedRows, convert: Callable[[RaggedSequences], T]) -> Chunk[T]:
    """Return the chunk of these sequences; errors of ``convert`` get the place of their row."""
    try:
        return Chunk(len(ragged), convert(ragged), parsed.where, parsed.layout)
    except MaskcliError as error:
        raise locate_error(error, parsed.where) from None


def raise_or_return(result: T | MaskcliError, where: Callable[[int], str]) -> T:
    """Return a result; raise it, with the place of its row, if it is an error."""
    if isinstance(result, MaskcliError):
        raise locate_error(result, where)
    return result


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
            fix="Save the file as UTF-8, or set its format with --input-format.",
        ) from None


def write_text(out: BinaryIO, lines: Iterable[str]) -> None:
    """Write lines, each with its line end."""
    out.write("".join(f"{line}\n" for line in lines).encode())


def quote_names(names: Sequence[object], most: int = _MOST_NAMES) -> str:
    """Return quoted names for a message; of more than ``most`` the number of further ones."""
    if not names:
        return "none"
    quoted = ", ".join(shorten(repr(name)) for name in names[:most])
    if len(names) > most:
        return f"{quoted} and {len(names) - most} more"
    return quoted


def shorten(text: str) -> str:
    """Return a text for a message, without its middle if it is long: files choose names and headers of any length."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 4 :]}"
