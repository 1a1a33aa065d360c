"""``maskcli explain``."""

from __future__ import annotations

from functools import partial

import click

from maskcli.commands.completers import complete_rule
from maskcli.commands.grouped import GroupedCommand
from maskcli.commands.output import OutputOptions, output_options
from maskcli.render.forms import CommandResult


@click.command(cls=GroupedCommand)
@click.argument("code", shell_complete=complete_rule)
@output_options("explain", OutputOptions)
def explain(code: str, output: OutputOptions) -> None:
    """Explain a rule: the fault, why it matters, a bad and a good example.

    CODE is the code or the name of a rule, such as MSK001; `maskcli rules` lists them.
    """
    from maskcli.records.rules import explain_rule
    from maskcli.render.views.explain import view
    from maskcli.rules.selection import find_rule

    output.check()
    rule = find_rule(code)
    output.write(CommandResult(record=explain_rule(rule), view=partial(view, rule)))
