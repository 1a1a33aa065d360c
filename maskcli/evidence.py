"""Records of what happened inside a model, and of what it was built from; frozen, and known to every floor."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from numpy.typing import NDArray

from maskcli.records import Bools, Floats, PaddedBatch


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """What a built-in model is made of, in the words of the Keras arguments it is built with.

    ``padding_id`` is the id that the mask source calls padding; ``zero_padding_row`` makes its embedding zero.
    ``logits`` is the width of a Dense layer behind the model that makes logits of its outputs; None leaves it out.
    """

    name: str
    mask_source: str
    input_dim: int
    embedding_dim: int
    units: int
    return_sequences: bool
    zero_output_for_mask: bool
    zero_padding_row: bool
    padding_id: int
    seed: int
    logits: int | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Targets:
    """What a model is to predict.

    Attributes:
        values: ``(batch, timesteps)`` class ids, or ``(batch, timesteps, units)`` numbers.
        units: the width that a model's outputs need.
        about: where they come from, for people.
        following: ``(batch, timesteps)``, the token after each, where that is what is to be predicted.
    """

    values: NDArray[Any]
    units: int
    about: str
    following: NDArray[Any] | None = None


@dataclasses.dataclass(frozen=True)
class BuiltinModel:
    """One line of ``maskcli models``."""

    name: str
    layers: str
    about: str


@dataclasses.dataclass(frozen=True, eq=False)
class Call:
    """One application of a layer or operation, as it ran.

    Attributes:
        call: the name of the layer, or the kind of the operation and its count.
        index: its position in the order of running, from 0.
        type: the class name of the layer or operation.
        effect: what it does to the mask: creates, passes, changes, uses, drops or none.
        mask_in: ``(batch, timesteps)``, the mask that its input carried or that it was handed; None without one.
        mask_out: the mask that its output carries.
        given: whether the mask reached the ``mask`` argument of its ``call``.
        computes_mask: whether it does nothing but compute a mask for a later call.
        warning: what Keras warned of in this call.
    """

    call: str
    index: int
    type: str
    effect: str
    mask_in: Bools | None
    mask_out: Bools | None
    given: bool
    computes_mask: bool
    warning: str | None


@dataclasses.dataclass(frozen=True, eq=False)
class EmbeddingRow:
    """The vector that an Embedding looks up for the padding id, ``(embedding_dim,)``.

    ``set_to_zero`` says that maskcli made it zero because the mask source needs it so.
    """

    layer: str
    padding_id: int
    padding_vector: Floats
    set_to_zero: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Outputs:
    """What the last call of a model returned.

    Attributes:
        call: the name of that call.
        values: ``(batch, timesteps, units)``, or ``(batch, units)`` when the timesteps are gone.
        mask: the mask that the outputs carry, which is the one that a loss will see.
        repeats_previous: ``(batch, timesteps)``, True where a masked output carries the one before on exactly; None
            without timesteps.
    """

    call: str
    values: Floats
    mask: Bools | None
    repeats_previous: Bools | None


@dataclasses.dataclass(frozen=True, eq=False)
class Unmasked:
    """The same weights run without any mask, beside the outputs of the masked run.

    Attributes:
        values: the outputs, in the shape of the masked ones.
        change: the largest absolute change over the features, ``(batch, timesteps)``, or ``(batch,)``.
        max_abs_change_valid: the largest change at a valid timestep, or of a pooled output.
        max_abs_change_padding: the largest change at a padded timestep; None where there is none.
    """

    values: Floats
    change: Floats
    max_abs_change_valid: float
    max_abs_change_padding: float | None


@dataclasses.dataclass(frozen=True, eq=False)
class SourceResult:
    """What one mask source gave: its mask, its outputs, and how they differ from those of the first source."""

    mask_source: str
    mask: Bools | None
    values: Floats
    differing_timesteps: int
    max_abs_difference: float


@dataclasses.dataclass(frozen=True)
class Remark:
    """A sentence about the evidence; ``kind`` is ``fact`` or ``warning``."""

    kind: Literal["fact", "warning"]
    text: str


@dataclasses.dataclass(frozen=True, eq=False)
class Inspection:
    """Evidence of one batch run through one model.

    Attributes:
        model: the settings of the model.
        versions: of keras, tensorflow and numpy.
        batch: what went in.
        valid: ``(batch, timesteps)``: timesteps that are no padding.
        mask: what the model's mask source computed.
        embedding: the vector of the padding id.
        trace: the calls in the order in which they ran.
        outputs: those of the last call.
        unmasked: the same weights without any mask; None when the model has no mask source.
        mask_sources: the result of each mask source; empty unless all were asked for.
        mask_sources_agree: None unless all were asked for.
        remarks: what follows from the evidence.
    """

    model: ModelSettings
    versions: dict[str, str]
    batch: PaddedBatch
    valid: Bools
    mask: Bools | None
    embedding: EmbeddingRow
    trace: tuple[Call, ...]
    outputs: Outputs
    unmasked: Unmasked | None
    mask_sources: tuple[SourceResult, ...]
    mask_sources_agree: bool | None
    remarks: tuple[Remark, ...]


@dataclasses.dataclass(frozen=True)
class Reduction:
    """One way to make a single number of the losses of all timesteps; None where nothing is left to count."""

    name: str
    value: float | None
    formula: str


@dataclasses.dataclass(frozen=True, eq=False)
class LossReport:
    """Masked and unmasked loss of one batch.

    Attributes:
        model: the settings of the model.
        versions: of keras, tensorflow and numpy.
        batch: what went in.
        valid: ``(batch, timesteps)``: timesteps that are no padding.
        mask: ``(batch, timesteps)``, the mask that the loss saw; None when the outputs carried none.
        loss: the name of the loss.
        targets: what the targets are.
        per_timestep: ``(batch, timesteps)``, each timestep's own loss, as Keras computes it.
        per_sample: a row each: the mean over its counted timesteps (None without any), and over all of them.
        masked: the mean over the timesteps that the mask (without one: the lengths) calls valid, by NumPy in float64.
        unmasked: the same predictions, every timestep counted.
        unmasked_model: the same weights run with no mask anywhere, every timestep counted.
        keras_evaluate: what Keras's ``evaluate`` returned.
        batch_size: the batch size of that ``evaluate``.
        valid_timesteps: how many timesteps ``masked`` counts.
        total_timesteps: all timesteps of the batch.
        reductions: other ways to reduce the same losses.
        remarks: what follows from the evidence.
    """

    model: ModelSettings
    versions: dict[str, str]
    batch: PaddedBatch
    valid: Bools
    mask: Bools | None
    loss: str
    targets: str
    per_timestep: Floats
    per_sample: tuple[tuple[float | None, float], ...]
    masked: float | None
    unmasked: float
    unmasked_model: float
    keras_evaluate: float
    batch_size: int
    valid_timesteps: int
    total_timesteps: int
    reductions: tuple[Reduction, ...]
    remarks: tuple[Remark, ...]
