"""The outputs: the first one compared with the same weights without a mask, and a line for each further one."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Bools
from maskcli.records.inputs import ModelInput
from maskcli.records.trace import Inspection, OutputValues, Unmasked
from maskcli.render.numbers import DASH, FormatNumber, format_short, make_fixed_formatter
from maskcli.render.parts import KIND_ROLES, Cell, Cells, Heading, Limits, Part, make_cell, mark
from maskcli.render.tables import (
    LONGEST_NAME,
    NARROWEST_NAME,
    Elision,
    ItemColumn,
    elide_axis,
    fill_table,
    find_room,
    flow_entries,
    format_vector,
    label_tokens,
    list_items,
    make_elision_note,
    make_note,
    make_token_cell,
    mark_mask,
    shorten_middle,
)
from maskcli.render.timesteps import KindArray, TimestepKind, count_kinds, find_timestep_kinds

MASKED_VALUES = {
    "=": "= t4: repeats the output of timestep 4",
    "own": "own: computed from padding",
    "zero": "zero: all zeros",
}
"""The notes on masked outputs, by their first word, with their meanings."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Grid:
    """The first output, prepared for a table.

    Attributes:
        output: the output.
        runs: its values, then those without a mask if there are any. ``(batch, timesteps, units)``, or
            ``(batch, units)`` if the output is pooled.
        mask: of the output; it may have another shape than its timesteps.
        tokens: ``(batch, timesteps)``; None if the output's timesteps are not those of the tokens.
        kinds: ``(batch, timesteps)``; None if the output is pooled.
    """

    output: OutputValues
    runs: tuple[NDArray[Any], ...]
    mask: Bools | None
    tokens: NDArray[Any] | None
    kinds: KindArray | None

    @property
    def count(self) -> int:
        """The number of vectors."""
        return int(np.prod(self.runs[0].shape[:-1]))

    def find_place(self, row: int) -> tuple[int, ...]:
        """Return the index of a vector: sample and timestep, or only sample."""
        return (row,) if self.kinds is None else divmod(row, self.kinds.shape[1])


def view_first_output(inspection: Inspection, limits: Limits) -> list[Part]:
    """Return the first output, next to that of the same weights without a mask."""
    grid, unmasked = _prepare_grid(inspection), inspection.unmasked
    output = grid.output
    name = "Outputs"
    if len(inspection.outputs) > 1:
        name = f"Output {output.name}"
    call = shorten_middle(output.call, max(LONGEST_NAME, limits.width - len(f"{name} of  {output.shape!s}")))
    detail = "compared with the same weights, mask disabled" if unmasked is not None else ""
    heading = Heading(f"{name} of {call} {output.shape!s}", detail)
    values = _tabulate_values(grid, unmasked, limits)
    return [heading, *values, *note_other_shape(output.mask, output.valid, "Its mask")]


def view_further_outputs(outputs: tuple[OutputValues, ...], limits: Limits) -> list[Part]:
    """Return a line for each output after the first."""
    if not outputs:
        return []
    width = max(NARROWEST_NAME, (limits.width - 48) // 2)
    fields: list[ItemColumn[OutputValues]] = [
        ItemColumn("output", lambda output: make_cell(shorten_middle(output.name, width), "label"), "left"),
        ItemColumn("shape", lambda output: make_cell(output.shape), "left"),
        ItemColumn("dtype", lambda output: make_cell(output.values.dtype), "left"),
        ItemColumn("call", lambda output: make_cell(shorten_middle(output.call, width)), "left"),
        ItemColumn("mask", _describe_mask, "left"),
    ]
    return [Heading("Further outputs"), *list_items(fields, outputs, "output", limits)]


def _describe_mask(output: OutputValues) -> Cells:
    if output.mask is None or has_timesteps(output.mask, output.valid):
        return mark_mask(output.mask)
    return (*mark_mask(output.mask), Cell(f" {output.mask.shape!s}", "muted"))


# The first output as a table.


def _prepare_grid(inspection: Inspection) -> _Grid:
    output = inspection.outputs[0]
    values = [output.values]
    if inspection.unmasked is not None:
        values.append(inspection.unmasked.values)
    valid = output.valid
    if valid is None:
        return _Grid(output, tuple(_flatten_units(run, run.shape[:1]) for run in values), None, None, None)
    runs = tuple(_flatten_units(run, valid.shape) for run in values)
    primary = inspection.primary
    if primary is None or primary.valid is None or primary.valid.shape != valid.shape:
        return _Grid(output, runs, output.mask, None, find_timestep_kinds(valid, output.mask))
    # The timesteps are those of the inputs, whose mask decides which of them are hidden.
    kinds, ids = find_timestep_kinds(valid, inspection.mask), find_ids(primary, valid.shape)
    tokens = None if ids is None else label_tokens(ids, inspection.data.words)
    return _Grid(output, runs, output.mask, tokens, kinds)


def _flatten_units(values: NDArray[Any], places: tuple[int, ...]) -> NDArray[Any]:
    """Return printable values with one axis of units after those of ``places``."""
    if values.dtype.kind == "V":  # NumPy cannot print bfloat16.
        values = values.astype(np.float64)
    return values.reshape(*places, values.size // max(1, int(np.prod(places))))


def _tabulate_values(grid: _Grid, unmasked: Unmasked | None, limits: Limits) -> list[Part]:
    """Return a row for each timestep, or for each sample of a pooled output."""
    units, stacked = grid.runs[0].shape[-1], np.stack(grid.runs)
    rows = elide_axis(grid.count, limits.rows, "sample" if grid.kinds is None else "timestep")
    places = [_make_sample_field(grid, rows)]
    if grid.kinds is not None:
        places += _make_position_fields(grid, grid.kinds)
    changes: list[ItemColumn[int]] = []
    if unmasked is not None:
        changes.append(ItemColumn("change", lambda row: _show_change(unmasked, grid.find_place(row)), rule=True))
    legend = _make_output_legend(grid, rows, unmasked, limits)

    def make_table(number: FormatNumber, width: int, room: int | None) -> list[Part]:
        features = elide_axis(units, room, "unit")
        titled = zip(("output", "without mask"), grid.runs, strict=False)
        vectors = [
            _make_vector_field(title, grid, run, features, lambda value: number(value).rjust(width))
            for title, run in titled
        ]
        table = fill_table([*places, *vectors, *changes], rows)
        return [table, *make_elision_note(rows.note, features.note), *legend]

    # Two digits leave room for more units than three.
    for digits in (3, 2):
        number, width = _make_formatter(stacked, digits)
        make = partial(make_table, number, width)
        room = find_room(make, units, limits, (width + 1) * len(grid.runs))
        if room is None or room >= units:
            break
    return make(room)


def _make_output_legend(grid: _Grid, rows: Elision, unmasked: Unmasked | None, limits: Limits) -> list[Part]:
    """Return the meanings of the marks in these rows, and of the change."""
    places = [grid.find_place(row) for row in rows.kept]
    masked = [place for place in places if _is_masked(grid, place)]
    notes = {_describe_masked_value(grid, place).split()[0]: place for place in masked}
    entries: list[Cells] = []
    if grid.mask is not None and has_timesteps(grid.mask, grid.output.valid):
        if len(masked) < len(places):
            entries.append((mark("on"), Cell(" counts", "muted")))
        if masked:
            entries.append((mark("off"), Cell(" masked", "muted")))
    elif grid.kinds is not None and grid.mask is None:
        entries.append((Cell(f"{DASH} no mask", "muted"),))
    if grid.kinds is not None:
        kinds = count_kinds(np.array([grid.kinds[place] for place in places], np.int8))
        marked = [kind for kind in kinds if kind != TimestepKind.VALID]
        entries += [(mark(KIND_ROLES[kind]), Cell(f" {kind.label}", "muted")) for kind in marked]
    entries += [(Cell(f"{MASKED_VALUES[word]}", "muted"),) for word in MASKED_VALUES if word in notes]
    if unmasked is not None:
        entries.append((Cell("change: largest difference of the two outputs", "muted"),))
    return flow_entries(entries, limits)


def _is_masked(grid: _Grid, place: tuple[int, ...]) -> bool:
    return grid.mask is not None and has_timesteps(grid.mask, grid.output.valid) and not grid.mask[place]


def _make_sample_field(grid: _Grid, rows: Elision) -> ItemColumn[int]:
    """Return the column of samples, each named once, and again after a gap."""
    indices = rows.indices
    after_gap = {after for before, after in zip((None, *indices), indices, strict=False) if before is None}

    def show(row: int) -> Cells:
        sample, *timestep = grid.find_place(row)
        is_first = timestep in ([], [0]) or row in after_gap
        return make_cell(sample if is_first else "", "label")

    return ItemColumn("sample", show)


def _make_position_fields(grid: _Grid, kinds: KindArray) -> list[ItemColumn[int]]:
    """Return the timestep, its token, and its mask; without a token, the timestep has the glyph of its kind."""
    find_place, tokens = grid.find_place, grid.tokens
    mask_field: ItemColumn[int] = ItemColumn("mask", lambda row: _show_mask(grid, find_place(row)), "left")
    if tokens is None:
        return [ItemColumn("t", lambda row: make_token_cell(find_place(row)[1], kinds[find_place(row)])), mask_field]
    return [
        ItemColumn("t", lambda row: make_cell(find_place(row)[1], "label")),
        ItemColumn("token", lambda row: make_token_cell(tokens[find_place(row)], kinds[find_place(row)])),
        mask_field,
    ]


def _show_mask(grid: _Grid, place: tuple[int, ...]) -> Cells:
    """Return the glyph of the mask and, where it is False, a comment on the output."""
    if grid.mask is None or not has_timesteps(grid.mask, grid.output.valid):
        return make_cell(DASH, "faint")
    if grid.mask[place]:
        return make_cell("", "on")
    return (mark("off"), Cell(f" {_describe_masked_value(grid, place)}", "muted"))


def _describe_masked_value(grid: _Grid, place: tuple[int, ...]) -> str:
    """Return whether a masked output is zero, repeats the previous timestep, or is a value of its own."""
    if not grid.runs[0][place].any():
        return "zero"
    repeats = grid.output.repeats_previous
    if repeats is not None and repeats[place]:
        return f"= t{place[1] - 1}"
    return "own"


def _make_vector_field(
    title: str, grid: _Grid, run: NDArray[Any], features: Elision, number: FormatNumber
) -> ItemColumn[int]:
    def show(row: int) -> Cells:
        return make_cell(format_vector(run[grid.find_place(row)], features, number))

    return ItemColumn(title, show, rule=run is not grid.runs[0])


def _show_change(unmasked: Unmasked, place: tuple[int, ...]) -> Cells:
    return make_cell(format_short(float(unmasked.change[place])))


def _make_formatter(values: NDArray[Any], digits: int) -> tuple[FormatNumber, int]:
    number: FormatNumber = str
    if values.dtype.kind == "f":
        number = make_fixed_formatter(values, digits)
    return number, max((len(number(value)) for value in _find_longest(values)), default=1)


def _find_longest(values: NDArray[Any]) -> list[Any]:
    """Return the values that may have the longest text: the extremes, and NaN and infinity if they occur."""
    if values.dtype.kind not in "iuf":
        return list(np.unique(values))
    finite = values[np.isfinite(values)]
    longest = [finite.min(), finite.max()] if finite.size else []
    tests = (np.nan, np.isnan), (np.inf, np.isposinf), (-np.inf, np.isneginf)
    return longest + [number for number, occurs in tests if occurs(values).any()]


# Helpers of other views and charts.


def convert_ids(model_input: ModelInput) -> NDArray[Any]:
    """Return ids as integers; a model may take them as floats."""
    values = model_input.values
    if values.dtype.kind != "f":
        return values
    return values.astype(np.int64)


def find_ids(primary: ModelInput | None, shape: tuple[int, ...]) -> NDArray[Any] | None:
    """Return the ids of the main input; None if it has none, or other timesteps than those of ``shape``."""
    if primary is None or primary.kind != "ids" or primary.valid is None or primary.values.shape != shape:
        return None
    return convert_ids(primary)


def has_timesteps(mask: Bools | None, valid: Bools | None) -> bool:
    """Return whether there is a mask with the shape of ``valid``."""
    return mask is not None and valid is not None and mask.shape == valid.shape


def note_other_shape(mask: Bools | None, valid: Bools | None, name: str) -> list[Part]:
    """Return a note of a mask that cannot be drawn because its shape is not that of the timesteps."""
    if mask is None or has_timesteps(mask, valid):
        return []
    return [make_note(f"{name} has shape {mask.shape!s} and is not drawn here.")]
