"""Embedding, then LSTM, which receives the mask and skips masked timesteps."""

from __future__ import annotations

from typing import Any

from maskcli.records.model import BuiltinModel, ModelSettings

ABOUT = BuiltinModel(
    name="embedding-lstm",
    layers="Embedding → LSTM",
    about="LSTM receives the mask: at a masked timestep it keeps its state and repeats its last output",
)

BOUNDED = True
"""Outputs are between -1 and 1, so they are poor logits."""


def check_settings(_settings: ModelSettings) -> None:
    """Accept all settings."""


def make_head(settings: ModelSettings) -> Any:
    """Return the layer after the embedding."""
    import keras

    return keras.layers.LSTM(
        settings.units,
        return_sequences=settings.return_sequences,
        zero_output_for_mask=settings.zero_output_for_mask,
        name="lstm",
    )
