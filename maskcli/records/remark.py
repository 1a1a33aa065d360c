"""A sentence about measurements."""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Remark:
    """A sentence about the evidence; ``kind`` is ``fact`` or ``warning``."""

    kind: Literal["fact", "warning"]
    text: str
