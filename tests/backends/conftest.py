"""Processes that run on a backend."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import ROOT, clean_environment


class Worker:
    """A process that answers questions about models on one backend."""

    def __init__(self, backend: str, module: str = "tests.backends.worker") -> None:
        self.backend = backend
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", module],
            cwd=ROOT,
            env={**clean_environment(), "KERAS_BACKEND": backend},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, question: str, *arguments: Any) -> Any:
        """Return the answer of ``tests.backends.worker``."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{json.dumps([question, *arguments])}\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer["answer"]

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def jax() -> Iterator[Worker]:
    yield from _start_worker("jax")


@pytest.fixture(scope="module")
def torch() -> Iterator[Worker]:
    yield from _start_worker("torch")


def _start_worker(backend: str) -> Iterator[Worker]:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed: pip install -e '.[{backend}]'")
    worker = Worker(backend)
    yield worker
    worker.close()
