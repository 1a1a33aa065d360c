"""Does a later timestep change an earlier output?"""

from __future__ import annotations

from collections.abc import Iterator

from maskcli.probes.context import ProbeContext
from maskcli.records.evidence import FutureEffect


def probe_future(context: ProbeContext, causal: str | None) -> Iterator[FutureEffect]:
    """Yield the effect of later timesteps on earlier results, for each output with timesteps.

    ``causal`` is the reason why the user means the model to be causal; None if there is none.
    """
    yield from ()
