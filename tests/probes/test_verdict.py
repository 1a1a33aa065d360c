"""A verdict is clean only if the probes could see every leak; right models are clean, and wrong ones leak."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras.src.random.seed_generator import global_seed_generator

from maskcli.probes.leak import probe_leak
from maskcli.records.inputs import ModelInput
from maskcli.records.leak import Leak, Probe
from maskcli.trace.run import ModelRun

pytestmark = [
    pytest.mark.filterwarnings("ignore:Layer:UserWarning"),
    pytest.mark.slow(share=1 / 3),
]

WORDS = 12
ROWS = [[3, 1, 4, 1, 5], [9, 2], [6, 5, 3], [8]]


def pad(rows: list[list[int]], length: int | None = None) -> np.ndarray:
    tokens = np.zeros((len(rows), length or max(map(len, rows))), "int32")
    for index, row in enumerate(rows):
        tokens[index, : len(row)] = row
    return tokens


def ids(rows: list[list[int]], name: str = "words", length: int | None = None) -> ModelInput:
    tokens = pad(rows, length)
    return ModelInput(name, tokens, tokens != 0, "ids")


def series(valid: np.ndarray, width: int = 3, fill: float = 0.0, name: str = "series") -> ModelInput:
    values = np.random.default_rng(2).normal(size=(*valid.shape, width)).astype("float32")
    values[~valid] = fill
    return ModelInput(name, values, valid, "features")


def judge(model: Any, *inputs: ModelInput) -> Leak:
    with warnings.catch_warnings(action="ignore"):
        return probe_leak(ModelRun(model, inputs), np.arange(len(inputs[0].values))).leak


def by_name(leak: Leak) -> dict[str, Probe]:
    return {probe.name: probe for probe in leak.probes}


def embed(head: Callable[[Any], Any], length: int | None = None, mask: bool = True, width: int = 4) -> Any:
    keras.utils.set_random_seed(3)
    tokens = keras.Input((length,), dtype="int32", name="words")
    with warnings.catch_warnings(action="ignore"):
        return keras.Model(tokens, head(layers.Embedding(WORDS, width, mask_zero=mask)(tokens)))


def steps(x: Any, **options: Any) -> Any:
    return layers.GRU(3, return_sequences=True, **options)(x)


def zero_padding(x: Any) -> Any:
    """Multiply by the mask that the tensor carries."""

    class Zero(layers.Layer):
        def call(self, inputs: Any, mask: Any = None) -> Any:
            return inputs * ops.cast(mask, inputs.dtype)[..., None]

    return Zero()(x)


# Clean, leaks, unproven.


def test_content_without_amount_is_unproven() -> None:
    leak = judge(embed(lambda x: layers.Dense(2)(layers.Flatten()(zero_padding(x))), 5), ids(ROWS))
    assert (leak.verdict, leak.leaks) == ("unproven", None)
    assert by_name(leak)["replace"].applicable
    assert not by_name(leak)["alone"].applicable
    assert "not its amount" in str(leak.reason)
    assert "one length" in str(leak.reason)


def test_random_model_is_unproven() -> None:
    class Jitter(layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs + np.random.default_rng().normal()

    leak = judge(embed(lambda x: layers.GRU(3)(Jitter()(x))), ids(ROWS))
    assert leak.verdict == "unproven"
    assert "two runs" in str(leak.reason)


def test_nothing_to_prove_without_padding_and_mask() -> None:
    leak = judge(embed(layers.GRU(3), mask=False), ids([[1, 2], [3, 4]]))
    assert (leak.verdict, leak.probes, leak.padded_by_maskcli) == ("unproven", (), False)
    assert str(leak.reason).startswith("nothing to prove")


def test_rows_without_valid_timestep_are_unproven() -> None:
    words = ModelInput("words", np.zeros((2, 3), "int32"), np.zeros((2, 3), bool), "ids")
    assert judge(embed(layers.GRU(3)), words).verdict == "unproven"


# Data without padding.


@pytest.mark.parametrize("rows", [[[1, 2, 3, 4], [5, 6, 7, 8]], [[1, 2, 3]], [[1], [2]]])
def test_full_rows_are_padded(rows: list[list[int]]) -> None:
    right = judge(embed(layers.GRU(3)), ids(rows))
    wrong = judge(embed(lambda x: layers.GlobalMaxPooling1D()(layers.Conv1D(3, 1)(x))), ids(rows))
    assert (right.verdict, right.padded_by_maskcli) == ("clean", True)
    assert (wrong.verdict, wrong.padded_by_maskcli) == ("leaks", True)


def test_full_rows_of_fixed_length_are_padded() -> None:
    rows = [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert judge(embed(layers.GRU(3), 4), ids(rows)).verdict == "clean"
    assert judge(embed(lambda x: layers.Dense(2)(layers.Flatten()(x)), 4), ids(rows)).verdict == "leaks"


def test_padding_has_the_value_of_the_masking_layer() -> None:
    full = series(np.ones((3, 6), bool))
    inputs = keras.Input((None, 3), name="series")
    keras.utils.set_random_seed(1)
    right = keras.Model(inputs, layers.GRU(2)(layers.Masking(-7.0)(inputs)))
    leak = judge(right, full)
    assert (leak.verdict, leak.padded_by_maskcli) == ("clean", True)


def test_mask_input_is_padded_with_its_input() -> None:
    full = series(np.ones((2, 5), bool))
    keep = ModelInput("keep", np.ones((2, 5), bool), np.ones((2, 5), bool), "mask")
    inputs = keras.Input((None, 3), name="series"), keras.Input((None,), dtype="bool", name="keep")
    right = keras.Model(inputs, layers.GlobalAveragePooling1D()(inputs[0], mask=inputs[1]))
    wrong = keras.Model(inputs, layers.GlobalMaxPooling1D()(inputs[0]))
    assert judge(right, full, keep).verdict == "clean"
    assert judge(wrong, full, keep).verdict == "leaks"


def test_unknown_padding_value_is_unproven() -> None:
    """The model masks id 1, which nothing shows; padding with 0 would be a token for it."""

    class MaskOne(layers.Layer):
        def compute_mask(self, inputs: Any, _previous: Any = None) -> Any:
            return ops.not_equal(inputs, 1)

        def call(self, inputs: Any) -> Any:
            return inputs + 0

    tokens = keras.Input((None,), dtype="int32", name="words")
    masked = MaskOne()(tokens)
    model = keras.Model(tokens, layers.GRU(3)(layers.Embedding(WORDS, 4)(masked), mask=ops.not_equal(tokens, 1)))
    leak = judge(model, ids([[2, 3, 4], [5, 6, 7]]))
    assert leak.verdict == "unproven"
    assert "marks the padding" in str(leak.reason)


# A fixed length.


class WithoutConfig(layers.Layer):
    """Cannot be rebuilt from a configuration."""

    def __init__(self, reduce: Callable[..., Any]) -> None:
        super().__init__()
        self.reduce = reduce

    def call(self, inputs: Any) -> Any:
        return self.reduce(inputs, axis=1)

    def get_config(self) -> Any:
        raise NotImplementedError


def test_fixed_length_with_lambda() -> None:
    """The mean over repeated states changes with their number."""
    leak = judge(embed(lambda x: layers.Lambda(lambda y: ops.mean(y, axis=1))(steps(x)), 5), ids(ROWS))
    assert leak.verdict == "leaks"
    assert by_name(leak)["alone"].leaks
    assert not by_name(leak)["replace"].leaks


@pytest.mark.parametrize(("reduce", "verdict"), [(ops.sum, "clean"), (ops.mean, "leaks")])
def test_fixed_length_inside_nested_model(reduce: Any, verdict: str) -> None:
    """A sum of states that are zero at padding does not change with their number; a mean does."""
    inner_input = keras.Input((5, 4))
    head = WithoutConfig(reduce)
    keras.utils.set_random_seed(3)
    words = keras.Input((5,), dtype="int32", name="words")
    states = steps(layers.Embedding(WORDS, 4, mask_zero=True)(words), zero_output_for_mask=True)
    inner_input = keras.Input((5, 3))
    inner = keras.Model(inner_input, head(layers.Dense(2, use_bias=False)(inner_input)))
    leak = judge(keras.Model(words, inner(states)), ids(ROWS))
    assert leak.verdict == verdict


@pytest.mark.parametrize(("pool", "verdict"), [("average", "clean"), ("max", "leaks")])
def test_static_input_keeps_its_shape(pool: str, verdict: str) -> None:
    words, age = keras.Input((5,), dtype="int32", name="words"), keras.Input((2,), name="age")
    keras.utils.set_random_seed(3)
    x = layers.Embedding(WORDS, 4, mask_zero=True)(words)
    pooled = layers.GlobalAveragePooling1D()(x) if pool == "average" else layers.GlobalMaxPooling1D()(x)
    model = keras.Model([words, age], layers.Dense(2)(layers.Concatenate()([pooled, age])))
    static = ModelInput("age", np.ones((4, 2), "float32"), None, "static")
    assert judge(model, ids(ROWS), static).verdict == verdict


def test_repeated_vector_gets_another_length() -> None:
    autoencoder = embed(lambda x: layers.Dense(2)(steps(layers.RepeatVector(5)(layers.GRU(4)(x)))), 5)
    leak = judge(autoencoder, ids(ROWS))
    assert leak.verdict == "clean"
    assert by_name(leak)["alone"].applicable
    repeat = next(layer for layer in autoencoder.layers if isinstance(layer, layers.RepeatVector))
    assert repeat.n == 5


def test_reshape_gets_another_length() -> None:
    assert judge(embed(lambda x: layers.Reshape((5, 6))(layers.Dense(6)(steps(x))), 5), ids(ROWS)).verdict == "clean"


def test_constant_timesteps_are_no_leak() -> None:
    """Positions of a fixed number are added to a single timestep as to many, without an error."""
    table = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    model = embed(lambda x: layers.GlobalAveragePooling1D()(layers.Lambda(lambda y: y + table)(steps(x))), 5)
    leak = judge(model, ids([[1, 2, 3, 4, 5], [6]]))
    assert leak.verdict != "leaks" or "alone" not in {probe.name for probe in leak.probes if probe.leaks}


def test_input_shape_is_checked_again_afterwards() -> None:
    model = embed(layers.GRU(3), 5)
    judge(model, ids(ROWS))
    with pytest.raises(ValueError, match="expected shape"):
        model(pad(ROWS, 7))


def test_fixed_batch_is_filled_with_copies() -> None:
    tokens = keras.Input((None,), batch_size=4, dtype="int32", name="words")
    keras.utils.set_random_seed(0)
    x = layers.Embedding(WORDS, 4, mask_zero=True)(tokens)
    right = keras.Model(tokens, layers.GRU(3, stateful=True)(x))
    wrong = keras.Model(tokens, layers.GRU(3, stateful=True)(x[:, :]))
    assert judge(right, ids(ROWS)).verdict == "clean"
    assert judge(wrong, ids(ROWS)).verdict == "leaks"


# Weights.


class Neighbours(layers.Layer):
    """Adds the scores of both neighbours, also at padding, as a layer of a CRF may."""

    def call(self, inputs: Any) -> Any:
        before = ops.pad(inputs[:, :-1], [[0, 0], [1, 0], [0, 0]])
        after = ops.pad(inputs[:, 1:], [[0, 0], [0, 1], [0, 0]])
        return inputs + before + after


def test_zero_bias_hides_a_leak() -> None:
    """The states at padding are zero; the bias of the scores is, too, before any training."""
    model = embed(lambda x: Neighbours()(layers.Dense(2)(steps(x, zero_output_for_mask=True))))
    before = [weight.numpy().copy() for weight in model.weights]
    leak = judge(model, ids(ROWS))
    assert (leak.verdict, leak.weights) == ("leaks", "noisy")
    assert str(leak.first_call).startswith("neighbours")
    assert all(np.array_equal(old, new.numpy()) for old, new in zip(before, model.weights, strict=True))
    biased = embed(lambda x: Neighbours()(layers.Dense(2)(steps(x, zero_output_for_mask=True))))
    biased.layers[-2].bias.assign([1.0, -1.0])
    leak = judge(biased, ids(ROWS))
    assert (leak.verdict, leak.weights) == ("leaks", "as-loaded")


@pytest.mark.parametrize("size", [1e-4, 1.0, 1e3])
def test_noise_is_no_leak_of_a_right_model(size: float) -> None:
    model = embed(lambda x: layers.Dense(2)(layers.GRU(3)(x)))
    rng = np.random.default_rng(0)
    model.set_weights([size * rng.normal(size=weight.shape) for weight in model.get_weights()])
    assert judge(model, ids(ROWS)).verdict == "clean"


def test_frozen_weights_stay() -> None:
    """Nothing trains these biases, so that they remain zero."""
    model = embed(lambda x: Neighbours()(layers.Dense(2)(steps(x, zero_output_for_mask=True))))
    model.trainable = False
    assert judge(model, ids(ROWS)).verdict == "clean"


# Values that a mask is made of.


def frames() -> ModelInput:
    valid = np.arange(6) < np.array([[6], [2], [4]])
    values = np.random.default_rng(1).normal(size=(3, 6, 2, 3)).astype("float32")
    values[~valid] = 0
    return ModelInput("frames", values, valid, "features")


def test_masking_after_flattened_frames() -> None:
    inputs = keras.Input((None, 2, 3), name="frames")
    keras.utils.set_random_seed(0)
    flat = layers.TimeDistributed(layers.Flatten())(inputs)
    right = keras.Model(inputs, layers.GRU(3)(layers.Masking()(flat)))
    wrong = keras.Model(inputs, layers.GRU(3)(layers.Masking()(flat) * 1.0))
    assert judge(right, frames()).verdict == "clean"
    assert judge(wrong, frames()).verdict == "leaks"


class MeanByMask(keras.Model):
    """Takes a mask as numbers next to its ids."""

    def __init__(self, use: bool) -> None:
        super().__init__()
        self.table, self.use = layers.Embedding(WORDS, 3), use

    def call(self, inputs: Any) -> Any:
        x = self.table(inputs["words"])
        weight = ops.expand_dims(ops.cast(inputs["attention_mask"], x.dtype), -1)
        if not self.use:
            weight = ops.ones_like(weight)
        return ops.sum(x * weight, axis=1) / ops.maximum(ops.sum(weight, axis=1), 1)


@pytest.mark.parametrize("dtype", ["int32", "float32", "bool"])
@pytest.mark.parametrize(("use", "verdict"), [(True, "clean"), (False, "leaks")])
def test_mask_of_numbers_is_not_replaced(dtype: str, use: bool, verdict: str) -> None:
    words = ids(ROWS)
    assert words.valid is not None
    mask = ModelInput("attention_mask", words.valid.astype(dtype), words.valid, "mask")
    keras.utils.set_random_seed(0)
    assert judge(MeanByMask(use), words, mask).verdict == verdict


def test_float_mask_among_features_is_not_replaced() -> None:
    valid = np.arange(5) < np.array([[5], [2], [3]])
    weight = ModelInput("weight", valid[..., None].astype("float32"), valid, "features")
    inputs = keras.Input((None, 3), name="series"), keras.Input((None, 1), name="weight")
    mean = ops.sum(inputs[0] * inputs[1], axis=1) / ops.sum(inputs[1], axis=1)
    assert judge(keras.Model(inputs, mean), series(valid), weight).verdict == "clean"


def convolve(x: Any, mask: Any, times: int = 1) -> Any:
    for _ in range(times):
        x = layers.Conv1D(2, 3, padding="same")(x)
    return layers.GlobalAveragePooling1D()(x, mask=mask)


def test_convolution_after_masking_sees_zeros() -> None:
    """Masking returns zeros at padding, as the convolution assumes them past the ends of a row."""
    valid = np.arange(6) < np.array([[6], [2], [4]])
    inputs = keras.Input((None, 3), name="series")
    keras.utils.set_random_seed(0)
    masked = layers.Masking(-1.0)(inputs)
    mask = ops.any(ops.not_equal(inputs, -1.0), axis=-1)
    with warnings.catch_warnings(action="ignore"):
        once, twice = (keras.Model(inputs, convolve(masked, mask, times)) for times in (1, 2))
    right = judge(once, series(valid, fill=-1.0))
    assert right.verdict == "clean"
    assert "never has at padding" in str(by_name(right)["replace"].why)
    assert judge(twice, series(valid, fill=-1.0)).verdict == "leaks"


def test_convolution_after_embedding_sees_a_vector() -> None:
    tokens = keras.Input((None,), dtype="int32", name="words")
    x = layers.Embedding(WORDS, 3)(tokens)
    assert judge(keras.Model(tokens, convolve(x, ops.not_equal(tokens, 0))), ids(ROWS)).verdict == "leaks"


# Results of all kinds.


def test_maximum_by_operation() -> None:
    """Keras checks the shape of a maximum with an empty tensor, which is not a row without timesteps."""

    class Highest(layers.Layer):
        def call(self, inputs: Any) -> Any:
            return ops.max(inputs, axis=1)

    leak = judge(embed(lambda x: Highest()(steps(x, zero_output_for_mask=True))), ids(ROWS))
    assert leak.verdict == "leaks"
    assert by_name(leak)["alone"].leaks


def test_output_without_rows() -> None:
    """An output of shape (1, timesteps, features) belongs to no sample."""

    class WithTable(layers.Layer):
        def call(self, inputs: Any) -> Any:
            positions = ops.cast(ops.arange(ops.shape(inputs)[1]), inputs.dtype)
            return inputs, positions[None, :, None] * ops.ones((1, 1, 4))

    def head(x: Any) -> Any:
        y, table = WithTable()(x)
        return [layers.GRU(2)(y, mask=x._keras_mask), table]

    assert judge(embed(head), ids(ROWS)).verdict == "clean"


def test_gather_at_a_wrong_step() -> None:
    class Take(layers.Layer):
        def __init__(self, shift: int) -> None:
            super().__init__()
            self.shift = shift

        def call(self, inputs: Any, mask: Any = None) -> Any:
            last = ops.sum(ops.cast(mask, "int32"), axis=1) - 1
            last = ops.minimum(last + self.shift, ops.shape(inputs)[1] - 1)
            return ops.take_along_axis(inputs, last[:, None, None], axis=1)[:, 0]

    assert judge(embed(Take(0)), ids(ROWS)).verdict == "clean"
    assert judge(embed(Take(1)), ids(ROWS)).verdict == "leaks"


@pytest.mark.parametrize(("masked", "verdict"), [(True, "clean"), (False, "leaks")])
def test_softmax_over_timesteps(masked: bool, verdict: str) -> None:
    """A pointer network chooses a timestep."""

    class Pointer(layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.score = layers.Dense(1)

        def call(self, inputs: Any, mask: Any = None) -> Any:
            scores = self.score(inputs)[..., 0]
            return ops.softmax(ops.where(mask, scores, -1e9) if masked else scores, axis=-1)

    assert judge(embed(lambda x: Pointer()(steps(x))), ids(ROWS)).verdict == verdict


def test_every_timestep_has_its_own_rnn() -> None:
    """TimeDistributed(GRU) over the frames of a timestep does not mix timesteps."""
    inputs = keras.Input((None, 2, 3), name="frames")
    keras.utils.set_random_seed(0)
    assert judge(keras.Model(inputs, layers.TimeDistributed(layers.GRU(2))(inputs)), frames()).verdict == "clean"


# Padding inside timesteps.


def sentences() -> ModelInput:
    cells = np.zeros((3, 4, 5), bool)
    for row, lengths in enumerate([[5, 2, 3, 1], [4, 1], [2, 3, 3]]):
        for sentence, length in enumerate(lengths):
            cells[row, sentence, :length] = True
    words = np.where(cells, np.random.default_rng(4).integers(1, WORDS, cells.shape), 0).astype("int32")
    return ModelInput("documents", words, cells.any(axis=2), "features", cells=cells)


class WordMean(layers.Layer):
    """The mean of the words of each sentence, which may include padding."""

    def __init__(self, weigh: bool) -> None:
        super().__init__()
        self.table, self.weigh = layers.Embedding(WORDS, 3), weigh

    def call(self, inputs: Any) -> Any:
        words = self.table(inputs)
        weight = ops.cast(ops.not_equal(inputs, 0), words.dtype)[..., None]
        if not self.weigh:
            return ops.mean(words, axis=2)
        return ops.sum(words * weight, axis=2) / ops.maximum(ops.sum(weight, axis=2), 1)


@pytest.mark.parametrize("length", [None, 4])
@pytest.mark.parametrize(("weigh", "verdict"), [(True, "clean"), (False, "leaks")])
def test_words_in_sentences(weigh: bool, verdict: str, length: int | None) -> None:
    documents = keras.Input((length, 5 if length else None), dtype="int32", name="documents")
    keras.utils.set_random_seed(0)
    mask = ops.any(ops.not_equal(documents, 0), axis=-1)
    states = layers.GRU(2, return_sequences=True)(WordMean(weigh)(documents), mask=mask)
    leak = judge(keras.Model(documents, states), sentences())
    assert leak.verdict == verdict
    assert by_name(leak)["alone"].applicable
    assert by_name(leak)["alone"].leaks is (verdict == "leaks")


def test_maximum_over_words_shows_only_without_padding() -> None:
    """More padded words change no maximum, and each document has a sentence that fills its timestep."""
    documents = keras.Input((None, None), dtype="int32", name="documents")
    keras.utils.set_random_seed(0)
    words = layers.Embedding(WORDS, 3)(documents)
    zeroed = words * ops.cast(ops.not_equal(documents, 0), "float32")[..., None]
    mask = ops.any(ops.not_equal(documents, 0), axis=-1)
    states = layers.GRU(2, return_sequences=True)(ops.max(zeroed, axis=2), mask=mask)
    leak = judge(keras.Model(documents, states), sentences())
    assert leak.verdict == "leaks"
    assert by_name(leak)["alone"].leaks


# Rounding.


@pytest.mark.parametrize("scale", [1.0, 1e6])
def test_scale_of_a_feature_changes_no_verdict(scale: float) -> None:
    """A small leak of one feature is found next to a large feature, and rounding of the large one is no leak."""
    factors = np.array([scale, 1.0, 1.0], "float32")

    def model(leak: float) -> Any:
        def head(x: Any) -> Any:
            right = layers.GRU(3)(x)
            wrong = layers.GlobalAveragePooling1D()(layers.Dense(3)(x) * 1.0)
            small = wrong * np.array([0.0, 0.0, leak], "float32")
            return layers.Lambda(lambda y: y * factors)(right + small)

        return embed(head)

    assert judge(model(0.0), ids(ROWS)).verdict == "clean"
    leak = judge(model(0.3), ids(ROWS))
    assert leak.verdict == "leaks"
    assert by_name(leak)["gradient"].leaks


@pytest.mark.parametrize("policy", ["bfloat16", "float16", "mixed_bfloat16", "mixed_float16"])
def test_half_precision_is_probed_in_float32(policy: str) -> None:
    def model(share: float) -> Any:
        tokens = keras.Input((None,), dtype="int32", name="words")
        keras.utils.set_random_seed(0)
        x = layers.Embedding(WORDS, 4, mask_zero=True, dtype=policy)(tokens)
        right = layers.GRU(3, dtype=policy, recurrent_initializer="glorot_uniform")(x)
        wrong = layers.GlobalMaxPooling1D(dtype=policy)(layers.Dense(3, dtype=policy)(x))
        return keras.Model(tokens, layers.Add(dtype=policy)([right, share * wrong]))

    right, wrong = model(0.0), model(0.1)
    policies = [layer.dtype_policy for layer in right._flatten_layers()]
    leak = judge(right, ids(ROWS))
    assert leak.verdict == "clean"
    assert [layer.dtype_policy for layer in right._flatten_layers()] == policies
    assert judge(wrong, ids(ROWS)).verdict == "leaks"


# Laws.


@pytest.mark.parametrize("seed", range(4))
def test_right_model_is_clean_for_all_lengths(seed: int) -> None:
    """The same model with its mask cut leaks."""
    rng = np.random.default_rng(seed)
    rows = [rng.integers(1, WORDS, length).tolist() for length in rng.integers(1, 9, 6)]
    rows[0] = rng.integers(1, WORDS, 9).tolist()

    def head(x: Any) -> Any:
        x = layers.Bidirectional(layers.LSTM(2, return_sequences=True))(x)
        return layers.Dense(2)(layers.GlobalAveragePooling1D()(x))

    assert judge(embed(head), ids(rows)).verdict == "clean"
    assert judge(embed(lambda x: head(x * 1.0)), ids(rows)).verdict == "leaks"


def test_random_states_stay() -> None:
    model = embed(lambda x: layers.GRU(3)(layers.Dropout(0.5)(x)))
    random.seed(4)
    np.random.seed(4)
    keras.utils.set_random_seed(4)
    keras.random.normal((3,))  # Keras creates its generator of seeds when it is first needed.

    def read_states() -> tuple[Any, ...]:
        seeds = np.asarray(keras.ops.convert_to_tensor(global_seed_generator().state))
        return random.getstate(), np.random.get_state()[1].tolist(), seeds.tolist()

    expected = read_states()
    judge(model, ids(ROWS))
    assert read_states() == expected
