"""Later timesteps change earlier outputs, or not: the matrix, the call at fault, and no alarm on causal models."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

import maskcli
from maskcli.records.check import CheckReport
from maskcli.records.evidence import FutureEffect

pytestmark = pytest.mark.slow(share=1 / 4)

ROWS = [[1, 2, 6, 4, 3, 7], [5, 6], [3, 9, 8, 1], [4, 4, 1, 2, 9]]
IDS = 12
WIDTH = 8


def make_model(body: Callable[[Any], Any], timesteps: int | None = None, mask_zero: bool = True) -> Any:
    keras.utils.set_random_seed(5)
    tokens = keras.Input((timesteps,), dtype="int32", name="tokens")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = body(layers.Embedding(IDS, WIDTH, mask_zero=mask_zero)(tokens))
        return keras.Model(tokens, layers.Dense(IDS)(x))


def check(model: Any, data: Any = ROWS, **options: Any) -> CheckReport:
    return maskcli.check(data, model=model, select=["MSK116", "MSK117"], **options)


def find_effect(model: Any, data: Any = ROWS, **options: Any) -> FutureEffect:
    evidence = check(model, data, **options).examination.model
    assert evidence is not None
    assert evidence.mixed_rows is None
    (effect,) = evidence.future
    return effect


def attend(x: Any, causal: bool = True, name: str | None = None, **options: Any) -> Any:
    layer = layers.MultiHeadAttention(2, WIDTH // 2, name=name, **options)
    return layers.Add()([x, layer(x, x, use_causal_mask=causal)])


class Reverse(layers.Layer):
    """Exchanges the first and the last timestep."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.supports_masking = True

    def call(self, x: Any) -> Any:
        return ops.flip(x, axis=1)


class Scores(layers.Layer):
    """Attention written by hand, with or without a causal mask."""

    def __init__(self, causal: bool, hide: str = "add", **options: Any) -> None:
        super().__init__(**options)
        self.causal, self.hide = causal, hide
        self.supports_masking = True

    def build(self, shape: Any) -> None:
        self.query, self.key, self.value = (layers.Dense(shape[-1]) for _ in range(3))
        for layer in (self.query, self.key, self.value):
            layer.build(shape)
        self.softmax = layers.Softmax()

    def call(self, x: Any, mask: Any = None) -> Any:
        scores = ops.matmul(self.query(x), ops.transpose(self.key(x), (0, 2, 1)))
        timesteps = ops.shape(x)[1]
        allowed = ops.ones((1, timesteps, timesteps), dtype="bool")
        if self.causal:
            allowed = ops.tril(allowed)
        if mask is not None:
            allowed = ops.logical_and(allowed, ops.expand_dims(mask, 1))
        if self.hide == "softmax":
            weights = self.softmax(scores, mask=ops.broadcast_to(allowed, ops.shape(scores)))
        elif self.hide == "where":
            weights = ops.softmax(ops.where(allowed, scores, -1e9))
        else:
            weights = ops.softmax(scores + (1 - ops.cast(allowed, scores.dtype)) * -1e9)
        return x + ops.matmul(weights, self.value(x))


class Heads(layers.Layer):
    """Attention with several heads and a projection, written by hand."""

    def __init__(self, causal: bool, **options: Any) -> None:
        super().__init__(**options)
        self.causal = causal
        self.supports_masking = True

    def build(self, shape: Any) -> None:
        self.projection = layers.Dense(shape[-1], name="projection")
        self.projection.build(shape)

    def call(self, x: Any) -> Any:
        rows, timesteps = ops.shape(x)[:2]
        heads = ops.transpose(ops.reshape(x, (rows, timesteps, 2, WIDTH // 2)), (0, 2, 1, 3))
        scores = ops.matmul(heads, ops.transpose(heads, (0, 1, 3, 2)))
        allowed = ops.ones((timesteps, timesteps), dtype="bool")
        if self.causal:
            allowed = ops.tril(allowed)
        weights = ops.softmax(ops.where(allowed, 10 * scores, -1e9))
        mixed = ops.transpose(ops.matmul(weights, heads), (0, 2, 1, 3))
        return x + self.projection(ops.reshape(mixed, (rows, timesteps, WIDTH)))


class Block(layers.Layer):
    """A block that passes the causal mask in one of its branches only."""

    def __init__(self, trace: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.trace = trace
        self.supports_masking = True
        self.heads = layers.MultiHeadAttention(2, WIDTH // 2, name="heads")
        self.norm = layers.LayerNormalization(name="norm")

    def call(self, x: Any) -> Any:
        if self.trace:
            attended, _ = self.heads(x, x, return_attention_scores=True)
        else:
            attended = self.heads(x, x, use_causal_mask=True)
        return self.norm(x + attended)


class ForgetfulAttention(layers.MultiHeadAttention):
    """Attention that ignores ``use_causal_mask`` once it has dropout, as a release of Keras did."""

    def _compute_attention_mask(self, query: Any, value: Any, use_causal_mask: bool = False, **masks: Any) -> Any:
        forgets = self._dropout > 0
        return super()._compute_attention_mask(query, value, use_causal_mask=use_causal_mask and not forgets, **masks)


class ShiftLeft(layers.Layer):
    """Takes the next timestep, and repeats the last one."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.supports_masking = True

    def call(self, x: Any) -> Any:
        return ops.concatenate([x[:, 1:], x[:, -1:]], axis=1)


class CumulativeMean(layers.Layer):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.supports_masking = True

    def call(self, x: Any) -> Any:
        counts = ops.cumsum(ops.ones_like(x[:, :, :1]), axis=1)
        return ops.cumsum(x, axis=1) / counts


class FourierFilter(layers.Layer):
    """A causal convolution over all timesteps by Fourier transform: later timesteps change earlier ones by rounding."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.supports_masking = True

    def compute_output_shape(self, shape: Any) -> Any:
        return shape

    def call(self, x: Any) -> Any:
        timesteps = int(ops.shape(x)[1])
        kernel = 0.7 ** np.arange(timesteps, dtype="float32")
        size = 2 * timesteps
        factor = np.fft.rfft(kernel, size)
        real, imaginary = ops.rfft(ops.transpose(x, (0, 2, 1)), fft_length=size)
        product = (
            real * factor.real.astype("float32") - imaginary * factor.imag.astype("float32"),
            real * factor.imag.astype("float32") + imaginary * factor.real.astype("float32"),
        )
        return ops.transpose(ops.irfft(product, fft_length=size)[..., :timesteps], (0, 2, 1))


def stack(count: int = 3, **options: Any) -> Callable[[Any], Any]:
    def body(x: Any) -> Any:
        for index in range(count):
            x = layers.LayerNormalization()(attend(x, name=f"attend_{index}", **options))
            x = layers.Add()([x, layers.Dense(WIDTH, activation="gelu")(x)])
        return x

    return body


def add_positions(x: Any) -> Any:
    return x + layers.Embedding(20, WIDTH)(ops.arange(6))


# Causal language models.

CAUSAL: dict[str, Callable[[Any], Any]] = {
    "one layer": attend,
    "stack": stack(),
    "dropout": stack(dropout=0.3),
    "one head of values": lambda x: layers.MultiHeadAttention(1, 3, value_dim=2)(x, x, use_causal_mask=True),
    "grouped queries": lambda x: layers.GroupQueryAttention(4, 4, 2)(x, x, use_causal_mask=True),
    "Attention": lambda x: layers.Attention(use_scale=True)([x, x], use_causal_mask=True),
    "AdditiveAttention": lambda x: layers.AdditiveAttention()([x, x], use_causal_mask=True),
    "added mask": lambda x: Scores(True)(x),
    "where": lambda x: Scores(True, "where")(x),
    "softmax with a mask": lambda x: Scores(True, "softmax")(x),
    "hand-made stack": lambda x: Scores(True, "where")(Scores(True)(Scores(True, "softmax")(x))),
    "hand-made heads": lambda x: Heads(True)(Heads(True)(x)),
    "block": lambda x: Block()(Block()(x)),
    "LSTM": lambda x: layers.LSTM(5, return_sequences=True)(x),
    "GRU and SimpleRNN": lambda x: layers.SimpleRNN(4, return_sequences=True)(layers.GRU(5, return_sequences=True)(x)),
    "convolutions": lambda x: layers.Conv1D(6, 3, padding="causal", dilation_rate=2)(
        layers.Conv1D(6, 2, padding="causal")(x)
    ),
    "gated convolution": lambda x: layers.Multiply()(
        [
            layers.Conv1D(6, 3, padding="causal")(x),
            layers.Conv1D(6, 3, padding="causal", activation="sigmoid")(x),
        ]
    ),
    "attention after LSTM": lambda x: attend(layers.LSTM(WIDTH, return_sequences=True)(x)),
    "cumulative mean": lambda x: CumulativeMean()(x),
    "Fourier filter": lambda x: FourierFilter()(x),
    "timestep by timestep": lambda x: layers.TimeDistributed(layers.Dense(4, activation="relu"))(x),
    "reversed twice": lambda x: Reverse()(Reverse()(attend(x))),
    "normalised": lambda x: layers.BatchNormalization()(layers.LayerNormalization()(attend(x))),
}


@pytest.mark.parametrize("kind", CAUSAL)
def test_causal_model_raises_no_alarm(kind: str) -> None:
    report = check(make_model(CAUSAL[kind]), causal=True)
    assert report.findings == ()
    evidence = report.examination.model
    assert evidence is not None
    assert [effect.looks_ahead for effect in evidence.future] == [False]
    matrix = evidence.future[0].matrix
    assert matrix is not None
    assert not np.triu(np.nan_to_num(matrix), 1).any()
    assert (np.diag(matrix) > 0).all()


@pytest.mark.parametrize("kind", ["stack", "added mask", "LSTM"])
def test_causal_model_of_fixed_length_raises_no_alarm(kind: str) -> None:
    """With as many timesteps as features, scores and vectors have one shape."""
    data = np.array([[1, 2, 6, 4, 3, 7, 8, 1], [5, 6, 2, 2, 0, 0, 0, 0], [9, 9, 1, 0, 0, 0, 0, 0]])
    assert check(make_model(CAUSAL[kind], timesteps=WIDTH), data, causal=True).findings == ()


@pytest.mark.parametrize("kind", ["one layer", "block", "hand-made stack", "LSTM", "convolutions"])
def test_pre_padding_raises_no_alarm(kind: str) -> None:
    assert check(make_model(CAUSAL[kind]), padding="pre", causal=True).findings == ()


def test_look_ahead_by_way_of_padding_is_found() -> None:
    """A padded query may attend to nothing, and so takes the mean of all; without a mask, later layers use it."""
    assert find_effect(make_model(stack()), padding="pre", causal=True).looks_ahead


# Models that look ahead.


@pytest.mark.parametrize("at", [0, 1, 3])
def test_lost_causal_mask_is_blamed(at: int) -> None:
    """The regression: a layer of a stack is called without its causal mask, and Keras does not notice."""

    def body(x: Any) -> Any:
        for index in range(4):
            x = Block(trace=index == at, name=f"block_{index}")(x)
        return x

    (finding,) = check(make_model(body)).findings
    assert (finding.code, finding.severity, finding.call) == ("MSK117", "warning", f"block_{at}/heads")
    assert "3 of its 4 attention calls are causal" in finding.message
    assert "use_causal_mask=True" in finding.fix
    (finding,) = check(make_model(body), causal=True).findings
    assert (finding.severity, finding.call) == ("error", f"block_{at}/heads")


def test_causal_mask_that_is_ignored_is_blamed() -> None:
    def body(x: Any) -> Any:
        x = ForgetfulAttention(2, 4, name="right")(x, x, use_causal_mask=True)
        return ForgetfulAttention(2, 4, dropout=0.2, name="wrong")(x, x, use_causal_mask=True)

    (finding,) = check(make_model(body)).findings
    assert finding.call is not None
    assert (finding.severity, finding.call.split("/")[0]) == ("error", "wrong")
    assert "`use_causal_mask=True`" in finding.message


@pytest.mark.parametrize("wrong", [(1,), (0, 2)])
def test_every_call_at_fault_is_named(wrong: tuple[int, ...]) -> None:
    def body(x: Any) -> Any:
        for index in range(4):
            x = Scores(index not in wrong, name=f"scores_{index}")(x)
        return x

    findings = check(make_model(body), causal=True).findings
    assert [finding.call for finding in findings] == [f"scores_{index}" for index in wrong]


LOOKING: dict[str, tuple[Callable[[Any], Any], str]] = {
    "attention": (lambda x: attend(x, causal=False, name="at"), "at"),
    "bidirectional": (lambda x: layers.Bidirectional(layers.GRU(3, return_sequences=True), name="at")(x), "at"),
    "convolution": (lambda x: layers.Conv1D(4, 3, padding="same", name="at")(attend(x)), "at"),
    "heads": (lambda x: Heads(False, name="at")(attend(x)), "at"),
    "shift": (lambda x: ShiftLeft(name="at")(attend(x)), "at"),
    "reversal": (lambda x: Reverse(name="at")(attend(x)), "at"),
    "backwards": (lambda x: layers.LSTM(4, return_sequences=True, go_backwards=True, name="at")(x), "at"),
    "normalisation": (lambda x: layers.GroupNormalization(2, name="at")(attend(x)), "at"),
}


@pytest.mark.parametrize("kind", LOOKING)
def test_call_that_looks_ahead_is_named(kind: str) -> None:
    body, path = LOOKING[kind]
    effect = find_effect(make_model(body), causal=True)
    assert effect.looks_ahead
    assert effect.calls == (path,)
    assert effect.by_timestep is not None
    assert effect.timestep is not None
    assert effect.by_timestep > effect.timestep


@pytest.mark.parametrize("kind", [kind for kind in LOOKING if kind != "heads"])
def test_bidirectional_model_is_a_fact_only(kind: str) -> None:
    report = check(make_model(LOOKING[kind][0]))
    assert report.findings == ()
    evidence = report.examination.model
    assert evidence is not None
    assert evidence.future[0].looks_ahead


def test_reversing_breaks_the_triangle() -> None:
    """The law: reversing the timesteps before and after a causal stack turns its matrix upside down."""
    upright, turned = (
        find_effect(make_model(body), [ROWS[0]]).matrix
        for body in (CAUSAL["LSTM"], lambda x: Reverse()(CAUSAL["LSTM"](Reverse()(x))))
    )
    assert upright is not None
    assert turned is not None
    assert not np.triu(upright, 1).any()
    assert not np.tril(turned, -1).any()
    assert np.triu(turned, 1).any()


# The matrix, and outputs of other lengths.


def test_matrix_has_the_reach_of_a_convolution() -> None:
    matrix = find_effect(make_model(lambda x: layers.Conv1D(4, 3, padding="causal")(x)), [ROWS[0]]).matrix
    assert matrix is not None
    late = np.subtract.outer(np.arange(6), np.arange(6))
    assert ((matrix > 0) == ((late >= 0) & (late <= 2))).all()


def test_padding_is_not_replaced() -> None:
    effect = find_effect(make_model(attend), np.array([[1, 2, 3, 0, 0], [4, 5, 1, 0, 0]]))
    assert effect.matrix is not None
    assert np.isnan(effect.matrix[:, 3:]).all()
    assert np.isfinite(effect.matrix[:, :3]).all()


@pytest.mark.parametrize("look", [False, True])
def test_long_rows_are_replaced_in_blocks(look: bool) -> None:
    data = np.random.default_rng(0).integers(1, IDS, (2, 150))
    padding = "same" if look else "causal"
    effect = find_effect(make_model(lambda x: layers.Conv1D(4, 3, padding=padding, name="at")(x)), data, causal=True)
    assert (effect.looks_ahead, effect.block) == (look, 3)
    assert effect.matrix is not None
    assert effect.matrix.shape == (50, 50)
    assert np.triu(effect.matrix, 1).any() == look
    assert effect.calls == (("at",) if look else ())


@pytest.mark.parametrize("part", [slice(None, -1), slice(1, None)], ids=["without the last", "without the first"])
@pytest.mark.parametrize("look", [False, True])
def test_shifted_outputs_are_compared(part: slice, look: bool) -> None:
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = layers.Embedding(IDS, WIDTH)(tokens[:, part])
    x = attend(x, causal=not look, name="at")
    model = keras.Model(tokens, layers.Dense(IDS)(x))
    effect = find_effect(model, np.array([[1, 2, 6, 4, 3, 7, 8], [5, 6, 2, 2, 1, 9, 3]]), causal=True)
    assert effect.looks_ahead == look
    assert effect.calls == (("at",) if look else ())


def test_start_token_of_a_decoder_is_no_look_ahead() -> None:
    class StartToken(layers.Layer):
        def call(self, ids: Any) -> Any:
            return ops.concatenate([ops.ones_like(ids[:, :1]), ids[:, :-1]], axis=1)

    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = attend(layers.Embedding(IDS, WIDTH)(StartToken()(tokens)))
    model = keras.Model(tokens, layers.Dense(IDS)(x))
    effect = find_effect(model, np.array([[1, 2, 6, 4, 3, 7, 8], [5, 6, 2, 2, 1, 9, 3]]), causal=True)
    assert effect.looks_ahead is False


@pytest.mark.parametrize("look", [False, True])
def test_decoder_may_look_at_its_encoder(look: bool) -> None:
    source, target = (keras.Input((None,), dtype="int32", name=name) for name in ("source", "target"))
    memory = layers.Embedding(IDS, WIDTH)(source)
    memory = layers.Add()([memory, layers.MultiHeadAttention(2, 4)(memory, memory)])
    x = layers.Embedding(IDS, WIDTH)(target)
    for index in range(3):
        x = attend(x, causal=not look or index != 1, name=f"self_{index}")
        x = layers.Add()([x, layers.MultiHeadAttention(2, 4, name=f"cross_{index}")(x, memory)])
    model = keras.Model({"source": source, "target": target}, layers.Dense(IDS)(x))
    rng = np.random.default_rng(1)
    data = {"source": rng.integers(1, IDS, (3, 6)), "target": rng.integers(1, IDS, (3, 6))}
    findings = check(model, data).findings
    assert [finding.call for finding in findings] == (["self_1"] if look else [])
    both = keras.Model(model.input, {"memory": memory, "answer": model.output})
    findings = check(both, data, causal=True).findings
    assert [(finding.call, finding.severity) for finding in findings] == ([("self_1", "error")] if look else [])


def test_features_are_replaced() -> None:
    series = keras.Input((None, 3), name="series")
    x = layers.Masking(-1.0)(series)
    causal = keras.Model(series, layers.LSTM(4, return_sequences=True)(x))
    looking = keras.Model(series, layers.Bidirectional(layers.LSTM(4, return_sequences=True), name="at")(x))
    data = {"series": np.random.default_rng(2).normal(size=(3, 5, 3)).astype("float32")}
    assert find_effect(causal, data, causal=True).looks_ahead is False
    assert find_effect(looking, data, causal=True).calls == ("at",)


# The user's intent.


def test_half_of_the_attention_calls_suffices() -> None:
    (finding,) = check(make_model(LOOKING["heads"][0])).findings
    assert (finding.severity, finding.call) == ("warning", "at")
    assert "1 of its 2 attention calls is causal" in finding.message


def test_targets_shift_works_for_arrays_and_losses() -> None:
    model = make_model(attend)
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    data = np.array([[1, 2, 6, 4], [5, 6, 0, 0]])
    report = maskcli.check(data, model=model, targets="shift")
    evidence = report.examination.model
    assert evidence is not None
    assert evidence.future[0].meant_causal == "--targets shift"
    assert evidence.losses[0].masked is not None


def test_targets_shift_means_causal() -> None:
    (finding,) = check(make_model(LOOKING["attention"][0]), targets="shift").findings
    assert (finding.severity, finding.call) == ("error", "at")
    assert "--targets shift" in finding.message
    assert check(make_model(attend), targets="shift").findings == ()


def test_assert_causal_passes_and_fails() -> None:
    maskcli.assert_causal(make_model(attend), ROWS)
    with pytest.raises(AssertionError, match=r"MSK117 future-leaks: at .*\n(at: .*test_future.py:.*\n)?fix: "):
        maskcli.assert_causal(make_model(LOOKING["attention"][0]), ROWS)


def test_assert_causal_fails_without_proof() -> None:
    pooled = make_model(lambda x: layers.LSTM(3)(x))
    with pytest.raises(AssertionError, match=r"not proved .* no output has the timesteps of an input"):
        maskcli.assert_causal(pooled, ROWS)
    with pytest.raises(AssertionError, match=r"not proved .* no row has two valid timesteps"):
        maskcli.assert_causal(make_model(attend), [[1], [2]])


def test_assert_padding_invariant_passes_and_fails() -> None:
    maskcli.assert_padding_invariant(make_model(lambda x: layers.GlobalAveragePooling1D()(x)), ROWS)
    with pytest.raises(AssertionError, match="fix: "):
        maskcli.assert_padding_invariant(make_model(lambda x: layers.GlobalMaxPooling1D()(x * 2.0)), ROWS)


def test_random_model_is_not_judged() -> None:
    class Noise(layers.Layer):
        def call(self, x: Any) -> Any:
            noise = np.random.default_rng().normal(size=(1, 1, WIDTH)).astype("float32")
            return x + ops.convert_to_tensor(noise)

    report = check(make_model(lambda x: Noise()(attend(x))))
    assert report.findings == ()
    evidence = report.examination.model
    assert evidence is not None
    assert [probe.why for probe in evidence.further_probes] == ["two runs on the same data differ"] * 3


def test_probe_is_listed_but_is_no_leak() -> None:
    report = maskcli.check(ROWS, model=make_model(LOOKING["bidirectional"][0]))
    assert report.leak is not None
    (probe,) = [probe for probe in report.leak.probes if probe.name == "future"]
    assert (probe.applicable, probe.leaks, probe.first_call) == (True, False, "at")
    assert report.leak.leaks is False


@pytest.mark.any_backend
def test_faint_look_ahead_is_measured_exactly() -> None:
    """Nearly equal scores, as of a fresh model, change a softmax over timesteps by less than float32 rounds."""

    def look(x: Any) -> Any:
        weights = layers.Softmax(axis=1)(layers.Dense(1, kernel_initializer="ones")(x) * 3e-6)
        return x * weights

    effect = find_effect(make_model(look, mask_zero=False))
    assert effect.looks_ahead
    assert str(effect.first_call).startswith("softmax")
    assert 0 < effect.max_abs_change < 1e-6


@pytest.mark.any_backend
def test_look_ahead_below_rounding_is_measured_exactly() -> None:
    """In float32, a sum loses most of the result of attention; backends other than TensorFlow must be asked for float64."""
    effect = find_effect(make_model(lambda x: layers.Add()([x, layers.Rescaling(1e-8)(layers.Attention()([x, x]))])))
    assert effect.looks_ahead
    assert str(effect.first_call).startswith("attention")
    assert 0 < effect.max_abs_change < 1e-8


class Shrink(layers.Layer):
    """Takes its input off itself, times a scale that is 1 in a new model."""

    def build(self, shape: Any) -> None:
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones")

    def call(self, x: Any) -> Any:
        return x - self.scale * x


@pytest.mark.parametrize("backwards", [True, False])
def test_new_weights_that_hide_the_data_are_moved(backwards: bool) -> None:
    """A new model whose results are the same for all data would look causal."""

    def body(x: Any) -> Any:
        x = Shrink()(x)
        if backwards:
            x = ops.flip(layers.GRU(3, return_sequences=True)(ops.flip(x, axis=1)), axis=1)
        return layers.Dense(2)(x)

    assert find_effect(make_model(body, mask_zero=False)).looks_ahead is backwards
