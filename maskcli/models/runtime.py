"""Keras and TensorFlow, loaded without their chatter."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

from maskcli.errors import MaskcliError, ModelError

_STDERR = 2


@contextlib.contextmanager
def running(what: str) -> Iterator[None]:
    """Run model code; whatever it raises becomes a ModelError that says it happened in ``what``."""
    try:
        yield
    except (MaskcliError, KeyboardInterrupt):
        raise
    except Exception as error:
        raise ModelError(
            where=what,
            expected="a model that Keras builds and runs",
            received=f"{type(error).__name__}: {_said(error)}",
            fix="--traceback shows where Keras raised it.",
        ) from error


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
            received=_said(error),
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


def versions() -> dict[str, str]:
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


def _said(error: BaseException) -> str:
    """Return what an error says, on one line: without the colours, the frame and the arguments that Keras adds."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split("Arguments received by")[0]
    text = re.sub(r"\{\{.*?\}\}", "", text)  # The device TensorFlow ran on.
    text = re.sub(r"^Exception encountered when calling \S+\s+", "", text.strip())
    return textwrap.shorten(text, 400) or "no message"
