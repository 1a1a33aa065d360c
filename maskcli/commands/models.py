"""``maskcli models``."""

from __future__ import annotations

import click

from maskcli.commands.grouped import GroupedCommand
from maskcli.commands.output import OutputOptions, output_options
from maskcli.render.forms import CommandResult


@click.command(cls=GroupedCommand)
@output_options("models", OutputOptions)
def models(output: OutputOptions) -> None:
    """List the built-in models, and how each uses a mask."""
    from maskcli.api.models import models as list_models
    from maskcli.records.model import ModelList
    from maskcli.render.views.models import view

    output.check()
    builtin = list_models()
    output.write(CommandResult(record=ModelList(builtin), view=lambda _limits: view(builtin)))
