"""The arguments that a model was compiled with, and steps that are its own."""

from __future__ import annotations

from typing import Any

import keras
import pytest
from keras import layers

from maskcli.losses.compile_settings import has_custom_evaluate

pytestmark = pytest.mark.quick


class Scaled(keras.Model):
    def compute_loss(self, *arguments: Any, **options: Any) -> Any:
        return 2 * super().compute_loss(*arguments, **options)


def test_evaluate_is_custom_if_a_compiled_model_has_a_step_of_its_own() -> None:
    features = keras.Input((2,))
    scaled, plain = (kind(features, layers.Dense(1)(features)) for kind in (Scaled, keras.Model))
    assert not has_custom_evaluate(scaled)
    for model in (scaled, plain):
        model.compile(loss="mse")
    assert has_custom_evaluate(scaled)
    assert not has_custom_evaluate(plain)
