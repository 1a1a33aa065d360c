"""Calls of one run, the tensors between them, and the outputs of the model."""

from __future__ import annotations

import dataclasses
import itertools

from maskcli.records.arrays import AnyMask, Bools, Floats, Losses, Mask, Tensor, Vector, Vectors
from maskcli.records.data import FROM_PYTHON, DataOrigin
from maskcli.records.fields import (
    BackendName,
    ComparedSource,
    Count,
    Effect,
    Shape,
    Versions,
    find_backend,
)
from maskcli.records.inputs import ModelInput, ShownBatch, find_primary, select_shown_batch
from maskcli.records.location import Location
from maskcli.records.model import ModelAbout
from maskcli.records.remark import Remark
from maskcli.records.result import ResultRecord
from maskcli.records.sequences import PaddedBatch


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Call:
    """One application of a layer or operation in a recorded run.

    Attributes:
        call: the path: the names of the models and layers that lead to the call, its own name (for an operation its
            kind), and ``#2``, ``#3`` ... if the same path is called again.
        index: the position in the order of execution, from 0.
        type: the class name of the layer or operation.
        effect: on the mask: creates, passes, changes, uses, drops or none.
        mask_in: ``(batch, timesteps)``, the mask that was passed as an argument, or that the first masked input
            carried; None without a mask.
        mask_out: the mask of the first output.
        given: whether a mask reached an argument of the call.
        computes_mask: whether the call only computes a mask for a later call.
        warning: a warning from Keras during the call.
        masks_in: the mask of each input tensor, in order.
        masks_out: the mask of each output tensor, in order.
        mask_arguments: the mask arguments of the call, each with the masks that reached it.
        shapes_in: the shapes of the input tensors.
        shapes_out: the shapes of the output tensors.
        code: whether no layer owns the call: an operation in the code of a model, or of a user's own layer.
        contains: whether it made calls that follow it in the trace.
        of_model: whether the call applies a model inside the model.
        lost_at: the call that lost the mask of its input; None if no mask was lost.
        lost_after: the last call whose output had that mask.
        lost_again: later calls, in order, that would lose it too if ``lost_at`` did not.
        takes_off: whether it removed the mask from a tensor that came in, so that later calls do not see it either.
        mask_from: the call whose output brought the first mask among its inputs; None without a mask.
        attention_arguments: the mask arguments that received masks which pair queries with keys.
        valid: ``(batch, timesteps)``, True at non-padding in the first output, or in the first input if the output has
            no timesteps; None if neither has timesteps.
        valid_in: the same for the input that ``mask_in`` is of. It differs from ``valid`` where a call moves timesteps.
        location: the line of the user's code that made the call; None if it is unknown.
    """

    call: str
    index: Count
    type: str
    effect: Effect
    mask_in: AnyMask | None
    mask_out: AnyMask | None
    given: bool
    computes_mask: bool
    warning: str | None
    masks_in: tuple[AnyMask | None, ...] = ()
    masks_out: tuple[AnyMask | None, ...] = ()
    mask_arguments: dict[str, tuple[AnyMask | None, ...]] = dataclasses.field(default_factory=dict)
    shapes_in: tuple[tuple[Count, ...], ...] = ()
    shapes_out: tuple[tuple[Count, ...], ...] = ()
    code: bool = False
    contains: bool = False
    of_model: bool = False
    lost_at: str | None = None
    lost_after: str | None = None
    lost_again: tuple[str, ...] = ()
    takes_off: bool = False
    mask_from: str | None = None
    attention_arguments: tuple[str, ...] = ()
    valid: AnyMask | None = None
    valid_in: AnyMask | None = None
    location: Location | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Edge:
    """A tensor between two calls, or between a call and an input or output of the model.

    Attributes:
        source: the path of the innermost call that made the tensor, or the name of an input of the model.
        target: the path of the call that takes the tensor, or the name of an output of the model.
        from_input: whether ``source`` is an input.
        to_output: whether ``target`` is an output.
        mask: the mask of the tensor when it arrives; None without a mask.
        lost: whether a call lost the mask that the tensor would carry.
        argument: the mask argument that the tensor is passed as; None for a data tensor.
    """

    source: str
    target: str
    from_input: bool = False
    to_output: bool = False
    mask: Bools | None = None
    lost: bool = False
    argument: str | None = None

    @property
    def carries_mask(self) -> bool:
        """Whether the tensor carries a mask when it arrives."""
        return self.mask is not None


@dataclasses.dataclass(frozen=True, eq=False)
class EmbeddingRow:
    """The vector that an Embedding looks up for the padding id.

    Attributes:
        layer: the path of the Embedding.
        padding_id: the padding id.
        padding_vector: ``(embedding_dim,)``.
        set_to_zero: whether maskcli zeroed the vector because the mask source requires zeros.
    """

    layer: str
    padding_id: int
    padding_vector: Vector
    set_to_zero: bool


@dataclasses.dataclass(frozen=True, eq=False)
class AttentionMask:
    """The attention mask of one call of an attention layer, as the layer combined it.

    Attributes:
        call: the path of the call.
        type: the class name of the layer.
        mask: ``(samples, queries, keys)``, True where a query may attend to a key in any head. Holds the first of the
            samples that are shown; fewer if the sequences are long.
        weights: ``(samples, queries, keys)``, the attention weights, averaged over heads, to four decimals.
        heads: the number of heads of the layer.
        causal: whether a causal mask is part of it.
        queries: ``(samples, queries)``, True at valid queries; None if unknown.
        keys: ``(samples, keys)``, True at valid keys; None if unknown.
        to_padding: the largest share of attention that a valid query gives to padded keys; None if unknown.
        all_pairs: the numbers of queries and keys in the model if only the first ones are held; otherwise None.
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
    all_pairs: tuple[Count, Count] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class OutputValues:
    """One output of a model.

    Attributes:
        call: the call that made the output; the name of the model if no call was recorded.
        values: ``(batch, timesteps, ...)``, or ``(batch, ...)`` without timesteps.
        mask: the mask that the output carries, and that a loss receives; None without a mask.
        repeats_previous: ``(batch, timesteps)``, True where a masked output exactly repeats the previous output; None
            without timesteps.
        name: the name in the model's nest of outputs; ``output`` for a single output.
        valid: ``(batch, timesteps)``, True at non-padding; None without timesteps.
        all_features: the length of the last axis in the model if ``values`` holds only the first features; otherwise
            None.
    """

    call: str
    values: Tensor
    mask: AnyMask | None
    repeats_previous: Mask | None
    name: str = "output"
    valid: Bools | None = None
    all_features: int | None = None

    @property
    def shape(self) -> Shape:
        """The shape of the output in the model."""
        if self.all_features is None:
            return self.values.shape
        return *self.values.shape[:-1], self.all_features


@dataclasses.dataclass(frozen=True, eq=False)
class Unmasked:
    """An output of the same weights run without any mask, compared with the masked run.

    Attributes:
        values: the output, in the shape of the masked one.
        change: the largest absolute change over the features, ``(batch, timesteps)``, or ``(batch,)``.
        max_abs_change_valid: the largest change at a valid timestep, or of a pooled output.
        max_abs_change_padding: the largest change at a padded timestep; None without padding.
    """

    values: Tensor
    change: Losses
    max_abs_change_valid: float
    max_abs_change_padding: float | None


@dataclasses.dataclass(frozen=True, eq=False)
class SourceResult:
    """The mask and the outputs with one mask source, compared with the first source.

    Attributes:
        mask_source: the mask source.
        mask: its mask; None without a mask.
        values: its outputs.
        differing_timesteps: the number of timesteps at which its mask differs from that of the first source.
        max_abs_difference: the largest absolute difference from the outputs of the first source.
    """

    mask_source: ComparedSource
    mask: Mask | None
    values: Vectors
    differing_timesteps: Count
    max_abs_difference: float


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Inspection(ResultRecord):
    """What happened to the mask when a batch ran through a model.

    Attributes:
        model: the model.
        versions: of keras, its backend and numpy.
        inputs: all inputs of the run.
        batch: the sequences that maskcli padded for the run; None if the data came as arrays.
        mask: the mask that the model's mask source computed, the first mask of the run; None without a mask.
        embedding: the vector that the Embedding looks up for the padding id; None without such an Embedding.
        trace: the calls of the model in the order of execution; empty if none was recorded.
        outputs: the outputs of the model, in order.
        unmasked: the first output of the same weights without any mask; None if the model has no mask, or does not run
            without one.
        mask_sources: with ``--mask-source all``, the result of each source, compared with the first; otherwise empty.
        mask_sources_agree: whether these results agree; None without ``--mask-source all``.
        remarks: conclusions from the evidence, in sentences.
        edges: the tensors between calls, inputs and outputs, in the order in which they arrive.
        further_unmasked: for each further output, the same as ``unmasked``.
        data: where the rows come from.
    """

    model: ModelAbout
    versions: Versions
    inputs: tuple[ModelInput, ...]
    batch: PaddedBatch | None
    mask: AnyMask | None
    embedding: EmbeddingRow | None
    trace: tuple[Call, ...]
    outputs: tuple[OutputValues, ...]
    unmasked: Unmasked | None
    mask_sources: tuple[SourceResult, ...]
    mask_sources_agree: bool | None
    remarks: tuple[Remark, ...]
    edges: tuple[Edge, ...] = ()
    further_unmasked: tuple[Unmasked | None, ...] = ()
    data: DataOrigin = FROM_PYTHON

    @property
    def backend(self) -> BackendName | None:
        """The backend of Keras that the model ran on."""
        return find_backend(self.versions)

    def summarize(self) -> str:
        """Return the name of the model, its first output, and whether a mask reaches it."""
        output, fate = self.outputs[0], "no mask"
        if self.mask is not None:
            fate = "with its mask" if output.mask is not None else "without the model's mask"
        return f"{self.model.name}: {output.call} {output.values.shape}, {fate}"

    @property
    def beside(self) -> tuple[tuple[OutputValues, Unmasked | None], ...]:
        """Each output, with the same output without any mask."""
        unmasked = (self.unmasked, *self.further_unmasked)
        return tuple(itertools.zip_longest(self.outputs, unmasked[: len(self.outputs)]))

    @property
    def first_output(self) -> OutputValues:
        """The first output of the model."""
        return self.outputs[0]

    @property
    def more_outputs(self) -> tuple[OutputValues, ...]:
        """The other outputs, in order."""
        return self.outputs[1:]

    @property
    def output_mask(self) -> AnyMask | None:
        """The mask of the first output, which a loss receives; None without a mask."""
        return self.first_output.mask

    @property
    def primary(self) -> ModelInput | None:
        """The input whose timesteps are shown; see ``find_primary``."""
        return find_primary(self.inputs)

    @property
    def shown_batch(self) -> ShownBatch | None:
        """The timesteps of the first input of ids, otherwise of features; None without timesteps."""
        return select_shown_batch(self.inputs, self.batch)

    @property
    def valid(self) -> Bools | None:
        """``(batch, timesteps)``, True at non-padding of the primary input; None without timesteps."""
        return None if self.primary is None else self.primary.valid
