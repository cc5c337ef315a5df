"""One parameter group: its settings, and those of its scalars that are in the state."""

from collections.abc import Callable, Iterable
from typing import Any

import mlx.core as mx

from lion_ports.config import LionConfig, Scalars, scheduled
from lion_ports.errors import ConfigError
from lion_ports.mlx.rates import Rates, checked
from lion_ports.mlx.settings import Settings

Predicate = Callable[[str, mx.array], bool]


def everything(path: str, parameter: mx.array) -> bool:
    """Say yes to every parameter."""
    return True


class Group(Settings):
    """The settings of the parameters that ``picks`` says yes to, each by its name.

    Args:
        config: the settings.
        rates: where the state keeps the learning rates.
        picks: ``picks(path, parameter) -> bool``.
        name: of the group in the state; empty for the optimizer's own settings.
        own: the settings that it has for itself; it follows the optimizer in those of the state
            that are not among them. None: it is the optimizer's.
    """

    def __init__(
        self,
        config: LionConfig,
        rates: Rates,
        picks: Predicate = everything,
        name: str = "",
        own: Iterable[str] | None = None,
    ) -> None:
        self.config, self.rule, self.picks = config, config.rule, picks
        self._rates, self._name = rates, name
        self._has_rate = own is None or "learning_rate" in own
        self._has_decay = own is None or "weight_decay" in own
        suffix = f":{name}" if name else ""
        self._rate_key = f"learning_rate{suffix if self._has_rate else ''}"
        self._decay_key = f"weight_decay{suffix if self._has_decay else ''}"
        self._peak_key = f"lr_peak{suffix}"
        first = mx.array(0, mx.uint64)
        scheduled("weight_decay", config.weight_decay, first)
        if self._has_rate:
            rates[self._rate_key] = scheduled("learning_rate", config.lr, first)
        if config.lr_peak is not None:
            rates[self._peak_key] = config.lr_peak

    @property
    def learning_rate(self) -> mx.array:
        """The learning rate as a scalar array; assign a number or an array to change it."""
        return self._rates[self._rate_key]

    @learning_rate.setter
    def learning_rate(self, learning_rate: Any) -> None:
        if not self._has_rate:
            raise ConfigError(self._follows("learning rate"))
        self._rates[self._rate_key] = checked("learning_rate", learning_rate)

    @property
    def weight_decay(self) -> Any:
        """The weight decay as it was given, or as a scalar array once one was assigned."""
        return self._rates.get(self._decay_key, self.config.weight_decay)

    @weight_decay.setter
    def weight_decay(self, weight_decay: Any) -> None:
        if not self._has_decay:
            raise ConfigError(self._follows("weight decay"))
        self._rates[self._decay_key] = checked("weight_decay", weight_decay)

    @property
    def lr_peak(self) -> mx.array | None:
        """What independent decay divides by, as it stands in the state (L-017)."""
        return None if self.config.lr_peak is None else self._rates[self._peak_key]

    @lr_peak.setter
    def lr_peak(self, lr_peak: Any) -> None:
        if self.config.lr_peak is None:
            raise ConfigError(f"lr_peak = {lr_peak!r} has no effect without decay='independent'")
        self._rates[self._peak_key] = checked("lr_peak", lr_peak)

    def follow_schedule(self, step: mx.array) -> None:
        """Set the learning rate of this step, if a schedule says it (L-015)."""
        if self._has_rate and callable(self.config.lr):
            self._rates.follow(self._rate_key, checked("learning_rate", self.config.lr(step)))

    def scalars(self, step: mx.array) -> Scalars:
        """The scalars of this step (L-017)."""
        wd = self.weight_decay
        if callable(wd):
            wd = checked("weight_decay", wd(step))
        return self.config.scalars(self.learning_rate, wd, self.lr_peak)

    def _follows(self, setting: str) -> str:
        return (
            f"groups[{self._name}] has no {setting} of its own and follows the optimizer's; give "
            "it one when you construct Lion"
        )
