"""Files and streams to ragged sequences, and padded batches to files."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from maskcli.errors import InputError, MaskcliError
from maskcli.records import Layout, RaggedSequences
from maskcli.sequences.formats import FORMATS
from maskcli.sequences.formats.arrow import pyarrow
from maskcli.sequences.formats.base import Field, Format, Parsed
from maskcli.sequences.ragged import as_ragged, concatenate

STDIN = "-"
READING = "Check the name. `-` reads standard input; without FILE the sample is used."
PACKED = (".gz", ".zst")
ZSTANDARD = b"\x28\xb5\x2f\xfd"
SUFFIXES = {suffix: entry for entry in FORMATS.values() for suffix in entry.suffixes}
WRITABLE = {entry.suffixes[0]: entry.write for entry in FORMATS.values() if entry.write}


@dataclasses.dataclass(frozen=True, eq=False)
class Loaded:
    """Sequences with the memory of where they came from.

    Attributes:
        ragged: the sequences of all files, in order.
        layout: how the files say they are padded, when all say the same; None otherwise.
        parts: for each file, its first sequence and what names the place of a row in it.
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


def read_sequences(paths: Sequence[str], input_format: str = "auto", field: str | None = None) -> Loaded:
    """Return the sequences of files, in order.

    Args:
        paths: files, plain or gzipped; ``-`` is standard input.
        input_format: a name of ``FORMATS``, or ``auto`` to go by suffix, and by content where there is none.
        field: of JSON records or an ``.npz``.

    Raises:
        InputError: naming file and line or row, for all that cannot be read, and for no or only empty sequences.
    """
    parts, raggeds, layouts, first = [], [], set(), 0
    for path in paths:
        parsed = read_rows(path, input_format, Field(field))
        ragged = _judged(parsed, display_name(path))
        parts.append((first, parsed.where))
        raggeds.append(ragged)
        layouts.add(parsed.layout)
        first += len(ragged)
    ragged = concatenate(raggeds)
    if not len(ragged.values):
        raise InputError(
            where=", ".join(map(display_name, paths[:3])) + (" ..." if len(paths) > 3 else ""),
            expected="at least one token",
            received=f"{len(ragged)} empty sequence{'s' if len(ragged) > 1 else ''}",
            fix="Check what wrote this input.",
        )
    return Loaded(ragged, layouts.pop() if len(layouts) == 1 else None, tuple(parts))


def expanded(paths: Sequence[str]) -> tuple[str, ...]:
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
) -> Parsed:
    """Return the rows of one file, framed but with no value judged.

    ``what`` and ``hint`` say in messages what the file should hold, and what else could have been given.
    """
    entry, data = read_bytes(path, input_format, what, hint)
    return entry.read(data, display_name(path), field or Field())


def read_bytes(
    path: str, input_format: str = "auto", what: str = "sequences", hint: str = READING
) -> tuple[Format, bytes]:
    """Return the format of a file and its content, no longer gzipped; see ``read_rows``."""
    name = display_name(path)
    data = _unzipped(read_file(path, what, hint), name)
    by_name = f"Name the format with --input-format {'|'.join(FORMATS)}."
    fix = by_name if what == "sequences" else "Rename it to one of these."
    entry = FORMATS[input_format] if input_format != "auto" else _format_of(path, data, fix)
    if not data:
        raise InputError(where=name, expected=what, received="an empty file", fix="Check what wrote this file.")
    return entry, data


def write_file(path: str, data: bytes) -> None:
    """Write a file whole or not at all: beside the target first, then renamed onto it."""
    target = Path(path).resolve()
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        if target.exists() and not target.is_file():
            target.write_bytes(data)  # A device or a pipe cannot be renamed onto; a directory says so here.
            return
        with temporary.open("xb") as out:
            out.write(data)
        if target.exists():
            temporary.chmod(target.stat().st_mode)
        temporary.replace(target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if not isinstance(error, OSError | ValueError):
            raise
        raise InputError(
            where=display_name(path),
            expected="a place to write to",
            received=_reason(error),
            fix="Check that the directory exists, may be written to and has room.",
        ) from None


def display_name(path: str) -> str:
    """Return the name of an input in messages and documents, of which every character can be printed."""
    return "<stdin>" if path == STDIN else os.fsencode(path).decode("utf-8", "replace")


def _judged(parsed: Parsed, name: str) -> RaggedSequences:
    try:
        return as_ragged(parsed.rows)
    except MaskcliError as error:
        raise error.at(parsed.where(error.row) if error.row is not None else name) from None


def read_file(path: str, what: str, hint: str) -> bytes:
    """Return the content of a file, or of standard input; ``what`` it should hold and ``hint`` are for messages.

    Raises:
        InputError: for one that cannot be read.
    """
    try:
        if path == STDIN:
            return sys.stdin.buffer.read()
        return Path(path).read_bytes()
    except (OSError, ValueError, AttributeError) as error:  # A closed standard input is None.
        raise InputError(
            where=display_name(path),
            expected=f"a file of {what}",
            received=_reason(error),
            fix=hint,
        ) from None


def _reason(error: OSError | ValueError | AttributeError) -> str:
    if isinstance(error, AttributeError):
        return "a closed stream"
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, IsADirectoryError):
        return "a directory"
    return getattr(error, "strerror", None) or str(error)


def _unzipped(data: bytes, name: str) -> bytes:
    if data.startswith(ZSTANDARD):
        return _of_zstandard(data, name)
    if not data.startswith(b"\x1f\x8b"):
        return data
    import gzip

    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            where=name, expected="a whole gzip file", received=str(error).lower(), fix="Fetch or compress it again."
        ) from None


def _of_zstandard(data: bytes, name: str) -> bytes:
    pa = pyarrow(name)
    try:
        with pa.input_stream(pa.BufferReader(data), compression="zstd") as stream:
            return bytes(stream.read())
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            where=name,
            expected="a whole Zstandard file",
            received=str(error).splitlines()[0].lower(),
            fix="Fetch or compress it again.",
        ) from None


def _format_of(path: str, data: bytes, fix: str) -> Format:
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    if suffixes and suffixes[-1] in PACKED:
        suffixes.pop()
    if path == STDIN or not suffixes:
        return FORMATS[_sniffed(data)]
    if suffixes[-1] in SUFFIXES:
        return SUFFIXES[suffixes[-1]]
    raise InputError(
        where=path,
        expected=f"a file that ends in {', '.join(SUFFIXES)}, or one of these and {' or '.join(PACKED)}",
        received=f"the suffix {suffixes[-1]!r}",
        fix=fix,
    )


def _sniffed(data: bytes) -> str:
    """Return the name of the format that the content looks like."""
    text = data.removeprefix(b"\xef\xbb\xbf").lstrip()
    return next(entry.name for entry in FORMATS.values() if entry.looks_like(text))
