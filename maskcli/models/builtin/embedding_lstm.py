"""Embedding, then LSTM: a layer that is given the mask and skips masked timesteps."""

from __future__ import annotations

from typing import Any

from maskcli.records.model import BuiltinModel, ModelSettings

ABOUT = BuiltinModel(
    name="embedding-lstm",
    layers="Embedding → LSTM",
    about="LSTM is given the mask: at a masked timestep it keeps its state and repeats its last output",
)

BOUNDED = True
"""Outputs lie between -1 and 1, which makes poor logits."""


def check_settings(_settings: ModelSettings) -> None:
    """Accept all settings."""


def make_head(settings: ModelSettings) -> Any:
    """Return the layer behind the embedding."""
    import keras

    return keras.layers.LSTM(
        settings.units,
        return_sequences=settings.return_sequences,
        zero_output_for_mask=settings.zero_output_for_mask,
        name="lstm",
    )
