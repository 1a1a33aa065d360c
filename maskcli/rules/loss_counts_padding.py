"""The loss counts padded timesteps.

Keras takes the mask of a model's output off the tensor and leaves masked timesteps out of the loss. An output that has
lost its mask, or whose mask is too wide, is counted whole: the more padding, the further the figure is from the truth,
and the model is trained to predict padding.

Bad::

    import keras
    import numpy as np

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    model = keras.Model(tokens, keras.layers.Dense(1)(x) + 0.0)
    model.compile(loss="mse")
    sequences = [[1, 2, 3, 4], [5, 6]]
    options = dict(targets=np.array([[[1.0]] * 4, [[1.0]] * 2 + [[0.0]] * 2]))

Good::

    import keras
    import numpy as np

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    model = keras.Model(tokens, keras.layers.Dense(1)(x))
    model.compile(loss="mse")
    sequences = [[1, 2, 3, 4], [5, 6, 7, 8]]
    options = dict(targets=np.array([[[1.0]] * 4, [[1.0]] * 4]))
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from maskcli.records.check import Examination, Finding, Severity
from maskcli.records.evidence import LossEvidence, ModelEvidence
from maskcli.rules.base import make_finding, pluralize
from maskcli.rules.blame import find_widening_call, has_mask, name_output

CODE = "MSK301"
SEVERITY: Severity = "error"
ABOUT: Literal["model"] = "model"


def judge(examination: Examination) -> Iterator[Finding]:
    """Find losses that count padding; without figures, only where no other rule says why."""
    model = examination.model
    for loss in model.losses if model is not None else ():
        if model is not None and loss.counted_padding and (loss.masked is not None or not _told(model, loss)):
            yield _finding(model, loss)


def _finding(model: ModelEvidence, loss: LossEvidence) -> Finding:
    output = next(output for output in model.outputs if output.name == loss.output)
    call = model.call(output.lost_at or output.call)
    unmasked = "" if output.mask is not None else ", which carries no mask"
    figures = ""
    if loss.masked is not None and loss.reported is not None:
        figures = f" Keras reports {loss.reported:.6g}; the mean over valid timesteps is {loss.masked:.6g}."
    return make_finding(
        __name__,
        call=call.call if call is not None else None,
        type_=call.type if call is not None else model.type,
        message=f"The loss {loss.name} counts {pluralize(loss.counted_padding, 'padded timestep')} of "
        f"{loss.timesteps:,} "
        f"in {name_output(model, loss.output)}{unmasked}.{figures}",
        fix="Carry the mask to the output (see MSK101), or give the mask to the loss: `model.fit(x, y, "
        "sample_weight=mask.astype(float))`.",
        counted_padding=loss.counted_padding,
        timesteps=loss.timesteps,
        masked=loss.masked,
        reported=loss.reported,
    )


def _told(model: ModelEvidence, loss: LossEvidence) -> bool:
    lost = any(output.name == loss.output and output.lost_at is not None for output in model.outputs)
    return lost or not has_mask(model) or find_widening_call(model) is not None
