"""Matrices as characters: one for each cell, or one for two cells of neighbouring rows."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from maskcli.records.arrays import Floats
from maskcli.render.parts import GLYPHS, HEAT, Cells, Heatmap, Part, Role, Table, Text, elide, make_cell
from maskcli.render.tables import (
    LEGEND_GAP,
    ROW_GAP,
    Elision,
    ItemColumn,
    elide_axis,
    fill_table,
    flow_groups,
    make_elision_note,
    make_glyphs,
    make_legend,
    make_note,
)

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
ABOUT_ZERO = 0.02
"""A level below this is displayed as zero."""
LEVELS = ("about 0", "to 25 %", "to 50 %", "to 75 %", "to")
RAMP = 20
"""Characters of the colour ramp in a legend."""
ANCHORS = ((75, 85, 190), (60, 130, 205), (75, 165, 165), (175, 185, 95), (255, 190, 40))
"""From dark blue to light amber, distinct for all kinds of colour blindness and visible on black and on white."""
CellColor = Role | float | None
"""The colour of a role, or of a level."""


@dataclasses.dataclass(frozen=True)
class Span:
    """Characters of one colour; None is the terminal's own.

    A level with the same ``ink`` and ``paper`` is a patch of colour. Its characters reappear in copied text.
    """

    text: str
    ink: CellColor = None
    paper: CellColor = None


SpanLine = tuple[Span, ...]


@dataclasses.dataclass(frozen=True)
class _Frame:
    """Positions on the screen.

    Attributes:
        bands: the rows of each line; None is a line for the rows left out.
        columns: the columns displayed.
        cell_width: characters of a column.
        labels: in front of each line, all of the same length.
        margins: the width of each column of text on the right.
    """

    bands: list[tuple[int, ...] | None]
    columns: Elision
    cell_width: int
    labels: list[str]
    margins: list[int]


def quantize_level(level: float) -> int:
    """Return 0 for about zero, or else the quarter, from 1 to 4."""
    return 0 if level < ABOUT_ZERO else min(4, max(1, math.ceil(4 * level)))


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
    role = heatmap.meanings[int(heatmap.kinds[row, column])][0]
    return HEAT[quantize_level(_get_level(heatmap, row, column))] if role in HEAT else role


def _get_level(heatmap: Heatmap, row: int, column: int) -> float:
    return 0.0 if heatmap.levels is None else float(heatmap.levels[row, column])


# As a table, for pages and Markdown.


def expand_heatmaps(parts: Iterable[Part]) -> Iterator[Part]:
    """Yield parts, with each matrix as ``make_matrix_parts``."""
    for part in parts:
        if isinstance(part, Heatmap):
            yield from make_matrix_parts(part)
        else:
            yield part


def make_matrix_parts(heatmap: Heatmap) -> list[Part]:
    """Return a matrix as a table, its legend, and a note of omissions."""
    frame = _lay_out(heatmap, 1)
    half = heatmap.resolution == "half"
    return [
        make_matrix_table(heatmap),
        *make_legend(list_glyphs(heatmap), heatmap.limits),
        *([make_note("Drawn in full: half blocks are for a terminal.")] if half else []),
        *_note_omissions(heatmap, frame),
    ]


def make_matrix_table(heatmap: Heatmap) -> Table:
    """Return a matrix as a table with one column of glyphs."""
    frame = dataclasses.replace(_lay_out(heatmap, 1), cell_width=1)
    rows = elide_axis(len(heatmap.kinds), heatmap.limits.rows, heatmap.axes[0])
    fields: list[ItemColumn[int]] = [
        ItemColumn(heatmap.axes[0], lambda row: make_cell(row, "label")),
        ItemColumn(_draw_ruler(frame), lambda row: draw_row(heatmap, row, frame.columns), "left"),
        *(_make_margin_field(title, texts) for title, texts in heatmap.margin),
    ]
    return fill_table(fields, rows)


def _make_margin_field(title: str, texts: tuple[str, ...]) -> ItemColumn[int]:
    return ItemColumn(title, lambda row: make_cell(texts[row]))


def draw_row(heatmap: Heatmap, row: int, columns: Elision | None = None) -> Cells:
    """Return the glyphs of a row."""
    if columns is None:
        columns = elide_axis(heatmap.kinds.shape[1], None, heatmap.axes[1])
    return make_glyphs(columns, lambda column: find_role(heatmap, row, column))


# On a screen.


def draw_heatmap(heatmap: Heatmap, colours: bool, unicode: bool) -> tuple[list[SpanLine], list[SpanLine]]:
    """Return the lines of a matrix, and the lines of its legend and notes.

    Args:
        heatmap: the matrix.
        colours: whether the screen has colours.
        unicode: whether its encoding has more characters than ASCII.
    """
    reason = _explain_full(heatmap, colours, unicode) if heatmap.resolution == "half" else None
    half = heatmap.resolution == "half" and reason is None
    frame = _lay_out(heatmap, 2 if half else 1)
    lines = (_draw_line(heatmap, frame, index, half) for index in range(len(frame.bands)))
    entries = _make_half_legend(heatmap) if half else _make_full_legend(heatmap, colours)
    widths = [sum(len(span.text) for span in entry) for entry in entries]
    notes = [part.cells[0].text for part in _note_omissions(heatmap, frame) if isinstance(part, Text)]
    if reason is not None:
        notes.insert(0, reason)
    return (
        [_draw_titles(heatmap, frame), *lines],
        [
            *flow_groups(entries, widths, Span(LEGEND_GAP), heatmap.limits.width),
            *((Span(note, "muted"),) for note in notes),
        ],
    )


def _explain_full(heatmap: Heatmap, colours: bool, unicode: bool) -> str | None:
    """Return why half blocks cannot represent the matrix; None if they can."""
    meanings = _list_meanings(heatmap)
    if not unicode:
        return "Drawn in full: this encoding has no half blocks."
    if not colours and any(role in HEAT for role, _ in meanings):
        return "Drawn in full: half blocks need colours to show levels."
    shapeless = next((text for role, text in meanings if role not in SHAPES), None)
    return f"Drawn in full: half blocks have no shape for {shapeless}." if shapeless else None


def _lay_out(heatmap: Heatmap, rows_per_line: int) -> _Frame:
    count, width = heatmap.kinds.shape
    lines = elide(math.ceil(count / rows_per_line), heatmap.limits.rows)
    bands = [
        None if line is None else tuple(range(line * rows_per_line, min(count, (line + 1) * rows_per_line)))
        for line in lines
    ]
    labels = [ROW_GAP if band is None else "–".join(map(str, dict.fromkeys((band[0], band[-1])))) for band in bands]
    longest = max(map(len, (heatmap.axes[0], *labels)))
    margins = _measure_margins(heatmap, bands) if rows_per_line == 1 else []
    taken = sum(width + 2 for width in margins) if rows_per_line == 1 else _measure_marks(heatmap)
    room = heatmap.limits.width - longest - 2 - taken
    columns = _choose_columns(width, room, heatmap)
    cell_width = 2 if rows_per_line == 1 and 2 * len(columns.indices) <= room else 1
    return _Frame(bands, columns, cell_width, [label.rjust(longest) for label in labels], margins)


def _measure_margins(heatmap: Heatmap, bands: list[tuple[int, ...] | None]) -> list[int]:
    """Return the width of each column of text, over the rows displayed."""
    rows = [row for band in bands for row in band or ()]
    return [max(map(len, (title, *(texts[row] for row in rows)))) for title, texts in heatmap.margin]


def _measure_marks(heatmap: Heatmap) -> int:
    """Return the characters of the marks to the right of half blocks."""
    marks = sum(_needs_mark(role) for role, _ in _list_meanings(heatmap))
    return 2 + marks if marks else 0


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


def _draw_titles(heatmap: Heatmap, frame: _Frame) -> SpanLine:
    corner = heatmap.axes[0].rjust(len(frame.labels[0]) if frame.labels else 0)
    margins = zip(heatmap.margin, frame.margins, strict=False)
    titles = "".join(f"  {title.rjust(width)}" for (title, _), width in margins)
    return (Span(f"{corner}  {_draw_ruler(frame)}{titles}", "strong"),)


def _draw_line(heatmap: Heatmap, frame: _Frame, index: int, half: bool) -> SpanLine:
    band, label = frame.bands[index], frame.labels[index]
    if band is None:
        return (Span(f"{label}  {ROW_GAP}", "muted"),)
    head = Span(f"{label}  ", "label")
    if half:
        pairs = (_draw_pair(heatmap, band, column) for column in frame.columns.indices)
        return (head, *_merge_spans(pairs), *_draw_marks(heatmap, band))
    cells = (_draw_cell(heatmap, band[0], column, frame.cell_width) for column in frame.columns.indices)
    margins = zip(heatmap.margin, frame.margins, strict=True)
    texts = (Span(f"  {texts[band[0]].rjust(width)}") for (_, texts), width in margins)
    return (head, *_merge_spans(cells), *texts)


def _draw_cell(heatmap: Heatmap, row: int, column: int | None, width: int) -> Span:
    if column is None:
        return Span(ROW_GAP.ljust(width), "muted")
    role = find_role(heatmap, row, column)
    glyph = GLYPHS[role] * width if role in WIDE else GLYPHS[role].ljust(width)
    color = _find_color(heatmap, row, column)
    return Span(glyph, color, color if role in HEAT else None)


def _draw_pair(heatmap: Heatmap, band: tuple[int, ...], column: int | None) -> Span:
    """Return the character of one cell, or of two, the first one above."""
    if column is None:
        return Span(ROW_GAP, "muted")
    shapes = [SHAPES[find_role(heatmap, row, column)] for row in band]
    colors = [_find_color(heatmap, row, column) for row in band]
    # Two whole cells fill the character, so that only ink and paper can tell them apart.
    if shapes == [WHOLE, WHOLE] and colors[0] != colors[1]:
        return Span(UPPER_HALF, colors[0], colors[1])
    # Otherwise shapes tell the roles apart, and the one ink is that of the whole cell, which may be a level.
    upper, lower = (*shapes, EMPTY)[:2]
    _, ink = max(zip(shapes, colors, strict=True), key=lambda pair: pair[0])
    return Span(QUADRANTS[4 * upper + lower], ink)


def _draw_marks(heatmap: Heatmap, band: tuple[int, ...]) -> SpanLine:
    """Return marks for rare cells of these rows, including those left out."""
    kinds = set(np.unique(heatmap.kinds[list(band)]).tolist())
    roles = [role for kind, (role, _) in enumerate(heatmap.meanings) if kind in kinds and _needs_mark(role)]
    gaps = ["  ", *[""] * len(roles)]
    return tuple(Span(f"{gap}{GLYPHS[role]}", role) for gap, role in zip(gaps, roles, strict=False))


def _needs_mark(role: Role) -> bool:
    """Return whether the shape of a role is small, and easily overlooked."""
    return SHAPES.get(role) in (LEFT, RIGHT)


def _find_color(heatmap: Heatmap, row: int, column: int) -> CellColor:
    role = find_role(heatmap, row, column)
    return _round_level(_get_level(heatmap, row, column)) if role in HEAT else role


def _round_level(level: float) -> float:
    return round(STEPS * level) / STEPS


def _merge_spans(spans: Iterable[Span]) -> Iterator[Span]:
    """Yield spans, with neighbours of the same colours joined."""
    for (ink, paper), group in itertools.groupby(spans, lambda span: (span.ink, span.paper)):
        yield Span("".join(span.text for span in group), ink, paper)


# Legends.


def list_glyphs(heatmap: Heatmap, rows: Sequence[int] | None = None) -> list[tuple[Role, str]]:
    """Return the meaning of each glyph that occurs, in these rows or anywhere; levels first."""
    meanings = _list_meanings(heatmap, rows)
    marks = [(role, text) for role, text in meanings if role not in HEAT]
    return [*(_list_levels(heatmap, rows) if len(marks) < len(meanings) else ()), *marks]


def _list_meanings(heatmap: Heatmap, rows: Sequence[int] | None = None) -> list[tuple[Role, str]]:
    """Return the meanings of the kinds that occur; whole shapes come first."""
    kinds = heatmap.kinds if rows is None else heatmap.kinds[list(rows)]
    present = set(np.unique(kinds).tolist())
    meanings = [meaning for kind, meaning in enumerate(heatmap.meanings) if kind in present]
    return sorted(meanings, key=lambda meaning: SHAPES.get(meaning[0]) != WHOLE)


def _list_levels(heatmap: Heatmap, rows: Sequence[int] | None) -> list[tuple[Role, str]]:
    """Return the meanings of the level glyphs that occur."""
    levels = _select_levels(heatmap, rows)
    steps = np.where(levels < ABOUT_ZERO, 0, np.clip(np.ceil(4 * levels), 1, 4))
    present = np.unique(steps).astype(int).tolist()
    entries = [(HEAT[step], LEVELS[step]) for step in present]
    largest = present[-1]
    if largest:
        preposition = "" if largest == 4 else " of"
        entries[-1] = (HEAT[largest], f"{LEVELS[largest]}{preposition} {_describe_largest(heatmap)}")
    return entries


def _select_levels(heatmap: Heatmap, rows: Sequence[int] | None) -> Floats:
    """Return the levels of the cells that have one."""
    if heatmap.levels is None:
        return np.zeros(1)
    has_level = np.isin(heatmap.kinds, [kind for kind, (role, _) in enumerate(heatmap.meanings) if role in HEAT])
    if rows is None:
        return heatmap.levels[has_level]
    return heatmap.levels[list(rows)][has_level[list(rows)]]


def _describe_largest(heatmap: Heatmap) -> str:
    scale = heatmap.scale
    if scale is None:
        return "the largest"
    start = "" if scale.smallest == "0" else f", starting at {scale.smallest}"
    return f"the largest {scale.quantity}, {scale.largest}{start}"


def _make_full_legend(heatmap: Heatmap, colours: bool) -> list[SpanLine]:
    """Return the meanings of glyphs; with colours, levels are a ramp."""
    ramp = _make_ramp(heatmap) if colours else None
    glyphs = [(role, text) for role, text in list_glyphs(heatmap) if ramp is None or role not in HEAT]
    entries: list[SpanLine] = [(Span(GLYPHS[role], role), Span(f" {text}", "muted")) for role, text in glyphs]
    return entries if ramp is None else [ramp, *entries]


def _make_half_legend(heatmap: Heatmap) -> list[SpanLine]:
    """Return the meanings of shapes in the upper and in the lower half, and the levels as a ramp."""
    meanings = _list_meanings(heatmap)
    marks = [(role, text) for role, text in meanings if role not in HEAT]
    shapes: list[SpanLine] = [(Span(_draw_shape_key(role), role), Span(f" {text}", "muted")) for role, text in marks]
    ramp = _make_ramp(heatmap, "█")
    if ramp is not None:
        both = (Span(SHAPE_KEYS[WHOLE]), Span(f" the first and the second {heatmap.axes[0]} of a line", "muted"))
        return [ramp, both, *shapes]
    if len(marks) < len(meanings):
        return [(Span(SHAPE_KEYS[WHOLE], 0.0), Span(f" {LEVELS[0]}", "muted")), *shapes]
    return shapes


def _draw_shape_key(role: Role) -> str:
    key = SHAPE_KEYS[SHAPES[role]]
    return key + GLYPHS[role] if _needs_mark(role) else key


def _make_ramp(heatmap: Heatmap, glyph: str = "") -> SpanLine | None:
    """Return the shades between the smallest and the largest level; None if all levels are zero."""
    scale, levels = heatmap.scale, heatmap.levels
    if scale is None or levels is None or not levels.any():
        return None
    if not any(role in HEAT for role, _ in _list_meanings(heatmap)):
        return None
    shades = (step / (RAMP - 1) for step in range(RAMP))
    return (
        Span(f"{scale.smallest} ", "muted"),
        *_merge_spans(_draw_shade(level, glyph) for level in shades),
        Span(f" {scale.largest}, the largest {scale.quantity}", "muted"),
    )


def _draw_shade(level: float, glyph: str) -> Span:
    """Return a character of a ramp: ``glyph``, or the glyph of the level on a patch of its colour."""
    color = _round_level(level)
    return Span(glyph, color) if glyph else Span(GLYPHS[HEAT[quantize_level(level)]], color, color)


def _note_omissions(heatmap: Heatmap, frame: _Frame) -> list[Part]:
    rows = tuple(row for band in frame.bands for row in band or (None,))
    return make_elision_note(Elision(len(heatmap.kinds), heatmap.axes[0], rows).note, frame.columns.note)
