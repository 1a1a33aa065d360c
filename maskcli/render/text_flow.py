"""Helpers shared by the Markdown and HTML renderers: printable text, code spans, blocks, aligned columns."""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence

from maskcli.render.heatmap import expand_heatmaps
from maskcli.render.parts import (
    GLYPHS,
    Cell,
    Cells,
    Code,
    Column,
    Heading,
    Heatmap,
    Paragraph,
    Part,
    Prose,
    Remarks,
    Role,
    Section,
    Table,
    Text,
    iterate_parts,
)

Piece = tuple[str, bool]
"""A text, and whether it is code."""
TextBlock = Table | Heading | Remarks | Paragraph | Code | tuple[Text, ...]
_SPACE = re.compile(r"[\t-\r\x1c-\x1f\x85\u2028\u2029]")
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
_RULER = re.compile(r"0[\d\s…⋮]*")
_CODE = re.compile(r"(?<![\w`])`([^`\s](?:[^`]*[^`\s])?)`(?![\w`])")


def make_printable(text: str) -> str:
    """Return text on one line, without control characters, lone surrogates and changes of direction."""
    return _UNPRINTABLE.sub("�", _SPACE.sub(" ", text))


def split_printable_lines(text: str) -> list[str]:
    """Return the lines of code, each printable."""
    return [make_printable(line.expandtabs()).rstrip() for line in re.split("\r\n|\r|\n", text)]


def escape_html(text: object) -> str:
    """Return text as HTML, also for an attribute in quotes."""
    return html.escape(make_printable(str(text)))


def split_code(text: str) -> list[Piece]:
    """Return prose in pieces: text between backticks is code. A backtick within a word is not special."""
    parts = _CODE.split(make_printable(text))
    return [(part, index % 2 == 1) for index, part in enumerate(parts) if part]


def join_cells(cells: Cells) -> str:
    """Return the text of cells."""
    return "".join(make_printable(cell.text) for cell in cells)


def group_cells(cells: Cells) -> list[tuple[Role, Cells]]:
    """Return cells in groups of neighbours with the same role."""
    return [(role, tuple(group)) for role, group in itertools.groupby(cells, lambda cell: cell.role)]


def split_blocks(sections: Iterable[Section | Part]) -> Iterator[TextBlock]:
    """Yield blocks: parts, or consecutive lines of text. A line without text separates blocks."""
    lines: tuple[Text, ...] = ()
    for part in expand_heatmaps(iterate_parts(sections)):
        if isinstance(part, Prose):
            part = Text((Cell(" " * part.indent), *part.lead, *part.cells))
        if isinstance(part, Text) and join_cells(part.cells).strip():
            lines += (part,)
            continue
        if lines:
            yield lines
        lines = ()
        if not isinstance(part, Text | Heatmap):  # Heat maps have become tables.
            yield part
    if lines:
        yield lines


def find_aligned_columns(table: Table) -> tuple[bool, ...]:
    """Return for each column whether its characters must line up: glyphs in a row, or numbers in a cell."""
    return tuple(any(_is_aligned(row[index]) for row in table.rows) for index in range(len(table.columns)))


def _is_aligned(cells: Cells) -> bool:
    return sum(map(is_glyph, cells)) > 1 or any("  " in cell.text.strip() for cell in cells)


def is_glyph(cell: Cell) -> bool:
    """Return whether a cell is only the glyph of its role."""
    return cell.text == GLYPHS.get(cell.role)


def is_ruler(column: Column) -> bool:
    """Return whether the title of a column numbers the characters below it."""
    return _RULER.fullmatch(column.title) is not None


def measure_columns(rows: Sequence[Sequence[str]]) -> list[int]:
    """Return the characters of the widest text in each column."""
    return [max(map(len, texts)) for texts in zip(*rows, strict=True)]
