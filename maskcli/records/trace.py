"""Calls of one run, the tensors between them, and the outputs of the model."""

from __future__ import annotations

import dataclasses
import itertools

from maskcli.records.arrays import Bools, Floats
from maskcli.records.html import HtmlRecord
from maskcli.records.inputs import ModelInput, find_primary
from maskcli.records.model import ModelAbout
from maskcli.records.remark import Remark
from maskcli.records.sequences import PaddedBatch


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


@dataclasses.dataclass(frozen=True, eq=False)
class OutputValues:
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


@dataclasses.dataclass(frozen=True, eq=False)
class Inspection(HtmlRecord):
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
    outputs: tuple[OutputValues, ...]
    unmasked: Unmasked | None
    mask_sources: tuple[SourceResult, ...]
    mask_sources_agree: bool | None
    remarks: tuple[Remark, ...]
    edges: tuple[Edge, ...] = ()
    further_unmasked: tuple[Unmasked | None, ...] = ()

    @property
    def beside(self) -> tuple[tuple[OutputValues, Unmasked | None], ...]:
        """Each output, beside the same without any mask."""
        unmasked = (self.unmasked, *self.further_unmasked)
        return tuple(itertools.zip_longest(self.outputs, unmasked[: len(self.outputs)]))

    @property
    def primary(self) -> ModelInput | None:
        """The input that timesteps are shown of; see ``find_primary``."""
        return find_primary(self.inputs)

    @property
    def valid(self) -> Bools | None:
        """``(batch, timesteps)``: its timesteps that are no padding; None without timesteps."""
        return None if self.primary is None else self.primary.valid
