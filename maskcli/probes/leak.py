"""Does padding leak? Four probes of the whole model, and one of each call.

Each probe changes the padding and nothing else, and compares the results that count: outputs at valid timesteps, and
pooled outputs. No single probe finds every leak. Other content does not change a mean over repeated states; more
columns do not change a maximum; a row without its padding cannot run where the length is fixed. A model is only called
clean if the probes that ran can see both kinds of leaks: by the content of padding, and by its amount.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from maskcli.backends.arrays import as_array
from maskcli.backends.choice import get_backend
from maskcli.backends.masks import get_keras_mask, set_keras_mask
from maskcli.errors import summarize_error
from maskcli.inputs.arguments import select_rows
from maskcli.probes.added_padding import add_padding, shorten_rows, uses_mask
from maskcli.probes.compare import compare_outputs, find_validity_of_pair, pair_calls
from maskcli.probes.content import fill_with_content
from maskcli.probes.context import (
    LEFT_OUT,
    ProbeContext,
    ProbeResult,
    make_context,
    make_probe,
    name_first_calls,
    show_calls,
)
from maskcli.probes.empty_padding import drop_right_calls
from maskcli.probes.gradients import (
    PaddingGradient,
    TapedRun,
    compute_padding_gradient,
    merge_gradients,
    record_under_tape,
    split_rows,
)
from maskcli.probes.lengths import LengthProbes, RowsAlone, choose_worst, learn_lengths, run_rows_alone
from maskcli.probes.local import probe_calls
from maskcli.probes.padding_sources import PaddingSources, find_padding_sources, marks_nothing
from maskcli.probes.rounding import allow_one_ulp, estimate_rounding, find_uncertain_outputs
from maskcli.probes.variants import (
    HALF,
    allow_any_length,
    choose_moved_weights,
    compute_in_float32,
    compute_in_float64,
    move_weights,
)
from maskcli.records.arrays import Bools, Ints
from maskcli.records.inputs import ModelInput
from maskcli.records.leak import Leak, Probe, WeightsKind
from maskcli.tolerance import DOUBTFUL, HALF_RESULT, LEAST_LEAK, SMALL_LEAK, Tolerance
from maskcli.trace.outputs import find_fixed_batch
from maskcli.trace.recorder import CallRecord, Recording
from maskcli.trace.rerun import make_noise, replace_padding
from maskcli.trace.run import ModelRun, list_output_tensors
from maskcli.trace.steps import name_step
from maskcli.trace.values import as_float64, get_dtype, get_ulp, is_float

NAMES = ("replace", "alone", "columns", "gradient")

MUCH_PADDING = 32
"""Padded timesteps of which random numbers of one sign are enough: some of them exceed all valid ones."""
MOST_MOVED_ROWS = 8
"""Rows that run with other weights before all probes do."""
SHORT_ROWS = (2, 3)
"""Valid timesteps of rows that are cut."""
SMALL_STEPS = (0.01, 0.1, 0.5)
"""Parts of the way to other values at padding that confirm a gradient: the smallest may be lost in rounding."""
BOTH_SIGNS = (1, -1)
"""Factors of the noise at padding: a maximum only shows numbers that are larger than the valid ones."""
MANY_UNITS = 16
"""Units of a layer whose weights get noise of random signs, which does not hide a leak in all of them."""

_FIXED_CONTENT = "only values that the model never has at padding change the results"
_CHANGED_MASK = "with other values at padding the model computes another mask"
_NO_ROWS = "no row has a valid timestep in every input"
_RANDOM = "two runs on the same data differ: the model is random, or keeps a state that maskcli cannot restore"
_NOTHING = "nothing to prove: the data has no padding, and the model has no mask"
_IMPRECISE = "in half precision, rounding is as large as a leak, and the model does not compute in float32"
_UNCERTAIN = "rounding moves results by as much as a leak may"


@dataclasses.dataclass(frozen=True, eq=False)
class LeakResult:
    """The verdict on a leak, and the facts that further questions need.

    Attributes:
        leak: the verdict.
        context: the run on the data, with all that the probes learned of it.
        probed: the run that shows the leak: on other data, if maskcli had to pad it.
        replaced: the run with other values at padding, if there are rows without a valid timestep.
    """

    leak: Leak
    context: ProbeContext
    probed: ProbeContext
    replaced: Recording | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class _Probed:
    """The probes of one context.

    Attributes:
        context: the run, with all that the probes learned of it.
        results: the probes; empty if they cannot be trusted.
        replaced: the run with other values at padding, if there are rows without a valid timestep.
        entries: by call, the change of its own result; only measured if a probe leaks.
        gap: the kind of leak that no probe could see, as a reason; None if there is none.
        cleared: whether changes that float64 showed to be rounding do not count as leaks.
    """

    context: ProbeContext
    results: tuple[ProbeResult, ...] = ()
    replaced: Recording | None = None
    entries: dict[str, float] = dataclasses.field(default_factory=dict)
    gap: str | None = None
    cleared: bool = False

    @property
    def leaks(self) -> bool:
        """Whether a probe leaks."""
        return any(result.probe.leaks for result in self.results)


def probe_leak(
    run: ModelRun, labels: NDArray[np.intp], side: Literal["pre", "post"] = "post", quick: bool = False
) -> LeakResult:
    """Run all probes and return the verdict.

    Args:
        run: the run to probe.
        labels: ``(batch,)``, the rows of the data that it has.
        side: where maskcli pads data without padding.
        quick: whether only the probes run that decide, each of them once.

    Raises:
        RaisedInCall: with the exception that the model raises.
    """
    context = make_context(run, labels, quick)
    with allow_any_length():
        if any(model_input.has_padding for model_input in context.with_timesteps):
            return _judge(context)
        if not context.with_timesteps or not uses_mask(context):
            return _refuse(context, _NOTHING, tried=False)
        padded = add_padding(context, side)
        if isinstance(padded, str):
            return _refuse(context, padded, tried=False)
        result = _judge(padded)
    leak = dataclasses.replace(result.leak, padded_by_maskcli=True)
    if leak.leaks:
        return dataclasses.replace(result, leak=leak, context=context)
    return LeakResult(leak, context, context)


def _judge(context: ProbeContext) -> LeakResult:
    """Return the verdict on a run with padding; the probes run in other ways until one of these shows a leak."""
    if not context.relevant.any():
        return _refuse(context, _NO_ROWS)
    first = _probe(context)
    if not first.results:
        return _refuse(context, _RANDOM)
    context = first.context
    exact = _exclude_rounding(context, first)
    if exact.leaks:
        return _conclude(context, first, first)
    with compute_in_float32(context.model):
        best = _probe_precisely(context, first) if exact is first else exact
        shown = best if best.leaks else _probe_short_rows(context, best)
        if shown is not None:
            return _conclude(context, first, shown)
        weights = choose_moved_weights(context.model)
        signs = BOTH_SIGNS[:1] if context.quick or _have_many_units(weights) else BOTH_SIGNS
        kept = _find_untrained_rows(context, best) if weights else {}
        for sign in signs if weights else ():
            with move_weights(context.model, weights, sign, kept), name_step("noisy weights"):
                noisy = _probe_moved(context, best) or _probe_short_rows(context, best)
                if noisy is not None:
                    return _conclude(context, first, noisy, "noisy")
    decided = _decide_in_float64(context, best)
    undefined = _describe_undefined(context)
    return _conclude(context, first, decided if undefined is None else dataclasses.replace(decided, gap=undefined))


def _probe_short_rows(context: ProbeContext, probed: _Probed) -> _Probed | None:
    """Probe rows with few valid timesteps, where other values at padding have an effect that no data can have.

    A maximum shows padding only if all valid timesteps are smaller, which is rare in long rows. Returns None without a
    leak.
    """
    if not any(result.probe.why == _FIXED_CONTENT for result in probed.results):
        return None
    for length in SHORT_ROWS:
        inputs = shorten_rows(context, length)
        run = None if inputs is None else ModelRun(context.model, inputs)
        if run is None or run.recording.error is not None or not _is_finite_alike(context.base, run.recording):
            continue
        shorter = make_context(run, context.labels, context.quick)
        again = _probe(shorter) if pair_calls(context.base, run.recording) else None
        if again is not None and again.results and _exclude_rounding(shorter, again).leaks:
            why = f"in rows that were cut to {length} valid timesteps"
            marked = (
                dataclasses.replace(result, probe=dataclasses.replace(result.probe, why=why))
                if result.probe.leaks
                else result
                for result in again.results
            )
            return dataclasses.replace(again, results=tuple(marked))
    return None


def _describe_undefined(context: ProbeContext) -> str | None:
    """Return that results which count are NaN, of which nothing can be proved; None if they are not.

    The probes compare NaN with NaN, and run a model of half precision in float32, where it may be finite.
    """
    align, rows, names = context.align(), np.zeros(len(context.relevant), bool), []
    for name, tensor in list_output_tensors(context.base.output):
        if not len(tensor.shape) or tensor.shape[0] != len(rows) or not is_float(tensor):
            continue
        valid, _ = find_validity_of_pair(tensor, tensor, context.flow, align)
        undefined = np.isnan(as_float64(tensor))
        counts = context.relevant if valid is None else valid & context.relevant.reshape(-1, *[1] * (valid.ndim - 1))
        undefined &= counts.reshape(*counts.shape, *[1] * (undefined.ndim - counts.ndim))
        if undefined.any():
            names.append(name)
            rows |= undefined.reshape(len(rows), -1).any(axis=1)
    if not names:
        return None
    first = next((entry for entry in context.base.ended if any(map(_has_nan, entry.outputs))), None)
    where = "" if first is None else f", which {first.type} returns first"
    return f"{', '.join(names)} is NaN at valid timesteps of {int(rows.sum())} of {len(rows)} rows{where}"


def _has_nan(tensor: Any) -> bool:
    return is_float(tensor) and bool(np.isnan(as_float64(tensor)).any())


def _decide_in_float64(context: ProbeContext, probed: _Probed) -> _Probed:
    """Return the probes in float64 where rounding in float32 may hide a leak; else the probes, none of which leaks."""
    uncertain = probed.gap is not None and probed.gap.startswith(_UNCERTAIN)
    doubtful = _find_doubtful_change(probed)
    if probed.cleared or (not uncertain and not doubtful):
        return probed
    with get_backend().allow_float64(), compute_in_float64(context.model), name_step("float64"):
        again = _probe_in_float64(context)
    # The rounding of float32 is gone in float64; a leak is as large as it was.
    limit = max(doubtful, _find_least_leak(probed))
    if again is not None and (uncertain or (again.leaks and _find_largest_change(again) > limit)):
        return again
    return probed


def _exclude_rounding(context: ProbeContext, probed: _Probed) -> _Probed:
    """Return the probes in float64 if those that leak show no more than rounding; else the probes."""
    leaking = [result.probe for result in probed.results if result.probe.leaks]
    # A gradient is no change of a result: where results change, these decide.
    changes = [probe for probe in leaking if probe.name != "gradient"] or leaking
    if not leaking or not all(_may_be_rounding(probe, probed) for probe in changes):
        return probed
    with get_backend().allow_float64(), compute_in_float64(context.model), name_step("float64"):
        again = _probe_in_float64(context)
    if again is None:
        # Code that names float32 does not run in float64. Rows without their padding show every leak.
        alone = next(result.probe for result in probed.results if result.probe.name == "alone")
        return _clear_probes(probed) if alone.applicable and not alone.leaks else probed
    limit = max(DOUBTFUL.value * _find_largest_change(probed), _find_least_leak(probed))
    if again.leaks and _find_largest_change(again) > limit:
        return probed
    return _clear_probes(again)


def _find_least_leak(probed: _Probed) -> float:
    """Return the change in float64 that is no leak yet: a few units in the last place that the model itself has.

    A softmax by hand that adds 1e-7 to its sum depends on the largest score of padding by as little.
    """
    replace = next((result.probe for result in probed.results if result.probe.name == "replace"), None)
    return 0.0 if replace is None or not replace.applicable else LEAST_LEAK.value * (replace.tolerance or 0.0)


def _may_be_rounding(probe: Probe, probed: _Probed) -> bool:
    """Return whether a probe that leaks changes results by so little that float64 must confirm it.

    Other values at padding round in the same way, unless they are added to valid ones and subtracted again: then the
    result carries the rounding of larger numbers, which the tolerance of the other probes was measured with.
    """
    probes = [probe] if probe.name == "gradient" else [result.probe for result in probed.results]
    limits = [item.tolerance or 0.0 for item in probes if item is probe or item.name != "gradient"]
    return (probe.max_abs_change or 0.0) <= SMALL_LEAK.value * max(limits)


def _clear_probes(probed: _Probed) -> _Probed:
    """Return probes whose changes are rounding."""
    probes = [dataclasses.replace(result.probe, leaks=False, first_call=None) for result in probed.results]
    pairs = zip(probed.results, probes, strict=True)
    results = tuple(dataclasses.replace(result, first=None, probe=probe) for result, probe in pairs)
    return dataclasses.replace(probed, results=results, entries={}, cleared=True)


def _find_doubtful_change(probed: _Probed) -> float:
    """Return the change from which the largest one of the probes, none of which leaks, may be a leak; 0 if none may."""
    limits = [
        DOUBTFUL.value * result.probe.tolerance
        for result in probed.results
        if result.probe.tolerance and (result.probe.max_abs_change or 0.0) > DOUBTFUL.value * result.probe.tolerance
    ]
    return min(limits, default=0.0)


def _find_largest_change(probed: _Probed) -> float:
    """Return the largest change of a probe that leaks; the derivative of a gradient only where no result changes."""
    leaking = [result.probe for result in probed.results if result.probe.leaks]
    changes = [probe for probe in leaking if probe.name != "gradient"] or leaking
    return max(probe.max_abs_change or 0.0 for probe in changes)


def _probe_precisely(context: ProbeContext, first: _Probed) -> _Probed:
    """Return the probes in float32 of a model of half precision; the first probes of other models."""
    if not _is_half(context.base):
        return first
    full = _probe_again(context)
    if full is None or _is_half(full.context.base):
        return dataclasses.replace(first, gap=first.gap or _find_imprecision(first.context))
    return full


def _refuse(context: ProbeContext, why: str, tried: bool = True) -> LeakResult:
    """Return the result of probes none of which can be trusted, or none of which was tried."""
    probes = tuple(Probe(name, False, why=why) for name in NAMES) if tried else ()
    return LeakResult(Leak(None, 0.0, None, None, None, probes, {}, reason=why), context, context)


def _probe_again(context: ProbeContext) -> _Probed | None:
    """Probe the same inputs in the way in which the model computes now; None if that cannot be judged."""
    again = _run_again(context)
    probed = None if again is None else _probe(again)
    return probed if probed is not None and probed.results else None


def _probe_in_float64(context: ProbeContext) -> _Probed | None:
    """Probe the same inputs in float64; None if that cannot be judged, or if the model makes other masks there.

    A value such as 0.1 marks padding in float32 only: in float64, the same number of the data is another one.
    """
    again = _run_again(context)
    if again is None or _changes_mask(context.base, again.base, None):
        return None
    probed = _probe(again)
    return probed if probed.results else None


def _probe_moved(context: ProbeContext, before: _Probed) -> _Probed | None:
    """Probe the same inputs with the weights that the model has now; None without a leak.

    ``before`` are the probes with the former weights.

    Without their padding, rows show every leak, so that all probes only run if one of the rows with most padding
    leaks, or cannot run like that. Only the weights are new, not the rows.
    """
    row = _run_again(context, _list_most_padded(context))
    if row is None and find_fixed_batch(context.model) is None:
        return None
    if row is not None and row.run.is_large and before.gap is None:
        row = _keep_rounding(row, before.context)
    alone = "the batch is fixed" if row is None else run_rows_alone(row)
    if row is not None and not isinstance(alone, str) and not _leaks_alone(row, alone):
        return None
    again = _run_again(context)
    probed = None if again is None else _probe(again)
    return probed if again is not None and probed is not None and _exclude_rounding(again, probed).leaks else None


def _find_untrained_rows(context: ProbeContext, probed: _Probed) -> dict[int, Ints]:
    """Return the rows of tables, by ``id`` of the weight, that are zero for padding and that training leaves so.

    No result that counts has a gradient by them: a ``Masking`` layer that looks for zeros hides them all.
    """
    gradient = next((result.probe for result in probed.results if result.probe.name == "gradient"), None)
    if gradient is None or not gradient.applicable or gradient.leaks:
        return {}
    tables: dict[int, Any] = {}
    padding: dict[int, set[int]] = {}
    data: dict[int, set[int]] = {}
    for entry in context.base.ended:
        table = getattr(entry.operation, "embeddings", None) if entry.type == "Embedding" and entry.inputs else None
        valid = None if table is None else context.flow.valid.get(id(entry.inputs[0]))
        if table is None or valid is None or tuple(entry.inputs[0].shape) != valid.shape:
            continue
        ids = as_array(entry.inputs[0]).astype(np.intp)
        tables[id(table)] = as_array(table)
        padding.setdefault(id(table), set()).update(ids[~valid].tolist())
        data.setdefault(id(table), set()).update(ids[valid].tolist())
    rows = {key: np.array(sorted(padding[key] - data[key]), np.intp) for key in tables}
    return {key: rows[key][~tables[key][rows[key]].any(axis=1)] for key in tables if len(rows[key])}


def _choose_signs(context: ProbeContext, alone: list[RowsAlone] | str) -> tuple[int, ...]:
    """Return the signs of noise at padding: one where rows run without padding, and much of it is replaced."""
    is_enough = not isinstance(alone, str) and _count_padding(context)[context.relevant].sum() >= MUCH_PADDING
    return BOTH_SIGNS[:1] if is_enough else BOTH_SIGNS


def _keep_rounding(context: ProbeContext, measured: ProbeContext) -> ProbeContext:
    """Return the context with the rounding that was measured with other weights.

    It is so small there that it hides no leak, and weights that move a little let the same calls round in the same
    way. Only a larger change is worth a run that measures it again.
    """
    known = measured.tolerance
    return dataclasses.replace(context, tolerance=Tolerance(context.tolerance.relative, known.floor, known.by_feature))


def _have_many_units(weights: Sequence[Any]) -> bool:
    """Return whether each of the weights belongs to so many units that noise of one sign moves these either way.

    The noise of each unit has a random sign. A single unit, such as a gate or a maximum, may hide a leak under one of
    them, so that the noise is also tried with the other; of many units, about half of them have had that.
    """
    return all(len(weight.shape) > 0 and int(weight.shape[-1]) >= MANY_UNITS for weight in weights)


def _list_most_padded(context: ProbeContext) -> list[int]:
    """Return the rows with the most padding whose results count: one of them may hide a leak, as a maximum does."""
    padding = np.where(context.relevant, _count_padding(context), -1)
    order = np.argsort(-padding, kind="stable")[:MOST_MOVED_ROWS]
    return [int(row) for row in order if padding[row] > 0] or [int(order[0])]


def _count_padding(context: ProbeContext) -> NDArray[np.intp]:
    """Return ``(batch,)``: the padded timesteps of each row; of timesteps with parts, the padded parts."""
    padding = np.zeros(len(context.relevant), np.intp)
    for model_input in context.with_timesteps:
        places = model_input.valid if model_input.cells is None else model_input.cells
        assert places is not None  # noqa: S101 - these inputs have timesteps
        padding += (~places).reshape(len(places), -1).sum(axis=1)
    return padding


def _leaks_alone(context: ProbeContext, alone: list[RowsAlone]) -> bool:
    """Return whether rows differ without their padding, or cannot be compared; rounding is only measured if they do."""
    learned = learn_lengths(context, alone)
    result = LengthProbes(learned, alone, clean=True).probe_alone()
    if not result.probe.leaks:
        return not result.probe.applicable or bool(result.skipped)
    learned = _measure_at_first(learned, alone)
    return LengthProbes(learned, alone, clean=True).probe_alone().probe.leaks


def _run_again(context: ProbeContext, rows: Sequence[int] | None = None) -> ProbeContext | None:
    """Return the context of a new run on some rows, by default all.

    Returns None if it fails, if the batch is fixed, or if its results are less finite.
    """
    if rows is None:
        run, labels = ModelRun(context.model, context.inputs), context.labels
    elif find_fixed_batch(context.model) is None:
        run = ModelRun(context.model, tuple(select_rows(model_input, rows) for model_input in context.inputs))
        labels = context.labels[list(rows)]
    else:
        return None
    if run.recording.error is not None or not _is_finite_alike(context.base, run.recording, rows):
        return None
    return make_context(run, labels, context.quick)


def _is_finite_alike(base: Recording, other: Recording, rows: Sequence[int] | None = None) -> bool:
    """Return whether the outputs of another run, on some of the rows, are finite where those of the base run are."""
    for (_, old), (_, new) in zip(list_output_tensors(base.output), list_output_tensors(other.output), strict=True):
        before, after = as_float64(old), as_float64(new)
        if rows is not None and before.ndim and len(before) > max(rows):
            before = before[list(rows)]
        if before.shape == after.shape and not (np.isfinite(after) | ~np.isfinite(before)).all():
            return False
    return True


def _is_half(recording: Recording) -> bool:
    return any(get_dtype(tensor) in HALF for entry in recording.ended for tensor in entry.outputs)


def _find_imprecision(context: ProbeContext) -> str | None:
    """Return the reason why rounding may hide a leak; None if its tolerance is small enough."""
    return _IMPRECISE if context.tolerance.relative[0] > HALF_RESULT.value else None


def _conclude(context: ProbeContext, first: _Probed, shown: _Probed, weights: WeightsKind = "as-loaded") -> LeakResult:
    """Return the verdict of some probes, with the paths that the calls have in the run on the data.

    Args:
        context: the run on the data.
        first: the probes of this run.
        shown: the probes that show the leak, or that prove most.
        weights: the weights that these had.
    """
    results = [_move_result(result, shown.context, context) for result in shown.results]
    context = show_calls(context, [call for result in results for call in result.calls])
    probes = name_first_calls(context, results)
    same_rows = all(new is old for new, old in zip(shown.context.inputs, context.inputs, strict=True))
    late = _find_late_masks(context, shown.context) if same_rows else ()
    leak = dataclasses.replace(_make_leak(probes, shown, weights), late_masks=late)
    return LeakResult(leak, context, context, first.replaced)


def _find_late_masks(context: ProbeContext, other: ProbeContext) -> tuple[str, ...]:
    """Return the calls that make another mask with other weights: a layer before them computes their input."""
    if context.base is other.base:
        return ()
    return tuple(
        context.trace.names[old.index]
        for old, new in pair_calls(context.base, other.base)
        if old.index in context.trace.names
        and not _differ(old.carried, new.carried)
        and _differ(old.masks_out, new.masks_out)
    )


def _differ(old: Sequence[Bools | None], new: Sequence[Bools | None]) -> bool:
    """Return whether a mask of one run differs from that of another one."""
    return any(
        before is not None and after is not None and not np.array_equal(before, after)
        for before, after in zip(old, new, strict=False)
    )


def _move_result(result: ProbeResult, source: ProbeContext, target: ProbeContext) -> ProbeResult:
    """Return a probe of one run with the same calls of another run of the same model."""
    if source.base is target.base:
        return result
    same = {id(new): old for old, new in pair_calls(target.base, source.base)}
    first = None if result.first is None else same.get(id(result.first))
    also = tuple(same[id(call)] for call in result.also if id(call) in same)
    return dataclasses.replace(result, first=first, also=also)


def _make_leak(probes: tuple[Probe, ...], shown: _Probed, weights: WeightsKind) -> Leak:
    """Return the verdict of the probes."""
    leaking = [probe for probe in probes if probe.leaks]
    # A gradient is no change of an output, and so has no part in the largest change.
    changes = [
        probe.max_abs_change or 0.0 for probe in probes if probe.name != "gradient" and (probe.leaks or not probe.why)
    ]
    largest = max(changes, default=0.0)
    if not leaking:
        leaks = None if shown.gap is not None else False
        return Leak(leaks, largest, None, None, None, probes, {}, reason=shown.gap)
    worst = max(
        (probe for probe in leaking if probe.name != "gradient"),
        key=lambda probe: probe.max_abs_change or 0.0,
        default=leaking[0],
    )
    return Leak(
        leaks=True,
        max_abs_change=largest,
        first_call=_find_first_call(leaking, shown.entries),
        sample=worst.sample,
        timestep=worst.timestep,
        probes=probes,
        entries=shown.entries,
        output=worst.output,
        weights=weights,
    )


def _find_first_call(leaking: Sequence[Probe], entries: dict[str, float]) -> str | None:
    first = next((probe.first_call for probe in leaking if probe.first_call is not None), None)
    return first or next(iter(entries), None)


# The probes of one context.


def _probe(context: ProbeContext) -> _Probed:
    """Run the probes; without results if the model is random."""
    if context.quick:
        return _probe_quickly(context)
    run = context.run
    # A second, equal run shows whether the model is deterministic; under a tape, it also yields the gradient.
    sources = find_padding_sources(context.base, context.flow, context.inputs)
    blocks = split_rows(run, sources)
    with name_step("gradient"):
        taped = None if isinstance(sources, str) else record_under_tape(run, sources, blocks[0])
    if not _is_deterministic(context, taped):
        return _Probed(context)
    with name_step("alone"):
        alone = run_rows_alone(context)
    context = learn_lengths(context, () if isinstance(alone, str) else alone)
    sources = find_padding_sources(context.base, context.flow, context.inputs)
    gradients = [] if taped is None or isinstance(sources, str) else [compute_padding_gradient(taped, context, sources)]
    del taped  # The tape keeps every intermediate result of its run.
    if not isinstance(sources, str):
        with name_step("gradient"):
            gradients += (
                compute_padding_gradient(record_under_tape(run, sources, rows), context, sources) for rows in blocks[1:]
            )
    gradient = _probe_gradient(context, sources, gradients)
    context = _measure_at_first(context, alone)
    replace, replaced = _probe_replace(context, sources, _choose_signs(context, alone))
    clean = not (replace.probe.leaks or gradient.probe.leaks)
    lengths = LengthProbes(context, alone, clean)
    by_length = (lengths.probe_alone(), lengths.probe_columns())
    if any(result.probe.leaks for result in (*by_length, *((replace, gradient) if run.is_large else ()))):
        # The first call that changes is only known with the rounding of each call.
        context = _measure_rounding(context, samples=1, start=1)
        lengths = LengthProbes(context, alone, clean, lengths.runs)
        by_length = (lengths.probe_alone(), lengths.probe_columns())
    if not isinstance(alone, str) and (not by_length[0].probe.applicable or by_length[0].skipped):
        replace, replaced = _probe_replace(context, sources)  # Rows without their padding prove nothing after all.
    by_content = [replace, gradient]
    if not isinstance(sources, str) and sources.fixed:
        by_content = [_discount_fixed(result) for result in by_content]
    results = (by_content[0], *by_length, by_content[1])
    if not isinstance(sources, str) and not any(result.probe.leaks for result in results[:-1]):
        results = (*results[:-1], _confirm_gradient(context, sources, results[-1]))
    context = show_calls(context, [call for result in results for call in result.calls])
    return _finish(context, results, sources, alone, replaced, lengths.covers_places)


def _probe_quickly(context: ProbeContext) -> _Probed:
    """Replace padding, and run the rows with most of it without it, or else add padding.

    Only a change is worth the runs that exclude other reasons for it: random numbers, and the rounding of each call.
    """
    sources = find_padding_sources(context.base, context.flow, context.inputs)
    with name_step("alone"):
        alone = run_rows_alone(context)
    context = _measure_at_first(learn_lengths(context, () if isinstance(alone, str) else alone), alone)
    replace, replaced = _probe_replace(context, sources, _choose_signs(context, alone))
    if not isinstance(sources, str) and sources.fixed:
        replace = _discount_fixed(replace)
    lengths = LengthProbes(context, alone, clean=not replace.probe.leaks)
    by_length = lengths.probe_alone()
    columns, gradient = (ProbeResult(Probe(name, False, why=LEFT_OUT)) for name in ("columns", "gradient"))
    if not by_length.probe.applicable or by_length.skipped or not _covers_padding(context, alone):
        columns = lengths.probe_columns()
    if any(result.probe.leaks for result in (replace, by_length, columns)):
        if not _is_deterministic(context, None):
            return _Probed(context)
        # The first call that changes is only known with the rounding of each call.
        context = _measure_rounding(context, samples=1, start=1)
        lengths = LengthProbes(context, alone, lengths.clean, lengths.runs)
        by_length = lengths.probe_alone()
        columns = lengths.probe_columns() if columns.probe.why != LEFT_OUT else columns
    results = (replace, by_length, columns, gradient)
    context = show_calls(context, [call for result in results for call in result.calls])
    return _finish(context, results, sources, alone, replaced, lengths.covers_places)


def _covers_padding(context: ProbeContext, alone: Sequence[RowsAlone] | str) -> bool:
    """Return whether the rows that ran without their padding had some in each input that has any."""
    rows = np.concatenate([item.rows for item in alone]) if not isinstance(alone, str) else np.zeros(0, np.intp)
    padded = [~item.valid & context.relevant[:, None] for item in context.with_timesteps if item.valid is not None]
    return all(padding[rows].any() for padding in padded if padding.any())


def _measure_rounding(context: ProbeContext, samples: int, start: int = 0, inner: bool = True) -> ProbeContext:
    """Return the context with a tolerance that knows how far random rounding moves its results."""
    align = context.align()
    tolerance = estimate_rounding(context.run, context.flow, align, context.tolerance, samples, start, inner)
    return dataclasses.replace(context, tolerance=tolerance)


def _measure_at_first(context: ProbeContext, alone: Sequence[RowsAlone] | str) -> ProbeContext:
    """Return the context with a tolerance that is measured once: of a large model, or a quick check, for its outputs.

    It is measured on the rows that ran without their padding, which are compared, and the cheapest ones to run once
    more. The rounding of other calls only matters where an output changes, and is measured then.
    """
    if not (context.quick or context.run.is_large):
        return _measure_rounding(context, samples=1)
    if isinstance(alone, str) or len(alone) > 1 or alone[0].resized:
        return _measure_rounding(context, samples=1, inner=False)
    rows = alone[0]
    run = context.run.adopt(rows.inputs, rows.recording)
    trace = dataclasses.replace(context.trace, flow=rows.flow)
    shortest = dataclasses.replace(context, run=run, labels=context.labels[rows.rows], trace=trace)
    return dataclasses.replace(context, tolerance=_measure_rounding(shortest, samples=1, inner=False).tolerance)


def _finish(
    context: ProbeContext,
    results: tuple[ProbeResult, ...],
    sources: PaddingSources | str,
    alone: list[RowsAlone] | str,
    replaced: Recording | None,
    covers_places: bool,
) -> _Probed:
    """Return the probes with the calls that change because of padding, or the kind of leak that none could see."""
    # The run with other values is only needed for rows without a valid timestep; it holds all tensors.
    gap = _find_gap(context, results, sources, covers_places)
    probed = _Probed(context, results, None if context.relevant.all() else replaced, gap=gap)
    if probed.leaks:
        changes = probe_calls(context)
        rows = () if isinstance(alone, str) else alone
        entries = drop_right_calls(context, changes, rows) or changes
        return dataclasses.replace(probed, entries=_add_earlier_calls(context, results, entries))
    return probed


def _add_earlier_calls(
    context: ProbeContext, results: Sequence[ProbeResult], entries: dict[str, float]
) -> dict[str, float]:
    """Return the calls where padding enters, with those that only a later probe shows, before the first call of others.

    Padding inside timesteps, such as that of the characters of words, cannot be replaced in a model inside of
    ``TimeDistributed``. Without it, the rows show that it enters there. Under pre-padding, an earlier call may be one
    that adds positions.
    """
    leaking = [result for result in results if result.probe.leaks and result.first is not None]
    if not leaking or context.side == "pre":
        return entries
    order = {entry.index: place for place, entry in enumerate(context.base.ended)}
    first = leaking[0].first
    assert first is not None  # noqa: S101 - leaking probes without a first call were left out
    earlier = {
        context.trace.names[result.first.index]: result.probe.max_abs_change or 0.0
        for result in leaking
        if result.first is not None and order[result.first.index] < order[first.index]
    }
    return earlier | entries


def _is_deterministic(context: ProbeContext, taped: TapedRun | None) -> bool:
    """Return whether two runs on the same data agree; otherwise no probe can be trusted.

    A tape changes no result, so that the taped run is the second one, unless a tape breaks the model. With fewer rows,
    a model that mixes rows also has other results.
    """
    if taped is not None and taped.recording.error is None:
        align = context.align(taped.rows)
        worst = compare_outputs(context.base, context.flow, taped.recording, align, context.tolerance)
        if worst is None or not worst.counts or len(taped.rows) == len(context.relevant):
            return worst is None or not worst.counts
    again = context.run.vary()
    if again.error is not None:
        return False
    worst = compare_outputs(context.base, context.flow, again, context.align(), context.tolerance)
    return worst is None or not worst.counts


def _find_gap(
    context: ProbeContext, results: Iterable[ProbeResult], sources: PaddingSources | str, covers_places: bool
) -> str | None:
    """Return the reason why the probes, none of which leaks, do not prove that padding has no effect.

    A row without its padding shows both kinds of leaks. Otherwise one probe must have changed the content of all
    padding, and another one its amount: of a row without any, since more of the same does not change a maximum.
    """
    by_name = {result.probe.name: result for result in results}
    replace, alone, columns, gradient = (by_name[name] for name in ("replace", "alone", "columns", "gradient"))
    content = [result for result in (replace, gradient) if result.probe.applicable]
    if alone.probe.applicable and (content or covers_places):
        return _name_unjudged(context, alone.skipped)
    if alone.probe.applicable:
        return f"padding inside timesteps could not be changed: {replace.probe.why}"
    if isinstance(sources, str) or not sources.complete or not content:
        return alone.probe.why
    if any(result.probe.why == _FIXED_CONTENT for result in content):
        return _FIXED_CONTENT
    if not columns.probe.applicable:
        return f"only the content of padding could be changed, not its amount: {columns.probe.why}"
    if not _has_full_row(context) and not _keeps_filled_rows(context):
        return f"every row has padding, and none could run without it: {alone.probe.why}"
    return _name_unjudged(context, (*columns.skipped, *content[0].skipped))


def _name_unjudged(context: ProbeContext, skipped: Sequence[str]) -> str | None:
    """Return the reason why some outputs are not judged, although probes of another length ran; None if all are."""
    if skipped:
        return f"results of different lengths could not be compared: {_list_names(skipped)}"
    uncertain = find_uncertain_outputs(context.base, context.flow, context.align(), context.tolerance)
    return f"{_UNCERTAIN}: {_list_names(uncertain)}" if uncertain else None


def _list_names(outputs: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(outputs))


def _keeps_filled_rows(context: ProbeContext) -> bool:
    """Return whether padding is only inside of rows, and changes nothing if added to rows with content in its place.

    Such rows have missing timesteps, and no others that could be cut.
    """
    if any(item.valid is None or item.cells is not None for item in context.with_timesteps):
        return False
    ends = [item.valid[context.relevant][:, [0, -1]] for item in context.with_timesteps if item.valid is not None]
    if not all(valid.all() for valid in ends):
        return False
    filled = [fill_with_content(item, np.random.default_rng(7)) for item in context.inputs]
    inputs = tuple(item for item in filled if item is not None)
    run = ModelRun(context.model, inputs) if len(inputs) == len(filled) else None
    if run is None or run.recording.error is not None:
        return False
    full = make_context(run, context.labels)
    columns = LengthProbes(full, "no row has padding", clean=True).probe_columns()
    return columns.probe.applicable and not columns.probe.leaks and not columns.skipped


def _has_full_row(context: ProbeContext) -> bool:
    """Return whether a row whose results count has no padding at all."""
    full = context.relevant.copy()
    for model_input in context.with_timesteps:
        assert model_input.valid is not None  # noqa: S101 - these inputs have timesteps
        places = model_input.valid if model_input.cells is None else model_input.cells
        full &= places.reshape(len(places), -1).all(axis=1)
    return bool(full.any())


def _discount_fixed(result: ProbeResult) -> ProbeResult:
    """Return a probe of content that no data can have: what it changes proves nothing."""
    if not result.probe.leaks or not result.fixed_content:
        return result
    return dataclasses.replace(
        result, first=None, probe=dataclasses.replace(result.probe, leaks=False, first_call=None, why=_FIXED_CONTENT)
    )


def probe_content(context: ProbeContext) -> ProbeResult:
    """Put other values at padding; the quickest of the probes."""
    sources = find_padding_sources(context.base, context.flow, context.inputs)
    # Both signs are only needed where the first shows nothing.
    results = (_discount_fixed(_probe_replace(context, sources, [sign])[0]) for sign in BOTH_SIGNS)
    first = next(results)
    return first if first.probe.leaks or not first.probe.applicable else choose_worst([first, next(results)])


def _probe_replace(
    context: ProbeContext, sources: PaddingSources | str, signs: Sequence[int] = BOTH_SIGNS
) -> tuple[ProbeResult, Recording | None]:
    """Put other values at padding, after the embedding, under the same masks; return the probe and the run.

    The same noise with the other sign shows what a maximum, or a minimum, hides.
    """
    if isinstance(sources, str):
        return ProbeResult(Probe("replace", False, why=sources)), None
    with name_step("replace"):
        replaced = [_record_replaced(context, sources, sign) for sign in signs]
    error = next((run.error for run in replaced if run.error is not None), None)
    if error is not None:
        why = f"with other values at padding the model raises {summarize_error(error)}"
        return ProbeResult(Probe("replace", False, why=why)), None
    # Both runs sum the same numbers in the same order, so that a change needs no margin for rounding.
    tolerance = allow_one_ulp(context.base.ended, context.base.inputs)
    results = [make_probe("replace", context, run, context.align(), tolerance) for run in replaced]
    result = choose_worst(results)
    run = replaced[results.index(result)]
    if result.probe.leaks and _changes_mask(context.base, run, result.first):
        return ProbeResult(Probe("replace", False, why=_CHANGED_MASK)), None
    if not result.probe.leaks or not sources.fixed:
        return result, run
    if sources.is_free:
        free = [_record_replaced(context, sources.select_free(), sign) for sign in BOTH_SIGNS]
        again = choose_worst([make_probe("replace", context, run, context.align(), tolerance) for run in free])
        if again.probe.leaks:
            return again, run
    return dataclasses.replace(result, fixed_content=True), run


def _confirm_gradient(context: ProbeContext, sources: PaddingSources, gradient: ProbeResult) -> ProbeResult:
    """Return the probe of the gradient, which leaks only if small steps at padding change a result.

    Where padding ties for a maximum, the derivatives of two maxima over it may take different ones of the equal values,
    so that they do not cancel although the maxima do.
    """
    if not gradient.probe.leaks:
        return gradient
    with name_step("gradient"):
        for step, sign in itertools.product(SMALL_STEPS, BOTH_SIGNS):
            moved = _record_replaced(context, sources, sign, step)
            if moved.error is not None or make_probe("replace", context, moved, context.align()).probe.leaks:
                return gradient
    return dataclasses.replace(gradient, probe=dataclasses.replace(gradient.probe, leaks=False, first_call=None))


def _record_replaced(context: ProbeContext, sources: PaddingSources, sign: int, step: float | None = None) -> Recording:
    """Return a run with other values at padding, which are random but for their ``sign``.

    With a ``step``, they are the values of the run, moved by this part of the way to the random ones.
    """
    rng = np.random.default_rng(0)

    def alter(entry: CallRecord, tensors: list[Any]) -> list[Any] | None:
        if entry.index not in sources.calls:
            return None
        valid = sources.calls[entry.index]
        replaced = replace_padding(tensors[0], valid, rng)
        signed = replaced if sign > 0 else _negate_padding(replaced, valid)
        return [signed if step is None else _move_padding(tensors[0], signed, valid, step), *tensors[1:]]

    inputs = tuple(
        _replace_features(model_input, model_input.valid, sign, rng, step)
        if position in sources.inputs and model_input.valid is not None
        else model_input
        for position, model_input in enumerate(context.inputs)
    )
    return context.run.vary(inputs, alter=alter)


def _replace_features(
    model_input: ModelInput, valid: Bools, sign: int, rng: np.random.Generator, step: float | None = None
) -> ModelInput:
    places = valid if model_input.cells is None else model_input.cells
    values, noise = model_input.values, make_noise(model_input.values, ~places, rng)
    spread = places.reshape(*places.shape, *[1] * (noise.ndim - places.ndim))
    signed = noise if sign > 0 else np.where(spread, noise, -noise)
    if step is not None:
        signed = np.where(spread, values, values + step * (signed - values)).astype(values.dtype)
    return dataclasses.replace(model_input, values=signed)


def _negate_padding(tensor: Any, valid: Bools) -> Any:
    """Return a tensor with the other sign at padding, under the same mask."""
    return _join_padding(tensor, -tensor, valid)


def _move_padding(tensor: Any, target: Any, valid: Bools, step: float) -> Any:
    """Return a tensor that is nearer to another one at padding, by a part of the way, under the same mask."""
    return _join_padding(tensor, tensor + step * (target - tensor), valid)


def _join_padding(tensor: Any, padding: Any, valid: Bools) -> Any:
    """Return a tensor with other values at padding, under the same mask."""
    import keras

    spread = valid.reshape(*valid.shape, *[1] * (len(tensor.shape) - valid.ndim))
    joined = keras.ops.where(spread, tensor, padding)
    mask = get_keras_mask(tensor)
    if mask is not None:
        set_keras_mask(joined, mask)
    return joined


def _changes_mask(base: Recording, replaced: Recording, first: CallRecord | None) -> bool:
    """Return whether a mask or another boolean differs before the first call whose result differs."""
    for old, new in pair_calls(base, replaced):
        masks = zip((*old.masks_out, *old.padding_masks), (*new.masks_out, *new.padding_masks), strict=False)
        if any(a is not None and b is not None and not np.array_equal(a, b) for a, b in masks):
            return True
        for tensor, changed in zip(old.outputs, new.outputs, strict=False):
            if get_dtype(tensor) != "bool" or np.array_equal(as_array(tensor), as_array(changed)):
                continue
            if not marks_nothing(tensor, base):
                return True
        if old is first:
            return False
    return False


def _probe_gradient(
    context: ProbeContext, sources: PaddingSources | str, gradients: Sequence[PaddingGradient | str]
) -> ProbeResult:
    """Return the probe of the derivatives of the outputs that count by the padding after the embedding."""
    if isinstance(sources, str):
        return ProbeResult(Probe("gradient", False, why=sources))
    gradient = merge_gradients(gradients)
    if isinstance(gradient, str):
        return ProbeResult(Probe("gradient", False, why=gradient))
    # Where padding has no effect, its derivative is zero, or the rounding of terms that cancel.
    outputs = [tensor for _, tensor in list_output_tensors(context.base.output) if is_float(tensor)]
    tolerance = max(map(get_ulp, outputs), default=0.0) * gradient.largest_valid
    leaks = gradient.at_padding > tolerance
    probe = Probe(
        name="gradient",
        applicable=True,
        leaks=leaks,
        max_abs_change=gradient.at_padding,
        tolerance=tolerance,
        sample=int(context.labels[gradient.sample]),
        timestep=gradient.timestep,
    )
    return ProbeResult(probe, fixed_content=leaks and gradient.at_free_padding <= tolerance)
