"""The steps of random programs, many of them with a usual fault."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.differential.models import Source, Step

Maker = Callable[["Draft"], None]


class Choice(NamedTuple):
    """A step that may be drawn, with its weight, and the first seed that draws it."""

    weight: float
    maker: Maker
    since: int = 0


PRESERVING: list[Choice] = []
"""Steps that keep the time axis."""
CHANGING: list[Choice] = []
"""Steps that cut, reverse, thin or extend the time axis."""
POOLING: list[Choice] = []
"""Steps that end the time axis."""
HEADS: list[Choice] = []
"""Outputs per timestep."""

RATES = "ops.expand_dims(ops.cast({m}, {x}.dtype), -1)"
"""The mask as numbers that broadcast over features."""


def register(steps: list[Choice], weight: float, since: int = 0) -> Callable[[Maker], Maker]:
    """Return a decorator that adds a step to those that are drawn."""

    def add(maker: Maker) -> Maker:
        steps.append(Choice(weight, maker, since))
        return maker

    return add


class Draft:
    """A program in the making.

    Attributes:
        rng: of the seed.
        seed: of the case.
        style: as in ``Case``.
        fixed: as in ``Case``.
        steps: drawn so far.
        variable: the variable that steps change now.
        width: the features of each variable.
        masks: variables whose mask the program has as a variable.
        sources: drawn so far.
        group: the number of the residual branch that steps belong to; 0 outside.
    """

    def __init__(self, rng: random.Random, seed: int, style: str, fixed: bool, side: str) -> None:
        self.rng, self.seed, self.style, self.fixed, self.side = rng, seed, style, fixed, side
        self.steps: list[Step] = []
        self.sources: list[Source] = []
        self.variable = "x"
        self.width: dict[str, int] = {}
        self.masks: set[str] = set()
        self.group = 0

    @property
    def mask(self) -> bool:
        """Whether the program has the mask as a variable."""
        return self.variable in self.masks

    @property
    def features(self) -> int:
        """The features of the present variable."""
        return self.width[self.variable]

    def chance(self, probability: float) -> bool:
        """Return True with a probability."""
        return self.rng.random() < probability

    def pick(self, *options: Any) -> Any:
        """Return one of the options."""
        return self.rng.choice(options)

    def add(self, *lines: str, width: int | None = None, result: str | None = None, **details: Any) -> None:
        """Append a step; keywords in ``layers`` are its layers."""
        layers = details.pop("layers", {})
        result = result or self.variable
        self.steps.append(
            Step(layers, lines, details.pop("variable", self.variable), result, group=self.group, **details)
        )
        self.width[result] = width or self.width.get(self.variable, 1)

    def layer(self, expression: str, width: int | None = None, call: str = "({x})", **details: Any) -> None:
        """Append a step that applies one layer."""
        self.add(f"{{y}} = {{layer}}{call}", width=width, layers={"layer": expression}, **details)

    def draw(self, steps: list[Choice]) -> None:
        """Append one of the steps that the seed draws."""
        known = [choice for choice in steps if choice.since <= self.seed]
        self.rng.choices(known, [choice.weight for choice in known])[0].maker(self)

    def mask_argument(self, probability: float = 0.7) -> str:
        """Return the arguments of a call, often with the mask if the program has it."""
        return "({x}, mask={m})" if self.mask and self.chance(probability) else "({x})"


# Steps that keep the time axis


def _cell(draft: Draft, options: str = "") -> tuple[str, int]:
    units = draft.pick(2, 3, 4)
    return f"L.{draft.pick('SimpleRNN', 'GRU', 'LSTM')}({units}{options})", units


@register(PRESERVING, 8)
def add_rnn(draft: Draft) -> None:
    options = ", return_sequences=True"
    if draft.fixed and draft.chance(0.2):
        options += ", unroll=True"
    if draft.chance(0.1):
        options += ", zero_output_for_mask=True"
    cell, units = _cell(draft, options)
    draft.layer(cell, units, draft.mask_argument())


@register(PRESERVING, 4)
def add_bidirectional(draft: Draft) -> None:
    cell, units = _cell(draft, ", return_sequences=True")
    merge = draft.pick("concat", "concat", "sum", "ave")
    width = 2 * units if merge == "concat" else units
    draft.layer(f'L.Bidirectional({cell}, merge_mode="{merge}")', width, draft.mask_argument())


@register(PRESERVING, 2)
def add_states(draft: Draft) -> None:
    kind, units = draft.pick("GRU", "LSTM"), draft.pick(2, 3, 4)
    layers = {
        "encoder": f"L.{kind}({units}, return_sequences=True, return_state=True)",
        "decoder": f"L.{kind}({units}, return_sequences=True)",
    }
    mask = ", mask={m}" if draft.mask else ""
    draft.add(
        f"{{y}}, *states = {{encoder}}({{x}}{mask})",
        f"{{y}} = {{decoder}}({{y}}, initial_state=states{mask})",
        layers=layers,
        width=units,
    )


@register(PRESERVING, 6)
def add_dense(draft: Draft) -> None:
    units, activation = draft.pick(3, 4, 6), draft.pick("relu", "tanh", "linear", "gelu")
    dense = f'L.Dense({units}, activation="{activation}")'
    draft.layer(f"L.TimeDistributed({dense})" if draft.chance(0.25) else dense, units)


@register(PRESERVING, 4)
def add_convolution(draft: Draft) -> None:
    filters, size = draft.pick(3, 4), draft.pick(2, 3)
    padding = draft.pick("same", "same", "causal")
    kind = "Conv1D" if padding == "causal" else draft.pick("Conv1D", "Conv1D", "SeparableConv1D")
    dilation = ", dilation_rate=2" if kind == "Conv1D" and draft.chance(0.2) else ""
    lines = (f"{{x}} = {{x}} * {RATES}",) if draft.mask and draft.chance(0.6) else ()
    layers = {"conv": f'L.{kind}({filters}, {size}, padding="{padding}"{dilation})'}
    draft.add(*lines, "{y} = {conv}({x})", layers=layers, width=filters)


@register(PRESERVING, 2)
def add_masked_convolution(draft: Draft) -> None:
    filters = draft.pick(3, 4)
    draft.layer(f"MaskedConv({filters}, zeroes={draft.chance(0.7)})", filters, draft.mask_argument())


@register(PRESERVING, 5)
def add_multi_head_attention(draft: Draft) -> None:
    arguments = ["{x}", "{x}"]
    if draft.mask:
        right = "attention_mask=ops.expand_dims({m}, 1)"
        wrong = draft.pick(
            "attention_mask=ops.expand_dims({m}, 2)", "attention_mask=ops.logical_not(ops.expand_dims({m}, 1))"
        )
        arguments.append(draft.rng.choices([right, wrong], [0.75, 0.25])[0])
    if draft.chance(0.3):
        arguments.append("use_causal_mask=True")
    kind = draft.pick("MultiHeadAttention(2, 3)", "MultiHeadAttention(1, 4)", "GroupQueryAttention(3, 2, 1)")
    draft.layer(f"L.{kind}", None, f"({', '.join(arguments)})")


@register(PRESERVING, 3)
def add_attention(draft: Draft) -> None:
    kind = draft.pick("Attention()", "Attention(use_scale=True)", "AdditiveAttention()")
    arguments = ["[{x}, {x}]"]
    if draft.mask and draft.chance(0.8):
        arguments.append("mask=[{m}, {m}]")
    if draft.chance(0.25):
        arguments.append("use_causal_mask=True")
    draft.layer(f"L.{kind}", None, f"({', '.join(arguments)})")


@register(PRESERVING, 3)
def add_attention_by_hand(draft: Draft) -> None:
    hides = draft.rng.choices(["keys", "none", "queries", "inverted"], [6, 1, 1, 1])[0]
    draft.layer(f'SelfAttention("{hides}", causal={draft.chance(0.3)})', 4, draft.mask_argument())


@register(PRESERVING, 3)
def add_attention_of_operations(draft: Draft) -> None:
    """Attend with single operations; the mask goes to a Softmax layer, or is added to the scores."""
    if not draft.mask:
        return add_attention_by_hand(draft)
    keys = draft.rng.choices(["ops.expand_dims({m}, 1)", "ops.expand_dims({m}, 2)"], [5, 1])[0]
    layers = {"query": "L.Dense(4)", "key": "L.Dense(4)", "value": "L.Dense(4)"}
    lines = ["{x}_scores = ops.matmul({query}({x}), ops.transpose({key}({x}), (0, 2, 1)))"]
    if draft.chance(0.5):
        layers["softmax"] = "L.Softmax()"
        lines.append(f"{{x}}_weights = {{softmax}}({{x}}_scores, mask={keys})")
    else:
        lines.append(f"{{x}}_hidden = 1.0 - ops.cast({keys}, {{x}}.dtype)")
        lines.append("{x}_weights = ops.softmax({x}_scores + {x}_hidden * -1e9)")
    return draft.add(*lines, "{y} = ops.matmul({x}_weights, {value}({x}))", layers=layers, width=4)


@register(PRESERVING, 2)
def add_block(draft: Draft) -> None:
    draft.layer(f"Block(gives_mask={draft.chance(0.8)}, causal={draft.chance(0.3)})", None, draft.mask_argument())


@register(PRESERVING, 4)
def add_normalization(draft: Draft) -> None:
    kinds = ["LayerNormalization()", "BatchNormalization()", "UnitNormalization()", "RMSNormalization()"]
    kinds += ["GroupNormalization(1)"]
    draft.layer(f"L.{draft.rng.choices(kinds, [4, 2, 1, 1, 1])[0]}")


@register(PRESERVING, 3)
def add_elementwise_layer(draft: Draft) -> None:
    draft.layer(f"L.{draft.pick('Dropout(0.3)', 'SpatialDropout1D(0.2)', 'ReLU()', 'GaussianNoise(0.1)')}")


@register(PRESERVING, 3)
def add_operator(draft: Draft) -> None:
    text = draft.pick("{x} + 1.0", "{x} * 2.0", "ops.tanh({x})", "-{x}", "ops.relu({x}) + 0.5", "{x} * {x}")
    draft.add(f"{{y}} = {text}")


@register(PRESERVING, 3)
def add_positions(draft: Draft) -> None:
    draft.layer(f"Positions(learned={draft.chance(0.6)}, keeps_mask={draft.chance(0.8)})", traits=("positions",))


@register(PRESERVING, 5)
def add_custom_layer(draft: Draft) -> None:
    kinds = {
        "Scale()": 3,
        "BareScale()": 1,
        f"Center(uses_mask={draft.chance(0.7)})": 2,
        "RunningMean()": 1,
        f"LengthScale(uses_mask={draft.chance(0.6)})": 1,
        "CausalShift()": 0.5,
        "RowCenter()": 0.3,
        "ZeroPadding()": 2,
    }
    kind = draft.rng.choices(list(kinds), list(kinds.values()))[0]
    takes_mask = kind.startswith(("Center", "LengthScale", "Zero"))
    draft.layer(kind, None, draft.mask_argument() if takes_mask else "({x})")


@register(PRESERVING, 1)
def add_zeros(draft: Draft) -> None:
    """Zero padding; often a Masking layer makes a mask of these zeros again."""
    if not draft.mask:
        return add_custom_layer(draft)
    draft.add(f"{{y}} = {{x}} * {RATES}")
    if draft.chance(0.5):
        draft.layer("L.Masking(0.0)")
    return None


@register(PRESERVING, 2)
def add_lambda(draft: Draft) -> None:
    text = draft.rng.choices(
        ["t * 2.0", "ops.tanh(t)", "t - ops.mean(t, axis=1, keepdims=True)", "ops.concatenate([t, -t], -1)"],
        [2, 2, 1, 1],
    )[0]
    draft.layer(f"L.Lambda(lambda t: {text})", 2 * draft.features if "concat" in text else None)


@register(PRESERVING, 3)
def add_nested_model(draft: Draft) -> None:
    """Apply a model as a layer, sometimes twice."""
    units = draft.features
    shape = f"({'T' if draft.fixed and draft.style != 'subclassed' and is_on_data_axis(draft) else 'None'}, {units})"
    inner = [draft.pick("L.LSTM({0}, return_sequences=True)", "L.Dense({0})", "Scale()", "L.LayerNormalization()")]
    inner.append(draft.pick("L.GRU({0}, return_sequences=True)", 'L.Dense({0}, activation="tanh")', "L.Dropout(0.1)"))
    texts = [text.format(units) for text in inner]
    start = f"nested({shape}, " if draft.chance(0.6) else "keras.Sequential(["
    text = start + ", ".join(texts) + ("])" if start.endswith("[") else ")")
    lines = ["{y} = {inner}({x})"] * draft.pick(1, 1, 2)
    draft.add(*lines, layers={"inner": text})


def is_on_data_axis(draft: Draft) -> bool:
    """Return whether the present variable still has the timesteps of the data."""
    return draft.variable == "x" and not any(step.move[0] not in ("same", "reverse") for step in draft.steps)


@register(PRESERVING, 1)
def add_shared_layer(draft: Draft) -> None:
    draft.add("{y} = {dense}({dense}({x}))", layers={"dense": f'L.Dense({draft.features}, activation="tanh")'})


@register(PRESERVING, 2)
def add_reshape(draft: Draft) -> None:
    if draft.fixed and is_on_data_axis(draft) and draft.chance(0.6):
        if draft.chance(0.5):
            layers = {"turn": "L.Permute((2, 1))", "mix": "L.Dense(T)", "back": "L.Permute((2, 1))"}
            return draft.add("{y} = {back}({mix}({turn}({x})))", layers=layers)
        return draft.layer(f"L.Reshape((T, {draft.features}))")
    return draft.layer(f"L.Reshape((-1, {draft.features}))")


@register(PRESERVING, 2)
def add_merge(draft: Draft) -> None:
    width = draft.features
    kind = draft.pick("gate", "concatenate", "average")
    if kind == "gate":
        layers = {"gate": f'L.Dense({width}, activation="sigmoid")', "merge": "L.Multiply()"}
    elif kind == "concatenate":
        layers = {"gate": "L.Dense(3)", "merge": "L.Concatenate()"}
    else:
        layers = {"gate": f"L.LSTM({width}, return_sequences=True)", "merge": "L.Average()"}
    draft.add("{y} = {merge}([{x}, {gate}({x})])", layers=layers, width=width + 3 if kind == "concatenate" else width)


@register(PRESERVING, 4)
def add_residual(draft: Draft) -> None:
    draft.group += 1
    width, variable = draft.features, draft.variable
    skip = f"{variable}_skip{draft.group}"
    draft.add("{y} = {x}", result=skip)
    group = draft.group
    branches = {add_rnn: 8, add_multi_head_attention: 4, add_dense: 4, add_convolution: 2, add_attention: 2}
    draft.draw([Choice(weight, maker) for maker, weight in branches.items()])
    if draft.features != width:
        draft.layer(f"L.Dense({width})", width)
    draft.group = group
    if draft.chance(0.6):
        draft.add(f"{{y}} = {{add}}([{{x}}, {skip}])", layers={"add": "L.Add()"})
    else:
        draft.add(f"{{y}} = {{x}} + {skip}")
    draft.group = 0


# Steps that change the time axis


def _slice(draft: Draft, text: str, move: tuple[Any, ...], traits: tuple[str, ...] = ()) -> None:
    lines = [f"{{y}} = {{x}}[:, {text}]"]
    if draft.mask:
        lines.append(f"{{n}} = {{m}}[:, {text}]")
    draft.add(*lines, move=move, traits=traits)


@register(CHANGING, 4)
def add_slice(draft: Draft) -> None:
    text, move = draft.pick(
        (":-1", ("cut", 0, -1)), ("1:", ("cut", 1, None)), ("::-1", ("reverse",)), ("::2", ("strides", 2))
    )
    _slice(draft, text, move, ("stride",) if move[0] == "strides" else ())


@register(CHANGING, 2)
def add_backward_rnn(draft: Draft) -> None:
    """Run an RNN from the end; its outputs come reversed, and some models turn them back."""
    cell, units = _cell(draft, ", return_sequences=True, go_backwards=True")
    lines, turns_back = ["{y} = {rnn}" + draft.mask_argument()], draft.chance(0.4)
    if turns_back:
        lines.append("{y} = {y}[:, ::-1]")
    elif draft.mask:
        lines.append("{n} = {m}[:, ::-1]")
    draft.add(*lines, layers={"rnn": cell}, width=units, move=("same",) if turns_back else ("reverse",))


@register(CHANGING, 2)
def add_reversal(draft: Draft) -> None:
    turns = draft.chance(0.7)
    lines = ["{y} = {turn}({x})"]
    if draft.mask:
        lines.append("{n} = ops.flip({m}, axis=1)")
    draft.add(*lines, layers={"turn": f"Backwards(turns_mask={turns})"}, move=("reverse",))


@register(CHANGING, 2)
def add_every_second(draft: Draft) -> None:
    lines = ["{y} = {thin}({x})"] + (["{n} = {m}[:, ::2]"] if draft.mask else [])
    draft.add(*lines, layers={"thin": "EverySecond()"}, move=("strides", 2), traits=("stride",))


@register(CHANGING, 2)
def add_prefix(draft: Draft) -> None:
    lines = ["{y} = {prefix}({x})"]
    if draft.mask:
        lines.append("{n} = ops.concatenate([ops.ones_like({m}[:, :1]), {m}], axis=1)")
    draft.add(*lines, layers={"prefix": f"Prefix(keeps_mask={draft.chance(0.8)})"}, move=("prefix",))


@register(CHANGING, 3)
def add_strided_convolution(draft: Draft) -> None:
    filters = draft.pick(3, 4)
    text, move, mask = draft.pick(
        (f"L.Conv1D({filters}, 2)", ("windows", 2, 1), "{m}[:, 1:]"),
        (f"L.Conv1D({filters}, 3)", ("windows", 3, 1), "{m}[:, 2:]"),
        (f'L.Conv1D({filters}, 2, strides=2, padding="same")', ("strides", 2), "{m}[:, ::2]"),
        (f'L.Conv1D({filters}, 2, strides=2, padding="causal")', ("every", 2), "{m}[:, ::2]"),
    )
    lines = [f"{{x}} = {{x}} * {RATES}"] if draft.mask and draft.chance(0.6) else []
    lines.append("{y} = {conv}({x})")
    if draft.mask:
        lines.append(f"{{n}} = {mask}")
    traits = () if move[0] == "windows" else ("stride",)
    draft.add(*lines, layers={"conv": text}, width=filters, move=move, traits=traits)


@register(CHANGING, 2)
def add_pooled_windows(draft: Draft) -> None:
    kind = draft.pick("MaxPooling1D", "AveragePooling1D")
    padding, move, mask = draft.pick(
        ("valid", ("windows", 2, 2), "{m}[:, 1::2]"), ("same", ("strides", 2), "{m}[:, ::2]")
    )
    lines = ["{y} = {pool}({x})"] + ([f"{{n}} = {mask}"] if draft.mask else [])
    draft.add(*lines, layers={"pool": f'L.{kind}(2, padding="{padding}")'}, move=move, traits=("stride",))


@register(CHANGING, 1)
def add_repetition(draft: Draft) -> None:
    lines = ["{y} = {up}({x})"] + (["{n} = ops.repeat({m}, 2, axis=1)"] if draft.mask else [])
    draft.add(*lines, layers={"up": "L.UpSampling1D(2)"}, move=("repeat", 2))


# Steps that end the time axis

POOL = {"move": ("pool",)}


@register(POOLING, 6)
def add_average_pool(draft: Draft) -> None:
    kind = "Average" if draft.chance(0.75) else "Max"
    argument = draft.mask_argument() if kind == "Average" else "({x})"
    draft.layer(f"L.Global{kind}Pooling1D()", None, argument, **POOL)


@register(POOLING, 8)
def add_last_state(draft: Draft) -> None:
    options = ", go_backwards=True" if draft.chance(0.15) else ""
    cell, units = _cell(draft, options)
    if not options and draft.chance(0.25):
        cell, units = f"L.Bidirectional({cell})", 2 * units
    draft.layer(cell, units, draft.mask_argument(), **POOL)


@register(POOLING, 2)
def add_returned_states(draft: Draft) -> None:
    units = draft.pick(2, 3)
    mask = ", mask={m}" if draft.mask and draft.chance(0.7) else ""
    layers = {"rnn": f"L.LSTM({units}, return_state=True)"}
    draft.add(f"_, hidden, cell = {{rnn}}({{x}}{mask})", "{y} = ops.concatenate([hidden, cell], axis=-1)",
              layers=layers, width=2 * units, **POOL)  # fmt: skip


@register(POOLING, 4)
def add_custom_pool(draft: Draft) -> None:
    kind = draft.pick(
        "MaskedMean()",
        "MaskedMean()",
        "MaskedMax()",
        f'PlainPool("{draft.pick("mean", "max", "sum")}")',
        "LastValid()",
        "LastValid(by_count=True)",
        "AttentionPool(uses_mask=True)",
        "AttentionPool(uses_mask=False)",
    )
    argument = "({x})" if kind.startswith("Plain") else draft.mask_argument()
    draft.layer(kind, None, argument, **POOL)


@register(POOLING, 3)
def add_timestep(draft: Draft) -> None:
    draft.add(f"{{y}} = {{x}}[:, {draft.pick('-1', '0')}]", **POOL)


@register(POOLING, 4)
def add_reduction(draft: Draft) -> None:
    if draft.mask and draft.chance(0.75):
        if draft.chance(0.6):
            text = f"ops.sum({{x}} * {RATES}, axis=1) / ops.maximum(ops.sum({RATES}, axis=1), 1)"
        else:
            text = f"ops.max(ops.where({RATES} > 0, {{x}}, -1e9), axis=1)"
    else:
        text = f"ops.{draft.pick('mean', 'max', 'sum')}({{x}}, axis=1)"
    draft.add(f"{{y}} = {text}", **POOL)


@register(POOLING, 2)
def add_flatten(draft: Draft) -> None:
    if not (draft.fixed and is_on_data_axis(draft)):
        return add_average_pool(draft)
    return draft.layer("L.Flatten()", 8 * draft.features, **POOL)


# Outputs per timestep


@register(HEADS, 4)
def add_dense_head(draft: Draft) -> None:
    dense = draft.pick("L.Dense(1)", "L.Dense(3)", 'L.Dense(3, activation="softmax")')
    draft.layer(f"L.TimeDistributed({dense})" if draft.chance(0.3) else dense, 3)


@register(HEADS, 1)
def add_pointer_head(draft: Draft) -> None:
    draft.layer(f"Pointer(uses_mask={draft.chance(0.8)})", 1, draft.mask_argument())
