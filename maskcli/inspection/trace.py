"""The calls of a model as they really run, each with the masks that came in, reached it and went out.

A model is run eagerly with ``Layer.__call__`` and ``Operation.__call__`` watched. The first sees the tensors, whose
masks are read at once, before and after each call, since a later layer may take them off. The second sees the
arguments that Keras filled in, so ``given`` says whether a ``mask`` truly reached ``call``. What a layer calls inside
itself, such as an RNN's cell, is its own business.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from maskcli.evidence import Call
from maskcli.records import Bools


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A traced run: its calls in order, and the output tensor with whatever mask it carries."""

    calls: tuple[Call, ...]
    output: Any


@dataclasses.dataclass(eq=False)
class _Open:
    """A call that has begun; tensors are kept so that no two share an ``id``."""

    operation: Any
    inputs: list[Any]
    carried: Bools | None
    given: Any = None
    output: Any = None
    mask_out: Bools | None = None
    warning: str | None = None


def trace(model: Any, inputs: Any) -> Run:
    """Run ``model`` on ``inputs`` once, eagerly and in inference mode, and return what its calls did to the mask."""
    with _watching() as seen:
        output = model(inputs, training=False)
    ran = [call for call in seen if call.operation is not model]
    computing = _computing_masks(ran)
    names = _names(ran)
    return Run(
        tuple(_record(call, index, names[index], id(call) in computing) for index, call in enumerate(ran)), output
    )


def mask_of(tensor: Any) -> Bools | None:
    """Return the mask that a tensor carries, as booleans, or None."""
    mask = getattr(tensor, "_keras_mask", None)
    return None if mask is None else np.asarray(mask).astype(bool)


def first_mask(calls: tuple[Call, ...]) -> Bools | None:
    """Return the first mask that appears in a run: what the model's mask source computed."""
    masks = (mask for call in calls for mask in (call.mask_in, call.mask_out) if not call.computes_mask)
    return next((mask for mask in masks if mask is not None), None)


@contextlib.contextmanager
def _watching() -> Iterator[list[_Open]]:
    """Watch all calls; Keras is as it was when this closes, also after an error."""
    import keras

    layer_type, operation_type, model_type = keras.layers.Layer, keras.Operation, keras.Model
    call_layer, call_operation = layer_type.__call__, operation_type.__call__
    seen: list[_Open] = []
    stack: list[_Open] = []

    def outermost() -> bool:
        return all(isinstance(entry.operation, model_type) for entry in stack)

    def run(call: Callable[..., Any], operation: Any, args: Any, kwargs: Any) -> Any:
        tensors = keras.tree.flatten((args, kwargs))
        entry = _Open(operation, tensors, _first_carried(tensors))
        seen.append(entry)
        stack.append(entry)
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                entry.output = call(operation, *args, **kwargs)
            entry.mask_out = mask_of(entry.output)
        finally:
            stack.pop()
        entry.warning = "\n".join(str(warning.message) for warning in caught) or None
        return entry.output

    @functools.wraps(call_layer)
    def watch_layer(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if not outermost():
            return call_layer(layer, *args, **kwargs)
        return run(call_layer, layer, args, kwargs)

    @functools.wraps(call_operation)
    def watch_operation(operation: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(operation, layer_type):
            if stack and stack[-1].operation is operation:
                stack[-1].given = kwargs.get("mask")
            return call_operation(operation, *args, **kwargs)
        return (
            run(call_operation, operation, args, kwargs) if outermost() else call_operation(operation, *args, **kwargs)
        )

    layer_type.__call__, operation_type.__call__ = watch_layer, watch_operation
    try:
        yield seen
    finally:
        layer_type.__call__, operation_type.__call__ = call_layer, call_operation


def _first_carried(tensors: list[Any]) -> Bools | None:
    masks = (mask_of(tensor) for tensor in tensors)
    return next((mask for mask in masks if mask is not None), None)


def _computing_masks(ran: list[_Open]) -> set[int]:
    """Return the operations whose result is a ``mask`` argument, or the input of another such operation."""
    import keras

    wanted = {id(call.given) for call in ran if call.given is not None}
    found: set[int] = set()
    for call in reversed(ran):
        if not isinstance(call.operation, keras.layers.Layer) and id(call.output) in wanted:
            found.add(id(call))
            wanted.update(map(id, call.inputs))
    return found


def _names(ran: list[_Open]) -> list[str]:
    """Return a name for each call: the layer's own, and for an operation its kind, counted within this run.

    Keras counts the operations of a whole process, so that its names change from one run to the next.
    """
    import keras

    counts: collections.Counter[str] = collections.Counter()
    names = []
    for call in ran:
        name = call.operation.name
        if not isinstance(call.operation, keras.layers.Layer):
            kind = re.sub(r"(?<!^)(?=[A-Z])", "_", type(call.operation).__name__).lower()
            name = f"{kind}_{counts[kind]}" if counts[kind] else kind
            counts[kind] += 1
        names.append(name)
    return names


def _record(entry: _Open, index: int, name: str, computes_mask: bool) -> Call:
    given = None if entry.given is None else np.asarray(entry.given).astype(bool)
    mask_in = entry.carried if given is None else given
    return Call(
        call=name,
        index=index,
        type=type(entry.operation).__name__,
        effect=_effect(mask_in, entry.mask_out, given is not None),
        mask_in=mask_in,
        mask_out=entry.mask_out,
        given=given is not None,
        computes_mask=computes_mask,
        warning=entry.warning,
    )


def _effect(mask_in: Bools | None, mask_out: Bools | None, given: bool) -> str:
    if given:
        return "uses"
    if mask_in is None:
        return "none" if mask_out is None else "creates"
    if mask_out is None:
        return "drops"
    return "passes" if np.array_equal(mask_in, mask_out) else "changes"
