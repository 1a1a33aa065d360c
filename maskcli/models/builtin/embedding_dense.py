"""Embedding, then Dense, which passes the mask on but ignores it."""

from __future__ import annotations

from typing import Any

from maskcli.errors import UsageError
from maskcli.records.model import BuiltinModel, ModelSettings

ABOUT = BuiltinModel(
    name="embedding-dense",
    layers="Embedding → Dense",
    about="Dense ignores the mask and passes it on: only the loss leaves masked timesteps out",
)

BOUNDED = False
"""Outputs are linear, so they can be logits."""


def check_settings(settings: ModelSettings) -> None:
    """Raise UsageError for options that require an RNN."""
    for is_set, option in (
        (not settings.return_sequences, "--last-only"),
        (settings.zero_output_for_mask, "--zero-output-for-mask"),
    ):
        if is_set:
            raise UsageError(
                where=option,
                expected="a model with an RNN, such as embedding-lstm",
                received=f"--model {ABOUT.name}, whose Dense treats each timestep separately",
                fix=f"Leave {option} out, or use --model embedding-lstm.",
            )


def make_head(settings: ModelSettings) -> Any:
    """Return the layer after the embedding."""
    import keras

    return keras.layers.Dense(settings.units, name="dense")
