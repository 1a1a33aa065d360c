"""The timesteps of tensors, held against the movement of the mask in NumPy, and against measured runs."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

import maskcli
from maskcli.records.inputs import ModelInput
from maskcli.trace.outputs import find_model_outputs
from maskcli.trace.positions import Positions
from maskcli.trace.recorder import record_run
from maskcli.trace.run import Run, RunCache, trace_model
from maskcli.trace.unmasked import strip_masks

pytestmark = [
    pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask"),
    pytest.mark.slow(share=1 / 3),
]

ROWS, TIMESTEPS, IDS, WIDTH = 3, 7, 12, 5
VALID = np.arange(TIMESTEPS) < np.array([[4], [7], [2]])
TOKENS = np.where(VALID, np.random.default_rng(3).integers(1, IDS, VALID.shape), 0).astype("int32")
INPUTS = (ModelInput("tokens", TOKENS, VALID, "ids"),)

Arrays = Any


def make_tokens(timesteps: int | None = None) -> Any:
    return keras.Input((timesteps,), dtype="int32", name="tokens")


def embed(tokens: Any, width: int = WIDTH) -> Any:
    return layers.Embedding(IDS, width, mask_zero=True)(tokens)


def trace(model: Any, inputs: tuple[ModelInput, ...] = INPUTS) -> Run:
    with warnings.catch_warnings(action="ignore"):
        return trace_model(model, inputs)


def read_validity(run: Run) -> list[Any]:
    """Return the validity of each output: an array, ``"pooled"`` or None."""
    outputs = keras.tree.flatten(run.output)
    return [run.flow.valid.get(id(x), "pooled" if id(x) in run.flow.pooled else None) for x in outputs]


def trace_body(body: Callable[[Any], Any], timesteps: int | None = TIMESTEPS) -> list[Any]:
    tokens = make_tokens(timesteps)
    with warnings.catch_warnings(action="ignore"):
        return read_validity(trace(keras.Model(tokens, body(embed(tokens)))))


@pytest.mark.parametrize(
    ("equation", "shape", "activation", "is_known"),
    [
        ("bte,ef->btf", (None, 4), None, True),
        ("...x,xy->...y", 4, "softmax", True),
        ("abc,cde->adbe", (2, None, 3), "relu", True),
        ("bte,ef->bft", (4, TIMESTEPS), None, True),
        ("bte,ts->bse", (TIMESTEPS, WIDTH), None, False),
        ("bte,ef->btf", (None, 4), lambda x: x[:, ::-1], False),
    ],
)
def test_projection_has_labels_of_its_operations(
    equation: str, shape: Any, activation: Any, is_known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A projection whose equation shows its labels does not run again."""
    tokens = make_tokens(TIMESTEPS)
    layer = layers.EinsumDense(equation, shape, activation=activation)
    model = keras.Model(tokens, layer(embed(tokens)))
    results = []
    for label in (Positions._label_projection, lambda *_: None):
        monkeypatch.setattr(Positions, "_label_projection", label)
        run = trace(model)
        positions = run.flow.positions
        results.append((positions.get_labels(run.output), id(run.output) in positions.guessed, read_validity(run)[0]))
    (labels, *rest), (inner_labels, *inner_rest) = results
    assert len(labels) == len(inner_labels) == 1
    assert np.array_equal(labels[0], inner_labels[0])
    assert rest[0] == inner_rest[0]
    assert np.array_equal(rest[1], inner_rest[1])
    monkeypatch.undo()
    inside: list[Any] = []
    monkeypatch.setattr(Positions, "_look_inside", lambda _, entry: inside.append(entry.operation))
    trace(model)
    assert (layer not in inside) == is_known


class Code(layers.Layer):
    """A layer whose code is a function."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function

    def call(self, x: Any) -> Any:
        return self.function(x)


# Movements: a name, the movement of vectors by Keras, and that of their validity by NumPy.


def take_steps(rng: random.Random, size: int) -> tuple[Callable[[Any], Any], Callable[[Arrays], Arrays], int]:
    start, stop, step = rng.randint(0, 1), size - rng.randint(0, 1), rng.choice([1, 1, 2])
    new = len(range(start, stop, step))
    return lambda x: x[:, start:stop:step], lambda v: v[:, start:stop:step], new


def reverse(rng: random.Random, size: int) -> tuple[Callable[[Any], Any], Callable[[Arrays], Arrays], int]:
    del rng
    return lambda x: ops.flip(x, axis=1), lambda v: v[:, ::-1], size


def pad(rng: random.Random, size: int) -> tuple[Callable[[Any], Any], Callable[[Arrays], Arrays], int]:
    before, after = rng.randint(0, 2), rng.randint(0, 2)
    width = [[0, 0], [before, after]]
    return (
        lambda x: ops.pad(x, [*width, [0, 0]]),
        lambda v: np.pad(v, width, constant_values=True),
        size + before + after,
    )


def roll(rng: random.Random, size: int) -> tuple[Callable[[Any], Any], Callable[[Arrays], Arrays], int]:
    shift = rng.randint(-2, 2)
    return lambda x: ops.roll(x, shift, axis=1), lambda v: np.roll(v, shift, axis=1), size


def repeat(rng: random.Random, size: int) -> tuple[Callable[[Any], Any], Callable[[Arrays], Arrays], int]:
    del rng
    return lambda x: ops.repeat(x, 2, axis=1), lambda v: np.repeat(v, 2, axis=1), 2 * size


def join(rng: random.Random, size: int) -> tuple[Callable[[Any], Any], Callable[[Arrays], Arrays], int]:
    del rng
    return (
        lambda x: ops.concatenate([x, x[:, ::-1]], axis=1),
        lambda v: np.concatenate([v, v[:, ::-1]], axis=1),
        2 * size,
    )


def turn_twice(rng: random.Random, size: int) -> tuple[Callable[[Any], Any], Callable[[Arrays], Arrays], int]:
    del rng
    return lambda x: ops.transpose(ops.transpose(x, (2, 0, 1)) * 2.0, (1, 2, 0)), lambda v: v, size


def fold(rng: random.Random, size: int) -> tuple[Callable[[Any], Any], Callable[[Arrays], Arrays], int]:
    del rng
    return (
        lambda x: ops.reshape(ops.reshape(x, (-1, x.shape[-1])) + 1.0, (-1, size, x.shape[-1])),
        lambda v: v,
        size,
    )


def split(rng: random.Random, size: int) -> tuple[Callable[[Any], Any], Callable[[Arrays], Arrays], int]:
    at = rng.randint(1, max(1, size - 1))
    return (
        lambda x: ops.concatenate(ops.split(x, [at], axis=1)[::-1], axis=1),
        lambda v: np.concatenate([v[:, at:], v[:, :at]], axis=1),
        size,
    )


MOVEMENTS = (take_steps, reverse, pad, roll, repeat, join, turn_twice, fold, split)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("how", ["graph", "code"])
def test_movements_move_the_validity(seed: int, how: str) -> None:
    """Tracked validity is the mask, moved by NumPy as the vectors are moved by Keras."""
    rng = random.Random(seed)
    expected, size, chosen = VALID, TIMESTEPS, []
    for _ in range(rng.randint(2, 4)):
        move, move_mask, size = rng.choice(MOVEMENTS)(rng, size)
        chosen.append(move)
        expected = move_mask(expected)

    def body(x: Any) -> Any:
        for move in chosen:
            x = move(x)
        return x

    (valid,) = trace_body(body if how == "graph" else Code(body))
    np.testing.assert_array_equal(valid, expected)


def test_movement_of_ids_moves_the_validity() -> None:
    tokens = make_tokens()
    model = keras.Model(tokens, embed(ops.concatenate([ops.ones_like(tokens[:, :2]), tokens[:, :0:-1]], axis=1)))
    (valid,) = read_validity(trace(model))
    np.testing.assert_array_equal(valid, np.concatenate([np.ones((ROWS, 2), bool), VALID[:, :0:-1]], axis=1))


SEQUENCES: dict[str, tuple[Callable[[Any], Any], Arrays]] = {
    "causal convolution": (lambda x: layers.Conv1D(4, 3, padding="causal")(x), VALID),
    "convolution": (lambda x: layers.Conv1D(4, 3)(x), VALID[:, 2:]),
    "cropping": (lambda x: layers.Cropping1D((2, 1))(x), VALID[:, 2:-1]),
    "dense": (lambda x: layers.Dense(TIMESTEPS)(x), VALID),
    "differences": (lambda x: x[:, 1:] - x[:, :-1], VALID[:, 1:]),
    "einsum": (lambda x: ops.einsum("btd,ctd->btc", x, ops.ones((2, TIMESTEPS, WIDTH))), VALID),
    "flattened": (lambda x: layers.Flatten()(layers.Dense(1)(x)), VALID),
    "lambda": (lambda x: layers.Lambda(lambda y: y[:, ::-1])(x), VALID[:, ::-1]),
    "loop": (lambda x: ops.stack([x[:, step] + x[:, max(step - 1, 0)] for step in range(TIMESTEPS)], axis=1), VALID),
    "permuted": (lambda x: layers.Permute((2, 1))(layers.Permute((2, 1))(x)), VALID),
    "pointer": (lambda x: ops.softmax(layers.Dense(1)(x)[:, :, 0], axis=1), VALID),
    "positions": (lambda x: x + layers.Embedding(TIMESTEPS, WIDTH)(ops.arange(TIMESTEPS)), VALID),
    "repeated vector": (lambda x: layers.RepeatVector(TIMESTEPS)(layers.GRU(3)(x)), VALID),
    "reversed RNN": (lambda x: layers.GRU(3, return_sequences=True, go_backwards=True)(x), VALID[:, ::-1]),
    "rolled sum": (lambda x: x + ops.roll(x, 1, axis=1), VALID),
    "upsampling": (lambda x: layers.UpSampling1D(3)(x), np.repeat(VALID, 3, axis=1)),
    "zero padding": (lambda x: layers.ZeroPadding1D((1, 0))(x), np.pad(VALID, [[0, 0], [1, 0]], constant_values=True)),
}


@pytest.mark.parametrize("kind", SEQUENCES)
def test_sequences_have_the_validity_of_their_timesteps(kind: str) -> None:
    body, expected = SEQUENCES[kind]
    (valid,) = trace_body(body)
    np.testing.assert_array_equal(valid, expected)


POOLED: dict[str, Callable[[Any], Any]] = {
    "as many units as timesteps": lambda x: layers.Dense(TIMESTEPS)(layers.Flatten()(x)),
    "batch as timesteps": lambda x: ops.mean(x, axis=1),
    "flattened": lambda x: layers.Flatten()(x),
    "gathered": lambda x: ops.take_along_axis(x, ops.ones((ROWS, 1, 1), "int32"), axis=1)[:, 0],
    "last timestep": lambda x: x[:, -1:],
    "maximum": lambda x: ops.max(x, axis=1, keepdims=True),
    "pooling": lambda x: layers.GlobalAveragePooling1D(keepdims=True)(x),
}


@pytest.mark.parametrize("kind", POOLED)
def test_results_of_samples_have_no_timesteps(kind: str) -> None:
    assert trace_body(POOLED[kind]) == ["pooled"]


@pytest.mark.parametrize("layer", [layers.LSTM, layers.GRU, layers.SimpleRNN])
def test_states_of_as_many_units_as_timesteps_are_pooled(layer: Any) -> None:
    sequence, *states = trace_body(layer(TIMESTEPS, return_sequences=True, return_state=True))
    np.testing.assert_array_equal(sequence, VALID)
    assert states == ["pooled"] * len(states)
    assert states


def test_last_state_of_a_convolutional_rnn_is_pooled() -> None:
    frames = keras.Input((TIMESTEPS, 4, 3, 1))
    values = np.random.default_rng(1).normal(size=(ROWS, TIMESTEPS, 4, 3, 1)).astype("float32")
    inputs = (ModelInput("frames", values, VALID, "features"),)
    last, sequence = (layers.ConvLSTM2D(2, 2, padding="same", return_sequences=keep)(frames) for keep in (False, True))
    pooled, valid = read_validity(trace(keras.Model(frames, [last, sequence]), inputs))
    assert pooled == "pooled"
    np.testing.assert_array_equal(valid, VALID)


def test_transposed_tensors_are_no_sequences_until_they_are_turned_back() -> None:
    turned, back = trace_body(
        Code(lambda x: [ops.transpose(x, (0, 2, 1)), ops.transpose(ops.transpose(x, (1, 0, 2)), (1, 0, 2))])
    )
    assert turned is None
    np.testing.assert_array_equal(back, VALID)


def test_output_of_one_row_of_all_timesteps_has_none() -> None:
    (valid,) = trace_body(Code(lambda x: ops.reshape(x, (1, -1, WIDTH))))
    assert valid is None


def test_joined_sequences_have_the_validity_of_their_parts() -> None:
    left, right = (keras.Input((None,), dtype="int32", name=name) for name in ("left", "right"))
    other = VALID[::-1, :5]
    model = keras.Model([left, right], layers.Concatenate(axis=1)([embed(left), embed(right)]))
    inputs = (*INPUTS, ModelInput("right", np.where(other, 3, 0).astype("int32"), other, "ids"))
    (valid,) = read_validity(trace(model, inputs))
    np.testing.assert_array_equal(valid, np.concatenate([VALID, other], axis=1))


def test_attention_in_code_has_the_timesteps_of_its_queries() -> None:
    def attend(x: Any) -> Any:
        heads = ops.transpose(ops.reshape(x, (ROWS, TIMESTEPS, 2, 3)), (0, 2, 1, 3))
        scores = ops.softmax(ops.matmul(heads, ops.transpose(heads, (0, 1, 3, 2))))
        mixed = ops.transpose(ops.matmul(scores, heads), (0, 2, 1, 3))
        return ops.reshape(mixed, (ROWS, TIMESTEPS, 6)), scores

    tokens = make_tokens(TIMESTEPS)
    run = trace(keras.Model(tokens, Code(attend)(embed(tokens, 6))))
    result, scores = run.output
    np.testing.assert_array_equal(run.flow.valid[id(result)], VALID)
    assert id(scores) not in run.flow.valid
    both = VALID[:, None, :, None] & VALID[:, None, None, :]
    np.testing.assert_array_equal(run.flow.positions.map_places(scores), both)


def test_words_in_sentences_are_cells() -> None:
    words = np.random.default_rng(0).integers(1, IDS, (ROWS, 4, 3)).astype("int32")
    cells = np.arange(3) < np.array([[[2], [3], [1], [0]], [[1], [0], [0], [0]], [[3], [3], [2], [1]]])
    words[~cells] = 0
    inputs = (ModelInput("words", words, cells.any(axis=2), "ids", cells=cells),)
    ids = keras.Input((4, 3), dtype="int32")
    x = layers.TimeDistributed(layers.Embedding(IDS, WIDTH, mask_zero=True))(ids)
    sentences = layers.TimeDistributed(layers.LSTM(2))(x)
    folded = Code(lambda y: ops.reshape(ops.mean(ops.reshape(y, (-1, 3, WIDTH)), axis=1), (-1, 4, WIDTH)))(x)
    of_words, of_sentences, of_folded = read_validity(trace(keras.Model(ids, [x, sentences, folded]), inputs))
    np.testing.assert_array_equal(of_words, cells)
    np.testing.assert_array_equal(of_sentences, cells.any(axis=2))
    np.testing.assert_array_equal(of_folded, cells.any(axis=2))


def measure_dependence(model: Any, timestep: int) -> Arrays:
    """Return which timesteps of the output change with a token, in any row."""
    changed = TOKENS.copy()
    changed[:, timestep] = changed[:, timestep] % (IDS - 1) + 1
    moved = np.asarray(model(TOKENS)) != np.asarray(model(changed))
    return moved.reshape(*moved.shape[:2], -1).any(axis=(0, 2))


MOVING: dict[str, Callable[[Any], Any]] = {
    "cropping": lambda x: layers.Cropping1D((1, 2))(x),
    "dense": lambda x: layers.Dense(3)(x),
    "normalization": lambda x: layers.LayerNormalization()(x),
    "reshape": lambda x: layers.Reshape((TIMESTEPS, WIDTH, 1))(x),
    "timewise": lambda x: layers.TimeDistributed(layers.Dense(2))(x),
    "upsampling": lambda x: layers.UpSampling1D(2)(x),
}


@pytest.mark.parametrize("kind", MOVING)
def test_timesteps_of_layers_are_those_that_change_them(kind: str) -> None:
    tokens = make_tokens(TIMESTEPS)
    model = keras.Model(tokens, MOVING[kind](layers.Embedding(IDS, WIDTH)(tokens)))
    run = trace(model)
    origin = run.flow.positions.read_origin(run.output)
    assert origin is not None
    times = run.flow.positions.cells.time[origin.layer]
    for timestep in range(TIMESTEPS):
        np.testing.assert_array_equal((times == timestep).any(axis=0), measure_dependence(model, timestep))


def test_code_that_leaves_tensorflow_is_measured() -> None:
    class Outside(layers.Layer):
        def call(self, x: Any) -> Any:
            return ops.convert_to_tensor(np.asarray(x)[:, ::-1].copy())

    class Model(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.outside = layers.Embedding(IDS, WIDTH), Outside()

        def call(self, tokens: Any) -> Any:
            return self.outside(self.embedding(tokens))

    (valid,) = read_validity(trace(Model()))
    np.testing.assert_array_equal(valid, VALID[:, ::-1])


def test_validity_of_an_output_is_extended_to_all_rows() -> None:
    lengths = np.arange(40) % TIMESTEPS + 1
    valid = np.arange(TIMESTEPS) < lengths[:, None]
    inputs = (ModelInput("tokens", np.where(valid, 2, 0).astype("int32"), valid, "ids"),)
    tokens = make_tokens()
    turned, kept = embed(tokens[:, ::-1]), layers.LSTM(TIMESTEPS, return_sequences=True)(embed(tokens))
    model = keras.Model(tokens, [turned, kept, layers.Dense(TIMESTEPS)(layers.LSTM(2)(kept))])
    first, second, third = find_model_outputs(RunCache(model), inputs)
    np.testing.assert_array_equal(first.valid, valid[:, ::-1])
    assert second.valid is valid
    assert (third.valid, third.timed) == (None, False)


# Masks.


class Scores(layers.Layer):
    """Attention with one head, whose softmax receives the mask of pairs."""

    def __init__(self, expand: Callable[[Any], Any]) -> None:
        super().__init__()
        self.expand, self.softmax = expand, layers.Softmax(name="softmax")

    def call(self, x: Any, padding: Any) -> Any:
        scores = ops.matmul(x, ops.transpose(x, (0, 2, 1)))[:, None]
        return ops.matmul(self.softmax(scores, mask=self.expand(padding))[:, 0], x)


@pytest.mark.parametrize(
    "expand",
    [
        lambda mask: mask[:, None, None, :],
        lambda mask: mask[:, None, :, None],
        lambda mask: mask[:, None, :, None] & mask[:, None, None, :],
        lambda mask: mask[:, None, None, :] & ops.tril(ops.ones((TIMESTEPS, TIMESTEPS), bool))[None, None],
    ],
    ids=["keys", "queries", "both", "causal"],
)
def test_masks_of_pairs_are_no_padding_masks(expand: Callable[[Any], Any]) -> None:
    tokens = make_tokens(TIMESTEPS)
    keep = keras.Input((TIMESTEPS,), dtype="bool", name="keep")
    model = keras.Model([tokens, keep], Scores(expand)(layers.Embedding(IDS, WIDTH)(tokens), keep))
    run = trace(model, (*INPUTS, ModelInput("keep", VALID, VALID, "mask")))
    (call,) = (call for call in run.calls if call.type == "Softmax")
    assert (call.effect, call.mask_in, call.given, call.attention_arguments) == ("uses", None, False, ("mask",))
    assert not run.flow.lost


def test_mask_of_queries_for_all_keys_is_one_of_pairs() -> None:
    """Its last axis has the size of the keys, although it only depends on the queries; as another argument it pads."""
    tokens = make_tokens(TIMESTEPS)
    x = layers.Embedding(IDS, WIDTH)(tokens)
    mask = ops.not_equal(tokens, 0)[:, :, None]
    pairs = ops.logical_and(mask, ops.ones((TIMESTEPS, TIMESTEPS), "bool"))
    weights = layers.Softmax()(layers.Dot(axes=2)([x, x]), mask=pairs)
    model = keras.Model(tokens, layers.Dot(axes=(2, 1))([weights, x]))
    (call,) = (call for call in trace(model).calls if call.type == "Softmax")
    assert (call.mask_in, call.attention_arguments) == (None, ("mask",))

    class Block(layers.Layer):
        def call(self, x: Any, padding_mask: Any = None) -> Any:
            return x * ops.cast(padding_mask, x.dtype)

    features = ops.logical_and(mask, ops.ones((TIMESTEPS, WIDTH), "bool"))
    (call,) = (
        call for call in trace(keras.Model(tokens, Block()(x, padding_mask=features))).calls if call.type == "Block"
    )
    assert call.attention_arguments == ()


def test_mask_of_a_softmax_over_timesteps_is_a_padding_mask() -> None:
    tokens = make_tokens()
    scores = layers.Dense(1)(layers.Embedding(IDS, WIDTH)(tokens))[:, :, 0]
    model = keras.Model(tokens, layers.Softmax(axis=1)(scores, mask=ops.not_equal(tokens, 0)))
    (call,) = (call for call in trace(model).calls if call.type == "Softmax")
    np.testing.assert_array_equal(call.mask_in, VALID)
    assert call.attention_arguments == ()


def test_mask_that_only_the_user_passes_is_not_lost() -> None:
    """A layer of one's own that takes ``padding_mask`` is not expected to return a mask."""

    class Block(layers.Layer):
        def call(self, x: Any, padding_mask: Any = None) -> Any:
            return x * ops.cast(padding_mask, x.dtype)[:, :, None]

    tokens = make_tokens()
    model = keras.Model(tokens, Block()(layers.Embedding(IDS, WIDTH)(tokens), padding_mask=ops.not_equal(tokens, 0)))
    run = trace(model)
    assert not run.flow.lost


def test_lambda_without_a_mask_argument_drops_the_mask() -> None:
    tokens = make_tokens()
    model = keras.Model(tokens, layers.LSTM(2)(layers.Lambda(lambda x: x * 2.0, name="twice")(embed(tokens))))
    calls = {call.call: call for call in trace(model).calls}
    assert (calls["twice"].effect, calls["twice"].mask_arguments) == ("drops", {})
    (lstm,) = (call for call in calls.values() if call.type == "LSTM")
    assert (lstm.lost_at, lstm.lost_again) == ("twice", ())


def test_all_calls_that_would_lose_a_mask_are_listed_in_order() -> None:
    tokens = make_tokens()
    x = layers.Dense(3)(embed(tokens) * 2.0)
    x = layers.Reshape((-1, 3), name="reshape")(layers.Lambda(lambda y: y + 1.0, name="more")(x))
    with warnings.catch_warnings(action="ignore"):
        model = keras.Model(tokens, layers.LSTM(2, name="lstm")(x))
    (lstm,) = (call for call in trace(model).calls if call.call == "lstm")
    assert (lstm.lost_at, lstm.lost_again) == ("multiply", ("more", "reshape"))


def test_operator_that_joins_two_tensors_is_not_the_first_that_lost_a_mask() -> None:
    tokens = make_tokens()
    vectors = embed(tokens)
    x = layers.LSTM(WIDTH, return_sequences=True)(vectors) * 0.5 + vectors
    (lstm,) = (call for call in trace(keras.Model(tokens, layers.LSTM(2, name="last")(x))).calls if call.call == "last")
    assert (lstm.lost_at, lstm.lost_again) == ("multiply", ("add",))


def test_merge_of_a_tensor_without_its_mask_is_not_to_blame() -> None:
    tokens = make_tokens()
    x = embed(tokens)
    model = keras.Model(tokens, layers.Add(name="add")([x, layers.Lambda(lambda y: y * 2.0, name="twice")(x)]))
    run = trace(model)
    assert run.flow.lost[id(run.output)].at.name == "twice"


def test_reversed_rnn_moves_timesteps_and_not_their_mask() -> None:
    tokens = make_tokens()
    model = keras.Model(tokens, layers.GRU(3, return_sequences=True, go_backwards=True, name="back")(embed(tokens)))
    (call,) = (call for call in trace(model).calls if call.call == "back")
    np.testing.assert_array_equal(call.valid, VALID[:, ::-1])
    np.testing.assert_array_equal(call.valid_in, VALID)
    np.testing.assert_array_equal(call.mask_out, VALID)


def test_reversed_rnn_is_to_blame_for_its_misaligned_mask() -> None:
    tokens = make_tokens()
    x = layers.GRU(3, return_sequences=True, go_backwards=True, name="back")(embed(tokens))
    report = maskcli.check([[4, 2, 7, 1, 5], [3, 1], [6, 8, 2]], model=keras.Model(tokens, layers.GRU(2)(x)))
    errors = [(finding.code, finding.call) for finding in report.findings if finding.severity == "error"]
    assert errors == [("MSK106", "back")]


def test_model_without_masks_stays_causal() -> None:
    """Attention with dropout passes its causal mask to a softmax, which is no mask of padding."""
    tokens = make_tokens(TIMESTEPS)
    x = layers.Embedding(IDS, WIDTH)(tokens)
    model = keras.Model(tokens, layers.MultiHeadAttention(2, 3, dropout=0.2)(x, x, use_causal_mask=True))
    for inside in (False, True):
        with strip_masks(inside_layers=inside):
            bare = np.asarray(model(TOKENS, training=False))
        np.testing.assert_allclose(bare, np.asarray(model(TOKENS, training=False)), atol=1e-6)


# The state of generators.


def read_generators() -> list[Any]:
    from maskcli.trace.generators import _get_seed_generator

    of_keras = _get_seed_generator()
    seeds = None if of_keras is None else np.asarray(of_keras.state).tolist()
    return [random.getstate(), np.random.get_state()[1].tolist(), seeds]


@pytest.mark.parametrize("fresh", [True, False])
def test_runs_leave_the_random_state_as_it_is(fresh: bool) -> None:
    from maskcli.trace import generators

    if fresh:
        generators._set_seed_generator(None)
    else:
        keras.utils.set_random_seed(7)
        keras.random.normal((1,))

    class Noise(layers.Layer):
        def call(self, x: Any) -> Any:
            return x + 0.0 * keras.random.normal(ops.shape(x)) + 0.0 * np.random.random() * random.random()

    tokens = make_tokens(TIMESTEPS)
    model = keras.Model(tokens, layers.LSTM(2)(Noise()(embed(tokens))))
    before = read_generators()
    trace(model)
    maskcli.check([[1, 2, 3], [4, 5, 6, 7, 8, 9, 1]], model=model)
    assert read_generators() == before


def test_random_model_differs_from_run_to_run() -> None:
    tokens = make_tokens()
    model = keras.Model(tokens, Code(lambda x: x + keras.random.normal(ops.shape(x)))(embed(tokens)))
    first, second = (np.asarray(record_run(model, TOKENS).output) for _ in range(2))
    assert not np.array_equal(first, second)
