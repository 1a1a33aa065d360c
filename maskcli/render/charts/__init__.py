"""Charts as Vega-Lite specifications, one file per chart; ``maskcli.render.pictures`` draws them."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

Spec = dict[str, Any]
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""Characters that XML forbids."""
LONGEST = 40
"""Most characters of a name in a chart."""


@dataclasses.dataclass(frozen=True)
class Figure:
    """A chart, not yet drawn.

    Attributes:
        name: stem of its file, such as ``batch``.
        title: a few words.
        about: description for readers who cannot see the chart, with the main numbers.
        spec: Vega-Lite specification without external data. Its title lists only parts that are not drawn. If there
            is a choice, its parameters ``sample`` and ``feature`` are bound to inputs.
    """

    name: str
    title: str
    about: str
    spec: Spec


def make_chart_name(name: str) -> str:
    """Return a user's name for a chart: shortened, without control characters."""
    name = CONTROL.sub("\N{REPLACEMENT CHARACTER}", name)
    return name if len(name) <= LONGEST else f"{name[: LONGEST // 2]}…{name[-LONGEST // 2 :]}"
