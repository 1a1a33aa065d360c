"""Text of integers to values and lengths, without a step of Python for each value or row.

The text comes in blocks of whole rows, small enough to stay in the processor's cache, and each step is one operation of
NumPy on all bytes of a block.

A byte less 48, as uint8, is below 10 where a digit stands, and is that digit. Ten times the digit before and this one
are what two digits say that end here. A number ends at a digit that none follows; there, and nowhere else, is read
what the last two digits say, a hundred times what the two before them say, and so on, where all of them are digits.

Whether that is what the text says is *proved by counting*. Right behind a number stands a separator, or the end of its
row. What must stand before and behind the numbers of each row (its ``Frame``) is looked at there. When digits, these
separators and frames add up to all the bytes of the block, there is nothing else in it. Then there is one separator
between two numbers of a row, and none before the first number or behind the last.

That is so where each row has a number, and nothing behind its last. Otherwise rows are told by a byte that each of
them has once, such as the end of a line, and separators are counted wherever they stand: there must be as many as
there are places between two numbers. (Text may have some behind the last, as spreadsheets write empty cells: these are
all that stands there, and are left out of the count.) Any doubt (a word, a point, an open bracket, a number of
seventeen digits) has no answer here, and the block is read by a plain reader, which has the answer, or says what is
wrong.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Array, Bools, Ints
from maskcli.records.sequences import RaggedSequences

Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]
ZERO, NINE, MINUS = b"09-"
LINE_END = b"\n"
REACH = 16
"""Digits of the longest number, and so how many zeros there are to look back at, before the arrays of a block."""
PAIR = 2
"""Digits that are combined before numbers are read off."""
FEW = 8
"""Digits of a number that int32 holds, whatever they are."""
LINE = 64
"""Bytes of a line of the cache."""


@dataclasses.dataclass(frozen=True)
class Frame:
    """What stands around the numbers of a row, in which neither digits nor signs are.

    Attributes:
        head: before the numbers of the first row of a block.
        prefix: before those of each other row.
        suffix: behind those of each row.
        separator: one or two bytes between two numbers.
        loose: whether numbers may have leading zeros, and separators of one byte stand behind the last number of a row.
    """

    head: bytes
    prefix: bytes
    suffix: bytes
    separator: bytes
    loose: bool = False

    @property
    def end(self) -> int:
        """Where in ``suffix`` the byte is that each row has once: the end of a line, or else the first."""
        return len(self.suffix) - 1 if self.suffix.endswith(LINE_END) else 0

    @property
    def is_plain(self) -> bool:
        """Whether digits, separators and frames can be told apart."""
        around, once = self.head + self.prefix + self.suffix, self.suffix[self.end : self.end + 1]
        apart = not any(edge and edge in self.separator for edge in (self.suffix[:1], self.head[-1:], self.prefix[-1:]))
        return (
            not any(ZERO <= byte <= NINE or byte == MINUS for byte in around)
            and around.count(once) == 1
            and once not in self.separator
            and (apart or len(self.separator) == 1)
        )

    def count(self, rows: int, part: bytes | None = None) -> int:
        """Return how often ``part`` is in the frames of so many rows that follow each other; bytes without ``part``."""
        between, ends = self.suffix + self.prefix, (self.head, self.suffix)
        if part is None:
            return (rows - 1) * len(between) + sum(map(len, ends))
        return (rows - 1) * between.count(part) + sum(end.count(part) for end in ends)


class Workspace:
    """Arrays that blocks are worked on in, one block after another: fresh memory for each costs more than the work.

    Each has ``REACH`` zeros in front of what belongs to the bytes of a block, to look back at. A thread has its own.
    """

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._held: dict[str, Bytes] = {}

    def array(self, name: str, n: int) -> Bytes:
        """Return the array of that name for ``n`` bytes, ``(REACH + n,)``; the last block is still in it."""
        held = self._held.get(name)
        if held is None or len(held) < REACH + n:
            self._held[name] = held = _aligned(REACH + n + n // 4)
            held[:REACH] = 0
        return held[: REACH + n]


def _aligned(n: int) -> Bytes:
    """Return an array of ``n`` bytes, of which those past the first ``REACH`` begin where the processor likes it."""
    room = np.empty(n + LINE, np.uint8)
    start = -(room.ctypes.data + REACH) % LINE
    return room[start : start + n]


@dataclasses.dataclass(frozen=True, eq=False)
class _Digits:
    """The digits of a block of ``n`` bytes, in arrays of ``REACH + n``.

    Attributes:
        are: 1 where a digit stands.
        say: the digits, and 0 elsewhere.
    """

    are: Bytes
    say: Bytes

    @classmethod
    def of(cls, text: Bytes, work: Workspace) -> _Digits:
        are, say = work.array("are", len(text)), work.array("say", len(text))
        np.subtract(text, ZERO, out=say[REACH:])
        np.less(say[REACH:], 10, out=are[REACH:].view(bool))
        np.multiply(say, are, out=say)
        return cls(are, say)

    @property
    def here(self) -> Bools:
        """``(n,)``, True where a digit stands."""
        return self.are[REACH:].view(bool)


def tokenize(block: bytes, frame: Frame, work: Workspace) -> RaggedSequences | None:
    """Return the rows of a block, as int32 or, where a number has more than eight digits, int64; None in doubt.

    Args:
        block: whole rows.
        frame: what stands around the numbers of each of them.
        work: of this thread.
    """
    if not frame.is_plain:
        return None
    raw = np.frombuffer(block, np.uint8)
    signed = MINUS in block
    digits = _Digits.of(_with_zeros_for_signs(raw, work) if signed else raw, work)
    ends = np.flatnonzero(_edges(digits.here, work, first=False))
    known = int(np.count_nonzero(digits.here))
    splits = _behind_numbers(raw, ends, known, frame)
    if splits is None:
        splits = _between_frames(raw, ends, known, frame, work)
    if splits is None or (not frame.loose and _has_leading_zero(raw, digits.here, work)):
        return None
    values = _read(digits, ends, work)
    if values is None or (signed and not _negate(values, raw, digits.here, frame.loose, work)):
        return None
    return RaggedSequences(values, splits)


def _behind_numbers(raw: Bytes, ends: Places, digits: int, frame: Frame) -> Places | None:
    """Return where rows begin and end among all numbers, told by what stands behind these; None in doubt.

    Right behind a number is a separator, or the end of its row. When the frames of as many rows as have an end make all
    bytes, with digits and these separators, then there is no other separator, and no row without a number.
    """
    if len(raw) <= len(frame.separator) or not len(ends):
        return None
    last = np.take(raw[1:], ends, mode="clip") != frame.separator[0]
    if len(frame.separator) > 1:
        last |= np.take(raw[2:], ends, mode="clip") != frame.separator[1]
    rows = np.flatnonzero(last)
    known = digits + len(frame.separator) * (len(ends) - len(rows)) + frame.count(len(rows))
    if known != len(raw) or not _all_stand(raw, ends[rows] + 1, frame):
        return None
    return np.concatenate([np.zeros(1, np.int64), rows + 1])


def _between_frames(raw: Bytes, ends: Places, digits: int, frame: Frame, work: Workspace) -> Places | None:
    """Return where rows begin and end among all numbers, some of them without any, by their frames; None in doubt."""
    stops = _stops(raw, frame, work)
    if not _all_stand(raw, stops, frame):
        return None
    separators = _count(raw, frame.separator, work) - frame.count(len(stops), frame.separator)
    if digits + len(frame.separator) * separators + frame.count(len(stops)) != len(raw):
        return None
    splits = np.zeros(len(stops) + 1, np.int64)
    splits[1:] = np.searchsorted(ends, stops)
    if frame.loose and len(frame.separator) == 1:
        separators -= _in_excess(ends, splits, stops, frame)
    return splits if separators == len(ends) - np.count_nonzero(np.diff(splits)) else None


def _with_zeros_for_signs(raw: Bytes, work: Workspace) -> Bytes:
    text = work.array("text", len(raw))[REACH:]
    np.equal(raw, MINUS, out=text.view(bool))
    np.multiply(text, ZERO - MINUS, out=text)
    return np.add(text, raw, out=text)


def _stops(raw: Bytes, frame: Frame, work: Workspace) -> Places:
    """Return where the suffix of each row begins."""
    stop = work.array("found", len(raw))[REACH:].view(bool)
    return np.flatnonzero(np.equal(raw, frame.suffix[frame.end], out=stop)) - frame.end


def _all_stand(raw: Bytes, stops: Places, frame: Frame) -> bool:
    """Return whether rows whose suffixes begin there stand in their frames, one behind the other."""
    ends = stops + len(frame.suffix)
    if not len(stops) or ends[-1] != len(raw) or stops[0] < len(frame.head):
        return False
    if (stops[1:] - ends[:-1] < len(frame.prefix)).any():
        return False
    parts = (frame.head, stops[:1] * 0), (frame.suffix + frame.prefix, stops[:-1]), (frame.suffix, stops[-1:])
    return all(_stands(raw, part, places) for part, places in parts)


def _stands(raw: Bytes, part: bytes, places: Places) -> bool:
    """Return whether ``part`` stands at all places, none of which is too near the end."""
    size = len(part)
    if not size or not len(places):
        return True
    windows: NDArray[Any] = np.ndarray((len(raw) - size + 1,), f"V{size}", raw, strides=(1,))
    return bool((windows[places].view(np.uint8).reshape(-1, size) == np.frombuffer(part, np.uint8)).all())


def _count(raw: Bytes, separator: bytes, work: Workspace) -> int:
    """Return how often a separator of one or two bytes is there."""
    found, second = (work.array(name, len(raw))[REACH:].view(bool) for name in ("found", "second"))
    np.equal(raw, separator[0], out=found)
    if len(separator) == 1:
        return int(np.count_nonzero(found))
    np.equal(raw[1:], separator[1], out=second[1:])
    np.logical_and(found[:-1], second[1:], out=found[:-1])
    return int(np.count_nonzero(found[:-1]))


def _in_excess(ends: Places, splits: Places, stops: Places, frame: Frame) -> int:
    """Return how many bytes stand behind the last number of each row, or between the frames of a row without one."""
    last = stops.copy()
    last[1:] = stops[:-1] + len(frame.suffix) + len(frame.prefix)
    last[0] = len(frame.head)
    some = np.flatnonzero(splits[1:] > splits[:-1])
    last[some] = ends[splits[1:][some] - 1] + 1
    return int((stops - last).sum())


def _has_leading_zero(raw: Bytes, digits: Bools, work: Workspace) -> bool:
    """Return whether a 0 with no digit before it has one behind it, as JSON forbids."""
    begins = work.array("found", len(raw))[REACH:].view(bool)
    np.equal(raw, ZERO, out=begins)
    np.logical_and(begins[:-1], digits[1:], out=begins[:-1])
    begins[-1:] = False
    np.greater(begins[1:], digits[:-1], out=begins[1:])
    return bool(begins.any())


def _edges(digits: Bools, work: Workspace, first: bool) -> Bools:
    """Return ``(n,)``, True at the first digit of each number, or at the last."""
    edges = work.array("found", len(digits))[REACH:].view(bool)
    if first:
        np.greater(digits[1:], digits[:-1], out=edges[1:])
        edges[:1] = digits[:1]
    else:
        np.greater(digits[:-1], digits[1:], out=edges[:-1])
        edges[-1:] = digits[-1:]
    return edges


def _read(digits: _Digits, ends: Places, work: Workspace) -> Ints | None:
    """Return the numbers that end at ``ends``; None where one has more than ``REACH`` digits."""
    n = len(digits.are) - REACH
    pairs, are_pair, are_all, more = (work.array(name, n) for name in ("pairs", "are pair", "are all", "more"))
    _pairs(digits, pairs, are_pair)
    values: Ints = np.take(pairs[REACH:], ends, mode="clip").astype(np.int32)
    are_all[:] = are_pair  # Whether ``step`` digits end here.
    for step in range(PAIR, REACH + 1, PAIR):
        if not are_all.view(bool).any():
            return values
        if step == REACH:
            return values if not np.bitwise_and(are_all[REACH:], _back(digits.are, step)).any() else None
        if step == FEW:
            values = values.astype(np.int64)
        np.multiply(_back(pairs, step), are_all[REACH:], out=more[REACH:])
        values += np.multiply(np.take(more[REACH:], ends, mode="clip"), 10**step, dtype=values.dtype)
        np.bitwise_and(are_all[REACH:], _back(are_pair, step), out=are_all[REACH:])
    return values


def _pairs(digits: _Digits, pairs: Bytes, are_pair: Bytes) -> None:
    """Write what the one or two digits say that end at each digit, 0 elsewhere, and 1 where there are two."""
    np.bitwise_and(_back(digits.are, 0), _back(digits.are, 1), out=are_pair[REACH:])
    np.multiply(_back(digits.say, 1), 10, out=pairs[REACH:])
    np.add(pairs, digits.say, out=pairs)
    np.multiply(pairs, digits.are, out=pairs)


def _negate(values: Ints, raw: Bytes, digits: Bools, loose: bool, work: Workspace) -> bool:
    """Negate the numbers that have a sign, in place; return whether signs stand before digits and nowhere else.

    In ``digits`` a sign is one.
    """
    starts = np.flatnonzero(_edges(digits, work, first=True))
    signed = np.take(raw, starts, mode="clip") == MINUS
    signs = np.take(starts, np.flatnonzero(signed))
    first, second = (np.take(raw, signs + step, mode="clip") - ZERO for step in (1, 2))
    alone = len(signs) == np.count_nonzero(raw == MINUS) and (first < 10).all()
    if not alone or (not loose and ((first == 0) & (second < 10)).any()):
        return False
    values *= 1 - 2 * signed.astype(np.int8)
    return True


def _back(array: Array, by: int) -> Array:
    """Return ``(n,)``: at each place what stands ``by`` places before it."""
    return array[REACH - by : len(array) - by]
