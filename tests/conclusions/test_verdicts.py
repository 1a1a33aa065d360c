"""The verdicts at the start of a report."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import maskcli
from maskcli.records.report import Verdict
from tests.conftest import QUESTION

pytestmark = pytest.mark.slow(share=1 / 2)

SEQUENCES = [[1, 2, 3, 4], [5, 6], [7]]
TARGETS = np.ones((3, 4, 1), "float32")


def list_verdicts(**options: Any) -> list[Verdict]:
    report = maskcli.report(options.pop("data", SEQUENCES), **options)
    assert [verdict.question for verdict in report.verdicts] == [
        "Does padding leak?",
        "What drops the mask?",
        "What does the loss count?",
    ]
    return list(report.verdicts)


def list_answers(**options: Any) -> list[tuple[str, str | None]]:
    return [(verdict.answer, verdict.severity) for verdict in list_verdicts(**options)]


def make_model(*stack: Any, mask_zero: bool = True, loss: Any = None) -> Any:
    keras.utils.set_random_seed(0)
    ids = keras.Input((None,), name="ids", dtype="int32")
    hidden = layers.Embedding(10, 4, mask_zero=mask_zero, name="embedding")(ids)
    for layer in stack:
        hidden = layer(hidden)
    keras_model = keras.Model(ids, hidden)
    if loss is not None:
        keras_model.compile(loss=loss)
    return keras_model


def test_verdicts_of_correct_model() -> None:
    assert list_answers(data=QUESTION) == [("no", None), ("nothing", None), ("valid timesteps", None)]
    results = list_verdicts(data=QUESTION)
    assert (
        results[0].text == "No valid output changes beyond rounding error. Probes: replace, alone, columns, gradient."
    )
    assert results[2].text.startswith(
        "14 of 18 timesteps count. Keras reports 616.607; on all timesteps it would be 945.0"
    )


def test_verdicts_without_mask() -> None:
    assert list_answers(data=QUESTION, mask_source="none")[1:] == [("no mask", "error"), ("padding too", "error")]
    text = list_verdicts(data=QUESTION, mask_source="none")[2].text
    assert text == (
        "The loss includes 4 padded timesteps (of 18). Keras reports 945.145; on valid timesteps only it is 616.607."
    )


def test_verdicts_without_padding() -> None:
    results = list_verdicts(data=[[1, 2], [3, 4]], mask_source="none")
    assert [(verdict.answer, verdict.severity) for verdict in results] == [
        ("nothing to prove", None),
        ("no mask", None),
        ("valid timesteps", None),
    ]
    assert results[0].text == "The probed rows contain no padding, and the model has no mask."
    assert not results[0].known


def test_verdict_of_a_mask_that_is_an_input() -> None:
    """The model hides padding without a mask of Keras, so that a missing one is no fault."""
    ids = keras.Input((None,), name="ids", dtype="int32")
    mask = keras.Input((None,), name="attention_mask", dtype="float32")
    embedded = layers.Embedding(10, 4)(ids) * keras.ops.expand_dims(mask, -1)
    model = keras.Model([ids, mask], keras.ops.sum(embedded, axis=1))
    data = {"ids": np.array([[1, 2, 3], [4, 0, 0]]), "attention_mask": np.array([[1, 1, 1], [1, 0, 0]])}
    verdict = list_verdicts(data=data, model=model)[1]
    assert (verdict.answer, verdict.severity) == ("no mask of Keras", None)
    assert verdict.text == ("No call creates a mask of Keras: the model takes the mask as an input (attention_mask).")
    remarks = [remark for remark in maskcli.inspect(data, model=model).remarks if remark.topic == "no-mask"]
    assert [remark.kind for remark in remarks] == ["fact"]


@pytest.mark.filterwarnings("ignore")
def test_verdicts_of_convolution() -> None:
    conv = layers.Conv1D(1, 3, padding="same", name="conv")
    results = list_verdicts(model=make_model(conv, loss="mse"), targets=TARGETS)
    assert [(verdict.answer, verdict.severity) for verdict in results] == [
        ("yes", "error"),
        ("conv", "error"),
        ("padding too", "error"),
    ]
    assert results[0].text.endswith("It enters at conv (Conv1D).")
    assert results[1].text == "conv (Conv1D) receives a mask but does not pass it on."


def test_loss_verdict_without_targets_or_loss() -> None:
    dense = layers.Dense(1, name="dense")
    verdict = list_verdicts(model=make_model(dense, loss="mse"))[2]
    assert (verdict.answer, verdict.severity) == ("not tried", None)
    assert verdict.text == "No targets were given: --targets FILE, or --targets-field NAME of the data."
    uncompiled = list_verdicts(model=make_model(dense), targets=TARGETS)[2]
    assert "is not compiled with a loss" in uncompiled.text
    assert list_answers(model=make_model(dense, loss="mse"), targets=TARGETS)[2] == ("valid timesteps", None)


def test_loss_verdict_of_pooled_output() -> None:
    pooled = make_model(layers.GlobalAveragePooling1D(), layers.Dense(1), loss="mse")
    assert list_answers(model=pooled, targets=np.ones((3, 1)))[2] == ("every sample", None)


def test_loss_verdict_with_weights() -> None:
    bare = make_model(layers.Dense(1), mask_zero=False, loss="mse")
    valid = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]], "float32")
    assert list_answers(model=bare, targets=TARGETS)[2] == ("padding too", "error")
    assert list_answers(model=bare, targets=TARGETS, sample_weight=valid)[2] == ("valid timesteps", None)


@pytest.mark.filterwarnings("ignore")
def test_leak_verdict_of_random_model() -> None:
    class Lots(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x + keras.random.normal(keras.ops.shape(x))

    report = maskcli.report(SEQUENCES, model=make_model(Lots(), layers.Dense(1)))
    assert (report.verdicts[0].answer, report.verdicts[0].severity) == ("unproven", "warning")
    assert report.leaks == ()
    assert report.no_leaks is not None
    assert "two runs on the same data differ" in report.no_leaks


@pytest.mark.filterwarnings("ignore")
def test_mask_verdict_of_pooling_without_leak() -> None:
    stack = (layers.LSTM(4, return_sequences=True, name="lstm"), layers.GlobalMaxPooling1D(name="most"))
    results = list_verdicts(model=make_model(*stack))
    assert [(verdict.answer, verdict.severity) for verdict in results[:2]] == [("no", None), ("most", "info")]
    assert results[1].text == "most (GlobalMaxPooling1D) receives a mask but does not pass it on."


@pytest.mark.filterwarnings("ignore")
def test_mask_verdict_of_merged_masks() -> None:
    words, tags = (keras.Input((None,), name=name, dtype="int32") for name in ("words", "tags"))
    both = [layers.Embedding(10, 4, mask_zero=True)(ids) for ids in (words, tags)]
    merged = layers.LSTM(3, return_sequences=True)(layers.Concatenate()(both))
    ids = np.array([[1, 2, 3], [4, 0, 0]], "int32")
    report = maskcli.report({"words": ids, "tags": ids}, model=keras.Model([words, tags], merged))
    assert any(call.computes_mask for call in report.inspection.trace)
    assert (report.verdicts[1].answer, report.verdicts[1].severity) == ("nothing", None)
    assert not any(edge.lost for edge in report.inspection.edges)
