"""The kinds of timestep."""

import numpy as np

from maskcli.render.timesteps import TimestepKind, count_kinds, find_timestep_kinds

VALID = np.array([[True, True, False, False]])
MASK = np.array([[True, False, True, False]])


def test_find_kinds_mask() -> None:
    """Truth and mask together have four outcomes."""
    kinds = find_timestep_kinds(VALID, MASK)
    assert kinds.dtype == np.int8
    assert [TimestepKind(kind).name for kind in kinds[0]] == ["VALID", "HIDDEN", "COUNTED", "PADDING"]


def test_find_kinds_without_mask() -> None:
    """Without a mask of the same shape, timesteps are only valid or padding."""
    for mask in (None, MASK[:, :2]):
        assert count_kinds(find_timestep_kinds(VALID, mask)) == {TimestepKind.PADDING: 2, TimestepKind.VALID: 2}


def test_describe_count() -> None:
    """A label takes a count and a noun."""
    assert TimestepKind.VALID.describe(1, "token") == "1 valid token"
    assert TimestepKind.COUNTED.describe(2) == "2 padding timesteps, not masked"
    assert TimestepKind.NOT_FINITE.describe(3) == "3 NaN or infinite"


def test_kinds_have_distinct_glyphs() -> None:
    """No kind depends on colour."""
    assert len({kind.glyph for kind in TimestepKind}) == len(TimestepKind)
