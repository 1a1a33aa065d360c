"""A report as one HTML page that loads nothing and sends nothing."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
from collections.abc import Iterator, Sequence

from maskcli.records.report import Report
from maskcli.render import pictures
from maskcli.render.graph import html as graph
from maskcli.render.graph.looks import ON_PAGE
from maskcli.render.html import COLORS, STYLE, make_variables
from maskcli.render.page.embedding import embed_document
from maskcli.render.page.headline import make_headline
from maskcli.render.page.sections import render_page_sections
from maskcli.render.page.verdict import render_facts
from maskcli.render.text_flow import escape_html


def render_page(report: Report, document: bytes) -> bytes:
    """Return a report as a page that contains ``document``, the report as JSON, for ``extract_document``.

    Raises:
        UsageError: if the extra ``maskcli[report]`` is not installed.
    """
    early = _read_asset("early.js")
    scripts = (pictures.bundle_scripts(), _read_asset("page.js"), graph.SCRIPT)
    modules = [_protect_element(script) for script in scripts]
    lines = (
        "<!DOCTYPE html>",
        '<html lang="en">',
        *_render_head(report, early, _make_policy([early, *modules])),
        "<body>",
        *_render_body(report),
        embed_document(document),
        *(f'<script type="module">{code}</script>' for code in modules),
        "</body>",
        "</html>\n",
    )
    return "\n".join(lines).encode()


def _render_head(report: Report, early: str, policy: str) -> Iterator[str]:
    yield "<head>"
    yield '<meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield '<meta name="generator" content="maskcli">'
    yield f"<title>{escape_html(report.inspection.model.name)} – mask report</title>"
    yield f"<style>{_protect_element(_make_page_style())}</style>"
    yield f"<script>{early}</script>"
    yield "</head>"


def _render_body(report: Report) -> Iterator[str]:
    sections, links = render_page_sections(report)
    yield '<a class="skip" href="#main">Skip to the report</a>'
    yield (
        '<header class="bar"><span class="brand">maskcli report</span>'
        '<button type="button" class="sections" id="sections" aria-expanded="false" aria-controls="nav">Sections'
        f'</button><nav id="nav" aria-label="Sections">{links}</nav>'
        '<button type="button" class="needs-js" id="theme" aria-label="Switch between light and dark">Dark</button>'
        "</header>"
    )
    yield '<main id="main" tabindex="-1">'
    yield (
        "<noscript><p>Charts need JavaScript. The tables in each section contain the same data; open them with a "
        "click.</p></noscript>"
    )
    yield '<p class="heard" id="heard" role="status"></p>'
    yield '<p class="heard" id="chart-keys">Arrow keys move between values; Escape leaves the chart.</p>'
    headline = escape_html(make_headline(report))
    yield f'<div class="opening"><h1>{headline}</h1>{render_facts(report)}</div>'
    yield sections
    yield "</main>"
    version = escape_html(report.origin.versions.get("maskcli") or "")
    yield f"<footer>Made by maskcli {version}. This page loads nothing from elsewhere.</footer>"


def _read_asset(name: str) -> str:
    return importlib.resources.files(__package__).joinpath(name).read_text("utf-8").strip()


def _protect_element(code: str) -> str:
    """Return a script or a style that cannot end its own element early."""
    return code.replace("</script", "<\\/script").replace("<!--", "<\\!--").replace("</style", "<\\/style")


def _make_policy(scripts: Sequence[str]) -> str:
    """Return the content security policy: these scripts, styles of the page, and no requests."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    hashes = " ".join(f"'sha256-{digest}'" for digest in digests)
    return f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def _make_page_style() -> str:
    """Return all styles; fragments inherit the colours of the page, which follow the system or the button."""
    palette = {**COLORS, **ON_PAGE}
    light, dark = (make_variables(palette, theme) for theme in ("light", "dark"))
    inherited = ";".join(f"--mk-{name}:inherit" for name in palette)
    return (
        f":root{{{light}}}\n"
        f"@media screen and (prefers-color-scheme:dark){{:root{{color-scheme:dark;{dark}}}}}\n"
        f"@media screen{{:root[data-theme=light]{{color-scheme:light;{light}}}"
        f":root[data-theme=dark]{{color-scheme:dark;{dark}}}}}\n"
        f"{STYLE}{graph.STYLE}\n#main .maskcli{{{inherited};color-scheme:inherit}}\n{_read_asset('page.css')}"
    )
