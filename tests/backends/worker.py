"""A process that runs on the backend of its environment and answers questions: a line of JSON in, a line of JSON out.

Keras has one backend for each process, so that a test that runs on TensorFlow asks another process about another backend.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

import maskcli
from tests.backends import cases, models
from tests.backends.copies import refuse_hidden_copies
from tests.backends.sides import examine_kind
from tests.differential import models as random_models


def check_model(name: str) -> dict[str, Any]:
    """Return the document of a check of one of the models that differ between backends."""
    model, data = getattr(models, name)()
    return json.loads(maskcli.check(data, model=model).to_json())


def print_check(name: str) -> str:
    """Return the table of a check, with all details."""
    model, data = getattr(models, name)()
    return str(maskcli.check(data, model=model))


def inspect_model(name: str) -> dict[str, Any]:
    """Return the document of an inspection."""
    model, data = getattr(models, name)()
    return json.loads(maskcli.inspect(data, model=model).to_json())


def measure_loss(name: str) -> dict[str, Any]:
    """Return the document of a loss, and the loss that ``evaluate`` reports."""
    model, data, targets = getattr(models, name)()
    report = maskcli.loss(data, model=model, targets=targets, batch_sizes=[2, 3])
    reported = model.evaluate(data, targets, verbose=0, return_dict=True)
    return {"loss": json.loads(report.to_json()), "evaluate": {key: float(value) for key, value in reported.items()}}


def differentiate(name: str) -> dict[str, Any]:
    """Return the change by the gradient probe, and the same derivative by finite differences of the embedding."""
    model, data = getattr(models, name)()
    report = maskcli.check(data, model=model)
    leak = report.examination.model.leak
    gradient = next(probe for probe in leak.probes if probe.name == "gradient")
    return {"leaks": gradient.leaks, "change": gradient.max_abs_change, "title": keras.backend.backend()}


def compare_state(name: str) -> bool:
    """Return whether a check leaves the weights, states and seeds of a model as they were."""
    model, data = getattr(models, name)()
    model(data)
    before = [np.asarray(variable) for variable in model.variables]
    keras.utils.set_random_seed(3)
    expected = np.asarray(keras.random.normal((3,)))
    keras.utils.set_random_seed(3)
    maskcli.check(data, model=model)
    drawn = np.asarray(keras.random.normal((3,)))
    after = [np.asarray(variable) for variable in model.variables]
    return np.array_equal(expected, drawn) and all(map(np.array_equal, before, after))


def train(name: str, with_data: bool) -> dict[str, Any]:
    """Return the losses of two epochs with and without a ``MaskCheck``, and the codes that it reports."""
    histories, report = [], None
    for is_checked in (False, True):
        keras.utils.set_random_seed(1)
        model, data, targets = getattr(models, name)()
        model.compile("adam", "sparse_categorical_crossentropy")
        check = maskcli.MaskCheck(data=(data, targets) if with_data else None)
        callbacks = [check] if is_checked else []
        history = model.fit(data, targets, batch_size=2, epochs=2, verbose=0, callbacks=callbacks, shuffle=False)
        histories.append(history.history["loss"])
        report = check.report
    assert report is not None
    return {"histories": histories, "passed": report.passed, "rows": report.examination.model.rows[1]}


def answer_case(text: str, weights: str) -> dict[str, Any]:
    """Return the verdict about a random model with weights from a file, and write its outputs into the file."""
    return cases.answer_case(random_models.from_json(text), Path(weights))


QUESTIONS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        check_model,
        print_check,
        inspect_model,
        measure_loss,
        differentiate,
        compare_state,
        answer_case,
        train,
        examine_kind,
    )
}


def main() -> None:
    """Answer until standard input ends."""
    if keras.backend.backend() == "torch":
        refuse_hidden_copies()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                answer = {"answer": QUESTIONS[name](*arguments)}
            except Exception as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(f"{json.dumps(answer, default=str)}\n")
        answers.flush()


if __name__ == "__main__":
    main()
