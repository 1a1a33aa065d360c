"""Parts to a fragment of HTML, with the style that goes with it: nothing is loaded, and nothing runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from maskcli.render.grid import SEE_ALL
from maskcli.render.heatmap import GLYPHS
from maskcli.render.parts import Cell, Cells, Code, Column, Heading, Paragraph, Part, Remarks, Role, Table, Text
from maskcli.render.text_flow import (
    TextBlock,
    find_aligned_columns,
    group_cells,
    is_ruler,
    join_cells,
    make_printable,
    split_blocks,
    split_code,
    split_printable_lines,
)

if TYPE_CHECKING:
    from maskcli.records.remark import Remark

LIGHT: Mapping[str, str] = {
    "bg": "#ffffff", "soft": "#f3f5f7", "line": "#d5dae0", "fg": "#1f2328",
    "muted": "#59636e", "padding": "#59636e", "off": "#59636e", "heat0": "#59636e",
    "dropped": "#b0211a", "error": "#b0211a", "counted": "#805000", "warning": "#805000",
    "label": "#0a5a72", "info": "#0a5a72", "on": "#116329",
    "heat1": "#3168b5", "heat2": "#26579f", "heat3": "#1b4482", "heat4": "#10305f",
}  # fmt: skip
DARK: Mapping[str, str] = {
    "bg": "#15181d", "soft": "#20252c", "line": "#3a424d", "fg": "#e6e9ed",
    "muted": "#a0aab5", "padding": "#a0aab5", "off": "#a0aab5", "heat0": "#a0aab5",
    "dropped": "#ff9088", "error": "#ff9088", "counted": "#f0b849", "warning": "#f0b849",
    "label": "#7fcfe6", "info": "#7fcfe6", "on": "#66d392",
    "heat1": "#78a9ea", "heat2": "#93bcf1", "heat3": "#b3d1f8", "heat4": "#d8e8fd",
}  # fmt: skip
"""A color for each role that has one, by name, and those of the page; text reads on ``bg`` and on ``soft``."""
BOLD: tuple[Role, ...] = ("strong", "dropped", "counted", "error", "warning")
PROSE = 40
"""Characters of a cell from which on its column is wrapped."""
_LAYOUT = """
.maskcli{background:var(--mk-bg);color:var(--mk-fg);padding:.25em .75em .75em;line-height:1.5;
  font-family:system-ui,-apple-system,"Segoe UI","Noto Sans",Helvetica,Arial,sans-serif;font-size:14px}
.maskcli :is(h2,h3,h4){margin:1.25em 0 .5em;font-size:1.15em;line-height:1.3;font-weight:600;color:inherit;
  overflow-wrap:anywhere}
.maskcli h2{font-size:1.35em}
.maskcli .mk-detail{font-weight:400;color:var(--mk-muted);margin-left:.4em}
.maskcli :is(p,ul){margin:.5em 0;max-width:80em;overflow-wrap:anywhere}
.maskcli .mk-lines{white-space:pre-wrap}
.maskcli ul{padding-left:1.5em}
.maskcli code,.maskcli .mk-run{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;
  font-size:.93em}
.maskcli.maskcli code{background:var(--mk-soft);color:inherit;padding:.1em .3em;border-radius:3px}
.maskcli.maskcli pre{background:var(--mk-soft);color:inherit;border:0;white-space:pre;
  padding:.75em 1em;overflow-x:auto;margin:.5em 0;line-height:1.45}
.maskcli.maskcli pre code{background:none;padding:0;border:0}
.maskcli .mk-scroll{overflow-x:auto;margin:.5em 0}
.maskcli :is(.mk-scroll,pre):focus-visible{outline:2px solid var(--mk-label);outline-offset:2px}
.maskcli.maskcli table{border-collapse:collapse;border:0;margin:0;font-size:inherit;color:inherit;
  font-variant-numeric:tabular-nums;width:auto}
.maskcli.maskcli thead{border-bottom:1px solid var(--mk-line)}
.maskcli.maskcli tbody tr+tr{border-top:1px solid var(--mk-soft)}
.maskcli.maskcli :is(th,td){border:0;padding:.15em .45em;text-align:left;vertical-align:baseline;white-space:pre;
  max-width:none;font-weight:400;background:var(--mk-bg);line-height:inherit}
.maskcli.maskcli thead :is(th,td){font-weight:600;vertical-align:bottom}
.maskcli.maskcli :is(th,td):first-child{padding-left:.15em}
.maskcli.maskcli .mk-right{text-align:right}
.maskcli.maskcli .mk-prose{white-space:normal;min-width:18em;max-width:48em}
.maskcli.maskcli .mk-run{line-height:1.25}
"""
_PRINT = """
@media print{
.maskcli{font-size:11px}
.maskcli.maskcli :is(.mk-scroll,pre){overflow:visible}
.maskcli.maskcli pre{white-space:pre-wrap}
.maskcli thead{display:table-header-group}
.maskcli :is(tr,li,pre){break-inside:avoid}
.maskcli :is(h2,h3,h4){break-after:avoid}
}
"""


def render_html(parts: Sequence[Part], level: int = 3) -> str:
    """Return ``parts`` as a fragment of HTML, to stand within ``<div class="maskcli">`` of a page that has ``STYLE``.

    Args:
        parts: what to show.
        level: of their headings.
    """
    lines, heading = [], ""
    taken: dict[str, int] = {}
    for block in split_blocks(map(_without_option, parts)):
        if isinstance(block, Heading):
            heading = make_printable(block.title).strip()
        if isinstance(block, Table | Code):
            taken[heading] = taken.get(heading, 0) + 1
        name = heading if taken.get(heading, 0) < 2 else f"{heading}, {taken[heading]}"
        lines.append(_block(block, name.strip() or "Result", level))
    return "".join(f"{line}\n" for line in lines)


def _without_option(part: Part) -> Part:
    """Return a part without the advice to use an option, which a page does not have."""
    if not isinstance(part, Text):
        return part
    return Text(tuple(dataclasses.replace(cell, text=cell.text.removesuffix(SEE_ALL)) for cell in part.cells))


def render_standalone_html(parts: Sequence[Part]) -> str:
    """Return ``parts`` with their style, for where no page is at hand, such as the output of a notebook's cell."""
    return f'<div class="maskcli">\n<style>{STYLE}</style>\n{render_html(parts)}</div>'


def _block(block: TextBlock, name: str, level: int) -> str:
    match block:
        case Heading(title, detail):
            behind = f' <span class="mk-detail">{_text(detail)}</span>' if detail.strip() else ""
            return f"<h{level}>{_text(title)}{behind}</h{level}>"
        case Paragraph(text):
            return f"<p>{_prose(text)}</p>"
        case Code():
            return _code(block, name)
        case Table():
            return "\n".join(_table(block, name))
        case Remarks(remarks):
            return "\n".join(("<ul>", *map(_remark, remarks), "</ul>")) if remarks else ""
        case _:
            return f'<p class="mk-lines">{"<br>".join(map(_line, block))}</p>'


# Running text.


def _text(text: str) -> str:
    return escape(make_printable(text).strip())


def _prose(text: str) -> str:
    """Return prose, in which what stands between backticks is code."""
    said = (f"<code>{escape(piece)}</code>" if is_code else escape(piece) for piece, is_code in split_code(text))
    return "".join(said)


def _line(line: Text) -> str:
    return _inline(line.cells).strip()


def _inline(cells: Cells) -> str:
    """Return cells that stand together, each run of a role in an element of its class."""
    return "".join(_run(role, run) for role, run in group_cells(cells))


def _run(role: Role, cells: Cells) -> str:
    """Return cells of one role; their prose is read as a whole, since a view may part it at its backticks."""
    if role in GLYPHS:
        said = "".join(_glyph(one) + _prose(one.text) for one in cells)
    else:
        said = _prose("".join(one.text for one in cells))
    return said if role == "plain" or not said else f'<span class="mk-{role}">{said}</span>'


def _glyph(one: Cell) -> str:
    """Return the glyph of a cell, hidden from who is read to where the text behind it is its name."""
    glyph = escape(GLYPHS[one.role])
    return f'<span aria-hidden="true">{glyph}</span>' if one.text.strip() == one.role else glyph


def _remark(remark: Remark) -> str:
    sign = '<span class="mk-warning" role="img" aria-label="Warning:">!</span> ' if remark.kind == "warning" else ""
    return f"<li>{sign}{_prose(remark.text)}</li>"


def _code(code: Code, name: str) -> str:
    language = f' class="language-{escape(code.language)}"' if code.language else ""
    lines = escape("\n".join(split_printable_lines(code.text)))
    return f"<pre{_region(name)}><code{language}>{lines}</code></pre>"


# Tables.


def _region(name: str) -> str:
    """Return what makes an element that can scroll one that the keyboard can reach."""
    return f' tabindex="0" role="region" aria-label="{escape(name)}"'


def _table(table: Table, name: str) -> Iterator[str]:
    classes = [_classes(table, at, run) for at, run in enumerate(find_aligned_columns(table))]
    titles = "".join(_title(column, of) for column, of in zip(table.columns, classes, strict=True))
    yield f'<div class="mk-scroll"{_region(name)}>'
    yield f"<table>\n<thead>\n<tr>{titles}</tr>\n</thead>\n<tbody>"
    for row in table.rows:
        cells = (_cell(cells, of, first=not at) for at, (cells, of) in enumerate(zip(row, classes, strict=True)))
        yield f"<tr>{''.join(cells)}</tr>"
    yield "</tbody>\n</table>\n</div>"


def _classes(table: Table, at: int, run: bool) -> tuple[str, ...]:
    """Return the classes of a column: which side it is on, whether its characters line up, whether it wraps."""
    prose = not run and any(len(join_cells(row[at])) > PROSE for row in table.rows)
    held = {"mk-right": table.columns[at].align == "right", "mk-run": run, "mk-prose": prose}
    return tuple(name for name, holds in held.items() if holds)


def _attribute(classes: Sequence[str]) -> str:
    return f' class="{" ".join(classes)}"' if classes else ""


def _title(column: Column, classes: tuple[str, ...]) -> str:
    of = _attribute([name for name in classes if name != "mk-run" or is_ruler(column)])
    title = _text(column.title)
    return f'<th scope="col"{of}>{title}</th>' if title else f"<td{of}></td>"


def _cell(cells: Cells, classes: tuple[str, ...], first: bool) -> str:
    text, of = _inline(cells), _attribute(classes)
    if first and any(one.role == "label" for one in cells) and join_cells(cells).strip():
        return f'<th scope="row"{of}>{text}</th>'
    return f"<td{of}>{text}</td>"


# Style.


def _style() -> str:
    light, dark = f"color-scheme:light;{_variables(LIGHT)}", f"color-scheme:dark;{_variables(DARK)}"
    roles = (name for name in LIGHT if name not in ("bg", "soft", "line", "fg"))
    colors = "".join(f".maskcli .mk-{role}{{color:var(--mk-{role})}}\n" for role in roles)
    bold = ",".join(f".mk-{role}" for role in BOLD)
    return (
        f"\n.maskcli{{{light}}}\n"
        f"@media screen and (prefers-color-scheme:dark){{.maskcli{{{dark}}}}}\n"
        f"@media screen{{:is([data-jp-theme-light=true],.vscode-light) .maskcli{{{light}}}\n"
        f":is([data-jp-theme-light=false],.vscode-dark) .maskcli{{{dark}}}}}"
        f"{_LAYOUT}{colors}.maskcli :is({bold}){{font-weight:600}}{_PRINT}"
    )


def _variables(palette: Mapping[str, str]) -> str:
    return ";".join(f"--mk-{name}:{color}" for name, color in palette.items())


STYLE: str = _style()
"""The style of what ``render_html`` makes, for light and dark; it touches nothing outside ``.maskcli``."""
