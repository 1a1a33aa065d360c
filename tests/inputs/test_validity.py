"""Which timesteps are padding: each source, their order, the inputs that share one, and the errors."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

import maskcli
from maskcli.api.model_data import DataFile, load_dataset, load_user_model
from maskcli.errors import InputError, ModelError, UsageError
from maskcli.inputs.dataset import make_dataset, make_ragged_dataset, read_dataset
from maskcli.inputs.roles import InputRoles, MaskedValue, match_by_prefix
from maskcli.probes.lengths import lengthen
from maskcli.records.inputs import InputSpec, ModelInput, find_primary
from maskcli.records.layout import Layout
from maskcli.records.options import ModelOptions
from maskcli.sequences.ragged import as_ragged
from tests.conftest import Output

pytestmark = pytest.mark.slow(share=1 / 2)

Call = Callable[..., Output]
Write = Callable[[str, str], Path]
LAYOUT = Layout()
IDS = InputSpec("ids", (None, None), "int32")
SERIES = InputSpec("series", (None, None, 2), "float32")
TOKENS = np.array([[5, 6, 7, 8], [5, 6, 0, 0], [9, 0, 0, 0]])
LENGTHS = np.array([4, 2, 1])
VALID = np.arange(4) < LENGTHS[:, None]


def pad_series(value: float, seed: int = 0) -> np.ndarray:
    """Return features ``(3, 4, 2)`` with padding of this value."""
    series = np.random.default_rng(seed).uniform(1, 2, (3, 4, 2)).astype("float32")
    series[~VALID] = value
    return series


def fit(
    arrays: dict[str, Any], specs: Sequence[InputSpec], roles: InputRoles | None = None, **layout: Any
) -> dict[str, ModelInput]:
    find_roles = None if roles is None else (lambda _: roles)
    inputs = make_dataset(arrays, specs, Layout(**layout), find_roles).inputs
    return {model_input.name: model_input for model_input in inputs}


def load(model: keras.Model, data: object, **layout: Any) -> dict[str, ModelInput]:
    case = load_user_model(data, Layout(**layout), ModelOptions(model=model))
    return {model_input.name: model_input for model_input in case.inputs}


def get_source(model_input: ModelInput) -> tuple[str, str | None, float | None]:
    validity = model_input.validity
    return validity.source, validity.of, validity.value


def assert_valid(model_input: ModelInput, valid: np.ndarray = VALID) -> None:
    assert model_input.valid is not None
    assert model_input.valid.tolist() == valid.tolist()


# Each source, and their order.


@pytest.mark.parametrize("value", [-1.0, -99999.99, 20.0, 1e20, np.inf, -np.inf])
def test_masking_value_marks_padding(value: float) -> None:
    roles = InputRoles({"series": MaskedValue("masking", value)})
    series = fit({"series": pad_series(value)}, [SERIES], roles)["series"]
    assert_valid(series)
    assert get_source(series) == ("masking-layer", "masking", value)
    assert series.padding == value


@pytest.mark.parametrize("value", [-1, -99999.99, 1e20, np.inf, np.nan])
def test_chosen_value_applies_to_features(value: float) -> None:
    series = fit({"series": pad_series(value)}, [SERIES], value=value)["series"]
    assert_valid(series)
    assert series.validity.source == "value"
    np.testing.assert_equal(series.padding, value)


def test_real_zero_under_another_mask_value() -> None:
    values = pad_series(-1)
    values[0, 0] = 0
    roles = InputRoles({"series": MaskedValue("masking", -1.0)})
    assert_valid(fit({"series": values}, [SERIES], roles)["series"])


def test_masked_value_between_data_is_padding() -> None:
    values, valid = pad_series(-1), VALID.copy()
    values[0, 1], valid[0, 1] = -1, False
    roles = InputRoles({"series": MaskedValue("masking", -1.0)})
    assert_valid(fit({"series": values}, [SERIES], roles)["series"], valid)


def test_zeros_under_a_mask_value_that_never_occurs() -> None:
    """The layer looks for another value than padding has, which a rule reports; one timestep of 0 may be data."""
    roles = InputRoles({"series": MaskedValue("masking", -1.0)})
    assert fit({"series": pad_series(0)}, [SERIES], roles)["series"].validity.source == "value"
    single = pad_series(1.5)
    single[0, 0] = 0
    assert_valid(fit({"series": single}, [SERIES], roles)["series"], np.ones_like(VALID))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_masking_value_of_ids() -> None:
    """Ids that count from 0 may be padded with -1, which the layer cannot mask."""
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    model = keras.Model(tokens, layers.Embedding(8, 3)(layers.Masking(-1, name="masking")(tokens)))
    (ids,) = load(model, np.where(VALID, TOKENS - 5, -1)).values()
    assert_valid(ids)
    assert get_source(ids) == ("masking-layer", "masking", -1)
    (ids,) = load(model, TOKENS).values()
    assert get_source(ids) == ("value", None, 0)


@pytest.mark.parametrize("value", [-1.0, 1e20, -99999.99])
@pytest.mark.parametrize("roles", [{}, {"series": MaskedValue("masking", 0.0)}])
def test_filler_that_no_layer_masks(value: float, roles: dict[str, MaskedValue]) -> None:
    """Rows that end in the same whole or huge number are padded with it, also where the model masks another one."""
    series = fit({"series": pad_series(value)}, [SERIES], InputRoles(roles))["series"]
    assert_valid(series)
    assert get_source(series) == ("value", None, pytest.approx(value))


@pytest.mark.parametrize("side", ["pre", "post"])
def test_negative_number_at_ends_of_ids_is_padding(side: str) -> None:
    """No id is negative, so that a 0 next to the padding is one."""
    tokens = np.where(VALID, TOKENS % 5, -1)
    tokens, valid = (tokens, VALID) if side == "post" else (tokens[:, ::-1], VALID[:, ::-1])
    (ids,) = fit({"ids": tokens}, [IDS]).values()
    assert_valid(ids, valid)
    assert get_source(ids) == ("value", None, -1)


def test_negative_number_at_ends_of_sentences_is_padding() -> None:
    words = np.full((2, 3, 4), -1)
    words[0, :2, :3], words[1, :3, :1] = 4, 0
    (story,) = fit({"story": words}, [InputSpec("story", (None, 3, 4), "int32")]).values()
    assert story.cells is not None
    assert (story.cells == (words >= 0)).all()
    assert_valid(story, (words >= 0).any(axis=2))


@pytest.mark.parametrize("ids", [[[3, -1, 4, -1, -1]], [[3, 2, -2, -1, -1]], [[3, 4, 2, 5, -1]], [[-1, -1]]])
def test_negative_numbers_that_are_no_padding(ids: list[list[int]]) -> None:
    """Between others, of two kinds, a single one, or alone, they may be data."""
    (tokens,) = fit({"ids": np.array(ids)}, [IDS]).values()
    assert tokens.validity.source == "none"


@pytest.mark.parametrize("case", ["between", "one row", "whole data", "fraction", "equal lengths"])
def test_equal_numbers_at_ends_may_be_data(case: str) -> None:
    values = pad_series(1.25 if case == "fraction" else -1)
    if case == "between":
        values[0, 1] = -1
    elif case == "one row":
        values[2] = values[0]
    elif case == "whole data":
        values[VALID] = np.round(values[VALID] * 5)
    elif case == "equal lengths":
        values = values[1:2].repeat(3, axis=0)
    series = fit({"series": values[:2] if case == "one row" else values}, [SERIES])["series"]
    assert series.validity.source == "none"


def test_order_of_sources() -> None:
    """Each source is removed in turn; the next one then decides."""
    values = pad_series(0)
    values[0, 3] = -1
    keep = np.array([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 0, 0]], bool)
    marks = np.array([[1, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]], bool)
    specs = [SERIES, InputSpec("keep", (None, None), "bool")]
    masked = {"series": MaskedValue("masking", -1.0)}
    roles = InputRoles(masked, {"keep": frozenset({"series"})})
    arrays = {"series": values, "keep": keep, "series.mask": marks}
    sources = [get_source(fit(arrays, specs, roles)["series"])[:2]]
    del arrays["series.mask"]
    sources.append(get_source(fit(arrays, specs, roles)["series"])[:2])
    del arrays["keep"]
    sources.append(get_source(fit(arrays, specs[:1], InputRoles(masked), value=0, sets_value=True)["series"])[:2])
    sources.append(get_source(fit(arrays, specs[:1], InputRoles(masked))["series"])[:2])
    sources.append(get_source(fit(arrays, specs[:1], InputRoles())["series"])[:2])
    assert sources == [
        ("given", "series.mask"),
        ("mask-input", "keep"),
        ("value", None),
        ("masking-layer", "masking"),
        ("value", None),
    ]


def test_lengths_come_before_values() -> None:
    (ids,) = make_ragged_dataset(as_ragged([[0, 5, 7], [3, 0], [0, 4, 6, 2]]), [IDS], LAYOUT).inputs
    assert_valid(ids, np.arange(4) < np.array([3, 2, 4])[:, None])
    assert ids.validity.source == "lengths"


@pytest.mark.parametrize("rows", [[[0, 5, 7, 0]], [[0, 5, 7, 0], [3, 0, 0, 0]]])
def test_rows_of_one_length_are_a_full_array(rows: list[list[int]]) -> None:
    (ids,) = make_ragged_dataset(as_ragged(rows), [IDS], LAYOUT).inputs
    assert ids.validity.source == "value"
    assert_valid(ids, np.array([[False, True, True, False], [True, False, False, False]])[: len(rows)])


def test_no_source() -> None:
    assert get_source(fit({"ids": TOKENS + 1}, [IDS])["ids"]) == ("none", None, None)


def test_ragged_features_are_padded_with_the_masked_value(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"series": [[1, 2], [3, 4]]}\n{"series": [[5, 6]]}\n')
    roles = InputRoles({"series": MaskedValue("masking", -7.0)})
    for layout, value in ((LAYOUT, -7.0), (Layout(value=-2.5), -2.5)):
        (series,) = load_dataset(DataFile(str(path)), [SERIES], layout, {}, lambda _: roles).inputs
        assert series.values[1].tolist() == [[5, 6], [value, value]]
        assert (series.validity.source, series.padding) == ("lengths", value)


# Errors.


def test_model_that_takes_text() -> None:
    text = keras.Input((1,), dtype="string", name="text")
    model = keras.Model(text, layers.TextVectorization(vocabulary=["a", "b"])(text))
    with pytest.raises(ModelError, match=r"takes text: 'text'.\nBuild it without its TextVectorization"):
        load(model, {"text": np.array(["a b"])})


class ThreeInputs(keras.Model):
    """Takes three inputs, and declares none."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = layers.Embedding(10, 3, mask_zero=True)

    def call(self, inputs: Any) -> Any:
        first, second, third = inputs
        return self.embedding(first) + self.embedding(second) + self.embedding(third)


def test_too_many_columns_for_undeclared_inputs() -> None:
    arrays = dict.fromkeys(("first", "second", "third", "fourth"), TOKENS)
    with pytest.raises(ModelError) as raised:
        load(ThreeInputs(), arrays)
    assert raised.value.expected == "a model that takes the columns 'first', 'fourth', 'second', 'third'"
    assert "too many values to unpack (expected 3), before the first layer" in raised.value.received
    del arrays["fourth"]
    assert len(load(ThreeInputs(), arrays)) == 3


def test_chosen_value_that_occurs_nowhere() -> None:
    with pytest.raises(UsageError, match=r"--value 3: expected the value .* series.*\n.* end in -5: use --value -5"):
        fit({"series": pad_series(-5)}, [SERIES], value=3)
    with pytest.raises(UsageError, match="Leave --value out"):
        fit({"series": np.random.default_rng(0).random((3, 4, 2))}, [SERIES], value=3)
    with pytest.raises(UsageError, match="--value 0"):
        fit({"ids": TOKENS + 1}, [IDS], sets_value=True)
    marked = {"series": pad_series(-5), "series.mask": VALID}
    assert fit(marked, [SERIES], value=3)["series"].validity.source == "given"
    assert make_ragged_dataset(as_ragged([[1, 2], [3]]), [IDS], Layout(value=9)).inputs[0].values[1, 1] == 9


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_number_that_is_not_finite_in_data(value: float) -> None:
    values = pad_series(value)
    with pytest.raises(InputError, match=rf"row 2: .*except at padding.* {value} at .*\n.*--value {value}"):
        fit({"series": values}, [SERIES])
    values[0, 0, 0] = value
    with pytest.raises(InputError, match="row 1"):
        fit({"series": values, "series.mask": VALID}, [SERIES])


def test_value_on_the_command_line(call: Call, write: Write) -> None:
    path = write("a.txt", "1 2\n3\n")
    assert call("pad", path, "--value", -3, "--format", "json").exit_status == 0
    for value, message in (("1.5", "an integer as padding value"), ("x", "not a valid number")):
        result = call("pad", path, "--value", value)
        assert result.exit_status == 2
        assert message in result.stderr


# Inputs that share a source.


def test_segments_share_the_padding_of_tokens() -> None:
    specs = [InputSpec(name, (None, None), "int32") for name in ("segment_ids", "token_ids")]
    inputs = fit({"segment_ids": np.zeros((3, 4), int), "token_ids": TOKENS}, specs)
    assert_valid(inputs["segment_ids"])
    assert get_source(inputs["segment_ids"]) == ("value", "token_ids", 0.0)
    assert inputs["segment_ids"].auxiliary
    assert find_primary(list(inputs.values())) is inputs["token_ids"]


@pytest.mark.parametrize("names", [("article", "words"), ("words", "article")])
def test_segments_share_the_padding_that_they_have(names: tuple[str, str]) -> None:
    """An encoder and a decoder may have rows of equal shape; the segments belong to only one of them."""
    padded = {"words": VALID, "article": np.arange(4) < np.array([[2], [4], [4]])}
    arrays = {name: TOKENS.max() * mask for name, mask in padded.items()}
    arrays |= {f"{name}.mask": mask for name, mask in padded.items()}
    arrays["segment_ids"] = np.where(VALID, [0, 0, 1, 1], 0)
    specs = [InputSpec(name, (None, None), "int32") for name in (*names, "segment_ids")]
    inputs = fit(arrays, specs)
    np.testing.assert_array_equal(inputs["segment_ids"].valid, VALID)
    assert get_source(inputs["segment_ids"])[:2] == ("given", "words.mask")


def test_tags_with_a_category_zero_share_the_padding_of_tokens() -> None:
    specs = [InputSpec(name, (None, None), "int32") for name in ("a", "b")]
    tags = np.array([[0, 1, 0, 2], [1, 0, 2, 1], [0, 0, 1, 0]])
    inputs = fit({"a": tags, "b": TOKENS}, specs, InputRoles(input_dims={"a": 3, "b": 40}))
    assert_valid(inputs["a"])
    assert inputs["a"].auxiliary and not inputs["b"].auxiliary


def test_builtin_model_checks_the_chosen_value() -> None:
    with pytest.raises(UsageError, match=r"value=9: .* tokens"):
        maskcli.inspect([[1, 2], [3, 4]], value=9, mask_source="explicit")
    assert maskcli.inspect([[1, 2], [3, 9]], value=9, mask_source="explicit").inputs[0].padded_timesteps == 1


def test_two_texts_keep_their_own_padding() -> None:
    specs = [InputSpec(name, (None, None), "int32") for name in ("question", "answer")]
    dims = InputRoles(input_dims={"question": 40, "answer": 40})
    inputs = fit({"question": TOKENS, "answer": TOKENS[::-1].copy()}, specs, dims)
    assert_valid(inputs["question"])
    assert_valid(inputs["answer"], VALID[::-1])


def test_categories_of_fixed_width_have_no_timesteps() -> None:
    specs = [InputSpec("ids", (None, 4), "int32"), InputSpec("profile", (None, 3), "int32")]
    inputs = fit({"ids": TOKENS, "profile": np.array([[0, 1, 0], [0, 0, 0], [2, 0, 1]])}, specs)
    assert inputs["profile"].valid is None
    assert_valid(inputs["ids"])


@pytest.mark.parametrize("value", [0.1, -99999.99])
def test_mask_value_is_compared_in_the_dtype_of_the_features(value: float) -> None:
    """In float64, the number of the layer is another one than that of the data."""
    series = keras.Input((None, 2), name="series")
    model = keras.Model(series, layers.LSTM(2)(layers.Masking(value, name="masking")(series)))
    inputs = load(model, {"series": pad_series(value)})
    assert get_source(inputs["series"]) == ("masking-layer", "masking", value)


@pytest.mark.parametrize("unrolled", [False, True])
def test_columns_that_a_model_looks_up_by_themselves_have_no_timesteps(unrolled: bool) -> None:
    """A hand-written loop over timesteps sends each of them into the same layer."""
    history = keras.Input((None,), dtype="int32", name="history")
    item = keras.Input((2,), dtype="int32", name="item")
    lookups = [layers.Embedding(20, 4), layers.Embedding(8, 4)]
    vectors = [lookups[column * (not unrolled)](item[:, column]) for column in range(2)]
    pooled = layers.GlobalAveragePooling1D()(layers.Embedding(20, 4, mask_zero=True)(history))
    model = keras.Model([history, item], layers.Dense(1)(layers.Concatenate()([pooled, *vectors])))
    padded = np.array([[2, 4], [17, 0], [1, 3]])
    for pairs, has_timesteps in ((padded, unrolled), (np.maximum(padded, 1), False)):
        inputs = load(model, {"history": TOKENS, "item": pairs})
        assert (inputs["item"].valid is not None) == has_timesteps


def test_segments_of_the_shorter_sequence_are_no_categories() -> None:
    """They are cut with the tokens, whose padding is theirs, although another sequence is longer."""
    segments = np.array([[0, 0, 1, 1], [0, 1, 0, 0], [0, 0, 0, 0]])
    arrays = {"context": np.tile(np.arange(1, 7), (3, 1)), "tokens": TOKENS, "segment_ids": segments}
    inputs = fit(arrays, [InputSpec(name, (None, None), "int32") for name in arrays])
    assert_valid(inputs["segment_ids"])


def test_marks_serve_other_features() -> None:
    other = InputSpec("other", (None, None, 1), "float32")
    arrays = {"series": pad_series(3), "other": np.ones((3, 4, 1), "float32"), "series.mask": VALID}
    inputs = fit(arrays, [SERIES, other])
    assert_valid(inputs["other"])
    assert get_source(inputs["other"])[:2] == ("given", "series.mask")


@pytest.mark.parametrize("order", list(itertools.permutations(["segment_ids", "token_ids", "padding_mask"])))
def test_order_of_columns_does_not_matter(order: tuple[str, ...]) -> None:
    arrays = {"segment_ids": np.eye(3, 4, dtype=int), "token_ids": TOKENS, "padding_mask": VALID}
    inputs = fit({name: arrays[name] for name in order}, [], InputRoles(structure="dict"))
    assert list(inputs) == sorted(arrays)
    for model_input in inputs.values():
        assert_valid(model_input)


def test_default_mask_is_made_of_the_tokens() -> None:
    names = ("padding_mask", "segment_ids", "token_ids")
    specs = [InputSpec(name, (None, None), "int32") for name in names]
    inputs = fit({"segment_ids": np.zeros((3, 4), int), "token_ids": TOKENS}, specs)
    assert inputs["padding_mask"].values.tolist() == VALID.astype(int).tolist()
    assert get_source(inputs["padding_mask"]) == ("default", "token_ids", None)


def test_default_masks_of_encoder_and_decoder() -> None:
    names = ("decoder_ids", "decoder_mask", "encoder_ids", "encoder_mask")
    specs = [InputSpec(name, (None, None), "int32") for name in names]
    inputs = fit({"decoder_ids": TOKENS[::-1].copy(), "encoder_ids": TOKENS}, specs)
    assert inputs["encoder_mask"].values.tolist() == VALID.astype(int).tolist()
    assert inputs["decoder_mask"].values.tolist() == VALID[::-1].astype(int).tolist()


def test_match_by_prefix() -> None:
    names, masks = ["encoder_ids", "decoder_ids", "other"], ["encoder_padding_mask", "decoder_mask"]
    assert match_by_prefix("encoder_padding_mask", names, masks) == ["encoder_ids"]
    assert match_by_prefix("mask", names, ["mask"]) == []


# Padding inside timesteps.


def test_words_in_sentences() -> None:
    docs = np.array([[[1, 2, 0], [3, 0, 0], [0, 0, 0]], [[0, 4, 5], [0, 0, 0], [6, 0, 7]]])
    spec = InputSpec("docs", (None, None, None), "int32")
    words = fit({"docs": docs}, [spec])["docs"]
    assert words.cells is not None
    # A 0 between words is a word.
    assert words.cells.tolist() == ((docs != 0) | (np.arange(18).reshape(2, 3, 3) == 16)).tolist()
    assert_valid(words, np.array([[True, True, False], [True, False, True]]))
    marks = docs > 1
    marked = fit({"docs": docs, "docs.mask": marks}, [spec])["docs"]
    assert marked.cells is not None and marked.cells.tolist() == marks.tolist()
    assert_valid(marked, marks.any(axis=-1))


def test_sentences_of_different_length(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([[[1, 0], [2]], [[3, 4, 5]]]))
    (docs,) = load_dataset(DataFile(str(path)), [InputSpec("docs", (None, None, None), "int32")], LAYOUT).inputs
    assert docs.values.tolist() == [[[1, 0, 0], [2, 0, 0]], [[3, 4, 5], [0, 0, 0]]]
    assert docs.cells is not None
    assert docs.cells.tolist() == [[[True, True, False], [True, False, False]], [[True] * 3, [False] * 3]]
    assert docs.validity.source == "lengths"


# Models that show their masks.


def build_pooled(dtype: str) -> keras.Model:
    x, keep = keras.Input((None, 2), name="series"), keras.Input((None,), dtype=dtype, name="flags")
    weights = ops.expand_dims(ops.cast(keep, "float32"), -1)
    return keras.Model([x, keep], ops.sum(x * weights, axis=1) / ops.sum(weights, axis=1))


def build_biased() -> keras.Model:
    ids, keep = keras.Input((None,), dtype="int32", name="ids"), keras.Input((None,), dtype="int32", name="flags")
    x = layers.Embedding(20, 4)(ids)
    scores = ops.matmul(x, ops.transpose(x, (0, 2, 1)))
    scores = scores + (1.0 - ops.cast(keep, "float32"))[:, None, :] * -1e9
    return keras.Model([ids, keep], ops.matmul(ops.softmax(scores), x))


def build_argument() -> keras.Model:
    ids, keep = keras.Input((None,), dtype="int32", name="ids"), keras.Input((None,), dtype="int32", name="flags")
    x = layers.Embedding(20, 4)(ids)
    return keras.Model([ids, keep], layers.LSTM(3)(x, mask=ops.equal(keep, 1)))


@pytest.mark.parametrize(
    "build", [lambda: build_pooled("bool"), lambda: build_pooled("int32"), build_biased, build_argument]
)
def test_mask_input_of_any_name(build: Callable[[], keras.Model]) -> None:
    model = build()
    name = model.inputs[0].name
    keep = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]])
    inputs = load(model, {name: pad_series(0) if name == "series" else TOKENS, "flags": keep})
    assert_valid(inputs[name], keep.astype(bool))
    assert get_source(inputs[name]) == ("mask-input", "flags", None)
    assert inputs["flags"].kind == "mask"
    assert_valid(inputs["flags"], keep.astype(bool))


def test_inverted_mask_input() -> None:
    """The ids show that the mask is 1 at padding."""
    roles = InputRoles(masks={"flags": frozenset({"ids"})})
    specs = [IDS, InputSpec("flags", (None, None), "int32")]
    inputs = fit({"ids": TOKENS, "flags": 1 - VALID}, specs, roles)
    assert_valid(inputs["ids"])
    assert_valid(inputs["flags"])
    assert inputs["flags"].inverted
    assert lengthen(inputs["flags"], 2, "post").values[:, -2:].tolist() == [[1, 1]] * 3
    assert not fit({"ids": TOKENS, "flags": VALID.astype(int)}, specs, roles)["flags"].inverted


class TurnsItsMask(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.attention = layers.Embedding(20, 4), layers.MultiHeadAttention(1, 4)

    def call(self, inputs: Any) -> Any:
        x = self.embedding(inputs["ids"])
        mask = ops.logical_not(ops.cast(inputs["flags"], "bool"))[:, None, :]
        return self.attention(x, x, attention_mask=mask)[:, 0]


@pytest.mark.parametrize(("flags", "verdict"), [(1 - VALID, "clean"), (VALID.astype(int), "leaks")])
def test_verdict_with_an_inverted_mask_input(flags: np.ndarray, verdict: str) -> None:
    keras.utils.set_random_seed(0)
    leak = maskcli.check({"ids": TOKENS, "flags": flags}, model=TurnsItsMask()).leak
    assert leak is not None and leak.verdict == verdict


def test_flags_that_an_embedding_looks_up_are_no_mask() -> None:
    ids, flags = keras.Input((None,), dtype="int32", name="ids"), keras.Input((None,), dtype="int32", name="upper")
    x = layers.Embedding(20, 4)(ids) + layers.Embedding(2, 4)(flags)
    model = keras.Model([ids, flags], layers.LSTM(3)(x))
    inputs = load(model, {"ids": TOKENS, "upper": np.eye(3, 4, dtype=int)})
    assert inputs["upper"].kind == "ids"
    assert_valid(inputs["ids"])


def test_masks_of_encoder_and_decoder() -> None:
    source, target = (keras.Input((None,), dtype="int32", name=name) for name in ("source", "target"))
    of_source, of_target = (keras.Input((None,), dtype="bool", name=name) for name in ("first", "second"))
    x, y = layers.Embedding(20, 4)(source), layers.Embedding(20, 4)(target)
    x = layers.MultiHeadAttention(1, 4)(x, x, attention_mask=of_source[:, None, :])
    y = layers.MultiHeadAttention(1, 4)(y, y, attention_mask=of_target[:, None, :])
    y = layers.MultiHeadAttention(1, 4)(y, x, attention_mask=of_source[:, None, :])
    y = layers.MultiHeadAttention(1, 4)(y, y, attention_mask=of_target[:, None, :])
    model = keras.Model([source, of_source, target, of_target], y)
    data = {"source": TOKENS, "target": TOKENS, "first": VALID, "second": VALID[::-1]}
    inputs = load(model, data)
    assert_valid(inputs["source"])
    assert_valid(inputs["target"], VALID[::-1])


def test_mask_after_attention_is_that_of_the_queries() -> None:
    """A sequence of the same length that was attended to before has another padding."""
    frames, context = keras.Input((4, 2), name="frames"), keras.Input((4, 2), name="context")
    keep = keras.Input((4,), name="keep")
    x = layers.MultiHeadAttention(1, 2)(frames, layers.Masking(0.0)(context))
    x = layers.LSTM(2)(x, mask=ops.cast(keep, "bool"))
    other = pad_series(0.0, seed=1)
    other[0, 2:] = 0.0
    data = {"frames": pad_series(0.0), "context": other, "keep": VALID.astype("float32")}
    inputs = load(keras.Model([frames, context, keep], x), data)
    assert get_source(inputs["frames"])[:2] == ("mask-input", "keep")
    assert_valid(inputs["frames"])
    assert_valid(inputs["context"], (other != 0).any(axis=-1))


def nest_masking(value: float) -> keras.Model:
    inner = keras.Sequential([keras.Input((4, 2)), layers.Masking(value), layers.LSTM(3)])
    x = keras.Input((4, 2), name="series")
    return keras.Model(x, inner(x))


class MaskingInCode(keras.Model):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.masking, self.lstm = layers.Masking(value), layers.LSTM(3)

    def call(self, inputs: Any) -> Any:
        return self.lstm(self.masking(inputs))


def flatten_frames(value: float) -> keras.Model:
    x = keras.Input((None, 2, 1), name="series")
    return keras.Model(x, layers.LSTM(3)(layers.Masking(value)(layers.TimeDistributed(layers.Flatten())(x))))


def reshape_series(value: float) -> keras.Model:
    x = keras.Input((4,), name="series")
    return keras.Model(x, layers.LSTM(3)(layers.Masking(value)(layers.Reshape((4, 1))(x))))


@pytest.mark.parametrize("build", [nest_masking, MaskingInCode, flatten_frames, reshape_series])
def test_masking_layer_is_found(build: Callable[[float], keras.Model]) -> None:
    values = pad_series(-3)
    values = {flatten_frames: values[..., None], reshape_series: values[..., 0]}.get(build, values)
    (series,) = load(build(-3.0), {"series": values}).values()
    assert_valid(series)
    assert series.validity.source == "masking-layer"
    assert series.kind == "features"


def test_ids_out_of_range_do_not_hide_a_mask() -> None:
    model = build_argument()
    ids = TOKENS.copy()
    ids[0, 0] = 99
    assert load(model, {"ids": ids, "flags": VALID.astype(int)})["ids"].validity.source == "mask-input"


# Subclassed models.


class TakesDict(keras.Model):
    """Its keys are out of alphabetical order, and so may be the columns."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.tags, self.lstm = (
            layers.Embedding(20, 4, mask_zero=True),
            layers.Embedding(3, 4),
            layers.LSTM(3),
        )

    def call(self, inputs: Any) -> Any:
        x = self.words(inputs["words"])
        return self.lstm(x + self.tags(inputs["a_tags"]), mask=self.words.compute_mask(inputs["words"]))


class TakesPair(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.lstm = layers.Embedding(20, 4, mask_zero=True), layers.LSTM(3)

    def call(self, inputs: Any) -> Any:
        words, extra = inputs
        return ops.concatenate([self.lstm(self.words(words)), extra], axis=-1)


def test_dict_model_has_one_verdict_for_all_orders() -> None:
    arrays = {"words": TOKENS, "a_tags": np.array([[0, 1, 0, 2], [1, 0, 0, 0], [0, 0, 0, 0]])}
    results = []
    for names in (("words", "a_tags"), ("a_tags", "words")):
        keras.utils.set_random_seed(0)
        report = maskcli.check({name: arrays[name] for name in names}, model=TakesDict(), targets_field=None)
        results.append((report.leak, [finding.code for finding in report.findings], report.inputs))
    assert results[0][1:] == results[1][1:]
    assert results[0][0] is not None and results[1][0] is not None
    assert results[0][0].verdict == results[1][0].verdict
    assert results[0][0].max_abs_change == results[1][0].max_abs_change


@pytest.mark.parametrize("kind", [list, tuple])
def test_pair_model_runs(kind: type) -> None:
    keras.utils.set_random_seed(0)
    arrays = {"words": TOKENS, "extra": np.ones((3, 2), "float32")}
    fresh = maskcli.inspect(arrays, model=TakesPair())
    called = TakesPair()
    called(kind(arrays.values()))
    assert fresh.outputs[0].values.shape == maskcli.inspect(arrays, model=called).outputs[0].values.shape == (3, 5)


# What commands show.


def test_commands_show_the_source(call: Call, write: Write) -> None:
    path = write("a.txt", "1 2\n3\n")
    for command in ("inspect", "loss", "check"):
        assert "tokens: padding by the lengths of the rows" in call(command, path)
        document = call(command, path, "--format", "json").json
        assert [entry["validity"]["source"] for entry in document["inputs"]] == ["lengths"]


def test_targets_are_laid_out_like_the_input_of_their_lengths(tmp_path: Path) -> None:
    """The targets of a decoder have the lengths of its input, which comes after that of the encoder."""
    path = tmp_path / "pairs.jsonl"
    path.write_text(
        '{"source": [1, 2], "target_in": [3, 4, 5], "target_out": [4, 5, 6]}\n'
        '{"source": [7, 8, 9], "target_in": [3], "target_out": [6]}\n'
    )
    specs = [InputSpec("source", (None, None), "int32"), InputSpec("target_in", (None, None), "int32")]
    dataset = read_dataset(str(path), specs, Layout(), also={"target_out": "--targets-field"})
    assert dataset.more["target_out"].tolist() == [[4, 5, 6], [6, 0, 0]]


def test_ids_of_fixed_length_next_to_features_of_any_length() -> None:
    """Ids whose number is fixed are data to their end; only the features, of any length, have padding."""
    kinds, series = keras.Input((4,), dtype="int32", name="kinds"), keras.Input((None, 2), name="series")
    x = layers.LSTM(3)(layers.Masking(0.0, name="masking")(series))
    flat = layers.Flatten()(layers.Embedding(11, 2)(kinds))
    model = keras.Model([kinds, series], layers.Dense(1)(layers.Concatenate()([x, flat])))
    result = maskcli.inspect({"kinds": TOKENS + 1, "series": pad_series(0.0)}, model=model)
    first, second = result.inputs
    assert first.valid is None or first.valid.all()
    assert first.validity.source == "none"
    assert (second.validity.source, second.validity.of) == ("masking-layer", "masking")
    np.testing.assert_array_equal(second.valid, VALID)
