"""One call run again with other values among its inputs, under the masks that it had."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Bools
from maskcli.trace.recorder import CallRecord
from maskcli.trace.state import preserve_state
from maskcli.trace.values import EPSILON, as_float64, get_dtype, is_float

if TYPE_CHECKING:
    pass


def replace_padding(tensor: Any, valid: Bools, chance: np.random.Generator) -> Any:
    """Return a copy with other finite values at padding, under the same mask."""
    import keras

    other = keras.ops.convert_to_tensor(make_noise(as_float64(tensor), ~valid, chance), dtype=get_dtype(tensor))
    mask = getattr(tensor, "_keras_mask", None)
    if mask is not None:
        other._keras_mask = mask
    return other


def make_noise(values: NDArray[Any], where: Bools, chance: np.random.Generator) -> NDArray[Any]:
    """Return ``values`` with normal noise where asked, a little larger than what is there; never NaN or infinite.

    NaN would flag attention that is right: zero times NaN is NaN.
    """
    finite = np.abs(np.where(np.isfinite(values), values, 0))
    noise = chance.standard_normal(values.shape) * (1 + finite.max(initial=0.0))
    spread = where.reshape(*where.shape, *[1] * (values.ndim - 2))
    return np.where(spread, noise, values).astype(values.dtype)


def rerun_call(
    entry: CallRecord, keep: dict[int, Bools], chance: np.random.Generator, training: bool = False
) -> list[Any] | None:
    """Run one call again with noise in the tensors of ``keep``, by ``id``, where that is False.

    Returns:
        The tensors that come out; None when the call raises, as some do without what the model gave them.
    """
    import keras

    masks = {id(tensor): mask for tensor, mask in zip(entry.inputs, entry.carried, strict=True)}

    def other(leaf: Any) -> Any:
        if id(leaf) not in masks or not hasattr(leaf, "numpy"):
            return leaf
        copy = replace_padding(leaf, keep[id(leaf)], chance) if id(leaf) in keep else keras.ops.copy(leaf)
        mask = masks[id(leaf)]
        copy._keras_mask = None if mask is None else keras.ops.convert_to_tensor(mask)
        return copy

    if entry.code:
        return _code_again(entry, [other(tensor) for tensor in entry.args])
    args, kwargs = keras.tree.map_structure(other, (entry.args, entry.kwargs))
    if isinstance(entry.operation, keras.layers.Layer):
        kwargs = {**kwargs, "training": training}
    output = rerun_operation(entry.operation, args, kwargs)
    return None if output is None else [leaf for leaf in keras.tree.flatten(output) if hasattr(leaf, "shape")]


def rerun_operation(operation: Any, args: Any, kwargs: dict[str, Any]) -> Any | None:
    """Return what a layer or operation gives, which is left as it was; None when it raises."""
    try:
        with preserve_state(operation):
            return operation(*args, **kwargs)
    except Exception:
        return None


def _code_again(entry: CallRecord, inputs: list[Any]) -> list[Any] | None:
    """Run an operation of TensorFlow again; its inputs as it was reported to have had them."""
    from tensorflow.python.eager import context, execute

    attrs = tuple(entry.kwargs["attrs"] or ())
    try:
        return list(execute.execute(entry.type.encode(), len(entry.outputs), inputs, attrs, context.context()))
    except Exception:
        return None


def mark_all_but(entry: CallRecord, shape: tuple[int, ...], timestep: int) -> dict[int, Bools]:
    """Return for each float input with timesteps of that shape all of them but one."""
    kept = np.ones(shape, bool)
    kept[:, timestep] = False
    return {id(x): kept for x in entry.inputs if is_float(x) and len(x.shape) > 1 and tuple(x.shape[:2]) == shape}


def depends_on_same_timestep(entry: CallRecord, output: Any, valid: Bools) -> bool:
    """Return whether timestep t of ``output (batch, timesteps, ...)`` depends on timestep t of what comes in alone.

    Tried with the first timestep that is valid in some row, and with the last.
    """
    columns = np.flatnonzero(valid.any(axis=0))
    for timestep in {int(columns[0]), int(columns[-1])} if len(columns) else set():
        keep = mark_all_but(entry, valid.shape, timestep)
        again = rerun_call(entry, keep, np.random.default_rng(1)) if keep else None
        if not again:
            return False
        moved = np.abs(as_float64(output) - as_float64(again[0])).reshape(*valid.shape, -1).max(axis=-1) > 0
        if np.delete(moved, timestep, axis=1).any() or not moved[:, timestep].any():
            return False
    return bool(len(columns))


def perturb_by_rounding(tensor: Any, entry: CallRecord, chance: np.random.Generator) -> Any:
    """Return a float tensor with each number off by as much as rounding may be in this call, under the same mask."""
    import keras

    if not is_float(tensor) or not len(tensor.shape):
        return tensor
    longest = max((int(axis or 1) for x in entry.inputs for axis in x.shape[1:]), default=1)
    values = as_float64(tensor)
    noise = 1 + EPSILON[get_dtype(tensor)] * np.sqrt(longest) * chance.standard_normal(values.shape)
    other = keras.ops.convert_to_tensor(values * noise, dtype=get_dtype(tensor))
    mask = getattr(tensor, "_keras_mask", None)
    if mask is not None:
        other._keras_mask = mask
    return other
