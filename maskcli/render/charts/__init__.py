"""Charts as Vega-Lite specifications, one file a chart; ``maskcli.render.pictures`` makes SVG and PNG of them."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

Spec = dict[str, Any]
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""What no XML may hold, or what is no text."""
LONGEST = 40
"""Characters of a name in a chart."""


@dataclasses.dataclass(frozen=True)
class Figure:
    """A chart, not yet drawn.

    Attributes:
        name: of its file, such as ``batch``.
        title: in a few words.
        about: a sentence or two for those who cannot see it: what is shown, and the main numbers.
        spec: in Vega-Lite, without data from elsewhere; its title holds no more than what was left out. Its parameters
            ``sample`` and ``feature`` are bound to inputs where there is a choice.
    """

    name: str
    title: str
    about: str
    spec: Spec


def make_chart_name(name: str) -> str:
    """Return a name that a user chose as a chart can show it: cut in the middle, without control characters."""
    name = CONTROL.sub("\N{REPLACEMENT CHARACTER}", name)
    return name if len(name) <= LONGEST else f"{name[: LONGEST // 2]}…{name[-LONGEST // 2 :]}"
