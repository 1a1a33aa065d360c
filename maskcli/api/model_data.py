"""A model and its data, brought together: a built-in model is made for the data, any other takes what it is given."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from maskcli.api.settings import make_builtin_settings
from maskcli.errors import MaskcliError, ModelError, UsageError
from maskcli.inputs.arguments import read_input_specs, select_rows
from maskcli.inputs.dataset import EMPTY, Dataset, make_dataset, make_ragged_dataset, read_dataset
from maskcli.models.build import BuiltModel, build
from maskcli.models.builtin import BUILTIN
from maskcli.models.load import UserModel, given, kind_of, load
from maskcli.models.runtime import load_keras, running
from maskcli.records.arrays import Bools
from maskcli.records.inputs import InputSpec, ModelInput
from maskcli.records.model import ModelAbout, ModelSettings
from maskcli.records.sequences import Layout, PaddedBatch, RaggedSequences
from maskcli.sequences.padding import find_valid_timesteps, pad_ragged, take_first_rows
from maskcli.sequences.ragged import as_ragged


@dataclasses.dataclass(frozen=True)
class DataFile:
    """A file to be read once the model has said what it takes.

    Attributes:
        path: ``-`` is standard input.
        input_format: a name of the formats, or ``auto``.
        field: the field or array that feeds the first input; None leaves the choice to the names.
    """

    path: str
    input_format: str = "auto"
    field: str | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class ModelAndData:
    """A model with what it is called with.

    Attributes:
        about: what model it is.
        model: the Keras model.
        inputs: what it is called with.
        batch: the sequences that were padded for it; None where the data are arrays as they are.
        ragged: the sequences of ``batch``.
        more: arrays of the data that feed no input, such as targets, by name.
        built: a built-in model with its settings; None for others.
        where: names the place of a row of the data.
    """

    about: ModelAbout
    model: Any
    inputs: tuple[ModelInput, ...]
    batch: PaddedBatch | None
    ragged: RaggedSequences | None
    more: Mapping[str, NDArray[Any]] = dataclasses.field(default_factory=dict)
    built: BuiltModel | None = None
    where: Callable[[int], str] | None = None

    def first(self, rows: int) -> ModelAndData:
        """Return the same with the first rows of the data alone."""
        if rows >= len(self.inputs[0].values):
            return self
        few, ragged = slice(0, rows), self.ragged
        if ragged is not None:
            ragged = RaggedSequences(ragged.values[: ragged.row_splits[rows]], ragged.row_splits[: rows + 1])
        return dataclasses.replace(
            self,
            inputs=tuple(select_rows(given, few) for given in self.inputs),
            batch=None if self.batch is None else take_first_rows(self.batch, rows),
            ragged=ragged,
            more={name: array[few] for name, array in self.more.items()},
        )

    @contextlib.contextmanager
    def naming(self) -> Iterator[None]:
        """Give the place in the data to errors that know only the row."""
        try:
            yield
        except MaskcliError as error:
            if error.row is not None and self.where is not None:
                error.at(self.where(error.row))
            raise


def names_builtin(model: object) -> bool:
    """Return whether ``model`` names a built-in model; raise UsageError for text that names none at all."""
    return isinstance(model, str) and kind_of(model) == "built-in"


def load_builtin(sequences: object, layout: Layout, *, name: str, **options: Any) -> ModelAndData:
    """Return a built-in model made for sequences: the first of the mask sources that were asked for.

    Raises:
        UsageError: for options that contradict each other or the data.
        InputError: for sequences that cannot be padded, or ids that an Embedding cannot look up.
        ModelError: when Keras cannot build the model.
    """
    ragged, batch = pad_for_builtin(sequences, layout, name)
    return pair_with_builtin(make_builtin_settings(ragged, batch, name=name, **options), ragged, batch)


def pad_for_builtin(sequences: object, layout: Layout, name: str) -> tuple[RaggedSequences, PaddedBatch]:
    """Return sequences for the built-in model ``name``, and the batch that they are padded to; raise as above."""
    if isinstance(sequences, Mapping | DataFile):
        raise UsageError(
            where=f"--model {name}",
            expected="sequences of ids",
            received="arrays by name",
            fix=f"The built-in models ({', '.join(BUILTIN)}) take ids alone; name the array with --field.",
        )
    ragged = as_ragged(sequences)
    return ragged, pad_ragged(ragged, layout)


def pair_with_builtin(settings: ModelSettings, ragged: RaggedSequences, batch: PaddedBatch) -> ModelAndData:
    """Return a built-in model with the sequences that it is called with.

    Raises:
        ModelError: when Keras cannot build the model.
    """
    name, valid = settings.name, find_valid_timesteps(batch)
    load_keras()
    first = "embedding" if settings.mask_source == "all" else settings.mask_source
    with running(f"--model {name}"):
        built = build(dataclasses.replace(settings, mask_source=first))
    about = ModelAbout(
        name,
        "built-in",
        type(built.keras_model).__name__,
        dataclasses.replace(built.settings, mask_source=settings.mask_source),
    )
    return ModelAndData(about, built.keras_model, make_builtin_inputs(built, batch, valid), batch, ragged, built=built)


def make_builtin_inputs(built: BuiltModel, batch: PaddedBatch, valid: Bools) -> tuple[ModelInput, ...]:
    """Return what a built-in model is called with: tokens, and the explicit mask where it takes one."""
    tokens = ModelInput("tokens", batch.tokens, valid, "ids", batch.layout.value)
    if built.settings.mask_source != "explicit":
        return (tokens,)
    return tokens, ModelInput("mask", valid, valid, "mask")


def load_user_model(
    data: object,
    model: object,
    layout: Layout,
    *,
    custom_objects: Sequence[str] = (),
    unsafe_load: bool = False,
    also: Mapping[str, str] = EMPTY,
) -> ModelAndData:
    """Return a model of the user's own with the data that it takes.

    Args:
        data: sequences, a ``DataFile``, or arrays by name: ``{"tokens": ..., "tokens.mask": ...}``.
        model: a file, ``package.module:function``, or a Keras model.
        layout: how sequences are padded.
        custom_objects: modules with the classes that a file names.
        unsafe_load: whether code in a model file may run.
        also: fields or arrays of a ``DataFile`` that feed no input, each with the option that named it.

    Raises:
        InputError: for data that cannot be read.
        ModelError: for a model that cannot be loaded, or takes other data.
    """
    load_keras()
    loaded = load(model, custom_objects, unsafe_load) if isinstance(model, str) else given(model)
    read = _dataset_for(data, loaded, layout, also)
    about = ModelAbout(loaded.name, loaded.source, type(loaded.keras_model).__name__, notes=loaded.notes)
    return ModelAndData(
        about,
        loaded.keras_model,
        read.inputs,
        read.batch,
        read.ragged,
        read.more,
        where=read.where if isinstance(data, DataFile) else None,
    )


def _dataset_for(data: object, loaded: UserModel, layout: Layout, also: Mapping[str, str]) -> Dataset:
    try:
        return load_dataset(data, read_input_specs(loaded.keras_model), layout, also)
    except ModelError as error:
        error.where = ", ".join(filter(None, [f"--model {loaded.name}", error.where]))
        raise


def load_dataset(data: object, specs: Sequence[InputSpec], layout: Layout, also: Mapping[str, str] = EMPTY) -> Dataset:
    """Return the data of a file, arrays by name or sequences as the inputs ``specs``; without any, as they are named.

    Raises:
        InputError: for data that cannot be read or padded.
        ModelError: for inputs that the data has nothing for.
    """
    if isinstance(data, DataFile):
        return read_dataset(data.path, specs, layout, data.input_format, data.field, also)
    if isinstance(data, Mapping):
        return make_dataset(data, specs, layout)
    return make_ragged_dataset(as_ragged(data), specs, layout)
