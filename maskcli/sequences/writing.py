"""Write files atomically: completely or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from maskcli.errors import InputError
from maskcli.sequences.sources import display_name, explain_os_error


def write_file(path: str, data: bytes) -> None:
    """Write a file atomically.

    Raises:
        InputError: if the file cannot be written.
    """
    with replacing(path) as out:
        out.write(data)


@contextlib.contextmanager
def replacing(path: str) -> Iterator[BinaryIO]:
    """Yield a file that replaces the target when the context ends.

    After an error, the target is unchanged and no temporary file remains.

    Raises:
        InputError: if the file cannot be written.
    """
    opened = False
    try:
        target = Path(path).resolve()
        is_special = target.exists() and not target.is_file()
        with _open_special(target) if is_special else _open_temporary(target) as out:
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


@contextlib.contextmanager
def _open_temporary(target: Path) -> Iterator[BinaryIO]:
    """Yield a temporary file in the directory of the target, and rename it to the target in the end."""
    temporary = target.with_name(f".{target.name[:50]}.{os.getpid()}")  # A name may have at most 255 bytes.
    # The target may be private. Until the temporary file has the target's mode, only its owner may read it.
    mode = 0o600 if target.exists() else 0o666
    try:
        with open(temporary, "xb", opener=lambda path, flags: os.open(path, flags, mode)) as out:
            yield out
        if target.exists():
            _share_like(target, temporary)
        temporary.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _share_like(target: Path, temporary: Path) -> None:
    """Give a file the group and the mode of the one that it replaces."""
    before = target.stat()
    with contextlib.suppress(OSError):
        os.chown(temporary, -1, before.st_gid)
    # Another group must not read what only the target's group may.
    groups = 0o777 if temporary.stat().st_gid == before.st_gid else 0o707
    temporary.chmod(before.st_mode & groups)


@contextlib.contextmanager
def _open_special(target: Path) -> Iterator[BinaryIO]:
    """Yield a temporary file that is copied to a device or a pipe in the end; raise OSError for a directory."""
    import shutil
    import tempfile

    with target.open("wb") as device, tempfile.TemporaryFile() as out:
        yield cast(BinaryIO, out)
        out.seek(0)
        shutil.copyfileobj(out, device)
