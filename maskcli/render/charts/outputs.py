"""An output of a model, timestep by timestep or unit by unit: masked, and beside it without any mask."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Bools
from maskcli.records.trace import Inspection, OutputValues, Unmasked
from maskcli.render.charts import Figure, Spec, make_chart_name
from maskcli.render.charts.grids import (
    GAP,
    Axis,
    classify_timesteps,
    encode_numbers,
    make_axis,
    make_choice_expression,
    make_flatten_transform,
    make_number_filter,
    make_selection,
    make_text_expression,
    measure_inner,
)
from maskcli.render.charts.looks import (
    BLUE,
    COUNTED,
    GRAY,
    HIDDEN,
    LETTER,
    NOT_FINITE,
    PADDING,
    PIXELS,
    SEPARATE_SCALES,
    VALID,
    VERMILION,
    CellStyle,
    LegendEntry,
    assemble_spec,
    make_chart_legend,
    make_fill,
    make_hatch,
    make_marks,
    make_path,
    make_rgba,
)
from maskcli.render.numbers import format_count, format_short
from maskcli.render.views.outputs import convert_ids, has_timesteps

PLACES = 200
MOST_FEATURES = 32
MOST_NUMBERS = 40_000
"""Numbers that a page carries of one output; there are as many features as come to no more."""
HEIGHT = 220
LOOKS: dict[int, CellStyle] = {0: VALID, 1: PADDING, 2: HIDDEN, 3: COUNTED}
WHAT = ("valid", "padding", "valid, but masked", "padding that the mask misses")
DASH = (5, 3)


@dataclasses.dataclass(frozen=True)
class _Line:
    """How a run is drawn, and what it is called."""

    field: str
    text: str
    ink: str
    marker: str
    solid: bool
    dash: tuple[int, int]


MASKED = _Line("masked", "with the mask", make_rgba(BLUE, 1), "circle", True, (1, 0))
UNMASKED = _Line("unmasked", "without any mask", make_rgba(VERMILION, 1), "triangle", False, DASH)


@dataclasses.dataclass(frozen=True, eq=False)
class _Run:
    """What is drawn.

    Attributes:
        runs: each ``(samples, features, places)``: the output, and the same without any mask where there is one.
        kind: ``(samples, places)``, what each timestep is; None where places are none.
        tokens: ``(samples, places)``; None where places are not those of tokens.
        place: what a place is: a timestep; a unit of an output without timesteps; a sample where that has one unit.
        samples: how many there are to choose from; 0 where all are drawn.
        features: those that are to choose from.
        all_features: how many there are.
    """

    runs: tuple[NDArray[Any], ...]
    kind: NDArray[np.int8] | None
    tokens: NDArray[Any] | None
    place: str
    samples: int
    features: range
    all_features: int


def count_choices(inspection: Inspection, number: int = 0) -> tuple[int, int]:
    """Return how many samples and features of an output there are to choose from; 0 where all are drawn."""
    run = _run(inspection, 0, number)
    return run.samples, run.all_features


def make_figure(inspection: Inspection, sample: int = 0, feature: int = 0, number: int = 0) -> Figure:
    """Return the figure of an output; ``sample`` and ``feature`` are those that are shown first."""
    output, run = inspection.outputs[number], _run(inspection, feature, number)
    across = make_axis(run.place, run.runs[0].shape[-1], limit=PLACES, most=44)
    title = (
        f"Output {make_chart_name(output.name)} of {make_chart_name(output.call)}"
        if len(inspection.outputs) > 1
        else f"Output of {make_chart_name(output.call)}"
    )
    about = _about(*inspection.beside[number])
    params = [make_selection(run.samples, sample)] if run.samples else []
    if run.all_features:
        params.append(make_selection(len(run.features), feature, "feature", run.features.start))
    left = max(0, run.all_features - len(run.features))
    cut = f"{GAP} {format_count(left, 'feature')} not drawn" if left else ""
    views = [*make_chart_legend(_entries(run), across.pixels), _view(run, across)]
    return Figure("outputs", title, about, assemble_spec(views, about, [across.note, cut], params))


# What there is to draw.


def _run(inspection: Inspection, feature: int, number: int) -> _Run:
    output, unmasked = inspection.beside[number]
    values = (output.values,) if unmasked is None else (output.values, unmasked.values)
    if output.valid is None:
        return _pooled(values)
    places = output.valid.shape
    runs = tuple(np.moveaxis(_plain(run).reshape(*places, _rest(run, 2)), 1, 2) for run in values)
    shown = _features(runs, feature)
    mask = output.mask if has_timesteps(output.mask, output.valid) else None
    return _Run(
        tuple(run[:, shown.start : shown.stop] for run in runs),
        classify_timesteps(output.valid, mask),
        _tokens(inspection, output.valid),
        "timestep",
        places[0],
        shown,
        runs[0].shape[1],
    )


def _pooled(values: tuple[NDArray[Any], ...]) -> _Run:
    """Return an output without timesteps: unit by unit, or where it has one alone sample by sample."""
    runs = tuple(_plain(run).reshape(len(run), 1, _rest(run, 1)) for run in values)
    if runs[0].shape[-1] == 1:
        return _Run(tuple(run.reshape(1, 1, -1) for run in runs), None, None, "sample", 0, range(1), 0)
    return _Run(runs, None, None, "unit", len(runs[0]), range(1), 0)


def _rest(values: NDArray[Any], axes: int) -> int:
    """Return the number of features behind so many axes."""
    return int(np.prod(values.shape[axes:], dtype=np.int64))


def _plain(values: NDArray[Any]) -> NDArray[Any]:
    """Return numbers of a dtype that NumPy has, which bfloat16 is not; what is True is 1."""
    return values.astype(np.float64) if values.dtype.kind in "Vb" else values


def _features(runs: tuple[NDArray[Any], ...], feature: int) -> range:
    """Return the features that are to choose from, of which ``feature`` is one."""
    samples, features, places = runs[0].shape
    fit = MOST_NUMBERS // max(1, len(runs) * samples * min(places, PLACES))
    most = max(1, min(features, MOST_FEATURES, fit))
    first = max(0, min(feature, features - 1) - most + 1)
    return range(first, min(features, first + most))


def _tokens(inspection: Inspection, valid: Bools) -> NDArray[Any] | None:
    given = inspection.primary
    same = given is not None and given.valid is not None and given.valid.shape == valid.shape
    return convert_ids(given) if given is not None and same and given.kind == "ids" else None


# How it is drawn.


def _lines(run: _Run) -> list[_Line]:
    return [MASKED, UNMASKED][: len(run.runs)]


def _view(run: _Run, across: Axis) -> Spec:
    layers = _bands(run, across) if run.kind is not None else _moves(run)
    for line in _lines(run):
        layers += _drawn(line, across, joined=run.place == "timestep")
    return {
        "data": {"values": _data(run, across)},
        "transform": _transform(run, across),
        "width": across.pixels,
        "height": HEIGHT,
        "encoding": {"x": across.channel()},
        "layer": [*layers, _hover(run)],
        "resolve": SEPARATE_SCALES,
    }


def _data(run: _Run, across: Axis) -> list[Spec]:
    """Return a datum for each sample, with arrays over the places that are drawn, for each feature."""
    return [
        {
            "sample": row,
            **{line.field: [encode_numbers(of[across.at]) for of in values[row]] for line, values in _named(run)},
            **({} if run.kind is None else {"kind": run.kind[row, across.at].tolist()}),
            **({} if run.tokens is None else {"token": encode_numbers(run.tokens[row, across.at])}),
        }
        for row in range(len(run.runs[0]))
    ]


def _named(run: _Run) -> list[tuple[_Line, NDArray[Any]]]:
    return list(zip(_lines(run), run.runs, strict=True))


def _transform(run: _Run, across: Axis) -> list[Spec]:
    """Return what picks a sample and a feature, and takes the arrays apart."""
    lines = [line.field for line in _lines(run)]
    of_feature = f"feature - {run.features.start}" if run.all_features else "0"
    extra = [name for name, array in (("kind", run.kind), ("token", run.tokens)) if array is not None]
    gap = across.shown.index(None) if None in across.shown else across.count
    return [
        *([{"filter": "datum.sample === sample"}] if run.samples else []),
        # Never into the field itself: that is read again when another feature is chosen.
        *({"calculate": f"datum.{field}[{of_feature}]", "as": f"{field}_row"} for field in lines),
        *make_flatten_transform(across, *(f"{field}_row" for field in lines), *extra),
        *({"calculate": f"datum.{field}_row", "as": field} for field in lines),
        {"calculate": f"datum.{across.field} < {gap} ? 0 : 1", "as": "part"},
        *(make_number_filter(field, f"{field}_at") for field in lines),
        *(make_text_expression(field, f"{field}_text") for field in lines),
        *([{"calculate": make_choice_expression("datum.kind", WHAT), "as": "what"}] if run.kind is not None else []),
        *([_difference()] if len(lines) > 1 else []),
    ]


def _difference() -> Spec:
    """Return what says how far the mask moves a value."""
    both = "isNumber(datum.masked) && isNumber(datum.unmasked)"
    return {"calculate": f"{both} ? format(abs(datum.masked - datum.unmasked), '.4~g') : '–'", "as": "moves"}


def _bands(run: _Run, across: Axis) -> list[Spec]:
    """Return the layers behind the lines that say what each timestep is, and those of a strip above them."""
    assert run.kind is not None  # noqa: S101 - only timesteps have bands
    found = {kind: look for kind, look in LOOKS.items() if (run.kind == kind).any()}
    odd = {kind: dataclasses.replace(look, mark="") for kind, look in found.items() if kind}
    wide = {"width": across.step, "height": HEIGHT}
    middle = {"y": {"value": HEIGHT / 2}}
    layers: list[Spec] = []
    if odd:
        rect = {"mark": {"type": "rect", **wide}, "encoding": middle | make_fill(odd)}
        layers.append({"transform": [{"filter": "datum.kind > 0"}], **rect})
    if 1 in odd:
        lines = {
            "type": "point",
            "size": PIXELS,
            "shape": make_hatch(across.step, HEIGHT),
            "stroke": make_rgba(GRAY, 0.4),
        }
        mark = {**lines, "strokeWidth": 0.8, "opacity": 1}
        layers.append({"transform": [{"filter": "datum.kind === 1"}], "mark": mark, "encoding": middle})
    return [*layers, *_strip(run, across, found)]


def _strip(run: _Run, across: Axis, found: dict[int, CellStyle]) -> list[Spec]:
    """Return the layers of a row of cells above the plot, with tokens where they have room."""
    width, height = measure_inner(across.step), 18
    above = {"y": {"value": -height / 2 - 4}}
    cells = [{"mark": {"type": "rect", "width": width, "height": height}, "encoding": make_fill(found)}]
    layers = [*cells, *make_marks(found, width, height)]
    if run.tokens is not None and run.tokens.size:
        longest = max(len(str(run.tokens.min())), len(str(run.tokens.max())))
        if LETTER * longest + 5 <= across.step:
            shown: Spec = {"transform": [{"filter": "datum.kind === 0 || datum.kind === 2"}], "mark": {"type": "text"}}
            layers.append({**shown, "encoding": {"text": {"field": "token", "type": "nominal"}}})
    return [{**layer, "encoding": {**above, **layer["encoding"]}} for layer in layers]


def _moves(run: _Run) -> list[Spec]:
    """Return the layer that joins what an output is with and without the mask."""
    if len(run.runs) < 2:
        return []
    ends = {"y": _value("masked"), "y2": {"field": "unmasked_at"}}
    return [{"mark": {"type": "rule", "stroke": make_rgba(GRAY, 0.7), "strokeWidth": 1}, "encoding": ends}]


def _value(field: str) -> Spec:
    return {
        "field": f"{field}_at",
        "type": "quantitative",
        "scale": {"zero": False},
        "axis": {"title": "output", "grid": True, "tickCount": 6},
    }


def _drawn(line: _Line, across: Axis, joined: bool) -> list[Spec]:
    """Return the layers of a run: its line, its markers where they have room, and crosses for what is no number."""
    base: Spec = {"stroke": line.ink, "strokeWidth": 1.8}
    markers = {"type": "point", "size": PIXELS, "opacity": 1, "shape": make_path(line.marker, 8, 8), **base}
    value = _value(line.field)
    at = {"y": value, "detail": {"field": "part", "type": "nominal"}}
    layers: list[Spec] = []
    if joined:
        layers.append({"mark": {"type": "line", **base, "strokeDash": list(line.dash)}, "encoding": at})
    if not joined or across.step >= 9:
        mark = {**markers, "fill": line.ink if line.solid else "transparent"}
        there = [{"filter": f"isValid(datum.{line.field}_at)"}]
        layers.append({"transform": there, "mark": mark, "encoding": {"y": value}})
    cross = {**markers, "shape": make_path("cross", 13, 13)}
    low = {"y": {"value": HEIGHT - (8 if line is MASKED else 20)}}
    nothing = [{"filter": f"!isValid(datum.{line.field}_at)"}]
    return [*layers, {"transform": nothing, "mark": cross, "encoding": low}]


def _hover(run: _Run) -> Spec:
    """Return the layer that answers to a pointer anywhere above a place."""
    fields = {run.place: run.place}
    fields |= {"token": "token"} if run.tokens is not None else {}
    fields |= {"what": "it is"} if run.kind is not None else {}
    fields |= {f"{line.field}_text": line.text for line in _lines(run)}
    fields |= {"moves": "difference"} if len(run.runs) > 1 else {}
    tooltip = [{"field": field, "title": title} for field, title in fields.items()]
    mark = {"type": "rect", "fill": "transparent", "height": HEIGHT}
    return {"mark": mark, "encoding": {"y": {"value": HEIGHT / 2}, "tooltip": tooltip}}


def _entries(run: _Run) -> list[LegendEntry]:
    joined = run.place == "timestep"
    entries = [
        LegendEntry(
            CellStyle("transparent", "line" if joined else "", line.ink, 1.8, line.solid),
            line.text,
            line.dash,
            line.marker,
        )
        for line in _lines(run)
    ]
    if run.kind is not None:
        counts = np.bincount(run.kind.ravel(), minlength=4)
        entries += [LegendEntry(look, WHAT[kind]) for kind, look in LOOKS.items() if counts[kind] and kind]
    if not all(np.isfinite(values).all() for values in run.runs):
        entries.append(LegendEntry(NOT_FINITE, "NaN or infinite"))
    return entries


def _about(output: OutputValues, unmasked: Unmasked | None) -> str:
    shown = f"Outputs of shape {output.shape!s}, one sample and feature at a time"
    if output.valid is None:
        shown = f"Outputs of shape {output.shape!s}, without timesteps"
    if unmasked is None:
        return f"{shown}; the model has no mask to take away."
    moved = f"{shown}, beside those without any mask. Without it the largest change at a valid timestep is "
    if output.valid is None:
        moved = f"{shown}, beside those without any mask. Without it the largest change is "
    padding = unmasked.max_abs_change_padding
    at_padding = f", and at padding {format_short(padding)}" if padding is not None else ""
    return f"{moved}{format_short(unmasked.max_abs_change_valid)}{at_padding}."
