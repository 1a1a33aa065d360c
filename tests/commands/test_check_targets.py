"""``maskcli check`` with targets, batch sizes and rules that are left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maskcli.errors import ExitCode
from tests.conftest import Output

pytestmark = pytest.mark.slow(share=1 / 2)

Call = Callable[..., Output]

FACTORY = """
import keras


def build(keep=True, loss=("sparse_categorical_crossentropy", "mse")):
    keras.utils.set_random_seed(3)
    words = keras.Input((None,), dtype="int32", name="words")
    x = keras.layers.Embedding(20, 4, mask_zero=keep)(words)
    x = keras.layers.GRU(4, return_sequences=True)(x)
    kinds = keras.layers.Dense(3, activation="softmax", name="kinds")(x)
    model = keras.Model(words, [kinds, keras.layers.Dense(1, name="mood")(x)])
    model.compile(loss=list(loss))
    return model


def leaky():
    keras.utils.set_random_seed(3)
    words = keras.Input((None,), dtype="int32", name="words")
    return keras.Model(words, keras.layers.GRU(2)(keras.layers.Embedding(20, 4)(words)))


def unmasked():
    return build(False)
"""
RECORDS = [
    {"words": [4, 11, 2, 9], "kind": [0, 1, 2, 0], "mood": [0.5, 1.5, 0.0, 2.0]},
    {"words": [7, 3], "kind": [2, 2], "mood": [9.0, 8.0]},
]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[..., Path]) -> str:
    """A file of records with targets for two outputs, next to the functions that build models."""
    write("two_heads.py", FACTORY)
    monkeypatch.syspath_prepend(str(tmp_path))
    return write("rows.jsonl", "".join(json.dumps(record) + "\n" for record in RECORDS)).name


def test_missing_targets_name_columns(call: Call, data: str) -> None:
    output = call("loss", data, "--model", "two_heads:build")
    assert output.exit_status == ExitCode.USAGE
    expected = "The data has 'kind', 'mood', which feed no input: --targets-field kind --targets-field mood."
    assert expected in " ".join(output.stderr.split())


def find_losses(output: Output) -> list[tuple[str, float]]:
    """Return the exact losses in the messages of MSK301, by the name of the call."""
    findings = [finding for finding in output.json["findings"] if finding["code"] == "MSK301"]
    return [(finding["call"], round(finding["evidence"]["masked"], 5)) for finding in findings]


def test_targets_by_order_as_in_loss(call: Call, data: str) -> None:
    options = (data, "--model", "two_heads:unmasked", "--targets-field", "kind", "--targets-field", "mood")
    checked = find_losses(call("check", *options, "--format", "json"))
    document = call("loss", *options, "--format", "json").json
    exact = [document["exact"], document["more_outputs"][0]["exact"]]
    assert checked == [("kinds", round(exact[0], 5)), ("mood", round(exact[1], 5))]


@pytest.mark.parametrize(("fields", "named"), [(["kind"], "kind"), (["kind", "mood", "kind"], "kind, mood, kind")])
def test_wrong_number_of_fields(call: Call, data: str, fields: list[str], named: str) -> None:
    options = [part for field in fields for part in ("--targets-field", field)]
    output = call("check", data, "--model", "two_heads:build", *options)
    assert (output, output.exit_status) == ("", 2)
    assert f"expected one field for each output with a loss: 0, 1; received {named}." in " ".join(output.stderr.split())


def test_unknown_field(call: Call, data: str) -> None:
    output = call("check", data, "--model", "two_heads:build", "--targets-field", "kind", "--targets-field", "mod")
    assert output == ""
    assert output.exit_status in (3, 4)
    assert "mod" in output.stderr


def test_targets_without_loss(call: Call, data: str) -> None:
    output = call("check", data, "--model", "two_heads:leaky", "--targets-field", "mood")
    assert (output, output.exit_status) == ("", 2)
    assert "not compiled with one" in output.stderr


def test_batch_size_decides_severity(call: Call, data: str) -> None:
    base = ("check", data, "--model", "two_heads:build", "--targets-field", "kind", "--targets-field", "mood")
    for options, severity, status in (((), "info", 0), (("--batch-size", "1"), "warning", 1)):
        output = call(*base, *options, "--format", "json")
        severities = {finding["severity"] for finding in output.json["findings"] if finding["code"] == "MSK302"}
        assert severity in severities
        assert output.exit_status == status


def test_builtin_model_with_targets(call: Call, write: Callable[..., Path]) -> None:
    """A built-in model is built for its targets, as by loss."""
    write("a.txt", "4 11 2 9\n7 3\n")
    write("y.jsonl", "[1, 2, 0, 1]\n[0, 2]\n")
    options = ("a.txt", "--targets", "y.jsonl", "--loss", "sparse_categorical_crossentropy", "--mask-source", "none")
    (loss,) = find_losses(call("check", *options, "--format", "json"))
    assert loss[1] == round(call("loss", *options, "--format", "json").json["exact"], 5)


def test_rules_that_leave_nothing(call: Call, data: str) -> None:
    output = call("check", data, "--model", "two_heads:leaky", "--select", "MSK104", "--ignore", "MSK1,MSK104")
    assert (output, output.exit_status) == ("", 2)
    assert "--select, --ignore: expected at least one rule" in output.stderr
    assert "select MSK104, ignore MSK1, MSK104" in output.stderr


def test_ignored_leak_is_named(call: Call, data: str) -> None:
    base = ("check", data, "--field", "words", "--model", "two_heads:leaky", "--ignore", "MSK104")
    output = call(*base)
    assert output.exit_status == 0
    assert "Does padding leak?  yes" in output
    assert " ! leak ignored: MSK104\n" in output
    assert "passed" not in output
    document = call(*base, "--format", "json").json
    assert (document["passed"], document["status"], document["ignored"]) == (True, "leak-ignored", ["MSK104"])


def list_names(inputs: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(item["name"], item["padded_timesteps"]) for item in inputs]


@pytest.mark.parametrize(
    "options", [("--data-only", "--field", "words"), ("--field", "words", "--model", "two_heads:leaky")]
)
def test_document_has_inputs(call: Call, data: str, options: tuple[str, ...]) -> None:
    assert list_names(call("check", data, *options, "--format", "json").json["inputs"]) == [("words", 2)]


@pytest.mark.usefixtures("data")
def test_nothing_to_prove(call: Call, write: Callable[..., Path]) -> None:
    write("full.txt", "4 11 2 9\n7 3 1 1\n")
    output = call("check", "full.txt", "--model", "two_heads:leaky")
    assert output.exit_status == 0
    assert "Does padding leak?  nothing to prove" in output
    assert " • nothing to prove\n" in output
    assert "passed" not in output
