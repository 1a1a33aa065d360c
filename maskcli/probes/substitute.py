"""Put other tensors into a run, and name the calls for which that shows something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.backends.masks import get_keras_mask, set_keras_mask
from maskcli.probes.context import ProbeContext, show_calls
from maskcli.trace.recorder import Alter, CallRecord, Recording
from maskcli.trace.run import list_output_tensors
from maskcli.trace.values import as_float64, get_dtype

Substitutes = Mapping[tuple[int, int], NDArray[np.float64]]
"""Values by the index of a call and the position among its outputs."""


def make_substitution(values: Substitutes) -> Alter:
    """Return a function that puts values in the place of the results of calls, under the same masks."""
    import keras

    indices = {index for index, _ in values}

    def substitute(entry: CallRecord, tensors: list[Any]) -> list[Any] | None:
        if entry.index not in indices:
            return None
        results = list(tensors)
        for position, tensor in enumerate(tensors):
            new = values.get((entry.index, position))
            if new is not None and new.shape == tuple(tensor.shape):
                results[position] = keras.ops.convert_to_tensor(new, dtype=get_dtype(tensor))
                mask = get_keras_mask(tensor)
                if mask is not None:
                    set_keras_mask(results[position], mask)
        return results

    return substitute


def is_steady(context: ProbeContext) -> bool:
    """Return whether a second run on the same data gives exactly the same outputs."""
    again = context.run.vary()
    if again.error is not None:
        return False
    pairs = zip(list_output_tensors(context.base.output), list_output_tensors(again.output), strict=True)
    return all(np.array_equal(as_float64(old), as_float64(new), equal_nan=True) for (_, old), (_, new) in pairs)


def is_same_sequence(old: Recording, new: Recording) -> bool:
    """Return whether two runs made the same calls in the same order, so that an index names the same call in both."""
    return [entry.type for entry in old.entries] == [entry.type for entry in new.entries]


def name_owner(context: ProbeContext, entry: CallRecord | None) -> tuple[ProbeContext, str | None]:
    """Return the path of a call, and the context whose trace shows it.

    An operation in the code of a user's layer is named by that layer. The path is None where showing a call would
    rename other calls, which have their names already.
    """
    import keras

    if entry is None:
        return context, None
    parent = entry.parent
    owner = entry if not entry.code or parent is None or isinstance(parent.operation, keras.Model) else parent
    if owner.index not in context.trace.names:
        shown = show_calls(context, [owner])
        names = shown.trace.names
        if any(names.get(index) != name for index, name in context.trace.names.items()):
            return context, None
        context = shown
    return context, context.trace.names[owner.index] or None
