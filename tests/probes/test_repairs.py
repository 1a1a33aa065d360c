"""A printed repair, applied to the letter, removes the leak; measured with plain Keras.

Each builder takes the classes that the printed code defines, or None for the faulty model. What the repaired model does
differently is the printed code, which the test compares with the text.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

import maskcli
from maskcli.probes.repair_masks import find_common_padding

pytestmark = pytest.mark.slow(share=1 / 2)

ROWS = [[3, 1, 4], [5, 2], [6, 7, 8, 9, 1, 2], [3]]
IDS = np.array([[3, 1, 4, 0, 0, 0], [5, 2, 0, 0, 0, 0], [6, 7, 8, 9, 1, 2]])
Kit = SimpleNamespace | None
PASSED = "rnn(..., mask=lookup.compute_mask(words))"
ZEROED = "x = ZeroPadded()(x)  # before conv"
CASES: dict[str, tuple[Callable[[Kit], Any], tuple[str, ...], Any]] = {}


def case(*lines: str, data: Any = None) -> Callable[[Any], Any]:
    """Enter a builder with the lines that the code of its repairs has, next to classes."""

    def enter(build: Callable[[Kit], Any]) -> Callable[[Kit], Any]:
        CASES[build.__name__] = (build, lines, ROWS if data is None else data)
        return build

    return enter


def start(timesteps: int | None = None, **options: Any) -> tuple[Any, Any, Any]:
    words = keras.Input((timesteps,), dtype="int32", name="words")
    lookup = layers.Embedding(12, 6, **{"mask_zero": True, "name": "lookup", **options})
    return words, lookup, lookup(words)


def masked(kit: Kit, lookup: Any, words: Any) -> dict[str, Any]:
    return {} if kit is None else {"mask": lookup.compute_mask(words)}


@case(PASSED)
def operator(kit: Kit) -> Any:
    words, lookup, x = start()
    return keras.Model(words, layers.LSTM(4, name="rnn")(x * 2.0, **masked(kit, lookup, words)))


class Scale(layers.Layer):
    def __init__(self, keeps: bool = False, **options: Any) -> None:
        super().__init__(**options)
        if keeps:
            self.supports_masking = True

    def call(self, x: Any) -> Any:
        return x * 3.0


@case("self.supports_masking = True  # in Scale.__init__")
def custom_layer(kit: Kit) -> Any:
    words, _, x = start()
    return keras.Model(words, layers.GRU(4, name="rnn")(Scale(keeps=kit is not None, name="scale")(x)))


@case("keras.layers.Lambda(..., mask=lambda inputs, mask: mask)")
def lambda_layer(kit: Kit) -> Any:
    words, _, x = start()
    options = {} if kit is None else {"mask": lambda _, mask: mask}
    return keras.Model(words, layers.GRU(4, name="rnn")(layers.Lambda(lambda t: t + 1.0, name="shift", **options)(x)))


@case(PASSED, data={"words": IDS, "place": np.tile(np.arange(6), (3, 1))})
def position_embeddings(kit: Kit) -> Any:
    words, lookup, x = start(6)
    place = keras.Input((6,), dtype="int32", name="place")
    x = layers.Add(name="both")([x, layers.Embedding(6, 6, name="where")(place)])
    return keras.Model([words, place], layers.LSTM(4, name="rnn")(x, **masked(kit, lookup, words)))


STATE = np.ones((3, 4), "float32")


@case("decoder(..., mask=lookup.compute_mask(words))", data={"words": IDS, "h": STATE, "c": STATE})
def initial_state(kit: Kit) -> Any:
    words, lookup, x = start()
    h, c = keras.Input((4,), name="h"), keras.Input((4,), name="c")
    rnn = layers.LSTM(4, name="decoder")
    return keras.Model([words, h, c], rnn(x, initial_state=[h, c], **masked(kit, lookup, words)))


@case(ZEROED)
def convolution(kit: Kit) -> Any:
    words, _, x = start()
    if kit is None:
        x = layers.Conv1D(5, 3, padding="same", name="conv")(x)
    else:
        x = kit.MaskedConv1D(5, 3, padding="same", name="conv")(kit.ZeroPadded()(x))
    return keras.Model(words, layers.LSTM(4, name="rnn")(x))


@case(ZEROED)
def convolution_in_sequential(kit: Kit) -> Any:
    before = [] if kit is None else [kit.ZeroPadded()]
    conv = layers.Conv1D if kit is None else kit.MaskedConv1D
    return keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            layers.Embedding(12, 6, mask_zero=True, name="emb"),
            *before,
            conv(5, 3, padding="same", name="conv"),
            layers.GRU(4, name="gru"),
        ]
    )


@case(ZEROED, "MaskedMax()(x, mask=lookup.compute_mask(words))  # instead of pool")
def convolution_and_maximum(kit: Kit) -> Any:
    words, lookup, x = start()
    x = layers.Conv1D(5, 3, padding="same", activation="relu", name="conv")(x if kit is None else kit.ZeroPadded()(x))
    if kit is None:
        return keras.Model(words, layers.GlobalMaxPooling1D(name="pool")(x))
    return keras.Model(words, kit.MaskedMax()(x, mask=lookup.compute_mask(words)))


@case()
def pooling(kit: Kit) -> Any:
    words, _, x = start(6)
    pool = layers.MaxPooling1D if kit is None else kit.MaskedMaxPooling1D
    return keras.Model(words, layers.LSTM(3, name="rnn")(pool(2, name="mp")(x)))


@case(PASSED)
def reshape(kit: Kit) -> Any:
    words, lookup, x = start(6)
    x = layers.Reshape((6, 6), name="join")(layers.Reshape((6, 3, 2), name="split")(x))
    return keras.Model(words, layers.LSTM(4, name="rnn")(x, **masked(kit, lookup, words)))


@case("both(..., mask=lookup.compute_mask(words))")
def bidirectional(kit: Kit) -> Any:
    words, lookup, x = start()
    return keras.Model(words, layers.Bidirectional(layers.LSTM(4), name="both")(x / 2.0, **masked(kit, lookup, words)))


@case("keras.layers.Embedding(..., mask_zero=True)")
def attention_without_mask(kit: Kit) -> Any:
    words, _, x = start(mask_zero=kit is not None)
    y = layers.MultiHeadAttention(2, 3, name="mha")(x, x)
    return keras.Model(words, layers.Dense(2, name="tags")(y))


@case("mha(..., value_mask=lookup.compute_mask(words))")
def attention_after_operator(kit: Kit) -> Any:
    words, lookup, x = start()
    options = {} if kit is None else {"value_mask": lookup.compute_mask(words)}
    z = x * 1.5
    return keras.Model(
        words, layers.Dense(2, name="tags")(layers.MultiHeadAttention(2, 3, name="mha")(z, z, **options))
    )


class Positions(layers.Layer):
    def __init__(self, keeps: bool = False, **options: Any) -> None:
        super().__init__(**options)
        if keeps:
            self.supports_masking = True

    def build(self, shape: Any) -> None:
        self.table = self.add_weight(shape=(20, shape[-1]), name="table")

    def call(self, x: Any) -> Any:
        return x + self.table[: ops.shape(x)[1]]


@case("self.supports_masking = True  # in Positions.__init__")
def transformer_block(kit: Kit) -> Any:
    words, _, x = start()
    x = Positions(keeps=kit is not None, name="positions")(x)
    x = layers.LayerNormalization(name="norm")(
        layers.Add(name="sum")([x, layers.MultiHeadAttention(2, 3, name="mha")(x, x)])
    )
    return keras.Model(words, layers.GlobalAveragePooling1D(name="pool")(x))


@case(
    'mha(..., attention_mask=keras.ops.logical_not(keras.ops.cast(M, "bool")))  # M is the mask that mha receives now'
)
def inverted_attention_mask(kit: Kit) -> Any:
    words, _, x = start(mask_zero=False)
    mask = ops.equal(words, 0)[:, None, :]
    if kit is not None:
        mask = ops.logical_not(ops.cast(mask, "bool"))
    y = layers.MultiHeadAttention(2, 3, name="mha")(x, x, attention_mask=mask)
    return keras.Model(words, layers.Dense(2, name="tags")(y))


@case("mha(..., attention_mask=keras.ops.swapaxes(M, -1, -2))  # M is the mask that mha receives now")
def turned_attention_mask(kit: Kit) -> Any:
    words, _, x = start(mask_zero=False)
    mask = ops.not_equal(words, 0)[:, :, None]
    if kit is not None:
        mask = ops.swapaxes(mask, -1, -2)
    y = layers.MultiHeadAttention(2, 3, name="mha")(x, x, attention_mask=mask)
    return keras.Model(words, layers.Dense(2, name="tags")(y))


@case("x = ZeroPadded()(x)  # before flat")
def flatten_and_dense(kit: Kit) -> Any:
    words, _, x = start(6)
    return keras.Model(
        words, layers.Dense(3, name="out")(layers.Flatten(name="flat")(x if kit is None else kit.ZeroPadded()(x)))
    )


@case("LastValid()(x)  # instead of get_item")
def last_timestep(kit: Kit) -> Any:
    words, _, x = start()
    x = layers.Dense(4, name="hidden")(x)
    return keras.Model(words, layers.Dense(3, name="out")(x[:, -1] if kit is None else kit.LastValid()(x)))


@case("MaskedMax()(x)  # instead of max")
def maximum_by_operator(kit: Kit) -> Any:
    words, _, x = start()
    return keras.Model(words, layers.Dense(2, name="out")(ops.max(x, axis=1) if kit is None else kit.MaskedMax()(x)))


@case("keras.layers.GlobalAveragePooling1D()(x)")
def mean_by_lambda(kit: Kit) -> Any:
    words, _, x = start()
    x = layers.LSTM(4, return_sequences=True, name="rnn")(x)
    mean = layers.Lambda(lambda t: ops.mean(t, axis=1), name="mean") if kit is None else layers.GlobalAveragePooling1D()
    return keras.Model(words, mean(x))


@case("keras.layers.Embedding(..., mask_zero=True)")
def without_mask_zero(kit: Kit) -> Any:
    words, _, x = start(mask_zero=kit is not None)
    return keras.Model(words, layers.LSTM(4, name="rnn")(x))


@case(data={"words": np.where(IDS == 0, 11, IDS), "words.mask": IDS != 0})
def padded_with_another_id(kit: Kit) -> Any:
    words = keras.Input((None,), dtype="int32", name="words")
    embedding = layers.Embedding if kit is None else kit.MaskedEmbedding
    return keras.Model(words, layers.LSTM(4, name="rnn")(embedding(12, 6, mask_zero=True, name="lookup")(words)))


def make_series() -> dict[str, Any]:
    series = np.random.default_rng(0).standard_normal((3, 5, 2)).astype("float32")
    mask = np.ones((3, 5), bool)
    mask[0, 3:] = mask[1, 1:] = False
    series[~mask] = -7
    return {"series": series, "series.mask": mask}


@case("masked_series = keras.layers.Masking(-7)(series)", data=make_series())
def features(kit: Kit) -> Any:
    inputs = keras.Input((None, 2), name="series")
    return keras.Model(inputs, layers.GRU(4, name="rnn")(inputs if kit is None else layers.Masking(-7)(inputs)))


@case("x = ZeroPadded()(x, mask=lookup.compute_mask(words))  # before conv",
      "MaskedMax()(x, mask=lookup.compute_mask(words))  # instead of pool")  # fmt: skip
def two_faults(kit: Kit) -> Any:
    words, lookup, x = start()
    x = layers.LSTM(4, return_sequences=True, name="rnn")(x * 2.0)
    mask = lookup.compute_mask(words)
    x = layers.Conv1D(4, 3, padding="same", name="conv")(x if kit is None else kit.ZeroPadded()(x, mask=mask))
    return keras.Model(
        words, layers.GlobalMaxPooling1D(name="pool")(x) if kit is None else kit.MaskedMax()(x, mask=mask)
    )


@case("y = KeepMask()([y, x])  # y is the result of multiply, x the result of lookup")
def two_readers(kit: Kit) -> Any:
    words, _, x = start()
    y = x * 2.0
    if kit is not None:
        y = kit.KeepMask()([y, x])
    return keras.Model(
        words, layers.Concatenate(name="both")([layers.LSTM(3, name="left")(y), layers.GRU(3, name="right")(y)])
    )


@case("top(..., mask=lookup.compute_mask(words))")
def nested_model(kit: Kit) -> Any:
    words, lookup, x = start()
    inner = keras.Input((None, 6))
    encoder = keras.Model(inner, layers.LSTM(4, return_sequences=True, name="lstm")(inner * 2.0), name="encoder")
    return keras.Model(words, layers.LSTM(3, name="top")(encoder(x), **masked(kit, lookup, words)))


class Classifier(keras.Model):
    def __init__(self, repaired: bool) -> None:
        super().__init__()
        self.emb = layers.Embedding(12, 6, mask_zero=True)
        self.rnn = layers.GRU(4)
        self.repaired = repaired

    def call(self, ids: Any) -> Any:
        x = self.emb(ids) * 2.0
        return self.rnn(x, mask=self.emb.compute_mask(ids)) if self.repaired else self.rnn(x)


@case("self.rnn(..., mask=self.emb.compute_mask(ids))")
def subclassed_model(kit: Kit) -> Any:
    return Classifier(kit is not None)


class Average(keras.Model):
    def __init__(self, repaired: bool) -> None:
        super().__init__()
        self.emb = layers.Embedding(12, 6, mask_zero=repaired)
        self.pool = layers.GlobalAveragePooling1D()
        self.repaired = repaired

    def call(self, ids: Any) -> Any:
        x = self.emb(ids)
        return self.pool(x, mask=self.emb.compute_mask(ids)) if self.repaired else ops.mean(x, axis=1)


@case(
    "keras.layers.Embedding(..., mask_zero=True)",
    "keras.layers.GlobalAveragePooling1D()(x, mask=self.emb.compute_mask(ids))",
)
def subclassed_mean(kit: Kit) -> Any:
    return Average(kit is not None)


class Weighted(layers.Layer):
    def __init__(self, repaired: bool, **options: Any) -> None:
        super().__init__(**options)
        self.score, self.repaired = layers.Dense(1), repaired

    def call(self, x: Any, mask: Any = None) -> Any:
        scores = self.score(x)
        if self.repaired and mask is not None:
            scores = ops.where(mask[:, :, None], scores, -1e9)
        return ops.sum(ops.softmax(scores, axis=1) * x, axis=1)


class Unmasked(Weighted):
    def call(self, x: Any) -> Any:
        return super().call(x)


@case(
    "scores = keras.ops.where(mask[:, :, None], scores, -1e9)  # in Unmasked.call(self, ..., mask=None), before softmax"
)
def attention_pooling(kit: Kit) -> Any:
    words, _, x = start()
    weigh = Unmasked(False, name="weigh") if kit is None else Weighted(True, name="weigh")
    return keras.Model(words, weigh(x))


class Attend(layers.Layer):
    def __init__(self, repaired: bool, **options: Any) -> None:
        super().__init__(**options)
        self.query, self.key, self.repaired = layers.Dense(4), layers.Dense(4), repaired

    def call(self, x: Any, mask: Any = None) -> Any:
        scores = ops.matmul(self.query(x), ops.transpose(self.key(x), (0, 2, 1)))
        if self.repaired and mask is not None:
            scores = ops.where(mask[:, None, :], scores, -1e9)
        return ops.matmul(ops.softmax(scores, axis=-1), x)


class AttendEverywhere(Attend):
    def call(self, x: Any) -> Any:
        return super().call(x)


@case("scores = keras.ops.where(mask[:, None, :], scores, -1e9)  # in AttendEverywhere.call(self, ..., mask=None)")
def attention_by_hand(kit: Kit) -> Any:
    words, _, x = start()
    attend = AttendEverywhere(False, name="attend") if kit is None else Attend(True, name="attend")
    return keras.Model(words, layers.Dense(2, name="tags")(attend(x)))


@case("xa(..., value_mask=source.compute_mask(src))",
      data={"src": IDS, "dst": np.array([[1, 2, 3, 4], [4, 3, 0, 0], [2, 2, 2, 0]])})  # fmt: skip
def cross_attention(kit: Kit) -> Any:
    src, dst = (keras.Input((None,), dtype="int32", name=name) for name in ("src", "dst"))
    source = layers.Embedding(12, 6, mask_zero=True, name="source")
    x, y = source(src) * 2.0, layers.Embedding(12, 6, mask_zero=True, name="target")(dst)
    options = {} if kit is None else {"value_mask": source.compute_mask(src)}
    return keras.Model([src, dst], layers.Dense(2)(layers.MultiHeadAttention(2, 3, name="xa")(y, x, **options)))


class Encode(layers.Layer):
    """Attends under the mask that arrives, and returns none: the attention takes it off the input."""

    def __init__(self, keeps: bool, **options: Any) -> None:
        super().__init__(**options)
        self.attention, self.supports_masking = layers.MultiHeadAttention(2, 3), keeps

    def call(self, x: Any) -> Any:
        return x + self.attention(x, x)


class Decode(layers.Layer):
    """Attends to an encoder, with the masks of both as Keras passes them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.attention, self.supports_masking = layers.MultiHeadAttention(2, 3, name="consult"), True

    def call(self, inputs: Any, mask: Any = None) -> Any:
        (x, encoded), (of_queries, of_keys) = inputs, (None, None) if mask is None else mask
        return x + self.attention(query=x, value=encoded, key=encoded, query_mask=of_queries, key_mask=of_keys)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:  # noqa: ARG002 - the arguments of Keras
        return None if mask is None else mask[0]


@case("self.supports_masking = True  # in Encode.__init__")
def encoder_without_a_mask_at_its_end(kit: Kit) -> Any:
    words, _, x = start()
    mean = layers.GlobalAveragePooling1D(name="mean")
    return keras.Model(words, layers.Dense(2)(mean(Encode(kit is not None, name="encode")(x))))


TWO_SIDES = {"src": IDS, "dst": np.array([[1, 2, 3, 4], [4, 3, 0, 0], [2, 2, 2, 0]])}


@case("self.supports_masking = True  # in Encode.__init__", data=TWO_SIDES)
def decoder_without_the_mask_of_its_encoder(kit: Kit) -> Any:
    src, dst = (keras.Input((None,), dtype="int32", name=name) for name in ("src", "dst"))
    source, target = (layers.Embedding(12, 6, mask_zero=True, name=name) for name in ("source", "target"))
    encoded = Encode(kit is not None, name="encode")(source(src))
    return keras.Model([src, dst], layers.Dense(2)(Decode(name="decode")([target(dst), encoded])))


class ReadsDict(layers.Layer):
    """Looks up ids and attends to all of them, although a mask is among its inputs."""

    def __init__(self, repaired: bool, **options: Any) -> None:
        super().__init__(**options)
        self.lookup, self.attention, self.repaired = layers.Embedding(12, 6), layers.MultiHeadAttention(2, 3), repaired

    def call(self, inputs: Any) -> Any:
        x = self.lookup(inputs["words"])
        return self.attention(x, x, value_mask=inputs["keep"] if self.repaired else None)


@case('self.attention(..., value_mask=inputs["keep"])', data={"words": IDS, "keep": (IDS != 0).astype("int32")})
def mask_among_the_inputs_of_a_layer(kit: Kit) -> Any:
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in ("words", "keep")}
    x = ReadsDict(kit is not None, name="read")(inputs)
    mean = layers.GlobalAveragePooling1D(name="mean")(x, mask=ops.cast(inputs["keep"], "bool"))
    return keras.Model(list(inputs.values()), layers.Dense(2)(mean))


class AttendToOthers(layers.Layer):
    """Attends to the steps of another input; the mask hides some of these."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.query, self.key, self.value = layers.Dense(4), layers.Dense(4), layers.Dense(4)

    def call(self, x: Any, others: Any, mask: Any = None) -> Any:
        scores = ops.matmul(self.query(x), ops.transpose(self.key(others), (0, 2, 1)))
        scores += ops.cast(ops.logical_not(mask), "float32")[:, None, :] * -1e9
        return ops.matmul(ops.softmax(scores), self.value(others))


@case("consult(..., mask=source.compute_mask(src))",
      data={"src": IDS, "dst": np.array([[1, 2, 3, 4, 5, 0], [4, 3, 5, 6, 0, 0], [2, 2, 0, 0, 0, 0]])})  # fmt: skip
def wrong_mask_for_own_attention(kit: Kit) -> Any:
    """The padding of the queries is hidden among the keys."""
    src, dst = (keras.Input((6,), dtype="int32", name=name) for name in ("src", "dst"))
    source, target = (layers.Embedding(12, 6, mask_zero=True, name=name) for name in ("source", "target"))
    mask = ops.not_equal(dst, 0) if kit is None else source.compute_mask(src)
    return keras.Model([src, dst], layers.Dense(2)(AttendToOthers(name="consult")(target(dst), source(src), mask=mask)))


@case("att(..., mask=[None, lookup.compute_mask(words)])")
def keras_attention(kit: Kit) -> Any:
    words, lookup, x = start()
    options = {} if kit is None else {"mask": [None, lookup.compute_mask(words)]}
    return keras.Model(words, layers.Dense(2)(layers.Attention(name="att")([x, x * 1.0], **options)))


class TokensAndPositions(layers.Layer):
    """Looks up ids and positions, as in Keras's own example of text classification; it returns no mask."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.tokens, self.places = layers.Embedding(12, 6), layers.Embedding(20, 6, name="where")

    def call(self, ids: Any) -> Any:
        return self.tokens(ids) + self.places(ops.arange(ops.shape(ids)[1]))


class MaskingTokens(TokensAndPositions):
    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:  # noqa: ARG002 - the arguments of Keras
        return ops.not_equal(inputs, 0)


class Block(layers.Layer):
    def __init__(self, keeps: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.attend, self.norm = layers.MultiHeadAttention(2, 3), layers.LayerNormalization()
        if keeps:
            self.supports_masking = True

    def call(self, x: Any) -> Any:
        return self.norm(x + self.attend(x, x))


class Transformer(keras.Model):
    def __init__(self, repaired: bool) -> None:
        super().__init__()
        self.embed = MaskingTokens() if repaired else TokensAndPositions()
        self.blocks = [Block(repaired) for _ in range(2)]
        self.pool, self.out = layers.GlobalAveragePooling1D(), layers.Dense(2)

    def call(self, ids: Any) -> Any:
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x)
        return self.out(self.pool(x))


@case(
    "# in class TokensAndPositions\ndef compute_mask(self, inputs, mask=None):\n    return keras.ops.not_equal(inputs, 0)",
    "self.supports_masking = True  # in Block.__init__",
)
def transformer_example(kit: Kit) -> Any:
    return Transformer(kit is not None)


@case("keras.ops.softmax(keras.ops.where(lookup.compute_mask(words)[:, :, None], scores, -1e9), axis=1)")
def softmax_over_timesteps(kit: Kit) -> Any:
    words, lookup, x = start()
    scores = layers.Dense(1, name="score")(x)
    if kit is None:
        weights = ops.softmax(scores, axis=1)
    else:
        weights = keras.ops.softmax(keras.ops.where(lookup.compute_mask(words)[:, :, None], scores, -1e9), axis=1)
    return keras.Model(words, layers.Flatten(name="flat")(layers.Dot(axes=1, name="context")([weights, x])))


@case("class MaskedGroupNormalization")
def group_normalization(kit: Kit) -> Any:
    words, _, x = start()
    normalize = layers.GroupNormalization if kit is None else kit.MaskedGroupNormalization
    return keras.Model(words, layers.LSTM(3, name="rnn")(normalize(groups=2, name="normalize")(x)))


@case("class MaskedLayerNormalization", data={"words": IDS})
def normalization_over_timesteps(kit: Kit) -> Any:
    """Padding of zeros would change the statistics as well, through their number."""
    words, _, x = start(6)
    normalize = layers.LayerNormalization if kit is None else kit.MaskedLayerNormalization
    return keras.Model(words, layers.LSTM(3, name="rnn")(normalize(axis=[1, 2], name="normalize")(x)))


@case("class MaskedAveragePooling1D")
def windows(kit: Kit) -> Any:
    words, _, x = start()
    pool = layers.AveragePooling1D if kit is None else kit.MaskedAveragePooling1D
    return keras.Model(words, layers.LSTM(3, name="rnn")(pool(2, padding="same", name="pool")(x)))


CHARACTERS = np.array(
    [[[1, 2, 3], [4, 5, 0], [0, 0, 0], [0, 0, 0]], [[6, 0, 0], [7, 8, 0], [9, 1, 2], [3, 0, 0]]], "int32"
)


@case("keras.layers.Embedding(..., mask_zero=True)  # without TimeDistributed", "class MaskedTimeDistributed",
      data={"words": CHARACTERS})  # fmt: skip
def characters(kit: Kit) -> Any:
    words = keras.Input((None, 3), dtype="int32", name="words")
    lookup = layers.Embedding(12, 4, name="lookup", mask_zero=kit is not None)
    x = (layers.TimeDistributed(lookup) if kit is None else lookup)(words)
    wrapper = layers.TimeDistributed if kit is None else kit.MaskedTimeDistributed
    return keras.Model(words, layers.GRU(3, name="rnn")(wrapper(layers.GRU(3), name="spell")(x)))


@case("weigh(..., mask=keras.ops.swapaxes(M, -1, -2))  # M is the mask that weigh receives now")
def turned_mask_of_repeated_states(kit: Kit) -> Any:
    """Padding repeats the last state of its row, so that it enters where the weights are used."""
    words, _, x = start()
    x = layers.LSTM(4, return_sequences=True, name="rnn")(x)
    mask = ops.not_equal(words, 0)[:, :, None]
    if kit is not None:
        mask = ops.swapaxes(mask, -1, -2)
    scores = ops.matmul(layers.Dense(4)(x), ops.transpose(layers.Dense(4)(x), (0, 2, 1)))
    weights = layers.Softmax(name="weigh")(scores, mask=mask)
    return keras.Model(words, ops.matmul(weights, x))


class Opposite(Attend):
    """Takes the mask for its opposite."""

    def call(self, x: Any, mask: Any = None) -> Any:
        if self.repaired:
            mask = ops.logical_not(mask)
        scores = ops.matmul(self.query(x), ops.transpose(self.key(x), (0, 2, 1)))
        return ops.matmul(ops.softmax(scores + ops.cast(mask, x.dtype)[:, None, :] * -1e9, axis=-1), x)


@case("mask = keras.ops.logical_not(mask)  # first line of Opposite.call, if mask is not None")
def inverted_in_own_layer(kit: Kit) -> Any:
    words, _, x = start()
    return keras.Model(words, layers.Dense(2, name="tags")(Opposite(kit is not None, name="attend")(x)))


@case("class MaskedStd", "MaskedStd()(x)  # instead of std")
def statistics_of_timesteps(kit: Kit) -> Any:
    words, _, x = start()
    x = layers.Dense(4)(x)
    deviation = ops.std(x, axis=1) if kit is None else kit.MaskedStd()(x)
    return keras.Model(words, layers.Concatenate()([layers.GlobalAveragePooling1D()(x), deviation]))


@case("MaskedLogSumExp()(x)[:, None]")
def kept_axis_of_timesteps(kit: Kit) -> Any:
    words, _, x = start()
    x = layers.Dense(4)(x)
    if kit is None:
        x = layers.Subtract()([x, ops.logsumexp(x, axis=1, keepdims=True)])
    else:
        x = layers.Subtract()([x, kit.MaskedLogSumExp()(x)[:, None]])
    return keras.Model(words, layers.Dense(2)(x))


class OppositeBlock(Opposite):
    """Takes the mask for its opposite, if there is one, and passes it on."""

    def __init__(self, repaired: bool, **options: Any) -> None:
        super().__init__(repaired, **options)
        self.supports_masking = True

    def call(self, x: Any, mask: Any = None) -> Any:
        return super(Opposite, self).call(x) if mask is None else super().call(x, mask)


@case(
    "keras.layers.Embedding(..., mask_zero=True)",
    "mask = keras.ops.logical_not(mask)  # first line of OppositeBlock.call, if mask is not None",
)
def inverted_in_own_layer_without_a_mask(kit: Kit) -> Any:
    words, _, x = start(mask_zero=kit is not None)
    return keras.Model(words, layers.LSTM(3, name="rnn")(OppositeBlock(kit is not None, name="attend")(x)))


@case("x = ZeroPadded()(x)  # before turn")
def mixing_of_timesteps(kit: Kit) -> Any:
    words, _, x = start(6)
    x = layers.Permute((2, 1), name="turn")(x if kit is None else kit.ZeroPadded()(x))
    return keras.Model(words, layers.Dense(2, name="out")(layers.Dense(3, name="mix")(x)[:, 0]))


class Turn(layers.Layer):
    """Reverses timesteps, and their mask only if ``turns_mask``."""

    def __init__(self, turns_mask: bool, **options: Any) -> None:
        super().__init__(**options)
        self.turns_mask = turns_mask

    def call(self, x: Any) -> Any:
        return ops.flip(x, axis=1)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:  # noqa: ARG002 - the arguments of Keras
        return mask[:, ::-1] if mask is not None and self.turns_mask else mask


@case("# in class Turn\ndef compute_mask(self, inputs, mask=None)", ZEROED)
def turned_timesteps_before_a_convolution(kit: Kit) -> Any:
    """The convolution needs zeros at padding, which the mask in the old order does not mark."""
    words, _, x = start()
    x = Turn(kit is not None, name="turn")(x)
    if kit is None:
        x = layers.Conv1D(5, 3, padding="same", name="conv")(x)
    else:
        x = kit.MaskedConv1D(5, 3, padding="same", name="conv")(kit.ZeroPadded()(x))
    return keras.Model(words, layers.GlobalAveragePooling1D(name="pool")(x))


@case("# in class Turn\ndef compute_mask(self, inputs, mask=None):\n    return None if mask is None else mask[:, ::-1]")
def turned_timesteps(kit: Kit) -> Any:
    words, _, x = start()
    return keras.Model(words, layers.GlobalAveragePooling1D(name="pool")(Turn(kit is not None, name="turn")(x)))


@case("class MaskedMaxPooling1D", "return None if mask is None else mask[:, ::-1]",
      "keras.layers.GlobalAveragePooling1D()(x)",
      data={"words": np.array([[3, 1, 4, 2, 5, 6, 0], [6, 7, 8, 9, 1, 2, 4]])})  # fmt: skip
def turned_windows(kit: Kit) -> Any:
    """All windows of the data are valid, so that only more padding shows the leak."""
    words, _, x = start()
    pool = layers.MaxPooling1D if kit is None else kit.MaskedMaxPooling1D
    x = Turn(kit is not None, name="turn")(pool(2, name="pool")(x))
    return keras.Model(words, ops.mean(x, axis=1) if kit is None else layers.GlobalAveragePooling1D()(x))


class StartToken(layers.Layer):
    """Puts a timestep before the others, as the token of a class."""

    def __init__(self, keeps: bool, **options: Any) -> None:
        super().__init__(**options)
        self.keeps = self.supports_masking = keeps

    def call(self, x: Any) -> Any:
        return ops.concatenate([ops.ones_like(x[:, :1]), x], axis=1)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:  # noqa: ARG002 - the arguments of Keras
        if mask is None or not self.keeps:
            return None
        return ops.concatenate([ops.ones_like(mask[:, :1]), mask], axis=1)


@case("return None if mask is None else keras.ops.concatenate([keras.ops.ones_like(mask[:, :1]), mask], axis=1)")
def start_token(kit: Kit) -> Any:
    words, _, x = start()
    x = StartToken(kit is not None, name="begin")(x)
    return keras.Model(words, layers.MultiHeadAttention(2, 3, name="mha")(x, x)[:, 0])


@case("return None if mask is None else keras.ops.repeat(mask, 2, axis=1)")
def repeated_timesteps(kit: Kit) -> Any:
    words, _, x = start()
    repeat = layers.UpSampling1D if kit is None else kit.MaskedUpSampling1D
    return keras.Model(words, layers.LSTM(3, name="rnn")(repeat(2, name="twice")(x)))


class HandAttention(layers.Layer):
    """Attention by hand, as in many notebooks: it takes a mask, and ignores it unless it ``obeys``."""

    def __init__(self, obeys: bool, **options: Any) -> None:
        super().__init__(**options)
        self.supports_masking, self.obeys = True, obeys

    def build(self, shape: Any) -> None:
        self.scale = self.add_weight(shape=(shape[-1],), name="scale")

    def call(self, x: Any, mask: Any = None) -> Any:
        weights = ops.exp(ops.tanh(ops.sum(x * self.scale, axis=-1)))
        if self.obeys:
            weights = ops.where(mask, weights, 0.0)
        weights = weights / ops.sum(weights, axis=1, keepdims=True)
        return ops.sum(x * weights[:, :, None], axis=1)

    def compute_mask(self, *_: Any) -> None:
        return None


@case("x = keras.ops.where(mask, x, 0.0)  # in HandAttention.call(self, ..., mask=None), where x is the result of exp")
def weights_by_hand(kit: Kit) -> Any:
    words, _, x = start()
    return keras.Model(words, HandAttention(kit is not None, name="pool")(x))


FRAMES = np.random.default_rng(6).standard_normal((3, 5, 2, 2, 1)).astype("float32")
FRAMES[0, 3:], FRAMES[1, 2:] = 0, 0


@case("rnn(..., mask=keras.ops.any(keras.ops.not_equal(frames, 0), axis=(2, 3, 4)))", data={"frames": FRAMES})
def frames_of_pictures(kit: Kit) -> Any:
    """A Masking layer would mask the pixels of frames of four axes."""
    frames = keras.Input((None, 2, 2, 1), name="frames")
    mask = {} if kit is None else {"mask": ops.any(ops.not_equal(frames, 0), axis=(2, 3, 4))}
    x = layers.TimeDistributed(layers.Flatten(), name="flat")(frames)
    return keras.Model(frames, layers.LSTM(3, name="rnn")(x, **mask))


STORY = np.zeros((3, 4, 3), "int32")
STORY[0, :2, :2], STORY[1, :3, :3], STORY[2, :4, :1] = 3, [[4, 5, 6], [7, 8, 9], [2, 3, 4]], [[5], [6], [7], [8]]


@case(
    "weights = keras.layers.Softmax(axis=-1)(scores, mask=keras.ops.any(keras.ops.not_equal(story, 0), axis=-1))",
    "MaskedSum()(x)  # instead of sum",
    "MaskedSum()(x)  # instead of sum#3",
    data={"story": STORY},
)
def memory_of_sentences(kit: Kit) -> Any:
    """Words are summed to sentences, and sentences to an answer."""
    story = keras.Input((4, 3), dtype="int32", name="story")
    parts = []
    for name in ("keys", "values"):
        words = layers.Embedding(12, 6, mask_zero=kit is not None, name=f"{name}_words")(story)
        parts.append(ops.sum(words, axis=2) if kit is None else kit.MaskedSum()(words))
    keys, values = parts
    scores = ops.sum(keys, axis=-1)
    mask = None if kit is None else ops.any(ops.not_equal(story, 0), axis=-1)
    weights = layers.Softmax(axis=-1, name="weights")(scores, mask=mask)
    return keras.Model(story, ops.sum(weights[:, :, None] * values, axis=1))


@case("[[0, 0], [1, 2]], constant_values=1)")
def added_timesteps(kit: Kit) -> Any:
    """Zeros before and after the timesteps are data to a recurrent layer, which must skip the padding between."""
    words, _, x = start()
    longer = layers.ZeroPadding1D if kit is None else kit.MaskedZeroPadding1D
    return keras.Model(words, layers.LSTM(3, name="rnn")(longer((1, 2), name="longer")(x)))


@case(
    "weights = keras.ops.softmax(keras.ops.where(lookup.compute_mask(words)[:, :, None], scores, -1e9), axis=1)"
    "  # instead of attend, whose input are the scores"
)
def penalty_that_is_too_small(kit: Kit) -> Any:
    """A mask of numbers with another axis is no lookup of ids, which could carry the mask."""
    words, lookup, x = start()
    mask = lookup.compute_mask(words)
    scores = layers.Dense(1)(x) - 3.0 * (1.0 - ops.cast(mask, "float32")[..., None])
    softmax = layers.Softmax(axis=1, name="attend")
    weights = softmax(scores if kit is None else keras.ops.where(mask[:, :, None], scores, -1e9))
    return keras.Model(words, ops.sum(weights * x, axis=1))


class ConditionedWindow(layers.Layer):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.conv = layers.Conv1D(5, 3, padding="same")

    def build(self, x_shape: Any, condition_shape: Any) -> None:
        del condition_shape
        self.conv.build(x_shape)

    def call(self, x: Any, condition: Any) -> Any:
        return self.conv(x) * condition[:, None]


class MaskedWindow(ConditionedWindow):
    def call(self, x: Any, condition: Any, x_mask: Any = None) -> Any:
        x = keras.ops.where(x_mask[..., None], x, 0.0)
        return super().call(x, condition)


@case(
    "x = keras.ops.where(x_mask[..., None], x, 0.0)  # in ConditionedWindow.call(self, ..., x_mask=None), where x is",
    data={"words": IDS, "h": np.linspace(1, 2, 15, dtype="float32").reshape(3, 5)},
)
def window_with_a_condition(kit: Kit) -> Any:
    """Only the tensor with timesteps is set to zero at padding, not the other one, which has none."""
    words, lookup, x = start()
    condition = keras.Input((5,), name="h")
    x = (ConditionedWindow if kit is None else MaskedWindow)(name="window")(x, condition)
    return keras.Model([words, condition], layers.GlobalAveragePooling1D()(x, mask=lookup.compute_mask(words)))


@case("keras.ops.logical_not", data={"words": IDS})
def inverted_mask_of_copies(kit: Kit) -> Any:
    """An LSTM repeats its last valid result at padding, so that padding enters at the sum, not at the scores."""
    words, lookup, x = start()
    x = layers.LSTM(6, return_sequences=True, name="states")(x)
    mask = lookup.compute_mask(words)[:, None, :]
    scores = layers.Dot(axes=2, name="scores")([x, x])
    weights = layers.Softmax(name="attend")(scores, mask=ops.logical_not(mask) if kit is None else mask)
    attended = layers.Dot(axes=(2, 1), name="attended")([weights, x])
    return keras.Model(words, layers.GlobalAveragePooling1D()(attended, mask=lookup.compute_mask(words)))


class PlainMean(layers.Layer):
    def call(self, x: Any) -> Any:
        return ops.mean(x, axis=1)


@case(
    "keras.layers.Embedding(..., mask_zero=True)",
    "keras.layers.GlobalAveragePooling1D()(x)",
    data={"words": IDS[:, ::-1].copy()},
)
def two_faults_under_pre_padding(kit: Kit) -> Any:
    """A few runs show only the first fault; each of many ways to repair it fails the proof because of the other one."""
    words, _, x = start(mask_zero=kit is not None)
    x = layers.GRU(4, return_sequences=True, name="rnn")(layers.Bidirectional(layers.GRU(3, return_sequences=True))(x))
    pool = PlainMean(name="pool") if kit is None else layers.GlobalAveragePooling1D()
    return keras.Model(words, layers.Dense(2)(pool(x)))


CLUES = np.array([[5, 9, 2, 7, 0], [8, 3, 0, 0, 0], [4, 1, 6, 2, 3]])
SAME = np.array([[5, 9, 2, 7, 0, 0], [8, 3, 0, 0, 0, 0], [4, 1, 6, 2, 3, 5]])


class Consult(layers.Layer):
    """Additive attention of each answer to all clues."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.of_answers, self.of_clues, self.score = layers.Dense(5), layers.Dense(5), layers.Dense(1)

    def call(self, answers: Any, clues: Any) -> Any:
        return self.read(answers, clues, None)

    def read(self, answers: Any, clues: Any, mask: Any) -> Any:
        both = self.of_answers(answers)[:, :, None] + self.of_clues(clues)[:, None]
        scores = self.score(ops.tanh(both))
        if mask is not None:
            scores = ops.where(mask[:, None, :, None], scores, -1e9)
        return ops.sum(ops.softmax(scores, axis=2) * clues[:, None], axis=2)


class MaskedConsult(Consult):
    def call(self, answers: Any, clues: Any, clues_mask: Any = None) -> Any:
        return self.read(answers, clues, clues_mask)


def consult(kit: Kit) -> Any:
    clues, words = keras.Input((None,), dtype="int32", name="clues"), keras.Input((None,), dtype="int32", name="words")
    x = layers.GRU(4, return_sequences=True)(layers.Embedding(12, 6, mask_zero=True)(clues))
    y = layers.GRU(4, return_sequences=True)(layers.Embedding(12, 6, mask_zero=True)(words))
    return keras.Model([clues, words], (Consult if kit is None else MaskedConsult)(name="consult")(y, x))


CONSULT = (
    "scores = keras.ops.where(clues_mask[:, None, :, None], scores, -1e9)  "
    "# in Consult.call(self, ..., clues_mask=None), before softmax"
)


@case(CONSULT, data={"clues": CLUES, "words": IDS})
def attention_of_two_inputs(kit: Kit) -> Any:
    """Two masks arrive, and Keras passes each under the name of its tensor."""
    return consult(kit)


@case(CONSULT, data={"clues": SAME, "words": IDS})
def attention_of_two_inputs_of_one_length(kit: Kit) -> Any:
    """The mask of the answers must not be joined with that of the clues."""
    return consult(kit)


@case("keras.layers.Embedding(..., mask_zero=True)  # without TimeDistributed", data={"story": STORY})
def rnn_of_words_in_sentences(kit: Kit) -> Any:
    """The mask of the words must not reach the RNN of the sentences as it is."""
    lookup, of_words = layers.Embedding(12, 6, mask_zero=True), layers.GRU(4)
    if kit is None:
        stack = [layers.TimeDistributed(lookup, name="look_up"), layers.TimeDistributed(of_words, name="read")]
    else:
        stack = [lookup, kit.MaskedTimeDistributed(of_words, name="read")]
    return keras.Sequential([keras.Input((4, 3), dtype="int32", name="story"), *stack, layers.GRU(5)])


class DilutedMean(layers.Layer):
    """Divides the sum of valid timesteps by the number of all timesteps, and goes on computing."""

    def __init__(self, exact: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.exact = exact

    def call(self, x: Any, mask: Any = None) -> Any:
        x = x * ops.cast(mask, x.dtype)[:, :, None]
        return ops.tanh(layers.GlobalAveragePooling1D()(x, mask=mask) if self.exact else ops.mean(x, axis=1))


@case(
    "keras.layers.GlobalAveragePooling1D()(x, mask=mask)  # instead of mean in DilutedMean.call(self, ..., mask=None)"
)
def mean_of_zeros_too(kit: Kit) -> Any:
    """The product in the code carries no mask, so that the code must pass it."""
    words, _, x = start()
    return keras.Model(words, DilutedMean(exact=kit is not None, name="pool")(x))


@case("keras.layers.GlobalAveragePooling1D()(x)")
def sum_over_all_timesteps_by_number_of_all(kit: Kit) -> Any:
    words, _, x = start()
    if kit is not None:
        return keras.Model(words, layers.GlobalAveragePooling1D()(x))

    def pool(x: Any, mask: Any = None) -> Any:
        total = ops.matmul(ops.cast(mask, x.dtype)[:, None], x)[:, 0]
        return total / ops.cast(ops.shape(x)[1], x.dtype)

    return keras.Model(words, layers.Lambda(pool, output_shape=(6,), name="pool")(x))


def build_model(build: Callable[[Kit], Any], kit: Kit) -> Any:
    """Build a model with the same weights in any form, none of them zero."""
    keras.utils.set_random_seed(3)
    with warnings.catch_warnings(action="ignore"):
        model = build(kit)
        if not model.built:
            model(IDS)
    rng = np.random.default_rng(1)
    for weight in model.trainable_weights:
        weight.assign(np.asarray(weight) + 0.1 * rng.standard_normal(weight.shape))
    return model


def measure_leak(model: Any, data: Any) -> float:
    """Return by how much the content and the amount of padding change the results, with plain Keras."""
    if isinstance(data, list):
        data = {"words": IDS if len(data) != len(ROWS) else np.array([row + [0] * (6 - len(row)) for row in ROWS])}
    names = [name for name in data if not name.endswith(".mask")]
    arrays = [data[name] for name in names]
    valids = [data.get(f"{name}.mask", None if name in ("h", "c") else data[name] != 0) for name in names]
    valids = [
        valid if valid is None or valid.ndim < 3 else valid.any(axis=tuple(range(2, valid.ndim))) for valid in valids
    ]
    valids = [
        np.ones(valid.shape, bool) if name == "place" else valid for name, valid in zip(names, valids, strict=True)
    ]
    arguments = arrays if len(arrays) > 1 else arrays[0]
    with warnings.catch_warnings(action="ignore"):
        before = np.asarray(model(arguments))
        worst = 0.0
        counts = valids[-1] if before.ndim == 3 and len(names) > 1 else valids[0]
        for weight in model.weights:
            if weight.path.endswith("embeddings") and "where" not in weight.path:
                values = np.asarray(weight).copy()
                values[[0, 11]] += 1.0
                weight.assign(values)
        changed = np.asarray(model(arguments))
        pick = (lambda x: x[counts]) if before.ndim == 3 else (lambda x: x)
        worst = float(np.abs(pick(changed) - pick(before)).max())
        takes_any_length = all(tensor.shape[1] is None for tensor in (getattr(model, "inputs", None) or ()))
        if takes_any_length and names == ["words"] and arrays[0].ndim == 2 and not (arrays[0] == 11).any():
            longer = np.asarray(model(np.pad(arrays[0], [(0, 0), (0, 4)])))
            longer = longer[:, : before.shape[1]] if before.ndim == 3 else longer
            worst = max(worst, float(np.abs(pick(longer) - pick(changed)).max()))
        if takes_any_length:
            for row in range(len(before)):
                cut = [
                    array[row : row + 1] if valid is None else array[row : row + 1, : valid[row].sum()]
                    for array, valid in zip(arrays, valids, strict=True)
                ]
                alone = np.asarray(model(cut if len(cut) > 1 else cut[0]))[0]
                padded = changed[row][: len(alone)] if before.ndim == 3 else changed[row]
                worst = max(worst, float(np.abs(alone - padded).max()))
    return worst


@pytest.mark.slow(share=0.25)
@pytest.mark.parametrize("name", CASES)
def test_repair_to_the_letter(name: str) -> None:
    build, lines, data = CASES[name]
    faulty = build_model(build, None)
    report = maskcli.check(data, model=faulty)
    codes = [repair.code for repair in report.repairs]
    assert codes, report.attempts
    text = "\n\n\n".join(codes)
    assert all(line in text for line in lines), text
    scope: dict[str, Any] = {"keras": keras}
    for block in text.split("\n\n\n"):
        if block.startswith("class "):
            exec(block, scope)  # noqa: S102 - the printed code is the subject of this test
    repaired = build_model(build, SimpleNamespace(**scope))
    repaired.set_weights(faulty.get_weights())
    assert measure_leak(faulty, data) > 1e-4
    repaired.set_weights(build_model(build, None).get_weights())
    assert measure_leak(repaired, data) < 2e-6


def consult_by_wrong_mask(kit: Kit) -> Any:
    """The mask of the answers hides clues, which a further mask would leave hidden."""
    clues, words = keras.Input((None,), dtype="int32", name="clues"), keras.Input((None,), dtype="int32", name="words")
    lookup = layers.Embedding(12, 6, mask_zero=kit is not None, name="of_clues")
    x, y = lookup(clues), layers.Embedding(12, 6)(words)
    mask = ops.not_equal(words, 0) if kit is None else lookup.compute_mask(clues)
    attend = layers.MultiHeadAttention(2, 3, name="cross")
    return keras.Model([clues, words], attend(y, x, attention_mask=ops.expand_dims(mask, 1)))


def test_mask_of_the_other_input_is_replaced() -> None:
    data = {"clues": IDS, "words": SAME}
    report = maskcli.check(data, model=build_model(consult_by_wrong_mask, None))
    code = "cross(..., attention_mask=of_clues.compute_mask(clues)[:, None, :])"
    assert code in [repair.code for repair in report.repairs]
    repaired = build_model(consult_by_wrong_mask, SimpleNamespace())
    assert measure_leak(repaired, data) < 2e-6
    assert not [finding for finding in maskcli.check(data, model=repaired).findings if finding.code == "MSK118"]


@pytest.mark.parametrize("build", [encoder_without_a_mask_at_its_end, decoder_without_the_mask_of_its_encoder])
def test_layer_that_returns_no_mask_is_the_culprit(build: Any) -> None:
    """The attention inside, which takes the mask off its input, is not, and neither is one of the decoder."""
    data = ROWS if build is encoder_without_a_mask_at_its_end else TWO_SIDES
    report = maskcli.check(data, model=build_model(build, None))
    assert [(finding.code, finding.call) for finding in report.findings if finding.severity == "error"] == [
        ("MSK101", "encode")
    ]


def test_repairs_that_only_cure_together_are_listed_together() -> None:
    """Who copies the list needs no other part of the output."""
    report = maskcli.check(ROWS, model=build_model(subclassed_mean, None))
    assert len(report.repairs) == 2
    listed = str(report).partition("Repairs  tried together")[2]
    assert all(repair.code.splitlines()[0] in listed for repair in report.repairs)


def test_padding_of_minus_zero_is_padding_of_zero() -> None:
    values = np.array([[[1.0, 2.0], [-0.0, -0.0]]])
    assert str(find_common_padding(values, np.array([[True, False]]))) == "0.0"


def test_layers_with_the_same_repair_are_all_named() -> None:
    report = maskcli.check({"story": STORY}, model=build_model(memory_of_sentences, None))
    calls = [repair.call for repair in report.repairs if repair.kind == "set-mask-zero"]
    assert calls == ["keys_words", "values_words"]
    assert "set-mask-zero at keys_words, values_words" in str(report)


def test_repair_of_an_output_without_mask() -> None:
    words = keras.Input((None,), dtype="int32", name="words")
    x = layers.Embedding(12, 6, mask_zero=True, name="lookup")(words)
    report = maskcli.check(ROWS, model=keras.Model(words, layers.Dense(2, name="tags")(x) * 2.0))
    finding = next(finding for finding in report.findings if finding.code == "MSK101")
    assert finding.repair is not None
    assert "y = KeepMask()([y, x])" in finding.repair.code
    assert "Tried: the output then carries the mask" in finding.fix


class Mix(layers.Layer):
    """Mixes all timesteps and features, without a way to leave timesteps out."""

    def call(self, x: Any) -> Any:
        return ops.fft2((x, ops.zeros_like(x)))[0]


def test_kept_mask_is_no_source_of_a_mask() -> None:
    """A repair that only lets a layer return a mask, which none of its inputs has, changes nothing."""
    rng = np.random.default_rng(0)
    series = rng.normal(size=(4, 6, 3)).astype("float32")
    series[1, 4:] = series[2, 2:] = -1.0
    inputs = keras.Input((6, 3), name="series")
    x = layers.LayerNormalization()(inputs)
    x = layers.Add()([inputs, layers.MultiHeadAttention(2, 3, name="attend")(x, x)])
    pooled = layers.GlobalAveragePooling1D(data_format="channels_first", name="pool")(x)
    report = maskcli.check({"series": series}, model=keras.Model(inputs, layers.Dense(2, name="out")(pooled)))
    kinds = {repair.call: repair.kind for repair in report.repairs}
    assert kinds == {"attend": "pass-mask", "out": "zero-padding"}


def test_advice_that_was_not_tried() -> None:
    words = keras.Input((None,), dtype="int32", name="words")
    x = layers.Embedding(12, 6, mask_zero=True, name="lookup")(words)
    with warnings.catch_warnings(action="ignore"):
        model = keras.Model(words, layers.LSTM(3, name="rnn")(Mix(name="mix")(x)))
    report = maskcli.check(ROWS, model=model)
    assert not report.repairs
    assert {attempt.call for attempt in report.attempts} >= {"mix"}
    fixes = [finding.fix for finding in report.findings if finding.code >= "MSK1"]
    assert all(fix.startswith("Not tried: ") for fix in fixes)
    assert any("lookup.compute_mask(words)" in fix for fix in fixes)


def test_missing_values_as_padding() -> None:
    """NaN equals nothing, so that a layer which looks for it masks nothing."""
    data = make_series()
    data["series"][~data["series.mask"]] = np.nan
    inputs = keras.Input((None, 2), name="series")
    masking = layers.Masking(float("nan"), name="hide")
    report = maskcli.check(data, model=keras.Model(inputs, layers.GRU(4, name="rnn")(masking(inputs))))
    (finding,) = [finding for finding in report.findings if finding.code == "MSK112"]
    assert "NaN, which equals nothing" in finding.message
    assert finding.repair is not None
    fill, layer = finding.repair.code.split("\n\n\n")
    scope = {"np": np, "keras": keras, "x": data["series"]}
    exec(fill, scope)  # noqa: S102 - the printed code is the subject of this test
    gru = layers.GRU(4)
    result = np.asarray(gru(eval(layer, scope)(scope["x"])))  # noqa: S307 - the same
    alone = np.asarray(gru(data["series"][1:2, :1]))
    np.testing.assert_allclose(result[1], alone[0], atol=1e-6)


class Nested(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.body = keras.Sequential([layers.Embedding(12, 6, name="tok")], name="body")
        self.rnn = layers.GRU(3)

    def call(self, ids: Any) -> Any:
        return self.rnn(self.body(ids))


def test_name_of_a_layer_in_a_submodel() -> None:
    model = Nested()
    model(IDS)
    (finding,) = [finding for finding in maskcli.check(ROWS, model=model).findings if finding.code == "MSK104"]
    assert 'Let self.body.get_layer("tok") make a mask' in finding.fix


@pytest.mark.slow(share=0)
@pytest.mark.filterwarnings("ignore:Layer .* does not support masking")
def test_repair_of_an_earlier_call_than_the_first() -> None:
    """Without their padding, rows first differ at the convolution; more padding in words shows that it enters before."""
    words = keras.Input((None, 3), dtype="int32", name="words")
    spell = keras.Sequential([layers.Embedding(12, 4, name="lookup"), layers.LSTM(3)])
    x = layers.TimeDistributed(spell, name="spell")(words)
    model = keras.Model(words, layers.Conv1D(2, 3, padding="same", name="conv")(x))
    report = maskcli.check(CHARACTERS[:, ::-1], model=model, padding="pre")
    assert [repair.call for repair in report.repairs] == ["spell"]


@pytest.mark.parametrize(("loss", "name"), [("mse", "MeanSquaredError"), (keras.losses.Huber(), "Huber")])
def test_weights_of_a_loss_that_counts_padding(loss: Any, name: str) -> None:
    words = keras.Input((None,), dtype="int32", name="words")
    x = layers.Embedding(12, 6, name="lookup")(words)
    model = keras.Model(words, layers.Dense(1, name="tags")(x) * 2.0)
    model.compile(loss=loss)
    targets = np.where(IDS == 0, 5.0, 0.1 * IDS)[..., None]
    report = maskcli.check(IDS, model=model, targets=targets)
    (finding,) = [finding for finding in report.findings if finding.code == "MSK301"]
    assert finding.repair is not None
    assert finding.repair.kind == "loss-weights"
    assert f'loss=keras.losses.{name}(reduction="mean_with_sample_weight")' in finding.repair.code
    assert finding.repair.code.startswith("mask = words != 0\n")
    model.compile(loss=getattr(keras.losses, name)(reduction="mean_with_sample_weight"))
    weighted = model.evaluate(IDS, targets, sample_weight=(IDS != 0).astype("float32"), verbose=0)
    assert weighted == pytest.approx(finding.evidence["masked"], rel=1e-5)


@pytest.mark.parametrize("leaks", [False, True])
def test_mask_of_the_output_repairs_its_loss(leaks: bool) -> None:
    """The mask that the operator loses is enough, so that no weights are printed as well."""
    words = keras.Input((None,), dtype="int32", name="words")
    x = layers.Embedding(12, 6, mask_zero=True, name="lookup")(words)
    x = layers.Dense(1, name="tags")(x) * 2.0
    both = layers.Bidirectional(layers.GRU(1, return_sequences=True), merge_mode="sum")
    model = keras.Model(words, both(x) if leaks else x)
    model.compile(loss="mse")
    targets = np.where(IDS == 0, 5.0, 0.1 * IDS)[..., None]
    report = maskcli.check(IDS, model=model, targets=targets)
    by_code = {finding.code: finding for finding in report.findings}
    for code in ("MSK101", "MSK301"):
        repair = by_code[code].repair
        assert repair is not None
        assert repair.kind != "loss-weights"
    assert "loss-weights" not in str(report)


def test_right_model_needs_no_repair() -> None:
    words = keras.Input((None,), dtype="int32", name="words")
    x = layers.Embedding(12, 6, mask_zero=True, name="lookup")(words)
    report = maskcli.check(ROWS, model=keras.Model(words, layers.LSTM(3, name="rnn")(x)))
    assert (report.repairs, report.attempts) == ((), ())


class OpenBlock(layers.Layer):
    """Attends to all timesteps, although a mask arrives."""

    def __init__(self, repaired: bool, **options: Any) -> None:
        super().__init__(**options)
        self.attention, self.repaired = layers.MultiHeadAttention(2, 3), repaired
        self.supports_masking = True

    def call(self, x: Any, mask: Any = None) -> Any:
        options = {"attention_mask": mask[:, None, :]} if self.repaired and mask is not None else {}
        return x + self.attention(x * 1.0, x * 1.0, **options)


def stack_functions(repaired: set[str], blocks: int) -> Any:
    """Each addition loses the mask, so that each attention but the first lacks it, and the mean after them."""
    words, lookup, x = start()
    mask = lookup.compute_mask(words)
    for number in range(blocks):
        options = {"value_mask": mask} if f"attend_{number}" in repaired else {}
        x = x + layers.MultiHeadAttention(2, 3, name=f"attend_{number}")(x, x, **options)
        x = x + layers.Dense(6, "tanh")(x)
    mean = layers.GlobalAveragePooling1D(name="mean")(x, **({"mask": mask} if "mean" in repaired else {}))
    return keras.Model(words, layers.Dense(2, name="out")(mean))


def stack_recurrent_layers(repaired: set[str], blocks: int) -> Any:
    words, lookup, x = start()
    options = {f"rnn_{number}": {"mask": lookup.compute_mask(words)} for number in range(blocks + 1)}
    for number in range(blocks):
        name = f"rnn_{number}"
        x = x + layers.GRU(6, return_sequences=True, name=name)(x, **(options[name] if name in repaired else {}))
    name = f"rnn_{blocks}"
    return keras.Model(words, layers.GRU(3, name=name)(x, **(options[name] if name in repaired else {})))


def stack_blocks(repaired: set[str], blocks: int) -> Any:
    words, _, x = start()
    for number in range(blocks):
        x = OpenBlock(bool(repaired), name=f"block_{number}")(x)
    return keras.Model(words, layers.Dense(2, name="tags")(x))


ATTENTIONS = [f"attend_{number}" for number in range(1, 10)]


@pytest.mark.parametrize(
    ("build", "padding", "calls"),
    [
        (stack_functions, "post", [*ATTENTIONS, "mean"]),
        (stack_functions, "pre", [*ATTENTIONS, "mean"]),
        (stack_recurrent_layers, "post", ["rnn_10"]),  # Padding that comes last changes no earlier state.
        (stack_recurrent_layers, "pre", [f"rnn_{number}" for number in range(1, 11)]),
        (stack_blocks, "post", ["block_0/multi_head_attention"]),
        (stack_blocks, "pre", ["block_0/multi_head_attention"]),
    ],
)
def test_a_fault_in_each_of_many_blocks(build: Callable[..., Any], padding: Any, calls: list[str]) -> None:
    """All calls of one kind are repaired together, by a few trials, which would otherwise grow with their number."""
    keras.utils.set_random_seed(0)
    keras.backend.clear_session()
    faulty = build(set(), 10)
    report = maskcli.check(ROWS, model=faulty, padding=padding)
    assert [repair.call for repair in report.repairs] == calls
    assert len(report.attempts) <= 3, report.attempts
    repaired = build(set(calls), 10)
    repaired.set_weights(faulty.get_weights())
    leak = maskcli.check(ROWS, model=repaired, padding=padding).leak
    assert leak is not None
    assert leak.verdict == "clean"
    assert measure_leak(faulty, ROWS) > 1e-4
    assert measure_leak(repaired, ROWS) < 1e-5


def test_calls_of_one_kind_that_need_no_repair_stay() -> None:
    """An attention that has its mask is left as it is, and so is one of other words."""
    words, others = (
        keras.Input((None,), dtype="int32", name="words"),
        keras.Input((None,), dtype="int32", name="others"),
    )
    lookup = layers.Embedding(12, 6, mask_zero=True, name="lookup")
    x, y = lookup(words), lookup(others)
    for number in range(4):
        options = {"value_mask": lookup.compute_mask(words)} if number == 2 else {}
        x = x + layers.MultiHeadAttention(2, 3, name=f"attend_{number}")(x, x, **options)
    y = layers.MultiHeadAttention(2, 3, name="attend_others")(y, y)
    means = [
        layers.GlobalAveragePooling1D()(part, mask=lookup.compute_mask(ids)) for part, ids in ((x, words), (y, others))
    ]
    model = keras.Model([words, others], layers.Dense(2)(layers.Concatenate()(means)))
    report = maskcli.check({"words": IDS, "others": IDS[:, ::-1][::-1, ::-1]}, model=model)
    assert [repair.call for repair in report.repairs] == ["attend_1", "attend_3"]
