"""Built-in models and their twins with another mask source."""

from __future__ import annotations

import numpy as np

import maskcli
from maskcli.models.build import build, build_twin


def test_build_twin_copies_current_weights() -> None:
    settings = maskcli.inspect([[1, 2], [3]]).model.settings
    assert settings is not None
    built = build(settings)
    for weight in built.keras_model.weights:
        weight.assign(weight * 2 + 1)
    twin = build_twin(built, "explicit")
    for original, copy in zip(built.keras_model.weights, twin.keras_model.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(original), np.asarray(copy))


def test_padding_row_is_zero_only_for_masking() -> None:
    for source, zero in (("embedding", False), ("explicit", False), ("masking", True), ("all", True)):
        row = maskcli.inspect([[1, 2], [3]], mask_source=source).embedding
        assert row is not None
        assert row.set_to_zero is zero
        assert (not row.padding_vector.any()) is zero
