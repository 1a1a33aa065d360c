"""What is probed: a model with its data and its watched run, and how another run compares with that."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from maskcli.inputs.arguments import pack_arguments
from maskcli.probes.compare import (
    Alignment,
    Tolerance,
    bound_rounding,
    compare_outputs,
    compare_results,
    find_first_difference,
    pair_calls,
)
from maskcli.records.arrays import Bools
from maskcli.records.inputs import ModelInput
from maskcli.records.leak import Probe
from maskcli.trace.mask_flow import MaskFlow
from maskcli.trace.recorder import CallRecord, Recording, record_run
from maskcli.trace.rerun import perturb_by_rounding
from maskcli.trace.run import Run, trace_recording

ROUNDINGS = 4.0
"""Times the change that one random rounding made which are still taken for rounding."""


@dataclasses.dataclass(eq=False)
class ProbeContext:
    """A model with the data it is probed with, and its watched run on them.

    Attributes:
        model: the Keras model.
        inputs: what it is called with.
        run: its run on them.
        labels: ``(batch,)``, the rows of the data that these are.
        floors: by ``index`` of a call, how far the results of each call move when every number on the way is rounded
            anew; see ``estimate_rounding``.
        replaced: the run with other values at padding, once that was tried.
        free: a copy that takes any length, the model itself where it does; None where neither is to be had.
    """

    model: Any
    inputs: tuple[ModelInput, ...]
    run: Run
    labels: NDArray[np.intp]
    free: Any | None = None
    floors: dict[int, float] = dataclasses.field(default_factory=dict)
    replaced: Recording | None = None

    @property
    def base(self) -> Recording:
        """The watched run."""
        return self.run.watched

    @property
    def flow(self) -> MaskFlow:
        """What flows through it."""
        return self.run.flow

    @property
    def timed(self) -> tuple[ModelInput, ...]:
        """The inputs with timesteps."""
        return tuple(given for given in self.inputs if given.valid is not None)

    @property
    def counted(self) -> Bools:
        """``(batch,)``: rows with a valid timestep in every input; others have no result that could be wrong."""
        rows: Bools = np.ones(len(self.inputs[0].values), bool)
        for given in self.timed:
            assert given.valid is not None  # noqa: S101 - timed inputs have timesteps
            rows &= given.valid.any(axis=1)
        return rows

    @property
    def side(self) -> Literal["pre", "post"]:
        """Where padding is."""
        return find_padding_side(self.timed)

    @functools.cached_property
    def allowed(self) -> Tolerance:
        """What rounding may do where numbers are summed otherwise, as in rows of other lengths.

        It shares ``floors``, and so knows what is learnt of them later.
        """
        return Tolerance(bound_rounding(self.base.ended), self.floors)

    def align(self, rows: Any = None) -> Alignment:
        """Return how a run with these rows, by default all, lies to the base run."""
        chosen = np.arange(len(self.counted)) if rows is None else np.asarray(rows)
        return Alignment(chosen, self.side, self.counted, self.labels)


def find_padding_side(inputs: Sequence[ModelInput]) -> Literal["pre", "post"]:
    """Return where padding is: ``pre`` when a row with a valid timestep starts with padding."""
    for given in inputs:
        if given.valid is not None and (~given.valid[:, 0] & given.valid.any(axis=1)).any():
            return "pre"
    return "post"


def make_probe(
    name: str, subject: ProbeContext, other: Recording, align: Alignment, allowed: Tolerance | None = None
) -> Probe:
    """Return the probe that another run is: how far its outputs are from the base run's, and since which call."""
    allowed = subject.allowed if allowed is None else allowed
    apart = compare_outputs(subject.base, subject.flow, other, align, allowed)
    if apart is None:
        return Probe(name, False, why="no output can be compared: their shapes differ")
    first = find_first_difference(subject.base, subject.flow, other, align, allowed) if apart.counts else None
    return Probe(
        name=name,
        applicable=True,
        leaks=apart.counts,
        max_abs_change=apart.change,
        tolerance=apart.tolerance,
        first_call=find_path(subject, first[0]) if first else None,
        sample=apart.sample,
        timestep=apart.timestep,
        output=apart.output,
    )


def find_path(subject: ProbeContext, entry: CallRecord) -> str:
    """Return the path of a call; an operation of nobody's code is shown in the trace from now on."""
    if entry.index not in subject.run.names:
        shown = [each for each in subject.base.entries if each.code and each.index in subject.run.names]
        subject.run = trace_recording(subject.base, subject.inputs, [*shown, entry], subject.flow)
    return subject.run.names[entry.index]


def estimate_rounding(subject: ProbeContext) -> None:
    """Learn how far rounding alone moves the result of each call, by rounding every number on the way anew.

    Numbers that cancel, or that a normalisation divides by almost nothing, carry rounding errors far beyond what their
    own magnitude tells. This is Monte Carlo arithmetic (Parker, 1997) with one run: each float that a call returns is
    multiplied by ``1 + eps * sqrt(n) * N(0, 1)``, n the longest axis that the call may have summed over.
    """
    chance = np.random.default_rng(5)

    def alter(entry: CallRecord, tensors: list[Any]) -> list[Any] | None:
        return None if entry.calls else [perturb_by_rounding(tensor, entry, chance) for tensor in tensors]

    other = record_run(subject.model, pack_arguments(subject.model, subject.inputs), alter=alter)
    if other.error is not None:
        return
    for one, two in pair_calls(subject.base, other):
        apart = compare_results(one, two, subject.flow, subject.align())
        moved = [each.change for each in apart if np.isfinite(each.change)]
        subject.floors[one.index] = ROUNDINGS * max(moved, default=0.0)
    outputs = compare_outputs(subject.base, subject.flow, other, subject.align(), subject.allowed)
    if outputs is not None and np.isfinite(outputs.change):
        subject.floors[0] = ROUNDINGS * outputs.change
