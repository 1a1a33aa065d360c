"""A segment of a packed row changes a result of another segment.

`maskcli pad --pack` and most trainers of large models put several sequences into one row, with `segment_ids` that count
them from 1 (0 is padding). Attention must not cross from one segment to another: a prediction would depend on the texts
that happen to be in the same row. Recurrent layers and convolutions cross segments always, attention does without a
block-diagonal mask. The probe replaces the tokens of some segments, and compares the results of the others.

Bad::

    import keras
    import numpy as np

    tokens = keras.Input((6,), dtype="int32", name="tokens")
    segment_ids = keras.Input((6,), dtype="int32", name="segment_ids")
    x = keras.layers.Embedding(9, 4)(tokens)
    valid = segment_ids[:, None, :] > 0
    x = keras.layers.MultiHeadAttention(1, 4)(x, x, attention_mask=valid)
    model = keras.Model([tokens, segment_ids], x)
    arrays = {
        "tokens": np.array([[3, 5, 2, 7, 4, 0], [8, 1, 6, 2, 0, 0]]),
        "segment_ids": np.array([[1, 1, 1, 2, 2, 0], [1, 1, 2, 2, 0, 0]]),
    }

Good::

    import keras
    import numpy as np

    tokens = keras.Input((6,), dtype="int32", name="tokens")
    segment_ids = keras.Input((6,), dtype="int32", name="segment_ids")
    x = keras.layers.Embedding(9, 4)(tokens)
    valid = segment_ids[:, None, :] > 0
    own = keras.ops.equal(segment_ids[:, :, None], segment_ids[:, None, :])
    x = keras.layers.MultiHeadAttention(1, 4)(x, x, attention_mask=own & valid)
    model = keras.Model([tokens, segment_ids], x)
    arrays = {
        "tokens": np.array([[3, 5, 2, 7, 4, 0], [8, 1, 6, 2, 0, 0]]),
        "segment_ids": np.array([[1, 1, 1, 2, 2, 0], [1, 1, 2, 2, 0, 0]]),
    }
"""

from __future__ import annotations

from collections.abc import Iterator

from maskcli.records.check import Finding
from maskcli.records.evidence import MixedSegments, ModelEvidence
from maskcli.records.trace import Call
from maskcli.rules.base import locate, make_finding
from maskcli.rules.blame import name_call, name_output

CODE = "MSK119"
SEVERITY = "error"


def judge(model: ModelEvidence) -> Iterator[Finding]:
    """Yield the call at which segments of packed rows mix."""
    mixed = model.mixed_segments
    if mixed is None:
        return
    call = model.call(mixed.first_call)
    yield make_finding(
        __name__,
        **locate(call, model),
        message=f"{_name_subject(model, mixed, call)} mixes the segments of packed rows: with other tokens in other "
        f"segments, {_name_result(model, mixed)} changes by {mixed.max_abs_change:.3g}.",
        fix=_suggest_fix(call),
        max_abs_change=mixed.max_abs_change,
        tolerance=mixed.tolerance,
        sample=mixed.sample,
        timestep=mixed.timestep,
        segment=mixed.segment,
        output=mixed.output,
    )


def _name_subject(model: ModelEvidence, mixed: MixedSegments, call: Call | None) -> str:
    return name_call(call) if call is not None else mixed.first_call or f"{model.name} ({model.type})"


def _name_result(model: ModelEvidence, mixed: MixedSegments) -> str:
    """Return the result that changes most: ``sample 1, timestep 2 (segment 1) of output tags``."""
    place = f"sample {mixed.sample}, timestep {mixed.timestep} (segment {mixed.segment})"
    return place if len(model.outputs) < 2 else f"{place} of {name_output(model, mixed.output)}"


def _suggest_fix(call: Call | None) -> str:
    """Return advice: a block-diagonal mask for attention, unpacked rows for layers that always cross segments."""
    if call is not None and "attention_mask" in call.mask_arguments:
        return (
            "Not tried: let a query see only keys of its own segment, `attention_mask=keras.ops.equal(segment_ids[:, "
            ":, None], segment_ids[:, None, :]) & (segment_ids[:, None, :] > 0)`. (`==` of symbolic tensors is False.)"
        )
    return (
        "Not tried: attention needs a mask of pairs, `keras.ops.equal(segment_ids[:, :, None], segment_ids[:, None, "
        ":])`. Recurrent layers, convolutions and sums over timesteps always cross segments: pad their rows with "
        "`maskcli pad --buckets` instead of packing them."
    )
