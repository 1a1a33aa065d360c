"""The model takes the last timestep, which is padding in shorter rows.

`x[:, -1]` is the last column of the batch. With post-padding the last token is at index length-1, so `x[:, -1]` picks
padding. After an RNN that receives a mask the result is still right, since the RNN repeats its last output. After an
Embedding, Dense, attention or convolution it is wrong.

Bad::

    import keras

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    model = keras.Model(tokens, keras.layers.Dense(2)(x)[:, -1])
    sequences = [[1, 2, 3, 4], [5, 6]]

Good::

    import keras

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    x = keras.layers.LSTM(4, return_sequences=True)(x)
    model = keras.Model(tokens, x[:, -1])
    sequences = [[1, 2, 3, 4], [5, 6]]
"""

from __future__ import annotations

from collections.abc import Iterator

from maskcli.records.check import Finding
from maskcli.records.evidence import ModelEvidence
from maskcli.records.wording import format_count
from maskcli.rules.base import make_finding
from maskcli.rules.blame import compute_largest_change, describe_largest_place, find_blames, name_call

CODE = "MSK108"
SEVERITY = "error"
FIX_FIRST = (
    "Pad at the end instead, where `x[:, 0]` is the first token of each row, or take `x[:, -1]`, the last token with "
    "pre-padding."
)
FIX_LAST = (
    "Pad at the start instead, or take the last token of each row: "
    "`keras.ops.take_along_axis(x, (lengths - 1)[:, None, None], axis=1)[:, 0]`, with "
    '`lengths = keras.ops.sum(keras.ops.cast(mask, "int32"), axis=1)`.'
)

FIX_GATHER = (
    "Gather the last valid timestep: `last = keras.ops.max(keras.ops.where(mask, keras.ops.arange(timesteps), 0), "
    "axis=1)`. The number of valid timesteps less one is its index only where padding comes after them."
)


def judge(model: ModelEvidence) -> Iterator[Finding]:
    """Yield the call that takes one timestep which is padding in some rows."""
    taken = model.taken
    call = next((cause.culprit for cause in find_blames(model) if cause.kind == "taken"), None)
    if call is None or taken is None:
        return
    yield make_finding(
        __name__,
        call=call.call,
        type_=call.type,
        message=f"{name_call(call)} takes {_describe_timestep(taken.timestep)}, which is padding in "
        f"{format_count(taken.padded_rows, 'row')} of {taken.rows}, first in sample {taken.sample}. Padding changes "
        f"results {describe_largest_place(model)}.",
        fix=_suggest_index(taken.timestep),
        timestep=taken.timestep,
        padded_rows=taken.padded_rows,
        rows=taken.rows,
        max_abs_change=compute_largest_change(model, None),
    )


def _describe_timestep(timestep: int | None) -> str:
    if timestep is None:
        return "a timestep of each row"
    place = "last" if timestep else "first"
    return f"timestep {timestep}, the {place} of the batch"


def _suggest_index(timestep: int | None) -> str:
    if timestep is None:
        return FIX_GATHER
    return FIX_LAST if timestep else FIX_FIRST
