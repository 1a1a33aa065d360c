"""Probes of padding, and the verdict on whether it leaks."""

from __future__ import annotations

import dataclasses
from typing import Literal

from maskcli.records.arrays import Bools, Floats, Ints
from maskcli.records.fields import Count, NonEmpty, ProbeName


@dataclasses.dataclass(frozen=True)
class Probe:
    """One test of whether padding leaks.

    Attributes:
        name: ``replace``, ``alone``, ``columns``, ``gradient``, ``rows``, ``segments``, ``future`` or ``compiled``.
        applicable: whether the probe could run.
        leaks: whether the change is larger than rounding.
        max_abs_change: the largest change of an output at a valid timestep, or of a pooled output; for ``gradient``
            the largest derivative with respect to padding; None if the probe could not run.
        tolerance: the largest change that counts as rounding.
        first_call: the call at which the difference first appears; None if it could not be followed.
        sample: the row with the largest change; for ``gradient`` the row of the padding.
        timestep: the timestep with the largest change; None for a pooled output.
        output: the name of that output in the model's nest of outputs.
        why: the reason why the probe could not run, or the meaning of its result.
    """

    name: ProbeName
    applicable: bool
    leaks: bool = False
    max_abs_change: float | None = None
    tolerance: float | None = None
    first_call: NonEmpty | None = None
    sample: Count | None = None
    timestep: Count | None = None
    output: NonEmpty | None = None
    why: NonEmpty | None = None


@dataclasses.dataclass(frozen=True)
class LeakPlace:
    """The place of the largest change.

    Attributes:
        sample: the row.
        timestep: the timestep; None for a pooled output.
    """

    sample: Count
    timestep: Count | None


LeakVerdict = Literal["leaks", "clean", "unproven"]
WeightsKind = Literal["as-loaded", "noisy"]


@dataclasses.dataclass(frozen=True)
class Leak:
    """The verdict on whether padding, its content or its amount, changes a result.

    Attributes:
        leaks: whether any probe found that padding changes an output at a valid timestep, or a pooled output; None if
            that is not proved either way.
        max_abs_change: the largest change in any probe of an output at a valid timestep, or of a pooled output.
        first_call: the call at which padding first enters a result.
        sample: the row with the largest change.
        timestep: the timestep with the largest change; None for a pooled output.
        probes: the probes; empty if there is no padding.
        entries: by call, the change of its own result if only the padding among its inputs is replaced; calls without
            a change are left out.
        output: the name of the output with the largest change; None if no probe measured one.
        weights: ``noisy`` for a leak that shows only after a little noise is added to the weights, as training adds.
        reason: the reason why a leak is neither proved nor excluded; None if it is.
        padded_by_maskcli: whether the data has no padding, so that maskcli added some.
        late_masks: calls whose mask marks padding as valid only after the noise, since they look for padding in results
            of layers before them.
    """

    leaks: bool | None
    max_abs_change: float
    first_call: NonEmpty | None
    sample: int | None
    timestep: int | None
    probes: tuple[Probe, ...]
    entries: dict[str, float]
    output: str | None = None
    weights: WeightsKind = "as-loaded"
    reason: NonEmpty | None = None
    padded_by_maskcli: bool = False
    late_masks: tuple[NonEmpty, ...] = ()

    @property
    def verdict(self) -> LeakVerdict:
        """``leaks``, ``clean`` or ``unproven``."""
        if self.leaks is None:
            return "unproven"
        return "leaks" if self.leaks else "clean"

    @property
    def worst(self) -> LeakPlace | None:
        """The row and the timestep with the largest change."""
        return None if self.sample is None else LeakPlace(self.sample, self.timestep)


@dataclasses.dataclass(frozen=True, eq=False)
class LeakMatrix:
    """The effect of padded timesteps on each timestep of an output: a row for each of them that was tried.

    Attributes:
        output: the name of the output.
        places: ``(tried, 2)``, the sample and the padded timestep that was replaced, sorted.
        effects: ``(tried, output timesteps)``, four significant digits: the largest absolute change over the features
            of that output timestep of the sample if only the padded timestep is replaced. An output without timesteps
            has one column.
        timesteps: of the input.
        valid: ``(samples, output timesteps)``, True where the output counts.
        timed: whether the output has timesteps.
        tolerance: the largest change that counts as rounding.
        tried: the number of padded timesteps that were replaced.
        padded: the number of all padded timesteps.
    """

    output: str
    places: Ints
    effects: Floats
    timesteps: Count
    valid: Bools
    timed: bool
    tolerance: float
    tried: int
    padded: int
