"""Replay a trial's gradients on an implementation, and keep what can be seen of it."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from lion_ports.conformance.bits import reals, same
from lion_ports.conformance.protocol import UnsupportedError
from lion_ports.conformance.trial import Snapshot, Trial
from lion_ports.state import load_state, save_state


class TouchedError(Exception):
    """The implementation wrote to a gradient."""

    mutant = "gradient-overwritten"

    def __init__(self, step: int, name: str) -> None:
        super().__init__(f"step {step}, {name}: the gradient was written to")


class SilentError(Exception):
    """The implementation made a step that it should have refused."""

    mutant = "raise-ignored"

    def __init__(self, step: int) -> None:
        super().__init__(f"step {step}: no exception came, and a gradient is not finite")


class RecompiledError(Exception):
    """The compiler was needed again, and only numbers had changed."""

    mutant = "compiled-again"

    def __init__(self, step: int) -> None:
        super().__init__(
            f"step {step}: compiled again, though only a learning rate or a decay had changed"
        )


OFFERS = {
    "groups": "parameter groups",
    "frozen": "frozen parameters",
    "tied": "tied parameters",
    "compiled": "compilation",
}
"""What a trial may ask of ``start`` beyond the protocol, by the name in an implementation's
``offers``, and what the reports call it."""

# At first there is no state; then a number that has changed may become a variable of the program.
_SETTLED = 3


def observe(make: Callable[[], Any], trial: Trial) -> list[Snapshot]:
    """Snapshots of a fresh implementation before the first step of a trial and after each.

    Raises:
        TouchedError: a gradient was written to (L-003).
        SilentError: a step came through that had to raise (L-019).
        RecompiledError: another learning rate made the compiler work again (L-015).
        UnsupportedError: the implementation does not offer what the trial needs.
    """
    implementation, compilations = _started(make, trial), 0
    snapshots = [_snapshot(implementation)]
    for i, step in enumerate(trial.steps):
        if i == trial.restart_at:
            implementation = _restarted(make, trial, implementation)
        _change(implementation, trial, i)
        grads = {n: None if g is None else np.array(g, order="K") for n, g in step.grads.items()}
        if i == trial.raises_at:
            _refused(implementation, grads, step.lr, i + 1)
        else:
            implementation.step(grads, step.lr)
        after: Any = implementation.gradients() if hasattr(implementation, "gradients") else grads
        for name, g in step.grads.items():
            if g is not None and not same(reals(after[name]), reals(g)).all():
                raise TouchedError(i + 1, name)
        if trial.compiled:
            before, compilations = compilations, implementation.compilations()
            if i >= _SETTLED and compilations > before:
                raise RecompiledError(i + 1)
        snapshots.append(_snapshot(implementation))
    return snapshots


def _refused(implementation: Any, grads: Any, lr: float, number: int) -> None:
    try:
        implementation.step(grads, lr)
    except UnsupportedError:
        raise
    except Exception:  # of whatever kind: what counts is that nothing has moved
        return
    raise SilentError(number)


def _change(implementation: Any, trial: Trial, i: int) -> None:
    """What happens between two steps: other settings of a group, parameters frozen or not."""
    for k, group in enumerate(trial.groups):
        if i in group.changes:
            implementation.change(k, group.changes[i])
    if i > 0 and (frozen := trial.frozen_at(i)) != trial.frozen_at(i - 1):
        implementation.freeze(frozen)


def _started(make: Callable[[], Any], trial: Trial) -> Any:
    implementation = make()
    params = {n: np.array(x, order="K") for n, x in trial.params.items()}
    asked: dict[str, Any] = {"defaults": True} if trial.defaults else {}
    for name, words in OFFERS.items():
        if value := getattr(trial, name):
            if name not in getattr(implementation, "offers", ()):
                raise UnsupportedError(words)
            asked[name] = trial.frozen_at(0) if name == "frozen" else value
    implementation.start(params, trial.config, trial.mask, **asked)
    return implementation


def _snapshot(implementation: Any) -> Snapshot:
    average = implementation.average() if hasattr(implementation, "average") else None
    return Snapshot(implementation.params(), implementation.momentum(), average)


def _restarted(make: Callable[[], Any], trial: Trial, running: Any) -> Any:
    """A fresh implementation with the saved state of the running one."""
    fresh = _started(make, trial)
    if trial.portable:
        if not hasattr(running, "export"):
            raise UnsupportedError("portable state")
        with TemporaryDirectory() as folder:
            path = Path(folder) / "state.safetensors"
            save_state(path, running.export())
            fresh.adopt(load_state(path))
        return fresh
    if hasattr(running, "save"):
        fresh.restore(running.save())
        return fresh
    params, momentum, _ = _snapshot(running)
    if momentum is None or not hasattr(fresh, "load"):
        raise UnsupportedError("load")
    fresh.load(params, momentum)
    return fresh
