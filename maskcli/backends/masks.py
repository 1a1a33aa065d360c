"""The masks that tensors carry, and their values, on every backend of Keras."""

from __future__ import annotations

from typing import Any


def get_keras_mask(tensor: Any) -> Any | None:
    """Return the mask that a tensor carries, as a tensor; None without one.

    Most tensors have it as an attribute. Arrays of JAX take none, so that Keras keeps their masks by ``id``.
    """
    from keras.src import backend

    return backend.get_keras_mask(tensor)


def set_keras_mask(tensor: Any, mask: Any | None) -> None:
    """Let a tensor carry a mask, or none."""
    from keras.src import backend

    backend.set_keras_mask(tensor, mask)
