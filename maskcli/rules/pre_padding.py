"""Padding stands before the tokens, and the fast kernel for LSTM and GRU on a GPU wants it behind them.

cuDNN takes a length for each row, so it can leave out timesteps at the end alone. Keras runs its own slow loop for any
other mask when it runs eagerly, and stops with an error in `fit` and `predict`, where the kernel was chosen before the
mask is known. Note that `keras.utils.pad_sequences` pads at the start unless it is told otherwise. On a CPU, and in
layers other than LSTM and GRU, either side is as good.

Bad::

    sequences = [[5, 6, 7, 8], [9, 4, 3]]
    options = dict(padding="pre", data_only=True)

Good::

    sequences = [[5, 6, 7, 8], [9, 4, 3]]
    options = dict(padding="post", data_only=True)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from maskcli.records.check import Examination, Finding, Severity
from maskcli.rules.base import make_finding, pluralize

CODE = "MSK006"
SEVERITY: Severity = "info"
ABOUT: Literal["data"] = "data"


def judge(examination: Examination) -> Iterator[Finding]:
    """Find padding before the tokens."""
    for facts in examination.data:
        if facts.padding == "pre" and facts.padded_timesteps:
            yield make_finding(
                __name__,
                message=f"{facts.name}: {pluralize(facts.padded_timesteps, 'timestep')} of padding before the tokens. "
                "On a GPU the fast kernel (cuDNN) of LSTM and GRU takes masks with padding at the end only.",
                fix='Pad with `padding="post"`; or give the layer `use_cudnn=False` for the slow kernel.',
                input=facts.name,
                padded_timesteps=facts.padded_timesteps,
            )
