"""Losses by name, and the assignment of ``compile`` arguments to outputs."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from maskcli.errors import UsageError
from maskcli.models.factories import import_object, is_spec

ALIASES = {"bce": "binary_crossentropy"}
SHORT_NAMES = ("mse", "mae", "mape", "msle", "bce", "kld")
"""Other names of Keras's losses, for suggestions."""
CROSS_ENTROPIES = ("binary_crossentropy", "categorical_crossentropy", "sparse_categorical_crossentropy")
"""Losses that take the outputs of a built-in model as logits."""


def to_snake_case(name: str) -> str:
    """Return ``mean_squared_error`` for ``MeanSquaredError``, as Keras names its functions."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def find_loss_form(loss: object) -> str:
    """Return the name of a loss's Keras function, which determines the form of targets."""
    if isinstance(loss, str):
        return ALIASES.get(loss.lower(), to_snake_case(loss))
    return to_snake_case(getattr(loss, "__name__", None) or type(loss).__name__)


def import_references(value: object, kind: str) -> Any:
    """Import ``package.module:function``, also inside lists and dicts. Other values stay as they are."""
    if isinstance(value, Mapping):
        return {name: import_references(item, kind) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [import_references(item, kind) for item in value]
    return import_object(value, kind) if isinstance(value, str) and is_spec(value) else value


def make_loss(loss: Any, options: Mapping[str, Any]) -> Any:
    """Return the loss for an argument of ``Model.compile``, with ``options`` as arguments of its class.

    ``crossentropy`` and ``ce`` stay names, since their class depends on shapes; see ``resolve_loss``.

    Raises:
        UsageError: for a name that Keras does not know, and for options that the loss does not have.
    """
    import keras

    if isinstance(loss, str):
        if loss.lower() in ("crossentropy", "ce") and not options:
            return loss
        return _construct(_find_class(loss), options)
    if isinstance(loss, type) and issubclass(loss, keras.losses.Loss):
        return _construct(loss, options)
    if options:
        raise UsageError(
            where="--loss-option",
            expected="a loss of Keras by name, or a class",
            received=_get_type_name(loss),
            fix="Pass these options where the loss is created.",
        )
    return loss


def _find_class(name: str) -> type:
    """Return the class of a loss by the name of class or function, or by an alias."""
    import keras

    classes = {to_snake_case(kind.__name__): kind for kind in _list_classes()}
    function = name
    if is_keras_loss(name):  # Resolves aliases.
        function = _get_type_name(keras.losses.get(name))
    kind = classes.get(to_snake_case(function))
    if kind is None:
        raise UsageError(
            where="--loss",
            expected="the name of a loss in keras.losses, or package.module:function",
            received=repr(name),
            fix=suggest_name(name.lower(), [*classes, *SHORT_NAMES], f"Keras has: {', '.join(sorted(classes))}."),
        )
    return kind


def is_keras_loss(name: str) -> bool:
    """Return whether Keras has a loss of that name."""
    import keras

    try:
        return keras.losses.get(name) is not None
    except ValueError:
        return False


def _list_classes() -> Iterator[type]:
    import keras

    for kind in vars(keras.losses).values():
        if isinstance(kind, type) and issubclass(kind, keras.losses.Loss) and kind is not keras.losses.Loss:
            yield kind


def _construct(kind: type, options: Mapping[str, Any]) -> Any:
    """Return a loss of a class with these options. The error for an unknown option lists the known ones."""
    accepted = [name for name in inspect.signature(kind).parameters if name not in ("self", "kwargs")]
    for name in options:
        if name not in accepted:
            raise UsageError(
                where=f"--loss-option {name}",
                expected=f"an option of {kind.__name__}: {', '.join(accepted)}",
                received=name,
                fix="Remove this option, or choose another loss.",
            )
    try:
        return kind(**options)
    except (TypeError, ValueError) as error:
        raise UsageError(
            where="--loss-option",
            expected=f"options that {kind.__name__} accepts",
            received=" ".join(str(error).split()),
            fix="See the page of this loss on keras.io.",
        ) from None


def _get_type_name(loss: Any) -> str:
    return str(getattr(loss, "__name__", None) or type(loss).__name__)


def cast_targets(targets: NDArray[Any]) -> Any:
    """Return the tensor that ``evaluate`` makes of targets: floats get the dtype of Keras, integers keep theirs."""
    import keras

    dtype = keras.config.floatx() if targets.dtype.kind == "f" else None
    return keras.ops.convert_to_tensor(targets, dtype=dtype)


def resolve_loss(loss: Any, targets: Any, predictions: Any) -> Any:
    """Return the ``keras.losses.Loss`` that ``compile`` makes of a name or a function. An object stays as it is.

    Raises:
        UsageError: for a value that is not a loss.
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
    """Return the name of a loss or of its class, without the number that Keras appends."""
    import keras

    if isinstance(loss, str):
        return loss
    name = getattr(loss, "name", None) or getattr(loss, "__name__", None)
    if isinstance(loss, keras.losses.Loss) and re.fullmatch(rf"{to_snake_case(type(loss).__name__)}(_\d+)?", str(name)):
        return to_snake_case(type(loss).__name__)
    return str(name or type(loss).__name__)


def is_cross_entropy(loss: Any) -> bool:
    """Return whether ``exp`` of a loss is a perplexity: a cross-entropy without label smoothing or focus."""
    name = getattr(getattr(loss, "fn", None), "__name__", to_snake_case(type(loss).__name__))
    options = getattr(loss, "_fn_kwargs", {})
    return name in CROSS_ENTROPIES and not options.get("label_smoothing")


def compares_classes(loss: Any) -> bool:
    """Return whether a loss of Keras compares probabilities of classes, which are on the last axis of predictions."""
    import keras

    resolved = keras.losses.get(loss) if isinstance(loss, str) else loss
    function = getattr(resolved, "fn", resolved)
    name, module = (str(getattr(function, attribute, "")) for attribute in ("__name__", "__module__"))
    return module.startswith("keras.") and ("categorical" in name or name == "kl_divergence")


def match_outputs(argument: Any, names: Sequence[str], output_names: Sequence[str], where: str) -> list[Any]:
    """Assign an argument of ``Model.compile`` to outputs: a dict by name, a list by position, else the same for all.

    A nest of dicts and lists, like that of the outputs, is followed down.

    Args:
        argument: a loss, a weight, or a nest of them.
        names: names of the outputs in their nest.
        output_names: names that the model gives them.
        where: the option, for errors.

    Raises:
        UsageError: for names that no output has, and for lists of another length.
    """
    if isinstance(argument, Mapping):
        return _match_by_name(argument, names, output_names, where)
    if not isinstance(argument, list | tuple):
        return [argument] * len(names)
    nested = any(isinstance(item, Mapping | list | tuple) for item in argument)
    if nested and all(name.split("/")[0].isdigit() for name in names):
        return [_get_at_path(argument, name) for name in names]
    if len(argument) == len(names):
        return list(argument)
    raise UsageError(
        where=where,
        expected=f"one for each of the outputs: {', '.join(names)}",
        received=f"{len(argument)} of them",
        fix="Pass a list with an entry for each output, None where there is none, or a dict by output name.",
    )


def _match_by_name(
    argument: Mapping[str, Any], names: Sequence[str], output_names: Sequence[str], where: str
) -> list[Any]:
    if len(output_names) != len(names):
        output_names = names
    for name in argument:
        if name not in {*names, *output_names, *(path.split("/")[0] for path in names)}:
            raise _make_unknown_output_error(name, names, where)
    matched = []
    for name, output_name in zip(names, output_names, strict=True):
        keys = [key for key in (name, output_name) if key in argument]
        matched.append(argument[keys[0]] if keys else _get_at_path(argument, name))
    return matched


def _get_at_path(nest: Any, path: str) -> Any:
    """Return the entry of a nest for a path such as ``states/0``, or for a part of it."""
    for step in path.split("/"):
        if isinstance(nest, Mapping):
            nest = nest.get(step)
        elif isinstance(nest, list | tuple):
            nest = nest[int(step)] if step.isdigit() and int(step) < len(nest) else None
    return nest


def _make_unknown_output_error(name: str, names: Sequence[str], where: str) -> UsageError:
    return UsageError(
        where=where,
        expected=f"an output of the model: {', '.join(names)}",
        received=repr(name),
        fix=suggest_name(name, names, "Use one of these names."),
    )


def suggest_name(name: str, names: Sequence[str], otherwise: str) -> str:
    """Suggest the closest of ``names``; return the text ``otherwise`` if none is close."""
    near = difflib.get_close_matches(name, names, n=1)
    return f"Did you mean {near[0]}?" if near else otherwise
