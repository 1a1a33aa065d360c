"""A sentence about measurements."""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Remark:
    """A sentence about the evidence.

    Attributes:
        kind: ``warning`` if the model or the data is probably not as intended, otherwise ``fact``.
        text: the sentence.
    """

    kind: Literal["fact", "warning"]
    text: str
