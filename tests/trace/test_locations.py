"""The line of the user's code that makes each call, and the place and the fingerprint of findings."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import keras
import pytest
from keras import layers

import maskcli
from maskcli.models import build_sites
from maskcli.models.build_sites import is_user_file, record_build_sites
from maskcli.models.load import reload_model
from maskcli.records.check import Examination, Finding
from maskcli.rules.identity import identify
from maskcli.trace.recorder import record_run

# Keras warns when it builds models whose layers drop the mask.
pytestmark = pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")

ROWS = [[1, 2, 3, 4], [5, 6]]
SCRIPT = """
import keras
from keras import layers


class Encoder(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(4, name="dense")

    def call(self, x):
        y = self.dense(x)  # inner dense
        y = keras.ops.transpose(  # inner transpose
            y, (0, 2, 1))
        return helper(y)


def helper(y):
    return keras.ops.transpose(y, (0, 2, 1))  # helper transpose


def embed(tokens):
    return layers.Embedding(10, 4, mask_zero=True, name="embedding")(tokens)  # embedding


def functional():
    tokens = keras.Input((None,), dtype="int32")
    x = embed(tokens)
    x = layers.Conv1D(4, 3,  # conv
        padding="same", name="conv")(x)
    x = Encoder(name="encoder")(x)  # encoder
    shared = layers.Dense(4, name="shared")
    start = keras.Input((None, 4))
    inner = keras.Model(start, layers.Add(name="add")([shared(start), shared(  # add, first
        start * 2.0)]), name="inner")  # multiply
    x = inner(x)  # inner model
    return keras.Model(tokens, layers.LSTM(3, name="lstm")(x))  # lstm, model


def sequential():
    return keras.Sequential([  # sequential
        layers.Embedding(10, 4, mask_zero=True, name="embedding"),
        layers.Conv1D(4, 3, padding="same", name="conv"),  # listed conv
        layers.LSTM(3),
    ])


class Tagger(keras.Model):
    def __init__(self):
        super().__init__()
        self.embedding = layers.Embedding(10, 4, mask_zero=True, name="embedding")
        self.encoder = Encoder(name="encoder")
        self.lstm = layers.LSTM(3, name="lstm")

    def call(self, tokens):  # def of call
        x = self.embedding(tokens)  # called embedding
        x = self.encoder(x * 1.0)  # called encoder
        return self.lstm(x)  # called lstm


def subclassed():
    return Tagger()  # tagger
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "build_models.py"
    path.write_text(SCRIPT)
    return path


def find_line(comment: str) -> int:
    return next(number for number, line in enumerate(SCRIPT.split("\n"), 1) if line.endswith(f"# {comment}"))


def locate(result: Any) -> dict[str, str | None]:
    """Return for each call the comment at its line."""
    comments = {number: line.partition("  # ")[2] for number, line in enumerate(SCRIPT.split("\n"), 1)}
    return {call.call: call.location and comments[call.location.line] for call in result.trace}


def test_locations_of_a_functional_model(script: Path) -> None:
    result = maskcli.inspect(ROWS, model=f"{script}:functional")
    lines = locate(result)
    assert {name: lines[name] for name in lines if name != "inner/shared#2"} == {
        "embedding": "embedding",
        "conv": "conv",
        "encoder": "encoder",
        "encoder/dense": "inner dense",
        "inner": "inner model",
        "inner/multiply": "multiply",
        "inner/shared": "add, first",
        "inner/add": "add, first",
        "lstm": "lstm, model",
    }
    places = {call.call: call.location for call in result.trace}
    assert str(places["conv"]) == f"{script}:{find_line('conv')} in functional"
    assert str(places["encoder/dense"]) == f"{script}:{find_line('inner dense')} in Encoder.call"
    assert str(places["embedding"]).endswith(" in embed")


def test_locations_start_at_the_working_directory(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(script.parent)
    result = maskcli.inspect(ROWS, model=f"{script.name}:sequential")
    assert locate(result)["conv"] == "listed conv"
    assert {call.location.file for call in result.trace if call.location} == {"build_models.py"}


def test_locations_of_a_subclassed_model(script: Path) -> None:
    expected = {
        "embedding": "called embedding",
        "encoder": "called encoder",
        "encoder/dense": "inner dense",
        "lstm": "called lstm",
    }
    lines = locate(maskcli.inspect(ROWS, model=f"{script}:subclassed"))
    assert {name: lines[name] for name in expected} == expected
    # A model from Python has no lines of its building; those of ``call`` are known.
    spec = importlib.util.spec_from_file_location("build_models_again", script)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    lines = locate(maskcli.inspect(ROWS, model=module.subclassed()))
    assert {name: lines[name] for name in expected} == expected
    lines = locate(maskcli.inspect(ROWS, model=module.functional()))
    assert (lines["conv"], lines["encoder/dense"], lines["lstm"]) == (None, "inner dense", None)
    assert lines["encoder"] == ""  # The first line of its ``call``.
    with record_build_sites():
        model = module.functional()
    assert locate(maskcli.inspect(ROWS, model=model))["conv"] == "conv"
    reloaded = reload_model(keras.Sequential([keras.Input((None,)), layers.Embedding(10, 4), layers.LSTM(2)]))
    assert set(locate(maskcli.inspect(ROWS, model=reloaded)).values()) == {None}


def test_findings_have_places_and_fingerprints(script: Path) -> None:
    first = maskcli.check(ROWS, model=f"{script}:functional", quick=True).findings
    (dropped,) = (finding for finding in first if finding.call == "conv")
    assert str(dropped.location) == f"{script}:{find_line('conv')} in functional"
    assert f"\nat: {script}:{find_line('conv')} in functional\n" in str(dropped)
    # Other data, other lines and other numbers of layers.
    unnamed = SCRIPT.replace(', name="conv"', "")
    script.write_text(f"# A comment.\n{unnamed}")
    second = maskcli.check([[3, 4, 1], [2], [7, 8]], model=f"{script}:sequential", quick=True).findings
    third = maskcli.check([[9, 1], [2]], model=f"{script}:sequential", quick=True).findings
    assert [finding.fingerprint for finding in second] == [finding.fingerprint for finding in third]
    assert second[0].call != third[0].call
    assert all(len(finding.fingerprint) == 16 for finding in (*first, *second))


def make_finding(**changes: Any) -> Finding:
    parts: dict[str, Any] = {
        "code": "MSK101",
        "rule": "mask-dropped",
        "severity": "error",
        "call": "dense_3",
        "type": "Dense",
        "message": "m",
        "fix": "f",
        "evidence": {},
    }
    return Finding(**{**parts, **changes})


def fingerprint(*findings: Finding) -> list[str]:
    return [finding.fingerprint for finding in identify(findings, Examination((), None))]


def test_fingerprints_ignore_numbers_and_values() -> None:
    base = fingerprint(make_finding())
    same = [
        make_finding(call="dense"),
        make_finding(call="dense_17", evidence={"max_abs_change": 0.3}),
        make_finding(call="dense#2", severity="warning", message="other"),
    ]
    assert all(fingerprint(finding) == base for finding in same)
    others = [
        make_finding(code="MSK107"),
        make_finding(call="block_3"),
        make_finding(call="block_4"),
        make_finding(call="encoder/dense_3"),
        make_finding(call=None, evidence={"input": "a"}),
        make_finding(call=None, evidence={"input": "b"}),
    ]
    prints = [fingerprint(finding)[0] for finding in others]
    assert len({*prints, *base}) == len(others) + 1
    twice = fingerprint(make_finding(call="dense_3"), make_finding(call="dense_4"))
    assert twice[0] == base[0] != twice[1]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("/home/a/train.py", True),
        ("/home/keras/train.py", True),
        (keras.__file__.replace("__init__.py", "src/layers/layer.py"), False),
        ("/a/.venv/lib/python3.11/site-packages/torch/nn.py", False),
        ("C:\\venv\\Lib\\site-packages\\a.py", False),
        (maskcli.__file__, False),
        ("<string>", False),
        ("/var/__autograph_generated_fileab.py", False),
        (importlib.util.__file__, False),
    ],
)
def test_user_files(name: str, expected: bool) -> None:
    assert is_user_file(name) is expected


def test_stack_is_read_once_for_each_layer_and_call(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack costs microseconds; a second look at each call would show in large models."""
    spec = importlib.util.spec_from_file_location("build_models_cost", script)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    looks: list[object] = []
    monkeypatch.setattr(build_sites, "find_site", lambda frame: looks.append(frame))
    with record_build_sites():
        model = module.functional()
    nodes = {id(node) for layer in model.layers for node in layer._inbound_nodes}
    operations = {id(layer) for layer in model.layers}
    assert len(nodes) <= len(looks) <= 3 * (len(nodes) + len(operations))


def test_recording_keeps_lines_of_code(script: Path) -> None:
    spec = importlib.util.spec_from_file_location("build_models_recorded", script)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    recording = record_run(module.subclassed(), keras.ops.convert_to_tensor([[1, 2, 0]]))
    assert sum(entry.site is not None for entry in recording.entries) > 4
