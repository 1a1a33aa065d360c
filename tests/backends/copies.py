"""A guard against copies of tensors that work on a processor only."""

from __future__ import annotations

import sys
from typing import Any


def refuse_hidden_copies() -> None:
    """Let NumPy read no tensor of PyTorch in the code of maskcli: those on a GPU cannot be read like that."""
    import torch

    allowed = ("maskcli.backends.arrays", "maskcli.backends.torch_reports")  # The second passes on calls of any code.
    read = torch.Tensor.__array__

    def read_or_fail(tensor: Any, *args: Any, **kwargs: Any) -> Any:
        caller = sys._getframe(1).f_globals["__name__"]
        assert not caller.startswith("maskcli.") or caller in allowed, caller
        return read(tensor, *args, **kwargs)

    torch.Tensor.__array__ = read_or_fail
