"""The directions that a step may take, in up to three branches: down, none, up.

docs/conformance.md ("Functions", "Reductions") derives the constants.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lion_ports.config import Rule
from lion_ports.conformance.trial import Array

K_FUNCTION = 16
"""Error of a tanh, of its argument and of its slope, in unit round-offs of the compute dtype."""
K_NORM = 8
"""Roundings of root, maximum, quotient and products, beside one for each term of the sum."""
K_RATIO = 4
"""Roundings of n / (k + 1), of the cap, and of the product with the direction, and one."""


class Branch(NamedTuple):
    """Directions of one sign: where one is possible, and between what."""

    may: NDArray[np.bool_]
    low: Any
    high: Any


Branches = dict[int, Branch]


def direction_branches(c: Array, band: Array, rule: Rule, u: float) -> Branches:
    """The directions of a ``c`` that may be off by ``band`` (L-010, L-028).

    Args:
        c: nearly exact, in a wide dtype.
        band: what an implementation's may be off by.
        rule: its nonlinearity and steepness.
        u: unit round-off of the compute dtype.
    """
    if rule.nonlinearity == "sign":
        near = (np.abs(c) <= band) & (band > 0)
        return {s: Branch(near | (np.sign(c) == s), float(s), float(s)) for s in (-1, 0, 1)}
    v = rule.steepness * c
    off = np.where(np.isfinite(v), rule.steepness * band + K_FUNCTION * u * np.abs(v), 0)
    if rule.nonlinearity == "tanh":
        low = np.maximum(np.tanh(v - off) - K_FUNCTION * u * (v - off != 0), -1)
        high = np.minimum(np.tanh(v + off) + K_FUNCTION * u * (v + off != 0), 1)
    elif rule.nonlinearity == "clip":
        low, high = np.clip(v - off, -1, 1), np.clip(v + off, -1, 1)
    else:
        norm = np.maximum(np.sqrt(np.sum(v * v)), 1)
        relative = (v.size + K_NORM) * u + np.sqrt(np.sum(off * off)) / norm
        slack = (off + relative * np.abs(v)) / norm
        low, high = v / norm - slack, v / norm + slack
    return {
        -1: Branch(low < 0, low, np.minimum(high, 0)),
        0: Branch((low <= 0) & (high >= 0), 0.0, 0.0),
        1: Branch(high > 0, np.maximum(low, 0), high),
    }


def cautious_branches(branches: Branches, g: Array, g_error: Any, rule: Rule, u: float) -> Branches:
    """The same, without what the gradient opposes and with the rest enlarged (L-022).

    How many elements agree may depend on signs that are open, and with it how far the rest is
    enlarged.
    """
    possible, certain, kept = np.zeros(g.shape, bool), np.zeros(g.shape, bool), {}
    none = branches[0].may.copy()
    for s in (-1, 1):
        may = branches[s].may
        only = may & ~branches[0].may & ~branches[-s].may
        kept[s] = may & (s * g + g_error > 0)
        possible |= kept[s]
        certain |= only & (s * g - g_error > 0)
        none |= may & (s * g - g_error <= 0)
    smallest, largest = (
        min(g.size / (np.count_nonzero(agreeing) + 1), rule.cautious_cap)
        for agreeing in (possible, certain)
    )
    smallest, largest = smallest * (1 - K_RATIO * u), largest * (1 + K_RATIO * u)
    down, up = branches[-1], branches[1]
    return {
        -1: Branch(kept[-1], largest * down.low, smallest * down.high),
        0: Branch(none, 0.0, 0.0),
        1: Branch(kept[1], smallest * up.low, largest * up.high),
    }
