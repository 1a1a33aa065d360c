"""One file per built-in model; a new one is a file here and an entry in the table below."""

from __future__ import annotations

from maskcli.models.builtin import embedding_dense, embedding_lstm

BUILTIN = {module.ABOUT.name: module for module in (embedding_lstm, embedding_dense)}
