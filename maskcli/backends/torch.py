"""PyTorch: functions are reported by a mode for them, and differentiated by its tape."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcli.backends.arrays import as_array
from maskcli.backends.base import OperationReports, RecordOperation, Records, Tape, Watch
from maskcli.backends.promotion import promote_to_float64
from maskcli.backends.torch_reports import FunctionReports, is_plain, share_memory
from maskcli.records.fields import BackendName


class TorchBackend:
    """PyTorch as the backend of Keras."""

    name: BackendName = "torch"
    package = "torch"
    title = "PyTorch"
    is_stateless = False
    has_free_shapes = False
    compiles_steps = False

    def __init__(self) -> None:
        """Begin without a tape."""
        self._is_taping = False
        self._generator = _Generator()

    def is_eager(self) -> bool:
        """Return whether functions run at once: Keras finds shapes by tensors without values."""
        import torch
        from keras.src.backend.common.symbolic_scope import in_symbolic_scope

        return not in_symbolic_scope() and not torch.compiler.is_compiling()

    def has_values(self, value: Any) -> bool:
        """Return whether a value is a tensor with values, not one of a compiled or mapped function."""
        import torch

        return isinstance(value, torch.Tensor) and is_plain(value)

    def report_operations(self, record: RecordOperation, records: Records | None = None) -> OperationReports:
        """Return reports of functions of PyTorch."""
        return FunctionReports(record, records)

    def shares_memory(self, first: Any, second: Any) -> bool:
        """Return whether two tensors are in the same memory."""
        return share_memory(first, second)

    def run_operation(self, type_: str, inputs: Sequence[Any], attrs: Any, n_outputs: int) -> list[Any]:
        """Call a function again."""
        del type_, n_outputs
        results: list[Any] = attrs[-1].repeat(list(inputs))  # The reports add the call.
        return results

    def move_cells(
        self, type_: str, inputs: Sequence[Any], attrs: Any, n_outputs: int, cells: dict[int, NDArray[Any]]
    ) -> list[NDArray[Any]]:
        """Call a function on numbers of cells instead of elements."""
        import torch

        arguments = list(inputs)
        for position, numbers in cells.items():
            arguments[position] = torch.as_tensor(np.array(numbers, np.int32), device=_find_device(inputs))
        return [as_array(result) for result in self.run_operation(type_, arguments, attrs, n_outputs)]

    def record_tape(self, run: Callable[[Watch], Any]) -> Tape:
        """Run a function while PyTorch notes how to differentiate it."""
        import torch

        with torch.enable_grad(), self._keep_tape():
            return _TorchTape(run)

    @contextlib.contextmanager
    def _keep_tape(self) -> Iterator[None]:
        """Let ``infer`` do nothing while this is open."""
        before, self._is_taping = self._is_taping, True
        try:
            yield
        finally:
            self._is_taping = before

    @contextlib.contextmanager
    def infer(self) -> Iterator[None]:
        """Run without notes for derivatives, unless there is a tape."""
        import torch

        with contextlib.nullcontext() if self._is_taping else torch.no_grad():
            yield

    def differentiate_losses(
        self, model: Any, compute: Callable[[], list[Any]], seeds: Sequence[Sequence[NDArray[Any]]], compiled: bool
    ) -> Iterator[list[Any]]:
        """Yield the products of one run with the seeds, by one backward pass for all variables."""
        import torch

        del compiled
        variables = [variable.value for variable in model.trainable_variables]
        with torch.enable_grad(), self._keep_tape():
            losses = compute()
        for way in seeds:
            factors = [
                torch.as_tensor(np.asarray(numbers, "float32"), device=loss.device)
                for numbers, loss in zip(way, losses, strict=True)
            ]
            gradients = _differentiate(losses, variables, factors)
            yield [as_array(gradient) for gradient in gradients if gradient is not None]

    def list_compiled_steps(self, model: Any) -> tuple[str, ...]:
        """Return the steps of a model that asks for ``torch.compile``."""
        return ("fit", "predict") if getattr(model, "jit_compile", False) else ()

    def compile_model(self, model: Any, shapes: Sequence[Sequence[int | None]] | None = None) -> Callable[[Any], Any]:
        """Return the model as ``torch.compile`` compiles it."""
        del shapes
        import torch

        def run(tensors: Any) -> Any:
            with torch.no_grad():
                return model(tensors, training=False)

        compiled: Callable[[Any], Any] = torch.compile(run)
        return compiled

    def drop_mask(self, tensor: Any) -> Any:
        """Return a view of a tensor, which has no attributes of Keras."""
        return tensor.view_as(tensor)

    def select(self, tensor: Any, places: Any) -> Any:
        """Return the elements at the places that are True."""
        import torch

        return tensor[torch.as_tensor(places, device=tensor.device)]

    def read_variable(self, variable: Any) -> NDArray[Any]:
        """Return a copy of the value of a variable: PyTorch assigns in place."""
        return np.array(as_array(variable))

    @contextlib.contextmanager
    def keep_values(self, layer: Any) -> Iterator[None]:
        """Restore the buffers of modules of PyTorch inside a layer, and whether they train."""
        import torch

        modules = list(layer.modules()) if isinstance(layer, torch.nn.Module) else []
        modes = [(module, module.training) for module in modules]
        buffers = [(buffer, buffer.clone()) for module in modules for buffer in module.buffers(recurse=False)]
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode
            with torch.no_grad():
                for buffer, value in buffers:
                    buffer.copy_(value)

    def return_state(self, model: Any) -> None:
        """Do nothing: variables keep their values."""

    def is_variable(self, value: Any) -> bool:
        """Return False: Keras lists the parameters of modules, and ``keep_values`` restores their buffers."""
        del value
        return False

    def get_generator(self) -> Any | None:
        """Return the generators of the devices."""
        return self._generator

    @contextlib.contextmanager
    def compile_loops(self, enabled: bool = True) -> Iterator[None]:
        """Do nothing."""
        del enabled
        yield

    def expect_runs(self) -> contextlib.AbstractContextManager[None]:
        """Do nothing."""
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def run_functions_eagerly(self) -> Iterator[None]:
        """Let functions that ``torch.compile`` compiles run as Python."""
        if "torch._dynamo" not in sys.modules:  # Nothing is compiled; the import takes seconds.
            yield
            return
        import torch

        with torch.compiler.set_stance("force_eager"):
            yield

    def list_called_functions(self, called: list[Any]) -> contextlib.AbstractContextManager[None]:
        """Do nothing: attributes of tensors reach compiled functions."""
        del called
        return contextlib.nullcontext()

    def allow_float64(self) -> contextlib.AbstractContextManager[None]:
        """Let operations of Keras keep float64."""
        return promote_to_float64()

    def silence_tracing(self) -> contextlib.AbstractContextManager[None]:
        """Do nothing."""
        return contextlib.nullcontext()


def _find_device(tensors: Sequence[Any]) -> Any:
    return next((tensor.device for tensor in tensors if hasattr(tensor, "is_cuda")), None)


def _differentiate(values: Sequence[Any], by: Sequence[Any], factors: Sequence[Any] | None = None) -> list[Any]:
    """Return the derivative of values by each tensor; None by one on which they do not depend."""
    import torch

    factors = [None] * len(values) if factors is None else factors
    pairs = [pair for pair in zip(values, factors, strict=True) if pair[0].requires_grad]
    places = [place for place, tensor in enumerate(by) if tensor.requires_grad]
    gradients: list[Any] = [None] * len(by)
    if not pairs or not places:
        return gradients
    depended = torch.autograd.grad(
        [value for value, _ in pairs],
        [by[place] for place in places],
        grad_outputs=[factor for _, factor in pairs],
        retain_graph=True,
        allow_unused=True,
    )
    for place, gradient in zip(places, depended, strict=True):
        gradients[place] = gradient
    return gradients


class _Generator:
    """The generators of PyTorch, of all devices, with the methods of a generator of Python."""

    def getstate(self) -> Any:
        """Return their states."""
        import torch

        return torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []

    def setstate(self, state: Any) -> None:
        """Continue from states."""
        import torch

        torch.set_rng_state(state[0])
        if state[1]:
            torch.cuda.set_rng_state_all(state[1])

    def seed(self, seed: int) -> None:
        """Start from a seed."""
        import torch

        torch.manual_seed(seed)


class _TorchTape:
    """A run that PyTorch noted, to differentiate it."""

    def __init__(self, run: Callable[[Watch], Any]) -> None:
        self.watched: dict[Any, Any] = {}
        self.result = run(self.watch)

    def watch(self, key: Hashable, tensor: Any) -> Any:
        """Keep a tensor, and note what depends on it."""
        if tensor.is_floating_point():
            if not tensor.requires_grad:
                tensor.requires_grad_()
            self.watched[key] = tensor
        return tensor

    def differentiate(self, total: Callable[[Any], Any]) -> dict[Any, NDArray[Any]]:
        """Return the derivatives of the total."""
        import torch

        with torch.enable_grad():
            value = total(self.result)
        if value is None:
            return {}
        gradients = _differentiate([value], list(self.watched.values()))
        pairs = zip(self.watched, gradients, strict=True)
        return {key: as_array(gradient) for key, gradient in pairs if gradient is not None}
