"""Bad settings and parameters, which an implementation has to refuse (L-005, L-020)."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lion_ports.conformance.adapters.program import ProgramError
from lion_ports.conformance.protocol import Arrays, UnsupportedError
from lion_ports.conformance.trial import Trial

GOOD: dict[str, Any] = {
    "lr": 2.0**-6,
    "betas": (0.9, 0.99),
    "weight_decay": 0.1,
    "clipnorm": 1.0,
    "clipvalue": 1.0,
    "ema_decay": 0.5,
}
"""Settings that are right, by the names of those that a case makes wrong."""


def not_refused(trial: Trial, make: Callable[[], Any]) -> str:
    """What was not refused, though it had to be; nothing where it was.

    An exception of any class is a refusal, if nothing has moved before, and if it is the value that
    is refused: the same with a right value has to come through, or else its exception is raised
    here. A program that ends has refused nothing.

    Raises:
        UnsupportedError: settings go another way into this implementation, or it does not offer
            what the wrong setting is of.
        Exception: whatever the implementation raises at right settings.
    """
    wrong = {"lr": GOOD["lr"], **(trial.refuse or {})}
    words = ", ".join(f"{k}={v}" for k, v in (trial.refuse or {}).items()) or "integer parameters"
    raised, moved = _attempt(make, trial.params, wrong)
    if raised is None:
        return words
    if moved:
        return f"{words} before anything moves"
    floats = {n: np.asarray(x, np.float32) if x.dtype.kind in "iu" else x
              for n, x in trial.params.items()}  # fmt: skip
    for name in [name for name in wrong if name in GOOD]:
        error, _ = _attempt(make, floats, {"lr": GOOD["lr"], name: GOOD[name]})
        if error is not None:
            raise error
    return ""


def _attempt(
    make: Callable[[], Any], params: Arrays, settings: Mapping[str, Any]
) -> tuple[Exception | None, bool]:
    """Construct and make one step: the exception if one came, and whether anything had moved."""
    implementation = make()
    if not hasattr(implementation, "construct"):
        raise UnsupportedError("settings by name")
    before = {n: np.array(x) for n, x in params.items()}
    given = {n: np.array(x) for n, x in params.items()}
    try:
        implementation.construct(given, settings, None)
        implementation.step({n: np.ones_like(x) for n, x in given.items()}, settings["lr"])
    except (UnsupportedError, ProgramError):
        raise
    except Exception as error:  # of whatever class: which one is right is the framework's custom
        after = _parameters(implementation)
        return error, any(not np.array_equal(x, before[n]) for n, x in after.items())
    return None, False


def _parameters(implementation: Any) -> dict[str, Any]:
    """The parameters now; none where the constructor did not get so far."""
    try:
        parameters: dict[str, Any] = implementation.params()
    except AttributeError:
        return {}
    return parameters
