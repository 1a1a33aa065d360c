"""In packed rows, does a segment change the result of another segment?

A packed row holds several sequences, its segments, which must not see each other. The tokens of every second segment
are replaced, and the results of the others must stay the same; then the two groups swap roles. In rows of three or more
segments, the same is tried with random groups. Segments, positions and masks stay as they are, so that all runs have
the same shapes, and sum the same numbers in the same order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from maskcli.inputs.roles import holds_segments
from maskcli.probes.compare import Alignment, Difference, find_worst, measure_change, measure_difference, pair_calls
from maskcli.probes.content import replace_content
from maskcli.probes.context import ProbeContext
from maskcli.probes.rounding import allow_one_ulp, estimate_rounding
from maskcli.probes.substitute import Substitutes, is_same_sequence, is_steady, make_substitution, name_owner
from maskcli.records.arrays import Bools, Ints
from maskcli.records.evidence import MixedSegments
from maskcli.records.inputs import ModelInput
from maskcli.records.leak import Probe
from maskcli.tolerance import Tolerance
from maskcli.trace.recorder import CallRecord, Recording
from maskcli.trace.run import list_output_tensors
from maskcli.trace.values import as_float64, is_float

CANDIDATES = 8
"""Calls that are tried as the cause, at most."""


@dataclasses.dataclass(frozen=True, eq=False)
class SegmentsResult:
    """The answer of the probe.

    Attributes:
        mixed: the result that changes most with another segment; None if none does.
        context: the context whose trace shows the call where segments mix.
        max_abs_change: the largest change; None if the probe could not run.
        why: the reason why the probe could not run.
    """

    mixed: MixedSegments | None
    context: ProbeContext
    max_abs_change: float | None = None
    why: str | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class _Trial:
    """A run in which some segments have other content.

    Attributes:
        kept: ``(batch, timesteps)``, True in the segments that stay the same.
        recording: the run.
        inputs: the inputs of the run.
    """

    kept: Bools
    recording: Recording
    inputs: tuple[ModelInput, ...]


def find_segments(inputs: Sequence[ModelInput]) -> ModelInput | None:
    """Return the input with the segments of packed rows; None without one."""
    return next((entry for entry in inputs if holds_segments(entry.name, entry.values)), None)


def probe_segments(context: ProbeContext, segments: Ints) -> SegmentsResult:
    """Replace the content of some segments, and compare the results of the others.

    Args:
        context: the run to probe.
        segments: ``(batch, timesteps)``, from 1 in each row; 0 is padding.
    """
    if not any(_has_tokens(entry, segments) for entry in context.inputs):
        return SegmentsResult(None, context, why="no input of tokens has the timesteps of the segments")
    trials = list(_replace_segments(context, segments))
    tight = allow_one_ulp(context.base.ended)
    worst = _find_worst_output(context, segments, trials, tight)
    if worst is None:
        why = "no output has a result for each token"
        if not trials:
            why = "there are no other tokens, or the model raises an error with them"
        return SegmentsResult(None, context, why=why)
    if worst[1].counts and not is_steady(context):
        return SegmentsResult(None, context, why="two runs on the same data differ")
    if not worst[1].counts:
        return SegmentsResult(None, context, worst[1].change)
    tolerance = estimate_rounding(context.run, context.flow, context.align(), tight)
    worst = _find_worst_output(context, segments, trials, tolerance)
    if worst is None or not worst[1].counts:
        return SegmentsResult(None, context, None if worst is None else worst[1].change)
    trial, difference = worst
    context, path = name_owner(context, _find_culprit(context, segments, trial, tolerance))
    row = int(np.flatnonzero(context.labels == difference.sample)[0])
    assert difference.timestep is not None  # noqa: S101 - pooled outputs are not compared
    mixed = MixedSegments(
        max_abs_change=difference.change,
        tolerance=difference.tolerance,
        sample=difference.sample,
        timestep=difference.timestep,
        segment=int(segments[row, difference.timestep]),
        output=difference.output,
        first_call=path,
    )
    return SegmentsResult(mixed, context, difference.change)


def make_segments_probe(result: SegmentsResult) -> Probe:
    """Return the probe ``segments`` for the list of probes."""
    mixed = result.mixed
    if result.why is not None:
        return Probe("segments", False, why=result.why)
    if mixed is None:
        return Probe("segments", True, max_abs_change=result.max_abs_change)
    return Probe(
        name="segments",
        applicable=True,
        leaks=True,
        max_abs_change=mixed.max_abs_change,
        tolerance=mixed.tolerance,
        first_call=mixed.first_call,
        sample=mixed.sample,
        timestep=mixed.timestep,
        output=mixed.output,
    )


def _replace_segments(context: ProbeContext, segments: Ints) -> Iterator[_Trial]:
    """Yield runs in which some segments of each row have other content, and the others stay."""
    rng = np.random.default_rng(8)
    for chosen in _choose_segments(segments, rng):
        replaced = (segments > 0) & np.take_along_axis(chosen, segments.astype(np.int64), axis=1)
        inputs = tuple(
            replace_content(entry, entry, replaced, rng) if _has_tokens(entry, segments) else entry
            for entry in context.inputs
        )
        if all(np.array_equal(old.values, new.values) for old, new in zip(context.inputs, inputs, strict=True)):
            continue  # All tokens are equal.
        recording = context.run.vary(inputs)
        if recording.error is None:
            yield _Trial((segments > 0) & ~replaced, recording, inputs)


def _choose_segments(segments: Ints, rng: np.random.Generator) -> Iterator[Bools]:
    """Yield ``(batch, 1 + segments)``, the segments of each row to replace: neighbours differ, or random ones."""
    rows, most = len(segments), int(segments.max())
    odd = np.broadcast_to(np.arange(most + 1) % 2 == 1, (rows, most + 1))
    yield ~odd
    yield odd
    if most > 2:
        half = rng.permuted(odd, axis=1)
        yield half
        yield ~half


def _has_tokens(entry: ModelInput, segments: Ints) -> bool:
    """Return whether an input has the content of the timesteps: neither segments, positions nor a mask."""
    return (
        entry.kind in ("ids", "features")
        and not entry.auxiliary
        and entry.valid is not None
        and entry.valid.shape == segments.shape
    )


def _find_worst_output(
    context: ProbeContext, segments: Ints, trials: Sequence[_Trial], tolerance: Tolerance
) -> tuple[_Trial, Difference] | None:
    """Return the largest change of an output in a segment that stays the same, and its run."""
    results = []
    align = Alignment(np.arange(len(segments)), context.side, context.relevant, context.labels)
    outputs = list_output_tensors(context.base.output)
    for trial in trials:
        changed = list_output_tensors(trial.recording.output)
        worst = find_worst(
            measure_difference(old, trial.kept, new, align, *tolerance.of(0, position), name)
            for position, ((name, old), (_, new)) in enumerate(zip(outputs, changed, strict=True))
            if is_float(old) and _has_timesteps(old, segments) and tuple(old.shape) == tuple(new.shape)
        )
        if worst is not None:
            results.append((trial, worst))
    return max(results, key=lambda result: result[1].excess, default=None)


def _has_timesteps(tensor: Any, segments: Ints) -> bool:
    """Return whether a tensor has a result for each timestep."""
    return len(tensor.shape) > 1 and tuple(tensor.shape[:2]) == segments.shape


# The call where segments mix.


def _find_culprit(context: ProbeContext, segments: Ints, trial: _Trial, tolerance: Tolerance) -> CallRecord | None:
    """Return the first call through which segments mix: with its former result, no output changes any more."""
    if not is_same_sequence(context.base, trial.recording):
        return None
    candidates = list(_list_candidates(context, segments, trial, tolerance))
    for entry, values in candidates[:CANDIDATES]:
        again = context.run.vary(trial.inputs, alter=make_substitution(values))
        if again.error is not None:
            continue
        left = _find_worst_output(context, segments, [dataclasses.replace(trial, recording=again)], tolerance)
        if left is None or not left[1].counts:
            return entry
    return candidates[0][0] if candidates else None


def _list_candidates(
    context: ProbeContext, segments: Ints, trial: _Trial, tolerance: Tolerance
) -> Iterator[tuple[CallRecord, Substitutes]]:
    """Yield the calls whose result shows other segments, with the result that they would have without these."""
    kept = trial.kept & context.relevant[:, None]
    for old, new in pair_calls(context.base, trial.recording):
        if old.parent is None:
            continue
        relative, floor = tolerance.at(old.index)
        values = {}
        for position, (tensor, changed) in enumerate(zip(old.outputs, new.outputs, strict=False)):
            before, after = as_float64(tensor), as_float64(changed)
            if before.shape != after.shape or not before.size or not _has_timesteps(before, segments):
                continue
            change = measure_change(before, after).reshape(*segments.shape, -1).max(axis=2)
            finite = np.abs(before[np.isfinite(before)])
            if change[kept].max(initial=0.0) > max(relative * float(finite.max(initial=0.0)), floor):
                same = np.reshape(kept, (*segments.shape, *[1] * (before.ndim - 2)))
                values[old.index, position] = np.where(same, before, after)
        if values:
            yield old, values
