"""Masked against unmasked loss of any model, and where the difference comes from."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.errors import UsageError
from maskcli.evidence import LossReport, Targets
from maskcli.inspection import loss_remarks
from maskcli.inspection.accounting import known_sizes
from maskcli.inspection.arguments import arguments
from maskcli.inspection.evaluating import Judged
from maskcli.inspection.explaining import (
    Subject,
    batch_size_losses,
    metric_reports,
    output_of,
    run_unmasked,
    with_gradients,
)
from maskcli.inspection.judging import (
    Compiled,
    class_weights,
    compiled_of,
    has_own_evaluate,
    judged_output,
    metrics_of,
    output_names,
    own_evaluate,
)
from maskcli.inspection.lanes import Lane, lanes
from maskcli.inspection.losses import CROSS_ENTROPIES, loss_name, loss_object, per_output, snake
from maskcli.models.builtin import BUILTIN
from maskcli.models.factories import is_spec, named_object
from maskcli.models.runtime import running, versions
from maskcli.records import Layout, PaddedBatch, RaggedSequences, Side
from maskcli.sequences.targets import MADE, given_targets, make_for_output, make_targets, read_array, read_targets
from maskcli.verbs.cases import Case, case_of, is_builtin, padded, user_case
from maskcli.verbs.settings import builtin_settings, positive

BATCH_SIZE = 32
"""That of Keras's ``evaluate``, unless it is told another."""
LARGEST_OUTPUT = 2**28
"""Numbers that the outputs of one batch may have: 1 GiB, of which a loss needs several at a time."""
SHUFFLES = 20

Progress = Callable[[int, int], None]
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
    progress: Progress | None = None,
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
        sample_weight: the path of a file, or an array ``(batch,)`` or ``(batch, timesteps)``.
        sample_weight_field: its field; without ``sample_weight``, a field of the data.
        class_weight: weights of timesteps by the class that their target is.
        batch_size: of Keras's ``evaluate``; None takes 32, as that does.
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
    positive(units=units, batch_size=batch_size, **{f"batch_sizes {size}": size for size in batch_sizes})
    if sample_weight is not None and class_weight is not None:
        raise UsageError(
            where="--class-weight",
            expected="either sample weights or class weights, as in Keras",
            received="both",
            fix="Multiply the sample weights by those of the classes.",
        )
    layout = Layout(padding, truncating, maxlen, value, dtype, trim)
    asked = _Asked(
        targets=targets,
        fields=_listed(targets_field),
        loss=loss,
        loss_options=dict(loss_options or {}),
        metrics=tuple(metrics),
        sample_weight=sample_weight,
        weight_field=sample_weight_field,
        class_weight=class_weight,
    )
    if is_builtin(model):
        case, aims = _builtin(
            asked,
            sequences,
            layout,
            units,
            name=str(model),
            mask_source=mask_source,
            input_dim=input_dim,
            embedding_dim=embedding_dim,
            return_sequences=True,
            zero_output_for_mask=zero_output_for_mask,
            seed=seed,
        )
        asked = dataclasses.replace(asked, targets=[aims], loss="mse" if loss is None else loss)
    else:
        case = user_case(
            sequences,
            model,
            layout,
            custom_objects=custom_objects,
            unsafe_load=unsafe_load,
            also=_also(asked),
        )
    with case.naming():
        return _reported(case, asked, batch_size or BATCH_SIZE, batch_sizes, shuffles, progress)


def _also(asked: _Asked) -> dict[str, str]:
    """Return the columns of the data that feed no input, each with the option that named it."""
    fields = dict.fromkeys(asked.fields if asked.targets is None else (), "--targets-field")
    if asked.sample_weight is None and asked.weight_field is not None:
        fields[asked.weight_field] = "--sample-weight-field"
    return fields


def _listed(fields: str | Sequence[str] | None) -> tuple[str, ...]:
    return () if fields is None else (fields,) if isinstance(fields, str) else tuple(fields)


@dataclasses.dataclass(frozen=True, eq=False)
class _Asked:
    """What the model is to be judged by, as it was asked for."""

    targets: object
    fields: tuple[str, ...]
    loss: object
    loss_options: dict[str, Any]
    metrics: tuple[object, ...]
    sample_weight: object
    weight_field: str | None
    class_weight: Mapping[int, float] | None


def _builtin(
    asked: _Asked, sequences: object, layout: Layout, units: int | None, **options: Any
) -> tuple[Case, Targets]:
    """Return a built-in model whose outputs are as wide as the targets need, with these targets."""
    ragged, batch = padded(sequences, layout, options["name"])
    settings = builtin_settings(ragged, batch, units=3 if units is None else units, **options)
    form = _form(asked.loss or "mse")
    needs_logits = form in CROSS_ENTROPIES and BUILTIN[settings.name].BOUNDED
    wanted = _targets_of_builtin(asked, form, ragged, batch, None if needs_logits else units, settings.input_dim)
    _check_size(batch, wanted.units)
    if needs_logits:
        settings = dataclasses.replace(settings, logits=wanted.units)
    else:
        settings = dataclasses.replace(settings, units=wanted.units)
    if form in CROSS_ENTROPIES:
        asked.loss_options.setdefault("from_logits", True)
    return case_of(settings, ragged, batch), wanted


def _form(loss: object) -> str:
    """Return the name of a loss as Keras's functions are named, which says what targets it takes."""
    if isinstance(loss, str):
        return ALIASES.get(loss.lower(), snake(loss))
    return snake(getattr(loss, "__name__", None) or type(loss).__name__)


ALIASES = {"bce": "binary_crossentropy"}


def _targets_of_builtin(
    asked: _Asked, form: str, ragged: RaggedSequences, batch: PaddedBatch, units: int | None, input_dim: int
) -> Targets:
    targets = "arange" if asked.targets is None else asked.targets
    field = asked.fields[0] if asked.fields else None
    if isinstance(targets, str) and targets in MADE:
        return make_targets(targets, form, ragged, batch, units, input_dim)
    if isinstance(targets, str | os.PathLike):
        return read_targets(os.fspath(targets), form, ragged, batch, units, field)
    return given_targets(targets, form, ragged, batch, units)


def _check_size(batch: PaddedBatch, width: int) -> None:
    """Refuse outputs that would fill the memory, before TensorFlow does."""
    rows = min(len(batch.tokens), BATCH_SIZE)
    if rows * batch.tokens.shape[1] * width > LARGEST_OUTPUT:
        raise UsageError(
            where="--targets",
            expected=f"at most {LARGEST_OUTPUT:,} outputs in a batch",
            received=f"{rows * batch.tokens.shape[1]:,} timesteps of {width:,}",
            fix="Use a smaller --maxlen, or a smaller vocabulary.",
        )


def _reported(
    case: Case,
    asked: _Asked,
    batch_size: int,
    batch_sizes: Sequence[int],
    shuffles: int,
    progress: Progress | None,
) -> LossReport:
    with running(f"--model {case.about.name}"):
        outputs = lanes(case.model, case.inputs)
        compiled = compiled_of(case.model)
    judging = _judging(case, asked, outputs, compiled)
    judged = tuple(one for one, _, _ in judging)
    own = tuple(outputs[one.index] for one in judged)
    subject = Subject(case.model, case.inputs, judged, own)
    with running(f"--model {case.about.name}"):
        seen = subject.run(batch_size, _first_half(progress, subject.rows))
        plain = run_unmasked(subject, batch_size, _second_half(progress, subject.rows))
        sizes = batch_size_losses(
            subject, seen, batch_size, known_sizes(batch_sizes, batch_size, subject.rows), shuffles
        )
        sizes, gradient_rows = with_gradients(subject, seen, sizes) if batch_sizes else (sizes, 0)
    total = _own_total(case, asked, subject, batch_size, len(outputs)) if asked.loss is None else None
    report = LossReport(
        model=case.about,
        versions=versions(),
        inputs=case.inputs,
        batch=case.batch,
        outputs=tuple(
            output_of(one, lane, mine, None if plain is None else plain.outputs[place], about.about, name)
            for place, ((one, about, name), lane, mine) in enumerate(zip(judging, own, seen.outputs, strict=True))
        ),
        keras_evaluate=seen.total if total is None else total,
        regularization=seen.regularization,
        batch_size=batch_size,
        batch_sizes=sizes,
        gradient_rows=gradient_rows,
        metrics=metric_reports(judged),
        remarks=(),
    )
    remarks = loss_remarks.on_report(
        report, subject, seen, [about for _, about, _ in judging], own_step=total is not None
    )
    return dataclasses.replace(report, remarks=tuple(remarks))


def _first_half(progress: Progress | None, rows: int) -> Callable[[int], None] | None:
    return None if progress is None else lambda done: progress(done, 2 * rows)


def _second_half(progress: Progress | None, rows: int) -> Callable[[int], None] | None:
    return None if progress is None else lambda done: progress(rows + done, 2 * rows)


def _judging(
    case: Case, asked: _Asked, outputs: Sequence[Lane], compiled: Compiled
) -> list[tuple[Judged, Targets, str]]:
    """Return each output that has a loss with what judges it, its targets, and the name of its loss."""
    names, called = [lane.name for lane in outputs], output_names(case.model)
    losses = per_output(_losses(case, asked, compiled), names, called, "--loss")
    judged = [lane for lane, one in zip(outputs, losses, strict=True) if one is not None]
    aims = _targets(case, asked, judged, {lane.index: _form(losses[lane.index]) for lane in judged})
    weights = _weights(case, asked)
    loss_weights = per_output(compiled.loss_weights, names, called, "loss_weights")
    metrics = metrics_of(compiled, names, called)
    more = [_named(metric, "a metric") for metric in asked.metrics]
    weighs = weights is not None or asked.class_weight is not None
    found = []
    for lane, aim in zip(judged, aims, strict=True):
        own = weights
        if asked.class_weight is not None:
            own = class_weights(aim.values, lane.sample.shape[-1], asked.class_weight)
        both = [(metric, weighted) for metric in more for weighted in ((False, True) if weighs else (False,))]
        given = losses[lane.index]
        kept = loss_object(given, asked.loss_options) if asked.loss is not None or asked.loss_options else given
        judge = judged_output(lane, kept, loss_weights[lane.index], aim.values, own, [*metrics[lane.index], *both])
        found.append((judge, aim, loss_name(given)))
    return found


def _losses(case: Case, asked: _Asked, compiled: Compiled) -> Any:
    given = compiled.loss if asked.loss is None else _named(asked.loss, "a loss")
    if given is None:
        raise UsageError(
            where="--loss",
            expected=f"the loss of {case.about.name}, which is not compiled with one",
            received="none",
            fix="Name one: --loss mse, or --loss package.module:function.",
        )
    return given


def _named(given: object, what: str) -> Any:
    """Return what ``package.module:function`` names, also inside lists and dicts; anything else as it is."""
    if isinstance(given, Mapping):
        return {name: _named(one, what) for name, one in given.items()}
    if isinstance(given, list | tuple):
        return [_named(one, what) for one in given]
    return named_object(given, what) if isinstance(given, str) and is_spec(given) else given


def _targets(case: Case, asked: _Asked, judged: Sequence[Lane], forms: Mapping[int, str]) -> list[Targets]:
    """Return the targets of each output that has a loss."""
    rows = len(case.inputs[0].values)
    given = asked.targets
    if given is None:
        return _targets_of_data(case, asked, judged)
    if isinstance(given, str) and given in MADE:
        shapes = [(rows, *lane.sample.shape[1:]) for lane in judged]
        return [
            make_for_output(given, forms[lane.index], shape, case.ragged, case.batch)
            for lane, shape in zip(judged, shapes, strict=True)
        ]
    if isinstance(given, str | os.PathLike):
        path = os.fspath(given)
        fields = asked.fields or ((None,) if len(judged) == 1 else tuple(lane.name for lane in judged))
        _check_fields(fields, judged)
        return [
            Targets(
                read_array(path, field, case.ragged, case.batch, rows), 0, path if field is None else f"{path} {field}"
            )
            for field in fields
        ]
    parts = per_output(given, [lane.name for lane in judged], output_names(case.model), "targets")
    return [one if isinstance(one, Targets) else Targets(_rows(one, rows), 0, "given") for one in parts]


def _targets_of_data(case: Case, asked: _Asked, judged: Sequence[Lane]) -> list[Targets]:
    if not asked.fields:
        raise UsageError(
            where="--targets",
            expected=f"what {case.about.name} is to predict",
            received="none",
            fix="Name a file, a field of the data with --targets-field, or let arange, zeros or ones make some.",
        )
    _check_fields(asked.fields, judged)
    return [Targets(case.more[field], 0, f"field {field}") for field in asked.fields]


def _check_fields(fields: Sequence[str | None], judged: Sequence[Lane]) -> None:
    if len(fields) != len(judged):
        raise UsageError(
            where="--targets-field",
            expected=f"one field for each output with a loss: {', '.join(lane.name for lane in judged)}",
            received=", ".join(map(str, fields)),
            fix="Repeat --targets-field, in the order of the outputs.",
        )


def _rows(values: Any, rows: int) -> NDArray[Any]:
    array = np.asarray(values)
    if array.shape[:1] != (rows,):
        raise UsageError(
            where="targets",
            expected=f"{rows} rows, as the data has",
            received=f"shape {array.shape}",
            fix="Give a row of targets for each row of the data.",
        )
    return array


def _weights(case: Case, asked: _Asked) -> NDArray[Any] | None:
    if asked.sample_weight is None:
        return None if asked.weight_field is None else case.more[asked.weight_field]
    if isinstance(asked.sample_weight, str | os.PathLike):
        path = os.fspath(asked.sample_weight)
        rows = len(case.inputs[0].values)
        return read_array(path, asked.weight_field, case.ragged, case.batch, rows, "sample weights")
    return np.asarray(asked.sample_weight)


def _own_total(case: Case, asked: _Asked, subject: Subject, batch_size: int, outputs: int) -> float | None:
    """Return what ``evaluate`` of a model with steps of its own reports; None without, or where it cannot be asked."""
    if asked.loss_options or not has_own_evaluate(case.model) or len(subject.judged) != outputs:
        return None
    with running(f"--model {case.about.name}"):
        return own_evaluate(case.model, arguments(case.model, case.inputs), subject.judged, batch_size)
