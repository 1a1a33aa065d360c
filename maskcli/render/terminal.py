"""Parts to a terminal, a pipe or a text file: the one place that knows rich styles and glyphs."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text as RichText

from maskcli.render.parts import Cell, Heading, Part, Remarks, Role, Table, Text

STYLES: dict[Role, str] = {
    "plain": "",
    "valid": "",
    "padding": "bright_black",
    "dropped": "bold red",
    "on": "green",
    "off": "bright_black",
    "muted": "bright_black",
    "label": "cyan",
    "strong": "bold",
}
GLYPHS: dict[Role, str] = {"padding": "·", "dropped": "!", "on": "■", "off": "□"}
ASCII = str.maketrans(
    {"·": "~", "■": "#", "□": "o", "→": ">", "…": "...", "–": "-", "×": "x", "≠": "!=", "•": "*", "⋮": ":"}
)
MANY_ROWS = 200
NARROWEST = 20
"""Columns below which a width is no terminal's, such as the 0 of some that do not know theirs."""
_UNBOUNDED = 1_000_000


def stdout_console() -> Console:
    """Return a console on standard output, as wide as the terminal, or 80 columns where none is known."""
    console = Console(file=sys.stdout)
    return console if console.width >= NARROWEST else Console(file=sys.stdout, width=80)


def file_console() -> Console:
    """Return a console for a text file: 80 columns of UTF-8 without colour."""
    return Console(file=io.TextIOWrapper(io.BytesIO(), "utf-8"), width=80, color_system=None)


def to_bytes(parts: Sequence[Part], console: Console) -> bytes:
    """Return ``parts`` as bytes in the console's encoding; what that has no signs for is spelled in ASCII."""
    text = to_text(parts, console)
    if _speaks_unicode(console.encoding):
        return text.encode(errors="replace")
    return text.translate(ASCII).encode("ascii", "replace")


def to_text(parts: Sequence[Part], console: Console) -> str:
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
        if index and isinstance(part, Heading | Remarks):
            inner.print()
        _show(part, inner, console.width)
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().split("\n")[:-1])


def _show(part: Part, console: Console, width: int) -> None:
    match part:
        case Heading(title, detail):
            apart = "  " if len(title) + len(detail) + 2 <= width else "\n "
            console.print(RichText.assemble((title, "bold"), apart if detail else "", detail), width=width)
        case Text(cells):
            console.print(Padding(_styled(cells), (0, 0, 0, 1)), width=width)
        case Table(_, rows) if len(rows) > MANY_ROWS:
            for line in _lines(part):
                console.print(line, soft_wrap=True)
        case Table():
            console.print(_rich_table(part))
        case Remarks(remarks):
            for remark in remarks:
                sign, style = ("!", "bold yellow") if remark.kind == "warning" else ("•", "cyan")
                grid = RichTable.grid(padding=(0, 1))
                grid.add_row(RichText(f" {sign}", style), RichText(remark.text))
                console.print(grid, width=width)


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
    return RichText.assemble(*((GLYPHS.get(cell.role, "") + cell.text, STYLES[cell.role]) for cell in cells))


def _speaks_unicode(encoding: str) -> bool:
    return encoding.lower().replace("-", "").startswith("utf")
