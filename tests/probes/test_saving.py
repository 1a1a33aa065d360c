"""Saving: a loaded model that has lost a mask differs from the one that was saved, also in its graph."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from maskcli.models.load import reload_model
from maskcli.probes.saving import probe_saving
from maskcli.records.inputs import ModelInput
from maskcli.trace.run import ModelRun

SERIES = np.random.default_rng(2).uniform(1, 2, (3, 4, 2)).astype("float32")
SERIES[1, 2:] = 0
SERIES[2, 1:] = 0


def build(convolution: layers.Layer) -> keras.Model:
    """Return a model whose loaded copy no longer computes the mask if the convolution drops it."""
    return keras.Sequential([keras.Input((None, 2), name="series"), layers.Masking(), convolution, layers.GRU(3)])


def make_convolution(supports_masking: bool) -> layers.Layer:
    convolution = layers.Conv1D(4, 3, padding="same", name="smooth")
    if supports_masking:
        convolution.supports_masking = True
    return convolution


@pytest.mark.filterwarnings("ignore:Layer 'smooth':UserWarning")
@pytest.mark.parametrize("supports_masking", [True, False])
def test_a_mask_is_missed_in_a_loaded_model_that_no_longer_computes_it(supports_masking: bool) -> None:
    keras.utils.set_random_seed(0)
    run = ModelRun(
        build(make_convolution(supports_masking)), [ModelInput("series", SERIES, SERIES.any(axis=-1), "features")]
    )
    result = probe_saving(run, reload_model)
    if not supports_masking:  # Layers of Keras as their configuration describes them are not saved only for this.
        assert result is None
        return
    assert result is not None
    assert result.survives is False
    assert result.call == "smooth"
