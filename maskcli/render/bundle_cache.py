"""A copy of the scripts of a page, so that they are bundled once for each version and user.

Bundling takes more than a second. A page runs the scripts, so the copy is used only if no other user can have written
it: the folder and the file belong to the user, and no one else may write there. In any doubt, and after any error,
scripts are bundled again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

DIGEST = 64
"""Characters of the checksum at the start of a copy, which shows damage."""


def load_or_bundle(version: str, bundle: Callable[[], str]) -> str:
    """Return the scripts of a version of the bundler: the user's copy of them, or those of ``bundle``, then copied."""
    path = _find_path(version)
    if path is None:
        return bundle()
    with contextlib.suppress(OSError, ValueError):
        return _read_copy(path)
    scripts = bundle()
    with contextlib.suppress(OSError):
        _write_copy(path, scripts)
    return scripts


def _find_path(version: str) -> Path | None:
    """Return the path of a copy; None without owners of files, or for a version that is no file name."""
    if not hasattr(os, "getuid") or not re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z.+-]{0,40}", version):
        return None
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        base = Path("~/.cache")
    try:
        return base.expanduser() / "maskcli" / f"bundle-{version}.js"
    except RuntimeError:  # There is no home.
        return None


def _read_copy(path: Path) -> str:
    """Return the scripts; raise OSError or ValueError for a copy that is missing, damaged, or open to others."""
    _check_private(os.lstat(path.parent))
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), encoding="utf-8", newline="") as file:
        _check_private(os.fstat(file.fileno()))
        text = file.read()
    scripts = text[DIGEST:]
    if hashlib.sha256(scripts.encode()).hexdigest() != text[:DIGEST]:
        raise ValueError("a damaged copy")
    return scripts


def _check_private(status: os.stat_result) -> None:
    """Raise OSError for a file or folder of another user, or one that others may write to."""
    is_plain = stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode)
    if not is_plain or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise PermissionError


def _write_copy(path: Path, scripts: str) -> None:
    """Write a copy atomically, in a folder that only the user may enter."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_private(os.lstat(path.parent))
    descriptor, name = tempfile.mkstemp(dir=path.parent)  # Only the user may read it.
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(hashlib.sha256(scripts.encode()).hexdigest() + scripts)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
