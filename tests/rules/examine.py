"""Examine sequences without a model."""

from __future__ import annotations

from typing import Any

from maskcli.records.check import Examination
from maskcli.records.data import DataFacts
from maskcli.records.layout import Layout
from maskcli.rules import RULES
from maskcli.sequences.facts import collect_facts
from maskcli.sequences.padding import pad_ragged
from maskcli.sequences.ragged import as_ragged

DATA_RULES = tuple(rule for rule in RULES if rule.about == "data")


def make_facts(sequences: object, *, input_dim: int | None = None, **layout: Any) -> DataFacts:
    ragged = as_ragged(sequences)
    batch = pad_ragged(ragged, Layout(**layout))
    return collect_facts(ragged, batch, input_dim=input_dim, input_dim_from="--input-dim" if input_dim else None)


def examine(sequences: object, **options: Any) -> Examination:
    return Examination((make_facts(sequences, **options),), None)
