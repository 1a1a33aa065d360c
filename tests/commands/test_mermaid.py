"""``maskcli inspect`` with Mermaid and with the picture of the graph, of models that really run."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT, Output

RHYME = ROOT / "sample_data" / "rhyme.jsonl"
Run = Callable[..., Output]


def test_mermaid_of_the_sample(call: Run, tmp_path: Path) -> None:
    printed = call("inspect", "--format", "mermaid")
    assert printed.exit_status == 0
    assert printed.startswith("flowchart TD\n")
    assert re.search(r'n1\[\["embedding<br/>Embedding<br/>✚ creates the mask"\]\]:::creates', printed)
    assert re.search(r'n3\["lstm<br/>LSTM<br/>● uses the mask"\]:::uses', printed)
    assert "  n1 ==> n3\n" in printed
    assert '  n2 -->|"mask"| n3\n' in printed
    written = call("inspect", "--sample", "--output", "graph.mmd", "--quiet")
    assert written == ""
    assert (tmp_path / "graph.mmd").read_text() == printed


def test_mermaid_marks_a_dropped_mask(call: Run) -> None:
    chart = call("inspect", RHYME, "--model", "sample_data.models:scaled", "--format", "mermaid")
    assert chart.exit_status == 0, chart.stderr
    dropped = re.findall(r'(n\d+)\{\{"multiply<br/>Multiply<br/>✖ drops the mask"\}\}:::drops', chart)
    assert len(dropped) == 1
    assert re.search(rf"^  n\d+ ==> {dropped[0]}$", chart, re.M)
    assert re.search(rf"^  {dropped[0]} -\.-> n\d+$", chart, re.M)


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_graph_as_a_picture(call: Run, tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("vl_convert")
    done = call("inspect", "--sample", "--picture", "graph", "--output", f"graph{suffix}", "--quiet")
    assert done.exit_status == 0, done.stderr
    start = (tmp_path / f"graph{suffix}").read_bytes()[:8]
    assert start == (b"<svg xml" if suffix == ".svg" else b"\x89PNG\r\n\x1a\n")


def test_mermaid_needs_a_model(call: Run) -> None:
    refused = call("pad", "--format", "mermaid")
    assert refused.exit_status == 2
    assert "mermaid" in refused.stderr
