"""A call returns a mask that does not fit its output.

A mask has the first axes of its tensor: `(batch, timesteps)`. A custom layer that pools over timesteps and sets
`supports_masking = True` returns the old mask with a result that has no timesteps. `TimeDistributed` around an RNN does
the same with `(batch, sentences, words)`. The next layer or the loss that uses this mask fails, or broadcasts it along
the wrong axis.

Bad::

    import keras

    class Mean(keras.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.supports_masking = True

        def call(self, inputs, mask=None):
            weight = keras.ops.cast(mask, inputs.dtype)[..., None]
            total = keras.ops.sum(inputs * weight, axis=1)
            return total / keras.ops.sum(weight, axis=1)

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    model = keras.Model(tokens, Mean()(x))
    sequences = [[1, 2, 3, 4, 5, 6], [5, 6]]

Good::

    import keras

    class Mean(keras.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.supports_masking = True

        def call(self, inputs, mask=None):
            weight = keras.ops.cast(mask, inputs.dtype)[..., None]
            total = keras.ops.sum(inputs * weight, axis=1)
            return total / keras.ops.sum(weight, axis=1)

        def compute_mask(self, inputs, mask=None):
            return None

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    model = keras.Model(tokens, Mean()(x))
    sequences = [[1, 2, 3, 4, 5, 6], [5, 6]]
"""

from __future__ import annotations

from collections.abc import Iterator

from maskcli.records.check import Finding
from maskcli.records.evidence import ModelEvidence
from maskcli.rules.base import make_finding
from maskcli.rules.blame import name_call

CODE = "MSK105"
SEVERITY = "error"


def judge(model: ModelEvidence) -> Iterator[Finding]:
    """Yield the first call whose mask does not have the first axes of its output."""
    for call in model.trace:
        mask = call.mask_out
        if mask is None or call.computes_mask or not call.shapes_out:
            continue
        shape = call.shapes_out[0]
        if mask.shape == shape[: mask.ndim]:
            continue
        yield make_finding(
            __name__,
            call=call.call,
            type_=call.type,
            message=f"{name_call(call)} returns an output of shape {shape} with a mask of shape {mask.shape}, which "
            "does not fit.",
            fix="Define the mask of the output: `def compute_mask(self, inputs, mask=None): return None` in a layer "
            "that pools timesteps, or `return mask[..., 0]` for the outer axes.",
            shape=list(shape),
            mask_shape=list(mask.shape),
        )
        return
