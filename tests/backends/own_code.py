"""Models whose code may run otherwise in a compiled function, on any backend."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import keras
import numpy as np
from keras import layers, ops

import maskcli

ROWS = [[1, 2], [7, 8, 9]]
IDS = np.array([[1, 2, 3, 4], [5, 6, 0, 0], [7, 0, 0, 0]], np.int32)


class SmallDoubled(layers.Layer):
    """Doubles small numbers, unless they have no values yet; keeps the mask."""

    def __init__(self) -> None:
        super().__init__()
        self.supports_masking = True

    def call(self, inputs: Any) -> Any:
        try:
            is_small = bool(np.asarray(inputs).max() < 6)
        except Exception:
            return inputs
        return inputs * 2.0 if is_small else inputs


class Tagger(keras.Model):
    """A subclassed model with one layer between its embedding and its mean."""

    def __init__(self, middle: Any) -> None:
        super().__init__()
        self.embedding, self.middle = layers.Embedding(10, 3, mask_zero=True, name="embedding"), middle
        self.pool = layers.GlobalAveragePooling1D(name="pool")

    def call(self, tokens: Any) -> Any:
        return self.pool(self.middle(self.embedding(tokens)))


class OnlyWhenCompiled(Tagger):
    """Multiplies by 2 in a function of ``torch.compile`` only, where the mask is lost, too."""

    def __init__(self) -> None:
        super().__init__(lambda x: x)

    def call(self, tokens: Any) -> Any:
        import torch

        x = self.embedding(tokens)
        return self.pool(x * 2.0 if torch.compiler.is_compiling() else x)


def list_results(report: Any) -> dict[str, Any]:
    """Return the findings about compiled functions, and the probe."""
    probes = report.examination.model.further_probes
    probe = next(probe for probe in probes if probe.name == "compiled")
    findings = [[item.message, item.evidence] for item in report.findings if item.code == "MSK402"]
    return {"findings": findings, "applicable": probe.applicable, "leaks": probe.leaks, "why": probe.why}


def check_row_by_itself() -> dict[str, Any]:
    """Return the results for a model of which only a row by itself differs, and how far it does in plain Keras."""
    model = Tagger(SmallDoubled())
    model(IDS)
    model.embedding.set_weights([np.repeat(np.arange(10.0)[:, None], 3, axis=1)])
    row = np.array([[1, 2]])
    difference = np.abs(np.asarray(model(row)) - model.predict(row, verbose=0)).max()
    return {**list_results(maskcli.check(ROWS, model=model)), "difference": float(difference)}


def check_stopped_gradient(jit_compile: Any) -> dict[str, Any]:
    """Return the results, and how far ``predict`` and the loss of ``fit`` are from those of a call."""
    keras.utils.set_random_seed(2)
    model = Tagger(ops.stop_gradient)
    model.compile("sgd", "mse", jit_compile=jit_compile)
    results = list_results(maskcli.check(IDS, model=model))
    called, targets = np.asarray(model(IDS)), np.zeros((3, 3), "float32")
    predicted = model.predict(IDS, verbose=0)
    loss = model.fit(IDS, targets, verbose=0).history["loss"][0]
    return {
        **results,
        "predict": float(np.abs(called - predicted).max()),
        "fit": abs(float(loss) - float(np.mean(called**2))),
    }


def check_compiled_by_torch(jit_compile: Any) -> dict[str, Any]:
    """Return the results, and how far ``predict`` is from a call."""
    keras.utils.set_random_seed(2)
    model = OnlyWhenCompiled()
    model.compile("sgd", "mse", jit_compile=jit_compile)
    results = list_results(maskcli.check(IDS, model=model))
    difference = np.abs(model(IDS).detach().numpy() - model.predict(IDS, verbose=0)).max()
    return {**results, "predict": float(difference)}


def check_unrolled(is_mended: bool) -> dict[str, Any]:
    """Return the findings for a layer that Keras cannot run on PyTorch, also with the line of Keras mended."""
    from keras.src import backend

    module = importlib.import_module("keras.src.backend.torch.rnn")
    fault, mended = "torch.flip(mask_list, dims=mask_list.shape)", "mask_list[::-1]"
    source, before = inspect.getsource(module.rnn), backend.rnn
    if is_mended:
        exec(source.replace(fault, mended), vars(module))  # noqa: S102 - the code of Keras
        backend.rnn = vars(module)["rnn"]
    try:
        tokens = keras.Input((4,), dtype="int32")
        x = layers.Embedding(10, 3, mask_zero=True)(tokens)
        model = keras.Model(tokens, layers.GRU(3, unroll=True, go_backwards=True)(x))
        report = maskcli.check(IDS, model=model)
    finally:
        backend.rnn = before
    return {
        "has_fault": fault in source,
        "version": keras.__version__,
        "findings": [[item.code, item.message] for item in report.findings],
    }
