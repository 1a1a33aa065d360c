"""The IPython extension: ``%load_ext maskcli`` adds the magic ``%%maskcheck``."""

from __future__ import annotations

import ast
import sys
from typing import Any

MAGIC = "maskcheck"


def load_ipython_extension(shell: Any) -> None:
    """Add ``%%maskcheck`` to a shell of IPython; ``%load_ext maskcli`` calls this."""

    def maskcheck(line: str, cell: str) -> object:
        """Run a cell, and check the last model that it makes: %%maskcheck DATA, option=...

        DATA and the options are those of maskcli.check, as Python: %%maskcheck [[83, 91, 1], [73]], quick=True
        The names may be defined in the cell.
        """
        return _run_cell(shell, line, cell)

    shell.register_magic_function(maskcheck, magic_kind="cell", magic_name=MAGIC)


def unload_ipython_extension(shell: Any) -> None:
    """Remove ``%%maskcheck`` from a shell of IPython; ``%unload_ext maskcli`` calls this."""
    shell.magics_manager.magics["cell"].pop(MAGIC, None)


def _run_cell(shell: Any, line: str, cell: str) -> object:
    """Run a cell and return the check of its last model; None if the cell raised, or the result was printed."""
    from IPython.core.error import UsageError

    from maskcli.api.check import check
    from maskcli.errors import MaskcliError

    if not line.strip():
        raise UsageError(f"%%{MAGIC} needs data, as maskcli.check takes it: %%{MAGIC} [[83, 91, 1], [73]]")
    result = shell.run_cell(cell, store_history=False)
    if not result.success:  # IPython has shown the error.
        return None
    model = _find_last_model(shell.transform_cell(cell), result.result, shell.user_ns)
    if model is None:
        raise UsageError(f"%%{MAGIC}: the cell assigns no Keras model to a name, and its last line is none")
    data, options = _read_arguments(line, shell.user_ns)
    try:
        report = check(data, model=model, **options)
    except MaskcliError as error:
        raise UsageError(f"%%{MAGIC}: {error}") from None
    if hasattr(shell, "kernel"):  # A notebook shows the result as HTML.
        return report
    print(report)
    return None


def _find_last_model(code: str, last: object, names: dict[str, Any]) -> object:
    """Return the model that a cell shows, or assigns last; None without any."""
    keras = sys.modules.get("keras")
    if keras is None:
        return None
    if isinstance(last, keras.Model):
        return last
    assigned = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)]
    stored = [node for node in assigned if isinstance(node.ctx, ast.Store)]
    stored.sort(key=lambda node: (node.lineno, node.col_offset))
    models = [names[node.id] for node in stored if isinstance(names.get(node.id), keras.Model)]
    return models[-1] if models else None


def _read_arguments(line: str, names: dict[str, Any]) -> tuple[object, dict[str, Any]]:
    """Evaluate the line of the magic as the arguments of a call."""
    from IPython.core.error import UsageError

    def collect(data: object, **options: Any) -> tuple[object, dict[str, Any]]:
        return data, options

    try:
        # The user's own code, in the notebook of the user.
        arguments: tuple[object, dict[str, Any]] = eval(f"__collect({line})", {**names, "__collect": collect})  # noqa: S307
    except Exception as error:
        raise UsageError(f"%%{MAGIC} {line}: {type(error).__name__}: {error}") from None
    return arguments
