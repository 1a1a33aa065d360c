"""Does a later timestep change an earlier output?"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from maskcli.backends.choice import get_backend
from maskcli.probes.compare import pair_calls
from maskcli.probes.context import ProbeContext, make_context
from maskcli.probes.future_calls import MOST_CALLS, find_looking_calls
from maskcli.probes.future_matrix import (
    TimedOutput,
    TimestepMatrix,
    change_timesteps,
    find_timed_outputs,
    list_trials,
    make_timestep_matrix,
    record_trials,
)
from maskcli.probes.intent import Intent, infer_intent, may_be_causal
from maskcli.probes.local import is_timestepwise
from maskcli.probes.rounding import allow_one_ulp, estimate_rounding
from maskcli.probes.substitute import is_steady, name_owner
from maskcli.probes.variants import choose_moved_weights, compute_in_float32, compute_in_float64, move_weights
from maskcli.records.evidence import FutureEffect
from maskcli.records.leak import Probe
from maskcli.tolerance import ROUNDED_LOOK_AHEAD, Tolerance
from maskcli.trace.recorder import CallRecord, has_own_code
from maskcli.trace.run import ModelRun, list_output_tensors
from maskcli.trace.values import as_float64

_UNCERTAIN = "rounding moves results by as much as later timesteps may"


@dataclasses.dataclass(frozen=True)
class FutureResult:
    """The effects on the outputs with timesteps.

    Attributes:
        effects: for each output with timesteps.
        context: the context whose trace shows the calls at fault.
        why: the reason why the probe could not run; None if it ran.
    """

    effects: tuple[FutureEffect, ...]
    context: ProbeContext
    why: str | None = None


def probe_future(context: ProbeContext, causal: str | None, mixed: bool = False) -> FutureResult:
    """Measure how far later timesteps change earlier results, for each output with timesteps.

    Args:
        context: the run to probe.
        causal: the reason why the user means the model to be causal; None if there is none.
        mixed: whether rows change each other. Then a copy of a row with other content proves nothing.
    """
    if mixed:
        return _refuse(context, causal, "rows of the batch change each other")
    groups: dict[tuple[int, ...], list[TimedOutput]] = {}
    for output in find_timed_outputs(context):
        groups.setdefault(output.inputs, []).append(output)
    if not groups:
        return _refuse(context, causal, "no output has the timesteps of an input")
    encoders = _find_encoders(context, groups) if causal is not None and len(groups) > 1 else set()
    effects: list[FutureEffect] = []
    reasons = []
    for inputs, outputs in groups.items():
        measured = _measure(context, inputs, outputs)
        if not isinstance(measured, str) and not any(matrix.change.any() for matrix in measured[0]):
            measured = _measure_moved(context, inputs, outputs) or measured
        if isinstance(measured, str):
            reasons.append(measured)
            if causal is not None:
                effects += [_make_unknown(output.name, causal, measured) for output in outputs]
            continue
        request = None if inputs in encoders else causal
        context, results = _make_effects(context, inputs, outputs, measured, request)
        effects += results
    return FutureResult(tuple(effects), context, None if len(reasons) < len(groups) else reasons[0])


def make_future_probe(result: FutureResult) -> Probe:
    """Return the probe ``future`` for the list of probes: that of the output with the largest change.

    It only counts as a leak if the model is meant to be causal.
    """
    effects = [effect for effect in result.effects if effect.looks_ahead is not None]
    if not effects:
        reasons = [effect.why for effect in result.effects if effect.why is not None]
        return Probe("future", False, why=result.why or next(iter(reasons), "no output could be compared"))
    worst = max(effects, key=lambda effect: effect.max_abs_change)
    return Probe(
        name="future",
        applicable=True,
        leaks=any(effect.looks_ahead and effect.meant_causal is not None for effect in effects),
        max_abs_change=worst.max_abs_change,
        tolerance=worst.tolerance,
        first_call=worst.first_call,
        sample=worst.sample,
        timestep=worst.timestep,
        output=worst.output,
    )


def _find_encoders(context: ProbeContext, groups: Mapping[tuple[int, ...], list[TimedOutput]]) -> set[tuple[int, ...]]:
    """Return the inputs whose outputs serve a decoder, which may look at all of them: they are not meant to be causal.

    Other content of an encoder's input changes the outputs of the decoder, but not the other way round.
    """
    changes: dict[tuple[int, ...], set[tuple[int, ...]]] = {}
    for inputs in groups:
        rng = np.random.default_rng(10)
        everywhere = np.ones_like(context.inputs[inputs[0]].valid, bool)
        changed = context.run.vary(change_timesteps(context, context.inputs, inputs, everywhere, rng))
        if changed.error is not None:
            return set()
        before, after = (list_output_tensors(recording.output) for recording in (context.base, changed))
        changes[inputs] = {
            other
            for other, outputs in groups.items()
            if any(
                not np.array_equal(as_float64(before[output.position][1]), as_float64(after[output.position][1]))
                for output in outputs
            )
        }
    return {
        inputs
        for inputs in groups
        if any(other != inputs and other in changes[inputs] and inputs not in changes[other] for other in groups)
    }


def _refuse(context: ProbeContext, causal: str | None, why: str) -> FutureResult:
    effects = () if causal is None else (_make_unknown("", causal, why),)
    return FutureResult(effects, context, why)


def _make_unknown(name: str, causal: str, why: str) -> FutureEffect:
    return FutureEffect(name, None, 0.0, 0.0, None, None, None, None, causal, requested=True, why=why)


def _measure(
    context: ProbeContext, inputs: tuple[int, ...], outputs: list[TimedOutput]
) -> tuple[list[TimestepMatrix], Tolerance] | str:
    """Return the matrix of each output and the tolerance of each call, or the reason why there is none."""
    trials = list_trials(context, outputs[0])
    if not trials:
        return "no row has two valid timesteps"
    pairs = record_trials(context, inputs, outputs, trials)
    if isinstance(pairs, str):
        return pairs
    tight = allow_one_ulp(context.base.ended)
    pairs_of = list(zip(outputs, pairs, strict=True))
    matrices = [make_timestep_matrix(output, trials, pair, *tight.of(0, output.position)) for output, pair in pairs_of]
    if not any(matrix.ahead for matrix in matrices):
        return matrices, tight
    # Only a change is worth the runs that exclude other reasons for it: random numbers and rounding.
    measured = context.tolerance
    if not measured.by_feature and not is_steady(context):
        return "two runs on the same data differ"
    if measured.by_feature:  # The probes of the leak have measured the rounding of this run, after a second, equal one.
        tolerance = Tolerance(tight.relative, measured.floor, measured.by_feature)
    else:
        tolerance = estimate_rounding(context.run, context.flow, context.align(), tight)
    matrices = [
        make_timestep_matrix(output, trials, pair, *tolerance.of(0, output.position)) for output, pair in pairs_of
    ]
    return matrices, tolerance


def _measure_moved(
    context: ProbeContext, inputs: tuple[int, ...], outputs: list[TimedOutput]
) -> tuple[list[TimestepMatrix], Tolerance] | None:
    """Measure a model again with noise on its weights, where no timestep changes anything; None if that fails too.

    The weights of a new model may take off everything that the data adds, as a difference from a scale of 1 does.
    """
    with compute_in_float32(context.model), move_weights(context.model, choose_moved_weights(context.model), 1):
        moved = _run_again(context)
        measured = "another run" if moved is None else _measure(moved, inputs, outputs)
    return None if isinstance(measured, str) else measured


def _make_effects(
    context: ProbeContext,
    inputs: tuple[int, ...],
    outputs: list[TimedOutput],
    measured: tuple[list[TimestepMatrix], Tolerance],
    causal: str | None,
) -> tuple[ProbeContext, list[FutureEffect]]:
    """Return the effects on outputs, and the context whose trace shows the calls at fault.

    Saturated results, as of a normalisation of two features, and a softmax over nearly equal scores change so little
    that it may be rounding. A causal model changes nothing at all, so that only the other ones are measured again, in
    float64.
    """
    effects: list[FutureEffect] = []
    if any(matrix.faint for matrix in measured[0]):
        with get_backend().allow_float64(), compute_in_float64(context.model):
            exact = _run_again(context)
            again = "another run" if exact is None else _measure(exact, inputs, outputs)
            if exact is not None and not isinstance(again, str):
                for output, matrix, coarse in zip(outputs, again[0], measured[0], strict=True):
                    context, effect = _make_effect(context, output, matrix, again[1], causal, exact)
                    if effect.looks_ahead and _may_be_rounding(context, effect):
                        context, effect = _make_effect(context, output, coarse, measured[1], causal)
                    effects.append(effect)
                return context, effects
    for output, matrix in zip(outputs, measured[0], strict=True):
        context, effect = _make_effect(context, output, matrix, measured[1], causal)
        effects.append(effect)
    return context, effects


def _may_be_rounding(context: ProbeContext, effect: FutureEffect) -> bool:
    """Return whether a change may be rounding in float32: a user's code may stay in float32."""
    if effect.max_abs_change > ROUNDED_LOOK_AHEAD.value:
        return False
    names = str(effect.first_call).split("/")
    return any(entry.name in names and has_own_code(entry.operation) for entry in context.base.entries)


def _run_again(context: ProbeContext) -> ProbeContext | None:
    """Return the context of a new run on the same inputs; None if it fails or makes other calls."""
    run = ModelRun(context.model, context.inputs)
    if run.recording.error is not None or not pair_calls(context.base, run.recording):
        return None
    return make_context(run, context.labels)


def _find_mixing_layer(context: ProbeContext, entry: CallRecord) -> CallRecord:
    """Return the layer in whose code timesteps mix, if the call is only the first one whose timesteps were followed.

    A projection treats each timestep by itself: its input was mixed before it, as by attention written by hand.
    """
    import keras

    parent = entry.parent
    if entry.code or parent is None or parent.parent is None or isinstance(parent.operation, keras.Model):
        return entry
    return parent if is_timestepwise(context, entry) else entry


def _make_effect(
    context: ProbeContext,
    output: TimedOutput,
    matrix: TimestepMatrix,
    tolerance: Tolerance,
    causal: str | None,
    exact: ProbeContext | None = None,
) -> tuple[ProbeContext, FutureEffect]:
    """Return the effect on one output, and the context whose trace shows the calls at fault.

    ``exact`` is the run that was measured, if it is not that of the context.
    """
    ahead = matrix.ahead
    uncertain = matrix.uncertain and ahead is None
    effect = FutureEffect(
        output=output.name,
        looks_ahead=None if uncertain else ahead is not None,
        max_abs_change=0.0,
        tolerance=matrix.tolerance,
        sample=None,
        timestep=None,
        by_timestep=None,
        first_call=None,
        meant_causal=causal,
        matrix=matrix.change.astype(np.float32),
        requested=causal is not None,
        block=matrix.block,
        timesteps=matrix.timesteps,
        shift=matrix.shift,
        why=_UNCERTAIN if uncertain else None,
    )
    if ahead is None:
        return context, effect
    # Where nothing asks for causality, looking at later timesteps is no fault, and the first such call shows it.
    is_possible = causal is not None or may_be_causal(context, output.valid)
    most = MOST_CALLS if is_possible else 1
    entries = find_looking_calls(exact or context, output, ahead, matrix.shift, tolerance, most)
    if exact is not None:
        same = {id(new): old for old, new in pair_calls(context.base, exact.base)}
        entries = [same[id(entry)] for entry in entries if id(entry) in same]
    calls: list[str] = []
    for entry in entries:
        context, path = name_owner(context, _find_mixing_layer(context, entry))
        if path is not None and path not in calls:
            calls.append(path)
    intent = None
    if is_possible:
        intent = Intent(causal, requested=True) if causal else infer_intent(context, entries, output.valid)
    return context, dataclasses.replace(
        effect,
        max_abs_change=ahead.change,
        tolerance=ahead.tolerance,
        sample=int(context.labels[ahead.row]),
        timestep=ahead.timestep,
        by_timestep=ahead.by_timestep,
        first_call=next(iter(calls), None),
        calls=tuple(calls),
        meant_causal=None if intent is None else intent.reason,
        requested=intent is not None and intent.requested,
    )
