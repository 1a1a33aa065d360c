"""A call returns a mask that does not fit its output.

A mask has the first axes of its tensor: `(batch, timesteps)`. A layer of one's own that pools timesteps away and sets
`supports_masking = True` passes the old mask on to a result without timesteps; `TimeDistributed` around an RNN does the
same with `(batch, sentences, words)`. The next layer or the loss that takes this mask fails, or broadcasts it along the
wrong axis.

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
from typing import Literal

from maskcli.records.check import Examination, Finding, Severity
from maskcli.records.trace import Call
from maskcli.rules.base import make_finding
from maskcli.rules.blame import name_call

CODE = "MSK105"
SEVERITY: Severity = "error"
ABOUT: Literal["model"] = "model"


def judge(examination: Examination) -> Iterator[Finding]:
    """Find the first call whose mask does not have the first axes of its output."""
    model = examination.model
    call = next((call for call in model.trace if _misfits(call)), None) if model is not None else None
    if call is None or call.mask_out is None:
        return
    yield make_finding(
        __name__,
        call=call.call,
        type_=call.type,
        message=f"{name_call(call)} returns {call.shapes_out[0]} with a mask of shape {call.mask_out.shape}, "
        "which is not "
        "the mask of that.",
        fix="Tell what becomes of the mask: `def compute_mask(self, inputs, mask=None): return None` in a layer that "
        "pools timesteps, or `mask[..., 0]` for its outer axes.",
        shape=list(call.shapes_out[0]),
        mask_shape=list(call.mask_out.shape),
    )


def _misfits(call: Call) -> bool:
    if call.mask_out is None or call.computes_mask or not call.shapes_out:
        return False
    return call.mask_out.shape != call.shapes_out[0][: call.mask_out.ndim]
