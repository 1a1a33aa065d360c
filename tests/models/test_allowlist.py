"""No false refusal: the guard lets all models load that Keras saves and loads without running code."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from maskcli.models.allowlist import CODE_LAYERS, is_allowed, resolve
from maskcli.models.guard import find_unknown_objects
from maskcli.models.load import load
from tests.zoo import RIGHT, WRONG, Side, variants

Build = Callable[[], Any]
STEPS, IMAGE, VIDEO = (6, 4), (8, 8, 3), (4, 8, 8, 3)
WORDS = ["the", "cat", "sat"]
ABSTRACT = {"Layer", "Wrapper", "RNN", "InputLayer", "Operation", *CODE_LAYERS}


def exported_classes(module: Any, bases: tuple[type, ...]) -> dict[str, type]:
    """Return the classes that a namespace exports, each under its main name only."""
    classes = {name: value for name, value in vars(module).items() if isinstance(value, type)}
    return {name: value for name, value in classes.items() if issubclass(value, bases) and value.__name__ == name}


def model_with_input(layer: Any, shape: tuple[int | None, ...], dtype: str = "float32") -> Any:
    inputs = keras.Input(shape, dtype=dtype)
    return keras.Model(inputs, layer(inputs))


def model_with_two_inputs(layer: Any, shape: tuple[int | None, ...] = STEPS) -> Any:
    inputs = [keras.Input(shape), keras.Input(shape)]
    return keras.Model(inputs, layer(inputs))


def attention(layer: Any) -> Any:
    inputs = [keras.Input(STEPS), keras.Input(STEPS)]
    return keras.Model(inputs, layer(*inputs))


def cell(kind: type) -> Build:
    return lambda: model_with_input(layers.RNN([kind(3), kind(2)], return_sequences=True), STEPS)


SHAPES: dict[str, tuple[int | None, ...]] = {"1D": STEPS, "2D": IMAGE, "3D": VIDEO}
CONVOLUTIONS = ("Conv", "DepthwiseConv", "SeparableConv")
MERGING = ("Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract", "Concatenate", "Dot")
BY_HAND: dict[str, Build] = {
    "Activation": lambda: model_with_input(layers.Activation("relu"), STEPS),
    "AdditiveAttention": lambda: model_with_two_inputs(layers.AdditiveAttention()),
    "Attention": lambda: model_with_two_inputs(layers.Attention()),
    "Bidirectional": lambda: model_with_input(layers.Bidirectional(layers.LSTM(3), merge_mode="ave"), STEPS),
    "CategoryEncoding": lambda: model_with_input(layers.CategoryEncoding(num_tokens=4), (3,), "int32"),
    "CenterCrop": lambda: model_with_input(layers.CenterCrop(4, 4), IMAGE),
    "Dense": lambda: model_with_input(
        layers.Dense(2, "gelu", kernel_regularizer="l1l2", bias_constraint="max_norm", kernel_initializer="he_normal"),
        STEPS,
    ),
    "Discretization": lambda: model_with_input(layers.Discretization([0.0, 1.0]), (3,)),
    "Dot": lambda: model_with_two_inputs(layers.Dot(axes=(2, 2))),
    "Dropout": lambda: model_with_input(layers.Dropout(0.2, seed=3), STEPS),
    "Equalization": lambda: keras.Sequential([layers.Equalization()]),
    "EinsumDense": lambda: model_with_input(
        layers.EinsumDense("abc,cd->abd", output_shape=(None, 5), bias_axes="d"), STEPS
    ),
    "Embedding": lambda: model_with_input(layers.Embedding(9, 4, mask_zero=True), (None,), "int32"),
    "GRUCell": cell(layers.GRUCell),
    "GroupNormalization": lambda: model_with_input(layers.GroupNormalization(2), STEPS),
    "GroupQueryAttention": lambda: attention(layers.GroupQueryAttention(4, 4, 2)),
    "HashedCrossing": lambda: model_with_two_inputs(layers.HashedCrossing(5), (1,)),
    "Hashing": lambda: model_with_input(layers.Hashing(5), (3,), "int32"),
    "IntegerLookup": lambda: model_with_input(layers.IntegerLookup(vocabulary=[3, 5, 7]), (3,), "int64"),
    "LSTMCell": cell(layers.LSTMCell),
    "Lambda": lambda: model_with_input(layers.Lambda(keras.activations.relu), STEPS),
    "Masking": lambda: model_with_input(layers.Masking(-1.0), STEPS),
    "MelSpectrogram": lambda: model_with_input(layers.MelSpectrogram(fft_length=64, sequence_stride=16), (256,)),
    "MultiHeadAttention": lambda: attention(layers.MultiHeadAttention(2, 3)),
    "Normalization": lambda: model_with_input(layers.Normalization(mean=1.0, variance=2.0), STEPS),
    "Permute": lambda: model_with_input(layers.Permute((2, 1)), STEPS),
    "Pipeline": lambda: model_with_input(layers.Pipeline([layers.Rescaling(0.5)]), IMAGE),
    "MaxNumBoundingBoxes": lambda: model_with_input(layers.MaxNumBoundingBoxes(3), IMAGE),
    "RandomPosterization": lambda: model_with_input(layers.RandomPosterization(4), IMAGE),
    "RandomCrop": lambda: model_with_input(layers.RandomCrop(4, 4, seed=1), IMAGE),
    "RepeatVector": lambda: model_with_input(layers.RepeatVector(3), (4,)),
    "Rescaling": lambda: model_with_input(layers.Rescaling(1 / 255), IMAGE),
    "Reshape": lambda: model_with_input(layers.Reshape((4, 6)), STEPS),
    "Resizing": lambda: model_with_input(layers.Resizing(4, 4), IMAGE),
    "ReversibleEmbedding": lambda: model_with_input(layers.ReversibleEmbedding(9, 4), (None,), "int32"),
    "STFTSpectrogram": lambda: model_with_input(
        layers.STFTSpectrogram(frame_length=32, frame_step=16, fft_length=32), (256, 1)
    ),
    "SimpleRNNCell": cell(layers.SimpleRNNCell),
    "SpectralNormalization": lambda: model_with_input(layers.SpectralNormalization(layers.Dense(2)), STEPS),
    "StackedRNNCells": lambda: model_with_input(
        layers.RNN(layers.StackedRNNCells([layers.LSTMCell(2), layers.GRUCell(2)])), STEPS
    ),
    "StringLookup": lambda: model_with_input(layers.StringLookup(vocabulary=WORDS), (3,), "string"),
    "TextVectorization": lambda: model_with_input(layers.TextVectorization(vocabulary=WORDS), (1,), "string"),
    "TimeDistributed": lambda: model_with_input(layers.TimeDistributed(layers.Dense(2)), STEPS),
}
"""Models with layers that need special arguments or inputs."""
ARGUMENTS = {"factor": 0.2, "height_factor": 0.2, "width_factor": 0.2, "rate": 0.3, "stddev": 0.3}
"""Values of required arguments; all others are 2."""


def make_layer(name: str) -> Any:
    """Make a layer with common arguments."""
    layer = getattr(layers, name)
    if name.startswith(CONVOLUTIONS) and not name.startswith("ConvLSTM"):
        arguments = (3,) if name.startswith("Depthwise") else (2, 3)
        return layer(*arguments, padding="same", activation="relu")
    required = [
        parameter.name
        for parameter in inspect.signature(layer).parameters.values()
        if parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    return layer(**{argument: ARGUMENTS.get(argument, 2) for argument in required})


def make_model(name: str) -> Any:
    """Build a model with a single layer."""
    if name in BY_HAND:
        return BY_HAND[name]()
    layer = make_layer(name)
    if name in MERGING:
        return model_with_two_inputs(layer)
    if name.startswith("ConvLSTM"):
        return model_with_input(layer, (3, *SHAPES[name[-2:]]))
    is_of_images = type(layer).__module__.startswith("keras.src.layers.preprocessing")
    return model_with_input(layer, IMAGE if is_of_images else SHAPES.get(name.removesuffix("Transpose")[-2:], STEPS))


def save(model: Any, name: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras calls .h5 legacy.
        model.save(name)
    return name


def loads_in_keras(name: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            keras.models.load_model(name)
    except Exception:
        return False
    return True


def assert_loads(model: Any, suffix: str) -> None:
    """Check that maskcli loads a model if Keras saves and loads it."""
    try:
        save(model, f"model{suffix}")
    except Exception as error:
        assert "pickle" in str(error)
        return
    if loads_in_keras(f"model{suffix}"):
        assert classes(load(f"model{suffix}").keras_model) == classes(model)


def classes(model: Any) -> list[type]:
    return [type(layer) for layer in model._flatten_layers()]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow(share=1 / 2)
@pytest.mark.parametrize("name", sorted(exported_classes(layers, (layers.Layer,)).keys() - ABSTRACT))
def test_load_layer_of_keras(name: str) -> None:
    try:
        model = make_model(name)
    except ImportError as error:
        pytest.skip(f"the layer needs another package: {error}")
    for layer in model.layers:
        assert find_unknown_objects(keras.saving.serialize_keras_object(layer), ()) == []
    for suffix in (".keras", ".h5"):
        assert_loads(model, suffix)


@pytest.mark.parametrize("name", sorted(CODE_LAYERS))
def test_is_allowed_refuses_code_layer(name: str) -> None:
    assert not is_allowed(f"keras.layers.{name}", is_function=False)


SETTINGS = {
    "PiecewiseConstantDecay": ([1], [0.1, 0.2]),
    "PolynomialDecay": (0.1, 10),
    "CosineDecay": (0.1, 10),
    "CosineDecayRestarts": (0.1, 10),
    "ExponentialDecay": (0.1, 10, 0.9),
    "InverseTimeDecay": (0.1, 10, 0.9),
    "LossScaleOptimizer": (keras.optimizers.Adam(),),
    "IoU": (3, [0]),
    "BinaryIoU": ([0],),
    "MeanIoU": (3,),
    "OneHotIoU": (3, [0]),
    "OneHotMeanIoU": (3,),
    "PrecisionAtRecall": (0.5,),
    "RecallAtPrecision": (0.5,),
    "SensitivityAtSpecificity": (0.5,),
    "SpecificityAtSensitivity": (0.5,),
    "MeanMetricWrapper": (keras.losses.mean_squared_error,),
    "STFTInitializer": ("real",),
    "STFT": ("real", None),
}
NAMESPACES = ("initializers", "regularizers", "constraints", "losses", "metrics", "optimizers", "optimizers.schedules")
BASES = {"Initializer", "Regularizer", "Constraint", "Loss", "Metric", "Optimizer", "LearningRateSchedule"}
EXPORTED = [
    f"{namespace}.{name}"
    for namespace in NAMESPACES
    for name in sorted(exported_classes(sys.modules[f"keras.{namespace}"], (object,)).keys() - BASES)
    if name not in ("MultiOptimizer", "OptimizerMap")
]


@pytest.mark.parametrize("path", EXPORTED)
def test_find_unknown_objects_knows_compile_parts(path: str) -> None:
    name = path.rpartition(".")[2]
    value = resolve(f"keras.{path}")(*SETTINGS.get(name, ()))
    assert find_unknown_objects(keras.saving.serialize_keras_object(value), ()) == []


@pytest.mark.parametrize("name", ["relu", "gelu", "softmax", "sparsemax", "linear"])
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_load_activation_by_all_its_names(name: str, suffix: str) -> None:
    functions = [name, getattr(keras.activations, name), getattr(keras.ops, name, name)]
    if name in ("relu", "gelu"):  # TensorFlow names its softmax softmax_v2, which Keras does not find again.
        functions.append(getattr(tf.nn, name))
    model = keras.Sequential([keras.Input((3,)), *(layers.Dense(3, activation=function) for function in functions)])
    assert_loads(model, suffix)


def test_load_lambda_of_activation_alias() -> None:
    model = keras.Sequential([keras.Input((3,)), layers.Lambda(keras.ops.relu), layers.Lambda(keras.ops.nn.silu)])
    assert loads_in_keras(save(model, "model.keras"))
    assert classes(load("model.keras").keras_model) == classes(model)


def test_is_allowed_refuses_class_of_user_in_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "Mine", type("Mine", (layers.Layer,), {}), raising=False)
    assert not is_allowed("keras.layers.Mine", is_function=False)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float64", "int8_from_float32", "float8_from_float32"])
def test_load_dtype_policy(policy: str) -> None:
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, dtype=policy)])
    assert loads_in_keras(save(model, "model.keras"))
    assert classes(load("model.keras").keras_model) == classes(model)


@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_load_quantized_model(mode: str) -> None:
    model = keras.Sequential([keras.Input((4,)), layers.Dense(6), layers.Dense(4)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # An InputLayer cannot be quantized.
        model.quantize(mode)
    assert loads_in_keras(save(model, "model.keras"))
    assert classes(load("model.keras").keras_model) == classes(model)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("loss", ["mse", keras.losses.Huber(), keras.losses.mean_squared_error, ["mse", "mae"]])
def test_load_compiled_model(suffix: str, loss: Any) -> None:
    inputs = keras.Input((4,))
    heads = [layers.Dense(1, name=name)(inputs) for name in ("a", "b")]
    model = keras.Model(inputs, heads if isinstance(loss, list) else heads[0])
    rate = keras.optimizers.schedules.CosineDecay(0.1, 10)
    model.compile(keras.optimizers.AdamW(rate), loss, weighted_metrics=None if isinstance(loss, list) else ["mae"])
    model.train_on_batch(np.ones((2, 4)), [np.ones((2, 1))] * 2 if isinstance(loss, list) else np.ones((2, 1)))
    save(model, f"model{suffix}")
    if loads_in_keras(f"model{suffix}"):
        assert load(f"model{suffix}").notes == ()


@pytest.mark.slow(share=1 / 6)
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize(("name", "side", "length"), [*variants(RIGHT, False), *variants(WRONG, False)])
def test_load_model_of_zoo(name: str, side: Side, length: int | None, suffix: str) -> None:
    model = (RIGHT if name in RIGHT else WRONG)[name].made(side, length).model
    try:
        save(model, f"model{suffix}")
    except Exception as error:
        pytest.skip(f"Keras cannot save it: {type(error).__name__}")
    if not loads_in_keras(f"model{suffix}"):
        pytest.skip("Keras cannot load it, or it needs code")
    assert classes(load(f"model{suffix}").keras_model) == classes(model)


def test_resolve_agrees_with_keras() -> None:
    """The guard looks paths up in the loaded modules, and Keras in its own table: both must find the same object."""
    from keras.src.api_export import REGISTERED_NAMES_TO_OBJS

    assert len(REGISTERED_NAMES_TO_OBJS) > 500
    for path, value in REGISTERED_NAMES_TO_OBJS.items():
        assert resolve(path) in (None, value), path
