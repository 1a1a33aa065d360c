"""The evidence about a model that rules judge."""

from __future__ import annotations

import dataclasses
from typing import Literal

from maskcli.records.arrays import Bools, Floats
from maskcli.records.data import Occurrence
from maskcli.records.fields import BackendName
from maskcli.records.leak import Leak, Probe
from maskcli.records.location import Location
from maskcli.records.trace import Call
from maskcli.tolerance import METRIC_DIFFERENT, METRIC_EQUAL


@dataclasses.dataclass(frozen=True, eq=False)
class OutputEvidence:
    """One output of a model.

    Attributes:
        name: the name in the nest of outputs.
        shape: of the tensor.
        mask: the mask that the output carries, and that a loss receives.
        valid: ``(batch, timesteps)``, True at non-padding; None for an output without timesteps.
        call: the call that made the output.
        lost_at: the call that lost the mask that the output would carry; None if no mask was lost.
        lost_mask: that mask.
        lost_again: later calls, in order, that would lose it too if ``lost_at`` did not.
        is_distribution: whether the numbers of a row are probabilities of its timesteps, which have one loss together.
    """

    name: str
    shape: tuple[int, ...]
    mask: Bools | None
    valid: Bools | None
    call: str | None
    lost_at: str | None
    lost_mask: Bools | None = None
    lost_again: tuple[str, ...] = ()
    is_distribution: bool = False


INPUT = "Input"
"""The type of a mask source that is an input of the model."""


@dataclasses.dataclass(frozen=True)
class MaskSource:
    """A call that made a mask, or an input that is a mask, compared with the padding.

    Attributes:
        call: its path.
        type: its class name.
        of_ids: whether it made the mask from plain ids, one number per timestep, without looking up vectors.
        looks_up: whether it looks up vectors for ids, as an Embedding does.
        after_lookup: the Embedding whose vectors it made the mask from; None if it did not use vectors.
        missed: padding that the mask calls valid.
        hidden: valid timesteps that the mask calls padding, or parts of valid timesteps, such as pixels.
        padding: the number of padded timesteps.
        of_parts: whether the mask marks parts of timesteps.
        looks_for_nan: whether it looks for NaN, which equals nothing, so that it never masks anything.
        input: the name of the model's input that it receives; None if that is the result of another call.
        of_numbers: whether ``of_ids`` are floats, one at each timestep.
    """

    call: str
    type: str
    of_ids: bool
    looks_up: bool
    after_lookup: str | None
    missed: Occurrence | None
    hidden: Occurrence | None
    padding: int
    of_parts: bool = False
    looks_for_nan: bool = False
    input: str | None = None
    of_numbers: bool = False


@dataclasses.dataclass(frozen=True)
class Failure:
    """A call that fails with the mask that it receives, and runs without a mask.

    Attributes:
        call: its path.
        type: its class name.
        mask_shapes: of the masks that it receives.
        input_shapes: of its inputs.
        error: the message of its exception.
        at_fault: the version of Keras and the backend, if the exception shows that the fault is theirs.
        unrolled: whether it is a recurrent layer with ``unroll=True``.
    """

    call: str
    type: str
    mask_shapes: tuple[tuple[int, ...], ...]
    input_shapes: tuple[tuple[int, ...], ...]
    error: str
    at_fault: str | None = None
    unrolled: bool = False


@dataclasses.dataclass(frozen=True)
class TakenTimestep:
    """A call that takes a single timestep.

    Attributes:
        call: its path.
        timestep: the timestep that it takes; None for another one in each row.
        padded_rows: the number of rows in which that timestep is padding.
        rows: the number of all rows.
        sample: the first row in which that timestep is padding.
    """

    call: str
    timestep: int | None
    padded_rows: int
    rows: int
    sample: int


@dataclasses.dataclass(frozen=True)
class MisusedMask:
    """A call that treats each timestep separately, but whose mask changes its results at valid timesteps."""

    call: str
    change: float


@dataclasses.dataclass(frozen=True)
class MixingNormalization:
    """A normalisation whose statistics include padding.

    Attributes:
        call: its path.
        change: the largest change of its results at valid timesteps if padding is replaced.
        training: whether the statistics include padding only in training.
    """

    call: str
    change: float
    training: bool


@dataclasses.dataclass(frozen=True)
class EmptyRows:
    """The effect of fully padded rows.

    Attributes:
        rows: the number of such rows.
        sample: the first of them.
        not_finite: the first call whose result is not finite there; None if the outputs are finite.
        of_padding: the call that receives the mask and computes a result from only padding; None if there is none.
        max_abs_change: the largest change of an output of such a row if its padding is replaced.
    """

    rows: int
    sample: int
    not_finite: str | None
    of_padding: str | None
    max_abs_change: float


@dataclasses.dataclass(frozen=True)
class LossEvidence:
    """The effect of an output's mask on its loss.

    Attributes:
        name: of the loss.
        output: the name of the output that the loss is computed from.
        counted_padding: the number of padded timesteps that the loss counts.
        timesteps: the number of all timesteps of that output.
        leaves_out: whether the loss itself leaves padding out, regardless of the mask: measured with targets, assumed
            possible without.
        masked: the mean over all valid timesteps; None without targets.
        reported: by Keras, in batches of ``batch_size``; None without targets.
        by_batch_size: the loss that Keras reports, by batch size.
        tolerance: the relative rounding error of these losses.
        why: the reason why there are no losses in spite of targets.
        batch_size: the batch size of ``reported``; None without targets.
        rows: the number of rows that the values are from, and of all rows; None without targets.
        averages: whether the loss of a batch is a mean, as opposed to a sum.
        not_finite: the number of losses that are NaN or infinite: at timesteps or samples that count, and at others.
        finite_elsewhere: whether the losses that are not finite all belong to rows without a valid timestep.
        error: the reason why Keras cannot compute the loss with these targets; None if it can.
        remedy: a fix for that.
        loss_type: the class name of a loss of Keras; None without targets, and for other losses.
        weighted_error: how far the loss that Keras computes with sample weights of 0 at padding, as their weighted
            mean, is from the mean over valid timesteps of the same rows; None if this was not tried.
        divided_padding: the number of padded timesteps that a loss which leaves them out still divides by.
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
    batch_size: int | None = None
    rows: tuple[int, int] | None = None
    averages: bool = True
    not_finite: tuple[int, int] = (0, 0)
    finite_elsewhere: bool = False
    error: str | None = None
    remedy: str = ""
    loss_type: str | None = None
    weighted_error: float | None = None
    divided_padding: int = 0


@dataclasses.dataclass(frozen=True)
class MetricEvidence:
    """A metric of an output with a mask, or with targets that the loss ignores.

    Attributes:
        name: of the metric.
        type: its class name.
        output: the name of the output.
        with_mask: its value with the mask, as Keras computes it.
        valid: its value on only the timesteps that the loss counts.
        all: its value on all timesteps.
        targets: the origin of the targets, for people.
        ignored: the number of timesteps whose targets the loss ignores, as with ``ignore_class``.
        error: the exception that the mask causes in ``fit`` and ``evaluate``; None if it causes none.
    """

    name: str
    type: str
    output: str
    with_mask: float
    valid: float
    all: float
    targets: str
    ignored: int = 0
    error: str | None = None

    @property
    def ignores_mask(self) -> bool:
        """Whether its value equals that of all timesteps and differs from that of the valid ones."""
        near = abs(self.with_mask - self.all) <= METRIC_EQUAL.value * max(1.0, abs(self.all))
        return near and abs(self.with_mask - self.valid) > METRIC_DIFFERENT.value * max(1.0, abs(self.valid))


@dataclasses.dataclass(frozen=True)
class SavingResult:
    """The masks after the model is saved and loaded again.

    Attributes:
        survives: whether every mask is unchanged; None if this could not be tried.
        call: the first call whose mask changed; None for the output of the model.
        what: the change: ``no mask`` or ``another mask``, with its place.
        why: the reason why it could not be tried.
    """

    survives: bool | None
    call: str | None = None
    what: str | None = None
    why: str | None = None


@dataclasses.dataclass(frozen=True)
class Lookup:
    """An Embedding that looks up the ids of an input, its path, and the number of its vectors."""

    input: str
    call: str
    input_dim: int


LeakAnswer = Literal["yes", "no", "unproven", "nothing to prove"]
"""``nothing to prove``: unproven, but the data has no padding, and the model has no mask."""

AttentionFaultKind = Literal["inverted", "along-queries", "hides-queries", "wrong-input", "too-weak"]


@dataclasses.dataclass(frozen=True)
class AttentionFault:
    """An attention mask that does not hide the padded keys.

    Attributes:
        call: the path of the call that receives the mask.
        type: the class name of the layer or operation.
        kind: ``inverted``: True where it should be False; ``along-queries``: a ``(batch, timesteps)`` mask whose axis
            is taken for queries or rows; ``hides-queries``: padded queries are hidden instead of padded keys;
            ``wrong-input``: the mask marks the padding of another input; ``too-weak``: it lowers the scores of padded
            keys by too little.
        shape: of the mask.
        open_to_padding: the number of pairs of a valid query and a padded key that the mask leaves open.
        closed_to_valid: the number of pairs of valid queries and keys that it closes, without those of a causal mask.
        pairs: the number of pairs of a valid query and a key.
        mask_of: the input whose padding the mask marks, for ``wrong-input``.
        calls: the calls that compute attention with this mask, from the scores to the weighted sum.
        also: later calls that receive the same mask.
        added: the number that a mask which is too weak adds to scores; None if it multiplies them by 0.
    """

    call: str
    type: str
    kind: AttentionFaultKind
    shape: tuple[int, ...]
    open_to_padding: int
    closed_to_valid: int
    pairs: int
    mask_of: str | None = None
    calls: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    added: float | None = None


@dataclasses.dataclass(frozen=True)
class MixedRows:
    """A result of one row that changes with another row of the batch.

    Attributes:
        max_abs_change: the largest change.
        tolerance: the largest change that counts as rounding.
        sample: the row whose result changes.
        timestep: the timestep of that result; None for a pooled output.
        output: the name of the output.
        first_call: the call at which the rows mix; None if it could not be followed.
    """

    max_abs_change: float
    tolerance: float
    sample: int
    timestep: int | None
    output: str
    first_call: str | None


@dataclasses.dataclass(frozen=True)
class CompiledDifference:
    """A result that differs where the model runs as a compiled function.

    Attributes:
        max_abs_change: the largest difference.
        tolerance: the largest difference that counts as rounding.
        sample: the row whose result differs.
        timestep: the timestep of that result; None for a pooled output.
        output: the name of the output.
        first_call: the first call that receives a mask only eagerly, or only compiled; None if masks are the same.
        has_mask: whether that call has a mask eagerly.
        alone: whether the row ran by itself, without the others.
        only_any_shape: whether only a function differs that is compiled for any number of rows or timesteps.
        shapes: of the output, eagerly and compiled; None if they are equal.
        steps: the methods of the model that run the function.
    """

    max_abs_change: float
    tolerance: float
    sample: int
    timestep: int | None
    output: str
    first_call: str | None
    has_mask: bool
    alone: bool = False
    only_any_shape: bool = False
    shapes: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    steps: tuple[str, ...] = ("fit", "predict")


@dataclasses.dataclass(frozen=True)
class MixedSegments:
    """A result of one segment of a packed row that changes with another segment.

    Attributes:
        max_abs_change: the largest change.
        tolerance: the largest change that counts as rounding.
        sample: the row whose result changes.
        timestep: the timestep of that result.
        segment: the segment of that timestep.
        output: the name of the output.
        first_call: the call at which the segments mix; None if it could not be followed.
    """

    max_abs_change: float
    tolerance: float
    sample: int
    timestep: int
    segment: int
    output: str
    first_call: str | None


@dataclasses.dataclass(frozen=True, eq=False)
class FutureEffect:
    """The effect of later timesteps on earlier outputs.

    Attributes:
        output: the name of the output.
        looks_ahead: whether a later timestep changes an earlier output; None if that could not be tried.
        max_abs_change: the largest such change.
        tolerance: the largest change that counts as rounding.
        sample: the row of the largest change.
        timestep: the output timestep of the largest change.
        by_timestep: the later timestep that causes it.
        first_call: the first call at which a later timestep reaches an earlier result; None if no call was found.
        meant_causal: the reason why the model is meant to be causal; None if nothing indicates that.
        matrix: ``(output timesteps, timesteps)``, the largest change of the output timestep of axis 0 by the timestep
            of axis 1, in blocks of timesteps where there are many; None if it was not measured. Changes up to
            rounding are 0; NaN if the timestep of axis 1 is padding in the rows that were tried.
        requested: whether the user requests a causal model, by an option or by an argument of a call; otherwise
            ``meant_causal`` is inferred from most other calls.
        calls: all calls at which a later timestep reaches an earlier result, the first one included.
        block: the number of timesteps in each row and column of ``matrix``.
        timesteps: of the input.
        shift: by how many timesteps the output starts later than the input, where it has fewer timesteps.
        why: the reason why nothing could be tried.
    """

    output: str
    looks_ahead: bool | None
    max_abs_change: float
    tolerance: float
    sample: int | None
    timestep: int | None
    by_timestep: int | None
    first_call: str | None
    meant_causal: str | None
    matrix: Floats | None = None
    requested: bool = False
    calls: tuple[str, ...] = ()
    block: int = 1
    timesteps: int = 0
    shift: int = 0
    why: str | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class ModelEvidence:
    """The evidence about a model with its data.

    Attributes:
        name: of the model, as the user named it.
        type: its class name.
        padded_timesteps: of the inputs that the probes ran on.
        padded_places: the same inside valid timesteps, such as after the words of sentences.
        padding: the value of the padding of these inputs; None if it is not known, or not the same in all.
        rows: the number of rows that the probes ran on, and of all rows of the data.
        trace: its calls.
        outputs: its outputs.
        sources: the calls that made a mask.
        leak: the verdict; None if the model does not run.
        failure: the call that fails because of a mask.
        taken: the call at which padding enters, if it takes a single timestep.
        bare: calls at which padding enters by an input that never had a mask, though another one lost its mask.
        misused: calls whose mask makes their results wrong.
        mixing: normalisations whose statistics include padding.
        empty: rows without a valid timestep; None if there are none.
        losses: for each output whose loss is known.
        metrics: those that the model was compiled with.
        saving: the masks after saving and loading; None if this was not tried.
        lookups: the Embedding of each input of ids.
        not_run: the error of a model that does not run because its Embedding has too few ids.
        notes: evidence that is missing, each with the reason.
        attention: attention masks that do not hide padded keys.
        mixed_rows: a result that changes with another row of the batch; None if there is none.
        mixed_segments: a result that changes with another segment of a packed row; None if there is none.
        future: for each output with timesteps, whether later timesteps change earlier results.
        further_probes: ``rows``, ``segments``, ``future`` and ``compiled``, which have no part in the verdict on
            padding.
        padded_inputs: the names of the inputs with padding, in order.
        location: the line of the user's code that made the model; None if it is unknown.
        failed_at: the line that made the call of ``failure``; None if it is unknown.
        backend: the backend of Keras that it ran on.
        compiled: a result that differs where the model is compiled; None if there is none.
        miscounting: calls of a layer of Keras that return another number of timesteps where they are compiled for any.
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
    bare: tuple[str, ...] = ()
    misused: tuple[MisusedMask, ...] = ()
    mixing: tuple[MixingNormalization, ...] = ()
    empty: EmptyRows | None = None
    losses: tuple[LossEvidence, ...] = ()
    metrics: tuple[MetricEvidence, ...] = ()
    saving: SavingResult | None = None
    lookups: tuple[Lookup, ...] = ()
    not_run: str | None = None
    notes: tuple[str, ...] = ()
    attention: tuple[AttentionFault, ...] = ()
    mixed_rows: MixedRows | None = None
    mixed_segments: MixedSegments | None = None
    future: tuple[FutureEffect, ...] = ()
    further_probes: tuple[Probe, ...] = ()
    padded_inputs: tuple[str, ...] = ()
    location: Location | None = None
    failed_at: Location | None = None
    backend: BackendName = "tensorflow"
    compiled: CompiledDifference | None = None
    miscounting: tuple[str, ...] = ()
    padded_places: int = 0
    padding: float | None = None

    def call(self, path: str | None) -> Call | None:
        """Return the call of a path."""
        return next((call for call in self.trace if call.call == path), None)

    @property
    def has_mask(self) -> bool:
        """Whether any call of the model carries or receives a mask."""
        return any(call.mask_in is not None or call.mask_out is not None for call in self.trace)

    @property
    def has_padding(self) -> bool:
        """Whether the probed inputs have padding, of timesteps or inside them."""
        return bool(self.padded_timesteps or self.padded_places)

    @property
    def leak_answer(self) -> LeakAnswer | None:
        """Whether padding leaks, as an answer for people; None if the model did not run."""
        if self.leak is None:
            return None
        if self.leak.leaks:
            return "yes"
        if self.leak.leaks is False and any(probe.applicable for probe in self.leak.probes):
            return "no"
        has_mask = self.has_mask or any(source.type == INPUT for source in self.sources)
        return "unproven" if self.has_padding or has_mask else "nothing to prove"

    def list_gaps(self) -> tuple[str, ...]:
        """Return the evidence that is missing, each with the reason."""
        gaps = list(self.notes)
        if self.not_run is not None:
            gaps.append(f"The model does not run on this data: {self.not_run}")
        if self.saving is not None and self.saving.why is not None:
            gaps.append(f"Could not test whether the masks survive saving: {self.saving.why}")
        return tuple(gaps)
