"""The parts of every output: cells with roles, tables, headings, remarks. A renderer turns roles into style."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from maskcli.render.timesteps import TimestepKind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from maskcli.records.arrays import Floats
    from maskcli.records.remark import Remark

Role = Literal[
    "plain", "muted", "faint", "label", "strong", "padding", "masked", "counted", "on", "off",
    "heat0", "heat1", "heat2", "heat3", "heat4", "error", "warning", "info",
]  # fmt: skip
"""``muted`` is secondary text, ``faint`` a rule or a gap that a reader may miss.
``padding``, ``masked`` and ``counted`` are kinds of timestep; ``on`` and ``off`` are True and False in a mask.
``heat0`` to ``heat4`` are levels of an amount. ``error``, ``warning`` and ``info`` are severities."""

HEAT: tuple[Role, ...] = ("heat0", "heat1", "heat2", "heat3", "heat4")
"""About zero, then the quarters up to the largest amount."""

KIND_ROLES: dict[int, Role] = {
    TimestepKind.PADDING: "padding",
    TimestepKind.VALID: "on",
    TimestepKind.HIDDEN: "masked",
    TimestepKind.COUNTED: "counted",
    TimestepKind.NOT_FINITE: "error",
}
"""The role of a kind of timestep that is displayed as a glyph. A valid token with a text is plain."""

GLYPHS: dict[Role, str] = {
    **{KIND_ROLES[kind]: kind.glyph for kind in TimestepKind},
    "off": "□",
    "heat0": "▁",
    "heat1": "░",
    "heat2": "▒",
    "heat3": "▓",
    "heat4": "█",
    "warning": "!",
    "info": "•",
}
"""The first character of a cell, for roles that must be readable without colour."""
RULE = "│ "
"""In front of a column that begins a group; the gap before it is one space narrower."""
Color = Role | float
"""The colour of a role, or of a level from 0 to 1."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """A short text and its role.

    Attributes:
        text: begins with the glyph of the role, if it has one; see ``mark``.
        role: decides the style.
        level: its exact amount, for terminals with enough colours; other renderers use the role.
        paper: the background colour on such a terminal.
    """

    text: str
    role: Role = "plain"
    level: float | None = None
    paper: Color | None = None


Cells = tuple[Cell, ...]
"""Cells without a space between them."""


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: above the column.
        align: the side that its cells are aligned to.
        prose: whether a terminal wraps its texts where the lines of the table end.
        rule: whether it begins another group of numbers, which a terminal separates from the one before.
    """

    title: str
    align: Literal["left", "right"] = "right"
    prose: bool = False
    rule: bool = False


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Table:
    """Rows of cells; each row has cells for every column."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cells, ...], ...]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Heading:
    """The title of the parts that follow, and a short comment on them."""

    title: str
    detail: str = ""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Text:
    """A line of cells."""

    cells: Cells


BLANK = Text(())
"""An empty line, which separates groups of lines."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Prose:
    """Lines of running text, wrapped by a terminal only.

    Attributes:
        cells: the text.
        lead: cells in front of the first line.
        indent: spaces before the first line.
        hang: spaces before further lines.
    """

    cells: Cells
    lead: Cells = ()
    indent: int = 0
    hang: int = 0


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Remarks:
    """Conclusions from the evidence."""

    remarks: tuple[Remark, ...]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Paragraph:
    """Running text with an empty line before it."""

    text: str


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Code:
    """Lines of code, never wrapped; ``language`` is a name that highlighters know."""

    text: str
    language: str = ""


Resolution = Literal["full", "half"]
"""Rows of a matrix on each line of a screen: one or two."""


@dataclasses.dataclass(frozen=True)
class Scale:
    """The legend of levels: level 0 is ``smallest`` and level 1 is ``largest``, both of ``quantity``."""

    quantity: str
    smallest: str
    largest: str


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Heatmap:
    """A matrix drawn with one character per cell: a row for each sample, a column for each timestep.

    Attributes:
        kinds: ``(rows, columns)``, the kind of each cell, as an index of ``meanings``.
        meanings: role and description of each kind; cells of a kind whose role is one of ``HEAT`` have a level.
        levels: ``(rows, columns)``, from 0 to 1, used at those cells only; None if no kind has such a role.
        scale: the legend of the levels.
        axes: names of the rows and of the columns.
        margin: columns of text on the right, a title and a text for each row; only with one row per line.
        resolution: the resolution to use; a matrix that half blocks cannot represent is drawn in full.
        limits: how much of the matrix is displayed.
    """

    kinds: NDArray[np.int8]
    meanings: tuple[tuple[Role, str], ...]
    limits: Limits
    levels: Floats | None = None
    scale: Scale | None = None
    axes: tuple[str, str] = ("sample", "timestep")
    margin: tuple[tuple[str, tuple[str, ...]], ...] = ()
    resolution: Resolution = "full"


Part = Table | Heading | Text | Prose | Remarks | Paragraph | Code | Heatmap

SectionName = Literal[
    "about", "inputs", "batch", "embedding", "mask-path", "outputs", "further-outputs", "mask-sources", "findings",
    "leak", "future", "notes", "result", "total", "losses", "shares", "lengths", "largest", "batch-sizes", "reductions",
    "metrics", "answer", "next", "verdicts", "remarks", "attention", "rules", "models", "validity", "repairs",
    "data", "ids", "sweep", "batches", "groups", "sides", "weights",
]  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Section:
    """Parts that belong together, under a name that other code can rely on. Headings are free to change."""

    name: SectionName
    parts: tuple[Part, ...]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Limits:
    """How much of large results is displayed.

    Attributes:
        rows: most rows of a table; None for all.
        columns: most columns of a matrix in a table; None for as many as fit.
        width: characters per line.
        everything: display everything, regardless of the other limits.
        flows: prose is wrapped where it is displayed, so that views need no room for it.
    """

    rows: int | None
    columns: int | None
    width: int
    everything: bool = False
    flows: bool = False


def make_sections(*sections: tuple[SectionName, Iterable[Part]]) -> list[Section]:
    """Return the sections that have parts."""
    listed = [Section(name, tuple(parts)) for name, parts in sections]
    return [section for section in listed if section.parts]


def make_remarks(remarks: Sequence[Remark]) -> list[Part]:
    """Return remarks as a part, if there are any."""
    if not remarks:
        return []
    return [Remarks(tuple(remarks))]


def suggest_next(text: str) -> list[Part]:
    """Return the command to try next."""
    return [Paragraph(f"Next: {text}")]


def iterate_parts(sections: Iterable[Section | Part]) -> Iterator[Part]:
    """Yield the parts of sections, and parts outside of sections."""
    for section in sections:
        if isinstance(section, Section):
            yield from section.parts
        else:
            yield section


def elide(count: int, limit: int | None) -> list[int | None]:
    """Return the indices of ``count`` items to display, with None where the middle is left out.

    A single item is never left out, since the gap needs as much room. ``limit`` is at least 2.
    """
    if limit is None or count <= limit or count <= 2:
        return list(range(count))
    head = (limit + 1) // 2
    tail = limit // 2
    if count - head - tail < 2:
        return list(range(count))
    return [*range(head), None, *range(count - tail, count)]


def mark(role: Role, text: object = "") -> Cell:
    """Return a text after the glyph of its role."""
    return Cell(f"{GLYPHS.get(role, '')}{text}", role)


def make_cell(text: object, role: Role = "plain") -> Cells:
    """Return one cell as the content of a column, with the glyph of its role."""
    return (mark(role, text),)


def measure_cells(cells: Cells) -> int:
    """Return the characters of cells."""
    return sum(len(cell.text) for cell in cells)


def measure_table(table: Table) -> int:
    """Return the characters of the widest line of a table."""
    titles = tuple((Cell(column.title),) for column in table.columns)
    widths = (max(map(measure_cells, cells)) + 2 for cells in zip(titles, *table.rows, strict=True))
    return max(0, sum(widths) - 2) + sum(column.rule for column in table.columns)
