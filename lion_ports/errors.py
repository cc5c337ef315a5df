"""The errors of lion-ports. Each message says what was given, what is allowed and what to do."""

from collections.abc import Iterable
from typing import Any, Self


class LionError(Exception):
    """Base class of every error that lion-ports raises on purpose."""


class ConfigError(LionError, ValueError):
    """Settings outside their range or of no known name (L-020), all of them in one message."""

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        count = f"{len(problems)} problems: " if len(problems) > 1 else ""
        super().__init__(count + "; ".join(problems))


class DtypeError(LionError, TypeError):
    """A parameter's dtype is not one that Lion can update (L-005), or a gradient is sparse."""

    @classmethod
    def of(cls, name: str, dtype: object) -> Self:
        """The error for the parameter ``name``; without a name, for a parameter."""
        return cls(
            f"{name or 'a parameter'} has dtype {dtype}, which Lion cannot update; it needs "
            "bfloat16, float16, float32, float64 or complex parameters. Leave this one out, or "
            "convert it."
        )


class NonFiniteError(LionError, ArithmeticError):
    """``nonfinite="raise"`` met a gradient with NaN or infinity; nothing has moved (L-019)."""

    def __init__(self, names: Iterable[str], note: str = "") -> None:
        self.names, self.note = tuple(names), note
        listed = ", ".join(self.names[:5]) + (", ..." if len(self.names) > 5 else "")
        super().__init__(
            f"the gradient of {listed} has NaN or infinity; parameters and momentum are as they "
            f"were before the step{note}. Find the cause, or choose nonfinite='skip' or "
            "'propagate'."
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.names, self.note)


class StateError(LionError, ValueError):
    """A saved state that is damaged, foreign, newer, or of other parameters (L-030)."""


def install_command(*extras: str) -> str:
    """The words of a message that ask for one of these extras of lion-ports, which is on no index.

    >>> install_command("torch", "jax")
    "pip install '.[torch]' or '.[jax]' in a checkout of lion-ports"
    """
    named = " or ".join(f"'.[{extra}]'" for extra in extras)
    return f"pip install {named} in a checkout of lion-ports"
