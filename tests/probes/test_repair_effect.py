"""A repair keeps the effect of the data: hiding all of it removes every leak, too."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from maskcli.probes.leak import probe_leak
from maskcli.probes.repair_changes import InvertMask, MaskedPooling, MaskOrigin, ZeroPadding
from maskcli.probes.repair_effect import CHANGES_ROWS, HIDES
from maskcli.probes.repairs import RepairSearch, RepairTrial
from maskcli.records.inputs import ModelInput
from maskcli.trace.run import ModelRun

pytestmark = pytest.mark.filterwarnings("ignore:Layer '(conv|hide)'")

PADDED = np.array([[3, 1, 4, 0, 0, 0], [5, 2, 7, 8, 0, 0], [6, 7, 8, 9, 1, 0]], "int32")
ONE_FULL = np.array([[3, 1, 4, 2, 6, 8], [5, 2, 7, 8, 0, 0], [6, 7, 8, 9, 1, 0]], "int32")


class Hide(layers.Layer):
    """Sets padding to zero."""

    def call(self, x: Any, mask: Any) -> Any:
        return x * ops.cast(mask, x.dtype)[:, :, None]


def prove(ids: np.ndarray, result: str, *changes: Any) -> RepairTrial:
    """Prove changes of a model of fixed length, in which a convolution leaks before padding is hidden."""
    keras.utils.set_random_seed(2)
    words = keras.Input((6,), dtype="int32", name="words")
    lookup = layers.Embedding(12, 6, mask_zero=True, name="lookup")
    mask = lookup.compute_mask(words)
    x = layers.Conv1D(5, 3, padding="same", name="conv")(lookup(words))
    x = Hide(name="hide")(x, mask=mask)
    results = {
        "tags": lambda: layers.Dense(2, name="tags")(x),
        "mean": lambda: layers.GlobalAveragePooling1D(name="mean")(x, mask=mask),
    }
    model = keras.Model(words, results[result]())
    item = ModelInput("words", ids, ids != 0, "ids")
    labels = np.arange(len(ids))
    leak = probe_leak(ModelRun(model, (item,)), labels).leak
    assert leak.leaks
    return RepairSearch(model, (item,), labels, leak).trials.prove(changes)


ZERO = ZeroPadding("/conv#1", MaskOrigin("arriving", "/conv#1"))


@pytest.mark.parametrize("result", ["tags", "mean"])
def test_repair_that_hides_all_data(result: str) -> None:
    trial = prove(PADDED, result, InvertMask("/hide#1", "mask"))
    assert (trial.leaks, trial.why) == (True, HIDES)


@pytest.mark.parametrize("ids", [PADDED, ONE_FULL])
def test_repair_that_computes_something_else(ids: np.ndarray) -> None:
    """Rows without padding show it; if there are none, padding is replaced by other content."""
    maximum = MaskedPooling("/mean#1", "max", MaskOrigin("arriving", "/mean#1"))
    trial = prove(ids, "mean", ZERO, maximum)
    assert (trial.leaks, trial.why) == (True, CHANGES_ROWS)


@pytest.mark.parametrize("result", ["tags", "mean"])
def test_repair_that_keeps_the_effect(result: str) -> None:
    trial = prove(PADDED, result, ZERO)
    assert (trial.leaks, trial.why) == (False, None)
