"""``maskcli rules``."""

from __future__ import annotations

from functools import partial

import click

from maskcli.commands import options


@click.command()
@options.output_options(large=False)
@options.json_schema_option("rules")
def rules(answer: options.OutputOptions) -> None:
    """List the rules: the code, the name and the severity of each, and what it finds."""
    from maskcli.records.rules import list_rules
    from maskcli.render.documents import make_document
    from maskcli.render.views import rules as views
    from maskcli.rules import RULES

    answer.check_output()
    answer.write(options.CommandResult(partial(make_document, list_rules(RULES)), partial(views.view, RULES)))
