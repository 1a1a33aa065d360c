"""The kinds of timestep: label, glyph and colours of each, for tables, heat maps, charts and pages."""

from __future__ import annotations

import enum
from collections import Counter
from typing import TYPE_CHECKING, Self, TypeAlias

from maskcli.records.wording import format_count

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from maskcli.records.arrays import Bools

KindArray: TypeAlias = "NDArray[np.int8]"
"""An array of ``TimestepKind`` values."""
RGB = tuple[int, int, int]


class TimestepKind(enum.IntEnum):
    """A kind of timestep: real or padding, and whether the mask agrees.

    The order is the priority: where several timesteps share a character, the highest kind is displayed.

    Attributes:
        label: the kind in words, without a count.
        glyph: the character of the kind, so that it never depends on colour.
        style: rich style on a terminal; empty for kinds that need no attention.
        light: colour of text on a light page.
        dark: colour of text on a dark page.
        rgb: colour in charts.
    """

    label: str
    glyph: str
    style: str
    light: str
    dark: str
    rgb: RGB

    PADDING = (0, "padding", "·", "", "#59636e", "#a0aab5", (128, 128, 128))
    VALID = (1, "valid", "■", "green", "#116329", "#66d392", (16, 126, 194))
    HIDDEN = (2, "valid, but masked", "!", "bold red", "#b0211a", "#ff9088", (213, 94, 0))
    COUNTED = (3, "padding, not masked", "◆", "bold yellow", "#805000", "#f0b849", (230, 159, 0))
    NOT_FINITE = (4, "NaN or infinite", "×", "bold red", "#b0211a", "#ff9088", (213, 94, 0))

    def __new__(cls, value: int, label: str, glyph: str, style: str, light: str, dark: str, rgb: RGB) -> Self:
        """Make a member whose value is the number stored in arrays of kinds."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.label, member.glyph, member.style = label, glyph, style
        member.light, member.dark, member.rgb = light, dark, rgb
        return member

    def describe(self, count: int, noun: str = "timestep") -> str:
        """Return the label with a count, such as ``2 padding timesteps, not masked``."""
        if self is TimestepKind.NOT_FINITE:
            return f"{count:,} {self.label}"
        adjective, comma, remark = self.label.partition(",")
        return f"{format_count(count, f'{adjective} {noun}')}{comma}{remark}"


def find_timestep_kinds(valid: Bools, mask: Bools | None) -> KindArray:
    """Return the kind of each timestep.

    Args:
        valid: ``(batch, timesteps)``, True at real timesteps.
        mask: of the same shape, True at timesteps that count. Without a mask, or with one of another shape, no
            timestep is ``HIDDEN`` or ``COUNTED``.
    """
    import numpy as np  # Loaded here, because ``maskcli rules`` needs no arrays.

    if mask is None or mask.shape != valid.shape:
        mask = valid
    kinds = np.where(valid, TimestepKind.VALID, TimestepKind.PADDING).astype(np.int8)
    kinds[valid & ~mask] = TimestepKind.HIDDEN
    kinds[~valid & mask] = TimestepKind.COUNTED
    return kinds


def count_kinds(kinds: KindArray) -> Counter[TimestepKind]:
    """Return how many timesteps there are of each kind that occurs."""
    import numpy as np

    counts = np.bincount(kinds.ravel(), minlength=len(TimestepKind))
    return Counter({kind: int(counts[kind]) for kind in TimestepKind if counts[kind]})
