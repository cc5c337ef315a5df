"""L-001 as one kernel for a GPU: x, g and m are read once, x' and m' written once.

The arithmetic is that of the specification whatever a compiler does with ``a*b + c``: the bits of
every product go through an exclusive or with a zero that comes from memory (L-007).
"""

from collections.abc import Sequence
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
THREADS = 256
"""Threads to a threadgroup, a multiple of the 32 that share a block of small state."""

_PRODUCT = """
LION float lion_product(float a, float b, unsigned zero) {
  return lion_float(lion_bits(a * b) ^ zero);
}
"""
# What the two languages have by other names.
HEADER = {
    "metal": """
#define LION inline
LION unsigned lion_bits(float a) { return as_type<unsigned>(a); }
LION float lion_float(unsigned bits) { return as_type<float>(bits); }
"""
    + _PRODUCT,
    "cuda": """
#define LION __device__ inline
LION unsigned lion_bits(float a) { return __float_as_uint(a); }
LION float lion_float(unsigned bits) { return __uint_as_float(bits); }
"""
    + _PRODUCT,
}
INDEX = {
    "metal": "const unsigned i = thread_position_in_grid.x;",
    "cuda": "const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;",
}

# The new xi and mi of one element, from them and gi. The scalars are always 8, the last a zero.
UPDATE = """
const float c = lion_product(scalars[1], mi, zero) + lion_product(scalars[2], gi, zero);
// The sign of NaN is NaN, that of both zeros +0 (L-010).
float u = c > 0.0f ? 1.0f : c < 0.0f ? -1.0f : c == 0.0f ? 0.0f : c;
if (scalars[5] != 0.0f) u = u + lion_product(scalars[5], xi, zero);  // L-009
const float next_x = xi - lion_product(scalars[0], u, zero);
const float next_m = lion_product(scalars[3], mi, zero) + lion_product(scalars[4], gi, zero);
"""
# Bodies declare no pointers, as an input of fewer than 8 elements lies in another address space in
# Metal.
BODY = f"""
if (i >= unsigned(x_shape[0])) return;
const unsigned zero = lion_bits(scalars[7]);
const float xi = float(x[i]), gi = float(g[i]), mi = float(m[i]);
{UPDATE}
new_x[i] = TX(next_x);
new_m[i] = TM(next_m);
"""


def takes(rule: Rule, x: mx.array, *others: mx.array) -> bool:
    """Whether the update of this parameter is made by one kernel.

    Args:
        rule: how the direction is made.
        x: parameter.
        others: what else is read as floats: the gradient, and a momentum that is no code.
    """
    return (
        USED
        and mx.default_device().type == mx.gpu
        and all(a.dtype in _FLOATS for a in (x, *others))
        and 0 < x.size < 1 << 31
        and rule.nonlinearity == "sign"
        and not rule.cautious
        and not rule.cautious_decay
    )


def move(x: mx.array, g: mx.array, m: mx.array, scalars: Rounded) -> tuple[mx.array, mx.array]:
    """L-001 on reals of float32, bfloat16 and float16, in any mixture."""
    return call(kernel(language()), x, g, m, scalars.packed)


def call(
    kernel: Any, x: mx.array, g: mx.array, m: mx.array, scalars: mx.array
) -> tuple[mx.array, mx.array]:
    """One thread an element. ``scalars``: see :attr:`Rounded.packed`."""
    new_x, new_m = kernel(
        inputs=[x.reshape(-1), g.reshape(-1), m.reshape(-1), scalars],
        # MLX tells kernels of CUDA from each other by these alone.
        template=[("TX", x.dtype), ("TG", g.dtype), ("TM", m.dtype)],
        output_shapes=[x.shape, x.shape],
        output_dtypes=[x.dtype, m.dtype],
        grid=(x.size, 1, 1),
        threadgroup=(THREADS, 1, 1),
    )
    return new_x, new_m


@cache
def kernel(language: str) -> Any:
    """The kernel in ``"metal"`` or ``"cuda"``."""
    return written(language, "lion", ["x", "g", "m", "scalars"], ["new_x", "new_m"], BODY)


def language() -> str:
    """That of the GPU which there is."""
    return "metal" if mx.metal.is_available() else "cuda"


def written(
    language: str,
    name: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    body: str,
    header: str = "",
) -> Any:
    """A kernel whose body begins with ``i``, the number of its thread."""
    names: Any = {
        "name": name,
        "input_names": inputs,
        "output_names": outputs,
        "header": HEADER[language] + header,
        "source": INDEX[language] + body,
    }
    if language == "cuda":
        return mx.fast.cuda_kernel(**names)
    # "safe" keeps NaN and infinity, which is the default; the promise rests on it.
    return mx.fast.metal_kernel(compile_options={"math_mode": "safe"}, **names)
