"""Parts of the rules that judge evidence written by hand: rows without a valid timestep."""

from __future__ import annotations

import dataclasses

import pytest

from maskcli.records.evidence import EmptyRows
from maskcli.records.leak import Leak
from maskcli.rules import empty_row_of_padding
from tests.rules.test_evidence import make_call, make_evidence

pytestmark = pytest.mark.quick

CLEAN = Leak(False, 0.0, None, None, None, (), {})
CHANGED = EmptyRows(rows=2, sample=5, not_finite=None, of_padding="attention", max_abs_change=0.25)
MODEL = make_evidence(make_call("attention"), leak=CLEAN, empty=CHANGED)


def test_result_of_an_empty_row_that_changes_with_its_padding() -> None:
    (finding,) = empty_row_of_padding.judge(MODEL)
    assert finding.call == "attention"
    assert "2 rows without a valid timestep, first in sample 5. It changes by up to 0.25" in finding.message


@pytest.mark.parametrize(
    "evidence",
    [
        {"empty": dataclasses.replace(CHANGED, max_abs_change=0.0)},
        {"empty": dataclasses.replace(CHANGED, of_padding=None)},
        {"empty": None},
        {"leak": dataclasses.replace(CLEAN, leaks=True)},
        {"leak": None},
    ],
    ids=["no change", "no call", "no empty row", "leak", "model does not run"],
)
def test_empty_rows_without_a_fault_of_their_own(evidence: dict[str, EmptyRows | Leak | None]) -> None:
    """A result that does not change is no computation from padding, and that of a leak is left to other rules."""
    assert not list(empty_row_of_padding.judge(dataclasses.replace(MODEL, **evidence)))  # type: ignore[arg-type]
