"""`Masking` applied to ids masks whole rows, not timesteps.

`Masking` masks a timestep if all its features equal a value: it reduces the last axis. Ids have no features, so their
last axis is time. Each row gets one True or False, of shape `(batch,)`, and no timestep is ever masked. For ids, use
`Embedding(mask_zero=True)`.

The same happens to numbers `(batch, timesteps)`, and to a table `(batch, columns)` with missing values. A series needs
a feature axis, `(batch, timesteps, 1)`, before its `Masking`. A table has no timesteps, and no layer leaves single
columns out: a `Dense` layer multiplies the value by a weight like any other number. Fill missing values in the data,
and tell the model by an input of 0 and 1 where they were.

Bad::

    import keras

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Masking(0)(tokens)
    x = keras.layers.Embedding(10, 4)(x)
    model = keras.Model(tokens, keras.layers.GlobalAveragePooling1D()(x))
    sequences = [[1, 2, 3, 4], [5, 6]]

Good::

    import keras

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    model = keras.Model(tokens, keras.layers.GlobalAveragePooling1D()(x))
    sequences = [[1, 2, 3, 4], [5, 6]]
"""

from __future__ import annotations

from collections.abc import Iterator

from maskcli.records.check import Finding
from maskcli.records.evidence import ModelEvidence
from maskcli.rules.base import make_finding

CODE = "MSK110"
SEVERITY = "error"

_FIX_OF_IDS = "Remove it, keep id 0 for padding, and use `Embedding(..., mask_zero=True)`."
_FIX_OF_NUMBERS = (
    "If the columns are timesteps, give them a feature axis before it: `x = keras.ops.expand_dims(x, -1)`. If they are "
    "not, no mask hides single columns: fill them in the data."
)


def judge(model: ModelEvidence) -> Iterator[Finding]:
    """Yield calls that create a mask from ids, or numbers ``(batch, columns)``, in a shape without timesteps."""
    for source in model.sources:
        call = model.call(source.call)
        if not source.of_ids or call is None or call.mask_out is None or call.mask_out.shape == call.shapes_out[0][:2]:
            continue
        noun = "numbers" if source.of_numbers else "ids"
        yield make_finding(
            __name__,
            call=source.call,
            type_=source.type,
            message=f"{source.call} ({source.type}) receives {noun} of shape {call.shapes_in[0]} and creates a mask of "
            f"shape {call.mask_out.shape}: one value per row instead of one per timestep.",
            fix=_FIX_OF_NUMBERS if source.of_numbers else _FIX_OF_IDS,
            shape=list(call.shapes_in[0]),
            mask_shape=list(call.mask_out.shape),
        )
