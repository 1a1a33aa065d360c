"""List the built-in models."""

from __future__ import annotations

from maskcli.models.builtin import BUILTIN
from maskcli.records.model import BuiltinModel


def models() -> tuple[BuiltinModel, ...]:
    """Return the built-in models."""
    return tuple(module.ABOUT for module in BUILTIN.values())
