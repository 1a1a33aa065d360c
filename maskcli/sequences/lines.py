"""Read the lines of a file that begin in a range of its bytes, without reading the bytes before and after."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import BinaryIO, cast

from maskcli.sequences.blocks import WHITE
from maskcli.sequences.sources import PIECE, Source, Stream

_STEP = 2**16
"""Bytes that are read at once around a cut: more than most lines have."""


class LinesSource(Source):
    """The lines of a file that begin in a range of its bytes.

    Neighbouring ranges have every line once: the line that crosses the end of a range belongs to that range.
    """

    def __init__(self, path: str, offset: int, length: int, blank: bool = True) -> None:
        """Keep the range; the file is not opened yet.

        Args:
            path: a file that is not compressed.
            offset: of the first byte of the range.
            length: bytes of the range.
            blank: whether empty lines are rows. If not, empty lines at the end of the range get the next line, unless
                they are the end of the file, so that a reader notices them.
        """
        super().__init__(path)
        self._offset, self._length, self._blank = offset, length, blank

    @contextlib.contextmanager
    def open(self) -> Iterator[Stream]:
        """Yield the lines of the range; raises InputError for a file that cannot be read."""
        with contextlib.ExitStack() as stack:
            with self._naming():
                raw = stack.enter_context(self._open_raw())
                size = raw.seek(0, os.SEEK_END)
                start = find_line_start(raw, self._offset, size)
                stop = find_line_start(raw, self._offset + self._length, size)
                if not self._blank and start < stop < size and not _read_last_line(raw, start, stop).strip(WHITE):
                    stop = _find_next_content(raw, stop, size)
                raw.seek(start)
            lines = cast(BinaryIO, _Range(raw, stop))
            yield Stream(self, lines, lines, "", start)

    def count_lines_before(self) -> int:
        """Return the number of lines before the range; reads the file up to there, which only a message needs."""
        lines = 0
        with self._naming(), self._open_raw() as raw:
            stop = find_line_start(raw, self._offset, raw.seek(0, os.SEEK_END))
            raw.seek(0)
            while stop and (piece := raw.read(min(stop, PIECE))):
                lines += piece.count(b"\n")
                stop -= len(piece)
        return lines


class _Range:
    """A file that ends at an earlier byte."""

    def __init__(self, raw: BinaryIO, stop: int) -> None:
        self._raw, self._stop = raw, stop
        self.tell = raw.tell

    def read(self, size: int) -> bytes:
        return self._raw.read(min(size, max(0, self._stop - self._raw.tell())))


def find_line_start(raw: BinaryIO, offset: int, size: int) -> int:
    """Return the offset of the first line that begins at or after ``offset``; ``size`` if there is none."""
    if not offset:
        return 0
    place = offset - 1  # The byte before the offset shows whether a line begins there.
    while place < size:
        raw.seek(place)
        piece = raw.read(_STEP)
        if not piece:  # The file has become shorter.
            break
        end = piece.find(b"\n")
        if end >= 0:
            return min(place + end + 1, size)
        place += len(piece)
    return size


def _read_last_line(raw: BinaryIO, start: int, stop: int) -> bytes:
    """Return the end of the last line in ``start:stop``, up to some length, without its line end."""
    raw.seek(max(start, stop - _STEP))
    return raw.read(stop - raw.tell()).removesuffix(b"\n").rpartition(b"\n")[2]


def _find_next_content(raw: BinaryIO, stop: int, size: int) -> int:
    """Return the end of the first line after ``stop`` that is not empty; ``stop`` if there is none."""
    place = stop
    raw.seek(place)
    while piece := raw.read(PIECE):
        content = piece.lstrip(WHITE)
        if content:
            return find_line_start(raw, place + len(piece) - len(content) + 1, size)
        place += len(piece)
    return stop
