"""What a model was compiled with, and how it judges itself."""

from __future__ import annotations

import dataclasses
from typing import Any

CUSTOM_STEPS = ("test_step", "compute_loss", "compute_metrics")
"""Methods of a model by which its ``evaluate`` may be another one than Keras's."""


@dataclasses.dataclass(frozen=True, eq=False)
class CompileSettings:
    """What a model was compiled with, as it was given; None and nothing where it was not."""

    loss: Any = None
    loss_weights: Any = None
    metrics: Any = None
    weighted_metrics: Any = None


def read_compile_settings(model: Any) -> CompileSettings:
    """Return what a model was compiled with."""
    if not getattr(model, "compiled", False):
        return CompileSettings()
    loss, metrics = getattr(model, "_compile_loss", None), getattr(model, "_compile_metrics", None)
    return CompileSettings(
        getattr(model, "loss", None),
        getattr(loss, "_user_loss_weights", None),
        getattr(metrics, "_user_metrics", None),
        getattr(metrics, "_user_weighted_metrics", None),
    )


def has_custom_evaluate(model: Any) -> bool:
    """Return whether ``evaluate`` of a compiled model runs a step that is not Keras's."""
    import keras

    own = any(getattr(type(model), name) is not getattr(keras.Model, name) for name in CUSTOM_STEPS)
    return own and bool(getattr(model, "compiled", False))


def read_output_names(model: Any) -> list[str]:
    """Return the names by which a model calls its outputs; nothing where it has none."""
    return [str(name) for name in getattr(model, "output_names", None) or ()]
