"""Parts of the evaluation of losses on small models: a loss of one number, and steps that are compiled."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from maskcli.losses.binding import OutputLoss, bind_loss
from maskcli.losses.evaluate import evaluate
from maskcli.losses.per_output import measure_losses
from maskcli.records.inputs import ModelInput
from maskcli.records.loss import Targets
from maskcli.trace.outputs import find_model_outputs
from maskcli.trace.run import RunCache

TIMESTEPS = 30
VALID = np.arange(TIMESTEPS) < np.resize([30, 12, 3, 21], (40, 1))
WORDS = ModelInput("words", VALID.astype("int32"), VALID, "ids")


class WholeBatch(keras.losses.Loss):
    """One number of a batch; it counts how often its code runs."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        del sample_weight
        self.calls += 1
        return ops.mean(ops.square(y_true - y_pred))


def bind(mask_zero: bool) -> tuple[keras.Model, OutputLoss]:
    words = keras.Input((TIMESTEPS,), dtype="int32", name="words")
    model = keras.Model(words, layers.Embedding(3, 2, mask_zero=mask_zero)(words))
    (output,) = find_model_outputs(RunCache(model), (WORDS,))
    targets = Targets(np.ones((*VALID.shape, 2), "float32"), 2, "ones")
    return model, bind_loss(output, WholeBatch(), None, targets, None, [], "whole_batch")


@pytest.mark.parametrize("mask_zero", [True, False])
def test_loss_of_one_number_counts_padding_without_a_mask(mask_zero: bool) -> None:
    """Nothing shows which timesteps it counts; a mask of the output leaves padding out, as far as maskcli knows."""
    model, bound = bind(mask_zero)
    run = evaluate(model, (WORDS,), (bound,), batch_size=40)
    assert run.recorded[0].losses is None
    (evidence,) = measure_losses(run, len(VALID), VALID.any(axis=1))
    assert evidence.timesteps == VALID.size
    assert evidence.counted_padding == (0 if mask_zero else int((~VALID).sum()))


def test_code_of_a_loss_runs_once_where_steps_are_compiled() -> None:
    """Twenty batches of thirty timesteps compute as one graph; one batch of them runs without the time to compile."""
    model, bound = bind(mask_zero=True)
    calls = []
    for batch_size in (2, 40):
        before = bound.loss.calls
        evaluate(model, (WORDS,), (bound,), batch_size=batch_size)
        calls.append(bound.loss.calls - before)
    assert calls[0] < 5
    assert calls[1] == 1
