"""`Masking` after an Embedding masks nothing.

`Masking(0.0)` looks for vectors that are all zero. The vector of id 0 in an Embedding is random or trained, like any
other. It is not zero, so the mask is True everywhere. The model has a mask, but treats padding as data.

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

from maskcli.records.check import Finding
from maskcli.records.evidence import ModelEvidence
from maskcli.records.wording import format_count
from maskcli.rules.base import make_finding

CODE = "MSK111"
SEVERITY = "error"


def judge(model: ModelEvidence) -> Iterator[Finding]:
    """Yield calls that look for padding in the vectors of an Embedding, and miss it."""
    for source in model.sources:
        missed = source.missed
        if source.after_lookup is None or missed is None:
            continue
        padded = format_count(missed.count, "padded timestep")
        yield make_finding(
            __name__,
            call=source.call,
            type_=source.type,
            message=f"{source.call} ({source.type}) looks for zero vectors, but {source.after_lookup} does not return "
            f"zeros for the padding id: the mask marks {padded} of {source.padding} as valid.",
            fix=f"Remove it, and set `mask_zero=True` in {source.after_lookup}.",
            missed=missed.count,
            padding=source.padding,
            lookup=source.after_lookup,
        )
