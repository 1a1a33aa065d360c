"""Repairs of models that people publish: their code runs where it is pasted, and the leak is gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from maskcli.records.check import CheckReport
from tests.probes.test_public_models import (
    IDS,
    PRE_PADDED,
    VALID,
    Case,
    check,
    get_verdict,
    join_code,
    list_errors,
    look_up,
    make_series,
)

pytestmark = pytest.mark.slow(share=1 / 2)


def paste(report: CheckReport, call: str, **names: Any) -> Any:
    """Return the value of the last line of a repair, after the classes that all repairs define."""
    scope: dict[str, Any] = {"keras": keras, **names}
    for repair in report.repairs:
        for block in repair.code.split("\n\n\n"):
            if block.startswith("class "):
                exec(block, scope)  # noqa: S102 - the printed code is the subject of these tests
    code = next(repair.code for repair in report.repairs if repair.call == call)
    line = code.rpartition("\n")[2].partition("  # ")[0].partition(" = ")
    return eval(line[2] or line[0], scope)  # noqa: S307


# Images of text, and frames.

Layer = Callable[..., Any]


def read_as_image(reshape: Layer, convolution: Layer, pooling: Layer) -> Case:
    words = keras.Input((6,), dtype="int32", name="words")
    x = layers.Embedding(12, 4, mask_zero=True, name="look")(words)
    x = convolution(4, (2, 4), activation="relu", name="convolve")(reshape((6, 4, 1), name="as_image")(x))
    return {"words": IDS}, keras.Model(words, layers.Dense(2)(layers.Flatten()(pooling(x))))


@pytest.mark.parametrize(
    "pooling", [layers.MaxPooling2D((5, 1), strides=1, name="pool"), layers.GlobalMaxPooling2D(name="pool")]
)
def test_pooling_of_an_image_of_text_is_replaced_by_code_that_runs(pooling: Any) -> None:
    """The image has an axis between timesteps and features: `mask[..., None]` does not fit it."""
    report = check(lambda: read_as_image(layers.Reshape, layers.Conv2D, pooling))
    assert [repair.kind for repair in report.repairs] == ["keep-mask", "keep-mask", "mask-before-max"]
    scope: dict[str, Any] = {"keras": keras}
    for repair in report.repairs:
        exec(repair.code.rpartition("\n\n\n")[0] or repair.code, scope)  # noqa: S102
    model = lambda: read_as_image(  # noqa: E731
        scope["MaskedReshape"], scope["MaskedConv2D"], lambda x: paste(report, "pool", x=x)
    )
    assert get_verdict(check(model)) == "clean"


@pytest.mark.parametrize("how", ["Average", "Max"])
def test_pooling_over_time_and_joints_leaves_padding_out(how: str) -> None:
    rng = np.random.default_rng(0)
    frames = np.where(VALID[..., None, None], rng.uniform(0.2, 1, (*VALID.shape, 3, 2)), 0).astype("float32")

    def build(pool: Layer) -> Case:
        skeleton = keras.Input((None, 3, 2), name="skeleton")
        return {"skeleton": frames}, keras.Model(skeleton, layers.Dense(2)(pool(layers.Dense(4)(skeleton), skeleton)))

    report = check(lambda: build(lambda x, _: getattr(layers, f"Global{how}Pooling2D")(name="pool")(x)))
    assert get_verdict(report) == "leaks"
    repaired = check(lambda: build(lambda x, skeleton: paste(report, "pool", x=x, skeleton=skeleton)))
    assert get_verdict(repaired) == "clean"


# Attention.


class Bahdanau(layers.Layer):
    """Attends to values by the state of the layer that returned them, without a mask."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.first, self.second, self.score = layers.Dense(4), layers.Dense(4), layers.Dense(1)

    def call(self, query: Any, values: Any) -> Any:
        scores = self.score(ops.tanh(self.first(query)[:, None] + self.second(values)))
        return ops.sum(ops.softmax(scores, axis=1) * values, axis=1)


def test_attention_by_the_state_of_the_same_layer_is_repaired() -> None:
    """The state is the same without padding, up to rounding, although one of its features is almost 0."""

    def build() -> Case:
        ids, x = look_up()
        gru = layers.GRU(4, return_sequences=True, return_state=True, name="gru")
        values, state = gru(x)
        gru.set_weights([gru.get_weights()[0] * np.array([1, 1, 1, 1e-4] * 3), *gru.get_weights()[1:]])
        return {"ids": IDS}, keras.Model(ids, layers.Dense(2)(Bahdanau(name="attend")(state, values)))

    report = check(build)
    assert list_errors(report) == [("MSK101", "attend")]
    assert [repair.kind for repair in report.repairs] == ["mask-before-softmax"]


def test_softmax_of_a_single_score_takes_a_mask_that_fits() -> None:
    """Once the mask reaches the LSTM, Keras passes it on to ``Softmax(axis=1)`` and ``Multiply``, where it must fit."""

    def build(repaired: bool = False) -> Case:
        ids, x = look_up()
        rnn = layers.Bidirectional(layers.LSTM(4, return_sequences=True), name="rnn")
        x = rnn(x * 1.0, mask=ops.not_equal(ids, 0) if repaired else None)
        scores = layers.Dense(1, name="score")(x)
        lookup = type("Lookup", (), {"compute_mask": lambda self, y: ops.not_equal(y, 0)})()  # noqa: ARG005
        if repaired:
            weights = paste(report, "weigh", scores=scores, look_ids=lookup, ids=ids)
        else:
            weights = layers.Softmax(axis=1, name="weigh")(scores)
        x = ops.sum(layers.Multiply()([x, weights]), axis=1)
        return {"ids": IDS}, keras.Model(ids, layers.Dense(1)(x))

    report = check(build)
    assert {repair.kind for repair in report.repairs} == {"pass-mask", "mask-before-softmax"}
    assert "rnn(..., mask=look_ids.compute_mask(ids))" in join_code(report)
    assert "softmax(keras.ops.where(look_ids.compute_mask(ids)[:, :, None], scores, -1e9), axis=1)" in join_code(report)
    assert get_verdict(check(lambda: build(repaired=True))) == "clean"


def test_mask_of_features_that_reaches_a_softmax_fits_it() -> None:
    """Without a layer that makes a mask, it is computed from the values of the features."""
    series = keras.Input((None, 3), name="series")
    x = layers.LSTM(4, return_sequences=True, name="rnn")(series)
    weights = layers.Softmax(axis=1, name="weigh")(layers.Dense(1, activation="tanh")(x))
    model = keras.Model(series, layers.Flatten()(layers.Dot(axes=1)([weights, x])))
    features = np.stack([np.roll(row, -row.any(axis=-1).sum(), axis=0) for row in make_series(3)])
    report = check(lambda: ({"series": features}, model))
    mask = "keras.ops.any(keras.ops.not_equal(series, 0), axis=-1)"
    assert [repair.code.partition("  # ")[0] for repair in report.repairs] == [
        f"rnn(..., mask={mask})",
        f"weights = keras.ops.softmax(keras.ops.where({mask}[:, :, None], scores, -1e9), axis=1)",
    ]


def test_product_over_time_leaves_padding_out() -> None:
    def build(repaired: bool = False) -> Case:
        series = keras.Input((None, 3), name="series")
        masking = layers.Masking(0.0, name="masking")
        hazard = layers.Dense(1, activation="sigmoid", name="hazard")(
            layers.LSTM(3, return_sequences=True)(masking(series))
        )
        x = 1.0 - hazard
        survival = paste(report, "prod", x=x, masking=masking, series=series) if repaired else ops.prod(x, axis=1)
        return {"series": make_series(3)}, keras.Model(series, survival)

    report = check(build)
    assert [repair.kind for repair in report.repairs] == ["mask-before-prod"]
    assert get_verdict(check(lambda: build(repaired=True))) == "clean"


class Encode(layers.Layer):
    """Takes ids and segments as a list, and attends without a mask."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.table, self.segment = layers.Embedding(12, 4), layers.Embedding(2, 4)
        self.attend = layers.MultiHeadAttention(1, 4)

    def call(self, inputs: Any) -> Any:
        words, segments = inputs
        x = self.table(words) + self.segment(segments)
        return (x + self.attend(x, x))[:, 0]


def test_unpacked_arguments_are_named() -> None:
    def build() -> Case:
        inputs = [keras.Input((None,), dtype="int32", name=name) for name in ("ids", "segments")]
        data = {"ids": IDS, "segments": np.zeros_like(IDS)}
        return data, keras.Model(inputs, layers.Dense(1)(Encode(name="encode")(inputs)))

    assert "self.attend(..., value_mask=self.table.compute_mask(words))" in join_code(check(build))


class Reshaped(layers.Layer):
    """Gives its argument another value before it needs the mask of the first one."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.table, self.rnn = layers.Embedding(12, 4, mask_zero=True), layers.GRU(3)

    def call(self, x: Any) -> Any:
        x = self.table(x)
        x = x * ops.sigmoid(x)
        return self.rnn(x)


def test_rebound_argument_is_kept_first() -> None:
    ids = keras.Input((None,), dtype="int32", name="ids")
    code = join_code(check(lambda: ({"ids": IDS}, keras.Model(ids, Reshaped(name="encode")(ids)))))
    assert code.splitlines() == [
        "received_x = x  # first line of Reshaped.call",
        "self.rnn(..., mask=self.table.compute_mask(received_x))  # in Reshaped.call",
    ]


class Summarize(layers.Layer):
    """Takes the mask by another name, and pools without it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.pool = layers.GlobalAveragePooling1D()

    def call(self, x: Any, weights_mask: Any = None) -> Any:
        return self.pool(x * ops.cast(weights_mask, x.dtype)[..., None])


def test_mask_of_a_layer_with_two_tensors_has_the_name_that_keras_fills() -> None:
    x, valid = keras.Input((None, 3), name="x"), keras.Input((None,), dtype="bool", name="valid")
    y = Summarize(name="summarize")(layers.Dense(3)(x), weights_mask=valid)
    report = check(lambda: ({"x": make_series(3), "valid": VALID}, keras.Model([x, valid], y)))
    assert get_verdict(report) == "leaks"
    assert "mask=mask" not in join_code(report)


@pytest.mark.parametrize("masked", [False, True])
def test_rnn_with_a_list_of_states_receives_no_mask_by_itself(masked: bool) -> None:
    """Keras passes masks only to calls with a single argument of tensors, and a list of states is another one."""
    ids, static = keras.Input((None,), dtype="int32", name="ids"), keras.Input((2,), name="static")
    states = [layers.Dense(3)(static), layers.Dense(3)(static)]
    x = layers.Embedding(12, 4, mask_zero=masked, name="look")(ids)
    model = keras.Model([ids, static], layers.LSTM(3, name="rnn")(x, initial_state=states))
    data = {"ids": IDS, "static": np.ones((4, 2), "float32")}
    assert "rnn(..., mask=" in join_code(check(lambda: (data, model)))


class InstanceNorm(layers.Layer):
    """Loses the mask, and normalises by the statistics of all timesteps."""

    def call(self, x: Any) -> Any:
        return (x - ops.mean(x, axis=1, keepdims=True)) / ops.sqrt(ops.var(x, axis=1, keepdims=True) + 1e-5)


def test_operations_of_a_replaced_function_are_no_leak() -> None:
    def build() -> Case:
        ids, x = look_up()
        return {"ids": IDS}, keras.Model(ids, layers.LSTM(3)(InstanceNorm(name="norm")(x)))

    kinds = [repair.kind for repair in check(build).repairs]
    assert kinds == ["keep-mask", "mask-before-mean", "mask-before-var"]


# Autoencoders.


def repeat(sequential: bool, repaired: bool = False) -> Case:
    series = np.stack([np.roll(row, -row.any(axis=-1).sum(), axis=0) for row in make_series(2)])
    masking = layers.Masking(0.0, name="masking")
    encoder, again = layers.LSTM(4, name="encode"), layers.RepeatVector(6)
    decoder = layers.LSTM(4, return_sequences=True, name="decode")
    if sequential:
        return {"x": series}, keras.Sequential([keras.Input((6, 2), name="x"), masking, encoder, again, decoder])
    x = keras.Input((6, 2), name="x")
    mask = masking.compute_mask(x) if repaired else None
    return {"x": series}, keras.Model(x, decoder(again(encoder(masking(x))), mask=mask))


@pytest.mark.parametrize("sequential", [True, False])
def test_decoder_that_runs_through_padding_before_the_data_leaks(sequential: bool) -> None:
    """The state of an RNN is no position: it has run through as many timesteps as there is padding."""
    report = check(lambda: repeat(sequential))
    assert get_verdict(report) == "leaks"
    assert list_errors(report) == [("MSK104", "decode")]
    assert "decode(..., mask=masking.compute_mask(x))" in join_code(report)
    assert ("functional model" in report.findings[0].fix) is sequential
    assert get_verdict(check(lambda: repeat(False, repaired=True))) == "clean"


def test_decoder_of_data_with_padding_at_the_end_is_right() -> None:
    x = keras.Input((6, 2), name="x")
    y = layers.LSTM(4, return_sequences=True)(layers.RepeatVector(6)(layers.LSTM(4)(layers.Masking(0.0)(x))))
    assert get_verdict(check(lambda: ({"x": make_series(2)}, keras.Model(x, y)))) == "clean"


# Proofs.


def test_windows_that_the_number_of_timesteps_moves_have_no_repair() -> None:
    """-1e9 in windows of padding had raised the bounds of rounding above the leak."""

    def build() -> Case:
        series = keras.Input((None, 3), name="series")
        x = layers.Masking(0.0, name="masking")(series)
        x = layers.Conv1D(4, 3, padding="same", name="distil")(x)
        x = layers.LayerNormalization()(layers.MaxPooling1D(3, 2, padding="same", name="pool")(x))
        x = layers.LayerNormalization()(layers.Add()([x, layers.MultiHeadAttention(1, 4)(x, x)]))
        return {"series": make_series(3)}, keras.Model(series, layers.GlobalAveragePooling1D()(x))

    report = check(build)
    assert get_verdict(report) == "leaks"
    assert not report.repairs


def test_rows_of_all_lengths_run_without_their_padding() -> None:
    """A row of one length may leak by itself, where the results of all others lie on a flat part of a function."""
    lengths = np.array([6, 5, 4, 3, 2, 1])
    ids = np.where(np.arange(6) < lengths[:, None], 1 + np.arange(36).reshape(6, 6) % 9, 0).astype("int32")

    class Mean(layers.Layer):
        def call(self, x: Any, mask: Any = None) -> Any:
            weights = ops.cast(mask, x.dtype)[..., None]
            count = ops.sum(weights, axis=1)
            return ops.where(count == 3, ops.mean(x, axis=1), ops.sum(x * weights, axis=1) / count)

    def build() -> Case:
        words, x = look_up("words")
        return {"words": ids}, keras.Model(words, Mean()(x))

    report = check(build)
    assert report.leak is not None
    alone = next(probe for probe in report.leak.probes if probe.name == "alone")
    assert (alone.leaks, alone.sample) == (True, 3)


def test_sum_over_pairs_leaves_out_pairs_with_padding() -> None:
    class Relate(layers.Layer):
        def __init__(self, masked: bool = False, **options: Any) -> None:
            super().__init__(**options)
            self.masked, self.relation = masked, layers.Dense(4, activation="relu", name="relation")

        def call(self, x: Any, mask: Any = None) -> Any:
            count = ops.shape(x)[1]
            pairs = [ops.repeat(x[:, :, None], count, axis=2), ops.repeat(x[:, None], count, axis=1)]
            x = self.relation(ops.concatenate(pairs, axis=-1))
            if self.masked:
                x = keras.ops.where(mask[:, :, None, None], x, 0.0)
                x = keras.ops.where(mask[:, None, :, None], x, 0.0)
            return ops.sum(x, axis=(1, 2))

    def build(masked: bool = False) -> Case:
        ids, x = look_up()
        return {"ids": IDS}, keras.Model(ids, layers.Dense(1)(Relate(masked, name="relate")(x)))

    lines = [line.partition("  # ")[0] for line in join_code(check(build)).splitlines() if line]
    assert lines == [f"x = keras.ops.where(mask[{axes}], x, 0.0)" for axes in (":, :, None, None", ":, None, :, None")]
    assert get_verdict(check(lambda: build(masked=True))) == "clean"


def test_repair_of_a_model_of_one_length_is_no_proof() -> None:
    """Only other content can be tried, so that the repaired model stays unproven, as its own check says."""

    def build() -> Case:
        series = keras.Input((6, 3), name="series")
        x = layers.LSTM(4, return_sequences=True)(series)
        weights = layers.Permute((2, 1))(layers.Dense(6, activation="softmax")(layers.Permute((2, 1))(x)))
        return {"series": make_series(3)}, keras.Model(series, ops.sum(x * weights, axis=1))

    report = check(build)
    assert [repair.kind for repair in report.repairs] == ["mask-input"]
    assert "which is no proof: only the content of padding could be changed" in report.findings[0].fix


def test_mask_that_a_layer_receives_by_position_is_not_made_by_it() -> None:
    """Other content at padding was not tried, as after a ``Masking``, which looks for one value."""

    class Pass(layers.Layer):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.inner = layers.LSTM(4, return_sequences=True)

        def call(self, x: Any, valid: Any) -> Any:
            return self.inner(x, mask=valid)

    x, valid = keras.Input((None, 3), name="x"), keras.Input((None,), dtype="bool", name="valid")
    y = layers.GlobalAveragePooling1D()(Pass()(layers.Dense(4)(x), valid))
    report = check(lambda: ({"x": make_series(3), "valid": VALID}, keras.Model([x, valid], y)))
    assert report.leak is not None
    assert next(probe for probe in report.leak.probes if probe.name == "replace").applicable


def test_padding_before_the_data_is_only_a_remark_where_cudnn_may_run() -> None:
    def build(layer: Any) -> Case:
        ids, x = look_up()
        return {"ids": PRE_PADDED}, keras.Model(ids, layer(x))

    codes = [
        {finding.code for finding in check(lambda layer=layer: build(layer)).findings}
        for layer in (layers.GRU(2), layers.GlobalAveragePooling1D())
    ]
    assert ["MSK006" in found for found in codes] == [True, False]
