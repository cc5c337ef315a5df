"""What the ports' tests of small state run on (L-031, L-032)."""

import ml_dtypes
import numpy as np

LR = 2.0**-7 * 1.1
# No block, parts of one, whole ones, and blocks that rows do not end with.
SHAPES = [(), (0,), (1,), (127,), (128,), (129,), (2, 128), (3, 43), (2, 3, 5, 13)]
SPECIAL = [0, -0.0, np.inf, -np.inf, np.nan, 2.0**-126, -(2.0**-120), 3e38, -1e38]
DTYPES = {"bfloat16": ml_dtypes.bfloat16}


def stream(dtype, steps=12, *, subnormal=False):
    """Parameters around a block long, and gradients of many sizes, now and then not finite.

    ``subnormal``: one of the numbers is, which XLA and MLX replace by zero (L-012).
    """
    rng = np.random.Generator(np.random.Philox(11))
    dtype = np.dtype(DTYPES.get(dtype, dtype))
    special = np.array([*SPECIAL, 1e-42 if subnormal else 1])

    def draw():
        scales = 2.0 ** rng.integers(-12, 3, len(SHAPES))
        drawn = [
            np.asarray(k * rng.standard_normal(s)) for k, s in zip(scales, SHAPES, strict=True)
        ]
        return {f"p{i}": np.asarray(a.astype(dtype)) for i, a in enumerate(drawn)}

    params, grads = draw(), [draw() for _ in range(12)]
    with np.errstate(over="ignore"):
        params["p3"][: special.size] = special.astype(dtype)
        grads[2]["p5"][-special.size :] = special.astype(dtype)
    for i in (1, 4):
        grads[i]["p7"] = None
    return params, grads[:steps]
