"""Settings of the documentation site: ``python -m sphinx -W --keep-going -b html docs OUT``.

The pages are plain Markdown, which GitHub shows as well. Sphinx adds the index and the API reference, which it reads
from docstrings and annotations.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import os
import re
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pygments.lexer import RegexLexer, bygroups
from pygments.token import Generic

import maskcli
from maskcli.records import arrays, fields

if TYPE_CHECKING:
    from sphinx.application import Sphinx

DOCS = Path(__file__).parent.resolve()
ROOT = DOCS.parent

project = "maskcli"
author = "The maskcli authors"
copyright = author  # noqa: A001 - the name that Sphinx reads
release = maskcli.__version__
version = release

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"maskcli {release}"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
highlight_language = "none"
# Single backticks in docstrings are code, as in Markdown.
default_role = "code"

myst_enable_extensions = ["html_image"]
myst_heading_anchors = 4

napoleon_numpy_docstring = False
autoclass_content = "class"
autodoc_class_signature = "mixed"
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
# The names of these types are shorter than their definitions; the page explains them.
autodoc_type_aliases = {name: name for module in (arrays, fields) for name in vars(module) if name[0].isupper()}

ROOT_PAGES = {
    "README.md": "project/readme.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "CHANGELOG.md": "project/changelog.md",
}
"""Pages outside of this folder, and the page here that has their text on the site: on GitHub it is only a link."""
FENCE = re.compile(r"^(`{3,}).*?^\1$", re.M | re.S)
LINK = re.compile(r"""(?<=\]\()(?!\w+:|\#)(?P<target>[^)\#\s]+)|(?<=src=")(?P<image>[^"]+)(?=")""")
PICTURE = re.compile(
    r'<picture>\s*<source media="[^"]*dark[^"]*" srcset="(?P<dark>[^"]+)">\s*<img src="(?P<light>[^"]+)"'
    r"(?P<rest>[^>]*)>\s*</picture>"
)
RULE = re.compile(r"^\| \[(MSK\d{3})\]\(\S+\) \| ([a-z-]+)", re.M)
CODE_OR_STAR = re.compile(r"`[^`]*`|\*")


class TranscriptLexer(RegexLexer):
    """Highlight the command lines of a transcript; the lexer of Pygments takes ``#`` in an output for a prompt."""

    name = "Transcript"
    tokens: ClassVar = {
        "root": [(r"^(\$ )(.*\n)", bygroups(Generic.Prompt, Generic.Strong)), (r".*\n", Generic.Output)]
    }


def write_for_site(text: str, home: Path, page: Path) -> str:
    """Return a page of Markdown as the site needs it.

    Args:
        text: the page.
        home: the path of the file whose links the text has.
        page: the path of the page that shows it.
    """
    pieces, end = [], 0
    for fence in FENCE.finditer(text):
        # Pygments does not know Mermaid, and drawing it takes a script of a content delivery network.
        pieces += [_rewrite_prose(text[end : fence.start()], home, page), fence[0].replace("```mermaid", "```text", 1)]
        end = fence.end()
    return "".join((*pieces, _rewrite_prose(text[end:], home, page)))


def _rewrite_prose(text: str, home: Path, page: Path) -> str:
    # Furo shows images of these classes in one of its two modes.
    images = r'<img class="only-light" src="\g<light>"\g<rest>>\n<img class="only-dark" src="\g<dark>"\g<rest>>'
    return LINK.sub(lambda match: _relink(match[0], home, page), PICTURE.sub(images, text))


def _relink(target: str, home: Path, page: Path) -> str:
    path = (home.parent / target).resolve()
    name = path.relative_to(ROOT).as_posix()
    path = DOCS / ROOT_PAGES[name] if name in ROOT_PAGES else path
    return Path(os.path.relpath(path, page.parent)).as_posix()


def read_page(app: Sphinx, docname: str, source: list[str]) -> None:
    """Replace the text of a page before Sphinx parses it; ``source`` is a list of one text."""
    page = Path(app.env.doc2path(docname))
    if page.suffix != ".md":
        return
    homes = {DOCS / shown: ROOT / name for name, shown in ROOT_PAGES.items()}
    home = homes.get(page, page)
    if home != page:
        app.env.note_dependency(str(home))
        source[0] = home.read_text(encoding="utf-8")
    source[0] = write_for_site(source[0], home, page)
    if docname == "rules/README":
        source[0] += list_rules(source[0])


def list_rules(index: str) -> str:
    """Return a list of all rule pages for the sidebar, which the index of GitHub has in its tables."""
    pages = "\n".join(f"{code} {name} <{code}>" for code, name in RULE.findall(index))
    return f"\n```{{toctree}}\n:hidden:\n\n{pages}\n```\n"


def escape_stars(_app: Sphinx, _what: str, _name: str, _item: Any, _options: Any, lines: list[str]) -> None:
    """Keep a star outside of code, as of a pattern in quotation marks, from starting an emphasis."""
    lines[:] = [CODE_OR_STAR.sub(lambda match: r"\*" if match[0] == "*" else match[0], line) for line in lines]


def shorten_signature(
    _app: Sphinx, what: str, name: str, item: Any, _options: Any, _signature: str | None, _result: str | None
) -> tuple[str, str | None] | None:
    """Leave out the arguments of records, which maskcli makes; their attributes follow."""
    if what == "class" and dataclasses.is_dataclass(item) and name != "maskcli.RaggedSequences":
        return "", None
    return None


def skip_functions(_app: Sphinx, what: str, _name: str, item: Any, _skip: bool, _options: Any) -> bool | None:
    """Leave out the functions in modules of records, which other rooms of the package use."""
    return True if what == "module" and inspect.isfunction(item) else None


def import_public_names() -> None:
    """Import all public names without Keras and TensorFlow.

    Only the callback loads Keras, whose class it extends; type checkers see it without that class.
    """
    for name in maskcli.__all__:
        if name != "MaskCheck":
            getattr(maskcli, name)
    typing.TYPE_CHECKING = True
    try:
        importlib.import_module("maskcli.integrations.mask_check")
    finally:
        typing.TYPE_CHECKING = False


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the functions above to Sphinx."""
    import_public_names()
    app.add_lexer("console", TranscriptLexer)
    app.connect("source-read", read_page)
    app.connect("autodoc-process-docstring", escape_stars)
    app.connect("autodoc-skip-member", skip_functions)
    app.connect("autodoc-process-signature", shorten_signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
