"""Masked against unmasked loss of any model, and where the difference comes from."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from maskcli.api.keywords import take_keywords
from maskcli.api.model_data import ModelAndData, load_user_model, names_builtin, pad_for_builtin, pair_with_builtin
from maskcli.api.settings import check_positive, make_builtin_settings
from maskcli.api.targets import find_loss_form, import_references, load_sample_weights, load_targets
from maskcli.conclusions import loss_remarks
from maskcli.errors import UsageError
from maskcli.inputs.targets import GENERATED_TARGETS, convert_targets, make_targets, read_targets
from maskcli.losses.accounting import choose_batch_sizes
from maskcli.losses.binding import bind_loss, look_up_class_weights
from maskcli.losses.compile_settings import (
    CompileSettings,
    has_custom_evaluate,
    read_compile_settings,
    read_output_names,
)
from maskcli.losses.evaluate import Evaluation, OutputLoss
from maskcli.losses.loss_run import (
    LossRun,
    add_gradients,
    compare_batch_sizes,
    find_row_sums,
    make_loss_output,
    run_unmasked,
    select_affordable_sizes,
)
from maskcli.losses.metrics import read_metrics
from maskcli.losses.registry import CROSS_ENTROPIES, get_loss_name, make_loss, match_outputs
from maskcli.models.builtin import BUILTIN
from maskcli.models.runtime import read_versions, running
from maskcli.records.loss import LossOutput, LossReport, Targets
from maskcli.records.options import BuiltinOptions, CountProgress, LossOptions, select_options
from maskcli.records.requests import LossRequest
from maskcli.records.sequences import Layout, PaddedBatch, RaggedSequences
from maskcli.trace.outputs import ModelOutput, find_fixed_batch, find_model_outputs

BATCH_SIZE = 32
"""The default of Keras's ``evaluate``."""
LARGEST_OUTPUT = 2**28
"""Numbers that the outputs of one batch may have: 1 GiB, of which a loss needs several at a time."""


@take_keywords(LossRequest)
def loss(request: LossRequest) -> LossReport:
    """Compare the masked and the unmasked loss of a model on its data, and explain the difference.

    Raises:
        UsageError: for options that contradict each other or the data.
        InputError: for sequences, ids, targets or weights that do not fit.
        ModelError: when a model cannot be loaded, built or run, or its outputs do not fit the loss.
    """
    case, options = load_for_loss(request.sequences, select_options(Layout, request), request, request)
    with case.naming():
        return explain_loss(case, options, request.progress)


def load_for_loss(
    sequences: object, layout: Layout, model: BuiltinOptions, options: LossOptions
) -> tuple[ModelAndData, LossOptions]:
    """Load a model with its data; for a built-in model also make targets, and options that fit them.

    Raises as ``loss`` does.
    """
    sizes = {f"batch_sizes {size}": size for size in options.batch_sizes}
    check_positive(units=model.units, batch_size=options.batch_size, **sizes)
    _check(options)
    if names_builtin(model.model):
        return _builtin(options, sequences, layout, model)
    return load_user_model(sequences, layout, model, options.extra_columns), options


def _check(options: LossOptions) -> None:
    """Raise UsageError for a negative number of shuffles, or for weights of both samples and classes."""
    if options.shuffles < 0:
        raise UsageError(
            where="shuffles", expected="at least 0", received=str(options.shuffles), fix="0 tries no orders."
        )
    weighs_samples = options.sample_weight is not None or options.sample_weight_field is not None
    if options.class_weight is not None and weighs_samples:
        raise UsageError(
            where="--class-weight",
            expected="either sample weights or class weights, as in Keras",
            received="both",
            fix="Multiply the sample weights by those of the classes.",
        )


def _choose_sizes(options: LossOptions, rows: int, fixed: int | None) -> tuple[int, tuple[int, ...]]:
    """Return the batch size of ``evaluate`` and the sizes to compare; a model of a ``fixed`` size runs only that."""
    batch_size = options.batch_size or fixed or BATCH_SIZE
    if fixed is not None and not options.batch_sizes:
        return batch_size, (batch_size,)
    return batch_size, choose_batch_sizes(tuple(options.batch_sizes), batch_size, rows)


def _builtin(
    asked: LossOptions, sequences: object, layout: Layout, model: BuiltinOptions
) -> tuple[ModelAndData, LossOptions]:
    """Return a built-in model whose outputs are as wide as the targets need, and its options with these targets."""
    for option in asked.extra_columns.values():
        raise UsageError(
            where=option,
            expected="a model of your own, which takes fields of the data",
            received=f"--model {model.model}",
            fix=f"Name the file too, with {option.removesuffix('-field')}.",
        )
    ragged, batch = pad_for_builtin(sequences, layout, str(model.model))
    settings = make_builtin_settings(ragged, batch, model)
    loss = "mse" if asked.loss is None else asked.loss
    form = find_loss_form(next(iter(loss.values()), "mse") if isinstance(loss, Mapping) else loss)
    needs_logits = form in CROSS_ENTROPIES and BUILTIN[settings.name].BOUNDED
    targets = _targets_of_builtin(asked, form, ragged, batch, None if needs_logits else model.units, settings.input_dim)
    _check_size(batch, targets.units, asked.batch_size or BATCH_SIZE)
    if needs_logits:
        settings = dataclasses.replace(settings, logits=targets.units)
    else:
        settings = dataclasses.replace(settings, units=targets.units)
    case = pair_with_builtin(settings, ragged, batch)
    loss_options = dict(asked.loss_options or {})
    if form in CROSS_ENTROPIES:
        loss_options.setdefault("from_logits", True)
    return case, dataclasses.replace(asked, targets=targets, loss=loss, loss_options=loss_options)


def _targets_of_builtin(
    asked: LossOptions, form: str, ragged: RaggedSequences, batch: PaddedBatch, units: int | None, input_dim: int
) -> Targets:
    targets = "arange" if asked.targets is None else asked.targets
    field = asked.fields[0] if asked.fields else None
    if isinstance(targets, str) and targets in GENERATED_TARGETS:
        return make_targets(targets, form, ragged, batch, units, input_dim)
    if isinstance(targets, str | os.PathLike):
        return read_targets(os.fspath(targets), form, ragged, batch, units, field)
    return convert_targets(targets, form, ragged, batch, units)


def _check_size(batch: PaddedBatch, width: int, batch_size: int) -> None:
    """Refuse outputs that would fill the memory, before TensorFlow does."""
    rows = min(len(batch.tokens), batch_size)
    if rows * batch.tokens.shape[1] * width > LARGEST_OUTPUT:
        raise UsageError(
            where="--targets",
            expected=f"at most {LARGEST_OUTPUT:,} outputs in a batch",
            received=f"{rows * batch.tokens.shape[1]:,} timesteps of {width:,}",
            fix="Use a smaller --batch-size or --maxlen, or a smaller vocabulary.",
        )


def explain_loss(case: ModelAndData, asked: LossOptions, progress: CountProgress | None) -> LossReport:
    """Return the loss report of a model with its data; raise as ``loss`` does."""
    with running(f"--model {case.about.name}"):
        outputs = find_model_outputs(case.model, case.inputs)
    judging = _judging(case, asked, outputs)
    subject = _subject(case, asked, judging, outputs)
    batch_size, sizes = _choose_sizes(asked, subject.rows, find_fixed_batch(case.model))
    with running(f"--model {case.about.name}"), warnings.catch_warnings(action="ignore"):
        seen = subject.run(batch_size, _half(progress, subject.rows, 0))
        plain = run_unmasked(subject, batch_size, _half(progress, subject.rows, 1))
        total = subject.reported(batch_size) if subject.own_steps else seen.total
        sums = find_row_sums(subject, seen, total, batch_size)
        if sums is None and not asked.batch_sizes:
            sizes = select_affordable_sizes(sizes, batch_size, subject.rows)
        losses = compare_batch_sizes(subject, seen, sums, total, batch_size, sizes, asked.shuffles)
        losses, gradient_rows = add_gradients(subject, seen, losses) if asked.batch_sizes else (losses, 0)
    report = LossReport(
        model=case.about,
        versions=read_versions(),
        inputs=case.inputs,
        batch=case.batch,
        outputs=_outputs(judging, subject, seen, plain),
        keras_evaluate=total,
        regularization=seen.regularization,
        batch_size=batch_size,
        batch_sizes=losses,
        gradient_rows=gradient_rows,
        metrics=seen.metrics,
        remarks=(),
    )
    remarks = loss_remarks.remark_on_loss_report(report, subject, seen, [one.targets for one in judging])
    return dataclasses.replace(report, remarks=tuple(remarks))


def _subject(
    case: ModelAndData, asked: LossOptions, judging: Sequence[_Judging], outputs: Sequence[ModelOutput]
) -> LossRun:
    """Return the model with its data and what judges it: by its own steps, unless another loss was asked for."""
    judged = tuple(one.judged for one in judging)
    as_compiled = asked.loss is None and not asked.loss_options and len(judged) == len(outputs)
    own = tuple(outputs[one.index] for one in judged)
    return LossRun(case.model, case.inputs, judged, own, own_steps=as_compiled and has_custom_evaluate(case.model))


def _half(progress: CountProgress | None, rows: int, half: int) -> Callable[[int], None] | None:
    """Return what is told of the rows done in the first or the second of two runs."""
    return None if progress is None else lambda done: progress(half * rows + done, 2 * rows)


@dataclasses.dataclass(frozen=True, eq=False)
class _Judging:
    """An output with what judges it, its targets, and the name of its loss."""

    judged: OutputLoss
    targets: Targets
    loss: str


def _outputs(
    judging: Sequence[_Judging], subject: LossRun, seen: Evaluation, plain: Evaluation | None
) -> tuple[LossOutput, ...]:
    others = [None] * len(judging) if plain is None else plain.outputs
    return tuple(
        make_loss_output(one.judged, lane, own, other, one.targets.about, one.loss)
        for one, lane, own, other in zip(judging, subject.lanes, seen.outputs, others, strict=True)
    )


def _judging(case: ModelAndData, asked: LossOptions, outputs: Sequence[ModelOutput]) -> list[_Judging]:
    """Return each output that has a loss with what judges it."""
    compiled, names, called = (
        read_compile_settings(case.model),
        [lane.name for lane in outputs],
        read_output_names(case.model),
    )
    every = match_outputs(_losses(case, asked, compiled), names, called, "--loss")
    losses = {lane.index: one for lane, one in zip(outputs, every, strict=True) if one is not None}
    if not losses:
        raise _no_loss(case)
    _check_classes(asked, [names[index] for index in losses])
    aims = load_targets(case, asked, outputs, called, losses)
    weights = match_outputs(load_sample_weights(case, asked), names, called, "sample_weight")
    loss_weights = match_outputs(compiled.loss_weights, names, called, "loss_weights")
    metrics = read_metrics(compiled.metrics, compiled.weighted_metrics, names, called)
    more = [
        (import_references(one, "a metric"), weighs)
        for one in asked.metrics
        for weighs in sorted({False, asked.has_weights})
    ]
    found = []
    for (index, loss), aim in zip(losses.items(), aims, strict=True):
        own = weights[index]
        if asked.class_weight is not None:
            own = look_up_class_weights(aim.values, outputs[index].sample.shape, asked.class_weight)
        made = make_loss(loss, asked.loss_options or {}) if asked.loss is not None or asked.loss_options else loss
        judge = bind_loss(outputs[index], made, loss_weights[index], aim.values, own, [*metrics[index], *more])
        found.append(_Judging(judge, aim, get_loss_name(loss)))
    return found


def _losses(case: ModelAndData, asked: LossOptions, compiled: CompileSettings) -> Any:
    given = compiled.loss if asked.loss is None else import_references(asked.loss, "a loss")
    if given is None:
        raise _no_loss(case)
    return given


def _no_loss(case: ModelAndData) -> UsageError:
    return UsageError(
        where="--loss",
        expected=f"the loss of {case.about.name}, which is not compiled with one",
        received="none",
        fix="Name one: --loss mse, or --loss package.module:function.",
    )


def _check_classes(asked: LossOptions, judged: Sequence[str]) -> None:
    """Raise UsageError for weights of classes where several outputs may each have classes of their own."""
    if asked.class_weight is not None and len(judged) > 1:
        raise UsageError(
            where="--class-weight",
            expected="one output with a loss, as in Keras",
            received=", ".join(judged),
            fix="Give the loss of one output, as --loss OUTPUT=LOSS, or --sample-weight.",
        )
