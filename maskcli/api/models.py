"""List the built-in models."""

from __future__ import annotations

from maskcli.evidence import BuiltinModel
from maskcli.models.builtin import BUILTIN


def models() -> tuple[BuiltinModel, ...]:
    """Return the built-in models."""
    return tuple(module.ABOUT for module in BUILTIN.values())
