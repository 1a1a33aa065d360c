"""Parts for a terminal, a pipe or a text file: the one module that knows rich and its styles."""

from __future__ import annotations

import functools
import io
import itertools
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich.color import Color as RichColor
from rich.console import Console
from rich.padding import Padding
from rich.style import Style
from rich.table import Table as RichTable
from rich.text import Text as RichText

from maskcli.render.colors import make_console_options
from maskcli.render.parts import (
    GLYPHS,
    HEAT,
    KIND_ROLES,
    RULE,
    Cell,
    Cells,
    Code,
    Color,
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
from maskcli.render.timesteps import TimestepKind

if TYPE_CHECKING:
    from maskcli.records.remark import Remark

STYLES: dict[Role, str] = {
    "plain": "",
    **{KIND_ROLES[kind]: kind.style for kind in TimestepKind},
    "off": "",
    "heat0": "dim",
    "heat1": "blue",
    "heat2": "cyan",
    "heat3": "magenta",
    "heat4": "bright_magenta",
    "muted": "",
    "faint": "dim",
    "label": "cyan",
    "strong": "bold",
    "error": "bold red",
    "warning": "bold yellow",
    "info": "cyan",
}
"""Nothing that carries information is dim, which on Solarized is hardly visible, or bright black, its background."""
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
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
NARROWEST_TERMINAL = 20
"""A narrower width is not that of a terminal: some report 0 if they do not know it."""
WIDEST_PROSE = 100
"""Characters of a line of prose on a wide terminal."""
NARROWEST_PROSE = 24
"""Characters of a line of prose in a column, also on a narrow terminal."""
_UNBOUNDED = 1_000_000
_WORD = re.compile(r"(?:`[^`]*`|[^ `]|`)+")
"""A word, or several within backticks."""


def make_stdout_console() -> Console:
    """Return a console on standard output, as wide as the terminal, or 80 columns if its width is unknown."""
    options = make_console_options()
    console = Console(file=sys.stdout, **options)
    if console.width < NARROWEST_TERMINAL:
        return Console(file=sys.stdout, width=80, **options)
    return console


def make_file_console() -> Console:
    """Return a console for a text file: 80 columns of UTF-8 without colour."""
    return Console(file=io.TextIOWrapper(io.BytesIO(), "utf-8"), width=80, color_system=None)


def make_text_console() -> Console:
    """Return a console for text without colour, as wide as that on standard output."""
    return Console(file=io.TextIOWrapper(io.BytesIO(), "utf-8"), width=make_stdout_console().width, color_system=None)


def render_bytes(sections: Sequence[Section | Part], console: Console) -> bytes:
    """Return ``sections`` in the console's encoding; an encoding without the glyphs gets ASCII."""
    text = render_text(sections, console)
    if _has_unicode(console.encoding):
        return text.encode(errors="replace")
    return text.translate(ASCII).encode("ascii", "replace")


def render_text(sections: Sequence[Section | Part], console: Console) -> str:
    """Return the text of ``sections`` for ``console``; a table wider than the console is not cut or wrapped."""
    out = io.StringIO()
    inner = Console(
        file=out,
        width=_UNBOUNDED,
        force_terminal=console.is_terminal,
        color_system=console.color_system,  # type: ignore[arg-type]
        no_color=console.no_color,
        emoji=False,
        markup=False,
        highlight=False,
        legacy_windows=False,
    )
    colours = console.color_system is not None and not console.no_color
    before: Part | None = None
    for part in _expand_heatmaps(sections, colours, _has_unicode(console.encoding)):
        begins_group = isinstance(part, Heading | Paragraph) or (
            isinstance(part, Remarks) and not isinstance(before, Heading)
        )
        if before is not None and begins_group:
            inner.print()
        _print_part(part, inner, console.width)
        before = part
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().split("\n")[:-1])


def _expand_heatmaps(sections: Sequence[Section | Part], colours: bool, unicode: bool) -> Iterable[Part]:
    """Return the parts, with tables in place of heat maps."""
    parts = list(iterate_parts(sections))
    if not any(isinstance(part, Heatmap) for part in parts):
        return parts
    from maskcli.render.heatmap import Screen, expand_heatmaps  # Loaded here, because it loads NumPy.

    return expand_heatmaps(parts, Screen(colours, unicode))


def _print_part(  # noqa: C901 - one case for each type of part
    part: Part, console: Console, width: int
) -> None:
    match part:
        case Heading():
            console.print(_style_heading(part, width), width=width)
        case Text(cells):
            console.print(Padding(_style_cells(cells, console), (0, 0, 0, 1)), width=width)
        case Prose():
            for cells in _wrap_prose(part, min(width, WIDEST_PROSE) - 1):
                console.print(_style_cells((Cell(" "), *cells), console), soft_wrap=True)
        case Paragraph(text):
            console.print(Padding(RichText(_make_printable(text)), (0, 0, 0, 1)), width=width)
        case Code(text):
            console.print(RichText(textwrap.indent(text, "    "), STYLES["label"]), soft_wrap=True)
        case Table():
            for line in _draw_table(_wrap_table(part, width), console):
                console.print(line, soft_wrap=True)
        case Remarks(remarks):
            for remark in remarks:
                console.print(_make_remark(remark), width=width)


def _style_heading(heading: Heading, width: int) -> RichText:
    title = (_make_printable(heading.title), "bold")
    if not heading.detail:
        return RichText.assemble(title)
    fits = len(heading.title) + len(heading.detail) + 2 <= width
    return RichText.assemble(title, "  " if fits else "\n ", _make_printable(heading.detail))


def _make_remark(remark: Remark) -> RichTable:
    role: Role = "warning" if remark.kind == "warning" else "info"
    grid = RichTable.grid(padding=(0, 1))
    grid.add_row(RichText(f" {GLYPHS[role]}", STYLES[role]), RichText(_make_printable(remark.text)))
    return grid


def _style_cells(cells: Cells, console: Console) -> RichText:
    """Return cells with styles; neighbours with the same style become one piece of text."""
    fine = console.color_system in ("256", "truecolor")
    text = RichText()
    for (role, level, paper), group in itertools.groupby(cells, lambda cell: (cell.role, cell.level, cell.paper)):
        style = _find_style(role if level is None else level, fine)
        characters = _make_printable("".join(cell.text for cell in group))
        # With 16 colours, a level keeps its glyph, because so few colours do not distinguish the levels.
        if paper is not None and (fine or paper != level):
            characters, style = _add_paper(characters, style, _find_style(paper, fine))
        text.append(characters, style)
    return text


def _add_paper(characters: str, ink: Style, paper: Style) -> tuple[str, Style]:
    """Return characters on a colour; dim paper has no colour, so that ink and paper swap their halves."""
    from maskcli.render.heatmap import LOWER_HALF, UPPER_HALF

    if paper.color is None:
        return characters.replace(UPPER_HALF, LOWER_HALF), paper + Style(bgcolor=ink.color)
    return characters, ink + Style(bgcolor=paper.color)


@functools.cache
def _find_style(color: Color, fine: bool) -> Style:
    """Return the style of a role or level; with 16 colours, a level has the style of its quarter."""
    if not isinstance(color, float):
        return Style.parse(STYLES[color])
    from maskcli.render.heatmap import quantize_level, shade_level

    if fine:
        return Style(color=RichColor.from_rgb(*shade_level(color)))
    return Style.parse(STYLES[HEAT[quantize_level(color)]])


def _make_printable(text: str) -> str:
    """Return text without control characters, which a terminal would obey: a model file may contain some."""
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
        Cell(cell.text[max(0, start - begin) : max(0, end - begin)], cell.role)
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


def _draw_table(table: Table, console: Console) -> Iterator[RichText]:
    """Yield the lines of a table; rich's own tables take six times as long on many rows."""
    columns = table.columns
    titles = tuple((Cell(column.title, "strong"),) for column in columns)
    widths = [max(map(measure_cells, cells)) for cells in zip(titles, *table.rows, strict=True)]
    for row in (titles, *table.rows):
        line = RichText()
        for cells, width, column, following in zip(row, widths, columns, (*columns[1:], None), strict=True):
            room, at_right = " " * (width - measure_cells(cells)), column.align == "right"
            line.append(RULE if column.rule else "", STYLES["faint"])
            line.append(room if at_right else "")
            line.append_text(_style_cells(cells, console))
            line.append("" if at_right else room)
            line.append(" " if following is not None and following.rule else "  ")
        line.rstrip()
        yield line
