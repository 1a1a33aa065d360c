"""On JAX and PyTorch, masks, leaks, culprits, repairs and losses are as on TensorFlow, but for differences listed here."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import keras
import numpy as np
import pytest

import maskcli
from maskcli.errors import UsageError
from maskcli.render.schemas import FOLDER
from tests.backends import models
from tests.backends.conftest import Worker
from tests.conftest import ROOT, clean_environment

pytestmark = pytest.mark.slow(share=1 / 4)
OTHERS = tuple(os.environ.get("MASKCLI_BACKENDS", "jax,torch").split(","))


def require(backend: str) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed: pip install -e '.[{backend}]'")


@pytest.fixture(scope="module", params=OTHERS)
def other(request: pytest.FixtureRequest) -> Worker:
    worker: Worker = request.getfixturevalue(request.param)
    return worker


@pytest.mark.parametrize("backend", OTHERS)
def test_tensorflow_is_never_imported(backend: str) -> None:
    require(backend)
    code = f"""
import sys
import jsonschema
import keras
import numpy as np
import maskcli
model = keras.Sequential([keras.layers.Embedding(9, 3, mask_zero=True), keras.layers.Dense(2)])
model.compile("sgd", "mse")
x = np.array([[1, 2], [3, 0]])
maskcli.report(x, model=model, targets="arange").to_json()
model.fit(x, np.zeros((2, 2, 2)), verbose=0, callbacks=[maskcli.MaskCheck()])
print([name for name in ("tensorflow", {backend!r}) if name in sys.modules])
"""
    environment = {**clean_environment(), "KERAS_BACKEND": backend}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout == f"['{backend}']\n", done.stderr


@pytest.mark.parametrize("name", ["stateful", "attention"])
def test_model_and_seeds_are_unchanged(other: Worker, name: str) -> None:
    assert other.ask("compare_state", name)


def test_document_names_backend(other: Worker) -> None:
    document = other.ask("check_model", "attention")
    assert document["backend"] == other.backend
    assert document["versions"]["tensorflow"] is None
    assert document["versions"][other.backend]


@pytest.mark.parametrize(
    ("question", "model", "schema"),
    [
        ("check_model", "attention", "check"),
        ("inspect_model", "attention", "inspect"),
        ("measure_loss", "masked_loss", "loss"),
    ],
)
def test_document_fits_schema(other: Worker, question: str, model: str, schema: str) -> None:
    answer = other.ask(question, model)
    document = answer["loss"] if question == "measure_loss" else answer
    jsonschema.validate(document, json.loads((FOLDER / f"{schema}.json").read_text()))


def test_operations_of_own_code_are_found(other: Worker) -> None:
    document = other.ask("check_model", "sum_in_code")
    (finding,) = [item for item in document["findings"] if item["severity"] == "error"]
    assert document["leak"]["leaks"]
    assert finding["type"] in ("StridedSlice", "Mul")
    assert finding["location"]["file"].endswith("tests/backends/models.py")


def test_gradient_equals_that_of_tensorflow(other: Worker) -> None:
    theirs = other.ask("differentiate", "sum_in_code")
    model, data = models.sum_in_code()
    report = maskcli.check(data, model=model)
    leak = report.examination.model.leak  # type: ignore[union-attr]
    ours = next(probe for probe in leak.probes if probe.name == "gradient")  # type: ignore[union-attr]
    assert theirs["title"] == other.backend
    assert keras.backend.backend() == "tensorflow"
    assert theirs["leaks"] is ours.leaks is True


def test_loss_equals_evaluate(other: Worker) -> None:
    answer = other.ask("measure_loss", "masked_loss")
    document = answer["loss"]
    assert document["keras_evaluate"] == pytest.approx(answer["evaluate"]["loss"], rel=1e-6)
    losses, mask = np.array(document["per_timestep"]), np.array(document["mask"])
    assert document["masked"] == pytest.approx(losses[mask].mean(), rel=1e-6)
    (metric,) = document["metrics"]
    assert metric["reported"] == pytest.approx(answer["evaluate"]["accuracy"], rel=1e-6)
    assert metric["valid"] == pytest.approx(metric["reported"], abs=1e-6)
    assert all(0 < size["gradient"]["cosine"] <= 1 for size in document["batch_sizes"] if size.get("gradient"))


@pytest.mark.parametrize("with_data", [True, False])
def test_callback_leaves_training_as_it_was(other: Worker, with_data: bool) -> None:
    answer = other.ask("train", "masked_loss", with_data)
    assert answer["histories"][0] == answer["histories"][1]
    assert answer["passed"]
    assert answer["rows"] == (3 if with_data else 2)


def test_class_ids_out_of_range_are_refused(other: Worker) -> None:
    with pytest.raises(AssertionError, match=r"class ids from 0 to 1|Classes are 0 to 1"):
        other.ask("measure_loss", "unknown_class")


@pytest.mark.parametrize("name", ["reshaped", "permuted", "cropped"])
def test_identity_keeps_mask_on_jax_only(other: Worker, name: str) -> None:
    model, data = getattr(models, name)()
    ours, theirs = maskcli.check(data, model=model), other.ask("check_model", name)
    faults = [(item.code, item.type) for item in ours.findings if item.severity == "error"]
    assert [code for code, _ in faults] == ["MSK101"]
    if other.backend == "jax":
        assert theirs["leak"]["verdict"] == "clean"
    else:
        assert [(item["code"], item["type"]) for item in theirs["findings"]] == faults
        assert theirs["leak"]["verdict"] == "leaks"


def test_mask_lost_by_stop_gradient_is_named(other: Worker) -> None:
    (finding,) = other.ask("check_model", "stopped_gradient")["findings"]
    model, data = models.stopped_gradient()
    assert [item.code for item in maskcli.check(data, model=model).findings] == ["MSK101"]
    if other.backend == "jax":
        assert (finding["code"], finding["call"]) == ("MSK402", "pool")
    else:
        assert (finding["code"], finding["type"]) == ("MSK101", "StopGradient")


@pytest.mark.parametrize("name", ["unrolled_both_ways", "unrolled_backwards"])
def test_unrolled_layer_that_fails_is_named(other: Worker, name: str) -> None:
    document = other.ask("check_model", name)
    if other.backend == "jax":
        assert document["leak"]["verdict"] == "clean"
        return
    (finding,) = document["findings"]
    assert finding["code"] == "MSK106"
    assert f"This is a fault of Keras {keras.__version__} on PyTorch." in finding["message"]
    assert "unroll=True" in finding["fix"]


def test_words_of_messages_fit_backend(other: Worker) -> None:
    answer = other.ask("print_check", "padded_before")
    model, data = models.padded_before()
    ours = str(maskcli.check(data, model=model))
    assert "cuDNN" in ours
    for text in ("cuDNN", "TensorFlow", "tf."):
        assert text not in answer


def test_compiled_probe_claims_nothing_on_torch(other: Worker) -> None:
    probes = other.ask("check_model", "sum_in_code")["leak"]["probes"]
    (probe,) = [probe for probe in probes if probe["name"] == "compiled"]
    assert probe["applicable"] is (other.backend == "jax")
    if other.backend == "torch":
        assert "unless it is compiled with jit_compile=True" in probe["why"]


@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize("command", ["check", "inspect", "loss"])
def test_option_chooses_backend(command: str, backend: str) -> None:
    require(backend)
    document = json.loads(run_maskcli(command, "--sample", "--backend", backend, "--format", "json").stdout)
    assert document["backend"] == backend


@pytest.mark.parametrize("backend", OTHERS)
def test_keras_json_chooses_backend(backend: str, tmp_path: Path) -> None:
    require(backend)
    (tmp_path / "keras.json").write_text(json.dumps({"backend": backend}))
    environment = {"KERAS_HOME": str(tmp_path)}
    document = json.loads(run_maskcli("check", "--sample", "--format", "json", **environment).stdout)
    assert document["backend"] == backend


def test_unknown_backend_is_refused() -> None:
    done = run_maskcli("check", "--sample", KERAS_BACKEND="openvino")
    assert (done.returncode, done.stdout) == (4, "")
    assert "expected tensorflow, jax or torch; received openvino" in done.stderr


def test_other_backend_is_refused_in_python() -> None:
    with pytest.raises(UsageError, match="KERAS_BACKEND=jax"):
        maskcli.check([[1, 2], [3]], backend="jax")


def run_maskcli(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "maskcli", *arguments],
        capture_output=True,
        text=True,
        env={**clean_environment(), **environment},
        cwd=ROOT,
    )
