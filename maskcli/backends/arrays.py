"""The values of tensors as NumPy arrays, on every backend of Keras."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_array(tensor: Any) -> NDArray[Any]:
    """Return the values of a tensor as an array, which may share its memory.

    NumPy reads those of TensorFlow and JAX by itself. Those of PyTorch may be on another device, have notes for
    derivatives, or a dtype that NumPy lacks.
    """
    value = getattr(tensor, "value", tensor)  # Of a variable of Keras; variables of TensorFlow have such a method.
    if not hasattr(value, "detach"):
        return np.asarray(tensor)
    values = value.detach().cpu()
    if str(values.dtype) == "torch.bfloat16":
        import ml_dtypes

        return np.asarray(values.float()).astype(ml_dtypes.bfloat16)
    return np.asarray(values.resolve_conj().resolve_neg())
