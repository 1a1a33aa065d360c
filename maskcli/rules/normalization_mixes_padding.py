"""A normalisation takes padding into its statistics.

`BatchNormalization` leaves masked timesteps out of mean and variance when it is given the mask, and counts them as data
when the mask was lost before it; that shows in training only, and in the moving statistics ever after. Normalisation
over the time axis, as `LayerNormalization(axis=(1, 2))` and `GroupNormalization` do it, mixes the timesteps of a row
whatever the mask says.

Bad::

    import keras

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    x = keras.layers.GroupNormalization(groups=2)(x)
    x = keras.layers.LSTM(3)(x)
    model = keras.Model(tokens, x)
    sequences = [[1, 2, 3, 4], [5, 6]]

Good::

    import keras

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    x = keras.layers.LayerNormalization()(x)
    x = keras.layers.BatchNormalization()(x)
    model = keras.Model(tokens, keras.layers.LSTM(3)(x))
    sequences = [[1, 2, 3, 4], [5, 6]]
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from maskcli.records.check import Examination, Finding, Severity
from maskcli.rules.base import make_finding
from maskcli.rules.blame import name_call

CODE = "MSK109"
SEVERITY: Severity = "warning"
ABOUT: Literal["model"] = "model"


def judge(examination: Examination) -> Iterator[Finding]:
    """Find normalisations of which valid results move with padding."""
    model = examination.model
    for mixing in model.mixing if model is not None else ():
        call = model.call(mixing.call) if model is not None else None
        if call is None:
            continue
        when = "in training" if mixing.training else "always"
        lost = f" Its mask was lost at {call.lost_at}." if call.lost_at is not None and not call.given else ""
        yield make_finding(
            __name__,
            call=call.call,
            type_=call.type,
            message=f"{name_call(call)} takes padding into its statistics, {when}: valid timesteps move by up to "
            f"{mixing.change:.3g}.{lost}",
            fix="Give it the mask: `layer(x, mask=embedding.compute_mask(tokens))`."
            if mixing.training
            else "Normalise each timestep alone: `keras.layers.LayerNormalization()` over the last axis.",
            max_abs_change=mixing.change,
            training=mixing.training,
            lost_at=call.lost_at,
        )
