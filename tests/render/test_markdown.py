"""Markdown: a parser finds the texts of the parts in the same places, for any names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

import maskcli
from maskcli.records.remark import Remark
from maskcli.render.markdown import WIDTH, render_markdown
from maskcli.render.parts import (
    Cell,
    Code,
    Column,
    Heading,
    Limits,
    Paragraph,
    Part,
    Remarks,
    Role,
    Table,
    Text,
    make_cell,
    mark,
)
from maskcli.render.views import pad as pad_view

pytestmark = pytest.mark.quick

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
NASTY = (
    "a|b", "<script>alert(1)</script>", "`", "``", "`code`", "a`b`c", "*x*", "**x**", "__x__", "_x_", "a_b", "[x](y)",
    "![x](y)", "[^1]", "[x]: y", "# x", "x #", "###", "- x", "-", "--", "---", "+ x", "1. x", "1)", "1.", "> x", "===",
    ":-:", "~~x~~", "$x$", "&amp;", "&#60;", "\\", "a\\", "\\|", "`a\\|b`", "x `a|b` y", "https://x.y", "www.x.y", "a@b.c",
    "a\nb", "a\r\n\r\nb", "\x1b[31m", "\u202eabc", "\x00", "\ud800", " x ", "a  b", "\t", "é_ü", "_é_", "😀*", "    x",
    "<!-- x -->", "~~~", "```", "| --- |", "\u00a0x", "\u2028", "x\x85y", "•", "■■", "**", "* * *", "<http://a.b>",
)  # fmt: skip
TEXTS = st.one_of(
    st.sampled_from(NASTY),
    st.text("ab1._-*`|\\ <>[]()#!~&$:@\n", max_size=12),
    st.text(max_size=8),
    st.lists(st.sampled_from(NASTY), min_size=2, max_size=3).map(" ".join),
    st.lists(st.sampled_from(NASTY), min_size=2, max_size=3).map("".join),
)
ROLES = st.sampled_from(get_args(Role))
CELLS = st.lists(st.builds(Cell, TEXTS, ROLES), max_size=3).map(tuple)
SPACE = "[\\s\x85\u00a0\u2028\u2029]+"
HIDDEN = "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"


def plain(text: str) -> str:
    """Return the readable text: on one line, nothing hidden, spaces merged as a browser does."""
    return re.sub(SPACE, " ", re.sub(HIDDEN, "�", text)).strip()


def of_cells(cells: Sequence[Cell]) -> str:
    return plain("".join(cell.text for cell in cells))


def read(token: Token) -> str:
    """Return the text of an inline token."""
    texts = []
    for child in token.children or ():
        assert child.type in ("text", "code_inline", "strong_open", "strong_close", "text_special", "hardbreak"), child
        texts.append("\n" if child.type == "hardbreak" else child.content)
    return "\n".join(plain(line) for line in "".join(texts).split("\n"))


def parsed(text: str) -> list[Token]:
    return PARSER.parse(text)


def inlines(text: str) -> list[str]:
    return [read(token) for token in parsed(text) if token.type == "inline"]


def kinds(text: str) -> list[str]:
    return [token.type for token in parsed(text) if token.level == 0 and token.nesting >= 0]


def without_code(text: str) -> str:
    """Return prose without backticks, which a parser may remove."""
    return plain(text.replace("`", ""))


@given(st.lists(TEXTS, min_size=2, max_size=3), st.data())
def test_table_keeps_its_texts(titles: list[str], data: st.DataObject) -> None:
    row = st.lists(CELLS, min_size=len(titles), max_size=len(titles)).map(tuple)
    rows = data.draw(st.lists(row, max_size=3))
    aligns = data.draw(st.lists(st.sampled_from(["left", "right"]), min_size=len(titles), max_size=len(titles)))
    columns = tuple(map(Column, titles, aligns))
    text = render_markdown([Table(columns, tuple(rows))])
    tokens = parsed(text)
    assert kinds(text) == ["table_open"]
    texts = [read(token) for token in tokens if token.type == "inline"]
    expected_texts = [of_cells(cells) for row in rows for cells in row]
    assert texts[: len(titles)] == [plain(title) for title in titles]
    assert list(map(without_code, texts[len(titles) :])) == list(map(without_code, expected_texts))
    styles = [token.attrs["style"] for token in tokens if token.type == "th_open"]
    assert styles == [f"text-align:{align}" for align in aligns]
    sound(text)


@given(st.text("a`| \\", max_size=9))
def test_name_in_a_cell_keeps_backticks(name: str) -> None:
    name = name.replace(" ", "")
    text = render_markdown([Table((Column("name", "left"),), ((make_cell(name, "label"),),))])
    texts = inlines(text)[1]
    assert texts == name or (re.search("`[^`]+`", name) and without_code(texts) == without_code(name))


@given(TEXTS, TEXTS)
def test_heading_has_title_and_detail(title: str, detail: str) -> None:
    text = render_markdown([Heading(title, detail)])
    assert kinds(text) == ["heading_open"]
    assert inlines(text) == [" — ".join(texts for texts in (plain(title), plain(detail)) if texts)]
    sound(text)


@given(st.lists(CELLS, min_size=1, max_size=4))
def test_lines_stay_apart(lines: list[tuple[Cell, ...]]) -> None:
    text = render_markdown([Text(cells) for cells in lines])
    assert set(kinds(text)) <= {"paragraph_open"}
    texts = [line for inline in inlines(text) for line in inline.split("\n")]
    assert list(map(without_code, texts)) == [without_code(line) for line in map(of_cells, lines) if line]
    sound(text)


@given(st.lists(st.builds(Remark, st.sampled_from(["fact", "warning"]), TEXTS), min_size=1, max_size=3))
def test_remarks_are_a_list(remarks: list[Remark]) -> None:
    text = render_markdown([Remarks(tuple(remarks))])
    assert kinds(text) == ["bullet_list_open"]
    assert sum(token.type == "list_item_open" for token in parsed(text)) == len(remarks)
    expected_texts = [plain(f"{'! ' if remark.kind == 'warning' else ''}{remark.text}") for remark in remarks]
    assert [without_code(texts) for texts in inlines(text)] == [
        without_code(texts) for texts in expected_texts if texts
    ]
    sound(text)


@given(TEXTS)
def test_paragraph_is_one_block(words: str) -> None:
    text = render_markdown([Paragraph(words)])
    assert kinds(text) == (["paragraph_open"] if plain(words) else [])
    assert list(map(without_code, inlines(text))) == ([without_code(plain(words))] if plain(words) else [])
    sound(text)


@given(st.lists(TEXTS, max_size=4).map("\n".join))
@example("```\n````\n~~~")
def test_code_cannot_end_its_fence(code: str) -> None:
    text = render_markdown([Code(code, "python")])
    (block,) = parsed(text)
    lines = [re.sub(HIDDEN, "�", line) for line in re.split("\r\n|\r|\n", code)]
    assert (block.type, block.info) == ("fence", "python")
    assert [plain(line) for line in block.content.split("\n")[:-1]] == [plain(line) for line in lines]
    sound(text)


PARTS = st.one_of(
    st.builds(Heading, TEXTS, TEXTS),
    st.builds(Text, CELLS),
    st.builds(Paragraph, TEXTS),
    st.builds(Code, TEXTS),
    st.builds(Remarks, st.lists(st.builds(Remark, st.just("fact"), TEXTS), max_size=2).map(tuple)),
    st.builds(lambda text, cells: Table((Column(text),), ((cells,),)), TEXTS, CELLS),
)


@given(st.lists(PARTS, max_size=6))
def test_parts_stay_separate(parts: list[Part]) -> None:
    alone = [
        kind for part in parts for kind in kinds(render_markdown([part])) if kind.endswith("_open") or kind == "fence"
    ]
    together = [kind for kind in kinds(render_markdown(parts)) if kind.endswith("_open") or kind == "fence"]
    assert _merged(together) == _merged(alone)
    sound(render_markdown(parts))


def _merged(types: list[str]) -> list[str]:
    """Consecutive lists and lines may merge."""
    mergeable = ("paragraph_open", "bullet_list_open")
    return [kind for index, kind in enumerate(types) if not (index and kind == types[index - 1] and kind in mergeable)]


def sound(text: str) -> None:
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert text.encode().decode() == text
    assert all(line == line.rstrip() for line in text.split("\n"))


def test_batch_table() -> None:
    batch = maskcli.pad([[1, 22], [3]])
    assert render_markdown(pad_view.view(batch, Limits(None, None, WIDTH))) == (
        "### Padded batch (2, 2) — int32, padding post, value 0\n"
        "\n"
        "tokens: padding by the lengths of the rows\n"
        "\n"
        "| sample |   0 |   1 | length |\n"
        "| -----: | --: | --: | -----: |\n"
        "|      0 |   1 |  22 |      2 |\n"
        "|      1 |   3 |  ·0 |      1 |\n"
        "\n"
        "· padding\\\n"
        "3 tokens, 1 padding (25 % of the batch), 0 truncated\n"
        "\n"
        "Next: `maskcli inspect` with the same arguments shows what a model does with the mask.\n"
    )


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([Text((mark("on"), Cell(" counts   "), mark("off"), Cell(" masked")))], "■ counts\u00a0\u00a0 □ masked"),
        ([Text((Cell("a"),)), Text((Cell("b"),)), Text(()), Text((Cell("c"),))], "a\\\nb\n\nc"),
        ([Text((mark("error", " error"), Cell(" MSK101 ", "strong"), Cell("x", "strong")))], "× error **MSK101 x**"),
        ([Text((Cell("x"), Cell("y", "strong")))], "xy"),
        ([Text((Cell("put "), Cell("`", "label"), Cell("x = *y", "label"), Cell("`", "label")))], "put `x = *y`"),
        ([Paragraph("`x * 2` and a`b`c")], "`x * 2` and a\\`b\\`c"),
        ([Remarks((Remark("fact", "1. a"), Remark("warning", "b_c")))], "- 1\\. a\n- **!** b_c"),
        ([Heading("# a #", "b")], "### \\# a \\# — b"),
        ([Code("a\n```\n", "")], "````\na\n```\n\n````"),
        ([], ""),
    ],
)  # fmt: skip
def test_markdown_of_parts(parts: list[Part], expected: str) -> None:
    assert render_markdown(parts) == f"{expected}\n"


def test_aligned_characters_are_code() -> None:
    on, off = mark("on"), mark("off")
    table = Table(
        (Column("0    5", "left"), Column("output"), Column("call", "left")),
        (
            ((on, off), make_cell("-0.5  0.1"), make_cell("  lstm")),
            ((on,), make_cell(" 0.5  0.1"), make_cell("a|b")),
            (make_cell("no mask"), make_cell("⋮"), make_cell("")),
        ),
    )
    lines = render_markdown([table]).replace("\u00a0", "_").split("\n")
    assert [[text.strip() for text in line.split(" | ")] for line in lines[2:5]] == [
        ["| `■□`", "`-0.5__0.1`", "&nbsp;&nbsp;lstm |"],
        ["| `■`", "`_0.5__0.1`", "a\\|b             |"],
        ["| no mask", "⋮", "|"],
    ]
    assert lines[0].startswith("| `0____5` | ")
