"""See the batches of a training step without taking them away from it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from maskcli.backends.choice import get_backend
from maskcli.errors import UsageError

StepFunction = Callable[..., Any]
"""A ``train_function`` of Keras: runs the next step, or steps, on the batches of an iterator, its last argument."""


class BatchPeek:
    """A ``train_function`` that keeps the batches of one call, and then takes itself away from the model.

    Attributes:
        batches: of the step, as its dataset yields them; None before the step.
    """

    def __init__(self, model: Any) -> None:
        """Put this function in the place of the model's own, up to the next step."""
        self._model = model
        self._function: StepFunction = model.train_function
        self.batches: list[Any] | None = None
        model.train_function = self

    def __call__(self, *arguments: Any) -> Any:
        """Run the step of the model on the same batches; on JAX the state of the model comes first.

        On PyTorch the argument is a list of batches, not an iterator.

        Raises:
            UsageError: if the batches cannot be seen without taking them away.
        """
        self.remove()
        *state, iterator = arguments
        self.batches, same = _peek(iterator, self._model.steps_per_execution)
        return self._function(*state, same)

    def remove(self) -> None:
        """Put the model's own function back."""
        if self._model.train_function is self:
            self._model.train_function = self._function


def make_hidden_error(reason: str) -> UsageError:
    """Return the error of batches that cannot be seen without taking them away."""
    return UsageError(
        where="MaskCheck",
        expected="data=",
        received="none",
        fix=f"The first batch cannot be seen without taking it away from fit: {reason}. Pass some rows, as in "
        "MaskCheck(data=(x[:8], y[:8])).",
    )


def _peek(iterator: Any, count: int) -> tuple[list[Any], Any]:
    """Return the next batches of an iterator, and an iterator that yields the same batches.

    The second iterator has the type of the first one. A function of TensorFlow that was compiled for one of them
    therefore runs with the other, and is not compiled again. On JAX the step takes any iterator, and on PyTorch a list.
    """
    if isinstance(iterator, list):
        return iterator, iterator
    if get_backend().is_stateless:
        batches = list(itertools.islice(iterator, count))
        return batches, itertools.chain(batches, iterator)
    import tensorflow as tf

    if not isinstance(iterator, tf.data.Iterator):
        raise make_hidden_error(
            f"fit reads its batches from a {type(iterator).__name__}, as with a tf.distribute strategy, which splits "
            "them over devices"
        )
    batches = [batch for _, batch in zip(range(count), iterator, strict=False)]
    if not batches:
        return [], iterator
    dataset = _make_dataset(batches[0], iterator.element_spec)
    for batch in batches[1:]:
        dataset = dataset.concatenate(_make_dataset(batch, iterator.element_spec))
    return batches, iter(dataset)


def _make_dataset(batch: Any, element_spec: Any) -> Any:
    """Return a dataset of one batch, of the type of the dataset that the batch comes from."""
    import tensorflow as tf

    variant = tf.data.experimental.to_variant(tf.data.Dataset.from_tensors(batch))
    return tf.data.experimental.from_variant(variant, structure=element_spec)
