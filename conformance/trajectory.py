"""The verdict "trajectory": for a momentum that is lossy on purpose, as in eight bits.

The momentum itself is not looked at, whatever it is stored in. Of each coordinate the suite carries
the interval of momenta that its gradients and its moves so far allow (``StepBound``), and over a
whole stream the directions have to agree with the reference's.
"""

import numpy as np

from lion_ports import reference
from lion_ports.conformance.bits import reals, same
from lion_ports.conformance.faithful import faithfully
from lion_ports.conformance.finding import Finding, decay_at
from lion_ports.conformance.pipeline import effective_gradients
from lion_ports.conformance.trial import Array, Snapshot, Trial
from lion_ports.conformance.verdict import Judgement, compare, reference_run, structure

STATE_LOSS = 1 / 127
"""What storing a momentum may lose, in units of the parameter's largest.

Half a step of a code of 255 even steps is 1/254, and where rounding is random a whole one: 1/127.
The widest gap of the dynamic 8-bit code (arXiv 2110.02861) is 0.9/64, and half of it 1/142.
"""
AGREEMENT = 0.95
"""The least that the directions may gain: docs/conformance.md ("Trajectory")."""
ENOUGH = 1000
"""Directions from which on a share is looked at."""


def judge_trajectory(
    trial: Trial,
    observed: list[Snapshot],
    *,
    flush: bool = False,
    uninterrupted: list[Snapshot] | None = None,
) -> Judgement:
    """Judge snapshots as ``verdict.judge`` does, at this level: ``faithful`` is its finding."""
    observed = [snapshot._replace(momentum=None) for snapshot in observed]
    expected = reference_run(trial, flush=flush)
    bitwise, max_ulp = compare(trial, observed, expected, same)
    begun, _ = compare(trial, observed[:1], expected[:1], same)
    finding = structure(observed, expected) or begun
    ambiguous = 0
    if finding is None and uninterrupted is not None:
        finding, _ = compare(trial, observed, uninterrupted, same)
    elif finding is None:
        finding, ambiguous = faithfully(trial, observed, flush=flush, loss=STATE_LOSS)
        finding = finding or _disagreement(trial, observed, expected)
    return Judgement(bitwise, finding, max_ulp, ambiguous, bitwise is None)


def _disagreement(
    trial: Trial, observed: list[Snapshot], expected: list[Snapshot]
) -> Finding | None:
    """Over the stream, the sum of ``u*c`` against that of ``|c|``, which the sign of ``c`` gains.

    It is the agreement of signs, each with the weight of its ``c``: a lossy momentum flips those
    near zero. And it is what the directions take off a loss, to first order, as a share of the most
    that they could.
    """
    read, gained, most = _gains(trial, observed, expected)
    if read < ENOUGH or gained >= AGREEMENT * most:
        return None
    return Finding(
        f"the agreement of {read} directions with those of the reference",
        len(trial.steps),
        "all parameters",
        allowed=f"at least {AGREEMENT}",
        came=f"{gained / most:.3f}",
    )


def _gains(
    trial: Trial, observed: list[Snapshot], expected: list[Snapshot]
) -> tuple[int, float, float]:
    """How many directions can be read, what they gain, and the most that they could."""
    read, gained, most = 0, 0.0, 0.0
    config, updates = trial.config, 0
    if config.nonlinearity != "sign" or config.cautious or config.ema_overwrite_every is not None:
        return read, gained, most  # a move is then no direction
    for i, due in enumerate(effective_gradients(trial)):
        for name, effective in (due or {}).items():
            b1 = trial.config_at(i, name).betas[0]
            wd = decay_at(trial, i, updates, name) / (config.lr_peak or 1.0)
            u = _direction(trial, observed, i, name, wd)
            m = reals((expected[i].momentum or {})[name]).astype(np.float64)
            with np.errstate(all="ignore"):
                c = b1 * m + (1 - b1) * effective.g
                clear = np.isfinite(u) & np.isfinite(c)
            read += int(np.sum(clear))
            gained += float(np.sum((u * c)[clear]))
            most += float(np.sum(np.abs(c[clear])))
        updates += due is not None
    return read, gained, most


@np.errstate(all="ignore")  # NaN says that a direction cannot be read
def _direction(trial: Trial, run: list[Snapshot], i: int, name: str, wd: float) -> Array:
    """-1, 0 and 1 as the move of a step shows them; NaN where rounding hides it."""
    lr = trial.rate_at(i, name)
    x0, x1 = (reals(run[k].params[name]) for k in (i, i + 1))
    unit = float(np.finfo(reference.compute_dtype(x0.dtype)).eps)
    if x0.dtype.itemsize < 4 or lr == 0:
        return np.full(x0.shape, np.nan)
    x0, x1 = x0.astype(np.float64), x1.astype(np.float64)
    direction = np.round((x0 - x1) / lr - wd * x0)
    return np.where(np.abs(x0) * unit * 8 < lr, np.clip(direction, -1, 1), np.nan)
