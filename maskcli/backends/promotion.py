"""The dtypes that Keras promotes to: on all backends but TensorFlow, float32 in place of float64."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def promote_to_float64() -> Iterator[None]:
    """Let operations of Keras return float64 for tensors of float64 while this is open."""
    from keras.src.backend.common import dtypes

    table = dtypes.BIT64_TO_BIT32_DTYPE
    before = table["float64"]
    table["float64"] = "float64"
    try:
        yield
    finally:
        table["float64"] = before
