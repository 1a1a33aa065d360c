"""Charts: they draw exactly the values of the records, and Vega-Lite gives no warning."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import maskcli
from maskcli.records.inputs import ModelInput
from maskcli.records.leak import LeakMatrix
from maskcli.records.model import ModelAbout
from maskcli.records.trace import AttentionMask, Call, Inspection, OutputValues, Unmasked
from maskcli.render import pictures
from maskcli.render.charts import Figure, attention, batch, future, leaks, losses, outputs
from maskcli.render.charts.grids import COLUMNS, ROWS, make_axis
from maskcli.render.charts.looks import STYLES, UNMOVED, make_hatch, make_path
from maskcli.render.timesteps import TimestepKind
from tests.conftest import QUESTION
from tests.render.test_loss_view import CASES as LOSSES

pytestmark = pytest.mark.slow(share=1 / 3)

vl_convert = pytest.importorskip("vl_convert")
NASTY = "<script>alert(1)</script>\"'&`|\n\x00\x1b\ud800{{x}}"


# Marks of a chart.


def list_marks(figure: Figure, **params: int) -> list[dict[str, Any]]:
    """Return the marks below the legend, as Vega places them, with their types."""
    spec = json.loads(json.dumps(figure.spec))
    for param in spec["params"]:
        param["value"] = params.get(param["name"], param["value"])
    graph = vl_convert.vegalite_to_scenegraph(spec)["scenegraph"]
    last = len(spec["vconcat"]) - 1
    return [item for item in walk_marks(graph) if item["of"].startswith(f"concat_{last}_")]


def walk_marks(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for item in node.get("items", []):
        if node.get("role") == "mark" and node["marktype"] != "group":
            yield {**item, "type": node["marktype"], "of": node["name"]}
        if node.get("role") in ("frame", "scope") or "marktype" not in node:
            yield from walk_marks(item)


def locate(items: list[dict[str, Any]], figure: Figure, look: Any = None) -> list[tuple[int, int]]:
    """Return the row and column of each cell, or of each mark of a style."""
    main = figure.spec["vconcat"][-1]
    encoding = main.get("encoding") or main["layer"][0]["encoding"]
    columns, rows = (encoding[axis]["scale"]["domain"] for axis in "xy")
    step = main["width"] / len(columns), main["height"] / len(rows)
    places = [place for item in items if (place := find_middle(item, look)) is not None]
    inside = [(x, y) for x, y in places if x > 0 and y > 0]
    return sorted((rows[int(y // step[1])], columns[int(x // step[0])]) for x, y in inside)


def find_middle(item: dict[str, Any], look: Any) -> tuple[float, float] | None:
    if look is None and item["type"] == "rect":
        return item.get("x", 0) + item["width"] / 2, item.get("y", 0) + item["height"] / 2
    if look is None or item["type"] != "symbol" or item["stroke"] != (look.edge or look.ink):
        return None
    # The number of lines of a hatch depends on its size; no other mark has its colour.
    if look.mark == "hatch" or generalize(item["shape"]) == generalize(make_path(look.mark, 10, 10)):
        return item.get("x", 0), item.get("y", 0)
    return None


def generalize(shape: str) -> str:
    """Return a path without its size."""
    return re.sub(r"[-.0-9]+", "#", shape)


def list_places(cells: Any) -> list[tuple[int, ...]]:
    return [tuple(place) for place in np.argwhere(cells).tolist()]


def compile_figure(figure: Figure, capfd: pytest.CaptureFixture[str]) -> str:
    """Return the SVG, and check that it causes no warning."""
    capfd.readouterr()
    json.dumps(figure.spec, allow_nan=False)
    svg: str = vl_convert.vegalite_to_svg(pictures.make_picture_spec(figure), show_warnings=True)
    output = capfd.readouterr()
    assert (output.out, output.err) == ("", "")
    assert not re.findall(r'="[^"]*(?:NaN|undefined|null)', svg)
    return svg


# Records made by hand.


def make_valid(lengths: list[int], timesteps: int) -> Any:
    return np.arange(timesteps) < np.array(lengths)[:, None]


SMALL = make_valid([6, 5, 3], 6)
TOKENS = np.where(SMALL, np.arange(18).reshape(3, 6) + 7, 0)
RANDOM = np.random.default_rng(0)


def inspection(
    valid: Any, values: Any, mask: Any = None, unmasked: Any = None, primary: ModelInput | None = None, **fields: Any
) -> Inspection:
    tokens = np.where(valid, 7, 0) if valid is not None else np.zeros((len(values), 2))
    primary = primary or ModelInput("tokens", tokens, valid, "ids" if valid is not None else "static")
    output = {"call": "lstm", "valid": valid, "mask": mask, "repeats_previous": None, **fields}
    changed = None
    if unmasked is not None:
        changed = Unmasked(unmasked, np.zeros(values.shape[:1]), 0.5, None)
    return Inspection(
        model=ModelAbout("m", "object", "Functional"), versions={}, inputs=(primary,), batch=None, mask=mask,
        embedding=None, trace=(), outputs=(OutputValues(values=values, **output),), unmasked=changed, mask_sources=(),
        mask_sources_agree=None, remarks=(),
    )  # fmt: skip


def inspect_input(kind: str, values: Any, valid: Any = None, mask: Any = None) -> Inspection:
    valid = SMALL if valid is None else valid
    return inspection(valid, np.zeros((*valid.shape, 1)), mask, primary=ModelInput("x", values, valid, kind))  # type: ignore[arg-type]


def leak_matrix(valid: Any, change: Any = None, timed: bool = True, **fields: Any) -> LeakMatrix:
    samples, timesteps = valid.shape
    rows = timesteps if timed else 1
    if change is None:
        change = RANDOM.uniform(0, 1, (samples, rows, timesteps)) ** 8
    places = np.argwhere(~valid)
    effects = change[places[:, 0], :, places[:, 1]]
    padded = int((~valid).sum())
    counts = valid if timed else np.ones((samples, 1), bool)
    return LeakMatrix(**{"output": "y", "places": places, "effects": effects, "timesteps": timesteps, "valid": counts, "timed": timed, "tolerance": 1e-6, "tried": padded, "padded": padded} | fields)  # fmt: skip


def make_attention(valid: Any, causal: bool = False, blind: bool = False, **more: Any) -> AttentionMask:
    mask = np.broadcast_to(valid[:, None, :] | blind, (*valid.shape, valid.shape[1])).copy()
    mask &= np.tril(np.ones(mask.shape[1:], bool)) | (not causal)
    raw = np.where(mask, RANDOM.uniform(0.1, 1, mask.shape), 0)
    weights = raw / np.maximum(raw.sum(-1, keepdims=True), 1e-9)
    fields = {"call": "mha", "type": "MultiHeadAttention", "mask": mask, "weights": weights, "heads": 2}
    return AttentionMask(**fields | {"causal": causal, "queries": valid, "keys": valid, "to_padding": 0.0} | more)  # type: ignore[arg-type]


def replace_first(values: Any, *odd: float) -> Any:
    values = np.array(values, float)
    values.flat[: len(odd)] = odd
    return values


LONG = make_valid([300, 7], 300)
TALL = make_valid([1] * 299 + [3], 3)
ONE = np.ones((1, 1), bool)
EMPTY = make_valid([4, 0], 4)
HIDES = SMALL & (np.arange(6) != 1) | (np.arange(6) == 5)
NOT_FINITE = replace_first(RANDOM.normal(size=(3, 6, 2)), np.nan, np.inf, -np.inf)
FIGURES: dict[str, Figure | None] = {
    "batch": batch.make_batch_figure(maskcli.pad(QUESTION)),
    "batch, pre": batch.make_batch_figure(maskcli.pad(QUESTION, padding="pre", value=-1)),
    "batch 1 x 1": batch.make_batch_figure(maskcli.pad([[3]])),
    "batch 1 x 300": batch.make_batch_figure(maskcli.pad([list(range(1, 301))])),
    "batch 300 x 1": batch.make_batch_figure(maskcli.pad([[index + 1] for index in range(300)])),
    "batch, empty rows": batch.make_batch_figure(maskcli.pad([[], [1, 2], []])),
    "batch, huge ids": batch.make_batch_figure(maskcli.pad([[2**62, -(2**62)], [1]], dtype="int64")),
    "batch, ids without room": batch.make_batch_figure(maskcli.pad([[1, 4999] * 80])),
    "batch of a model": batch.make_inspection_figure(inspect_input("ids", TOKENS, mask=SMALL)),
    "batch, wrong mask": batch.make_inspection_figure(inspect_input("ids", TOKENS, mask=HIDES)),
    "batch, mask of another shape": batch.make_inspection_figure(inspect_input("ids", TOKENS, mask=SMALL[:, :3])),
    "batch, float ids": batch.make_inspection_figure(inspect_input("ids", TOKENS.astype("float32"), mask=SMALL)),
    "batch, all padding": batch.make_inspection_figure(inspect_input("ids", TOKENS * 0, np.zeros_like(SMALL))),
    "batch of features": batch.make_inspection_figure(inspect_input("features", RANDOM.normal(size=(3, 6, 4)), mask=SMALL)),
    "batch, images": batch.make_inspection_figure(inspect_input("features", RANDOM.normal(size=(3, 6, 4, 5, 2)))),
    "batch, bool": batch.make_inspection_figure(inspect_input("features", RANDOM.normal(size=(3, 6, 4)) > 0)),
    "batch, not finite": batch.make_inspection_figure(inspect_input("features", NOT_FINITE, mask=SMALL)),
    "batch, no number": batch.make_inspection_figure(inspect_input("features", np.full((3, 6, 2), np.nan))),
    "outputs": outputs.make_figure(inspection(SMALL, RANDOM.normal(size=(3, 6, 4)), SMALL, RANDOM.normal(size=(3, 6, 4)))),
    "outputs, no mask": outputs.make_figure(inspection(SMALL, RANDOM.normal(size=(3, 6, 4)))),
    "outputs, wrong mask": outputs.make_figure(inspection(SMALL, RANDOM.normal(size=(3, 6, 4)), HIDES), 2, 3),
    "outputs, not finite": outputs.make_figure(inspection(SMALL, NOT_FINITE, SMALL, NOT_FINITE[::-1])),
    "outputs, no number": outputs.make_figure(inspection(SMALL, np.full((3, 6, 1), np.nan), SMALL, np.full((3, 6, 1), np.inf))),
    "outputs, pooled": outputs.make_figure(inspection(None, RANDOM.normal(size=(3, 5)), None, RANDOM.normal(size=(3, 5))), 1),
    "outputs, pooled, one unit": outputs.make_figure(inspection(None, RANDOM.normal(size=(40, 1)), None, RANDOM.normal(size=(40, 1)))),
    "outputs, pooled, not finite": outputs.make_figure(inspection(None, NOT_FINITE[:, 0], None, NOT_FINITE[:, 1])),
    "outputs, a number a sample": outputs.make_figure(inspection(None, np.arange(4.0))),
    "outputs, a number a timestep": outputs.make_figure(inspection(SMALL, RANDOM.normal(size=(3, 6)), SMALL)),
    "outputs, images": outputs.make_figure(inspection(SMALL, RANDOM.normal(size=(3, 6, 2, 3, 2)), SMALL), 1, 11),
    "outputs, bool": outputs.make_figure(inspection(SMALL, RANDOM.normal(size=(3, 6, 2)) > 0, SMALL)),
    "outputs, ids": outputs.make_figure(inspection(SMALL, np.arange(36).reshape(3, 6, 2), SMALL)),
    "outputs 1 x 1": outputs.make_figure(inspection(ONE, np.ones((1, 1, 1)), ONE, np.ones((1, 1, 1)))),
    "outputs 2 x 300": outputs.make_figure(inspection(LONG, RANDOM.normal(size=(2, 300, 70)), LONG, RANDOM.normal(size=(2, 300, 70))), 1, 69),
    "outputs, all padding": outputs.make_figure(inspection(EMPTY & False, np.zeros((2, 4, 2)), EMPTY & False)),
    **{f"loss: {name}": losses.make_figure(case.first) for name, case in LOSSES.items()},
    "leaks": leaks.make_figure(leak_matrix(SMALL)),
    "leaks, pooled": leaks.make_figure(leak_matrix(SMALL, timed=False), 2),
    "leaks, none": leaks.make_figure(leak_matrix(SMALL, np.zeros((3, 6, 6)))),
    "leaks, of one size": leaks.make_figure(leak_matrix(SMALL, np.full((3, 6, 6), 0.01))),
    "leaks, not finite": leaks.make_figure(leak_matrix(SMALL, np.full((3, 6, 6), np.inf))),
    "leaks, no tolerance": leaks.make_figure(leak_matrix(SMALL, tolerance=0.0)),
    "leaks, few tried": leaks.make_figure(leak_matrix(SMALL, padded=90)),
    "leaks 1 x 1": leaks.make_figure(leak_matrix(~ONE)),
    "leaks 2 x 300": leaks.make_figure(leak_matrix(LONG), 1),
    "leaks, empty rows": leaks.make_figure(leak_matrix(EMPTY)),
    "attention": attention.make_figure(make_attention(SMALL)),
    "attention, causal": attention.make_figure(make_attention(SMALL, causal=True), 1),
    "attention, to padding": attention.make_figure(make_attention(SMALL, blind=True, to_padding=0.4)),
    "attention, no weights": attention.make_figure(make_attention(SMALL, weights=None)),
    "attention, weights not finite": attention.make_figure(make_attention(SMALL, weights=np.full((3, 6, 6), np.nan))),
    "attention, unknown padding": attention.make_figure(make_attention(SMALL, queries=None, keys=None, to_padding=None)),
    "attention, all blocked": attention.make_figure(make_attention(SMALL, mask=np.zeros((3, 6, 6), bool))),
    "attention 1 x 1": attention.make_figure(make_attention(ONE)),
    "attention 2 x 300": attention.make_figure(make_attention(LONG), 1),
    "attention of 300 samples": attention.make_figure(make_attention(TALL)),
}  # fmt: skip
NONE = {"loss: one number of a whole batch"}


@pytest.mark.slow(share=1 / 3)
@pytest.mark.parametrize("name", FIGURES)
def test_chart_draws_without_warning(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    figure = FIGURES[name]
    if name in NONE:
        assert figure is None
        return
    assert figure is not None
    svg = compile_figure(figure, capfd)
    width, height = (float(svg.split(f'{side}="')[1].split('"')[0]) for side in ("width", "height"))
    assert width <= 960
    assert height <= 1150
    assert len(json.dumps(figure.spec)) < 600_000
    assert figure.about.endswith(".")
    assert figure.spec["description"] == figure.about


@pytest.mark.slow(share=1 / 3)
@pytest.mark.parametrize("name", [name for name in FIGURES if name not in NONE])
def test_chart_is_self_contained_and_reproducible(name: str) -> None:
    figure = FIGURES[name]
    assert figure is not None
    text = json.dumps(figure.spec)
    assert "http" not in text
    assert "url" not in text
    assert pictures.render_svg(figure) == pictures.render_svg(figure)


@pytest.mark.slow(share=1 / 3)
@pytest.mark.parametrize("name", [name for name in FIGURES if name not in NONE])
def test_legend_labels_have_room(name: str) -> None:
    figure = FIGURES[name]
    assert figure is not None
    graph = vl_convert.vegalite_to_scenegraph(json.loads(json.dumps(figure.spec)))["scenegraph"]
    for labels in walk_legend_labels(graph):
        places = sorted((item.get("x", 0), len(str(item["text"]))) for item in labels if item.get("opacity", 1))
        for (left, left_size), (right, right_size) in itertools.pairwise(places):
            assert right - left >= 5 * (left_size + right_size) / 2, labels
    top = figure.spec["vconcat"][0]
    if len(figure.spec["vconcat"]) > 1:
        assert top["width"] <= max(320, figure.spec["vconcat"][-1]["width"] + 20)


def walk_legend_labels(node: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    if node.get("role") == "legend-label":
        yield node["items"]
        return
    for item in node.get("items", []):
        yield from walk_legend_labels(item)


def test_batch_without_timesteps_has_no_chart() -> None:
    assert batch.make_inspection_figure(inspection(None, np.zeros((2, 3)))) is None


# The batch.


@pytest.mark.parametrize("padding", ["pre", "post"])
def test_batch_draws_each_cell_once(padding: str) -> None:
    padded = maskcli.pad(QUESTION, padding=padding)
    figure = batch.make_batch_figure(padded)
    items = list_marks(figure)
    assert locate(items, figure) == list(np.ndindex(padded.tokens.shape))
    assert locate(items, figure, STYLES[TimestepKind.PADDING]) == list_places(~padded.mask)
    texts = Counter(item["text"] for item in items if item["type"] == "text")
    assert texts == Counter(map(str, padded.tokens[padded.mask].tolist()))


@given(arrays(bool, (4, 9)), arrays(bool, (4, 9)))
@settings(max_examples=15)
def test_batch_marks_show_padding_and_mask(valid: Any, mask: Any) -> None:
    figure = batch.make_inspection_figure(inspect_input("ids", np.where(valid, 5, 0), valid, mask))
    assert figure is not None
    items = list_marks(figure)
    assert locate(items, figure) == list(np.ndindex(valid.shape))
    expected = {
        TimestepKind.PADDING: ~valid & ~mask,
        TimestepKind.HIDDEN: valid & ~mask,
        TimestepKind.COUNTED: ~valid & mask,
    }
    assert {kind: locate(items, figure, STYLES[kind]) for kind in expected} == {
        kind: list_places(cells) for kind, cells in expected.items()
    }
    assert all(item["strokeWidth"] > 0 and item["shape"] for item in items if item["type"] == "symbol")


def test_batch_of_features_draws_norms_and_crosses() -> None:
    figure = batch.make_inspection_figure(inspect_input("features", NOT_FINITE, mask=SMALL))
    assert figure is not None
    rows = figure.spec["vconcat"][-1]["data"]["values"]
    norms = np.linalg.norm(NOT_FINITE[1:], axis=-1)
    assert np.allclose([row["value"] for row in rows[1:]], norms, rtol=1e-5)
    assert [row["value"][:2] for row in rows[:1]] == [["NaN", "∞"]]
    assert locate(list_marks(figure), figure, STYLES[TimestepKind.NOT_FINITE]) == list_places(
        ~np.isfinite(NOT_FINITE).all(-1)
    )


def test_ids_have_one_color() -> None:
    """A larger id is not more of anything: only padding stands out."""
    figure = FIGURES["batch"]
    assert figure is not None
    cells = [item for item in list_marks(figure) if item["type"] == "rect"]
    assert len({item["fill"] for item in cells}) == 2
    assert "legend" not in json.dumps(figure.spec["vconcat"][-1]).replace('"legend": null', "")


def test_large_batch_is_shortened_with_a_note() -> None:
    padded = maskcli.pad([[1] * (1 + index) for index in range(400)])
    figure = batch.make_batch_figure(padded)
    items = list_marks(figure)
    places = locate(items, figure)
    assert len(places) == len(set(places)) == ROWS * COLUMNS
    assert (399, 399) in places
    assert locate(items, figure, STYLES[TimestepKind.PADDING]) == [place for place in places if not padded.mask[place]]
    assert figure.spec["title"]["text"] == "… 340 samples not drawn, … 240 timesteps not drawn"
    assert "79,800 padding" in figure.about


def test_ids_beyond_2_to_53_keep_their_digits() -> None:
    figure = FIGURES["batch, huge ids"]
    assert figure is not None
    assert figure.spec["vconcat"][-1]["data"]["values"][0]["value"] == [str(2**62), str(-(2**62))]


@given(st.integers(1, 2000), st.integers(4, 40))
def test_axis_labels_have_room_and_even_steps(count: int, most: int) -> None:
    axis = make_axis("timestep", count, most=most)
    labels = axis.channel()["axis"]["values"]
    places = [axis.indices.index(None if label == "…" else label) for label in labels]
    assert axis.pixels <= 4 * (COLUMNS + 1)
    assert labels[0] == 0
    assert all((after - before) * axis.step >= 12 for before, after in itertools.pairwise(places) if "…" not in labels)


# Outputs.


def group_lines(items: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    by: dict[str, list[dict[str, Any]]] = {}
    for item in items:
        if item["type"] == "line":
            by.setdefault(item["of"], []).append(item)
    return list(by.values())


@pytest.mark.parametrize(("sample", "feature"), [(0, 0), (2, 3), (1, 2)])
def test_lines_follow_sample_and_feature(sample: int, feature: int) -> None:
    masked, unmasked = RANDOM.normal(size=(2, 3, 6, 4))
    figure = outputs.make_figure(inspection(SMALL, masked, SMALL, unmasked), 0, 0)
    items = list_marks(figure, sample=sample, feature=feature)
    lines = group_lines(items)
    both = np.stack([masked[sample, :, feature], unmasked[sample, :, feature]])
    heights = -np.array([[item["y"] for item in line] for line in lines])
    fit = np.polyfit(heights.ravel(), both.ravel(), 1)  # The scale is linear: values depend linearly on pixels.
    assert np.allclose(np.polyval(fit, heights), both, atol=1e-4)
    assert [line[0]["strokeDash"] for line in lines] == [[1, 0], list(outputs.DASH)]
    hatched = [
        item["x"] for item in items if item["type"] == "symbol" and item["shape"] == make_hatch(106, outputs.HEIGHT)
    ]
    assert [int(x // 106) for x in sorted(hatched)] == np.flatnonzero(~SMALL[sample]).tolist()


def test_arguments_select_sample_and_feature() -> None:
    figure = outputs.make_figure(inspection(SMALL, RANDOM.normal(size=(3, 6, 4)), SMALL), 2, 3)
    assert {param["name"]: param["value"] for param in figure.spec["params"]} == {"sample": 2, "feature": 3}
    assert [param["bind"]["max"] for param in figure.spec["params"]] == [2, 3]
    assert outputs.count_choices(inspection(SMALL, RANDOM.normal(size=(3, 6, 4)))) == (3, 4)
    assert outputs.count_choices(inspection(None, np.zeros((3, 4)))) == (3, 0)
    assert outputs.count_choices(inspection(None, np.zeros((3, 1)))) == (0, 0)


def test_many_features_keep_the_selected_one() -> None:
    values = RANDOM.normal(size=(3, 6, 100))
    figure = outputs.make_figure(inspection(SMALL, values), 0, 90)
    _, feature = figure.spec["params"]
    assert (feature["value"], feature["bind"]["min"], feature["bind"]["max"]) == (90, 59, 90)
    kept = figure.spec["vconcat"][-1]["data"]["values"][1]["masked"]
    assert np.allclose(kept, np.moveaxis(values[1, :, 59:91], 1, 0), rtol=1e-5)
    assert "68 features not drawn" in figure.spec["title"]["text"]


def test_nan_is_a_cross_and_breaks_the_line() -> None:
    figure = outputs.make_figure(inspection(SMALL, NOT_FINITE, SMALL))
    items = list_marks(figure, sample=0, feature=0)
    crosses = [item for item in items if item["type"] == "symbol" and item["shape"] == make_path("cross", 13, 13)]
    assert [int(item["x"] // 106) for item in crosses] == np.flatnonzero(~np.isfinite(NOT_FINITE[0, :, 0])).tolist()
    (line,) = group_lines(items)
    assert [bool(item.get("defined", True)) for item in line] == np.isfinite(NOT_FINITE[0, :, 0]).tolist()


def test_pooled_outputs_are_connected_points() -> None:
    masked, unmasked = RANDOM.normal(size=(2, 3, 5))
    items = list_marks(outputs.make_figure(inspection(None, masked, None, unmasked), 1))
    points = np.array([item["y"] for item in items if item["type"] == "symbol"]).reshape(2, 5)
    rules = np.array([sorted((item["y"], item["y2"])) for item in items if item["type"] == "rule"])
    assert np.allclose(np.sort(points, axis=0).T, rules)
    assert (np.argsort(-points.ravel()) == np.argsort(np.concatenate([masked[1], unmasked[1]]))).all()


def list_notes(figure: Figure) -> list[list[str]]:
    """Return the notes on identical lines, for each feature of each sample."""
    _, note, _ = figure.spec["vconcat"]
    return [[" ".join(lines) for lines in datum["notes"]] for datum in note["data"]["values"]]


def test_identical_lines_have_a_reason() -> None:
    masked = RANDOM.normal(size=(3, 6, 2))
    unmasked = masked.copy()
    unmasked[1, 2, 0] += 1
    unmasked[2, 4, 1] += 1
    mask = SMALL | (np.arange(3) == 0)[:, None]
    call = Call(
        call="lstm", index=0, type="LSTM", effect="none", mask_in=None, mask_out=None, given=False,
        computes_mask=False, warning=None, lost_at="multiply",
    )  # fmt: skip
    record = dataclasses.replace(inspection(SMALL, masked, mask, unmasked), trace=(call,))
    assert list_notes(outputs.make_figure(record)) == [
        ["Both lines are identical: this sample has no padding."] * 2,
        ["", "Both lines are identical: the mask is lost at multiply."],
        [
            "Both lines are identical: the mask is lost at multiply.",
            "Both lines are identical at valid timesteps: the mask changes the output only at padding.",
        ],
    ]
    unused = dataclasses.replace(record, trace=(dataclasses.replace(call, lost_at=None),))
    assert list_notes(outputs.make_figure(unused))[1][1].endswith(": no layer of the model uses the mask.")
    different = inspection(SMALL, masked, mask, masked + 1)
    assert len(outputs.make_figure(different).spec["vconcat"]) == 2


def test_note_follows_sample_and_feature() -> None:
    masked = RANDOM.normal(size=(3, 6, 2))
    unmasked = masked + (np.arange(2) == 0)
    figure = outputs.make_figure(inspection(SMALL, masked, SMALL, unmasked))
    scene = {}
    for feature in (0, 1):
        spec = json.loads(json.dumps(figure.spec))
        spec["params"][1]["value"] = feature
        scene[feature] = json.dumps(vl_convert.vegalite_to_scenegraph(spec))
    assert ["identical" in text for text in scene.values()] == [False, True]


# Losses.


@pytest.mark.parametrize("name", ["small", "no mask", "a mask that is wrong", "weights", "not finite", "ignored"])
def test_loss_cells_are_marked_by_kind(name: str) -> None:
    output = LOSSES[name].first
    figure = losses.make_figure(output)
    assert figure is not None
    assert output.per_timestep is not None
    items = list_marks(figure)
    kinds = losses.classify_losses(output, output.per_timestep)
    assert locate(items, figure) == list(np.ndindex(output.per_timestep.shape))
    for kind, look in losses.LOOKS.items():
        if look.mark:
            assert locate(items, figure, look) == list_places(kinds == kind)


@pytest.mark.parametrize("name", ["small", "a mask that is wrong", "negative"])
def test_loss_data_equals_the_record(name: str) -> None:
    output = LOSSES[name].first
    figure = losses.make_figure(output)
    assert figure is not None
    rows = figure.spec["vconcat"][-1]["data"]["values"]
    assert np.allclose([row["loss"] for row in rows], output.per_timestep, rtol=1e-5)
    for top in output.contributors:
        assert rows[top.sample]["share"][top.timestep] == pytest.approx(100 * top.share, rel=1e-4)


def test_losses_without_timesteps_are_bars() -> None:
    output = LOSSES["pooled"].first
    figure = losses.make_figure(output)
    assert figure is not None
    bars = [item for item in list_marks(figure) if item["type"] == "rect"]
    assert output.per_timestep is not None
    heights = np.array([bar["height"] for bar in bars])
    assert np.allclose(heights / heights.max(), output.per_timestep / output.per_timestep.max(), atol=0.01)


def test_legend_has_whole_numbers() -> None:
    """Labels at steps of 500 are 500, 1,000, 1,500."""
    output = LOSSES["small"].first
    assert output.per_timestep is not None
    large = dataclasses.replace(output, per_timestep=output.per_timestep / output.per_timestep.max() * 1480)
    figure = losses.make_figure(large)
    assert figure is not None
    scene = json.dumps(vl_convert.vegalite_to_scenegraph(figure.spec))
    assert '"text": "1,000"' in scene
    assert "e+3" not in scene


# Leaks.


@pytest.mark.parametrize("sample", [1, 2])
@pytest.mark.parametrize("timed", [True, False])
def test_leak_is_marked_only_at_valid_outputs(sample: int, timed: bool) -> None:
    change = np.where(
        RANDOM.random((3, 6 if timed else 1, 6)) < 0.5, 0.0, RANDOM.random((3, 6 if timed else 1, 6)) + 0.01
    )
    matrix = leak_matrix(SMALL, change, timed)
    figure = leaks.make_figure(matrix)
    items = list_marks(figure, sample=sample)
    tried = np.broadcast_to(~SMALL[sample], change[sample].shape)
    moved = tried & (change[sample] > matrix.tolerance)
    counts = matrix.valid[sample][:, None]
    assert locate(items, figure) == list_places(tried)
    assert locate(items, figure, leaks.MOVES) == list_places(moved & counts)
    assert locate(items, figure, UNMOVED) == list_places(tried & ~moved)


def test_sample_without_padding_has_a_note() -> None:
    figure = leaks.make_figure(leak_matrix(SMALL))
    notes = [
        [item["text"] for item in list_marks(figure, sample=sample) if item["type"] == "text"] for sample in range(3)
    ]
    assert notes == [[["no padding", "tried here"]], [], []]


def test_leak_colors_share_a_logarithmic_scale() -> None:
    change = np.full((3, 6, 6), 1e-5)
    change[2, 0, 4] = 0.5
    figure = leaks.make_figure(leak_matrix(SMALL, change))
    scales = [
        layer["encoding"]["fill"]["scale"]
        for layer in figure.spec["vconcat"][-1]["layer"][0]["layer"]
        if layer["encoding"].get("fill", {}).get("type") == "quantitative"
    ]
    assert [(scale["type"], scale["domain"]) for scale in scales] == [("log", [1e-5, 1.0])] * 2
    assert "by up to 0.5" in figure.about


def test_large_leak_matrix_is_drawn_in_blocks() -> None:
    """No leak is left out: a block has the largest change of its worst kind."""
    valid = make_valid([120, 200], 200)
    change = np.zeros((2, 200, 200))
    change[0, 113, 150] = 0.25
    change[0, 119, 121] = 1e-9
    change[0, 190, 151] = 0.5
    figure = leaks.make_figure(leak_matrix(valid, change))
    assert figure.spec.get("title") is None
    items = list_marks(figure, sample=0)
    assert locate(items, figure, leaks.MOVES) == [(28, 37)]
    first = figure.spec["vconcat"][-1]["data"]["values"][0]
    assert first["change"][28][first["column"].index(37)] == 0.25
    assert first["kind"][47][first["column"].index(37)] == leaks.AT_PADDING


# Attention.


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("sample", [0, 2])
def test_blocked_attention_is_hatched(causal: bool, sample: int) -> None:
    record = make_attention(SMALL, causal, blind=True)
    figure = attention.make_figure(record)
    items = [item for item in list_marks(figure, sample=sample) if "layer_0_layer" in item["of"]]
    assert locate(items, figure) == list(np.ndindex(6, 6))
    assert locate(items, figure, attention.LOOKS[attention.BLOCKED].style) == list_places(~record.mask[sample])
    to_padding = record.mask[sample] & SMALL[sample][:, None] & ~SMALL[sample]
    assert locate(items, figure, attention.LOOKS[attention.TO_PADDING].style) == list_places(to_padding)
    weights = [row["weight"] for row in figure.spec["vconcat"][-1]["data"]["values"]]
    assert np.allclose(weights, record.weights, rtol=1e-5)


def test_attention_strips_mark_padding() -> None:
    items = [
        item for item in list_marks(attention.make_figure(make_attention(SMALL)), sample=2) if item["type"] == "symbol"
    ]
    slashes = Counter("left" if item.get("x", 0) < 0 else "top" if item.get("y", 0) < 0 else "in" for item in items)
    assert slashes == {"left": 3, "top": 3, "in": 18}


# Looks.


def test_marks_differ_without_color() -> None:
    matrices = [{kind: look.style for kind, look in module.LOOKS.items()} for module in (leaks, future, attention)]
    for looks in (STYLES, losses.LOOKS, *matrices):
        assert len({look.mark for look in looks.values()}) == len(looks)


@given(st.integers(2, 60), st.integers(20, 300))
def test_hatch_stays_in_band_and_continues(width: int, height: int) -> None:
    lines = [
        [tuple(map(float, point.split(","))) for point in line.split("L")]
        for line in make_hatch(width, height)[1:].split("M")
    ]
    ends = [point for line in lines for point in line]
    assert all(abs(x) <= width / 2 + 0.01 and abs(y) <= height / 2 + 0.01 for x, y in ends)
    left = sorted(y for x, y in ends if x == pytest.approx(-width / 2, abs=0.006) and abs(y) < height / 2 - 0.1)
    right = sorted(y for x, y in ends if x == pytest.approx(width / 2, abs=0.006) and abs(y) < height / 2 - 0.1)
    assert left == pytest.approx(right, abs=0.02)
