"""`Masking` applied to ids masks whole rows, not timesteps.

`Masking` masks a timestep if all its features equal a value: it reduces the last axis. Ids have no features, so their
last axis is time. Each row gets one True or False, of shape `(batch,)`, and no timestep is ever masked. For ids, use
`Embedding(mask_zero=True)`.

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


def judge(model: ModelEvidence) -> Iterator[Finding]:
    """Yield calls that create a mask from ids in a shape without timesteps."""
    for source in model.sources:
        call = model.call(source.call)
        if not source.of_ids or call is None or call.mask_out is None or call.mask_out.shape == call.shapes_out[0][:2]:
            continue
        yield make_finding(
            __name__,
            call=source.call,
            type_=source.type,
            message=f"{source.call} ({source.type}) receives ids of shape {call.shapes_in[0]} and creates a mask of "
            f"shape {call.mask_out.shape}: one value per row instead of one per timestep.",
            fix="Remove it, keep id 0 for padding, and use `Embedding(..., mask_zero=True)`.",
            shape=list(call.shapes_in[0]),
            mask_shape=list(call.mask_out.shape),
        )
