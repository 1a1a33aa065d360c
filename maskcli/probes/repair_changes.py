"""The changes of a model that repairs are made of, and where each takes its mask from."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Literal

from maskcli.trace.changes import ChangedRun
from maskcli.trace.recorder import CallRecord, list_parameters
from maskcli.trace.values import get_dtype, is_float

TimeSlice = tuple[int | None, int | None, int | None]
"""Start, stop and step of a slice of the time axis."""
WHOLE: TimeSlice = (None, None, None)


@dataclasses.dataclass(frozen=True)
class MaskOrigin:
    """Where a change takes the padding mask from.

    Attributes:
        kind: ``arriving``: the mask that reaches a call; ``call``: the mask that a call makes; ``input``: an input of
            the model that is a mask.
        key: of that call.
        position: of that input.
    """

    kind: Literal["arriving", "call", "input"]
    key: str = ""
    position: int = 0

    def find(self, run: ChangedRun) -> Any | None:
        """Return the mask as a tensor of booleans; None if there is none in this run."""
        import keras

        if self.kind == "input":
            return keras.ops.cast(run.inputs[self.position], "bool")
        if self.kind == "call":
            return run.returned.get(self.key)
        masks = run.list_arriving(self.key)
        if not masks:
            return None
        joined = keras.ops.cast(masks[0], "bool")
        for mask in masks[1:]:
            if tuple(mask.shape) == tuple(joined.shape):
                joined = keras.ops.logical_and(joined, keras.ops.cast(mask, "bool"))
        return joined


@dataclasses.dataclass(frozen=True)
class _Change:
    key: str
    kind: ClassVar[str] = ""

    def change_arguments(self, run: ChangedRun, entry: CallRecord) -> None:
        """Leave the arguments as they are."""

    def change_result(self, run: ChangedRun, entry: CallRecord, tensors: list[Any]) -> list[Any] | None:
        """Leave the result as it is."""
        del run, entry, tensors
        return None


@dataclasses.dataclass(frozen=True)
class KeepMask(_Change):
    """Let the result of a call carry the mask of its input, cut like its timesteps."""

    origin: MaskOrigin
    cut: TimeSlice = WHOLE
    kind: ClassVar[str] = "keep-mask"

    def change_result(self, run: ChangedRun, entry: CallRecord, tensors: list[Any]) -> list[Any] | None:
        """Set the mask, also of inputs from which the call removed it."""
        mask = self.origin.find(run)
        if mask is None:
            return None
        for tensor in entry.inputs:
            if _has_timesteps(tensor, mask) and getattr(tensor, "_keras_mask", None) is None:
                tensor._keras_mask = mask
        mask = mask[:, slice(*self.cut)]
        for tensor in tensors:
            if _has_timesteps(tensor, mask):
                tensor._keras_mask = mask
        return tensors


@dataclasses.dataclass(frozen=True)
class PassMask(_Change):
    """Pass the mask as an argument of a call; ``keys`` with an axis for queries, ``(batch, 1, timesteps)``."""

    argument: str
    origin: MaskOrigin
    form: Literal["plain", "keys", "list"] = "plain"
    kind: ClassVar[str] = "pass-mask"

    def change_arguments(self, run: ChangedRun, entry: CallRecord) -> None:
        """Set the argument."""
        mask = self.origin.find(run)
        if mask is None:
            return
        if self.form == "keys":
            mask = mask[:, None, :]
        set_argument(entry, self.argument, [None, mask] if self.form == "list" else mask)


@dataclasses.dataclass(frozen=True)
class SetMaskZero(_Change):
    """Let a lookup of vectors return a mask that is False at one id."""

    value: int = 0
    kind: ClassVar[str] = "set-mask-zero"

    def change_result(self, run: ChangedRun, entry: CallRecord, tensors: list[Any]) -> list[Any] | None:
        """Set the mask of the vectors."""
        del run
        import keras

        ids = next((tensor for tensor in entry.inputs if len(tensor.shape) == 2), None)
        if ids is None or not _has_timesteps(tensors[0], ids):
            return None
        tensors[0]._keras_mask = keras.ops.not_equal(ids, keras.ops.cast(self.value, ids.dtype))
        return tensors


@dataclasses.dataclass(frozen=True)
class SetMaskValue(_Change):
    """Let a call that masks features look for another value."""

    value: float
    kind: ClassVar[str] = "set-mask-value"

    def change_result(self, run: ChangedRun, entry: CallRecord, tensors: list[Any]) -> list[Any] | None:
        """Set the mask of the features."""
        del run
        tensors[0]._keras_mask = find_values(entry.inputs[0], self.value)
        return tensors


@dataclasses.dataclass(frozen=True)
class MaskInput(_Change):
    """Mask features where they enter the model, as a ``Masking`` layer does; the key is that of the model.

    A probe that replaces the values of padding must not change this mask, as it would not behind a ``Masking`` layer.
    Therefore an array that differs only at padding from an earlier one keeps the mask of that one.
    """

    position: int
    value: float
    name: str
    earlier: list[tuple[Any, Any]] = dataclasses.field(default_factory=list, compare=False, repr=False)
    kind: ClassVar[str] = "mask-input"

    def change_arguments(self, run: ChangedRun, entry: CallRecord) -> None:
        """Set the mask of the input."""
        del entry
        import numpy as np

        tensor = run.inputs[self.position]
        values = np.asarray(tensor)
        for before, mask in self.earlier:
            kept = np.asarray(mask)
            if before.shape == values.shape and np.array_equal(before[kept], values[kept]):
                tensor._keras_mask = mask
                return
        tensor._keras_mask = find_values(tensor, self.value)
        self.earlier.append((values, tensor._keras_mask))


@dataclasses.dataclass(frozen=True)
class ZeroPadding(_Change):
    """Set padding to zero before a call."""

    origin: MaskOrigin
    kind: ClassVar[str] = "zero-padding"

    def change_arguments(self, run: ChangedRun, entry: CallRecord) -> None:
        """Multiply each input with timesteps by the mask."""
        import keras

        mask = self.origin.find(run)
        if mask is None:
            return

        def zero(leaf: Any) -> Any:
            if not _has_timesteps(leaf, mask) or not is_float(leaf):
                return leaf
            spread = keras.ops.reshape(mask, (*mask.shape, *[1] * (len(leaf.shape) - 2)))
            result = keras.ops.where(spread, leaf, keras.ops.zeros_like(leaf))
            result._keras_mask = getattr(leaf, "_keras_mask", None)
            return result

        entry.args = keras.tree.map_structure(zero, entry.args)


Pooling = Literal["mean", "max", "min", "sum", "last", "first"]


@dataclasses.dataclass(frozen=True)
class MaskedPooling(_Change):
    """Compute a mean, maximum, minimum or sum over time, or take the last timestep, without padding."""

    how: Pooling
    origin: MaskOrigin

    @property
    def kind(self) -> str:  # type: ignore[override]
        """The kind of repair."""
        return "take-valid-timestep" if self.how in ("last", "first") else f"mask-before-{self.how}"

    def change_result(self, run: ChangedRun, entry: CallRecord, tensors: list[Any]) -> list[Any] | None:
        """Return the pooled result."""
        mask = self.origin.find(run)
        source = next((x for x in entry.inputs if mask is not None and _has_timesteps(x, mask) and is_float(x)), None)
        if source is None:
            return None
        pooled = pool_timesteps(source, mask, self.how)
        if tuple(pooled.shape) != tuple(tensors[0].shape):
            pooled = pooled[:, None]
        return [pooled, *tensors[1:]]


@dataclasses.dataclass(frozen=True)
class MaskedSoftmax(_Change):
    """Leave padding out of a softmax over timesteps, which are on this axis, counted from the end."""

    axis: int
    origin: MaskOrigin
    kind: ClassVar[str] = "mask-before-softmax"

    def change_result(self, run: ChangedRun, entry: CallRecord, tensors: list[Any]) -> list[Any] | None:
        """Return the softmax of the masked scores."""
        import keras

        mask = self.origin.find(run)
        if mask is None:
            return None
        scores = entry.inputs[0]
        shape = [1] * len(scores.shape)
        shape[0], shape[self.axis] = mask.shape
        masked = keras.ops.where(keras.ops.reshape(mask, shape), scores, keras.ops.cast(-1e9, get_dtype(scores)))
        return [keras.ops.softmax(masked, axis=self.axis), *tensors[1:]]


@dataclasses.dataclass(frozen=True)
class InvertMask(_Change):
    """Invert the attention mask of a call."""

    argument: str
    kind: ClassVar[str] = "invert-attention-mask"

    def change_arguments(self, run: ChangedRun, entry: CallRecord) -> None:
        """Replace the argument by its opposite."""
        del run
        import keras

        mask = get_argument(entry, self.argument)
        if hasattr(mask, "shape"):
            set_argument(entry, self.argument, keras.ops.logical_not(keras.ops.cast(mask, "bool")))


@dataclasses.dataclass(frozen=True)
class TurnMask(_Change):
    """Lay the attention mask of a call along the keys instead of the queries."""

    argument: str
    kind: ClassVar[str] = "transpose-attention-mask"

    def change_arguments(self, run: ChangedRun, entry: CallRecord) -> None:
        """Replace the argument by its transpose; ``(batch, timesteps)`` gets an axis for queries."""
        del run
        import keras

        mask = get_argument(entry, self.argument)
        if hasattr(mask, "shape"):
            turned = mask[:, None, :] if len(mask.shape) == 2 else keras.ops.swapaxes(mask, -1, -2)
            set_argument(entry, self.argument, turned)


@dataclasses.dataclass(frozen=True)
class SetAttribute(_Change):
    """Set an attribute of a layer, such as ``unroll``; the search sets it for the duration of a trial."""

    name: str
    value: Any
    kind: ClassVar[str] = "set-attribute"


def get_argument(entry: CallRecord, name: str) -> Any:
    """Return an argument of a call by its name, however it was passed; None if it was not."""
    names = list_parameters(type(entry.operation).call)
    return {**dict(zip(names, entry.args, strict=False)), **entry.kwargs}.get(name)


def set_argument(entry: CallRecord, name: str, value: Any) -> None:
    """Replace an argument of a call."""
    names = list_parameters(type(entry.operation).call)
    position = names.index(name) if name in names else len(entry.args)
    if position < len(entry.args):
        entry.args = (*entry.args[:position], value, *entry.args[position + 1 :])
    else:
        entry.kwargs = {**entry.kwargs, name: value}


def find_values(features: Any, value: float) -> Any:
    """Return the mask ``(batch, timesteps, ...)`` of features of which not all equal ``value``."""
    import keras

    return keras.ops.any(keras.ops.not_equal(features, keras.ops.cast(value, features.dtype)), axis=-1)


def pool_timesteps(x: Any, mask: Any, how: Pooling) -> Any:
    """Return ``x (batch, timesteps, ...)`` reduced over the timesteps of ``mask``."""
    import keras

    ops = keras.ops
    spread = ops.reshape(mask, (*mask.shape, *[1] * (len(x.shape) - 2)))
    counts = ops.cast(spread, x.dtype)
    if how in ("max", "min"):
        worst = ops.cast(-1e9 if how == "max" else 1e9, x.dtype)
        masked = ops.where(spread, x, worst)
        return ops.max(masked, axis=1) if how == "max" else ops.min(masked, axis=1)
    if how in ("mean", "sum"):
        total = ops.sum(ops.where(spread, x, ops.zeros_like(x)), axis=1)
        return total / ops.maximum(ops.sum(counts, axis=1), 1) if how == "mean" else total
    if how == "first":
        index = ops.argmax(ops.cast(mask, "int32"), axis=1)
    else:
        index = ops.max(ops.where(mask, ops.arange(mask.shape[1]), 0), axis=1)
    index = ops.reshape(ops.cast(index, "int32"), (-1, *[1] * (len(x.shape) - 1)))
    return ops.take_along_axis(x, index, axis=1)[:, 0]


def _has_timesteps(tensor: Any, mask: Any) -> bool:
    shape = getattr(tensor, "shape", ())
    return len(shape) > 1 and tuple(shape[:2]) == tuple(mask.shape[:2])
