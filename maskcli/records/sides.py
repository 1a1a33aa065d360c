"""One side of a comparison: a model on a backend, with the results of its calls; it travels between processes."""

from __future__ import annotations

import dataclasses

from maskcli.records.arrays import AnyMask, Floats, Integers, Tensor
from maskcli.records.data import FROM_PYTHON, DataOrigin
from maskcli.records.evidence import CompiledDifference
from maskcli.records.fields import BackendName, Count, Effect, NonEmpty, Versions, find_backend
from maskcli.records.leak import Leak
from maskcli.records.location import Location
from maskcli.records.model import ModelIdentity
from maskcli.records.validity import InputSummary


@dataclasses.dataclass(frozen=True, eq=False)
class SideResult:
    """A tensor of floats that a call returned.

    Attributes:
        values: of the tensor, on the rows of the comparison.
        tolerance: ``(features,)``, how far rounding may move each feature; one number for a tensor without axes.
    """

    values: Tensor
    tolerance: Floats


@dataclasses.dataclass(frozen=True, eq=False)
class SideCall:
    """A call of a layer or operation; calls are in the order in which they end, that of the data.

    Attributes:
        call: the path.
        type: the class name of the layer or operation.
        effect: on the mask.
        mask_in: the first mask that arrived; None without a mask.
        mask_out: the mask of the first output.
        valid: ``(batch, timesteps)``, True at non-padding in its first output; None if that is not known.
        results: its float tensors, in order; empty for a call that contains other calls.
        shapes: of all tensors that it returned.
        returns_input: whether it returned one of its inputs itself, not a new tensor.
        input_makers: for each input tensor, the call that returned this very tensor; None if other code made it.
        settings: options that are switched on and change how a layer treats a mask, such as ``unroll``.
        location: the line of the user's code that made the call; None if it is unknown.
    """

    call: str
    type: str
    effect: Effect
    mask_in: AnyMask | None
    mask_out: AnyMask | None
    valid: AnyMask | None
    results: tuple[SideResult, ...]
    shapes: tuple[tuple[Count, ...], ...]
    returns_input: bool
    input_makers: tuple[str | None, ...]
    settings: dict[str, bool]
    location: Location | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class SideOutput:
    """An output of the model.

    Attributes:
        name: in the nest of outputs.
        call: the call that made it; None if no call was recorded.
        values: on the rows of the comparison.
        tolerance: ``(features,)``, how far rounding may move each feature.
        mask: that it carries; None without a mask.
        valid: ``(batch, timesteps)``, True at non-padding; None without timesteps.
    """

    name: str
    call: str | None
    values: Tensor
    tolerance: Floats
    mask: AnyMask | None
    valid: AnyMask | None


@dataclasses.dataclass(frozen=True)
class SideLoss:
    """The loss of an output.

    Attributes:
        output: its name.
        loss: the name of the loss.
        masked: the mean over the timesteps that the mask calls valid; None if no timestep counts.
        unmasked: the same predictions, averaged over all timesteps.
    """

    output: str
    loss: str
    masked: float | None
    unmasked: float | None


@dataclasses.dataclass(frozen=True, eq=False)
class SideWeight:
    """A weight of the model.

    Attributes:
        path: its name.
        shape: the length of each axis.
        values: None where weights are not compared, because they were copied.
    """

    path: str
    shape: tuple[Count, ...]
    values: Tensor | None


@dataclasses.dataclass(frozen=True)
class SideError:
    """The error of a model that does not run.

    Attributes:
        step: ``load``, ``run``, or ``evaluate``.
        type: the class of the exception.
        message: of Keras, or of the backend.
        call: the innermost call that raised; None if it is not known.
        of_tensorflow: whether TensorFlow raised, although Keras runs on another backend.
    """

    step: NonEmpty
    type: NonEmpty
    message: NonEmpty
    call: NonEmpty | None = None
    of_tensorflow: bool = False


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class ModelSide:
    """A model on a backend, with everything that is compared.

    Attributes:
        model: its name; None if it could not be loaded.
        versions: of keras, its backend and numpy.
        rows: the rows of the data that the results are of.
        calls: in the order of the data; empty if the model does not run.
        outputs: in order.
        leak: the verdict on padding; None if the model does not run.
        compiled: a result that differs in a compiled function; None if none does.
        compiled_change: the largest difference of the compiled function; None if it was not run.
        compiled_why: the reason why it was not run.
        compiled_fails: whether ``predict`` and ``fit`` raise an error, because they compile the model.
        not_finite: the call that makes NaN or infinity of a row without a valid timestep; None if there is none.
        losses: of each output with a loss; empty without targets.
        keras_evaluate: the loss that ``evaluate`` reports; None without targets.
        weights: of the model, in order.
        errors: of the model; the first one decides.
        notes: facts that could not be examined.
        inputs: each with the source of its validity; empty if the model could not be loaded.
        data: where the rows come from.
    """

    model: ModelIdentity | None
    versions: Versions
    rows: Integers
    calls: tuple[SideCall, ...] = ()
    outputs: tuple[SideOutput, ...] = ()
    leak: Leak | None = None
    compiled: CompiledDifference | None = None
    compiled_change: float | None = None
    compiled_why: str | None = None
    compiled_fails: bool = False
    not_finite: str | None = None
    losses: tuple[SideLoss, ...] = ()
    keras_evaluate: float | None = None
    weights: tuple[SideWeight, ...] = ()
    errors: tuple[SideError, ...] = ()
    notes: tuple[str, ...] = ()
    inputs: tuple[InputSummary, ...] = ()
    data: DataOrigin = FROM_PYTHON

    @property
    def backend(self) -> BackendName | None:
        """The backend of Keras that the model ran on."""
        return find_backend(self.versions)

    @property
    def runs(self) -> bool:
        """Whether the model was loaded and ran."""
        return bool(self.outputs)
