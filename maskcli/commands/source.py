"""FILE, its format, and the padding of its sequences."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import click

from maskcli.commands.completers import complete_file
from maskcli.commands.options import Command, add_options, bundle_options, is_set
from maskcli.errors import UsageError
from maskcli.records.layout import Layout
from maskcli.records.options import DATA, OptionGroup, PaddingOptions, option, read_specs
from maskcli.sequences.bounds import parse_size, set_memory_bound
from maskcli.sequences.format_names import FORMAT_NAMES
from maskcli.sequences.sources import STDIN, Source, display_name

if TYPE_CHECKING:
    from maskcli.records.data import DataOrigin
    from maskcli.sequences.files import LoadedSequences
    from maskcli.sequences.input_files import InputFiles
    from maskcli.sequences.streaming import SequenceFiles
    from maskcli.sequences.words import Tokenizer

CommandData = tuple[object, Layout, contextlib.AbstractContextManager[None]]
"""Data, its layout, and a context that adds the place in a file to errors that know only the row."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SourceOptions:
    """FILE, its format, and the padding options that the command line sets; ``model`` is that of the project."""

    GROUP: ClassVar[OptionGroup] = DATA

    files: tuple[str, ...]
    input_format: str = option(
        "auto",
        "Format of FILE; auto infers it from the suffix, or from the content of a file without one.",
        # The manifest of shards is always recognized.
        choices=("auto", *(entry.name for entry in FORMAT_NAMES if entry.name != "shards")),
    )
    field: str | None = option(
        None,
        "Field of records, column, or array of an .npz, that contains the sequences; a pattern such as 'w*' for "
        "several columns of numbers.",
        metavar="NAME",
        completes="field",
    )
    tokenizer: str | None = option(
        None,
        "Read text: a tokenizer.json, or a vocabulary with one token per line, maps each line, or the text in --field, "
        "to ids. Tables show the words.",
        metavar="FILE",
        completes="file",
    )
    max_memory: str | None = option(
        None,
        "Memory that an input, or the weights of a model, may take, such as 500M or 4G.",
        default_text="half of the machine's memory",
        metavar="SIZE",
    )
    sample: bool = option(False, "Use the built-in sample as data.")
    padding: Mapping[str, Any]
    model: str | None = None

    def read(self) -> tuple[LoadedSequences, Layout]:
        """Return the sequences of FILE, or of the sample, and their layout, for a command without a model.

        Padding options that the command line does not set are those of the files.
        """
        return self._read_all(self._input_files, self.sources)

    def open_chunks(self) -> SequenceFiles:
        """Return FILE, or the sample, for reading a few rows at a time, for a command without a model."""
        from maskcli.sequences.streaming import SequenceFiles

        return SequenceFiles(self.sources, self.input_format, self.field, self._input_files.origin)

    @property
    def origin(self) -> DataOrigin:
        """The names of the files, for a command without a model."""
        return self._input_files.origin

    @functools.cached_property
    def _input_files(self) -> InputFiles:
        return self._choose_files(True, ())

    @functools.cached_property
    def sources(self) -> tuple[Source, ...]:
        """The files, each of which can be read several times."""
        # ``read`` may follow ``open_chunks``, and only a source that has read standard input can read it again.
        return tuple(map(Source, self._input_files.paths))

    def _read_all(self, files: InputFiles, sources: Sequence[Source]) -> tuple[LoadedSequences, Layout]:
        from maskcli.sequences.files import read_sequences, read_texts

        if self.tokenizer is None:
            loaded = dataclasses.replace(read_sequences(sources, self.input_format, self.field), origin=files.origin)
            return loaded, self.replace_layout(loaded.layout or Layout())
        import numpy as np

        from maskcli.sequences.words import describe_words, load_tokenizer

        tokenizer = load_tokenizer(self.tokenizer)
        loaded = read_texts(sources, self.input_format, self.field, tokenizer)
        layout = self.replace_layout(loaded.layout or Layout())
        words = describe_words(tokenizer, np.append(loaded.ragged.values, layout.padding_id))
        return dataclasses.replace(loaded, origin=dataclasses.replace(files.origin, words=words)), layout

    def load_data(self, builtin: bool, *extra_files: str) -> CommandData:
        """Return the sequences of all files; for a model of the user's own, a single file that is read by its inputs.

        ``extra_files`` are those of targets and weights, which are read later.
        """
        files = self._choose_files(builtin, extra_files)
        if not builtin and len(files.paths) == 1:
            Source(files.paths[0]).check_exists()  # Before seconds of imports.
            from maskcli.api.model_data import DataFile

            data = DataFile(files.paths[0], self.input_format, self.field, files.origin, self._load_tokenizer())
            return data, self.replace_layout(Layout()), contextlib.nullcontext()
        loaded, layout = self._read_all(files, tuple(map(Source, files.paths)))
        return loaded, layout, loaded.naming()

    def _load_tokenizer(self) -> Tokenizer | None:
        if self.tokenizer is None:
            return None
        from maskcli.sequences.words import load_tokenizer

        return load_tokenizer(self.tokenizer)

    def _choose_files(self, builtin: bool, extra_files: Sequence[str]) -> InputFiles:
        """Return FILE, standard input or the sample, in this order.

        The sample takes the place of data only where a built-in model is shown on a screen. A model of the user's own
        and an output file would otherwise get data that the user did not choose.

        Raises:
            UsageError: if there is no data, or if options about it contradict each other.
        """
        from maskcli.sequences.input_files import expand_files, get_sample

        if self.sample:
            self._check_sample()
            return get_sample()
        files = self.files or self.piped
        if (*files, *extra_files, self.tokenizer).count(STDIN) > 1:
            raise UsageError(
                expected="`-` once",
                received="it several times",
                fix="Standard input can be read once; name a file, or use --sample for the data.",
            )
        if files:
            return expand_files(files)
        reason = (None if builtin else self._describe_model()) or _find_output_option() or self._reading
        if reason is not None:
            raise UsageError(
                where="FILE",
                expected=f"data for {reason}",
                received="none",
                fix="Name a file, pipe data into maskcli, or use --sample for the built-in sample.",
            )
        return get_sample()

    @functools.cached_property
    def piped(self) -> tuple[str, ...]:
        """Standard input as FILE; empty if nothing is piped into the command."""
        from maskcli.sequences.input_files import has_piped_input

        return (STDIN,) if has_piped_input() else ()

    @property
    def _reading(self) -> str | None:
        """The option about the content of FILE that the command line sets; None without any."""
        if self.field is not None:
            return "--field"
        if self.tokenizer is not None:
            return "--tokenizer"
        return None if self.input_format == "auto" else "--input-format"

    def _describe_model(self) -> str:
        """Return the option about the model that needs data of the user."""
        arguments = click.get_current_context().params
        return (
            "--data-only" if arguments.get("data_only") else f"--model {display_name(self.model or arguments['model'])}"
        )

    def _check_sample(self) -> None:
        """Raise UsageError for options that need other data than the sample."""
        received = "FILE" if self.files else self._reading
        if received is not None:
            raise UsageError(
                where="--sample",
                expected="no FILE, --field, --tokenizer or --input-format: the sample is three sequences of ids",
                received=received,
                fix="Leave out one of the two.",
            )

    def replace_layout(self, layout: Layout) -> Layout:
        """Return ``layout`` with the options that the command line sets."""
        sets_value = True if "value" in self.padding else layout.sets_value
        return dataclasses.replace(layout, **self.padding, sets_value=sets_value)


def _find_output_option() -> str | None:
    """Return the option that names an output file; None if the result is only printed."""
    arguments = click.get_current_context().params
    names = ("output", "mask_output")
    return next((f"--{name.replace('_', '-')}" for name in names if arguments.get(name) not in (None, STDIN)), None)


def source_options(command: Command) -> Command:
    """Add FILE, its format, and padding, which reach the command as ``source``."""
    return select_source_options()(command)


def select_source_options(*without: str, metavar: str = "[FILE]...") -> Callable[[Command], Command]:
    """Return a decorator that adds the same options, but for those of these names, which keep their defaults.

    ``metavar`` describes the arguments of the command.
    """
    padding = [name for name in read_specs(PaddingOptions) if name not in without]
    reading = [name for name in read_specs(SourceOptions) if name not in without]

    def make_source(files: tuple[str, ...], **options: Any) -> SourceOptions:
        settings = {name: options.pop(name) for name in reading}
        set_memory_bound(None if settings["max_memory"] is None else parse_size(settings["max_memory"]))
        changes = {name: value for name, value in options.items() if is_set(name)}
        return SourceOptions(files=files, **settings, padding=changes)

    def decorate(command: Command) -> Command:
        command = bundle_options(command, "source", ["files", *reading, *padding], make_source)
        command = add_options(command, PaddingOptions, padding)
        command = add_options(command, SourceOptions, reading)
        return click.argument("files", nargs=-1, metavar=metavar, shell_complete=complete_file)(command)

    return decorate
