"""Suggestions of a shell for the values of options; ``maskcli completion`` prints the script that asks for them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import click
from click.shell_completion import CompletionItem, split_arg_string

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
MODEL_FILES = ("*.keras", "*.h5")


def complete_file(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let the shell suggest files."""
    return [CompletionItem(incomplete, type="file")]


def complete_rule(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Suggest codes and names of rules, also after a comma."""
    from maskcli.rules import RULES

    before, comma, last = incomplete.rpartition(",")
    names = {name: rule.summary for rule in RULES for name in (rule.code, rule.name)}
    if not last:
        names = {rule.code: f"{rule.name}: {rule.summary}" for rule in RULES}
    last = last.upper() if last.upper().startswith("MSK") else last.replace("_", "-")
    return _select(names.items(), last, before + comma)


def complete_model(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Suggest built-in models and the model files of this folder, or any file if none of them fits."""
    from pathlib import Path

    from maskcli.models.builtin import BUILTIN

    files = (str(path) for pattern in MODEL_FILES for path in sorted(Path().glob(pattern)))
    names = [(name, module.ABOUT.about) for name, module in BUILTIN.items()] + [(path, "") for path in files]
    return _select(names, incomplete) or complete_file(ctx, parameter, incomplete)


def complete_field(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Suggest the fields of the files that the command line already names."""
    import glob

    from maskcli.sequences.field_names import list_field_names

    # The context has no FILE yet, because click stops at an option without its value.
    words = split_arg_string(os.environ.get("COMP_WORDS", ""))
    paths = (path for word in words for path in sorted(glob.glob(word)))  # noqa: PTH207 - pathlib takes no absolute patterns
    names = dict.fromkeys(name for path in paths for name in list_field_names(path))
    return _select(((name, "") for name in names), incomplete)


def _select(names: Iterable[tuple[str, str]], incomplete: str, before: str = "") -> list[CompletionItem]:
    return [CompletionItem(before + name, help=text or None) for name, text in names if name.startswith(incomplete)]


COMPLETERS: dict[str, Complete | None] = {
    "": None,
    "file": complete_file,
    "rule": complete_rule,
    "model": complete_model,
    "field": complete_field,
}
"""By ``OptionSpec.completes``."""


def complete_command(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Suggest commands."""
    group: Any = ctx.find_root().command
    return _select(((name, "") for name in group.list_commands(ctx)), incomplete)
