"""`Masking` behind an Embedding masks nothing.

`Masking(0.0)` looks for vectors that are all zero. The vector that an Embedding has for id 0 is random, or trained,
like any other: it is not zero, and the mask is True everywhere. The model has a mask, and padding is data all the same.

Bad::

    import keras

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4)(tokens)
    x = keras.layers.Masking(0.0)(x)
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
from maskcli.rules.base import make_finding, pluralize

CODE = "MSK111"
SEVERITY: Severity = "error"
ABOUT: Literal["model"] = "model"


def judge(examination: Examination) -> Iterator[Finding]:
    """Find calls that look for padding in the vectors of an Embedding, and miss it."""
    model = examination.model
    for source in model.sources if model is not None else ():
        if source.after_lookup is None or source.missed is None:
            continue
        yield make_finding(
            __name__,
            call=source.call,
            type_=source.type,
            message=f"{source.call} ({source.type}) looks at the vectors of {source.after_lookup}, which are not zero "
            f"for the padding id: {pluralize(source.missed.count, 'padded timestep')} of {source.padding} "
            f"{'passes' if source.missed.count == 1 else 'pass'} as valid.",
            fix=f"Leave it out, and set `mask_zero=True` in {source.after_lookup}.",
            missed=source.missed.count,
            padding=source.padding,
            lookup=source.after_lookup,
        )
