"""Import Keras and run models quietly, and turn their exceptions into errors."""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from maskcli.backends.choice import get_backend
from maskcli.errors import ON_COMMAND_LINE, MaskcliError, ModelError, RaisedInCall, UsageError, summarize_error
from maskcli.models.keras_version import check_keras_version
from maskcli.models.lambdas import find_missing_name
from maskcli.records.fields import BACKENDS

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
    fix = "--traceback shows where Keras raised the error."
    name = find_missing_name(error)
    if name is not None:
        fix = f"If a Lambda of the file uses {name}, pass the script that defines it: --custom-objects train.py. {fix}"
    return ModelError(
        where=where,
        expected="a model that Keras builds and runs",
        received=f"{type(error).__name__}: {summarize_error(error)}",
        fix=fix,
    )


def choose_backend(name: str | None) -> None:
    """Let Keras run on a backend when it is imported; None leaves the choice to the configuration of Keras.

    Raises:
        UsageError: if Keras runs on another one already.
    """
    if name is None:
        return
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = name
        return
    import keras

    if keras.backend.backend() != name:
        raise UsageError(
            where="--backend",
            expected=f"{keras.backend.backend()}, on which Keras runs in this process",
            received=name,
            fix=f"Choose it before Keras is imported: KERAS_BACKEND={name}.",
        )


def load_keras() -> Any:
    """Return the keras module, with the backend that it is configured for.

    Keras reads the environment, then its ``keras.json``.

    Raises:
        ModelError: if Keras or its backend cannot be imported, if maskcli does not know the backend, or if Keras is too
            old.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    was_collecting, is_first = gc.isenabled(), "keras" not in sys.modules
    # Garbage collection takes a fifth of the import time of two thousand modules, and finds no garbage.
    gc.disable()
    try:
        import keras
    except ImportError as error:
        # The loader reports missing memory as a library that cannot be mapped.
        if "annot allocate memory" in str(error) or "failed to map segment" in str(error):
            raise MemoryError from error
        raise _make_import_error(error) from error
    except ValueError as error:  # Of Keras, for a backend that it does not know.
        raise _make_backend_error(os.environ.get("KERAS_BACKEND", "")) from error
    finally:
        # The objects of these modules live as long as the process, and collections would look at all of them for half
        # a second. In a process of someone else, there may be garbage among them.
        if is_first and ON_COMMAND_LINE.get():
            gc.freeze()
        if was_collecting:
            gc.enable()
    check_keras_version(keras.__version__)
    if keras.backend.backend() not in BACKENDS:
        raise _make_backend_error(keras.backend.backend())
    if keras.backend.backend() != "tensorflow":
        _ignore_tensorflow()
    return keras


def _ignore_tensorflow() -> None:
    """Let Keras use TensorFlow only where the user's code has imported it.

    On any backend, Keras imports TensorFlow where it is installed: to save a model, or to seed it.
    """
    from keras.src.utils import module_utils

    class ImportedModule(module_utils.LazyModule):  # type: ignore[misc]
        """A module that is available once it is imported."""

        @property
        def available(self) -> bool:
            """Return whether the module is imported."""
            return self.name in sys.modules and bool(super().available)

    if type(module_utils.tensorflow) is module_utils.LazyModule:
        module_utils.tensorflow.__class__ = ImportedModule


def seed_generators(seed: int) -> None:
    """Seed the generators of Python, NumPy and Keras, as ``keras.utils.set_random_seed`` does."""
    load_keras().utils.set_random_seed(seed)


def _make_import_error(error: ImportError) -> ModelError:
    """Return the error for a missing package: that of the configured backend, or any other."""
    missing = (error.name or "").partition(".")[0]
    if missing == "openvino":
        return _make_backend_error(missing)
    if missing in BACKENDS:
        others = " or ".join(_describe_installation(name) for name in BACKENDS if name != missing)
        return ModelError(
            where=f"importing Keras with the backend {missing}",
            expected=f"{missing}, installed",
            received=summarize_error(error),
            fix=f"Install it (pip install {missing}), or choose another one with --backend or the variable "
            f"KERAS_BACKEND: {others}.",
        )
    return ModelError(
        where="importing Keras",
        expected="tensorflow and keras, installed",
        received=summarize_error(error),
        fix="Install maskcli again into a fresh virtual environment.",
    )


def _describe_installation(backend: str) -> str:
    """Return the name of a backend, with the command that installs it where it is missing."""
    is_installed = importlib.util.find_spec(backend) is not None
    return f"{backend} (installed)" if is_installed else f"{backend} (pip install {backend})"


def _make_backend_error(backend: str) -> ModelError:
    return ModelError(
        where="the backend of Keras",
        expected=f"{', '.join(BACKENDS[:-1])} or {BACKENDS[-1]}",
        received=backend,
        fix="Choose one with --backend, with the variable KERAS_BACKEND, or in keras.json.",
    )


def read_versions() -> dict[str, str | None]:
    """Return the versions of keras, its backend and numpy, on which the results depend.

    That of tensorflow is None if the model did not run on it.
    """
    import keras
    import numpy as np

    package = get_backend().package
    versions: dict[str, str | None] = {"keras": keras.__version__, "tensorflow": None}
    versions[package] = str(sys.modules[package].__version__)
    return {**versions, "numpy": np.__version__}


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
