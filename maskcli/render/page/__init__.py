"""A report as one HTML page: nothing is loaded with it, and nothing leaves it."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
from collections.abc import Iterator, Mapping, Sequence

from maskcli.records.report import Report
from maskcli.render import pictures
from maskcli.render.graph import html as graph
from maskcli.render.graph.looks import ON_PAGE
from maskcli.render.html import DARK, LIGHT, STYLE
from maskcli.render.page.embedding import embed_document
from maskcli.render.page.markup import escape_html
from maskcli.render.page.sections import render_links, render_sections
from maskcli.render.page.verdict import render_facts

EARLY = 'document.documentElement.classList.add("js")'


def render_page(report: Report, document: bytes) -> bytes:
    """Return a report as a page that carries ``document``, the same as JSON, for ``extract_document`` to find.

    Raises:
        UsageError: where the extra ``maskcli[report]`` is not installed.
    """
    modules = [_unclosed(code) for code in (pictures.bundle_scripts(), _own("page.js"), graph.SCRIPT)]
    lines = (
        "<!DOCTYPE html>",
        '<html lang="en">',
        *_head(report, _policy([EARLY, *modules])),
        "<body>",
        *_body(report),
        embed_document(document),
        *(f'<script type="module">{code}</script>' for code in modules),
        "</body>",
        "</html>\n",
    )
    return "\n".join(lines).encode()


def _head(report: Report, policy: str) -> Iterator[str]:
    yield "<head>"
    yield '<meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield '<meta name="generator" content="maskcli">'
    yield f"<title>{escape_html(report.inspection.model.name)} – mask report</title>"
    yield f"<style>{_unclosed(_style())}</style>"
    yield f"<script>{EARLY}</script>"
    yield "</head>"


def _body(report: Report) -> Iterator[str]:
    yield '<a class="skip" href="#main">Skip to the report</a>'
    yield (
        '<header class="bar"><span class="brand">maskcli report</span>'
        '<button type="button" class="sections" id="sections" aria-expanded="false" aria-controls="nav">Sections'
        f'</button><nav id="nav" aria-label="Sections">{render_links()}</nav>'
        '<button type="button" class="needs-js" id="theme" aria-label="Switch between light and dark">Dark</button>'
        "</header>"
    )
    yield '<main id="main" tabindex="-1">'
    yield (
        "<noscript><p>Without JavaScript there are no charts. The tables below each heading hold the same: unfold "
        "them.</p></noscript>"
    )
    yield '<p class="heard" id="heard" role="status"></p>'
    yield '<p class="heard" id="chart-keys">Arrow keys go from value to value, Escape leaves.</p>'
    name = escape_html(report.inspection.model.name)
    yield (
        '<div class="opening"><p class="over">What happened to the mask '
        f"of</p><h1>{name}</h1>{render_facts(report)}</div>"
    )
    yield render_sections(report)
    yield "</main>"
    version = escape_html(report.origin.versions.get("maskcli", ""))
    yield f"<footer>Made by maskcli {version}. Nothing on this page is loaded from elsewhere.</footer>"


def _own(name: str) -> str:
    return importlib.resources.files(__package__).joinpath(name).read_text("utf-8")


def _unclosed(code: str) -> str:
    """Return a script or a style in which nothing ends its element before its time."""
    return code.replace("</script", "<\\/script").replace("<!--", "<\\!--").replace("</style", "<\\/style")


def _policy(scripts: Sequence[str]) -> str:
    """Return what a browser is to allow: these scripts, styles of the page, and no request at all."""
    hashes = " ".join(f"'sha256-{_hash(script)}'" for script in scripts)
    return f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _style() -> str:
    """Return all styles; parts take the colors of the page, which go by the reader's system or by the button."""
    light, dark = (_variables(of, at) for at, of in enumerate((LIGHT, DARK)))
    inherited = ";".join(f"--mk-{name}:inherit" for name in (*LIGHT, *ON_PAGE))
    return (
        f":root{{{light}}}\n"
        f"@media screen and (prefers-color-scheme:dark){{:root{{color-scheme:dark;{dark}}}}}\n"
        f"@media screen{{:root[data-theme=light]{{color-scheme:light;{light}}}"
        f":root[data-theme=dark]{{color-scheme:dark;{dark}}}}}\n"
        f"{STYLE}{graph.STYLE}\nmain .maskcli{{{inherited};color-scheme:inherit}}\n{_own('page.css')}"
    )


def _variables(palette: Mapping[str, str], at: int) -> str:
    colors = {**palette, **{name: pair[at] for name, pair in ON_PAGE.items()}}
    return ";".join(f"--mk-{name}:{color}" for name, color in colors.items())
