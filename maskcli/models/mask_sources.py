"""The ways in which Keras gets a mask."""

from __future__ import annotations

import inspect
from typing import Any

from maskcli.errors import UsageError
from maskcli.records.model import ModelSettings


def check_padding_id(mask_source: str, padding_id: int) -> None:
    """Raise UsageError when ``mask_source`` cannot take ``padding_id`` for padding."""
    if mask_source in ("embedding", "all") and padding_id != 0:
        raise UsageError(
            where="--value",
            expected=f"padding id 0 with --mask-source {mask_source}",
            received=str(padding_id),
            fix="Embedding(mask_zero=True) masks id 0 alone. Pad with 0, or use --mask-source explicit.",
        )


def connect(embedded: Any, head: Any, mask: Any) -> Any:
    """Return what ``head`` makes of ``embedded (batch, timesteps, embedding_dim)`` under an explicit ``mask``.

    A layer whose ``call`` has a ``mask`` argument is handed the mask; for others, such as Dense, it is attached to
    the tensor, as an Embedding would.
    """
    if "mask" in inspect.signature(head.call).parameters:
        return head(embedded, mask=mask)
    return head(_attach_mask()([embedded, mask]))


def make_masking_layer(settings: ModelSettings) -> Any:
    """Return the layer that masks a timestep whose vector is all zero, or None for other sources."""
    import keras

    return keras.layers.Masking(0.0, name="masking") if settings.mask_source == "masking" else None


def _attach_mask() -> Any:
    import keras

    class AttachMask(keras.layers.Layer):  # type: ignore[misc]
        """Returns ``[features, mask]``'s features, carrying the mask."""

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.supports_masking = True

        def call(self, inputs: Any) -> Any:
            """Return a copy: a mask set on the input itself would show at the layer before."""
            return keras.ops.copy(inputs[0])

        def compute_mask(self, inputs: Any, _previous_mask: Any = None) -> Any:
            """Return the mask that came in as the second input."""
            return inputs[1]

    return AttachMask(name="attach_mask")
