"""The cause of a leak, and the words of rules, by evidence that is written by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from maskcli.records.check import Examination
from maskcli.records.comparison import OutputDifference, SideDifference
from maskcli.records.data import Occurrence
from maskcli.records.evidence import (
    INPUT,
    CompiledDifference,
    Failure,
    FutureEffect,
    LossEvidence,
    MaskSource,
    MixedRows,
    MixingNormalization,
    ModelEvidence,
    OutputEvidence,
    TakenTimestep,
)
from maskcli.records.leak import Leak
from maskcli.records.trace import Call
from maskcli.rules import (
    backend_differs,
    future_leaks,
    jit_differs,
    loss_depends_on_batch_size,
    mask_dropped,
    mask_misaligned,
    mask_misses_padding,
    no_mask_source,
    padded_timestep_used,
)
from maskcli.rules.base import make_finding
from maskcli.rules.blame import (
    Blame,
    describe_change,
    describe_largest_place,
    find_attention_fault,
    find_blames,
    find_suspects,
    find_widening_call,
)
from maskcli.rules.fixes import suggest_fix
from maskcli.rules.identity import identify
from maskcli.rules.padding_id_as_token import judge as judge_padding_id
from tests.rules.examine import make_facts
from tests.rules.test_evidence import MASK, make_call, make_evidence, make_fault, make_output

pytestmark = pytest.mark.quick

ALL = np.ones_like(MASK)
TURNED = MASK[:, ::-1]


def make_leak(first_call: str | None, leaks: bool | None = True, **fields: Any) -> Leak:
    return Leak(leaks, 0.5, first_call, 0, None, (), **{"entries": {}, **fields})


def make_leaking(*calls: Call, first_call: str | None = "at", **fields: Any) -> ModelEvidence:
    return make_evidence(*calls, leak=make_leak(first_call), **fields)


def list_causes(causes: list[Blame]) -> list[tuple[str, str | None, str | None]]:
    return [(cause.kind, cause.culprit and cause.culprit.call, cause.at and cause.at.call) for cause in causes]


def make_source(call: str = "at", **fields: Any) -> MaskSource:
    parts: dict[str, Any] = {"of_ids": True, "looks_up": True, "after_lookup": None, "missed": None, "hidden": None}
    return MaskSource(call, "Embedding", padding=2, **{**parts, **fields})


AT = make_call("at", 5)
LOST = dataclasses.replace(AT, lost_at="mine/multiply")
OPERATION = make_call("mine/multiply", 2, code=True)
MASKED = dataclasses.replace(AT, mask_in=MASK, valid=MASK)
WIDE = dataclasses.replace(AT, mask_in=ALL, valid=MASK)
HALF = dataclasses.replace(AT, mask_in=MASK, given=True, masks_in=(MASK, None), shapes_in=((2, 3, 4), (2, 3, 4)))
CAUSES: dict[str, tuple[ModelEvidence, tuple[str, str | None, str | None]]] = {
    "unknown call": (make_leaking(first_call="gone"), ("leaks", None, None)),
    "operation in a layer": (make_leaking(make_call("mine", 1), OPERATION, LOST), ("dropped", "mine", "at")),
    "layer that returns a mask": (
        make_leaking(dataclasses.replace(make_call("mine", 1), mask_out=MASK), OPERATION, LOST),
        ("dropped", "mine/multiply", "at"),
    ),
    "operation in a model": (
        make_leaking(make_call("mine", 1, of_model=True), OPERATION, LOST),
        ("dropped", "mine/multiply", "at"),
    ),
    "operation by itself": (make_leaking(OPERATION, LOST), ("dropped", "mine/multiply", "at")),
    "another layer inside": (
        make_leaking(make_call("mine", 1), make_call("mine/multiply", 2), LOST),
        ("dropped", "mine/multiply", "at"),
    ),
    "leak inside a layer": (
        make_leaking(make_call("mine", 1), OPERATION, first_call="mine/multiply"),
        ("no-source", None, "mine"),
    ),
    "input that never had one": (make_leaking(OPERATION, LOST, bare=("at",)), ("no-source", None, "at")),
    "no source": (make_leaking(AT), ("no-source", None, "at")),
    "source of features": (make_leaking(AT, sources=(make_source(of_ids=False),)), ("no-source", None, "at")),
    "source of ids": (make_leaking(AT, sources=(make_source(),)), ("bad-source", None, "at")),
    "taken timestep": (make_leaking(AT, taken=TakenTimestep("at", 2, 1, 2, 0)), ("taken", "at", "at")),
    "timestep taken elsewhere": (make_leaking(AT, taken=TakenTimestep("other", 2, 1, 2, 0)), ("no-source", None, "at")),
    "mixing always": (make_leaking(AT, mixing=(MixingNormalization("at", 0.5, False),)), ("mixed", "at", "at")),
    "mixing in training": (make_leaking(AT, mixing=(MixingNormalization("at", 0.5, True),)), ("no-source", None, "at")),
    "rows inside": (make_leaking(AT, mixed_rows=MixedRows(0.5, 1e-6, 0, None, "output", "at/x")), ("rows", "at", "at")),
    "rows inside a model": (
        make_leaking(
            dataclasses.replace(AT, of_model=True), mixed_rows=MixedRows(0.5, 1e-6, 0, None, "output", "at/x")
        ),
        ("no-source", None, "at"),
    ),
    "attention": (make_leaking(AT, attention=(make_fault("at/scores"),)), ("attention", "at", "at")),
    "mask that is not given": (
        make_leaking(dataclasses.replace(MASKED, mask_arguments={"mask": (None,)})),
        ("not-given", "at", "at"),
    ),
    "mask of pairs": (
        make_leaking(dataclasses.replace(MASKED, mask_arguments={"attention_mask": (None,)})),
        ("dropped", "at", "at"),
    ),
    "layer that takes no mask": (make_leaking(MASKED), ("dropped", "at", "at")),
    "layer that passes it on": (make_leaking(dataclasses.replace(MASKED, mask_out=MASK)), ("leaks", "at", "at")),
    "mask that is given": (make_leaking(dataclasses.replace(MASKED, given=True)), ("leaks", "at", "at")),
    "one input with a mask": (make_leaking(HALF), ("no-source", None, "at")),
    "one input lost its mask": (
        make_leaking(OPERATION, dataclasses.replace(HALF, lost_at="mine/multiply")),
        ("dropped", "mine/multiply", "at"),
    ),
    "a scale without a mask": (
        make_leaking(dataclasses.replace(HALF, shapes_in=((2, 3, 4), (2, 4)))),
        ("leaks", "at", "at"),
    ),
    "wide mask": (
        make_leaking(make_call("add", 2, MASK, valid=MASK), WIDE),
        ("bad-source", None, "at"),
    ),
    "wide mask of a merge": (
        make_leaking(dataclasses.replace(make_call("add", 2, MASK, valid=MASK), mask_out=ALL), WIDE),
        ("widened", "add", "at"),
    ),
    "turned timesteps": (
        make_leaking(
            dataclasses.replace(make_call("turn", 2, MASK), valid=TURNED, valid_in=MASK),
            dataclasses.replace(WIDE, mask_in=MASK, valid=TURNED),
        ),
        ("misaligned", "turn", "at"),
    ),
    "merge after the leak": (
        make_leaking(WIDE, dataclasses.replace(make_call("add", 7, MASK, valid=MASK), mask_out=ALL)),
        ("bad-source", None, "at"),
    ),
}


@pytest.mark.parametrize("name", CAUSES)
def test_cause_of_a_leak(name: str) -> None:
    model, cause = CAUSES[name]
    assert list_causes(find_blames(model)) == [cause]


@pytest.mark.parametrize("leaks", [False, None])
def test_no_leak_has_no_cause(leaks: bool | None) -> None:
    assert find_blames(dataclasses.replace(CAUSES["no source"][0], leak=make_leak("at", leaks))) == []
    assert find_blames(make_evidence(AT)) == []


def test_late_mask_is_a_bad_source() -> None:
    model = make_evidence(make_call("masking", 1), AT, leak=make_leak("at", late_masks=("masking",)))
    assert list_causes(find_blames(model)) == [("bad-source", "masking", "at")]


def test_later_leak_of_its_own_cause_counts() -> None:
    """Padding also enters where a mask was lost, and before the first call that was compared; other leaks follow."""
    early, scale, late = make_call("early", 1), make_call("scale", 6), make_call("late", 8)
    late = dataclasses.replace(late, lost_at="scale")
    taken, mask = make_call("taken", 7), dataclasses.replace(make_call("mask", 9), computes_mask=True)
    leak = make_leak("at", entries={"at": 0.5, "late": 0.25, "early": 0.125, "taken": 0.1, "gone": 0.1, "mask": 1.0})
    model = make_evidence(
        early, AT, scale, taken, late, mask, leak=leak, taken=TakenTimestep("taken", 2, 1, 2, 0), bare=("at", "mask")
    )
    causes = [("no-source", None, "early"), ("no-source", None, "at"), ("dropped", "scale", "late")]
    assert list_causes(find_blames(model)) == causes
    assert describe_change(model, AT) == "by up to 0.5 (worst: sample 0)"
    assert describe_change(model, late) == "by up to 0.25 (tested separately)"
    assert not list(padded_timestep_used.judge(model))


def test_place_where_padding_enters_is_named_unless_it_is_the_culprit() -> None:
    scale, mean = make_call("scale", 2, MASK), dataclasses.replace(make_call("mean", 5), lost_at="scale")
    (finding,) = mask_dropped.judge(make_leaking(scale, mean, first_call="mean"))
    assert "As a result padding enters at mean (Mean) and changes results by up to 0.5" in finding.message
    (finding,) = mask_dropped.judge(make_leaking(MASKED))
    assert "As a result padding changes results by up to 0.5" in finding.message


def test_taken_timestep_is_reported_with_its_place() -> None:
    model, _ = CAUSES["taken timestep"]
    (finding,) = padded_timestep_used.judge(model)
    assert (finding.call, finding.evidence["timestep"]) == ("at", 2)
    assert "takes timestep 2, the last of the batch, which is padding in 1 row of 2" in finding.message


@pytest.mark.parametrize("leaks", [True, False, None])
def test_suspects_only_without_a_verdict(leaks: bool | None) -> None:
    lstm = dataclasses.replace(make_call("lstm", 5), lost_at="scale", mask_arguments={"mask": (None,)})
    gru = dataclasses.replace(make_call("gru", 6, MASK), mask_arguments={"mask": (None,)})
    given = dataclasses.replace(gru, call="given", given=True)
    model = make_evidence(make_call("scale", 2), lstm, gru, given, leak=make_leak(None, leaks))
    suspects = [("dropped", "scale", "lstm"), ("not-given", "gru", "gru")]
    assert list_causes(find_suspects(model)) == (suspects if leaks is None else [])
    assert find_suspects(dataclasses.replace(model, leak=None)) == []


def test_widening_call_is_the_first() -> None:
    first, second = (
        dataclasses.replace(make_call(name, index, MASK, valid=MASK), mask_out=ALL)
        for index, name in enumerate(("first", "second"))
    )
    model = make_evidence(first, second)
    assert find_widening_call(model) is first
    assert find_widening_call(model, before=first) is first
    assert find_widening_call(model, among={"second"}) is second
    assert find_widening_call(model, among=set()) is None


@pytest.mark.parametrize(
    ("path", "of_model", "is_found"), [("at", True, True), ("at/x", False, True), ("at/x", True, False)]
)
def test_attention_fault_inside_a_call(path: str, of_model: bool, is_found: bool) -> None:
    at = dataclasses.replace(AT, of_model=of_model)
    fault = make_fault(path)
    assert find_attention_fault(make_evidence(at, attention=(make_fault("other"), fault)), at) is (
        fault if is_found else None
    )


def test_place_of_the_largest_change() -> None:
    """An output is only named if there are several."""
    outputs = (make_output("tags"), make_output("score"))
    leak = Leak(True, 0.25, None, 3, 2, (), {}, output="tags")
    model = make_evidence(outputs=outputs, leak=leak)
    assert describe_largest_place(model) == "by up to 0.25 (worst: output tags, sample 3, timestep 2)"
    single = dataclasses.replace(model, outputs=outputs[:1])
    assert describe_largest_place(single) == "by up to 0.25 (worst: sample 3, timestep 2)"
    unnamed = dataclasses.replace(model, leak=dataclasses.replace(leak, output=None, timestep=None))
    assert describe_largest_place(unnamed) == "by up to 0.25 (worst: sample 3)"
    assert describe_largest_place(make_evidence()) == "as their gradient shows"


def test_place_of_a_compiled_difference() -> None:
    difference = CompiledDifference(0.5, 1e-6, 1, 2, "tags", None, False)
    outputs = (make_output("tags"), make_output("score"))
    messages = [
        next(jit_differs.judge(make_evidence(compiled=difference, outputs=outputs[:count]))).message for count in (1, 2)
    ]
    assert "Sample 1, timestep 2 differs by 0.5" in messages[0]
    assert "Sample 1, timestep 2 of output tags differs by 0.5" in messages[1]


FUTURE_FIXES = {
    "MultiHeadAttention": "use_causal_mask=True",
    "Conv1D": 'set `padding="causal"`',
    "Bidirectional": "the forward layer by itself",
    "Dense": "let each timestep depend on itself",
}


@pytest.mark.parametrize("type_", FUTURE_FIXES)
def test_fix_of_a_future_leak_is_that_of_its_layer(type_: str) -> None:
    effect = FutureEffect("a", True, 0.5, 1e-6, 0, 1, 2, "layer", "by --causal", requested=True, calls=("layer",))
    model = make_evidence(dataclasses.replace(make_call("layer"), type=type_), future=(effect,))
    fixes = [finding.fix for finding in future_leaks.judge(model)]
    assert [FUTURE_FIXES[type_] in fix for fix in fixes] == [True]
    unknown = [finding.fix for finding in future_leaks.judge(dataclasses.replace(model, trace=()))]
    assert [FUTURE_FIXES["Dense"] in fix for fix in unknown] == [True]


@pytest.mark.parametrize(
    ("call", "advice"),
    [
        (make_call("add", code=True), "Wrap the operation in a custom layer"),
        (dataclasses.replace(make_call("add"), type="Add"), "Wrap the operation in a custom layer"),
        (
            dataclasses.replace(make_call("add"), type="Add", masks_in=(MASK, None), shapes_in=((2, 3, 4),) * 2),
            "Mask every input",
        ),
        (dataclasses.replace(make_call("conv"), type="Conv1D"), "Set padding to zero before the convolution"),
        (make_call("mine"), "As at takes no mask, set padding to zero before it"),
        (
            dataclasses.replace(
                make_call("max"), type="GlobalMaxPooling1D", shapes_in=((2, 3, 4),), shapes_out=((2, 4),)
            ),
            "Use `keras.layers.GlobalAveragePooling1D()`",
        ),
    ],
    ids=["operation", "merge", "merge of masked and unmasked", "convolution", "layer", "pooling"],
)
def test_fix_of_a_lost_mask_is_that_of_its_call(call: Call, advice: str) -> None:
    assert suggest_fix(make_evidence(call, AT), call, AT).startswith(advice)


def test_fix_of_a_lost_mask_passes_it_to_a_layer_that_takes_one() -> None:
    call, at = make_call("mine"), dataclasses.replace(AT, mask_arguments={"mask": ()})
    fix = suggest_fix(make_evidence(call, at), call, at)
    assert fix.startswith("Pass the mask explicitly to the next mask-aware layer: `at(x, mask=mask)`")


def test_fix_of_an_output_without_mask_is_about_its_loss() -> None:
    """No layer comes after an output, to which the mask could be passed."""
    for call in (make_call("mine"), make_call("add", code=True)):
        fix = suggest_fix(make_evidence(call), call, None)
        assert "`sample_weight`" in fix
        assert "next" not in fix


def test_advice_names_the_lookup_whose_mask_was_lost() -> None:
    first, second = (dataclasses.replace(make_call(name), effect="creates") for name in ("of_words", "of_tags"))
    lost = dataclasses.replace(make_call("add", code=True), mask_from="of_tags")
    model = make_evidence(first, second, lost, AT)
    assert "of_tags.compute_mask(" in suggest_fix(model, lost, AT)
    unknown = dataclasses.replace(lost, mask_from=None)
    assert "of_words.compute_mask(" in suggest_fix(model, unknown, AT)


@pytest.mark.parametrize(
    ("masks", "text"),
    [
        ((MASK, None), "input 1 (0-based) has no mask"),
        ((None, MASK, None), "inputs 0, 2 (0-based) have no mask"),
        ((None, None), "drops the mask."),
        ((MASK, MASK), "drops the mask."),
    ],
)
def test_inputs_of_a_merge_without_a_mask(masks: tuple[Any, ...], text: str) -> None:
    merge = dataclasses.replace(make_call("add", 1), masks_in=masks, shapes_in=((2, 3, 4),) * len(masks))
    output = OutputEvidence("tags", (2, 3, 4), None, MASK, "tags", "add", lost_mask=MASK)
    (finding,) = mask_dropped.judge(make_evidence(merge, make_call("tags", 2), outputs=(output,)))
    assert text in finding.message


@pytest.mark.parametrize(("probed", "is_reported"), [(2, False), (1, True)])
def test_padding_id_in_a_row_that_was_not_probed(probed: int, is_reported: bool) -> None:
    """An Embedding that hides no token of the probed rows may hide one of the others."""
    facts = make_facts([[1, 2, 3], [4, 0, 5]])
    model = make_evidence(AT, sources=(make_source(hidden=None),))
    findings = list(judge_padding_id(facts, dataclasses.replace(model, rows=(probed, 2))))
    assert bool(findings) is is_reported


@pytest.mark.parametrize(("type_", "is_inside"), [("TimeDistributed", True), ("LSTM", False)])
def test_fix_of_padding_without_a_mask(type_: str, is_inside: bool) -> None:
    """A mask for layers inside of TimeDistributed has to be made inside."""
    (finding,) = no_mask_source.judge(make_leaking(dataclasses.replace(AT, type=type_)))
    assert ("Let the model inside of TimeDistributed make a mask" in finding.fix) is is_inside


@pytest.mark.parametrize("leaks", [True, False])
def test_mask_input_is_only_a_fault_if_padding_leaks(leaks: bool) -> None:
    """It decides which timesteps are padding; a mask that a layer makes is compared with the data in any case."""
    missed = Occurrence(2, 1, 0)
    given = dataclasses.replace(make_source("keep", of_ids=False, missed=missed), type=INPUT)
    made = dataclasses.replace(make_source("masking", of_ids=False, missed=missed), type="Masking")
    wide = CAUSES["wide mask"][0]
    model = dataclasses.replace(wide, leak=make_leak("at", leaks), sources=(given, made))
    findings = list(mask_misses_padding.judge(model))
    assert [finding.call for finding in findings] == (["keep", "masking"] if leaks else ["masking"])
    place = "marks 2 padded timesteps of 2 as valid, first in sample 1 at timestep 0"
    ends = (f"{place}: it looks for a value that padding does not have.", f"{place}.")
    for finding, end in zip(reversed(findings), ends, strict=False):
        assert finding.message.endswith(end)


@pytest.mark.parametrize(
    ("mask_shape", "shape", "at_fault", "advice"),
    [
        ((2, 3), (2, 3, 1), None, "Let the mask broadcast over features"),
        ((2, 3), (2, 3, 4), None, "Compute the softmax without a mask"),
        ((2, 3, 4), (2, 3, 1), None, "Reduce the mask to one value per timestep"),
        ((2, 3), (2, 3, 1), "Keras", "Use another release of Keras"),
    ],
)
def test_fix_of_a_mask_that_fails(
    mask_shape: tuple[int, ...], shape: tuple[int, ...], at_fault: str | None, advice: str
) -> None:
    failure = Failure("softmax", "Softmax", (mask_shape,), (shape,), "it does not broadcast", at_fault)
    (finding,) = mask_misaligned.judge(make_evidence(failure=failure))
    assert finding.fix.startswith(advice)
    assert finding.evidence == {"mask_shape": list(mask_shape), "shape": list(shape)}


def test_output_with_a_turned_mask_is_misaligned() -> None:
    """Also without a leak: a loss counts padding. Other calls of the model are no culprits."""
    turn = dataclasses.replace(make_call("turn", 2, MASK), valid=TURNED, valid_in=MASK)
    output = dataclasses.replace(make_output("turn", mask=MASK), valid=TURNED)
    (finding,) = mask_misaligned.judge(
        make_evidence(make_call("embedding", 1, MASK, valid=MASK), turn, outputs=(output,))
    )
    assert (finding.call, finding.evidence) == ("turn", {"hidden": 2, "passed_as_valid": 2})
    assert not list(mask_misaligned.judge(make_evidence(make_call("embedding", 1, MASK, valid=MASK))))


@pytest.mark.parametrize(
    ("changes", "severity"),
    [
        ({}, "info"),
        ({"reported": 1.5}, "warning"),
        ({"reported": 1.5, "averages": False}, "info"),
        ({"masked": None}, None),
        ({"counted_padding": 1}, None),
        ({"by_batch_size": {1: 1.0}}, None),
        ({"by_batch_size": {1: 1.0, 2: 1.0}}, None),
        ({"by_batch_size": {1: 1.0, 2: float("nan")}}, None),
        ({"tolerance": 0.5}, None),
    ],
)
def test_loss_that_depends_on_the_batch_size(changes: dict[str, Any], severity: str | None) -> None:
    parts = {"masked": 1.0, "reported": 1.0, "by_batch_size": {1: 1.0, 2: 2.0}, "batch_size": 1, **changes}
    loss = LossEvidence("mse", "tags", parts.pop("counted_padding", 0), 6, **parts)
    findings = loss_depends_on_batch_size.judge(make_evidence(losses=(loss,)))
    assert [finding.severity for finding in findings] == ([severity] if severity else [])


def test_fingerprint_of_a_finding_without_a_type() -> None:
    """Findings about the model, with the same subject, only differ in their number."""
    finding = make_finding("maskcli.rules.loss_not_finite", message="It is NaN.", fix="Find it.", output="tags_1")
    model = Examination((), make_evidence())
    first, again = identify([finding, finding], model)
    (renamed,) = identify([dataclasses.replace(finding, evidence={"output": "tags_7"})], model)
    (other,) = identify([dataclasses.replace(finding, evidence={"output": "score"})], model)
    (typed,) = identify([dataclasses.replace(finding, type="Functional")], model)
    assert first.fingerprint == renamed.fingerprint
    assert len({item.fingerprint for item in (first, again, other, typed)}) == 4


def test_fingerprint_leaves_out_counters_of_keras() -> None:
    """Keras counts layers through a process; a number that a user chose is part of a name."""
    call = make_finding("maskcli.rules.mask_dropped", message="It drops.", fix="Keep.", call="dense_3", type_="Dense")
    names = [("dense_3", "Dense"), ("dense_17", "Dense"), ("dense", "Dense"), ("dense_3", None), ("block_3", "Dense")]
    findings = [dataclasses.replace(call, call=name, type=type_) for name, type_ in names]
    prints = [next(identify([finding], Examination((), make_evidence()))).fingerprint for finding in findings]
    assert prints[0] == prints[1] == prints[2]
    assert len(set(prints)) == 3


@pytest.mark.parametrize(
    ("timestep", "at_padding", "text"),
    [
        (None, False, "Output tags differs by up to 0.5 (sample 1)."),
        (2, False, "Output tags differs by up to 0.5 (sample 1, timestep 2)."),
        (2, True, "Output tags differs by up to 0.5 (sample 1, timestep 2, which is padding)."),
    ],
)
def test_place_of_a_difference_between_backends(timestep: int | None, at_padding: bool, text: str) -> None:
    shapes = ((2, 3, 1), (2, 3, 1))
    same = OutputDifference("score", False, False, 9.0, 1e-6, 0, 0, False, shapes)
    worst = OutputDifference("tags", True, False, 0.5, 1e-6, 1, timestep, at_padding, shapes)
    (finding,) = backend_differs.judge(SideDifference("tensorflow", "jax", ("outputs",), outputs=(same, worst)))
    assert finding.message.endswith(text)
    assert (finding.evidence["timestep"], finding.evidence["max_abs_change"]) == (timestep, 0.5)
    assert not list(backend_differs.judge(SideDifference("tensorflow", "jax", (), outputs=(same,))))
