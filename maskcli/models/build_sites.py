"""The lines of the user's code that build a model: where layers are made, and where they are called.

Keras keeps the graph of a functional model, but not the lines that made it. While a function of the user builds a
model, each node of the graph and each layer is stored with the line of the user's code that was running.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import sysconfig
import types
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Site = tuple[str, int, str]
"""The file, the line and the qualified name of the function."""

_PACKAGE = str(Path(__file__).parents[1])
_PREFIXES = tuple(f"{path}/" for path in (_PACKAGE, sysconfig.get_path("stdlib")))
_PARTS = ("/site-packages/", "/dist-packages/", "/keras/src/")
_nodes: weakref.WeakKeyDictionary[Any, Site] = weakref.WeakKeyDictionary()
_names: weakref.WeakKeyDictionary[Any, dict[int, str]] = weakref.WeakKeyDictionary()
"""The variables, by ``id`` of the symbolic input of a model that they hold, of the code that made a node."""
_operations: weakref.WeakKeyDictionary[Any, Site] = weakref.WeakKeyDictionary()


@functools.cache
def is_user_file(name: str) -> bool:
    """Return whether a file is the user's: not of a package, of Python or of maskcli, and not generated."""
    path = name.replace("\\", "/")
    if path.startswith("<") or Path(path).name.startswith("__autograph_generated_file"):
        return False
    prefixes = (*_PREFIXES, *_list_libraries())
    return not path.startswith(prefixes) and not any(part in path for part in _PARTS)


def _list_libraries() -> Iterator[str]:
    """Yield the folders of the libraries that run models, which may be installed anywhere."""
    for name in ("jax", "keras", "numpy", "tensorflow", "torch"):
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is not None:
            yield f"{Path(file).parent.as_posix()}/"


def find_site(frame: types.FrameType | None, last: types.CodeType | None = None) -> Site | None:
    """Return the innermost line of the user's code that is running; None if there is none.

    Args:
        frame: the frame to start at.
        last: the code at which the search ends.
    """
    user = find_user_frame(frame, last)
    return None if user is None else describe_frame(user)


def describe_frame(frame: types.FrameType) -> Site:
    """Return the line that runs in a frame."""
    return frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_qualname


def find_user_frame(frame: types.FrameType | None, last: types.CodeType | None = None) -> types.FrameType | None:
    """Return the innermost frame of the user's code; None if there is none up to the code ``last``."""
    while frame is not None and frame.f_code is not last:
        if is_user_file(frame.f_code.co_filename):
            return frame
        frame = frame.f_back
    return None


def find_outer_frame(frame: types.FrameType | None, last: types.CodeType) -> types.FrameType | None:
    """Return the outermost frame before the code ``last`` that is not Keras's: of code that no file of the user has."""
    outer = None
    while frame is not None and frame.f_code is not last:
        if str(frame.f_globals.get("__name__")).partition(".")[0] not in ("keras", "maskcli"):
            outer = frame
        frame = frame.f_back
    return outer


@contextlib.contextmanager
def record_build_sites() -> Iterator[None]:
    """Store the lines that make and call layers while this is open."""
    import keras

    # Keras has no public name for the nodes of a graph.
    from keras.src.ops.node import Node

    initialize, make = Node.__init__, keras.Operation.__new__

    @functools.wraps(initialize)
    def initialize_node(node: Any, *args: Any, **kwargs: Any) -> None:
        initialize(node, *args, **kwargs)
        _keep(_nodes, node)
        _keep_names(node)

    @functools.wraps(make)
    def make_operation(cls: Any, *args: Any, **kwargs: Any) -> Any:
        operation = make(cls, *args, **kwargs)
        _keep(_operations, operation)
        return operation

    Node.__init__, keras.Operation.__new__ = initialize_node, staticmethod(make_operation)
    try:
        yield
    finally:
        Node.__init__, keras.Operation.__new__ = initialize, staticmethod(make)


def _keep(sites: weakref.WeakKeyDictionary[Any, Site], key: Any) -> None:
    site = find_site(sys._getframe(2))
    if site is not None:
        with contextlib.suppress(TypeError):  # A class of the user may have no hash.
            sites[key] = site


def _keep_names(node: Any) -> None:
    """Store the variables that hold symbolic inputs where a node is made."""
    import keras

    frame = find_user_frame(sys._getframe(2))
    variables = {} if frame is None or frame.f_code.co_name == "<module>" else frame.f_locals
    tensors = {name: value for name, value in variables.items() if isinstance(value, keras.KerasTensor)}
    names = {id(value): name for name, value in tensors.items() if _is_input(value)}
    if names:
        _names[node] = names


def _is_input(tensor: Any) -> bool:
    history = getattr(tensor, "_keras_history", None)
    return history is not None and type(history.operation).__name__ == "InputLayer"


def get_node_names(node: Any) -> dict[int, str]:
    """Return the variables that held symbolic inputs where a node was made, by ``id`` of the input."""
    return _names.get(node, {})


def get_node_site(node: Any) -> Site | None:
    """Return the line that made a node of the graph of a functional model; None if it was not recorded."""
    return _nodes.get(node)


def get_creation_site(operation: Any) -> Site | None:
    """Return the line that made a layer, an operation or a model; None if it was not recorded."""
    try:
        return _operations.get(operation)
    except TypeError:  # Without a hash.
        return None


def find_code_site(operation: Any) -> Site | None:
    """Return the first line of ``call`` of a class of the user's own; None for other classes."""
    code = getattr(getattr(type(operation), "call", None), "__code__", None)
    if code is None or not is_user_file(code.co_filename):
        return None
    return code.co_filename, code.co_firstlineno, code.co_qualname
