"""HTML: a parser finds the texts of the parts in the same places, and nothing else."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

import maskcli
from maskcli.records.remark import Remark
from maskcli.render import html
from maskcli.render.html import STYLE, render_html, render_standalone_html
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
    Section,
    Table,
    Text,
    iterate_parts,
    make_cell,
    mark,
)
from maskcli.render.views import inspect as inspect_view
from maskcli.render.views import pad as pad_view
from tests.render.test_markdown import CELLS, PARTS, TEXTS, of_cells, plain, without_code

TAGS = {
    "h3", "h4", "p", "br", "ul", "li", "pre", "code", "div", "table", "thead", "tbody", "tr", "th", "td", "span",
}  # fmt: skip
ATTRIBUTES = {"class", "scope", "tabindex", "role", "aria-label", "aria-hidden"}
VOID = ("br",)


@dataclasses.dataclass
class Element:
    tag: str
    attributes: dict[str, str | None]
    children: list[Element | str] = dataclasses.field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(
            child if isinstance(child, str) else "\n" if child.tag == "br" else child.text for child in self.children
        )

    def all(self, *tags: str) -> list[Element]:
        elements = []
        for child in self.children:
            if isinstance(child, Element):
                elements += [child] if child.tag in tags else []
                elements += child.all(*tags)
        return elements


class Tree(HTMLParser):
    """A tree of a fragment, in which every element is closed where it has to be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open = [Element("", {})]
        self.feed(text)
        self.close()
        assert len(self.open) == 1, [element.tag for element in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS, tag
        assert {name for name, _ in attrs} <= ATTRIBUTES, attrs
        element = Element(tag, dict(attrs))
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)

    def handle_comment(self, data: str) -> None:
        pytest.fail(f"a comment: {data}")

    def handle_decl(self, decl: str) -> None:
        pytest.fail(f"a declaration: {decl}")

    def handle_pi(self, data: str) -> None:
        pytest.fail(f"an instruction: {data}")


def parsed(parts: Sequence[Section | Part]) -> Element:
    return Tree(render_html(parts)).open[0]


def bare(text: str) -> str:
    return without_code(text)


@given(st.lists(TEXTS, min_size=1, max_size=3), st.data())
def test_table_keeps_its_texts(titles: list[str], data: st.DataObject) -> None:
    row = st.lists(CELLS, min_size=len(titles), max_size=len(titles)).map(tuple)
    rows = data.draw(st.lists(row, max_size=3))
    head, *lines = parsed([Table(tuple(map(Column, titles)), tuple(rows))]).all("tr")
    assert [plain(element.text) for element in head.all("th", "td")] == [plain(title) for title in titles]
    assert [[bare(element.text) for element in line.all("th", "td")] for line in lines] == [
        [without_code(of_cells(cells)) for cells in row] for row in rows
    ]


@given(TEXTS, TEXTS)
def test_heading_has_title_and_detail(title: str, detail: str) -> None:
    (heading,) = parsed([Heading(title, detail)]).all("h3")
    texts = [plain(title), *(plain(element.text) for element in heading.all("span"))]
    assert texts == [plain(title), *([plain(detail)] if plain(detail) else [])]
    assert plain(heading.text) == " ".join(filter(None, texts))


@given(st.lists(CELLS, min_size=1, max_size=4))
def test_lines_stay_apart(lines: list[tuple[Cell, ...]]) -> None:
    texts = [
        line for paragraph in parsed([Text(cells) for cells in lines]).all("p") for line in paragraph.text.split("\n")
    ]
    assert list(map(bare, texts)) == [without_code(line) for line in map(of_cells, lines) if line]


@given(st.lists(st.builds(Remark, st.sampled_from(["fact", "warning"]), TEXTS), max_size=3))
def test_remarks_are_a_list(remarks: list[Remark]) -> None:
    signs = {"fact": "", "warning": "! "}
    texts = [bare(item.text) for item in parsed([Remarks(tuple(remarks))]).all("li")]
    assert texts == [bare(signs[remark.kind] + remark.text) for remark in remarks]


@given(TEXTS, TEXTS)
def test_paragraphs_and_code(words: str, code: str) -> None:
    tree = parsed([Paragraph(words), Code(code, "python")])
    assert bare(tree.all("p")[0].text) == bare(words)
    assert plain(tree.all("pre")[0].text) == plain(code)


@given(st.lists(PARTS, max_size=5))
def test_texts_do_not_become_elements(parts: list[Part]) -> None:
    text = render_html(parts)
    parsed(parts)
    assert text == render_html(parts)
    assert text.encode().decode() == text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)


@given(TEXTS)
def test_scrolling_regions_are_accessible(title: str) -> None:
    """The keyboard reaches each region, and its name is unique."""
    tree = parsed([Heading(title), Table((Column("a"),), ()), Table((Column("a"),), ()), Code("x")])
    regions = [element for element in tree.all("div", "pre") if element.attributes.get("role") == "region"]
    assert all(element.attributes["tabindex"] == "0" for element in regions)
    names = [plain(element.attributes["aria-label"] or "") for element in regions]
    assert names[0] == (plain(title) or "Result")
    assert len(set(names)) == 3


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([Text((Cell("a "), Cell("`", "label"), Cell("x<y", "label"), Cell("`", "label")))],
         '<p class="mk-lines">a <span class="mk-label"><code>x&lt;y</code></span></p>'),
        ([Text((mark("error", " error"), Cell(" x ", "strong")))],
         '<p class="mk-lines"><span class="mk-error"><span aria-hidden="true">×</span> error</span><span class="mk-strong"> x </span></p>'),
        ([Text((mark("warning", "783"),))], '<p class="mk-lines"><span class="mk-warning">!783</span></p>'),
        ([Text((Cell("a"),)), Text((Cell("b"),)), Text(()), Text((Cell("c"),))],
         '<p class="mk-lines">a<br>b</p>\n<p class="mk-lines">c</p>'),
        ([Remarks((Remark("warning", "`a`"),))],
         '<ul>\n<li><span class="mk-warning" role="img" aria-label="Warning:">!</span> <code>a</code></li>\n</ul>'),
        ([Heading("a", "b")], '<h3>a <span class="mk-detail">b</span></h3>'),
    ],
)  # fmt: skip
def test_html_of_parts(parts: list[Part], expected: str) -> None:
    assert render_html(parts) == f"{expected}\n"


def test_batch_table() -> None:
    batch = maskcli.pad([[1, 22], [3]])
    tree = parsed(pad_view.view(batch, Limits(None, None, 80)))
    head, *rows = tree.all("tr")
    assert [(element.tag, element.attributes["scope"], element.text) for element in head.all("th")] == [
        ("th", "col", title) for title in ("sample", "0", "1", "length")
    ]
    assert [element.attributes["scope"] for row in rows for element in row.all("th")] == ["row", "row"]
    padding, legend = [element for element in tree.all("span") if element.attributes["class"] == "mk-padding"]
    assert (padding.text, legend.text) == ("·0", "·")
    assert tree.all("div")[0].attributes["aria-label"] == "Padded batch (2, 2)"
    assert render_html([Heading("a")]) == "<h3>a</h3>\n"


def test_column_classes() -> None:
    on = mark("on")
    table = Table(
        (Column("0  3", "left"), Column("mask", "left"), Column("n"), Column("said", "left"), Column("", "left")),
        (((on, on), (on, on), make_cell("1"), make_cell("word " * 20), make_cell("x")),),
    )
    head, row = parsed([table]).all("tr")
    classes = [[element.attributes.get("class") for element in line.all("th", "td")] for line in (head, row)]
    assert classes == [
        ["mk-run", None, "mk-right", "mk-prose", None],
        ["mk-run", "mk-run", "mk-right", "mk-prose", None],
    ]
    assert [element.tag for element in head.all("th", "td")] == ["th", "th", "th", "th", "td"]


# Style.


def luminance(color: str) -> float:
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(color: str, background: str) -> float:
    darker, lighter = sorted((luminance(color), luminance(background)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_colors_are_legible(theme: int) -> None:
    palette = {name: colors[theme] for name, colors in html.COLORS.items()}
    for name, color in palette.items():
        if name not in ("bg", "soft", "line"):
            assert min(contrast(color, palette["bg"]), contrast(color, palette["soft"])) >= 4.5, name


def test_every_role_has_a_style() -> None:
    unstyled = {"plain", "strong"}
    assert set(get_args(Role)) - unstyled <= html.ROLE_COLORS.keys()
    assert set(re.findall(r"var\(--mk-(\w+)\)", STYLE)) <= html.COLORS.keys()
    for role in set(get_args(Role)) - unstyled:
        assert f".maskcli .mk-{role}{{color:var(--mk-{role})}}" in STYLE


def test_style_is_contained() -> None:
    """Every selector is inside of .maskcli, and nothing is loaded."""
    rules = re.sub(r"@media[^{]*\{", "", STYLE.replace("\n", ""))
    while "(" in rules:
        rules = re.sub(r"\([^()]*\)", "", rules)
    selectors = re.findall(r"(?:^|[}])\s*([^{}]+)\{", rules)
    assert selectors
    for selector in selectors:
        assert all(".maskcli" in element for element in selector.split(",")), selector
    assert not re.search(r"url|@import|http|</|expression", STYLE)
    assert STYLE.count("{") == STYLE.count("}")


def test_standalone_html_has_its_style() -> None:
    batch = maskcli.pad([[1, 2], [3]])
    text = render_standalone_html(pad_view.view(batch, Limits(None, None, 80)))
    assert text.startswith(f'<div class="maskcli">\n<style>{STYLE}</style>\n')
    assert text.endswith("</div>")
    assert text.count("<style>") == 1


def test_inspection_has_every_table() -> None:
    parts = inspect_view.view(maskcli.inspect([[1, 2], [3]]), Limits(24, None, 110, flows=True))
    tree = parsed(parts)
    assert len(tree.all("table")) == sum(isinstance(part, Table) for part in iterate_parts(parts))
    runs = [element.text for element in tree.all("td") if element.attributes.get("class") == "mk-run"]
    assert runs[:2] == ["■■", "■□"]
