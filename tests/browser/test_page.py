from __future__ import annotations

import json
import re
import shlex
from typing import Any

import numpy as np
import pytest

from tests.browser.conftest import until
from tests.browser.models import SCRIPT

pytestmark = pytest.mark.slow(share=1 / 2)

NAMES = ("sample", "unmasked", "tagger", "transformer", "hostile")
SECTIONS = ("verdict", "batch", "graph", "outputs", "leaks", "future", "loss", "attention", "about")
ABSENT = {
    "sample": {"attention"},
    "unmasked": {"attention"},
    "tagger": {"attention"},
    "transformer": {"loss"},
    "hostile": {"loss", "attention"},
}
"""Sections that a report has no content for."""
CELLS = ".mark-rect.role-mark path"


@pytest.mark.parametrize("name", NAMES)
def test_every_section_has_content(visit: Any, name: str) -> None:
    page = visit(name)
    assert page.locator("svg.marks").count() == page.locator("figure.chart").count() >= 3
    sections = [section for section in SECTIONS if section not in ABSENT[name]]
    assert page.evaluate("[...document.querySelectorAll('main > section')].map((one) => one.id)") == sections
    assert page.evaluate("[...document.querySelectorAll('nav a')].map((one) => one.hash.slice(1))") == sections
    for section in sections:
        content = page.locator(f"#{section}")
        assert content.locator("h2").inner_text()
        assert len(content.locator(".lead").inner_text()) > 40
        assert content.locator("figure svg, table, .card, .mk-graph, .versions").count()
    assert page.locator("main").count() == page.locator("h1").count() == 1
    assert page.evaluate("document.documentElement.lang") == "en"
    assert page.title() == f"{page.locator('.facts b').text_content()} – mask report"


def test_policy_forbids_requests(visit: Any) -> None:
    page = visit("sample")
    policy = page.locator("meta[http-equiv=Content-Security-Policy]").get_attribute("content")
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe-eval" not in policy
    assert not re.search(r"script-src[^;]*unsafe-inline", policy)
    outward = page.locator("[src], link, base, a:not([href^='#'])").count()
    assert outward == 0


def test_charts_show_the_record(visit: Any, reports: Any) -> None:
    page, inspection = visit("sample"), reports("sample").report.inspection
    valid = inspection.valid
    cells = page.locator(f"#chart-batch {CELLS}")
    assert cells.count() == valid.size
    marks = page.locator("#chart-batch .mark-symbol.role-mark path[stroke]").count()
    assert marks >= int((~valid).sum()) + 1  # And one in the legend.
    assert page.locator(f"#chart-losses {CELLS}").count() == reports("sample").report.loss.first.per_timestep.size


def test_hover_shows_token_and_position(visit: Any, reports: Any) -> None:
    page, batch = visit("sample"), reports("sample").report.inspection.batch
    for sample, timestep in ((1, 2), (2, 4)):
        _points(page, batch, sample, timestep)


def _points(page: Any, batch: Any, sample: int, timestep: int) -> None:
    box = page.locator("#chart-batch .box")
    box.focus()
    page.keyboard.press("Home")
    for key, times in (("ArrowDown", sample), ("ArrowRight", timestep)):
        for _ in range(times):
            page.keyboard.press(key)
    cell = page.locator("#chart-batch .cursor").bounding_box()
    page.mouse.move(cell["x"] + cell["width"] / 2, cell["y"] + cell["height"] / 2)
    tip = page.locator("#vg-tooltip-element.visible")
    tip.wait_for()
    until(page, "(row) => document.querySelector('#vg-tooltip-element .value').textContent === row", str(sample))
    facts = dict(
        tip.locator("tr").evaluate_all("(rows) => rows.map((row) => [...row.cells].map((one) => one.textContent))")
    )
    assert facts["sample"] == str(sample)
    assert facts["timestep"] == str(timestep)
    assert facts["token"] == str(batch.tokens[sample, timestep])
    assert facts["it is"] == ("valid" if batch.mask[sample, timestep] else "padding")
    readout = page.locator("#chart-batch .readout").inner_text()
    assert readout == ", ".join(f"{name} {value}" for name, value in facts.items())


def test_selectors_change_the_chart_and_its_siblings(visit: Any, reports: Any) -> None:
    page, report = visit("tagger"), reports("tagger").report
    sample = page.get_by_label("sample, Output of")
    sample.fill("1")
    until(page, "document.querySelector('#chart-leaks input').value === '1'")
    before = page.locator("#chart-outputs svg").inner_html()
    sample.focus()
    page.keyboard.press("ArrowRight")
    until(page, "(before) => document.querySelector('#chart-outputs svg').innerHTML !== before", before)
    until(page, "document.querySelector('#chart-leaks input').value === '2'")
    assert page.locator("#chart-leaks .vega-bind span").last.inner_text() == "2"
    values = report.inspection.outputs[0].values
    for feature in (0, 1, 2, 1):
        page.get_by_label("feature, Output of").fill(str(feature))
        until(
            page,
            f"document.querySelector('#chart-outputs .vega-bind:last-child span:last-child').textContent === '{feature}'",
        )
        for timestep in (0, 5):
            facts = _reads(page, "outputs", "Home", *["ArrowRight"] * timestep)
            assert facts["token"] == str(report.inspection.batch.tokens[2, timestep])
            assert float(facts["with the mask"].replace("\N{MINUS SIGN}", "-")) == pytest.approx(
                values[2, timestep, feature], rel=1e-4
            )


def test_page_opens_at_the_worst_sample(visit: Any, reports: Any) -> None:
    """Each chart shows the row of the largest leak, and a link in the finding leads back to it."""
    page, worst = visit("tagger"), reports("tagger").report.check.leak.sample
    samples = page.get_by_label(re.compile("^sample, "))
    assert worst is not None
    assert [item.input_value() for item in samples.all()] == [str(worst)] * 2
    samples.first.fill(str(worst + 1))
    until(page, f"document.querySelector('#chart-leaks input').value === '{worst + 1}'")
    page.get_by_role("link", name=f"Show sample {worst}").press("Enter")
    until(page, f"[...document.querySelectorAll('.vega-bind input')][0].value === '{worst}'")
    until(page, f"document.querySelector('#chart-leaks input').value === '{worst}'")
    assert page.url.endswith("#leaks")


def test_finding_points_at_its_call(visit: Any, reports: Any) -> None:
    """The link opens the boxes around the call."""
    page = visit("transformer")
    page.evaluate("document.querySelectorAll('#graph details').forEach((box) => { box.open = false; })")
    page.get_by_role("link", name="Show the call in the graph").first.press("Enter")
    finding = reports("transformer").report.check.findings[0]
    call = page.evaluate("document.activeElement.parentElement.dataset.mkCall")
    assert call == finding.call
    assert page.locator(".pointed").is_visible()


def test_chart_becomes_narrow_and_keeps_its_sample(visit: Any) -> None:
    page = visit("tagger", width=1280)
    page.get_by_label("sample, Output of").fill("2")
    for width, test in ((390, "< 400"), (1280, "> 600")):
        page.set_viewport_size({"width": width, "height": 800})
        until(page, f"document.querySelector('#chart-outputs svg')?.getAttribute('width') {test}")
        until(page, "document.querySelector('#chart-outputs input')?.value === '2'")
    assert page.get_by_label("sample, Output of").count() == 1


@pytest.mark.parametrize("name", ["sample", "tagger", "transformer"])
def test_charts_fill_their_column(visit: Any, name: str) -> None:
    """Text stands next to the chart, and the legend is smaller than the chart."""
    page = visit(name, width=1400)
    for chart in page.locator("figure.chart").all():
        width, column = (chart.locator(part).first.bounding_box()["width"] for part in ("svg", ".box"))
        assert width >= 0.8 * column, chart.get_attribute("id")
        assert width <= column + 1
    lead, chart = (page.locator(f"#batch {part}").bounding_box() for part in (".lead", ".chart"))
    assert lead["x"] + lead["width"] < chart["x"]
    assert lead["y"] < chart["y"] + chart["height"]


def test_page_of_eight_rows_is_short(visit: Any) -> None:
    page = visit("tagger", width=1400)
    assert page.evaluate("document.documentElement.scrollHeight") < 5_500


def test_phone_shows_that_parts_scroll(visit: Any) -> None:
    """What is cut off fades, and a line below says so; both disappear when nothing is cut off."""
    page = visit("transformer", width=390)
    cut = "[...document.querySelectorAll('main .mk-scroll, main .box')].filter((part) => part.checkVisibility())"
    state = f"""{cut}.map((part) => [part.scrollWidth > part.clientWidth + 2, part.classList.contains('after')
        || part.classList.contains('before'), Boolean(part.nextElementSibling?.matches('.hint:not([hidden])'))])"""
    until(page, f"{state}.every(([cut, fades, hint]) => cut === fades && cut === hint)")
    assert page.evaluate(f"{state}.filter(([cut]) => cut).length") >= 2
    graph = page.locator("#graph .mk-graph .mk-scroll")
    graph.evaluate("(part) => { part.scrollLeft = part.scrollWidth; }")
    until(page, "document.querySelector('.mk-graph .mk-scroll').matches('.before:not(.after)')")


def _reads(page: Any, chart: str, *keys: str) -> dict[str, str]:
    page.locator(f"#chart-{chart} .box").focus()
    for key in keys:
        page.keyboard.press(key)
    facts = page.locator(f"#chart-{chart} .readout").inner_text()
    return {item.rpartition(" ")[0]: item.rpartition(" ")[2] for item in facts.split(", ")}


def test_charts_of_outputs_share_a_sample(visit: Any) -> None:
    page = visit("transformer")
    samples = page.get_by_label("sample, Output")
    assert samples.count() == 2
    samples.first.focus()
    page.keyboard.press("Home")
    for value in ("1", "2"):
        page.keyboard.press("ArrowRight")
        until(page, f"document.querySelector('#chart-outputs-1 input').value === '{value}'")


# The keyboard.

REACHABLE = """() => [...document.querySelectorAll(
    'a[href], button, input, select, summary, [tabindex="0"]')].filter((one) =>
    one.checkVisibility({visibilityProperty: true, contentVisibilityAuto: true}) && !one.disabled)
    .forEach((one, number) => { one.dataset.stop = number; })"""


@pytest.mark.parametrize("name", ["sample", "transformer"])
def test_tab_reaches_everything_in_order(visit: Any, name: str) -> None:
    page = visit(name)
    page.evaluate(REACHABLE)
    expected = page.locator("[data-stop]").count()
    stops = []
    for _ in range(expected):
        page.keyboard.press("Tab")
        stops.append(page.evaluate("document.activeElement.dataset.stop"))
    assert stops == [str(number) for number in range(expected)]
    assert expected > 25


def test_arrow_keys_move_in_a_chart(visit: Any, reports: Any) -> None:
    page, batch = visit("sample"), reports("sample").report.inspection.batch
    box, readout = page.locator("#chart-batch .box"), page.locator("#chart-batch .readout")
    page.locator("#chart-batch .box").focus()
    rows, columns = batch.tokens.shape
    page.keyboard.press("Home")
    for row in range(rows):
        for column in range(columns):
            expected = f"sample {row}, timestep {column}, token {batch.tokens[row, column]}, "
            assert readout.inner_text().startswith(expected)
            page.keyboard.press("ArrowRight")
        assert readout.inner_text().startswith(f"sample {row}, timestep {columns - 1}, ")
        for _ in range(columns - 1):
            page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowDown")
    page.keyboard.press("End")
    assert readout.inner_text().startswith(f"sample {rows - 1}, timestep {columns - 1}, ")
    page.keyboard.press("Escape")
    assert readout.inner_text() == ""
    assert page.locator(".cursor").count() == 0
    assert not box.evaluate("(one) => one === document.activeElement")


@pytest.mark.parametrize("name", ["tagger", "transformer"])
def test_charts_work_by_keyboard(visit: Any, name: str) -> None:
    page = visit(name)
    for chart in page.locator("figure.chart").all():
        chart.locator(".box").focus()
        page.keyboard.press("ArrowRight")
        first = chart.locator(".readout").inner_text()
        page.keyboard.press("End")
        last = chart.locator(".readout").inner_text()
        assert first, chart.get_attribute("id")
        assert last != first or len(chart.locator(CELLS).all()) == 1, chart.get_attribute("id")
        assert chart.locator(".cursor").bounding_box()["width"] > 3


def test_graph_folds_by_keyboard(visit: Any) -> None:
    page = visit("transformer")
    box = page.locator("#graph details.mk-box").first
    was = box.evaluate("(one) => one.open")
    box.locator("> summary").focus()
    page.keyboard.press("Enter")
    assert box.evaluate("(one) => one.open") is not was
    page.keyboard.press("Enter")
    assert box.evaluate("(one) => one.open") is was
    assert "look" in page.locator("#graph").inner_text()


def test_unfolded_call_keeps_its_lines_lit(visit: Any) -> None:
    """Its lines stay highlighted, and nothing covers its facts."""
    page = visit("transformer")
    node = page.locator("#graph details.mk-node").first
    summary, tip = node.locator("> summary"), node.locator("> summary > .mk-tip")
    summary.hover()
    lit = page.locator("#graph .mk-on").count()
    assert lit
    assert tip.is_visible()
    summary.click()
    assert node.locator("dl").is_visible()
    assert not tip.is_visible()
    page.wait_for_timeout(100)  # The page redraws the lines.
    assert page.locator("#graph .mk-on").count() == lit


def test_links_lead_to_sections(visit: Any) -> None:
    page = visit("sample")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.locator("nav a[href='#loss']").focus()
    page.keyboard.press("Enter")
    until(page, "document.querySelector('nav [aria-current]').hash === '#loss'")


def test_navigation_unfolds_on_a_phone(visit: Any) -> None:
    page = visit("sample", width=390)
    button, link = page.get_by_role("button", name="Sections"), page.locator("nav a[href='#about']")
    assert not link.is_visible()
    button.focus()
    page.keyboard.press("Enter")
    assert link.is_visible()
    assert button.get_attribute("aria-expanded") == "true"
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    assert not link.is_visible()
    button.press("Enter")
    link.press("Enter")
    assert not link.is_visible()
    assert page.url.endswith("#about")


# Buttons.


@pytest.mark.parametrize(("scheme", "opposite"), [("light", "dark"), ("dark", "light")])
def test_theme_follows_system_and_button(visit: Any, scheme: str, opposite: str) -> None:
    page = visit("sample", color_scheme=scheme)
    first = _colors(page)
    assert (_light(first["paper"]) > 0.5) is (scheme == "light")
    button = page.get_by_role("button", name="Switch between light and dark")
    assert button.inner_text().lower() == opposite
    button.press("Enter")
    second = _colors(page)
    assert button.inner_text().lower() == scheme
    for colors in (first, second):
        assert all(
            abs(_light(colors[name]) - _light(colors["paper"])) > 0.5 for name in ("ink", "chart", "table", "graph")
        )
    assert _colors(visit("sample", color_scheme=opposite)) == second


def _colors(page: Any) -> dict[str, str]:
    return page.evaluate("""() => {
        const of = (selector, name) => getComputedStyle(document.querySelector(selector))[name];
        return {paper: of('body', 'backgroundColor'), ink: of('h1', 'color'), chart: of('#chart-batch svg text', 'fill'),
                table: of('#leaks td', 'color'), graph: of('.mk-graph', 'color'), mask: of('.mk-graph b', 'color')};
    }""")


def _light(color: str) -> float:
    return float(np.mean([int(part) for part in re.findall(r"\d+", color)[:3]]) / 255)


def test_buttons_copy_by_keyboard(visit: Any, reports: Any) -> None:
    page = visit("tagger", permissions=["clipboard-read", "clipboard-write"])
    findings = reports("tagger").report.check.findings
    buttons = page.locator("#verdict .copy")
    assert buttons.count() == len(findings) >= 2
    for button, finding in zip(buttons.all(), findings, strict=True):
        button.focus()
        page.keyboard.press("Enter")
        until(page, "document.activeElement.classList.contains('done')")
        code = page.evaluate("navigator.clipboard.readText()")
        expected = finding.repair.code.strip() if finding.repair else f"`{code}`"
        assert expected in (code if finding.repair else finding.fix)
        until(page, "document.getElementById('heard').textContent === 'Copied'")


def test_command_line_can_be_pasted(visit: Any) -> None:
    page = visit("sample", permissions=["clipboard-read", "clipboard-write"])
    page.locator("#about .copy").press("Enter")
    until(page, "document.querySelector('#about .copy').classList.contains('done')")
    assert (
        page.evaluate("navigator.clipboard.readText()")
        == "maskcli report sample_data/sample.txt --output 'my report.html'"
    )


@pytest.mark.parametrize("name", ["sample", "hostile"])
def test_data_is_saved_unchanged(visit: Any, reports: Any, name: str) -> None:
    page = visit(name)
    with page.expect_download() as download:
        page.locator("#save").press("Enter")
    assert download.value.suggested_filename == "maskcli-report.json"
    assert download.value.path().read_bytes() == reports(name).document


# For everyone.


@pytest.mark.parametrize(
    ("name", "scheme"), [("sample", "light"), ("sample", "dark"), ("tagger", "dark"), ("transformer", "light")]
)
def test_axe_finds_no_serious_fault(visit: Any, name: str, scheme: str) -> None:
    from axe_playwright_python.base import AXE_FILE_PATH

    page = visit(name, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.evaluate(AXE_FILE_PATH.read_text("utf-8"))
    content = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    facts = [
        f"{fault['impact']} {fault['id']}: {fault['help']} {[node['html'][:120] for node in fault['nodes'][:3]]}"
        for fault in content
        if fault["impact"] in ("serious", "critical")
    ]
    assert facts == []


@pytest.mark.parametrize("name", ["sample", "transformer", "hostile"])
def test_nothing_scrolls_sideways(visit: Any, name: str) -> None:
    page = visit(name)
    for unfolded in (False, True):
        page.evaluate("(open) => document.querySelectorAll('.tables').forEach((one) => { one.open = open; })", unfolded)
        for width in (390, 600, 800, 1024, 1280, 1600):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (width, unfolded)
            assert page.evaluate(
                "[...document.querySelectorAll('main > section')].every((one) => one.scrollWidth <= innerWidth)"
            )


@pytest.mark.parametrize("name", ["sample", "tagger", "transformer"])
def test_short_charts_fit_a_phone(visit: Any, name: str) -> None:
    page = visit(name, width=390)
    for width in (390, 900, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        boxes = "[...document.querySelectorAll('.chart:not(#chart-outputs) .box')]"
        cut = f"{boxes}.filter((one) => one.scrollWidth > one.clientWidth).length"
        until(page, f"{cut} === 0")


def test_names_stay_text(visit: Any, reports: Any) -> None:
    page = visit("hostile")
    assert page.locator(".facts b").text_content() == f'"{SCRIPT}'
    assert f"conv{SCRIPT}" in page.locator("#graph").inner_text()
    text = page.locator("main").inner_text()
    assert "</script><img src=x onerror=alert(2)>\"'`|" in text
    assert page.locator("img, main b:not(.mk-graph b, .facts b)").count() == 0
    line = page.locator("#about pre").inner_text()
    assert line == shlex.join(reports("hostile").report.origin.command).replace("\u2028", " ")
    titles = page.locator("#leaks figcaption").all_inner_texts()
    assert any("</script><img" in title for title in titles)
    assert any('<script type="' in title for title in titles)
    kinds = page.evaluate("[...document.scripts].map((one) => one.type || 'own')")
    assert kinds.count("own") == 1
    assert set(kinds) == {"own", "module", "application/json"}


def test_tables_work_without_scripts(visit: Any) -> None:
    page = visit("sample", java_script_enabled=False)
    assert page.locator("noscript p").is_visible()
    assert not page.locator("figure.chart").first.is_visible()
    assert not page.locator("#theme").is_visible()
    assert page.locator("nav a").first.is_visible()
    page.locator("#batch summary").click()
    assert page.locator("#batch table").is_visible()
    assert "3215" in page.locator("#batch table").inner_text()
    assert "creates" in page.locator("#graph").inner_text()


def test_print_shows_everything_in_light(visit: Any) -> None:
    page = visit("sample", color_scheme="dark")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert not page.locator("header.bar").is_visible()
    assert not page.locator("#save").is_visible()
    assert all(item.is_visible() for item in page.locator(".tables table").all())
    assert _light(_colors(page)["paper"]) > 0.9 > 0.3 > _light(_colors(page)["chart"])
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.emulate_media(media="screen")
    assert page.locator("details.tables[open]").count() == 0
    assert _light(_colors(page)["paper"]) < 0.3
    assert len(page.pdf(format="A4")) > 20_000


APART = """() => [...document.querySelectorAll('.mk-level')].filter((one) => one.checkVisibility()).flatMap((level) => {
    const rows = level.querySelector(':scope > .mk-rows').children;
    return [...level.querySelectorAll(':scope > .mk-lines > g')].map((line) => {
        const path = line.querySelector('.mk-line'), [, target] = line.dataset.ends.split(' ');
        const end = path.getPointAtLength(path.getTotalLength()).matrixTransform(path.getScreenCTM());
        return Math.abs(end.y - rows[target].firstElementChild.getBoundingClientRect().top);
    });
})"""


def test_print_scales_wide_elements(visit: Any) -> None:
    """Lines of the graph still end at their calls."""
    page = visit("transformer")
    graph = page.locator("#graph .mk-scroll > .mk-level")
    was = page.evaluate("[...document.querySelectorAll('main .mk-scroll > *')].map((one) => one.style.cssText)")
    graph.evaluate("(one) => { one.style.paddingRight = '1500px'; }")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 690, "height": 900})
    page.wait_for_timeout(100)
    widths = page.evaluate(
        "[...document.querySelectorAll('main .mk-scroll > *')].map((one) => one.getBoundingClientRect().width)"
    )
    assert 0 < max(widths) <= 690
    ends = page.evaluate(APART)
    assert len(ends) > 10
    assert max(ends) < 10
    assert graph.evaluate("(one) => one.style.contain") == "size"
    page.set_viewport_size({"width": 1280, "height": 900})
    page.emulate_media(media="screen")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("[...document.querySelectorAll('main .mk-scroll > *')].map((one) => one.style.cssText)") == was


# The document within.


@pytest.mark.slow(share=2 / 5)
@pytest.mark.parametrize("name", NAMES)
def test_document_is_embedded_unchanged(reports: Any, name: str) -> None:
    from maskcli.render.page.embedding import extract_document

    item = reports(name)
    page = item.path.read_bytes()
    assert extract_document(page) == item.document
    script = re.search(rb'<script type="application/json" id="maskcli-report">(.*?)</script>', page, re.DOTALL)
    assert script is not None
    assert json.loads(script[1]) == json.loads(item.document)
    assert len(page) <= 1_500_000


def test_page_without_document() -> None:
    from maskcli.render.page.embedding import extract_document

    for second in (
        b"",
        b"<p>maskcli-report</p>",
        b'<script type="application/json" id="maskcli-report">{',
        b"\xff\xfe",
    ):
        assert extract_document(second) is None
    assert extract_document(b'<script type="application/json" id="maskcli-report">\xff</script>') is None


def test_page_is_reproducible(reports: Any) -> None:
    from maskcli.render.page import render_page

    item = reports("tagger")
    assert render_page(item.report, item.document) == item.path.read_bytes()
