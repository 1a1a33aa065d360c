"""``maskcli explain``."""

from __future__ import annotations

from functools import partial

import click

from maskcli.commands import options


@click.command()
@click.argument("code")
@options.output_options(large=False)
@options.json_schema_option("explain")
def explain(code: str, answer: options.OutputOptions) -> None:
    """Explain a rule: what it finds, why it matters, and an example that is bad and one that is good.

    CODE is the code or the name of a rule, such as MSK001; `maskcli rules` lists them.
    """
    from maskcli.records.rules import explain_rule
    from maskcli.render.documents import make_document
    from maskcli.render.views import explain as views
    from maskcli.rules.selection import find_rule

    answer.check_output()
    rule = find_rule(code)
    answer.write(options.CommandResult(partial(make_document, explain_rule(rule)), partial(views.view, rule)))
