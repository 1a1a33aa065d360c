"""Further steps of random programs, drawn for seeds from ``WIDE`` on, so that the programs of earlier seeds stay."""

from __future__ import annotations

from tests.differential.steps import (
    CHANGING,
    HEADS,
    POOL,
    POOLING,
    PRESERVING,
    RATES,
    Draft,
    add_attention_by_hand,
    add_custom_layer,
    add_custom_pool,
    is_on_data_axis,
    register,
)

WIDE = 20_000
"""The first seed that draws these steps."""

# Steps that keep the time axis


@register(PRESERVING, 4, WIDE)
def add_stacked_cells(draft: Draft) -> None:
    units = draft.pick(2, 3)
    cells = draft.pick(
        f"L.RNN([L.GRUCell(3), L.LSTMCell({units})], return_sequences=True)",
        f"L.RNN(L.StackedRNNCells([L.SimpleRNNCell(2), L.GRUCell({units})]), return_sequences=True)",
        f"L.RNN(L.LSTMCell({units}), return_sequences=True, unroll=False)",
        f"L.RNN(Leaky({units}), return_sequences=True)",
    )
    draft.layer(cells, units, draft.mask_argument())


@register(PRESERVING, 3, WIDE)
def add_other_directions(draft: Draft) -> None:
    """Join both directions by a product, or run another kind of cell backwards."""
    units = draft.pick(2, 3)
    forward = f"L.LSTM({units}, return_sequences=True)"
    backward = f", backward_layer=L.GRU({units}, return_sequences=True, go_backwards=True)" if draft.chance(0.5) else ""
    merge = draft.pick("mul", "concat", "ave")
    width = 2 * units if merge == "concat" else units
    draft.layer(f'L.Bidirectional({forward}, merge_mode="{merge}"{backward})', width, draft.mask_argument())


@register(PRESERVING, 2, WIDE)
def add_decoder_of_both_directions(draft: Draft) -> None:
    units = draft.pick(2, 3)
    layers = {
        "encoder": f"L.Bidirectional(L.LSTM({units}, return_state=True))",
        "decoder": f"L.LSTM({2 * units}, return_sequences=True)",
    }
    mask = ", mask={m}" if draft.mask and draft.chance(0.8) else ""
    draft.add(
        f"_, fh, fc, bh, bc = {{encoder}}({{x}}{mask})",
        "states = [ops.concatenate([fh, bh], axis=-1), ops.concatenate([fc, bc], axis=-1)]",
        f"{{y}} = {{decoder}}({{x}}, initial_state=states{mask})",
        layers=layers,
        width=2 * units,
    )


@register(PRESERVING, 4, WIDE)
def add_attention_of_einsum(draft: Draft) -> None:
    """Attend with ``einsum`` or ``Dot``; masks are those of keys, of pairs, or missing."""
    layers = {"query": "L.Dense(3)", "key": "L.Dense(3)", "value": "L.Dense(4)"}
    if draft.chance(0.5):
        lines = ['{x}_scores = ops.einsum("bqd,bkd->bqk", {query}({x}), {key}({x})) / 3**0.5']
    else:
        layers |= {"dot": "L.Dot(axes=2)", "sum": "L.Dot(axes=(2, 1))"}
        lines = ["{x}_scores = {dot}([{query}({x}), {key}({x})])"]
    if draft.mask and draft.chance(0.8):
        keys = "ops.expand_dims({m}, 1)"
        pairs = f"ops.logical_and({keys}, ops.expand_dims({{m}}, 2))"
        closed = draft.pick(
            f"ops.where({keys}, {{x}}_scores, -1e9)",
            f"ops.where({pairs}, {{x}}_scores, -1e9)",
            f"{{x}}_scores * ops.cast({keys}, {{x}}_scores.dtype)",
        )
        lines.append(f"{{x}}_scores = {closed}")
    lines.append("{x}_weights = ops.softmax({x}_scores, axis=-1)")
    last = (
        "{sum}([{x}_weights, {value}({x})])"
        if "sum" in layers
        else 'ops.einsum("bqk,bkd->bqd", {x}_weights, {value}({x}))'
    )
    draft.add(*lines, f"{{y}} = {last}", layers=layers, width=4)


@register(PRESERVING, 3, WIDE)
def add_attention_of_pairs(draft: Draft) -> None:
    """Attend with a mask of pairs made by hand, causal or not."""
    if not draft.mask:
        return add_attention_by_hand(draft)
    mask = draft.pick(
        "ops.logical_and(ops.expand_dims({m}, 1), ops.expand_dims({m}, 2))",
        "ops.expand_dims({m}, 1) & (ops.arange(ops.shape({x})[1])[:, None] >= ops.arange(ops.shape({x})[1]))",
        "ops.cast(ops.expand_dims({m}, 1), 'int32') * ops.cast(ops.expand_dims({m}, 2), 'int32')",
        "ops.expand_dims(ops.expand_dims({m}, 1), 1)",
    )
    return draft.layer("L.MultiHeadAttention(2, 3)", None, f"({{x}}, {{x}}, attention_mask={mask})")


@register(PRESERVING, 2, WIDE)
def add_named_masks(draft: Draft) -> None:
    """Pass masks by their names, of queries, keys and values."""
    if not draft.mask:
        return add_attention_by_hand(draft)
    masks = draft.pick("key_mask={m}, value_mask={m}", "value_mask={m}", "query_mask={m}", "key_mask={m}")
    kind = draft.pick("MultiHeadAttention(2, 3)", "MultiHeadAttention(1, 2, flash_attention=False)")
    return draft.layer(f"L.{kind}", None, f"({{x}}, {{x}}, {masks})")


@register(PRESERVING, 2, WIDE)
def add_biased_attention(draft: Draft) -> None:
    draft.layer(f"DistanceAttention(uses_mask={draft.chance(0.75)})", 4, draft.mask_argument())


@register(PRESERVING, 4, WIDE)
def add_operation_over_time(draft: Draft) -> None:
    """Sum, turn, shift or normalise over the time axis."""
    text = draft.pick(
        "ops.cumsum({x}, axis=1)",
        "ops.flip(ops.cumsum(ops.flip({x}, axis=1), axis=1), axis=1)",
        "{x} - ops.max({x}, axis=1, keepdims=True)",
        "ops.softmax({x}, axis=1)",
        "{x} - ops.roll({x}, 1, axis=1)",
        "{x} / (1e-3 + ops.std({x}, axis=1, keepdims=True))",
        "ops.cumsum({x}, axis=1) / ops.cast(ops.expand_dims(ops.arange(ops.shape({x})[1]) + 1, -1), {x}.dtype)",
    )
    draft.add(f"{{y}} = {text}")


@register(PRESERVING, 3, WIDE)
def add_choice(draft: Draft) -> None:
    """Choose between values, often by the mask."""
    text = draft.pick("ops.where({x} > 0, {x}, 0.1 * {x})", "ops.clip({x}, -0.5, 0.5)", "ops.abs({x})")
    if draft.mask and draft.chance(0.7):
        text = draft.pick(
            "ops.where(ops.expand_dims({m}, -1), {x}, 0.0)",
            "ops.where(ops.expand_dims({m}, -1), {x}, ops.zeros_like({x}))",
            "ops.where(ops.expand_dims({m}, -1), {x}, -1.0)",
            f"{{x}} - ops.sum({{x}} * {RATES}, axis=1, keepdims=True) / ops.sum({RATES}, axis=1, keepdims=True)",
        )
    draft.add(f"{{y}} = {text}")


@register(PRESERVING, 2, WIDE)
def add_turned_rnn(draft: Draft) -> None:
    """Flip, run an RNN, and flip back."""
    layers = {"rnn": f"L.GRU({draft.features}, return_sequences=True)"}
    mask = ", mask=ops.flip({m}, axis=1)" if draft.mask and draft.chance(0.7) else ""
    draft.add(f"{{y}} = ops.flip({{rnn}}(ops.flip({{x}}, axis=1){mask}), axis=1)", layers=layers)


@register(PRESERVING, 3, WIDE)
def add_tensorflow(draft: Draft) -> None:
    text = draft.pick(
        "tf.math.tanh(t)",
        "tf.math.l2_normalize(t, axis=-1)",
        "tf.math.l2_normalize(t, axis=1)",
        "t - tf.reduce_mean(t, axis=1, keepdims=True)",
        "tf.nn.relu(t) + 0.1",
        "tf.concat([t, tf.zeros_like(t[:, :, :1])], -1)",
        "tf.cumsum(t, axis=1)",
    )
    width = draft.features + 1 if "concat" in text else None
    mask = ", mask=lambda t, m: m" if draft.chance(0.3) else ""
    draft.layer(f"L.Lambda(lambda t: {text}{mask})", width)


@register(PRESERVING, 3, WIDE)
def add_nested_timesteps(draft: Draft) -> None:
    units = draft.features
    inner = draft.pick(
        f'keras.Sequential([L.Dense(4, activation="relu"), L.Dense({units})])',
        f"nested(({units},), L.Dense(4), L.LayerNormalization(), L.Dense({units}))",
        "L.LayerNormalization()",
        f"keras.Sequential([L.Reshape((1, {units})), L.LSTM({units})])",
    )
    draft.layer(f"L.TimeDistributed({inner})")


@register(PRESERVING, 4, WIDE)
def add_other_layer(draft: Draft) -> None:
    width = draft.features
    kinds = {
        f'L.EinsumDense("abc,cd->abd", output_shape=(None, {width}), bias_axes="d")': 3,
        "L.PReLU(shared_axes=[1])": 1,
        f"L.SpectralNormalization(L.Dense({width}))": 1,
        'L.Activation("gelu")': 1,
        "L.Softmax()": 1,
        "L.Softmax(axis=1)": 1,
        "L.Rescaling(2.0, offset=0.5)": 1,
        "L.LayerNormalization(axis=[1, 2])": 1,
        f"L.GroupNormalization({width})": 1,
        "L.LeakyReLU()": 1,
        "L.Identity()": 1,
        "L.AlphaDropout(0.2)": 0.5,
        "L.ActivityRegularization(l2=1e-3)": 0.5,
    }
    if not (draft.fixed and is_on_data_axis(draft)):
        del kinds["L.LayerNormalization(axis=[1, 2])"]  # Its weights have the timesteps.
    draft.layer(draft.rng.choices(list(kinds), list(kinds.values()))[0])


@register(PRESERVING, 3, WIDE)
def add_padded_convolution(draft: Draft) -> None:
    """Pad with zeros on one side, and convolve without padding, as causal convolutions by hand do."""
    filters, size, rate = draft.pick(3, 4), draft.pick(2, 3), draft.pick(1, 1, 2)
    more = (size - 1) * rate
    kind = draft.pick(
        f"L.Conv1D({filters}, {size}, dilation_rate={rate})",
        f"L.Conv1D({filters}, {size}, dilation_rate={rate}, groups=1)",
    )
    before = draft.pick(more, more, more, 0)
    lines = (f"{{x}} = {{x}} * {RATES}",) if draft.mask and draft.chance(0.5) else ()
    layers = {"pad": f"L.ZeroPadding1D(({before}, {more - before}))", "conv": kind}
    draft.add(*lines, "{y} = {conv}({pad}({x}))", layers=layers, width=filters)


@register(PRESERVING, 2, WIDE)
def add_other_convolution(draft: Draft) -> None:
    filters = draft.pick(2, 3)
    kinds = {
        'L.DepthwiseConv1D(3, padding="same")': draft.features,
        f'L.Conv1DTranspose({filters}, 3, padding="same")': filters,
        f"L.Conv1D({filters}, 1)": filters,
    }
    kind = draft.rng.choice(list(kinds))
    draft.layer(kind, kinds[kind])


@register(PRESERVING, 2, WIDE)
def add_overlapping_pool(draft: Draft) -> None:
    kind = draft.pick("MaxPooling1D", "AveragePooling1D")
    draft.layer(f'L.{kind}({draft.pick(2, 3)}, strides=1, padding="same")')


@register(PRESERVING, 3, WIDE)
def add_excitation(draft: Draft) -> None:
    """Scale features by a gate that is computed from a pooled vector."""
    width = draft.features
    pool = draft.pick("L.GlobalAveragePooling1D()", "MaskedMean()", "L.GlobalMaxPooling1D()")
    layers = {"pool": pool, "gate": f'L.Dense({width}, activation="sigmoid")'}
    argument = draft.mask_argument() if "Max" not in pool else "({x})"
    lines = [f"gate = {{gate}}({{pool}}{argument})"]
    if draft.chance(0.5):
        layers |= {"shape": f"L.Reshape((1, {width}))", "merge": "L.Multiply()"}
        lines.append("{y} = {merge}([{x}, {shape}(gate)])")
    else:
        lines.append("{y} = {x} * ops.expand_dims(gate, 1)")
    draft.add(*lines, layers=layers)


@register(PRESERVING, 2, WIDE)
def add_gated_convolution(draft: Draft) -> None:
    filters, padding = draft.pick(3, 4), draft.pick("same", "causal")
    layers = {
        "conv": f'L.Conv1D({filters}, 2, padding="{padding}")',
        "gate": f'L.Conv1D({filters}, 2, padding="{padding}", activation="sigmoid")',
        "merge": "L.Multiply()",
    }
    last = draft.pick("{merge}([{conv}({x}), {gate}({x})])", "{conv}({x}) * {gate}({x})")
    draft.add(f"{{y}} = {last}", layers=layers, width=filters)


@register(PRESERVING, 2, WIDE)
def add_other_merge(draft: Draft) -> None:
    width = draft.features
    kind = draft.pick("Subtract", "Maximum", "Minimum", "Add")
    branch = draft.pick(
        f"L.Dense({width})", "L.LayerNormalization()", f"L.GRU({width}, return_sequences=True)", "BareScale()"
    )
    draft.add("{y} = {merge}([{x}, {branch}({x})])", layers={"branch": branch, "merge": f"L.{kind}()"})


@register(PRESERVING, 2, WIDE)
def add_transposition(draft: Draft) -> None:
    """Exchange the axes of time and features, and back."""
    text = draft.pick("ops.tanh({x}_turned)", "ops.softmax({x}_turned, axis=-1)", "ops.softmax({x}_turned, axis=1)")
    draft.add("{x}_turned = ops.transpose({x}, (0, 2, 1))", f"{{y}} = ops.transpose({text}, (0, 2, 1))")


# Steps that change the time axis


@register(CHANGING, 3, WIDE)
def add_cropping(draft: Draft) -> None:
    sides, text, move = draft.pick(("(1, 0)", "1:", ("cut", 1, None)), ("(0, 1)", ":-1", ("cut", 0, -1)))
    lines = ["{y} = {crop}({x})"] + ([f"{{n}} = {{m}}[:, {text}]"] if draft.mask else [])
    draft.add(*lines, layers={"crop": f"L.Cropping1D({sides})"}, move=move)


@register(CHANGING, 2, WIDE)
def add_strided_pool(draft: Draft) -> None:
    kind = draft.pick("MaxPooling1D", "AveragePooling1D")
    lines = ["{y} = {pool}({x})"] + (["{n} = {m}[:, 2:]"] if draft.mask else [])
    draft.add(*lines, layers={"pool": f"L.{kind}(3, strides=1)"}, move=("windows", 3, 1))


@register(CHANGING, 2, WIDE)
def add_first_zero(draft: Draft) -> None:
    """Put a timestep of zeros first, as decoders do."""
    lines = ["{y} = {pad}({x})"]
    if draft.mask:
        lines.append("{n} = ops.concatenate([ops.ones_like({m}[:, :1]), {m}], axis=1)")
    draft.add(*lines, layers={"pad": "L.ZeroPadding1D((1, 0))"}, move=("prefix",))


# Steps that end the time axis


@register(POOLING, 4, WIDE)
def add_gathered_timestep(draft: Draft) -> None:
    """Gather the last valid timestep, by the number of valid ones or by the greatest index."""
    if not draft.mask:
        return add_custom_pool(draft)
    last = draft.pick(
        'ops.sum(ops.cast({m}, "int32"), axis=1) - 1',
        'ops.max(ops.cast({m}, "int32") * ops.arange(ops.shape({x})[1], dtype="int32"), axis=1)',
        'ops.shape({x})[1] - 1 - ops.cast(ops.argmax(ops.flip(ops.cast({m}, "int32"), axis=1), axis=1), "int32")',
    )
    return draft.add(
        f"{{x}}_last = {last}",
        "{y} = ops.squeeze(ops.take_along_axis({x}, ops.reshape({x}_last, (-1, 1, 1)), axis=1), 1)",
        **POOL,
    )


@register(POOLING, 4, WIDE)
def add_attention_pool_of_operations(draft: Draft) -> None:
    """Sum timesteps by a softmax over time of a score; the mask comes before it, after it, or is missing."""
    lines = ["{x}_scores = ops.squeeze({score}({x}), -1)"]
    after = ""
    if draft.mask:
        before, after = draft.pick(
            ("ops.where({m}, {x}_scores, -1e9)", ""),
            ("{x}_scores + (1.0 - ops.cast({m}, {x}_scores.dtype)) * -1e9", ""),
            ("{x}_scores * ops.cast({m}, {x}_scores.dtype)", ""),
            ("{x}_scores", " * ops.cast({m}, {x}.dtype)"),
            ("ops.where({m}, {x}_scores, -10.0)", ""),
        )
        lines.append(f"{{x}}_scores = {before}")
    lines.append(f"{{x}}_weights = ops.softmax({{x}}_scores, axis=-1){after}")
    lines.append('{y} = ops.einsum("bt,btd->bd", {x}_weights, {x})')
    draft.add(*lines, layers={"score": f"L.Dense(1{draft.pick('', ', use_bias=False')})"}, **POOL)


@register(POOLING, 4, WIDE)
def add_other_reduction(draft: Draft) -> None:
    texts = [
        "ops.std({x}, axis=1)",
        "ops.logsumexp({x}, axis=1)",
        "ops.max(ops.sort({x}, axis=1)[:, -2:], axis=1)",
        "ops.concatenate([ops.mean({x}, axis=1), ops.max({x}, axis=1)], axis=-1)",
        "ops.prod(1.0 + 0.1 * {x}, axis=1)",
    ]
    if draft.mask and draft.chance(0.7):
        texts = [
            f"ops.mean({{x}} * {RATES}, axis=1)",
            f"ops.sum({{x}} * {RATES}, axis=1)",
            f"ops.logsumexp(ops.where({RATES} > 0, {{x}}, -1e9), axis=1)",
            f"ops.max({{x}} * {RATES}, axis=1)",
            f"ops.min(ops.where({RATES} > 0, {{x}}, 1e9), axis=1)",
            f"ops.sum({{x}} * {RATES}, axis=1) / ops.cast(ops.shape({{x}})[1], {{x}}.dtype)",
            f"ops.sqrt(ops.sum(ops.square({{x}}) * {RATES}, axis=1) + 1e-6)",
        ]
    text = draft.rng.choice(texts)
    draft.add(f"{{y}} = {text}", width=2 * draft.features if "concat" in text else None, **POOL)


@register(POOLING, 3, WIDE)
def add_pooled_directions(draft: Draft) -> None:
    units = draft.pick(2, 3)
    merge = draft.pick("sum", "mul", "ave", "concat")
    width = 2 * units if merge == "concat" else units
    kind = draft.pick(f"L.GRU({units})", f"L.RNN([L.GRUCell(2), L.LSTMCell({units})])", f"L.SimpleRNN({units})")
    draft.layer(f'L.Bidirectional({kind}, merge_mode="{merge}")', width, draft.mask_argument(), **POOL)


@register(POOLING, 3, WIDE)
def add_two_sequences(draft: Draft) -> None:
    """Encode two sequences with one encoder, or one after the other, and join them."""
    if "z" not in draft.width or draft.variable != "x":
        return add_custom_pool(draft)
    width, units = draft.features, draft.pick(2, 3)
    layers = {"fit": f"L.Dense({width})"}
    if draft.chance(0.4):
        pool = draft.pick(f"L.LSTM({units})", "L.GlobalAveragePooling1D()", "MaskedMean()", "L.GlobalMaxPooling1D()")
        layers |= {"join": "L.Concatenate(axis=1)", "pool": pool}
        return draft.add(
            "{y} = {pool}({join}([{x}, {fit}(z)]))", layers=layers, width=units if "LSTM" in pool else width, **POOL
        )
    encoder = draft.pick(
        f"L.GRU({units})", f"L.Bidirectional(L.LSTM({units}))", "L.GlobalAveragePooling1D()", "MaskedMean()"
    )
    layers["encoder"] = encoder
    last = draft.pick(
        "ops.abs({y}_a - {y}_b)", "ops.concatenate([{y}_a, {y}_b, {y}_a * {y}_b], axis=-1)", "{cosine}([{y}_a, {y}_b])"
    )
    if "cosine" in last:
        layers["cosine"] = "L.Dot(axes=1, normalize=True)"
    return draft.add(
        "{y}_a = {encoder}({x})", "{y}_b = {encoder}({fit}(z))", f"{{y}} = {last}", layers=layers, width=4, **POOL
    )


@register(POOLING, 2, WIDE)
def add_pooled_model(draft: Draft) -> None:
    """End with a model inside the model."""
    units = draft.features
    inner = draft.pick(
        f"nested((None, {units}), L.LSTM(3))",
        f"keras.Sequential([L.Dense({units}), L.GlobalAveragePooling1D()])",
        f"nested((None, {units}), Scale(), L.GlobalAveragePooling1D())",
        f"keras.Sequential([L.GRU({units}, return_sequences=True), L.GRU(3)])",
    )
    draft.layer(inner, None, draft.mask_argument(0.5), **POOL)


# Outputs per timestep


@register(HEADS, 2, WIDE)
def add_context_head(draft: Draft) -> None:
    """Add a pooled vector to each timestep before the classes."""
    pool = draft.pick("L.GlobalAveragePooling1D()", "L.GlobalMaxPooling1D()", "MaskedMean()", "L.GRU(3)")
    argument = draft.mask_argument() if "Max" not in pool else "({x})"
    width = draft.features
    layers = {"pool": pool, "fit": f"L.Dense({width})", "head": "L.Dense(3)"}
    draft.add(f"{{y}} = {{head}}({{x}} + ops.expand_dims({{fit}}({{pool}}{argument}), 1))", layers=layers, width=3)


@register(HEADS, 1, WIDE)
def add_masked_head(draft: Draft) -> None:
    if not draft.mask:
        return add_custom_layer(draft)
    return draft.add(f"{{y}} = {{head}}({{x}}) * {RATES}", layers={"head": "L.Dense(2)"}, width=2)
