"""What the optimizer counts as a whole, held in each of its groups, which torch saves and loads."""

from typing import Any

import torch

from lion_ports.config import LOSS_SCALE_INITIAL, LOSS_SCALE_MAX, LOSS_SCALE_MIN, LionConfig

Groups = list[dict[str, Any]]

_COUNTERS = ("count", "skipped", "micro", "good_steps")


def complete(groups: Groups, config: LionConfig) -> None:
    """Put in the counters that a group does not have; only its count of updates is its own."""
    first = groups[0]
    for group in groups:
        for name in _COUNTERS:
            usual = torch.tensor(0) if name == "count" else first.get(name, torch.tensor(0))
            group.setdefault(name, usual.clone())
        if config.dynamic:
            usual = first.get("loss_scale", torch.tensor(LOSS_SCALE_INITIAL))
            group.setdefault("loss_scale", usual.clone())


def advance(groups: Groups, name: str) -> int:
    """Add 1 to a counter in all groups; its value in the first."""
    for group in groups:
        group[name] += 1
    return int(groups[0][name])


def reset(groups: Groups, name: str) -> None:
    """Set a counter to 0 in all groups."""
    for group in groups:
        group[name].zero_()


def loss_scale(groups: Groups, config: LionConfig) -> float | None:
    """What the loss is multiplied by, if it is (L-024)."""
    if config.dynamic:
        return float(groups[0]["loss_scale"])
    scale: Any = config.loss_scale
    return None if scale is None else float(scale)


def rescale(groups: Groups, config: LionConfig, *, finite: bool) -> None:
    """Bring a dynamic loss scale forward (L-024)."""
    scale = float(groups[0]["loss_scale"])
    if not finite:
        scale = max(scale / 2, LOSS_SCALE_MIN)
    elif advance(groups, "good_steps") == config.loss_scale_growth_interval:
        scale = min(scale * 2, LOSS_SCALE_MAX)
    else:
        return
    reset(groups, "good_steps")
    for group in groups:
        group["loss_scale"].fill_(scale)
