"""Sentences of rules that name the place of a fault."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import pytest

import maskcli
from maskcli.rules.mask_lost_on_save import judge


class Half(keras.layers.Layer):
    """A layer whose mask support is set from outside, and so not saved."""

    def call(self, inputs: Any) -> Any:
        return inputs / 2.0


@pytest.mark.filterwarnings("ignore:Layer 'half':UserWarning")
def test_mask_that_is_not_saved_is_missed_after_its_call() -> None:
    """The sentence names the first call whose mask changes, and the output where no call shows it."""
    half = Half(name="half")
    half.supports_masking = True
    tokens = keras.Input((None,), dtype="int32")
    embedding = keras.layers.Embedding(10, 4, mask_zero=True)
    model = keras.Sequential([tokens, embedding, half, keras.layers.LSTM(3)])
    evidence = maskcli.check([[1, 2, 3, 4], [5, 6]], model=model).examination.model
    assert evidence is not None
    assert evidence.saving is not None
    unplaced = dataclasses.replace(evidence, saving=dataclasses.replace(evidence.saving, call=None))
    for model_evidence, place in ((evidence, "half (Half)"), (unplaced, "the output")):
        (finding,) = judge(model_evidence)
        assert finding.message == f"After saving and loading, the model has {evidence.saving.what} after {place}."
