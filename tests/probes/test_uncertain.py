"""Rounding that is as large as a leak: it proves nothing."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from maskcli.probes import leak as leak_probes
from maskcli.probes.compare import hides_leaks
from maskcli.probes.context import make_context
from maskcli.probes.future import probe_future
from maskcli.probes.variants import compute_in_float64
from maskcli.records.inputs import ModelInput
from maskcli.trace.run import ModelRun
from tests.probes.test_verdict import ROWS, WORDS, embed, ids, judge


class Attend(layers.Layer):
    """Adds -1e9 to the scores of valid keys, or of padding: all keys, or the right ones, are hidden."""

    def __init__(self, right: bool) -> None:
        super().__init__()
        self.supports_masking = True
        self.right = right
        self.key = layers.Dense(4)

    def call(self, x: Any, mask: Any = None) -> Any:
        visible = ops.cast(mask, x.dtype)
        hidden = 1 - visible if self.right else ops.ones_like(visible)
        scores = ops.matmul(x, ops.transpose(self.key(x), (0, 2, 1))) + ops.expand_dims(hidden, 1) * -1e9
        return ops.matmul(ops.softmax(scores, axis=-1), x)


@pytest.mark.parametrize(("right", "verdict"), [(True, "clean"), (False, "leaks")])
def test_query_without_visible_keys(right: bool, verdict: str) -> None:
    """All scores are -1e9, where the next number is 64 away, but they are so in every run."""
    leak = judge(embed(lambda x: layers.GlobalAveragePooling1D()(Attend(right)(x))), ids(ROWS))
    assert leak.verdict == verdict
    assert all(probe.tolerance < 1e-4 for probe in leak.probes if probe.tolerance is not None)


class Chaos(layers.Layer):
    """Returns the cosine of a large number, which rounding moves by about 1; in float32 only, or in any dtype."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def call(self, x: Any) -> Any:
        factor = {"calm": 1.0, "float32": 1e8, "any": 1e8}[self.kind]
        if self.kind == "float32":
            x = ops.matmul(ops.cast(x, "float32"), ops.eye(3, dtype="float32"))
        return ops.cos(x * factor)


@pytest.mark.parametrize(("kind", "verdict"), [("calm", "clean"), ("any", "clean"), ("float32", "unproven")])
def test_result_of_rounding(kind: str, verdict: str) -> None:
    """Float64 proves that padding changes nothing, unless the code of a layer computes in float32."""
    head = layers.Dense(3), Chaos(kind)
    leak = judge(embed(lambda x: head[1](head[0](layers.GlobalAveragePooling1D()(x)))), ids(ROWS))
    assert leak.verdict == verdict
    assert ("rounding moves results" in str(leak.reason)) is (verdict == "unproven")


def test_hides_leaks() -> None:
    sizes = np.array([1.0, 1e3])
    assert not hides_leaks(sizes, [1e-4, 1e-4])
    assert hides_leaks(sizes, [1e-2, 1e-4])
    assert not hides_leaks(np.array([1e-9, 1.0]), [1e-7, 1e-6])
    assert not hides_leaks(np.zeros(2), [1e-7, 1e-6])
    assert hides_leaks(sizes, 2.0)


def test_tolerance_of_another_output_does_not_count() -> None:
    """An output of large numbers must not hide that an output of small ones looks ahead."""
    words = ids(ROWS)
    x = layers.Embedding(WORDS, 4, mask_zero=True)(tokens := keras.Input((None,), dtype="int32", name="words"))
    tags = layers.Bidirectional(layers.GRU(2, return_sequences=True))(x)
    model = keras.Model(tokens, {"large": layers.Dense(2)(tags) * 1e9, "tags": tags})
    context = make_context(ModelRun(model, (words,)), np.arange(len(ROWS)))
    effects = probe_future(context, None).effects
    assert {effect.output: effect.looks_ahead for effect in effects} == {"large": True, "tags": True}


class Hint(layers.Layer):
    """Averages valid timesteps, and adds a little of the mean of all timesteps."""

    def __init__(self, amount: float) -> None:
        super().__init__()
        self.amount = amount
        self.mean = layers.GlobalAveragePooling1D()

    def call(self, x: Any, mask: Any = None) -> Any:
        return self.mean(x, mask=mask) + self.amount * ops.mean(ops.tanh(x), axis=1)


def make_hint(amount: float) -> Any:
    """Return a model with a model inside, which casts its input to float32 unless maskcli changes that."""
    start = keras.Input((4,))
    inner = keras.Model(start, layers.Dense(3)(start))
    return embed(lambda x: inner(Hint(amount)(layers.LSTM(4, return_sequences=True)(x))))


@pytest.mark.parametrize(("amount", "verdict"), [(0.0, "clean"), (8e-6, "leaks")])
def test_leak_below_the_tolerance_of_float32(amount: float, verdict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    leak = judge(make_hint(amount), ids(ROWS))
    assert leak.verdict == verdict
    monkeypatch.setattr(leak_probes, "_probe_in_float64", lambda _: None)
    assert judge(make_hint(amount), ids(ROWS)).verdict == "clean"


def test_mask_that_float64_does_not_make_is_not_compared() -> None:
    """The model looks for 0.1, which is another number in float64 than in the float32 of the data."""
    values = np.full((3, 4, 2), 0.1, "float32")
    for row, length in enumerate((4, 2, 3)):
        values[row, :length] = np.arange(2 * length).reshape(length, 2) + 1

    class Tagger(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.copy, self.rnn = layers.Rescaling(1.0), layers.LSTM(3)

        def call(self, series: Any) -> Any:
            x = self.copy(series)
            return self.rnn(x, mask=ops.any(x != 0.1, axis=-1))

    model = Tagger()
    model(values)
    valid = (values != values[1, 3]).any(axis=-1)
    context = make_context(ModelRun(model, (ModelInput("series", values, valid, "features"),)), np.arange(3))
    with compute_in_float64(model):
        assert leak_probes._probe_in_float64(context) is None
