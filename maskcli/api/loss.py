"""Masked and unmasked loss of any model, and the reasons for the difference.

A loss request goes one way::

    load the data and the model      ModelAndData   api/model_data.py (targets first for a built-in model)
    bind a loss to each output       OutputLoss     losses/binding.py, of a ModelOutput and its Targets
    evaluate, and record the losses  LossRun        losses/evaluate.py, with a RecordedLoss for each output
    account for the recorded losses  -              losses/loss_output.py and losses/batch_sizes.py
    write the record, then remarks   LossReport     records/loss.py, conclusions/loss_remarks.py
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence

from maskcli.api.keywords import take_keywords
from maskcli.api.model_data import (
    ModelAndData,
    add_labels,
    load_user_model,
    names_builtin,
    pad_for_builtin,
    pair_with_builtin,
)
from maskcli.api.settings import check_positive, make_builtin_settings
from maskcli.api.targets import check_label_files, load_builtin_targets, load_sample_weights, load_targets
from maskcli.conclusions.loss_remarks import remark_on_loss_report
from maskcli.errors import UsageError
from maskcli.inputs.arguments import select_rows
from maskcli.inputs.objects import split_data
from maskcli.losses.accounting import choose_batch_sizes
from maskcli.losses.batch_sizes import (
    BATCH_SIZE,
    add_gradients,
    compare_batch_sizes,
    find_row_sums,
    select_affordable_sizes,
)
from maskcli.losses.binding import OutputLoss, bind_losses, choose_losses, uses_compiled_loss
from maskcli.losses.compile_settings import has_custom_evaluate
from maskcli.losses.evaluate import LossRun, RecordedLoss, evaluate, evaluate_custom, evaluate_unmasked
from maskcli.losses.loss_output import make_loss_output
from maskcli.losses.registry import CROSS_ENTROPIES, find_loss_form
from maskcli.models.builtin import BUILTIN
from maskcli.models.runtime import choose_backend, read_versions, running
from maskcli.records.layout import Layout
from maskcli.records.loss import BatchSizeLoss, LossOutput, LossReport
from maskcli.records.options import BuiltinOptions, CountProgress, LossOptions, select_options
from maskcli.records.requests import LossRequest
from maskcli.records.sequences import PaddedBatch
from maskcli.trace.outputs import ModelOutput, find_fixed_batch, find_model_outputs
from maskcli.trace.unmasked import may_use_masks

LARGEST_OUTPUT = 2**28
"""Most numbers in the outputs of one batch, which are 1 GiB; a loss needs several times as much memory."""


@take_keywords(LossRequest)
def loss(request: LossRequest) -> LossReport:
    """Compare the masked and the unmasked loss of a model on its data, and explain the difference.

    Raises:
        UsageError: for options that contradict each other or the data.
        InputError: for sequences, ids, targets or weights that do not fit.
        ModelError: when a model cannot be loaded, built or run, or its outputs do not fit the loss.
    """
    parts = split_data(request.data, request.value, request.field, request.model)
    case, options = load_for_loss(parts.inputs, select_options(Layout, request), request, add_labels(request, parts))
    with case.naming():
        return explain_loss(case, options, request.progress)


def load_for_loss(
    sequences: object, layout: Layout, model: BuiltinOptions, options: LossOptions
) -> tuple[ModelAndData, LossOptions]:
    """Load a model with its data; for a built-in model also load targets, and choose options that fit them.

    Raises as ``loss`` does.
    """
    sizes = {f"batch_sizes {size}": size for size in options.batch_sizes}
    check_positive(units=model.units, batch_size=options.batch_size, **sizes)
    _check_options(options)
    check_label_files(options)
    if names_builtin(model.model):
        return _load_builtin(sequences, layout, model, options)
    return load_user_model(sequences, layout, model, options.extra_columns), options


def _check_options(options: LossOptions) -> None:
    """Raise UsageError for negative shuffles, and for weights of both samples and classes."""
    if options.shuffles < 0:
        raise UsageError(
            where="shuffles", expected="at least 0", received=str(options.shuffles), fix="0 tries no orders."
        )
    has_sample_weights = options.sample_weight is not None or options.sample_weight_field is not None
    if options.class_weight is not None and has_sample_weights:
        raise UsageError(
            where="--class-weight",
            expected="either sample weights or class weights, as in Keras",
            received="both",
            fix="Multiply the sample weights by those of the classes.",
        )


def _load_builtin(
    sequences: object, layout: Layout, model: BuiltinOptions, options: LossOptions
) -> tuple[ModelAndData, LossOptions]:
    """Build a built-in model whose outputs are as wide as the targets need; return the options with these targets."""
    for option in options.extra_columns.values():
        raise UsageError(
            where=option,
            expected="a model of your own, which takes fields of the data",
            received=f"--model {model.model}",
            fix=f"Pass the file too, with {option.removesuffix('-field')}.",
        )
    choose_backend(model.backend)
    ragged, batch = pad_for_builtin(sequences, layout, str(model.model))
    settings = make_builtin_settings(ragged, batch, model)
    loss = "mse" if options.loss is None else options.loss
    first_loss = next(iter(loss.values()), "mse") if isinstance(loss, Mapping) else loss
    form = find_loss_form(first_loss)
    # Outputs of an LSTM stay between -1 and 1. As logits of a cross-entropy they need a Dense layer.
    needs_logits = form in CROSS_ENTROPIES and BUILTIN[settings.name].BOUNDED
    units = None if needs_logits else model.units
    targets = load_builtin_targets(options, form, ragged, batch, units, settings.input_dim)
    _check_size(batch, targets.units, options.batch_size or BATCH_SIZE)
    if needs_logits:
        settings = dataclasses.replace(settings, logits=targets.units)
    else:
        settings = dataclasses.replace(settings, units=targets.units)
    case = pair_with_builtin(settings, ragged, batch)
    loss_options = dict(options.loss_options or {})
    if form in CROSS_ENTROPIES:
        loss_options.setdefault("from_logits", True)
    return case, dataclasses.replace(options, targets=targets, loss=loss, loss_options=loss_options)


def _check_size(batch: PaddedBatch, width: int, batch_size: int) -> None:
    """Refuse outputs that would fill the memory, before TensorFlow does."""
    timesteps = min(len(batch.tokens), batch_size) * batch.tokens.shape[1]
    if timesteps * width > LARGEST_OUTPUT:
        raise UsageError(
            where="--targets",
            expected=f"at most {LARGEST_OUTPUT:,} outputs in a batch",
            received=f"{timesteps:,} timesteps of {width:,}",
            fix="Use a smaller --batch-size or --maxlen, or a smaller vocabulary.",
        )


def explain_loss(case: ModelAndData, options: LossOptions, progress: CountProgress | None) -> LossReport:
    """Return the loss report of a model with its data; raise as ``loss`` does."""
    run, unmasked = _run_losses(case, options, progress)
    with running(f"--model {case.about.name}"), warnings.catch_warnings(action="ignore"):
        batch_sizes, gradient_rows = _compare_batch_sizes(run, options)
    report = LossReport(
        model=case.about,
        versions=read_versions(),
        inputs=case.inputs,
        batch=case.batch,
        outputs=_make_outputs(run, unmasked),
        keras_evaluate=run.reported,
        regularization=run.regularization,
        batch_size=run.batch_size,
        batch_sizes=batch_sizes,
        gradient_rows=gradient_rows,
        metrics=run.metrics,
        remarks=(),
        data=case.data,
    )
    return dataclasses.replace(report, remarks=tuple(remark_on_loss_report(report, run)))


def evaluate_losses(case: ModelAndData, options: LossOptions) -> tuple[float, tuple[LossOutput, ...]]:
    """Return the loss that ``evaluate`` reports, and the losses of each output; raise as ``loss`` does."""
    run, unmasked = _run_losses(case, options, None)
    return run.reported, _make_outputs(run, unmasked)


def _run_losses(
    case: ModelAndData, options: LossOptions, progress: CountProgress | None
) -> tuple[LossRun, LossRun | None]:
    """Evaluate a model with its masks, and without any."""
    with running(f"--model {case.about.name}"):
        outputs = find_model_outputs(case.runs, case.inputs)
    losses = _bind_outputs(case, options, outputs)
    with running(f"--model {case.about.name}"), warnings.catch_warnings(action="ignore"):
        return _evaluate(case, options, outputs, losses, progress)


def _bind_outputs(case: ModelAndData, options: LossOptions, outputs: list[ModelOutput]) -> tuple[OutputLoss, ...]:
    losses = choose_losses(case.model, case.about.name, outputs, options)
    targets = load_targets(case, options, outputs, losses)
    weights = load_sample_weights(case, options)
    return bind_losses(case.model, outputs, losses, targets, weights, options)


def _evaluate(
    case: ModelAndData,
    options: LossOptions,
    outputs: list[ModelOutput],
    losses: tuple[OutputLoss, ...],
    progress: CountProgress | None,
) -> tuple[LossRun, LossRun | None]:
    """Evaluate a model with its masks, and without any; the second is None if the model needs its masks.

    Both are the same if masks reach no call.
    """
    batch_size = options.batch_size or find_fixed_batch(case.model) or BATCH_SIZE
    rows = len(case.inputs[0].values)
    runs = 2 if _may_use_masks(case, outputs) else 1
    run = evaluate(case.model, case.inputs, losses, batch_size, _count_part(progress, rows, 0, runs))
    unmasked: LossRun | None = run
    if runs > 1:
        unmasked = evaluate_unmasked(run, _count_part(progress, rows, 1, runs))
    # The model's own steps apply only to the losses that it is compiled with.
    if uses_compiled_loss(options) and len(losses) == len(outputs) and has_custom_evaluate(case.model):
        run = dataclasses.replace(run, custom_steps=True, reported=evaluate_custom(run, batch_size))
    return run, unmasked


def _may_use_masks(case: ModelAndData, outputs: Sequence[ModelOutput]) -> bool:
    """Return whether masks can change the outputs of the model; otherwise one run has both losses."""
    some = tuple(select_rows(model_input, outputs[0].rows) for model_input in case.inputs)
    return may_use_masks(case.runs.get_run(some).recording)


def _make_outputs(run: LossRun, unmasked: LossRun | None) -> tuple[LossOutput, ...]:
    unmasked_records: Sequence[RecordedLoss | None] = [None] * len(run.losses)
    if unmasked is not None:
        unmasked_records = unmasked.recorded
    triples = zip(run.losses, run.recorded, unmasked_records, strict=True)
    return tuple(make_loss_output(*triple) for triple in triples)


def _count_part(progress: CountProgress | None, rows: int, part: int, parts: int) -> Callable[[int], None] | None:
    """Return a callback for the rows of one of several runs; ``part`` counts from 0."""
    return None if progress is None else lambda done: progress(part * rows + done, parts * rows)


def _compare_batch_sizes(run: LossRun, options: LossOptions) -> tuple[tuple[BatchSizeLoss, ...], int]:
    """Return the loss for each batch size, and the number of rows with gradients.

    There are gradients only for batch sizes that the user requests.
    """
    sums = find_row_sums(run)
    if options.batch_sizes:
        sizes = choose_batch_sizes(options.batch_sizes, run.batch_size, run.rows)
        return add_gradients(run, compare_batch_sizes(run, sums, sizes, options.shuffles))
    sizes = (run.batch_size,)
    if find_fixed_batch(run.model) is None:
        sizes = choose_batch_sizes((), run.batch_size, run.rows)
    if sums is None:
        sizes = select_affordable_sizes(run, sizes)
    return compare_batch_sizes(run, sums, sizes, options.shuffles), 0
