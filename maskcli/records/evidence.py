"""All that the rules look at, apart from the data."""

from __future__ import annotations

import dataclasses

from maskcli.records.arrays import Bools
from maskcli.records.data import Occurrence
from maskcli.records.leak import Leak
from maskcli.records.trace import Call
from maskcli.tolerance import METRIC_DIFFERENT, METRIC_EQUAL


@dataclasses.dataclass(frozen=True, eq=False)
class OutputEvidence:
    """One output of a model.

    Attributes:
        name: its name in the nest of outputs.
        shape: of the tensor.
        mask: what it carries, and a loss will see.
        valid: ``(batch, timesteps)``: the truth about padding; None for an output without timesteps.
        call: the call that made it.
        lost_at: the call at which the mask was lost that it would carry; None where none was.
        lost_mask: that mask.
    """

    name: str
    shape: tuple[int, ...]
    mask: Bools | None
    valid: Bools | None
    call: str | None
    lost_at: str | None
    lost_mask: Bools | None = None


INPUT = "Input"
"""The type of a mask source that is an input of the model."""


@dataclasses.dataclass(frozen=True)
class MaskSource:
    """A call that made a mask, or an input that is one, set against the truth.

    Attributes:
        call: its path.
        type: its class name.
        of_ids: whether it judged bare ids, one number a timestep, and made no vectors of them.
        looks_up: whether it makes vectors of ids, as an Embedding does.
        after_lookup: the call that made vectors of ids, of which this one judged the values; None for others.
        missed: padding that it calls valid.
        hidden: valid timesteps that it calls padding.
        padding: padded timesteps there are.
    """

    call: str
    type: str
    of_ids: bool
    looks_up: bool
    after_lookup: str | None
    missed: Occurrence | None
    hidden: Occurrence | None
    padding: int


@dataclasses.dataclass(frozen=True)
class Failure:
    """A call that raised because of the mask it was given: without it, it runs."""

    call: str
    type: str
    mask_shapes: tuple[tuple[int, ...], ...]
    input_shapes: tuple[tuple[int, ...], ...]
    error: str


@dataclasses.dataclass(frozen=True)
class TakenTimestep:
    """A call that takes one timestep of all: which, and for how many rows that is padding; ``sample`` is the first."""

    call: str
    timestep: int
    padded_rows: int
    rows: int
    sample: int


@dataclasses.dataclass(frozen=True)
class MisusedMask:
    """A call that works on each timestep alone, and yet gives others at valid timesteps because of its mask."""

    call: str
    change: float


@dataclasses.dataclass(frozen=True)
class MixingNormalization:
    """A normalisation whose statistics take padding in; ``training`` says that they do so in training only."""

    call: str
    change: float
    training: bool


@dataclasses.dataclass(frozen=True)
class EmptyRows:
    """What comes of rows without a valid timestep.

    Attributes:
        rows: how many there are.
        sample: the first of them.
        not_finite: the call of which the result is first not finite there; None where an output is finite all the same.
        of_padding: the call that is given the mask and makes a result of padding alone; None where none does.
        max_abs_change: how far an output of such a row moves when its padding is replaced.
    """

    rows: int
    sample: int
    not_finite: str | None
    of_padding: str | None
    max_abs_change: float


@dataclasses.dataclass(frozen=True)
class LossEvidence:
    """What the loss of a model does with the masks of its outputs.

    Attributes:
        name: of the loss.
        output: the name of the output it judges.
        counted_padding: padded timesteps that it counts.
        timesteps: all timesteps of that output.
        leaves_out: whether it leaves padding out by itself, whatever the mask: tried, or left open without targets.
        masked: the mean over all valid timesteps; None without targets.
        reported: what Keras reports for all sequences in one batch; None without targets.
        by_batch_size: what Keras reports when it cuts the data into batches of a size, by size.
        tolerance: relative error that rounding may have in them.
        why: why there are no figures though there are targets.
    """

    name: str
    output: str
    counted_padding: int
    timesteps: int
    leaves_out: bool = False
    masked: float | None = None
    reported: float | None = None
    by_batch_size: dict[int, float] = dataclasses.field(default_factory=dict)
    tolerance: float = 0.0
    why: str | None = None


@dataclasses.dataclass(frozen=True)
class MetricEvidence:
    """A metric on outputs with a mask: what it says, on valid timesteps alone, and on all of them."""

    name: str
    type: str
    output: str
    with_mask: float
    valid: float
    all: float
    targets: str

    @property
    def ignores_mask(self) -> bool:
        """Whether it says with a mask what it says of all timesteps, and of the valid ones something else."""
        near = abs(self.with_mask - self.all) <= METRIC_EQUAL.value * max(1.0, abs(self.all))
        return near and abs(self.with_mask - self.valid) > METRIC_DIFFERENT.value * max(1.0, abs(self.valid))


@dataclasses.dataclass(frozen=True)
class SavingResult:
    """What becomes of the masks when the model is saved and loaded again.

    Attributes:
        survives: whether every mask is what it was; None when that could not be tried.
        call: the first call whose mask is another one, or None for the output of the model.
        what: ``no mask`` or ``another mask``, with its place.
        why: why it could not be tried.
    """

    survives: bool | None
    call: str | None = None
    what: str | None = None
    why: str | None = None


@dataclasses.dataclass(frozen=True)
class Lookup:
    """An Embedding that looks up the ids of an input: its path, and how many ids it knows."""

    input: str
    call: str
    input_dim: int


@dataclasses.dataclass(frozen=True, eq=False)
class ModelEvidence:
    """What was seen of a model with its data.

    Attributes:
        name: of the model, as the user named it.
        type: its class name.
        padded_timesteps: of the inputs that the probes ran on.
        rows: how many rows of the data the probes ran on, of how many.
        trace: its calls.
        outputs: what it returns.
        sources: the calls that made a mask.
        leak: the verdict; None when the model does not run.
        failure: why it does not run, when a mask is the cause.
        taken: the call at which padding enters, when it takes one timestep of all.
        misused: calls that the mask they are given makes wrong.
        mixing: normalisations that take padding in.
        empty: rows without a valid timestep; None when there is none.
        losses: for each output with a loss that is known.
        metrics: those that the model was compiled with.
        saving: None when it was not asked.
        lookups: which Embedding looks up the ids of which input.
        not_run: what the model raised, when ids that its Embedding does not know are the cause.
        notes: what could not be seen, and why.
    """

    name: str
    type: str
    padded_timesteps: int
    rows: tuple[int, int]
    trace: tuple[Call, ...] = ()
    outputs: tuple[OutputEvidence, ...] = ()
    sources: tuple[MaskSource, ...] = ()
    leak: Leak | None = None
    failure: Failure | None = None
    taken: TakenTimestep | None = None
    misused: tuple[MisusedMask, ...] = ()
    mixing: tuple[MixingNormalization, ...] = ()
    empty: EmptyRows | None = None
    losses: tuple[LossEvidence, ...] = ()
    metrics: tuple[MetricEvidence, ...] = ()
    saving: SavingResult | None = None
    lookups: tuple[Lookup, ...] = ()
    not_run: str | None = None
    notes: tuple[str, ...] = ()

    def call(self, path: str | None) -> Call | None:
        """Return the call of a path."""
        return next((call for call in self.trace if call.call == path), None)
