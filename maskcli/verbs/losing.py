"""Masked against unmasked loss of a built-in model."""

from __future__ import annotations

import dataclasses
import os

import numpy as np

from maskcli.errors import UsageError
from maskcli.evidence import LossReport, ModelSettings, Targets
from maskcli.inspection import losses, remarks
from maskcli.inspection.watch import mask_of
from maskcli.models.build import BuiltModel, build, twin
from maskcli.models.builtin import BUILTIN
from maskcli.models.runtime import load_keras, running, versions
from maskcli.records import Bools, Floats, Layout, ModelInput, PaddedBatch, RaggedSequences, Side
from maskcli.sequences.padding import pad_ragged, valid_timesteps
from maskcli.sequences.ragged import as_ragged
from maskcli.sequences.targets import MADE, given_targets, make_targets, read_targets
from maskcli.verbs.settings import builtin_settings, known, positive

LARGEST_OUTPUT = 2**28
"""Numbers that the outputs of one batch may have: 1 GiB, of which a loss needs several at a time."""


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
    known("--loss", loss, tuple(losses.LOSSES))
    positive(units=units, batch_size=batch_size)
    ragged = as_ragged(sequences)
    batch = pad_ragged(ragged, Layout(padding, truncating, maxlen, value, dtype, trim))
    settings = builtin_settings(
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
    given = ModelInput("tokens", batch.tokens, valid, "ids", batch.layout.value)
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
            *(remarks.on_mask(given, mask) if mask is not None else ()),
            *remarks.on_targets(targets, batch, counted),
            *remarks.on_loss(masked, reported, mask, valid, batch_size),
        ),
    )


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


def _run_unmasked(built: BuiltModel, batch: PaddedBatch, valid: Bools) -> Floats:
    other = twin(built, "none")
    values: Floats = np.asarray(other.keras_model(other.inputs(batch.tokens, valid), training=False))
    return values
