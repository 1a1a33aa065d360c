"""Pair the calls of two models: by their paths, and otherwise by their types and order."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from maskcli.records.sides import SideCall

Pair = tuple[SideCall | None, SideCall | None]
"""A call of the first side and the one of the other; None where there is none."""
_NUMBER = re.compile(r"_\d+(?=$|/|#)")
"""The number that Keras adds to the name of a layer, by which a process has counted such layers."""


def pair_side_calls(first: Sequence[SideCall], other: Sequence[SideCall]) -> list[Pair]:
    """Return all calls of two sides in the order of the first side; those of the other follow in place."""
    keys, other_keys = _make_keys(first), _make_keys(other)
    matcher = difflib.SequenceMatcher(None, keys, other_keys, autojunk=False)
    pairs: list[Pair] = []
    for kind, start, end, other_start, other_end in matcher.get_opcodes():
        if kind == "equal":
            pairs += zip(first[start:end], other[other_start:other_end], strict=True)
        else:
            pairs += _pair_changed(first[start:end], other[other_start:other_end])
    return _join_moved(pairs)


def _make_keys(calls: Sequence[SideCall]) -> list[tuple[str, str]]:
    """Return the path of each call without the numbers of Keras, and its type."""
    return [(_NUMBER.sub("", call.call), call.type) for call in calls]


def _pair_changed(first: Sequence[SideCall], other: Sequence[SideCall]) -> list[Pair]:
    """Pair calls of the same type, such as a layer with another name, in their order."""
    pairs: list[Pair] = []
    waiting = list(other)
    for call in first:
        match = next((index for index, item in enumerate(waiting) if item.type == call.type), None)
        if match is None:
            pairs.append((call, None))
            continue
        pairs += ((None, item) for item in waiting[:match])
        pairs.append((call, waiting[match]))
        waiting = waiting[match + 1 :]
    return [*pairs, *((None, item) for item in waiting)]


def _join_moved(pairs: Sequence[Pair]) -> list[Pair]:
    """Pair calls of the same path that are at another place of the order."""
    only_other = {other.call: other for first, other in pairs if first is None and other is not None}
    moved: set[str] = set()
    joined: list[Pair] = []
    for first, other in pairs:
        if first is not None and other is None and first.call in only_other:
            moved.add(first.call)
            joined.append((first, only_other[first.call]))
        else:
            joined.append((first, other))
    return [pair for pair in joined if pair[0] is not None or pair[1] is None or pair[1].call not in moved]
