"""Masked against unmasked loss of any model, and where the difference comes from."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from maskcli.api.model_data import ModelAndData, load_user_model, names_builtin, pad_for_builtin, pair_with_builtin
from maskcli.api.settings import check_positive, make_builtin_settings
from maskcli.api.targets import LossOptions, find_loss_form, import_references, load_sample_weights, load_targets
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
from maskcli.records.sequences import Layout, PaddedBatch, RaggedSequences, Side
from maskcli.trace.outputs import ModelOutput, find_fixed_batch, find_model_outputs

BATCH_SIZE = 32
"""That of Keras's ``evaluate``, unless it is told another."""
LARGEST_OUTPUT = 2**28
"""Numbers that the outputs of one batch may have: 1 GiB, of which a loss needs several at a time."""
SHUFFLES = 20

CountProgress = Callable[[int, int], None]
"""Is told how many rows were run, of how many."""


def loss(
    sequences: object,
    *,
    targets: object = None,
    targets_field: str | Sequence[str] | None = None,
    loss: object = None,
    loss_options: Mapping[str, Any] | None = None,
    metrics: Sequence[object] = (),
    sample_weight: object = None,
    sample_weight_field: str | None = None,
    class_weight: Mapping[int, float] | None = None,
    batch_size: int | None = None,
    batch_sizes: Sequence[int] = (),
    shuffles: int = SHUFFLES,
    model: object = "embedding-lstm",
    mask_source: str = "embedding",
    input_dim: int | None = None,
    embedding_dim: int = 4,
    units: int | None = None,
    zero_output_for_mask: bool = False,
    seed: int = 0,
    custom_objects: Sequence[str] = (),
    unsafe_load: bool = False,
    maxlen: int | None = None,
    padding: Side = "post",
    truncating: Side = "post",
    value: int = 0,
    dtype: str = "int32",
    trim: bool = True,
    progress: CountProgress | None = None,
) -> LossReport:
    """Return the losses of a model on its data, masked and unmasked, and what they are made of.

    Args:
        sequences: as ``inspect`` takes them.
        targets: ``arange``, ``zeros``, ``ones`` or ``shift``, which make some; the path of a file; rows of targets,
            or an array with a row for each row of the data; of several outputs a dict by name or a list. None takes
            ``targets_field`` of the data, or for a built-in model ``arange``.
        targets_field: the field of JSON records, or the array of an ``.npz``, that holds the targets; of several
            outputs one for each, in their order. Without ``targets``, a field of the data.
        loss: as ``Model.compile`` takes it: a name, a function, a ``keras.losses.Loss``, or a list or dict of them for
            several outputs; or ``package.module:function``. None takes what the model is compiled with, ``mse`` for
            a built-in model.
        loss_options: arguments of the loss's class, such as ``{"ignore_class": -1}``. Cross-entropies of built-in
            models take the outputs as logits unless this says otherwise, from a Dense layer behind an LSTM, whose
            outputs stay within 1 of zero.
        metrics: names, functions or ``keras.metrics.Metric``, beside those that the model is compiled with.
        sample_weight: the path of a file, or an array ``(batch,)`` or ``(batch, timesteps)``, or a dict of these for
            several outputs.
        sample_weight_field: its field; without ``sample_weight``, a field of the data.
        class_weight: weights of timesteps by the class that their target is.
        batch_size: of Keras's ``evaluate``; None takes 32, as that does, or the one size that the model is built for.
        batch_sizes: sizes to set side by side, with gradients; none takes a few without gradients.
        shuffles: orders of the data that are tried for each of them.
        model: as for ``inspect``, and so the rest.
        mask_source: ``embedding``, ``masking``, ``explicit`` or ``none``.
        input_dim: of the Embedding of a built-in model.
        embedding_dim: length of its vectors.
        units: width of its outputs, or of the LSTM where a Dense layer makes logits of it; None takes what the targets
            need, or 3.
        zero_output_for_mask: masked outputs are zero (LSTM).
        seed: of the weights.
        custom_objects: modules whose classes and functions a model file names.
        unsafe_load: whether code that is in a model file may run.
        maxlen: as for ``pad``, and so the rest.
        padding: where padding goes.
        truncating: where a long sequence is cut.
        value: the padding id.
        dtype: of the tokens.
        trim: whether runs of ``value`` at either end of a row are padding that it came with.
        progress: is told how many rows were run, of how many.

    Raises:
        UsageError: for options that contradict each other or the data.
        InputError: for sequences, ids, targets or weights that do not fit.
        ModelError: when a model cannot be loaded, built or run, or cannot be judged by the loss.
    """
    cuts = BatchSizes(batch_size, tuple(batch_sizes), shuffles)
    asked = LossOptions.of(
        targets, targets_field, loss, loss_options, metrics, sample_weight, sample_weight_field, class_weight
    )
    case, asked = load_for_loss(
        sequences,
        model,
        Layout(padding, truncating, maxlen, value, dtype, trim),
        asked,
        cuts,
        units=units,
        custom_objects=custom_objects,
        unsafe_load=unsafe_load,
        mask_source=mask_source,
        input_dim=input_dim,
        embedding_dim=embedding_dim,
        zero_output_for_mask=zero_output_for_mask,
        seed=seed,
    )
    with case.naming():
        return explain_loss(case, asked, cuts, progress)


def load_for_loss(
    sequences: object,
    model: object,
    layout: Layout,
    asked: LossOptions,
    cuts: BatchSizes,
    *,
    units: int | None,
    custom_objects: Sequence[str],
    unsafe_load: bool,
    **builtin: Any,
) -> tuple[ModelAndData, LossOptions]:
    """Return a model with its data, and what it is judged by: for a built-in model, targets that it is made for.

    Raises as ``loss`` does; ``builtin`` is what a built-in model is made of.
    """
    check_positive(
        units=units, batch_size=cuts.batch_size, **{f"batch_sizes {size}": size for size in cuts.batch_sizes}
    )
    _check(asked, cuts.shuffles)
    if names_builtin(model):
        size = cuts.batch_size or BATCH_SIZE
        return _builtin(asked, sequences, layout, units, size, name=str(model), return_sequences=True, **builtin)
    case = load_user_model(
        sequences, model, layout, custom_objects=custom_objects, unsafe_load=unsafe_load, also=asked.also
    )
    return case, asked


def _check(asked: LossOptions, shuffles: int) -> None:
    """Raise UsageError for fewer shuffles than none, and for weights of samples and of classes at once."""
    if shuffles < 0:
        raise UsageError(where="shuffles", expected="at least 0", received=str(shuffles), fix="0 tries no orders.")
    if asked.class_weight is not None and (asked.sample_weight is not None or asked.weight_field is not None):
        raise UsageError(
            where="--class-weight",
            expected="either sample weights or class weights, as in Keras",
            received="both",
            fix="Multiply the sample weights by those of the classes.",
        )


@dataclasses.dataclass(frozen=True)
class BatchSizes:
    """How data is cut into batches: for ``evaluate``, and for what is set side by side."""

    batch_size: int | None
    batch_sizes: tuple[int, ...]
    shuffles: int

    def sizes(self, rows: int, fixed: int | None) -> tuple[int, tuple[int, ...]]:
        """Return the size for ``evaluate``, and those to set side by side; of a ``fixed`` one no other runs."""
        batch_size = self.batch_size or fixed or BATCH_SIZE
        if fixed is not None and not self.batch_sizes:
            return batch_size, (batch_size,)
        return batch_size, choose_batch_sizes(self.batch_sizes, batch_size, rows)


def _builtin(
    asked: LossOptions, sequences: object, layout: Layout, units: int | None, batch_size: int, **options: Any
) -> tuple[ModelAndData, LossOptions]:
    """Return a built-in model whose outputs are as wide as the targets need, and what it is judged by with these."""
    for option in asked.also.values():
        raise UsageError(
            where=option,
            expected="a model of your own, which takes fields of the data",
            received=f"--model {options['name']}",
            fix=f"Name the file too, with {option.removesuffix('-field')}.",
        )
    ragged, batch = pad_for_builtin(sequences, layout, options["name"])
    settings = make_builtin_settings(ragged, batch, units=3 if units is None else units, **options)
    loss = "mse" if asked.loss is None else asked.loss
    form = find_loss_form(next(iter(loss.values()), "mse") if isinstance(loss, Mapping) else loss)
    needs_logits = form in CROSS_ENTROPIES and BUILTIN[settings.name].BOUNDED
    wanted = _targets_of_builtin(asked, form, ragged, batch, None if needs_logits else units, settings.input_dim)
    _check_size(batch, wanted.units, batch_size)
    if needs_logits:
        settings = dataclasses.replace(settings, logits=wanted.units)
    else:
        settings = dataclasses.replace(settings, units=wanted.units)
    case = pair_with_builtin(settings, ragged, batch)
    loss_options = {"from_logits": True, **asked.loss_options} if form in CROSS_ENTROPIES else asked.loss_options
    return case, dataclasses.replace(asked, targets=wanted, loss=loss, loss_options=loss_options)


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


def explain_loss(
    case: ModelAndData, asked: LossOptions, cuts: BatchSizes, progress: CountProgress | None
) -> LossReport:
    """Return the report of a model that is judged by what was asked for, on its data; raise as ``loss`` does."""
    with running(f"--model {case.about.name}"):
        outputs = find_model_outputs(case.model, case.inputs)
    judging = _judging(case, asked, outputs)
    subject = _subject(case, asked, judging, outputs)
    batch_size, sizes = cuts.sizes(subject.rows, find_fixed_batch(case.model))
    with running(f"--model {case.about.name}"), warnings.catch_warnings(action="ignore"):
        seen = subject.run(batch_size, _half(progress, subject.rows, 0))
        plain = run_unmasked(subject, batch_size, _half(progress, subject.rows, 1))
        total = subject.reported(batch_size) if subject.own_steps else seen.total
        sums = find_row_sums(subject, seen, total, batch_size)
        if sums is None and not cuts.batch_sizes:
            sizes = select_affordable_sizes(sizes, batch_size, subject.rows)
        losses = compare_batch_sizes(subject, seen, sums, total, batch_size, sizes, cuts.shuffles)
        losses, gradient_rows = add_gradients(subject, seen, losses) if cuts.batch_sizes else (losses, 0)
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
        for weighs in sorted({False, asked.weighs})
    ]
    found = []
    for (index, loss), aim in zip(losses.items(), aims, strict=True):
        own = weights[index]
        if asked.class_weight is not None:
            own = look_up_class_weights(aim.values, outputs[index].sample.shape, asked.class_weight)
        made = make_loss(loss, asked.loss_options) if asked.loss is not None or asked.loss_options else loss
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
