"""The process of one backend: it loads the model, gives or takes the weights, and writes its side of a comparison.

Messages are lines of JSON on two pipes; data, weights and results are files in a folder of the parent. Nothing is
pickled.
"""

from __future__ import annotations

import json
import os
import signal
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from maskcli.api.side import LoadedSide, examine_side, load_side, make_failed_side
from maskcli.api.side_values import read_values
from maskcli.errors import ON_COMMAND_LINE, MaskcliError, ModelError
from maskcli.models.runtime import load_keras
from maskcli.records.requests import CompareRequest
from maskcli.records.sides import ModelSide
from maskcli.render.stored import read_stored, write_record, write_stored
from maskcli.sequences.bounds import set_memory_bound

CODE = "import sys; sys.path[:] = {path!r}; from maskcli.api.side_worker import serve_side; serve_side({read}, {write})"
"""The program of a worker, whose pipes have these descriptors."""
REQUEST, WEIGHTS = "request", "weights"
"""The names of the files that all workers share."""
MEMORY = 71
"""The exit code of a worker that ran out of memory."""


def serve_side(read: int, write: int) -> None:
    """Work on one side; the pipes close if the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides.
    with os.fdopen(read, encoding="utf-8") as messages, os.fdopen(write, "w", encoding="utf-8") as answers:

        def answer(**content: Any) -> None:
            answers.write(f"{json.dumps(content)}\n")
            answers.flush()

        try:
            _work(messages, answer)
        except MaskcliError as error:
            answer(state="error", **describe_refusal(error))
        except MemoryError:
            os._exit(MEMORY)
        except Exception:
            answer(state="crash", traceback=traceback.format_exc())
    os._exit(0)  # Leaving the interpreter would take all of a backend's objects apart.


def _work(messages: Any, answer: Any) -> None:
    first = json.loads(next(messages))
    folder, backend = Path(first["folder"]), str(first["backend"])
    ON_COMMAND_LINE.set(first["on_command_line"])
    set_memory_bound(first["memory_bound"])
    os.environ["KERAS_BACKEND"] = backend
    try:
        loaded = _load(folder, backend)
    except ModelError as error:
        write_record(folder / backend, make_failed_side("load", error))
        answer(state="failed", **describe_refusal(error))
        return
    answer(state="loaded")
    command = next(messages, None)
    if command is None:  # The parent has ended, or stopped for an error of another side.
        return
    if json.loads(command)["gives"]:
        rows = _give(loaded, folder)
        answer(state="gave")
        side = examine_side(loaded, rows)
    else:
        side = _take_and_examine(loaded, folder)
    write_record(folder / backend, side)
    answer(state="done")


def _load(folder: Path, backend: str) -> LoadedSide:
    # Keras leaves frames of TensorFlow out of tracebacks, which show whether a model calls it on another backend.
    load_keras().config.disable_traceback_filtering()
    return load_side(CompareRequest(**read_values(folder / REQUEST), backend=backend))


def _give(loaded: LoadedSide, folder: Path) -> Any:
    """Write the weights, and the rows to compare; return the rows."""
    rows = loaded.choose_rows()
    weights = loaded.weights
    content = {"names": [name for name, _ in weights]}
    arrays = {str(index): array for index, (_, array) in enumerate(weights)}
    write_stored(folder / WEIGHTS, content, {**arrays, "rows": np.asarray(rows, np.int64)})
    return rows


def _take_and_examine(loaded: LoadedSide, folder: Path) -> ModelSide:
    content, arrays = read_stored(folder / WEIGHTS)
    try:
        loaded.assign_weights([arrays[str(index)] for index in range(len(content["names"]))])
    except ModelError as error:
        return make_failed_side("load", error)
    return examine_side(loaded, arrays["rows"])


def describe_refusal(error: MaskcliError) -> dict[str, Any]:
    """Return an error that a user can act on, in JSON's own types."""
    parts = {name: value for name, value in vars(error).items() if isinstance(value, str | int | None)}
    return {"error": type(error).__name__, "parts": parts}
