"""Names and options to the losses and metrics of Keras."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from maskcli.errors import UsageError

CROSS_ENTROPIES = ("binary_crossentropy", "categorical_crossentropy", "sparse_categorical_crossentropy")
"""Losses that take the outputs of a built-in model as logits."""


def to_snake_case(name: str) -> str:
    """Return ``mean_squared_error`` for ``MeanSquaredError``, as Keras names its functions."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def make_loss(loss: Any, options: Mapping[str, Any]) -> Any:
    """Return a ``keras.losses.Loss`` for what ``Model.compile`` takes, with ``options`` as arguments of its class.

    ``crossentropy`` and ``ce`` stay names: which loss they are, shapes decide; see ``resolve_loss``.

    Raises:
        UsageError: for a name that Keras does not know, and options that the loss does not have.
    """
    import keras

    if isinstance(loss, str):
        if loss.lower() in ("crossentropy", "ce") and not options:
            return loss
        return _made(_class_of(loss), options)
    if isinstance(loss, type) and issubclass(loss, keras.losses.Loss):
        return _made(loss, options)
    if options:
        raise UsageError(
            where="--loss-option",
            expected="a loss of Keras by name, or a class",
            received=_described(loss),
            fix="Give these options where the loss is made.",
        )
    return loss


def _class_of(name: str) -> type:
    """Return the class of a loss by its own name, that of its function, or an alias such as ``mse``."""
    import keras

    known = {to_snake_case(kind.__name__): kind for kind in _classes()}
    called = _described(keras.losses.get(name)) if is_keras_loss(name) else name
    kind = known.get(to_snake_case(called))
    if kind is None:
        near = difflib.get_close_matches(name.lower(), known, n=1)
        raise UsageError(
            where="--loss",
            expected="the name of a loss in keras.losses, or package.module:function",
            received=repr(name),
            fix=f"Did you mean {near[0]}?" if near else f"Keras has: {', '.join(sorted(known))}.",
        )
    return kind


def is_keras_loss(name: str) -> bool:
    """Return whether Keras knows a loss of that name."""
    import keras

    try:
        return keras.losses.get(name) is not None
    except ValueError:
        return False


def _classes() -> Iterator[type]:
    import keras

    for kind in vars(keras.losses).values():
        if isinstance(kind, type) and issubclass(kind, keras.losses.Loss) and kind is not keras.losses.Loss:
            yield kind


def _made(kind: type, options: Mapping[str, Any]) -> Any:
    """Return a loss of a class with these options; say which it has when it does not have one of them."""
    accepted = [name for name in inspect.signature(kind).parameters if name not in ("self", "kwargs")]
    for name in options:
        if name not in accepted:
            raise UsageError(
                where=f"--loss-option {name}",
                expected=f"an option of {kind.__name__}: {', '.join(accepted)}",
                received=name,
                fix="Leave it out, or name another loss.",
            )
    try:
        return kind(**options)
    except (TypeError, ValueError) as error:
        raise UsageError(
            where="--loss-option",
            expected=f"options that {kind.__name__} takes",
            received=" ".join(str(error).split()),
            fix="keras.io describes each loss.",
        ) from None


def _described(loss: Any) -> str:
    return str(getattr(loss, "__name__", None) or type(loss).__name__)


def cast_targets(targets: NDArray[Any]) -> Any:
    """Return the tensor that ``evaluate`` makes of targets: floats become those of Keras, and integers stay."""
    import keras

    dtype = keras.config.floatx() if targets.dtype.kind == "f" else None
    return keras.ops.convert_to_tensor(targets, dtype=dtype)


def resolve_loss(loss: Any, targets: Any, predictions: Any) -> Any:
    """Return the ``keras.losses.Loss`` that ``compile`` makes of a name or a function; one that is given stays.

    Raises:
        UsageError: for what is no loss.
    """
    from keras.src.trainers.compile_utils import get_loss

    try:
        return get_loss(loss, targets, predictions)
    except ValueError:
        raise UsageError(
            where="--loss",
            expected="the name of a loss in keras.losses, a function, or a keras.losses.Loss",
            received=repr(loss),
            fix="A function takes the targets and the predictions, and returns a loss for each timestep.",
        ) from None


def get_loss_name(loss: Any) -> str:
    """Return what a loss is called: its own name without the count that Keras adds, or that of its class."""
    import keras

    name = loss if isinstance(loss, str) else getattr(loss, "name", None) or getattr(loss, "__name__", None)
    if isinstance(loss, keras.losses.Loss) and re.fullmatch(rf"{to_snake_case(type(loss).__name__)}(_\d+)?", str(name)):
        return to_snake_case(type(loss).__name__)
    return str(name or type(loss).__name__)


def is_cross_entropy(loss: Any) -> bool:
    """Return whether ``exp`` of a loss is a perplexity: a cross-entropy without smoothing or focus."""
    name = getattr(getattr(loss, "fn", None), "__name__", to_snake_case(type(loss).__name__))
    options = getattr(loss, "_fn_kwargs", {})
    return name in CROSS_ENTROPIES and not options.get("label_smoothing")


def match_outputs(given: Any, names: Sequence[str], output_names: Sequence[str], where: str) -> list[Any]:
    """Return what ``Model.compile`` was given for each output: of a dict by name, of a list by place, else the same.

    A nest of dicts and lists, as the outputs themselves may be, is followed down.

    Args:
        given: a loss, a weight, or a nest of them.
        names: of the outputs in their nest.
        output_names: by which the model calls them.
        where: names the option to errors.

    Raises:
        UsageError: for names that no output has, and lists of another length.
    """
    if isinstance(given, Mapping):
        return _by_name(given, names, output_names, where)
    if not isinstance(given, list | tuple):
        return [given] * len(names)
    nested = any(isinstance(one, Mapping | list | tuple) for one in given)
    if nested and all(name.split("/")[0].isdigit() for name in names):
        return [_at(given, name) for name in names]
    if len(given) == len(names):
        return list(given)
    raise UsageError(
        where=where,
        expected=f"one for each of the outputs: {', '.join(names)}",
        received=f"{len(given)} of them",
        fix="Give a list with one for each, None where there is none, or a dict with the names of outputs.",
    )


def _by_name(given: Mapping[str, Any], names: Sequence[str], output_names: Sequence[str], where: str) -> list[Any]:
    calls = output_names if len(output_names) == len(names) else names
    for name in given:
        if name not in {*names, *calls, *(path.split("/")[0] for path in names)}:
            raise _no_output(name, names, where)
    keys = [(name if name in given else call, name) for name, call in zip(names, calls, strict=True)]
    return [given[key] if key in given else _at(given, name) for key, name in keys]


def _at(nest: Any, name: str) -> Any:
    """Return what a nest holds for the output ``name``, such as ``states/0``, or for all below a part of that."""
    for step in name.split("/"):
        if isinstance(nest, Mapping):
            nest = nest.get(step)
        elif isinstance(nest, list | tuple):
            nest = nest[int(step)] if step.isdigit() and int(step) < len(nest) else None
    return nest


def _no_output(name: str, names: Sequence[str], where: str) -> UsageError:
    near = difflib.get_close_matches(name, names, n=1)
    return UsageError(
        where=where,
        expected=f"an output of the model: {', '.join(names)}",
        received=repr(name),
        fix=f"Did you mean {near[0]}?" if near else "Name one of them.",
    )
