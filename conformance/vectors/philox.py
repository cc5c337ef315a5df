"""Streams of numbers that are described, not written out: words of Philox4x64-10, cut and scaled.

Only the raw words are used, which every implementation of Philox gives alike; what NumPy makes of
them for a normal distribution it may change from version to version.
"""

from typing import Any, NamedTuple

import numpy as np

from lion_ports.config import LionConfig
from lion_ports.conformance.bits import DTYPES
from lion_ports.conformance.trial import Array, Case, Step, Trial

PRECISION = {"bfloat16": 8, "float16": 11, "float32": 24, "float64": 53}
"""Bits of a word that are used: as many as the dtype holds exactly."""


class Stream(NamedTuple):
    """One parameter ``x`` with its gradients; each step has the words of a key of its own."""

    seed: int
    dtype: str
    shape: tuple[int, ...]
    length: int
    shown: tuple[int, ...]
    """The steps after which the expected numbers are published."""

    def array(self, step: int) -> Array:
        """The gradient of a step, counted from 1; the parameter before them is that of step 0."""
        return numbers(self.seed, step, self.dtype, self.shape)

    def trial(self) -> Trial:
        """As a case puts it to an implementation."""
        steps = [Step({"x": self.array(i)}, _LR) for i in range(1, self.length + 1)]
        return Trial({"x": self.array(0)}, steps, _CONFIG)


_LR = 2.0**-10
_CONFIG = LionConfig(lr=_LR, weight_decay=0.5)


def numbers(seed: int, step: int, dtype: str, shape: tuple[int, ...]) -> Array:
    """Numbers in [-1, 1), each exact in its dtype, from the words of the key ``(seed, step)``."""
    bits = PRECISION[dtype]
    count = int(np.prod(shape))
    words = np.random.Philox(key=np.array([seed, step], np.uint64)).random_raw(count)
    whole = (words >> np.uint64(64 - bits)).astype(np.int64) - 2 ** (bits - 1)
    scaled: Any = whole.astype(np.float64) * 2.0 ** (1 - bits)
    return np.asarray(scaled.astype(DTYPES[dtype])).reshape(shape)


STREAMS = {
    "stream-float32": Stream(1, "float32", (16,), 10_000, (1, 2, 10, 100, 1000, 10_000)),
    "stream-bfloat16": Stream(2, "bfloat16", (4, 4), 2000, (1, 2, 10, 100, 1000, 2000)),
    "stream-large": Stream(3, "float32", (300_007,), 2, (1, 2)),
}
"""Long ones and a large one, in place of cases whose numbers would fill megabytes."""

CASES = {
    name: Case(name, "L-001", f"{stream.length} steps from Philox.", stream.trial)
    for name, stream in STREAMS.items()
}
