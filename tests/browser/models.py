"""The models of the pages: arguments of ``maskcli.report``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.conftest import QUESTION, ROOT

SCRIPT = "<script>alert(1)<script>"
"""Almost ``</script>``: the name of a layer cannot contain a slash, but that of an output can."""
ENDS = "</script><img src=x onerror=alert(2)>\"'`|\u2028&amp;"
EMBEDDED = '<script type="application/json" id="maskcli-report">{}</script>'


def sample() -> dict[str, Any]:
    command = ("maskcli", "report", "sample_data/sample.txt", "--output", "my report.html")
    return {"data": QUESTION, "batch_sizes": (1, 3), "command": command}


def unmasked() -> dict[str, Any]:
    return {"data": QUESTION, "mask_source": "none"}


def tagger() -> dict[str, Any]:
    from sample_data.models import tagger

    rows = [json.loads(line) for line in (Path(ROOT) / "sample_data" / "tagged.jsonl").read_text("utf-8").splitlines()]
    tokens, classes = ([row[field] for row in rows] for field in ("tokens", "classes"))
    return {"data": tokens, "model": tagger(), "targets": classes, "batch_sizes": (1, 4), "metrics": ["accuracy"]}


def transformer() -> dict[str, Any]:
    """Two nested blocks with causal attention, and an attention layer that does not receive the padding; two outputs."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)

    def block(number: int) -> keras.Model:
        inputs = keras.Input((None, 8))
        looked = layers.MultiHeadAttention(2, 4, name="look")(inputs, inputs, use_causal_mask=True)
        kept = layers.Add(name="add")([inputs, looked])
        return keras.Model(inputs, layers.Dense(8, name="think")(kept), name=f"block_{number}")

    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = layers.Embedding(4000, 8, mask_zero=True, name="embedding")(tokens)
    x = block(1)(block(0)(x))
    bare = layers.Attention(name="bare")([x * 1.0, x * 1.0])
    outputs = {"words": layers.Dense(5, name="words")(x), "mood": layers.GlobalAveragePooling1D(name="mood")(bare)}
    return {"data": QUESTION, "model": keras.Model(tokens, outputs, name="transformer")}


def hostile() -> dict[str, Any]:
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    tokens = keras.Input((None,), dtype="int32", name=SCRIPT)
    x = layers.Embedding(4000, 4, mask_zero=True, name="<b>\"'`|\u2028&lt;")(tokens)
    inputs = keras.Input((None, 4))
    inner = keras.Model(
        inputs, layers.Conv1D(4, 3, padding="same", name=f"conv{SCRIPT}")(inputs), name="<!--\u2029\\u003c"
    )
    x = inner(x)
    outputs = {ENDS: layers.Dense(2, name="first")(x), EMBEDDED: layers.Dense(2, name="second")(x)}
    return {
        "data": QUESTION,
        "model": keras.Model(tokens, outputs, name=f'"{SCRIPT}'),
        "command": ("maskcli", "report", ENDS, EMBEDDED, "it's"),
    }
