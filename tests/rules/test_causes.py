"""Causes of a leak: all at once, in order, one finding for each; and rules that were left out."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import maskcli
from maskcli.records.check import CheckReport, Examination
from maskcli.records.evidence import AttentionFault, MaskSource, MixedRows, ModelEvidence
from maskcli.rules import RULES
from maskcli.rules.blame import find_blames, find_suspects
from maskcli.rules.selection import find_ignored, judge_all, select_rules

# Keras warns of some layers that they destroy the mask.
pytestmark = [pytest.mark.filterwarnings("ignore::UserWarning"), pytest.mark.slow(share=1 / 3)]

ROWS = [[3, 1, 4, 1, 5], [9, 2], [6, 5, 3]]


def make_words() -> tuple[Any, Any]:
    keras.utils.set_random_seed(4)
    words = keras.Input((None,), dtype="int32", name="words")
    return words, layers.Embedding(11, 6, mask_zero=True, name="vectors")(words)


def run_check(model: Any, data: Any = ROWS, **options: Any) -> CheckReport:
    with warnings.catch_warnings(action="ignore"):
        return maskcli.check(data, model=model, **options)


def examine(model: Any) -> ModelEvidence:
    evidence = run_check(model).examination.model
    assert evidence is not None
    return evidence


def list_findings(evidence: ModelEvidence) -> list[tuple[str, str | None]]:
    return [(finding.code, finding.call) for finding in judge_all(RULES, Examination((), evidence))]


def make_two_branches() -> Any:
    """Two branches lose the mask at calls of their own, before an RNN each."""
    words, x = make_words()
    first = layers.GRU(3, name="gru")(layers.Dense(4, name="left")(x) * 2.0)
    second = layers.LSTM(3, name="lstm")(layers.Conv1D(4, 2, padding="causal", name="conv")(x))
    return keras.Model(words, layers.Concatenate()([first, second]))


def test_all_culprits_at_once() -> None:
    report = run_check(make_two_branches())
    dropped = [finding.call for finding in report.findings if finding.code == "MSK101"]
    assert sorted(dropped) == ["conv", "multiply"]
    assert {finding.code for finding in report.findings} == {"MSK101"}


def test_later_drops_are_named() -> None:
    """A chain of calls that drop the mask is reported in one round."""
    words, x = make_words()
    x = layers.Dense(4, name="dense")(x * 2.0) - 1.0
    (finding,) = run_check(keras.Model(words, layers.GRU(3, name="gru")(x))).findings
    assert (finding.code, finding.call) == ("MSK101", "multiply")
    assert "drops the mask from vectors (Embedding). subtract (Subtract) would drop it again." in finding.message
    assert finding.evidence["lost_again"] == ["subtract"]


def test_reversed_timesteps_keep_old_mask() -> None:
    """An RNN that runs backwards returns timesteps in reverse order, with a mask in the old order."""
    words, x = make_words()
    x = layers.GRU(4, return_sequences=True, go_backwards=True, name="backwards")(x)
    findings = run_check(keras.Model(words, layers.LSTM(3, name="lstm")(x))).findings
    assert [(finding.code, finding.call) for finding in findings] == [("MSK106", "backwards")]
    assert "hides 4 valid timesteps and marks 4 padded timesteps as valid" in findings[0].message


class Total(keras.layers.Layer):  # type: ignore[misc]
    """A sum that takes a mask and ignores it."""

    def call(self, inputs: Any, mask: Any = None) -> Any:
        del mask
        return keras.ops.sum(inputs, axis=1)


def test_ignored_mask_after_lost_mask() -> None:
    """A call that ignores its mask is a fault of its own, also where padding enters first elsewhere."""
    words, x = make_words()
    first = layers.GRU(3, name="gru")(x * 2.0)
    model = keras.Model(words, [first, Total(name="total")(layers.Dense(4)(x))])
    evidence = examine(model)
    assert {("MSK101", "multiply"), ("MSK107", "total")} <= set(list_findings(evidence))
    indices = [cause.culprit.index for cause in find_blames(evidence) if cause.culprit is not None]
    assert indices == sorted(indices)


def make_attention() -> Any:
    words, x = make_words()
    x = layers.MultiHeadAttention(2, 3, name="attend")(x * 1.0, x * 1.0)
    return keras.Model(words, layers.Dense(2)(x)[:, 0])


def test_mask_of_positions_is_no_mask_of_data() -> None:
    """A repair that joined it with the mask of the words would hide the first word of each row."""
    words, x = make_words()
    positions = keras.ops.expand_dims(keras.ops.arange(5), 0)
    numbers = layers.Lambda(lambda _: positions, output_shape=(5,))(words)
    x = layers.Add(name="add")([layers.Embedding(5, 6, mask_zero=True)(numbers), x])
    x = layers.Attention()([layers.Dense(6)(x), layers.Dense(6)(x)])
    report = run_check(keras.Model(words, layers.GlobalAveragePooling1D()(x)))
    (finding,) = [finding for finding in report.findings if finding.code == "MSK102"]
    assert "as valid, because a timestep counts as valid if any input is valid there." in finding.message
    assert finding.repair is not None
    assert "return None if mask is None else mask[1]" in finding.repair.code


def test_attention_fault_replaces_other_causes() -> None:
    evidence = examine(make_attention())
    fault = AttentionFault("attend", "MultiHeadAttention", "inverted", (3, 1, 5, 5), 4, 9, 30)
    explained = dataclasses.replace(evidence, attention=(fault,))
    assert any(call == "attend" or code == "MSK101" for code, call in list_findings(evidence))
    kinds = [cause.kind for cause in find_blames(explained)]
    assert kinds == ["attention"]
    assert not {"MSK101", "MSK104", "MSK107", "MSK109"} & {
        finding.code for rule in RULES for finding in rule.examine(Examination((), explained))
    }


def test_mask_of_timesteps_that_fits_classes_is_misaligned() -> None:
    """With as many rows and classes as timesteps, the mask broadcasts, and rows mask each other."""
    words, x = make_words()
    x = layers.LSTM(4, return_sequences=True)(x)
    softmax = layers.Softmax(name="softmax")(layers.Dense(3)(x))
    report = maskcli.check([[1, 2, 3], [4, 5], [6]], model=keras.Model(words, softmax))
    assert [(finding.code, finding.call) for finding in report.findings] == [("MSK106", "softmax")]


def test_mixed_rows_replace_other_causes() -> None:
    words, x = make_words()
    x = layers.BatchNormalization(name="norm")(x * 1.0, training=True)
    evidence = examine(keras.Model(words, layers.GRU(3, name="gru")(x)))
    mixed = MixedRows(0.5, 1e-6, 0, None, "output", "norm")
    assert {"MSK101", "MSK109"} <= {code for code, _ in list_findings(evidence)}
    assert ("MSK109", "norm") not in list_findings(dataclasses.replace(evidence, mixed_rows=mixed))
    at_gru = dataclasses.replace(evidence, mixed_rows=dataclasses.replace(mixed, first_call="gru"))
    assert [cause.kind for cause in find_blames(at_gru)] == ["rows"]


def test_unexplained_leak_is_reported() -> None:
    """MSK107 reports a leak that no other rule reports."""
    evidence = examine(keras.Model(*make_summed()))
    source = MaskSource("made", "Made", True, False, None, None, None, 5)
    hidden = dataclasses.replace(evidence, sources=(source,))
    assert [code for code, _ in list_findings(hidden)] == ["MSK107"]
    others = select_rules((), ("MSK107",))
    assert judge_all(others, Examination((), hidden)) == ()
    assert find_ignored(others, Examination((), hidden)) == ("MSK107",)


def make_summed() -> tuple[Any, Any]:
    keras.utils.set_random_seed(4)
    words = keras.Input((None,), dtype="int32", name="words")
    return words, layers.GRU(3, name="gru")(layers.Embedding(11, 6, name="vectors")(words))


@pytest.mark.parametrize("options", [{"ignore": ["MSK104"]}, {"select": ["MSK0"]}, {"select": ["MSK101", "MSK2"]}])
def test_ignored_leak_never_passes(options: dict[str, Any]) -> None:
    report = run_check(keras.Model(*make_summed()), **options)
    assert (report.status, report.ignored, report.passed) == ("leak-ignored", ("MSK104",), True)


def test_selected_leak_is_not_ignored() -> None:
    report = run_check(keras.Model(*make_summed()), ignore=["MSK101"])
    assert (report.status, report.ignored) == ("failed", ())


# Models in which no probe can decide.


def forget_probes(model: Any) -> ModelEvidence:
    """Return the evidence of a model as if no probe could decide."""
    evidence = examine(model)
    assert evidence.leak is not None
    leak = dataclasses.replace(evidence.leak, leaks=None, entries={}, first_call=None, reason="nothing could be tried")
    return dataclasses.replace(evidence, leak=leak)


def test_lost_mask_without_probe_is_a_warning() -> None:
    words, x = make_words()
    evidence = forget_probes(keras.Model(words, layers.GRU(3, name="gru")(x * 2.0)))
    (finding,) = (found for found in judge_all(RULES, Examination((), evidence)) if found.code == "MSK101")
    assert (finding.call, finding.severity) == ("multiply", "warning")
    assert "gru (GRU) computes without it. No probe could show whether padding then changes results." in finding.message


def test_unproven_leak_names_the_end_of_the_mask() -> None:
    words, x = make_words()
    evidence = forget_probes(keras.Model(words, layers.Conv1D(4, 2, padding="causal", name="conv")(x)))
    (finding,) = (found for found in judge_all(RULES, Examination((), evidence)) if found.code == "MSK115")
    assert finding.message.endswith("Reason: nothing could be tried. The mask ends at conv (Conv1D), which drops it.")


def test_mask_not_received_without_probe_is_a_warning() -> None:
    words, x = make_words()
    state = layers.Dense(3, name="state")(layers.GlobalAveragePooling1D()(x))
    evidence = forget_probes(keras.Model(words, layers.GRU(3, name="gru")(x, initial_state=state)))
    (finding,) = (found for found in judge_all(RULES, Examination((), evidence)) if found.code == "MSK103")
    assert (finding.call, finding.severity) == ("gru", "warning")


def test_complete_masks_are_no_suspects() -> None:
    words, x = make_words()
    model = keras.Model(words, layers.GRU(3)(layers.Bidirectional(layers.LSTM(2, return_sequences=True))(x)))
    assert find_suspects(forget_probes(model)) == []


# Masks that are inputs, and masks of parts of timesteps.


def make_keep(name: str = "keep") -> Any:
    """Return a model whose mask is an input, which is called positionally."""
    keras.utils.set_random_seed(4)
    series, keep = keras.Input((None, 3), name="series"), keras.Input((None,), dtype="bool", name=name)
    return keras.Model([series, keep], layers.GlobalAveragePooling1D(name="mean")(series, keep))


def test_mask_input_is_no_fault() -> None:
    """A mask input that leaves out timesteps of data is a choice, not a mask that hides data."""
    series = np.random.default_rng(1).normal(size=(3, 6, 3)).astype("float32")
    keep = np.array([[True] * 6, [True, False, True, False, False, False], [True] * 4 + [False] * 2])
    codes = {finding.code for finding in run_check(make_keep(), {"series": series, "keep": keep}).findings}
    assert not codes & {"MSK104", "MSK105", "MSK106", "MSK112", "MSK113"}


def test_masked_pixels_are_reported() -> None:
    keras.utils.set_random_seed(4)
    frames = keras.Input((None, 4, 6, 1), name="frames")
    x = layers.ConvLSTM2D(2, 3, padding="same", name="film")(layers.Masking(0.0, name="masking")(frames))
    model = keras.Model(frames, layers.Dense(1)(layers.Flatten()(x)))
    values = np.random.default_rng(1).uniform(0.2, 1.0, size=(3, 5, 4, 6, 1)).astype("float32")
    values[1, 3:], values[2, 4:] = 0.0, 0.0
    assert not [finding for finding in run_check(model, {"frames": values}).findings if finding.code == "MSK113"]
    values[0, 1, 2, 2:4] = 0.0
    (finding,) = (found for found in run_check(model, {"frames": values}).findings if found.code == "MSK113")
    assert (finding.call, finding.evidence["hidden"]) == ("masking", 2)
    assert "masks 2 parts of timesteps, first in sample 0 at timestep 1" in finding.message


class Pair(layers.Layer):
    """Returns the vectors of ids and the ids themselves, both with the mask."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.vectors = layers.Embedding(11, 4, name="vectors")
        self.supports_masking = True

    def call(self, ids: Any) -> Any:
        return self.vectors(ids), keras.ops.cast(ids, "float32")[..., None]

    def compute_mask(self, ids: Any, previous: Any = None) -> Any:
        del previous
        return (keras.ops.not_equal(ids, 0),) * 2


def test_layer_that_returns_two_masked_tensors_is_no_fault() -> None:
    keras.utils.set_random_seed(4)
    words = keras.Input((None,), dtype="int32", name="words")
    model = keras.Model(words, layers.GRU(3)(layers.Concatenate()(list(Pair(name="pair")(words)))))
    report = run_check(model, [[3, 1, 4], [1, 5], [9]])
    assert report.leak is not None
    assert (report.findings, report.leak.verdict) == ((), "clean")


def test_mask_not_given_after_it_was_lost_has_one_cause() -> None:
    """An LSTM with an initial state takes no mask, but there is none to take any more."""
    words, x = make_words()
    x = layers.Conv1D(4, 3, padding="same", name="conv")(x)
    state = layers.Dense(3, name="state")(layers.GlobalMaxPooling1D()(x))
    model = keras.Model(words, layers.GRU(3, name="gru")(x, initial_state=state))
    codes = {finding.code: finding.call for finding in run_check(model, [[3, 1, 4], [1, 5], [9]]).findings}
    assert codes.get("MSK101") == "conv"
    assert "MSK103" not in codes


def test_keys_without_mask_next_to_queries_that_lost_it() -> None:
    """Padded keys enter, which never had a mask; the mask that the queries lost would not hide them."""
    words, x = make_words()
    article = keras.Input((None,), dtype="int32", name="article")
    keys = layers.Embedding(11, 6, name="keys")(article)
    outputs = layers.Dense(2)(layers.Attention(name="attend")([x * 2.0, keys]))
    data = {"words": np.array([[3, 1, 4], [9, 0, 0]]), "article": np.array([[2, 6, 5, 3], [5, 8, 0, 0]])}
    report = run_check(keras.Model([words, article], outputs), data)
    findings = [(finding.code, finding.call, finding.severity) for finding in report.findings]
    assert findings == [("MSK104", "attend", "error"), ("MSK101", "multiply", "warning")]
    assert [(repair.kind, repair.call) for repair in report.repairs] == [("set-mask-zero", "keys")]
