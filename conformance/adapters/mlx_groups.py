"""Parameter groups of MLX: those of our optimizer, and several optimizers for others."""

from collections.abc import Callable, Mapping
from typing import Any

import mlx.optimizers as optim

from lion_ports.conformance.adapters.target import Target
from lion_ports.conformance.protocol import UnsupportedError
from lion_ports.conformance.trial import Group

_NAMES = {"lr": "learning_rate"}


class Parts:
    """An optimizer, and the objects that hold the settings of its groups.

    Args:
        optimizer: of all parameters.
        rates: what is given the learning rate of all that have none of their own.
        holders: by group, what has its ``learning_rate`` and ``weight_decay``.
        states: the optimizers whose states hold the momenta.
    """

    def __init__(
        self, optimizer: Any, rates: list[Any], holders: list[Any], states: list[Any]
    ) -> None:
        self.optimizer = optimizer
        self._rates, self._holders, self._states = rates, holders, states

    def set_rate(self, lr: float) -> None:
        """The learning rate of all that have none of their own."""
        for holder in self._rates:
            holder.learning_rate = lr

    def change(self, index: int, settings: Mapping[str, Any]) -> None:
        """Give a group other settings.

        Raises:
            UnsupportedError: they are not all numbers that MLX's optimizers can be assigned.
        """
        for name, value in settings.items():
            if name not in ("lr", "weight_decay"):
                raise UnsupportedError(f"{name} that change")
            setattr(self._holders[index], _NAMES.get(name, name), value)

    def state(self, name: str) -> Any:
        """What the optimizer of a parameter keeps for it."""
        return next((s.state[name] for s in self._states if name in s.state), {})


def grouped(target: Target, groups: tuple[Group, ...], settings: Mapping[str, Any]) -> Parts:
    """The optimizer of a target: one, or in groups."""
    if not groups:
        optimizer = target.make(names=_NAMES, **settings)
        return Parts(optimizer, [optimizer], [], [optimizer])
    if target.ours:
        own = [{"params": _among(group.names), **_theirs(group.settings)} for group in groups]
        optimizer = target.make(names=_NAMES, groups=own, **settings)
        return Parts(optimizer, [optimizer], list(optimizer.groups), [optimizer])
    several = [target.make(names=_NAMES, **{**settings, **group.settings}) for group in groups]
    optimizer = optim.MultiOptimizer(several, [_among(group.names) for group in groups[:-1]])
    follow = [one for one, group in zip(several, groups, strict=True) if "lr" not in group.settings]
    return Parts(optimizer, follow, several, several)


def _theirs(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {_NAMES.get(name, name): value for name, value in settings.items()}


def _among(names: tuple[str, ...]) -> Callable[[str, Any], bool]:
    return lambda path, parameter: path in names
