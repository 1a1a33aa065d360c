"""Segments of packed rows do not see each other; a model in which they do is found, with the call at fault."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

import maskcli
from maskcli.api.model_data import DataFile
from maskcli.corpus.shards import pad_to_shards
from maskcli.inputs.roles import holds_segments
from maskcli.records.leak import Probe
from maskcli.sequences.sources import Source
from tests.corpus.test_shards import SETTINGS

TIMESTEPS, IDS = 12, 20


def pack_rows() -> dict[str, Any]:
    """Return six rows of two to four segments, each with padding at its end."""
    rng = np.random.default_rng(0)
    arrays = {name: np.zeros((6, TIMESTEPS), np.int32) for name in ("tokens", "segment_ids", "position_ids")}
    for row in range(6):
        start = 0
        for segment, length in enumerate(rng.integers(2, 5, 4), 1):
            end = min(start + length, TIMESTEPS - 1 - row % 3)
            arrays["tokens"][row, start:end] = rng.integers(1, IDS, end - start)
            arrays["segment_ids"][row, start:end] = segment
            arrays["position_ids"][row, start:end] = range(end - start)
            start = end
    return arrays


ROWS = pack_rows()


def attend(x: Any, segments: Any, only_own: bool) -> Any:
    mask = segments[:, None, :] > 0
    if only_own:
        mask = ops.logical_and(mask, ops.equal(segments[:, :, None], segments[:, None, :]))
    return x + layers.MultiHeadAttention(2, 4, name="heads")(x, x, attention_mask=mask)


class AttendInCode(layers.Layer):
    """Attention that is written by hand, without a mask of pairs."""

    def call(self, x: Any, segments: Any) -> Any:
        scores = ops.matmul(x, ops.transpose(x, (0, 2, 1))) + ops.cast(segments[:, None, :] == 0, "float32") * -1e9
        return ops.matmul(ops.softmax(scores), x)


MIXING: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "attention": (lambda x, segments: attend(x, segments, only_own=False), "heads"),
    "by hand": (lambda x, segments: AttendInCode(name="mine")(x, segments), "mine"),
    "lstm": (lambda x, segments: layers.LSTM(6, return_sequences=True, name="lstm")(x, mask=segments > 0), "lstm"),
    "late": (
        lambda x, segments: layers.GRU(6, return_sequences=True, name="gru")(
            attend(x, segments, only_own=True), mask=segments > 0
        ),
        "gru",
    ),
    "convolution": (
        lambda x, segments: layers.Conv1D(6, 3, padding="causal", name="conv")(
            x * ops.cast(segments > 0, "float32")[:, :, None]
        ),
        "conv",
    ),
}


def make_model(middle: Callable[[Any, Any], Any]) -> Any:
    keras.utils.set_random_seed(0)
    tokens, segments, positions = (
        keras.Input((TIMESTEPS,), dtype="int32", name=name) for name in ("tokens", "segment_ids", "position_ids")
    )
    x = layers.Embedding(IDS, 8)(tokens) + layers.Embedding(TIMESTEPS, 8)(positions)
    return keras.Model([tokens, segments, positions], layers.Dense(3)(middle(x, segments)))


def find_probe(report: Any) -> Probe | None:
    return next((probe for probe in report.leak.probes if probe.name == "segments"), None)


@pytest.mark.slow(share=1 / 5)
@pytest.mark.parametrize("kind", MIXING)
def test_mixing_call_is_named(kind: str) -> None:
    middle, path = MIXING[kind]
    report = maskcli.check(ROWS, model=make_model(middle), select=["MSK119"])
    (finding,) = report.findings
    assert (finding.code, finding.severity, finding.call) == ("MSK119", "error", path)
    assert finding.evidence["max_abs_change"] > finding.evidence["tolerance"]
    sample, timestep = finding.evidence["sample"], finding.evidence["timestep"]
    assert finding.evidence["segment"] == ROWS["segment_ids"][sample, timestep] > 0
    probe = find_probe(report)
    assert probe is not None
    assert (probe.leaks, probe.first_call) == (True, path)


@pytest.mark.parametrize("side", ["pre", "post"])
def test_block_diagonal_attention_is_clean(side: str) -> None:
    rows = {name: values if side == "post" else np.roll(values, 3, axis=1) for name, values in ROWS.items()}
    if side == "pre":
        rows = {name: np.where(np.arange(TIMESTEPS) < 3, 0, values) for name, values in rows.items()}
    report = maskcli.check(rows, model=make_model(lambda x, segments: attend(x, segments, only_own=True)))
    faults = [finding for finding in report.findings if finding.severity != "info"]
    assert (faults, report.leak.verdict) == ([], "clean")
    probe = find_probe(report)
    assert probe is not None
    assert (probe.applicable, probe.leaks, probe.max_abs_change) == (True, False, 0.0)


def test_model_without_segments_is_found_by_the_data(tmp_path: Path) -> None:
    """The shards of ``pad --pack`` have segments, although a model takes only the tokens."""
    source = tmp_path / "a.jsonl"
    source.write_text("".join(f"{list(range(1, 2 + index % 5))}\n" for index in range(30)))
    settings = dataclasses.replace(SETTINGS, format="npz", pack=10, shards=3)
    pad_to_shards([Source(str(source))], tmp_path / "packed", settings)
    keras.utils.set_random_seed(0)
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = layers.LSTM(4, return_sequences=True, name="lstm")(layers.Embedding(9, 4, mask_zero=True)(tokens))
    data = DataFile(str(tmp_path / "packed" / "manifest.json"))
    report = maskcli.check(data, model=keras.Model(tokens, layers.Dense(2)(x)))
    assert [(finding.code, finding.call) for finding in report.findings] == [("MSK119", "lstm")]


def test_pairs_of_sentences_are_not_packed() -> None:
    pairs = np.array([[0, 0, 1, 1, 0], [0, 1, 1, 1, 1]])
    packed = ROWS["segment_ids"]
    assert holds_segments("segment_ids", packed)
    assert holds_segments("decoder_segment_ids", packed.astype(np.int64))
    assert not holds_segments("token_type_ids", packed)
    assert not holds_segments("segment_ids", pairs)
    assert not holds_segments("segment_ids", np.minimum(packed, 1))
    assert not holds_segments("segment_ids", packed.astype(float))
    assert not holds_segments("segment_ids", np.array([[1, 1, 3, 3]]))
    assert not holds_segments("segment_ids", np.array([[1, 1, 0, 2]]))
    assert not holds_segments("segment_ids", np.array([[2, 2, 1, 1]]))
    assert holds_segments("segments", np.array([[1, 2, 2, 3], [0, 0, 0, 0]]))


def test_quick_check_leaves_the_probe_out() -> None:
    report = maskcli.check(ROWS, model=make_model(MIXING["lstm"][0]), quick=True)
    probe = find_probe(report)
    assert probe is not None
    assert (probe.applicable, probe.why) == (False, "left out of a quick check")
    assert "MSK119" not in [finding.code for finding in report.findings]


def test_model_without_outputs_of_timesteps_has_no_answer() -> None:
    model = make_model(lambda x, segments: layers.GlobalAveragePooling1D()(x, mask=segments > 0))
    probe = find_probe(maskcli.check(ROWS, model=model, select=["MSK119"]))
    assert probe is not None
    assert (probe.applicable, probe.why) == (False, "no output has a result for each token")
