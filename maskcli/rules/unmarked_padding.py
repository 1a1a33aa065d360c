"""Rows end, or begin, with runs of one value that nothing marks as padding.

Padding is often not 0: the pad token of RoBERTa is id 1, and measurements are padded with -1 or -999. maskcli cannot
know the value, and a model that looks for another one computes with these timesteps as with any other. The rule needs
rows of equal length with runs of different lengths, of a value that occurs nowhere else. The same holds for a vector,
such as that of zeros which were scaled like the data after padding.

Bad::

    # Padded with 1, and the padding value is 0.
    sequences = [[5, 6, 7, 8, 9], [4, 3, 1, 1, 1], [8, 1, 1, 1, 1]]
    options = dict(data_only=True)

Good::

    # The same rows, and their padding value.
    sequences = [[5, 6, 7, 8, 9], [4, 3, 1, 1, 1], [8, 1, 1, 1, 1]]
    options = dict(data_only=True, value=1)
"""

from __future__ import annotations

from collections.abc import Iterator

from maskcli.records.check import Finding
from maskcli.records.data import DataFacts
from maskcli.records.evidence import ModelEvidence
from maskcli.records.wording import format_count
from maskcli.rules.base import make_finding

CODE = "MSK008"
MOST_FEATURES = 4
"""Features of a vector that are shown."""
_FIX = (
    "If these timesteps are padding, pass their value: `--value {value}`, or `value={value}` in Python. If they are "
    "data, leave this rule out."
)
_FIX_OF_VECTORS = (
    "If these timesteps are padding, such as zeros that were scaled like data, pad after scaling, or mark the valid "
    "ones in `{name}.mask`. If they are data, leave this rule out."
)
SEVERITY = "warning"


def judge(facts: DataFacts, _model: ModelEvidence | None) -> Iterator[Finding]:
    """Yield the value in which rows end, or begin, if it looks like padding and is not known as padding."""
    runs = facts.unmarked
    if runs is None:
        return
    verb = "end" if runs.side == "post" else "begin"
    value, noun, fix = f"{runs.value:.9g}", "value", _FIX
    if runs.vector is not None:
        shown = [f"{number:.4g}" for number in runs.vector[:MOST_FEATURES]]
        shown += ["..."] if len(runs.vector) > MOST_FEATURES else []
        value, noun, fix = f"the vector [{', '.join(shown)}]", "vector", _FIX_OF_VECTORS
    yield make_finding(
        __name__,
        message=f"{facts.name}: {runs.rows:,} of {format_count(facts.shape[0], 'row')} {verb} with runs of {value}, "
        f"which nothing marks as padding: {format_count(runs.timesteps, 'timestep')}, first in sample {runs.sample} "
        f"from timestep {runs.timestep}. The {noun} occurs nowhere else.",
        fix=fix.format(value=value, name=facts.name),
        input=facts.name,
        value=runs.value if runs.vector is None else list(runs.vector),
        side=runs.side,
        rows=runs.rows,
        timesteps=runs.timesteps,
        sample=runs.sample,
        timestep=runs.timestep,
    )
