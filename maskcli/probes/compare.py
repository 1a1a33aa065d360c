"""Compare two runs of one model, call by call, and find the first difference."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Bools
from maskcli.tolerance import Tolerance
from maskcli.trace.mask_flow import MaskFlow
from maskcli.trace.recorder import CallRecord, Recording
from maskcli.trace.run import list_output_tensors
from maskcli.trace.values import as_float64


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
        side: where padding is; tensors of unequal length are cut to the shorter one there.
        counted: ``(n_base_rows,)``, rows whose results count; a row without a valid timestep has none.
        labels: ``(n_base_rows,)``, the rows of the data that the base run has.
    """

    rows: NDArray[np.intp]
    side: Literal["pre", "post"]
    counted: Bools
    labels: NDArray[np.intp]


def measure_difference(
    base: Any,
    valid: Bools | None,
    other: Any,
    align: Alignment,
    relative: float,
    floor: float = 0.0,
    output: str = "",
) -> Difference | None:
    """Return how far ``other`` is from ``base`` where results count; None if their shapes do not match.

    Args:
        base: a tensor of the base run.
        valid: ``(batch, timesteps)``, its valid timesteps; None for a result without timesteps.
        other: the same tensor of another run.
        align: how the runs correspond.
        relative: the tolerance, as a part of the largest number.
        floor: the smallest tolerance.
        output: the name of the output, for the record.
    """
    one, two = as_float64(base)[align.rows], as_float64(other)
    if valid is not None and one.ndim > 1 and two.ndim == one.ndim:
        # Of two lengths, the timesteps that both have are compared: the first ones if padding is behind them.
        shorter = min(one.shape[1], two.shape[1])
        columns = slice(0, shorter) if align.side == "post" else slice(-shorter, None)
        start = 0 if align.side == "post" else one.shape[1] - shorter
        one, two, counted = one[:, columns], two[:, columns], valid[align.rows][:, columns]
    else:
        start, counted = 0, np.ones(one.shape[:1], bool)
    counted = counted & align.counted[align.rows].reshape(-1, *[1] * (counted.ndim - 1))
    if one.shape != two.shape or not counted.any():
        return None
    change = measure_change(one, two).reshape(*counted.shape, -1).max(axis=-1, initial=0.0)
    change[~counted] = -1.0
    place = np.unravel_index(int(change.argmax()), change.shape)
    largest = np.abs(one[counted], where=np.isfinite(one[counted]), out=np.zeros_like(one[counted])).max(initial=0.0)
    return Difference(
        change=float(change[place]),
        tolerance=max(relative * float(largest), floor),
        sample=int(align.labels[align.rows[place[0]]]),
        timestep=int(place[1]) + start if len(place) > 1 else None,
        output=output,
    )


def measure_change(one: NDArray[np.float64], two: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return absolute differences; two NaN are equal, and NaN is infinitely far from any number."""
    same = (one == two) | (np.isnan(one) & np.isnan(two))
    with np.errstate(invalid="ignore"):  # Two infinities.
        change = np.where(same, 0.0, np.abs(one - two))
    return np.where(np.isnan(change), np.inf, change)


def find_worst(differences: Iterable[Difference | None]) -> Difference | None:
    """Return the difference that exceeds its tolerance most; None if there is none."""
    measured = (difference for difference in differences if difference is not None)
    return max(measured, key=lambda difference: difference.excess, default=None)


def compare_outputs(
    base: Recording, flow: MaskFlow, other: Recording, align: Alignment, tolerance: Tolerance
) -> Difference | None:
    """Return the worst difference of the outputs of two runs; None if no output can be compared."""
    pairs = zip(list_output_tensors(base.output), list_output_tensors(other.output), strict=True)
    return find_worst(
        measure_difference(one, flow.valid.get(id(one)), two, align, *tolerance.at(0), name)
        for (name, one), (_, two) in pairs
        if len(one.shape)
    )


def compare_results(
    one: CallRecord, two: CallRecord, flow: MaskFlow, align: Alignment, relative: float = 0.0, floor: float = 0.0
) -> Iterator[Difference]:
    """Yield the differences of the results of one call in two runs, where a result belongs to a sample."""
    for tensor, other in zip(one.outputs, two.outputs, strict=False):
        if not len(tensor.shape) or (id(tensor) not in flow.valid and id(tensor) not in flow.pooled):
            continue
        if tensor.shape[0] != len(align.counted) or other.shape[0] != len(align.rows):
            continue
        difference = measure_difference(tensor, flow.valid.get(id(tensor)), other, align, relative, floor)
        if difference is not None:
            yield difference


def find_first_difference(
    base: Recording, flow: MaskFlow, other: Recording, align: Alignment, tolerance: Tolerance
) -> CallRecord | None:
    """Return the first call, in the order of the data, whose result differs where results count."""
    for one, two in pair_calls(base, other):
        for difference in compare_results(one, two, flow, align, *tolerance.at(one.index)):
            if difference.counts:
                return one
    return None


def pair_calls(base: Recording, other: Recording) -> list[tuple[CallRecord, CallRecord]]:
    """Return the calls of two runs in pairs; empty if the runs made different calls.

    Other shapes may take other paths through code outside of layers; then only the calls of layers are paired.
    """
    for with_code in (True, False):
        one, two = ([entry for entry in run.ended if with_code or not entry.code] for run in (base, other))
        if [entry.type for entry in one] == [entry.type for entry in two]:
            return list(zip(one, two, strict=True))
    return []
