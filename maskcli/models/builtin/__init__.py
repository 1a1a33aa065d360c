"""One file per built-in model; a new model is a file here and an entry in the table below."""

from __future__ import annotations

from maskcli.models.builtin import embedding_dense, embedding_lstm

BUILTIN = {module.ABOUT.name: module for module in (embedding_lstm, embedding_dense)}


def spell_builtin(spec: str) -> str:
    """Return the name of a built-in model, whose words may be joined by underscores; other text is unchanged."""
    name = spec.replace("_", "-")
    return name if name in BUILTIN else spec
