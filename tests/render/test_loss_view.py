"""The loss view on hand-made reports: the screen and the JSON document."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import hypothesis
import jsonschema
import numpy as np
import pytest
from hypothesis.extra.numpy import arrays
from hypothesis.strategies import floats, sampled_from
from rich.console import Console

from maskcli.records.arrays import Bools, Floats
from maskcli.records.inputs import ModelInput
from maskcli.records.layout import Layout
from maskcli.records.loss import (
    BatchSizeLoss,
    Contribution,
    LengthGroup,
    LossGradient,
    LossOutput,
    LossReport,
    MetricReport,
    Reduction,
)
from maskcli.records.model import ModelAbout
from maskcli.records.remark import Remark
from maskcli.records.sequences import PaddedBatch
from maskcli.render.documents import dumps, make_document
from maskcli.render.heatmap import draw_row, quantize_level
from maskcli.render.numbers import format_percent, format_significant
from maskcli.render.parts import GLYPHS, HEAT, KIND_ROLES, Heatmap, Limits
from maskcli.render.terminal import ASCII, render_bytes, render_text
from maskcli.render.views.loss import view
from maskcli.render.views.loss_batches import compute_exact_total, differs
from maskcli.render.views.loss_heat import count_shared, make_loss_heatmap
from tests.conftest import ROOT

pytestmark = pytest.mark.quick

SCHEMA = json.loads((ROOT / "maskcli" / "schemas" / "loss.json").read_text())

REDUCTIONS = (
    Reduction("keras-3", 9.142857, "sum(loss × mask) / sum(mask)", "Keras 3, sum_over_batch_size"),
    Reduction("keras-2-masked-mean", 9.0, "mean(loss × mask) / mean(mask)", "Keras 2 and tf.keras, from TensorFlow 2.12 on"),
    Reduction("all-timesteps", 7.1, "sum(loss × mask) / count(all)", "tf.keras before TensorFlow 2.12"),
    Reduction("mean-with-sample-weight", None, "sum(loss × weight × mask) / sum(weight × mask)", "Keras 3, mean_with_sample_weight"),
    Reduction("mean-of-sample-means", 9.3, "mean over samples of sum(loss × mask) / sum(mask)", "papers that average sentences"),
)  # fmt: skip


def until(lengths: Any, timesteps: int) -> Bools:
    return np.arange(timesteps) < np.asarray(lengths)[:, None]


def groups(losses: Floats, mask: Bools, lengths: Any) -> tuple[LengthGroup, ...]:
    result = []
    for length in sorted(set(lengths)):
        rows = np.asarray(lengths) == length
        part = losses[rows][mask[rows]]
        result.append(
            LengthGroup(
                length,
                length,
                int(rows.sum()),
                part.size,
                part.mean() if part.size else None,
                part.sum() / losses[mask].sum(),
            )
        )
    return tuple(result)


@np.errstate(all="ignore")
def output(losses: Any, valid: Bools | None = None, mask: Bools | None = None, **fields: Any) -> LossOutput:
    """Return an output whose numbers follow from its losses."""
    losses = np.asarray(losses, float)
    ignored, weights = fields.get("ignored"), fields.get("weights")
    considered = np.ones(losses.shape, bool) if ignored is None else ~ignored
    counted_timesteps = (
        next(item for item in (mask, valid, considered) if item is not None and item.shape == losses.shape) & considered
    )
    weighted = (
        losses if weights is None else losses * weights.reshape(weights.shape + (1,) * (losses.ndim - weights.ndim))
    )
    flat, kept = weighted.reshape(len(losses), -1), counted_timesteps.reshape(len(losses), -1)
    total = weighted[counted_timesteps].sum()
    order = np.argsort(-np.where(counted_timesteps, weighted, -np.inf), axis=None)[: int(counted_timesteps.sum())][:10]
    places = [tuple(map(int, np.unravel_index(at, losses.shape))) for at in order]
    defaults: dict[str, Any] = {
        "name": "output",
        "loss": "mse",
        "loss_weight": None,
        "shape": (*losses.shape, 3),
        "dtype": "float32",
        "targets": "arange",
        "valid": valid,
        "mask": mask,
        "ignored": None,
        "weights": None,
        "per_timestep": losses,
        "per_sample": tuple((row[keep].mean() if keep.any() else None, row.mean()) for row, keep in zip(flat, kept, strict=True)),
        "counted": counted_timesteps,
        "masked": weighted[counted_timesteps].mean() if counted_timesteps.any() else None,
        "exact": None if valid is None else weighted[valid & considered].mean(),
        "unmasked": weighted[considered].mean(),
        "unmasked_model": weighted[considered].mean() * 0.99,
        "weighted_mean": None if weights is None else total / np.broadcast_to(weights.reshape(weights.shape + (1,) * (losses.ndim - weights.ndim)), losses.shape)[counted_timesteps].sum(),
        "reported": float(np.float32((weighted[considered] if mask is None else weighted[counted_timesteps] if counted_timesteps.any() else np.zeros(1)).mean())),
        "padding_share": None if valid is None else weighted[considered & ~valid].sum() / weighted[considered].sum(),
        "not_finite": (0, 0),
        "lost_at": None,
        "by_length": () if losses.ndim < 2 or valid is None else groups(weighted, counted_timesteps, valid.sum(axis=1).tolist()),
        "contributors": tuple(
            Contribution(at[0], at[1] if len(at) > 1 else None, losses[at], weighted[at] / total) for at in places
        ),
        "reductions": REDUCTIONS,
    }  # fmt: skip
    return LossOutput(**{**defaults, **fields})


def sizes(exact: float) -> tuple[BatchSizeLoss, ...]:
    return (
        BatchSizeLoss(1, exact * 1.07, exact * 1.07, exact * 1.07, 0.0, 2.0, LossGradient(3.1, 1.11, 0.9876)),
        BatchSizeLoss(2, exact * 0.99, exact * 0.97, exact * 1.02, exact * 0.01, 1.83, LossGradient(2.9, 1.02, 0.9998)),
        BatchSizeLoss(32, exact, exact, exact, 0.0, 1.0, LossGradient(2.8, 1.0, 1.0)),
    )


def report(*outputs: LossOutput, **fields: Any) -> LossReport:
    defaults: dict[str, Any] = {
        "model": ModelAbout("tagger.keras", "file", "Functional"),
        "versions": {"keras": "3", "tensorflow": "2", "numpy": "2"},
        "inputs": (ModelInput("features", np.ones((outputs[0].shape[0], 2)), None, "static"),),
        "batch": None,
        "outputs": outputs,
        "keras_evaluate": sum(item.reported * (item.loss_weight or 1.0) for item in outputs) + fields.get("regularization", 0.0),
        "regularization": 0.0,
        "batch_size": 32,
        "batch_sizes": (),
        "gradient_rows": 0,
        "metrics": (),
        "remarks": (Remark("fact", "The mean by hand over the valid timesteps is what Keras reports."),),
    }  # fmt: skip
    return LossReport(**{**defaults, **fields})


SMALL = until([6, 5, 3], 6)
LOSSES = np.array(
    [[0.5, 2.1, 5.3, 9.7, 15.1, 21.9], [0.4, 1.9, 5.6, 10.2, 16.3, 24.8], [0.6, 2.2, 5.9, 11.1, 17.2, 25.4]]
)
IDS = np.array([[83, 91, 1, 645, 1253, 927], [73, 8, 3215, 55, 927, 0], [711, 632, 71, 0, 0, 0]])
TOKENS = ModelInput("tokens", IDS, SMALL, "ids")
METRICS = (
    MetricReport("mae", "MeanAbsoluteError", "output", False, 2.5, 2.5, False),
    MetricReport("accuracy", "SparseCategoricalAccuracy", "output", False, 0.25, 0.75, True),
    MetricReport("auc", "AUC", "output", True, 0.5, None, False),
)


def long(rows: int = 40, timesteps: int = 150, seed: int = 0) -> tuple[Floats, Bools]:
    random = np.random.default_rng(seed)
    lengths = random.integers(timesteps // 5, timesteps + 1, rows)
    return random.gamma(0.7, 2.0, (rows, timesteps)) * np.linspace(0.2, 3, timesteps), until(lengths, timesteps)


def small_report() -> LossReport:
    item = output(LOSSES, SMALL, SMALL)
    assert item.exact is not None
    return report(item, inputs=(TOKENS,), batch_sizes=sizes(item.exact), gradient_rows=3, metrics=METRICS)


# The screen.


def text(
    loss_report: LossReport, width: int = 80, rows: int | None = 24, everything: bool = False, **limits: Any
) -> str:
    screen = Limits(None if everything else rows, limits.get("columns"), width, everything)
    return render_text(view(loss_report, screen), Console(width=width, color_system=None))


def section(screen: str, title: str) -> list[str]:
    """Return the lines below a heading, up to a blank one."""
    lines = [*screen.splitlines(), ""]
    start = next(index for index, line in enumerate(lines) if line.startswith(title)) + 1
    return lines[start : lines.index("", start)]


def heat_in(screen: str) -> tuple[set[str], set[str]]:
    """Return the glyphs that are drawn, and those that the legend names."""
    lines = section(screen, "Where the loss")
    keys = [line for line in lines if re.match(r" [▁░▒▓█·!◆×] ", line)]
    rows = [line for line in lines[1:] if re.match(r" *\d", line)]
    names = [re.findall(r"(?:^ |   )([▁░▒▓█·!◆×]) ", line) for line in keys]
    return {glyph for line in rows for glyph in line if glyph in GLYPHS_OF_HEAT}, {
        key for keys in names for key in keys
    }


GLYPHS_OF_HEAT = "▁░▒▓█·!◆×"
LONG = "encoder_with_a_long_name/transformer_block_number_11/multi_head_attention_of_the_block"
LONG_LOSSES, LONG_VALID = long()
LONG_INPUTS = (ModelInput("tokens", np.arange(6000).reshape(40, 150), LONG_VALID, "ids"),)
WITH_NAN = np.where(np.arange(6) == 1, np.nan, LOSSES)
PER_TIMESTEP = np.where(SMALL, 1.0, 0.0) * np.array([[2.0], [1.0], [0.5]])
HIDING = SMALL & (np.array([0, 0, 2])[:, None] != np.arange(6)) | (np.arange(6) == 5)
POOLED = output([1.0, 2.5, 0.0], name="score", loss="mae", loss_weight=0.5, reductions=())
TAGS = output(LOSSES, SMALL, SMALL, name="tags")
WITHOUT_TIMESTEPS = ("per_timestep", "counted", "masked", "exact", "unmasked", "unmasked_model", "padding_share")
CASES = {
    "small": small_report(),
    "no mask": report(output(LOSSES, SMALL, lost_at="conv1d"), inputs=(TOKENS,)),
    "no mask, long": report(output(LONG_LOSSES, LONG_VALID), inputs=LONG_INPUTS),
    "a mask that is wrong": report(output(LOSSES, SMALL, HIDING)),
    "a mask that is wrong, long": report(output(LONG_LOSSES, LONG_VALID, LONG_VALID & (LONG_LOSSES > 0.001))),
    "long": report(output(LONG_LOSSES, LONG_VALID, LONG_VALID), inputs=LONG_INPUTS, batch_sizes=sizes(1.5), gradient_rows=16),
    "weights": report(output(LOSSES, SMALL, weights=PER_TIMESTEP), regularization=0.5),
    "a weight for each sample": report(output(LOSSES, SMALL, SMALL, weights=np.array([2.0, 1.0, 0.5]))),
    "ignored": report(output(LOSSES, SMALL, ignored=~SMALL)),
    "nothing known of padding": report(output(LOSSES)),
    "a mask of another shape": report(output(LOSSES, SMALL, np.ones((3, 6, 2), bool))),
    "not finite": report(output(WITH_NAN, SMALL, SMALL, not_finite=(3, 0)), batch_sizes=sizes(float("nan"))),
    "infinite": report(output(np.full((3, 6), np.inf), SMALL, SMALL, not_finite=(3, 2))),
    "not finite where it is masked": report(output(np.where(SMALL, LOSSES, np.nan), SMALL, SMALL, not_finite=(0, 4))),
    "pooled": report(POOLED),
    "several outputs": report(TAGS, POOLED, regularization=0.03, metrics=METRICS, batch_sizes=sizes(7.0)),
    "ten outputs": report(*[TAGS] * 5, *[POOLED] * 5),
    "one number of a whole batch": report(
        output([1.0], loss="ctc", reductions=(), contributors=(), per_sample=(), **dict.fromkeys(WITHOUT_TIMESTEPS))
    ),
    "zero": report(output(np.zeros((3, 6)), SMALL, SMALL, contributors=(), padding_share=None)),
    "nothing counts": report(
        output(LOSSES, SMALL, np.zeros_like(SMALL), masked=None, contributors=(), by_length=(), padding_share=1.0)
    ),
    "negative": report(output(-LOSSES / 30, SMALL, SMALL)),
    "of all sizes": report(output(10.0 ** (LOSSES - 12), SMALL, SMALL)),
    "long names": report(
        output(LOSSES, SMALL, name=LONG, loss=LONG, lost_at=LONG, targets=LONG),
        output([1.0, 2.0], name=LONG, loss=LONG),
        metrics=tuple(dataclasses.replace(item, name=LONG, output=LONG) for item in METRICS),
        model=ModelAbout(LONG, "file", "Functional"),
    ),
    "one sample": report(output(LOSSES[:1], SMALL[:1], SMALL[:1])),
    "one timestep": report(output(LOSSES[:, :1], SMALL[:, :1], SMALL[:, :1])),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("width", [60, 80, 120])
def test_lines_fit_the_screen(name: str, width: int) -> None:
    lines = text(CASES[name], width).splitlines()
    assert max(map(len, lines)) <= width
    assert all(line == line.rstrip() for line in lines)


@pytest.mark.slow(share=1 / 5)
@pytest.mark.parametrize("name", ["small", "long", "a mask that is wrong, long", "not finite", "weights"])
def test_lines_fit_any_width(name: str) -> None:
    for width in range(58, 140):
        lines = text(CASES[name], width).splitlines()
        assert max(map(len, lines)) <= width
        # A wrapped legend would separate a glyph from its meaning: no line without a glyph may follow.
        below = [after for line, after in itertools.pairwise(lines) if re.match(r" [▁░▒▓█·!◆×] ", line)]
        assert all(re.match(r"( [▁░▒▓█·!◆×…•] | max ratio| gradient| shuffled|$|Where)", line) for line in below)


@pytest.mark.slow(share=1 / 3)
@pytest.mark.parametrize("name", CASES)
def test_all_shows_everything(name: str) -> None:
    screen = text(CASES[name], 400, everything=True)
    assert "not shown" not in screen
    assert "long" in name or max(map(len, screen.splitlines())) <= 400


@pytest.mark.slow(share=1 / 4)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("everything", [False, True])
def test_legend_has_exactly_the_glyphs(name: str, width: int, everything: bool) -> None:
    screen = text(CASES[name], width, everything=everything)
    if name == "one number of a whole batch":
        assert "Where the loss" not in screen
        return
    glyphs, explained = heat_in(screen)
    assert glyphs
    assert glyphs == explained


@pytest.mark.parametrize("name", CASES)
def test_ascii_screen_has_the_same_text(name: str) -> None:
    console = Console(file=io.TextIOWrapper(io.BytesIO(), "ascii"), width=80, color_system=None)
    screen = render_bytes(view(CASES[name], Limits(24, None, 80)), console).decode()
    assert screen.isascii()
    assert "?" not in screen


def test_ascii_keeps_the_glyphs_apart() -> None:
    glyphs = [GLYPHS[role] for role in (*KIND_ROLES.values(), "off", *HEAT)]
    assert len({glyph.translate(ASCII) for glyph in glyphs}) == len(glyphs)
    assert {len(glyph) for glyph in GLYPHS.values()} == {1}


# The losses.


def losses_of(name: str) -> dict[str, list[str]]:
    """Return the number and the description of each row, at a width without line breaks."""
    rows = (re.split(r"  +", line, maxsplit=2) for line in section(text(CASES[name], 200), "Loss ")[1:])
    return {row[0]: row[1:] for row in rows if len(row) == 3}


def test_training_loss_with_a_mask() -> None:
    rows = losses_of("small")
    assert rows["masked"] == ["6.978571", "training loss: mean over the 14 unmasked timesteps"]
    assert rows["unmasked"] == ["9.788889", "loss(y, model.predict(x)): averages all 18 timesteps"]
    assert re.fullmatch(
        r"batch size 32; (differs from masked by \S+|equals masked \(up to rounding\))", rows["Keras evaluate"][1]
    )
    assert "exact" not in rows
    assert "training" not in rows["unmasked"][1]


def test_training_loss_without_a_mask() -> None:
    rows = losses_of("no mask")
    assert rows["masked"][1] == "mean over the 14 non-padding timesteps"
    assert rows["unmasked"][1] == "training loss, and loss(y, model.predict(x)): averages all 18 timesteps"
    assert rows["Keras evaluate"][0] == rows["unmasked"][0]
    assert re.search(r"(differs from|equals) unmasked", rows["Keras evaluate"][1])
    assert "\n • The unmasked loss is 40 % higher than the masked loss.\n" in text(CASES["no mask"])


def test_answer_comes_first() -> None:
    """Masked compared with unmasked, and the timesteps that training counts, come before the tables."""
    share = 100 * LOSSES[~SMALL].sum() / LOSSES.sum()
    sentences = (
        f"• The unmasked loss is 40 % higher than the masked loss; {share:.0f} % of the unmasked loss comes from padding. "
        "Training minimizes the masked loss, because the mask reaches the loss."
    )
    assert sentences in re.sub(r"\s+", " ", text(CASES["small"]))
    lost = Remark("warning", "The outputs carry no mask.", "training")
    same = Remark("fact", "Keras reports the mean.", "evaluate")
    screen = text(dataclasses.replace(CASES["no mask"], remarks=(same, lost, Remark("fact", "It is Tuesday."))))
    assert screen.index("! The outputs carry no mask.") < screen.index("Loss mse") < screen.index("It is Tuesday.")
    assert same.text not in screen
    assert " • score: Masked and unmasked loss are equal.\n" in text(CASES["several outputs"])
    large = output(np.where(SMALL, LOSSES, 1e6), SMALL, SMALL)
    assert "The unmasked loss is 3.18e+04 times the masked loss; 100 %" in text(report(large))


def test_empty_sections_are_omitted() -> None:
    assert set(losses_of("small")) == {"masked", "Keras evaluate", "unmasked", "unmasked model"}
    assert set(losses_of("weights")) == {*losses_of("small"), "weighted mean", "regularization"}
    assert "exact" in losses_of("a mask that is wrong")
    for heading in ("Metrics", "Batch sizes", "Largest shares", "The loss by length"):
        assert heading not in text(CASES["no mask"])


def test_single_number_loss_has_one_row() -> None:
    rows = losses_of("one number of a whole batch")
    assert rows == {"Keras evaluate": ["1.000000", "batch size 32; the loss is a single number per batch"]}


def test_evaluate_lists_its_terms() -> None:
    rows = losses_of("weights")
    assert re.match(r"batch size 32; \S+ \+ 0\.5 of regularization; ", rows["Keras evaluate"][1])
    item = output(LOSSES, SMALL, SMALL, loss_weight=0.25)
    assert "batch size 32; 0.25 × 6.978571; " in text(report(item))


def test_several_outputs_follow_their_sum() -> None:
    screen = text(CASES["several outputs"])
    assert [line.split() for line in section(screen, "Loss  of 2 outputs")] == [
        ["output", "loss", "weight", "weighted"],
        ["tags", "6.978571", "×1", "6.978571", "mse"],
        ["score", "1.166667", "×0.5", "0.583333", "mae"],
        ["regularization", "0.030000"],
        ["Keras", "evaluate", "7.591905", "batch", "size", "32"],
    ]
    headings = ["Loss mse of tags", "Where the loss of tags", "Loss mae of score", "Where the loss of score", "Metrics"]
    starts = [screen.index(f"\n{heading}") for heading in headings]
    assert starts == sorted(starts)
    assert "its part of evaluate" in screen


# The heat.

LIMITS = Limits(None, None, 80)


def levels_of(heatmap: Heatmap) -> Floats:
    assert heatmap.levels is not None
    return heatmap.levels


def test_small_batch_has_numbers_and_glyphs() -> None:
    assert section(text(CASES["small"]), "Where the loss comes from") == [
        "sample     0     1     2       3       4       5 │ masked  unmasked",
        "     0  0.50  2.10  5.30    9.70   15.10   21.90 │   9.10      9.10  ░░░▒▓█",
        "     1  0.40  1.90  5.60   10.20   16.30  ·24.80 │   6.88      9.87  ▁░▒▒▓·",
        "     2  0.60  2.20  5.90  ·11.10  ·17.20  ·25.40 │   2.90     10.40  ░░▒···",
        " ▁ about 0   ░ to 25 %   ▒ to 50 %   ▓ to 75 %   █ to the largest loss, 21.9",
        " · 4 timesteps left out",
    ]


def test_counted_padding_is_marked() -> None:
    lines = section(text(CASES["no mask"]), "Where the loss comes from")
    assert [re.findall(r"[·◆!][\d.]+", line) for line in lines[1:4]] == [[], ["◆24.80"], ["◆11.10", "◆17.20", "◆25.40"]]
    assert [line[-6:] for line in lines[1:4]] == ["░░░▒▓█", "▁░▒▒▓◆", "░░▒◆◆◆"]
    assert lines[-1] == " ◆ 4 padding timesteps, not masked"


def test_wrong_mask_is_marked() -> None:
    """Hidden tokens and counted padding have marks of their own."""
    lines = section(text(CASES["a mask that is wrong"]), "Where the loss comes from")
    assert [line[-6:] for line in lines[1:4]] == ["!░░▒▓█", "!░▒▒▓◆", "░░!··◆"]
    assert lines[5:] == [
        " · 2 timesteps left out   ! 3 valid timesteps, but masked",
        " ◆ 2 padding timesteps, not masked",
    ]


def test_ignored_timesteps_are_not_marked() -> None:
    """Ignored timesteps and weights of zero are not faults."""
    for name, sentence in (("ignored", "4 timesteps left out"), ("weights", "4 timesteps left out, or of weight 0")):
        screen = text(CASES[name])
        assert f" · {sentence}\n" in screen
        assert "◆" not in screen and "not masked" not in screen


@pytest.mark.parametrize("name", ["not finite", "infinite", "not finite where it is masked"])
def test_not_finite_losses_are_marked(name: str) -> None:
    result = ~np.isfinite(CASES[name].first.per_timestep)
    lines = section(text(CASES[name], 120), "Where the loss comes from")
    heat = [re.search(r"[▁░▒▓█·!◆×]+$", line) for line in lines[1:4]]
    assert [[glyph == "×" for glyph in glyphs[0]] for glyphs in heat if glyphs] == result.tolist()
    assert f"× {result.sum()} NaN or infinite" in lines[-1]
    assert re.search(r"×(nan|inf) ", lines[1] + lines[2])
    assert "× NaN or infinite predictions" in text(CASES[name])


@hypothesis.given(losses=arrays(np.float64, (3, 7), elements=floats(-1e3, 1e3)), room=sampled_from([None, 7, 3, 1]))
def test_higher_loss_is_never_lighter(losses: Floats, room: int | None) -> None:
    heatmap = make_loss_heatmap(output(losses), LIMITS, room)
    group = 1 if room is None else -(-7 // room)
    expected = np.array([[row[at : at + group].mean() for at in range(0, 7, group)] for row in losses])
    glyphs = np.array([[HEAT.index(cell.role) for cell in draw_row(heatmap, row)] for row in range(3)])
    assert count_shared(7, room) == group
    assert glyphs.shape == expected.shape
    order = np.argsort(expected, axis=None)
    assert all(
        item <= other or expected.flat[before] == pytest.approx(expected.flat[after])
        for before, after, item, other in zip(
            order, order[1:], glyphs.flat[order], glyphs.flat[order[1:]], strict=False
        )
    )
    assert glyphs.max() == 0 or glyphs.flat[order[-1]] == 4


@pytest.mark.parametrize(("part", "level_of_it"), [(0, 0), (0.019, 0), (0.02, 1), (0.25, 1), (0.26, 2), (0.5, 2), (0.75, 3), (0.76, 4), (1, 4)])  # fmt: skip
def test_levels_are_quarters_of_the_largest(part: float, level_of_it: int) -> None:
    assert quantize_level(part) == level_of_it


def test_only_counted_losses_set_the_scale() -> None:
    losses = np.where(SMALL, LOSSES, 1e6)
    for item in (output(losses, SMALL, SMALL), output(losses, SMALL)):
        heatmap = make_loss_heatmap(item, LIMITS)
        assert heatmap.scale is not None
        assert heatmap.scale.largest == format_significant(LOSSES[SMALL].max(), 3)
        assert [quantize_level(level) for level in levels_of(heatmap)[0]] == [1, 1, 1, 2, 3, 4]


def test_negative_losses_start_at_the_smallest() -> None:
    item = CASES["negative"].first
    levels = levels_of(make_loss_heatmap(item, LIMITS))
    assert [quantize_level(level) for level in levels[0]] == [4, 4, 4, 3, 2, 0]
    assert "█ to the largest loss, -0.0133, starting at -0.73" in text(CASES["negative"])


def test_weights_scale_the_levels() -> None:
    heatmap = make_loss_heatmap(CASES["a weight for each sample"].first, LIMITS)
    largest = 2 * LOSSES[0].max()
    assert heatmap.scale is not None
    assert heatmap.scale.largest == format_significant(largest, 3)
    assert levels_of(heatmap)[1, 4] == pytest.approx(LOSSES[1, 4] / largest)


def test_timesteps_share_characters() -> None:
    for width, group in ((60, 6), (80, 4), (120, 2), (200, 1)):
        lines = section(text(CASES["long"], width), "Where the loss comes from")
        glyphs = [re.search(r"[▁░▒▓█·]{5,}", line) for line in lines]
        widths = {len(line[0]) for line in glyphs if line}
        assert widths == {-(-150 // group)}
        sentence = (
            f"Where the loss comes from  {'each timestep' if group == 1 else f'one character is {group} timesteps'}"
        )
        assert sentence in text(CASES["long"], width)
        assert lines[0].split() == ["sample", "0", "149", "│", "masked", "unmasked", "share"]
        assert "16 sequences not shown" in lines[-1]


def test_mark_survives_sharing() -> None:
    """A mark is displayed even if its timestep shares a character."""
    mask = LONG_VALID.copy()
    mask[3, 10] = False
    line = section(text(report(output(LONG_LOSSES, LONG_VALID, mask))), "Where the loss comes from")[4]
    assert re.search(r"3  ..!", line)


def test_sample_shares_add_up() -> None:
    lines = section(text(CASES["small"], 60), "Where the loss comes from")
    sums = (LOSSES * SMALL).sum(axis=1)
    assert [line.split()[-2] for line in lines[1:4]] == [format_percent(part).split()[0] for part in sums / sums.sum()]
    assert sum(float(line.split()[-2]) for line in lines[1:4]) == pytest.approx(100, abs=1)


def test_max_cols_elides_timesteps() -> None:
    lines = section(text(CASES["long"], columns=4), "Where the loss comes from")
    assert lines[0].split() == ["sample", "0", "1", "…", "148", "149", "│", "masked", "unmasked"]
    assert "146 timesteps not shown" in lines[-1]


def test_all_has_a_number_per_timestep() -> None:
    lines = section(text(CASES["long"], everything=True), "Where the loss comes from")
    rows = [line for line in lines if re.match(r" *\d", line)]
    assert len(rows) == 40
    assert {len(line.split()) for line in rows} == {1 + 150 + 1 + 2 + 1}


def test_sample_without_timesteps_has_a_bar() -> None:
    lines = section(text(CASES["several outputs"]), "Where the loss of score comes from")
    assert lines == [
        "sample   loss  share",
        "     0  1.000   29 %  ▒▒▒▒▒▒▒▒",
        "     1  2.500   71 %  ████████████████████",
        "     2  0.000    0 %  ▁",
        " ▁ about 0   ▒ to 50 %   █ to the largest loss, 2.5",
    ]
    assert "Largest shares" not in text(CASES["pooled"])


def test_distant_numbers_keep_their_digits() -> None:
    row = section(text(CASES["of all sizes"], 120), "Where the loss comes from")[1]
    assert row.split()[1:3] == ["3.162e-12", "1.259e-10"]


# Lengths, largest shares.


def test_shared_lengths_have_a_table() -> None:
    assert "by length" not in text(CASES["small"])
    assert "by length" in text(CASES["small"], everything=True)
    lines = section(text(CASES["long"], rows=4), "The loss by length")
    assert lines[0].split() == ["length", "sequences", "timesteps", "│", "mean", "loss", "share"]
    assert re.search(r"… \d+ groups not shown", lines[-2])
    assert lines[-1] == " bar: the share, compared with the largest"
    group = LengthGroup(3, 17, 9, 88, None, None)
    item = dataclasses.replace(TAGS, by_length=(group, *TAGS.by_length))
    assert section(text(report(item)), "The loss by length")[1].split() == ["3–17", "9", "88", "│", "–", "–"]


def test_largest_shares_have_tokens() -> None:
    lines = section(text(CASES["long"]), "Largest shares of the loss")
    assert lines[0].split() == ["sample", "timestep", "token", "│", "loss", "share"]
    assert len(lines) == 6
    for line, item in zip(lines[1:], CASES["long"].first.contributors, strict=False):
        assert line.split()[:3] == [str(item.sample), str(item.timestep), str(150 * item.sample + (item.timestep or 0))]
    assert len(section(text(CASES["long"], everything=True), "Largest shares of the loss")) == 11
    assert "token" not in section(text(CASES["a mask that is wrong, long"]), "Largest shares")[0]
    assert "Largest shares" not in text(CASES["small"])
    elsewhere = dataclasses.replace(
        CASES["long"], inputs=(dataclasses.replace(TOKENS, values=np.ones((40, 151), int)),)
    )
    assert "token" not in section(text(elsewhere), "Largest shares")[0]


# Batches, reductions, metrics.


def test_inexact_batch_sizes_are_marked() -> None:
    lines = section(text(CASES["small"]), "Batch sizes  exact loss: 6.978571")
    assert [re.findall(r"![\d.]+", line) for line in lines[1:4]] == [["!7.467071"], ["!6.908786"], []]
    assert " ! not the exact loss" in lines
    assert "6.7692–7.1181" in lines[2]
    assert re.search(r"│ +×2 │ +×1.11  0.9876$", lines[1])
    assert any(line.startswith(" shuffled: smallest and largest loss") for line in lines)
    assert any(line.startswith(" max ratio: ") for line in lines)


def test_batch_size_is_blamed_only_if_it_is_the_cause() -> None:
    """A loss that counts padding differs from the exact one at every batch size."""

    def evaluate(*losses: float) -> tuple[BatchSizeLoss, ...]:
        pairs = zip(sizes(1.0), losses, strict=True)
        return tuple(dataclasses.replace(size, keras_evaluate=loss) for size, loss in pairs)

    alike = evaluate(7.5, 7.5, 7.5)
    lines = section(text(dataclasses.replace(CASES["small"], batch_sizes=alike)), "Batch sizes  exact loss: 6.978571")
    assert not [line for line in lines if "!" in line]
    assert "the batch size is not the cause" in re.sub(r"\s+", " ", " ".join(lines))
    mixed = evaluate(7.2, 7.5, 7.5)
    lines = section(text(dataclasses.replace(CASES["small"], batch_sizes=mixed)), "Batch sizes")
    assert [re.findall(r"![\d.]+", line) for line in lines[1:4]] == [["!7.200000"], [], []]
    assert " ! changed by the batch size" in lines


def test_unknown_exact_loss_marks_nothing() -> None:
    for name in ("several outputs", "not finite"):
        lines = section(text(CASES[name]), "Batch sizes")
        assert not [line for line in lines if "!" in line]


def test_exact_total_adds_outputs() -> None:
    pooled = dataclasses.replace(POOLED, exact=2.0)
    assert compute_exact_total(report(TAGS, pooled, regularization=0.5)) == pytest.approx(
        (TAGS.exact or 0) + 0.5 * 2 + 0.5
    )
    assert compute_exact_total(report(TAGS, POOLED)) is None


def test_rounding_is_not_a_difference() -> None:
    assert not differs(1.0 + 9e-7, 1.0)
    assert differs(1.0 + 2e-6, 1.0)
    assert differs(float("nan"), 1.0)
    assert not differs(0.0, 0.0)


def test_rounding_is_not_a_spread() -> None:
    item = dataclasses.replace(sizes(700.0)[0], std=6.7e-14)
    row = section(text(dataclasses.replace(CASES["small"], batch_sizes=(item,))), "Batch sizes")[1]
    assert row.split()[4] == "0"


def test_gradients_name_their_sequences() -> None:
    assert "Gradients are of the first 16 sequences." in text(CASES["long"])
    assert "Gradients are of" not in text(CASES["small"])
    bare = tuple(dataclasses.replace(size, gradient=None, smallest=None, largest=None, std=None) for size in sizes(1.0))
    titles = section(text(dataclasses.replace(CASES["long"], batch_sizes=bare)), "Batch sizes")[0]
    assert titles.split() == ["batch", "size", "evaluate", "│", "max", "ratio"]


def test_omitted_columns_are_named() -> None:
    lines = section(text(CASES["small"], 60), "Batch sizes")
    assert " … std, cosine not shown (--all shows everything)" in lines
    assert lines[0].split()[-1] == "gradient"


def test_reductions_name_sources_if_wide() -> None:
    whole = section(text(CASES["small"], 160), "The same losses, reduced in other ways")
    assert len(whole) == 1 + len(REDUCTIONS)
    assert all(
        f"{item.formula}  " in line and line.endswith(item.source)
        for item, line in zip(REDUCTIONS, whole[1:], strict=True)
    )
    narrow = " ".join(section(text(CASES["small"], 60), "The same losses, reduced in other ways")).split()
    assert all(word in narrow for item in REDUCTIONS for word in (item.name, *item.formula.split()))
    assert narrow[-7:] == ["…", "source", "not", "shown", "(--all", "shows", "everything)"]


def test_reductions_of_further_outputs() -> None:
    both = report(TAGS, dataclasses.replace(POOLED, reductions=REDUCTIONS))
    assert "The same losses of score" not in text(both)
    assert "… those of 1 output not shown" in text(both)
    assert "The same losses of score" in text(both, everything=True)


def test_metrics_counting_padding_are_marked() -> None:
    assert section(text(CASES["small"]), "Metrics") == [
        "metric     reported  valid only",
        "mae        2.500000    2.500000",
        "accuracy  !0.250000    0.750000",
        "auc        0.500000           –",
        " ! differs from the value over valid timesteps",
    ]
    assert section(text(CASES["several outputs"]), "Metrics")[0].split()[:2] == ["metric", "output"]


@pytest.mark.parametrize(
    ("part", "percent"),
    [(None, "–"), (float("nan"), "–"), (0.0, "0 %"), (1e-5, "<0.1 %"), (0.034, "3.4 %"), (0.0996, "10 %"), (1.0, "100 %"), (-0.25, "-25 %")],
)  # fmt: skip
def test_percent(part: float | None, percent: str) -> None:
    assert format_percent(part) == percent


# As JSON.


def document(loss_report: LossReport) -> Any:
    """Return the document as a reader of JSON has it, after it was held against the schema."""
    read = json.loads(dumps(make_document(loss_report)), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    jsonschema.validate(read, SCHEMA)
    assert [*read] == SCHEMA["required"]
    return read


@pytest.mark.slow(share=1 / 3)
@pytest.mark.parametrize("name", CASES)
def test_documents_match_the_schema(name: str) -> None:
    read, loss_report = document(CASES[name]), CASES[name]
    for item, expected in zip((read, *read["more_outputs"]), loss_report.outputs, strict=True):
        assert (item["output"], item["loss"], item["shape"]) == (expected.name, expected.loss, list(expected.shape))
        assert item["mask"] == (None if expected.mask is None else expected.mask.tolist())
        assert len(item["reductions"]) == len(expected.reductions)


def test_document_has_stable_fields() -> None:
    read = document(CASES["small"])
    assert (read["loss"], read["masked"], read["exact"]) == ("mse", read["exact"], CASES["small"].exact)
    assert (read["valid_timesteps"], read["total_timesteps"]) == (14, 18)
    wrong = document(CASES["a mask that is wrong"])
    assert wrong["exact"] == pytest.approx(LOSSES[SMALL].mean())
    assert wrong["masked"] == pytest.approx(LOSSES[HIDING].mean())
    assert read["per_timestep"] == LOSSES.tolist()
    assert read["batch_sizes"][0]["gradient"] == {"norm": 3.1, "relative": 1.11, "cosine": 0.9876}
    assert read["reductions"][0] == {
        "name": "keras-3",
        "value": 9.142857,
        "formula": "sum(loss × mask) / sum(mask)",
        "source": "Keras 3, sum_over_batch_size",
    }
    assert read["batch"]["tokens"] == IDS.tolist()
    assert read["batch"]["padding"] is None
    assert read["model"]["name"] == "tagger.keras"


def test_document_has_null_and_nan() -> None:
    read = document(CASES["one number of a whole batch"])
    assert {read[key] for key in ("masked", "per_timestep", "mask", "valid_timesteps", "total_timesteps")} == {None}
    assert read["batch"] is None
    read = document(CASES["not finite"])
    assert read["masked"] == "NaN"
    assert read["per_timestep"][0][1] == "NaN"
    assert read["not_finite"] == [3, 0]


def test_document_has_the_layout_of_a_batch() -> None:
    batch = PaddedBatch(IDS, SMALL, np.array([6, 5, 3]), Layout(maxlen=6), 0)
    read = document(report(TAGS, inputs=(TOKENS,), batch=batch))["batch"]
    assert (read["padding"], read["maxlen"], read["tokens"]) == ("post", 6, IDS.tolist())


def test_schema_describes_every_field() -> None:
    def fields(schema: Any) -> Iterator[tuple[str, Any]]:
        for key, value in schema.items() if isinstance(schema, dict) else enumerate(schema):
            if key == "properties":
                yield from value.items()
            if isinstance(value, dict | list):
                yield from fields(value)

    undescribed = [
        name
        for name, field in fields(SCHEMA)
        if "description" not in {**SCHEMA["$defs"].get(field.get("$ref", "").split("/")[-1], {}), **field}
    ]
    assert {"masked", "contributors", "cosine"} <= {name for name, _ in fields(SCHEMA)}
    assert undescribed == ["schema"]


@pytest.mark.parametrize(
    ("path", "value"),
    [(["masked"], "no"), (["outputs"], 1), (["mask"], [[1]]), (["batch_sizes", 0, "heaviest"], "×2"), (["per_timestep"], 3)],
)  # fmt: skip
def test_the_schema_can_fail(path: list[Any], value: Any) -> None:
    read = document(CASES["small"])
    inner = read
    for key in path[:-1]:
        inner = inner[key]
    if path[-1] not in inner:
        del inner["masked"]
    inner[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(read, SCHEMA)
