"""Words of rules by evidence that is written by hand: whose fault a failing mask is."""

from __future__ import annotations

import pytest

from maskcli.records.evidence import Failure
from maskcli.rules import mask_misaligned
from tests.rules.test_evidence import make_evidence

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("at_fault", [None, "Keras 3.15.1 on jax"])
def test_failure_of_a_mask_names_a_fault_of_keras_only(at_fault: str | None) -> None:
    """Without a fault of Keras, the model is at fault, and the message blames nothing else."""
    failure = Failure("rnn", "LSTM", ((2, 3),), ((2, 3, 4),), "it does not broadcast", at_fault)
    (finding,) = mask_misaligned.judge(make_evidence(failure=failure))
    blame = "" if at_fault is None else f"This is a fault of {at_fault}. "
    assert finding.message == (
        "rnn (LSTM) fails with a mask of shape (2, 3) for an input of shape (2, 3, 4); without the mask it runs. "
        f"{blame}Error from Keras: it does not broadcast"
    )
