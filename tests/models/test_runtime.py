"""TensorFlow is loaded quietly, and its exceptions become one message."""

from __future__ import annotations

import os

import pytest

from maskcli.errors import InputError, ModelError
from maskcli.models.runtime import load_keras, quiet_stderr, read_versions, running


def test_quiet_stderr_discards_descriptor_2(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet_stderr():
        os.write(2, b"from C++\n")
        with open(2, "w", closefd=False) as stderr:
            stderr.write("from Python\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def test_quiet_stderr_ends_after_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), quiet_stderr():
        os.write(2, b"lost\n")
        raise KeyError
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def test_running_shortens_keras_error() -> None:
    message = "\x1b[1mException encountered when calling LSTM.call().\n\n\x1b[1mno such\n  shape\x1b[0m\n\nArguments received by LSTM.call():\n x"
    with pytest.raises(ModelError) as raised, running("--model x"):
        raise ValueError(message)
    assert str(raised.value).splitlines()[0] == (
        "--model x: expected a model that Keras builds and runs; received ValueError: no such shape."
    )
    assert isinstance(raised.value.__cause__, ValueError)


def test_running_keeps_maskcli_error() -> None:
    with pytest.raises(InputError), running("--model x"):
        raise InputError(expected="a", received="b", fix="c")


def test_load_keras_with_wrong_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    keras = load_keras()
    monkeypatch.setattr(keras.backend, "backend", lambda: "openvino")
    with pytest.raises(ModelError, match="expected tensorflow, jax or torch; received openvino"):
        load_keras()


def test_read_versions_of_installed_packages() -> None:
    import numpy as np

    assert read_versions()["numpy"] == np.__version__
    assert list(read_versions()) == ["keras", "tensorflow", "numpy"]
