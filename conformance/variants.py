"""Lion with parts that can be exchanged: what mutants and rewritings are made of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lion_ports import reference
from lion_ports.config import LionConfig, Scalars, scheduled
from lion_ports.conformance.observation import OFFERS
from lion_ports.conformance.protocol import Arrays
from lion_ports.conformance.trial import Group
from lion_ports.state import PortableState

Array = NDArray[Any]
Update = Callable[["Variant", str, Array, Array, Array, Scalars], tuple[Array, Array]]


def right_update(
    lion: "Variant", name: str, x: Array, g: Array, m: Array, scalars: Scalars
) -> tuple[Array, Array]:
    """The specification's own update."""
    return reference.lion_update(x, g, m, scalars, lion.config.rule)


def own_settings(lion: "Variant", name: str) -> Mapping[str, Any]:
    """What the parameter's group has in place of the settings of all."""
    return next((own for names, own in lion.groups if name in names), {})


def changed(lion: "Variant", index: int, settings: Mapping[str, Any]) -> None:
    """Give a group other settings."""
    names, own = lion.groups[index]
    lion.groups[index] = (names, {**own, **settings})


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
    # parameters, gradients, state and config -> gradients that the update is made with, and state
    effective: Callable[..., Any] = reference.effective_gradients
    # parameters, names, state and config after an update -> parameters and state
    averaging: Callable[..., Any] = reference.averaged
    # the settings of a parameter's group, and how they change
    grouped: Callable[["Variant", str], Mapping[str, Any]] = own_settings
    changing: Callable[["Variant", int, Mapping[str, Any]], None] = changed
    # learning rates of all steps so far -> how often a compiler was needed
    compiling: Callable[[list[float]], int] = lambda rates: 1
    # steps seen and updates done -> what a schedule of the decay is evaluated at
    decay_count: Callable[[int, int], int] = lambda seen, done: done
    # a momentum and the count of updates -> codes and scales (L-031)
    encode: Callable[..., Any] = reference.encode
    # a parameter, bits and the count of updates -> parameter and correction (L-032)
    split: Callable[..., Any] = reference.split
    # what an update keeps beside the momentum
    extra: dict[str, Any] = field(default_factory=dict)

    offers = tuple(OFFERS)

    def start(
        self,
        params: Arrays,
        config: LionConfig,
        mask: Mapping[str, bool] | None = None,
        *,
        defaults: bool = False,
        groups: tuple[Group, ...] = (),
        frozen: frozenset[str] = frozenset(),
        tied: tuple[str, ...] = (),
        compiled: str | None = None,
    ) -> None:
        """Take these parameters and settings; its own defaults are those of ``LionConfig``."""
        self.config, self.mask = self.obey(config, mask)
        self.groups = [(group.names, dict(group.settings)) for group in groups]
        self.frozen, self.tied = frozen, tied
        self._params = {n: x.copy() for n, x in params.items()}
        self.begun = dict(self._params)
        state = reference.init(params, self.config)
        momentum = {self.slot(n, params[n]): self.begin(m) for n, m in state.momentum.items()}
        self.state = state._replace(momentum=momentum)
        self._seen = 0
        self.rates: list[float] = []
        self._rates: dict[str, list[float]] = {n: [] for n in params}

    def step(self, grads: Mapping[str, Array | None], lr: float) -> None:
        """Make one step."""
        filled = {n: self.missing(self._params[n]) if g is None else g for n, g in grads.items()}
        due, self.state = self.effective(self._params, filled, self.state, self.config)
        self._seen += 1
        if due is None:
            return
        self.rates.append(lr)
        for name, rates in self._rates.items():
            rates.append(self.grouped(self, name).get("lr", lr))
        at = self.decay_count(self._seen - 1, self.state.count)
        params, state = dict(self._params), reference.copies(self.state)
        for name, g in due.items():
            slot = self.slot(name, params[name])
            x = reference.load_parameter(params, state, name)
            m = reference.load_momentum(state, slot)
            decays = self.mask is None or self.mask[name]
            own = self.grouped(self, name)
            config = replace(self.config, **own) if own else self.config
            wd = scheduled("weight_decay", config.weight_decay, at)
            rate = self.rate(self._rates[name])
            scalars = config.scalars(rate, wd, self.state.lr_peak, decays=decays)
            with np.errstate(all="ignore"):
                new_x, new_m = (np.asarray(a) for a in self.update(self, name, x, g, m, scalars))
            if slot in state.momentum_scale:
                new_m = new_m.astype(np.float32)
            if name in state.correction:
                new_x = new_x.astype(np.float32)
                reference.store_parameter(params, state, name, new_x, state.count, self.split)
            else:
                params[name] = new_x
            reference.store_momentum(state, slot, new_m, self.encode)
        state = state._replace(count=state.count + 1)
        self._params, self.state = self.averaging(params, due, state, self.config)

    def change(self, index: int, settings: Mapping[str, Any]) -> None:
        """Give a group other settings."""
        self.changing(self, index, settings)

    def freeze(self, names: frozenset[str]) -> None:
        """Train all parameters but these, which have no gradients."""
        self.frozen = names

    def compilations(self) -> int:
        """How often a compiler was needed so far."""
        return self.compiling(self.rates)

    def params(self) -> dict[str, Array]:
        """The parameters now."""
        return dict(self._params)

    def momentum(self) -> dict[str, Array]:
        """The momentum that is stored, under the names of the parameters."""
        slots = {n: self.slot(n, x) for n, x in self._params.items()}
        return {n: reference.load_momentum(self.state, slot) for n, slot in slots.items()}

    def average(self) -> dict[str, Array] | None:
        """The averages, if there are any."""
        return dict(self.state.average) or None

    def load(self, params: Arrays, momentum: Arrays) -> None:
        """Go on from this state."""
        self._params = {n: x.copy() for n, x in params.items()}
        self.state = reference.copies(self.state)
        for slot, m in self._restored(params, momentum).items():
            reference.store_momentum(self.state, slot, m)

    def _restored(self, params: Arrays, momentum: Arrays) -> dict[str, Array]:
        """A saved momentum as it is gone on with, under the names that it is kept under."""
        return {self.slot(n, params[n]): self.restore(params[n], m) for n, m in momentum.items()}

    def export(self) -> PortableState:
        """The state as L-030 has it."""
        slots = {n: self.slot(n, x) for n, x in self._params.items()}
        momentum = {n: self.state.momentum[slot] for n, slot in slots.items()}
        return reference.export_state(self._params, self.state._replace(momentum=momentum))

    def adopt(self, state: PortableState) -> None:
        """Go on from such a state."""
        self._params, adopted = reference.import_state(state)
        self.state = adopted._replace(momentum=self._restored(self._params, adopted.momentum))
