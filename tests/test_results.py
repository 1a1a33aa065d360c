"""Results of the library: as a table, a line, JSON, and as failures of tests."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import maskcli
from maskcli.render.documents import dumps, make_document
from tests.conftest import QUESTION, Output

ROWS = [[1, 2, 3, 4], [5, 6]]
TARGETS = np.ones((2, 4, 1), "float32")


def make_model(scale: float | None = None) -> Any:
    """Return a tagger with a loss; with a scale, a multiplication drops its mask, and padding leaks into the mean."""
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = layers.Embedding(10, 4, mask_zero=True)(tokens)
    if scale is not None:
        x = x * scale
        x = x + keras.ops.mean(x, axis=1, keepdims=True)
    model = keras.Model(tokens, layers.Dense(1)(x), name="tagger")
    model.compile(loss="mse")
    return model


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    options: dict[str, Any] = {"model": make_model(2.0)}
    return {
        "pad": maskcli.pad(QUESTION),
        "inspect": maskcli.inspect(ROWS, **options),
        "loss": maskcli.loss(ROWS, targets=TARGETS, **options),
        "check": maskcli.check(ROWS, **options),
        "report": maskcli.report(ROWS, **options),
    }


def test_repr_is_one_short_line(results: dict[str, Any]) -> None:
    lines = {verb: repr(result) for verb, result in results.items()}
    assert lines["pad"] == "<PaddedBatch (3, 6) int32, padding post: 4 padded timesteps, 0 truncated tokens>"
    assert lines["inspect"].startswith("<Inspection tagger: dense")
    assert lines["inspect"].endswith(" (2, 4, 1), without the model's mask>")
    assert re.fullmatch(r"<LossReport tagger: mse masked \S+, unmasked \S+, Keras evaluate \S+>", lines["loss"])
    assert re.fullmatch(r"<CheckReport tagger: failed, \d errors, \d warnings, \d infos>", lines["check"])
    assert lines["report"] == lines["check"].replace("CheckReport", "Report")
    assert all(len(line) < 120 and line.isprintable() for line in lines.values())


@pytest.mark.parametrize("verb", ["pad", "inspect", "check"])
def test_print_shows_the_table_of_the_command(verb: str, call: Callable[..., Output]) -> None:
    result = getattr(maskcli, verb)(QUESTION)
    command = call(verb, "-", stdin=json.dumps(QUESTION))
    # The first line names the data, which here has no file.
    assert f"{result}\n".partition("\n")[2] == command.partition("\n")[2]
    assert str(result).startswith(" data from Python, 3 rows\n")


def test_json_is_that_of_the_command(results: dict[str, Any]) -> None:
    for verb, result in results.items():
        text = dumps(make_document(result)).decode()
        assert result.to_json() == text
        assert result.to_dict() == json.loads(text)
        assert result.to_dict()["schema"] == f"maskcli/{verb}/1"
    with pytest.raises(TypeError):
        json.dumps(results["pad"].tokens)  # So that plain types are no accident of the encoder.
    json.dumps(results["pad"].to_dict())


def test_raise_for_findings(results: dict[str, Any]) -> None:
    for verb in ("check", "report"):
        with pytest.raises(maskcli.FindingsError, match=r"MSK101 mask-dropped: (?s:.*)\nfix: ") as caught:
            results[verb].raise_for_findings()
        assert caught.value.findings == results["check"].findings
        copy = pickle.loads(pickle.dumps(caught.value))
        assert (str(copy), copy.findings) == (str(caught.value), caught.value.findings)
    passing = maskcli.check(ROWS, model=make_model())
    passing.raise_for_findings()
    assert passing.passed


# Assertions


def test_assert_masked_loss() -> None:
    maskcli.assert_masked_loss(make_model(), ROWS, TARGETS)
    with pytest.raises(
        maskcli.FindingsError, match="MSK301 loss-counts-padding: The loss mse counts 2 padded timesteps"
    ):
        maskcli.assert_masked_loss(make_model(2.0), ROWS, TARGETS)


@pytest.mark.parametrize(
    ("data", "targets", "reason"),
    [(ROWS, None, "there are no targets"), ([[1, 2, 3, 4], [5, 6, 7, 8]], TARGETS, "the data has no padding")],
)
def test_assert_masked_loss_without_proof(data: Any, targets: Any, reason: str) -> None:
    with pytest.raises(AssertionError, match=f"not proved .*{reason}"):
        maskcli.assert_masked_loss(make_model(), data, targets)


def test_assert_mask_reaches() -> None:
    model = make_model()
    maskcli.assert_mask_reaches(model, ROWS, model.layers[-1].name)
    model = make_model(2.0)
    with pytest.raises(maskcli.FindingsError, match=r"No mask reaches dense\S* \(Dense\): multiply\S* drops") as caught:
        maskcli.assert_mask_reaches(model, ROWS, model.layers[-1].name)
    assert caught.value.findings[0].code == "MSK101"
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.findings) == (str(caught.value), caught.value.findings)


def test_assert_mask_reaches_all_calls_of_a_name() -> None:
    """A shared layer has two calls; the second one has a path with a count, and lost its mask."""
    tokens = keras.Input((None,), dtype="int32")
    x = layers.Embedding(10, 4, mask_zero=True, name="embedding")(tokens)
    encode = layers.Dense(4, name="encode")
    model = keras.Model(tokens, encode(encode(x) * 2.0))
    with pytest.raises(maskcli.FindingsError, match="No mask reaches encode#2"):
        maskcli.assert_mask_reaches(model, ROWS, "encode")


def test_assert_mask_reaches_refuses_a_mask_of_other_timesteps() -> None:
    """The mask is that of other ids, so that it counts padding."""
    tokens = keras.Input((None,), dtype="int32")
    x = layers.Embedding(10, 4, name="embedding")(tokens)
    mask = keras.ops.not_equal(tokens, 5)
    model = keras.Model(tokens, layers.LSTM(2, name="lstm")(x, mask=mask))
    with pytest.raises(AssertionError, match=r"mask that reaches lstm .LSTM. counts 2 padded timesteps as valid"):
        maskcli.assert_mask_reaches(model, ROWS, "lstm")


def test_assert_mask_reaches_names_similar_calls() -> None:
    with pytest.raises(maskcli.MaskcliError, match=r"received .embeding..\nDid you mean embedding"):
        maskcli.assert_mask_reaches(make_model(), ROWS, "embeding")


@pytest.mark.parametrize(
    "fail",
    [
        lambda: maskcli.assert_padding_invariant(make_model(2.0), ROWS),
        lambda: maskcli.assert_causal(make_model(2.0), ROWS),
        lambda: maskcli.assert_masked_loss(make_model(2.0), ROWS, TARGETS),
        lambda: maskcli.assert_causal(make_model(), [[1], [2]]),
        lambda: maskcli.assert_mask_reaches(make_model(2.0), ROWS, "nosuch"),
        lambda: maskcli.check(ROWS, model=make_model(2.0)).raise_for_findings(),
    ],
    ids=["padding", "causal", "loss", "unproven", "unknown", "check"],
)
def test_failure_in_pytest_shows_finding_and_repair(fail: Callable[[], None], request: pytest.FixtureRequest) -> None:
    """As pytest prints a failed test: the line of the test and the findings, without frames and arrays of maskcli."""
    with pytest.raises((AssertionError, maskcli.MaskcliError)) as caught:
        fail()
    text = str(caught.getrepr(style="long", showlocals=True, tbfilter=True))
    assert "maskcli.assert_" in text or "raise_for_findings" in text
    assert "/maskcli/api/" not in text
    assert "/maskcli/records/" not in text
    assert "array(" not in text
    if request.node.callspec.id not in ("unproven", "unknown"):
        assert re.search(r"E +\S*FindingsError: MSK\d+ [a-z-]+: ", text)
        assert re.search(r"E +fix: ", text)
