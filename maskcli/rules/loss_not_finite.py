"""The loss is NaN or infinite.

Keras multiplies the loss of a masked timestep by zero, and zero times infinity is NaN. A single target at padding that
is NaN, infinite, or so large that its square overflows therefore makes the loss of the batch NaN, although the timestep
is masked. So does a prediction that is not finite. One training step with such a loss turns every weight into NaN.

Bad::

    import keras
    import numpy as np

    features = keras.Input((None, 2), name="features")
    x = keras.layers.Masking(-1.0)(features)
    x = keras.layers.LSTM(3, return_sequences=True)(x)
    model = keras.Model(features, keras.layers.Dense(1)(x))
    model.compile(loss="mse")
    arrays = {"features": np.ones((2, 4, 2), "float32")}
    arrays["features"][1, 2:] = -1.0
    arrays["features.mask"] = np.array([[True] * 4, [True, True, False, False]])
    targets = np.array([[[1.0]] * 4, [[1.0]] * 2 + [[np.nan]] * 2])
    options = dict(targets=targets)

Good::

    import keras
    import numpy as np

    features = keras.Input((None, 2), name="features")
    x = keras.layers.Masking(-1.0)(features)
    x = keras.layers.LSTM(3, return_sequences=True)(x)
    model = keras.Model(features, keras.layers.Dense(1)(x))
    model.compile(loss="mse")
    arrays = {"features": np.ones((2, 4, 2), "float32")}
    arrays["features"][1, 2:] = -1.0
    arrays["features.mask"] = np.array([[True] * 4, [True, True, False, False]])
    targets = np.array([[[1.0]] * 4, [[1.0]] * 2 + [[0.0]] * 2])
    options = dict(targets=targets)
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from maskcli.records.check import Finding
from maskcli.records.evidence import LossEvidence, ModelEvidence
from maskcli.records.wording import format_count
from maskcli.rules.base import make_finding
from maskcli.rules.blame import describe_loss_rows, name_loss

CODE = "MSK304"
SEVERITY = "error"


def judge(model: ModelEvidence) -> Iterator[Finding]:
    """Yield losses that Keras reports as NaN or infinite."""
    for loss in model.losses:
        if loss.reported is None or math.isfinite(loss.reported):
            continue
        if loss.finite_elsewhere and model.empty is not None and model.empty.not_finite is not None:
            continue  # MSK201 reports the rows without a valid timestep.
        yield _report_loss(model, loss)


def _report_loss(model: ModelEvidence, loss: LossEvidence) -> Finding:
    exact = loss.masked is not None and math.isfinite(loss.masked)
    reason, fix = _explain(loss, exact)
    mean = f" The mean over valid timesteps is {loss.masked:.6g}." if exact else ""
    return make_finding(
        __name__,
        type_=model.type,
        message=f"{name_loss(model, loss)} is {loss.reported:.6g}{describe_loss_rows(loss)}{reason}.{mean}",
        fix=fix,
        reported=loss.reported,
        exact=loss.masked,
        not_finite=loss.not_finite[0],
        not_finite_masked=loss.not_finite[1],
    )


def _explain(loss: LossEvidence, exact: bool) -> tuple[str, str]:
    """Return the reason and the fix; ``exact`` is whether the loss over valid timesteps is finite."""
    counted, others = loss.not_finite
    if others and not counted:
        verb = "has" if others == 1 else "have"
        return (
            f": {format_count(others, 'masked timestep')} {verb} a loss that is not finite, "
            "which Keras multiplies by 0",
            "Put finite targets at padding, `y[~mask] = 0.0`, and check the predictions there.",
        )
    if counted and exact:
        verb = "counts, and its" if counted == 1 else "count, and their"
        return (
            f": {format_count(counted, 'padded timestep')} {verb} loss is not finite",
            "Put finite targets at padding, `y[~mask] = 0.0`, and carry the mask to the output (see MSK101).",
        )
    places = f", at {format_count(counted, 'timestep')} of {loss.timesteps:,}" if counted else ""
    return (
        places,
        "Search the targets and the predictions for NaN, infinity, and numbers above 1e19, whose squares overflow.",
    )
