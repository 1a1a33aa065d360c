"""Heat maps: every cell of a matrix is drawn once, and can be read back from the screen."""

from __future__ import annotations

import dataclasses
import itertools
import re
import unicodedata
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text as RichText

import maskcli
from maskcli.records.sequences import PaddedBatch
from maskcli.records.trace import Inspection
from maskcli.render.heatmap import (
    LEVELS,
    STEPS,
    draw_heatmap,
    find_role,
    quantize_level,
    shade_level,
)
from maskcli.render.parts import GLYPHS, HEAT, Heatmap, Limits, Resolution, Role, Scale, Table, Text, iterate_parts
from maskcli.render.terminal import PlainConsole, render_bytes, render_text
from maskcli.render.views import heat

pytestmark = pytest.mark.slow(share=1 / 2)

ALL = Limits(None, None, 80, everything=True)
MEANINGS: tuple[tuple[Role, str], ...] = (
    ("padding", "padding"),
    ("on", "token"),
    ("masked", "hidden"),
    ("counted", "counted"),
    ("heat4", ""),
    ("error", "2 NaN"),
)
PADDING, ON, DROPPED, COUNTED, LEVEL, ERROR = range(6)
HALVES: dict[frozenset[str], Role] = {
    frozenset(("left", "right")): "on",
    frozenset(("left",)): "counted",
    frozenset(("right",)): "masked",
    frozenset(): "padding",
}
"""The role that the quarters of half a character represent."""


def picture(kinds: Any, resolution: Resolution = "full", limits: Limits = ALL, **more: Any) -> Heatmap:
    kinds = np.array(kinds, np.int8, ndmin=2)
    return Heatmap(kinds=kinds, meanings=MEANINGS, resolution=resolution, limits=limits, **more)


def drawn_table(heatmap: Heatmap) -> Table:
    """Return the table for a page."""
    table = draw_heatmap(heatmap)[0]
    assert isinstance(table, Table)
    return table


def screen(colours: str | None, width: int = 80) -> Console:
    return Console(force_terminal=True, color_system=colours, width=width, no_color=False)  # type: ignore[arg-type]


def shown(heatmap: Heatmap, colours: str | None = None) -> list[str]:
    text = render_text([heatmap], screen(colours, heatmap.limits.width))
    return [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in text.splitlines()]


def quarters(character: str) -> set[tuple[str, str]]:
    """Return the quarters of a block character, derived from its Unicode name."""
    name = unicodedata.name(character)
    if name == "SPACE":
        return set()
    vertical = [word for word in ("UPPER", "LOWER") if word in name] or ["UPPER", "LOWER"]
    if not name.startswith("QUADRANT"):
        across = [word for word in ("LEFT", "RIGHT") if word in name] or ["LEFT", "RIGHT"]
        return {(down.lower(), side.lower()) for down in vertical for side in across}
    corners = (corner.split() for corner in name.removeprefix("QUADRANT ").split(" AND "))
    return {(down.lower(), side.lower()) for down, side in corners}


Look = tuple[str, Any, Any]
"""A character, the colour of its ink and that of its paper."""


def looks(heatmap: Heatmap, colours: str | None) -> dict[str, list[Look]]:
    """Return the characters after each label, with their colours."""
    text = RichText.from_ansi(render_text([heatmap], screen(colours, heatmap.limits.width)))
    lines = {}
    for line in text.split("\n")[1:]:
        line.pad_right(2 * heatmap.kinds.shape[1] + 2)
        match = re.match(r" {3,}(\d+(?:–\d+)?)  ", line.plain)
        if match is None:
            break
        lines[match[1]] = [_look(line, at) for at in range(match.end(), len(line.plain))]
    return lines


def _look(line: RichText, at: int) -> Look:
    style = line.get_style_at_offset(Console(), at)
    return line.plain[at], style.color, style.bgcolor


def from_half(heatmap: Heatmap, colours: str | None) -> list[list[tuple[Role, Any]]]:
    """Return the role of each cell, read back from half blocks, and the colour of whole cells."""
    rows = []
    for label, line in looks(heatmap, colours).items():
        upper, _, lower = label.partition("–")
        assert int(upper) % 2 == 0
        assert not lower or int(lower) == int(upper) + 1
        pairs = [_halves(look) for look in line[: heatmap.kinds.shape[1]]]
        rows += [[pair[half] for pair in pairs] for half in range(2 if lower else 1)]
        assert lower or all(pair[1][0] == "padding" for pair in pairs)
    return rows


def _halves(look: Look) -> list[tuple[Role, Any]]:
    character, ink, paper = look
    filled = quarters(character)
    sides = [frozenset(side for down, side in filled if down == half) for half in ("upper", "lower")]
    if paper is not None:
        assert (character, ink is not None) == ("▀", True)
        return [("on", ink.triplet), ("on", paper.triplet)]
    return [(HALVES[side], ink and ink.triplet if HALVES[side] == "on" else None) for side in sides]


def matrices(*kinds: int) -> st.SearchStrategy[np.ndarray[Any, Any]]:
    sizes = st.tuples(st.integers(1, 7), st.integers(1, 9))
    return sizes.flatmap(
        lambda size: st.lists(st.sampled_from(kinds), min_size=size[0] * size[1], max_size=size[0] * size[1]).map(
            lambda cells: np.array(cells, np.int8).reshape(size)
        )
    )


@given(matrices(PADDING, ON, DROPPED, COUNTED), st.sampled_from([None, "standard", "256", "truecolor"]))
def test_half_blocks_represent_each_cell(kinds: Any, colours: str | None) -> None:
    """Shapes identify the role of every cell, with and without colours."""
    read = from_half(picture(kinds, "half"), colours)
    assert [[role for role, _ in row] for row in read] == [[MEANINGS[kind][0] for kind in row] for row in kinds]


@given(matrices(PADDING, LEVEL, DROPPED, COUNTED), st.randoms(use_true_random=False))
def test_half_blocks_represent_each_level(kinds: Any, random: Any) -> None:
    """The colour of half a character is the shade of its level."""
    steps = np.array([[random.randint(0, STEPS) for _ in row] for row in kinds])
    heatmap = picture(kinds, "half", levels=steps / STEPS, scale=Scale("loss", "0", "7.5"))
    for row, line in enumerate(from_half(heatmap, "truecolor")):
        for column, (role, ink) in enumerate(line):
            if kinds[row, column] == LEVEL:
                assert (role, ink) == ("on", shade_level(steps[row, column] / STEPS))
            else:
                assert (role, ink) == (MEANINGS[kinds[row, column]][0], None)


@given(matrices(*range(6)), st.sampled_from([None, "standard", "truecolor"]), st.sampled_from([80, 17]))
def test_full_matrix_has_a_glyph_per_role(kinds: Any, colours: str | None, width: int) -> None:
    levels = np.linspace(0, 1, kinds.size).reshape(kinds.shape)
    heatmap = picture(kinds, limits=Limits(None, None, width), levels=levels, scale=Scale("loss", "0", "7.5"))
    cell_width = 2 if kinds.shape[1] * 2 <= width - 8 else 1
    lines = looks(heatmap, colours)
    assert list(lines) == [str(row) for row in range(len(kinds))]
    for row, line in enumerate(lines.values()):
        glyphs = [look[0] for look in line[: kinds.shape[1] * cell_width : cell_width]]
        assert glyphs == [GLYPHS[find_role(heatmap, row, column)] for column in range(kinds.shape[1])]


@given(matrices(*range(6)))
def test_page_table_has_the_same_cells(kinds: Any) -> None:
    heatmap = picture(kinds, levels=np.full(kinds.shape, 0.6))
    rows = drawn_table(heatmap).rows
    assert [[cell.role for cell in row[1]] for row in rows] == [
        [role if role not in HEAT else "heat3" for role in (MEANINGS[kind][0] for kind in row)] for row in kinds
    ]


@given(st.integers(1, 60), st.integers(1, 120), st.integers(2, 9), st.sampled_from(["full", "half"]))
def test_omissions_are_counted(rows: int, columns: int, lines: int, how: Any) -> None:
    """No line is wider than the screen, and the notes count the rows and columns left out."""
    heatmap = picture(np.full((rows, columns), ON), how, Limits(lines, None, 40), margin=(("length", ("7",) * rows),))
    text = shown(heatmap)
    assert max(map(len, text)) <= 40
    labels = [match for line in text[1:] if (match := re.match(r" *(\d+)(?:–(\d+))?  ", line))]
    displayed = sum(1 + (label[2] is not None) for label in labels)
    matrix = labels[0].string[labels[0].end() :].removesuffix("7").rstrip()
    glyphs = len(matrix.replace("⋮", "").replace(" ", ""))
    wide = 2 if matrix.count("■■") == columns else 1
    notes = " ".join(" ".join(text[1:]).split())
    assert ("⋮" in matrix) == (glyphs // wide < columns)
    for missing, noun in ((rows - displayed, "sample"), (columns - glyphs // wide, "timestep")):
        assert (f"{missing} {noun}{'s' if missing > 1 else ''} not shown" in notes) == (missing > 0)
    assert len(labels) <= lines + 1


def test_margin_marks_fit() -> None:
    lines = shown(picture(np.full((2, 60), COUNTED), "half", Limits(None, None, 40)))
    assert len(lines[1]) == 40
    assert lines[1].endswith("▌  ◆")


def test_half_resolution_shows_twice_the_rows() -> None:
    kinds = np.full((50, 3), ON)
    full, half = (shown(picture(kinds, how, Limits(6, None, 80))) for how in ("full", "half"))  # type: ignore[arg-type]
    assert [line.split()[0] for line in full[1:8]] == ["0", "1", "2", "⋮", "47", "48", "49"]
    assert [line.split()[0] for line in half[1:8]] == ["0–1", "2–3", "4–5", "⋮", "44–45", "46–47", "48–49"]
    assert full[-1] == " … 44 samples not shown (--all shows everything)"
    assert half[-1] == " … 38 samples not shown (--all shows everything)"


def test_mask_in_both_resolutions() -> None:
    kinds = [[ON, ON, ON], [ON, ON, PADDING], [ON, DROPPED, COUNTED]]
    assert shown(picture(kinds)) == [
        "sample  0",
        "     0  ■■■■■■",
        "     1  ■■■■·",
        "     2  ■■! ◆",
        " ■ token   · padding   ! hidden   ◆ counted",
    ]
    assert shown(picture(kinds, "half")) == [
        "sample  0",
        "   0–1  ██▀",
        "     2  ▀▝▘  !◆",
        " ▀▄ token   blank: padding   ▝▗! hidden   ▘▖◆ counted",
    ]


@pytest.mark.parametrize(("shape", "lines"), [((1, 5), ["▀▀▀▀▀"]), ((5, 1), ["█", "█", "▀"]), ((1, 1), ["▀"])])
def test_matrix_of_one_row_or_column(shape: tuple[int, int], lines: list[str]) -> None:
    shown_lines = shown(picture(np.full(shape, ON), "half"))
    assert [line.split()[1] for line in shown_lines[1:-1]] == lines
    assert len(shown(picture(np.full(shape, ON)))) == shape[0] + 2


@pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
@pytest.mark.parametrize("how", ["full", "half"])
def test_empty_matrix(shape: tuple[int, int], how: Any) -> None:
    heatmap = picture(np.zeros(shape), how)
    assert [line.split() for line in shown(heatmap)[1:]] == [
        [label] for label in ["0", "1"][: shape[0]]
    ] or how == "half"
    assert len(drawn_table(heatmap).rows) == shape[0]


def test_ruler_numbers_are_above_their_columns() -> None:
    kinds = np.full((1, 100), ON)
    ruler, line = shown(picture(kinds, limits=Limits(None, None, 60)))[:2]
    assert ruler == "sample  0         10        20     75   80        90"
    seam = line.index("⋮")
    assert ruler.index("75") == seam + 1
    assert ruler.index("80") == seam + 1 + 5
    assert len(line) == 60
    crowded = shown(picture(kinds, limits=Limits(None, 43, 80)))[0]
    assert crowded == "sample  0         10        20 79         90"
    wide = shown(picture(np.full((1, 12), ON)))[0]
    assert wide == "sample  0         5         10"


def test_half_blocks_need_colours_for_levels() -> None:
    heatmap = picture(
        [[LEVEL, LEVEL, PADDING]], "half", levels=np.array([[0.1, 1, 0]]), scale=Scale("loss", "0", "7.5")
    )
    assert shown(heatmap) == [
        "sample  0",
        "     0  ░░██·",
        " ░ to 25 %   █ to the largest loss, 7.5   · padding",
        " Drawn in full: half blocks need colours to show levels.",
    ]
    colourless = Console(force_terminal=True, color_system="truecolor", width=80, no_color=True)
    assert "Drawn in full" in render_text([heatmap], colourless)
    coloured = shown(heatmap, "truecolor")
    assert coloured[1:] == [
        "     0  ▀▀",
        f" 0 {'█' * 20} 7.5, the largest loss",
        " ▀▄ the first and the second sample of a line   blank: padding",
    ]


def test_role_without_shape_is_drawn_in_full() -> None:
    lines = shown(picture([[ON, ERROR], [ON, ERROR]], "half"), "truecolor")
    assert lines[1:3] == ["     0  ■■×", "     1  ■■×"]
    assert lines[-1] == " Drawn in full: half blocks have no shape for 2 NaN."


def test_ascii_encoding_is_drawn_in_full() -> None:
    heatmap = picture([[ON, ON, DROPPED], [ON, COUNTED, PADDING]], "half", limits=Limits(None, None, 80))
    ascii_ = PlainConsole(encoding="ascii")
    lines = render_bytes([heatmap], ascii_).decode("ascii").splitlines()
    assert lines[1:3] == ["     0  ####!", "     1  ##P ~"]
    assert lines[-1] == " Drawn in full: this encoding has no half blocks."


def test_ascii_columns_line_up() -> None:
    heatmap = picture(np.full((2, 90), ON), limits=Limits(None, 6, 80), margin=(("length", ("1", "2")),))
    ascii_ = PlainConsole(encoding="ascii")
    ruler, *lines = render_bytes([heatmap], ascii_).decode("ascii").splitlines()[:3]
    assert {len(line) for line in (ruler, *lines)} == {len(ruler)}
    assert lines[0].index(":") == ruler.index("87") - 2


def test_sixteen_colours_keep_level_glyphs() -> None:
    heatmap = picture([[LEVEL] * 3], levels=np.array([[0, 0.4, 1.0]]), scale=Scale("loss", "0", "7.5"))
    for colours, patches in (("standard", False), ("256", True), ("truecolor", True)):
        (line,) = looks(heatmap, colours).values()
        assert "".join(character for character, _, _ in line).startswith("▁▁▒▒██")
        assert all((paper is not None and paper == ink) == patches for _, ink, paper in line[:6])


def test_shades_grow_lighter() -> None:
    colours = [shade_level(step / STEPS) for step in range(STEPS + 1)]
    assert len(set(colours)) == STEPS + 1
    light = [_luminance(colour) for colour in colours]
    assert all(below < above for below, above in itertools.pairwise(light))
    for edge in (0.0, 1.0):  # Black and white terminals; WCAG's contrast.
        assert min((max(edge, shade) + 0.05) / (min(edge, shade) + 0.05) for shade in light) > 1.6


def _luminance(colour: tuple[int, int, int]) -> float:
    linear = [(c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4) for c in colour]
    return float(np.dot((0.2126, 0.7152, 0.0722), linear))


@given(st.floats(0, 1))
def test_legend_names_the_level(part: float) -> None:
    heatmap = picture([[LEVEL]], levels=np.array([[part]]), scale=Scale("loss", "0", "7.5"))
    glyph = GLYPHS[HEAT[quantize_level(part)]]
    assert shown(heatmap)[1].split()[1] == glyph * 2
    assert shown(heatmap)[2].startswith(f" {glyph} {LEVELS[quantize_level(part)]}")


def test_page_notes_count_omissions() -> None:
    heatmap = picture(np.full((9, 3), ON), "half", Limits(2, None, 80), margin=(("length", tuple("987654321")),))
    table, *below = draw_heatmap(heatmap)
    assert isinstance(table, Table)
    assert [row[0][0].text for row in table.rows] == ["0", "⋮", "8"]
    assert [row[-1][0].text for row in table.rows] == ["9", "⋮", "1"]
    notes = ["".join(cell.text for cell in text.cells) for text in below if isinstance(text, Text)]
    assert notes == [
        "■ token",
        "Drawn in full: half blocks are for a terminal.",
        "… 7 samples not shown (--all shows everything)",
    ]


def test_control_characters_are_replaced() -> None:
    heatmap = dataclasses.replace(picture([[ON]]), meanings=(("padding", ""), ("on", "a\x1b[31m\rb")))
    assert render_text([heatmap], screen(None)).splitlines()[-1] == " ■ a�[31m�b"


# The views.


def pictures(parts: list[Any]) -> list[Heatmap]:
    return [part for part in iterate_parts(parts) if isinstance(part, Heatmap)]


def roles(heatmap: Heatmap) -> list[str]:
    rows, columns = heatmap.kinds.shape
    short = {"on": "V", "padding": "p", "masked": "D", "counted": "C", "warning": "W", "error": "E"}
    return ["".join(short.get(find_role(heatmap, r, c), "#") for c in range(columns)) for r in range(rows)]


def test_batch_marks_padding_lookalikes() -> None:
    """Tokens, padding, and tokens with the padding id are three kinds."""
    batch: PaddedBatch = maskcli.pad([[1, 0, 2], [3]])
    (matrix,) = pictures(heat.view_batch(batch, "full", ALL))
    assert roles(matrix) == ["VWV", "Vpp"]
    assert matrix.margin == (("length", ("3", "1")),)
    assert ("warning", "1 token with the padding id, 0") in matrix.meanings


@pytest.fixture(scope="module")
def inspected() -> Inspection:
    return maskcli.inspect([[1, 0, 2], [3]])


def test_inspection_compares_mask_and_padding(inspected: Inspection) -> None:
    mask, output, change = pictures(heat.view_inspection(inspected, "full", ALL))
    assert roles(mask) == ["VDV", "Vpp"]
    assert roles(output) == roles(change) == ["#D#", "#pp"]
    sizes = np.abs(inspected.outputs[0].values).max(axis=-1)
    assert output.levels is not None
    valid = np.array([[True, False, True], [True, False, False]])
    np.testing.assert_allclose(output.levels[valid], (sizes / sizes[valid].max())[valid], rtol=1e-6)
    assert inspected.unmasked is not None
    assert change.levels is not None
    moved = inspected.unmasked.change
    np.testing.assert_allclose(change.levels[valid], (moved / moved[valid].max())[valid], rtol=1e-5)
    assert not output.levels[~valid].any()
    assert output.scale == Scale("value", "0", f"{sizes[valid].max():.3g}")


def test_model_without_mask_counts_padding() -> None:
    mask, output = pictures(heat.view_inspection(maskcli.inspect([[1, 2], [3]], mask_source="none"), "full", ALL))
    assert roles(mask) == ["VV", "VC"]
    assert roles(output) == ["##", "#C"]


def test_unchanged_outputs_are_described() -> None:
    parts = heat.view_inspection(maskcli.inspect([[1, 2], [3]]), "full", ALL)
    assert len(pictures(parts)) == 2
    text = render_text(parts, screen(None))
    assert re.search(r"Valid outputs do not change; padding changes by up to 0\.0\d+\.", text)


def test_pooled_output_has_a_column_per_unit() -> None:
    inspection = maskcli.inspect([[1, 2, 0, 3], [3]], return_sequences=False, units=5)
    _, output, change = pictures(heat.view_inspection(inspection, "half", ALL))
    assert output.kinds.shape == change.kinds.shape == (2, 5)
    assert output.axes == ("sample", "unit")
    assert inspection.unmasked is not None
    moved = np.abs(inspection.outputs[0].values - inspection.unmasked.values)
    assert change.levels is not None
    np.testing.assert_allclose(change.levels, moved / moved.max(), rtol=1e-5)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_not_finite_output_has_its_own_kind(inspected: Inspection, broken: float) -> None:
    values = inspected.outputs[0].values.copy()
    values[0, 0, 0], values[1, 1, 0] = broken, -np.inf
    first = dataclasses.replace(inspected.outputs[0], values=values)
    _, output, _ = pictures(heat.view_inspection(dataclasses.replace(inspected, outputs=(first,)), "half", ALL))
    assert roles(output) == ["ED#", "#Ep"]
    assert "half blocks have no shape for 2 NaN or infinite." in render_text([output], screen("truecolor"))


def test_mask_of_another_shape_is_noted(inspected: Inspection) -> None:
    odd = dataclasses.replace(inspected, mask=np.ones((2, 7), bool))
    parts = heat.view_inspection(odd, "full", ALL)
    assert roles(pictures(parts)[0]) == ["VVV", "Vpp"]
    assert "The mask has shape (2, 7) and is not drawn here." in render_text(parts, screen(None))


def test_loss_matches_its_table() -> None:
    report = maskcli.loss([[1, 2, 0, 0]], model="embedding-dense", targets="arange", loss="mse")
    (matrix,) = pictures(heat.view_loss(report, "full", ALL))
    assert roles(matrix) == ["##pp"]
    losses = report.first.per_timestep
    assert losses is not None
    assert matrix.levels is not None
    np.testing.assert_allclose(matrix.levels[0, :2], losses[0, :2] / losses[0, :2].max())
    assert matrix.margin == (("masked", ("9.126",)),)
    text = render_text(heat.view_loss(report, "full", ALL), screen(None))
    assert "\n\nLoss mse  masked 9.125764, unmasked 42.070232\n" in text
    assert " ░ to 25 %   █ to the largest loss, 16.6   · 2 timesteps left out\n" in text


def test_loss_without_mask_marks_padding() -> None:
    options: dict[str, Any] = {"model": "embedding-dense", "mask_source": "none", "targets": "arange", "loss": "mse"}
    (matrix,) = pictures(heat.view_loss(maskcli.loss([[1, 2], [3]], **options), "half", ALL))
    assert roles(matrix) == ["##", "#C"]


def test_single_number_loss_has_no_matrix() -> None:
    report = maskcli.loss([[1, 2], [3]], model="embedding-dense", targets="arange", loss="mse")
    first = dataclasses.replace(report.first, per_timestep=None, masked=None, unmasked=None, reported=1.5)
    parts = heat.view_loss(dataclasses.replace(report, outputs=(first, report.first)), "full", ALL)
    assert len(pictures(parts)) == 1
    text = render_text(parts, screen(None))
    assert "\n\nLoss mse of output  Keras evaluate 1.500000\n The loss is a single number per batch.\n" in text
