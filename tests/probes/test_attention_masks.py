"""Attention masks are judged by their purpose, wherever they enter; right masks raise no alarm."""

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
from maskcli.records.evidence import AttentionFault

pytestmark = pytest.mark.slow(share=1 / 6)

LENGTHS = (2, 7, 4, 7, 5, 6, 3)
OTHER_LENGTHS = (5, 3, 7, 2, 7, 4, 6)
T = max(LENGTHS)
IDS = 15


def make_ids(lengths: tuple[int, ...], side: str = "post", seed: int = 0) -> Any:
    """Return ids with as many rows as timesteps, so that a mask of rows fits queries."""
    ids = np.random.default_rng(seed).integers(1, IDS, (len(lengths), T))
    valid = np.arange(T) < np.array(lengths)[:, None]
    return np.where(valid if side == "post" else valid[:, ::-1], ids, 0).astype("int32")


class HandWritten(layers.Layer):
    """Attention of one's own: ``attend`` computes it from queries, keys, values and a mask of pairs."""

    def __init__(self, attend: Callable[..., Any], **options: Any) -> None:
        super().__init__(**options)
        self.attend = attend
        self.project = [layers.Dense(8), layers.Dense(8), layers.Dense(8)]

    def call(self, queries: Any, keys: Any, mask: Any) -> Any:
        query, key, value = self.project
        return self.attend(query(queries), key(keys), value(keys), mask)


def add_bias(query: Any, key: Any, value: Any, mask: Any) -> Any:
    scores = ops.matmul(query, ops.transpose(key, (0, 2, 1))) / 3.0
    return ops.matmul(ops.softmax(scores + (1.0 - ops.cast(mask, "float32")) * -1e9), value)


def split_heads(x: Any) -> Any:
    return ops.reshape(x, (ops.shape(x)[0], -1, 2, 4))


def join_heads(x: Any) -> Any:
    return ops.reshape(x, (ops.shape(x)[0], -1, 8))


def with_heads(mask: Any) -> Any:
    return mask[None, None] if len(mask.shape) == 2 else mask[:, None]


def choose_by_head(query: Any, key: Any, value: Any, mask: Any) -> Any:
    query, key, value = map(split_heads, (query, key, value))
    scores = ops.einsum("bkhd,bqhd->bhqk", key, query)
    weights = ops.softmax(ops.where(with_heads(mask), scores, -1e30))
    return join_heads(ops.einsum("bhqk,bkhd->bqhd", weights, value))


def use_softmax_layer(query: Any, key: Any, value: Any, mask: Any) -> Any:
    scores = ops.matmul(query, ops.transpose(key, (0, 2, 1)))
    return ops.matmul(layers.Softmax()(scores, ops.broadcast_to(mask, ops.shape(scores))), value)


def use_dot_product(query: Any, key: Any, value: Any, mask: Any) -> Any:
    query, key, value = map(split_heads, (query, key, value))
    return join_heads(ops.dot_product_attention(query, key, value, mask=with_heads(mask)))


def put_heads_into_batch(query: Any, key: Any, value: Any, mask: Any) -> Any:
    """Attend as older code does, with the heads next to each other in the first axis."""
    query, key, value = (ops.concatenate(ops.split(x, 2, axis=-1), axis=0) for x in (query, key, value))
    scores = ops.matmul(query, ops.transpose(key, (0, 2, 1)))
    mask = ops.broadcast_to(mask, (ops.shape(scores)[0] // 2, T, T)) if len(mask.shape) == 2 else mask
    scores = ops.where(ops.tile(mask, (2, 1, 1)), scores, -1e9)
    return ops.concatenate(ops.split(ops.matmul(ops.softmax(scores), value), 2, axis=0), axis=-1)


def add_sink(query: Any, key: Any, value: Any, mask: Any) -> Any:
    """Append a score for no key, so that a query may attend to nothing."""
    scores = ops.where(mask, ops.matmul(query, ops.transpose(key, (0, 2, 1))), -1e9)
    weights = ops.softmax(ops.concatenate([scores, ops.zeros_like(scores[..., :1])], axis=-1))
    return ops.matmul(weights[..., :-1], value)


def own(attend: Callable[..., Any]) -> Callable[..., Any]:
    return lambda queries, keys, mask: HandWritten(attend, name="attend")(queries, keys, mask)


def attend_in_graph(queries: Any, keys: Any, mask: Any) -> Any:
    return add_bias(layers.Dense(8)(queries), layers.Dense(8)(keys), keys, mask)


SITES: dict[str, Callable[..., Any]] = {
    "MultiHeadAttention": lambda q, k, mask: layers.MultiHeadAttention(2, 4, name="attend")(q, k, attention_mask=mask),
    "with dropout": lambda q, k, mask: layers.MultiHeadAttention(2, 4, dropout=0.1, name="attend")(
        q, k, attention_mask=mask
    ),
    "GroupQueryAttention": lambda q, k, mask: layers.GroupQueryAttention(4, 2, 1, name="attend")(
        q, k, attention_mask=mask
    ),
    "bias": own(add_bias),
    "where": own(choose_by_head),
    "Softmax": own(use_softmax_layer),
    "dot product": own(use_dot_product),
    "heads in batch": own(put_heads_into_batch),
    "sink": own(add_sink),
    "graph": attend_in_graph,
}


def causal() -> Any:
    return ops.convert_to_tensor(np.tril(np.ones((1, T, T), bool)))


def window() -> Any:
    return ops.convert_to_tensor(np.tril(np.triu(np.ones((1, T, T), bool), -2), 2))


WRONG: dict[str, tuple[str, Callable[..., Any]]] = {
    "inverted": ("inverted", lambda valid: ops.logical_not(valid)[:, None, :]),
    "inverted, then causal": ("inverted", lambda valid: ops.logical_and(ops.logical_not(valid)[:, None, :], causal())),
    "causal, then inverted": ("inverted", lambda valid: ops.logical_not(ops.logical_and(valid[:, None, :], causal()))),
    "rows": ("along-queries", lambda valid: valid),
    "queries": ("hides-queries", lambda valid: valid[:, :, None]),
    "turned with causal": (
        "hides-queries",
        lambda valid: ops.transpose(ops.logical_and(valid[:, None, :], causal()), (0, 2, 1)),
    ),
    "queries in a window": ("hides-queries", lambda valid: ops.logical_and(valid[:, :, None], window())),
}
RIGHT: dict[str, Callable[..., Any]] = {
    "keys": lambda valid: valid[:, None, :],
    "pairs": lambda valid: ops.logical_and(valid[:, None, :], valid[:, :, None]),
    "causal keys": lambda valid: ops.logical_and(valid[:, None, :], causal()),
    "causal pairs": lambda valid: ops.logical_and(ops.logical_and(valid[:, None, :], valid[:, :, None]), causal()),
    "window of keys": lambda valid: ops.logical_and(valid[:, None, :], window()),
    "causal alone": lambda valid: ops.logical_and(ops.ones_like(valid)[:, None, :], causal()),
    "keys, and itself": lambda valid: ops.logical_or(
        ops.logical_and(valid[:, None, :], valid[:, :, None]), ops.convert_to_tensor(np.eye(T, dtype=bool)[None])
    ),
}


def build(attend: Callable[..., Any], make_mask: Callable[..., Any]) -> Any:
    """Return a model that attends once, and looks at the first timestep, which is never padding."""
    keras.utils.set_random_seed(0)
    ids = keras.Input((T,), dtype="int32", name="words")
    x = layers.Embedding(IDS, 8)(ids)
    x = attend(x, x, make_mask(ops.not_equal(ids, 0)))
    return keras.Model(ids, layers.Dense(1)(x))


def check(model: Any, data: Any) -> CheckReport:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return maskcli.check(data, model=model)


def faults_of(report: CheckReport) -> tuple[AttentionFault, ...]:
    assert report.examination.model is not None
    return report.examination.model.attention


@pytest.mark.slow(share=1 / 3)
@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("mistake", WRONG)
def test_each_mistake_is_found(site: str, mistake: str) -> None:
    kind, make_mask = WRONG[mistake]
    report = check(build(SITES[site], make_mask), {"words": make_ids(LENGTHS)})
    (fault,) = faults_of(report)
    assert fault.kind == kind
    assert fault.open_to_padding or fault.closed_to_valid
    findings = [finding for finding in report.findings if finding.code == "MSK118"]
    assert [finding.call for finding in findings] == [fault.call]
    assert findings[0].severity == "error"
    named = {finding.code for finding in report.findings if finding.severity == "error"}
    # A mask of rows also mixes the rows of the batch, which has a rule of its own.
    assert named - {"MSK116"} == {"MSK118"}


@pytest.mark.slow(share=1 / 3)
@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("mask", RIGHT)
def test_right_masks_raise_no_alarm(site: str, mask: str) -> None:
    report = check(build(SITES[site], RIGHT[mask]), {"words": make_ids(LENGTHS)})
    assert faults_of(report) == ()
    assert not [finding for finding in report.findings if finding.code == "MSK118"]


@pytest.mark.parametrize("site", ["MultiHeadAttention", "where"])
@pytest.mark.parametrize(("name", "kind"), [("queries", "hides-queries"), ("inverted", "inverted")])
def test_padding_may_come_first(site: str, name: str, kind: str) -> None:
    report = check(build(SITES[site], WRONG[name][1]), {"words": make_ids(LENGTHS, "pre")})
    assert [fault.kind for fault in faults_of(report)] == [kind]


@pytest.mark.parametrize("site", ["MultiHeadAttention", "where"])
@pytest.mark.parametrize("mask", ["keys", "pairs", "causal keys"])
def test_right_masks_of_padding_that_comes_first(site: str, mask: str) -> None:
    assert faults_of(check(build(SITES[site], RIGHT[mask]), {"words": make_ids(LENGTHS, "pre")})) == ()


def build_translator(choose: Callable[..., Any], attend: Callable[..., Any]) -> Any:
    """Return a model whose decoder attends to its encoder, with the mask that ``choose`` makes of both."""
    keras.utils.set_random_seed(1)
    source = keras.Input((T,), dtype="int32", name="source")
    target = keras.Input((T,), dtype="int32", name="target")
    keys, queries = layers.Embedding(IDS, 8)(source), layers.Embedding(IDS, 8)(target)
    mask = choose(ops.not_equal(source, 0), ops.not_equal(target, 0))
    return keras.Model([source, target], layers.Dense(1)(attend(queries, keys, mask)))


TRANSLATION = {"source": make_ids(LENGTHS, seed=1), "target": make_ids(OTHER_LENGTHS, seed=2)}


@pytest.mark.parametrize("site", [site for site in SITES if site != "graph"])
def test_mask_of_decoder_over_encoder(site: str) -> None:
    wrong = build_translator(lambda _, target: target[:, None, :], SITES[site])
    (fault,) = faults_of(check(wrong, TRANSLATION))
    assert (fault.kind, fault.mask_of) == ("wrong-input", "target")
    right = build_translator(lambda source, _: source[:, None, :], SITES[site])
    assert faults_of(check(right, TRANSLATION)) == ()
    both = build_translator(lambda source, target: ops.logical_and(source[:, None, :], target[:, :, None]), SITES[site])
    assert faults_of(check(both, TRANSLATION)) == ()


@pytest.mark.parametrize("kind", [layers.Attention, layers.AdditiveAttention])
def test_masks_of_attention_layer_in_wrong_order(kind: Any) -> None:
    def attend(order: int) -> Any:
        return lambda q, k, masks: kind(name="attend")([q, k], mask=masks[::order])

    def choose(source: Any, target: Any) -> Any:
        return [target, source]

    (fault,) = faults_of(check(build_translator(choose, attend(-1)), TRANSLATION))
    assert (fault.kind, fault.mask_of, fault.call) == ("wrong-input", "target", "attend")
    assert faults_of(check(build_translator(choose, attend(1)), TRANSLATION)) == ()


def test_inverted_mask_of_attention_layer() -> None:
    def attend(q: Any, k: Any, mask: Any) -> Any:
        return layers.Attention(name="attend")([q, k], mask=[mask, mask])

    (fault,) = faults_of(check(build(attend, ops.logical_not), {"words": make_ids(LENGTHS)}))
    assert fault.kind == "inverted"
    assert faults_of(check(build(attend, lambda valid: valid), {"words": make_ids(LENGTHS)})) == ()


def test_other_mask_of_same_call_hides_keys() -> None:
    """A mask of queries is harmless where the masks that the tensors carry close the padded keys."""
    keras.utils.set_random_seed(0)
    ids = keras.Input((T,), dtype="int32", name="words")
    x = layers.Embedding(IDS, 8, mask_zero=True)(ids)
    x = layers.MultiHeadAttention(2, 4)(x, x, attention_mask=ops.not_equal(ids, 0)[:, :, None])
    report = check(keras.Model(ids, layers.Dense(1)(x)), {"words": make_ids(LENGTHS)})
    assert faults_of(report) == ()


def test_mask_of_rows_closes_valid_pairs_though_keys_are_hidden() -> None:
    """The tensors carry a mask that hides padded keys; the other mask still mixes the rows."""

    class Mixing(layers.Layer):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.supports_masking = True
            self.attend = layers.MultiHeadAttention(2, 4, name="attend")

        def call(self, x: Any, mask: Any = None) -> Any:
            return self.attend(x, x, attention_mask=mask)

    keras.utils.set_random_seed(0)
    ids = keras.Input((T,), dtype="int32", name="words")
    x = Mixing(name="mixing")(layers.Embedding(IDS, 8, mask_zero=True)(ids))
    report = check(keras.Model(ids, layers.Dense(1)(x)), {"words": make_ids(LENGTHS)})
    (fault,) = faults_of(report)
    assert (fault.call, fault.kind, fault.open_to_padding) == ("mixing/attend", "along-queries", 0)
    assert fault.closed_to_valid > 0


def test_learned_queries_have_no_padding() -> None:
    class Pool(layers.Layer):
        def build(self, _: Any) -> None:
            self.queries = self.add_weight(shape=(1, 3, 8), name="queries")

        def call(self, x: Any, mask: Any) -> Any:
            scores = ops.where(mask[:, None, :], ops.matmul(self.queries, ops.transpose(x, (0, 2, 1))), -1e9)
            return ops.matmul(ops.softmax(scores), x)

    def attend(_: Any, k: Any, mask: Any) -> Any:
        return layers.Flatten()(Pool(name="attend")(k, mask))

    wrong = check(build(attend, ops.logical_not), {"words": make_ids(LENGTHS)})
    assert [fault.kind for fault in faults_of(wrong)] == ["inverted"]
    assert faults_of(check(build(attend, lambda valid: valid), {"words": make_ids(LENGTHS)})) == ()


def test_calls_with_same_mask_are_one_fault() -> None:
    def attend(q: Any, k: Any, mask: Any) -> Any:
        x = layers.MultiHeadAttention(2, 4, name="first")(q, k, attention_mask=mask)
        return layers.MultiHeadAttention(2, 4, name="second")(x, x, attention_mask=mask)

    report = check(build(attend, lambda valid: valid[:, :, None]), {"words": make_ids(LENGTHS)})
    (fault,) = faults_of(report)
    assert (fault.call, fault.also) == ("first", ("second",))
    assert [finding.code for finding in report.findings if finding.severity == "error"] == ["MSK118"]
    assert "1 further call" in report.findings[0].message


def test_counts_are_exact() -> None:
    report = check(build(SITES["MultiHeadAttention"], WRONG["queries"][1]), {"words": make_ids(LENGTHS)})
    (fault,) = faults_of(report)
    lengths = np.array(LENGTHS)
    assert fault.open_to_padding == (lengths * (T - lengths)).sum()
    assert fault.pairs == (lengths**2).sum()
    assert fault.closed_to_valid == 0
    assert fault.shape == (len(LENGTHS), T, 1)


def test_classes_are_no_keys() -> None:
    """A softmax over as many classes as there are timesteps pairs nothing, also with closed classes."""

    def attend(_: Any, k: Any, __: Any) -> Any:
        scores = layers.Dense(T)(k)
        allowed = ops.convert_to_tensor(np.arange(T) < 4)
        return ops.softmax(ops.where(allowed[None, None], scores, -1e9))

    assert faults_of(check(build(attend, lambda valid: valid), {"words": make_ids(LENGTHS)})) == ()


def add_little(query: Any, key: Any, value: Any, mask: Any) -> Any:
    scores = ops.matmul(query, ops.transpose(key, (0, 2, 1)))
    return ops.matmul(ops.softmax(scores / 3.0 + (1.0 - ops.cast(mask, "float32")) * -1.0), value)


def subtract_little(query: Any, key: Any, value: Any, mask: Any) -> Any:
    scores = ops.matmul(ops.swapaxes(split_heads(query), 1, 2), ops.transpose(split_heads(key), (0, 2, 3, 1)))
    weights = ops.softmax(scores - 5.0 * (1.0 - ops.cast(mask, "float32"))[:, None])
    return join_heads(ops.transpose(ops.matmul(weights, ops.swapaxes(split_heads(value), 1, 2)), (0, 2, 1, 3)))


def multiply(query: Any, key: Any, value: Any, mask: Any) -> Any:
    scores = ops.matmul(query, ops.transpose(key, (0, 2, 1))) * ops.cast(mask, "float32")
    return ops.matmul(ops.softmax(scores), value)


def attend_weakly_in_graph(queries: Any, keys: Any, mask: Any) -> Any:
    return add_little(layers.Dense(8)(queries), layers.Dense(8)(keys), keys, mask)


@pytest.mark.parametrize(
    ("attend", "added"),
    [(own(add_little), -1.0), (own(subtract_little), -5.0), (own(multiply), None), (attend_weakly_in_graph, -1.0)],
)
def test_masks_that_are_too_weak(attend: Callable[..., Any], added: float | None) -> None:
    """The right keys are marked, but a softmax still gives them weight."""
    report = check(build(attend, RIGHT["keys"]), {"words": make_ids(LENGTHS)})
    (fault,) = faults_of(report)
    assert (fault.kind, fault.added, fault.closed_to_valid) == ("too-weak", added, 0)
    assert fault.open_to_padding == sum(length * (T - length) for length in LENGTHS)
    assert [finding.code for finding in report.findings if finding.severity == "error"] == ["MSK118"]
    assert [repair.kind for repair in report.repairs][-1] == "mask-before-softmax"


def test_relative_bias_is_no_mask() -> None:
    """A bias of two values that follows positions, not padding, is no weak mask."""

    def attend(queries: Any, keys: Any, _: Any) -> Any:
        bias = ops.convert_to_tensor(np.where(np.arange(T) < 4, 0.0, -1.0)[None, None].astype("float32"))
        scores = ops.matmul(layers.Dense(8)(queries), ops.transpose(layers.Dense(8)(keys), (0, 2, 1)))
        return ops.matmul(ops.softmax(scores + bias), keys)

    assert faults_of(check(build(attend, RIGHT["keys"]), {"words": make_ids(LENGTHS)})) == ()


class AveragePool(layers.Layer):
    """Averages all timesteps, with an activation before, and ignores its mask."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.inner = layers.Dense(4, activation="tanh")

    def call(self, x: Any, mask: Any = None) -> Any:  # noqa: ARG002 - the fault
        return ops.mean(self.inner(x), axis=1)


@pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")
def test_later_fault_in_own_code_is_named() -> None:
    def attend(queries: Any, keys: Any, mask: Any) -> Any:
        return AveragePool(name="pool")(SITES["bias"](queries, keys, mask[:, :, None]), mask=mask)

    report = check(build(attend, lambda valid: valid), {"words": make_ids(LENGTHS)})
    named = {(finding.code, finding.call) for finding in report.findings if finding.severity == "error"}
    assert named == {("MSK118", "attend/softmax"), ("MSK107", "pool")}
    repaired = {finding.call: finding.repair.call for finding in report.findings if finding.repair is not None}
    assert repaired.get("pool", "pool").startswith("pool")
