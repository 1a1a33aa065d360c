"""Matrices as characters: one for each cell, or one for two cells of neighbouring rows."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from maskcli.records.arrays import Floats
from maskcli.render.numbers import format_span
from maskcli.render.parts import (
    GLYPHS,
    HEAT,
    Cell,
    Cells,
    Color,
    Heatmap,
    Part,
    Role,
    Table,
    make_cell,
    mark,
    measure_cells,
)
from maskcli.render.tables import (
    GAP,
    ROW_GAP,
    Elision,
    ItemColumn,
    elide_axis,
    fill_table,
    flow_entries,
    make_elision_note,
    make_glyphs,
    make_legend,
    make_note,
    note_missing,
)
from maskcli.tolerance import LEVEL_ABOUT_ZERO

WIDE: frozenset[Role] = frozenset(("on", "off", *HEAT))
"""Roles whose glyph fills a cell of two characters; other glyphs are drawn once."""
QUADRANTS = " ▗▖▄▝▐▞▟▘▚▌▙▀▜▛█"
"""A character for each set of its quarters, as bits: 8 upper left, 4 upper right, 2 lower left, 1 lower right."""
UPPER_HALF, LOWER_HALF = "▀", "▄"
WHOLE, LEFT, RIGHT, EMPTY = 3, 2, 1, 0
"""The part of its half of a character that a cell fills, as bits of the lower half; shifted by 2 for the upper."""
SHAPES: dict[Role, int] = {
    **dict.fromkeys(("on", *HEAT), WHOLE), "counted": LEFT, "masked": RIGHT, "warning": RIGHT, "padding": EMPTY,
}  # fmt: skip
"""The shape of each role in half a character, readable without colour."""
SHAPE_KEYS = {WHOLE: "▀▄", LEFT: "▘▖", RIGHT: "▝▗", EMPTY: "blank:"}
"""Each shape in a legend: in the upper half and in the lower half."""
STEPS = 32
"""Shades of a level."""
LEVELS = ("about 0", "to 25 %", "to 50 %", "to 75 %", "to")
OF_LARGEST = ("", " of", " of", " of", "")
"""The word between a level and the largest value."""
RAMP = 20
"""Characters of the colour ramp in a legend."""
ANCHORS = ((75, 85, 190), (60, 130, 205), (75, 165, 165), (175, 185, 95), (255, 190, 40))
"""From dark blue to light amber, distinct for all kinds of colour blindness and visible on black and on white."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Screen:
    """The abilities of a terminal: whether it has colours, and whether its encoding has more than ASCII."""

    colours: bool
    unicode: bool


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class _Frame:
    """Positions on the screen.

    Attributes:
        rows_per_line: rows that share a line: one or two.
        lines: the lines displayed.
        columns: the columns displayed.
        cell_width: characters of a column.
    """

    rows_per_line: int
    lines: Elision
    columns: Elision
    cell_width: int


def quantize_level(level: float) -> int:
    """Return 0 for about zero, or else the quarter, from 1 to 4."""
    if level < LEVEL_ABOUT_ZERO.value:
        return 0
    return min(4, max(1, math.ceil(4 * level)))


def shade_level(level: float) -> tuple[int, int, int]:
    """Return the red, green and blue of a level; larger levels are lighter."""
    place = min(1.0, max(0.0, level)) * (len(ANCHORS) - 1)
    before = min(int(place), len(ANCHORS) - 2)
    red, green, blue = (
        round(low + (high - low) * (place - before))
        for low, high in zip(ANCHORS[before], ANCHORS[before + 1], strict=True)
    )
    return red, green, blue


def find_role(heatmap: Heatmap, row: int, column: int) -> Role:
    """Return the role of a cell: that of its kind, or of its level."""
    level = find_level(heatmap, row, column)
    if level is None:
        return heatmap.meanings[int(heatmap.kinds[row, column])][0]
    return HEAT[quantize_level(level)]


def find_level(heatmap: Heatmap, row: int, column: int) -> float | None:
    """Return the level of a cell; None if its kind has none."""
    role, _ = heatmap.meanings[int(heatmap.kinds[row, column])]
    return float(get_levels(heatmap)[row, column]) if role in HEAT else None


def get_levels(heatmap: Heatmap) -> Floats:
    """Return the levels of a matrix, zero by default."""
    if heatmap.levels is None:
        return np.zeros(heatmap.kinds.shape)
    return heatmap.levels


# Drawing.


def expand_heatmaps(parts: Iterable[Part], screen: Screen | None = None) -> Iterator[Part]:
    """Yield parts, with each matrix drawn for a screen, or for a page or Markdown."""
    for part in parts:
        if isinstance(part, Heatmap):
            yield from draw_heatmap(part, screen)
        else:
            yield part


def draw_heatmap(heatmap: Heatmap, screen: Screen | None = None) -> list[Part]:
    """Return a matrix, its legend, and notes of omissions; without a screen, for a page or Markdown."""
    notes: list[Part] = []
    is_half = heatmap.resolution == "half"
    if is_half and (obstacle := _find_obstacle(heatmap, screen)):
        notes.append(make_note(f"Drawn in full: {obstacle}."))
        is_half = False
    if is_half:
        frame = _lay_out(heatmap, 2)
        legend = flow_entries(_make_half_legend(heatmap), heatmap.limits)
        if heatmap.margin:
            titles = ", ".join(title for title, _ in heatmap.margin)
            notes.append(make_note(f"{GAP} column {titles} not shown, as two rows share a line (--heat full)"))
    else:
        frame = _lay_out(heatmap, 1)
        legend = _make_full_legend(heatmap, has_ramp=screen is not None and screen.colours)
    if screen is None:
        frame = dataclasses.replace(frame, cell_width=1)
    rows = len(heatmap.kinds) - sum(len(_list_rows(heatmap, frame, line)) for line in frame.lines.kept)
    omissions = make_elision_note(note_missing(rows, heatmap.axes[0]), frame.columns.note)
    return [_draw_table(heatmap, frame), *legend, *notes, *omissions]


def _find_obstacle(heatmap: Heatmap, screen: Screen | None) -> str:
    """Return why half blocks cannot represent the matrix; empty if they can."""
    if screen is None:
        return "half blocks are for a terminal"
    if not screen.unicode:
        return "this encoding has no half blocks"
    meanings = _list_meanings(heatmap)
    if not screen.colours and any(role in HEAT for role, _ in meanings):
        return "half blocks need colours to show levels"
    shapeless = (f"half blocks have no shape for {text}" for role, text in meanings if role not in SHAPES)
    return next(shapeless, "")


def _lay_out(heatmap: Heatmap, rows_per_line: int) -> _Frame:
    count, width = heatmap.kinds.shape
    lines = elide_axis(math.ceil(count / rows_per_line), heatmap.limits.rows, heatmap.axes[0])
    frame = _Frame(rows_per_line, lines, elide_axis(width, None, heatmap.axes[1]), 1)
    label = max(map(len, (heatmap.axes[0], *(_label_line(heatmap, frame, line) for line in lines.kept))))
    room = heatmap.limits.width - label - 2
    if rows_per_line == 2:
        room -= measure_cells(_draw_marks(heatmap))
        return dataclasses.replace(frame, columns=_choose_columns(width, room, heatmap))
    room -= sum(2 + max(map(len, (title, *(texts[row] for row in lines.kept)))) for title, texts in heatmap.margin)
    columns = _choose_columns(width, room, heatmap)
    # Cells of two characters are about square.
    return dataclasses.replace(frame, columns=columns, cell_width=1 + (2 * len(columns.indices) <= room))


def _list_rows(heatmap: Heatmap, frame: _Frame, line: int) -> range:
    """Return the rows of a line."""
    start = line * frame.rows_per_line
    return range(start, min(len(heatmap.kinds), start + frame.rows_per_line))


def _label_line(heatmap: Heatmap, frame: _Frame, line: int) -> str:
    rows = _list_rows(heatmap, frame, line)
    return format_span(rows[0], rows[-1])


def _choose_columns(count: int, room: int, heatmap: Heatmap) -> Elision:
    """Return the columns to display: all if they fit, or as many as fit next to the gap."""
    limits = heatmap.limits
    if limits.everything or (limits.columns is None and count <= room):
        return elide_axis(count, None, heatmap.axes[1])
    return elide_axis(count, limits.columns or max(2, room - 1), heatmap.axes[1])


def _draw_ruler(frame: _Frame) -> str:
    """Return numbers above the columns, each where its column begins, as many as stay apart."""
    indices = frame.columns.indices
    width = frame.cell_width * len(indices)
    ruler = ""
    for place, column in enumerate(indices):
        start = place * frame.cell_width
        after_gap = place > 0 and indices[place - 1] is None
        if column is None or not (after_gap or column % (10 // frame.cell_width) == 0):
            continue
        is_apart = not ruler or start > len(ruler)
        if is_apart and start + len(str(column)) <= max(width, 1):
            ruler = ruler.ljust(start) + str(column)
    return ruler.ljust(width)


def _draw_table(heatmap: Heatmap, frame: _Frame) -> Table:
    """Return a table with one column of characters."""
    columns: list[ItemColumn[int]] = [
        ItemColumn(heatmap.axes[0], lambda line: make_cell(_label_line(heatmap, frame, line), "label")),
        ItemColumn(_draw_ruler(frame), lambda line: _draw_line(heatmap, frame, line), "left"),
    ]
    if frame.rows_per_line == 1:
        columns += [_make_margin_column(title, texts) for title, texts in heatmap.margin]
    return fill_table(columns, frame.lines)


def _make_margin_column(title: str, texts: tuple[str, ...]) -> ItemColumn[int]:
    return ItemColumn(title, lambda row: make_cell(texts[row]))


def _draw_line(heatmap: Heatmap, frame: _Frame, line: int) -> Cells:
    if frame.rows_per_line == 1:
        return tuple(_draw_cell(heatmap, line, column, frame.cell_width) for column in frame.columns.indices)
    rows = _list_rows(heatmap, frame, line)
    pairs = (_draw_pair(heatmap, rows, column) for column in frame.columns.indices)
    return (*pairs, *_draw_marks(_select_rows(heatmap, rows)))


def draw_row(heatmap: Heatmap, row: int, columns: Elision | None = None) -> Cells:
    """Return the glyphs of a row, of all columns by default, for a table that has other columns, too."""
    if columns is None:
        columns = elide_axis(heatmap.kinds.shape[1], None, heatmap.axes[1])
    return make_glyphs(columns, lambda column: find_role(heatmap, row, column))


def _draw_cell(heatmap: Heatmap, row: int, column: int | None, width: int) -> Cell:
    if column is None:
        return Cell(ROW_GAP.ljust(width), "faint")
    role, level = find_role(heatmap, row, column), _round_level(find_level(heatmap, row, column))
    glyph = GLYPHS[role]
    if role in WIDE:
        glyph *= width
    return Cell(glyph.ljust(width), role, level, level)


def _draw_pair(heatmap: Heatmap, rows: range, column: int | None) -> Cell:
    """Return the character of one cell, or of two, the first one above."""
    if column is None:
        return Cell(ROW_GAP, "faint")
    roles = [find_role(heatmap, row, column) for row in rows]
    levels = [_round_level(find_level(heatmap, row, column)) for row in rows]
    colors: list[Color] = [role if level is None else level for role, level in zip(roles, levels, strict=True)]
    shapes = [SHAPES[role] for role in roles]
    # Two whole cells fill the character, so that only ink and paper distinguish them.
    if shapes == [WHOLE, WHOLE] and colors[0] != colors[1]:
        return Cell(UPPER_HALF, roles[0], levels[0], colors[1])
    # Otherwise shapes distinguish the roles, and the one ink is that of the whole cell, which may be a level.
    upper, lower = (*shapes, EMPTY)[:2]
    inked = shapes.index(max(shapes))
    return Cell(QUADRANTS[4 * upper + lower], roles[inked], levels[inked])


def _draw_marks(heatmap: Heatmap) -> Cells:
    """Return marks for the rare cells of a matrix, to the right of it, including those left out."""
    roles = [role for role, _ in _list_meanings(heatmap) if _needs_mark(role)]
    if not roles:
        return ()
    return (Cell("  "), *map(mark, roles))


def _needs_mark(role: Role) -> bool:
    """Return whether the shape of a role is small, and easily overlooked."""
    return SHAPES.get(role) in (LEFT, RIGHT)


def _round_level(level: float | None) -> float | None:
    """Return a level in steps, so that neighbours may share a colour."""
    if level is None:
        return None
    return round(STEPS * level) / STEPS


def _select_rows(heatmap: Heatmap, rows: Sequence[int]) -> Heatmap:
    return dataclasses.replace(heatmap, kinds=heatmap.kinds[list(rows)], levels=get_levels(heatmap)[list(rows)])


# Legends.


def list_row_glyphs(heatmap: Heatmap, rows: Sequence[int]) -> list[tuple[Role, str]]:
    """Return the meaning of each glyph that occurs in these rows; levels first."""
    return _list_glyphs(_select_rows(heatmap, rows))


def _list_glyphs(heatmap: Heatmap) -> list[tuple[Role, str]]:
    return [*_list_levels(heatmap), *_list_marks(heatmap)]


def _list_marks(heatmap: Heatmap) -> list[tuple[Role, str]]:
    """Return the meanings of kinds that have no levels."""
    return [(role, text) for role, text in _list_meanings(heatmap) if role not in HEAT]


def _list_meanings(heatmap: Heatmap) -> list[tuple[Role, str]]:
    """Return the meanings of the kinds that occur; whole shapes come first."""
    present = set(np.unique(heatmap.kinds).tolist())
    meanings = [meaning for kind, meaning in enumerate(heatmap.meanings) if kind in present]
    return sorted(meanings, key=lambda meaning: SHAPES.get(meaning[0]) != WHOLE)


def _list_levels(heatmap: Heatmap) -> list[tuple[Role, str]]:
    """Return the meanings of the level glyphs that occur."""
    kinds = [kind for kind, (role, _) in enumerate(heatmap.meanings) if role in HEAT]
    levels = get_levels(heatmap)[np.isin(heatmap.kinds, kinds)]
    steps = np.where(levels < LEVEL_ABOUT_ZERO.value, 0, np.clip(np.ceil(4 * levels), 1, 4))
    present = np.unique(steps).astype(int).tolist()
    entries = [(HEAT[step], LEVELS[step]) for step in present]
    largest = max(present, default=0)
    if largest:
        entries[-1] = (HEAT[largest], f"{LEVELS[largest]}{OF_LARGEST[largest]} {_describe_largest(heatmap)}")
    return entries


def _describe_largest(heatmap: Heatmap) -> str:
    scale = heatmap.scale
    if scale is None:
        return "the largest"
    largest = f"the largest {scale.quantity}, {scale.largest}"
    return largest if scale.smallest == "0" else f"{largest}, starting at {scale.smallest}"


def _make_full_legend(heatmap: Heatmap, has_ramp: bool) -> list[Part]:
    """Return the meanings of glyphs; with a ramp, that of the levels is their colours."""
    ramp = _make_ramp(heatmap)
    if not has_ramp or not ramp:
        return make_legend(_list_glyphs(heatmap), heatmap.limits)
    marks = ((mark(role), Cell(f" {text}", "muted")) for role, text in _list_marks(heatmap))
    return flow_entries([ramp, *marks], heatmap.limits)


def _make_half_legend(heatmap: Heatmap) -> list[Cells]:
    """Return the meanings of shapes in the upper and in the lower half, and the levels as a ramp."""
    keys = {role: SHAPE_KEYS[SHAPES[role]] + (GLYPHS[role] if _needs_mark(role) else "") for role in SHAPES}
    shapes = [(Cell(keys[role], role), Cell(f" {text}", "muted")) for role, text in _list_marks(heatmap)]
    ramp = _make_ramp(heatmap, "█")
    if ramp:
        both = (Cell(SHAPE_KEYS[WHOLE]), Cell(f" the first and the second {heatmap.axes[0]} of a line", "muted"))
        return [ramp, both, *shapes]
    if _list_levels(heatmap):
        return [(Cell(SHAPE_KEYS[WHOLE], HEAT[0], 0.0), Cell(f" {LEVELS[0]}", "muted")), *shapes]
    return [*shapes]


def _make_ramp(heatmap: Heatmap, glyph: str = "") -> Cells:
    """Return the shades between the smallest and the largest level; empty if all levels are zero."""
    scale, levels = heatmap.scale, heatmap.levels
    if scale is None or levels is None or not levels.any() or not _list_levels(heatmap):
        return ()
    shades = (_draw_shade(step / (RAMP - 1), glyph) for step in range(RAMP))
    largest = Cell(f" {scale.largest}, the largest {scale.quantity}", "muted")
    return (Cell(f"{scale.smallest} ", "muted"), *shades, largest)


def _draw_shade(level: float, glyph: str) -> Cell:
    """Return a character of a ramp: ``glyph``, or the glyph of the level on a patch of its colour."""
    role, step = HEAT[quantize_level(level)], _round_level(level)
    if glyph:
        return Cell(glyph, role, step)
    return Cell(GLYPHS[role], role, step, step)
