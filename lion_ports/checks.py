"""Checks of single settings (L-020): each gives a list of problems, empty where there is none."""

import difflib
import math
import numbers
from typing import Any


def number(name: str, value: Any, *, least: float = 0, above: bool = False) -> list[str]:
    """A finite number >= ``least``, or > ``least`` where ``above`` is set."""
    if is_traced(value):
        return []
    found = plain(value)
    if is_number(found) and math.isfinite(found) and (found > least if above else found >= least):
        return []
    return [f"{name} = {value!r} is not a finite number {'>' if above else '>='} {least:g}"]


def whole(name: str, value: Any) -> list[str]:
    """An integer >= 1."""
    if isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= 1:
        return []
    return [f"{name} = {value!r} is not a whole number >= 1"]


def fraction(name: str, value: Any) -> list[str]:
    """A number in [0, 1)."""
    if is_traced(value) or (is_number(plain(value)) and 0 <= plain(value) < 1):
        return []
    return [f"{name} = {value!r} is not in [0, 1)"]


def fractions(name: str, value: Any) -> list[str]:
    """A pair of numbers in [0, 1)."""
    try:
        first, second = value
    except (TypeError, ValueError):
        return [f"{name} = {value!r} is not a pair of numbers"]
    return [*fraction(f"{name}[0]", first), *fraction(f"{name}[1]", second)]


def schedulable(name: str, value: Any) -> list[str]:
    """A number >= 0, a scalar array of any framework, or a schedule, which is checked later."""
    if callable(value):
        return []
    if getattr(value, "shape", ()) != ():
        shape = tuple(value.shape)
        return [f"{name} has shape {shape}; a number, a scalar array or a schedule is needed"]
    return number(name, value)


def choice(name: str, value: Any, allowed: tuple[Any, ...]) -> list[str]:
    """One of a few values."""
    if any(value is one or value == one for one in allowed):
        return []
    listed = ", ".join(repr(one) for one in allowed)
    nearest = difflib.get_close_matches(str(value), [str(one) for one in allowed], 1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    return [f"{name} = {value!r} is not one of {listed}{hint}"]


# What one thing is called here and there; the first names are ours.
_SYNONYMS = (
    ("lr", "learning_rate"),
    ("betas", "b1", "b2", "beta1", "beta2", "beta_1", "beta_2"),
    ("weight_decay", "wd", "weight_decay_rate"),
    ("momentum_dtype", "mu_dtype"),
    ("decay", "decoupled_weight_decay", "decouple_lr"),
    ("ema_decay", "use_ema", "ema_momentum"),
    ("ema_overwrite_every", "ema_overwrite_frequency"),
    ("loss_scale", "loss_scale_factor"),
    ("global_clipnorm", "max_grad_norm", "clip_grad_norm"),
    ("gradient_accumulation_steps", "accumulation_steps", "every_k_schedule"),
)


def unknown(name: str, known: list[str]) -> str:
    """The problem of a setting that does not exist."""
    nearest = [n for n in synonyms(name) if n in known]
    nearest += difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"the settings are {', '.join(known)}"
    return f"unknown setting {name!r}; {hint}"


def synonyms(name: str) -> list[str]:
    """What else a setting is called, here or elsewhere."""
    return [other for names in _SYNONYMS if name in names for other in names if other != name]


def dtype_name(value: Any) -> Any:
    """The name of a dtype of any framework; anything else as it is."""
    if value is None or isinstance(value, str):
        return value
    name = getattr(value, "name", None) or getattr(value, "__name__", None) or str(value)
    return str(name).rpartition(".")[2]


def is_number(value: object) -> bool:
    """A real number, and no boolean."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def is_traced(value: object) -> bool:
    """Inside a JAX transformation a setting may be abstract, with no number to check yet."""
    return any(base.__name__ == "Tracer" for base in type(value).__mro__)


def plain(value: Any) -> Any:
    """The Python number in a scalar array of any framework."""
    return value.item() if hasattr(value, "item") and value.shape == () else value
