"""Row splits of ragged sequences."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maskcli.records.arrays import Ints


def make_row_splits(lengths: Ints) -> NDArray[np.int64]:
    """Return ``(n_sequences + 1,)``: 0, and the running sum of ``lengths (n_sequences,)``."""
    splits = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=splits[1:])
    return splits
