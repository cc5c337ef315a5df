"""Wrong averages of the parameters."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from lion_ports import reference
from lion_ports.config import LionConfig
from lion_ports.conformance.mutants.making import Array, Mutant
from lion_ports.conformance.variants import Variant
from lion_ports.reference import State


def _averaging(
    average: Callable[[Array, Array, Array, float], Array],
) -> Callable[[], Variant]:
    """A Lion with another average of ``e``, the new ``x`` and the old one."""

    def make() -> Variant:
        lion = Variant()

        def averaging(params: Any, updated: Any, state: State, config: LionConfig) -> Any:
            old, lion.extra["x"] = lion.extra.get("x", {}), dict(params)
            if config.ema_decay is None:
                return params, state
            averages = {
                n: np.asarray(
                    average(e, params[n], old.get(n, lion.begun[n]), config.ema_decay)
                ).astype(e.dtype)
                for n, e in state.average.items()
            }
            state = state._replace(average=averages)
            if config.ema_overwrite_every and state.count % config.ema_overwrite_every == 0:
                params = {n: averages[n].astype(x.dtype) for n, x in params.items()}
                lion.extra["x"] = dict(params)
            return params, state

        lion.averaging = averaging
        return lion

    return make


def _ema_from_zero() -> Variant:
    lion = Variant()
    begin = lion.start

    def start(params: Any, config: LionConfig, mask: Any = None, **asked: Any) -> None:
        begin(params, config, mask, **asked)
        lion.state = lion.state._replace(
            average={n: np.zeros_like(e) for n, e in lion.state.average.items()}
        )

    lion.start = start  # type: ignore[method-assign]
    return lion


def _not_overwriting(params: Any, updated: Any, state: State, config: LionConfig) -> Any:
    quiet = replace(config, ema_overwrite_every=None)
    return reference.averaged(params, updated, state, quiet)


MUTANTS: dict[str, Mutant] = {
    "ema-ignored": Mutant(
        "the average never overwrites the parameters",
        lambda: Variant(averaging=_not_overwriting),
    ),
    "ema-from-zero": Mutant("the average begins at zero", _ema_from_zero),
    "ema-late": Mutant(
        "the average follows the parameters before their update",
        _averaging(lambda e, x, old, d: d * e + (1 - d) * old.astype(e.dtype)),
    ),
    "ema-swapped": Mutant(
        "the average gives its decay to the new parameter",
        _averaging(lambda e, x, old, d: (1 - d) * e + d * x.astype(e.dtype)),
    ),
    "ema-in-parameter-dtype": Mutant(
        "the average is kept in the parameter's dtype",
        _averaging(lambda e, x, old, d: (d * e + (1 - d) * x.astype(e.dtype)).astype(x.dtype)),
    ),
}
"""Mutant by name."""
