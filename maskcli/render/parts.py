"""What any output is made of: cells with roles, tables, headings and remarks. A renderer turns roles into style."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from maskcli.records.arrays import Floats
    from maskcli.records.remark import Remark


Role = Literal[
    "plain",
    "valid",
    "padding",
    "dropped",
    "counted",
    "on",
    "off",
    "heat0",
    "heat1",
    "heat2",
    "heat3",
    "heat4",
    "muted",
    "label",
    "strong",
    "error",
    "warning",
    "info",
]
"""``valid`` is a timestep that counts, ``padding`` one that does not, ``dropped`` a real token that the mask hides,
``counted`` padding that counts as if it were data; ``on`` and ``off`` are a mask's True and False, and ``heat0`` to
``heat4`` say how much of something there is, none of which have a text of their own; ``error``, ``warning`` and
``info`` say how bad something is."""

HEAT: tuple[Role, ...] = ("heat0", "heat1", "heat2", "heat3", "heat4")
"""About nothing, and the quarters of the largest."""

GLYPH_ROLES: frozenset[Role] = frozenset(
    ("padding", "dropped", "counted", "on", "off", *HEAT, "error", "warning", "info")
)
"""Roles that are told by a glyph of one character too, which stands before the text of the cell."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """A short text and what it is."""

    text: str
    role: Role = "plain"


Cells = tuple[Cell, ...]


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table."""

    title: str
    align: Literal["left", "right"] = "right"


@dataclasses.dataclass(frozen=True)
class Table:
    """Cells in rows, each row a tuple with a tuple of cells for each column; cells of one column stand together."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[tuple[Cell, ...], ...], ...]


@dataclasses.dataclass(frozen=True)
class Heading:
    """The name of what follows, and a few words on it."""

    title: str
    detail: str = ""


@dataclasses.dataclass(frozen=True)
class Text:
    """A line of cells."""

    cells: tuple[Cell, ...]


@dataclasses.dataclass(frozen=True)
class Remarks:
    """What follows from the evidence."""

    remarks: tuple[Remark, ...]


@dataclasses.dataclass(frozen=True)
class Paragraph:
    """Running text, apart from what stands before it."""

    text: str


@dataclasses.dataclass(frozen=True)
class Code:
    """Lines of code, never wrapped; ``language`` is a name that highlighters know."""

    text: str
    language: str = ""


Resolution = Literal["full", "half"]
"""Of a matrix on a screen: a row of it on each line, or two."""


@dataclasses.dataclass(frozen=True)
class Scale:
    """What a level is a part of: 1 stands for ``largest``, the largest ``what``, and 0 for ``smallest``."""

    what: str
    smallest: str
    largest: str


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Heatmap:
    """A matrix to be seen at a glance: a row for each sample, a column for each timestep.

    Attributes:
        kinds: ``(rows, columns)``, what each of its cells is, as an index of ``meanings``.
        meanings: the role of each kind, and what it means, in words; the cells of a kind whose role is one of ``HEAT``
            are told by their level.
        levels: ``(rows, columns)``, from 0 to 1, read at those cells alone; None where no kind has such a role.
        scale: what the levels are parts of.
        axes: what a row and a column are called.
        beside: columns of text at the right, a title and a text for each row; for where there is a line for each row.
        resolution: what is asked for; where that cannot tell all there is to see, it is drawn in full.
        limits: how much of it is shown.
    """

    kinds: NDArray[np.int8]
    meanings: tuple[tuple[Role, str], ...]
    limits: Limits
    levels: Floats | None = None
    scale: Scale | None = None
    axes: tuple[str, str] = ("sample", "timestep")
    beside: tuple[tuple[str, tuple[str, ...]], ...] = ()
    resolution: Resolution = "full"


Part = Table | Heading | Text | Remarks | Paragraph | Code | Heatmap


@dataclasses.dataclass(frozen=True)
class Limits:
    """How much of large things is shown.

    Attributes:
        rows: of a table; None shows all.
        columns: of a matrix in a table; None shows as many as fit.
        width: characters on a line, to which things are fitted.
        everything: show all, whatever the other limits say.
        flows: prose is wrapped where it is shown, and not broken into lines here.
    """

    rows: int | None
    columns: int | None
    width: int
    everything: bool = False
    flows: bool = False


def elide(count: int, limit: int | None) -> list[int | None]:
    """Return the indices of ``count`` things to show, with None where the middle is left out; ``limit`` is at least 2.

    One thing alone is never left out: the gap takes its place on the screen.
    """
    if limit is None or count <= limit or count <= 2:
        return list(range(count))
    head = (limit + 1) // 2
    tail = limit // 2
    if count - head - tail < 2:
        return list(range(count))
    return [*range(head), None, *range(count - tail, count)]


def make_cell(text: object, role: Role = "plain") -> tuple[Cell, ...]:
    """Return one cell as the content of a column."""
    return (Cell(str(text), role),)
