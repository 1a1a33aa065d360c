"""The changes of a model that repairs are made of, and where each takes its mask from."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from maskcli.backends.arrays import as_array
from maskcli.backends.masks import get_keras_mask, set_keras_mask
from maskcli.trace.changes import ChangedRun, is_graph, is_keras_layer
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
            the model that is a mask; ``values``: computed from the values of an input.
        key: of that call.
        position: of that input.
        value: the value of padding in that input.
        axes: the number of axes of the mask, for ``values``.
        time_axis: the axis of the input that is time, for ``values``.
        argument: of the masks that arrive, the place among the flattened arguments of the tensor whose mask it is; None
            for the masks of all of them, joined.
        earlier: arrays that the mask was computed from, each with the mask.
    """

    kind: Literal["arriving", "call", "input", "values"]
    key: str = ""
    position: int = 0
    value: float = 0.0
    axes: int = 2
    time_axis: int = 1
    argument: int | None = None
    earlier: list[tuple[Any, Any]] = dataclasses.field(default_factory=list, compare=False, repr=False)

    def find(self, run: ChangedRun) -> Any | None:
        """Return the mask as a tensor of booleans; None if there is none in this run."""
        import keras

        if self.kind == "input":
            return keras.ops.cast(run.inputs[self.position], "bool")
        if self.kind == "values":
            tensor = keras.ops.moveaxis(run.inputs[self.position], self.time_axis, 1)
            return find_lasting_mask(tensor, self.value, self.axes, self.earlier)
        if self.kind == "call":
            return run.returned.get(self.key)
        masks = run.list_arriving(self.key, self.argument)
        same = [keras.ops.cast(masks[place], "bool") for place in find_joined_masks([mask.shape for mask in masks])]
        return functools.reduce(keras.ops.logical_and, same) if same else None


def find_joined_masks(shapes: Sequence[Sequence[int]]) -> list[int]:
    """Return the places of the masks that a repair joins: of those with the most rows, the ones of equal shape.

    A mask of one row, such as that of positions, is no mask of the data.
    """
    most = max((shape[0] for shape in shapes), default=0)
    joined = next((tuple(shape) for shape in shapes if shape[0] == most), None)
    return [place for place, shape in enumerate(shapes) if tuple(shape) == joined]


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
    """Let the result of a call carry the mask of its input, cut like its timesteps.

    A mask of places inside timesteps becomes one of timesteps: those with a valid place. Timesteps may be repeated, and
    new ones, which are valid, may come first and last.
    """

    origin: MaskOrigin
    cut: TimeSlice = WHOLE
    inside: bool = False
    repeats: int = 1
    prefix: int = 0
    suffix: int = 0
    kind: ClassVar[str] = "keep-mask"

    def change_result(self, run: ChangedRun, entry: CallRecord, tensors: list[Any]) -> list[Any] | None:
        """Set the mask, also of inputs from which the call removed it."""
        mask = self.origin.find(run)
        if mask is None:
            return None
        entry.keeps = True
        for tensor in entry.inputs:
            if _has_timesteps(tensor, mask) and get_keras_mask(tensor) is None:
                set_keras_mask(tensor, mask)
        mask = self.transform(mask)
        for tensor in tensors:
            if _has_timesteps(tensor, mask):
                set_keras_mask(tensor, mask)
        return tensors

    def transform(self, mask: Any) -> Any:
        """Return the mask of the result, made of that of the input."""
        import keras

        if self.inside:
            mask = keras.ops.any(mask, axis=tuple(range(2, len(mask.shape))))
        mask = mask[:, slice(*self.cut)]
        if self.repeats > 1:
            mask = keras.ops.repeat(mask, self.repeats, axis=1)
        if self.prefix or self.suffix:
            added = [(0, 0), (self.prefix, self.suffix)]
            mask = keras.ops.cast(keras.ops.pad(keras.ops.cast(mask, "int32"), added, constant_values=1), "bool")
        return mask


@dataclasses.dataclass(frozen=True)
class CopyInput(_Change):
    """Let an input of a call, at a ``position``, keep the mask that attention in its code takes off: pass a copy."""

    position: int
    kind: ClassVar[str] = "copy-input"

    def change_result(self, run: ChangedRun, entry: CallRecord, tensors: list[Any]) -> list[Any] | None:
        """Set the mask again, as that of the tensor that the copy was made of."""
        mask = run.carried[self.key][self.position]
        if mask is not None and get_keras_mask(entry.inputs[self.position]) is None:
            set_keras_mask(entry.inputs[self.position], mask)
            entry.keeps = True
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
    """Let a lookup of vectors return a mask that is False at one id; the ids are its input at ``position``.

    With ``inside``, the vectors are those of timesteps which have several ids, as sentences have words.
    """

    value: int = 0
    position: int = 0
    inside: bool = False
    kind: ClassVar[str] = "set-mask-zero"

    def change_result(self, run: ChangedRun, entry: CallRecord, tensors: list[Any]) -> list[Any] | None:
        """Set the mask of the vectors."""
        del run
        import keras

        ids = entry.inputs[self.position] if self.position < len(entry.inputs) else None
        if ids is None:
            return None
        mask = keras.ops.not_equal(ids, keras.ops.cast(self.value, ids.dtype))
        mask = keras.ops.any(mask, axis=-1) if self.inside else mask
        if not _has_timesteps(tensors[0], mask):
            return None
        set_keras_mask(tensors[0], mask)
        return tensors


@dataclasses.dataclass(frozen=True)
class SetMaskValue(_Change):
    """Let a call that masks features look for another value."""

    value: float
    kind: ClassVar[str] = "set-mask-value"

    def change_result(self, run: ChangedRun, entry: CallRecord, tensors: list[Any]) -> list[Any] | None:
        """Set the mask of the features."""
        del run
        set_keras_mask(tensors[0], find_values(entry.inputs[0], self.value))
        return tensors


@dataclasses.dataclass(frozen=True)
class MaskMissing(_Change):
    """Fill NaN with a value, and let a call that masks features look for that; it has zeros at padding then."""

    value: float
    kind: ClassVar[str] = "set-mask-value"

    def change_result(self, run: ChangedRun, entry: CallRecord, tensors: list[Any]) -> list[Any] | None:
        """Return the features with their mask."""
        del run
        import keras

        ops, features = keras.ops, entry.inputs[0]
        filled = ops.where(ops.isnan(features), ops.cast(self.value, features.dtype), features)
        mask = find_values(filled, self.value)
        result = ops.where(mask[..., None], filled, ops.zeros_like(filled))
        set_keras_mask(result, mask)
        return [result, *tensors[1:]]


@dataclasses.dataclass(frozen=True)
class MaskInput(_Change):
    """Mask features where they enter the model, as a ``Masking`` layer does; the key is that of the model.

    Timesteps that are frames, with more axes, count as padding if all their numbers are the value.
    A probe that replaces the values of padding must not change this mask, as it would not after a ``Masking`` layer.
    """

    position: int
    value: float
    name: str
    earlier: list[tuple[Any, Any]] = dataclasses.field(default_factory=list, compare=False, repr=False)
    kind: ClassVar[str] = "mask-input"

    def change_arguments(self, run: ChangedRun, entry: CallRecord) -> None:
        """Set the mask of the input."""
        del entry
        tensor = run.inputs[self.position]
        set_keras_mask(tensor, find_lasting_mask(tensor, self.value, 2, self.earlier))


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
            result = zero_padding(leaf, mask)
            set_keras_mask(result, get_keras_mask(leaf))
            return result

        entry.args = keras.tree.map_structure(zero, entry.args)


def zero_padding(tensor: Any, mask: Any) -> Any:
    """Return a tensor with zeros where a mask is False."""
    import keras

    spread = keras.ops.reshape(mask, (*mask.shape, *[1] * (len(tensor.shape) - len(mask.shape))))
    return keras.ops.where(spread, tensor, keras.ops.zeros_like(tensor))


@dataclasses.dataclass(frozen=True)
class ZeroResult(_Change):
    """Set padding to zero on an axis of the result of a call, such as the weights of attention by hand."""

    origin: MaskOrigin
    axis: int = 1
    kind: ClassVar[str] = "zero-padding"

    def change_result(self, run: ChangedRun, entry: CallRecord, tensors: list[Any]) -> list[Any] | None:
        """Return the result without padding."""
        del entry
        import keras

        mask = self.origin.find(run)
        if mask is None or len(mask.shape) != 2 or tensors[0].shape[self.axis] != mask.shape[1]:
            return None
        shape = [1] * len(tensors[0].shape)
        shape[0], shape[self.axis] = mask.shape
        zeros = keras.ops.zeros_like(tensors[0])
        return [keras.ops.where(keras.ops.reshape(mask, shape), tensors[0], zeros), *tensors[1:]]


@dataclasses.dataclass(frozen=True)
class FlipResult(_Change):
    """Turn the result of an RNN that runs backwards round, so that its timesteps are where the mask has them."""

    kind: ClassVar[str] = "flip-result"

    def change_result(self, run: ChangedRun, entry: CallRecord, tensors: list[Any]) -> list[Any] | None:
        """Return the result in the order of the input, with its mask."""
        del run, entry
        import keras

        flipped = keras.ops.flip(tensors[0], axis=1)
        mask = get_keras_mask(tensors[0])
        if mask is not None:
            set_keras_mask(flipped, mask)
        return [flipped, *tensors[1:]]


Pooling = Literal["mean", "max", "min", "sum", "last", "first", "std", "var", "logsumexp", "prod"]


@dataclasses.dataclass(frozen=True)
class MaskedPooling(_Change):
    """Compute a mean, sum, maximum or another statistic over time, or take the last timestep, without padding.

    One function of the code may be several operations: ``source`` is the key of the first of them, if the call is the
    last one.
    """

    how: Pooling
    origin: MaskOrigin
    source: str | None = None

    @property
    def kind(self) -> str:  # type: ignore[override]
        """The kind of repair."""
        return "take-valid-timestep" if self.how in ("last", "first") else f"mask-before-{self.how}"

    def change_result(self, run: ChangedRun, entry: CallRecord, tensors: list[Any]) -> list[Any] | None:
        """Return the pooled result."""
        import keras

        mask = self.origin.find(run)
        inputs = entry.inputs if self.source is None else run.list_inputs(self.source)
        source = next((x for x in inputs if mask is not None and _has_timesteps(x, mask) and is_float(x)), None)
        if source is None or mask is None:
            return None
        pooled = fit_pooled(pool_timesteps(source, mask, self.how), self.how, tensors[0].shape)
        if pooled is None:
            return None
        if len(mask.shape) > 2:
            set_keras_mask(pooled, keras.ops.any(mask, axis=-1))
        return [pooled, *tensors[1:]]


@dataclasses.dataclass(frozen=True)
class MaskedSoftmax(_Change):
    """Leave padding out of a softmax over timesteps, which are on this axis, counted from the end."""

    axis: int
    origin: MaskOrigin
    kind: ClassVar[str] = "mask-before-softmax"

    def change_arguments(self, run: ChangedRun, entry: CallRecord) -> None:
        """Pass a ``Softmax`` the mask along its axis if it receives ``(batch, timesteps)``, which does not fit."""
        is_in_layer = entry.parent is not None and not is_graph(entry.parent.operation)  # There, scores are masked.
        if is_in_layer or not is_keras_layer(entry.operation, "Softmax"):
            return
        scores, mask = entry.args[0], self.origin.find(run)
        received = entry.kwargs.get("mask", run.find_mask(scores))
        if mask is not None and received is not None and len(received.shape) < len(scores.shape):
            set_argument(entry, "mask", _spread_mask(mask, scores, self.axis))

    def change_result(self, run: ChangedRun, entry: CallRecord, tensors: list[Any]) -> list[Any] | None:
        """Return the softmax of the masked scores."""
        import keras

        mask = self.origin.find(run)
        if mask is None:
            return None
        masked = _mask_scores(entry.inputs[0], mask, self.axis)
        return [keras.ops.softmax(masked, axis=self.axis), *tensors[1:]]


@dataclasses.dataclass(frozen=True)
class MaskedScores(_Change):
    """Give padding on an axis of the result of a call a score that a softmax, and a maximum, leave out."""

    axis: int
    origin: MaskOrigin
    kind: ClassVar[str] = "mask-scores"

    def change_result(self, run: ChangedRun, entry: CallRecord, tensors: list[Any]) -> list[Any] | None:
        """Return the masked scores."""
        del entry
        mask, scores = self.origin.find(run), tensors[0]
        if mask is None or scores.shape[self.axis] != mask.shape[1]:
            return None
        masked = _mask_scores(scores, mask, self.axis)
        set_keras_mask(masked, get_keras_mask(scores))
        return [masked, *tensors[1:]]


def _mask_scores(scores: Any, mask: Any, axis: int) -> Any:
    """Return scores with -1e9 where a mask ``(batch, timesteps)`` along one axis is False."""
    import keras

    return keras.ops.where(_spread_mask(mask, scores, axis), scores, keras.ops.cast(-1e9, get_dtype(scores)))


def _spread_mask(mask: Any, scores: Any, axis: int) -> Any:
    """Return a mask ``(batch, timesteps)`` with as many axes as scores, the timesteps on one of them."""
    import keras

    shape = [1] * len(scores.shape)
    shape[0], shape[axis] = mask.shape
    return keras.ops.reshape(mask, shape)


@dataclasses.dataclass(frozen=True)
class MaskedWindows(_Change):
    """Leave padding out of the windows of a pooling layer, and keep the mask, cut like its timesteps."""

    how: Literal["max", "mean"]
    origin: MaskOrigin
    cut: TimeSlice

    @property
    def kind(self) -> str:  # type: ignore[override]
        """The kind of repair."""
        return f"mask-before-{self.how}"

    def change_result(self, run: ChangedRun, entry: CallRecord, tensors: list[Any]) -> list[Any] | None:
        """Return the pooled windows."""
        mask = self.origin.find(run)
        if mask is None or not _has_timesteps(entry.inputs[0], mask):
            return None
        pooled = pool_windows(entry.operation, entry.inputs[0], mask, self.how)
        set_keras_mask(pooled, mask[:, slice(*self.cut)])
        entry.keeps = True
        return [pooled, *tensors[1:]]


@dataclasses.dataclass(frozen=True)
class MaskedGroups(_Change):
    """Leave padding out of the statistics of a normalisation over timesteps, and keep the mask."""

    origin: MaskOrigin
    kind: ClassVar[str] = "mask-before-statistics"

    def change_result(self, run: ChangedRun, entry: CallRecord, tensors: list[Any]) -> list[Any] | None:
        """Return the normalised result."""
        mask = self.origin.find(run)
        if mask is None or not _has_timesteps(entry.inputs[0], mask):
            return None
        normalize = normalize_groups if hasattr(entry.operation, "groups") else normalize_timesteps
        normalized = normalize(entry.operation, entry.inputs[0], mask)
        set_keras_mask(normalized, mask)
        entry.keeps = True
        return [normalized, *tensors[1:]]


WITH_ORIGIN = (
    KeepMask,
    PassMask,
    ZeroPadding,
    ZeroResult,
    MaskedPooling,
    MaskedSoftmax,
    MaskedScores,
    MaskedWindows,
    MaskedGroups,
)
"""The changes that take a mask from an origin."""
SINGLE = (ZeroPadding, MaskedPooling, MaskedSoftmax, MaskedWindows, MaskedGroups)
"""The changes of which a call needs no more than one."""


@dataclasses.dataclass(frozen=True)
class InvertMask(_Change):
    """Invert the attention mask of a call, or the mask that a layer of the user takes for its opposite."""

    argument: str
    kind: ClassVar[str] = "invert-attention-mask"

    def change_arguments(self, run: ChangedRun, entry: CallRecord) -> None:
        """Replace the argument, or the mask that Keras would fill in, by its opposite."""
        import keras

        mask = get_argument(entry, self.argument)
        if mask is None and self.argument == "mask" and entry.args:
            mask = run.find_mask(entry.args[0])
        if hasattr(mask, "shape"):
            opposite = keras.ops.logical_not(keras.ops.cast(mask, "bool"))
            set_argument(entry, self.argument, keras.ops.cast(opposite, get_dtype(mask)))

    def change_result(self, run: ChangedRun, entry: CallRecord, tensors: list[Any]) -> list[Any] | None:
        """Let the result carry the mask as it was: Keras passes the argument on."""
        del run
        import keras

        inverted = get_argument(entry, self.argument) if self.argument == "mask" else None
        for tensor in tensors if hasattr(inverted, "shape") else ():
            carried = get_keras_mask(tensor)
            if carried is not None and np.array_equal(as_array(carried), as_array(inverted)):
                set_keras_mask(tensor, keras.ops.logical_not(inverted))
        return None


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

    def list_settings(self, layer: Any) -> list[tuple[Any, str, Any]]:
        """Return the attribute."""
        return [(layer, self.name, self.value)]


@dataclasses.dataclass(frozen=True)
class SetInnerMaskZero(_Change):
    """Let the Embeddings inside a ``TimeDistributed`` mask id 0, such as those of its words."""

    names: tuple[str, ...]
    kind: ClassVar[str] = "set-mask-zero"

    def list_settings(self, layer: Any) -> list[tuple[Any, str, Any]]:
        """Return the attributes that let an Embedding make a mask."""
        inner = [item for item in list_embeddings(layer) if item.name in self.names]
        return [(item, name, True) for item in inner for name in ("mask_zero", "supports_masking")]


def list_embeddings(layer: Any) -> list[Any]:
    """Return the Embeddings inside a layer that make no mask."""
    import keras

    inner = layer._flatten_layers(include_self=False)
    return [item for item in inner if isinstance(item, keras.layers.Embedding) and not item.mask_zero]


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


def find_values(features: Any, value: float, axes: int | None = None) -> Any:
    """Return the mask of features of which not all equal ``value``, with ``axes``, or all axes but the last."""
    import keras

    differs = keras.ops.not_equal(features, keras.ops.cast(value, features.dtype))
    inner = tuple(range(len(features.shape) - 1 if axes is None else axes, len(features.shape)))
    return keras.ops.any(differs, axis=inner) if inner else differs


def find_lasting_mask(tensor: Any, value: float, axes: int, earlier: list[tuple[Any, Any]]) -> Any:
    """Return the mask of an input by its values, which other values at padding do not change.

    An array that differs only at padding from an earlier one has the mask of that one.
    """
    import numpy as np

    values = as_array(tensor)
    for before, mask in earlier:
        kept = as_array(mask)
        if before.shape == values.shape and np.array_equal(before[kept], values[kept]):
            return mask
    mask = find_values(tensor, value, axes)
    earlier.append((values, mask))
    return mask


def pool_timesteps(x: Any, mask: Any, how: Pooling) -> Any:
    """Return ``x (batch, timesteps, ...)`` reduced over the last axis of its mask: timesteps, or places inside them."""
    import keras

    ops, axis = keras.ops, len(mask.shape) - 1
    spread = ops.reshape(mask, (*mask.shape, *[1] * (len(x.shape) - len(mask.shape))))
    counts = ops.cast(spread, x.dtype)
    if how in ("max", "min", "logsumexp"):
        worst = ops.cast(1e9 if how == "min" else -1e9, x.dtype)
        masked = ops.where(spread, x, worst)
        return getattr(ops, how)(masked, axis=axis)
    if how == "prod":
        return ops.prod(ops.where(spread, x, ops.ones_like(x)), axis=axis)
    if how in ("mean", "sum"):
        total = ops.sum(ops.where(spread, x, ops.zeros_like(x)), axis=axis)
        return total / ops.maximum(ops.sum(counts, axis=axis), 1) if how == "mean" else total
    if how in ("std", "var"):
        mean = ops.expand_dims(pool_timesteps(x, mask, "mean"), axis)
        variance = pool_timesteps(ops.square(x - mean), mask, "mean")
        return ops.sqrt(variance) if how == "std" else variance
    if how == "first":
        index = ops.argmax(ops.cast(mask, "int32"), axis=axis, keepdims=True)
    else:
        index = ops.max(ops.where(mask, ops.arange(mask.shape[axis]), 0), axis=axis, keepdims=True)
    index = ops.reshape(ops.cast(index, "int32"), (*index.shape, *[1] * (len(x.shape) - len(mask.shape))))
    return ops.squeeze(ops.take_along_axis(x, index, axis=axis), axis)


def fit_pooled(pooled: Any, how: Pooling, shape: Sequence[int]) -> Any | None:
    """Return a pooled result ``(batch, ...)`` in a shape; None if it does not fit.

    The axes between time and features, such as the width of an image, are pooled, too, if the shape lacks them.
    """
    import keras

    size = int(np.prod(shape))
    while how in ("mean", "max", "min", "sum", "prod") and len(pooled.shape) > 2 and np.prod(pooled.shape) > size:
        pooled = getattr(keras.ops, how)(pooled, axis=1)
    if np.prod(pooled.shape) != size or pooled.shape[0] != shape[0]:
        return None
    return pooled if tuple(pooled.shape) == tuple(shape) else keras.ops.reshape(pooled, tuple(shape))


def pool_windows(layer: Any, x: Any, mask: Any, how: Literal["max", "mean"]) -> Any:
    """Return ``x (batch, timesteps, features)`` pooled by a layer over the timesteps of ``mask``."""
    import keras

    ops = keras.ops
    spread = mask[..., None]
    if how == "max":
        pooled = layer.call(ops.where(spread, x, ops.cast(-1e9, x.dtype)))
        is_open = layer.call(ops.cast(spread, x.dtype)) > 0
        return ops.where(is_open, pooled, ops.zeros_like(pooled))  # A window may have no valid timestep.
    shares = layer.call(ops.cast(spread, x.dtype))
    return layer.call(ops.where(spread, x, ops.zeros_like(x))) / ops.where(shares > 0, shares, ops.ones_like(shares))


def normalize_groups(layer: Any, x: Any, mask: Any) -> Any:
    """Return ``x (batch, timesteps, channels)`` normalised by the statistics of the timesteps of ``mask``."""
    import keras

    ops = keras.ops
    grouped = ops.reshape(x, (-1, x.shape[1], layer.groups, x.shape[-1] // layer.groups))
    weights = ops.cast(mask, x.dtype)[:, :, None, None] * ops.ones_like(grouped)
    count = ops.maximum(ops.sum(weights, axis=(1, 3), keepdims=True), 1)
    mean = ops.sum(weights * grouped, axis=(1, 3), keepdims=True) / count
    variance = ops.sum(weights * ops.square(grouped - mean), axis=(1, 3), keepdims=True) / count
    result = ops.reshape((grouped - mean) * ops.rsqrt(variance + layer.epsilon), ops.shape(x))
    result = result * layer.gamma if layer.scale else result
    return result + layer.beta if layer.center else result


def normalize_timesteps(layer: Any, x: Any, mask: Any) -> Any:
    """Return ``x (batch, timesteps, channels)`` normalised over both axes, by the timesteps of ``mask``."""
    import keras

    ops = keras.ops
    weights = ops.cast(mask, x.dtype)[:, :, None] * ops.ones_like(x)
    count = ops.maximum(ops.sum(weights, axis=(1, 2), keepdims=True), 1)
    mean = ops.sum(weights * x, axis=(1, 2), keepdims=True) / count
    variance = ops.sum(weights * ops.square(x - mean), axis=(1, 2), keepdims=True) / count
    result = (x - mean) * ops.rsqrt(variance + layer.epsilon)
    result = result * layer.gamma if layer.scale else result
    return result + layer.beta if layer.center else result


def _has_timesteps(tensor: Any, mask: Any) -> bool:
    """Return whether a tensor has the timesteps of a mask, or the places inside them."""
    shape = tuple(getattr(tensor, "shape", ()))
    rank = len(mask.shape)
    return len(shape) >= rank > 1 and shape[:rank] == tuple(mask.shape)
