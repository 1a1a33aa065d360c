"""Results of kinds that people publish: pairs, decoded tags, strides and NaN, and what their data looks like."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

import maskcli
from maskcli.records.check import CheckReport, RepairAttempt
from maskcli.render.views.check_answer import _describe_repair
from tests.probes.test_public_models import (
    IDS,
    LENGTHS,
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
ROWS = [row[:length] for row, length in zip(IDS.tolist(), LENGTHS, strict=True)]


def find(report: CheckReport, code: str) -> Any:
    return next(finding for finding in report.findings if finding.code == code)


# Rounding, which must not touch the value that a comparison looks for.


def compare_slice() -> Case:
    """Compare one feature with the value of padding, as code for missing targets does."""
    series = keras.Input((None, 2), name="series")
    mask = ops.not_equal(series[..., 0], -999.0)
    return {"series": make_series(2, -999.0)}, keras.Model(series, layers.Dense(1)(layers.LSTM(3)(series, mask=mask)))


def clip_features() -> Case:
    series = keras.Input((None, 2), name="series")
    x = layers.Masking(-2.0)(ops.clip(series, -2.0, 5.0))
    return {"series": make_series(2, -2.0)}, keras.Model(series, layers.Dense(1)(layers.LSTM(3)(x)))


@pytest.mark.parametrize("build", [compare_slice, clip_features])
def test_rounding_keeps_numbers_that_are_only_moved(build: Any) -> None:
    assert get_verdict(check(build)) == "clean"


# Results of pairs of timesteps.


class Contacts(layers.Layer):
    """Returns a number for each pair of timesteps, from the mean of their row and column over timesteps."""

    def __init__(self, *, masked: bool, last: bool, **options: Any) -> None:
        super().__init__(**options)
        self.masked, self.last = masked, last
        self.first, self.second = layers.Dense(3), layers.Dense(3)

    def call(self, x: Any, ids: Any) -> Any:
        pairs = self.first(x)[:, :, None] * self.second(x)[:, None]
        if self.masked:
            mask = ops.cast(ops.not_equal(ids, 0), x.dtype)
            pairs = pairs * (mask[:, :, None] * mask[:, None])[..., None]
        mixed = pairs + ops.einsum("bikc,bjkc->bijc", pairs, pairs)
        return mixed if self.last else ops.sum(mixed, axis=-1)


@pytest.mark.parametrize(("masked", "verdict"), [(True, "clean"), (False, "leaks")])
@pytest.mark.parametrize("last", [True, False])
def test_results_of_pairs_count_where_both_timesteps_are_valid(masked: bool, verdict: str, last: bool) -> None:
    def build() -> Case:
        ids = keras.Input((None,), dtype="int32", name="ids")
        x = layers.Embedding(12, 4, name="look")(ids)
        return {"ids": IDS}, keras.Model(ids, Contacts(masked=masked, last=last, name="contacts")(x, ids))

    assert get_verdict(check(build)) == verdict


@pytest.mark.parametrize(("masked", "verdict"), [(True, "clean"), (False, "leaks")])
def test_map_of_attention_leaks_by_the_number_of_keys(masked: bool, verdict: str) -> None:
    """Vectors of padding do not change, so that only its amount shows."""

    def build() -> Case:
        ids, x = look_up()
        x = layers.LSTM(4, return_sequences=True)(x)
        mask = ops.not_equal(ids, 0)[:, None, :]
        scores = layers.Dot((2, 2))([x, x])
        return {"ids": IDS}, keras.Model(ids, layers.Softmax()(scores, mask=mask if masked else None))

    assert get_verdict(check(build)) == verdict


class Tagger(keras.Model):
    """Chooses a class at each timestep with regard to the one before, as a decoder of tags does."""

    def __init__(self) -> None:
        super().__init__()
        self.look = layers.Embedding(12, 4, mask_zero=True)
        self.rnn, self.head = layers.LSTM(4, return_sequences=True), layers.Dense(3)

    def call(self, ids: Any) -> Any:
        scores = self.head(self.rnn(self.look(ids)))
        tags = [ops.argmax(scores[:, 0], axis=-1)]
        for timestep in range(1, scores.shape[1]):
            tags.append(ops.argmax(scores[:, timestep] + 0.1 * ops.one_hot(tags[-1], 3), axis=-1))
        return ops.stack(tags, axis=1)


def test_decoded_tags_of_rows_without_padding_are_compared() -> None:
    assert get_verdict(check(lambda: ({"ids": IDS}, Tagger()))) == "clean"


# More padding.


def test_strides_that_begin_elsewhere_with_an_odd_number_of_timesteps_leak() -> None:
    """All lengths are even, and four more timesteps leave the windows where they are."""

    def build() -> Case:
        series = keras.Input((None, 2), name="series")
        x = series * ops.cast(ops.any(ops.not_equal(series, 0.0), axis=-1, keepdims=True), "float32")
        x = layers.Conv1D(3, 3, strides=2, padding="same", use_bias=False, name="step")(x)
        data = np.random.default_rng(5).uniform(0.2, 1, (3, 8, 2)).astype("float32")
        data[1, 4:] = data[2, 2:] = 0
        return {"series": data}, keras.Model(series, x)

    report = check(build)
    assert get_verdict(report) == "leaks"
    assert report.leak is not None
    assert [probe.name for probe in report.leak.probes if probe.leaks] == ["columns"]


def test_missing_timesteps_inside_of_full_rows_are_proved_with_filled_rows() -> None:
    def build() -> Case:
        series = keras.Input((None, 2), name="series")
        values = np.random.default_rng(1).uniform(0.2, 1, (3, 6, 2)).astype("float32")
        values[[0, 1, 2], [2, 3, 1]] = -1
        x = layers.LSTM(3, name="rnn")(layers.Masking(-1.0)(series))
        return {"series": values}, keras.Model(series, layers.Dense(1)(x))

    assert get_verdict(check(build)) == "clean"


def test_result_that_is_not_a_number_proves_nothing() -> None:
    """In float16, -1e9 is minus infinity, which times 0 is NaN; in float32 all is right."""

    def build() -> Case:
        ids = keras.Input((None,), dtype="int32", name="ids")
        x = layers.Embedding(12, 4, dtype="mixed_float16")(ids)
        mask = ops.cast(ops.not_equal(ids, 0), "float16")
        scores = ops.matmul(x, ops.transpose(x, (0, 2, 1))) + ((1.0 - mask) * -1e9)[:, None]
        x = ops.sum(ops.matmul(ops.softmax(scores), x) * mask[..., None], axis=1)
        return {"ids": IDS}, keras.Model(ids, layers.Dense(1, dtype="float32")(x))

    report = check(build)
    assert get_verdict(report) == "unproven"
    assert "NaN at valid timesteps of 4 of 4 rows" in find(report, "MSK115").message


# The data.


def test_pairs_of_nodes_have_no_padding_inside() -> None:
    """Edges ``(batch, edges, 2)`` are padded with (-1, -1), and only edges may be added."""

    def build() -> Case:
        edges = keras.Input((None, 2), dtype="int32", name="edges")
        valid = ops.cast(edges[..., :1] >= 0, "float32")
        x = layers.Embedding(6, 3)(ops.maximum(edges, 0))
        x = ops.sum(x[:, :, 0] * x[:, :, 1] * valid, axis=1)
        data = np.random.default_rng(2).integers(0, 6, (3, 5, 2)).astype("int32")
        data[1, 3:] = data[2, 2:] = -1
        return {"edges": data}, keras.Model(edges, layers.Dense(1)(x))

    report = check(build)
    assert get_verdict(report) == "clean"


def test_rows_that_end_in_one_vector_look_padded() -> None:
    values = np.random.default_rng(2).normal(size=(4, 6, 3)).astype("float32")
    values[~VALID] = [-0.638, -0.571, -0.571]
    report = maskcli.check({"series": values}, data_only=True)
    (finding,) = report.findings
    assert finding.code == "MSK008"
    assert "the vector [-0.638, -0.571, -0.571]" in finding.message
    assert "`series.mask`" in finding.fix


class Takes(keras.Model):
    """Takes a dict, as Hugging Face datasets give it."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.key = name
        self.look, self.rnn, self.head = layers.Embedding(12, 4, mask_zero=True), layers.GRU(3), layers.Dense(1)

    def call(self, batch: Any) -> Any:
        return self.head(self.rnn(self.look(batch[self.key])))


@pytest.mark.parametrize("built", [True, False])
def test_model_takes_a_dict_of_one_array(built: bool) -> None:
    def build() -> Case:
        model = Takes("ids")
        if built:
            model({"ids": IDS[:1]})
        return {"ids": IDS}, model

    assert get_verdict(check(build)) == "clean"


class Graph(keras.Model):
    """Sums over the neighbours of each node; takes the number of nodes as an integer."""

    def __init__(self) -> None:
        super().__init__()
        self.look, self.head = layers.Embedding(12, 4), layers.Dense(1)

    def call(self, inputs: Any) -> Any:
        x = ops.matmul(ops.cast(inputs["adjacency"], "float32"), self.look(inputs["nodes"]))
        valid = ops.arange(ops.shape(x)[1])[None] < inputs["size"][:, None]
        return self.head(ops.sum(x * ops.cast(valid, "float32")[..., None], axis=1))


def test_square_rows_and_counts_of_records_fit_a_model_without_declared_inputs() -> None:
    """Records hold matrices of different sizes, and integers, which are int32 as everywhere in Keras."""
    rng = np.random.default_rng(3)
    records = [
        {"nodes": row, "adjacency": rng.integers(0, 2, (len(row), len(row))).astype(float).tolist(), "size": len(row)}
        for row in ROWS
    ]
    keras.utils.set_random_seed(0)
    report = maskcli.check(records, model=Graph())
    assert get_verdict(report) == "clean"
    shapes = {entry.name: (entry.shape, entry.dtype) for entry in report.inputs}
    assert shapes == {
        "nodes": ((4, 6), "int32"),
        "adjacency": ((4, 6, 6), "float32"),
        "size": ((4,), "int32"),
    }


def test_records_are_taken_from_a_list() -> None:
    keras.utils.set_random_seed(0)
    records = [{"ids": row, "label": 1.0} for row in ROWS]
    ids, x = look_up()
    assert maskcli.check(records, model=keras.Model(ids, layers.LSTM(3)(x))).passed


# Calls at fault.


class Scan(layers.Layer):
    """A linear recurrence by an associative scan, forwards or backwards."""

    def __init__(self, *, reverse: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.gate, self.value, self.reverse = layers.Dense(4, activation="sigmoid"), layers.Dense(4), reverse

    def call(self, x: Any) -> Any:
        def join(left: Any, right: Any) -> Any:
            return left[0] * right[0], right[0] * left[1] + right[1]

        both = ops.associative_scan(join, (self.gate(x), self.value(x)), reverse=self.reverse, axis=1)
        return both[1]


class ScanBothWays(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.look, self.head = layers.Embedding(12, 4, mask_zero=True), layers.Dense(1)
        self.forwards, self.backwards = Scan(name="forwards"), Scan(reverse=True, name="backwards")

    def call(self, ids: Any) -> Any:
        x = self.look(ids)
        return self.head(self.forwards(x) + self.backwards(x))


def test_layer_with_equal_results_is_not_to_blame_for_what_its_code_computes() -> None:
    """Code of a scan computes with every second timestep."""
    report = check(lambda: ({"ids": IDS}, ScanBothWays()))
    assert list_errors(report) == [("MSK101", "backwards")]


def test_mask_that_a_merge_fills_up_was_lost_before_it() -> None:
    def build() -> Case:
        (history, x), (item, y) = look_up("history"), look_up("item")
        rating = ops.expand_dims(ops.cast(history, "float32"), -1)
        x = layers.Multiply(name="rated")([x, rating])
        x = layers.Concatenate(axis=1, name="with_item")([x, y])
        x = layers.GlobalAveragePooling1D(name="pool")(x)
        data = {"history": ROWS, "item": [[3], [4], [5], [6]]}
        return data, keras.Model([history, item], layers.Dense(1)(x))

    assert list_errors(check(build))[0] == ("MSK101", "rated")


# The code of repairs.


class Relate(layers.Layer):
    """Is called with a bias before the tensor that has the mask."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.dense = layers.Dense(4)

    def call(self, bias: Any, x: Any) -> Any:
        return self.dense(x) + bias


@pytest.mark.parametrize("repaired", [False, True])
def test_mask_of_a_second_argument_is_kept_after_the_call(repaired: bool) -> None:
    """Keras passes on the mask of the first argument only."""

    def build(kept: Any = None) -> Case:
        (ids, x), bias = look_up(), keras.Input((1, 4), name="bias")
        y = Relate(name="relate")(bias, x)
        y = y if kept is None else kept()([y, x])
        data = {"ids": IDS, "bias": np.full((4, 1, 4), 0.5, "float32")}
        return data, keras.Model([ids, bias], layers.LSTM(3)(y))

    report = check(build)
    code = join_code(report)
    assert "y = KeepMask()([y, x])  # y is the result of relate" in code
    if repaired:
        scope: dict[str, Any] = {"keras": keras}
        exec(code.partition("\n\n\n")[0], scope)  # noqa: S102 - the code of the repair
        assert get_verdict(check(lambda: build(scope["KeepMask"]))) == "clean"


class Normalize(layers.Layer):
    """Attends without a mask on its result, and normalises over timesteps."""

    def __init__(self, *, repaired: Any = None, **options: Any) -> None:
        super().__init__(**options)
        self.norm = (repaired or layers.GroupNormalization)(2, name="norm")
        self.repaired = repaired is not None

    def call(self, x: Any, mask: Any = None) -> Any:
        y = ops.matmul(ops.eye(4), ops.transpose(x, (0, 2, 1)))
        y = ops.transpose(y, (0, 2, 1))
        return self.norm(y, mask=mask) if self.repaired else self.norm(y)


def test_statistics_in_the_code_of_a_layer_receive_its_mask() -> None:
    def build(repaired: Any = None) -> Case:
        ids, x = look_up()
        x = Normalize(repaired=repaired, name="block")(x)
        return {"ids": IDS}, keras.Model(ids, layers.LSTM(3)(x, mask=ops.not_equal(ids, 0)))

    report = check(build)
    code = join_code(report)
    assert "self.norm(..., mask=mask)  # in Normalize.call(self, ..., mask=None)" in code
    scope: dict[str, Any] = {"keras": keras}
    exec(code.partition("\n\n\nself.")[0], scope)  # noqa: S102 - the code of the repair
    assert get_verdict(check(lambda: build(scope["MaskedGroupNormalization"]))) == "clean"


def test_mask_of_a_masking_inside_of_a_graph_is_named_by_its_input() -> None:
    def build(repaired: bool = False) -> Case:
        series = keras.Input((None, 2), name="series")
        masking = layers.Masking(-1.0, name="masking")
        x = masking(ops.clip(series, -1.0, 5.0)) * 2.0
        mask = masking.compute_mask(masking.input) if repaired else None
        return {"series": make_series(2, -1.0)}, keras.Model(series, layers.LSTM(3, name="rnn")(x, mask=mask))

    assert join_code(check(build)) == "rnn(..., mask=masking.compute_mask(masking.input))"
    assert get_verdict(check(lambda: build(repaired=True))) == "clean"


def test_lambda_with_a_function_for_its_mask_survives_saving() -> None:
    """A loaded graph passes the masks that it was saved with."""

    def build() -> Case:
        ids, x = look_up()
        x = layers.Lambda(lambda y: y * 2.0, mask=lambda _, mask: mask)(x)
        return {"ids": IDS}, keras.Model(ids, layers.LSTM(3)(x))

    assert check(build).findings == ()


def mean_over_everything(targets: Any, values: Any) -> Any:
    losses = keras.losses.sparse_categorical_crossentropy(targets, values, from_logits=True)
    return ops.mean(losses * ops.cast(ops.not_equal(targets, 0), losses.dtype))


def mean_over_valid(targets: Any, values: Any) -> Any:
    losses = keras.losses.sparse_categorical_crossentropy(targets, values, from_logits=True)
    mask = ops.cast(ops.not_equal(targets, 0), losses.dtype)
    return ops.sum(losses * mask) / ops.sum(mask)


@pytest.mark.parametrize(("loss", "codes"), [(mean_over_everything, ["MSK301"]), (mean_over_valid, [])])
def test_loss_of_a_batch_that_divides_by_padding_shrinks(loss: Any, codes: list[str]) -> None:
    def build() -> Case:
        ids, x = look_up(mask_zero=False)
        model = keras.Model(ids, layers.Dense(12)(x))
        model.compile(loss=loss)
        return {"ids": IDS}, model

    report = check(build, targets=IDS)
    assert [finding.code for finding in report.findings if finding.code == "MSK301"] == codes


def test_answer_separates_repairs_of_training_from_those_of_a_leak() -> None:
    def build() -> Case:
        ids, x = look_up(mask_zero=False)
        return {"ids": IDS}, keras.Model(ids, layers.GlobalAveragePooling1D()(x))

    report = check(build)
    attempt = RepairAttempt("zero-padding", "look_ids", 0.1, "padding still changes results")
    failed = dataclasses.replace(report, repairs=(), attempts=(attempt,))
    assert _describe_repair(report).startswith("Repair, tried: ")
    assert _describe_repair(failed) == "Repair of the leak: none found, 1 change tried in vain."


SCRIPT = """
import keras
from keras import layers, ops

class Pair(keras.Model):
    def __init__(self):
        super().__init__()
        self.look = layers.Embedding(12, 4)

    def encode(self, tokens, kept):
        x = self.look(tokens) * ops.cast(kept, "float32")[..., None]
        return ops.max(x, axis=1)

    def call(self, inputs):
        first = self.encode(inputs["a_ids"], inputs["a_mask"])
        return ops.sum(first * self.encode(inputs["b_ids"], inputs["b_mask"]), axis=-1)

def build_graph():
    shop = keras.Input((None, 2), name="series")
    return keras.Model(shop, layers.Dense(1)(layers.LSTM(3, name="rnn")(shop)))
"""


def test_repairs_have_the_variables_of_the_code_that_they_change(tmp_path: Path) -> None:
    """A method has its arguments, and a graph the variable that holds its input."""
    file = tmp_path / "shop.py"
    file.write_text(SCRIPT)
    data = {"a_ids": IDS, "a_mask": VALID.astype("int32"), "b_ids": IDS[::-1], "b_mask": VALID[::-1].astype("int32")}
    report = maskcli.check(data, model=f"{file}:Pair")
    assert {repair.code.partition("  #")[0] for repair in report.repairs} == {
        "scores = keras.ops.where(kept[:, :, None], scores, -1e9)"
    }
    report = maskcli.check({"series": make_series(2)}, model=f"{file}:build_graph")
    assert join_code(report).startswith("masked_shop = keras.layers.Masking(0)(shop)  # shop is that keras.Input")


class ChunkedAttention(layers.Layer):
    """Attends inside of chunks of four timesteps, with padding among the keys."""

    def call(self, x: Any) -> Any:
        timesteps = ops.shape(x)[1]
        more = (-timesteps) % 4
        x = ops.pad(x, [[0, 0], [0, more], [0, 0]])
        chunks = ops.reshape(x, (-1, (timesteps + more) // 4, 4, x.shape[-1]))
        scores = ops.matmul(chunks, ops.transpose(chunks, (0, 1, 3, 2)))
        y = ops.reshape(ops.matmul(ops.softmax(scores), chunks), (-1, timesteps + more, x.shape[-1]))
        return y[:, :timesteps]


class Chunked(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.look, self.attend = layers.Embedding(12, 4, mask_zero=True), ChunkedAttention(name="attend")

    def call(self, ids: Any) -> Any:
        return self.attend(self.look(ids))


def test_timesteps_in_chunks_are_no_pairs() -> None:
    report = check(lambda: ({"ids": IDS}, Chunked()))
    assert get_verdict(report) == "leaks"
    assert report.leak is not None
    assert str(report.leak.first_call).startswith("attend")


class TemporalBlock(layers.Layer):
    """Two convolutions over timesteps, of which the second one reads what the first one computes at padding."""

    def __init__(self, *, repaired: bool, **options: Any) -> None:
        super().__init__(**options)
        self.supports_masking = True
        self.repaired = repaired
        self.first, self.second = (layers.Conv1D(3, 3, padding="same", activation="relu") for _ in range(2))

    def call(self, inputs: Any, mask: Any = None) -> Any:
        x = self.first(inputs)
        if self.repaired:
            x = keras.ops.where(mask[..., None], x, 0.0)
        return self.second(x)


def test_convolution_in_the_code_of_a_layer_reads_zeros() -> None:
    def build(repaired: bool = False) -> Case:
        series = keras.Input((None, 2), name="series")
        x = TemporalBlock(repaired=repaired, name="block")(layers.Masking(0.0)(series))
        return {"series": make_series(2)}, keras.Model(series, layers.GlobalAveragePooling1D()(x))

    report = check(build)
    (repair,) = report.repairs
    assert repair.code == (
        "x = keras.ops.where(mask[..., None], x, 0.0)  "
        "# in TemporalBlock.call(self, ..., mask=None), where x is the input of self.second"
    )
    assert get_verdict(check(lambda: build(repaired=True))) == "clean"


class AddedMask(layers.Layer):
    """Attends with a mask of numbers that its caller passes by position, and that it adds to scores."""

    def __init__(self, how: str, **options: Any) -> None:
        super().__init__(**options)
        self.how, self.key = how, layers.Dense(4)

    def hide(self, mask: Any) -> Any:
        if "inverted" in self.how:
            return (1.0 - mask if "repaired" in self.how else mask)[:, None, :] * -1e9
        return (1.0 - mask)[:, :, None] * -1e9

    def call(self, x: Any, mask: Any) -> Any:
        scores = ops.matmul(x, ops.transpose(self.key(x), (0, 2, 1))) + self.hide(mask)
        if self.how == "repaired along queries":
            scores = keras.ops.where(mask[:, None, :], scores, -1e9)
        return ops.matmul(ops.softmax(scores), x)


class AddingModel(keras.Model):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.look, self.attend = layers.Embedding(12, 4), AddedMask(how, name="attend")

    def call(self, ids: Any) -> Any:
        return self.attend(self.look(ids), ops.cast(ops.not_equal(ids, 0), "float32"))


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("inverted", "mask = 1 - mask"),
        ("along queries", "scores = keras.ops.where(mask[:, None, :], scores, -1e9)"),
    ],
)
def test_mask_of_numbers_that_is_passed_by_position_is_repaired(how: str, code: str) -> None:
    report = check(lambda: ({"ids": IDS}, AddingModel(how)))
    assert [repair.code.partition("  #")[0] for repair in report.repairs] == [code]
    assert get_verdict(check(lambda: ({"ids": IDS}, AddingModel(f"repaired {how}")))) == "clean"
