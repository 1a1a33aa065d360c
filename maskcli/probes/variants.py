"""Run a model in another way for a while: at any length, in float32, or with other weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from maskcli.tolerance import WEIGHT_NOISE
from maskcli.trace.state import preserve_state

HALF = ("float16", "bfloat16")


@contextlib.contextmanager
def allow_any_length() -> Iterator[None]:
    """Let functional models take inputs of any length while this is open.

    A functional model compares its inputs with the shapes that it was built with. The calls in it compute with the
    shapes that they receive, unless a shape is an argument of theirs, as of ``Reshape``; these raise.
    """
    import keras

    # The class has a property, which also holds for models inside a model.
    functional = keras.src.models.Functional
    checked = vars(functional)["input_spec"]
    functional.input_spec = property(lambda _: None)
    try:
        yield
    finally:
        functional.input_spec = checked


@contextlib.contextmanager
def compute_in_float32(model: Any) -> Iterator[None]:
    """Let the layers of a model compute in float32 while this is open; their weights stay as they are."""
    import keras

    before: list[tuple[Any, str, Any]] = []

    def change(owner: Any, name: str, value: Any) -> None:
        before.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    try:
        for layer in model._flatten_layers():
            policy = layer.dtype_policy
            if getattr(policy, "compute_dtype", None) in HALF:
                # Keras casts weights to the dtype of the computation where these differ.
                full = keras.DTypePolicy("mixed_float16")
                full._compute_dtype, full._variable_dtype = "float32", policy.variable_dtype
                change(layer, "_dtype_policy", full)
            # A functional model has the casts between its layers as operations.
            for operation in getattr(layer, "_operations", ()):
                is_cast = type(operation).__name__ == "Cast" and not isinstance(operation, keras.layers.Layer)
                if is_cast and str(operation.dtype) in HALF:
                    change(operation, "dtype", "float32")
        yield
    finally:
        for owner, name, value in reversed(before):
            setattr(owner, name, value)


@contextlib.contextmanager
def move_weights(model: Any) -> Iterator[bool]:
    """Add a little seeded noise to the trainable weights of a model while this is open; yield whether it has any."""
    rng = np.random.default_rng(6)
    with preserve_state(model):
        weights = [weight for weight in model.trainable_weights if "float" in str(weight.dtype)]
        for weight in weights:
            values = np.asarray(weight.value).astype(np.float64)
            # Noise of the size of the weights; a bias of zeros gets one as large as in training after some steps.
            size = float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0
            noise = rng.standard_normal(values.shape) * WEIGHT_NOISE.value * (size or 1.0)
            weight.assign((values + noise).astype(np.asarray(weight.value).dtype))
        yield bool(weights)
