"""Parts of the probes on small models: sources of padding, slices of time, culprits among several layers."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from maskcli.probes.calls import _select_inside
from maskcli.probes.context import ProbeContext, make_context
from maskcli.probes.future_matrix import find_validity
from maskcli.probes.padding_sources import PaddingSources, find_padding_sources
from maskcli.probes.repair_candidates import Candidates
from maskcli.probes.repair_masks import ChangedModels, find_time_slice
from maskcli.probes.rows import probe_rows
from maskcli.records.inputs import ModelInput
from maskcli.trace.run import ModelRun

IDS = np.array([[4, 5, 6, 0], [7, 0, 0, 0], [8, 9, 4, 5]], "int32")
VALID = IDS != 0
WORDS = ModelInput("words", IDS, VALID, "ids")
FRAMES = ModelInput("frames", np.arange(36, dtype="float32").reshape(3, 4, 3), VALID, "features")


def probe(model: Any, *inputs: ModelInput) -> ProbeContext:
    return make_context(ModelRun(model, inputs), np.arange(len(inputs[0].values)))


def test_masked_places_inside_are_those_between_others() -> None:
    """Masked words at an end of a sentence may be padding; each sentence is looked at by itself."""
    masked = np.array([[[0, 1, 0, 1], [1, 1, 0, 1]], [[1, 0, 1, 0], [1, 1, 1, 1]]], bool)
    inside = [[[0, 1, 0, 0], [0, 0, 0, 0]], [[0, 0, 1, 0], [0, 0, 0, 0]]]
    np.testing.assert_array_equal(_select_inside(masked), np.array(inside, bool))


@pytest.mark.parametrize("crop", [(1, 0), (0, 1), (2, 0), (1, 1)])
def test_slice_of_time_that_a_crop_takes(crop: tuple[int, int]) -> None:
    frames = keras.Input((4, 3), name="frames")
    context = probe(keras.Model(frames, layers.Cropping1D(crop, name="crop")(frames)), FRAMES)
    (entry,) = [entry for entry in context.base.entries if entry.name == "crop"]
    assert find_time_slice(entry, VALID) == (crop[0] or None, -crop[1] or None, None)


class LeavesBackend(keras.Model):
    """Model whose code cuts off or prepends ids by NumPy, so that their timesteps are not followed."""

    def __init__(self, by: int) -> None:
        super().__init__()
        self.lookup, self.dense, self.by = layers.Embedding(10, 3), layers.Dense(2), by

    def call(self, words: Any) -> Any:
        ids = np.array(words)
        changed = ids[:, : self.by] if self.by < 0 else np.pad(ids, [(0, 0), (self.by, 0)])
        return self.dense(self.lookup(ops.convert_to_tensor(changed)))


@pytest.mark.parametrize(
    ("by", "valid"),
    [
        (-1, VALID[:, :3] & VALID[:, 1:]),
        (1, np.array([[1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1]], bool)),
        (-3, None),
    ],
)
def test_timesteps_that_are_valid_whichever_are_missing(by: int, valid: Any) -> None:
    """A result of one timestep less or more has the timesteps of the input, from its start or from its end."""
    context = probe(LeavesBackend(by), WORDS)
    (lookup,) = [entry for entry in context.base.entries if entry.type == "Embedding"]
    result = find_validity(context, lookup.outputs[0])
    assert (result is None) == (valid is None)
    if valid is not None:
        np.testing.assert_array_equal(result, valid)


def as_numbers(numbers: Any) -> Any:
    return ops.expand_dims(ops.cast(numbers, "float32"), -1)


def find_sources(model: Any, *inputs: ModelInput) -> PaddingSources:
    run = ModelRun(model, inputs)
    sources = find_padding_sources(run.recording, run.flow, inputs)
    assert isinstance(sources, PaddingSources)
    return sources


@pytest.mark.parametrize("bypasses", [False, True])
def test_ids_that_are_numbers_bypass_their_lookup(bypasses: bool) -> None:
    """Padding ids that enter a result as numbers are not replaced by a change of their vectors."""
    words = keras.Input((None,), dtype="int32", name="words")
    x = layers.Embedding(10, 3)(words)
    sources = find_sources(keras.Model(words, x + as_numbers(words) if bypasses else x), WORDS)
    assert (len(sources.calls), sources.complete) == (1, not bypasses)


def test_features_that_mark_valid_timesteps_bypass_nothing() -> None:
    """An input of 1 and 0 is a mask in numbers: its padding is no value that data could have otherwise."""
    words, keep = keras.Input((None,), dtype="int32", name="words"), keras.Input((None,), name="keep")
    model = keras.Model([words, keep], layers.Embedding(10, 3)(words) * as_numbers(keep))
    given = ModelInput("keep", VALID.astype("float32"), VALID, "features")
    assert find_sources(model, WORDS, given).complete


class CenterOverRows(layers.Layer):
    def call(self, x: Any) -> Any:
        return x - ops.mean(x, axis=0, keepdims=True)


def test_rows_that_mix_in_two_branches_mix_where_these_join() -> None:
    """With the former result of one branch only, the other one still shows other rows."""
    keras.utils.set_random_seed(3)
    words = keras.Input((None,), dtype="int32", name="words")
    x = layers.Embedding(10, 3)(words)
    branches = [CenterOverRows(name=name)(layers.Dense(3)(x)) for name in ("first", "second")]
    model = keras.Model(words, layers.Add(name="both")(branches))
    mixed = probe_rows(probe(model, WORDS)).mixed
    assert mixed is not None
    assert mixed.first_call == "both"


def test_only_a_wrapper_reduces_the_mask_of_places_in_timesteps() -> None:
    """``TimeDistributed`` pools the words of a sentence; another layer that does so returns no mask of sentences."""
    ids = np.array([[[3, 4, 0], [5, 0, 0]], [[6, 7, 8], [0, 0, 0]]], "int32")
    story = keras.Input((2, 3), dtype="int32", name="story")
    x = layers.Embedding(10, 4, mask_zero=True, name="lookup")(story)
    read = layers.TimeDistributed(layers.GRU(3), name="read")(x)
    with warnings.catch_warnings(action="ignore"):
        flat = layers.Reshape((2, 12), name="flat")(x)
        model = keras.Model(story, layers.Concatenate()([read, flat]))
    valid = ids != 0
    models = ChangedModels(model, [ModelInput("story", ids, valid.any(axis=2), "features", cells=valid)], np.arange(2))
    reduced = {}
    for name in ("read", "flat"):
        (entry,) = [entry for entry in models.original.context.base.entries if entry.name == name]
        reduced[name] = len(Candidates(models, (), models.original, entry)._reduce_mask(entry))
    assert reduced == {"read": 1, "flat": 0}
