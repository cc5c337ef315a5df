"""Lion a second time, element by element in exact rational arithmetic.

Written from docs/spec.md and not from ``lion_ports.reference``, which it checks: it shares no code
with it, and NumPy does none of its arithmetic. Numbers are Python floats, which hold every value of
the formats below; each operation is done on fractions and rounded once.
"""

import math
from fractions import Fraction
from typing import NamedTuple


class Format(NamedTuple):
    """A binary format: its bits of precision, and the exponent of its smallest normal number."""

    precision: int
    emin: int


FORMATS = {
    "float64": Format(53, -1022),
    "float32": Format(24, -126),
    "bfloat16": Format(8, -126),
    "float16": Format(11, -14),
}


def rounded(value: Fraction, to: Format) -> float:
    """The nearest number of a format, ties to even; beyond the largest, infinity."""
    if value == 0:
        return 0.0
    exponent = math.floor(_log2(abs(value)))
    quantum = Fraction(2) ** (max(exponent, to.emin) - to.precision + 1)
    nearest = round(value / quantum) * quantum  # Python rounds a fraction half to even
    if abs(nearest) >= Fraction(2) ** (2 - to.emin):
        return math.copysign(math.inf, value)
    return math.copysign(float(nearest), value)


def _log2(value: Fraction) -> int:
    """The exponent e with 2^e <= value < 2^(e+1)."""
    exponent = value.numerator.bit_length() - value.denominator.bit_length()
    return exponent if Fraction(2) ** exponent <= value else exponent - 1


def multiply(a: float, b: float, to: Format) -> float:
    """``a*b`` in a format. Zeros, infinities and NaN follow IEEE 754, as Python's floats do."""
    if a == 0 or b == 0 or not (math.isfinite(a) and math.isfinite(b)):
        return a * b
    product = rounded(Fraction(a) * Fraction(b), to)
    return math.copysign(product, math.copysign(1, a) * math.copysign(1, b))


def add(a: float, b: float, to: Format) -> float:
    """``a+b`` in a format."""
    if not (math.isfinite(a) and math.isfinite(b)) or a + b == 0:
        return a + b
    return rounded(Fraction(a) + Fraction(b), to)


def store(value: float, to: Format) -> float:
    """A number in another format, rounded once."""
    if value == 0 or not math.isfinite(value):
        return value
    return math.copysign(rounded(Fraction(value), to), value)


def lion(
    x: float,
    g: float,
    m: float,
    *,
    lr: float,
    betas: tuple[float, float],
    wd: float,
    parameter: str,
    momentum: str,
) -> tuple[float, float]:
    """The new parameter and momentum of one element.

    ``parameter`` and ``momentum`` name the formats that they are stored in.
    """
    compute = FORMATS["float64" if parameter == "float64" else "float32"]
    b1, b2 = betas
    complements = (1.0 - b1, 1.0 - b2)  # in float64, and then rounded like every scalar
    b1, b2, lr_, wd_ = (store(s, compute) for s in (b1, b2, lr, wd))
    omb1, omb2 = (store(s, compute) for s in complements)
    x, g, m = (store(v, compute) for v in (x, g, m))

    c = add(multiply(b1, m, compute), multiply(omb1, g, compute), compute)
    u = c if math.isnan(c) else float((c > 0) - (c < 0))
    if wd != 0:
        u = add(u, multiply(wd_, x, compute), compute)
    new_x = add(x, -multiply(lr_, u, compute), compute)
    new_m = add(multiply(b2, m, compute), multiply(omb2, g, compute), compute)
    return store(new_x, FORMATS[parameter]), store(new_m, FORMATS[momentum])
