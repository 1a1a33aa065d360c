"""Things made to fit a screen: tables with columns to spare, prose in a column, legends."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Sequence

from maskcli.render.grid import make_elision_note
from maskcli.render.parts import GLYPH_ROLES, Cell, Cells, Column, Limits, Part, Role, Table, Text

NARROWEST_PROSE = 24
"""Characters that prose is left in a column, however narrow the screen."""
LEGEND_GAP = "   "
UNBROKEN = "\u00a0"
"""A space at which no line breaks; it is shown as any other."""
ProseCell = tuple[str, str]
"""What matters, and the rest of the sentence."""


def measure_cells(cells: Cells) -> int:
    """Return the characters of cells that stand together, with their glyphs."""
    return sum(len(one.text) + (one.role in GLYPH_ROLES) for one in cells)


def measure_table(table: Table) -> int:
    """Return the characters of the widest line of a table."""
    titles = tuple((Cell(column.title),) for column in table.columns)
    widths = (max(map(measure_cells, cells)) + 2 for cells in zip(titles, *table.rows, strict=True))
    return max(0, sum(widths) - 2)


def fit_table(table: Table, spare: Sequence[str], limits: Limits) -> list[Part]:
    """Return a table without those columns of ``spare`` that do not fit, the first one first, and a note of them."""
    gone: list[str] = []
    for title in spare:
        if limits.everything or measure_table(table) <= limits.width:
            break
        if any(column.title == title for column in table.columns):
            table = _without(table, title)
            gone.append(title)
    return [table, *make_elision_note(f"{', '.join(gone)} not shown" if gone else "")]


def _without(table: Table, title: str) -> Table:
    kept = [index for index, column in enumerate(table.columns) if column.title != title]
    return Table(
        tuple(table.columns[index] for index in kept), tuple(tuple(row[index] for index in kept) for row in table.rows)
    )


def add_prose(columns: Sequence[Column], rows: Sequence[tuple[tuple[Cells, ...], ProseCell]], limits: Limits) -> Table:
    """Return a table with one more column, of prose, which goes on below itself where the screen ends."""
    beside = Table(tuple(columns[:-1]), tuple(cells for cells, _ in rows))
    room = sys.maxsize if limits.flows else max(NARROWEST_PROSE, limits.width - measure_table(beside) - 2)
    return Table(tuple(columns), tuple(line for cells, said in rows for line in _told(cells, said, room)))


def _told(cells: tuple[Cells, ...], said: ProseCell, room: int) -> Iterator[tuple[Cells, ...]]:
    first, rest = said
    for line in textwrap.wrap(first + rest, room, break_on_hyphens=False) or [""]:
        shown = line.replace(UNBROKEN, " ")
        yield (*cells, (Cell(shown[: len(first)], "plain"), Cell(shown[len(first) :], "muted")))
        cells, first = ((),) * len(cells), first[len(line) + 1 :]


def make_legend(entries: Sequence[tuple[Role, str]], limits: Limits) -> list[Part]:
    """Return what glyphs mean, in lines that never part a glyph from its meaning."""
    lines: list[list[Cell]] = []
    taken = limits.width
    for role, meaning in entries:
        told = Cell(f" {meaning}", "muted")
        width = measure_cells((Cell("", role), told))
        if taken + len(LEGEND_GAP) + width >= limits.width:
            lines.append([])
            taken = 1
        else:
            lines[-1].append(Cell(LEGEND_GAP))
            taken += len(LEGEND_GAP)
        lines[-1] += [Cell("", role), told]
        taken += width
    return [Text(tuple(line)) for line in lines]


def make_bar(share: float, room: int, role: Role) -> Cells:
    """Return a bar of that part of the room; a character at least of anything more than nothing."""
    length = max(1, round(min(share, 1.0) * room)) if share > 0 else 0
    return tuple(Cell("", role) for _ in range(length))
