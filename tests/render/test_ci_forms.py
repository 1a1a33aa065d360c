"""Forms of a check for continuous integration: lines, annotations, GitLab, SARIF and JUnit."""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import maskcli
from maskcli.records.baseline import BaselineEntry
from maskcli.records.check import Baseline, CheckReport, Finding
from maskcli.records.location import Location
from maskcli.records.model import ModelAbout
from maskcli.records.project import ModelCheck, ProjectReport
from maskcli.records.rules import explain_rule
from maskcli.render.ci.gitlab import render_gitlab
from maskcli.render.ci.lines import render_concise, render_github
from maskcli.render.ci.sarif import render_sarif
from maskcli.rules import RULES
from tests.conftest import ROOT, Output

pytestmark = pytest.mark.quick

SARIF = json.loads((ROOT / "tests" / "reference" / "sarif-2.1.0.json").read_text())
EXPLAINED = tuple(map(explain_rule, RULES))


def make_finding(**changes: Any) -> Finding:
    parts: dict[str, Any] = {
        "code": "MSK101",
        "rule": "mask-dropped",
        "severity": "error",
        "call": "conv",
        "type": "Conv1D",
        "message": "conv (Conv1D) drops 100% of the mask, here: all.",
        "fix": "Add a `Masking`,\nor pass it on.",
        "evidence": {},
        "location": Location("src/my nets.py", 12, "build"),
        "fingerprint": "0123456789abcdef",
    }
    return Finding(**{**parts, **changes})


OF_DATA = make_finding(
    code="MSK001",
    rule="padding-id-as-token",
    severity="warning",
    call=None,
    type=None,
    location=None,
    fingerprint="1123456789abcdef",
)
NOTE = make_finding(
    code="MSK006", rule="pre-padding", severity="info", call=None, location=None, fingerprint="2123456789abcdef"
)
ACCEPTED = make_finding(
    code="MSK107", location=Location("/lib/layers.py", 3, "Layer.call"), fingerprint="3123456789abcdef"
)


@functools.cache
def make_report() -> CheckReport:
    """Return the check of a model with a fault of each kind."""
    report = maskcli.check([[1, 2], [3]], data_only=True)
    return dataclasses.replace(
        report,
        model=ModelAbout("m.keras", "file", "Functional"),
        data=dataclasses.replace(report.data, files=("a.txt",)),
        checked=tuple(rule.code for rule in RULES),
        findings=(make_finding(), OF_DATA, NOTE),
        passed=False,
        baseline=Baseline("known.json", (ACCEPTED,), (BaselineEntry(None, "MSK102", "add", "4" * 16),)),
    )


@functools.cache
def make_project() -> ProjectReport:
    right = dataclasses.replace(make_report(), findings=(), passed=True, baseline=None)
    gone = ModelCheck("gone", None, "--model gone.keras: expected a file; received none.\nCheck it.", 3)
    return ProjectReport((ModelCheck("tagger", make_report(), None, 1), ModelCheck("right", right, None, 0), gone))


def test_concise_is_a_line_for_each_finding() -> None:
    assert render_concise(make_report()).decode().split("\n") == [
        "src/my nets.py:12: error MSK101: conv (Conv1D) drops 100% of the mask, here: all. fix: Add a `Masking`, or pass "
        "it on.",
        "a.txt: warning MSK001: conv (Conv1D) drops 100% of the mask, here: all. fix: Add a `Masking`, or pass it on.",
        "a.txt: info MSK006: Conv1D: conv (Conv1D) drops 100% of the mask, here: all. fix: Add a `Masking`, or pass "
        "it on.",
        "",
    ]
    lines = render_concise(make_project()).decode().split("\n")
    assert lines[0].startswith("src/my nets.py:12: error MSK101 tagger: conv (Conv1D) drops ")
    assert lines[-2] == "gone: error: --model gone.keras: expected a file; received none. Check it."


def unescape(text: str) -> str:
    """Return the text that GitHub reads; the last replacement is that of the escape character itself."""
    for code, character in (("%0A", "\n"), ("%0D", "\r"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(code, character)
    return text


def test_github_escapes_properties_and_text() -> None:
    first, second, third, end = render_github(make_report()).decode().split("\n")
    assert end == ""
    command, _, text = first.removeprefix("::").partition("::")
    level, _, properties = command.partition(" ")
    assert (level, properties) == ("error", "file=src/my nets.py,line=12,title=MSK101 mask-dropped")
    assert text.startswith("conv (Conv1D) drops 100%25 of the mask, here: all.%0Afix: Add a `Masking`,%0A")
    assert unescape(text) == f"{make_finding().message}\nfix: {make_finding().fix}"
    assert second.startswith("::warning file=a.txt,title=MSK001 padding-id-as-token::")
    assert third.startswith("::notice ")
    odd = dataclasses.replace(make_report(), findings=(make_finding(location=Location("a,b:c%.py", 1, "f")),))
    assert "file=a%2Cb%3Ac%25.py,line=1," in render_github(odd).decode()
    hostile = make_finding(message="\x1b[2Jconv\x07 \u202egpj\r\n::error::x", location=Location("\x1b.py", 1, "f"))
    (line, *_) = render_github(dataclasses.replace(make_report(), findings=(hostile,))).decode().split("\n")
    assert line.startswith("::error file=�.py,line=1,")
    assert "::conv (Conv1D): �[2Jconv� �gpj%0A::error::x%0Afix: " in line
    lines = render_github(make_project()).decode().split("\n")
    assert "title=tagger%3A MSK101 mask-dropped::" in lines[0]
    assert lines[-2].startswith("::error title=gone%3A check failed::--model gone.keras: expected")


def test_stale_entries_are_named_if_they_fail() -> None:
    """The exit code is 1, and a form without findings must give the reason."""
    stale = dataclasses.replace(make_report(), findings=(), name="tagger", fail_on_stale=True)
    message = "Stale in the baseline: MSK102 at add is not a finding any more."
    assert render_concise(stale).decode() == f"tagger: error: {message}\n"
    assert render_github(stale).decode() == f"::error title=tagger%3A check failed::{message}\n"
    (run,) = json.loads(render_sarif(stale, EXPLAINED))["runs"]
    assert run["invocations"][0]["executionSuccessful"] is True
    assert message in run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"]
    with pytest.raises(maskcli.FindingsError, match=message):
        stale.raise_for_findings()
    for passing in (dataclasses.replace(stale, fail_on="never"), dataclasses.replace(stale, fail_on_stale=False)):
        assert render_concise(passing) == b""


def test_gitlab_has_its_fields() -> None:
    issues = json.loads(render_gitlab(make_report()))
    assert [issue["severity"] for issue in issues] == ["critical", "major", "info"]
    assert issues[0]["location"] == {"path": "src/my nets.py", "lines": {"begin": 12}}
    assert issues[1]["location"] == {"path": "a.txt", "lines": {"begin": 1}}
    assert issues[0]["check_name"] == "MSK101 mask-dropped"
    assert issues[0]["fingerprint"] == "0123456789abcdef"
    assert "fix: Add a `Masking`" in issues[0]["description"]
    named = json.loads(render_gitlab(make_project()))
    assert {issue["fingerprint"] for issue in named}.isdisjoint({issue["fingerprint"] for issue in issues})
    nowhere = dataclasses.replace(make_report(), data=dataclasses.replace(make_report().data, files=()))
    assert json.loads(render_gitlab(nowhere))[1]["location"]["path"] == "pyproject.toml"
    assert json.loads(render_gitlab(maskcli.check([[1, 2]], data_only=True))) == []


@pytest.mark.parametrize("make", [make_report, make_project])
def test_sarif_obeys_its_schema(make: Callable[[], Any]) -> None:
    document = json.loads(render_sarif(make(), EXPLAINED))
    jsonschema.Draft4Validator(SARIF).validate(document)
    (run,) = document["runs"]
    rules = run["tool"]["driver"]["rules"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["partialFingerprints"]
        assert "fix: Add a `Masking`" in result["message"]["text"]
        assert "fixes" not in result
    assert all("```python" in rule["help"]["markdown"] for rule in rules)
    assert len(rules) == len(RULES)


def test_sarif_results() -> None:
    (run,) = json.loads(render_sarif(make_report(), EXPLAINED))["runs"]
    error, warning, note, accepted = run["results"]
    assert [result["level"] for result in run["results"]] == ["error", "warning", "note", "error"]
    assert [result["baselineState"] for result in run["results"]] == ["new", "new", "new", "unchanged"]
    assert error["locations"] == [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": "src/my%20nets.py", "uriBaseId": "%SRCROOT%"},
                "region": {"startLine": 12},
            },
            "logicalLocations": [{"fullyQualifiedName": "conv", "kind": "member"}],
        }
    ]
    assert warning["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "a.txt"
    assert accepted["locations"][0]["physicalLocation"]["artifactLocation"] == {"uri": "file:///lib/layers.py"}
    assert accepted["suppressions"][0]["kind"] == "external"
    assert "suppressions" not in note
    assert run["invocations"][0]["executionSuccessful"] is True
    (several,) = json.loads(render_sarif(make_project(), EXPLAINED))["runs"]
    assert several["invocations"][0]["executionSuccessful"] is False
    assert "gone.keras" in several["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"]
    assert several["results"][0]["properties"] == {"model": "tagger"}


def test_junit_has_a_case_for_each_rule() -> None:
    pytest.importorskip("junitparser")
    from maskcli.render.ci.junit import render_junit

    root = ET.fromstring(render_junit(make_project(), EXPLAINED))  # noqa: S314 - maskcli wrote it
    suites = {suite.get("name"): suite for suite in root}
    assert list(suites) == ["tagger", "right", "gone"]
    cases = {case.get("name"): case for case in suites["tagger"]}
    assert len(cases) == len(RULES)
    (failure,) = cases["MSK101 mask-dropped"].findall("failure")
    assert failure.get("message") == make_finding().message
    assert failure.text is not None and failure.text.startswith("src/my nets.py:12\nconv (Conv1D)\n")
    assert [case for case, element in cases.items() if element.find("failure") is not None] == [
        "MSK001 padding-id-as-token",
        "MSK101 mask-dropped",
    ]
    stale = dataclasses.replace(make_report(), findings=(), fail_on_stale=True)
    text = render_junit(stale, EXPLAINED).decode()
    assert '<testcase name="stale entries"' in text and "MSK102 at add" in text
    assert cases["MSK006 pre-padding"].find("system-out") is not None
    assert cases["MSK107 padding-leaks"].find("skipped") is not None
    assert (suites["tagger"].get("failures"), suites["right"].get("failures")) == ("2", "0")
    (error,) = suites["gone"].iter("error")
    assert error.text is not None and "gone.keras" in error.text
    never = dataclasses.replace(make_report(), fail_on="never", findings=(make_finding(message="a\x1bb\x00"),))
    text = render_junit(never, EXPLAINED).decode()
    assert "<failure" not in text and "a\ufffdb\ufffd" in text


def test_forms_of_a_check_by_their_names(
    call: Callable[..., Output], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("1 2 0 3\n4 5\n")
    base = ("check", "a.txt", "--data-only", "--select", "MSK001")
    assert call(*base, "--format", "concise").startswith("a.txt: error MSK001: tokens: the padding id 0")
    assert call(*base, "--format", "github").startswith("::error file=a.txt,title=MSK001 ")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path.parent))
    assert call(*base, "--format", "github").startswith(f"::error file={tmp_path.name}/a.txt,title=MSK001 ")
    monkeypatch.delenv("GITHUB_WORKSPACE")
    assert call(*base, "--format", "gitlab", "--output", "gl.json", "--also", "summary.md").exit_status == 1
    assert json.loads((tmp_path / "gl.json").read_text())[0]["check_name"] == "MSK001 padding-id-as-token"
    assert "MSK001" in (tmp_path / "summary.md").read_text()
    log = call(*base, "--format", "sarif").json
    jsonschema.Draft4Validator(SARIF).validate(log)
    assert [rule["id"] for rule in log["runs"][0]["tool"]["driver"]["rules"]] == ["MSK001"]
    call(*base, "--quiet", "--also", "b.sarif")
    assert json.loads((tmp_path / "b.sarif").read_text()) == log
    wrong = call(*base, "--also", "b.docx")
    assert (wrong, wrong.exit_status) == ("", 2)
    assert wrong.stderr.startswith("Error: --also b.docx: expected a path that ends in .txt, ")


def test_junit_without_junitparser(call: Callable[..., Output], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "junitparser", None)
    output = call("check", "--sample", "--data-only", "--format", "junit")
    assert (output, output.exit_status) == ("", 2)
    assert "expected the package junitparser" in output.stderr
