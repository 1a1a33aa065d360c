"""The README and the docs tell the truth: every transcript in them is run."""

from __future__ import annotations

import re

import pytest

from tests.conftest import ROOT
from tests.readme import BLOCK, NUMBER, PAGES, README, Step, alike, run, steps

TEXT = README.read_text()


@pytest.mark.parametrize(
    "step", [step for page in PAGES for step in steps(page.read_text())], ids=lambda step: step.command
)
def test_transcripts(step: Step, program: list[str]) -> None:
    printed = run(step.command, program)
    assert alike(step.output, printed), f"the page shows\n{step.output}\nand this is printed\n{printed}"


def test_outputs_that_differ_are_told_apart() -> None:
    assert alike("loss 9.125764  x", "loss 9.125765 x")
    assert not alike("loss 9.125764", "loss 9.125964")
    assert not alike("■■□", "■□□")
    assert not alike("1 token", "2 tokens")


def test_the_set_up_is_two_commands_and_ci_runs_the_second() -> None:
    first, second = re.findall(r"^python3 -m venv .*$", TEXT, re.M)
    assert TEXT.index(first) < 1000
    assert first.endswith("maskcli inspect")
    assert second.endswith("-m pytest")
    assert "README.md" in (ROOT / ".ci" / "run").read_text()


def test_all_commands_and_exit_codes_are_in_the_readme() -> None:
    from maskcli.cli import COMMANDS

    for name in COMMANDS:
        assert f"maskcli {name}" in TEXT
    for code in ("0", "1", "2", "3", "4"):
        assert re.search(rf"^\| {code} \|", TEXT, re.M)


def test_links_inside_the_checkout_lead_somewhere() -> None:
    for page in PAGES:
        text = page.read_text()
        for target in re.findall(r"\]\((?!http|#)([^)#]+)", text) + re.findall(r'src(?:set)?="([^"]+)"', text):
            assert (page.parent / target).exists(), target


def test_numbers_in_the_text_of_the_worked_examples_are_in_their_transcripts() -> None:
    page = (ROOT / "docs" / "loss.md").read_text()
    printed = NUMBER.findall("".join(BLOCK.findall(page)))
    versions = {"1.0", "2.2", "2.3", "2.10", "2.11", "2.12"}
    for number in NUMBER.findall(re.sub(r"\d+\.\d+\.\d+", "", BLOCK.sub("", page))):
        assert number in printed or number in versions, number
