"""Results that print themselves: as a table, as one line, as JSON, and as HTML in notebooks.

A record imports no renderer: the package registers them here, and loads their imports at the first call.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Renderers:
    """Functions that render a result.

    Attributes:
        text: as the table that its command prints.
        html: for the output of a notebook's cell.
        document: as its JSON document, of plain dicts, lists, numbers and strings.
        json: as the text of this document.
    """

    text: Callable[[object], str]
    html: Callable[[object], str]
    document: Callable[[object], dict[str, Any]]
    json: Callable[[object], str]


_RENDERERS: list[Renderers] = []


def register_renderers(renderers: Renderers) -> None:
    """Set the functions that render results."""
    _RENDERERS[:] = [renderers]


class ResultRecord:
    """The result of a verb. ``print`` shows it as its command does; ``repr`` is one short line."""

    __slots__ = ()

    def summarize(self) -> str:
        """Return the result in a few words, without its type."""
        return ""

    def __repr__(self) -> str:
        """Return one short line: a whole record would be pages of arrays."""
        return f"<{type(self).__name__} {self.summarize()}>"

    def __str__(self) -> str:
        """Return the table that the command prints."""
        return _RENDERERS[0].text(self) if _RENDERERS else repr(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document of the command, as dicts, lists, numbers and strings."""
        return _RENDERERS[0].document(self)

    def to_json(self) -> str:
        """Return the JSON document of the command, as text."""
        return _RENDERERS[0].json(self)

    def _repr_html_(self) -> str | None:
        """Return the result as HTML.

        Every front end calls ``_repr_html_``: Jupyter, and also front ends without IPython's formatters. Returns None
        if no renderer is registered; a front end then shows the text.
        """
        return _RENDERERS[0].html(self) if _RENDERERS else None
