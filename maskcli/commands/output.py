"""The form of a result, and its destination."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import click

from maskcli.commands.grouped import GroupedOption, add_color_option
from maskcli.commands.options import Command, add_options, bundle_options
from maskcli.errors import InputError, UsageError
from maskcli.records.options import OUTPUT, OptionGroup, option, read_specs
from maskcli.render.forms import CommandResult, OutputForm, list_forms
from maskcli.render.parts import Limits, Resolution
from maskcli.sequences.writing import write_file

SCHEMAS = Path(__file__).parents[1] / "schemas"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class OutputOptions:
    """The forms of a command, and the form and destination of its result."""

    GROUP: ClassVar[OptionGroup] = OUTPUT

    command: str
    format: str = option("table", "The form to print.", short="-f")
    output: str | None = option(None, "Write the result.", metavar="PATH", short="-o", completes="file")
    quiet: bool = option(False, "Print nothing (use with --output or the exit code).", short="-q")

    @property
    def forms(self) -> tuple[OutputForm, ...]:
        """The requested forms: the printed and the written one."""
        forms = list_forms(self.command)
        suffix = None if self.output is None else Path(self.output).suffix.lower()
        printed = () if self.quiet else (forms[self.format],)
        return (*printed, *(form for form in forms.values() if suffix and form.suffix == suffix))

    @property
    def draws_picture(self) -> bool:
        """Whether a picture is requested."""
        return any(form.kind == "picture" for form in self.forms)

    @property
    def is_excerpt(self) -> bool:
        """Whether at most some rows at the start and at the end are printed."""
        return self.quiet or list_forms(self.command)[self.format].kind == "text"

    @property
    def limits(self) -> Limits:
        """The limits of large tables; the form sets the width."""
        return Limits(None, None, 0)

    def check(self, file_suffixes: Sequence[str] = ()) -> None:
        """Raise UsageError, before any work is done, for a form that cannot be written or printed.

        Args:
            file_suffixes: suffixes of files that the command writes itself.
        """
        forms = list_forms(self.command)
        suffixes = (*file_suffixes, *(form.suffix for form in forms.values() if form.suffix))
        if self.output is not None and Path(self.output).suffix.lower() not in suffixes:
            raise UsageError(
                where=f"--output {self.output}",
                expected=f"a path that ends in {', '.join(dict.fromkeys(suffixes))}",
                received=describe_suffix(self.output),
                fix="The suffix selects the form.",
            )
        if forms[self.format].binary and not self.quiet and sys.stdout is not None and sys.stdout.isatty():
            raise UsageError(
                where=f"--format {self.format}",
                expected="a file or a pipe",
                received="a terminal",
                fix="Redirect it, or name a file: --output picture.png.",
            )
        if any(form.kind in ("picture", "page") for form in self.forms):
            from maskcli.render import pictures
            from maskcli.render.graph import layout

            pictures.check_vl_convert()
            layout.check_igraph()

    def write(self, result: CommandResult) -> None:
        """Write the result to ``--output``, if there is one, and print it, unless ``--quiet``."""
        if self.output is not None:
            suffix = Path(self.output).suffix.lower()
            form = next(form for form in list_forms(self.command).values() if form.suffix == suffix)
            write_file(self.output, form.render(result, self.limits, True))
        if not self.quiet:
            emit(list_forms(self.command)[self.format].render(result, self.limits, False))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TableOptions(OutputOptions):
    """Output with tables that may be large."""

    max_rows: int = option(24, "Rows of a table.", minimum=2)
    max_cols: int | None = option(None, "Timesteps or units in a row.", default_text="as many as fit", minimum=2)
    all: bool = option(False, "Show whole tables, however large.")

    @property
    def limits(self) -> Limits:
        """The limits of large tables; the form sets the width."""
        if self.all:
            return Limits(None, None, 0, everything=True)
        return Limits(self.max_rows, self.max_cols, 0)

    @property
    def is_excerpt(self) -> bool:
        """Whether at most some rows at the start and at the end are printed."""
        return self.quiet or (super().is_excerpt and not self.all)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class HeatOptions(TableOptions):
    """Output with tables, or with heat maps in their place."""

    heat: Resolution | None = option(
        None,
        "Draw heat maps instead of tables. full: one line per row; half: two rows per line.",
        choices=("full", "half"),
    )

    def check(self, file_suffixes: Sequence[str] = ()) -> None:
        """Raise UsageError, also for heat maps in a form without characters."""
        super().check(file_suffixes)
        forms = list_forms(self.command)
        if self.heat is not None and forms[self.format].kind != "text":
            raise UsageError(
                where=f"--heat {self.heat}",
                expected=f"--format {' or '.join(name for name, form in forms.items() if form.kind == 'text')}",
                received=f"--format {self.format}",
                fix="Leave out one of the two: heat maps are characters.",
            )


def output_options(
    command: str, record: type[OutputOptions] = TableOptions, writes: str = ""
) -> Callable[[Command], Command]:
    """Return a decorator that adds the output options of a command, which reach it as ``output``.

    Args:
        command: the name of the command, which selects its forms and its JSON Schema.
        record: the options that the command has.
        writes: describes ``--output`` of a command that also writes other files.
    """
    forms, names = list_forms(command), list(read_specs(record))
    suffixes = [form.suffix for form in forms.values() if form.suffix]

    def make_output(**options: Any) -> OutputOptions:
        return record(command=command, **options)

    def decorate(function: Command) -> Command:
        function = bundle_options(function, "output", names, make_output)
        function = _schema_option(command)(function)
        function = click.option(
            "--traceback",
            cls=GroupedOption,
            is_flag=True,
            expose_value=False,
            help="On an error, show where it was raised.",
        )(function)
        function = add_color_option(function)
        return add_options(
            function,
            record,
            names,
            format={"choices": tuple(forms)},
            output={"text": writes or f"Write the result: {', '.join(suffixes)}."},
        )

    return decorate


def _schema_option(command: str) -> Callable[[Command], Command]:
    """Return the option that prints the JSON Schema of a command's output and exits."""

    def show(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            emit([(SCHEMAS / f"{command}.json").read_bytes()])
            ctx.exit()

    return click.option(
        "--json-schema",
        cls=GroupedOption,
        group=OUTPUT,
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=show,
        help="Print the JSON Schema of --format json and exit.",
    )


def describe_suffix(path: str) -> str:
    """Return the suffix of a path for a message."""
    return repr(Path(path).suffix) if Path(path).suffix else "no suffix"


def emit(parts: Iterable[bytes]) -> None:
    """Write a result to standard output, part by part; a reader that closes early is not an error.

    Raises:
        InputError: when standard output is closed or full.
    """
    if sys.stdout is None:
        raise _make_stdout_error("a closed stream")
    try:
        sys.stdout.flush()
        for part in parts:
            left = memoryview(part)
            while left:  # An unbuffered stream may take only a part.
                left = left[sys.stdout.buffer.write(left) :]
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # The rest of the buffer must not be flushed into the closed pipe when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise _make_stdout_error(error.strerror or str(error)) from None


def _make_stdout_error(received: str) -> InputError:
    return InputError(
        where="standard output",
        expected="a path that can be written to",
        received=received,
        fix="Redirect it elsewhere, or use --quiet and --output.",
    )
