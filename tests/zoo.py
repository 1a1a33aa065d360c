"""Small models with the truth about them: right ones, in which padding changes nothing, and wrong ones with a culprit.

A builder takes the side at which padding is and the length of its inputs (None for any), and returns the model with its
data. The truth follows from the construction, and ``test_zoo`` measures it again without maskcli.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import warnings
from collections.abc import Callable
from typing import Any, Literal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

Side = Literal["pre", "post"]
Length = int | None
ROWS = [[1, 2, 3], [4, 5], [6, 7, 8, 9, 1, 2], [3]]
OTHER_ROWS = [[2, 1], [9, 8, 7, 6, 5, 4], [3, 3, 1], [5, 6]]
T = 6
IDS = 10
POST: tuple[Side, ...] = ("post",)
BOTH: tuple[Side, ...] = ("post", "pre")


@dataclasses.dataclass(frozen=True)
class Animal:
    """One model with its data.

    Attributes:
        model: a Keras model.
        data: lists of ids, or arrays by name.
        options: for ``check``.
    """

    model: Any
    data: Any
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Kind:
    """One line of the table.

    Attributes:
        name: of the builder.
        build: takes side and length; may return only a model, which then gets ``ROWS``.
        sides: where padding may be.
        lengths: of the inputs.
        culprits: class names of the calls at fault, each of which a finding must name; nothing for right models.
        any_of: class names of which a finding must name one.
        also: class names that findings may name, too.
        at: ends of the paths that the culprits have.
        codes: any of these must be among the findings; empty for any.
    """

    name: str
    build: Callable[[Side, Length], Any]
    sides: tuple[Side, ...]
    lengths: tuple[Length, ...]
    culprits: tuple[str | None, ...] = ()
    also: tuple[str | None, ...] = ()
    at: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    any_of: tuple[str | None, ...] = ()

    def made(self, side: Side, length: Length) -> Animal:
        """Build it."""
        keras.utils.set_random_seed(1)
        with warnings.catch_warnings(action="ignore"):
            result = self.build(side, length)
        return result if isinstance(result, Animal) else Animal(result, ROWS)


RIGHT: dict[str, Kind] = {}
WRONG: dict[str, Kind] = {}


def right(
    sides: tuple[Side, ...] = BOTH, lengths: tuple[Length, ...] = (None, T), codes: tuple[str, ...] = ()
) -> Callable[[Any], Any]:
    """Enter a builder of a model that is right; only findings with these codes are allowed."""

    def enter(build: Any) -> Any:
        RIGHT[build.__name__] = Kind(build.__name__, build, sides, lengths, codes=codes)
        return build

    return enter


def wrong(
    *culprits: str | None,
    sides: tuple[Side, ...] = POST,
    lengths: tuple[Length, ...] = (None,),
    also: tuple[str | None, ...] = (),
    at: tuple[str, ...] = (),
    codes: tuple[str, ...] = (),
    any_of: tuple[str | None, ...] = (),
) -> Callable[[Any], Any]:
    """Enter a builder of a model that is wrong at calls of these types."""

    def enter(build: Any) -> Any:
        WRONG[build.__name__] = Kind(build.__name__, build, sides, lengths, culprits, also, at, codes, any_of)
        return build

    return enter


def variants(kinds: dict[str, Kind], every: bool = False) -> list[tuple[str, Side, Length]]:
    """Return names with side and length: one pair of each kind in turn, both sides of some, or ``every`` pair."""
    cases = []
    for turn, kind in enumerate(kinds.values()):
        pairs = [(side, length) for side in kind.sides for length in kind.lengths]
        if not every and kind.name in COUSINS:
            continue
        if not every:
            pairs = pairs[:: len(kind.lengths)] if kind.name in ON_BOTH_SIDES else [pairs[turn % len(pairs)]]
        cases += [(kind.name, side, length) for side, length in pairs]
    return cases


ON_BOTH_SIDES = frozenset(
    {
        "lstm", "block", "positions", "position_table", "positions_handed_on", "bert", "cross_equal", "joined_sequences",
        "masking_features", "segments", "question_and_answer", "positions_and_amount", "positions_without_mask",
    }
)  # fmt: skip
"""Kinds of which the side of padding is the point."""

COUSINS = frozenset(
    {
        "two_blocks", "forty_rows", "stacked", "bidirectional_sum", "one_row", "equal_lengths", "square_block", "gru",
        "simple_rnn", "go_backwards", "stacked_cells", "noise", "lstm_gap", "repeat_states", "shared_block", "zero_output",
        "positions_block", "causal_block", "block_sequences", "autoencoder", "cross_unequal", "encoder_within",
        "one_timestep_sequences", "no_padding", "square_gap", "square_mean", "square_max", "square_last", "class_id",
        "block_mixed_float16", "lstm_mixed_float16", "block_float64", "lstm_float64", "max_mixed_bfloat16", "square_lstm",
        "attention_mixed_bfloat16", "subclassed_keras_mean", "subclassed_tf_where", "not_built", "bidirectional_sequences",
        "separable", "depthwise", "conv1d_max", "average_pool", "cropping", "upsampling", "zero_padding", "average",
        "maximum", "minimum", "subtract", "layer_norm_both", "no_mask_mean", "max_of_zeroed", "square_conv_wrong",
        "hierarchical_sentences", "bfloat16_leak", "masked_dense_in_sequence", "activations", "identity", "gap", "huge",
        "nested_leak", "last_of_embedding", "conv1d_gap",
    }
)  # fmt: skip
"""Kinds so near to others that they are tried only with ``every``."""


def padded(rows: Any, side: Side, timesteps: int = T, value: int = 0) -> Any:
    return keras.utils.pad_sequences(rows, timesteps, padding=side, value=value)


def ids(length: Length, name: str = "tokens") -> Any:
    return keras.Input((length,), dtype="int32", name=name)


def embedding(width: int = 4, **options: Any) -> Any:
    return layers.Embedding(IDS, width, **{"mask_zero": True, **options})


def on_embedding(*behind: Any) -> Callable[[Side, Length], Any]:
    """Return a builder of Sequential layers after an Embedding with a mask."""

    def build(_side: Side, length: Length) -> Any:
        return keras.Sequential([ids(length), embedding(), *[make() for make in behind]])

    return build


def enter_right(name: str, *behind: Any, sides: tuple[Side, ...] = BOTH) -> None:
    RIGHT[name] = Kind(name, on_embedding(*behind), sides, (None, T))


def features(rows: Any = ROWS, width: int = 3, side: Side = "post", fill: float = 0.0) -> tuple[Any, Any]:
    """Return float features ``(batch, T, width)`` and where they are valid."""
    valid = padded(rows, side) != 0
    values = np.random.default_rng(0).normal(size=(*valid.shape, width)).astype("float32")
    values[~valid] = fill
    return values, valid


def zoo_layer(cls: Any) -> Any:
    return keras.saving.register_keras_serializable("zoo")(cls)


# Custom layers.


@zoo_layer
class HandOn(layers.Layer):
    """Gives its first input the mask that comes as the second."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.supports_masking = True

    def call(self, inputs: Any) -> Any:
        return ops.copy(inputs[0])

    def compute_mask(self, inputs: Any, _mask: Any = None) -> Any:
        return inputs[1]


@zoo_layer
class Positions(layers.Layer):
    """Token and position embeddings in one."""

    def __init__(self, width: int = 4, **options: Any) -> None:
        super().__init__(**options)
        self.width = width
        self.tokens = layers.Embedding(IDS, width, mask_zero=True)
        self.positions = layers.Embedding(40, width)

    def call(self, inputs: Any) -> Any:
        return self.tokens(inputs) + self.positions(ops.arange(ops.shape(inputs)[1]))

    def compute_mask(self, inputs: Any, _mask: Any = None) -> Any:
        return ops.not_equal(inputs, 0)

    def get_config(self) -> Any:
        return {**super().get_config(), "width": self.width}


@zoo_layer
class Block(layers.Layer):
    """A transformer block with raw residuals."""

    def __init__(self, causal: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.causal = causal
        self.supports_masking = True
        self.attention = layers.MultiHeadAttention(2, 2)
        self.first, self.second = layers.LayerNormalization(), layers.LayerNormalization()
        self.wide, self.narrow = layers.Dense(8, activation="gelu"), layers.Dense(4)
        self.dropout = layers.Dropout(0.1)

    def call(self, x: Any, mask: Any = None, training: bool = False) -> Any:
        pairs = None if mask is None else mask[:, None, :]
        y = self.attention(x, x, attention_mask=pairs, use_causal_mask=self.causal)
        x = self.first(x + self.dropout(y, training=training))
        return self.second(x + self.narrow(self.wide(x)))

    def get_config(self) -> Any:
        return {**super().get_config(), "causal": self.causal}


@zoo_layer
class TokenMask(layers.Layer):
    """Makes a mask of ids."""

    def call(self, inputs: Any) -> Any:
        return ops.not_equal(inputs, 0)


@zoo_layer
class MaskedMean(layers.Layer):
    """The mean over valid timesteps."""

    def call(self, x: Any, mask: Any = None) -> Any:
        kept = ops.cast(mask, x.dtype)[..., None]
        return ops.sum(x * kept, axis=1) / ops.maximum(ops.sum(kept, axis=1), 1)


@zoo_layer
class MaskedMax(layers.Layer):
    """The maximum over valid timesteps."""

    def call(self, x: Any, mask: Any = None) -> Any:
        return ops.max(ops.where(mask[..., None], x, -1e9), axis=1)


@zoo_layer
class AttentionPool(layers.Layer):
    """Softmax attention over timesteps, by hand."""

    def __init__(self, masked: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self.masked = masked
        self.score = layers.Dense(1)

    def call(self, x: Any, mask: Any = None) -> Any:
        score = self.score(x)
        if self.masked:
            score = ops.where(mask[..., None], score, -1e9)
        return ops.sum(ops.softmax(score, axis=1) * x, axis=1)

    def get_config(self) -> Any:
        return {**super().get_config(), "masked": self.masked}


@zoo_layer
class PlainMean(layers.Layer):
    """The mean over all timesteps, which ignores the mask."""

    def call(self, x: Any, mask: Any = None) -> Any:  # noqa: ARG002 - this is the fault
        return ops.mean(x, axis=1)


@zoo_layer
class PassingMix(layers.Layer):
    """Passes the mask on and mixes timesteps."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.supports_masking = True

    def call(self, x: Any) -> Any:
        return x - ops.mean(x, axis=1, keepdims=True)


@zoo_layer
class PassingPool(layers.Layer):
    """Pools correctly and passes on the mask of its inputs."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.supports_masking = True

    def call(self, x: Any, mask: Any = None) -> Any:
        kept = ops.cast(mask, x.dtype)[..., None]
        return ops.sum(x * kept, axis=1)


@zoo_layer
class TwoTensors(layers.Layer):
    """Two tensors, so that Keras fills in no mask."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.supports_masking = True

    def call(self, x: Any, y: Any, mask: Any = None) -> Any:
        kept = 1.0 if mask is None else ops.cast(mask, x.dtype)[..., None]
        return ops.sum(x * kept, axis=1) + y


@zoo_layer
class Outer(layers.Layer):
    """Has a layer within that mixes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.supports_masking = True
        self.within = layers.Conv1D(4, 3, padding="same", name="within")

    def call(self, x: Any) -> Any:
        return self.within(x)


@zoo_layer
class Cell(layers.Layer):
    """A cell of one's own."""

    def __init__(self, units: int = 3, **options: Any) -> None:
        super().__init__(**options)
        self.units = self.state_size = units
        self.kernel, self.recurrent = layers.Dense(units), layers.Dense(units)

    def build(self, shape: Any) -> None:
        self.kernel.build(shape)
        self.recurrent.build((shape[0], self.units))

    def call(self, x: Any, states: Any) -> Any:
        state = ops.tanh(self.kernel(x) + self.recurrent(states[0]))
        return state, [state]

    def get_config(self) -> Any:
        return {**super().get_config(), "units": self.units}


# Right models: recurrent.

enter_right("lstm", lambda: layers.LSTM(3))
enter_right("gru", lambda: layers.GRU(3))
enter_right("simple_rnn", lambda: layers.SimpleRNN(3))
enter_right("lstm_sequences", lambda: layers.LSTM(3, return_sequences=True))
enter_right("stacked", lambda: layers.LSTM(3, return_sequences=True), lambda: layers.GRU(3))
enter_right("bidirectional", lambda: layers.Bidirectional(layers.LSTM(3)))
enter_right("bidirectional_sequences", lambda: layers.Bidirectional(layers.GRU(3, return_sequences=True)))
enter_right("custom_cell", lambda: layers.RNN(Cell(3)))
enter_right("stacked_cells", lambda: layers.RNN([layers.LSTMCell(3), layers.LSTMCell(2)], return_sequences=True))
enter_right(
    "zero_output", lambda: layers.LSTM(3, return_sequences=True, zero_output_for_mask=True), lambda: layers.LSTM(2)
)
enter_right("go_backwards", lambda: layers.LSTM(3, go_backwards=True))
enter_right("gap", layers.GlobalAveragePooling1D, lambda: layers.Dense(2))
enter_right("dense_gap", lambda: layers.Dense(5, activation="relu"), layers.GlobalAveragePooling1D)
enter_right("lstm_gap", lambda: layers.LSTM(3, return_sequences=True), layers.GlobalAveragePooling1D)
enter_right("time_distributed", lambda: layers.TimeDistributed(layers.Dense(3)), lambda: layers.LSTM(2))
enter_right("norm_lstm", layers.LayerNormalization, layers.BatchNormalization, lambda: layers.LSTM(2))
enter_right(
    "noise",
    lambda: layers.Dropout(0.5),
    lambda: layers.GaussianNoise(0.5),
    lambda: layers.SpatialDropout1D(0.5),
    lambda: layers.LSTM(3, dropout=0.2, recurrent_dropout=0.2),
)
enter_right("activations", lambda: layers.Activation("tanh"), layers.LeakyReLU, lambda: layers.LSTM(2))
enter_right("block", Block, layers.GlobalAveragePooling1D)
enter_right("two_blocks", Block, Block, lambda: layers.LSTM(2))
enter_right("block_sequences", Block)
enter_right("causal_block", lambda: Block(causal=True), layers.GlobalAveragePooling1D)
enter_right("masked_mean", MaskedMean, lambda: layers.Dense(2))
enter_right("masked_max", lambda: layers.Dense(3), MaskedMax)
enter_right("attention_pool", AttentionPool)
enter_right("embedding_alone")
enter_right("dense_softmax", lambda: layers.Dense(3, activation="softmax"))
enter_right("last_of_lstm", lambda: layers.LSTM(3, return_sequences=True), lambda: LastState())
enter_right(
    "deep",
    *[f for _ in range(15) for f in (lambda: layers.Dense(4, activation="tanh"), layers.LayerNormalization)],
    lambda: layers.LSTM(3),
)
enter_right("identity", layers.Identity, lambda: layers.LSTM(3))


@zoo_layer
class LastState(layers.Layer):
    """Takes the last timestep, which is right after a masked RNN that repeats its last output."""

    def call(self, x: Any, mask: Any = None) -> Any:  # noqa: ARG002 - so that Keras does not warn
        return x[:, -1]


@right(lengths=(None,))
def stateful(_side: Side, length: Length) -> Any:
    tokens = keras.Input(batch_shape=(4, length), dtype="int32", name="tokens")
    return keras.Model(tokens, layers.LSTM(3, stateful=True)(embedding()(tokens)))


@right()
def float_ids(_side: Side, length: Length) -> Any:
    tokens = keras.Input((length,), name="tokens")
    return keras.Model(tokens, layers.LSTM(3)(embedding()(tokens)))


@right()
def int64_ids(side: Side, length: Length) -> Any:
    tokens = keras.Input((length,), dtype="int64", name="tokens")
    model = keras.Model(tokens, layers.LSTM(3)(embedding()(tokens)))
    return Animal(model, {"tokens": padded(ROWS, side).astype("int64")}, {"padding": side})


@right()
def hierarchical(side: Side, length: Length) -> Any:
    words = keras.Input((5,), dtype="int32")
    encoder = keras.Model(words, layers.LSTM(4)(embedding()(words)))
    documents = keras.Input((length, 5), dtype="int32", name="documents")
    sentences = layers.TimeDistributed(encoder)(documents)
    kept = ops.any(ops.not_equal(documents, 0), axis=-1)
    model = keras.Model(documents, layers.LSTM(3)(sentences, mask=kept))
    rng = np.random.default_rng(0)
    data = np.zeros((3, T, 5), "int32")
    for row, count in enumerate((2, 6, 4)):
        for at in range(count):
            n = int(rng.integers(1, 6))
            place = at if side == "post" else T - count + at
            span = slice(0, n) if side == "post" else slice(5 - n, 5)
            data[row, place, span] = rng.integers(1, IDS, n)
    return Animal(model, {"documents": data})


@right()
def self_attention(_side: Side, length: Length) -> Any:
    tokens = ids(length)
    x = embedding()(tokens)
    return keras.Model(tokens, layers.GlobalAveragePooling1D()(layers.MultiHeadAttention(2, 2)(x, x)))


@right()
def residual_by_hand(_side: Side, length: Length) -> Any:
    """The mask that MultiHeadAttention removes is passed on after the residual."""
    tokens = ids(length)
    source = embedding()
    x = source(tokens)
    mask = source.compute_mask(tokens)
    y = layers.MultiHeadAttention(2, 2)(x, x, attention_mask=mask[:, None, :])
    x = layers.LayerNormalization()(layers.Add()([x, y]))
    return keras.Model(tokens, layers.GlobalAveragePooling1D()(x, mask=mask))


@right()
def add_of_masked(_side: Side, length: Length) -> Any:
    tokens = ids(length)
    summed = layers.Add()([embedding()(tokens), embedding()(tokens)])
    joined = layers.Concatenate()([summed, embedding(3)(tokens)])
    return keras.Model(tokens, layers.LSTM(2)(joined))


@right()
def lstm_attention(_side: Side, length: Length) -> Any:
    tokens = ids(length)
    x = layers.LSTM(4, return_sequences=True)(embedding()(tokens))
    return keras.Model(tokens, layers.GlobalAveragePooling1D()(layers.Attention()([x, x])))


@right()
def additive_attention(_side: Side, length: Length) -> Any:
    tokens = ids(length)
    x = layers.LSTM(4, return_sequences=True)(embedding()(tokens))
    return keras.Model(tokens, layers.GlobalAveragePooling1D()(layers.AdditiveAttention()([x, x])))


def cross(length: Length, behind: Any) -> Any:
    source, target = ids(length, "source"), ids(length, "target")
    encoded = layers.LSTM(4, return_sequences=True)(embedding()(source))
    decoded = layers.LSTM(4, return_sequences=True)(embedding()(target))
    return keras.Model([source, target], behind(decoded, encoded))


def attended(decoded: Any, encoded: Any) -> Any:
    return layers.GlobalAveragePooling1D()(layers.MultiHeadAttention(2, 2)(decoded, encoded))


@right()
def cross_equal(side: Side, length: Length) -> Any:
    """Two inputs of one length, padded otherwise."""
    data = {"source": padded(ROWS, side), "target": padded(OTHER_ROWS, side)}
    return Animal(cross(length, attended), data)


@right(lengths=(None,))
def cross_unequal(side: Side, length: Length) -> Any:
    """Two inputs of different lengths."""
    data = {"source": padded(ROWS, side), "target": padded([row[:4] for row in OTHER_ROWS], side, 4)}
    return Animal(cross(length, attended), data)


@right(lengths=(None,))
def cross_sequences(side: Side, length: Length) -> Any:
    data = {"source": padded(ROWS, side), "target": padded([row[:4] for row in OTHER_ROWS], side, 4)}
    return Animal(cross(length, lambda decoded, encoded: layers.Attention()([decoded, encoded])), data)


@right()
def seq2seq(side: Side, length: Length) -> Any:
    """A decoder with the states of its encoder, to which its mask is handed."""
    source, target = ids(length, "source"), ids(length, "target")
    _, *states = layers.LSTM(4, return_state=True)(embedding()(source))
    decoder = embedding()
    x = decoder(target)
    y = layers.LSTM(4, return_sequences=True)(x, initial_state=states, mask=decoder.compute_mask(target))
    model = keras.Model([source, target], layers.Dense(3)(y))
    return Animal(model, {"source": padded(ROWS, side), "target": padded(OTHER_ROWS, side)})


@right()
def two_towers(side: Side, length: Length) -> Any:
    """One encoder, called twice."""
    left, right_ids = ids(length, "left"), ids(length, "right")
    words, encoder = embedding(), layers.LSTM(3)
    scored = layers.Dot(1)([encoder(words(left)), encoder(words(right_ids))])
    model = keras.Model([left, right_ids], scored)
    return Animal(model, {"left": padded(ROWS, side), "right": padded(OTHER_ROWS, side)})


@right()
def causal_attention(_side: Side, length: Length) -> Any:
    tokens = ids(length)
    x = embedding()(tokens)
    return keras.Model(tokens, layers.MultiHeadAttention(2, 2)(x, x, use_causal_mask=True))


@right()
def positions(_side: Side, length: Length) -> Any:
    tokens = ids(length)
    return keras.Model(tokens, layers.LSTM(3)(Positions()(tokens)))


@right()
def positions_block(_side: Side, length: Length) -> Any:
    tokens = ids(length)
    return keras.Model(tokens, layers.GlobalAveragePooling1D()(Block()(Positions()(tokens))))


@right()
def convolution_done_right(_side: Side, length: Length) -> Any:
    tokens = ids(length)
    mask = TokenMask()(tokens)
    x = layers.Embedding(IDS, 4)(tokens) * ops.cast(mask, "float32")[..., None]
    x = HandOn()([layers.Conv1D(4, 3, padding="same")(x), mask])
    return keras.Model(tokens, layers.LSTM(3)(x))


@right(sides=POST)
def causal_convolution(_side: Side, length: Length) -> Any:
    """Post-padding cannot leak to earlier timesteps."""
    tokens = ids(length)
    source = embedding()
    x = layers.Conv1D(4, 2, padding="causal", dilation_rate=2)(source(tokens))
    return keras.Model(tokens, HandOn()([x, source.compute_mask(tokens)]))


@right()
def explicit_bool(side: Side, length: Length) -> Any:
    tokens, mask = ids(length), keras.Input((length,), dtype="bool", name="mask")
    model = keras.Model([tokens, mask], layers.LSTM(3)(layers.Embedding(IDS, 4)(tokens), mask=mask))
    return Animal(model, {"tokens": padded(ROWS, side), "mask": padded(ROWS, side) != 0})


@right()
def explicit_made(side: Side, length: Length) -> Any:
    """The mask is made of the data."""
    return Animal(explicit_bool(side, length).model, ROWS, {"padding": side})


@right()
def explicit_int(side: Side, length: Length) -> Any:
    tokens, mask = ids(length), keras.Input((length,), dtype="int32", name="attention_mask")
    x = layers.Embedding(IDS, 4)(tokens)
    x = layers.MultiHeadAttention(2, 2)(x, x, attention_mask=ops.cast(mask, "bool")[:, None, :])
    x = layers.GlobalAveragePooling1D()(x, mask=mask)
    model = keras.Model([tokens, mask], x)
    return Animal(model, {"tokens": padded(ROWS, side), "attention_mask": (padded(ROWS, side) != 0).astype("int32")})


@right()
def explicit_float(side: Side, length: Length) -> Any:
    tokens, mask = ids(length), keras.Input((length,), dtype="float32", name="attention_mask")
    kept = mask[..., None]
    x = layers.Dense(3, activation="tanh")(layers.Embedding(IDS, 4)(tokens))
    model = keras.Model([tokens, mask], ops.sum(x * kept, axis=1) / ops.sum(kept, axis=1))
    return Animal(model, {"tokens": padded(ROWS, side), "attention_mask": (padded(ROWS, side) != 0).astype("float32")})


@right()
def bert(side: Side, length: Length) -> Any:
    tokens, kinds, places = ids(length), ids(length, "token_type_ids"), ids(length, "positions")
    x = ops.add(layers.Embedding(IDS, 4)(tokens), layers.Embedding(2, 4)(kinds))
    x = ops.add(x, layers.Embedding(40, 4)(places))
    x = HandOn()([x, ops.not_equal(tokens, 0)])
    model = keras.Model([tokens, kinds, places], layers.GlobalAveragePooling1D()(Block()(x)))
    data = padded(ROWS, side)
    return Animal(
        model,
        {
            "tokens": data,
            "token_type_ids": (np.cumsum(data != 0, axis=1) > 2).astype("int32") * (data != 0),
            "positions": np.tile(np.arange(T, dtype="int32"), (len(data), 1)),
        },
    )


@right()
def masking_features(side: Side, length: Length) -> Any:
    values, _ = features(side=side)
    inputs = keras.Input((length, 3), name="features")
    return Animal(keras.Model(inputs, layers.LSTM(3)(layers.Masking(0.0)(inputs))), {"features": values})


@right()
def masking_other_value(side: Side, length: Length) -> Any:
    values, valid = features(side=side, fill=-1.0)
    inputs = keras.Input((length, 3), name="features")
    model = keras.Model(inputs, layers.GRU(3)(layers.Masking(-1.0)(inputs)))
    return Animal(model, {"features": values, "features.mask": valid})


@right()
def features_and_mask(side: Side, length: Length) -> Any:
    values, valid = features(side=side)
    inputs, mask = keras.Input((length, 3), name="features"), keras.Input((length,), dtype="bool", name="mask")
    model = keras.Model([inputs, mask], layers.GlobalAveragePooling1D()(layers.Dense(2)(inputs), mask=mask))
    return Animal(model, {"features": values, "features.mask": valid, "mask": valid})


@right()
def tokens_and_static(side: Side, length: Length) -> Any:
    tokens, age = ids(length), keras.Input((2,), name="profile")
    x = layers.Concatenate()([layers.LSTM(3)(embedding()(tokens)), layers.Dense(2)(age)])
    model = keras.Model([tokens, age], layers.Dense(1)(x))
    return Animal(model, {"tokens": padded(ROWS, side), "profile": np.ones((4, 2), "float32")})


@right()
def dict_inputs(side: Side, length: Length) -> Any:
    inputs = {"b": ids(length, "b"), "a": ids(length, "a")}
    x = layers.Concatenate()([layers.LSTM(3)(embedding()(inputs["a"])), layers.GRU(2)(embedding()(inputs["b"]))])
    return Animal(keras.Model(inputs, layers.Dense(2)(x)), {"a": padded(ROWS, side), "b": padded(OTHER_ROWS, side)})


@right()
def dict_outputs(_side: Side, length: Length) -> Any:
    tokens = ids(length)
    x = layers.LSTM(3, return_sequences=True)(embedding()(tokens))
    return keras.Model(tokens, {"tags": layers.Dense(2)(x), "class": layers.GlobalAveragePooling1D()(x)})


@right()
def list_outputs(_side: Side, length: Length) -> Any:
    tokens = ids(length)
    return keras.Model(tokens, list(layers.LSTM(3, return_sequences=True, return_state=True)(embedding()(tokens))))


@right()
def nested(_side: Side, length: Length) -> Any:
    within = ids(length, "within")
    encoder = keras.Model(within, layers.LSTM(3, return_sequences=True)(embedding()(within)), name="encoder")
    head = keras.Sequential([layers.Dense(3), layers.GlobalAveragePooling1D(), layers.Dense(2)], name="head")
    tokens = ids(length)
    return keras.Model(tokens, head(encoder(tokens)))


@right()
def shared_block(_side: Side, length: Length) -> Any:
    tokens, block = ids(length), Block()
    return keras.Model(tokens, layers.GlobalAveragePooling1D()(block(block(embedding()(tokens)))))


# Right models: subclassed.


@zoo_layer
class Subclassed(keras.Model):
    """A custom tagger or classifier; ``way`` selects how it pools."""

    def __init__(self, way: str = "lstm", **options: Any) -> None:
        super().__init__(**options)
        self.way = way
        self.words = layers.Embedding(IDS, 4, mask_zero=True)
        self.encoder = layers.LSTM(4, return_sequences=way not in ("lstm",))
        self.head = layers.Dense(3)

    def call(self, tokens: Any, training: bool = False) -> Any:  # noqa: ARG002 - as people write it
        return self.head(getattr(self, f"by_{self.way}")(tokens))

    def by_lstm(self, tokens: Any) -> Any:
        return self.encoder(self.words(tokens))

    def by_keras_mean(self, tokens: Any) -> Any:
        kept = ops.cast(ops.not_equal(tokens, 0), self.compute_dtype)[..., None]
        return ops.sum(self.words(tokens) * kept, axis=1) / ops.sum(kept, axis=1)

    def by_tf_mean(self, tokens: Any) -> Any:
        kept = tf.cast(tf.not_equal(tokens, 0), tf.float32)[..., tf.newaxis]
        return tf.reduce_sum(self.words(tokens) * kept, axis=1) / tf.reduce_sum(kept, axis=1)

    def by_tf_where(self, tokens: Any) -> Any:
        x = self.words(tokens)
        return tf.reduce_max(tf.where(tf.not_equal(tokens, 0)[..., tf.newaxis], x, -1e9), axis=1)

    def by_last(self, tokens: Any) -> Any:
        return self.encoder(self.words(tokens))[:, -1]

    def by_gather(self, tokens: Any) -> Any:
        lengths = tf.reduce_sum(tf.cast(tf.not_equal(tokens, 0), tf.int32), axis=1)
        return tf.gather(self.encoder(self.words(tokens)), lengths - 1, axis=1, batch_dims=1)

    def by_wrong_mean(self, tokens: Any) -> Any:
        return tf.reduce_mean(self.words(tokens), axis=1)

    def by_wrong_last(self, tokens: Any) -> Any:
        return self.words(tokens)[:, -1]

    def by_wrong_reverse(self, tokens: Any) -> Any:
        return self.encoder(self.words(tokens)[:, ::-1])[:, -1]

    def by_wrong_softmax(self, tokens: Any) -> Any:
        x = self.words(tokens)
        return tf.reduce_sum(tf.nn.softmax(tf.reduce_sum(x, -1, keepdims=True), axis=1) * x, axis=1)

    def by_wrong_flatten(self, tokens: Any) -> Any:
        x = self.words(tokens)
        return tf.reshape(x, (tf.shape(x)[0], T * 4))

    def get_config(self) -> Any:
        return {**super().get_config(), "way": self.way}


def subclassed(way: str, built: bool = True) -> Callable[[Side, Length], Any]:
    def build(side: Side, _length: Length) -> Any:
        model = Subclassed(way)
        if built:
            model(padded(ROWS, side))
        return Animal(model, ROWS, {"padding": side})

    return build


for _way, _sides in (
    ("lstm", BOTH),
    ("keras_mean", BOTH),
    ("tf_mean", BOTH),
    ("tf_where", BOTH),
    ("last", BOTH),
    ("gather", POST),
):
    RIGHT[f"subclassed_{_way}"] = Kind(f"subclassed_{_way}", subclassed(_way), _sides, (None,))
RIGHT["not_built"] = Kind("not_built", subclassed("lstm", built=False), BOTH, (None,))


@zoo_layer
class Compiled(keras.Model):
    """A model with its call under tf.function."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.words, self.encoder = layers.Embedding(IDS, 4, mask_zero=True), layers.LSTM(3)

    @tf.function
    def call(self, tokens: Any) -> Any:
        return self.encoder(self.words(tokens))


@right(lengths=(None,))
def tf_function(side: Side, _length: Length) -> Any:
    model = Compiled()
    model(padded(ROWS, side))
    return Animal(model, ROWS, {"padding": side})


@zoo_layer
class ManyInputs(keras.Model):
    """Takes a dict, returns a nest."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.words, self.encoder = layers.Embedding(IDS, 4, mask_zero=True), layers.LSTM(3, return_sequences=True)
        self.head = layers.Dense(2)

    def call(self, inputs: Any) -> Any:
        x = self.encoder(self.words(inputs["tokens"]))
        return {"tags": x, "more": [self.head(x), {"last": x[:, -1]}]}


@right(lengths=(None,))
def nest_of_outputs(side: Side, _length: Length) -> Any:
    model = ManyInputs()
    data = {"tokens": padded(ROWS, side), "unused": np.ones((4, 2), "float32")}
    model(data)
    return Animal(model, data)


# Right models: precision, magnitude and ambiguous shapes.


def under(policy: str, behind: Callable[[], list[Any]]) -> Callable[[Side, Length], Any]:
    def build(_side: Side, length: Length) -> Any:
        before = keras.mixed_precision.dtype_policy()
        keras.mixed_precision.set_dtype_policy(policy)
        try:
            return keras.Sequential([ids(length), embedding(), *behind()])
        finally:
            keras.mixed_precision.set_dtype_policy(before)

    return build


for _policy in ("mixed_float16", "mixed_bfloat16", "float64"):
    RIGHT[f"lstm_{_policy}"] = Kind(
        f"lstm_{_policy}", under(_policy, lambda: [layers.LSTM(3), layers.Dense(2)]), BOTH, (None, T)
    )
    RIGHT[f"block_{_policy}"] = Kind(
        f"block_{_policy}",
        under(_policy, lambda: [Block(), layers.GlobalAveragePooling1D(), layers.Dense(2)]),
        BOTH,
        (None, T),
    )


def scaled(scale: float) -> Callable[[Side, Length], Any]:
    def build(_side: Side, length: Length) -> Any:
        starts = keras.initializers.RandomNormal(stddev=scale, seed=1)
        source = embedding(embeddings_initializer=starts)
        return keras.Sequential([ids(length), source, layers.Dense(3), layers.GlobalAveragePooling1D()])

    return build


RIGHT["huge"] = Kind("huge", scaled(1e6), BOTH, (None, T))
RIGHT["tiny"] = Kind("tiny", scaled(1e-6), BOTH, (None, T))


def square(*behind: Any, size: int = 4) -> Callable[[Side, Length], Any]:
    """As many rows as timesteps as features."""

    def build(side: Side, length: Length) -> Any:
        rows = [[1, 2], [3, 4, 5, 6], [7], [8, 9, 1]][:size]
        model = keras.Sequential([ids(size if length else None), embedding(size), *[make() for make in behind]])
        return Animal(model, rows, {"padding": side})

    return build


for _name, _behind in {
    "square_lstm": [lambda: layers.LSTM(4)],
    "square_sequences": [lambda: layers.LSTM(4, return_sequences=True)],
    "square_gap": [layers.GlobalAveragePooling1D],
    "square_dense_gap": [lambda: layers.Dense(4), layers.GlobalAveragePooling1D, lambda: layers.Dense(4)],
    "square_block": [Block, layers.GlobalAveragePooling1D, lambda: layers.Dense(4)],
    "square_mean": [MaskedMean, lambda: layers.Dense(4)],
    "square_max": [MaskedMax, lambda: layers.Dense(4, activation="tanh")],
    "square_last": [lambda: layers.LSTM(4, return_sequences=True), LastState],
    "square_labels": [lambda: layers.LSTM(4, return_sequences=True), lambda: Argmax()],
}.items():
    RIGHT[_name] = Kind(_name, square(*_behind), BOTH, (None, 4))


@zoo_layer
class Argmax(layers.Layer):
    """Makes class ids."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.supports_masking = True

    def call(self, x: Any) -> Any:
        return ops.argmax(x, axis=-1)


@zoo_layer
class Squeeze(layers.Layer):
    """Takes the last axis of one away."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.supports_masking = True

    def call(self, x: Any) -> Any:
        return x[..., 0]


enter_right("labels", lambda: layers.LSTM(3, return_sequences=True), lambda: layers.Dense(4), Argmax)
enter_right("squeezed", lambda: layers.LSTM(3, return_sequences=True), lambda: layers.Dense(1), Squeeze)
enter_right("class_id", lambda: layers.LSTM(3), lambda: layers.Dense(4), Argmax)


def rows_of(rows: Any, *behind: Any, maxlen: Length = None) -> Callable[[Side, Length], Any]:
    def build(side: Side, length: Length) -> Any:
        model = keras.Sequential([ids(length), embedding(), *[make() for make in behind]])
        return Animal(model, rows, {"padding": side} if maxlen is None else {"padding": side, "maxlen": maxlen})

    return build


_some = [list(range(1, 1 + n % 6 + 1)) for n in range(40)]
_tall = [lambda: layers.Bidirectional(layers.GRU(3)), lambda: layers.Dense(2)]
_seq = [lambda: layers.LSTM(3, return_sequences=True), lambda: layers.Dense(2)]
RIGHT["one_row"] = Kind("one_row", rows_of([[1, 2, 3]], *_tall), BOTH, (T,))
RIGHT["one_row_long"] = Kind("one_row_long", rows_of([[1, 2, 3]], *_seq, maxlen=9), BOTH, (None,))
RIGHT["no_padding"] = Kind("no_padding", rows_of([[1, 2, 3], [4, 5, 6]], *_tall), BOTH, (None,))
WRONG["no_padding_max"] = Kind(
    "no_padding_max",
    rows_of([[1, 2, 3], [4, 5, 6]], lambda: layers.GlobalMaxPooling1D()),
    POST,
    (None,),
    culprits=("GlobalMaxPooling1D",),
)
"""The model has a mask, so that maskcli pads the data."""
RIGHT["forty_rows"] = Kind("forty_rows", rows_of(_some, *_tall), BOTH, (None,))
RIGHT["one_timestep"] = Kind("one_timestep", rows_of([[1], [2], [3]], *_tall), BOTH, (None, 1))
RIGHT["one_timestep_sequences"] = Kind("one_timestep_sequences", rows_of([[1], [2]], *_seq), BOTH, (None, 1))
RIGHT["equal_lengths"] = Kind("equal_lengths", rows_of([[1, 2, 3], [4, 5, 6]], *_tall, maxlen=5), BOTH, (None,))


@right()
def tagger(side: Side, length: Length) -> Any:
    """Labels for each timestep, with a loss and metrics that honour the mask."""
    model = on_embedding(lambda: layers.LSTM(4, return_sequences=True), lambda: layers.Dense(3))(side, length)
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["sparse_categorical_accuracy"]
    )
    return Animal(model, ROWS, {"padding": side})


@right()
def classifier(side: Side, length: Length) -> Any:
    model = on_embedding(lambda: layers.LSTM(4), lambda: layers.Dense(1, activation="sigmoid"))(side, length)
    model.compile(loss="binary_crossentropy", metrics=["accuracy", keras.metrics.AUC(), keras.metrics.Recall()])
    return Animal(model, ROWS, {"padding": side, "targets": np.array([[0], [1], [1], [0]])})


@right()
def masked_argument(side: Side, length: Length) -> Any:
    """GlobalMaxPooling under a mask by hand, in a Functional model."""
    tokens = ids(length)
    x = layers.Dense(3)(layers.Embedding(IDS, 4)(tokens))
    kept = ops.expand_dims(ops.not_equal(tokens, 0), -1)
    del side
    return keras.Model(tokens, layers.GlobalMaxPooling1D()(ops.where(kept, x, -1e9)))


@right()
def multiplied_sum(_side: Side, length: Length) -> Any:
    tokens = ids(length)
    kept = ops.cast(ops.expand_dims(ops.not_equal(tokens, 0), -1), "float32")
    x = layers.Multiply()([layers.Dense(3)(layers.Embedding(IDS, 4)(tokens)), kept])
    return keras.Model(tokens, layers.Dense(2)(ops.sum(x, axis=1)))


@right(sides=POST, lengths=(None,))
def ragged_lengths(side: Side, length: Length) -> Any:
    """The lengths come as an input of their own."""
    tokens, lengths = ids(length), keras.Input((1,), dtype="int32", name="lengths")
    steps = ops.cumsum(ops.ones_like(tokens), axis=1)
    kept = ops.cast(steps <= lengths, "float32")[..., None]
    x = layers.Embedding(IDS, 4)(tokens) * kept
    return Animal(
        keras.Model([tokens, lengths], ops.sum(x, axis=1)),
        {"tokens": padded(ROWS, side), "lengths": np.array([[len(row)] for row in ROWS], "int32")},
    )


@right()
def unused_branch(_side: Side, length: Length) -> Any:
    """A layer that leaks goes nowhere: only calls that reach the output count."""
    tokens = ids(length)
    x = embedding()(tokens)
    pooled = layers.LSTM(3)(x)
    return keras.Model(tokens, pooled + 0.0 * layers.LSTM(3)(x))


# Wrong models.


def enter_wrong(
    name: str,
    culprits: tuple[str | None, ...],
    *behind: Any,
    sides: tuple[Side, ...] = POST,
    lengths: tuple[Length, ...] = (None,),
    **more: Any,
) -> None:
    WRONG[name] = Kind(name, on_embedding(*behind), sides, lengths, culprits, **more)


_lstm: Callable[[], Any] = functools.partial(layers.LSTM, 3)
_states: Callable[[], Any] = functools.partial(layers.LSTM, 4, return_sequences=True)

enter_wrong("conv1d", ("Conv1D",), lambda: layers.Conv1D(4, 3, padding="same"), _lstm, lengths=(None, T), sides=BOTH)
enter_wrong("conv1d_gap", ("Conv1D",), lambda: layers.Conv1D(4, 3), layers.GlobalAveragePooling1D, sides=BOTH)
enter_wrong("conv1d_max", ("Conv1D",), lambda: layers.Conv1D(4, 3), layers.GlobalMaxPooling1D, lengths=(T,))
enter_wrong("separable", ("SeparableConv1D",), lambda: layers.SeparableConv1D(4, 3, padding="same"), _lstm)
enter_wrong("depthwise", ("DepthwiseConv1D",), lambda: layers.DepthwiseConv1D(3, padding="same"), _lstm)
enter_wrong("flatten", ("Flatten",), layers.Flatten, lambda: layers.Dense(2), lengths=(T,), sides=BOTH)
enter_wrong(
    "reshape", ("Reshape",), lambda: layers.Reshape((T, 2, 2)), lambda: layers.Reshape((T, 4)), _lstm, lengths=(T,)
)
enter_wrong(
    "permute", ("Permute",), lambda: layers.Permute((2, 1)), lambda: layers.Dense(2), layers.Flatten, lengths=(T,)
)
enter_wrong("max_pool", ("MaxPooling1D",), lambda: layers.MaxPooling1D(2), _lstm)
enter_wrong("average_pool", ("AveragePooling1D",), lambda: layers.AveragePooling1D(2), _lstm)
enter_wrong(
    "global_max",
    ("GlobalMaxPooling1D",),
    layers.GlobalMaxPooling1D,
    lambda: layers.Dense(2),
    lengths=(None, T),
    sides=BOTH,
)
enter_wrong("cropping", ("Cropping1D",), lambda: layers.Cropping1D((1, 0)), _lstm)
enter_wrong("upsampling", ("UpSampling1D",), lambda: layers.UpSampling1D(2), _lstm)
enter_wrong("zero_padding", ("ZeroPadding1D",), lambda: layers.ZeroPadding1D(1), _lstm)
enter_wrong("lambda_layer", ("Lambda",), lambda: layers.Lambda(lambda x: x * 2), _lstm)
enter_wrong("einsum", ("EinsumDense",), lambda: layers.EinsumDense("bte,ef->btf", (None, 4)), _lstm)
enter_wrong("rms", ("RMSNormalization",), layers.RMSNormalization, _lstm)
enter_wrong(
    "layer_norm_time",
    ("LayerNormalization",),
    lambda: layers.LayerNormalization(axis=1),
    _lstm,
    lengths=(T,),
    sides=BOTH,
)
enter_wrong(
    "layer_norm_both", ("LayerNormalization",), lambda: layers.LayerNormalization(axis=(1, 2)), _lstm, lengths=(T,)
)
enter_wrong("group_norm", ("GroupNormalization",), lambda: layers.GroupNormalization(2), _lstm)
enter_wrong("plain_mean", ("PlainMean",), PlainMean, sides=BOTH, lengths=(None, T))
enter_wrong("states_plain_mean", ("PlainMean",), _states, PlainMean, lengths=(None, T))
enter_wrong("passing_mix", ("PassingMix",), PassingMix, _lstm, sides=BOTH)
enter_wrong("passing_pool", ("PassingPool",), PassingPool, lambda: layers.Dense(2))
enter_wrong("attention_unmasked", ("AttentionPool",), lambda: AttentionPool(masked=False), sides=BOTH)
enter_wrong(
    "max_of_zeroed",
    ("GlobalMaxPooling1D",),
    lambda: layers.LSTM(3, return_sequences=True, zero_output_for_mask=True),
    layers.GlobalMaxPooling1D,
    lengths=(None, T),
)
enter_wrong("conv_in_layer", ("Conv1D",), Outer, _lstm, at=("within",), also=("Outer",))
enter_wrong("softmax_3d", ("Softmax",), _states, layers.Softmax)
enter_wrong("last_of_embedding", ("LastState",), lambda: layers.Dense(4), LastState)
enter_wrong(
    "two_faults",
    ("Conv1D",),
    lambda: layers.Conv1D(4, 3, padding="same"),
    layers.GlobalMaxPooling1D,
    lambda: layers.Dense(2),
    also=("GlobalMaxPooling1D",),
)


@wrong("LSTM", codes=("MSK104",))
def no_mask(_side: Side, length: Length) -> Any:
    return keras.Sequential([ids(length), layers.Embedding(IDS, 4), layers.LSTM(3)])


@wrong("GlobalAveragePooling1D", codes=("MSK104",), sides=BOTH, lengths=(None, T))
def no_mask_mean(_side: Side, length: Length) -> Any:
    return keras.Sequential([ids(length), layers.Embedding(IDS, 4), layers.GlobalAveragePooling1D(), layers.Dense(2)])


@wrong("MultiHeadAttention", codes=("MSK104",))
def no_mask_attention(_side: Side, length: Length) -> Any:
    tokens = ids(length)
    x = layers.Embedding(IDS, 4)(tokens)
    return keras.Model(tokens, layers.MultiHeadAttention(2, 2)(x, x))


@right()
def residual(_side: Side, length: Length) -> Any:
    """In a graph the mask of build time reaches the mean, although Add has lost it by then."""
    tokens = ids(length)
    x = embedding()(tokens)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 2)(x, x)])
    return keras.Model(tokens, layers.GlobalAveragePooling1D()(x))


@wrong(any_of=("Add", "MultiHeadAttention"))
def residual_in_code(side: Side, _length: Length) -> Any:
    """Where code runs it, MultiHeadAttention takes the mask off its input, Add drops it, and the mean counts padding."""
    model = AddedResidual()
    model(padded(ROWS, side))
    return model


@zoo_layer
class AddedResidual(keras.Model):
    """Attention, its residual and a mean."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.words, self.attention = layers.Embedding(IDS, 4, mask_zero=True), layers.MultiHeadAttention(2, 2)
        self.add, self.mean = layers.Add(), layers.GlobalAveragePooling1D()

    def call(self, tokens: Any) -> Any:
        x = self.words(tokens)
        return self.mean(self.add([x, self.attention(x, x)]))


@wrong("MultiHeadAttention", also=("Add",))
def residual_run_time(_side: Side, length: Length) -> Any:
    """The same in code: the mask is gone when the second block needs it."""
    del length
    model = ResidualModel()
    model(padded(ROWS, "post"))
    return model


@zoo_layer
class ResidualModel(keras.Model):
    """MultiHeadAttention twice on one tensor: the second finds no mask."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.words = layers.Embedding(IDS, 4, mask_zero=True)
        self.first, self.second = layers.MultiHeadAttention(2, 2), layers.MultiHeadAttention(2, 2)

    def call(self, tokens: Any) -> Any:
        x = self.words(tokens)
        return self.first(x, x), self.second(x, x)


@wrong("Add")
def position_add(side: Side, length: Length) -> Any:
    tokens, places = ids(length), ids(length, "places")
    x = layers.Add()([embedding()(tokens), layers.Embedding(IDS, 4)(places)])
    model = keras.Model([tokens, places], layers.LSTM(3)(x))
    return Animal(model, {"tokens": padded(ROWS, side), "places": np.tile(np.arange(T, dtype="int32"), (4, 1))})


def merged(merge: Any) -> Callable[[Side, Length], Any]:
    def build(_side: Side, length: Length) -> Any:
        tokens = ids(length)
        return keras.Model(tokens, layers.LSTM(3)(merge()([embedding()(tokens), layers.Embedding(IDS, 4)(tokens)])))

    return build


for _merge in (layers.Multiply, layers.Average, layers.Maximum, layers.Minimum, layers.Subtract):
    WRONG[_merge.__name__.lower()] = Kind(_merge.__name__.lower(), merged(_merge), POST, (None,), (_merge.__name__,))
WRONG["concatenate"] = Kind("concatenate", merged(layers.Concatenate), POST, (None,), ("Concatenate",))


@wrong("Multiply")
def operator(_side: Side, length: Length) -> Any:
    tokens = ids(length)
    return keras.Model(tokens, layers.LSTM(3)(embedding()(tokens) * 2.0))


@wrong("LSTM", codes=("MSK103",))
def initial_state(side: Side, length: Length) -> Any:
    tokens, state = ids(length), keras.Input((3,), name="state")
    model = keras.Model([tokens, state], layers.LSTM(3)(embedding()(tokens), initial_state=[state, state]))
    return Animal(model, {"tokens": padded(ROWS, side), "state": np.ones((4, 3), "float32")})


@wrong("TwoTensors", codes=("MSK103",))
def two_tensors(side: Side, length: Length) -> Any:
    tokens, static = ids(length), keras.Input((4,), name="static")
    model = keras.Model([tokens, static], layers.Dense(2)(TwoTensors()(embedding()(tokens), static)))
    return Animal(model, {"tokens": padded(ROWS, side), "static": np.ones((4, 4), "float32")})


@wrong("Conv1D", at=("inner/conv",))
def nested_leak(_side: Side, length: Length) -> Any:
    within = keras.Input((length, 4), name="within")
    inner = keras.Model(within, layers.Conv1D(4, 3, padding="same", name="conv")(within), name="inner")
    tokens = ids(length)
    return keras.Model(tokens, layers.LSTM(3)(inner(embedding()(tokens))))


@wrong("Conv1D", at=("inner/outer/within",), also=("Outer",))
def nested_layer_leak(_side: Side, length: Length) -> Any:
    inner = keras.Sequential([Outer(name="outer"), layers.Dense(4)], name="inner")
    tokens = ids(length)
    return keras.Model(tokens, layers.LSTM(3)(inner(embedding()(tokens))))


@wrong("GlobalMaxPooling1D")
def second_output(_side: Side, length: Length) -> Any:
    tokens = ids(length)
    x = embedding()(tokens)
    return keras.Model(tokens, [layers.LSTM(3)(x), layers.GlobalMaxPooling1D()(x)])


@wrong("GlobalMaxPooling1D", sides=BOTH)
def one_of_two_inputs(side: Side, length: Length) -> Any:
    left, right_ids = ids(length, "left"), ids(length, "right")
    x = layers.Concatenate()([layers.LSTM(3)(embedding()(left)), layers.GlobalMaxPooling1D()(embedding()(right_ids))])
    model = keras.Model([left, right_ids], layers.Dense(2)(x))
    return Animal(model, {"left": padded(ROWS, side), "right": padded(OTHER_ROWS, side)})


@wrong("MultiHeadAttention", codes=("MSK104",))
def cross_without_value_mask(side: Side, length: Length) -> Any:
    """The encoder has no mask: the decoder looks at its padding."""
    source, target = ids(length, "source"), ids(length, "target")
    x = layers.MultiHeadAttention(2, 2)(embedding()(target), layers.Embedding(IDS, 4)(source))
    model = keras.Model([source, target], layers.GlobalAveragePooling1D()(x))
    return Animal(model, {"source": padded(ROWS, side), "target": padded(OTHER_ROWS, side)})


@wrong("Masking", codes=("MSK111",), also=("LSTM", None))
def masking_after_embedding(_side: Side, length: Length) -> Any:
    return keras.Sequential([ids(length), layers.Embedding(IDS, 4), layers.Masking(0.0), layers.LSTM(3)])


@wrong("Masking", codes=("MSK112",), also=("LSTM",))
def masking_never(side: Side, length: Length) -> Any:
    values, valid = features(side=side, fill=-1.0)
    inputs = keras.Input((length, 3), name="features")
    model = keras.Model(inputs, layers.LSTM(3)(layers.Masking(0.0)(inputs)))
    return Animal(model, {"features": values, "features.mask": valid})


@wrong("Masking", codes=("MSK113",))
def masking_data(side: Side, length: Length) -> Any:
    values, valid = features(side=side)
    values[2, 1] = 0.0
    inputs = keras.Input((length, 3), name="features")
    model = keras.Model(inputs, layers.LSTM(3)(layers.Masking(0.0)(inputs)))
    return Animal(model, {"features": values, "features.mask": valid})


@wrong("Masking", codes=("MSK110",), also=("LSTM", "Embedding", None))
def masking_on_ids(_side: Side, length: Length) -> Any:
    tokens = keras.Input((length,), name="tokens")
    return keras.Model(tokens, layers.LSTM(3)(layers.Embedding(IDS, 4)(layers.Masking(0.0)(tokens))))


@right(sides=POST, lengths=(None,))
def time_distributed_rnn(_side: Side, _length: Length) -> Any:
    """The mask of words goes out with vectors of sentences, and nothing uses it there."""
    documents = keras.Input((T, 5), dtype="int32", name="documents")
    x = layers.TimeDistributed(layers.LSTM(3))(embedding()(documents))
    data = np.random.default_rng(0).integers(1, IDS, (3, T, 5)).astype("int32")
    data[0, 3:] = 0
    data[1, :, 3:] = 0
    return Animal(keras.Model(documents, x), {"documents": data})


@wrong("GlobalAveragePooling1D", codes=("MSK201",), also=(None,))
def empty_row(_side: Side, length: Length) -> Any:
    model = on_embedding(layers.GlobalAveragePooling1D, lambda: layers.Dense(2))("post", length)
    return Animal(model, [[1, 2, 3], [], [4]])


@wrong("LSTM", "MultiHeadAttention")
def two_branches(_side: Side, length: Length) -> Any:
    """Two faults that have nothing to do with each other."""
    tokens = ids(length)
    x = layers.Embedding(IDS, 4)(tokens)
    return keras.Model(tokens, [layers.LSTM(3)(x), layers.MultiHeadAttention(2, 2)(x, x)])


@wrong("Conv1D", "GlobalMaxPooling1D")
def two_outputs_two_faults(_side: Side, length: Length) -> Any:
    tokens = ids(length)
    x = embedding()(tokens)
    convolved = layers.LSTM(3)(layers.Conv1D(4, 3, padding="same")(x))
    return keras.Model(tokens, [convolved, layers.GlobalMaxPooling1D()(x)])


for _way, _culprits in (
    ("wrong_mean", ("Mean",)),
    ("wrong_last", ("StridedSlice",)),
    ("wrong_reverse", ("StridedSlice",)),
    ("wrong_softmax", ("Sum",)),  # It drops the mask that the softmax after it needs.
):
    WRONG[f"subclassed_{_way}"] = Kind(f"subclassed_{_way}", subclassed(_way), POST, (None,), _culprits)


@wrong("GetItem")
def last_timestep(_side: Side, length: Length) -> Any:
    tokens = ids(length)
    return keras.Model(tokens, layers.Dense(2)(embedding()(tokens)[:, -1]))


@wrong(any_of=("GetItem", "Flip"))
def reversed_by_hand(_side: Side, length: Length) -> Any:
    tokens = ids(length)
    return keras.Model(tokens, layers.LSTM(3)(embedding()(tokens)[:, ::-1]))


@wrong("Mean")
def mean_of_states(_side: Side, length: Length) -> Any:
    """Padding repeats the last state: other content changes nothing, its amount does."""
    tokens = ids(length)
    return keras.Model(tokens, ops.mean(layers.LSTM(4, return_sequences=True)(embedding()(tokens)), axis=1))


@wrong("GlobalMaxPooling1D", sides=BOTH)
def max_of_states_dense(_side: Side, length: Length) -> Any:
    tokens = ids(length)
    x = layers.LSTM(4, return_sequences=True, zero_output_for_mask=True)(embedding()(tokens))
    return keras.Model(tokens, layers.GlobalMaxPooling1D()(layers.Dense(3, activation="tanh")(x)))


@wrong("GlobalMaxPooling1D", lengths=(4,), sides=BOTH)
def square_max_wrong(side: Side, length: Length) -> Any:
    return square(layers.GlobalMaxPooling1D)(side, length)


@wrong("Mean", lengths=(4,))
def square_mean_wrong(side: Side, length: Length) -> Any:
    tokens = ids(length)
    rows = [[1, 2], [3, 4, 5, 6], [7], [8, 9, 1]]
    return Animal(keras.Model(tokens, ops.mean(embedding(4)(tokens), axis=1)), rows, {"padding": side})


@wrong("Conv1D", lengths=(4,))
def square_conv_wrong(side: Side, length: Length) -> Any:
    return square(lambda: layers.Conv1D(4, 3, padding="same"), lambda: layers.LSTM(4))(side, length)


@wrong(any_of=("AddV2", "Add"))
def subclassed_add(side: Side, _length: Length) -> Any:
    model = AddedInCode()
    model(padded(ROWS, side))
    return model


@zoo_layer
class AddedInCode(keras.Model):
    """Adds positions by an operator, and so loses the mask before its LSTM."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.words, self.places = layers.Embedding(IDS, 4, mask_zero=True), layers.Embedding(40, 4)
        self.encoder = layers.LSTM(3)

    def call(self, tokens: Any) -> Any:
        return self.encoder(self.words(tokens) + self.places(ops.arange(ops.shape(tokens)[1])))


@wrong("Conv1D")
def loss_through_conv(_side: Side, length: Length) -> Any:
    """The output has lost its mask, and the loss counts padding."""
    model = on_embedding(_states, lambda: layers.Conv1D(2, 1))("post", length)
    model.compile(loss="mse")
    return model


@wrong("Recall", "Precision", codes=("MSK303",))
def metrics(_side: Side, length: Length) -> Any:
    model = on_embedding(_states, lambda: layers.Dense(1, activation="sigmoid"))("post", length)
    model.compile(loss="binary_crossentropy", metrics=["accuracy", keras.metrics.Recall(), keras.metrics.Precision()])
    return model


@wrong("MeanIoU", codes=("MSK303",))
def mean_iou(_side: Side, length: Length) -> Any:
    model = on_embedding(_states, lambda: layers.Dense(3, activation="softmax"))("post", length)
    iou = keras.metrics.MeanIoU(3, sparse_y_pred=False)
    model.compile(loss="sparse_categorical_crossentropy", metrics=[iou])
    return model


@wrong(any_of=("BatchNormalization", "Multiply"))
def batch_norm_training(_side: Side, length: Length) -> Any:
    """The mask is handed to the LSTM, and was lost before the normalisation: in training it counts padding."""
    tokens = ids(length)
    source = embedding()
    x = layers.BatchNormalization()(source(tokens) * 1.0)
    return keras.Model(tokens, layers.LSTM(3)(x, mask=source.compute_mask(tokens)))


@wrong("LSTM", codes=("MSK104",))
def explicit_mask_unused(side: Side, length: Length) -> Any:
    tokens, mask = ids(length), keras.Input((length,), dtype="bool", name="mask")
    x = layers.LSTM(3)(layers.Embedding(IDS, 4)(tokens))
    model = keras.Model([tokens, mask], [x, ops.cast(mask, "float32")])
    return Animal(model, {"tokens": padded(ROWS, side), "mask": padded(ROWS, side) != 0})


# More right models.


@zoo_layer
class PositionTable(layers.Layer):
    """Returns only the vectors of positions, as KerasNLP's PositionEmbedding does."""

    def build(self, shape: Any) -> None:
        self.table = self.add_weight(shape=(40, shape[-1]), initializer="random_normal", name="table")

    def call(self, x: Any) -> Any:
        return ops.broadcast_to(self.table[: ops.shape(x)[1]], ops.shape(x))


@right()
def position_table(_side: Side, length: Length) -> Any:
    tokens = ids(length)
    x = layers.Embedding(IDS, 4)(tokens)
    x = HandOn()([x + PositionTable()(x), ops.not_equal(tokens, 0)])
    return keras.Model(tokens, layers.LSTM(3)(x))


@right()
def positions_counted(_side: Side, length: Length) -> Any:
    """Positions count valid tokens, so that padding in front shifts nothing."""
    tokens = ids(length)
    kept = ops.cast(ops.not_equal(tokens, 0), "int32")
    x = layers.Embedding(IDS, 4)(tokens) + layers.Embedding(40, 4)(ops.cumsum(kept, axis=1) * kept)
    return keras.Model(tokens, layers.GRU(3)(HandOn()([x, ops.not_equal(tokens, 0)])))


@right()
def positions_handed_on(_side: Side, length: Length) -> Any:
    """Positions by a lookup in the graph, under both sides."""
    tokens = ids(length)
    places = ops.cumsum(ops.ones_like(tokens), axis=1) - 1
    x = HandOn()([layers.Embedding(IDS, 4)(tokens) + layers.Embedding(40, 4)(places), ops.not_equal(tokens, 0)])
    return keras.Model(tokens, layers.GlobalAveragePooling1D()(Block()(x)))


@right()
def returned_scores(_side: Side, length: Length) -> Any:
    tokens = ids(length)
    x = embedding()(tokens)
    y, scores = layers.MultiHeadAttention(2, 2)(x, x, return_attention_scores=True)
    return keras.Model(tokens, [layers.GlobalAveragePooling1D()(y), scores])


@right(lengths=(None, 4))
def square_scores(side: Side, length: Length) -> Any:
    """As many heads as timesteps; with ``key_dim=1`` Keras 3.15 would add biases along the wrong axis."""
    tokens = ids(length)
    x = embedding()(tokens)
    y, scores = layers.MultiHeadAttention(4, 2)(x, x, return_attention_scores=True)
    model = keras.Model(tokens, [layers.GlobalAveragePooling1D()(y), scores])
    return Animal(model, [[1, 2], [3, 4, 5, 6], [7], [8, 9, 1]], {"padding": side})


@right(lengths=(None, 4))
def square_states(side: Side, length: Length) -> Any:
    """States as wide as the sequence is long."""
    tokens = ids(length)
    outputs = layers.LSTM(4, return_sequences=True, return_state=True)(embedding()(tokens))
    return Animal(keras.Model(tokens, list(outputs)), [[1, 2], [3, 4, 5, 6], [7], [8, 9, 1]], {"padding": side})


@right(lengths=(None, 4))
def square_cross(side: Side, length: Length) -> Any:
    data = {
        "source": padded([[1, 2], [3, 4, 5, 6], [7], [8, 9, 1]], "post" if side == "post" else side, 4),
        "target": padded([[1], [3, 4], [7, 1, 2, 3], [8, 9, 1]], side, 4),
    }
    return Animal(cross(length, attended), data)


@zoo_layer
class EinsumPool(keras.Model):
    """Masked attention by tf.einsum; ``F`` is the number of timesteps."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.words, self.score, self.head = layers.Embedding(IDS, 4), layers.Dense(1), layers.Dense(4)

    def call(self, tokens: Any) -> Any:
        x = self.words(tokens)
        score = tf.where(tokens == 0, -1e9, self.score(x)[..., 0])
        return self.head(tf.einsum("bt,btf->bf", tf.nn.softmax(score, axis=-1), x))


@right(lengths=(None,))
def square_einsum(side: Side, _length: Length) -> Any:
    rows = [[1, 2], [3, 4, 5, 6], [7], [8, 9, 1]]
    model = EinsumPool()
    model(padded(rows, side, 4))
    model.compile(loss="mse")
    return Animal(model, rows, {"padding": side})


@right(lengths=(None, 4))
def square_compiled(side: Side, length: Length) -> Any:
    animal = square(layers.GlobalAveragePooling1D, lambda: layers.Dense(4))(side, length)
    animal.model.compile(loss="mse", metrics=["mae", keras.metrics.RootMeanSquaredError()])
    return animal


@right(lengths=(None, T))
def lambda_with_mask(_side: Side, length: Length) -> Any:
    """Keras does not bring the mask of a Lambda back, but saves the graph with the mask that the LSTM receives."""
    tokens = ids(length)
    doubled = layers.Lambda(lambda x: x * 2, mask=lambda _x, mask: mask)(embedding()(tokens))
    return keras.Model(tokens, layers.LSTM(3)(doubled))


@right()
def masked_softmax(_side: Side, length: Length) -> Any:
    """Softmax is given the mask over the axis of time."""
    tokens = ids(length)
    x = layers.Embedding(IDS, 4)(tokens)
    score = ops.squeeze(layers.Dense(1)(x), -1)
    weight = layers.Softmax(axis=-1)(score, mask=ops.not_equal(tokens, 0))
    return keras.Model(tokens, ops.sum(x * ops.expand_dims(weight, -1), axis=1))


@right()
def additive_mask(_side: Side, length: Length) -> Any:
    tokens = ids(length)
    x = layers.Embedding(IDS, 4)(tokens)
    away = ops.expand_dims(ops.cast(ops.equal(tokens, 0), "float32") * -1e9, -1)
    weight = ops.softmax(layers.Dense(1)(x) + away, axis=1)
    pooled = layers.Concatenate()([ops.sum(weight * x, axis=1), ops.max(x + away, axis=1)])
    return keras.Model(tokens, layers.Dense(2)(pooled))


@right()
def flipped(_side: Side, length: Length) -> Any:
    """Turned round with its mask."""
    tokens = ids(length)
    x = ops.flip(layers.Embedding(IDS, 4)(tokens), axis=1)
    return keras.Model(tokens, layers.LSTM(3)(x, mask=ops.flip(ops.not_equal(tokens, 0), axis=1)))


@right()
def flipped_back(_side: Side, length: Length) -> Any:
    tokens = ids(length)
    x = ops.flip(layers.Embedding(IDS, 4)(tokens), axis=1)
    x = layers.LSTM(3, return_sequences=True)(x, mask=ops.flip(ops.not_equal(tokens, 0), axis=1))
    return keras.Model(tokens, HandOn()([ops.flip(x, axis=1), ops.not_equal(tokens, 0)]))


@right(sides=POST)
def last_valid(_side: Side, length: Length) -> Any:
    tokens = ids(length)
    count = ops.sum(ops.cast(ops.not_equal(tokens, 0), "int32"), axis=1)
    x = layers.Dense(3)(layers.Embedding(IDS, 4)(tokens))
    taken = ops.take_along_axis(x, ops.reshape(count - 1, (-1, 1, 1)), axis=1)
    return keras.Model(tokens, ops.squeeze(taken, 1))


@right(lengths=(T,), sides=POST)
def autoencoder(_side: Side, length: Length) -> Any:
    tokens = ids(length)
    x = layers.RepeatVector(T)(layers.LSTM(3)(embedding()(tokens)))
    return keras.Model(tokens, layers.Dense(2)(layers.LSTM(3, return_sequences=True)(x)))


@right(lengths=(T,), codes=("MSK115",))
def zeroed_flatten(_side: Side, length: Length) -> Any:
    """It is right, but the number of padded timesteps cannot be changed to prove it."""
    tokens = ids(length)
    kept = ops.cast(ops.expand_dims(ops.not_equal(tokens, 0), -1), "float32")
    return keras.Model(tokens, layers.Dense(2)(layers.Flatten()(layers.Embedding(IDS, 4)(tokens) * kept)))


@right(lengths=(T,))
def unrolled(_side: Side, length: Length) -> Any:
    return keras.Sequential([ids(length), embedding(), layers.GRU(3, unroll=True)])


@right()
def random_inference(_side: Side, length: Length) -> Any:
    """Dropout that stays on: other numbers are drawn for other shapes, and that is no leak."""
    tokens = ids(length)
    x = layers.Dropout(0.3, seed=1)(embedding()(tokens), training=True)
    return keras.Model(tokens, layers.LSTM(3)(x))


@right()
def masking_value_by_itself(side: Side, length: Length) -> Any:
    """Padding is -1, which only Masking knows."""
    values, _ = features(side=side, fill=-1.0)
    inputs = keras.Input((length, 3), name="features")
    return Animal(keras.Model(inputs, layers.GRU(3)(layers.Masking(-1.0)(inputs))), {"features": values})


@right()
def pairwise(side: Side, length: Length) -> Any:
    """Every token against every right_ids, masked on both sides."""
    left, right_ids = ids(length, "left"), ids(length, "right")
    words = layers.Embedding(IDS, 4)
    both = layers.Dot(2)([words(left), words(right_ids)])
    kept = ops.expand_dims(ops.not_equal(left, 0), 2) & ops.expand_dims(ops.not_equal(right_ids, 0), 1)
    model = keras.Model([left, right_ids], ops.max(ops.where(kept, both, -1e9), axis=(1, 2)))
    return Animal(model, {"left": padded(ROWS, side), "right": padded(OTHER_ROWS, side)})


@right()
def sharp_attention(_side: Side, length: Length) -> Any:
    """Scores so large that softmax enlarges their rounding."""
    tokens = ids(length)
    x = embedding(32, embeddings_initializer=keras.initializers.RandomNormal(stddev=8.0, seed=2))(tokens)
    return keras.Model(tokens, layers.GlobalAveragePooling1D()(layers.MultiHeadAttention(2, 16)(x, x)))


@right()
def cancelling(_side: Side, length: Length) -> Any:
    """Large numbers that cancel: their rounding is large compared with the result."""
    tokens = ids(length)
    x = layers.Dense(16, bias_initializer=keras.initializers.Constant(3e4))(embedding(16)(tokens))
    x = layers.LSTM(3)(layers.LayerNormalization()(x))
    return keras.Model(tokens, x)


enter_right("masked_dense_in_sequence", lambda: keras.Sequential([layers.Dense(3), layers.LSTM(3)]))
enter_right(
    "repeat_states", lambda: layers.LSTM(3, return_sequences=True), lambda: layers.Dense(2), lambda: layers.LSTM(2)
)

for _policy in ("mixed_float16", "mixed_bfloat16"):
    RIGHT[f"max_{_policy}"] = Kind(f"max_{_policy}", under(_policy, lambda: [MaskedMax()]), BOTH, (None, T))
    RIGHT[f"attention_{_policy}"] = Kind(
        f"attention_{_policy}", under(_policy, lambda: [AttentionPool()]), BOTH, (None, T)
    )


@right(sides=POST)
def ignored_class(side: Side, length: Length) -> Any:
    """The output has no mask, and the loss ignores targets of -1."""
    tokens = ids(length)
    x = layers.LSTM(4, return_sequences=True)(embedding()(tokens)) * 1.0
    model = keras.Model(tokens, layers.Dense(3)(x))
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1))
    targets = np.where(padded(ROWS, side) == 0, -1, 1)
    return Animal(model, ROWS, {"padding": side, "targets": targets, "ignore": ["MSK302"]})


@keras.saving.register_keras_serializable("zoo")
def masked_loss(y_true: Any, y_pred: Any) -> Any:
    """The loss of TensorFlow's own tutorial on translation."""
    losses = keras.losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)
    kept = ops.cast(ops.not_equal(y_true, 0), losses.dtype)
    return ops.sum(losses * kept) / ops.sum(kept)


@right(sides=POST)
def loss_with_its_own_mask(side: Side, length: Length) -> Any:
    tokens = ids(length)
    x = layers.LSTM(4, return_sequences=True)(embedding()(tokens))
    model = keras.Model(tokens, layers.Dense(3)(ops.stop_gradient(x) * 1.0))
    model.compile(loss=masked_loss)
    return Animal(model, ROWS, {"padding": side, "targets": np.where(padded(ROWS, side) == 0, 0, 1)})


# More wrong models.


enter_wrong(
    "backwards_sequences",
    ("LSTM",),
    lambda: layers.LSTM(3, return_sequences=True, go_backwards=True),
    layers.GlobalAveragePooling1D,
    sides=BOTH,
    also=("GlobalAveragePooling1D",),
)
enter_wrong("inverted", ("InvertedMax",), lambda: InvertedMax())
enter_wrong("late_mask", ("LateMask",), lambda: LateMask(), sides=BOTH, lengths=(None, T))
enter_wrong("max_with_zero", ("MaxWithZero",), lambda: MaxWithZero(), lengths=(None, T))
enter_wrong("divided_by_all", ("DividedByAll",), lambda: DividedByAll(), lengths=(None, T))
enter_wrong("shifted_mask", ("ShiftedMask",), lambda: ShiftedMask(), _lstm, also=("LSTM",))


@zoo_layer
class InvertedMax(layers.Layer):
    """Takes the mask the wrong way round."""

    def call(self, x: Any, mask: Any = None) -> Any:
        return ops.max(ops.where(mask[..., None], -1e9, x), axis=1)


@zoo_layer
class LateMask(layers.Layer):
    """Multiplies by the mask after the softmax, whose sum includes padding."""

    def call(self, x: Any, mask: Any = None) -> Any:
        weight = ops.softmax(ops.sum(x, axis=-1, keepdims=True), axis=1) * ops.cast(mask, x.dtype)[..., None]
        return ops.sum(weight * x, axis=1)


@zoo_layer
class MaxWithZero(layers.Layer):
    """Puts 0 where padding is, and 0 may be the largest."""

    def call(self, x: Any, mask: Any = None) -> Any:
        return ops.max(ops.where(mask[..., None], x - 5.0, 0.0), axis=1)


@zoo_layer
class DividedByAll(layers.Layer):
    """Divides by all timesteps."""

    def call(self, x: Any, mask: Any = None) -> Any:
        return ops.sum(x * ops.cast(mask, x.dtype)[..., None], axis=1) / ops.cast(ops.shape(x)[1], x.dtype)


@zoo_layer
class ShiftedMask(layers.Layer):
    """Returns a mask that is off by one."""

    def call(self, x: Any) -> Any:
        return x * 1.0

    def compute_mask(self, _inputs: Any, mask: Any = None) -> Any:
        return ops.roll(mask, 1, axis=1)


@wrong("Conv1D", sides=("pre",), lengths=(None, T))
def causal_pre(_side: Side, length: Length) -> Any:
    """Pre-padding affects later timesteps."""
    tokens = ids(length)
    source = embedding()
    x = layers.Conv1D(4, 2, padding="causal")(source(tokens))
    return keras.Model(tokens, layers.LSTM(3)(HandOn()([x, source.compute_mask(tokens)])))


@wrong("Conv1D")
def handed_on_too_late(_side: Side, length: Length) -> Any:
    """The mask is passed on after a convolution that has mixed padding in."""
    tokens = ids(length)
    source = embedding()
    x = HandOn()([layers.Conv1D(4, 3, padding="same")(source(tokens)), source.compute_mask(tokens)])
    return keras.Model(tokens, layers.GlobalAveragePooling1D()(x))


@right(sides=POST, lengths=(None,))
def mask_of_ones(side: Side, length: Length) -> Any:
    """The mask that comes with the data calls everything valid, and the mask decides."""
    animal = explicit_bool(side, length)
    return Animal(animal.model, {"tokens": padded(ROWS, side), "mask": np.ones((4, T), bool)})


@wrong("GlobalAveragePooling1D", codes=("MSK104",))
def hierarchical_sentences(side: Side, length: Length) -> Any:
    """Sentences have no mask: empty ones count."""
    animal = hierarchical(side, length)
    words = keras.Input((5,), dtype="int32")
    encoder = keras.Model(words, layers.LSTM(4)(embedding()(words)))
    documents = keras.Input((length, 5), dtype="int32", name="documents")
    model = keras.Model(documents, layers.GlobalAveragePooling1D()(layers.TimeDistributed(encoder)(documents)))
    return Animal(model, animal.data)


@wrong("Mean", lengths=(None,))
def square_einsum_wrong(side: Side, _length: Length) -> Any:
    """A mean in code where the width is the number of timesteps."""
    model = SquareMean()
    rows = [[1, 2], [3, 4, 5, 6], [7], [8, 9, 1]]
    model(padded(rows, side, 4))
    return Animal(model, rows, {"padding": side})


@zoo_layer
class SquareMean(keras.Model):
    """The mean over all timesteps, in code."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.words, self.head = layers.Embedding(IDS, 4, mask_zero=True), layers.Dense(4)

    def call(self, tokens: Any) -> Any:
        return self.head(tf.reduce_mean(self.words(tokens), axis=1))


@wrong("Softmax")
def square_einsum_leaks(side: Side, _length: Length) -> Any:
    """Attention by tf.einsum without a mask, where the width is the number of timesteps."""
    model = EinsumPoolWrong()
    rows = [[1, 2], [3, 4, 5, 6], [7], [8, 9, 1]]
    model(padded(rows, side, 4))
    return Animal(model, rows, {"padding": side})


@zoo_layer
class EinsumPoolWrong(EinsumPool):
    """The same without a mask."""

    def call(self, tokens: Any) -> Any:
        x = self.words(tokens)
        return self.head(tf.einsum("bt,btf->bf", tf.nn.softmax(self.score(x)[..., 0], axis=-1), x))


@wrong("MaxPooling1D", "Add")
def two_faults_in_line(side: Side, length: Length) -> Any:
    """One fault is in a branch, and one after it."""
    del side
    tokens, x = ids(length), None
    x = embedding()(tokens)
    pooled = layers.LSTM(3)(layers.MaxPooling1D(2)(x))
    added = layers.LSTM(3)(layers.Add()([x, layers.Embedding(IDS, 4)(tokens)]))
    return keras.Model(tokens, layers.Concatenate()([pooled, added]))


def square_pool(pool: Callable[[Any, Any], Any]) -> Callable[[Side, Length], Any]:
    """Masked attention in a graph; the width is the number of timesteps, and a loss is compiled."""

    def build(side: Side, length: Length) -> Any:
        tokens = ids(length)
        x = layers.Embedding(IDS, 4)(tokens)
        score = ops.where(ops.equal(tokens, 0), -1e9, ops.squeeze(layers.Dense(1)(x), -1))
        model = keras.Model(tokens, layers.Dense(4)(pool(ops.softmax(score, axis=-1), x)))
        model.compile(loss="mse")
        return Animal(model, [[1, 2], [3, 4, 5, 6], [7], [8, 9, 1]], {"padding": side})

    return build


RIGHT["square_ops_einsum"] = Kind(
    "square_ops_einsum", square_pool(lambda w, x: ops.einsum("bt,btf->bf", w, x)), BOTH, (None, 4)
)
RIGHT["square_dot"] = Kind("square_dot", square_pool(lambda w, x: layers.Dot(1)([w, x])), BOTH, (None, 4))
RIGHT["square_matmul"] = Kind(
    "square_matmul", square_pool(lambda w, x: ops.squeeze(ops.matmul(ops.expand_dims(w, 1), x), 1)), BOTH, (None, 4)
)


@zoo_layer
class Gather(layers.Layer):
    """Takes the last valid timestep of each row."""

    def call(self, x: Any, mask: Any = None) -> Any:
        last = ops.shape(x)[1] - 1 - ops.argmax(ops.flip(ops.cast(mask, "int32"), axis=1), axis=1)
        return ops.squeeze(ops.take_along_axis(x, last[:, None, None], axis=1), 1)


enter_right("gather_last", lambda: layers.Dense(3), Gather)
enter_right(
    "bidirectional_sum",
    lambda: layers.Bidirectional(layers.LSTM(3, return_sequences=True), merge_mode="sum"),
    layers.GlobalAveragePooling1D,
)
enter_right("grouped_attention", lambda: GroupedBlock())
enter_right(
    "states_zeroed_sum", lambda: layers.LSTM(3, return_sequences=True, zero_output_for_mask=True), lambda: SumTime()
)


@zoo_layer
class SumTime(layers.Layer):
    """The sum over time: right where padding is zero."""

    def call(self, x: Any) -> Any:
        return ops.sum(x, axis=1)


@zoo_layer
class GroupedBlock(layers.Layer):
    """Grouped query attention and a masked mean in one layer."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.attention = layers.GroupQueryAttention(4, 4, 2)

    def call(self, x: Any, mask: Any = None) -> Any:
        y = self.attention(x, x, attention_mask=mask[:, None, :])
        kept = ops.cast(mask, x.dtype)[..., None]
        return ops.sum((x + y) * kept, axis=1) / ops.sum(kept, axis=1)


@zoo_layer
class Encoder(keras.Model):
    """A subclassed encoder that hands its mask on, for use within other models."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.words, self.block = layers.Embedding(IDS, 4, mask_zero=True), Block()

    def call(self, tokens: Any) -> Any:
        return self.block(self.words(tokens))

    def compute_mask(self, tokens: Any, mask: Any = None) -> Any:  # noqa: ARG002 - Keras asks with both
        return ops.not_equal(tokens, 0)


@right()
def encoder_within(_side: Side, length: Length) -> Any:
    tokens = ids(length)
    return keras.Model(tokens, layers.LSTM(2)(Encoder()(tokens)))


@zoo_layer
class WholeModel(keras.Model):
    """A subclassed model of Functional parts, that is given its mask in ``call``."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        inputs = keras.Input((None,), dtype="int32")
        self.encoder = keras.Model(inputs, layers.LSTM(4, return_sequences=True)(embedding()(inputs)))
        self.head = keras.Sequential([layers.Dense(3), layers.GlobalAveragePooling1D(), layers.Dense(2)])

    def call(self, tokens: Any) -> Any:
        return self.head(self.encoder(tokens))


@right(lengths=(None,))
def functional_within_subclass(side: Side, _length: Length) -> Any:
    model = WholeModel()
    model(padded(ROWS, side))
    return Animal(model, ROWS, {"padding": side})


@right(lengths=(None,))
def functional_with_tf_function_layer(side: Side, length: Length) -> Any:
    tokens = ids(length)
    return Animal(keras.Model(tokens, FunctionMean()(embedding()(tokens))), ROWS, {"padding": side})


@zoo_layer
class FunctionMean(layers.Layer):
    """A masked mean under tf.function."""

    @tf.function
    def call(self, x: Any, mask: Any = None) -> Any:
        kept = tf.cast(mask, x.dtype)[..., tf.newaxis]
        return tf.reduce_sum(x * kept, axis=1) / tf.reduce_sum(kept, axis=1)


@right(lengths=(None,))
def stepped_in_python(side: Side, _length: Length) -> Any:
    """A loop over timesteps in Python."""
    model = Stepped()
    model(padded(ROWS, side))
    return Animal(model, ROWS, {"padding": side})


@zoo_layer
class Stepped(keras.Model):
    """Runs a GRU cell step by step, and keeps the state at padding."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.words, self.cell = layers.Embedding(IDS, 4, mask_zero=True), layers.GRUCell(3)

    def call(self, tokens: Any) -> Any:
        x = self.words(tokens)
        state = ops.zeros((ops.shape(tokens)[0], 3))
        for step in range(tokens.shape[1]):
            _, (new,) = self.cell(x[:, step], [state])
            state = ops.where(tokens[:, step : step + 1] != 0, new, state)
        return state


@right(sides=POST)
def strided_done_right(_side: Side, length: Length) -> Any:
    """A kernel as wide as its stride, over zeros at padding; a step is valid when its first timestep is."""
    tokens = ids(length)
    kept = ops.cast(ops.expand_dims(ops.not_equal(tokens, 0), -1), "float32")
    x = layers.Conv1D(4, 2, strides=2, padding="same")(layers.Embedding(IDS, 4)(tokens) * kept)
    mask = ops.not_equal(tokens, 0)[:, ::2]
    return keras.Model(tokens, layers.GlobalAveragePooling1D()(HandOn()([x, mask])))


@right(sides=POST)
def strided_sequences(_side: Side, length: Length) -> Any:
    """The same, with an output for each step."""
    tokens = ids(length)
    kept = ops.cast(ops.expand_dims(ops.not_equal(tokens, 0), -1), "float32")
    x = layers.Conv1D(4, 2, strides=2, padding="same")(layers.Embedding(IDS, 4)(tokens) * kept)
    return keras.Model(tokens, HandOn()([x, ops.not_equal(tokens, 0)[:, ::2]]))


@right(sides=POST)
def valid_convolution(_side: Side, length: Length) -> Any:
    """Fewer timesteps go out: a window is valid when all of its timesteps are."""
    tokens = ids(length)
    x = layers.Conv1D(4, 2)(layers.Embedding(IDS, 4)(tokens))
    return Animal(
        keras.Model(tokens, HandOn()([x, ops.not_equal(tokens, 0)[:, 1:]])), [[1, 2, 3], [4, 5], [6, 7, 8, 9, 1, 2]]
    )


@right(sides=POST)
def class_token(_side: Side, length: Length) -> Any:
    """A vector in front of all others, as BERT and ViT have it: one timestep more, and a mask for it."""
    tokens = ids(length)
    x = ClassToken()(layers.Embedding(IDS, 4)(tokens))
    mask = ops.pad(ops.not_equal(tokens, 0), [[0, 0], [1, 0]], constant_values=True)
    return keras.Model(tokens, Block()(HandOn()([x, mask]))[:, 0])


@zoo_layer
class ClassToken(layers.Layer):
    """Puts a vector of its own in front."""

    def build(self, shape: Any) -> None:
        self.token = self.add_weight(shape=(1, 1, shape[-1]), initializer="ones", name="token")

    def call(self, x: Any) -> Any:
        return ops.concatenate([ops.broadcast_to(self.token, (ops.shape(x)[0], 1, x.shape[-1])), x], axis=1)


@right(sides=POST)
def first_of_attention(_side: Side, length: Length) -> Any:
    """The first timestep under post-padding is always valid."""
    tokens = ids(length)
    x = embedding()(tokens)
    return keras.Model(tokens, layers.MultiHeadAttention(2, 2)(x, x)[:, 0])


@right(sides=("pre",))
def last_under_pre(_side: Side, length: Length) -> Any:
    """The last timestep under pre-padding is always valid."""
    tokens = ids(length)
    return keras.Model(tokens, layers.Dense(2)(embedding()(tokens)[:, -1]))


@right()
def joined_sequences(side: Side, length: Length) -> Any:
    """Two sequences, one after the right_ids, with their masks."""
    left, right_ids = ids(length, "left"), ids(length, "right")
    words = embedding()
    x = layers.Concatenate(axis=1)([words(left), words(right_ids)])
    return Animal(
        keras.Model([left, right_ids], layers.LSTM(3)(x)),
        {"left": padded(ROWS, side), "right": padded(OTHER_ROWS, side)},
    )


@right()
def empty_rows_and_lstm(side: Side, length: Length) -> Any:
    """A row without a token: nothing is wrong with an LSTM, and the data rule is left out."""
    model = on_embedding(lambda: layers.LSTM(3))(side, length)
    return Animal(model, [[1, 2, 3], [], [4, 5, 6, 7, 8, 9]], {"padding": side, "ignore": ["MSK002"]})


@right()
def wide_batch_features(side: Side, length: Length) -> Any:
    """Features of one number a timestep."""
    values, valid = features(side=side, width=1)
    inputs = keras.Input((length, 1), name="features")
    x = layers.TimeDistributed(layers.Dense(3))(layers.Masking(0.0)(inputs))
    return Animal(
        keras.Model(inputs, layers.Bidirectional(layers.LSTM(2))(x)), {"features": values, "features.mask": valid}
    )


@right()
def mean_in_graph(_side: Side, length: Length) -> Any:
    """Sum by a matrix product, count by a sum."""
    tokens = ids(length)
    kept = ops.cast(ops.not_equal(tokens, 0), "float32")
    x = layers.Embedding(IDS, 5)(tokens)
    total = ops.squeeze(ops.matmul(ops.expand_dims(kept, 1), x), 1)
    return keras.Model(tokens, total / ops.sum(kept, axis=1, keepdims=True))


@right()
def segments(side: Side, length: Length) -> Any:
    """Segments of which the first is 0, without positions: with padding on either side they do not mark it."""
    tokens, kinds = ids(length), ids(length, "token_type_ids")
    x = ops.add(layers.Embedding(IDS, 4)(tokens), layers.Embedding(2, 4)(kinds))
    model = keras.Model([tokens, kinds], layers.LSTM(3)(HandOn()([x, ops.not_equal(tokens, 0)])))
    data = padded(ROWS, side)
    second = (np.cumsum(data != 0, axis=1) > 2).astype("int32") * (data != 0)
    return Animal(model, {"tokens": data, "token_type_ids": second})


@right()
def question_and_answer(side: Side, length: Length) -> Any:
    """The second input is shorter than the first in every row, and padded on its own."""
    question, answer = ids(length, "question"), ids(length, "answer")
    words = embedding()
    x = layers.Concatenate()([layers.LSTM(3)(words(question)), layers.LSTM(3)(words(answer))])
    data = {
        "question": padded([[1, 2, 3], [4, 5, 6, 7], [6, 7, 8, 9, 1, 2], [3, 2]], side),
        "answer": padded([[2, 1], [9, 8], [3, 3, 1], [5]], side),
    }
    return Animal(keras.Model([question, answer], layers.Dense(2)(x)), data)


@wrong("GlobalMaxPooling1D", sides=BOTH)
def answer_leaks(side: Side, length: Length) -> Any:
    """The same, and the answer is pooled with its padding."""
    question, answer = ids(length, "question"), ids(length, "answer")
    words = embedding()
    x = layers.Concatenate()([layers.LSTM(3)(words(question)), layers.GlobalMaxPooling1D()(words(answer))])
    data = question_and_answer(side, length).data
    return Animal(keras.Model([question, answer], layers.Dense(2)(x)), data)


@wrong("LSTM", codes=("MSK104",), sides=BOTH)
def positions_without_mask(_side: Side, length: Length) -> Any:
    """Position embeddings and a true leak: the positions must not excuse the leak."""
    tokens = ids(length)
    places = ops.cumsum(ops.ones_like(tokens), axis=1) - 1
    x = layers.Embedding(IDS, 4)(tokens) + layers.Embedding(40, 4)(places)
    return keras.Model(tokens, layers.LSTM(3)(x))


@wrong("DividedByAll", sides=BOTH)
def positions_and_amount(_side: Side, length: Length) -> Any:
    """Position embeddings, and a mean that only the amount of padding moves."""
    tokens = ids(length)
    return keras.Model(tokens, DividedByAll()(Positions()(tokens)))


@wrong("Flatten", lengths=(T,), sides=BOTH)
def padding_at_a_fixed_place(_side: Side, length: Length) -> Any:
    """A fixed length, also in any copy: the content of padding shows the leak."""
    return keras.Sequential(
        [ids(length), layers.Embedding(IDS, 4, mask_zero=True), layers.Dense(3), layers.Flatten(), layers.Dense(2)]
    )


@wrong("GlobalAveragePooling1D", codes=("MSK104",), sides=BOTH, lengths=(None, T))
def half_precision_leak(_side: Side, length: Length) -> Any:
    """A leak must be seen through the rounding of half precision."""
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        return no_mask_mean("post", length)
    finally:
        keras.mixed_precision.set_dtype_policy(before)


@wrong("LSTM", codes=("MSK104",), sides=BOTH)
def faint_leak(_side: Side, length: Length) -> Any:
    """A leak of a hundred thousandth in results of about one."""
    tokens = ids(length)
    unmasked = layers.LSTM(3)(layers.Embedding(IDS, 4)(tokens)) * 1e-4
    masked = layers.GlobalAveragePooling1D()(embedding(3)(tokens))
    return keras.Model(tokens, masked + unmasked)


@wrong("PlainMean", at=("outer_model/inner_model/mean",))
def three_deep(_side: Side, length: Length) -> Any:
    """A fault three models deep, in a layer of one's own."""
    within = keras.Input((None, 4))
    inner = keras.Model(
        within, PlainMean(name="mean")(layers.LSTM(4, return_sequences=True)(within)), name="inner_model"
    )
    middle = keras.Input((None, 4))
    outer = keras.Model(middle, layers.Dense(2)(inner(middle)), name="outer_model")
    tokens = ids(length)
    return keras.Model(tokens, outer(embedding()(tokens)))


@wrong("Conv1D")
def second_call_of_a_shared_layer(_side: Side, length: Length) -> Any:
    """One layer, called first where it is harmless and then where it is not."""
    profile = keras.Input((T, 4), name="profile")
    tokens = ids(length)
    shared = layers.Conv1D(4, 3, padding="same", name="conv")
    first = layers.GlobalAveragePooling1D()(shared(profile))
    second = layers.GlobalAveragePooling1D()(shared(embedding()(tokens)))
    data = {
        "profile": np.random.default_rng(0).normal(size=(4, T, 4)).astype("float32"),
        "tokens": padded(ROWS, "post"),
    }
    return Animal(keras.Model([profile, tokens], layers.Concatenate()([first, second])), data)


@wrong("AveragePooling1D", also=("Conv1D",))
def pooled_sequences(_side: Side, length: Length) -> Any:
    """Fewer timesteps come out, of which one is made of a token and of padding."""
    tokens = ids(length)
    return keras.Model(tokens, layers.AveragePooling1D(3)(embedding()(tokens)))


@wrong("BatchNormalization")
def batch_norm_over_time(_side: Side, _length: Length) -> Any:
    tokens = ids(T)
    x = layers.Conv1D(4, 1, name="lost")(embedding()(tokens))
    x = layers.BatchNormalization()(x)
    kept = ops.cast(ops.expand_dims(ops.not_equal(tokens, 0), -1), "float32")
    return keras.Model(tokens, ops.sum(x * kept, axis=1))


@wrong("Softmax", codes=("MSK106",))
def softmax_over_classes(side: Side, _length: Length) -> Any:
    """As many classes as timesteps as rows: the mask fits by accident, along the wrong axis."""
    return square(lambda: layers.LSTM(4, return_sequences=True), layers.Softmax)(side, 4)


@wrong("MultiHeadAttention", codes=("MSK104",), sides=BOTH, lengths=(None, T), also=("GlobalAveragePooling1D",))
def bfloat16_leak(_side: Side, length: Length) -> Any:
    """No mask and a few layers in bfloat16, whose rounding is coarse and yet no excuse."""
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        tokens = ids(length)
        x = layers.Embedding(IDS, 4)(tokens)
        for _ in range(3):
            x = layers.LayerNormalization()(layers.Add()([x, layers.MultiHeadAttention(2, 2)(x, x)]))
        return keras.Model(tokens, layers.Dense(2)(layers.GlobalAveragePooling1D()(x)))
    finally:
        keras.mixed_precision.set_dtype_policy(before)


@right()
def cancelling_batches(_side: Side, length: Length) -> Any:
    """Numbers of 100,000 that cancel in a normalisation: a row by itself is rounded differently."""
    tokens = ids(length)
    x = layers.Dense(64, bias_initializer=keras.initializers.Constant(1e5))(embedding(64)(tokens))
    x = layers.LayerNormalization()(x)
    rng = np.random.default_rng(0)
    rows = [list(map(int, rng.integers(1, IDS, n))) for n in (50, 3, 20, 31)]
    model = keras.Model(tokens, layers.GlobalAveragePooling1D()(x))
    return Animal(model, [row[:length] for row in rows])


@wrong("DividedByAll", lengths=(None, T))
def bfloat16_amount(_side: Side, length: Length) -> Any:
    """Only the amount of padding changes the result, in bfloat16."""
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        behind = [layers.Dense(8, activation="relu") for _ in range(4)]
        return keras.Sequential([ids(length), embedding(8), *behind, DividedByAll(), layers.Dense(2)])
    finally:
        keras.mixed_precision.set_dtype_policy(before)


@wrong("Recall", codes=("MSK303",))
def metric_of_the_second_output(_side: Side, length: Length) -> Any:
    """The first output is pooled; the metric of the second counts padding."""
    tokens = ids(length)
    x = layers.LSTM(3, return_sequences=True)(embedding()(tokens))
    pooled = layers.Dense(1)(layers.GlobalAveragePooling1D()(x))
    model = keras.Model(tokens, [pooled, layers.Dense(1, activation="sigmoid")(x)])
    model.compile(loss=["mse", "binary_crossentropy"], metrics=[[], [keras.metrics.Recall()]])
    return model


@right()
def metric_of_a_pooled_output(_side: Side, length: Length) -> Any:
    """The metric judges the second output, which has no timesteps."""
    tokens = ids(length)
    x = layers.LSTM(3, return_sequences=True)(embedding()(tokens))
    pooled = layers.Dense(1, activation="sigmoid")(layers.GlobalAveragePooling1D()(x))
    model = keras.Model(tokens, [layers.Dense(1, activation="sigmoid")(x), pooled])
    model.compile(loss=["mse", "binary_crossentropy"], metrics=[["mae"], [keras.metrics.Recall()]])
    return model


@wrong("Mean")
def last_and_mean_of_states(_side: Side, length: Length) -> Any:
    """Padding repeats the last state, so that the last timestep is right, and only the mean is wrong."""
    tokens = ids(length)
    x = layers.LSTM(4, return_sequences=True)(embedding()(tokens))
    return keras.Model(tokens, layers.Concatenate()([x[:, -1], ops.mean(x, axis=1)]))


@wrong("Dot", "Concatenate", sides=POST)
def scores_without_mask(side: Side, length: Length) -> Any:
    """Keys are padding for an attention of dot products; the unused last states of the decoder harm nobody."""
    source, target = ids(length, "source"), ids(length, "target")
    encoded, *states = layers.LSTM(4, return_sequences=True, return_state=True)(embedding()(source))
    decoder = layers.LSTM(4, return_sequences=True, return_state=True)
    decoded, *_ = decoder(embedding()(target), initial_state=states)
    weights = layers.Activation("softmax")(layers.Dot((2, 2))([decoded, encoded]))
    joined = layers.Concatenate()([layers.Dot((2, 1))([weights, encoded]), decoded])
    model = keras.Model([source, target], layers.Dense(3)(joined))
    return Animal(model, {"source": padded(ROWS, side), "target": padded(OTHER_ROWS, side)})


def spell(model_of_characters: Any) -> Any:
    """Return a tagger of words and their characters, with the data."""
    words, characters = ids(None, "words"), keras.Input((None, 4), dtype="int32", name="characters")
    joined = layers.Concatenate()([embedding()(words), layers.TimeDistributed(model_of_characters)(characters)])
    model = keras.Model([words, characters], layers.LSTM(3, return_sequences=True)(joined))
    spelled = np.zeros((4, T, 4), "int32")
    for row, ids_of_row in zip(spelled, ROWS, strict=True):
        for word, number in zip(row, ids_of_row, strict=False):
            word[: 1 + number % 4] = 1 + np.arange(1 + number % 4)
    return Animal(model, {"words": padded(ROWS, "post"), "characters": spelled})


@wrong("TimeDistributed", "Concatenate")
def characters_without_mask(_side: Side, _length: Length) -> Any:
    """The padding of words is masked, that of their characters is not."""
    one = keras.Input((None,), dtype="int32")
    encoder = keras.Model(one, layers.Bidirectional(layers.LSTM(2))(embedding(mask_zero=False)(one)))
    return spell(encoder)


@zoo_layer
class CompiledAttention(layers.Layer):
    """Attends in a compiled function, whose arguments carry no mask."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.attend = layers.MultiHeadAttention(1, 4)

    @tf.function
    def call(self, x: Any) -> Any:
        return self.attend(x, x)


@zoo_layer
class TakesCompiledAttention(keras.Model):
    """Applies the attention outside of a functional model, which would keep the mask."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.words, self.attention = embedding(), CompiledAttention()

    def call(self, tokens: Any) -> Any:
        return self.attention(self.words(tokens))


@wrong("CompiledAttention")
def attention_in_tf_function(side: Side, _length: Length) -> Any:
    model = TakesCompiledAttention()
    model(padded(ROWS, side))
    return model


@wrong("Masking", codes=("MSK112",))
def masking_of_results(side: Side, length: Length) -> Any:
    """A mask of results that are zero at padding only as long as the bias is."""
    values, _ = features(side=side)
    series = keras.Input((length, 3), name="series")
    x = layers.Masking(0.0)(layers.Dense(4, activation="relu")(series))
    return Animal(keras.Model(series, layers.LSTM(3)(x)), {"series": values})


@wrong("LSTM", codes=("MSK106",))
def mask_of_words_in_rnn(_side: Side, _length: Length) -> Any:
    """The mask of an Embedding marks words, and the layer after it reads sentences."""
    documents = keras.Input((3, 4), dtype="int32", name="documents")
    x = layers.TimeDistributed(layers.GRU(4))(embedding()(documents))
    return Animal(
        keras.Model(documents, layers.LSTM(3)(x)), {"documents": np.array([[[1, 2, 0, 0], [3, 0, 0, 0], [0] * 4]])}
    )


@zoo_layer
class GatherByCount(keras.Model):
    """Takes the timestep that the number of valid ones points to."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.words, self.encoder = embedding(), layers.GRU(4, return_sequences=True)

    def call(self, tokens: Any) -> Any:
        mask = self.words.compute_mask(tokens)
        states = self.encoder(self.words(tokens), mask=mask)
        last = ops.sum(ops.cast(mask, "int32"), axis=1) - 1
        return ops.take_along_axis(states, last[:, None, None], axis=1)[:, 0]


@wrong("Reshape", sides=("pre",), codes=("MSK108",))
def gathered_by_count(side: Side, _length: Length) -> Any:
    """The count less one is the index of the last token only if padding comes after it."""
    model = GatherByCount()
    model(padded(ROWS, side))
    return Animal(model, ROWS, {"padding": side})


@wrong("Concatenate", codes=("MSK102",))
def mask_of_reversed_states_lost(_side: Side, length: Length) -> Any:
    """The mask of a backward RNN fits no more, but it is lost where its states are turned round."""
    tokens = ids(length)
    x = embedding()(tokens)
    forward = layers.GRU(3, return_sequences=True)(x)
    backward = layers.GRU(3, return_sequences=True, go_backwards=True)(x)
    joined = layers.Concatenate()([forward, ops.flip(backward, axis=1)])
    return keras.Model(tokens, layers.Dense(2)(joined))
