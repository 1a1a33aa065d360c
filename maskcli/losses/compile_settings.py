"""The arguments that a model was compiled with."""

from __future__ import annotations

from typing import Any

CUSTOM_STEPS = ("test_step", "compute_loss", "compute_metrics")
"""Methods that a model overrides to change its ``evaluate``."""


def read_compiled_loss(model: Any) -> Any:
    """Return the ``loss`` that a model was compiled with. Returns None if there is none."""
    return getattr(model, "loss", None) if is_compiled(model) else None


def read_compiled_loss_weights(model: Any) -> Any:
    """Return the ``loss_weights`` that a model was compiled with. Returns None if there are none."""
    return _read_private(model, "_compile_loss", "_user_loss_weights")


def read_compiled_metrics(model: Any) -> Any:
    """Return the ``metrics`` that a model was compiled with. Returns None if there are none."""
    return _read_private(model, "_compile_metrics", "_user_metrics")


def read_weighted_metrics(model: Any) -> Any:
    """Return the ``weighted_metrics`` that a model was compiled with. Returns None if there are none."""
    return _read_private(model, "_compile_metrics", "_user_weighted_metrics")


def is_compiled(model: Any) -> bool:
    """Return whether a model was compiled."""
    return bool(getattr(model, "compiled", False))


def _read_private(model: Any, owner: str, name: str) -> Any:
    # Keras keeps these arguments only in private attributes of the objects that it builds from them.
    return getattr(getattr(model, owner, None), name, None) if is_compiled(model) else None


def has_custom_evaluate(model: Any) -> bool:
    """Return whether ``evaluate`` of a compiled model runs a step that is not Keras's."""
    import keras

    custom = any(getattr(type(model), name) is not getattr(keras.Model, name) for name in CUSTOM_STEPS)
    return custom and is_compiled(model)


def read_output_names(model: Any) -> list[str]:
    """Return the names that a model gives its outputs; empty if it gives none."""
    return [str(name) for name in getattr(model, "output_names", None) or ()]
