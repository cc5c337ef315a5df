"""The verdicts of one trial: bitwise against the reference, and faithful within a proved bound.

The constants are derived in docs/conformance.md ("The bound").
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from lion_ports import reference
from lion_ports.conformance.bits import hexadecimal, reals, same, ulps
from lion_ports.conformance.bound import Bools
from lion_ports.conformance.faithful import faithfully
from lion_ports.conformance.finding import Finding, first, found
from lion_ports.conformance.trial import Array, Group, Snapshot, Trial
from lion_ports.errors import NonFiniteError


@dataclass(frozen=True)
class Judgement:
    """A trial judged: the first finding at each level (None: passed), and how far it was off.

    ``equal``: all bits are those of the reference.
    """

    bitwise: Finding | None
    faithful: Finding | None
    max_ulp: int
    ambiguous: int
    equal: bool = False


def reference_run(trial: Trial, *, flush: bool = False) -> list[Snapshot]:
    """The reference's own snapshots: before the first step and after each."""
    groups = trial.groups or (Group(tuple(trial.params)),)
    runs = [_run(trial, group, flush) for group in groups]
    return runs[0] if len(runs) == 1 else [_together(parts) for parts in zip(*runs, strict=True)]


def _run(trial: Trial, group: Group, flush: bool) -> list[Snapshot]:
    """The snapshots of one group, whose settings may change from step to step."""
    params = {n: x for n, x in trial.params.items() if n in group.names}
    state = reference.init(params, trial.config)
    snapshots = [_snapshot(params, state)]
    for i, step in enumerate(trial.steps):
        own = group.at(i)
        config = replace(trial.config, **own) if own else trial.config
        grads = {n: g for n, g in step.grads.items() if n in group.names}
        with contextlib.suppress(NonFiniteError):  # then nothing moves (L-019)
            params, state = reference.step(
                params,
                grads,
                state,
                config,
                lr=own.get("lr", step.lr),
                mask=trial.mask,
                flush=flush,
            )
        snapshots.append(_snapshot(params, state))
    return snapshots


def _together(parts: tuple[Snapshot, ...]) -> Snapshot:
    """What is seen of several groups at one time."""
    return Snapshot(
        {n: x for part in parts for n, x in part.params.items()},
        {n: m for part in parts for n, m in (part.momentum or {}).items()},
        {n: e for part in parts for n, e in (part.average or {}).items()} or None,
    )


def _snapshot(params: dict[str, Array], state: reference.State) -> Snapshot:
    momentum = {n: reference.load_momentum(state, n) for n in state.momentum}
    return Snapshot(params, momentum, dict(state.average) or None)


def is_open(trial: Trial) -> bool:
    """Whether the specification leaves the last bits open, to a sum or a function (L-027)."""
    config = trial.config
    norms = config.clipnorm is not None or config.global_clipnorm is not None
    return not trial.exact and (norms or config.nonlinearity in ("tanh", "l2"))


def judge(
    trial: Trial,
    observed: list[Snapshot],
    *,
    flush: bool = False,
    uninterrupted: list[Snapshot] | None = None,
    expected: list[Snapshot] | None = None,
) -> Judgement:
    """Judge the snapshots of an implementation, one before the first step and one after each.

    A trial with a restart needs the same implementation's ``uninterrupted`` snapshots as well: to
    be faithful is then to go on exactly as without the restart (L-021). ``expected`` is what
    ``reference_run`` gives, where that is known already.
    """
    expected = reference_run(trial, flush=flush) if expected is None else expected
    bitwise, max_ulp = compare(trial, observed, expected, same)
    wrong_from_the_start, _ = compare(trial, observed[:1], expected[:1], same)
    structural = structure(observed, expected) or wrong_from_the_start
    equal = bitwise is None
    if structural is not None:
        return Judgement(structural, structural, max_ulp, 0)
    if uninterrupted is not None:
        restarted, _ = compare(trial, observed, uninterrupted, same)
        return Judgement(bitwise, restarted, max_ulp, 0, equal)
    if trial.exact:  # every right way gives these numbers; the sign of a zero is left open
        exact, _ = compare(trial, observed, expected, np.equal)
        return Judgement(bitwise, exact, max_ulp, 0, equal)
    faithful, ambiguous = faithfully(trial, observed, flush=flush)
    bitwise = faithful if is_open(trial) else bitwise
    return Judgement(bitwise, faithful, max_ulp, ambiguous, equal)


def structure(observed: list[Snapshot], expected: list[Snapshot]) -> Finding | None:
    """L-005: names, shapes and dtypes are those of the reference throughout."""
    for i, (seen, right) in enumerate(zip(observed, expected, strict=True)):
        for what, have, want in (
            ("parameter", seen.params, right.params),
            ("momentum", seen.momentum, right.momentum),
            ("average", seen.average, right.average),
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


def compare(
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
            ("the average", seen.average, right.average),
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
                    at = first(~equal)
                    allowed = hexadecimal(due[at])
                    finding = found(what, trial, observed, i, name, at, allowed, came[at])
    return finding, worst
