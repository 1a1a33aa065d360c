"""Numbers whose time is the last of two axes, or comes after the channels: what is padding there, and what leaks."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from maskcli.errors import UsageError
from maskcli.records.check import CheckReport
from tests.probes.test_public_models import LENGTHS, VALID, Case, check, get_verdict, join_code, list_errors

pytestmark = pytest.mark.slow(share=1 / 2)


def make_row(value: float) -> np.ndarray:
    """Return numbers ``(4, 6)``, padded with a value."""
    values = np.random.default_rng(1).normal(size=VALID.shape).astype("float32")
    return np.where(VALID, values, np.float32(value))


def make_channels(value: float, size: int = 3) -> np.ndarray:
    """Return numbers ``(4, size, 6)``, padded with a value along the last axis."""
    values = np.random.default_rng(2).normal(size=(4, size, 6)).astype("float32")
    return np.where(VALID[:, None], values, np.float32(value))


def get_source(report: CheckReport) -> tuple[str, int]:
    assert report.examination is not None
    (entry,) = report.examination.inputs
    return entry.validity.source, entry.time_axis


# One number at each timestep.


def mask_after_reshape() -> Case:
    series = keras.Input((6,), name="series")
    x = layers.Masking(-1.0)(layers.Reshape((6, 1))(series))
    return {"series": make_row(-1)}, keras.Model(series, layers.Dense(1)(layers.LSTM(4)(x)))


def test_rounding_keeps_the_value_that_a_masking_looks_for() -> None:
    """A reshape computes nothing; with another last digit, -1 would be data."""
    report = check(mask_after_reshape)
    assert (get_verdict(report), get_source(report)) == ("clean", ("masking-layer", 1))


def read_series(value: float, mask: Any = None) -> Case:
    series = keras.Input((6,), name="series")
    x = series if mask is None else mask()(series)
    x = layers.Reshape((6, 1), name="reshape")(x) if mask is None else KeepingReshape((6, 1))(x)
    return {"series": make_row(value)}, keras.Model(series, layers.Dense(1)(layers.LSTM(4, name="rnn")(x)))


class KeepingReshape(layers.Reshape):
    """Keeps its mask, like the class that a repair prints."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.supports_masking = True

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:  # noqa: ARG002
        return mask


def test_chosen_value_applies_to_one_number_at_each_timestep() -> None:
    report = check(lambda: read_series(-1), value=-1)
    assert (get_verdict(report), get_source(report)) == ("leaks", ("value", 1))
    scope: dict[str, Any] = {"keras": keras}
    definition, line = report.repairs[0].code.rsplit("\n\n\n", 1)
    exec(definition, scope)  # noqa: S102 - the code of the repair
    assert line.startswith("masked_series = MaskSeries()(series)  # series is that keras.Input")
    assert get_verdict(check(lambda: read_series(-1, scope["MaskSeries"]), value=-1)) == "clean"


def test_clear_runs_of_numbers_that_a_layer_takes_as_timesteps_are_padding() -> None:
    report = check(lambda: read_series(-50))
    assert (get_verdict(report), get_source(report)) == ("leaks", ("value", 1))


def test_chosen_value_that_rows_of_numbers_lack_is_an_error() -> None:
    with pytest.raises(UsageError, match="does not occur"):
        check(lambda: read_series(-1), value=-7)


def convolve_table() -> Case:
    """Convolve the columns of a table, some of whose rows end in 0."""
    table = np.random.default_rng(4).normal(size=(8, 6)).astype("float32")
    table[::2, 4:] = 0
    table[1::2, :2] = 0
    columns = keras.Input((6,), name="columns")
    x = layers.Conv1D(2, 3)(layers.Reshape((6, 1))(columns))
    return {"columns": table}, keras.Model(columns, layers.Dense(1)(layers.Flatten()(x)))


def test_zeros_in_the_columns_of_a_table_are_data() -> None:
    report = check(convolve_table)
    assert report.passed
    assert report.leak is not None
    assert report.leak.leaks is None


def score_table(values: np.ndarray) -> Case:
    columns = keras.Input((6,), name="columns")
    x = layers.Masking(-1.0, name="masking")(columns)
    return {"columns": values}, keras.Model(columns, layers.Dense(2)(x))


def test_masking_of_a_table_masks_no_column() -> None:
    report = check(lambda: score_table(make_row(-1)))
    assert list_errors(report) == [("MSK110", "masking")]
    assert get_verdict(report) == "leaks"
    (finding,) = [finding for finding in report.findings if finding.code == "MSK110"]
    assert "numbers of shape (4, 6)" in finding.message


def test_masking_of_whole_rows_of_a_table_is_no_fault() -> None:
    values = make_row(0.5)
    values[1] = -1
    assert not list_errors(check(lambda: score_table(values)))


# Channels before time.


def read_channels(value: float, *, masked: bool) -> Case:
    series = keras.Input((3, 6), name="series")
    x = layers.Permute((2, 1))(series)
    x = layers.Masking(value)(x) if masked else x
    return {"series": make_channels(value)}, keras.Model(series, layers.Dense(1)(layers.LSTM(4, name="rnn")(x)))


@pytest.mark.parametrize(("masked", "verdict"), [(True, "clean"), (False, "leaks")])
@pytest.mark.parametrize("options", [{}, {"value": -1}])
def test_time_after_channels_is_padded(masked: bool, verdict: str, options: dict[str, Any]) -> None:
    report = check(lambda: read_channels(-1, masked=masked), **options)
    assert (get_verdict(report), get_source(report)) == (verdict, ("value", 2))


def test_printed_mask_of_time_after_channels_cures() -> None:
    report = check(lambda: read_channels(-1, masked=False))
    mask = "keras.ops.any(keras.ops.not_equal(series, -1), axis=1)"
    assert join_code(report) == f"rnn(..., mask={mask})"

    def repair() -> Case:
        series = keras.Input((3, 6), name="series")
        x = layers.Permute((2, 1))(series)
        x = layers.LSTM(4)(x, mask=eval(mask, {"keras": keras, "series": series}))  # noqa: S307 - the printed mask
        return {"series": make_channels(-1)}, keras.Model(series, layers.Dense(1)(x))

    assert get_verdict(check(repair)) == "clean"


def test_marks_of_time_after_channels_are_taken() -> None:
    def build() -> Case:
        data, model = read_channels(0, masked=False)
        return {**data, "series.mask": VALID}, model

    report = check(build)
    assert (get_verdict(report), get_source(report)) == ("leaks", ("given", 2))


def test_frames_of_columns_are_padded_along_their_width() -> None:
    """Lines of text as images ``(batch, height, width, 1)`` are read column by column."""

    def build() -> Case:
        images = keras.Input((5, None, 1), name="images")
        x = layers.TimeDistributed(layers.Flatten())(layers.Permute((2, 1, 3))(images))
        values = np.random.default_rng(3).uniform(0.1, 1, (4, 5, 6, 1)).astype("float32")
        values *= VALID[:, None, :, None]
        return {"images": values}, keras.Model(images, layers.Dense(1)(layers.LSTM(4, name="rnn")(x)))

    report = check(build)
    assert (get_verdict(report), get_source(report)) == ("leaks", ("value", 2))
    assert list_errors(report) == [("MSK104", "rnn")]


def test_both_branches_of_channels_and_of_time_are_judged() -> None:
    """As in MALSTM-FCN: an LSTM over the channels, whose features are timesteps, and convolutions over time."""

    def build() -> Case:
        series = keras.Input((3, 6), name="series")
        x = layers.LSTM(4)(layers.Masking(0.0)(series))
        y = layers.Conv1D(4, 3, padding="same", activation="relu", name="convolve")(layers.Permute((2, 1))(series))
        y = layers.GlobalAveragePooling1D()(y)
        return {"series": make_channels(0)}, keras.Model(series, layers.Dense(1)(layers.Concatenate()([x, y])))

    report = check(build)
    assert get_verdict(report) == "leaks"
    assert list_errors(report)[0] == ("MSK104", "convolve")


# Scores inside a layer.


class Search(layers.Layer):
    """Compares words of a query with those of a document."""

    def __init__(self, *, masked: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.masked = masked

    def compare(self, query: Any, document: Any, mask: Any) -> Any:
        scores = ops.matmul(query, ops.transpose(document, (0, 2, 1))) / 2.0
        return ops.where(mask[:, None, :], scores, -1e9) if self.masked else scores

    def call(self, query: Any, document: Any, document_mask: Any = None) -> Any:
        scores = self.compare(query, document, document_mask)
        read = ops.matmul(ops.softmax(scores), document)
        return ops.concatenate([read, ops.max(scores, axis=-1, keepdims=True)], axis=-1)


class LateInteraction(Search):
    """Adds up the best score of each word of the query."""

    def call(self, query: Any, document: Any, query_mask: Any = None, document_mask: Any = None) -> Any:
        best = ops.max(self.compare(query, document, document_mask), axis=-1)
        best = ops.where(query_mask, best, 0.0) if self.masked else best
        return ops.sum(best, axis=-1, keepdims=True)


def search(kind: type[Search], *, masked: bool) -> Case:
    query, document = inputs = [keras.Input((None,), dtype="int32", name=name) for name in ("query", "document")]
    look = layers.Embedding(20, 8, mask_zero=True, name="look")
    x = kind(masked=masked, name="search")(look(query), look(document))
    if kind is Search:
        x = layers.LSTM(4)(x, mask=ops.not_equal(query, 0))
    ids = np.random.default_rng(7).integers(1, 20, VALID.shape) * VALID
    data = {"query": [row[:length] for row, length in zip(ids.tolist(), LENGTHS[::-1], strict=True)]}
    data["query"] = [[item or 1 for item in row] for row in data["query"]]
    data["document"] = [row[:length] for row, length in zip(ids.tolist(), LENGTHS, strict=True)]
    return data, keras.Model(inputs, layers.Dense(1)(x))


MASKED_SCORES = "scores = keras.ops.where(document_mask[:, None, :], scores, -1e9)"


def test_scores_for_a_softmax_and_a_maximum_are_masked_once() -> None:
    report = check(lambda: search(Search, masked=False))
    assert [(repair.kind, repair.code.partition("  #")[0]) for repair in report.repairs] == [
        ("mask-scores", MASKED_SCORES)
    ]
    assert get_verdict(check(lambda: search(Search, masked=True))) == "clean"


def test_maximum_over_keys_and_sum_over_queries_are_masked() -> None:
    report = check(lambda: search(LateInteraction, masked=False))
    lines = {repair.kind: repair.code.partition("  #")[0] for repair in report.repairs}
    assert lines == {"mask-scores": MASKED_SCORES, "zero-padding": "x = keras.ops.where(query_mask, x, 0.0)"}
    assert get_verdict(check(lambda: search(LateInteraction, masked=True))) == "clean"
