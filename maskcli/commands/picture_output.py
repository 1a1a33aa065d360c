"""What commands that draw pictures share."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from maskcli.commands import options
from maskcli.errors import UsageError

PICTURES: tuple[options.Form, ...] = ("svg", "png")
PICTURE_REQUEST = "--format svg or png, or --output picture.svg or .png"


def check_pictures(answer: options.OutputOptions, *only_pictures: str) -> None:
    """Raise UsageError, before any work is done, where a picture is asked for that cannot be drawn, or none is.

    Args:
        answer: says whether a picture is asked for.
        only_pictures: arguments that are about pictures.
    """
    if "html" in answer.forms or is_requested(answer):
        from maskcli.render import pictures
        from maskcli.render.graph import layout

        pictures.check_vl_convert()
        layout.check_igraph()
    if not is_requested(answer):
        for option in options.list_set_options(*only_pictures):
            raise UsageError(
                where=option, expected="a picture to draw", received="none", fix=f"Ask for one: {PICTURE_REQUEST}."
            )


def is_requested(answer: options.OutputOptions) -> bool:
    """Return whether a picture is asked for."""
    return any(form in PICTURES for form in answer.forms)


def prepare_pictures(svg: Callable[[], bytes]) -> Mapping[options.Form, Callable[[], bytes]]:
    """Return what makes each form of a picture."""

    def png() -> bytes:
        from maskcli.render.pictures import convert_svg_to_png

        return convert_svg_to_png(svg())

    return {"svg": svg, "png": png}
