"""Two runs of one model set against each other, call by call: where does the first difference appear?"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Bools
from maskcli.trace.mask_flow import MaskFlow
from maskcli.trace.recorder import CallRecord, Recording
from maskcli.trace.run import list_output_tensors
from maskcli.trace.values import EPSILON, as_float64, get_dtype

MARGIN = 8.0
"""Standard deviations of a rounding error that are still taken for one."""


@dataclasses.dataclass(frozen=True)
class Difference:
    """How far two tensors are apart where it counts, and how far rounding alone may take them.

    ``sample`` and ``timestep`` are where they are farthest apart; ``timestep`` is None for a pooled result.
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
        """How many times the tolerance it is, for choosing the worst."""
        return self.change / self.tolerance if self.tolerance else math.inf if self.change else 0.0


@dataclasses.dataclass(frozen=True, eq=False)
class Alignment:
    """Which part of a base run another run shows.

    Attributes:
        rows: the rows of the base run that the other run has.
        side: where padding is: tensors of unequal length are cut to the shorter one there.
        counted: ``(n_base_rows,)``, rows whose results count; one without a valid timestep has none.
        labels: ``(n_base_rows,)``, the rows of the data that the base run has.
    """

    rows: NDArray[np.intp]
    side: Literal["pre", "post"]
    counted: Bools
    labels: NDArray[np.intp]


@dataclasses.dataclass(frozen=True, eq=False)
class Tolerance:
    """What rounding may do to the result of each call, by its index: relative to the largest number, and at least."""

    relative: Mapping[int, float]
    floor: Mapping[int, float]

    def at(self, index: int) -> tuple[float, float]:
        """Return both for one call; the model itself has index 0."""
        return self.relative[index], self.floor.get(index, 0.0)


def allow_one_ulp(entries: Sequence[CallRecord]) -> Tolerance:
    """Allow one unit in the last place of the largest number: for runs that sum the same numbers in the same order."""
    found, epsilon = {}, 0.0
    for entry in entries:
        epsilon = max(
            epsilon, *(EPSILON.get(get_dtype(tensor), 0.0) for tensor in (*entry.inputs, *entry.outputs)), 0.0
        )
        found[entry.index] = epsilon
    return Tolerance(found, {})


def bound_rounding(entries: Sequence[CallRecord]) -> dict[int, float]:
    """Return by index of each entry the relative error that rounding may have by then.

    Sums of n numbers are off by about ``eps * sqrt(n)`` relative to their largest, errors of k calls add up as
    ``sqrt(k)``, both as independent errors do; n is the longest axis that was summed so far. See Higham, Accuracy and
    Stability of Numerical Algorithms, section 2.8.
    """
    found, epsilon, longest = {}, 0.0, 1
    for count, entry in enumerate(entries, 1):
        for tensor in (*entry.inputs, *entry.outputs):
            epsilon = max(epsilon, EPSILON.get(get_dtype(tensor), 0.0))
            longest = max(longest, *(int(axis or 1) for axis in tensor.shape[1:]), 1)
        found[entry.index] = MARGIN * epsilon * math.sqrt(longest * count)
    return found


def measure_difference(
    base: Any,
    valid: Bools | None,
    other: Any,
    align: Alignment,
    relative: float,
    floor: float = 0.0,
    output: str = "",
) -> Difference | None:
    """Return how far ``other`` is from ``base`` where it counts; None when their shapes do not match.

    ``valid`` has the timesteps of ``base`` that are no padding, None for a result without timesteps. Rounding is
    allowed ``relative`` times the largest number, and no less than ``floor``.
    """
    one, two = as_float64(base)[align.rows], as_float64(other)
    if valid is not None and one.ndim > 1 and two.ndim == one.ndim:
        shorter = min(one.shape[1], two.shape[1])
        cut = slice(0, shorter) if align.side == "post" else slice(-shorter, None)
        starts = 0 if align.side == "post" else one.shape[1] - shorter
        one, two, counted = one[:, cut], two[:, cut], valid[align.rows][:, cut]
    else:
        starts, counted = 0, np.ones(one.shape[:1], bool)
    counted = counted & align.counted[align.rows].reshape(-1, *[1] * (counted.ndim - 1))
    if one.shape != two.shape or not counted.any():
        return None
    apart = _apart(one, two).reshape(*counted.shape, -1).max(axis=-1, initial=0.0)
    apart[~counted] = -1.0
    place = np.unravel_index(int(apart.argmax()), apart.shape)
    largest = np.abs(one[counted], where=np.isfinite(one[counted]), out=np.zeros_like(one[counted])).max(initial=0.0)
    return Difference(
        change=float(apart[place]),
        tolerance=max(relative * float(largest), floor),
        sample=int(align.labels[align.rows[place[0]]]),
        timestep=int(place[1]) + starts if len(place) > 1 else None,
        output=output,
    )


def _apart(one: NDArray[np.float64], two: NDArray[np.float64]) -> NDArray[np.float64]:
    same = (one == two) | (np.isnan(one) & np.isnan(two))
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(one - two))
    return np.where(np.isnan(apart), np.inf, apart)


def compare_outputs(
    base: Recording, flow: MaskFlow, other: Recording, align: Alignment, allowed: Tolerance
) -> Difference | None:
    """Return the worst difference of the outputs of two runs; None when no output can be compared."""
    pairs = zip(list_output_tensors(base.output), list_output_tensors(other.output), strict=True)
    found = [
        measure_difference(one, flow.valid.get(id(one)), two, align, *allowed.at(0), name)
        for (name, one), (_, two) in pairs
        if len(one.shape)
    ]
    return max((each for each in found if each is not None), key=lambda each: each.excess, default=None)


def compare_results(
    one: CallRecord, two: CallRecord, flow: MaskFlow, align: Alignment, relative: float = 0.0, floor: float = 0.0
) -> Iterator[Difference]:
    """Yield how far the results of a call in two runs are apart, of those that have a meaning for each sample."""
    for tensor, other in zip(one.outputs, two.outputs, strict=False):
        if not len(tensor.shape) or (id(tensor) not in flow.valid and id(tensor) not in flow.pooled):
            continue
        if tensor.shape[0] != len(align.counted) or other.shape[0] != len(align.rows):
            continue
        apart = measure_difference(tensor, flow.valid.get(id(tensor)), other, align, relative, floor)
        if apart is not None:
            yield apart


def find_first_difference(
    base: Recording, flow: MaskFlow, other: Recording, align: Alignment, allowed: Tolerance
) -> tuple[CallRecord, Difference] | None:
    """Return the first call, in the order of the data, whose result differs where it counts."""
    for one, two in pair_calls(base, other):
        for apart in compare_results(one, two, flow, align, *allowed.at(one.index)):
            if apart.counts:
                return one, apart
    return None


def pair_calls(base: Recording, other: Recording) -> list[tuple[CallRecord, CallRecord]]:
    """Return the calls of two runs in pairs; other shapes may take other ways through code that no layer owns."""
    for with_code in (True, False):
        one, two = ([entry for entry in run.ended if with_code or not entry.code] for run in (base, other))
        if [entry.type for entry in one] == [entry.type for entry in two]:
            return list(zip(one, two, strict=True))
    return []
