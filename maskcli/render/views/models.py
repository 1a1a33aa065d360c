"""The built-in models."""

from __future__ import annotations

from maskcli.records.model import BuiltinModel
from maskcli.render.parts import Cell, Column, Heading, Part, Table, Text, make_cell


def view(models: tuple[BuiltinModel, ...]) -> list[Part]:
    """Return each model with its layers, and what it does with a mask."""
    parts: list[Part] = [Heading("Built-in models", "for --model")]
    parts.append(
        Table(
            (Column("name", "left"), Column("layers", "left")),
            tuple((make_cell(model.name, "label"), make_cell(model.layers)) for model in models),
        )
    )
    return [*parts, *(Text((Cell(f"{model.name}: ", "label"), Cell(f"{model.about}."))) for model in models)]
