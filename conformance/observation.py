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

    def __init__(self, step: int, name: str) -> None:
        super().__init__(f"step {step}, {name}: the gradient was written to")


class SilentError(Exception):
    """The implementation made a step that it should have refused."""

    def __init__(self, step: int) -> None:
        super().__init__(f"step {step}: no exception came, and a gradient is not finite")


def observe(make: Callable[[], Any], trial: Trial) -> list[Snapshot]:
    """Snapshots of a fresh implementation before the first step of a trial and after each.

    Raises:
        TouchedError: a gradient was written to (L-003).
        SilentError: a step came through that had to raise (L-019).
        UnsupportedError: the implementation does not offer what the trial needs.
    """
    implementation = _started(make, trial)
    snapshots = [_snapshot(implementation)]
    for i, step in enumerate(trial.steps):
        if i == trial.restart_at:
            implementation = _restarted(make, trial, implementation)
        grads = {n: None if g is None else np.array(g, order="K") for n, g in step.grads.items()}
        if i == trial.raises_at:
            _refused(implementation, grads, step.lr, i + 1)
        else:
            implementation.step(grads, step.lr)
        after: Any = implementation.gradients() if hasattr(implementation, "gradients") else grads
        for name, g in step.grads.items():
            if g is not None and not same(reals(after[name]), reals(g)).all():
                raise TouchedError(i + 1, name)
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


def _started(make: Callable[[], Any], trial: Trial) -> Any:
    implementation = make()
    params = {n: np.array(x, order="K") for n, x in trial.params.items()}
    defaults = {"defaults": True} if trial.defaults else {}
    implementation.start(params, trial.config, trial.mask, **defaults)
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
