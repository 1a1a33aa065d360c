"""Charts as SVG and PNG, and the scripts of a page that draws them, by vl-convert: no browser and no network."""

from __future__ import annotations

import html
import re
import zlib
from typing import Any

from maskcli.errors import UsageError
from maskcli.render.charts import Figure, Spec


def render_svg(figure: Figure) -> bytes:
    """Return a figure as a picture of its own: on white, under its title, its text as text."""
    svg = _own_ids(_converter().vegalite_to_svg(make_picture_spec(figure)), figure.name)
    head = f"<title>{html.escape(_title(figure))}</title><desc>{html.escape(figure.about)}</desc>"
    return re.sub(r"^<svg([^>]*)>", lambda found: f'<svg role="img"{found[1]}>{head}', svg, count=1).encode()


def render_png(figure: Figure, scale: float = 2) -> bytes:
    """Return a figure as ``render_svg`` does, as a PNG of ``scale`` times its pixels."""
    return convert_svg_to_png(render_svg(figure), scale)


def convert_svg_to_png(svg: bytes, scale: float = 2) -> bytes:
    """Return an SVG as a PNG of ``scale`` times its pixels."""
    png: bytes = _converter().svg_to_png(svg.decode(), scale=scale)
    return png


def bundle_scripts() -> str:
    """Return a JavaScript module that puts ``vegaEmbed``, ``vega`` and ``vegaLite`` on ``window``.

    It belongs in ``<script type="module">``. With the option ``ast: true`` Vega's expressions are interpreted, so that
    a page may forbid ``eval``.
    """
    bundle: str = _converter().javascript_bundle()
    return bundle


def check_vl_convert() -> None:
    """Raise UsageError where what draws pictures is not installed."""
    _converter()


def make_picture_spec(figure: Figure) -> Spec:
    """Return the specification of a picture: with a title, on white, and without inputs, which it cannot have."""
    notes = figure.spec.get("title", {}).get("text", "")
    title = {"text": _title(figure), "anchor": "start", "offset": 12, "fontSize": 14, "subtitleFontSize": 11}
    fixed = [{name: value for name, value in param.items() if name != "bind"} for param in figure.spec["params"]]
    more = {"subtitle": notes, "subtitlePadding": 5} if notes else {}
    return figure.spec | {"background": "white", "padding": 14, "title": title | more, "params": fixed}


def _title(figure: Figure) -> str:
    """Return the title, with the sample and the feature that are shown."""
    shown = (f"{param['name']} {param['value']}" for param in figure.spec["params"] if "value" in param)
    return ", ".join((figure.title, *shown))


def _own_ids(svg: str, name: str) -> str:
    """Return the SVG with ids that count from 0, which Vega goes on counting, and that no other picture has."""
    ids = re.findall(r' id="([A-Za-z_]+[0-9]+)"', svg)
    content = re.sub(r'( id="|url\(#)[A-Za-z_]+[0-9]+', r"\1", svg)
    own = {one: f"{name}-{zlib.crc32(content.encode()):08x}-{index}" for index, one in enumerate(dict.fromkeys(ids))}
    return re.sub(r'( id="|url\(#)([A-Za-z_]+[0-9]+)', lambda found: found[1] + own.get(found[2], found[2]), svg)


def _converter() -> Any:
    """Return vl-convert, which few need: it is an extra."""
    try:
        import vl_convert
    except ImportError:
        raise UsageError(
            where="pictures and reports",
            expected="the package vl-convert-python",
            received="none",
            fix="pip install 'maskcli[report]'",
        ) from None
    return vl_convert
