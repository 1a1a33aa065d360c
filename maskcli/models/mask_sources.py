"""The mask sources of the built-in models: how Keras gets the mask."""

from __future__ import annotations

import inspect
from typing import Any

from maskcli.errors import UsageError
from maskcli.records.options import ALL


def check_padding_id(mask_source: str, padding_id: int) -> None:
    """Raise UsageError if ``mask_source`` cannot mask ``padding_id``."""
    if mask_source in ("embedding", ALL) and padding_id != 0:
        raise UsageError(
            where="--value",
            expected=f"padding id 0 with --mask-source {mask_source}",
            received=str(padding_id),
            fix="Embedding(mask_zero=True) masks only id 0. Pad with 0, or use --mask-source explicit.",
        )


def connect(embedded: Any, head: Any, mask: Any) -> Any:
    """Return the output of ``head`` for ``embedded (batch, timesteps, embedding_dim)`` with an explicit ``mask``.

    A layer whose ``call`` has a ``mask`` argument receives the mask there. For layers without one, such as Dense, the
    mask is attached to the tensor, as an Embedding would do it.
    """
    if "mask" in inspect.signature(head.call).parameters:
        return head(embedded, mask=mask)
    return head(_attach_mask()([embedded, mask]))


def make_masking_layer() -> Any:
    """Return the layer that masks timesteps whose vector is all zero."""
    import keras

    return keras.layers.Masking(0.0, name="masking")


def _attach_mask() -> Any:
    import keras

    class AttachMask(keras.layers.Layer):  # type: ignore[misc]
        """Attach the mask of ``[features, mask]`` to the features."""

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.supports_masking = True

        def call(self, inputs: Any) -> Any:
            """Return a copy of the features."""
            # A mask on the input tensor itself would also appear in the output of the layer before.
            return keras.ops.copy(inputs[0])

        def compute_mask(self, inputs: Any, _previous_mask: Any = None) -> Any:
            """Return the second input."""
            return inputs[1]

    return AttachMask(name="attach_mask")
