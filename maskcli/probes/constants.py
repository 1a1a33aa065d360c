"""Run rows without their padding in a model of one length: cut its constants to the timesteps that remain.

A table of positions, a weight of each timestep, or a causal mask that was made in advance has the timesteps that the
model was built with. Without it, such a model computes with rows of any length. The constants are cut at the timesteps
that a row keeps, so that each timestep keeps its own position.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np

from maskcli.backends.arrays import as_array
from maskcli.backends.choice import get_backend
from maskcli.probes.context import ProbeContext
from maskcli.probes.variants import resize_shapes
from maskcli.records.inputs import ModelInput
from maskcli.trace.changes import CallNumbering, flatten_arguments, is_graph, number_calls, replace_leaves
from maskcli.trace.mask_flow import MaskFlow
from maskcli.trace.recorder import CallRecord, Recording, RunChanges, wrap_changes
from maskcli.trace.values import get_dtype

MOST_CROPPED = 3
"""Timesteps that calls take off, at most: a pooling leaves fewer."""
LEAST_NUMBER = 3
"""The smallest number that counts as one of timesteps: a mask of integers is subtracted from 1."""
MOST_CONSTANTS = 8
"""Constants that are cut, at most."""


@dataclasses.dataclass(frozen=True, eq=False)
class Constant:
    """A tensor with timesteps that does not depend on the inputs of the model.

    Attributes:
        tensor: its value.
        key: of the call that returns it, or else of the call that takes it.
        place: among the tensors that the call returned, or among its flattened arguments.
        is_made: whether the call returns it.
        owner: the layer that has it as an attribute of its own, if its code computes with it.
        attribute: the name of that attribute.
    """

    tensor: Any
    key: str
    place: int
    is_made: bool
    owner: Any = None
    attribute: str = ""


def run_with_cut_constants(
    context: ProbeContext, inputs: Sequence[ModelInput], span: slice, known: Sequence[Constant] | None = None
) -> tuple[Recording, Sequence[Constant]] | None:
    """Run a model on rows that keep only some timesteps, with constants cut to these.

    Args:
        context: the run with all timesteps.
        inputs: the rows, cut.
        span: the timesteps that they keep.
        known: the constants that a run on other rows needed to be cut.

    Returns:
        The run, and the constants without which it raises; None if it raises in any case.
    """
    timesteps = next(item.valid.shape[1] for item in context.inputs if item.valid is not None)
    added, times = _count_added(context.flow, timesteps), _count_repeats(context.flow, timesteps)
    sizes = frozenset((timesteps, *(timesteps + count for count in added), *(timesteps * count for count in times)))
    listed = list_constants(context.base, context.flow, sizes) if known is None else known
    if not listed or len(listed) > MOST_CONSTANTS:
        return None
    # A table of as many positions as features is only cut along the first of its axes. Some models also have shapes
    # with timesteps, as arguments of calls.
    for resizes, all_axes in itertools.product((False, True), (True, False)):
        cut = _Cut(timesteps, span, all_axes, resizes, added, times)
        run = cut.run(context, inputs, listed)
        if run.error is not None:
            continue
        # A mean over a weight of as many numbers would be another one, and the model would run all the same.
        needed = [
            constant
            for constant in listed
            if known is not None
            or len(listed) == 1
            or cut.run(context, inputs, [other for other in listed if other is not constant]).error is not None
        ]
        run = run if len(needed) == len(listed) else cut.run(context, inputs, needed)
        if run.error is None and needed:
            return run, needed
    return None


def _count_added(flow: MaskFlow, timesteps: int) -> tuple[int, ...]:
    """Return how many timesteps calls add to those of the data, as a prefix does; a pooling leaves fewer."""
    sizes = {valid.shape[1] for valid in flow.valid.values() if valid.ndim > 1}
    return tuple(sorted(size - timesteps for size in sizes if timesteps < size < 2 * timesteps))


def _count_repeats(flow: MaskFlow, timesteps: int) -> tuple[int, ...]:
    """Return how many times as many timesteps as the data calls return, as an upsampling does."""
    sizes = {valid.shape[1] for valid in flow.valid.values() if valid.ndim > 1}
    return tuple(sorted(size // timesteps for size in sizes if size > timesteps and size % timesteps == 0))


def list_constants(base: Recording, flow: MaskFlow, sizes: AbstractSet[int]) -> list[Constant]:
    """Return the constants with one of these numbers of timesteps that calls join with results of the data."""
    keys = number_calls(base.entries)
    constants: dict[int, Constant] = {}
    for entry in base.ended:
        leaves = list(entry.args) if entry.code else flatten_arguments((entry.args, entry.kwargs))
        tensors = [leaf for leaf in leaves if hasattr(leaf, "shape") and hasattr(leaf, "dtype")]
        if entry.calls or not any(id(tensor) in flow.derived for tensor in tensors):
            continue
        for place, leaf in enumerate(leaves):
            is_new = hasattr(leaf, "shape") and id(leaf) not in flow.derived and id(leaf) not in constants
            if not is_new or sizes.isdisjoint(tuple(leaf.shape)) or not get_backend().has_values(leaf):
                continue
            if id(leaf) not in flow.maker and _is_of_rows(leaf, flow):
                continue
            constant = None
            if not _is_of_features(entry, leaf, sizes, flow):
                constant = _find_constant(entry, leaf, place, keys, flow)
            if constant is not None:
                constants[id(leaf)] = constant
    return list(constants.values())


def _is_of_features(entry: CallRecord, tensor: Any, sizes: AbstractSet[int], flow: MaskFlow) -> bool:
    """Return whether an operation on each element joins a constant with features, of which there are as many."""
    if not entry.code or not entry.outputs:
        return False
    result: Any = entry.outputs[0]
    axes = flow.positions.find_time_axes(result)
    if not axes or not _fits_elementwise(entry, tuple(result.shape)):
        return False
    added = len(result.shape) - len(tensor.shape)
    return not any(size in sizes and axis + added in axes for axis, size in enumerate(tensor.shape))


def _fits_elementwise(entry: CallRecord, shape: tuple[int, ...]) -> bool:
    """Return whether the arguments of an operation are broadcast to its result."""
    shapes = [tuple(leaf.shape) for leaf in entry.args if hasattr(leaf, "shape")]
    try:
        return len(shapes) > 1 and np.broadcast_shapes(*shapes) == shape
    except ValueError:
        return False


def _is_of_rows(tensor: Any, flow: MaskFlow) -> bool:
    """Return whether a tensor is a mask of the rows, as a repair passes it, with any further axes."""
    if get_dtype(tensor) != "bool":
        return False
    mask = as_array(tensor).ravel()
    return any(np.array_equal(mask, valid.ravel()) for valid in flow.truths)


def _find_constant(entry: CallRecord, tensor: Any, place: int, keys: dict[int, str], flow: MaskFlow) -> Constant | None:
    """Return how a constant that a call takes can be cut; None if that is impossible."""
    maker = flow.maker.get(id(tensor))
    if maker is not None:
        position = next(index for index, output in enumerate(maker.outputs) if output is tensor)
        return Constant(tensor, keys[maker.index], position, True)
    if not entry.code:
        return Constant(tensor, keys[entry.index], place, False)
    owner = None if entry.parent is None else entry.parent.operation
    for name, value in vars(owner).items() if owner is not None else ():
        is_array = hasattr(value, "shape") and not hasattr(value, "assign")
        if is_array and tuple(value.shape) == tuple(tensor.shape) and np.array_equal(as_array(value), as_array(tensor)):
            return Constant(value, keys[entry.index], place, False, owner, name)
    return None


@dataclasses.dataclass(frozen=True)
class _Cut:
    """A cut of all constants at the same timesteps.

    Attributes:
        timesteps: the size of the axes that are cut.
        span: the timesteps that remain.
        all_axes: whether a constant is cut along all axes of that size, or only along the first.
        resizes: whether shapes that are arguments of calls get the new size, too.
        added: the numbers of timesteps that calls add to those of the data; axes with these are cut, too.
        times: how often calls repeat each timestep; axes with as many are cut, too.
    """

    timesteps: int
    span: slice
    all_axes: bool
    resizes: bool
    added: tuple[int, ...] = ()
    times: tuple[int, ...] = ()

    @property
    def spans(self) -> dict[int, slice]:
        """The timesteps that remain, by the size of the axes that are cut."""
        longer = self.added if self.span.start == 0 else ()
        spans = {self.timesteps: self.span, **{self.timesteps + n: slice(0, self.span.stop + n) for n in longer}}
        repeated = {self.timesteps * n: slice(self.span.start * n, self.span.stop * n) for n in self.times}
        return spans | repeated

    def run(self, context: ProbeContext, inputs: Sequence[ModelInput], constants: Sequence[Constant]) -> Recording:
        """Run the model with cut constants."""
        arguments: dict[str, dict[int, Any]] = {}
        results: dict[str, set[int]] = {}
        with contextlib.ExitStack() as stack:
            if self.resizes:
                remaining = {size: span.stop - span.start for size, span in self.spans.items()}
                stack.enter_context(resize_shapes(context.model, remaining))
            for constant in constants:
                if constant.is_made:
                    results.setdefault(constant.key, set()).add(constant.place)
                elif constant.owner is None:
                    arguments.setdefault(constant.key, {})[constant.place] = self.apply(constant.tensor)
                else:
                    stack.enter_context(_set_attribute(constant, self.apply(constant.tensor)))
            stack.enter_context(wrap_changes(lambda inner: _CutRun(self, inner, arguments, results)))
            return context.run.vary(inputs)

    def apply(self, tensor: Any) -> Any:
        """Return a tensor without the timesteps that are cut."""
        spans, shape = self.spans, tuple(tensor.shape)
        axes = [axis for axis, size in enumerate(shape) if size in spans]
        cut = axes if self.all_axes else axes[:1]
        return tensor[tuple(spans[size] if axis in cut else slice(None) for axis, size in enumerate(shape))]


class _ReplacedArguments:
    """Other arguments of the calls of one run, after other changes of the same run."""

    def __init__(self, inner: RunChanges | None, arguments: Mapping[str, Mapping[int, Any]]) -> None:
        self.inner, self.arguments = inner, arguments
        self.numbering = CallNumbering()

    def begin(self, entry: CallRecord) -> None:
        """Replace some arguments of a call."""
        if self.inner is not None:
            self.inner.begin(entry)
        places = self.arguments.get(self.numbering.add(entry))
        if places and not entry.code:
            entry.args, entry.kwargs = replace_leaves((entry.args, entry.kwargs), places)

    def end(self, entry: CallRecord, tensors: list[Any]) -> list[Any] | None:
        """Return the results of a call as they are."""
        return None if self.inner is None else self.inner.end(entry, tensors)


class _CutRun(_ReplacedArguments):
    """The changes of one run with cut constants, after other changes of the same run."""

    def __init__(
        self, cut: _Cut, inner: RunChanges | None, arguments: dict[str, dict[int, Any]], results: dict[str, set[int]]
    ) -> None:
        super().__init__(inner, arguments)
        self.cut, self.results = cut, results

    def end(self, entry: CallRecord, tensors: list[Any]) -> list[Any] | None:
        """Return the results of a call, of which constants are cut; None to keep them."""
        replaced = None if self.inner is None else self.inner.end(entry, tensors)
        places = self.results.get(self.numbering.keys[id(entry)])
        if not places:
            return replaced
        tensors = tensors if replaced is None else replaced
        return [self.cut.apply(tensor) if place in places else tensor for place, tensor in enumerate(tensors)]


@contextlib.contextmanager
def _set_attribute(constant: Constant, value: Any) -> Iterator[None]:
    """Let a layer have a cut constant while this is open."""
    before = vars(constant.owner)[constant.attribute]
    constant.owner.__dict__[constant.attribute] = value
    try:
        yield
    finally:
        constant.owner.__dict__[constant.attribute] = before


# Numbers that a graph of one length computed from its number of timesteps when it was built.

Numbers = Mapping[str, Mapping[int, int]]
"""By call and place among its arguments, other numbers."""


def find_last_numbers(context: ProbeContext, timesteps: Mapping[int, int]) -> Numbers:
    """Return the number of timesteps, or that of the last one, for a run with others, where a graph holds it.

    Such as ``ops.shape(x)[1] - 1 - ops.argmax(...)``, the last valid timestep: the graph holds 5 for six timesteps.

    Args:
        context: the run with the timesteps that the model was built with.
        timesteps: the number of timesteps of another run, by that of this one.
    """
    moved = _move_sizes(context.flow, timesteps)
    keys, numbers = number_calls(context.base.entries), dict[str, dict[int, int]]()
    for entry in context.base.ended:
        is_node = not entry.code and entry.parent is not None and is_graph(entry.parent.operation)
        # Ids and positions are shifted by a number, which is not the first of the two.
        operands = entry.args if is_node and entry.type == "Subtract" else ()
        if len(operands) == 2 and type(operands[0]) is int and _is_index(operands[1], context.flow):
            after = moved.get(operands[0])
            numbers |= {} if after is None else {keys[entry.index]: {0: after}}
    return numbers


def _move_sizes(flow: MaskFlow, timesteps: Mapping[int, int]) -> dict[int, int]:
    """Return the numbers of timesteps that calls return in another run, by those of this one, and of the last ones."""
    sizes = {valid.shape[1] for valid in flow.valid.values() if valid.ndim > 1}
    moved: dict[int, int] = {}
    for before, after in timesteps.items():
        cropped = (size - before for size in sizes if before - MOST_CROPPED <= size < before)
        for count in (0, *_count_added(flow, before), *cropped):
            moved |= {before + count - last: after + count - last for last in (0, 1)}
    return {size: other for size, other in moved.items() if size >= LEAST_NUMBER}


def _is_index(leaf: Any, flow: MaskFlow) -> bool:
    """Return whether an argument is a tensor of integers that are computed from the data."""
    return id(leaf) in flow.derived and hasattr(leaf, "shape") and get_dtype(leaf).startswith("int")


@contextlib.contextmanager
def move_numbers(numbers: Numbers) -> Iterator[None]:
    """Let runs that are recorded inside compute with other numbers."""
    with wrap_changes(lambda inner: _ReplacedArguments(inner, numbers)) if numbers else contextlib.nullcontext():
        yield
