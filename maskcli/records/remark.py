"""A sentence about measurements."""

from __future__ import annotations

import dataclasses
from typing import Literal

RemarkTopic = Literal["", "no-mask", "mask-end", "change", "training", "evaluate"]


@dataclasses.dataclass(frozen=True)
class Remark:
    """A sentence about the evidence.

    Attributes:
        kind: ``warning`` if the model or the data is probably not as intended, otherwise ``fact``.
        text: the sentence.
        topic: the question that it answers, if views put that answer first: a mask that is missing, the end of the
            mask, the change without it, the timesteps that training counts, or the loss of ``evaluate``.
    """

    kind: Literal["fact", "warning"]
    text: str
    topic: RemarkTopic = ""
