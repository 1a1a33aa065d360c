"""Files and streams to ragged sequences."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from maskcli.errors import InputError, MaskcliError
from maskcli.records.sequences import Layout, RaggedSequences
from maskcli.sequences.formats import FORMATS
from maskcli.sequences.formats.base import Chunk, Field, Format, ParsedRows, ReadChunks, check_rows, make_chunk
from maskcli.sequences.ragged import make_no_sequences_error
from maskcli.sequences.sources import BOM, PACKED, READING, STDIN, Source, Stream, display_name

T = TypeVar("T")
HEAD = 2**16
"""Bytes at the start of content that tell its format, or more up to the end of the first line."""
WRITABLE = {entry.suffixes[0]: entry for entry in FORMATS.values() if entry.writer}
SUFFIXES = {suffix: entry for entry in FORMATS.values() for suffix in entry.suffixes}


@dataclasses.dataclass(frozen=True, eq=False)
class LoadedSequences:
    """Sequences with the memory of where they came from.

    Attributes:
        ragged: the sequences of all files, in order.
        layout: how the files say they are padded, when all say the same; None otherwise.
        parts: for some rows that follow each other, the first of them and what names the place of a row among them.
    """

    ragged: RaggedSequences
    layout: Layout | None
    parts: tuple[tuple[int, Callable[[int], str]], ...]

    def where(self, row: int) -> str:
        """Return the place of sequence ``row``: the file and the line or row."""
        first, where = max((part for part in self.parts if part[0] <= row), key=lambda part: part[0])
        return where(row - first)

    @contextlib.contextmanager
    def naming(self) -> Iterator[None]:
        """Give the place in the file to errors that know only the row."""
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
        paths: files, plain or packed, by path (``-`` is standard input) or as sources.
        input_format: a name of ``FORMATS``, or ``auto`` to go by suffix, and by content where there is none.
        field: of JSON records, a column, or an array of an ``.npz``.

    Raises:
        InputError: naming file and line or row, for all that cannot be read, and for no or only empty sequences.
    """
    parts: list[tuple[int, Callable[[int], str]]] = []
    layouts, values, lengths, rows = set(), _Growing(np.int32), _Growing(np.int64), 0
    sources = [path if isinstance(path, Source) else Source(path) for path in paths]
    for chunk, share in read_all(sources, input_format, Field(field), lambda ragged: ragged):
        parts.append((rows, chunk.where))
        values.add(chunk.made.values, share)
        lengths.add(chunk.made.lengths, share)
        layouts.add(chunk.layout)
        rows += chunk.rows
    ragged = RaggedSequences(values.whole(), np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths.whole())]))
    if not len(ragged.values):
        raise make_only_empty_error(sources, rows)
    return LoadedSequences(ragged, layouts.pop() if len(layouts) == 1 else None, tuple(parts))


class _Growing:
    """An array that grows at its end; memory that is not filled is none on most systems."""

    def __init__(self, dtype: type[np.signedinteger]) -> None:
        self._array = np.empty(0, dtype)
        self._filled = 0

    def add(self, part: np.ndarray, share: float) -> None:
        """Append ``part``, after which this is about a ``share`` of all; int32 becomes int64 with the first that is."""
        end = self._filled + len(part)
        if end > len(self._array) or not np.can_cast(part.dtype, self._array.dtype):
            expected = int(1.1 * end / share) if share else 0
            grown = np.empty(max(expected, end * 5 // 4), np.promote_types(self._array.dtype, part.dtype))
            grown[: self._filled] = self._array[: self._filled]
            self._array = grown
        self._array[self._filled : end] = part
        self._filled = end

    def whole(self) -> np.ndarray:
        """Return what was appended."""
        self._array.resize(self._filled, refcheck=False)
        return self._array


def make_only_empty_error(sources: Sequence[Source], rows: int) -> InputError:
    """Return the error for files of ``rows`` sequences without a token."""
    return InputError(
        where=", ".join(source.name for source in sources[:3]) + (" ..." if len(sources) > 3 else ""),
        expected="at least one token",
        received=f"{rows} empty sequence{'s' if rows > 1 else ''}",
        fix="Check what wrote this input.",
    )


def read_all(
    sources: Sequence[Source], input_format: str, field: Field, made: Callable[[RaggedSequences], T]
) -> Iterator[tuple[Chunk[T], float]]:
    """Yield what ``read_chunks`` does of each file in turn, and what share of all bytes was read, from 0 to 1."""
    before, size = 0, 0
    for source in sources:
        for chunk in read_chunks(source, input_format, field, made):
            size = size or sum(each.size for each in sources)
            yield chunk, min(1.0, (before + source.place) / size)
        before += source.size


def read_chunks(
    source: Source, input_format: str, field: Field, made: Callable[[RaggedSequences], T]
) -> Iterator[Chunk[T]]:
    """Yield what ``made`` makes of the sequences of a file, some at a time or all at once, in order.

    Raises:
        InputError: naming file and line or row, for all that cannot be read, and for no sequences.
    """
    entry, in_chunks = detect_format(source, input_format)
    rows = 0
    for chunk in (entry.chunks if entry.chunks and in_chunks else _whole(entry))(source, field, made):
        rows += chunk.rows
        yield chunk
    if not rows:
        raise make_no_sequences_error().at(source.name)


def _whole(entry: Format) -> ReadChunks:
    """Return what reads a file of this format as one chunk."""

    def chunks(source: Source, field: Field, made: Callable[[RaggedSequences], T]) -> Iterator[Chunk[T]]:
        parsed = entry.read(source.read(), source.name, field)
        yield make_chunk(check_rows(parsed, source.name), parsed, made)

    return chunks


def detect_format(source: Source, input_format: str) -> tuple[Format, bool]:
    """Return the format of a file, and whether it can be read in chunks.

    Raises:
        InputError: for an empty file, and one whose suffix says nothing.
    """
    with source.open() as stream:
        head = _head(stream)
    entry = FORMATS[input_format] if input_format != "auto" else _format_of(source, head)
    if not head:
        raise InputError(
            where=source.name, expected=source.what, received="an empty file", fix="Check what wrote this file."
        )
    return entry, entry.chunks is not None and entry.in_chunks(head)


def _head(stream: Stream) -> bytes:
    size = HEAD
    while len(head := stream.peek(size)) == size and b"\n" not in head and head.lstrip()[:1] == b"{":
        size *= 2
    return head


def expand_files(paths: Sequence[str]) -> tuple[str, ...]:
    """Return files for patterns and directories, by name; others are what they were.

    A pattern is told by ``*``, ``?`` or ``[`` where there is no such file. Of a directory all files are taken whose
    suffix says that they hold sequences, and none below.

    Raises:
        InputError: for a pattern or a directory with no such file.
    """
    return tuple(found for path in paths for found in _expanded(path))


def _expanded(path: str) -> list[str]:
    if path == STDIN or "\x00" in path:
        return [path]
    if Path(path).is_dir():
        found = [str(each) for each in sorted(Path(path).iterdir()) if each.is_file() and _is_known(each)]
        expected = f"a directory with files that end in {', '.join(SUFFIXES)}"
    elif any(sign in path for sign in "*?[") and not Path(path).exists():
        import glob

        found = sorted(each for each in glob.glob(path, recursive=True) if Path(each).is_file())  # noqa: PTH207 - ** too
        expected = "files that match this pattern"
    else:
        return [path]
    if not found:
        raise InputError(where=path, expected=expected, received="none", fix=READING)
    return found


def _is_known(path: Path) -> bool:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in PACKED:
        suffixes.pop()
    return not path.name.startswith(".") and bool(suffixes) and suffixes[-1] in SUFFIXES


def read_rows(
    path: str, input_format: str = "auto", field: Field | None = None, what: str = "sequences", hint: str = READING
) -> ParsedRows:
    """Return the rows of one file, framed but with no value judged.

    ``what`` and ``hint`` say in messages what the file should hold, and what else could have been given.
    """
    entry, data = read_bytes(path, input_format, what, hint)
    return entry.read(data, display_name(path), field or Field())


def read_bytes(
    path: str, input_format: str = "auto", what: str = "sequences", hint: str = READING
) -> tuple[Format, bytes]:
    """Return the format of a file and its content, unpacked; see ``read_rows``."""
    source = Source(path, what, hint)
    entry, _ = detect_format(source, input_format)
    return entry, source.read()


def _format_of(source: Source, head: bytes) -> Format:
    path = source.path
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    if suffixes and suffixes[-1] in PACKED:
        suffixes.pop()
    if path == STDIN or not suffixes:
        return FORMATS[_sniffed(head)]
    if suffixes[-1] in SUFFIXES:
        return SUFFIXES[suffixes[-1]]
    raise InputError(
        where=source.name,
        expected=f"a file that ends in {', '.join(SUFFIXES)}, or one of these and {' or '.join(PACKED)}",
        received=f"the suffix {suffixes[-1]!r}",
        fix=f"Name the format with --input-format {'|'.join(FORMATS)}."
        if source.what == "sequences"
        else "Rename it to one of these.",
    )


def _sniffed(data: bytes) -> str:
    """Return the name of the format that the content looks like."""
    text = data.removeprefix(BOM).lstrip()
    return next(entry.name for entry in FORMATS.values() if entry.looks_like(text))
