"""Models of kinds that people publish: their verdicts, the calls at fault, and the code of their repairs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

import maskcli
from maskcli.records.check import CheckReport

pytestmark = pytest.mark.slow(share=1 / 2)

Case = tuple[dict[str, Any], keras.Model]

LENGTHS = np.array([6, 3, 4, 2])
VALID = np.arange(6) < LENGTHS[:, None]
IDS = np.where(VALID, np.random.default_rng(3).integers(1, 10, VALID.shape), 0).astype("int32")
PRE_PADDED = np.stack([np.roll(row, 6 - length) for row, length in zip(IDS, LENGTHS, strict=True)])


def make_series(size: int, value: float = 0.0, seed: int = 0) -> np.ndarray:
    """Return features ``(4, 6, size)``, none of which is 0, with padding of this value."""
    series = np.random.default_rng(seed).uniform(0.2, 1, (*VALID.shape, size)).astype("float32")
    series[~VALID] = value
    return series


def look_up(input_name: str = "ids", size: int = 4, **options: Any) -> tuple[Any, Any]:
    ids = keras.Input((None,), dtype="int32", name=input_name)
    return ids, layers.Embedding(12, size, **{"mask_zero": True, "name": f"look_{input_name}", **options})(ids)


def check(build: Callable[[], Case], seed: int = 0, **options: Any) -> CheckReport:
    keras.utils.set_random_seed(seed)
    with warnings.catch_warnings(action="ignore"):
        data, model = build()
        return maskcli.check(data, model=model, **options)


def get_verdict(report: CheckReport) -> str:
    assert report.leak is not None
    return report.leak.verdict


def list_errors(report: CheckReport) -> list[tuple[str, str | None]]:
    return [(finding.code, finding.call) for finding in report.findings if finding.severity == "error"]


def join_code(report: CheckReport) -> str:
    return "\n".join(repair.code for repair in report.repairs)


# The call at fault.


def add_by_operator() -> Case:
    ids, x = look_up()
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 2, name="attend")(x, x))
    return {"ids": IDS}, keras.Model(ids, layers.Dense(1)(layers.GlobalAveragePooling1D()(x)))


def test_sum_with_attention_is_to_blame_and_not_the_attention() -> None:
    """The attention takes the mask off its input, but its result carries it."""
    assert list_errors(check(add_by_operator)) == [("MSK101", "add")]


def mask_twice() -> Case:
    series = keras.Input((None, 3), name="series")
    x = layers.Dense(4)(layers.Masking(0.0, name="first")(series))
    x = layers.LSTM(4, name="rnn")(layers.Masking(0.0, name="second")(x))
    return {"series": make_series(3)}, keras.Model(series, x)


def test_masking_after_a_layer_with_a_bias_is_to_blame() -> None:
    """A bias of 0 lets the second mask be right until the model is trained."""
    report = check(mask_twice)
    assert list_errors(report) == [("MSK112", "second")]
    assert [repair.call for repair in report.repairs] == ["rnn"]


class Decoder(layers.Layer):
    """Attends to its first input, and then to the second one, with the masks of both."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.supports_masking = True
        self.own = layers.MultiHeadAttention(1, 4)
        self.cross = layers.MultiHeadAttention(1, 4)

    def call(self, inputs: Any, mask: Any = None) -> Any:
        x, encoded = inputs
        own, other = (None, None) if mask is None else mask
        x = x + self.own(x, x, query_mask=own, use_causal_mask=True)
        return x + self.cross(x, encoded, query_mask=own, key_mask=other)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:  # noqa: ARG002
        return None if mask is None else mask[0]


class LookUp(layers.Layer):
    """Looks up ids in an Embedding of its own, and makes the mask."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.supports_masking = True
        self.table = layers.Embedding(12, 4)

    def call(self, ids: Any) -> Any:
        return self.table(ids)

    def compute_mask(self, ids: Any, mask: Any = None) -> Any:  # noqa: ARG002
        return ops.not_equal(ids, 0)


def encode_and_decode() -> Case:
    source, target = (keras.Input((None,), dtype="int32", name=name) for name in ("source", "target"))
    x, y = LookUp()(source), LookUp()(target)
    x = layers.Add()([x, layers.MultiHeadAttention(1, 4, name="attend")(x, x)])
    data = {"source": IDS, "target": IDS[::-1]}
    return data, keras.Model([source, target], layers.Dense(3)(Decoder(name="decoder")([y, x])))


def test_encoder_that_loses_the_mask_of_a_decoder_is_to_blame() -> None:
    report = check(encode_and_decode)
    assert list_errors(report) == [("MSK101", "attend")]
    assert "x is the input of attend and y its result, after the call" in join_code(report)


def read_both_ways() -> Case:
    ids, x = look_up()
    forth = layers.LSTM(3, return_sequences=True)(x)
    back = layers.LSTM(3, return_sequences=True, go_backwards=True, name="back")(x)
    return {"ids": IDS}, keras.Model(ids, layers.Dense(2)(layers.Concatenate(name="both")([forth, back])))


def test_sum_of_directions_is_not_to_blame_for_a_turned_one() -> None:
    assert list_errors(check(read_both_ways)) == [("MSK106", "back")]


class Pointer(layers.Layer):
    """Weights timesteps of its first input by each timestep of the second one, with padding among them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.supports_masking = True

    def build(self, shapes: Any) -> None:
        self.first = self.add_weight(shape=(shapes[0][-1], 3))
        self.second = self.add_weight(shape=(shapes[1][-1], 3))
        self.score = self.add_weight(shape=(3, 1))

    def call(self, inputs: Any, mask: Any = None) -> Any:  # noqa: ARG002
        encoded, decoded = inputs
        both = ops.matmul(encoded, self.first)[:, None] + ops.matmul(decoded, self.second)[:, :, None]
        return ops.softmax(ops.squeeze(ops.matmul(ops.tanh(both), self.score), -1))

    def compute_output_shape(self, shapes: Any) -> Any:
        return shapes[0][0], shapes[1][1], shapes[0][1]

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:  # noqa: ARG002
        return mask[1] if mask else None


def point() -> Case:
    points, order = keras.Input((None, 2), name="points"), keras.Input((None, 2), name="order")
    x, *state = layers.LSTM(3, return_sequences=True, return_state=True)(layers.Masking(-1.0)(points))
    y = layers.LSTM(3, return_sequences=True)(layers.Masking(-1.0)(order), initial_state=state)
    data = {"points": make_series(2, -1.0), "order": make_series(2, -1.0, seed=1)[::-1, :5]}
    return data, keras.Model([points, order], Pointer(name="pointer")([x, y]))


def test_own_layer_that_points_at_timesteps_is_repaired() -> None:
    report = check(point)
    assert list_errors(report) == [("MSK107", "pointer")]
    assert [repair.call for repair in report.repairs] == ["pointer/softmax"]


# Models that are right.


class MaskedByOther(layers.Masking):
    """Masks the timesteps at which its second input is 0."""

    def call(self, inputs: Any) -> Any:
        seen = ops.any(ops.not_equal(inputs[1], self.mask_value), axis=-1, keepdims=True)
        return inputs[0] * ops.cast(seen, inputs[0].dtype)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:  # noqa: ARG002
        return super().compute_mask(inputs[1])

    def compute_output_shape(self, shapes: Any) -> Any:
        return shapes[0]


def mask_by_other() -> Case:
    names = {"values": 2, "seen": 2, "hours": 1}
    values, seen, hours = inputs = [keras.Input((None, size), name=name) for name, size in names.items()]
    masked = [MaskedByOther()([values, seen]), layers.Masking()(seen), MaskedByOther()([hours, seen])]
    passed = make_series(1).cumsum(axis=1) * VALID[..., None]
    passed[:, 0] = 0
    data = {"values": make_series(2), "seen": (make_series(2) > 0).astype("float32"), "hours": passed}
    return data, keras.Model(inputs, layers.Dense(1)(layers.GRU(3)(layers.Concatenate()(masked))))


def test_time_that_starts_at_zero_is_no_padding_where_another_input_decides() -> None:
    report = check(mask_by_other)
    assert report.passed
    assert [model_input.padded_timesteps for model_input in report.inputs] == [9, 9, 9]


def weigh_by_another_input() -> Case:
    weights, angles = keras.Input((None,), name="weights"), keras.Input((None, 2), name="angles")
    kept = layers.Lambda(lambda t: t * ops.cast(ops.not_equal(t, 0.0), "float32"))(weights)
    x = layers.Dot(1)([kept, layers.Dense(4, activation="relu")(angles)])
    data = {"weights": make_series(1)[..., 0], "angles": make_series(2, seed=1)}
    return data, keras.Model([weights, angles], layers.Dense(2)(x))


def weigh_by_features() -> Case:
    series = keras.Input((None, 3), name="series")
    kept = layers.Lambda(lambda t: ops.cast(ops.any(ops.not_equal(t, 0.0), axis=-1), "float32"))(series)
    x = layers.Dot(1)([kept, layers.Dense(4, activation="relu")(series)])
    return {"series": make_series(3)}, keras.Model(series, layers.Dense(2)(x))


def mask_by_lambda() -> Case:
    ids = keras.Input((None,), name="ids")
    mask = layers.Lambda(lambda t: ops.cast(ops.greater(ops.expand_dims(t, 2), 0), "float32"))(ids)
    x = layers.Lambda(lambda pair: pair[0] * pair[1])([layers.Embedding(12, 4)(ids), mask])
    x = layers.Lambda(lambda pair: ops.max(pair[0] - (1 - pair[1]) * 1e10, 1))([x, mask])
    return {"ids": IDS}, keras.Model(ids, layers.Dense(3)(x))


@pytest.mark.parametrize("build", [weigh_by_another_input, weigh_by_features, mask_by_lambda])
def test_numbers_that_a_model_makes_into_a_mask_are_no_features(build: Callable[[], Case]) -> None:
    report = check(build)
    assert report.passed
    assert get_verdict(report) == "clean"


class ExponentAttention(layers.Layer):
    """Takes the maximum over all keys before it leaves padding out, which only changes how numbers are rounded."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.supports_masking = True

    def call(self, x: Any, mask: Any = None) -> Any:
        scores = ops.matmul(x, ops.transpose(x, (0, 2, 1)))
        weights = ops.exp(scores - ops.max(scores, axis=-1, keepdims=True)) * ops.cast(mask, "float32")[:, None, :]
        return ops.matmul(weights / ops.sum(weights, axis=-1, keepdims=True), x)


def attend_by_exponents() -> Case:
    ids, x = look_up(size=6)
    return {"ids": IDS}, keras.Model(ids, layers.Dense(3)(layers.LayerNormalization()(ExponentAttention()(x))))


@pytest.mark.parametrize("seed", [0, 3, 5])
def test_rounding_by_a_maximum_over_padding_is_no_leak(seed: int) -> None:
    report = check(attend_by_exponents, seed, quick=True)
    assert report.passed
    assert get_verdict(report) == "clean"


# The code of repairs.


def attend_by_dots() -> Case:
    (source, x), (target, y) = look_up("source"), look_up("target")
    x, *state = layers.LSTM(3, return_sequences=True, return_state=True)(x)
    y = layers.LSTM(3, return_sequences=True)(y, initial_state=state)
    weights = layers.Activation("softmax", name="weights")(layers.Dot((2, 2))([y, x]))
    joined = layers.Concatenate(name="join")([layers.Dot((2, 1))([weights, x]), y])
    data = {"source": IDS, "target": IDS[::-1]}
    return data, keras.Model([source, target], layers.Dense(5, activation="softmax")(joined))


def test_mask_of_an_output_is_not_repaired_by_what_repairs_a_leak() -> None:
    report = check(attend_by_dots)
    (widened,) = (finding for finding in report.findings if finding.code == "MSK102")
    assert widened.call == "join"
    assert widened.repair is None
    assert widened.fix.startswith("Not tried")
    assert [repair.call for repair in report.repairs] == ["weights"]


class TwoInputAttention(layers.Layer):
    """Takes a list of tensors; padding is among the keys."""

    def build(self, shapes: Any) -> None:
        self.kernel = self.add_weight(shape=(shapes[0][-1], shapes[1][-1]))

    def call(self, inputs: Any, mask: Any = None) -> Any:  # noqa: ARG002
        encoded, decoded = inputs
        keys = ops.transpose(ops.matmul(encoded, self.kernel), (0, 2, 1))
        return ops.matmul(ops.softmax(ops.matmul(decoded, keys)), encoded)

    def compute_output_shape(self, shapes: Any) -> Any:
        return *shapes[1][:2], shapes[0][2]


def attend_to_encoder() -> Case:
    source, target = keras.Input((None, 3), name="source"), keras.Input((None, 2), name="target")
    x, state = layers.GRU(3, return_sequences=True, return_state=True)(source)
    y = layers.GRU(3, return_sequences=True)(target, initial_state=state)
    joined = layers.Concatenate()([y, TwoInputAttention(name="attend")([x, y])])
    data = {"source": make_series(3), "target": make_series(2)[::-1]}
    return data, keras.Model([source, target], layers.Dense(2)(joined))


def test_code_for_a_layer_of_several_tensors_takes_its_mask_from_a_list() -> None:
    assert "keras.ops.where(mask[0][:, None, :], scores, -1e9)" in join_code(check(attend_to_encoder))


class Weighted(layers.Layer):
    """Weighs timesteps, and takes no mask."""

    def build(self, shape: Any) -> None:
        self.kernel = self.add_weight(shape=(shape[-1], 1))

    def call(self, x: Any) -> Any:
        return ops.sum(ops.softmax(ops.matmul(x, self.kernel), axis=1) * x, axis=1)


def weigh_timesteps() -> Case:
    inputs = [keras.Input((6,), dtype="int32", name=name) for name in ("paths", "ends")]
    looked = [layers.Embedding(12, 2, name=f"look_{item.name}")(item) for item in inputs]
    x = Weighted(name="pool")(layers.Concatenate()(looked))
    return {"paths": IDS, "ends": IDS}, keras.Model(inputs, layers.Dense(2)(x))


def test_new_argument_for_a_mask_has_a_name_of_its_own() -> None:
    """The code of a layer without such an argument may have a variable ``mask``."""
    code = join_code(check(weigh_timesteps))
    assert "keras.ops.where(padding_mask[:, :, None], scores, -1e9)  # in Weighted.call(self, ..., padding_" in code
    assert "pool(..., padding_mask=look_paths.compute_mask(paths))" in code


class Inner(layers.Layer):
    def call(self, x: Any) -> Any:
        return ops.matmul(ops.softmax(ops.matmul(x, ops.transpose(x, (0, 2, 1)))), x)


class Outer(layers.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Inner()

    def call(self, x: Any) -> Any:
        return x + self.inner(x)


class Nested(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.look, self.outer = layers.Embedding(12, 4, mask_zero=True), Outer()

    def call(self, inputs: Any) -> Any:
        items, other = inputs
        return self.outer(self.look(items) * ops.expand_dims(ops.cast(other, "float32"), -1))


def nest() -> Case:
    return {"items": IDS, "other": IDS}, Nested()


def test_code_for_a_layer_inside_another_one_passes_the_mask_on() -> None:
    code = join_code(check(nest))
    assert "# in Inner.call(self, ..., padding_mask=None), before softmax" in code
    assert "self.inner(..., padding_mask=padding_mask)  # in Outer.call(self, ..., padding_mask=None)" in code
    assert "self.outer(..., padding_mask=self.look.compute_mask(items))" in code


def name_with_dashes() -> Case:
    ids, x = look_up("input-ids", name="embedding-seq")
    return {"input-ids": IDS}, keras.Model(ids, layers.LSTM(3, name="rnn")(x * 2.0))


def test_names_with_dashes_are_written_as_python_has_them() -> None:
    assert join_code(check(name_with_dashes)) == "rnn(..., mask=embedding_seq.compute_mask(input_ids))"


class TextCNN(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = layers.Embedding(12, 4, mask_zero=True)
        self.convs = [layers.Conv1D(3, size) for size in (2, 3)]
        self.pool = layers.GlobalMaxPooling1D()

    def call(self, ids: Any) -> Any:
        x = self.embedding(ids)
        return ops.concatenate([self.pool(conv(x)) for conv in self.convs], axis=-1)


def convolve_in_code() -> Case:
    return {"ids": PRE_PADDED}, TextCNN()


def convolve() -> Case:
    ids, x = look_up()
    branches = [layers.GlobalMaxPooling1D()(layers.Conv1D(3, size)(x)) for size in (2, 3)]
    return {"ids": PRE_PADDED}, keras.Model(ids, layers.Concatenate()(branches))


@pytest.mark.parametrize("build", [convolve_in_code, convolve])
def test_windows_after_padding_are_valid_if_all_of_their_timesteps_are(build: Callable[[], Case]) -> None:
    report = check(build)
    kept = [repair.code for repair in report.repairs if repair.kind == "keep-mask"]
    assert len(kept) == 2
    scope: dict[str, Any] = {"keras": keras}
    exec(kept[0], scope)  # noqa: S102
    for size in (1, 2, 3):
        layer = scope["MaskedConv1D"](2, size)
        for valid in (VALID, VALID[:, ::-1]):
            windows = np.lib.stride_tricks.sliding_window_view(valid, size, axis=1).all(axis=-1)
            mask = layer.compute_mask(None, ops.convert_to_tensor(valid))
            assert ops.convert_to_numpy(mask).tolist() == windows.tolist()


class SoftmaxByHand(layers.Layer):
    """Self-attention whose weights are exponentials, divided by their sum."""

    def __init__(self, repaired: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.repaired = repaired
        self.query, self.key = layers.Dense(3), layers.Dense(3)

    def call(self, x: Any, mask: Any = None) -> Any:
        scores = ops.matmul(self.query(x), ops.transpose(self.key(x), (0, 2, 1)))
        weights = ops.exp(scores - ops.max(scores, axis=-1, keepdims=True))
        if self.repaired:
            weights = ops.where(mask[:, None, :], weights, 0.0)
        return ops.matmul(weights / ops.sum(weights, axis=-1, keepdims=True), x)


def attend_by_hand(repaired: bool) -> Case:
    ids, x = look_up()
    x = layers.GlobalAveragePooling1D()(SoftmaxByHand(repaired, name="attend")(x))
    return {"ids": IDS}, keras.Model(ids, layers.Dense(2)(x))


def test_softmax_that_is_written_by_hand_is_repaired_at_its_exponentials() -> None:
    report = check(lambda: attend_by_hand(repaired=False))
    (repair,) = report.repairs
    assert repair.call == "attend/exp"
    assert repair.code.startswith(
        "x = keras.ops.where(mask[:, None, :], x, 0.0)  # in SoftmaxByHand.call(self, ..., mask"
    )
    assert get_verdict(check(lambda: attend_by_hand(repaired=True))) == "clean"
