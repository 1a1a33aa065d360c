"""The cells of a model's inputs, which elements of tensors come from: timesteps, and places inside timesteps.

A tensor is labelled by *layers*: arrays of cell numbers that broadcast to its shape. Most tensors have one layer. The
scores of attention have two, since their queries and their keys are timesteps on two axes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Bools
from maskcli.records.inputs import ModelInput

FIXED = 0
"""The number of elements that come from no timestep, such as a start token; they count as valid."""
MIXED = 1
"""The number of elements that come from several timesteps, such as a mean over time."""

Layer = NDArray[np.int32]
Labels = tuple[Layer, ...]

MOST_LAYERS = 3
"""Layers of a tensor, at most; further ones are forgotten."""
MOST_COLUMNS = 8
"""Different columns of features, such as shifted copies of a sequence, that are compared, at most."""


@dataclasses.dataclass(frozen=True, eq=False)
class TimestepOrigin:
    """The validity of a tensor with timesteps, and the cells that it comes from.

    Attributes:
        valid: ``(batch, timesteps)``, or with further axes where timesteps have padding inside.
        layer: the cell of each of these places.
        identical: whether these are the timesteps of an input, in their places.
    """

    valid: Bools
    layer: Layer
    identical: bool


class InputCells:
    """All cells of the inputs of a run, numbered through.

    Attributes:
        valid: ``(cells,)``, whether a cell is data and not padding.
        row: the row of the data that it is in; -1 for none.
        time: its timestep; -1 for none.
        source: the position of its input; -1 for none.
        parent: the cell of the timestep around it.
    """

    def __init__(self, inputs: Sequence[ModelInput]) -> None:
        """Number the cells of the inputs."""
        none = np.array([-1, -1])
        self._tables = [[np.array([True, True])], [none], [none], [none], [np.array([FIXED, MIXED])]]
        self._size = 2
        self._labels: dict[int, Layer] = {}
        self._timesteps: dict[int, Layer] = {}
        self._sizes: dict[int, int] = {}
        self._truths: dict[tuple[int, bool], Bools] = {}
        for position, model_input in enumerate(inputs):
            if model_input.valid is not None:
                self._add_input(position, model_input, model_input.valid)
        self.valid: Bools = np.concatenate(self._tables[0]).astype(bool)
        row, time, source, parent = (np.concatenate(table) for table in self._tables[1:])
        self.row: NDArray[Any] = row
        self.time: NDArray[Any] = time
        self.source: NDArray[Any] = source
        self.parent: NDArray[Any] = parent

    def _add_input(self, position: int, model_input: ModelInput, valid: Bools) -> None:
        rank = max(model_input.values.ndim, valid.ndim)
        timesteps = self._add_cells(position, valid, None)
        self._sizes[position] = valid.shape[1]
        self._truths[position, False] = valid
        inside = model_input.cells
        labels = timesteps
        if inside is not None and inside.shape == model_input.values.shape[: inside.ndim]:
            labels = self._add_cells(position, inside, timesteps)
            self._truths[position, True] = inside
        self._timesteps[position] = timesteps
        spread = labels.reshape(*labels.shape, *[1] * (rank - labels.ndim))
        self._labels[position] = np.moveaxis(spread, 1, model_input.time_axis)

    def _add_cells(self, position: int, valid: Bools, parents: Layer | None) -> Layer:
        labels = (self._size + np.arange(valid.size, dtype=np.int32)).reshape(valid.shape)
        row, time = np.indices(valid.shape)[:2]
        around = labels if parents is None else np.broadcast_to(_expand_right(parents, valid.ndim), valid.shape)
        columns = (valid, row, time, np.full(valid.shape, position), around)
        for table, column in zip(self._tables, columns, strict=True):
            table.append(column.reshape(-1))
        self._size += valid.size
        return labels

    def label_input(self, position: int) -> Labels:
        """Return the labels of an input; none for an input without timesteps."""
        return (self._labels[position],) if position in self._labels else ()

    def label_timesteps(self, position: int, rank: int) -> Layer:
        """Return the labels of a tensor of some rank that has the timesteps of an input."""
        return _expand_right(self._timesteps[position], rank)

    def find_time_axes(self, layer: Layer) -> frozenset[int]:
        """Return the axes along which the timestep changes within a row of the data."""
        times, rows = self.time[layer], self.row[layer]
        return frozenset(axis for axis in range(layer.ndim) if layer.shape[axis] > 1 and _changes(times, rows, axis))

    def is_in_place(self, layer: Layer) -> bool:
        """Return whether a layer has all timesteps of an input, in order, along one axis."""
        axes = self.find_time_axes(layer)
        if len(axes) != 1 or (layer <= MIXED).any():
            return False
        (axis,) = axes
        times, sources = self.time[layer], self.source[layer]
        size = layer.shape[axis]
        if not (sources == sources.flat[0]).all() or self._sizes.get(int(sources.flat[0])) != size:
            return False
        order = np.arange(size).reshape(*[1] * axis, size, *[1] * (layer.ndim - axis - 1))
        return bool((times == order).all())

    def combine(self, operands: Sequence[Labels], rank: int) -> tuple[Labels, bool]:
        """Return the labels of a result that has elements of all operands; and whether operands disagreed.

        Layers of one operand stay apart, also where their axes have become one: a later reshape may part these again.
        """
        layers: list[Layer] = []
        timed: list[tuple[Layer, frozenset[int]]] = []
        disagree = False
        for labels in operands:
            earlier = len(timed)
            for layer in labels:
                layers.append(_expand_left(layer, rank))
                axes = self.find_time_axes(layers[-1])
                places = (place for place in range(earlier) if _overlap(axes, timed[place][1]))
                place = next(places, len(timed))
                if place < len(timed):
                    merged, differ = self._choose(timed[place][0], layers[-1])
                    timed[place] = (merged, self.find_time_axes(merged))
                    disagree |= differ
                elif axes:
                    timed.append((layers[-1], axes))
        if timed:
            return tuple(layer for layer, _ in timed[:MOST_LAYERS]), disagree
        if not layers:
            return (), False
        merged = layers[0]
        for layer in layers[1:]:
            merged = self._mix(merged, layer)
        return (compact(merged),), False

    def _mix(self, first: Layer, second: Layer) -> Layer:
        """Return the cells of results of two elements: both in a cell, in a timestep, or of several timesteps."""
        same_step = np.where(self.parent[first] == self.parent[second], self.parent[first], MIXED)
        merged = np.where(first == second, first, same_step)
        merged = np.where(first == FIXED, second, np.where(second == FIXED, first, merged))
        return merged.astype(np.int32)

    def _choose(self, first: Layer, second: Layer) -> tuple[Layer, bool]:
        """Return the layer of a result of two sequences, and whether these differ.

        Timesteps in the places of an input come first, then the layer with more timesteps, as a sequence plus one that
        is shifted over its end, then the one in order, as a sequence plus one that is rolled. A result of two equal
        parts of a sequence, such as the differences of neighbours, is valid where both are.
        """
        shape = np.broadcast_shapes(first.shape, second.shape)
        first, second = np.broadcast_to(first, shape), np.broadcast_to(second, shape)
        if np.array_equal(first, second):
            return compact(first), False
        ranks = [self._rank_layer(layer) for layer in (first, second)]
        if ranks[0] != ranks[1]:
            return compact(first if ranks[0] > ranks[1] else second), not max(ranks)[0]
        worse = self.valid[first] & ~self.valid[second]
        both = np.where(worse | (first == FIXED), second, first)
        return compact(both), not ranks[0][0]

    def _rank_layer(self, layer: Layer) -> tuple[bool, int, bool]:
        tight = compact(layer)
        labels = np.unique(tight)
        times = self.time[tight]
        axes = self.find_time_axes(tight)
        rises = all((np.diff(times, axis=axis)[np.diff(times, axis=axis) != 0] > 0).all() for axis in axes)
        return self.is_in_place(tight), int((labels > MIXED).sum()), rises

    def collapse(self, labels: Labels, axes: Sequence[int], keepdims: bool = False) -> tuple[Labels, bool]:
        """Return the labels of results that are computed over axes, and whether timesteps disagreed there."""
        disagree, results = False, []
        for layer in labels:
            reduced = layer
            for axis in axes:
                reduced, differ = self._collapse_axis(reduced, axis)
                disagree |= differ
            results.append(reduced if keepdims else reduced.squeeze(tuple(axes)))
        combined, _ = self.combine([(layer,) for layer in results], results[0].ndim) if results else ((), False)
        return combined, disagree

    def _collapse_axis(self, layer: Layer, axis: int) -> tuple[Layer, bool]:
        if layer.shape[axis] == 1:
            return layer, False
        columns = [layer.take([index], axis=axis) for index in range(layer.shape[axis])]
        others = self.find_time_axes(layer) - {axis}
        unique: list[Layer] = []
        for column in columns:
            if not any(np.array_equal(column, other) for other in unique):
                unique.append(column)
            if len(unique) > MOST_COLUMNS and axis in self.find_time_axes(layer):
                break
        merged = unique[0]
        for column in unique[1:]:
            merged = self._mix(merged, column)
        timed = [column for column in unique if self.find_time_axes(column)]
        if not (merged == MIXED).any() or not others or not timed or len(unique) > MOST_COLUMNS:
            return compact(merged), False
        chosen, disagree = timed[0], False
        for column in timed[1:]:
            chosen, differ = self._choose(chosen, column)
            disagree |= differ
        return chosen, disagree

    def read_origin(self, labels: Labels, shape: Sequence[int], is_float: bool) -> TimestepOrigin | None:
        """Return the validity of a tensor; None without timesteps on axis 1, or if axis 0 are not the rows."""
        if len(shape) < 2:
            return None
        for layer in labels:
            if layer.ndim == len(shape) and self._has_time(layer, shape, is_float):
                return self._make_origin(layer, shape)
        return None

    def has_rows(self, layer: Layer, count: int) -> bool:
        """Return whether the first axis of a layer are the rows of the data."""
        rows = self.row[layer]
        own = np.arange(count).reshape(-1, *[1] * (layer.ndim - 1))
        return layer.ndim > 0 and bool(((rows == own) | (rows < 0)).all())

    def is_mixed(self, layer: Layer) -> bool:
        """Return whether most places of axis 1 are results of several timesteps, as in a loop over timesteps."""
        if layer.ndim < 2 or layer.shape[1] == 1:
            return not self.find_time_axes(layer)
        mixed = (layer == MIXED).reshape(*layer.shape[:2], -1).all(axis=(0, 2))
        return bool(mixed.sum() > layer.shape[1] / 2)

    def _has_time(self, layer: Layer, shape: Sequence[int], is_float: bool) -> bool:
        """Return whether axis 1 are timesteps, and axis 0 the rows of the data."""
        axes = self.find_time_axes(layer)
        if not self.has_rows(layer, shape[0]):
            return False
        if axes:
            if 1 not in axes or layer.shape[1] != shape[1]:
                return False
            # Flattened features of timesteps are no timesteps: each would be there several times.
            first = layer.reshape(layer.shape[0], -1)[0]
            first = first[first > MIXED]
            return not (len(shape) == 2 and is_float and len(np.unique(first)) < len(first))
        # A single timestep is one of an input that has no other; of a longer input, it was taken out.
        alone = layer.max(initial=FIXED) > MIXED and self._sizes[int(self.source[layer].max())] == 1
        return bool(alone) and shape[1] == 1 and (len(shape) > 2 or not is_float)

    def _make_origin(self, layer: Layer, shape: Sequence[int]) -> TimestepOrigin:
        last = 2
        while last < layer.ndim and layer.shape[last] > 1 and self._is_inside(layer, last):
            last += 1
        kept = self._reduce_rest(layer, last)
        kept = np.broadcast_to(kept, (shape[0], shape[1], *kept.shape[2:]))
        valid = self.valid[kept]
        truth = self._find_truth(kept)
        return TimestepOrigin(valid if truth is None else truth, kept, truth is not None)

    def _is_inside(self, layer: Layer, axis: int) -> bool:
        """Return whether the cells along an axis are places inside one timestep."""
        return axis not in self.find_time_axes(layer) and bool((self.parent[layer] != layer).any())

    def _reduce_rest(self, layer: Layer, last: int) -> Layer:
        """Return a layer without its axes from ``last`` on; a timestep is valid if all of it is."""
        rest = layer.reshape(*layer.shape[:last], -1)
        place = np.where(self.valid[rest], 0, 1).argmax(axis=-1)
        chosen: Layer = np.take_along_axis(rest, place[..., None], axis=-1)[..., 0]
        return chosen

    def _find_truth(self, layer: Layer) -> Bools | None:
        """Return the validity of an input, itself, if a layer has its timesteps in their places."""
        label = int(layer.flat[0])
        if label <= MIXED:
            return None
        inside = self.parent[label] != label
        truth = self._truths.get((int(self.source[label]), bool(inside)))
        if truth is None or truth.shape != layer.shape:
            return None
        order = label + np.arange(truth.size).reshape(truth.shape)
        starts = self.row[label] == 0 and self.time[label] == 0
        return truth if starts and np.array_equal(layer, order) else None


def _changes(times: NDArray[np.intp], rows: NDArray[np.intp], axis: int) -> bool:
    """Return whether timesteps change along an axis between neighbours of one row."""
    parts = [slice(None)] * times.ndim
    before, after = (*parts[:axis], slice(0, -1)), (*parts[:axis], slice(1, None))
    same_row = (rows[before] == rows[after]) | (rows[before] < 0) | (rows[after] < 0)
    return bool((same_row & (times[before] != times[after])).any())


def _overlap(first: frozenset[int], second: frozenset[int]) -> bool:
    """Return whether some timesteps are along the same axes."""
    return bool(first) and (first <= second or first >= second)


def compact(layer: NDArray[np.integer]) -> Layer:
    """Return a layer with size 1 along each axis on which it is constant."""
    for axis in reversed(range(layer.ndim)):
        if layer.shape[axis] > 1:
            first = layer.take([0], axis=axis)
            if (layer == first).all():
                layer = first
    return layer.astype(np.int32)


def _expand_left(layer: Layer, rank: int) -> Layer:
    return layer.reshape((*[1] * (rank - layer.ndim), *layer.shape))


def _expand_right(layer: Layer, rank: int) -> Layer:
    return layer.reshape((*layer.shape, *[1] * (rank - layer.ndim)))
