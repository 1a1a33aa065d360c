"""Records that a notebook displays.

A record imports no renderer: the package registers one here, which loads all that it needs at its first call.
"""

from __future__ import annotations

from collections.abc import Callable

_RENDERERS: list[Callable[[object], str]] = []


def register_renderer(renderer: Callable[[object], str]) -> None:
    """Set the function that turns a record into HTML."""
    _RENDERERS[:] = [renderer]


class HtmlRecord:
    """A record that notebooks show as its command shows it in a terminal.

    Every front end calls ``_repr_html_``: Jupyter, and also those that know nothing of IPython's formatters.
    """

    __slots__ = ()

    def _repr_html_(self) -> str | None:
        """Return the record as HTML; None, which lets a front end show the text, where no renderer is registered."""
        return _RENDERERS[0](self) if _RENDERERS else None
