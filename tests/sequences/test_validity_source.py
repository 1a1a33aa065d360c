"""``pad`` shows how it is known which timesteps are padding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import Output

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    ("rows", "options", "source", "line"),
    [
        ([[1, 2, 3], [4]], {}, "lengths", "tokens: padding by the lengths of the rows"),
        ([[1, 2], [4, 0]], {}, "none", "tokens: no padding"),
        ([[1, 2], [4, 5]], {"maxlen": 3}, "lengths", "tokens: padding by the lengths of the rows"),
        ([[1, 2, 3], [4]], {"maxlen": 1}, "lengths", "tokens: padding by the lengths of the rows"),
    ],
)
def test_source_of_rows(
    call: Callable[..., Output], tmp_path: Path, rows: Any, options: dict[str, int], source: str, line: str
) -> None:
    path = tmp_path / "rows.json"
    path.write_text(str(rows))
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    (entry,) = call("pad", path, *arguments, "--format", "json").json["inputs"]
    assert (entry["name"], entry["kind"], entry["validity"]["source"]) == ("tokens", "ids", source)
    output = call("pad", path, *arguments)
    assert output.count(line) == 1
    document = call("pad", path, *arguments, "--format", "json").json
    assert entry["padded_timesteps"] == np.logical_not(document["mask"]).sum()


def test_source_of_a_marked_array(call: Callable[..., Output], tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    tokens = np.array([[1, 2, 3], [4, 0, 0]])
    np.savez(path, tokens=tokens, mask=np.array([[True, True, True], [True, True, False]]))
    document = call("pad", path, "--format", "json").json
    assert document["inputs"][0]["validity"] == {"source": "given", "of": "mask", "value": None, "filled_with": None}
    assert document["inputs"][0]["padded_timesteps"] == 1
    assert "tokens: padding as marked in mask" in call("pad", path)
