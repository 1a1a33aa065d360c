"""Files of object stores and web servers, read by fsspec: ``s3://``, ``gs://``, ``hf://``, ``https://`` and others."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, BinaryIO, TypeVar, cast

from maskcli.errors import InputError, UsageError, suggest_install, summarize_error

T = TypeVar("T")
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
"""Two letters or more: one is the drive of a Windows path."""
FIX = "Check the address, the credentials in the environment, and that the package of this protocol is installed."


def is_url(path: str) -> bool:
    """Return whether a path is an address that fsspec opens."""
    return _URL.match(path) is not None


class RemoteFile:
    """A file of fsspec, whose errors are OSErrors: each protocol has kinds of its own."""

    def __init__(self, path: str) -> None:
        """Open the file; raises InputError if that fails."""
        self._file = _attempt(path, lambda filesystem, name: filesystem.open(name, "rb"))
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes."""
        try:
            return cast(bytes, self._file.read(size))
        except Exception as error:
            raise OSError(summarize_error(error)) from error

    def seek(self, place: int, whence: int = 0) -> int:
        """Go to a place and return it."""
        return cast(int, self._file.seek(place, whence))

    def tell(self) -> int:
        """Return the place."""
        return cast(int, self._file.tell())

    def close(self) -> None:
        """Close the file."""
        self.closed = True
        self._file.close()

    def __enter__(self) -> BinaryIO:
        """Return the file."""
        return cast(BinaryIO, self)

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()


def measure_url(path: str) -> int:
    """Return the bytes of a file; raises InputError."""
    return int(_attempt(path, lambda filesystem, name: filesystem.size(name)) or 0)


def list_urls(path: str, has_format: Callable[[str], bool]) -> tuple[list[str], list[str]]:
    """Return the files of a pattern or a directory, in name order, and those of a directory without a known suffix.

    Any other address is a file itself.
    """

    def list_all(filesystem: Any, name: str) -> tuple[list[str], list[str]]:
        spell = filesystem.unstrip_protocol
        if any(sign in name for sign in "*?["):
            return sorted(spell(file) for file in filesystem.glob(name) if filesystem.isfile(file)), []
        if path.startswith(("http://", "https://")) or not filesystem.isdir(name):
            return [path], []
        entries = filesystem.ls(name, detail=True)
        files = sorted(spell(entry["name"]) for entry in entries if entry["type"] == "file")
        visible = [file for file in files if not file.rpartition("/")[2].startswith(".")]
        return [file for file in visible if has_format(file)], [file for file in visible if not has_format(file)]

    return _attempt(path, list_all)


def _attempt(path: str, use: Callable[[Any, str], T]) -> T:
    """Return the result of a function of the file system and the name in it; raise InputError for its errors."""
    filesystem, name = _open_filesystem(path)
    try:
        return use(filesystem, name)
    except Exception as error:
        received = "an address without a file" if isinstance(error, FileNotFoundError) else summarize_error(error)
        raise InputError(
            where=path, expected="a file or a directory that can be read", received=received, fix=FIX
        ) from None


def _open_filesystem(path: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise UsageError(
            where=path,
            expected="fsspec, which reads such addresses",
            received="a Python without fsspec",
            fix=suggest_install("remote"),
        ) from None
    try:
        filesystem, name = url_to_fs(path)
    except (ImportError, ValueError) as error:
        # The message of fsspec names the package of the protocol, such as s3fs.
        raise UsageError(
            where=path,
            expected="an address of a protocol whose package is installed",
            received=summarize_error(error),
            fix="Install that package with pip.",
        ) from None
    except Exception as error:
        raise InputError(where=path, expected="an address", received=summarize_error(error), fix=FIX) from None
    return filesystem, name
