"""Array types that every room uses."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Ints = NDArray[np.signedinteger[Any]]
Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]

Mask = Bools
"""``(batch, timesteps)``, True = valid."""
AnyMask = Bools
"""A mask of any number of axes."""
TokensOrFeatures = Array
"""``(batch, timesteps)`` integers, or ``(batch, timesteps, ...)`` numbers."""
Tokens = Ints
"""``(batch, timesteps)``."""
Lengths = Ints
"""``(batch,)``, timesteps of each sequence."""
Vector = Floats
"""``(n,)``."""
Losses = Floats
"""``(batch, timesteps)``, or ``(batch,)`` without timesteps."""
Vectors = Floats
"""``(batch, timesteps, units)``, or ``(batch, units)`` without timesteps."""
Tensor = Array
"""``(batch, timesteps, ...)``, or ``(batch, ...)`` without timesteps."""
Integers = Ints
"""``(n,)``."""
Hashes = NDArray[np.uint64]
"""``(n,)``."""
