"""Measure ``maskcli.check`` and ``inspect``, compared with the same model and with the import of TensorFlow.

    python benchmarks/check.py [CASE ...]

Each case runs in a process of its own: it builds a model with random weights, runs it, and then checks it. Seconds are
those of all CPU cores, because a check also computes with NumPy, on one core. The time in which the probe ``compiled``
compiles the model is left out, and its run counts. Peaks include TensorFlow and the weights. ``--quick`` is measured in
another process. GPT-2 and BERT need keras-hub. ``--billion`` extrapolates the peak to a billion parameters from GPT-2
with 12 and 24 layers. Nothing is asserted; this measures, and does not test.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any

from turns import MIB, print_header, print_row, read_measurement, read_peak, run_command

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

LAYERS = {"gpt2": 12, "bert": 12}
BILLION = ("gpt2-8x64x12", "gpt2-8x64x24")
LONG = "import numpy, maskcli; maskcli.inspect(numpy.random.default_rng(0).integers(1, 9, (2, 10000)))"


def make_case(name: str) -> tuple[Any, Any]:
    """Return a model and its data: rows whose lengths go from a third of the timesteps to all of them."""
    import keras
    import numpy as np

    keras.utils.set_random_seed(0)
    kind, _, size = name.partition("-")
    rows, timesteps = map(int, size.split("x")[:2])
    lengths = np.linspace(timesteps // 3, timesteps, rows).astype(int)
    mask = np.arange(timesteps) < lengths[:, None]
    ids = np.where(mask, np.random.default_rng(0).integers(1, 100, mask.shape), 0).astype("int32")
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    if kind == "bilstm":
        x = keras.layers.Embedding(100, 64, mask_zero=True)(tokens)
        return keras.Model(tokens, keras.layers.Bidirectional(keras.layers.LSTM(128))(x)), ids
    if kind == "blocks":
        x = keras.layers.Embedding(100, 256, mask_zero=True)(tokens)
        for _ in range(12):
            x = keras.layers.LayerNormalization()(x + keras.layers.MultiHeadAttention(4, 64)(x, x))
            x = keras.layers.LayerNormalization()(x + keras.layers.Dense(256)(keras.layers.Dense(1024, "gelu")(x)))
        return keras.Model(tokens, x), ids
    from keras_hub import models

    depth = {"num_layers": int(size.split("x")[2]) if size.count("x") > 1 else LAYERS[kind]}
    width = {"num_heads": 12, "hidden_dim": 768, "intermediate_dim": 3072}
    data = {"token_ids": ids, "padding_mask": mask.astype("int32")}
    if kind == "gpt2":
        return models.GPT2Backbone(vocabulary_size=50257, max_sequence_length=1024, **width, **depth), data
    model = models.BertBackbone(vocabulary_size=30522, max_sequence_length=512, **width, **depth)
    return model, {**data, "segment_ids": np.zeros_like(ids)}


@contextlib.contextmanager
def time_compiling() -> Iterator[list[float]]:
    """Run each compiled model once more, and collect the seconds of its first run, which compiles it."""
    from maskcli.backends.choice import get_backend

    kind, seconds = type(get_backend()), []
    compile_model = kind.compile_model

    def compile_and_time(*arguments: Any) -> Any:
        function = compile_model(*arguments)
        is_compiled = False

        def run(tensors: Any) -> Any:
            nonlocal is_compiled
            if not is_compiled:  # Later runs of the same function compile nothing.
                start = time.process_time()
                function(tensors)
                seconds.append(time.process_time() - start)
                is_compiled = True
            return function(tensors)

        return run

    kind.compile_model = compile_and_time
    try:
        yield seconds
    finally:
        kind.compile_model = compile_model


def run_case(name: str, quick: bool) -> dict[str, Any]:
    """Return the seconds and the peak of a forward pass, of ``predict`` and of a check."""
    import maskcli

    warnings.simplefilter("ignore")
    model, data = make_case(name)

    def measure(work: Any) -> tuple[float, int]:
        read_peak(reset=True)
        start = time.process_time()
        work()
        return time.process_time() - start, read_peak()

    forwards = [measure(lambda: model(data, training=False)) for _ in range(3)][1:]
    predicts = [measure(lambda: model.predict(data, verbose=0)) for _ in range(3)][1:]
    report: list[Any] = []
    with time_compiling() as compiling:
        seconds, peak = measure(lambda: report.append(maskcli.check(data, model=model, quick=quick)))
    leak = report[0].leak
    return {
        "parameters": model.count_params(),
        "forward": min(seconds for seconds, _ in forwards),
        "predict": min(seconds for seconds, _ in predicts),
        "forward_peak": max(peak for _, peak in forwards),
        "seconds": seconds - sum(compiling),
        "compiling": sum(compiling),
        "peak": peak,
        "verdict": None if leak is None else leak.verdict,
    }


def main() -> None:
    """Measure each case, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = ["bilstm-16x500", "blocks-16x200", "bert-8x64", "gpt2-8x64", "bert-8x512", "gpt2-8x512"]
    parser.add_argument("cases", nargs="*", default=default, help="KIND-ROWSxTIMESTEPS[xLAYERS]")
    parser.add_argument("--billion", action="store_true", help="extrapolate the peak to a billion parameters")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(run_case(options.case, options.quick)))
        return
    if options.billion:
        extrapolate()
        return
    titles = ["÷ forward", "÷ predict", "peak ÷ forward's", "`--quick` ÷ forward"]
    print_header("model, rows × timesteps", "parameters", "forward, s", "check, s", *titles, "verdict")
    for case in options.cases:
        full, quick = (
            read_measurement([sys.executable, __file__, "--case", case, *extra]) for extra in ((), ("--quick",))
        )
        print_row(
            case,
            f"{full['parameters'] / 1e6:,.1f} M",
            f"{full['forward']:.2f}",
            f"{full['seconds']:.1f}",
            f"{full['seconds'] / full['forward']:.1f}",
            f"{full['seconds'] / full['predict']:.1f}",
            f"{full['peak'] / MIB:,.0f} ÷ {full['forward_peak'] / MIB:,.0f} MiB = "
            f"{full['peak'] / full['forward_peak']:.2f}",
            f"{quick['seconds'] / quick['forward']:.1f}",
            f"{full['verdict']}",
        )
    if options.cases == default:
        pairs = [[run_command([sys.executable, "-c", code]) for code in (LONG, "import tensorflow")] for _ in range(3)]
        ratio = sorted(long["seconds"] / base["seconds"] for long, base in pairs)[1]
        print(f"\n`inspect` of 2 × 10,000 timesteps: {ratio:.2f} × `import tensorflow`")


def extrapolate() -> None:
    """Print the peaks of two models, and that of a billion parameters on the line through both."""
    few, many = (read_measurement([sys.executable, __file__, "--case", case]) for case in BILLION)
    slope = (many["peak"] - few["peak"]) / (many["parameters"] - few["parameters"])
    for case, run in zip(BILLION, (few, many), strict=True):
        print(f"{case}: {run['parameters'] / 1e6:,.1f} M parameters, {run['peak'] / MIB:,.0f} MiB")
    peak = few["peak"] + slope * (10**9 - few["parameters"])
    print(f"a billion parameters, extrapolated: {peak / 2**30:.1f} GiB, {slope:.1f} bytes for each parameter")


if __name__ == "__main__":
    main()
