"""Wrong ways with what is frozen, with what has two names, and with a compiler."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lion_ports.conformance.mutants.making import Array, Mutant
from lion_ports.conformance.variants import Variant


class _Decaying(Variant):
    """Decay goes through all parameters, and the rest through those that are trained."""

    def step(self, grads: Mapping[str, Array | None], lr: float) -> None:
        super().step(grads, lr)
        wd: Any = self.config.weight_decay
        for name in self.frozen:
            x = self._params[name]
            self._params[name] = (x * np.float32(1 - lr * wd)).astype(x.dtype)


class _ForGood(Variant):
    """The list of what is trained is made once."""

    def start(self, *given: Any, **asked: Any) -> None:
        super().start(*given, **asked)
        self._never = self.frozen

    def step(self, grads: Mapping[str, Array | None], lr: float) -> None:
        super().step({n: None if n in self._never else g for n, g in grads.items()}, lr)


class _Resetting(Variant):
    """Who freezes something makes a new optimizer for the rest."""

    def freeze(self, names: frozenset[str]) -> None:
        gone = {n: np.zeros_like(m) for n, m in self.state.momentum.items() if n in names}
        self.state = self.state._replace(momentum={**self.state.momentum, **gone})
        super().freeze(names)


class _TiedTwice(Variant):
    """The tensor is in the list under each of its names."""

    def step(self, grads: Mapping[str, Array | None], lr: float) -> None:
        super().step({n: None if n in self.tied[1:] else g for n, g in grads.items()}, lr)
        for name in self.tied[1:]:
            self._carry(self.tied[0], name)
            super().step({n: g if n == name else None for n, g in grads.items()}, lr)
            self._carry(name, self.tied[0])

    def _carry(self, name: str, other: str) -> None:
        self._params[other] = self._params[name]
        momentum = {**self.state.momentum, other: self.state.momentum[name]}
        self.state = self.state._replace(momentum=momentum)


class _Parted(Variant):
    """An update makes a new array, and the other name goes on with the old one."""

    def step(self, grads: Mapping[str, Array | None], lr: float) -> None:
        super().step({n: None if n in self.tied[1:] else g for n, g in grads.items()}, lr)


MUTANTS: dict[str, Mutant] = {
    "frozen-decays": Mutant("a frozen parameter goes on decaying", _Decaying),
    "frozen-for-good": Mutant("what is frozen at first is never trained", _ForGood),
    "freezing-resets": Mutant("freezing a parameter clears its momentum", _Resetting),
    "tied-updated-twice": Mutant("a tensor of two names is updated twice", _TiedTwice),
    "tied-parted": Mutant("a tensor of two names is updated under the first alone", _Parted),
    "compiled-again": Mutant(
        "each new learning rate compiles the step again",
        lambda: Variant(compiling=lambda rates: len(set(rates))),
    ),
    "compiled-second-rate": Mutant(
        "a compiled step goes on with the learning rate of its second call",
        lambda: Variant(rate=lambda rates: rates[min(1, len(rates) - 1)]),
    ),
    "decay-of-first-step": Mutant(
        "a schedule of the weight decay stays at its first value",
        lambda: Variant(decay_count=lambda seen, done: 0),
    ),
}
"""Mutant by name."""
