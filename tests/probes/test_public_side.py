"""Models that people publish, with faults next to a leak: statistics, several inputs, layers that move padding."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

import maskcli
from maskcli.records.check import CheckReport, Finding
from tests.probes.test_public_models import IDS, VALID, Case, check, get_verdict, list_errors, look_up, make_series
from tests.probes.test_public_pairs import list_lines, list_repairs

pytestmark = pytest.mark.slow(share=1 / 2)

REGIONS = np.random.default_rng(5).uniform(0.2, 1, (4, 4, 5)).astype("float32")
"""Features of the regions of images, all of which are valid."""


def list_codes(report: CheckReport) -> list[str]:
    return [finding.code for finding in report.findings]


def get_finding(report: CheckReport, code: str) -> Finding:
    (finding,) = (finding for finding in report.findings if finding.code == code)
    return finding


def define_classes(report: CheckReport) -> SimpleNamespace:
    """Return the classes that the code of the repairs defines."""
    scope: dict[str, Any] = {"keras": keras, "__name__": __name__}
    for repair in report.repairs:
        for block in repair.code.split("\n\n\n"):
            if block.startswith("class "):
                exec(block, scope)  # noqa: S102 - the printed code is the subject of these tests
    return SimpleNamespace(**scope)


# Inputs next to the padded input.


def describe_image(n_regions: int | None) -> Case:
    regions, (caption, x) = keras.Input((n_regions, 5), name="regions"), look_up("caption")
    pooled = [layers.GlobalAveragePooling1D()(features) for features in (regions, x)]
    data = {"regions": REGIONS, "caption": IDS}
    return data, keras.Model([regions, caption], layers.Dense(2)(layers.Concatenate()(pooled)))


class RegionAttention(layers.Layer):
    """Attends to the regions of an image from each word."""

    def __init__(self) -> None:
        super().__init__()
        self.supports_masking = True
        self.query = layers.Dense(5)

    def call(self, words: Any, regions: Any) -> Any:
        scores = ops.matmul(self.query(words), ops.transpose(regions, (0, 2, 1)))
        return words + ops.matmul(ops.softmax(scores), regions)

    def compute_mask(self, words: Any, mask: Any = None) -> Any:  # noqa: ARG002
        return mask


def attend_to_image() -> Case:
    regions, (caption, x) = keras.Input((4, 5), name="regions"), look_up("caption", 5)
    data = {"regions": REGIONS, "caption": IDS}
    return data, keras.Model([regions, caption], layers.Dense(3)(RegionAttention()(x, regions)))


@pytest.mark.parametrize("build", [lambda: describe_image(4), attend_to_image], ids=["mean", "attention"])
def test_input_of_fixed_length_without_padding_gets_none(build: Callable[[], Case]) -> None:
    """The regions of an image are as many in each row."""
    report = check(build)
    assert report.passed
    assert get_verdict(report) == "clean"


def test_input_of_free_length_without_padding_gets_some() -> None:
    """A mean over timesteps that happen to have no padding counts padding in other data."""
    report = check(lambda: describe_image(None))
    assert report.leak is not None
    assert [probe.name for probe in report.leak.probes if probe.leaks] == ["columns"]


class FloatMaskAttention(layers.Layer):
    """Takes the mask as numbers, in a second argument."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key = layers.Dense(4), layers.Dense(4)

    def call(self, x: Any, valid_mask: Any) -> Any:
        scores = ops.matmul(self.query(x), ops.transpose(self.key(x), (0, 2, 1)))
        return ops.matmul(ops.softmax(scores + (1.0 - valid_mask[:, None, :]) * -1e30), x)


class ConvolveAndAttend(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.look, self.convolve = layers.Embedding(12, 4), layers.Conv1D(4, 3, padding="same", name="convolve")
        self.attend, self.head = FloatMaskAttention(), layers.Dense(1)

    def call(self, ids: Any) -> Any:
        x = self.convolve(self.look(ids))
        return self.head(x + self.attend(x, ops.cast(ops.not_equal(ids, 0), "float32")))


def test_attention_with_a_mask_of_numbers_is_not_to_blame() -> None:
    report = check(lambda: ({"ids": IDS}, ConvolveAndAttend()))
    assert [call for _, call in list_errors(report)] == ["convolve"]
    assert "MSK107" not in list_codes(report)


class PairAttention(layers.Layer):
    """Adds features of pairs of timesteps to the scores."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.bias = layers.Dense(4), layers.Dense(4), layers.Dense(1)

    def call(self, x: Any, pairs: Any, valid: Any) -> Any:
        scores = ops.matmul(self.query(x), ops.transpose(self.key(x), (0, 2, 1))) + self.bias(pairs)[..., 0]
        return ops.matmul(ops.softmax(ops.where(valid[:, None, :], scores, -1e9)), x)


class Particles(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.attend, self.head = layers.Dense(4, "gelu"), PairAttention(), layers.Dense(2)

    def call(self, inputs: Any) -> Any:
        valid = ops.cast(inputs["mask"], "bool")
        x = self.embed(inputs["particles"])
        x = x + self.attend(x, inputs["pairs"], valid)
        return self.head(ops.sum(ops.where(valid[..., None], x, 0.0), axis=1))


def attend_by_pairs() -> Case:
    rng = np.random.default_rng(2)
    both = VALID[:, :, None] & VALID[:, None, :]
    pairs = rng.uniform(0.2, 1, (*both.shape, 2)).astype("float32") * both[..., None]
    data = {"particles": make_series(3), "pairs": pairs, "mask": VALID.astype("float32")}
    return data, Particles()


def test_features_of_pairs_have_padding_on_two_axes() -> None:
    report = check(attend_by_pairs)
    assert report.passed
    assert get_verdict(report) == "clean"


# Statistics in training.


def normalise_before_rnn(repaired: bool) -> Case:
    """Return a model that leaks as well."""
    ids = keras.Input((None,), dtype="int32", name="ids")
    look = layers.Embedding(12, 4, mask_zero=True, name="look")
    normalise, rnn = layers.BatchNormalization(name="normalise"), layers.LSTM(3, name="rnn")
    x = look(ids) * 2.0
    if repaired:
        x = normalise(x, mask=look.compute_mask(ids))
        x = rnn(x, mask=look.compute_mask(ids))
    else:
        x = rnn(normalise(x))
    return {"ids": IDS}, keras.Model(ids, layers.Dense(2)(x))


def normalise_before_mean(repaired: bool) -> Case:
    """Return a model of which only statistics in training include padding."""
    ids = keras.Input((None,), dtype="int32", name="ids")
    look = layers.Embedding(12, 4, mask_zero=True, name="look")
    normalise = layers.BatchNormalization(name="normalise")
    x = look(ids) * 2.0
    x = normalise(x, mask=look.compute_mask(ids)) if repaired else normalise(x)
    x = layers.GlobalAveragePooling1D()(x, mask=look.compute_mask(ids))
    return {"ids": IDS}, keras.Model(ids, layers.Dense(2)(x))


@pytest.mark.parametrize(
    ("build", "leaks"), [(normalise_before_rnn, True), (normalise_before_mean, False)], ids=["leaks", "clean"]
)
def test_statistics_in_training_are_repaired_at_their_layer(build: Callable[[bool], Case], leaks: bool) -> None:
    report = check(lambda: build(False))
    finding = get_finding(report, "MSK109")
    assert finding.repair is not None
    assert finding.repair.code == "normalise(..., mask=look.compute_mask(ids))"
    assert finding.fix.endswith(": in training, padding then changes its results by 0.")
    assert ("together with the repairs of the leak" in finding.fix) is leaks
    assert list_repairs(report) == ([("pass-mask", "rnn")] if leaks else [])
    repaired = check(lambda: build(True))
    assert repaired.passed
    assert "MSK109" not in list_codes(repaired)


# Padding that layers see in features.


def mask_zero_row(masked: bool) -> Case:
    """Look up ids in a table that can be trained, and whose row for padding is zeros."""
    table = np.random.default_rng(0).uniform(0.2, 1, (12, 4)).astype("float32")
    table[0] = 0
    ids = keras.Input((None,), dtype="int32", name="ids")
    x = layers.Embedding(12, 4, embeddings_initializer=keras.initializers.Constant(table))(ids)
    x = layers.LSTM(3)(layers.Masking(0.0)(x)) if masked else layers.GlobalAveragePooling1D(name="mean")(x)
    return {"ids": IDS}, keras.Model(ids, layers.Dense(2)(x))


def test_zeros_for_padding_that_are_masked_stay_zeros_in_training() -> None:
    """No gradient reaches the row of the table."""
    report = check(lambda: mask_zero_row(masked=True))
    assert report.passed
    assert get_verdict(report) == "clean"


def test_zeros_for_padding_that_are_averaged_leak() -> None:
    report = check(lambda: mask_zero_row(masked=False))
    assert get_verdict(report) == "leaks"
    assert list_errors(report) == [("MSK104", "mean")]


N_WORDS = np.array([[3, 1, 2, 3], [2, 3, 1, 0], [1, 2, 2, 3], [3, 2, 0, 0]])
"""Words of each sentence, of which the features have room for 3."""


def read_sentences(repaired: bool) -> Case:
    words = keras.Input((4, 3, 2), name="words")
    hide = layers.TimeDistributed(layers.Masking(0.0), name="hide")
    read = layers.TimeDistributed(layers.LSTM(3), name="read")
    x = hide(words)
    x = read(x, mask=keras.ops.any(keras.ops.not_equal(words, 0), axis=-1)) if repaired else read(x)
    x = layers.GlobalAveragePooling1D()(x, mask=ops.any(ops.not_equal(words, 0), axis=(2, 3)))
    features = np.random.default_rng(8).uniform(0.2, 1, (*N_WORDS.shape, 3, 2)).astype("float32")
    features[np.arange(3) >= N_WORDS[..., None]] = 0
    return {"words": features}, keras.Model(words, layers.Dense(1)(x))


def test_mask_of_words_that_a_layer_around_masking_drops_is_passed() -> None:
    report = check(lambda: read_sentences(repaired=False))
    assert f"{np.sum(3 - N_WORDS[N_WORDS > 0])} padded places inside" in str(report)
    assert list_errors(report) == [("MSK101", "hide")]
    assert list_repairs(report) == [("pass-mask", "read")]
    assert list_lines(report) == ["read(..., mask=keras.ops.any(keras.ops.not_equal(words, 0), axis=-1))"]
    assert get_verdict(check(lambda: read_sentences(repaired=True))) == "clean"


# A fault of Keras.


@pytest.fixture
def _miscounting_keras() -> None:
    """Skip a test if ``TimeDistributed`` keeps the number of timesteps where that is free."""
    import tensorflow as tf

    layer = layers.TimeDistributed(layers.Dense(2))
    run = tf.function(layer, input_signature=[tf.TensorSpec((None, None, 3))])
    if run(tf.zeros((2, 4, 3))).shape[1] == 4:
        pytest.skip("TimeDistributed has no fault in this version of Keras")


def distribute(timesteps: int | None, has_code: bool) -> Case:
    ids = keras.Input((timesteps,), dtype="int32", name="ids")
    x = layers.GRU(3, return_sequences=True)(layers.Embedding(12, 4)(ids))
    if has_code:
        x = layers.Lambda(lambda t: t * 2.0)(x)
    return {"ids": IDS}, keras.Model(ids, layers.TimeDistributed(layers.Dense(2), name="tags")(x))


@pytest.mark.usefixtures("_miscounting_keras")
@pytest.mark.parametrize("has_code", [False, True])
def test_layer_that_miscounts_timesteps_is_reported_and_not_the_model(has_code: bool) -> None:
    report = check(lambda: distribute(None, has_code))
    assert report.passed
    assert get_verdict(report) == "clean"
    finding = get_finding(report, "MSK402")
    assert (finding.severity, finding.call, finding.evidence["calls"]) == ("info", "tags", ["tags"])


@pytest.mark.parametrize("has_code", [False, True])
def test_layer_that_gets_a_fixed_number_of_timesteps_does_not_miscount(has_code: bool) -> None:
    assert "MSK402" not in list_codes(check(lambda: distribute(6, has_code)))


# Layers that move timesteps, or pool windows of them.


def zero_pad_and_convolve(kit: SimpleNamespace | None) -> Case:
    """Return a model, with the repairs if there are classes for them."""
    ids = keras.Input((None,), dtype="int32", name="ids")
    look, rnn = layers.Embedding(12, 4, mask_zero=True, name="look"), layers.LSTM(3, name="rnn")
    x = look(ids)
    if kit is not None:
        x = kit.ZeroPadded()(x)
    x = layers.Conv1D(4, 3)(layers.ZeroPadding1D((1, 1), name="widen")(x))
    x = rnn(x, mask=look.compute_mask(ids)) if kit is not None else rnn(x)
    return {"ids": IDS}, keras.Model(ids, layers.Dense(1)(x))


def test_padding_is_set_to_zero_before_timesteps_are_added() -> None:
    report = check(lambda: zero_pad_and_convolve(None))
    assert list_repairs(report) == [("zero-padding", "widen"), ("pass-mask", "rnn")]
    assert list_lines(report) == ["x = ZeroPadded()(x)", "rnn(..., mask=look.compute_mask(ids))"]
    assert get_verdict(check(lambda: zero_pad_and_convolve(define_classes(report)))) == "clean"


def pool_branches(kit: SimpleNamespace | None) -> Case:
    """Return blocks of convolutions and a pooling side by side, with the repairs if there are classes for them."""
    series = keras.Input((None, 3), name="series")
    masking, mean = layers.Masking(0.0, name="masking"), layers.GlobalAveragePooling1D(name="mean")
    x = masking(series)
    for block in range(2):
        y = x
        if kit is not None:
            x = kit.ZeroPadded()(x, mask=masking.compute_mask(series))
        convolved = [layers.Conv1D(2, size, padding="same", name=f"convolve_{size}_{block}")(x) for size in (3, 2)]
        kind = layers.MaxPooling1D if kit is None else kit.MaskedMaxPooling1D
        pool = kind(3, strides=1, padding="same", name=f"pool_{block}")
        needs_mask = kit is not None and block == 1
        pooled = pool(y, mask=masking.compute_mask(series)) if needs_mask else pool(y)
        x = layers.Concatenate()([*convolved, pooled])
    x = mean(x) if kit is None else keras.layers.GlobalAveragePooling1D()(x, mask=masking.compute_mask(series))
    data = (make_series(3) - 0.7) * VALID[..., None]
    return {"series": data}, keras.Model(series, layers.Dense(2)(x))


def test_pooling_after_a_lost_mask_gets_it_in_its_call() -> None:
    """The code of a class that several repairs need is listed once."""
    report = check(lambda: pool_branches(None))
    assert list_lines(report) == [
        *["x = ZeroPadded()(x, mask=masking.compute_mask(series))"] * 4,
        "pool_1(..., mask=masking.compute_mask(series))",
        "keras.layers.GlobalAveragePooling1D()(x, mask=masking.compute_mask(series))",
    ]
    listed = str(report)
    assert [listed.count(f"class {name}(") for name in ("ZeroPadded", "MaskedMaxPooling1D")] == [1, 1]
    assert get_verdict(check(lambda: pool_branches(define_classes(report)))) == "clean"


# The headings of repairs.


def test_heading_of_weights_names_the_loss() -> None:
    ids = keras.Input((None,), dtype="int32", name="ids")
    model = keras.Model(ids, layers.Dense(1)(layers.Embedding(12, 4)(ids)) * 2.0)
    model.compile(loss="mse")
    report = maskcli.check(IDS, model=model, targets=np.where(VALID, 0.1 * IDS, 5.0)[..., None])
    repair = get_finding(report, "MSK301").repair
    assert repair is not None
    assert repair.kind == "loss-weights"
    assert "Repairs  tried: the loss then leaves padding out\n" in str(report)
