"""Compare kinds of models between processes of backends, of which the first gives the weights."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from pathlib import Path

from maskcli.api.side import examine_side, load_side
from maskcli.conclusions.comparison import compare_sides
from maskcli.records.comparison import SideDifference
from maskcli.records.requests import CompareRequest
from maskcli.records.sides import ModelSide
from maskcli.render.stored import read_record, read_stored, write_record, write_stored
from tests.backends import kinds
from tests.backends.conftest import Worker

BACKENDS = ("tensorflow", "jax", "torch")


def examine_kind(name: str, folder: str, backend: str, gives: bool) -> None:
    """Write the side of a kind, on the backend of this process."""
    model, data, targets = kinds.build(name)
    with warnings.catch_warnings(action="ignore"):
        loaded = load_side(CompareRequest(data=data, model=model, targets=targets, quick=name in kinds.EQUAL))
        path = Path(folder) / f"{name}.weights"
        if gives:
            rows = loaded.choose_rows()
            arrays = {str(index): array for index, (_, array) in enumerate(loaded.weights)}
            write_stored(path, {}, {**arrays, "rows": rows})
        _, arrays = read_stored(path)
        rows = arrays.pop("rows")
        if not gives:
            loaded.assign_weights([arrays[str(index)] for index in range(len(arrays))])
        write_record(Path(folder) / f"{name}.{backend}", examine_side(loaded, rows))


class Sides:
    """Processes of backends, started when they are needed; the results of a kind are kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.get_worker = functools.cache(Worker)
        self.examine = functools.cache(self._examine)
        self.started: list[Worker] = []

    def _examine(self, name: str, backend: str) -> ModelSide:
        gives = backend == BACKENDS[0]
        if not gives:
            self.examine(name, BACKENDS[0])
        worker = self.get_worker(backend)
        if worker not in self.started:
            self.started.append(worker)
        worker.ask("examine_kind", name, str(self.folder), backend, gives)
        return read_record(self.folder / f"{name}.{backend}", ModelSide)

    def compare(self, name: str, backends: Sequence[str]) -> tuple[SideDifference, ...]:
        """Return each further backend compared with the first."""
        return compare_sides(backends, [self.examine(name, backend) for backend in backends])

    def close(self) -> None:
        """End the processes."""
        for worker in self.started:
            worker.close()
