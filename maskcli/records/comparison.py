"""A comparison of two models, or of one model on several backends."""

from __future__ import annotations

import dataclasses
from typing import Literal

from maskcli.records.check import Finding
from maskcli.records.data import FROM_PYTHON, DataOrigin
from maskcli.records.fields import BackendName, Count, Effect, NonEmpty, RepairKind, Versions
from maskcli.records.leak import LeakVerdict
from maskcli.records.location import Location
from maskcli.records.model import ModelIdentity
from maskcli.records.result import ResultRecord
from maskcli.records.sides import SideError
from maskcli.records.validity import InputSummary

ComparisonKind = Literal["backends", "models"]
"""``backends``: one model on several; ``models``: two models."""
ComparedPart = Literal["errors", "calls", "weights", "masks", "outputs", "leaks", "losses", "compiled"]
"""A part in which two sides may differ.

- ``errors``: only one of them runs, or their errors differ.
- ``calls``: a call exists on only one of them, or returns another shape.
- ``weights``: of two models.
- ``masks``: of a call or an output.
- ``outputs``: at any timestep.
- ``leaks``: the verdicts on padding.
- ``losses``: those that ``evaluate`` reports.
- ``compiled``: only one of them computes something else when it is compiled, or does not compile.
"""
CallDifference = Literal["mask", "result", "shape", "missing", "error"]
"""``mask``: another mask arrives or goes on; ``missing``: one side has no such call; ``error``: it raises there."""


@dataclasses.dataclass(frozen=True)
class ComparedSide:
    """A model on a backend.

    Attributes:
        name: the backend, or the model as the user named it.
        backend: the backend of Keras; None if it could not be loaded.
        versions: of keras, its backend and numpy.
        model: its name; None if it could not be loaded.
        errors: of the model; empty if it runs.
        leak: the verdict on padding; None if the model does not run.
        max_abs_change: the largest change of a result by padding.
        leaks_at: the call at which padding first enters a result; None if it does not.
        not_finite: the call that makes NaN or infinity of a row without a valid timestep; None if there is none.
        compiled_change: the largest difference of the model as a compiled function; None if it was not run.
        compiled_differs: whether that is more than rounding.
        compiled_fails: whether ``predict`` and ``fit`` raise an error, because they compile the model.
        compiled_why: the reason why the compiled function was not run.
        keras_evaluate: the loss that ``evaluate`` reports; None without targets.
        notes: facts that could not be examined.
    """

    name: NonEmpty
    backend: BackendName | None
    versions: Versions
    model: ModelIdentity | None
    errors: tuple[SideError, ...]
    leak: LeakVerdict | None
    max_abs_change: float | None
    leaks_at: NonEmpty | None
    not_finite: NonEmpty | None
    compiled_change: float | None
    compiled_differs: bool
    compiled_fails: bool
    compiled_why: NonEmpty | None
    keras_evaluate: float | None
    notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class CallOnSide:
    """A call on one side.

    Attributes:
        call: the path there.
        effect: on the mask.
        mask_arrives: whether it receives a mask.
        mask_goes_on: whether its first output carries a mask.
        differs: how it differs from the call of the first side; None if it does not.
        max_abs_change: the largest difference of its results from the first side; None without results to compare.
    """

    call: NonEmpty
    effect: Effect
    mask_arrives: bool
    mask_goes_on: bool
    differs: CallDifference | None = None
    max_abs_change: float | None = None


@dataclasses.dataclass(frozen=True)
class ComparedCall:
    """A call, on all sides.

    Attributes:
        call: the path on the first side that has it.
        type: the class name of the layer or operation.
        sides: the call on each side, in order; None where there is no such call.
    """

    call: NonEmpty
    type: NonEmpty
    sides: tuple[CallOnSide | None, ...]


@dataclasses.dataclass(frozen=True)
class FirstCall:
    """The first call that differs, in the order of the data.

    Attributes:
        call: the path on the first side, or on the other one if the first has no such call.
        other: the path on the other side; None if it has no such call.
        type: the class name of the layer or operation.
        differs: how it differs.
        location: the line of the user's code that made the call; None if it is unknown.
    """

    call: NonEmpty
    other: NonEmpty | None
    type: NonEmpty
    differs: CallDifference
    location: Location | None = None


@dataclasses.dataclass(frozen=True)
class Cause:
    """The reason why two sides differ, as far as measurements show it.

    Attributes:
        kind: words joined by hyphens, for scripts.
        text: a sentence.
        fix: the remedy.
    """

    kind: RepairKind
    text: NonEmpty
    fix: NonEmpty


@dataclasses.dataclass(frozen=True)
class OutputDifference:
    """An output on two sides.

    Attributes:
        output: the name on the first side.
        differs: whether its values differ by more than rounding.
        masks_differ: whether it carries other masks.
        max_abs_change: the largest difference; None if the shapes differ.
        tolerance: the largest difference that counts as rounding there.
        sample: the row of the largest difference.
        timestep: its timestep; None for an output without timesteps.
        at_padding: whether that timestep is padding.
        shapes: on the first and the other side.
    """

    output: NonEmpty
    differs: bool
    masks_differ: bool
    max_abs_change: float | None
    tolerance: float | None
    sample: Count | None
    timestep: Count | None
    at_padding: bool
    shapes: tuple[tuple[Count, ...], tuple[Count, ...]]


@dataclasses.dataclass(frozen=True)
class WeightDifference:
    """A weight that differs between two models.

    Attributes:
        weight: its name in the first model.
        shapes: in both models; null where only one has it.
        max_abs_change: the largest difference; None if the shapes differ.
    """

    weight: NonEmpty
    shapes: tuple[tuple[Count, ...] | None, tuple[Count, ...] | None]
    max_abs_change: float | None


@dataclasses.dataclass(frozen=True)
class SideDifference:
    """A side compared with the first one.

    Attributes:
        first: the name of the first side.
        side: the name of the other one.
        parts: in which they differ; empty if they are equal.
        first_call: the first call that differs; None if no call does.
        first_result: the path of the first call whose result differs, at or after ``first_call``; None if none does.
        cause: the reason; None if they are equal, or if no measurement shows it.
        outputs: in order; empty if one side does not run.
        weights: of two models, those that differ.
        only_in_first: the paths of calls that the other side lacks.
        only_in_other: the paths of calls that the first side lacks.
    """

    first: NonEmpty
    side: NonEmpty
    parts: tuple[ComparedPart, ...]
    first_call: FirstCall | None = None
    first_result: NonEmpty | None = None
    cause: Cause | None = None
    outputs: tuple[OutputDifference, ...] = ()
    weights: tuple[WeightDifference, ...] = ()
    only_in_first: tuple[str, ...] = ()
    only_in_other: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether the sides are equal."""
        return not self.parts

    @property
    def worst(self) -> OutputDifference | None:
        """The output with the largest difference; None if no output differs."""
        differing = [output for output in self.outputs if output.differs]
        return max(differing, key=lambda output: output.max_abs_change or 0.0, default=None)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Comparison(ResultRecord):
    """Two models, or a model on several backends, compared.

    Attributes:
        kind: ``backends`` or ``models``.
        sides: the first one is what the others are compared with.
        differences: each further side compared with the first.
        calls: the calls of all sides, paired, in the order of the data.
        findings: of the rules ``backend-differs`` and ``jit-differs``; empty for two models.
        rows: the rows of the data that results are of.
        inputs: of the first side that runs, each with the source of its validity.
        data: where the rows come from.
    """

    kind: ComparisonKind
    sides: tuple[ComparedSide, ...]
    differences: tuple[SideDifference, ...]
    calls: tuple[ComparedCall, ...]
    findings: tuple[Finding, ...]
    rows: tuple[Count, ...]
    inputs: tuple[InputSummary, ...] = ()
    data: DataOrigin = FROM_PYTHON

    @property
    def equal(self) -> bool:
        """Whether masks, outputs, leaks and losses of all sides are equal, within rounding."""
        return all(difference.equal for difference in self.differences)

    def summarize(self) -> str:
        """Return the names of the sides, and whether they are equal."""
        names = ", ".join(side.name for side in self.sides)
        outcome = "equal" if self.equal else "different"
        return f"{names}: {outcome}"
