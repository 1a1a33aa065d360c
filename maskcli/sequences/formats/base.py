"""What a reader hands over, and what a format is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from maskcli.errors import InputError
from maskcli.records import Layout, PaddedBatch, RaggedSequences


@dataclasses.dataclass(frozen=True)
class Parsed:
    """The rows of one file, framed but with no value judged yet.

    Attributes:
        rows: a list with one entry for each sequence, an array with one row for each, or ragged sequences.
        where: names the place of row ``i`` in the file, for messages.
        layout: how the file says that its rows are padded; None when it says nothing.
    """

    rows: list[Any] | np.ndarray[Any, np.dtype[Any]] | RaggedSequences
    where: Callable[[int], str]
    layout: Layout | None = None


@dataclasses.dataclass(frozen=True)
class Field:
    """Which field of a record, or array of an archive, is wanted.

    Attributes:
        name: None leaves the choice to what is there, when only one will do.
        option: that names it, for messages.
        numbers: whether floats and vectors will do, as they do for targets.
    """

    name: str | None = None
    option: str = "--field"
    numbers: bool = False


@dataclasses.dataclass(frozen=True)
class Format:
    """One file format.

    Attributes:
        name: as ``--input-format`` spells it.
        suffixes: that tell it, lower case.
        read: ``(data, name, field)`` to the rows; raises InputError.
        looks_like: whether content without a suffix is of this format; the first one in the table that says so wins.
        write: a padded batch to bytes; None for a format that maskcli only reads.
    """

    name: str
    suffixes: tuple[str, ...]
    read: Callable[[bytes, str, Field], Parsed]
    looks_like: Callable[[bytes], bool]
    write: Callable[[PaddedBatch], bytes] | None = None


def decode(data: bytes, name: str) -> str:
    """Return UTF-8 text, without a byte order mark; raise InputError with the line of the first bad byte."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            where=f"{name}:{line}",
            expected="UTF-8 text",
            received=f"byte 0x{data[error.start]:02x} at offset {error.start}",
            fix="Save it as UTF-8, or name its format with --input-format.",
        ) from None


def quoted(names: Sequence[object]) -> str:
    """Return names for a message, quoted; a long list is cut."""
    shown = ", ".join(repr(name) for name in names[:8])
    return f"{shown} and {len(names) - 8} more" if len(names) > 8 else shown or "none"
