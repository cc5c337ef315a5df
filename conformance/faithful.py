"""The verdict "faithful": every step from the implementation's own state before it."""

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from lion_ports import reference
from lion_ports.conformance.bits import hexadecimal, reals, same
from lion_ports.conformance.bound import CODE_LOSS, Before, StepBound, average_range
from lion_ports.conformance.finding import Finding, decay_at, first, found
from lion_ports.conformance.pipeline import Effective, effective_gradients, unit_roundoff
from lion_ports.conformance.trial import Array, Snapshot, Trial


@dataclass
class _Hidden:
    """What cannot be read: what it would be exactly, and how far off it may be."""

    value: Array
    error: Any = 0.0


def faithfully(
    trial: Trial, observed: list[Snapshot], *, flush: bool = False, loss: float = 0.0
) -> tuple[Finding | None, int]:
    """The first element outside of the bound, and the count of signs that were open.

    ``loss`` is what storage may take from a hidden momentum (``StepBound.follow_momentum``).
    """
    return _Faithful(trial, observed, flush, loss).judge()


class _Faithful:
    def __init__(self, trial: Trial, observed: list[Snapshot], flush: bool, loss: float) -> None:
        self._trial, self._observed, self._flush = trial, observed, flush
        self._loss = loss
        state = reference.init(trial.params, trial.config)
        momentum = {n: reference.load_momentum(state, n) for n in state.momentum}
        self._dtypes = {n: reals(m).dtype for n, m in momentum.items()}
        self._coded = state.momentum_scale.keys()
        self._whole = {n: _Hidden(trial.params[n].astype(np.float64)) for n in state.correction}
        self._momentum = {n: _Hidden(np.zeros_like(reals(x))) for n, x in trial.params.items()}
        self._average = {n: _Hidden(reals(e)) for n, e in state.average.items()}
        self._lr_peak = state.lr_peak
        self._updates = 0

    def judge(self) -> tuple[Finding | None, int]:
        ambiguous = 0
        for i, due in enumerate(effective_gradients(self._trial), start=1):
            for name in self._trial.params:
                if due is None or name not in due:
                    finding = self._unmoved(i, name)
                else:
                    finding, count = self._moved(i, name, due[name])
                    ambiguous += count
                if finding is not None:
                    return finding, ambiguous
            self._updates += due is not None
        return None, ambiguous

    def _unmoved(self, i: int, name: str) -> Finding | None:
        """L-003, L-019, L-025: everything is as before."""
        before, after = self._observed[i - 1], self._observed[i]
        for what, old, new in (
            ("the parameter", before.params, after.params),
            ("the momentum", before.momentum, after.momentum),
            ("the average", before.average, after.average),
        ):
            if old is None or new is None:
                continue
            came, due = reals(new[name]), reals(old[name])
            if not (equal := same(came, due)).all():
                at = first(~equal)
                return self._found(what, i, name, at, hexadecimal(due[at]) + ", as before", came)
        return None

    def _moved(self, i: int, name: str, due: Effective) -> tuple[Finding | None, int]:
        before, after = self._observed[i - 1], self._observed[i]
        config = self._trial.config_at(i - 1, name)
        hidden_m, hidden_e = self._momentum[name], self._average.get(name, _Hidden(np.zeros(())))
        m_seen = before.momentum is not None and after.momentum is not None
        state = Before(
            reals(before.params[name]),
            hidden_m.value if before.momentum is None else reals(before.momentum[name]),
            hidden_m.error,
            hidden_e.value if before.average is None else reals(before.average[name]),
            hidden_e.error,
            *((whole.value, whole.error) if (whole := self._whole.get(name)) else ()),
        )
        every = config.ema_overwrite_every
        overwrite = every is not None and (self._updates + 1) % every == 0
        lr = self._trial.rate_at(i - 1, name)
        wd = decay_at(self._trial, i - 1, self._updates, name)
        check = StepBound(
            self._trial, config.scalars(lr, wd, self._lr_peak), state, due, self._dtypes[name],
            updates=self._updates, coded=name in self._coded,
            overwrite=overwrite, flush=self._flush,
        )  # fmt: skip
        count = int(np.sum(check.ambiguous))
        x1 = reals(after.params[name])
        m1 = reals(after.momentum[name]) if m_seen and after.momentum is not None else None
        for what, came, allowed_at, wrong in (
            ("the parameter", x1, check.x_allowed, check.x_wrong(x1)),
            ("the momentum", m1, check.m_allowed, check.m_wrong(m1)),
        ):
            if came is not None and wrong.any():
                at = first(wrong)
                return self._found(what, i, name, at, allowed_at(at), came), count
        if name in self._whole:
            self._whole[name] = _Hidden(*check.follow_parameter(x1))
        if not m_seen:
            loss = max(self._loss, CODE_LOSS) if name in self._coded else self._loss
            self._momentum[name] = _Hidden(*check.follow_momentum(x1, loss))
        finding = (
            self._averaged(i, name, state, overwrite) if config.ema_decay is not None else None
        )
        return finding, count

    @np.errstate(all="ignore")  # infinities and NaN follow IEEE 754
    def _averaged(self, i: int, name: str, before: Before, overwrite: bool) -> Finding | None:
        """L-029: from the average before and the parameter now, which it may have overwritten."""
        after, decay = self._observed[i], self._trial.config.ema_decay or 0.0
        u = unit_roundoff(self._trial.params[name])
        x1 = reals(after.params[name])
        x = x1.astype(np.float64)
        assert before.average is not None
        low, high = average_range(before.average.astype(np.float64), x, decay, u)
        if name in self._whole:  # the average follows the parameter with its correction
            whole = self._whole[name]
            off = (
                whole.error if overwrite else (1 - decay) * (np.abs(whole.value - x) + whole.error)
            )
            low, high = low - off, high + off
        if overwrite:  # the parameter is the average, rounded
            storage = ml_dtypes.finfo(x1.dtype)
            rounding = np.abs(x) * float(storage.eps) + float(storage.smallest_subnormal)
            low, high = x - rounding, x + rounding
        if after.average is not None:
            came = reals(after.average[name])
            finite = np.isfinite(low) & np.isfinite(high)
            wrong = np.where(finite, ~((came >= low) & (came <= high)), np.isfinite(came))
            if wrong.any():
                at = first(wrong)
                allowed = f"{hexadecimal(low[at])} to {hexadecimal(high[at])}"
                return self._found("the average", i, name, at, allowed, came)
            return None
        error = (high - low) / 2 + (0 if overwrite else decay * before.average_error)
        self._average[name] = _Hidden((low + high) / 2, error)
        return None

    def _found(
        self, what: str, i: int, name: str, at: tuple[int, ...], allowed: str, came: Array
    ) -> Finding:
        return found(what, self._trial, self._observed, i, name, at, allowed, came[at])
