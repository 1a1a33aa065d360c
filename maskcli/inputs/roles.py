"""The parts that the inputs of a model play: which of them mask others, and which values the model itself masks."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from maskcli.records.inputs import ModelInput

Structure = Literal["dict", "list", "tuple"]


@dataclasses.dataclass(frozen=True)
class MaskedValue:
    """The ``mask_value`` of a Masking layer, and the path of this layer."""

    layer: str
    value: float


@dataclasses.dataclass(frozen=True)
class InputRoles:
    """Facts about the inputs of a model, by name; empty where nothing is known.

    Attributes:
        masked_values: inputs that a Masking layer receives unchanged.
        masks: inputs of 0 and 1 that mask others, with the inputs that each of them masks.
        input_dims: inputs that an Embedding looks up, with its ``input_dim``.
        structure: the nest in which a subclassed model takes several inputs; None for a model that declares them.
    """

    masked_values: Mapping[str, MaskedValue] = dataclasses.field(default_factory=dict)
    masks: Mapping[str, frozenset[str]] = dataclasses.field(default_factory=dict)
    input_dims: Mapping[str, int] = dataclasses.field(default_factory=dict)
    structure: Structure | None = None


AUXILIARY = re.compile(r"(^|_)(segments?|token_type|types?|positions?|pos)(_|$)")
"""Names of inputs that describe the timesteps of others."""
MASK_NAMES = re.compile(r"mask|valid|keep|pad")


def holds_flags(model_input: ModelInput) -> bool:
    """Return whether an input is ``(batch, timesteps)`` of booleans, or of 0 and 1: it may be a mask."""
    values = model_input.values
    if values.ndim != 2 or not values.any() or is_auxiliary_name(model_input.name):
        return False
    return bool(np.isin(values, (0, 1)).all())


def is_auxiliary_name(name: str) -> bool:
    """Return whether a name is that of segments, types or positions."""
    return AUXILIARY.search(name.lower()) is not None


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
