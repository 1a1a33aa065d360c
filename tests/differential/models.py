"""A seeded generator of models with padded data.

A case is a program, a list of steps of source code, with the rows of its inputs. ``make_source`` writes the program as
a Keras model of its style, and ``assemble`` pads the rows. Each step also describes its effect on the time axis, so
that the oracle knows which timestep of an output belongs to which timestep of the data.
"""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import keras
import numpy as np

from tests.differential.layers import NAMES

Array = Any


class Label(NamedTuple):
    """The timesteps of the data that an output timestep belongs to.

    Attributes:
        first: the first of them, counted from the first valid timestep of the row; negative before it.
        last: the last of them.
        kind: ``data``, or ``new`` for timesteps that the model adds, or ``mixed`` for windows over both.
    """

    first: int
    last: int
    kind: str = "data"

    def is_valid(self, length: int, surely: bool) -> bool:
        """Return whether it is valid; windows over valid timesteps and padding are, unless ``surely``."""
        if self.kind != "data":
            return self.kind == "new" or not surely
        if surely:
            return self.first >= 0 and self.last < length
        return self.last >= 0 and self.first < length


Timeline = list[Label] | None


def _merge(labels: list[Label]) -> Label:
    kinds = {label.kind for label in labels}
    return Label(
        min(label.first for label in labels),
        max(label.last for label in labels),
        kinds.pop() if len(kinds) == 1 else "mixed",
    )


def move_timeline(labels: Timeline, move: tuple[Any, ...]) -> Timeline:
    """Return the timesteps after a step; None if it has no time axis."""
    kind, arguments = move[0], move[1:]
    if kind == "generate":
        return [Label(step, step, "new") for step in range(arguments[0])]
    if labels is None or kind == "pool":
        return None if kind == "pool" else labels
    moves: dict[str, Callable[..., list[Label]]] = {
        "same": lambda: labels,
        "reverse": lambda: labels[::-1],
        "cut": lambda start, stop: labels[start:stop],
        "windows": lambda size, stride: [
            _merge(labels[start : start + size]) for start in range(0, len(labels) - size + 1, stride)
        ],
        "strides": lambda stride: [_merge(labels[start : start + stride]) for start in range(0, len(labels), stride)],
        "every": lambda stride: labels[::stride],
        "prefix": lambda: [Label(0, 0, "new"), *labels],
        "repeat": lambda times: [label for label in labels for _ in range(times)],
    }
    return moves[kind](*arguments)


@dataclasses.dataclass(frozen=True)
class Step:
    """A part of a program.

    Attributes:
        layers: by placeholder, the expression that creates a layer.
        lines: source code with placeholders of layers, of the variable ``{x}`` and its mask ``{m}``.
        variable: the variable that it reads.
        result: the variable that it assigns.
        move: its effect on the time axis, see ``move_timeline``.
        traits: facts that the oracle needs: ``positions``, ``stride``.
        group: a number that steps share which make sense only together.
    """

    layers: dict[str, str]
    lines: tuple[str, ...]
    variable: str = "x"
    result: str = "x"
    move: tuple[Any, ...] = ("same",)
    traits: tuple[str, ...] = ()
    group: int = 0


@dataclasses.dataclass(frozen=True)
class Source:
    """An input of the model.

    Attributes:
        name: its name in the data.
        kind: ``ids``, ``features``, ``words``, ``frames``, ``mask``, ``types`` or ``static``.
        axis: its time axis: ``T`` or ``S``, empty for ``static``.
        width: ids below it, or the number of features.
        padding: the value at padding.
        content_makes_mask: whether other content at padding would change the mask.
        dtype: of its array.
    """

    name: str
    kind: str
    axis: str
    width: int
    padding: float = 0.0
    content_makes_mask: bool = False
    dtype: str = "int32"


@dataclasses.dataclass(frozen=True)
class Case:
    """A model with its data.

    Attributes:
        seed: it reproduces the case.
        style: ``functional``, ``sequential``, or ``subclassed``.
        nest: how the model takes several inputs, and returns outputs: ``one``, ``list`` or ``dict``.
        fixed: whether the model takes only the length of its data.
        side: ``pre`` or ``post``.
        sources: the inputs.
        steps: the program.
        outputs: the variables that the model returns.
        lengths: by axis, the lengths of the rows.
        slack: timesteps of padding that every row has.
        form: the data as people have it: ``ragged``, ``padded``, ``masked`` (with ``NAME.mask``), or ``maskless``
            (without the mask that is an input).
        trained: whether weights are noisy, as after training.
    """

    seed: int
    style: str
    nest: str
    fixed: bool
    side: str
    sources: tuple[Source, ...]
    steps: tuple[Step, ...]
    outputs: tuple[str, ...]
    lengths: dict[str, tuple[int, ...]]
    slack: int
    form: str
    trained: bool

    @property
    def padded_lengths(self) -> dict[str, int]:
        """The timesteps of each axis."""
        return {axis: max(lengths) + self.slack for axis, lengths in self.lengths.items()}

    @property
    def padding_is_present(self) -> bool:
        """Whether any row has padding."""
        words = any(source.kind == "words" for source in self.sources)
        return words or any(min(lengths) < self.padded_lengths[axis] for axis, lengths in self.lengths.items())


# Programs


def make_source(case: Case) -> str:
    """Return the program as Python source, with a function ``build(T, S)``."""
    names: dict[int, dict[str, str]] = {}
    layers = []
    for index, step in enumerate(case.steps):
        names[index] = {placeholder: f"{placeholder}_{index}" for placeholder in step.layers}
        layers += [(names[index][placeholder], text) for placeholder, text in step.layers.items()]
    if case.style == "sequential":
        return _write_sequential(case, layers)
    prefix = "self." if case.style == "subclassed" else ""
    lines = []
    for index, step in enumerate(case.steps):
        words = {key: prefix + name for key, name in names[index].items()}
        words |= {"x": step.variable, "y": step.result, "m": f"{step.variable}_mask", "n": f"{step.result}_mask"}
        lines += [line.format(**words) for line in step.lines]
    write = _write_subclassed if case.style == "subclassed" else _write_functional
    return write(case, layers, lines)


def _nest(names: Iterable[str], nest: str) -> str:
    names = list(names)
    if nest == "dict":
        return "{" + ", ".join(f'"{name}": {name}' for name in names) + "}"
    return names[0] if len(names) == 1 else f"[{', '.join(names)}]"


def _shape(case: Case, source: Source) -> str:
    axis = source.axis if case.fixed else "None"
    shapes = {
        "static": f"({source.width},)",
        "features": f"({axis}, {source.width})",
        "frames": f"({axis}, {source.width}, {source.width})",
        "words": f"({axis}, {'W' if case.fixed else 'None'})",
    }
    return shapes.get(source.kind, f"({axis},)")


def _inputs(case: Case) -> list[str]:
    lines = []
    for source in case.sources:
        dtype = "" if source.dtype == "float" else f'dtype="{source.dtype}", '
        lines.append(f'{source.name} = keras.Input({_shape(case, source)}, {dtype}name="{source.name}")')
    return lines


def _write_functional(case: Case, layers: list[tuple[str, str]], lines: list[str]) -> str:
    body = _inputs(case) + [f"{name} = {text}" for name, text in layers] + lines
    inputs = _nest((source.name for source in case.sources), case.nest)
    body.append(f"return keras.Model({inputs}, {_nest(case.outputs, _output_nest(case))})")
    return "def build(T, S=None, W=None):\n" + "".join(f"    {line}\n" for line in body)


def _output_nest(case: Case) -> str:
    return "dict" if case.nest == "dict" and len(case.outputs) > 1 else "list"


def _write_sequential(case: Case, layers: list[tuple[str, str]]) -> str:
    texts = [_inputs(case)[0].partition(" = ")[2], *(text for _, text in layers)]
    body = "".join(f"        {text},\n" for text in texts)
    return f"def build(T, S=None, W=None):\n    return keras.Sequential([\n{body}    ])\n"


def _write_subclassed(case: Case, layers: list[tuple[str, str]], lines: list[str]) -> str:
    names = [source.name for source in case.sources]
    take = [f"{', '.join(names)} = inputs"]
    if case.nest == "dict":
        take = [f'{name} = inputs["{name}"]' for name in names]
    sizes = ["T, S, W = self.sizes"] if any("T" in line.split("=", 1)[-1] for line in lines) else []
    create = ["super().__init__()", "self.sizes = (T, S, W)"] + [f"self.{name} = {text}" for name, text in layers]
    call = take + sizes + lines + [f"return {_nest(case.outputs, _output_nest(case))}"]
    return (
        "class Built(keras.Model):\n    def __init__(self, T, S, W):\n"
        + "".join(f"        {line}\n" for line in create)
        + "\n    def call(self, inputs):\n"
        + "".join(f"        {line}\n" for line in call)
        + "\n\ndef build(T, S=None, W=None):\n    return Built(T, S, W)\n"
    )


def describe(case: Case) -> str:
    """Return the program with a description of its data."""
    lengths = ", ".join(f"{axis} {' '.join(map(str, rows))}" for axis, rows in case.lengths.items())
    about = (
        f"# seed {case.seed}: {case.side}-padding, rows of {lengths} timesteps"
        f"{f', {case.slack} more of padding' if case.slack else ''}, data {case.form}, "
        f"{'trained' if case.trained else 'fresh'} weights\n"
    )
    sources = "".join(
        f"# {source.name}: {source.kind}, padding {source.padding:g}\n" for source in case.sources if source.axis
    )
    return about + sources + make_source(case)


def build(case: Case, sizes: dict[str, int], dtype: str = "float32") -> Any:
    """Build the model for a number of timesteps, with weights that depend on the seed only."""
    namespace = NAMES | {"__name__": "tests.differential.case"}
    policy = keras.config.dtype_policy()
    floatx = keras.config.floatx()
    try:
        keras.config.set_floatx(dtype)
        keras.config.set_dtype_policy(dtype)
        keras.utils.set_random_seed(case.seed)
        code = compile(make_source(case), f"<case {case.seed}>", "exec")
        exec(code, namespace)  # noqa: S102 -- the source comes from the generator
        model = namespace["build"](**sizes)
        if not model.built:
            model(take_inputs(case, assemble(case)))
    finally:
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(policy)
    return model


def measure_sizes(case: Case) -> dict[str, int]:
    """Return the sizes that the program is built for."""
    words = next((source.width for source in case.sources if source.kind == "words"), None)
    return case.padded_lengths | ({} if words is None else {"W": WORDS})


def make_model(case: Case) -> Any:
    """Return the model of a case, as a user has it."""
    model = build(case, measure_sizes(case))
    if case.trained:
        model.set_weights(disturb(model, case.seed))
    return model


def disturb(model: Any, seed: int, amount: float = 0.2) -> list[Array]:
    """Return the weights with noise, as training leaves them; statistics stay."""
    rng = np.random.default_rng(seed)
    weights = []
    for variable in model.weights:
        value = np.asarray(variable)
        noise = amount * rng.standard_normal(value.shape)
        moves = variable.trainable and np.issubdtype(value.dtype, np.floating)
        weights.append((value + noise).astype(value.dtype) if moves else value)
    return weights


# Data

WORDS = 4
"""The words of a sentence, with padding."""


@dataclasses.dataclass(frozen=True)
class Variant:
    """The data of a case with other padding, or other content.

    Attributes:
        rows: the rows to take; None for all.
        sizes: by axis, the timesteps, instead of those of the case.
        words: the words of a sentence.
        fill: a seed for the content of padding, where that changes no mask; None leaves it.
        renew: the first valid timestep that gets other content; the timesteps before it stay.
        keep: a row whose content stays when other content is drawn.
    """

    rows: tuple[int, ...] | None = None
    sizes: dict[str, int] = dataclasses.field(default_factory=dict)
    words: int = WORDS
    fill: int | None = None
    renew: int | None = None
    keep: int | None = None


def draw_rows(case: Case, source: Source) -> list[Array]:
    """Return the content of each row of an input, without padding."""
    rng = np.random.default_rng([case.seed, sum(map(ord, source.name))])
    return [draw_content(source, length, rng) for length in _row_lengths(case, source)]


def _row_lengths(case: Case, source: Source) -> tuple[int, ...]:
    return case.lengths[source.axis or next(iter(case.lengths))]


def draw_content(source: Source, length: int, rng: np.random.Generator) -> Array:
    """Return random content of one row; never the value of padding."""
    if source.kind == "ids":
        return rng.integers(1, source.width, length)
    if source.kind == "words":
        sentences = np.zeros((length, WORDS), int)
        for sentence in sentences:
            count = rng.integers(1, WORDS + 1)
            sentence[:count] = rng.integers(1, source.width, count)
        return sentences
    if source.kind == "mask":
        return np.ones(length)
    if source.kind == "types":
        return (np.arange(length) >= length // 2).astype(int)
    shapes = {"features": (length, source.width), "frames": (length, source.width, source.width)}
    return rng.standard_normal(shapes.get(source.kind, (source.width,))).round(3)


def assemble(case: Case, variant: Variant | None = None) -> dict[str, Array]:
    """Return padded arrays by input name."""
    variant = variant or Variant()
    return {source.name: _assemble_source(case, source, variant) for source in case.sources}


def _assemble_source(case: Case, source: Source, variant: Variant) -> Array:
    rows = draw_rows(case, source)
    if variant.renew is not None:
        rows = [_renew(source, row, variant, index) for index, row in enumerate(rows)]
    chosen = range(len(rows)) if variant.rows is None else variant.rows
    rows = [rows[index] for index in chosen]
    dtype = "float32" if source.dtype == "float" else source.dtype
    if not source.axis:
        return np.array(rows, dtype)
    size = variant.sizes.get(source.axis, case.padded_lengths[source.axis])
    rng = np.random.default_rng(variant.fill)
    array = np.full((len(rows), size, *rows[0].shape[1:]), source.padding, dtype)
    if variant.fill is not None and source.kind == "features" and not source.content_makes_mask:
        array = rng.normal(0, 2, array.shape).astype(dtype)
    for place, row in zip(array, rows, strict=True):
        place[slice(size - len(row), None) if case.side == "pre" else slice(len(row))] = row
    if source.kind == "words":
        more = np.zeros((*array.shape[:2], max(variant.words - WORDS, 0)), dtype)
        return np.concatenate([array, more], axis=2)[:, :, : variant.words]
    return array


def _renew(source: Source, row: Array, variant: Variant, index: int) -> Array:
    """Return a row with other content: from a timestep on of the first sequence only, or all of it."""
    start = variant.renew or 0
    if index == variant.keep or source.kind in ("mask", "types") or (start > 0 and source.axis != "T"):
        return row
    fresh = draw_content(source, len(row), np.random.default_rng([index, start, 5]))
    if source.kind == "words":  # The same words are padding.
        fresh = np.where(row == 0, 0, np.maximum(fresh, 1))
    return np.concatenate([row[:start], fresh[start:]])


def take_inputs(case: Case, arrays: dict[str, Array]) -> Any:
    """Return arrays in the nest that the model takes."""
    values = [arrays[source.name] for source in case.sources]
    if case.nest == "dict":
        return arrays
    return values[0] if len(values) == 1 else values


def valid_timesteps(case: Case, source: Source) -> Array:
    """Return which timesteps of an input are valid, ``(rows, timesteps)``."""
    lengths = np.array(case.lengths[source.axis])
    steps = np.arange(case.padded_lengths[source.axis])
    if case.side == "pre":
        steps = steps[::-1]
    return steps < lengths[:, None]


def present(case: Case) -> Any:
    """Return the data as a user gives it to maskcli."""
    if case.form == "ragged":
        return [row.tolist() for row in draw_rows(case, case.sources[0])]
    arrays = assemble(case)
    if case.form == "masked":
        for source in case.sources:
            if source.kind == "words":
                arrays[f"{source.name}.mask"] = arrays[source.name] != 0
            elif source.kind in ("ids", "features", "frames"):
                arrays[f"{source.name}.mask"] = valid_timesteps(case, source)
    if case.form == "maskless":
        arrays = {source.name: arrays[source.name] for source in case.sources if source.kind != "mask"}
    names = list(arrays)
    if case.nest == "dict" or case.style == "functional":
        random.Random(case.seed).shuffle(names)
    return {name: arrays[name] for name in names}


def timelines(case: Case, lengths: dict[str, int], sizes: dict[str, int]) -> dict[str, Timeline]:
    """Return, for one row, the timesteps that each output belongs to.

    Args:
        lengths: by axis, of this row.
        sizes: by axis, the padded timesteps.
    """
    lines: dict[str, Timeline] = {}
    for axis, size in sizes.items():
        if axis in lengths:
            start = size - lengths[axis] if case.side == "pre" else 0
            lines[axis] = [Label(step - start, step - start) for step in range(size)]
    for source in case.sources:
        lines[source.name] = lines.get(source.axis)
    for step in case.steps:
        lines[step.result] = move_timeline(lines.get(step.variable), step.move)
    return {output: lines[output] for output in case.outputs}


# Cases as JSON


def to_json(case: Case) -> str:
    """Return a case as one line of JSON."""
    return json.dumps(dataclasses.asdict(case))


def from_json(text: str) -> Case:
    """Return the case of ``to_json``."""
    document = json.loads(text)
    document["sources"] = tuple(Source(**source) for source in document["sources"])
    document["steps"] = tuple(
        Step(**{key: tuple(value) if isinstance(value, list) else value for key, value in step.items()})
        for step in document["steps"]
    )
    document["outputs"] = tuple(document["outputs"])
    document["lengths"] = {axis: tuple(rows) for axis, rows in document["lengths"].items()}
    return Case(**document)
