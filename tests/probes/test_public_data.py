"""Data of kinds that people publish: ids as floats, words of characters, and several values of padding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

import maskcli
from maskcli.errors import UsageError
from maskcli.records.check import CheckReport
from tests.probes.test_public_models import (
    IDS,
    LENGTHS,
    PRE_PADDED,
    VALID,
    Case,
    check,
    get_verdict,
    list_errors,
    look_up,
    make_series,
)

pytestmark = pytest.mark.slow(share=1 / 2)

# Ids.


def mask_float_ids() -> Case:
    ids = keras.Input((None,), name="ids")
    x = layers.LSTM(3)(layers.Embedding(10, 4)(layers.Masking(-1.0, name="masking")(ids)))
    return {"ids": np.where(VALID, IDS, -1).astype("float32")}, keras.Model(ids, layers.Dense(1)(x))


def test_ids_that_are_stored_as_floats_cannot_be_masked_as_features() -> None:
    report = check(mask_float_ids)
    assert ("MSK110", "masking") in list_errors(report)
    assert get_verdict(report) == "leaks"


class Reader(keras.Model):
    """Declares no input, so that only its data show that it takes ids."""

    def __init__(self) -> None:
        super().__init__()
        self.look, self.read = layers.Embedding(12, 4), layers.LSTM(3)

    def call(self, ids: Any) -> Any:
        return self.read(self.look(ids))


def read_float_ids() -> Case:
    return {"ids": IDS.astype("float32")}, Reader()


def test_ids_that_are_stored_as_floats_are_padded() -> None:
    report = check(read_float_ids, quick=True)
    assert get_verdict(report) == "leaks"
    assert [model_input.padded_timesteps for model_input in report.inputs] == [9]


def take_first_row() -> Case:
    ids = keras.Input((1, None), dtype="int32", name="ids")
    x = layers.GlobalAveragePooling1D()(layers.Embedding(12, 4)(ids[:, 0]))
    return {"ids": IDS[:, None]}, keras.Model(ids, layers.Dense(1)(x))


def test_ids_behind_an_axis_of_one_are_padded() -> None:
    assert get_verdict(check(take_first_row, quick=True)) == "leaks"


def join_characters() -> Case:
    generator = np.random.default_rng(5)
    written = np.arange(4) < generator.integers(1, 5, VALID.shape)[..., None]
    letters = np.where(VALID[..., None] & written, generator.integers(1, 10, written.shape), 0)
    words, x = look_up("words")
    characters = keras.Input((None, 4), name="characters")
    y = layers.TimeDistributed(layers.Embedding(10, 3))(characters)
    y = layers.TimeDistributed(layers.Conv1D(3, 3, padding="same"))(y)
    y = layers.TimeDistributed(layers.Flatten())(layers.TimeDistributed(layers.MaxPooling1D(4))(y))
    read = layers.Bidirectional(layers.LSTM(3, return_sequences=True), name="read")
    z = read(layers.Concatenate()([x, y]), mask=ops.not_equal(words, 0))
    return {"words": IDS, "characters": letters}, keras.Model([words, characters], layers.Dense(3)(z))


def test_padded_characters_inside_of_words_leak() -> None:
    """The input has the type float, as one has by default; the layer that reads words has the mask of words."""
    report = check(join_characters, quick=True)
    assert get_verdict(report) == "leaks"
    assert not report.passed
    assert "read" not in [finding.call for finding in report.findings]


# Values of padding.


def pad_with_twenty() -> Case:
    ids = keras.Input((None,), dtype="int32", name="ids")
    return {"ids": np.where(VALID, IDS, 20)}, keras.Model(ids, layers.LSTM(3)(layers.Embedding(21, 4)(ids)))


def pad_with_nan() -> Case:
    series = keras.Input((None, 2), name="series")
    filled = ops.where(ops.isnan(series), 0.0, series)
    return {"series": make_series(2, np.nan)}, keras.Model(series, layers.GRU(3)(filled))


@pytest.mark.parametrize(
    ("build", "value", "advice"),
    [(pad_with_twenty, 20, "not_equal(ids, 20)"), (pad_with_nan, np.nan, "np.where(np.isnan(x), -1, x)")],
)
def test_advice_without_a_mask_depends_on_the_value(build: Callable[[], Case], value: float, advice: str) -> None:
    report = check(build, value=value, quick=True)
    (finding,) = (finding for finding in report.findings if finding.code == "MSK104")
    assert advice in finding.fix


def mask_a_value_for_each_feature() -> Case:
    series = keras.Input((None, 2), name="series")
    padded = make_series(2)
    padded[~VALID] = [-1.0, -5.0]
    return {"series": padded}, keras.Model(series, layers.LSTM(3)(layers.Masking([-1.0, -5.0])(series)))


def test_masking_may_have_a_value_for_each_feature() -> None:
    assert get_verdict(check(mask_a_value_for_each_feature)) == "clean"


class MaskedFrames(layers.Layer):
    """Joins the pixels of frames, and masks the frames of which all pixels are -2."""

    def call(self, film: Any) -> Any:
        return ops.reshape(film, (*ops.shape(film)[:2], 4))

    def compute_mask(self, film: Any, mask: Any = None) -> Any:  # noqa: ARG002
        return ops.any(ops.not_equal(film, -2.0), axis=(2, 3, 4))


def mask_frames() -> Case:
    film = keras.Input((None, 2, 2, 1), name="film")
    frames = np.random.default_rng(0).uniform(0.2, 1, (4, 3, 2, 2, 1)).astype("float32")
    frames[np.arange(3) >= np.array([3, 2, 1, 2])[:, None]] = -2
    return {"film": frames}, keras.Model(film, layers.Dense(1)(layers.LSTM(3)(MaskedFrames()(film))))


def test_value_that_an_own_layer_masks_is_that_of_padding() -> None:
    report = check(mask_frames)
    assert report.passed
    assert [(item.validity.source, item.validity.value) for item in report.inputs] == [("masking-layer", -2)]


def sum_vectors(trainable: bool) -> Case:
    ids, x = look_up(mask_zero=False, trainable=trainable, embeddings_initializer=fill_table)
    return {"ids": IDS}, keras.Model(ids, layers.Lambda(lambda t: ops.sum(t, 1), output_shape=(4,))(x))


def fill_table(shape: tuple[int, ...], dtype: Any = None) -> Any:
    table = np.random.default_rng(0).normal(size=shape)
    table[0] = 0
    return ops.convert_to_tensor(table, dtype)


@pytest.mark.parametrize(("trainable", "verdict"), [(False, "clean"), (True, "leaks")])
def test_vector_of_padding_that_stays_zero_adds_nothing_to_a_sum(trainable: bool, verdict: str) -> None:
    report = check(lambda: sum_vectors(trainable), quick=True)
    assert get_verdict(report) == verdict
    assert report.passed is not trainable


# Targets.

TAGGED = {
    "ids": [row[:length].tolist() for row, length in zip(IDS, LENGTHS, strict=True)],
    "tags": [(row[:length] % 5).tolist() for row, length in zip(IDS, LENGTHS, strict=True)],
}


def make_tagger(masked: bool, ignored: int | None = None, metrics: tuple[Any, ...] = ()) -> keras.Model:
    keras.utils.set_random_seed(0)
    ids, x = look_up(mask_zero=masked)
    model = keras.Model(ids, layers.Dense(5)(layers.GRU(3, return_sequences=True)(x)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=ignored)
    model.compile(loss=loss, metrics=list(metrics))
    return model


def check_tags(model: keras.Model, **options: Any) -> CheckReport:
    return maskcli.check(TAGGED, model=model, targets_field="tags", **options)


def test_targets_of_rows_are_padded_with_the_class_that_the_loss_ignores() -> None:
    assert "MSK301" not in [finding.code for finding in check_tags(make_tagger(masked=False, ignored=-1)).findings]
    assert "MSK301" in [finding.code for finding in check_tags(make_tagger(masked=False)).findings]


def share_right(targets: Any, predictions: Any) -> Any:
    """Return one number for a batch, of which no timestep can be left out."""
    right = ops.equal(ops.cast(ops.argmax(predictions, -1), targets.dtype), targets)
    return ops.mean(ops.cast(right, "float32"))


def test_metric_that_takes_no_mask_is_named() -> None:
    model = make_tagger(masked=True, metrics=(share_right,))
    (finding,) = (finding for finding in check_tags(model).findings if finding.code == "MSK305")
    assert "The metric share_right cannot be computed with the mask" in finding.message
    with pytest.raises(UsageError, match="metric share_right: expected a metric that takes the mask"):
        maskcli.loss(TAGGED, model=model, targets_field="tags")


def test_frames_in_a_chain_of_layers_get_a_mask_of_timesteps() -> None:
    """``Masking`` would mask pixels, and no code of a chain can pass a mask."""

    def chain() -> Case:
        model = keras.Sequential(
            [
                keras.Input((None, 2, 2, 1), name="frames"),
                layers.TimeDistributed(layers.Flatten()),
                layers.LSTM(3),
            ]
        )
        frames = make_series(4).reshape(*VALID.shape, 2, 2, 1)
        return {"frames": frames}, model

    report = check(chain)
    assert get_verdict(report) == "leaks"
    (repair,) = report.repairs
    definition, line = repair.code.split("\n\n\n")
    assert line == "MaskFrames()  # first layer"
    scope: dict[str, object] = {"keras": keras}
    exec(definition, scope)  # noqa: S102 - the printed code is the subject of this test
    masked = scope["MaskFrames"]()  # type: ignore[operator]
    frames = make_series(4).reshape(*VALID.shape, 2, 2, 1)
    assert np.array_equal(np.asarray(masked.compute_mask(frames)), VALID)


# Inputs of few columns, and inputs that are padded on different sides.


class Spans(layers.Layer):
    """Returns the vectors at the ends of spans."""

    def call(self, x: Any, starts: Any, ends: Any) -> Any:
        parts = [ops.take_along_axis(x, at[:, :, None], axis=1) for at in (starts, ends)]
        return ops.concatenate(parts, axis=-1)

    def compute_output_shape(self, x_shape: Any, starts_shape: Any, ends_shape: Any) -> Any:
        del ends_shape
        return x_shape[0], starts_shape[1], 2 * x_shape[2]


def find_spans() -> Case:
    ids, x = look_up()
    starts, ends = (keras.Input((2,), dtype="int32", name=name) for name in ("starts", "ends"))
    x = layers.LSTM(4, return_sequences=True)(x)
    data = {
        "ids": IDS,
        "starts": np.array([[0, 2], [1, 1], [0, 1], [0, 0]]),
        "ends": np.array([[1, 4], [2, 2], [3, 3], [1, 1]]),
    }
    return data, keras.Model([ids, starts, ends], layers.Dense(1)(Spans(name="spans")(x, starts, ends)))


def choose_categories() -> Case:
    columns, (ids, x) = keras.Input((3,), dtype="int32", name="columns"), look_up()
    y = layers.Flatten()(layers.Embedding(9, 3, name="look_columns")(columns))
    x = layers.Concatenate()([y, layers.GlobalAveragePooling1D()(x)])
    data = {"columns": np.array([[0, 3, 1], [2, 6, 3], [0, 0, 2], [7, 1, 2]]), "ids": IDS}
    return data, keras.Model([columns, ids], layers.Dense(1)(x))


@pytest.mark.parametrize("build", [find_spans, choose_categories])
def test_zeros_at_the_start_of_few_columns_are_no_padding(build: Any) -> None:
    """The padding of the sequences next to them is at the end."""
    report = check(build)
    assert get_verdict(report) == "clean"
    assert not [finding for finding in report.findings if finding.severity != "info"]


def test_inputs_get_more_padding_on_their_own_side() -> None:
    """A decoder that runs forwards may lack a mask of padding at the end, which its data has."""
    source, target = (keras.Input((None,), dtype="int32", name=name) for name in ("source", "target"))
    _, *states = layers.LSTM(3, return_state=True)(layers.Embedding(12, 4, mask_zero=True)(source))
    decoder = layers.LSTM(3, return_sequences=True)(layers.Embedding(12, 4)(target), initial_state=states)
    model = keras.Model([source, target], layers.Dense(2)(decoder))
    assert get_verdict(check(lambda: ({"source": PRE_PADDED, "target": IDS[::-1]}, model))) == "clean"


# Numbers of timesteps that a model of one length holds as a constant.


def take_last(x: Any, mask: Any) -> Any:
    last = ops.max(ops.cast(mask, "int32") * ops.arange(x.shape[1]), axis=1)
    return ops.squeeze(ops.take_along_axis(x, last[:, None, None], axis=1), 1)


def find_last_of_pre_padded() -> Case:
    ids = keras.Input((6,), dtype="int32", name="ids")
    look = layers.Embedding(12, 4, mask_zero=True, name="look")
    mask = look.compute_mask(ids)
    x = layers.LSTM(3, return_sequences=True)(look(ids))
    return {"ids": PRE_PADDED}, keras.Model(ids, layers.Dense(1)(take_last(x, mask)))


def find_last_after_a_prefix() -> Case:
    ids = keras.Input((6,), dtype="int32", name="ids")
    look = layers.Embedding(12, 4, mask_zero=True, name="look")
    mask = look.compute_mask(ids)
    mask = ops.concatenate([ops.ones_like(mask[:, :1]), mask], axis=1)
    x = look(ids)
    x = layers.LSTM(3, return_sequences=True)(ops.concatenate([ops.ones_like(x[:, :1]), x], axis=1), mask=mask)
    return {"ids": IDS}, keras.Model(ids, layers.Dense(1)(take_last(x, mask)))


@pytest.mark.parametrize("build", [find_last_of_pre_padded, find_last_after_a_prefix])
def test_numbers_of_timesteps_are_cut_like_the_rows(build: Any) -> None:
    report = check(build)
    assert get_verdict(report) == "clean"
    assert report.leak is not None
    assert next(probe for probe in report.leak.probes if probe.name == "alone").applicable
