"""The mask does not survive saving and loading.

Code that creates or passes a mask may be missing from the configuration of a layer: `supports_masking = True` set from
outside, or a flag that `get_config` leaves out. The trained model is right, but the loaded one drops the mask. Neither
saving nor loading warns. This rule saves, loads and runs the model again, and compares the masks. A `Sequential` or a
subclassed model computes them again. A graph of the functional API is saved with the masks that it passes to its
layers; there, a mask that only its own call has lost changes nothing.

Bad::

    import keras

    class Half(keras.layers.Layer):
        def call(self, inputs):
            return inputs / 2.0

    half = Half()
    half.supports_masking = True
    tokens = keras.Input((None,), dtype="int32")
    embedding = keras.layers.Embedding(10, 4, mask_zero=True)
    model = keras.Sequential([tokens, embedding, half, keras.layers.LSTM(3)])
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
    embedding = keras.layers.Embedding(10, 4, mask_zero=True)
    model = keras.Sequential([tokens, embedding, Half(), keras.layers.LSTM(3)])
    sequences = [[1, 2, 3, 4], [5, 6]]
"""

from __future__ import annotations

from collections.abc import Iterator

from maskcli.records.check import Finding
from maskcli.records.evidence import ModelEvidence
from maskcli.rules.base import locate, make_finding
from maskcli.rules.blame import name_call

CODE = "MSK114"
SEVERITY = "error"


def judge(model: ModelEvidence) -> Iterator[Finding]:
    """Yield the first call whose mask changes when the model is saved and loaded."""
    saving = model.saving
    if saving is None or saving.survives is not False:
        return
    call = model.call(saving.call)
    place = name_call(call) if call is not None else "the output"
    yield make_finding(
        __name__,
        **locate(call, model),
        message=f"After saving and loading, the model has {saving.what} after {place}.",
        fix="Set everything that creates the mask in `__init__`, and return each argument of `__init__` in "
        "`get_config`.",
        after_loading=saving.what,
    )
