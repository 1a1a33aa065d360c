"""There is padding, and nothing tells the model.

Without `mask_zero=True`, a `Masking` layer or an explicit `mask=`, padding is data. An LSTM runs on through it and
forgets what it read, pooling averages it in, attention looks at it, and a loss counts it: with targets of 0 at padding
the figure is even better than the truth.

Bad::

    import keras

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4)(tokens)
    model = keras.Model(tokens, keras.layers.LSTM(3)(x))
    sequences = [[1, 2, 3, 4], [5, 6]]

Good::

    import keras

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    model = keras.Model(tokens, keras.layers.LSTM(3)(x))
    sequences = [[1, 2, 3, 4], [5, 6]]
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from maskcli.records.check import Examination, Finding, Severity
from maskcli.records.evidence import ModelEvidence
from maskcli.records.trace import Call
from maskcli.rules.base import make_finding, pluralize
from maskcli.rules.blame import describe_change, describe_largest_change, find_blames, has_mask, name_call

CODE = "MSK104"
SEVERITY: Severity = "error"
ABOUT: Literal["model"] = "model"


def judge(examination: Examination) -> Iterator[Finding]:
    """Find padding that enters a result, or that a loss counts, without a mask anywhere before."""
    model = examination.model
    if model is None or model.leak is None:
        return
    counting = [loss for loss in model.losses if loss.counted_padding]
    causes = find_blames(model)
    for cause in causes:
        if cause.kind == "no-source" and cause.at is not None:
            said = f"Padding enters at {name_call(cause.at)} and changes results {describe_change(model, cause.at)}."
            yield _finding(model, said, cause.at)
    if not causes and counting and not has_mask(model):
        said = f"The loss {counting[0].name} counts {pluralize(counting[0].counted_padding, 'padded timestep')}."
        yield _finding(model, said, None)


def _finding(model: ModelEvidence, said: str, at: Call | None) -> Finding:
    return make_finding(
        __name__,
        call=at.call if at is not None else None,
        type_=at.type if at is not None else None,
        message=f"{_who(model)} {pluralize(model.padded_timesteps, 'padded timestep')}, and no mask comes to "
        f"it. {said}",
        fix="`Embedding(..., mask_zero=True)` for ids padded with 0, `keras.layers.Masking(0.0)` before features, or "
        "`layer(x, mask=mask)`.",
        padded_timesteps=model.padded_timesteps,
        max_abs_change=describe_largest_change(model, at),
        counted_padding=sum(loss.counted_padding for loss in model.losses),
    )


def _who(model: ModelEvidence) -> str:
    return "A part of the model is fed" if has_mask(model) else "The model is fed"
