"""The form of a result, and its destination."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import click

from maskcli.commands.grouped import GroupedOption, add_color_option
from maskcli.commands.options import Command, add_options, bundle_options, is_set
from maskcli.errors import UsageError
from maskcli.records.options import OUTPUT, OptionGroup, option, read_specs
from maskcli.render.forms import CommandResult, OutputForm, list_forms
from maskcli.sequences.format_names import FORMAT_NAMES
from maskcli.sequences.sources import PACKED, display_name, import_pyarrow
from maskcli.sequences.stdout import STDOUT, emit

if TYPE_CHECKING:
    from maskcli.render.parts import Limits, Resolution


MOST_CHOICES = 56
"""Characters of the names that ``--help`` lists after an option."""


ONLY_SHARDS = ("array_record",)
"""The formats of ``pad`` that hold shards, but no single batch."""


def _refuse_render(*_: object) -> list[bytes]:
    raise NotImplementedError("maskcli pad writes this format itself, a part of the batch at a time")


def list_command_forms(command: str) -> dict[str, OutputForm]:
    """Return the forms that a command offers, by name; those of ``pad`` include the file formats that hold a batch."""
    forms = list_forms(command)
    if command == "pad":
        for entry in FORMAT_NAMES:
            if entry.writes:
                form = OutputForm(entry.name, _refuse_render, entry.suffix, kind="batch", binary=not entry.is_text)
                forms.setdefault(entry.name, form)
        for name in ONLY_SHARDS:
            forms[name] = OutputForm(name, _refuse_render, kind="batch", binary=True)
    return forms


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class OutputOptions:
    """The forms of a command, and the form and destination of its result."""

    GROUP: ClassVar[OptionGroup] = OUTPUT
    OPTION: ClassVar[str] = "--output"

    command: str
    format: str = option("table", "The form of the result; a suffix of --output selects it as well.", short="-f")
    output: str | None = option(
        None, "Write the result there instead of printing it.", metavar="PATH", short="-o", completes="file"
    )
    quiet: bool = option(False, "Print nothing (use with --output or the exit code).", short="-q")

    @property
    def path(self) -> str | None:
        """The file that the result is written to; None if it is printed."""
        return None if self.output == STDOUT else self.output

    @property
    def sets_format(self) -> bool:
        """Whether the command line selects the form by its name."""
        return is_set("format")

    @property
    def form(self) -> OutputForm:
        """The form of the result: that of the file's suffix, or else of ``--format``."""
        return self._find_form_of_suffix() or list_command_forms(self.command)[self.format]

    def _find_form_of_suffix(self) -> OutputForm | None:
        if self.path is None:
            return None
        from maskcli.sequences.writing import split_suffixes

        suffix, _ = split_suffixes(self.path)
        forms = list_command_forms(self.command)
        if self.sets_format and suffix in forms[self.format].other_suffixes:
            return forms[self.format]
        return next((form for form in forms.values() if form.suffix == suffix), None)

    @property
    def draws_picture(self) -> bool:
        """Whether a picture is requested."""
        return self.form.kind == "picture"

    @property
    def is_excerpt(self) -> bool:
        """Whether at most some rows at the start and at the end are shown."""
        return self.form.kind == "text" or (self.quiet and self.path is None)

    @property
    def limits(self) -> Limits:
        """The limits of large tables; the form sets the width."""
        from maskcli.render.parts import Limits

        return Limits(None, None, 0)

    def check(self) -> None:
        """Raise UsageError, before any work is done, for a form that cannot be written or printed."""
        if self.path is not None:
            self._check_file(self.path)
        elif self.form.binary and not self.quiet and sys.stdout is not None and sys.stdout.isatty():
            raise UsageError(
                where=f"--format {self.format}",
                expected="a file or a pipe",
                received="a terminal",
                fix=f"Redirect it, or name a file: --output result{self.form.suffix or ''}.",
            )
        self._check_packages()

    def _check_packages(self) -> None:
        """Raise UsageError if the form needs a package that is not installed."""
        if self.form.name == "junit":
            from maskcli.render.ci.junit import import_junitparser

            import_junitparser()
        if self.form.kind in ("picture", "page"):
            from maskcli.render import pictures
            from maskcli.render.graph import layout

            pictures.check_vl_convert()
            layout.check_igraph()

    def _check_file(self, path: str) -> None:
        forms = list_command_forms(self.command)
        by_suffix, by_name = self._find_form_of_suffix(), forms[self.format] if self.sets_format else None
        if by_suffix is None and by_name is None:
            suffixes = [form.suffix for form in forms.values() if form.suffix]
            raise UsageError(
                where=f"{self.OPTION} {display_name(path)}",
                expected=f"a path that ends in {', '.join(suffixes)}",
                received=describe_suffix(path),
                fix="The suffix selects the form; with --format the path may end in anything else.",
            )
        if by_suffix is not None and by_name not in (None, by_suffix):
            raise UsageError(
                where=f"{self.OPTION} {display_name(path)}",
                expected=f"a path that --format {self.format} can have",
                received=f"the suffix {by_suffix.suffix!r}, which is that of {by_suffix.name}",
                fix="Leave out --format, or change the suffix.",
            )
        from maskcli.sequences.writing import split_suffixes

        packing = split_suffixes(path)[1]
        if packing and self.form.binary:
            raise UsageError(
                where=f"{self.OPTION} {display_name(path)}",
                expected=f"{packing} only after the suffix of a text format",
                received=self.form.name,
                fix=f"Leave out {packing}.",
            )
        if packing == PACKED[1]:
            import_pyarrow(display_name(path))

    def write(self, result: CommandResult) -> None:
        """Write the result to ``--output``, or print it, unless ``--quiet``."""
        if self.path is not None:
            from maskcli.sequences.writing import write_file

            write_file(self.path, self.form.render(result, self.limits, True))
            self.announce()
        elif not self.quiet:
            emit(self.form.render(result, self.limits, False))

    def announce(self) -> None:
        """Name the written file on a terminal."""
        if self.path is not None and not self.quiet and sys.stderr is not None and sys.stderr.isatty():
            click.echo(f"Wrote {display_name(self.path)}", err=True)


class FurtherOutput(OutputOptions):
    """A further destination of a result, in the form of its suffix."""

    OPTION: ClassVar[str] = "--also"

    @property
    def sets_format(self) -> bool:
        """Whether the command line selects the form by its name: it selects that of ``--output``."""
        return False


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SeveralOutputOptions(OutputOptions):
    """Output in several forms at once."""

    also: tuple[str, ...] = option(
        (),
        "Also write the result there, in the form of its suffix, such as summary.md or result.sarif.",
        metavar="PATH",
        repeatable=True,
        completes="file",
    )

    @property
    def further_outputs(self) -> tuple[FurtherOutput, ...]:
        """The further destinations, each as output options of its own."""
        return tuple(FurtherOutput(command=self.command, format="table", output=path) for path in self.also)

    def check(self) -> None:
        """Raise UsageError, also for a further destination."""
        super().check()
        for output in self.further_outputs:
            output.check()

    def write(self, result: CommandResult) -> None:
        """Write the result to all destinations."""
        for output in self.further_outputs:
            output.write(result)
        super().write(result)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TableOptions(OutputOptions):
    """Output with tables that may be large."""

    max_rows: int = option(24, "Rows of a table.", minimum=2)
    max_cols: int | None = option(None, "Timesteps or units in a row.", default_text="as many as fit", minimum=2)
    all: bool = option(False, "Show whole tables, however large.")

    @property
    def limits(self) -> Limits:
        """The limits of large tables; the form sets the width."""
        from maskcli.render.parts import Limits

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

    def check(self) -> None:
        """Raise UsageError, also for heat maps in a form without characters."""
        super().check()
        forms = list_command_forms(self.command)
        if self.heat is not None and self.form.kind != "text":
            raise UsageError(
                where=f"--heat {self.heat}",
                expected=f"--format {' or '.join(name for name, form in forms.items() if form.kind == 'text')}",
                received=f"--format {self.form.name}",
                fix="Leave out one of the two: heat maps are characters.",
            )


def output_options(command: str, record: type[OutputOptions] = TableOptions) -> Callable[[Command], Command]:
    """Return a decorator that adds the output options of a command, which reach it as ``output``.

    Args:
        command: the name of the command, which selects its forms and its JSON Schema.
        record: the options that the command has.
    """
    forms, names = list_command_forms(command), list(read_specs(record))
    suffixes = [form.suffix for form in forms.values() if form.suffix]
    packed = f"text also with {' or '.join(PACKED)}"
    text = f"Write the result there instead of printing it: {', '.join(suffixes)}; {packed}; - prints it."

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
            format={"choices": tuple(forms), **_describe_many(forms, record)},
            output={"text": text},
        )

    return decorate


def _describe_many(forms: Mapping[str, OutputForm], record: type[OutputOptions]) -> dict[str, str]:
    """Return another help text for more names of forms than fit on a line of ``--help``."""
    if len("|".join(forms)) <= MOST_CHOICES:
        return {}
    text = read_specs(record)["format"].text
    return {"metavar": "FORM", "text": text.replace(";", f" ({', '.join(forms)});", 1)}


def _schema_option(command: str) -> Callable[[Command], Command]:
    """Return the option that prints the JSON Schema of a command's output and exits."""

    def show(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            from pathlib import Path

            emit([(Path(__file__).parents[1] / "schemas" / f"{command}.json").read_bytes()])
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
    from maskcli.sequences.writing import split_suffixes

    return repr("".join(split_suffixes(path))) if any(split_suffixes(path)) else "no suffix"
