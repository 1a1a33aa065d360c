"""Records of what happened inside a model, and of what it was built from; frozen, and known to every floor."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, Literal

from numpy.typing import NDArray

from maskcli.display import Displayed
from maskcli.records import Bools, Floats, ModelInput, PaddedBatch, primary_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """What a built-in model is made of, in the words of the Keras arguments it is built with.

    ``padding_id`` is the id that the mask source calls padding; ``zero_padding_row`` makes its embedding zero.
    ``logits`` is the width of a Dense layer behind the model that makes logits of its outputs; None leaves it out.
    """

    name: str
    mask_source: str
    input_dim: int
    embedding_dim: int
    units: int
    return_sequences: bool
    zero_output_for_mask: bool
    zero_padding_row: bool
    padding_id: int
    seed: int
    logits: int | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Targets:
    """What a model is to predict.

    Attributes:
        values: ``(batch, timesteps)`` class ids, or ``(batch, timesteps, units)`` numbers.
        units: the width that a model's outputs need.
        about: where they come from, for people.
        following: ``(batch, timesteps)``, the token after each, where that is what is to be predicted.
    """

    values: NDArray[Any]
    units: int
    about: str
    following: NDArray[Any] | None = None


@dataclasses.dataclass(frozen=True)
class BuiltinModel:
    """One line of ``maskcli models``."""

    name: str
    layers: str
    about: str


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Call:
    """One application of a layer or operation, as it ran.

    Attributes:
        call: its path: the names of the models and layers that lead to it, its own name (for an operation its kind),
            and ``#2``, ``#3`` ... where the same path is called again.
        index: its position in the order of running, from 0.
        type: the class name of the layer or operation.
        effect: what it does to the mask: creates, passes, changes, uses, drops or none.
        mask_in: ``(batch, timesteps)``, the mask that it was handed or that its first masked input carried; None
            without one.
        mask_out: the mask that its first output carries.
        given: whether a mask reached an argument of its ``call``.
        computes_mask: whether it does nothing but compute a mask for a later call.
        warning: what Keras warned of in this call.
        masks_in: the mask that each input tensor carried, in order.
        masks_out: the mask that each output tensor carries, in order.
        mask_arguments: the mask arguments that its ``call`` has, each with the masks that reached it.
        shapes_in: the shapes of the input tensors.
        shapes_out: the shapes of the output tensors.
        code: whether no layer owns it: an operation in the code of a model or of a layer of the user's own.
        contains: whether it made calls that follow it in the trace.
        of_model: whether it is a model inside the model.
        lost_at: the call at which the mask of its input was lost; None where none was.
        lost_after: the last call whose output had that mask.
        takes_off: whether it took the mask off a tensor that came in, so that later calls do not see it either.
        mask_from: the call whose output brought the first mask that its inputs carry; None where none carries one.
        valid: ``(batch, timesteps)``: the truth about padding in its first output, or where that has no timesteps in
            its first input; None where neither has any.
    """

    call: str
    index: int
    type: str
    effect: str
    mask_in: Bools | None
    mask_out: Bools | None
    given: bool
    computes_mask: bool
    warning: str | None
    masks_in: tuple[Bools | None, ...] = ()
    masks_out: tuple[Bools | None, ...] = ()
    mask_arguments: dict[str, tuple[Bools | None, ...]] = dataclasses.field(default_factory=dict)
    shapes_in: tuple[tuple[int, ...], ...] = ()
    shapes_out: tuple[tuple[int, ...], ...] = ()
    code: bool = False
    contains: bool = False
    of_model: bool = False
    lost_at: str | None = None
    lost_after: str | None = None
    takes_off: bool = False
    mask_from: str | None = None
    valid: Bools | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Edge:
    """A tensor on its way from what made it to a call that takes it, or to an output of the model.

    Attributes:
        source: the path of the innermost call that made it, or the name of an input of the model.
        target: the path of the call that takes it, or the name of an output of the model.
        from_input: whether ``source`` is an input.
        to_output: whether ``target`` is an output.
        mask: the mask that the tensor carries as it arrives; None without one.
        lost: whether it would carry a mask if no call had lost that.
        argument: the mask argument that it is passed as; None for a tensor of data.
    """

    source: str
    target: str
    from_input: bool = False
    to_output: bool = False
    mask: Bools | None = None
    lost: bool = False
    argument: str | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class EmbeddingRow:
    """The vector that an Embedding looks up for the padding id, ``(embedding_dim,)``.

    ``set_to_zero`` says that maskcli made it zero because the mask source needs it so.
    """

    layer: str
    padding_id: int
    padding_vector: Floats
    set_to_zero: bool


@dataclasses.dataclass(frozen=True)
class ModelAbout:
    """What model it was.

    Attributes:
        name: a built-in name, a file, ``package.module:function``, or the name of a model that was handed over.
        source: ``built-in``, ``file``, ``factory`` or ``object``.
        type: its class name.
        settings: what a built-in model was made of; None for others.
        notes: what could not be restored with it.
    """

    name: str
    source: Literal["built-in", "file", "factory", "object"]
    type: str
    settings: ModelSettings | None = None
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Outputs:
    """One output of a model.

    Attributes:
        call: the call that made it; where none was seen, the name of the model.
        values: ``(batch, timesteps, ...)``, or ``(batch, ...)`` when the timesteps are gone.
        mask: the mask that it carries, which is the one that a loss will see.
        repeats_previous: ``(batch, timesteps)``, True where a masked output carries the one before on exactly; None
            without timesteps.
        name: its name in the model's nest of outputs; ``output`` for a single one.
        valid: ``(batch, timesteps)``: the truth about padding; None without timesteps.
        all_features: the length of the last axis in the model, where ``values`` holds the first features alone; None
            where it holds all.
    """

    call: str
    values: Floats
    mask: Bools | None
    repeats_previous: Bools | None
    name: str = "output"
    valid: Bools | None = None
    all_features: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that it has in the model."""
        return self.values.shape if self.all_features is None else (*self.values.shape[:-1], self.all_features)


@dataclasses.dataclass(frozen=True, eq=False)
class Unmasked:
    """The same weights run without any mask, beside the outputs of the masked run.

    Attributes:
        values: the outputs, in the shape of the masked ones.
        change: the largest absolute change over the features, ``(batch, timesteps)``, or ``(batch,)``.
        max_abs_change_valid: the largest change at a valid timestep, or of a pooled output.
        max_abs_change_padding: the largest change at a padded timestep; None where there is none.
    """

    values: Floats
    change: Floats
    max_abs_change_valid: float
    max_abs_change_padding: float | None


@dataclasses.dataclass(frozen=True, eq=False)
class SourceResult:
    """What one mask source gave: its mask, its outputs, and how they differ from those of the first source."""

    mask_source: str
    mask: Bools | None
    values: Floats
    differing_timesteps: int
    max_abs_difference: float


@dataclasses.dataclass(frozen=True)
class Remark:
    """A sentence about the evidence; ``kind`` is ``fact`` or ``warning``."""

    kind: Literal["fact", "warning"]
    text: str


@dataclasses.dataclass(frozen=True, eq=False)
class Inspection(Displayed):
    """Evidence of one batch run through one model.

    Attributes:
        model: what model it was.
        versions: of keras, tensorflow and numpy.
        inputs: what went in.
        batch: the sequences that maskcli padded for it; None where the data were arrays as they are.
        mask: what the model's mask source computed: the first mask that appears.
        embedding: the vector of the padding id; None where no Embedding looked it up.
        trace: the calls in the order in which they ran.
        outputs: what came out, the first one first.
        unmasked: the first output of the same weights without any mask; None when the model has no mask.
        mask_sources: the result of each mask source; empty unless all were asked for.
        mask_sources_agree: None unless all were asked for.
        remarks: what follows from the evidence.
        edges: what flows between the calls of ``trace``, the inputs and the outputs, in the order of arriving.
        further_unmasked: as ``unmasked``, of each further output.
    """

    model: ModelAbout
    versions: dict[str, str]
    inputs: tuple[ModelInput, ...]
    batch: PaddedBatch | None
    mask: Bools | None
    embedding: EmbeddingRow | None
    trace: tuple[Call, ...]
    outputs: tuple[Outputs, ...]
    unmasked: Unmasked | None
    mask_sources: tuple[SourceResult, ...]
    mask_sources_agree: bool | None
    remarks: tuple[Remark, ...]
    edges: tuple[Edge, ...] = ()
    further_unmasked: tuple[Unmasked | None, ...] = ()

    @property
    def beside(self) -> tuple[tuple[Outputs, Unmasked | None], ...]:
        """Each output, beside the same without any mask."""
        unmasked = (self.unmasked, *self.further_unmasked)
        return tuple(itertools.zip_longest(self.outputs, unmasked[: len(self.outputs)]))

    @property
    def primary(self) -> ModelInput | None:
        """The input that timesteps are shown of; see ``primary_of``."""
        return primary_of(self.inputs)

    @property
    def valid(self) -> Bools | None:
        """``(batch, timesteps)``: its timesteps that are no padding; None without timesteps."""
        return None if self.primary is None else self.primary.valid


@dataclasses.dataclass(frozen=True)
class Reduction:
    """One way to make a single number of the losses of all timesteps.

    Attributes:
        name: what scripts know it by.
        value: None where nothing is left to count, or where no number comes of it.
        formula: with ``loss``, ``mask`` (what counts, as 0 and 1) and ``weight``.
        source: who reduces like that.
    """

    name: str
    value: float | None
    formula: str
    source: str = ""


@dataclasses.dataclass(frozen=True)
class LengthGroup:
    """What sequences of like length have to do with a loss.

    Attributes:
        shortest: timesteps that count in the shortest sequence of the group.
        longest: and in the longest.
        sequences: how many they are.
        timesteps: that count, of all of them.
        mean: of their losses, timestep by timestep; None without any.
        share: of the sum of all losses that count; None where that is zero or not finite.
    """

    shortest: int
    longest: int
    sequences: int
    timesteps: int
    mean: float | None
    share: float | None


@dataclasses.dataclass(frozen=True)
class Contribution:
    """One timestep's part of a loss: its place (``timestep`` is None for a whole sample), its loss, and its share."""

    sample: int
    timestep: int | None
    loss: float
    share: float


@dataclasses.dataclass(frozen=True)
class LossGradient:
    """The gradient that the batches of one size add up to, against that of the exact loss.

    Attributes:
        norm: of the mean of the gradients of the batches.
        relative: that norm divided by the norm of the exact loss's gradient; None where that is zero.
        cosine: of the angle between the two; None where one is zero.
    """

    norm: float
    relative: float | None
    cosine: float | None


@dataclasses.dataclass(frozen=True)
class BatchSizeLoss:
    """What comes of data that is cut into batches of one size.

    Attributes:
        batch_size: sequences in a batch; the last one may have fewer.
        keras_evaluate: what ``evaluate`` reports, with the data in the order that it has.
        smallest: what it reports at the least, over shuffles of the data; None without, or where one is not finite.
        largest: and at the most.
        std: the standard deviation over the shuffles.
        heaviest: how many times as much a timestep of the batch with the fewest that count weighs in it, as one of the
            batch with the most; None where nothing is counted.
        gradient: None where it was not asked for.
    """

    batch_size: int
    keras_evaluate: float
    smallest: float | None
    largest: float | None
    std: float | None
    heaviest: float | None
    gradient: LossGradient | None = None


@dataclasses.dataclass(frozen=True)
class MetricReport:
    """A metric as Keras reports it, and over valid timesteps alone.

    Attributes:
        name: of the metric, without that of the output, which ``evaluate`` puts before it where there are several.
        type: its class name.
        output: the name of the output that it judges.
        weighted: whether it is given the sample weights.
        reported: by ``evaluate``.
        valid: the same metric of the timesteps that are no padding; None where it cannot take them apart, or where
            nothing is known of padding.
        differs: whether the two differ by more than rounding.
    """

    name: str
    type: str
    output: str
    weighted: bool
    reported: float
    valid: float | None
    differs: bool


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class LossOutput:
    """The loss of one output of a model.

    Arrays have the shape ``(batch, timesteps)``, or ``(batch,)`` where the output, or its loss, has no timesteps.

    Attributes:
        name: of the output.
        loss: the name of the loss.
        loss_weight: by which the model multiplies it; None where it was given none.
        shape: of the predictions.
        dtype: of the predictions.
        targets: what the targets are, for people.
        valid: the truth about padding; None where the output has no timesteps, or nothing is known of them.
        mask: what the output carries, and its loss sees; None without one.
        ignored: timesteps that the loss leaves out by itself, as with ``ignore_class``; None where there are none.
        weights: sample weights, for each timestep or each sample; None without.
        per_timestep: each timestep's own loss, as Keras computes it, without weights; None where the loss makes one
            number of a whole batch.
        per_sample: a row each: the weighted mean over its counted timesteps (None without any), and over all of them.
        counted: timesteps that ``masked`` counts: those of the mask, of ``valid`` without one, less ``ignored``.
        masked: the sum of weighted losses of ``counted`` divided by their number, in float64; None of nothing.
        exact: the same over ``valid``, less ``ignored``; None where that is not known.
        unmasked: the same over all timesteps, less ``ignored``: what the loss of ``model.predict`` gives.
        unmasked_model: the same as ``unmasked`` for the same weights run with no mask anywhere; None where the model
            does not run so.
        weighted_mean: the sum of weighted losses of ``counted`` divided by the sum of their weights; None without
            weights.
        reported: this output's part of what ``evaluate`` reports, before ``loss_weight``.
        padding_share: the part of ``unmasked`` that padding alone makes, of 1; None where that is not known.
        not_finite: predictions that are NaN or infinite at timesteps that count, and at others.
        lost_at: the call at which the mask was lost that the output would carry; None where none was.
        by_length: what sequences of like length have to do with it; empty without timesteps.
        contributors: the timesteps with the largest shares, the largest first.
        reductions: other ways to reduce the same losses.
    """

    name: str
    loss: str
    loss_weight: float | None
    shape: tuple[int, ...]
    dtype: str
    targets: str
    valid: Bools | None
    mask: Bools | None
    ignored: Bools | None
    weights: Floats | None
    per_timestep: Floats | None
    per_sample: tuple[tuple[float | None, float | None], ...]
    counted: Bools | None
    masked: float | None
    exact: float | None
    unmasked: float | None
    unmasked_model: float | None
    weighted_mean: float | None
    reported: float
    padding_share: float | None
    not_finite: tuple[int, int]
    lost_at: str | None
    by_length: tuple[LengthGroup, ...]
    contributors: tuple[Contribution, ...]
    reductions: tuple[Reduction, ...]

    @property
    def timed(self) -> bool:
        """Whether the loss has timesteps."""
        return self.per_timestep is not None and self.per_timestep.ndim == 2


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class LossReport(Displayed):
    """What a loss came to, and why.

    Attributes:
        model: what model it was.
        versions: of keras, tensorflow and numpy.
        inputs: what went in.
        batch: the sequences that maskcli padded for it; None where the data were arrays as they are.
        outputs: each output that has a loss, the first one first.
        keras_evaluate: what Keras's ``evaluate`` returned: all outputs, weighted, and the regularization.
        regularization: what losses that the model itself adds, such as those of weight regularizers, put on top.
        batch_size: the batch size of that ``evaluate``.
        batch_sizes: what other batch sizes make of it; empty where that cannot be told.
        gradient_rows: sequences that the gradients are of, the first ones; 0 without gradients.
        metrics: as ``evaluate`` reports them.
        remarks: what follows from the evidence.
    """

    model: ModelAbout
    versions: dict[str, str]
    inputs: tuple[ModelInput, ...]
    batch: PaddedBatch | None
    outputs: tuple[LossOutput, ...]
    keras_evaluate: float
    regularization: float
    batch_size: int
    batch_sizes: tuple[BatchSizeLoss, ...]
    gradient_rows: int
    metrics: tuple[MetricReport, ...]
    remarks: tuple[Remark, ...]

    @property
    def first(self) -> LossOutput:
        """The first output that has a loss."""
        return self.outputs[0]

    @property
    def masked(self) -> float | None:
        """Of the first output."""
        return self.first.masked

    @property
    def exact(self) -> float | None:
        """Of the first output."""
        return self.first.exact

    @property
    def unmasked(self) -> float | None:
        """Of the first output."""
        return self.first.unmasked

    @property
    def unmasked_model(self) -> float | None:
        """Of the first output."""
        return self.first.unmasked_model


Severity = Literal["error", "warning", "info"]
"""``error``: results are wrong; ``warning``: they may be, or will be with other data; ``info`` never fails a check."""


FailOn = Literal["error", "warning"]
"""The severity from which on findings fail a check."""

FAIL_ON: tuple[FailOn, ...] = ("error", "warning")


@dataclasses.dataclass(frozen=True)
class Bucket:
    """Sequences of like length, padded to ``maxlen`` on their own."""

    maxlen: int
    sequences: int


@dataclasses.dataclass(frozen=True)
class Place:
    """Where something occurs in a batch: how often, and the first time; ``timestep`` is None for a whole row."""

    count: int
    sample: int
    timestep: int | None
    value: int | None = None


@dataclasses.dataclass(frozen=True)
class DataFacts:
    """What the data alone says, before any model.

    Attributes:
        name: of the input.
        shape: ``(n_sequences, maxlen)`` of the padded batch.
        padding: ``pre`` or ``post``.
        truncating: ``pre`` or ``post``.
        value: the padding id.
        inner_padding: where ``value`` stands between other tokens of a sequence; None where it does not.
        empty: rows without a token other than padding; None without such a row.
        truncated_tokens: tokens that did not fit.
        truncated_sequences: sequences that were cut.
        total_tokens: tokens of all sequences before truncation.
        smallest: the smallest id and its place; None without ids.
        largest: the largest id and its place.
        input_dim: ids that the Embedding knows; None where nobody said.
        input_dim_from: where that number comes from: ``--input-dim``, or the name of the Embedding.
        padded_timesteps: timesteps of the batch that are padding.
        buckets: lengths to which groups of the sequences could be padded instead.
        bucketed_timesteps: padded timesteps that would be left with these buckets.
    """

    name: str
    shape: tuple[int, int]
    padding: str
    truncating: str
    value: int
    inner_padding: Place | None
    empty: Place | None
    truncated_tokens: int
    truncated_sequences: int
    total_tokens: int
    smallest: Place | None
    largest: Place | None
    input_dim: int | None
    input_dim_from: str | None
    padded_timesteps: int
    buckets: tuple[Bucket, ...]
    bucketed_timesteps: int


@dataclasses.dataclass(frozen=True)
class Finding:
    """What a rule found.

    Attributes:
        code: of the rule, such as ``MSK101``.
        rule: its name.
        severity: how bad it is.
        call: the path of the call at fault; None where the data or the whole model is.
        type: the class name of the layer or operation at fault.
        message: what is wrong, with the culprit named.
        fix: what to do, to be pasted where it is code.
        evidence: the numbers that say so, by name.
    """

    code: str
    rule: str
    severity: Severity
    call: str | None
    type: str | None
    message: str
    fix: str
    evidence: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Probe:
    """One way to try whether padding leaks.

    Attributes:
        name: ``replace``, ``alone``, ``columns`` or ``gradient``.
        applicable: whether it could be tried.
        leaks: whether the change is more than rounding.
        max_abs_change: the largest change of an output where it counts (for ``gradient``: the largest derivative);
            None when it could not be tried.
        tolerance: up to where a change is taken for rounding.
        first_call: the call at which the difference first appears; None where it could not be followed.
        sample: the row that is hit hardest.
        timestep: and its timestep; None for a pooled output.
        output: the name of that output in the model's nest of outputs.
        why: why it could not be tried, or what its result means.
    """

    name: str
    applicable: bool
    leaks: bool = False
    max_abs_change: float | None = None
    tolerance: float | None = None
    first_call: str | None = None
    sample: int | None = None
    timestep: int | None = None
    output: str | None = None
    why: str | None = None


@dataclasses.dataclass(frozen=True)
class Leak:
    """The verdict on a model with its data: does padding, its content or its amount, change a result?

    Attributes:
        leaks: whether any probe found it so.
        max_abs_change: the largest change that a probe made to an output where it counts.
        first_call: the call at which padding first enters a result.
        sample: the row that is hit hardest.
        timestep: and its timestep; None for a pooled output.
        probes: what was tried.
        entries: by call, how far its own result moves when nothing but the padding among its inputs is replaced;
            only calls at which it moves.
        output: the name of the output that is hit hardest; None where no probe tells.
    """

    leaks: bool
    max_abs_change: float
    first_call: str | None
    sample: int | None
    timestep: int | None
    probes: tuple[Probe, ...]
    entries: dict[str, float]
    output: str | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class SeenOutput:
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
    missed: Place | None
    hidden: Place | None
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
class Misused:
    """A call that works on each timestep alone, and yet gives others at valid timesteps because of its mask."""

    call: str
    change: float


@dataclasses.dataclass(frozen=True)
class Mixing:
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
class SeenLoss:
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
class SeenMetric:
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
        near = abs(self.with_mask - self.all) <= 1e-6 * max(1.0, abs(self.all))
        return near and abs(self.with_mask - self.valid) > 1e-5 * max(1.0, abs(self.valid))


@dataclasses.dataclass(frozen=True)
class Saving:
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
    outputs: tuple[SeenOutput, ...] = ()
    sources: tuple[MaskSource, ...] = ()
    leak: Leak | None = None
    failure: Failure | None = None
    taken: TakenTimestep | None = None
    misused: tuple[Misused, ...] = ()
    mixing: tuple[Mixing, ...] = ()
    empty: EmptyRows | None = None
    losses: tuple[SeenLoss, ...] = ()
    metrics: tuple[SeenMetric, ...] = ()
    saving: Saving | None = None
    lookups: tuple[Lookup, ...] = ()
    not_run: str | None = None
    notes: tuple[str, ...] = ()

    def call(self, path: str | None) -> Call | None:
        """Return the call of a path."""
        return next((call for call in self.trace if call.call == path), None)


@dataclasses.dataclass(frozen=True, eq=False)
class Examination:
    """All evidence that rules judge.

    Attributes:
        data: the facts of each input of ids.
        model: what was seen of the model; None when only the data is judged.
    """

    data: tuple[DataFacts, ...]
    model: ModelEvidence | None


@dataclasses.dataclass(frozen=True, eq=False)
class CheckReport(Displayed):
    """What rules found.

    Attributes:
        model: what model it was; None when only the data was judged.
        versions: of keras, tensorflow and numpy; empty when only the data was judged.
        checked: the codes of the rules that judged.
        findings: the worst first.
        passed: whether none of them is as bad as what was to fail.
        fail_on: ``error`` or ``warning``.
        examination: the evidence that was judged.
    """

    model: ModelAbout | None
    versions: dict[str, str]
    checked: tuple[str, ...]
    findings: tuple[Finding, ...]
    passed: bool
    fail_on: FailOn
    examination: Examination


@dataclasses.dataclass(frozen=True, eq=False)
class LeakMatrix:
    """How far each padded timestep, replaced alone, moves each timestep of an output.

    Attributes:
        output: the name of the output.
        change: ``(samples, output timesteps, timesteps)``: the largest absolute change over the features of the output
            timestep of axis 1 when other values take the place of the padded timestep of axis 2; NaN where that is no
            padding, or was left out; to four digits. An output without timesteps has one of them.
        valid: ``(samples, output timesteps)``: where the output counts.
        timed: whether the output has timesteps.
        tolerance: up to where a change is taken for rounding.
        tried: padded timesteps that were replaced.
        padded: padded timesteps that there are.
    """

    output: str
    change: Floats
    valid: Bools
    timed: bool
    tolerance: float
    tried: int
    padded: int


@dataclasses.dataclass(frozen=True, eq=False)
class AttentionMask:
    """Who may look at whom in one call of an attention layer, as the layer combined it.

    Attributes:
        call: its path.
        type: its class name.
        mask: ``(samples, queries, keys)``, True where a query may look at a key; of several heads, where any may. These
            are the first samples of those that are shown, fewer where the sequences are long.
        weights: ``(samples, queries, keys)``: how much it looks, the mean over heads, to four decimals.
        heads: of the layer.
        causal: whether a causal mask is part of it.
        queries: ``(samples, queries)``, the truth about padding; None where it is not known.
        keys: ``(samples, keys)``, the same.
        to_padding: the largest part of its attention that a valid query gives to padded keys; None where that is not
            known.
    """

    call: str
    type: str
    mask: Bools
    weights: Floats
    heads: int
    causal: bool
    queries: Bools | None
    keys: Bools | None
    to_padding: float | None


NOT_TRIED = "not tried"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The answer to one of the questions that a report begins with.

    Attributes:
        question: such as ``Does padding leak?``.
        answer: in a word or two.
        severity: how bad it is; None where it is good, or not bad.
        text: a sentence or two that say why.
    """

    question: str
    answer: str
    severity: Severity | None
    text: str

    @property
    def known(self) -> bool:
        """Whether there is an answer: what was not tried is neither good nor bad."""
        return self.answer != NOT_TRIED


@dataclasses.dataclass(frozen=True)
class Origin:
    """How a report came to be.

    Attributes:
        command: the command line, without the program's path; empty in Python.
        versions: of maskcli, Python, keras, tensorflow and numpy.
        seed: of the weights of a built-in model; None for others.
        rows: of the data.
        samples: the first rows of them that are shown timestep by timestep; fewer than asked for where outputs are
            large.
    """

    command: tuple[str, ...]
    versions: dict[str, str]
    seed: int | None
    rows: int
    samples: int


@dataclasses.dataclass(frozen=True, eq=False)
class Report(Displayed):
    """What happened to the mask of a model: all that is known, to be shown to someone else.

    Attributes:
        origin: how it came to be.
        verdicts: what it begins with.
        inspection: of the first ``origin.samples`` rows.
        check: of all rows.
        loss: of all rows; None without one.
        no_loss: why there is none.
        leaks: a matrix for each output that can be followed; of the rows of ``inspection``.
        no_leaks: why there is none, or what was left out.
        attention: each call of an attention layer; of the rows of ``inspection``.
    """

    origin: Origin
    verdicts: tuple[Verdict, ...]
    inspection: Inspection
    check: CheckReport
    loss: LossReport | None
    no_loss: str | None
    leaks: tuple[LeakMatrix, ...]
    no_leaks: str | None
    attention: tuple[AttentionMask, ...]
