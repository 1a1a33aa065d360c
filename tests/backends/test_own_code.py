"""On JAX and PyTorch, code of a model is compared with its compiled function, and changes of tensors are followed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.backends.conftest import Worker
from tests.backends.test_others import OTHERS, require

pytestmark = pytest.mark.slow(share=1 / 2)


def start(backend: str) -> Iterator[Worker]:
    if backend not in OTHERS:
        pytest.skip(f"MASKCLI_BACKENDS leaves out {backend}")
    require(backend)
    worker = Worker(backend, "tests.backends.calls")
    yield worker
    worker.close()


@pytest.fixture(scope="module")
def on_jax() -> Iterator[Worker]:
    yield from start("jax")


@pytest.fixture(scope="module")
def on_torch() -> Iterator[Worker]:
    yield from start("torch")


def list_names(variable: str) -> list[str]:
    """Return the names of the functions in a list of ``in_place``, which imports PyTorch."""
    tree = ast.parse(Path(__file__).with_name("in_place.py").read_text())
    (value,) = (
        node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == variable
    )
    return [ast.unparse(key) for key in (value.keys if isinstance(value, ast.Dict) else value.elts)]  # type: ignore[attr-defined]


# Compiled functions.


def test_row_by_itself_differs_on_jax(on_jax: Worker) -> None:
    answer = on_jax.ask("call", "own_code", "check_row_by_itself")
    ((message, evidence),) = answer["findings"]
    assert "Sample 0 by itself differs by 1.5 in a compiled function, which fit and predict run" in message
    assert answer["difference"] == evidence["max_abs_change"] == 1.5


@pytest.mark.parametrize("jit_compile", [True, "auto", False])
def test_mask_lost_by_stop_gradient_on_jax(on_jax: Worker, jit_compile: Any) -> None:
    answer = on_jax.ask("call", "own_code", "check_stopped_gradient", jit_compile)
    ((message, evidence),) = answer["findings"]
    assert "pool (GlobalAveragePooling1D) receives a mask only when it runs eagerly" in message
    assert answer["fit"] > 1e-6
    if jit_compile is False:  # Without compilation, ``fit`` differentiates tensors of another kind all the same.
        assert "where JAX differentiates the model, as fit does" in message
        assert answer["predict"] == 0
    else:
        assert "in a compiled function, which fit and predict run" in message
        assert answer["predict"] == pytest.approx(evidence["max_abs_change"], rel=1e-5)


@pytest.mark.parametrize("jit_compile", ["auto", False])
def test_model_runs_eagerly_on_torch(on_torch: Worker, jit_compile: Any) -> None:
    answer = on_torch.ask("call", "own_code", "check_compiled_by_torch", jit_compile)
    assert (answer["findings"], answer["applicable"], answer["predict"]) == ([], False, 0)
    assert answer["why"].endswith("fit and predict run a model eagerly unless it is compiled with jit_compile=True")


def test_compiled_model_differs_on_torch(on_torch: Worker) -> None:
    answer = on_torch.ask("call", "own_code", "check_compiled_by_torch", True)
    ((message, evidence),) = answer["findings"]
    assert "in a compiled function, which fit and predict run" in message
    assert answer["predict"] == pytest.approx(evidence["max_abs_change"], rel=1e-4)


# Tensors that change in place.


@pytest.mark.parametrize("name", list_names("RIGHT"))
def test_right_change_of_tensor_has_no_finding(on_torch: Worker, name: str) -> None:
    answer = on_torch.ask("call", "in_place", "check", name)
    assert answer["difference"] < 1e-6
    assert (answer["verdict"], answer["findings"]) == ("clean", [])


@pytest.mark.parametrize("name", list_names("WRONG"))
def test_wrong_code_of_torch_is_named_with_its_line(on_torch: Worker, name: str) -> None:
    answer = on_torch.ask("call", "in_place", "check", name)
    assert answer["difference"] > 1e-3
    assert (answer["verdict"], answer["findings"]) == ("leaks", [["MSK101", answer["expected"], True]])


def test_results_before_a_change_in_place_are_kept(on_torch: Worker) -> None:
    assert on_torch.ask("call", "in_place", "compare_records") == [0.25, 0.25, 1.25]


# Faults of Keras.


@pytest.mark.parametrize("is_mended", [False, True])
def test_fault_of_keras_is_reported_until_it_is_mended(on_torch: Worker, is_mended: bool) -> None:
    answer = on_torch.ask("call", "own_code", "check_unrolled", is_mended)
    if is_mended or not answer["has_fault"]:
        assert answer["findings"] == []
    else:
        ((code, message),) = answer["findings"]
        assert code == "MSK106"
        assert f"This is a fault of Keras {answer['version']} on PyTorch." in message
