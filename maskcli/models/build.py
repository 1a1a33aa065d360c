"""Build a built-in Keras model with seeded weights, and twins of it with another mask source."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from maskcli.models.builtin import BUILTIN
from maskcli.models.mask_sources import connect, make_masking_layer
from maskcli.models.runtime import seed_generators
from maskcli.records.arrays import Bools, Ints
from maskcli.records.model import ModelSettings


@dataclasses.dataclass(frozen=True, eq=False)
class BuiltModel:
    """A Keras model and the settings it was built with."""

    keras_model: Any
    settings: ModelSettings

    def inputs(self, tokens: Ints, valid: Bools) -> Any:
        """Return the arguments of the model: tokens, and the explicit mask if the model takes one."""
        return [tokens, valid] if self.settings.mask_source == "explicit" else tokens


def build(settings: ModelSettings) -> BuiltModel:
    """Return a functional model whose weights depend only on ``settings.seed``."""
    import keras

    seed_generators(settings.seed)
    head = BUILTIN[settings.name].make_head(settings)
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    embedding = keras.layers.Embedding(
        settings.input_dim,
        settings.embedding_dim,
        mask_zero=settings.mask_source == "embedding",
        name="embedding",
    )
    embedded = embedding(tokens)
    if settings.mask_source == "explicit":
        mask = keras.Input((None,), dtype="bool", name="mask")
        inputs, outputs = [tokens, mask], connect(embedded, head, mask)
    else:
        if settings.mask_source == "masking":
            embedded = make_masking_layer()(embedded)
        inputs, outputs = tokens, head(embedded)
    if settings.logits:
        outputs = keras.layers.Dense(settings.logits, name="logits")(outputs)
    model = keras.Model(inputs, outputs, name=settings.name)
    if settings.zero_padding_row:
        _zero_row(embedding, settings.padding_id)
    return BuiltModel(model, settings)


def build_twin(built: BuiltModel, mask_source: str) -> BuiltModel:
    """Return the same model with the same weights and another mask source."""
    twin = build(dataclasses.replace(built.settings, mask_source=mask_source))
    for layer in built.keras_model.layers:
        if layer.weights:
            twin.keras_model.get_layer(layer.name).set_weights(layer.get_weights())
    return twin


def _zero_row(embedding: Any, row: int) -> None:
    vectors = np.array(embedding.get_weights()[0])
    vectors[row] = 0.0
    embedding.set_weights([vectors])
