"""The padded batch, sample by timestep: what each timestep holds, and what is padding."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Bools
from maskcli.records.inputs import ModelInput
from maskcli.records.sequences import PaddedBatch
from maskcli.records.trace import Inspection
from maskcli.render.charts import Figure, Spec, make_chart_name
from maskcli.render.charts.grids import (
    Axis,
    classify_timesteps,
    encode_numbers,
    make_axis,
    make_cell_layers,
    make_choice_expression,
    make_flatten_transform,
    make_frame,
    make_number_filter,
    make_row_axis,
    make_text_expression,
)
from maskcli.render.charts.looks import (
    BLUE,
    COUNTED,
    HIDDEN,
    LETTER,
    NOT_FINITE,
    PADDING,
    SEPARATE_SCALES,
    VALID,
    CellStyle,
    LegendEntry,
    assemble_spec,
    make_chart_legend,
    make_gradient_legend,
    make_ramp,
)
from maskcli.render.numbers import format_count
from maskcli.render.views.outputs import convert_ids, has_timesteps

LOOKS: dict[int, CellStyle] = {0: VALID, 1: PADDING, 2: HIDDEN, 3: COUNTED, 4: NOT_FINITE}
IS = ("valid", "padding", "valid", "padding", "valid")
MASK_LABELS = ("True: counts", "False: masked", "False: masked", "True: counts", "True: counts")


def make_batch_figure(batch: PaddedBatch) -> Figure:
    """Return the figure of a batch that no model has seen."""
    about = f"{batch.layout.dtype}, padding {batch.layout.padding}"
    return _figure(batch.tokens, "token", batch.mask, None, batch.layout.value, f"Padded batch ({about})")


def make_inspection_figure(inspection: Inspection) -> Figure | None:
    """Return the figure of what went in, beside the mask that the model's mask source made of it; None without time."""
    given = inspection.primary
    if given is None or given.valid is None:
        return None
    mask = inspection.mask if has_timesteps(inspection.mask, given.valid) else None
    other = "the mask has another shape" if inspection.mask is not None else "there is no mask"
    named = f" of {make_chart_name(given.name)}" if len(inspection.inputs) > 1 else ""
    title = f"{_what(given)} and mask{named}" if mask is not None else f"{_what(given)} and padding{named}; {other}"
    return _figure(*_shown(given), given.valid, mask, given.padding, title)


def make_further_figures(inspection: Inspection) -> list[Figure]:
    """Return the figures of the other inputs that have timesteps; whose mask they get is not known."""
    others = (given for given in inspection.inputs if given is not inspection.primary)
    return [_unseen(given, given.valid) for given in others if given.valid is not None]


def _unseen(given: ModelInput, valid: Bools) -> Figure:
    title = f"{_what(given)} and padding of {make_chart_name(given.name)}"
    return _figure(*_shown(given), valid, None, given.padding, title)


def _shown(given: ModelInput) -> tuple[NDArray[Any], str]:
    """Return what is drawn of an input, and what it is called."""
    return (convert_ids(given), "token") if given.kind == "ids" else (_norms(given), "L2 norm")


def _what(given: ModelInput) -> str:
    return "Tokens" if given.kind == "ids" else "Vectors"


def _norms(given: ModelInput) -> NDArray[Any]:
    """Return the L2 norm of the features of each timestep, ``(batch, timesteps)``."""
    assert given.valid is not None  # noqa: S101 - an input without timesteps is not shown
    values = given.values.astype(np.float64).reshape(*given.valid.shape, -1)
    with np.errstate(over="ignore", invalid="ignore"):
        norms: NDArray[Any] = np.sqrt((values**2).sum(axis=-1))
    return norms


def _figure(values: NDArray[Any], noun: str, valid: Bools, mask: Bools | None, padding: int, title: str) -> Figure:
    """Return the figure of ``(batch, timesteps)`` of each."""
    kind = classify_timesteps(valid, mask)
    if values.dtype.kind == "f":
        kind[valid & ~np.isfinite(values)] = 4
    counts = np.bincount(kind.ravel(), minlength=5).tolist()
    across = make_axis("timestep", valid.shape[1], most=_widest(values, noun))
    down = make_row_axis(across, "sample", valid.shape[0])
    about = _about(valid, mask, counts)
    text = _text(values, noun, across, down)
    main: Spec = {
        "data": {"values": _data(values, kind, across, down)},
        "transform": _transform(across, mask is not None),
        **make_frame(across, down),
        "encoding": {
            "x": across.channel(orient="top"),
            "y": down.channel(),
            "tooltip": _tooltip(noun, mask is not None),
        },
        "layer": [*make_cell_layers(across, down, _of_those(LOOKS, counts), _heat(noun, counts, bool(text))), *text],
        "resolve": SEPARATE_SCALES,
    }
    spec = assemble_spec(
        [*make_chart_legend(_entries(counts, mask, padding, noun), across.pixels), main],
        about,
        [down.note, across.note],
    )
    return Figure("batch", title, about, spec)


def _widest(values: NDArray[Any], noun: str) -> int:
    """Return the pixels of a cell in which the longest token has room."""
    return 28 if noun != "token" else max(28, min(64, _text_width(values)))


def _text_width(values: NDArray[Any]) -> int:
    return round(LETTER * max(len(str(values.min(initial=0))), len(str(values.max(initial=0))))) + 6


def _data(values: NDArray[Any], kind: NDArray[np.int8], across: Axis, down: Axis) -> list[Spec]:
    """Return a datum for each sample that is drawn, with arrays over the timesteps that are."""
    return [
        {"sample": row, "value": encode_numbers(values[row, across.at]), "kind": kind[row, across.at].tolist()}
        for row in down.at
    ]


def _transform(across: Axis, masked: bool) -> list[Spec]:
    return [
        *make_flatten_transform(across, "value", "kind"),
        make_number_filter("value", "amount"),
        make_text_expression("value", "text"),
        {"calculate": make_choice_expression("datum.kind", IS), "as": "what"},
        *([{"calculate": make_choice_expression("datum.kind", MASK_LABELS), "as": "told"}] if masked else []),
    ]


def _tooltip(noun: str, masked: bool) -> list[Spec]:
    titles = {"sample": "sample", "timestep": "timestep", "text": noun, "what": "it is"}
    titles |= {"told": "the mask"} if masked else {}
    return [{"field": field, "title": title} for field, title in titles.items()]


def _heat(noun: str, counts: list[int], written: bool) -> dict[int, Spec]:
    """Return the colour of what counts, by how large it is."""
    key = None if written else make_gradient_legend("token id" if noun == "token" else noun)
    scale = {"range": make_ramp(BLUE, 0.6), "zero": False, "nice": False}
    fill = {"field": "amount", "type": "quantitative", "scale": scale, "legend": key}
    return {0: fill} if counts[0] else {}


def _of_those(looks: dict[int, CellStyle], counts: list[int]) -> dict[int, CellStyle]:
    return {kind: look for kind, look in looks.items() if counts[kind]}


def _text(values: NDArray[Any], noun: str, across: Axis, down: Axis) -> list[Spec]:
    """Return the layer of tokens, where they have room; padding has none, which its legend tells once."""
    if noun != "token" or across.step < _text_width(values) or down.step < 14:
        return []
    return [
        {
            "transform": [{"filter": "datum.kind === 0 || datum.kind === 2"}],
            "mark": "text",
            "encoding": {"text": {"field": "text"}},
        }
    ]


def _entries(counts: list[int], mask: Bools | None, padding: int, noun: str) -> list[LegendEntry]:
    real = "token" if noun == "token" else "timestep"
    padded = f"padding (id {padding})" if noun == "token" else "padding"
    told = ", masked" if mask is not None else ""
    texts = {
        0: f"{format_count(counts[0], real)}{' that count' if mask is not None else ''}",
        1: f"{counts[1]:,} {padded}{told}",
        2: f"{counts[2]:,} real, but masked",
        3: f"{counts[3]:,} {padded} that the mask misses",
        4: f"{counts[4]:,} NaN or infinite",
    }
    return [LegendEntry(LOOKS[kind], text) for kind, text in texts.items() if counts[kind]]


def _about(valid: Bools, mask: Bools | None, counts: list[int]) -> str:
    samples, timesteps = valid.shape
    shown = (
        f"Heat map of {format_count(samples, 'sample')} by {format_count(timesteps, 'timestep')}: "
        f"{int(valid.sum()):,} valid and "
        f"{int((~valid).sum()):,} padding."
    )
    if mask is None:
        return shown
    return f"{shown} The mask hides {counts[2]:,} valid and counts {counts[3]:,} of padding."
