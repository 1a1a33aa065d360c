"""A process for each backend, because Keras has one backend for as long as a process runs."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from maskcli.api.side_values import INPUT, write_values
from maskcli.api.side_worker import CODE, MEMORY, REQUEST
from maskcli.errors import ON_COMMAND_LINE, InputError, MaskcliError, ModelError, UsageError
from maskcli.records.sides import ModelSide
from maskcli.render.stored import read_record
from maskcli.sequences.bounds import get_memory_bound

PATIENCE = 5
"""Seconds between the end of a worker's pipe and the end of the worker."""
ERRORS = {kind.__name__: kind for kind in (UsageError, InputError, ModelError)}


def check_installed(backends: Sequence[str]) -> None:
    """Raise ModelError for a backend whose package is not installed, before any process starts."""
    for name in backends:
        if importlib.util.find_spec(name) is None:
            others = [other for other in backends if importlib.util.find_spec(other) is not None]
            leave_out = f", or leave it out: --backends {','.join(others)}" if len(others) > 1 else ""
            raise ModelError(
                where=f"--backends {','.join(backends)}",
                expected=f"{name}, installed",
                received="a Python without it",
                fix=f"Install it (pip install {name}){leave_out}.",
            )


def examine_on_backends(values: Mapping[str, Any], backends: Sequence[str]) -> list[ModelSide]:
    """Return the side of each backend; the first one that loads the model gives the others its weights.

    Args:
        values: the arguments of ``maskcli.compare``, without the backends.
        backends: names of installed backends.

    Raises:
        UsageError: for data and options that contradict each other, or that only this process has.
        InputError: for data or targets that cannot be read.
        ModelError: for a model that no backend loads, and a process that was killed.
        RuntimeError: with the traceback of the process, for any other error.
    """
    with open_folder() as folder:
        write_values(folder / REQUEST, values)
        workers = [_Worker(name, folder) for name in backends]
        try:
            answers = [worker.read() for worker in workers]
            loaded = [item for item, answer in zip(workers, answers, strict=True) if answer["state"] == "loaded"]
            if not loaded:
                raise _make_error(answers[0])
            for worker in loaded:
                worker.send(gives=worker is loaded[0])
                if worker is loaded[0]:
                    worker.read()
            for worker in loaded:
                worker.read()
            return [read_record(folder / name, ModelSide) for name in backends]
        finally:
            for worker in workers:
                worker.stop()


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """Yield a temporary folder, removed at the end; errors about a copy of standard input name the original."""
    folder = Path(tempfile.mkdtemp(prefix="maskcli-"))
    _folders.append(folder)
    try:
        yield folder
    except MaskcliError as error:
        copy = str(folder / INPUT)
        error.respell(lambda text: text.replace(copy, "standard input"))
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _folders.remove(folder)


class _Worker:
    """The process of one backend."""

    def __init__(self, backend: str, folder: Path) -> None:
        self._backend = backend
        from_parent, to_worker = os.pipe()
        from_worker, to_parent = os.pipe()
        code = CODE.format(path=sys.path, read=from_parent, write=to_parent)
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter
            [sys.executable, "-c", code],
            env={**os.environ, "KERAS_BACKEND": backend},
            pass_fds=(from_parent, to_parent),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _running.append(self._process)
        os.close(from_parent)
        os.close(to_parent)
        self._sender = os.fdopen(to_worker, "w", encoding="utf-8")
        self._receiver = os.fdopen(from_worker, encoding="utf-8")
        self.send(
            folder=str(folder),
            backend=backend,
            on_command_line=ON_COMMAND_LINE.get(),
            memory_bound=get_memory_bound(),
        )

    def send(self, **message: Any) -> None:
        # If the worker is dead, its receiver is at its end, and ``read`` reports it.
        with contextlib.suppress(OSError):
            self._sender.write(f"{json.dumps(message)}\n")
            self._sender.flush()

    def read(self) -> dict[str, Any]:
        """Return the next answer of the worker, with its state.

        Raises:
            MaskcliError: that the worker raised.
            ModelError: if it was killed.
            RuntimeError: for a bug.
        """
        line = self._receiver.readline()
        if not line:
            raise self._make_lost_error()
        answer: dict[str, Any] = json.loads(line)
        if answer["state"] == "crash":
            raise RuntimeError(f"the process of {self._backend} failed\n{answer['traceback']}")
        if answer["state"] == "error":
            raise _make_error(answer)
        return answer

    def _make_lost_error(self) -> Exception:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE)
        code = self._process.poll()
        if code == MEMORY:
            return MemoryError()
        ended = f"exit code {code}" if code is None or code >= 0 else signal.Signals(-code).name
        return ModelError(
            where=f"--backends {self._backend}",
            expected="a process that runs the model to its end",
            received=f"one that ended with {ended}",
            fix="Fewer rows or timesteps need less memory; run it by itself to see its messages: "
            f"maskcli check --backend {self._backend}.",
        )

    def stop(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):
            self._sender.close()
        self._receiver.close()
        self._process.kill()
        self._process.wait()
        _running.remove(self._process)


def _make_error(answer: Mapping[str, Any]) -> MaskcliError:
    parts = answer["parts"]
    kind = ERRORS.get(answer["error"], InputError)
    error = kind(expected=parts["expected"], received=parts["received"], fix=parts["fix"])
    vars(error).update(parts)
    return error


_running: list[subprocess.Popen[bytes]] = []
"""The workers of this process."""
_folders: list[Path] = []
"""The folders of files that workers share."""


def end_sides() -> None:
    """End all workers, and remove their files, because the process is about to end."""
    for process in _running:
        process.kill()
    for folder in _folders:
        shutil.rmtree(folder, ignore_errors=True)
