"""Rounding: by how much two runs may differ without a leak.

Two runs of one model that sum the same numbers in another order differ in their last digits. A change only counts as a
leak if it is larger than this. There are three estimates:

- ``allow_one_ulp``: nothing is summed in another order; for runs of the same shapes.
- ``bound_rounding``: a bound from the sizes of the sums and the number of calls; for runs of other shapes.
- ``estimate_rounding``: a measurement, which knows about numbers that cancel; it raises the bound where needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.probes.compare import Alignment, align_results, hides_leaks, pair_calls, pair_results, share_scales
from maskcli.tolerance import MONTE_CARLO_MARGIN, ZERO_IN_FLOAT64, Tolerance, bound_sum_error
from maskcli.trace.mask_flow import MaskFlow
from maskcli.trace.recorder import CallRecord, Recording
from maskcli.trace.rerun import RoundingErrors
from maskcli.trace.run import ModelRun, list_output_tensors
from maskcli.trace.steps import name_step
from maskcli.trace.values import get_dtype, get_ulp


def allow_one_ulp(entries: Sequence[CallRecord], data: Iterable[Any] = ()) -> Tolerance:
    """Allow one unit in the last place: for runs that sum the same numbers in the same order.

    The unit is that of the coarsest dtype that any call so far has had, apart from ``data``, the inputs of the model.
    """
    exact = set(map(id, data))
    relative, ulp = {}, 0.0
    for entry in entries:
        ulp = max(ulp, _find_coarsest_ulp(entry, exact))
        relative[entry.index] = ulp
    return Tolerance(relative)


def _find_coarsest_ulp(entry: CallRecord, exact: set[int]) -> float:
    """Return the largest unit of the tensors of a call, without those that are data: these are exact in any dtype."""
    tensors = (*(tensor for tensor in entry.inputs if id(tensor) not in exact), *entry.outputs)
    return max(map(get_ulp, tensors), default=0.0)


def bound_rounding(entries: Sequence[CallRecord], data: Iterable[Any] = ()) -> Tolerance:
    """Bound the relative error that rounding may have after each call, for runs of other shapes.

    ``data`` are the inputs of the model, which do not round: where float32 numbers go into a model that computes in
    float64, they are exact.
    """
    exact = set(map(id, data))
    relative, ulp, longest = {}, 0.0, 1
    for count, entry in enumerate(entries, 1):
        # An error stays in the data: a float16 layer, or a long sum, also limits the precision of all later calls. So
        # the coarsest dtype and the longest axis so far count, not those of this call. The batch, axis 0, is never
        # summed over.
        ulp = max(ulp, _find_coarsest_ulp(entry, exact))
        for tensor in (*entry.inputs, *entry.outputs):
            longest = max(longest, *(int(axis or 1) for axis in tensor.shape[1:]), 1)
        relative[entry.index] = bound_sum_error(ulp, longest, count)
    return Tolerance(relative)


SAMPLES = 2
"""Runs with random rounding. A pooled output of three rows has only three errors of each feature in a run."""


def estimate_rounding(
    run: ModelRun,
    flow: MaskFlow,
    align: Alignment,
    tolerance: Tolerance,
    samples: int = SAMPLES,
    start: int = 0,
    inner: bool = True,
) -> Tolerance:
    """Measure how far rounding moves the result of each call, and raise the tolerance to that.

    Numbers that cancel, or that a normalisation divides by almost nothing, carry rounding errors far beyond what their
    own magnitude suggests. This is Monte Carlo arithmetic (Parker, 1997): each float that a call returns is multiplied
    by ``1 + ulp * sqrt(n) * N(0, 1)``, where n is the longest axis that the call may have summed over.

    Args:
        run: the run to repeat with random rounding.
        flow: the validity of its tensors.
        align: all rows of the run.
        tolerance: the tolerance that applies so far.
        samples: the number of such runs.
        start: the number of such runs that have raised the tolerance already.
        inner: whether to measure the results of calls too, not only the outputs.

    Returns:
        The tolerance with a floor for each feature of each result; unchanged if the model raises.
    """
    floors = {key: np.asarray(floor, np.float64) for key, floor in tolerance.by_feature.items()}
    for sample in range(start, start + samples):
        rounded = record_rounded(run, sample)
        if rounded.error is not None:
            return tolerance
        for key, floor in _measure_floors(run.recording, rounded, flow, align, inner):
            floors[key] = _join_floors(floors.get(key), floor)
    largest: dict[int, float] = {}
    for (index, _), floor in floors.items():
        largest[index] = max(largest.get(index, 0.0), float(floor.max(initial=0.0)))
    return Tolerance(tolerance.relative, largest, {key: tuple(floor.tolist()) for key, floor in floors.items()})


def _join_floors(before: NDArray[np.float64] | None, floor: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the larger of two floors, feature by feature.

    The rounding of a row by itself may be measured timestep by timestep where that of a batch is that of a flat result.
    """
    if before is None:
        return floor
    joined: NDArray[np.float64] = np.maximum(before if before.shape == floor.shape else before.max(initial=0.0), floor)
    return joined


def record_rounded(run: ModelRun, sample: int) -> Recording:
    """Record a run whose results are rounded randomly; ``sample`` is the seed."""
    errors = RoundingErrors(np.random.default_rng(5 + sample))

    def round_randomly(entry: CallRecord, tensors: list[Any]) -> list[Any] | None:
        # The results of calls inside this call are rounded already.
        return None if entry.calls else [errors.perturb(tensor, entry) for tensor in tensors]

    with name_step("rounding"):
        return run.vary(alter=round_randomly)


def find_uncertain_outputs(base: Recording, flow: MaskFlow, align: Alignment, tolerance: Tolerance) -> tuple[str, ...]:
    """Return the names of the outputs whose measured rounding error is so large that a leak may be smaller."""
    names = []
    for position, (name, tensor) in enumerate(list_output_tensors(base.output)):
        floor = tolerance.by_feature.get((0, position))
        aligned = align_results(tensor, flow.valid.get(id(tensor)), tensor, align) if floor else None
        if not floor or aligned is None or _is_zero(tensor, aligned.size_by_feature):
            continue
        if hides_leaks(aligned.size_by_feature, floor):
            names.append(name)
    return tuple(names)


def _is_zero(tensor: Any, sizes: NDArray[np.float64]) -> bool:
    """Return whether a result in float64 is nothing but the rounding of numbers that cancel."""
    return get_dtype(tensor) == "float64" and bool(sizes.max(initial=0.0) < ZERO_IN_FLOAT64.value)


def _measure_floors(
    base: Recording, rounded: Recording, flow: MaskFlow, align: Alignment, inner: bool
) -> Iterator[tuple[tuple[int, int], NDArray[np.float64]]]:
    """Yield for each result, by call and position, how far its features moved; the outputs belong to call 0."""
    results = [
        ((old.index, position), tensor, changed)
        for old, new in (pair_calls(base, rounded) if inner else ())
        if old.index  # Not the model itself.
        for position, tensor, changed in pair_results(old, new, flow, align)
    ]
    outputs = zip(list_output_tensors(base.output), list_output_tensors(rounded.output), strict=True)
    results += [((0, position), old, new) for position, ((_, old), (_, new)) in enumerate(outputs) if len(old.shape)]
    for key, tensor, changed in results:
        aligned = align_results(tensor, flow.valid.get(id(tensor)), changed, align)
        if aligned is None:
            continue
        # The change here is the error of this call and all before it, as it really propagates. Overflow to infinity
        # would allow any change, and so does not count.
        change = np.where(np.isfinite(aligned.change), aligned.change, 0.0)[aligned.counts].max(axis=0, initial=0.0)
        # One run is one sample of the error of a feature; others of its size, and a margin, cover less lucky ones.
        yield key, MONTE_CARLO_MARGIN.value * share_scales(aligned.size_by_feature, change)
