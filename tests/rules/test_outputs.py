"""Of several outputs, what is said names the one that is meant; of one, it names none."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from rich.console import Console

import maskcli
from maskcli.render.parts import Limits
from maskcli.render.terminal import render_text
from maskcli.render.views.check import view

ROWS = [[1, 2, 3, 4, 5, 6], [4, 5, 6], [7, 8]]
TARGETS = np.array([[0, 1, 2, 0, 1, 2], [0, 1, 1, 2, 2, 2], [2, 0, 1, 1, 1, 1]])


def tokens_of() -> Any:
    keras.utils.set_random_seed(0)
    return keras.Input((None,), dtype="int32", name="tokens")


def heads(tokens: Any) -> tuple[Any, Any]:
    """Return tags, which are right, and a score into which padding leaks."""
    x = layers.Embedding(10, 4, mask_zero=True, name="embedding")(tokens)
    return layers.Dense(3, name="classes")(x), layers.LSTM(2, name="lstm")(layers.Dense(4)(x) * 2.0)


def of_a_dict() -> Any:
    tokens = tokens_of()
    tags, score = heads(tokens)
    return keras.Model(tokens, {"tags": tags, "score": score})


def of_a_list() -> Any:
    tokens = tokens_of()
    return keras.Model(tokens, [*heads(tokens)])


def of_a_nest() -> Any:
    tokens = tokens_of()
    tags, score = heads(tokens)
    return keras.Model(tokens, {"tags": tags, "states": [tags, score]})


def subclassed() -> Any:
    class Model(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.classes = layers.Embedding(10, 4, mask_zero=True), layers.Dense(3)

        def call(self, tokens: Any) -> Any:
            x = self.embedding(tokens)
            return {"tags": self.classes(x), "score": keras.ops.mean(x, axis=1)}

    keras.utils.set_random_seed(0)
    return Model()


def of_one() -> Any:
    tokens = tokens_of()
    return keras.Model(tokens, heads(tokens)[1])


def checked(model: Any, **options: Any) -> maskcli.CheckReport:
    with warnings.catch_warnings(action="ignore"):
        return maskcli.check(ROWS, model=model, **options)


def shown(report: maskcli.CheckReport) -> str:
    """Return what the screen says, without the breaks of its lines."""
    console = Console(file=io.StringIO(), width=80, color_system=None)
    return " ".join(render_text(view(report, Limits(None, None, 80)), console).split())


@pytest.mark.parametrize(
    ("build", "name"), [(of_a_dict, "score"), (of_a_list, "1"), (of_a_nest, "states/1"), (subclassed, "score")]
)
def test_the_output_into_which_padding_leaks_is_named(build: Callable[[], Any], name: str) -> None:
    report = checked(build())
    model = report.examination.model
    assert model is not None
    assert model.leak is not None
    assert model.leak.output == name
    assert {probe.output for probe in model.leak.probes if probe.leaks and probe.name != "gradient"} == {name}
    (found,) = (found for found in report.findings if found.code == "MSK101")
    assert f"most in output {name} at sample " in found.message
    told = f" Padding changes results by up to {model.leak.max_abs_change:.3g}, most in output {name}. "
    assert told in shown(report)


def test_one_output_needs_no_name() -> None:
    report = checked(of_one())
    assert ", most at sample " in report.findings[0].message
    assert "in output" not in shown(report)


@pytest.mark.parametrize(
    ("outputs", "named"),
    [
        (lambda tags, score: {"tags": tags, "score": score}, "output tags"),
        (lambda tags, score: [score, tags], "output 1"),
        (lambda tags, _score: tags, "the output"),
    ],
)
def test_the_output_that_goes_out_without_its_mask_is_named(outputs: Callable[[Any, Any], Any], named: str) -> None:
    tokens = tokens_of()
    x = layers.Embedding(10, 4, mask_zero=True)(tokens)
    model = keras.Model(tokens, outputs(layers.Dense(3)(x) * 2.0, layers.GlobalAveragePooling1D()(x)))
    (found,) = checked(model).findings
    assert found.code == "MSK101"
    assert f" So {named} goes out without one, and a loss counts 7 masked timesteps of 18." in found.message


def test_the_output_that_a_metric_judges_is_named() -> None:
    tokens = tokens_of()
    x = layers.Embedding(10, 4, mask_zero=True)(tokens)
    tags = layers.Dense(3, activation="softmax", name="tags")(x)
    model = keras.Model(tokens, {"score": layers.GlobalAveragePooling1D(name="score")(x), "tags": tags})
    iou = keras.metrics.MeanIoU(3, sparse_y_pred=False)
    model.compile(loss={"tags": "sparse_categorical_crossentropy", "score": "mse"}, metrics={"tags": [iou]})
    (found,) = (found for found in checked(model).findings if found.code == "MSK303")
    assert "(MeanIoU) ignores the mask of output tags: it says " in found.message


def test_mean_iou_is_asked_for_the_numbers_that_numpy_gives() -> None:
    tokens = tokens_of()
    x = layers.Embedding(10, 4, mask_zero=True)(tokens)
    model = keras.Model(tokens, layers.Dense(3, activation="softmax")(x))
    model.compile(loss="sparse_categorical_crossentropy", metrics=[keras.metrics.MeanIoU(3, sparse_y_pred=False)])
    (found,) = (found for found in checked(model, targets=TARGETS).findings if found.code == "MSK303")
    padded = np.array([[*row, *[0] * (6 - len(row))] for row in ROWS])
    classes = np.asarray(model(padded)).argmax(axis=-1)
    assert found.evidence["with_mask"] == pytest.approx(mean_iou(TARGETS, classes), rel=1e-6)
    assert found.evidence["valid"] == pytest.approx(mean_iou(TARGETS[padded != 0], classes[padded != 0]), rel=1e-6)


def mean_iou(targets: np.ndarray, classes: np.ndarray) -> float:
    both = [((targets == k) & (classes == k)).sum() / ((targets == k) | (classes == k)).sum() for k in range(3)]
    return float(np.mean(both))
