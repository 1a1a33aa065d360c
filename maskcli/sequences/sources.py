"""Files and standard input as uncompressed streams, each of which can be read several times."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import stat
import sys
import weakref
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

from maskcli.errors import InputError, MaskcliError, UsageError, suggest_install
from maskcli.sequences.bounds import check_memory
from maskcli.sequences.remote import RemoteFile, is_url, measure_url

if TYPE_CHECKING:
    from pathlib import Path

STDIN = "-"
READING = "Check the name. `-` reads standard input; --sample uses the built-in sample."
PACKED = (".gz", ".zst")
BOM = b"\xef\xbb\xbf"
GZIP, ZSTANDARD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_MODEL_SPEC = re.compile(r".*\.py:.*|[\w.]+:\w+", re.DOTALL)
"""Text that names a model rather than a file: ``train.py:name`` or ``package.module:name``."""
IN_MEMORY = 2**24
"""Bytes of standard input or of a pipe that are kept in memory; with more, all go to a temporary file."""
PIECE = 2**20
"""Bytes that are read at once."""


MISSING = "a path that does not exist"
"""The received value of an error about a file that is not there."""


def set_folder(folder: str) -> None:
    """Let relative paths start from a directory, as in the process of the user; a worker may run in another one."""
    from pathlib import Path

    _folder[:] = [folder] if folder != str(Path.cwd()) else []


_folder: list[str] = []
"""The directory that relative paths start from, if it is not that of the process."""


class RowRange(NamedTuple):
    """Consecutive rows of a file, or groups of rows, as the file is divided.

    Attributes:
        start: the first of them.
        stop: the last of them plus 1.
        first_row: rows of the file before them.
    """

    start: int
    stop: int
    first_row: int


class Stream:
    """The uncompressed bytes of a source, in order.

    Attributes:
        start: the offset of the first byte in the uncompressed content.
    """

    def __init__(self, source: Source, raw: BinaryIO, unpacked: BinaryIO, compression: str, start: int = 0) -> None:
        """Begin at the start.

        Args:
            source: for its name, and to record how far it was read.
            raw: the file itself.
            unpacked: its uncompressed content.
            compression: its name for messages; empty if the file is not compressed.
            start: the offset of the first byte.
        """
        self._source, self._raw, self._unpacked, self._compression = source, raw, unpacked, compression
        self.start = start
        self._peeked = b""

    @property
    def name(self) -> str:
        """The name of the source in messages."""
        return self._source.name

    def peek(self, size: int) -> bytes:
        """Return the next ``size`` bytes, or fewer at the end, without consuming them."""
        check_memory(size, "a first line", self._source.name)
        while len(self._peeked) < size and (piece := self._read_unpacked(size - len(self._peeked))):
            self._peeked += piece
        return self._peeked[:size]

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes, none at the end.

        Raises:
            InputError: for a file that is damaged, or can no longer be read.
        """
        if not self._peeked:
            return self._read_unpacked(size)
        self.peek(size)
        data, self._peeked = self._peeked[:size], self._peeked[size:]
        return data

    def read_all(self, expansion: int = 1) -> bytes:
        """Return all remaining bytes; raises like ``read``, also for more than one input may take.

        ``expansion`` is the memory that a byte will take when its content is read.
        """
        pieces, size = [self._peeked], len(self._peeked)
        while piece := self._read_unpacked(PIECE):
            pieces.append(piece)
            size += len(piece)
            check_memory(size * expansion, f"all {self._content}", self._source.name)
        return b"".join(pieces)

    @property
    def _content(self) -> str:
        return f"unpacked {self._compression}" if self._compression else "content"

    def _read_unpacked(self, size: int) -> bytes:
        try:
            data = bytes(self._unpacked.read(size))
            self._source.place = self._raw.tell()
            return data
        except (OSError, EOFError, ValueError, zlib.error) as error:
            if not self._compression and isinstance(error, OSError | ValueError):
                raise _make_read_error(self._source.name, "a file that can be read", error, READING) from None
            raise InputError(
                where=self._source.name,
                expected=f"a whole {self._compression} file",
                received=str(error).splitlines()[0].lower(),
                fix="Fetch or compress it again.",
            ) from None


class Source:
    """A file, or standard input.

    Attributes:
        path: ``-`` is standard input.
        what: its expected content, for messages.
        hint: the alternatives to a file, for messages.
        place: bytes of the file, compressed or not, that the last stream has read.
        part: the rows that are read, of a format that can skip others; None for all of them.
    """

    part: RowRange | None = None

    def __init__(self, path: str, what: str = "sequences", hint: str = READING) -> None:
        """Keep the path; the file is not opened yet."""
        self.path: str = path
        self.what: str = what
        self.hint: str = hint
        self.place = 0

    @property
    def name(self) -> str:
        """The name of the file in messages."""
        return display_name(self.path)

    @property
    def is_remote(self) -> bool:
        """Whether the path is an address such as ``s3://bucket/a.jsonl``, which any process can read."""
        path = os.fspath(self.path)
        return "://" in path and is_url(path)

    @functools.cached_property
    def file(self) -> Path | None:
        """The path of a local file that can be read several times; None for a pipe, standard input and addresses."""
        if self.path == STDIN or self.is_remote:
            return None
        from pathlib import Path  # Loaded here, because ``--help`` reads no files.

        with self._naming():
            path = Path(*_folder, self.path)
            return path if stat.S_ISREG(path.stat().st_mode) or path.is_dir() else None

    def check_exists(self) -> None:
        """Raise InputError for a path that does not exist, without reading it."""
        _ = self.size if self.is_remote else self.file

    @functools.cached_property
    def is_packed(self) -> bool:
        """Whether the file is compressed."""
        with self._naming(), self._open_raw() as raw:
            return raw.read(4).startswith((GZIP, ZSTANDARD))

    @property
    def size(self) -> int:
        """Bytes of the file, compressed or not."""
        if self.is_remote:
            return measure_url(self.path)
        with self._naming():
            if self.file is not None:
                return self.file.stat().st_size
            place = self._buffer.tell()
            size = self._buffer.seek(0, io.SEEK_END)
            self._buffer.seek(place)  # A stream may be reading there.
            return size

    @contextlib.contextmanager
    def open(self) -> Iterator[Stream]:
        """Yield the uncompressed content from its start; only one stream may be open at a time.

        Raises:
            InputError: for a file that cannot be read.
            UsageError: for a compressed file if the package that reads it is not installed.
        """
        with contextlib.ExitStack() as stack:
            with self._naming():
                raw = stack.enter_context(self._open_raw())
                start = raw.read(4)
                raw.seek(0)
            yield Stream(self, raw, *_unpack(raw, start, self.name))

    def read(self, expansion: int = 1) -> bytes:
        """Return all of the content; raises like ``open`` and ``Stream.read_all``."""
        with self.open() as stream:
            return stream.read_all(expansion)

    def compute_checksum(self) -> str:
        """Return the SHA-256 of the file as it is stored, in hexadecimal digits."""
        import hashlib

        with self._naming(), self._open_raw() as raw:
            if not self.is_remote:
                return hashlib.file_digest(cast(Any, raw), "sha256").hexdigest()
            checksum = hashlib.sha256()
            while piece := raw.read(PIECE):
                checksum.update(piece)
            return checksum.hexdigest()

    @contextlib.contextmanager
    def _open_raw(self) -> Iterator[BinaryIO]:
        if self.is_remote:
            with RemoteFile(self.path) as remote:
                yield remote
        elif self.file is None:
            self._buffer.seek(0)
            yield self._buffer
        else:
            with self.file.open("rb", buffering=0) as raw:
                yield cast(BinaryIO, raw)

    @functools.cached_property
    def _buffer(self) -> BinaryIO:
        """All bytes of standard input or of a pipe, which can be read only once."""
        from pathlib import Path

        with contextlib.nullcontext(sys.stdin.buffer) if self.path == STDIN else Path(self.path).open("rb") as pipe:
            _refuse_device(pipe, self.name)
            buffer = _buffer_pipe(pipe)
        weakref.finalize(self, buffer.close)
        return buffer

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        """Convert errors of the operating system to InputError with the name of the file."""
        try:
            yield
        except MaskcliError:  # It has a name already, and may be a ValueError, too.
            raise
        except (OSError, ValueError, AttributeError) as error:  # AttributeError: a closed standard input is None.
            is_spec = isinstance(error, FileNotFoundError) and _names_model(self.path)
            fix = f"If it is the model: --model {self.name}, and a FILE with the data." if is_spec else self.hint
            raise _make_read_error(self.name, f"a file of {self.what}", error, fix) from None


def _names_model(path: str) -> bool:
    """Return whether text names a model: ``train.py:name``, ``package.module:name``, or ``models.name``."""
    from pathlib import Path

    script = Path(*path.split(".")[:-1]).with_suffix(".py") if re.fullmatch(r"\w+(\.\w+)+", path) else None
    return _MODEL_SPEC.fullmatch(path) is not None or (script is not None and script.is_file())


def _refuse_device(pipe: BinaryIO, name: str) -> None:
    """Raise InputError for a device, whose content may be endless; a terminal and the null device have an end."""
    try:
        status = os.fstat(pipe.fileno())
    except OSError:  # Standard input is not a file, as in tests and notebooks.
        return
    is_device = stat.S_ISBLK(status.st_mode) or (stat.S_ISCHR(status.st_mode) and not pipe.isatty())
    if is_device and status.st_rdev != os.stat(os.devnull).st_rdev:  # noqa: PTH116 - pathlib takes long to import
        raise InputError(
            where=name,
            expected="a file, a pipe or a terminal",
            received="a device",
            fix="Copy the part of it that is meant into a file.",
        )


def _buffer_pipe(pipe: BinaryIO) -> BinaryIO:
    """Return all bytes of a pipe, in memory or in a temporary file."""
    start = _read_up_to(pipe, IN_MEMORY)
    if len(start) < IN_MEMORY:
        return io.BytesIO(start)
    import shutil
    import tempfile

    file = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 - Source closes it
    file.write(start)
    shutil.copyfileobj(pipe, file, PIECE)
    return file


def _read_up_to(pipe: BinaryIO, size: int) -> bytes:
    """Return ``size`` bytes, or fewer at the end; a single ``read`` of a pipe may return fewer before."""
    pieces: list[bytes] = []
    while size > 0 and (piece := pipe.read(min(size, PIECE))):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _unpack(raw: BinaryIO, start: bytes, name: str) -> tuple[BinaryIO, str]:
    """Return the uncompressed content and the name of the compression, which ``start`` of the file shows."""
    if start.startswith(GZIP):
        import gzip

        return cast(BinaryIO, gzip.GzipFile(fileobj=raw)), "gzip"
    if start.startswith(ZSTANDARD):
        pa = import_pyarrow(name)
        return pa.input_stream(_Unclosed(raw), compression="zstd"), "Zstandard"
    return raw, ""


class _Unclosed:
    """A file that pyarrow cannot close, because the bytes of a pipe are read several times."""

    closed = False

    def __init__(self, raw: BinaryIO) -> None:
        self.read, self.seek, self.tell = raw.read, raw.seek, raw.tell

    def close(self) -> None:
        """Do nothing."""


def import_pyarrow(where: str) -> Any:
    """Return the module ``pyarrow``.

    Raises:
        UsageError: if the extra ``maskcli[parquet]`` is not installed.
    """
    try:
        import pyarrow as pa
    except ImportError:
        raise UsageError(
            where=where,
            expected="pyarrow, which reads and writes such files",
            received="a Python without pyarrow",
            fix=suggest_install("parquet"),
        ) from None
    return pa


def display_name(path: str) -> str:
    """Return the printable name of an input in messages and documents."""
    return "<stdin>" if path == STDIN else os.fsencode(path).decode("utf-8", "replace")


def _make_read_error(where: str, expected: str, error: OSError | ValueError | AttributeError, fix: str) -> InputError:
    return InputError(where=where, expected=expected, received=explain_os_error(error), fix=fix)


def make_shorter_error(name: str) -> InputError:
    """Return the error of a file that was cut while it is read."""
    return InputError(
        where=name,
        expected="a file that stays the same while it is read",
        received="one that has become shorter",
        fix="Wait until the program that writes it has ended, and run the command again.",
    )


def explain_os_error(error: OSError | ValueError | AttributeError) -> str:
    """Return why a file could not be read or written, for a message."""
    if isinstance(error, AttributeError):
        return "a closed stream"
    if isinstance(error, FileNotFoundError):
        return MISSING
    if isinstance(error, IsADirectoryError):
        return "a directory"
    return getattr(error, "strerror", None) or str(error)
