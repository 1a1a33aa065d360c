"""The loss that Keras reports depends on the batch size.

Under a mask, the loss of a batch is the mean over its valid timesteps. `evaluate` and `fit` average these means by the
number of samples, not of valid timesteps. A batch with one long and one short row therefore weighs as much as a batch
with two short rows. The same model on the same data gets a different loss if the batch size or the order of rows
changes.

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

from maskcli.records.check import Finding
from maskcli.records.evidence import ModelEvidence
from maskcli.rules.base import make_finding

CODE = "MSK302"
SEVERITY = "warning"


def judge(model: ModelEvidence) -> Iterator[Finding]:
    """Yield losses that change with the batch size by more than rounding."""
    for loss in model.losses:
        by_size = loss.by_batch_size
        if len(by_size) < 2 or loss.masked is None or loss.counted_padding:
            continue
        lowest, highest = min(by_size.values()), max(by_size.values())
        # Written with `not`, so that NaN is no finding.
        if not highest - lowest > loss.tolerance * max(abs(lowest), abs(highest)):
            continue
        values = ", ".join(f"{value:.6g} in batches of {size}" for size, value in by_size.items())
        yield make_finding(
            __name__,
            type_=model.type,
            message=f"The loss {loss.name} depends on the batch size: {values}. The mean over all valid timesteps is "
            f"{loss.masked:.6g}.",
            fix="Compare losses at the same batch size, bucket by length, or evaluate in one batch.",
            exact=loss.masked,
            by_batch_size={str(size): value for size, value in by_size.items()},
        )
