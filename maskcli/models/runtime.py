"""Import Keras and run models quietly, and turn their exceptions into errors."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from maskcli.errors import MaskcliError, ModelError, RaisedInCall, summarize_error

_STDOUT, _STDERR = 1, 2


@contextlib.contextmanager
def running(activity: str) -> Iterator[None]:
    """Run model code, and turn every exception into a ModelError that names the ``activity``."""
    try:
        yield
    except ModelError as error:
        raise error.at(activity) from error.__cause__
    except (MaskcliError, KeyboardInterrupt):
        raise
    except RaisedInCall as raised:
        if isinstance(raised.error, ModelError):
            raise raised.error.at(f"{activity}, at {raised.call}") from raised
        raise _make_run_error(f"{activity}, at {raised.call}", raised.error) from raised.error
    except Exception as error:
        raise _make_run_error(activity, error) from error


def _make_run_error(where: str, error: BaseException) -> ModelError:
    return ModelError(
        where=where,
        expected="a model that Keras builds and runs",
        received=f"{type(error).__name__}: {summarize_error(error)}",
        fix="--traceback shows where Keras raised the error.",
    )


def load_keras() -> Any:
    """Return the keras module with TensorFlow as its backend."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        raise _make_backend_error(backend)
    was_collecting = gc.isenabled()
    # Garbage collection takes a fifth of the import time of two thousand modules, and finds no garbage.
    gc.disable()
    try:
        import keras
    except ImportError as error:
        # The loader reports missing memory as a library that cannot be mapped.
        if "annot allocate memory" in str(error) or "failed to map segment" in str(error):
            raise MemoryError from error
        raise ModelError(
            where="importing Keras",
            expected="tensorflow and keras, installed",
            received=summarize_error(error),
            fix="Install maskcli again into a fresh virtual environment.",
        ) from error
    finally:
        if was_collecting:
            gc.enable()
    if keras.backend.backend() != "tensorflow":
        raise _make_backend_error(keras.backend.backend())
    return keras


def _make_backend_error(backend: str) -> ModelError:
    return ModelError(
        where="KERAS_BACKEND",
        expected="the tensorflow backend",
        received=backend,
        fix="Run with KERAS_BACKEND=tensorflow.",
    )


def read_versions() -> dict[str, str]:
    """Return the versions of keras, tensorflow and numpy, on which the results depend."""
    import keras
    import numpy as np
    import tensorflow as tf

    return {module.__name__: module.__version__ for module in (keras, tf, np)}


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Discard everything that is written to file descriptor 2, also by TensorFlow's C++ code."""
    sys.stderr and sys.stderr.flush()
    try:
        original = os.dup(_STDERR)
    except OSError:  # The caller closed it, so no output can appear there.
        yield
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, _STDERR)
    try:
        yield
    finally:
        sys.stderr and sys.stderr.flush()
        os.dup2(original, _STDERR)
        os.close(null)
        os.close(original)


@contextlib.contextmanager
def quiet_stdout() -> Iterator[None]:
    """Redirect the output of the user's code, also of C code, to stderr: stdout is for the document of maskcli."""
    original = sys.stdout
    _flush(original, sys.__stdout__)
    with contextlib.redirect_stdout(sys.stderr or io.StringIO()), _redirect_descriptor_1():
        try:
            yield
        finally:
            _flush(original, sys.__stdout__)


@contextlib.contextmanager
def _redirect_descriptor_1() -> Iterator[None]:
    try:
        os.fstat(_STDOUT)
    except OSError:  # The caller closed it, so no output can appear there.
        yield
        return
    try:
        target = os.dup(_STDERR)
    except OSError:  # There is no stderr.
        target = os.open(os.devnull, os.O_WRONLY)
    original = os.dup(_STDOUT)
    os.dup2(target, _STDOUT)
    os.close(target)
    try:
        yield
    finally:
        os.dup2(original, _STDOUT)
        os.close(original)


def _flush(*streams: TextIO | None) -> None:
    for stream in streams:
        with contextlib.suppress(OSError, ValueError):
            stream and stream.flush()
