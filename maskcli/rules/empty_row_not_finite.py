"""A row without a valid timestep makes the output NaN or infinite.

The mean over no timesteps is 0/0. `GlobalAveragePooling1D` therefore returns NaN for a row that is all padding, and the
loss of the whole batch becomes NaN. A single training step then turns every weight into NaN.

Bad::

    import keras

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    model = keras.Model(tokens, keras.layers.GlobalAveragePooling1D()(x))
    sequences = [[1, 2, 3, 4], []]

Good::

    import keras

    tokens = keras.Input((None,), dtype="int32")
    x = keras.layers.Embedding(10, 4, mask_zero=True)(tokens)
    model = keras.Model(tokens, keras.layers.GlobalAveragePooling1D()(x))
    sequences = [[1, 2, 3, 4], [5]]
"""

from __future__ import annotations

from collections.abc import Iterator

from maskcli.records.check import Finding
from maskcli.records.evidence import ModelEvidence
from maskcli.records.wording import format_count
from maskcli.rules.base import make_finding
from maskcli.rules.blame import name_call

CODE = "MSK201"
SEVERITY = "error"


def judge(model: ModelEvidence) -> Iterator[Finding]:
    """Yield the first call whose result is not finite only in rows without a valid timestep."""
    empty = model.empty
    call = model.call(empty.not_finite) if empty is not None else None
    if empty is None or call is None:
        return
    rows = format_count(empty.rows, "row")
    yield make_finding(
        __name__,
        call=call.call,
        type_=call.type,
        message=f"{name_call(call)} returns numbers that are not finite for {rows} without a valid timestep, first in "
        f"sample {empty.sample}. One training step on such a row ruins every weight.",
        fix="Remove empty rows from the data, or give each one a token, such as an id that means `empty`.",
        rows=empty.rows,
        sample=empty.sample,
    )
