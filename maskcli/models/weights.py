"""Check that the weights of a model file are in that file, and not larger than the file can hold.

HDF5 can keep a dataset in another file: through an external link, as external storage or as a virtual dataset. Such a
model file could read any file of the user as weights. Keras never writes such files. Some releases of Keras refuse to
load them, and some do not.
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
from maskcli.models.files import check_size, make_damaged_error, make_foreign_bytes_error, make_unreadable_error

_MAX_DEPTH = 100
"""Maximum levels of groups in an HDF5 file; each level of nested models has two."""


def check_weights(spec: str, path: str) -> None:
    """Check the weights in a .keras or .h5 file.

    Raises:
        ModelError: for weights outside of the file, weights larger than the file can hold, and a damaged file.
    """
    try:
        if path.endswith(".keras"):  # Decide by the name, as Keras does: a file can be HDF5 and zip at once.
            with zipfile.ZipFile(path) as archive:
                _check_archive(spec, archive)
        else:
            _check_hdf5(spec, path)
    except ModelError:
        raise
    except Exception as error:  # Damaged zip and HDF5 files raise a dozen kinds of exceptions.
        raise make_damaged_error(spec, error) from error


def _check_hdf5(spec: str, source: str | BinaryIO) -> None:
    """Check every link and dataset of an HDF5 file."""
    import h5py  # type: ignore[import-untyped]

    with h5py.File(source, "r") as file:
        # A loop, not a recursion: the file decides how deep its groups are nested.
        pending, visited = [("", file["/"])], set()
        while pending:
            place, group = pending.pop()
            for name, kind, address in _list_links(group):
                path = f"{place}/{name.decode('utf-8', 'replace')}"
                if kind != h5py.h5l.TYPE_HARD:
                    raise make_foreign_bytes_error(spec, f"{_describe_link(group, name)} at {path}")
                if address in visited:  # Hard links can form a cycle.
                    continue
                item = group[name]
                visited.add(h5py.h5o.get_info(item.id).addr)
                if isinstance(item, h5py.Dataset):
                    _check_dataset(spec, path, item)
                elif isinstance(item, h5py.Group):
                    _check_depth(spec, path)
                    pending.append((path, item))


def _list_links(group: Any) -> list[tuple[bytes, int, int]]:
    """Return the name, the kind and the address of every link of a group.

    The native order visits all links that can be opened by name. The other orders, and h5py's own loop over a group,
    trust the number of links that is stored in the file: a crafted file can hide links from them.
    """
    import h5py

    links: list[tuple[bytes, int, int]] = []
    group.id.links.iterate(
        lambda name, link: links.append((name, link.type, link.u)), info=True, order=h5py.h5.ITER_NATIVE
    )
    return links


def _describe_link(group: Any, name: bytes) -> str:
    import h5py

    try:
        link = group.get(name, getlink=True)
    except TypeError:
        return "a link of an unknown kind"
    if isinstance(link, h5py.ExternalLink):
        return f"a link to {link.path} in the file {link.filename}"
    return f"a soft link to {link.path}"


def _check_depth(spec: str, path: str) -> None:
    """Raise ModelError for deeply nested groups: the paths of all groups could fill the memory."""
    if path.count("/") > _MAX_DEPTH:
        raise make_unreadable_error(spec, f"weights in more than {_MAX_DEPTH} nested groups", "Save the model again.")


def _check_dataset(spec: str, path: str, dataset: Any) -> None:
    if dataset.external:
        raise make_foreign_bytes_error(
            spec, f"a dataset that keeps its bytes in the file {dataset.external[0][0]} at {path}"
        )
    if dataset.is_virtual:
        raise make_foreign_bytes_error(spec, f"a virtual dataset at {path}")
    # A crafted file may declare more stored bytes than the whole file has.
    stored = min(dataset.id.get_storage_size(), dataset.file.id.get_filesize())
    check_size(spec, path, (dataset.size or 0) * dataset.dtype.itemsize, stored)


def _check_archive(spec: str, archive: zipfile.ZipFile) -> None:
    """Check the weights among the members of a .keras file."""
    for member in archive.infolist():
        if member.filename.endswith((".h5", ".hdf5")):
            with _open_seekable(archive, member) as source:
                _check_hdf5(spec, source)
        elif member.filename.endswith(".npz"):
            with _open_seekable(archive, member) as source:
                _check_npz(spec, member.filename, source)


def _check_npz(spec: str, place: str, source: BinaryIO) -> None:
    """Compare the declared shapes of the arrays with their stored bytes."""
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
                raise make_foreign_bytes_error(spec, f"{member.filename} in {place}, which is pickled Python")
            declared = int(np.prod(shape, dtype=object)) * dtype.itemsize
            check_size(spec, f"{member.filename} in {place}", declared, member.compress_size)


@contextlib.contextmanager
def _open_seekable(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[BinaryIO]:
    """Open a member for random access.

    Keras stores members uncompressed, so that they are read in place. A compressed member is first unpacked to disk.
    """
    if member.compress_type == zipfile.ZIP_STORED and not member.flag_bits & 1:
        with archive.open(member):  # This checks the local header of the member.
            yield cast(BinaryIO, io.BufferedReader(_Window(archive, member)))
        return
    with archive.open(member) as source, tempfile.TemporaryFile() as unpacked:
        shutil.copyfileobj(source, unpacked)
        unpacked.seek(0)
        yield cast(BinaryIO, unpacked)


class _Window(io.RawIOBase):
    """The bytes of an uncompressed member, read from the file of the archive."""

    def __init__(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
        """Find the first byte of the member, after its local header."""
        self._file = cast(BinaryIO, archive.fp)
        # The header has 30 fixed bytes, then a name and an extra field. Bytes 26 to 29 hold the lengths of these two,
        # which may differ from the lengths in the archive's directory.
        self._file.seek(member.header_offset + 26)
        lengths = self._file.read(4)
        variable = int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
        self._start, self._size, self._position = member.header_offset + 30 + variable, member.file_size, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position in the member, and return it."""
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer up to the end of the member, and return the number of bytes."""
        view = memoryview(buffer).cast("B")
        self._file.seek(self._start + self._position)
        data = self._file.read(max(0, min(len(view), self._size - self._position)))
        view[: len(data)] = data
        self._position += len(data)
        return len(data)
