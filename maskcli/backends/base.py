"""The interface of a backend: what the rooms above need to know about tensors, without knowing which library has them.

Operations outside of layers have the names, the inputs and the attributes that TensorFlow gives them, because the rules
for them were written first. The module of another backend translates its own operations.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from maskcli.records.fields import BackendName

Watch = Callable[[Hashable, Any], Any]
"""Receives a key and a tensor; returns the tensor to go on with, by which the result can be differentiated."""
RecordOperation = Callable[[str, Sequence[Any], Any, Sequence[Any]], "list[Any] | None"]
"""Receives the type, the inputs, the attributes and the outputs of an operation; may return replacements of these."""


class Records(Protocol):
    """The records of a run, which refer to its tensors."""

    def list_tensors(self) -> Iterator[Any]:
        """Yield the tensors that any call so far received or returned, some of them several times."""

    def replace_tensors(self, copies: dict[int, Any]) -> None:
        """Let the records refer to other tensors, by the ``id`` of those that they refer to."""


@dataclasses.dataclass(frozen=True)
class Translation:
    """An operation as TensorFlow would report it.

    Attributes:
        type: its type.
        inputs: its inputs.
        attrs: names and values in turn; the last value can run the operation again.
    """

    type: str
    inputs: tuple[Any, ...]
    attrs: tuple[Any, ...]


class OperationReports(Protocol):
    """Reports of the operations that run, while they are switched on."""

    def turn(self, on: bool) -> None:
        """Switch the reports on or off."""

    def pause(self) -> contextlib.AbstractContextManager[None]:
        """Ignore the operations that run while this is open."""


class Tape(Protocol):
    """A run that can be differentiated.

    Attributes:
        result: the value that the run returned.
        watched: the tensors that the run watched, by key.
    """

    result: Any
    watched: dict[Any, Any]

    def differentiate(self, total: Callable[[Any], Any]) -> dict[Any, NDArray[Any]]:
        """Return the derivative of ``total(result)``, a scalar, by each watched tensor on which it depends.

        ``total`` may return None, for a result without floats; then there are no derivatives.
        """


class Backend(Protocol):
    """A library that computes the tensors of Keras.

    Attributes:
        name: as ``keras.backend.backend()`` returns it.
        package: the name of the package, whose version results carry.
        title: the name that its users write.
        is_stateless: whether a compiled step changes only variables that the model knows, and has only fixed shapes.
        has_free_shapes: whether one compiled function can take tensors of several shapes.
        compiles_steps: whether ``fit``, ``evaluate`` and ``predict`` compile a model that does not ask for it.
    """

    name: BackendName
    package: str
    title: str
    is_stateless: bool
    has_free_shapes: bool
    compiles_steps: bool

    def is_eager(self) -> bool:
        """Return whether operations run now at once, and are not traced into a graph or a compiled function."""

    def has_values(self, value: Any) -> bool:
        """Return whether a value is a tensor with values, not one of a graph."""

    def report_operations(self, record: RecordOperation, records: Records | None = None) -> OperationReports:
        """Return reports of operations, which are off at first.

        Args:
            record: receives each operation.
            records: of the run. Before an operation changes a tensor in place, a copy takes its place there; without
                records, such operations are not reported.
        """

    def shares_memory(self, first: Any, second: Any) -> bool:
        """Return whether a change of one tensor in place would change the other."""

    def run_operation(self, type_: str, inputs: Sequence[Any], attrs: Any, n_outputs: int) -> list[Any]:
        """Run a reported operation again with other inputs of the same shapes and dtypes.

        Raises:
            Exception: of the backend, if the operation does not take the inputs.
        """

    def move_cells(
        self, type_: str, inputs: Sequence[Any], attrs: Any, n_outputs: int, cells: dict[int, NDArray[Any]]
    ) -> list[NDArray[Any]]:
        """Run an operation that moves elements again on numbers of cells, int32, at some positions of its inputs.

        Raises:
            Exception: of the backend, if the operation does not take integers.
        """

    def record_tape(self, run: Callable[[Watch], Any]) -> Tape:
        """Run a function once, so that its result can be differentiated by the tensors that it watches."""

    def infer(self) -> contextlib.AbstractContextManager[None]:
        """Run without notes for derivatives while this is open, unless a tape is recorded."""

    def differentiate_losses(
        self, model: Any, compute: Callable[[], list[Any]], seeds: Sequence[Sequence[NDArray[Any]]], compiled: bool
    ) -> Iterator[list[Any]]:
        """Yield, for each of the ``seeds``, the gradient of losses by the trainable variables of a model, as arrays.

        Args:
            model: a Keras model.
            compute: runs the model and returns its losses.
            seeds: for each gradient, the factor of each number in each of the losses.
            compiled: whether compiling the run pays.
        """

    def list_compiled_steps(self, model: Any) -> tuple[str, ...]:
        """Return which of ``fit`` and ``predict`` run a model otherwise than a call: compiled, or differentiated."""

    def compile_model(self, model: Any, shapes: Sequence[Sequence[int | None]] | None = None) -> Callable[[Any], Any]:
        """Return a function that runs a model in inference mode, as these steps do.

        Args:
            model: a Keras model.
            shapes: for each argument, in order, the shapes that it may have, where ``has_free_shapes``; None is an
                axis of any size. Without them, each shape is compiled by itself.
        """

    def drop_mask(self, tensor: Any) -> Any:
        """Return the same values as a tensor without a mask."""

    def select(self, tensor: Any, places: Any) -> Any:
        """Return the elements of a tensor at the places where a boolean tensor is True, along its first axes."""

    def read_variable(self, variable: Any) -> NDArray[Any]:
        """Return the value of a variable, without a copy where the backend does not assign in place."""

    def keep_values(self, layer: Any) -> contextlib.AbstractContextManager[None]:
        """Give back the values of variables that an evaluation takes off while it runs, also after an error."""

    def return_state(self, model: Any) -> None:
        """Let the variables of a model have their values while a callback of ``fit`` runs."""

    def is_variable(self, value: Any) -> bool:
        """Return whether a value is a variable of the backend, which Keras does not list."""

    def get_generator(self) -> Any | None:
        """Return the generator from which operations draw their seeds; None if the backend has none."""

    def compile_loops(self, enabled: bool = True) -> contextlib.AbstractContextManager[None]:
        """Let the loops of Keras's recurrent layers run in compiled functions while this is open, if that pays."""

    def expect_runs(self) -> contextlib.AbstractContextManager[None]:
        """Compile every loop in its next run while this is open, because many runs will follow."""

    def run_functions_eagerly(self) -> contextlib.AbstractContextManager[None]:
        """Let functions that the user compiles run as Python, so that their calls are visible."""

    def list_called_functions(self, called: list[Any]) -> contextlib.AbstractContextManager[None]:
        """Append to a list each compiled function that is called while this is open."""

    def allow_float64(self) -> contextlib.AbstractContextManager[None]:
        """Let tensors be of float64 while this is open, where the backend would make float32 of them."""

    def silence_tracing(self) -> contextlib.AbstractContextManager[None]:
        """Drop warnings that functions are traced again for other shapes."""
