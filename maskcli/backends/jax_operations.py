"""The primitives of JAX in the words of TensorFlow's operations, which the rules for operations are written in.

An operation of TensorFlow has its axes among its inputs; a primitive has them among its parameters. A translation adds
them to the inputs, and the primitive drops them again when it is bound.
"""

from __future__ import annotations

import dataclasses
import re
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from maskcli.backends.base import Translation


@dataclasses.dataclass(eq=False)
class Bound:
    """A primitive with its parameters, which can be bound to other arguments.

    Attributes:
        primitive: the primitive.
        bind_with_trace: binds it.
        avals: the abstract values of the arguments.
        params: the parameters.
        places: by position of an argument, its position among the inputs of the translated operation.
    """

    primitive: Any
    bind_with_trace: Callable[..., Any]
    avals: Any
    params: Mapping[str, Any]
    places: Sequence[int] | None = None

    @property
    def name(self) -> str:
        """The name of the primitive, or of the function whose own derivative it carries."""
        functions = self.params.get("subfuns")
        if not functions:
            return str(self.primitive.name)
        return str(functions[0].debug_info.func_name).rpartition(".")[2].strip("_<>")

    def bind(self, inputs: Sequence[Any]) -> list[Any]:
        """Return the results for other inputs of the translated operation."""
        from jax._src import core

        places = range(len(self.avals)) if self.places is None else self.places
        args = [inputs[place] for place in places]
        for function in self.params.get("subfuns", ()):
            for store in function.stores:
                if store is not None:  # A function keeps the structure of its results, of one call only.
                    store.reset()
        avals = [core.typeof(value) for value in args]
        results = self.bind_with_trace(core.trace_ctx.trace, args, avals, self.params)
        return list(results) if isinstance(results, (list, tuple)) else [results]


@dataclasses.dataclass(frozen=True)
class Repeatable:
    """A function of one array that can be called again.

    Attributes:
        function: the function.
    """

    function: Callable[[Any], Any]

    def bind(self, inputs: Sequence[Any]) -> list[Any]:
        """Return its result for another array."""
        return [self.function(inputs[0])]


_NAMES = {
    "add_any": "AddV2",
    "add": "AddV2",
    "argmax": "ArgMax",
    "argmin": "ArgMin",
    "broadcast_in_dim": "BroadcastTo",
    "concatenate": "ConcatV2",
    "convert_element_type": "Cast",
    "conv_general_dilated": "Conv2D",
    "copy": "Identity",
    "copy_p": "Identity",
    "div": "RealDiv",
    "dot_general": "Einsum",
    "dynamic_slice": "Slice",
    "eq": "Equal",
    "expand_dims": "ExpandDims",
    "gather": "GatherV2",
    "ge": "GreaterEqual",
    "gt": "Greater",
    "integer_pow": "Pow",
    "le": "LessEqual",
    "lt": "Less",
    "max": "Maximum",
    "min": "Minimum",
    "mul": "Mul",
    "ne": "NotEqual",
    "pad": "PadV2",
    "reduce_and": "All",
    "reduce_max": "Max",
    "reduce_min": "Min",
    "reduce_or": "Any",
    "reduce_prod": "Prod",
    "reduce_sum": "Sum",
    "reduce_window_max": "MaxPool",
    "reduce_window_sum": "AvgPool",
    "rev": "ReverseV2",
    "scatter": "TensorScatterUpdate",
    "select_n": "SelectV2",
    "slice": "StridedSlice",
    "split": "SplitV",
    "stack": "Pack",
    "top_k": "TopKV2",
}
"""By primitive, the operation of TensorFlow that computes the same; others have their own name in capitals."""


def translate(bound: Bound, args: Sequence[Any], outputs: Sequence[Any]) -> Translation:
    """Return a primitive as an operation of TensorFlow."""
    name = bound.name
    type_ = _NAMES.get(name) or _write_in_capitals(name)
    if name == "broadcast_in_dim" and outputs[0].size == getattr(args[0], "size", None):
        type_ = "ExpandDims"
    inputs, attributes = _ADDITIONS.get(name, _add_nothing)(bound, args, outputs)
    return Translation(type_, tuple(inputs), (*attributes, "primitive", bound))


Describe = Callable[[Any, Any, Callable[[Any], Any]], Translation]
"""Describes a function of an array along axes: the array, the axes, and the function that repeats it."""


def describe_softmax(array: Any, axis: Any, repeat: Callable[[Any], Any]) -> Translation:
    """Return a softmax as an operation; that of TensorFlow is over the last axis."""
    is_last = axis in (-1, array.ndim - 1)
    return Translation("Softmax" if is_last else "AxisSoftmax", (array,), ("function", Repeatable(repeat)))


def describe_mean(array: Any, axis: Any, repeat: Callable[[Any], Any]) -> Translation:
    """Return a mean as an operation of TensorFlow, with its axes among the inputs."""
    axes = np.arange(array.ndim) if axis is None else np.ravel(np.asarray(axis))
    return Translation("Mean", (array, axes), ("function", Repeatable(repeat)))


def _write_in_capitals(name: str) -> str:
    return "".join(part.capitalize() for part in re.split(r"[_\W]+", name) if part)


_Parts = tuple[Sequence[Any], tuple[Any, ...]]
"""Inputs, and attributes with their names and values in turn."""


def _add_nothing(bound: Bound, args: Sequence[Any], outputs: Sequence[Any]) -> _Parts:
    del bound, outputs
    return args, ()


def _add(parameter: str) -> Callable[[Bound, Sequence[Any], Sequence[Any]], _Parts]:
    """Return a translation that adds a parameter, such as axes, to the inputs."""

    def translate_with(bound: Bound, args: Sequence[Any], outputs: Sequence[Any]) -> _Parts:
        del outputs
        return [*args, np.asarray(bound.params[parameter])], ()

    return translate_with


def _pad(bound: Bound, args: Sequence[Any], outputs: Sequence[Any]) -> _Parts:
    del outputs
    array, value = args
    bound.places = (0, 2)  # TensorFlow has the lengths of the padding between the array and the value.
    return [array, np.asarray(bound.params["padding_config"]), np.asarray(value)], ()


def _multiply(bound: Bound, args: Sequence[Any], outputs: Sequence[Any]) -> _Parts:
    """Return a product with its equation: batch axes first, then those of the left and the right array."""
    del outputs
    (left_summed, right_summed), (left_batch, right_batch) = bound.params["dimension_numbers"]
    letters = iter(string.ascii_letters)
    left = [next(letters) for _ in args[0].shape]
    right = [next(letters) for _ in args[1].shape]
    for ours, theirs in zip((*left_summed, *left_batch), (*right_summed, *right_batch), strict=True):
        right[theirs] = left[ours]
    kept = [left[axis] for axis in left_batch]
    kept += [letter for axis, letter in enumerate(left) if axis not in (*left_summed, *left_batch)]
    kept += [letter for axis, letter in enumerate(right) if axis not in (*right_summed, *right_batch)]
    return args, ("equation", f"{''.join(left)},{''.join(right)}->{''.join(kept)}")


def _convolve(bound: Bound, args: Sequence[Any], outputs: Sequence[Any]) -> _Parts:
    params, rank = bound.params, len(outputs[0].shape)
    dimensions = params["dimension_numbers"]
    is_last = tuple(dimensions.lhs_spec) == (0, rank - 1, *range(1, rank - 1))
    is_last = is_last and tuple(dimensions.rhs_spec) == (rank - 1, rank - 2, *range(rank - 2))
    is_plain = is_last and all(step == 1 for step in params["lhs_dilation"])
    return args, (
        *("strides", [1, *params["window_strides"], 1]),
        *("dilations", [1, *params["rhs_dilation"], 1]),
        *("padding", _name_padding(params["padding"])),
        *("data_format", "NHWC" if is_plain else "other"),
    )


def _slide(bound: Bound, args: Sequence[Any], outputs: Sequence[Any]) -> _Parts:
    del outputs
    params = bound.params
    is_plain = params["window_dimensions"][0] == params["window_dimensions"][-1] == 1
    return args, (
        *("ksize", list(params["window_dimensions"])),
        *("strides", list(params["window_strides"])),
        *("dilations", list(params["window_dilation"])),
        *("padding", _name_padding(params["padding"])),
        *("data_format", "NHWC" if is_plain else "other"),
    )


def _name_padding(padding: Sequence[tuple[int, int]]) -> str:
    return "SAME" if any(before or after for before, after in padding) else "VALID"


_ADDITIONS = {
    **dict.fromkeys(("argmax", "argmin", "reduce_and", "reduce_max", "reduce_min", "reduce_or"), _add("axes")),
    **dict.fromkeys(("reduce_prod", "reduce_sum"), _add("axes")),
    "concatenate": _add("dimension"),
    "conv_general_dilated": _convolve,
    "dot_general": _multiply,
    "pad": _pad,
    "reduce_window_max": _slide,
    "reduce_window_sum": _slide,
    "transpose": _add("permutation"),
}
"""By primitive, the translation of its parameters."""
