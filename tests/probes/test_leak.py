"""Each probe finds leaks that the others miss; none reports a leak that is none."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import maskcli
from maskcli.probes.context import make_context, show_calls
from maskcli.probes.rounding import bound_rounding, estimate_rounding
from maskcli.records.inputs import ModelInput
from maskcli.records.leak import Leak, Probe
from maskcli.trace.recorder import record_run
from maskcli.trace.run import ModelRun

pytestmark = pytest.mark.slow(share=1 / 2)

POST = [[1, 2, 3], [4, 5], [1, 2, 3, 4, 5, 6]]


def model_of(head: Callable[[Any], Any], timesteps: int | None = None, mask_zero: bool = True) -> Any:
    keras.utils.set_random_seed(0)
    tokens = keras.Input((timesteps,), dtype="int32", name="tokens")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return keras.Model(tokens, head(layers.Embedding(10, 4, mask_zero=mask_zero)(tokens)))


def leak_of(model: Any, rows: Any = POST, **options: Any) -> Leak:
    evidence = maskcli.check(rows, model=model, **options).examination.model
    assert evidence is not None
    assert evidence.leak is not None
    return evidence.leak


def by_name(leak: Leak) -> dict[str, Probe]:
    return {probe.name: probe for probe in leak.probes}


def which(leak: Leak) -> set[str]:
    return {probe.name for probe in leak.probes if probe.leaks}


def states(x: Any, **options: Any) -> Any:
    return layers.LSTM(3, return_sequences=True, **options)(x)


def test_unmasked_lstm_leaks_in_every_probe() -> None:
    leak = leak_of(model_of(layers.LSTM(3), mask_zero=False))
    assert which(leak) == {"replace", "alone", "columns", "gradient"}
    assert leak.first_call is not None
    assert leak.first_call.startswith("lstm")
    assert list(leak.entries) == [leak.first_call]


def test_maximum_over_zeroed_states() -> None:
    """Other content at padding does not change it; a row without its padding does."""
    leak = leak_of(model_of(lambda x: layers.GlobalMaxPooling1D()(states(x, zero_output_for_mask=True))))
    assert "alone" in which(leak)
    assert not {"replace", "gradient"} & which(leak)


@pytest.mark.parametrize(("first", "verdict"), [(0, "leaks"), (1, "clean")])
def test_bag_of_words(first: int, verdict: str) -> None:
    """The unit vector of the padding id counts padding in the first feature, and never in another one."""
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    counts = keras.ops.sum(keras.ops.one_hot(tokens, 10), axis=1)[:, first:]
    assert leak_of(keras.Model(tokens, layers.Dense(2)(counts))).verdict == verdict


def test_mean_over_repeated_states() -> None:
    """Other content at padding does not change it; more columns do."""

    class Mean(layers.Layer):
        def call(self, inputs: Any) -> Any:
            return keras.ops.mean(inputs, axis=1)

    leak = leak_of(model_of(lambda x: Mean(name="mean")(states(x))))
    assert {"alone", "columns"} <= which(leak)
    assert "replace" not in which(leak)
    assert leak.first_call is not None
    assert leak.first_call.startswith("mean")


def test_maximum_over_repeated_states() -> None:
    """It is right with post-padding, and wrong with pre-padding, which puts the initial state first."""
    model = model_of(lambda x: layers.GlobalMaxPooling1D()(states(x)))
    assert not leak_of(model).leaks
    assert leak_of(model, padding="pre").leaks


def test_fixed_length_is_probed_on_a_copy() -> None:
    leak = leak_of(model_of(lambda x: layers.GlobalMaxPooling1D()(states(x, zero_output_for_mask=True)), 6))
    assert by_name(leak)["alone"].applicable
    assert "alone" in which(leak)


def test_fixed_length_without_a_copy() -> None:
    leak = leak_of(model_of(lambda x: layers.Dense(2)(layers.Flatten()(x)), 6))
    probes = by_name(leak)
    assert not probes["alone"].applicable
    assert "only takes one length" in str(probes["alone"].why)
    assert which(leak) == {"replace", "gradient"}


def test_positions_with_pre_padding_are_no_leak() -> None:
    class Positions(layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.table = layers.Embedding(30, 4)
            self.supports_masking = True

        def build(self, _shape: Any) -> None:
            self.table.build(None)

        def call(self, inputs: Any) -> Any:
            return inputs + self.table(keras.ops.arange(keras.ops.shape(inputs)[1]))

    model = model_of(lambda x: layers.GlobalAveragePooling1D()(Positions()(x)))
    assert not leak_of(model).leaks
    pre = leak_of(model, padding="pre")
    assert not pre.leaks
    assert "position" in str(by_name(pre)["alone"].why)
    assert maskcli.check(POST, model=model, padding="pre", ignore=["MSK006"]).passed


def test_worst_row_is_that_of_the_data() -> None:
    rows = [[1, 2, 3, 4, 5, 6]] * 20 + [[7]] + [[1, 2, 3, 4, 5, 6]] * 20
    leak = leak_of(model_of(layers.LSTM(3), mask_zero=False), rows)
    assert leak.sample == 20


def test_worst_timestep() -> None:
    leak = leak_of(model_of(lambda x: layers.Conv1D(3, 3, padding="same")(x)))
    assert (leak.sample, leak.timestep) in {(0, 2), (1, 1)}


def test_explicit_mask_input() -> None:
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    mask = keras.Input((None,), dtype="bool", name="mask")
    right = keras.Model([tokens, mask], layers.LSTM(3)(layers.Embedding(10, 4)(tokens), mask=mask))
    wrong = keras.Model([tokens, mask], layers.LSTM(3)(layers.Embedding(10, 4)(tokens)))
    assert not leak_of(right).leaks
    assert which(leak_of(wrong)) == {"replace", "alone", "columns", "gradient"}


def test_features_are_replaced_after_masking() -> None:
    features = np.random.default_rng(0).normal(size=(3, 6, 2)).astype("float32")
    features[0, 3:] = 0
    features[1, 2:] = 0
    inputs = keras.Input((None, 2), name="features")
    right = leak_of(keras.Model(inputs, layers.LSTM(3)(layers.Masking()(inputs))), {"features": features})
    wrong = leak_of(keras.Model(inputs, layers.LSTM(3)(inputs)), {"features": features})
    assert (right.leaks, by_name(right)["replace"].applicable) == (False, True)
    assert which(wrong) == {"replace", "alone", "columns", "gradient"}


def test_only_padding_of_features_is_replaced() -> None:
    inputs = keras.Input((None, 2), name="features"), keras.Input((None,), dtype="bool", name="mask")
    features = np.random.default_rng(0).normal(size=(2, 4, 2)).astype("float32")
    features[1, 2:] = 0
    leak = leak_of(keras.Model(inputs, layers.LSTM(3)(inputs[0], mask=inputs[1])), {"features": features})
    assert by_name(leak)["replace"].applicable
    assert not leak.leaks


def test_mask_from_values_prevents_replacement() -> None:
    class Mean(layers.Layer):
        def call(self, inputs: Any) -> Any:
            weight = keras.ops.cast(keras.ops.any(keras.ops.not_equal(inputs, 0.0), axis=-1, keepdims=True), "float32")
            return keras.ops.sum(inputs * weight, axis=1) / keras.ops.sum(weight, axis=1)

    features = np.ones((2, 4, 2), "float32")
    features[1, 2:] = 0
    inputs = keras.Input((None, 2), name="features")
    leak = leak_of(keras.Model(inputs, Mean()(inputs)), {"features": features})
    assert not leak.leaks
    assert "from the values of features" in str(by_name(leak)["replace"].why)


def test_randomness_is_no_leak() -> None:
    """No probe can be trusted if two equal runs differ."""

    class Noise(layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs + np.random.default_rng().normal()

    leak = leak_of(model_of(lambda x: layers.LSTM(3)(Noise()(x))))
    assert not leak.leaks
    assert all("two runs" in str(probe.why) for probe in leak.probes)


def test_sample_of_autoencoder_is_no_leak() -> None:
    """Its layer has a generator of seeds, which continues with other numbers in each run."""

    class Sample(layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.generator = keras.random.SeedGenerator(1)

        def call(self, mean: Any) -> Any:
            return mean + keras.random.normal(keras.ops.shape(mean), seed=self.generator)

    model = model_of(lambda x: Sample()(layers.LSTM(3)(x)))
    (generator,) = (layer.generator for layer in model.layers if isinstance(layer, Sample))
    before = np.asarray(generator.state).tolist()
    leak = leak_of(model)
    assert leak.verdict == "unproven"
    assert all("two runs" in str(probe.why) for probe in leak.probes)
    assert np.asarray(generator.state).tolist() == before


def test_dropout_is_off() -> None:
    assert not leak_of(model_of(lambda x: layers.LSTM(3)(layers.Dropout(0.5)(x)))).leaks


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_tolerance_follows_the_magnitude(scale: float) -> None:
    right = leak_of(model_of(lambda x: layers.Rescaling(scale)(layers.GlobalAveragePooling1D()(x))))
    wrong = leak_of(model_of(lambda x: layers.Rescaling(scale)(layers.LSTM(3)(x)), mask_zero=False))
    assert not right.leaks
    assert wrong.leaks
    assert wrong.max_abs_change == pytest.approx(scale * 0.1, rel=100)


def test_tolerance_grows_with_depth_and_dtype() -> None:
    def allowed(model: Any) -> float:
        entries = record_run(model, np.array([[1, 2, 0]], "int32")).ended
        return bound_rounding(entries).relative[entries[-1].index]

    shallow, deep = model_of(layers.Dense(4)), model_of(lambda x: layers.Dense(4)(layers.Dense(64)(layers.Dense(4)(x))))
    half = model_of(lambda x: layers.Dense(4, dtype="mixed_float16")(x))
    assert allowed(shallow) < allowed(deep) < allowed(half)
    assert allowed(shallow) < 1e-4


def test_estimate_adds_floors_to_the_bound() -> None:
    """The context that was measured stays as it is: it knows no floors."""
    tokens = np.array([[1, 2, 0]], "int32")
    inputs = (ModelInput("tokens", tokens, tokens != 0, "ids"),)
    context = make_context(ModelRun(model_of(layers.Dense(4)), inputs), np.arange(1))
    estimate = estimate_rounding(context.run, context.flow, context.align(), context.tolerance)
    bound = bound_rounding(context.base.ended).relative
    assert estimate.relative == context.tolerance.relative == bound
    assert context.tolerance.at(0) == (bound[0], 0.0)
    assert 0 < estimate.at(0)[1] < 1e-5


def test_shown_call_gets_a_path() -> None:
    """An operation outside of layers has no path until a probe finds that it matters."""

    class Shifted(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = layers.Embedding(10, 4)

        def call(self, tokens: Any) -> Any:
            return self.embedding(tokens) * 2.0 + 1.0

    tokens = np.array([[1, 2, 0]], "int32")
    context = make_context(ModelRun(Shifted(), (ModelInput("tokens", tokens, tokens != 0, "ids"),)), np.arange(1))
    last = context.base.ended[-2]
    assert last.code
    assert last.index not in context.trace.names
    shown = show_calls(context, [last])
    assert shown.trace.names[last.index].startswith("add")
    assert last.index not in context.trace.names
    assert show_calls(shown, [last]) is shown


def test_first_call_is_found_after_code_that_depends_on_shapes() -> None:
    """Rows without their padding take another path through the layer, as with the primitives of JAX."""

    class Twice(layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.supports_masking = True

        def call(self, x: Any) -> Any:
            return x + x if x.shape[1] == 6 else keras.ops.tanh(keras.ops.arctanh(x * 2.0))

    class Model(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.twice = layers.Embedding(10, 4, mask_zero=True), Twice()
            self.dense = layers.Dense(2)

        def call(self, tokens: Any) -> Any:
            return self.dense(keras.ops.mean(self.twice(self.embedding(tokens)), axis=1))

    (alone,) = [probe for probe in leak_of(Model()).probes if probe.name == "alone"]
    assert alone.first_call == "mean"


def test_no_probe_without_padding() -> None:
    assert leak_of(model_of(layers.LSTM(3), mask_zero=False), [[1, 2], [3, 4]]).probes == ()
