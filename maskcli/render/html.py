"""Parts as a fragment of HTML, with its style: nothing is loaded, and no script runs."""

from __future__ import annotations

import dataclasses
import importlib.resources
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from maskcli.render.parts import (
    GLYPHS,
    KIND_ROLES,
    Cell,
    Cells,
    Code,
    Column,
    Heading,
    Paragraph,
    Part,
    Remarks,
    Role,
    Section,
    Table,
    Text,
    iterate_parts,
)
from maskcli.render.tables import SEE_ALL
from maskcli.render.text_flow import (
    TextBlock,
    escape_html,
    find_aligned_columns,
    group_cells,
    is_ruler,
    join_cells,
    make_printable,
    split_blocks,
    split_code,
    split_printable_lines,
)
from maskcli.render.timesteps import TimestepKind

if TYPE_CHECKING:
    from maskcli.records.remark import Remark

Palette = Mapping[str, tuple[str, str]]
"""Colours by name: on a light page, and on a dark one."""
GRAY = ("#59636e", "#a0aab5")
AMBER = ("#805000", "#f0b849")
CYAN = ("#0a5a72", "#7fcfe6")
PAGE_COLORS: Palette = {
    "bg": ("#ffffff", "#15181d"),
    "soft": ("#f3f5f7", "#20252c"),
    "line": ("#d5dae0", "#3a424d"),
    "fg": ("#1f2328", "#e6e9ed"),
}
ROLE_COLORS: Palette = {
    "muted": GRAY,
    "faint": GRAY,
    **{KIND_ROLES[kind]: (kind.light, kind.dark) for kind in TimestepKind},
    "off": GRAY,
    "heat0": GRAY,
    "heat1": ("#3168b5", "#78a9ea"),
    "heat2": ("#26579f", "#93bcf1"),
    "heat3": ("#1b4482", "#b3d1f8"),
    "heat4": ("#10305f", "#d8e8fd"),
    "warning": AMBER,
    "label": CYAN,
    "info": CYAN,
}
"""Colours of the roles that have one, legible on ``bg`` and on ``soft``."""
COLORS: Palette = {**PAGE_COLORS, **ROLE_COLORS}
LIGHT_HOSTS = (
    "[data-jp-theme-light=true]",  # JupyterLab, Notebook 7, nbconvert
    ".vscode-light",
    ".vscode-high-contrast-light",
    "[data-vscode-theme-kind=vscode-light]",
    "[data-vscode-theme-kind=vscode-high-contrast-light]",
    "html[theme=light]",
    "html:not([theme=dark]) [id=output-area]",  # Colab, whose light theme may have no attribute
)
DARK_HOSTS = (
    "[data-jp-theme-light=false]",
    ".vscode-dark",
    # The light high-contrast theme has this class, too.
    ".vscode-high-contrast:not(.vscode-high-contrast-light)",
    "[data-vscode-theme-kind=vscode-dark]",
    "[data-vscode-theme-kind=vscode-high-contrast]",
    "html[theme=dark]",
)
"""Elements around the output of a notebook's cell, which name the notebook's theme. The system's may differ."""
HOST_COLORS = ("--jp-content-font-color1", "--vscode-editor-foreground", "--colab-primary-text-color")
"""Custom properties with the colour of a notebook's text, of which a page has at most one."""
BOLD: tuple[Role, ...] = ("strong", "masked", "counted", "error", "warning")
SHORTEST_PROSE = 40
"""Characters of a cell beyond which its column is wrapped."""


def render_html(sections: Sequence[Section | Part]) -> str:
    """Return ``sections`` as HTML for a ``<div class="maskcli">`` of a page that has ``STYLE``."""
    lines, heading = [], ""
    counts = Counter[str]()
    for block in split_blocks(map(_remove_option, iterate_parts(sections))):
        if isinstance(block, Heading):
            heading = make_printable(block.title).strip()
        if isinstance(block, Table | Code):
            counts[heading] += 1
        name = heading or "Result"
        # Each region that scrolls needs a name of its own.
        if counts[heading] > 1:
            name = f"{heading}, {counts[heading]}".strip()
        lines.append(_render_block(block, name))
    return "".join(f"{line}\n" for line in lines)


def _remove_option(part: Part) -> Part:
    """Return a part without the advice to use a command line option, which a page does not have."""
    if not isinstance(part, Text):
        return part
    return Text(tuple(dataclasses.replace(cell, text=cell.text.removesuffix(SEE_ALL)) for cell in part.cells))


def render_standalone_html(sections: Sequence[Section | Part]) -> str:
    """Return ``sections`` with their style, such as for the output of a notebook's cell."""
    return f'<div class="maskcli">\n<style>{STYLE}</style>\n{render_html(sections)}</div>'


def _render_block(block: TextBlock, name: str) -> str:
    match block:
        case Heading(title, detail):
            text = escape_html(title).strip()
            if detail.strip():
                text += f' <span class="mk-detail">{escape_html(detail).strip()}</span>'
            return f"<h3>{text}</h3>"
        case Paragraph(text):
            return f"<p>{render_prose(text)}</p>"
        case Code():
            return _render_code(block, name)
        case Table():
            return "\n".join(_render_table(block, name))
        case Remarks(remarks):
            return "\n".join(("<ul>", *map(_render_remark, remarks), "</ul>")) if remarks else ""
        case _:
            return f'<p class="mk-lines">{"<br>".join(_render_cells(line.cells).strip() for line in block)}</p>'


# Running text.


def render_prose(text: str) -> str:
    """Return prose as HTML; text between backticks is code."""
    pieces = (f"<code>{escape(piece)}</code>" if is_code else escape(piece) for piece, is_code in split_code(text))
    return "".join(pieces)


def _render_cells(cells: Cells) -> str:
    """Return cells, each run of a role in an element of its class."""
    return "".join(_render_run(role, run) for role, run in group_cells(cells))


def _render_run(role: Role, cells: Cells) -> str:
    """Return cells of one role. Their prose is read as a whole, since a view may split it at backticks."""
    if role in GLYPHS:
        content = "".join(_render_mark(cell) for cell in cells)
    else:
        content = render_prose("".join(cell.text for cell in cells))
    if role == "plain" or not content:
        return content
    return f'<span class="mk-{role}">{content}</span>'


def _render_mark(cell: Cell) -> str:
    """Return a cell; its glyph is hidden from screen readers if the text after it names the role."""
    glyph = GLYPHS[cell.role]
    text = cell.text.removeprefix(glyph)
    if text == cell.text or text.strip() != cell.role:
        return render_prose(cell.text)
    return f'<span aria-hidden="true">{escape(glyph)}</span>{render_prose(text)}'


def _render_remark(remark: Remark) -> str:
    text = render_prose(remark.text)
    if remark.kind == "warning":
        text = f'<span class="mk-warning" role="img" aria-label="Warning:">!</span> {text}'
    return f"<li>{text}</li>"


def _render_code(code: Code, name: str) -> str:
    language = _make_class_attribute([f"language-{escape(code.language)}"] if code.language else [])
    lines = escape("\n".join(split_printable_lines(code.text)))
    return f"<pre{_make_region(name)}><code{language}>{lines}</code></pre>"


# Tables.


def _make_region(name: str) -> str:
    """Return the attributes that let the keyboard reach an element that scrolls."""
    return f' tabindex="0" role="region" aria-label="{escape(name)}"'


def _render_table(table: Table, name: str) -> Iterator[str]:
    classes = [_find_classes(table, index, aligned) for index, aligned in enumerate(find_aligned_columns(table))]
    titles = (_render_title(column, names) for column, names in zip(table.columns, classes, strict=True))
    yield f'<div class="mk-scroll"{_make_region(name)}>'
    yield f"<table>\n<thead>\n<tr>{''.join(titles)}</tr>\n</thead>\n<tbody>"
    for row in table.rows:
        cells = (
            _render_cell(cells, names, is_first=not index)
            for index, (cells, names) in enumerate(zip(row, classes, strict=True))
        )
        yield f"<tr>{''.join(cells)}</tr>"
    yield "</tbody>\n</table>\n</div>"


def _find_classes(table: Table, index: int, aligned: bool) -> tuple[str, ...]:
    """Return the classes of a column: its side, whether its characters line up, whether it wraps."""
    wraps = not aligned and any(len(join_cells(row[index])) > SHORTEST_PROSE for row in table.rows)
    classes = {"mk-right": table.columns[index].align == "right", "mk-run": aligned, "mk-prose": wraps}
    return tuple(name for name, applies in classes.items() if applies)


def _make_class_attribute(classes: Sequence[str]) -> str:
    if not classes:
        return ""
    return f' class="{" ".join(classes)}"'


def _render_title(column: Column, classes: tuple[str, ...]) -> str:
    attribute = _make_class_attribute([name for name in classes if name != "mk-run" or is_ruler(column)])
    title = escape_html(column.title).strip()
    if not title:
        return f"<td{attribute}></td>"
    return f'<th scope="col"{attribute}>{title}</th>'


def _render_cell(cells: Cells, classes: tuple[str, ...], is_first: bool) -> str:
    text, attribute = _render_cells(cells), _make_class_attribute(classes)
    if is_first and any(cell.role == "label" for cell in cells) and join_cells(cells).strip():
        return f'<th scope="row"{attribute}>{text}</th>'
    return f"<td{attribute}>{text}</td>"


# Style.


def _make_style() -> str:
    light, dark = (f"color-scheme:{theme};{make_variables(COLORS, theme)}" for theme in ("light", "dark"))
    layout = importlib.resources.files(__package__).joinpath("html.css").read_text("utf-8")
    colors = "".join(f".maskcli .mk-{role}{{color:var(--mk-{role})}}\n" for role in ROLE_COLORS)
    bold = ",".join(f".mk-{role}" for role in BOLD)
    groups = (LIGHT_HOSTS, DARK_HOSTS, LIGHT_HOSTS + DARK_HOSTS)
    in_light, in_dark, in_host = (f":is({','.join(hosts)}) .maskcli" for hosts in groups)
    return (
        f"\n.maskcli{{{light}}}\n"
        f"@media screen and (prefers-color-scheme:dark){{.maskcli{{{dark}}}}}\n"
        f"@media screen{{{in_light}{{{light}}}\n{in_dark}{{{dark}}}\n{in_host}{{{_follow_host()}}}}}\n"
        f"{layout}{colors}.maskcli :is({bold}){{font-weight:600}}\n"
    )


def _follow_host() -> str:
    """Return the colours of a page in a notebook: those of its text, on its own background."""
    text = "currentColor"
    for name in HOST_COLORS:
        text = f"var({name},{text})"
    mixes = {"soft": 8, "line": 22}
    mixed = "".join(f";--mk-{name}:color-mix(in srgb,currentColor {part}%,transparent)" for name, part in mixes.items())
    return f"--mk-bg:transparent;--mk-fg:{text}{mixed}"


def make_variables(palette: Palette, theme: str) -> str:
    """Return the colours of a theme, ``light`` or ``dark``, as custom properties of CSS."""
    index = ("light", "dark").index(theme)
    return ";".join(f"--mk-{name}:{colors[index]}" for name, colors in palette.items())


STYLE: str = _make_style()
"""The style of HTML by ``render_html``, for light and dark. It changes nothing outside of ``.maskcli``."""
