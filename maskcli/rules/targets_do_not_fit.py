"""The loss cannot be computed with these targets, or a metric with the mask of its output.

Keras compares targets with predictions only when it computes the loss. Targets of another shape, class ids that are not
below the number of classes, or -100 as a label without `ignore_class=-100` make `fit` and `evaluate` stop. On a GPU,
class ids out of range give NaN instead of an error. This rule runs `evaluate` with the targets of the data.

Keras passes the mask of an output to its metrics as weights. A metric function that returns one number for a batch,
such as a hand-written masked accuracy, has nothing to weigh, and stops `fit` and `evaluate`, too.

Bad::

    import keras
    import numpy as np

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    model = keras.Model(tokens, keras.layers.Dense(3, activation="softmax")(x))
    model.compile(loss="sparse_categorical_crossentropy")
    sequences = [[1, 2, 3, 4], [5, 6]]
    options = dict(targets=np.array([[0, 1, 2, 1], [1, 0, -100, -100]]))

Good::

    import keras
    import numpy as np

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    model = keras.Model(tokens, keras.layers.Dense(3, activation="softmax")(x))
    loss = keras.losses.SparseCategoricalCrossentropy(ignore_class=-100)
    model.compile(loss=loss)
    sequences = [[1, 2, 3, 4], [5, 6]]
    options = dict(targets=np.array([[0, 1, 2, 1], [1, 0, -100, -100]]))
"""

from __future__ import annotations

from collections.abc import Iterator

from maskcli.records.check import Finding
from maskcli.records.evidence import ModelEvidence
from maskcli.records.wording import METRIC_REMEDY
from maskcli.rules.base import make_finding
from maskcli.rules.blame import name_loss, name_output

CODE = "MSK305"
SEVERITY = "error"


def judge(model: ModelEvidence) -> Iterator[Finding]:
    """Yield losses that raise with the targets of the data, and metrics that raise with a mask."""
    for loss in model.losses:
        if loss.error is None:
            continue
        yield make_finding(
            __name__,
            type_=model.type,
            message=f"{name_loss(model, loss)} cannot be computed with these targets: {loss.error.rstrip('.')}.",
            fix=loss.remedy,
            error=loss.error,
        )
    for metric in model.metrics:
        if metric.error is not None:
            yield make_finding(
                __name__,
                type_=model.type,
                message=f"The metric {metric.name} cannot be computed with the mask that "
                f"{name_output(model, metric.output)} carries: {metric.error}. So fit and evaluate stop.",
                fix=METRIC_REMEDY,
                error=metric.error,
            )
