"""The line of the user's code that made each call of a recorded run."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from maskcli.models.build_sites import Site, find_code_site, get_creation_site, get_node_names, get_node_site
from maskcli.records.location import Location
from maskcli.trace.recorder import CallRecord, Recording


def locate_calls(recording: Recording) -> dict[int, Location]:
    """Return the locations of calls by their index; calls whose line is unknown are left out.

    A call in code of the user's own has the line that ran. One of a functional model has the line that called the layer
    when the model was built; one of a ``Sequential``, the line that made the layer. A call inside another package has
    the line of the call that it is part of.
    """
    sites: dict[int, Site | None] = {}
    nodes = _Nodes()
    for entry in recording.entries:
        parent = entry.parent
        if parent is None:
            sites[entry.index] = find_model_site(entry.operation)
            continue
        site = entry.site or nodes.find_site(parent, entry)
        is_of_model = parent.parent is None
        sites[entry.index] = site or find_code_site(entry.operation) or (None if is_of_model else sites[parent.index])
    return {index: make_location(site) for index, site in sites.items() if site is not None}


def find_input_names(recording: Recording) -> dict[int, dict[int, str]]:
    """Return the variables that hold inputs of the model where a call is made, by its index, and by their position."""
    symbols = getattr(recording.entries[0].operation, "inputs", None) or ()
    of_tensors = {id(tensor): position for position, tensor in enumerate(recording.inputs)}
    of_symbols = {id(symbol): position for position, symbol in enumerate(symbols)}
    nodes, names, positions = _Nodes(), {}, {**of_tensors, **of_symbols}
    for entry in recording.entries[1:]:
        node = nodes.find_node(entry.parent, entry) if entry.parent is not None and not entry.names else None
        variables = get_node_names(node) if node is not None else entry.names
        names[entry.index] = {positions[key]: name for key, name in variables.items() if key in positions}
    return names


def locate_model(model: Any) -> Location | None:
    """Return the line that made a model, or the ``call`` of its class; None if neither is known."""
    site = find_model_site(model)
    return None if site is None else make_location(site)


def find_model_site(model: Any) -> Site | None:
    """Return the line that made a model, or the ``call`` of its class; None if neither is known."""
    return get_creation_site(model) or find_code_site(model)


def make_location(site: Site) -> Location:
    """Return a line as a record; its file starts at the working directory, or is absolute outside of it."""
    file, line, function = site
    path, here = Path(file).absolute(), Path.cwd()
    return Location((path.relative_to(here) if path.is_relative_to(here) else path).as_posix(), line, function)


class _Nodes:
    """The nodes of functional models, in the order in which their calls run."""

    def __init__(self) -> None:
        self.by_operation: dict[int, dict[int, collections.deque[Any]]] = {}

    def find_site(self, parent: CallRecord, entry: CallRecord) -> Site | None:
        """Return the line of the next node of an operation, in the model that makes the call."""
        import keras

        if isinstance(parent.operation, keras.Sequential) and not isinstance(entry.operation, str):
            return get_creation_site(entry.operation)
        node = self.find_node(parent, entry)
        return None if node is None else get_node_site(node)

    def find_node(self, parent: CallRecord, entry: CallRecord) -> Any | None:
        """Return the next node of an operation in the graph that makes the call; None without one."""
        if isinstance(entry.operation, str):
            return None
        if parent.index not in self.by_operation:
            self.by_operation[parent.index] = _group_nodes(parent.operation)
        nodes = self.by_operation[parent.index].get(id(entry.operation))
        return nodes.popleft() if nodes else None


def _group_nodes(model: Any) -> dict[int, collections.deque[Any]]:
    """Return the nodes of a functional model by the ``id`` of their operation; empty for other operations."""
    nodes: dict[int, collections.deque[Any]] = collections.defaultdict(collections.deque)
    for node in _iterate_nodes(model):
        nodes[id(node.operation)].append(node)
    return nodes


def _iterate_nodes(model: Any) -> Iterator[Any]:
    by_depth = getattr(model, "_nodes_by_depth", None) or {}
    for depth in sorted(by_depth, reverse=True):
        yield from (node for node in by_depth[depth] if not node.is_input)
