"""The backend that Keras runs on."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

from maskcli.backends.base import Backend


@functools.cache
def get_backend() -> Backend:
    """Return the backend of this process; Keras is imported, and keeps its backend as long as the process runs."""
    import keras

    name = keras.backend.backend()
    if name == "jax":
        from maskcli.backends.jax import JaxBackend

        return JaxBackend()
    if name == "torch":
        from maskcli.backends.torch import TorchBackend

        return TorchBackend()
    from maskcli.backends.tensorflow import TensorflowBackend

    return TensorflowBackend()


@contextlib.contextmanager
def expect_many_runs() -> Iterator[None]:
    """Let the backend compile at once all that it compiles after some runs; serves as a decorator, too."""
    with get_backend().expect_runs():
        yield
