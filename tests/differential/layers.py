"""Custom layers of the random models: right and faulty ones, as people write them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers as L  # noqa: N812 -- as the programs of the cases abbreviate it
from keras import ops


def nested(shape: tuple[int | None, ...], *layers: Any, dtype: str | None = None) -> Any:
    """Return a functional model that applies layers one after another."""
    start = x = keras.Input(shape, dtype=dtype)
    for layer in layers:
        x = layer(x)
    return keras.Model(start, x)


def float_mask(mask: Any, x: Any) -> Any:
    """Return a mask ``(batch, timesteps)`` as numbers ``(batch, timesteps, 1)``."""
    return ops.expand_dims(ops.cast(mask, x.dtype), -1)


class Scale(L.Layer):
    """Multiplies by a weight, and passes the mask on."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def build(self, shape: Any) -> None:
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones")

    def call(self, x: Any) -> Any:
        return x * self.scale


class BareScale(L.Layer):
    """Multiplies by a weight, and drops the mask, because it does not support masking."""

    def build(self, shape: Any) -> None:
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones")

    def call(self, x: Any) -> Any:
        return x * self.scale


class ZeroPadding(L.Layer):
    """Zeroes masked timesteps."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, x: Any, mask: Any = None) -> Any:
        return x if mask is None else x * float_mask(mask, x)


class Center(L.Layer):
    """Subtracts the mean over time: of valid timesteps, or of all."""

    def __init__(self, uses_mask: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.uses_mask = uses_mask

    def call(self, x: Any, mask: Any = None) -> Any:
        if mask is None or not self.uses_mask:
            return x - ops.mean(x, axis=1, keepdims=True)
        weights = float_mask(mask, x)
        return x - ops.sum(x * weights, axis=1, keepdims=True) / ops.maximum(ops.sum(weights, axis=1, keepdims=True), 1)


class MaskedMean(L.Layer):
    """Averages valid timesteps."""

    def call(self, x: Any, mask: Any = None) -> Any:
        if mask is None:
            return ops.mean(x, axis=1)
        weights = float_mask(mask, x)
        return ops.sum(x * weights, axis=1) / ops.maximum(ops.sum(weights, axis=1), 1)

    def compute_mask(self, x: Any, mask: Any = None) -> None:  # noqa: ARG002
        return None


class MaskedMax(L.Layer):
    """Takes the maximum over valid timesteps."""

    def call(self, x: Any, mask: Any = None) -> Any:
        if mask is None:
            return ops.max(x, axis=1)
        return ops.max(ops.where(float_mask(mask, x) > 0, x, -1e9), axis=1)

    def compute_mask(self, x: Any, mask: Any = None) -> None:  # noqa: ARG002
        return None


class PlainPool(L.Layer):
    """Reduces the time axis and ignores the mask."""

    def __init__(self, how: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.how = how

    def call(self, x: Any) -> Any:
        return {"mean": ops.mean, "max": ops.max, "sum": ops.sum}[self.how](x, axis=1)


class LastValid(L.Layer):
    """Takes the last valid timestep; ``by_count`` assumes that padding comes after the tokens."""

    def __init__(self, by_count: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.by_count = by_count

    def call(self, x: Any, mask: Any = None) -> Any:
        if mask is None:
            return x[:, -1]
        numbers = ops.cast(mask, "int32")
        steps = ops.arange(ops.shape(numbers)[1], dtype="int32")
        last = ops.sum(numbers, axis=1) - 1 if self.by_count else ops.max(numbers * steps, axis=1)
        chosen = ops.cast(ops.equal(ops.expand_dims(last, 1), steps), x.dtype)
        return ops.sum(x * ops.expand_dims(chosen, -1), axis=1)

    def compute_mask(self, x: Any, mask: Any = None) -> None:  # noqa: ARG002
        return None


class AttentionPool(L.Layer):
    """Sums timesteps by the softmax of a score, over valid timesteps or over all."""

    def __init__(self, uses_mask: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.uses_mask = uses_mask
        self.score = L.Dense(1)

    def call(self, x: Any, mask: Any = None) -> Any:
        scores = self.score(x)
        if mask is not None and self.uses_mask:
            scores = scores + (1 - float_mask(mask, scores)) * -1e9
        return ops.sum(ops.softmax(scores, axis=1) * x, axis=1)

    def compute_mask(self, x: Any, mask: Any = None) -> None:  # noqa: ARG002
        return None


class SelfAttention(L.Layer):
    """Attends by hand: the mask hides ``keys``, ``queries``, nothing (``none``), or it is ``inverted``."""

    def __init__(self, hides: str, causal: bool = False, width: int = 4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.hides, self.causal, self.width = hides, causal, width
        self.query, self.key, self.value = L.Dense(width), L.Dense(width), L.Dense(width)

    def call(self, x: Any, mask: Any = None) -> Any:
        scores = ops.matmul(self.query(x), ops.transpose(self.key(x), (0, 2, 1))) / self.width**0.5
        if mask is not None and self.hides != "none":
            visible = ops.cast(mask, scores.dtype)
            if self.hides == "inverted":
                visible = 1 - visible
            axis = -1 if self.hides == "queries" else 1
            scores = scores + (1 - ops.expand_dims(visible, axis)) * -1e9
        if self.causal:
            steps = ops.arange(ops.shape(x)[1])
            scores = ops.where(ops.expand_dims(steps, 1) >= steps, scores, -1e9)
        return ops.matmul(ops.softmax(scores, axis=-1), self.value(x))


class DistanceAttention(L.Layer):
    """Attends by hand; scores fall with the distance of query and key."""

    def __init__(self, uses_mask: bool, width: int = 4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.uses_mask, self.width = uses_mask, width
        self.query, self.key, self.value = L.Dense(width), L.Dense(width), L.Dense(width)

    def call(self, x: Any, mask: Any = None) -> Any:
        scores = ops.einsum("bqd,bkd->bqk", self.query(x), self.key(x)) / self.width**0.5
        steps = ops.cast(ops.arange(ops.shape(x)[1]), x.dtype)
        scores = scores - 0.1 * ops.abs(ops.expand_dims(steps, 1) - steps)
        if mask is not None and self.uses_mask:
            scores = ops.where(ops.expand_dims(mask, 1), scores, -1e9)
        return ops.einsum("bqk,bkd->bqd", ops.softmax(scores, axis=-1), self.value(x))


class Leaky(L.Layer):
    """A cell that averages its state and the input."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.state_size = self.units = units

    def build(self, shape: Any) -> None:
        self.kernel = self.add_weight(shape=(shape[-1], self.units), initializer="glorot_uniform")

    def call(self, x: Any, states: Any) -> Any:
        state = 0.6 * states[0] + ops.tanh(ops.matmul(x, self.kernel))
        return state, [state]


class Positions(L.Layer):
    """Adds a vector for each position.

    Attributes:
        offset: added to each position; the oracle sets it where it moves pre-padded timesteps.
    """

    def __init__(self, learned: bool, keeps_mask: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = keeps_mask
        self.learned, self.offset = learned, 0

    def build(self, shape: Any) -> None:
        self.table = L.Embedding(64, shape[-1]) if self.learned else None

    def call(self, x: Any) -> Any:
        positions = ops.maximum(ops.arange(ops.shape(x)[1]) + self.offset, 0)
        if self.table is not None:
            return x + self.table(positions)
        rates = ops.exp(-ops.arange(x.shape[-1], dtype=x.dtype))
        return x + ops.sin(ops.expand_dims(ops.cast(positions, x.dtype), 1) * rates)


class Prefix(L.Layer):
    """Prepends a learned timestep, as for classification; ``keeps_mask`` extends the mask."""

    def __init__(self, keeps_mask: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.keeps_mask = keeps_mask

    def build(self, shape: Any) -> None:
        self.start = self.add_weight(shape=(1, 1, shape[-1]), initializer="glorot_uniform")

    def call(self, x: Any) -> Any:
        return ops.concatenate([ops.repeat(self.start, ops.shape(x)[0], axis=0), x], axis=1)

    def compute_mask(self, x: Any, mask: Any = None) -> Any:  # noqa: ARG002
        if mask is None or not self.keeps_mask:
            return None
        return ops.concatenate([ops.ones_like(mask[:, :1]), mask], axis=1)


class EverySecond(L.Layer):
    """Takes every second timestep, and of its mask too."""

    def call(self, x: Any) -> Any:
        return x[:, ::2]

    def compute_mask(self, x: Any, mask: Any = None) -> Any:  # noqa: ARG002
        return None if mask is None else mask[:, ::2]


class Backwards(L.Layer):
    """Reverses the timesteps; ``turns_mask`` reverses the mask too."""

    def __init__(self, turns_mask: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.turns_mask = turns_mask

    def call(self, x: Any) -> Any:
        return ops.flip(x, axis=1)

    def compute_mask(self, x: Any, mask: Any = None) -> Any:  # noqa: ARG002
        return ops.flip(mask, axis=1) if mask is not None and self.turns_mask else mask


class CausalShift(L.Layer):
    """Moves each timestep one later and starts with zeros."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, x: Any) -> Any:
        return ops.concatenate([ops.zeros_like(x[:, :1]), x[:, :-1]], axis=1)


class RunningMean(L.Layer):
    """Averages all timesteps up to each one."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, x: Any) -> Any:
        counts = ops.cast(ops.arange(ops.shape(x)[1]) + 1, x.dtype)
        return ops.cumsum(x, axis=1) / ops.expand_dims(counts, -1)


class LengthScale(L.Layer):
    """Divides by the number of timesteps: valid ones, or all."""

    def __init__(self, uses_mask: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.uses_mask = uses_mask

    def call(self, x: Any, mask: Any = None) -> Any:
        if mask is None or not self.uses_mask:
            return x / ops.cast(ops.shape(x)[1], x.dtype)
        return x / ops.maximum(ops.sum(float_mask(mask, x), axis=1, keepdims=True), 1)


class RowCenter(L.Layer):
    """Subtracts the mean over the rows of the batch, which mixes them."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, x: Any) -> Any:
        return x - ops.mean(x, axis=0, keepdims=True)


class MaskedConv(L.Layer):
    """Convolves zeroed padding and passes the mask on; without ``zeroes`` padding stays as it is."""

    def __init__(self, filters: int, zeroes: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.zeroes = zeroes
        self.convolution = L.Conv1D(filters, 3, padding="same")

    def call(self, x: Any, mask: Any = None) -> Any:
        return self.convolution(x * float_mask(mask, x) if self.zeroes and mask is not None else x)


class Block(L.Layer):
    """A transformer block of attention and a feed-forward part; without ``gives_mask`` its attention has none."""

    def __init__(self, gives_mask: bool, causal: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.gives_mask, self.causal = gives_mask, causal

    def build(self, shape: Any) -> None:
        self.attention = L.MultiHeadAttention(2, 3)
        self.attention.build(shape, shape)
        self.first, self.second = L.LayerNormalization(), L.LayerNormalization()
        self.inner, self.outer = L.Dense(8, activation="relu"), L.Dense(shape[-1])

    def call(self, x: Any, mask: Any = None) -> Any:
        keys = None
        if mask is not None and self.gives_mask:
            keys = ops.expand_dims(mask, 1)
        plain = ops.copy(x)  # Without the mask that Keras attached to x.
        x = self.first(plain + self.attention(plain, plain, attention_mask=keys, use_causal_mask=self.causal))
        return self.second(x + self.outer(self.inner(x)))


class NonZeroMask(L.Layer):
    """Makes a mask of timesteps that are not all zero, as written by hand."""

    def call(self, x: Any) -> Any:
        return x * 1.0

    def compute_mask(self, x: Any, mask: Any = None) -> Any:  # noqa: ARG002
        return ops.any(ops.not_equal(x, 0), axis=-1)


class Pointer(L.Layer):
    """Returns the softmax over timesteps ``(batch, timesteps)``, as pointer networks do."""

    def __init__(self, uses_mask: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.uses_mask = uses_mask
        self.score = L.Dense(1)

    def call(self, x: Any, mask: Any = None) -> Any:
        scores = ops.squeeze(self.score(x), -1)
        if mask is not None and self.uses_mask:
            scores = scores + (1 - ops.cast(mask, scores.dtype)) * -1e9
        return ops.softmax(scores, axis=-1)

    def compute_mask(self, x: Any, mask: Any = None) -> Any:  # noqa: ARG002
        return mask


NAMES = {name: value for name, value in globals().items() if isinstance(value, type) and issubclass(value, L.Layer)} | {
    "L": L,
    "keras": keras,
    "nested": nested,
    "np": np,
    "ops": ops,
    "tf": tf,
}
"""Names that the program of a case uses."""
