"""Losses and metrics of a model with its targets, as evidence for rules; targets are read as ``loss`` reads them."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from maskcli.api.model_data import ModelAndData
from maskcli.api.targets import load_sample_weights, load_targets
from maskcli.errors import InputError, MaskcliError, ModelError, summarize_error
from maskcli.losses.batch_sizes import BATCH_SIZE
from maskcli.losses.binding import OutputLoss, bind_losses, choose_losses, uses_compiled_loss
from maskcli.losses.compile_settings import has_custom_evaluate, read_compiled_metrics
from maskcli.losses.evaluate import LossRun, evaluate
from maskcli.losses.per_output import MetricTargets, examine_metrics, mark_failed_loss, measure_losses
from maskcli.losses.registry import get_loss_name
from maskcli.models.runtime import running
from maskcli.records.arrays import Bools
from maskcli.records.evidence import LossEvidence, MetricEvidence, ModelEvidence
from maskcli.records.loss import Targets
from maskcli.records.options import LossOptions
from maskcli.trace.embeddings import has_unknown_ids
from maskcli.trace.outputs import ModelOutput, find_fixed_batch, find_model_outputs

MOST_ROWS = 4096
"""Rows whose losses are evaluated: as many as fit a check of seconds."""


def has_targets(options: LossOptions) -> bool:
    """Return whether the options have targets."""
    return bool(options.fields) or options.targets is not None


def add_measured_losses(case: ModelAndData, evidence: ModelEvidence, options: LossOptions) -> ModelEvidence:
    """Return the evidence with the losses and metrics of each output that has a loss, measured with its targets.

    Raises:
        InputError: for targets that cannot be read, or have other rows than the data.
        UsageError: for a model without a loss, and for another number of targets than of outputs with a loss.
    """
    rows = len(case.inputs[0].values)
    few = case.first(MOST_ROWS)
    if has_unknown_ids(evidence.lookups, few.inputs):  # MSK004 reports them; evaluate would raise.
        return _add_note(evidence, "Losses were not measured: some ids have no vector in the Embedding.")
    with running(f"--model {case.about.name}"):
        outputs = find_model_outputs(few.runs, few.inputs)
    losses = choose_losses(case.model, case.about.name, outputs, options)
    targets = [_take_rows(target, len(few.inputs[0].values)) for target in load_targets(case, options, outputs, losses)]
    weights = _take_weights(load_sample_weights(case, options), len(few.inputs[0].values))
    bound, failed = _bind(few, evidence, options, outputs, losses, targets, weights)
    batch_size = options.batch_size or find_fixed_batch(case.model) or BATCH_SIZE
    with warnings.catch_warnings(action="ignore"):
        runs, raising = _evaluate(few, evidence, bound, batch_size)
        measured = [item for run in runs for item in measure_losses(run, rows, _find_rows_with_data(few))]
        metrics = _measure_metrics(few, evidence, outputs, bound)
    by_output = {item.output: item for item in (*measured, *failed, *raising)}
    notes = list(evidence.notes)
    if len(few.inputs[0].values) < rows:
        notes.append(f"Losses are those of the first {MOST_ROWS:,} of {rows:,} rows.")
    if uses_compiled_loss(options) and has_custom_evaluate(case.model):
        notes.append("The model has its own test step; the rules judge the loss that it is compiled with.")
    return dataclasses.replace(
        evidence,
        losses=tuple(by_output[output.name] for output in outputs if output.name in by_output),
        metrics=evidence.metrics if metrics is None else tuple(metrics),
        notes=tuple(notes),
    )


def _add_note(evidence: ModelEvidence, note: str) -> ModelEvidence:
    return dataclasses.replace(evidence, notes=(*evidence.notes, note))


def _take_rows(targets: Targets, rows: int) -> Targets:
    return dataclasses.replace(targets, values=targets.values[:rows])


def _take_weights(weights: Any, rows: int) -> Any:
    if weights is None:
        return None
    if isinstance(weights, Mapping):
        return {name: part[:rows] for name, part in weights.items()}
    return weights[:rows]


def _find_rows_with_data(case: ModelAndData) -> Bools:
    """Return ``(batch,)``: whether a row has a valid timestep in every input."""
    has_valid = np.ones(len(case.inputs[0].values), bool)
    for model_input in case.inputs:
        if model_input.valid is not None:
            has_valid = has_valid & model_input.valid.any(axis=1)
    return has_valid


def _bind(
    case: ModelAndData,
    evidence: ModelEvidence,
    options: LossOptions,
    outputs: Sequence[ModelOutput],
    losses: Mapping[int, Any],
    targets: Sequence[Targets],
    weights: Any,
) -> tuple[list[OutputLoss], list[LossEvidence]]:
    """Bind each loss to its output; return also the losses that cannot take their targets."""
    bound: list[OutputLoss] = []
    failed: list[LossEvidence] = []
    for (index, loss), target in zip(losses.items(), targets, strict=True):
        try:
            bound += bind_losses(case.model, outputs, {index: loss}, [target], weights, options, with_metrics=False)
        except (InputError, ModelError) as error:
            text = f"it expects {error.expected}, and received {error.received}"
            failed.append(_mark_failed(evidence, get_loss_name(loss), outputs[index].name, text, error.fix))
    return bound, failed


def _mark_failed(evidence: ModelEvidence, loss: str, name: str, error: str, remedy: str) -> LossEvidence:
    output = next(output for output in evidence.outputs if output.name == name)
    return mark_failed_loss(loss, output, error, remedy)


def _evaluate(
    case: ModelAndData, evidence: ModelEvidence, bound: Sequence[OutputLoss], batch_size: int
) -> tuple[list[LossRun], list[LossEvidence]]:
    """Evaluate all losses together, or each by itself if that raises; return also the losses that raise."""
    if not bound:
        return [], []
    try:
        return [evaluate(case.model, case.inputs, tuple(bound), batch_size)], []
    except MaskcliError:
        raise
    except Exception as error:  # Targets of some rows may be out of range, which Keras notices only now.
        if len(bound) == 1:
            remedy = "Compare the targets of all rows with the outputs: class ids must be below the number of classes."
            text = f"evaluate raises {type(error).__name__}: {summarize_error(error)}"
            return [], [_mark_failed(evidence, bound[0].name, bound[0].output.name, text, remedy)]
    results = [_evaluate(case, evidence, [item], batch_size) for item in bound]
    return [run for runs, _ in results for run in runs], [item for _, items in results for item in items]


def _measure_metrics(
    case: ModelAndData, evidence: ModelEvidence, outputs: Sequence[ModelOutput], bound: Sequence[OutputLoss]
) -> Iterator[MetricEvidence] | None:
    """Yield the metrics with these targets; None if the model has none, or ran on other rows for its evidence."""
    metrics = read_compiled_metrics(case.model)
    pairs = [
        (item, output.sample)
        for item, output in zip(evidence.outputs, outputs, strict=True)
        if item.shape == output.sample.shape
    ]
    if not metrics or len(pairs) < len(outputs):
        return None
    targets = {item.output.name: MetricTargets(item.targets.values[item.output.rows], item.kept) for item in bound}
    return examine_metrics(case.model, metrics, pairs, targets)
