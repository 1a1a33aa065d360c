"""Does the model compute the same as a compiled function, which ``fit`` and ``predict`` run?

An eager run shows every mask. A compiled function is traced with other tensors, and code may treat these differently:
on JAX, an array that an operation returns unchanged keeps its mask, and the tensor that stands for it does not.

The rows are compared as a padded batch, and then each by itself, which may take another path. All of them run in one
compiled function. On TensorFlow it takes any number of rows and timesteps, and a row runs as a batch of one, without
its padding. Other backends compile a function for each shape, so that a row fills a batch of the same shape with
copies.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from maskcli.backends.choice import get_backend
from maskcli.inputs.arguments import pack_arguments, select_rows
from maskcli.probes.compare import (
    Alignment,
    Difference,
    compare_outputs,
    find_validity_of_pair,
    find_worst,
    measure_difference,
)
from maskcli.probes.context import ProbeContext
from maskcli.probes.lengths import has_fixed_length, loses_all_timesteps
from maskcli.probes.substitute import is_steady
from maskcli.records.arrays import Bools
from maskcli.records.evidence import CompiledDifference
from maskcli.records.inputs import ModelInput
from maskcli.records.leak import Probe
from maskcli.trace.compiled import ArgumentShapes, CompiledModel, describe_failure, find_unequal_mask, run_eagerly
from maskcli.trace.outputs import find_fixed_batch
from maskcli.trace.recorder import Recording, is_of_keras
from maskcli.trace.run import list_output_tensors

ONLY_KERAS = "Keras's own layers run the same operations eagerly and compiled"
RUNS_EAGERLY = "on {title}, fit and predict run a model eagerly unless it is compiled with jit_compile=True"
RUN_EAGERLY = "the model is compiled with run_eagerly=True, so that fit and predict run it eagerly"
_MISCOUNTS = "a TimeDistributed returns another number of timesteps if it is compiled for any"
_RANDOM = "two runs on the same data differ"
_NO_ROWS = "no output has a result for each row"


@dataclasses.dataclass(frozen=True, eq=False)
class CompiledResult:
    """The answer of the probe.

    Attributes:
        difference: the result that differs most; None if none does.
        max_abs_change: the largest difference; None if the probe could not run.
        why: the reason why the probe could not run.
        fails: whether the reason is an error of the model.
        miscounting: the indices of the calls of ``TimeDistributed`` that return another number of timesteps if they are
            compiled for any; the model is compared without this fault of theirs.
    """

    difference: CompiledDifference | None
    max_abs_change: float | None = None
    why: str | None = None
    fails: bool = False
    miscounting: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class _Trial:
    """Inputs that run eagerly and compiled.

    Attributes:
        inputs: of the model.
        row: the row of the probed run that runs by itself; None for all rows.
        start: the timestep of the batch with which the inputs begin; None if they have all of them.
    """

    inputs: tuple[ModelInput, ...]
    row: int | None = None
    start: int | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class _Outcome:
    """The difference of a trial.

    Attributes:
        trial: the inputs.
        difference: the largest difference of an output; None if none can be compared.
        shapes: of an output whose shape differs, eagerly and compiled; None if there is none.
        failed: the compiled run, if that failed; else None.
    """

    trial: _Trial
    difference: Difference | None = None
    shapes: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    failed: Recording | None = None

    @property
    def counts(self) -> bool:
        """Whether there is a difference that is more than rounding."""
        return self.difference is not None and self.difference.counts


def probe_compiled(context: ProbeContext, also_keras: bool = False) -> CompiledResult:
    """Run the model as a compiled function, and compare its results at valid timesteps.

    Args:
        context: the run to compare with.
        also_keras: whether a model of Keras's own layers is compiled as well, where the backend needs no proof.
    """
    miscounting = tuple(_find_miscounting(context))
    return dataclasses.replace(_probe(context, also_keras, bool(miscounting)), miscounting=miscounting)


def _find_miscounting(context: ProbeContext) -> Iterator[int]:
    """Yield the calls of ``TimeDistributed`` that return another number of timesteps if they are compiled for any.

    In Keras 3.15 on TensorFlow, these are as many as there are rows.
    """
    import keras

    backend = get_backend()
    if not backend.has_free_shapes or not backend.list_compiled_steps(context.run.model) or has_fixed_length(context):
        return
    for entry in context.base.ended:
        if not isinstance(entry.operation, keras.layers.TimeDistributed) or not entry.inputs or not entry.outputs:
            continue
        # As many rows as timesteps would hide the fault.
        vectors = entry.inputs[0] if entry.inputs[0].shape[0] != entry.inputs[0].shape[1] else entry.inputs[0][:-1]
        run = CompiledModel(entry.operation, ((None, None, *vectors.shape[2:]),)).run(vectors)
        counted = None if run.error is not None else tuple(keras.tree.flatten(run.output)[0].shape[:2])
        if counted is not None and counted != tuple(vectors.shape[:2]):
            yield entry.index


def _probe(context: ProbeContext, also_keras: bool, miscounts: bool) -> CompiledResult:
    """Compare the model with a compiled function, of one number of timesteps if some layer miscounts these."""
    has_code, model = _has_code(context.base), context.run.model
    why = _find_reason(model, also_keras or has_code)
    if why is not None:
        return CompiledResult(None, why=why)
    steps = get_backend().list_compiled_steps(model)
    compiled, run = _run_batch(context, has_code, miscounts)
    if run.error is not None:
        return CompiledResult(None, why=describe_failure(run, steps), fails=True)
    worst = compare_outputs(context.base, context.flow, run, context.align(), context.tolerance)
    if worst is None:
        return CompiledResult(None, why=_NO_ROWS)
    outcome = _Outcome(_Trial(context.inputs), worst)
    # Keras's own layers look at no values, so that a row by itself takes the same path through them.
    if not worst.counts and has_code:
        outcome = _compare_alone(context, compiled, outcome)
    if outcome.failed is not None:
        return CompiledResult(None, why=describe_failure(outcome.failed, steps), fails=True)
    if outcome.difference is None or not outcome.counts:
        return CompiledResult(None, worst.change if outcome.difference is None else outcome.difference.change)
    return _conclude(context, outcome, outcome.difference, compiled, miscounts)


def _conclude(
    context: ProbeContext, outcome: _Outcome, difference: Difference, compiled: CompiledModel, miscounts: bool
) -> CompiledResult:
    """Return the answer for results that differ."""
    if not is_steady(context):
        return CompiledResult(None, why=_RANDOM)
    described = _describe(context, outcome, difference, compiled)
    if miscounts and described.only_any_shape and described.first_call is None:
        return CompiledResult(None, why=_MISCOUNTS)
    return CompiledResult(described, described.max_abs_change)


def _find_reason(model: Any, also_keras: bool) -> str | None:
    """Return the reason why nothing is to be compared; None if a compiled function is to run."""
    backend = get_backend()
    if not backend.list_compiled_steps(model):
        return RUN_EAGERLY if backend.compiles_steps else RUNS_EAGERLY.format(title=backend.title)
    return None if also_keras or backend.is_stateless else ONLY_KERAS


def _run_batch(context: ProbeContext, has_code: bool, miscounts: bool) -> tuple[CompiledModel, Recording]:
    """Return the freest compiled function that runs, and its run on all rows."""
    arguments = pack_arguments(context.model, context.inputs)
    for shapes in _list_shapes(context, has_code, miscounts):
        compiled = CompiledModel(context.model, shapes)
        run = compiled.run(arguments)
        if run.error is None:
            break
    return compiled, run


def _list_shapes(context: ProbeContext, has_code: bool, miscounts: bool) -> Iterator[ArgumentShapes | None]:
    """Yield the shapes to compile for, the freest first; code of a model may need the numbers of some axes."""
    import keras

    if has_code and get_backend().has_free_shapes and find_fixed_batch(context.model) is None:
        timed = {id(item.values) for item in context.inputs if item.valid is not None}
        arrays = keras.tree.flatten(pack_arguments(context.model, context.inputs))
        for lengths in ((),) if miscounts or has_fixed_length(context) else (timed, ()):
            yield tuple(
                (None, None, *array.shape[2:]) if id(array) in lengths else (None, *array.shape[1:]) for array in arrays
            )
    yield None


# Rows by themselves.


def _compare_alone(context: ProbeContext, compiled: CompiledModel, batch: _Outcome) -> _Outcome:
    """Return the first row by itself whose results differ or fail; else the largest difference, also of the batch."""
    largest = batch
    for trials in _isolate_rows(context, compiled):
        # A row that does not run without its padding runs with it.
        outcomes = (_try(context, trial, compiled) for trial in trials)
        outcome = next((outcome for outcome in outcomes if outcome is not None), None)
        if outcome is None:
            continue
        if outcome.counts or outcome.failed is not None:
            return outcome
        largest = max(largest, outcome, key=lambda tried: -1.0 if tried.difference is None else tried.difference.change)
    return largest


def _isolate_rows(context: ProbeContext, compiled: CompiledModel) -> Iterator[list[_Trial]]:
    """Yield, for each row whose results count, the ways to run it by itself."""
    rows, known = len(context.relevant), set()
    any_length = any(shape[1:2] == (None,) for shape in compiled.shapes or ())
    for row in np.flatnonzero(context.relevant):
        copies = [row] * (rows if compiled.shapes is None else 1)
        inputs = tuple(select_rows(model_input, copies) for model_input in context.inputs)
        content = b"".join(model_input.values[0].tobytes() for model_input in inputs)
        if content in known:
            continue
        known.add(content)
        padded = _Trial(inputs, int(row))
        trimmed = _trim(inputs, int(row)) if any_length else None
        if trimmed is not None:
            yield [trimmed, padded]
        elif rows > 1:
            yield [padded]


def _trim(inputs: Sequence[ModelInput], row: int) -> _Trial | None:
    """Return one row without its padding; None if there is none at its ends, or also some elsewhere."""
    places = [None if item.valid is None else np.flatnonzero(item.valid[0]) for item in inputs]
    spans = [slice(None) if valid is None else slice(int(valid[0]), int(valid[-1]) + 1) for valid in places]
    trimmed = tuple(select_rows(item, slice(0, 1), span) for item, span in zip(inputs, spans, strict=True))
    is_partial = any(item.cells is not None or (item.valid is not None and not item.valid.all()) for item in trimmed)
    if is_partial or all(new.shape == old.shape for new, old in zip(trimmed, inputs, strict=True)):
        return None
    return _Trial(trimmed, row, min(span.start for span in spans if span.start is not None))


def _try(context: ProbeContext, trial: _Trial, compiled: CompiledModel) -> _Outcome | None:
    """Return the difference of one trial; None if the model does not run on it, or no output can be compared."""
    model, arguments = context.model, pack_arguments(context.model, trial.inputs)
    eager = run_eagerly(model, arguments)
    if eager.error is not None:
        return None
    run = compiled.run(arguments)
    if run.error is not None and compiled.shapes is not None:
        run = CompiledModel(model).run(arguments)
    if run.error is not None:
        return _Outcome(trial, failed=run)
    outcome = _compare(context, trial, eager, run)
    if outcome.counts and trial.start is not None and loses_all_timesteps(context.base, context.run.vary(trial.inputs)):
        return None
    return outcome


def _compare(context: ProbeContext, trial: _Trial, eager: Recording, run: Recording) -> _Outcome:
    """Return how far the results of a row by itself differ, where they count."""
    outputs = (list_output_tensors(recording.output) for recording in (context.base, eager, run))
    rows = len(trial.inputs[0].values)
    labels = np.full(rows, context.labels[trial.row])
    align = Alignment(np.arange(rows), context.side, np.ones(rows, bool), labels)
    differences = []
    for position, ((name, base), (_, old), (_, new)) in enumerate(zip(*outputs, strict=True)):
        if not len(base.shape) or base.shape[0] != len(context.relevant):
            continue
        shapes = tuple(old.shape), tuple(new.shape)
        if shapes[0] != shapes[1]:
            return _Outcome(trial, Difference(math.inf, 0.0, int(labels[0]), None, name), shapes)
        valid, _ = find_validity_of_pair(base, base, context.flow, context.align())
        counts = None if valid is None else _select_validity(valid, trial, shapes[0])
        differences.append(measure_difference(old, counts, new, align, *context.tolerance.of(0, position), name))
    return _Outcome(trial, find_worst(differences))


def _select_validity(valid: Bools, trial: _Trial, shape: tuple[int, ...]) -> Bools | None:
    """Return the valid timesteps of the result of a row by itself; without its padding, all are valid."""
    if trial.start is not None:
        return np.ones(shape[: valid.ndim], bool)
    same = np.repeat(valid[trial.row][None], shape[0], axis=0)
    return same if same.shape == shape[: valid.ndim] else None


# The finding.


def _describe(
    context: ProbeContext, outcome: _Outcome, difference: Difference, compiled: CompiledModel
) -> CompiledDifference:
    """Return the difference with its cause: a mask, or a function that takes arguments of any shape."""
    model, trial, timestep = context.model, outcome.trial, difference.timestep
    arguments = pack_arguments(model, trial.inputs)
    path = find_unequal_mask(model, arguments, compiled.shapes)
    call = next((call for call in context.trace.calls if call.call == path), None)
    return CompiledDifference(
        max_abs_change=difference.change,
        tolerance=difference.tolerance,
        sample=difference.sample,
        timestep=None if timestep is None else timestep + (trial.start or 0),
        output=difference.output,
        first_call=None if call is None else call.call,
        has_mask=call is not None and any(mask is not None for mask in (*call.masks_in, call.mask_in)),
        alone=trial.row is not None,
        only_any_shape=compiled.shapes is not None and not _differs_at_shape(context, trial),
        shapes=outcome.shapes,
        steps=get_backend().list_compiled_steps(model),
    )


def _differs_at_shape(context: ProbeContext, trial: _Trial) -> bool:
    """Return whether a function that is compiled for the shapes of these very inputs differs, too, or fails."""
    arguments = pack_arguments(context.model, trial.inputs)
    run = CompiledModel(context.model).run(arguments)
    if run.error is not None:
        return True
    if trial.row is not None:
        return _compare(context, trial, run_eagerly(context.model, arguments), run).counts
    worst = compare_outputs(context.base, context.flow, run, context.align(), context.tolerance)
    return worst is not None and worst.counts


def _has_code(recording: Recording) -> bool:
    """Return whether a model runs code that is not Keras's."""
    named = (entry for entry in recording.entries if not entry.code)
    return any(not is_of_keras(type(entry.operation)) or entry.type == "Lambda" for entry in named)


def make_compiled_probe(result: CompiledResult) -> Probe:
    """Return the probe ``compiled`` for the list of probes."""
    difference = result.difference
    if result.why is not None:
        return Probe("compiled", False, why=result.why)
    if difference is None:
        return Probe("compiled", True, max_abs_change=result.max_abs_change)
    return Probe(
        name="compiled",
        applicable=True,
        leaks=True,
        max_abs_change=difference.max_abs_change,
        tolerance=difference.tolerance,
        first_call=difference.first_call,
        sample=difference.sample,
        timestep=difference.timestep,
    )
