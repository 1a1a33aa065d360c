"""Does another row of the batch change the result of a row?

In inference mode every row is computed by itself. Half of the rows are replaced, by other rows of the data with other
content and other lengths; the results of the other half must stay the same. Then the halves swap roles. All runs have
the same shapes, so that they sum the same numbers in the same order.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.inputs.arguments import select_rows
from maskcli.probes.compare import Alignment, Difference, find_worst, measure_change, measure_difference, pair_calls
from maskcli.probes.content import repeat_row, replace_rows
from maskcli.probes.context import ProbeContext, make_context
from maskcli.probes.rounding import allow_one_ulp, estimate_rounding
from maskcli.probes.substitute import Substitutes, is_same_sequence, is_steady, make_substitution, name_owner
from maskcli.records.arrays import Bools
from maskcli.records.evidence import MixedRows
from maskcli.records.inputs import ModelInput
from maskcli.records.leak import Leak, Probe
from maskcli.tolerance import Tolerance
from maskcli.trace.outputs import find_fixed_batch
from maskcli.trace.recorder import CallRecord, Recording
from maskcli.trace.run import ModelRun, list_output_tensors
from maskcli.trace.values import as_float64, is_float

COPIES = 4
"""Rows that are made of a single row, or as many as there are timesteps, up to ``MOST_COPIES``."""
MOST_COPIES = 16
CANDIDATES = 8
"""Calls that are tried as the cause, at most."""


@dataclasses.dataclass(frozen=True, eq=False)
class RowsResult:
    """The answer of the probe.

    Attributes:
        mixed: the result that changes most with another row; None if none does.
        context: the context whose trace shows the call where rows mix.
        max_abs_change: the largest change; None if the probe could not run.
        why: the reason why the probe could not run.
    """

    mixed: MixedRows | None
    context: ProbeContext
    max_abs_change: float | None = None
    why: str | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class _Trial:
    """A run in which some rows are other ones.

    Attributes:
        replaced: ``(batch,)``, the rows that are other ones.
        inputs: the inputs of the run.
        recording: the run.
        align: compares the rows that are the same.
    """

    replaced: Bools
    inputs: tuple[ModelInput, ...]
    recording: Recording
    align: Alignment


def probe_rows(context: ProbeContext, leak: Leak | None = None) -> RowsResult:
    """Replace half of the rows, and compare the results of the other half.

    Args:
        context: the run to probe.
        leak: the verdict on padding; where rows ran without the others and had the same results, one half is enough.
    """
    batch = _make_batch(context)
    if isinstance(batch, str):
        return RowsResult(None, context, why=batch)
    trials = list(itertools.islice(_replace_halves(batch), 1 if batch is context and _ran_alone(batch, leak) else 2))
    tight = tolerance = allow_one_ulp(batch.base.ended)
    worst = _find_worst_output(batch, trials, tight)
    if worst is None:
        why = "no output with a row for each row of the data can be compared"
        return RowsResult(None, context, why="with other rows the model raises an error" if not trials else why)
    change = worst[1].change
    if worst[1].counts:
        # Only a change is worth the runs that exclude other reasons for it: random numbers, another order of axes,
        # and rounding.
        if not is_steady(batch):
            return RowsResult(None, context, why="two runs on the same data differ")
        fewer = _run_without_last(batch)
        tolerance = estimate_rounding(batch.run, batch.flow, batch.align(), tight)
        worst = _find_worst_output(batch, trials, tolerance, fewer)
    if worst is None or not worst[1].counts:
        return RowsResult(None, context, change)
    trial, difference = worst
    culprit = _find_culprit(batch, trial, tolerance, fewer)
    if culprit is not None and batch is not context:
        same = is_same_sequence(context.base, batch.base)
        culprit = context.base.entries[culprit.index] if same else None
    context, path = name_owner(context, culprit)
    mixed = MixedRows(
        max_abs_change=difference.change,
        tolerance=difference.tolerance,
        sample=difference.sample,
        timestep=difference.timestep,
        output=difference.output,
        first_call=path,
    )
    return RowsResult(mixed, context, difference.change)


def _ran_alone(batch: ProbeContext, leak: Leak | None) -> bool:
    """Return whether rows of one length ran without the rows of other lengths, and had the same results."""
    if (
        leak is None
        or leak.leaks is not False
        or not any(probe.name == "alone" and probe.applicable for probe in leak.probes)
    ):
        return False
    lengths = [
        model_input.lengths[batch.relevant] for model_input in batch.with_timesteps if model_input.lengths is not None
    ]
    return any((length != length[0]).any() for length in lengths)


def make_rows_probe(result: RowsResult) -> Probe:
    """Return the probe ``rows`` for the list of probes."""
    mixed = result.mixed
    if result.why is not None:
        return Probe("rows", False, why=result.why)
    if mixed is None:
        return Probe("rows", True, max_abs_change=result.max_abs_change)
    return Probe(
        name="rows",
        applicable=True,
        leaks=True,
        max_abs_change=mixed.max_abs_change,
        tolerance=mixed.tolerance,
        first_call=mixed.first_call,
        sample=mixed.sample,
        timestep=mixed.timestep,
        output=mixed.output,
    )


def _make_batch(context: ProbeContext) -> ProbeContext | str:
    """Return the context with at least two rows, or the reason why there are none; a single row is repeated."""
    if not context.relevant.any():
        return "no row has a valid timestep in every input"
    if len(context.relevant) > 1:
        return context
    if find_fixed_batch(context.model) is not None:
        return "the model takes a batch of one row"
    # A mask (batch, timesteps) that is taken for (queries, keys) raises an error unless the batch has that many rows.
    timesteps = max(
        (model_input.valid.shape[1] for model_input in context.inputs if model_input.valid is not None), default=0
    )
    for copies in dict.fromkeys((timesteps if 1 < timesteps <= MOST_COPIES else COPIES, COPIES)):
        run = ModelRun(context.model, repeat_row(context.inputs, copies))
        if run.recording.error is None:
            return make_context(run, np.repeat(context.labels, copies))
    return "the model takes a batch of one row"


def _replace_halves(batch: ProbeContext) -> Iterator[_Trial]:
    """Yield a run in which half of the rows are other ones, for each half."""
    rows = len(batch.relevant)
    rng = np.random.default_rng(6)
    half = np.zeros(rows, bool)
    # A random half, because rows that mix in a regular way could all be in one of two regular halves.
    half[rng.permutation(rows)[: (rows + 1) // 2]] = True
    donors = _choose_donors(batch.inputs, rows)
    for replaced in (half, ~half):
        inputs = replace_rows(batch.inputs, replaced, donors, rng)
        recording = batch.run.vary(inputs)
        if recording.error is None:
            align = Alignment(np.arange(rows), batch.side, batch.relevant & ~replaced, batch.labels)
            yield _Trial(replaced, inputs, recording, align)


def _choose_donors(inputs: Sequence[ModelInput], rows: int) -> NDArray[np.intp]:
    """Return for each row another one that takes its place, of another length where there is one."""
    lengths = [model_input.lengths for model_input in inputs if model_input.lengths is not None]
    donors = (np.arange(rows) + 1) % rows
    if lengths:
        table = np.stack(lengths)
        filled = (table > 0).all(axis=0)
        for row in range(rows):
            unlike = np.flatnonzero((table != table[:, [row]]).any(axis=0) & filled)
            if len(unlike):
                donors[row] = unlike[row % len(unlike)]
    return donors.astype(np.intp)


def _find_worst_output(
    batch: ProbeContext, trials: Sequence[_Trial], tolerance: Tolerance, fewer: Recording | None = None
) -> tuple[_Trial, Difference] | None:
    """Return the largest change of an output in a row that stays the same, and its run.

    Args:
        batch: the run to compare with.
        trials: runs with other rows.
        tolerance: the changes that count as rounding.
        fewer: a run without the last row, which shows whether the first axis of an output is the batch.
    """
    outputs = list_output_tensors(batch.base.output)
    shorter = [None] * len(outputs) if fewer is None else [tensor for _, tensor in list_output_tensors(fewer.output)]
    results = []
    for trial in trials:
        changed = list_output_tensors(trial.recording.output)
        worst = find_worst(
            measure_difference(old, batch.flow.valid.get(id(old)), new, trial.align, *tolerance.of(0, position), name)
            for position, ((name, old), (_, new), fewer_rows) in enumerate(zip(outputs, changed, shorter, strict=True))
            if is_float(old) and _has_rows(old, fewer_rows, len(batch.relevant))
        )
        if worst is not None:
            results.append((trial, worst))
    return max(results, key=lambda result: result[1].excess, default=None)


def _has_rows(tensor: Any, fewer_rows: Any, rows: int) -> bool:
    """Return whether the first axis of a tensor is the batch; ``fewer_rows`` is the same tensor without the last row.

    In a batch of as many rows as timesteps, the first axis may also be time.
    """
    shape = tuple(tensor.shape)
    if not shape or shape[0] != rows:
        return False
    return fewer_rows is None or tuple(fewer_rows.shape) == (rows - 1, *shape[1:])


def _run_without_last(batch: ProbeContext) -> Recording | None:
    """Return the run without the last row; None for a fixed batch, and where the model raises."""
    if find_fixed_batch(batch.model) is not None:
        return None
    rows = slice(0, len(batch.relevant) - 1)
    fewer = batch.run.vary(tuple(select_rows(model_input, rows) for model_input in batch.inputs))
    return None if fewer.error is not None else fewer


# The call where rows mix.


def _find_culprit(
    batch: ProbeContext, trial: _Trial, tolerance: Tolerance, fewer: Recording | None
) -> CallRecord | None:
    """Return the first call through which rows mix: with its former result, no output changes more than rounding."""
    candidates = list(_list_candidates(batch, trial, tolerance, fewer))
    for entry, values in candidates[:CANDIDATES]:
        again = batch.run.vary(trial.inputs, alter=make_substitution(values))
        if again.error is not None:
            continue
        left = _find_worst_output(batch, [dataclasses.replace(trial, recording=again)], tolerance, fewer)
        if left is None or not left[1].counts:
            return entry
    return candidates[0][0] if candidates else None


def _list_candidates(
    batch: ProbeContext, trial: _Trial, tolerance: Tolerance, fewer: Recording | None
) -> Iterator[tuple[CallRecord, Substitutes]]:
    """Yield the calls whose result shows other rows, with the result that they would have without these.

    That is a change in a row which stays the same, or a change of a result that has no rows at all, such as a mean
    over the batch.
    """
    shapes = _list_shapes(fewer, batch.base)
    for old, new in pair_calls(batch.base, trial.recording):
        if old.parent is None:
            continue
        relative, floor = tolerance.at(old.index)
        values = {}
        for position, (tensor, changed) in enumerate(zip(old.outputs, new.outputs, strict=False)):
            before, after = as_float64(tensor), as_float64(changed)
            if before.shape != after.shape or not before.size:
                continue
            by_row = _has_batch_axis(before.shape, shapes.get((old.index, position)), len(batch.relevant))
            if by_row is None:
                continue
            same = trial.align.relevant if by_row else np.ones(before.shape[:1] or (1,), bool)
            change = measure_change(before, after).reshape(len(same), -1).max(axis=1)
            finite = np.abs(before[np.isfinite(before)])
            if change[same].max(initial=0.0) > max(relative * float(finite.max(initial=0.0)), floor):
                kept = np.reshape(same, (-1, *[1] * (before.ndim - 1))) if before.ndim else same[0]
                values[old.index, position] = np.where(kept, before, after)
        if values:
            yield old, values


def _list_shapes(fewer: Recording | None, base: Recording) -> dict[tuple[int, int], tuple[int, ...]]:
    """Return the shapes in a run without the last row, by call and position; empty without such a run."""
    if fewer is None or not is_same_sequence(base, fewer):
        return {}
    return {
        (entry.index, position): tuple(tensor.shape)
        for entry in fewer.entries
        for position, tensor in enumerate(entry.outputs)
    }


def _has_batch_axis(shape: tuple[int, ...], fewer: tuple[int, ...] | None, rows: int) -> bool | None:
    """Return whether a tensor has a row for each row of the batch; None where rows may be elsewhere in it."""
    if fewer is None:
        if shape and shape[0] == rows:
            return True
        return False if int(np.prod(shape)) % rows else None
    if fewer == shape:
        return False
    return True if shape[0] == rows and fewer == (rows - 1, *shape[1:]) else None
