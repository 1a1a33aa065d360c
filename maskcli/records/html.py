"""Records that a notebook displays.

A record imports no renderer: the package registers one here, which loads its own imports at its first call.
"""

from __future__ import annotations

from collections.abc import Callable

_RENDERERS: list[Callable[[object], str]] = []


def register_renderer(renderer: Callable[[object], str]) -> None:
    """Set the function that turns a record into HTML."""
    _RENDERERS[:] = [renderer]


class HtmlRecord:
    """A record that notebooks show as its command shows it in a terminal.

    Every front end calls ``_repr_html_``: Jupyter, and also front ends without IPython's formatters.
    """

    __slots__ = ()

    def _repr_html_(self) -> str | None:
        """Return the record as HTML.

        Returns None if no renderer is registered; a front end then shows the text.
        """
        if not _RENDERERS:
            return None
        return _RENDERERS[0](self)
