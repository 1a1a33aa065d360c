"""`Masking` masks timesteps that are data, because all their features equal its value.

A real timestep can be all zero: a day without sales, a row of black pixels, a standardised feature that is exactly
average. `Masking(0.0)` treats it as padding. An RNN skips it, and the loss does not count it.

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

from maskcli.records.check import Finding
from maskcli.records.evidence import INPUT, ModelEvidence
from maskcli.records.wording import format_count
from maskcli.rules.base import make_finding
from maskcli.rules.blame import describe_probed_rows

CODE = "MSK113"
SEVERITY = "error"


def judge(model: ModelEvidence) -> Iterator[Finding]:
    """Yield calls that create a mask from features and are False at valid timesteps."""
    for source in model.sources:
        hidden = source.hidden
        # A mask that comes in as an input is data: it decides which timesteps are padding.
        if hidden is None or source.looks_up or source.of_ids or source.type == INPUT:
            continue
        noun = "part of a timestep" if hidden.count == 1 else "parts of timesteps"
        places = f"{hidden.count:,} {noun}" if source.of_parts else format_count(hidden.count, "valid timestep")
        reason = "all features there equal its value"
        if source.of_parts:
            reason = "it looks at each of them by itself, and their features equal its value"
        yield make_finding(
            __name__,
            call=source.call,
            type_=source.type,
            message=f"{source.call} ({source.type}) masks {places}{describe_probed_rows(model)}, first in sample "
            f"{hidden.sample} at timestep {hidden.timestep}: {reason}.",
            fix="Pad with a value that data never has, such as -1.0, and use `Masking(-1.0)`, or pass the mask "
            "explicitly: `layer(x, mask=mask)`.",
            hidden=hidden.count,
            sample=hidden.sample,
            timestep=hidden.timestep,
        )
