"""``maskcli check`` of a project: several models, baselines, and findings that are ignored at single calls."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import maskcli
from maskcli.errors import InputError, UsageError
from tests.conftest import ROOT, Output

Call = Callable[..., Output]

pytestmark = pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")

MODELS = """
import keras
from keras import layers


def build(scale=2.0, second=False, wrong=True):
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = layers.Embedding(10, 4, mask_zero=True)(tokens)
    if second:
        x = layers.Conv1D(4, 3, padding="same", name="conv")(x)
    if wrong:
        x = x * scale
    return keras.Model(tokens, layers.LSTM(3)(x))
"""
PROJECT = """
[tool.maskcli]
data = "a.txt"
quick = true

[tool.maskcli.models.tagger]
model = "nets.py:build"

[tool.maskcli.models.right]
model = "nets.py:build"
model-args = { wrong = false }
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "nets.py").write_text(MODELS)
    (tmp_path / "a.txt").write_text("1 2 3 4\n5 6\n")
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    return tmp_path


def read_document(output: Output, schema: str) -> Any:
    document = output.json
    jsonschema.validate(document, json.loads((ROOT / "maskcli" / "schemas" / f"{schema}.json").read_text()))
    return document


@pytest.mark.usefixtures("project")
def test_all_models_of_a_project(call: Call) -> None:
    output = call("check", "--format", "json")
    document = read_document(output, "checks")
    assert (output.exit_status, output.stderr, document["passed"]) == (1, "", False)
    assert [(entry["name"], entry["passed"], entry["error"]) for entry in document["checks"]] == [
        ("tagger", False, None),
        ("right", True, None),
    ]
    tagger, right = (entry["check"] for entry in document["checks"])
    assert (tagger["schema"], tagger["name"], tagger["quick"]) == ("maskcli/check/1", "tagger", True)
    assert [finding["code"] for finding in tagger["findings"]] == ["MSK101"]
    assert tagger["findings"][0]["location"] == {"file": "nets.py", "line": 12, "function": "build"}
    assert right["findings"] == []
    single = read_document(call("check", "--model", "right", "--format", "json"), "check")
    assert (single["name"], single["status"]) == ("right", right["status"])


def test_a_model_of_a_project_that_cannot_be_loaded(call: Call, project: Path) -> None:
    with (project / "pyproject.toml").open("a") as file:
        file.write('[tool.maskcli.models.gone]\nmodel = "gone.keras"\n')
    output = call("check")
    assert output.exit_status == 4
    assert output.stderr.startswith("Error: gone: ")
    assert "gone.keras" in output.stderr
    assert "\n     at: nets.py:12 in build\n" in output
    summary = output.partition("Summary  1 of 3 passed; 3 models\n")[2].split("\n")
    assert [line.split() for line in summary[:4]] == [
        ["model", "result", "errors", "warnings", "infos"],
        ["tagger", "×", "failed", "1", "0", "0"],
        ["right", "■", "passed", "0", "0", "0"],
        ["gone", "×", "not", "checked", "–", "–", "–"],
    ]


def test_project_without_its_folder(call: Call, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "pyproject.toml").write_text('[tool.maskcli]\nmodel = "nets:build"\ndata = "a.txt"\nquick = true\n')
    (project / "deeper").mkdir()
    monkeypatch.chdir(project / "deeper")
    output = call("check", "--format", "json")
    assert [finding["code"] for finding in output.json["findings"]] == ["MSK101"]


def test_project_model_without_data(call: Call, project: Path) -> None:
    (project / "pyproject.toml").write_text('[tool.maskcli]\nmodel = "nets.py:build"\n')
    output = call("check")
    assert output.exit_status == 2
    assert "FILE: expected data for --model nets.py:build; received none." in output.stderr


def test_baseline_accepts_findings(call: Call, project: Path) -> None:
    written = call("check", "--write-baseline", "known.json")
    assert (written.exit_status, written.stderr) == (0, "Wrote known.json: 1 accepted\n")
    entries = json.loads((project / "known.json").read_text())["findings"]
    assert [(entry["model"], entry["code"], entry["call"]) for entry in entries] == [("tagger", "MSK101", "multiply")]
    with (project / "pyproject.toml").open("a") as file:
        file.write("\n")
    accepted = read_document(call("check", "--baseline", "known.json", "--format", "json"), "checks")
    tagger = accepted["checks"][0]["check"]
    assert accepted["passed"] and tagger["findings"] == []
    assert (tagger["status"], tagger["ignored"]) == ("leak-ignored", ["MSK101"])
    assert [finding["code"] for finding in tagger["baseline"]["accepted"]] == ["MSK101"]
    assert tagger["baseline"]["stale"] == []
    # A new fault before the old one fails; the old one is still accepted.
    changed = MODELS.replace("second=False", "second=True")
    (project / "nets.py").write_text(changed)
    output = call("check", "--model", "tagger", "--baseline", "known.json", "--format", "json")
    document = read_document(output, "check")
    assert output.exit_status == 1
    assert [(finding["code"], finding["call"]) for finding in document["findings"]] == [("MSK101", "conv")]
    assert document["findings"][0]["location"]["line"] == 10


def test_baseline_with_stale_entries(call: Call, project: Path) -> None:
    call("check", "--write-baseline", "known.json")
    (project / "nets.py").write_text(MODELS.replace("wrong=True", "wrong=False"))
    arguments = ("check", "--model", "tagger", "--baseline", "known.json")
    output = call(*arguments)
    assert output.exit_status == 0
    assert "Stale in the baseline: MSK101 at multiply is not a finding any more." in " ".join(output.split())
    assert call(*arguments, "--fail-on-stale", "--quiet").exit_status == 1
    assert call(*arguments, "--fail-on-stale", "--quiet", "--exit-zero").exit_status == 0
    concise = call(*arguments, "--fail-on-stale", "--format", "concise")
    assert (concise.exit_status, concise.count("\n")) == (1, 1)
    assert concise.startswith("tagger: error: Stale in the baseline: MSK101 at multiply")
    # Writing the baseline of one model keeps the entries of others.
    (project / "known.json").write_text((project / "known.json").read_text().replace("tagger", "other"))
    call(*arguments[:3], "--write-baseline", "known.json")
    assert [entry["model"] for entry in json.loads((project / "known.json").read_text())["findings"]] == ["other"]


def test_baseline_keeps_entries_of_an_unchecked_model(call: Call, project: Path) -> None:
    entry = {"model": "tagger", "code": "MSK101", "call": "multiply", "fingerprint": "0" * 16}
    (project / "known.json").write_text(json.dumps({"schema": "maskcli/baseline/1", "findings": [entry]}))
    (project / "pyproject.toml").write_text(PROJECT.replace("nets.py:build", "gone.keras", 1))
    assert call("check", "--write-baseline", "known.json").exit_status == 4
    assert json.loads((project / "known.json").read_text())["findings"] == [entry]


@pytest.mark.parametrize(
    ("content", "received"),
    [
        (None, "a path that does not exist"),
        ("{", "Expecting property name"),
        ("[]", "other content"),
        ('{"schema": "maskcli/check/1", "findings": []}', "other content"),
        ('{"schema": "maskcli/baseline/1", "findings": [{"code": "MSK101"}]}', "other content"),
        (
            '{"schema": "maskcli/baseline/1", "findings": [{"model": null, "code": "MSK101", "call": null, '
            '"fingerprint": []}]}',
            "other content",
        ),
    ],
)
def test_baseline_that_cannot_be_read(call: Call, tmp_path: Path, content: str | None, received: str) -> None:
    if content is not None:
        (tmp_path / "known.json").write_text(content)
    output = call("check", "--sample", "--data-only", "--baseline", "known.json")
    assert (output, output.exit_status) == ("", 3)
    assert output.stderr.startswith("Error: known.json: expected ")
    assert received in output.stderr


def test_ignored_calls_with_a_reason(call: Call, project: Path) -> None:
    text = 'model = "nets.py:build"\nignore-calls = ["multi*: MSK101  # the mask is applied later", "conv: MSK1"]\n'
    (project / "pyproject.toml").write_text(f'[tool.maskcli]\ndata = "a.txt"\nquick = true\n{text}')
    document = read_document(call("check", "--format", "json"), "check")
    assert (document["findings"], document["passed"], document["status"]) == ([], True, "leak-ignored")
    assert document["ignored_calls"] == [
        {"ignore": "multi*: MSK101", "reason": "the mask is applied later", "findings": 1},
        {"ignore": "conv: MSK1", "reason": None, "findings": 0},
    ]
    output = call("check", "--fail-on-stale")
    assert output.exit_status == 1
    assert "Ignored, 1 finding: multi*: MSK101: the mask is applied later." in " ".join(output.split())
    assert "Ignored calls conv: MSK1 match no finding" in " ".join(output.split())


@pytest.mark.parametrize("text", ["conv", "conv:", ": MSK101", "conv: NOPE"])
def test_ignored_calls_of_another_form(text: str) -> None:
    with pytest.raises(UsageError, match="ignore_calls"):
        maskcli.check([[1, 0]], data_only=True, ignore_calls=[text])


def test_ignored_calls_of_a_project_name_the_key(call: Call, project: Path) -> None:
    (project / "pyproject.toml").write_text('[tool.maskcli]\nignore-calls = ["conv: NOPE"]\n')
    output = call("check", "--sample", "--data-only")
    assert output.exit_status == 2
    assert "pyproject.toml, tool.maskcli.ignore-calls 'conv: NOPE': expected a code" in output.stderr


def test_python_takes_a_baseline(project: Path, monkeypatch: pytest.MonkeyPatch, call: Call) -> None:
    monkeypatch.chdir(project)
    call("check", "--model", "tagger", "--write-baseline", "known.json", "--quiet")
    options: dict[str, Any] = {"model": "nets.py:build", "quick": True, "baseline": project / "known.json"}
    report = maskcli.check([[1, 2, 3, 4], [5, 6]], **options, check_name="tagger")
    assert report.passed and report.baseline is not None and len(report.baseline.accepted) == 1
    assert not maskcli.check([[1, 2, 3, 4], [5, 6]], **options).passed  # The entries of another check.
    with pytest.raises(InputError):
        maskcli.check([[1, 0]], data_only=True, baseline="gone.json")


def test_exit_zero_with_another_fail_on(call: Call) -> None:
    output = call("check", "--exit-zero", "--fail-on", "error")
    assert output.exit_status == 2
    assert "--exit-zero: expected no --fail-on" in output.stderr
