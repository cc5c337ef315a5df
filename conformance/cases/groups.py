"""Parameter groups: settings of their own, and settings that change in the middle of a run."""

from collections.abc import Mapping
from typing import Any

from lion_ports.config import LionConfig
from lion_ports.conformance.cases.streams import Shapes, normal, normal_stream, steps
from lion_ports.conformance.trial import Case, Group, Trial

_LR = 2.0**-6
_BACKBONE, _HEAD = ("embedding", "weight"), ("bias", "head")
# The second of either group have one shape, so that what groups share by mistake shows.
_SHAPES: Shapes = {"embedding": (7, 5), "weight": (6, 5), "head": (6, 5), "bias": (5,)}
_OWN: tuple[Mapping[str, Any], Mapping[str, Any]] = (
    {"lr": 2.0**-7, "weight_decay": 0.5},
    {"lr": 2.0**-5, "weight_decay": 0.0625},
)


def _groups(
    own: tuple[Mapping[str, Any], Mapping[str, Any]] = _OWN,
    changes: Mapping[int, Mapping[str, Any]] | None = None,
    count: int = 8,
) -> Trial:
    """Two groups; ``changes``, by step, are the second's."""
    config = LionConfig(lr=_LR, weight_decay=0.1)
    groups = (Group(_BACKBONE, own[0]), Group(_HEAD, own[1], changes or {}))
    rates = [_LR * (1 + i / 8) for i in range(count)]  # of a group without a rate of its own
    return Trial(
        normal(50, _SHAPES), steps(normal_stream(50, _SHAPES, count), rates), config, groups=groups
    )


def _with_betas(changes: Mapping[int, Mapping[str, Any]] | None = None) -> Trial:
    first, second = _OWN
    own = ({**first, "betas": (0.95, 0.98)}, {**second, "betas": (0.8, 0.9)})
    return _groups(own, changes)


CASES = [
    Case(
        "structure-groups",
        "L-001",
        "Two groups, each with a learning rate and a weight decay of its own.",
        _groups,
        ("group-lr-of-first", "group-decay-of-first", "group-momentum"),
    ),
    Case(
        "structure-groups-betas",
        "L-001",
        "Two groups, each with betas of its own as well.",
        _with_betas,
        ("group-betas-of-first", "group-betas-ignored", "group-momentum"),
    ),
    Case(
        "structure-groups-inherited",
        "L-001",
        "One group has its own weight decay and the rate of all, which changes; one the reverse.",
        lambda: _groups(({"weight_decay": 0.0}, {"lr": 2.0**-5})),
        ("group-lr-of-first", "group-decay-of-first", "group-momentum", "lr-of-first-step"),
    ),
    Case(
        "structure-groups-lr-changed",
        "L-015",
        "The learning rate of the second group falls in the middle, and that of the first stays.",
        lambda: _groups(changes={3: {"lr": 2.0**-9}, 6: {"lr": 2.0**-6}}),
        ("group-change-ignored", "group-change-of-all", "lr-of-first-step"),
    ),
    Case(
        "structure-groups-decay-changed",
        "L-017",
        "The weight decay of the second group rises in the middle, and that of the first stays.",
        lambda: _groups(changes={4: {"weight_decay": 1.0}}),
        ("group-change-ignored", "group-change-of-all", "group-decay-of-first"),
    ),
    Case(
        "structure-groups-betas-changed",
        "L-001",
        "The betas of the second group change in the middle, and its momentum is gone on with.",
        lambda: _with_betas({4: {"betas": (0.95, 0.99)}}),
        ("group-change-ignored",),
    ),
]
