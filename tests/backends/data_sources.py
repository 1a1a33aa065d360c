"""The data of ``fit``, of several libraries, with the model and the memory that it takes."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import layers

import maskcli
from maskcli.errors import MaskcliError
from maskcli.sequences.bounds import set_memory_bound

PADDED = np.array([[1, 2, 3, 4], [5, 6, 0, 0], [7, 8, 9, 0], [4, 0, 0, 0]], "int32")
TARGETS = np.arange(16, dtype="float32").reshape(4, 4, 1)
WEIGHTS = np.linspace(0.5, 2.0, 16, dtype="float32").reshape(4, 4)


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Two batches."""

    def __init__(self, with_weights: bool) -> None:
        super().__init__()
        self.parts = list_parts(with_weights)

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return tuple(part[2 * index : 2 * index + 2] for part in self.parts)


def list_parts(with_weights: bool) -> list[Any]:
    return [PADDED, TARGETS, WEIGHTS] if with_weights else [PADDED, TARGETS]


def generate(with_weights: bool) -> Iterator[tuple[Any, ...]]:
    batches = Batches(with_weights)
    while True:
        yield from (batches[index] for index in range(2))


def make_loader(with_weights: bool) -> Any:
    import torch

    tensors = [torch.as_tensor(part) for part in list_parts(with_weights)]
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*tensors), batch_size=2)


def make_tensorflow_dataset(with_weights: bool) -> Any:
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(tuple(list_parts(with_weights))).batch(2)


SOURCES = {
    "arrays": lambda with_weights: tuple(list_parts(with_weights)),
    "generator": generate,
    "loader": make_loader,
    "py_dataset": Batches,
    "tensorflow": make_tensorflow_dataset,
}


def make_model(leaks: bool = True) -> Any:
    keras.utils.set_random_seed(0)
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = layers.Embedding(10, 4, mask_zero=True)(tokens)
    model = keras.Model(tokens, layers.Dense(1)(x * 2.0 if leaks else x))
    model.compile("sgd", "mse")
    return model


def check_source(name: str, with_weights: bool) -> dict[str, Any]:
    """Return the findings of a check of all data of a source."""
    report = maskcli.check(SOURCES[name](with_weights), model=make_model())
    evidence = report.examination.model
    assert evidence is not None
    return {
        "codes": sorted(finding.code for finding in report.findings),
        "rows": list(evidence.rows),
        "libraries": [library for library in ("tensorflow", "torch") if library in sys.modules],
    }


def train_on_source(name: str, with_weights: bool) -> dict[str, Any]:
    """Return the weights after a training with and without a ``MaskCheck``, and its findings."""
    weights, report = [], None
    for is_checked in (False, True):
        model, check = make_model(), maskcli.MaskCheck()
        data = SOURCES[name](with_weights)
        options: dict[str, Any] = {"steps_per_epoch": 2} if name == "generator" else {}
        if isinstance(data, tuple):
            names = ("x", "y", "sample_weight")
            options, data = {**dict(zip(names[1:], data[1:], strict=False)), "batch_size": 2, "shuffle": False}, data[0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", maskcli.MaskCheckWarning)
            model.fit(data, epochs=2, verbose=0, callbacks=[check] if is_checked else [], **options)
        weights.append([np.asarray(keras.ops.convert_to_numpy(weight)) for weight in model.weights])
        report = check.report
    assert report is not None
    evidence = report.examination.model
    assert evidence is not None
    return {
        "codes": sorted(finding.code for finding in report.findings),
        "rows": list(evidence.rows),
        "is_same": all(map(np.array_equal, *weights)),
    }


def measure_memory(part: str, bound: int) -> str:
    """Return the error of a model or a run that is larger than a bound; empty without an error."""
    set_memory_bound(bound)
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    try:
        if part == "weights":

            class Later(keras.Model):
                def __init__(self) -> None:
                    super().__init__()
                    self.embedding = layers.Embedding(20_000, 16)

                def call(self, ids: Any) -> Any:
                    return self.embedding(ids)

            maskcli.inspect(PADDED, model=Later())
        elif part == "result":
            x = layers.Embedding(10, 4, mask_zero=True)(tokens)
            pooled = layers.RepeatVector(20_000, name="repeat")(layers.GlobalAveragePooling1D()(x))
            maskcli.inspect(PADDED, model=keras.Model(tokens, pooled))
        else:
            x = layers.LSTM(2, name="lstm")(layers.Embedding(10, 4, mask_zero=True)(tokens))
            maskcli.inspect(np.ones((1, 30_000), "int32"), model=keras.Model(tokens, x))
    except MaskcliError as error:
        return str(error)
    finally:
        set_memory_bound(None)
    return ""
