"""Models with equal weights are equal on all backends, but for differences that are named here with their cause."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

import maskcli
from maskcli.errors import UsageError
from maskcli.render.schemas import FOLDER
from maskcli.render.views.explain import COMPARISON
from maskcli.rules.selection import find_rule
from tests.backends import kinds, table
from tests.backends.sides import Sides
from tests.conftest import ROOT, clean_environment
from tests.readme import alike

pytestmark = pytest.mark.slow(share=1 / 4)
OTHERS = [
    pytest.param(name, marks=pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"no {name}"))
    for name in os.environ.get("MASKCLI_BACKENDS", "jax,torch").split(",")
]
needs_jax = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed")
needs_both = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None or importlib.util.find_spec("torch") is None, reason="needs jax and torch"
)
PAGE = ROOT / "docs" / "compare.md"
KEPT = {"masks", "outputs", "leaks"}
EXPECTED: dict[str, dict[str, tuple[set[str], str | None, str]]] = {
    "reshape_to_same_shape": {"jax": ({*KEPT, "losses"}, "same", "kept-by-identity")},
    "permute_in_order": {"jax": ({*KEPT, "losses"}, "same", "kept-by-identity")},
    "crop_nothing": {"jax": ({*KEPT, "losses"}, "same", "kept-by-identity")},
    "unchanged_with_empty_row": {"jax": ({*KEPT, "losses"}, "same", "kept-by-identity")},
    "slice_of_all": {"jax": (KEPT, "pool", "kept-by-identity")},
    "stopped_gradient": {"jax": ({*KEPT, "compiled"}, "pool", "kept-by-identity")},
    "lstm_unrolled_zeros": {"jax": ({"outputs"}, "rnn", "ignored-zero-output")},
    "bidirectional_unrolled": {
        "jax": ({"outputs", "leaks"}, "rnn", "reversed-mask"),
        "torch": ({"errors"}, "rnn", "raises"),
    },
    "gru_unrolled_backwards": {"torch": ({"errors"}, "rnn", "raises")},
    "dense_rematerialized": {
        "jax": ({"compiled"}, None, "does-not-compile"),
        "torch": ({"compiled"}, None, "does-not-compile"),
    },
    "lstm_rematerialized": {
        "jax": ({"errors"}, "part", "raises"),
        "torch": ({"compiled"}, None, "does-not-compile"),
    },
}
"""For each kind that differs from TensorFlow, by backend: the parts, the first call, and the cause."""


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    started = Sides(tmp_path_factory.mktemp("sides"))
    yield started
    started.close()


@pytest.mark.slow(share=1 / 12)
@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize("name", kinds.EQUAL)
def test_equal_kind(sides: Sides, name: str, backend: str) -> None:
    (difference,) = sides.compare(name, ("tensorflow", backend))
    assert difference.equal, difference
    assert difference.outputs


@pytest.mark.slow(share=1 / 2)
@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize("name", kinds.DIFFERENT)
def test_different_kind(sides: Sides, name: str, backend: str) -> None:
    (difference,) = sides.compare(name, ("tensorflow", backend))
    expected = EXPECTED[name].get(backend)
    if expected is None:
        assert difference.equal, difference
        return
    parts, call, cause = expected
    assert set(difference.parts) == parts
    assert (None if difference.first_call is None else difference.first_call.call) == call
    assert difference.cause is not None
    assert difference.cause.kind == cause


@needs_jax
def test_row_without_valid_timestep_is_named(sides: Sides) -> None:
    (difference,) = sides.compare("unchanged_with_empty_row", ("tensorflow", "jax"))
    assert difference.cause is not None
    assert "not finite on JAX, from `pool` on" in difference.cause.text


@needs_both
@pytest.mark.slow(share=1)
def test_table_of_page_is_measured(sides: Sides) -> None:
    assert table.read_table() == table.make_table(sides)


# The command, with a process for each backend.

MODEL = """
import keras
from keras import layers

def build():
    tokens = keras.Input((4,), dtype="int32", name="tokens")
    x = layers.Embedding(10, 3, mask_zero=True)(tokens)
    return keras.Model(tokens, layers.GlobalAveragePooling1D()(layers.Reshape((4, 3))(x)))

def stop():
    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.embedding = layers.Embedding(10, 3, mask_zero=True)
            self.pool = layers.GlobalAveragePooling1D(name="pool")

        def call(self, tokens):
            return self.pool(keras.ops.stop_gradient(self.embedding(tokens)))

    return Model()

def in_tensorflow():
    import tensorflow as tf

    class Sum(layers.Layer):
        def call(self, x):
            return tf.reduce_sum(tf.raw_ops.Copy(input=x), axis=1)

    tokens = keras.Input((4,), dtype="int32", name="tokens")
    return keras.Model(tokens, Sum()(layers.Embedding(10, 3)(tokens)))

def kill():
    if keras.backend.backend() == "jax":
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)
    return build()
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "train.py"
    path.write_text(MODEL)
    return path


def run_compare(*arguments: object, **options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "maskcli", "compare", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**clean_environment(), **options},
        cwd=ROOT,
        input="[[1, 2, 3, 4], [5, 6]]",
    )


@needs_jax
@pytest.mark.slow(share=1)
def test_command_names_first_call_and_cause(script: Path) -> None:
    done = run_compare("--backends", "tensorflow,jax", "-m", f"{script}:build", "-", "-f", "json")
    assert done.returncode == 1, done.stderr
    document = json.loads(done.stdout)
    jsonschema.validate(document, json.loads((FOLDER / "compare.json").read_text()))
    (finding,) = document["findings"]
    assert (finding["code"], finding["call"], finding["location"]["line"]) == ("MSK401", "reshape", 8)
    assert document["data"]["files"] == ["-"]
    assert [side["versions"].get("jax") is None for side in document["sides"]] == [True, False]
    assert document["differences"][0]["first_result"] == "global_average_pooling1d"


@needs_jax
def test_transcript_of_page(tmp_path: Path) -> None:
    """README's tests run without JAX, so that this transcript is compared here."""
    block = re.search(r"^```text\n\$ maskcli (.*)\n((?:.*\n)*?)^```$", PAGE.read_text(), re.M)
    assert block is not None
    (tmp_path / "example.py").write_text(find_rule("MSK401").bad)
    (tmp_path / "data.json").write_text("[[1, 2, 3, 4], [5, 6]]")
    done = subprocess.run(
        [sys.executable, "-m", "maskcli", *block[1].split()],
        capture_output=True,
        text=True,
        env=clean_environment(PYTHONPATH=str(ROOT)),
        cwd=tmp_path,
    )
    printed = "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())
    assert alike(block[2], printed), printed


@needs_jax
def test_good_example_of_rule_is_equal(tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(f"{find_rule('MSK401').good}\n\n{COMPARISON}\n")
    done = subprocess.run(
        [sys.executable, "example.py"],
        capture_output=True,
        text=True,
        env=clean_environment(PYTHONPATH=str(ROOT)),
        cwd=tmp_path,
    )
    assert "equal: masks, outputs, leaks and losses agree" in done.stdout, done.stderr


@needs_jax
def test_weights_of_first_backend_are_used() -> None:
    """The generators of backends draw different weights of one seed."""
    done = run_compare("--backends", "jax,tensorflow", "--sample")
    assert done.returncode == 0, done.stdout


@needs_jax
def test_compiled_difference_is_a_finding(script: Path) -> None:
    report = maskcli.compare([[1, 2, 3, 4], [5, 6]], model=f"{script}:stop", backends=["tensorflow", "jax"])
    assert [(item.code, item.evidence["backend"]) for item in report.findings] == [("MSK401", "jax"), ("MSK402", "jax")]


@needs_jax
def test_code_of_tensorflow_is_named(script: Path) -> None:
    done = run_compare("--backends", "tensorflow,jax", "-m", f"{script}:in_tensorflow", "-", "-f", "json")
    assert done.returncode == 1, done.stderr
    (difference,) = json.loads(done.stdout)["differences"]
    assert (difference["parts"], difference["cause"]["kind"]) == (["errors"], "tensorflow-code")


@needs_jax
def test_killed_process_is_an_error(script: Path) -> None:
    done = run_compare("--backends", "tensorflow,jax", "-m", f"{script}:kill", "-")
    assert (done.returncode, done.stdout) == (4, "")
    assert "SIGKILL" in done.stderr


@needs_jax
def test_model_that_no_backend_loads_is_one_message(script: Path) -> None:
    done = run_compare("--backends", "tensorflow,jax", "-m", f"{script}:nothing", "-")
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.count("which has no nothing") == 1


@needs_jax
def test_bad_data_is_one_message(script: Path) -> None:
    done = run_compare("--backends", "tensorflow,jax", "-m", f"{script}:build", "--targets", "none.txt", "-")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.count("none.txt") == 1


@needs_jax
def test_terminated_command_leaves_nothing(script: Path, tmp_path: Path) -> None:
    environment = {**clean_environment(), "TMPDIR": str(tmp_path)}
    arguments = ["--backends", "tensorflow,jax", "-m", f"{script}:build", "--sample"]
    with subprocess.Popen([sys.executable, "-m", "maskcli", "compare", *arguments], env=environment, cwd=ROOT) as run:
        while not list(tmp_path.glob("maskcli-*/request.json")):
            time.sleep(0.05)
        children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
        run.send_signal(signal.SIGTERM)
        assert run.wait(10) == 143
    assert not list(tmp_path.glob("maskcli-*"))
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow(share=1)
@pytest.mark.skipif(importlib.util.find_spec("jax") is not None, reason="jax is installed")
def test_missing_backend_is_an_error(script: Path) -> None:
    done = run_compare("--backends", "tensorflow,jax", "-m", f"{script}:build", "-")
    assert (done.returncode, done.stdout) == (4, "")
    assert "pip install jax" in done.stderr


def test_model_from_python_is_refused() -> None:
    model, data, _ = kinds.build("pooling")
    with pytest.raises(UsageError, match=r"model\.save"):
        maskcli.compare(data, model=model, backends="tensorflow,jax")
    assert os.environ.get("KERAS_BACKEND") in (None, "tensorflow")
