"""Commands whose ``--help`` shows the options in groups, each with an example."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from typing import Any

import click

from maskcli.records.options import GROUPS, HELP, OUTPUT, OptionGroup
from maskcli.render.colors import COLOR_CHOICES, ColorChoice, decide_color, set_color_choice

CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
SAMPLE_ARGUMENTS = {"files": "data.jsonl", "code": "MSK101", "command": "check", "shell": "zsh"}
"""By argument, the value that it has in examples."""


class GroupedOption(click.Option):
    """An option that belongs to a group of ``--help``."""

    def __init__(self, *args: Any, group: OptionGroup = HELP, **details: Any) -> None:
        """Keep the group."""
        super().__init__(*args, **details)
        self.group = group


class GroupedCommand(click.Command):
    """A command whose options are listed in groups."""

    def __init__(self, *args: Any, examples: Mapping[OptionGroup, str] | None = None, **details: Any) -> None:
        """Keep the options of the examples that differ from those of other commands."""
        super().__init__(*args, **details)
        self.examples: Mapping[OptionGroup, str] = examples or {}

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, from here on with the garbage collection that the start of the process disables."""
        gc.enable()
        return super().invoke(ctx)

    def find_examples(self, ctx: click.Context) -> dict[OptionGroup, str]:
        """Return the command line that shows each group of options."""
        arguments = (SAMPLE_ARGUMENTS.get(parameter.name or "", "") for parameter in self.params)
        start = " ".join(filter(None, ("maskcli", ctx.info_name, *arguments)))
        groups = self._group_parameters(ctx)
        examples = ((group, self.examples.get(group, group.example)) for group in GROUPS if group in groups)
        return {group: f"{start} {example}".rstrip() for group, example in examples}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options of each group after an example."""
        groups, examples = self._group_parameters(ctx), self.find_examples(ctx)
        for group, example in examples.items():
            with formatter.section(click.style(group.title, bold=True)):
                formatter.write(f"{'':{formatter.current_indent}}Example: {click.style(example, fg='cyan')}\n")
                formatter.write_dl(groups[group])

    def _group_parameters(self, ctx: click.Context) -> dict[OptionGroup, list[tuple[str, str]]]:
        """Return the spelling and the text of each option, by group."""
        groups: dict[OptionGroup, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            # Newer versions of click have a record for arguments, too, which the usage already shows.
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                groups.setdefault(getattr(parameter, "group", HELP), []).append(record)
        return groups


def add_color_option(command: Any, default: ColorChoice | None = None) -> Any:
    """Add ``--color``, which takes effect at once; without a default it leaves the choice as it is."""

    def choose(ctx: click.Context, _parameter: click.Parameter, choice: ColorChoice | None) -> None:
        if choice is not None and not ctx.resilient_parsing:
            set_color_choice(choice)
            ctx.color = decide_color()

    return click.option(
        "--color",
        cls=GroupedOption,
        group=OUTPUT,
        type=click.Choice(COLOR_CHOICES),
        default=default,
        expose_value=False,
        is_eager=True,
        callback=choose,
        help="When to use colour; auto: on a terminal, but not with NO_COLOR, and always with FORCE_COLOR.",
    )(command)


def suggest(name: str, candidates: list[str]) -> str:
    """Return a question with the most similar candidates; empty if none is similar."""
    import difflib

    matches = [candidate for candidate in candidates if len(name) > 1 and candidate.startswith(name)]
    matches += difflib.get_close_matches(name, candidates)
    listed = list(dict.fromkeys(matches))
    return f"Did you mean {' or '.join(listed)}?" if listed else ""
