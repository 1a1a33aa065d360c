"""What commands that draw pictures share."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from maskcli.commands import options
from maskcli.errors import UsageError

PICTURES: tuple[options.Form, ...] = ("svg", "png")
ASKED = "--format svg or png, or --output picture.svg or .png"


def check_pictures(answer: options.Answer, *only_pictures: str) -> None:
    """Raise UsageError, before any work is done, where a picture is asked for that cannot be drawn, or none is.

    Args:
        answer: says whether a picture is asked for.
        only_pictures: arguments that are about pictures.
    """
    if "html" in answer.forms or is_asked(answer):
        from maskcli.render import pictures
        from maskcli.render.graph import layout

        pictures.check_installed()
        layout.check_installed()
    if not is_asked(answer):
        for option in options.given_options(*only_pictures):
            raise UsageError(where=option, expected="a picture to draw", received="none", fix=f"Ask for one: {ASKED}.")


def is_asked(answer: options.Answer) -> bool:
    """Return whether a picture is asked for."""
    return any(form in PICTURES for form in answer.forms)


def drawn(svg: Callable[[], bytes]) -> Mapping[options.Form, Callable[[], bytes]]:
    """Return what makes each form of a picture."""

    def png() -> bytes:
        from maskcli.render.pictures import svg_to_png

        return svg_to_png(svg())

    return {"svg": svg, "png": png}
