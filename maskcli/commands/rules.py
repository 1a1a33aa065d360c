"""``maskcli rules``."""

from __future__ import annotations

from functools import partial

import click

from maskcli.commands.grouped import GroupedCommand
from maskcli.commands.output import OutputOptions, output_options
from maskcli.render.forms import CommandResult


@click.command(cls=GroupedCommand)
@output_options("rules", OutputOptions)
def rules(output: OutputOptions) -> None:
    """List the rules: code, name, severity, and the fault that each finds."""
    from maskcli.records.rules import list_rules
    from maskcli.render.views.rules import view
    from maskcli.rules import RULES

    output.check()
    output.write(CommandResult(record=list_rules(RULES), view=partial(view, RULES)))
