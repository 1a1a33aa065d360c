"""Options that several commands share. Each group reaches a command as one argument, which knows what to do with it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from maskcli.errors import InputError, UsageError
from maskcli.records.sequences import Layout
from maskcli.render.documents import dumps
from maskcli.render.parts import Limits
from maskcli.sequences import sources
from maskcli.sequences.files import LoadedSequences, expand_files, read_sequences
from maskcli.sequences.formats import FORMATS
from maskcli.sequences.sources import STDIN, display_name
from maskcli.sequences.writing import write_file

if TYPE_CHECKING:
    from maskcli.sequences.streaming import SequenceFiles

Command = Callable[..., Any]
SIDES = click.Choice(["pre", "post"])
AT_LEAST_1 = click.IntRange(min=1)
AT_LEAST_2 = click.IntRange(min=2)
PACKAGE = Path(__file__).parents[1]
SAMPLE = "sample.txt"
DEFAULT_MODEL = "embedding-lstm"
LOADING = ("custom_objects", "unsafe_load")
"""Arguments that are about getting a model of the user's own."""


@dataclasses.dataclass(frozen=True)
class SourceOptions:
    """FILE, how to read it, and how to pad what is read; a field of the layout that is None was not asked for."""

    files: tuple[str, ...]
    input_format: str
    field: str | None
    padding: str | None
    truncating: str | None
    maxlen: int | None
    value: int | None
    dtype: str | None

    def read(self, *others: str) -> tuple[LoadedSequences, Layout]:
        """Return the sequences of FILE, or of the sample, and the layout: as asked, else as the files have it.

        ``others`` are the files that will be read besides.
        """
        self._check_stdin(others)
        loaded = read_sequences(self._sources, self.input_format, self.field)
        return loaded, self.layout_over(loaded.layout or Layout())

    def as_files(self) -> SequenceFiles:
        """Return FILE, or the sample, to be read some rows at a time."""
        from maskcli.sequences.streaming import SequenceFiles

        self._check_stdin(())
        return SequenceFiles(self._sources, self.input_format, self.field)

    @functools.cached_property
    def _sources(self) -> tuple[sources.Source, ...]:
        if self.files:
            return tuple(map(sources.Source, expand_files(self.files)))
        if self.input_format != "auto" or self.field is not None:
            raise UsageError(
                expected="FILE with --input-format or --field",
                received="none",
                fix="Name a file, or `-` for standard input.",
            )
        return (sources.Source(find_sample()),)

    def open_unread(self, *others: str) -> tuple[object, Layout, contextlib.AbstractContextManager[None]]:
        """Return FILE as it is, to be read once a model has said what it takes; several, or the sample, as read now.

        Also returned are the layout, and what names the place in a file to errors that know only the row.
        """
        from maskcli.api.model_data import DataFile

        files = expand_files(self.files)
        if len(files) != 1:
            loaded, layout = self.read(*others)
            return loaded.ragged, layout, loaded.naming()
        self._check_stdin(others)
        data = DataFile(files[0], self.input_format, self.field)
        return data, self.layout_over(Layout()), contextlib.nullcontext()

    def load_data(self, builtin: bool, *others: str) -> tuple[object, Layout, contextlib.AbstractContextManager[None]]:
        """Return sequences for a built-in model, and what ``open_unread`` returns for any other."""
        if not builtin:
            return self.open_unread(*others)
        loaded, layout = self.read(*others)
        return loaded.ragged, layout, loaded.naming()

    def layout_over(self, layout: Layout) -> Layout:
        """Return ``layout`` with what was asked for."""
        asked = {name: getattr(self, name) for name in ("padding", "truncating", "maxlen", "value", "dtype")}
        return dataclasses.replace(layout, **{name: value for name, value in asked.items() if value is not None})

    def _check_stdin(self, others: Sequence[str]) -> None:
        if (*self.files, *others).count(STDIN) > 1:
            raise UsageError(
                expected="`-` once", received="it several times", fix="Standard input can be read once; name a file."
            )


Form = Literal["table", "json", "markdown", "mermaid", "svg", "png", "html"]
SUFFIXES: dict[Form, str] = {
    "json": ".json", "table": ".txt", "markdown": ".md", "mermaid": ".mmd", "svg": ".svg", "png": ".png",
    "html": ".html",
}  # fmt: skip
"""What the suffix of ``--output`` asks for."""
ALWAYS: tuple[Form, ...] = ("table", "json", "markdown")


@dataclasses.dataclass(frozen=True)
class CommandResult:
    """What a command came to.

    Attributes:
        document: makes the JSON document.
        view: makes the parts that the table and the Markdown are made of.
        others: makes the bytes of other forms.
    """

    document: Callable[[], dict[str, Any]]
    view: Callable[..., Any]
    others: Mapping[Form, Callable[[], bytes]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class OutputOptions:
    """How a result is shown and where it is written."""

    format_: Form
    output: str | None
    quiet: bool
    max_rows: int | None = None
    max_cols: int | None = None
    all_: bool = False

    @property
    def forms(self) -> tuple[Form, ...]:
        """The forms that will be made: what is printed, and what is written."""
        written = () if self.output is None else [Path(self.output).suffix.lower()]
        return (
            *(() if self.quiet else (self.format_,)),
            *(form for form, suffix in SUFFIXES.items() if suffix in written),
        )

    def check_output(self, also: Sequence[Form] = (), files: Sequence[str] = ()) -> None:
        """Raise UsageError, before any work is done, for what cannot be written or printed.

        Args:
            also: forms that the command has beside those that all have.
            files: suffixes of files that it writes, other than those of forms.
        """
        allowed = dict.fromkeys((*files, *(SUFFIXES[form] for form in (*ALWAYS, *also))))
        if self.output is not None and Path(self.output).suffix.lower() not in allowed:
            raise UsageError(
                where=f"--output {self.output}",
                expected=f"a path that ends in {', '.join(allowed)}",
                received=repr(Path(self.output).suffix) if Path(self.output).suffix else "no suffix",
                fix="The suffix says what is written.",
            )
        if self.format_ == "png" and not self.quiet and sys.stdout is not None and sys.stdout.isatty():
            raise UsageError(
                where="--format png",
                expected="a file or a pipe",
                received="a terminal",
                fix="Redirect it, or name a file: --output picture.png.",
            )

    def write(self, result: CommandResult) -> None:
        """Write the result to ``--output``, if that is given, and print it, unless ``--quiet``."""
        if self.output is not None:
            write_file(self.output, self._file(Path(self.output).suffix.lower(), result))
        if not self.quiet:
            emit(self._render(self.format_, result))

    @property
    def is_excerpt(self) -> bool:
        """Whether no more is printed than some rows at the start and at the end."""
        return self.quiet or (self.format_ in ("table", "markdown") and not self.all_)

    def show(self, view: Callable[[Limits], Any]) -> None:
        """Print what is seen, unless ``--quiet``, where there is no more of the result than that."""
        if not self.quiet:
            emit(self._render_view(self.format_, view))

    def _file(self, suffix: str, result: CommandResult) -> bytes:
        form = next(form for form, own in SUFFIXES.items() if own == suffix)
        return self._render(form, result, to_file=True)

    def _render(self, form: Form, result: CommandResult, to_file: bool = False) -> bytes:
        if form in result.others:
            return result.others[form]()
        if form == "json":
            return dumps(result.document())
        return self._render_view(form, result.view, to_file)

    def _render_view(self, form: Form, view: Callable[[Limits], Any], to_file: bool = False) -> bytes:
        from maskcli.render.terminal import make_file_console, make_stdout_console, render_bytes

        if form == "markdown":
            from maskcli.render.markdown import WIDTH, render_markdown

            limits = dataclasses.replace(self._limits(WIDTH), flows=True)
            return render_markdown(view(limits)).encode()
        console = make_file_console() if to_file else make_stdout_console()
        return render_bytes(view(self._limits(console.width)), console)

    def _limits(self, width: int) -> Limits:
        if self.all_:
            return Limits(None, None, width, everything=True)
        return Limits(self.max_rows, self.max_cols, width)


def source_options(command: Command) -> Command:
    """Add FILE, what says how to read it, and padding in the words of ``keras.utils.pad_sequences``, as ``source``."""
    return bundle_options(
        command,
        "source",
        SourceOptions,
        click.argument("files", nargs=-1, metavar="[FILE]..."),
        _option(
            "--input-format", type=click.Choice(["auto", *FORMATS]), default="auto", show_default=True,
            help="Format of FILE; auto goes by suffix, and by content where there is none.",
        ),
        _option("--field", metavar="NAME", help="Field of records, column, or array of an .npz, with the sequences."),
        _option("--padding", type=SIDES, help="Where padding goes.  [default: post]"),
        _option("--truncating", type=SIDES, help="Where a long sequence is cut.  [default: post]"),
        _option("--maxlen", type=AT_LEAST_1, help="Timesteps of the batch.  [default: the longest sequence]"),
        _option("--value", type=int, help="Padding id.  [default: 0]"),
        _option("--dtype", type=click.Choice(["int32", "int64"]), help="Type of the tokens.  [default: int32]"),
    )  # fmt: skip


def any_model_options(command: Command) -> Command:
    """Add any model: which it is, what a built-in one is made of, and how one of the user's own is loaded."""
    return _stacked(command, any_model_option, *_BUILTIN_OPTIONS, loading_options)


def any_model_option(command: Command) -> Command:
    """Add ``--model`` for a built-in model and any other; ``is_builtin_model`` tells which."""
    from maskcli.models.builtin import BUILTIN

    return _option(
        "--model", metavar="SPEC", default=DEFAULT_MODEL, show_default=True,
        help=f"A built-in model ({', '.join(BUILTIN)}), a .keras or .h5 file, or package.module:function, a function "
        "without arguments that returns a Keras model.",
    )(command)  # fmt: skip


def loading_options(command: Command) -> Command:
    """Add what a model of the user's own may need to be loaded."""
    return _stacked(
        command,
        _option(
            "--custom-objects", metavar="MODULE", multiple=True,
            help="Module (package.module) whose layers and functions a model file names. Repeatable.",
        ),
        _option("--unsafe-load", is_flag=True, help="Run code that is in the model file: only for files you trust."),
    )  # fmt: skip


def is_builtin_model(model: str, *only_builtin: str) -> bool:
    """Return whether ``--model`` names a built-in model; nothing is imported or read.

    Raises:
        UsageError: for what can be no model, and for options that were given and do not go with it; ``only_builtin``
            are arguments that make built-in models.
    """
    from maskcli.models.load import kind_of

    builtin = kind_of(model) == "built-in"
    for option in list_set_options(*(LOADING if builtin else only_builtin)):
        raise UsageError(
            where=option,
            expected="a model of your own, from a file or a function" if builtin else "a built-in model",
            received=f"--model {display_name(model)}",
            fix=f"Leave it out: {'built-in models need no loading' if builtin else 'it makes built-in models only'}.",
        )
    return builtin


def list_set_options(*names: str) -> tuple[str, ...]:
    """Return those of these arguments that the command line gave, each as its option is spelled."""
    context = click.get_current_context()
    return tuple(
        "/".join((*parameter.opts, *parameter.secondary_opts))
        for parameter in context.command.params
        if parameter.name in names
        and context.params.get(parameter.name) != ()  # Of no FILE older clicks say that the command line gave it.
        and context.get_parameter_source(parameter.name) is click.core.ParameterSource.COMMANDLINE
    )


def mask_source_option(names: Sequence[str], also: str = "") -> Callable[[Command], Command]:
    """Return ``--mask-source`` with a choice of ``names``."""
    return click.option(
        "--mask-source", type=click.Choice(names), default="embedding", show_default=True,
        help=f"How Keras is told the mask{also}.",
    )  # fmt: skip


def output_options(writes: str = "", large: bool = True, also: Sequence[Form] = ()) -> Callable[[Command], Command]:
    """Return the options on what is shown and written, as ``answer``.

    Args:
        writes: says what ``--output`` writes, where its suffix does not say what ``--format`` says.
        large: whether there are limits for large tables.
        also: forms that the command has beside those that all have.
    """
    forms = (*ALWAYS, *also)
    writes = writes or f"Write the result: {', '.join(SUFFIXES[form] for form in forms)}."
    limits = (
        _option("--max-rows", type=AT_LEAST_2, default=24, show_default=True, help="Rows of a table."),
        _option("--max-cols", type=AT_LEAST_2, help="Timesteps or units in a row.  [default: as many as fit]"),
        _option("--all", "all_", is_flag=True, help="Show whole tables, however large."),
    )
    return lambda command: bundle_options(
        command,
        "answer",
        OutputOptions,
        _option(
            "--format", "format_", type=click.Choice(forms), default="table", show_default=True,
            help="What to print.",
        ),
        _option("--output", metavar="PATH", help=writes),
        _option("--quiet", is_flag=True, help="Print nothing; for --output and the exit code."),
        *(limits if large else ()),
        _option("--traceback", is_flag=True, expose_value=False, help="On an error, show where it was raised."),
    )  # fmt: skip


def json_schema_option(name: str) -> Callable[[Command], Command]:
    """Return the option that prints the JSON Schema of a command's output and ends."""

    def show(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            emit((PACKAGE / "schemas" / f"{name}.json").read_bytes())
            ctx.exit()

    return click.option(
        "--json-schema", is_flag=True, is_eager=True, expose_value=False, callback=show,
        help="Print the JSON Schema of --format json and exit.",
    )  # fmt: skip


def emit(data: bytes) -> None:
    """Write a result to standard output, whole; a reader that goes away early is no error.

    Raises:
        InputError: when standard output is closed or full.
    """
    if sys.stdout is None:
        raise _no_output("a closed stream")
    try:
        sys.stdout.flush()
        left = memoryview(data)
        while left:  # An unbuffered stream may take a part only.
            left = left[sys.stdout.buffer.write(left) :]
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # What is left in the buffer must not be flushed into the closed pipe when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise _no_output(error.strerror or str(error)) from None


def _no_output(received: str) -> InputError:
    return InputError(
        where="standard output",
        expected="a place to write to",
        received=received,
        fix="Redirect it elsewhere, or use --quiet and --output.",
    )


def find_sample() -> str:
    """Return the sample: inside the installed package, or beside it in a checkout."""
    inside = PACKAGE / "sample_data" / SAMPLE
    return str(inside if inside.exists() else PACKAGE.parent / "sample_data" / SAMPLE)


_option = click.option

_BUILTIN_OPTIONS = (
    _option("--input-dim", type=AT_LEAST_1, help="Vocabulary of the Embedding.  [default: the largest id + 1]"),
    _option("--embedding-dim", type=AT_LEAST_1, default=4, show_default=True, help="Length of its vectors."),
    _option("--zero-output-for-mask", is_flag=True, help="Masked outputs of the LSTM are zero."),
    _option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Seed of the weights."),
)
"""What a built-in model is made of."""


def bundle_options(
    command: Command, name: str, bundle: type[Any], *decorators: Callable[[Command], Command]
) -> Command:
    """Add options that reach ``command`` as one argument, a ``bundle`` made of them."""

    @functools.wraps(command)
    def gathered(*args: Any, **kwargs: Any) -> Any:
        names = [field.name for field in dataclasses.fields(bundle) if field.name in kwargs]
        return command(*args, **{name: bundle(**{name: kwargs.pop(name) for name in names})}, **kwargs)

    return _stacked(gathered, *decorators)


def _stacked(command: Command, *decorators: Callable[[Command], Command]) -> Command:
    for decorator in reversed(decorators):
        command = decorator(command)
    return command
