"""A quick check runs only the probes that decide, and a large model few rows; an interrupted one is left as it was."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import keras
import numpy as np
import pytest
from keras import layers

import maskcli
from maskcli.probes.context import LEFT_OUT
from maskcli.probes.lengths import COLUMNS
from maskcli.records.check import CheckReport
from maskcli.records.inputs import ModelInput
from maskcli.trace import recorder
from maskcli.trace.outputs import choose_short_rows

ROWS = [[1, 2, 3], [4, 5], [1, 2, 3, 4, 5, 6], [7]]


def make_model(head: Any, timesteps: int | None = None, width: int = 4) -> keras.Model:
    keras.utils.set_random_seed(0)
    tokens = keras.Input((timesteps,), dtype="int32", name="tokens")
    with warnings.catch_warnings(action="ignore"):
        return keras.Model(tokens, head(layers.Embedding(10, width, mask_zero=True)(tokens)))


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """List the rows of each run that is recorded."""
    log: list[int] = []

    class LoggingRecorder(recorder._Recorder):
        def begin(self, operation: Any, args: Any, kwargs: Any) -> Any:
            if not self.stack:
                log.append(len(keras.tree.flatten(args)[0]))
            return super().begin(operation, args, kwargs)

    monkeypatch.setattr(recorder, "_Recorder", LoggingRecorder)
    return log


def check(model: keras.Model, **options: Any) -> CheckReport:
    return maskcli.check(ROWS, model=model, quick=True, **options)


def list_probes(report: CheckReport) -> dict[str, bool]:
    assert report.leak is not None
    return {probe.name: probe.applicable for probe in report.leak.probes}


def test_quick_check_runs_one_probe_that_decides(runs: list[int]) -> None:
    report = check(make_model(layers.LSTM(3)))
    # The rows; one of them without its padding, twice for rounding; other values at padding; other weights.
    assert runs == [2, 1, 1, 2, 2, 1, 1]
    assert report.quick
    assert report.status == "passed"
    assert [name for name, applicable in list_probes(report).items() if applicable] == ["replace", "alone"]
    assert report.leak is not None
    left_out = [probe.name for probe in report.leak.probes if probe.why == LEFT_OUT]
    assert left_out == ["columns", "gradient", "rows", "future", "compiled"]
    assert any(LEFT_OUT in note for note in report.notes)  # Saving, too.


def test_quick_check_finds_leak_without_searching_for_repairs(runs: list[int]) -> None:
    report = check(make_model(lambda x: layers.GlobalMaxPooling1D()(layers.Conv1D(3, 2)(x))))
    assert report.leak is not None
    assert report.leak.leaks
    assert len(runs) <= 9
    assert not report.attempts
    assert not report.repairs
    assert all(finding.fix.startswith("Not tried:") for finding in report.findings if finding.severity == "error")


@pytest.mark.parametrize("row", [0, 1])
def test_quick_check_of_two_sequences_sees_the_padding_of_both(row: int) -> None:
    """Only padding of the second sequence leaks; there is less of it, in the row of the first one or in another."""
    names = ("question", "answer")
    inputs = [keras.Input((None,), dtype="int32", name=name) for name in names]
    keras.utils.set_random_seed(0)
    question, answer = (layers.Embedding(10, 4, mask_zero=True)(tokens) for tokens in inputs)
    states = layers.LSTM(3, return_sequences=True)(answer)
    model = keras.Model(inputs, layers.Concatenate()([layers.LSTM(3)(question), keras.ops.mean(states, axis=1)]))
    arrays = {name: np.arange(1, 10).repeat(2).reshape(3, 6) for name in names}
    arrays["question"][0, 2:] = 0
    arrays["answer"][row, 5:] = 0
    report = maskcli.check(arrays, model=model, quick=True)
    assert report.leak is not None
    assert report.leak.leaks


def test_quick_check_of_fixed_length_is_never_falsely_clean() -> None:
    """The content of padding can be changed, but not its amount, and no row is without padding in two rows."""
    flat = make_model(lambda x: layers.Dense(2)(layers.Flatten()(layers.Dense(3)(x))), timesteps=8)
    report = check(flat)
    assert report.leak is not None
    assert report.leak.leaks
    pooled = make_model(lambda x: keras.ops.sum(layers.Reshape((8, 4))(layers.LSTM(4, return_sequences=True)(x)), 1), 8)
    report = check(pooled)
    assert report.leak is not None
    assert report.leak.leaks is not False


@pytest.mark.parametrize("zeros", [True, False], ids=["zeros", "random"])
def test_weights_of_a_large_model_are_moved_if_they_are_zero(
    runs: list[int], zeros: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bias of zero hides that padding reaches a maximum; of a large model, other weights are spared."""
    monkeypatch.setattr("maskcli.probes.variants.MOST_MOVED_WEIGHTS", 0)
    model = make_model(lambda x: layers.Dense(3)(layers.LSTM(3)(x)))
    if not zeros:
        for weight in model.weights:
            weight.assign(np.random.default_rng(0).uniform(0.5, 1, weight.shape))
    check(model)
    assert len(runs) == (7 if zeros else 5)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every model be a large one."""
    monkeypatch.setattr("maskcli.trace.run.WORK", 1)


@pytest.mark.usefixtures("large")
def test_large_model_runs_only_the_rows_that_a_probe_needs(runs: list[int]) -> None:
    model = make_model(lambda x: layers.Dense(16)(layers.LSTM(16)(x)), width=16)
    report = maskcli.check(ROWS, model=model)
    # Two rows; the padded one under a tape, without its padding, and once more for rounding; other values at padding,
    # of both signs; more padding in the full row; other weights, with noise of one sign; another row.
    assert runs == [2, 1, 1, 1, 2, 2, 1, 1, 1, 2]
    assert report.status == "passed"


def test_noise_at_a_single_unit_has_both_signs(runs: list[int]) -> None:
    """A maximum of one unit may hide a leak under noise of one sign; 16 units do not."""
    maskcli.check(ROWS, model=make_model(lambda x: layers.Dense(16)(layers.LSTM(16)(x)), width=16))
    many = len(runs)
    runs.clear()
    maskcli.check(ROWS, model=make_model(lambda x: layers.Dense(1)(layers.LSTM(16)(x)), width=16))
    assert len(runs) > many


HEADS = {
    "clean": lambda x: layers.LSTM(3)(x),
    "content": lambda x: layers.GlobalMaxPooling1D()(layers.Conv1D(3, 2)(x)),
    "amount": lambda x: layers.GlobalAveragePooling1D()(layers.Conv1D(3, 1, use_bias=False)(x)),
    "last": lambda x: keras.ops.take(layers.Dense(3)(x), -1, axis=1),
}


@pytest.mark.parametrize(
    ("name", "padding"), [("clean", "post"), ("content", "pre"), ("amount", "post"), ("last", "pre")]
)
def test_large_model_has_verdict_of_small_one(
    name: str, padding: Literal["pre", "post"], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(HEADS[name])
    small = maskcli.check(ROWS, model=model, padding=padding)
    monkeypatch.setattr("maskcli.trace.run.WORK", 1)
    report = maskcli.check(ROWS, model=model, padding=padding)
    assert report.leak is not None
    assert small.leak is not None
    assert (report.leak.verdict, report.leak.first_call) == (small.leak.verdict, small.leak.first_call)
    assert {finding.code for finding in report.findings} == {finding.code for finding in small.findings}


LONG_ROWS = [[1] * 5, [2] * 9, [3] * 8, [4] * 12]


@pytest.fixture
def columns(large: None, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Let every model be a large one, and more than 9 timesteps be many; list the shapes of each run."""
    del large
    monkeypatch.setattr("maskcli.trace.outputs.SHORT", 9)
    log: list[tuple[int, ...]] = []

    class LoggingRecorder(recorder._Recorder):
        def begin(self, operation: Any, args: Any, kwargs: Any) -> Any:
            if not self.stack:
                log.append(tuple(keras.tree.flatten(args)[0].shape))
            return super().begin(operation, args, kwargs)

    monkeypatch.setattr(recorder, "_Recorder", LoggingRecorder)
    return log


@pytest.mark.parametrize("name", ["clean", "content", "amount"])
def test_large_model_takes_short_rows_without_columns_of_longer_ones(name: str, columns: list[tuple[int, ...]]) -> None:
    """The rows of 5 and 9 timesteps are probed, as a batch of these two would be padded; the verdict is the same."""
    report = maskcli.check(LONG_ROWS, model=make_model(HEADS[name]))
    assert report.leak is not None
    assert report.leak.verdict == ("clean" if name == "clean" else "leaks")
    assert report.leak.sample in (None, 0, 1)
    assert columns[0] == (2, 9)
    assert max(shape[1] for shape in columns) == 9 + COLUMNS


def test_large_model_that_needs_its_length_keeps_the_columns(columns: list[tuple[int, ...]]) -> None:
    """Its code adds one vector for each of 12 timesteps; fewer raise an error."""
    offset = layers.Lambda(lambda x: x + keras.ops.ones((12, 1)))
    report = maskcli.check(LONG_ROWS, model=make_model(lambda x: layers.LSTM(3)(offset(x))))
    assert columns[:2] == [(2, 9), (2, 12)]
    assert report.leak is not None
    assert not any(finding.code == "MSK105" for finding in report.findings)
    columns.clear()
    maskcli.check(LONG_ROWS, model=make_model(lambda x: layers.LSTM(3)(x), timesteps=12))
    assert columns[0] == (2, 12)  # It declares them.


def test_pre_padding_keeps_the_columns(columns: list[tuple[int, ...]]) -> None:
    """Without its first columns, the timesteps of findings would not be those of the data."""
    maskcli.check(LONG_ROWS, model=make_model(HEADS["clean"]), padding="pre")
    assert columns[0] == (2, 12)


def test_rows_of_features_keep_the_columns(columns: list[tuple[int, ...]]) -> None:
    """A mask that is computed from features may hide data in any row, here in the longest one."""
    features = np.where(np.arange(12)[:, None] < np.array([5, 9, 8, 12])[:, None, None], 1.0, 0.0)
    features[3, 4] = 0.0
    series = keras.Input((None, 1), name="series")
    model = keras.Model(series, layers.LSTM(3)(layers.Masking()(series)))
    report = maskcli.check({"series": features.astype("float32")}, model=model)
    assert {shape[1] for shape in columns} >= {12}
    assert [finding.code for finding in report.findings] == ["MSK113"]


def make_lengths(lengths: list[int], timesteps: int = 300, name: str = "tokens") -> ModelInput:
    valid = np.arange(timesteps) < np.array(lengths)[:, None]
    return ModelInput(name, valid.astype("int32"), valid, "ids")


@pytest.mark.parametrize(
    ("lengths", "rows", "width"),
    [
        ([300, 90, 128, 20, 200], [2, 3], 128),  # The shortest and the longest of at most 128 timesteps.
        ([300, 170, 219, 250], [1, 2], 219),  # All are longer: the two shortest.
        ([300, 170, 170, 250], [1, 3], 250),
        ([300, 0, 50, 90], [1, 2, 3], 90),  # A row without a valid timestep is probed, too.
    ],
)
def test_short_rows_are_of_two_lengths(lengths: list[int], rows: list[int], width: int) -> None:
    chosen = choose_short_rows([make_lengths(lengths)])
    assert chosen is not None
    assert (chosen[0].tolist(), chosen[1]) == (rows, slice(0, width))


def test_short_rows_have_not_as_many_columns_as_features() -> None:
    """A result of as many features as there are timesteps could be taken for one with timesteps."""
    chosen = choose_short_rows([make_lengths([300, 90, 128])], avoided={128, 129})
    assert chosen is not None
    assert chosen[1] == slice(0, 130)
    assert choose_short_rows([make_lengths([300, 90, 128])], avoided=frozenset(range(301))) is None


def test_no_short_rows_where_a_batch_would_be_padded_otherwise() -> None:
    assert choose_short_rows([make_lengths([300, 300])]) is None  # None is shorter than others.
    assert choose_short_rows([make_lengths([90, 100], 100)]) is None  # All are short.
    tokens = make_lengths([300, 90, 20])
    scores = ModelInput("scores", np.zeros((3, 300, 300)), tokens.valid, "features")
    assert choose_short_rows([tokens, scores]) is None  # It has timesteps on another axis, too.
    assert choose_short_rows([tokens, make_lengths([20, 20, 300], 400, "answer")]) is None
    # The second input would have no padding in the two rows, both of 128 timesteps.
    inputs = [make_lengths([10, 100, 128, 300]), make_lengths([128, 100, 128, 300], name="answer")]
    assert choose_short_rows(inputs) is None


def test_rows_without_padding_are_left_out_of_blocks_under_a_tape(
    runs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maskcli.probes.gradients.BYTES", 1)
    model = make_model(layers.Flatten(), 6)
    report = maskcli.check([[1, 2, 3, 4, 5, 6], [7], [1, 2, 3, 4, 5, 6]], model=model)
    assert runs[:3] == [3, 1, 1]  # The second row under a tape, and without its padding.
    assert report.leak is not None
    gradient = next(probe for probe in report.leak.probes if probe.name == "gradient")
    assert gradient.leaks
    assert gradient.sample == 1


def test_user_is_told_of_causality_in_quick_check() -> None:
    attention = make_model(lambda x: layers.MultiHeadAttention(1, 4)(x, x, use_causal_mask=False))
    assert "MSK117" in {finding.code for finding in check(attention, causal=True).findings}
    assert "MSK117" not in {finding.code for finding in check(attention).findings}


def test_progress_names_probes_and_counts_calls() -> None:
    steps: list[tuple[str, int, int]] = []
    model = make_model(lambda x: layers.GlobalMaxPooling1D()(layers.Conv1D(3, 2)(x)))
    maskcli.check(ROWS, model=model, progress=lambda *step: steps.append(step))
    names = list(dict.fromkeys(name for name, *_ in steps))
    assert names == ["model", "gradient", "alone", "rounding", "replace", "columns", "rows", "repairs"]
    assert all(1 <= done <= total for _, done, total in steps)


class Interrupting(layers.Layer):
    """Is interrupted in one of its calls, as by Ctrl-C."""

    left = 1000

    def call(self, inputs: Any) -> Any:
        if hasattr(inputs, "numpy"):
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt
        return inputs


def test_interrupted_check_leaves_model_as_it_was() -> None:
    """The interrupts come in a run that is taped, one without padding, and one with other weights."""
    layer = Interrupting()
    model = make_model(lambda x: layers.Dense(2)(layers.LSTM(3)(layer(x))))
    before = [weight.numpy() for weight in model.weights]
    owners = (keras.layers.Layer, "__call__"), (keras.Operation, "__call__"), (keras.layers.RNN, "inner_loop")
    methods = [vars(owner)[name] for owner, name in (*owners, (keras.src.models.Functional, "input_spec"))]
    for calls in (2, 3, 8, 10, 12):
        layer.left = calls
        with pytest.raises(KeyboardInterrupt):
            maskcli.check(ROWS, model=model)
        assert all(np.array_equal(old, weight.numpy()) for old, weight in zip(before, model.weights, strict=True))
        after = [vars(owner)[name] for owner, name in (*owners, (keras.src.models.Functional, "input_spec"))]
        assert after == methods


def test_flat_result_of_short_rows_is_probed() -> None:
    """A row by itself is rounded timestep by timestep, and the flat result of the batch as one."""
    report = maskcli.check([[1, 2, 3, 4], [5, 6], [7]], model=make_model(layers.Flatten(), 4), quick=True)
    assert report.leak is not None
    assert report.leak.leaks
