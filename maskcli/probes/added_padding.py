"""Put padding in the place of data: of data without padding, or of all but a few timesteps."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from maskcli.errors import summarize_error
from maskcli.probes.context import ProbeContext, find_padding_side, make_context
from maskcli.probes.lengths import COLUMNS, choose_padding_value, find_positions, lengthen
from maskcli.probes.padding_sources import creates_mask, follow_tensors
from maskcli.records.arrays import Bools
from maskcli.records.inputs import ModelInput
from maskcli.trace.recorder import Recording
from maskcli.trace.run import ModelRun


def uses_mask(context: ProbeContext) -> bool:
    """Return whether a model makes, receives or passes on a padding mask anywhere."""
    if any(model_input.kind == "mask" for model_input in context.inputs):
        return True
    return any(
        mask is not None and mask.ndim > 1
        for entry in context.base.ended
        for mask in (*entry.masks_out, *entry.carried, *entry.padding_masks)
    )


def add_padding(context: ProbeContext, side: Literal["pre", "post"] = "post") -> ProbeContext | str:
    """Return the context of a run whose rows are cut and padded, or the reason why there is none.

    Most rows lose some timesteps on that ``side`` and get padding there. The number of timesteps stays the same, so
    that a model of a fixed length runs, too; only rows of a single timestep become longer.
    """
    values = _find_padding_values(context)
    if not values:
        return "no input has a mask that padding could change"
    timesteps = {context.inputs[position].values.shape[1] for position in values}
    chosen = {
        position: model_input
        for position, model_input in enumerate(context.inputs)
        if model_input.valid is not None and model_input.values.shape[1] in timesteps
    }
    counted = find_positions(context.inputs)
    inputs = tuple(
        _pad_input(model_input, values.get(position), side, position in counted) if position in chosen else model_input
        for position, model_input in enumerate(context.inputs)
    )
    run = ModelRun(context.model, inputs)
    if run.recording.error is not None:
        return f"with padding in the data the model raises {summarize_error(run.recording.error)}"
    if not _is_marked(run.recording, inputs):
        return "no mask of the model marks the padding that maskcli added to the data"
    return make_context(run, context.labels, context.quick)


def shorten_rows(context: ProbeContext, length: int) -> tuple[ModelInput, ...] | None:
    """Return the inputs with padding in the place of all but a few valid timesteps of each row, next to its padding.

    Returns None if no row has more of them, and for inputs that cannot be cut: the nodes of graphs, and numbers that
    may be lengths or places of timesteps.
    """
    numbers = (item for item in context.inputs if item.valid is None)
    if any(item.is_square for item in context.with_timesteps) or any(
        item.values.dtype.kind in "iu" for item in numbers
    ):
        return None
    counted = find_positions(context.inputs)
    shorter = tuple(
        _shorten(item, length, context.side, position in counted) for position, item in enumerate(context.inputs)
    )
    return None if all(new is old for new, old in zip(shorter, context.inputs, strict=True)) else shorter


def _shorten(item: ModelInput, length: int, side: Literal["pre", "post"], counts_on: bool) -> ModelInput:
    """Return an input with padding in the place of valid timesteps; positions count on there."""
    if item.valid is None:
        return item
    own_side = side if item.valid.all() else find_padding_side([item])
    before = item.valid.cumsum(axis=1) if own_side == "post" else item.valid[:, ::-1].cumsum(axis=1)[:, ::-1]
    removed = item.valid & (before > length)
    if not removed.any():
        return item
    values = item.values.copy()
    if not counts_on:
        values[removed] = choose_padding_value(item)
    cells = item.cells
    if cells is not None:
        cells = cells & ~removed.reshape(*removed.shape, *[1] * (cells.ndim - 2))
    return dataclasses.replace(item, values=values, valid=item.valid & ~removed, cells=cells)


def _find_padding_values(context: ProbeContext) -> dict[int, NDArray[Any] | None]:
    """Return the inputs, by position, of which the model has or makes a mask, with the value that its layer looks for.

    The value is None where only the input itself shows the value of padding.
    """
    values: dict[int, NDArray[Any] | None] = {}
    for position, (tensor, model_input) in enumerate(zip(context.base.inputs, context.inputs, strict=True)):
        if model_input.valid is None:
            continue
        if model_input.kind == "mask":
            values[position] = None
            continue
        derived = follow_tensors(context.base, {id(tensor)})
        for entry in context.base.ended:
            if entry.parent is None or not creates_mask(entry):
                continue
            if not any(id(source) in derived for source in entry.inputs):
                continue
            marker = getattr(entry.operation, "mask_value", None)
            values[position] = None if marker is None else np.asarray(marker).astype(model_input.values.dtype)
            break
    return values


def _pad_input(
    model_input: ModelInput, value: NDArray[Any] | None, side: Literal["pre", "post"], counts_on: bool
) -> ModelInput:
    """Return an input whose rows start or end with padding; positions count on there."""
    if model_input.values.shape[1] == 1:
        model_input = lengthen(model_input, COLUMNS, side, counts_on=counts_on)
        assert model_input.valid is not None  # noqa: S101 - only inputs with timesteps are padded
        if value is not None:
            changed = model_input.values.copy()
            changed[~model_input.valid] = value
            return dataclasses.replace(model_input, values=changed)
        return model_input
    rows, timesteps = model_input.values.shape[:2]
    lengths = _choose_lengths(rows, timesteps)
    valid: Bools = np.arange(timesteps) < lengths[:, None]
    if side == "pre":
        valid = valid[:, ::-1]
    values = model_input.values.copy()
    if not counts_on:
        values[~valid] = choose_padding_value(model_input) if value is None else value
    cells = model_input.cells
    if cells is not None:
        cells = cells & valid.reshape(*valid.shape, *[1] * (cells.ndim - 2))
    return dataclasses.replace(model_input, values=values, valid=valid, cells=cells)


def _choose_lengths(rows: int, timesteps: int) -> NDArray[np.intp]:
    """Return the lengths of rows: from half of the timesteps up to all, of which the last row of several keeps all."""
    least = (timesteps + 1) // 2
    span = timesteps - least
    lengths = least + np.arange(rows) % span if span else np.full(rows, timesteps)
    if rows > 1:
        lengths[-1] = timesteps
    return np.asarray(lengths, np.intp)


def _is_marked(run: Recording, inputs: Sequence[ModelInput]) -> bool:
    """Return whether some mask of a run hides all of the padding of some input, and not everything."""
    masks = [mask for entry in run.ended for mask in (*entry.masks_out, *entry.padding_masks) if mask is not None]
    masks += [model_input.values.astype(bool) for model_input in inputs if model_input.kind == "mask"]
    truths = [model_input.valid for model_input in inputs if model_input.valid is not None]
    return any(
        mask.shape == truth.shape and mask.any() and not mask[~truth].any()
        for mask in masks
        for truth in truths
        if not truth.all()
    )
