"""The check view: fits the screen, whole findings, readable code, no need for colour."""

from __future__ import annotations

import dataclasses
import io
import re
from typing import Any

import pytest
from rich.console import Console

from maskcli.records.check import CheckReport, Examination, Finding, Repair, RepairAttempt
from maskcli.records.data import DataFacts
from maskcli.records.evidence import ModelEvidence, SavingResult
from maskcli.records.leak import Leak, Probe
from maskcli.records.model import ModelAbout
from maskcli.render.documents import make_document
from maskcli.render.parts import Limits
from maskcli.render.terminal import make_file_console, render_bytes, render_text
from maskcli.render.views.check import make_prose, view

pytestmark = pytest.mark.quick

LONG = "encoder/block_with_a_long_name_3/multi_head_attention_that_goes_on/and_on_until_it_is_wider_than_any_screen"
CODE = "`x = x * keras.ops.cast(mask, x.dtype)[..., None]`"
LONG_CODE = f"`layer(x, {', '.join(f'mask_{index}=embedding.compute_mask(tokens)' for index in range(5))})`"
FACTS = DataFacts(name="tokens", shape=(2, 4), total_tokens=6, padded_timesteps=2, bucketed_timesteps=2)


def finding(severity: Any = "error", **changes: Any) -> Finding:
    defaults = {
        "code": "MSK101",
        "rule": "mask-dropped",
        "call": "conv1d",
        "type": "Conv1D",
        "message": "conv1d (Conv1D) loses the mask. " + "Padding then changes results by up to 0.324. " * 3,
        "fix": f"Zero padding before it: {CODE}, then hand it on: {LONG_CODE}.",
        "evidence": {},
    }
    return Finding(severity=severity, **(defaults | changes))


FINDINGS = (
    finding(),
    finding(code="MSK107", call=LONG, message=f"{LONG} lets padding in."),
    finding("warning", code="MSK302", call=None, type="Sequential"),
    finding("info", code="MSK006", call=None, type=None),
)
PROBES = (
    Probe("replace", True, True, 0.324, 1e-7, "conv1d", 1234, 5678, "output"),
    Probe("alone", False, why="the model takes one length only, and a copy of it with free length cannot be built"),
    Probe("columns", False, why="the model takes one length only, and a copy of it with free length cannot be built"),
    Probe("gradient", True, True, 1.234e-15, 1e-19, None, 1234, 5678, why="it means " + "something " * 12),
)
LEAKING = Leak(True, 0.324, "conv1d", 1234, 5678, PROBES, {"conv1d": 0.9})


CLEAN = Leak(False, 1e-9, None, None, None, tuple(dataclasses.replace(probe, leaks=False) for probe in PROBES), {})


def report(
    findings: tuple[Finding, ...] = FINDINGS, leak: Leak | None = LEAKING, padded: int = 7, **fields: Any
) -> CheckReport:
    model = ModelEvidence("m.keras", "Functional", padded, (16, 12_345), leak=leak, **fields)
    return CheckReport(
        model=ModelAbout("m.keras", "file", "Functional"),
        versions={"keras": "3"},
        checked=("MSK101", "MSK107"),
        findings=findings,
        passed=not findings,
        fail_on="warning",
        examination=Examination((FACTS,), model),
    )


def draw(checked: CheckReport, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    return render_text(view(checked, Limits(None, None, width)), console)


REPORTS = {
    "all": report(notes=("The optimizer was not restored " * 5,), saving=SavingResult(None, why="it raises " * 20)),
    "nothing": report((), None),
    "not run": report(leak=None, not_run="InvalidArgumentError: " + "indices out of range " * 8),
    "clean": report((), CLEAN),
    "no padding": report((), dataclasses.replace(CLEAN, leaks=None, probes=()), 0),
    "not tried": report((), dataclasses.replace(CLEAN, leaks=None, probes=PROBES[1:3])),
    "unproven": report((), dataclasses.replace(CLEAN, leaks=None, reason="the model is random")),
    "unproven ignored": dataclasses.replace(
        report((), dataclasses.replace(CLEAN, leaks=None, reason="the model is random")), ignored=("MSK115",)
    ),
    "leak ignored": dataclasses.replace(report((), LEAKING), ignored=("MSK101", "MSK104")),
    "leaks below": dataclasses.replace(report(FINDINGS[2:3]), passed=True, fail_on="error"),
    "noisy": report(leak=dataclasses.replace(LEAKING, weights="noisy", padded_by_maskcli=True)),
    "long name": dataclasses.replace(report(), model=ModelAbout(f"/home/{LONG}/m.keras", "file", "Functional")),
    "long culprit": report(leak=dataclasses.replace(LEAKING, first_call=LONG)),
    "data only": dataclasses.replace(report(), model=None, examination=Examination((FACTS,) * 5, None)),
    "no data": dataclasses.replace(report(), model=None, examination=Examination((), None)),
}


def test_answer_names_the_cause_of_the_leak() -> None:
    """A wrong mask of the output comes first in the list, and has no part in the leak."""
    of_output = finding(code="MSK101", call="outputs", evidence={"max_abs_change": 0.0})
    cause = finding(code="MSK107", rule="padding-leaks", call="pool", evidence={"max_abs_change": 0.3})
    assert "Culprit: pool (Conv1D), MSK107 padding-leaks, and 1 more finding." in draw(report((of_output, cause)))
    assert "Culprit: outputs (Conv1D), MSK101" in draw(report((of_output, cause), CLEAN))


@pytest.mark.parametrize("checked", REPORTS.values(), ids=REPORTS)
@pytest.mark.parametrize("width", [80, 81, 100, 200])
def test_lines_fit_the_screen(checked: CheckReport, width: int) -> None:
    lines = draw(checked, width).splitlines()
    assert max(map(len, lines)) <= width
    assert all(line == line.rstrip() for line in lines)


@pytest.mark.parametrize("checked", REPORTS.values(), ids=REPORTS)
def test_findings_are_whole(checked: CheckReport) -> None:
    text = draw(checked)
    squeezed = re.sub(r"\s", "", text)
    for item in checked.findings:
        assert f"{item.severity} {item.code}" in text
        for part in (item.rule, item.call, item.message, item.fix):
            assert re.sub(r"\s", "", part or "") in squeezed
    note = [note for note in make_document(checked)["notes"] if re.sub(r"\s", "", note) not in squeezed]
    assert not note


def test_code_breaks_only_if_long() -> None:
    """Short code stays on one line; long code breaks at its spaces."""
    lines = draw(report()).splitlines()
    assert any(CODE in line for line in lines)
    joined = " ".join(line.strip() for line in lines)
    assert LONG_CODE in joined


def test_backtick_in_a_name_is_not_code() -> None:
    fix = "Hand `a.b(x)` to em`b, and `c`."
    cells = make_prose(fix).cells
    assert "".join(cell.text for cell in cells) == fix
    assert "".join(cell.text for cell in cells if cell.role == "label") == "`a.b(x)``c`"


def test_severity_has_a_word_and_a_glyph() -> None:
    lines = [line.split()[:3] for line in draw(report()).splitlines()]
    for glyph, word, code in (("×", "error", "MSK101"), ("!", "warning", "MSK302"), ("•", "info", "MSK006")):
        assert [glyph, word, code] in lines


def test_ascii_screen_has_the_same_text() -> None:
    for checked in REPORTS.values():
        console = Console(file=io.TextIOWrapper(io.BytesIO(), "ascii"), width=80, color_system=None)
        text = render_bytes(view(checked, Limits(None, None, 80)), console).decode()
        assert text.isascii()
        assert "? " not in text.replace("leak? ", "")
        assert all(f"{item.severity} {item.code}" in text for item in checked.findings)


def test_colour_changes_only_colour() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system="standard")
    coloured = render_text(view(report(), Limits(None, None, 80)), console)
    assert "\x1b[1;31m× error" in coloured
    assert f"\x1b[36m{CODE}" in coloured
    plain = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    assert [line.rstrip() for line in plain.splitlines()] == draw(report()).splitlines()


def test_probes_name_their_largest_change() -> None:
    text = draw(report())
    assert "Does padding leak?  yes\n" in text
    assert re.search(r"^replace +other values at padding +× yes +0\.324  sample 1234, t5678$", text, re.M)
    assert re.search(r"^alone +single rows, trimmed +– +–$", text, re.M)
    assert re.search(r"^gradient +gradient w.r.t. padding +× yes +1\.23e-15  sample 1234, padded t5678$", text, re.M)
    assert text.count("the model takes one length only") == 1
    assert "alone, columns: not tried: the model" in text
    assert "gradient: it means something" in text
    assert (
        "change: the largest of a result that counts; of gradient, its derivative by\n padding; t0: timestep 0" in text
    )


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("clean", "Does padding leak?  no\n"),
        ("no padding", "Does padding leak?  nothing to prove\n"),
        ("no padding", " • The probed rows contain no padding, and the model has no mask.\n"),
        ("not tried", "Does padding leak?  unproven\n"),
        ("not tried", " • The model takes one length only, and a copy of it with free length cannot be\n   built.\n"),
        ("unproven", " • The model is random.\n"),
        ("leak ignored", " • Padding changes results by up to 0.324. It enters at conv1d.\n"),
        ("noisy", "failed: padding, which maskcli added, leaks into results once the model is"),
    ],
)
def test_other_verdicts(name: str, verdict: str) -> None:
    assert verdict in draw(REPORTS[name])


@pytest.mark.parametrize("name", ["nothing", "not run", "data only", "no data"])
def test_no_verdict_without_probes(name: str) -> None:
    assert "Does padding leak" not in draw(REPORTS[name])


def test_data_only_describes_the_data() -> None:
    assert "\nData\n tokens: 2 rows of 4 timesteps, 2 padding;" in draw(REPORTS["data only"])
    assert "no ids to check" in draw(REPORTS["no data"])


def test_summary_line() -> None:
    assert "\n\n 0 errors, 0 warnings, 0 infos; 2 rules checked, fail-on: warning\n" in draw(REPORTS["clean"])
    assert draw(report()).endswith(
        " 2 errors, 1 warning, 1 info; 2 rules checked, fail-on: warning\n"
        "\n Next: `maskcli explain MSK101` explains this rule, with a bad and a good\n example.\n"
    )


def test_answer_comes_first() -> None:
    """The verdict, the culprit and the repair follow the name of the model."""
    name, verdict, culprit, repair, *_ = draw(report()).splitlines()
    assert (name, verdict) == ("m.keras  Functional, from a file", " × failed: padding leaks into results")
    assert culprit == " • Culprit: conv1d (Conv1D), MSK101 mask-dropped, and 3 more findings."
    assert repair == " • Repair: advice only, nothing was tried."
    tried = Repair("pass-mask", "mean", "mean(x, mask=m)", 1e-9)
    repaired = dataclasses.replace(report(), repairs=(tried,))
    assert draw(repaired).splitlines()[3] == " • Repair, tried: pass-mask at mean."
    assert "Repairs  tried: padding then changes results by 1e-09\n" in draw(repaired)
    attempts = (RepairAttempt("pass-mask", "mean", 0.3, "it leaks"),)
    assert "none found, 1 change tried in vain" in draw(dataclasses.replace(report(), attempts=attempts))


def test_single_repair_in_a_fix_is_shown_once() -> None:
    tried = Repair("pass-mask", "mean", "mean(x, mask=m)", 1e-9)
    fixed = dataclasses.replace(finding(fix="Write `mean(x, mask=m)`."), repair=tried)
    assert draw(dataclasses.replace(report((fixed,)), repairs=(tried,))).count("mean(x, mask=m)") == 1
    # Several repairs cure together, and are listed together.
    alike = dataclasses.replace(tried, call="mean_1")
    assert "\n pass-mask at mean, mean_1\n" in draw(dataclasses.replace(report((fixed,)), repairs=(tried, alike)))


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("clean", "passed", "■ passed: padding does not leak (probes: replace, gradient)"),
        ("nothing", "not-run", "! leak not tested\n"),
        ("no padding", "nothing-to-prove", "• nothing to prove\n"),
        ("unproven", "unproven", "! leak unproven\n"),
        ("unproven ignored", "unproven", "! leak unproven: MSK115\n"),
        ("leak ignored", "leak-ignored", "! leak ignored: MSK101, MSK104\n"),
        ("leaks below", "leaks", "! leaks, below fail-on\n"),
        ("all", "failed", "× failed: padding leaks into results\n"),
    ],
)
def test_only_clean_passes(name: str, status: str, words: str) -> None:
    """A check passes only if the probes showed that nothing leaks."""
    text = draw(REPORTS[name])
    assert f" {words}" in text
    assert ("passed" in text) == (status == "passed")
    document = make_document(REPORTS[name])
    assert (document["status"], list(document["ignored"])) == (status, list(REPORTS[name].ignored))


def test_data_only_result() -> None:
    data = dataclasses.replace(REPORTS["data only"], findings=(), passed=True)
    assert " ■ data: no findings\n" in draw(data)
    assert " 0 errors, 0 warnings, 0 infos; 2 rules checked" in draw(data)
    few = dataclasses.replace(data, findings=FINDINGS[3:])
    assert " ■ data: no findings at or above warning\n" in draw(few)


def test_notes_report_failures() -> None:
    assert make_document(REPORTS["not run"])["notes"][0].startswith("The model does not run on this data: Invalid")
    assert "Could not test whether the masks survive saving: it raises" in draw(REPORTS["all"])


def test_a_file_gets_80_columns() -> None:
    assert render_text(view(report(), Limits(None, None, 80)), make_file_console()) == draw(report())
