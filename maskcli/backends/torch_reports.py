"""Reports of the functions of PyTorch that code calls."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from maskcli.backends.base import RecordOperation, Records
from maskcli.backends.masks import get_keras_mask, set_keras_mask
from maskcli.backends.torch_operations import (
    FunctionCall,
    is_tensor,
    list_tensors,
    replace_tensors,
    translate_call,
    write_part,
)


def is_plain(tensor: Any) -> bool:
    """Return whether a tensor has values, for all rows: not one without values, nor one of a mapped function."""
    import torch

    is_mapped = torch._C._functorch.is_functorch_wrapped_tensor(tensor)
    return not tensor.is_meta and not is_mapped and type(tensor).__name__ != "FakeTensor"


class FunctionReports:
    """A mode of PyTorch that sees each call of a function of ``torch``, and of a method of a tensor."""

    def __init__(self, record: RecordOperation, records: Records | None = None) -> None:
        """Report to a function; the reports are off."""
        self.record: RecordOperation = record
        self.records: Records | None = records
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
        """Call a function, and report it if it makes a tensor of others, or changes one."""
        if not self.is_on or self.is_paused:
            return function(*args, **kwargs)
        call = FunctionCall(function, [_read_variable(value) for value in args], kwargs)
        target = call.target
        if self.records is not None and target is not None and _has_memory(target):
            return self.run_in_place(self.records, call, target)
        result = function(*args, **kwargs)
        if not list_tensors(result) or not any(tensor.ndim and is_plain(tensor) for tensor in call.tensors):
            return result
        outputs = list_tensors(result)
        if any(output is tensor for output in outputs for tensor in call.tensors):  # It returned an argument.
            return result
        replaced = self.report(call, outputs)
        return result if replaced is None else replace_tensors(result, replaced)

    def report(self, call: FunctionCall, outputs: Sequence[Any]) -> list[Any] | None:
        """Report a call; return replacements of its results, if any."""
        operation = translate_call(call, outputs)
        return self.record(operation.type, operation.inputs, operation.attrs, outputs)

    def run_in_place(self, records: Records, call: FunctionCall, target: Any) -> Any:
        """Call a function that changes a tensor, and report the tensor as a new one.

        Tensors that share its memory change with it. The calls so far refer to copies from now on, which have the
        values and the masks that the tensors had.
        """
        with self.pause():
            tensors = {id(tensor): tensor for tensor in (*records.list_tensors(), *call.tensors)}
            sharing = [tensor for tensor in tensors.values() if share_memory(tensor, target)]
            copies = {id(tensor): _copy_with_mask(tensor) for tensor in sharing}
        version = target._version
        result = call.function(*call.args, **call.kwargs)
        if target._version == version:
            return result
        records.replace_tensors(copies)
        self.report_change(records, call.replace(copies), target)
        ids = {id(tensor) for tensor in records.list_tensors()}
        for tensor in sharing:
            if tensor is not target and id(copies[id(tensor)]) in ids and tensor.is_contiguous():
                self.report_change(records, write_part(copies[id(tensor)], target), tensor)
        return result

    def report_change(self, records: Records, call: FunctionCall, target: Any) -> None:
        """Report the call that changed a tensor, and write a replacement of its result into the tensor."""
        replaced = self.report(call, [target])
        if replaced is not None and replaced[0] is not target:
            with self.pause():
                target.copy_(replaced[0])
            records.replace_tensors({id(replaced[0]): target})


def _has_memory(tensor: Any) -> bool:
    """Return whether a tensor has values in memory of its own, or in that of another tensor."""
    return bool(tensor.ndim) and is_plain(tensor) and str(tensor.layout) == "torch.strided"


def share_memory(first: Any, second: Any) -> bool:
    """Return whether two tensors are in the same memory, if only in different parts of it."""
    if first is second:
        return True
    if not all(is_tensor(tensor) and _has_memory(tensor) for tensor in (first, second)):
        return False
    return bool(first.untyped_storage().data_ptr() == second.untyped_storage().data_ptr())


def _copy_with_mask(tensor: Any) -> Any:
    copy = tensor.clone()
    set_keras_mask(copy, get_keras_mask(tensor))
    return copy


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
