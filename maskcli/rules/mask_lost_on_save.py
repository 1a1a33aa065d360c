"""The mask does not survive saving and loading.

What makes or passes a mask may live outside the configuration of a layer: `supports_masking = True` set from outside, a
flag that `get_config` leaves out. The model that was trained is right; the one that is loaded drops the mask, and
neither saving nor loading says so. The model is saved, loaded and run again here, and the masks are compared.

Bad::

    import keras

    class Half(keras.layers.Layer):
        def call(self, inputs):
            return inputs / 2.0

    half = Half()
    half.supports_masking = True
    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    model = keras.Model(tokens, keras.layers.LSTM(3)(half(x)))
    sequences = [[1, 2, 3, 4], [5, 6]]

Good::

    import keras

    class Half(keras.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.supports_masking = True

        def call(self, inputs):
            return inputs / 2.0

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    model = keras.Model(tokens, keras.layers.LSTM(3)(Half()(x)))
    sequences = [[1, 2, 3, 4], [5, 6]]
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from maskcli.records.check import Examination, Finding, Severity
from maskcli.rules.base import make_finding
from maskcli.rules.blame import name_call

CODE = "MSK114"
SEVERITY: Severity = "error"
ABOUT: Literal["model"] = "model"


def judge(examination: Examination) -> Iterator[Finding]:
    """Find the first call whose mask is another one in the model that was saved and loaded."""
    model = examination.model
    if model is None or model.saving is None or model.saving.survives is not False:
        return
    call = model.call(model.saving.call)
    who = name_call(call) if call is not None else "the output"
    yield make_finding(
        __name__,
        call=call.call if call is not None else None,
        type_=call.type if call is not None else model.type,
        message=f"Saved and loaded again, the model has {model.saving.what} behind {who}.",
        fix="Set what makes the mask in `__init__`, and return every argument of it in `get_config`.",
        after_loading=model.saving.what,
    )
