"""Probes that change the length of rows: each row without its padding, and all rows with more padding."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.errors import summarize_error
from maskcli.inputs.arguments import lengthen, rebuild_with_free_length, select_rows
from maskcli.probes.compare import compare_outputs, find_first_difference, pair_calls
from maskcli.probes.context import ProbeContext, ProbeResult, make_context, make_probe
from maskcli.probes.local import is_timestepwise
from maskcli.records.inputs import ModelInput
from maskcli.records.leak import Probe
from maskcli.tolerance import Tolerance
from maskcli.trace.recorder import Recording
from maskcli.trace.run import ModelRun

COLUMNS = 4
"""Columns of padding that are added: a multiple of the common strides of pooling."""

MOST_GROUPS = 8
"""Different lengths of which rows are run without their padding, at most."""


_FIXED = "the model only takes one length, and no copy with a free length can be built"
_POSITIONS = "the results depend on the position of a timestep, as with position embeddings, and pre-padding shifts it"


@dataclasses.dataclass(frozen=True, eq=False)
class RowsAlone:
    """All rows of one length, run without their padding.

    Attributes:
        rows: the rows of the probed run.
        inputs: the rows, trimmed to their length.
        recording: their run.
    """

    rows: NDArray[np.intp]
    inputs: tuple[ModelInput, ...]
    recording: Recording


def adapt_to_any_length(context: ProbeContext) -> ModelRun | None:
    """Return the run of a model that takes any length: the run itself, or one of a copy with the same weights.

    Returns None if the model has a fixed length and no copy gives the same results.
    """
    tensors = getattr(context.model, "inputs", None) or ()
    fixed = [
        tensor
        for tensor, model_input in zip(tensors, context.inputs, strict=False)
        if model_input.valid is not None and tensor.shape[1] is not None
    ]
    if not fixed:
        return context.run
    copy = rebuild_with_free_length(context.model)
    if copy is None:
        return None
    run = ModelRun(copy, context.inputs)
    again = run.vary()  # Its recording is not kept.
    if again.error is not None:
        return None
    worst = compare_outputs(context.base, context.flow, again, context.align(), context.tolerance)
    return run if worst is not None and not worst.counts else None


def run_rows_alone(
    context: ProbeContext, free: ModelRun | None, reuse: Sequence[RowsAlone] = ()
) -> list[RowsAlone] | str:
    """Run the rows of each length without their padding, or return the reason why that is impossible.

    Args:
        context: the run to probe.
        free: the model, or a copy of it that takes any length.
        reuse: earlier results, which are used again where rows and values are the same.
    """
    if free is None:
        return _FIXED
    results, why = [], "no row has padding and a valid timestep"
    for rows, columns in _group_rows(context):
        trimmed = tuple(
            select_rows(model_input, rows, span or slice(None))
            for model_input, span in zip(context.inputs, columns, strict=True)
        )
        run = _find_equal_run(reuse, trimmed) or free.vary(trimmed)
        if run.error is not None:
            why = f"without their padding, rows make the model raise {summarize_error(run.error)}"
        elif any(0 in tensor.shape for entry in run.ended for tensor in entry.outputs):
            why = "without their padding, rows are shorter than a window, and no timestep is left of them"
        else:
            results.append(RowsAlone(rows, trimmed, run))
    return results or why


def _find_equal_run(reuse: Sequence[RowsAlone], inputs: Sequence[ModelInput]) -> Recording | None:
    for alone in reuse:
        pairs = zip(alone.inputs, inputs, strict=True)
        if all(np.array_equal(old.values, new.values) for old, new in pairs):
            return alone.recording
    return None


def learn_lengths(context: ProbeContext, alone: Sequence[RowsAlone]) -> ProbeContext:
    """Return the context with the lengths that rows have in results of other timesteps, such as those of pooling.

    A row that runs without its padding shows how many of these timesteps are its own.
    """
    truths = {id(model_input.valid) for model_input in context.with_timesteps}
    learned, side = dict(context.flow.valid), context.side
    for rows_alone in alone:
        for old, new in pair_calls(context.base, rows_alone.recording):
            for tensor, alone_tensor in zip(old.outputs, new.outputs, strict=False):
                valid = learned.get(id(tensor))
                exact = id(valid) in truths or id(tensor) in context.flow.exact
                if valid is None or exact or len(alone_tensor.shape) < 2:
                    continue
                if alone_tensor.shape[0] != len(rows_alone.rows):
                    continue
                timesteps, length = valid.shape[1], min(int(alone_tensor.shape[1]), valid.shape[1])
                position = np.arange(timesteps)
                valid = valid.copy()
                valid[rows_alone.rows] = position < length if side == "post" else position >= timesteps - length
                learned[id(tensor)] = valid
    flow = dataclasses.replace(context.flow, valid=learned)
    return dataclasses.replace(context, trace=dataclasses.replace(context.trace, flow=flow))


@dataclasses.dataclass(eq=False)
class LengthProbes:
    """The probes of one context that change the length of rows.

    Attributes:
        context: the run to probe.
        free: the run of a model that takes any length; None if there is none.
        alone: the rows of each length without their padding, or the reason why there are none.
        clean: whether the content of padding changes nothing.
    """

    context: ProbeContext
    free: ModelRun | None
    alone: list[RowsAlone] | str
    clean: bool
    _aligned: dict[tuple[int, ...], list[ProbeResult] | None] = dataclasses.field(default_factory=dict, init=False)

    def probe_alone(self) -> ProbeResult:
        """Compare each row with itself without its padding."""
        if isinstance(self.alone, str):
            return ProbeResult(Probe("alone", False, why=self.alone))
        results = [
            make_probe("alone", self.context, alone.recording, self.context.align(alone.rows)) for alone in self.alone
        ]
        calls = tuple(call for result in results for call in result.calls)
        for alone, result in zip(self.alone, results, strict=True):
            if self._may_be_position(result):
                discounted = self._discount_positions(result, alone.recording, alone.rows)
                return dataclasses.replace(discounted, also=calls)
        applicable = [result for result in results if result.probe.applicable]
        worst = max(applicable, key=_rank, default=results[0])
        return dataclasses.replace(worst, also=calls)

    def probe_columns(self) -> ProbeResult:
        """Add more padding to every row."""
        if self.free is None:
            return ProbeResult(Probe("columns", False, why=_FIXED))
        side = self.context.side
        run = self.free.vary([lengthen(model_input, COLUMNS, side) for model_input in self.context.inputs])
        if run.error is not None:
            why = f"with {COLUMNS} more timesteps the model raises {summarize_error(run.error)}"
            return ProbeResult(Probe("columns", False, why=why))
        result = make_probe("columns", self.context, run, self.context.align())
        if self._may_be_position(result):
            discounted = self._discount_positions(result, run, np.flatnonzero(self.context.relevant))
            return dataclasses.replace(discounted, also=result.calls)
        return result

    def _may_be_position(self, result: ProbeResult) -> bool:
        """Return whether a leak may come from positions, which pre-padding shifts, and not from padding."""
        return result.probe.leaks and self.clean and self.context.side == "pre"

    def _discount_positions(self, result: ProbeResult, run: Recording, rows: NDArray[np.intp]) -> ProbeResult:
        """Return a probe under pre-padding without the effect of shifted positions.

        This applies if the first difference is at a call that treats each timestep by itself, as the addition of
        position embeddings does. Then the rows are run with their padding after them, and compared with themselves
        without padding. Positions are equal in these two runs, so that any remaining difference is a leak.
        """
        align = self.context.align(rows if len(rows) == run.inputs[0].shape[0] else None)
        first = find_first_difference(self.context.base, self.context.flow, run, align, self.context.tolerance)
        if first is None or not is_timestepwise(self.context, first):
            return result
        key = tuple(rows.tolist())
        if key not in self._aligned:
            self._aligned[key] = self._probe_aligned(rows)
        aligned = self._aligned[key]
        if aligned is None:
            return result
        leaking = [leak for leak in aligned if leak.probe.leaks]
        worst = max(leaking, key=lambda leak: leak.probe.max_abs_change or 0.0, default=None)
        if worst is None:
            return dataclasses.replace(result, probe=dataclasses.replace(result.probe, leaks=False, why=_POSITIONS))
        # Both runs are of the same model, so that a call has the same index in both.
        entries = self.context.base.entries
        same = None if worst.first is None else entries[worst.first.index]
        return ProbeResult(dataclasses.replace(worst.probe, name=result.probe.name), same)

    def _probe_aligned(self, rows: NDArray[np.intp]) -> list[ProbeResult] | None:
        """Compare rows with their padding after them with the same rows without padding; None if they cannot run."""
        assert self.free is not None  # noqa: S101 - without it no probe of this class can leak
        inputs = tuple(_move_padding(model_input, rows) for model_input in self.context.inputs)
        moved = ModelRun(self.free.model, inputs)
        if moved.recording.error is not None:
            return None
        context = make_context(moved, self.context.labels[rows])
        # The same calls round in the same way, so that the measured floors hold here, too.
        tolerance = Tolerance(context.tolerance.relative, self.context.tolerance.floor)
        context = dataclasses.replace(context, tolerance=tolerance)
        alone = run_rows_alone(context, self.free, [] if isinstance(self.alone, str) else self.alone)
        if isinstance(alone, str):
            return []
        context = learn_lengths(context, alone)
        return [
            make_probe("alone", context, rows_alone.recording, context.align(rows_alone.rows)) for rows_alone in alone
        ]


def _rank(result: ProbeResult) -> tuple[bool, float]:
    """Return a key by which a leak comes before no leak, and then the largest multiple of the tolerance."""
    probe = result.probe
    return probe.leaks, (probe.max_abs_change or 0) / (probe.tolerance or 1)


def _move_padding(model_input: ModelInput, rows: NDArray[np.intp]) -> ModelInput:
    """Return rows of an input with the padding at their start moved to their end."""
    chosen = select_rows(model_input, rows)
    if chosen.valid is None:
        return chosen
    shift = chosen.valid.argmax(axis=1)
    source = (np.arange(chosen.valid.shape[1]) + shift[:, None]) % chosen.valid.shape[1]
    row = np.arange(len(source))[:, None]
    return dataclasses.replace(chosen, values=chosen.values[row, source], valid=chosen.valid[row, source])


def _group_rows(context: ProbeContext) -> list[tuple[NDArray[np.intp], list[slice | None]]]:
    """Return the rows with padding, grouped by their valid columns in every input, with these columns.

    Of many groups, the returned ones are spread evenly over the lengths. The columns are None for an input without
    timesteps.
    """
    spans = [_find_spans(model_input) for model_input in context.inputs]
    by_span: dict[tuple[Any, ...], list[int]] = {}
    for row in np.flatnonzero(context.relevant):
        key = tuple(None if span is None else (int(span[0][row]), int(span[1][row])) for span in spans)
        has_padding = any(
            part is not None and part != (0, model_input.values.shape[1])
            for part, model_input in zip(key, context.inputs, strict=True)
        )
        if has_padding:
            by_span.setdefault(key, []).append(int(row))
    keys = sorted(by_span)
    if len(keys) > MOST_GROUPS:
        keys = [keys[index] for index in np.linspace(0, len(keys) - 1, MOST_GROUPS).astype(int)]
    return [(np.array(by_span[key]), [None if part is None else slice(*part) for part in key]) for key in keys]


def _find_spans(model_input: ModelInput) -> tuple[NDArray[np.intp], NDArray[np.intp]] | None:
    """Return the first valid timestep of each row, and the one after the last."""
    valid = model_input.valid
    if valid is None:
        return None
    return valid.argmax(axis=1), valid.shape[1] - valid[:, ::-1].argmax(axis=1)
