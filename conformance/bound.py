"""What one step may lead to: the proved bound of docs/conformance.md ("The bound")."""

from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from lion_ports import reference
from lion_ports.conformance.bits import hexadecimal
from lion_ports.conformance.trial import Array, Trial

K_MIX = 5
"""Roundings in b*m + (1-b)*g over all rewritings (4), and one for their products."""
K_MOVE = 8
"""Roundings in x - lr*(u + wd*x) over all rewritings (7), and one for their products."""

Bools = NDArray[np.bool_]


class StepBound:
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
