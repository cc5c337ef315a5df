"""Lion with parts that can be exchanged: what mutants and rewritings are made of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lion_ports import reference
from lion_ports.config import LionConfig, Scalars
from lion_ports.conformance.protocol import Arrays

Array = NDArray[Any]
Update = Callable[["Variant", str, Array, Array, Array, Scalars], tuple[Array, Array]]


def right_update(
    lion: "Variant", name: str, x: Array, g: Array, m: Array, scalars: Scalars
) -> tuple[Array, Array]:
    """The specification's own update."""
    return reference.lion_update(x, g, m, scalars)


@dataclass
class Variant:
    """An implementation of the suite's protocol around one update function.

    ``update(self, name, x, g, m, scalars)`` returns the new parameter and the new momentum. The
    other fields are the seams at which an implementation can go wrong outside of it.
    """

    update: Update = right_update
    # (config, mask) as given -> as obeyed
    obey: Callable[[LionConfig, Any], tuple[LionConfig, Any]] = lambda config, mask: (config, mask)
    # a zero momentum -> what is started with
    begin: Callable[[Array], Array] = lambda m: m
    # learning rates of all steps so far -> the one used
    rate: Callable[[list[float]], float] = lambda rates: rates[-1]
    # a missing gradient -> what is used in its place
    missing: Callable[[Array], Array | None] = lambda x: None
    # a saved momentum -> what is gone on with
    restore: Callable[[Array, Array], Array] = lambda x, m: m.copy()
    # the parameter that the momentum of `name` is kept under
    slot: Callable[[str, Array], str] = lambda name, x: name
    # what an update keeps beside the momentum
    extra: dict[str, Any] = field(default_factory=dict)

    def start(
        self,
        params: Arrays,
        config: LionConfig,
        mask: Mapping[str, bool] | None = None,
        *,
        defaults: bool = False,
    ) -> None:
        """Take these parameters and settings; its own defaults are those of ``LionConfig``."""
        self.config, self.mask = self.obey(config, mask)
        self._params = {n: x.copy() for n, x in params.items()}
        momentum = reference.init(params, self.config).momentum
        self._momentum = {self.slot(n, params[n]): self.begin(m) for n, m in momentum.items()}
        self.rates: list[float] = []

    def step(self, grads: Mapping[str, Array | None], lr: float) -> None:
        """Make one update."""
        filled = {n: self.missing(self._params[n]) if g is None else g for n, g in grads.items()}
        present = {n: g for n, g in filled.items() if g is not None}
        finite = all(np.isfinite(g).all() for g in present.values())
        if self.config.nonfinite == "skip" and not finite:
            return
        self.rates.append(lr)
        for name, g in present.items():
            x, slot = self._params[name], self.slot(name, self._params[name])
            decays = self.mask is None or self.mask[name]
            scalars = self.config.scalars(self.rate(self.rates), decays=decays)
            signed = np.negative(g) if self.config.maximize else g
            with np.errstate(all="ignore"):
                new_x, new_m = self.update(self, name, x, signed, self._momentum[slot], scalars)
            self._params[name], self._momentum[slot] = np.asarray(new_x), np.asarray(new_m)

    def params(self) -> dict[str, Array]:
        """The parameters now."""
        return dict(self._params)

    def momentum(self) -> dict[str, Array]:
        """The momentum as stored, under the names of the parameters."""
        return {n: self._momentum[self.slot(n, x)] for n, x in self._params.items()}

    def load(self, params: Arrays, momentum: Arrays) -> None:
        """Go on from this state."""
        self._params = {n: x.copy() for n, x in params.items()}
        self._momentum = {
            self.slot(n, params[n]): self.restore(params[n], m) for n, m in momentum.items()
        }
