"""Wrong cautious updates and decays, and wrong directions."""

from collections.abc import Callable
from typing import Any

import numpy as np

from lion_ports import reference
from lion_ports.config import Scalars
from lion_ports.conformance.mutants.making import Array, Arrays, Mutant, formula, mix, updating
from lion_ports.conformance.variants import Variant


def _cautious(
    scale: Callable[[int, int, float], float] = lambda n, k, cap: min(n / (k + 1), cap),
    against: Callable[..., Array] = lambda g, m: g,
    decays: Callable[[Array, Array], Any] = lambda u, x: True,
    scaled_decay: bool = False,
    apart: bool = False,
) -> Callable[[], Variant]:
    """A Lion with parts of the cautious rules exchanged."""

    def update(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Arrays:
        rule = lion.config.rule
        if np.iscomplexobj(x) and apart:
            new_x, new_m = np.empty_like(x), np.empty_like(m)
            new_x.real, new_m.real = update(lion, name, x.real, g.real, m.real, s)
            new_x.imag, new_m.imag = update(lion, name, x.imag, g.imag, m.imag, s)
            return new_x, new_m
        if np.iscomplexobj(x):
            x_, g_, m_ = (reference.as_reals(a) for a in (x, g, m))
            new_x, new_m = update(lion, name, x_, g_, m_, s)
            return reference.as_complex(new_x), reference.as_complex(new_m)
        dtype = reference.compute_dtype(x.dtype)
        x_, g_, m_ = (a.astype(dtype) for a in (x, g, m))
        t = Scalars(*(dtype(v) for v in s[:4]))
        u = reference.sign(np.asarray(mix(x_, g_, m_, t)))
        factor: Any = 1.0
        if rule.cautious:
            agree = u * against(g_, m_) > 0
            factor = dtype(scale(u.size, int(agree.sum()), rule.cautious_cap))
            u = np.where(agree, u, 0)
        wd = np.where(decays(u, x_), t.wd, 0) if rule.cautious_decay else t.wd
        move = factor * (u + wd * x_) if scaled_decay else factor * u + wd * x_
        new_m = t.b2 * m_ + (1 - t.b2) * g_
        stored = reference.narrow(np.asarray(x_ - t.lr * move, dtype), x.dtype)
        return stored, reference.narrow(np.asarray(new_m, dtype), m.dtype)

    return updating(update)


def _normalised(x: Array, g: Array, m: Array, s: Scalars) -> Any:
    c = mix(x, g, m, s)
    norm = np.sqrt(np.sum(c * c))
    return c / norm if norm else c


MUTANTS: dict[str, Mutant] = {
    "cautious-unscaled": Mutant(
        "a cautious update is not enlarged", _cautious(scale=lambda n, k, cap: 1.0)
    ),
    "cautious-mean": Mutant(
        "a cautious update is enlarged by n/k in place of n/(k+1)",
        _cautious(scale=lambda n, k, cap: min(n / max(k, 1), cap)),
    ),
    "cautious-uncapped": Mutant(
        "a cautious update is enlarged without bound",
        _cautious(scale=lambda n, k, cap: n / (k + 1)),
    ),
    "cautious-cap-ignored": Mutant(
        "the cap of a cautious update is 10, whatever was asked",
        _cautious(scale=lambda n, k, cap: min(n / (k + 1), 10.0)),
    ),
    "cautious-by-momentum": Mutant(
        "a cautious update looks at the momentum in place of the gradient",
        _cautious(against=lambda g, m: m),
    ),
    "cautious-decay-scaled": Mutant(
        "a cautious update enlarges its decay as well", _cautious(scaled_decay=True)
    ),
    "cautious-parts-apart": Mutant(
        "a cautious update counts real and imaginary parts apart", _cautious(apart=True)
    ),
    "cautious-decay-undecided": Mutant(
        "a cautious decay acts where there is no direction",
        _cautious(decays=lambda u, x: u * x >= 0),
    ),
    "cautious-decay-reversed": Mutant(
        "a cautious decay acts where the direction pulls away from zero",
        _cautious(decays=lambda u, x: u * x < 0),
    ),
    "l2-normalised": Mutant(
        "the direction is divided by its norm, also inside of the unit ball", formula(_normalised)
    ),
}
"""Mutant by name."""
