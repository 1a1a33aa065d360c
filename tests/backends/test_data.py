"""On JAX and PyTorch, ``check`` and ``MaskCheck`` take the data that ``fit`` takes, within the same bounds of memory."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest

from tests.backends.conftest import Worker
from tests.backends.test_others import OTHERS, require, run_maskcli

pytestmark = pytest.mark.slow(share=1 / 3)
SOURCES = ("arrays", "generator", "loader", "py_dataset", "tensorflow")


@pytest.fixture(scope="module", params=OTHERS)
def caller(request: pytest.FixtureRequest) -> Iterator[Worker]:
    require(request.param)
    worker = Worker(request.param, "tests.backends.calls")
    yield worker
    worker.close()


def require_source(name: str) -> None:
    if name == "loader" and importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed: pip install -e '.[torch]'")


@pytest.mark.parametrize("with_weights", [False, True])
@pytest.mark.parametrize("source", [name for name in SOURCES if name != "generator"])
def test_check_reads_source(caller: Worker, source: str, with_weights: bool) -> None:
    require_source(source)
    answer = caller.ask("call", "data_sources", "check_source", source, with_weights)
    assert answer["rows"] == [4, 4]
    assert "MSK101" in answer["codes"]


@pytest.mark.parametrize("with_weights", [False, True])
@pytest.mark.parametrize("source", SOURCES)
def test_training_on_source_is_checked_and_unchanged(caller: Worker, source: str, with_weights: bool) -> None:
    require_source(source)
    answer = caller.ask("call", "data_sources", "train_on_source", source, with_weights)
    assert answer["is_same"]
    assert answer["rows"] == [2, 2]
    assert "MSK101" in answer["codes"]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("weights", "received 2.44 MiB, to initialise embeddings of shape (20,000, 16)"),
        ("result", "received 1.22 MiB for repeat (RepeatVector)"),
        ("steps", "received 30,000 for lstm (LSTM)"),
    ],
)
def test_memory_is_bounded(caller: Worker, part: str, message: str) -> None:
    assert message in caller.ask("call", "data_sources", "measure_memory", part, 2**20)
    assert part == "steps" or not caller.ask("call", "data_sources", "measure_memory", part, 2**30)


@pytest.mark.parametrize("backend", OTHERS)
def test_max_memory_bounds_weights(backend: str) -> None:
    require(backend)
    embedding = (
        "inspect",
        "--sample",
        "--input-dim",
        "20000",
        "--embedding-dim",
        "16",
        "--quiet",
        "--backend",
        backend,
    )
    refused = run_maskcli(*embedding, "--max-memory", "2M")
    assert (refused.returncode, refused.stdout) == (4, "")
    assert "expected at most 2 MiB of memory for the weights of a model; received 2.44 MiB" in refused.stderr
    assert run_maskcli(*embedding, "--max-memory", "3M").returncode == 0
