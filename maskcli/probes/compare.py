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
        relevant: ``(n_base_rows,)``, rows whose results count; a row without a valid timestep has none.
        labels: ``(n_base_rows,)``, the rows of the data that the base run has.
    """

    rows: NDArray[np.intp]
    side: Literal["pre", "post"]
    relevant: Bools
    labels: NDArray[np.intp]


def measure_difference(
    base: Any,
    valid: Bools | None,
    changed: Any,
    align: Alignment,
    relative: float,
    floor: float = 0.0,
    output: str = "",
) -> Difference | None:
    """Return how far ``changed`` is from ``base`` where results count; None if their shapes do not match.

    Args:
        base: a tensor of the base run.
        valid: ``(batch, timesteps)``, its valid timesteps; None for a result without timesteps.
        changed: the same tensor of another run.
        align: how the runs correspond.
        relative: the tolerance, as a part of the largest number.
        floor: the smallest tolerance.
        output: the name of the output, for the record.
    """
    old, new = as_float64(base)[align.rows], as_float64(changed)
    if valid is not None and old.ndim > 1 and new.ndim == old.ndim:
        # The timesteps that both have are compared: the first ones with post-padding, the last ones with pre-padding.
        shorter = min(old.shape[1], new.shape[1])
        columns = slice(0, shorter) if align.side == "post" else slice(-shorter, None)
        start = 0 if align.side == "post" else old.shape[1] - shorter
        old, new, counts = old[:, columns], new[:, columns], valid[align.rows][:, columns]
    else:
        start, counts = 0, np.ones(old.shape[:1], bool)
    counts = counts & align.relevant[align.rows].reshape(-1, *[1] * (counts.ndim - 1))
    if old.shape != new.shape or not counts.any():
        return None
    change = measure_change(old, new).reshape(*counts.shape, -1).max(axis=-1, initial=0.0)
    change[~counts] = -1.0
    place = np.unravel_index(int(change.argmax()), change.shape)
    largest = np.abs(old[counts], where=np.isfinite(old[counts]), out=np.zeros_like(old[counts])).max(initial=0.0)
    return Difference(
        change=float(change[place]),
        tolerance=max(relative * float(largest), floor),
        sample=int(align.labels[align.rows[place[0]]]),
        timestep=int(place[1]) + start if len(place) > 1 else None,
        output=output,
    )


def measure_change(old: NDArray[np.float64], new: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return absolute differences; two NaN are equal, and NaN is infinitely far from any number."""
    same = (old == new) | (np.isnan(old) & np.isnan(new))
    with np.errstate(invalid="ignore"):  # Two infinities.
        change = np.where(same, 0.0, np.abs(old - new))
    return np.where(np.isnan(change), np.inf, change)


def find_worst(differences: Iterable[Difference | None]) -> Difference | None:
    """Return the difference that exceeds its tolerance most; None if there is none."""
    measured = (difference for difference in differences if difference is not None)
    return max(measured, key=lambda difference: difference.excess, default=None)


def compare_outputs(
    base: Recording, flow: MaskFlow, changed: Recording, align: Alignment, tolerance: Tolerance
) -> Difference | None:
    """Return the worst difference of the outputs of two runs; None if no output can be compared."""
    pairs = zip(list_output_tensors(base.output), list_output_tensors(changed.output), strict=True)
    return find_worst(
        measure_difference(old, flow.valid.get(id(old)), new, align, *tolerance.at(0), name)
        for (name, old), (_, new) in pairs
        if len(old.shape)
    )


def compare_results(
    old: CallRecord, new: CallRecord, flow: MaskFlow, align: Alignment, relative: float = 0.0, floor: float = 0.0
) -> Iterator[Difference]:
    """Yield the differences of the results of one call in two runs, where a result belongs to a sample."""
    for tensor, changed in zip(old.outputs, new.outputs, strict=False):
        if not len(tensor.shape) or (id(tensor) not in flow.valid and id(tensor) not in flow.pooled):
            continue
        if tensor.shape[0] != len(align.relevant) or changed.shape[0] != len(align.rows):
            continue
        difference = measure_difference(tensor, flow.valid.get(id(tensor)), changed, align, relative, floor)
        if difference is not None:
            yield difference


def find_first_difference(
    base: Recording, flow: MaskFlow, changed: Recording, align: Alignment, tolerance: Tolerance
) -> CallRecord | None:
    """Return the first call, in the order of the data, whose result differs where results count."""
    for old, new in pair_calls(base, changed):
        for difference in compare_results(old, new, flow, align, *tolerance.at(old.index)):
            if difference.counts:
                return old
    return None


def pair_calls(base: Recording, changed: Recording) -> list[tuple[CallRecord, CallRecord]]:
    """Return the calls of two runs in pairs; empty if the runs made different calls.

    Other shapes may take other paths through code outside of layers; then only the calls of layers are paired.
    """
    for with_code in (True, False):
        old, new = ([entry for entry in run.ended if with_code or not entry.code] for run in (base, changed))
        if [entry.type for entry in old] == [entry.type for entry in new]:
            return list(zip(old, new, strict=True))
    return []
