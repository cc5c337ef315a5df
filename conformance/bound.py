"""What one step may lead to: the proved bound of docs/conformance.md ("The bound")."""

from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from lion_ports import reference
from lion_ports.config import Scalars
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
        self._compute = reference.compute_dtype(x0.dtype)
        self._x_dtype, self._m_dtype = x0.dtype, _momentum_dtype(trial, x0)
        info = np.finfo(self._compute)
        # Exact quantities in a wider dtype; where there is none, their rounding is allowed for.
        wide: Any = np.float64 if self._compute is np.float32 else np.longdouble
        slack = 2.0 if np.finfo(wide).eps == info.eps else 1.0
        self._u = slack * float(info.eps) / 2
        self._tiny = float(info.smallest_normal if flush else info.smallest_subnormal)
        self._limit = float(info.max) / 16
        self._s = Scalars(*(wide(s) for s in scalars))

        with np.errstate(all="ignore"):
            g = np.negative(g) if trial.config.maximize else g
            self._x = x0.astype(wide)
            self._g = g.astype(self._compute).astype(wide)
            self._m = m0.astype(wide)
            self._size = np.abs(self._m) + np.abs(self._g)
            # Zeros are exact in every rewriting.
            self._underflow = np.where(self._size > 0, K_MIX * self._tiny, 0.0)
            self._bound_sign(m_error)
            self._bound_momentum(m_error)
            self._bound_parameter()
            self._leave_to_ieee(x0, g, m0.astype(self._m_dtype), scalars)

    def _bound_sign(self, m_error: Any) -> None:
        c = self._s.b1 * self._m + (1 - self._s.b1) * self._g
        band = K_MIX * self._u * self._size + self._underflow + self._s.b1 * m_error
        self.ambiguous = (np.abs(c) <= band) & (band > 0)
        self._may = {s: self.ambiguous | (np.sign(c) == s) for s in (-1, 0, 1)}

    def _bound_momentum(self, m_error: Any) -> None:
        self.m_center = self._s.b2 * self._m + (1 - self._s.b2) * self._g
        slack = K_MIX * self._u * self._size + self._underflow + self._s.b2 * m_error
        self._m_low = self._stored(self.m_center - slack, self._m_dtype)
        self._m_high = self._stored(self.m_center + slack, self._m_dtype)
        storage = ml_dtypes.finfo(self._m_dtype)
        rounding = np.abs(self.m_center) * float(storage.eps) / 2
        self.m_error = slack + rounding + float(storage.smallest_subnormal)

    def _bound_parameter(self) -> None:
        lr, wd, size = self._s.lr, self._s.wd, np.abs(self._x)
        slack = K_MOVE * self._u * (size + lr * (1 + wd * size))
        slack = slack + np.where((size > 0) | (lr > 0), K_MOVE * self._tiny, 0.0)
        self._x_range = {}
        for s in (-1, 0, 1):
            x = self._x - lr * (s + wd * self._x)
            low, high = (self._stored(end, self._x_dtype) for end in (x - slack, x + slack))
            self._x_range[s] = (low, high)

    def _leave_to_ieee(self, x0: Array, g: Array, m0: Array, scalars: Scalars) -> None:
        """Where the numbers leave the finite ones, the reference says what comes.

        A rewriting may have met inf - inf on its way, and NaN is then allowed as well.
        """
        lr, wd, size = self._s.lr, self._s.wd, np.abs(self._x)
        self._m_special = ~(self._size < self._limit)
        self._x_special = self._m_special | ~(size * (1 + lr * wd) + lr < self._limit)
        self._ieee = reference.lion_update(x0, g, m0, scalars)
        self._nan = np.isnan(self._g) | np.isnan(self._m)
        self._x_infinite = np.isinf(self._x)
        self._x_nan = self._nan | np.isnan(self._x)

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


def _or_nan(value: Any) -> str:
    return "nan" if np.isnan(value) else f"{hexadecimal(value)} or nan"


def _span(low: Any, high: Any) -> str:
    first, last = hexadecimal(low), hexadecimal(high)
    return first if first == last else f"{first} to {last}"
