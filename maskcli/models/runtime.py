"""Keras and TensorFlow, loaded without their chatter."""

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
def running(what: str) -> Iterator[None]:
    """Run model code; whatever it raises becomes a ModelError that says it happened in ``what``."""
    try:
        yield
    except (MaskcliError, KeyboardInterrupt):
        raise
    except RaisedInCall as raised:
        raise _not_run(f"{what}, at {raised.call}", raised.error) from raised.error
    except Exception as error:
        raise _not_run(what, error) from error


def _not_run(where: str, error: BaseException) -> ModelError:
    return ModelError(
        where=where,
        expected="a model that Keras builds and runs",
        received=f"{type(error).__name__}: {summarize_error(error)}",
        fix="--traceback shows where Keras raised it.",
    )


def load_keras() -> Any:
    """Return the keras module with TensorFlow as its backend.

    Collecting garbage while two thousand modules are made costs a fifth of the time of importing them, and there is
    none, so the collector rests meanwhile.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        raise _other_backend(backend)
    collecting = gc.isenabled()
    gc.disable()
    try:
        import keras
    except ImportError as error:
        raise ModelError(
            where="importing Keras",
            expected="tensorflow and keras, installed",
            received=summarize_error(error),
            fix="Install maskcli again into a fresh virtual environment: pip install maskcli.",
        ) from error
    finally:
        if collecting:
            gc.enable()
    if keras.backend.backend() != "tensorflow":
        raise _other_backend(keras.backend.backend())
    return keras


def _other_backend(backend: str) -> ModelError:
    return ModelError(
        where="KERAS_BACKEND",
        expected="the tensorflow backend",
        received=backend,
        fix="Run with KERAS_BACKEND=tensorflow.",
    )


def read_versions() -> dict[str, str]:
    """Return the versions of what the numbers depend on."""
    import keras
    import numpy as np
    import tensorflow as tf

    return {module.__name__: module.__version__ for module in (keras, tf, np)}


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Throw away all that is written to descriptor 2, by TensorFlow's C++ side too, for as long as this is open."""
    sys.stderr and sys.stderr.flush()
    try:
        kept = os.dup(_STDERR)
    except OSError:  # Closed by the caller: nothing can reach it.
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, _STDERR)
    try:
        yield
    finally:
        sys.stderr and sys.stderr.flush()
        os.dup2(kept, _STDERR)
        os.close(nowhere)
        os.close(kept)


@contextlib.contextmanager
def quiet_stdout() -> Iterator[None]:
    """Send to stderr what the user's code prints, from C too: maskcli's own stdout is one document."""
    before = sys.stdout
    _flush(before, sys.__stdout__)
    with contextlib.redirect_stdout(sys.stderr or io.StringIO()), _descriptor_1_at_stderr():
        try:
            yield
        finally:
            _flush(before, sys.__stdout__)


@contextlib.contextmanager
def _descriptor_1_at_stderr() -> Iterator[None]:
    try:
        os.fstat(_STDOUT)
    except OSError:  # Closed by the caller: nothing can reach it.
        yield
        return
    try:
        target = os.dup(_STDERR)
    except OSError:  # There is no stderr.
        target = os.open(os.devnull, os.O_WRONLY)
    kept = os.dup(_STDOUT)
    os.dup2(target, _STDOUT)
    os.close(target)
    try:
        yield
    finally:
        os.dup2(kept, _STDOUT)
        os.close(kept)


def _flush(*streams: TextIO | None) -> None:
    for stream in streams:
        with contextlib.suppress(OSError, ValueError):
            stream and stream.flush()
