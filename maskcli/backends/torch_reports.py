"""Reports of the functions of PyTorch that code calls."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from maskcli.backends.base import RecordOperation
from maskcli.backends.torch_operations import FunctionCall, list_tensors, replace_tensors, translate_call


def is_plain(tensor: Any) -> bool:
    """Return whether a tensor has values, for all rows: not one without values, nor one of a mapped function."""
    import torch

    is_mapped = torch._C._functorch.is_functorch_wrapped_tensor(tensor)
    return not tensor.is_meta and not is_mapped and type(tensor).__name__ != "FakeTensor"


class FunctionReports:
    """A mode of PyTorch that sees each call of a function of ``torch``, and of a method of a tensor."""

    def __init__(self, record: RecordOperation) -> None:
        """Report to a function; the reports are off."""
        self.record = record
        self.is_on: bool = False
        self.is_paused: bool = False
        self.is_entered: bool = False
        self.mode: Any = _make_mode(self)

    def turn(self, on: bool) -> None:
        """Switch the reports on or off.

        Modes are closed in the order that is the reverse of that in which they were opened: inside a mode of the user,
        this one stays open, and ignores calls.
        """
        self.is_on = on
        if on and not self.is_entered:
            self.mode.__enter__()
            self.is_entered = True
        elif not on and self.is_entered and self.is_innermost():
            self.mode.__exit__(None, None, None)
            self.is_entered = False

    def is_innermost(self) -> bool:
        """Return whether no other mode was opened after this one."""
        from torch.overrides import _get_current_function_mode

        return _get_current_function_mode() is self.mode

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Ignore the functions that run while this is open."""
        before, self.is_paused = self.is_paused, True
        try:
            yield
        finally:
            self.is_paused = before

    def run(self, function: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Call a function, and report it if it makes a tensor of others."""
        result = function(*args, **kwargs)
        if not self.is_on or self.is_paused or not list_tensors(result):
            return result
        call = FunctionCall(function, [_read_variable(value) for value in args], kwargs)
        if not any(tensor.ndim and is_plain(tensor) for tensor in call.tensors):
            return result
        outputs = list_tensors(result)
        if any(output is tensor for output in outputs for tensor in call.tensors):  # It returned an argument.
            return result
        operation = translate_call(call, outputs)
        replaced = self.record(operation.type, operation.inputs, operation.attrs, outputs)
        return result if replaced is None else replace_tensors(result, replaced)


def _read_variable(value: Any) -> Any:
    """Return the tensor of a variable of Keras."""
    import keras

    return value.value if isinstance(value, keras.Variable) else value


def _make_mode(reports: FunctionReports) -> Any:
    """Return a mode that passes all calls to reports."""
    from torch.overrides import TorchFunctionMode

    class ReportingMode(TorchFunctionMode):  # type: ignore[misc]
        """Passes each call on; no mode is open meanwhile."""

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            """Run a function of PyTorch."""
            del types
            return reports.run(func, args, kwargs or {})

    return ReportingMode()
