"""The cells that the results of operations come from, given those of their inputs.

An operation that only moves elements is run again on numbers of cells, so that its result is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from maskcli.backends.choice import get_backend
from maskcli.trace.cells import FIXED, MIXED, InputCells, Labels, Layer, compact

VALUELESS = frozenset({"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike"})
"""Operations whose result does not depend on the values of their inputs."""

MOVES: dict[str, Callable[[int], Sequence[int]]] = {
    **dict.fromkeys(
        (
            "BatchToSpaceND",
            "BroadcastTo",
            "DepthToSpace",
            "ExpandDims",
            "Gather",
            "GatherNd",
            "GatherV2",
            "MatrixDiagPartV3",
            "MirrorPad",
            "Pad",
            "Reshape",
            "ReverseSequence",
            "ReverseV2",
            "Roll",
            "Slice",
            "SpaceToBatchND",
            "SpaceToDepth",
            "SplitV",
            "Squeeze",
            "StridedSlice",
            "Tile",
            "Transpose",
            "Unpack",
        ),
        lambda _: (0,),
    ),
    "ConcatV2": range,
    "Pack": range,
    "PadV2": lambda _: (0, 2),
    "ScatterNd": lambda _: (1,),
    "Split": lambda _: (1,),
    "TensorScatterUpdate": lambda _: (0, 2),
}
"""Operations that move elements, with the positions of the inputs whose elements they move, by the number of inputs."""

_OF_TENSORFLOW = ("All", "Any", "ArgMax", "ArgMin", "EuclideanNorm", "Max", "Mean", "Min", "Prod", "Sum")
_OF_PYTORCH = ("CountNonzero", "LogSumExp", "Median", "Std", "Var")
REDUCTIONS = frozenset((*_OF_TENSORFLOW, *_OF_PYTORCH))
LOOKUPS = frozenset({"Gather", "GatherV2", "OneHot", "ResourceGather"})
"""Operations that return a vector for each index among their inputs."""
WINDOWS = frozenset(
    {"AvgPool", "AvgPool3D", "Conv2D", "Conv3D", "DepthwiseConv2dNative", "MaxPool", "MaxPool3D", "MaxPoolV2"}
)
SORTS = frozenset({"TopK", "TopKV2", "Where", "UniqueV2", "DenseBincount", "Bincount"})
"""Operations that arrange elements by their values."""


class OperationRules:
    """The rules for TensorFlow's operations.

    Attributes:
        guessed: whether the last result is a guess: of windows over several timesteps, of sequences that do not fit.
        unknown: whether there is no rule for the last operation.
    """

    def __init__(self, cells: InputCells) -> None:
        """Create the rules for tensors that come from ``cells``."""
        self.cells = cells
        self.guessed: bool = False
        self.unknown: bool = False

    def label_outputs(
        self, type_: str, inputs: Sequence[Any], attrs: Any, outputs: Sequence[Any], labels: Sequence[Labels]
    ) -> list[Labels]:
        """Return the labels of the outputs of an operation, given those of each of its inputs."""
        self.guessed, self.unknown = False, False
        if type_ in VALUELESS or not any(labels):
            return [() for _ in outputs]
        attributes = dict(_pair_attributes(attrs))
        positions = list(MOVES[type_](len(inputs))) if type_ in MOVES else []
        if any(labels[position] for position in positions if position < len(labels)):
            return self._move(type_, inputs, attrs, outputs, labels, positions)
        return self._compute(type_, inputs, attributes, outputs, labels)

    def _compute(
        self,
        type_: str,
        inputs: Sequence[Any],
        attributes: dict[Any, Any],
        outputs: Sequence[Any],
        labels: Sequence[Labels],
    ) -> list[Labels]:
        """Return the labels of the outputs of an operation that does not only move elements."""
        if type_ in LOOKUPS:
            return [self._look_up(type_, inputs, output, labels) for output in outputs]
        if type_ in REDUCTIONS:
            return [self._reduce(inputs, output, labels[0]) for output in outputs]
        if type_ in ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"):
            return [self._multiply(attributes, labels, inputs)]
        if type_ == "Einsum":
            return [self._sum_products(str(_decode(attributes["equation"])), labels)]
        if type_ in WINDOWS:
            return [self._slide(inputs, attributes, output, labels[0]) for output in outputs]
        if type_.startswith("Resize") and type_ not in SORTS:
            return [self.stretch(labels[0], inputs[0].shape, output.shape) for output in outputs]
        return [self._combine(type_, inputs, output, labels) for output in outputs]

    def _move(
        self,
        type_: str,
        inputs: Sequence[Any],
        attrs: Any,
        outputs: Sequence[Any],
        labels: Sequence[Labels],
        positions: Sequence[int],
    ) -> list[Labels]:
        """Run an operation again on the cells instead of the elements, once for each layer."""
        if type_ == "ConcatV2" and self._joins_sequences(inputs, labels):
            return [self.cells.combine(labels[:-1], len(output.shape))[0] for output in outputs]
        layers = max(len(labels[position]) for position in positions if position < len(labels))
        results: list[list[Layer]] = [[] for _ in outputs]
        for index in range(layers):
            moved = self._run_on_cells(type_, inputs, attrs, len(outputs), labels, positions, index)
            if moved is None:
                self.unknown = True
                return [self.mix() for _ in outputs]
            for result, layer in zip(results, moved, strict=True):
                inside = (layer >= 0) & (layer < len(self.cells.valid))
                result.append(compact(np.where(inside, layer, MIXED)))
        return [self.cells.combine([tuple(result)], result[0].ndim)[0] for result in results]

    def _joins_sequences(self, inputs: Sequence[Any], labels: Sequence[Labels]) -> bool:
        """Return whether features of timesteps on different axes are joined, such as those of queries and of keys."""
        parts = [layers for layers in labels[:-1] if layers]
        axis = int(np.asarray(inputs[-1])) % len(inputs[0].shape)
        if any(layer.shape[axis] != 1 for layers in parts for layer in layers):
            return False
        axes = {frozenset[int]().union(*map(self.cells.find_time_axes, layers)) for layers in parts}
        return len(axes - {frozenset[int]()}) > 1

    def _run_on_cells(
        self,
        type_: str,
        inputs: Sequence[Any],
        attrs: Any,
        n_outputs: int,
        labels: Sequence[Labels],
        positions: Sequence[int],
        index: int,
    ) -> list[Layer] | None:
        cells = {}
        for position in positions:
            if position < len(inputs) and not (type_ == "ConcatV2" and position == len(inputs) - 1):
                own, shape = labels[position], tuple(inputs[position].shape)
                layer = own[min(index, len(own) - 1)] if own else np.full([1] * len(shape), FIXED, np.int32)
                cells[position] = np.broadcast_to(layer, shape)
        try:
            return get_backend().move_cells(type_, inputs, attrs, n_outputs, cells)
        except Exception:  # An operation that takes no integers.
            return None

    def mix(self, rank: int = 0) -> Labels:
        """Return the labels of a result that depends on several timesteps."""
        return (np.full([1] * rank, MIXED, np.int32),)

    def _look_up(self, type_: str, inputs: Sequence[Any], output: Any, labels: Sequence[Labels]) -> Labels:
        """Return the labels of vectors that are looked up in a table by indices that have labels."""
        position = 0 if type_ == "OneHot" else 1
        added = len(output.shape) - len(inputs[position].shape)
        if added < 0:
            self.unknown = True
            return self.mix(len(output.shape))
        return tuple(layer.reshape(*layer.shape, *[1] * added) for layer in labels[position])

    def _reduce(self, inputs: Sequence[Any], output: Any, labels: Labels) -> Labels:
        rank = len(inputs[0].shape)
        axes = sorted({int(axis) % rank for axis in np.ravel(np.asarray(inputs[1]))}) if rank else []
        reduced, self.guessed = self.cells.collapse(labels, axes, keepdims=len(output.shape) == rank)
        return reduced

    def _multiply(self, attributes: dict[Any, Any], labels: Sequence[Labels], inputs: Sequence[Any]) -> Labels:
        by_name = {_decode(name): value for name, value in attributes.items()}
        turned = [
            bool(by_name.get("transpose_a") or by_name.get("adj_x")),
            bool(by_name.get("transpose_b") or by_name.get("adj_y")),
        ]
        rank = max(len(tensor.shape) for tensor in inputs)
        parts = []
        for position, own in enumerate(labels[:2]):
            layers = [np.swapaxes(layer, -1, -2) if turned[position] else layer for layer in own]
            axis = -1 if position == 0 else -2
            summed = [self._sum_over(layer, layer.ndim + axis) for layer in layers]
            parts.append(tuple(layer for layer in summed))
        combined, differ = self.cells.combine(parts, rank)
        self.guessed |= differ
        return combined

    def _sum_over(self, layer: Layer, axis: int) -> Layer:
        (summed, *_), differ = self.cells.collapse((layer,), [axis], keepdims=True)
        self.guessed |= differ
        return summed

    def _sum_products(self, equation: str, labels: Sequence[Labels]) -> Labels:
        """Return the labels of an ``Einsum``."""
        left, right = equation.replace(" ", "").split("->")
        terms = left.split(",")
        parts: list[Labels] = []
        for term, own in zip(terms, labels, strict=True):
            parts += [self._arrange(layer, term, right) for layer in own]
        rank = max((layers[0].ndim for layers in parts), default=0)
        combined, differ = self.cells.combine(parts, rank)
        self.guessed |= differ
        return combined

    def _arrange(self, layer: Layer, term: str, result: str) -> Labels:
        """Return a layer with the axes of a result of ``Einsum``, summed over axes that the result lacks."""
        names = _name_axes(term, layer.ndim)
        hidden = sum(name.isdigit() for name in names)
        axes = _name_axes(result, len(result.replace("...", "")) + hidden)
        for axis, name in enumerate(names):
            if name not in axes:
                layer = self._sum_over(layer, axis)
        kept = [name for name in names if name in axes]
        layer = layer.squeeze(tuple(axis for axis, name in enumerate(names) if name not in axes))
        layer = layer.transpose([kept.index(name) for name in axes if name in kept])
        shape = iter(layer.shape)
        return (layer.reshape([next(shape) if name in kept else 1 for name in axes]),)

    def _slide(self, inputs: Sequence[Any], attributes: dict[Any, Any], output: Any, labels: Labels) -> Labels:
        """Return the labels of windows that slide over the middle axes."""
        by_name = {_decode(name): value for name, value in attributes.items()}
        rank = len(output.shape)
        if _decode(by_name.get("data_format", b"NHWC")) not in ("NHWC", "NDHWC"):
            self.unknown = True
            return self.mix(rank)
        kernel = list(by_name["ksize"])[1:-1] if "ksize" in by_name else list(inputs[1].shape)[: rank - 2]
        strides = list(by_name.get("strides", [1] * rank))[1:-1]
        dilations = list(by_name.get("dilations") or [1] * rank)[1:-1]
        same = _decode(by_name.get("padding", b"VALID")) == "SAME"
        results = []
        for layer in labels:
            slid, differ = self.cells.collapse((layer,), [rank - 1], keepdims=True)
            self.guessed |= differ
            (result, *_) = slid
            for axis in range(1, rank - 1):
                size, step, gap = int(kernel[axis - 1]), int(strides[axis - 1]), int(dilations[axis - 1])
                result = self.slide(result, axis, int(output.shape[axis]), size, step, gap, same)
            results.append(result)
        return self.cells.combine([(layer,) for layer in results], rank)[0]

    def slide(self, layer: Layer, axis: int, n_windows: int, size: int, step: int, gap: int, same: bool) -> Layer:
        """Return the labels of windows along one axis; a window is valid if all timesteps are that it covers."""
        timesteps = layer.shape[axis]
        if timesteps == 1:
            return layer
        if n_windows == 1:  # A pooling, of all timesteps or of the first ones.
            (pooled, *_), differ = self.cells.collapse((layer,), [axis], keepdims=True)
            self.guessed |= differ
            return pooled
        if n_windows == timesteps and same:
            self.guessed |= size > 1
            return layer
        self.guessed |= size > 1 or step > 1
        start = np.arange(n_windows) * step
        chosen = layer.take(np.minimum(start, timesteps - 1), axis=axis)
        if not same:
            # The first padded timestep that a window covers makes it padding. Constants at the ends take the place of
            # timesteps that the first and the last windows lack, so that as many windows of a row are valid as if it
            # came by itself.
            reach = range(0, (size - 1) * gap + 1, gap)
            before, after = _count_constants(layer, axis)
            judged = [offset for offset in reach if before <= offset <= reach[-1] - after] or list(reach)
            chosen = layer.take(np.minimum(start + judged[0], timesteps - 1), axis=axis)
            for offset in judged[1:]:
                other = layer.take(np.minimum(start + offset, timesteps - 1), axis=axis)
                worse = self.cells.valid[chosen] & ~self.cells.valid[other]
                chosen = np.where(worse | (chosen == FIXED), other, chosen)
        result: Layer = chosen.astype(np.int32)
        return result

    def stretch(self, labels: Labels, before: Any, after: Any) -> Labels:
        """Return labels for another number of places along each axis but the first, evenly spread."""
        self.guessed = True
        results = []
        for layer in labels:
            stretched = layer
            for axis in range(1, layer.ndim):
                if layer.shape[axis] > 1 and after[axis] != before[axis]:
                    place = np.arange(int(after[axis])) * layer.shape[axis] // max(1, int(after[axis]))
                    stretched = stretched.take(place, axis=axis)
            results.append(stretched)
        return tuple(results)

    def _combine(self, type_: str, inputs: Sequence[Any], output: Any, labels: Sequence[Labels]) -> Labels:
        """Return the labels of an operation on each element, or of one that is not known."""
        shape, rank = tuple(output.shape), len(output.shape)
        own = [(tensor, layers) for tensor, layers in zip(inputs, labels, strict=True) if layers]
        if type_ not in SORTS and (_fit(inputs, shape) or _fit([tensor for tensor, _ in own], shape)):
            combined, self.guessed = self.cells.combine([layers for _, layers in own], rank)
            return combined
        self.unknown = True
        return self.mix(rank)


def _count_constants(layer: Layer, axis: int) -> tuple[int, int]:
    """Return how many places at the start and at the end of an axis hold constants in all rows."""
    others = tuple(other for other in range(layer.ndim) if other != axis)
    moved = np.flatnonzero(~(layer == FIXED).all(axis=others))
    return (int(moved[0]), layer.shape[axis] - 1 - int(moved[-1])) if len(moved) else (0, 0)


def _fit(tensors: Sequence[Any], shape: tuple[int, ...]) -> bool:
    """Return whether tensors are broadcast to a shape."""
    try:
        return np.broadcast_shapes(*(tuple(tensor.shape) for tensor in tensors)) == shape
    except (TypeError, ValueError):
        return False


def _name_axes(term: str, rank: int) -> list[str]:
    """Return a name for each axis of a term of ``Einsum``; those of an ellipsis are numbers, counted from the right."""
    before, dots, after = term.partition("...")
    hidden = rank - len(before) - len(after) if dots else 0
    return [*before, *(str(index) for index in reversed(range(hidden))), *after]


def _decode(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _pair_attributes(attrs: Any) -> list[tuple[Any, Any]]:
    """Return the names and values of attributes, which TensorFlow reports in turn."""
    flat = tuple(attrs or ())
    return list(zip(flat[::2], flat[1::2], strict=True))
