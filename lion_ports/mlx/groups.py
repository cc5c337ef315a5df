"""Parameter groups by predicate, which MLX itself does not have."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

import mlx.core as mx

from lion_ports import checks
from lion_ports.config import LionConfig, Rule
from lion_ports.errors import ConfigError
from lion_ports.mlx.group import Group, Predicate
from lion_ports.mlx.rates import Rates
from lion_ports.mlx.settings import Settings, named

# What a group may have for itself; everything else belongs to the optimizer.
_OWN = ("params", "learning_rate", "betas", "weight_decay", "decay", "lr_peak", "momentum_dtype",
        "correction_bits", "maximize", *Rule._fields)  # fmt: skip

# Settings that are not inherited where the group's own value of another one leaves them no effect.
_IDLE = {
    "lr_peak": ("decay", "coupled"),
    "cautious_cap": ("cautious", False),
    "steepness": ("nonlinearity", "sign"),
}


class Grouped(Settings):
    """An optimizer with groups, the last of which has its own settings."""

    _groups: tuple[Group, ...]
    _mask: Predicate | None

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups, and at the end that of all other parameters."""
        return self._groups

    @property
    def mask(self) -> Predicate | None:
        """What decays; None: everything."""
        return self._mask

    @property
    def learning_rate(self) -> mx.array:
        """The learning rate as a scalar array, float64 where a parameter is (L-006)."""
        return self._groups[-1].learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate: Any) -> None:
        self._groups[-1].learning_rate = learning_rate

    @property
    def weight_decay(self) -> Any:
        """The weight decay as it was given, or as a scalar array once one was assigned."""
        return self._groups[-1].weight_decay

    @weight_decay.setter
    def weight_decay(self, weight_decay: Any) -> None:
        self._groups[-1].weight_decay = weight_decay

    @property
    def lr_peak(self) -> mx.array | None:
        """What independent decay divides by, as it stands in the state (L-017)."""
        return self._groups[-1].lr_peak

    @lr_peak.setter
    def lr_peak(self, lr_peak: Any) -> None:
        self._groups[-1].lr_peak = lr_peak

    def group_of(self, path: str, parameter: mx.array) -> Group:
        """The first group that picks this parameter; the last one has the optimizer's settings."""
        return next(group for group in self._groups if group.picks(path, parameter))


def make_groups(
    settings: Mapping[str, Any], groups: Iterable[Mapping[str, Any]], rates: Rates
) -> tuple[Group, ...]:
    """The groups in their order, and at the end that of all other parameters.

    Raises:
        ConfigError: one message with the problems of all of them (L-020).
    """
    groups = list(groups or ())
    problems = [f"groups[{i}]: {p}" for i, own in enumerate(groups) for p in _problems(own)]
    own = [dict(group) if isinstance(group, Mapping) else {} for group in groups]
    labelled = {"": settings} | {f"groups[{i}]: ": _merged(settings, g) for i, g in enumerate(own)}
    configs = []
    for label, chosen in labelled.items():
        try:
            configs.append(LionConfig(**chosen))
        except ConfigError as error:
            found = [named(p) for p in error.problems]
            problems += [label + p for p in found if p not in problems]
    if problems:
        raise ConfigError(*problems)
    made = [
        Group(config, rates, one["params"], str(i), one)
        for i, (one, config) in enumerate(zip(own, configs[1:], strict=True))
    ]
    return *made, Group(configs[0], rates)


def _merged(settings: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The optimizer's settings with a group's own in their place, by LionConfig's names."""
    idle = [name for name, (other, off) in _IDLE.items() if other in own and own[other] == off]
    inherited = {name: value for name, value in settings.items() if name not in idle}
    named = {"lr" if name == "learning_rate" else name: own[name] for name in _OWN if name in own}
    named.pop("params", None)
    return {**inherited, **named}


def _problems(own: Any) -> list[str]:
    """What is wrong with the names in one group, and with its predicate."""
    if not isinstance(own, Mapping):
        return [f"{own!r} is not a dictionary with 'params' and settings"]
    optimizers = ("mask", "groups", *(field.name for field in fields(LionConfig)))
    problems = [
        f"{name} is a setting of the optimizer, not of a parameter group"
        if name in optimizers and name != "lr"
        else checks.unknown(name, list(_OWN))
        for name in own
        if name not in _OWN
    ]
    if not callable(own.get("params")):
        problems.append(
            f"params = {own.get('params')!r} is not a function (path, parameter) -> bool"
        )
    return problems
