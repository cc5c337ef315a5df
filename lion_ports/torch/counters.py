"""What the optimizer counts as a whole, held in each of its groups, which torch saves and loads."""

from typing import Any

import torch

from lion_ports.config import LOSS_SCALE_INITIAL, LionConfig
from lion_ports.errors import StateError

Groups = list[dict[str, Any]]

_COUNTERS = ("count", "skipped", "micro", "good_steps")


def share(groups: Groups, config: LionConfig) -> None:
    """Give all groups the counters of the first: a group that joins later counts on with it."""
    first = groups[0]
    counts = {name: int(first.get(name, 0)) for name in _COUNTERS}
    scale = float(first.get("loss_scale", LOSS_SCALE_INITIAL)) if config.dynamic else None
    for group in groups:
        group.update({name: torch.tensor(count, device="cpu") for name, count in counts.items()})
        group.pop("loss_scale", None)  # a state may have one where it was dynamic
        if scale is not None:
            group["loss_scale"] = torch.tensor(scale, device="cpu")


def refuse_window(micro: int, config: LionConfig) -> None:
    """Raise a StateError if a saved sum has as many gradients as this optimizer waits for (L-025).

    Args:
        micro: micro-steps in the state.
        config: of the optimizer that is to go on from it.
    """
    steps = config.gradient_accumulation_steps
    if micro >= steps:
        raise StateError(
            f"the saved state is of an optimizer with gradient_accumulation_steps, {micro} "
            f"micro-step{'s' * (micro > 1)} into an update, and this one makes an update at every "
            f"{f'{steps} micro-steps' if steps > 1 else 'step'}; make it with "
            f"gradient_accumulation_steps={micro + 1} or more, or save right after an update"
        )


def advance(groups: Groups, name: str) -> int:
    """Add 1 to a counter in all groups; its value in the first."""
    for group in groups:
        group[name].fill_(int(group[name]) + 1)
    return int(groups[0][name])


def reset(groups: Groups, name: str) -> None:
    """Set a counter to 0 in all groups."""
    for group in groups:
        group[name].zero_()
