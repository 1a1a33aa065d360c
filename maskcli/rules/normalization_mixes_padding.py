"""A normalisation includes padding in its statistics.

`BatchNormalization` leaves masked timesteps out of mean and variance only if it receives the mask. If the mask was lost
before, padding counts as data. That shows only in training, but stays in the moving statistics. Normalisation over the
time axis, as in `LayerNormalization(axis=(1, 2))` and `GroupNormalization`, mixes the timesteps of a row even with a
mask. Then results at valid timesteps change at any time, and the finding is an error.

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

import dataclasses
from collections.abc import Iterator

from maskcli.records.check import Finding
from maskcli.records.evidence import ModelEvidence
from maskcli.rules.base import make_finding
from maskcli.rules.blame import find_attention_fault, mixes_rows, name_call
from maskcli.rules.fixes import suggest_mask

CODE = "MSK109"
SEVERITY = "warning"


def judge(model: ModelEvidence) -> Iterator[Finding]:
    """Yield normalisations whose valid results depend on padding."""
    for mixing in model.mixing:
        call = model.call(mixing.call)
        if call is None or find_attention_fault(model, call) is not None or mixes_rows(model, call):
            continue  # MSK116 or MSK118 reports the same cause.
        if mixing.training:
            when = "in training"
            fix = f"Pass the mask explicitly: `layer(x, mask={suggest_mask(model, call)})`."
        else:
            when = "always"
            fix = "Normalise each timestep separately: `keras.layers.LayerNormalization()` over the last axis."
        lost = f" Its mask was lost at {call.lost_at}." if call.lost_at is not None and not call.given else ""
        finding = make_finding(
            __name__,
            call=call.call,
            type_=call.type,
            message=f"{name_call(call)} includes padding in its statistics, {when}: padding changes results at valid "
            f"timesteps by up to {mixing.change:.3g}.{lost}",
            fix=fix,
            max_abs_change=mixing.change,
            training=mixing.training,
            lost_at=call.lost_at,
        )
        yield finding if mixing.training else dataclasses.replace(finding, severity="error")
