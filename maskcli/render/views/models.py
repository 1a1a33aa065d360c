"""The built-in models."""

from __future__ import annotations

from maskcli.records.model import BuiltinModel
from maskcli.render.parts import Cell, Column, Heading, Part, Section, Table, Text, make_cell

KERASHUB = (
    "any text backbone or task of KerasHub, such as kerashub:bert or kerashub:gpt2_causal_lm; tiny, with random "
    "weights (pip install keras-hub)."
)


def view(models: tuple[BuiltinModel, ...]) -> list[Section]:
    """Return each model with its layers and its use of a mask."""
    columns = (Column("name", "left"), Column("layers", "left"))
    parts: tuple[Part, ...] = (
        Heading("Built-in models", "for --model"),
        Table(columns, tuple((make_cell(model.name, "label"), make_cell(model.layers)) for model in models)),
        *(Text((Cell(f"{model.name}: ", "label"), Cell(f"{model.about}."))) for model in models),
        Text((Cell("kerashub:NAME: ", "label"), Cell(KERASHUB))),
    )
    return [Section("models", parts)]
