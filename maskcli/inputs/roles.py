"""The parts that the inputs of a model play: which of them mask others, and which values the model itself masks."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from maskcli.records.arrays import Array
from maskcli.records.inputs import InputSpec, ModelInput
from maskcli.records.validity import Filling
from maskcli.sequences.formats.base import DESCRIPTIONS

Structure = Literal["dict", "list", "tuple", "array"]


@dataclasses.dataclass(frozen=True)
class MaskedValue:
    """The ``mask_value`` of a Masking layer, and the path of this layer.

    Attributes:
        layer: the path.
        value: the number.
        inside: whether the layer masks places inside timesteps, such as words in sentences, because it is in a
            ``TimeDistributed``.
        rows: whether the layer receives ``(batch, columns)``, of which it masks whole rows.
    """

    layer: str
    value: float
    inside: bool = False
    rows: bool = False


@dataclasses.dataclass(frozen=True)
class InputRoles:
    """Facts about the inputs of a model, by name; empty where nothing is known.

    Attributes:
        masked_values: inputs that a Masking layer receives unchanged.
        masks: inputs of 0 and 1 that mask others, with the inputs that each of them masks.
        input_dims: inputs that an Embedding looks up, with its ``input_dim``.
        columns: inputs of ids that the model takes column by column; True if each column has its own layer, as an item
            and its category have.
        series: inputs of numbers ``(batch, timesteps)`` that a layer takes as one feature at each timestep.
        time_axes: inputs of features whose time the model moves to axis 1, with the axis where it is in the data.
        structure: the nest in which a subclassed model takes several inputs, or ``array`` if it takes only one of them;
            None for a model that declares them.
    """

    masked_values: Mapping[str, MaskedValue] = dataclasses.field(default_factory=dict)
    masks: Mapping[str, frozenset[str]] = dataclasses.field(default_factory=dict)
    input_dims: Mapping[str, int] = dataclasses.field(default_factory=dict)
    columns: Mapping[str, bool] = dataclasses.field(default_factory=dict)
    series: frozenset[str] = frozenset()
    time_axes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    structure: Structure | None = None


SEGMENTS = re.compile(r"(^|_)(segments?|token_types?|type)(_ids?)?$")
POSITIONS = re.compile(r"(^|_)(positions?|pos)(_ids?)?$")
MASKED_POSITIONS = re.compile(r"(^|_)mask(ed)?_positions?$")
"""Names of inputs that have a default: segments, positions of timesteps, and positions of masked words."""
PACKED_SEGMENTS = re.compile(r"(^|_)segments?(_ids?)?$")
"""Names of inputs and columns with the segments of packed rows."""
MASK_NAMES = re.compile(r"mask|valid|keep|pad")


def is_mask_name(name: str) -> bool:
    """Return whether a name is that of a mask; positions of masked words are none."""
    return "mask" in name.lower() and MASKED_POSITIONS.search(name.lower()) is None


def holds_flags(model_input: ModelInput) -> bool:
    """Return whether an input is ``(batch, timesteps)`` of booleans, or of 0 and 1: it may be a mask."""
    values = model_input.values
    if values.ndim != 2 or not values.any() or is_auxiliary_name(model_input.name):
        return False
    return bool(np.isin(values, (0, 1)).all())


def is_auxiliary_name(name: str) -> bool:
    """Return whether a name is that of segments, types or positions."""
    return DESCRIPTIONS.search(name.lower()) is not None


def holds_segments(name: str, values: Array) -> bool:
    """Return whether an array has the segments of packed rows, by its name and its values.

    Segments are counted from 1 in each row, and 0 is padding at the ends. Types of tokens, as of pairs of sentences,
    begin with 0.
    """
    if PACKED_SEGMENTS.search(name.lower()) is None or values.ndim != 2 or values.dtype.kind not in "iu":
        return False
    used = values > 0
    if not values.size or values.min() < 0 or values.max() < 2:
        return False
    starts = used & ~np.pad(used, ((0, 0), (1, 0)))[:, :-1]
    if (starts.sum(axis=1) > 1).any() or (values[starts] != 1).any():
        return False
    steps = np.diff(values.astype(np.int64), axis=1)[used[:, 1:] & used[:, :-1]]
    return bool(np.isin(steps, (0, 1)).all())


def find_filling(spec: InputSpec) -> Filling | None:
    """Return the default of an input of integers ``(batch, timesteps)``, by its name; None if it has none."""
    name = spec.name.lower()
    if len(spec.shape) != 2 or not spec.dtype.startswith(("int", "uint")):
        return None
    if SEGMENTS.search(name) or MASKED_POSITIONS.search(name):
        return "zeros"
    return "positions" if POSITIONS.search(name) else None


def holds_whole_numbers(model_input: ModelInput) -> bool:
    """Return whether an input is ``(batch, columns)`` of whole numbers as floats, which may be ids."""
    values = model_input.values
    if values.ndim != 2 or values.dtype.kind != "f" or not np.isfinite(values).all():
        return False
    return bool((values == np.round(values)).all() and np.abs(values).max(initial=0.0) < np.iinfo(np.int32).max)


def is_row_of_numbers(model_input: ModelInput) -> bool:
    """Return whether an input is ``(batch, columns)`` of floats, whose columns may be timesteps."""
    values = model_input.values
    return model_input.kind == "static" and values.ndim == 2 and values.dtype.kind == "f" and values.shape[1] > 1


def looks_like_padding(model_input: ModelInput) -> bool:
    """Return whether an input of 0 and 1 is 0 at the ends of rows only, or is a mask by its name or dtype."""
    values = model_input.values.astype(bool)
    if model_input.values.dtype.kind == "b" or MASK_NAMES.search(model_input.name.lower()):
        return True
    starts = values[:, 1:] & ~values[:, :-1]
    return bool((starts.sum(axis=1) + values[:, 0] == 1).all())


def match_by_prefix(mask: str, names: Sequence[str], masks: Sequence[str]) -> list[str]:
    """Return the inputs whose names start like that of a mask: ``encoder_ids`` and ``encoder_padding_mask``.

    Returns none if another mask starts like the input as well.
    """
    return [
        name
        for name in names
        if (shared := _count_shared_words(mask, name))
        and all(_count_shared_words(other, name) < shared for other in masks if other != mask)
    ]


def _count_shared_words(first: str, second: str) -> int:
    count = 0
    for one, other in zip(first.split("_"), second.split("_"), strict=False):
        if one != other:
            break
        count += 1
    return count
