"""The options of docs/spec.md a second time, on lists of numbers in exact rational arithmetic.

As ``exact.py``: written from the specification, and sharing no code with ``lion_ports.reference``.
What the specification leaves open, norms and tanh, is left out.
"""

import math
from collections.abc import Sequence
from fractions import Fraction

from lion_ports.conformance.exact import FORMATS, Format, add, multiply, rounded, store

Numbers = list[float]


def divide(a: float, b: float, to: Format) -> float:
    """``a/b`` in a format, of finite numbers, ``b`` not zero."""
    if a == 0:
        return a / b
    return math.copysign(rounded(Fraction(a) / Fraction(b), to), a / b)


def updated(
    xs: Sequence[float],
    gs: Sequence[float],
    ms: Sequence[float],
    *,
    lr: float,
    betas: tuple[float, float],
    wd: float,
    parameter: str,
    lr_peak: float | None = None,
    slope: float | None = None,
    cap: float | None = None,
    cautious_decay: bool = False,
) -> tuple[Numbers, Numbers]:
    """New parameters and momenta of one tensor.

    ``slope`` is the steepness of ``nonlinearity="clip"`` (L-028), ``cap`` that of a cautious update
    (L-022), ``lr_peak`` that of independent decay (L-017); None where the option is off.
    """
    to = FORMATS["float64" if parameter == "float64" else "float32"]
    b1, b2, omb1, omb2 = (store(b, to) for b in (*betas, 1.0 - betas[0], 1.0 - betas[1]))
    rate, decay = store(lr, to), store(wd, to)
    if lr_peak is not None:
        decay = divide(decay, store(lr_peak, to), to)
    xs, gs, ms = ([store(v, to) for v in vs] for vs in (xs, gs, ms))

    cs = [add(multiply(b1, m, to), multiply(omb1, g, to), to) for g, m in zip(gs, ms, strict=True)]
    us = [_direction(c, slope, to) for c in cs]
    if cap is not None:
        us = _cautious(us, gs, store(cap, to), to)
    moves = []
    for u, x in zip(us, xs, strict=True):
        if decay != 0 and (not cautious_decay or u * x > 0):
            u = add(u, multiply(decay, x, to), to)
        moves.append(multiply(rate, u, to))
    new_xs = [add(x, -move, to) for x, move in zip(xs, moves, strict=True)]
    new_ms = [
        add(multiply(b2, m, to), multiply(omb2, g, to), to) for g, m in zip(gs, ms, strict=True)
    ]
    stored = FORMATS[parameter]
    return [store(x, stored) for x in new_xs], [store(m, stored) for m in new_ms]


def effective(
    micro: Sequence[Sequence[float]],
    *,
    parameter: str,
    loss_scale: float | None = None,
    clipvalue: float | None = None,
) -> Numbers:
    """The gradient of an update from those of its micro-steps (L-024, L-025, L-026)."""
    to = FORMATS["float64" if parameter == "float64" else "float32"]
    sums = [0.0] * len(micro[0])
    for gs in micro:
        gs = [store(g, to) for g in gs]
        if loss_scale is not None:
            gs = [multiply(g, store(1.0 / loss_scale, to), to) for g in gs]
        sums = [add(s, g, to) for s, g in zip(sums, gs, strict=True)] if len(micro) > 1 else gs
    if len(micro) > 1:
        sums = [multiply(s, store(1.0 / len(micro), to), to) for s in sums]
    if clipvalue is not None:
        bound = store(clipvalue, to)
        sums = [min(max(s, -bound), bound) for s in sums]
    return sums


def averaged(es: Sequence[float], xs: Sequence[float], decay: float, *, parameter: str) -> Numbers:
    """The moving average after an update (L-029)."""
    to = FORMATS["float64" if parameter == "float64" else "float32"]
    d, omd = store(decay, to), store(1.0 - decay, to)
    return [add(multiply(d, e, to), multiply(omd, x, to), to) for e, x in zip(es, xs, strict=True)]


def _direction(c: float, slope: float | None, to: Format) -> float:
    if slope is None:
        return float((c > 0) - (c < 0))
    return min(max(multiply(store(slope, to), c, to), -1.0), 1.0)


def _cautious(us: Numbers, gs: Sequence[float], cap: float, to: Format) -> Numbers:
    agree = sum(1 for u, g in zip(us, gs, strict=True) if u * g > 0)
    factor = min(divide(store(len(us), to), store(agree + 1, to), to), cap)
    kept = [u if u * g > 0 else 0.0 for u, g in zip(us, gs, strict=True)]
    return [multiply(factor, u, to) for u in kept]
