"""The settings that ``lion`` and ``fused_lion`` share, written down once."""

import re
from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import Any, NamedTuple, ParamSpec, TypeVar

import jax

from lion_ports.config import (
    LION,
    CorrectionBits,
    Decay,
    LionConfig,
    LossScale,
    Nonfinite,
    Nonlinearity,
    Schedulable,
    known_settings,
)
from lion_ports.errors import ConfigError
from lion_ports.jax.inputs import mask_problems

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")


class Settings(NamedTuple):
    """A checked configuration, and the mask of what decays."""

    config: LionConfig
    mask: Any


@known_settings
def settings(
    learning_rate: Schedulable = 1e-4,
    b1: float = 0.9,
    b2: float = 0.99,
    mu_dtype: Any = None,
    weight_decay: Schedulable = 0.0,
    mask: Any = None,
    *,
    decay: Decay = "coupled",
    lr_peak: float | None = None,
    correction_bits: CorrectionBits | None = None,
    maximize: bool = False,
    nonfinite: Nonfinite = "propagate",
    cautious: bool = False,
    cautious_cap: float = LION.cautious_cap,
    cautious_decay: bool = False,
    nonlinearity: Nonlinearity = "sign",
    steepness: float = LION.steepness,
    clipvalue: float | None = None,
    clipnorm: float | None = None,
    global_clipnorm: float | None = None,
    gradient_accumulation_steps: int | None = None,
    ema_decay: float | None = None,
    ema_overwrite_every: int | None = None,
    loss_scale: LossScale | None = None,
    loss_scale_growth_interval: int | None = None,
) -> Settings:
    """The settings under the names that optax users know, as a LionConfig.

    ``optax.inject_hyperparams`` turns every integer among the arguments, defaults included, into an
    array, from which no shape of a state could be decided. None therefore stands for the two
    defaults of LionConfig that are integers.

    Raises:
        ConfigError: a setting is out of its range or unknown.
    """
    given = locals()
    options = {name: given[name] for name in _SAME}
    whole = {name: options.pop(name) for name in _WHOLE}
    if arrays := [name for name, value in whole.items() if isinstance(value, jax.Array)]:
        advice = "under optax.inject_hyperparams, name it in static_args"
        raise ConfigError(*(f"{n} is an array, not a whole number; {advice}" for n in arrays))
    options |= {name: value for name, value in whole.items() if value is not None}
    problems = [] if callable(mask) else mask_problems(mask)
    try:
        config = LionConfig(learning_rate, (b1, b2), momentum_dtype=mu_dtype, **options)
    except ConfigError as error:
        problems = [*map(_renamed, error.problems), *problems]
    if problems:
        raise ConfigError(*problems)
    return Settings(config, mask)


def _renamed(problem: str) -> str:
    """A problem of a LionConfig under the name that the setting has here."""
    return re.sub(r"^(lr|betas\[[01]\]|momentum_dtype)(?= )", lambda m: _NAMES[m[0]], problem)


# What LionConfig calls by other names.
_NAMES = {
    "lr": "learning_rate",
    "betas[0]": "b1",
    "betas[1]": "b2",
    "momentum_dtype": "mu_dtype",
}
# What LionConfig calls by the same names.
_SAME = [
    name for name in signature(settings).parameters if name in signature(LionConfig).parameters
]
_WHOLE = (
    "correction_bits",
    "gradient_accumulation_steps",
    "ema_overwrite_every",
    "loss_scale_growth_interval",
)


def takes(read: Callable[P, S]) -> Callable[[Callable[[S], R]], Callable[P, R]]:
    """Let a function of what ``read`` returns be called with the arguments of ``read``.

    For ``help``, ``inspect.signature`` and type checkers they are its own.
    """

    def decorate(make: Callable[[S], R]) -> Callable[P, R]:
        @wraps(make)
        def made(*args: P.args, **kwargs: P.kwargs) -> R:
            return make(read(*args, **kwargs))

        returns = signature(make).return_annotation
        vars(made)["__signature__"] = signature(read).replace(return_annotation=returns)
        made.__annotations__ = read.__annotations__ | {"return": returns}
        return made

    return decorate
