"""Which containers are drawn folded, where a whole model would be too much for one picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from maskcli.render.graph.graph import Level, Node

REPEATS = 40
"""Nodes beyond which a container that is like another beside it is folded."""
QUIET = frozenset(("none", "passes", "computes"))
"""Effects of calls in which nothing happens to the mask."""
Folds = dict[str, str]
"""The paths of folded containers, each with that of the open one which it is like; empty where there is none."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Container:
    """A call with others inside.

    Attributes:
        path: its own.
        level: what is inside.
        depth: how many containers it is in.
        order: its position among all.
        like: the first container beside it that has the same inside; empty where it is the first.
    """

    path: str
    level: Level
    depth: int
    order: int
    like: str


def choose_folds(root: Level, most: int, deepest: int | None = None, keep_drops: bool = False) -> Folds:
    """Return the containers to fold so that at most ``most`` nodes are seen, where that is enough for it.

    First go those that are like another beside them, so long as there are many nodes; then those in which nothing
    happens to the mask, then others, and those in which it is dropped at last; of each, the innermost and latest first.

    Args:
        root: the level of the model.
        most: nodes.
        deepest: containers that are in so many others are folded at any rate.
        keep_drops: whether those in which the mask is dropped stay open, unless they are like another.
    """
    order = [each for each in order_folding(root) if each.like or not keep_drops or not has_drop_inside(each.level)]
    found = {each.path: each.like for each in order if deepest is not None and each.depth >= deepest}
    for each in order:
        if count_visible(root, found) > (min(REPEATS, most) if each.like else most):
            found.setdefault(each.path, each.like)
    return {path: "" if like in found else like for path, like in found.items()}


def is_open(node: Node, folded: Folds) -> bool:
    """Return whether what is inside a node is drawn."""
    return node.level is not None and node.path not in folded


def order_folding(root: Level) -> list[_Container]:
    """Return all containers in the order in which they are folded."""
    return sorted(_containers(root), key=lambda each: (_interest(each), -each.depth, -each.order))


def count_visible(root: Level, folded: Folds) -> int:
    """Return how many nodes are drawn, but for ports."""
    solid = [node for node in root.nodes if node.place not in ("in", "out")]
    opened = (node.level for node in solid if node.level is not None and node.path not in folded)
    return len(solid) + sum(count_visible(level, folded) for level in opened)


def _containers(level: Level, depth: int = 0, order: int = 0) -> Iterator[_Container]:
    first: dict[object, str] = {}
    for node in level.nodes:
        if node.level is not None:
            alike = first.setdefault(_inside(node), node.path)
            yield _Container(node.path, node.level, depth, order, "" if alike == node.path else alike)
            yield from _containers(node.level, depth + 1, order + 1)
            order += node.level.calls + 1


def _inside(node: Node) -> object:
    """Return what is equal for containers that look the same but for names."""
    call = node.call
    own = (node.place, call.type, node.effect, call.warning) if call is not None else (node.place,)
    if node.level is None:
        return own
    flows = tuple((flow.source, flow.target, flow.kind) for flow in node.level.flows)
    return own, tuple(map(_inside, node.level.nodes)), flows


def _interest(each: _Container) -> int:
    """Return how late a container is to be folded."""
    if each.like:
        return 0
    effects = set(_effects(each.level))
    return 3 if "drops" in effects else 1 if effects <= QUIET else 2


def _effects(level: Level) -> Iterator[str]:
    for node in level.nodes:
        if node.call is not None:
            yield node.effect
        if node.level is not None:
            yield from _effects(node.level)


def has_drop_inside(level: Level) -> bool:
    """Return whether a call inside drops the mask."""
    return "drops" in _effects(level)
