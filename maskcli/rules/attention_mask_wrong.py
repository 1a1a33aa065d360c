"""An attention mask leaves padded keys open.

An attention mask pairs queries with keys, and True (or 1) opens a pair. To hide padding, it must close the padded keys:
`mask[:, None, :]` of a mask `(batch, timesteps)` does. Five mistakes run without an error. Some tutorials use 1 for
padding, which is the opposite. A mask `(batch, timesteps)` without a further axis is spread over queries and keys, so
that the rows of the batch are taken for queries. `mask[:, :, None]` hides the padded queries, and every other query
still attends to padded keys. In cross-attention the keys are those of the encoder, and the mask of the decoder marks
other timesteps. A mask of one's own that adds -1 to the scores of padded keys, or multiplies these scores by 0, leaves
them weight: a softmax gives none only to scores far below all others, such as -1e9.

Bad::

    import keras

    tokens = keras.Input((None,), dtype="int32")
    mask = keras.ops.not_equal(tokens, 0)
    x = keras.layers.Embedding(10, 4)(tokens)
    attend = keras.layers.MultiHeadAttention(2, 4)
    x = attend(x, x, attention_mask=mask[:, :, None])
    x = keras.layers.GlobalAveragePooling1D()(x, mask=mask)
    model = keras.Model(tokens, x)
    sequences = [[1, 2, 3, 4], [5, 6]]

Good::

    import keras

    tokens = keras.Input((None,), dtype="int32")
    mask = keras.ops.not_equal(tokens, 0)
    x = keras.layers.Embedding(10, 4)(tokens)
    attend = keras.layers.MultiHeadAttention(2, 4)
    x = attend(x, x, attention_mask=mask[:, None, :])
    x = keras.layers.GlobalAveragePooling1D()(x, mask=mask)
    model = keras.Model(tokens, x)
    sequences = [[1, 2, 3, 4], [5, 6]]
"""

from __future__ import annotations

from collections.abc import Iterator

from maskcli.records.check import Finding
from maskcli.records.evidence import AttentionFault, ModelEvidence
from maskcli.records.wording import format_count
from maskcli.rules.base import format_exact_share, locate, make_finding
from maskcli.rules.blame import compute_largest_change, describe_change, name_call

CODE = "MSK118"
SEVERITY = "error"

FIXES = {
    "inverted": "Pass True (or 1) for the keys that may be attended to: `keras.ops.logical_not(mask)` turns this mask "
    "round.",
    "along-queries": "Add the axis of queries, so that the timesteps of the mask are those of the keys: "
    "`mask[:, None, :]`, or `mask[:, None, None, :]` for scores with heads.",
    "hides-queries": "Lay the mask along the keys, which come last: `mask[:, None, :]` instead of `mask[:, :, None]`, "
    "or `mask[:, None, None, :]` for scores with heads.",
    "wrong-input": "Pass the mask of the sequence that is attended to, that of the keys and values.",
    "too-weak": "Add -1e9 to the scores of padded keys before the softmax, `scores + (1 - mask) * -1e9`, or replace "
    "them: `keras.ops.where(mask, scores, -1e9)`.",
}


def judge(model: ModelEvidence) -> Iterator[Finding]:
    """Yield the calls whose attention mask leaves padded keys open to valid queries."""
    for fault in model.attention:
        call = model.call(fault.call)
        yield make_finding(
            __name__,
            **locate(call, model),
            message=f"{_name_place(model, fault)} {_describe_mistake(fault)}{_describe_effect(fault)}"
            f"{_describe_leak(model, fault)}",
            fix=FIXES[fault.kind],
            kind=fault.kind,
            mask_shape=list(fault.shape),
            open_to_padding=fault.open_to_padding,
            closed_to_valid=fault.closed_to_valid,
            pairs=fault.pairs,
            mask_of=fault.mask_of,
            also=list(fault.also),
            max_abs_change=compute_largest_change(model, call),
        )


def _name_place(model: ModelEvidence, fault: AttentionFault) -> str:
    call = model.call(fault.call)
    name = f"{model.name} ({model.type})" if call is None else name_call(call)
    if not fault.also:
        return name
    return f"{name}, and {format_count(len(fault.also), 'further call')} with the same mask,"


def _describe_mistake(fault: AttentionFault) -> str:
    """Return the verb and the object of the first sentence, which differ by the kind of mistake."""
    shape = f"{fault.shape}"
    if fault.kind == "inverted":
        return f"uses an inverted attention mask {shape}: True at padded keys, False at valid ones."
    if fault.kind == "along-queries":
        return (
            f"uses a mask (batch, timesteps) as an attention mask {shape} (queries, keys): the rows of the batch are "
            "taken for queries, so that each row is masked by the padding of other rows."
        )
    if fault.kind == "hides-queries":
        return f"uses an attention mask {shape} that hides padded queries instead of padded keys."
    if fault.kind == "too-weak":
        change = "multiplies the scores of padded keys by 0" if fault.added is None else _describe_sum(fault.added)
        return f"uses an attention mask {shape} that {change}, which does not hide them: a softmax gives them weight."
    return (
        f"uses an attention mask {shape} that marks the padding of {fault.mask_of}, although its keys are those of "
        "another input."
    )


def _describe_sum(added: float) -> str:
    return f"adds {added:g} to the scores of padded keys"


def _describe_effect(fault: AttentionFault) -> str:
    effects = []
    if fault.open_to_padding:
        effects.append(f"valid queries attend to padded keys ({format_count(fault.open_to_padding, 'open pair')})")
    if fault.closed_to_valid:
        share = format_exact_share(fault.closed_to_valid, fault.pairs)
        effects.append(f"{share} of the pairs of valid timesteps are closed")
    return f" As a result {', and '.join(effects)}." if effects else ""


def _describe_leak(model: ModelEvidence, fault: AttentionFault) -> str:
    if model.leak is None or not model.leak.leaks:
        return ""
    return f" Padding changes results {describe_change(model, model.call(fault.call))}."
