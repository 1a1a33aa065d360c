"""The loss that Keras reports depends on the batch size.

Under a mask, the loss of a batch is the mean over its valid timesteps. `evaluate` and `fit` average these means by the
number of samples, not of valid timesteps. A batch with one long and one short row therefore weighs as much as a batch
with two short rows. The same model on the same data gets a different loss if the batch size or the order of rows
changes.

This is true of every model with a mask and rows of several lengths, so the finding is for information. It is a warning
if the loss at `--batch-size` (default 32, as in Keras) differs from the mean over all valid timesteps by more than 1 %.

Bad::

    import keras
    import numpy as np

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    model = keras.Model(tokens, keras.layers.Dense(1)(x))
    model.compile(loss="mse")
    sequences = [[1, 2, 3, 4], [5]]
    options = dict(targets=np.array([[[0.0]] * 4, [[9.0]] * 4]), batch_size=1)

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

import dataclasses
import math
from collections.abc import Iterator

from maskcli.records.check import Finding
from maskcli.records.evidence import LossEvidence, ModelEvidence
from maskcli.rules.base import make_finding
from maskcli.rules.blame import describe_loss_rows, name_loss
from maskcli.tolerance import BATCH_SIZE_HARM

CODE = "MSK302"
SEVERITY = "info"


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
        finding = _report_loss(model, loss, loss.masked)
        yield dataclasses.replace(finding, severity="warning") if _is_distorted(loss, loss.masked) else finding


def _report_loss(model: ModelEvidence, loss: LossEvidence, exact: float) -> Finding:
    values = ", ".join(f"{value:.6g} in batches of {size}" for size, value in loss.by_batch_size.items())
    return make_finding(
        __name__,
        type_=model.type,
        message=f"{name_loss(model, loss)} depends on the batch size: {values}. The mean over all valid timesteps is "
        f"{exact:.6g}{describe_loss_rows(loss)}.",
        fix="Compare losses at the same batch size, bucket by length, or evaluate in one batch.",
        exact=exact,
        reported=loss.reported,
        batch_size=loss.batch_size,
        by_batch_size={str(size): value for size, value in loss.by_batch_size.items()},
    )


def _is_distorted(loss: LossEvidence, exact: float) -> bool:
    """Return whether the loss at the batch size of ``evaluate`` is far from the exact one."""
    if loss.reported is None or not loss.averages or not math.isfinite(exact):
        return False  # A sum is no mean, and grows with the batch.
    return abs(loss.reported - exact) > BATCH_SIZE_HARM.value * abs(exact)
