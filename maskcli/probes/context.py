"""The subject of the probes: a run of a model, and the rules for comparing another run with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from maskcli.probes.compare import Alignment, compare_each_output, find_first_difference, find_worst
from maskcli.probes.rounding import bound_rounding
from maskcli.records.arrays import Bools
from maskcli.records.inputs import ModelInput
from maskcli.records.leak import Probe
from maskcli.tolerance import Tolerance
from maskcli.trace.mask_flow import MaskFlow
from maskcli.trace.recorder import CallRecord, Recording
from maskcli.trace.run import ModelRun, Run, list_output_tensors, trace_recording

LEFT_OUT = "left out of a quick check"
"""The reason why a probe did not run that is not needed to decide."""


@dataclasses.dataclass(frozen=True, eq=False)
class ProbeContext:
    """A run of a model that is probed by further runs.

    A context never changes: a function that learns something from a further run returns a new context.

    Attributes:
        run: the model, its inputs and its run on them.
        labels: ``(batch,)``, the rows of the data that these are.
        trace: the calls of the run that are shown, and where padding and masks go.
        tolerance: how far rounding may move results in runs of other shapes.
        quick: whether only the probes run that decide, each of them once.
    """

    run: ModelRun
    labels: NDArray[np.intp]
    trace: Run
    tolerance: Tolerance
    quick: bool = False

    @property
    def model(self) -> Any:
        """The Keras model."""
        return self.run.model

    @property
    def inputs(self) -> tuple[ModelInput, ...]:
        """The inputs that the model is called with."""
        return self.run.inputs

    @property
    def base(self) -> Recording:
        """The recorded run."""
        return self.run.recording

    @property
    def flow(self) -> MaskFlow:
        """Where padding and masks go in the run."""
        return self.trace.flow

    @property
    def with_timesteps(self) -> tuple[ModelInput, ...]:
        """The inputs with timesteps."""
        return tuple(model_input for model_input in self.inputs if model_input.valid is not None)

    @property
    def relevant(self) -> Bools:
        """``(batch,)``: rows with a valid timestep in every input; the results of other rows do not count."""
        rows: Bools = np.ones(len(self.inputs[0].values), bool)
        for model_input in self.with_timesteps:
            assert model_input.valid is not None  # noqa: S101 - these inputs have timesteps
            rows &= model_input.valid.any(axis=1)
        return rows

    @property
    def side(self) -> Literal["pre", "post"]:
        """Where padding is."""
        return find_padding_side(self.with_timesteps)

    def align(self, rows: Any = None, changed: MaskFlow | None = None) -> Alignment:
        """Return how a run with these rows, by default all, corresponds to the base run.

        ``changed`` is where padding is in that run, if it has other timesteps.
        """
        chosen = np.arange(len(self.relevant)) if rows is None else np.asarray(rows)
        return Alignment(chosen, self.side, self.relevant, self.labels, changed)


@dataclasses.dataclass(frozen=True)
class ProbeResult:
    """A probe, and the first call whose result differs.

    Calls get their paths when all probes are done.

    Attributes:
        probe: the probe, without the path of its first call.
        first: the first call whose result differs; None if no result does.
        also: such calls of further runs that the probe is based on.
        skipped: the outputs that could not be compared, although they have a result for each sample.
        fixed_content: whether only content that data cannot have makes a difference.
    """

    probe: Probe
    first: CallRecord | None = None
    also: tuple[CallRecord, ...] = ()
    skipped: tuple[str, ...] = ()
    fixed_content: bool = False

    @property
    def calls(self) -> tuple[CallRecord, ...]:
        """The calls that the trace must show."""
        return self.also if self.first is None else (*self.also, self.first)


def make_context(run: ModelRun, labels: NDArray[np.intp], quick: bool = False) -> ProbeContext:
    """Return the context of a run that no further run has been compared with.

    Raises:
        RaisedInCall: with the exception that the model raises.
    """
    tolerance = bound_rounding(run.recording.ended, run.recording.inputs)
    return ProbeContext(run, labels, run.trace, tolerance, quick)


def find_padding_side(inputs: Sequence[ModelInput]) -> Literal["pre", "post"]:
    """Return where padding is: ``pre`` if a row with a valid timestep starts with padding."""
    for model_input in inputs:
        valid = model_input.valid
        if valid is not None and (~valid[:, 0] & valid.any(axis=1)).any():
            return "pre"
    return "post"


def make_probe(
    name: str, context: ProbeContext, changed: Recording, align: Alignment, tolerance: Tolerance | None = None
) -> ProbeResult:
    """Return how far the outputs of another run are from those of the base run, and the first call that differs."""
    tolerance = context.tolerance if tolerance is None else tolerance
    compared = list(compare_each_output(context.base, context.flow, changed, align, tolerance))
    skipped = tuple(output for output, difference in compared if difference is None)
    worst = find_worst(difference for _, difference in compared)
    if worst is None:
        return ProbeResult(Probe(name, False, why="no output can be compared: their shapes differ"), skipped=skipped)
    probe = Probe(
        name=name,
        applicable=True,
        leaks=worst.counts,
        max_abs_change=worst.change,
        tolerance=worst.tolerance,
        sample=worst.sample,
        timestep=worst.timestep,
        output=worst.output,
    )
    if not worst.counts:
        return ProbeResult(probe, skipped=skipped)
    first = find_first_difference(context.base, context.flow, changed, align, tolerance)
    if first is None:  # The timesteps of the results before the output may not be known.
        outputs = dict(list_output_tensors(context.base.output))
        maker = context.flow.maker.get(id(outputs.get(worst.output or "")))
        first = maker if maker is not None and maker.parent is not None else None
    return ProbeResult(probe, first, skipped=skipped)


def show_calls(context: ProbeContext, entries: Iterable[CallRecord]) -> ProbeContext:
    """Return the context with these calls in its trace, which gives them paths.

    A call of a layer is always in it; an operation outside of layers only where it matters.
    """
    hidden = [entry for entry in entries if entry.index not in context.trace.names]
    if not hidden:
        return context
    code = [entry for entry in context.base.entries if entry.code and entry.index in context.trace.names]
    return dataclasses.replace(context, trace=trace_recording(context.base, context.flow, [*code, *hidden]))


def name_first_calls(context: ProbeContext, results: Iterable[ProbeResult]) -> tuple[Probe, ...]:
    """Return the probes with the paths of their first calls, which the trace must show."""
    names = context.trace.names
    return tuple(
        result.probe
        if result.first is None
        else dataclasses.replace(result.probe, first_call=names[result.first.index])
        for result in results
    )
