"""What ``load_state_dict`` does beyond torch: it checks first, completes, and keeps dtypes."""

from collections.abc import Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from lion_ports.config import LionConfig
from lion_ports.errors import StateError
from lion_ports.torch import counters
from lion_ports.torch.foreign import refuse_foreign_state
from lion_ports.torch.groups import Watch, complete_loaded
from lion_ports.torch.jobs import Group
from lion_ports.torch.misfits import SHAPED
from lion_ports.torch.states import Slots
from lion_ports.torch.storage import CORRECTIONS, scale_count

# What only belongs to gradient accumulation (L-025).
_SUMS = ("grad_sum", "seen")


def to_load(
    state_dict: Mapping[str, Any],
    param_groups: list[Group],
    watches: list[Watch],
    defaults: Group,
    config: LionConfig,
) -> dict[str, Any]:
    """A checked and completed copy of a state dict; its tensors are the same.

    Args:
        state_dict: of a Lion, ours or another.
        param_groups: of the optimizer.
        watches: one beside each group.
        defaults: the settings that a group has by default.
        config: the settings of the optimizer.
    """
    refuse_foreign_state(state_dict)
    saved = state_dict["param_groups"]
    if len(saved) != len(watches):
        return dict(state_dict)  # torch says so
    groups = [
        complete_loaded(group, watch, defaults, config)
        for group, watch in zip(saved, watches, strict=True)
    ]
    counters.share(groups, config)
    _refuse_parts(state_dict["state"], saved, param_groups)
    counters.refuse_window(int(groups[0]["micro"]), config)
    state = state_dict["state"]
    if config.gradient_accumulation_steps == 1:
        state = {
            key: {name: value for name, value in slots.items() if name not in _SUMS}
            for key, slots in state.items()
        }
    return {**state_dict, "state": state, "param_groups": groups}


def _refuse_parts(state: Mapping[Any, Slots], saved: list[Group], groups: list[Group]) -> None:
    """Raise a StateError if a part of what was saved is missing, or of another shape (L-002)."""
    ids = chain.from_iterable(group["params"] for group in saved)
    params = chain.from_iterable(group["params"] for group in groups)
    for saved_id, p in zip(ids, params, strict=False):  # torch says where numbers differ
        slots = state.get(saved_id, {})
        for name, called in SHAPED.items():
            kept = slots.get(name)
            if isinstance(kept, Tensor) and kept.shape != p.shape:
                raise StateError(
                    f"the {called} of parameter {saved_id} was saved with shape "
                    f"{tuple(kept.shape)}, and the parameter has {tuple(p.shape)}; load the state "
                    "of this model"
                )
        if int(slots.get("seen", 0)) > 0 and "grad_sum" not in slots:
            raise StateError(
                f"parameter {saved_id} was saved in the middle of an update, without the sum of "
                "its gradients; load a whole state"
            )
        _refuse_small(saved_id, slots, p)


def _refuse_small(saved_id: Any, slots: Slots, p: Tensor) -> None:
    """Raise a StateError if codes have no scales, or a correction the wrong parameter."""
    m, scale, correction = (slots.get(n) for n in ("exp_avg", "exp_avg_scale", "correction"))
    small = isinstance(m, Tensor) and m.dtype == torch.int8
    due = (scale_count(p.numel()),) if small else None
    found = None if scale is None else tuple(scale.shape)
    if found != due:
        raise StateError(
            f"parameter {saved_id} was saved with {found or 'no'} scales of its momentum, and "
            f"{due or 'none'} are needed; load a whole state"
        )
    if correction is None:
        return
    if correction.dtype not in CORRECTIONS.values():
        raise StateError(
            f"the correction of parameter {saved_id} was saved as {correction.dtype}, and has to "
            "be int8 or int16; load a state that was not converted"
        )
    if p.dtype != torch.bfloat16:
        raise StateError(
            f"parameter {saved_id} was saved with a correction, and is {p.dtype}; convert the "
            "model to bfloat16"
        )


def restore_dtypes(
    state: Mapping[Tensor, Slots], groups: list[Group], loaded: Mapping[str, Any]
) -> None:
    """Put tensors of a loaded state dict in the place of those that torch has cast (L-016)."""
    ids = chain.from_iterable(group["params"] for group in loaded["param_groups"])
    params = chain.from_iterable(group["params"] for group in groups)
    for saved_id, p in zip(ids, params, strict=True):
        for name, value in loaded["state"].get(saved_id, {}).items():
            if isinstance(value, Tensor):
                device = "cpu" if name == "seen" else p.device
                state[p][name] = value.to(device, copy=True)
