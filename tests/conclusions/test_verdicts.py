"""What a report begins with."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import maskcli
from maskcli.records.report import Verdict
from tests.conftest import QUESTION

SEQUENCES = [[1, 2, 3, 4], [5, 6], [7]]
TARGETS = np.ones((3, 4, 1), "float32")


def verdicts(**options: Any) -> list[Verdict]:
    report = maskcli.report(options.pop("data", SEQUENCES), **options)
    assert [verdict.question for verdict in report.verdicts] == [
        "Does padding leak?",
        "What drops the mask?",
        "What does the loss count?",
    ]
    return list(report.verdicts)


def answers(**options: Any) -> list[tuple[str, str | None]]:
    return [(verdict.answer, verdict.severity) for verdict in verdicts(**options)]


def model(*stack: Any, mask_zero: bool = True, loss: Any = None) -> Any:
    keras.utils.set_random_seed(0)
    ids = keras.Input((None,), name="ids", dtype="int32")
    hidden = layers.Embedding(10, 4, mask_zero=mask_zero, name="embedding")(ids)
    for layer in stack:
        hidden = layer(hidden)
    made = keras.Model(ids, hidden)
    if loss is not None:
        made.compile(loss=loss)
    return made


def test_a_model_that_is_right() -> None:
    assert answers(data=QUESTION) == [("no", None), ("nothing", None), ("valid timesteps", None)]
    told = verdicts(data=QUESTION)
    assert told[0].text == "No result that counts changes by more than rounding (replace, alone, columns, gradient)."
    assert told[2].text.startswith(
        "14 of 18 timesteps count. Keras reports 616.607; over all timesteps it would be 945.0"
    )


def test_no_mask_and_padding() -> None:
    assert answers(data=QUESTION, mask_source="none")[1:] == [("there is none", "error"), ("padding too", "error")]
    text = verdicts(data=QUESTION, mask_source="none")[2].text
    assert text == ("4 padded timesteps of 18 count. Keras reports 945.145; over the valid ones alone it is 616.607.")


def test_no_padding_at_all() -> None:
    told = verdicts(data=[[1, 2], [3, 4]], mask_source="none")
    assert [(verdict.answer, verdict.severity) for verdict in told] == [
        ("no", None),
        ("there is none", None),
        ("valid timesteps", None),
    ]
    assert told[0].text == "There is no padding in the rows that were probed."


@pytest.mark.filterwarnings("ignore")
def test_a_convolution_that_loses_it() -> None:
    conv = layers.Conv1D(1, 3, padding="same", name="conv")
    told = verdicts(model=model(conv, loss="mse"), targets=TARGETS)
    assert [(verdict.answer, verdict.severity) for verdict in told] == [
        ("yes", "error"),
        ("conv", "error"),
        ("padding too", "error"),
    ]
    assert told[0].text.endswith("It enters at conv.")
    assert told[1].text == "A mask reaches conv (Conv1D), and none goes on."


def test_a_loss_that_was_not_asked_for_or_has_no_targets() -> None:
    dense = layers.Dense(1, name="dense")
    untold = verdicts(model=model(dense, loss="mse"))[2]
    assert (untold.answer, untold.severity) == ("not tried", None)
    assert untold.text == "No targets were given: --targets FILE, or --targets-field NAME of the data."
    without = verdicts(model=model(dense), targets=TARGETS)[2]
    assert "is not compiled with a loss" in without.text
    assert answers(model=model(dense, loss="mse"), targets=TARGETS)[2] == ("valid timesteps", None)


def test_a_pooled_output_counts_every_sample() -> None:
    pooled = model(layers.GlobalAveragePooling1D(), layers.Dense(1), loss="mse")
    assert answers(model=pooled, targets=np.ones((3, 1)))[2] == ("every sample", None)


def test_weights_that_leave_padding_out() -> None:
    bare = model(layers.Dense(1), mask_zero=False, loss="mse")
    valid = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]], "float32")
    assert answers(model=bare, targets=TARGETS)[2] == ("padding too", "error")
    assert answers(model=bare, targets=TARGETS, sample_weight=valid)[2] == ("valid timesteps", None)


@pytest.mark.filterwarnings("ignore")
def test_a_model_that_draws_lots_is_not_judged() -> None:
    class Lots(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x + keras.random.normal(keras.ops.shape(x))

    report = maskcli.report(SEQUENCES, model=model(Lots(), layers.Dense(1)))
    assert report.verdicts[0].answer == "not tried"
    assert report.leaks == ()
    assert report.no_leaks is not None
    assert "two runs on the same data differ" in report.no_leaks


@pytest.mark.filterwarnings("ignore")
def test_what_pools_without_the_mask_is_named_though_padding_does_not_leak() -> None:
    stack = (layers.LSTM(4, return_sequences=True, name="lstm"), layers.GlobalMaxPooling1D(name="most"))
    told = verdicts(model=model(*stack))
    assert [(verdict.answer, verdict.severity) for verdict in told[:2]] == [("no", None), ("most", "info")]
    assert told[1].text == "A mask reaches most (GlobalMaxPooling1D), and none goes on."


@pytest.mark.filterwarnings("ignore")
def test_what_keras_does_to_merge_masks_drops_none() -> None:
    words, tags = (keras.Input((None,), name=name, dtype="int32") for name in ("words", "tags"))
    both = [layers.Embedding(10, 4, mask_zero=True)(ids) for ids in (words, tags)]
    merged = layers.LSTM(3, return_sequences=True)(layers.Concatenate()(both))
    ids = np.array([[1, 2, 3], [4, 0, 0]], "int32")
    report = maskcli.report({"words": ids, "tags": ids}, model=keras.Model([words, tags], merged))
    assert any(call.computes_mask for call in report.inspection.trace)
    assert (report.verdicts[1].answer, report.verdicts[1].severity) == ("nothing", None)
    assert not any(edge.lost for edge in report.inspection.edges)
