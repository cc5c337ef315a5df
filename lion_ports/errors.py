"""The errors of lion-ports. Each message says what was given, what is allowed and what to do."""

from collections.abc import Iterable


class LionError(Exception):
    """Base class of every error that lion-ports raises on purpose."""


class ConfigError(LionError, ValueError):
    """Settings outside their range or of no known name (L-020), all of them in one message."""

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        count = f"{len(problems)} problems: " if len(problems) > 1 else ""
        super().__init__(count + "; ".join(problems))


class DtypeError(LionError, TypeError):
    """A parameter's dtype is not one that Lion can update (L-005)."""


class NonFiniteError(LionError, ArithmeticError):
    """``nonfinite="raise"`` met a gradient with NaN or infinity; nothing has moved (L-019)."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)
        listed = ", ".join(self.names[:5]) + (", ..." if len(self.names) > 5 else "")
        super().__init__(
            f"the gradient of {listed} has NaN or infinity; parameters and momentum are as they "
            "were before the step. Find the cause, or choose nonfinite='skip' or 'propagate'."
        )
