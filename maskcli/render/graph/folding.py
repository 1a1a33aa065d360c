"""The choice of containers to draw folded, for models too large for one picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from maskcli.render.graph.graph import Level, Node

REPEATS = 40
"""Nodes in a picture above which repeated containers are folded."""
QUIET = frozenset(("none", "passes", "computes"))
"""Effects that leave the mask unchanged."""
Folds = dict[str, str]
"""Path of each folded container, with the path of the equal one that stays open, or an empty text."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Container:
    """A call with calls inside.

    Attributes:
        path: its path.
        level: its inside.
        depth: count of the containers around it.
        order: its position among all containers.
        model: path of the first container with the same inside, on the same level; empty for the first.
    """

    path: str
    level: Level
    depth: int
    order: int
    model: str


def choose_folds(root: Level, most: int, deepest: int | None = None, keep_drops: bool = False) -> Folds:
    """Return the containers to fold, so that at most ``most`` nodes are drawn if possible.

    Repeated containers are folded first, down to ``REPEATS`` nodes. Then come containers that leave the mask unchanged,
    then others, and at last those that drop it. In each group the innermost and latest is folded first.

    Args:
        root: the level of the model.
        most: limit on nodes.
        deepest: depth from which every container is folded.
        keep_drops: whether containers that drop the mask stay open, unless they are repeated.
    """
    order = order_folding(root)
    if keep_drops:
        order = [container for container in order if container.model or not has_drop_inside(container.level)]
    folds: Folds = {}
    if deepest is not None:
        folds = {container.path: container.model for container in order if container.depth >= deepest}
    for container in order:
        limit = min(REPEATS, most) if container.model else most
        if count_visible(root, folds) > limit:
            folds.setdefault(container.path, container.model)
    # The model of a repeated container may have been folded later.
    return {path: "" if model in folds else model for path, model in folds.items()}


def is_open(node: Node, folded: Folds) -> bool:
    """Return whether a node is a container drawn with its inside."""
    return node.level is not None and node.path not in folded


def order_folding(root: Level) -> list[_Container]:
    """Return all containers in the order of folding."""
    return sorted(_list_containers(root), key=lambda container: (_rank(container), -container.depth, -container.order))


def count_visible(root: Level, folded: Folds) -> int:
    """Return the count of drawn nodes, without ports."""
    nodes = [node for node in root.nodes if node.place not in ("in", "out")]
    inside = (node.level for node in nodes if node.level is not None and node.path not in folded)
    return len(nodes) + sum(count_visible(level, folded) for level in inside)


def _list_containers(level: Level, depth: int = 0, order: int = 0) -> Iterator[_Container]:
    first: dict[object, str] = {}
    for node in level.nodes:
        if node.level is not None:
            key = _make_key(node)
            yield _Container(node.path, node.level, depth, order, first.get(key, ""))
            first.setdefault(key, node.path)
            yield from _list_containers(node.level, depth + 1, order + 1)
            order += node.level.calls + 1


def _make_key(node: Node) -> object:
    """Return a key that is equal for containers that differ only in names."""
    call = node.call
    key: tuple[object, ...] = (node.place,)
    if call is not None:
        key = (node.place, call.type, node.effect, call.warning)
    if node.level is None:
        return key
    flows = tuple((flow.source, flow.target, flow.kind) for flow in node.level.flows)
    return key, tuple(map(_make_key, node.level.nodes)), flows


def _rank(container: _Container) -> int:
    """Return the rank of a container in the order of folding, 0 for the first."""
    if container.model:
        return 0
    effects = set(_list_effects(container.level))
    if effects <= QUIET:
        return 1
    if "drops" not in effects:
        return 2
    return 3


def _list_effects(level: Level) -> Iterator[str]:
    for node in level.nodes:
        if node.call is not None:
            yield node.effect
        if node.level is not None:
            yield from _list_effects(node.level)


def has_drop_inside(level: Level) -> bool:
    """Return whether a call inside drops the mask."""
    return "drops" in _list_effects(level)
