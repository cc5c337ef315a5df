"""One validated, frozen configuration behind the reference and the three ports."""

import difflib
import math
import numbers
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from functools import wraps
from inspect import signature
from typing import Any, Literal, NamedTuple, ParamSpec, Self, TypeVar, get_args

from lion_ports.errors import ConfigError

Decay = Literal["coupled", "independent"]
MomentumDtype = Literal["float32", "bfloat16"]
Nonfinite = Literal["propagate", "skip", "raise"]
# A number, a scalar array of any framework, or a schedule step -> lr.
LearningRate = float | Callable[[Any], Any] | Any


P = ParamSpec("P")
R = TypeVar("R")


def known_settings(make: Callable[P, R]) -> Callable[P, R]:
    """Give the function that makes an optimizer L-020's answer to an argument it does not have.

    >>> @known_settings
    ... def lion(learning_rate=1e-4, weight_decay=0.0): ...
    >>> lion(weight_decy=0.1)
    Traceback (most recent call last):
    ...
    lion_ports.errors.ConfigError: unknown setting 'weight_decy'; did you mean 'weight_decay'?
    """
    names = [name for name in signature(make).parameters if name != "self"]

    @wraps(make)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        problems = [_unknown(name, names) for name in kwargs if name not in names]
        if not problems:
            return make(*args, **kwargs)
        known: Any = {name: value for name, value in kwargs.items() if name in names}
        try:
            make(*args, **known)
        except ConfigError as error:
            problems.extend(error.problems)
        raise ConfigError(*problems)

    return checked


class Scalars(NamedTuple):
    """The scalars of one step, not yet rounded; ``wd`` is that of ``x - lr*(u + wd*x)``.

    Each is a Python float or a scalar array of the framework at hand.
    """

    lr: Any
    b1: Any
    b2: Any
    wd: Any


def coupled_decay(weight_decay: float, lr_peak: float | None) -> float:
    """The ``wd`` of ``x - lr*(u + wd*x)``: independent decay is a coupled ``wd / lr_peak``."""
    return weight_decay if lr_peak is None else weight_decay / lr_peak


@dataclass(frozen=True)
class LionConfig:
    r"""The settings of one Lion optimizer, checked together on construction (L-020).

    With gradient ``g``, parameter ``x`` and momentum ``m`` (Program 1 of arXiv 2302.06675):

    .. math::

        u  &= \operatorname{sign}(\beta_1 m + (1 - \beta_1) g) \\
        x' &= x - lr (u + wd\, x) \\
        m' &= \beta_2 m + (1 - \beta_2) g

    Args:
        lr: learning rate: a number >= 0, a scalar array, or a schedule ``step -> lr`` that is
            evaluated at the number of updates done before (first: 0) (L-015).
        betas: ``(beta1, beta2)``, each in [0, 1). The paper's language models use (0.95, 0.98).
        weight_decay: ``wd`` >= 0. At 0 the term is absent (L-009).
        decay: ``"coupled"`` decays by ``lr * wd``; ``"independent"`` by ``wd * lr / lr_peak``,
            so that ``wd`` is the share of a parameter lost per step at the peak (L-017).
        lr_peak: what ``decay="independent"`` divides by; None: ``lr``, unless it is a schedule.
        momentum_dtype: storage of ``m``: None (the parameter's dtype), ``"float32"`` or
            ``"bfloat16"`` (the paper's choice, section 4) (L-016).
        maximize: ascend instead of descend (L-018).
        nonfinite: what a NaN or infinite gradient does: ``"propagate"``, ``"skip"`` the whole step
            and count it, or ``"raise"`` before anything moves (L-019).

    Raises:
        ConfigError: one message that lists every problem found.

    >>> LionConfig(lr=-1, betas=(0.9, 1.0))
    Traceback (most recent call last):
    ...
    lion_ports.errors.ConfigError: 2 problems: lr = -1 is not a finite number >= 0; betas[1] = ...
    """

    lr: LearningRate = 1e-4
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    decay: Decay = "coupled"
    lr_peak: float | None = None
    momentum_dtype: MomentumDtype | None = None
    maximize: bool = False
    nonfinite: Nonfinite = "propagate"

    def __post_init__(self) -> None:
        problems = [
            *_lr_problems(self.lr),
            *_betas_problems(self.betas),
            *_number_problems("weight_decay", self.weight_decay),
            *_choice_problems("decay", self.decay, get_args(Decay)),
            *_choice_problems(
                "momentum_dtype", self.momentum_dtype, (None, *get_args(MomentumDtype))
            ),
            *_choice_problems("maximize", self.maximize, (False, True)),
            *_choice_problems("nonfinite", self.nonfinite, get_args(Nonfinite)),
            *self._peak_problems(),
        ]
        if problems:
            raise ConfigError(*problems)
        object.__setattr__(self, "betas", tuple(self.betas))

    def _peak_problems(self) -> list[str]:
        """``lr_peak`` makes sense only for independent decay, which cannot do without it."""
        if self.decay != "independent":
            if self.lr_peak is None:
                return []
            return [f"lr_peak = {self.lr_peak!r} has no effect without decay='independent'"]
        peak = self.lr if self.lr_peak is None else self.lr_peak
        if callable(peak):
            return ["decay='independent' with a schedule needs lr_peak, the schedule's largest lr"]
        if not _is_traced(peak):
            peak = _plain(peak)
            if not (_is_number(peak) and sys.float_info.min <= peak < math.inf):
                return [f"decay='independent' needs lr_peak > 0, and {peak!r} was given"]
        object.__setattr__(self, "lr_peak", peak)
        return []

    def scalars(self, lr: Any, *, decays: bool = True) -> Scalars:
        """The scalars of a step with learning rate ``lr``; ``decays=False`` for a masked one."""
        wd = coupled_decay(self.weight_decay, self.lr_peak) if decays else 0.0
        return Scalars(lr, *self.betas, wd)

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Build from a mapping, naming the nearest setting for every unknown one.

        >>> LionConfig.from_options({"weight_decy": 0.1})
        Traceback (most recent call last):
        ...
        lion_ports.errors.ConfigError: unknown setting 'weight_decy'; did you mean 'weight_decay'?
        """
        names = [field.name for field in fields(cls)]
        problems = [_unknown(name, names) for name in options if name not in names]
        known = {name: value for name, value in options.items() if name in names}
        try:
            config = cls(**known)
        except ConfigError as error:
            problems.extend(error.problems)
        if problems:
            raise ConfigError(*problems)
        return config


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_traced(value: object) -> bool:
    """Inside a JAX transformation a setting may be abstract, with no number to check yet."""
    return any(base.__name__ == "Tracer" for base in type(value).__mro__)


def _plain(value: Any) -> Any:
    """The Python number in a scalar array of any framework."""
    return value.item() if hasattr(value, "item") and value.shape == () else value


def _number_problems(name: str, value: Any) -> list[str]:
    if _is_traced(value):
        return []
    plain = _plain(value)
    if _is_number(plain) and math.isfinite(plain) and plain >= 0:
        return []
    return [f"{name} = {value!r} is not a finite number >= 0"]


def checked_rate(lr: Any) -> Any:
    """What a schedule gave, if it is a learning rate (L-015, L-020).

    Raises:
        ConfigError: it is negative, not finite, or not a number.
    """
    if problems := _number_problems("lr", lr):
        raise ConfigError(*problems)
    return lr


def misspelt(names: Iterable[str]) -> list[str]:
    """A problem for each name that is nearly, but not quite, that of a setting."""
    known = [field.name for field in fields(LionConfig)]
    return [
        _unknown(name, known)
        for name in names
        if name not in known and difflib.get_close_matches(name, known, 1, cutoff=0.85)
    ]


def _lr_problems(lr: Any) -> list[str]:
    if callable(lr):
        return []
    if getattr(lr, "shape", ()) != ():
        return [f"lr has shape {tuple(lr.shape)}; a number, a scalar array or a schedule is needed"]
    return _number_problems("lr", lr)


def _betas_problems(betas: Any) -> list[str]:
    try:
        b1, b2 = betas
    except (TypeError, ValueError):
        return [f"betas = {betas!r} is not a pair of numbers"]
    return [
        f"betas[{i}] = {beta!r} is not in [0, 1)"
        for i, beta in enumerate((b1, b2))
        if not _is_traced(beta) and not (_is_number(_plain(beta)) and 0 <= _plain(beta) < 1)
    ]


def _choice_problems(name: str, value: Any, allowed: tuple[Any, ...]) -> list[str]:
    if value in allowed:
        return []
    listed = ", ".join(repr(one) for one in allowed)
    nearest = difflib.get_close_matches(str(value), [str(one) for one in allowed], 1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    return [f"{name} = {value!r} is not one of {listed}{hint}"]


def _unknown(name: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"the settings are {', '.join(known)}"
    return f"unknown setting {name!r}; {hint}"
