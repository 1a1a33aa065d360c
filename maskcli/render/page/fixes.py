"""Fixes on the page: prose, and code in blocks to copy."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from maskcli.records.check import Finding
from maskcli.render.html import render_prose
from maskcli.render.page.markup import render_code_block
from maskcli.render.text_flow import split_code

PASTED_CODE = re.compile(r"[(=]")
"""A character of code to copy, as opposed to a name."""
SENTENCE_END = re.compile(r"\s*(?:[.;:]|$)")


def render_fix(finding: Finding) -> str:
    """Return the fix of a finding; code at the end of a sentence is a block, with the code of its repair."""
    repair = "" if finding.repair is None else finding.repair.code.strip()
    blocks = [piece for piece, is_block in _split_fix(finding.fix) if is_block]
    # A repair's code and its use belong together.
    code = "\n\n".join((repair, *(block for block in blocks if block not in repair))) if repair else ""
    parts: list[str] = []
    for piece, is_block in _split_fix(finding.fix):
        if not is_block:
            sentence = _begin_sentence(piece) if parts else piece
            parts.append(f"<p>{render_prose(sentence)}</p>")
        elif not repair:
            parts.append(render_code_block(piece))
        elif code:
            parts.append(render_code_block(code))
            code = ""
    if code:
        parts.append(render_code_block(code))
    return "".join(parts)


def _split_fix(fix: str) -> Iterator[tuple[str, bool]]:
    """Yield the pieces of a fix, each with whether it is a block of code; other code is part of its sentence."""
    pieces = [*split_code(fix), ("", False)]
    prose = ""
    for (piece, is_code), (following, _) in itertools.pairwise(pieces):
        if is_code and PASTED_CODE.search(piece) and SENTENCE_END.match(following):
            yield prose.strip(), False
            yield piece, True
            prose = ""
        else:
            prose += f"`{piece}`" if is_code else piece
    if _begin_sentence(prose):
        yield prose.strip(), False


def _begin_sentence(text: str) -> str:
    """Return the text after a block of code as a sentence of its own."""
    text = text.lstrip(" .;,:")
    return text[:1].upper() + text[1:]
