"""Wrong steps: those made twice, in part, not at all, or with yesterday's learning rate."""

from typing import Any

import numpy as np

from lion_ports.config import Scalars
from lion_ports.conformance.mutants.making import Array, Arrays, Mutant, updating, with_inputs
from lion_ports.conformance.variants import Variant, right_update


def _last_block(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Arrays:
    new_x, new_m = right_update(lion, name, x, g, m, s)
    whole = np.arange(x.size).reshape(x.shape) < x.size // 8 * 8
    return np.where(whole, new_x, x), np.where(whole, new_m, m)


def _memory_order(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Any:
    return x, g.ravel(order="K").reshape(x.shape), m, s


def _skipped_first(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Arrays:
    new_x, new_m = right_update(lion, name, x, g, m, s)
    return (x if len(lion.rates) == 1 else new_x), new_m


def _twice(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Arrays:
    """An in-place kernel that its autotuner ran once more on the first step."""
    new_x, new_m = right_update(lion, name, x, g, m, s)
    return right_update(lion, name, new_x, g, new_m, s) if len(lion.rates) == 1 else (new_x, new_m)


def _frozen_at_zero(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Arrays:
    return right_update(lion, name, x, g, m, s) if s.lr else (x, m)


def _overwriting(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Arrays:
    result = right_update(lion, name, x, g, m, s)
    g *= g.dtype.type(0.5)
    return result


MUTANTS: dict[str, Mutant] = {
    "lr-stale": Mutant(
        "the learning rate of the step before is used",
        lambda: Variant(rate=lambda rates: rates[-2] if len(rates) > 1 else rates[-1]),
    ),
    "lr-of-first-step": Mutant(
        "the learning rate of the first step is used in all others",
        lambda: Variant(rate=lambda rates: rates[0]),
    ),
    "lr-zero-freezes": Mutant("at lr = 0 the momentum does not move", updating(_frozen_at_zero)),
    "moved-without-gradient": Mutant(
        "a missing gradient counts as zero", lambda: Variant(missing=np.zeros_like)
    ),
    "gradient-overwritten": Mutant("the gradient is written to", updating(_overwriting)),
    "first-step-skipped": Mutant("the first step moves no parameter", updating(_skipped_first)),
    "stepping-twice": Mutant("the first step is made twice", updating(_twice)),
    "last-block-missing": Mutant(
        "the elements after the last whole block of eight are not written", updating(_last_block)
    ),
    "memory-order": Mutant(
        "strided gradients are read in the order of their memory", with_inputs(_memory_order)
    ),
}
"""Mutant by name."""
