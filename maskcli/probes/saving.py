"""Does a mask survive saving and loading?"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from maskcli.errors import said
from maskcli.inputs.arguments import arguments
from maskcli.records.arrays import Bools
from maskcli.records.evidence import Saving
from maskcli.records.model import ModelInput
from maskcli.trace.recorder import mask_of, watch
from maskcli.trace.run import Run, output_tensors, traced

LARGEST = 2**30
"""Bytes of weights up to which a model is saved to see what becomes of its masks."""


def saving(model: Any, run: Run, inputs: Sequence[ModelInput], reload: Callable[[Any], Any]) -> Saving:
    """Save ``model``, load it with ``reload`` and compare the masks of every call and output with those of ``run``."""
    if sum(int(np.prod(weight.shape)) for weight in model.weights) * 4 > LARGEST:
        return Saving(None, why="its weights are too large to save them just for this")
    try:
        loaded = reload(model)
    except Exception as error:
        first = said(error).partition(". ")[0]
        return Saving(None, why=f"saving and loading it raises {type(error).__name__}: {textwrap.shorten(first, 120)}")
    again = watch(loaded, arguments(loaded, inputs))
    if again.error is not None:
        return Saving(None, why=f"loaded again, it raises {said(again.error)}")
    return _compared(run, traced(again, inputs))


def _compared(run: Run, again: Run) -> Saving:
    calls, others = ([call for call in each.calls if not call.code] for each in (run, again))
    if [call.type for call in calls] == [call.type for call in others]:
        for call, other in zip(calls, others, strict=True):
            if not _same(call.mask_out, other.mask_out):
                return Saving(False, call.call, _what(other.mask_out))
    outputs = zip(output_tensors(run.output), output_tensors(again.output), strict=False)
    for (_, one), (_, two) in outputs:
        if not _same(mask_of(one), mask_of(two)):
            return Saving(False, None, _what(mask_of(two)))
    return Saving(True)


def _same(one: Bools | None, two: Bools | None) -> bool:
    return (one is None and two is None) or (one is not None and two is not None and np.array_equal(one, two))


def _what(mask: Bools | None) -> str:
    return "no mask" if mask is None else "another mask"
