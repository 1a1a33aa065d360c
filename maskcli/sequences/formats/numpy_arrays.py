"""NumPy's ``.npy`` and ``.npz``. Pickled objects are rejected and never loaded."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import IO, Any, BinaryIO, Literal, NamedTuple, TypeVar

import numpy as np

from maskcli.errors import InputError
from maskcli.records.arrays import Array, Ints
from maskcli.records.layout import Layout
from maskcli.records.sequences import PaddedBatch, RaggedSequences
from maskcli.sequences.bounds import check_memory, format_size
from maskcli.sequences.formats.base import (
    TARGETS,
    Add,
    Chunk,
    Field,
    Format,
    ParsedRows,
    check_rows,
    locate_error,
    make_chunk,
    name_rows,
    quote_names,
    shorten,
)
from maskcli.sequences.formats.json_text import find_marks, is_marks_name
from maskcli.sequences.padding import make_validity
from maskcli.sequences.ragged import unpad
from maskcli.sequences.sources import RowRange, Source

T = TypeVar("T")
PART = 2**22
"""Bytes that are read or written at once."""
MOST_EMPTY = 2**20
"""Rows of an array that has no column."""
INT64 = np.dtype(np.int64)
MAGIC = {"npy": b"\x93NUMPY", "npz": b"PK\x03\x04"}


def read_npy(data: bytes, name: str, field: Field) -> ParsedRows:
    """Return the rows of one array."""
    if field.name is not None:
        raise InputError(
            where=name,
            expected=f"an .npz for {field.option}",
            received="a single array",
            fix=f"Leave {field.option} out.",
        )
    return ParsedRows(_load(data, name, "npy"), name_rows(name))


def read_npz(data: bytes, name: str, field: Field) -> ParsedRows:
    """Return the rows of ``field``, or of ``values`` and ``row_splits``, ``tokens`` and ``mask``, or the only array."""
    archive: Mapping[str, Array] = load_arrays(data, name)
    key = field.name
    if key is None and _is_ragged(archive, field):
        return ParsedRows(RaggedSequences(archive["values"], archive["row_splits"]), name_rows(name))
    if key is None and "tokens" in archive and not field.numbers:
        key = "tokens"
    if key is None:
        key = _find_only_array(archive, field)
    if key is None or key not in archive:
        raise InputError(
            where=name,
            expected=f"an array named {key!r}" if key else "one array, tokens with mask, or values with row_splits",
            received=f"arrays named {quote_names(list(archive))}",
            fix=f"Name the array with {field.option}.",
        )
    marks = "mask" if key == "tokens" and "mask" in archive else find_marks(archive, key)
    mask = None if marks is None else archive[marks]
    if marks is not None and is_marks_name(marks) and mask is not None and np.isin(mask, (0, 1)).all():
        mask = mask.astype(np.bool_)
    if mask is None or field.numbers or archive[key].ndim > 2:
        return ParsedRows(archive[key], name_rows(name))
    return unpad_array(archive[key], mask, name, marks)


def _find_only_array(archive: Mapping[str, Array], field: Field) -> str | None:
    """Return the only array that can hold the sequences, or the targets; None if there are none or several."""
    names = list(archive)
    if not field.numbers and len(names) > 1:
        names = [name for name in names if not is_marks_name(name) and name.lower() not in TARGETS]
    return names[0] if len(names) == 1 else None


def _is_ragged(archive: Mapping[str, Array], field: Field) -> bool:
    """Return whether an archive holds ragged sequences; targets must not have further arrays."""
    names = {"values", "row_splits"}
    return archive.keys() == names if field.numbers else names <= archive.keys()


def load_arrays(data: bytes, name: str) -> dict[str, Array]:
    """Return the arrays of an ``.npz``, in its order; raise InputError for one that NumPy cannot read or unpickles."""
    archive: dict[str, Array] = _load(data, name, "npz")
    return archive


def read_npy_chunks(source: Source, field: Field, convert: Callable[[RaggedSequences], T]) -> Iterator[Chunk[T]]:
    """Yield the results of ``convert`` for parts of an ``.npy``; see ``ReadChunks``."""
    name = source.name
    header = read_array_header(source) if field.name is None else None
    if source.file is None or header is None:
        parsed = read_npy(source.read(), name, field)
        yield make_chunk(check_rows(parsed, name), parsed, convert)
        return
    rows, columns = header.shape
    with source.file.open("rb") as file:
        _check_header(file, source.size, name)
    step = max(1, PART // max(1, columns * INT64.itemsize))
    first, stop, _ = source.part or RowRange(0, rows, 0)
    with source.file.open("rb") as file:
        file.seek(header.start + first * columns * header.dtype.itemsize)
        for row in range(first, stop, step):
            # The file is read, not mapped: reading a mapped file that someone cuts short kills the process.
            part = np.empty((min(step, stop - row), columns), header.dtype)
            if file.readinto(part.data.cast("B")) != part.nbytes:
                raise _make_damage_error(name, EOFError("it ends early"))
            parsed = ParsedRows(part, name_rows(name, row))
            yield make_chunk(check_rows(parsed, name), parsed, convert)


def read_array_header(source: Source) -> _Header | None:
    """Return the header of an ``.npy`` whose rows can be read in parts; None for any other file."""
    if source.file is None or source.is_packed:
        return None
    header = None
    with contextlib.suppress(Exception), source.file.open("rb") as file:  # ``read_npy`` raises it, with a message.
        header = _read_header(file)
    return header if header is not None and header.has_rows else None


class _Header(NamedTuple):
    """The header of an ``.npy``: its array, the offset of its data, and whether columns are stored one by one."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    start: int
    in_columns: bool

    @property
    def has_rows(self) -> bool:
        """Whether the array consists of rows of numbers, one after another, so that parts of it can be read."""
        return len(self.shape) == 2 and min(self.shape) > 0 and not self.in_columns and self.dtype.kind in "biuf"


def _read_header(file: IO[bytes]) -> _Header | None:
    """Return the header of an ``.npy``; None if it holds objects."""
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, in_columns, dtype = read[np.lib.format.read_magic(file)](file)
    if dtype.hasobject or not dtype.itemsize:
        return None
    return _Header(shape, dtype, file.tell(), in_columns)


@contextlib.contextmanager
def open_npy_writer(
    out: IO[bytes], layout: Layout, rows: int | None = None, part: Literal["tokens", "mask"] = "tokens"
) -> Iterator[Add]:
    """Write tokens, or their mask, as one array; see ``Format.writer``.

    If the number of rows is not known at the start, the header is written again at the end.
    """
    dtype = np.dtype(layout.dtype if part == "tokens" else bool)
    written, size = 0, _write_header(out, dtype, rows or 0, layout)

    def add(batch: PaddedBatch) -> None:
        nonlocal written
        out.write(np.ascontiguousarray(getattr(batch, part)).data)
        written += len(batch.tokens)

    yield add
    if rows is None:
        out.seek(0)
        assert _write_header(out, dtype, written, layout) == size  # noqa: S101 - NumPy leaves room for more digits


def open_mask_writer(out: BinaryIO, layout: Layout, rows: int | None = None) -> contextlib.AbstractContextManager[Add]:
    """Write the mask as one array of booleans; see ``Format.writer``."""
    return open_npy_writer(out, layout, rows, "mask")


@contextlib.contextmanager
def open_npz_writer(out: BinaryIO, layout: Layout, rows: int | None = None, compress: bool = False) -> Iterator[Add]:
    """Write tokens, mask and lengths, in this order, like ``numpy.savez`` does; see ``Format.writer``.

    With ``compress``, like ``numpy.savez_compressed``, which takes ten times as long.
    """
    import tempfile
    import zipfile

    assert rows is not None  # noqa: S101 - the header of a member cannot be overwritten
    method = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    # An archive is written one array after the other. So the mask is made again from the lengths, which are few.
    with zipfile.ZipFile(out, "w", method) as archive, tempfile.TemporaryFile() as lengths:
        with (
            archive.open("tokens.npy", "w", force_zip64=True) as member,
            open_npy_writer(member, layout, rows) as add_tokens,
        ):

            def add(batch: PaddedBatch) -> None:
                add_tokens(batch)
                lengths.write(batch.lengths.astype(np.int64, copy=False).data)

            yield add
        with archive.open("mask.npy", "w", force_zip64=True) as member:
            _write_header(member, np.dtype(bool), rows, layout)
            for part in _read_lengths(lengths):
                member.write(make_validity(part, layout).data)
        with archive.open("lengths.npy", "w", force_zip64=True) as member:
            _write_header(member, np.dtype(np.int64), rows)
            for part in _read_lengths(lengths):
                member.write(part.data)


def _write_features(out: BinaryIO, batch: PaddedBatch, packs: bool) -> None:
    save = np.savez_compressed if packs else np.savez
    save(out, tokens=batch.tokens, mask=batch.mask, lengths=batch.lengths)


def _read_lengths(file: IO[bytes]) -> Iterator[Ints]:
    file.seek(0)
    while part := file.read(PART):
        yield np.frombuffer(part, np.int64)


def _write_header(out: IO[bytes], dtype: np.dtype[Any], rows: int, layout: Layout | None = None) -> int:
    """Write the header of an ``.npy`` and return its length; rows have the timesteps of ``layout``, or are numbers."""
    header = io.BytesIO()
    shape = (rows,) if layout is None else (rows, layout.maxlen)
    description = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, description)
    out.write(header.getvalue())
    return len(header.getvalue())


def _load(data: bytes, name: str, kind: Literal["npy", "npz"]) -> Any:
    """Return the array of an ``.npy``, or the arrays of an ``.npz`` by name."""
    # NumPy takes content without a known signature for a pickle, so it never gets such content.
    if not data.startswith(MAGIC[kind]):
        raise _make_signature_error(data, name, kind)
    try:
        _check_claims(data, name, kind)
        loaded = np.load(io.BytesIO(data), allow_pickle=False)
        if kind == "npy":
            return loaded
        arrays = {key: loaded[key] for key in loaded.files}
    except InputError:
        raise
    except Exception as error:  # Damaged and hostile files raise a dozen kinds, from zipfile, zlib, tokenize and NumPy.
        raise _make_damage_error(name, error) from None
    # NumPy returns a member that is no array as its bytes.
    foreign = next((key for key, array in arrays.items() if not isinstance(array, np.ndarray)), None)
    if foreign is not None:
        raise InputError(
            where=name,
            expected="an .npz in which every member is an array",
            received=f"the member {foreign!r}, which is none",
            fix="Write it with numpy.savez.",
        )
    return arrays


def _check_claims(data: bytes, name: str, kind: Literal["npy", "npz"]) -> None:
    """Raise InputError for headers that claim more than there is, and for an archive that unpacks to too much."""
    import zipfile

    if kind == "npy":
        _check_header(io.BytesIO(data), len(data), name)
        return
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        check_memory(sum(member.file_size for member in members), "the arrays of an .npz", name)
        for member in members:
            with archive.open(member) as file:
                if file.read(len(MAGIC["npy"])) == MAGIC["npy"]:
                    file.seek(0)
                    _check_header(file, member.file_size, f"{name}, {member.filename}")


def _check_header(file: IO[bytes], size: int, name: str) -> None:
    """Raise InputError for an ``.npy`` of ``size`` bytes whose header claims more."""
    header = _read_header(file)
    claimed = 0 if header is None else math.prod(header.shape) * header.dtype.itemsize + header.start
    if claimed > size:
        raise InputError(
            where=name,
            expected=f"the {format_size(claimed)} that its header claims",
            received=format_size(size),
            fix="The file is cut or damaged: fetch or write it again.",
        )
    # Rows without columns have no bytes in the file, but they take some in memory.
    rows = header.shape[0] if header is not None and len(header.shape) > 1 and not math.prod(header.shape) else 0
    if rows > MOST_EMPTY:
        raise InputError(
            where=name,
            expected="at least one token",
            received=f"{rows:,} empty sequences",
            fix="Check the program that wrote this input.",
        )


def _make_signature_error(data: bytes, name: str, kind: str) -> InputError:
    received, fix = "a file without NumPy's signature", "Write it with numpy.save or numpy.savez."
    for actual, magic in MAGIC.items():
        if data.startswith(magic):
            received, fix = f"an {actual} file", f"Use --input-format {actual}."
    return InputError(where=name, expected=f"a NumPy {kind} file", received=received, fix=fix)


def _make_damage_error(name: str, error: Exception) -> InputError:
    received = f"a file that NumPy cannot read ({shorten(str(error))})"
    fix = "Save a 2-D integer array, or values and row_splits, with numpy.save or numpy.savez."
    if "pickle" in str(error):
        received = "pickled objects, which are never loaded"
        fix = (
            "Rows of different lengths are saved as objects: write them as JSON Lines, pad them with "
            "keras.utils.pad_sequences, or save values and row_splits."
        )
    return InputError(where=name, expected="NumPy arrays of integers", received=received, fix=fix)


def unpad_array(tokens: Array, mask: Array, name: str, marked_by: str | None = None) -> ParsedRows:
    """Return the sequences of a padded array, and the layout that its mask, named ``marked_by``, shows."""
    try:
        if mask.dtype != np.bool_:
            raise InputError(
                expected="a boolean mask",
                received=f"dtype {mask.dtype}",
                fix="Save it with .astype(bool), True = valid.",
            )
        ragged = dataclasses.replace(unpad(tokens, mask), marked_by=marked_by)
    except InputError as error:
        raise locate_error(error, name_rows(name), name) from None
    values = np.unique(tokens[~mask])
    if len(values) > 1:
        raise InputError(
            where=name,
            expected="one padding value where the mask is False",
            received=f"{len(values)} values, among them {values[0]} and {values[1]}",
            fix="Pad with one value.",
        )
    starts_padded = bool((~mask[:, :1] & mask.any(axis=1, keepdims=True)).any())
    ends_padded = bool((~mask[:, -1:] & mask.any(axis=1, keepdims=True)).any())
    if starts_padded and ends_padded:
        raise InputError(
            where=name,
            expected="padding at the same side of all rows",
            received="a mask that is False before some sequences and after others",
            fix="Save values with row_splits, which need no padding.",
        )
    layout = Layout(
        padding="pre" if starts_padded else "post",
        maxlen=mask.shape[1],
        value=int(values[0]) if len(values) else 0,
        trim=False,
        dtype=tokens.dtype.name,
    )
    return ParsedRows(ragged, name_rows(name), layout)


FORMATS = (
    Format(
        "npy",
        (".npy",),
        read_npy,
        lambda data: data.startswith(MAGIC["npy"]),
        open_npy_writer,
        read_npy_chunks,
        write_features=lambda out, batch, _packs: np.lib.format.write_array(out, batch.tokens, allow_pickle=False),
    ),
    Format(
        "npz",
        (".npz",),
        read_npz,
        lambda data: data.startswith(MAGIC["npz"]),
        open_npz_writer,
        packing_writer=partial(open_npz_writer, compress=True),
        needs_rows=True,
        write_features=_write_features,
    ),
)
