"""The loss that Keras reports depends on how the data is cut into batches.

Under a mask, the loss of a batch is the mean over its valid timesteps. `evaluate` and `fit` average these means by the
number of samples, not of valid timesteps: a batch with one long and one short row weighs as much as one with two short
ones. The same model on the same data gets another figure with another batch size, and with shuffling.

Bad::

    import keras
    import numpy as np

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    model = keras.Model(tokens, keras.layers.Dense(1)(x))
    model.compile(loss="mse")
    sequences = [[1, 2, 3, 4], [5]]
    options = dict(targets=np.array([[[0.0]] * 4, [[9.0]] * 4]))

Good::

    import keras
    import numpy as np

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    model = keras.Model(tokens, keras.layers.Dense(1)(x))
    model.compile(loss="mse")
    sequences = [[1, 2, 3, 4], [5, 6, 7, 8]]
    options = dict(targets=np.array([[[0.0]] * 4, [[9.0]] * 4]))
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from maskcli.records.check import Examination, Finding, Severity
from maskcli.rules.base import make_finding

CODE = "MSK302"
SEVERITY: Severity = "warning"
ABOUT: Literal["model"] = "model"


def judge(examination: Examination) -> Iterator[Finding]:
    """Find losses of which the figure changes with the batch size by more than rounding."""
    model = examination.model
    for loss in model.losses if model is not None else ():
        figures = loss.by_batch_size
        if model is None or len(figures) < 2 or loss.masked is None or loss.counted_padding:
            continue
        lowest, highest = min(figures.values()), max(figures.values())
        if not highest - lowest > loss.tolerance * max(abs(lowest), abs(highest)):
            continue
        said = ", ".join(f"{value:.6g} in batches of {size}" for size, value in figures.items())
        yield make_finding(
            __name__,
            type_=model.type,
            message=f"The loss {loss.name} is {said}; the mean over all valid timesteps is {loss.masked:.6g}.",
            fix="Compare figures of one batch size only, put rows of like length into a batch, or evaluate all rows in "
            "one batch.",
            exact=loss.masked,
            by_batch_size={str(size): value for size, value in figures.items()},
        )
