"""Cut files into blocks: small records of a file and a range of it, which a worker reads."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, TypeVar

from maskcli.errors import InputError, MaskcliError
from maskcli.records.sequences import RaggedSequences
from maskcli.sequences.files import detect_format, read_chunks
from maskcli.sequences.formats import FORMATS
from maskcli.sequences.formats.arrow import count_group_rows
from maskcli.sequences.formats.base import Chunk, Field
from maskcli.sequences.formats.csv_table import HEAD, find_header
from maskcli.sequences.formats.json_lines import fix_field
from maskcli.sequences.formats.numpy_arrays import read_array_header
from maskcli.sequences.lines import LinesSource
from maskcli.sequences.sources import RowRange, Source, display_name, make_shorter_error

T = TypeVar("T")
BLOCK_SIZE = 2**26
"""Bytes of a block. A task of Dask costs 2 to 3 ms and 14 KiB of the scheduler, and parsing this much a second."""
Unit = Literal["file", "lines", "rows", "groups"]


@dataclasses.dataclass(frozen=True, slots=True)
class BlockTask:
    """A block of a file: a small record that any process can read.

    Attributes:
        file: its path.
        format: a name of ``FORMATS``, or ``auto`` for a file that could not be recognized.
        unit: of the range: the whole ``file``; the ``lines`` that begin in a range of bytes; a range of ``rows``; or of
            the row ``groups`` of a Parquet file.
        offset: the start of the range, in bytes, rows or groups.
        length: of the range, in bytes, rows or groups; bytes of a whole file.
        size: bytes, for the progress and to balance the work.
        field: the field with the sequences; None selects the only suitable one.
        bare: whether the rows at the start of the file are lists outside of records.
        first_row: rows of the file before the block; None if they have to be counted.
        file_index: the file, counted from 0 among all files.
        source: standard input or a pipe, which only this process can read; None for a file.
        hash_level: of the sample of row hashes, at least, as the blocks before show; see ``RowHashes``.
    """

    file: str
    format: str
    unit: Unit
    offset: int
    length: int
    size: int
    field: str | None = None
    bare: bool = False
    first_row: int | None = 0
    file_index: int = 0
    source: Source | None = dataclasses.field(default=None, compare=False, repr=False)
    hash_level: int = 0

    @property
    def where(self) -> str:
        """The file and the range, for messages."""
        name, end = display_name(self.file), self.offset + self.length
        match self.unit:
            case "file":
                return name
            case "lines":
                return f"{name}, bytes {self.offset} to {end}"
            case "rows":
                return f"{name}, rows {self.offset + 1} to {end}"
        return f"{name}, row groups {self.offset + 1} to {end}"


def cut_files(
    sources: Iterable[Source], input_format: str = "auto", field: str | None = None, block_size: int = BLOCK_SIZE
) -> Iterator[BlockTask]:
    """Yield the blocks of files, in the order of their rows.

    Lines, rows of an ``.npy`` and row groups of Parquet are divided; compressed files, JSON arrays, CSV with a header,
    ``.npz`` and Arrow files are a block each. Only the start of a file is read. A file that cannot be read is one
    block, whose worker raises the error.
    """
    for index, source in enumerate(sources):
        whole = BlockTask(source.path, input_format, "file", 0, 0, 0, field, file_index=index)
        try:
            yield from _cut_file(source, whole, block_size)
        except InputError:
            yield whole


def _cut_file(source: Source, whole: BlockTask, block_size: int) -> Iterator[BlockTask]:
    entry, _ = detect_format(source, whole.format)
    size, field = source.size, whole.field
    whole = dataclasses.replace(whole, format=entry.name, length=size, size=size)
    if source.file is None and not source.is_remote:
        yield dataclasses.replace(whole, source=source)
        return
    cut = _CUTTERS.get(_choose_reader(source, entry.name, field))
    blocks = [] if cut is None or source.is_packed or size <= block_size else cut(source, whole, block_size)
    yield from blocks if len(blocks) > 1 else [whole]


def _choose_reader(source: Source, name: str, field: str | None) -> str:
    """Return the format that reads a file: CSV without a header is text."""
    if name != "csv":
        return name
    with source.open() as stream:
        return name if find_header(stream.peek(HEAD), Field(field)) else "text"


def _cut_text(_source: Source, whole: BlockTask, block_size: int) -> list[BlockTask]:
    return _cut_lines(dataclasses.replace(whole, format="text"), block_size)


def _cut_json_lines(source: Source, whole: BlockTask, block_size: int) -> list[BlockTask]:
    # A block does not show which field the blocks before it have.
    field = fix_field(source, Field(whole.field))
    return _cut_lines(dataclasses.replace(whole, field=field.name, bare=field.bare), block_size)


def _cut_lines(whole: BlockTask, block_size: int) -> list[BlockTask]:
    return [
        dataclasses.replace(
            whole, unit="lines", offset=start, length=length, size=length, first_row=None if start else 0
        )
        for start, length in divide_evenly(whole.size, -(-whole.size // block_size))
    ]


def _cut_rows(source: Source, whole: BlockTask, block_size: int) -> list[BlockTask]:
    header = read_array_header(source) if whole.field is None else None
    if header is None:
        return []
    ranges = divide_evenly(header.shape[0], -(-whole.size // block_size))
    row_size = header.dtype.itemsize * header.shape[1]
    return [
        dataclasses.replace(whole, unit="rows", offset=start, length=length, size=length * row_size, first_row=start)
        for start, length in ranges
    ]


def _cut_groups(source: Source, whole: BlockTask, block_size: int) -> list[BlockTask]:
    counts = count_group_rows(source)
    first_rows = [0, *itertools.accumulate(counts)]
    rows = max(1, first_rows[-1])
    return [
        dataclasses.replace(
            whole,
            unit="groups",
            offset=start,
            length=length,
            size=whole.size * (first_rows[start + length] - first_rows[start]) // rows,
            first_row=first_rows[start],
        )
        for start, length in divide_evenly(len(counts), -(-whole.size // block_size))
    ]


_CUTTERS: dict[str, Callable[[Source, BlockTask, int], list[BlockTask]]] = {
    "jsonl": _cut_json_lines,
    "text": _cut_text,
    "npy": _cut_rows,
    "parquet": _cut_groups,
}
"""By format, the function that divides a file of it."""


def divide_evenly(count: int, parts: int) -> list[tuple[int, int]]:
    """Return start and length of at most ``parts`` ranges that divide ``count`` things; no range is empty."""
    edges = [count * part // parts for part in range(parts + 1)]
    return [(start, stop - start) for start, stop in itertools.pairwise(edges) if stop > start]


def read_block(task: BlockTask, convert: Callable[[RaggedSequences], T]) -> Iterator[Chunk[T]]:
    """Yield the results of ``convert`` for the chunks of a block, in order; a range without a line yields none.

    Raises:
        InputError: with file and line or row, for content that cannot be read.
    """
    if task.unit == "file":
        yield from read_chunks(task.source or Source(task.file), task.format, Field(task.field), convert)
        _check_size(task)
        return
    source = open_part(task)
    read = FORMATS[task.format].chunks
    assert read is not None  # noqa: S101 - only formats that are read in chunks are divided
    name = source.name
    try:
        for chunk in read(source, Field(task.field, bare=task.bare), convert):
            yield dataclasses.replace(chunk, where=_count_from_start(chunk.where, task, name))
    except MaskcliError as error:
        error.where = shift_line(error.where, task, name)
        raise
    _check_size(task)


def _check_size(task: BlockTask) -> None:
    """Raise InputError for a file that has become shorter: its last lines would be left out silently."""
    source = Source(task.file)
    in_bytes = task.unit in ("file", "lines") and task.source is None and not source.is_remote
    if in_bytes and source.size < task.offset + task.length:
        raise make_shorter_error(source.name)


def open_part(task: BlockTask) -> Source:
    """Return the source of a block, which reads only its range."""
    if task.unit == "lines":
        return LinesSource(task.file, task.offset, task.length, blank=task.format != "jsonl")
    source = Source(task.file)
    source.part = RowRange(task.offset, task.offset + task.length, task.first_row or 0)
    return source


def _count_from_start(where: Callable[[int], str], task: BlockTask, name: str) -> Callable[[int], str]:
    """Return a function for the place of row ``i`` of a chunk in the file, instead of in the block."""
    return lambda row: shift_line(where(row), task, name)


def shift_line(where: str, task: BlockTask, name: str) -> str:
    """Return a place with the line counted from the start of the file; the lines before are only counted here."""
    line = re.match(r"(\d+)(.*)", where.removeprefix(f"{name}:"), re.DOTALL)
    if task.unit != "lines" or not task.offset or not where.startswith(f"{name}:") or line is None:
        return where
    before = LinesSource(task.file, task.offset, task.length).count_lines_before()
    return f"{name}:{before + int(line[1])}{line[2]}"
