"""Text of integers to values and lengths, without a step of Python for each value or row.

The text comes in blocks of whole rows, small enough to stay in the processor's cache, and each step is one operation of
NumPy on all bytes of a block.

A byte less 48, as uint8, is below 10 where a digit stands, and is that digit. Neighbours are combined: ten times the
digit before and this one are what two digits say that end here, a hundred times what two digits say that end two
earlier and these are what four say, and so on, where all of them are digits. A number ends at a digit that none
follows; there, and nowhere else, is read what the digits up to it say.

Whether that is what the text says is *proved by counting*. Rows are told by a byte that each of them has once, such as
the end of a line. What must stand before and behind the numbers of each row (its ``Frame``) is looked at there. When
digits, separators and frames add up to all the bytes of the block, there is nothing else in it. Then there is at least
one separator between two numbers of a row, or they would be one; and when the separators of all rows are as many as
that, there is just one each, and none before the first number or behind the last. (Text may have some behind the last,
as spreadsheets write empty cells: these are all that stands there, and are left out of the count.) Any doubt (a word, a
point, an open bracket, a number of seventeen digits) has no answer here, and the block is read by a plain reader, which
has the answer, or says what is wrong.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.records import Bools, Ints, RaggedSequences

Array = NDArray[Any]
Bytes = NDArray[np.uint8]
ZERO, NINE, MINUS = b"09-"
LINE_END = b"\n"
REACH = 16
"""Digits of the longest number, and so how many zeros there are to look back at, before the arrays of a block."""
STEP = 4
"""Digits that are combined before numbers are read off."""


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
        self._held: dict[str, Array] = {}

    def array(self, name: str, n: int, dtype: type[np.generic] = np.uint8) -> Array:
        """Return the array of that name for ``n`` bytes, ``(REACH + n,)``; the last block is still in it."""
        held = self._held.get(name)
        if held is None or len(held) < REACH + n:
            self._held[name] = held = np.empty(REACH + n + n // 4, dtype)
            held[:REACH] = 0
        return held[: REACH + n]


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
    stops = _stops(raw, frame, work)
    if stops is None:
        return None
    separators = _count(raw, frame.separator, work) - frame.count(len(stops), frame.separator)
    known = np.count_nonzero(digits.here) + len(frame.separator) * separators + frame.count(len(stops))
    if known != len(raw) or (not frame.loose and _has_leading_zero(raw, digits.here, work)):
        return None
    ends = np.flatnonzero(_edges(digits.here, work, first=False))
    splits = np.zeros(len(stops) + 1, np.int64)
    splits[1:] = np.searchsorted(ends, stops)
    if frame.loose and len(frame.separator) == 1:
        separators -= _behind(ends, splits, stops, frame)
    if separators != len(ends) - np.count_nonzero(np.diff(splits)):
        return None
    values = _read(digits, ends, work)
    if values is None or (signed and not _negate(values, raw, digits.here, frame.loose, work)):
        return None
    return RaggedSequences(values, splits)


def _with_zeros_for_signs(raw: Bytes, work: Workspace) -> Bytes:
    text = work.array("text", len(raw))[REACH:]
    np.equal(raw, MINUS, out=text.view(bool))
    np.multiply(text, ZERO - MINUS, out=text)
    return np.add(text, raw, out=text)


def _stops(raw: Bytes, frame: Frame, work: Workspace) -> NDArray[np.int64] | None:
    """Return where the suffix of each row begins, or None if not all rows stand in the frame."""
    stop = work.array("found", len(raw))[REACH:].view(bool)
    stops = np.flatnonzero(np.equal(raw, frame.suffix[frame.end], out=stop)) - frame.end
    suffix = len(frame.suffix)
    if not len(stops) or stops[-1] + suffix != len(raw) or not _stands(raw, frame.head, np.zeros(1, np.int64)):
        return None
    starts = stops[:-1] + suffix
    if stops[0] < len(frame.head) or (stops[1:] - starts < len(frame.prefix)).any():
        return None
    return stops if _stands(raw, frame.prefix, starts) and _stands(raw, frame.suffix, stops) else None


def _stands(raw: Bytes, part: bytes, places: NDArray[np.int64]) -> bool:
    """Return whether ``part`` stands at all places, none of them past the end."""
    return all((np.take(raw, places + offset, mode="clip") == byte).all() for offset, byte in enumerate(part))


def _count(raw: Bytes, separator: bytes, work: Workspace) -> int:
    """Return how often a separator of one or two bytes is there."""
    found, second = (work.array(name, len(raw))[REACH:].view(bool) for name in ("found", "second"))
    np.equal(raw, separator[0], out=found)
    if len(separator) == 1:
        return int(np.count_nonzero(found))
    np.equal(raw[1:], separator[1], out=second[1:])
    np.logical_and(found[:-1], second[1:], out=found[:-1])
    return int(np.count_nonzero(found[:-1]))


def _behind(ends: NDArray[np.int64], splits: NDArray[np.int64], stops: NDArray[np.int64], frame: Frame) -> int:
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


def _read(digits: _Digits, ends: NDArray[np.int64], work: Workspace) -> Ints | None:
    """Return the numbers that end at ``ends``; None where one has more than ``REACH`` digits."""
    fours, are_four = _fours(digits, work)
    values: Ints = np.take(fours[REACH:], ends, mode="clip").astype(np.int32)
    reached = digits.are
    for step in range(STEP, REACH + 1, STEP):
        further = work.array(f"past {step}", len(reached) - REACH)  # Digits that have ``step`` digits before them.
        np.bitwise_and(_back(are_four, 0), _back(reached, STEP), out=further[REACH:])
        if not further.view(bool).any():
            return values
        if step == REACH:
            return None
        values = values.astype(np.int32 if step == STEP else np.int64, copy=False)
        more = np.take(_back(fours, step), ends, out=work.array("more", len(ends), np.uint16)[REACH:], mode="clip")
        has = np.take(further[REACH:], ends, out=work.array("has", len(ends))[REACH:], mode="clip")
        np.multiply(more, has, out=more)
        values += np.multiply(more, 10**step, dtype=values.dtype)
        reached = further
    return values


def _fours(digits: _Digits, work: Workspace) -> tuple[NDArray[np.uint16], Bytes]:
    """Return what the up to four digits say that end at each digit, and 1 where there are four."""
    n = len(digits.are) - REACH
    are_two, are_four, twos, before = (work.array(name, n) for name in ("are two", "are four", "twos", "before"))
    np.bitwise_and(_back(digits.are, 0), _back(digits.are, 1), out=are_two[REACH:])
    np.bitwise_and(_back(are_two, 0), _back(are_two, 2), out=are_four[REACH:])
    np.multiply(_back(digits.say, 1), 10, out=twos[REACH:])
    np.add(twos, digits.say, out=twos)
    np.multiply(_back(twos, 2), _back(are_two, 1), out=before[REACH:])
    fours = work.array("fours", n, np.uint16)
    np.multiply(before, 100, out=fours, dtype=np.uint16)
    np.add(fours, twos, out=fours)
    return fours, are_four


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
