"""The functions of PyTorch in the words of TensorFlow's operations, which the rules for operations are written in.

A function receives axes, indices and sizes as arguments, by position or by name. A translation adds those that the
rules read to the inputs, and they are dropped again when the function is called with other inputs.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
import string
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from maskcli.backends.base import Translation


@dataclasses.dataclass(eq=False)
class FunctionCall:
    """A call of a function of PyTorch, which can be repeated with other tensors.

    Attributes:
        function: the function, such as ``torch.sum`` or ``torch.Tensor.sum``.
        args: its arguments by position.
        kwargs: its arguments by name.
    """

    function: Callable[..., Any]
    args: Sequence[Any]
    kwargs: dict[str, Any]
    _leaves: list[Any] = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        """List the arguments."""
        self._leaves = list(_list_leaves((tuple(self.args), self.kwargs)))

    @property
    def name(self) -> str:
        """The name of the function, without the underscores of operators and of functions that change a tensor."""
        name = str(getattr(self.function, "__name__", ""))
        if name == "__get__":  # An attribute, such as ``tensor.T``.
            name = str(self.function.__self__.__name__)  # type: ignore[attr-defined]
        return name if name in _DUNDER else name.strip("_")

    @property
    def is_in_place(self) -> bool:
        """Whether the function changes its first argument."""
        name = str(getattr(self.function, "__name__", ""))
        is_operator = name.startswith("__i") and name not in ("__invert__", "__index__", "__int__")
        is_changing = name == "__setitem__" or is_operator or (name.endswith("_") and not name.endswith("__"))
        return is_changing or bool(self._read_inplace())

    def _read_inplace(self) -> Any:
        """Return the argument ``inplace`` that some functions have, as ``relu`` has."""
        position = _find_inplace(self.function)
        return False if position is None else self.read(position, "inplace", default=False)

    @property
    def target(self) -> Any | None:
        """The tensor that the function changes; None if it changes none."""
        target = self.kwargs.get("out")
        if target is None and self.is_in_place:
            target = self.read(0, "self", "input")
        return target if is_tensor(target) else None

    @property
    def tensors(self) -> list[Any]:
        """The tensors among the arguments, in order."""
        return [leaf for leaf in self._leaves if is_tensor(leaf)]

    def read(self, position: int, *names: str, default: Any = None) -> Any:
        """Return an argument by its position or one of its names."""
        if len(self.args) > position:
            return self.args[position]
        return next((self.kwargs[name] for name in names if name in self.kwargs), default)

    def read_many(self, position: int, *names: str) -> Any:
        """Return an argument that may also be several ones: ``permute(0, 2, 1)`` or ``permute((0, 2, 1))``."""
        if len(self.args) > position + 1:
            return tuple(self.args[position:])
        return self.read(position, *names)

    def repeat(self, replacements: dict[int, Any]) -> Any:
        """Return the result with other tensors, by the position of an argument among all of them."""
        leaves = [_fit(replacements.get(place, leaf), leaf) for place, leaf in enumerate(self._leaves)]
        if self.is_in_place:
            leaves[0] = leaves[0].clone()
        args, kwargs = _rebuild((tuple(self.args), self.kwargs), iter(leaves))
        result = self.function(*args, **kwargs)
        return leaves[0] if self.is_in_place else result

    def replace(self, copies: dict[int, Any]) -> FunctionCall:
        """Return the call with other tensors, by ``id``, and without ``out``, whose values do not matter."""
        leaves = iter([copies.get(id(leaf), leaf) for leaf in self._leaves])
        args, kwargs = _rebuild((tuple(self.args), self.kwargs), leaves)
        return FunctionCall(self.function, args, {name: value for name, value in kwargs.items() if name != "out"})

    def find(self, value: Any) -> int | None:
        """Return the position of an argument among all of them; None if it is none of them."""
        places = (place for place in reversed(range(len(self._leaves))) if self._leaves[place] is value)
        return next(places, None)


@dataclasses.dataclass(eq=False)
class RepeatableCall:
    """A call that can be repeated with other inputs of its translation.

    Attributes:
        call: the call.
        places: for each input, the position of the argument that it is; None for one that the translation added.
    """

    call: FunctionCall
    places: Sequence[int | None]

    def repeat(self, inputs: Sequence[Any]) -> list[Any]:
        """Return the tensors that the call returns for other inputs."""
        replacements = {place: tensor for place, tensor in zip(self.places, inputs, strict=True) if place is not None}
        return list_tensors(self.call.repeat(replacements))


@functools.lru_cache(maxsize=1024)
def _find_inplace(function: Callable[..., Any]) -> int | None:
    """Return the position of the argument ``inplace`` of a function; None if it has none."""
    try:
        parameters = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # Of C, where names tell.
        return None
    return parameters.index("inplace") if "inplace" in parameters else None


def write_part(changed: Any, part: Any) -> FunctionCall:
    """Return the call that changes a tensor as a change of a part of its memory did.

    Args:
        changed: the tensor, before the change.
        part: the part, after the change.
    """
    start = part.storage_offset() - changed.storage_offset()
    size, stride = tuple(part.shape), part.stride()

    def index_put(tensor: Any, places: Any, values: Any) -> Any:
        del places
        written = tensor.clone()
        written.as_strided(size, stride, start).copy_(values)
        return written

    return FunctionCall(index_put, (changed, np.empty(0, np.int32), part), {})


def is_tensor(value: Any) -> bool:
    """Return whether a value is a tensor of PyTorch."""
    import torch

    return isinstance(value, torch.Tensor)


def list_tensors(result: Any) -> list[Any]:
    """Return the tensors of a result, which may be a tuple of several."""
    return [leaf for leaf in _list_leaves(result) if is_tensor(leaf)]


def replace_tensors(result: Any, tensors: Sequence[Any]) -> Any:
    """Return a result with other tensors."""
    remaining = iter(tensors)
    leaves = (next(remaining) if is_tensor(leaf) else leaf for leaf in list(_list_leaves(result)))
    return _rebuild(result, leaves)


def _fit(value: Any, leaf: Any) -> Any:
    """Return a number where a number was."""
    return value.item() if isinstance(leaf, (bool, int, float)) and hasattr(value, "item") else value


def _list_leaves(nest: Any) -> list[Any]:
    if isinstance(nest, dict):
        return [leaf for part in nest.values() for leaf in _list_leaves(part)]
    if isinstance(nest, (tuple, list)):
        return [leaf for part in nest for leaf in _list_leaves(part)]
    return [nest]


def _rebuild(nest: Any, leaves: Any) -> Any:
    """Return a nest with other leaves, in order."""
    if isinstance(nest, dict):
        return {name: _rebuild(part, leaves) for name, part in nest.items()}
    if not isinstance(nest, (tuple, list)):
        return next(leaves)
    parts = [_rebuild(part, leaves) for part in nest]
    if type(nest) in (tuple, list):
        return type(nest)(parts)
    # The results of ``max`` and others are tuples with names.
    return type(nest)(*parts) if hasattr(nest, "_fields") else type(nest)(parts)


_DUNDER = ("__rsub__", "__rtruediv__", "__rdiv__", "__rpow__", "__rmatmul__", "__rfloordiv__")
"""Operators whose left argument comes last."""

_NAMES = {
    "add": "AddV2",
    "radd": "AddV2",
    "iadd": "AddV2",
    "sub": "Sub",
    "isub": "Sub",
    "subtract": "Sub",
    "rsub": "Sub",
    "__rsub__": "Sub",
    "mul": "Mul",
    "rmul": "Mul",
    "imul": "Mul",
    "multiply": "Mul",
    "div": "RealDiv",
    "divide": "RealDiv",
    "true_divide": "RealDiv",
    "truediv": "RealDiv",
    "itruediv": "RealDiv",
    "__rtruediv__": "RealDiv",
    "__rdiv__": "RealDiv",
    "__rfloordiv__": "FloorDiv",
    "floordiv": "FloorDiv",
    "floor_divide": "FloorDiv",
    "__rpow__": "Pow",
    "float_power": "Pow",
    "negative": "Neg",
    "absolute": "Abs",
    "clamp": "ClipByValue",
    "clip": "ClipByValue",
    "eq": "Equal",
    "ne": "NotEqual",
    "not_equal": "NotEqual",
    "lt": "Less",
    "le": "LessEqual",
    "less_equal": "LessEqual",
    "gt": "Greater",
    "ge": "GreaterEqual",
    "greater_equal": "GreaterEqual",
    "and": "LogicalAnd",
    "bitwise_and": "LogicalAnd",
    "or": "LogicalOr",
    "bitwise_or": "LogicalOr",
    "invert": "LogicalNot",
    "bitwise_not": "LogicalNot",
    "isfinite": "IsFinite",
    "isnan": "IsNan",
    "isinf": "IsInf",
    "where": "SelectV2",
    "fmax": "Maximum",
    "fmin": "Minimum",
    **dict.fromkeys(("clone", "contiguous", "view_as", "alias", "detach_copy"), "Identity"),
    "detach": "StopGradient",
    **dict.fromkeys(
        (
            "to",
            "type",
            "type_as",
            "float",
            "double",
            "half",
            "bfloat16",
            "int",
            "long",
            "short",
            "char",
            "byte",
            "bool",
        ),
        "Cast",
    ),
    **dict.fromkeys(("amax", "max"), "Max"),
    **dict.fromkeys(("amin", "min"), "Min"),
    "nanmean": "Mean",
    "nansum": "Sum",
    "argmax": "ArgMax",
    "argmin": "ArgMin",
    "norm": "EuclideanNorm",
    "vector_norm": "EuclideanNorm",
    "logsumexp": "LogSumExp",
    **dict.fromkeys(("view", "flatten", "unflatten", "ravel"), "Reshape"),
    "unsqueeze": "ExpandDims",
    **dict.fromkeys(("expand", "expand_as"), "BroadcastTo"),
    **dict.fromkeys(("repeat", "repeat_interleave"), "Tile"),
    **dict.fromkeys(("flip", "fliplr", "flipud"), "ReverseV2"),
    **dict.fromkeys(("permute", "swapaxes", "swapdims", "movedim", "moveaxis", "T", "mT", "t", "adjoint"), "Transpose"),
    **dict.fromkeys(("narrow", "select", "unfold"), "StridedSlice"),
    "diagonal": "MatrixDiagPartV3",
    **dict.fromkeys(("split", "split_with_sizes", "chunk", "tensor_split"), "SplitV"),
    "unbind": "Unpack",
    **dict.fromkeys(("cat", "concat", "concatenate"), "ConcatV2"),
    "stack": "Pack",
    **dict.fromkeys(("embedding", "index_select", "gather", "take", "take_along_dim"), "GatherV2"),
    "masked_select": "GatherNd",
    **dict.fromkeys(("setitem", "index_put"), "TensorScatterUpdate"),
    "masked_fill": "SelectV2",
    "matmul": "BatchMatMulV2",
    "imatmul": "BatchMatMulV2",
    "__rmatmul__": "BatchMatMulV2",
    "bmm": "BatchMatMulV2",
    "mm": "MatMul",
    "linear": "MatMul",
    **dict.fromkeys(("zero", "zeros_like", "new_zeros", "empty_like", "new_empty"), "ZerosLike"),
    **dict.fromkeys(("fill", "ones_like", "new_ones", "full_like", "new_full"), "OnesLike"),
    **dict.fromkeys(("topk", "sort", "argsort", "kthvalue"), "TopKV2"),
    "nonzero": "Where",
    **dict.fromkeys(("unique", "unique_consecutive"), "UniqueV2"),
    **dict.fromkeys(("conv1d", "conv2d"), "Conv2D"),
    "conv3d": "Conv3D",
    **dict.fromkeys(("max_pool1d", "max_pool2d"), "MaxPool"),
    **dict.fromkeys(("avg_pool1d", "avg_pool2d"), "AvgPool"),
    "one_hot": "OneHot",
    **dict.fromkeys(("tril", "triu"), "MatrixBandPart"),
}
"""By function, the operation of TensorFlow that computes the same; others have their own name in capitals."""


def translate_call(call: FunctionCall, outputs: Sequence[Any]) -> Translation:
    """Return a call as an operation of TensorFlow."""
    name = call.name
    type_, inputs, attributes = _TRANSLATIONS.get(name, _keep_tensors)(call, outputs)
    type_ = type_ or _NAMES.get(name) or _write_in_capitals(name)
    places = [call.find(value) for value in inputs]
    inputs = [value if is_tensor(value) else np.asarray(value) for value in inputs]
    return Translation(type_, tuple(inputs), (*attributes, "call", RepeatableCall(call, places)))


def _write_in_capitals(name: str) -> str:
    return "".join(part.capitalize() for part in re.split(r"[_\W]+", name) if part)


_Parts = tuple[str | None, Sequence[Any], tuple[Any, ...]]
"""The type, if it does not follow from the name; inputs; attributes with their names and values in turn."""


def _keep_tensors(call: FunctionCall, outputs: Sequence[Any]) -> _Parts:
    del outputs
    return None, call.tensors, ()


def _turn_around(call: FunctionCall, outputs: Sequence[Any]) -> _Parts:
    """Return an operator whose left argument comes last."""
    del outputs
    return None, call.tensors[::-1], ()


def _cast(call: FunctionCall, outputs: Sequence[Any]) -> _Parts:
    tensor = call.tensors[0]
    return "Identity" if tensor.dtype == outputs[0].dtype else None, [tensor], ()


def _reduce(call: FunctionCall, outputs: Sequence[Any]) -> _Parts:
    """Return a reduction with its axes as the second input; ``max`` and ``min`` may also compare two tensors."""
    del outputs
    second = call.read(1, "dim", "axis", "other")
    if is_tensor(second):
        return {"max": "Maximum", "min": "Minimum"}.get(call.name), call.tensors, ()
    axes = None if isinstance(second, bool) else second  # ``var(False)`` is not about axes.
    return None, [call.tensors[0], _list_axes(axes, call.tensors[0].ndim)], ()


def _norm(call: FunctionCall, outputs: Sequence[Any]) -> _Parts:
    del outputs
    tensor = call.tensors[0]
    return None, [tensor, _list_axes(call.read(2, "dim", "axis"), tensor.ndim)], ()


def _list_axes(axes: Any, rank: int) -> Any:
    return np.arange(rank) if axes is None or axes == () else np.ravel(np.asarray(axes))


def _soften(call: FunctionCall, outputs: Sequence[Any]) -> _Parts:
    del outputs
    return None, call.tensors[:1], ("axis", call.read(1, "dim", "axis", default=-1))


def _transpose(call: FunctionCall, outputs: Sequence[Any]) -> _Parts:
    """Return the new order of axes as the second input."""
    del outputs
    import torch

    tensor = call.tensors[0]
    sizes = list(range(2, 2 + tensor.ndim))
    # The function itself shows the order by the sizes of a tensor without values.
    moved = call.repeat({call.find(tensor) or 0: torch.empty(sizes, device="meta")})
    return None, [tensor, np.array([sizes.index(size) for size in moved.shape], np.int32)], ()


def _join(call: FunctionCall, outputs: Sequence[Any]) -> _Parts:
    """Return tensors with their axis as the last input."""
    axis = int(call.read(1, "dim", "axis", default=0))
    axis = axis % outputs[0].ndim
    return None, [*call.tensors, np.asarray(axis)] if call.name != "stack" else call.tensors, ("axis", axis)


def _pad(call: FunctionCall, outputs: Sequence[Any]) -> _Parts:
    """Return a padding with its widths as the second input and its value as the third."""
    del outputs
    if call.read(2, "mode", default="constant") != "constant":
        return "MirrorPad", [call.tensors[0], np.asarray(call.read(1, "pad"))], ()
    value = call.read(3, "value", default=np.asarray(0))
    return "PadV2", [call.tensors[0], np.asarray(call.read(1, "pad")), value], ()


def _index(call: FunctionCall, outputs: Sequence[Any]) -> _Parts:
    """Return a slice, or a lookup if there are tensors or arrays among the indices."""
    del outputs
    tensors = call.tensors
    indices = _list_leaves(call.args[1])
    if len(tensors) == 1 and not any(isinstance(index, (np.ndarray, bool)) for index in indices):
        is_lookup = isinstance(call.args[1], list) or any(isinstance(part, list) for part in indices)
        return "GatherV2" if is_lookup else "StridedSlice", tensors, ()
    is_place = any(getattr(index, "dtype", None) is not None and "bool" in str(index.dtype) for index in indices)
    return "GatherNd" if is_place else "GatherV2", tensors, ()


def _embed(call: FunctionCall, outputs: Sequence[Any]) -> _Parts:
    """Return a lookup with its table as the first input."""
    del outputs
    ids, table = call.tensors[:2]
    return None, [table, ids], ()


def _scatter(call: FunctionCall, outputs: Sequence[Any]) -> _Parts:
    """Return an assignment to places of a tensor: the tensor, the places, and the values."""
    del outputs
    tensor, places, values = call.args[0], call.args[1], call.args[2]
    return None, [tensor, places if is_tensor(places) else np.empty(0, np.int32), values], ()


def _copy(call: FunctionCall, outputs: Sequence[Any]) -> _Parts:
    """Return an assignment to a whole tensor, whose values before do not matter."""
    source = call.read(1, "src")
    return "Identity" if source.shape == outputs[0].shape else "BroadcastTo", [source], ()


def _fill(call: FunctionCall, outputs: Sequence[Any]) -> _Parts:
    """Return ``where(mask, value, tensor)``."""
    del outputs
    tensor, mask, value = call.read(0), call.read(1, "mask"), call.read(2, "value")
    return None, [mask, value, tensor], ()


def _multiply(call: FunctionCall, outputs: Sequence[Any]) -> _Parts:
    """Return a product of matrices; of a vector, as an equation."""
    del outputs
    left, right = call.tensors[:2]
    if call.name == "__rmatmul__":
        left, right = right, left
    if min(left.ndim, right.ndim) > 1:
        return None, [left, right], ()
    first = "j" if left.ndim == 1 else "...ij"
    second = "j" if right.ndim == 1 else "...jk"
    result = ("..." if max(left.ndim, right.ndim) > 1 else "") + "i" * (left.ndim > 1) + "k" * (right.ndim > 1)
    return "Einsum", [left, right], ("equation", f"{first},{second}->{result}")


def _project(call: FunctionCall, outputs: Sequence[Any]) -> _Parts:
    """Return ``linear``, whose weights have their axes swapped."""
    del outputs
    if call.read(0, "input").ndim > 1:
        return None, call.tensors, ("transpose_b", True)
    return "Einsum", call.tensors[:2], ("equation", "j,ij->i")


def _sum_products(call: FunctionCall, outputs: Sequence[Any]) -> _Parts:
    del outputs
    equation = call.read(0, "equation")
    if not isinstance(equation, str):
        return None, call.tensors, ()
    equation = equation.replace(" ", "")
    if "->" not in equation:
        letters = sorted(letter for letter in set(equation) if letter.isalpha() and equation.count(letter) == 1)
        leading = "..." if "..." in equation else ""
        equation = f"{equation}->{leading}{''.join(letters)}"
    return "Einsum", call.tensors, ("equation", equation)


def _contract(call: FunctionCall, outputs: Sequence[Any]) -> _Parts:
    """Return ``tensordot`` as an equation: axes that are kept, of the left and then of the right tensor."""
    del outputs
    left, right = call.tensors[:2]
    axes = call.read(2, "dims", default=2)
    if isinstance(axes, int):
        axes = (range(left.ndim - axes, left.ndim), range(axes))
    letters = iter(string.ascii_letters)
    ours, theirs = [next(letters) for _ in range(left.ndim)], [next(letters) for _ in range(right.ndim)]
    for first, second in zip(*axes, strict=True):
        theirs[second] = ours[first]
    kept = [letter for letter in ours if letter not in theirs] + [letter for letter in theirs if letter not in ours]
    return "Einsum", [left, right], ("equation", f"{''.join(ours)},{''.join(theirs)}->{''.join(kept)}")


def _slide(call: FunctionCall, outputs: Sequence[Any]) -> _Parts:
    del outputs
    return None, call.tensors, ("data_format", "NCHW")  # The rules know other orders of axes only.


_REDUCTIONS = (
    *("sum", "nansum", "mean", "nanmean", "prod", "all", "any", "amax", "amin", "max", "min", "argmax", "argmin"),
    *("std", "var", "logsumexp", "median", "nanmedian", "count_nonzero"),
)

_TRANSLATIONS: dict[str, Callable[[FunctionCall, Sequence[Any]], _Parts]] = {
    **dict.fromkeys(_DUNDER, _turn_around),
    "__rmatmul__": _multiply,
    "rsub": _turn_around,
    **dict.fromkeys([name for name, type_ in _NAMES.items() if type_ == "Cast"], _cast),
    **dict.fromkeys(_REDUCTIONS, _reduce),
    **dict.fromkeys(("norm", "vector_norm"), _norm),
    **dict.fromkeys(("softmax", "log_softmax", "softmin"), _soften),
    **dict.fromkeys([name for name, type_ in _NAMES.items() if type_ == "Transpose"], _transpose),
    "transpose": _transpose,
    **dict.fromkeys(("cat", "concat", "concatenate", "stack"), _join),
    "pad": _pad,
    "getitem": _index,
    "embedding": _embed,
    **dict.fromkeys(("setitem", "index_put"), _scatter),
    "masked_fill": _fill,
    "copy": _copy,
    **dict.fromkeys(("matmul", "imatmul", "bmm", "mm", "mv", "dot", "inner"), _multiply),
    "linear": _project,
    "einsum": _sum_products,
    "tensordot": _contract,
    **dict.fromkeys(
        [name for name, type_ in _NAMES.items() if type_ in ("Conv2D", "Conv3D", "MaxPool", "AvgPool")], _slide
    ),
}
"""By function, the translation of its arguments."""
