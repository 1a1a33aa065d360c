"""Refuse models that would need more memory than ``--max-memory``, or take very long, before they run.

A configuration of a few bytes can describe a layer of any size: ``Embedding(10**12, 64)`` or ``RepeatVector(10**9)``.
"""

from __future__ import annotations

import contextlib
import functools
import math
import numbers
import re
from collections.abc import Iterator, Sequence
from typing import Any

from maskcli.errors import ModelError
from maskcli.sequences.bounds import OPTION, format_size, get_memory_bound

FIX = f"Use a smaller model, or raise the bound with {OPTION} if the machine has the memory."
COPIES = 2
"""Arrays of the size of a weight that exist while it is initialised."""
MOST_STEPS = 20_000
"""Timesteps of a recurrent layer: each takes about 0.1 milliseconds, whatever the number of rows, and a command runs a
model several times."""
_GROWING = (
    "CategoryEncoding",
    "Hashing",
    "IntegerLookup",
    "RepeatVector",
    "Resizing",
    "StringLookup",
    "UpSampling1D",
    "UpSampling2D",
    "UpSampling3D",
    "ZeroPadding1D",
    "ZeroPadding2D",
    "ZeroPadding3D",
    "Conv1DTranspose",
    "Conv2DTranspose",
    "Conv3DTranspose",
)
"""Layers of Keras whose results can be far larger than their inputs and weights."""


@contextlib.contextmanager
def bound_weights(where: str = "", fix: str = FIX) -> Iterator[None]:
    """Refuse variables of Keras that need more memory than the bound together, while this is open.

    Args:
        where: the position in the message.
        fix: the last sentence of the message.

    Raises:
        ModelError: before the memory is allocated.
    """
    import keras

    variable_type = keras.Variable
    initialise = variable_type.__init__
    total = 0
    refusals: list[ModelError] = []

    @functools.wraps(initialise)
    def check_and_initialise(variable: Any, initializer: Any, shape: Any = None, *args: Any, **kwargs: Any) -> None:
        nonlocal total
        size = _count_bytes(shape, kwargs.get("dtype") or (args[0] if args else None))
        if total + COPIES * size > get_memory_bound():
            name = kwargs.get("name") or "a weight"
            received = f"{format_size(total + COPIES * size)}, to initialise {name} of shape {_format_shape(shape)}"
            expected = f"at most {format_size(get_memory_bound())} of memory for the weights of a model"
            refusals.append(ModelError(where=where, expected=expected, received=received, fix=fix))
            raise refusals[-1]
        total += size
        initialise(variable, initializer, shape, *args, **kwargs)

    own = "__init__" in vars(variable_type)
    variable_type.__init__ = check_and_initialise
    try:
        yield
    except Exception as error:
        # Keras raises other exceptions in place of those of layers.
        if refusals and error is not refusals[-1]:
            raise refusals[-1] from error
        raise
    finally:
        variable_type.__init__ = initialise
        if not own:
            del variable_type.__init__


def check_call(operation: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> ModelError | None:
    """Return an error for a call that needs more memory than the bound, or is a recurrence of very many timesteps.

    Memory is estimated for layers and operations of Keras only.
    """
    if _count_steps(operation, args) > MOST_STEPS:
        return ModelError(
            expected=f"at most {MOST_STEPS:,} timesteps for a recurrent layer, whose timesteps run one after another",
            received=f"{_count_steps(operation, args):,} for {operation.name} ({type(operation).__name__})",
            fix=f"Cut the rows: --maxlen {MOST_STEPS}, or fewer.",
        )
    if not type(operation).__module__.startswith("keras."):
        return None
    try:
        sizes = [_count_bytes(shape, dtype) for shape, dtype in _find_shapes(operation, args, kwargs)]
    except Exception:  # The call itself will explain arguments that do not fit.
        return None
    if sum(sizes) > get_memory_bound():
        return ModelError(
            expected=f"at most {format_size(get_memory_bound())} of memory for the result of a call",
            received=f"{format_size(sum(sizes))} for {operation.name} ({type(operation).__name__})",
            fix=f"Use fewer rows or timesteps (--maxlen), or raise the bound with {OPTION}.",
        )
    return None


def _count_steps(operation: Any, args: Sequence[Any]) -> int:
    """Return the timesteps of a recurrent layer; 0 for other layers."""
    import keras

    if not isinstance(operation, keras.layers.RNN | keras.layers.Bidirectional):
        return 0
    shape = tuple(getattr(args[0], "shape", ())) if args else ()
    return int(shape[1]) if len(shape) > 1 else 0


def _find_shapes(operation: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> list[tuple[Any, Any]]:
    """Return shapes and dtypes of the results of a call that can be large, also of those inside of it."""
    import keras

    layers = keras.layers
    if isinstance(operation, layers.MultiHeadAttention | layers.GroupQueryAttention):
        heads = getattr(operation, "num_heads", None) or operation.num_query_heads
        query, value = (tuple(tensor.shape) for tensor in (*args, *kwargs.values())[:2])
        return [((query[0], heads, math.prod(query[1:-1]), math.prod(value[1:-1])), operation.compute_dtype)]
    if isinstance(operation, layers.AdditiveAttention):
        query, value = (tuple(tensor.shape) for tensor in args[0][:2])
        return [((query[0], query[1], value[1], query[-1]), operation.compute_dtype)]
    if isinstance(operation, layers.Attention):
        query, value = (tuple(tensor.shape) for tensor in args[0][:2])
        return [((query[0], query[1], value[1]), operation.compute_dtype)]
    if isinstance(operation, layers.Layer):
        if type(operation).__name__ not in _GROWING:
            return []
        return [(operation.compute_output_shape(tuple(args[0].shape)), operation.compute_dtype)]
    symbolic = keras.tree.map_structure(_make_symbolic, (tuple(args), kwargs))
    results = operation.compute_output_spec(*symbolic[0], **symbolic[1])
    return [(tensor.shape, tensor.dtype) for tensor in keras.tree.flatten(results)]


def _make_symbolic(value: Any) -> Any:
    """Return a symbol for a tensor, and any other value as it is."""
    import keras

    if not (hasattr(value, "shape") and hasattr(value, "dtype")):
        return value
    return keras.KerasTensor(tuple(value.shape), keras.backend.standardize_dtype(value.dtype))


def _count_bytes(shape: Any, dtype: Any) -> int:
    """Return the memory of an array; 0 for one that exists already, or whose shape is not known."""
    if shape is None:
        return 0
    dimensions = (shape,) if isinstance(shape, int) else tuple(shape)
    if not all(isinstance(length, numbers.Integral) for length in dimensions):
        return 0
    return math.prod(map(int, dimensions)) * _count_item_bytes(_name_dtype(dtype))


def _count_item_bytes(dtype: str) -> int:
    """Return the bytes of a number: NumPy does not know all dtypes, but most names end in the number of bits."""
    bits = re.search(r"[a-z](\d+)", dtype)
    return 1 if bits is None else int(bits[1]) // 8


def _name_dtype(dtype: Any) -> str:
    import keras

    name = str(keras.backend.standardize_dtype(dtype or keras.backend.floatx()))
    return "int8" if name == "int4" else name


def _format_shape(shape: Any) -> str:
    dimensions = (shape,) if isinstance(shape, int) else tuple(shape)
    return "(" + ", ".join(f"{length:,}" for length in dimensions) + ")"
