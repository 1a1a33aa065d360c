"""Other content for valid timesteps: ids in the range of the data, and vectors of its other timesteps."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.inputs.arguments import select_rows
from maskcli.records.arrays import Bools
from maskcli.records.inputs import ModelInput


def list_content_inputs(inputs: Sequence[ModelInput]) -> tuple[int, ...]:
    """Return the positions of the inputs that have content to replace: no masks, and no counted positions.

    A single input that counts up is content: rows of ids may happen to be in order.
    """
    content = [
        position
        for position, model_input in enumerate(inputs)
        if model_input.valid is not None and model_input.kind in ("ids", "features")
    ]
    return tuple(position for position in content if len(content) < 2 or not inputs[position].counts_up)


def replace_content(model_input: ModelInput, source: ModelInput, where: Bools, rng: np.random.Generator) -> ModelInput:
    """Return an input with other content at some timesteps; padding and masks stay as they are.

    Args:
        model_input: the rows to change.
        source: the same input with all rows of the data, from which content is drawn.
        where: ``(batch, timesteps)``, the timesteps to change; padding among them is left unchanged.
        rng: draws the content.
    """
    if model_input.valid is None or source.valid is None:
        return model_input
    chosen = where & model_input.valid
    values = model_input.values.copy()
    if model_input.kind == "ids" and values.ndim == 2:
        # An id that marks padding may be a mask to the model: neither replaced nor drawn.
        chosen = chosen & (values != model_input.padding)
        values[chosen] = _draw_ids(values[chosen], source, rng)
        return dataclasses.replace(model_input, values=values)
    rows, timesteps = np.nonzero(source.valid)
    if not len(rows):
        return model_input
    picks = rng.integers(len(rows), size=int(chosen.sum()))
    values[chosen] = _add_noise(source.values[rows[picks], timesteps[picks]], source, rng)
    if model_input.cells is None or source.cells is None:
        return dataclasses.replace(model_input, values=values)
    cells = model_input.cells.copy()
    cells[chosen] = source.cells[rows[picks], timesteps[picks]]
    return dataclasses.replace(model_input, values=values, cells=cells)


def replace_rows(
    inputs: tuple[ModelInput, ...], rows: Bools, donors: NDArray[np.intp], rng: np.random.Generator
) -> tuple[ModelInput, ...]:
    """Return inputs in which some rows are other rows of the data with other content.

    Args:
        inputs: all inputs, of the same rows.
        rows: ``(batch,)``, the rows to replace.
        donors: ``(batch,)``, by row, the row that takes its place, with its length and its masks.
        rng: draws the content.
    """
    order = np.where(rows, donors, np.arange(len(rows)))
    changed, content = [], list_content_inputs(inputs)
    for position, model_input in enumerate(inputs):
        moved = select_rows(model_input, order)
        if model_input.cells is not None:
            moved = dataclasses.replace(moved, cells=model_input.cells[order])
        if position in content and model_input.valid is not None:
            where = np.broadcast_to(rows[:, None], model_input.valid.shape)
            moved = replace_content(moved, model_input, where, rng)
        elif model_input.kind == "static" and model_input.values.dtype.kind == "f":
            values = moved.values.copy()
            values[rows] = _add_noise(values[rows], model_input, rng)
            moved = dataclasses.replace(moved, values=values)
        changed.append(moved)
    return tuple(changed)


def get_places(item: ModelInput) -> Bools:
    """Return which timesteps of an input, or which places inside them, are valid."""
    assert item.valid is not None  # noqa: S101 - only called for inputs with timesteps
    return item.valid if item.cells is None else item.cells


def fill_with_content(item: ModelInput, rng: np.random.Generator) -> ModelInput | None:
    """Return an input with content of other timesteps at padding; None if it may hold lengths, or has no content."""
    if item.valid is None:
        is_measured = item.kind == "static" and item.values.dtype.kind == "f"
        return item if is_measured and (item.values != np.round(item.values)).any() else None
    places = get_places(item)
    values = item.values.copy()
    if item.kind == "mask":
        values[...] = values.dtype.type(not item.inverted)
    elif not places.all():
        content = values[places]
        looks_padded = (content == item.padding).reshape(len(content), -1).all(axis=1)
        content = content[~looks_padded]
        if not len(content):
            return None
        values[~places] = content[rng.integers(len(content), size=int((~places).sum()))]
    cells = None if item.cells is None else np.ones_like(item.cells)
    return dataclasses.replace(item, values=values, valid=np.ones_like(item.valid), cells=cells)


def repeat_row(inputs: Sequence[ModelInput], copies: int) -> tuple[ModelInput, ...]:
    """Return inputs of a single row with copies of it; every second copy is cut to half of its length."""
    repeated = []
    for model_input in inputs:
        rows = select_rows(model_input, np.zeros(copies, int))
        if rows.valid is not None:
            position = rows.valid.cumsum(axis=1)
            removed = rows.valid & (position > (position[:, -1:] + 1) // 2)
            removed[::2] = False
            values = rows.values.copy()
            if not model_input.counts_up:
                values[removed] = model_input.padding
            rows = dataclasses.replace(rows, values=values, valid=rows.valid & ~removed)
        if model_input.cells is not None and rows.valid is not None:
            cells = model_input.cells[np.zeros(copies, int)]
            cells[~rows.valid] = False
            rows = dataclasses.replace(rows, cells=cells)
        repeated.append(rows)
    return tuple(repeated)


def _draw_ids(ids: NDArray[Any], source: ModelInput, rng: np.random.Generator) -> NDArray[Any]:
    """Return an id for each id that differs from it, up to the largest id of the data."""
    valid = source.values[source.valid]
    if not len(valid) or not len(ids):
        return ids
    low, high = int(valid.min()), int(valid.max())
    low = min(low, 1) if low > 0 else low  # An Embedding that has the largest id has the smaller ones, too.
    count = high - low + 1
    if count < 2:
        return ids
    # A step of 1 to count - 1 around the circle of ids never ends where it starts.
    drawn_ids = low + (ids.astype(np.int64) - low + rng.integers(1, count, size=len(ids))) % count
    at_padding = drawn_ids == source.padding
    drawn_ids[at_padding] = low + (drawn_ids[at_padding] - low + 1) % count
    drawn_ids[drawn_ids == source.padding] = ids[drawn_ids == source.padding]
    return drawn_ids.astype(ids.dtype)


def _add_noise(vectors: NDArray[Any], source: ModelInput, rng: np.random.Generator) -> NDArray[Any]:
    """Return vectors with noise of half the spread of the data, so that equal vectors differ.

    Whole numbers, such as categories stored as floats, stay as they are unless all data is equal.
    """
    values = source.values if source.valid is None else source.values[source.valid]
    if values.dtype.kind != "f" or not len(vectors):
        return vectors
    finite = np.where(np.isfinite(values), values, 0).astype(np.float64)
    spread = finite.std(axis=0)
    whole = bool((finite == np.round(finite)).all())
    if whole and (spread > 0).any():
        return vectors
    scale = np.where(spread > 0, 0.5 * spread, 0.0 if whole else 0.5)
    if not (scale > 0).any():
        scale = np.ones_like(spread)
    return (vectors + rng.standard_normal(vectors.shape) * scale).astype(vectors.dtype)
