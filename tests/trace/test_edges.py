"""The edges between calls, and the masks on them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import maskcli
from maskcli.records.trace import Edge, Inspection
from tests.traps import TRAPS, built
from tests.zoo import RIGHT, Side, variants

pytestmark = pytest.mark.slow(share=1 / 2)

SEQUENCES = [[1, 2, 3, 4], [5, 6]]


def flows(inspection: Inspection) -> list[tuple[str, str, str]]:
    return [(edge.source, edge.target, kind(edge)) for edge in inspection.edges]


def kind(edge: Edge) -> str:
    return edge.argument or ("mask" if edge.mask is not None else "lost" if edge.lost else "")


def embedding(**options: Any) -> Any:
    return layers.Embedding(10, 4, mask_zero=True, name="embedding", **options)


def test_edges_of_builtin_model() -> None:
    assert flows(maskcli.inspect(SEQUENCES, mask_source="explicit")) == [
        ("tokens", "embedding", ""),
        ("embedding", "lstm", ""),
        ("mask", "lstm", "mask"),
        ("lstm", "output", "mask"),
    ]


def test_edges_through_call_that_returns_input() -> None:
    """Dropout returns the very tensor that it receives in inference."""
    ids = keras.Input((None,), name="ids", dtype="int32")
    hidden = embedding()(ids)
    dropped = layers.Dropout(0.5, name="dropout")(hidden)
    model = keras.Model(ids, layers.Add(name="add")([hidden, dropped]))
    edges = flows(maskcli.inspect(SEQUENCES, model=model))
    assert [edge for edge in edges if edge[1] in ("dropout", "add")] == [
        ("embedding", "dropout", "mask"),
        ("embedding", "add", "mask"),
        ("dropout", "add", "mask"),
    ]


def test_edges_of_nested_model() -> None:
    inner_ids = keras.Input((None,), name="ids", dtype="int32")
    encoder = keras.Model(inner_ids, layers.Dense(4, name="dense")(embedding()(inner_ids)), name="encoder")
    ids = keras.Input((None,), name="ids", dtype="int32")
    model = keras.Model(ids, layers.Conv1D(2, 3, padding="same", name="conv")(encoder(ids)))
    edges = flows(maskcli.inspect(SEQUENCES, model=model))
    assert edges == [
        ("ids", "encoder", ""),
        ("ids", "encoder/embedding", ""),
        ("encoder/embedding", "encoder/dense", "mask"),
        ("encoder/dense", "conv", "mask"),
        ("conv", "output", "lost"),
    ]


def test_edges_of_shared_layer() -> None:
    """Each use of a shared layer is a call of its own."""
    first, second = (keras.Input((None,), name=name, dtype="int32") for name in ("first", "second"))
    shared, lstm = embedding(), layers.LSTM(3, name="lstm")
    outputs = [lstm(shared(first)), lstm(shared(second))]
    data = {"first": np.array([[1, 2]]), "second": np.array([[3, 0]])}
    edges = flows(maskcli.inspect(data, model=keras.Model([first, second], outputs)))
    taken = {target: source for source, target, kind_ in edges if kind_ == "mask" and source.startswith("embedding")}
    assert taken.keys() == {"lstm", "lstm#2"}
    assert set(taken.values()) == {"embedding", "embedding#2"}
    assert {source for source, target, _ in edges if target in ("0", "1")} == {"lstm", "lstm#2"}


def test_edges_through_code_between_layers() -> None:
    import tensorflow as tf

    class Coded(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.lstm = embedding(), layers.LSTM(3, return_sequences=True, name="lstm")

        def call(self, ids: Any) -> Any:
            return self.lstm(self.embedding(ids) * 2.0 / 3.0, mask=tf.not_equal(ids, 0))

    edges = flows(maskcli.inspect(SEQUENCES, model=Coded()))
    assert edges[0] == ("tokens", "embedding", "")
    assert ("tokens", "lstm", "mask") in edges
    assert edges[-1] == ("lstm", "output", "mask")
    assert [edge for edge in edges if edge[2] == "lost"]


def test_edges_through_custom_layer() -> None:
    class HandOn(layers.Layer):  # type: ignore[misc]
        supports_masking = True

        def call(self, x: Any) -> Any:
            return keras.ops.copy(x) * 1.0

    ids = keras.Input((None,), name="ids", dtype="int32")
    model = keras.Model(ids, layers.Dense(2, name="dense")(HandOn(name="hand_on")(embedding()(ids))))
    assert flows(maskcli.inspect(SEQUENCES, model=model)) == [
        ("ids", "embedding", ""),
        ("embedding", "hand_on", "mask"),
        ("hand_on", "dense", "mask"),
        ("dense", "output", "mask"),
    ]


@pytest.mark.parametrize("name", [trap.__name__ for trap in TRAPS])
@pytest.mark.filterwarnings("ignore")
def test_edge_laws_on_traps(name: str) -> None:
    trap = built(next(trap for trap in TRAPS if trap.__name__ == name))
    hold_laws(maskcli.inspect(trap.arrays, model=trap.model))


@pytest.mark.slow(share=1 / 3)
@pytest.mark.parametrize(("name", "side", "length"), variants(RIGHT)[::5])
@pytest.mark.filterwarnings("ignore")
def test_edge_laws_on_right_models(name: str, side: Side, length: int | None) -> None:
    animal = RIGHT[name].made(side, length)
    options = {"padding": side} if isinstance(animal.data, list) else {}
    options |= {name: animal.options[name] for name in ("maxlen", "value") if name in animal.options}
    hold_laws(maskcli.inspect(animal.data, model=animal.model, **options))


def hold_laws(inspection: Inspection) -> None:
    calls = {call.call: call for call in inspection.trace}
    inputs, outputs = (
        {model_input.name for model_input in inspection.inputs},
        {output.name for output in inspection.outputs},
    )
    for edge in inspection.edges:
        assert edge.source in (inputs if edge.from_input else calls)
        assert edge.target in (outputs if edge.to_output else calls)
        if not edge.from_input and not edge.to_output:
            assert calls[edge.source].index < calls[edge.target].index, "what flows back"
        if edge.mask is not None and edge.argument is None and not edge.to_output:
            assert any(edge.mask is mask for mask in calls[edge.target].masks_in)
    for name, call in calls.items():
        carried = [mask for mask in call.masks_in if mask is not None]
        arriving = [edge for edge in inspection.edges if edge.target == name and edge.argument is None]
        assert len([edge for edge in arriving if edge.mask is not None]) >= len(carried)
    reached = {edge.target for edge in inspection.edges if edge.to_output}
    assert reached == outputs
    leaves = {name for name, call in calls.items() if not (call.contains or call.computes_mask or call.code)}
    assert leaves <= {edge.source for edge in inspection.edges}, "a layer whose result nobody takes"


def test_edges_of_residual_code_grow_linearly() -> None:
    """Operations in code of one's own that join many results are calls, or each later call has edges from all."""

    class Residual(keras.Model):
        def __init__(self, depth: int) -> None:
            super().__init__()
            self.embedding = layers.Embedding(10, 4, mask_zero=True)
            self.parts = [layers.Dense(4) for _ in range(depth)]

        def call(self, tokens: Any) -> Any:
            x = self.embedding(tokens)
            for part in self.parts:
                x = x + part(x)
            return x

    few, many = (maskcli.inspect(SEQUENCES, model=Residual(depth)) for depth in (10, 40))
    assert len(many.edges) < 4.5 * len(few.edges)
    assert len(many.edges) < 4 * len(many.trace)
    hold_laws(many)
