"""The repairs of a check on a terminal and as JSON."""

from __future__ import annotations

import json
from typing import Any

Call = Any


def test_table_lists_tried_repairs(call: Call) -> None:
    output = call("check", "--mask-source", "none", "--padding", "pre")
    assert " • Repair, tried: set-mask-zero" in output
    assert "keras.layers.Embedding(..., mask_zero=True)" in output
    assert "Tried: padding then changes" in " ".join(output.split())


def test_document_has_repairs(call: Call) -> None:
    document = json.loads(call("check", "--mask-source", "none", "--padding", "pre", "--format", "json"))
    [repair] = document["repairs"]
    assert repair["kind"] == "set-mask-zero"
    assert repair["tried"] is True
    assert repair["change_after"] < 1e-6
    finding = next(finding for finding in document["findings"] if finding["code"] == "MSK104")
    assert finding["repair"] == repair


def test_passing_check_has_no_repairs(call: Call) -> None:
    document = json.loads(call("check", "--format", "json"))
    assert (document["repairs"], document["attempts"]) == ([], [])
