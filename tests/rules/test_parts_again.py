"""Sentences of rules about evidence that is made by hand."""

from __future__ import annotations

import dataclasses

import pytest

from maskcli.records.evidence import AttentionFault, CompiledDifference
from maskcli.records.leak import Leak
from maskcli.rules import attention_mask_wrong, jit_differs
from tests.rules.test_evidence import MASK, make_call, make_evidence

pytestmark = pytest.mark.quick

CALL = dataclasses.replace(make_call("heads", mask=MASK), type="MultiHeadAttention")


@pytest.mark.parametrize("leaks", [True, False, None])
def test_attention_mask_is_blamed_for_a_leak(leaks: bool | None) -> None:
    """Only a leak that was measured is named next to the mistake in the mask."""
    fault = AttentionFault("heads", "MultiHeadAttention", "inverted", (2, 3, 3), 4, 0, 9)
    leak = Leak(leaks, 0.25, "heads", 1, 2, (), {})
    (finding,) = attention_mask_wrong.judge(make_evidence(CALL, attention=(fault,), leak=leak))
    assert ("Padding changes results" in finding.message) is (leaks is True)
    (without,) = attention_mask_wrong.judge(make_evidence(CALL, attention=(fault,)))
    assert "Padding changes results" not in without.message


@pytest.mark.parametrize(("has_mask", "when"), [(True, "when it runs eagerly"), (False, "in a compiled function")])
def test_where_a_call_receives_its_mask(has_mask: bool, when: str) -> None:
    difference = CompiledDifference(0.5, 1e-6, 0, 1, "out", "heads", has_mask)
    (finding,) = jit_differs.judge(make_evidence(CALL, compiled=difference))
    assert f"receives a mask only {when}." in finding.message
    (other,) = jit_differs.judge(make_evidence(CALL, compiled=dataclasses.replace(difference, first_call=None)))
    assert "mask" not in other.message.replace("maskcli", "")
