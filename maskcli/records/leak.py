"""Probes of padding, and the verdict on whether it leaks."""

from __future__ import annotations

import dataclasses

from maskcli.records.arrays import Bools, Floats


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
