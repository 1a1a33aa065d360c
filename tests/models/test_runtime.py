"""TensorFlow is loaded quietly, and what it raises becomes one message."""

from __future__ import annotations

import os

import pytest

from maskcli.errors import InputError, ModelError
from maskcli.models.runtime import load_keras, quiet_stderr, read_versions, running


def test_everything_written_to_descriptor_2_is_held_back(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet_stderr():
        os.write(2, b"from C++\n")
        with open(2, "w", closefd=False) as stderr:
            stderr.write("from Python\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def test_standard_error_comes_back_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), quiet_stderr():
        os.write(2, b"lost\n")
        raise KeyError
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def test_errors_of_keras_become_one_line() -> None:
    said = "\x1b[1mException encountered when calling LSTM.call().\n\n\x1b[1mno such\n  shape\x1b[0m\n\nArguments received by LSTM.call():\n x"
    with pytest.raises(ModelError) as raised, running("--model x"):
        raise ValueError(said)
    assert str(raised.value).splitlines()[0] == (
        "--model x: expected a model that Keras builds and runs; received ValueError: no such shape."
    )
    assert isinstance(raised.value.__cause__, ValueError)


def test_errors_of_maskcli_stay_what_they_are() -> None:
    with pytest.raises(InputError), running("--model x"):
        raise InputError(expected="a", received="b", fix="c")


def test_another_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    keras = load_keras()
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ModelError, match="expected the tensorflow backend; received jax"):
        load_keras()


def test_versions_are_those_installed() -> None:
    import numpy as np

    assert read_versions()["numpy"] == np.__version__
    assert list(read_versions()) == ["keras", "tensorflow", "numpy"]
