"""What Markdown and HTML have in common, where text flows: what may stand in it, what is code, what must line up."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence

from maskcli.render.heatmap import GLYPHS, expand_heatmaps
from maskcli.render.parts import (
    Cell,
    Cells,
    Code,
    Column,
    Heading,
    Heatmap,
    Paragraph,
    Part,
    Remarks,
    Role,
    Table,
    Text,
)

Piece = tuple[str, bool]
"""A text, and whether it is code."""
TextBlock = Table | Heading | Remarks | Paragraph | Code | tuple[Text, ...]
_SPACE = re.compile(r"[\t-\r\x1c-\x1f\x85\u2028\u2029]")
_UNSHOWN = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
_RULER = re.compile(r"0[\d\s…⋮]*")
_CODE = re.compile(r"(?<![\w`])`([^`\s](?:[^`]*[^`\s])?)`(?![\w`])")


def make_printable(text: str) -> str:
    """Return text on one line, without control characters, lone surrogates, and what turns its direction about."""
    return _UNSHOWN.sub("�", _SPACE.sub(" ", text))


def split_printable_lines(text: str) -> list[str]:
    """Return the lines of code, each printable."""
    return [make_printable(line.expandtabs()).rstrip() for line in re.split("\r\n|\r|\n", text)]


def split_code(text: str) -> list[Piece]:
    """Return prose in pieces; what stands between backticks is code. A backtick within a word is a backtick."""
    parts = _CODE.split(make_printable(text))
    return [(part, index % 2 == 1) for index, part in enumerate(parts) if part]


def format_cell(one: Cell) -> str:
    """Return the text of a cell behind the glyph of its role."""
    return GLYPHS.get(one.role, "") + make_printable(one.text)


def join_cells(cells: Cells) -> str:
    """Return the text of cells that stand together."""
    return "".join(map(format_cell, cells))


def group_cells(cells: Cells) -> list[tuple[Role, Cells]]:
    """Return cells in groups, neighbors of the same role together."""
    return [(role, tuple(group)) for role, group in itertools.groupby(cells, lambda one: one.role)]


def split_blocks(parts: Iterable[Part]) -> Iterator[TextBlock]:
    """Yield what stands apart: parts, or lines that belong together; lines without text part them."""
    lines: tuple[Text, ...] = ()
    for part in expand_heatmaps(list(parts)):
        if isinstance(part, Text) and join_cells(part.cells).strip():
            lines += (part,)
            continue
        if lines:
            yield lines
        lines = ()
        if not isinstance(part, Text | Heatmap):
            yield part
    if lines:
        yield lines


def find_aligned_columns(table: Table) -> tuple[bool, ...]:
    """Return of each column whether its characters must stand below each other: glyphs in a row, numbers in a cell."""
    return tuple(any(_in_characters(row[at]) for row in table.rows) for at in range(len(table.columns)))


def _in_characters(cells: Cells) -> bool:
    return sum(map(is_glyph, cells)) > 1 or any("  " in one.text.strip() for one in cells)


def is_glyph(one: Cell) -> bool:
    """Return whether a cell is nothing but the glyph of its role."""
    return not one.text and one.role in GLYPHS


def is_ruler(column: Column) -> bool:
    """Return whether the title of a column tells the places of the characters below it."""
    return _RULER.fullmatch(column.title) is not None


def measure_columns(rows: Sequence[Sequence[str]]) -> list[int]:
    """Return the characters of the widest text in each column."""
    return [max(map(len, texts)) for texts in zip(*rows, strict=True)]
