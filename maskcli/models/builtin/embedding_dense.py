"""Embedding, then Dense: a layer that passes the mask on and computes as if there were none."""

from __future__ import annotations

from typing import Any

from maskcli.errors import UsageError
from maskcli.records.model import BuiltinModel, ModelSettings

ABOUT = BuiltinModel(
    name="embedding-dense",
    layers="Embedding → Dense",
    about="Dense passes the mask on and never looks at it: only the loss leaves masked timesteps out",
)

BOUNDED = False
"""Outputs are linear: logits as they are."""


def check_settings(settings: ModelSettings) -> None:
    """Raise UsageError for options that only an RNN has."""
    for asked, option in (
        (not settings.return_sequences, "--last-only"),
        (settings.zero_output_for_mask, "--zero-output-for-mask"),
    ):
        if asked:
            raise UsageError(
                where=option,
                expected="a model with an RNN, such as embedding-lstm",
                received=f"--model {ABOUT.name}, whose Dense works on each timestep alone",
                fix=f"Leave {option} out, or use --model embedding-lstm.",
            )


def make_head(settings: ModelSettings) -> Any:
    """Return the layer behind the embedding."""
    import keras

    return keras.layers.Dense(settings.units, name="dense")
