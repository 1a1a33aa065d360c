"""The ``maskcli`` command, and the only place where errors become messages and exit codes."""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Sequence

import click

from maskcli.errors import ExitCode, MaskcliError
from maskcli.version import __version__

COMMANDS = {
    "pad": "Pad sequences from files; show or write the batch.",
    "inspect": "Follow the mask through a model.",
    "loss": "Compare the masked and the unmasked loss, timestep by timestep.",
    "check": "Check a model and its data against the rules.",
    "report": "Write everything to one HTML page.",
    "rules": "List the rules of check.",
    "explain": "Explain a rule, with a bad and a good example.",
    "models": "List the built-in models.",
}
"""The summary of each command; its module of the same name is imported only when it runs."""
TRACEBACK = "--traceback"


class LazyGroup(click.Group):
    """A group that imports a command when it is used."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the names in the order of the help."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, from the module of its name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"maskcli.commands.{cmd_name}"), cmd_name)
        command.short_help = COMMANDS[cmd_name]
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="maskcli")
def cli() -> None:
    """See the mask in a Keras model: where it is created, used and lost, and its effect on outputs and loss.

    \b
    maskcli pad                         pad the sample that ships with maskcli
    maskcli inspect data.jsonl          follow the mask through a model
    maskcli loss data.txt --targets y.txt
    maskcli check data.jsonl --model m.keras
    maskcli report data.jsonl --model m.keras --output report.html
    maskcli pad a.txt --format json | maskcli inspect -

    \b
    Exit codes: 0 done; 1 findings, or --mask-source all results differ;
    2 wrong usage; 3 input that cannot be read, or output that cannot be
    written; 4 a model that cannot be loaded or run.
    """


def main() -> None:
    """Run the command line and exit with a code of ``ExitCode``."""
    code = run(sys.argv[1:])
    # Without this the interpreter collects all of TensorFlow's objects once more, which takes half a second.
    gc.freeze()
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; every error becomes one message on stderr."""
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
    except MaskcliError as error:
        return _fail(str(error), error.exit_code, arguments)
    except Exception as error:
        message = f"internal error: {type(error).__name__}: {error}"
        hint = "This is a bug in maskcli; --traceback shows where."
        return _fail(f"{message}\n{hint}", ExitCode.INTERNAL, arguments)


def _fail(message: str, code: ExitCode, arguments: Sequence[str]) -> int:
    if TRACEBACK in arguments:
        import traceback

        traceback.print_exc()
    from maskcli.render.text_flow import split_printable_lines

    click.echo("\n".join(split_printable_lines(f"Error: {message}")), err=True)
    return code
