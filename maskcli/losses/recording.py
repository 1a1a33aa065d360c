"""Recording of the losses of timesteps, before a Keras loss reduces them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

_LOSSES = "_maskcli_losses"
"""Attribute in which a loss keeps the losses of its last call while it is recorded."""


@contextlib.contextmanager
def record_losses(loss: Any) -> Iterator[None]:
    """Record the result of each ``call`` of a ``keras.losses.Loss`` while the context is open."""
    call, replaced = loss.call, loss.__dict__.get("call")

    def recording_call(y_true: Any, y_pred: Any) -> Any:
        losses = call(y_true, y_pred)
        setattr(loss, _LOSSES, losses)
        return losses

    loss.call = recording_call
    try:
        yield
    finally:
        for name in ("call", _LOSSES):
            loss.__dict__.pop(name, None)
        if replaced is not None:  # The user had replaced ``call`` on this object.
            loss.call = replaced


def get_recorded_losses(loss: Any, value: Any) -> Any:
    """Return the losses of timesteps that a loss just reduced to ``value``.

    They have at most two axes; further ones are averaged. Returns ``value`` if the ``__call__`` of the loss does not
    use ``call``.
    """
    import keras

    losses = getattr(loss, _LOSSES, value)
    rank = len(losses.shape)
    return losses if rank <= 2 else keras.ops.mean(losses, axis=tuple(range(2, rank)))
