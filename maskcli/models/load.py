"""Load the user's own model: from a file, from a script or module, or from Python."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import inspect
import logging
import os
import tempfile
import types
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from maskcli.errors import ModelError, UsageError
from maskcli.models.builtin import BUILTIN, spell_builtin
from maskcli.models.custom_objects import (
    CustomObjects,
    check_custom_modules,
    collect_custom_objects,
    import_custom_objects,
)
from maskcli.models.factories import (
    build_from_function,
    check_home,
    describe_type,
    is_spec,
    make_script_error,
    suggest_colon,
    suggest_model,
)
from maskcli.models.files import (
    SUFFIXES,
    TRACEBACK,
    ModelFile,
    explain_error,
    make_displayable,
    make_unreadable_error,
    read_model_file,
    rewrite_config,
)
from maskcli.models.guard import (
    explain_uncompilable,
    find_operations,
    find_unknown_objects,
    find_vocabulary_settings,
    look_up_short_names,
    make_operation_error,
    make_outdated_error,
    make_unknown_error,
    refuse_code,
    refuse_vocabulary_paths,
)
from maskcli.models.hub import HUB
from maskcli.models.lambdas import find_missing_name, list_lambda_names, supply_names
from maskcli.models.limits import bound_weights
from maskcli.models.load_weights import load_weights, read_weights_file
from maskcli.models.model_args import refuse_model_args
from maskcli.models.runtime import load_keras, quiet_stdout, seed_generators
from maskcli.models.weights import check_weights


@dataclasses.dataclass(frozen=True, eq=False)
class UserModel:
    """A Keras model that maskcli did not build.

    Attributes:
        keras_model: the model.
        name: the path or ``train.py:function`` of the user; for an object, the name of the model.
        source: the kind of ``name``.
        notes: sentences about parts of the file that could not be restored.
        weights: the file of weights to load once the model has variables, those that it makes at its first call.
    """

    keras_model: Any
    name: str
    source: Literal["file", "factory", "object", "kerashub"]
    notes: tuple[str, ...] = ()
    weights: str | None = None


def classify_spec(spec: str) -> Literal["built-in", "file", "factory", "hub"]:
    """Return the kind of model that ``--model`` names, without importing or reading it.

    Raises:
        UsageError: for a spec of another kind.
    """
    if spell_builtin(spec) in BUILTIN:
        return "built-in"
    if spec.startswith(HUB):
        return "hub"
    if spec.endswith(".py"):
        raise make_script_error(make_displayable(spec))
    if spec.endswith(SUFFIXES) or (spec and _path_exists(spec)):
        return "file"
    if is_spec(spec):
        return "factory"
    raise UsageError(
        where="--model",
        expected=f"a built-in model ({', '.join(BUILTIN)}), a .keras or .h5 file, train.py:function, "
        f"package.module:function, or {HUB}NAME",
        received=repr(make_displayable(spec)),
        fix=_suggest_spec(spec),
    )


def _suggest_spec(spec: str) -> str:
    home, _, name = spec.rpartition(":")
    if home and name.isidentifier() and _path_exists(f"{home}.py"):  # A path as in an import, with slashes.
        return f"Did you mean {make_displayable(home)}.py:{name}?"
    script = f"{spec.replace('.', '/')}.py"
    if _path_exists(script):  # The name of a module, without that of a function.
        return make_script_error(make_displayable(script)).fix.replace("It has", f"{spec}:NAME names a part of it", 1)
    if colon := suggest_colon(spec):
        return f"Did you mean {make_displayable(colon)}?"
    similar = difflib.get_close_matches(spec, BUILTIN, n=1)
    return f"Did you mean {similar[0]}?" if similar else "`maskcli models` lists the built-in models."


def load(
    spec: str,
    custom_objects: object = (),
    unsafe: bool = False,
    *,
    model_args: Mapping[str, Any] = types.MappingProxyType({}),
    weights: str | os.PathLike[str] | None = None,
    seed: int = 0,
) -> UserModel:
    """Return the model of a file, a script or a module.

    Args:
        spec: the path, ``train.py:name`` or ``package.module:name``.
        custom_objects: as for ``import_custom_objects``.
        unsafe: whether code in the file may run.
        model_args: the arguments of the function that builds the model.
        weights: a file of weights for the model.
        seed: of random weights.

    Raises:
        UsageError: for a spec that is neither a file nor a function, and arguments that the function does not have.
        ModelError: for a model or weights that are refused, or cannot be loaded or built.
    """
    kind = classify_spec(spec)
    if kind in ("built-in", "hub"):
        raise ValueError(f"{spec} is built in: maskcli.models.build or maskcli.models.hub builds it for its data.")
    # Before Keras is imported: a refusal should not take the seconds of that import.
    file = read_model_file(spec) if kind == "file" else None
    if file is not None:
        refuse_model_args(model_args, f"the model file {make_displayable(spec)}")
        check_weights(spec, file.path)
    else:
        check_home(spec)
    weights_path = None if weights is None else read_weights_file(weights)
    check_custom_modules(custom_objects)
    load_keras()
    with quiet_stdout(), _suppress_warnings():
        custom = import_custom_objects(custom_objects)
        if file is None:
            with bound_weights(make_displayable(spec)):
                model, source = build_from_function(spec, dict(custom.defined), model_args, seed)
            loaded = UserModel(model, make_displayable(spec), source)
        else:
            seed_generators(seed)
            with custom.register_only_these():
                loaded = _load_file(spec, file, custom, unsafe)
    return dataclasses.replace(loaded, weights=weights_path)


def finish_loading(loaded: UserModel) -> UserModel:
    """Return a model with its file of weights loaded; the model must have its variables.

    Raises:
        ModelError: for weights of another model.
    """
    if loaded.weights is None:
        return loaded
    with quiet_stdout(), _suppress_warnings():
        load_weights(loaded.keras_model, loaded.weights, Path(loaded.weights).name)
    return dataclasses.replace(loaded, weights=None)


def wrap_model(model: object) -> UserModel:
    """Return a keras.Model from Python as a UserModel.

    Raises:
        ModelError: for anything except a keras.Model.
    """
    keras = load_keras()
    if isinstance(model, keras.Model):
        return UserModel(model, model.name, "object")
    raise ModelError(
        where="model", expected="a keras.Model", received=describe_type(model), fix=_suggest_argument(model)
    )


def _suggest_argument(model: object) -> str:
    """Return the fix for a value that is passed as a model."""
    if model is None:
        return "Pass a model, or leave model= out for the built-in one."
    if inspect.isroutine(model):
        return f"Call it: model={getattr(model, '__name__', 'function')}()."
    return suggest_model(model)


def reload_model(model: Any) -> Any:
    """Return a copy of a model that was saved to a file and loaded again; Keras's exceptions pass through."""
    import keras

    names = supply_names(list_lambda_names(model))
    with tempfile.TemporaryDirectory() as folder, _suppress_warnings(), quiet_stdout(), names:
        path = Path(folder) / "model.keras"
        model.save(path)
        custom = collect_custom_objects(model)
        # The unsafe mode is harmless here: the file is new, and the code of its model runs in this process anyway.
        return keras.models.load_model(path, custom_objects=custom, compile=False, safe_mode=False)


def _load_file(spec: str, file: ModelFile, custom: CustomObjects, unsafe: bool) -> UserModel:
    """Load a file; the model is compiled if the settings of ``compile()`` can be restored."""
    import keras

    unknown = find_unknown_objects(file.config, custom.names, unsafe=unsafe)
    if not unsafe:
        refuse_code(spec, file, custom.names)
    if unknown:
        raise make_unknown_error(spec, file, unknown)
    options: dict[str, Any] = {
        "custom_objects": {**look_up_short_names(file), **custom.defined},
        "safe_mode": not unsafe,
    }
    name = make_displayable(spec)
    model: Any = None
    notes: tuple[str, ...] = ()
    problem = explain_uncompilable(file.compile_config, custom.names, unsafe=unsafe)
    names = supply_names([vars(module) for module in custom.modules]) if unsafe else contextlib.nullcontext()
    with names, _detach_vocabularies(spec, file, unsafe) as path:
        if not problem:
            try:
                with bound_weights():
                    model = keras.models.load_model(path, **options)
            except (Exception, SystemExit) as error:
                problem = explain_error(error)
        if problem:  # Loading without compile() shows whether the settings of compile() are at fault.
            try:
                with bound_weights(name):
                    model = keras.models.load_model(path, compile=False, **options)
            except (Exception, SystemExit) as error:
                raise _make_load_error(spec, file, custom, error) from error
            notes = (f"The compiled loss and metrics of {name} could not be restored and are left out: {problem}.",)
    if not isinstance(model, keras.Model):
        raise make_unreadable_error(spec, describe_type(model), "Save the model itself with model.save('model.keras').")
    return UserModel(model, name, "file", notes)


@contextlib.contextmanager
def _detach_vocabularies(spec: str, file: ModelFile, unsafe: bool) -> Iterator[str]:
    """Yield the path of a model file in which no lookup layer reads its vocabulary from another file.

    Before 3.12, Keras stored the vocabulary in the archive, and also left its original path in the configuration. In
    this case, the yielded path is that of a copy without such paths.

    Raises:
        ModelError: for a vocabulary path whose vocabulary is not in the archive.
    """
    settings = [] if unsafe else find_vocabulary_settings([file.config, file.compile_config])
    if not settings:
        yield file.path
        return
    if len(settings) > file.n_vocabularies:
        refuse_vocabulary_paths(spec, [entry["vocabulary"] for entry in settings])
    for entry in settings:
        entry["vocabulary"] = None  # This changes the configurations of ``file``.
    with tempfile.TemporaryDirectory() as folder:
        yield rewrite_config(file, Path(folder) / "model.keras")


def _make_load_error(spec: str, file: ModelFile, custom: CustomObjects, error: BaseException) -> ModelError:
    """Return the ModelError for an exception that Keras raised while it loaded the file."""
    if isinstance(error, ModelError):  # Its weights need more memory than they may take.
        return error
    unknown = find_unknown_objects(file.config, custom.names)
    if mentioned := [entry for entry in unknown if entry.name in str(error)]:
        return make_unknown_error(spec, file, mentioned)
    if file.is_by_keras_2:
        return make_outdated_error(spec, file, explain_error(error))
    # The code of a custom class may lack a name as well.
    if (missing := find_missing_name(error)) and "__lambda__" in str(file.config):
        return ModelError(
            where=make_displayable(spec),
            expected="Lambda layers whose code uses names of Keras, NumPy, TensorFlow or --custom-objects",
            received=f"NameError: name {missing!r} is not defined; Keras stores the code without it",
            fix=f"Pass the script that imports or defines {missing}: --custom-objects train.py",
        )
    if operations := find_operations(file):
        return make_operation_error(spec, operations)
    return make_unreadable_error(spec, explain_error(error), TRACEBACK)


@contextlib.contextmanager
def _suppress_warnings() -> Iterator[None]:
    """Suppress Python's warnings, and those that Keras logs through absl."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _path_exists(spec: str) -> bool:
    try:
        return Path(spec).exists()
    except (OSError, ValueError):
        return False
