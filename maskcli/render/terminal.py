"""Parts to a terminal, a pipe or a text file: the one place that knows rich styles and glyphs."""

from __future__ import annotations

import functools
import io
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.color import Color
from rich.console import Console
from rich.padding import Padding
from rich.style import Style
from rich.table import Table as RichTable
from rich.text import Text as RichText

from maskcli.render.heatmap import GLYPHS, CellColor, Span, SpanLine, draw_heatmap, quantize_level, shade_level
from maskcli.render.parts import HEAT, Cell, Code, Heading, Heatmap, Paragraph, Part, Remarks, Role, Table, Text

if TYPE_CHECKING:
    from maskcli.records.remark import Remark

STYLES: dict[Role, str] = {
    "plain": "",
    "valid": "",
    "padding": "bright_black",
    "dropped": "bold red",
    "counted": "bold yellow",
    "on": "green",
    "off": "bright_black",
    "heat0": "bright_black",
    "heat1": "blue",
    "heat2": "bright_blue",
    "heat3": "magenta",
    "heat4": "bright_magenta",
    "muted": "bright_black",
    "label": "cyan",
    "strong": "bold",
    "error": "bold red",
    "warning": "bold yellow",
    "info": "cyan",
}
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
        "×": "x",
        "≠": "!=",
        "•": "*",
        "⋮": ":",
    }
)
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
MANY_ROWS = 200
NARROWEST = 20
"""Columns below which a width is no terminal's, such as the 0 of some that do not know theirs."""
_UNBOUNDED = 1_000_000


def make_stdout_console() -> Console:
    """Return a console on standard output, as wide as the terminal, or 80 columns where none is known."""
    console = Console(file=sys.stdout)
    return console if console.width >= NARROWEST else Console(file=sys.stdout, width=80)


def make_file_console() -> Console:
    """Return a console for a text file: 80 columns of UTF-8 without colour."""
    return Console(file=io.TextIOWrapper(io.BytesIO(), "utf-8"), width=80, color_system=None)


def render_bytes(parts: Sequence[Part], console: Console) -> bytes:
    """Return ``parts`` as bytes in the console's encoding; what that has no signs for is spelled in ASCII."""
    text = render_text(parts, console)
    if _speaks_unicode(console.encoding):
        return text.encode(errors="replace")
    return text.translate(ASCII).encode("ascii", "replace")


def render_text(parts: Sequence[Part], console: Console) -> str:
    """Return ``parts`` as the text that ``console`` is to show; a table wider than it is never cut or wrapped."""
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
    for index, part in enumerate(parts):
        if index and isinstance(part, Heading | Remarks | Paragraph):
            inner.print()
        if isinstance(part, Heatmap):
            _show_heatmap(part, inner, console.width, _speaks_unicode(console.encoding))
        else:
            _show(part, inner, console.width)
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().split("\n")[:-1])


def _show(part: Part, console: Console, width: int) -> None:
    match part:
        case Heading():
            console.print(_heading(part, width), width=width)
        case Text(cells):
            console.print(Padding(_styled(cells), (0, 0, 0, 1)), width=width)
        case Paragraph(words):
            console.print(Padding(RichText(_printable(words)), (0, 0, 0, 1)), width=width)
        case Code(lines):
            console.print(RichText(textwrap.indent(lines, "    "), STYLES["label"]), soft_wrap=True)
        case Table():
            _show_table(part, console)
        case Remarks(remarks):
            for remark in remarks:
                console.print(_remark(remark), width=width)


def _heading(heading: Heading, width: int) -> RichText:
    apart = "  " if len(heading.title) + len(heading.detail) + 2 <= width else "\n "
    return RichText.assemble(
        (_printable(heading.title), "bold"), apart if heading.detail else "", _printable(heading.detail)
    )


def _remark(remark: Remark) -> RichTable:
    sign, style = ("!", "bold yellow") if remark.kind == "warning" else ("•", "cyan")
    grid = RichTable.grid(padding=(0, 1))
    grid.add_row(RichText(f" {sign}", style), RichText(_printable(remark.text)))
    return grid


def _show_table(table: Table, console: Console) -> None:
    if len(table.rows) > MANY_ROWS:
        for line in _lines(table):
            console.print(line, soft_wrap=True)
    else:
        console.print(_rich_table(table))


def _rich_table(table: Table) -> RichTable:
    rich = RichTable(box=None, padding=(0, 1, 0, 1), header_style="bold", pad_edge=False, show_edge=False)
    for column in table.columns:
        rich.add_column(column.title, justify=column.align, no_wrap=True)
    for row in table.rows:
        rich.add_row(*(_styled(cells) for cells in row))
    return rich


def _lines(table: Table) -> Iterator[RichText]:
    """Return the lines that ``_rich_table`` has, some six times as fast: rich measures every cell several times."""
    title = tuple((Cell(column.title, "strong"),) for column in table.columns)
    widths = [max(map(_width, cells)) for cells in zip(title, *table.rows, strict=True)]
    right = [column.align == "right" for column in table.columns]
    for row in (title, *table.rows):
        line = RichText()
        for cells, width, at_right in zip(row, widths, right, strict=True):
            room = " " * (width - _width(cells))
            line.append(room if at_right else "")
            line.append_text(_styled(cells))
            line.append("  " if at_right else f"{room}  ")
        line.rstrip()
        yield line


def _width(cells: tuple[Cell, ...]) -> int:
    return sum(len(cell.text) + len(GLYPHS.get(cell.role, "")) for cell in cells)


def _styled(cells: tuple[Cell, ...]) -> RichText:
    return RichText.assemble(
        *((GLYPHS.get(cell.role, "") + _printable(cell.text), STYLES[cell.role]) for cell in cells)
    )


def _show_heatmap(heatmap: Heatmap, console: Console, width: int, unicode: bool) -> None:
    colours = console.color_system is not None and not console.no_color
    finer = console.color_system in ("256", "truecolor")
    matrix, below = draw_heatmap(heatmap, colours, unicode)
    for line in matrix:
        console.print(_painted(line, finer), soft_wrap=True)
    for line in below:
        console.print(Padding(_painted(line, finer), (0, 0, 0, 1)), width=width)


def _painted(line: SpanLine, finer: bool) -> RichText:
    text = RichText.assemble(*((_printable(dab.text), _style(dab, finer)) for dab in line))
    text.rstrip()
    return text


def _style(dab: Span, finer: bool) -> Style:
    """Return the style of a dab; with 16 colours a level keeps its glyph, of which colours alone tell too little."""
    ink = _of_ink(dab.ink, finer)
    if dab.paper is None or (dab.paper == dab.ink and not finer):
        return ink
    return ink + Style(bgcolor=_of_ink(dab.paper, finer).color)


@functools.cache
def _of_ink(ink: CellColor, finer: bool) -> Style:
    """Return the style of an ink; with 16 colours that of a quarter of the largest."""
    if isinstance(ink, float):
        return (
            Style(color=Color.from_rgb(*shade_level(ink))) if finer else Style.parse(STYLES[HEAT[quantize_level(ink)]])
        )
    return Style.parse(STYLES[ink or "plain"])


def _printable(text: str) -> str:
    """Return text without control characters, which names in a model file may hold, and a terminal would obey."""
    return CONTROL.sub("�", text)


def _speaks_unicode(encoding: str) -> bool:
    return encoding.lower().replace("-", "").startswith("utf")
