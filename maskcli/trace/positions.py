"""Follow the timesteps of the inputs through a model: the cells that the elements of each tensor come from.

Operations that move elements are run again on the numbers of cells. Layers that compute over time, such as RNNs,
convolutions and attention, are known by their class; every other layer of Keras is run again, and its operations are
followed one by one. The number of timesteps decides only where nothing else is known.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from maskcli.backends.choice import get_backend
from maskcli.records.arrays import Bools
from maskcli.records.inputs import ModelInput
from maskcli.trace.cells import MIXED, InputCells, Labels, Layer, TimestepOrigin, compact
from maskcli.trace.movement import VALUELESS, OperationRules
from maskcli.trace.recorder import CallRecord, list_parameters
from maskcli.trace.rerun import rerun_call, rerun_operation, set_mask
from maskcli.trace.values import as_float64, is_float

_Operation = tuple[str, Sequence[Any], Any, Sequence[Any]]
"""The type of an operation, its inputs, its attributes and its outputs."""

MOST_MEASURED = 64
"""Timesteps up to which it is measured which of them change which results."""


@dataclasses.dataclass(eq=False)
class Positions:
    """The timesteps that the tensors of a run come from, by ``id`` of a tensor.

    Attributes:
        inputs: the inputs of the model.
        cells: the cells of the inputs.
        labels: the layers of each tensor that depends on timesteps.
        guessed: tensors whose timesteps are not those of an input, one by one, so that their validity is an estimate.
    """

    inputs: Sequence[ModelInput]
    cells: InputCells
    labels: dict[int, Labels] = dataclasses.field(default_factory=dict)
    guessed: set[int] = dataclasses.field(default_factory=set)
    _rules: OperationRules = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        """Create the rules of operations."""
        self._rules = OperationRules(self.cells)

    def get_labels(self, tensor: Any) -> Labels:
        """Return the layers of a tensor; none if it depends on no timestep."""
        return self.labels.get(id(tensor), ())

    def add_input(self, position: int, tensor: Any) -> None:
        """Label an input of the model."""
        labels = self.cells.label_input(position)
        if labels and labels[0].ndim == len(tensor.shape):
            self.labels[id(tensor)] = labels

    def read_origin(self, tensor: Any) -> TimestepOrigin | None:
        """Return the validity of a tensor with timesteps."""
        return self.cells.read_origin(self.get_labels(tensor), tuple(tensor.shape), is_float(tensor))

    def is_pooled(self, tensor: Any, rows: int) -> bool:
        """Return whether a tensor without the timesteps of an origin has a result for each of the ``rows``."""
        rank, labels = len(tensor.shape), self.get_labels(tensor)
        if not rank or tensor.shape[0] != rows or not all(self.cells.has_rows(layer, rows) for layer in labels):
            return False
        # Flattened features of timesteps, (batch, timesteps * features), are features of the row.
        return (rank == 2 and is_float(tensor)) or not any(self.cells.find_time_axes(layer) for layer in labels)

    def have_same_labels(self, first: Any, second: Any) -> bool:
        """Return whether two tensors, of which one may have axes of size 1, hold the same timesteps in all places."""
        layers = [[layer.ravel() for layer in self.get_labels(tensor)] for tensor in (first, second)]
        return bool(layers[1]) and all(any(np.array_equal(a, b) for a in layers[0]) for b in layers[1])

    def find_time_axes(self, tensor: Any) -> frozenset[int]:
        """Return the axes of a tensor along which the timestep changes, in any of its layers."""
        labels = self.get_labels(tensor)
        return frozenset[int]().union(*(self.cells.find_time_axes(layer) for layer in labels))

    def map_places(self, tensor: Any) -> Bools | None:
        """Return, broadcast to the shape of a tensor, which elements come from valid timesteps on all axes."""
        layers = self.get_labels(tensor)
        if not layers:
            return None
        valid: Bools = np.ones([1] * len(tensor.shape), bool)
        for layer in layers:
            valid = valid & self.cells.valid[layer]
        return valid

    def extend_validity(self, tensor: Any, inputs: Sequence[ModelInput]) -> Bools | None:
        """Return the validity of a tensor for more rows, those of ``inputs``; None if its timesteps differ by row.

        The ``inputs`` are those of the model, with all rows of the data.
        """
        origin = self.read_origin(tensor)
        if origin is None or origin.layer.ndim != 2:
            return None
        source, time = self.cells.source[origin.layer], self.cells.time[origin.layer]
        if (source != source[0]).any() or (time != time[0]).any() or (origin.layer == MIXED).any():
            return None
        columns = []
        for position, timestep in zip(source[0], time[0], strict=True):
            valid = inputs[position].valid
            if position >= 0 and valid is None:
                return None
            columns.append(
                np.ones(len(inputs[0].values), bool) if valid is None or position < 0 else valid[:, timestep]
            )
        stacked: Bools = np.stack(columns, axis=1)
        truths = (model_input.valid for model_input in inputs if model_input.valid is not None)
        return next((truth for truth in truths if np.array_equal(truth, stacked)), stacked)

    def follow_call(self, entry: CallRecord, made: set[int]) -> None:
        """Label the outputs of a call, apart from those that a call inside it ``made``."""
        outputs = [tensor for tensor in entry.outputs if id(tensor) not in made or self._knows_class(entry)]
        if outputs and entry.code:
            self._follow_operation(entry.type, entry.args, entry.kwargs["attrs"], entry.outputs)
            if self._rules.unknown:
                self._measure(entry, entry.outputs)
        elif outputs and any(self.get_labels(tensor) for tensor in entry.inputs):
            self._follow_layer(entry)
        for tensor in entry.outputs:
            self._apply_shape(entry, tensor)

    def _knows_class(self, entry: CallRecord) -> bool:
        """Return whether the call is of one of Keras's own layers that compute over time, maybe through a subclass."""
        import keras

        layers = keras.layers
        kinds = (layers.RNN, layers.Bidirectional, layers.MultiHeadAttention, layers.GroupQueryAttention)
        own = not entry.code and _is_of_keras(type(entry.operation).call)
        return own and isinstance(entry.operation, kinds)

    def _follow_operation(self, type_: str, inputs: Sequence[Any], attrs: Any, outputs: Sequence[Any]) -> None:
        labels = [self.get_labels(tensor) for tensor in inputs]
        guessed = any(id(tensor) in self.guessed for tensor in inputs)
        results = self._rules.label_outputs(type_, inputs, attrs, outputs, labels)
        for tensor, result in zip(outputs, results, strict=True):
            self._set(tensor, result, guessed or self._rules.guessed)

    def _set(self, tensor: Any, labels: Labels, guessed: bool) -> None:
        if labels:
            self.labels[id(tensor)] = labels
            if guessed:
                self.guessed.add(id(tensor))
            else:  # A known class replaces the labels of the operations inside it.
                self.guessed.discard(id(tensor))

    def _follow_layer(self, entry: CallRecord) -> None:
        results = self._label_known_layer(entry)
        guessed = any(id(tensor) in self.guessed for tensor in entry.inputs)
        if results is None:
            if entry.calls:
                return
            self._look_inside(entry)
            return
        for tensor, (labels, guess) in zip(entry.outputs, results, strict=False):
            self._set(tensor, labels, guessed or guess)

    def _label_known_layer(self, entry: CallRecord) -> list[tuple[Labels, bool]] | None:
        """Return the labels of each output of a layer that is known by its class; None for other layers."""
        import keras

        layer, layers = entry.operation, keras.layers
        if not isinstance(layer, layers.Layer) or not _is_of_keras(type(layer).call):
            return None
        if isinstance(layer, layers.RNN):
            return self._label_rnn(entry, layer.return_sequences, turned=layer.go_backwards)
        if isinstance(layer, layers.Bidirectional):
            return self._label_rnn(entry, layer.return_sequences, turned=False)
        if isinstance(layer, layers.TimeDistributed):
            return self._label_each_step(entry)
        if isinstance(layer, layers.MultiHeadAttention | layers.GroupQueryAttention | layers.Attention):
            return self._label_attention(entry)
        return self._label_simple_layer(entry)

    def _label_simple_layer(self, entry: CallRecord) -> list[tuple[Labels, bool]] | None:
        """Return the labels of the output of a layer that keeps timesteps in their order; None for other layers."""
        from keras import layers

        layer = entry.operation
        if isinstance(layer, _list_elementwise()) and _has_same_shape(entry):
            labels = self.get_labels(entry.inputs[0])
            return [(labels, False)]
        if isinstance(layer, layers.Embedding) and len(entry.outputs[0].shape) == len(entry.inputs[0].shape) + 1:
            return [(tuple(part[..., None] for part in self.get_labels(entry.inputs[0])), False)]
        if isinstance(layer, layers.Dense):
            return [self._collapse_features(entry.inputs[0], 1)]
        if isinstance(layer, layers.EinsumDense):
            return self._label_projection(entry)
        if _slides(layer) and _has_same_length(entry):
            labels, _ = self._collapse_features(entry.inputs[0], 1)
            return [(labels, False)]
        if _stretches(layer):
            labels, _ = self._collapse_features(entry.inputs[0], 1)
            return [(self._rules.stretch(labels, entry.inputs[0].shape, entry.outputs[0].shape), True)]
        return None

    def _label_projection(self, entry: CallRecord) -> list[tuple[Labels, bool]] | None:
        """Return the labels of ``EinsumDense`` that sums only over features; None for another one."""
        layer, tensor = entry.operation, entry.inputs[0]
        own = self.get_labels(tensor)
        if layer.quantization_mode is not None or not _is_of_keras(layer.activation):
            return None
        attrs = ("equation", layer.equation)
        labels = self._rules.label_outputs("Einsum", (tensor, layer.kernel), attrs, entry.outputs, (own, ()))[0]
        if self._rules.guessed or sum(part.size for part in labels) != sum(part.size for part in own):
            return None
        return [(labels, False)]

    def _collapse_features(self, tensor: Any, count: int, rank: int | None = None) -> tuple[Labels, bool]:
        """Return the labels of a tensor whose last axes become new features, and a rank if these are fewer or more."""
        axes = range(len(tensor.shape) - count, len(tensor.shape))
        labels, differ = self.cells.collapse(self.get_labels(tensor), list(axes), keepdims=True)
        if rank is not None:
            labels = tuple(_fit_rank(layer, rank) for layer in labels)
        return labels, differ

    def _label_rnn(self, entry: CallRecord, keeps_time: bool, turned: bool) -> list[tuple[Labels, bool]]:
        """Return the labels of the outputs of an RNN: a sequence or its last output, and states."""
        sequence = entry.inputs[0]
        rank = len(sequence.shape)
        labels, guessed = self._collapse_features(sequence, rank - 2)
        pooled, _ = self.cells.collapse(labels, [1])
        results: list[tuple[Labels, bool]] = []
        for position, tensor in enumerate(entry.outputs):
            size = len(tensor.shape)
            is_sequence = keeps_time and (position == 0 or tuple(tensor.shape) == tuple(entry.outputs[0].shape))
            if is_sequence and size > 2:
                own = tuple(_fit_rank(layer, size) for layer in labels)
                own = tuple(np.flip(layer, axis=1) for layer in own) if turned else own
            else:
                own = tuple(_fit_rank(layer, size) for layer in pooled)
            results.append((own, guessed))
        return results

    def _label_each_step(self, entry: CallRecord) -> list[tuple[Labels, bool]] | None:
        """Return the labels of ``TimeDistributed``: the timesteps of its input, and places inside if it keeps these."""
        tensor, output = entry.inputs[0], entry.outputs[0]
        labels, rank = self.get_labels(tensor), len(output.shape)
        if all(layer.size == layer.shape[0] * layer.shape[1] for layer in labels):
            return [(tuple(_fit_rank(layer, rank) for layer in labels), False)]
        # The inner layer keeps or pools the places inside a timestep: label its call on all timesteps as rows.
        rows = int(tensor.shape[0]) * int(tensor.shape[1])
        return self._label_rows(entry, tensor, rows, output)

    def _label_rows(self, entry: CallRecord, tensor: Any, rows: int, output: Any) -> list[tuple[Labels, bool]] | None:
        import keras

        inner = entry.operation.layer
        flat = keras.ops.reshape(tensor, (rows, *tensor.shape[2:]))
        result = rerun_operation(inner, (flat,), {"training": False})
        if result is None or not hasattr(result, "shape"):
            return None
        self.labels[id(flat)] = tuple(
            compact(np.broadcast_to(layer, (*tensor.shape[:2], *layer.shape[2:])).reshape(rows, *layer.shape[2:]))
            for layer in self.get_labels(tensor)
        )
        call = CallRecord(inner, -1, None, (flat,), {}, [flat], [None], outputs=[result], returned=True)
        self._follow_layer(call)
        own, guessed = self.labels.pop(id(result), ()), id(result) in self.guessed
        del self.labels[id(flat)]
        self.guessed.discard(id(result))
        shape = (int(output.shape[0]), int(output.shape[1]))
        # The inner layer pools the places, as an RNN does. Labels of its loop are a guess, and may be of one place.
        is_pooled = guessed and len(result.shape) == 2 and is_float(result)
        if is_pooled or all(self.cells.is_mixed(layer) for layer in own):
            return [(self._find_timesteps(tensor, len(output.shape)), guessed)]
        folded = tuple(
            compact(np.broadcast_to(layer, (rows, *layer.shape[1:])).reshape(*shape, *layer.shape[1:])) for layer in own
        )
        return [(folded, guessed)]

    def _find_timesteps(self, tensor: Any, rank: int) -> Labels:
        """Return the timesteps of a tensor that has padding inside them, as labels of a tensor of some rank."""
        around = (self.cells.parent[layer].astype(np.int32) for layer in self.get_labels(tensor))
        return tuple(
            compact(layer.reshape(*layer.shape[:2], -1)[:, :, 0].reshape(*layer.shape[:2], *[1] * (rank - 2)))
            for layer in around
        )

    def _label_attention(self, entry: CallRecord) -> list[tuple[Labels, bool]]:
        """Return the labels of attention: the timesteps of the query; of scores, also those of the keys."""
        query, key = _find_query_and_key(entry)
        output = entry.outputs[0]
        labels, guessed = self._collapse_features(query, 1, len(output.shape))
        if not labels and (self.get_labels(key)):
            labels = self._rules.mix(len(output.shape))
        results = [(labels, guessed)]
        for scores in entry.outputs[1:]:
            rank = len(scores.shape)
            of_query = [layer.reshape(layer.shape[0], *[1] * (rank - 3), -1, 1) for layer in _take_time(labels)]
            keys, _ = self._collapse_features(key, 1)
            of_key = [layer.reshape(layer.shape[0], *[1] * (rank - 2), -1) for layer in _take_time(keys)]
            results.append(((*of_query[:1], *of_key[:1]), guessed))
        return results

    def _look_inside(self, entry: CallRecord) -> None:
        """Run a layer or operation again and follow its operations."""
        operations: list[_Operation] = []
        copies: list[Any] = []

        def copy_leaf(leaf: Any) -> Any:
            if not any(leaf is tensor for tensor in entry.inputs) or not get_backend().has_values(leaf):
                return leaf
            copy = keras.ops.copy(leaf)
            copies.append(copy)
            set_mask(copy, masks.get(id(leaf)))
            self._set(copy, self.get_labels(leaf), id(leaf) in self.guessed)
            return copy

        import keras

        masks = {id(tensor): mask for tensor, mask in zip(entry.inputs, entry.carried, strict=True)}
        args, kwargs = keras.tree.map_structure(copy_leaf, (entry.args, entry.kwargs))
        if isinstance(entry.operation, keras.layers.Layer):
            kwargs = {**kwargs, "training": False}
        with _collect_operations(operations), get_backend().run_functions_eagerly():
            result = rerun_operation(entry.operation, args, kwargs)
        is_traced = True
        for type_, inputs, attrs, outputs in operations:
            self._follow_operation(type_, inputs, attrs, outputs)
            is_traced = is_traced and not self._rules.unknown
        self._take_results(entry, result, operations, copies, is_traced)

    def _take_results(
        self, entry: CallRecord, result: Any, operations: Sequence[_Operation], copies: Sequence[Any], known: bool
    ) -> None:
        """Give the outputs of a call the labels of those of its second run, and forget the tensors of that run."""
        import keras

        leaves = [] if result is None else [leaf for leaf in keras.tree.flatten(result) if hasattr(leaf, "shape")]
        inner = [tensor for *_, outputs in operations for tensor in outputs]
        traced = {id(tensor) for tensor in (*inner, *copies, *entry.inputs)}
        known = known and bool(leaves) and all(id(leaf) in traced for leaf in leaves)
        found = [(self.get_labels(leaf), id(leaf) in self.guessed) for leaf in leaves]
        kept = {id(tensor) for tensor in (*entry.outputs, *entry.inputs)}
        for tensor in (*copies, *leaves, *inner):
            if id(tensor) not in kept:
                self.labels.pop(id(tensor), None)
                self.guessed.discard(id(tensor))
        for tensor, (labels, guessed) in zip(entry.outputs, found, strict=False):
            self._set(tensor, labels, guessed)
        if not known:
            self._measure(entry, entry.outputs)

    def _measure(self, entry: CallRecord, tensors: Sequence[Any]) -> None:
        """Label results by the timesteps that change them, where no operation shows where their elements come from."""
        sources = [tensor for tensor in entry.inputs if is_float(tensor) and self.read_origin(tensor) is not None]
        for position, tensor in enumerate(tensors):
            labels = self._measure_output(entry, sources, position) if sources and len(tensor.shape) > 1 else None
            self.labels[id(tensor)] = self._rules.mix(len(tensor.shape)) if labels is None else labels
            self.guessed.add(id(tensor))

    def _measure_output(self, entry: CallRecord, sources: Sequence[Any], position: int) -> Labels | None:
        """Return the labels of one output by running the call with other values at one timestep after the other."""
        origin = self.read_origin(sources[0])
        before = entry.outputs[position]
        if origin is None or origin.valid.shape[1] > MOST_MEASURED or before.shape[0] != len(origin.valid):
            return None
        shape, columns = origin.valid.shape[:2], []
        for timestep in range(shape[1]):
            keep = np.ones(shape, bool)
            keep[:, timestep] = False
            own = {id(source): keep for source in sources if tuple(source.shape[:2]) == shape}
            after = rerun_call(entry, own, np.random.default_rng(1))
            if after is None or len(after) <= position or after[position].shape != before.shape:
                return None
            moved = as_float64(before) != as_float64(after[position])
            columns.append(moved.reshape(*before.shape[:2], -1).any(axis=(0, 2)))
        return self._read_dependence(np.stack(columns), origin, before)

    def _read_dependence(self, depends: Bools, origin: TimestepOrigin, tensor: Any) -> Labels | None:
        """Return labels from ``depends (timesteps, places)``; None for results of the whole sequence."""
        timesteps, places = depends.shape
        layer, rank = origin.layer.reshape(*origin.layer.shape[:2], -1)[:, :, 0], len(tensor.shape)
        if not depends.any(axis=0).all() or (depends.all() and (places != timesteps or rank < 3)):
            return None
        if places == timesteps and np.diagonal(depends).all():
            chosen = layer
        elif places == timesteps and np.diagonal(depends[::-1]).all():
            chosen = layer[:, ::-1]
        else:
            chosen = layer[:, depends.argmax(axis=0)]
            for timestep in range(timesteps):
                other = layer[:, [timestep]]
                worse = depends[timestep] & self.cells.valid[chosen] & ~self.cells.valid[other]
                chosen = np.where(worse, other, chosen)
        return (chosen.reshape(*chosen.shape, *[1] * (rank - 2)).astype(np.int32),)

    def _apply_shape(self, entry: CallRecord, tensor: Any) -> None:
        """Label a result of several timesteps that has as many timesteps as an input, such as a repeated vector."""
        labels, shape = self.get_labels(tensor), tuple(tensor.shape)
        if entry.type in VALUELESS or not labels or len(shape) < 2 or shape[1] < 2:
            return
        if not all(self.cells.is_mixed(layer) for layer in labels):
            return
        # Of features, (batch, features), only those of a loop over timesteps are seen to be timesteps.
        if len(shape) == 2 and not any(self.cells.find_time_axes(layer) for layer in labels):
            return
        layer = self._find_layer_of_shape(entry, shape)
        if layer is not None:
            self.labels[id(tensor)] = (layer,)
            self.guessed.add(id(tensor))

    def _find_layer_of_shape(self, entry: CallRecord, shape: tuple[int, ...]) -> Layer | None:
        """Return the timesteps of an input of a call with a result's number of timesteps, or of the model's inputs."""
        for source in () if entry.code else entry.inputs:
            origin = self.read_origin(source)
            if origin is not None and origin.valid.shape[:2] == shape[:2]:
                layer = origin.layer.reshape(*shape[:2], -1)[:, :, 0]
                return layer.reshape(*shape[:2], *[1] * (len(shape) - 2))
        for position, model_input in enumerate(self.inputs):
            if model_input.valid is not None and model_input.valid.shape == shape[:2]:
                return self.cells.label_timesteps(position, len(shape))
        return None


def start_positions(tensors: Sequence[Any], inputs: Sequence[ModelInput]) -> Positions:
    """Return the positions of the inputs of a model."""
    positions = Positions(inputs, InputCells(inputs))
    for position, tensor in enumerate(tensors[: len(inputs)]):
        positions.add_input(position, tensor)
    return positions


@contextlib.contextmanager
def _collect_operations(operations: list[_Operation]) -> Iterator[None]:
    """Collect the operations of the backend that run until this closes."""
    reports = get_backend().report_operations(lambda *operation: operations.append(operation))
    reports.turn(True)
    try:
        yield
    finally:
        reports.turn(False)


def _fit_rank(layer: Layer, rank: int) -> Layer:
    """Return a layer with more axes of size 1 at its end, or fewer."""
    if layer.ndim <= rank:
        return layer.reshape(*layer.shape, *[1] * (rank - layer.ndim))
    return layer.reshape(layer.shape[:rank]) if layer.size == int(np.prod(layer.shape[:rank])) else layer


def _take_time(labels: Labels) -> list[Layer]:
    """Return the layers of timesteps, ``(batch, timesteps)``, of a tensor ``(batch, timesteps, features)``."""
    return [layer.reshape(layer.shape[:2]) for layer in labels if layer.size == int(np.prod(layer.shape[:2]))]


def _find_query_and_key(entry: CallRecord) -> tuple[Any, Any]:
    import keras

    names = list_parameters(type(entry.operation).call)
    by_name = {**dict(zip(names, entry.args, strict=False)), **entry.kwargs}
    if "inputs" in by_name:
        tensors = keras.tree.flatten(by_name["inputs"])
        return tensors[0], tensors[-1] if len(tensors) > 2 else tensors[min(1, len(tensors) - 1)]
    query = by_name["query"]
    value = by_name.get("value", query)
    key = by_name.get("key")
    return query, value if key is None else key


def _list_elementwise() -> tuple[type, ...]:
    """Return the layers of Keras that compute each timestep by itself, or keep the timesteps in their places."""
    from keras import layers

    return (
        layers.Activation,
        layers.AlphaDropout,
        layers.BatchNormalization,
        layers.Dropout,
        layers.ELU,
        layers.GaussianDropout,
        layers.GaussianNoise,
        layers.GroupNormalization,
        layers.LayerNormalization,
        layers.LeakyReLU,
        layers.Masking,
        layers.Normalization,
        layers.PReLU,
        layers.RMSNormalization,
        layers.ReLU,
        layers.Softmax,
        layers.SpatialDropout1D,
        layers.SpatialDropout2D,
        layers.SpatialDropout3D,
        layers.UnitNormalization,
    )


def _is_of_keras(function: Any) -> bool:
    """Return whether a function, if there is one, is of Keras; its activations keep elements in their places."""
    return function is None or str(getattr(function, "__module__", "")).startswith("keras.")


def _slides(layer: Any) -> bool:
    """Return whether a layer computes windows: a convolution or a local pooling."""
    module = type(layer).__module__
    names = [base.__module__ for base in type(layer).__mro__]
    is_window = any(".convolutional." in name or ".pooling.base_pooling" in name for name in (module, *names))
    return is_window and not _stretches(layer)


def _stretches(layer: Any) -> bool:
    return "Transpose" in type(layer).__name__ and any(".convolutional." in b.__module__ for b in type(layer).__mro__)


def _has_same_shape(entry: CallRecord) -> bool:
    return bool(entry.inputs) and tuple(entry.inputs[0].shape) == tuple(entry.outputs[0].shape)


def _has_same_length(entry: CallRecord) -> bool:
    """Return whether a call returns as many places as it receives, on all axes but the last."""
    return bool(entry.inputs) and tuple(entry.inputs[0].shape[:-1]) == tuple(entry.outputs[0].shape[:-1])
