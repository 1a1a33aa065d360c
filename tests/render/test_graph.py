"""The model as a graph: what is lifted to which level, where it stands, and what the picture, page and Mermaid say."""

from __future__ import annotations

import dataclasses
import html.parser
import itertools
import json
import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskcli.errors import UsageError
from maskcli.records.inputs import ModelInput
from maskcli.records.model import ModelAbout
from maskcli.records.trace import Call, Edge, Inspection, OutputValues
from maskcli.render.graph import layout as layouts
from maskcli.render.graph.folding import choose_folds, count_visible
from maskcli.render.graph.graph import Level, Node, Ref, classify_edge, find_ends, lift_levels
from maskcli.render.graph.html import SCRIPT, STYLE, render_graph_html
from maskcli.render.graph.layout import lay_out_level
from maskcli.render.graph.mermaid import MOST_EDGES, render_mermaid
from maskcli.render.graph.svg import render_graph_svg

pytestmark = pytest.mark.quick

MASK = np.array([[True, True, False]])
NASTY = "</script><script>alert('1')</script> \"q\" `t` |p| #35; %%{init}%% \x1b[31m\n<b>&amp;"
ARROW = re.compile(r"^ +(n\d+) (?:==>|-\.->|-->)(?:\|\"[^\"]*\"\|)? (n\d+)$", re.M)


def call(path: str, effect: str = "none", **more: Any) -> Call:
    fields: dict[str, Any] = {
        "index": 0,
        "type": "Dense",
        "mask_in": MASK if effect in ("passes", "uses", "drops", "changes") else None,
        "mask_out": MASK if effect in ("passes", "creates", "changes") else None,
        "given": effect == "uses",
        "computes_mask": False,
        "warning": None,
        "shapes_in": ((1, 3, 4),),
        "shapes_out": ((1, 3, 4),),
    }
    return Call(call=path, effect=effect, **{**fields, **more})


def inspection(trace: Sequence[Call], edges: Sequence[Edge], **more: Any) -> Inspection:
    tokens = ModelInput("tokens", np.array([[1, 2, 0]]), MASK, "ids")
    made: dict[str, Any] = {field.name: None for field in dataclasses.fields(Inspection)}
    made |= {"model": ModelAbout("tagger.keras", "file", "Functional"), "inputs": (tokens,), "remarks": ()}
    made |= {"outputs": (OutputValues("dense", np.ones((1, 3, 4)), None, None),), "trace": tuple(trace)}
    return Inspection(**{**made, "edges": tuple(edges), **more})


def chain(paths: Sequence[str], mask: Any = MASK) -> list[Edge]:
    """Return edges from the input through calls to the output."""
    between = [Edge(source, target, mask=mask) for source, target in itertools.pairwise(paths)]
    return [Edge("tokens", paths[0], from_input=True), *between, Edge(paths[-1], "output", to_output=True, mask=mask)]


def residual() -> Inspection:
    """Return a block with a residual connection, whose addition drops the mask, and an attention that is given one."""
    trace = [
        call("not_equal", computes_mask=True),
        call("embedding", "creates", type="Embedding"),
        call("block", "uses", type="Functional", contains=True, of_model=True),
        call("block/attention", "uses", type="MultiHeadAttention"),
        call("block/add", "drops", type="Add"),
        call("dense", "none", lost_at="block/add", lost_after="block/attention"),
    ]
    edges = [
        Edge("tokens", "not_equal", from_input=True),
        Edge("tokens", "embedding", from_input=True),
        Edge("embedding", "block", mask=MASK),
        Edge("embedding", "block/attention", mask=MASK),
        Edge("not_equal", "block/attention", mask=MASK, argument="attention_mask"),
        Edge("embedding", "block/add", lost=True),
        Edge("block/attention", "block/add", mask=MASK),
        Edge("block/add", "dense", lost=True),
        Edge("dense", "output", to_output=True, lost=True),
    ]
    return inspection(trace, edges)


def transformer(blocks: int, dropping: int | None = None) -> Inspection:
    """Return equal blocks of 14 calls, one of which drops the mask."""
    trace, paths = [call("embedding", "creates")], ["embedding"]
    for block in range(blocks):
        trace.append(call(f"encoder_{block}", "uses", contains=True))
        for number in range(13):
            effect = "drops" if block == dropping and number == 5 else "passes"
            paths.append(f"encoder_{block}/layer_{number}")
            trace.append(call(paths[-1], effect))
    return inspection(trace, chain(paths))


# Levels.


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[Call], list[Edge]]:
    """Return nested calls, and edges between any of them: also to containers and out of their own code."""
    paths: list[str] = []
    for number in range(draw(st.integers(1, 12))):
        above = draw(st.sampled_from(["", *paths]))
        paths.append(f"{above}/c{number}" if above else f"c{number}")
    nodes = st.sampled_from(paths)
    sources = st.one_of(nodes.map(lambda path: (path, False)), st.just(("in", True)))
    targets = st.one_of(nodes.map(lambda path: (path, False)), st.just(("out", True)))
    kinds = st.sampled_from([{}, {"mask": MASK}, {"lost": True}, {"mask": MASK, "argument": "mask"}])
    edges = [
        Edge(source, target, from_input=from_input, to_output=to_output, **kind)
        for (source, from_input), (target, to_output), kind in draw(
            st.lists(st.tuples(sources, targets, kinds), max_size=20)
        )
    ]
    order = sorted(paths, key=lambda path: [int(name[1:]) for name in path.split("/")])
    return [call(path) for path in order], edges


def levels(level: Level) -> list[Level]:
    return [level, *(each for node in level.nodes if node.level for each in levels(node.level))]


def seen_from(ref: Ref, container: str) -> str:
    """Return what an end of an edge is on the level of a container, told by its path alone."""
    place, path = ref
    if place != "call":
        return "outside" if container else f"{place} {path}"
    if path == container:
        return "own code"
    inside = f"{container}/" if container else ""
    if not path.startswith(inside):
        return "outside"
    return f"call {inside}{path.removeprefix(inside).split('/')[0]}"


def expected_pair(edge: Edge, container: str) -> tuple[str, str] | None:
    """Return what an edge is on the level of a container; None where it does not touch what is inside."""
    source, target = (seen_from(ref, container) for ref in find_ends(edge))
    if source == target or {source, target} <= {"outside", "own code"}:
        return None
    source = f"in {container}" if source in ("outside", "own code") else source
    return source, f"out {container}" if target in ("outside", "own code") else target


@given(graphs())
def test_every_edge_is_on_the_levels_that_it_crosses_and_on_no_other(made: tuple[list[Call], list[Edge]]) -> None:
    trace, edges = made
    for level in levels(lift_levels(trace, edges, ["in"], ["out"])):
        named = [f"{node.place} {node.path}" for node in level.nodes]
        told = {(position, (named[flow.source], named[flow.target])) for flow in level.flows for position in flow.edges}
        pairs = ((position, expected_pair(edge, level.path)) for position, edge in enumerate(edges))
        assert told == {(position, pair) for position, pair in pairs if pair is not None}
        assert len(told) == sum(len(flow.edges) for flow in level.flows)


@given(graphs())
def test_a_flow_is_of_the_kind_with_which_it_arrives(made: tuple[list[Call], list[Edge]]) -> None:
    trace, edges = made
    for level in levels(lift_levels(trace, edges, ["in"], ["out"])):
        for (_, target), flows in itertools.groupby(level.flows, key=lambda flow: (flow.source, flow.target)):
            group = list(flows)
            own = [edges[position] for flow in group for position in flow.edges]
            ref = level.nodes[target].ref
            arriving = [edge for edge in own if find_ends(edge)[1] == ref] if ref[0] != "out" else []
            if arriving:
                assert {flow.kind for flow in group} == {classify_edge(edge) for edge in arriving}
            assert {flow.kind for flow in group} <= {classify_edge(edge) for edge in own}


@given(graphs())
def test_folding_cuts_no_path(made: tuple[list[Call], list[Edge]]) -> None:
    trace, edges = made
    root = lift_levels(trace, edges, ["in"], ["out"])
    above = {node.ref: position for position, node in enumerate(root.nodes)}

    def outermost(ref: Ref) -> int:
        return above[ref if ref[0] != "call" else ("call", ref[1].split("/")[0])]

    reach = {position: reached(position, root) for position in range(len(root.nodes))}
    for edge in edges:
        source, target = map(outermost, find_ends(edge))
        assert target in reach[source]


def reached(start: int, level: Level) -> set[int]:
    found, left = {start}, [start]
    while left:
        at = left.pop()
        new = {flow.target for flow in level.flows if flow.source == at} - found
        found |= new
        left += new
    return found


def test_a_mask_argument_has_its_name_where_it_arrives() -> None:
    made = residual()
    root = lift_levels(made.trace, made.edges, ["tokens"], ["output"])
    block = next(node.level for node in root.nodes if node.name == "block")
    assert block is not None
    outer = [flow for flow in root.flows if root.nodes[flow.source].name == "not_equal"]
    inner = [flow for flow in block.flows if flow.kind == "argument"]
    assert [(flow.kind, flow.arguments) for flow in outer] == [("argument", ())]
    assert [(flow.kind, flow.arguments) for flow in inner] == [("argument", ("attention_mask",))]
    assert [node.name for node in block.nodes] == ["in", "attention", "add", "out"]
    carried = [flow for flow in root.flows if root.nodes[flow.source].name == "embedding"]
    assert [(flow.kind, flow.edges) for flow in carried] == [("mask", (2, 3, 5))]


# Where things stand.


@given(graphs())
def test_cells_stand_apart_and_lines_go_down_layer_by_layer(made: tuple[list[Call], list[Edge]]) -> None:
    for level in levels(lift_levels(*made, ["in"], ["out"])):
        layout = lay_out_level(level)
        assert [cell.node for cell in layout.cells[: len(level.nodes)]] == list(range(len(level.nodes)))
        assert sorted(cell for row in layout.layers for cell in row) == list(range(len(layout.cells)))
        for depth, row in enumerate(layout.layers):
            assert {layout.cells[cell].layer for cell in row} <= {depth}
            slots = [layout.cells[cell].slot for cell in row]
            assert all(right - left >= 2 for left, right in itertools.pairwise(slots))
            assert all(0 <= slot <= layout.slots - 2 for slot in slots)
        for flow, route in zip(level.flows, layout.routes, strict=True):
            assert (route[0], route[-1]) == (flow.source, flow.target)
            depths = [layout.cells[cell].layer for cell in route]
            if flow.source < flow.target:
                assert depths == list(range(depths[0], depths[-1] + 1))


def test_the_way_of_the_mask_is_straight_and_what_passes_by_stands_beside_it() -> None:
    paths = ["attention", "dropout", "add", "norm"]
    edges = [*chain(paths), Edge("tokens", "add", from_input=True)]
    level = lift_levels([call(path, "passes") for path in paths], edges, ["tokens"], ["output"])
    layout = lay_out_level(level)
    assert len({cell.slot for cell in layout.cells if cell.node is not None}) == 1
    assert [len(row) for row in layout.layers] == [1, 2, 2, 1, 1, 1]
    assert lay_out_level(level) == layout


def test_a_long_row_of_residual_blocks_goes_straight_down() -> None:
    paths, edges, last = ["embedding"], [], "embedding"
    for number in range(20):
        block = [f"{name}_{number}" for name in ("norm", "attention", "dropout", "add")]
        edges += [Edge(one, two, mask=MASK) for one, two in itertools.pairwise([last, *block])]
        edges.append(Edge(last, block[-1], mask=MASK))
        paths, last = [*paths, *block], block[-1]
    edges = [Edge("tokens", "embedding", from_input=True), *edges, Edge(last, "output", to_output=True, mask=MASK)]
    layout = lay_out_level(lift_levels([call(path, "passes") for path in paths], edges, ["tokens"], ["output"]))
    assert len({cell.slot for cell in layout.cells if cell.node is not None}) == 1
    assert layout.slots == 4


def test_one_mask_that_many_are_given_is_one_line_with_branches() -> None:
    paths = [f"lstm_{number}" for number in range(6)]
    given_to = [Edge("not_equal", path, mask=MASK, argument="mask") for path in paths]
    edges = [Edge("tokens", "not_equal", from_input=True), *chain(paths), *given_to]
    layout = lay_out_level(lift_levels([call(path) for path in ("not_equal", *paths)], edges, ["tokens"], ["output"]))
    ways = [route[1:-1] for route in layout.routes if route[0] == 1]
    assert all(longer[: len(way)] == way for way, longer in itertools.pairwise(sorted(ways, key=len)))


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(1, 9)), min_size=1, max_size=9))
def test_what_wants_to_stand_in_one_place_is_moved_apart_as_little_as_can_be(wanted: list[tuple[int, int]]) -> None:
    places, pull = [float(place) for place, _ in wanted], [weight for _, weight in wanted]
    apart = layouts._apart(places, pull)
    assert all(right - left > 1 - 1e-9 for left, right in itertools.pairwise(apart))
    assert layouts._apart(apart, pull) == pytest.approx(apart)
    shift = sum(weight * abs(to - place) for weight, to, place in zip(pull, apart, places, strict=True))
    assert shift == pytest.approx(_least_shift(places, pull))


def _least_shift(places: list[float], pull: list[int]) -> float:
    """Return how little weighted places can be moved in all, found by trying."""
    known = sorted({place - position for position, place in enumerate(places)})
    best = dict.fromkeys(known, 0.0)
    for position, (place, weight) in enumerate(zip(places, pull, strict=True)):
        lowest = itertools.accumulate((best[at] for at in known), min)
        best = {at: least + weight * abs(at + position - place) for at, least in zip(known, lowest, strict=True)}
    return min(best.values())


def test_without_igraph_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "igraph", None)
    layouts._igraph.cache_clear()
    with pytest.raises(UsageError, match=r"pip install 'maskcli\[report\]'"):
        render_graph_svg(residual())
    assert render_mermaid(residual()).startswith("flowchart TD\n")


# What is folded.


def test_blocks_that_are_alike_are_folded_but_for_the_first() -> None:
    made = transformer(5, dropping=3)
    root = lift_levels(made.trace, made.edges, ["tokens"], ["output"])
    assert choose_folds(root, 150) == {"encoder_1": "encoder_0", "encoder_2": "encoder_0", "encoder_4": "encoder_0"}
    assert choose_folds(root, 20) == {f"encoder_{number}": "" for number in range(5)}
    kept = choose_folds(root, 20, keep_drops=True)
    assert "encoder_3" not in kept
    assert len(kept) == 4
    assert count_visible(root, kept) == 3 + 5 + 13


def test_what_is_too_deep_is_folded() -> None:
    paths = ["a", "a/b", "a/b/c", "a/b/c/d"]
    made = inspection([call(path) for path in paths], chain(paths[-1:]))
    root = lift_levels(made.trace, made.edges, ["tokens"], ["output"])
    assert choose_folds(root, 150, deepest=2) == {"a/b/c": ""}
    assert b"1 call inside, not drawn" in render_graph_svg(made)


# The picture.


def texts(svg: bytes) -> list[str]:
    return ["".join(text.itertext()) for text in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314


def test_the_picture_says_what_each_call_does_and_draws_each_line() -> None:
    svg = render_graph_svg(residual())
    said = texts(svg)
    for text in ("tagger.keras", "Embedding  ·  creates the mask", "Add  ·  drops the mask", "attention_mask"):
        assert text in said
    assert svg == render_graph_svg(residual())
    sizes = [float(size) for size in re.findall(rb'font-size="([\d.]+)"', svg)]
    assert min(sizes) >= 11
    root = ET.fromstring(svg)  # noqa: S314
    lines = [path.get("stroke-dasharray") for path in root.iter("{http://www.w3.org/2000/svg}path") if path.get("d")]
    assert lines.count("7 5") == 4 + 1  # With the one in the legend.


def test_a_hundred_calls_are_drawn_in_full_or_as_one_like_another() -> None:
    said = texts(render_graph_svg(transformer(7, dropping=3)))
    assert sum(text == "layer_5" for text in said) == 2
    assert sum(text == "13 calls inside, as in encoder_0" for text in said) == 5


def test_a_picture_of_nothing_is_one() -> None:
    assert "no calls" not in texts(render_graph_svg(inspection([], [])))
    assert "input tokens" in texts(render_graph_svg(inspection([], [])))


@pytest.mark.parametrize("name", [NASTY, "日本語" * 30, "x" * 5000, "\ud800"], ids=["markup", "wide", "long", "half"])
def test_names_that_are_markup_are_text(name: str) -> None:
    nasty = inspection([call(name, type=name, warning=name)], chain([name]), model=ModelAbout(name, "file", name))
    svg, page, chart = render_graph_svg(nasty), render_graph_html(nasty), render_mermaid(nasty)
    ET.fromstring(svg)  # noqa: S314
    assert int(re.findall(rb'width="(\d+)"', svg)[0]) < 1600
    for text in (svg.decode(), page, chart):
        assert "<script" not in text
        assert "\x1b" not in text
    checked(page)
    assert re.search(r'^  n1\["[^"`|<>{}%]*<br/>[^"`|<>{}%]*<br/>○ no mask"\]:::none$', chart, re.M)


# The page.


class Page(html.parser.HTMLParser):
    """Reads a page, and checks that what is opened is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.levels: list[tuple[list[dict[str, Any]], int]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def checked(page: str) -> Page:
    read = Page()
    read.feed(page)
    assert read.stack == []
    ids = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    described = [attributes["aria-describedby"] for _, attributes in read.tags if "aria-describedby" in attributes]
    assert set(described) == set(ids)
    return read


def test_the_page_says_everything_without_a_script() -> None:
    page = render_graph_html(residual())
    read = checked(page)
    assert page == render_graph_html(residual())
    for text in ("drops the mask", "in (mask lost)", "in (as attention_mask)", "2 of 3 True", "1 × 3 × 4"):
        assert text in read.text
    boxes = [attributes for tag, attributes in read.tags if tag == "details" and "mk-box" in str(attributes["class"])]
    assert [attributes["class"] for attributes in boxes] == ["mk-box mk-uses"]
    assert "open" in boxes[0]
    assert not [tag for tag, _ in read.tags if tag == "script"]


def test_each_line_of_the_page_goes_through_cells_that_are_there() -> None:
    page = render_graph_html(transformer(7, dropping=3))
    flows = [json.loads(str(found["data-mk-flows"])) for _, found in checked(page).tags if "data-mk-flows" in found]
    rows = re.findall(r'<ol class="mk-rows">', page)
    assert len(flows) == len(rows) == 8
    assert sum(len(level) for level in flows) == 9 + 7 * 14
    assert {flow["kind"] for level in flows for flow in level} == {"mask", "plain"}


def test_lines_of_the_page_go_from_row_to_row() -> None:
    outer = checked(
        render_graph_html(inspection([call("a"), call("b"), call("c")], [*chain(["a", "b", "c"]), *chain(["c"])]))
    ).tags
    flows = next(json.loads(str(found["data-mk-flows"])) for _, found in outer if "data-mk-flows" in found)
    cells = [str(found["style"]) for tag, found in outer if tag == "li" and "style" in found]
    rows = [int(re.findall(r"grid-row:(\d+)", style)[0]) for style in cells]
    assert sorted([rows[cell] for cell in flow["route"]] for flow in flows) == [
        [1, 2],
        [1, 2, 3, 4],
        [2, 3],
        [3, 4],
        [4, 5],
    ]


def test_where_the_mask_is_dropped_is_open_however_large_the_model() -> None:
    read = checked(render_graph_html(transformer(30, dropping=20)))
    boxes = ["open" in found for tag, found in read.tags if tag == "details" and "mk-box" in str(found["class"])]
    assert boxes[20]
    assert sum(boxes) <= 3


def test_ids_of_several_graphs_on_one_page_differ() -> None:
    checked(render_graph_html(residual(), "a") + render_graph_html(residual(), "b"))


def test_style_and_script_can_stand_in_a_page() -> None:
    assert "</" not in STYLE
    assert "</" not in SCRIPT
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", STYLE + SCRIPT)


# Mermaid.


def arrows(chart: str) -> list[tuple[str, str]]:
    nodes = set(re.findall(r"^ +(?:subgraph )?(n\d+)[\[({]", chart, re.M))
    found: list[tuple[str, str]] = ARROW.findall(chart)
    containers = set(re.findall(r"^ +subgraph (n\d+)", chart, re.M))
    assert {node for arrow in found for node in arrow} <= nodes - containers
    assert len(re.findall(r"^ +end$", chart, re.M)) == len(containers)
    styled = [int(number) for line in re.findall(r"linkStyle ([\d,]+)", chart) for number in line.split(",")]
    assert sorted(styled) == list(range(len(found)))
    assert len(chart) < 50_000
    assert len(found) <= MOST_EDGES
    return found


def test_mermaid_draws_lines_into_containers() -> None:
    assert render_mermaid(residual()) == "\n".join(
        (
            "flowchart TD",
            '  n0(["input tokens"]):::input',
            '  n1["not_equal<br/>Dense<br/>◇ computes a mask"]:::computes',
            '  n2[["embedding<br/>Embedding<br/>✚ creates the mask"]]:::creates',
            '  subgraph n3["block · Functional · ● uses it"]',
            '    n4["attention<br/>MultiHeadAttention<br/>● uses it"]:::uses',
            '    n5{{"add<br/>Add<br/>✖ drops the mask"}}:::drops',
            "  end",
            '  n6["dense<br/>Dense<br/>○ no mask"]:::none',
            '  n7(["output output"]):::output',
            "  n0 --> n1",
            "  n0 --> n2",
            "  n2 -.-> n5",
            "  n5 -.-> n6",
            "  n6 -.-> n7",
            "  n2 ==> n4",
            "  n4 ==> n5",
            '  n1 -->|"attention_mask"| n4',
            "  classDef creates fill:#e3f4ee,color:#1f2328,stroke:#00775a,stroke-width:1.5px",
            "  classDef uses fill:#e3f4ee,color:#1f2328,stroke:#00775a,stroke-width:2px",
            "  classDef drops fill:#fdeae2,color:#1f2328,stroke:#c2410c,stroke-width:3.5px",
            "  classDef computes fill:#ffffff,color:#1f2328,stroke:#7b3fa0,stroke-width:1.25px,stroke-dasharray:2 3",
            "  classDef none fill:#ffffff,color:#1f2328,stroke:#8b949e,stroke-width:1.25px",
            "  classDef input fill:#eef1f4,color:#1f2328,stroke:#57606a,stroke-width:1.25px",
            "  classDef output fill:#eef1f4,color:#1f2328,stroke:#57606a,stroke-width:1.25px",
            "  linkStyle 0,1 stroke:#8b949e,stroke-width:1.25px",
            "  linkStyle 2,3,4 stroke:#c2410c,stroke-width:2px",
            "  linkStyle 5,6 stroke:#00775a,stroke-width:4px",
            "  linkStyle 7 stroke:#7b3fa0,stroke-width:2.25px",
            "",
        )
    )


def test_what_a_container_makes_in_its_own_code_comes_from_its_port() -> None:
    edges = [
        Edge("tokens", "own", from_input=True),
        Edge("own", "own/dense"),
        Edge("own/dense", "own"),
        Edge("own", "last"),
    ]
    chart = render_mermaid(inspection([call("own"), call("own/dense"), call("last")], edges))
    names = dict(re.findall(r'^ +(n\d+)\W+"(?:<br/>)?(\w+)', chart, re.M))
    assert [(names[source], names[target]) for source, target in arrows(chart)] == [
        ("input", "in"), ("in", "dense"), ("dense", "out"), ("out", "last"),
    ]  # fmt: skip


@given(graphs())
def test_mermaid_has_a_node_for_each_end_of_a_line(made: tuple[list[Call], list[Edge]]) -> None:
    arrows(render_mermaid(inspection(made[0], [dataclasses.replace(edge, from_input=False) for edge in made[1]])))


def test_a_large_model_is_folded_until_github_draws_it() -> None:
    chart = render_mermaid(transformer(60, dropping=30))
    found = arrows(chart)
    assert len(found) > MOST_EDGES - 30
    opened = re.findall(r'subgraph n\d+\["encoder_(\d+)', chart)
    assert "0" in opened
    assert "30" in opened
    assert "13 calls inside" in chart


def test_what_does_not_fit_even_so_is_left_out_in_the_middle() -> None:
    paths = [f"layer_{number}" for number in range(900)]
    chart = render_mermaid(inspection([call(path, "passes") for path in paths], chain(paths)))
    found = arrows(chart)
    left_out = int(re.findall(r"⋮<br/>(\d+) left out", chart)[0])
    assert left_out == 902 - 480
    assert len(found) == MOST_EDGES
    assert "layer_0<br/>" in chart
    assert "layer_899<br/>" in chart
    assert "layer_450<br/>" not in chart


def test_a_node_is_told_by_where_it_is_and_not_by_its_name_alone() -> None:
    same = inspection([call("tokens"), call("output")], chain(["tokens", "output"]))
    assert arrows(render_mermaid(same)) == [("n0", "n1"), ("n1", "n2"), ("n2", "n3")]
    assert Node("call", "a/b").name == "b"


def test_a_call_that_uses_the_mask_and_loses_it_is_the_one_that_drops_it() -> None:
    trace = [
        call("embedding", "creates", type="Embedding"),
        call("first", "uses", takes_off=True),
        call("second", "none", lost_at="first"),
    ]
    edges = [Edge("tokens", "embedding", from_input=True), Edge("embedding", "first", mask=MASK)]
    edges += [Edge("embedding", "second", lost=True), Edge("second", "output", to_output=True, lost=True)]
    seen = inspection(trace, edges)
    svg, page, mermaid = render_graph_svg(seen).decode(), render_graph_html(seen), render_mermaid(seen)
    for drawn in (svg, page, mermaid):
        assert "uses it, and loses it" in drawn
    assert 'class="mk-node mk-drops"' in page
    assert "calls behind it lack the mask" in page
    assert re.search(r'"first.*:::drops', mermaid)
