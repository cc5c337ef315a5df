"""L-001 as one kernel for a GPU: x, g and m are read once, x' and m' written once.

The arithmetic is that of the specification whatever a compiler does with ``a*b + c``: the bits of
every product go through an exclusive or with a zero that comes from memory (L-007).
"""

from functools import cache
from typing import Any

import mlx.core as mx

from lion_ports.config import Rule
from lion_ports.mlx.scalars import Rounded

USED = False
"""Whether a GPU makes updates by these kernels, and not by one operation after another.

They have been compiled, and run on a CPU (docs/mlx.md), but never on a GPU. Once a Mac has passed
the tests with them, this is to be ``mx.metal.is_available()``.
"""

_FLOATS = (mx.float32, mx.bfloat16, mx.float16)
_THREADS = 256

# What the two languages have by other names.
METAL = """
inline float lion_product(float a, float b, unsigned zero) {
  return as_type<float>(as_type<unsigned>(a * b) ^ zero);
}
inline unsigned lion_bits(float a) { return as_type<unsigned>(a); }
"""
CUDA = """
__device__ inline float lion_product(float a, float b, unsigned zero) {
  return __uint_as_float(__float_as_uint(a * b) ^ zero);
}
__device__ inline unsigned lion_bits(float a) { return __float_as_uint(a); }
"""
INDEX = {
    "metal": "unsigned i = thread_position_in_grid.x;",
    "cuda": "unsigned i = blockIdx.x * blockDim.x + threadIdx.x;",
}

# What both have in common. It declares no pointers, as an input of fewer than 8 elements lies in
# another address space in Metal. The scalars are always 8.
BODY = """
if (i >= unsigned(x_shape[0])) return;
const unsigned zero = lion_bits(scalars[7]);
const float lr = scalars[0], wd = scalars[5];
const float xi = float(x[i]), gi = float(g[i]), mi = float(m[i]);
const float c = lion_product(scalars[1], mi, zero) + lion_product(scalars[2], gi, zero);
// The sign of NaN is NaN, that of both zeros +0 (L-010).
float u = c > 0.0f ? 1.0f : c < 0.0f ? -1.0f : c == 0.0f ? 0.0f : c;
if (wd != 0.0f) u = u + lion_product(wd, xi, zero);  // L-009
new_x[i] = TX(xi - lion_product(lr, u, zero));
new_m[i] = TM(lion_product(scalars[3], mi, zero) + lion_product(scalars[4], gi, zero));
"""


def takes(x: mx.array, g: mx.array, m: mx.array, rule: Rule) -> bool:
    """Whether the update of this parameter is made by one kernel."""
    return (
        USED
        and mx.default_device().type == mx.gpu
        and all(a.dtype in _FLOATS for a in (x, g, m))
        and 0 < x.size < 1 << 31
        and rule.nonlinearity == "sign"
        and not rule.cautious
        and not rule.cautious_decay
    )


def move(x: mx.array, g: mx.array, m: mx.array, scalars: Rounded) -> tuple[mx.array, mx.array]:
    """L-001 on reals of float32, bfloat16 and float16, in any mixture."""
    return call(kernel("metal" if mx.metal.is_available() else "cuda"), x, g, m, scalars.packed)


def call(
    kernel: Any, x: mx.array, g: mx.array, m: mx.array, scalars: mx.array
) -> tuple[mx.array, mx.array]:
    """One thread an element. ``scalars``: see :attr:`Rounded.packed`."""
    new_x, new_m = kernel(
        inputs=[x.reshape(-1), g.reshape(-1), m.reshape(-1), scalars],
        template=[("TX", x.dtype), ("TM", m.dtype)],
        output_shapes=[x.shape, x.shape],
        output_dtypes=[x.dtype, m.dtype],
        grid=(x.size, 1, 1),
        threadgroup=(_THREADS, 1, 1),
    )
    return new_x, new_m


@cache
def kernel(language: str) -> Any:
    """The kernel in ``"metal"`` or ``"cuda"``."""
    names: Any = {
        "name": "lion",
        "input_names": ["x", "g", "m", "scalars"],
        "output_names": ["new_x", "new_m"],
        "source": INDEX[language] + BODY,
    }
    if language == "cuda":
        return mx.fast.cuda_kernel(header=CUDA, **names)
    # "safe" keeps NaN and infinity, which is the default; the promise rests on it.
    return mx.fast.metal_kernel(header=METAL, compile_options={"math_mode": "safe"}, **names)
