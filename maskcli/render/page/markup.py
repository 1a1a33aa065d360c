"""Text as HTML: a user's names stay text, and data stays data."""

from __future__ import annotations

import html
import json
import re
from typing import Any

from maskcli.render.text_flow import escape_html, split_printable_lines

ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
"""Characters that a script in a page must not contain, and their escapes in JSON."""
_COPY_ICON = (
    '<svg viewBox="0 0 16 16" aria-hidden="true"><g class="sheets">'
    '<rect x="5.5" y="5.5" width="9" height="9" rx="1.5"/>'
    '<path d="M3.5 10.5H3A1.5 1.5 0 0 1 1.5 9V3A1.5 1.5 0 0 1 3 1.5h6A1.5 1.5 0 0 1 10.5 3v.5"/></g>'
    '<path class="ticked" d="M2.5 8.5l3.5 3.5 7.5-8"/></svg>'
)
_UNSAFE = re.compile("[<>&\u2028\u2029]")
_ESCAPED = re.compile(r"\\(?:u003c|u003e|u0026|u2028|u2029|.)", re.DOTALL)
_UNESCAPED = {escape: character for character, escape in ESCAPES.items()}


def render_code_block(code: str, language: str = "python") -> str:
    """Return code as a block with a copy button."""
    lines = html.escape("\n".join(split_printable_lines(code)))
    return (
        f'<div class="code"><pre tabindex="0" role="region" aria-label="Code"><code class="language-{language}">{lines}'
        f"</code></pre>{render_copy_button(code)}</div>"
    )


def render_copy_button(code: str) -> str:
    """Return a button that copies a text."""
    lines = split_printable_lines(code)
    label = f"Copy {lines[0]}" if len(lines) == 1 else "Copy the code"
    text = html.escape("\n".join(lines))
    return (
        f'<button type="button" class="copy" data-copy="{text}" '
        f'aria-label="{escape_html(label)}" title="Copy">'
        f"{_COPY_ICON}</button>"
    )


def render_data_script(name: str, document: str) -> str:
    """Return JSON as a script of data: it does not run, and no text in it can end it."""
    return f'<script type="application/json" id="{name}">{shield_json(document)}</script>'


def render_json_script(name: str, value: Any) -> str:
    """Return a value as JSON in a script of data."""
    return render_data_script(name, json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")))


def shield_json(document: str) -> str:
    """Return equivalent JSON without characters that have a meaning in HTML."""
    return _UNSAFE.sub(lambda match: ESCAPES[match[0]], document)


def unshield_json(document: str) -> str:
    """Return the JSON that ``shield_json`` received."""
    return _ESCAPED.sub(lambda match: _UNESCAPED.get(match[0], match[0]), document)
