"""Code of PyTorch between an embedding and a pooling: operations in place, and functions of ``torch.nn.functional``."""

from __future__ import annotations

import linecache
from typing import Any

import keras
import numpy as np
import torch
from keras import layers
from torch.nn import functional

import maskcli

ROWS = [[1, 2, 3, 4], [5, 6], [7]]


def add_to_itself(x: Any) -> Any:
    x += 1
    return x


def add_by_method(x: Any) -> Any:
    x.add_(1)
    return x


def add_itself(x: Any) -> Any:
    return x.add_(x)


def assign_first(x: Any) -> Any:
    x[:, 0] = 0.0
    return x


def assign_negative(x: Any) -> Any:
    x[x < 0] = 0.0
    return x


def double_part(x: Any) -> Any:
    first = x[:, :1]
    first *= 2.0
    return x


def relu_in_place(x: Any) -> Any:
    return functional.leaky_relu(x, 0.1, True)


def clear_padding(x: Any) -> Any:
    return x.masked_fill_(~x._keras_mask[..., None], 0.0)


def write_and_mask(x: Any) -> Any:
    y = torch.empty_like(x)
    torch.add(x, 1.0, out=y)
    y._keras_mask = x._keras_mask
    return y


def attend_with_mask(x: Any) -> Any:
    y = functional.scaled_dot_product_attention(x, x, x, attn_mask=x._keras_mask[:, None, :])
    y._keras_mask = x._keras_mask
    return y


RIGHT = (
    add_to_itself,
    add_by_method,
    add_itself,
    assign_first,
    assign_negative,
    double_part,
    relu_in_place,
    clear_padding,
    write_and_mask,
    attend_with_mask,
)


def add_to_copy(x: Any) -> Any:
    x = x.clone()  # here
    x += 1
    return x


def copy_into_new(x: Any) -> Any:
    y = torch.empty_like(x)
    y.copy_(x)  # here
    return y


def write_into_new(x: Any) -> Any:
    y = torch.empty_like(x)
    torch.add(x, 1.0, out=y)  # here
    return y


def assign_into_new(x: Any) -> Any:
    y = torch.zeros_like(x)
    y[:, :-1] = x[:, 1:]  # here
    return y


def assign_mean(x: Any) -> Any:
    x[:, 0] = x.mean(1)  # here
    return x


def add_mean_to_part(x: Any) -> Any:
    first = x[:, :1]
    first += x.mean(1, keepdim=True)  # here
    return x


def gelu(x: Any) -> Any:
    return functional.gelu(x)  # here


def relu(x: Any) -> Any:
    return functional.relu(x)  # here


def normalize(x: Any) -> Any:
    return functional.layer_norm(x, (4,))  # here


def soften(x: Any) -> Any:
    return functional.softmax(x, dim=-1)  # here


def attend(x: Any) -> Any:
    y = functional.scaled_dot_product_attention(x, x, x)  # here
    y._keras_mask = x._keras_mask
    return y


WRONG = {
    add_to_copy: "Identity",
    copy_into_new: "Identity",
    write_into_new: "AddV2",
    assign_into_new: "StridedSlice",
    assign_mean: "Mean",
    add_mean_to_part: "Mean",
    gelu: "Gelu",
    relu: "Relu",
    normalize: "LayerNorm",
    soften: "Softmax",
    attend: "ScaledDotProductAttention",
}
"""By function, the type of the call that is the culprit, at the line with the comment ``here``."""


def make_model(name: str) -> Any:
    """Return a model with one of the functions in its code."""
    change = globals()[name]
    keras.utils.set_random_seed(2)

    class Model(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = layers.Embedding(10, 4, mask_zero=True)
            self.pool = layers.GlobalAveragePooling1D(name="pool")

        def call(self, tokens: Any) -> Any:
            return self.pool(change(self.embedding(tokens)))

    return Model()


def check(name: str) -> dict[str, Any]:
    """Return the verdict on a model, and how far rows differ without their padding in plain Keras."""
    model = make_model(name)
    batch = np.zeros((3, 4), np.int32)
    for index, row in enumerate(ROWS):
        batch[index, : len(row)] = row
    with torch.no_grad():
        padded = np.asarray(model(batch))
        alone = np.concatenate([np.asarray(model(np.array([row]))) for row in ROWS])
    report = maskcli.check(batch, model=model)
    findings = [
        [item.code, item.type, linecache.getline(item.location.file, item.location.line).strip().endswith("# here")]
        for item in report.findings
        if item.location is not None
    ]
    evidence = report.examination.model
    assert evidence is not None
    assert evidence.leak is not None
    expected = next((type_ for function, type_ in WRONG.items() if function.__name__ == name), None)
    return {
        "difference": float(np.abs(padded - alone).max()),
        "verdict": evidence.leak.verdict,
        "findings": findings,
        "expected": expected,
    }


def compare_records() -> list[float]:
    """Return the largest numbers that an inspection shows for an embedding, and for an addition to it in place."""
    model = make_model("add_to_itself")
    model(np.array([[1, 2]]))
    model.embedding.set_weights([np.full((10, 4), 0.25)])
    before, after = [], []

    def look(entry: Any, tensors: list[Any]) -> None:
        (after if entry.type == "AddV2" else before).append((entry, tensors))

    from maskcli.trace.recorder import record_run

    record_run(model, np.array([[1, 2, 0]]), alter=look)
    (embedded,) = [entry for entry, _ in before if entry.type == "Embedding"]
    ((added, _),) = after
    return [float(tensor.max()) for tensor in (*embedded.outputs, *added.inputs, *added.outputs)]
