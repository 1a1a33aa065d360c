"""Probes that change the length of rows: each row without its padding, and all rows with more padding."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.errors import summarize_error
from maskcli.inputs.arguments import select_rows
from maskcli.probes.compare import find_first_difference, pair_calls
from maskcli.probes.constants import Constant, find_last_numbers, move_numbers, run_with_cut_constants
from maskcli.probes.context import ProbeContext, ProbeResult, find_padding_side, make_context, make_probe
from maskcli.probes.local import is_timestepwise
from maskcli.probes.places import get_wrapped_model, isolate_timesteps, take_places
from maskcli.probes.rounding import estimate_rounding
from maskcli.probes.shifted_positions import is_shift_of_positions
from maskcli.probes.variants import resize_shapes
from maskcli.records.arrays import Bools
from maskcli.records.inputs import ModelInput
from maskcli.records.leak import Probe
from maskcli.tolerance import Tolerance
from maskcli.trace.mask_flow import MaskFlow, follow_masks
from maskcli.trace.outputs import find_fixed_batch
from maskcli.trace.recorder import CallRecord, Recording
from maskcli.trace.run import ModelRun
from maskcli.trace.steps import name_step
from maskcli.trace.values import is_float

COLUMNS = 4
"""Columns of padding that are added: a multiple of the common strides of pooling."""

COPIES = (1, 2, 4, 8)
"""How often a timestep with padding inside is repeated as a row of its own; the first number that runs is taken."""

MOST_GROUPS = 8
"""Different lengths of which rows are run without their padding, at most."""
FEW_GROUPS = 3
"""The same in a large model, if it is known which timesteps of every result are valid."""

DIVISIONS = ("Div", "DivNoNan", "RealDiv")
"""Operations by which a number of timesteps divides; positions are added, or turn vectors by products."""

_FIXED = "the model only takes one length: "
_POSITIONS = "the results depend on the position of a timestep, as with position embeddings, and pre-padding shifts it"


@dataclasses.dataclass(frozen=True, eq=False)
class RowsAlone:
    """All rows of one length, run without their padding.

    Attributes:
        rows: the rows of the probed run; some may be repeated, to fill a fixed batch.
        inputs: the rows, trimmed to their length.
        recording: their run.
        flow: where padding is in their run.
        resized: whether shapes inside the model got the length of the rows.
        is_cut: whether constants with timesteps were cut to those of the rows, so that positions are the same.
    """

    rows: NDArray[np.intp]
    inputs: tuple[ModelInput, ...]
    recording: Recording
    flow: MaskFlow
    resized: bool = False
    is_cut: bool = False


def run_rows_alone(
    context: ProbeContext, most: int | None = None, reuse: Sequence[RowsAlone] = ()
) -> list[RowsAlone] | str:
    """Run the rows of some lengths without their padding, or return the reason why that is impossible.

    Args:
        context: the run to probe; its model takes any length that its calls can compute with.
        most: the number of lengths that are tried; by default as many as are needed.
        reuse: earlier results, which are used again where rows and values are the same.
    """
    results, why = [], "no row has padding and a valid timestep"
    batch = find_fixed_batch(context.model)
    constants: Sequence[Constant] | None = None
    for rows, columns, cells in _group_rows(context, most or _count_groups(context)):
        filled = rows if batch is None else np.resize(rows, batch)
        trimmed = tuple(
            _trim_cells(select_rows(model_input, filled, span or slice(None)), cells)
            for model_input, span in zip(context.inputs, columns, strict=True)
        )
        equal = _find_equal_run(reuse, trimmed)
        if equal is not None:
            results.append(dataclasses.replace(equal, rows=filled, inputs=trimmed))
            continue
        run, resized = run_at_length(context, trimmed)
        span = _find_common_span(context, columns) if isinstance(run, str) else None
        cut, is_cut = None if span is None else run_with_cut_constants(context, trimmed, span, constants), True
        if cut is None and span is not None:
            cut, is_cut = _run_with_first_constants(context, trimmed, span), False
        if cut is not None and not _keeps_length(context, cut[0], trimmed):
            run, constants = cut[0], cut[1] if is_cut else constants
        else:
            cut = None
        if isinstance(run, str):
            why = f"without their padding, {run}"
        elif loses_all_timesteps(context.base, run):
            why = "without their padding, rows are shorter than a window, and no timestep is left of them"
        else:
            has_cut = cut is not None
            flow = follow_masks(run, trimmed)
            results.append(RowsAlone(filled, trimmed, run, flow, resized or has_cut, has_cut and is_cut))
    if not results and has_fixed_length(context):
        why = _FIXED + why
    return results or why


def _run_with_first_constants(
    context: ProbeContext, inputs: Sequence[ModelInput], span: slice
) -> tuple[Recording, Sequence[Constant]] | None:
    """Run rows that lost the padding before their data with the first timesteps of constants; None if that fails.

    Numbers of timesteps, such as that of the last valid one, count from the first that remains.
    """
    return run_with_cut_constants(context, inputs, slice(0, span.stop - span.start)) if span.start > 0 else None


def _count_groups(context: ProbeContext) -> int:
    """Return the number of lengths of which rows are run without their padding."""
    if context.quick and _knows_lengths(context):
        return 1
    # A row of another length may leak by itself: the others may lie where an activation is flat.
    return FEW_GROUPS if context.run.is_large and _knows_lengths(context) else MOST_GROUPS


def _knows_lengths(context: ProbeContext) -> bool:
    """Return whether it is known which timesteps of each result are valid; else rows without padding show it."""
    flow = context.flow
    return all(
        valid.ndim != 2 or key in flow.exact or any(valid is truth for truth in flow.truths)
        for key, valid in flow.valid.items()
    )


def run_at_length(context: ProbeContext, inputs: Sequence[ModelInput]) -> tuple[Recording | str, bool]:
    """Run a model on inputs with other numbers of timesteps, or return the reason why that is impossible.

    A model of a fixed length may have shapes of that length as arguments of its calls; if it does not run, these get
    the new length. The second result is True for such a run.
    """
    timesteps = {
        old.values.shape[1]: new.values.shape[1]
        for old, new in zip(context.inputs, inputs, strict=True)
        if old.valid is not None
    }
    numbers = find_last_numbers(context, timesteps) if has_fixed_length(context) else {}
    with move_numbers(numbers):
        run = context.run.vary(inputs)
    if run.error is None and not (has_fixed_length(context) and _keeps_length(context, run, inputs)):
        return run, bool(numbers)
    with resize_shapes(context.model, timesteps), move_numbers(numbers):
        resized = context.run.vary(inputs)
    if resized.error is None and not _keeps_length(context, resized, inputs):
        return resized, True
    if run.error is not None:
        return f"the model raises {summarize_error(run.error)}", False
    return "the model still computes with the timesteps that it was built with", False


def has_fixed_length(context: ProbeContext) -> bool:
    """Return whether the model declares the number of timesteps of an input."""
    tensors = getattr(context.model, "inputs", None) or ()
    pairs = zip(tensors, context.inputs, strict=False)
    return any(model_input.valid is not None and tensor.shape[1] is not None for tensor, model_input in pairs)


def loses_all_timesteps(base: Recording, run: Recording) -> bool:
    """Return whether a result is empty that is not in the base run, or is made up by the backend instead.

    Some results are always empty: Keras checks the shape of a maximum with such a tensor.
    """
    return any(_is_below_window(entry) for entry in run.ended) or any(
        0 in new_tensor.shape and 0 not in old_tensor.shape and is_float(old_tensor)
        for old, new in pair_calls(base, run)
        for old_tensor, new_tensor in zip(old.outputs, new.outputs, strict=False)
    )


def _is_below_window(entry: CallRecord) -> bool:
    """Return whether a convolution or pooling has fewer timesteps than its window.

    TensorFlow may return a timestep of uninitialized memory for such a convolution.
    """
    layer = entry.operation
    window = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", None)
    if entry.code or not entry.inputs or getattr(layer, "padding", None) != "valid" or not isinstance(window, tuple):
        return False
    if "Transpose" in entry.type:
        return False
    dilations = getattr(layer, "dilation_rate", None) or (1,) * len(window)
    first = 2 if getattr(layer, "data_format", None) == "channels_first" else 1
    sizes = entry.inputs[0].shape[first : first + len(window)]
    return any(size < (width - 1) * step + 1 for size, width, step in zip(sizes, window, dilations, strict=False))


def _keeps_length(context: ProbeContext, run: Recording, inputs: Sequence[ModelInput]) -> bool:
    """Return whether a result has as many timesteps as before, although the rows have fewer or more.

    A shape that is part of the model can turn one timestep into many, without an error.
    """
    if len(context.with_timesteps) > 1 and len({x.values.shape[1] for x in context.with_timesteps}) > 1:
        return False  # Results of inputs that were not cut keep their length.
    truths = [model_input.valid for model_input in context.with_timesteps]
    before = {truth.shape[1] for truth in truths if truth is not None}
    after = {model_input.valid.shape[1] for model_input in inputs if model_input.valid is not None}
    if len(before) != 1 or len(after) != 1 or before == after:
        return False
    timesteps = before.pop()
    same = {id(truth) for truth in truths}
    return any(
        id(context.flow.valid.get(id(old_tensor))) in same
        and len(new_tensor.shape) == len(old_tensor.shape) == 3
        and new_tensor.shape[1] == timesteps
        for old, new in pair_calls(context.base, run)
        for old_tensor, new_tensor in zip(old.outputs, new.outputs, strict=False)
    )


def _find_equal_run(reuse: Sequence[RowsAlone], inputs: Sequence[ModelInput]) -> RowsAlone | None:
    """Return an earlier result with the same values; None if its positions may be others."""
    for alone in reuse:
        pairs = zip(alone.inputs, inputs, strict=True)
        if not alone.is_cut and all(np.array_equal(old.values, new.values) for old, new in pairs):
            return alone
    return None


def _find_common_span(context: ProbeContext, columns: Sequence[slice | None]) -> slice | None:
    """Return the timesteps that rows keep in all inputs with timesteps; None if these or their number differ."""
    spans = {(span.start, span.stop) for span in columns if span is not None}
    sizes = {item.valid.shape[1] for item in context.with_timesteps if item.valid is not None}
    return slice(*spans.pop()) if len(spans) == len(sizes) == 1 else None


def learn_lengths(context: ProbeContext, alone: Sequence[RowsAlone]) -> ProbeContext:
    """Return the context with the lengths that rows have in results of other timesteps, such as those of pooling.

    A row that runs without its padding shows how many of these timesteps are its own.
    """
    learned = dict(context.flow.valid)
    for rows_alone in alone:
        for old, new in pair_calls(context.base, rows_alone.recording):
            for tensor, alone_tensor in zip(old.outputs, new.outputs, strict=False):
                valid = learned.get(id(tensor))
                if valid is None or valid.ndim != 2 or len(alone_tensor.shape) < 2 or id(tensor) in context.flow.exact:
                    continue
                if len(valid) != len(context.relevant) or alone_tensor.shape[0] != len(rows_alone.rows):
                    continue  # A statistic of the whole batch, which has no rows.
                length = _count_timesteps(rows_alone.flow, alone_tensor)
                corrected = _correct_length(valid, rows_alone.rows, length, context.side)
                if corrected is not None:
                    learned[id(tensor)] = corrected
    flow = dataclasses.replace(context.flow, valid=learned)
    return dataclasses.replace(context, trace=dataclasses.replace(context.trace, flow=flow))


def _count_timesteps(flow: MaskFlow, tensor: Any) -> NDArray[np.intp]:
    """Return ``(rows,)``: the valid timesteps of a result without padding."""
    valid = flow.valid.get(id(tensor))
    if valid is None or valid.ndim != 2:
        return np.full(int(tensor.shape[0]), int(tensor.shape[1]))
    return np.asarray(valid.sum(axis=1))


def _correct_length(valid: Bools, rows: NDArray[np.intp], lengths: NDArray[np.intp], side: str) -> Bools | None:
    """Return the validity with other lengths of some rows; None if they have these lengths already."""
    wrong = valid[rows].sum(axis=1) != lengths
    if not wrong.any():
        return None
    position, timesteps = np.arange(valid.shape[1]), valid.shape[1]
    valid = valid.copy()
    for row, length in zip(rows[wrong], lengths[wrong], strict=True):
        valid[row] = position < length if side == "post" else position >= timesteps - length
    return valid


@dataclasses.dataclass(eq=False)
class LengthProbes:
    """The probes of one context that change the length of rows.

    Attributes:
        context: the run to probe.
        alone: the rows of each length without their padding, or the reason why there are none.
        clean: whether the content of padding changes nothing.
        runs: the further runs, by their purpose; probes of the same context with another tolerance share them.
    """

    context: ProbeContext
    alone: list[RowsAlone] | str
    clean: bool
    runs: dict[Any, Any] = dataclasses.field(default_factory=dict)
    _aligned: dict[tuple[int, ...], list[ProbeResult] | None] = dataclasses.field(default_factory=dict, init=False)

    def probe_alone(self) -> ProbeResult:
        """Compare each row with itself without its padding."""
        if isinstance(self.alone, str):
            # Without padded timesteps, rows have no other padding than that inside.
            is_inside = not any(item.padded_timesteps for item in self.context.inputs)
            inside = self._inside if is_inside else []
            return _merge_results(inside) if inside else ProbeResult(Probe("alone", False, why=self.alone))
        results = [
            make_probe("alone", self.context, alone.recording, self.context.align(alone.rows, alone.flow))
            for alone in self.alone
        ]
        calls = tuple(call for result in results for call in result.calls)
        for alone, result in zip(self.alone, results, strict=True):
            if not alone.is_cut and self._may_be_position(result):
                discounted = self._discount_positions(result, alone)
                return dataclasses.replace(discounted, also=calls)
        inside = self._inside
        return _merge_results([*results, *inside])

    def probe_columns(self) -> ProbeResult:
        """Add more padding to every row, and to every timestep that has padding inside.

        In a large model, rows are spared that have the same results without their padding: they have run with two
        amounts of it already, and a row that no run has changed so far shows the same as a third amount.
        """
        rows = self._list_unlengthened() if self.context.run.is_large else None
        results = []
        for axis in (1, 2):
            if axis == 2 and all(model_input.cells is None for model_input in self.context.inputs):
                continue
            results.append(self._probe_more(axis, COLUMNS, rows))
        if any(map(_aligns_windows, self.context.base.ended)) and results[0].probe.applicable:
            odd = self._probe_more(1, COLUMNS + 1, rows)
            results += [odd] if odd.probe.applicable and not odd.skipped else []
        return _merge_results(results)

    def _probe_more(self, axis: int, more: int, rows: NDArray[np.intp] | None) -> ProbeResult:
        side = self.context.side if axis == 1 else find_cell_side(self.context.inputs)
        longer = add_columns(self.context.model, self.context.inputs, side, axis, more)
        chosen = longer if rows is None else [select_rows(model_input, rows) for model_input in longer]
        return self._probe_longer(chosen, axis, rows)

    def _list_unlengthened(self) -> NDArray[np.intp] | None:
        """Return the rows that did not run without their padding, or else the longest one; None for all rows.

        These are all rows also where positions count, and where the results of the others differ or prove nothing.
        """
        is_fixed = find_fixed_batch(self.context.model) is not None
        if isinstance(self.alone, str) or is_fixed or self.context.side == "pre":
            return None
        alone = self.probe_alone()
        if alone.probe.leaks or not alone.probe.applicable or alone.skipped:
            return None
        relevant = np.flatnonzero(self.context.relevant)
        rest = np.setdiff1d(relevant, np.concatenate([rows.rows for rows in self.alone]))
        return rest if len(rest) else self.alone[-1].rows[-1:]  # They are in the order of their lengths.

    def _run_once(self, key: Any, run: Callable[[], Any]) -> Any:
        if key not in self.runs:
            self.runs[key] = run()
        return self.runs[key]

    def _probe_longer(self, inputs: Sequence[ModelInput], axis: int, rows: NDArray[np.intp] | None) -> ProbeResult:
        key = (axis, None if rows is None else tuple(rows.tolist()), inputs[0].values.shape)
        with name_step("columns"):
            run, resized = self._run_once(key, lambda: run_at_length(self.context, inputs))
        if isinstance(run, str):
            fixed = _FIXED if has_fixed_length(self.context) else ""
            return ProbeResult(Probe("columns", False, why=f"{fixed}with {COLUMNS} more timesteps, {run}"))
        flow = follow_masks(run, inputs)
        result = make_probe("columns", self.context, run, self.context.align(rows, flow))
        if self._may_be_position(result):
            relevant = np.flatnonzero(self.context.relevant)
            return self._discount_positions(result, RowsAlone(relevant, tuple(inputs), run, flow, resized))
        return result

    @cached_property
    def _inside(self) -> list[ProbeResult]:
        """Each timestep that has padding inside, compared with itself without it, as a row of its own."""
        return self._probe_isolated() or self._probe_wrapped()

    def _probe_isolated(self) -> list[ProbeResult]:
        """Run the model on timesteps as rows of their own, repeated as often as its windows need."""
        run = self._run_once("inside", self._run_isolated)
        if run is None:
            return []
        context = make_context(run, np.full(len(run.inputs[0].values), self.context.labels[0]))
        results = _compare_alone(context, self._run_once("inside alone", lambda: run_rows_alone(context)))
        entries = self.context.base.entries
        return [
            dataclasses.replace(result, first=None if result.first is None else entries[result.first.index])
            for result in results
        ]

    def _run_isolated(self) -> ModelRun | None:
        """Run the model on rows of a timestep each, in as few copies as possible; None if it takes none of these."""
        if find_fixed_batch(self.context.model) is not None:
            return None
        lengths = [
            item.valid.shape[1] for item in self.context.inputs if item.cells is not None and item.valid is not None
        ]
        for copies in (*COPIES, *lengths[:1]):  # The last is the only number that a model of fixed length takes.
            inputs = isolate_timesteps(self.context.inputs, self.context.relevant, copies)
            run = None if inputs is None else ModelRun(self.context.model, inputs)
            if run is None:
                return None
            if run.recording.error is not None or len(run.recording.entries) != len(self.context.base.entries):
                continue
            if not loses_all_timesteps(self.context.base, run.recording):
                return run
        return None

    def _probe_wrapped(self) -> list[ProbeResult]:
        """Run the models inside of ``TimeDistributed`` on timesteps as rows, if all padding inside goes into these."""
        results: list[ProbeResult] = []
        for tensor, model_input in zip(self.context.base.inputs, self.context.inputs, strict=True):
            if not model_input.padded_places:
                continue
            rows = take_places(model_input, self.context.relevant)
            if rows is None:
                return []
            users = [entry for entry in self.context.base.ended if any(x is tensor for x in entry.inputs)]
            for entry in filter(lambda user: user.parent is not None, users):
                alone = self._run_once(("wrapped", entry.index), partial(_run_places, entry, rows))
                if not alone:
                    return []
                results += alone
        return results

    @property
    def covers_places(self) -> bool:
        """Whether timesteps with padding inside ran without it, if there are any."""
        return not any(model_input.padded_places for model_input in self.context.inputs) or bool(self._inside)

    def _may_be_position(self, result: ProbeResult) -> bool:
        """Return whether a leak may come from positions, which pre-padding shifts, and not from padding."""
        return result.probe.leaks and self.clean and self.context.side == "pre"

    def _discount_positions(self, result: ProbeResult, other: RowsAlone) -> ProbeResult:
        """Return a probe under pre-padding without the effect of shifted positions.

        This applies if the first difference is at a call that treats each timestep by itself, as the addition of
        position embeddings does. Then the rows are run with their padding after them, and compared with themselves
        without padding. Positions are equal in these two runs, so that any remaining difference is a leak, unless it
        comes from the last timestep, which is padding there. If there is none, the difference must also vanish once the
        calls that add positions return the same in both runs.
        """
        rows, run = other.rows, other.recording
        align = self.context.align(rows if len(rows) == run.inputs[0].shape[0] else None, other.flow)
        first = find_first_difference(self.context.base, self.context.flow, run, align, self.context.tolerance)
        if first is None or not is_timestepwise(self.context, first):
            return result
        if first is not None and first.type in DIVISIONS:
            return result  # A running mean, which counts the padding before the data.
        key = tuple(rows.tolist())
        if key not in self._aligned:
            self._aligned[key] = self._probe_aligned(rows)
        aligned = self._aligned[key]
        if aligned is None:
            return result
        leaking = [leak for leak in aligned if leak.probe.leaks]
        worst = max(leaking, key=lambda leak: leak.probe.max_abs_change or 0.0, default=None)
        if worst is None or _takes_timestep(self.context, worst.first):
            if not is_shift_of_positions(self.context, other.inputs, run, align):
                return result
            return dataclasses.replace(result, probe=dataclasses.replace(result.probe, leaks=False, why=_POSITIONS))
        # Both runs are of the same model, so that a call has the same index in both.
        entries = self.context.base.entries
        same = None if worst.first is None else entries[worst.first.index]
        return ProbeResult(dataclasses.replace(worst.probe, name=result.probe.name), same)

    def _probe_aligned(self, rows: NDArray[np.intp]) -> list[ProbeResult] | None:
        """Compare rows with their padding after them with the same rows without padding; None if they cannot run."""
        inputs = tuple(_move_padding(model_input, rows) for model_input in self.context.inputs)
        key = tuple(rows.tolist())
        moved = self._run_once(("moved", key), lambda: ModelRun(self.context.model, inputs))
        if moved.recording.error is not None:
            return None
        context = make_context(moved, self.context.labels[rows])
        # The same calls round in the same way, so that the measured floors hold here, too.
        measured = self.context.tolerance
        tolerance = Tolerance(context.tolerance.relative, measured.floor, measured.by_feature)
        context = dataclasses.replace(context, tolerance=tolerance)
        reused = [] if isinstance(self.alone, str) else self.alone
        alone = self._run_once(("moved alone", key), lambda: run_rows_alone(context, reuse=reused))
        if isinstance(alone, str):
            return []
        context = learn_lengths(context, alone)
        return [
            make_probe("alone", context, rows_alone.recording, context.align(rows_alone.rows, rows_alone.flow))
            for rows_alone in alone
        ]


def _compare_alone(context: ProbeContext, alone: list[RowsAlone] | str) -> list[ProbeResult]:
    """Compare rows with themselves without padding, by the rounding of their own run; empty if they cannot run."""
    if isinstance(alone, str):
        return []
    context = learn_lengths(context, alone)
    tolerance = estimate_rounding(context.run, context.flow, context.align(), context.tolerance, samples=1)
    context = dataclasses.replace(context, tolerance=tolerance)
    return [make_probe("alone", context, item.recording, context.align(item.rows, item.flow)) for item in alone]


def _run_places(entry: CallRecord, rows: ModelInput) -> list[ProbeResult]:
    """Compare rows of a model inside of ``TimeDistributed`` with themselves without padding; empty if it cannot run."""
    inner = get_wrapped_model(entry)
    run = None if inner is None else ModelRun(inner, (rows,))
    if run is None or run.recording.error is not None:
        return []
    context = make_context(run, np.zeros(len(rows.values), np.intp))
    results = _compare_alone(context, run_rows_alone(context))
    return [dataclasses.replace(result, first=entry if result.probe.leaks else None, also=()) for result in results]


def _takes_timestep(context: ProbeContext, entry: CallRecord | None) -> bool:
    """Return whether a call takes one timestep by its position, such as the last."""
    if entry is None or entry.type not in ("GetItem", "StridedSlice", "Slice"):
        return False
    same = context.base.entries[entry.index]  # Both runs are of the same model.
    return any(id(tensor) in context.flow.pooled for tensor in same.outputs)


def choose_worst(results: Sequence[ProbeResult]) -> ProbeResult:
    """Return the worst result that could be measured."""
    applicable = [result for result in results if result.probe.applicable]
    return max(applicable, key=_rank, default=results[0])


def _merge_results(results: Sequence[ProbeResult]) -> ProbeResult:
    """Return the worst result, with the calls of all and the outputs that some result could not compare."""
    calls = tuple(call for result in results for call in result.calls)
    skipped = tuple(dict.fromkeys(output for result in results for output in result.skipped))
    return dataclasses.replace(choose_worst(results), also=calls, skipped=skipped)


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
    cells = None if chosen.cells is None else chosen.cells[row, source]
    return dataclasses.replace(chosen, values=chosen.values[row, source], valid=chosen.valid[row, source], cells=cells)


# Lengths of rows, and of timesteps with padding inside.


def find_positions(inputs: Sequence[ModelInput]) -> frozenset[int]:
    """Return the inputs that count the timesteps of another input; ids that happen to count up are none."""
    return frozenset(
        position
        for position, model_input in enumerate(inputs)
        if model_input.counts_up
        and any(
            other.kind in ("ids", "features") and not other.counts_up and other.shape[1] == model_input.shape[1]
            for other in inputs
            if other.valid is not None
        )
    )


def _aligns_windows(entry: CallRecord) -> bool:
    """Return whether a call steps over timesteps with zeros at both ends, so that their number moves its windows.

    An even number of further timesteps leaves windows at every second timestep where they are.
    """
    strides = getattr(entry.operation, "strides", None)
    is_stepping = isinstance(strides, (tuple, list)) and max(strides, default=1) > 1
    return is_stepping and getattr(entry.operation, "padding", None) == "same"


def add_columns(
    model: Any, inputs: Sequence[ModelInput], side: str, axis: int = 1, more: int = COLUMNS
) -> list[ModelInput]:
    """Return inputs of a model with more padding in every row, or in every timestep.

    An input whose own padding is on the other side, as a decoder's may be, has more of it there.
    """
    counted = find_positions(inputs)
    full = _find_full_inputs(model, inputs) if axis == 1 else set()
    sides = [_choose_side(model_input, side) if axis == 1 else side for model_input in inputs]
    return [
        model_input if position in full else lengthen(model_input, more, at, axis, counts_on=position in counted)
        for position, (model_input, at) in enumerate(zip(inputs, sides, strict=True))
    ]


def _choose_side(model_input: ModelInput, side: str) -> str:
    """Return where an input has its padding; ``side`` for one without any."""
    has_padding = model_input.valid is not None and not model_input.valid.all()
    return find_padding_side([model_input]) if has_padding else side


def _find_full_inputs(model: Any, inputs: Sequence[ModelInput]) -> set[int]:
    """Return the positions of the inputs that never have padding, such as the regions of an image next to a caption.

    They have none in the data, and a number of timesteps of their own, which the model declares; only other inputs have
    padding. A model that declares nothing may have such features.
    """
    tensors = list(getattr(model, "inputs", None) or ())
    is_declared = len(tensors) == len(inputs)
    sizes = [(*tensor.shape, None, None)[1] for tensor in tensors]
    padded = [
        (position, item.values.shape[1])
        for position, item in enumerate(inputs)
        if item.valid is not None and not item.valid.all()
    ]
    full = set()
    for position, item in enumerate(inputs):
        if not padded or item.valid is None or not item.valid.all() or item.kind == "mask":
            continue
        alike = {size for other, size in padded if not is_declared or sizes[other] is not None}
        may_be_full = sizes[position] is not None if is_declared else item.kind == "features"
        if may_be_full and item.values.shape[1] not in alike:
            full.add(position)
    return full


def lengthen(model_input: ModelInput, columns: int, side: str, axis: int = 1, counts_on: bool = False) -> ModelInput:
    """Return an input with more padding at the ``pre`` or ``post`` side; unchanged if it has no timesteps.

    Along axis 2, only an input with padding inside its timesteps gets more of it. Positions count on after the last one
    instead.
    """
    valid, cells = model_input.valid, model_input.cells
    if valid is None or (axis == 2 and cells is None):
        return model_input
    width = (columns, 0) if side == "pre" else (0, columns)
    more = np.pad(valid, [(0, 0), width]) if axis == 1 else valid
    if cells is not None:
        cells = np.pad(cells, _widen(cells.ndim, axis, width))
    if counts_on and side == "post" and axis == 1:
        first = int(model_input.values[0, 0])
        values = np.tile(np.arange(first, first + more.shape[1], dtype=model_input.values.dtype), (len(more), 1))
    else:
        value = choose_padding_value(model_input)
        extended = np.pad(model_input.values, _widen(model_input.values.ndim, axis, width))
        if axis == 1 and model_input.is_square:
            extended = np.pad(extended, _widen(extended.ndim, 2, width), constant_values=model_input.padding)
        added = np.pad(
            np.zeros(model_input.values.shape[: axis + 1], bool), _widen(axis + 1, axis, width), constant_values=True
        )
        values = extended
        values[added] = value
    return dataclasses.replace(model_input, values=values, valid=more, cells=cells)


def _widen(axes: int, axis: int, width: tuple[int, int]) -> list[tuple[int, int]]:
    return [width if index == axis else (0, 0) for index in range(axes)]


def choose_padding_value(model_input: ModelInput) -> NDArray[Any]:
    """Return the value of padding: the one at padding in the data, as far as there is any, or the declared one."""
    values, valid = model_input.values, model_input.valid
    declared = model_input.padding if model_input.validity.value is None else model_input.validity.value
    if model_input.kind == "mask" or valid is None or valid.all():
        return np.asarray(declared if model_input.kind != "mask" else int(model_input.inverted)).astype(values.dtype)
    padding = values[~valid]
    if model_input.is_square:  # Its timesteps get more features as well.
        return np.asarray(model_input.padding, values.dtype)
    if model_input.kind == "features" and model_input.cells is None:
        return np.asarray(padding[0])
    numbers, counts = np.unique(padding, return_counts=True)
    common = numbers[counts.argmax()]
    return np.asarray(declared if (padding == declared).any() else common).astype(values.dtype)


def find_cell_side(inputs: Sequence[ModelInput]) -> str:
    """Return where padding inside timesteps is: ``pre`` if a valid timestep starts with it."""
    cells = (model_input.cells for model_input in inputs if model_input.cells is not None)
    first = next(cells, None)
    return "pre" if first is not None and (~first[:, :, 0] & first.any(axis=2)).any() else "post"


def _trim_cells(model_input: ModelInput, span: slice | None) -> ModelInput:
    """Return an input whose timesteps have only some of their cells."""
    if model_input.cells is None or span is None:
        return model_input
    return dataclasses.replace(model_input, values=model_input.values[:, :, span], cells=model_input.cells[:, :, span])


def _group_rows(
    context: ProbeContext, most: int
) -> Iterator[tuple[NDArray[np.intp], list[slice | None], slice | None]]:
    """Yield the rows with padding, grouped by their valid columns in every input, with these columns.

    Of many groups, the returned ones are spread evenly over the lengths. The columns are None for an input without
    timesteps. The last item is the part of its timesteps that any of these rows needs.
    """
    spans = [_find_spans(model_input) for model_input in context.inputs]
    cell_spans = _find_cell_spans(context.inputs)
    by_span: dict[tuple[Any, ...], list[int]] = {}
    for row in np.flatnonzero(context.relevant):
        key = tuple(None if span is None else (int(span[0][row]), int(span[1][row])) for span in spans)
        inner = None if cell_spans is None else (int(cell_spans[0][row]), int(cell_spans[1][row]))
        has_padding = any(
            part is not None and part != (0, model_input.values.shape[1])
            for part, model_input in zip(key, context.inputs, strict=True)
        )
        if has_padding or (inner is not None and cell_spans is not None and inner != (0, cell_spans[2])):
            by_span.setdefault((*key, inner), []).append(int(row))
    keys = sorted(by_span, key=lambda key: [(-1, -1) if part is None else part for part in key])
    if most == 1:  # The rows with the most padding, in as many inputs as possible.
        keys = sorted(keys, key=lambda key: _rank_lengths(context.inputs, key))[:1]
    elif len(keys) > most:
        keys = [keys[index] for index in np.linspace(0, len(keys) - 1, most).astype(int)]
    for key in keys:
        *columns, cells = [None if part is None else slice(*part) for part in key]
        yield np.asarray(by_span[key], np.intp), columns, cells


def _rank_lengths(inputs: Sequence[ModelInput], key: Sequence[Any]) -> tuple[int, int]:
    """Return in how many inputs a group of rows has no padding, and the number of its valid timesteps."""
    full = sum(
        part is None or part == (0, model_input.values.shape[1]) for part, model_input in zip(key, inputs, strict=False)
    )
    return full, sum(part[1] - part[0] for part in key if part is not None)


def _find_spans(model_input: ModelInput) -> tuple[NDArray[np.intp], NDArray[np.intp]] | None:
    """Return the first valid timestep of each row, and the one after the last."""
    valid = model_input.valid
    if valid is None:
        return None
    return valid.argmax(axis=1), valid.shape[1] - valid[:, ::-1].argmax(axis=1)


def _find_cell_spans(inputs: Sequence[ModelInput]) -> tuple[NDArray[np.intp], NDArray[np.intp], int] | None:
    """Return the first cell that any timestep of a row needs, the one after the last, and the number of cells."""
    with_cells = [model_input.cells for model_input in inputs if model_input.cells is not None]
    if not with_cells or len({cells.shape[2] for cells in with_cells}) > 1:
        return None
    used = np.any(
        [cells.any(axis=1).reshape(*cells.shape[:1], cells.shape[2], -1).any(axis=2) for cells in with_cells], axis=0
    )
    return used.argmax(axis=1), used.shape[1] - used[:, ::-1].argmax(axis=1), used.shape[1]
