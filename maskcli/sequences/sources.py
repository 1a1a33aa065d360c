"""Files and standard input as streams of bytes, unpacked, that can be read from their start as often as is wanted."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import stat
import sys
import weakref
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from maskcli.errors import InputError, MaskcliError, UsageError

STDIN = "-"
READING = "Check the name. `-` reads standard input; without FILE the sample is used."
PACKED = (".gz", ".zst")
BOM = b"\xef\xbb\xbf"
GZIP, ZSTANDARD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
IN_MEMORY = 2**24
"""Bytes of standard input, or of a pipe, that are held in memory to be read again; more go to a temporary file."""
PIECE = 2**20


class Stream:
    """Bytes of a source, in order."""

    def __init__(self, source: Source, raw: BinaryIO, unpacked: BinaryIO, form: str) -> None:
        """Read ``unpacked``; ``raw`` is the file itself, whose ``form`` is for messages."""
        self._source, self._raw, self._unpacked, self._form = source, raw, unpacked, form
        self._ahead = b""

    def peek(self, size: int) -> bytes:
        """Return the next ``size`` bytes, or as many as there are; they will be read again."""
        while len(self._ahead) < size and (more := self._taken(size - len(self._ahead))):
            self._ahead += more
        return self._ahead[:size]

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes, none at the end.

        Raises:
            InputError: for a file that cannot be read on, or is damaged.
        """
        if not self._ahead:
            return self._taken(size)
        self.peek(size)
        taken, self._ahead = self._ahead[:size], self._ahead[size:]
        return taken

    def rest(self) -> bytes:
        """Return all that is left; raise as above."""
        return b"".join([self._ahead, *iter(lambda: self._taken(PIECE), b"")])

    def _taken(self, size: int) -> bytes:
        try:
            taken = bytes(self._unpacked.read(size))
            self._source.place = self._raw.tell()
            return taken
        except (OSError, EOFError, ValueError, zlib.error) as error:
            if not self._form and isinstance(error, OSError | ValueError):
                raise _unread(self._source.name, "a file that can be read", error, READING) from None
            raise InputError(
                where=self._source.name,
                expected=f"a whole {self._form} file",
                received=str(error).splitlines()[0].lower(),
                fix="Fetch or compress it again.",
            ) from None


class Source:
    """A file, or standard input.

    Attributes:
        path: ``-`` is standard input.
        what: it should hold, for messages.
        hint: what else could have been given, for messages.
        place: how many of its bytes, packed as they are, were read of the last stream.
    """

    def __init__(self, path: str, what: str = "sequences", hint: str = READING) -> None:
        """Open nothing yet."""
        self.path, self.what, self.hint = path, what, hint
        self.place = 0

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return display_name(self.path)

    @functools.cached_property
    def file(self) -> Path | None:
        """The path of a file that can be read again and again; None for a pipe and standard input."""
        if self.path == STDIN:
            return None
        with self._naming():
            path = Path(self.path)
            return path if stat.S_ISREG(path.stat().st_mode) or path.is_dir() else None

    @functools.cached_property
    def is_packed(self) -> bool:
        """Whether it is unpacked as it is read."""
        with self._naming(), self._raw() as raw:
            return raw.read(4).startswith((GZIP, ZSTANDARD))

    @property
    def size(self) -> int:
        """Bytes, packed as they are."""
        with self._naming():
            if self.file is not None:
                return self.file.stat().st_size
            place = self._held.tell()
            size = self._held.seek(0, io.SEEK_END)
            self._held.seek(place)  # Where a stream may be.
            return size

    @contextlib.contextmanager
    def open(self) -> Iterator[Stream]:
        """Yield all of it, from the start; one stream at a time.

        Raises:
            InputError: for one that cannot be read.
            UsageError: where what unpacks it is not installed.
        """
        with contextlib.ExitStack() as stack:
            with self._naming():
                raw = stack.enter_context(self._raw())
                start = raw.read(4)
                raw.seek(0)
            unpacked, form = _unpacked(raw, start, self.name)
            yield Stream(self, raw, unpacked, form)

    def read(self) -> bytes:
        """Return all of it; raise as ``open`` does."""
        with self.open() as stream:
            return stream.rest()

    @contextlib.contextmanager
    def _raw(self) -> Iterator[BinaryIO]:
        if self.file is None:
            self._held.seek(0)
            yield self._held
        else:
            with self.file.open("rb", buffering=0) as raw:
                yield cast(BinaryIO, raw)

    @functools.cached_property
    def _held(self) -> BinaryIO:
        """What can be read once only, to be read again."""
        with contextlib.nullcontext(sys.stdin.buffer) if self.path == STDIN else Path(self.path).open("rb") as pipe:
            held = _kept(pipe)
        weakref.finalize(self, held.close)
        return held

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except MaskcliError:  # Which is named already, and may be a ValueError too.
            raise
        except (OSError, ValueError, AttributeError) as error:  # A closed standard input is None.
            raise _unread(self.name, f"a file of {self.what}", error, self.hint) from None


def _kept(pipe: BinaryIO) -> BinaryIO:
    """Return all that a pipe has, in memory or in a file without a name."""
    start = _up_to(pipe, IN_MEMORY)
    if len(start) < IN_MEMORY:
        return io.BytesIO(start)
    import shutil
    import tempfile

    held = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 - it goes when nobody holds it
    held.write(start)
    shutil.copyfileobj(pipe, held, PIECE)
    return held


def _up_to(pipe: BinaryIO, size: int) -> bytes:
    pieces: list[bytes] = []
    while size > 0 and (piece := pipe.read(min(size, PIECE))):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _unpacked(raw: BinaryIO, start: bytes, name: str) -> tuple[BinaryIO, str]:
    if start.startswith(GZIP):
        import gzip

        return cast(BinaryIO, gzip.GzipFile(fileobj=raw)), "gzip"
    if start.startswith(ZSTANDARD):
        pa = import_pyarrow(name)
        return pa.input_stream(_Unclosed(raw), compression="zstd"), "Zstandard"
    return raw, ""


class _Unclosed:
    """What pyarrow may read and close, while the file stays open: a pipe that is held is read again."""

    closed = False

    def __init__(self, raw: BinaryIO) -> None:
        self.read, self.seek, self.tell = raw.read, raw.seek, raw.tell

    def close(self) -> None:
        """Do nothing."""


def import_pyarrow(where: str) -> Any:
    """Return the module.

    Raises:
        UsageError: where the extra ``maskcli[parquet]`` is not installed.
    """
    try:
        import pyarrow as pa
    except ImportError:
        raise UsageError(
            where=where,
            expected="pyarrow, to read this file",
            received="an environment without it",
            fix="pip install 'maskcli[parquet]'",
        ) from None
    return pa


def display_name(path: str) -> str:
    """Return the name of an input in messages and documents, of which every character can be printed."""
    return "<stdin>" if path == STDIN else os.fsencode(path).decode("utf-8", "replace")


def _unread(where: str, expected: str, error: OSError | ValueError | AttributeError, fix: str) -> InputError:
    return InputError(where=where, expected=expected, received=explain_os_error(error), fix=fix)


def explain_os_error(error: OSError | ValueError | AttributeError) -> str:
    """Return why a file could not be read or written, for a message."""
    if isinstance(error, AttributeError):
        return "a closed stream"
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, IsADirectoryError):
        return "a directory"
    return getattr(error, "strerror", None) or str(error)
