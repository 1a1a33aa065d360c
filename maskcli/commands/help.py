"""``maskcli help``."""

from __future__ import annotations

from typing import Any

import click

from maskcli.commands.completers import complete_command
from maskcli.commands.grouped import GroupedCommand
from maskcli.records.options import HELP


@click.command("help", cls=GroupedCommand, examples={HELP: ""})
@click.argument("command", required=False, shell_complete=complete_command)
def show_help(command: str | None) -> None:
    """Show the help of a COMMAND, or of maskcli, as --help does."""
    root = click.get_current_context().find_root()
    context, group = root, root.command
    if command is not None:
        resolver: Any = group
        _, found, _ = resolver.resolve_command(root, [command])
        context = click.Context(found, info_name=command, parent=root)
    click.echo(context.get_help(), color=root.color)
