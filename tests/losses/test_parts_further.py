"""Parts of the losses that are called by themselves: metrics of targets without the timesteps of the loss."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from maskcli.losses.metrics import make_metric_pairs

VALID = np.array([[True, True, True, False], [True, False, False, False], [True, True, True, True]])


@pytest.mark.parametrize(("shape", "counts"), [((3, 4), True), ((3, 4, 2), True), ((3, 1), False), ((3, 2), False)])
def test_metric_counts_valid_timesteps_only_of_targets_that_have_them(shape: tuple[int, ...], counts: bool) -> None:
    """Timesteps cannot be chosen from targets without them, one number for each row."""
    numbers = np.linspace(0, 1, int(np.prod(shape))).reshape(shape).astype("float32")
    (pair,) = make_metric_pairs([(keras.metrics.MeanSquaredError(), False)], numbers, numbers / 2, VALID)
    assert (pair.of_valid is not None) is counts
    pair.update(numbers, keras.ops.convert_to_tensor(numbers / 2), None, VALID)
    report = pair.report("output")
    assert report.reported == pytest.approx(float(np.mean(numbers**2)) / 4, rel=1e-5)
    assert (report.valid is not None) is counts
