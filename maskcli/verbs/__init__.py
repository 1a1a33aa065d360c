"""The verbs of the library: each goes the whole way from data to the record that the command of its name shows."""

from __future__ import annotations

from maskcli.evidence import BuiltinModel
from maskcli.models.builtin import BUILTIN
from maskcli.sequences.padding import pad
from maskcli.verbs.checking import check
from maskcli.verbs.inspecting import inspect
from maskcli.verbs.losing import loss
from maskcli.verbs.reading import read_report
from maskcli.verbs.reporting import report

__all__ = ["check", "inspect", "loss", "models", "pad", "read_report", "report"]


def models() -> tuple[BuiltinModel, ...]:
    """Return the built-in models."""
    return tuple(module.ABOUT for module in BUILTIN.values())
