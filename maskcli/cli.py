"""The ``maskcli`` command, and the one border where errors become messages and exit codes."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import sys
from collections.abc import Sequence

import click

from maskcli import __version__
from maskcli.errors import ExitCode, MaskcliError

COMMANDS = ("pad", "inspect", "loss", "models")
TRACEBACK = "--traceback"


class Commands(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the names in the order of the help."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, from the module of its name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"maskcli.commands.{cmd_name}"), cmd_name)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="maskcli")
def cli() -> None:
    """See the mask in a Keras model: where it is made, used and lost, and what it does to outputs and loss.

    \b
    maskcli pad                         pad the sample that ships with maskcli
    maskcli inspect data.jsonl          follow the mask through a model
    maskcli loss data.txt --targets y.txt
    maskcli pad a.txt --format json | maskcli inspect -

    \b
    Exit codes: 0 done; 1 results differ where equal ones were demanded;
    2 wrong usage; 3 input that cannot be read; 4 a model that cannot be run.
    """


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit with a code of ``ExitCode``."""
    arguments = list(sys.argv[1:] if args is None else args)
    code = _run(arguments)
    # The process ends here. Without this the interpreter walks all of TensorFlow's objects once more: half a second.
    gc.freeze()
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    try:
        code = cli.main(arguments, prog_name="maskcli", standalone_mode=False)
        _flush()
        return int(code) if isinstance(code, int) else ExitCode.OK
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        return _closed_pipe()
    except MaskcliError as error:
        return _fail(str(error), error.exit_code, arguments)
    except Exception as error:
        said = f"internal error: {type(error).__name__}: {error}\nThis is a bug in maskcli; --traceback shows where."
        return _fail(said, ExitCode.INTERNAL, arguments)


def _fail(message: str, code: ExitCode, arguments: list[str]) -> int:
    if TRACEBACK in arguments:
        import traceback

        traceback.print_exc()
    click.echo(f"Error: {message}", err=True)
    return code


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _closed_pipe() -> int:
    """End quietly when the reader has gone, and keep the interpreter from flushing into the closed pipe at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitCode.OK
