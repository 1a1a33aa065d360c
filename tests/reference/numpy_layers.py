"""Embedding, RNNs, Dense, attention and pooling under a mask, in float64 NumPy, written from their definitions.

Nothing here imports Keras or maskcli. A mask is ``(batch, timesteps)``, True at valid timesteps, or None.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Step = Callable[[Array, tuple[Array, ...]], tuple[Array, ...]]


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def softmax(x: Array, where: Array | None = None) -> Array:
    """Return the softmax over the last axis, of only the entries that are True in ``where``."""
    shifted = x if where is None else np.where(where, x, -np.inf)
    top = shifted.max(axis=-1, keepdims=True)
    exponents = np.exp(shifted - np.where(np.isfinite(top), top, 0))
    total: Array = exponents / exponents.sum(axis=-1, keepdims=True)
    return total


def embed(ids: Array, table: Array) -> Array:
    vectors: Array = table[ids]
    return vectors


def dense(x: Array, kernel: Array, bias: Array) -> Array:
    y: Array = x @ kernel + bias
    return y


def step_simple_rnn(weights: Sequence[Array]) -> Step:
    kernel, recurrent, bias = weights

    def step(x: Array, states: tuple[Array, ...]) -> tuple[Array, ...]:
        return (np.tanh(x @ kernel + bias + states[0] @ recurrent),)

    return step


def step_lstm(weights: Sequence[Array]) -> Step:
    """Hochreiter and Schmidhuber (1997) with a forget gate; Keras stores the gates as input, forget, cell, output."""
    kernel, recurrent, bias = weights

    def step(x: Array, states: tuple[Array, ...]) -> tuple[Array, ...]:
        hidden, carry = states
        i, f, g, o = np.split(x @ kernel + hidden @ recurrent + bias, 4, axis=-1)
        carry = sigmoid(f) * carry + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(carry), carry

    return step


def step_gru(weights: Sequence[Array]) -> Step:
    """Cho et al. (2014), with the reset gate after the product (``reset_after``): gates update, reset, candidate."""
    kernel, recurrent, bias = weights

    def step(x: Array, states: tuple[Array, ...]) -> tuple[Array, ...]:
        (hidden,) = states
        xz, xr, xh = np.split(x @ kernel + bias[0], 3, axis=-1)
        hz, hr, hh = np.split(hidden @ recurrent + bias[1], 3, axis=-1)
        z, r = sigmoid(xz + hz), sigmoid(xr + hr)
        return (z * hidden + (1 - z) * np.tanh(xh + r * hh),)

    return step


def run_rnn(
    step: Step,
    x: Array,
    mask: Array | None,
    units: int,
    states: int,
    *,
    backwards: bool = False,
    zero_output: bool = False,
) -> tuple[Array, tuple[Array, ...]]:
    """Return the outputs ``(batch, timesteps, units)`` in the order of computation, and the last states.

    At a masked timestep the states stay as they are, and the output is that of the timestep before, or zero.
    """
    batch, timesteps, _ = x.shape
    state = tuple(np.zeros((batch, units)) for _ in range(states))
    output, outputs = np.zeros((batch, units)), []
    for t in reversed(range(timesteps)) if backwards else range(timesteps):
        new = step(x[:, t], state)
        valid = np.ones((batch, 1), bool) if mask is None else mask[:, t, None]
        state = tuple(np.where(valid, after, before) for after, before in zip(new, state, strict=True))
        output = np.where(valid, new[0], np.zeros_like(output) if zero_output else output)
        outputs.append(output)
    return np.stack(outputs, axis=1), state


def attend(query: Array, value: Array, weights: Sequence[Array], pairs: Array | None) -> Array:
    """Return multi-head attention (Vaswani et al., 2017), with the weights in the order of Keras.

    Args:
        query: ``(batch, queries, features)``.
        value: ``(batch, keys, features)``, also the keys.
        weights: kernels ``(features, heads, width)`` and biases of query, key and value, and of the output.
        pairs: ``(batch, queries, keys)``, True where a query may attend; None for everywhere.
    """
    q_kernel, q_bias, k_kernel, k_bias, v_kernel, v_bias, o_kernel, o_bias = weights
    q = np.einsum("bqf,fhw->bhqw", query, q_kernel) + q_bias[:, None]
    k = np.einsum("bkf,fhw->bhkw", value, k_kernel) + k_bias[:, None]
    v = np.einsum("bkf,fhw->bhkw", value, v_kernel) + v_bias[:, None]
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
    shares = softmax(scores, None if pairs is None else pairs[:, None])
    result: Array = np.einsum("bhqk,bhkw,hwf->bqf", shares, v, o_kernel) + o_bias
    return result


def average(x: Array, mask: Array | None) -> Array:
    """Return the mean over valid timesteps."""
    counted = np.ones(x.shape[:2]) if mask is None else mask.astype(float)
    result: Array = (x * counted[..., None]).sum(axis=1) / counted.sum(axis=1)[:, None]
    return result
