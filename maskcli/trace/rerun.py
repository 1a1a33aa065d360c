"""Run one call again with other values among its inputs, under the same masks."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.backends.choice import get_backend
from maskcli.backends.masks import get_keras_mask, set_keras_mask
from maskcli.records.arrays import Bools
from maskcli.trace.recorder import CallRecord
from maskcli.trace.state import preserve_state
from maskcli.trace.values import as_float64, get_dtype, get_ulp, is_float

EXACT = 2**11
"""The largest integer up to which every float dtype but bfloat16 holds all integers; masks and counts are below it."""
SMALL = 2**12
"""Numbers of a tensor up to which each gets a random number of its own."""
DRAWN = 2**16
"""Random numbers that all larger tensors of a run share."""
FEW = 8
"""Results of a call that show whether it computes."""
CLOSED = -1e8
"""Scores up to this one belong to pairs that a mask closes."""


_KERAS = ("Absolute", "Add", "Cast", "Divide", "Maximum", "Minimum", "Multiply", "Negative", "Subtract", "TrueDivide")
_OPERATIONS = ("Abs", "AddV2", "Mul", "Neg", "RealDiv", "Relu", "Select", "SelectV2", "Sqrt", "Square", "Sub", "Where")
CORRECT = frozenset((*_KERAS, *_OPERATIONS))
"""Calls without sums whose result IEEE 754 defines to the last digit: of equal numbers, they return equal numbers."""
_PRODUCTS = ("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Dot", "Einsum", "MatMul", "Matmul", "Tensordot")
SUMS = frozenset((*_PRODUCTS, "Mean", "Sum"))
"""Calls that compute sums, whatever their results are."""


def replace_padding(tensor: Any, valid: Bools, rng: np.random.Generator) -> Any:
    """Return a copy with other finite values at padding, under the same mask."""
    return _convert_like(tensor, make_noise(as_float64(tensor), ~valid, rng))


def make_noise(values: NDArray[Any], where: Bools, rng: np.random.Generator) -> NDArray[Any]:
    """Return ``values`` with normal noise where asked, a little larger than the values; never NaN or infinite.

    NaN would flag attention that is right: zero times NaN is NaN.
    """
    finite = np.abs(np.where(np.isfinite(values), values, 0))
    noise = rng.standard_normal(values.shape) * (1 + finite.max(initial=0.0))
    spread = where.reshape(*where.shape, *[1] * (values.ndim - where.ndim))
    return np.where(spread, noise, values).astype(values.dtype)


def rerun_call(
    entry: CallRecord, keep: dict[int, Bools], rng: np.random.Generator, training: bool = False
) -> list[Any] | None:
    """Run one call again with noise in the tensors of ``keep``, by ``id``, where that is False.

    Returns:
        The output tensors; None if the call raises, as some do without the context of the model.
    """
    import keras

    def copy(tensor: Any) -> Any:
        return replace_padding(tensor, keep[id(tensor)], rng) if id(tensor) in keep else keras.ops.copy(tensor)

    return _rerun_with_copies(entry, copy, training)


def rerun_with(entry: CallRecord, values: Mapping[int, NDArray[Any]]) -> list[Any] | None:
    """Run one call again with other values of some tensors, by ``id``; None if the call raises."""
    import keras

    def copy(tensor: Any) -> Any:
        new = values.get(id(tensor))
        return keras.ops.copy(tensor) if new is None else keras.ops.convert_to_tensor(new, dtype=get_dtype(tensor))

    return _rerun_with_copies(entry, copy, training=False)


def _rerun_with_copies(entry: CallRecord, copy: Callable[[Any], Any], training: bool) -> list[Any] | None:
    """Run one call again with copies of its tensors, which carry the same masks."""
    import keras

    masks = {id(tensor): mask for tensor, mask in zip(entry.inputs, entry.carried, strict=True)}

    def copy_leaf(leaf: Any) -> Any:
        if id(leaf) not in masks or not get_backend().has_values(leaf):
            return leaf
        copied = copy(leaf)
        set_mask(copied, masks[id(leaf)])
        return copied

    if entry.code:
        return _rerun_code(entry, [copy_leaf(tensor) for tensor in entry.args])
    args, kwargs = keras.tree.map_structure(copy_leaf, (entry.args, entry.kwargs))
    if isinstance(entry.operation, keras.layers.Layer):
        kwargs = {**kwargs, "training": training}
    with get_backend().compile_loops():
        output = rerun_operation(entry.operation, args, kwargs)
    return None if output is None else [leaf for leaf in keras.tree.flatten(output) if hasattr(leaf, "shape")]


def rerun_operation(operation: Any, args: Any, kwargs: dict[str, Any]) -> Any | None:
    """Return the output of a layer or operation, whose state is left unchanged; None if it raises."""
    try:
        with preserve_state(operation), get_backend().infer():
            return operation(*args, **kwargs)
    except Exception:
        return None


def set_mask(tensor: Any, mask: Bools | None) -> None:
    """Let a tensor carry a mask, or none."""
    import keras

    set_keras_mask(tensor, None if mask is None else keras.ops.convert_to_tensor(mask))


def _rerun_code(entry: CallRecord, inputs: list[Any]) -> list[Any] | None:
    """Run an operation again with other inputs and the attributes that the backend reported."""
    try:
        return get_backend().run_operation(entry.type, inputs, entry.kwargs["attrs"], len(entry.outputs))
    except Exception:
        return None


def depends_on_same_timestep(entry: CallRecord, output: Any, valid: Bools) -> bool:
    """Return whether timestep t of ``output (batch, timesteps, ...)`` depends only on timestep t of the inputs.

    The first timestep that is valid in some row is tried, and the last one.
    """
    columns = np.flatnonzero(valid.any(axis=0))
    if not len(columns):
        return False
    moves = False  # One of the two may be constant: a softmax of which a mask leaves a single class is 1.
    for timestep in {int(columns[0]), int(columns[-1])}:
        keep = _keep_all_but(entry, valid.shape, timestep)
        if not keep:
            return False
        again = rerun_call(entry, keep, np.random.default_rng(1))
        if not again:
            return False
        moved = np.abs(as_float64(output) - as_float64(again[0])).reshape(*valid.shape, -1).max(axis=-1) > 0
        if np.delete(moved, timestep, axis=1).any():
            return False
        moves = moves or bool(moved[:, timestep].any())
    return moves


def _keep_all_but(entry: CallRecord, shape: tuple[int, ...], timestep: int) -> dict[int, Bools]:
    """Return, for each float input with timesteps of that shape, True at all timesteps but one."""
    keep = np.ones(shape, bool)
    keep[:, timestep] = False
    return {id(x): keep for x in entry.inputs if is_float(x) and len(x.shape) > 1 and tuple(x.shape[:2]) == shape}


@dataclasses.dataclass(eq=False)
class RoundingErrors:
    """Random rounding errors of the results of one run.

    Attributes:
        rng: draws them.
    """

    rng: np.random.Generator
    _shared: NDArray[np.float64] | None = dataclasses.field(default=None, init=False)

    def draw(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Return normal errors of one unit; large results share some, because drawing others takes longer than a run.

        Each of them starts at another place.
        """
        size = math.prod(shape)
        if size <= SMALL:
            return self.rng.standard_normal(shape)
        if self._shared is None:
            self._shared = self.rng.standard_normal(DRAWN)
        start = int(self.rng.integers(DRAWN))
        return np.resize(np.concatenate([self._shared[start:], self._shared[:start]]), shape)

    def perturb(self, tensor: Any, entry: CallRecord) -> Any:
        """Return a float tensor with each number off by as much as rounding may be in this call; its mask is kept."""
        if not is_float(tensor) or not len(tensor.shape) or _rounds_correctly(entry):
            return tensor
        # Code that changes a part of an input in place changes the input, too.
        if any(get_backend().shares_memory(tensor, argument) for argument in entry.inputs):
            return tensor
        # The call may have summed over any axis of its inputs but the batch; the longest one gives the largest error.
        longest = max((int(axis or 1) for x in entry.inputs for axis in x.shape[1:]), default=1)
        # A sum of n rounded numbers is off by about sqrt(n) units in the last place, in either direction.
        values = as_float64(tensor)
        # Small integers are exact, also in sums: masks as floats, counts, one-hot vectors. An error in 1 - mask would
        # become one of 100 after the usual factor of -1e9.
        first = values.reshape(-1)[:1]
        if (
            (first == np.rint(first)).all()
            and (values == np.rint(values)).all()
            and np.abs(values).max(initial=0.0) <= EXACT
        ):
            return tensor
        if _moves_numbers(values, entry):
            return tensor
        errors = self.draw(values.shape)
        # Scores of pairs that a mask closes, such as -1e9, mean minus infinity. Where all keys of a query are closed,
        # they cancel in the softmax. Errors of 100, another one at each key, would choose a key at random there.
        closed = values <= CLOSED
        if closed.any():
            errors = np.where(closed, errors[..., :1], errors)
        errors *= get_ulp(tensor) * np.sqrt(longest)
        errors += 1
        errors *= values
        return _convert_like(tensor, errors)


def _rounds_correctly(entry: CallRecord) -> bool:
    """Return whether a call rounds alike in every run, so that only errors of its inputs move its result.

    Next to the usual -1e9, an error of one unit in the last place would be 64, larger than any score.
    """
    return entry.type in CORRECT and (entry.code or type(entry.operation).__module__.startswith("keras."))


def _moves_numbers(values: NDArray[np.float64], entry: CallRecord) -> bool:
    """Return whether a call returns nothing but numbers of its inputs and 0: a reshape, a slice, padding with zeros.

    A Masking after it compares them with its value, and would not find a rounded one. A product with 0 and 1 returns
    such numbers too, but rounds in other dtypes, and with other numbers.
    """
    if entry.type in SUMS or getattr(entry.operation, "weights", None):
        return False
    inputs = [as_float64(tensor).reshape(-1) for tensor in entry.inputs if is_float(tensor)]
    if not inputs:
        return False
    results, numbers = values.reshape(-1), np.concatenate([np.zeros(1), *inputs])
    # Most calls compute, which a few results show without the time to look at all.
    return bool(np.isin(results[:FEW], numbers).all() and np.isin(results, numbers).all())


def _convert_like(tensor: Any, values: NDArray[Any]) -> Any:
    """Return values as a tensor with the dtype and the mask of another."""
    import keras

    dtype = get_dtype(tensor)
    # NumPy converts float64 faster than TensorFlow does.
    rounded = values.astype(np.float32) if dtype == "float32" else values
    copy = keras.ops.convert_to_tensor(rounded, dtype=dtype)
    mask = get_keras_mask(tensor)
    if mask is not None:
        set_keras_mask(copy, mask)
    return copy
