"""The ``maskcli`` command, and the only place where errors become messages and exit codes."""

from __future__ import annotations

import errno
import gc
import importlib
import os
import sys
from collections.abc import Sequence
from functools import partial

import click

from maskcli.commands.grouped import CONTEXT, add_color_option, suggest
from maskcli.errors import ON_COMMAND_LINE, ExitCode, MaskcliError
from maskcli.version import __version__

COMMANDS = {
    "pad": "Pad sequences from files; show or write the batch.",
    "inspect": "Follow the mask through a model.",
    "loss": "Compare the masked and the unmasked loss, timestep by timestep.",
    "check": "Check a model and its data against the rules.",
    "compare": "Compare two models, or a model on several backends.",
    "report": "Write everything to one HTML page.",
    "profile": "Choose maxlen, buckets and batches from the data.",
    "rules": "List the rules of check.",
    "explain": "Explain a rule, with a bad and a good example.",
    "models": "List the built-in models.",
    "help": "Show the help of a command.",
    "completion": "Print the completion script for bash, zsh or fish.",
}
"""The summary of each command; its module of the same name is imported only when it runs."""
LOOK_UPS = ("rules", "explain", "models", "help", "completion")
"""The commands that take no data."""
FUNCTIONS = {"help": "show_help"}
"""The functions of commands that are not named like these, because a built-in of Python is."""
TRACEBACK = "--traceback"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""Errors of a standard output that takes no more; files that maskcli writes have messages of their own."""
NO_MEMORY = (
    "memory: expected enough of it for this input and model; received none.\n"
    "Use fewer rows or timesteps, or a machine with more memory."
)


class LazyGroup(click.Group):
    """A group that imports a command when it is used."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the names in the order of the help."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, from the module of its name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"maskcli.commands.{cmd_name}")
        command: click.Command = getattr(module, FUNCTIONS.get(cmd_name, cmd_name))
        command.short_help = COMMANDS[cmd_name]
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the name, the command and its arguments; the error for an unknown command suggests another one."""
        name = args[0]
        if name in COMMANDS or name.startswith("-") or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        fix = suggest(name, list(COMMANDS)) or "`maskcli help` lists the commands."
        if os.path.exists(name):  # noqa: PTH110 - pathlib takes longer to import than this command line to fail
            fix = f"Name a command before the file, such as `maskcli inspect {name}`."
        raise click.UsageError(f"No such command {name!r}. {fix}", ctx)

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands."""
        for title, look_ups in (("Commands for data and models", False), ("Look up", True)):
            with formatter.section(click.style(title, bold=True)):
                formatter.write_dl([item for item in COMMANDS.items() if (item[0] in LOOK_UPS) == look_ups])


def _show_versions(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"maskcli, version {__version__} ({_list_versions()})")
        ctx.exit()


def _list_versions() -> str:
    """Return the versions of Keras, its backend and Python, without importing any of these packages."""
    from importlib.metadata import PackageNotFoundError, version

    texts = []
    for package in ("keras", os.environ.get("KERAS_BACKEND") or "tensorflow"):
        try:
            texts.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            texts.append(f"{package} not installed")
    return ", ".join((*texts, f"Python {sys.version.split()[0]}"))


@click.group(cls=LazyGroup, context_settings=CONTEXT)
@click.option(
    "-V",
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_versions,
    help="Show the versions of maskcli, Keras and its backend, and exit.",
)
@partial(add_color_option, default="auto")
def cli() -> None:
    """See the mask in a Keras model: where it is created, used and lost, and its effect on outputs and loss.

    \b
    maskcli pad                         pad the sample that ships with maskcli
    maskcli inspect data.jsonl          follow the mask through a model
    maskcli loss data.txt --targets y.txt
    maskcli check data.jsonl --model m.keras
    maskcli compare --backends tensorflow,jax --model m.keras data.jsonl
    maskcli report data.jsonl --model m.keras --output report.html
    maskcli profile train/*.jsonl       choose maxlen and buckets
    maskcli pad a.txt --format json | maskcli inspect -

    \b
    Exit codes: 0 done; 1 findings, results that differ (compare, --mask-source all), or
    --keep-going left blocks out; 2 wrong usage; 3 input that cannot be read, or output that cannot be
    written; 4 a model that cannot be loaded or run.
    """


def run_and_exit() -> None:
    """Run the command line of this process and exit with a code of ``ExitCode``."""
    code = run(sys.argv[1:])
    # Without this the interpreter collects all of TensorFlow's objects once more, which takes half a second.
    gc.freeze()
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; every error becomes one message on stderr."""
    token = ON_COMMAND_LINE.set(True)
    try:
        code = cli.main(list(arguments), prog_name="maskcli", standalone_mode=False, obj=tuple(arguments))
        return int(code) if isinstance(code, int) else ExitCode.OK
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except SystemExit:  # click raises it for a pipe that closes during a help text.
        return ExitCode.OK
    except MemoryError:
        # Nothing is imported here, because that takes memory too.
        sys.stderr.write(f"Error: {NO_MEMORY}\n")
        return ExitCode.INPUT
    except Exception as error:
        message, exit_code = _explain(error)
        return _fail(message, exit_code, arguments)
    finally:
        ON_COMMAND_LINE.reset(token)


def _explain(error: Exception) -> tuple[str, ExitCode]:
    """Return the message and the exit code of an error."""
    if isinstance(error, MaskcliError):
        return str(error), error.exit_code
    if isinstance(error, OSError) and error.errno in FULL:
        _discard_stdout()
        received = f"standard output: expected a place with room; received {error.strerror}."
        return f"{received}\nRedirect it elsewhere.", ExitCode.INPUT
    message = f"internal error: {type(error).__name__}: {error}"
    return f"{message}\nThis is a bug in maskcli; --traceback shows where.", ExitCode.INTERNAL


def _discard_stdout() -> None:
    """Let nothing more be written to standard output, also not when the interpreter ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def _fail(message: str, code: ExitCode, arguments: Sequence[str]) -> int:
    if TRACEBACK in arguments:
        import traceback

        traceback.print_exc()
    from maskcli.render.text_flow import split_printable_lines

    click.echo("\n".join(split_printable_lines(f"Error: {message}")), err=True)
    return code
