"""On JAX, masks, leaks, culprits, repairs and losses are as on TensorFlow, but for differences that are listed here."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import maskcli
from maskcli.errors import UsageError
from tests.backends import models
from tests.backends.conftest import Worker
from tests.conftest import ROOT, clean_environment
from tests.traps import TRAPS, built
from tests.zoo import RIGHT, WRONG, Kind, Side, variants

pytestmark = pytest.mark.slow(share=1 / 4)
needs_jax = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed")
IN_TENSORFLOW = (
    "attention_in_tf",
    "functional_with_tf",
    "position_table",
    "square_einsum",
    "subclassed",
    "tf_function",
)
"""Beginnings of the names of models whose code calls TensorFlow."""


def list_variants(kinds: dict[str, Kind]) -> list[tuple[str, Side, int | None]]:
    return [variant for variant in variants(kinds) if not variant[0].startswith(IN_TENSORFLOW)]


@pytest.mark.slow(share=1 / 8)
@pytest.mark.parametrize("name", [make.__name__ for make in TRAPS])
def test_culprit_of_trap_is_named(jax: Worker, name: str) -> None:
    make = next(make for make in TRAPS if make.__name__ == name)
    answer, trap = jax.ask("check_trap", name), built(make)
    assert not answer["passed"]
    assert (trap.code, trap.culprit) in [(item["code"], item["type"]) for item in answer["findings"]]


@pytest.mark.slow(share=1 / 40)
@pytest.mark.parametrize(("name", "side", "length"), list_variants(RIGHT))
def test_right_model_gets_no_finding(jax: Worker, name: str, side: str, length: int | None) -> None:
    findings = jax.ask("check_animal", name, side, length)["findings"]
    codes = {item["code"] for item in findings if item["severity"] != "info"}
    assert codes <= set(RIGHT[name].codes), findings


@pytest.mark.slow(share=1 / 30)
@pytest.mark.parametrize(("name", "side", "length"), list_variants(WRONG))
def test_wrong_model_gets_finding_at_culprit(jax: Worker, name: str, side: str, length: int | None) -> None:
    kind = WRONG[name]
    findings = jax.ask("check_animal", name, side, length)["findings"]
    types = {item["type"] for item in findings if item["severity"] != "info"}
    assert set(kind.culprits) <= types <= {*kind.culprits, *kind.any_of, *kind.also}, findings
    assert not kind.any_of or types & set(kind.any_of), findings


@needs_jax
def test_tensorflow_is_never_imported() -> None:
    code = """
import sys
from maskcli.api.check import check
from maskcli.api.loss import loss
check([[1, 2], [3]], backend="jax")
loss([[1, 2], [3]], targets="arange", batch_sizes=[1])
print([name for name in ("tensorflow", "jax") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=clean_environment())
    assert done.stdout == "['jax']\n", done.stderr


@pytest.mark.parametrize("name", ["stateful", "attention"])
def test_model_and_seeds_are_unchanged(jax: Worker, name: str) -> None:
    assert jax.ask("compare_state", name)


def test_document_names_backend(jax: Worker) -> None:
    document = jax.ask("check_model", "attention")
    assert document["backend"] == "jax"
    assert document["versions"]["tensorflow"] is None
    assert document["versions"]["jax"]


def test_operations_of_own_code_are_found(jax: Worker) -> None:
    document = jax.ask("check_model", "sum_in_code")
    (finding,) = [item for item in document["findings"] if item["severity"] == "error"]
    assert document["leak"]["leaks"]
    assert finding["type"] in ("StridedSlice", "Mul")
    assert finding["location"]["file"].endswith("tests/backends/models.py")


def test_gradient_equals_that_of_tensorflow(jax: Worker) -> None:
    theirs = jax.ask("differentiate", "sum_in_code")
    model, data = models.sum_in_code()
    report = maskcli.check(data, model=model)
    leak = report.examination.model.leak  # type: ignore[union-attr]
    ours = next(probe for probe in leak.probes if probe.name == "gradient")  # type: ignore[union-attr]
    assert theirs["title"] == "jax"
    assert keras.backend.backend() == "tensorflow"
    assert theirs["leaks"] is ours.leaks is True


def test_loss_equals_evaluate(jax: Worker) -> None:
    answer = jax.ask("measure_loss", "masked_loss")
    document = answer["loss"]
    assert document["keras_evaluate"] == pytest.approx(answer["evaluate"]["loss"], rel=1e-6)
    losses, mask = np.array(document["per_timestep"]), np.array(document["mask"])
    assert document["masked"] == pytest.approx(losses[mask].mean(), rel=1e-6)
    (metric,) = document["metrics"]
    assert metric["reported"] == pytest.approx(answer["evaluate"]["accuracy"], rel=1e-6)
    assert metric["valid"] == pytest.approx(metric["reported"], abs=1e-6)
    assert all(0 < size["gradient"]["cosine"] <= 1 for size in document["batch_sizes"] if size.get("gradient"))


@pytest.mark.parametrize("with_data", [True, False])
def test_callback_leaves_training_as_it_was(jax: Worker, with_data: bool) -> None:
    answer = jax.ask("train", "masked_loss", with_data)
    assert answer["histories"][0] == answer["histories"][1]
    assert answer["passed"]
    assert answer["rows"] == (3 if with_data else 2)


def test_class_ids_out_of_range_are_refused(jax: Worker) -> None:
    with pytest.raises(AssertionError, match="class ids from 0 to 1"):
        jax.ask("measure_loss", "unknown_class")


def test_reshape_to_same_shape_keeps_mask(jax: Worker) -> None:
    model, data = models.same_shape()
    ours = maskcli.check(data, model=model)
    theirs = jax.ask("check_model", "same_shape")
    assert [(item.code, item.type) for item in ours.findings if item.severity == "error"] == [("MSK101", "Reshape")]
    assert theirs["leak"]["verdict"] == "clean"


def test_mask_lost_when_compiled_is_named(jax: Worker) -> None:
    document = jax.ask("check_model", "stopped_gradient")
    (finding,) = document["findings"]
    assert (finding["code"], finding["call"]) == ("MSK402", "pool")
    assert document["leak"]["verdict"] == "clean"
    model, data = models.stopped_gradient()
    assert [item.code for item in maskcli.check(data, model=model).findings] == ["MSK101"]


@needs_jax
@pytest.mark.parametrize("command", ["check", "inspect", "loss"])
def test_option_chooses_backend(command: str) -> None:
    document = json.loads(run_maskcli(command, "--sample", "--backend", "jax", "--format", "json").stdout)
    assert document["backend"] == "jax"


@needs_jax
def test_keras_json_chooses_backend(tmp_path: Path) -> None:
    (tmp_path / "keras.json").write_text('{"backend": "jax"}')
    environment = {"KERAS_HOME": str(tmp_path)}
    document = json.loads(run_maskcli("check", "--sample", "--format", "json", **environment).stdout)
    assert document["backend"] == "jax"


def test_unknown_backend_is_refused() -> None:
    done = run_maskcli("check", "--sample", KERAS_BACKEND="openvino")
    assert (done.returncode, done.stdout) == (4, "")
    assert "expected tensorflow or jax; received openvino" in done.stderr


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
