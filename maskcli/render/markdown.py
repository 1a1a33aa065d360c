"""Parts as GitHub's Markdown, where glyphs and bold type replace colour."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from maskcli.render.parts import Cells, Code, Column, Heading, Paragraph, Part, Remarks, Section, Table
from maskcli.render.text_flow import (
    TextBlock,
    find_aligned_columns,
    group_cells,
    is_glyph,
    is_ruler,
    join_cells,
    make_printable,
    measure_columns,
    split_blocks,
    split_code,
    split_printable_lines,
)

if TYPE_CHECKING:
    from maskcli.records.remark import Remark

WIDTH = 80
"""Characters that tables are fitted to: about the width of a comment on GitHub."""
UNBROKEN = "\u00a0"
"""A space that Markdown does not merge with its neighbours."""
FEWEST_DASHES = 3
WIDEST_PADDED = 60
"""Most characters of a column that is aligned in the source, too."""
_SPECIAL = re.compile(r"[\\`*\[<|~$&]|(?<![^\W_])_|_(?![^\W_])")
_LINK = re.compile(r"(?<=\w):(?=//)|(?<=www)\.|@(?=\w)", re.IGNORECASE)
_BLOCK = re.compile(r"^(\d+(?=[.)](?:\s|$))|(?=[+-](?:[\s+-]|$)|[=:>#]))")
_CLOSING = re.compile(r"(?<=\s)#")
_SPACES = re.compile("  +")
_NUMBERS = re.compile(r"\d +-?\d")
_TICKS = re.compile("`+")


def render_markdown(sections: Sequence[Section | Part]) -> str:
    """Return ``sections`` as Markdown for any dialect with GitHub's tables."""
    return "\n\n".join(filter(None, map(_render_block, split_blocks(sections)))) + "\n"


def _render_block(block: TextBlock) -> str:
    match block:
        case Heading(title, detail):
            text = " — ".join(filter(str.strip, (title, detail)))
            escaped = _escape_start(_escape(make_printable(text)))
            return f"### {_CLOSING.sub(chr(92) + '#', escaped)}".rstrip()
        case Paragraph(text):
            return _escape_start(_render_prose(text))
        case Code():
            fence = "`" * max(3, _find_longest_run(block.text) + 1)
            return "\n".join((fence + block.language, *split_printable_lines(block.text), fence))
        case Table():
            return _render_table(block)
        case Remarks(remarks):
            return "\n".join(map(_render_remark, remarks))
        case _:
            return "\\\n".join(_escape_start(_render_cells(line.cells)) for line in block)


def _render_remark(remark: Remark) -> str:
    text = _render_prose(remark.text)
    if remark.kind == "warning":
        text = f"**!** {text}"
    return f"- {_escape_start(text)}".rstrip()


# Running text.


def _escape(text: str) -> str:
    """Return text without the meaning that Markdown gives to characters, except at the start of a line."""
    return _LINK.sub(r"\\\g<0>", _SPECIAL.sub(r"\\\g<0>", text))


def _escape_start(line: str) -> str:
    """Return a line that begins no list, heading, quotation or ruler."""
    return _BLOCK.sub(r"\1\\", line.strip())


def _render_prose(text: str, in_table: bool = False) -> str:
    pieces = (_render_code(piece, in_table) if is_code else _escape(piece) for piece, is_code in split_code(text))
    return "".join(pieces).strip()


def _render_cells(cells: Cells, in_table: bool = False) -> str:
    """Return cells; strong ones are bold if they are words of their own."""
    runs = [(role, join_cells(group)) for role, group in group_cells(cells)]
    line = ""
    for index, (role, text) in enumerate(runs):
        before = "".join(text for _, text in runs[:index])
        after = "".join(text for _, text in runs[index + 1 :])
        words = text.strip()
        start = text[: len(text) - len(text.lstrip())]
        end = text[len(start) + len(words) :]
        is_apart = _is_edge((before + start)[-1:]) and _is_edge((end + after)[:1])
        prose = _render_prose(words, in_table)
        if role == "strong" and words and is_apart:
            prose = f"**{prose}**"
        line += start + prose + end
    return _SPACES.sub(lambda spaces: UNBROKEN * (len(spaces[0]) - 1) + " ", line.rstrip())


def _is_edge(character: str) -> bool:
    return not character or character.isspace()


# Code.


def _render_code(text: str, in_table: bool = False) -> str:
    """Return a code span, or the escaped text if a table cannot contain such a span."""
    if in_table and "\\|" in text:
        return _escape(f"`{text}`")
    ticks = "`" * (_find_longest_run(text) + 1)
    if text[:1] in ("`", " ") or text[-1:] in ("`", " "):
        text = f" {text} "
    if in_table:
        text = text.replace("|", "\\|")
    return f"{ticks}{text}{ticks}"


def _find_longest_run(text: str) -> int:
    return max(map(len, _TICKS.findall(text)), default=0)


# Tables.


def _render_table(table: Table) -> str:
    """Return a table whose columns are aligned in the source, too, unless prose makes them wide."""
    if not table.columns:
        return ""
    aligned = find_aligned_columns(table)
    titles = [_render_title(column, in_code) for column, in_code in zip(table.columns, aligned, strict=True)]
    rows = [[_render_cell(cells, in_code) for cells, in_code in zip(row, aligned, strict=True)] for row in table.rows]
    widths = [width if width <= WIDEST_PADDED else 0 for width in measure_columns([titles, *rows])]
    widths = [max(FEWEST_DASHES, width) for width in widths]
    at_right = [column.align == "right" for column in table.columns]
    ruler = ["-" * (width - 1) for width in widths]
    ruler = [f"{dashes}:" if right else f":{dashes}" for dashes, right in zip(ruler, at_right, strict=True)]
    lines = []
    for row in (titles, ruler, *rows):
        places = zip(row, widths, at_right, strict=True)
        lines.append(" | ".join(text.rjust(width) if right else text.ljust(width) for text, width, right in places))
    return "\n".join(f"| {line} |" for line in lines)


def _render_title(column: Column, in_code: bool) -> str:
    """Return the title of a column; a ruler lines up with the characters below it."""
    if in_code and is_ruler(column):
        return _render_characters(make_printable(column.title))
    return _escape(make_printable(column.title)).strip()


def _render_cell(cells: Cells, in_code: bool) -> str:
    text = join_cells(cells)
    if in_code and (any(map(is_glyph, cells)) or _NUMBERS.search(text)):
        return _render_characters(text)
    indent = len(text) - len(text.lstrip(" "))
    return "&nbsp;" * indent + _render_cells(cells, in_table=True).strip()


def _render_characters(text: str) -> str:
    """Return text that lines up character by character, as a code span."""
    return _render_code(text.rstrip().replace(" ", UNBROKEN), in_table=True)
