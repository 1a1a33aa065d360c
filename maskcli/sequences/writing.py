"""Write files and standard output: completely or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from maskcli.errors import InputError
from maskcli.sequences.sources import PACKED, PIECE, display_name, explain_os_error, import_pyarrow
from maskcli.sequences.stdout import STDOUT, emit

try:
    import fcntl
except ImportError:  # Windows has no such locks, and refuses to remove a file that is in use.
    fcntl = None  # type: ignore[assignment]

TEMPORARY = ".part"
"""The suffix of temporary files."""
RANDOM = 4
"""Random bytes in the name of a temporary file."""


def split_suffixes(path: str) -> tuple[str, str]:
    """Return the suffix of the format, and that of a compression after it; lower case, empty if there is none."""
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    packing = suffixes.pop() if suffixes and suffixes[-1] in PACKED else ""
    return (suffixes[-1] if suffixes else ""), packing


def write_file(path: str, parts: Iterable[bytes]) -> None:
    """Write a file atomically, part by part, compressed if its suffix is that of a compression.

    Raises:
        InputError: if the file cannot be written.
        UsageError: if the package that compresses it is not installed.
    """
    with replace_file(path) as raw, open_packed(raw, path) as out:
        for part in parts:
            out.write(part)


@contextlib.contextmanager
def open_packed(raw: BinaryIO, path: str) -> Iterator[BinaryIO]:
    """Yield a file whose content reaches ``raw`` compressed, if the suffix of ``path`` is that of a compression."""
    _, packing = split_suffixes(path)
    if packing == ".gz":
        import gzip

        # Without the name and the time, equal content has equal bytes.
        with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed:
            yield cast(BinaryIO, packed)
    elif packing:
        pa = import_pyarrow(display_name(path))
        # Closing a stream of pyarrow closes the file that it writes to, which is renamed later.
        with pa.CompressedOutputStream(pa.PythonFile(_Unclosable(raw), mode="w"), "zstd") as packed:
            yield packed
    else:
        yield raw


class _Unclosable:
    """A file for pyarrow, which stays open when pyarrow closes it."""

    closed = False

    def __init__(self, raw: BinaryIO) -> None:
        self.write, self.flush = raw.write, raw.flush

    def close(self) -> None:
        """Do nothing."""


@contextlib.contextmanager
def _open_stdout() -> Iterator[BinaryIO]:
    """Yield a temporary file that is copied to standard output in the end; after an error nothing is printed."""
    import tempfile

    with tempfile.TemporaryFile() as out:
        yield cast(BinaryIO, out)
        out.seek(0)
        emit(iter(lambda: out.read(PIECE), b""))


@contextlib.contextmanager
def replace_file(path: str, cleans: bool = True) -> Iterator[BinaryIO]:
    """Yield a file that replaces the target when the context ends; ``-`` is standard output.

    After an error, the target is unchanged and no temporary file remains.

    Args:
        path: the target.
        cleans: whether temporary files of dead processes are removed first, which reads the whole directory.

    Raises:
        InputError: if the file cannot be written.
    """
    if path == STDOUT:
        with _open_stdout() as out:
            yield out
        return
    opened = False
    try:
        target = resolve_target(path)
        is_special = target.exists() and not target.is_file()
        with _open_special(target) if is_special else _open_temporary(target, cleans) as out:
            opened = True
            yield out
    except (OSError, ValueError) as error:
        if opened and not isinstance(error, OSError):
            raise  # It comes from the caller's code.
        missing = isinstance(error, FileNotFoundError)
        raise InputError(
            where=display_name(path),
            expected="a path that can be written to",
            received="a directory that does not exist" if missing else explain_os_error(error),
            fix="Check that the directory exists, is writable and has free space.",
        ) from None


def resolve_target(path: str) -> Path:
    """Return the file that a path leads to; raise OSError for links that lead in a circle."""
    try:
        return Path(path).resolve()
    except RuntimeError:  # Before Python 3.13.
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None


@contextlib.contextmanager
def _open_temporary(target: Path, cleans: bool) -> Iterator[BinaryIO]:
    """Yield a temporary file in the directory of the target, and rename it to the target in the end."""
    if cleans:
        remove_dead_temporaries(target.parent, [target.name])
    # The target may be private. Until the temporary file has the target's mode, only its owner may read it.
    temporary, file = _create_temporary(target, 0o600 if target.exists() else 0o666)
    try:
        with file:
            yield file
            file.flush()
            if target.exists():
                _copy_permissions(target, temporary)
            if fcntl is None:
                file.close()  # Windows renames no open file.
            temporary.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    finally:
        _unfinished.discard(temporary)


_unfinished: set[Path] = set()
"""The temporary files that this process is writing."""


def remove_temporaries() -> None:
    """Remove the temporary files that this process is writing, because it is about to end."""
    for temporary in tuple(_unfinished):
        with contextlib.suppress(OSError):
            temporary.unlink()


def _create_temporary(target: Path, mode: int) -> tuple[Path, BinaryIO]:
    """Create a temporary file for a target, and lock it for as long as it is open."""
    while True:
        temporary = target.with_name(f"{_make_prefix(target)}{secrets.token_hex(RANDOM)}{TEMPORARY}")
        _unfinished.add(temporary)
        try:
            descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), mode)
        except BaseException as error:
            _unfinished.discard(temporary)
            if isinstance(error, FileExistsError):
                continue  # Another process drew the same number.
            raise
        file = os.fdopen(descriptor, "w+b")
        if fcntl is None:
            return temporary, file
        with contextlib.suppress(OSError):  # Some network file systems have no locks; there, dead files stay.
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return temporary, file
        # Between its creation and its lock, another process took it for the file of a dead one.
        file.close()
        _unfinished.discard(temporary)


def _make_prefix(target: Path) -> str:
    """Return the start of the names of a target's temporary files; different targets have different ones."""
    digest = hashlib.blake2s(os.fsencode(target.name), digest_size=6).hexdigest()
    # A name may have 255 bytes, and a character up to four.
    return f".{target.name[:40]}.{digest}."


def remove_dead_temporaries(folder: Path, names: Iterable[str]) -> None:
    """Remove the temporary files whose processes were killed, of targets with these names in a directory."""
    if fcntl is None:
        return
    prefixes = {_make_prefix(folder / name) for name in names}
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            if entry.name.endswith(TEMPORARY) and entry.name[: -len(TEMPORARY) - 2 * RANDOM] in prefixes:
                _remove_if_dead(Path(entry.path))


@contextlib.contextmanager
def lock_directory(folder: Path) -> Iterator[None]:
    """Hold the lock of a directory, so that only one process of maskcli writes shards into it.

    Raises:
        InputError: if another process holds it.
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        with contextlib.suppress(OSError):  # Some network file systems have no locks.
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(
                    where=display_name(str(folder)),
                    expected="a directory that no other process writes shards into",
                    received="one that another maskcli is writing",
                    fix="Wait until it has ended, or choose another directory.",
                ) from None
        yield
    finally:
        os.close(descriptor)


def _remove_if_dead(temporary: Path) -> None:
    """Remove a temporary file that no process has locked: locks end with their process, however it ends."""
    with contextlib.suppress(OSError), temporary.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        temporary.unlink()


def _copy_permissions(target: Path, temporary: Path) -> None:
    """Give the temporary file the group and the mode of the target."""
    before = target.stat()
    with contextlib.suppress(OSError):
        os.chown(temporary, -1, before.st_gid)
    # Only the target's group may get the permissions of a group, and changing the group may have failed.
    allowed = 0o777 if temporary.stat().st_gid == before.st_gid else 0o707
    temporary.chmod(before.st_mode & allowed)


@contextlib.contextmanager
def _open_special(target: Path) -> Iterator[BinaryIO]:
    """Yield a temporary file that is copied to a device or a pipe in the end; raise OSError for a directory."""
    import shutil
    import tempfile

    with target.open("wb") as device, tempfile.TemporaryFile() as out:
        yield cast(BinaryIO, out)
        out.seek(0)
        shutil.copyfileobj(out, device)
