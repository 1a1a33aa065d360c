"""The options of commands and functions: each is declared once, with its default and its documentation.

A subject (padding, model, loss, rules) is a frozen dataclass. Its fields become click options, keyword arguments of the
library and the ``Args`` of docstrings.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeVar

from maskcli.records.fields import BACKENDS

Default = TypeVar("Default")
Options = TypeVar("Options")

Side = Literal["pre", "post"]
TokenDtype = str
"""The name of an integer dtype."""
TOKEN_DTYPES = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
FailOn = Literal["error", "warning", "never"]
FAIL_ON: tuple[FailOn, ...] = ("error", "warning", "never")
MASK_GIVING = ("embedding", "masking", "explicit")
"""The three ways in which Keras gets a mask."""
MASK_SOURCES = (*MASK_GIVING, "none")
ALL = "all"
"""Selects a comparison of the three ways."""

CountProgress = Callable[[int, int], None]
"""Receives the number of finished rows and the number of all rows."""
StepProgress = Callable[[str, int, int], None]
"""Receives the name of a step, the number of finished calls of its run, and the number of all calls."""


@dataclasses.dataclass(frozen=True)
class OptionGroup:
    """A heading of ``--help``, with the options of a command line that shows some of its options."""

    title: str
    example: str


DATA = OptionGroup("Data", "--input-format jsonl --field tokens")
PADDING = OptionGroup("Padding", "--padding pre --maxlen 128")
MODEL = OptionGroup("Model", "-m model.keras")
BUILTIN = OptionGroup("Built-in models", "-m embedding-dense --mask-source masking")
BATCHES = OptionGroup("Batches", "--maxlens 64,128 --buckets 6")
RUNNING = OptionGroup("Large data", "--processes 4 --keep-going")
LOSS = OptionGroup("Targets and loss", "-m model.keras --targets y.txt --loss mse")
RULES = OptionGroup("Rules", "--select MSK1 --ignore MSK106")
PICTURES = OptionGroup("Pictures", "--picture graph -o graph.svg")
OUTPUT = OptionGroup("Output", "-f json -o result.json")
SHARDS = OptionGroup("Shards", "-o train/ --shards 8 -f parquet")
HELP = OptionGroup("Help and errors", "--traceback")
GROUPS = (DATA, PADDING, BATCHES, MODEL, BUILTIN, LOSS, RULES, RUNNING, PICTURES, OUTPUT, SHARDS, HELP)
"""In the order of ``--help``."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class OptionSpec:
    """Documentation and limits of one option.

    Attributes:
        text: sentences for ``--help`` and for docstrings.
        python: sentences that only docstrings have, such as types that a command line cannot pass.
        default_text: describes a default that depends on other things.
        spelling: of the click option, if it differs from the name of the field.
        metavar: placeholder of the value in ``--help``.
        choices: the values that the command line takes.
        minimum: of an integer.
        maximum: of an integer.
        repeatable: whether the command line takes the option several times.
        for_models: the kind of model that the option applies to.
        only_python: whether the command line does not have the option.
        number: whether the option takes any number, also inf and nan; integers stay integers.
        short: a second spelling of one letter, such as ``-m``.
        group: the heading in ``--help``; None for the group of the record that declares the option first, or for
            ``BUILTIN`` if the option applies to built-in models only.
        completes: the kind of value that a shell suggests.
    """

    text: str
    python: str = ""
    default_text: str = ""
    spelling: str = ""
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    minimum: int | None = None
    maximum: int | None = None
    repeatable: bool = False
    for_models: Literal["all", "built-in", "own"] = "all"
    only_python: bool = False
    number: bool = False
    short: str = ""
    group: OptionGroup | None = None
    completes: Literal["", "file", "rule", "model", "field"] = ""


def option(default: Default, text: str, **details: Any) -> Default:
    """Declare a field with a default and an ``OptionSpec``.

    The type of the result is that of the default, so that type checkers compare it with the annotation of the field.
    """
    return dataclasses.field(default=default, metadata={"option": OptionSpec(text=text, **details)})


def read_specs(record: Any) -> dict[str, OptionSpec]:
    """Return the option of each field of a record class, by the name of the field."""
    return {field.name: field.metadata["option"] for field in dataclasses.fields(record) if "option" in field.metadata}


def find_group(record: Any, name: str) -> OptionGroup:
    """Return the group of an option of a record class."""
    spec = read_specs(record)[name]
    if spec.group is not None:
        return spec.group
    if spec.for_models == "built-in":
        return BUILTIN
    homes = (base for base in reversed(record.__mro__) if name in vars(base).get("__annotations__", ()))
    group: OptionGroup = next(homes).GROUP
    return group


def select_options(record: type[Options], request: object) -> Options:
    """Return the options of one subject out of a request; options that the request lacks keep their defaults."""
    names = [field.name for field in dataclasses.fields(record) if hasattr(request, field.name)]  # type: ignore[arg-type]
    return record(**{name: getattr(request, name) for name in names})


@dataclasses.dataclass(frozen=True, kw_only=True)
class PaddingOptions:
    """Padding, in the words of ``keras.utils.pad_sequences``."""

    GROUP: ClassVar[OptionGroup] = PADDING

    padding: Side = option("post", "Where padding goes: before a short sequence, or after it.", choices=("pre", "post"))
    truncating: Side = option(
        "post", "Where a long sequence is cut: at its start, or at its end.", choices=("pre", "post")
    )
    maxlen: int | None = option(None, "Timesteps of the batch.", default_text="the longest sequence", minimum=1)
    value: int | float = option(
        0, "Padding id; for models of your own also the number that marks padded timesteps of features.", number=True
    )
    dtype: TokenDtype = option("int32", "Type of the tokens; each must fit.", choices=TOKEN_DTYPES)
    pad_to_multiple_of: int | None = option(
        None,
        "Round the timesteps of the longest sequence up to a multiple of this number.",
        default_text="the longest sequence itself",
        minimum=1,
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class EngineOptions:
    """The processes that read large data: of this machine, or of a cluster."""

    GROUP: ClassVar[OptionGroup] = RUNNING

    processes: int | None = option(
        None,
        "Processes that read the data; 1 is this process, with two threads.",
        default_text="one for each processor if the data is large and there are more than two, otherwise 1",
        minimum=1,
        maximum=1024,
    )
    scheduler: str | None = option(
        None,
        "Work on a cluster of Dask (extra distributed): the address of its scheduler, such as tcp://host:8786, or its "
        "scheduler file, which ends in .json.",
        metavar="ADDRESS",
    )
    workers: int | None = option(
        None, "Work on a new cluster of Dask on this machine, with this many workers.", minimum=1, maximum=1024
    )

    @property
    def cluster_option(self) -> str | None:
        """The option that asks for a cluster, for messages; None without any."""
        return next((f"--{name}" for name in ("scheduler", "workers") if getattr(self, name) is not None), None)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ShardOptions(EngineOptions):
    """A directory of shards instead of a single file."""

    GROUP: ClassVar[OptionGroup] = SHARDS

    shards: int | None = option(
        None,
        "Write this many files with equally many rows into the directory --output DIR/, with a manifest; --format is "
        "npy (the default), npz, parquet, arrow, tfrecord or array_record. The same command continues after a run that "
        "was killed.",
        minimum=1,
    )
    buckets: int | None = option(
        None,
        "Write shards for each of at most this many lengths, those that need the least padding, with the original row "
        "numbers.",
        default_text="one length for all rows",
        minimum=1,
    )
    pack: int | None = option(
        None,
        "Write several sequences into each row of this many timesteps, with segment_ids (0 = padding) and "
        "position_ids.",
        metavar="TIMESTEPS",
        minimum=1,
    )

    @property
    def used(self) -> str | None:
        """The first of the options that is set; None without any."""
        return next((name for name in ("shards", "buckets", "pack") if getattr(self, name) is not None), None)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ModelOptions:
    """A model: a built-in one, or the user's own and how it is loaded."""

    GROUP: ClassVar[OptionGroup] = MODEL

    model: object = option(
        "embedding-lstm",
        "A built-in model (`maskcli models` lists them); a .keras or .h5 file; train.py:NAME or package.module:NAME, a "
        "function that returns a Keras model, or a model; or kerashub:NAME, a text model of KerasHub.",
        python="Also a path object, or a Keras model.",
        metavar="SPEC",
        short="-m",
        completes="model",
    )
    model_args: Mapping[str, Any] | Sequence[str] = option(
        (),
        "Argument of the function that builds the model: a Python literal, or text.",
        python="A dict of arguments.",
        spelling="--model-arg",
        metavar="NAME=VALUE",
        repeatable=True,
        for_models="own",
    )
    weights: str | os.PathLike[str] | None = option(
        None,
        "Weights to load into the model, as model.save_weights('m.weights.h5') writes them.",
        metavar="FILE",
        for_models="own",
    )
    mask_source: str = option(
        "embedding", "How Keras gets the mask of a built-in model.", choices=MASK_SOURCES, for_models="built-in"
    )
    input_dim: int | None = option(
        None,
        "Vocabulary size of the Embedding of a built-in model.",
        default_text="the largest id + 1",
        minimum=1,
        for_models="built-in",
    )
    custom_objects: object = option(
        (),
        "Script (train.py) or module (package.module) whose layers and functions a model file names.",
        python="Also a class, a function, a list of these, or a dict of them by name.",
        metavar="MODULE",
        repeatable=True,
        for_models="own",
    )
    unsafe_load: bool = option(False, "Run code that is in the model file: only for files you trust.", for_models="own")
    seed: int = option(
        0,
        "Seed of random weights; it is set before the function that builds a model runs.",
        python="A model that has a name in --model also seeds the generators of Python, NumPy and the backend, as "
        "``keras.utils.set_random_seed`` does.",
        minimum=0,
        maximum=2**32 - 1,
    )

    backend: str | None = option(
        None,
        "Backend of Keras.",
        python="It can be chosen only before Keras is imported.",
        default_text="that of the variable KERAS_BACKEND, or of keras.json; else tensorflow",
        choices=BACKENDS,
    )

    def __post_init__(self) -> None:
        """Take a path object as its text."""
        if isinstance(self.model, os.PathLike):
            object.__setattr__(self, "model", os.fspath(self.model))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class BuiltinOptions(ModelOptions):
    """A model, with all that a built-in one is made of."""

    GROUP: ClassVar[OptionGroup] = BUILTIN

    embedding_dim: int = option(4, "Length of the embedding vectors.", minimum=1, for_models="built-in")
    units: int | None = option(
        None,
        "Width of the outputs, or of the LSTM if a Dense layer turns its outputs into logits.",
        default_text="the width that the targets need, or 3",
        minimum=1,
        for_models="built-in",
    )
    zero_output_for_mask: bool = option(
        False, "Masked outputs of the LSTM are zero, instead of the previous output.", for_models="built-in"
    )


TARGETS_FIELD = OptionSpec(
    text="Field of the records, or array of the .npz, that contains the targets. For several outputs one field each, "
    "by name or in the order of the outputs.",
    metavar="NAME",
    repeatable=True,
    group=LOSS,
    completes="field",
)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LossOptions:
    """Targets, losses, metrics, weights and batch sizes."""

    GROUP: ClassVar[OptionGroup] = LOSS

    targets: object = option(
        None,
        "A file with one row of targets for each row of the data, or generated targets; shift is the next token.",
        python="Also rows of targets or an array in memory; for several outputs a dict by name or a list.",
        default_text="--targets-field of the data; arange for a built-in model",
        metavar="FILE|arange|zeros|ones|shift",
        completes="file",
    )
    targets_field: str | Sequence[str] | None = dataclasses.field(default=None, metadata={"option": TARGETS_FIELD})
    loss: object = option(
        None,
        "A loss of keras.losses by name, or package.module:function; OUTPUT= selects one of several outputs.",
        python="Also a function, a ``keras.losses.Loss``, or a list or dict of losses for several outputs.",
        default_text="the loss that the model is compiled with; mse for a built-in model",
        metavar="[OUTPUT=]LOSS",
        repeatable=True,
    )
    loss_options: Mapping[str, Any] | None = option(
        None,
        "Argument of the loss, such as ignore_class=-1, label_smoothing=0.1, from_logits=true, reduction=sum.",
        python="A dict of arguments. Cross-entropies of built-in models have from_logits=True unless set here.",
        spelling="--loss-option",
        metavar="NAME=VALUE",
        repeatable=True,
    )
    metrics: Sequence[object] = option(
        (),
        "Metric of keras.metrics by name, or package.module:function, in addition to the compiled ones.",
        python="Also functions and ``keras.metrics.Metric``.",
        metavar="NAME",
        repeatable=True,
    )
    sample_weight: object = option(
        None,
        "A file of weights, one for each row of the data or for each timestep.",
        python="Also an array (batch,) or (batch, timesteps), or a dict of arrays by output.",
        metavar="FILE",
        completes="file",
    )
    sample_weight_field: str | None = option(
        None,
        "Field or array of the data, or of --sample-weight, that contains the weights.",
        metavar="NAME",
        completes="field",
    )
    class_weight: Mapping[int, float] | None = option(
        None,
        "Weight of the timesteps whose target is this class.",
        python="A dict of weights by class.",
        metavar="CLASS=WEIGHT",
        repeatable=True,
    )
    batch_size: int | None = option(
        None, "Batch size of Keras's evaluate.", default_text="32, as in Keras, or the size the model is built for",
        minimum=1,
    )  # fmt: skip
    batch_sizes: Sequence[int] = option(
        (),
        "Batch sizes to compare, with their gradients.",
        default_text="1, --batch-size and all rows, without gradients",
        metavar="N,N,...",
    )
    shuffles: int = option(20, "Orders of the rows that are tried for each batch size.", minimum=0)

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that contain targets, one for each output."""
        if self.targets_field is None:
            return ()
        return (self.targets_field,) if isinstance(self.targets_field, str) else tuple(self.targets_field)

    @property
    def extra_columns(self) -> dict[str, str]:
        """The columns of the data that feed no input, each with the option that names it."""
        columns = dict.fromkeys(self.fields if self.targets is None else (), "--targets-field")
        if self.sample_weight is None and self.sample_weight_field is not None:
            columns[self.sample_weight_field] = "--sample-weight-field"
        return columns

    @property
    def has_weights(self) -> bool:
        """Whether timesteps get weights of samples or of classes."""
        weights = (self.sample_weight, self.sample_weight_field, self.class_weight)
        return any(weight is not None for weight in weights)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class RuleOptions:
    """The rules of a check."""

    GROUP: ClassVar[OptionGroup] = RULES

    select: Sequence[str] = option(
        (),
        "Rules to check: codes, prefixes of codes or names, separated by commas.",
        python="A sequence of these; an empty one selects all rules.",
        default_text="all",
        metavar="RULES",
        repeatable=True,
        completes="rule",
    )
    ignore: Sequence[str] = option(
        (), "Rules to leave out, as for --select.", metavar="RULES", repeatable=True, completes="rule"
    )
