"""The graph of a model: levels, layout, folding, and the texts of picture, page and Mermaid."""

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


def call(path: str, effect: str = "none", **changes: Any) -> Call:
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
    return Call(call=path, effect=effect, **{**fields, **changes})


def inspection(trace: Sequence[Call], edges: Sequence[Edge], **changes: Any) -> Inspection:
    tokens = ModelInput("tokens", np.array([[1, 2, 0]]), MASK, "ids")
    fields: dict[str, Any] = {field.name: None for field in dataclasses.fields(Inspection)}
    fields |= {"model": ModelAbout("tagger.keras", "file", "Functional"), "inputs": (tokens,), "remarks": ()}
    fields |= {"outputs": (OutputValues("dense", np.ones((1, 3, 4)), None, None),), "trace": tuple(trace)}
    return Inspection(**{**fields, "edges": tuple(edges), **changes})


def chain(paths: Sequence[str], mask: Any = MASK) -> list[Edge]:
    """Return edges from the input through calls to the output."""
    between = [Edge(source, target, mask=mask) for source, target in itertools.pairwise(paths)]
    return [Edge("tokens", paths[0], from_input=True), *between, Edge(paths[-1], "output", to_output=True, mask=mask)]


def residual() -> Inspection:
    """Return a residual block: its addition drops the mask, its attention receives one as an argument."""
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
    """Return equal blocks of 14 calls; the block ``dropping`` drops the mask."""
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
    """Return nested calls and edges between any of them, including containers."""
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


def list_levels(level: Level) -> list[Level]:
    return [level, *(inner for node in level.nodes if node.level for inner in list_levels(node.level))]


def locate_end(ref: Ref, container: str) -> str:
    """Return the place of an edge's end on the level of a container, from its path only."""
    place, path = ref
    if place != "call":
        return "outside" if container else f"{place} {path}"
    if path == container:
        return "own code"
    inside = f"{container}/" if container else ""
    if not path.startswith(inside):
        return "outside"
    return f"call {inside}{path.removeprefix(inside).split('/')[0]}"


def predict_pair(edge: Edge, container: str) -> tuple[str, str] | None:
    """Return the ends of an edge on the level of a container; None if the edge does not touch its inside."""
    source, target = (locate_end(ref, container) for ref in find_ends(edge))
    if source == target or {source, target} <= {"outside", "own code"}:
        return None
    source = f"in {container}" if source in ("outside", "own code") else source
    return source, f"out {container}" if target in ("outside", "own code") else target


@given(graphs())
def test_edge_is_on_exactly_the_levels_it_crosses(record: tuple[list[Call], list[Edge]]) -> None:
    trace, edges = record
    for level in list_levels(lift_levels(trace, edges, ["in"], ["out"])):
        names = [f"{node.place} {node.path}" for node in level.nodes]
        pairs = {
            (position, (names[flow.source], names[flow.target])) for flow in level.flows for position in flow.edges
        }
        predicted = ((position, predict_pair(edge, level.path)) for position, edge in enumerate(edges))
        assert pairs == {(position, pair) for position, pair in predicted if pair is not None}
        assert len(pairs) == sum(len(flow.edges) for flow in level.flows)


@given(graphs())
def test_flow_has_the_kind_of_its_arriving_edges(record: tuple[list[Call], list[Edge]]) -> None:
    trace, edges = record
    for level in list_levels(lift_levels(trace, edges, ["in"], ["out"])):
        for (_, target), flows in itertools.groupby(level.flows, key=lambda flow: (flow.source, flow.target)):
            group = list(flows)
            crossing = [edges[position] for flow in group for position in flow.edges]
            ref = level.nodes[target].ref
            arriving = [edge for edge in crossing if find_ends(edge)[1] == ref] if ref[0] != "out" else []
            if arriving:
                assert {flow.kind for flow in group} == {classify_edge(edge) for edge in arriving}
            assert {flow.kind for flow in group} <= {classify_edge(edge) for edge in crossing}


@given(graphs())
def test_folding_keeps_every_path(record: tuple[list[Call], list[Edge]]) -> None:
    trace, edges = record
    root = lift_levels(trace, edges, ["in"], ["out"])
    above = {node.ref: position for position, node in enumerate(root.nodes)}

    def outermost(ref: Ref) -> int:
        return above[ref if ref[0] != "call" else ("call", ref[1].split("/")[0])]

    reach = {position: find_reached(position, root) for position in range(len(root.nodes))}
    for edge in edges:
        source, target = map(outermost, find_ends(edge))
        assert target in reach[source]


def find_reached(start: int, level: Level) -> set[int]:
    nodes, left = {start}, [start]
    while left:
        at = left.pop()
        new = {flow.target for flow in level.flows if flow.source == at} - nodes
        nodes |= new
        left += new
    return nodes


def test_mask_argument_is_named_where_it_arrives() -> None:
    record = residual()
    root = lift_levels(record.trace, record.edges, ["tokens"], ["output"])
    block = next(node.level for node in root.nodes if node.name == "block")
    assert block is not None
    outer = [flow for flow in root.flows if root.nodes[flow.source].name == "not_equal"]
    inner = [flow for flow in block.flows if flow.kind == "argument"]
    assert [(flow.kind, flow.arguments) for flow in outer] == [("argument", ())]
    assert [(flow.kind, flow.arguments) for flow in inner] == [("argument", ("attention_mask",))]
    assert [node.name for node in block.nodes] == ["in", "attention", "add", "out"]
    carried = [flow for flow in root.flows if root.nodes[flow.source].name == "embedding"]
    assert [(flow.kind, flow.edges) for flow in carried] == [("mask", (2, 3, 5))]


# Layout.


@given(graphs())
def test_cells_do_not_overlap_and_lines_go_down(record: tuple[list[Call], list[Edge]]) -> None:
    for level in list_levels(lift_levels(*record, ["in"], ["out"])):
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


def test_mask_is_straight_and_other_lines_pass_it() -> None:
    paths = ["attention", "dropout", "add", "norm"]
    edges = [*chain(paths), Edge("tokens", "add", from_input=True)]
    level = lift_levels([call(path, "passes") for path in paths], edges, ["tokens"], ["output"])
    layout = lay_out_level(level)
    assert len({cell.slot for cell in layout.cells if cell.node is not None}) == 1
    assert [len(row) for row in layout.layers] == [1, 2, 2, 1, 1, 1]
    assert lay_out_level(level) == layout


def test_many_residual_blocks_are_straight() -> None:
    paths, edges, last = ["embedding"], [], "embedding"
    for number in range(20):
        block = [f"{name}_{number}" for name in ("norm", "attention", "dropout", "add")]
        edges += [Edge(source, target, mask=MASK) for source, target in itertools.pairwise([last, *block])]
        edges.append(Edge(last, block[-1], mask=MASK))
        paths, last = [*paths, *block], block[-1]
    edges = [Edge("tokens", "embedding", from_input=True), *edges, Edge(last, "output", to_output=True, mask=MASK)]
    layout = lay_out_level(lift_levels([call(path, "passes") for path in paths], edges, ["tokens"], ["output"]))
    assert len({cell.slot for cell in layout.cells if cell.node is not None}) == 1
    assert layout.slots == 4


def test_mask_for_many_calls_is_one_line_with_branches() -> None:
    paths = [f"lstm_{number}" for number in range(6)]
    arguments = [Edge("not_equal", path, mask=MASK, argument="mask") for path in paths]
    edges = [Edge("tokens", "not_equal", from_input=True), *chain(paths), *arguments]
    layout = lay_out_level(lift_levels([call(path) for path in ("not_equal", *paths)], edges, ["tokens"], ["output"]))
    ways = [route[1:-1] for route in layout.routes if route[0] == 1]
    assert all(longer[: len(way)] == way for way, longer in itertools.pairwise(sorted(ways, key=len)))


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(1, 9)), min_size=1, max_size=9))
def test_spread_moves_cells_as_little_as_possible(goals: list[tuple[int, int]]) -> None:
    places, pull = [float(place) for place, _ in goals], [weight for _, weight in goals]
    spread = layouts._spread(places, pull)
    assert all(right - left > 1 - 1e-9 for left, right in itertools.pairwise(spread))
    assert layouts._spread(spread, pull) == pytest.approx(spread)
    shift = sum(weight * abs(to - place) for weight, to, place in zip(pull, spread, places, strict=True))
    assert shift == pytest.approx(find_least_shift(places, pull))


def find_least_shift(places: list[float], pull: list[int]) -> float:
    """Return the smallest weighted sum of moves, found by trying all positions."""
    positions = sorted({place - position for position, place in enumerate(places)})
    best = dict.fromkeys(positions, 0.0)
    for position, (place, weight) in enumerate(zip(places, pull, strict=True)):
        lowest = itertools.accumulate((best[at] for at in positions), min)
        best = {at: least + weight * abs(at + position - place) for at, least in zip(positions, lowest, strict=True)}
    return min(best.values())


def test_missing_igraph_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "igraph", None)
    layouts._import_igraph.cache_clear()
    with pytest.raises(UsageError, match=r"pip install 'igraph>=[0-9.]+' 'vl-convert-python>=[0-9.]+'"):
        render_graph_svg(residual())
    assert render_mermaid(residual()).startswith("flowchart TD\n")


# Folding.


def test_repeated_blocks_are_folded() -> None:
    record = transformer(5, dropping=3)
    root = lift_levels(record.trace, record.edges, ["tokens"], ["output"])
    assert choose_folds(root, 150) == {"encoder_1": "encoder_0", "encoder_2": "encoder_0", "encoder_4": "encoder_0"}
    assert choose_folds(root, 20) == {f"encoder_{number}": "" for number in range(5)}
    folds = choose_folds(root, 20, keep_drops=True)
    assert "encoder_3" not in folds
    assert len(folds) == 4
    assert count_visible(root, folds) == 3 + 5 + 13


def test_deep_containers_are_folded() -> None:
    paths = ["a", "a/b", "a/b/c", "a/b/c/d"]
    record = inspection([call(path) for path in paths], chain(paths[-1:]))
    root = lift_levels(record.trace, record.edges, ["tokens"], ["output"])
    assert choose_folds(root, 150, deepest=2) == {"a/b/c": ""}
    assert b"1 call inside, not drawn" in render_graph_svg(record)


# The picture.


def list_texts(svg: bytes) -> list[str]:
    return ["".join(text.itertext()) for text in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314


def test_picture_has_every_effect_and_line() -> None:
    svg = render_graph_svg(residual())
    labels = list_texts(svg)
    for text in ("tagger.keras", "Embedding  ·  creates the mask", "Add  ·  drops the mask", "attention_mask"):
        assert text in labels
    assert svg == render_graph_svg(residual())
    sizes = [float(size) for size in re.findall(rb'font-size="([\d.]+)"', svg)]
    assert min(sizes) >= 11
    root = ET.fromstring(svg)  # noqa: S314
    lines = [path.get("stroke-dasharray") for path in root.iter("{http://www.w3.org/2000/svg}path") if path.get("d")]
    assert lines.count("7 5") == 4 + 1  # Including the one in the legend.


def test_picture_names_the_block_of_folded_ones() -> None:
    labels = list_texts(render_graph_svg(transformer(7, dropping=3)))
    assert sum(text == "layer_5" for text in labels) == 2
    assert sum(text == "13 calls inside, as in encoder_0" for text in labels) == 5


def test_picture_without_calls() -> None:
    assert "no calls" not in list_texts(render_graph_svg(inspection([], [])))
    assert "input tokens" in list_texts(render_graph_svg(inspection([], [])))


@pytest.mark.parametrize("name", [NASTY, "日本語" * 30, "x" * 5000, "\ud800"], ids=["markup", "wide", "long", "half"])
def test_names_with_markup_are_text(name: str) -> None:
    nasty = inspection([call(name, type=name, warning=name)], chain([name]), model=ModelAbout(name, "file", name))
    svg, page, chart = render_graph_svg(nasty), render_graph_html(nasty), render_mermaid(nasty)
    ET.fromstring(svg)  # noqa: S314
    assert int(re.findall(rb'width="(\d+)"', svg)[0]) < 1600
    for text in (svg.decode(), page, chart):
        assert "<script" not in text
        assert "\x1b" not in text
    parse_page(page)
    assert re.search(r'^  n1\["[^"`|<>{}%]*<br/>[^"`|<>{}%]*<br/>○ no mask"\]:::none$', chart, re.M)


# The page.


class Page(html.parser.HTMLParser):
    """Parse a page, and check that every element is closed."""

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


def parse_page(page: str) -> Page:
    read = Page()
    read.feed(page)
    assert read.stack == []
    ids = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    described = [attributes["aria-describedby"] for _, attributes in read.tags if "aria-describedby" in attributes]
    assert set(described) == set(ids)
    return read


def test_page_is_complete_without_a_script() -> None:
    page = render_graph_html(residual())
    read = parse_page(page)
    assert page == render_graph_html(residual())
    for text in ("drops the mask", "in (mask lost)", "in (as attention_mask)", "2 of 3 True", "1 × 3 × 4"):
        assert text in read.text
    boxes = [attributes for tag, attributes in read.tags if tag == "details" and "mk-box" in str(attributes["class"])]
    assert [attributes["class"] for attributes in boxes] == ["mk-box mk-uses"]
    assert "open" in boxes[0]
    assert not [tag for tag, _ in read.tags if tag == "script"]


def test_page_has_the_flows_of_every_level() -> None:
    page = render_graph_html(transformer(7, dropping=3))
    flows = [
        json.loads(str(attributes["data-mk-flows"]))
        for _, attributes in parse_page(page).tags
        if "data-mk-flows" in attributes
    ]
    rows = re.findall(r'<ol class="mk-rows">', page)
    assert len(flows) == len(rows) == 8
    assert sum(len(level) for level in flows) == 9 + 7 * 14
    assert {flow["kind"] for level in flows for flow in level} == {"mask", "plain"}


def test_page_routes_go_from_row_to_row() -> None:
    outer = parse_page(
        render_graph_html(inspection([call("a"), call("b"), call("c")], [*chain(["a", "b", "c"]), *chain(["c"])]))
    ).tags
    flows = next(
        json.loads(str(attributes["data-mk-flows"])) for _, attributes in outer if "data-mk-flows" in attributes
    )
    cells = [str(attributes["style"]) for tag, attributes in outer if tag == "li" and "style" in attributes]
    rows = [int(re.findall(r"grid-row:(\d+)", style)[0]) for style in cells]
    assert sorted([rows[cell] for cell in flow["route"]] for flow in flows) == [
        [1, 2],
        [1, 2, 3, 4],
        [2, 3],
        [3, 4],
        [4, 5],
    ]


def test_page_opens_the_block_that_drops_the_mask() -> None:
    read = parse_page(render_graph_html(transformer(30, dropping=20)))
    boxes = [
        "open" in attributes
        for tag, attributes in read.tags
        if tag == "details" and "mk-box" in str(attributes["class"])
    ]
    assert boxes[20]
    assert sum(boxes) <= 3


def test_ids_of_two_graphs_on_a_page_differ() -> None:
    parse_page(render_graph_html(residual(), "a") + render_graph_html(residual(), "b"))


def test_style_and_script_fit_into_a_page() -> None:
    assert "</" not in STYLE
    assert "</" not in SCRIPT
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", STYLE + SCRIPT)


# Mermaid.


def list_arrows(chart: str) -> list[tuple[str, str]]:
    nodes = set(re.findall(r"^ +(?:subgraph )?(n\d+)[\[({]", chart, re.M))
    arrows: list[tuple[str, str]] = ARROW.findall(chart)
    containers = set(re.findall(r"^ +subgraph (n\d+)", chart, re.M))
    assert {node for arrow in arrows for node in arrow} <= nodes - containers
    assert len(re.findall(r"^ +end$", chart, re.M)) == len(containers)
    styled = [int(number) for line in re.findall(r"linkStyle ([\d,]+)", chart) for number in line.split(",")]
    assert sorted(styled) == list(range(len(arrows)))
    assert len(chart) < 50_000
    assert len(arrows) <= MOST_EDGES
    return arrows


def test_mermaid_draws_lines_into_containers() -> None:
    assert render_mermaid(residual()) == "\n".join(
        (
            "flowchart TD",
            '  n0(["input tokens"]):::input',
            '  n1["not_equal<br/>Dense<br/>◇ computes a mask"]:::computes',
            '  n2[["embedding<br/>Embedding<br/>✚ creates the mask"]]:::creates',
            '  subgraph n3["block · Functional · ● uses the mask"]',
            '    n4["attention<br/>MultiHeadAttention<br/>● uses the mask"]:::uses',
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


def test_mermaid_uses_ports_for_own_code() -> None:
    edges = [
        Edge("tokens", "outer", from_input=True),
        Edge("outer", "outer/dense"),
        Edge("outer/dense", "outer"),
        Edge("outer", "last"),
    ]
    chart = render_mermaid(inspection([call("outer"), call("outer/dense"), call("last")], edges))
    names = dict(re.findall(r'^ +(n\d+)\W+"(?:<br/>)?(\w+)', chart, re.M))
    assert [(names[source], names[target]) for source, target in list_arrows(chart)] == [
        ("input", "in"), ("in", "dense"), ("dense", "out"), ("out", "last"),
    ]  # fmt: skip


@given(graphs())
def test_mermaid_has_a_node_for_each_end_of_a_line(record: tuple[list[Call], list[Edge]]) -> None:
    list_arrows(
        render_mermaid(inspection(record[0], [dataclasses.replace(edge, from_input=False) for edge in record[1]]))
    )


def test_mermaid_folds_a_large_model_to_the_limit() -> None:
    chart = render_mermaid(transformer(60, dropping=30))
    arrows = list_arrows(chart)
    assert len(arrows) > MOST_EDGES - 30
    opened = re.findall(r'subgraph n\d+\["encoder_(\d+)', chart)
    assert "0" in opened
    assert "30" in opened
    assert "13 calls inside" in chart


def test_mermaid_leaves_out_calls_in_the_middle() -> None:
    paths = [f"layer_{number}" for number in range(900)]
    chart = render_mermaid(inspection([call(path, "passes") for path in paths], chain(paths)))
    arrows = list_arrows(chart)
    left_out = int(re.findall(r"⋮<br/>(\d+) left out", chart)[0])
    assert left_out == 902 - 480
    assert len(arrows) == MOST_EDGES
    assert "layer_0<br/>" in chart
    assert "layer_899<br/>" in chart
    assert "layer_450<br/>" not in chart


def test_nodes_with_equal_names_are_distinct() -> None:
    same = inspection([call("tokens"), call("output")], chain(["tokens", "output"]))
    assert list_arrows(render_mermaid(same)) == [("n0", "n1"), ("n1", "n2"), ("n2", "n3")]
    assert Node("call", "a/b").name == "b"


def test_call_that_uses_and_loses_the_mask_drops_it() -> None:
    trace = [
        call("embedding", "creates", type="Embedding"),
        call("first", "uses", takes_off=True),
        call("second", "none", lost_at="first"),
    ]
    edges = [Edge("tokens", "embedding", from_input=True), Edge("embedding", "first", mask=MASK)]
    edges += [Edge("embedding", "second", lost=True), Edge("second", "output", to_output=True, lost=True)]
    record = inspection(trace, edges)
    svg, page, mermaid = render_graph_svg(record).decode(), render_graph_html(record), render_mermaid(record)
    for text in (svg, page, mermaid):
        assert "uses the mask, then drops it" in text
    assert 'class="mk-node mk-drops"' in page
    assert "later calls lack the mask" in page
    assert re.search(r'"first.*:::drops', mermaid)
