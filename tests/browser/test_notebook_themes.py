"""Results in pages like those of notebooks: colours follow the notebook's theme, not the system's."""

from __future__ import annotations

import re
from typing import Any

import pytest

import maskcli
from maskcli.render.html import GRAY, PAGE_COLORS, render_standalone_html
from maskcli.render.parts import Code, Text, mark
from maskcli.render.results import render_html_of

pytestmark = pytest.mark.slow(share=1 / 2)

HOSTS = {
    "JupyterLab light": (
        '<body data-jp-theme-light="true" style="--jp-content-font-color1:rgba(0,0,0,.87)">',
        "#ffffff",
        "light",
    ),
    "JupyterLab dark": (
        '<body data-jp-theme-light="false" style="--jp-content-font-color1:#fff;--jp-layout-color0:#111">',
        "#111111",
        "dark",
    ),
    "nbconvert": ('<body class="jp-Notebook" data-jp-theme-light="true">', "#ffffff", "light"),
    "VS Code light": (
        '<body class="vscode-light" data-vscode-theme-kind="vscode-light" style="--vscode-editor-foreground:#3b3b3b">',
        "#ffffff",
        "light",
    ),
    "VS Code dark": (
        '<body class="vscode-dark" data-vscode-theme-kind="vscode-dark" style="--vscode-editor-foreground:#ccc">',
        "#1e1e1e",
        "dark",
    ),
    "VS Code, kind only": ('<body data-vscode-theme-kind="vscode-high-contrast">', "#000000", "dark"),
    "VS Code, light high contrast": (
        '<body class="vscode-high-contrast-light vscode-high-contrast" '
        'data-vscode-theme-kind="vscode-high-contrast-light" style="--vscode-editor-foreground:#292929">',
        "#ffffff",
        "light",
    ),
    "Colab light": ('<html theme="light"><body style="--colab-primary-text-color:#212121">', "#ffffff", "light"),
    "Colab dark": ('<html theme="dark"><body style="--colab-primary-text-color:#d5d5d5">', "#383838", "dark"),
    "Colab without a theme": ('<body><div id="output-area">', "#ffffff", "light"),
}
"""The start of each page, its background, and its theme."""
COLORS = """() => {
    const of = (selector, name) => getComputedStyle(document.querySelector(selector))[name];
    return {ink: of('.maskcli', 'color'), paper: of('.maskcli', 'backgroundColor'), cell: of('td', 'backgroundColor'),
            muted: of('.mk-muted', 'color'), error: of('.mk-error', 'color'), scheme: of('.maskcli', 'colorScheme')};
}"""


@pytest.fixture(scope="module")
def content() -> str:
    """Return the HTML of a batch, with parts in more colours."""
    roles = [Text((mark("error", " error"), mark("muted", "muted"))), Code("a = 1", "python")]
    return render_html_of(maskcli.pad([[1, 2], [3]])) + render_standalone_html(roles)


@pytest.mark.parametrize("system", ["light", "dark"])
def test_colors_follow_the_notebook(chromium: Any, content: str, system: str) -> None:
    context = chromium.new_context(color_scheme=system)
    page = context.new_page()
    for host, (start, paper, theme) in HOSTS.items():
        text = "#000000" if theme == "light" else "#ffffff"
        page.set_content(f"<!DOCTYPE html>{start}<style>body{{background:{paper};color:{text}}}</style>{content}")
        colors = page.evaluate(COLORS)
        assert colors["scheme"] == theme, host
        assert colors["paper"] == colors["cell"] == "rgba(0, 0, 0, 0)", host
        variable = re.search(r"--(?:jp-content-font-color1|vscode-editor-foreground|colab-primary-text-color)", start)
        expected = f"var({variable[0]})" if variable else text
        page.evaluate("(color) => { document.body.style.outlineColor = color; }", expected)
        assert colors["ink"] == page.evaluate("getComputedStyle(document.body).outlineColor"), host
        for name in ("ink", "muted", "error"):
            assert measure_contrast(colors[name], paper) >= 4.5, (host, name)
    context.close()


@pytest.mark.parametrize("system", ["light", "dark"])
def test_colors_follow_the_system_elsewhere(chromium: Any, content: str, system: str) -> None:
    context = chromium.new_context(color_scheme=system)
    page = context.new_page()
    page.set_content(content)
    colors = page.evaluate(COLORS)
    index = ("light", "dark").index(system)
    assert colors["scheme"] == system
    assert measure_contrast(colors["muted"], colors["paper"]) == measure_contrast(GRAY[index], PAGE_COLORS["bg"][index])
    context.close()


def measure_contrast(ink: str, paper: str) -> float:
    """Return the contrast of two colours, as WCAG defines it."""
    bright, dim = sorted((_measure_luminance(ink), _measure_luminance(paper)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def _measure_luminance(color: str) -> float:
    if color.startswith("#"):
        parts = [int(color[at : at + 2], 16) for at in (1, 3, 5)]
    else:
        parts = [int(part) for part in re.findall(r"\d+", color)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in (p / 255 for p in parts)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
