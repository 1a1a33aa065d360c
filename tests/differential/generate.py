"""Draw random cases: realistic models, many of them with a usual fault."""

from __future__ import annotations

import dataclasses
import random

import keras
import numpy as np

from tests.differential.models import Case, Source, Step, assemble, make_model, take_inputs
from tests.differential.more_steps import WIDE
from tests.differential.steps import CHANGING, HEADS, POOLING, PRESERVING, Choice, Draft


def _add_ids(draft: Draft, name: str, axis: str, variable: str, given_mask: str | None) -> None:
    vocabulary, width = 16, draft.pick(3, 4, 6)
    draft.sources.append(Source(name, "ids", axis, vocabulary))
    draft.variable, draft.width[variable] = variable, width
    masks = draft.chance(0.6) and given_mask is None
    embedding = f"L.Embedding({vocabulary}, {width}{', mask_zero=True' if masks else ''})"
    lines = [f"{{y}} = {{embedding}}({name})"]
    if given_mask is not None:
        lines.append(f'{{n}} = ops.cast({given_mask}, "bool")')
        draft.masks.add(variable)
    elif draft.chance(0.35 if masks else 0.6):
        lines.append(f"{{n}} = {{embedding}}.compute_mask({name})" if masks else f"{{n}} = ops.not_equal({name}, 0)")
        draft.masks.add(variable)
    draft.add(*lines, layers={"embedding": embedding}, width=width, variable=axis, result=variable)


def _add_features(draft: Draft, name: str, axis: str, variable: str, given_mask: str | None) -> None:
    width = draft.pick(2, 3)
    draft.variable, draft.width[variable] = variable, width
    kind = "none" if given_mask else draft.rng.choices(["masking", "by hand", "none"], [7, 1, 2])[0]
    padding = draft.pick(0.0, -1.0, -99.0, 1000.0) if kind == "masking" else 0.0
    draft.sources.append(Source(name, "features", axis, width, padding, kind != "none", "float"))
    lines, layers = [f"{{y}} = {name}"], {}
    if kind == "masking":
        lines, layers = [f"{{y}} = {{masking}}({name})"], {"masking": f"L.Masking({padding})"}
        if draft.chance(0.3):
            lines.append(f"{{n}} = {{masking}}.compute_mask({name})")
            draft.masks.add(variable)
    elif kind == "by hand":
        lines, layers = [f"{{y}} = {{find}}({name})"], {"find": "NonZeroMask()"}
    elif given_mask:
        lines.append(f'{{n}} = ops.cast({given_mask}, "bool")')
        draft.masks.add(variable)
    draft.add(*lines, layers=layers, width=width, variable=axis, result=variable)


def _add_words(draft: Draft, name: str) -> None:
    draft.sources.append(Source(name, "words", "T", 16))
    draft.variable = "x"
    width = draft.pick(3, 4)
    encode = draft.pick(f"L.LSTM({width})", "MaskedMean()", "L.GlobalAveragePooling1D()", f"L.GRU({width})")
    masks = draft.chance(0.75)
    embedding = f"L.Embedding(16, {width}{', mask_zero=True' if masks else ''})"
    if draft.chance(0.3):
        layers = {"embedding": embedding, "words": f"L.TimeDistributed(L.{draft.pick('LSTM', 'GRU')}({width}))"}
        lines = [f"{{y}} = {{words}}({{embedding}}({name}))"]
    else:
        layers = {"words": f'L.TimeDistributed(nested((None,), {embedding}, {encode}, dtype="int32"))'}
        lines = [f"{{y}} = {{words}}({name})"]
    if draft.chance(0.6):
        lines.append(f"{{n}} = ops.any(ops.not_equal({name}, 0), axis=-1)")
        draft.masks.add("x")
    draft.add(*lines, layers=layers, width=width, variable="T", result="x")


def _add_frames(draft: Draft, name: str) -> None:
    """Add pictures of 2 × 2 points, flattened before a Masking layer."""
    draft.sources.append(Source(name, "frames", "T", 2, 0.0, content_makes_mask=True, dtype="float"))
    draft.variable = "x"
    layers = {"flat": "L.TimeDistributed(L.Flatten())", "masking": "L.Masking(0.0)"}
    draft.add(f"{{y}} = {{masking}}({{flat}}({name}))", layers=layers, width=4, variable="T", result="x")


def _add_steps(draft: Draft, count: int, changing: float) -> None:
    for _ in range(count):
        draft.draw(CHANGING if draft.chance(changing) else PRESERVING)


def _add_types(draft: Draft) -> None:
    name = draft.pick("segment_ids", "token_type_ids")
    draft.sources.append(Source(name, "types", "T", 2))
    layers = {"types": f"L.Embedding(2, {draft.features})", "add": "L.Add()"}
    draft.add(f"{{y}} = {{add}}([{{x}}, {{types}}({name})])", layers=layers)


def _join_sequence(draft: Draft) -> None:
    """Let the second sequence ``z`` flow into the first."""
    width = draft.features
    kind = draft.pick("cross", "cross", "attention", "state", *(["named"] if draft.seed >= WIDE else []))
    if kind == "named" and "z" in draft.masks:
        draft.layer("L.MultiHeadAttention(2, 3)", None, "({x}, z, key_mask=z_mask, value_mask=z_mask)")
    elif kind in ("cross", "named"):
        mask = ", attention_mask=ops.expand_dims(z_mask, 1)" if "z" in draft.masks else ""
        draft.layer("L.MultiHeadAttention(2, 3)", None, f"({{x}}, z{mask})")
    elif kind == "attention":
        layers = {"fit": f"L.Dense({width})", "attend": "L.Attention()"}
        draft.add("{y} = {attend}([{x}, {fit}(z)])", layers=layers)
    else:
        layers = {
            "encoder": f"L.LSTM({width}, return_state=True)",
            "decoder": f"L.LSTM({width}, return_sequences=True)",
        }
        draft.add("_, *states = {encoder}(z)", "{y} = {decoder}({x}, initial_state=states)", layers=layers)


def _end(draft: Draft) -> tuple[str, ...]:
    """Append the outputs and return their variables."""
    kind = draft.rng.choices(["pooled", "timesteps", "both"], [6, 3, 1.5])[0]
    outputs = []
    if kind != "pooled":
        outputs.append("tags")
        start = len(draft.steps)
        width = draft.features
        draft.draw(HEADS)
        for index in range(start, len(draft.steps)):
            draft.steps[index] = Step(**{**vars(draft.steps[index]), "result": "tags"})
        draft.width["x"] = width
    if kind != "timesteps":
        draft.draw(POOLING)
        _add_vector_steps(draft)
        outputs.append("x")
    return tuple(outputs)


def _add_vector_steps(draft: Draft) -> None:
    static = next((source.name for source in draft.sources if source.kind == "static"), None)
    if static:
        layers = {"static": "L.Dense(3)", "concat": "L.Concatenate()"}
        draft.add(f"{{y}} = {{concat}}([{{x}}, {{static}}({static})])", layers=layers)
    if draft.chance(0.1):
        layers = {"repeat": "L.RepeatVector(3)", "rnn": "L.LSTM(3, return_sequences=True)"}
        draft.add("{y} = {rnn}({repeat}({x}))", layers=layers, width=3, move=("generate", 3))
    if draft.chance(0.7):
        draft.layer(f"L.Dense({draft.pick(1, 2, 3)})", 3)
    if draft.chance(0.05):
        draft.add("{y} = ops.concatenate([{x}, {x} * 3e6], axis=-1)")


def _draw_program(draft: Draft) -> tuple[str, ...]:
    if draft.style == "sequential":
        _draw_sequential(draft)
        return ("x",)
    given_mask = draft.pick("attention_mask", "padding_mask", "valid", "keep") if draft.chance(0.2) else None
    two_sequences = draft.chance(0.15)
    if two_sequences:
        draft.pick(_add_ids, _add_features)(draft, draft.pick("context", "article"), "S", "z", None)
        _add_steps(draft, draft.rng.randrange(2), 0)
    _add_main_input(draft, given_mask, words=not (given_mask or two_sequences))
    _add_steps(draft, draft.rng.randrange(3), 0.15)
    if two_sequences:
        _join_sequence(draft)
    _add_steps(draft, draft.rng.randrange(3), 0.2)
    return _end(draft)


def _add_main_input(draft: Draft, given_mask: str | None, words: bool) -> None:
    """Add the first sequence, with its mask, types and static features, if there are any."""
    kind = draft.rng.choices(["ids", "features", "words", "frames"], [6, 4, words, words / 2])[0]
    if kind == "ids":
        _add_ids(draft, draft.pick("tokens", "input_ids", "words"), "T", "x", given_mask)
    elif kind == "features":
        _add_features(draft, draft.pick("series", "frames", "signal"), "T", "x", given_mask)
    elif kind == "words":
        _add_words(draft, "sentences")
    else:
        _add_frames(draft, "pictures")
    if given_mask:
        draft.sources.append(Source(given_mask, "mask", "T", 2, dtype=draft.pick("bool", "int32", "float")))
    if kind == "ids" and draft.chance(0.1):
        _add_types(draft)
    if draft.chance(0.12):
        draft.sources.append(Source(draft.pick("static", "user"), "static", "", 3, dtype="float"))


def _draw_sequential(draft: Draft) -> None:
    """Draw steps until enough of them are single layers."""
    draft.rng.choice([_add_ids, _add_features])(draft, "tokens", "T", "x", None)
    draft.masks.clear()
    first = draft.steps[0]
    draft.steps[0] = Step(first.layers, first.lines[:1], first.variable, first.result)
    for steps, count in ((PRESERVING, draft.rng.randrange(4)), (draft.pick(POOLING, HEADS), 1)):
        for _ in range(count):
            _draw_single_layer(draft, steps)


def _draw_single_layer(draft: Draft, steps: list[Choice]) -> None:
    for _ in range(50):
        start, width = len(draft.steps), dict(draft.width)
        draft.draw(steps)
        added = draft.steps[start:]
        if len(added) == 1 and len(added[0].layers) == 1 and added[0].lines == ("{y} = {layer}({x})",):
            return
        del draft.steps[start:]
        draft.width = width


def draw_case(seed: int, attempt: int = 0) -> Case:
    """Draw a case, which may not run."""
    rng = random.Random(seed * 1000 + attempt)
    style = rng.choices(["functional", "subclassed", "sequential"], [6, 2.5, 1.5])[0]
    draft = Draft(rng, seed, style, rng.random() < 0.25, rng.choices(["post", "pre"], [3, 1])[0])
    outputs = _draw_program(draft)
    is_full = rng.random() < 0.06
    if is_full:  # Without padding, nothing shows the side that padding would be on.
        draft.side = "post"
    names = [source.name for source in draft.sources]
    nest = "one" if len(names) == 1 else rng.choice(["list", "dict"])
    lengths, slack = _draw_lengths(draft, is_full)
    form = "masked" if rng.random() < 0.35 else "padded"
    if len(names) == 1 and draft.sources[0].kind == "ids" and slack == 0 and rng.random() < 0.6:
        form = "ragged"
    kinds = [source.kind for source in draft.sources]
    if style == "functional" and "mask" in kinds and kinds[0] == "ids" and draft.chance(0.3):
        form = "maskless"
    return Case(
        seed, style, nest, draft.fixed, draft.side, tuple(draft.sources), tuple(draft.steps), outputs, lengths,
        slack, form, rng.random() < 0.6,
    )  # fmt: skip


def _draw_lengths(draft: Draft, full: bool) -> tuple[dict[str, tuple[int, ...]], int]:
    rng = draft.rng
    moves = any(step.move[0] in ("cut", "windows", "strides", "every") for step in draft.steps)
    shortest = 5 if moves else draft.pick(1, 2, 3)
    rows = rng.randrange(3, 6)
    lengths = {}
    for axis in sorted({source.axis for source in draft.sources if source.axis}):
        longest = rng.randrange(shortest + 2, shortest + 6)
        drawn = [longest, *(longest if full else rng.randrange(shortest, longest + 1) for _ in range(rows - 1))]
        if not full and len(set(drawn)) == 1:
            drawn[-1] = shortest
        rng.shuffle(drawn)
        lengths[axis] = tuple(drawn)
    slack = 0 if full or rng.random() < 0.7 else rng.randrange(1, 3)
    return lengths, slack


def generate(seed: int) -> Case:
    """Return the case of a seed: the first drawn model that runs on its data."""
    for attempt in range(30):
        case = draw_case(seed, attempt)
        if runs(case):
            return case if case.form != "maskless" or _uses_mask(case) else dataclasses.replace(case, form="padded")
    raise RuntimeError(f"seed {seed}: no drawn model runs")


def _uses_mask(case: Case) -> bool:
    """Return whether the mask that is an input changes a result; nothing shows that another one is a mask."""
    model, arrays = make_model(case), assemble(case)
    masks = {source.name: np.zeros_like(arrays[source.name]) for source in case.sources if source.kind == "mask"}
    before, after = (model(take_inputs(case, values), training=False) for values in (arrays, arrays | masks))
    pairs = zip(keras.tree.flatten(before), keras.tree.flatten(after), strict=True)
    return any(not np.array_equal(*map(keras.ops.convert_to_numpy, pair)) for pair in pairs)


def runs(case: Case) -> bool:
    """Return whether Keras builds the model and runs it on the data."""
    try:
        make_model(case)(take_inputs(case, assemble(case)), training=False)
    except Exception:  # A drawn program may be one that Keras rejects, for any reason.
        return False
    return True
