"""The settings of a parameter group: checked when they are given, and when they have changed."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from torch import Tensor

from lion_ports import checks
from lion_ports.config import LionConfig, misspelt, scheduled
from lion_ports.errors import ConfigError
from lion_ports.torch.jobs import Group

# Settings of the optimizer as a whole; all others may differ from group to group.
WIDE = {
    "nonfinite",
    "loss_scale",
    "loss_scale_growth_interval",
    "gradient_accumulation_steps",
    "global_clipnorm",
}
SETTINGS = [setting.name for setting in fields(LionConfig)]
_OWN = [name for name in SETTINGS if name not in WIDE]
_SCHEDULABLE = ("lr", "weight_decay")
# What the schedulers of torch keep in groups, whatever else such a name may mean.
_OF_SCHEDULERS = {"initial_lr", "max_lr", "min_lr", "swa_lr", "base_momentum", "max_momentum"}


def refuse_names(names: Iterable[str]) -> None:
    """Raise a ConfigError if one is misspelt, or a setting of the optimizer (L-020)."""
    names = sorted(set(names) - _OF_SCHEDULERS)
    whole = [name for name in names if name in WIDE]
    _refuse(
        misspelt(names)
        + [f"{name} is a setting of the optimizer, not of a parameter group" for name in whole]
    )


def keep_once(group: Group) -> None:
    """Keep one of each parameter (L-002); of a second one torch warns, and updates it twice."""
    places = {id(p): i for i, p in reversed(list(enumerate(group["params"])))}
    for name in ("params", "param_names"):
        if name in group:
            group[name] = [group[name][i] for i in sorted(places.values())]


def complete(group: Group, defaults: Group, whole: LionConfig) -> None:
    """Check the settings of a group together, and put in what it does not have.

    Args:
        group: keeps plain Python numbers, which ``torch.load(weights_only=True)`` takes, tensors
            and schedules; left as it is if there is an error.
        defaults: the settings that a group has by default.
        whole: those of the optimizer.
    """
    settings: dict[str, Any] = {name: getattr(whole, name) for name in WIDE}
    settings |= {name: group.get(name, defaults[name]) for name in _OWN}
    config = LionConfig(**settings)
    group.update({name: _plain(name, getattr(config, name)) for name in _OWN})


def complete_loaded(group: Group, watch: "Watch", defaults: Group, whole: LionConfig) -> Group:
    """A copy of a loaded group; one of another Lion lacks some settings."""
    group = watch.given | group
    _refuse(_functions(group, _SCHEDULABLE))
    complete(group, defaults, whole)
    return group


@dataclass
class Watch:
    """What belongs to one group and is not saved with it.

    Args:
        schedules: of learning rate and weight decay; they are no plain data.
        given: what they gave last. Another value in the group was set by hand.
        checked: the settings that were found right (L-020).
        names: all that was in the group then.
    """

    schedules: dict[str, Callable[[int], Any]]
    given: dict[str, Any] = field(default_factory=dict)
    checked: dict[str, Any] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, group: Group) -> "Watch":
        """Take the schedules out of a new group, and put in what they give."""
        schedules = {name: group[name] for name in _SCHEDULABLE if callable(group[name])}
        watch = cls(schedules)
        count = int(group["count"])
        given = {name: _scheduled(name, rate, count) for name, rate in schedules.items()}
        group.update(given)
        watch.settle(group)
        return watch

    def settle(self, group: Group) -> None:
        """Take all that is in the group now as right, and not as set by hand."""
        self.given = {name: group[name] for name in self.schedules}
        self.checked = {name: _seen(group[name]) for name in _OWN}
        self.names = set(group)

    def check(self, group: Group, defaults: Group, whole: LionConfig) -> None:
        """Check what has changed in the group since it was checked last (L-020)."""
        get = group.get
        changed = [
            name
            for name, seen in self.checked.items()
            if get(name) is not seen and not _same(get(name), seen)
        ]
        renamed = group.keys() != self.names
        if not (changed or renamed):
            return
        refuse_names(group.keys() - self.names)
        _refuse(_functions(defaults | group, changed))
        if not renamed and all(name in _SCHEDULABLE for name in changed):  # as a scheduler does
            _refuse([p for name in changed for p in checks.schedulable(name, group[name])])
            group.update({name: _plain(name, group[name]) for name in changed})
        else:
            if group.get("decay") == "independent" and group.get("lr_peak") is None:
                _refuse(["decay='independent' in a group that has begun needs lr_peak beside it"])
            complete(group, defaults, whole)
        self.checked = {name: _seen(group[name]) for name in _OWN}
        self.names = set(group)

    def plan(self, group: Group) -> dict[str, Any] | None:
        """What the schedules give for the update that comes next (L-015).

        A rate that was set by hand holds for one step. If it is 0, that step is no update, and this
        is None: so torch.distributed.checkpoint has an optimizer make its state.
        """
        plan = {}
        for name, schedule in self.schedules.items():
            if group[name] == self.given[name]:
                plan[name] = _scheduled(name, schedule, int(group["count"]))
            elif name == "lr" and group["lr"] == 0:
                return None
        return plan

    def carry_out(self, group: Group, plan: dict[str, Any] | None, *, ends: bool = True) -> None:
        """Write a plan into the group; the step ``ends`` with this, or has other parameters."""
        if plan is None or not self.schedules:
            return
        if ends:
            self.given = {name: group[name] for name in self.schedules}
        group.update(plan)
        self.given.update(plan)
        self.checked.update({name: _seen(value) for name, value in plan.items()})


def _scheduled(name: str, schedule: Callable[[int], Any], count: int) -> Any:
    return _plain(name, scheduled(name, schedule, count))


def _plain(name: str, value: Any) -> Any:
    """A setting as Python has it; a learning rate or weight decay of torch stays a tensor."""
    if name == "betas":
        return tuple(_plain("", beta) for beta in value)
    if isinstance(value, Tensor) and name in _SCHEDULABLE:
        return value
    value = checks.plain(value)
    other = checks.is_number(value) and not isinstance(value, int | float)
    return float(value) if other else value


def _functions(group: Group, names: Iterable[str]) -> list[str]:
    return [
        f"{name} = {group[name]!r} is a function in a group, where none is looked for; give it to "
        "Lion or to add_param_group"
        for name in names
        if callable(group.get(name))
    ]


def _refuse(problems: list[str]) -> None:
    if problems:
        raise ConfigError(*problems)


def _seen(value: Any) -> Any:
    """A setting to compare with later; a tensor on a device is not waited for."""
    return value.item() if isinstance(value, Tensor) and value.is_cpu and not value.ndim else value


def _same(value: Any, seen: Any) -> bool:
    value = _seen(value)
    return type(value) is type(seen) and not isinstance(value, Tensor) and bool(value == seen)
