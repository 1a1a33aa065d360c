"""One request per library function: its data with its options, in the order of its signature."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

from maskcli.records.layout import Layout
from maskcli.records.options import (
    ALL,
    BATCHES,
    DATA,
    FAIL_ON,
    LOSS,
    MASK_SOURCES,
    MODEL,
    PICTURES,
    RULES,
    RUNNING,
    TARGETS_FIELD,
    BuiltinOptions,
    CountProgress,
    EngineOptions,
    FailOn,
    LossOptions,
    ModelOptions,
    OptionSpec,
    PaddingOptions,
    RuleOptions,
    StepProgress,
    option,
)

SEQUENCES = (
    "Lists of integers, an integer array or tensor (n_sequences, timesteps), ``RaggedSequences``, an Arrow array of "
    "lists (or an object that exports one, such as a Polars series), or a ``tf.RaggedTensor``."
)
ARRAYS = (
    "Models of your own also take arrays of features, a dict of arrays by the names of their inputs (``NAME.mask`` "
    "marks the valid timesteps of ``NAME``), and tables of pandas, polars or Hugging Face datasets with a column for "
    "each input. ``(x, y)`` and ``(x, y, sample_weight)``, a ``tf.data.Dataset``, a ``keras.utils.PyDataset`` "
    "and a ``DataLoader`` of PyTorch also have targets and weights."
)


TOKENIZER = OptionSpec(
    text="Maps text to ids, of which results show the words: the path of a tokenizer.json or of a vocabulary with one "
    "token per line, a list of these tokens, or a tokenizer of ``tokenizers`` or a fast one of ``transformers``.",
    only_python=True,
)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class SequencesRequest:
    """Sequences, the only positional argument."""

    sequences: object = dataclasses.field(metadata={"option": OptionSpec(text=SEQUENCES, only_python=True)})
    tokenizer: object = dataclasses.field(default=None, kw_only=True, metadata={"option": TOKENIZER})


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class DataRequest:
    """Data of a model, the only positional argument."""

    data: object = dataclasses.field(metadata={"option": OptionSpec(text=SEQUENCES, python=ARRAYS, only_python=True)})
    field: str | None = dataclasses.field(
        default=None,
        kw_only=True,
        metadata={"option": OptionSpec(text="Column of a table that feeds the first input.", only_python=True)},
    )
    tokenizer: object = dataclasses.field(default=None, kw_only=True, metadata={"option": TOKENIZER})


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PadRequest(PaddingOptions, SequencesRequest):
    """The arguments of ``maskcli.pad``."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class InspectRequest(BuiltinOptions, Layout, DataRequest):
    """The arguments of ``maskcli.inspect``."""

    units: int = option(3, "Width of the outputs.", minimum=1, for_models="built-in")
    return_sequences: bool = option(
        True,
        "An output for each timestep, or only the last output (LSTM).",
        spelling="--return-sequences/--last-only",
        for_models="built-in",
    )
    mask_source: str = option(
        "embedding",
        "How Keras gets the mask of a built-in model; all compares the three ways, exit 1 if they differ.",
        python="For ``all`` the padding row of the embedding is zero in each of the three.",
        choices=(*MASK_SOURCES, ALL),
        for_models="built-in",
    )
    targets_field: str | Sequence[str] | None = option(
        None,
        "Field of the records, or array of the .npz, that contains targets and so feeds no input.",
        metavar="NAME",
        repeatable=True,
        for_models="own",
        group=DATA,
        completes="field",
    )
    unfold: bool = option(
        False,
        "Also show the calls inside Keras's own layers, such as the two directions of Bidirectional.",
        group=MODEL,
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LossRequest(BuiltinOptions, LossOptions, Layout, DataRequest):
    """The arguments of ``maskcli.loss``."""

    progress: CountProgress | None = option(
        None, "Receives the number of finished rows and of all rows.", only_python=True
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ProbeOptions:
    """The effort of the proof that padding does not leak."""

    quick: bool = option(
        False,
        "Only the probes that decide, each of them once, on two rows, and no search for repairs: in about as long as "
        "three runs of the model. The result names the probes that are left out.",
        group=MODEL,
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class CheckRequest(ProbeOptions, RuleOptions, ModelOptions, Layout, DataRequest):
    """The arguments of ``maskcli.check``."""

    input_dim: int | None = option(
        None, "Vocabulary size to check against.", default_text="that of the model", minimum=1
    )
    data_only: bool = option(False, "Check only the data, without a model; imports no TensorFlow.", group=DATA)
    fail_on: FailOn = option(
        "warning",
        "Lowest severity of a finding that fails the check, with exit code 1; never reports findings only.",
        choices=FAIL_ON,
        group=RULES,
    )
    baseline: str | os.PathLike[str] | None = option(
        None,
        "Accept the findings of this file, and fail only on new ones; --write-baseline writes it.",
        metavar="FILE",
        group=RULES,
        completes="file",
    )
    ignore_calls: Sequence[str] = option(
        (),
        "Leave out findings at a call: 'encoder/conv: MSK101 # reason'. The path may contain *.",
        python="A sequence of these.",
        spelling="--ignore-call",
        metavar="'CALL: RULE'",
        repeatable=True,
        group=RULES,
    )
    fail_on_stale: bool = option(
        False,
        "Also fail on entries of the baseline, and on ignored calls, that match no finding any more.",
        group=RULES,
    )
    check_name: str | None = option(
        None, "Name of the check, for a baseline that several checks share.", only_python=True
    )
    targets: object = option(
        None,
        "A file with one row of targets for each row of the data, for rules about the loss and the metrics.",
        python="Also rows of targets in memory.",
        metavar="FILE|shift",
        group=LOSS,
        completes="file",
    )
    targets_field: str | Sequence[str] | None = dataclasses.field(default=None, metadata={"option": TARGETS_FIELD})
    batch_size: int | None = option(
        None,
        "Batch size at which rules compare the loss with the exact one.",
        default_text="32, as in Keras, or the size the model is built for",
        minimum=1,
        group=LOSS,
    )
    causal: bool = option(
        False, "The model is meant to be causal: report a later timestep that changes an output.", group=MODEL
    )
    loss: str | None = option(
        None,
        "A loss of keras.losses by name, such as mse.",
        default_text="the loss that the model is compiled with",
        metavar="NAME",
        group=LOSS,
    )
    progress: StepProgress | None = option(
        None,
        "Receives the name of the probe that runs, and the number of finished calls of its run and of all calls.",
        only_python=True,
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class CompareRequest(ProbeOptions, BuiltinOptions, Layout, DataRequest):
    """The arguments of ``maskcli.compare``."""

    models: Sequence[object] = option(
        (), "Two models to compare, each as for ``model``.", python="A Keras model, too.", only_python=True
    )
    backends: Sequence[str] | str = option(
        (),
        "Run the model with equal weights on each of these backends, separated by commas, and compare the others with "
        "the first.",
        python="Also a sequence of names. The model then has a name: a process for each backend loads it.",
        metavar="NAME,NAME,...",
        group=MODEL,
    )
    copy_weights: bool = option(
        False,
        "Give the second of two models the weights of the first, to compare only their code.",
        group=MODEL,
    )
    targets: object = option(
        None,
        "A file with one row of targets for each row of the data, or generated targets, to compare the losses; shift "
        "is the next token.",
        python="Also rows of targets in memory.",
        metavar="FILE|arange|zeros|ones|shift",
        group=LOSS,
        completes="file",
    )
    targets_field: str | Sequence[str] | None = dataclasses.field(default=None, metadata={"option": TARGETS_FIELD})
    loss: str | None = option(
        None,
        "A loss of keras.losses by name, such as mse, or package.module:function.",
        default_text="the loss that the model is compiled with; mse for a built-in model",
        metavar="NAME",
        group=LOSS,
    )
    batch_size: int | None = option(
        None,
        "Batch size of Keras's evaluate.",
        default_text="32, as in Keras, or the size the model is built for",
        minimum=1,
        group=LOSS,
    )
    sample_weight: object = option(None, "Weights of the data, of ``(x, y, sample_weight)``.", only_python=True)


FILES = "A path, a list of paths (files, patterns and directories), or sequences in memory as ``pad`` takes them."


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ProfileRequest(EngineOptions, RuleOptions, Layout):
    """The arguments of ``maskcli.profile``."""

    data: object = dataclasses.field(kw_only=False, metadata={"option": OptionSpec(text=FILES, only_python=True)})
    input_format: str = option("auto", "Format of the files.", only_python=True)
    field: str | None = option(None, "Field with the sequences, of files.", only_python=True)
    maxlens: Sequence[int] = option(
        (),
        "Values of --maxlen to compare.",
        python="A sequence of integers.",
        default_text="percentiles of the lengths",
        metavar="N,N,...",
        group=BATCHES,
    )
    by: str | None = option(
        None,
        "Field of the records, such as a label or a source: also profile the rows of each of its values.",
        metavar="FIELD",
        group=DATA,
        completes="field",
    )
    buckets: int = option(4, "Most buckets of similar length.", minimum=1, maximum=1000, group=BATCHES)
    batch_size: int = option(32, "Sequences in a batch.", minimum=1, maximum=2**20, group=BATCHES)
    input_dim: int | None = option(None, "Vocabulary size to compare ids with.", minimum=1, group=RULES)
    part: str | None = option(
        None,
        "Profile one of N parts, such as 3/8; write it as JSON, and --merge the parts.",
        metavar="I/N",
        group=RUNNING,
    )
    keep_going: bool = option(False, "Leave out blocks that cannot be read, list them, and exit with 1.", group=RUNNING)
    block_size: int | None = option(None, "Bytes of a block.", default_text="64 MiB", only_python=True)
    progress: CountProgress | None = option(
        None, "Receives the number of finished bytes and of all bytes.", only_python=True
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ReportRequest(ProbeOptions, RuleOptions, BuiltinOptions, LossOptions, Layout, DataRequest):
    """The arguments of ``maskcli.report``."""

    samples: int = option(
        32, "The first rows, which pictures show; findings and losses include all rows.", minimum=1, group=PICTURES
    )
    command: Sequence[str] = option((), "The command line that requests the report.", only_python=True)
    progress: CountProgress | None = option(
        None, "Receives the number of finished rows and of all rows, for the loss.", only_python=True
    )
