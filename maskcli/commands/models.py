"""``maskcli models``."""

from __future__ import annotations

from functools import partial

import click

from maskcli.commands import options


@click.command()
@options.output_options(large=False)
@options.json_schema_option("models")
def models(answer: options.OutputOptions) -> None:
    """List the built-in models, and what each does with a mask."""
    from maskcli.api.models import models as list_models
    from maskcli.render.documents import make_models_document
    from maskcli.render.parts import Limits, Section
    from maskcli.render.views import models as views

    answer.check_output()
    found = list_models()

    def view(_limits: Limits) -> list[Section]:
        return views.view(found)

    answer.write(options.CommandResult(partial(make_models_document, found), view))
