"""Padding comes before the tokens, but the fast GPU kernel of LSTM and GRU requires it after them.

cuDNN takes a length for each row, so it can only leave out timesteps at the end. For any other mask Keras uses its slow
loop when it runs eagerly, and stops with an error in `fit` and `predict`, where it chooses the kernel before it knows
the mask. This is true of TensorFlow: on JAX and PyTorch, Keras never uses cuDNN with a mask. Note that
`keras.utils.pad_sequences` pads at the start by default. On a CPU, and in other layers, both sides work equally well.

Bad::

    sequences = [[5, 6, 7, 8], [9, 4, 3]]
    options = dict(padding="pre", data_only=True)

Good::

    sequences = [[5, 6, 7, 8], [9, 4, 3]]
    options = dict(padding="post", data_only=True)
"""

from __future__ import annotations

from collections.abc import Iterator

from maskcli.records.check import Finding
from maskcli.records.data import DataFacts
from maskcli.records.evidence import ModelEvidence
from maskcli.records.wording import format_count
from maskcli.rules.base import make_finding

CODE = "MSK006"
SEVERITY = "info"


WITH_KERNEL = ("Bidirectional", "GRU", "LSTM", "TimeDistributed")
"""Layers that use cuDNN, and wrappers of them."""


def judge(facts: DataFacts, model: ModelEvidence | None) -> Iterator[Finding]:
    """Yield padding before the tokens, unless it is known that the model never uses cuDNN with a mask."""
    if model is not None and (model.backend != "tensorflow" or not _may_use_kernel(model)):
        return
    if facts.padding == "pre" and facts.padded_timesteps:
        yield make_finding(
            __name__,
            message=f"{facts.name}: {format_count(facts.padded_timesteps, 'timestep')} of padding before the tokens. "
            "With TensorFlow on a GPU, the fast kernel of LSTM and GRU (cuDNN) only takes padding at the end.",
            fix='Pad with `padding="post"`, or set `use_cudnn=False` in the layer for the slow kernel.',
            input=facts.name,
            padded_timesteps=facts.padded_timesteps,
        )


def _may_use_kernel(model: ModelEvidence) -> bool:
    """Return whether a call of the model may use cuDNN; True if the model did not run."""
    return not model.trace or any(call.type in WITH_KERNEL for call in model.trace)
