"""The model behaves differently on another backend of Keras, as `maskcli compare` shows.

A model that is trained on one backend is often served on another. Masks travel differently there: TensorFlow and
PyTorch keep the mask of a tensor as an attribute, and JAX, whose arrays take no attributes, by the identity of the
array. An operation that returns its input unchanged, such as `Reshape` to the same shape, therefore keeps the mask on
JAX and loses it on the others. `maskcli compare` runs the model with equal weights on each backend, and names the first
call whose mask or result differs by more than rounding.

Bad::

    import keras

    def build():
        tokens = keras.Input((4,), dtype="int32", name="tokens")
        x = keras.layers.Embedding(10, 3, mask_zero=True)(tokens)
        x = keras.layers.Reshape((4, 3))(x)
        pooled = keras.layers.GlobalAveragePooling1D()(x)
        return keras.Model(tokens, pooled)

    sequences = [[1, 2, 3, 4], [5, 6]]

Good::

    import keras

    def build():
        tokens = keras.Input((4,), dtype="int32", name="tokens")
        x = keras.layers.Embedding(10, 3, mask_zero=True)(tokens)
        pooled = keras.layers.GlobalAveragePooling1D()(x)
        return keras.Model(tokens, pooled)

    sequences = [[1, 2, 3, 4], [5, 6]]
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from maskcli.records.check import Examination, Finding
from maskcli.records.comparison import SideDifference
from maskcli.rules.base import make_finding
from maskcli.rules.identity import identify

CODE = "MSK401"
SEVERITY = "error"
NO_CAUSE = "Not tried: look at the options of the call that depend on the backend."


def judge(difference: SideDifference) -> Iterator[Finding]:
    """Yield the difference of a backend from the first one."""
    if difference.equal:
        return
    call, cause, worst = difference.first_call, difference.cause, difference.worst
    finding = make_finding(
        __name__,
        call=None if call is None else call.call,
        type_=None if call is None else call.type,
        message=" ".join(filter(None, (_describe_cause(difference), _describe_outputs(difference)))),
        fix=NO_CAUSE if cause is None else cause.fix,
        first=difference.first,
        backend=difference.side,
        parts=list(difference.parts),
        cause=None if cause is None else cause.kind,
        max_abs_change=None if worst is None else worst.max_abs_change,
        tolerance=None if worst is None else worst.tolerance,
        sample=None if worst is None else worst.sample,
        timestep=None if worst is None else worst.timestep,
    )
    for identified in identify([finding], Examination((), None)):
        yield dataclasses.replace(identified, location=None if call is None else call.location)


def _describe_cause(difference: SideDifference) -> str:
    if difference.cause is not None:
        return difference.cause.text
    call, sides = difference.first_call, f"{difference.first} and {difference.side}"
    if call is None:
        return f"{sides} differ in {', '.join(difference.parts)}."
    return f"`{call.call}` is the first call that differs between {sides}."


def _describe_outputs(difference: SideDifference) -> str:
    """Return the largest difference of the outputs; empty if none differs."""
    worst = difference.worst
    if worst is None:
        return ""
    if worst.max_abs_change is None:
        return f"Output {worst.output} has the shapes {worst.shapes[0]} and {worst.shapes[1]}."
    place = f"sample {worst.sample}"
    if worst.timestep is not None:
        place += f", timestep {worst.timestep}"
    padding = ", which is padding" if worst.at_padding else ""
    return f"Output {worst.output} differs by up to {worst.max_abs_change:.3g} ({place}{padding})."
