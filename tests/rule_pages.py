"""Write one page per rule from its docstring: ``python -m tests.rule_pages``.

A page is the output of ``maskcli explain CODE``, and the index that of ``maskcli rules``, both as Markdown. Their
headings become those of a page of its own: a comment in a pull request, for which the commands print, has smaller ones.
"""

from __future__ import annotations

import re
from pathlib import Path

from maskcli import cli
from tests.conftest import ROOT

FOLDER = ROOT / "docs" / "rules"
INDEX = "README.md"
TITLE = """\
# Rules

`maskcli check` checks a model and its data against these rules; [Check a model](../check.md) explains how. The pages in
this folder are generated from the docstrings in `maskcli/rules/` by `python -m tests.rule_pages`.

"""


def write_pages(folder: Path) -> None:
    """Write the index and all rule pages; delete pages of rules that no longer exist."""
    folder.mkdir(parents=True, exist_ok=True)
    index = folder / INDEX
    _run("rules", index)
    table = index.read_text()
    codes = re.findall(r"^\| (MSK\d{3}) ", table, re.M)
    index.write_text(TITLE + _raise_headings(re.sub(r"^\| (MSK\d{3}) ", r"| [\1](\1.md) ", table, flags=re.M), 1))
    for path in folder.glob("MSK*.md"):
        if path.stem not in codes:
            path.unlink()
    for code in codes:
        page = folder / f"{code}.md"
        _run("explain", page, code)
        title, _, text = page.read_text().partition("\n")
        page.write_text(f"{_raise_headings(title, 2)}\n{_raise_headings(text, 1)}")


def _raise_headings(text: str, levels: int) -> str:
    """Return Markdown whose headings of the third level are higher ones; the code of examples stays."""
    return re.sub(r"^### ", f"{'#' * (3 - levels)} ", text, flags=re.M)


def _run(command: str, output: Path, *arguments: str) -> None:
    status = cli.run([command, *arguments, "--quiet", "--output", str(output)])
    if status != 0:
        raise SystemExit(f"maskcli {command} failed with exit code {status}")


if __name__ == "__main__":
    write_pages(FOLDER)
