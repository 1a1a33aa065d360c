"""Findings name the output if there are several, and no output if there is only one."""

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

pytestmark = pytest.mark.slow(share=1 / 2)

ROWS = [[1, 2, 3, 4, 5, 6], [4, 5, 6], [7, 8]]
TARGETS = np.array([[0, 1, 2, 0, 1, 2], [0, 1, 1, 2, 2, 2], [2, 0, 1, 1, 1, 1]])


def make_tokens() -> Any:
    keras.utils.set_random_seed(0)
    return keras.Input((None,), dtype="int32", name="tokens")


def make_heads(tokens: Any) -> tuple[Any, Any]:
    """Return correct tags, and a score into which padding leaks."""
    x = layers.Embedding(10, 4, mask_zero=True, name="embedding")(tokens)
    return layers.Dense(3, name="classes")(x), layers.LSTM(2, name="lstm")(layers.Dense(4)(x) * 2.0)


def build_dict() -> Any:
    tokens = make_tokens()
    tags, score = make_heads(tokens)
    return keras.Model(tokens, {"tags": tags, "score": score})


def build_list() -> Any:
    tokens = make_tokens()
    return keras.Model(tokens, [*make_heads(tokens)])


def build_nest() -> Any:
    tokens = make_tokens()
    tags, score = make_heads(tokens)
    return keras.Model(tokens, {"tags": tags, "states": [tags, score]})


def build_subclass() -> Any:
    class Model(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.classes = layers.Embedding(10, 4, mask_zero=True), layers.Dense(3)

        def call(self, tokens: Any) -> Any:
            x = self.embedding(tokens)
            return {"tags": self.classes(x), "score": keras.ops.mean(x, axis=1)}

    keras.utils.set_random_seed(0)
    return Model()


def build_single() -> Any:
    tokens = make_tokens()
    return keras.Model(tokens, make_heads(tokens)[1])


def run_check(model: Any, **options: Any) -> maskcli.CheckReport:
    with warnings.catch_warnings(action="ignore"):
        return maskcli.check(ROWS, model=model, **options)


def render_report(report: maskcli.CheckReport) -> str:
    """Return the text on the screen, without line breaks."""
    console = Console(file=io.StringIO(), width=80, color_system=None)
    return " ".join(render_text(view(report, Limits(None, None, 80)), console).split())


@pytest.mark.parametrize(
    ("build", "name"), [(build_dict, "score"), (build_list, "1"), (build_nest, "states/1"), (build_subclass, "score")]
)
def test_leak_names_output(build: Callable[[], Any], name: str) -> None:
    report = run_check(build())
    model = report.examination.model
    assert model is not None
    assert model.leak is not None
    assert model.leak.output == name
    assert {probe.output for probe in model.leak.probes if probe.leaks and probe.name != "gradient"} == {name}
    (finding,) = (finding for finding in report.findings if finding.code == "MSK101")
    assert f"(worst: output {name}, sample " in finding.message
    assert f"changes results by up to {model.leak.max_abs_change:.3g} (worst: output {name}, " in render_report(report)


def test_leak_with_single_output() -> None:
    report = run_check(build_single())
    assert "(worst: sample " in report.findings[0].message
    assert "in output" not in render_report(report)


@pytest.mark.parametrize(
    ("outputs", "name"),
    [
        (lambda tags, score: {"tags": tags, "score": score}, "output tags"),
        (lambda tags, score: [score, tags], "output 1"),
        (lambda tags, _score: tags, "the output"),
    ],
)
def test_dropped_mask_names_output(outputs: Callable[[Any, Any], Any], name: str) -> None:
    tokens = make_tokens()
    x = layers.Embedding(10, 4, mask_zero=True)(tokens)
    model = keras.Model(tokens, outputs(layers.Dense(3)(x) * 2.0, layers.GlobalAveragePooling1D()(x)))
    (finding,) = run_check(model).findings
    assert finding.code == "MSK101"
    assert f" As a result {name} carries no mask, and a loss counts 7 masked timesteps of 18." in finding.message


def test_metric_names_output() -> None:
    tokens = make_tokens()
    x = layers.Embedding(10, 4, mask_zero=True)(tokens)
    tags = layers.Dense(3, activation="softmax", name="tags")(x)
    model = keras.Model(tokens, {"score": layers.GlobalAveragePooling1D(name="score")(x), "tags": tags})
    iou = keras.metrics.MeanIoU(3, sparse_y_pred=False)
    model.compile(loss={"tags": "sparse_categorical_crossentropy", "score": "mse"}, metrics={"tags": [iou]})
    (finding,) = (finding for finding in run_check(model).findings if finding.code == "MSK303")
    assert "(MeanIoU) ignores the mask of output tags. It reports " in finding.message


def test_mean_iou_equals_numpy() -> None:
    tokens = make_tokens()
    x = layers.Embedding(10, 4, mask_zero=True)(tokens)
    model = keras.Model(tokens, layers.Dense(3, activation="softmax")(x))
    model.compile(loss="sparse_categorical_crossentropy", metrics=[keras.metrics.MeanIoU(3, sparse_y_pred=False)])
    (finding,) = (finding for finding in run_check(model, targets=TARGETS).findings if finding.code == "MSK303")
    padded = np.array([[*row, *[0] * (6 - len(row))] for row in ROWS])
    classes = np.asarray(model(padded)).argmax(axis=-1)
    assert finding.evidence["with_mask"] == pytest.approx(compute_mean_iou(TARGETS, classes), rel=1e-6)
    assert finding.evidence["valid"] == pytest.approx(
        compute_mean_iou(TARGETS[padded != 0], classes[padded != 0]), rel=1e-6
    )


def compute_mean_iou(targets: np.ndarray, classes: np.ndarray) -> float:
    ratios = [((targets == k) & (classes == k)).sum() / ((targets == k) | (classes == k)).sum() for k in range(3)]
    return float(np.mean(ratios))


def test_output_without_a_loss_has_no_evidence_of_one() -> None:
    tokens = make_tokens()
    x = layers.Embedding(10, 4, mask_zero=True)(tokens)
    model = keras.Model(tokens, {"tags": layers.Dense(3)(x), "states": layers.Dense(2)(x)})
    model.compile(loss={"tags": "sparse_categorical_crossentropy"})
    evidence = maskcli.check(ROWS, model=model).examination.model
    assert evidence is not None
    assert [loss.output for loss in evidence.losses] == ["tags"]
