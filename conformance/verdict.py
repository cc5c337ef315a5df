"""The verdicts of one trial: bitwise against the reference, and faithful within a proved bound.

The constants are derived in docs/conformance.md ("The bound").
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lion_ports import reference
from lion_ports.conformance.bits import hexadecimal, reals, same, ulps
from lion_ports.conformance.bound import Bools, StepBound
from lion_ports.conformance.trial import Array, Snapshot, Trial


@dataclass(frozen=True)
class Finding:
    """The first element at which an implementation left what is allowed."""

    what: str
    step: int
    parameter: str
    index: tuple[int, ...] = ()
    inputs: tuple[tuple[str, str], ...] = ()
    allowed: str = ""
    came: str = ""

    def __str__(self) -> str:
        where = f"step {self.step}, {self.parameter}{list(self.index) if self.index else ''}"
        inputs = ", ".join(f"{name}={value}" for name, value in self.inputs)
        text = f"{where}: {self.what}"
        if self.allowed:
            text += f" came as {self.came}, allowed is {self.allowed}"
        return f"{text} ({inputs})" if inputs else text


@dataclass(frozen=True)
class Judgement:
    """A trial judged: the first finding at each level (None: passed), and how far it was off."""

    bitwise: Finding | None
    faithful: Finding | None
    max_ulp: int
    ambiguous: int


def reference_run(trial: Trial, *, flush: bool = False) -> list[Snapshot]:
    """The reference's own snapshots: before the first step and after each."""
    params, state = dict(trial.params), reference.init(trial.params, trial.config)
    snapshots = [Snapshot(params, state.momentum)]
    for step in trial.steps:
        params, state = reference.step(
            params, step.grads, state, trial.config, lr=step.lr, mask=trial.mask, flush=flush
        )
        snapshots.append(Snapshot(params, state.momentum))
    return snapshots


def judge(
    trial: Trial,
    observed: list[Snapshot],
    *,
    flush: bool = False,
    uninterrupted: list[Snapshot] | None = None,
) -> Judgement:
    """Judge the snapshots of an implementation, one before the first step and one after each.

    A trial with a restart needs the same implementation's ``uninterrupted`` snapshots as well: to
    be faithful is then to go on exactly as without the restart (L-021).
    """
    expected = reference_run(trial, flush=flush)
    bitwise, max_ulp = _compare(trial, observed, expected, same)
    wrong_from_the_start, _ = _compare(trial, observed[:1], expected[:1], same)
    structural = _structure(observed, expected) or wrong_from_the_start
    if structural is not None:
        return Judgement(structural, structural, max_ulp, 0)
    if uninterrupted is not None:
        restarted, _ = _compare(trial, observed, uninterrupted, same)
        return Judgement(bitwise, restarted, max_ulp, 0)
    if trial.exact:  # every right way gives these numbers; the sign of a zero is left open
        exact, _ = _compare(trial, observed, expected, np.equal)
        return Judgement(bitwise, exact, max_ulp, 0)
    faithful, ambiguous = _faithful(trial, observed, flush)
    return Judgement(bitwise, faithful, max_ulp, ambiguous)


def _structure(observed: list[Snapshot], expected: list[Snapshot]) -> Finding | None:
    """L-005: names, shapes and dtypes are those of the reference throughout."""
    for i, (seen, right) in enumerate(zip(observed, expected, strict=True)):
        for what, have, want in (
            ("parameter", seen.params, right.params),
            ("momentum", seen.momentum, right.momentum),
        ):
            if have is None or want is None:
                continue
            for name, array in want.items():
                came = _kind(have[name]) if name in have else "nothing"
                if came != _kind(array):
                    return Finding(f"the {what}", i, name, allowed=_kind(array), came=came)
    return None


def _kind(array: Array) -> str:
    return f"{array.dtype}{list(array.shape)}"


def _compare(
    trial: Trial,
    observed: list[Snapshot],
    expected: list[Snapshot],
    equals: Callable[[Array, Array], Bools],
) -> tuple[Finding | None, int]:
    """The first unequal element, and the largest distance of all, in ulp."""
    finding, worst = None, 0
    for i, (seen, right) in enumerate(zip(observed, expected, strict=True)):
        for what, have, want in (
            ("the parameter", seen.params, right.params),
            ("the momentum", seen.momentum, right.momentum),
        ):
            if have is None or want is None:
                continue
            for name, array in want.items():
                if name not in have or _kind(have[name]) != _kind(array):
                    continue
                came, due = reals(have[name]), reals(array)
                equal = equals(came, due)
                if equal.all():
                    continue
                worst = max(worst, ulps(came, due))
                if finding is None:
                    at = _first(~equal)
                    finding = _finding(
                        what, trial, observed, i, name, at, hexadecimal(due[at]), came[at]
                    )
    return finding, worst


def _first(wrong: Bools) -> tuple[int, ...]:
    return tuple(int(k) for k in np.argwhere(wrong)[0]) if wrong.ndim else ()


def _finding(
    what: str,
    trial: Trial,
    observed: list[Snapshot],
    i: int,
    name: str,
    at: tuple[int, ...],
    allowed: str,
    came: Any,
) -> Finding:
    """With the inputs of the step that led to snapshot ``i``."""
    inputs: list[tuple[str, str]] = []
    if i > 0:
        before, step = observed[i - 1], trial.steps[i - 1]
        g = step.grads[name]
        decays = trial.mask is None or trial.mask[name]
        inputs = [("x", hexadecimal(reals(before.params[name])[at]))]
        if g is not None:
            inputs.append(("g", hexadecimal(reals(g)[at])))
        if before.momentum is not None:
            inputs.append(("m", hexadecimal(reals(before.momentum[name])[at])))
        wd = trial.config.scalars(step.lr, decays=decays).wd
        inputs += [("lr", hexadecimal(step.lr)), ("wd", hexadecimal(wd))]
    return Finding(what, i, name, at, tuple(inputs), allowed, hexadecimal(came))


def _faithful(trial: Trial, observed: list[Snapshot], flush: bool) -> tuple[Finding | None, int]:
    """Every step from the implementation's own state before it."""
    ambiguous = 0
    hidden = {n: _Hidden(np.zeros_like(reals(x))) for n, x in trial.params.items()}
    for i, step in enumerate(trial.steps, start=1):
        before, after = observed[i - 1], observed[i]
        left_out = trial.config.nonfinite == "skip" and not all(
            np.isfinite(g).all() for g in step.grads.values() if g is not None
        )
        for name, g in step.grads.items():
            x0, x1 = reals(before.params[name]), reals(after.params[name])
            seen = before.momentum is not None and after.momentum is not None
            m0 = reals(before.momentum[name]) if before.momentum is not None else hidden[name].m
            m1 = reals(after.momentum[name]) if seen and after.momentum is not None else None
            if g is None or left_out:
                for what, came, due in (("the parameter", x1, x0), ("the momentum", m1, m0)):
                    if came is not None and not (equal := same(came, due)).all():
                        at = _first(~equal)
                        allowed = hexadecimal(due[at]) + ", as before"
                        return _finding(
                            what, trial, observed, i, name, at, allowed, came[at]
                        ), ambiguous
                continue
            check = StepBound(trial, name, step.lr, x0, reals(g), m0, hidden[name].error, flush)
            ambiguous += int(check.ambiguous.sum())
            for what, came, allowed_at, wrong in (
                ("the parameter", x1, check.x_allowed, check.x_wrong(x1)),
                ("the momentum", m1, check.m_allowed, check.m_wrong(m1)),
            ):
                if came is not None and wrong.any():
                    at = _first(wrong)
                    return _finding(
                        what, trial, observed, i, name, at, allowed_at(at), came[at]
                    ), ambiguous
            if not seen:
                hidden[name] = _Hidden(check.m_center, check.m_error)
    return None, ambiguous


@dataclass(frozen=True)
class _Hidden:
    """A momentum that cannot be read: what it would be exactly, and how far off it may be."""

    m: Array
    error: Any = 0.0
