"""Collect everything that a model shows with its data, for rules to judge."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from maskcli.backends.arrays import as_array
from maskcli.backends.choice import expect_many_runs, get_backend
from maskcli.errors import summarize_error
from maskcli.losses.per_output import examine_losses, examine_metrics
from maskcli.probes.attention_masks import find_attention_faults
from maskcli.probes.calls import find_failure, find_mask_sources, find_misused_masks, find_mixing, find_taken_timestep
from maskcli.probes.compiled import CompiledResult, make_compiled_probe, probe_compiled
from maskcli.probes.context import LEFT_OUT, ProbeContext
from maskcli.probes.empty_rows import examine_empty_rows
from maskcli.probes.future import FutureResult, make_future_probe, probe_future
from maskcli.probes.leak import LeakResult, probe_leak
from maskcli.probes.local import find_bare_entries
from maskcli.probes.rows import RowsResult, make_rows_probe, probe_rows
from maskcli.probes.saving import probe_saving
from maskcli.probes.segments import SegmentsResult, find_segments, make_segments_probe, probe_segments
from maskcli.records.evidence import ModelEvidence, SavingResult
from maskcli.records.inputs import ModelInput
from maskcli.records.location import Location
from maskcli.trace.embeddings import find_lookups, has_unknown_ids
from maskcli.trace.locations import locate_calls, locate_model
from maskcli.trace.outputs import collect_outputs, find_fixed_batch, select_probed_rows
from maskcli.trace.recorder import name_paths
from maskcli.trace.run import FEWEST_ROWS, ModelRun, Run, RunCache, list_output_tensors
from maskcli.trace.steps import name_step


@expect_many_runs()
def collect_evidence(
    runs: RunCache,
    inputs: Sequence[ModelInput],
    *,
    name: str,
    loss: Any = None,
    metrics: Any = None,
    reload: Callable[[Any], Any] | None = None,
    notes: Sequence[str] = (),
    causal: str | None = None,
    side: Literal["pre", "post"] = "post",
    quick: bool = False,
    segments: NDArray[Any] | None = None,
) -> ModelEvidence:
    """Run a model on its data in every way that shows how it treats padding; the model is left unchanged.

    Args:
        runs: the runs of a Keras model.
        inputs: all rows of the data; the probes run on some of them.
        name: of the model, as the user named it.
        loss: the loss that the model is compiled with, or None.
        metrics: the metrics that it is compiled with, or None.
        reload: saves a model and loads it again; None leaves that out.
        notes: remarks on facts that could not be examined.
        causal: the reason why the model is meant to be causal, if the user has given one.
        side: where maskcli pads data without padding, to probe the model.
        quick: whether only the probes run that decide, each of them once, on the fewest rows.
        segments: ``(batch, timesteps)``, the segments of packed rows where no input has them.

    Raises:
        RaisedInCall: with the exception that the model raises, unless a mask or an id is its cause.
    """
    if quick:
        runs.most_rows = FEWEST_ROWS
    chosen, some = choose_probed_rows(runs, inputs)
    padded_inputs = tuple(item.name for item in some if item.valid is not None and not item.valid.all())
    padded, places = _count_padding(some)
    rows = (len(chosen), len(inputs[0].values))
    run = runs.get_run(some)
    lookups = tuple(find_lookups(run.recording, run.flow, some))
    if run.recording.error is not None:
        failed = ModelEvidence(
            name,
            type(run.model).__name__,
            padded,
            rows,
            lookups=lookups,
            notes=tuple(notes),
            location=locate_model(run.model),
            backend=get_backend().name,
            padded_places=places,
        )
        return _explain_failure(failed, run)
    with warnings.catch_warnings(action="ignore"):
        result = probe_leak(run, chosen, side, quick)
        leak = result.leak
        rows_result, segments_result, future = _probe_valid_timesteps(result, causal, quick, segments)
        context = future.context
        packed = () if segments_result is None else (make_segments_probe(segments_result),)
        compiled = _probe_compiled(context, quick)
        # The causes of a leak are only visible in the run that shows it.
        probed = context if result.probed is result.context else result.probed
        evidence = ModelEvidence(
            name=name,
            type=type(run.model).__name__,
            padded_timesteps=padded,
            rows=rows,
            sources=find_mask_sources(probed.trace, probed.inputs, chosen),
            leak=leak,
            taken=find_taken_timestep(probed, leak.first_call),
            bare=find_bare_entries(probed, {*leak.entries, *filter(None, [leak.first_call])}),
            misused=tuple(find_misused_masks(probed)),
            mixing=tuple(find_mixing(probed, leak.first_call)),
            empty=examine_empty_rows(probed, result.replaced),
            losses=tuple(examine_losses(context, loss)) if loss is not None else (),
            saving=_probe_saving(run, reload, quick),
            lookups=lookups,
            notes=tuple(notes),
            attention=tuple(find_attention_faults(probed, leak)),
            mixed_rows=rows_result.mixed,
            mixed_segments=None if segments_result is None else segments_result.mixed,
            future=future.effects,
            padded_inputs=padded_inputs,
            further_probes=(
                make_rows_probe(rows_result),
                *packed,
                make_future_probe(future),
                make_compiled_probe(compiled),
            ),
            compiled=compiled.difference,
            miscounting=tuple(context.trace.names[index] for index in compiled.miscounting),
            location=locate_model(run.model),
            backend=get_backend().name,
            padded_places=places,
            padding=_find_padding_value(some),
        )
        evidence = _add_trace(evidence, probed.trace, some)
        return _add_metrics(evidence, context.trace, run.model, metrics) if metrics else evidence


def _find_padding_value(inputs: Sequence[ModelInput]) -> float | None:
    """Return the value of the padding of all inputs that have some; None if it is not known, or not the same."""
    values = {str(item.validity.value) for item in inputs if item.kind != "mask" and item.has_padding}
    return float(values.pop()) if len(values) == 1 and "None" not in values else None


def _count_padding(inputs: Sequence[ModelInput]) -> tuple[int, int]:
    """Return the padded timesteps of the inputs, and the padded places inside valid ones.

    Masks and segments have those of the input that they are for.
    """
    timed = [item for item in inputs if item.valid is not None]
    content = [item for item in timed if item.kind != "mask" and not item.auxiliary] or timed
    return sum(item.padded_timesteps or 0 for item in content), sum(item.padded_places or 0 for item in content)


def _probe_valid_timesteps(
    result: LeakResult, causal: str | None, quick: bool, segments: NDArray[Any] | None
) -> tuple[RowsResult, SegmentsResult | None, FutureResult]:
    """Return whether other rows, segments and later timesteps change results; of quick checks, few."""
    context = result.context
    with name_step("rows"):
        rows = RowsResult(None, context, why=LEFT_OUT) if quick else probe_rows(context, result.leak)
    context = rows.context
    packed = _probe_segments(context, quick, segments)
    context = context if packed is None else packed.context
    if quick and causal is None:
        return rows, packed, FutureResult((), context, LEFT_OUT)
    with name_step("future"):
        return rows, packed, probe_future(context, causal, rows.mixed is not None)


def _probe_segments(context: ProbeContext, quick: bool, segments: NDArray[Any] | None) -> SegmentsResult | None:
    """Return whether segments of packed rows change each other; None for rows that are not packed."""
    packed = find_segments(context.inputs)
    values = None if segments is None else segments[context.labels][:, : _count_timesteps(context)]
    values = values if packed is None else packed.values
    if values is None or values.max() < 2:
        return None
    if quick:
        return SegmentsResult(None, context, why=LEFT_OUT)
    with name_step("segments"):
        return probe_segments(context, values)


def _count_timesteps(context: ProbeContext) -> int:
    """Return the most timesteps of an input; rows of a large model may be probed without the columns of longer ones."""
    return max((model_input.values.shape[1] for model_input in context.with_timesteps), default=0)


def _probe_compiled(context: ProbeContext, quick: bool) -> CompiledResult:
    """Return whether the model computes the same when it is compiled."""
    if quick:
        return CompiledResult(None, why=LEFT_OUT)
    with name_step("compiled"):
        return probe_compiled(context)


def _probe_saving(run: ModelRun, reload: Callable[[Any], Any] | None, quick: bool) -> SavingResult | None:
    if reload is None or quick:
        return None if reload is None else SavingResult(None, why=LEFT_OUT)
    with name_step("saving"):
        return probe_saving(run, reload)


def choose_probed_rows(runs: RunCache, inputs: Sequence[ModelInput]) -> tuple[NDArray[np.intp], tuple[ModelInput, ...]]:
    """Return the rows to probe, and their inputs: fewer where the run on them takes too much memory."""
    is_fixed = find_fixed_batch(runs.model) is not None
    if not is_fixed:
        runs.limit_rows(inputs)
    while True:
        chosen, some = select_probed_rows(runs, inputs)
        if runs.get_run(some).recording.error is not None:
            if some[0].values.shape[1:2] == inputs[0].values.shape[1:2]:
                return chosen, some
            runs.takes_short_rows = False  # It may compute with the number of timesteps that it was built with.
            continue
        if is_fixed:
            return chosen, some
        runs.limit_rows(inputs)
        if len(select_probed_rows(runs, inputs)[0]) >= len(chosen):
            return chosen, some


def _add_metrics(evidence: ModelEvidence, trace: Run, model: Any, metrics: Any) -> ModelEvidence:
    """Return the evidence with the metrics, which are tried with random targets."""
    values = [as_array(tensor) for _, tensor in list_output_tensors(trace.output)]
    outputs = list(zip(evidence.outputs, values, strict=True))
    return dataclasses.replace(evidence, metrics=tuple(examine_metrics(model, metrics, outputs, {})))


def _explain_failure(failed: ModelEvidence, run: ModelRun) -> ModelEvidence:
    """Return the evidence with the reason why the model raised.

    Raises:
        RaisedInCall: with the same exception, if it has nothing to do with padding.
    """
    assert run.recording.error is not None  # noqa: S101 - only failed runs are explained
    failure = find_failure(run.recording)
    if failure is not None:
        return dataclasses.replace(failed, failure=failure, failed_at=_locate_failure(run, failure.call))
    if has_unknown_ids(failed.lookups, run.inputs):
        return dataclasses.replace(failed, not_run=summarize_error(run.recording.error))
    raise run.recording.make_error()


def _locate_failure(run: ModelRun, path: str) -> Location | None:
    """Return the line that made the call of a failed run."""
    names = name_paths([entry for entry in run.recording.entries if not entry.code])
    index = next((index for index, name in names.items() if name == path), None)
    return None if index is None else locate_calls(run.recording).get(index)


def _list_unprobed(inputs: Sequence[ModelInput]) -> Iterator[str]:
    """Yield notes on padding inside timesteps, such as that of words in sentences, which the probes ignore."""
    for model_input in inputs:
        name = model_input.name
        if model_input.kind == "features" and model_input.values.dtype.kind in "iu" and model_input.cells is None:
            yield f"{name}: padding inside its timesteps, such as that of words in sentences, is not probed."


def _add_trace(evidence: ModelEvidence, trace: Run, inputs: Sequence[ModelInput]) -> ModelEvidence:
    """Return the evidence with the calls of the run, including those that the probes found to matter."""
    why = (*(loss.why for loss in evidence.losses if loss.why is not None), *_list_unprobed(inputs))
    return dataclasses.replace(
        evidence, trace=trace.calls, outputs=tuple(collect_outputs(trace)), notes=(*evidence.notes, *why)
    )
