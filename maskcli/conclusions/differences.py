"""Differences of two calls or outputs, each side with its own rounding."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
from numpy.typing import NDArray

from maskcli.probes.compare import measure_change
from maskcli.records.comparison import CallDifference
from maskcli.records.inputs import is_same_validity
from maskcli.records.sides import SideCall, SideOutput, SideResult


def compare_calls(first: SideCall | None, other: SideCall | None) -> CallDifference | None:
    """Return how two calls differ; None if they are equal within rounding."""
    if first is None or other is None:
        return "missing"
    if first.shapes != other.shapes:
        return "shape"
    masks = ((first.mask_in, other.mask_in), (first.mask_out, other.mask_out))
    if not all(itertools.starmap(is_same_validity, masks)):
        return "mask"
    return "result" if have_different_results(first, other) else None


def have_different_results(first: SideCall, other: SideCall) -> bool:
    """Return whether any result of two calls differs by more than rounding, or in its shape."""
    return any(measured is None or measured.counts for measured in map(measure_results, first.results, other.results))


@dataclasses.dataclass(frozen=True)
class Measured:
    """The largest difference of two arrays, and its place.

    Attributes:
        change: the largest difference, of those beyond rounding if there are any.
        tolerance: the largest difference that counts as rounding there.
        place: its index; empty for single numbers.
    """

    change: float
    tolerance: float
    place: tuple[int, ...]

    @property
    def counts(self) -> bool:
        """Whether it is more than rounding."""
        return self.change > self.tolerance


def measure_results(first: SideResult | SideOutput, other: SideResult | SideOutput) -> Measured | None:
    """Return the largest difference of two results; None if their shapes differ."""
    if first.values.shape != other.values.shape:
        return None
    if not first.values.size:
        return Measured(0.0, 0.0, ())
    change = measure_change(first.values.astype(np.float64), other.values.astype(np.float64))
    tolerance = np.broadcast_to(_sum_tolerances(first, other), change.shape)
    over = change > tolerance
    place = np.unravel_index(
        int(np.where(over, change, -1.0).argmax() if over.any() else change.argmax()), change.shape
    )
    return Measured(float(change[place]), float(tolerance[place]), tuple(int(index) for index in place))


def _sum_tolerances(first: SideResult | SideOutput, other: SideResult | SideOutput) -> NDArray[np.float64]:
    """Return how far both sides may be off by rounding, for each feature; each side rounds by itself."""
    tolerances = np.asarray(first.tolerance, np.float64) + np.asarray(other.tolerance, np.float64)
    return tolerances if first.values.ndim > 1 else tolerances[:1]
