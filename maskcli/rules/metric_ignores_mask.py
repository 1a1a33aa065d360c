"""A metric counts timesteps that the loss leaves out: padding, or targets that it ignores.

`accuracy` and other metrics that average one number per timestep leave masked timesteps out. `Recall`, `Precision`,
`AUC`, `RootMeanSquaredError`, `MeanIoU` and others use all timesteps. No metric knows the `ignore_class` of the loss:
accuracy counts every ignored target as wrong. This rule computes each metric of the model three times: with the mask,
on the timesteps that the loss counts, and on all timesteps.

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

from maskcli.records.check import Finding
from maskcli.records.evidence import ModelEvidence
from maskcli.records.wording import format_count
from maskcli.rules.base import make_finding
from maskcli.rules.blame import describe_probed_rows, name_output

CODE = "MSK303"
SEVERITY = "warning"


def judge(model: ModelEvidence) -> Iterator[Finding]:
    """Yield metrics that ignore the mask."""
    for metric in model.metrics:
        if not metric.ignores_mask:
            continue
        origin = describe_probed_rows(model) if metric.targets == "given" else " (with made-up targets)"
        place = name_output(model, metric.output)
        fault, counted, weights = f"ignores the mask of {place}", "valid timesteps", "mask"
        if metric.ignored:
            labels = format_count(metric.ignored, "target")
            fault = f"counts {labels} that the loss ignores in {place}"
            counted, weights = "the targets that the loss counts", "(y != ignore_class)"
        yield make_finding(
            __name__,
            call=metric.name,
            type_=metric.type,
            message=f"The metric {metric.name} ({metric.type}) {fault}. It reports {metric.with_mask:.6g}; on "
            f"{counted} only: {metric.valid:.6g}{origin}.",
            fix="Pass the mask as weights: `weighted_metrics=[...]` in `compile`, and "
            f"`sample_weight={weights}.astype(float)` in `fit` and `evaluate`.",
            with_mask=metric.with_mask,
            valid=metric.valid,
            all=metric.all,
            targets=metric.targets,
            ignored=metric.ignored,
        )
