"""Restore the global generators of random numbers: those of Python, NumPy, Keras and its backend."""

from __future__ import annotations

import contextlib
import contextvars
import itertools
import random
from collections.abc import Iterator
from typing import Any

import numpy as np

from maskcli.backends.arrays import as_array
from maskcli.backends.choice import get_backend

SEED_GENERATOR = "global_seed_generator"
"""The name of Keras's global generator of seeds, which it creates when it is first needed."""


_RUNS = itertools.count(1)
"""Numbers the runs of this process, so that no two start from the same state."""


_IS_SHARED = contextvars.ContextVar("is_shared", default=False)
"""Whether other threads draw from the generators of Python and NumPy."""


@contextlib.contextmanager
def share_generators() -> Iterator[None]:
    """Leave the generators of Python and NumPy to other threads, such as one that reads the batches of a training.

    Numbers that such a thread draws meanwhile would otherwise be others, and be drawn again.
    """
    token = _IS_SHARED.set(True)
    try:
        yield
    finally:
        _IS_SHARED.reset(token)


@contextlib.contextmanager
def preserve_random_state() -> Iterator[None]:
    """Restore the global generators of random numbers, also after an error."""
    import keras

    of_python, of_numpy = random.getstate(), np.random.get_state()
    of_keras, of_operations = _get_seed_generator(), _get_operation_generator()
    seeds = None if of_keras is None else as_array(keras.ops.convert_to_tensor(of_keras.state))
    operations = None if of_operations is None else of_operations.getstate()
    try:
        yield
    finally:
        if not _IS_SHARED.get():
            random.setstate(of_python)
            np.random.set_state(of_numpy)
        _set_seed_generator(of_keras)
        if of_keras is not None and seeds is not None:
            of_keras.state.assign(seeds)
        if of_operations is not None and operations is not None and _get_operation_generator() is of_operations:
            of_operations.setstate(operations)


def begin_random_run(model: Any) -> None:
    """Let the generators continue differently in each run, so that a random model is seen to be one.

    The states that ``preserve_state`` restores stay as they are; without that, this must not be called.

    Args:
        model: the model, whose layers may have generators of seeds, as for the sample of an autoencoder.
    """
    salt = 0.0 if _IS_SHARED.get() else random.random()  # noqa: S311 - no secrets
    rng = random.Random(f"{salt} {next(_RUNS)}")  # noqa: S311 - no secrets
    if not _IS_SHARED.get():
        np.random.seed(rng.getrandbits(32))
    of_keras, of_operations = _get_seed_generator(), _get_operation_generator()
    for generator in (of_keras, *_list_seed_generators(model)):
        if generator is not None:
            generator.state.assign(np.array([rng.getrandbits(31), 0], as_array(generator.state).dtype))
    if of_operations is not None:
        of_operations.seed(rng.getrandbits(32))
    if not _IS_SHARED.get():
        random.setstate(rng.getstate())


def _list_seed_generators(model: Any) -> Iterator[Any]:
    """Yield the generators of seeds of all layers but dropout and noise, which draw nothing in inference mode."""
    for layer in model._flatten_layers():
        if not type(layer).__module__.startswith("keras.src.layers.regularization."):
            yield from getattr(layer, "_seed_generators", ())


def _get_seed_generator() -> Any:
    from keras.src.backend.common import global_state

    return global_state.get_global_attribute(SEED_GENERATOR)


def _set_seed_generator(generator: Any) -> None:
    from keras.src.backend.common import global_state

    global_state.set_global_attribute(SEED_GENERATOR, generator)


def _get_operation_generator() -> Any:
    """Return the generator from which the backend draws the seeds of its operations; None if it has none."""
    return get_backend().get_generator()
