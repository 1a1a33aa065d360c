"""``maskcli rules`` and ``maskcli explain``: their output at any width, and errors."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from maskcli.rules import RULES
from tests.conftest import Output

CODES = [rule.code for rule in RULES]


def squeezed(text: str) -> str:
    return " ".join(text.split())


def test_rules_lists_every_rule(call: Callable[..., Output]) -> None:
    output = call("rules")
    assert (output.exit_status, output.stderr) == (0, "")
    assert re.findall(r"^(MSK\d{3})  ", output, re.M) == CODES
    for rule in RULES:
        assert re.search(rf"^{rule.code}  {rule.name} +{rule.severity} ", output, re.M)
    assert output.startswith("Data  checked without TensorFlow\n")


def test_rules_json_has_whole_summaries(call: Callable[..., Output]) -> None:
    listed = call("rules", "--format", "json").json["rules"]
    assert [rule["code"] for rule in listed] == CODES
    assert [rule["summary"] for rule in listed] == [rule.summary for rule in RULES]
    assert {rule["about"] for rule in listed} <= {"data", "model"}


@pytest.mark.parametrize("arguments", [["rules"], *(["explain", code] for code in CODES)], ids=" ".join)
def test_rules_fit_80_columns(call: Callable[..., Output], arguments: list[str]) -> None:
    output = call(*arguments)
    assert (output.exit_status, output.stderr) == (0, "")
    assert max(map(len, output.splitlines())) <= 80
    assert all(line == line.rstrip() for line in output.splitlines())
    assert "\x1b" not in output


def test_rules_at_any_width_have_whole_sentences(run: Callable[..., Output]) -> None:
    narrow, wide = run("rules", COLUMNS="30"), run("rules", COLUMNS="300")
    assert len(narrow.splitlines()) > len(wide.splitlines()) >= len(RULES) + 3
    for rule in RULES:
        assert rule.summary in wide
    assert re.findall(r"^(MSK\d{3})  ", narrow, re.M) == CODES


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_explain_shows_the_whole_docstring(call: Callable[..., Output], rule) -> None:  # type: ignore[no-untyped-def]
    output = call("explain", rule.code)
    assert output.startswith(f"{rule.code} {rule.name}  {rule.severity}, about the {rule.about}\n\n")
    for paragraph in (rule.summary, *rule.explanation):
        assert squeezed(paragraph) in squeezed(output)
    # Code can be copied: as it was written, four spaces in.
    for title, code in (("Bad", rule.bad), ("Good", rule.good)):
        printed = re.search(rf"^{title}\n((?:    .*\n|\n)+)", output, re.M)
        assert printed is not None
        lines = "\n".join(line[4:] for line in printed[1].rstrip().split("\n"))
        call_of = "if __name__" if rule.compares else "import maskcli\n\nprint(maskcli.check("
        assert lines.startswith(f"{code}\n\n{call_of}")


def test_explain_as_json(call: Callable[..., Output]) -> None:
    document = call("explain", "MSK005", "--format", "json").json
    assert list(document) == [
        "schema", "code", "name", "severity", "about", "summary", "explanation", "bad", "good",
    ]  # fmt: skip
    assert document["bad"].startswith("sequences = [[")
    assert "Bad" not in document["explanation"]


def test_explain_takes_names_and_lower_case(call: Callable[..., Output]) -> None:
    assert call("explain", "msk005") == call("explain", "input-dim-off-by-one") == call("explain", "MSK005")


@pytest.mark.parametrize(
    ("arguments", "meant"), [("MSK0005", "MSK005"), ("padding-wast", "padding-waste"), ("empty-s", "empty-sequence")]
)
def test_explain_suggests_the_nearest_rule(call: Callable[..., Output], arguments: str, meant: str) -> None:
    output = call("explain", arguments)
    assert (output, output.exit_status) == ("", 2)
    assert f"received '{arguments}'.\nDid you mean {meant}? `maskcli rules` lists them." in output.stderr


@pytest.mark.parametrize("arguments", ["", "qqq", "日本", "\x00"])
def test_explain_rejects_an_unknown_rule(call: Callable[..., Output], arguments: str) -> None:
    output = call("explain", arguments)
    assert (output, output.exit_status) == ("", 2)
    assert "expected the code or the name of a rule" in output.stderr
    assert "Did you mean" not in output.stderr


def test_explain_needs_a_code(call: Callable[..., Output]) -> None:
    assert call("explain").exit_status == 2


@pytest.mark.parametrize("arguments", [["rules"], ["explain", "MSK001"]], ids=" ".join)
def test_results_are_written_to_files(call: Callable[..., Output], tmp_path: Path, arguments: list[str]) -> None:
    assert call(*arguments, "--quiet", "--output", "a.json") == ""
    assert (tmp_path / "a.json").read_text() == call(*arguments, "--format", "json")
    call(*arguments, "--output", "a.txt")
    assert (tmp_path / "a.txt").read_text() == call(*arguments)
    assert call(*arguments, "--output", "a.csv").exit_status == 2


def test_rules_in_ascii(run: Callable[..., Output]) -> None:
    assert run("explain", "MSK001", PYTHONIOENCODING="ascii") == run("explain", "MSK001")
