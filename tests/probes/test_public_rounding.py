"""No false alarm by rounding or ties, words in sentences that only windows take, and masks of models in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

import maskcli
from tests.probes.test_public_models import IDS, Case, check, get_verdict, join_code, look_up

pytestmark = pytest.mark.slow(share=1 / 2)


# Rounding: padding is added to valid timesteps and subtracted again.


def center_sums(masked: bool) -> Case:
    """Sum the vectors up from the end, and subtract their mean, which takes the sum over padding off again."""
    ids = keras.Input((None,), dtype="int32", name="ids")
    valid = ops.cast(ops.expand_dims(ops.not_equal(ids, 0), -1), "float32")
    x = layers.Embedding(10, 4)(ids)
    x = ops.flip(ops.cumsum(ops.flip(x * 40.0, axis=1), axis=1), axis=1)
    weights = valid if masked else ops.ones_like(valid)
    mean = ops.sum(x * weights, axis=1, keepdims=True) / ops.sum(weights, axis=1, keepdims=True)
    return {"ids": IDS}, keras.Model(ids, layers.Dense(3)(x - mean))


@pytest.mark.parametrize("masked", [True, False])
def test_sums_over_padding_that_are_subtracted_again_do_not_leak(masked: bool) -> None:
    """In float32 the results change by some 1e-6 with other values at padding, in float64 by 1e-15."""
    report = check(lambda: center_sums(masked))
    assert get_verdict(report) == ("clean" if masked else "leaks")


def vanish() -> Case:
    """Attend to equal values: the difference from their mean is nothing but rounding, next to other results."""
    ids, x = look_up()
    weights = ops.softmax(ops.matmul(layers.Dense(4)(x), ops.transpose(layers.Dense(4)(x), (0, 2, 1))), axis=-1)
    equal = ops.matmul(weights, ops.ones_like(x) * 0.1)
    pool = layers.GlobalAveragePooling1D()
    parts = (equal - ops.mean(equal, axis=1, keepdims=True), x)
    results = [pool(part, mask=ops.not_equal(ids, 0)) for part in parts]
    return {"ids": IDS}, keras.Model(ids, layers.Concatenate()(results))


def test_differences_of_equal_numbers_do_not_leak() -> None:
    assert get_verdict(check(vanish)) == "clean"


# Ties: padding holds the same vector several times, and a maximum has a derivative by one of them, or by a share of all.


def subtract_maximum(factor: float) -> Case:
    """Return the largest difference from the maximum, which is zero; from a part of it, padding may be the largest."""
    ids, x = look_up(size=6, mask_zero=True)
    x = layers.MaxPooling1D(3, strides=1, padding="same")(x - factor * ops.max(x, axis=1, keepdims=True))
    return {"ids": IDS}, keras.Model(ids, layers.Dense(2)(layers.GlobalMaxPooling1D()(x)))


@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_gradient_of_a_tie_is_confirmed_by_steps(factor: float) -> None:
    report = check(lambda: subtract_maximum(factor))
    assert get_verdict(report) == ("clean" if factor == 1 else "leaks")


# Words in sentences, whose layers need several sentences.

SENTENCES = np.array([[[3, 1, 0], [4, 1, 5], [9, 0, 0], [2, 6, 0]], [[5, 3, 5], [8, 0, 0], [2, 0, 0], [0, 0, 0]]])
WORDS = np.array([[[3, 1, 0], [4, 1, 5], [9, 0, 0], [2, 6, 0]], [[5, 3, 5], [8, 0, 0], [0, 0, 0], [0, 0, 0]]])


def read_sentences(mask_zero: bool, length: int | None, shrink: Any) -> Case:
    words = keras.Input((None,), dtype="int32")
    sentence = keras.Model(words, layers.GRU(4)(layers.Embedding(12, 3, mask_zero=mask_zero)(words)))
    documents = keras.Input((length, 3 if length else None), dtype="int32", name="documents")
    valid = ops.any(ops.not_equal(documents, 0), axis=-1)
    x = layers.LSTM(3, return_sequences=True)(layers.TimeDistributed(sentence)(documents), mask=valid)
    return {"documents": SENTENCES}, keras.Model(documents, layers.Dense(2)(shrink(x)[:, 0]))


@pytest.mark.parametrize("length", [None, 4])
@pytest.mark.parametrize("mask_zero", [True, False])
@pytest.mark.parametrize("shrink", [layers.MaxPooling1D(2), layers.Conv1D(3, 3)], ids=["pooling", "convolution"])
def test_words_are_judged_where_windows_need_several_sentences(
    mask_zero: bool, length: int | None, shrink: Any
) -> None:
    """The model computes a mask from the words, so that the layer of a sentence cannot run by itself."""
    report = check(lambda: read_sentences(mask_zero, length, type(shrink).from_config(shrink.get_config())))
    assert get_verdict(report) == ("clean" if mask_zero else "leaks")


# Scores of timesteps that are repeated look like features that are flattened.


def point(repeated: bool, masked: bool) -> Case:
    ids = keras.Input((None,), dtype="int32", name="ids")
    valid = ops.not_equal(ids, 0)
    x = layers.Embedding(10, 4)(ids)
    if repeated:
        x, valid = layers.UpSampling1D(2)(x), ops.repeat(valid, 2, axis=1)
    scores = ops.squeeze(layers.Dense(1)(x), -1)
    return {"ids": IDS}, keras.Model(ids, ops.softmax(ops.where(valid, scores, -1e9) if masked else scores))


@pytest.mark.parametrize("repeated", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_pointer_to_repeated_timesteps_is_judged(repeated: bool, masked: bool) -> None:
    assert get_verdict(check(lambda: point(repeated, masked))) == ("clean" if masked else "leaks")


# A model in a file passes the masks that it was built with.


def join_characters(masked: bool) -> Any:
    """Join a vector of each word with one of its characters, whose padding no mask hides."""
    keras.utils.set_random_seed(0)
    words = keras.Input((None,), dtype="int32", name="words")
    characters = keras.Input((None, 3), dtype="int32", name="characters")
    x = layers.Embedding(12, 3, mask_zero=masked, name="characters_look")(characters)
    x = layers.TimeDistributed(layers.LSTM(3), name="spell")(x)
    x = layers.Concatenate()([layers.Embedding(12, 4, mask_zero=True)(words), x])
    return keras.Model([words, characters], layers.Bidirectional(layers.LSTM(3, return_sequences=True))(x))


@pytest.mark.filterwarnings("ignore")
def test_repair_of_a_file_changes_the_masks_that_it_passes(tmp_path: Path) -> None:
    """The RNN receives the mask of the merge as an argument, which the file holds as operations of its own."""
    join_characters(masked=False).save(tmp_path / "model.keras")
    model = keras.models.load_model(tmp_path / "model.keras")
    data = {"words": WORDS.max(axis=2), "characters": WORDS}
    report = maskcli.check(data, model=model)
    assert [(repair.kind, repair.call) for repair in report.repairs] == [("set-mask-zero", "characters_look")]
    repaired = join_characters(masked=True)
    repaired.set_weights(model.get_weights())
    results = ops.convert_to_numpy(repaired([data["words"], WORDS]))
    alone = ops.convert_to_numpy(repaired([data["words"][1:, :2], WORDS[1:, :2]]))
    assert np.allclose(results[1, :2], alone[0], atol=1e-6)


# A window of pooling that holds valid timesteps and padding.


def pool_pairs(cls: Any = layers.MaxPooling1D) -> Case:
    ids = keras.Input((None,), dtype="int32", name="ids")
    x = layers.Embedding(10, 4, mask_zero=True)(ids)
    x = layers.LSTM(3)(cls(2, padding="same", name="pool")(x))
    even = np.where(np.arange(6) < np.array([6, 4, 2])[:, None], IDS[:3] + (IDS[:3] == 0), 0)
    return {"ids": even}, keras.Model(ids, x)


def test_windows_leave_padding_out_also_where_no_row_has_half_of_one() -> None:
    """A mask after the pooling would be enough for rows of even lengths, and not for others."""
    report = check(pool_pairs)
    assert [(repair.kind, repair.call) for repair in report.repairs] == [("mask-before-max", "pool")]
    scope: dict[str, Any] = {"keras": keras}
    exec(report.repairs[0].code.split("\n\n\n")[0], scope)  # noqa: S102 - the printed code is the subject of this test
    data, model = pool_pairs(scope["MaskedMaxPooling1D"])
    row = np.array([[3, 4, 5, 0, 0, 0]])
    assert np.allclose(model(row), model(row[:, :3]), atol=1e-6)
    assert np.allclose(model(data["ids"])[1], model(data["ids"][1:2, :4])[0], atol=1e-6)


# The rows of a Sequential that Keras built for the data.


def test_sequential_takes_more_rows_than_it_was_built_with() -> None:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([layers.Embedding(10, 4, mask_zero=True), layers.LSTM(3)])
    model(IDS[:1])
    assert model.inputs[0].shape == (1, 6)
    report = maskcli.report(IDS, model=model, samples=4)
    assert report.origin.samples == min(4, len(IDS))
    assert len(report.inspection.outputs[0].values) == min(4, len(IDS))


def test_new_sequential_is_not_built_for_a_single_row() -> None:
    model = keras.Sequential([layers.Embedding(10, 4, mask_zero=True), layers.LSTM(3)])
    maskcli.check(IDS, model=model)
    assert model.inputs[0].shape[0] != 1


# Attention in the code of a layer takes the mask off its inputs, which later layers receive without it.


class Attend(layers.Layer):
    """Attends to the second input, and adds the result to the first one."""

    def __init__(self, keeps: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.attention = layers.MultiHeadAttention(1, 4)
        self.supports_masking = keeps

    def call(self, x: Any, context: Any) -> Any:
        return x + self.attention(query=x, key=context, value=context)


class Copied(layers.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.supports_masking = True

    def call(self, x: Any) -> Any:
        return ops.copy(x)


def decode(copied: bool = False, count: int = 2) -> Case:
    """Attend to one encoded sequence several times, as the decoder of a Transformer does."""
    source, target = (keras.Input((None,), dtype="int32", name=name) for name in ("source", "target"))
    encoded = layers.Embedding(10, 4, mask_zero=True, name="encode")(source)
    x = layers.Embedding(10, 4, mask_zero=True)(target)
    for number in range(count):
        memory = Copied()(encoded) if copied and number < count - 1 else encoded
        x = Attend(name=f"decoder_{number}")(x, memory)
    data = {"source": IDS, "target": np.flip(IDS, axis=0)}
    return data, keras.Model([source, target], layers.Dense(2)(x))


def test_layer_whose_attention_takes_the_mask_off_receives_a_copy() -> None:
    report = check(decode)
    assert ("copy-input", "decoder_0") in [(repair.kind, repair.call) for repair in report.repairs]
    assert "instead of x, the result of encode" in join_code(report)
    assert get_verdict(check(lambda: decode(copied=True))) == "clean"


def test_mask_of_keys_is_to_blame_where_arguments_have_names() -> None:
    """The names of arguments are in order of the alphabet: the key comes before the query."""
    report = check(decode)
    errors = [finding for finding in report.findings if finding.severity == "error"]
    assert errors
    assert all("encode (Embedding)" in finding.message for finding in errors)


class Join(layers.Layer):
    """Takes a list, so that a mask of its result needs code."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.dense = layers.Dense(4)

    def call(self, inputs: Any) -> Any:
        return self.dense(inputs[0]) + inputs[1]


def join_twice() -> Case:
    ids, x = look_up(mask_zero=True)
    y = Join(name="first")([x, ops.tanh(x)])
    y = Join(name="second")([y, ops.sin(x)])
    return {"ids": IDS}, keras.Model(ids, layers.Lambda(lambda t: ops.sum(t, axis=1), name="pool")(y))


def test_mask_of_a_class_is_kept_by_an_edit_of_the_class() -> None:
    """A subclass for one call would leave the other one without a mask."""
    report = check(join_twice)
    codes = {repair.call: repair.code for repair in report.repairs}
    assert codes["first"].startswith("# in class Join\ndef compute_mask")


# Effects of padding that are as small as rounding.


class Normalize(layers.Layer):
    """A softmax by hand: the largest score may be one of padding, and moves a sum by a part of 1e-7."""

    def __init__(self, epsilon: float, **options: Any) -> None:
        super().__init__(**options)
        self.epsilon, self.score = epsilon, layers.Dense(1)
        self.supports_masking = True

    def call(self, x: Any, mask: Any = None) -> Any:
        scores = ops.squeeze(self.score(x), -1)
        weights = ops.exp(scores - ops.max(scores, axis=-1, keepdims=True)) * ops.cast(mask, x.dtype)
        weights = weights / (ops.sum(weights, axis=1, keepdims=True) + self.epsilon)
        return ops.sum(x * weights[:, :, None], axis=1)

    def compute_mask(self, _x: Any, mask: Any = None) -> Any:  # noqa: ARG002
        return None


@pytest.mark.parametrize("epsilon", [0.0, 1e-7, 1e-1])
def test_softmax_by_hand_leaks_only_by_what_it_adds(epsilon: float) -> None:
    def build() -> Case:
        ids, x = look_up(mask_zero=True)
        return {"ids": IDS}, keras.Model(ids, Normalize(epsilon)(ops.tanh(x), mask=ops.not_equal(ids, 0)))

    assert get_verdict(check(build)) == ("leaks" if epsilon > 1e-3 else "clean")


def test_result_that_is_nothing_but_rounding_is_proved_in_float64() -> None:
    """The masked mean of differences from the masked mean is zero."""

    def build() -> Case:
        ids, x = look_up()
        mask = ops.cast(ops.not_equal(ids, 0), "float32")[..., None]
        count = ops.sum(mask, axis=1, keepdims=True)
        x = x - ops.sum(x * mask, axis=1, keepdims=True) / count
        return {"ids": IDS}, keras.Model(ids, layers.Dense(2)(ops.sum(x * mask, axis=1)))

    assert get_verdict(check(build)) == "clean"


@pytest.mark.parametrize("masked", [True, False])
def test_model_of_one_length_numbers_repeated_timesteps(masked: bool) -> None:
    """It holds a constant with twice as many timesteps as the data."""

    def build() -> Case:
        ids = keras.Input((6,), dtype="int32", name="ids")
        x = layers.UpSampling1D(2)(layers.Embedding(10, 4)(ids))
        valid = ops.repeat(ops.not_equal(ids, 0), 2, axis=1)
        last = ops.max(ops.cast(valid, "int32") * ops.arange(ops.shape(x)[1], dtype="int32"), axis=1)
        hidden = valid[:, None] if masked else None
        x = layers.MultiHeadAttention(1, 4)(x, x, attention_mask=hidden)
        taken = ops.take_along_axis(x, ops.reshape(last, (-1, 1, 1)), axis=1)
        return {"ids": IDS}, keras.Model(ids, layers.Dense(2)(ops.squeeze(taken, 1)))

    assert get_verdict(check(build)) == ("clean" if masked else "leaks")


# Masks in the code of a layer.


class Convolve(layers.Layer):
    """Attends with a mask that it receives under its own name, and convolves without it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.attention, self.filters = layers.MultiHeadAttention(1, 4), layers.DepthwiseConv1D(3, padding="same")

    def call(self, x: Any, keep: Any) -> Any:
        x = x + self.attention(x, x, attention_mask=ops.cast(keep[:, None, :], "bool"))
        return self.filters(x)


def test_mask_that_a_layer_receives_is_used_under_its_name() -> None:
    """The attention mask is right, so that its opposite is not tried first."""

    def build() -> Case:
        series, keep = keras.Input((None, 4), name="series"), keras.Input((None,), name="keep")
        x = Convolve(name="block_1")(Convolve(name="block_0")(layers.Dense(4)(series), keep), keep)
        data = {"series": np.random.default_rng(0).normal(size=(*IDS.shape, 4)), "keep": (IDS != 0).astype("float32")}
        return data, keras.Model([series, keep], layers.Dense(2)(x))

    report = check(build)
    assert {repair.kind for repair in report.repairs} == {"zero-padding"}
    assert 'keras.ops.where(keras.ops.cast(keep, "bool")[..., None], x, 0.0)' in report.repairs[0].code
    assert "padding_mask" not in join_code(report)
    assert not [attempt for attempt in report.attempts if "attention-mask" in attempt.kind]


class Aggregate(layers.Layer):
    """Weighs nodes by a softmax over all of them, also the padded ones."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.score = layers.Dense(1)

    def call(self, nodes: Any, edges: Any) -> Any:
        scores = ops.transpose(self.score(nodes), (0, 2, 1)) + edges
        return ops.matmul(ops.softmax(scores, axis=-1) * edges, nodes)


def test_mask_has_the_name_of_the_tensor_that_carries_it() -> None:
    def build() -> Case:
        nodes, edges = keras.Input((None, 4), name="nodes"), keras.Input((None, None), name="edges")
        rng = np.random.default_rng(0)
        valid = IDS != 0
        data = {"nodes": rng.normal(size=(*IDS.shape, 4)) * valid[..., None]}
        edge = np.maximum(rng.random((len(IDS), 6, 6)) < 0.5, np.eye(6))
        data["edges"] = edge * valid[:, None] * valid[..., None]
        x = Aggregate(name="second")(Aggregate(name="first")(nodes, edges), edges)
        return data, keras.Model([nodes, edges], layers.Dense(2)(x))

    code = join_code(check(build))
    carrier = "edges" if "masked_edges" in code else "nodes"
    assert f"{carrier}_mask is not None" in code


class Gate(layers.Layer):
    """Mixes normalised timesteps by weights of pairs."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.norm = layers.LayerNormalization()
        self.supports_masking = True

    def build(self, shape: Any) -> None:
        self.norm.build(shape)
        self.mix = self.add_weight(shape=(shape[1], shape[1]), name="mix")

    def call(self, x: Any) -> Any:
        return x * ops.einsum("btd,ts->bsd", self.norm(x), self.mix)


def test_result_of_a_layer_in_code_is_set_to_zero() -> None:
    def build() -> Case:
        ids = keras.Input((6,), dtype="int32", name="ids")
        x = Gate(name="gate")(layers.Embedding(10, 4, mask_zero=True)(ids))
        return {"ids": IDS}, keras.Model(ids, layers.Dense(2)(x))

    report = check(build)
    assert [repair.kind for repair in report.repairs] == ["zero-padding"]
    assert "where x is the result of layer_normalization" in report.repairs[0].code


# Outputs.


def test_result_for_each_pair_of_timesteps_needs_no_mask() -> None:
    """A mask (batch, timesteps) could mark only one timestep of a pair."""

    def build() -> Case:
        ids, x = look_up(mask_zero=True)
        x = layers.Dense(4)(x)
        return {"ids": IDS}, keras.Model(ids, layers.Dot(axes=2)([x, x]))

    assert check(build).passed


@pytest.mark.parametrize("loss", [None, "mse"])
def test_widened_mask_of_an_output_is_a_warning_without_a_loss(loss: str | None) -> None:
    def build() -> Case:
        ids, x = look_up(mask_zero=True)
        joined = layers.Concatenate(name="join")([x, layers.Embedding(10, 2)(ids)])
        model = keras.Model(ids, layers.Dense(2)(joined))
        if loss is not None:
            model.compile(loss=loss)
        return {"ids": IDS}, model

    report = check(build)
    assert get_verdict(report) == "clean"
    finding = next(finding for finding in report.findings if finding.code == "MSK102")
    assert finding.severity == ("warning" if loss is None else "error")
    assert finding.message.endswith("As a result a loss counts them.")


# A graph of one length holds numbers that it computed from it when it was built.


@pytest.mark.parametrize("padding", ["post", "pre"])
@pytest.mark.parametrize("masked", [True, False])
def test_number_of_the_last_timestep_follows_the_number_of_timesteps(masked: bool, padding: str) -> None:
    """The last valid timestep, counted from the end: in a longer row, the end has another number."""

    def build() -> Case:
        ids = keras.Input((6,), dtype="int32", name="ids")
        valid = ops.not_equal(ids, 0)
        x = layers.LSTM(3, return_sequences=True)(layers.Embedding(10, 4)(ids), mask=valid if masked else None)
        from_end = ops.argmax(ops.flip(ops.cast(valid, "int32"), axis=1), axis=1)
        last = ops.shape(x)[1] - 1 - ops.cast(from_end, "int32")
        taken = ops.take_along_axis(x, ops.reshape(last, (-1, 1, 1)), axis=1)
        rows = [[1, 2, 3], [4, 5, 6, 7, 8, 2], [3, 3]]
        return {"ids": keras.utils.pad_sequences(rows, padding=padding)}, keras.Model(ids, ops.squeeze(taken, 1))

    clean = masked or padding == "post"  # Without a mask, an RNN runs through the padding before the data.
    assert get_verdict(check(build)) == ("clean" if clean else "leaks")


# Names of mask arguments that a layer has already.


class Ignore(layers.Layer):
    """Receives a mask, and ignores it in its softmax."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.score = layers.Dense(4)

    def call(self, x: Any, padding_mask: Any = None) -> Any:
        weights = ops.softmax(ops.matmul(self.score(x), ops.transpose(x, (0, 2, 1))))
        return ops.matmul(weights, x * ops.cast(padding_mask, x.dtype)[..., None])


def test_mask_is_used_under_the_name_in_which_a_layer_receives_it() -> None:
    """Keras fills `x_mask` only if the tensor carries a mask."""

    def build() -> Case:
        ids = keras.Input((None,), dtype="int32", name="ids")
        x = layers.Embedding(10, 4)(ids)
        return {"ids": IDS}, keras.Model(ids, Ignore()(x, padding_mask=ops.not_equal(ids, 0)))

    code = join_code(check(build))
    assert "keras.ops.where(padding_mask[:, None, :], scores, -1e9)" in code
    assert "x_mask" not in code


class Inverse(layers.Layer):
    """Has an argument of the usual name, for the opposite of a mask, and does not use it for the keys."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.score = layers.Dense(4)

    def call(self, x: Any, padding_mask: Any = None) -> Any:
        weights = ops.softmax(ops.matmul(self.score(x), ops.transpose(x, (0, 2, 1))))
        return ops.matmul(weights, x) * (1 - padding_mask)


def test_new_argument_has_a_name_that_no_layer_has() -> None:
    def build() -> Case:
        ids = keras.Input((None,), dtype="int32", name="ids")
        x = layers.Embedding(10, 4)(ids)
        return {"ids": IDS}, keras.Model(
            ids, Inverse(name="pair")(x, ops.cast(ops.equal(ids, 0), "float32")[..., None])
        )

    code = join_code(check(build))
    assert "timestep_mask" in code
    assert "pair(..., padding_mask=" not in code


def test_ids_that_are_shifted_by_the_number_of_timesteps_stay() -> None:
    """A number that is added to ids, or subtracted from them, is none of timesteps, although there are as many."""

    def build() -> Case:
        ids = keras.Input((6,), dtype="int32", name="ids")
        x = layers.Embedding(20, 4)(ids + 6) + layers.Embedding(20, 4)(ops.maximum(ids - 5, 0))
        return {"ids": IDS}, keras.Model(ids, layers.LSTM(3)(x, mask=ops.not_equal(ids, 0)))

    assert get_verdict(check(build)) == "clean"


@pytest.mark.filterwarnings("ignore")
def test_masks_of_many_merges_in_a_file_are_compared_once(tmp_path: Path) -> None:
    """Each merge computes its mask from that of the one before, twice: the ways through all of them double each time."""
    ids = keras.Input((None,), dtype="int32", name="ids")
    x = layers.Embedding(10, 4, mask_zero=True)(ids)
    for _ in range(40):
        x = layers.Add()([x, layers.Dense(4)(x)])
    x = layers.Concatenate()([x, layers.Embedding(10, 2)(ids)])
    keras.Model(ids, layers.LSTM(3)(x)).save(tmp_path / "model.keras")
    report = maskcli.check({"ids": IDS}, model=keras.models.load_model(tmp_path / "model.keras"))
    assert [repair.kind for repair in report.repairs] == ["pass-mask"]


# Rows that are cut to a few timesteps.


def find_largest(masked: bool, side: str, value: float) -> Case:
    """Take the maximum after `Masking`: padding, which is zero there, shows in a row whose numbers are all negative."""
    valid = np.arange(8) < np.array([8, 7, 6, 5])[:, None]
    valid = valid if side == "post" else valid[:, ::-1]
    values = np.random.default_rng(2).normal(size=(4, 8, 3)).astype("float32")
    values[~valid] = value
    series = keras.Input((None, 3), name="series")
    masking = layers.Masking(value)
    mask = masking.compute_mask(series)
    x = layers.Dense(4, "relu")(masking(series))
    x = ops.max(ops.where(mask[..., None], x, -1e9) if masked else x, axis=1)
    return {"series": values, "series.mask": valid}, keras.Model(series, layers.Dense(2)(x))


@pytest.mark.parametrize("side", ["post", "pre"])
@pytest.mark.parametrize("value", [0.0, -1.0])
@pytest.mark.parametrize("masked", [True, False])
def test_maximum_after_masking_is_judged_in_short_rows(masked: bool, value: float, side: str) -> None:
    assert get_verdict(check(lambda: find_largest(masked, side, value))) == ("clean" if masked else "leaks")


@pytest.mark.parametrize("side", ["post", "pre"])
@pytest.mark.parametrize("value", [0.0, -1.0, 1e20])
def test_convolution_over_zeros_of_masking_is_right_in_short_rows(value: float, side: str) -> None:
    """Rows are cut next to their padding, and filled with the value that marks it."""

    def build() -> Case:
        data, _ = find_largest(True, side, value)
        series = keras.Input((None, 3), name="series")
        masking = layers.Masking(value)
        x = layers.Conv1D(4, 3, padding="same")(masking(series))
        return data, keras.Model(series, layers.GlobalAveragePooling1D()(x, mask=masking.compute_mask(series)))

    assert get_verdict(check(build)) == "clean"
