"""The oracle on models whose truth is known by reasoning."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest

from tests.differential import models, oracle
from tests.differential.models import Case, Label, Source, Step, Variant, move_timeline

pytestmark = pytest.mark.filterwarnings(
    "ignore"
)  # Keras warns where a layer destroys a mask: these models have faults.

IDS = Source("tokens", "ids", "T", 16)
FEATURES = Source("series", "features", "T", 3, -1.0, content_makes_mask=True, dtype="float")
EMBEDDING = Step({"embedding": "L.Embedding(16, 4, mask_zero=True)"}, ("x = {embedding}(tokens)",), "T")
PLAIN_EMBEDDING = Step({"embedding": "L.Embedding(16, 4)"}, ("x = {embedding}(tokens)",), "T")
MASKING = Step({"masking": "L.Masking(-1.0)"}, ("x = {masking}(series)",), "T")
MEAN = Step({"mean": "L.GlobalAveragePooling1D()"}, ("x = {mean}(x)",), move=("pool",))
PLAIN_MEAN = Step({}, ("x = ops.mean(x, axis=1)",), move=("pool",))
MAXIMUM = Step({"max": 'PlainPool("max")'}, ("x = {max}(x)",), move=("pool",))


def layer(expression: str, *move: Any) -> Step:
    return Step({"layer": expression}, ("x = {layer}(x)",), move=move or ("same",))


def line(text: str, *move: Any) -> Step:
    return Step({}, (text,), move=move or ("same",))


RNN = layer("L.LSTM(3, return_sequences=True)")
CONVOLUTION = layer('L.Conv1D(3, 3, padding="same")')
POSITIONS = Step({"layer": "Positions(learned=True, keeps_mask=True)"}, ("x = {layer}(x)",), traits=("positions",))
STRIDES = Step(
    {"layer": 'L.Conv1D(3, 2, strides=2, padding="same")'}, ("x = {layer}(x)",), move=("strides", 2), traits=("stride",)
)
OVER_TIME = Step(
    {"turn": "L.Permute((2, 1))", "mix": "L.Dense(T)", "back": "L.Permute((2, 1))"}, ("x = {back}({mix}({turn}(x)))",)
)


def make_case(*steps: Step, source: Source = IDS, **details: Any) -> Case:
    case = Case(3, "functional", "one", False, "post", (source,), steps, ("x",), {"T": (5, 7, 6, 7)}, 0, "padded", True)
    return dataclasses.replace(case, **details)


def find_truth(case: Case) -> oracle.Truth:
    return oracle.find_truth(case, models.make_model(case))


@pytest.mark.slow(share=1 / 4)
@pytest.mark.parametrize(
    ("steps", "details", "verdict"),
    [
        ([EMBEDDING, RNN, MEAN], {}, "clean"),
        ([EMBEDDING, RNN, MEAN], {"side": "pre"}, "clean"),
        ([EMBEDDING, line("x = x * 2.0"), MEAN], {}, "leaks content"),
        ([EMBEDDING, RNN, PLAIN_MEAN], {}, "leaks count"),
        ([EMBEDDING, layer("L.LSTM(3, return_sequences=True, zero_output_for_mask=True)"), MAXIMUM], {}, "leaks count"),
        ([EMBEDDING, RNN, layer("L.Dense(2)")], {}, "clean"),
        ([PLAIN_EMBEDDING, RNN], {}, "clean"),
        ([PLAIN_EMBEDDING, RNN], {"side": "pre"}, "leaks content"),
        ([PLAIN_EMBEDDING, layer("L.Bidirectional(L.LSTM(2, return_sequences=True))")], {}, "leaks content"),
        ([EMBEDDING, layer("L.LSTM(3, return_sequences=True, go_backwards=True)", "reverse")], {}, "clean"),
        ([EMBEDDING, CONVOLUTION], {}, "leaks content"),
        ([EMBEDDING, layer('L.Conv1D(3, 3, padding="causal")')], {}, "clean"),
        ([EMBEDDING, layer("ZeroPadding()"), CONVOLUTION], {}, "clean"),
        ([MASKING, CONVOLUTION], {"source": FEATURES}, "clean"),
        ([MASKING, layer("L.Dense(3)"), CONVOLUTION], {"source": FEATURES}, "leaks count"),
        ([EMBEDDING, layer('SelfAttention("keys")')], {}, "clean"),
        ([EMBEDDING, layer('SelfAttention("queries")')], {}, "leaks content"),
        ([EMBEDDING, layer('SelfAttention("inverted")')], {}, "leaks content"),
        ([EMBEDDING, POSITIONS, RNN, MEAN], {"side": "pre"}, "clean"),
        ([EMBEDDING, layer("Prefix(keeps_mask=True)", "prefix"), RNN, MEAN], {}, "clean"),
        ([EMBEDDING, layer("Prefix(keeps_mask=False)", "prefix"), RNN, MEAN], {}, "leaks content"),
        ([EMBEDDING, OVER_TIME], {"fixed": True}, "leaks content"),
        ([EMBEDDING, layer("ZeroPadding()"), OVER_TIME], {"fixed": True}, "cannot-know count not tried"),
        ([EMBEDDING, layer("L.LSTM(3, unroll=True)", "pool")], {"fixed": True}, "clean"),
        ([EMBEDDING, layer("L.Conv1D(3, 2)", "windows", 2, 1)], {}, "cannot-know content"),
        (
            [MASKING, STRIDES],
            {"source": FEATURES, "side": "pre", "lengths": {"T": (5, 7, 6)}},
            "cannot-know count",
        ),
        ([EMBEDDING, layer("L.GroupNormalization(1)"), MEAN], {}, "leaks content"),
        ([EMBEDDING, MEAN], {"style": "subclassed"}, "clean"),
        ([EMBEDDING, RNN, MEAN], {"style": "sequential"}, "clean"),
    ],
)
def test_truth_of_known_models(steps: list[Step], details: dict[str, Any], verdict: str) -> None:
    truth = find_truth(make_case(*steps, **details))
    assert f"{truth.verdict} {truth.kind}".strip() == verdict


def test_leak_at_noisy_weights_only() -> None:
    """A convolution adds its bias, which is zero in a fresh model, to padding."""
    steps = [MASKING, layer("L.Dense(3)"), CONVOLUTION]
    truth = find_truth(make_case(*steps, source=FEATURES, trained=False))
    assert (truth.verdict, truth.noisy) == ("leaks", True)


def test_rows_mix() -> None:
    assert find_truth(make_case(EMBEDDING, layer("RowCenter()"), MEAN)).rows_mix is True
    assert find_truth(make_case(EMBEDDING, layer("L.BatchNormalization()"), MEAN)).rows_mix is False


def test_batch_of_one_row_is_not_another_batch() -> None:
    """Keras adds ``(1, timesteps, 1)`` to the last axis if that is as long: only in a batch of one row."""
    scores = line("x = ops.matmul(x, ops.transpose(x, (0, 2, 1))) + ops.expand_dims(ops.sum(x, axis=-1), -1)")
    one, two = (np.ones((rows, 2, 2)) + np.array([[[0.0], [1.0]]]) for rows in (1, 2))
    bias = np.array([[[0.0], [1.0]]])
    added = [np.asarray(models.NAMES["ops"].add(batch, np.repeat(bias, len(batch), 0))) for batch in (one, two)]
    assert np.array_equal(added[1][0], one[0] + bias[0])
    assert not np.array_equal(added[0], added[1][:1])
    assert find_truth(make_case(EMBEDDING, scores, MEAN)).rows_mix is False


def test_future() -> None:
    assert find_truth(make_case(EMBEDDING, RNN)).future is False
    assert find_truth(make_case(EMBEDDING, layer('SelfAttention("keys")'))).future is True
    assert find_truth(make_case(EMBEDDING, layer('SelfAttention("keys", causal=True)'))).future is False
    assert find_truth(make_case(EMBEDDING, RNN, MEAN)).future is None


def test_timelines_of_moves() -> None:
    labels = [Label(step, step) for step in range(5)]
    assert move_timeline(labels, ("reverse",)) == labels[::-1]
    assert move_timeline(labels, ("windows", 2, 2)) == [Label(0, 1), Label(2, 3)]
    assert move_timeline(labels, ("strides", 2)) == [Label(0, 1), Label(2, 3), Label(4, 4)]
    assert move_timeline(labels, ("prefix",)) == [Label(0, 0, "new"), *labels]
    assert move_timeline(labels, ("pool",)) is None
    assert move_timeline(None, ("generate", 2)) == [Label(0, 0, "new"), Label(1, 1, "new")]


def test_variants_keep_the_content_of_rows() -> None:
    case = make_case(EMBEDDING, MEAN, side="pre")
    arrays = models.assemble(case)["tokens"]
    longer = models.assemble(case, Variant(sizes={"T": 9}))["tokens"]
    assert np.array_equal(longer[:, 2:], arrays)
    assert not np.any(longer[:, :2])
    single = models.assemble(case, Variant(rows=(0,), sizes={"T": 5}))["tokens"]
    assert np.array_equal(single[0], arrays[0, 2:])
    renewed = models.assemble(case, Variant(renew=2, keep=1))["tokens"]
    assert np.array_equal(renewed[1], arrays[1])
    assert np.array_equal(renewed[0, :4], arrays[0, :4])
    assert not np.array_equal(renewed, arrays)
    assert np.array_equal(renewed == 0, arrays == 0)


def test_features_of_padding_change_only_without_masking() -> None:
    for makes_mask, changes in itertools.product((True, False), (None, 4)):
        source = dataclasses.replace(FEATURES, content_makes_mask=makes_mask)
        case = make_case(MASKING, MEAN, source=source)
        padding = models.assemble(case, Variant(fill=changes))["series"][0, 5:]
        assert np.all(padding == -1) == (makes_mask or changes is None)


def test_case_survives_json() -> None:
    case = make_case(EMBEDDING, layer("L.Conv1D(3, 2)", "windows", 2, 1), MEAN)
    assert models.from_json(models.to_json(case)) == case
