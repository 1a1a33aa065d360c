"""The cost of the callback, in training steps without compilation: ``python -m benchmarks.mask_check``.

The time of the check is that of a second training, so that it contains no import. Steps run eagerly, as Keras runs them
with ``run_eagerly=True``; compiled ones, which are faster, are next to them.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

BATCH, STEPS = 32, 6
VOCABULARY = 20_000


def make_lstm(width: int) -> Any:
    """Return an LSTM classifier."""
    import keras
    from keras import layers

    tokens = keras.Input((None,), dtype="int32")
    x = layers.Embedding(VOCABULARY, width, mask_zero=True)(tokens)
    x = layers.LSTM(width)(x)
    return keras.Model(tokens, layers.Dense(1)(x))


def make_bilstm() -> Any:
    """Return a classifier that reads in both directions."""
    import keras
    from keras import layers

    tokens = keras.Input((None,), dtype="int32")
    x = layers.Embedding(VOCABULARY, 128, mask_zero=True)(tokens)
    x = layers.Bidirectional(layers.LSTM(128))(x)
    return keras.Model(tokens, layers.Dense(1)(x))


def make_transformer(width: int, blocks: int) -> Any:
    """Return an encoder with attention, and pooling under the mask."""
    import keras
    from keras import layers

    tokens = keras.Input((None,), dtype="int32")
    x = layers.Embedding(VOCABULARY, width, mask_zero=True)(tokens)
    for _ in range(blocks):
        attended = layers.MultiHeadAttention(4, width // 4)(x, x)
        x = layers.LayerNormalization()(layers.Add()([x, attended]))
        hidden = layers.Dense(width)(layers.Dense(4 * width, activation="gelu")(x))
        x = layers.LayerNormalization()(layers.Add()([x, hidden]))
    return keras.Model(tokens, layers.Dense(1)(layers.GlobalAveragePooling1D()(x)))


CASES: dict[str, tuple[int, Callable[[], Any]]] = {
    "LSTM(16), 32 × 20": (20, lambda: make_lstm(16)),
    "LSTM(256), 32 × 64": (64, lambda: make_lstm(256)),
    "2 blocks of 128, 32 × 64": (64, lambda: make_transformer(128, 2)),
    "4 blocks of 256, 32 × 128": (128, lambda: make_transformer(256, 4)),
    "Bidirectional LSTM(128), 32 × 200": (200, make_bilstm),
}
"""By name, the timesteps and the model."""


def measure(timesteps: int, make: Callable[[], Any]) -> tuple[float, float, float]:
    """Return the seconds of the check, of an eager step, and of a compiled step."""
    from maskcli.integrations.mask_check import MaskCheck

    class TimedCheck(MaskCheck):
        """Measures its check."""

        seconds = 0.0

        def _check(self) -> None:
            start = time.perf_counter()
            super()._check()
            self.seconds = max(self.seconds, time.perf_counter() - start)

    rng = np.random.default_rng(0)
    lengths = rng.integers(timesteps // 4, timesteps + 1, BATCH * STEPS)
    ids = rng.integers(1, VOCABULARY, (BATCH * STEPS, timesteps)) * (np.arange(timesteps) < lengths[:, None])
    targets = rng.random((BATCH * STEPS, 1))
    model = make()
    seconds = {}
    for eagerly in (False, True):
        model.compile("sgd", "mse", run_eagerly=eagerly)
        for _ in range(2):  # The first time compiles.
            check = TimedCheck()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                start = time.perf_counter()
                model.fit(ids, targets, batch_size=BATCH, verbose=0, callbacks=[check])
                seconds[eagerly] = (time.perf_counter() - start - check.seconds) / STEPS, check.seconds
    return seconds[True][1], seconds[True][0], seconds[False][0]


def main() -> None:
    """Print the table."""
    print("| model, batch | check | eager steps | compiled steps |\n|---|---|---|---|")
    for name, (timesteps, make) in CASES.items():
        check, eager, compiled = measure(timesteps, make)
        print(f"| {name} | {check:.2f} s | {check / eager:.1f} | {check / compiled:.1f} |", flush=True)


if __name__ == "__main__":
    main()
