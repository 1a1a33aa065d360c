"""Does another row of the batch change the result of a row?"""

from __future__ import annotations

from maskcli.probes.context import ProbeContext
from maskcli.records.evidence import MixedRows


def probe_rows(context: ProbeContext) -> MixedRows | None:
    """Return the result that changes most with another row of the batch; None if none does."""
    return None
