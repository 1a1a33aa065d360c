"""FILE, its format, and the padding of its sequences."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import click

from maskcli.commands.completers import complete_file
from maskcli.commands.options import Command, add_options, bundle_options, is_set
from maskcli.errors import UsageError
from maskcli.records.options import DATA, OptionGroup, PaddingOptions, option, read_specs
from maskcli.records.sequences import Layout
from maskcli.sequences.bounds import parse_size, set_memory_bound
from maskcli.sequences.files import LoadedSequences, expand_files, read_sequences
from maskcli.sequences.formats import FORMATS
from maskcli.sequences.sources import STDIN, Source

if TYPE_CHECKING:
    from maskcli.sequences.streaming import SequenceFiles

PACKAGE = Path(__file__).parents[1]
SAMPLE = "sample.txt"
CommandData = tuple[object, Layout, contextlib.AbstractContextManager[None]]
"""Data, its layout, and a context that adds the place in a file to errors that know only the row."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SourceOptions:
    """FILE, its format, and the padding options that the command line sets."""

    GROUP: ClassVar[OptionGroup] = DATA

    files: tuple[str, ...]
    input_format: str = option(
        "auto",
        "Format of FILE; auto infers it from the suffix, or from the content of a file without one.",
        choices=("auto", *FORMATS),
    )
    field: str | None = option(
        None,
        "Field of records, column, or array of an .npz, that contains the sequences.",
        metavar="NAME",
        completes="field",
    )
    max_memory: str | None = option(
        None,
        "Memory that an input may take, such as 500M or 4G.",
        default_text="half of the machine's memory",
        metavar="SIZE",
    )
    padding: Mapping[str, Any]

    def read(self, *extra_files: str) -> tuple[LoadedSequences, Layout]:
        """Return the sequences of FILE, or of the sample, and their layout.

        Padding options that the command line does not set are those of the files. ``extra_files`` are read later.
        """
        self._check_stdin(extra_files)
        loaded = read_sequences(self._sources, self.input_format, self.field)
        return loaded, self.replace_layout(loaded.layout or Layout())

    def open_chunks(self) -> SequenceFiles:
        """Return FILE, or the sample, for reading a few rows at a time."""
        from maskcli.sequences.streaming import SequenceFiles

        self._check_stdin(())
        return SequenceFiles(self._sources, self.input_format, self.field)

    @functools.cached_property
    def _sources(self) -> tuple[Source, ...]:
        if self.files:
            return tuple(map(Source, expand_files(self.files)))
        if self.input_format != "auto" or self.field is not None:
            raise UsageError(
                expected="FILE with --input-format or --field",
                received="none",
                fix="Name a file, or `-` for standard input.",
            )
        return (Source(find_sample()),)

    def load_data(self, builtin: bool, *extra_files: str) -> CommandData:
        """Return sequences for a built-in model; a model of the user's own reads a single FILE by its inputs."""
        files = () if builtin else tuple(expand_files(self.files))
        if len(files) == 1:
            return self._open_file(files[0], extra_files)
        loaded, layout = self.read(*extra_files)
        return loaded.ragged, layout, loaded.naming()

    def _open_file(self, path: str, extra_files: Sequence[str]) -> CommandData:
        from maskcli.api.model_data import DataFile

        self._check_stdin(extra_files)
        data = DataFile(path, self.input_format, self.field)
        return data, self.replace_layout(Layout()), contextlib.nullcontext()

    def replace_layout(self, layout: Layout) -> Layout:
        """Return ``layout`` with the options that the command line sets."""
        return dataclasses.replace(layout, sets_value="value" in self.padding, **self.padding)

    def _check_stdin(self, extra_files: Sequence[str]) -> None:
        if (*self.files, *extra_files).count(STDIN) > 1:
            raise UsageError(
                expected="`-` once",
                received="it several times",
                fix="Standard input can be read once; name a file.",
            )


def source_options(command: Command) -> Command:
    """Add FILE, its format, and padding, which reach the command as ``source``."""
    padding, reading = list(read_specs(PaddingOptions)), list(read_specs(SourceOptions))

    def make_source(files: tuple[str, ...], **options: Any) -> SourceOptions:
        settings = {name: options.pop(name) for name in reading}
        set_memory_bound(None if settings["max_memory"] is None else parse_size(settings["max_memory"]))
        changes = {name: value for name, value in options.items() if is_set(name)}
        return SourceOptions(files=files, **settings, padding=changes)

    command = bundle_options(command, "source", ["files", *reading, *padding], make_source)
    command = add_options(command, PaddingOptions, padding)
    command = add_options(command, SourceOptions, reading)
    return click.argument("files", nargs=-1, metavar="[FILE]...", shell_complete=complete_file)(command)


def find_sample() -> str:
    """Return the path of the sample: inside the installed package, or next to it in a checkout."""
    inside = PACKAGE / "sample_data" / SAMPLE
    return str(inside if inside.exists() else PACKAGE.parent / "sample_data" / SAMPLE)
