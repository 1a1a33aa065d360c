"""Targets and sample weights of a model: from files, from memory, or from fields of the data."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from maskcli.api.model_data import ModelAndData
from maskcli.errors import UsageError
from maskcli.inputs.targets import (
    GENERATED_TARGETS,
    check_file,
    describe_width,
    fill_padding,
    load_rows,
    load_timestep_targets,
    make_targets,
)
from maskcli.losses.compile_settings import read_output_names
from maskcli.losses.registry import find_loss_form, match_outputs
from maskcli.records.arrays import Array
from maskcli.records.inputs import find_primary
from maskcli.records.layout import Layout
from maskcli.records.loss import Targets
from maskcli.records.options import LossOptions
from maskcli.records.sequences import PaddedBatch, RaggedSequences
from maskcli.records.wording import choose_form
from maskcli.sequences.formats.base import TARGETS, quote_names
from maskcli.trace.outputs import ModelOutput


def check_label_files(options: LossOptions) -> None:
    """Raise InputError for a file of targets or weights that does not exist, before the model is loaded."""
    check_file(options.targets)
    check_file(options.sample_weight, "sample weights")


def load_builtin_targets(
    options: LossOptions, form: str, ragged: RaggedSequences, batch: PaddedBatch, units: int | None, input_dim: int
) -> Targets:
    """Return the targets for a built-in model, which is not built yet: the targets decide the width of its outputs.

    Args:
        options: the options of the loss.
        form: name of the loss, which decides the form of the targets.
        ragged: the sequences.
        batch: the same sequences, padded.
        units: width of the outputs; None for the width that the targets need.
        input_dim: vocabulary size.

    Raises:
        InputError: for targets that cannot be read, or do not fit.
        UsageError: for targets that contradict ``units`` or the loss.
    """
    source = "arange" if options.targets is None else options.targets
    if isinstance(source, str) and source in GENERATED_TARGETS:
        return make_targets(source, form, (*batch.tokens.shape, units), ragged, batch, input_dim)
    field = next(iter(options.fields), None)
    return load_timestep_targets(source, field, form, ragged, batch, units)


def load_targets(
    case: ModelAndData, options: LossOptions, outputs: Sequence[ModelOutput], losses: Mapping[int, Any]
) -> list[Targets]:
    """Return the targets of each output that has a loss.

    Args:
        case: a model with its data.
        options: the options of the loss.
        outputs: all outputs of the model.
        losses: by the index of each output that has one.

    Raises:
        InputError: for targets that cannot be read, or have other rows than the data.
        UsageError: for missing targets, or for another number of outputs.
    """
    if isinstance(options.targets, Targets):  # A built-in model was made for these.
        return [options.targets]
    bound = [output for output in outputs if output.index in losses]
    if isinstance(options.targets, str) and options.targets in GENERATED_TARGETS:
        return [_generate(case, options.targets, output, losses[output.index]) for output in bound]
    if options.targets is None:
        sources = _select_fields(case, options, bound)
    elif isinstance(options.targets, str | os.PathLike):
        sources = _select_file_fields(os.fspath(options.targets), options, bound)
    else:
        sources = _split_memory(case, options.targets, outputs, bound)
    return [
        _load_source(case, source, output, getattr(losses[output.index], "ignore_class", None))
        for source, output in zip(sources, bound, strict=True)
    ]


TargetSource = tuple[object, str | None, str]
"""A path or rows, the field of a file, and a description."""


def _generate(case: ModelAndData, kind: str, output: ModelOutput, loss: Any) -> Targets:
    shape = (len(case.inputs[0].values), *output.sample.shape[1:])
    return make_targets(kind, find_loss_form(loss), shape, *_read_sequences(case))


def _read_sequences(case: ModelAndData) -> tuple[RaggedSequences | None, PaddedBatch | None]:
    """Return the sequences of the data; of arrays, those of the first input of ids."""
    ids = find_primary(case.inputs)
    if case.ragged is not None or ids is None or ids.kind != "ids" or ids.valid is None:
        return case.ragged, case.batch
    lengths = ids.valid.sum(axis=1)
    ragged = RaggedSequences(ids.values[ids.valid], np.concatenate([[0], np.cumsum(lengths)]))
    layout = Layout(maxlen=ids.valid.shape[1], value=ids.padding_id)
    return ragged, PaddedBatch(ids.values, ids.valid, lengths, layout, 0)


def _load_source(case: ModelAndData, source: TargetSource, output: ModelOutput, ignored: int | None) -> Targets:
    """Return targets; those that maskcli pads get the class that the loss ignores, as their author would pad them."""
    values, field, about = source
    rows = load_rows(values, field, len(case.inputs[0].values), case.layouts, padding=ignored)
    layout = next((case.more_layouts.get(name) for name, array in case.more.items() if array is values), None)
    if layout is not None and ignored is not None:
        rows = fill_padding(rows, layout, ignored)
    needs_axis = output.sample.ndim == 3 and output.sample.shape[-1] == 1 and rows.ndim == 2
    if about != IN_MEMORY and needs_axis:
        # Without the axis, Keras 3 squeezes the predictions and takes the mean over timesteps for that over units.
        # Arrays in memory keep their shape, as Keras would receive them: an error explains it.
        return describe_width(Targets(rows[..., None], 1, about))
    return Targets(rows, 0, about)


def _select_fields(case: ModelAndData, options: LossOptions, bound: Sequence[ModelOutput]) -> list[TargetSource]:
    if not options.fields:
        raise UsageError(
            where="--targets",
            expected=f"targets for {case.about.name}",
            received="none",
            fix=_suggest_targets(case.spare, len(bound)),
        )
    fields = _match_fields(options.fields, bound)
    return [(get_field(case, field, "--targets-field"), None, f"field {field}") for field in fields]


def _suggest_targets(spare: Sequence[str], outputs: int) -> str:
    """Return where targets may come from: columns of the data that feed no input, if there are any."""
    if not spare:
        return (
            "Pass a file with --targets, a field of the data with --targets-field, or use --targets zeros, ones or "
            "arange."
        )
    likely = next((name for name in spare if name.lower() in TARGETS and "weight" not in name.lower()), spare[0])
    fields = " ".join(f"--targets-field {name}" for name in (spare if len(spare) == outputs else (likely,)))
    subject = f"{quote_names(spare)}, which {choose_form(len(spare), 'feeds', 'feed')} no input"
    return f"The data has {subject}: {fields}. Or pass a file with --targets, or use --targets zeros, ones or arange."


def get_field(case: ModelAndData, field: str, option: str) -> Array:
    """Return a field of the data that feeds no input; raise UsageError for data without fields."""
    if field not in case.more:
        raise UsageError(
            where=f"{option} {field}",
            expected="data from one file with fields: records, or an .npz",
            received="data without fields",
            fix=f"Pass a file with fields, or use {option.removesuffix('-field')}.",
        )
    return case.more[field]


def _select_file_fields(path: str, options: LossOptions, bound: Sequence[ModelOutput]) -> list[TargetSource]:
    names = [output.name for output in bound]
    fields: Sequence[str | None] = names
    if options.fields:
        fields = _match_fields(options.fields, bound)
    elif len(names) == 1:
        fields = [None]
    return [(path, field, f"{path} {field or ''}".rstrip()) for field in fields]


def _match_fields(fields: Sequence[str], bound: Sequence[ModelOutput]) -> Sequence[str]:
    """Return the field of each output: by name if fields are named like the outputs, else by order."""
    names = [output.name for output in bound]
    if len(fields) != len(names):
        raise UsageError(
            where="--targets-field",
            expected=f"one field for each output with a loss: {', '.join(names)}",
            received=", ".join(fields),
            fix="Repeat --targets-field, in the order of the outputs, or with their names.",
        )
    return names if set(fields) == set(names) else fields


IN_MEMORY = "array in memory"


def _split_memory(
    case: ModelAndData, targets: Any, outputs: Sequence[ModelOutput], bound: Sequence[ModelOutput]
) -> list[TargetSource]:
    """Split targets in memory, as ``Model.evaluate`` takes them or as rows of lists, by output."""
    if isinstance(targets, list | tuple) and len(outputs) == 1:
        parts = [targets]
    elif isinstance(targets, list | tuple) and len(targets) == len(bound) < len(outputs):
        parts = list(targets)
    else:
        matched = match_outputs(targets, [output.name for output in outputs], read_output_names(case.model), "targets")
        parts = [matched[output.index] for output in bound]
    for part, output in zip(parts, bound, strict=True):
        if part is None:
            raise UsageError(
                where="targets",
                expected=f"targets of every output with a loss, including {output.name}",
                received=f"none for {output.name}",
                fix="Pass targets for it, or set no loss for this output.",
            )
    return [(part, None, IN_MEMORY if isinstance(part, np.ndarray) else "rows in memory") for part in parts]


def load_sample_weights(case: ModelAndData, options: LossOptions) -> Any:
    """Return the sample weights: an array for all outputs, or a dict of arrays by output. Returns None without any.

    Raises:
        InputError: for weights that cannot be read, or have other rows than the data.
        UsageError: for a field of data that has none.
    """
    weights, field = options.sample_weight, options.sample_weight_field
    if weights is None and field is not None:
        return get_field(case, field, "--sample-weight-field")
    if weights is None:
        return None
    if isinstance(weights, Mapping):
        return {name: _load_weights(case, part, None) for name, part in weights.items()}
    return _load_weights(case, weights, field)


def _load_weights(case: ModelAndData, weights: object, field: str | None) -> Array:
    return load_rows(weights, field, len(case.inputs[0].values), case.layouts, "sample weights")
