"""One validated, frozen configuration behind the reference and the three ports."""

import difflib
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from functools import wraps
from inspect import signature
from typing import Any, Literal, NamedTuple, ParamSpec, Self, TypeVar, get_args

from lion_ports import checks
from lion_ports.errors import ConfigError

Decay = Literal["coupled", "independent"]
MomentumDtype = Literal["float32", "bfloat16", "int8"]
CorrectionBits = Literal[8, 16]
Nonfinite = Literal["propagate", "skip", "raise"]
Nonlinearity = Literal["sign", "tanh", "clip", "l2"]
# A number, a scalar array of any framework, or a schedule step -> value.
Schedulable = float | Callable[[Any], Any] | Any
LossScale = float | Literal["dynamic"]

# Where a dynamic loss scale begins, and what it stays between (L-024).
LOSS_SCALE_INITIAL, LOSS_SCALE_MIN, LOSS_SCALE_MAX = 2.0**15, 1.0, 2.0**24

P = ParamSpec("P")
R = TypeVar("R")


class Scalars(NamedTuple):
    """The scalars of one step, not yet rounded.

    Each is a Python float or a scalar array of the framework at hand. With ``lr_peak`` the weight
    decay is independent, and its coefficient ``wd / lr_peak`` (L-017).
    """

    lr: Any
    b1: Any
    b2: Any
    wd: Any
    lr_peak: Any = None


class Rule(NamedTuple):
    """How direction and decay are made, where not in Lion's own way (L-022, L-023, L-028)."""

    nonlinearity: Nonlinearity = "sign"
    steepness: float = 1.0
    cautious: bool = False
    cautious_cap: float = 10.0
    cautious_decay: bool = False


LION = Rule()
"""The sign, and nothing else."""


@dataclass(frozen=True)
class LionConfig:
    """The settings of one Lion optimizer, checked together on construction (L-020).

    With gradient ``g``, parameter ``x`` and momentum ``m`` (Program 1 of arXiv 2302.06675):

        u  = sign(beta1*m + (1 - beta1)*g)
        x' = x - lr*(u + wd*x)
        m' = beta2*m + (1 - beta2)*g

    Args:
        lr: learning rate: a number >= 0, a scalar array, or a schedule ``step -> lr`` that is
            evaluated at the number of updates done before (first: 0) (L-015).
        betas: ``(beta1, beta2)``, each in [0, 1). The paper's language models use (0.95, 0.98).
        weight_decay: ``wd`` >= 0, or a schedule like ``lr``; at 0 the term is absent (L-009).
        decay: ``"coupled"`` decays by ``lr * wd``; ``"independent"`` by ``wd * lr / lr_peak``,
            so that ``wd`` is the share of a parameter lost per step at the peak (L-017).
        lr_peak: what ``decay="independent"`` divides by; None: ``lr``, unless it is a schedule.
        momentum_dtype: storage of ``m``: None (the parameter's dtype), ``"float32"`` or
            ``"bfloat16"`` (the paper's choice, section 4), or a framework's own such dtype (L-016);
            or ``"int8"``, with a scale for every 128 elements (L-031).
        correction_bits: keep 8 or 16 bits beside each bfloat16 parameter that it lacks of a
            float32, so that no step and no decay is lost (L-032).
        maximize: ascend instead of descend (L-018).
        nonfinite: what a NaN or infinite gradient does: ``"propagate"``, ``"skip"`` the whole step
            and count it, or ``"raise"`` before anything moves (L-019).
        cautious: leave out what the gradient opposes, and enlarge the rest, by at most
            ``cautious_cap`` (L-022).
        cautious_decay: decay only where the direction pulls towards zero as well (L-023).
        nonlinearity: ``"sign"``, ``"tanh"``, ``"clip"`` or ``"l2"`` of ``steepness * c`` (L-028).
        clipvalue: bound of each element of a gradient (L-026).
        clipnorm: bound of the norm of each gradient (L-027).
        global_clipnorm: bound of the norm of all gradients together (L-027).
        gradient_accumulation_steps: micro-steps to one update by their mean (L-025).
        ema_decay: keep a moving average of the parameters, with this decay in [0, 1) (L-029).
        ema_overwrite_every: replace the parameters by it after so many updates (L-029).
        loss_scale: what the loss was multiplied by, a number or ``"dynamic"`` (L-024).
        loss_scale_growth_interval: finite steps after which a dynamic scale is doubled (L-024).

    Raises:
        ConfigError: one message that lists every problem found.

    >>> LionConfig(lr=-1, betas=(0.9, 1.0))
    Traceback (most recent call last):
    ...
    lion_ports.errors.ConfigError: 2 problems: lr = -1 is not a finite number >= 0; betas[1] = ...
    """

    lr: Schedulable = 1e-4
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: Schedulable = 0.0
    decay: Decay = "coupled"
    lr_peak: float | None = None
    momentum_dtype: MomentumDtype | None = None
    correction_bits: CorrectionBits | None = None
    maximize: bool = False
    nonfinite: Nonfinite = "propagate"
    cautious: bool = False
    cautious_cap: float = LION.cautious_cap
    cautious_decay: bool = False
    nonlinearity: Nonlinearity = "sign"
    steepness: float = LION.steepness
    clipvalue: float | None = None
    clipnorm: float | None = None
    global_clipnorm: float | None = None
    gradient_accumulation_steps: int = 1
    ema_decay: float | None = None
    ema_overwrite_every: int | None = None
    loss_scale: LossScale | None = None
    loss_scale_growth_interval: int = 2000

    def __post_init__(self) -> None:
        object.__setattr__(self, "momentum_dtype", checks.dtype_name(self.momentum_dtype))
        flags = ("maximize", "cautious", "cautious_decay")
        choices = {
            "decay": get_args(Decay),
            "momentum_dtype": (None, *get_args(MomentumDtype)),
            "correction_bits": (None, *get_args(CorrectionBits)),
            "nonfinite": get_args(Nonfinite),
            "nonlinearity": get_args(Nonlinearity),
            **dict.fromkeys(flags, (False, True)),
        }
        problems = [
            *checks.schedulable("lr", self.lr),
            *checks.fractions("betas", self.betas),
            *checks.schedulable("weight_decay", self.weight_decay),
            *(p for name, allowed in choices.items() for p in self._choice(name, allowed)),
            *checks.number("cautious_cap", self.cautious_cap, least=1),
            *checks.number("steepness", self.steepness, above=True),
            *self._clip_problems(),
            *checks.whole("gradient_accumulation_steps", self.gradient_accumulation_steps),
            *self._average_problems(),
            *self._scale_problems(),
            *self._idle_problems(),
            *self._peak_problems(),
        ]
        if problems:
            raise ConfigError(*problems)
        object.__setattr__(self, "betas", tuple(self.betas))

    def _choice(self, name: str, allowed: tuple[Any, ...]) -> list[str]:
        return checks.choice(name, getattr(self, name), allowed)

    def _clip_problems(self) -> list[str]:
        names = ("clipvalue", "clipnorm", "global_clipnorm")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        problems = [p for n, v in given.items() for p in checks.number(n, v, above=True)]
        if len(given) > 1:
            problems.append(f"at most one way to clip is possible, not {' and '.join(given)}")
        return problems

    def _average_problems(self) -> list[str]:
        problems = [] if self.ema_decay is None else checks.fraction("ema_decay", self.ema_decay)
        if self.ema_overwrite_every is not None:
            problems += checks.whole("ema_overwrite_every", self.ema_overwrite_every)
        return problems

    def _scale_problems(self) -> list[str]:
        problems = checks.whole("loss_scale_growth_interval", self.loss_scale_growth_interval)
        if self.dynamic and self.nonfinite == "raise":
            problems.append("loss_scale='dynamic' skips what is not finite, and nonfinite='raise'")
        if self.loss_scale is None or self.dynamic:
            return problems
        if isinstance(self.loss_scale, str):
            return [*problems, *checks.choice("loss_scale", self.loss_scale, ("dynamic",))]
        return problems + checks.number("loss_scale", self.loss_scale, above=True)

    def _idle_problems(self) -> list[str]:
        """Settings that have no effect without another one that is missing."""
        needs = {
            "cautious_cap": ("cautious=True", self.cautious),
            "steepness": ("nonlinearity other than 'sign'", self.nonlinearity != "sign"),
            "ema_overwrite_every": ("ema_decay", self.ema_decay is not None),
            "loss_scale_growth_interval": ("loss_scale='dynamic'", self.dynamic),
            "lr_peak": ("decay='independent'", self.decay == "independent"),
        }
        usual = {field.name: field.default for field in fields(self)}
        return [
            f"{name} = {getattr(self, name)!r} has no effect without {other}"
            for name, (other, is_there) in needs.items()
            if not is_there and self._is_set(name, usual[name])
        ]

    def _is_set(self, name: str, usual: Any) -> bool:
        value = getattr(self, name)
        return value is not usual and not checks.is_traced(value) and bool(value != usual)

    def _peak_problems(self) -> list[str]:
        """Independent decay cannot do without ``lr_peak``, which may be ``lr`` itself."""
        if self.decay != "independent":
            return []
        peak = self.lr if self.lr_peak is None else self.lr_peak
        if callable(peak):
            return ["decay='independent' with a schedule needs lr_peak, the schedule's largest lr"]
        if not checks.is_traced(peak):
            peak = checks.plain(peak)
            if not (checks.is_number(peak) and sys.float_info.min <= peak < math.inf):
                return [f"decay='independent' needs lr_peak > 0, and {peak!r} was given"]
        object.__setattr__(self, "lr_peak", peak)
        return []

    @property
    def dynamic(self) -> bool:
        """Whether the loss scale is a part of the state (L-024)."""
        return isinstance(self.loss_scale, str) and self.loss_scale == "dynamic"

    @property
    def skips(self) -> bool:
        """Whether a step with a gradient that is not finite is left out (L-019, L-024)."""
        return self.nonfinite == "skip" or self.dynamic

    @property
    def clips(self) -> bool:
        """Whether gradients are kept within a bound (L-026, L-027)."""
        bounds = (self.clipvalue, self.clipnorm, self.global_clipnorm)
        return any(bound is not None for bound in bounds)

    @property
    def rule(self) -> Rule:
        """How the direction and its decay are made."""
        return Rule(**{name: getattr(self, name) for name in Rule._fields})

    def scalars(self, lr: Any, wd: Any, lr_peak: Any = None, *, decays: bool = True) -> Scalars:
        """The scalars of a step; ``decays=False`` for a parameter that the mask exempts."""
        return Scalars(lr, *self.betas, wd if decays else 0.0, lr_peak)

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Build from a mapping, naming the nearest setting for every unknown one.

        >>> LionConfig.from_options({"weight_decy": 0.1})
        Traceback (most recent call last):
        ...
        lion_ports.errors.ConfigError: unknown setting 'weight_decy'; did you mean 'weight_decay'?
        """
        return known_settings(cls)(**options)


def scheduled(name: str, value: Schedulable, count: Any) -> Any:
    """A setting at a count of updates, checked if a schedule gave it (L-015, L-020).

    Raises:
        ConfigError: the schedule gave something negative, not finite, or not a number.
    """
    if not callable(value):
        return value
    if problems := checks.number(name, given := value(count)):
        raise ConfigError(*problems)
    return given


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
        problems = [checks.unknown(name, names) for name in kwargs if name not in names]
        if not problems:
            return make(*args, **kwargs)
        known: Any = {name: value for name, value in kwargs.items() if name in names}
        try:
            make(*args, **known)
        except ConfigError as error:
            problems.extend(error.problems)
        raise ConfigError(*problems)

    return checked


def misspelt(names: Iterable[str]) -> list[str]:
    """A problem for each name that is nearly that of a setting, or means one elsewhere."""
    known = [field.name for field in fields(LionConfig)]
    return [
        checks.unknown(name, known)
        for name in names
        if name not in known
        and (checks.synonyms(name) or difflib.get_close_matches(name, known, 1, cutoff=0.85))
    ]
