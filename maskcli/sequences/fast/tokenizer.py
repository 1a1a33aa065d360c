"""Read integers from text with NumPy, without a Python step for each value or row.

The text comes in blocks of whole rows, small enough for the processor's cache. Each step is one NumPy operation on all
bytes of a block.

**Reading numbers.** A byte minus 48, as uint8, is below 10 exactly at digits, and is then the value of the digit. Ten
times the previous digit plus this digit is the value of the *pair* that ends here. A number ends at a digit without a
digit after it. Its value is the pair that ends there, plus 100 times the pair two bytes before, plus 10,000 times the
pair four bytes before, and so on, as long as there are digits.

**Verifying by counting.** The reader must not accept text that the strict reader rejects or reads differently. So it
counts the bytes that it understands:

- the digits;
- the separators between numbers;
- the *frame* of each row: the text before its first and after its last number (see ``Frame``), compared byte by byte at
  the places where it must be.

If these add up to the size of the block, then there is nothing else in it.

There are two ways to find rows and separators:

1. Look at the byte after each number: it is a separator, or the row ends there (``_split_by_next_byte``). This is
   quicker, but works only if every row has a number, with nothing between its last number and its end.
2. Look for a byte that occurs once in every row, such as the line end (``_split_by_frames``). Separators are then
   counted anywhere in the block, and there must be one less than numbers in each row. Spreadsheets write empty cells at
   the end of a row: separators there are allowed in text, and are left out of this count.

Anything else (a word, a decimal point, an unclosed bracket, a number of seventeen digits) has the result None. The
strict reader then reads the block, and its result or its error message counts.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Array, Bools, Ints
from maskcli.records.sequences import RaggedSequences

Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]
ZERO, NINE, MINUS = b"09-"
LINE_END = b"\n"
REACH = 16
"""Digits of the longest number. Arrays of a block begin with so many zeros, so that one can look back from any byte."""
PAIR = 2
"""Digits that are combined before numbers are read."""
FEW = 8
"""Digits with which any number fits into int32."""
CACHE_LINE = 64
"""Bytes of a line of the processor's cache."""


@dataclasses.dataclass(frozen=True)
class Frame:
    """The text around the numbers of a row; it has no digits and no signs.

    Attributes:
        head: before the numbers of the first row of a block.
        prefix: before the numbers of each further row.
        suffix: after the numbers of each row.
        separator: one or two bytes between two numbers.
        loose: whether numbers may have leading zeros, and separators of one byte may follow the last number of a row.
    """

    head: bytes
    prefix: bytes
    suffix: bytes
    separator: bytes
    loose: bool = False

    @property
    def end(self) -> int:
        """The index in ``suffix`` of the byte that occurs once in each row: the line end, or else the first byte."""
        return len(self.suffix) - 1 if self.suffix.endswith(LINE_END) else 0

    @property
    def is_plain(self) -> bool:
        """Whether numbers, separators and frames cannot be confused with each other."""
        around, end_byte = self.head + self.prefix + self.suffix, self.suffix[self.end : self.end + 1]
        if any(ZERO <= byte <= NINE or byte == MINUS for byte in around):
            return False
        if around.count(end_byte) != 1 or end_byte in self.separator:
            return False
        # A separator of two bytes could begin in a frame and end outside it, or the other way round.
        edges = self.suffix[:1], self.head[-1:], self.prefix[-1:]
        return len(self.separator) == 1 or not any(edge and edge in self.separator for edge in edges)

    def count(self, n_rows: int, part: bytes | None = None) -> int:
        """Return how often ``part`` occurs in the frames of ``n_rows`` rows; without ``part``, their bytes."""
        # A separator may extend over the end of one row and the start of the next, so these are searched together.
        between, ends = self.suffix + self.prefix, (self.head, self.suffix)
        if part is None:
            return (n_rows - 1) * len(between) + sum(map(len, ends))
        return (n_rows - 1) * between.count(part) + sum(end.count(part) for end in ends)


class Workspace:
    """Arrays that are reused for one block after another, because fresh memory costs more than the work itself.

    Each array begins with ``REACH`` zeros, followed by one element for each byte of a block. A thread has its own
    workspace.
    """

    def __init__(self) -> None:
        """Begin without arrays."""
        self._arrays: dict[str, Bytes] = {}

    def array(self, name: str, n: int) -> Bytes:
        """Return the array of this name ``(REACH + n,)`` for ``n`` bytes; it still contains the last block."""
        array = self._arrays.get(name)
        if array is None or len(array) < REACH + n:
            self._arrays[name] = array = _allocate_aligned(REACH + n + n // 4)
            array[:REACH] = 0
        return array[: REACH + n]


def _allocate_aligned(n: int) -> Bytes:
    """Return an array of ``n`` bytes whose element ``REACH`` begins a line of the cache."""
    memory = np.empty(n + CACHE_LINE, np.uint8)
    start = -(memory.ctypes.data + REACH) % CACHE_LINE
    return memory[start : start + n]


@dataclasses.dataclass(frozen=True, eq=False)
class _Digits:
    """The digits of a block of ``n`` bytes, in arrays of ``REACH + n``.

    Attributes:
        are: 1 at digits, 0 elsewhere.
        values: the digits, and 0 elsewhere.
    """

    are: Bytes
    values: Bytes

    @classmethod
    def find(cls, text: Bytes, work: Workspace) -> _Digits:
        are, values = work.array("are digits", len(text)), work.array("digits", len(text))
        # In uint8, bytes below "0" wrap around to large values, so one comparison checks both limits.
        np.subtract(text, ZERO, out=values[REACH:])
        np.less(values[REACH:], 10, out=are[REACH:].view(bool))
        # Set everything else to 0. Multiplication does this without a branch.
        np.multiply(values, are, out=values)
        return cls(are, values)

    @property
    def flags(self) -> Bools:
        """``(n,)``, True at digits."""
        return self.are[REACH:].view(bool)


def tokenize(block: bytes, frame: Frame, work: Workspace) -> RaggedSequences | None:
    """Return the rows of a block; None if the block cannot be verified.

    Values are int32, or int64 if a number has more than eight digits.

    Args:
        block: whole rows.
        frame: the text around the numbers of each row.
        work: the buffers of this thread.
    """
    if not frame.is_plain:
        return None
    raw = np.frombuffer(block, np.uint8)
    # A sign is read as one more digit 0 of its number: "-12" as "012". It is checked and applied at the end.
    signed = MINUS in block
    digits = _Digits.find(_replace_signs(raw, work) if signed else raw, work)
    ends = np.flatnonzero(_find_edges(digits.flags, work, first=False))
    n_digits = int(np.count_nonzero(digits.flags))
    # The quicker way first; it rejects blocks with empty rows.
    splits = _split_by_next_byte(raw, ends, n_digits, frame)
    if splits is None:
        splits = _split_by_frames(raw, ends, n_digits, frame, work)
    if splits is None or (not frame.loose and _has_leading_zero(raw, digits.flags, work)):
        return None
    values = _read_numbers(digits, ends, work)
    if values is None or (signed and not _apply_signs(values, raw, digits.flags, frame.loose, work)):
        return None
    return RaggedSequences(values, splits)


def _split_by_next_byte(raw: Bytes, ends: Places, n_digits: int, frame: Frame) -> Places | None:
    """Return row splits, from the byte after each number; None if they cannot be verified.

    Args:
        raw: the block.
        ends: the last digit of each number.
        n_digits: all digits of the block, signs included.
        frame: the text around the numbers.
    """
    if len(raw) <= len(frame.separator) or not len(ends):
        return None
    # A number is the last of its row if no separator follows it. A place beyond the block reads its last byte, because
    # of ``clip``. That does no harm: such a block does not end with a frame, and is rejected below.
    is_last = np.take(raw[1:], ends, mode="clip") != frame.separator[0]
    if len(frame.separator) > 1:
        is_last |= np.take(raw[2:], ends, mode="clip") != frame.separator[1]
    last_numbers = np.flatnonzero(is_last)
    n_rows = len(last_numbers)
    # Each other number is followed by one separator. If digits, these separators and the frames of all rows add up to
    # the block, there is nothing else: no further separator, and no row without numbers.
    n_separators = len(ends) - n_rows
    n_known = n_digits + len(frame.separator) * n_separators + frame.count(n_rows)
    if n_known != len(raw) or not _match_frames(raw, ends[last_numbers] + 1, frame):
        return None
    return np.concatenate([np.zeros(1, np.int64), last_numbers + 1])


def _split_by_frames(raw: Bytes, ends: Places, n_digits: int, frame: Frame, work: Workspace) -> Places | None:
    """Return row splits, from the frames; rows may have no numbers. None if they cannot be verified.

    Arguments are those of ``_split_by_next_byte``, and the buffers of this thread.
    """
    suffixes = _find_suffixes(raw, frame, work)
    if not _match_frames(raw, suffixes, frame):
        return None
    # Count separators anywhere, but not those within the frames, whose bytes are counted as frames.
    n_separators = _count_separators(raw, frame.separator, work) - frame.count(len(suffixes), frame.separator)
    if n_digits + len(frame.separator) * n_separators + frame.count(len(suffixes)) != len(raw):
        return None
    # Row i has the numbers that end before its suffix and after the suffix of row i - 1.
    splits = np.zeros(len(suffixes) + 1, np.int64)
    splits[1:] = np.searchsorted(ends, suffixes)
    if frame.loose and len(frame.separator) == 1:
        # Empty cells: all bytes after the last number of a row are separators, because nothing else is left.
        n_separators -= _count_trailing_bytes(ends, splits, suffixes, frame)
    # In a row, two numbers are never adjacent, or they would be one. So there is at least one separator between two
    # numbers. If there is one less than numbers in each row, that is all of them, and none is before the first number.
    n_filled_rows = np.count_nonzero(np.diff(splits))
    return splits if n_separators == len(ends) - n_filled_rows else None


def _replace_signs(raw: Bytes, work: Workspace) -> Bytes:
    """Return the block with "0" in place of each sign."""
    text = work.array("text", len(raw))[REACH:]
    np.equal(raw, MINUS, out=text.view(bool))
    np.multiply(text, ZERO - MINUS, out=text)
    return np.add(text, raw, out=text)


def _find_suffixes(raw: Bytes, frame: Frame, work: Workspace) -> Places:
    """Return the begin of the suffix of each row, from the byte that occurs once in each row."""
    flags = work.array("flags", len(raw))[REACH:].view(bool)
    return np.flatnonzero(np.equal(raw, frame.suffix[frame.end], out=flags)) - frame.end


def _match_frames(raw: Bytes, suffixes: Places, frame: Frame) -> bool:
    """Return whether the rows with these begins of suffixes have their frames, one row after the other."""
    ends = suffixes + len(frame.suffix)
    # The block must end with a row, and each row must have room for its frame.
    if not len(suffixes) or ends[-1] != len(raw) or suffixes[0] < len(frame.head):
        return False
    if (suffixes[1:] - ends[:-1] < len(frame.prefix)).any():
        return False
    parts = (
        (frame.head, suffixes[:1] * 0),  # At the start of the block.
        (frame.suffix + frame.prefix, suffixes[:-1]),
        (frame.suffix, suffixes[-1:]),
    )
    return all(_matches_at(raw, part, places) for part, places in parts)


def _matches_at(raw: Bytes, part: bytes, places: Places) -> bool:
    """Return whether ``part`` occurs at all places; it must not reach beyond the end."""
    size = len(part)
    if not size or not len(places):
        return True
    # A view with raw[i : i + size] as element i, without a copy.
    windows: Array = np.ndarray((len(raw) - size + 1,), f"V{size}", raw, strides=(1,))
    return bool((windows[places].view(np.uint8).reshape(-1, size) == np.frombuffer(part, np.uint8)).all())


def _count_separators(raw: Bytes, separator: bytes, work: Workspace) -> int:
    """Return how often a separator of one or two bytes occurs."""
    flags, second = (work.array(name, len(raw))[REACH:].view(bool) for name in ("flags", "second"))
    np.equal(raw, separator[0], out=flags)
    if len(separator) == 1:
        return int(np.count_nonzero(flags))
    np.equal(raw[1:], separator[1], out=second[1:])
    np.logical_and(flags[:-1], second[1:], out=flags[:-1])
    return int(np.count_nonzero(flags[:-1]))


def _count_trailing_bytes(ends: Places, splits: Places, suffixes: Places, frame: Frame) -> int:
    """Return the bytes between the last number of each row and its suffix.

    In a row without numbers, all bytes between its prefix and its suffix count.
    """
    begins = suffixes.copy()
    # For rows without numbers: the end of the prefix.
    begins[1:] = suffixes[:-1] + len(frame.suffix) + len(frame.prefix)
    begins[0] = len(frame.head)
    # For all other rows: the byte after the last number.
    filled = np.flatnonzero(splits[1:] > splits[:-1])
    begins[filled] = ends[splits[1:][filled] - 1] + 1
    return int((suffixes - begins).sum())


def _has_leading_zero(raw: Bytes, digits: Bools, work: Workspace) -> bool:
    """Return whether a number begins with 0 and has a further digit, which JSON forbids."""
    flags = work.array("flags", len(raw))[REACH:].view(bool)
    np.equal(raw, ZERO, out=flags)
    # A digit follows,
    np.logical_and(flags[:-1], digits[1:], out=flags[:-1])
    flags[-1:] = False
    # and no digit precedes: "True > digit before".
    np.greater(flags[1:], digits[:-1], out=flags[1:])
    return bool(flags.any())


def _find_edges(digits: Bools, work: Workspace, first: bool) -> Bools:
    """Return ``(n,)``, True at the first digit of each number, or at the last digit."""
    edges = work.array("flags", len(digits))[REACH:].view(bool)
    # Of two booleans, "greater" means: this is a digit, and its neighbour is not.
    if first:
        np.greater(digits[1:], digits[:-1], out=edges[1:])
        edges[:1] = digits[:1]
    else:
        np.greater(digits[:-1], digits[1:], out=edges[:-1])
        edges[-1:] = digits[-1:]
    return edges


def _read_numbers(digits: _Digits, ends: Places, work: Workspace) -> Ints | None:
    """Return the numbers that end at ``ends``; None if one has more than ``REACH`` digits."""
    n = len(digits.are) - REACH
    names = ("pairs", "are pairs", "are long", "products")
    pairs, are_pairs, are_long, products = (work.array(name, n) for name in names)
    _combine_pairs(digits, pairs, are_pairs)
    # The last two digits of each number.
    values: Ints = np.take(pairs[REACH:], ends, mode="clip").astype(np.int32)
    # ``are_long`` is 1 where at least ``step`` digits in a row end. Elsewhere, digits further back are another number.
    are_long[:] = are_pairs
    for step in range(PAIR, REACH + 1, PAIR):
        if not are_long.view(bool).any():
            return values
        if step == REACH:
            # All digits are read. One more digit before them makes a number too long.
            return values if not np.bitwise_and(are_long[REACH:], _look_back(digits.are, step)).any() else None
        if step == FEW:
            values = values.astype(np.int64)
        # Add the pair that ends ``step`` bytes before, if only digits are in between. It may be a single digit, or 0 if
        # the number has no more digits.
        np.multiply(_look_back(pairs, step), are_long[REACH:], out=products[REACH:])
        values += np.multiply(np.take(products[REACH:], ends, mode="clip"), 10**step, dtype=values.dtype)
        # From ``step`` to ``step + 2`` digits: there must be a whole pair before.
        np.bitwise_and(are_long[REACH:], _look_back(are_pairs, step), out=are_long[REACH:])
    return values


def _combine_pairs(digits: _Digits, pairs: Bytes, are_pairs: Bytes) -> None:
    """Write the value of the one or two digits that end at each digit, 0 elsewhere; and 1 at the end of two digits."""
    np.bitwise_and(_look_back(digits.are, 0), _look_back(digits.are, 1), out=are_pairs[REACH:])
    np.multiply(_look_back(digits.values, 1), 10, out=pairs[REACH:])
    np.add(pairs, digits.values, out=pairs)
    # A byte after a digit has ten times that digit now, but is not a digit itself.
    np.multiply(pairs, digits.are, out=pairs)


def _apply_signs(values: Ints, raw: Bytes, digits: Bools, loose: bool, work: Workspace) -> bool:
    """Negate the numbers with a sign, in place; return whether all signs are valid.

    A sign must be the first byte of a number, and a digit must follow. ``digits`` is True at signs, too.
    """
    starts = np.flatnonzero(_find_edges(digits, work, first=True))
    is_signed = np.take(raw, starts, mode="clip") == MINUS
    signs = np.take(starts, np.flatnonzero(is_signed))
    # As in ``_Digits.find``, a byte minus 48 is below 10 only at digits.
    first, second = (np.take(raw, signs + step, mode="clip") - ZERO for step in (1, 2))
    # A sign anywhere else, such as in "1-2" or "--1", is not at the start of a number, so the counts differ.
    if len(signs) != np.count_nonzero(raw == MINUS) or not (first < 10).all():
        return False
    # ``_has_leading_zero`` does not see the zero in "-01", because the sign counts as a digit.
    if not loose and ((first == 0) & (second < 10)).any():
        return False
    values *= 1 - 2 * is_signed.astype(np.int8)
    return True


def _look_back(array: Array, by: int) -> Array:
    """Return ``(n,)``: at each byte of the block, the element ``by`` bytes before it."""
    return array[REACH - by : len(array) - by]
