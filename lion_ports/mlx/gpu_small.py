"""L-001 on small state (L-031, L-032) as one kernel for a GPU: all is read and written once.

What ``storage.py`` defines, as 32 threads make it of a block of 128 elements: a SIMD-group of
Metal, a warp of CUDA. Floats that are kept by their bits go in and out as integers.
"""

from functools import cache
from typing import Any

import mlx.core as mx

from lion_ports.config import Rule
from lion_ports.mlx import gpu
from lion_ports.mlx.scalars import Rounded
from lion_ports.mlx.trees import Slots

SLOTS = ("m", "m_scale", "correction")
"""What the kernel brings forward beside the parameter, of what there is."""

_BLOCK, _LANES = 128, 32

# The largest that one of the 32 threads has.
LARGEST = {
    "metal": "LION unsigned lion_largest(unsigned a) { return simd_max(a); }",
    "cuda": """
LION unsigned lion_largest(unsigned a) {
  for (int distance = 16; distance > 0; distance /= 2) {
    const unsigned other = __shfl_xor_sync(0xFFFFFFFFu, a, distance);
    a = other > a ? other : a;
  }
  return a;
}""",
}
HEADER = """
// Bits for an element in one update, after so many others (L-031).
LION unsigned lion_dither(unsigned place, unsigned count) {
  unsigned h = place * 0x9E3779B1u + count * 0x85EBCA77u;
  h = (h ^ (h >> 15)) * 0x2C1B3C6Du;
  h = (h ^ (h >> 12)) * 0x297A2D39u;
  return h ^ (h >> 15);
}
// What a code of 0 would stand for beside a scale: 15 octaves below it.
LION int lion_base(unsigned scale) { return int(scale << 16) - (15 << 23); }
LION unsigned lion_decoded(int code, int base) {
  if (code == 0) return 0u;
  if (code == -128) return 0x7FC00000u;
  const unsigned sign = code < 0 ? 0x80000000u : 0u;
  return sign | unsigned(base + (code < 0 ? -code : code) * (1 << 20));
}
LION int lion_encoded(unsigned whole, int base, unsigned dither) {
  const int bits = int(whole & 0x7FFFFFFFu), up = int(dither & 0xFFFFFu);
  if (bits >= 0x7F800000) return -128;
  if (bits == 0) return 0;
  int code = (bits - base + up) >> 20;
  code = code < 1 ? 1 : code > 127 ? 127 : code;
  return whole >> 31 ? -code : code;
}
LION unsigned lion_scale(unsigned largest) {
  const unsigned exponent = (largest + (1u << 20)) >> 23;
  return (exponent < 16u ? 16u : exponent > 254u ? 254u : exponent) << 7;
}
// A bfloat16 and the units of the last place that it lacks of a float32 (L-032).
LION unsigned lion_joined(unsigned x, int correction, int unit) {
  const int upper = int((x & 0x7FFFu) << 16);
  const int top = upper > 0x7F800000 ? 0x7FFFFFFF : 0x7F800000;
  const int magnitude = upper + correction * unit;
  return unsigned(magnitude < 0 ? 0 : magnitude > top ? top : magnitude) | (x & 0x8000u) << 16;
}
"""
# A thread has every 32nd element of its block, so that they read what lies together together.
# Nothing is stored before all is loaded, so that no load waits for a store. Past the end it has the
# last element once more, which changes no maximum.
BODY = f"""
const unsigned size = x_shape[0], block = i / 32, first = 128 * block + i % 32;
if (128 * block >= size) return;  // all 32
#if LION_CORRECTED
const int unit = sizeof(TC) == 1 ? 256 : 1;
#endif
if (!moves[0]) {{
  for (unsigned place = first; place < size && place < first + 128; place += 32) {{
    new_x[place] = x[place];
    new_m[place] = m[place];
#if LION_CORRECTED
    new_correction[place] = correction[place];
#endif
  }}
#if LION_CODES
  if (i % 32 == 0) new_m_scale[block] = m_scale[block];
#endif
  return;
}}
const unsigned zero = lion_bits(scalars[7]), count = unsigned(before[0]);
float new_xs[4], new_ms[4];
#if LION_CODES
const int old_base = lion_base(m_scale[block]);
unsigned largest = 0;
#endif
for (int j = 0; j < 4; ++j) {{
  const unsigned place = first + 32 * j, e = place < size ? place : size - 1;
  const float gi = float(g[e]);
#if LION_CORRECTED
  const float xi = lion_float(lion_joined(x[e], correction[e], unit));
#else
  const float xi = float(x[e]);
#endif
#if LION_CODES
  const float mi = lion_float(lion_decoded(m[e], old_base));
#else
  const float mi = float(m[e]);
#endif
{gpu.UPDATE}
  new_xs[j] = next_x;
  new_ms[j] = next_m;
#if LION_CODES
  const unsigned magnitude = lion_bits(next_m) & 0x7FFFFFFFu;
  if (magnitude < 0x7F800000u && magnitude > largest) largest = magnitude;
#endif
}}
#if LION_CODES
const unsigned scale = lion_scale(lion_largest(largest));
const int base = lion_base(scale);
if (i % 32 == 0) new_m_scale[block] = uint16_t(scale);
#endif
for (int j = 0; j < 4; ++j) {{
  const unsigned place = first + 32 * j, dither = lion_dither(place, count);
  if (place >= size) return;
#if LION_CORRECTED
  const unsigned whole = lion_bits(new_xs[j]);
  unsigned magnitude = whole & 0x7FFFFFFFu;
  const bool lost = magnitude > 0x7F800000u;
  // The bits that no correction holds are rounded by chance.
  const unsigned up = unit == 1 ? 0u : dither >> 24;
  magnitude = (magnitude + up) & unsigned(-unit);  // infinity stays: its lower bits are 0
  const unsigned upper = lost ? 0x7FC0u : (magnitude + 0x8000u) >> 16;
  new_x[place] = TX(upper | whole >> 31 << 15);
  new_correction[place] = TC(lost ? 0 : int(magnitude - (upper << 16)) / unit);
#else
  new_x[place] = TX(new_xs[j]);
#endif
#if LION_CODES
  new_m[place] = TM(lion_encoded(lion_bits(new_ms[j]), base, dither));
#else
  new_m[place] = TM(new_ms[j]);
#endif
}}
"""


def takes(rule: Rule, x: mx.array, g: mx.array, slots: Slots) -> bool:
    """Whether a parameter has small state, and its update is made by one kernel."""
    floats = [] if "m_scale" in slots else [slots["m"]]
    return ("m_scale" in slots or "correction" in slots) and gpu.takes(rule, x, g, *floats)


def move(
    x: mx.array,
    g: mx.array,
    slots: Slots,
    scalars: Rounded,
    before: mx.array,
    moves: mx.array | None,
) -> mx.array:
    """The new parameter; its momentum, scales and correction are brought forward.

    Args:
        x: float32, float16 or bfloat16; bfloat16 under a correction.
        g: gradient, of these dtypes.
        slots: of the parameter.
        scalars: those of this step.
        before: updates done before this one.
        moves: whether it is updated at all; None: it is.
    """
    names = tuple(name for name in SLOTS if name in slots)
    goes = mx.array(True) if moves is None else moves
    made = call(kernel(gpu.language(), names), x, g, slots, scalars.packed, before, goes)
    slots.update((name, made[name]) for name in names)
    return made["x"]


def call(
    kernel: Any,
    x: mx.array,
    g: mx.array,
    slots: Slots,
    scalars: mx.array,
    before: mx.array,
    moves: mx.array,
) -> dict[str, mx.array]:
    """What :func:`kernel` makes of a parameter, as ``"x"``, and of what :data:`SLOTS` has of it."""
    kept = {"x": x, **{name: slots[name] for name in SLOTS if name in slots}}
    in_bits = {"m_scale", "x"} if "correction" in slots else {"m_scale"}
    flat = {n: a.reshape(-1).view(mx.uint16 if n in in_bits else a.dtype) for n, a in kept.items()}
    template = [("TX", flat["x"].dtype), ("TG", g.dtype), ("TM", flat["m"].dtype)]
    if "correction" in slots:
        template.append(("TC", flat["correction"].dtype))
    old_x, *others = flat.values()
    made = kernel(
        inputs=[old_x, g.reshape(-1), *others, scalars, before.reshape(-1), moves.reshape(-1)],
        template=template,
        output_shapes=[a.shape for a in kept.values()],
        output_dtypes=[a.dtype for a in flat.values()],
        grid=(-(-x.size // _BLOCK) * _LANES, 1, 1),
        threadgroup=(gpu.THREADS, 1, 1),
    )
    return {n: a.view(kept[n].dtype) for n, a in zip(kept, made, strict=True)}


@cache
def kernel(language: str, names: tuple[str, ...]) -> Any:
    """The kernel in ``"metal"`` or ``"cuda"`` for those of :data:`SLOTS` that there are."""
    codes, corrected = "m_scale" in names, "correction" in names
    header = f"""
#define LION_CODES {int(codes)}
#define LION_CORRECTED {int(corrected)}
{LARGEST[language]}
{HEADER}"""
    inputs = ["x", "g", *names, "scalars", "before", "moves"]
    outputs = ["new_x", *(f"new_{name}" for name in names)]
    return gpu.written(language, "lion_small", inputs, outputs, BODY, header)
