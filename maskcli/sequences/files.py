"""Read files and streams as ragged sequences."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from maskcli.errors import InputError, MaskcliError
from maskcli.records.data import FROM_PYTHON, DataOrigin
from maskcli.records.layout import Layout
from maskcli.records.sequences import RaggedSequences
from maskcli.records.wording import format_count
from maskcli.sequences.bounds import check_memory
from maskcli.sequences.formats import FORMATS
from maskcli.sequences.formats.base import (
    Chunk,
    Field,
    Format,
    ParsedRows,
    ReadChunks,
    check_rows,
    decode_text,
    make_chunk,
)
from maskcli.sequences.formats.json_lines import has_json_lines
from maskcli.sequences.ragged import as_ragged, find_common_marks, make_no_sequences_error
from maskcli.sequences.sources import BOM, PACKED, READING, STDIN, Source, Stream, display_name
from maskcli.sequences.splits import make_row_splits
from maskcli.sequences.words import Tokenizer, describe_words, encode_rows

T = TypeVar("T")
HEAD = 2**16
"""Bytes from which the format of content is inferred; a longer first line of JSON is read to its end."""
# A manifest of shards is recognized by its content.
SUFFIXES = {suffix: entry for entry in FORMATS.values() if entry.name != "shards" for suffix in entry.suffixes}
PICKLES = (".pkl", ".pickle", ".joblib")
MODEL_SUFFIXES = (".keras", ".h5", ".py")
EMPTY_STDIN = "Pipe sequences into it, name a FILE, or use --sample for the built-in sample."


@dataclasses.dataclass(frozen=True, eq=False)
class LoadedSequences:
    """Sequences, and their places in the files.

    Attributes:
        ragged: the sequences of all files, in order.
        layout: how the rows are padded according to the files; None if the files differ or do not record it.
        parts: for each group of consecutive rows, its first row, and a function for the place of row ``i`` of it.
        origin: the files.
    """

    ragged: RaggedSequences
    layout: Layout | None
    parts: tuple[tuple[int, Callable[[int], str]], ...]
    origin: DataOrigin = FROM_PYTHON

    def where(self, row: int) -> str:
        """Return the place of sequence ``row``: the file, and the line or row."""
        first, where = max((part for part in self.parts if part[0] <= row), key=lambda part: part[0])
        return where(row - first)

    @contextlib.contextmanager
    def naming(self) -> Iterator[None]:
        """Add the place in the file to errors that have only the row."""
        try:
            yield
        except MaskcliError as error:
            if error.row is not None:
                error.at(self.where(error.row))
            raise


def read_sequences(
    paths: Sequence[str | Source], input_format: str = "auto", field: str | None = None
) -> LoadedSequences:
    """Return the sequences of files, in order.

    Args:
        paths: files, compressed or not, by path (``-`` is standard input) or as sources.
        input_format: a name of ``FORMATS``, or ``auto`` to infer it from the suffix, or else from the content.
        field: of JSON records, a column, or an array of an ``.npz``.

    Raises:
        InputError: with file and line or row, for content that cannot be read, and for no or only empty sequences.
    """
    parts: list[tuple[int, Callable[[int], str]]] = []
    sources = [path if isinstance(path, Source) else Source(path) for path in paths]
    where = _name_sources(sources)
    values, lengths, rows = _GrowingArray(np.int32, where), _GrowingArray(np.int64, where), 0
    layouts: set[Layout | None] = set()
    marks: set[str | None] = set()
    for chunk, share in read_all(sources, input_format, Field(field), lambda ragged: ragged):
        parts.append((rows, chunk.where))
        values.append(chunk.result.values, share)
        lengths.append(chunk.result.lengths, share)
        layouts.add(chunk.layout)
        marks.add(chunk.result.marked_by)
        rows += chunk.rows
    ragged = RaggedSequences(values.finish(), make_row_splits(lengths.finish()), find_common_marks(marks))
    if not len(ragged.values):
        raise make_only_empty_error(sources, rows)
    return LoadedSequences(ragged, layouts.pop() if len(layouts) == 1 else None, tuple(parts))


def read_texts(
    sources: Sequence[Source], input_format: str, field: str | None, tokenizer: Tokenizer
) -> LoadedSequences:
    """Return the sequences of files of text: each line, or the text in ``field`` of each record, becomes ids.

    Rows that hold ids already stay as they are. Raises as ``read_sequences`` does.
    """
    parts: list[tuple[int, Callable[[int], str]]] = []
    rows: list[Any] = []
    for source in sources:
        parsed = parse_texts(source, input_format, Field(field))
        parts.append((len(rows), parsed.where))
        rows += [parsed.rows[index] for index in range(len(parsed.rows))]
    loaded = LoadedSequences(RaggedSequences(np.zeros(0, np.int64), np.zeros(1, np.int64)), None, tuple(parts))
    with loaded.naming():
        ragged = as_ragged(encode_rows(rows, tokenizer))
    if not len(ragged.values):
        raise make_only_empty_error(sources, len(rows))
    return dataclasses.replace(loaded, ragged=ragged, layout=get_text_layout(tokenizer))


def load_texts(texts: Sequence[Any], tokenizer: Tokenizer) -> LoadedSequences:
    """Return the sequences of texts from Python, with their words; raises as ``read_sequences`` does."""
    ragged = as_ragged(encode_rows(texts, tokenizer))
    words = describe_words(tokenizer, np.append(ragged.values, tokenizer.padding_id or 0))
    parts = ((0, lambda row: f"row {row + 1}"),)
    return LoadedSequences(ragged, get_text_layout(tokenizer), parts, DataOrigin(words=words))


def get_text_layout(tokenizer: Tokenizer) -> Layout:
    """Return the layout of text that is encoded: without padding so far, and with the padding id of the tokenizer."""
    return Layout(value=tokenizer.padding_id or 0, sets_value=None)


def parse_texts(source: Source, input_format: str, field: Field) -> ParsedRows:
    """Return the rows of a file, in which lines that are not all lists of integers are text."""
    entry, _ = detect_format(source, input_format)
    data = source.read(entry.expansion)
    if entry.name != "text" or field.name is not None:
        return entry.read(data, source.name, field)
    lines = [line.strip() for line in decode_text(data.removeprefix(BOM), source.name).split("\n")]
    if not lines[-1]:
        lines.pop()
    if all(re.fullmatch(r"[-+0-9 ,\t]*", line) for line in lines):
        return entry.read(data, source.name, field)
    return ParsedRows(lines, lambda row: f"{source.name}:{row + 1}")


class _GrowingArray:
    """An array that grows at its end. On most systems, memory that was never written to takes no room."""

    def __init__(self, dtype: type[np.signedinteger], where: str) -> None:
        self._where = where
        self._array = np.empty(0, dtype)
        self._filled = 0

    def append(self, part: np.ndarray, share: float) -> None:
        """Append ``part``; the array becomes int64 with the first part of int64.

        Args:
            part: integers.
            share: of the bytes of all files that were read so far, this part included, from 0 to 1.
        """
        end = self._filled + len(part)
        itemsize = max(part.itemsize, self._array.itemsize)
        check_memory(end * itemsize, f"{end:,} tokens or more", self._where)
        if end > len(self._array) or not np.can_cast(part.dtype, self._array.dtype):
            # The old array and the new one exist together, until the old one is copied.
            check_memory((self._filled + end) * itemsize, f"{end:,} tokens or more", self._where)
            # The share predicts the final size. With 10 % more, most arrays are allocated once.
            predicted = int(1.1 * end / share) if share else 0
            grown = np.empty(max(predicted, end * 5 // 4), np.promote_types(self._array.dtype, part.dtype))
            grown[: self._filled] = self._array[: self._filled]
            self._array = grown
        self._array[self._filled : end] = part
        self._filled = end

    def finish(self) -> np.ndarray:
        """Return the array without the unused memory at its end."""
        self._array.resize(self._filled, refcheck=False)
        return self._array


def _name_sources(sources: Sequence[Source]) -> str:
    where = ", ".join(source.name for source in sources[:3])
    return where if len(sources) <= 3 else f"{where} ..."


def make_only_empty_error(sources: Sequence[Source], rows: int) -> InputError:
    """Return the error for files of ``rows`` sequences without a token."""
    return InputError(
        where=_name_sources(sources),
        expected="at least one token",
        received=format_count(rows, "empty sequence"),
        fix="Check the program that wrote this input.",
    )


def read_all(
    sources: Sequence[Source], input_format: str, field: Field, convert: Callable[[RaggedSequences], T]
) -> Iterator[tuple[Chunk[T], float]]:
    """Yield the chunks of all files, each with the share of all bytes that were read so far, from 0 to 1."""
    before, size = 0, 0
    for source in sources:
        for chunk in read_chunks(source, input_format, field, convert):
            size = size or sum(source.size for source in sources)
            yield chunk, min(1.0, (before + source.place) / size)
        before += source.size


def read_chunks(
    source: Source, input_format: str, field: Field, convert: Callable[[RaggedSequences], T]
) -> Iterator[Chunk[T]]:
    """Yield the results of ``convert`` for the chunks of a file, or for the file as a whole, in order.

    Raises:
        InputError: with file and line or row, for content that cannot be read, and for no sequences.
    """
    entry, in_chunks = detect_format(source, input_format)
    read = entry.chunks if entry.chunks and in_chunks else _make_whole_reader(entry)
    rows = 0
    for chunk in read(source, field, convert):
        rows += chunk.rows
        yield chunk
    if not rows:
        raise make_no_sequences_error().at(source.name)


def _make_whole_reader(entry: Format) -> ReadChunks:
    """Return a function that reads a file of this format as one chunk."""

    def read_whole(source: Source, field: Field, convert: Callable[[RaggedSequences], T]) -> Iterator[Chunk[T]]:
        parsed = entry.read(source.read(entry.expansion), source.name, field)
        yield make_chunk(check_rows(parsed, source.name), parsed, convert)

    return read_whole


def detect_format(source: Source, input_format: str) -> tuple[Format, bool]:
    """Return the format of a file, and whether it can be read in chunks.

    Raises:
        InputError: for an empty file, and for an unknown suffix.
    """
    with source.open() as stream:
        head = _peek_head(stream)
    entry = FORMATS[input_format] if input_format != "auto" else _infer_format(source, head)
    if not head:
        raise InputError(
            where=source.name,
            expected=source.what,
            received="no bytes" if source.path == STDIN else "an empty file",
            fix=EMPTY_STDIN if source.path == STDIN else "Check the program that wrote this file.",
        )
    return entry, entry.chunks is not None and entry.in_chunks(head)


def _peek_head(stream: Stream) -> bytes:
    """Return the start of content, with all of the first line if that is an object of JSON."""
    size = HEAD
    while len(head := stream.peek(size)) == size and b"\n" not in head and head.lstrip()[:1] == b"{":
        size *= 2
    return head


def get_suffix(path: Path) -> str:
    """Return the suffix of the format, lower case, without that of a compression; empty if there is none."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in PACKED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def read_rows(
    path: str, input_format: str = "auto", field: Field | None = None, what: str = "sequences", hint: str = READING
) -> ParsedRows:
    """Return the rows of one file, with values that are not checked yet.

    For messages, ``what`` is the expected content, and ``hint`` names the alternatives to a file.
    """
    entry, data = read_bytes(Source(path, what, hint), input_format)
    return entry.read(data, display_name(path), field or Field())


def read_bytes(source: Source, input_format: str = "auto") -> tuple[Format, bytes]:
    """Return the format of a file and its uncompressed content; see ``read_rows``."""
    entry, _ = detect_format(source, input_format)
    return entry, source.read(entry.expansion)


def _infer_format(source: Source, head: bytes) -> Format:
    """Return the format of the suffix; without a suffix, the first format that the content looks like."""
    suffix = get_suffix(Path(source.path))
    if FORMATS["shards"].looks_like(head):
        return FORMATS["shards"]
    if source.path == STDIN or not suffix:
        text = head.removeprefix(BOM).lstrip()
        return next(entry for entry in FORMATS.values() if entry.looks_like(text))
    if suffix in SUFFIXES:
        entry = SUFFIXES[suffix]
        # Hugging Face datasets and many other programs write JSON Lines into files that end in .json.
        return FORMATS["jsonl"] if entry.name == "json" and has_json_lines(head) else entry
    fix = "Rename the file to one of these."
    if suffix in MODEL_SUFFIXES:
        fix = f"If it is the model: --model {source.name}, and a FILE with the data."
    elif suffix in PICKLES:
        fix = "Pickles are never loaded: write lists as JSON Lines, and arrays with numpy.save."
    elif source.what == "sequences":
        fix = f"Set the format with --input-format {'|'.join(name for name in FORMATS if name != 'shards')}."
    raise InputError(
        where=source.name,
        expected=f"a file that ends in {', '.join(SUFFIXES)}, or one of these and {' or '.join(PACKED)}",
        received=f"the suffix {suffix!r}",
        fix=fix,
    )
