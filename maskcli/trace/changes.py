"""Change single calls while a model runs: their arguments, their results, and the masks that both carry.

A repair of a model is such a change. The model itself stays as it is, so that any number of repairs can be tried.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from maskcli.backends.arrays import as_array
from maskcli.backends.masks import get_keras_mask
from maskcli.trace.recorder import CallRecord, change_runs, list_parameters


class CallChange(Protocol):
    """A change of one call.

    Attributes:
        key: of the call; see ``number_calls``.
    """

    @property
    def key(self) -> str:
        """The key of the call."""

    def change_arguments(self, run: ChangedRun, entry: CallRecord) -> None:
        """Replace ``entry.args`` and ``entry.kwargs`` before the call; operations of the backend have run already."""

    def change_result(self, run: ChangedRun, entry: CallRecord, tensors: list[Any]) -> list[Any] | None:
        """Return replacements of the tensors that the call returned; None to keep them."""


@dataclasses.dataclass(eq=False)
class ChangedRun:
    """The progress of one run with changes.

    A functional model computes most masks when it is built, and passes them to its layers as arguments. A changed mask
    must take the place of these. It must also outlive layers that remove the mask of their input when they run, such
    as ``MultiHeadAttention``, because building the model removes nothing.

    Attributes:
        changes: the changes, in the order in which they apply.
        inputs: the tensors that the model was called with, flattened.
        arriving: by key, the mask of each input tensor of a call when it began, then its mask arguments.
        carried: by key, the mask that each input of a call carried when it began.
        returned: by key, the mask that the first output of a call carried when it ended.
        built: by ``id``, tensors with the mask that building the model would compute for them.
    """

    changes: tuple[CallChange, ...]
    inputs: list[Any] = dataclasses.field(default_factory=list)
    arriving: dict[str, list[Any]] = dataclasses.field(default_factory=dict)
    carried: dict[str, list[Any]] = dataclasses.field(default_factory=dict)
    returned: dict[str, Any] = dataclasses.field(default_factory=dict)
    built: dict[int, tuple[Any, Any]] = dataclasses.field(default_factory=dict)
    _sources: dict[str, CallRecord] = dataclasses.field(default_factory=dict, init=False)
    _superseding: set[str] = dataclasses.field(default_factory=set, init=False)
    _numbering: CallNumbering = dataclasses.field(default_factory=lambda: CallNumbering(), init=False)
    _previous: dict[str, Any] = dataclasses.field(default_factory=dict, init=False)
    _alike: dict[tuple[int, int], bool] = dataclasses.field(default_factory=dict, init=False)
    _is_changing: bool = dataclasses.field(default=False, init=False)

    def begin(self, entry: CallRecord) -> None:
        """Note the masks that arrive at a call, and change its arguments."""
        import keras

        entry.added = self._is_changing
        key = self._numbering.add(entry)
        if entry.added:
            return
        if entry.parent is None:
            self.inputs = [leaf for leaf in keras.tree.flatten((entry.args, entry.kwargs)) if hasattr(leaf, "shape")]
        if _is_layer_of_graph(entry):
            self._previous[key] = keras.tree.map_structure(self.find_mask, entry.args[:1])
            self._pass_built_mask(entry)
        self.arriving[key] = self._list_masks(entry)
        self.carried[key] = [get_keras_mask(tensor) for tensor in entry.inputs]
        begun = {change.key for change in self.changes if getattr(change, "source", None) == key}
        if begun:
            self._sources[key] = entry
            self._superseding |= begun
        entry.superseded = bool(self._superseding) and key not in self._superseding
        # The results of these operations are part of the data, so that they are recorded.
        self._is_changing = True
        try:
            for change in self.changes:
                if change.key == key and not entry.code:
                    change.change_arguments(self, entry)
                    self.arriving[key] = self._list_masks(entry)
        finally:
            self._is_changing = False

    def end(self, entry: CallRecord, tensors: list[Any]) -> list[Any] | None:
        """Return replacements of the tensors that a call returned; None if no change replaces them."""
        if entry.added:
            return None
        key, replaced = self._numbering.keys[id(entry)], None
        self._superseding.discard(key)
        for change in self.changes:
            if change.key == key:
                replaced = change.change_result(self, entry, tensors) or replaced
                tensors = tensors if replaced is None else replaced
        if _is_layer_of_graph(entry):
            self._compute_built_masks(entry, key, tensors)
        self.returned[key] = self.find_mask(tensors[0]) if tensors else None
        return replaced

    def list_inputs(self, key: str) -> list[Any]:
        """Return the tensors that the first operation of a changed function received; empty before it began."""
        return self._sources[key].inputs if key in self._sources else []

    def list_arriving(self, key: str, argument: int | None = None) -> list[Any]:
        """Return the masks with timesteps that arrived at a call: of one of its flattened arguments, or of all."""
        masks = self.arriving.get(key, [])
        masks = masks if argument is None else masks[argument : argument + 1]
        return [mask for mask in masks if mask is not None and len(getattr(mask, "shape", ())) > 1]

    def find_mask(self, tensor: Any) -> Any | None:
        """Return the mask that a tensor carries, or that building the model would compute for it."""
        carried = get_keras_mask(tensor)
        return self.built.get(id(tensor), (None, None))[1] if carried is None else carried

    def _list_masks(self, entry: CallRecord) -> list[Any]:
        """Return the mask of each tensor among the arguments of a call, then the padding masks among them."""
        import keras

        carried = [self.find_mask(leaf) for leaf in keras.tree.flatten(entry.args)]
        parameters = list_parameters(type(entry.operation).call) if is_layer(entry) else ()
        arguments = dict(zip(parameters, entry.args, strict=False)) | entry.kwargs
        names = [name for name in arguments if name == "mask" or name.endswith("_mask")]
        passed = keras.tree.flatten([arguments[name] for name in names if name != "attention_mask"])
        return [*carried, *(mask for mask in passed if hasattr(mask, "shape"))]

    def _pass_built_mask(self, entry: CallRecord) -> None:
        """Pass the mask that Keras would have wired to a layer with one argument of tensors; states are another one."""
        import keras

        arguments = [keras.tree.flatten(argument) for argument in (*entry.args, *entry.kwargs.values())]
        tensors = [leaves for leaves in arguments if leaves and all(hasattr(leaf, "shape") for leaf in leaves)]
        passed = entry.kwargs.get("mask")
        if len(tensors) - (passed is not None) != 1 or not hasattr(entry.args[0], "shape"):
            return
        mask = self.find_mask(entry.args[0])
        takes = "mask" in inspect.signature(entry.operation.call).parameters
        if mask is not None and takes and (passed is None or _is_wired_by_keras(entry.operation, self._alike)):
            entry.kwargs = {**entry.kwargs, "mask": mask}

    def _compute_built_masks(self, entry: CallRecord, key: str, tensors: list[Any]) -> None:
        """Keep the masks that building the model would compute, and that this run lost or never had."""
        import keras

        previous = self._previous.pop(key)
        inputs, masks = keras.tree.flatten(entry.args[:1]), keras.tree.flatten(previous)
        for tensor, mask in zip(inputs, masks, strict=False):
            if mask is not None:
                self.built[id(tensor)] = tensor, mask
        if not entry.operation.supports_masking or all(mask is None for mask in masks):
            return
        try:
            computed = keras.tree.flatten(entry.operation.compute_mask(entry.args[0], previous[0]))
        except Exception:  # A mask that cannot be computed is none.
            return
        for tensor, mask in zip(tensors, computed, strict=False):
            if mask is not None and get_keras_mask(tensor) is None:
                self.built[id(tensor)] = tensor, mask


def _is_layer_of_graph(entry: CallRecord) -> bool:
    """Return whether a call is a node of a functional model that applies a layer."""
    if entry.parent is None or not entry.args or not is_layer(entry):
        return False
    return is_graph(entry.parent.operation)


def is_layer(entry: CallRecord) -> bool:
    """Return whether a call is that of a layer, not of an operation."""
    import keras

    return isinstance(entry.operation, keras.layers.Layer)


def is_keras_layer(operation: Any, name: str) -> bool:
    """Return whether an operation is one of Keras's layers, such as ``Masking``, maybe through a subclass."""
    import keras

    return isinstance(operation, getattr(keras.layers, name))


def find_in_argument(entry: CallRecord, tensor: Any) -> tuple[Any, ...]:
    """Return the keys and positions that lead to a tensor in the first argument of a call."""
    import keras

    leaves = keras.tree.flatten_with_path(entry.args[0]) if entry.args else []
    return next((tuple(path) for path, leaf in leaves if leaf is tensor), ())


def flatten_arguments(arguments: Any) -> list[Any]:
    """Return the tensors, and other values, of nested arguments, in Keras's order."""
    import keras

    return list(keras.tree.flatten(arguments))


def replace_leaves(arguments: Any, values: Mapping[int, Any]) -> Any:
    """Return nested arguments with other values at some places, in Keras's order."""
    import keras

    flat = [values.get(place, leaf) for place, leaf in enumerate(keras.tree.flatten(arguments))]
    return keras.tree.pack_sequence_as(arguments, flat)


def is_graph(operation: Any) -> bool:
    """Return whether an operation is a functional or sequential model."""
    import keras

    return isinstance(operation, (keras.Sequential, keras.src.models.Functional))


def _is_wired_by_keras(layer: Any, alike: dict[tuple[int, int], bool]) -> bool:
    """Return whether the masks of a layer in a functional model are those of its input, not passed by the user.

    ``alike`` keeps the comparisons of all layers: each mask of a stack of merges is computed from the one before.
    """
    arguments = [node.arguments for node in getattr(layer, "_inbound_nodes", ())]
    return all(
        bool(call.args) and _are_computed_alike(call.kwargs.get("mask"), get_keras_mask(call.args[0]), alike)
        for call in arguments
    )


def _are_computed_alike(first: Any, second: Any, alike: dict[tuple[int, int], bool]) -> bool:
    """Return whether two values of a graph are the same operations of the same tensors.

    A model that is loaded has the operations which computed its masks when it was built, and computes the same again.
    """
    if first is second:
        return True
    if not (hasattr(first, "_keras_history") and hasattr(second, "_keras_history")):
        return _are_equal(first, second)
    key = id(first), id(second)
    if key not in alike:
        alike[key] = _have_same_operation(first, second) and all(
            _are_computed_alike(*pair, alike) for pair in zip(_list_leaves(first), _list_leaves(second), strict=True)
        )
    return alike[key]


def _have_same_operation(first: Any, second: Any) -> bool:
    """Return whether two tensors of a graph are results of one kind of operation, not of layers, of as many values."""
    import keras

    operations = [tensor._keras_history[0] for tensor in (first, second)]
    if isinstance(operations[0], keras.layers.Layer) or type(operations[0]) is not type(operations[1]):
        return False
    return len(_list_leaves(first)) == len(_list_leaves(second))


def _list_leaves(tensor: Any) -> list[Any]:
    """Return the arguments of the operation that computed a tensor of a graph, and its place among the results."""
    import keras

    operation, node, place = tensor._keras_history
    arguments = operation._inbound_nodes[node].arguments
    settings = {name: value for name, value in vars(operation).items() if name in ("axis", "keepdims", "dtype")}
    return [place, *keras.tree.flatten((arguments.args, arguments.kwargs)), *map(str, settings.values())]


def _are_equal(first: Any, second: Any) -> bool:
    """Return whether two constants of a graph are equal; a tensor of the graph is none."""
    if any(hasattr(value, "_keras_history") for value in (first, second)):
        return False
    return bool(np.array_equal(as_array(first), as_array(second))) if hasattr(first, "shape") else first == second


class CallNumbering:
    """Numbers the calls of a run as they begin, so that equal calls of two runs of a model have equal keys.

    Operations are numbered apart from layers, which the ``!`` in their keys shows. A layer that code creates in
    each call has another name every time, and has the name of its type in the key.
    """

    def __init__(self) -> None:
        """Start at the first call."""
        self.keys: dict[int, str] = {}
        self._lasting: set[int] = set()
        self._counts: collections.Counter[str] = collections.Counter()

    def add(self, entry: CallRecord) -> str:
        """Return the key of a call that begins."""
        import keras

        if entry.parent is None:
            key = ""
            self._lasting = set(map(id, getattr(entry.operation, "_flatten_layers", list)()))
        elif entry.added:
            key = f"+{entry.index}"
        else:
            is_layer = isinstance(entry.operation, keras.layers.Layer)
            is_new = is_layer and id(entry.operation) not in self._lasting
            name = entry.type if is_new else entry.name
            kind = "" if is_layer else "!"
            path = f"{self.keys[id(entry.parent)]}/{name}{kind}"
            self._counts[path] += 1
            key = f"{path}#{self._counts[path]}"
        self.keys[id(entry)] = key
        return key


def number_calls(entries: Iterable[CallRecord]) -> dict[int, str]:
    """Return the key of each call of a run, by index."""
    numbering = CallNumbering()
    return {entry.index: numbering.add(entry) for entry in entries}


@contextlib.contextmanager
def apply_changes(changes: Sequence[CallChange]) -> Iterator[None]:
    """Let all runs that are recorded inside have these changes, also those of copies of the model."""
    with change_runs((lambda: ChangedRun(tuple(changes))) if changes else None):
        yield
