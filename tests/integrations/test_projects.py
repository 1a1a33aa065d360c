"""Real projects with two commits: the fault of the second one is found by pytest and by the callback, with its line."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.integrations.plugin import ARGUMENTS

pytest_plugins = ["pytester"]

FUNCTIONAL = """
import keras
from keras import layers


def build():
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = layers.Embedding(30, 8, mask_zero=True, name="embedding")(tokens)
    x = layers.LSTM(4, name="encoder")(x)
    return keras.Model(tokens, layers.Dense(1, name="score")(x), name="reviews")
"""
SUBCLASSED = """
import keras
from keras import layers


class Tagger(keras.Model):
    def __init__(self):
        super().__init__()
        self.embedding = layers.Embedding(30, 8, mask_zero=True, name="embedding")
        self.mean = layers.GlobalAveragePooling1D(name="mean")
        self.score = layers.Dense(1, name="score")

    def call(self, tokens):
        x = self.embedding(tokens)
        return self.score(self.mean(x))


def build():
    return Tagger()
"""
HUB = """
import keras
import keras_hub
from keras import layers


def build():
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=30, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=8, max_sequence_length=16
    )
    inputs = backbone.input
    x = backbone(inputs)["sequence_output"]
    x = layers.GlobalAveragePooling1D(name="mean")(x, mask=inputs["padding_mask"])
    return keras.Model(inputs, layers.Dense(1, name="score")(x), name="entailment")
"""
CHANGES = {
    "functional": (FUNCTIONAL, "    x = layers.LSTM(4", "    x = x * 8**0.5\n    x = layers.LSTM(4", 9),
    "subclassed": (SUBCLASSED, "        return self.score", "        x = x + 1.0\n        return self.score", 15),
    "hub": (HUB, '(x, mask=inputs["padding_mask"])', "(x)", 13),
}
"""By project, its model, the part that the second commit changes, and the line of the fault."""
TESTS = """
import numpy as np
import maskcli
import {name}

IDS = np.array([[3, 4, 5, 6, 7], [8, 9, 0, 0, 0], [3, 1, 4, 0, 0]], "int32")
DATA = {data}


def test_padding():
    maskcli.assert_padding_invariant({name}.build(), DATA)


def test_training():
    model = {name}.build()
    model.compile("sgd", "mse")
    model.fit(DATA, np.ones((3, 1)), verbose=0, callbacks=[maskcli.MaskCheck(fail=True)])
"""
HUB_DATA = '{"token_ids": IDS, "segment_ids": IDS * 0, "padding_mask": IDS != 0}'


@pytest.fixture
def repository(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{pytester.path}")
    for name, value in {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_AUTHOR_NAME": "a", "GIT_COMMITTER_NAME": "a"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GIT_AUTHOR_EMAIL", "a@example.org")
    monkeypatch.setenv("GIT_COMMITTER_EMAIL", "a@example.org")
    git("init", "--quiet", folder=pytester.path)
    return pytester.path


def git(*arguments: str, folder: Path) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True)


def commit(folder: Path, files: dict[str, str], message: str) -> None:
    for name, text in files.items():
        folder.joinpath(name).write_text(text)
    git("add", "--all", folder=folder)
    git("commit", "--quiet", "--message", message, folder=folder)


@pytest.mark.skipif(shutil.which("git") is None, reason="commits need git")
@pytest.mark.slow(share=0)
def test_fault_of_the_second_commit_is_found(pytester: pytest.Pytester, repository: Path) -> None:
    projects = {name: change for name, change in CHANGES.items() if name != "hub" or find_spec("keras_hub")}
    if "hub" not in projects:
        print("keras-hub is not installed: its project is left out")
    tests = {f"test_{name}.py": TESTS.format(name=name, data=HUB_DATA if name == "hub" else "IDS") for name in projects}
    commit(repository, tests | {f"{name}.py": text for name, (text, *_) in projects.items()}, "right")
    right = pytester.runpytest_subprocess("-p", "no:cacheprovider", *ARGUMENTS, "-v")
    right.assert_outcomes(passed=2 * len(projects))
    changed = {f"{name}.py": text.replace(old, new) for name, (text, old, new, _) in projects.items()}
    commit(repository, changed, "wrong")
    wrong = pytester.runpytest_subprocess("-p", "no:cacheprovider", *ARGUMENTS, "-v", "-rN")
    wrong.assert_outcomes(failed=2 * len(projects))
    for name, (*_, line) in projects.items():
        places = re.findall(rf"^E +at: {name}\.py:{line} in ", "\n".join(wrong.outlines), re.M)
        assert len(places) == 2, name
