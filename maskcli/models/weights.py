"""Check that the weights of a model file are in that file, and no larger than it can hold.

HDF5 can keep a dataset in another file: through an external link, as external storage or as a virtual dataset. A model
file that does so shows the content of any file of the user as weights. Keras never writes such files; what it does with
them depends on its release.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

import numpy as np

from maskcli.errors import ModelError
from maskcli.models.files import check_size, damaged, foreign_bytes, unreadable

_DEEPEST = 100
"""Levels of groups, at most; a nested model takes two."""


def check_weights(spec: str, path: str) -> None:
    """Check the weights in a .keras or .h5 file.

    Raises:
        ModelError: for weights outside of the file, weights that it cannot hold, and a damaged file.
    """
    try:
        if path.endswith(".keras"):  # As Keras does: an HDF5 file can be a zip file, too.
            with zipfile.ZipFile(path) as archive:
                _check_archive(spec, archive)
        else:
            _check_hdf5(spec, path)
    except ModelError:
        raise
    except Exception as error:  # A damaged zip or HDF5 file raises a dozen kinds.
        raise damaged(spec, error) from error


def _check_hdf5(spec: str, source: str | BinaryIO) -> None:
    """Check every link and dataset of an HDF5 file."""
    import h5py  # type: ignore[import-untyped]

    with h5py.File(source, "r") as file:
        pending, visited = [("", file["/"])], set()
        while pending:
            place, group = pending.pop()
            for name, kind, address in _links(group):
                path = f"{place}/{name.decode('utf-8', 'replace')}"
                if kind != h5py.h5l.TYPE_HARD:
                    raise foreign_bytes(spec, f"{_described_link(group, name)} at {path}")
                if address in visited:  # Hard links can form a circle.
                    continue
                item = group[name]
                visited.add(h5py.h5o.get_info(item.id).addr)
                if isinstance(item, h5py.Dataset):
                    _check_dataset(spec, path, item)
                elif isinstance(item, h5py.Group):
                    _check_depth(spec, path)
                    pending.append((path, item))


def _links(group: Any) -> list[tuple[bytes, int, int]]:
    """Return the name, the kind and the address of every link of a group.

    The native order visits all links that can be opened by name. The other orders, and h5py's own loop over a group,
    believe the number of links that the file states.
    """
    import h5py

    links: list[tuple[bytes, int, int]] = []
    group.id.links.iterate(
        lambda name, link: links.append((name, link.type, link.u)), info=True, order=h5py.h5.ITER_NATIVE
    )
    return links


def _described_link(group: Any, name: bytes) -> str:
    import h5py

    try:
        link = group.get(name, getlink=True)
    except TypeError:
        return "a link of an unknown kind"
    if isinstance(link, h5py.ExternalLink):
        return f"a link to {link.path} in the file {link.filename}"
    return f"a soft link to {link.path}"


def _check_depth(spec: str, path: str) -> None:
    """Raise ModelError for a group so deep that the paths of all groups would not fit into the memory."""
    if path.count("/") > _DEEPEST:
        raise unreadable(spec, f"weights in more than {_DEEPEST} nested groups", "Save the model again.")


def _check_dataset(spec: str, path: str, dataset: Any) -> None:
    if dataset.external:
        raise foreign_bytes(spec, f"a dataset that keeps its bytes in the file {dataset.external[0][0]} at {path}")
    if dataset.is_virtual:
        raise foreign_bytes(spec, f"a virtual dataset at {path}")
    # The file may state that a dataset occupies more bytes than there are.
    stored = min(dataset.id.get_storage_size(), dataset.file.id.get_filesize())
    check_size(spec, path, (dataset.size or 0) * dataset.dtype.itemsize, stored)


def _check_archive(spec: str, archive: zipfile.ZipFile) -> None:
    """Check the weights among the members of a .keras file."""
    for member in archive.infolist():
        if member.filename.endswith((".h5", ".hdf5")):
            with _seekable(archive, member) as source:
                _check_hdf5(spec, source)
        elif member.filename.endswith(".npz"):
            with _seekable(archive, member) as source:
                _check_npz(spec, member.filename, source)


def _check_npz(spec: str, place: str, source: BinaryIO) -> None:
    """Compare the shape that an array declares with the bytes it has."""
    with zipfile.ZipFile(source) as arrays:
        for member in arrays.infolist():
            check_size(spec, f"{member.filename} in {place}", member.file_size, member.compress_size)
            with arrays.open(member) as file:
                version = np.lib.format.read_magic(file)
                read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
                if version not in read_header:
                    raise ValueError(f"{member.filename} has an unknown version of the .npy format")
                shape, _, dtype = read_header[version](file)
            if dtype.hasobject:
                raise foreign_bytes(spec, f"{member.filename} in {place}, which is pickled Python")
            declared = int(np.prod(shape, dtype=object)) * dtype.itemsize
            check_size(spec, f"{member.filename} in {place}", declared, member.compress_size)


@contextlib.contextmanager
def _seekable(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[BinaryIO]:
    """Open a member such that seeking is cheap: Keras stores members uncompressed, others are unpacked on disk."""
    if member.compress_type == zipfile.ZIP_STORED and not member.flag_bits & 1:
        with archive.open(member):  # Checks the member's local header.
            yield cast(BinaryIO, io.BufferedReader(_Window(archive, member)))
        return
    with archive.open(member) as source, tempfile.TemporaryFile() as unpacked:
        shutil.copyfileobj(source, unpacked)
        unpacked.seek(0)
        yield cast(BinaryIO, unpacked)


class _Window(io.RawIOBase):
    """The bytes of a stored member, read from the archive's file."""

    def __init__(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
        """Find the first byte: a local header has 30 bytes, a name and an extra field."""
        self._file = cast(BinaryIO, archive.fp)
        self._file.seek(member.header_offset + 26)
        lengths = self._file.read(4)
        names = int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
        self._start, self._size, self._position = member.header_offset + 30 + names, member.file_size, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a byte of the member."""
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Read up to the end of the member."""
        view = memoryview(buffer).cast("B")
        self._file.seek(self._start + self._position)
        data = self._file.read(max(0, min(len(view), self._size - self._position)))
        view[: len(data)] = data
        self._position += len(data)
        return len(data)
