"""Random models with equal weights on several backends."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tests.differential import models, oracle
from tests.differential.compare import ask
from tests.differential.models import Case

PARTS = ("verdict", "passed", "codes", "rows_mix", "future", "repairs")
"""The parts of an answer that do not depend on rounding."""


def write_weights(case: Case, path: Path) -> None:
    """Write the weights that the model of a case has on the backend of this process."""
    oracle.clear()
    np.savez(path, *models.make_model(case).get_weights())


def answer_case(case: Case, path: Path) -> dict[str, Any]:
    """Return maskcli's answer about a case with the weights of a file; the outputs come into a file next to it."""
    oracle.clear()
    model = models.make_model(case)
    with np.load(path) as arrays:
        model.set_weights([arrays[name] for name in arrays.files])
    outputs = keras.tree.flatten(model(models.take_inputs(case, models.assemble(case)), training=False))
    np.savez(path_of_outputs(path, keras.backend.backend()), *map(keras.ops.convert_to_numpy, outputs))
    answer: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(ask(case, model))))
    return answer


def path_of_outputs(path: Path, backend: str) -> Path:
    """Return the file of the outputs on a backend."""
    return path.with_suffix(f".{backend}.npz")


def measure_difference(path: Path, backends: tuple[str, str]) -> float:
    """Return the largest difference between the outputs on two backends, relative to the largest output."""
    with np.load(path_of_outputs(path, backends[0])) as first, np.load(path_of_outputs(path, backends[1])) as second:
        pairs = [(np.asarray(first[name], float), np.asarray(second[name], float)) for name in first.files]
    if any(left.shape != right.shape or np.any(np.isfinite(left) != np.isfinite(right)) for left, right in pairs):
        return float("inf")
    return max(
        float(np.nanmax(np.abs(left - right), initial=0.0) / max(np.nanmax(np.abs(left), initial=0.0), 1e-6))
        for left, right in pairs
    )
