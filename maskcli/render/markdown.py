"""Parts to GitHub's Markdown, where a glyph or bold type says what a colour would."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from maskcli.render.parts import Cells, Code, Column, Heading, Paragraph, Part, Remarks, Table
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
"""Characters that tables are fitted to: about what fits beside each other in a comment on GitHub."""
UNBROKEN = "\u00a0"
"""A space that stays where others run together."""
FEWEST_DASHES = 3
WIDEST_PADDED = 60
"""Characters of a cell up to which its column is aligned in the source too."""
_SPECIAL = re.compile(r"[\\`*\[<|~$&]|(?<![^\W_])_|_(?![^\W_])")
_LINK = re.compile(r"(?<=\w):(?=//)|(?<=www)\.|@(?=\w)", re.IGNORECASE)
_BLOCK = re.compile(r"^(\d+(?=[.)](?:\s|$))|(?=[+-](?:[\s+-]|$)|[=:>#]))")
_CLOSING = re.compile(r"(?<=\s)#")
_SPACES = re.compile("  +")
_NUMBERS = re.compile(r"\d +-?\d")
_TICKS = re.compile("`+")


def render_markdown(parts: Sequence[Part]) -> str:
    """Return ``parts`` as Markdown that any dialect with GitHub's tables shows alike."""
    return "\n\n".join(filter(None, map(_block, split_blocks(parts)))) + "\n"


def _block(block: TextBlock) -> str:
    match block:
        case Heading(title, detail):
            said = " — ".join(filter(str.strip, (title, detail)))
            return f"### {_CLOSING.sub(chr(92) + '#', _at_start(_escaped(make_printable(said))))}".rstrip()
        case Paragraph(text):
            return _at_start(_prose(text))
        case Code():
            return _fenced(block)
        case Table():
            return _table(block)
        case Remarks(remarks):
            return "\n".join(map(_remark, remarks))
        case _:
            return "\\\n".join(_at_start(_inline(line.cells)) for line in block)


def _remark(remark: Remark) -> str:
    sign = "**!** " if remark.kind == "warning" else ""
    return f"- {_at_start(sign + _prose(remark.text))}".rstrip()


# Running text.


def _escaped(text: str) -> str:
    """Return text in which nothing is Markdown, wherever on a line it stands but at its start."""
    return _LINK.sub(r"\\\g<0>", _SPECIAL.sub(r"\\\g<0>", text))


def _at_start(line: str) -> str:
    """Return a line that begins no list, heading, quotation or ruler."""
    return _BLOCK.sub(r"\1\\", line.strip())


def _prose(text: str, in_table: bool = False) -> str:
    said = (_code(piece, in_table) if is_code else _escaped(piece) for piece, is_code in split_code(text))
    return "".join(said).strip()


def _inline(cells: Cells, in_table: bool = False) -> str:
    """Return cells that stand together, those that are strong in bold where they are words of their own."""
    said = [(role, join_cells(run)) for role, run in group_cells(cells)]
    line = ""
    for index, (role, text) in enumerate(said):
        before, after = ("".join(each for _, each in beside) for beside in (said[:index], said[index + 1 :]))
        start, words, end = _parted(text)
        apart = _is_edge((before + start)[-1:]) and _is_edge((end + after)[:1])
        told = _prose(words, in_table)
        line += start + (f"**{told}**" if role == "strong" and words and apart else told) + end
    return _SPACES.sub(lambda spaces: UNBROKEN * (len(spaces[0]) - 1) + " ", line.rstrip())


def _parted(text: str) -> tuple[str, str, str]:
    words = text.strip()
    start = text[: len(text) - len(text.lstrip())]
    return start, words, text[len(start) + len(words) :]


def _is_edge(character: str) -> bool:
    return not character or character.isspace()


# Code.


def _code(text: str, in_table: bool = False) -> str:
    """Return a code span; where a table has no way to write it, the text as it is."""
    if in_table and "\\|" in text:
        return _escaped(f"`{text}`")
    ticks = "`" * (_longest_run(text) + 1)
    space = " " if text[:1] in ("`", " ") or text[-1:] in ("`", " ") else ""
    return f"{ticks}{space}{text.replace('|', chr(92) + '|') if in_table else text}{space}{ticks}"


def _fenced(code: Code) -> str:
    lines = split_printable_lines(code.text)
    fence = "`" * max(3, _longest_run(code.text) + 1)
    return "\n".join((fence + code.language, *lines, fence))


def _longest_run(text: str) -> int:
    return max(map(len, _TICKS.findall(text)), default=0)


# Tables.


def _table(table: Table) -> str:
    """Return a table whose columns are aligned in the source as well, up to where prose makes them wide."""
    if not table.columns:
        return ""
    in_code = find_aligned_columns(table)
    titles = [_title(column, code) for column, code in zip(table.columns, in_code, strict=True)]
    rows = [[_cell(cells, code) for cells, code in zip(row, in_code, strict=True)] for row in table.rows]
    widths = [width if width <= WIDEST_PADDED else 0 for width in measure_columns([titles, *rows])]
    return "\n".join(_source(table.columns, titles, rows, [max(FEWEST_DASHES, width) for width in widths]))


def _source(columns: Sequence[Column], titles: list[str], rows: list[list[str]], widths: list[int]) -> Iterator[str]:
    right = [column.align == "right" for column in columns]
    dashes = [
        f"{'-' * (width - 1)}:" if at_right else f":{'-' * (width - 1)}"
        for width, at_right in zip(widths, right, strict=True)
    ]
    for row in (titles, dashes, *rows):
        padded = (
            text.rjust(width) if at_right else text.ljust(width)
            for text, width, at_right in zip(row, widths, right, strict=True)
        )
        yield f"| {' | '.join(padded)} |"


def _title(column: Column, code: bool) -> str:
    """Return the name of a column; one that is a ruler over its characters lines up with them."""
    if code and is_ruler(column):
        return _characters(make_printable(column.title))
    return _escaped(make_printable(column.title)).strip()


def _cell(cells: Cells, code: bool) -> str:
    text = join_cells(cells)
    if code and (any(map(is_glyph, cells)) or _NUMBERS.search(text)):
        return _characters(text)
    indent = len(text) - len(text.lstrip(" "))
    return "&nbsp;" * indent + _inline(cells, in_table=True).strip()


def _characters(text: str) -> str:
    """Return what lines up character by character as a code span."""
    return _code(text.rstrip().replace(" ", UNBROKEN), in_table=True)
