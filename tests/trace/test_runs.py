"""A command records each run of a model once."""

from __future__ import annotations

import gc
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import maskcli
from maskcli.api import check
from maskcli.api.repairs import RepairResult
from maskcli.errors import RaisedInCall
from maskcli.records.inputs import ModelInput
from maskcli.trace import recorder
from maskcli.trace.run import ModelRun, RunCache
from tests.conftest import QUESTION

ROWS = [[1, 2, 3], [4, 5], [1, 2, 3, 4, 5, 6]]
TOKENS = np.array([[1, 2, 0], [3, 0, 0]], "int32")
INPUTS = (ModelInput("tokens", TOKENS, TOKENS != 0, "ids"),)

LoggedRun = tuple[Any, bool, tuple[bytes, ...]]
"""The model, whether its results are left as they are, and the values of its inputs and weights."""


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[LoggedRun]:
    """Log each run that is recorded."""
    log: list[LoggedRun] = []

    class LoggingRecorder(recorder._Recorder):
        def begin(self, operation: Any, args: Any, kwargs: Any) -> Any:
            if not self.stack:
                # Probes move the weights of a model, and run it on the same inputs again.
                tensors = (*keras.tree.flatten(args), *operation.weights)
                values = tuple(np.asarray(tensor).tobytes() for tensor in tensors)
                log.append((operation, self.alter is None, values))
            return super().begin(operation, args, kwargs)

    monkeypatch.setattr(recorder, "_Recorder", LoggingRecorder)
    return log


def list_plain_runs(runs: list[LoggedRun]) -> list[tuple[int, tuple[bytes, ...]]]:
    return [(id(model), values) for model, is_plain, values in runs if is_plain]


def make_model(head: Callable[[Any], Any]) -> Any:
    keras.utils.set_random_seed(0)
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    with warnings.catch_warnings(action="ignore"):
        return keras.Model(tokens, head(layers.Embedding(10, 4, mask_zero=True)(tokens)))


@pytest.mark.parametrize(
    ("verb", "most"), [(maskcli.report, 19), (maskcli.check, 17), (maskcli.inspect, 1), (maskcli.loss, 1)]
)
def test_runs_of_the_sample(runs: list[LoggedRun], verb: Callable[..., Any], most: int) -> None:
    verb(QUESTION)
    assert 0 < len(runs) <= most
    assert len(set(list_plain_runs(runs))) == len(list_plain_runs(runs))


@pytest.mark.parametrize("rows", [ROWS, ROWS * 6, [[1, 2, 3]] * 20 + [[4]]], ids=["few", "many", "long"])
@pytest.mark.parametrize("padding", ["pre", "post"])
def test_report_repeats_no_plain_run(
    runs: list[LoggedRun], rows: list[list[int]], padding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Positions make the probes of lengths run rows again, with their padding after them.

    The search for repairs is left out: it runs the same model on the same rows, with other calls in it.
    """
    monkeypatch.setattr(check, "try_repairs", lambda _case, _evidence, findings: RepairResult(tuple(findings)))

    class Positions(layers.Layer):
        def build(self, _shape: Any) -> None:
            self.table = self.add_weight(shape=(30, 4))

        def call(self, inputs: Any) -> Any:
            return inputs + self.table[: keras.ops.shape(inputs)[1]]

    model = make_model(lambda x: layers.GlobalAveragePooling1D()(Positions(name="positions")(x)))
    maskcli.report(rows, model=model, padding=padding, samples=16)
    plain = list_plain_runs(runs)
    assert len(set(plain)) == len(plain)


def test_run_is_recorded_once(runs: list[LoggedRun]) -> None:
    run = ModelRun(make_model(layers.Dense(2)), INPUTS)
    assert not runs
    assert run.trace.recording is run.recording
    assert run.trace.flow is run.flow
    assert len(runs) == 1
    run.vary()
    assert len(runs) == 2


def test_cache_returns_run_of_equal_inputs() -> None:
    cache = RunCache(make_model(layers.Dense(2)))
    run = cache.get_run(INPUTS)
    assert cache.get_run((ModelInput("tokens", TOKENS.copy(), TOKENS != 0, "ids"),)) is run
    others = (
        ModelInput("tokens", TOKENS + 1, TOKENS != 0, "ids"),
        ModelInput("tokens", TOKENS, TOKENS != 3, "ids"),
        ModelInput("tokens", TOKENS, None, "static"),
        ModelInput("ids", TOKENS, TOKENS != 0, "ids"),
    )
    for model_input in others:
        assert cache.get_run((model_input,)) is not cache.get_run(INPUTS)
    assert cache.get_run(INPUTS, unfold=True) is not cache.get_run(INPUTS)


def test_cache_keeps_only_the_latest_run() -> None:
    """A recording holds all tensors of its run."""
    cache = RunCache(make_model(layers.Dense(2)))
    first = cache.get_run(INPUTS)
    cache.get_run((ModelInput("tokens", TOKENS + 1, TOKENS != 0, "ids"),))
    assert cache.get_run(INPUTS) is not first


def test_cache_uses_first_run_of_equal_values(runs: list[LoggedRun]) -> None:
    """The run that shows the roles of the inputs, whose padding is not known then, serves the probes, too."""
    cache = RunCache(make_model(layers.Dense(2)))
    unknown = ModelInput("tokens", TOKENS, None, "ids")
    recording = cache.record_first([unknown])
    run = cache.get_run(INPUTS)
    assert run.recording is recording
    assert run.inputs == INPUTS
    assert len(runs) == 1
    for other in (TOKENS + 1, TOKENS.astype("int64")):
        cache.record_first([unknown])
        assert cache.get_run((ModelInput("tokens", other, TOKENS != 0, "ids"),)).recording is not recording
    cache.record_first([unknown])
    assert cache.get_run(INPUTS, unfold=True).unfold
    assert cache.get_run(INPUTS).recording is not recording


def test_run_that_fails_has_no_trace() -> None:
    class Broken(layers.Layer):
        def call(self, inputs: Any) -> Any:
            if tf.executing_eagerly():
                raise ValueError("broken")
            return inputs

    run = ModelRun(make_model(Broken(name="broken")), INPUTS)
    assert isinstance(run.recording.error, ValueError)
    assert run.flow.truths
    with pytest.raises(RaisedInCall, match="broken"):
        _ = run.trace


def test_recording_frees_its_calls() -> None:
    """The tensors of a run are gone with it, not only when Python's garbage collector looks for circles."""
    run = ModelRun(make_model(lambda x: x * 2.0), INPUTS)
    call = weakref.ref(run.recording.ended[-1])
    gc.disable()
    try:
        del run
        assert call() is None
    finally:
        gc.enable()
