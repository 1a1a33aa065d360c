"""Roles of inputs: numbers of rows are no masks."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

import maskcli


class Counted(keras.Model):
    """A model that makes its mask from the number of frames of each row, ``(batch,)``."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = layers.GRU(3)

    def call(self, inputs: dict[str, Any]) -> Any:
        frames, counts = inputs["frames"], inputs["counts"]
        return self.recurrent(frames, mask=ops.arange(ops.shape(frames)[1])[None] < counts[:, None])


def test_a_model_takes_the_number_of_frames_of_each_row() -> None:
    keras.utils.set_random_seed(0)
    counts = np.array([4, 2, 1], "int32")
    frames = np.random.default_rng(1).uniform(1, 2, (3, 4, 2)).astype("float32")
    frames[np.arange(4) >= counts[:, None]] = 0
    report = maskcli.check({"frames": frames, "counts": counts}, model=Counted())
    assert report.passed
    assert not report.findings
