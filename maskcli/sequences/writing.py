"""Files written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from maskcli.errors import InputError
from maskcli.sequences.sources import display_name, reason


def write_file(path: str, data: bytes) -> None:
    """Write a file whole or not at all: beside the target first, then renamed onto it.

    Raises:
        InputError: when it cannot be written.
    """
    with replacing(path) as out:
        out.write(data)


@contextlib.contextmanager
def replacing(path: str) -> Iterator[BinaryIO]:
    """Yield a file, which takes the place of the target once it is whole.

    Raises:
        InputError: when it cannot be written; nothing is left of it then, nor after any other error.
    """
    opened = False
    try:
        target = Path(path).resolve()
        with _special(target) if target.exists() and not target.is_file() else _beside(target) as out:
            opened = True
            yield out
    except (OSError, ValueError) as error:
        if opened and not isinstance(error, OSError):
            raise
        raise InputError(
            where=display_name(path),
            expected="a place to write to",
            received=reason(error),
            fix="Check that the directory exists, may be written to and has room.",
        ) from None


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[BinaryIO]:
    temporary = target.with_name(f".{target.name[:50]}.{os.getpid()}")  # A name may have 255 bytes.
    # Until it has the target's mode, only its owner may read it: the target may be private.
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
def _special(target: Path) -> Iterator[BinaryIO]:
    """Yield a file for a device or a pipe, which cannot be renamed onto; a directory says so here."""
    import shutil
    import tempfile

    with target.open("wb") as device, tempfile.TemporaryFile() as out:
        yield cast(BinaryIO, out)
        out.seek(0)
        shutil.copyfileobj(out, device)
