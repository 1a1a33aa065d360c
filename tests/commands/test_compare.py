"""Two models are equal within rounding, or differ in the parts, and from the call, in which they were changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import keras
import numpy as np
import pytest
from keras import layers

import maskcli
from maskcli.conclusions.pairing import pair_side_calls
from maskcli.errors import UsageError
from maskcli.records.comparison import SideDifference
from maskcli.records.sides import SideCall
from tests.conftest import Output

IDS = np.array([[1, 2, 3, 4], [5, 6, 0, 0]])
Call = Callable[..., Output]


def make_model(*, scale: bool = False, units: int = 3, name: str = "pool", seed: int = 1) -> Any:
    keras.utils.set_random_seed(seed)
    tokens = keras.Input((4,), dtype="int32", name="tokens")
    x = layers.Embedding(10, 3, mask_zero=True, name="embedding")(tokens)
    x = layers.Dense(units, name="dense")(x)
    if scale:
        x = x * 1.0
    model = keras.Model(tokens, layers.GlobalAveragePooling1D(name=name)(x))
    model.compile(loss="mse")
    return model


def read(weight: Any) -> np.ndarray:
    return np.asarray(weight.value).copy()


def compare(first: Any, second: Any, **options: Any) -> SideDifference:
    (difference,) = maskcli.compare(IDS, models=[first, second], quick=True, **options).differences
    return difference


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # Of Keras and NumPy, while it saves.
def test_saved_model_is_equal(call: Call, tmp_path: Path) -> None:
    make_model().save(tmp_path / "a.keras")
    make_model(name="mean").save(tmp_path / "b.keras")
    output = call("compare", "a.keras", "b.keras", "-", "--quick", stdin="[[1, 2, 3, 4], [5, 6]]")
    assert output.exit_status == 0, output
    assert "equal: masks, outputs, leaks and losses agree" in output
    assert "b.keras equals a.keras, within rounding." in output


def test_rounding_of_weights_is_no_difference() -> None:
    """The weights differ by a unit in the last place, and the outputs only by rounding."""
    first, second = make_model(), make_model()
    for weight in second.weights:
        weight.assign(np.nextafter(read(weight), np.float32(9)))
    difference = compare(first, second)
    assert difference.parts == ("weights",)
    assert difference.outputs[0].max_abs_change
    second.weights[1].assign(read(second.weights[1]) + np.float32(1e-4))
    assert compare(first, second).parts == ("weights", "outputs")


def test_lost_mask_is_found_at_its_call() -> None:
    difference = compare(make_model(), make_model(scale=True), targets=np.ones((2, 3)))
    assert difference.parts == ("calls", "masks", "outputs", "leaks", "losses")
    assert difference.first_call is not None
    assert (difference.first_call.type, difference.first_call.differs) == ("Multiply", "missing")
    assert difference.first_result == "pool"
    assert difference.cause is not None
    assert difference.cause.kind == "other-calls"
    assert len(difference.only_in_other) == 1


def test_other_weights_are_copied() -> None:
    first, second = make_model(), make_model(seed=2)
    assert compare(first, second).parts == ("weights", "outputs")
    assert [weight.weight for weight in compare(first, second).weights] == ["embedding/embeddings", "dense/kernel"]
    assert compare(first, second, copy_weights=True).equal


def test_other_shape_is_named() -> None:
    difference = compare(make_model(), make_model(units=5))
    assert difference.first_call is not None
    assert (difference.first_call.call, difference.first_call.differs) == ("dense", "shape")
    assert difference.outputs[0].shapes == ((2, 3), (2, 5))
    assert difference.weights[0].shapes == ((3, 3), (3, 5))


def test_model_that_raises_on_one_side() -> None:
    class Failing(layers.Layer):
        def call(self, x: Any) -> Any:
            if hasattr(x, "numpy"):  # Not while the model is built.
                raise ValueError("no such luck")
            return x

    tokens = keras.Input((4,), dtype="int32")
    failing = keras.Model(tokens, Failing(name="failing")(layers.Embedding(10, 3)(tokens)))
    difference = compare(make_model(), failing)
    assert difference.parts == ("errors",)
    assert difference.first_call is not None
    assert difference.first_call.call == "failing"
    assert difference.cause is not None
    assert "ValueError: no such luck" in difference.cause.text


def test_models_stay_as_they_are() -> None:
    first, second = make_model(), make_model(seed=2)
    before = [read(weight) for model in (first, second) for weight in model.weights]
    compare(first, second)
    after = [read(weight) for model in (first, second) for weight in model.weights]
    assert all(map(np.array_equal, before, after))


def test_document_of_builtin_models(call: Call) -> None:
    output = call("compare", "embedding_lstm", "embedding-dense", "--sample", "--quick", "-f", "json")
    assert output.exit_status == 1
    document = output.json
    jsonschema.validate(document, json.loads(call("compare", "--json-schema")))
    assert [side["name"] for side in document["sides"]] == ["embedding-lstm", "embedding-dense"]
    assert document["findings"] == []
    assert [call["type"] for call in document["calls"]] == ["Embedding", "LSTM", "Dense"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("a.keras", "two models, or --backends with --model; received one argument"),
        ("--model a.keras", "received --model without --backends"),
        ("--backends tensorflow --sample", "at least two of tensorflow"),
        ("--backends tensorflow,openvino --sample", "received 'openvino'"),
        ("--backends tensorflow,jax --backend jax --sample", "--backend: expected one of"),
        ("embedding-lstm embedding-dense --weights w.weights.h5 --sample", "--weights: expected a model of your own"),
    ],
)
def test_wrong_usage(call: Call, arguments: str, message: str) -> None:
    output = call("compare", *arguments.split())
    assert (output.exit_status, output) == (2, "")
    assert message in " ".join(output.stderr.split())


def test_neither_models_nor_backends() -> None:
    with pytest.raises(UsageError, match="two models, or several backends"):
        maskcli.compare(IDS)


# Pairs of calls.


def make_calls(*names: str) -> list[SideCall]:
    """Return calls named ``path:Type``."""
    parts = [name.split(":") for name in names]
    return [SideCall(path, kind, "none", None, None, None, (), (), False, (), {}) for path, kind in parts]


@pytest.mark.parametrize(
    ("first", "other", "expected"),
    [
        ("a:A b:B", "a:A b:B", "a=a b=b"),
        ("dense_1:D dense_2:D", "dense_7:D dense_8:D", "dense_1=dense_7 dense_2=dense_8"),
        ("a:A b:B c:C", "a:A c:C", "a=a b=- c=c"),
        ("a:A c:C", "a:A b:B c:C", "a=a -=b c=c"),
        ("x:A b:B", "y:A b:B", "x=y b=b"),
        ("a:A b:B", "b:B a:A", "a=a b=b"),
        ("m/a:A m/b:B", "m_3/a:A m_3/b:B", "m/a=m_3/a m/b=m_3/b"),
    ],
)
def test_pairs_of_calls(first: str, other: str, expected: str) -> None:
    pairs = pair_side_calls(make_calls(*first.split()), make_calls(*other.split()))
    texts = [f"{'-' if a is None else a.call}={'-' if b is None else b.call}" for a, b in pairs]
    assert sorted(texts) == sorted(expected.split())
