"""Rules judge evidence that is written by hand, so that no model needs to run."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from maskcli.records.evidence import (
    AttentionFault,
    FutureEffect,
    LossEvidence,
    MixedRows,
    MixingNormalization,
    ModelEvidence,
    OutputEvidence,
    SavingResult,
)
from maskcli.records.trace import Call
from maskcli.rules import (
    attention_mask_wrong,
    future_leaks,
    loss_counts_padding,
    mask_dropped,
    mask_lost_on_save,
    normalization_mixes_padding,
    rows_mix,
)

pytestmark = pytest.mark.quick

MASK = np.array([[True, True, False], [True, False, False]])


def make_call(call: str, index: int = 0, mask: Any = None, **fields: Any) -> Call:
    return Call(
        call=call,
        index=index,
        type=call.title(),
        effect="none",
        mask_in=mask,
        mask_out=mask,
        given=False,
        computes_mask=False,
        warning=None,
        **fields,
    )


def make_evidence(*calls: Call, **fields: Any) -> ModelEvidence:
    return ModelEvidence("mine", "Functional", 3, (2, 2), trace=calls, **fields)


def make_output(name: str, lost_at: str | None = None, mask: Any = None) -> OutputEvidence:
    lost = None if lost_at is None else MASK
    return OutputEvidence(name, (2, 3, 1), mask, MASK, name, lost_at, lost_mask=lost)


def make_fault(call: str) -> AttentionFault:
    return AttentionFault(call, "Softmax", "inverted", (2, 1, 3), 1, 1, 4)


@pytest.mark.parametrize("first", ["norm", "unrecorded", None])
def test_rows_mix_at_any_call(first: str | None) -> None:
    model = make_evidence(make_call("norm"), mixed_rows=MixedRows(0.5, 1e-6, 0, None, "output", first))
    (finding,) = rows_mix.judge(model)
    subject = {"norm": "norm (Norm)", "unrecorded": "unrecorded", None: "mine (Functional)"}[first]
    assert finding.message.startswith(f"{subject} mixes the rows of a batch")
    assert finding.call == ("norm" if first == "norm" else None)


def test_rows_mix_by_an_attention_mask_is_left_to_its_rule() -> None:
    mixed = MixedRows(0.5, 1e-6, 0, None, "output", "scores")
    model = make_evidence(make_call("scores"), mixed_rows=mixed, attention=(make_fault("scores"),))
    assert not list(rows_mix.judge(model))
    elsewhere = dataclasses.replace(model, attention=(make_fault("other"),))
    assert [finding.call for finding in rows_mix.judge(elsewhere)] == ["scores"]


def test_normalization_in_training_or_always() -> None:
    mixing = (MixingNormalization("first", 0.5, False), MixingNormalization("second", 0.25, True))
    model = make_evidence(make_call("first"), make_call("second", 1), mixing=mixing)
    always, training = normalization_mixes_padding.judge(model)
    assert (always.call, training.call) == ("first", "second")
    assert "in its statistics, always:" in always.message
    assert "LayerNormalization" in always.fix
    assert "in its statistics, in training:" in training.message
    assert "Pass the mask explicitly" in training.fix


def test_normalization_with_another_cause_is_silent() -> None:
    """One call is not recorded, one has a wrong attention mask, and one mixes rows; the last one has no other cause."""
    mixing = tuple(MixingNormalization(name, 0.5, False) for name in ("lost", "scores", "batch", "plain"))
    calls = [make_call(name, index) for index, name in enumerate(("scores", "batch", "plain"))]
    mixed = MixedRows(0.5, 1e-6, 0, None, "output", "batch")
    model = make_evidence(*calls, mixing=mixing, attention=(make_fault("scores"),), mixed_rows=mixed)
    assert [finding.call for finding in normalization_mixes_padding.judge(model)] == ["plain"]


@pytest.mark.parametrize(
    ("counted", "reported", "lost_at", "severity"),
    [
        (0, None, None, None),
        (0, 1.0, None, None),
        (2, 1.0, None, "error"),
        (2, 1.0, "tags", "error"),
        (2, None, None, "warning"),
        (2, None, "tags", None),
    ],
)
def test_loss_counts_padding(counted: int, reported: float | None, lost_at: str | None, severity: str | None) -> None:
    """Without figures, the rule of the call that lost the mask reports it; a measured loss is always reported."""
    loss = LossEvidence("mse", "tags", counted, 6, reported=reported, masked=reported)
    model = make_evidence(make_call("tags", mask=MASK), outputs=(make_output("tags", lost_at),), losses=(loss,))
    assert [finding.severity for finding in loss_counts_padding.judge(model)] == ([severity] if severity else [])


def test_future_call_of_two_outputs_counts_once() -> None:
    effect = FutureEffect("a", True, 0.5, 1e-6, 0, 1, 2, "mha", "by --causal", requested=True, calls=("mha", "conv"))
    model = make_evidence(
        make_call("mha"), make_call("conv", 1), future=(effect, dataclasses.replace(effect, output="b"))
    )
    assert [finding.call for finding in future_leaks.judge(model)] == ["mha", "conv"]


def test_lost_mask_of_each_output_is_reported() -> None:
    """An output with its mask does not hide that the next one has lost it."""
    calls = [make_call(name, index, mask=None) for index, name in enumerate(("scale", "tags", "score"))]
    outputs = (make_output("tags"), make_output("score", "scale"))
    assert [finding.call for finding in mask_dropped.judge(make_evidence(*calls, outputs=outputs))] == ["scale"]


@pytest.mark.parametrize("survives", [True, None, False])
def test_mask_after_saving(survives: bool | None) -> None:
    saving = SavingResult(survives, "scale", "no mask", None if survives is not None else "it has no config")
    findings = list(mask_lost_on_save.judge(make_evidence(make_call("scale"), saving=saving)))
    assert [finding.call for finding in findings] == ([] if survives is not False else ["scale"])


def test_mask_without_saving_is_no_finding() -> None:
    assert not list(mask_lost_on_save.judge(make_evidence(make_call("scale"))))


MISTAKES = {
    "inverted": "uses an inverted attention mask (2, 1, 3): True at padded keys, False at valid ones.",
    "along-queries": "uses a mask (batch, timesteps) as an attention mask (2, 1, 3) (queries, keys): ",
    "hides-queries": "uses an attention mask (2, 1, 3) that hides padded queries instead of padded keys.",
    "too-weak": "uses an attention mask (2, 1, 3) that multiplies the scores of padded keys by 0, which does not hide",
    "wrong-input": "uses an attention mask (2, 1, 3) that marks the padding of query, although its keys are those of",
}


def test_every_mistake_of_an_attention_mask_has_its_sentence() -> None:
    assert sorted(MISTAKES) == sorted(attention_mask_wrong.FIXES)
    for kind, sentence in MISTAKES.items():
        fault = dataclasses.replace(make_fault("scores"), kind=kind, mask_of="query")
        (finding,) = attention_mask_wrong.judge(make_evidence(make_call("scores"), attention=(fault,)))
        assert finding.message.startswith(f"scores (Scores) {sentence}"), finding.message
        assert finding.message.endswith(
            "valid queries attend to padded keys (1 open pair), and 25 % of the pairs of valid timesteps are closed."
        )
    weak = dataclasses.replace(make_fault("scores"), kind="too-weak", added=-3.0)
    (finding,) = attention_mask_wrong.judge(make_evidence(make_call("scores"), attention=(weak,)))
    assert "that adds -3 to the scores of padded keys, which does not hide them" in finding.message
