"""A model: its settings and its name."""

from __future__ import annotations

import dataclasses
from typing import Literal

from maskcli.records.fields import Count, NonEmpty, Positive, SourceOption

ModelSource = Literal["built-in", "file", "factory", "object", "kerashub"]
"""Where a model comes from."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """The settings of a built-in model, named like the Keras arguments it is built with.

    Attributes:
        name: of the built-in model.
        mask_source: the part of the model that makes the mask.
        input_dim: the number of ids that the Embedding has vectors for.
        embedding_dim: the length of the vectors of the Embedding.
        units: the width of the LSTM, or of the outputs.
        return_sequences: whether there is an output for each timestep.
        zero_output_for_mask: whether outputs at masked timesteps are zero.
        zero_padding_row: whether the vector of the padding id is zero.
        padding_id: the id that the mask source treats as padding.
        seed: of the weights.
        logits: the width of a Dense layer after the model that makes logits of its outputs; None without this layer.
    """

    name: str
    mask_source: SourceOption
    input_dim: Positive
    embedding_dim: Positive
    units: Positive
    return_sequences: bool
    zero_output_for_mask: bool
    zero_padding_row: bool
    padding_id: Count
    seed: Count
    logits: int | None = None


@dataclasses.dataclass(frozen=True)
class BuiltinModel:
    """One line of ``maskcli models``.

    Attributes:
        name: for ``--model``.
        layers: of the model, in order.
        about: the effect of the model on a mask.
    """

    name: str
    layers: str
    about: str


@dataclasses.dataclass(frozen=True)
class ModelList:
    """The built-in models.

    Attributes:
        models: all of them.
    """

    models: tuple[BuiltinModel, ...]


@dataclasses.dataclass(frozen=True)
class ModelIdentity:
    """The name of a model.

    Attributes:
        name: a built-in name, a file, package.module:function, or the name of a model object.
        source: the origin of the model.
        type: the class name of the model.
    """

    name: NonEmpty
    source: ModelSource
    type: NonEmpty


@dataclasses.dataclass(frozen=True)
class ModelAbout:
    """The name and the settings of a model; the settings are None unless it is a built-in model.

    Attributes:
        name: a built-in name, a file, package.module:function, or the name of a model object.
        source: the origin of the model.
        type: the class name of the model.
        settings: of a built-in model; None for other models.
        notes: parts that could not be restored with the model.
    """

    name: str
    source: ModelSource
    type: str
    settings: ModelSettings | None = None
    notes: tuple[str, ...] = ()

    @property
    def identity(self) -> ModelIdentity:
        """The name of the model, without its settings."""
        return ModelIdentity(self.name, self.source, self.type)
