"""Matrices as characters: one for each cell, or one for two cells that stand above each other."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from maskcli.render.fit import LEGEND_GAP, make_legend
from maskcli.render.grid import describe_left_out, make_elision_note, make_gap_row
from maskcli.render.parts import HEAT, Cell, Cells, Column, Heatmap, Limits, Part, Role, Table, Text, elide, make_cell
from maskcli.tolerance import LEVEL_ABOUT_ZERO

GLYPHS: dict[Role, str] = {
    "padding": "·",
    "dropped": "!",
    "counted": "◆",
    "on": "■",
    "off": "□",
    "heat0": "▁",
    "heat1": "░",
    "heat2": "▒",
    "heat3": "▓",
    "heat4": "█",
    "error": "×",
    "warning": "!",
    "info": "•",
}
FILLS: frozenset[Role] = frozenset(("on", "off", *HEAT))
"""Roles that fill a cell of two characters; of the others the glyph stands in it once."""
QUADRANTS = " ▗▖▄▝▐▞▟▘▚▌▙▀▜▛█"
"""A character for each set of its quarters: 8 and 4 are the upper ones, from the left, 2 and 1 the lower ones."""
WHOLE, LEFT, RIGHT, NONE = 3, 2, 1, 0
"""What of its half of a character a cell fills, as quarters of the lower half; those of the upper are four times it."""
SHAPES: dict[Role, int] = {
    **dict.fromkeys(("on", *HEAT), WHOLE), "counted": LEFT, "dropped": RIGHT, "warning": RIGHT, "padding": NONE,
}  # fmt: skip
"""How half a character tells a role without its colour."""
HALF_GLYPHS = {WHOLE: "▀▄", LEFT: "▘▖", RIGHT: "▝▗", NONE: "blank:"}
"""Each shape in a legend: above and below."""
SEAM = "⋮"
"""Stands where rows or columns are left out."""
STEPS = 32
"""Shades of a level."""
LEVELS = ("about 0", "to 25 %", "to 50 %", "to 75 %", "to")
RAMP = 20
"""Characters of the ramp in a legend."""
ANCHORS = ((75, 85, 190), (60, 130, 205), (75, 165, 165), (175, 185, 95), (255, 190, 40))
"""From dark blue to light amber: no kind of colour blindness takes two for one, and each shows on black and white."""
CellColor = Role | float | None
"""The colour of a role, or of a level."""


@dataclasses.dataclass(frozen=True)
class Span:
    """Characters in one ink, on the ink ``paper``; None is what the terminal takes.

    A level on paper of itself is a patch of colour, of which the characters are seen again where it is copied as text.
    """

    text: str
    ink: CellColor = None
    paper: CellColor = None


SpanLine = tuple[Span, ...]


@dataclasses.dataclass(frozen=True)
class _Frame:
    """Where things stand on the screen.

    Attributes:
        bands: the rows of each line; None is a line for those left out.
        columns: those shown; None where some are left out.
        each: characters that a column takes.
        labels: in front of each line, of equal length.
        beside: the width of each column of text at the right.
    """

    bands: list[tuple[int, ...] | None]
    columns: list[int | None]
    each: int
    labels: list[str]
    beside: list[int]

    @property
    def rows(self) -> list[int | None]:
        """The rows shown, and None for those that are not."""
        return _rows(self.bands)


def quantize_level(part: float) -> int:
    """Return 0 for about nothing, or else the quarter, from 1 to 4."""
    return 0 if part < LEVEL_ABOUT_ZERO.value else min(4, max(1, math.ceil(4 * part)))


def shade_level(part: float) -> tuple[int, int, int]:
    """Return the red, green and blue of a level, lighter the larger it is."""
    place = min(1.0, max(0.0, part)) * (len(ANCHORS) - 1)
    before = min(int(place), len(ANCHORS) - 2)
    red, green, blue = (
        round(low + (high - low) * (place - before))
        for low, high in zip(ANCHORS[before], ANCHORS[before + 1], strict=True)
    )
    return red, green, blue


# Without knowing the screen.


def make_matrix_table(heatmap: Heatmap) -> Table:
    """Return the matrix as cells with roles that stand together, a row of the table for each row shown."""
    frame = dataclasses.replace(_framed(heatmap, 1), each=1)
    titles = (
        Column(heatmap.axes[0]),
        Column(_ruler(frame), "left"),
        *(Column(title) for title, _ in heatmap.beside),
    )

    def show(row: int) -> tuple[Cells, ...]:
        drawn = tuple(
            Cell(SEAM, "muted") if at is None else Cell("", find_role(heatmap, row, at)) for at in frame.columns
        )
        return (make_cell(row, "label"), drawn, *(make_cell(texts[row]) for _, texts in heatmap.beside))

    return Table(titles, tuple(make_gap_row(len(titles)) if row is None else show(row) for row in frame.rows))


def make_matrix_parts(heatmap: Heatmap) -> list[Table | Text]:
    """Return the matrix as a table, its legend and what is not shown, where nothing finer can be drawn."""
    frame = _framed(heatmap, 1)
    why = ["Drawn in full: half blocks are for a terminal."] if heatmap.resolution == "half" else []
    return [
        make_matrix_table(heatmap),
        *(text for text in make_legend(_glyphs(heatmap), heatmap.limits) if isinstance(text, Text)),
        *(Text((Cell(said, "muted"),)) for said in why),
        *_left_out(heatmap, frame),
    ]


def find_role(heatmap: Heatmap, row: int, column: int) -> Role:
    """Return the role of a cell: that of its kind, or of its level."""
    role = heatmap.meanings[int(heatmap.kinds[row, column])][0]
    return HEAT[quantize_level(_level(heatmap, row, column))] if role in HEAT else role


def _level(heatmap: Heatmap, row: int, column: int) -> float:
    return 0.0 if heatmap.levels is None else float(heatmap.levels[row, column])


def expand_heatmaps(parts: Sequence[Part]) -> list[Part]:
    """Return parts in which each matrix is ``make_matrix_parts``."""
    return [one for part in parts for one in (make_matrix_parts(part) if isinstance(part, Heatmap) else (part,))]


# On a screen.


def draw_heatmap(heatmap: Heatmap, colours: bool, unicode: bool) -> tuple[list[SpanLine], list[SpanLine]]:
    """Return the lines that show a matrix, and those that say what they mean and what was left out.

    Args:
        heatmap: what is to be seen.
        colours: whether there are any.
        unicode: whether there are characters beside those of ASCII.
    """
    why = _not_in_half(heatmap, colours, unicode) if heatmap.resolution == "half" else None
    half = heatmap.resolution == "half" and why is None
    frame = _framed(heatmap, 2 if half else 1)
    lines = (_line(heatmap, frame, index, half) for index in range(len(frame.bands)))
    entries = _half_legend(heatmap) if half else _full_legend(heatmap, colours)
    notes = [*([why] if why else []), *(text.cells[0].text for text in _left_out(heatmap, frame))]
    return (
        [_titles(heatmap, frame), *lines],
        [*_wrapped(entries, heatmap.limits), *((Span(note, "muted"),) for note in notes)],
    )


def _not_in_half(heatmap: Heatmap, colours: bool, unicode: bool) -> str | None:
    """Return why half blocks cannot tell what is to be seen; None where they can."""
    roles = {role for role, _ in _occurring(heatmap)}
    if not unicode:
        return "Drawn in full: this encoding has no half blocks."
    if not colours and roles & set(HEAT):
        return "Drawn in full: half blocks tell levels by colour, and there is none here."
    untold = next((said for role, said in _occurring(heatmap) if role not in SHAPES), None)
    return f"Drawn in full: half blocks have no shape for {untold}." if untold else None


def _framed(heatmap: Heatmap, rows_a_line: int) -> _Frame:
    count, width = heatmap.kinds.shape
    bands = [
        None if at is None else tuple(range(at * rows_a_line, min(count, (at + 1) * rows_a_line)))
        for at in elide(-(-count // rows_a_line), heatmap.limits.rows)
    ]
    labels = [SEAM if band is None else "–".join(map(str, dict.fromkeys((band[0], band[-1])))) for band in bands]
    longest = max(map(len, (heatmap.axes[0], *labels)))
    beside = _beside(heatmap, bands) if rows_a_line == 1 else []
    taken = sum(width + 2 for width in beside) if rows_a_line == 1 else _margin_width(heatmap)
    room = heatmap.limits.width - longest - 2 - taken
    columns = _columns(width, room, heatmap.limits)
    each = 2 if rows_a_line == 1 and 2 * len(columns) <= room else 1
    return _Frame(bands, columns, each, [label.rjust(longest) for label in labels], beside)


def _rows(bands: list[tuple[int, ...] | None]) -> list[int | None]:
    return [row for band in bands for row in (band or (None,))]


def _beside(heatmap: Heatmap, bands: list[tuple[int, ...] | None]) -> list[int]:
    """Return the width of each column of text, of the rows shown."""
    shown = [row for row in _rows(bands) if row is not None]
    return [max(map(len, (title, *(texts[row] for row in shown)))) for title, texts in heatmap.beside]


def _columns(count: int, room: int, limits: Limits) -> list[int | None]:
    """Return the columns to show: all where they fit, or what does beside the seam."""
    if limits.everything or (limits.columns is None and count <= room):
        return list(range(count))
    return elide(count, limits.columns or max(2, room - 1))


def _margin_width(heatmap: Heatmap) -> int:
    marks = sum(_marked(role) for role, _ in _occurring(heatmap))
    return 2 + marks if marks else 0


def _ruler(frame: _Frame) -> str:
    """Return the numbers above the columns, each where its column begins, as many as stand apart."""
    width = frame.each * len(frame.columns)
    ruler = ""
    for place, at in enumerate(frame.columns):
        behind_seam = place > 0 and frame.columns[place - 1] is None
        start = place * frame.each
        if at is None or not (behind_seam or at % (10 // frame.each) == 0) or (ruler and start <= len(ruler)):
            continue
        if start + len(str(at)) <= max(width, 1):
            ruler = ruler.ljust(start) + str(at)
    return ruler.ljust(width)


def _titles(heatmap: Heatmap, frame: _Frame) -> SpanLine:
    first = heatmap.axes[0].rjust(len(frame.labels[0]) if frame.labels else 0)
    titles = (f"  {title.rjust(width)}" for (title, _), width in zip(heatmap.beside, frame.beside, strict=False))
    return (Span(f"{first}  {_ruler(frame)}{''.join(titles)}", "strong"),)


def _line(heatmap: Heatmap, frame: _Frame, index: int, half: bool) -> SpanLine:
    band, label = frame.bands[index], frame.labels[index]
    if band is None:
        return (Span(f"{label}  {SEAM}", "muted"),)
    if half:
        cells = (_pair(heatmap, band, at) for at in frame.columns)
        return (Span(f"{label}  ", "label"), *_merged(cells), *_margin(heatmap, band))
    wide = (_single(heatmap, band[0], at, frame.each) for at in frame.columns)
    beside = zip(heatmap.beside, frame.beside, strict=True)
    texts = (Span(f"  {texts[band[0]].rjust(width)}") for (_, texts), width in beside)
    return (Span(f"{label}  ", "label"), *_merged(wide), *texts)


def _single(heatmap: Heatmap, row: int, column: int | None, width: int) -> Span:
    if column is None:
        return Span(SEAM.ljust(width), "muted")
    role = find_role(heatmap, row, column)
    glyph = GLYPHS[role] * width if role in FILLS else GLYPHS[role].ljust(width)
    ink = _ink(heatmap, row, column)
    return Span(glyph, ink, ink if role in HEAT else None)


def _pair(heatmap: Heatmap, band: tuple[int, ...], column: int | None) -> Span:
    """Return the character of one cell, or of two, the first of them above.

    Two that are whole differ by ink and paper. Otherwise shapes tell all, and the ink is that of a level, if there is
    one, which nothing else tells.
    """
    if column is None:
        return Span(SEAM, "muted")
    shapes = [SHAPES[find_role(heatmap, row, column)] for row in band]
    inks = [_ink(heatmap, row, column) for row in band]
    if shapes == [WHOLE, WHOLE] and inks[0] != inks[1]:
        return Span(QUADRANTS[4 * WHOLE], inks[0], inks[1])
    upper, lower = (*shapes, NONE)[:2]
    _, ink = max(zip(shapes, inks, strict=True), key=lambda one: one[0])
    return Span(QUADRANTS[4 * upper + lower], ink)


def _margin(heatmap: Heatmap, band: tuple[int, ...]) -> SpanLine:
    """Return the glyphs of what is easily overlooked, where it stands in these rows, shown or not."""
    kinds = set(np.unique(heatmap.kinds[list(band)]).tolist())
    roles = [role for kind, (role, _) in enumerate(heatmap.meanings) if kind in kinds and _marked(role)]
    return tuple(Span(f"{'' if at else '  '}{GLYPHS[role]}", role) for at, role in enumerate(roles))


def _marked(role: Role) -> bool:
    return SHAPES.get(role) in (LEFT, RIGHT)


def _ink(heatmap: Heatmap, row: int, column: int) -> CellColor:
    role = find_role(heatmap, row, column)
    return round(STEPS * _level(heatmap, row, column)) / STEPS if role in HEAT else role


def _merged(dabs: Iterator[Span]) -> Iterator[Span]:
    """Yield fewer dabs that look the same."""
    for (ink, paper), alike in itertools.groupby(dabs, lambda dab: (dab.ink, dab.paper)):
        yield Span("".join(dab.text for dab in alike), ink, paper)


# What it means.


def _occurring(heatmap: Heatmap) -> list[tuple[Role, str]]:
    """Return the meanings of the kinds that there are, shown or not; what counts comes first."""
    present = set(np.unique(heatmap.kinds).tolist())
    occurring = [meaning for kind, meaning in enumerate(heatmap.meanings) if kind in present]
    return sorted(occurring, key=lambda meaning: SHAPES.get(meaning[0]) != WHOLE)


def _glyphs(heatmap: Heatmap) -> list[tuple[Role, str]]:
    """Return what each glyph means, of a level in quarters of the largest."""
    occurring = _occurring(heatmap)
    marks = [(role, said) for role, said in occurring if role not in HEAT]
    return [*(_quarters(heatmap) if len(marks) < len(occurring) else ()), *marks]


def _quarters(heatmap: Heatmap) -> list[tuple[Role, str]]:
    """Return what the glyphs of levels mean, of those that there are."""
    heat = [kind for kind, (role, _) in enumerate(heatmap.meanings) if role in HEAT]
    parts = np.zeros(1) if heatmap.levels is None else heatmap.levels[np.isin(heatmap.kinds, heat)]
    steps = np.where(parts < LEVEL_ABOUT_ZERO.value, 0, np.clip(np.ceil(4 * parts), 1, 4))
    *_, largest = levels = np.unique(steps).astype(int).tolist()
    entries = [(HEAT[one], LEVELS[one]) for one in levels]
    if largest:
        entries[-1] = (HEAT[largest], f"{LEVELS[largest]}{'' if largest == 4 else ' of'} {_largest(heatmap)}")
    return entries


def _largest(heatmap: Heatmap) -> str:
    scale = heatmap.scale
    if scale is None:
        return "the largest"
    since = "" if scale.smallest == "0" else f", from {scale.smallest} on"
    return f"the largest {scale.what}, {scale.largest}{since}"


def _full_legend(heatmap: Heatmap, colours: bool) -> list[SpanLine]:
    """Return what glyphs mean; with colours, those of levels as a ramp."""
    ramp = _ramp(heatmap) if colours else None
    glyphs = [(role, said) for role, said in _glyphs(heatmap) if ramp is None or role not in HEAT]
    return [
        *([ramp] if ramp else []),
        *((Span(GLYPHS[role], role), Span(f" {said}", "muted")) for role, said in glyphs),
    ]


def _half_legend(heatmap: Heatmap) -> list[SpanLine]:
    """Return what shapes mean, above and below, and levels as a ramp."""
    lines: list[SpanLine] = []
    occurring = _occurring(heatmap)
    told = [(role, said) for role, said in occurring if role not in HEAT]
    shapes = [
        (Span(HALF_GLYPHS[SHAPES[role]] + (GLYPHS[role] if _marked(role) else ""), role), Span(f" {said}", "muted"))
        for role, said in told
    ]
    ramp = _ramp(heatmap, "█")
    if ramp is not None:
        both = (Span(HALF_GLYPHS[WHOLE]), Span(f" the first and the second {heatmap.axes[0]} of a line", "muted"))
        lines = [ramp, both]
    elif len(told) < len(occurring):
        lines = [(Span(HALF_GLYPHS[WHOLE], 0.0), Span(f" {LEVELS[0]}", "muted"))]
    return [*lines, *shapes]


def _ramp(heatmap: Heatmap, glyph: str = "") -> SpanLine | None:
    """Return the shades between the smallest and the largest; None where no level is more than nothing."""
    scale, levels = heatmap.scale, heatmap.levels
    if scale is None or levels is None or not any(role in HEAT for role, _ in _occurring(heatmap)) or not levels.any():
        return None
    parts = [step / (RAMP - 1) for step in range(RAMP)]
    shades = ((part, round(STEPS * part) / STEPS) for part in parts)
    dabs = (Span(glyph or GLYPHS[HEAT[quantize_level(part)]], ink, None if glyph else ink) for part, ink in shades)
    return (
        Span(f"{scale.smallest} ", "muted"),
        *_merged(dabs),
        Span(f" {scale.largest}, the largest {scale.what}", "muted"),
    )


def _wrapped(entries: list[SpanLine], limits: Limits) -> list[SpanLine]:
    """Return entries on lines that never part one of them."""
    lines: list[list[Span]] = []
    taken = limits.width
    for entry in entries:
        width = sum(len(dab.text) for dab in entry)
        if taken + len(LEGEND_GAP) + width >= limits.width:
            lines.append([])
            taken = 1
        else:
            lines[-1].append(Span(LEGEND_GAP))
            taken += len(LEGEND_GAP)
        lines[-1] += entry
        taken += width
    return [tuple(line) for line in lines]


def _left_out(heatmap: Heatmap, frame: _Frame) -> list[Text]:
    count, width = heatmap.kinds.shape
    row, column = heatmap.axes
    return make_elision_note(describe_left_out(frame.rows, count, row), describe_left_out(frame.columns, width, column))
