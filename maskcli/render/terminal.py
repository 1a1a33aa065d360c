"""Parts for a terminal, a pipe or a text file."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from maskcli.render.colors import find_color_system, is_plain_stdout, make_console_options
from maskcli.render.parts import (
    GLYPHS,
    RULE,
    Cell,
    Cells,
    Code,
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
    measure_cells,
    measure_table,
)

if TYPE_CHECKING:
    from maskcli.records.remark import Remark

ASCII = str.maketrans(
    {
        "·": "~",
        "■": "#",
        "□": "o",
        "◆": "P",
        "▁": "_",
        "░": ".",
        "▒": "+",
        "▓": "%",
        "█": "@",
        "→": ">",
        "…": "...",
        "–": "-",
        "│": "|",
        "×": "x",
        "≠": "!=",
        "•": "*",
        "⋮": ":",
        "Δ": "d",
    }
)
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
NARROWEST_TERMINAL = 20
"""A narrower width is not that of a terminal: some report 0 if they do not know it."""
WIDEST_PROSE = 100
"""Characters of a line of prose on a wide terminal."""
NARROWEST_PROSE = 24
"""Characters of a line of prose in a column, also on a narrow terminal."""
_WORD = re.compile(r"(?:`[^`]*`|[^ `]|`)+")
"""A word, or several within backticks."""


class Console(Protocol):
    """The properties of a screen or a file; a ``rich.console.Console`` has them, too."""

    @property
    def width(self) -> int:
        """Characters of a line."""

    @property
    def encoding(self) -> str:
        """The encoding of the text."""

    @property
    def color_system(self) -> str | None:
        """The colours in the words of rich; None without styles."""

    @property
    def no_color(self) -> bool:
        """Whether text is styled without colours, as bold."""


class PlainConsole(NamedTuple):
    """A console whose properties are known without rich; by default one without styles."""

    width: int = 80
    encoding: str = "utf-8"
    color_system: str | None = None
    no_color: bool = False


def make_stdout_console() -> Console:
    """Return a console on standard output, as wide as the terminal, or 80 columns if its width is unknown."""
    is_plain = is_plain_stdout()
    color_system = None if is_plain else find_color_system()
    if is_plain or color_system is not None:
        width = _measure_width()
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        return PlainConsole(width if width >= NARROWEST_TERMINAL else 80, encoding.lower(), color_system)
    from rich.console import Console as RichConsole  # Loaded here, because only unusual terminals need it.

    options = make_console_options()
    console = RichConsole(file=sys.stdout, **options)
    if console.width < NARROWEST_TERMINAL:
        return RichConsole(file=sys.stdout, width=80, **options)
    return console


def _measure_width() -> int:
    """Return COLUMNS, or the width of the terminal that standard input or an output still has, or 80."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdigit():
        return int(columns)
    for descriptor in range(3):
        with contextlib.suppress(OSError, ValueError):
            return os.get_terminal_size(descriptor).columns
    return 80


def make_file_console() -> Console:
    """Return a console for a text file: 80 columns of UTF-8 without colour."""
    return PlainConsole()


def make_text_console() -> Console:
    """Return a console for text without colour, as wide as that on standard output."""
    return PlainConsole(make_stdout_console().width)


def render_bytes(sections: Sequence[Section | Part], console: Console) -> bytes:
    """Return ``sections`` in the console's encoding; an encoding without the glyphs gets ASCII."""
    text = render_text(sections, console)
    if _has_unicode(console.encoding):
        return text.encode(errors="replace")
    return text.translate(ASCII).encode("ascii", "replace")


def render_text(sections: Sequence[Section | Part], console: Console) -> str:
    """Return the text of ``sections`` for ``console``; a table wider than the console is not cut or wrapped."""
    lines: list[str] = []
    colours = console.color_system is not None and not console.no_color
    before: Part | None = None
    for part in _expand_heatmaps(sections, colours, _has_unicode(console.encoding)):
        begins_group = isinstance(part, Heading | Paragraph) or (
            isinstance(part, Remarks) and not isinstance(before, Heading)
        )
        if before is not None and begins_group:
            lines.append("")
        lines += _draw_part(part, console)
        before = part
    return "".join(f"{line.rstrip()}\n" for text in lines for line in text.split("\n"))


def _expand_heatmaps(sections: Sequence[Section | Part], colours: bool, unicode: bool) -> Iterable[Part]:
    """Return the parts, with tables in place of heat maps."""
    parts = list(iterate_parts(sections))
    if not any(isinstance(part, Heatmap) for part in parts):
        return parts
    from maskcli.render.heatmap import Screen, expand_heatmaps  # Loaded here, because it loads NumPy.

    return expand_heatmaps(parts, Screen(colours, unicode))


def _draw_part(part: Part, console: Console) -> Iterator[str]:  # noqa: C901 - one case for each type of part
    """Yield the lines of a part."""
    width = console.width
    match part:
        case Heading():
            yield from _draw_lines(_wrap_lines(_style_heading(part, width), width), console)
        case Text(cells):
            yield from _draw_lines(_wrap_lines(cells, width - 1), console, " ")
        case Prose():
            yield from _draw_lines(_wrap_prose(part, min(width, WIDEST_PROSE) - 1), console, " ")
        case Paragraph(text):
            yield from _draw_lines(_wrap_lines((Cell(text),), width - 1), console, " ")
        case Code(text):
            yield from _draw_lines(((Cell(line, "label"),) for line in text.split("\n")), console, "    ")
        case Table():
            yield from _draw_lines(_draw_table(_wrap_table(part, width)), console)
        case Remarks(remarks):
            for remark in remarks:
                yield from _draw_remark(remark, console)


def _draw_lines(lines: Iterable[Cells], console: Console, margin: str = "") -> Iterator[str]:
    for cells in lines:
        yield margin + _paint_cells(cells, console)


def _style_heading(heading: Heading, width: int) -> Cells:
    title = Cell(heading.title, "strong")
    if not heading.detail:
        return (title,)
    fits = len(heading.title) + len(heading.detail) + 2 <= width
    return title, Cell("  " if fits else "\n "), Cell(heading.detail)


def _draw_remark(remark: Remark, console: Console) -> Iterator[str]:
    """Yield the lines of a remark, which hang after its glyph."""
    role: Role = "warning" if remark.kind == "warning" else "info"
    margin = f" {_paint_cells((Cell(GLYPHS[role], role),), console)} "
    for line in _draw_lines(_wrap_lines((Cell(remark.text),), console.width - 3), console):
        yield margin + line
        margin = "   "


def _paint_cells(cells: Cells, console: Console) -> str:
    """Return cells with the styles of a console; neighbours with the same style become one piece of text."""
    if console.color_system is None:
        return _make_printable("".join(cell.text for cell in cells))
    from maskcli.render.painting import Paint  # Loaded here, because a pipe or a file needs no styles.

    paint = Paint(console.color_system, not console.no_color)
    pieces = itertools.groupby(cells, lambda cell: (cell.role, cell.level, cell.paper))
    return "".join(paint.style(_make_printable("".join(cell.text for cell in group)), *key) for key, group in pieces)


def _make_printable(text: str) -> str:
    """Return text without control characters and changes of direction, which a model file may contain."""
    return CONTROL.sub("�", text)


def _has_unicode(encoding: str) -> bool:
    return encoding.lower().replace("-", "").startswith("utf")


# Prose.


def wrap_cells(cells: Cells, width: int, first_width: int | None = None) -> list[Cells]:
    """Return lines of at most ``width`` characters; code in backticks is broken only if it is longer.

    Args:
        cells: a text without glyphs.
        width: of a line.
        first_width: of the first line, if that is shorter; it stays empty if the first word does not fit.
    """
    text = "".join(cell.text for cell in cells)
    lines: list[tuple[int, int]] = []
    room = width if first_width is None else first_width
    for start, end in _find_words(text, width):
        if lines and end - lines[-1][0] <= room:
            lines[-1] = (lines[-1][0], end)
            continue
        if not lines and end - start > room:
            lines.append((start, start))
        if lines:
            room = width
        lines.append((start, end))
    return [_slice_cells(cells, start, end) for start, end in lines] or [()]


def _wrap_lines(cells: Cells, width: int) -> Iterator[Cells]:
    """Yield lines of at most ``width`` characters; the spaces at the start of a line stay there."""
    start = 0
    for line in "".join(cell.text for cell in cells).split("\n"):
        indent = len(line) - len(line.lstrip(" "))
        content = _slice_cells(cells, start + indent, start + len(line))
        first, *further = wrap_cells(content, max(1, width), max(1, width - indent))
        yield (Cell(" " * indent), *first)
        yield from further
        start += len(line) + 1


def _find_words(text: str, width: int) -> Iterator[tuple[int, int]]:
    """Yield the start and the end of each word; one longer than a line is cut, at its spaces if it is code."""
    for word in _WORD.finditer(text):
        if len(word[0]) <= width:
            yield word.span()
            continue
        for piece in re.finditer("[^ ]+", word[0]):
            for start in range(piece.start(), piece.end(), width):
                yield word.start() + start, word.start() + min(start + width, piece.end())


def _slice_cells(cells: Cells, start: int, end: int) -> Cells:
    """Return the characters from ``start`` to ``end`` of the text of cells."""
    ends = list(itertools.accumulate(len(cell.text) for cell in cells))
    begins = [0, *ends]
    pieces = (
        Cell(cell.text[max(0, start - begin) : max(0, end - begin)], cell.role, cell.level, cell.paper)
        for cell, begin in zip(cells, begins, strict=False)
    )
    return tuple(piece for piece in pieces if piece.text)


def _wrap_prose(prose: Prose, width: int) -> Iterator[Cells]:
    taken = prose.indent + measure_cells(prose.lead)
    first, *further = wrap_cells(prose.cells, width - prose.hang, width - taken)
    yield (Cell(" " * prose.indent), *prose.lead, *first)
    for line in further:
        yield (Cell(" " * prose.hang), *line)


# Tables.


def _wrap_table(table: Table, width: int) -> Table:
    """Return a table whose columns of prose fit the screen, on further lines if necessary."""
    prose = [index for index, column in enumerate(table.columns) if column.prose]
    if not prose:
        return table
    (index,) = prose
    narrow = Table(
        (*table.columns[:index], *table.columns[index + 1 :]),
        tuple((*row[:index], *row[index + 1 :]) for row in table.rows),
    )
    room = max(NARROWEST_PROSE, width - measure_table(narrow) - 2)
    rows: list[tuple[Cells, ...]] = []
    for row in table.rows:
        first, *further = wrap_cells(row[index], room)
        rows.append((*row[:index], first, *row[index + 1 :]))
        rows += [((),) * index + (line,) + ((),) * (len(row) - index - 1) for line in further]
    return Table(table.columns, tuple(rows))


def _draw_table(table: Table) -> Iterator[Cells]:
    """Yield the lines of a table."""
    columns = table.columns
    titles = tuple((Cell(column.title, "strong"),) for column in columns)
    widths = [max(map(measure_cells, cells)) for cells in zip(titles, *table.rows, strict=True)]
    for row in (titles, *table.rows):
        line: list[Cell] = []
        for cells, width, column, following in zip(row, widths, columns, (*columns[1:], None), strict=True):
            room, at_right = Cell(" " * (width - measure_cells(cells))), column.align == "right"
            line += (Cell(RULE, "faint"),) if column.rule else ()
            line += (room, *cells) if at_right else (*cells, room)
            line.append(Cell(" " if following is not None and following.rule else "  "))
        yield _strip_line(line)


def _strip_line(cells: list[Cell]) -> Cells:
    """Return cells without spaces at the end, unless these show a colour."""
    kept = list(cells)
    while kept and kept[-1].paper is None and not kept[-1].text.strip():
        kept.pop()
    if kept and kept[-1].paper is None:
        kept[-1] = dataclasses.replace(kept[-1], text=kept[-1].text.rstrip())
    return tuple(kept)
