"""`Masking` is put on ids, where it looks at a whole row and not at timesteps.

`Masking` masks a timestep whose features all equal its value: it reduces the last axis. Ids have no features, so that
the last axis is time: a row gets one True or False, of shape `(batch,)`, and no timestep is ever masked. For ids there
is `Embedding(mask_zero=True)`.

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
from typing import Literal

from maskcli.records.check import Examination, Finding, Severity
from maskcli.rules.base import make_finding

CODE = "MSK110"
SEVERITY: Severity = "error"
ABOUT: Literal["model"] = "model"


def judge(examination: Examination) -> Iterator[Finding]:
    """Find calls that make a mask of bare ids, of a shape that has no timesteps."""
    model = examination.model
    for source in model.sources if model is not None else ():
        call = model.call(source.call) if model is not None else None
        if not source.of_ids or call is None or call.mask_out is None or call.mask_out.shape == call.shapes_out[0][:2]:
            continue
        yield make_finding(
            __name__,
            call=source.call,
            type_=source.type,
            message=f"{source.call} ({source.type}) makes of ids {call.shapes_in[0]} a mask of shape "
            f"{call.mask_out.shape}: one for a row, none for a timestep.",
            fix="Leave it out, and use `Embedding(..., mask_zero=True)`.",
            shape=list(call.shapes_in[0]),
            mask_shape=list(call.mask_out.shape),
        )
