"""Right Lions, written in other ways that round differently. The suite must fail none of them."""

from collections.abc import Callable, Iterable, Iterator
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lion_ports import reference
from lion_ports.config import Scalars
from lion_ports.conformance.option_rewritings import (
    AVERAGES,
    FACTORS,
    NORMS,
    TOTALS,
    UNSCALES,
    Options,
    rewrite_options,
)
from lion_ports.conformance.variants import Update, Variant

Array = NDArray[Any]
Mix = Callable[[Array, Array, float], Any]


def _complement(m: Array, b: float) -> tuple[Any, Any]:
    """``b`` and ``1-b`` as L-006 rounds them."""
    return m.dtype.type(b), m.dtype.type(1 - b)


def _two_products(m: Array, g: Array, b: float) -> Any:
    b_, omb = _complement(m, b)
    return b_ * m + omb * g


def _rounded_complement(m: Array, g: Array, b: float) -> Any:
    b_ = m.dtype.type(b)
    return b_ * m + (m.dtype.type(1) - b_) * g


def _fused_left(m: Array, g: Array, b: float) -> Any:
    b_, omb = _complement(m, b)
    return _fused(b_, m, omb * g)


def _fused_right(m: Array, g: Array, b: float) -> Any:
    b_, omb = _complement(m, b)
    return _fused(omb, g, b_ * m)


def _lerp(m: Array, g: Array, b: float) -> Any:
    return m + _complement(m, b)[1] * (g - m)


def _difference(m: Array, g: Array, b: float) -> Any:
    return g + _complement(m, b)[0] * (m - g)


def _wide_mix(m: Array, g: Array, b: float) -> Any:
    wide = np.longdouble
    return (wide(b) * m.astype(wide) + (1 - wide(b)) * g.astype(wide)).astype(m.dtype)


def _fused(a: Any, b: Array, c: Any) -> Any:
    """``a*b + c`` with one rounding, by way of a wider dtype."""
    wide: Any = np.float64 if b.dtype == np.float32 else np.longdouble
    return (wide(a) * b.astype(wide) + np.asarray(c).astype(wide)).astype(b.dtype)


Move = Callable[[Array, Any, Scalars], Any]


def _bracket(x: Array, u: Any, s: Scalars) -> Any:
    return x - s.lr * (u + s.wd * x)


def _factor_first(x: Array, u: Any, s: Scalars) -> Any:
    return x * (1 - s.lr * s.wd) - s.lr * u


def _decay_then_step(x: Array, u: Any, s: Scalars) -> Any:
    decayed = x - x * s.wd * s.lr
    return decayed - s.lr * u


def _step_with_decay(x: Array, u: Any, s: Scalars) -> Any:
    return (x - s.lr * u) - (s.lr * s.wd) * x


def _fused_step(x: Array, u: Any, s: Scalars) -> Any:
    return _fused(-s.lr, np.asarray(_fused(s.wd, x, u)), x)


def _wide_move(x: Array, u: Any, s: Scalars) -> Any:
    wide = np.longdouble
    x_, lr, wd = x.astype(wide), wide(s.lr), wide(s.wd)
    return (x_ - lr * (u.astype(wide) + wd * x_)).astype(x.dtype)


MIXES: dict[str, Mix] = {
    "two-products": _two_products,
    "rounded-complement": _rounded_complement,
    "fused-left": _fused_left,
    "fused-right": _fused_right,
    "lerp": _lerp,
    "difference": _difference,
    "wide": _wide_mix,
}
MOVES: dict[str, Move] = {
    "bracket": _bracket,
    "factor-first": _factor_first,
    "decay-then-step": _decay_then_step,
    "step-with-decay": _step_with_decay,
    "fused-step": _fused_step,
    "wide": _wide_move,
}


def rewriting(direction: str, momentum: str, move: str) -> Variant:
    """A right Lion from the names of its three formulas, in MIXES, MIXES and MOVES."""
    mix_c, mix_m, move_x = MIXES[direction], MIXES[momentum], MOVES[move]

    def update(
        lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars
    ) -> tuple[Array, Array]:
        if np.iscomplexobj(x):
            x_, g_, m_ = (reference.as_reals(a) for a in (x, g, m))
            new_x, new_m = update(lion, name, x_, g_, m_, s)
            return reference.as_complex(new_x), reference.as_complex(new_m)
        dtype, rule = reference.compute_dtype(x.dtype), lion.config.rule
        x_, g_, m_ = (a.astype(dtype) for a in (x, g, m))
        u = reference.direction(np.asarray(mix_c(m_, g_, s.b1)), rule)
        if rule.cautious:
            u = reference.cautious(u, g_, rule)
        wd: Any = dtype(s.wd / (s.lr_peak or 1))
        if rule.cautious_decay:
            wd = np.where(u * x_ > 0, wd, dtype(0))
        rounded = Scalars(dtype(s.lr), s.b1, s.b2, wd)
        new_x = np.asarray(move_x(x_, u, rounded) if s.wd else x_ - rounded.lr * u)
        new_m = np.asarray(mix_m(m_, g_, s.b2))
        return reference.narrow(new_x, x.dtype), reference.narrow(new_m, m.dtype)

    typed: Update = update
    return Variant(update=typed)


def composed(rng: np.random.Generator) -> tuple[str, Callable[[], Variant]]:
    """A right Lion whose formulas, those of its options included, are drawn; and their names."""

    def draw(names: Iterable[str]) -> str:
        choices = list(names)
        return choices[int(rng.integers(len(choices)))]

    parts = draw(MIXES), draw(MIXES), draw(MOVES)
    options = Options(*map(draw, (UNSCALES, TOTALS, NORMS, FACTORS, AVERAGES)))
    return "+".join((*parts, *options)), lambda: rewrite_options(rewriting(*parts), options)


def all_rewritings() -> Iterator[tuple[str, str, str]]:
    """The names of every combination."""
    return product(MIXES, MIXES, MOVES)
