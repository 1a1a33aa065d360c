"""The mask is made by looking for a value that padding does not have.

`Masking(mask_value)` masks timesteps whose features all equal that value, exactly; features padded with another one,
or scaled after padding, are never masked. `Embedding(mask_zero=True)` masks id 0 and no other: a batch padded with
another id goes through as data.

Bad::

    import keras
    import numpy as np

    features = keras.Input((None, 2), name="features")
    x = keras.layers.Masking(-1.0)(features)
    model = keras.Model(features, keras.layers.LSTM(3)(x))
    arrays = {"features": np.ones((2, 4, 2), "float32")}
    arrays["features"][1, 2:] = 0.0

Good::

    import keras
    import numpy as np

    features = keras.Input((None, 2), name="features")
    x = keras.layers.Masking(0.0)(features)
    model = keras.Model(features, keras.layers.LSTM(3)(x))
    arrays = {"features": np.ones((2, 4, 2), "float32")}
    arrays["features"][1, 2:] = 0.0
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from maskcli.records.check import Examination, Finding, Severity
from maskcli.records.evidence import INPUT
from maskcli.rules.base import make_finding, pluralize

CODE = "MSK112"
SEVERITY: Severity = "error"
ABOUT: Literal["model"] = "model"


def judge(examination: Examination) -> Iterator[Finding]:
    """Find calls whose mask is True at padding from the start."""
    model = examination.model
    for source in model.sources if model is not None else ():
        if source.missed is None or source.after_lookup is not None or source.of_ids:
            continue
        yield make_finding(
            __name__,
            call=source.call,
            type_=source.type,
            message=f"{source.call} ({source.type}) calls {pluralize(source.missed.count, 'padded timestep')} of "
            f"{source.padding} valid, first in sample {source.missed.sample} at timestep {source.missed.timestep}"
            f"{'.' if source.type == INPUT else ': it looks for another value than padding has.'}",
            fix="Make it of the lengths, True where a token stands; `maskcli pad --output batch.npz` writes one."
            if source.type == INPUT
            else "Pad with 0, which mask_zero looks for, or hand the mask over: `layer(x, mask=mask)`."
            if source.looks_up
            else "Give Masking the value that padding is made of, and pad after scaling, not before.",
            missed=source.missed.count,
            padding=source.padding,
            sample=source.missed.sample,
            timestep=source.missed.timestep,
        )
