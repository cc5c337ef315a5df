"""The verdicts of one trial: bitwise against the reference, and faithful within a proved bound.

The constants are derived in docs/conformance.md ("The bound").
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from lion_ports import reference
from lion_ports.conformance.bits import hexadecimal, reals, same, ulps
from lion_ports.conformance.trial import Array, Snapshot, Trial

K_MIX = 5
"""Roundings in b*m + (1-b)*g over all rewritings (4), and one for their products."""
K_MOVE = 8
"""Roundings in x - lr*(u + wd*x) over all rewritings (7), and one for their products."""

Bools = NDArray[np.bool_]


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
    structural = _structure(observed, expected)
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
            check = _StepCheck(trial, name, step.lr, x0, reals(g), m0, hidden[name].error, flush)
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


class _StepCheck:
    """What one step may lead to, from parameter ``x0`` and momentum ``m0`` (within ``m_error``)."""

    def __init__(
        self,
        trial: Trial,
        name: str,
        lr: float,
        x0: Array,
        g: Array,
        m0: Array,
        m_error: Any,
        flush: bool,
    ) -> None:
        decays = trial.mask is None or trial.mask[name]
        scalars = trial.config.scalars(lr, decays=decays)
        compute = reference.compute_dtype(x0.dtype)
        info = np.finfo(compute)
        # Exact quantities in a wider dtype; where there is none, their rounding is allowed for.
        wide: Any = np.float64 if compute is np.float32 else np.longdouble
        slack = 2.0 if np.finfo(wide).eps == info.eps else 1.0
        u = slack * float(info.eps) / 2
        tiny = float(info.smallest_normal if flush else info.smallest_subnormal)
        self._x_dtype = x0.dtype
        self._m_dtype = _momentum_dtype(trial, x0)
        self._compute = compute

        with np.errstate(all="ignore"):
            g_ = g.astype(np.float64) * (-1 if trial.config.maximize else 1)
            X, G, M = (a.astype(wide) for a in (x0, g_.astype(compute), m0))
            b1, b2, rate, wd = (wide(s) for s in (scalars.b1, scalars.b2, lr, scalars.wd))
            size = np.abs(M) + np.abs(G)
            some = np.where(size > 0, K_MIX * tiny, 0.0)
            c = b1 * M + (1 - b1) * G
            band = K_MIX * u * size + some + b1 * m_error
            self._may = {s: s * c >= -band if s else np.abs(c) <= band for s in (-1, 0, 1)}
            exact_zero = band == 0
            for s in (-1, 1):
                self._may[s] &= ~(exact_zero & (c == 0))
            self.ambiguous = (np.abs(c) <= band) & (band > 0)

            self.m_center = b2 * M + (1 - b2) * G
            m_slack = K_MIX * u * size + some + b2 * m_error
            self._m_low = self._stored(self.m_center - m_slack, self._m_dtype)
            self._m_high = self._stored(self.m_center + m_slack, self._m_dtype)
            stored = np.abs(self.m_center) * float(_eps(self._m_dtype)) / 2
            self.m_error = m_slack + stored + float(_subnormal(self._m_dtype))

            x_slack = K_MOVE * u * (np.abs(X) + rate * (1 + wd * np.abs(X)))
            x_slack = x_slack + np.where((X != 0) | (rate > 0), K_MOVE * tiny, 0.0)
            self._x_range = {}
            for s in (-1, 0, 1):
                x = X - rate * (s + wd * X)
                low = self._stored(x - x_slack, self._x_dtype)
                high = self._stored(x + x_slack, self._x_dtype)
                self._x_range[s] = (low, high)

            # Where IEEE arithmetic leaves the finite numbers the reference says what comes; a
            # rewriting may have met inf - inf on its way, and NaN is then allowed as well.
            limit = float(info.max) / 16
            self._m_special = ~(size < limit)
            self._x_special = self._m_special | ~(np.abs(X) * (1 + rate * wd) + rate < limit)
            m_typed = m0.astype(self._m_dtype)
            self._ieee = reference.lion_update(x0, g_.astype(g.dtype), m_typed, scalars)
            self._nan = np.isnan(G) | np.isnan(M)
            self._x_infinite = np.isinf(X)
            self._x_nan = self._nan | np.isnan(X)

    def _stored(self, array: Array, dtype: Any) -> Array:
        """Rounded to the compute dtype's width and then to storage: monotone, as bounds must be."""
        if self._compute is np.float32:
            return np.asarray(array).astype(dtype)
        return reference.narrow(np.asarray(array).astype(np.float64), dtype)

    def x_wrong(self, x1: Array) -> Bools:
        """Where the new parameter is not allowed."""
        right = np.zeros(x1.shape, bool)
        for s, (low, high) in self._x_range.items():
            right |= self._may[s] & (low <= x1) & (x1 <= high)
        special = np.isnan(x1) | (~self._x_nan & ((x1 == self._ieee[0]) | right))
        # Decay of an infinite parameter is inf - inf in one order and a smaller inf in another.
        special = np.where(self._x_infinite & ~self._x_nan, ~np.isfinite(x1), special)
        return np.asarray(~np.where(self._x_special, special, right))

    def m_wrong(self, m1: Array | None) -> Bools:
        """Where the new momentum is not allowed; nowhere, if it is hidden."""
        if m1 is None:
            return np.zeros((), bool)
        right = (self._m_low <= m1) & (m1 <= self._m_high)
        infinite = ~self._nan & ~np.isnan(self._ieee[1]) & ((m1 == self._ieee[1]) | right)
        return np.asarray(~np.where(self._m_special, np.isnan(m1) | infinite, right))

    def x_allowed(self, at: tuple[int, ...]) -> str:
        """The allowed new parameter at one element, in words."""
        if self._x_special[at]:
            return _or_nan(self._ieee[0][at])
        spans = [self._x_range[s] for s in (1, 0, -1) if self._may[s][at]]
        return " or ".join(_span(low[at], high[at]) for low, high in spans)

    def m_allowed(self, at: tuple[int, ...]) -> str:
        """The allowed new momentum at one element, in words."""
        if self._m_special[at]:
            return _or_nan(self._ieee[1][at])
        return _span(self._m_low[at], self._m_high[at])


def _momentum_dtype(trial: Trial, x: Array) -> Any:
    state = reference.init({"x": x}, trial.config)
    return state.momentum["x"].dtype


def _eps(dtype: Any) -> Any:
    return ml_dtypes.finfo(dtype).eps


def _subnormal(dtype: Any) -> Any:
    return ml_dtypes.finfo(dtype).smallest_subnormal


def _or_nan(value: Any) -> str:
    return "nan" if np.isnan(value) else f"{hexadecimal(value)} or nan"


def _span(low: Any, high: Any) -> str:
    first, last = hexadecimal(low), hexadecimal(high)
    return first if first == last else f"{first} to {last}"
