"""The loss counts padded timesteps.

Keras reads the mask from a model's output and leaves masked timesteps out of the loss. If the output has lost its mask,
or its mask marks padding as valid, padding counts like data. The more padding there is, the further the reported loss
is from the true one, and the model is trained to predict padding.

A loss function of your own may set padding to 0 and still divide by the number of all timesteps. It is smaller the more
padding there is, and gives each valid timestep less weight.

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

import dataclasses
from collections.abc import Iterator

from maskcli.records.check import Finding
from maskcli.records.evidence import LossEvidence, ModelEvidence, OutputEvidence
from maskcli.records.wording import format_count
from maskcli.rules.base import format_pair, locate, make_finding
from maskcli.rules.blame import (
    describe_loss_rows,
    describe_probed_rows,
    find_losing_call,
    find_widening_call,
    has_mask,
    misaligns_mask,
    name_output,
)

CODE = "MSK301"
SEVERITY = "error"


def judge(model: ModelEvidence) -> Iterator[Finding]:
    """Yield losses that count padding; without measured losses, only those that no other rule explains."""
    for loss in model.losses:
        if loss.counted_padding and (loss.reported is not None or not _is_explained(model, loss)):
            finding = _report_loss(model, loss)
            # Without targets nothing was measured, and the user may pass weights to `fit`.
            yield finding if loss.reported is not None else dataclasses.replace(finding, severity="warning")
        elif loss.divided_padding and loss.reported is not None:
            yield dataclasses.replace(_report_divisor(model, loss), severity="warning")


def _report_divisor(model: ModelEvidence, loss: LossEvidence) -> Finding:
    """Return the finding on a loss that leaves padding out of its sum, and not out of its count."""
    output = next(output for output in model.outputs if output.name == loss.output)
    figures = f"Keras reports {loss.reported:.6g}"
    if loss.masked is not None:
        reported, masked = format_pair(loss.reported or 0.0, loss.masked)
        figures = f"Keras reports {reported}; the mean over valid timesteps is {masked}"
    padded = format_count(loss.divided_padding, "padded timestep")
    return make_finding(
        __name__,
        **locate(model.call(output.call), model),
        message=f"The loss {loss.name} is 0 at padding, but divides by all {loss.timesteps:,} timesteps of "
        f"{name_output(model, loss.output)}, with {padded}{describe_loss_rows(loss)}. {figures}. More padding "
        "makes such a loss smaller.",
        fix="Divide by the number of valid timesteps: `keras.ops.sum(losses * mask) / keras.ops.sum(mask)`.",
        output=loss.output,
        counted_padding=0,
        timesteps=loss.timesteps,
        masked=loss.masked,
        reported=loss.reported,
    )


def _report_loss(model: ModelEvidence, loss: LossEvidence) -> Finding:
    output = next(output for output in model.outputs if output.name == loss.output)
    unmasked = "" if output.mask is not None else ", which carries no mask"
    rows, losses = describe_probed_rows(model), ""
    if loss.masked is not None and loss.reported is not None:
        rows = describe_loss_rows(loss)
        reported, masked = format_pair(loss.reported, loss.masked)
        losses = f" Keras reports {reported}; the mean over valid timesteps is {masked}."
    padded = format_count(loss.counted_padding, "padded timestep")
    return make_finding(
        __name__,
        **locate(find_losing_call(model, output.lost_at) or model.call(output.call), model),
        message=f"The loss {loss.name} counts {padded} of {loss.timesteps:,} in "
        f"{name_output(model, loss.output)}{unmasked}{rows}.{losses}",
        fix=_suggest_mask(model, output),
        output=loss.output,
        counted_padding=loss.counted_padding,
        timesteps=loss.timesteps,
        masked=loss.masked,
        reported=loss.reported,
    )


def _suggest_mask(model: ModelEvidence, output: OutputEvidence) -> str:
    start, wider = "Carry the mask to the output", find_widening_call(model)
    if not has_mask(model):
        start = "Give the model a mask, as by `Embedding(..., mask_zero=True)` or `keras.layers.Masking()`"
    elif output.lost_at is not None:
        start += " (see MSK101)"
    elif wider is not None:
        code = "MSK106" if misaligns_mask(wider) else "MSK102"
        start += f" (see {code})"
    return (
        f'{start}, or pass weights to a loss with `reduction="mean_with_sample_weight"`: '
        '`model.fit(x, y, sample_weight=mask.astype("float32"))`; metrics receive them only as `weighted_metrics` of '
        "`compile`."
    )


def _is_explained(model: ModelEvidence, loss: LossEvidence) -> bool:
    """Return whether MSK101, MSK102 or MSK104 reports the cause."""
    lost = any(output.name == loss.output and output.lost_at is not None for output in model.outputs)
    return lost or not has_mask(model) or find_widening_call(model) is not None
