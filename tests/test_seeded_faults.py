"""Projects whose second commit has a fault: SARIF and the baseline each catch it, and name its line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.conftest import ROOT, Output

pytestmark = pytest.mark.slow(share=0)

PROJECT = """
[tool.maskcli]
quick = true
data = "rows.jsonl"

[tool.maskcli.models.functional]
model = "functional.py:build"

[tool.maskcli.models.subclassed]
model = "subclassed.py:build"

[tool.maskcli.models.named]
model = "named.py:build"
data = "named.npz"
"""
FUNCTIONAL = """
import keras
from keras import layers


def build():
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = layers.Embedding(20, 8, mask_zero=True, name="embedding")(tokens)
    x = layers.LSTM(8, return_sequences=True, name="encoder")(x)
    {fault}
    return keras.Model(tokens, layers.LSTM(4, name="pool")(x))
"""
SUBCLASSED = """
import keras
from keras import layers


class Tagger(keras.Model):
    def __init__(self):
        super().__init__()
        self.embedding = layers.Embedding(20, 8, mask_zero=True)
        self.encoder = layers.LSTM(8, return_sequences=True)
        self.pool = layers.LSTM(4)

    def call(self, tokens):
        x = self.encoder(self.embedding(tokens))
        {fault}
        return self.pool(x)


def build():
    return Tagger()
"""
NAMED = """
import keras
from keras import layers


def build():
    inputs = {{name: keras.Input((None,), dtype="int32", name=name) for name in ("question", "answer")}}
    embedding = layers.Embedding(20, 8, mask_zero=True, name="embedding")
    question, answer = embedding(inputs["question"]), embedding(inputs["answer"])
    {fault}
    pool = layers.LSTM(4, name="pool")
    return keras.Model(inputs, layers.Concatenate(name="both")([pool(question), pool(answer)]))
"""
FAULTS = {
    "functional": (FUNCTIONAL, "pass", 'x = layers.Conv1D(8, 3, padding="same", name="smooth")(x)  # fault'),
    "subclassed": (SUBCLASSED, "pass", "x = x * 0.5  # fault"),
    "named": (NAMED, "pass", "answer = keras.ops.multiply(answer, 2.0)  # fault"),
}


@pytest.fixture
def project(tmp_path: Path) -> Callable[[bool], dict[str, int]]:
    """Write the models and commit them; return the line of each fault, by file."""
    import numpy as np

    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "rows.jsonl").write_text("[1, 2, 3, 4]\n[5, 6]\n[7]\n")
    np.savez(tmp_path / "named.npz", question=[[1, 2, 3, 0], [4, 0, 0, 0]], answer=[[5, 6, 0], [7, 8, 9]])
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]

    def commit(is_faulty: bool) -> dict[str, int]:
        lines = {}
        for name, (text, right, wrong) in FAULTS.items():
            source = text.format(fault=wrong if is_faulty else right)
            (tmp_path / f"{name}.py").write_text(source)
            lines |= {f"{name}.py": number for number, line in enumerate(source.split("\n"), 1) if "# fault" in line}
        for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "--allow-empty", "-m", f"faulty: {is_faulty}"]):
            subprocess.run([*git, *command], cwd=tmp_path, check=True, stdin=subprocess.DEVNULL)
        return lines

    return commit


def read_sarif(path: Path) -> list[dict[str, Any]]:
    document = json.loads(path.read_text())
    schema = json.loads((ROOT / "tests" / "reference" / "sarif-2.1.0.json").read_text())
    jsonschema.Draft4Validator(schema).validate(document)
    results: list[dict[str, Any]] = document["runs"][0]["results"]
    return results


def test_second_commit_with_faults(
    call: Callable[..., Output], tmp_path: Path, project: Callable[[bool], dict[str, int]]
) -> None:
    assert project(False) == {}
    first = call("check", "--format", "sarif", "--output", "first.sarif", "--write-baseline", "known.json")
    assert first.exit_status == 0, first.stderr
    assert [result for result in read_sarif(tmp_path / "first.sarif") if result["level"] != "note"] == []
    lines = project(True)
    assert len(lines) == 3
    second = call("check", "--baseline", "known.json", "--also", "second.sarif", "--format", "concise")
    assert second.exit_status == 1
    results = [result for result in read_sarif(tmp_path / "second.sarif") if result["level"] != "note"]
    places = {}
    for result in results:
        place = result["locations"][0]["physicalLocation"]
        places[place["artifactLocation"]["uri"]] = place["region"]["startLine"]
        assert (result["ruleId"], result["baselineState"]) == ("MSK101", "new")
    assert places == lines
    for file, line in lines.items():
        assert f"{file}:{line}: error MSK101 " in second
