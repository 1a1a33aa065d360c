"""The result of a fast reader."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from maskcli.records.sequences import RaggedSequences


@dataclasses.dataclass(frozen=True, eq=False)
class FastRows:
    """The verified rows of a block.

    Attributes:
        rows: the sequences.
        field: the field of the records that they are in; None for bare lists.
        records: the different records, with an empty list in ``field``; None if they have no other field.
    """

    rows: RaggedSequences
    field: str | None = None
    records: Sequence[dict[str, Any]] | None = None
