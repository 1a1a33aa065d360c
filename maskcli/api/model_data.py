"""Pair a model with its data: a built-in model is built for the data, other models select their inputs from it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from maskcli.api.settings import make_builtin_settings
from maskcli.errors import MaskcliError, ModelError, UsageError, summarize_error
from maskcli.inputs.arguments import pack_arguments, read_input_specs, select_rows, takes_one_array
from maskcli.inputs.columns import RowLayout
from maskcli.inputs.dataset import (
    EMPTY,
    Dataset,
    make_dataset,
    make_ragged_dataset,
    read_dataset,
    read_nested_rows,
    select_sequences,
)
from maskcli.inputs.objects import DataParts, TableRows, refuse_twice
from maskcli.inputs.padding import check_batch_value, find_validity_source
from maskcli.inputs.validity import FindRoles
from maskcli.models.build import BuiltModel, build
from maskcli.models.builtin import BUILTIN
from maskcli.models.hub import SMALLEST_VOCABULARY, find_hub_model
from maskcli.models.keras_version import list_version_notes
from maskcli.models.limits import bound_weights
from maskcli.models.load import UserModel, classify_spec, finish_loading, load, wrap_model
from maskcli.models.load_weights import read_weights_file
from maskcli.models.model_args import parse_model_args, refuse_model_args
from maskcli.models.runtime import choose_backend, load_keras, quiet_stdout, running
from maskcli.records.arrays import Bools
from maskcli.records.data import FROM_PYTHON, DataOrigin
from maskcli.records.inputs import InputSpec, ModelInput
from maskcli.records.layout import Layout
from maskcli.records.model import ModelAbout, ModelSettings
from maskcli.records.options import BuiltinOptions, LossOptions, ModelOptions, Side
from maskcli.records.sequences import PaddedBatch, RaggedSequences
from maskcli.records.validity import Validity
from maskcli.sequences.bounds import OPTION
from maskcli.sequences.files import LoadedSequences
from maskcli.sequences.formats.base import quote_names
from maskcli.sequences.padding import find_valid_timesteps, pad_ragged, take_first_rows
from maskcli.sequences.ragged import as_ragged
from maskcli.sequences.words import Tokenizer, describe_words
from maskcli.trace.input_roles import examine_inputs
from maskcli.trace.run import ModelRun, RunCache

Labelled = TypeVar("Labelled", bound=LossOptions)


@dataclasses.dataclass(frozen=True)
class DataFile:
    """A file that is read after the model, by the names and types of its inputs.

    Attributes:
        path: ``-`` is standard input.
        input_format: a name of the formats, or ``auto``.
        field: the field or array of the first input; None matches all fields by name.
        origin: the file in results.
        tokenizer: maps text to ids; None for data without text.
    """

    path: str
    input_format: str = "auto"
    field: str | None = None
    origin: DataOrigin = FROM_PYTHON
    tokenizer: Tokenizer | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class ModelAndData:
    """A model with its inputs.

    Attributes:
        about: name, source and settings of the model.
        runs: the runs of the Keras model.
        inputs: the inputs that the model is called with.
        batch: the padded sequences; None if the data are arrays.
        ragged: the sequences of ``batch``.
        more: by name, arrays of the data that feed no input, such as targets.
        built: a built-in model with its settings; None for others.
        where: returns the position of a row of the data, for messages.
        requested_side: the side of padding that the user requests.
        origin: where the rows come from.
        layouts: of the inputs that maskcli padded.
        segments: ``(batch, timesteps)``, a column of the data with the segments of packed rows that feeds no input.
        spare: the columns of the data that nothing needs so far, such as targets that the user has not named.
        more_layouts: of those of ``more`` that maskcli padded like an input.
    """

    about: ModelAbout
    runs: RunCache
    inputs: tuple[ModelInput, ...]
    batch: PaddedBatch | None
    ragged: RaggedSequences | None
    more: Mapping[str, NDArray[Any]] = dataclasses.field(default_factory=dict)
    built: BuiltModel | None = None
    where: Callable[[int], str] | None = None
    requested_side: Side = "post"
    origin: DataOrigin = FROM_PYTHON
    layouts: tuple[RowLayout, ...] = ()
    segments: NDArray[Any] | None = None
    spare: tuple[str, ...] = ()
    more_layouts: Mapping[str, RowLayout] = dataclasses.field(default_factory=dict)

    @property
    def data(self) -> DataOrigin:
        """Where the rows come from."""
        return self.origin.count(len(self.inputs[0].values))

    @property
    def side(self) -> Side:
        """The side on which sequences are padded, by maskcli or otherwise."""
        return self.requested_side if self.batch is None else self.batch.layout.padding

    @property
    def model(self) -> Any:
        """The Keras model."""
        return self.runs.model

    def get_run(self, unfold: bool = False) -> ModelRun:
        """Return the run of the model on these rows; an equal run is not recorded twice in a row."""
        return self.runs.get_run(self.inputs, unfold)

    def first(self, rows: int) -> ModelAndData:
        """Return the same model with only the first rows of the data."""
        if rows >= len(self.inputs[0].values):
            return self
        few, ragged = slice(0, rows), self.ragged
        if ragged is not None:
            ragged = RaggedSequences(ragged.values[: ragged.row_splits[rows]], ragged.row_splits[: rows + 1])
        return dataclasses.replace(
            self,
            inputs=tuple(select_rows(model_input, few) for model_input in self.inputs),
            batch=None if self.batch is None else take_first_rows(self.batch, rows),
            ragged=ragged,
            more={name: array[few] for name, array in self.more.items()},
            layouts=tuple(RowLayout(rows.lengths[few], rows.layout) for rows in self.layouts),
            more_layouts={name: RowLayout(rows.lengths[few], rows.layout) for name, rows in self.more_layouts.items()},
            segments=None if self.segments is None else self.segments[few],
        )

    def add_note(self, note: str) -> ModelAndData:
        """Return the same model and data with another remark on a fact that is not examined."""
        return dataclasses.replace(self, about=dataclasses.replace(self.about, notes=(*self.about.notes, note)))

    @contextlib.contextmanager
    def naming(self) -> Iterator[None]:
        """Add the position in the data to errors that know only the row."""
        try:
            yield
        except MaskcliError as error:
            if error.row is not None and self.where is not None:
                error.at(self.where(error.row))
            raise


def find_origin(data: object, inputs: Sequence[ModelInput] = ()) -> DataOrigin:
    """Return where data comes from: its files, or none for data from Python; with the words of ids in ``inputs``."""
    origin = data.origin if isinstance(data, DataFile | LoadedSequences) else FROM_PYTHON
    if isinstance(data, DataFile | TableRows) and data.tokenizer is not None:
        ids = [entry.values.ravel() for entry in inputs if entry.kind == "ids"]
        words = describe_words(data.tokenizer, np.concatenate([np.zeros(0, np.int64), *ids]))
        return dataclasses.replace(origin, words=words)
    return origin


def add_labels(options: Labelled, parts: DataParts) -> Labelled:
    """Return options with the targets and weights of the data, if it has any.

    Raises:
        UsageError: for targets or weights that the options have as well.
    """
    has_targets = options.targets is not None or bool(options.fields)
    refuse_twice("targets", True if has_targets else None, parts.targets)
    refuse_twice("sample_weight", True if options.has_weights else None, parts.sample_weight)
    changes: dict[str, Any] = {"targets": parts.targets, "sample_weight": parts.sample_weight}
    return dataclasses.replace(options, **{name: part for name, part in changes.items() if part is not None})


def names_builtin(model: object) -> bool:
    """Return whether ``model`` names a built-in model; raise UsageError for text that cannot name a model."""
    return isinstance(model, str) and classify_spec(model) == "built-in"


def load_builtin(
    sequences: object, layout: Layout, options: BuiltinOptions, return_sequences: bool = True
) -> ModelAndData:
    """Build a built-in model for sequences; ``mask_source="all"`` builds the first of the three.

    Raises:
        UsageError: for options that contradict each other or the data.
        InputError: for sequences that cannot be padded, or ids that an Embedding cannot look up.
        ModelError: when Keras cannot build the model.
    """
    choose_backend(options.backend)
    ragged, batch = pad_for_builtin(sequences, layout, str(options.model))
    settings = make_builtin_settings(ragged, batch, options, return_sequences)
    return pair_with_builtin(settings, ragged, batch)


def pad_for_builtin(sequences: object, layout: Layout, name: str) -> tuple[RaggedSequences, PaddedBatch]:
    """Return sequences for the built-in model ``name``, and their padded batch; raise as ``load_builtin``."""
    if isinstance(sequences, Mapping | DataFile):
        raise UsageError(
            where=f"--model {name}",
            expected="sequences of ids",
            received="arrays by name",
            fix=f"The built-in models ({', '.join(BUILTIN)}) take only ids; name the array with --field.",
        )
    selected = select_sequences(sequences)
    ragged = as_ragged(selected.ragged if isinstance(selected, LoadedSequences) else selected)
    return ragged, dataclasses.replace(pad_ragged(ragged, layout), origin=find_origin(selected))


def pair_with_builtin(settings: ModelSettings, ragged: RaggedSequences, batch: PaddedBatch) -> ModelAndData:
    """Build a model from its settings, and pair it with its sequences.

    Raises:
        UsageError: for a padding value that full rows lack.
        ModelError: when Keras cannot build the model.
    """
    check_batch_value(batch)
    name, valid = settings.name, find_valid_timesteps(batch)
    load_keras()
    first = "embedding" if settings.mask_source == "all" else settings.mask_source
    fix = f"Lower --input-dim, --embedding-dim or --units, or raise the bound with {OPTION}."
    with running(f"--model {name}"), bound_weights(f"--model {name}", fix):
        built = build(dataclasses.replace(settings, mask_source=first))
    about = ModelAbout(
        name,
        "built-in",
        type(built.keras_model).__name__,
        dataclasses.replace(built.settings, mask_source=settings.mask_source),
        notes=list_version_notes(),
    )
    inputs = make_builtin_inputs(built, batch, valid)
    return ModelAndData(
        about,
        RunCache(built.keras_model),
        inputs,
        batch,
        ragged,
        built=built,
        origin=batch.origin,
        layouts=(RowLayout(batch.lengths, batch.layout),),
    )


def make_builtin_inputs(built: BuiltModel, batch: PaddedBatch, valid: Bools) -> tuple[ModelInput, ...]:
    """Return the inputs of a built-in model: tokens, and the mask of an explicit mask source."""
    validity = find_validity_source(batch, valid)
    tokens = ModelInput("tokens", batch.tokens, valid, "ids", batch.layout.value, validity)
    if built.settings.mask_source != "explicit":
        return (tokens,)
    return tokens, ModelInput("mask", valid, valid, "mask", validity=Validity("default", "tokens"))


def load_user_model(
    data: object, layout: Layout, options: ModelOptions, extra_columns: Mapping[str, str] = EMPTY
) -> ModelAndData:
    """Load a model of the user's own with the data that it takes.

    Args:
        data: sequences, a ``DataFile``, or arrays by name: ``{"tokens": ..., "tokens.mask": ...}``.
        layout: the padding of the sequences.
        options: name a file, ``package.module:function``, or a Keras model.
        extra_columns: fields or arrays of a ``DataFile`` that feed no input, each with the option that named it.

    Raises:
        InputError: for data that cannot be read.
        ModelError: for a model that cannot be loaded, or takes other data.
    """
    choose_backend(options.backend)
    if isinstance(options.model, str) and classify_spec(options.model) == "hub":
        loaded, dataset = _load_hub_model(data, layout, options, extra_columns)
        runs = RunCache(loaded.keras_model)
    else:
        loaded = _load_model(options)
        runs = RunCache(loaded.keras_model)
        dataset = _dataset_for(data, loaded, layout, extra_columns, runs)
        _check_undeclared(loaded, dataset, runs)
    if loaded.weights is not None:
        if not loaded.keras_model.built:  # The first call makes its variables.
            with running(f"--model {loaded.name}"), quiet_stdout(), bound_weights():
                first = [select_rows(model_input, slice(0, 1)) for model_input in dataset.inputs]
                loaded.keras_model(pack_arguments(loaded.keras_model, first))
        loaded = finish_loading(loaded)
        runs = RunCache(loaded.keras_model)  # Its first run had other weights.
    notes = (*loaded.notes, *list_version_notes())
    about = ModelAbout(loaded.name, loaded.source, type(loaded.keras_model).__name__, notes=notes)
    return ModelAndData(
        about,
        runs,
        dataset.inputs,
        dataset.batch,
        dataset.ragged,
        dataset.more,
        where=dataset.where if isinstance(data, DataFile) else None,
        requested_side=layout.padding,
        origin=find_origin(data, dataset.inputs),
        layouts=dataset.layouts,
        segments=dataset.segments,
        spare=dataset.spare,
        more_layouts=dataset.more_layouts,
    )


def _load_model(options: ModelOptions) -> UserModel:
    model, model_args = options.model, parse_model_args(options.model_args)
    if isinstance(model, str):
        return load(
            model,
            options.custom_objects,
            options.unsafe_load,
            model_args=model_args,
            weights=options.weights,
            seed=options.seed,
        )
    refuse_model_args(model_args, "a model from Python")
    if options.weights is not None:
        raise UsageError(
            where="weights",
            expected="a model by its file or function, into which weights are loaded",
            received="a model from Python",
            fix="Load them before: model.load_weights(...).",
        )
    return wrap_model(model)


def _load_hub_model(
    data: object, layout: Layout, options: ModelOptions, also: Mapping[str, str]
) -> tuple[UserModel, Dataset]:
    """Return a tiny model of KerasHub with its data, which decides the size of its vocabulary."""
    spec, settings = str(options.model), parse_model_args(options.model_args)
    weights = None if options.weights is None else read_weights_file(options.weights)
    hub_model = find_hub_model(spec)
    model = hub_model.build(SMALLEST_VOCABULARY, 1, settings, options.seed)
    loaded = UserModel(model, spec, "kerashub", weights=weights)
    dataset = _dataset_for(data, loaded, layout, also, RunCache(model))
    ids = [entry.values for entry in dataset.inputs if entry.kind == "ids" and entry.valid is not None]
    largest = max((int(values.max(initial=0)) for values in ids), default=0)
    timesteps = max((values.shape[1] for values in ids), default=1)
    model = hub_model.build(max(largest + 1, SMALLEST_VOCABULARY), timesteps, settings, options.seed)
    return dataclasses.replace(loaded, keras_model=model), dataset


def _dataset_for(data: object, loaded: UserModel, layout: Layout, also: Mapping[str, str], runs: RunCache) -> Dataset:
    specs = _list_specs(loaded)
    try:
        _check_text_inputs(specs)
        return load_dataset(
            data,
            specs,
            layout,
            also,
            lambda inputs: examine_inputs(runs, inputs),
            takes_one_array(loaded.keras_model),
        )
    except ModelError as error:
        error.where = ", ".join(filter(None, [f"--model {loaded.name}", error.where]))
        raise


def _check_text_inputs(specs: Sequence[InputSpec]) -> None:
    text = [spec.name for spec in specs if spec.dtype == "string"]
    if text:
        raise ModelError(
            expected="a model that takes numbers",
            received=f"one that takes text: {quote_names(text)}",
            fix="Build it without its TextVectorization, from ids on, and pass the vocabulary with --tokenizer FILE.",
        )


def _check_undeclared(loaded: UserModel, dataset: Dataset, runs: RunCache) -> None:
    """Raise ModelError for a model that declares no inputs and raises an error as soon as it gets all columns."""
    if len(dataset.inputs) < 2 or read_input_specs(loaded.keras_model):
        return
    recording = runs.get_run(dataset.inputs).recording
    if recording.error is None or len(recording.entries) > 1:  # The first one is the model itself.
        return
    raise ModelError(
        where=f"--model {loaded.name}",
        expected=f"a model that takes the columns {quote_names([entry.name for entry in dataset.inputs])}",
        received=f"{type(recording.error).__name__}: {summarize_error(recording.error)}, before the first layer",
        fix="The model declares no inputs, and gets all columns of numbers. --targets-field NAME leaves out targets; "
        "other columns must not be in the data.",
    )


def _list_specs(loaded: UserModel) -> list[InputSpec]:
    """Return the inputs of a model; a decoder of KerasHub takes the ids of the encoder if the data has no others."""
    specs = list(read_input_specs(loaded.keras_model))
    if loaded.source != "kerashub":
        return specs
    return [dataclasses.replace(spec, filling="copy") if spec.name == "decoder_token_ids" else spec for spec in specs]


def load_dataset(
    data: object,
    specs: Sequence[InputSpec],
    layout: Layout,
    also: Mapping[str, str] = EMPTY,
    find_roles: FindRoles | None = None,
    takes_one: bool = False,
) -> Dataset:
    """Load a file, arrays by name, sequences, or one array of features, as the inputs ``specs``.

    Without specs, each array is an input, or with ``takes_one`` a single one.

    ``find_roles`` returns the roles of the inputs in the model; it is None without a model.

    Raises:
        InputError: for data that cannot be read or padded.
        ModelError: for inputs that the data lacks.
    """
    if isinstance(data, DataFile):
        return read_dataset(
            data.path, specs, layout, data.input_format, data.field, also, find_roles, data.tokenizer, takes_one
        )
    if isinstance(data, Mapping | TableRows):
        return make_dataset(data, specs, layout, find_roles, also, takes_one)
    if isinstance(data, LoadedSequences):
        return make_ragged_dataset(data.ragged, specs, layout, find_roles)
    rows = read_nested_rows(data, has_model=bool(specs))
    return make_ragged_dataset(as_ragged(data) if rows is None else rows, specs, layout, find_roles)
