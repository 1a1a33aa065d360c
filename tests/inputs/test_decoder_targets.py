"""Targets of a decoder: rows of records have the timesteps of the input whose lengths they have."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from maskcli.inputs.dataset import read_dataset
from maskcli.records.inputs import InputSpec
from maskcli.records.layout import Layout

SPECS = [InputSpec("source", (None, None), "int32"), InputSpec("shifted", (None, None), "int32")]
RECORDS = [
    {"source": [4, 5, 6, 7], "shifted": [1, 8], "next": [8, 2]},
    {"source": [3], "shifted": [1, 9, 8], "next": [9, 8, 2]},
]


def test_targets_are_padded_like_the_input_of_the_decoder(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    dataset = read_dataset(str(path), SPECS, Layout(), also={"next": "--targets-field"})
    assert np.array_equal(dataset.more["next"], [[8, 2, 0], [9, 8, 2]])
    assert [model_input.values.shape for model_input in dataset.inputs] == [(2, 4), (2, 3)]
