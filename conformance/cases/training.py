"""Parameters that are frozen for a while or for good, and those that have two names."""

from dataclasses import replace

from lion_ports.config import LionConfig
from lion_ports.conformance.cases.streams import Shapes, normal, normal_stream, steps
from lion_ports.conformance.trial import Case, Step, Trial

_LR = 2.0**-6
_SHAPES: Shapes = {"embedding": (6, 5), "weight": (5, 5), "bias": (5,)}
_TIED = ("embedding", "head")


def _trial(count: int = 8) -> Trial:
    config = LionConfig(lr=_LR, weight_decay=0.5)
    return Trial(normal(51, _SHAPES), steps(normal_stream(51, _SHAPES, count), _LR), config)


def _frozen(**frozen: range) -> Trial:
    """Parameters without gradients as long as they are frozen."""
    trial = _trial()
    stream = [
        Step({n: None if i in frozen.get(n, ()) else g for n, g in step.grads.items()}, step.lr)
        for i, step in enumerate(trial.steps)
    ]
    return replace(trial, steps=stream, frozen=frozen)


def _tied(absent: range = range(0), restart_at: int | None = None) -> Trial:
    """One tensor under two names, with the sum of the gradients that it has under both, or none."""
    trial = _trial()
    first, other = _TIED
    stream = []
    for i, step in enumerate(trial.steps):
        both = None if i in absent else step.grads[first]
        stream.append(step._replace(grads={**step.grads, first: both, other: both}))
    params = {**trial.params, other: trial.params[first]}
    return replace(trial, params=params, steps=stream, tied=_TIED, restart_at=restart_at)


CASES = [
    Case(
        "structure-frozen",
        "L-003",
        "A parameter that is frozen throughout neither moves nor decays.",
        lambda: _frozen(embedding=range(8)),
        ("frozen-decays", "moved-without-gradient"),
    ),
    Case(
        "structure-unfrozen",
        "L-003",
        "A parameter that is frozen for three steps is trained from the fourth on.",
        lambda: _frozen(embedding=range(3)),
        ("frozen-decays", "frozen-for-good", "moved-without-gradient"),
    ),
    Case(
        "structure-frozen-between",
        "L-003",
        "A parameter that is frozen for three steps goes on with the momentum that it had.",
        lambda: _frozen(embedding=range(2, 5)),
        ("frozen-decays", "freezing-resets", "moved-without-gradient"),
    ),
    Case(
        "structure-frozen-by-turns",
        "L-003",
        "Two parameters are frozen by turns: each is trained when its turn comes.",
        lambda: _frozen(embedding=range(3), weight=range(3, 6)),
        ("frozen-decays", "frozen-for-good", "freezing-resets"),
    ),
    Case(
        "structure-tied",
        "L-002",
        "One tensor under two names has one momentum, and is updated once in a step.",
        _tied,
        ("tied-updated-twice", "tied-parted"),
    ),
    Case(
        "structure-tied-paused",
        "L-003",
        "Without a gradient for two steps, such a tensor stays under both names.",
        lambda: _tied(range(2, 4)),
        ("tied-updated-twice", "tied-parted", "moved-without-gradient"),
    ),
    Case(
        "state-restart-tied",
        "L-021",
        "Saved with a tensor of two names, and gone on with in a fresh optimizer: the same.",
        lambda: _tied(restart_at=4),
        ("reset-on-load",),
    ),
]
