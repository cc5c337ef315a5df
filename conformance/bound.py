"""What one step may lead to: the proved bound of docs/conformance.md ("The bound")."""

from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from lion_ports import reference
from lion_ports.config import LION, Scalars
from lion_ports.conformance.bits import hexadecimal
from lion_ports.conformance.directions import cautious_branches, direction_branches
from lion_ports.conformance.pipeline import Effective
from lion_ports.conformance.trial import Array, Trial

K_MIX = 5
"""Roundings in b*m + (1-b)*g over all rewritings (4), and one for their products."""
K_MOVE = 8
"""Roundings in x - lr*(u + wd*x) over all rewritings (7), and one for their products."""
K_AVERAGE = 4
"""Roundings in d*e + (1-d)*x over all rewritings (3), and one for their products."""
CODE_LOSS = 1 / 8
"""What the code of L-031 may take from a momentum, a step of it, in units of the largest."""

Bools = NDArray[np.bool_]


class Before(NamedTuple):
    """A parameter before a step, as reals: itself, its momentum and average, and their errors.

    The errors are 0 where the implementation shows the array, and arrays where it hides it.
    ``whole`` is the parameter with its correction, which is always hidden (L-032).
    """

    x: Array
    m: Array
    m_error: Any = 0.0
    average: Array | None = None
    average_error: Any = 0.0
    whole: Array | None = None
    whole_error: Any = 0.0


class StepBound:
    """What one step may lead to from the state before it."""

    def __init__(
        self, trial: Trial, scalars: Scalars, before: Before, due: Effective, momentum_dtype: Any,
        *, updates: int = 0, coded: bool = False, overwrite: bool = False, flush: bool = False,
    ) -> None:  # fmt: skip
        self._rule, self._decay = trial.config.rule, trial.config.ema_decay or 0.0
        self._compute = reference.compute_dtype(before.x.dtype)
        self._x_dtype, self._m_dtype = before.x.dtype, momentum_dtype
        info = np.finfo(self._compute)
        # Exact quantities in a wider dtype; where there is none, their rounding is allowed for.
        wide: Any = np.float64 if self._compute is np.float32 else np.longdouble
        slack = 2.0 if np.finfo(wide).eps == info.eps else 1.0
        self._u = slack * float(info.eps) / 2
        self._tiny = float(info.smallest_normal if flush else info.smallest_subnormal)
        self._limit = float(info.max) / 16
        self._lr, self._b1, self._b2 = (wide(s) for s in scalars[:3])
        self._wd = wide(scalars.wd) / (1 if scalars.lr_peak is None else wide(scalars.lr_peak))

        with np.errstate(all="ignore"):
            self._x = (before.x if before.whole is None else before.whole).astype(wide)
            self._x_error, self._lost = before.whole_error, 0.0
            if before.whole is not None and trial.config.correction_bits == 8:
                self._lost = 2.0**-15  # at most a unit of what is kept of the parameter
            self._code, self._updates = coded, updates
            self._g = due.g.astype(self._compute).astype(wide)
            self._g_error = due.error
            self._m, self._m_off = before.m.astype(wide), before.m_error
            self._size = np.abs(self._m) + before.m_error + np.abs(self._g)
            # Zeros are exact in every rewriting.
            self._underflow = np.where(self._size > 0, K_MIX * self._tiny, 0.0)
            self._bound_direction(before.m_error)
            self._bound_momentum(before.m_error)
            self._bound_parameter()
            self._bound_average(before, overwrite)
            self._leave_to_ieee(before, due, scalars)

    def _bound_direction(self, m_error: Any) -> None:
        c = self._b1 * self._m + (1 - self._b1) * self._g
        slack = K_MIX * self._u * self._size + self._underflow
        self._c_slack = slack + (1 - self._b1) * self._g_error
        band = self._c_slack + self._b1 * m_error
        branches = direction_branches(c, band, self._rule, self._u)
        self.ambiguous = np.sum([b.may for b in branches.values()], axis=0) > 1
        if self._rule.cautious:
            branches = cautious_branches(branches, self._g, self._g_error, self._rule, self._u)
        self._branches = branches

    def _bound_momentum(self, m_error: Any) -> None:
        self.m_center = self._b2 * self._m + (1 - self._b2) * self._g
        slack = K_MIX * self._u * self._size + self._underflow
        self._m_slack = slack + (1 - self._b2) * self._g_error
        slack = self._m_slack + self._b2 * m_error
        self._m_low = self._stored(self.m_center - slack, self._m_dtype)
        self._m_high = self._stored(self.m_center + slack, self._m_dtype)
        if self._code:
            self._m_low, self._m_high = self._coded(self._m_low, self._m_high)

    def _coded(self, low: Array, high: Array) -> tuple[Array, Array]:
        """Between two momenta, in the code of L-031, which keeps their order.

        A scale that is another one moves the smallest values alone, by less than the largest/2^14.
        """
        ends = [reference.decode(*reference.encode(m, self._updates)) for m in (low, high)]
        size = np.maximum(np.abs(low), np.abs(high)).astype(np.float64)
        most = np.max(size, initial=0, where=np.isfinite(size))
        slack = most * 2.0**-14 + 2.0**-125
        first, last = ends[0].astype(np.float64) - slack, ends[1].astype(np.float64) + slack
        least = 2.0**-126  # no sign is lost
        first = np.where(low > self._tiny, np.maximum(first, least), first)
        return first, np.where(high < -self._tiny, np.minimum(last, -least), last)

    def _bound_parameter(self) -> None:
        size = np.abs(self._x)
        self._x_range: dict[int, tuple[Array, Array]] = {}
        self._whole_range: dict[int, tuple[Array, Array]] = {}
        for s, branch in self._branches.items():
            # L-023: a branch decays or does not, for its direction has one sign.
            wd = np.where(s * self._x > 0, self._wd, 0) if self._rule.cautious_decay else self._wd
            largest = np.maximum(1, np.maximum(np.abs(branch.low), np.abs(branch.high)))
            slack = K_MOVE * self._u * (size + self._lr * (largest + wd * size))
            slack = slack + np.where((size > 0) | (self._lr > 0), K_MOVE * self._tiny, 0.0)
            slack = slack + self._x_error * (1 + self._lr * self._wd) + self._lost * size
            low = self._x - self._lr * (branch.high + wd * self._x) - slack
            high = self._x - self._lr * (branch.low + wd * self._x) + slack
            self._whole_range[s] = low, high
            self._x_range[s] = (
                self._stored(low, self._x_dtype),
                self._stored(high, self._x_dtype),
            )

    def _bound_average(self, before: Before, overwrite: bool) -> None:
        """Where the average overwrites the parameter, the range is that of the average (L-029)."""
        if not overwrite:
            return
        assert before.average is not None
        for s, (low, high) in self._x_range.items():
            ends = (
                average_range(before.average, x.astype(self._x.dtype), self._decay, self._u)
                for x in (self._whole_range[s] if before.whole is not None else (low, high))
            )
            (lowest, _), (_, highest) = ends
            error = self._decay * before.average_error
            self._whole_range[s] = lowest - error, highest + error
            self._x_range[s] = (
                self._stored(lowest - error, self._x_dtype),
                self._stored(highest + error, self._x_dtype),
            )

    def _leave_to_ieee(self, before: Before, due: Effective, scalars: Scalars) -> None:
        """Where the numbers leave the finite ones, the reference says what comes.

        A rewriting may have met inf - inf on its way, and NaN is then allowed as well.
        """
        size = np.abs(self._x)
        self._m_special = ~(self._size < self._limit)
        self._x_special = self._m_special | ~(
            size * (1 + (1 + self._lr) * self._wd) + self._lr < self._limit
        )
        m0, g = before.m.astype(self._m_dtype), due.g.astype(self._compute)
        self._ieee = reference.lion_update(before.x, g, m0, scalars, self._rule)
        self._nan = np.isnan(self._g) | np.isnan(self._m)
        self._x_infinite = np.isinf(self._x)
        self._x_nan = self._nan | np.isnan(self._x)

    def _stored(self, array: Array, dtype: Any) -> Array:
        """Rounded to the compute dtype's width and then to storage: monotone, as bounds must be."""
        if self._compute is np.float32:
            return np.asarray(array).astype(dtype)
        return reference.narrow(np.asarray(array).astype(np.float64), dtype)

    @np.errstate(invalid="ignore")  # NaN is compared on purpose
    def x_wrong(self, x1: Array) -> Bools:
        """Where the new parameter is not allowed."""
        right = np.any([*self._explaining(x1).values()], axis=0)
        special = np.isnan(x1) | (~self._x_nan & ((x1 == self._ieee[0]) | right))
        # Decay of an infinite parameter is inf - inf in one order and a smaller inf in another.
        special = np.where(self._x_infinite & ~self._x_nan, ~np.isfinite(x1), special)
        return np.asarray(~np.where(self._x_special, special, right))

    def _explaining(self, x1: Array) -> dict[int, Bools]:
        """By direction, where it leads to the new parameter."""
        ranges = self._x_range.items()
        return {s: self._branches[s].may & (low <= x1) & (x1 <= high) for s, (low, high) in ranges}

    @np.errstate(all="ignore")
    def follow_parameter(self, x1: Array) -> tuple[Array, Array]:
        """A parameter with its correction after the step that led to ``x1``: middle and error.

        Of all that it may be, what explains ``x1`` and is rounded to it.
        """
        why = self._explaining(x1)
        x1 = x1.astype(np.float64)
        half = np.abs(x1) * 2.0**-8 + self._tiny
        none, all_of_it = np.full(x1.shape, np.inf), np.any([*why.values()], axis=0)
        low, high = none, -none
        for s, (lowest, highest) in self._whole_range.items():
            low = np.where(why[s], np.minimum(low, lowest), low)
            high = np.where(why[s], np.maximum(high, highest), high)
        low = np.where(all_of_it, np.maximum(low, x1 - half), x1)
        high = np.where(all_of_it, np.minimum(high, x1 + half), x1)
        return (low + high) / 2, np.maximum(high - low, 0) / 2

    @np.errstate(all="ignore")
    def follow_momentum(self, x1: Array, loss: float) -> tuple[Array, Array]:
        """A hidden momentum after the step that led to ``x1``: its middle, and how far off.

        Of all that it may have been before, only what explains ``x1`` is carried on. ``loss`` is
        what storage may lose on purpose, in units of the parameter's largest momentum. A zero that
        is exact stays one, in any code.
        """
        low, high = self._m - self._m_off, self._m + self._m_off
        if self._rule == LION and self._b1 > 0:
            why = self._explaining(x1)
            tie, off = -(1 - self._b1) * self._g / self._b1, self._c_slack / self._b1
            some = np.any([*why.values()], axis=0)
            low = np.where(some & ~why[-1], np.maximum(low, tie - off), low)
            high = np.where(some & ~why[1], np.minimum(high, tie + off), high)
        middle, half = (low + high) / 2, np.maximum(high - low, 0) / 2
        middle = np.where(half > 0, middle, self._m)
        center = self._b2 * middle + (1 - self._b2) * self._g
        error = self._m_slack + self._b2 * half
        size = np.abs(center) + error
        storage = ml_dtypes.finfo(self._m_dtype)
        lost = np.abs(center) * float(storage.eps) / 2 + float(storage.smallest_subnormal)
        lost = lost + loss * np.max(size, initial=0, where=np.isfinite(size))
        return center, np.where(size > 0, error + lost, 0)

    @np.errstate(invalid="ignore")
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
        spans = [self._x_range[s] for s in (1, 0, -1) if self._branches[s].may[at]]
        return " or ".join(_span(low[at], high[at]) for low, high in spans)

    def m_allowed(self, at: tuple[int, ...]) -> str:
        """The allowed new momentum at one element, in words."""
        if self._m_special[at]:
            return _or_nan(self._ieee[1][at])
        return _span(self._m_low[at], self._m_high[at])


@np.errstate(all="ignore")
def average_range(e: Array, x: Array, decay: float, u: float) -> tuple[Array, Array]:
    """The lowest and the highest average that may follow ``e`` and ``x`` (L-029)."""
    center = decay * e + (1 - decay) * x
    slack = K_AVERAGE * u * (np.abs(e) + np.abs(x))
    return center - slack, center + slack


def _or_nan(value: Any) -> str:
    return "nan" if np.isnan(value) else f"{hexadecimal(value)} or nan"


def _span(low: Any, high: Any) -> str:
    first, last = hexadecimal(low), hexadecimal(high)
    return first if first == last else f"{first} to {last}"
