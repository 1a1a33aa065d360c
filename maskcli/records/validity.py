"""The inputs of a run without their values, and how it is known which of their timesteps are padding."""

from __future__ import annotations

import dataclasses
from typing import Literal

from maskcli.records.fields import Count, Shape

InputKind = Literal["ids", "features", "mask", "static"]
Filling = Literal["mask", "zeros", "positions", "copy"]
"""The mask of another input; 0 for segments and the like; 0, 1, 2, ... along the timesteps; a copy of another input."""
ValiditySource = Literal["given", "mask-input", "lengths", "masking-layer", "value", "default", "none"]


@dataclasses.dataclass(frozen=True)
class Validity:
    """How it is known which timesteps of an input are padding.

    Attributes:
        source: ``given``: ``NAME.mask`` in the data; ``mask-input``: a mask that the model takes as an input;
            ``lengths``: the lengths of the rows; ``masking-layer``: the value that the model's Masking layer looks for;
            ``value``: runs of ``--value`` at either end of a row; ``default``: maskcli filled the input in; ``none``:
            nothing, so that every timestep counts as valid.
        of: the array, input or layer that it comes from; None where that is the input itself.
        value: the number that marks padding, for ``masking-layer`` and ``value``.
        filled_with: the content of an input that maskcli filled in; None for other inputs.
    """

    source: ValiditySource = "none"
    of: str | None = None
    value: float | None = None
    filled_with: Filling | None = None


NO_SOURCE = Validity()
"""That of an input of which nothing shows padding."""


@dataclasses.dataclass(frozen=True)
class InputSummary:
    """An input of a model, without its values.

    Attributes:
        name: of the model's input, or of the data if the model names no inputs.
        kind: as for ``ModelInput``.
        shape: of the array that the model is called with.
        dtype: of the array.
        padded_timesteps: the number of padded timesteps; None without timesteps.
        validity: how it is known which timesteps are padding.
        column: the column of the data that feeds the input, where it was chosen by its order; None for others.
        padded_places: the number of padded places in valid timesteps, such as after the words of sentences; None where
            timesteps have no places.
        time_axis: the axis of the array that is time.
    """

    name: str
    kind: InputKind
    shape: Shape
    dtype: str
    padded_timesteps: Count | None
    validity: Validity
    column: str | None = None
    padded_places: Count | None = None
    time_axis: int = 1
