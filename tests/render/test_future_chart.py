"""The chart of timesteps by timesteps: it draws exactly the changes of the record."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from keras import layers

import maskcli
from maskcli.records.arrays import Floats
from maskcli.records.evidence import FutureEffect
from maskcli.records.report import Report
from maskcli.render.charts import future
from maskcli.render.charts.looks import UNMOVED
from maskcli.render.documents import dumps, make_document, read_report_document
from maskcli.render.page import render_page
from tests.render.test_charts import NASTY, compile_figure, list_marks, list_places, locate

pytest.importorskip("vl_convert")


def make_effect(matrix: Floats, block: int = 1, shift: int = 0, output: str = "y") -> FutureEffect:
    ahead = bool(np.triu(np.nan_to_num(matrix), 1).any())
    return FutureEffect(
        output=output,
        looks_ahead=ahead,
        max_abs_change=0.5 if ahead else 0.0,
        tolerance=1e-7,
        sample=0 if ahead else None,
        timestep=1 if ahead else None,
        by_timestep=2 if ahead else None,
        first_call="attend" if ahead else None,
        meant_causal=None,
        matrix=matrix.astype(np.float32),
        block=block,
        timesteps=block * matrix.shape[1],
        shift=shift,
    )


RANDOM = np.random.default_rng(0).random((6, 6)) + 0.01
UNTRIED = np.where(np.arange(6) > 3, np.nan, RANDOM)
FIGURES = {
    "dense": future.make_figure(make_effect(RANDOM)),
    "causal": future.make_figure(make_effect(np.tril(RANDOM))),
    "no change": future.make_figure(make_effect(np.zeros((6, 6)))),
    "not finite": future.make_figure(make_effect(np.where(np.eye(6) > 0, np.inf, RANDOM))),
    "padding": future.make_figure(make_effect(UNTRIED)),
    "blocks": future.make_figure(make_effect(np.tile(RANDOM[:4, :4], (16, 16)), block=8)),
    "one": future.make_figure(make_effect(np.ones((1, 1)))),
    "shorter": future.make_figure(make_effect(RANDOM[:5], shift=1)),
}


@pytest.mark.parametrize("name", FIGURES)
def test_chart_draws_without_warning(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    figure = FIGURES[name]
    svg = compile_figure(figure, capfd)
    width, height = (float(svg.split(f'{side}="')[1].split('"')[0]) for side in ("width", "height"))
    assert width <= 960
    assert height <= 1150
    assert "http" not in json.dumps(figure.spec)
    assert figure.spec["description"] == figure.about
    assert figure.about.endswith(".")


@pytest.mark.parametrize("shift", [0, 1])
def test_only_later_timesteps_are_framed(shift: int) -> None:
    matrix = np.where(RANDOM < 0.4, 0.0, RANDOM)
    matrix[:, 5] = np.nan
    items = list_marks(figure := future.make_figure(make_effect(matrix, shift=shift)))
    later = np.subtract.outer(np.arange(6), np.arange(6)) < -shift
    assert locate(items, figure) == list_places(np.ones((6, 6), bool))
    assert locate(items, figure, future.FRAMED) == list_places(later & (np.nan_to_num(matrix) > 0))
    assert locate(items, figure, UNMOVED) == list_places(matrix == 0)


def test_description_has_the_facts() -> None:
    assert FIGURES["dense"].about == (
        "Each of 6 timesteps was replaced: later timesteps change earlier ones of y by up to 0.5, most at timestep 1, by "
        "timestep 2."
    )
    assert FIGURES["causal"].about == "Each of 6 timesteps was replaced: no later timestep changes an earlier one of y."
    assert "512 timesteps were replaced in blocks of 8" in FIGURES["blocks"].about


def test_name_of_the_output_is_text() -> None:
    figure = future.make_figure(make_effect(RANDOM, output=NASTY))
    assert "\x00" not in figure.title


@pytest.fixture(scope="module")
def report() -> Report:
    keras.utils.set_random_seed(0)
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = layers.Embedding(10, 4, mask_zero=True)(tokens)
    model = keras.Model(tokens, layers.Bidirectional(layers.GRU(2, return_sequences=True), name="both")(x))
    return maskcli.report([[1, 2, 3, 4], [5, 6]], model=model)


def test_page_shows_the_matrix_and_the_fact(report: Report) -> None:
    page = render_page(report, dumps(make_document(report))).decode()
    assert 'id="chart-future"' in page
    assert "Effect of each timestep on the output" in page
    assert "Do later timesteps change earlier outputs?" in page
    assert "yes, from both on" in page


def test_report_keeps_the_matrix(report: Report) -> None:
    again = read_report_document(json.loads(dumps(make_document(report))))
    old, new = (record.check.examination.model for record in (report, again))
    assert old is not None
    assert new is not None
    before, after = (vars(effect) for effect in (old.future[0], new.future[0]))
    assert np.array_equal(before.pop("matrix"), after.pop("matrix"))
    assert before == after


def test_missing_matrix_has_a_reason_and_no_section() -> None:
    keras.utils.set_random_seed(0)
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    model = keras.Model(tokens, layers.LSTM(2)(layers.Embedding(10, 4, mask_zero=True)(tokens)))
    report = maskcli.report([[1, 2, 3, 4], [5, 6]], model=model)
    page = render_page(report, dumps(make_document(report))).decode()
    assert 'id="future"' not in page
    assert "#future" not in page.partition("</nav>")[0].rpartition("<nav")[2]
    assert future.explain_no_matrix(report) == "It could not be tried: no output has the timesteps of an input."
