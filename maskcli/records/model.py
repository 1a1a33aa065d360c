"""A model: its settings and its name."""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """What a built-in model is made of, in the words of the Keras arguments it is built with.

    ``padding_id`` is the id that the mask source calls padding; ``zero_padding_row`` makes its embedding zero.
    ``logits`` is the width of a Dense layer behind the model that makes logits of its outputs; None leaves it out.
    """

    name: str
    mask_source: str
    input_dim: int
    embedding_dim: int
    units: int
    return_sequences: bool
    zero_output_for_mask: bool
    zero_padding_row: bool
    padding_id: int
    seed: int
    logits: int | None = None


@dataclasses.dataclass(frozen=True)
class BuiltinModel:
    """One line of ``maskcli models``."""

    name: str
    layers: str
    about: str


@dataclasses.dataclass(frozen=True)
class ModelAbout:
    """What model it was.

    Attributes:
        name: a built-in name, a file, ``package.module:function``, or the name of a model that was handed over.
        source: ``built-in``, ``file``, ``factory`` or ``object``.
        type: its class name.
        settings: what a built-in model was made of; None for others.
        notes: what could not be restored with it.
    """

    name: str
    source: Literal["built-in", "file", "factory", "object"]
    type: str
    settings: ModelSettings | None = None
    notes: tuple[str, ...] = ()
