"""The verbs of the library: each goes the whole way from sequences to the record that the command of its name shows."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np

from maskcli.errors import UsageError
from maskcli.evidence import BuiltinModel, EmbeddingRow, Inspection, LossReport, ModelSettings, SourceResult, Targets
from maskcli.inspection import losses, remarks, timesteps
from maskcli.inspection.trace import Run, first_mask, mask_of, trace
from maskcli.models.build import BuiltModel, build, twin
from maskcli.models.builtin import BUILTIN
from maskcli.models.mask_sources import ALL, GIVING, MASK_SOURCES, check_padding_id
from maskcli.models.runtime import load_keras, running, versions
from maskcli.records import Bools, Floats, Layout, PaddedBatch, RaggedSequences, Side
from maskcli.sequences.ids import resolve_input_dim
from maskcli.sequences.padding import pad, pad_ragged, valid_timesteps
from maskcli.sequences.ragged import as_ragged
from maskcli.sequences.targets import MADE, given_targets, make_targets, read_targets

__all__ = ["inspect", "loss", "models", "pad"]

LARGEST_OUTPUT = 2**28
"""Numbers that the outputs of one batch may have: 1 GiB, of which a loss needs several at a time."""


def models() -> tuple[BuiltinModel, ...]:
    """Return the built-in models."""
    return tuple(module.ABOUT for module in BUILTIN.values())


def inspect(
    sequences: object,
    *,
    model: str = "embedding-lstm",
    mask_source: str = "embedding",
    input_dim: int | None = None,
    embedding_dim: int = 4,
    units: int = 3,
    return_sequences: bool = True,
    zero_output_for_mask: bool = False,
    seed: int = 0,
    maxlen: int | None = None,
    padding: Side = "post",
    truncating: Side = "post",
    value: int = 0,
    dtype: str = "int32",
    trim: bool = True,
) -> Inspection:
    """Run a built-in model on padded sequences and return what happened to the mask.

    Args:
        sequences: as ``pad`` takes them.
        model: the name of a built-in model.
        mask_source: ``embedding``, ``masking``, ``explicit``, ``none``, or ``all`` to set the first three side by
            side, with the padding row of one embedding zero in each.
        input_dim: of the Embedding; None takes the largest id + 1.
        embedding_dim: length of its vectors.
        units: width of the outputs.
        return_sequences: an output for each timestep, or the last one alone (LSTM).
        zero_output_for_mask: masked outputs are zero, instead of the output before (LSTM).
        seed: of the weights; it also seeds Python's, NumPy's and TensorFlow's generators, as
            ``keras.utils.set_random_seed`` does.
        maxlen: as for ``pad``, and so the rest.
        padding: where padding goes.
        truncating: where a long sequence is cut.
        value: the padding id.
        dtype: of the tokens.
        trim: whether runs of ``value`` at either end of a row are padding that it came with.

    Raises:
        UsageError: for options that contradict each other or the data.
        InputError: for sequences that cannot be padded, or ids that an Embedding cannot look up.
        ModelError: when Keras cannot build or run the model.
    """
    ragged = as_ragged(sequences)
    batch = pad_ragged(ragged, Layout(padding, truncating, maxlen, value, dtype, trim))
    settings = _settings(
        ragged,
        batch,
        name=model,
        mask_source=mask_source,
        input_dim=input_dim,
        embedding_dim=embedding_dim,
        units=units,
        return_sequences=return_sequences,
        zero_output_for_mask=zero_output_for_mask,
        seed=seed,
    )
    valid = valid_timesteps(batch)
    load_keras()
    return _inspect(settings, batch, valid)


def loss(
    sequences: object,
    *,
    targets: object = "arange",
    targets_field: str | None = None,
    loss: str = "mse",
    batch_size: int | None = None,
    model: str = "embedding-lstm",
    mask_source: str = "embedding",
    input_dim: int | None = None,
    embedding_dim: int = 4,
    units: int | None = None,
    zero_output_for_mask: bool = False,
    seed: int = 0,
    maxlen: int | None = None,
    padding: Side = "post",
    truncating: Side = "post",
    value: int = 0,
    dtype: str = "int32",
    trim: bool = True,
) -> LossReport:
    """Return the masked and the unmasked loss of a built-in model on padded sequences.

    Args:
        sequences: as ``pad`` takes them.
        targets: ``arange``, ``zeros``, ``ones`` or ``shift``; the path of a file; or rows of targets, one for each
            sequence, with a number, a class id or a vector for each timestep.
        targets_field: the field of JSON records, or the array of an ``.npz``, that holds the targets.
        loss: a name of ``--loss``; cross-entropies take the model's outputs as logits, from a Dense layer behind an
            LSTM, whose outputs stay within 1 of zero.
        batch_size: of Keras's ``evaluate``; None puts all sequences into one batch.
        model: as for ``inspect``, and so the rest.
        mask_source: ``embedding``, ``masking``, ``explicit`` or ``none``.
        input_dim: of the Embedding.
        embedding_dim: length of its vectors.
        units: width of the outputs, or of the LSTM where a Dense layer makes logits of it; None takes what the targets
            need, or 3.
        zero_output_for_mask: masked outputs are zero (LSTM).
        seed: of the weights.
        maxlen: as for ``pad``, and so the rest.
        padding: where padding goes.
        truncating: where a long sequence is cut.
        value: the padding id.
        dtype: of the tokens.
        trim: whether runs of ``value`` at either end of a row are padding that it came with.

    Raises:
        UsageError: for options that contradict each other or the data.
        InputError: for sequences, ids or targets that do not fit.
        ModelError: when Keras cannot build or run the model.
    """
    _known("--loss", loss, tuple(losses.LOSSES))
    _positive(units=units, batch_size=batch_size)
    ragged = as_ragged(sequences)
    batch = pad_ragged(ragged, Layout(padding, truncating, maxlen, value, dtype, trim))
    settings = _settings(
        ragged,
        batch,
        name=model,
        mask_source=mask_source,
        input_dim=input_dim,
        embedding_dim=embedding_dim,
        units=3 if units is None else units,
        return_sequences=True,
        zero_output_for_mask=zero_output_for_mask,
        seed=seed,
    )
    needs_logits = loss in losses.CROSS_ENTROPIES and BUILTIN[settings.name].BOUNDED
    width = None if needs_logits else units
    wanted = _targets(targets, targets_field, loss, ragged, batch, width, settings.input_dim)
    _check_size(batch, wanted.units)
    if needs_logits:
        settings = dataclasses.replace(settings, logits=wanted.units)
    else:
        settings = dataclasses.replace(settings, units=wanted.units)
    load_keras()
    return _loss(settings, batch, wanted, loss, len(batch.tokens) if batch_size is None else batch_size)


def _inspect(settings: ModelSettings, batch: PaddedBatch, valid: Bools) -> Inspection:
    sources = GIVING if settings.mask_source == ALL else (settings.mask_source,)
    with running(f"--model {settings.name}"):
        first = build(dataclasses.replace(settings, mask_source=sources[0]))
        run = trace(first.keras_model, first.inputs(batch.tokens, valid))
        plain = _run_unmasked(first, batch, valid)
        results = _compared(first, run, sources, batch, valid) if len(sources) > 1 else ()
    mask = first_mask(run.calls)
    outputs = timesteps.outputs_of(run.calls[-1].call, _values(run), mask_of(run.output))
    row = _embedding_row(first)
    unmasked = None if mask is None else timesteps.without_mask(outputs.values, plain, valid)
    agree = timesteps.agree(results, batch.tokens.shape[1]) if results else None
    return Inspection(
        model=dataclasses.replace(first.settings, mask_source=settings.mask_source),
        versions=versions(),
        batch=batch,
        valid=valid,
        mask=mask,
        embedding=row,
        trace=run.calls,
        outputs=outputs,
        unmasked=unmasked,
        mask_sources=results,
        mask_sources_agree=agree,
        remarks=(
            *remarks.on_mask(batch, valid, mask),
            *remarks.on_embedding(row, settings.mask_source),
            *remarks.on_outputs(outputs, mask, run.calls),
            *remarks.on_unmasked(unmasked, outputs),
            *(remarks.on_sources(results, agree) if agree is not None else ()),
        ),
    )


def _loss(settings: ModelSettings, batch: PaddedBatch, targets: Targets, name: str, batch_size: int) -> LossReport:
    valid = valid_timesteps(batch)
    with running(f"--model {settings.name}"):
        built = build(settings)
        inputs = built.inputs(batch.tokens, valid)
        output = built.keras_model(inputs, training=False)
        mask = mask_of(output)
        each = losses.per_timestep(name, targets.values, np.asarray(output))
        unmasked_each = losses.per_timestep(name, targets.values, _run_unmasked(built, batch, valid))
        reported = losses.evaluate(built.keras_model, name, inputs, targets.values, batch_size)
    counted = valid if mask is None else mask
    masked = losses.mean(each[counted])
    return LossReport(
        model=settings,
        versions=versions(),
        batch=batch,
        valid=valid,
        mask=mask,
        loss=name,
        targets=targets.about,
        per_timestep=each,
        per_sample=losses.per_sample(each, counted),
        masked=masked,
        unmasked=float(each.mean()),
        unmasked_model=float(unmasked_each.mean()),
        keras_evaluate=reported,
        batch_size=batch_size,
        valid_timesteps=int(counted.sum()),
        total_timesteps=counted.size,
        reductions=losses.reductions(each, mask),
        remarks=(
            *(remarks.on_mask(batch, valid, mask) if mask is not None else ()),
            *remarks.on_targets(targets, batch, counted),
            *remarks.on_loss(masked, reported, mask, valid, batch_size),
        ),
    )


def _settings(ragged: RaggedSequences, batch: PaddedBatch, *, input_dim: int | None, **options: Any) -> ModelSettings:
    """Return settings that are checked as far as that goes without Keras."""
    _positive(input_dim=input_dim, embedding_dim=options["embedding_dim"], units=options["units"])
    _known("--model", options["name"], tuple(BUILTIN))
    _known("--mask-source", options["mask_source"], (*MASK_SOURCES, ALL))
    padding_id = batch.layout.value
    check_padding_id(options["mask_source"], padding_id)
    settings = ModelSettings(
        input_dim=resolve_input_dim(ragged, padding_id, input_dim),
        padding_id=padding_id,
        zero_padding_row=options["mask_source"] in ("masking", ALL),
        **options,
    )
    BUILTIN[settings.name].check(settings)
    return settings


def _targets(
    targets: object,
    field: str | None,
    loss: str,
    ragged: RaggedSequences,
    batch: PaddedBatch,
    units: int | None,
    input_dim: int,
) -> Targets:
    if isinstance(targets, str) and targets in MADE:
        return make_targets(targets, loss, ragged, batch, units, input_dim)
    if isinstance(targets, str | os.PathLike):
        return read_targets(os.fspath(targets), loss, ragged, batch, units, field)
    return given_targets(targets, loss, ragged, batch, units)


def _check_size(batch: PaddedBatch, width: int) -> None:
    """Refuse outputs that would fill the memory, before TensorFlow does."""
    if batch.tokens.size * width > LARGEST_OUTPUT:
        raise UsageError(
            where="--targets",
            expected=f"at most {LARGEST_OUTPUT:,} outputs in all",
            received=f"{batch.tokens.size:,} timesteps of {width:,}",
            fix="Use fewer sequences, a smaller --maxlen, or a smaller vocabulary.",
        )


def _known(option: str, name: str, names: tuple[str, ...]) -> None:
    if name not in names:
        raise UsageError(where=option, expected=f"one of {', '.join(names)}", received=repr(name), fix="Choose one.")


def _positive(**numbers: int | None) -> None:
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise UsageError(
                where=name, expected="at least 1", received=str(number), fix="Leave it out, or enlarge it."
            )


def _values(run: Run) -> Floats:
    values: Floats = np.asarray(run.output)
    return values


def _run_unmasked(built: BuiltModel, batch: PaddedBatch, valid: Bools) -> Floats:
    other = twin(built, "none")
    values: Floats = np.asarray(other.keras_model(other.inputs(batch.tokens, valid), training=False))
    return values


def _embedding_row(built: BuiltModel) -> EmbeddingRow:
    vectors = built.keras_model.get_layer("embedding").get_weights()[0]
    padding_id = built.settings.padding_id
    return EmbeddingRow("embedding", padding_id, np.asarray(vectors[padding_id]), built.settings.zero_padding_row)


def _compared(
    first: BuiltModel, run: Run, sources: tuple[str, ...], batch: PaddedBatch, valid: Bools
) -> tuple[SourceResult, ...]:
    results = [timesteps.compare_source(sources[0], first_mask(run.calls), _values(run), None)]
    for source in sources[1:]:
        other = twin(first, source)
        ran = trace(other.keras_model, other.inputs(batch.tokens, valid))
        results.append(timesteps.compare_source(source, first_mask(ran.calls), _values(ran), results[0]))
    return tuple(results)
