"""Values and dtypes of tensors, as NumPy represents them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.backends.arrays import as_array
from maskcli.tolerance import one_ulp


def get_dtype(tensor: Any) -> str:
    """Return the name of a tensor's dtype."""
    return str(getattr(tensor.dtype, "name", tensor.dtype)).removeprefix("torch.")


def get_ulp(tensor: Any) -> float:
    """Return the relative unit in the last place of a tensor's dtype; 0 for integers and booleans.

    On JAX and PyTorch, operations of Keras such as ``matmul`` compute numbers of float64 in float32, and cast the
    results back, unless they are asked for 64 bits.
    """
    dtype = get_dtype(tensor)
    if dtype != "float64":
        return one_ulp(dtype)
    import keras

    return one_ulp(keras.backend.result_type(dtype, dtype))


def is_float(tensor: Any) -> bool:
    """Return whether a tensor holds floats."""
    return get_ulp(tensor) > 0


def as_float64(tensor: Any) -> NDArray[np.float64]:
    """Return the values of a tensor in float64."""
    return as_array(tensor).astype(np.float64)
