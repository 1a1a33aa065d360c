"""Charts as SVG and PNG, drawn by vl-convert without a browser or network; also the scripts of a page."""

from __future__ import annotations

import html
import re
import zlib
from typing import Any

from maskcli.errors import UsageError, suggest_install
from maskcli.render.bundle_cache import load_or_bundle
from maskcli.render.charts import Figure, Spec


def render_svg(figure: Figure) -> bytes:
    """Return a figure as SVG, on white, with its title."""
    svg = _make_ids_unique(_import_vl_convert().vegalite_to_svg(make_picture_spec(figure)), figure.name)
    head = f"<title>{html.escape(_make_title(figure))}</title><desc>{html.escape(figure.about)}</desc>"
    return re.sub(r"^<svg([^>]*)>", lambda match: f'<svg role="img"{match[1]}>{head}', svg, count=1).encode()


def convert_svg_to_png(svg: bytes, scale: float = 2) -> bytes:
    """Return an SVG as a PNG, ``scale`` times as large."""
    png: bytes = _import_vl_convert().svg_to_png(svg.decode(), scale=scale)
    return png


def bundle_scripts() -> str:
    """Return a JavaScript module that sets ``vegaEmbed``, ``vega`` and ``vegaLite`` on ``window``.

    The module belongs in ``<script type="module">``. With the option ``ast: true`` Vega interprets its expressions, so
    that a page can forbid ``eval``.
    """
    vl_convert = _import_vl_convert()
    return load_or_bundle(str(getattr(vl_convert, "__version__", "")), vl_convert.javascript_bundle)


def check_vl_convert() -> None:
    """Raise UsageError if vl-convert is not installed."""
    _import_vl_convert()


def make_picture_spec(figure: Figure) -> Spec:
    """Return the specification of a picture: on white, with a title, without inputs."""
    notes = figure.spec.get("title", {}).get("text", "")
    title = {"text": _make_title(figure), "anchor": "start", "offset": 12, "fontSize": 14, "subtitleFontSize": 11}
    fixed = [{name: value for name, value in param.items() if name != "bind"} for param in figure.spec["params"]]
    more = {"subtitle": notes, "subtitlePadding": 5} if notes else {}
    return figure.spec | {"background": "white", "padding": 14, "title": title | more, "params": fixed}


def _make_title(figure: Figure) -> str:
    """Return the title, with the selected sample and feature."""
    selected = (f"{param['name']} {param['value']}" for param in figure.spec["params"] if "value" in param)
    return ", ".join((figure.title, *selected))


def _make_ids_unique(svg: str, name: str) -> str:
    """Return the SVG with ids that are reproducible and that no other picture has.

    Vega numbers its ids from a counter of the process. A checksum of the SVG without these numbers replaces it.
    """
    content = re.sub(r'( id="|url\(#)[A-Za-z_]+[0-9]+', r"\1", svg)
    prefix = f"{name}-{zlib.crc32(content.encode()):08x}"
    vega_ids = dict.fromkeys(re.findall(r' id="([A-Za-z_]+[0-9]+)"', svg))
    unique = {vega_id: f"{prefix}-{number}" for number, vega_id in enumerate(vega_ids)}
    return re.sub(r'( id="|url\(#)([A-Za-z_]+[0-9]+)', lambda match: match[1] + unique.get(match[2], match[2]), svg)


def _import_vl_convert() -> Any:
    """Return vl-convert, an optional dependency."""
    try:
        import vl_convert
    except ImportError:
        raise UsageError(
            where="pictures and reports",
            expected="the package vl-convert-python",
            received="none",
            fix=suggest_install("report"),
        ) from None
    return vl_convert
