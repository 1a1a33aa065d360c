"""The values of tensors as NumPy has them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

EPSILON = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
"""By dtype, the distance from 1 to the next number."""


def get_dtype(tensor: Any) -> str:
    """Return the name of a tensor's dtype."""
    return str(getattr(tensor.dtype, "name", tensor.dtype))


def is_float(tensor: Any) -> bool:
    """Return whether a tensor holds floats."""
    return get_dtype(tensor) in EPSILON


def as_float64(tensor: Any) -> NDArray[np.float64]:
    """Return the values of a tensor in float64."""
    return np.asarray(tensor).astype(np.float64)
