"""A metric counts padded timesteps although the output carries a mask.

`accuracy` and the other metrics that are means of one number a timestep leave masked timesteps out. `Recall`,
`Precision`, `AUC`, `RootMeanSquaredError`, `MeanIoU` and others take in all that they are given. Each metric of the
model is asked three times here: with the mask, with the valid timesteps alone, and with all.

Bad::

    import keras
    import numpy as np

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    model = keras.Model(tokens, keras.layers.Dense(1, activation="sigmoid")(x))
    model.compile(loss="mse", metrics=[keras.metrics.RootMeanSquaredError()])
    sequences = [[1, 2, 3, 4], [5, 6]]

Good::

    import keras
    import numpy as np

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    model = keras.Model(tokens, keras.layers.Dense(1, activation="sigmoid")(x))
    model.compile(loss="mse", metrics=["mse"])
    sequences = [[1, 2, 3, 4], [5, 6]]
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from maskcli.records.check import Examination, Finding, Severity
from maskcli.records.evidence import MetricEvidence, ModelEvidence
from maskcli.rules.base import make_finding
from maskcli.rules.blame import name_output

CODE = "MSK303"
SEVERITY: Severity = "warning"
ABOUT: Literal["model"] = "model"


def judge(examination: Examination) -> Iterator[Finding]:
    """Find metrics that say with a mask what they say of all timesteps."""
    model = examination.model
    for metric in model.metrics if model is not None else ():
        if model is not None and metric.ignores_mask:
            yield _finding(model, metric)


def _finding(model: ModelEvidence, metric: MetricEvidence) -> Finding:
    made_up = "" if metric.targets == "given" else " (with targets made up to ask it)"
    return make_finding(
        __name__,
        call=metric.name,
        type_=metric.type,
        message=f"The metric {metric.name} ({metric.type}) ignores the mask of {name_output(model, metric.output)}: "
        f"it says {metric.with_mask:.6g}, of the valid timesteps alone {metric.valid:.6g}{made_up}.",
        fix="Give the mask as weights: `weighted_metrics=[...]` in `compile`, and "
        "`sample_weight=mask.astype(float)` in `fit` and `evaluate`.",
        with_mask=metric.with_mask,
        valid=metric.valid,
        all=metric.all,
        targets=metric.targets,
    )
