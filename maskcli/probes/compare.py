"""Compare two runs of one model, call by call, and find the first difference."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Bools
from maskcli.tolerance import LEAST_SCALE, SAME_SCALE, UNCERTAIN, Tolerance
from maskcli.trace.mask_flow import MaskFlow
from maskcli.trace.recorder import CallRecord, Recording
from maskcli.trace.run import list_output_tensors
from maskcli.trace.values import as_float64, is_float


@dataclasses.dataclass(frozen=True)
class Difference:
    """The largest difference of two tensors where results count, and how far rounding may take them.

    ``sample`` and ``timestep`` are the place of the largest difference; ``timestep`` is None for a pooled result.
    """

    change: float
    tolerance: float
    sample: int
    timestep: int | None
    output: str = ""

    @property
    def counts(self) -> bool:
        """Whether it is more than rounding."""
        return self.change > self.tolerance

    @property
    def excess(self) -> float:
        """The change in multiples of the tolerance, to choose the worst."""
        if self.tolerance:
            return self.change / self.tolerance
        return math.inf if self.change else 0.0


@dataclasses.dataclass(frozen=True, eq=False)
class Alignment:
    """How another run corresponds to a base run.

    Attributes:
        rows: the rows of the base run that the other run has.
        side: where padding is; of unequal numbers of valid timesteps, the ones at the other side are compared.
        relevant: ``(n_base_rows,)``, rows whose results count; a row without a valid timestep has none.
        labels: ``(n_base_rows,)``, the rows of the data that the base run has.
        changed: where padding is in the other run; None if its timesteps are those of the base run, or if only the
            last or first ones are missing or new.
    """

    rows: NDArray[np.intp]
    side: Literal["pre", "post"]
    relevant: Bools
    labels: NDArray[np.intp]
    changed: MaskFlow | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class AlignedResults:
    """The results of two runs that count, place by place.

    Attributes:
        change: ``(rows, places, features)``, absolute differences; a pooled result has one place.
        size: of the same shape, absolute values in the base run, 0 where they are not finite.
        counts: ``(rows, places)``, where there is a result that counts.
        timesteps: ``(rows, places)``, the timestep of each place; None for a pooled result.
    """

    change: NDArray[np.float64]
    size: NDArray[np.float64]
    counts: Bools
    timesteps: NDArray[np.intp] | None

    @property
    def change_by_feature(self) -> NDArray[np.float64]:
        """``(features,)``: the largest changes."""
        largest: NDArray[np.float64] = self.change[self.counts].max(axis=0, initial=0.0)
        return largest

    @property
    def size_by_feature(self) -> NDArray[np.float64]:
        """``(features,)``: the largest values."""
        largest: NDArray[np.float64] = self.size[self.counts].max(axis=0, initial=0.0)
        return largest


def align_results(
    base: Any, valid: Bools | None, changed: Any, align: Alignment, changed_valid: Bools | None = None
) -> AlignedResults | None:
    """Return the results of two runs that count; None if they do not correspond.

    Args:
        base: a tensor of the base run.
        valid: Its valid timesteps, as leading axes from ``(batch, timesteps)``; None for a result without timesteps.
        changed: the same tensor of another run.
        align: how the runs correspond.
        changed_valid: the valid timesteps of ``changed``; None if they are those of the base run, cut or extended.
    """
    if base.shape[0] != len(align.relevant) or changed.shape[0] != len(align.rows):
        return None  # Not a result for each sample.
    old, new = _select_rows(as_float64(base), align.rows), as_float64(changed)
    if valid is None:
        if old.shape != new.shape:
            return None
        counts, timesteps = np.ones((len(old), 1), bool), None
        axes = 1
    else:
        axes = valid.ndim
        if new.ndim != old.ndim or new.shape[axes:] != old.shape[axes:]:
            return None
        counts = valid[align.rows]
        inner = int(np.prod(counts.shape[2:]))
        if old.shape == new.shape and (changed_valid is None or np.array_equal(changed_valid, counts)):
            counts = counts.reshape(len(old), -1)
            places = np.broadcast_to(np.arange(counts.shape[1]), counts.shape)
        else:
            if changed_valid is None or changed_valid.shape != new.shape[:axes]:
                changed_valid = np.ones(new.shape[:axes], bool)
            old_places, new_places, counts = pair_valid_places(counts, changed_valid, align.side)
            row = np.arange(len(old))[:, None]
            old = old.reshape(len(old), -1, *old.shape[axes:])[row, old_places]
            new = new.reshape(len(new), -1, *new.shape[axes:])[row, new_places]
            places, axes = old_places, 2
        timesteps = places // max(inner, 1)
    counts = counts & align.relevant[align.rows][:, None]
    if not counts.any():
        return None
    features = old.shape[-1] if old.ndim > axes else 1
    shape = (*counts.shape, old.size // max(counts.size * features, 1), features)
    change = measure_change(old, new).reshape(shape).max(axis=2, initial=0.0)
    size = _measure_size(old).reshape(shape).max(axis=2, initial=0.0)
    return AlignedResults(change, size, counts, timesteps)


def _measure_size(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return absolute values, 0 where they are not finite."""
    size = np.asarray(np.abs(values))
    if not np.isfinite(size.max(initial=0.0)):
        size[~np.isfinite(size)] = 0.0
    return size


def _select_rows(values: NDArray[np.float64], rows: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return some rows of an array; the array itself if these are all."""
    return values if np.array_equal(rows, np.arange(len(values))) else values[rows]


def pair_valid_places(
    old: Bools, new: Bools, side: Literal["pre", "post"]
) -> tuple[NDArray[np.intp], NDArray[np.intp], Bools]:
    """Return the n-th valid place of each row in two runs, ``(rows, n)``, and which of them exist.

    Of unequal numbers, the first ones are paired with post-padding, the last ones with pre-padding.
    """
    pairs = []
    for old_row, new_row in zip(old.reshape(len(old), -1), new.reshape(len(new), -1), strict=True):
        first, second = np.flatnonzero(old_row), np.flatnonzero(new_row)
        shorter = min(len(first), len(second))
        if side == "pre":
            pairs.append((first[len(first) - shorter :], second[len(second) - shorter :]))
        else:
            pairs.append((first[:shorter], second[:shorter]))
    most = max((len(first) for first, _ in pairs), default=0)
    old_places, new_places = (np.zeros((len(pairs), most), np.intp) for _ in range(2))
    exists = np.zeros((len(pairs), most), bool)
    for row, (first, second) in enumerate(pairs):
        old_places[row, : len(first)], new_places[row, : len(first)] = first, second
        exists[row, : len(first)] = True
    return old_places, new_places, exists


def copy_valid(flow: MaskFlow, tensor: Any, other: Any, align: Alignment) -> NDArray[np.float64] | None:
    """Return a tensor of another run with the base run's values at valid timesteps; None if these are not known."""
    valid = flow.valid.get(id(tensor))
    if valid is None or valid.ndim != 2 or len(other.shape) < 2 or tuple(other.shape[2:]) != tuple(tensor.shape[2:]):
        return None  # Scores, for example, have timesteps on a further axis, whose places are not known here.
    changed = None if align.changed is None else align.changed.valid.get(id(other))
    if changed is None or changed.shape != tuple(other.shape[:2]):
        changed = np.ones(tuple(map(int, other.shape[:2])), bool)
    copied = as_float64(other).copy()
    before = as_float64(tensor)[align.rows]
    old_places, new_places, exists = pair_valid_places(valid[align.rows], changed, align.side)
    rows, columns = np.nonzero(exists)
    copied[rows, new_places[rows, columns]] = before[rows, old_places[rows, columns]]
    return copied


def measure_difference(
    base: Any,
    valid: Bools | None,
    changed: Any,
    align: Alignment,
    relative: float,
    floor: float | Sequence[float] = 0.0,
    output: str = "",
    changed_valid: Bools | None = None,
) -> Difference | None:
    """Return how far ``changed`` is from ``base`` where results count; None if their shapes do not match.

    Args:
        base: a tensor of the base run.
        valid: its valid timesteps, ``(batch, timesteps)``; None for a result without timesteps.
        changed: the same tensor of another run.
        align: how the runs correspond.
        relative: the tolerance, as a part of the largest number of a feature, which is on the last axis.
        floor: the smallest tolerance, of all features or of each.
        output: the name of the output, for the record.
        changed_valid: the valid timesteps of ``changed``, if they are not simply those of ``base``.
    """
    results = align_results(base, valid, changed, align, changed_valid)
    if results is None or not results.change.shape[2]:
        return None
    floors = np.asarray(floor, np.float64).reshape(-1)
    if len(floors) != results.change.shape[2]:  # Measured where the last axis was not that of features.
        floors = floors.max(initial=0.0, keepdims=True)
    tolerance = np.maximum(relative * share_scales(results.size_by_feature), floors)
    # The largest of the changes that count; only if none counts, the largest of all.
    change = np.where(results.counts[..., None], results.change, -1.0)
    over = change > tolerance
    place = np.unravel_index(
        int(np.where(over, change, -1.0).argmax() if over.any() else change.argmax()), change.shape
    )
    row, column, feature = (int(index) for index in place)
    return Difference(
        change=float(change[place]),
        tolerance=float(tolerance[feature]),
        sample=int(align.labels[align.rows[row]]),
        timestep=None if results.timesteps is None else int(results.timesteps[row, column]),
        output=output,
    )


def share_scales(sizes: NDArray[np.float64], of: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Return for each feature the largest value of those that are at most ``SAME_SCALE`` times as large as itself.

    Args:
        sizes: ``(features,)``, the largest absolute value of each feature.
        of: ``(features,)``, the values of which to return the largest; by default the sizes themselves.
    """
    values = sizes if of is None else of
    order = np.argsort(sizes, kind="stable")
    largest = np.maximum.accumulate(values[order]) if len(order) else values
    last = np.searchsorted(sizes[order], SAME_SCALE.value * sizes, side="right") - 1
    shared: NDArray[np.float64] = largest[last]
    return shared


def hides_leaks(sizes: NDArray[np.float64], floor: float | Sequence[float]) -> bool:
    """Return whether the rounding error of a feature is so large that a leak may be smaller.

    Args:
        sizes: ``(features,)``, the largest absolute value of each feature.
        floor: the measured error, of all features or of each.
    """
    if not sizes.any():
        return False
    floors = np.asarray(floor, np.float64).reshape(-1)
    if len(floors) != len(sizes):
        floors = floors.max(initial=0.0, keepdims=True)
    scales = np.maximum(share_scales(sizes), LEAST_SCALE.value * sizes.max())
    return bool((floors > UNCERTAIN.value * scales).any())


def measure_change(old: NDArray[np.float64], new: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return absolute differences; two NaN are equal, and NaN is infinitely far from any number."""
    with np.errstate(invalid="ignore"):  # Two infinities.
        change = np.asarray(np.abs(old - new))
    if np.isfinite(change.max(initial=0.0)):
        return change
    same = (old == new) | (np.isnan(old) & np.isnan(new))
    change[same] = 0.0
    change[np.isnan(change)] = np.inf
    return change


def find_worst(differences: Iterable[Difference | None]) -> Difference | None:
    """Return the difference that exceeds its tolerance most; None if there is none."""
    measured = (difference for difference in differences if difference is not None)
    return max(measured, key=lambda difference: difference.excess, default=None)


def compare_outputs(
    base: Recording, flow: MaskFlow, changed: Recording, align: Alignment, tolerance: Tolerance
) -> Difference | None:
    """Return the worst difference of the outputs of two runs; None if no output can be compared."""
    return find_worst(difference for _, difference in compare_each_output(base, flow, changed, align, tolerance))


def compare_each_output(
    base: Recording, flow: MaskFlow, changed: Recording, align: Alignment, tolerance: Tolerance
) -> Iterator[tuple[str, Difference | None]]:
    """Yield each output with a result for each sample, by name, and its difference; None if it cannot be compared."""
    pairs = zip(list_output_tensors(base.output), list_output_tensors(changed.output), strict=True)
    for position, ((name, old), (_, new)) in enumerate(pairs):
        if not len(old.shape) or not len(new.shape) or old.shape[0] != len(align.relevant):
            continue
        valid, changed_valid = find_validity_of_pair(old, new, flow, align)
        limits = tolerance.of(0, position)
        difference = measure_difference(old, valid, new, align, *limits, name, changed_valid)
        if difference is None and valid is None:
            difference = _confirm_equal(old, new, flow, align, limits, name)
        yield name, difference


def _confirm_equal(
    old: Any, new: Any, flow: MaskFlow, align: Alignment, limits: tuple[Any, Any], name: str
) -> Difference | None:
    """Return the difference of an output that has as many places as the inputs have timesteps, in both runs.

    It is not known in which order these are. So only equal results prove something; None for others.
    """
    truths = (flow.truths, () if align.changed is None else align.changed.truths)
    if len(old.shape) < 2 or any(len({valid.tobytes() for valid in part}) != 1 for part in truths):
        return None
    valid, changed_valid = (part[0] for part in truths)
    if tuple(old.shape[:2]) != valid.shape or tuple(new.shape[:2]) != changed_valid.shape:
        return None
    difference = measure_difference(old, valid, new, align, *limits, name, changed_valid)
    return None if difference is None or difference.counts else difference


def find_validity_of_pair(old: Any, new: Any, flow: MaskFlow, align: Alignment) -> tuple[Bools | None, Bools | None]:
    """Return the validity of a tensor in two runs; None without timesteps, or in the second if nothing is known.

    Scores of attention, ``(batch, heads, queries, keys)``, and pairs of timesteps have timesteps on several axes; such
    a number counts if it belongs to a valid timestep on all of them.
    """
    pairs = find_places_of_pairs(old, new, flow, align) if _holds_pairs(old, flow) else None
    if pairs is not None:
        return pairs
    valid = flow.valid.get(id(old))
    changed = align.changed
    if valid is None and id(old) not in flow.pooled and len(old.shape) > 2:
        places = _map_places(old, flow)
        if places is not None:
            return places, None if changed is None else _map_places(new, changed)
    return valid, None if changed is None else changed.valid.get(id(new))


def find_places_of_pairs(old: Any, new: Any, flow: MaskFlow, align: Alignment) -> tuple[Bools, Bools | None] | None:
    """Return which scores of pairs of timesteps, ``(batch, queries, keys)``, are of two valid ones, in two runs.

    Returns None for other tensors. What padded keys do to a softmax over them shows in its result.
    """
    if len(old.shape) < 3 or len(flow.positions.get_labels(old)) < 2:
        return None
    places, changed = _map_places(old, flow), None
    if align.changed is not None:
        changed = _map_places(new, align.changed)
    return None if places is None or (changed is None and align.changed is not None) else (places, changed)


def _holds_pairs(tensor: Any, flow: MaskFlow) -> bool:
    """Return whether a tensor has all timesteps of an input, in order, on each of several axes."""
    labels = flow.positions.get_labels(tensor)
    if len(labels) < 2:
        return False
    cells = flow.positions.cells
    axes = {axis for layer in labels if cells.is_in_place(layer) for axis in cells.find_time_axes(layer)}
    return len(axes) == len(labels)


def _map_places(tensor: Any, flow: MaskFlow) -> Bools | None:
    """Return which numbers of a tensor belong to valid timesteps; None if that is not known."""
    places = flow.positions.map_places(tensor)
    if places is None:
        return None
    axes = max((axis + 1 for axis, size in enumerate(places.shape) if size > 1), default=0)
    axes = max(axes, min(2, places.ndim))  # The axes after these are of features.
    shape = tuple(tensor.shape)[:axes]
    return np.broadcast_to(places.reshape(places.shape[:axes]), shape)


def compare_results(
    old: CallRecord,
    new: CallRecord,
    flow: MaskFlow,
    align: Alignment,
    tolerance: Tolerance,
    used: set[int],
) -> Iterator[Difference]:
    """Yield the differences of the used results of one call in two runs, where a result belongs to a sample."""
    for position, tensor, changed in pair_results(old, new, flow, align):
        if is_unused(old, tensor, used):
            continue
        valid, changed_valid = find_places_of_pairs(tensor, changed, flow, align) or find_validity_of_pair(
            tensor, changed, flow, align
        )
        limits = tolerance.of(old.index, position)
        difference = measure_difference(tensor, valid, changed, align, *limits, changed_valid=changed_valid)
        if difference is not None:
            yield difference


def pair_results(old: CallRecord, new: CallRecord, flow: MaskFlow, align: Alignment) -> Iterator[tuple[int, Any, Any]]:
    """Yield the position of each result of a call that belongs to a sample, and the result in both runs."""
    for position, (tensor, changed) in enumerate(zip(old.outputs, new.outputs, strict=False)):
        if not len(tensor.shape) or not len(changed.shape):
            continue
        if id(tensor) not in flow.valid and id(tensor) not in flow.pooled:
            continue
        if tensor.shape[0] == len(align.relevant) and changed.shape[0] == len(align.rows):
            yield position, tensor, changed


def find_used_tensors(recording: Recording) -> set[int]:
    """Return the ``id`` of each tensor that a later call receives, or that the model returns."""
    used = {id(tensor) for _, tensor in list_output_tensors(recording.output)}
    for entry in recording.ended:
        used.update(map(id, entry.inputs))
        used.update(id(mask) for masks in entry.mask_tensors.values() for mask in masks)
    return used


def is_unused(entry: CallRecord, tensor: Any, used: set[int]) -> bool:
    """Return whether only other results of a call are used, as of an RNN that returns its states, too."""
    return id(tensor) not in used and any(id(other) in used for other in entry.outputs)


def find_first_difference(
    base: Recording, flow: MaskFlow, changed: Recording, align: Alignment, tolerance: Tolerance
) -> CallRecord | None:
    """Return the first call, in the order of the data, whose result differs where results count.

    Integers, such as the index of a timestep, and masks are no results: they may depend on the number of timesteps.
    """
    # Code may compute with shorter axes inside, whose places are guesses: the result of its layer decides.
    used, ended, equal = find_used_tensors(base), set[int](), set[int]()
    differing: list[CallRecord] = []
    for old, new in pair_calls(base, changed) or _pair_first_calls(base, changed):
        ended.add(old.index)
        if any(is_float(tensor) for tensor in old.outputs) and not old.superseded:
            differences = list(compare_results(old, new, flow, align, tolerance, used))
            if any(difference.counts for difference in differences):
                differing.append(old)
            elif len(differences) == sum(not is_unused(old, tensor, used) for tensor in old.outputs):
                equal |= {old.index} if all(_knows_places(tensor, flow) for tensor in old.outputs) else set()
        first = next((entry for entry in differing if equal.isdisjoint(_list_layers_around(entry))), None)
        if first is not None and ended.issuperset(_list_layers_around(first)):
            return first
    return next((entry for entry in differing if equal.isdisjoint(_list_layers_around(entry))), None)


def _knows_places(tensor: Any, flow: MaskFlow) -> bool:
    """Return whether it is known which results of a call count: of one sequence, or of pairs of timesteps."""
    return len(flow.positions.get_labels(tensor)) < 2 or _holds_pairs(tensor, flow)


def _list_layers_around(entry: CallRecord) -> list[int]:
    """Return the indices of the calls, but the model's own, whose code makes a call."""
    return [parent.index for parent in entry.parents[:-1]]


def pair_calls(base: Recording, changed: Recording) -> list[tuple[CallRecord, CallRecord]]:
    """Return the calls of two runs in pairs; empty if the runs called different layers.

    Other shapes may take other paths through code outside of layers. Operations between two layers, or inside one, are
    left out if they are not the same ones in both runs.
    """
    (old, before), (new, after) = (_split_at_layers(run.ended) for run in (base, changed))
    if not _are_alike(old, new):
        return []
    pairs: list[tuple[CallRecord, CallRecord]] = []
    for place, (first, second) in enumerate(zip(before, after, strict=True)):
        pairs += zip(first, second, strict=True) if _are_alike(first, second) else ()
        pairs += zip(old[place : place + 1], new[place : place + 1], strict=True)
    return pairs


def _pair_first_calls(base: Recording, changed: Recording) -> list[tuple[CallRecord, CallRecord]]:
    """Return the calls of two runs in pairs up to the first that differs, as where a loop has fewer timesteps."""
    pairs = itertools.zip_longest(base.ended, changed.ended)
    return list(itertools.takewhile(lambda pair: None not in pair and pair[0].type == pair[1].type, pairs))


def _split_at_layers(entries: Iterable[CallRecord]) -> tuple[list[CallRecord], list[list[CallRecord]]]:
    """Return the calls of layers, and the operations that ended before each of them and after the last."""
    layers: list[CallRecord] = []
    operations: list[list[CallRecord]] = [[]]
    for entry in entries:
        if entry.code:
            operations[-1].append(entry)
        else:
            layers.append(entry)
            operations.append([])
    return layers, operations


def _are_alike(first: Sequence[CallRecord], second: Sequence[CallRecord]) -> bool:
    return [entry.type for entry in first] == [entry.type for entry in second]
