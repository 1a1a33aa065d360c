"""The chart of a model's output by timestep or by unit, with and without the mask."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Bools
from maskcli.records.trace import Inspection, OutputValues, Unmasked
from maskcli.records.wording import format_count
from maskcli.render.charts import Figure, Spec, grids, looks, make_chart_name
from maskcli.render.charts.grids import Axis
from maskcli.render.charts.looks import CellStyle, LegendEntry
from maskcli.render.numbers import format_short
from maskcli.render.tables import GAP
from maskcli.render.timesteps import KindArray, TimestepKind, find_timestep_kinds
from maskcli.render.views.outputs import find_ids, has_timesteps

PLACES = 200
"""Most timesteps or units drawn."""
MOST_FEATURES = 32
MOST_NUMBERS = 40_000
"""Most numbers of one output on a page; limits the features to choose from."""
HEIGHT = 200
DASH = (5, 3)


@dataclasses.dataclass(frozen=True)
class _Line:
    """Style and label of a run; ``foot`` is the height of its crosses in pixels."""

    field: str
    text: str
    ink: str
    marker: str
    solid: bool
    dash: tuple[int, int]
    foot: int


MASKED = _Line("masked", "with the mask", looks.make_rgba(looks.BLUE, 1), "circle", True, (1, 0), 8)
UNMASKED = _Line("unmasked", "without any mask", looks.make_rgba(looks.VERMILION, 1), "triangle", False, DASH, 20)


@dataclasses.dataclass(frozen=True, eq=False)
class _Data:
    """The data of a chart. Its places are timesteps, units or samples.

    Attributes:
        runs: the output, then the output without any mask if there is one; ``(samples, features, places)`` each.
        kinds: ``(samples, places)``, kind of each timestep; None if the places are not timesteps.
        tokens: ``(samples, places)``; None if the places are not those of tokens.
        place: ``timestep``; ``unit`` of an output without timesteps; ``sample`` if such an output has one unit.
        samples: count of samples to choose from; 0 if all are drawn.
        features: features to choose from.
        all_features: count of all features; 0 if there is no choice.
        notes: for each sample and feature, why both lines are identical; empty where they are not.
    """

    runs: tuple[NDArray[Any], ...]
    kinds: KindArray | None
    tokens: NDArray[Any] | None
    place: str
    samples: int
    features: range
    all_features: int
    notes: tuple[tuple[str, ...], ...] = ()

    @property
    def lines(self) -> list[_Line]:
        """Style of each run."""
        if len(self.runs) < 2:
            return [dataclasses.replace(MASKED, text="output")]
        return [MASKED, UNMASKED]


def count_choices(inspection: Inspection, number: int = 0) -> tuple[int, int]:
    """Return the counts of samples and features to choose from; 0 if all are drawn."""
    data = _prepare_data(inspection, 0, number)
    return data.samples, data.all_features


def make_figure(
    inspection: Inspection, sample: int = 0, feature: int = 0, number: int = 0, room: int = grids.WIDE
) -> Figure:
    """Return the figure of output ``number``; ``sample`` and ``feature`` are selected first."""
    output, data = inspection.outputs[number], _prepare_data(inspection, feature, number)
    data = dataclasses.replace(data, notes=tuple(_list_notes(inspection, number, data)))
    across = grids.make_axis(data.place, data.runs[0].shape[-1], limit=PLACES, room=room, most=grids.WIDEST)
    name = f" {make_chart_name(output.name)}" if len(inspection.outputs) > 1 else ""
    about = _describe(*inspection.beside[number])
    params = []
    if data.samples:
        params.append(grids.make_selection(data.samples, sample))
    if data.all_features:
        params.append(grids.make_selection(len(data.features), feature, "feature", data.features.start))
    notes = [across.note]
    if data.all_features > len(data.features):
        notes.append(f"{GAP} {format_count(data.all_features - len(data.features), 'feature')} not drawn")
    legend = looks.make_chart_legend(_list_entries(data), across.pixels)
    views = [*legend, *_make_notes(data, across), _make_view(data, across)]
    title = f"Output{name} of {make_chart_name(output.call)}"
    return looks.assemble_figure("outputs", title, about, views, notes, params)


# Data.


def _prepare_data(inspection: Inspection, feature: int, number: int) -> _Data:
    output, unmasked = inspection.beside[number]
    runs = [_make_numeric(output.values)]
    if unmasked is not None:
        runs.append(_make_numeric(unmasked.values))
    if output.valid is None:
        return _prepare_units(runs)
    samples, timesteps = output.valid.shape
    runs = [np.moveaxis(run.reshape(samples, timesteps, _count_features(run, 2)), 1, 2) for run in runs]
    features = _choose_features(runs, feature)
    mask = output.mask if has_timesteps(output.mask, output.valid) else None
    return _Data(
        tuple(run[:, features.start : features.stop] for run in runs),
        find_timestep_kinds(output.valid, mask),
        find_ids(inspection.primary, output.valid.shape),
        "timestep",
        samples,
        features,
        runs[0].shape[1],
    )


def _prepare_units(runs: list[NDArray[Any]]) -> _Data:
    """Return the data of an output without timesteps: by unit, or by sample if there is one unit."""
    units = [run.reshape(len(run), 1, _count_features(run, 1)) for run in runs]
    if units[0].shape[-1] == 1:
        return _Data(tuple(run.reshape(1, 1, -1) for run in units), None, None, "sample", 0, range(1), 0)
    return _Data(tuple(units), None, None, "unit", len(units[0]), range(1), 0)


def _count_features(values: NDArray[Any], axes: int) -> int:
    """Return the number of features after the first ``axes`` axes."""
    # reshape cannot infer this number for an array without elements.
    return int(np.prod(values.shape[axes:], dtype=np.int64))


def _make_numeric(values: NDArray[Any]) -> NDArray[Any]:
    """Return bool and bfloat16, which NumPy does not have, as float64."""
    return values.astype(np.float64) if values.dtype.kind in "Vb" else values


def _choose_features(runs: list[NDArray[Any]], feature: int) -> range:
    """Return the features to choose from, including ``feature``."""
    samples, features, places = runs[0].shape
    fit = MOST_NUMBERS // max(1, len(runs) * samples * min(places, PLACES))
    most = max(1, min(features, MOST_FEATURES, fit))
    first = max(0, min(feature, features - 1) - most + 1)
    return range(first, min(features, first + most))


# Identical lines.


def _list_notes(inspection: Inspection, number: int, data: _Data) -> Iterator[tuple[str, ...]]:
    """Yield a text for each feature of each sample: why both lines are identical, or empty."""
    if len(data.runs) < 2:
        return
    for row, (masked, unmasked) in enumerate(zip(*data.runs, strict=True)):
        valid = None if data.kinds is None else np.isin(data.kinds[row], (TimestepKind.VALID, TimestepKind.HIDDEN))
        reason = _explain_identity(inspection, number, row if data.samples else None)
        yield tuple(
            _describe_identity(grids.encode_numbers(first), grids.encode_numbers(second), valid, reason)
            for first, second in zip(masked, unmasked, strict=True)
        )


def _describe_identity(masked: list[Any], unmasked: list[Any], valid: Bools | None, reason: str) -> str:
    """Return whether two lines are identical as drawn, at all places or at valid timesteps."""
    same = np.array([first == second for first, second in zip(masked, unmasked, strict=True)], bool)
    if same.all():
        return f"Both lines are identical: {reason}."
    if valid is not None and valid.any() and same[valid].all():
        return "Both lines are identical at valid timesteps: the mask changes the output only at padding."
    return ""


def _explain_identity(inspection: Inspection, number: int, sample: int | None) -> str:
    """Return why a mask changes nothing, for one sample or for all."""
    mask, output = inspection.mask, inspection.outputs[number]
    hidden = mask is None or not (mask if sample is None else mask[sample]).all()
    if not hidden:
        return "there is no padding" if sample is None else "this sample has no padding"
    last = next((call for call in inspection.trace if call.call == output.call), None)
    if last is not None and last.lost_at is not None:
        return f"the mask is lost at {make_chart_name(last.lost_at)}"
    if not any(call.effect == "uses" for call in inspection.trace):
        return "no layer of the model uses the mask"
    return "the layers that use the mask compute the same without it"


def _make_notes(data: _Data, across: Axis) -> list[Spec]:
    """Return the view of the notes on identical lines; none without notes."""
    if not any(map(any, data.notes)):
        return []
    width = max(across.pixels, looks.LEGEND)
    lines = [[textwrap.wrap(note, round(width / looks.LETTER)) for note in notes] for notes in data.notes]
    feature = f"feature - {data.features.start}" if data.all_features else "0"
    select = [grids.OF_SAMPLE] if data.samples else []
    return [
        {
            "data": {"values": [{"sample": row, "notes": notes} for row, notes in enumerate(lines)]},
            "transform": [*select, {"calculate": f"datum.notes[{feature}]", "as": "note"}],
            "width": width,
            "height": looks.LINE * max(len(note) for notes in lines for note in notes),
            "view": {"fill": None},
            "mark": {
                "type": "text",
                "align": "left",
                "baseline": "top",
                "fontStyle": "italic",
                "lineHeight": looks.LINE,
            },
            "encoding": {"text": {"field": "note"}, "x": {"value": 0}, "y": {"value": 0}},
        }
    ]


# Layers.


def _make_view(data: _Data, across: Axis) -> Spec:
    layers = _make_connectors(data) if data.kinds is None else _make_bands(data.kinds, data.tokens, across)
    for line in data.lines:
        layers += _make_line_layers(line, across, joined=data.place == "timestep")
    return {
        "data": {"values": _list_data(data, across)},
        "transform": _make_transform(data, across),
        "width": across.pixels,
        "height": HEIGHT,
        "encoding": {"x": across.channel()},
        "layer": [*layers, _make_hover_layer(data)],
        "resolve": looks.SEPARATE_SCALES,
    }


def _list_data(data: _Data, across: Axis) -> list[Spec]:
    """Return a datum for each sample, with an array over the places for each feature."""
    rows: list[Spec] = []
    for row in range(len(data.runs[0])):
        datum: Spec = {"sample": row}
        for line, run in zip(data.lines, data.runs, strict=True):
            datum[line.field] = [grids.encode_numbers(values[across.kept]) for values in run[row]]
        if data.kinds is not None:
            datum["kind"] = data.kinds[row, across.kept].tolist()
        if data.tokens is not None:
            datum["token"] = grids.encode_numbers(data.tokens[row, across.kept])
        rows.append(datum)
    return rows


def _make_transform(data: _Data, across: Axis) -> list[Spec]:
    """Return the transform that selects a sample and a feature, and splits the arrays."""
    fields = [line.field for line in data.lines]
    feature = f"feature - {data.features.start}" if data.all_features else "0"
    extra = [name for name, array in (("kind", data.kinds), ("token", data.tokens)) if array is not None]
    gap = across.indices.index(None) if None in across.indices else across.count
    transform: list[Spec] = [
        # A field of its own: Vega reads the array of all features again when the reader selects another feature.
        *({"calculate": f"datum.{field}[{feature}]", "as": f"{field}_row"} for field in fields),
        *grids.make_flatten_transform(across, *(f"{field}_row" for field in fields), *extra),
        *({"calculate": f"datum.{field}_row", "as": field} for field in fields),
        {"calculate": f"datum.{across.field} < {gap} ? 0 : 1", "as": "part"},
        *(grids.make_number_filter(field, f"{field}_at") for field in fields),
        *(grids.make_text_expression(field, f"{field}_text") for field in fields),
    ]
    if data.samples:
        transform.insert(0, grids.OF_SAMPLE)
    if data.kinds is not None:
        transform.append(grids.make_choice_transform("kind", [kind.label for kind in TimestepKind], "what"))
    if len(fields) > 1:
        numbers = "isNumber(datum.masked) && isNumber(datum.unmasked)"
        difference = f"{numbers} ? format(abs(datum.masked - datum.unmasked), '.4~g') : '–'"
        transform.append({"calculate": difference, "as": "difference"})
    return transform


def _make_bands(kinds: KindArray, tokens: NDArray[Any] | None, across: Axis) -> list[Spec]:
    """Return the background of timesteps that are not plainly valid, and the strip above the plot."""
    styles = grids.select_occurring(looks.STYLES, kinds)
    tinted = {kind: dataclasses.replace(style, mark="") for kind, style in styles.items() if kind != TimestepKind.VALID}
    middle = {"y": {"value": HEIGHT / 2}}
    layers: list[Spec] = []
    if tinted:
        size = {"width": across.step, "height": HEIGHT}
        layers.append(looks.make_layer("rect", middle | looks.make_fill(tinted), looks.keep_kinds(tinted), **size))
    if TimestepKind.PADDING in tinted:
        hatch, stroke = looks.make_hatch(across.step, HEIGHT), looks.make_rgba(looks.GRAY, 0.4)
        padding = looks.keep_kinds([TimestepKind.PADDING])
        layers.append(looks.make_symbols(middle, padding, shape=hatch, stroke=stroke, strokeWidth=0.8))
    return [*layers, *_make_strip(styles, tokens, across)]


def _make_strip(styles: dict[int, CellStyle], tokens: NDArray[Any] | None, across: Axis) -> list[Spec]:
    """Return the layers of cells above the plot, with tokens if they have room."""
    width, height = grids.measure_inner(across.step), 18
    rect = looks.make_layer("rect", looks.make_fill(styles), width=width, height=height)
    layers = [rect, *looks.make_marks(styles, width, height)]
    if tokens is not None:
        layers += grids.make_token_layers(tokens, "token", across.step)
    for layer in layers:
        layer["encoding"]["y"] = {"value": -height / 2 - 4}
    return layers


def _make_connectors(data: _Data) -> list[Spec]:
    """Return the layer of rules between the outputs with and without the mask."""
    if len(data.runs) < 2:
        return []
    ends = {"y": _encode_value("masked"), "y2": {"field": "unmasked_at"}}
    return [looks.make_layer("rule", ends, stroke=looks.make_rgba(looks.GRAY, 0.7), strokeWidth=1)]


def _encode_value(field: str) -> Spec:
    return {
        "field": f"{field}_at",
        "type": "quantitative",
        "scale": {"zero": False},
        "axis": {"title": "output", "grid": True, "tickCount": 6},
    }


def _make_line_layers(line: _Line, across: Axis, joined: bool) -> list[Spec]:
    """Return the layers of a run: line, markers if they have room, and crosses for NaN and infinity."""
    stroke: Spec = {"stroke": line.ink, "strokeWidth": 1.8}
    value, is_number = _encode_value(line.field), f"isValid(datum.{line.field}_at)"
    layers: list[Spec] = []
    if joined:
        # The line breaks at the gap of the axis: "part" differs on both sides.
        encoding = {"y": value, "detail": {"field": "part", "type": "nominal"}}
        layers.append(looks.make_layer("line", encoding, **stroke, strokeDash=list(line.dash)))
    if not joined or across.step >= 9:
        marker = {"shape": looks.make_path(line.marker, 8, 8), "fill": line.ink if line.solid else "transparent"}
        layers.append(looks.make_symbols({"y": value}, is_number, **stroke, **marker))
    foot, cross = {"y": {"value": HEIGHT - line.foot}}, looks.make_path("cross", 13, 13)
    return [*layers, looks.make_symbols(foot, f"!{is_number}", **stroke, shape=cross)]


def _make_hover_layer(data: _Data) -> Spec:
    """Return the layer with the tooltip, anywhere above a place."""
    titles = {data.place: data.place}
    if data.tokens is not None:
        titles["token"] = "token"  # noqa: S105 - a word of a text
    if data.kinds is not None:
        titles["what"] = "it is"
    titles |= {f"{line.field}_text": line.text for line in data.lines}
    if len(data.runs) > 1:
        titles["difference"] = "difference"
    encoding = {"y": {"value": HEIGHT / 2}, "tooltip": grids.make_tooltip(titles)}
    return looks.make_layer("rect", encoding, fill="transparent", height=HEIGHT)


def _list_entries(data: _Data) -> list[LegendEntry]:
    mark = "line" if data.place == "timestep" else ""
    entries = [
        LegendEntry(CellStyle("transparent", mark, line.ink, 1.8, line.solid), line.text, line.dash, line.marker)
        for line in data.lines
    ]
    if data.kinds is not None:
        kinds = [kind for kind in TimestepKind if kind != TimestepKind.VALID and (data.kinds == kind).any()]
        entries += [LegendEntry(looks.STYLES[kind], kind.label) for kind in kinds]
    if not all(np.isfinite(run).all() for run in data.runs):
        entries.append(LegendEntry(looks.NOT_FINITE, "NaN or infinite"))
    return entries


def _describe(output: OutputValues, unmasked: Unmasked | None) -> str:
    layout, place = "one sample and feature at a time", " at a valid timestep"
    if output.valid is None:
        layout, place = "without timesteps", ""
    about = f"Outputs of shape {output.shape!s}, {layout}"
    if unmasked is None:
        return f"{about}. The model has no mask to disable."
    change = f"{format_short(unmasked.max_abs_change_valid)}"
    if unmasked.max_abs_change_padding is not None:
        change += f", and at padding {format_short(unmasked.max_abs_change_padding)}"
    return f"{about}, with the mask and without. Disabling the mask changes the output{place} by up to {change}."
