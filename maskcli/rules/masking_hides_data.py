"""`Masking` masks timesteps that are data, because all their features equal its value.

A day without sales, a pixel row that is black, a standardised feature that is exactly average: a real timestep may
be all zero. `Masking(0.0)` cannot tell it from padding. An RNN skips it, and the loss does not count it.

Bad::

    import keras
    import numpy as np

    features = keras.Input((None, 2), name="features")
    x = keras.layers.Masking(0.0)(features)
    model = keras.Model(features, keras.layers.LSTM(3)(x))
    arrays = {"features": np.ones((2, 4, 2), "float32")}
    arrays["features"][0, 1] = 0.0
    arrays["features"][1, 2:] = 0.0

Good::

    import keras
    import numpy as np

    features = keras.Input((None, 2), name="features")
    x = keras.layers.Masking(-1.0)(features)
    model = keras.Model(features, keras.layers.LSTM(3)(x))
    arrays = {"features": np.ones((2, 4, 2), "float32")}
    arrays["features"][0, 1] = 0.0
    arrays["features"][1, 2:] = -1.0
    arrays["features.mask"] = np.array([[True] * 4, [True, True, False, False]])
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from maskcli.records.check import Examination, Finding, Severity
from maskcli.records.evidence import INPUT
from maskcli.rules.base import make_finding, pluralize

CODE = "MSK113"
SEVERITY: Severity = "error"
ABOUT: Literal["model"] = "model"


def judge(examination: Examination) -> Iterator[Finding]:
    """Find calls that make a mask of features and are False at valid timesteps."""
    model = examination.model
    for source in model.sources if model is not None else ():
        if source.hidden is None or source.looks_up or source.of_ids:
            continue
        yield make_finding(
            __name__,
            call=source.call,
            type_=source.type,
            message=f"{source.call} ({source.type}) masks {pluralize(source.hidden.count, 'valid timestep')}, first in "
            f"sample {source.hidden.sample} at timestep {source.hidden.timestep}"
            f"{'.' if source.type == INPUT else ': all its features equal the value.'}",
            fix="Pad with a value that data never has, such as -1.0, and use `Masking(-1.0)`; or hand the mask over: "
            "`layer(x, mask=mask)`.",
            hidden=source.hidden.count,
            sample=source.hidden.sample,
            timestep=source.hidden.timestep,
        )
